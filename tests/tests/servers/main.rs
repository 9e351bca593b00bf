//! Against real servers, which the tests start by themselves.

mod harness;
#[cfg(feature = "memcached")]
mod memcached;
#[cfg(feature = "redis")]
mod secrets;
