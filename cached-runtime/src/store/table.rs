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
        let most = if policy.is_weighed() { MOST_ENTRIES } else { policy.capacity().saturating_add(1) };
        let (index, writing) = Index::new(most, policy.idle_timeout().is_some());
        Self {
            state,
            keys,
            hash_seed: RandomState::default(),
            hits: PerThread::new(),
            index,
            writer: Mutex::new(Writer {
                writing,
                eviction: Eviction::new(policy.capacity(), policy.is_weighed()),
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
        if new.weight > self.state.policy().capacity() {
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
        writer.eviction = Eviction::new(policy.capacity(), policy.is_weighed());
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

#[cfg(all(test, feature = "testing"))]
mod tests {
    use std::collections::HashMap;
    use std::sync::Arc;
    use std::sync::atomic::AtomicU32;
    use std::time::Duration;

    use parking_lot::RwLock;
    use proptest::prelude::*;

    use super::*;
    use crate::clock::Clock;
    use crate::function::Function;
    use crate::policy::PolicyBuilder;
    use crate::store::{Inner, Total, cases};

    /// Times are in these.
    const UNIT: u64 = 1_000_000;

    /// A number as a key, of so many different hashes.
    struct Number<const HASHES: u64>(u64);

    impl<const HASHES: u64> Part for Number<HASHES> {
        type Owned = u64;
        fn hash<H: Hasher>(&self, hasher: &mut H) {
            hasher.write_u64(self.0 % HASHES);
        }
        fn matches(&self, owned: &u64) -> bool {
            self.0 == *owned
        }
        fn own(&self) -> u64 {
            self.0
        }
        fn same(one: &u64, other: &u64) -> bool {
            one == other
        }
        fn hash_owned<H: Hasher>(owned: &u64, hasher: &mut H) {
            hasher.write_u64(owned % HASHES);
        }
    }

    /// A store whose clock moves when it is told to, and of which the janitor does not know.
    fn store() -> &'static Inner {
        let store = Inner {
            functions: RwLock::default(),
            enabled: true.into(),
            entries: Total::new(),
            bytes: Total::new(),
            clock: Clock::default(),
        };
        store.clock.freeze();
        Box::leak(Box::new(store))
    }

    struct Fixture<V: Clone + Send + Sync + 'static> {
        table: &'static Table<u64, V, ()>,
        start: Moment,
        hashes: u64,
    }

    impl<V: Clone + Send + Sync + 'static> Fixture<V> {
        fn of<const HASHES: u64>(store: &'static Inner, policy: PolicyBuilder) -> Self {
            let function: &'static Function = Box::leak(Box::new(Function::new("fixture", policy)));
            let table = function.first_state(store).table::<(), Number<HASHES>, V, ()>();
            Self { table, start: store.clock.now(), hashes: HASHES }
        }

        fn new(policy: PolicyBuilder) -> Self {
            Self::of::<{ u64::MAX }>(store(), policy)
        }

        fn hash(&self, key: u64) -> u64 {
            self.table.hash_of(&Number::<{ u64::MAX }>(key % self.hashes))
        }

        /// Stores a value for so many units; returns whether it was stored.
        fn store(&self, key: u64, value: V, units: Option<u64>, weight: usize) -> bool {
            let deadline = units.map_or(NEVER, |units| self.table.now() + units * UNIT);
            let guard = Guard::new();
            let mut writer = self.table.lock(&guard);
            let new = NewEntry { key, value, deadline, weight };
            let left = self.table.insert(&mut writer, self.hash(key), new, &guard);
            drop(writer);
            left.is_none()
        }

        fn hit(&self, key: u64) -> Option<V> {
            let guard = Guard::new();
            self.table.hit(self.hash(key), |it| *it == key, self.table.now(), &guard).cloned()
        }

        fn peek(&self, key: u64) -> Option<V> {
            let guard = Guard::new();
            self.table.peek(self.hash(key), |it| *it == key, self.table.now(), &guard).cloned()
        }

        /// Whether there is an entry, fresh or not.
        fn holds(&self, key: u64) -> bool {
            let guard = Guard::new();
            self.table.index.find(self.hash(key), |entry| entry.key == key, &guard).is_some()
        }

        fn invalidate(&self, key: u64) -> bool {
            self.table.invalidate(self.hash(key), |it| *it == key, &Guard::new())
        }

        fn pass(&self, units: u64) {
            self.table.state.store.clock.advance(Duration::from_nanos(units * UNIT));
        }

        fn entries(&self) -> usize {
            self.table.footprint().0
        }

        /// Checks that all parts of the table agree; returns the keys with their weights.
        fn validate(&self) -> HashMap<u64, u64> {
            let guard = Guard::new();
            let writer = self.table.lock(&guard);
            let Writer { writing, eviction, .. } = &*writer;
            self.table.index.validate(writing, |entry| self.table.rehash(entry), true, &guard);
            let queued = eviction.validate();
            assert_eq!(queued.len(), writing.len(), "as many in the queues as in the index");
            let key =
                |place| self.table.index.at(writing, place, &guard).expect("it is in the index").entry.key;
            let weights: HashMap<_, _> =
                queued.iter().map(|(place, weight)| (key(*place), *weight)).collect();
            assert_eq!(weights.len(), queued.len(), "no key is there twice");
            assert!(!eviction.is_over());
            let bytes: usize = weights.values().map(|weight| self.table.bytes_of(*weight)).sum();
            assert_eq!(self.table.footprint(), (weights.len(), bytes));
            let soonest = queued.iter().filter_map(|(place, _)| {
                self.table.index.at(writing, *place, &guard).map(|found| self.table.expiry(&found))
            });
            let soonest = soonest.min().unwrap_or(NEVER);
            assert!(self.table.next_expiry() <= soonest, "the janitor comes in time");
            assert!(writer.expiries.soonest() <= soonest);
            weights
        }

        fn counts(&self) -> [u64; 3] {
            let counts = &self.table.state.counts;
            [&counts.evictions, &counts.expirations, &counts.invalidations].map(crate::stats::Count::get)
        }
    }

    fn policy(capacity: usize) -> PolicyBuilder {
        PolicyBuilder::new().capacity(capacity)
    }

    #[test]
    fn what_has_expired_makes_room_before_anything_else_does() {
        let table = Fixture::new(policy(3));
        for (key, units) in [(1, 100), (2, 1), (3, 100)] {
            table.store(key, (), Some(units), 1);
        }
        // However often it was hit.
        (0..10).for_each(|_| assert!(table.hit(2).is_some()));
        table.pass(1);
        table.store(4, (), Some(100), 1);
        assert_eq!([1, 2, 3, 4].map(|key| table.holds(key)), [true, false, true, true]);
        assert_eq!(table.counts(), [0, 1, 0]);
    }

    #[test]
    fn a_limit_over_all_functions_is_kept_with_what_has_expired_anywhere_first() {
        let store = store();
        let small = Fixture::of::<{ u64::MAX }>(store, policy(100));
        let large = Fixture::of::<{ u64::MAX }>(store, policy(100));
        small.store(1, (), Some(1), 1);
        (0..5).for_each(|key| assert!(large.store(key, (), None, 1)));
        store.entries.most.store(5, Relaxed);
        small.pass(1);
        store.keep_limits();
        assert_eq!((small.entries(), large.entries()), (0, 5));
        assert_eq!((small.counts(), large.counts()), ([0, 1, 0], [0, 0, 0]));
        store.bytes.most.store(0, Relaxed);
        store.keep_limits();
        assert_eq!((large.entries(), large.counts()), (0, [5, 0, 0]));
    }

    #[test]
    fn what_has_expired_is_not_there_to_be_invalidated() {
        for idle in [false, true] {
            let policy = if idle { policy(9).idle_timeout(Duration::from_nanos(UNIT)) } else { policy(9) };
            let table = Fixture::new(policy);
            table.store(1, (), (!idle).then_some(1), 1);
            table.store(2, (), (!idle).then_some(1), 1);
            assert!(table.invalidate(1));
            assert_eq!(table.counts(), [0, 0, 1]);
            table.pass(1);
            assert!(table.holds(2) && !table.invalidate(2));
            assert_eq!((table.holds(2), table.counts()), (false, [0, 1, 1]));
        }
    }

    #[test]
    fn storing_again_counts_with_the_new_deadline_whether_earlier_or_later() {
        let table = Fixture::new(policy(9));
        table.store(1, "long", Some(100), 1);
        table.store(1, "short", Some(2), 1);
        assert!(table.table.next_expiry() <= table.start + 2 * UNIT, "the janitor is to come earlier");
        table.pass(2);
        assert_eq!((table.table.remove_expired(10), table.holds(1)), (1, false));
        table.store(1, "short", Some(2), 1);
        table.store(1, "long", Some(100), 1);
        table.pass(2);
        assert_eq!((table.table.remove_expired(10), table.peek(1)), (0, Some("long")));
        let next = table.table.next_expiry();
        assert!(next > table.start + 101 * UNIT && next <= table.start + 102 * UNIT);
    }

    #[test]
    fn an_entry_that_is_replaced_counts_with_its_new_weight_alone() {
        let table = Fixture::new(policy(100).weighed());
        for weight in [40, 90, 10, 0, 70] {
            assert!(table.store(1, (), None, weight));
            assert_eq!(table.table.weight(), weight as u64);
            table.validate();
        }
        assert!(table.store(2, (), None, 30));
        assert_eq!((table.table.weight(), table.counts()), (100, [0, 0, 0]));
        assert!(table.store(2, (), None, 31));
        assert_eq!((table.entries(), table.counts()), (1, [1, 0, 0]));
        assert!(!table.store(2, (), None, 101), "too heavy");
        table.validate();
    }

    #[test]
    fn no_two_tables_hash_a_key_alike() {
        let [one, other] = [(); 2].map(|()| Fixture::<()>::new(policy(1)));
        let alike = (0..64).filter(|key| one.hash(*key) == other.hash(*key)).count();
        assert!(alike < 8, "{alike} of 64 keys have the same hash in two tables");
    }

    #[test]
    fn a_table_that_becomes_empty_by_expiry_begins_anew() {
        let table = Fixture::new(policy(10_000));
        for round in 0..3 {
            (0..5000).for_each(|key| assert!(table.store(key, round, Some(1), 1)));
            table.pass(1);
            while table.table.remove_expired(256) > 0 {}
            let guard = Guard::new();
            let mut writer = table.table.lock(&guard);
            assert_eq!((writer.writing.len(), writer.writing.buckets(0)), (0, 1));
            assert_eq!((table.entries(), table.table.next_expiry()), (0, NEVER));
            assert_eq!(writer.expiries.due(NEVER - 1), None);
        }
    }

    /// Counts how often each value was dropped; a clone is not a value of the table's.
    #[derive(Debug)]
    struct Counted {
        number: usize,
        drops: Option<Arc<[AtomicU32]>>,
    }

    impl Clone for Counted {
        fn clone(&self) -> Self {
            Self { number: self.number, drops: None }
        }
    }

    impl Drop for Counted {
        fn drop(&mut self) {
            if let Some(drops) = &self.drops {
                drops[self.number].fetch_add(1, SeqCst);
            }
        }
    }

    #[derive(Clone, Debug)]
    enum Step {
        Store(u64, Option<u64>, usize),
        Invalidate(u64),
        Hit(u64),
        Pass(u64),
        RemoveExpired(usize),
        Evict,
        Clear,
    }

    const STEPS: usize = 250;

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        // Some keys often, others seldom.
        let key = || prop_oneof![0..5_u64, 0..160_u64];
        let units = prop_oneof![2 => (1..30_u64).prop_map(Some), 1 => Just(None)];
        let step = prop_oneof![
            20 => (key(), units, 0..110_usize).prop_map(|(key, units, weight)| Step::Store(key, units, weight)),
            4 => key().prop_map(Step::Invalidate),
            20 => key().prop_map(Step::Hit),
            3 => (0..8_u64).prop_map(Step::Pass),
            1 => (0..4_usize).prop_map(Step::RemoveExpired),
            1 => Just(Step::Evict),
        ];
        prop::collection::vec(prop_oneof![100 => step, 1 => Just(Step::Clear)], 0..STEPS)
    }

    /// What a table may hold of one key: nothing, or this.
    #[derive(Clone, Copy, Debug)]
    struct Expected {
        number: usize,
        times: Times,
        weight: u64,
    }

    struct Modelled {
        table: Fixture<Counted>,
        capacity: u64,
        idle: Option<u64>,
        weighed: bool,
        drops: Arc<[AtomicU32]>,
        stored: usize,
        /// All that was stored and is not known to have gone.
        model: HashMap<u64, Expected>,
        /// How many entries came that replaced no other.
        came: u64,
    }

    impl Modelled {
        fn new(capacity: usize, weighed: bool, idle: Option<u64>, crowded: bool) -> Self {
            let mut policy = policy(capacity);
            policy = if weighed { policy.weighed() } else { policy };
            policy = idle.map_or(policy, |idle| policy.idle_timeout(Duration::from_nanos(idle * UNIT)));
            let table = if crowded { Fixture::of::<5>(store(), policy) } else { Fixture::new(policy) };
            Self {
                table,
                capacity: capacity as u64,
                idle: idle.map(|idle| idle * UNIT),
                weighed,
                drops: (0..STEPS).map(|_| AtomicU32::new(0)).collect(),
                stored: 0,
                model: HashMap::new(),
                came: 0,
            }
        }

        fn now(&self) -> Moment {
            self.table.table.now()
        }

        fn is_fresh(&self, expected: &Expected) -> bool {
            expected.times.freshness(self.idle, self.now()) == Freshness::Fresh
        }

        fn step(&mut self, step: &Step) {
            let before = self.table.counts();
            match *step {
                Step::Store(key, units, weight) => self.store(key, units, weight),
                Step::Invalidate(key) => {
                    let expected = self.model.remove(&key).filter(|it| self.is_fresh(it));
                    let held = self.table.holds(key);
                    assert_eq!(self.table.invalidate(key), held && expected.is_some());
                }
                Step::Hit(key) => self.hit(key),
                Step::Pass(units) => self.table.pass(units),
                Step::RemoveExpired(most) => {
                    let removed = self.table.table.remove_expired(most);
                    assert!(removed <= most);
                    let expired =
                        |it: &&Expected| it.times.freshness(self.idle, self.now()) == Freshness::Expired;
                    if removed < most {
                        let left =
                            self.model.iter().filter(|(key, it)| self.table.holds(**key) && expired(it));
                        assert_eq!(left.count(), 0, "all that has expired is gone");
                    }
                    assert_eq!(self.table.counts()[1] - before[1], removed as u64);
                }
                Step::Evict => {
                    let entries = self.table.entries();
                    assert_eq!(self.table.table.evict_one(), entries > 0);
                    assert_eq!(self.table.entries(), entries.saturating_sub(1));
                }
                Step::Clear => {
                    let entries = self.table.entries();
                    assert_eq!(self.table.table.clear(), entries);
                    self.model.clear();
                }
            }
            self.validate();
        }

        fn store(&mut self, key: u64, units: Option<u64>, weight: usize) {
            let weight = if self.weighed { weight } else { 1 };
            let (before, was_held) = (self.table.counts(), self.table.holds(key));
            let room = self.capacity.saturating_sub(self.table.validate().values().sum());
            let (number, drops) = (self.stored, Some(Arc::clone(&self.drops)));
            self.stored += 1;
            let stored = self.table.store(key, Counted { number, drops }, units, weight);
            assert_eq!(stored, weight as u64 <= self.capacity);
            self.model.remove(&key);
            if !stored {
                assert!(!self.table.holds(key), "the old value goes all the same");
                return;
            }
            self.came += u64::from(!was_held);
            let deadline = units.map_or(NEVER, |units| self.now() + units * UNIT) & !3;
            let deadline = if units.is_none() { NEVER } else { deadline };
            let times = Times { deadline, touched: self.now() };
            self.model.insert(key, Expected { number, times, weight: weight as u64 });
            let [evicted, expired, _] = std::array::from_fn(|at| self.table.counts()[at] - before[at]);
            if weight as u64 <= room {
                assert_eq!(evicted + expired, 0, "nothing goes while there is room");
            }
            if evicted > 0 {
                let expired =
                    self.model.iter().filter(|(key, it)| self.table.holds(**key) && !self.is_fresh(it));
                assert_eq!(expired.count(), 0, "what has expired goes first");
            }
        }

        fn hit(&mut self, key: u64) {
            let (held, now) = (self.table.holds(key), self.now());
            let expected = self.model.get(&key).copied().filter(|it| held && self.is_fresh(it));
            let number = expected.map(|it| it.number);
            assert_eq!(self.table.peek(key).map(|value| value.number), number, "peek at {key}");
            assert_eq!(self.table.hit(key).map(|value| value.number), number, "hit of {key}");
            if expected.is_some() && self.idle.is_some() {
                self.model.entry(key).and_modify(|it| it.times.touched = now);
            }
        }

        fn validate(&mut self) {
            let weights = self.table.validate();
            for (key, weight) in &weights {
                assert_eq!(self.model.get(key).map(|it| it.weight), Some(*weight), "key {key}");
            }
            let weight = weights.values().sum::<u64>();
            assert!(weight <= self.capacity);
            assert_eq!(self.table.table.weight(), weight);
            // What has gone does not come back.
            self.model.retain(|key, _| weights.contains_key(key));
        }
    }

    proptest! {
        #![proptest_config(cases(64))]
        #[test]
        fn a_table_holds_what_was_stored_until_it_expires_or_must_go(
            steps in steps(),
            capacity in prop::sample::select(vec![1_usize, 2, 7, 100]),
            weighed: bool,
            idle in prop::option::of(1..20_u64),
            crowded in prop::bool::weighted(0.2),
        ) {
            let mut modelled = Modelled::new(capacity, weighed, idle, crowded);
            for step in &steps {
                modelled.step(step);
            }
            let went: u64 = modelled.table.counts().iter().sum();
            prop_assert_eq!(modelled.came, went + modelled.table.entries() as u64);
            modelled.table.table.clear();
            let store = modelled.table.table.state.store;
            prop_assert_eq!((store.entries.now.load(Relaxed), store.bytes.now.load(Relaxed)), (0, 0));
            // Other tests of this process may hold the epochs up.
            let begun = std::time::Instant::now();
            while begun.elapsed() < Duration::from_secs(30)
                && modelled.drops[..modelled.stored].iter().any(|it| it.load(SeqCst) == 0)
            {
                janitor::free_all();
            }
            prop_assert!(modelled.drops[..modelled.stored].iter().all(|it| it.load(SeqCst) == 1));
        }
    }
}
