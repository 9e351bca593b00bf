//! The entries of one function for one type of key and value: an index that is read without a lock,
//! and behind the writers' lock all that readers need not know.

use std::any::Any;
use std::collections::BTreeSet;
use std::hash::{BuildHasher, Hasher};
use std::sync::atomic::Ordering::{Relaxed, SeqCst};
use std::sync::atomic::{AtomicU8, AtomicU64};

use foldhash::fast::RandomState;
use parking_lot::{Mutex, MutexGuard};
use sdd::{Guard, Shared};

use super::eviction::{Entries, Eviction, FREQUENCY_MAX, Id, reserve_one};
use super::index::{Index, Writing};
use super::janitor;
use crate::clock::{Moment, NEVER, nanoseconds};
use crate::flight::Flights;
use crate::function::State;
use crate::key::Part;
use crate::policy::{Freshness, Times};
use crate::stats::PerThread;

/// A stored value with its key and its times.
pub(crate) struct Entry<K, S> {
    key: K,
    value: S,
    deadline: Moment,
    /// See [`Times::touched`].
    touched: AtomicU64,
    id: Id,
    frequency: AtomicU8,
}

impl<K, S> Entry<K, S> {
    #[inline]
    fn times(&self) -> Times {
        Times { deadline: self.deadline, touched: self.touched.load(Relaxed) }
    }

    /// Counts a hit, with a write only if that makes a difference.
    #[inline]
    fn count_hit(&self) {
        let frequency = self.frequency.load(Relaxed);
        if frequency < FREQUENCY_MAX {
            self.frequency.store(frequency + 1, Relaxed);
        }
    }
}

/// What a computed value is stored with.
pub(crate) struct NewEntry<K, S> {
    pub(crate) key: K,
    pub(crate) value: S,
    pub(crate) deadline: Moment,
    pub(crate) weight: usize,
}

/// See the module. `D` is what a flight delivers to those who wait for it.
pub(crate) struct Table<K, S, D> {
    pub(crate) state: &'static State,
    hash_seed: RandomState,
    pub(crate) hits: PerThread,
    index: Index<Entry<K, S>>,
    writer: Mutex<Writer<K, S, D>>,
    /// The first moment at which an entry may expire; [`NEVER`] if none can.
    next_expiry: AtomicU64,
    /// Nanoseconds of `idle_timeout`.
    idle: Option<u64>,
}

/// What is behind the writers' lock.
///
/// Invariants: an id is in `slab`, `eviction`, the index, and, if it can expire, in `expiries`, or in
/// none of them; `weight` is at most the capacity.
pub(crate) struct Writer<K, S, D> {
    writing: Writing,
    slab: Slab<K, S>,
    eviction: Eviction,
    /// What the entries take, for the limit over all functions.
    bytes: usize,
    /// When which entry expires if it is not hit again, as it was when it was last looked at.
    expiries: BTreeSet<(Moment, Id)>,
    pub(crate) flights: Flights<K, D>,
}

/// The entries by their ids; a free id is used again.
struct Slab<K, S> {
    slots: Vec<Option<Slot<K, S>>>,
    free: Vec<Id>,
}

struct Slot<K, S> {
    entry: Shared<Entry<K, S>>,
    hash: u64,
    /// The moment at which `expiries` has the entry, if it has it. Hits move the expiry of an idle
    /// entry without a word; the note is put right when its moment comes.
    noted: Moment,
}

impl<K, S> Slab<K, S> {
    const EMPTY: Self = Self { slots: Vec::new(), free: Vec::new() };

    fn reserve(&mut self) -> Id {
        self.free.pop().unwrap_or_else(|| {
            reserve_one(&mut self.slots);
            self.slots.push(None);
            Id::try_from(self.slots.len() - 1).expect("four thousand million entries do not fit into memory")
        })
    }

    fn get(&self, id: Id) -> Option<&Slot<K, S>> {
        self.slots.get(id as usize)?.as_ref()
    }

    fn take(&mut self, id: Id) -> Option<Slot<K, S>> {
        let slot = self.slots.get_mut(id as usize)?.take()?;
        self.free.push(id);
        Some(slot)
    }

    fn len(&self) -> usize {
        self.slots.len() - self.free.len()
    }
}

impl<K, S> Entries for Slab<K, S> {
    fn frequency(&self, id: Id) -> u8 {
        self.get(id).map_or(0, |slot| slot.entry.frequency.load(Relaxed))
    }
    fn set_frequency(&self, id: Id, frequency: u8) {
        if let Some(Slot { entry, .. }) = self.get(id) {
            entry.frequency.store(frequency, Relaxed);
        }
    }
    fn hash(&self, id: Id) -> u64 {
        self.get(id).map_or(0, |slot| slot.hash)
    }
}

/// Why an entry goes.
#[derive(Clone, Copy)]
enum Cause {
    Evicted,
    Expired,
    Invalidated,
}

impl<K, S, D> Table<K, S, D>
where
    K: Send + Sync + 'static,
    S: Send + Sync + 'static,
    D: Send + Sync + 'static,
{
    pub(crate) fn new(state: &'static State) -> Self {
        let (index, writing) = Index::new();
        Self {
            state,
            hash_seed: RandomState::default(),
            hits: PerThread::new(),
            index,
            writer: Mutex::new(Writer {
                writing,
                slab: Slab::EMPTY,
                eviction: Eviction::new(),
                bytes: 0,
                expiries: BTreeSet::new(),
                flights: Flights::default(),
            }),
            next_expiry: AtomicU64::new(NEVER),
            idle: state.policy().idle_timeout().map(nanoseconds),
        }
    }

    #[inline]
    pub(crate) fn hash_of<P: Part>(&self, key: &P) -> u64 {
        let mut hasher = self.hash_seed.build_hasher();
        key.hash(&mut hasher);
        hasher.finish()
    }

    /// The lock of all writers. The guard must outlive it, so that no value is dropped under the lock.
    pub(crate) fn lock<'a>(&'a self, _guard: &'a Guard) -> MutexGuard<'a, Writer<K, S, D>> {
        self.writer.lock()
    }

    /// The time by which its entries are judged.
    #[inline]
    pub(crate) fn now(&self) -> Moment {
        self.state.store.clock.now()
    }

    /// The value of a key, if it is fresh now, counted as used.
    #[inline]
    pub(crate) fn hit<'g>(
        &self,
        hash: u64,
        is_key: impl Fn(&K) -> bool,
        now: Moment,
        guard: &'g Guard,
    ) -> Option<&'g S> {
        let entry = self.index.find(hash, |entry| is_key(&entry.key), guard)?;
        if now >= entry.deadline || (self.idle.is_some() && !self.touch(entry, now)) {
            return None;
        }
        entry.count_hit();
        Some(&entry.value)
    }

    /// Keeps an entry from being idle, unless it has been for too long.
    #[cold]
    fn touch(&self, entry: &Entry<K, S>, now: Moment) -> bool {
        let fresh = entry.times().freshness(self.idle, now) == Freshness::Fresh;
        if fresh && entry.touched.load(Relaxed) < now {
            entry.touched.store(now, Relaxed);
        }
        fresh
    }

    /// The value of a key, if it is fresh now, with no trace left.
    pub(crate) fn peek<'g>(
        &self,
        hash: u64,
        is_key: impl Fn(&K) -> bool,
        now: Moment,
        guard: &'g Guard,
    ) -> Option<&'g S> {
        let entry = self.index.find(hash, |entry| is_key(&entry.key), guard)?;
        let fresh = entry.times().freshness(self.idle, now) == Freshness::Fresh;
        fresh.then_some(&entry.value)
    }

    /// Stores a value in the place of the one that the key may have had. One that is heavier than the
    /// capacity is not stored, and the old one goes all the same. Returns whether it was stored.
    pub(crate) fn insert(
        &self,
        writer: &mut Writer<K, S, D>,
        hash: u64,
        new: NewEntry<K, S>,
        same: fn(&K, &K) -> bool,
        guard: &Guard,
    ) -> bool {
        let old = self.index.find(hash, |entry| same(&entry.key, &new.key), guard);
        let old = old.map(|entry| entry.id);
        let capacity = self.state.policy().capacity();
        if new.weight > capacity {
            if let Some(id) = old {
                self.remove(writer, id, Cause::Evicted, guard);
            }
            return false;
        }
        let now = self.state.store.clock.now();
        let fits = |writer: &Writer<K, S, D>, without: usize| {
            let rest = writer.eviction.weight() - without;
            rest.checked_add(new.weight).is_some_and(|weight| weight <= capacity)
        };
        match old {
            Some(id) if fits(writer, writer.eviction.weight_of(id)) => {
                self.replace(writer, id, hash, new, now, guard);
            }
            _ => {
                if let Some(id) = old {
                    self.take(writer, id, guard);
                }
                while !fits(writer, 0) && self.make_room(writer, now, guard) {}
                self.insert_new(writer, hash, new, now, guard);
            }
        }
        true
    }

    fn insert_new(
        &self,
        writer: &mut Writer<K, S, D>,
        hash: u64,
        new: NewEntry<K, S>,
        now: Moment,
        guard: &Guard,
    ) {
        let id = writer.slab.reserve();
        let weight = new.weight;
        let entry = Self::entry(new, id, 0, now);
        let noted = self.note(writer, &entry);
        writer.slab.slots[id as usize] = Some(Slot { entry: entry.clone(), hash, noted });
        writer.eviction.insert(id, hash, weight);
        let Writer { writing, slab, .. } = writer;
        self.index.insert(writing, hash, entry, |entry| slab.hash(entry.id), guard);
        let bytes = self.bytes_of(weight);
        writer.bytes += bytes;
        self.state.store.grew(1, bytes);
    }

    fn replace(
        &self,
        writer: &mut Writer<K, S, D>,
        id: Id,
        hash: u64,
        new: NewEntry<K, S>,
        now: Moment,
        guard: &Guard,
    ) {
        let Some(Slot { entry: old, noted, .. }) = writer.slab.get(id) else { return };
        let frequency = old.frequency.load(Relaxed);
        writer.expiries.remove(&(*noted, id));
        let (weight, old_weight) = (new.weight, writer.eviction.weight_of(id));
        let entry = Self::entry(new, id, frequency, now);
        let noted = self.note(writer, &entry);
        writer.eviction.reweigh(id, weight);
        self.index.replace(hash, entry.clone(), |it| it.id == id, guard);
        writer.slab.slots[id as usize] = Some(Slot { entry, hash, noted });
        let (bytes, old_bytes) = (self.bytes_of(weight), self.bytes_of(old_weight));
        writer.bytes = writer.bytes - old_bytes + bytes;
        self.state.store.grew(0, bytes);
        self.state.store.shrank(0, old_bytes);
    }

    fn entry(new: NewEntry<K, S>, id: Id, frequency: u8, now: Moment) -> Shared<Entry<K, S>> {
        Shared::new(Entry {
            key: new.key,
            value: new.value,
            deadline: new.deadline,
            touched: AtomicU64::new(now),
            id,
            frequency: AtomicU8::new(frequency),
        })
    }

    /// Sees to it that the entry goes when it expires; returns the moment noted for that.
    fn note(&self, writer: &mut Writer<K, S, D>, entry: &Entry<K, S>) -> Moment {
        let expiry = entry.times().expiry(self.idle);
        if expiry != NEVER {
            writer.expiries.insert((expiry, entry.id));
            if expiry < self.next_expiry.load(Relaxed) {
                self.next_expiry.store(expiry, SeqCst);
                janitor::schedule(self.state.store, expiry);
            }
        }
        expiry
    }

    /// Removes one entry: an expired one if there is any, else the one least likely to be used again.
    fn make_room(&self, writer: &mut Writer<K, S, D>, now: Moment, guard: &Guard) -> bool {
        if let Some(id) = self.pop_expired(writer, now) {
            self.remove(writer, id, Cause::Expired, guard);
            return true;
        }
        let Writer { eviction, slab, .. } = writer;
        let victim = eviction.victim(self.state.policy().capacity(), slab);
        if let Some(id) = victim {
            self.remove(writer, id, Cause::Evicted, guard);
        }
        victim.is_some()
    }

    /// The next entry that has expired by now; entries hit meanwhile are noted anew.
    fn pop_expired(&self, writer: &mut Writer<K, S, D>, now: Moment) -> Option<Id> {
        let found = loop {
            let Some(&(noted, id)) = writer.expiries.first() else { break None };
            if noted > now {
                break None;
            }
            let Some(slot) = writer.slab.slots.get_mut(id as usize).and_then(Option::as_mut) else {
                break None;
            };
            let expiry = slot.entry.times().expiry(self.idle);
            if expiry <= now {
                break Some(id);
            }
            slot.noted = expiry;
            writer.expiries.pop_first();
            writer.expiries.insert((expiry, id));
        };
        let next = writer.expiries.first().map_or(NEVER, |(moment, _)| *moment);
        self.next_expiry.store(next, Relaxed);
        found
    }

    fn remove(&self, writer: &mut Writer<K, S, D>, id: Id, cause: Cause, guard: &Guard) {
        self.take(writer, id, guard);
        self.count(cause, 1);
    }

    fn take(&self, writer: &mut Writer<K, S, D>, id: Id, guard: &Guard) {
        let Some(Slot { entry, hash, noted }) = writer.slab.take(id) else { return };
        let bytes = self.bytes_of(writer.eviction.weight_of(id));
        writer.bytes -= bytes;
        writer.eviction.remove(id);
        writer.expiries.remove(&(noted, id));
        self.index.remove(&mut writer.writing, hash, |it| it.id == id, guard);
        self.state.store.shrank(1, bytes);
        drop(entry);
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
    fn bytes_of(&self, weight: usize) -> usize {
        const MOST: usize = usize::MAX >> 17;
        let weight = if self.state.policy().is_weighed() { weight.min(MOST) } else { 0 };
        size_of::<Entry<K, S>>() + weight
    }

    /// Forgets one key and fences its computations; returns whether a fresh value was there.
    pub(crate) fn invalidate(&self, hash: u64, is_key: impl Fn(&K) -> bool) -> bool {
        let guard = Guard::new();
        let mut writer = self.lock(&guard);
        writer.flights.fence(hash, &is_key);
        let found = self.index.find(hash, |entry| is_key(&entry.key), &guard);
        let Some(entry) = found else { return false };
        let fresh = entry.times().freshness(self.idle, self.state.store.clock.now()) == Freshness::Fresh;
        let cause = if fresh { Cause::Invalidated } else { Cause::Expired };
        self.remove(&mut writer, entry.id, cause, &guard);
        fresh
    }
}

/// A table of whatever types, as the store sees it.
pub(crate) trait AnyTable: Any + Send + Sync {
    fn hits(&self) -> u64;
    fn len(&self) -> usize;
    fn weight(&self) -> usize;
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

    fn len(&self) -> usize {
        self.writer.lock().slab.len()
    }

    fn weight(&self) -> usize {
        self.writer.lock().eviction.weight()
    }

    fn footprint(&self) -> (usize, usize) {
        let writer = self.writer.lock();
        (writer.slab.len(), writer.bytes)
    }

    fn next_expiry(&self) -> Moment {
        self.next_expiry.load(SeqCst)
    }

    fn remove_expired(&self, most: usize) -> usize {
        let guard = Guard::new();
        let mut writer = self.lock(&guard);
        let now = self.state.store.clock.now();
        let mut removed = 0;
        while removed < most
            && let Some(id) = self.pop_expired(&mut writer, now)
        {
            self.remove(&mut writer, id, Cause::Expired, &guard);
            removed += 1;
        }
        removed
    }

    fn evict_one(&self) -> bool {
        let guard = Guard::new();
        let mut writer = self.lock(&guard);
        let now = self.state.store.clock.now();
        self.make_room(&mut writer, now, &guard)
    }

    fn clear(&self) -> usize {
        let guard = Guard::new();
        let mut writer = self.lock(&guard);
        writer.flights.fence_all();
        let count = writer.slab.len();
        let bytes = std::mem::take(&mut writer.bytes);
        self.index.clear(&mut writer.writing);
        let slab = std::mem::replace(&mut writer.slab, Slab::EMPTY);
        writer.eviction = Eviction::new();
        writer.expiries = BTreeSet::new();
        self.next_expiry.store(NEVER, Relaxed);
        self.state.store.shrank(count, bytes);
        drop(writer);
        drop(slab);
        self.count(Cause::Invalidated, count as u64);
        count
    }
}
