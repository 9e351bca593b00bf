//! What a writer, a function under `#[invalidates]` or `#[updates]`, does before and after its body.
//!
//! `Returned::of(&returned).__kind()` is resolved by method lookup as in the `outcome` module, from `Returned` by
//! way of `Optional` and `Pending` to `Plain`.

use std::future::{Future, poll_fn};
use std::marker::PhantomData;
use std::ops::Deref;
use std::pin::Pin;
use std::task::Poll;

use crate::bulk::all;
use crate::call::Entry;
use crate::handle::{AsyncHandle, Handle};
use crate::outcome::{Cloneable, zero_sized};

/// Runs a body, which may return early.
#[inline]
pub fn run<R>(body: impl FnOnce() -> R) -> R {
    body()
}

/// The same for a body that is awaited.
#[inline]
pub async fn run_async<R>(body: impl AsyncFnOnce() -> R) -> R {
    body().await
}

#[diagnostic::on_unimplemented(
    message = "`{Self}` is not `Clone`, and a writer's body may use up what its entries are found by",
    label = "this is copied before the body runs",
    note = "name what identifies the entry: a part that is `Clone`, a reference, or a call such as `thing.id()`"
)]
pub trait Copied: Clone {}
#[diagnostic::do_not_recommend]
impl<T: Clone> Copied for T {}

/// An argument of a writer, or a part of one, of which its entries get a copy while the body has it.
pub struct Place<'a, T>(&'a T);

impl<'a, T> Place<'a, T> {
    #[must_use]
    pub const fn of(argument: &'a T) -> Self {
        Self(argument)
    }

    #[must_use]
    pub fn copy(self) -> T
    where
        T: Copied,
    {
        self.0.clone()
    }
}

/// How what a writer returns is taken apart. Zero-sized.
pub trait Kind: Copy {
    type Returned;
    /// What it returns when it has succeeded.
    type Success;
    fn split(self, returned: Self::Returned) -> Result<Self::Success, Self::Returned>;
    fn join(self, success: Self::Success) -> Self::Returned;
}

zero_sized! {
    OfResult<T, E>;
    OfOption<T>;
    /// Anything else, which is a success.
    OfPlain<R>;
    /// A future, which has done nothing yet.
    OfFuture<F>;
}

impl<T, E> Kind for OfResult<T, E> {
    type Returned = Result<T, E>;
    type Success = T;
    fn split(self, returned: Result<T, E>) -> Result<T, Result<T, E>> {
        returned.map_err(Err)
    }
    fn join(self, success: T) -> Result<T, E> {
        Ok(success)
    }
}

impl<T> Kind for OfOption<T> {
    type Returned = Option<T>;
    type Success = T;
    fn split(self, returned: Option<T>) -> Result<T, Option<T>> {
        returned.ok_or(None)
    }
    fn join(self, success: T) -> Option<T> {
        Some(success)
    }
}

macro_rules! always {
    ($($name:ident)*) => {$(
        impl<R> Kind for $name<R> {
            type Returned = R;
            type Success = R;
            fn split(self, returned: R) -> Result<R, R> {
                Ok(returned)
            }
            fn join(self, success: R) -> R {
                success
            }
        }
    )*};
}
always!(OfPlain OfFuture);

#[diagnostic::on_unimplemented(
    message = "this returns a future, which has not run yet, so that nothing can be said of its success",
    label = "a writer has done its work when it returns",
    note = "make it an `async fn`; where a macro such as `#[async_trait]` makes it return a future, put the \
            attribute on an `async fn` that it calls"
)]
pub trait Finished {}
#[diagnostic::do_not_recommend]
impl<T, E> Finished for OfResult<T, E> {}
#[diagnostic::do_not_recommend]
impl<T> Finished for OfOption<T> {}
#[diagnostic::do_not_recommend]
impl<R> Finished for OfPlain<R> {}

/// The kind of what a writer returns; the one place where one that cannot be judged is an error.
pub fn finished<K: Kind + Finished>(kind: K) -> K {
    kind
}

/// What the body returned as a success, or as it was.
pub fn split<K: Kind>(kind: K, returned: K::Returned) -> Result<K::Success, K::Returned> {
    kind.split(returned)
}

/// The other way round.
pub fn join<K: Kind>(kind: K, success: K::Success) -> K::Returned {
    kind.join(success)
}

macro_rules! wrappers {
    ($($(#[$doc:meta])* $outer:ident around $inner:ident;)*) => {$(
        $(#[$doc])*
        pub struct $outer<R>($inner<R>);
        impl<R> $outer<R> {
            const NEW: Self = Self($inner::NEW);
        }
        impl<R> Deref for $outer<R> {
            type Target = $inner<R>;
            fn deref(&self) -> &$inner<R> {
                &self.0
            }
        }
    )*};
}
wrappers! {
    /// The outermost of the wrappers that `__kind` is looked up in.
    Returned around Optional;
    Optional around Pending;
    Pending around Plain;
}
pub struct Plain<R>(PhantomData<fn() -> R>);

impl<R> Plain<R> {
    const NEW: Self = Self(PhantomData);
}

impl<R> Returned<R> {
    #[must_use]
    pub const fn of(_: &R) -> Self {
        Self::NEW
    }
}

impl<T, E> Returned<Result<T, E>> {
    #[must_use]
    pub fn __kind(&self) -> OfResult<T, E> {
        OfResult(PhantomData)
    }
}

impl<T> Optional<Option<T>> {
    #[must_use]
    pub fn __kind(&self) -> OfOption<T> {
        OfOption(PhantomData)
    }
}

impl<F: Future> Pending<F> {
    #[must_use]
    pub fn __kind(&self) -> OfFuture<F> {
        OfFuture(PhantomData)
    }
}

impl<R> Plain<R> {
    #[must_use]
    pub fn __kind(&self) -> OfPlain<R> {
        OfPlain(PhantomData)
    }
}

/// The handle of a function or a method, `async` or not.
#[diagnostic::on_unimplemented(
    message = "`{Self}` is not the handle of a cached method",
    label = "this returns no handle",
    note = "name the method that the option `handle = ...` of `#[cached]` adds"
)]
pub trait AnyHandle {
    /// How its calls are made.
    type Way;
    type Returned;
    type Entry: Entry<Returned = Self::Returned>;
    fn entry(self) -> Self::Entry;
}

#[diagnostic::do_not_recommend]
impl<E: Entry, F> AnyHandle for Handle<E, F> {
    type Way = Called;
    type Returned = E::Returned;
    type Entry = E;
    fn entry(self) -> E {
        self.entry
    }
}

#[diagnostic::do_not_recommend]
impl<E: Entry, F> AnyHandle for AsyncHandle<E, F> {
    type Way = Awaited;
    type Returned = E::Returned;
    type Entry = E;
    fn entry(self) -> E {
        self.entry
    }
}

#[diagnostic::on_unimplemented(
    message = "what an `async` function has cached can be changed by a writer only if that is `async` too",
    label = "this is `async`, and the writer is not",
    note = "make the writer an `async fn`, or await `invalidate` where it is called from"
)]
pub trait Blocking {}
#[diagnostic::do_not_recommend]
impl Blocking for Called {}

pub struct Called;
pub struct Awaited;

/// Forgets an entry after, or before, a body that is not awaited.
pub fn forget<H: AnyHandle<Way: Blocking>>(handle: H) {
    handle.entry().invalidate();
}

/// The same where it can be awaited, whatever the entry's own function is.
pub fn forget_async<H: AnyHandle>(handle: H) -> impl Future<Output = bool> + Send {
    handle.entry().invalidate_async()
}

/// What is done after a body and has been polled once, if it is not done yet.
pub type Begun<'a> = Option<Pin<Box<dyn Future<Output = ()> + Send + 'a>>>;

/// Begins to do something, without a point at which the writer could be dropped: what it concerns in this process is
/// forgotten by then, and what the backend is not told is made up for.
pub fn begun<'a, T>(act: impl Future<Output = T> + Send + 'a) -> impl Future<Output = Begun<'a>> + Send {
    let mut act: Begun<'a> = Some(Box::pin(async move { drop(act.await) }));
    poll_fn(move |context| {
        let is_done = act.as_mut().is_none_or(|act| act.as_mut().poll(context).is_ready());
        Poll::Ready(act.take().filter(|_| !is_done))
    })
}

/// Waits until all that was begun is done.
pub async fn done<const N: usize>(acts: [Begun<'_>; N]) {
    all(acts.into_iter().flatten().collect()).await;
}

#[diagnostic::on_unimplemented(
    message = "what an `async` function has cached can be changed by a writer only if that is `async` too",
    label = "this is `async`, and the writer is not",
    note = "make the writer an `async fn`, or await `clear` where it is called from"
)]
pub trait Done {}
#[diagnostic::do_not_recommend]
impl Done for () {}

/// What a companion was called for has been done when it returned.
pub fn cleared<D: Done>(_: D) {}

/// A return type that can be made from what a writer returned.
#[diagnostic::on_unimplemented(
    message = "this writer returns `{T}`, of which no `{Self}` can be made to be cached",
    label = "what is cached here is `{Self}`",
    note = "`#[updates]` goes on a function that returns the new value, plain, as `Ok` or as `Some`; for others \
            there is `#[invalidates]`"
)]
pub trait FromSuccess<T> {
    fn from_success(success: T) -> Self;
}

#[diagnostic::do_not_recommend]
impl<T> FromSuccess<T> for T {
    fn from_success(success: T) -> T {
        success
    }
}

#[diagnostic::do_not_recommend]
impl<T> FromSuccess<T> for Option<T> {
    fn from_success(success: T) -> Self {
        Some(success)
    }
}

#[diagnostic::do_not_recommend]
impl<T, E> FromSuccess<T> for Result<T, E> {
    fn from_success(success: T) -> Self {
        Ok(success)
    }
}

/// What a writer returned, to be stored. Its type is known before that of what is stored is asked for, so that one
/// that does not fit is an error in words.
pub struct Success<'a, T>(&'a T);

impl<'a, T> Success<'a, T> {
    #[must_use]
    pub const fn of(success: &'a T) -> Self {
        Self(success)
    }

    pub fn update<H: AnyHandle<Way: Blocking>>(self, handle: H)
    where
        T: Cloneable,
        H::Returned: FromSuccess<T>,
    {
        handle.entry().update(H::Returned::from_success(self.0.clone()));
    }

    /// The same where it can be awaited.
    pub fn update_async<H: AnyHandle>(self, handle: H) -> impl Future<Output = ()> + Send + use<H, T>
    where
        T: Cloneable,
        H::Returned: FromSuccess<T>,
    {
        handle.entry().update_async(H::Returned::from_success(self.0.clone()))
    }
}
