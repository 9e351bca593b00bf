//! Against real servers, which the tests start by themselves.

#[cfg(feature = "memcached")]
mod memcached;
mod servers;
