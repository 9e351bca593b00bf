//! The entries of one function for one type of key and value: an index that is read without a lock,
//! and behind the writers' lock all that readers need not know.

use std::any::Any;
use std::hash::{BuildHasher, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::atomic::{AtomicU64, AtomicUsize};

use foldhash::fast::RandomState;
use parking_lot::{Mutex, MutexGuard};
use sdd::{Guard, Shared};

use super::entry::Entry;
use super::eviction::{Entries, Eviction};
use super::expiries::Expiries;
use super::index::{Found, Index, MOST_ENTRIES, Place, Writing};
use super::janitor;
use crate::clock::{Moment, NEVER, nanoseconds};
use crate::epoch::with_guard;
use crate::flight::Flights;
use crate::function::State;
use crate::key::Part;
use crate::policy::{Freshness, Times};
use crate::stats::PerThread;

/// What a computed value is stored with.
pub(crate) struct NewEntry<K, S> {
    pub(crate) key: K,
    pub(crate) value: S,
    pub(crate) deadline: Moment,
    pub(crate) weight: usize,
}

impl<K, S> NewEntry<K, S> {
    pub(crate) fn into_parts(self) -> (Option<K>, Option<S>) {
        (Some(self.key), Some(self.value))
    }
}

/// How an owned key is hashed and compared.
pub(crate) struct Keys<K> {
    pub(crate) hash: fn(&K, &RandomState) -> u64,
    pub(crate) same: fn(&K, &K) -> bool,
}

impl<K> Keys<K> {
    /// As the view `P` does it.
    pub(crate) fn of<P: Part<Owned = K>>() -> Self {
        Self {
            hash: |key, seed| {
                let mut hasher = seed.build_hasher();
                P::hash_owned(key, &mut hasher);
                hasher.finish()
            },
            same: P::same,
        }
    }
}

/// See the module. `D` is what a flight delivers to those who wait for it.
pub(crate) struct Table<K, S, D> {
    pub(crate) state: &'static State,
    keys: Keys<K>,
    hash_seed: RandomState,
    pub(crate) hits: PerThread,
    index: Index<Entry<K, S>>,
    writer: Mutex<Writer<K, D>>,
    /// The first moment at which an entry may expire; [`NEVER`] if none can.
    next_expiry: AtomicU64,
    /// How many entries there are, and what they take: for the limits over all functions.
    entries: AtomicUsize,
    bytes: AtomicUsize,
    /// Nanoseconds of `idle_timeout`. Where there is one, the index has marks: when an entry was stored
    /// or last hit.
    idle: Option<u64>,
}

/// What is behind the writers' lock.
///
/// Invariants: an entry is in the index and in `eviction`, at the same place, or in neither; when the
/// lock is free, the weight is at most the capacity.
pub(crate) struct Writer<K, D> {
    writing: Writing,
    eviction: Eviction,
    expiries: Expiries,
    pub(crate) flights: Flights<K, D>,
}

/// Why an entry goes.
#[derive(Clone, Copy)]
enum Cause {
    Evicted,
    Expired,
    Invalidated,
}

/// The entries as eviction sees them.
struct View<'a, K, S, D> {
    table: &'a Table<K, S, D>,
    writing: &'a Writing,
    guard: &'a Guard,
}

impl<K, S, D> View<'_, K, S, D>
where
    K: Send + Sync + 'static,
    S: Send + Sync + 'static,
    D: Send + Sync + 'static,
{
    fn at(&self, place: Place) -> Option<&Entry<K, S>> {
        self.table.index.at(self.writing, place, self.guard).map(|found| found.entry)
    }
}

impl<K, S, D> Entries for View<'_, K, S, D>
where
    K: Send + Sync + 'static,
    S: Send + Sync + 'static,
    D: Send + Sync + 'static,
{
    fn frequency(&self, place: Place) -> u8 {
        self.at(place).map_or(0, Entry::frequency)
    }
    fn set_frequency(&self, place: Place, frequency: u8) {
        if let Some(entry) = self.at(place) {
            entry.set_frequency(frequency);
        }
    }
    fn hash(&self, place: Place) -> Option<u64> {
        self.at(place).and_then(|entry| self.table.rehash(entry))
    }
    fn buckets(&self, half: usize) -> usize {
        self.writing.buckets(half)
    }
}

/// A view of a table of which the writer is in the hands of the caller.
macro_rules! view {
    ($table:expr, $writer:expr, $guard:expr) => {
        &View { table: $table, writing: &$writer.writing, guard: $guard }
    };
}

impl<K, S, D> Table<K, S, D>
where
    K: Send + Sync + 'static,
    S: Send + Sync + 'static,
    D: Send + Sync + 'static,
{
    pub(crate) fn new(state: &'static State, keys: Keys<K>) -> Self {
        let policy = state.policy();
        // One more, since the newcomer is there before another one goes.
        let most = if policy.is_weighed() { MOST_ENTRIES } else { state.capacity.saturating_add(1) };
        let (index, writing) = Index::new(most, policy.idle_timeout().is_some());
        Self {
            state,
            keys,
            hash_seed: RandomState::default(),
            hits: PerThread::new(),
            index,
            writer: Mutex::new(Writer {
                writing,
                eviction: Eviction::new(state.capacity, policy.is_weighed()),
                expiries: Expiries::default(),
                flights: Flights::default(),
            }),
            next_expiry: AtomicU64::new(NEVER),
            entries: AtomicUsize::new(0),
            bytes: AtomicUsize::new(0),
            idle: policy.idle_timeout().map(nanoseconds),
        }
    }

    #[inline]
    pub(crate) fn hash_of<P: Part>(&self, key: &P) -> u64 {
        let mut hasher = self.hash_seed.build_hasher();
        key.hash(&mut hasher);
        hasher.finish()
    }

    /// The hash of an entry, unless its key panics, which must harm nobody who stores another one.
    fn rehash(&self, entry: &Entry<K, S>) -> Option<u64> {
        catch_unwind(AssertUnwindSafe(|| (self.keys.hash)(&entry.key, &self.hash_seed))).ok()
    }

    /// Whether two owned keys are the same.
    pub(crate) fn same(&self, one: &K, other: &K) -> bool {
        (self.keys.same)(one, other)
    }

    /// The lock of all writers. The guard must outlive it, so that no value is dropped under the lock.
    pub(crate) fn lock<'a>(&'a self, _guard: &'a Guard) -> MutexGuard<'a, Writer<K, D>> {
        self.writer.lock()
    }

    /// The time by which its entries are judged.
    #[inline]
    pub(crate) fn now(&self) -> Moment {
        self.state.store.clock.now()
    }

    /// The value of a key, if it is fresh now, counted as used.
    #[expect(clippy::inline_always, reason = "a hit is cheaper in one piece")]
    #[inline(always)]
    pub(crate) fn hit<'g>(
        &self,
        hash: u64,
        is_key: impl Fn(&K) -> bool,
        now: Moment,
        guard: &'g Guard,
    ) -> Option<&'g S> {
        if self.idle.is_some() {
            return self.hit_idle(hash, is_key, now, guard);
        }
        let found = self.index.find(hash, |entry| is_key(&entry.key), guard)?;
        found.entry.hit(now).then_some(&found.entry.value)
    }

    /// The same where hits keep an entry from being idle.
    #[inline(never)]
    fn hit_idle<'g>(
        &self,
        hash: u64,
        is_key: impl Fn(&K) -> bool,
        now: Moment,
        guard: &'g Guard,
    ) -> Option<&'g S> {
        let found = self.index.find(hash, |entry| is_key(&entry.key), guard)?;
        let times = times(&found);
        if times.freshness(self.idle, now) == Freshness::Expired || !found.entry.hit(now) {
            return None;
        }
        if let Some(mark) = found.mark().filter(|_| times.touched < now) {
            mark.store(now, Relaxed);
        }
        Some(&found.entry.value)
    }

    /// The value of a key, if it is fresh now, with no trace left.
    pub(crate) fn peek<'g>(
        &self,
        hash: u64,
        is_key: impl Fn(&K) -> bool,
        now: Moment,
        guard: &'g Guard,
    ) -> Option<&'g S> {
        let found = self.index.find(hash, |entry| is_key(&entry.key), guard)?;
        let fresh = times(&found).freshness(self.idle, now) == Freshness::Fresh;
        fresh.then_some(&found.entry.value)
    }

    /// Stores a value in the place of the one that the key may have had. One that is heavier than the
    /// capacity is not stored but returned, and the old one goes all the same.
    pub(crate) fn insert(
        &self,
        writer: &mut Writer<K, D>,
        hash: u64,
        new: NewEntry<K, S>,
        guard: &Guard,
    ) -> Option<NewEntry<K, S>> {
        let old =
            self.index.find_place(&writer.writing, hash, |entry| self.same(&entry.key, &new.key), guard);
        let old = old.map(|(place, found)| (place, found.entry.frequency()));
        if new.weight > self.state.capacity {
            if let Some((place, _)) = old {
                self.remove(writer, place, Some(hash), Cause::Evicted, guard);
            }
            return Some(new);
        }
        let now = self.now();
        let weight = new.weight;
        if let Some((place, frequency)) = old {
            let entry = Entry::new(new.key, new.value, new.deadline, frequency);
            self.replace(writer, place, Shared::new(entry), weight, now, guard);
        } else {
            let entry = Entry::new(new.key, new.value, new.deadline, 0);
            self.insert_new(writer, hash, Shared::new(entry), weight, now, guard);
        }
        None
    }

    fn insert_new(
        &self,
        writer: &mut Writer<K, D>,
        hash: u64,
        entry: Shared<Entry<K, S>>,
        weight: usize,
        now: Moment,
        guard: &Guard,
    ) {
        self.grow(writer, guard);
        let place = self.index.insert(&mut writer.writing, hash, entry, guard);
        self.note(writer, place, now, guard);
        writer.eviction.insert(place, hash, weight, view!(self, writer, guard));
        let bytes = self.bytes_of(writer.eviction.weight_of(place));
        self.keep_capacity(writer, now, guard);
        self.grew(1, bytes);
    }

    fn replace(
        &self,
        writer: &mut Writer<K, D>,
        place: Place,
        entry: Shared<Entry<K, S>>,
        weight: usize,
        now: Moment,
        guard: &Guard,
    ) {
        let old_bytes = self.bytes_of(writer.eviction.weight_of(place));
        self.index.replace(&writer.writing, place, entry, guard);
        self.note(writer, place, now, guard);
        writer.eviction.reweigh(place, weight);
        self.grew(0, self.bytes_of(writer.eviction.weight_of(place)));
        self.shrank(0, old_bytes);
        self.keep_capacity(writer, now, guard);
    }

    /// Removes entries until the capacity is kept: expired ones, then those least likely to be used.
    fn keep_capacity(&self, writer: &mut Writer<K, D>, now: Moment, guard: &Guard) {
        while (writer.eviction.is_over() || writer.writing.len() > MOST_ENTRIES)
            && self.make_room(writer, now, guard)
        {
            // So that few of the evicted values are still there a little later.
            guard.accelerate();
        }
    }

    /// Makes the index larger, where it must be, by a few entries at a time.
    fn grow(&self, writer: &mut Writer<K, D>, guard: &Guard) {
        if writer.writing.is_full() {
            self.index.grow(&mut writer.writing, guard);
        }
        let (from, Some(_)) = writer.writing.moving() else { return };
        let mut moves = [None; super::index::WAYS];
        let unmoved = self.index.move_some(
            &mut writer.writing,
            |entry| self.rehash(entry),
            |from, to| {
                if let Some(free) = moves.iter_mut().find(|it| it.is_none()) {
                    *free = Some((from, to));
                }
            },
            guard,
        );
        for (from, to) in moves.into_iter().flatten() {
            let moment = self.index.at(&writer.writing, to, guard).map_or(NEVER, |it| self.expiry(&it));
            writer.expiries.note(to, writer.writing.buckets(to.half()), moment);
            writer.eviction.moved(from, to, view!(self, writer, guard));
        }
        // An entry whose key cannot be hashed any more will not be found either.
        if let Some(place) = unmoved {
            self.remove(writer, place, None, Cause::Evicted, guard);
        }
        let (_, next) = writer.writing.moving();
        writer.eviction.release(from, next);
        if next.is_none() {
            writer.expiries.release(from);
        }
    }

    /// When an entry expires if it is not hit again.
    fn expiry(&self, found: &Found<'_, Entry<K, S>>) -> Moment {
        times(found).expiry(self.idle)
    }

    /// Sees to it that a new entry goes when it expires.
    fn note(&self, writer: &mut Writer<K, D>, place: Place, now: Moment, guard: &Guard) {
        let Some(found) = self.index.at(&writer.writing, place, guard) else { return };
        if let Some(mark) = found.mark() {
            mark.store(now, Relaxed);
        }
        let expiry = self.expiry(&found);
        if expiry != NEVER {
            writer.expiries.note(place, writer.writing.buckets(place.half()), expiry);
            if expiry < self.next_expiry.load(Relaxed) {
                self.next_expiry.store(expiry, SeqCst);
                janitor::schedule(self.state.store, expiry);
            }
        }
    }

    /// Removes one entry: an expired one if there is any, else the one least likely to be used again.
    fn make_room(&self, writer: &mut Writer<K, D>, now: Moment, guard: &Guard) -> bool {
        if let Some(place) = self.pop_expired(writer, now, guard) {
            self.remove(writer, place, None, Cause::Expired, guard);
            return true;
        }
        let Writer { eviction, writing, .. } = writer;
        let victim = eviction.victim(&View { table: self, writing, guard });
        if let Some(place) = victim {
            self.remove(writer, place, None, Cause::Evicted, guard);
        }
        victim.is_some()
    }

    /// An entry that has expired by now.
    fn pop_expired(&self, writer: &mut Writer<K, D>, now: Moment, guard: &Guard) -> Option<Place> {
        if self.next_expiry.load(Relaxed) > now {
            return None;
        }
        while let Some((half, bucket)) = writer.expiries.due(now) {
            let mut soonest = NEVER;
            for place in Place::of_bucket(half, bucket) {
                let Some(found) = self.index.at(&writer.writing, place, guard) else { continue };
                let expiry = self.expiry(&found);
                if expiry <= now {
                    return Some(place);
                }
                soonest = soonest.min(expiry);
            }
            writer.expiries.settle(half, bucket, soonest);
        }
        self.next_expiry.store(writer.expiries.soonest(), Relaxed);
        None
    }

    /// Removes the entry at a place; its hash is computed if it is not given.
    fn remove(
        &self,
        writer: &mut Writer<K, D>,
        place: Place,
        hash: Option<u64>,
        cause: Cause,
        guard: &Guard,
    ) {
        let found = self.index.at(&writer.writing, place, guard);
        let hash = hash.or_else(|| found.and_then(|found| self.rehash(found.entry)));
        self.shrank(1, self.bytes_of(writer.eviction.weight_of(place)));
        writer.eviction.remove(place);
        self.index.remove(&mut writer.writing, place, hash, guard);
        self.count(cause, 1);
    }

    /// Forgets all entries, and gives all memory back.
    fn reset(&self, writer: &mut Writer<K, D>) {
        let policy = self.state.policy();
        self.index.clear(&mut writer.writing);
        writer.eviction = Eviction::new(self.state.capacity, policy.is_weighed());
        writer.expiries = Expiries::default();
        self.next_expiry.store(NEVER, Relaxed);
        let (entries, bytes) = self.footprint();
        self.shrank(entries, bytes);
    }

    fn grew(&self, entries: usize, bytes: usize) {
        self.entries.fetch_add(entries, Relaxed);
        self.bytes.fetch_add(bytes, Relaxed);
        self.state.store.grew(entries, bytes);
    }

    fn shrank(&self, entries: usize, bytes: usize) {
        self.entries.fetch_sub(entries, Relaxed);
        self.bytes.fetch_sub(bytes, Relaxed);
        self.state.store.shrank(entries, bytes);
    }

    fn count(&self, cause: Cause, count: u64) {
        let counts = &self.state.counts;
        match cause {
            Cause::Evicted => counts.evictions.add(count),
            Cause::Expired => counts.expirations.add(count),
            Cause::Invalidated => counts.invalidations.add(count),
        }
    }

    /// What an entry takes: its own size, and with `weigh` its weight, taken for bytes as far as there
    /// can be so many.
    fn bytes_of(&self, weight: u64) -> usize {
        const MOST: usize = usize::MAX >> 17;
        let weight = usize::try_from(weight).unwrap_or(MOST).min(MOST);
        size_of::<Entry<K, S>>() + if self.state.policy().is_weighed() { weight } else { 0 }
    }

    /// Forgets one key and fences its computations; returns whether a fresh value was there.
    pub(crate) fn invalidate(&self, hash: u64, is_key: impl Fn(&K) -> bool, guard: &Guard) -> bool {
        let mut writer = self.lock(guard);
        let fenced = writer.flights.fence(hash, &is_key);
        let found = self.index.find_place(&writer.writing, hash, |entry| is_key(&entry.key), guard);
        let fresh = found.is_some_and(|(place, found)| {
            let fresh = times(&found).freshness(self.idle, self.now()) == Freshness::Fresh;
            let cause = if fresh { Cause::Invalidated } else { Cause::Expired };
            self.remove(&mut writer, place, Some(hash), cause, guard);
            fresh
        });
        drop(writer);
        drop(fenced);
        fresh
    }
}

fn times<K, S>(found: &Found<'_, Entry<K, S>>) -> Times {
    let touched = found.mark().map_or(NEVER, |mark| mark.load(Relaxed));
    Times { deadline: found.entry.deadline(), touched }
}

/// A table of whatever types, as the store sees it.
pub(crate) trait AnyTable: Any + Send + Sync {
    fn hits(&self) -> u64;
    fn weight(&self) -> u64;
    /// Entries and bytes, for the limits over all functions.
    fn footprint(&self) -> (usize, usize);
    fn next_expiry(&self) -> Moment;
    /// Removes at most so many expired entries; returns how many.
    fn remove_expired(&self, most: usize) -> usize;
    /// Removes one entry; returns whether there was one.
    fn evict_one(&self) -> bool;
    /// Removes everything and fences every computation; returns how many entries there were.
    fn clear(&self) -> usize;
}

impl<K, S, D> AnyTable for Table<K, S, D>
where
    K: Send + Sync + 'static,
    S: Send + Sync + 'static,
    D: Send + Sync + 'static,
{
    fn hits(&self) -> u64 {
        self.hits.sum()
    }

    fn weight(&self) -> u64 {
        self.writer.lock().eviction.weight()
    }

    fn footprint(&self) -> (usize, usize) {
        (self.entries.load(Relaxed), self.bytes.load(Relaxed))
    }

    fn next_expiry(&self) -> Moment {
        self.next_expiry.load(SeqCst)
    }

    fn remove_expired(&self, most: usize) -> usize {
        with_guard(|guard| {
            let mut writer = self.lock(guard);
            let now = self.now();
            let mut removed = 0;
            while removed < most
                && let Some(place) = self.pop_expired(&mut writer, now, guard)
            {
                self.remove(&mut writer, place, None, Cause::Expired, guard);
                removed += 1;
            }
            if writer.writing.len() == 0 && removed > 0 {
                self.reset(&mut writer);
            }
            removed
        })
    }

    fn evict_one(&self) -> bool {
        with_guard(|guard| {
            let mut writer = self.lock(guard);
            let now = self.now();
            self.make_room(&mut writer, now, guard)
        })
    }

    fn clear(&self) -> usize {
        with_guard(|guard| {
            let mut writer = self.lock(guard);
            let fenced = writer.flights.fence_all();
            let count = writer.writing.len();
            self.reset(&mut writer);
            drop(writer);
            drop(fenced);
            self.count(Cause::Invalidated, count as u64);
            count
        })
    }
}
