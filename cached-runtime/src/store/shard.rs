//! A part of a table: an index that is read without a lock, and behind the writers' lock all that
//! readers need not know. What writers do is the same for all types of key and value.

use std::sync::atomic::Ordering::Relaxed;

use sdd::Guard;

use super::any::{AnyKey, KeyRef, ValueRef};
use super::entry::{Entry, Life};
use super::eviction::{Entries, Eviction};
use super::expiries::Expiries;
use super::index::{Index, Outline, SPLITS, Slots, Writing};
use super::places::Place;
use super::retries::Retries;
use super::table::Base;
use crate::clock::{Moment, NEVER};
use crate::flight::{Flights, IsKey};
use crate::policy::{Freshness, Times};
use crate::shim::{AtomicUsize, Mutex, MutexGuard};
use crate::stats::Counts;

/// See the module.
pub(super) struct Shard<K, S> {
    pub(super) index: Index<Entry<K, S>>,
    books: Books,
}

/// What a shard is beside its entries.
pub(crate) struct Books {
    writer: Mutex<Writer>,
    /// How many entries there are, and what they take, when the lock is free: for the limits over all
    /// functions.
    entries: AtomicUsize,
    bytes: AtomicUsize,
}

/// What is behind the writers' lock.
///
/// Invariants: an entry is in the index and in `eviction`, at the same place, or in neither; when the
/// lock is free, the weight is at most the capacity.
pub(crate) struct Writer {
    writing: Writing,
    eviction: Eviction,
    expiries: Expiries,
    /// What the entries take.
    bytes: usize,
    /// The first moment at which an entry may expire; [`NEVER`] if none can.
    next_expiry: Moment,
    pub(crate) flights: Flights,
    pub(crate) retries: Retries,
    pub(crate) counts: Counts,
}

/// Why an entry goes.
#[derive(Clone, Copy)]
pub(super) enum Cause {
    Evicted,
    Expired,
    Invalidated,
}

/// An entry, whatever its types.
pub(crate) struct AnyEntry<'g> {
    pub(super) key: KeyRef<'g>,
    pub(super) value: ValueRef<'g>,
    pub(super) life: &'g Life,
}

/// A shard, whatever the types of key and value.
pub(crate) trait AnyShard {
    fn slots(&self) -> &dyn Slots;
    fn books(&self) -> &Books;
    fn at<'g>(&'g self, place: Place, guard: &'g Guard) -> Option<AnyEntry<'g>>;
    fn life_at<'g>(&'g self, place: Place, guard: &'g Guard) -> Option<&'g Life>;
}

impl<K, S> Shard<K, S>
where
    K: Send + Sync + 'static,
    S: Send + Sync + 'static,
{
    /// For about `usual` entries when it is full, and never more than `most`.
    pub(super) fn new(usual: usize, most: usize, capacity: usize, weighed: bool, marked: bool) -> Self {
        let (index, writing) = Index::new(usual, most, marked);
        Self { index, books: Books::new(writing, capacity, weighed) }
    }
}

impl<K, S> AnyShard for Shard<K, S>
where
    K: Send + Sync + 'static,
    S: Send + Sync + 'static,
{
    fn slots(&self) -> &dyn Slots {
        &self.index
    }

    fn books(&self) -> &Books {
        &self.books
    }

    fn at<'g>(&'g self, place: Place, guard: &'g Guard) -> Option<AnyEntry<'g>> {
        let Entry { key, value, life } = self.index.at(place, guard)?;
        Some(AnyEntry { key: KeyRef::new(key), value: ValueRef::new(value), life })
    }

    fn life_at<'g>(&'g self, place: Place, guard: &'g Guard) -> Option<&'g Life> {
        self.index.at(place, guard).map(|entry| &entry.life)
    }
}

impl Books {
    fn new(writing: Writing, capacity: usize, weighed: bool) -> Self {
        let writer = Writer {
            writing,
            eviction: Eviction::new(capacity, weighed),
            expiries: Expiries::default(),
            bytes: 0,
            next_expiry: NEVER,
            flights: Flights::default(),
            retries: Retries::default(),
            counts: Counts::default(),
        };
        Self { writer: Mutex::new(writer), entries: AtomicUsize::new(0), bytes: AtomicUsize::new(0) }
    }

    pub(super) fn counts(&self) -> Counts {
        self.writer.lock().counts
    }

    pub(super) fn weight(&self) -> u64 {
        self.writer.lock().eviction.weight()
    }

    /// Entries and bytes, for the limits over all functions.
    pub(super) fn footprint(&self) -> (usize, usize) {
        (self.entries.load(Relaxed), self.bytes.load(Relaxed))
    }
}

/// A shard in the hands of a writer. The guard outlives the lock, so that no value is dropped under it.
pub(crate) struct Locked<'a> {
    view: View<'a>,
    books: &'a Books,
    pub(crate) writer: MutexGuard<'a, Writer>,
    /// Entries that are gone, whose room nobody has taken.
    freed: usize,
}

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        self.books.entries.store(self.len(), Relaxed);
        self.books.bytes.store(self.writer.bytes, Relaxed);
        self.view.base.free(self.freed);
    }
}

/// Until when a value is stored, and with which weight.
#[derive(Clone, Copy)]
pub(crate) struct Stay {
    pub(crate) deadline: Moment,
    pub(crate) weight: usize,
}

/// Puts an entry with this key into a slot.
pub(super) type Fill<'a> = &'a mut (dyn FnMut(Place, AnyKey, Life) + Send);

/// The entries of a shard that nobody else changes meanwhile.
#[derive(Clone, Copy)]
struct View<'a> {
    base: &'a Base,
    shard: &'a dyn AnyShard,
    slots: &'a dyn Slots,
    guard: &'a Guard,
}

impl<'a> View<'a> {
    fn at(self, place: Place) -> Option<AnyEntry<'a>> {
        self.shard.at(place, self.guard)
    }

    fn life_at(self, place: Place) -> Option<&'a Life> {
        self.shard.life_at(place, self.guard)
    }

    fn find(self, writing: &Writing, hash: u64, is_key: IsKey<'_>) -> Option<(Place, AnyEntry<'a>)> {
        let is_it = |place| self.at(place).is_some_and(|entry| is_key(entry.key));
        let place = writing.find(self.slots, hash, &is_it)?;
        Some((place, self.at(place)?))
    }

    /// Notes that an entry is used now; returns whether it was not idle for too long.
    fn touch(self, place: Place, life: &Life, now: Moment) -> bool {
        self.base.idle.is_none_or(|idle| touch(self.slots.outline(), idle, place, life, now))
    }

    fn times(self, place: Place, life: &Life) -> Times {
        // Where nothing can be idle for too long, nothing is noted of when it was used.
        match self.base.idle {
            None => Times { deadline: life.deadline(), touched: NEVER },
            Some(_) => times(self.slots.outline(), place, life),
        }
    }

    /// See [`Locked::servable`].
    fn servable(
        self,
        writing: &Writing,
        hash: u64,
        is_key: IsKey<'_>,
        ahead: &dyn Fn(ValueRef<'_>) -> u64,
        now: Moment,
    ) -> Option<(ValueRef<'a>, Freshness)> {
        let (place, entry) = self.find(writing, hash, is_key)?;
        if !self.touch(place, entry.life, now) {
            return None;
        }
        let (times, windows) = (self.times(place, entry.life), self.base.state.windows());
        let freshness = times.freshness(windows, self.base.idle, ahead(entry.value), now);
        entry.life.hit(now).then_some((entry.value, freshness))
    }
}

/// As eviction sees them.
impl Entries for View<'_> {
    fn frequency(&self, place: Place) -> u8 {
        self.life_at(place).map_or(0, Life::frequency)
    }
    fn set_frequency(&self, place: Place, frequency: u8) {
        if let Some(life) = self.life_at(place) {
            life.set_frequency(frequency);
        }
    }
    fn hash(&self, place: Place) -> Option<u64> {
        self.at(place).and_then(|entry| self.base.rehash(entry.key))
    }
}

impl<'a> Locked<'a> {
    pub(super) fn new(base: &'a Base, shard: &'a dyn AnyShard, guard: &'a Guard) -> Self {
        let (slots, books) = (shard.slots(), shard.books());
        let view = View { base, shard, slots, guard };
        Self { view, books, writer: books.writer.lock(), freed: 0 }
    }

    pub(super) fn len(&self) -> usize {
        self.writer.writing.len()
    }

    fn find(&self, hash: u64, is_key: IsKey<'_>) -> Option<(Place, AnyEntry<'a>)> {
        self.view.find(&self.writer.writing, hash, is_key)
    }

    /// The value of a key, if it is fresh, counted as used.
    pub(crate) fn fresh(&self, hash: u64, is_key: IsKey<'_>, now: Moment) -> Option<ValueRef<'a>> {
        let (place, entry) = self.find(hash, is_key)?;
        let ahead = now.saturating_add(self.view.base.lead());
        (self.view.touch(place, entry.life, now) && entry.life.hit(ahead)).then_some(entry.value)
    }

    /// What is there of a key and has not expired, counted as used; `ahead` tells how long before its end a value is
    /// to be computed anew.
    pub(crate) fn servable(
        &self,
        hash: u64,
        is_key: IsKey<'_>,
        ahead: &dyn Fn(ValueRef<'_>) -> u64,
        now: Moment,
    ) -> Option<(ValueRef<'a>, Freshness)> {
        self.view.servable(&self.writer.writing, hash, is_key, ahead, now)
    }

    /// The same of the key of a computation.
    pub(crate) fn servable_of(
        &mut self,
        hash: u64,
        number: u64,
        now: Moment,
    ) -> Option<(ValueRef<'a>, Freshness)> {
        let (view, keys) = (self.view, self.view.base.keys);
        let Writer { writing, flights, .. } = &mut *self.writer;
        let key = flights.key(hash, number)?;
        view.servable(writing, hash, &|it| keys.same(it, key), &|_| 0, now)
    }

    /// The value of a key, if it is fresh now, with no trace left.
    pub(crate) fn peek(&self, hash: u64, is_key: IsKey<'_>, now: Moment) -> Option<ValueRef<'a>> {
        let (place, entry) = self.find(hash, is_key)?;
        (self.view.base.freshness(self.view.times(place, entry.life), now) == Freshness::Fresh)
            .then_some(entry.value)
    }

    /// Whether a key has an entry that has not expired.
    #[cfg(feature = "backend")]
    pub(crate) fn is_there(&self, hash: u64, is_key: IsKey<'_>, now: Moment) -> bool {
        let found = self.find(hash, is_key);
        found.is_some_and(|(place, entry)| {
            self.view.base.freshness(self.view.times(place, entry.life), now) != Freshness::Expired
        })
    }

    /// Whether no tag of an entry was invalidated.
    fn is_live(&self, place: Place) -> bool {
        self.view.at(place).is_some_and(|entry| self.view.base.keys.is_live(entry.key))
    }

    /// When what is at a place expires if it is not hit again.
    fn expiry(&self, place: Place) -> Option<Moment> {
        let life = self.view.life_at(place)?;
        Some(self.view.times(place, life).expiry(self.view.base.idle))
    }

    /// Stores what `fill` makes in the place of the entry that the key may have had, and takes the key for it. One that
    /// is heavier than the capacity is not stored, and the old one goes all the same. A new entry
    /// takes the room that is reserved; where there is none, another entry has to go.
    pub(super) fn insert(
        &mut self,
        hash: u64,
        key: &mut Option<AnyKey>,
        stay: Stay,
        now: Moment,
        reserved: &mut bool,
        fill: Fill<'_>,
    ) {
        let old = self.find(hash, &self.view.base.keys.is(key.as_ref()));
        if stay.weight > self.view.base.state.capacity {
            if let Some((place, _)) = old {
                self.remove(place, Some(hash), Cause::Evicted);
            }
            return;
        }
        let Some(key) = key.take() else { return };
        if let Some((place, entry)) = old {
            if !self.is_live(place) {
                self.count(Cause::Invalidated, 1);
            }
            // As the entry has it, the deadline is a little earlier.
            let life = Life::new(stay.deadline, entry.life.frequency());
            let deadline = life.deadline();
            fill(place, key, life);
            self.replaced(place, deadline, stay.weight, now);
            return;
        }
        self.insert_new(hash, key, stay, now, fill);
        if self.view.base.is_whole() {
            self.keep_capacity(now);
        } else if !std::mem::take(reserved) {
            let others = self.len() as u64 - 1;
            self.writer.eviction.set_capacity(others);
            self.make_room(now);
            // It is taken at once.
            self.freed -= 1;
        }
    }

    fn insert_new(&mut self, hash: u64, key: AnyKey, stay: Stay, now: Moment, fill: Fill<'_>) {
        for _ in 0..SPLITS {
            while self.writer.writing.should_split() && !self.split() {}
        }
        if self.len() >= self.view.base.most_of_shard() {
            self.make_room(now);
        }
        let life = Life::new(stay.deadline, 0);
        let deadline = life.deadline();
        let mut entry = Some((key, life));
        let mut fill = |place| {
            if let Some((key, life)) = entry.take() {
                fill(place, key, life);
            }
        };
        let place = self.writer.writing.insert(self.view.slots, hash, &mut fill);
        self.note(place, deadline, now);
        self.writer.eviction.insert(place, hash, stay.weight);
        self.writer.bytes += self.bytes_at(place);
    }

    fn replaced(&mut self, place: Place, deadline: Moment, weight: usize, now: Moment) {
        let old = self.bytes_at(place);
        self.note(place, deadline, now);
        self.writer.eviction.reweigh(place, weight);
        self.writer.bytes = self.writer.bytes - old + self.bytes_at(place);
        if self.view.base.is_whole() {
            self.keep_capacity(now);
        }
    }

    /// Removes entries until the capacity is kept: expired ones, then those least likely to be used.
    fn keep_capacity(&mut self, now: Moment) {
        while self.writer.eviction.is_over() && self.make_room(now) {}
    }

    /// Splits a bucket of the index; returns whether that was done.
    fn split(&mut self) -> bool {
        let Writer { writing, eviction, expiries, .. } = &mut *self.writer;
        let view = self.view;
        let hash_at = |place| match view.at(place) {
            Some(entry) => view.base.rehash(entry.key).ok_or(place).map(Some),
            None => Ok(None),
        };
        let mut moved = |from, to: Place| {
            if let Some(life) = view.life_at(to) {
                expiries.note(to.bucket(), view.times(to, life).expiry(view.base.idle));
            }
            eviction.moved(from, to);
        };
        match writing.split(view.slots, &hash_at, &mut moved) {
            Ok(()) => true,
            // An entry whose key cannot be hashed any more will not be found either.
            Err(place) => {
                self.remove(place, None, Cause::Evicted);
                false
            }
        }
    }

    /// Sees to it that a new entry goes when it expires.
    fn note(&mut self, place: Place, deadline: Moment, now: Moment) {
        let mark = self.view.base.idle.and_then(|_| self.view.slots.outline().mark(place));
        if let Some(mark) = mark {
            mark.store(now, Relaxed);
        }
        let touched = if mark.is_some() { now } else { NEVER };
        let expiry = Times { deadline, touched }.expiry(self.view.base.idle);
        if expiry != NEVER {
            self.writer.expiries.note(place.bucket(), expiry);
            if expiry < self.writer.next_expiry {
                self.writer.next_expiry = expiry;
                self.view.base.expires_at(expiry);
            }
        }
    }

    /// Removes one entry: an expired one if there is any, else the one least likely to be used again.
    pub(super) fn make_room(&mut self, now: Moment) -> bool {
        if let Some(place) = self.pop_expired(now) {
            self.remove(place, None, Cause::Expired);
            return true;
        }
        let view = self.view;
        let victim = self.writer.eviction.victim(&view);
        if let Some((place, hash)) = victim {
            self.remove(place, hash, Cause::Evicted);
            // So that few of the evicted values, beside those that are there, are not dropped yet.
            let often = (self.view.base.capacity_of_shard() as u64 / 64).clamp(1, 32);
            if self.writer.counts.evictions.is_multiple_of(often) {
                self.view.guard.accelerate();
            }
        }
        victim.is_some()
    }

    /// An entry that has expired by now.
    fn pop_expired(&mut self, now: Moment) -> Option<Place> {
        if self.writer.next_expiry > now {
            return None;
        }
        while let Some(bucket) = self.writer.expiries.due(now) {
            let mut soonest = NEVER;
            for place in Place::of_bucket(bucket) {
                let Some(expiry) = self.expiry(place) else { continue };
                if expiry <= now {
                    return Some(place);
                }
                soonest = soonest.min(expiry);
            }
            self.writer.expiries.settle(bucket, soonest);
        }
        self.writer.next_expiry = self.writer.expiries.soonest();
        None
    }

    /// Removes at most so many expired entries; returns how many.
    pub(super) fn remove_expired(&mut self, most: usize, now: Moment) -> usize {
        let mut removed = 0;
        while removed < most
            && let Some(place) = self.pop_expired(now)
        {
            self.remove(place, None, Cause::Expired);
            removed += 1;
        }
        if self.len() == 0 && removed > 0 {
            self.reset();
        }
        if self.writer.next_expiry != NEVER {
            self.view.base.expires_at(self.writer.next_expiry);
        }
        removed
    }

    /// Removes the entry at a place; its hash is computed if it is not given.
    fn remove(&mut self, place: Place, hash: Option<u64>, cause: Cause) {
        let hash = hash.or_else(|| self.view.hash(place));
        self.writer.bytes -= self.bytes_at(place);
        self.writer.eviction.remove(place);
        self.writer.writing.remove(self.view.slots, place, hash);
        self.freed += 1;
        self.count(cause, 1);
    }

    /// All entries, with their times and weights.
    #[cfg(feature = "backend")]
    pub(super) fn entries(&self) -> Vec<(AnyEntry<'a>, Times, u64)> {
        let found = self.writer.writing.places().filter_map(|place| Some((place, self.view.at(place)?)));
        found
            .map(|(place, entry)| {
                let times = self.view.times(place, entry.life);
                (entry, times, self.writer.eviction.weight_of(place))
            })
            .collect()
    }

    /// Forgets all entries; returns how many there were.
    fn reset(&mut self) -> usize {
        let policy = self.view.base.state.policy();
        let count = self.len();
        self.writer.writing.clear(self.view.slots);
        self.writer.eviction = Eviction::new(self.view.base.capacity_of_shard(), policy.is_weighed());
        self.writer.expiries = Expiries::default();
        self.writer.next_expiry = NEVER;
        self.writer.bytes = 0;
        self.freed += count;
        count
    }

    /// The same, and fences all computations.
    pub(super) fn clear(&mut self) -> usize {
        self.writer.flights.fence_all();
        let count = self.reset();
        self.count(Cause::Invalidated, count as u64);
        count
    }

    /// Forgets one key and fences its computations; returns whether a fresh value was there.
    pub(crate) fn invalidate(&mut self, hash: u64, is_key: IsKey<'_>) -> bool {
        self.writer.flights.fence(hash, is_key);
        let Some((place, entry)) = self.find(hash, is_key) else { return false };
        let fresh = self.view.base.freshness(self.view.times(place, entry.life), self.view.base.now())
            == Freshness::Fresh;
        let cause = if fresh { Cause::Invalidated } else { Cause::Expired };
        let fresh = fresh && self.is_live(place);
        self.remove(place, Some(hash), cause);
        fresh
    }

    fn count(&mut self, cause: Cause, count: u64) {
        let counts = &mut self.writer.counts;
        match cause {
            Cause::Evicted => counts.evictions += count,
            Cause::Expired => counts.expirations += count,
            Cause::Invalidated => counts.invalidations += count,
        }
    }

    /// What the entry at a place takes: its own size, and with `weigh` its weight, taken for bytes as far
    /// as there can be so many.
    fn bytes_at(&self, place: Place) -> usize {
        const MOST: usize = usize::MAX >> 17;
        let size = self.view.base.entry_bytes;
        if !self.view.base.state.policy().is_weighed() {
            return size;
        }
        size + usize::try_from(self.writer.eviction.weight_of(place)).unwrap_or(MOST).min(MOST)
    }
}

/// The times of the entry at a place.
pub(super) fn times(outline: &Outline, place: Place, life: &Life) -> Times {
    let touched = outline.mark(place).map_or(NEVER, |mark| mark.load(Relaxed));
    Times { deadline: life.deadline(), touched }
}

/// Notes that an entry is not idle, unless it has been for too long; returns whether it is there.
#[inline(never)]
pub(super) fn touch(outline: &Outline, idle: u64, place: Place, life: &Life, now: Moment) -> bool {
    let times = times(outline, place, life);
    if now >= times.expiry(Some(idle)) {
        return false;
    }
    if let Some(mark) = outline.mark(place).filter(|_| times.touched < now) {
        mark.store(now, Relaxed);
    }
    true
}

#[cfg(all(test, feature = "testing"))]
mod tests {
    use std::collections::HashSet;

    use super::*;

    impl Locked<'_> {
        /// Checks that all parts of the shard agree; returns the keys with their weights.
        pub(in crate::store) fn validate<S: Send + Sync + 'static>(
            &self,
            index: &Index<Entry<u64, S>>,
        ) -> Vec<(u64, u64)> {
            let Writer { writing, eviction, expiries, .. } = &*self.writer;
            index.validate(
                writing,
                |entry| self.view.base.rehash(KeyRef::new(&entry.key)),
                true,
                self.view.guard,
            );
            let queued = eviction.validate();
            assert_eq!(queued.len(), self.len(), "as many in the queues as in the index");
            let key = |place| index.at(place, self.view.guard).expect("it is in the index").key;
            let weights: Vec<_> = queued.iter().map(|(place, weight)| (key(*place), *weight)).collect();
            let keys: HashSet<_> = weights.iter().map(|(key, _)| key).collect();
            assert_eq!(keys.len(), queued.len(), "no key is there twice");
            let bytes = queued.iter().map(|(place, _)| self.bytes_at(*place)).sum();
            assert_eq!(self.writer.bytes, bytes);
            assert_eq!(self.books.footprint(), (weights.len(), bytes));
            let soonest = queued.iter().filter_map(|(place, _)| self.expiry(*place)).min().unwrap_or(NEVER);
            assert!(self.writer.next_expiry <= soonest, "it is removed in time");
            assert!(expiries.soonest() <= soonest);
            weights
        }
    }
}
