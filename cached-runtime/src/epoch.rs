//! Guards of epoch reclamation, also where a thread is past having one of its own.
//!
//! A thread that ends has no more guards after a certain point, but destructors of its thread-local
//! values may still call functions. From then on calls are no more than their bodies, and what has to
//! be forgotten is forgotten by another thread.

use std::panic::resume_unwind;
use std::thread;

use sdd::Guard;

use crate::stats::Cells;

/// Whether this thread can have guards.
pub(crate) fn lives() -> bool {
    Cells::of_this_thread().is_some()
}

/// Does something with a guard, here if that is possible.
pub(crate) fn with_guard<R: Send>(act: impl FnOnce(&Guard) -> R + Send) -> R {
    if lives() {
        return act(&Guard::new());
    }
    let (mut act, mut done) = (Some(act), None);
    elsewhere(&mut |guard| done = act.take().map(|act| act(guard)));
    match done {
        Some(done) => done,
        None => unreachable!("what another thread was to do was done, or has panicked here too"),
    }
}

/// Does it in another thread; one function for all that may be done.
#[cold]
#[inline(never)]
fn elsewhere(act: &mut (dyn FnMut(&Guard) + Send)) {
    let done = thread::scope(|scope| scope.spawn(|| act(&Guard::new())).join());
    done.unwrap_or_else(|panic| resume_unwind(panic));
}
