//! The entries of one function in its backend: what is asked and written, in which order, and under which
//! conditions.
//!
//! Every write after a computation is conditional on what was read before it. So an invalidation that came
//! between the two, which leaves a tombstone, is not undone.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::codec::Coding;
use super::driver::{Expected, Found, Version};
use super::envelope::{Kind, Record, Wall};
use super::generation::{Generations, Knowledge, random};
use super::lease::{Next, Patience};
use super::link::{Link, Trouble, Way, blocking};
use super::owed::Owed;
use super::verdict::{self, Sought, Verdict, unchanged};
use super::{Shared, name, offload};
use crate::clock::{Clock, nanoseconds};
use crate::function::State;
use crate::stats::Count;

/// How long an invalidation is remembered in the backend. What took longer to compute is not stored there.
const TOMBSTONE: Duration = Duration::from_secs(600);
/// How long a claim that was given up can be seen by those who waited for it.
const RELEASED: Duration = Duration::from_secs(1);
const MILLISECOND: u64 = 1_000_000;

/// See the module.
pub(crate) struct Remote {
    link: Arc<Link>,
    clock: &'static Clock,
    lease: Option<Duration>,
    stem: String,
    generation_key: String,
    generations: Generations,
    owed: Owed,
    pub(crate) counts: Counts,
}

#[derive(Default)]
pub(crate) struct Counts {
    pub(crate) hits: Count,
    pub(crate) misses: Count,
    pub(crate) errors: Count,
    pub(crate) skipped: Count,
    pub(crate) too_large: Count,
    pub(crate) undecodable: Count,
    pub(crate) overtaken: Count,
}

/// A key, encoded, and what it is called in the backend.
pub(crate) struct RemoteKey {
    encoded: Vec<u8>,
    name: String,
}

/// What a lookup in the backend found.
pub(crate) enum Fetched<S> {
    /// A value, and for how many nanoseconds it is fresh, unless for ever.
    Value(S, Option<u64>),
    /// The value is to be computed; with this it may be stored.
    Nothing(Ticket),
    /// The backend cannot be asked now.
    Unknown,
}

/// What was read before a computation, without which its value is not stored.
pub(crate) struct Ticket {
    generation: u128,
    expected: Expected,
    claim: Option<Claim>,
    /// What is there is not from here, and is to go.
    is_foreign: bool,
    begun: Instant,
}

/// A claim that was made. One that is dropped is given up, in another thread.
struct Claim {
    link: Arc<Link>,
    clock: &'static Clock,
    name: String,
    version: Version,
    /// What then takes its place.
    released: Option<Vec<u8>>,
}

impl Drop for Claim {
    fn drop(&mut self) {
        let Some(released) = self.released.take() else { return };
        let (link, clock, name) = (Arc::clone(&self.link), self.clock, std::mem::take(&mut self.name));
        let expected = Expected::Version(self.version);
        let release = move || {
            let deadline = link.deadline();
            let set = link.set(Way::Blocking, clock, &name, released, Some(RELEASED), expected, deadline);
            // It ends by itself if this fails.
            let _ = blocking(set);
        };
        let _ = offload::submit(Box::new(release));
    }
}

/// What became of a value that was to be written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Written {
    Stored,
    /// Something happened to the key meanwhile.
    Overtaken,
    NotStored,
}

/// One look at a key, with the generation that holds.
struct Look {
    found: Option<Found>,
    generation: u128,
}

impl Remote {
    pub(crate) fn new(state: &'static State, shared: &'static Shared, name: &str) -> Self {
        let link = shared.backend.link(state.store);
        let stem = name::stem(&link.prefix, name, shared.version);
        Self {
            clock: &state.store.clock,
            lease: shared.lease,
            generation_key: name::of_generation(&stem),
            stem,
            link,
            generations: Generations::new(),
            owed: Owed::default(),
            counts: Counts::default(),
        }
    }

    pub(crate) fn key(&self, encoded: Vec<u8>) -> RemoteKey {
        RemoteKey { name: name::of_entry(&self.stem, &encoded), encoded }
    }

    /// Whether the backend would not be asked now.
    pub(crate) fn is_refused(&self) -> bool {
        let refused = self.link.refuses(self.clock.now());
        if refused {
            self.counts.skipped.add(1);
        }
        refused
    }

    fn count(&self, trouble: Trouble) {
        match trouble {
            Trouble::Skipped => self.counts.skipped.add(1),
            Trouble::TooLarge => self.counts.too_large.add(1),
            Trouble::Failed | Trouble::Unsupported => self.counts.errors.add(1),
        }
    }

    /// The value of a key, or leave to compute it. Where there is a lease, this waits for the computations of
    /// other processes.
    pub(crate) async fn fetch<S>(
        &'static self,
        way: Way,
        key: &RemoteKey,
        coding: Coding<S>,
        wants_value: bool,
    ) -> Fetched<S> {
        let fetched = match self.try_to_fetch(way, key, coding, wants_value).await {
            Ok(fetched) => fetched,
            Err(trouble) => {
                self.count(trouble);
                Fetched::Unknown
            }
        };
        match fetched {
            Fetched::Value(..) => self.counts.hits.add(1),
            Fetched::Nothing(_) if wants_value => self.counts.misses.add(1),
            _ => {}
        }
        fetched
    }

    async fn try_to_fetch<S>(
        &'static self,
        way: Way,
        key: &RemoteKey,
        coding: Coding<S>,
        wants_value: bool,
    ) -> Result<Fetched<S>, Trouble> {
        let mut patience = self.lease.filter(|_| wants_value).map(Patience::new);
        loop {
            let look = self.look(way, key, self.link.deadline()).await?;
            let found = look.found.as_ref();
            let begun = Instant::now();
            let mut ticket = Ticket {
                generation: look.generation,
                expected: unchanged(found),
                claim: None,
                is_foreign: false,
                begun,
            };
            let verdict = self.judge(key, coding.id, &look);
            let mut next = patience.as_ref().map_or(Next::Compute, |patience| patience.free(begun));
            match verdict {
                Verdict::Value(record) if wants_value => match (coding.decode)(record.payload) {
                    Ok(value) => return Ok(Fetched::Value(value, self.left(record.expires))),
                    Err(_) => {
                        self.counts.undecodable.add(1);
                        ticket.is_foreign = true;
                    }
                },
                Verdict::Foreign => {
                    self.counts.undecodable.add(1);
                    ticket.is_foreign = true;
                }
                Verdict::Claim(number) => {
                    next = patience.as_mut().map_or(next, |patience| patience.claimed(number, begun));
                }
                Verdict::Released(number) => {
                    next = patience.as_ref().map_or(next, |patience| patience.released(number));
                }
                Verdict::Value(_) | Verdict::Nothing => {}
            }
            match (next, &mut patience) {
                (Next::Pause(time), _) => way.sleep(time).await,
                (Next::Claim, Some(patience)) if self.link.conditions() != Some(false) => {
                    match self.claim(way, key, &ticket).await {
                        Ok(Some(claim)) => {
                            ticket.expected = Expected::Version(claim.version);
                            ticket.claim = Some(claim);
                            return Ok(Fetched::Nothing(ticket));
                        }
                        Ok(None) => patience.refused(),
                        Err(Trouble::Unsupported) => return Ok(Fetched::Nothing(ticket)),
                        Err(trouble) => return Err(trouble),
                    }
                }
                _ => return Ok(Fetched::Nothing(ticket)),
            }
        }
    }

    fn judge<'a>(&self, key: &RemoteKey, codec: u8, look: &'a Look) -> Verdict<'a> {
        if self.owed.contains(&key.name) {
            return Verdict::Nothing;
        }
        let sought = Sought { key: &key.encoded, codec, generation: look.generation };
        sought.judge(look.found.as_ref(), self.clock.wall())
    }

    /// For how many nanoseconds something is fresh.
    fn left(&self, expires: Option<Wall>) -> Option<u64> {
        expires.map(|expires| expires.saturating_sub(self.clock.wall()).saturating_mul(MILLISECOND))
    }

    /// What is under a key, and the generation; in one round trip where the generation is not known.
    async fn look(&'static self, way: Way, key: &RemoteKey, deadline: Instant) -> Result<Look, Trouble> {
        let knowledge = self.knowledge(way, deadline).await?;
        let look = match knowledge {
            Knowledge::Known(generation) | Knowledge::Owed(generation) => {
                let mut found = self.link.get(way, self.clock, &[&key.name], deadline).await?;
                Look { found: found.pop().flatten(), generation }
            }
            Knowledge::Asked(asked) => {
                let keys = [&*key.name, &*self.generation_key];
                let mut found = self.link.get(way, self.clock, &keys, deadline).await?;
                let generation = found.pop().flatten();
                let found = found.pop().flatten();
                Look { found, generation: self.settle(way, asked, generation, deadline).await? }
            }
        };
        if self.owed.begin_to_pay() && !offload::submit(Box::new(|| self.pay())) {
            self.owed.end_to_pay();
        }
        Ok(look)
    }

    /// What is known of the generation, after the backend was told what it is owed.
    async fn knowledge(&self, way: Way, deadline: Instant) -> Result<Knowledge, Trouble> {
        let knowledge = self.generations.knowledge(self.clock.now());
        if let Knowledge::Owed(generation) = knowledge {
            self.tell(way, generation, deadline).await?;
        }
        Ok(knowledge)
    }

    async fn tell(&self, way: Way, generation: u128, deadline: Instant) -> Result<(), Trouble> {
        self.set_generation(way, generation, Expected::Anything, deadline).await?;
        self.generations.told(generation, self.clock.now());
        Ok(())
    }

    async fn set_generation(
        &self,
        way: Way,
        generation: u128,
        expected: Expected,
        deadline: Instant,
    ) -> Result<bool, Trouble> {
        let payload = generation.to_le_bytes();
        let key = self.generation_key.as_bytes();
        let record =
            Record { kind: Kind::Generation, payload: &payload, generation, ..self.blank(key, None, 0) };
        let bytes = record.encode().ok_or(Trouble::TooLarge)?;
        self.link.set(way, self.clock, &self.generation_key, bytes, None, expected, deadline).await
    }

    /// The generation, given what was found of it; a new one if it was lost.
    async fn settle(
        &self,
        way: Way,
        asked: u64,
        found: Option<Found>,
        deadline: Instant,
    ) -> Result<u128, Trouble> {
        let key = self.generation_key.as_bytes();
        let learn = |generation| self.generations.learn(generation, asked, self.clock.now());
        if let Some(generation) = verdict::generation(found.as_ref(), key) {
            return Ok(learn(generation));
        }
        let new = random();
        match self.set_generation(way, new, unchanged(found.as_ref()), deadline).await {
            Ok(true) => return Ok(learn(new)),
            Ok(false) => {}
            // The last one to write it wins.
            Err(Trouble::Unsupported) => {
                self.set_generation(way, new, Expected::Anything, deadline).await?;
            }
            Err(trouble) => return Err(trouble),
        }
        let mut found = self.link.get(way, self.clock, &[&self.generation_key], deadline).await?;
        // An engine that stores nothing has no generations either, and needs none.
        Ok(learn(verdict::generation(found.pop().flatten().as_ref(), key).unwrap_or(new)))
    }

    /// Makes a claim in the place of what was found, unless something is in the way.
    async fn claim(&self, way: Way, key: &RemoteKey, ticket: &Ticket) -> Result<Option<Claim>, Trouble> {
        let Some(lease) = self.lease else { return Ok(None) };
        let number = random();
        let payload = number.to_le_bytes();
        let claim = |kind, ttl| {
            let blank = self.blank(&key.encoded, Some(ttl), 0);
            Record { kind, payload: &payload, generation: ticket.generation, ..blank }.encode()
        };
        let (Some(claimed), Some(released)) = (claim(Kind::Claim, lease), claim(Kind::Released, RELEASED))
        else {
            return Err(Trouble::TooLarge);
        };
        let deadline = self.link.deadline();
        let set = self.link.set(way, self.clock, &key.name, claimed, Some(lease), ticket.expected, deadline);
        if !set.await? {
            return Ok(None);
        }
        // Which version it is, the engine tells only who reads it.
        let mut found = self.link.get(way, self.clock, &[&key.name], deadline).await?;
        let Some(Found { value, version: Some(version) }) = found.pop().flatten() else { return Ok(None) };
        let is_own = Record::decode(&value).is_some_and(|record| {
            record.kind == Kind::Claim && verdict::number(record.payload) == Some(number)
        });
        Ok(is_own.then(|| Claim {
            link: Arc::clone(&self.link),
            clock: self.clock,
            name: key.name.clone(),
            version,
            released: Some(released),
        }))
    }

    /// A record of a key that says nothing yet.
    fn blank<'a>(&self, key: &'a [u8], ttl: Option<Duration>, cost: u64) -> Record<'a> {
        let written = self.clock.wall();
        let life = ttl.map(|ttl| nanoseconds(ttl).div_ceil(MILLISECOND).max(1));
        Record {
            kind: Kind::Tombstone,
            codec: 0,
            written,
            expires: life.map(|life| written.saturating_add(life)),
            cost,
            generation: 0,
            key,
            payload: &[],
        }
    }

    /// Stores a value that was computed, if nothing happened to its key meanwhile. It took `cost` nanoseconds.
    pub(crate) async fn store(
        &self,
        way: Way,
        key: &RemoteKey,
        codec: u8,
        payload: &[u8],
        ttl: Option<Duration>,
        cost: u64,
        mut ticket: Ticket,
    ) -> Written {
        if ticket.begun.elapsed() >= TOMBSTONE {
            self.counts.overtaken.add(1);
            return Written::Overtaken;
        }
        let blank = self.blank(&key.encoded, ttl, cost / 1000);
        let record = Record { kind: Kind::Value, codec, payload, generation: ticket.generation, ..blank };
        let Some(bytes) = record.encode() else { return self.too_large(way, key).await };
        let deadline = self.link.deadline();
        let set = |bytes, expected| self.link.set(way, self.clock, &key.name, bytes, ttl, expected, deadline);
        let mut stored = set(bytes, ticket.expected).await;
        if stored == Err(Trouble::Unsupported) && ticket.expected != Expected::Anything {
            let Some(bytes) = record.encode() else { return Written::NotStored };
            stored = set(bytes, Expected::Anything).await;
        }
        // Whatever became of it, it is not a claim any more, or will not be for long.
        if let Some(claim) = ticket.claim.as_mut().filter(|_| stored.is_ok()) {
            claim.released = None;
        }
        match stored {
            Ok(true) => {
                self.owed.remove(&key.name);
                Written::Stored
            }
            Ok(false) if ticket.expected == Expected::Anything => Written::NotStored,
            Ok(false) => {
                self.counts.overtaken.add(1);
                Written::Overtaken
            }
            Err(Trouble::TooLarge) => {
                if let Some(claim) = &mut ticket.claim {
                    claim.released = None;
                }
                self.too_large(way, key).await
            }
            Err(trouble) => {
                self.count(trouble);
                Written::NotStored
            }
        }
    }

    /// What was there before must not remain.
    async fn too_large(&self, way: Way, key: &RemoteKey) -> Written {
        self.counts.too_large.add(1);
        let deadline = self.link.deadline();
        let deleted = self.link.delete(way, self.clock, &key.name, Expected::Anything, deadline).await;
        if deleted.is_err() {
            self.owe(key);
        }
        Written::NotStored
    }

    /// Nothing is to be stored after all.
    pub(crate) async fn abandon(&self, way: Way, key: &RemoteKey, mut ticket: Ticket) {
        if let Some(claim) = &mut ticket.claim {
            let Some(released) = claim.released.take() else { return };
            let (deadline, expected) = (self.link.deadline(), ticket.expected);
            let set = self.link.set(way, self.clock, &key.name, released, Some(RELEASED), expected, deadline);
            let _ = set.await;
        } else if ticket.is_foreign && matches!(ticket.expected, Expected::Version(_)) {
            let deadline = self.link.deadline();
            let _ = self.link.delete(way, self.clock, &key.name, ticket.expected, deadline).await;
        }
    }

    /// What is stored and fresh.
    pub(crate) async fn peek<S>(&'static self, way: Way, key: &RemoteKey, coding: Coding<S>) -> Option<S> {
        let look = self.look(way, key, self.link.deadline()).await.ok()?;
        match self.judge(key, coding.id, &look) {
            Verdict::Value(record) => (coding.decode)(record.payload).ok(),
            _ => None,
        }
    }

    /// Forgets one key; returns whether a fresh value was there. What is being computed elsewhere is not
    /// stored afterwards, if the engine can compare versions.
    pub(crate) async fn invalidate(&'static self, way: Way, key: &RemoteKey, codec: u8) -> bool {
        match self.try_to_invalidate(way, key, codec).await {
            Ok(was_there) => was_there,
            Err(trouble) => {
                self.count(trouble);
                self.owe(key);
                false
            }
        }
    }

    async fn try_to_invalidate(&'static self, way: Way, key: &RemoteKey, codec: u8) -> Result<bool, Trouble> {
        let deadline = self.link.deadline();
        let look = self.look(way, key, deadline).await?;
        let was_there = matches!(self.judge(key, codec, &look), Verdict::Value(_));
        self.forget(way, key, look.generation, deadline).await?;
        Ok(was_there)
    }

    /// Leaves a tombstone, or nothing where it would not be looked at.
    async fn forget(
        &self,
        way: Way,
        key: &RemoteKey,
        generation: u128,
        deadline: Instant,
    ) -> Result<(), Trouble> {
        if self.link.conditions() == Some(false) {
            self.link.delete(way, self.clock, &key.name, Expected::Anything, deadline).await?;
        } else {
            let blank = self.blank(&key.encoded, Some(TOMBSTONE), 0);
            let record = Record { kind: Kind::Tombstone, generation, ..blank };
            let bytes = record.encode().ok_or(Trouble::TooLarge)?;
            let (ttl, expected) = (Some(TOMBSTONE), Expected::Anything);
            match self.link.set(way, self.clock, &key.name, bytes, ttl, expected, deadline).await {
                // It has removed what was there.
                Ok(_) | Err(Trouble::TooLarge) => {}
                Err(trouble) => return Err(trouble),
            }
        }
        self.owed.remove(&key.name);
        Ok(())
    }

    /// Removes what was stored after all where the engine could not prevent it.
    pub(crate) async fn undo(&self, way: Way, key: &RemoteKey) {
        if self.link.conditions() == Some(false) {
            let deadline = self.link.deadline();
            let deleted = self.link.delete(way, self.clock, &key.name, Expected::Anything, deadline).await;
            if deleted.is_err() {
                self.owe(key);
            }
        }
    }

    /// Stores a value, whatever is there.
    pub(crate) async fn put(
        &'static self,
        way: Way,
        key: &RemoteKey,
        codec: u8,
        payload: &[u8],
        ttl: Option<Duration>,
    ) {
        let deadline = self.link.deadline();
        let generation = match self.generation(way, deadline).await {
            Ok(generation) => generation,
            Err(trouble) => {
                self.count(trouble);
                // What is there is not what was put.
                return self.owe(key);
            }
        };
        let (claim, is_foreign, begun) = (None, false, Instant::now());
        let ticket = Ticket { generation, expected: Expected::Anything, claim, is_foreign, begun };
        if self.store(way, key, codec, payload, ttl, 0, ticket).await != Written::Stored {
            self.owe(key);
        }
    }

    async fn generation(&self, way: Way, deadline: Instant) -> Result<u128, Trouble> {
        match self.knowledge(way, deadline).await? {
            Knowledge::Known(generation) | Knowledge::Owed(generation) => Ok(generation),
            Knowledge::Asked(asked) => {
                let mut found = self.link.get(way, self.clock, &[&self.generation_key], deadline).await?;
                self.settle(way, asked, found.pop().flatten(), deadline).await
            }
        }
    }

    /// Forgets all keys: here at once, in other processes within a second.
    pub(crate) async fn clear(&self, way: Way) {
        let generation = self.generations.renew();
        self.owed.clear();
        if let Err(trouble) = self.tell(way, generation, self.link.deadline()).await {
            self.count(trouble);
        }
    }

    fn owe(&self, key: &RemoteKey) {
        if self.owed.add(&key.name, &key.encoded) {
            self.generations.renew();
        }
    }

    /// Makes up for invalidations that failed, until one fails again.
    fn pay(&'static self) {
        while let Some((name, encoded)) = self.owed.one() {
            let key = RemoteKey { encoded, name };
            if blocking(self.forget(Way::Blocking, &key, 0, self.link.deadline())).is_err() {
                break;
            }
        }
        self.owed.end_to_pay();
    }
}
