//! Redis and Valkey: one server, a cluster, or the master that sentinels name.
//!
//! What is said and what is made of the replies stands once, in `engine`, for blocking and awaited operations
//! alike: it is async code over a `Transport`, of which the blocking one has replies whenever it is polled.
//! Blocking connections speak the protocol by themselves, so that a deadline holds for an operation as a whole,
//! however slowly bytes trickle in.
//!
//! A value is stored as a string: eight random bytes, which are its version, and then the value.

mod command;
mod config;
mod engine;
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
use std::sync::Arc;
use std::time::{Duration, Instant};

#[cfg(feature = "tokio")]
use super::driver::Awaited;
use super::driver::{Answer, Driver, Expected, Found};
#[cfg(feature = "tokio")]
use super::offload::offload;
#[cfg(feature = "tls")]
pub(crate) use config::Tls;
pub(crate) use config::{Address, Config, Endpoint, Topology};
#[cfg(feature = "tokio")]
use multiplexed::Awaiting;
use route::Router;
use transport::Blocking;

/// Keeps entries in Redis or Valkey.
pub(crate) struct Redis {
    router: Router,
}

impl Redis {
    /// Connects when it is first asked.
    pub(crate) fn new(config: Config) -> Self {
        Self { router: Router::new(config) }
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
        Blocking::run(engine::set(&self.router, &Blocking, key, value, ttl, expected, deadline))
    }

    fn delete(&self, key: &str, expected: Expected, deadline: Instant) -> Answer<bool> {
        Blocking::run(engine::delete(&self.router, &Blocking, key, expected, deadline))
    }

    #[cfg(feature = "tokio")]
    fn get_async(self: Arc<Self>, keys: Vec<String>, deadline: Instant) -> Awaited<Vec<Option<Found>>> {
        Box::pin(async move {
            if multiplexed::is_possible() {
                let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
                return engine::get(&self.router, &Awaiting, &keys, deadline).await;
            }
            let blocking = move || {
                let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
                self.get(&keys, deadline)
            };
            offload(deadline, blocking).await
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
        Box::pin(async move {
            if multiplexed::is_possible() {
                return engine::set(&self.router, &Awaiting, &key, &value, ttl, expected, deadline).await;
            }
            offload(deadline, move || self.set(&key, &value, ttl, expected, deadline)).await
        })
    }

    #[cfg(feature = "tokio")]
    fn delete_async(self: Arc<Self>, key: String, expected: Expected, deadline: Instant) -> Awaited<bool> {
        Box::pin(async move {
            if multiplexed::is_possible() {
                return engine::delete(&self.router, &Awaiting, &key, expected, deadline).await;
            }
            offload(deadline, move || self.delete(&key, expected, deadline)).await
        })
    }
}
