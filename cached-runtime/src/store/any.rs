//! Keys and values whose types only their table knows: what goes by these is compiled once, and not for each function.

use std::any::Any;
use std::hash::{BuildHasher, Hasher};

use foldhash::fast::RandomState;

use crate::key::Part;

/// An owned key.
pub(crate) struct AnyKey(Box<dyn Any + Send + Sync>);

/// The same, borrowed.
#[derive(Clone, Copy)]
pub(crate) struct KeyRef<'a>(&'a (dyn Any + Send + Sync));

impl AnyKey {
    pub(crate) fn new<K: Send + Sync + 'static>(key: K) -> Self {
        Self(Box::new(key))
    }

    pub(crate) fn view(&self) -> KeyRef<'_> {
        KeyRef(&*self.0)
    }

    /// The key, in a table of this type of them.
    pub(crate) fn into_key<K: 'static>(self) -> K {
        match self.0.downcast() {
            Ok(key) => *key,
            Err(_) => is_of_other_type(),
        }
    }
}

impl<'a> KeyRef<'a> {
    pub(crate) fn new<K: Send + Sync + 'static>(key: &'a K) -> Self {
        Self(key)
    }

    /// The key, of a table of this type of them.
    pub(crate) fn key<K: 'static>(self) -> &'a K {
        match self.0.downcast_ref() {
            Some(key) => key,
            None => is_of_other_type(),
        }
    }
}

/// A stored value.
#[derive(Clone, Copy)]
pub(crate) struct ValueRef<'a>(&'a (dyn Any + Send + Sync));

impl<'a> ValueRef<'a> {
    pub(crate) fn new<S: Send + Sync + 'static>(value: &'a S) -> Self {
        Self(value)
    }

    /// The value, of a table of this type of them.
    pub(crate) fn value<S: 'static>(self) -> &'a S {
        match self.0.downcast_ref() {
            Some(value) => value,
            None => is_of_other_type(),
        }
    }
}

#[cold]
#[inline(never)]
fn is_of_other_type() -> ! {
    unreachable!("all keys of a table are of one type, and all values")
}

/// How the keys of a table are hashed and compared.
#[derive(Clone, Copy)]
pub(crate) struct Keys {
    pub(super) hash: fn(KeyRef<'_>, &RandomState) -> u64,
    pub(super) same: fn(KeyRef<'_>, KeyRef<'_>) -> bool,
    pub(super) is_live: fn(KeyRef<'_>) -> bool,
    pub(super) renew: fn(&mut AnyKey),
}

impl Keys {
    /// As the view `P` does it.
    pub(crate) fn of<P: Part>() -> Self {
        Self {
            hash: |key, seed| {
                let mut hasher = seed.build_hasher();
                P::hash_owned(key.key(), &mut hasher);
                hasher.finish()
            },
            same: |one, other| P::same(one.key(), other.key()),
            is_live: |key| P::is_live(key.key()),
            renew: |key| {
                if let Some(key) = key.0.downcast_mut() {
                    P::renew(key);
                }
            },
        }
    }

    pub(crate) fn hash(self, key: KeyRef<'_>, seed: &RandomState) -> u64 {
        (self.hash)(key, seed)
    }

    pub(crate) fn same(self, one: KeyRef<'_>, other: KeyRef<'_>) -> bool {
        (self.same)(one, other)
    }

    /// Whether a key is this one, if there is one.
    pub(crate) fn is(self, key: Option<&AnyKey>) -> impl Fn(KeyRef<'_>) -> bool + Copy {
        move |it| key.is_some_and(|key| self.same(it, key.view()))
    }

    /// Whether none of its tags was invalidated since a key was made or renewed.
    pub(crate) fn is_live(self, key: KeyRef<'_>) -> bool {
        (self.is_live)(key)
    }

    /// What this is the key of begins only now.
    pub(crate) fn renew(self, key: &mut AnyKey) {
        (self.renew)(key);
    }
}
