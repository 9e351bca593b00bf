//! The handle of one entry, for methods.

use std::fmt;
use std::future::Future;

use crate::ask::Ask;
#[cfg(feature = "backend")]
use crate::ask::AskAsync;
use crate::call::Entry;

/// The entry of one call, from the method that `handle = NAME` adds beside an annotated one.
///
/// Its first type parameter stands for the entry, its second for the call.
///
/// ```
/// use cached_runtime::cached;
///
/// struct Repo;
///
/// impl Repo {
///     #[cached(timeout = 60, skip(self), handle = load_cache)]
///     fn load(&self, id: u64) -> String {
///         format!("item {id}")
///     }
/// }
///
/// let repo = Repo;
/// assert_eq!(repo.load_cache(5).peek(), None);
/// repo.load_cache(5).put("five".to_owned());
/// assert_eq!(repo.load(5), "five");
/// assert_eq!(repo.load_cache(5).refresh(), "item 5");
/// assert!(repo.load_cache(5).invalidate());
/// ```
#[must_use = "a handle does nothing by itself"]
pub struct Handle<E, F> {
    pub(crate) entry: E,
    call: F,
}

impl<E: Entry, F> Handle<E, F> {
    pub(crate) fn new(entry: E, call: F) -> Self {
        Self { entry, call }
    }

    /// Answers what the companion asks.
    #[doc(hidden)]
    pub fn __ask<A: Ask<fn() -> E::Returned>>(self, ask: A) -> A::Answer {
        ask.of(self.entry)
    }

    /// Forgets the entry; returns whether a fresh value was there.
    pub fn invalidate(&self) -> bool {
        self.entry.invalidate()
    }

    /// What is cached and fresh, without computing, counting or refreshing.
    #[must_use]
    pub fn peek(&self) -> Option<E::Returned> {
        self.entry.peek()
    }

    /// Stores a value as if the body had returned it.
    pub fn put(self, value: E::Returned) {
        self.entry.put(value);
    }
}

impl<E: Entry, F: FnOnce() -> E::Returned> Handle<E, F> {
    /// Computes and stores anew.
    pub fn refresh(self) -> E::Returned {
        self.entry.function().refresh(self.call)
    }
}

/// [`Handle`] for an `async` method: its calls are `async` too.
///
/// ```
/// use cached_runtime::cached;
///
/// struct Repo;
///
/// impl Repo {
///     #[cached(timeout = 60, skip(self), handle = load_cache)]
///     async fn load(&self, id: u64) -> String {
///         format!("item {id}")
///     }
/// }
///
/// # async fn example() {
/// let repo = Repo;
/// repo.load_cache(5).put("five".to_owned()).await;
/// assert_eq!(repo.load(5).await, "five");
/// # }
/// # use std::{future::Future, pin::pin, task::{Context, Poll, Waker}};
/// # assert_eq!(pin!(example()).poll(&mut Context::from_waker(Waker::noop())), Poll::Ready(()));
/// ```
#[must_use = "a handle does nothing by itself"]
pub struct AsyncHandle<E, F> {
    pub(crate) entry: E,
    call: F,
}

impl<E: Entry, F> AsyncHandle<E, F> {
    pub(crate) fn new(entry: E, call: F) -> Self {
        Self { entry, call }
    }

    /// Answers what the companion asks, where nothing has to be waited for.
    #[doc(hidden)]
    pub fn __ask<A: Ask<fn() -> E::Returned>>(self, ask: A) -> A::Answer {
        ask.of(self.entry)
    }

    /// The same where something has.
    #[cfg(feature = "backend")]
    #[doc(hidden)]
    pub fn __ask_async<A: AskAsync<fn() -> E::Returned>>(
        self,
        ask: A,
    ) -> impl Future<Output = A::Answer> + Send {
        ask.of(self.entry)
    }

    /// Forgets the entry; returns whether a fresh value was there.
    pub async fn invalidate(self) -> bool {
        self.entry.invalidate_async().await
    }

    /// What is cached and fresh, without computing, counting or refreshing.
    pub async fn peek(self) -> Option<E::Returned> {
        self.entry.peek_async().await
    }

    /// Stores a value as if the body had returned it.
    pub async fn put(self, value: E::Returned) {
        self.entry.put_async(value).await;
    }
}

impl<E: Entry, F: Future<Output = E::Returned>> AsyncHandle<E, F> {
    /// Computes and stores anew.
    pub async fn refresh(self) -> E::Returned {
        self.entry.function().refresh_async(self.call).await
    }
}

impl<E, F> fmt::Debug for Handle<E, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle").finish_non_exhaustive()
    }
}

impl<E, F> fmt::Debug for AsyncHandle<E, F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AsyncHandle").finish_non_exhaustive()
    }
}
