//! The awaited operations, on tokio's own connections where they run on tokio.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;

use super::expiry::expiry;
use super::line::Answering;
use super::protocol::{Body, Condition};
use super::request::{Failure, Request, done};
use super::routing::{Gathering, Nodes, Way};
use super::{Memcached, check_key, in_time, now};
use crate::backend::driver::{Answer, Driver, DriverError, Expected, Found};
use crate::backend::offload::offload;

/// Why there is no answer.
enum Stop {
    Error(DriverError),
    /// The runtime was built without network.
    NoNetwork,
}

impl From<DriverError> for Stop {
    fn from(error: DriverError) -> Self {
        Self::Error(error)
    }
}

async fn answer(answering: Option<Answering>) -> Result<Result<Vec<Body>, Failure>, Stop> {
    answering.ok_or(Stop::NoNetwork)?.await.map_err(|_| Stop::NoNetwork)
}

impl Memcached {
    pub(super) async fn get_on(
        self: Arc<Self>,
        runtime: Handle,
        keys: Vec<String>,
        deadline: Instant,
    ) -> Answer<Vec<Option<Found>>> {
        match self.try_get_on(&runtime, &keys, deadline).await {
            Ok(found) => Ok(found),
            Err(Stop::Error(error)) => Err(error),
            Err(Stop::NoNetwork) => {
                let blocking = move || {
                    let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
                    self.get(&keys, deadline)
                };
                offload(deadline, blocking).await
            }
        }
    }

    async fn try_get_on(
        &self,
        runtime: &Handle,
        keys: &[String],
        deadline: Instant,
    ) -> Result<Vec<Option<Found>>, Stop> {
        keys.iter().try_for_each(|key| check_key(key))?;
        let nodes = self.nodes_awaited(deadline).await?;
        let mut gathering = Gathering::new(&nodes, keys.len());
        loop {
            let groups = gathering.next(keys)?;
            if groups.is_empty() {
                return Ok(gathering.finish()?);
            }
            // All servers work on it at once.
            let mut asked = Vec::with_capacity(groups.len());
            for group in groups {
                let answering = group.node.ask_on(runtime, group.request(keys), deadline);
                asked.push((group, answering));
            }
            for (group, answering) in asked {
                let result = answer(answering).await?;
                self.note(&result);
                gathering.take(group, result);
            }
        }
    }

    pub(super) async fn set_on(
        self: Arc<Self>,
        runtime: Handle,
        key: String,
        value: Vec<u8>,
        ttl: Option<Duration>,
        expected: Expected,
        deadline: Instant,
    ) -> Answer<bool> {
        let expiry = expiry(ttl, now());
        let stored = if value.len() > self.settings.largest_value {
            Err(Stop::Error(DriverError::TooLarge))
        } else {
            let request = |condition| Request::set(&key, &value, expiry, condition);
            self.try_ask_on(&runtime, &key, expected, deadline, request).await
        };
        match stored {
            Ok(stored) => Ok(stored),
            Err(Stop::Error(DriverError::TooLarge)) => {
                self.delete_on(runtime, key, Expected::Anything, deadline).await?;
                Err(DriverError::TooLarge)
            }
            Err(Stop::Error(error)) => Err(error),
            Err(Stop::NoNetwork) => {
                offload(deadline, move || self.set(&key, &value, ttl, expected, deadline)).await
            }
        }
    }

    pub(super) async fn delete_on(
        self: Arc<Self>,
        runtime: Handle,
        key: String,
        expected: Expected,
        deadline: Instant,
    ) -> Answer<bool> {
        if expected == Expected::Nothing {
            return self.delete(&key, expected, deadline);
        }
        let request = |condition| Request::delete(&key, condition);
        match self.try_ask_on(&runtime, &key, expected, deadline, request).await {
            Ok(deleted) => Ok(deleted),
            Err(Stop::Error(error)) => Err(error),
            Err(Stop::NoNetwork) => offload(deadline, move || self.delete(&key, expected, deadline)).await,
        }
    }

    async fn try_ask_on(
        &self,
        runtime: &Handle,
        key: &str,
        expected: Expected,
        deadline: Instant,
        request: impl Fn(Condition) -> Request,
    ) -> Result<bool, Stop> {
        check_key(key)?;
        let nodes = self.nodes_awaited(deadline).await?;
        let mut way = Way::new(&nodes);
        loop {
            let node = way.next(key)?;
            let Some(condition) = node.condition(expected) else { return Ok(false) };
            let result = answer(node.ask_on(runtime, request(condition), deadline)).await?;
            self.note(&result);
            if let Some(answer) = way.answer(node, result) {
                return Ok(done(answer?)?);
            }
        }
    }

    /// The servers that there are now.
    async fn nodes_awaited(&self, deadline: Instant) -> Answer<Arc<Nodes>> {
        in_time(deadline)?;
        if let Some(nodes) = self.servers.known() {
            return Ok(nodes);
        }
        let servers = self.servers.clone();
        offload(deadline, move || servers.nodes(deadline)).await
    }
}
