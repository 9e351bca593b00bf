//! Hands the runtime on.

pub use cached_runtime as cache;
