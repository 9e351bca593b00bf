//! The entries of one function in its backend: what is asked and written, in which order, and under which
//! conditions.
//!
//! Every write after a computation is conditional on what was read before it. So an invalidation that came
//! between the two, which leaves a tombstone, is not undone.

mod claim;
mod forget;
mod generation;
mod many;

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::{Duration, Instant};

use claim::{Claim, RELEASED};

use super::codec::Coding;
use super::driver::{Expected, Found};
use super::envelope::{Kind, Record, Wall};
use super::event::{Event, emit};
use super::generation::{Generations, Knowledge};
use super::lease::{Next, Patience};
use super::link::{By, Link, Trouble, Way};
use super::owed::Owed;
use super::verdict::{Sought, Verdict, unchanged};
use super::{Shared, name, offload};
use crate::clock::{Clock, nanoseconds};
use crate::function::State;
use crate::stats::Count;

/// How long an invalidation is remembered in the backend. What took longer to compute is not stored there.
const TOMBSTONE: Duration = Duration::from_secs(3600);
const MILLISECOND: u64 = 1_000_000;

/// See the module.
pub(crate) struct Remote {
    link: Arc<Link>,
    clock: &'static Clock,
    lease: Option<Duration>,
    function: String,
    stem: String,
    /// Where the function stands, if that is to be part of its keys.
    pub(crate) place: Option<String>,
    generation_key: String,
    generations: Generations,
    owed: Owed,
    /// It will be tried to make up for what is owed.
    is_made_up_later: AtomicBool,
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

/// What a lookup in the backend is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// A value, and where there is a lease the one that somebody else computes.
    Value,
    /// A value without waiting: whoever has claimed it may be waiting for this call.
    ValueNow,
    /// Leave to store one.
    Ticket,
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

/// A value as it is to be stored.
#[derive(Clone, Copy)]
pub(crate) struct Encoded<'a> {
    pub(crate) codec: u8,
    pub(crate) payload: &'a [u8],
    pub(crate) ttl: Option<Duration>,
    /// How long it took to compute, in nanoseconds.
    pub(crate) cost: u64,
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
    /// What was found was invalidated before.
    is_owed: bool,
}

impl Remote {
    pub(crate) fn new(state: &'static State, shared: &'static Shared, name: &str) -> Self {
        let link = shared.backend.link(state.store);
        let stem = name::stem(&link.prefix, name, shared.version);
        Self {
            clock: &state.store.clock,
            lease: shared.lease,
            place: shared.place.map(|(place, text)| name::of_place(place(), name, text)),
            generation_key: name::of_generation(&stem),
            function: name.to_owned(),
            stem,
            link,
            generations: Generations::new(),
            owed: Owed::default(),
            is_made_up_later: AtomicBool::new(false),
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

    fn by(&self, way: Way) -> By {
        self.link.by(way, self.clock)
    }

    fn count(&self, trouble: Trouble) {
        match trouble {
            Trouble::Skipped => self.counts.skipped.add(1),
            Trouble::TooLarge => self.is_too_large(),
            Trouble::Failed | Trouble::Unsupported => self.counts.errors.add(1),
        }
    }

    fn is_too_large(&self) {
        self.counts.too_large.add(1);
        let (backend, function) = self.names();
        emit(&Event::TooLarge { backend, function });
    }

    /// What was found is no value.
    fn is_undecodable(&self) {
        self.counts.undecodable.add(1);
        let (backend, function) = self.names();
        emit(&Event::Undecodable { backend, function });
    }

    /// A value, or a key, cannot be written.
    pub(crate) fn is_unencodable(&self, count: &Count) {
        count.add(1);
        let (backend, function) = self.names();
        emit(&Event::Unencodable { backend, function });
    }

    fn names(&self) -> (String, String) {
        (self.link.name.clone(), self.function.clone())
    }

    /// The value of a key, or leave to compute it. Where there is a lease, this waits for the computations of
    /// other processes.
    pub(crate) async fn fetch<S>(
        &'static self,
        way: Way,
        key: &RemoteKey,
        coding: Coding<S>,
        wanted: Wanted,
    ) -> Fetched<S> {
        let fetched = match self.try_to_fetch(way, key, coding, wanted).await {
            Ok(fetched) => fetched,
            Err(trouble) => {
                self.count(trouble);
                Fetched::Unknown
            }
        };
        match fetched {
            Fetched::Value(..) => self.counts.hits.add(1),
            Fetched::Nothing(_) if wanted != Wanted::Ticket => self.counts.misses.add(1),
            _ => {}
        }
        fetched
    }

    async fn try_to_fetch<S>(
        &'static self,
        way: Way,
        key: &RemoteKey,
        coding: Coding<S>,
        wanted: Wanted,
    ) -> Result<Fetched<S>, Trouble> {
        let mut patience = self.lease.filter(|_| wanted == Wanted::Value).map(Patience::new);
        loop {
            let begun = Instant::now();
            let look = match self.look(self.by(way), key).await {
                Ok(look) => look,
                Err(trouble) => {
                    // A hiccup is no reason for all who wait to compute.
                    let blind = patience.as_mut().filter(|_| trouble == Trouble::Failed);
                    let Some(pause) = blind.and_then(|patience| patience.blind(begun)) else {
                        return Err(trouble);
                    };
                    self.count(trouble);
                    way.sleep(pause).await;
                    continue;
                }
            };
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
                Verdict::Value(record) if wanted != Wanted::Ticket => {
                    if let Ok(value) = coding.decode(record.payload) {
                        return Ok(Fetched::Value(value, self.left(record.expires)));
                    }
                    self.is_undecodable();
                    ticket.is_foreign = true;
                }
                Verdict::Foreign => {
                    self.is_undecodable();
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
        if look.is_owed {
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
    async fn look(&'static self, by: By, key: &RemoteKey) -> Result<Look, Trouble> {
        // Ahead of the look: what is not owed by then can be seen to be gone.
        let is_owed = self.owed.contains(&key.name);
        let knowledge = self.knowledge(by).await?;
        let look = match knowledge {
            Knowledge::Known(generation) | Knowledge::Owed(generation) => {
                let found = self.link.get_one(by, &key.name).await?;
                let written_under = found.as_ref().and_then(|found| Record::generation_in(&found.value));
                // What is of another generation may be of a newer one.
                let is_old = matches!(knowledge, Knowledge::Known(_))
                    && written_under.is_some_and(|written_under| written_under != generation);
                let generation = if is_old { self.generation(by).await? } else { generation };
                Look { found, generation, is_owed }
            }
            Knowledge::Asked(asked) => {
                let keys = [&*key.name, &*self.generation_key];
                let mut found = self.link.get(by, &keys).await?;
                let generation = found.pop().flatten();
                let found = found.pop().flatten();
                Look { found, generation: self.settle(by, asked, generation).await?, is_owed }
            }
        };
        self.pay_later();
        Ok(look)
    }

    /// Sees to it that the backend is told what it is owed, if it is not being told.
    fn pay_later(&'static self) {
        if self.owed.begin_to_pay() && !offload::submit(Box::new(|| self.pay())) {
            self.owed.end_to_pay();
        }
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

    /// Stores a value that was computed, if nothing happened to its key meanwhile.
    pub(crate) async fn store(
        &'static self,
        way: Way,
        key: &RemoteKey,
        value: Encoded<'_>,
        mut ticket: Ticket,
    ) -> Written {
        let Encoded { codec, payload, ttl, cost } = value;
        if ticket.begun.elapsed() >= TOMBSTONE {
            self.counts.overtaken.add(1);
            return Written::Overtaken;
        }
        let blank = self.blank(&key.encoded, ttl, cost / 1000);
        let record = Record { kind: Kind::Value, codec, payload, generation: ticket.generation, ..blank };
        let Some(bytes) = record.encode() else { return self.too_large(way, key).await };
        let by = self.by(way);
        let set = |bytes, expected| self.link.set(by, &key.name, bytes, ttl, expected);
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

    /// Nothing is to be stored after all.
    pub(crate) async fn abandon(&self, way: Way, key: &RemoteKey, mut ticket: Ticket) {
        if let Some(claim) = &mut ticket.claim {
            let Some(released) = claim.released.take() else { return };
            let (by, expected) = (self.by(way), ticket.expected);
            let set = self.link.set(by, &key.name, released, Some(RELEASED), expected);
            let _ = set.await;
        } else if ticket.is_foreign && matches!(ticket.expected, Expected::Version(_)) {
            let by = self.by(way);
            let _ = self.link.delete(by, &key.name, ticket.expected).await;
        }
    }

    /// What is stored and fresh.
    pub(crate) async fn peek<S>(&'static self, way: Way, key: &RemoteKey, coding: Coding<S>) -> Option<S> {
        let look = self.look(self.by(way), key).await.ok()?;
        match self.judge(key, coding.id, &look) {
            Verdict::Value(record) => coding.decode(record.payload).ok(),
            _ => None,
        }
    }

    /// Stores a value, whatever is there.
    pub(crate) async fn put(&'static self, way: Way, key: &RemoteKey, value: Encoded<'_>) {
        let by = self.by(way);
        let generation = match self.generation(by).await {
            Ok(generation) => generation,
            Err(trouble) => {
                self.count(trouble);
                // What is there is not what was put.
                return self.owe(key);
            }
        };
        let (claim, is_foreign, begun) = (None, false, Instant::now());
        let ticket = Ticket { generation, expected: Expected::Anything, claim, is_foreign, begun };
        if self.store(way, key, value, ticket).await != Written::Stored {
            self.owe(key);
        }
    }
}
