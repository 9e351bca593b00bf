//! Blocking work for those who must not block: a few threads, started when there is work.

use std::time::Instant;

use super::driver::{Answer, Awaited, DriverError};

/// Does the work on a thread that may block. Whoever waits gets [`DriverError::TimedOut`] if no thread was
/// free by the deadline.
pub(crate) fn offload<T: Send + 'static>(
    deadline: Instant,
    work: impl FnOnce() -> Answer<T> + Send + 'static,
) -> Awaited<T> {
    let _ = (deadline, work);
    Box::pin(async { Err(DriverError::Unsupported("threads for awaited operations yet")) })
}
