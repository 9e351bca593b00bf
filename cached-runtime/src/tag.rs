//! Tags: labels of entries, for invalidating groups of them.
//!
//! Each invalidation of a tag has a number, and an entry that of the last one before its computation began. For
//! each tag the number of its own last invalidation is looked up in a table that never grows: at two places that
//! the tag hashes to, of which the smaller number counts. Other tags may have raised both, but none lowers either
//! (a count-min sketch, Cormode and Muthukrishnan, 2005, of maxima): an entry can be lost, and never kept, by that.

use std::hash::{BuildHasher, Hash, Hasher};
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{AcqRel, Acquire};

use foldhash::quality::RandomState;
use once_cell::sync::Lazy;

#[cfg(feature = "backend")]
use crate::backend::name;
use crate::key::Part;
use crate::store::Inner;

/// Two megabytes, by and by, as tags are invalidated. With thirty thousand invalidations in an entry's life, one entry
/// in twenty-five is lost to others' tags; with a hundred thousand, nearly three of ten.
const PLACES: u32 = 1 << 18;

/// The number of the last invalidation of any tag, and of those at each place.
static NUMBER: AtomicU64 = AtomicU64::new(0);
static LAST: [AtomicU64; PLACES as usize] = [const { AtomicU64::new(0) }; PLACES as usize];

/// Where the number of a tag's last invalidation is.
type Places = [u32; 2];

/// What other processes call a tag.
#[cfg(feature = "backend")]
pub(crate) fn known_as(tag: &str) -> u128 {
    // A copy that nobody tells of has this one.
    if tag.is_empty() { 0 } else { name::hash(tag.as_bytes()) }
}

#[cfg(not(feature = "backend"))]
fn known_as(tag: &str) -> &str {
    tag
}

/// Stores have tags of their own.
fn places(store: &'static Inner, tag: impl Hash) -> Places {
    static SEED: Lazy<RandomState> = Lazy::new(RandomState::default);
    let hash = SEED.hash_one((std::ptr::from_ref(store) as usize, tag));
    [hash >> 32, hash].map(|part| u32::try_from(part % u64::from(PLACES)).unwrap_or_default())
}

/// What has one of these tags and began before is not served any more.
pub(crate) fn invalidate(store: &'static Inner, tag: &str) {
    invalidate_known(store, known_as(tag));
}

/// The same of a tag by what others call it.
pub(crate) fn invalidate_known(store: &'static Inner, tag: impl Hash + Copy) {
    let number = NUMBER.fetch_add(1, AcqRel) + 1;
    for place in places(store, tag) {
        LAST[place as usize].fetch_max(number, AcqRel);
    }
}

/// The key of an entry with tags.
pub struct TaggedKey<K, const N: usize> {
    key: K,
    tags: [Places; N],
    /// The number of the last invalidation before the computation began.
    since: u64,
}

impl<K, const N: usize> TaggedKey<K, N> {
    #[inline]
    fn is_live(&self) -> bool {
        let last = |places: &Places| places.map(|place| LAST[place as usize].load(Acquire));
        self.tags.iter().map(last).all(|[one, other]| one.min(other) <= self.since)
    }
}

/// A key with what its tags are: as a key it is found only if none of them was invalidated.
pub struct Tagged<'a, P, const N: usize> {
    key: P,
    tags: &'a dyn Fn() -> [String; N],
}

/// The tags are made only where the key is owned.
#[inline]
pub fn tagged<P: Part, const N: usize>(key: P, tags: &dyn Fn() -> [String; N]) -> Tagged<'_, P, N> {
    Tagged { key, tags }
}

#[cfg(feature = "backend")]
impl<P, const N: usize> Tagged<'_, P, N> {
    pub(crate) fn key(&self) -> &P {
        &self.key
    }

    pub(crate) fn texts(&self) -> [String; N] {
        (self.tags)()
    }

    pub(crate) fn into_key(self) -> P {
        self.key
    }
}

impl<P: Part, const N: usize> Part for Tagged<'_, P, N> {
    type Owned = TaggedKey<P::Owned, N>;
    #[inline]
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        self.key.hash(hasher);
    }
    #[inline]
    fn matches(&self, owned: &Self::Owned) -> bool {
        self.key.matches(&owned.key) && owned.is_live()
    }
    fn own(&self) -> Self::Owned {
        let store = Inner::current();
        let since = NUMBER.load(Acquire);
        TaggedKey { key: self.key.own(), tags: (self.tags)().map(|tag| places(store, known_as(&tag))), since }
    }
    fn same(one: &Self::Owned, other: &Self::Owned) -> bool {
        P::same(&one.key, &other.key)
    }
    fn hash_owned<H: Hasher>(owned: &Self::Owned, hasher: &mut H) {
        P::hash_owned(&owned.key, hasher);
    }
    fn is_live(owned: &Self::Owned) -> bool {
        P::is_live(&owned.key) && owned.is_live()
    }
    fn renew(owned: &mut Self::Owned) {
        P::renew(&mut owned.key);
        owned.since = NUMBER.load(Acquire);
    }
}

#[cfg(all(test, feature = "testing"))]
mod tests {
    use super::*;
    use crate::key::{Arg, key};

    fn of<const N: usize>(tags: [&str; N]) -> TaggedKey<(), N> {
        tagged((), &|| tags.map(str::to_owned)).own()
    }

    fn same_of<P: Part>(_: &P) -> fn(&P::Owned, &P::Owned) -> bool {
        P::same
    }

    #[test]
    fn few_entries_are_lost_to_the_tags_of_others_and_none_is_kept() {
        let _own = crate::testing::isolated();
        let names: Vec<_> = (0..2000).map(|n| format!("own:{n}")).collect();
        let keys: Vec<_> = names.iter().map(|name| of([name])).collect();
        (0..3000).for_each(|n| invalidate(Inner::current(), &format!("other:{n}")));
        let lost = keys.iter().filter(|key| !key.is_live()).count();
        assert!(lost < 2000 / 50, "{lost} of 2000");
        for name in &names {
            invalidate(Inner::current(), name);
        }
        assert!(!keys.iter().any(TaggedKey::is_live));
        assert!(names.iter().all(|name| of([name]).is_live()));
    }

    #[test]
    fn one_of_several_tags_is_enough() {
        let _own = crate::testing::isolated();
        for tag in ["a", "b", "c"] {
            let mut key = of(["a", "b", "c"]);
            assert!(key.is_live());
            invalidate(Inner::current(), tag);
            assert!(!key.is_live(), "{tag}");
            <Tagged<'_, (), 3> as Part>::renew(&mut key);
            assert!(key.is_live());
        }
    }

    #[test]
    fn a_tagged_key_is_the_key_but_for_being_found() {
        let _own = crate::testing::isolated();
        let number = 7;
        let tags = || ["a".to_owned()];
        let part = tagged((key(Arg::new(&number).__view()),), &tags);
        let (old, same) = (part.own(), same_of(&part));
        invalidate(Inner::current(), "a");
        let new = part.own();
        assert!(!part.matches(&old) && part.matches(&new));
        // So that the new one takes the place of the old one.
        assert!(same(&old, &new));
    }
}
