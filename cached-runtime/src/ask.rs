//! What a companion asks about one key.

use crate::call::{Entry, after_drop};

/// A question about an entry, and its answer. `F` is the type of a function that returns what the annotated
/// one does: written so, a lifetime that is missing in there is the same error as elsewhere in the expansion.
pub trait Ask<F: Returns> {
    type Answer;
    fn of(self, entry: impl Entry<Returned = F::Returned>) -> Self::Answer;
}

pub trait Returns {
    type Returned;
}

impl<R> Returns for fn() -> R {
    type Returned = R;
}

/// An entry of a function of this type.
pub trait EntryOf<F: Returns>: Entry<Returned = F::Returned> {}
impl<F: Returns, E: Entry<Returned = F::Returned>> EntryOf<F> for E {}

/// [`Ask`] of a companion whose calls are awaited and have to wait.
#[cfg(feature = "backend")]
pub trait AskAsync<F: Returns> {
    type Answer;
    fn of(self, entry: impl Entry<Returned = F::Returned>) -> impl Future<Output = Self::Answer> + Send;
}

pub struct Invalidate;
pub struct Peek;
pub struct Put<R>(pub R);

impl<R> Ask<fn() -> R> for Invalidate {
    type Answer = bool;
    fn of(self, entry: impl Entry<Returned = R>) -> bool {
        entry.invalidate()
    }
}

impl<R> Ask<fn() -> R> for Peek {
    type Answer = Option<R>;
    fn of(self, entry: impl Entry<Returned = R>) -> Option<R> {
        let value = entry.peek();
        after_drop(entry, value)
    }
}

impl<R> Ask<fn() -> R> for Put<R> {
    type Answer = ();
    fn of(self, entry: impl Entry<Returned = R>) {
        entry.put(self.0);
    }
}

#[cfg(feature = "backend")]
impl<R> AskAsync<fn() -> R> for Invalidate {
    type Answer = bool;
    fn of(self, entry: impl Entry<Returned = R>) -> impl Future<Output = bool> + Send {
        entry.invalidate_async()
    }
}

#[cfg(feature = "backend")]
impl<R> AskAsync<fn() -> R> for Peek {
    type Answer = Option<R>;
    fn of(self, entry: impl Entry<Returned = R>) -> impl Future<Output = Option<R>> + Send {
        entry.peek_async()
    }
}

#[cfg(feature = "backend")]
impl<R> AskAsync<fn() -> R> for Put<R> {
    type Answer = ();
    fn of(self, entry: impl Entry<Returned = R>) -> impl Future<Output = ()> + Send {
        entry.put_async(self.0)
    }
}
