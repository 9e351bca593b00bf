//! A hash index that is read without a lock: buckets of seven slots behind a word of tags.
//!
//! Readers load the word, compare seven tag bytes at once, and follow the slots that match. A lookup
//! that runs beside a write may miss an entry, never find a wrong one; who must know asks again under
//! the writers' lock. A bucket that is full lets entries spill into the next one and counts them, so
//! that readers know whether to look on. Removed entries are freed by epoch reclamation.
//!
//! Buckets of tags: as in F14 (Bronson, Shi: “Open-sourcing F14”, 2019), without its vector units.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};

use sdd::{AtomicShared, Guard, Shared, Tag};

const WAYS: usize = 7;
/// The lowest bit of each tag byte.
const LOW: u64 = 0x0001_0101_0101_0101;
/// The highest bit of each tag byte; set in every tag, so that 0 means empty.
const HIGH: u64 = LOW << 7;
const SPILLED_SHIFT: u32 = 56;
/// A bucket that has spilled this often no longer counts; it is put right when the index grows.
const SPILLED_MAX: u64 = 0xff;

#[repr(align(64))]
struct Bucket<T> {
    /// Seven tags, and in the top byte how many entries have spilled past this bucket.
    tags: AtomicU64,
    slots: [AtomicShared<T>; WAYS],
}

impl<T> Bucket<T> {
    fn new() -> Self {
        Self { tags: AtomicU64::new(0), slots: std::array::from_fn(|_| AtomicShared::null()) }
    }
}

/// The tag of a hash: its upper seven bits, which no small index uses to choose the bucket.
#[inline]
fn tag(hash: u64) -> u64 {
    (hash >> 57) | 0x80
}

/// The high bit of every byte of `word` that equals the same byte of `wanted`; a byte above a match may
/// be set wrongly, which the comparison of keys puts right.
#[inline]
fn matching(word: u64, wanted: u64) -> u64 {
    let difference = word ^ wanted;
    difference.wrapping_sub(LOW) & !difference & HIGH
}

/// A power of two of buckets.
struct Buckets<T>(Box<[Bucket<T>]>);

/// A walk through all buckets, round the end.
struct Probe {
    next: usize,
    left: usize,
    mask: usize,
}

impl Iterator for Probe {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        self.left = self.left.checked_sub(1)?;
        let bucket = self.next;
        self.next = (bucket + 1) & self.mask;
        Some(bucket)
    }
}

/// Where an entry is.
#[derive(Clone, Copy)]
struct Place {
    bucket: usize,
    slot: usize,
}

impl<T: Send + Sync + 'static> Buckets<T> {
    fn new(count: usize) -> Self {
        Self((0..count).map(|_| Bucket::new()).collect())
    }

    /// The buckets that an entry of this hash may be in, from its home on.
    #[inline]
    fn probe(&self, hash: u64) -> Probe {
        let mask = self.0.len() - 1;
        #[expect(clippy::cast_possible_truncation, reason = "the low bits are what is wanted")]
        let home = hash as usize & mask;
        Probe { next: home, left: mask + 1, mask }
    }

    #[inline]
    fn find<'g>(&self, hash: u64, is_it: impl Fn(&T) -> bool, guard: &'g Guard) -> Option<(Place, &'g T)> {
        let wanted = LOW * tag(hash);
        for bucket in self.probe(hash) {
            let Bucket { tags, slots } = &self.0[bucket];
            let word = tags.load(Acquire);
            let mut candidates = matching(word, wanted);
            while candidates != 0 {
                let slot = candidates.trailing_zeros() as usize / 8;
                if let Some(entry) = slots[slot].load(Acquire, guard).as_ref()
                    && is_it(entry)
                {
                    return Some((Place { bucket, slot }, entry));
                }
                candidates &= candidates - 1;
            }
            if word >> SPILLED_SHIFT == 0 {
                break;
            }
        }
        None
    }

    /// Puts the entry into the first free slot; only under the writers' lock, never into full buckets.
    fn insert(&self, hash: u64, entry: Shared<T>) {
        for bucket in self.probe(hash) {
            let Bucket { tags, slots } = &self.0[bucket];
            let word = tags.load(Relaxed);
            let free = !word & HIGH;
            if free != 0 {
                let slot = free.trailing_zeros() as usize / 8;
                slots[slot].swap((Some(entry), Tag::None), Release);
                tags.store(word | tag(hash) << (slot * 8), Release);
                return;
            }
            if word >> SPILLED_SHIFT < SPILLED_MAX {
                tags.store(word + (1 << SPILLED_SHIFT), Release);
            }
        }
        unreachable!("the index grows before it is full");
    }

    fn remove(&self, place: Place, hash: u64) -> Option<Shared<T>> {
        let Bucket { tags, slots } = &self.0[place.bucket];
        let word = tags.load(Relaxed);
        tags.store(word & !(0xff << (place.slot * 8)), Release);
        for passed in self.probe(hash).take_while(|bucket| *bucket != place.bucket) {
            let word = self.0[passed].tags.load(Relaxed);
            if word >> SPILLED_SHIFT < SPILLED_MAX {
                self.0[passed].tags.store(word - (1 << SPILLED_SHIFT), Release);
            }
        }
        slots[place.slot].swap((None, Tag::None), Release).0
    }
}

/// The index. `find` is for everybody; what takes `&mut Writing` is for the holder of the writers' lock.
pub(super) struct Index<T> {
    buckets: AtomicShared<Buckets<T>>,
}

/// What only a writer knows of an index.
pub(super) struct Writing {
    len: usize,
    buckets: usize,
}

impl<T: Send + Sync + 'static> Index<T> {
    /// An index of one bucket.
    pub(super) fn new() -> (Self, Writing) {
        let index = Self { buckets: AtomicShared::from(Shared::new(Buckets::new(1))) };
        (index, Writing { len: 0, buckets: 1 })
    }

    #[inline]
    pub(super) fn find<'g>(&self, hash: u64, is_it: impl Fn(&T) -> bool, guard: &'g Guard) -> Option<&'g T> {
        let buckets = self.buckets.load(Acquire, guard);
        buckets.as_ref()?.find(hash, is_it, guard).map(|(_, entry)| entry)
    }

    /// Puts in an entry that is not there; `hash_of` those that are, in case they have to move.
    pub(super) fn insert(
        &self,
        writing: &mut Writing,
        hash: u64,
        entry: Shared<T>,
        hash_of: impl Fn(&T) -> u64,
        guard: &Guard,
    ) {
        // Six sevenths full is where spilling begins to cost more than growing.
        if writing.len >= (writing.buckets * WAYS * 6 / 7).max(WAYS - 1) {
            self.resize(writing, writing.buckets * 2, hash_of, guard);
        }
        if let Some(buckets) = self.buckets.load(Acquire, guard).as_ref() {
            buckets.insert(hash, entry);
            writing.len += 1;
        }
    }

    /// Puts `entry` in the place of the one that `is_it`, which has the same hash; readers see the one or the other.
    pub(super) fn replace(&self, hash: u64, entry: Shared<T>, is_it: impl Fn(&T) -> bool, guard: &Guard) {
        if let Some(buckets) = self.buckets.load(Acquire, guard).as_ref()
            && let Some((place, _)) = buckets.find(hash, is_it, guard)
        {
            buckets.0[place.bucket].slots[place.slot].swap((Some(entry), Tag::None), Release);
        }
    }

    pub(super) fn remove(&self, writing: &mut Writing, hash: u64, is_it: impl Fn(&T) -> bool, guard: &Guard) {
        if let Some(buckets) = self.buckets.load(Acquire, guard).as_ref()
            && let Some((place, _)) = buckets.find(hash, is_it, guard)
        {
            buckets.remove(place, hash);
            writing.len -= 1;
        }
    }

    /// Forgets everything and gives the memory back.
    pub(super) fn clear(&self, writing: &mut Writing) {
        *writing = Writing { len: 0, buckets: 1 };
        self.exchange(Buckets::new(1));
    }

    /// Moves everything into so many buckets.
    fn resize(&self, writing: &mut Writing, count: usize, hash_of: impl Fn(&T) -> u64, guard: &Guard) {
        let resized = Buckets::new(count);
        if let Some(buckets) = self.buckets.load(Acquire, guard).as_ref() {
            for slot in buckets.0.iter().flat_map(|bucket| &bucket.slots) {
                if let Some(entry) = slot.get_shared(Acquire, guard) {
                    resized.insert(hash_of(&entry), entry);
                }
            }
        }
        writing.buckets = count;
        self.exchange(resized);
    }

    /// Lets readers look in other buckets from now on. The old ones are emptied, so that they do not keep
    /// entries that are removed from the new ones; who still looks there asks again under the lock.
    fn exchange(&self, buckets: Buckets<T>) {
        let (old, _) = self.buckets.swap((Some(Shared::new(buckets)), Tag::None), AcqRel);
        if let Some(old) = old {
            for bucket in &old.0 {
                bucket.tags.store(0, Release);
                bucket.slots.iter().for_each(|slot| drop(slot.swap((None, Tag::None), AcqRel)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    struct Item(u64, u64);

    fn insert(index: &Index<Item>, writing: &mut Writing, hash: u64, item: u64, guard: &Guard) {
        index.insert(writing, hash, Shared::new(Item(hash, item)), |item| item.0, guard);
    }

    fn find(index: &Index<Item>, hash: u64, item: u64) -> Option<u64> {
        let guard = Guard::new();
        index.find(hash, |it| it.1 == item, &guard).map(|it| it.1)
    }

    /// Hashes that crowd into few buckets and few tags.
    fn crowded(n: u64) -> u64 {
        ((n % 3) << 57) | (n % 4)
    }

    #[test]
    fn what_was_inserted_is_found_until_it_is_removed() {
        for hash_of in [crowded, |n: u64| n.wrapping_mul(0x9e37_79b9_7f4a_7c15)] {
            let (index, mut writing) = Index::new();
            let guard = Guard::new();
            for n in 0..1000 {
                insert(&index, &mut writing, hash_of(n), n, &guard);
            }
            for n in (0..1000).step_by(2) {
                index.remove(&mut writing, hash_of(n), |it| it.1 == n, &guard);
            }
            for n in 0..1000 {
                assert_eq!(find(&index, hash_of(n), n), (n % 2 == 1).then_some(n));
            }
            assert_eq!(writing.len, 500);
            index.clear(&mut writing);
            assert!((0..1000).all(|n| find(&index, hash_of(n), n).is_none()));
        }
    }

    #[test]
    fn emptied_buckets_no_longer_send_readers_on() {
        let (index, mut writing) = Index::new();
        let guard = Guard::new();
        for n in 0..60 {
            insert(&index, &mut writing, crowded(n), n, &guard);
        }
        for n in 0..60 {
            index.remove(&mut writing, crowded(n), |it| it.1 == n, &guard);
        }
        let buckets = index.buckets.load(Acquire, &guard);
        let words = buckets.as_ref().map(|it| it.0.iter().map(|b| b.tags.load(Relaxed)).collect::<Vec<_>>());
        assert!(words.is_some_and(|words| words.iter().all(|word| *word == 0)));
    }

    #[test]
    fn a_replaced_entry_is_not_found_again() {
        let (index, mut writing) = Index::new();
        let guard = Guard::new();
        insert(&index, &mut writing, 5, 1, &guard);
        index.replace(5, Shared::new(Item(5, 2)), |it| it.1 == 1, &guard);
        assert_eq!((find(&index, 5, 1), find(&index, 5, 2)), (None, Some(2)));
    }
}
