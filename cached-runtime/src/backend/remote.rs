//! The entries of one function in its backend: what is asked and written, in which order, and under which
//! conditions.
//!
//! Every write after a computation is conditional on what was read before it. So an invalidation that came
//! between the two, which leaves a tombstone, is not undone.

mod claim;
mod forget;
mod generation;
mod many;
mod renew;

use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::time::{Duration, Instant};

use claim::Claim;
use forget::Owing;
use generation::{Known, combined};
pub(crate) use renew::Leave;

use super::codec::Coding;
use super::driver::{Expected, Found};
use super::envelope::{Kind, Record, Wall};
use super::event::{Event, emit};
use super::generation::Generation;
use super::lease::{Next, Patience};
use super::link::{By, Link, Trouble, Way};
use super::owed::Owed;
use super::tags::{self, Tags};
use super::verdict::{Sought, Terms, Verdict, fence, is_mark, moment, unchanged};
use super::{Shared, name, offload};
use crate::clock::{Clock, Moment, NEVER, nanoseconds};
use crate::function::State;
use crate::policy::{Freshness, Times};
use crate::stats::Count;
use crate::tag;

/// How long an invalidation is remembered in the backend. What took longer to compute is not stored there.
const TOMBSTONE: Duration = Duration::from_secs(3600);
const MILLISECOND: u64 = 1_000_000;
const SECOND: u64 = 1000 * MILLISECOND;

/// See the module.
pub(crate) struct Remote {
    link: Arc<Link>,
    clock: &'static Clock,
    pub(crate) lease: Option<Duration>,
    /// Whether a value may be computed anew while it is served.
    renews: bool,
    terms: Terms,
    error_backoff: Duration,
    function: String,
    stem: String,
    /// Where the function stands, if that is to be part of its keys.
    pub(crate) place: Option<String>,
    /// Whether processes keep copies, and are to be told of what changes.
    has_copies: bool,
    generation: Arc<Generation>,
    /// Those of its backend, if it has tags.
    tags: Option<&'static Tags>,
    /// The longest life of a value that it has stored with tags, in nanoseconds.
    longest: AtomicU64,
    /// The shortest life of a value, in nanoseconds, as far as it is known. Less than a second is taken for one.
    shortest: AtomicU64,
    /// A body has taken longer than that.
    outlives: AtomicBool,
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
    pub(crate) name: String,
    /// Hashes of the tags.
    tags: Vec<u128>,
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
    /// A value, and leave to replace it.
    Value(Kept<S>, Ticket),
    /// The value is to be computed; with this it may be stored.
    Nothing(Ticket),
    /// The backend cannot be asked now.
    Unknown,
}

/// A value of the backend that may be served, by what its function says.
pub(crate) struct Kept<S> {
    pub(crate) value: S,
    /// By the clock on the wall.
    times: Times,
    now: Moment,
    /// What it was found in.
    found: Option<Found>,
    /// How long it took to compute, in nanoseconds.
    pub(crate) cost: u64,
}

/// What was read before a computation, without which its value is not stored.
pub(crate) struct Ticket {
    generation: u128,
    expected: Expected,
    claim: Option<Claim>,
    /// The claim beside a value that is served meanwhile.
    renewal: Option<Claim>,
    /// What is there is not from here, and is to go.
    is_foreign: bool,
    /// What was there has gone by itself, and was not invalidated.
    has_gone: bool,
    /// What is there is a value, of which there may be copies.
    replaces: bool,
    /// The last invalidation that is known of there.
    fence: Option<u128>,
    begun: Moment,
}

impl Ticket {
    /// Whether the value of who computes anew in this process what was served until now would come in the place of
    /// what was found.
    pub(crate) fn may_await_renewal(&self) -> bool {
        !self.is_claimed() && self.has_gone
    }

    /// Whether nobody else who asks for a lease computes.
    pub(crate) fn is_claimed(&self) -> bool {
        self.claim.is_some()
    }
}

/// A value as it is to be stored.
#[derive(Clone, Copy)]
pub(crate) struct Encoded<'a> {
    pub(crate) codec: u8,
    pub(crate) payload: &'a [u8],
    /// Until it goes, at the end of the windows after its timeout.
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
    begun: Moment,
    /// The time on the wall, at its end.
    wall: Wall,
    found: Option<Found>,
    generation: u128,
    /// What was found was invalidated before.
    is_owed: bool,
}

impl Remote {
    pub(crate) fn new(state: &'static State, shared: &'static Shared, name: &str) -> Self {
        let link = shared.backend.link(state.store);
        let stem = name::stem(&link.prefix, name, shared.version);
        let policy = state.policy();
        let has_copies = shared.local_timeout.is_some();
        if has_copies {
            link.listen(&stem, state);
        }
        Self {
            clock: &state.store.clock,
            lease: shared.lease,
            renews: policy.serves_ahead(),
            terms: Terms { windows: policy.windows(), idle: policy.idle_timeout().map(nanoseconds) },
            error_backoff: policy.error_backoff(),
            place: shared.place.map(|(place, text)| name::of_place(place(), name, text)),
            generation: Arc::new(Generation::new(name::of_generation(&stem))),
            tags: shared.has_tags.then(|| state.store.tags.of(&link, &state.store.clock, has_copies)),
            longest: AtomicU64::new(0),
            shortest: AtomicU64::new(policy.shortest_life().max(SECOND)),
            outlives: AtomicBool::new(false),
            function: name.to_owned(),
            has_copies,
            stem,
            link,
            owed: Owed::default(),
            is_made_up_later: AtomicBool::new(false),
            counts: Counts::default(),
        }
    }

    pub(crate) fn key(&self, encoded: Vec<u8>, tags: &[String]) -> RemoteKey {
        let tags = tags.iter().map(|tag| tag::known_as(tag)).collect();
        RemoteKey { name: name::of_entry(&self.stem, &encoded), encoded, tags }
    }

    /// How long the generation of a tag is to live, unless for ever.
    fn life(&self) -> Option<Duration> {
        let longest = self.longest.load(Relaxed);
        (longest != NEVER).then(|| tags::life_with(Duration::from_nanos(longest)))
    }

    /// Whether the backend would not be asked now.
    pub(crate) fn is_refused(&self) -> bool {
        let refused = self.link.refuses(self.clock);
        if refused {
            self.counts.skipped.add(1);
        }
        refused
    }

    fn by(&self, way: Way) -> By {
        self.link.by(way, self.clock)
    }

    /// The same of what changes a key: where there are copies, others are told.
    fn telling(&self, by: By) -> By {
        By { tells: self.has_copies, ..by }
    }

    /// Another process may have changed anything.
    pub(crate) fn doubt(&self) {
        self.generation.doubt();
        if let Some(tags) = self.tags {
            tags.doubt();
        }
    }

    /// Another process may have invalidated a tag; whether there are any here.
    pub(crate) fn doubt_tag(&self, tag: u128) -> bool {
        self.tags.map(|tags| tags.doubt_one(tag)).is_some()
    }

    fn count(&self, trouble: Trouble) {
        match trouble {
            Trouble::Skipped | Trouble::Crowded => self.counts.skipped.add(1),
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

    /// What was [fetched](Self::fetch), counted.
    pub(crate) fn counted<S>(&self, fetched: Result<Fetched<S>, Trouble>, wanted: Wanted) -> Fetched<S> {
        let fetched = match fetched {
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

    /// The value of a key, or leave to compute it. Where there is a lease, this waits for the computations of
    /// other processes.
    pub(crate) async fn fetch<S>(
        &'static self,
        way: Way,
        key: &RemoteKey,
        coding: Coding<S>,
        wanted: Wanted,
    ) -> Result<Fetched<S>, Trouble> {
        let mut patience = self.lease.filter(|_| wanted == Wanted::Value).map(Patience::new);
        let mut is_marked = false;
        loop {
            let begun = patience.as_ref().map(|_| Instant::now());
            let mut look = match self.look(self.by(way), key).await {
                Ok(look) => look,
                Err(trouble) => {
                    // A hiccup is no reason for all who wait to compute.
                    let blind = patience.as_mut().zip(begun);
                    let blind = blind.filter(|_| matches!(trouble, Trouble::Failed | Trouble::Crowded));
                    let Some(pause) = blind.and_then(|(patience, begun)| patience.blind(begun)) else {
                        return Err(trouble);
                    };
                    self.count(trouble);
                    way.sleep(pause).await;
                    continue;
                }
            };
            let verdict = self.judge(key, coding.id, &look);
            let mut ticket = self.ticket(key, &look, &verdict);
            let mut next = patience.as_ref().map_or(Next::Compute, |patience| patience.free(Instant::now()));
            match verdict {
                Verdict::Value(record) if wanted != Wanted::Ticket => {
                    if let Some(mut kept) = self.decoded(&record, look.wall, coding) {
                        kept.found = look.found.take();
                        return Ok(Fetched::Value(kept, ticket));
                    }
                    self.is_undecodable();
                    ticket.is_foreign = true;
                }
                Verdict::Foreign => self.is_undecodable(),
                Verdict::Claim(number) => {
                    next =
                        patience.as_mut().map_or(next, |patience| patience.claimed(number, Instant::now()));
                }
                Verdict::Released(number) => {
                    next = patience.as_ref().map_or(next, |patience| patience.released(number));
                }
                Verdict::Value(_) | Verdict::Nothing => {}
            }
            match (next, &mut patience) {
                (Next::Pause(time), _) => way.sleep(time).await,
                _ if !is_marked && self.is_to_be_marked(&ticket) => {
                    Box::pin(self.mark(way, key, &ticket)).await?;
                    is_marked = true;
                }
                (Next::Claim, Some(patience)) if self.link.has_leases() => {
                    if ticket.has_gone
                        && let Some(number) = Box::pin(self.renewed_by(way, key)).await?
                        && let Next::Pause(time) = patience.claimed(number, Instant::now())
                    {
                        way.sleep(time).await;
                        continue;
                    }
                    match Box::pin(self.claim_key(way, key, &ticket)).await {
                        Ok(Some(claim)) => {
                            ticket.expected = claim.expected().unwrap_or(ticket.expected);
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

    /// Leave to store a value after what was found.
    fn ticket(&self, key: &RemoteKey, look: &Look, verdict: &Verdict<'_>) -> Ticket {
        let replaces = matches!(verdict, Verdict::Value(_));
        let found = look.found.as_ref().filter(|_| !replaces);
        let record = found.and_then(|found| Record::decode(&found.value));
        Ticket {
            generation: look.generation,
            expected: unchanged(look.found.as_ref()),
            claim: None,
            renewal: None,
            is_foreign: *verdict == Verdict::Foreign,
            has_gone: replaces || self.has_gone(key, look, record.as_ref()),
            replaces,
            fence: record.as_ref().and_then(fence),
            begun: look.begun,
        }
    }

    /// The value of a record, if it can be decoded.
    fn decoded<S>(&self, record: &Record<'_>, wall: Wall, coding: Coding<S>) -> Option<Kept<S>> {
        let value = coding.decode(record.payload).ok()?;
        let (times, cost) = (self.terms.times(record), record.cost.saturating_mul(1000));
        Some(Kept { value, times, now: moment(wall), found: None, cost })
    }

    /// Whether what was there has gone by itself. An invalidation leaves a tombstone, where the engine can compare
    /// versions.
    fn has_gone(&self, key: &RemoteKey, look: &Look, record: Option<&Record<'_>>) -> bool {
        if look.found.is_none() {
            return self.link.conditions() != Some(false);
        }
        record.is_some_and(|record| {
            let has_gone = record.kind == Kind::Value || is_mark(record);
            has_gone && record.generation == look.generation && *record.key == *key.encoded
        })
    }

    fn judge<'a>(&self, key: &RemoteKey, codec: u8, look: &'a Look) -> Verdict<'a> {
        if look.is_owed {
            return Verdict::Nothing;
        }
        let sought = Sought { key: &key.encoded, codec, generation: look.generation, terms: self.terms };
        sought.judge(look.found.as_ref(), look.wall)
    }

    /// Whether it is ahead of its timeout.
    fn is_fresh(&self, record: &Record<'_>, wall: Wall) -> bool {
        self.terms.freshness(self.terms.times(record), 0, wall) == Freshness::Fresh
    }

    /// What is under a key, and the generation; in one round trip where the generation is not known.
    async fn look(&'static self, by: By, key: &RemoteKey) -> Result<Look, Trouble> {
        // Ahead of the look: what is not owed by then can be seen to be gone.
        let is_owed = self.owed.contains(&key.name);
        let begun = self.clock.now();
        let mut seen = self.see(by, &key.tags, begun).await?;
        let found = self.ask(by, &mut seen, Known::Believed, &[&key.name]).await?.pop().flatten();
        let written_under = found.as_ref().and_then(|found| Record::generation_in(&found.value));
        // What is of another generation may be of a newer one.
        if written_under.is_some_and(|written_under| written_under != combined(&seen)) {
            self.ask(by, &mut seen, Known::Surely, &[]).await?;
        }
        let (wall, generation) = (self.clock.wall(), combined(&seen));
        let look = Look { begun, wall, found, generation, is_owed };
        self.pay_later();
        Ok(look)
    }

    /// Sees to it that the backend is told what it is owed, if it is not being told.
    fn pay_later(&'static self) {
        if self.owed.begin_to_pay() && !offload::submit(Box::new(|| self.pay_keys())) {
            self.owed.end_to_pay();
        }
    }

    /// A record of a key that says nothing yet.
    fn blank<'a>(&self, key: &'a [u8], ttl: Option<Duration>, cost: u64) -> Record<'a> {
        Record { cost, ..Record::blank(key, self.clock.wall(), ttl) }
    }

    /// Whether a value that takes the place of an invalidation may have been there and gone within this time. Then
    /// nothing need be left of an invalidation since, and from now on a body leaves a [`mark`](Self::mark).
    fn is_outlived(&self, took: u64) -> bool {
        let is_outlived = self.link.conditions() != Some(false) && took >= self.shortest.load(Relaxed);
        if is_outlived {
            self.outlives.store(true, Relaxed);
        }
        is_outlived
    }

    /// Whether a body is to leave a mark: where they take longer than values live, and nothing is there.
    fn is_to_be_marked(&self, ticket: &Ticket) -> bool {
        ticket.expected == Expected::Nothing
            && self.outlives.load(Relaxed)
            && self.link.conditions() != Some(false)
    }

    /// Leaves what an invalidation would leave in the place of nothing, so that a value is stored in the place of that
    /// and of nothing else.
    async fn mark(&self, way: Way, key: &RemoteKey, ticket: &Ticket) -> Result<(), Trouble> {
        let bytes = self.tombstone(key, ticket.generation, true)?;
        match self.link.set(self.by(way), &key.name, bytes, Some(TOMBSTONE), Expected::Nothing).await {
            // Something is there by now, or what is there cannot be told.
            Ok(_) | Err(Trouble::Unsupported) => Ok(()),
            Err(trouble) => Err(trouble),
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
        if let Some(ttl) = ttl {
            self.shortest.fetch_min(nanoseconds(ttl).max(SECOND), Relaxed);
        }
        let took = self.clock.now().saturating_sub(ticket.begun);
        if took >= nanoseconds(TOMBSTONE) || ticket.expected == Expected::Nothing && self.is_outlived(took) {
            self.counts.overtaken.add(1);
            return Written::Overtaken;
        }
        if !key.tags.is_empty() {
            self.longest.fetch_max(ttl.map_or(NEVER, nanoseconds), Relaxed);
        }
        let blank = self.blank(&key.encoded, ttl, cost / 1000);
        // What is told to the engine is when it goes.
        let window = self.terms.windows.longest() / MILLISECOND;
        let expires = blank.expires.map(|goes| goes.saturating_sub(window));
        let generation = ticket.generation;
        let record = Record { kind: Kind::Value, codec, payload, generation, expires, ..blank };
        let ttl = match self.terms.idle.map(Duration::from_nanos) {
            Some(idle) => Some(ttl.map_or(idle, |ttl| ttl.min(idle))),
            None => ttl,
        };
        let Some(bytes) = record.encode() else { return self.too_large(way, key).await };
        let by = if ticket.replaces { self.telling(self.by(way)) } else { self.by(way) };
        let set = |bytes, expected| self.link.set(by, &key.name, bytes, ttl, expected);
        let mut stored = set(bytes, ticket.expected).await;
        if stored == Err(Trouble::Unsupported) && ticket.expected != Expected::Anything {
            let Some(bytes) = record.encode() else { return Written::NotStored };
            stored = set(bytes, Expected::Anything).await;
        }
        if stored == Ok(false)
            && let Ok(Some(expected)) = Box::pin(self.still_expected(by, key, &ticket, took)).await
            && let Some(bytes) = record.encode()
        {
            stored = set(bytes, expected).await;
        }
        // Whatever became of it, it is not a claim any more, or will not be for long.
        if let Some(claim) = ticket.claim.as_mut().filter(|_| stored.is_ok()) {
            claim.ending = None;
        }
        if stored.is_ok() {
            self.end_renewal(way, &mut ticket).await;
        }
        match stored {
            Ok(true) => {
                self.owed.remove(&key.name);
                // Under an old generation it is a miss; a copy of it would not be one.
                if self.has_copies && !self.is_current(by, key, generation).await {
                    self.counts.overtaken.add(1);
                    return Written::Overtaken;
                }
                Written::Stored
            }
            Ok(false) if ticket.expected == Expected::Anything => Written::NotStored,
            Ok(false) => {
                self.counts.overtaken.add(1);
                Written::Overtaken
            }
            Err(Trouble::TooLarge) => {
                if let Some(claim) = &mut ticket.claim {
                    claim.ending = None;
                }
                self.too_large(way, key).await
            }
            Err(trouble) => {
                self.count(trouble);
                Written::NotStored
            }
        }
    }

    /// What a value may take the place of, after what was read before it is there no more: what was served meanwhile
    /// may have gone by itself, and so may a claim that did not last as long as the body; another process may have made
    /// one since. An invalidation has left something else.
    async fn still_expected(
        &self,
        by: By,
        key: &RemoteKey,
        ticket: &Ticket,
        took: u64,
    ) -> Result<Option<Expected>, Trouble> {
        if ticket.claim.is_none() {
            return Ok((ticket.renewal.is_some() && !self.is_outlived(took)).then_some(Expected::Nothing));
        }
        let found = self.link.get_one(by, &key.name).await?;
        let is_as_before = match found.as_ref().map(|found| Record::decode(&found.value)) {
            None => ticket.fence.is_none(),
            Some(Some(record)) => {
                matches!(record.kind, Kind::Claim | Kind::Released)
                    && record.generation == ticket.generation
                    && *record.key == *key.encoded
                    && fence(&record) == ticket.fence
            }
            Some(None) => false,
        };
        // Where there was no invalidation to begin with, one may have come and gone.
        let is_sure = ticket.fence.is_some() || !self.is_outlived(took);
        Ok((is_as_before && is_sure).then(|| unchanged(found.as_ref())))
    }

    /// Nothing is to be stored after all.
    pub(crate) async fn abandon(&self, way: Way, key: &RemoteKey, mut ticket: Ticket) {
        self.end_renewal(way, &mut ticket).await;
        if let Some(claim) = &mut ticket.claim {
            claim.end(self.by(way)).await;
        } else if ticket.is_foreign && matches!(ticket.expected, Expected::Version(_)) {
            let by = self.by(way);
            let _ = self.link.delete(by, &key.name, ticket.expected).await;
        }
    }

    /// What is stored and fresh.
    pub(crate) async fn peek<S>(&'static self, way: Way, key: &RemoteKey, coding: Coding<S>) -> Option<S> {
        let look = self.look(self.by(way), key).await.ok()?;
        match self.judge(key, coding.id, &look) {
            Verdict::Value(record) if self.is_fresh(&record, look.wall) => coding.decode(record.payload).ok(),
            _ => None,
        }
    }

    /// Stores a value, whatever is there.
    pub(crate) async fn put(&'static self, way: Way, key: &RemoteKey, value: Encoded<'_>) {
        // What is there until then is not what was put.
        let owing = Owing { remote: self, key };
        let generation = match self.current(self.by(way), key).await {
            Ok(generation) => generation,
            Err(trouble) => return self.count(trouble),
        };
        let ticket = Ticket {
            generation,
            expected: Expected::Anything,
            claim: None,
            renewal: None,
            is_foreign: false,
            has_gone: false,
            replaces: true,
            fence: None,
            begun: self.clock.now(),
        };
        if self.store(way, key, value, ticket).await == Written::Stored {
            owing.pay();
        }
    }
}
