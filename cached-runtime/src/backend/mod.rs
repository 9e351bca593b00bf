//! Places outside the process that hold encoded entries.

pub mod driver;
mod offload;
#[cfg(feature = "redis")]
#[cfg_attr(not(test), expect(dead_code, unused_imports, reason = "no address leads to it yet"))]
pub(crate) mod redis;
