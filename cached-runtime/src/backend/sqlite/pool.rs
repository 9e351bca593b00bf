//! Connections for readers: a few, each of them opened when all others are in use.

use std::ops::{Deref, DerefMut};
use std::time::Instant;

use parking_lot::{Condvar, Mutex};

use super::connection::Connection;
use super::fault::Fault;

/// A read takes microseconds, so that a few of them do for many threads.
const READERS: usize = 4;

/// A place for a connection; empty until it is used, and after its connection has failed.
pub(super) type Slot = Option<Connection>;

pub(super) struct Pool {
    /// The one used last is at the end, and is the next.
    idle: Mutex<Vec<Slot>>,
    returned: Condvar,
}

impl Pool {
    pub(super) fn new() -> Self {
        let idle = (0..READERS).map(|_| None).collect();
        Self { idle: Mutex::new(idle), returned: Condvar::new() }
    }

    /// Waits for a connection until the deadline.
    pub(super) fn take(&self, deadline: Instant) -> Result<Taken<'_>, Fault> {
        let mut idle = self.idle.lock();
        loop {
            if let Some(slot) = idle.pop() {
                return Ok(Taken { pool: self, slot });
            }
            if self.returned.wait_until(&mut idle, deadline).timed_out() && idle.is_empty() {
                return Err(Fault::TimedOut);
            }
        }
    }

    /// Closes the connections that nobody uses. All of a process share the index of the log, and with it
    /// whether that can be written.
    pub(super) fn close(&self) {
        self.idle.lock().fill_with(|| None);
    }
}

/// Goes back when it is dropped.
pub(super) struct Taken<'a> {
    pool: &'a Pool,
    slot: Slot,
}

impl Deref for Taken<'_> {
    type Target = Slot;

    fn deref(&self) -> &Slot {
        &self.slot
    }
}

impl DerefMut for Taken<'_> {
    fn deref_mut(&mut self) -> &mut Slot {
        &mut self.slot
    }
}

impl Drop for Taken<'_> {
    fn drop(&mut self) {
        self.pool.idle.lock().push(self.slot.take());
        self.pool.returned.notify_one();
    }
}
