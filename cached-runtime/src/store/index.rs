//! A hash index that is read without a lock: buckets of seven slots behind a word of tags.
//!
//! Readers load the word, compare seven tag bytes at once, and follow the slots that match. A lookup
//! that runs beside a write may miss an entry, never find a wrong one; who must know asks again under
//! the writers' lock. A bucket that is full lets entries spill into others, by steps of a length that
//! depends on their class, an eighth of all tags; and notes which classes have, so that most readers that
//! do not find their entry need not look on. Buckets stay where they are, so that all but the slots can be
//! read ahead of the guard; removed entries are freed by epoch reclamation.
//!
//! Buckets of tags: as in F14 (Bronson, Shi: “Open-sourcing F14”, 2019), without its vector units. The
//! index grows by linear hashing (Litwin: “Linear hashing”, VLDB 1980): one bucket is split into two at
//! a time.

use std::ops::ControlFlow;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};

use sdd::{Guard, Owned, Tag};

use super::places::{ByNumber, CHUNK, Chunks, Marks, Place, WAYS};
use crate::shim::{AtomicOwned, AtomicU64};

/// So many of the seven ways are in use on average when an index is full: fewer let less spill, where they are not
/// much memory.
const WAYS_USED: usize = 6;
const WAYS_USED_IF_SMALL: usize = 5;
/// An index of no more entries is small.
const SMALL: usize = 1 << 14;
/// A new entry is to split so many buckets while an index grows: with one, those whose turn comes last would
/// be full by then.
pub(super) const SPLITS: usize = 2;
/// The most entries of an index.
pub(super) const MOST_ENTRIES: usize = 1 << 27;
/// An index begins with at least so many buckets, unless it never needs them, and less than twice as many.
const FIRST: usize = 32;
/// The lowest bit of each tag byte.
const LOW: u64 = 0x0001_0101_0101_0101;
/// The highest bit of each tag byte; set in every tag, so that 0 means empty.
const HIGH: u64 = LOW << 7;
const TAG_BITS: u32 = 7;
/// How far apart the buckets are that an entry of each class may be in. No other number of buckets has
/// one of these primes for a factor, so that an entry can be in all of them.
const STEPS: [usize; Spills::CLASSES] = [67, 71, 73, 79, 83, 89, 97, 101];
/// The first of the bits that say which classes have spilled.
const SPILLED: u64 = 1 << 56;

#[repr(align(64))]
struct Bucket<T> {
    /// Seven tags, and in the top byte a bit of each class of which an entry has spilled past this bucket.
    tags: AtomicU64,
    slots: [AtomicOwned<T>; WAYS],
}

impl<T> Bucket<T> {
    const fn new() -> Self {
        Self { tags: AtomicU64::new(0), slots: [const { AtomicOwned::null() }; WAYS] }
    }
}

/// How many entries of each class have spilled past a bucket, four bits each: what only a writer knows.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
struct Spills(u32);

impl Spills {
    const CLASSES: usize = 8;
    /// One that has spilled this often is no longer counted, until the index is cleared.
    const MAX: u32 = 15;
    const COUNTLESS: Self = Self(u32::MAX);

    fn of(self, class: usize) -> u32 {
        self.0 >> (class * 4) & Self::MAX
    }

    fn counts(self) -> impl Iterator<Item = u32> {
        (0..Self::CLASSES).map(move |class| self.of(class))
    }

    fn are_counted(self) -> bool {
        self.counts().all(|count| count < Self::MAX)
    }

    /// A bit of each class of which there is any.
    fn classes(self) -> u64 {
        self.counts().enumerate().filter(|(_, count)| *count > 0).map(|(class, _)| 1 << class).sum()
    }

    fn add(&mut self, class: usize) {
        if self.of(class) < Self::MAX {
            self.0 += 1 << (class * 4);
        }
    }

    /// Returns whether it was the last one of its class.
    fn take(&mut self, class: usize) -> bool {
        let count = self.of(class);
        if (1..Self::MAX).contains(&count) {
            self.0 -= 1 << (class * 4);
        }
        count == 1
    }
}

/// The tag of a hash: bits that do not choose the bucket.
#[inline]
fn tag(hash: u64) -> u64 {
    hash & ((1 << TAG_BITS) - 1) | 0x80
}

/// A way that is free by a bucket's word.
#[inline]
fn free_way(word: u64) -> Option<usize> {
    let free = !word & HIGH;
    (free != 0).then(|| free.trailing_zeros() as usize / 8)
}

/// Looks for an entry in one bucket; goes on where it may have spilled past that.
#[inline]
fn find_in(
    slots: &dyn Slots,
    bucket: usize,
    hash: u64,
    is_it: &dyn Fn(Place) -> bool,
) -> ControlFlow<Option<Place>> {
    // Where no bucket was made, nothing has spilled past it.
    let word = slots.word(bucket).map_or(0, |word| word.load(Relaxed));
    let mut ways = matching(word, LOW * tag(hash));
    while ways != 0 {
        let place = Place::new(bucket, ways.trailing_zeros() as usize / 8);
        if is_it(place) {
            return ControlFlow::Break(Some(place));
        }
        ways &= ways - 1;
    }
    if word & SPILLED << class(hash) == 0 { ControlFlow::Break(None) } else { ControlFlow::Continue(()) }
}

/// Notes that a place is taken by an entry of this hash.
fn set_tag(slots: &dyn Slots, place: Place, hash: u64) {
    let tags = slots.make(place.bucket());
    tags.store(tags.load(Relaxed) | tag(hash) << (place.way() * 8), Release);
}

/// Notes that a place is free.
#[inline]
fn clear_tag(tags: &AtomicU64, place: Place) {
    tags.store(tags.load(Relaxed) & !(0xff << (place.way() * 8)), Release);
}

/// The class of a hash, and of its tag.
#[inline]
fn class(hash: u64) -> usize {
    (hash & 7) as usize
}

/// The class of the tag that is here among those of a bucket.
fn class_at(tags: u64, place: Place) -> usize {
    class(tags >> (8 * place.way()))
}

/// The high bit of every byte of `word` that equals the same byte of `wanted`; a byte above a match may
/// be set wrongly, which the comparison of keys puts right.
#[inline]
fn matching(word: u64, wanted: u64) -> u64 {
    let difference = word ^ wanted;
    difference.wrapping_sub(LOW) & !difference & HIGH
}

/// How many buckets there are, and where a hash belongs.
///
/// Buckets are numbered without end; a hash has a home among all of them, and spills by steps from there.
/// Of those numbers that are the same modulo the size of the level, there is one bucket, or there are two
/// where it has been split.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Shape {
    /// Buckets in the beginning.
    first: usize,
    /// The size of the level that is being split, in units of `first` and less one; doubled while it is.
    mask: usize,
    /// The buckets in use.
    buckets: usize,
}

impl Shape {
    /// For about `usual` entries when all are full, and never more than `most`; and how many buckets there can be.
    fn new(usual: usize, most: usize, ways_used: usize) -> (Self, usize) {
        let usual = usual.clamp(1, MOST_ENTRIES).div_ceil(ways_used);
        let doublings =
            (0..usize::BITS).find(|doublings| usual.div_ceil(1 << doublings) < 2 * FIRST).unwrap_or(0);
        let first = usual.div_ceil(1 << doublings);
        // Before the last doubling is done there can be twice as many as are needed.
        let most = most.clamp(1, MOST_ENTRIES).div_ceil(ways_used).max(usual) * 2 + first;
        (Self { first, mask: 0, buckets: first }, most)
    }

    fn pack(self) -> u64 {
        (self.mask as u64) << 32 | self.buckets as u64
    }

    #[inline]
    fn unpack(first: usize, packed: u64) -> Self {
        Self { first, mask: (packed >> 32) as usize, buckets: (packed & 0xffff_ffff) as usize }
    }

    /// The bucket of number `rest + first * turn`.
    #[inline]
    fn bucket(self, rest: usize, turn: usize) -> usize {
        let bucket = rest + self.first * (turn & self.mask);
        if bucket < self.buckets { bucket } else { rest + self.first * (turn & self.mask >> 1) }
    }

    #[inline]
    fn parts(self, hash: u64) -> (usize, usize) {
        let rest = ((hash >> 32) * self.first as u64) >> 32;
        (rest as usize, (hash & 0xffff_ffff) as usize >> TAG_BITS)
    }

    /// The bucket that an entry of this hash belongs to.
    #[inline]
    fn home(self, hash: u64) -> usize {
        let (rest, turn) = self.parts(hash);
        self.bucket(rest, turn)
    }

    /// The buckets that an entry of this hash may be in, from its home on.
    fn probe(self, hash: u64) -> Probe {
        let (rest, turn) = self.parts(hash);
        self.steps(rest, turn, class(hash))
    }

    /// The bucket of number `rest + first * turn`, and those that entries of a class spill into from there.
    fn steps(self, rest: usize, turn: usize, class: usize) -> Probe {
        Probe { shape: self, rest, turn, step: STEPS[class], taken: 0 }
    }

    /// Before the next split: of this bucket, into one more.
    fn split(self) -> (usize, Self) {
        let is_level_done = self.buckets == self.first * (self.mask + 1);
        let mask = if is_level_done { self.mask * 2 + 1 } else { self.mask };
        let split = self.buckets - self.first * (mask / 2 + 1);
        (split, Self { mask, buckets: self.buckets + 1, ..self })
    }

    fn is_splitting(self) -> bool {
        self.buckets != self.first * (self.mask + 1)
    }
}

/// See [`Shape::probe`].
struct Probe {
    shape: Shape,
    rest: usize,
    turn: usize,
    step: usize,
    taken: usize,
}

impl Iterator for Probe {
    type Item = usize;

    #[inline]
    fn next(&mut self) -> Option<usize> {
        if self.taken >= self.shape.buckets * 2 {
            return None;
        }
        if self.taken > 0 {
            let number = self.rest + self.step;
            (self.rest, self.turn) = (number % self.shape.first, self.turn + number / self.shape.first);
        }
        self.taken += 1;
        Some(self.shape.bucket(self.rest, self.turn))
    }
}

type Buckets<T> = [Bucket<T>; CHUNK];

/// The index as everybody sees it; as its writers do, it is [`Writing`] and [`Slots`].
pub(super) struct Index<T> {
    outline: Outline,
    buckets: Chunks<Buckets<T>>,
}

/// What does not depend on the type of an index' entries.
pub(crate) struct Outline {
    first: usize,
    shape: AtomicU64,
    /// Boxed, as most indexes have none.
    marks: Option<Box<Marks>>,
}

impl Outline {
    #[inline]
    fn shape(&self) -> Shape {
        Shape::unpack(self.first, self.shape.load(Acquire))
    }

    /// The number that belongs to a place, in an index that has them.
    pub(super) fn mark(&self, place: Place) -> Option<&AtomicU64> {
        self.marks.as_ref().map(|marks| marks.at(place))
    }
}

/// An index whose entries are of whatever type. All that need not know that type goes by this, so that it is
/// compiled once.
pub(crate) trait Slots {
    fn outline(&self) -> &Outline;
    /// The word of a bucket, if it was made.
    fn word(&self, bucket: usize) -> Option<&AtomicU64>;
    fn make(&self, bucket: usize) -> &AtomicU64;
    /// Moves the entry of one slot to another one, which is empty.
    fn relocate(&self, from: Place, to: Place);
    /// Takes the entry out of a slot; returns whether there was one.
    fn empty(&self, place: Place) -> bool;
}

/// What only a writer knows of an index.
pub(super) struct Writing {
    shape: Shape,
    ways_used: usize,
    len: usize,
    /// Of each bucket.
    spills: ByNumber<Spills>,
}

impl Writing {
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Whether a bucket should be split before something is inserted.
    pub(super) fn should_split(&self) -> bool {
        self.shape.is_splitting() || self.len >= self.shape.buckets * self.ways_used
    }

    /// All places that may be taken.
    #[cfg(feature = "backend")]
    pub(super) fn places(&self) -> impl Iterator<Item = Place> + use<> {
        (0..self.shape.buckets).flat_map(Place::of_bucket)
    }

    /// Where the entry of a key is; `is_it` tells of places with its tag.
    pub(super) fn find(&self, slots: &dyn Slots, hash: u64, is_it: &dyn Fn(Place) -> bool) -> Option<Place> {
        // Most are where they belong.
        if let ControlFlow::Break(found) = find_in(slots, self.shape.home(hash), hash, is_it) {
            return found;
        }
        let mut further = self.shape.probe(hash).skip(1);
        further.find_map(|bucket| find_in(slots, bucket, hash, is_it).break_value()).flatten()
    }

    /// Finds a place for an entry that is not there, and lets `fill` put it into the slot.
    pub(super) fn insert(&mut self, slots: &dyn Slots, hash: u64, fill: &mut dyn FnMut(Place)) -> Place {
        self.len += 1;
        // Most find room where they belong.
        let home = self.shape.home(hash);
        let place = match free_way(slots.make(home).load(Relaxed)) {
            Some(way) => Place::new(home, way),
            None => self.find_room(slots, hash),
        };
        fill(place);
        set_tag(slots, place, hash);
        place
    }

    /// Takes out what is at a place; returns whether there was something. Without its hash, readers will look further
    /// than they need.
    pub(super) fn remove(&mut self, slots: &dyn Slots, place: Place, hash: Option<u64>) -> bool {
        let Some(word) = slots.word(place.bucket()) else { return false };
        clear_tag(word, place);
        if let Some(hash) = hash.filter(|hash| self.shape.home(*hash) != place.bucket()) {
            self.forget_spill(slots, self.shape, place, hash);
        }
        let removed = slots.empty(place);
        self.len -= usize::from(removed);
        removed
    }

    /// Forgets everything; the buckets stay.
    pub(super) fn clear(&mut self, slots: &dyn Slots) {
        let Shape { first, buckets, .. } = self.shape;
        let shape = Shape { first, mask: 0, buckets: first };
        *self = Self { shape, len: 0, spills: ByNumber::new(), ..*self };
        slots.outline().shape.store(shape.pack(), Release);
        for bucket in 0..buckets {
            if let Some(word) = slots.word(bucket).filter(|word| word.load(Relaxed) != 0) {
                word.store(0, Release);
                for place in Place::of_bucket(bucket) {
                    slots.empty(place);
                }
            }
        }
    }

    /// A free place for an entry of this hash. It is counted in all the buckets that it spills past.
    fn find_room(&mut self, slots: &dyn Slots, hash: u64) -> Place {
        for number in self.shape.probe(hash) {
            let tags = slots.make(number);
            let word = tags.load(Relaxed);
            if let Some(way) = free_way(word) {
                return Place::new(number, way);
            }
            self.spills.entry(number).add(class(hash));
            tags.store(word | SPILLED << class(hash), Release);
        }
        unreachable!("a bucket is split before all are full");
    }

    /// An entry is no longer at a place that it found when the index had a certain shape.
    fn forget_spill(&mut self, slots: &dyn Slots, shape: Shape, place: Place, hash: u64) {
        for passed in shape.probe(hash).take_while(|it| *it != place.bucket()) {
            let is_last = self.spills.entry(passed).take(class(hash));
            if let Some(tags) = slots.word(passed).filter(|_| is_last) {
                tags.store(tags.load(Relaxed) & !(SPILLED << class(hash)), Release);
            }
        }
    }

    /// Splits one bucket into two. `hash_at` tells the hash of the entry at a place, if there is one, and `moved` is
    /// told from where to where it has moved; fails with a place whose hash cannot be told, if its entry may have to
    /// move.
    pub(super) fn split(
        &mut self,
        slots: &dyn Slots,
        hash_at: HashAt<'_>,
        moved: &mut dyn FnMut(Place, Place),
    ) -> Result<(), Place> {
        let old = self.shape;
        let (split, new) = old.split();
        let mut moving = Vec::new();
        for place in Place::of_bucket(split) {
            let Some(hash) = hash_at(place)? else { continue };
            // The way by which it came leads here, or to the new bucket.
            if new.probe(hash).find(|it| *it == split || *it == old.buckets) != Some(split) {
                moving.push((place, hash));
            }
        }
        let in_split = moving.len();
        if self.spills.get(split).are_counted() {
            // They may find room now, and are counted anew below.
            self.collect_spilled(slots, hash_at, split, &mut moving)?;
            self.set_spilled(slots, split, Spills::default());
        } else {
            // They stay where they are, and are looked for from both buckets.
            slots.make(old.buckets);
            self.set_spilled(slots, split, Spills::COUNTLESS);
            self.set_spilled(slots, old.buckets, Spills::COUNTLESS);
        }
        self.shape = new;
        slots.outline().shape.store(new.pack(), Release);
        for (number, (from, hash)) in moving.into_iter().enumerate() {
            let is_spilled = number >= in_split;
            let before = self.spills.get(split);
            let Some(tags) = slots.word(from.bucket()) else { continue };
            clear_tag(tags, from);
            self.forget_spill(slots, old, from, hash);
            // It was not counted any more where it passed the bucket that is split.
            if is_spilled {
                self.set_spilled(slots, split, before);
            }
            let to = self.find_room(slots, hash);
            let outline = slots.outline();
            if let Some((old, new)) = outline.mark(from).zip(outline.mark(to)) {
                new.store(old.load(Relaxed), Relaxed);
            }
            slots.relocate(from, to);
            set_tag(slots, to, hash);
            moved(from, to);
        }
        Ok(())
    }

    /// Notes what has spilled past a bucket.
    fn set_spilled(&mut self, slots: &dyn Slots, number: usize, spills: Spills) {
        if self.spills.get(number) != spills
            && let Some(tags) = slots.word(number)
        {
            *self.spills.entry(number) = spills;
            tags.store(tags.load(Relaxed) % SPILLED + spills.classes() * SPILLED, Release);
        }
    }

    /// Adds the entries that have spilled past a bucket.
    fn collect_spilled(
        &self,
        slots: &dyn Slots,
        hash_at: HashAt<'_>,
        bucket: usize,
        moving: &mut Vec<(Place, u64)>,
    ) -> Result<(), Place> {
        let Self { shape, spills, .. } = self;
        // The bucket goes by two numbers, and what follows them may be two buckets.
        let level = shape.first * (shape.mask / 2 + 1);
        let spills = spills.get(bucket);
        for class in (0..Spills::CLASSES).filter(|class| spills.of(*class) > 0) {
            let mut left = spills.of(class);
            let mut seen = vec![bucket];
            for number in [bucket, bucket + level] {
                for follows in shape.steps(number % shape.first, number / shape.first, class).skip(1) {
                    if left == 0 {
                        break;
                    }
                    let Some(tags) = slots.word(follows) else { break };
                    let tags = tags.load(Relaxed);
                    if !seen.contains(&follows) {
                        seen.push(follows);
                        for place in Place::of_bucket(follows).filter(|it| class_at(tags, *it) == class) {
                            let Some(hash) = hash_at(place)? else { continue };
                            let mut passed = shape.probe(hash).take_while(|it| *it != follows);
                            if passed.any(|it| it == bucket) {
                                moving.push((place, hash));
                                left -= 1;
                            }
                        }
                    }
                    if tags & SPILLED << class == 0 {
                        break;
                    }
                }
            }
        }
        Ok(())
    }
}

/// Tells the hash of the entry at a place, if there is one; fails with the place if that cannot be told.
pub(super) type HashAt<'a> = &'a dyn Fn(Place) -> Result<Option<u64>, Place>;

impl<T: Send + Sync + 'static> Slots for Index<T> {
    fn outline(&self) -> &Outline {
        &self.outline
    }
    fn word(&self, bucket: usize) -> Option<&AtomicU64> {
        Some(&self.bucket(bucket)?.tags)
    }
    fn make(&self, bucket: usize) -> &AtomicU64 {
        &self.buckets.make(bucket)[bucket % CHUNK].tags
    }
    fn relocate(&self, from: Place, to: Place) {
        let entry = self.swap(from, None);
        self.swap(to, entry);
    }
    fn empty(&self, place: Place) -> bool {
        self.swap(place, None).is_some()
    }
}

/// An entry that was found.
pub(super) struct Found<'g, T> {
    pub(super) entry: &'g T,
    bucket: usize,
    way: usize,
}

impl<T> Found<'_, T> {
    pub(super) fn place(&self) -> Place {
        Place::new(self.bucket, self.way)
    }
}

/// Where an entry may be, before anything of it has been looked at.
pub(crate) struct Candidates<'a, T> {
    index: &'a Index<T>,
    hash: u64,
    bucket: Option<&'a Bucket<T>>,
    number: usize,
    /// The bucket's word, and a bit of each way that may be it.
    word: u64,
    ways: u64,
}

impl<'a, T: Send + Sync + 'static> Candidates<'a, T> {
    #[expect(clippy::inline_always, reason = "a hit is cheaper in one piece")]
    #[inline(always)]
    fn of(index: &'a Index<T>, number: usize, hash: u64) -> Self {
        let bucket = index.bucket(number);
        // Where no bucket was made, nothing has spilled past it.
        let word = bucket.map_or(0, |bucket| bucket.tags.load(Acquire));
        Self { index, hash, bucket, number, word, ways: matching(word, LOW * tag(hash)) }
    }

    /// The entry of a key among these, or wherever it has spilled to.
    #[expect(clippy::inline_always, reason = "a hit is cheaper in one piece")]
    #[inline(always)]
    pub(super) fn find<'g>(&self, is_it: impl Fn(&T) -> bool, guard: &'g Guard) -> Option<Found<'g, T>>
    where
        'a: 'g,
    {
        match self.find_here(&is_it, guard) {
            None if self.may_have_spilled() => self.index.find_spilled(self.hash, &is_it, guard),
            found => found,
        }
    }

    #[expect(clippy::inline_always, reason = "a hit is cheaper in one piece")]
    #[inline(always)]
    fn find_here<'g>(&self, is_it: impl Fn(&T) -> bool, guard: &'g Guard) -> Option<Found<'g, T>>
    where
        'a: 'g,
    {
        let mut ways = self.ways;
        while ways != 0 {
            let way = ways.trailing_zeros() as usize / 8;
            if let Some(entry) = self.bucket?.slots[way].load(Acquire, guard).as_ref()
                && is_it(entry)
            {
                return Some(Found { entry, bucket: self.number, way });
            }
            ways &= ways - 1;
        }
        None
    }

    pub(super) fn outline(&self) -> &'a Outline {
        &self.index.outline
    }

    /// Whether there is any.
    #[inline]
    pub(crate) fn are_any(&self) -> bool {
        self.ways != 0 || self.may_have_spilled()
    }

    #[inline]
    fn may_have_spilled(&self) -> bool {
        self.word & SPILLED << class(self.hash) != 0
    }
}

impl<T: Send + Sync + 'static> Index<T> {
    /// An empty index that will hold about `usual` entries when it is full, and never more than `most`;
    /// with marks or without.
    pub(super) fn new(usual: usize, most: usize, marked: bool) -> (Self, Writing) {
        let ways_used = if usual <= SMALL { WAYS_USED_IF_SMALL } else { WAYS_USED };
        let (shape, most) = Shape::new(usual, most, ways_used);
        let marks = marked.then(|| Box::new(Marks::new(most)));
        let outline = Outline { first: shape.first, shape: AtomicU64::new(shape.pack()), marks };
        let index = Self { outline, buckets: Chunks::new(most, || [const { Bucket::new() }; CHUNK]) };
        (index, Writing { shape, ways_used, len: 0, spills: ByNumber::new() })
    }

    #[inline]
    fn bucket(&self, number: usize) -> Option<&Bucket<T>> {
        self.buckets.get(number).map(|buckets| &buckets[number % CHUNK])
    }

    /// Puts an entry into a slot, or takes it out; readers see the one or the other. Nothing comes into a slot whose
    /// bucket was not made.
    pub(super) fn swap(&self, place: Place, entry: Option<Owned<T>>) -> Option<Owned<T>> {
        self.bucket(place.bucket())?.slots[place.way()].swap((entry, Tag::None), Release).0
    }

    /// What can be known of a key's entry without a guard.
    #[expect(clippy::inline_always, reason = "a hit is cheaper in one piece")]
    #[inline(always)]
    pub(super) fn look(&self, hash: u64) -> Candidates<'_, T> {
        let home = self.outline.shape().home(hash);
        Candidates::of(self, home, hash)
    }

    #[cold]
    #[inline(never)]
    fn find_spilled<'g>(
        &'g self,
        hash: u64,
        is_it: &dyn Fn(&T) -> bool,
        guard: &'g Guard,
    ) -> Option<Found<'g, T>> {
        // The first of them has been looked at.
        for number in self.outline.shape().probe(hash).skip(1) {
            let candidates = Candidates::of(self, number, hash);
            let found = candidates.find_here(is_it, guard);
            if found.is_some() || !candidates.may_have_spilled() {
                return found;
            }
        }
        None
    }

    /// The entry at a place.
    pub(super) fn at<'g>(&'g self, place: Place, guard: &'g Guard) -> Option<&'g T> {
        self.bucket(place.bucket())?.slots[place.way()].load(Acquire, guard).as_ref()
    }
}

/// What tests and models do with an index whose type they know.
#[cfg(test)]
impl<T: Send + Sync + 'static> Index<T> {
    fn insert(&self, writing: &mut Writing, hash: u64, entry: Owned<T>) -> Place {
        let mut entry = Some(entry);
        writing.insert(self, hash, &mut |place| assert!(self.swap(place, entry.take()).is_none()))
    }

    fn remove(&self, writing: &mut Writing, place: Place, hash: Option<u64>) -> bool {
        writing.remove(self, place, hash)
    }

    fn replace(&self, place: Place, entry: Owned<T>) {
        assert!(self.swap(place, Some(entry)).is_some());
    }

    fn split(
        &self,
        writing: &mut Writing,
        hash_of: impl Fn(&T) -> Option<u64>,
        mut moved: impl FnMut(Place, Place),
        guard: &Guard,
    ) -> Result<(), Place> {
        let hash_at = |place| match self.at(place, guard) {
            Some(entry) => hash_of(entry).ok_or(place).map(Some),
            None => Ok(None),
        };
        writing.split(self, &hash_at, &mut moved)
    }

    /// Where an entry is by the reckoning of a writer, and of a reader.
    fn find(
        &self,
        writing: &Writing,
        hash: u64,
        is_it: impl Fn(&T) -> bool,
        guard: &Guard,
    ) -> [Option<Place>; 2] {
        let found = self.look(hash).find(&is_it, guard).map(|found| found.place());
        [writing.find(self, hash, &|place| self.at(place, guard).is_some_and(&is_it)), found]
    }
}

#[cfg(all(test, shuttle))]
mod model;

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::hash::BuildHasher;

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
            let shape = writing.shape;
            assert_eq!(self.outline.shape(), shape, "readers know the shape");
            let (mut len, mut spilled, mut all_hashed) = (0, vec![[0; Spills::CLASSES]; shape.buckets], true);
            for bucket in 0..shape.buckets {
                let word = self.bucket(bucket).map_or(0, |it| it.tags.load(Relaxed));
                for place in Place::of_bucket(bucket) {
                    let tag_here = word >> (8 * place.way()) & 0xff;
                    let Some(entry) = self.at(place, guard) else {
                        assert_eq!(tag_here, 0, "a slot without an entry has no tag");
                        continue;
                    };
                    len += 1;
                    assert_ne!(tag_here, 0, "an entry has a tag");
                    let Some(hash) = hash_of(entry) else {
                        all_hashed = false;
                        continue;
                    };
                    assert_eq!(tag_here, tag(hash));
                    shape
                        .probe(hash)
                        .take_while(|it| *it != bucket)
                        .for_each(|it| spilled[it][class(hash)] += 1);
                }
            }
            assert_eq!(len, writing.len);
            for (bucket, expected) in spilled.into_iter().enumerate() {
                let noted = writing.spills.get(bucket);
                let told = self.bucket(bucket).map_or(0, |it| it.tags.load(Relaxed) / SPILLED);
                assert_eq!(told, noted.classes(), "readers know what is noted of bucket {bucket}");
                for (noted, expected) in noted.counts().zip(expected) {
                    if noted < Spills::MAX && exact && all_hashed {
                        assert_eq!(noted, expected, "bucket {bucket} of {}", shape.buckets);
                    }
                    assert!(noted >= expected.min(Spills::MAX), "a reader would stop at bucket {bucket}");
                }
            }
            let beyond = self.buckets.iter().map(|buckets| {
                let used = |bucket: &&Bucket<T>| bucket.tags.load(Relaxed) & HIGH != 0;
                buckets
                    .iter()
                    .filter(used)
                    .map(|it| (it.tags.load(Relaxed) & HIGH).count_ones() as usize)
                    .sum::<usize>()
            });
            assert_eq!(beyond.sum::<usize>(), len, "there is nothing in buckets that are not in use");
        }
    }

    struct Item {
        key: u16,
        version: u32,
    }

    /// Few homes, at both ends and in the middle, and few tags.
    fn hash(key: u16) -> u64 {
        let homes = [0, 1 << 31, (1 << 31) + (1 << 28), u64::from(u32::MAX)];
        homes[usize::from(key % 4)] << 32 | u64::from(key / 4 % 8) << TAG_BITS | u64::from(key / 32 % 3)
    }

    /// One in so many cannot be hashed when it may have to move.
    fn rehash(item: &Item) -> Option<u64> {
        (item.key % 50 != 49).then(|| hash(item.key))
    }

    #[derive(Clone, Debug)]
    enum Step {
        Insert(u16),
        Remove(u16, bool),
        Replace(u16),
        Split,
        Clear,
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let key = || 0..150_u16;
        let step = prop_oneof![
            20 => key().prop_map(Step::Insert),
            6 => (key(), prop::bool::weighted(0.9)).prop_map(|(key, hashed)| Step::Remove(key, hashed)),
            3 => key().prop_map(Step::Replace),
            4 => Just(Step::Split),
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
        marked: bool,
    }

    impl Modelled {
        fn new(usual: usize, marked: bool) -> Self {
            let (index, writing) = Index::new(usual, 1000, marked);
            Self { index, writing, model: HashMap::new(), version: 0, exact: true, marked }
        }

        fn item(&mut self, key: u16) -> Owned<Item> {
            self.version += 1;
            Owned::new(Item { key, version: self.version })
        }

        fn split(&mut self, guard: &Guard) {
            let model = &mut self.model;
            let moved = |from, to| {
                let (place, ..) =
                    model.values_mut().find(|(place, ..)| *place == from).expect("it was there");
                *place = to;
            };
            if let Err(place) = self.index.split(&mut self.writing, rehash, moved, guard) {
                assert!(self.index.remove(&mut self.writing, place, None));
                self.model.retain(|_, (it, ..)| *it != place);
                self.exact = false;
            }
        }

        fn step(&mut self, step: &Step, guard: &Guard) {
            match *step {
                Step::Insert(key) if !self.model.contains_key(&key) => {
                    while self.writing.should_split() {
                        self.split(guard);
                    }
                    let item = self.item(key);
                    let place = self.index.insert(&mut self.writing, hash(key), item);
                    let mark = u64::from(self.version) * 3;
                    self.index.outline.mark(place).inspect(|it| it.store(mark, Relaxed));
                    self.model.insert(key, (place, self.version, mark));
                }
                Step::Remove(key, hashed) => {
                    if let Some((place, ..)) = self.model.remove(&key) {
                        let hash = hashed.then(|| hash(key));
                        assert!(self.index.remove(&mut self.writing, place, hash));
                        self.exact &= hashed;
                    }
                }
                Step::Replace(key) => {
                    let item = self.item(key);
                    if let Some((place, version, _)) = self.model.get_mut(&key) {
                        self.index.replace(*place, item);
                        *version = self.version;
                    }
                }
                Step::Split if self.writing.shape.buckets < 100 => self.split(guard),
                Step::Clear => {
                    self.writing.clear(&self.index);
                    self.model.clear();
                    self.exact = true;
                }
                Step::Insert(_) | Step::Split => {}
            }
        }

        fn validate(&self, guard: &Guard) {
            self.index.validate(&self.writing, |item| Some(hash(item.key)), self.exact, guard);
            assert_eq!(self.writing.len(), self.model.len());
            for key in 0..150 {
                let found = self.index.find(&self.writing, hash(key), |item| item.key == key, guard);
                let expected = self.model.get(&key);
                assert_eq!(found, [expected.map(|(place, ..)| *place); 2], "key {key}");
                let Some((place, version, mark)) = expected else { continue };
                assert_eq!(self.index.at(*place, guard).map(|item| item.version), Some(*version));
                let found = self.index.outline.mark(*place).map(|it| it.load(Relaxed));
                assert_eq!(found, self.marked.then_some(*mark), "the mark moves with its entry");
            }
        }
    }

    proptest! {
        #![proptest_config(cases(64))]
        #[test]
        fn an_index_holds_what_was_put_into_it_however_it_grows(
            steps in steps(), usual in prop::sample::select(vec![1_usize, 8, 151]), marked: bool,
        ) {
            let guard = Guard::new();
            let mut modelled = Modelled::new(usual, marked);
            for step in &steps {
                modelled.step(step, &guard);
                modelled.validate(&guard);
            }
        }
    }

    #[test]
    fn an_index_has_about_as_many_buckets_as_it_will_need() {
        for most in [1, 6, 7, 100, 1000, 12_345, 1_000_000] {
            let (_, writing) = Index::<Item>::new(most, most, false);
            let mut shape = writing.shape;
            while most > shape.buckets * writing.ways_used || shape.is_splitting() {
                (_, shape) = shape.split();
            }
            let needed = most.div_ceil(writing.ways_used);
            assert!(shape.buckets <= needed + needed / FIRST + 1, "{} for {most}", shape.buckets);
        }
    }

    /// Hashes that are spread as those of keys are.
    fn spread(n: usize) -> u64 {
        foldhash::fast::FixedState::default().hash_one(n)
    }

    /// Puts in an entry that is its own hash.
    fn put(index: &Index<u64>, writing: &mut Writing, hash: u64, guard: &Guard) -> Place {
        for _ in 0..SPLITS {
            if writing.should_split() {
                assert!(index.split(writing, |hash| Some(*hash), |_, _| {}, guard).is_ok());
            }
        }
        index.insert(writing, hash, Owned::new(hash))
    }

    #[test]
    fn an_entry_is_near_its_home_however_far_the_index_has_grown() {
        let guard = Guard::new();
        let (index, mut writing) = Index::new(1, 60_000, false);
        for (len, hash) in (0..60_000).map(spread).enumerate() {
            let place = put(&index, &mut writing, hash, &guard);
            let steps = writing.shape.probe(hash).take_while(|it| *it != place.bucket()).count();
            assert!(steps <= 20, "{steps} steps with {len} entries in {} buckets", writing.shape.buckets);
        }
    }

    #[test]
    fn most_who_find_nothing_look_into_one_bucket_however_often_all_entries_have_changed() {
        let guard = Guard::new();
        let (index, mut writing) = Index::new(12_000, 12_000, false);
        for (number, hash) in (0..120_000).map(spread).enumerate() {
            put(&index, &mut writing, hash, &guard);
            if let Some(oldest) = number.checked_sub(11_000).map(spread) {
                let found = index.look(oldest).find(|it| *it == oldest, &guard).expect("it is there");
                index.remove(&mut writing, found.place(), Some(oldest));
            }
        }
        let more = (200_000..210_000).filter(|it| index.look(spread(*it)).may_have_spilled()).count();
        assert!(more < 3000, "{more} of 10,000 look further");
    }

    #[test]
    fn a_bucket_from_which_more_spill_than_it_can_count_loses_nothing() {
        let guard = Guard::new();
        let (index, mut writing) = Index::new(3000, 3000, false);
        let mut places = Vec::new();
        for key in 0..3000_u16 {
            while writing.should_split() {
                let moved = |from: Place, to: Place| {
                    *places.iter_mut().find(|it| **it == from).expect("it was there") = to;
                };
                let split = index.split(&mut writing, |_| Some(7), moved, &guard);
                assert!(split.is_ok());
            }
            places.push(index.insert(&mut writing, 7, Owned::new(Item { key, version: 0 })));
        }
        for key in 0..3000_u16 {
            if key % 500 == 0 {
                index.validate(&writing, |_| Some(7), true, &guard);
            }
            let last = index.look(7).find(|item| item.key == 2999, &guard);
            assert_eq!(last.map(|it| it.entry.key), Some(2999), "after {key} were removed");
            index.remove(&mut writing, places[usize::from(key)], Some(7));
        }
        assert_eq!(writing.len(), 0);
    }
}
