//! Redis and Valkey: one server, a cluster, or the master that sentinels name.
//!
//! What is said and what is made of the replies stands once, in `engine`, for blocking and awaited operations
//! alike: it is async code over a `Transport`, of which the blocking one has replies whenever it is polled.
//! Blocking connections speak the protocol by themselves, so that a deadline holds for an operation as a whole,
//! however slowly bytes trickle in.
//!
//! A value is stored as a string: eight random bytes, which are its version, and then the value.

mod broadcast;
mod command;
mod config;
mod engine;
mod limit;
mod link;
#[cfg(feature = "tokio")]
mod multiplexed;
mod node;
mod reply;
mod route;
mod setup;
mod slots;
mod socket;
#[cfg(feature = "tls")]
mod tls;
mod transport;
mod wire;

#[cfg(feature = "tokio")]
use std::future::Future;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::broadcast::Voice;
#[cfg(feature = "tokio")]
use super::driver::Awaited;
#[cfg(feature = "tokio")]
use super::driver::DriverError;
use super::driver::{Answer, Driver, Expected, Found};
#[cfg(feature = "tokio")]
use super::{offload::offload, reactor};
#[cfg(feature = "tls")]
pub(crate) use config::Tls;
pub(crate) use config::{Address, Config, Endpoint, Topology};
#[cfg(feature = "tokio")]
use multiplexed::Awaiting;
use route::Router;
#[cfg(feature = "tokio")]
use tokio::runtime::Handle;
use transport::Blocking;

/// A server can be told to refuse values from this size on, and not smaller ones.
#[cfg(feature = "tokio")]
const LEAST_LIMIT: usize = (1 << 20) - command::VERSION_BYTES;

/// Keeps entries in Redis or Valkey.
pub(crate) struct Redis {
    router: Arc<Router>,
    /// With which others are told of what it changes, if they are.
    voice: Option<Voice>,
}

impl Redis {
    /// Connects when it is first asked.
    pub(crate) fn new(config: Config) -> Self {
        Self { router: Arc::new(Router::new(config)), voice: None }
    }

    /// The same, with the same connections, which tells others of what it changes.
    pub(crate) fn with(&self, voice: Voice) -> Self {
        Self { router: Arc::clone(&self.router), voice: Some(voice) }
    }
}

impl Driver for Redis {
    fn get(&self, keys: &[&str], deadline: Instant) -> Answer<Vec<Option<Found>>> {
        Blocking::run(engine::get(&self.router, &Blocking, keys, deadline))
    }

    fn set(
        &self,
        key: &str,
        value: &[u8],
        ttl: Option<Duration>,
        expected: Expected,
        deadline: Instant,
    ) -> Answer<bool> {
        Blocking::run(engine::set(self, &Blocking, key, value, ttl, expected, deadline))
    }

    fn delete(&self, key: &str, expected: Expected, deadline: Instant) -> Answer<bool> {
        Blocking::run(engine::delete(self, &Blocking, key, expected, deadline))
    }

    #[cfg(feature = "tokio")]
    fn get_async(self: Arc<Self>, keys: Vec<String>, deadline: Instant) -> Awaited<Vec<Option<Found>>> {
        on_tokio(async move {
            let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
            engine::get(&self.router, &Awaiting, &keys, deadline).await
        })
    }

    #[cfg(feature = "tokio")]
    fn set_async(
        self: Arc<Self>,
        key: String,
        value: Vec<u8>,
        ttl: Option<Duration>,
        expected: Expected,
        deadline: Instant,
    ) -> Awaited<bool> {
        on_tokio(async move {
            match engine::set(&self, &Awaiting, &key, &value, ttl, expected, deadline).await {
                // Perhaps it has said that this is too large, and closed the connection ahead of the end: that
                // is read only by one that blocks.
                Err(DriverError::Unavailable(_)) if value.len() >= LEAST_LIMIT => {
                    offload(deadline, move || self.set(&key, &value, ttl, expected, deadline)).await
                }
                answer => answer,
            }
        })
    }

    #[cfg(feature = "tokio")]
    fn delete_async(self: Arc<Self>, key: String, expected: Expected, deadline: Instant) -> Awaited<bool> {
        on_tokio(async move { engine::delete(&self, &Awaiting, &key, expected, deadline).await })
    }
}

/// Does it where its connections can be.
#[cfg(feature = "tokio")]
fn on_tokio<T: Send + 'static>(operation: impl Future<Output = Answer<T>> + Send + 'static) -> Awaited<T> {
    Box::pin(async move {
        let runtime = reactor::runtime()?;
        if Handle::try_current().is_ok_and(|here| here.id() == runtime.id()) {
            return operation.await;
        }
        let done = runtime.spawn(operation).await;
        done.unwrap_or_else(|error| Err(DriverError::Failed(error.into())))
    })
}
