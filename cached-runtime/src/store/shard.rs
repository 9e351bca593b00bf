//! A part of a table: an index that is read without a lock, and behind the writers' lock all that
//! readers need not know.

use std::sync::atomic::Ordering::Relaxed;

use sdd::{Guard, Owned};

use super::entry::Entry;
use super::eviction::{Entries, Eviction};
use super::expiries::Expiries;
use super::index::{Index, SPLITS, Writing};
use super::places::Place;
use super::retries::Retries;
use super::table::{AnyShard, NewValue, Table};
use crate::clock::{Moment, NEVER};
use crate::flight::Flights;
use crate::policy::{Freshness, Times};
use crate::shim::{AtomicUsize, Mutex, MutexGuard};
use crate::stats::Counts;

/// See the module. `D` is what a flight delivers to those who wait for it.
pub(super) struct Shard<K, S, D> {
    pub(super) index: Index<Entry<K, S>>,
    writer: Mutex<Writer<K, D>>,
    /// How many entries there are, and what they take, when the lock is free: for the limits over all
    /// functions.
    entries: AtomicUsize,
    bytes: AtomicUsize,
}

/// What is behind the writers' lock.
///
/// Invariants: an entry is in the index and in `eviction`, at the same place, or in neither; when the
/// lock is free, the weight is at most the capacity.
pub(crate) struct Writer<K, D> {
    writing: Writing,
    eviction: Eviction,
    expiries: Expiries,
    /// What the entries take.
    bytes: usize,
    /// The first moment at which an entry may expire; [`NEVER`] if none can.
    next_expiry: Moment,
    pub(crate) flights: Flights<K, D>,
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

impl<K, S, D> Shard<K, S, D>
where
    K: Send + Sync + 'static,
    S: Send + Sync + 'static,
    D: Send + Sync + 'static,
{
    /// For about `usual` entries when it is full, and never more than `most`.
    pub(super) fn new(usual: usize, most: usize, capacity: usize, weighed: bool, marked: bool) -> Self {
        let (index, writing) = Index::new(usual, most, marked);
        Self {
            index,
            writer: Mutex::new(Writer {
                writing,
                eviction: Eviction::new(capacity, weighed),
                expiries: Expiries::default(),
                bytes: 0,
                next_expiry: NEVER,
                flights: Flights::default(),
                retries: Retries::default(),
                counts: Counts::default(),
            }),
            entries: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
        }
    }
}

impl<K, S, D> AnyShard for Shard<K, S, D> {
    fn counts(&self) -> Counts {
        self.writer.lock().counts
    }

    fn weight(&self) -> u64 {
        self.writer.lock().eviction.weight()
    }

    fn footprint(&self) -> (usize, usize) {
        (self.entries.load(Relaxed), self.bytes.load(Relaxed))
    }
}

/// A shard in the hands of a writer. The guard outlives the lock, so that no value is dropped under it.
pub(crate) struct Locked<'a, K, S, D>
where
    K: Send + Sync + 'static,
    S: Send + Sync + 'static,
    D: Send + Sync + 'static,
{
    table: &'a Table<K, S, D>,
    shard: &'a Shard<K, S, D>,
    pub(crate) writer: MutexGuard<'a, Writer<K, D>>,
    guard: &'a Guard,
    /// Entries that are gone, whose room nobody has taken.
    freed: usize,
}

impl<K, S, D> Drop for Locked<'_, K, S, D>
where
    K: Send + Sync + 'static,
    S: Send + Sync + 'static,
    D: Send + Sync + 'static,
{
    fn drop(&mut self) {
        self.shard.entries.store(self.len(), Relaxed);
        self.shard.bytes.store(self.writer.bytes, Relaxed);
        self.table.free(self.freed);
    }
}

/// A key and a value that were not stored.
pub(super) type Left<K, S> = (Option<K>, Option<S>);

/// The entries as eviction sees them.
struct View<'a, K, S, D> {
    table: &'a Table<K, S, D>,
    shard: &'a Shard<K, S, D>,
    guard: &'a Guard,
}

impl<K, S, D> Entries for View<'_, K, S, D>
where
    K: Send + Sync + 'static,
    S: Send + Sync + 'static,
    D: Send + Sync + 'static,
{
    fn frequency(&self, place: Place) -> u8 {
        self.shard.index.at(place, self.guard).map_or(0, Entry::frequency)
    }
    fn set_frequency(&self, place: Place, frequency: u8) {
        if let Some(entry) = self.shard.index.at(place, self.guard) {
            entry.set_frequency(frequency);
        }
    }
    fn hash(&self, place: Place) -> Option<u64> {
        self.shard.index.at(place, self.guard).and_then(|entry| self.table.rehash(entry))
    }
}

impl<'a, K, S, D> Locked<'a, K, S, D>
where
    K: Send + Sync + 'static,
    S: Send + Sync + 'static,
    D: Send + Sync + 'static,
{
    pub(super) fn new(table: &'a Table<K, S, D>, shard: &'a Shard<K, S, D>, guard: &'a Guard) -> Self {
        Self { table, shard, writer: shard.writer.lock(), guard, freed: 0 }
    }

    fn view(&self) -> View<'a, K, S, D> {
        View { table: self.table, shard: self.shard, guard: self.guard }
    }

    pub(super) fn len(&self) -> usize {
        self.writer.writing.len()
    }

    /// The place and the times of an entry.
    fn find(&self, hash: u64, is_key: impl Fn(&K) -> bool) -> Option<(Place, Times, u8)> {
        let found = self.shard.index.find(hash, &|entry| is_key(&entry.key), self.guard)?;
        Some((found.place(), self.times(found.place(), found.entry), found.entry.frequency()))
    }

    /// Whether no tag of an entry was invalidated.
    fn is_live(&self, place: Place) -> bool {
        self.shard.index.at(place, self.guard).is_some_and(|entry| self.table.is_live(&entry.key))
    }

    fn times(&self, place: Place, entry: &Entry<K, S>) -> Times {
        times(&self.shard.index, place, entry)
    }

    /// When what is at a place expires if it is not hit again.
    fn expiry(&self, place: Place) -> Option<Moment> {
        let entry = self.shard.index.at(place, self.guard)?;
        Some(self.times(place, entry).expiry(self.table.idle))
    }

    /// Stores a value in the place of the one that the key may have had. One that is heavier than the
    /// capacity is not stored but returned, and the old one goes all the same. A new entry
    /// takes the room that is reserved; where there is none, another entry has to go.
    pub(super) fn insert(
        &mut self,
        hash: u64,
        key: K,
        new: NewValue<S>,
        now: Moment,
        reserved: &mut bool,
    ) -> Option<Left<K, S>> {
        let old = self.find(hash, |it| self.table.same(it, &key));
        let NewValue { value, deadline, weight } = new;
        if weight > self.table.state.capacity {
            if let Some((place, ..)) = old {
                self.remove(place, Some(hash), Cause::Evicted);
            }
            return Some((Some(key), Some(value)));
        }
        if let Some((place, _, frequency)) = old {
            if !self.is_live(place) {
                self.count(Cause::Invalidated, 1);
            }
            self.replace(place, Entry::new(key, value, deadline, frequency), weight, now);
            return None;
        }
        self.insert_new(hash, Entry::new(key, value, deadline, 0), weight, now);
        if self.table.is_whole() {
            self.keep_capacity(now);
        } else if !std::mem::take(reserved) {
            let others = self.len() as u64 - 1;
            self.writer.eviction.set_capacity(others);
            self.make_room(now);
            // It is taken at once.
            self.freed -= 1;
        }
        None
    }

    fn insert_new(&mut self, hash: u64, entry: Entry<K, S>, weight: usize, now: Moment) {
        for _ in 0..SPLITS {
            while self.writer.writing.should_split() && !self.split() {}
        }
        if self.len() >= self.table.most_of_shard {
            self.make_room(now);
        }
        let deadline = entry.deadline();
        let place = self.shard.index.insert(&mut self.writer.writing, hash, Owned::new(entry));
        self.note(place, deadline, now);
        self.writer.eviction.insert(place, hash, weight);
        self.writer.bytes += self.bytes_at(place);
    }

    fn replace(&mut self, place: Place, entry: Entry<K, S>, weight: usize, now: Moment) {
        let old = self.bytes_at(place);
        let deadline = entry.deadline();
        self.shard.index.replace(place, Owned::new(entry));
        self.note(place, deadline, now);
        self.writer.eviction.reweigh(place, weight);
        self.writer.bytes = self.writer.bytes - old + self.bytes_at(place);
        if self.table.is_whole() {
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
        let (table, index, guard) = (self.table, &self.shard.index, self.guard);
        let moved = |from, to: Place| {
            if let Some(entry) = index.at(to, guard) {
                expiries.note(to.bucket(), times(index, to, entry).expiry(table.idle));
            }
            eviction.moved(from, to);
        };
        match index.split(writing, |entry| table.rehash(entry), moved, guard) {
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
        let mark = self.shard.index.mark(place);
        if let Some(mark) = mark {
            mark.store(now, Relaxed);
        }
        let touched = if mark.is_some() { now } else { NEVER };
        let expiry = Times { deadline, touched }.expiry(self.table.idle);
        if expiry != NEVER {
            self.writer.expiries.note(place.bucket(), expiry);
            if expiry < self.writer.next_expiry {
                self.writer.next_expiry = expiry;
                self.table.expires_at(expiry);
            }
        }
    }

    /// Removes one entry: an expired one if there is any, else the one least likely to be used again.
    pub(super) fn make_room(&mut self, now: Moment) -> bool {
        if let Some(place) = self.pop_expired(now) {
            self.remove(place, None, Cause::Expired);
            return true;
        }
        let view = self.view();
        let victim = self.writer.eviction.victim(&view);
        if let Some((place, hash)) = victim {
            self.remove(place, hash, Cause::Evicted);
            // So that few of the evicted values, beside those that are there, are not dropped yet.
            let often = (self.table.capacity_of_shard as u64 / 64).clamp(1, 32);
            if self.writer.counts.evictions.is_multiple_of(often) {
                self.guard.accelerate();
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
            self.table.expires_at(self.writer.next_expiry);
        }
        removed
    }

    /// Removes the entry at a place; its hash is computed if it is not given.
    fn remove(&mut self, place: Place, hash: Option<u64>, cause: Cause) {
        let hash = hash.or_else(|| self.view().hash(place));
        self.writer.bytes -= self.bytes_at(place);
        self.writer.eviction.remove(place);
        drop(self.shard.index.remove(&mut self.writer.writing, place, hash));
        self.freed += 1;
        self.count(cause, 1);
    }

    /// All entries, with their times and weights.
    #[cfg(feature = "backend")]
    pub(super) fn entries(&self) -> Vec<(&'a Entry<K, S>, Times, u64)> {
        let found = self.shard.index.entries(self.guard);
        found
            .map(|(place, entry)| (entry, self.times(place, entry), self.writer.eviction.weight_of(place)))
            .collect()
    }

    /// Forgets all entries; returns how many there were.
    fn reset(&mut self) -> usize {
        let policy = self.table.state.policy();
        let count = self.len();
        self.shard.index.clear(&mut self.writer.writing);
        self.writer.eviction = Eviction::new(self.table.capacity_of_shard, policy.is_weighed());
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
    pub(super) fn invalidate(&mut self, hash: u64, is_key: impl Fn(&K) -> bool) -> bool {
        self.writer.flights.fence(hash, &is_key);
        let Some((place, times, _)) = self.find(hash, is_key) else { return false };
        let fresh = self.table.freshness(times, self.table.now()) == Freshness::Fresh;
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
        let size = size_of::<Entry<K, S>>();
        if !self.table.state.policy().is_weighed() {
            return size;
        }
        size + usize::try_from(self.writer.eviction.weight_of(place)).unwrap_or(MOST).min(MOST)
    }
}

pub(super) fn times<K, S>(index: &Index<Entry<K, S>>, place: Place, entry: &Entry<K, S>) -> Times
where
    K: Send + Sync + 'static,
    S: Send + Sync + 'static,
{
    let touched = index.mark(place).map_or(NEVER, |mark| mark.load(Relaxed));
    Times { deadline: entry.deadline(), touched }
}

#[cfg(all(test, feature = "testing"))]
mod tests {
    use std::collections::HashSet;

    use super::*;

    impl<S: Send + Sync + 'static, D: Send + Sync + 'static> Locked<'_, u64, S, D> {
        /// Checks that all parts of the shard agree; returns the keys with their weights.
        pub(in crate::store) fn validate(&self) -> Vec<(u64, u64)> {
            let Writer { writing, eviction, expiries, .. } = &*self.writer;
            let index = &self.shard.index;
            index.validate(writing, |entry| self.table.rehash(entry), true, self.guard);
            let queued = eviction.validate();
            assert_eq!(queued.len(), self.len(), "as many in the queues as in the index");
            let key = |place| index.at(place, self.guard).expect("it is in the index").key;
            let weights: Vec<_> = queued.iter().map(|(place, weight)| (key(*place), *weight)).collect();
            let keys: HashSet<_> = weights.iter().map(|(key, _)| key).collect();
            assert_eq!(keys.len(), queued.len(), "no key is there twice");
            let bytes = queued.iter().map(|(place, _)| self.bytes_at(*place)).sum();
            assert_eq!(self.writer.bytes, bytes);
            assert_eq!(self.shard.footprint(), (weights.len(), bytes));
            let soonest = queued.iter().filter_map(|(place, _)| self.expiry(*place)).min().unwrap_or(NEVER);
            assert!(self.writer.next_expiry <= soonest, "it is removed in time");
            assert!(expiries.soonest() <= soonest);
            weights
        }
    }
}
