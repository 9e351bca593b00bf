//! What a function returns, told apart by type: of a `Result` the `Ok` is stored, of an `Option` the
//! `Some`, of anything else all of it.
//!
//! `Ret::<fn() -> R>::NEW.__outcome()` is resolved by method lookup as in the `key` module, from `Ret` by
//! way of `Whole` to `NoWhole`.

use std::convert::Infallible;
use std::marker::PhantomData;
use std::ops::Deref;

/// A stored value: every hit hands out a clone, on any thread.
pub trait Value: Clone + Send + Sync + 'static {}
impl<T: Clone + Send + Sync + 'static> Value for T {}

#[diagnostic::on_unimplemented(
    message = "a cached value must be `Clone`, and `{Self}` is not",
    label = "every hit hands out a clone of the stored value",
    note = "derive `Clone`, or return `std::sync::Arc<{Self}>`, which is cheap to clone"
)]
pub trait Cloneable: Clone {}
#[diagnostic::do_not_recommend]
impl<T: Clone> Cloneable for T {}

#[diagnostic::on_unimplemented(
    message = "a cached value must be `Send` and `Sync`, and `{Self}` is not",
    label = "the stored value is shared between threads",
    note = "use thread-safe parts, such as `Arc` for `Rc` and `Mutex` for `RefCell`"
)]
pub trait Shareable: Send + Sync {}
#[diagnostic::do_not_recommend]
impl<T: Send + Sync> Shareable for T {}

/// How a returned value is taken apart and put together again. Zero-sized.
pub trait Outcome: Copy + Send + Sync {
    /// What the function returns.
    type Returned;
    /// What is stored of it.
    type Stored: Value;
    /// What those who waited get of a returned value that was not stored.
    type Shared: Send + Sync + 'static;

    fn stored(self, returned: &Self::Returned) -> Option<&Self::Stored>;
    fn returned(self, stored: Self::Stored) -> Self::Returned;
    fn share(self, returned: &Self::Returned) -> Option<Self::Shared>;
    fn unshare(self, shared: &Self::Shared) -> Self::Returned;

    /// Whether this is an `Err` or a `None`.
    fn is_negative(self, returned: &Self::Returned) -> bool {
        self.stored(returned).is_none()
    }

    /// Whether this is an `Err` that is not stored: the body has failed.
    fn is_error(self, _: &Self::Returned) -> bool {
        false
    }

    /// Whether what is stored is an `Err` or a `None`.
    fn is_stored_negative(self, _: &Self::Stored) -> bool {
        false
    }

    /// The type of this outcome as a value: it holds nothing.
    const NEW: Self;
}

/// An outcome that was looked up, before it is known to be usable.
pub trait Found: Copy {
    /// The type that must be a [`Value`].
    type Of;
    type Outcome: Outcome;
    fn __outcome(self) -> Self::Outcome;
}

/// The outcome of a function; the one place where a type that cannot be stored is an error.
pub fn value<F: Found>(found: F) -> F::Outcome
where
    F::Of: Cloneable + Shareable,
{
    found.__outcome()
}

/// Types that hold nothing, whatever their parameters are.
macro_rules! zero_sized {
    ($($(#[$doc:meta])* $name:ident<$($param:ident),*>;)*) => {$(
        $(#[$doc])*
        pub struct $name<$($param),*>(PhantomData<fn() -> ($($param,)*)>);
        impl<$($param),*> Clone for $name<$($param),*> {
            fn clone(&self) -> Self {
                *self
            }
        }
        impl<$($param),*> Copy for $name<$($param),*> {}
    )*};
}

pub(crate) use zero_sized;

zero_sized! {
    /// `Result<T, E>` whose errors can be cloned for those who wait.
    OfResult<T, E>;
    /// `Result<T, E>` whose errors cannot.
    OfUnshared<T, E>;
    /// `Option<T>`.
    OfOption<T>;
    /// Anything else.
    OfPlain<R>;
    /// A `Result` or an `Option` stored whole, `Err` and `None` too.
    OfWhole<O, R>;
    /// A type that cannot be stored; `R` is what the function returns, `T` what would be stored of it.
    Unusable<R, T>;
}

impl<T: Value, E: Value> Outcome for OfResult<T, E> {
    const NEW: Self = Self(PhantomData);
    type Returned = Result<T, E>;
    type Stored = T;
    type Shared = Result<T, E>;
    fn stored(self, returned: &Result<T, E>) -> Option<&T> {
        returned.as_ref().ok()
    }
    fn returned(self, stored: T) -> Result<T, E> {
        Ok(stored)
    }
    fn is_error(self, returned: &Result<T, E>) -> bool {
        returned.is_err()
    }
    fn share(self, returned: &Result<T, E>) -> Option<Result<T, E>> {
        Some(returned.clone())
    }
    fn unshare(self, shared: &Result<T, E>) -> Result<T, E> {
        shared.clone()
    }
}

impl<T: Value, E> Outcome for OfUnshared<T, E> {
    const NEW: Self = Self(PhantomData);
    type Returned = Result<T, E>;
    type Stored = T;
    /// An `Ok` that was not stored can be shared, an `Err` cannot.
    type Shared = T;
    fn stored(self, returned: &Result<T, E>) -> Option<&T> {
        returned.as_ref().ok()
    }
    fn returned(self, stored: T) -> Result<T, E> {
        Ok(stored)
    }
    fn is_error(self, returned: &Result<T, E>) -> bool {
        returned.is_err()
    }
    fn share(self, returned: &Result<T, E>) -> Option<T> {
        returned.as_ref().ok().cloned()
    }
    fn unshare(self, shared: &T) -> Result<T, E> {
        Ok(shared.clone())
    }
}

impl<T: Value> Outcome for OfOption<T> {
    const NEW: Self = Self(PhantomData);
    type Returned = Option<T>;
    type Stored = T;
    type Shared = Option<T>;
    fn stored(self, returned: &Option<T>) -> Option<&T> {
        returned.as_ref()
    }
    fn returned(self, stored: T) -> Option<T> {
        Some(stored)
    }
    fn share(self, returned: &Option<T>) -> Option<Option<T>> {
        Some(returned.clone())
    }
    fn unshare(self, shared: &Option<T>) -> Option<T> {
        shared.clone()
    }
}

impl<R: Value> Outcome for OfPlain<R> {
    const NEW: Self = Self(PhantomData);
    type Returned = R;
    type Stored = R;
    type Shared = R;
    fn stored(self, returned: &R) -> Option<&R> {
        Some(returned)
    }
    fn returned(self, stored: R) -> R {
        stored
    }
    fn share(self, returned: &R) -> Option<R> {
        Some(returned.clone())
    }
    fn unshare(self, shared: &R) -> R {
        shared.clone()
    }
}

impl<O: Outcome<Returned = R>, R: Value> Outcome for OfWhole<O, R> {
    const NEW: Self = Self(PhantomData);
    type Returned = R;
    type Stored = R;
    type Shared = R;
    fn stored(self, returned: &R) -> Option<&R> {
        Some(returned)
    }
    fn returned(self, stored: R) -> R {
        stored
    }
    fn is_negative(self, returned: &R) -> bool {
        O::NEW.is_negative(returned)
    }
    fn is_stored_negative(self, stored: &R) -> bool {
        O::NEW.is_negative(stored)
    }
    fn share(self, returned: &R) -> Option<R> {
        Some(returned.clone())
    }
    fn unshare(self, shared: &R) -> R {
        shared.clone()
    }
}

impl<R, T> Outcome for Unusable<R, T> {
    const NEW: Self = Self(PhantomData);
    type Returned = R;
    type Stored = ();
    type Shared = Infallible;
    fn stored(self, _: &R) -> Option<&()> {
        None
    }
    fn returned(self, (): ()) -> R {
        unreachable!("a type that cannot be stored does not compile")
    }
    fn share(self, _: &R) -> Option<Infallible> {
        None
    }
    fn unshare(self, shared: &Infallible) -> R {
        match *shared {}
    }
}

macro_rules! usable {
    ($($name:ident<$($param:ident $(: $bound:ident)?),*> of $of:ty;)*) => {$(
        impl<$($param $(: $bound)?),*> Found for $name<$($param),*> {
            type Of = $of;
            type Outcome = Self;
            fn __outcome(self) -> Self {
                self
            }
        }
    )*};
}
usable! {
    OfResult<T: Value, E: Value> of T;
    OfUnshared<T: Value, E> of T;
    OfOption<T: Value> of T;
    OfPlain<R: Value> of R;
}

/// What was found where the value cannot be stored.
pub struct Refused<R, T>(PhantomData<fn() -> (R, T)>);
impl<R, T> Clone for Refused<R, T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<R, T> Copy for Refused<R, T> {}
impl<R, T> Found for Refused<R, T> {
    type Of = T;
    type Outcome = Unusable<R, T>;
    fn __outcome(self) -> Unusable<R, T> {
        Unusable::NEW
    }
}

// Each wrapper has one `__outcome`: were there several, the compiler would name all of them for a type that
// it does not know.
macro_rules! wrappers {
    ($($(#[$doc:meta])* $outer:ident around $inner:ident;)*) => {$(
        $(#[$doc])*
        pub struct $outer<F>($inner<F>);
        impl<F> $outer<F> {
            pub const NEW: Self = Self($inner::NEW);
        }
        impl<F> Deref for $outer<F> {
            type Target = $inner<F>;
            fn deref(&self) -> &$inner<F> {
                &self.0
            }
        }
    )*};
}
wrappers! {
    /// What returns it; the outermost of the wrappers that `__outcome` is looked up in.
    Ret around Unshared;
    Unshared around Optional;
    Optional around Whole;
    Whole around NoResult;
    NoResult around NoOption;
    NoOption around NoWhole;
}
pub struct NoWhole<F>(PhantomData<F>);

impl<F> NoWhole<F> {
    pub const NEW: Self = Self(PhantomData);
}

impl<T: Value, E: Value> Ret<fn() -> Result<T, E>> {
    #[must_use]
    pub fn __outcome(&self) -> OfResult<T, E> {
        OfResult::NEW
    }
}

impl<T: Value, E> Unshared<fn() -> Result<T, E>> {
    #[must_use]
    pub fn __outcome(&self) -> OfUnshared<T, E> {
        OfUnshared::NEW
    }
}

impl<T: Value> Optional<fn() -> Option<T>> {
    #[must_use]
    pub fn __outcome(&self) -> OfOption<T> {
        OfOption::NEW
    }
}

impl<R: Value> Whole<fn() -> R> {
    #[must_use]
    pub fn __outcome(&self) -> OfPlain<R> {
        OfPlain::NEW
    }
}

impl<T, E> NoResult<fn() -> Result<T, E>> {
    #[must_use]
    pub fn __outcome(&self) -> Refused<Result<T, E>, T> {
        Refused(PhantomData)
    }
}

impl<T> NoOption<fn() -> Option<T>> {
    #[must_use]
    pub fn __outcome(&self) -> Refused<Option<T>, T> {
        Refused(PhantomData)
    }
}

impl<R> NoWhole<fn() -> R> {
    #[must_use]
    pub fn __outcome(&self) -> Refused<R, R> {
        Refused(PhantomData)
    }
}

#[diagnostic::on_unimplemented(
    message = "`cache_err` needs a function that returns a `Result`, and this one returns `{Self}`",
    label = "there is no `Err` here that could be stored"
)]
pub trait IsResult {}
impl<T, E> IsResult for Result<T, E> {}

#[diagnostic::on_unimplemented(
    message = "`cache_none` needs a function that returns an `Option`, and this one returns `{Self}`",
    label = "there is no `None` here that could be stored"
)]
pub trait IsOption {}
impl<T> IsOption for Option<T> {}

/// An outcome that can also be stored whole.
pub trait Parts: Outcome {
    /// What must be storable for that, beside [`Outcome::Stored`].
    type Rest;
    type Whole: Outcome<Returned = Self::Returned>;
    fn whole(self) -> Self::Whole;
}

impl<T: Value, E: Value> Parts for OfResult<T, E> {
    type Rest = E;
    type Whole = OfWhole<Self, Result<T, E>>;
    fn whole(self) -> Self::Whole {
        OfWhole::NEW
    }
}

impl<T: Value> Parts for OfOption<T> {
    type Rest = ();
    type Whole = OfWhole<Self, Option<T>>;
    fn whole(self) -> Self::Whole {
        OfWhole::NEW
    }
}

macro_rules! no_parts {
    ($($name:ident<$($param:ident $(: $bound:ident)?),*> rest $rest:ty;)*) => {$(
        impl<$($param $(: $bound)?),*> Parts for $name<$($param),*> {
            type Rest = $rest;
            type Whole = Self;
            fn whole(self) -> Self {
                self
            }
        }
    )*};
}
no_parts! {
    OfUnshared<T: Value, E> rest E;
    OfPlain<R: Value> rest ();
    Unusable<R, T> rest ();
}

/// Stores `Err` too.
pub fn cache_err<O: Parts>(outcome: O) -> O::Whole
where
    O::Returned: IsResult,
    O::Rest: Cloneable + Shareable,
{
    outcome.whole()
}

/// Stores `None` too.
pub fn cache_none<O: Parts>(outcome: O) -> O::Whole
where
    O::Returned: IsOption,
{
    outcome.whole()
}

#[cfg(test)]
mod tests {
    use super::*;

    type Alias<T> = Result<T, String>;
    type Row<T> = Option<T>;
    struct NotClone;

    macro_rules! stores {
        ($($returned:expr => $type:ty, $expected:expr;)*) => {$({
            let outcome = value(Ret::<fn() -> $type>::NEW.__outcome());
            let returned: $type = $returned;
            assert_eq!(outcome.stored(&returned).map(|v| format!("{v:?}")), $expected.map(str::to_owned));
        })*};
    }

    #[test]
    fn results_and_options_are_told_by_type_through_aliases() {
        stores! {
            Ok(1) => Result<u8, NotClone>, Some("1");
            Err(NotClone) => Result<u8, NotClone>, None::<&str>;
            Err("e".into()) => Alias<u8>, None::<&str>;
            Ok(1) => Alias<u8>, Some("1");
            None => Row<u8>, None::<&str>;
            Some(1) => Row<u8>, Some("1");
            7 => u8, Some("7");
            vec![Ok(1)] => Vec<Alias<u8>>, Some("[Ok(1)]");
        }
    }

    #[test]
    fn the_whole_is_stored_where_asked_for() {
        let outcome = cache_err(value(Ret::<fn() -> Alias<u8>>::NEW.__outcome()));
        let failed = Err("e".to_owned());
        assert_eq!(outcome.stored(&failed), Some(&failed));
        assert!(outcome.is_negative(&failed) && !outcome.is_negative(&Ok(1)));
        let outcome = cache_none(value(Ret::<fn() -> Row<u8>>::NEW.__outcome()));
        assert_eq!(outcome.stored(&None), Some(&None));
        assert!(outcome.is_negative(&None) && !outcome.is_negative(&Some(1)));
    }
}
