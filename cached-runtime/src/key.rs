//! Keys: arguments seen by reference, hashed and compared without a copy, owned only to be stored.
//!
//! The attribute wraps each argument as `key(Arg::new(&x).__view())`. Which `__view` is meant is decided
//! by method lookup: it looks through a chain of wrappers, from `Arg` by way of `ByReference` and
//! `ByValue` to `NoValue`, and takes the first whose bounds hold. So borrowed types are seen as what
//! they borrow, and a type that cannot be a key still gets a view, one that fails in `key` with the
//! message of [`Key`] and nowhere else.

use std::borrow::{Borrow, Cow};
use std::hash::{Hash, Hasher};
use std::marker::PhantomData;
use std::ops::Deref;

/// What an argument must be to take part in a key: `Hash`, `Eq` and `Clone`
/// (or, for unsized types such as `str` and `[T]`, `ToOwned`), its owned form `Send + Sync + 'static`.
///
/// Implemented for every such type; never implemented by hand. A generic function can ask for it
/// in one word:
///
/// ```
/// use cached_runtime::{Key, cached};
///
/// #[cached(timeout = 60)]
/// fn describe<T: Key + ToString + Clone>(thing: T) -> String {
///     thing.to_string()
/// }
/// assert_eq!(describe(7_u8), "7");
/// ```
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be part of a cache key",
    label = "a key is hashed, compared and kept: it needs `Hash`, `Eq`, `Clone`, `Send` and `Sync`",
    note = "leave the argument out of the key: `#[cached(skip(argument))]`",
    note = "or compute the key from the arguments: `#[cached(key = ...)]`"
)]
pub trait Key: Hash + Eq + ToOwned<Owned: Borrow<Self> + Send + Sync + 'static> {}

#[diagnostic::do_not_recommend]
impl<T> Key for T where T: ?Sized + Hash + Eq + ToOwned<Owned: Send + Sync + 'static> {}

/// A `self` that takes part in the key; as [`Key`], with the three ways out in its message.
#[diagnostic::on_unimplemented(
    message = "`self` of type `{Self}` cannot be part of a cache key, and a method must say what of `self` is",
    label = "the result may depend on `self`",
    note = "if it does not: `#[cached(skip(self))]`",
    note = "if it depends on a part of it: `#[cached(key = (self.id, ...))]`",
    note = "if it depends on all of it: derive `Hash`, `PartialEq`, `Eq` and `Clone` for the type"
)]
pub trait SelfKey {}

#[diagnostic::do_not_recommend]
impl<T: ?Sized + Key> SelfKey for T {}

/// A key, or a part of one, by reference.
pub trait Part {
    /// What is kept in the store.
    type Owned: Send + Sync + 'static;
    fn hash<H: Hasher>(&self, hasher: &mut H);
    fn matches(&self, owned: &Self::Owned) -> bool;
    fn own(&self) -> Self::Owned;
    /// Whether two owned keys are the same.
    fn same(one: &Self::Owned, other: &Self::Owned) -> bool;
    /// As [`hash`](Self::hash) of what it was made from.
    fn hash_owned<H: Hasher>(owned: &Self::Owned, hasher: &mut H);
    /// Whether none of its tags was invalidated since it was made or renewed.
    fn is_live(_: &Self::Owned) -> bool {
        true
    }
    /// What it is the key of begins only now.
    fn renew(_: &mut Self::Owned) {}
}

macro_rules! tuples {
    ($(($($part:ident $at:tt),*))*) => {$(
        #[expect(clippy::allow_attributes, reason = "the empty tuple uses less than the others")]
        #[allow(unused_variables, clippy::unused_unit, clippy::used_underscore_binding)]
        impl<$($part: Part),*> Part for ($($part,)*) {
            type Owned = ($($part::Owned,)*);
            #[inline]
            fn hash<H: Hasher>(&self, hasher: &mut H) {
                $(self.$at.hash(hasher);)*
            }
            #[inline]
            fn matches(&self, owned: &Self::Owned) -> bool {
                true $(&& self.$at.matches(&owned.$at))*
            }
            fn own(&self) -> Self::Owned {
                ($(self.$at.own(),)*)
            }
            fn same(one: &Self::Owned, other: &Self::Owned) -> bool {
                true $(&& $part::same(&one.$at, &other.$at))*
            }
            fn hash_owned<H: Hasher>(owned: &Self::Owned, hasher: &mut H) {
                $($part::hash_owned(&owned.$at, hasher);)*
            }
        }
    )*};
}
// Of more than eight parts the attribute makes a tuple in a tuple.
tuples! {
    ()
    (A 0)
    (A 0, B 1)
    (A 0, B 1, C 2)
    (A 0, B 1, C 2, D 3)
    (A 0, B 1, C 2, D 3, E 4)
    (A 0, B 1, C 2, D 3, E 4, F 5)
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6)
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6, I 7)
}

/// One value.
pub struct One<'a, T: ?Sized>(&'a T);

#[cfg(feature = "backend")]
impl<'a, T: ?Sized> One<'a, T> {
    pub(crate) fn get(&self) -> &'a T {
        self.0
    }
}

#[cfg(feature = "backend")]
impl<'a, T: ?Sized> Maybe<'a, T> {
    pub(crate) fn get(&self) -> Option<&'a T> {
        self.0
    }
}

#[cfg(feature = "backend")]
impl<'a, 'b, T: ?Sized> Many<'a, 'b, T> {
    pub(crate) fn get(&self) -> &'a [&'b T] {
        self.0
    }
}

impl<T: ?Sized + Key> Part for One<'_, T> {
    type Owned = T::Owned;
    #[inline]
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        self.0.hash(hasher);
    }
    #[inline]
    fn matches(&self, owned: &T::Owned) -> bool {
        self.0 == owned.borrow()
    }
    fn own(&self) -> T::Owned {
        self.0.to_owned()
    }
    fn same(one: &T::Owned, other: &T::Owned) -> bool {
        one.borrow() == other.borrow()
    }
    fn hash_owned<H: Hasher>(owned: &T::Owned, hasher: &mut H) {
        owned.borrow().hash(hasher);
    }
}

/// An optional reference.
pub struct Maybe<'a, T: ?Sized>(Option<&'a T>);

impl<T: ?Sized + Key> Part for Maybe<'_, T> {
    type Owned = Option<T::Owned>;
    #[inline]
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        self.0.hash(hasher);
    }
    #[inline]
    fn matches(&self, owned: &Self::Owned) -> bool {
        self.0 == owned.as_ref().map(Borrow::borrow)
    }
    fn own(&self) -> Self::Owned {
        self.0.map(ToOwned::to_owned)
    }
    fn same(one: &Self::Owned, other: &Self::Owned) -> bool {
        one.as_ref().map(Borrow::borrow) == other.as_ref().map(Borrow::borrow)
    }
    fn hash_owned<H: Hasher>(owned: &Self::Owned, hasher: &mut H) {
        owned.as_ref().map(Borrow::borrow).hash(hasher);
    }
}

/// A sequence of references.
pub struct Many<'a, 'b, T: ?Sized>(&'a [&'b T]);

impl<T: ?Sized + Key> Part for Many<'_, '_, T> {
    type Owned = Box<[T::Owned]>;
    #[inline]
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        self.0.len().hash(hasher);
        self.0.iter().for_each(|item| item.hash(hasher));
    }
    #[inline]
    fn matches(&self, owned: &Self::Owned) -> bool {
        self.0.iter().copied().eq(owned.iter().map(Borrow::borrow))
    }
    fn own(&self) -> Self::Owned {
        self.0.iter().map(|item| (*item).to_owned()).collect()
    }
    fn same(one: &Self::Owned, other: &Self::Owned) -> bool {
        one.iter().map(Borrow::borrow).eq(other.iter().map(Borrow::borrow))
    }
    fn hash_owned<H: Hasher>(owned: &Self::Owned, hasher: &mut H) {
        owned.len().hash(hasher);
        owned.iter().map(Borrow::borrow).for_each(|item: &T| item.hash(hasher));
    }
}

/// Stands in for an argument that cannot be a key, after the error has been reported.
pub struct Unusable(());

impl Part for Unusable {
    type Owned = ();
    fn hash<H: Hasher>(&self, _: &mut H) {}
    fn matches(&self, (): &()) -> bool {
        false
    }
    fn own(&self) {}
    fn same((): &(), (): &()) -> bool {
        false
    }
    fn hash_owned<H: Hasher>((): &(), _: &mut H) {}
}

/// An argument whose type cannot be a key.
pub struct Refused<T: ?Sized>(PhantomData<T>);

/// What was found out about an argument: the type that must be a key, and its part.
pub trait View {
    type Of: ?Sized;
    /// The type, if it borrows and is not seen as what it borrows; else `()`.
    type Borrowing: ?Sized;
    type Part: Part;
    fn part(self) -> Self::Part;
}

macro_rules! views {
    ($($view:ty),*) => {$(
        impl<T: ?Sized + Key> View for $view {
            type Of = T;
            type Borrowing = ();
            type Part = Self;
            #[inline]
            fn part(self) -> Self {
                self
            }
        }
        impl<T: ?Sized> $view {
            /// The view of a type that is known to borrow.
            #[inline]
            pub fn borrowing(self) -> Self {
                self
            }
        }
    )*};
}
views!(One<'_, T>, Maybe<'_, T>, Many<'_, '_, T>);

/// An argument that is seen as it is.
pub struct Plain<'a, T: ?Sized>(One<'a, T>);

impl<'a, T: ?Sized> Plain<'a, T> {
    #[inline]
    pub fn borrowing(self) -> Deep<'a, T> {
        Deep(self.0)
    }
}

impl<'a, T: ?Sized + Key> View for Plain<'a, T> {
    type Of = T;
    type Borrowing = ();
    type Part = One<'a, T>;
    #[inline]
    fn part(self) -> One<'a, T> {
        self.0
    }
}

/// The same of one that borrows.
pub struct Deep<'a, T: ?Sized>(One<'a, T>);

impl<'a, T: ?Sized + Key> View for Deep<'a, T> {
    type Of = T;
    type Borrowing = T;
    type Part = One<'a, T>;
    fn part(self) -> One<'a, T> {
        self.0
    }
}

impl<T: ?Sized> Refused<T> {
    #[must_use]
    pub fn borrowing(self) -> Self {
        self
    }
}

impl<T: ?Sized> View for Refused<T> {
    type Of = T;
    type Borrowing = ();
    type Part = Unusable;
    fn part(self) -> Unusable {
        Unusable(())
    }
}

/// What a key can follow. A type's lifetimes do not take part in method lookup, so that one that borrows
/// is found to be a key, and would be refused only by the borrow checker, which cannot say why.
#[diagnostic::on_unimplemented(
    message = "`{Self}` borrows deeper than a cache key can follow",
    label = "a key follows `&T`, `Option<&T>`, `Cow<T>`, lists of `&T`, and tuples of these",
    note = "leave the argument out of the key: `#[cached(skip(argument))]`",
    note = "or compute an owned key from the arguments: `#[cached(key = ...)]`"
)]
pub trait Followed {}

#[diagnostic::do_not_recommend]
impl Followed for () {}

/// An argument as a part of the key; the one place where a type that cannot be a key is an error.
#[inline]
pub fn key<V: View>(view: V) -> V::Part
where
    V::Of: Key,
    V::Borrowing: Followed,
{
    view.part()
}

/// [`key`] for `self`.
#[inline]
pub fn self_key<V: View>(view: V) -> V::Part
where
    V::Of: SelfKey,
{
    view.part()
}

// Each wrapper has one `__view`: were there several, the compiler would name all of them for a type that
// it does not know.
macro_rules! wrappers {
    ($($(#[$doc:meta])* $outer:ident around $inner:ident;)*) => {$(
        $(#[$doc])*
        pub struct $outer<'a, T: ?Sized>($inner<'a, T>);
        impl<'a, T: ?Sized> $outer<'a, T> {
            #[inline]
            pub fn new(argument: &'a T) -> Self {
                Self($inner::new(argument))
            }
        }
        impl<'a, T: ?Sized> Deref for $outer<'a, T> {
            type Target = $inner<'a, T>;
            #[inline]
            fn deref(&self) -> &Self::Target {
                &self.0
            }
        }
    )*};
}
wrappers! {
    /// An argument by reference; the outermost of the wrappers that `__view` is looked up in.
    Arg around OfList;
    OfList around OfArray;
    OfArray around OfReference;
    OfReference around ByReference;
    ByReference around ByOption;
    ByOption around ByCow;
    ByCow around ByValue;
    ByValue around NoReference;
    NoReference around NoOption;
    NoOption around NoValue;
}
pub struct NoValue<'a, T: ?Sized>(&'a T);

impl<'a, T: ?Sized> NoValue<'a, T> {
    #[inline]
    pub fn new(argument: &'a T) -> Self {
        Self(argument)
    }

    #[inline]
    fn argument(&self) -> &'a T {
        self.0
    }
}

impl<'a, 'b, T: ?Sized + Key> Arg<'a, &'b [&'b T]> {
    #[inline]
    pub fn __view(&self) -> Many<'a, 'b, T> {
        Many(self.argument())
    }
}

impl<'a, 'b, T: ?Sized + Key> OfList<'a, Vec<&'b T>> {
    #[inline]
    pub fn __view(&self) -> Many<'a, 'b, T> {
        Many(self.argument())
    }
}

impl<'a, 'b, T: ?Sized + Key, const N: usize> OfArray<'a, [&'b T; N]> {
    #[inline]
    pub fn __view(&self) -> Many<'a, 'b, T> {
        Many(self.argument())
    }
}

impl<'a, 'b, T: ?Sized + Key> OfReference<'a, &'b &'b T> {
    #[inline]
    pub fn __view(&self) -> One<'a, T> {
        One(self.argument())
    }
}

impl<'a, T: ?Sized + Key> ByReference<'a, &T> {
    #[inline]
    pub fn __view(&self) -> One<'a, T> {
        One(self.argument())
    }
}

impl<'a, T: ?Sized + Key> ByOption<'a, Option<&T>> {
    #[inline]
    pub fn __view(&self) -> Maybe<'a, T> {
        Maybe(*self.argument())
    }
}

impl<'a, T: ?Sized + Key> ByCow<'a, Cow<'_, T>> {
    #[inline]
    pub fn __view(&self) -> One<'a, T> {
        One(self.argument())
    }
}

impl<'a, T: ?Sized + Key> ByValue<'a, T> {
    #[inline]
    pub fn __view(&self) -> Plain<'a, T> {
        Plain(One(self.argument()))
    }
}

impl<T: ?Sized> NoReference<'_, &T> {
    #[inline]
    pub fn __view(&self) -> Refused<T> {
        Refused(PhantomData)
    }
}

impl<T: ?Sized> NoOption<'_, Option<&T>> {
    #[inline]
    pub fn __view(&self) -> Refused<T> {
        Refused(PhantomData)
    }
}

impl<T: ?Sized> NoValue<'_, T> {
    #[inline]
    pub fn __view(&self) -> Refused<T> {
        Refused(PhantomData)
    }
}

/// The type of a value as part of a function's identity.
#[must_use]
pub fn type_of<T: ?Sized>(_: &T) -> PhantomData<T> {
    PhantomData
}

/// Two identities in one.
#[must_use]
pub fn both<A: ?Sized, B: ?Sized>(
    _: PhantomData<A>,
    _: PhantomData<B>,
) -> PhantomData<(PhantomData<A>, PhantomData<B>)> {
    PhantomData
}

#[cfg(test)]
mod tests {
    use std::collections::hash_map::DefaultHasher;
    use std::path::Path;

    use super::*;

    fn hash_of<P: Part>(part: &P) -> u64 {
        let mut hasher = DefaultHasher::new();
        part.hash(&mut hasher);
        hasher.finish()
    }

    fn hash_of_owned<P: Part>(part: &P) -> u64 {
        let mut hasher = DefaultHasher::new();
        P::hash_owned(&part.own(), &mut hasher);
        hasher.finish()
    }

    /// The owned form matches its own view and no other, and hashes alike.
    macro_rules! same {
        ($($one:expr, $other:expr;)*) => {$({
            let (one, other) = ($one, $other);
            let (view, other) = (key(Arg::new(&one).__view()), key(Arg::new(&other).__view()));
            assert!(view.matches(&view.own()), stringify!($one));
            assert_eq!(hash_of(&view), hash_of_owned(&view), stringify!($one));
            assert!(!view.matches(&other.own()), stringify!($one));
            assert_ne!(hash_of(&view), hash_of(&other));
        })*};
    }

    #[test]
    fn every_kind_of_argument_matches_its_owned_form() {
        let (a, b) = (String::from("a"), String::from("b"));
        same! {
            1_u8, 2;
            "a", "b";
            &[1_u8, 2][..], &[1_u8][..];
            Path::new("a"), Path::new("b");
            &a, &b;
            Some("a"), None::<&str>;
            Some(1), None::<i32>;
            Cow::Borrowed("a"), Cow::Borrowed("b");
            &["a", "b"][..], &["ab"][..];
            vec!["a", "b"], vec!["b", "a"];
            ["a", "b"], ["ab", ""];
            (1, a.clone()), (1, b.clone());
            &"a", &"b";
        }
    }

    #[test]
    fn borrowed_and_owned_arguments_hash_alike() {
        let owned = String::from("a");
        let borrowed = key(Arg::new(&"a").__view());
        assert_eq!(hash_of(&borrowed), hash_of(&key(Arg::new(&owned).__view())));
        assert!(borrowed.matches(&owned));
    }

    #[test]
    fn parts_do_not_run_into_one_another() {
        let hash = |a: &str, b: &str| hash_of(&(key(Arg::new(&a).__view()), key(Arg::new(&b).__view())));
        assert_ne!(hash("1:y:2", "3"), hash("1", "2:y:3"));
        assert_ne!(hash("", "a"), hash("a", ""));
    }
}
