//! Places outside the process that hold encoded entries.

mod breaker;
pub mod codec;
pub mod driver;
mod encode;
mod envelope;
pub mod memory;
mod name;
pub mod null;
mod offload;
mod timer;
pub mod url;
