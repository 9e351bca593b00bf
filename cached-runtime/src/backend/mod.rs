//! Places outside the process that hold encoded entries.

pub mod driver;
#[cfg(feature = "memcached")]
pub mod memcached;
pub mod memory;
pub mod null;
mod offload;
mod timer;
