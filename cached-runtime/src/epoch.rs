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

/// A guard, if this thread can have one.
pub(crate) fn guard() -> Option<Guard> {
    lives().then(Guard::new)
}

/// Does something with a guard, here if that is possible.
pub(crate) fn with_guard<R: Send>(act: impl FnOnce(&Guard) -> R + Send) -> R {
    let (mut act, mut done) = (Some(act), None);
    here_or_elsewhere(&mut |guard| done = act.take().map(|act| act(guard)));
    match done {
        Some(done) => done,
        None => unreachable!("what was to be done was done, or has panicked here too"),
    }
}

/// Does it; one function for all that may be done.
#[inline(never)]
fn here_or_elsewhere(act: &mut (dyn FnMut(&Guard) + Send)) {
    if lives() { act(&Guard::new()) } else { elsewhere(act) }
}

#[cold]
#[inline(never)]
fn elsewhere(act: &mut (dyn FnMut(&Guard) + Send)) {
    let done = thread::scope(|scope| scope.spawn(|| act(&Guard::new())).join());
    done.unwrap_or_else(|panic| resume_unwind(panic));
}
