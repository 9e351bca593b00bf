//! Places outside the process that hold encoded entries.

pub mod driver;
pub mod memory;
pub mod null;
mod offload;
mod timer;
