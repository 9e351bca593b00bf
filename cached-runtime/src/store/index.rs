//! A hash index that is read without a lock: buckets of seven slots behind a word of tags.
//!
//! Readers load the word, compare seven tag bytes at once, and follow the slots that match. A lookup
//! that runs beside a write may miss an entry, never find a wrong one; who must know asks again under
//! the writers' lock. A bucket that is full lets entries spill into the next one and counts them, so
//! that readers know whether to look on. Removed entries are freed by epoch reclamation.
//!
//! The index grows a bucket at a time: there are new buckets beside the old ones, each insertion moves
//! what is in one old bucket, and readers look at both until nothing is left there.
//!
//! Buckets of tags: as in F14 (Bronson, Shi: “Open-sourcing F14”, 2019), without its vector units.

use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed, Release};

use once_cell::sync::OnceCell;
use sdd::{AtomicShared, Guard, Shared, Tag};

pub(super) const WAYS: usize = 7;
/// So many of the seven ways are in use on average when an index is full.
const WAYS_USED: usize = 6;
/// The most entries of an index, so that a place fits into 30 bits.
pub(super) const MOST_ENTRIES: usize = (Place::SPARE as usize / 2 / WAYS) * WAYS_USED;
/// So many buckets are allocated at once.
const CHUNK: usize = 128;
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

/// The tag of a hash: bits that do not choose the bucket.
#[inline]
fn tag(hash: u64) -> u64 {
    hash & 0x7f | 0x80
}

/// The high bit of every byte of `word` that equals the same byte of `wanted`; a byte above a match may
/// be set wrongly, which the comparison of keys puts right.
#[inline]
fn matching(word: u64, wanted: u64) -> u64 {
    let difference = word ^ wanted;
    difference.wrapping_sub(LOW) & !difference & HIGH
}

/// Where an entry is, until the index grows: in which of the two halves, old and new by turns, and the
/// number of its slot there.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Place(u32);

impl Place {
    const HALF: u32 = 1 << 31;
    /// Bits that no place uses.
    pub(super) const SPARE: u32 = 1 << 30;

    fn new(half: usize, slot: usize) -> Self {
        let slot = u32::try_from(slot).unwrap_or(u32::MAX) & (Self::SPARE - 1);
        Self(if half == 0 { slot } else { slot | Self::HALF })
    }

    pub(super) fn from_bits(bits: u32) -> Self {
        Self(bits & !Self::SPARE)
    }

    pub(super) fn bits(self) -> u32 {
        self.0
    }

    pub(super) fn half(self) -> usize {
        usize::from(self.0 & Self::HALF != 0)
    }

    pub(super) fn slot(self) -> usize {
        (self.0 & !(Self::HALF | Self::SPARE)) as usize
    }

    pub(super) fn of_bucket(half: usize, bucket: usize) -> impl Iterator<Item = Self> {
        (0..WAYS).map(move |way| Self::new(half, bucket * WAYS + way))
    }

    pub(super) fn bucket(self) -> usize {
        self.slot() / WAYS
    }
}

/// Values by place, in memory that comes and goes with the chunks of the index.
pub(super) struct ByPlace<V>([Vec<Box<[V]>>; 2]);

impl<V: Copy + Default> ByPlace<V> {
    pub(super) const fn new() -> Self {
        Self([Vec::new(), Vec::new()])
    }

    /// The value of a place; the default if none was set.
    pub(super) fn get(&self, place: Place) -> V {
        let chunk = self.0[place.half()].get(place.bucket() / CHUNK);
        chunk.and_then(|chunk| chunk.get(place.slot() % (CHUNK * WAYS))).copied().unwrap_or_default()
    }

    /// Sets the value of a place in a half of so many buckets.
    pub(super) fn set(&mut self, place: Place, buckets: usize, value: V) {
        let chunks = &mut self.0[place.half()];
        let chunk = place.bucket() / CHUNK;
        if chunks.len() <= chunk {
            chunks.reserve_exact(buckets.div_ceil(CHUNK) - chunks.len());
            chunks.resize_with(chunk + 1, Box::default);
        }
        if chunks[chunk].is_empty() {
            let len = CHUNK.min(buckets - chunk * CHUNK) * WAYS;
            chunks[chunk] = vec![V::default(); len].into();
        }
        chunks[chunk][place.slot() % (CHUNK * WAYS)] = value;
    }

    /// Changes the value of a place that has one.
    pub(super) fn change(&mut self, place: Place, change: impl FnOnce(&mut V)) {
        let chunk = self.0[place.half()].get_mut(place.bucket() / CHUNK);
        chunk.and_then(|chunk| chunk.get_mut(place.slot() % (CHUNK * WAYS))).map(change);
    }

    /// Lets go of what is before a bucket of a half: all of it has been moved.
    pub(super) fn release(&mut self, half: usize, bucket: Option<usize>) {
        let chunks = &mut self.0[half];
        match bucket {
            None => *chunks = Vec::new(),
            Some(bucket) if bucket % CHUNK == 0 => {
                if let Some(done) = (bucket / CHUNK).checked_sub(1).and_then(|done| chunks.get_mut(done)) {
                    *done = Box::default();
                }
            }
            Some(_) => {}
        }
    }
}

/// One half: so many buckets, allocated where something is in them.
struct Buckets<T> {
    chunks: Box<[OnceCell<Chunk<T>>]>,
    count: usize,
    /// Whether there is a mark for each slot.
    marked: bool,
}

struct Chunk<T> {
    buckets: Box<[Bucket<T>]>,
    /// See [`Found::mark`].
    marks: Box<[AtomicU64]>,
}

/// An entry that was found.
pub(super) struct Found<'g, T> {
    pub(super) entry: &'g T,
    chunk: &'g Chunk<T>,
    bucket: usize,
    way: usize,
}

impl<'g, T> Found<'g, T> {
    /// A number that belongs to the slot, in an index that has them.
    pub(super) fn mark(&self) -> Option<&'g AtomicU64> {
        self.chunk.marks.get(self.bucket % CHUNK * WAYS + self.way)
    }

    fn slot(&self) -> usize {
        self.bucket * WAYS + self.way
    }
}

/// Whether what was not found in a bucket may have spilled past it.
struct Spilled(bool);

impl<T: Send + Sync + 'static> Chunk<T> {
    /// The entry of a key, if it is in this bucket.
    #[expect(clippy::inline_always, reason = "a hit is cheaper in one piece")]
    #[inline(always)]
    fn find<'g>(
        &'g self,
        bucket: usize,
        hash: u64,
        is_it: impl Fn(&T) -> bool,
        guard: &'g Guard,
    ) -> Result<Found<'g, T>, Spilled> {
        let Some(Bucket { tags, slots }) = self.buckets.get(bucket % CHUNK) else {
            return Err(Spilled(false));
        };
        let word = tags.load(Acquire);
        let mut candidates = matching(word, LOW * tag(hash));
        while candidates != 0 {
            let way = candidates.trailing_zeros() as usize / 8;
            if let Some(entry) = slots[way].load(Acquire, guard).as_ref()
                && is_it(entry)
            {
                return Ok(Found { entry, chunk: self, bucket, way });
            }
            candidates &= candidates - 1;
        }
        Err(Spilled(word >> SPILLED_SHIFT != 0))
    }
}

impl<T: Send + Sync + 'static> Buckets<T> {
    fn new(count: usize, marked: bool) -> Self {
        Self { chunks: (0..count.div_ceil(CHUNK)).map(|_| OnceCell::new()).collect(), count, marked }
    }

    /// The chunk of a bucket, if anything in it was ever used.
    #[inline]
    fn chunk(&self, bucket: usize) -> Option<&Chunk<T>> {
        self.chunks.get(bucket / CHUNK)?.get()
    }

    #[inline]
    fn bucket(&self, bucket: usize) -> Option<&Bucket<T>> {
        self.chunk(bucket)?.buckets.get(bucket % CHUNK)
    }

    fn make_bucket(&self, bucket: usize) -> &Bucket<T> {
        let chunk = bucket / CHUNK;
        let len = CHUNK.min(self.count - chunk * CHUNK);
        let marks = if self.marked { len * WAYS } else { 0 };
        let chunk = self.chunks[chunk].get_or_init(|| Chunk {
            buckets: (0..len).map(|_| Bucket::new()).collect(),
            marks: (0..marks).map(|_| AtomicU64::new(0)).collect(),
        });
        &chunk.buckets[bucket % CHUNK]
    }

    /// The bucket that an entry of this hash belongs to.
    #[inline]
    fn home(&self, hash: u64) -> usize {
        (((hash >> 32) * self.count as u64) >> 32) as usize
    }

    /// The buckets that an entry of this hash may be in, from its home on.
    fn probe(&self, hash: u64) -> impl Iterator<Item = usize> + use<T> {
        let home = self.home(hash);
        (home..self.count).chain(0..home)
    }

    #[expect(clippy::inline_always, reason = "a hit is cheaper in one piece")]
    #[inline(always)]
    fn find<'g>(&'g self, hash: u64, is_it: impl Fn(&T) -> bool, guard: &'g Guard) -> Option<Found<'g, T>> {
        let home = self.home(hash);
        // Where no bucket was made, nothing has spilled past it.
        let chunk = self.chunk(home)?;
        match chunk.find(home, hash, &is_it, guard) {
            Ok(found) => Some(found),
            Err(Spilled(false)) => None,
            Err(Spilled(true)) => self.find_spilled(hash, is_it, guard),
        }
    }

    #[cold]
    #[inline(never)]
    fn find_spilled<'g>(
        &'g self,
        hash: u64,
        is_it: impl Fn(&T) -> bool,
        guard: &'g Guard,
    ) -> Option<Found<'g, T>> {
        for bucket in self.probe(hash).skip(1) {
            match self.chunk(bucket)?.find(bucket, hash, &is_it, guard) {
                Ok(found) => return Some(found),
                Err(Spilled(true)) => {}
                Err(Spilled(false)) => break,
            }
        }
        None
    }

    fn at<'g>(&'g self, slot: usize, guard: &'g Guard) -> Option<Found<'g, T>> {
        let (bucket, way) = (slot / WAYS, slot % WAYS);
        let chunk = self.chunk(bucket)?;
        let entry = chunk.buckets.get(bucket % CHUNK)?.slots[way].load(Acquire, guard).as_ref()?;
        Some(Found { entry, chunk, bucket, way })
    }

    fn mark(&self, slot: usize) -> Option<&AtomicU64> {
        let (bucket, way) = (slot / WAYS, slot % WAYS);
        self.chunk(bucket)?.marks.get(bucket % CHUNK * WAYS + way)
    }

    /// Puts the entry into the first free slot; only under the writers' lock, never into full buckets.
    fn insert(&self, hash: u64, entry: Shared<T>) -> usize {
        for bucket in self.probe(hash) {
            let Bucket { tags, slots } = self.make_bucket(bucket);
            let word = tags.load(Relaxed);
            let free = !word & HIGH;
            if free != 0 {
                let slot = free.trailing_zeros() as usize / 8;
                slots[slot].swap((Some(entry), Tag::None), Release);
                tags.store(word | tag(hash) << (slot * 8), Release);
                return bucket * WAYS + slot;
            }
            if word >> SPILLED_SHIFT < SPILLED_MAX {
                tags.store(word + (1 << SPILLED_SHIFT), Release);
            }
        }
        unreachable!("the index grows before it is full");
    }

    /// Lets go of all entries: what is freed within something that is freed waits longer than it must.
    fn empty(&self) {
        for Bucket { tags, slots } in self.chunks.iter().filter_map(OnceCell::get).flat_map(|it| &it.buckets)
        {
            tags.store(0, Release);
            for slot in slots {
                drop(slot.swap((None, Tag::None), AcqRel));
            }
        }
    }

    /// Empties a slot. Without the hash of what was there, readers will look further than they need.
    fn remove(&self, slot: usize, hash: Option<u64>) -> Option<Shared<T>> {
        let bucket = slot / WAYS;
        let Bucket { tags, slots } = self.bucket(bucket)?;
        let word = tags.load(Relaxed);
        tags.store(word & !(0xff << (slot % WAYS * 8)), Release);
        for passed in hash.into_iter().flat_map(|hash| self.probe(hash)).take_while(|it| *it != bucket) {
            let Some(Bucket { tags, .. }) = self.bucket(passed) else { break };
            let word = tags.load(Relaxed);
            if (1..SPILLED_MAX).contains(&(word >> SPILLED_SHIFT)) {
                tags.store(word - (1 << SPILLED_SHIFT), Release);
            }
        }
        slots[slot % WAYS].swap((None, Tag::None), Release).0
    }
}

/// The index. `find` is for everybody; what takes `&mut Writing` is for the holder of the writers' lock.
pub(super) struct Index<T> {
    current: AtomicShared<Buckets<T>>,
    /// What is being moved from while the index grows.
    previous: AtomicShared<Buckets<T>>,
}

/// What only a writer knows of an index.
pub(super) struct Writing {
    len: usize,
    /// Buckets of the current half, and which half that is.
    buckets: usize,
    half: usize,
    /// Buckets of the previous half.
    old_buckets: usize,
    /// The buckets that it will have when it holds all it may ever hold.
    most: usize,
    /// The next bucket of the previous half to be moved; none if nothing is left there.
    moving: Option<usize>,
    marked: bool,
}

impl Writing {
    fn new(most_entries: usize, marked: bool) -> Self {
        let most = most_entries.clamp(1, MOST_ENTRIES).div_ceil(WAYS_USED);
        Self { len: 0, buckets: size_after(0, most), half: 0, old_buckets: 0, most, moving: None, marked }
    }

    fn open<T: Send + Sync + 'static>(&self) -> Shared<Buckets<T>> {
        Shared::new(Buckets::new(self.buckets, self.marked))
    }

    /// Buckets of a half.
    pub(super) fn buckets(&self, half: usize) -> usize {
        if half == self.half { self.buckets } else { self.old_buckets }
    }

    /// The half that is being moved from, and how far that is.
    pub(super) fn moving(&self) -> (usize, Option<usize>) {
        (1 - self.half, self.moving)
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    pub(super) fn is_full(&self) -> bool {
        self.len >= self.buckets * WAYS_USED
    }
}

/// The number of buckets to grow to: about twice as many, so that the last size is `most`.
fn size_after(buckets: usize, most: usize) -> usize {
    if buckets >= most {
        return buckets * 2;
    }
    let halvings = (0..usize::BITS).take_while(|halvings| most.div_ceil(1 << halvings) > buckets).last();
    most.div_ceil(1 << halvings.unwrap_or(0)).max(1)
}

impl<T: Send + Sync + 'static> Index<T> {
    /// An empty index, which never has to hold more than so many entries, with marks or without.
    pub(super) fn new(most_entries: usize, marked: bool) -> (Self, Writing) {
        let writing = Writing::new(most_entries, marked);
        let index = Self { current: AtomicShared::from(writing.open()), previous: AtomicShared::null() };
        (index, writing)
    }

    /// The entry of a key. While the index grows, it may be missed.
    #[expect(clippy::inline_always, reason = "a hit is cheaper in one piece")]
    #[inline(always)]
    pub(super) fn find<'g>(
        &self,
        hash: u64,
        is_it: impl Fn(&T) -> bool,
        guard: &'g Guard,
    ) -> Option<Found<'g, T>> {
        if let Some(current) = self.current.load(Acquire, guard).as_ref()
            && let Some(found) = current.find(hash, &is_it, guard)
        {
            return Some(found);
        }
        self.find_in_previous(hash, is_it, guard)
    }

    #[cold]
    #[inline(never)]
    fn find_in_previous<'g>(
        &self,
        hash: u64,
        is_it: impl Fn(&T) -> bool,
        guard: &'g Guard,
    ) -> Option<Found<'g, T>> {
        self.previous.load(Acquire, guard).as_ref()?.find(hash, is_it, guard)
    }

    /// The same with its place.
    pub(super) fn find_place<'g>(
        &self,
        writing: &Writing,
        hash: u64,
        is_it: impl Fn(&T) -> bool,
        guard: &'g Guard,
    ) -> Option<(Place, Found<'g, T>)> {
        let current = self.current.load(Acquire, guard);
        if let Some(found) = current.as_ref().and_then(|it| it.find(hash, &is_it, guard)) {
            return Some((Place::new(writing.half, found.slot()), found));
        }
        let found = self.find_in_previous(hash, is_it, guard)?;
        Some((Place::new(1 - writing.half, found.slot()), found))
    }

    fn half<'g>(&self, writing: &Writing, half: usize, guard: &'g Guard) -> Option<&'g Buckets<T>> {
        let buckets = if half == writing.half { &self.current } else { &self.previous };
        buckets.load(Acquire, guard).as_ref()
    }

    /// The entry at a place.
    pub(super) fn at<'g>(&self, writing: &Writing, place: Place, guard: &'g Guard) -> Option<Found<'g, T>> {
        self.half(writing, place.half(), guard)?.at(place.slot(), guard)
    }

    /// Puts in an entry that is not there; the index must not be full.
    pub(super) fn insert(&self, writing: &mut Writing, hash: u64, entry: Shared<T>, guard: &Guard) -> Place {
        let current = self.half(writing, writing.half, guard).expect("there are always current buckets");
        writing.len += 1;
        Place::new(writing.half, current.insert(hash, entry))
    }

    /// Puts `entry` in the place of one with the same hash; readers see the one or the other.
    pub(super) fn replace(&self, writing: &Writing, place: Place, entry: Shared<T>, guard: &Guard) {
        if let Some(buckets) = self.half(writing, place.half(), guard)
            && let Some(bucket) = buckets.bucket(place.bucket())
        {
            bucket.slots[place.slot() % WAYS].swap((Some(entry), Tag::None), Release);
        }
    }

    pub(super) fn remove(&self, writing: &mut Writing, place: Place, hash: Option<u64>, guard: &Guard) {
        if let Some(buckets) = self.half(writing, place.half(), guard)
            && buckets.remove(place.slot(), hash).is_some()
        {
            writing.len -= 1;
        }
    }

    /// Begins to grow, if nothing is left of growing before.
    pub(super) fn grow(&self, writing: &mut Writing, guard: &Guard) {
        if writing.moving.is_some() {
            return;
        }
        writing.old_buckets = writing.buckets;
        writing.buckets = size_after(writing.buckets, writing.most);
        writing.half = 1 - writing.half;
        writing.moving = Some(0);
        let old = self.current.get_shared(Acquire, guard);
        self.previous.swap((old, Tag::None), AcqRel);
        self.current.swap((Some(writing.open()), Tag::None), AcqRel);
    }

    /// Moves the entries of one bucket to the current half, if any are left to be moved. Of each entry
    /// `hash_of` tells the hash, and `moved` is told from where to where; an entry without a hash stays
    /// where it is, and is returned.
    pub(super) fn move_some(
        &self,
        writing: &mut Writing,
        hash_of: impl Fn(&T) -> Option<u64>,
        mut moved: impl FnMut(Place, Place),
        guard: &Guard,
    ) -> Option<Place> {
        let bucket = writing.moving?;
        let (from, to) = (1 - writing.half, writing.half);
        let old = self.half(writing, from, guard)?;
        let current = self.half(writing, to, guard)?;
        if let Some(Bucket { slots, .. }) = old.bucket(bucket) {
            for (way, slot) in slots.iter().enumerate() {
                let Some(entry) = slot.get_shared(Acquire, guard) else { continue };
                let at = bucket * WAYS + way;
                let Some(hash) = hash_of(&entry) else { return Some(Place::new(from, at)) };
                let now_at = current.insert(hash, entry);
                if let Some((old, new)) = old.mark(at).zip(current.mark(now_at)) {
                    new.store(old.load(Relaxed), Relaxed);
                }
                old.remove(at, Some(hash));
                moved(Place::new(from, at), Place::new(to, now_at));
            }
        }
        writing.moving = Some(bucket + 1).filter(|next| *next < old.count);
        if writing.moving.is_none() {
            self.previous.swap((None, Tag::None), AcqRel);
        }
        None
    }

    /// Forgets everything and gives the memory back.
    pub(super) fn clear(&self, writing: &mut Writing) {
        *writing =
            Writing { len: 0, buckets: size_after(0, writing.most), half: 0, moving: None, ..*writing };
        let (current, _) = self.current.swap((Some(writing.open()), Tag::None), AcqRel);
        let (previous, _) = self.previous.swap((None, Tag::None), AcqRel);
        current.iter().chain(&previous).for_each(|buckets| buckets.empty());
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;
    use crate::store::cases;

    impl<T: Send + Sync + 'static> Index<T> {
        /// Checks all that must be true between two steps. `exact` is whether every entry that went
        /// did so with its hash.
        pub(in crate::store) fn validate(
            &self,
            writing: &Writing,
            hash_of: impl Fn(&T) -> Option<u64>,
            exact: bool,
            guard: &Guard,
        ) {
            let previous = self.previous.load(Acquire, guard).as_ref();
            assert_eq!(
                previous.is_some(),
                writing.moving.is_some(),
                "the old half is there while it is moved"
            );
            let current =
                self.current.load(Acquire, guard).as_ref().expect("there are always current buckets");
            assert_eq!((current.count, current.marked), (writing.buckets, writing.marked));
            let mut len = current.validate(&hash_of, exact, guard);
            if let Some(previous) = previous {
                assert_eq!(previous.count, writing.old_buckets);
                len += previous.validate(&hash_of, exact, guard);
                for slot in 0..writing.moving.unwrap_or(0) * WAYS {
                    assert!(previous.at(slot, guard).is_none(), "what has been moved is gone");
                }
            }
            assert_eq!(len, writing.len);
        }
    }

    impl<T: Send + Sync + 'static> Buckets<T> {
        fn validate(&self, hash_of: &impl Fn(&T) -> Option<u64>, exact: bool, guard: &Guard) -> usize {
            let (mut len, mut spilled, mut all_hashed) = (0, vec![0; self.count], true);
            for bucket in 0..self.count {
                let word = self.bucket(bucket).map_or(0, |it| it.tags.load(Relaxed));
                for way in 0..WAYS {
                    let tag_here = word >> (8 * way) & 0xff;
                    let Some(found) = self.at(bucket * WAYS + way, guard) else {
                        assert_eq!(tag_here, 0, "a slot without an entry has no tag");
                        continue;
                    };
                    len += 1;
                    assert_ne!(tag_here, 0, "an entry has a tag");
                    assert_eq!(found.mark().is_some(), self.marked);
                    let Some(hash) = hash_of(found.entry) else {
                        all_hashed = false;
                        continue;
                    };
                    assert_eq!(tag_here, tag(hash));
                    self.probe(hash).take_while(|it| *it != bucket).for_each(|it| spilled[it] += 1);
                }
            }
            for (bucket, expected) in spilled.into_iter().enumerate() {
                let noted = self.bucket(bucket).map_or(0, |it| it.tags.load(Relaxed)) >> SPILLED_SHIFT;
                if noted < SPILLED_MAX && exact && all_hashed {
                    assert_eq!(noted, expected, "bucket {bucket} of {}", self.count);
                }
                assert!(noted >= expected.min(SPILLED_MAX), "a reader would stop at bucket {bucket}");
            }
            len
        }
    }

    struct Item {
        key: u16,
        version: u32,
    }

    /// Few homes, at both ends and in the middle, and few tags.
    fn hash(key: u16) -> u64 {
        let homes = [0, 1 << 31, (1 << 31) + (1 << 24), u64::from(u32::MAX)];
        homes[usize::from(key % 4)] << 32 | u64::from(key / 4 % 3)
    }

    /// One in so many cannot be hashed when it is to be moved.
    fn rehash(item: &Item) -> Option<u64> {
        (item.key % 50 != 49).then(|| hash(item.key))
    }

    #[derive(Clone, Debug)]
    enum Step {
        Insert(u16),
        Remove(u16, bool),
        Replace(u16),
        Grow,
        Move,
        Clear,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let key = || 0..150_u16;
        let step = prop_oneof![
            20 => key().prop_map(Step::Insert),
            6 => (key(), prop::bool::weighted(0.9)).prop_map(|(key, hashed)| Step::Remove(key, hashed)),
            3 => key().prop_map(Step::Replace),
            1 => Just(Step::Grow),
            6 => Just(Step::Move),
        ];
        let step = prop_oneof![300 => step, 1 => Just(Step::Clear)];
        prop::collection::vec(step, 0..250)
    }

    /// An index and what it should hold: of each key the place, the version and the mark.
    struct Modelled {
        index: Index<Item>,
        writing: Writing,
        model: HashMap<u16, (Place, u32, u64)>,
        version: u32,
        exact: bool,
    }

    impl Modelled {
        fn new(most: usize, marked: bool) -> Self {
            let (index, writing) = Index::new(most, marked);
            Self { index, writing, model: HashMap::new(), version: 0, exact: true }
        }

        fn item(&mut self, key: u16) -> Shared<Item> {
            self.version += 1;
            Shared::new(Item { key, version: self.version })
        }

        fn move_some(&mut self, guard: &Guard) {
            let model = &mut self.model;
            let moved = |from, to| {
                let (place, ..) =
                    model.values_mut().find(|(place, ..)| *place == from).expect("it was there");
                *place = to;
            };
            if let Some(place) = self.index.move_some(&mut self.writing, rehash, moved, guard) {
                self.index.remove(&mut self.writing, place, None, guard);
                self.model.retain(|_, (it, ..)| *it != place);
                self.exact = false;
            }
        }

        fn step(&mut self, step: &Step, guard: &Guard) {
            match *step {
                Step::Insert(key) if !self.model.contains_key(&key) => {
                    if self.writing.is_full() {
                        self.index.grow(&mut self.writing, guard);
                    }
                    self.move_some(guard);
                    let item = self.item(key);
                    let place = self.index.insert(&mut self.writing, hash(key), item, guard);
                    let mark = u64::from(self.version) * 3;
                    let found = self.index.at(&self.writing, place, guard).expect("it is there");
                    found.mark().inspect(|it| it.store(mark, Relaxed));
                    self.model.insert(key, (place, self.version, mark));
                }
                Step::Remove(key, hashed) => {
                    if let Some((place, ..)) = self.model.remove(&key) {
                        let hash = hashed.then(|| hash(key));
                        self.index.remove(&mut self.writing, place, hash, guard);
                        self.exact &= hashed;
                    }
                }
                Step::Replace(key) => {
                    let item = self.item(key);
                    if let Some((place, version, _)) = self.model.get_mut(&key) {
                        self.index.replace(&self.writing, *place, item, guard);
                        *version = self.version;
                    }
                }
                Step::Grow if self.writing.buckets < 100 => self.index.grow(&mut self.writing, guard),
                Step::Move => self.move_some(guard),
                Step::Clear => {
                    self.index.clear(&mut self.writing);
                    self.model.clear();
                    self.exact = true;
                }
                Step::Insert(_) | Step::Grow => {}
            }
        }

        fn validate(&self, guard: &Guard) {
            self.index.validate(&self.writing, |item| Some(hash(item.key)), self.exact, guard);
            assert_eq!(self.writing.len(), self.model.len());
            for key in 0..150 {
                let is_it = |item: &Item| item.key == key;
                let found = self.index.find(hash(key), is_it, guard);
                let version = self.model.get(&key).map(|(_, version, _)| *version);
                assert_eq!(found.map(|it| it.entry.version), version, "key {key}");
                let found = self.index.find_place(&self.writing, hash(key), is_it, guard);
                let Some((place, _, mark)) = self.model.get(&key) else {
                    assert!(found.is_none());
                    continue;
                };
                let (found_at, found) = found.expect("it was found before");
                assert_eq!((found_at, found.entry.key), (*place, key));
                if let Some(it) = found.mark() {
                    assert_eq!(it.load(Relaxed), *mark, "the mark moves with its entry");
                }
            }
        }
    }

    proptest! {
        #![proptest_config(cases(48))]
        #[test]
        fn an_index_holds_what_was_put_into_it_however_it_grows(
            steps in steps(), most in prop::sample::select(vec![1_usize, 8, 151]), marked: bool,
        ) {
            let guard = Guard::new();
            let mut modelled = Modelled::new(most, marked);
            for step in &steps {
                modelled.step(step, &guard);
                modelled.validate(&guard);
            }
        }
    }

    #[test]
    fn a_bucket_from_which_more_spill_than_it_can_count_loses_nothing() {
        let guard = Guard::new();
        let (index, mut writing) = Index::new(3000, false);
        let mut places = Vec::new();
        for key in 0..3000_u16 {
            if writing.is_full() {
                index.grow(&mut writing, &guard);
            }
            let moved = |from: Place, to: Place| {
                *places.iter_mut().find(|it| **it == from).expect("it was there") = to;
            };
            let unmoved = index.move_some(&mut writing, |_| Some(7), moved, &guard);
            assert!(unmoved.is_none());
            places.push(index.insert(&mut writing, 7, Shared::new(Item { key, version: 0 }), &guard));
        }
        for key in 0..3000_u16 {
            if key % 500 == 0 {
                index.validate(&writing, |_| Some(7), true, &guard);
            }
            let last = index.find(7, |item| item.key == 2999, &guard);
            assert_eq!(last.map(|it| it.entry.key), Some(2999), "after {key} were removed");
            index.remove(&mut writing, places[usize::from(key)], Some(7), &guard);
        }
        assert_eq!(writing.len(), 0);
    }
}
