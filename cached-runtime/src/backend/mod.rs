//! Places outside the process that hold encoded entries.

pub mod driver;
mod offload;
#[cfg(feature = "sqlite")]
#[cfg_attr(not(test), expect(dead_code, reason = "no URL leads to it yet"))]
mod sqlite;
