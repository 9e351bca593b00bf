//! Arguments that outlive their call: an owned copy of each, made when a value is to be computed anew in the
//! background, and lent to the function there in the form that it takes.
//!
//! `own::reference(&lang)` makes the copy; `copy.lend().pass()` is the argument again. What is lent is the copy
//! itself, or where a reference needs something between the two, such as the list of `&[&T]`, that.

use std::borrow::{Borrow, Cow};

#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be taken along into the background, where a value is computed anew",
    label = "for that a copy is needed: the argument must be `Clone`, `Send` and `'static`",
    note = "with `revalidate = \"inline\"` one of the callers computes, with the arguments that it has"
)]
pub trait Ownable: Clone + Send + 'static {}

#[diagnostic::do_not_recommend]
impl<T: Clone + Send + 'static> Ownable for T {}

/// [`Ownable`] of what an argument refers to.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be taken along into the background, where a value is computed anew",
    label = "for that a copy is needed: what is referred to must be `Clone`, `Send`, `Sync` and `'static`",
    note = "with `revalidate = \"inline\"` one of the callers computes, with the arguments that it has"
)]
pub trait OwnableReferent: ToOwned<Owned: Borrow<Self> + Send + Sync + 'static> {}

#[diagnostic::do_not_recommend]
impl<T: ?Sized + ToOwned<Owned: Send + Sync + 'static>> OwnableReferent for T {}

/// `T`
pub struct Value<T>(Option<T>);

pub fn value<T: Ownable>(argument: &T) -> Value<T> {
    Value(Some(argument.clone()))
}

impl<T> Value<T> {
    pub fn lend(&mut self) -> &mut Self {
        self
    }

    pub fn pass(&mut self) -> T {
        match self.0.take() {
            Some(argument) => argument,
            None => unreachable!("a function is called once with what was copied for it"),
        }
    }
}

/// The owned form of a `T`, whatever its type. It is not spelled, so that what is no owned form of anything is one
/// error, where the copy is made.
trait Lends<T: ?Sized>: Send + Sync {
    fn lent(&self) -> &T;
}

impl<T: ?Sized, O: Borrow<T> + Send + Sync> Lends<T> for O {
    fn lent(&self) -> &T {
        self.borrow()
    }
}

/// `&T`
pub struct Reference<T: ?Sized>(Box<dyn Lends<T>>);

pub fn reference<T: ?Sized + OwnableReferent>(argument: &&T) -> Reference<T> {
    Reference(Box::new((*argument).to_owned()))
}

impl<T: ?Sized> Reference<T> {
    pub fn lend(&self) -> &Self {
        self
    }

    pub fn pass(&self) -> &T {
        (*self.0).lent()
    }
}

/// `&&T`
pub struct Twice<T: ?Sized>(Reference<T>);

pub fn twice<T: ?Sized + OwnableReferent>(argument: &&&T) -> Twice<T> {
    Twice(reference(argument))
}

impl<T: ?Sized> Twice<T> {
    pub fn lend(&self) -> LentTwice<'_, T> {
        LentTwice(self.0.pass())
    }
}

pub struct LentTwice<'a, T: ?Sized>(&'a T);

impl<'a, T: ?Sized> LentTwice<'a, T> {
    pub fn pass(&self) -> &&'a T {
        &self.0
    }
}

/// `Option<&T>`
pub struct Optional<T: ?Sized>(Option<Reference<T>>);

#[expect(clippy::ref_option_ref, reason = "as the expansion has it")]
pub fn optional<T: ?Sized + OwnableReferent>(argument: &Option<&T>) -> Optional<T> {
    Optional(argument.as_ref().map(reference))
}

impl<T: ?Sized> Optional<T> {
    pub fn lend(&self) -> &Self {
        self
    }

    pub fn pass(&self) -> Option<&T> {
        self.0.as_ref().map(Reference::pass)
    }
}

/// `Cow<T>`
pub struct Either<T: ?Sized>(Reference<T>);

#[expect(clippy::ptr_arg, reason = "as the expansion has it")]
pub fn cow<T: ?Sized + OwnableReferent>(argument: &Cow<'_, T>) -> Either<T> {
    Either(reference(&&**argument))
}

impl<T: ?Sized + ToOwned> Either<T> {
    pub fn lend(&self) -> &Self {
        self
    }

    pub fn pass(&self) -> Cow<'_, T> {
        Cow::Borrowed(self.0.pass())
    }
}

/// `&[&T]`
pub struct Slice<T: ?Sized>(List<T>);

pub fn slice<T: ?Sized + OwnableReferent>(argument: &&[&T]) -> Slice<T> {
    Slice(list(argument))
}

impl<T: ?Sized> Slice<T> {
    pub fn lend(&self) -> LentSlice<'_, T> {
        LentSlice(self.0.pass())
    }
}

pub struct LentSlice<'a, T: ?Sized>(Vec<&'a T>);

impl<'a, T: ?Sized> LentSlice<'a, T> {
    pub fn pass(&self) -> &[&'a T] {
        &self.0
    }
}

/// `Vec<&T>`
pub struct List<T: ?Sized>(Vec<Reference<T>>);

pub fn list<T: ?Sized + OwnableReferent>(argument: &[&T]) -> List<T> {
    List(argument.iter().map(reference).collect())
}

impl<T: ?Sized> List<T> {
    pub fn lend(&self) -> &Self {
        self
    }

    pub fn pass(&self) -> Vec<&T> {
        self.0.iter().map(Reference::pass).collect()
    }
}

/// `[&T; N]`
pub struct Array<T: ?Sized, const N: usize>([Reference<T>; N]);

pub fn array<T: ?Sized + OwnableReferent, const N: usize>(argument: &[&T; N]) -> Array<T, N> {
    Array(argument.each_ref().map(reference))
}

impl<T: ?Sized, const N: usize> Array<T, N> {
    pub fn lend(&self) -> &Self {
        self
    }

    pub fn pass(&self) -> [&T; N] {
        self.0.each_ref().map(Reference::pass)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_argument_is_passed_on_as_it_was() {
        let mut copy = value(&7);
        assert_eq!(copy.lend().pass(), 7);
        let (a, b) = (String::from("a"), String::from("b"));
        assert_eq!(reference(&a.as_str()).lend().pass(), "a");
        assert_eq!(twice(&&a.as_str()).lend().pass(), &"a");
        assert_eq!(optional(&Some(a.as_str())).lend().pass(), Some("a"));
        assert_eq!(optional::<str>(&None).lend().pass(), None);
        assert_eq!(cow(&Cow::Borrowed(a.as_str())).lend().pass(), "a");
        assert_eq!(slice(&&[a.as_str(), &b][..]).lend().pass(), ["a", "b"]);
        assert_eq!(list(&[a.as_str(), &b]).lend().pass(), ["a", "b"]);
        assert_eq!(array(&[a.as_str(), &b]).lend().pass(), ["a", "b"]);
    }
}
