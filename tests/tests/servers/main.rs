//! Against real servers, which the tests start by themselves.

#[cfg(all(feature = "memcached", feature = "redis"))]
mod entries;
#[cfg(all(feature = "memcached", feature = "redis"))]
mod functions;
mod harness;
#[cfg(feature = "memcached")]
mod memcached;
#[cfg(all(feature = "memcached", feature = "redis", feature = "sqlite"))]
mod processes;
#[cfg(feature = "redis")]
mod redis;
#[cfg(feature = "redis")]
mod secrets;
#[cfg(all(feature = "memcached", feature = "redis"))]
mod wire;
