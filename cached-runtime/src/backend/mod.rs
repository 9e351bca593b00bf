//! Places outside the process that hold encoded entries.

pub mod driver;
mod offload;
