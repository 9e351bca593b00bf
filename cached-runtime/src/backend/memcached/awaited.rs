//! The awaited operations, on a runtime of tokio's.

use std::io::ErrorKind;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::runtime::Handle;

use super::expiry::expiry;
use super::line::Answering;
use super::node::{Life, Node};
use super::protocol::{Body, Condition};
use super::request::{Failure, Request, done};
use super::routing::{Gathering, Group, Nodes, Way};
use super::{Memcached, check_key, in_time, now};
use crate::backend::driver::{Answer, Driver, DriverError, Expected, Found};
use crate::backend::offload::offload;

/// Which of its lives a server is in, to be known before a command is sent.
async fn life(node: &Arc<Node>, runtime: &Handle, deadline: Instant) -> Result<Life, Failure> {
    loop {
        let absence = match node.known_life() {
            Ok(life) => return Ok(life),
            Err(absence) => absence,
        };
        let begun = node.health.begin();
        let bodies = answer(node.ask_on(runtime, Request::mark([].into_iter()), deadline)).await?;
        node.is_back(absence, begun, bodies)?;
    }
}

/// Without an answer if the runtime has ended.
async fn answer(answering: Answering) -> Result<Vec<Body>, Failure> {
    answering.await.unwrap_or_else(|_| Err(Failure::Lost(ErrorKind::ConnectionAborted.into())))
}

impl Memcached {
    pub(super) async fn get_on(
        &self,
        runtime: &Handle,
        keys: &[String],
        deadline: Instant,
    ) -> Answer<Vec<Option<Found>>> {
        keys.iter().try_for_each(|key| check_key(key))?;
        let nodes = self.nodes_awaited(deadline).await?;
        let mut gathering = Gathering::new(&nodes, keys.len());
        loop {
            let groups = gathering.next(keys)?;
            if groups.is_empty() {
                return gathering.finish();
            }
            if groups.iter().any(Group::was_away) {
                for group in groups {
                    let life = life(group.node, runtime, deadline).await;
                    self.note(&life);
                    gathering.welcome(group, life);
                }
                continue;
            }
            // All servers work on it at once.
            let mut asked = Vec::with_capacity(groups.len());
            for group in groups {
                let answering = group.node.ask_on(runtime, group.request(keys), deadline);
                asked.push((group, answering));
            }
            for (group, answering) in asked {
                let result = answer(answering).await;
                self.note(&result);
                if let Some((old, request)) = gathering.take(group, keys, result) {
                    let result = answer(old.node.ask_on(runtime, request, deadline)).await;
                    self.note(&result);
                    gathering.removed(&old, result);
                }
            }
        }
    }

    pub(super) async fn set_on(
        &self,
        runtime: &Handle,
        key: &str,
        value: &[u8],
        ttl: Option<Duration>,
        expected: Expected,
        deadline: Instant,
    ) -> Answer<bool> {
        let expiry = expiry(ttl, now());
        let stored = if value.len() > self.settings.largest_value {
            Err(DriverError::TooLarge)
        } else {
            let request = |condition| Request::set(key, value, expiry, condition);
            self.ask_for_on(runtime, key, expected, deadline, request).await
        };
        if matches!(stored, Err(DriverError::TooLarge)) {
            self.delete_on(runtime, key, Expected::Anything, deadline).await?;
        }
        stored
    }

    pub(super) async fn delete_on(
        &self,
        runtime: &Handle,
        key: &str,
        expected: Expected,
        deadline: Instant,
    ) -> Answer<bool> {
        if expected == Expected::Nothing {
            return self.delete(key, expected, deadline);
        }
        let request = |condition| Request::delete(key, condition);
        self.ask_for_on(runtime, key, expected, deadline, request).await
    }

    async fn ask_for_on(
        &self,
        runtime: &Handle,
        key: &str,
        expected: Expected,
        deadline: Instant,
        request: impl Fn(Condition) -> Request,
    ) -> Answer<bool> {
        check_key(key)?;
        let nodes = self.nodes_awaited(deadline).await?;
        let mut way = Way::new(&nodes);
        loop {
            let (node, begun) = way.next(key)?;
            let result = match life(node, runtime, deadline).await {
                Ok(life) => {
                    let Some(condition) = life.condition(expected) else { return Ok(false) };
                    answer(node.ask_on(runtime, request(condition), deadline)).await
                }
                Err(failure) => Err(failure),
            };
            self.note(&result);
            if let Some(answer) = way.answer(node, begun, result) {
                if expected == Expected::Anything {
                    self.remove_from_on(runtime, nodes.others(node), &nodes, key, deadline).await;
                }
                return answer.and_then(done);
            }
        }
    }

    /// [`remove_from`](Self::remove_from), awaited.
    async fn remove_from_on<'n>(
        &self,
        runtime: &Handle,
        others: impl Iterator<Item = &'n Arc<Node>>,
        nodes: &Nodes,
        key: &str,
        deadline: Instant,
    ) {
        let ask = |other: &'n Arc<Node>| {
            let begun = other.health.begin();
            (other, begun, other.ask_on(runtime, Request::delete(key, Condition::Always), deadline))
        };
        // All of them work on it at once.
        let asked: Vec<_> = others.map(ask).collect();
        for (other, begun, answering) in asked {
            let result = answer(answering).await;
            self.note(&result);
            nodes.note(other, begun, &result);
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
