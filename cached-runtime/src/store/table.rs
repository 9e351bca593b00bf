//! The entries of one function for one type of key and value. Large tables have several shards, which
//! share nothing but the capacity, so that writers seldom meet.

use std::any::Any;
use std::hash::{BuildHasher, Hasher};
#[cfg(feature = "backend")]
use std::io;
use std::mem::ManuallyDrop;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::thread;
use std::time::Duration;

use foldhash::fast::RandomState;
use once_cell::sync::Lazy;
#[cfg(feature = "backend")]
use once_cell::sync::OnceCell;
use sdd::{Guard, Owned};

use super::any::{AnyKey, KeyRef, Keys};
use super::entry::Entry;
use super::index::{Candidates, MOST_ENTRIES};
use super::janitor;
#[cfg(feature = "backend")]
use super::saving::Saving;
use super::shard::{AnyShard, Fill, Locked, Shard, Stay, touch};
use crate::clock::{Moment, NEVER, nanoseconds};
use crate::epoch::with_guard;
use crate::flight::IsKey;
use crate::function::State;
use crate::key::Part;
use crate::policy::{Freshness, RefreshAhead, Times};
use crate::shim::{AtomicU64, AtomicUsize, yield_now};
use crate::stats::{Counts, PerThread};

/// A value that is to be stored.
pub(crate) struct NewValue<S> {
    pub(crate) value: S,
    pub(crate) stay: Stay,
}

/// See the module.
pub(crate) struct Table<K, S> {
    pub(crate) base: Base,
    /// A power of two of them. They stay until the process ends, and so there is no code that drops them.
    pub(super) shards: Vec<ManuallyDrop<Shard<K, S>>>,
    /// How its entries are saved, if they are.
    #[cfg(feature = "backend")]
    pub(super) saving: OnceCell<Box<Saving<K, S>>>,
}

/// What a table is beside its entries.
pub(crate) struct Base {
    pub(crate) state: &'static State,
    pub(crate) keys: Keys,
    hash_seed: RandomState,
    pub(crate) hits: PerThread,
    /// Nanoseconds of `idle_timeout`. Where there is one, the index has marks: when an entry was stored
    /// or last hit.
    pub(super) idle: Option<u64>,
    /// How long before it goes an entry stops being a hit without further ado.
    lead: AtomicU64,
    /// Nanoseconds that the body takes, in the mean of the last few times, where something depends on it.
    cost: AtomicU64,
    /// The size of an entry.
    pub(super) entry_bytes: usize,
    shards: usize,
    /// The entries that there is still room for, where there are several shards.
    free: AtomicUsize,
    /// The first moment at which an entry may expire; [`NEVER`] if none can.
    next_expiry: AtomicU64,
}

/// A shard is worth having for so many entries.
const ENTRIES_OF_SHARD: usize = 8192;
/// More do not help so many processors.
const SHARDS_OF_PROCESSOR: usize = 4;

/// How many shards a table deserves.
fn shards(capacity: usize, weighed: bool) -> usize {
    static PROCESSORS: Lazy<usize> =
        Lazy::new(|| thread::available_parallelism().map_or(1, std::num::NonZero::get));
    // Where the capacity is a weight, one entry may need all of it.
    if weighed {
        return 1;
    }
    let most = (SHARDS_OF_PROCESSOR * *PROCESSORS).next_power_of_two();
    let worthwhile = (capacity / ENTRIES_OF_SHARD).max(1);
    (1 << worthwhile.ilog2()).min(most)
}

/// Which shard a hash belongs to: by bits that neither the bucket nor the tag depends on much.
#[inline]
fn shard_of(hash: u64, shards: usize) -> usize {
    (hash >> 32) as usize & (shards - 1)
}

impl Base {
    pub(crate) fn new(state: &'static State, keys: Keys, entry_bytes: usize) -> Self {
        // What all functions together may not exceed, one of them cannot either.
        let most = state.capacity.min(state.store.most_entries());
        Self::with_shards(state, keys, entry_bytes, shards(most, state.policy().is_weighed()))
    }

    fn with_shards(state: &'static State, keys: Keys, entry_bytes: usize, shards: usize) -> Self {
        let policy = state.policy();
        Self {
            state,
            keys,
            hash_seed: RandomState::default(),
            hits: PerThread::new(),
            idle: policy.idle_timeout().map(nanoseconds),
            lead: AtomicU64::new(if state.serves_ahead() { policy.lead(None, 0) } else { 0 }),
            cost: AtomicU64::new(0),
            entry_bytes,
            shards,
            free: AtomicUsize::new(state.capacity),
            next_expiry: AtomicU64::new(NEVER),
        }
    }

    /// About how many entries a shard has when the table is full, and the most that it ever has.
    fn entries_of_shard(&self) -> (usize, usize) {
        let (part, most) = (self.capacity_of_shard(), self.most_of_shard());
        if self.state.policy().is_weighed() {
            return (1, most.saturating_add(1));
        }
        // One more, since the newcomer is there before another one goes; and as keys spread, some shards
        // have more than others.
        let spread = if self.is_whole() { 1 } else { 4 * part.isqrt() };
        (part.saturating_add(spread), self.state.capacity.min(most).saturating_add(1))
    }

    /// The part of a shard.
    pub(super) fn capacity_of_shard(&self) -> usize {
        self.state.capacity.div_ceil(self.shards)
    }

    /// The most that a shard can have.
    pub(super) fn most_of_shard(&self) -> usize {
        MOST_ENTRIES / self.shards
    }

    #[inline]
    pub(crate) fn hash_of<P: Part>(&self, key: &P) -> u64 {
        let mut hasher = self.hash_seed.build_hasher();
        key.hash(&mut hasher);
        hasher.finish()
    }

    #[cfg(feature = "backend")]
    pub(super) fn hash_of_owned(&self, key: KeyRef<'_>) -> u64 {
        self.keys.hash(key, &self.hash_seed)
    }

    /// The hash of a stored key, unless it panics, which must harm nobody who stores another one.
    pub(super) fn rehash(&self, key: KeyRef<'_>) -> Option<u64> {
        let hash = catch_unwind(AssertUnwindSafe(|| self.keys.hash(key, &self.hash_seed)));
        // What it panics with is foreign, and is not dropped under the lock.
        hash.map_err(std::mem::forget).ok()
    }

    /// Whether there is only one shard, which knows its capacity.
    pub(super) fn is_whole(&self) -> bool {
        self.shards == 1
    }

    /// The time by which its entries are judged.
    #[inline]
    pub(crate) fn now(&self) -> Moment {
        self.state.store.clock.now()
    }

    #[inline]
    pub(super) fn lead(&self) -> u64 {
        self.lead.load(Relaxed)
    }

    /// Values may be stored for so long.
    pub(crate) fn learn_timeout(&self, timeout: Duration) {
        let policy = self.state.policy();
        if self.serves_ahead() && matches!(policy.refresh_ahead(), Some(RefreshAhead::Part(_))) {
            self.lead.fetch_max(policy.lead(Some(timeout), 0), Relaxed);
        }
    }

    /// The body took so many nanoseconds.
    pub(crate) fn learn_cost(&self, took: u64) {
        let policy = self.state.policy();
        if self.serves_ahead() && policy.refresh_ahead() == Some(RefreshAhead::XFetch) {
            let cost = match self.cost.load(Relaxed) {
                0 => took,
                cost => cost - cost / 8 + took / 8,
            };
            self.cost.store(cost, Relaxed);
            self.lead.store(policy.lead(None, cost), Relaxed);
        }
    }

    pub(crate) fn cost(&self) -> u64 {
        self.cost.load(Relaxed)
    }

    /// Whether it has values to serve that are not simply fresh.
    pub(crate) fn serves_ahead(&self) -> bool {
        self.state.serves_ahead()
    }

    pub(super) fn freshness(&self, times: Times, now: Moment) -> Freshness {
        times.freshness(self.state.windows(), self.idle, 0, now)
    }

    fn take_free(&self) -> bool {
        self.free.load(Relaxed) > 0
            && self.free.fetch_update(Relaxed, Relaxed, |free| free.checked_sub(1)).is_ok()
    }

    /// Room for so many entries has come free.
    pub(super) fn free(&self, entries: usize) {
        if entries > 0 && !self.is_whole() {
            self.free.fetch_add(entries, Relaxed);
        }
    }

    fn next_expiry(&self) -> Moment {
        self.next_expiry.load(SeqCst)
    }

    /// Something expires at this moment.
    pub(super) fn expires_at(&self, moment: Moment) {
        if moment < self.next_expiry.load(Relaxed) && moment < self.next_expiry.fetch_min(moment, SeqCst) {
            janitor::schedule(self.state.store, moment);
        }
    }
}

impl<K, S> Table<K, S>
where
    K: Send + Sync + 'static,
    S: Send + Sync + 'static,
{
    pub(crate) const ENTRY_BYTES: usize = size_of::<Entry<K, S>>();

    /// An empty one.
    pub(crate) fn new(base: Base) -> Self {
        let policy = base.state.policy();
        let (usual, most) = base.entries_of_shard();
        let marked = policy.idle_timeout().is_some();
        let shard = || Shard::new(usual, most, base.capacity_of_shard(), policy.is_weighed(), marked);
        let mut shards = Vec::with_capacity(base.shards);
        while shards.len() < base.shards {
            shards.push(ManuallyDrop::new(shard()));
        }
        Self {
            base,
            shards,
            #[cfg(feature = "backend")]
            saving: OnceCell::new(),
        }
    }

    pub(crate) fn any(&self) -> &dyn AnyTable {
        self
    }

    #[inline]
    fn shard(&self, hash: u64) -> &Shard<K, S> {
        match &*self.shards {
            // Not after the hash.
            [only] => only,
            shards => &shards[shard_of(hash, shards.len())],
        }
    }

    /// What can be known of a key's entry without a guard.
    #[expect(clippy::inline_always, reason = "a hit is cheaper in one piece")]
    #[inline(always)]
    pub(crate) fn look(&self, hash: u64) -> Candidates<'_, Entry<K, S>> {
        self.shard(hash).index.look(hash)
    }

    /// The value of a key, if it is among the candidates and fresh, counted as used.
    #[expect(clippy::inline_always, reason = "a hit is cheaper in one piece")]
    #[inline(always)]
    pub(crate) fn hit<'g>(
        &'g self,
        candidates: &Candidates<'g, Entry<K, S>>,
        is_key: impl Fn(&K) -> bool,
        now: Moment,
        guard: &'g Guard,
    ) -> Option<&'g S> {
        let found = candidates.find(|entry| is_key(&entry.key), guard)?;
        let Entry { value, life, .. } = found.entry;
        if let Some(idle) = self.base.idle
            && !touch(candidates.outline(), idle, found.place(), life, now)
        {
            return None;
        }
        let ahead = now.saturating_add(self.base.lead());
        life.hit(ahead).then_some(value)
    }
}

/// A table of values of this type, whatever that of its keys.
pub(crate) trait Stores<S>: AnyTable {
    /// Stores a value, if there is one, under the key that `key` finds under the lock of the shard, if it
    /// finds one. Returns whether it was stored.
    fn store(&self, hash: u64, value: Option<NewValue<S>>, key: FindKey<'_>) -> bool;
}

/// Finds the key to store a value under, if it is to be stored.
pub(crate) type FindKey<'a> = &'a mut (dyn FnMut(&mut Locked<'_>) -> Option<AnyKey> + Send);

impl<K, S> Stores<S> for Table<K, S>
where
    K: Send + Sync + 'static,
    S: Send + Sync + 'static,
{
    fn store(&self, hash: u64, value: Option<NewValue<S>>, key: FindKey<'_>) -> bool {
        let index = &self.shard(hash).index;
        let (mut value, stay) = match value {
            Some(NewValue { value, stay }) => (Some(value), Some(stay)),
            None => (None, None),
        };
        self.any().store_with(hash, stay, key, &mut |place, key, life| {
            if let Some(value) = value.take() {
                index.swap(place, Some(Owned::new(Entry { key: key.into_key(), value, life })));
            }
        })
    }
}

/// Room that was set aside, until it is used.
struct Reservation<'a> {
    free: &'a AtomicUsize,
    is_there: bool,
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        if self.is_there {
            self.free.fetch_add(1, Relaxed);
        }
    }
}

/// A table of whatever types.
pub(crate) trait AnyTable: Any + Send + Sync {
    fn base(&self) -> &Base;
    fn shard_at(&self, number: usize) -> &dyn AnyShard;
    /// Hands out the records of its entries, if they are saved; returns how many there are, and how many have none.
    #[cfg(feature = "backend")]
    fn save(&self, write: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<(u64, u64)>;
    /// Takes over what was loaded for it; returns how many entries, and how many records that are none.
    #[cfg(feature = "backend")]
    fn restore(&self) -> (u64, u64);
}

impl<K, S> AnyTable for Table<K, S>
where
    K: Send + Sync + 'static,
    S: Send + Sync + 'static,
{
    fn base(&self) -> &Base {
        &self.base
    }

    fn shard_at(&self, number: usize) -> &dyn AnyShard {
        &*self.shards[number]
    }

    #[cfg(feature = "backend")]
    fn save(&self, write: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<(u64, u64)> {
        self.save_with(write)
    }

    #[cfg(feature = "backend")]
    fn restore(&self) -> (u64, u64) {
        self.take_over()
    }
}

impl dyn AnyTable {
    fn shards(&self) -> impl Iterator<Item = &dyn AnyShard> {
        (0..self.base().shards).map(|number| self.shard_at(number))
    }

    pub(crate) fn counts(&self) -> Counts {
        self.shards().map(|shard| shard.books().counts()).sum()
    }

    pub(crate) fn weight(&self) -> u64 {
        self.shards().map(|shard| shard.books().weight()).sum()
    }

    pub(crate) fn footprint(&self) -> (usize, usize) {
        let footprints = self.shards().map(|shard| shard.books().footprint());
        footprints.fold((0, 0), |(entries, bytes), (more, larger)| (entries + more, bytes + larger))
    }

    pub(crate) fn hits(&self) -> u64 {
        self.base().hits.sum()
    }

    pub(crate) fn next_expiry(&self) -> Moment {
        self.base().next_expiry()
    }

    /// The shard of a hash with the lock of its writers. The guard must outlive it, so that no value is
    /// dropped under the lock.
    pub(crate) fn lock<'a>(&'a self, hash: u64, guard: &'a Guard) -> Locked<'a> {
        let base = self.base();
        Locked::new(base, self.shard_at(shard_of(hash, base.shards)), guard)
    }

    /// The shard of this number with the lock of its writers.
    pub(super) fn lock_shard<'a>(&'a self, number: usize, guard: &'a Guard) -> Locked<'a> {
        Locked::new(self.base(), self.shard_at(number), guard)
    }

    /// Each shard with the lock of its writers, one after another.
    pub(super) fn lock_each<'a>(&'a self, guard: &'a Guard) -> impl Iterator<Item = Locked<'a>> {
        (0..self.base().shards).map(move |number| self.lock_shard(number, guard))
    }

    /// Removes expired entries, at most so many from each shard; returns how many.
    pub(crate) fn remove_expired(&self, most: usize, guard: &Guard) -> usize {
        let base = self.base();
        let now = base.now();
        if base.next_expiry() > now {
            return 0;
        }
        // Each shard tells anew.
        base.next_expiry.store(NEVER, SeqCst);
        self.lock_each(guard).map(|mut locked| locked.remove_expired(most, now)).sum()
    }

    /// Removes one entry, of the largest shard; returns whether there was one.
    pub(crate) fn evict_one(&self, guard: &Guard) -> bool {
        let largest = self.shards().max_by_key(|shard| shard.books().footprint());
        largest.is_some_and(|it| Locked::new(self.base(), it, guard).make_room(self.base().now()))
    }

    /// Removes everything and fences every computation; returns how many entries there were.
    pub(crate) fn clear(&self, guard: &Guard) -> usize {
        self.lock_each(guard).map(|mut locked| locked.clear()).sum()
    }

    /// [`Stores::store`] of what `fill` puts into a slot.
    fn store_with(&self, hash: u64, stay: Option<Stay>, key: FindKey<'_>, fill: Fill<'_>) -> bool {
        with_guard(|guard| self.store_under(guard, hash, stay, key, fill))
    }

    fn store_under(
        &self,
        guard: &Guard,
        hash: u64,
        stay: Option<Stay>,
        key: FindKey<'_>,
        fill: Fill<'_>,
    ) -> bool {
        let base = self.base();
        let now = base.now();
        let mut reserved = Reservation { free: &base.free, is_there: false };
        let is_parted = stay.is_some() && !base.is_whole();
        if is_parted {
            reserved.is_there = self.reserve(now, guard);
        }
        // Dropped without the lock, whatever panics under it: to drop it may be to call the function.
        let mut left;
        let mut locked = self.lock(hash, guard);
        // A shard that has nothing to let go takes from another one.
        while is_parted && !reserved.is_there && locked.len() == 0 {
            drop(locked);
            reserved.is_there = self.reserve_anywhere(guard);
            if !reserved.is_there {
                // All the room is set aside by others, who need the processor to use it.
                yield_now();
            }
            locked = self.lock(hash, guard);
        }
        left = key(&mut locked);
        let Some(stay) = stay.filter(|_| left.is_some()) else { return false };
        locked.insert(hash, &mut left, stay, now, &mut reserved.is_there, fill);
        left.is_none()
    }

    /// Sets room for one entry aside, if there is any or something has expired.
    fn reserve(&self, now: Moment, guard: &Guard) -> bool {
        let base = self.base();
        base.take_free() || base.next_expiry() <= now && self.remove_expired(1, guard) > 0 && base.take_free()
    }

    /// Sets room for one entry aside, for which one goes from the largest shard.
    fn reserve_anywhere(&self, guard: &Guard) -> bool {
        self.base().take_free() || self.evict_one(guard) && self.base().take_free()
    }

    /// Forgets one key and fences its computations; returns whether a fresh value was there.
    pub(crate) fn invalidate(&self, hash: u64, is_key: IsKey<'_>, guard: &Guard) -> bool {
        self.lock(hash, guard).invalidate(hash, is_key)
    }
}

#[cfg(all(test, shuttle, feature = "testing"))]
mod model;

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
    use crate::policy::{PolicyBuilder, Times, Windows};
    use crate::store::{Inner, cases};

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
            most_entries: usize::MAX.into(),
            most_bytes: usize::MAX.into(),
            clock: Clock::default(),
            #[cfg(feature = "backend")]
            tags: crate::backend::tags::Everywhere::default(),
            #[cfg(feature = "backend")]
            waiting: crate::saved::Waiting::default(),
        };
        store.clock.freeze();
        Box::leak(Box::new(store))
    }

    struct Fixture<V: Clone + Send + Sync + 'static> {
        table: &'static Table<u64, V>,
        start: Moment,
        hashes: u64,
    }

    impl<V: Clone + Send + Sync + 'static> Fixture<V> {
        fn of<const HASHES: u64>(store: &'static Inner, policy: PolicyBuilder) -> Self {
            let function: &'static Function = Box::leak(Box::new(Function::new("fixture", policy)));
            let table =
                function.first_state(store, policy.build().capacity()).table::<(), Number<HASHES>, V>();
            Self { table, start: store.clock.now(), hashes: HASHES }
        }

        fn new(policy: PolicyBuilder) -> Self {
            Self::of::<{ u64::MAX }>(store(), policy)
        }

        /// With so many shards, however small.
        fn sharded(policy: PolicyBuilder, shards: usize) -> Self {
            let function: &'static Function = Box::leak(Box::new(Function::new("fixture", policy)));
            let state = function.first_state(store(), policy.build().capacity());
            let keys = Keys::of::<Number<{ u64::MAX }>>();
            let table = Box::leak(Box::new(Table::new(Base::with_shards(
                state,
                keys,
                size_of::<Entry<u64, V>>(),
                shards,
            ))));
            Self { table, start: state.store.clock.now(), hashes: u64::MAX }
        }

        fn hash(&self, key: u64) -> u64 {
            self.table.base.hash_of(&Number::<{ u64::MAX }>(key % self.hashes))
        }

        /// Stores a value for so many units; returns whether it was stored.
        fn store(&self, key: u64, value: V, units: Option<u64>, weight: usize) -> bool {
            let deadline = units.map_or(NEVER, |units| self.table.base.now() + units * UNIT);
            let new = NewValue { value, stay: Stay { deadline, weight } };
            self.table.store(self.hash(key), Some(new), &mut |_| Some(AnyKey::new(key)))
        }

        fn hit(&self, key: u64) -> Option<V> {
            let guard = Guard::new();
            let (hash, now) = (self.hash(key), self.table.base.now());
            self.table.hit(&self.table.look(hash), |it| *it == key, now, &guard).cloned()
        }

        fn peek(&self, key: u64) -> Option<V> {
            let guard = Guard::new();
            let locked = self.table.any().lock(self.hash(key), &guard);
            let value = locked.peek(self.hash(key), &|it| *it.key::<u64>() == key, self.table.base.now())?;
            Some(value.value::<V>().clone())
        }

        /// Whether there is an entry, fresh or not.
        fn holds(&self, key: u64) -> bool {
            let guard = Guard::new();
            self.table.look(self.hash(key)).find(|entry| entry.key == key, &guard).is_some()
        }

        fn invalidate(&self, key: u64) -> bool {
            self.table.any().invalidate(self.hash(key), &|it| *it.key::<u64>() == key, &Guard::new())
        }

        fn pass(&self, units: u64) {
            self.table.base.state.store.clock.advance(Duration::from_nanos(units * UNIT));
        }

        fn entries(&self) -> usize {
            self.table.any().footprint().0
        }

        /// Checks that all parts of the table agree; returns the keys with their weights.
        fn validate(&self) -> HashMap<u64, u64> {
            let guard = Guard::new();
            let mut all = HashMap::new();
            for (number, shard) in self.table.shards.iter().enumerate() {
                let locked = self.table.any().lock_shard(number, &guard);
                for (key, weight) in locked.validate(&shard.index) {
                    assert!(
                        std::ptr::eq(self.table.shard(self.hash(key)), &raw const **shard),
                        "it is where it is looked for"
                    );
                    assert_eq!(all.insert(key, weight), None, "no key is there twice");
                }
            }
            let weight: u64 = all.values().sum();
            assert!(weight <= self.table.base.state.capacity as u64);
            let free = if self.table.base.is_whole() {
                self.table.base.state.capacity
            } else {
                self.table.base.state.capacity - all.len()
            };
            assert_eq!(self.table.base.free.load(Relaxed), free);
            assert_eq!(self.table.any().footprint().0, all.len());
            all
        }

        fn counts(&self) -> [u64; 3] {
            let counts = self.table.any().counts();
            [counts.evictions, counts.expirations, counts.invalidations]
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
        store.most_entries.store(5, Relaxed);
        small.pass(1);
        store.keep_limits();
        assert_eq!((small.entries(), large.entries()), (0, 5));
        assert_eq!((small.counts(), large.counts()), ([0, 1, 0], [0, 0, 0]));
        store.most_bytes.store(0, Relaxed);
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
        table.store(2, "short", Some(2), 1);
        table.store(2, "long", Some(100), 1);
        assert!(table.table.any().next_expiry() <= table.start + 2 * UNIT);
        table.pass(2);
        assert_eq!(table.table.any().remove_expired(10, &Guard::new()), 1);
        assert_eq!((table.holds(1), table.peek(2)), (false, Some("long")));
        let next = table.table.any().next_expiry();
        assert!(next > table.start + 99 * UNIT && next <= table.start + 100 * UNIT);
    }

    #[test]
    fn an_entry_that_is_replaced_counts_with_its_new_weight_alone() {
        let table = Fixture::new(policy(100).weighed());
        for weight in [40, 90, 10, 0, 70] {
            assert!(table.store(1, (), None, weight));
            assert_eq!(table.table.any().weight(), weight as u64);
            table.validate();
        }
        assert!(table.store(2, (), None, 30));
        assert_eq!((table.table.any().weight(), table.counts()), (100, [0, 0, 0]));
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
            while table.table.any().remove_expired(256, &Guard::new()) > 0 {}
            assert_eq!((table.entries(), table.table.any().next_expiry()), (0, NEVER));
            table.validate();
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
        fn new(capacity: usize, weighed: bool, idle: Option<u64>, crowded: bool, shards: usize) -> Self {
            let mut policy = policy(capacity);
            policy = if weighed { policy.weighed() } else { policy };
            policy = idle.map_or(policy, |idle| policy.idle_timeout(Duration::from_nanos(idle * UNIT)));
            let table = match (crowded, shards) {
                (true, _) => Fixture::of::<5>(store(), policy),
                (false, 1) => Fixture::new(policy),
                (false, shards) => Fixture::sharded(policy, if weighed { 1 } else { shards }),
            };
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
            self.table.table.base.now()
        }

        fn is_fresh(&self, expected: &Expected) -> bool {
            expected.times.freshness(Windows::default(), self.idle, 0, self.now()) == Freshness::Fresh
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
                    let removed = self.table.table.any().remove_expired(most, &Guard::new());
                    assert!(removed <= most * self.table.table.shards.len());
                    let expired = |it: &&Expected| {
                        it.times.freshness(Windows::default(), self.idle, 0, self.now()) == Freshness::Expired
                    };
                    if removed < most {
                        let left =
                            self.model.iter().filter(|(key, it)| self.table.holds(**key) && expired(it));
                        assert_eq!(left.count(), 0, "all that has expired is gone");
                    }
                    assert_eq!(self.table.counts()[1] - before[1], removed as u64);
                }
                Step::Evict => {
                    let entries = self.table.entries();
                    assert_eq!(self.table.table.any().evict_one(&Guard::new()), entries > 0);
                    assert_eq!(self.table.entries(), entries.saturating_sub(1));
                }
                Step::Clear => {
                    let entries = self.table.entries();
                    assert_eq!(self.table.table.any().clear(&Guard::new()), entries);
                    self.model.clear();
                }
            }
            self.validate();
        }

        fn store(&mut self, key: u64, units: Option<u64>, weight: usize) {
            let weight = if self.weighed { weight } else { 1 };
            let (before, was_held) = (self.table.counts(), self.table.holds(key));
            let room = self.capacity.saturating_sub(self.table.validate().values().sum());
            let entries = self.table.entries() as u64;
            let was_expired = was_held && !self.model.get(&key).is_some_and(|it| self.is_fresh(it));
            let (number, drops) = (self.stored, Some(Arc::clone(&self.drops)));
            self.stored += 1;
            let stored = self.table.store(key, Counted { number, drops }, units, weight);
            assert_eq!(stored, weight as u64 <= self.capacity);
            self.model.remove(&key);
            if !stored {
                assert!(!self.table.holds(key), "the old value goes all the same");
                return;
            }
            let deadline = units.map_or(NEVER, |units| self.now() + units * UNIT) & !3;
            let deadline = if units.is_none() { NEVER } else { deadline };
            let times = Times { deadline, touched: self.now() };
            self.model.insert(key, Expected { number, times, weight: weight as u64 });
            let [evicted, expired, _] = std::array::from_fn(|at| self.table.counts()[at] - before[at]);
            let came = self.table.entries() as u64 + evicted + expired - entries;
            // Where room is made in all shards, the old one may go first.
            let may_go = was_expired && !self.table.table.base.is_whole();
            assert!(came == u64::from(!was_held) || came == 1 && may_go);
            self.came += came;
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
            assert_eq!(self.table.table.any().weight(), weight);
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
            shards in prop::sample::select(vec![1_usize, 4]),
        ) {
            let mut modelled = Modelled::new(capacity, weighed, idle, crowded, shards);
            for step in &steps {
                modelled.step(step);
            }
            let went: u64 = modelled.table.counts().iter().sum();
            prop_assert_eq!(modelled.came, went + modelled.table.entries() as u64);
            modelled.table.table.any().clear(&Guard::new());
            prop_assert_eq!(modelled.table.table.any().footprint(), (0, 0));
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
