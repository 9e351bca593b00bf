//! What a companion asks about one key.

use crate::call::Entry;

/// A question about an entry, and its answer; `R` is what the function returns.
pub trait Ask<R> {
    type Answer;
    fn of(self, entry: impl Entry<Returned = R>) -> Self::Answer;
}

pub struct Invalidate;
pub struct Peek;
pub struct Put<R>(pub R);

impl<R> Ask<R> for Invalidate {
    type Answer = bool;
    fn of(self, entry: impl Entry<Returned = R>) -> bool {
        entry.invalidate()
    }
}

impl<R> Ask<R> for Peek {
    type Answer = Option<R>;
    fn of(self, entry: impl Entry<Returned = R>) -> Option<R> {
        entry.peek()
    }
}

impl<R> Ask<R> for Put<R> {
    type Answer = ();
    fn of(self, entry: impl Entry<Returned = R>) {
        entry.put(self.0);
    }
}
