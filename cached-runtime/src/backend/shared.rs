//! One call of a function with a backend: lookup in this process where it keeps copies → flight → lookup in the
//! backend → body → both stores.

use std::any::{TypeId, type_name};
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::task::Waker;
use std::thread;
use std::time::{Duration, Instant};

use super::codec::{Codec, Coding, caught};
use super::encode::{Encoder, NoEncoding, SharedKey};
use super::lease::{Next, Patience};
use super::link::{Way, blocking};
use super::remote::{Encoded as Encoding, Fetched, Kept, Leave, Remote, RemoteKey, Ticket, Written};
use crate::call::{Begun, Body, Call, Entry, Lookup, Mode, Once, Query, Turn, conditions, ended, hit};
use crate::clock::{Moment, NEVER, nanoseconds};
use crate::computation::{Computation, Settled};
use crate::function::{Function, State};
use crate::handle::{AsyncHandle, Handle};
use crate::key::{Many, Maybe, One, Part, Unusable};
use crate::outcome::Outcome;
use crate::policy::{FURTHEST_DRAW, Freshness, Service};
use crate::revalidate::Renewer;
use crate::store::any::ValueRef;
use crate::store::shard::Stay;
use crate::store::table::NewValue;
use crate::tag::{Tagged, tagged};

/// A part of a key that can be encoded, if its type can.
pub trait Encoded: Part {
    /// What must be encodable for that.
    type Of: ?Sized;
    fn encode(&self, encoder: &mut Encoder) -> Result<(), NoEncoding>
    where
        Self::Of: SharedKey;
}

impl<T: ?Sized + crate::Key> Encoded for One<'_, T> {
    type Of = T;
    fn encode(&self, encoder: &mut Encoder) -> Result<(), NoEncoding>
    where
        T: SharedKey,
    {
        encoder.item(self.get())
    }
}

impl<T: ?Sized + crate::Key> Encoded for Maybe<'_, T> {
    type Of = T;
    fn encode(&self, encoder: &mut Encoder) -> Result<(), NoEncoding>
    where
        T: SharedKey,
    {
        encoder.item(&self.get())
    }
}

impl<T: ?Sized + crate::Key> Encoded for Many<'_, '_, T> {
    type Of = T;
    fn encode(&self, encoder: &mut Encoder) -> Result<(), NoEncoding>
    where
        T: SharedKey,
    {
        encoder.item(self.get())
    }
}

impl Encoded for Unusable {
    type Of = ();
    fn encode(&self, _: &mut Encoder) -> Result<(), NoEncoding> {
        Ok(())
    }
}

/// A part that is known to have an encoding.
pub struct InBackend<P> {
    part: P,
    encode: fn(&P, &mut Encoder) -> Result<(), NoEncoding>,
}

/// The one place where a part that cannot be encoded is an error.
#[inline]
pub fn in_backend<P: Encoded>(part: P) -> InBackend<P>
where
    P::Of: SharedKey,
{
    InBackend { part, encode: P::encode }
}

impl<P: Part> Part for InBackend<P> {
    type Owned = P::Owned;
    #[inline]
    fn hash<H: std::hash::Hasher>(&self, hasher: &mut H) {
        self.part.hash(hasher);
    }
    #[inline]
    fn matches(&self, owned: &Self::Owned) -> bool {
        self.part.matches(owned)
    }
    fn own(&self) -> Self::Owned {
        self.part.own()
    }
    fn same(one: &Self::Owned, other: &Self::Owned) -> bool {
        P::same(one, other)
    }
    fn hash_owned<H: std::hash::Hasher>(owned: &Self::Owned, hasher: &mut H) {
        P::hash_owned(owned, hasher);
    }
}

/// A key all of whose parts have an encoding.
pub trait EncodedKey: Part {
    fn encode_into(&self, encoder: &mut Encoder) -> Result<(), NoEncoding>;
    /// What its entry is labelled with.
    fn tags(&self) -> Vec<String> {
        Vec::new()
    }
}

/// Tags say nothing of which key it is.
impl<P: EncodedKey, const N: usize> EncodedKey for Tagged<'_, P, N> {
    fn encode_into(&self, encoder: &mut Encoder) -> Result<(), NoEncoding> {
        self.key().encode_into(encoder)
    }
    fn tags(&self) -> Vec<String> {
        self.texts().into()
    }
}

impl<P: Part> EncodedKey for InBackend<P> {
    fn encode_into(&self, encoder: &mut Encoder) -> Result<(), NoEncoding> {
        (self.encode)(&self.part, encoder)
    }
}

macro_rules! tuples {
    ($(($($part:ident $at:tt),*))*) => {$(
        #[expect(clippy::allow_attributes, reason = "the empty tuple uses less than the others")]
        #[allow(unused_variables)]
        impl<$($part: EncodedKey),*> EncodedKey for ($($part,)*) {
            fn encode_into(&self, encoder: &mut Encoder) -> Result<(), NoEncoding> {
                $(self.$at.encode_into(encoder)?;)*
                Ok(())
            }
        }
    )*};
}
tuples! {
    ()
    (A 0)
    (A 0, B 1)
    (A 0, B 1, C 2)
    (A 0, B 1, C 2, D 3)
    (A 0, B 1, C 2, D 3, E 4)
    (A 0, B 1, C 2, D 3, E 4, F 5)
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6)
    (A 0, B 1, C 2, D 3, E 4, F 5, G 6, I 7)
}

/// Bytes that most encoded keys have room in.
const ROOM: usize = 64;

/// The key of a call of a function with these types. What is generic is told apart by its types' names, which
/// are all that there is of them in another process.
fn encode<G: ?Sized, P: EncodedKey>(key: &P, place: Option<&str>) -> Result<Vec<u8>, NoEncoding> {
    let mut encoder = Encoder::with_capacity(ROOM);
    encoder.item(&place)?;
    if typeid::of::<G>() != TypeId::of::<()>() {
        encoder.item(type_name::<G>())?;
    }
    key.encode_into(&mut encoder)?;
    Ok(encoder.into_bytes())
}

/// An outcome whose values have an encoding.
pub struct Coded<O: Outcome> {
    pub(crate) outcome: O,
    pub(crate) coding: Coding<O::Stored>,
}

/// The one place where a value that cannot be encoded is an error.
pub fn coded<C: Codec<O::Stored>, O: Outcome>(_: PhantomData<C>, outcome: O) -> Coded<O> {
    Coded { outcome, coding: Coding::of::<C>() }
}

/// What a lookup in this process found.
#[expect(clippy::large_enum_variant, reason = "it is taken apart at once")]
pub enum SharedStep<O: Outcome> {
    Return(O::Returned),
    Run(SharedCall<O>),
}

impl<O: Outcome> SharedStep<O> {
    /// Adds to the call, if there is one.
    #[must_use]
    pub fn with(self, rules: impl FnOnce(SharedCall<O>) -> SharedCall<O>) -> Self {
        match self {
            Self::Return(value) => Self::Return(value),
            Self::Run(call) => Self::Run(rules(call)),
        }
    }
}

/// The part of a call that is made every time: looks it up in this process, where that keeps copies.
#[expect(clippy::inline_always, reason = "a hit is cheaper where its value need not pass through memory")]
#[inline(always)]
pub fn begin_shared<G: ?Sized, P: EncodedKey, O: Outcome>(
    lookup: Lookup,
    function: &'static Function,
    coded: Coded<O>,
    identity: PhantomData<G>,
    key: P,
) -> SharedStep<O> {
    // The name of a copy's entry is its tag, so that it goes when another process has changed that.
    let key = tagged(key, &|| [String::new()]);
    let state = function.state();
    let lookup = if function.exceptions.any() { conditions(function, state, lookup) } else { lookup };
    let is_local = lookup.0 == Mode::Cached && function.keeps_copies;
    let found = if is_local { hit::<G, _, O>(function, &key) } else { None };
    if let Some(value) = found {
        return SharedStep::Return(coded.outcome.returned(value));
    }
    SharedStep::Run(SharedCall::new(function, lookup, coded, identity, key.into_key(), true))
}

/// A call that was not answered from this process, or one that the companion asks about.
pub struct SharedCall<O: Outcome> {
    call: Call<O>,
    coding: Coding<O::Stored>,
    /// Absent if the backend has nothing to do with it.
    remote: Option<(&'static Remote, RemoteKey)>,
}

/// The same, with what computes anew in the background what is served meanwhile.
pub struct RenewedCall<O: Outcome> {
    call: SharedCall<O>,
    renewer: Option<Renewer>,
}

impl<O: Outcome> RenewedCall<O> {
    /// Answers the call, with `body` where it must be.
    pub fn run(self, body: impl FnOnce() -> O::Returned) -> O::Returned {
        self.call.run_renewed(self.renewer, body)
    }

    /// The same for a body that is awaited.
    pub async fn run_async(self, body: impl AsyncFnOnce() -> O::Returned) -> O::Returned {
        self.call.run_renewed_async(self.renewer, body).await
    }
}

impl<O: Outcome> SharedCall<O> {
    #[expect(clippy::needless_pass_by_value, reason = "the expansion hands over what it has made")]
    #[inline(never)]
    pub(crate) fn new<G: ?Sized, P: EncodedKey>(
        function: &'static Function,
        lookup: Lookup,
        coded: Coded<O>,
        identity: PhantomData<G>,
        key: P,
        may_be_refused: bool,
    ) -> Self {
        let Coded { outcome, coding } = coded;
        let remote = Some(function.state()).filter(|_| lookup.0 != Mode::Bypass).and_then(|state| {
            let remote = state.remote()?;
            let is_refused = may_be_refused && remote.is_refused();
            // A copy has a name also where the backend is not asked.
            if is_refused && !function.keeps_copies {
                return None;
            }
            // A type that says that it has no encoding cannot have an entry either.
            let Ok(encoded) = caught(|| Ok(encode::<G, P>(&key, remote.place.as_deref())?)) else {
                remote.is_unencodable(&remote.counts.errors);
                return None;
            };
            Some((remote, remote.key(encoded, &key.tags()), is_refused))
        });
        let copied = remote.as_ref().filter(|_| function.keeps_copies);
        let tags = || [copied.map_or_else(String::new, |(_, key, _)| key.name.clone())];
        let call = Call::new(function, lookup, outcome, identity, &tagged(key, &tags));
        let remote = remote.filter(|(.., is_refused)| !is_refused).map(|(remote, key, _)| (remote, key));
        Self { call, coding, remote }
    }
}

impl<O: Outcome> SharedCall<O> {
    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.call = self.call.timeout(timeout);
        self
    }

    #[must_use]
    pub fn timeout_of(mut self, timeout: impl Fn(&O::Stored) -> Duration + Send + Sync + 'static) -> Self {
        self.call = self.call.timeout_of(timeout);
        self
    }

    #[must_use]
    pub fn cache_if(mut self, rule: impl Fn(&O::Stored) -> bool + Send + Sync + 'static) -> Self {
        self.call = self.call.cache_if(rule);
        self
    }

    #[must_use]
    pub fn weigh(mut self, rule: impl Fn(&O::Stored) -> usize + Send + Sync + 'static) -> Self {
        self.call = self.call.weigh(rule);
        self
    }

    /// What is served meanwhile is computed anew in the background; `job` makes copies of the arguments for that,
    /// and a call with them.
    #[must_use]
    pub fn background<J>(self, job: impl FnOnce() -> J) -> RenewedCall<O>
    where
        J: FnOnce() -> O::Returned + Send + 'static,
    {
        let renewer = self.remote.as_ref().map(|_| Renewer::new(job()));
        RenewedCall { call: self, renewer }
    }

    /// The same for a call that is awaited.
    #[must_use]
    pub fn background_async<F>(self, job: impl FnOnce() -> F) -> RenewedCall<O>
    where
        F: Future<Output = O::Returned> + Send + 'static,
    {
        let renewer = self.remote.as_ref().map(|_| Renewer::new_async(job()));
        RenewedCall { call: self, renewer }
    }

    #[expect(clippy::type_complexity, reason = "they are taken apart at once")]
    pub(super) fn into_parts(self) -> (Call<O>, Coding<O::Stored>, Option<(&'static Remote, RemoteKey)>) {
        (self.call, self.coding, self.remote)
    }

    /// The handle of the entry; `call` is the call itself.
    pub fn handle<F>(self, call: F) -> Handle<Self, F> {
        Handle::new(self, call)
    }

    /// The same for a call that is awaited.
    pub fn handle_async<F>(self, call: F) -> AsyncHandle<Self, F> {
        AsyncHandle::new(self, call)
    }

    /// Answers the call, with `body` where it must be.
    pub fn run(self, body: impl FnOnce() -> O::Returned) -> O::Returned {
        self.run_renewed(None, body)
    }

    /// The same for a body that is awaited.
    pub async fn run_async(self, body: impl AsyncFnOnce() -> O::Returned) -> O::Returned {
        self.run_renewed_async(None, body).await
    }

    fn run_renewed(self, renewer: Option<Renewer>, body: impl FnOnce() -> O::Returned) -> O::Returned {
        self.run_once(renewer, &mut Once(Some(body)))
    }

    /// One function for all bodies of functions that have the same types.
    #[inline(never)]
    fn run_once(self, mut renewer: Option<Renewer>, body: &mut dyn Body<O::Returned>) -> O::Returned {
        let Self { mut call, coding, remote } = self;
        loop {
            match call.turn(false) {
                Turn::Return(value) => return value,
                Turn::Bypass => return body.run(),
                Turn::Compute(Begun { number, old, start, entered: _entered, .. }) => {
                    let computation = Computation::begin(&call, number, old, start, None);
                    let body = async || body.run();
                    return blocking(through(
                        computation,
                        coding,
                        remote.as_ref(),
                        renewer.take(),
                        Way::Blocking,
                        body,
                    ));
                }
                Turn::Wait(flight, _waiting) => {
                    if let Some(value) = call.after(flight.wait()) {
                        return value;
                    }
                }
            }
        }
    }

    async fn run_renewed_async(
        self,
        mut renewer: Option<Renewer>,
        body: impl AsyncFnOnce() -> O::Returned,
    ) -> O::Returned {
        let Self { mut call, coding, remote } = self;
        loop {
            match call.turn(true) {
                Turn::Return(value) => return value,
                Turn::Bypass => return body().await,
                Turn::Compute(Begun { number, old, start, course, flight, entered }) => {
                    drop(entered);
                    let Some(flight) = flight else {
                        unreachable!("there is a flight, since it was asked for")
                    };
                    let computation = Computation::begin(&call, number, old, start, Some(course.clone()));
                    let waker = Waker::from(Arc::clone(&flight));
                    // Its state is of some thousand bytes, which would be moved wherever the caller moves its own.
                    let mut through = Box::pin(through(
                        computation,
                        coding,
                        remote.as_ref(),
                        renewer.take(),
                        Way::Awaited,
                        body,
                    ));
                    let polled = std::future::poll_fn(|context| {
                        flight.poll(&course, &waker, through.as_mut(), context)
                    });
                    return polled.await;
                }
                Turn::Wait(flight, _waiting) => {
                    if let Some(value) = call.after(flight.ended().await) {
                        return value;
                    }
                }
            }
        }
    }
}

/// What a computation is to do after what it has found in the backend.
enum Found<'a, O: Outcome> {
    Returned(O::Returned),
    Compute(Box<ToCompute<'a, O>>),
}

/// A computation whose body is to run.
struct ToCompute<'a, O: Outcome> {
    computation: Computation<'a, O>,
    /// With it the value may be written.
    ticket: Option<Ticket>,
    /// What may stand in for it, if the body fails.
    old: Option<Kept<O::Stored>>,
}

impl<'a, O: Outcome> Found<'a, O> {
    fn compute(
        computation: Computation<'a, O>,
        ticket: Option<Ticket>,
        old: Option<Kept<O::Stored>>,
    ) -> Self {
        Self::Compute(Box::new(ToCompute { computation, ticket, old }))
    }
}

/// Looks the key of a computation up in its backend, and serves what is there, or lets it be computed anew.
async fn find<'a, O: Outcome>(
    mut computation: Computation<'a, O>,
    coding: Coding<O::Stored>,
    (remote, key): &(&'static Remote, RemoteKey),
    renewer: Option<Renewer>,
    way: Way,
) -> Found<'a, O> {
    let call = computation.call();
    let mut patience = remote.lease.map(Patience::new);
    // Once: what is fenced again and again is not to be looked up for ever.
    let mut may_begin_again = true;
    loop {
        let fetched = remote.fetch(way, key, coding, call.query.wanted()).await;
        let (kept, mut ticket) = match remote.counted(fetched, call.query.wanted()) {
            Fetched::Value(kept, ticket) => (kept, ticket),
            Fetched::Nothing(ticket) => {
                if may_begin_again && computation.begins_again() {
                    may_begin_again = false;
                    // Others wait for who has a claim: it goes on, and what it stores is a miss at worst.
                    if !ticket.is_claimed() {
                        continue;
                    }
                }
                return match Box::pin(computation.await_renewal(&ticket, way)).await {
                    Some(returned) => Found::Returned(computation.settle(returned, None, true).returned),
                    None => Found::compute(computation, Some(ticket), None),
                };
            }
            Fetched::Unknown => return Found::compute(computation, None, None),
        };
        // What is computed aside is to be, by the draw of who has left it to this call.
        let draw = if computation.is_aside() { FURTHEST_DRAW } else { call.query.draw };
        let ahead = call.query.ahead(draw, kept.cost, ValueRef::new(&kept.value));
        let freshness = kept.freshness(remote, ahead);
        let service = computation.service(freshness);
        // Who would wait does so no longer than it must.
        if service == Service::Serve
            || service == Service::Wait && call.query.state.policy().max_wait().is_some()
        {
            return Found::Returned(serve(computation, (remote, key), kept, freshness, way).await);
        }
        if may_begin_again && computation.begins_again() {
            may_begin_again = false;
            continue;
        }
        if computation.can_be_set_aside(freshness, renewer.is_some()) {
            if let Some(renewer) = renewer {
                return Found::Returned(
                    Box::pin(computation.hand_over(kept.value, freshness, renewer, way)).await,
                );
            }
            computation.set_aside(&kept.value);
        }
        let next = match Box::pin(remote.renew(way, key, &mut ticket)).await {
            // Who had the claim before has stored a new value, and let it go.
            Leave::Given if Box::pin(remote.is_overtaken(way, key, &mut ticket)).await => continue,
            Leave::Given => Next::Compute,
            Leave::Taken(number) if !freshness.is_served_meanwhile() => match &mut patience {
                Some(patience) => patience.claimed(number.unwrap_or_default(), Instant::now()),
                None => Next::Compute,
            },
            Leave::Taken(_) | Leave::BacksOff => {
                let returned = serve(computation, (remote, key), kept, freshness, way).await;
                call.query.stand_back();
                return Found::Returned(returned);
            }
        };
        if let Next::Pause(time) = next {
            way.sleep(time).await;
            continue;
        }
        computation.replaces(freshness);
        return Found::compute(computation, Some(ticket), Some(kept));
    }
}

/// Answers a computation with what was found. While that is fresh, this process keeps a copy of it, and keeps it from
/// becoming idle.
pub(super) async fn serve<O: Outcome>(
    computation: Computation<'_, O>,
    (remote, key): (&'static Remote, &RemoteKey),
    kept: Kept<O::Stored>,
    freshness: Freshness,
    way: Way,
) -> O::Returned {
    if freshness == Freshness::Fresh {
        remote.touch(way, key, &kept).await;
    }
    let call = computation.call();
    let copy = match (freshness, kept.left(remote)) {
        (Freshness::Fresh, left) => copy_of(call, &kept.value, left, kept.cost),
        // Somebody computes it anew.
        (Freshness::Early, left) => copy_of(call, &kept.value, left, 0),
        _ => {
            call.query.state.rare.stale.add(1);
            None
        }
    };
    computation.settle(call.outcome.returned(kept.value), copy, true).returned
}

/// The computation of a call: what the backend has, or else the body, whose value goes to both.
async fn through<O: Outcome>(
    computation: Computation<'_, O>,
    coding: Coding<O::Stored>,
    remote: Option<&(&'static Remote, RemoteKey)>,
    renewer: Option<Renewer>,
    way: Way,
    body: impl AsyncFnOnce() -> O::Returned,
) -> O::Returned {
    let found = match remote {
        Some(remote) => find(computation, coding, remote, renewer, way).await,
        None => Found::compute(computation, None, None),
    };
    let ToCompute { mut computation, mut ticket, old } = match found {
        Found::Returned(returned) => return returned,
        Found::Compute(to_compute) => *to_compute,
    };
    let call = computation.call();
    computation.restart();
    let ended = ended(old.is_some(), body()).await;
    if ended.is_ok() {
        computation.stop();
    }
    let has_failed = ended.as_ref().map_or(true, |returned| call.outcome.is_error(returned));
    if has_failed && let Some((remote, key)) = remote {
        if let Some(ticket) = &mut ticket {
            Box::pin(remote.back_off(way, key, ticket)).await;
        }
        let old = match old {
            Some(old) if !computation.is_fenced() => Box::pin(remote.fall_back(way, key, coding, old)).await,
            _ => None,
        };
        if let Some(value) = old {
            return computation.fall_back_to(value, ended);
        }
    }
    let returned = ended.unwrap_or_else(|panic| resume_unwind(panic));
    Box::pin(finish(computation, coding, remote.zip(ticket), way, returned)).await
}

/// What becomes of a value that a body has returned; where there is leave for it, it goes to the backend, too.
pub(super) async fn finish<O: Outcome>(
    mut computation: Computation<'_, O>,
    coding: Coding<O::Stored>,
    leave: Option<(&(&'static Remote, RemoteKey), Ticket)>,
    way: Way,
    returned: O::Returned,
) -> O::Returned {
    let call = computation.call();
    let admitted = computation.admit(&returned);
    let Some(((remote, key), ticket)) = leave else {
        // Nothing is known of what other processes do; a copy lives no longer than it may.
        let copy = admitted.and_then(|new| shortened(call, new, computation.took()));
        return computation.settle(returned, copy, false).returned;
    };
    let mut written = Written::NotStored;
    let mut copy = None;
    match admitted {
        Some(new) if !computation.is_fenced() => {
            if let Ok(payload) = coding.encode(&new.value) {
                let (ttl, cost) = (time_left(call.query.state, new.stay.deadline), computation.took());
                let value = Encoding { codec: coding.id, payload: &payload, ttl, cost };
                written = remote.store(way, key, value, ticket).await;
            } else {
                remote.is_unencodable(&remote.counts.undecodable);
                remote.abandon(way, key, ticket).await;
            }
            if written == Written::Overtaken {
                computation.is_overtaken();
            } else {
                copy = shortened(call, new, computation.took());
            }
        }
        _ => remote.abandon(way, key, ticket).await,
    }
    let Settled { returned, fenced } = computation.settle(returned, copy, written == Written::Stored);
    if fenced && written == Written::Stored {
        remote.undo(way, key).await;
    }
    returned
}

/// The copy of a value that this process keeps, if it does; it took so long to compute.
fn shortened<O: Outcome>(call: &Call<O>, new: NewValue<O::Stored>, cost: u64) -> Option<NewValue<O::Stored>> {
    let state = call.query.state;
    let NewValue { value, stay: Stay { deadline, weight } } = new;
    let fresh = deadline.saturating_sub(state.policy().windows().longest());
    // Past its timeout the backend is asked.
    let left = (deadline != NEVER).then(|| fresh.saturating_sub(state.store.clock.now()));
    let deadline = copied_until(&call.query, ValueRef::new(&value), left, cost)?;
    Some(NewValue { value, stay: Stay { deadline, weight } })
}

/// The copy of a value from the backend that is fresh for so many nanoseconds.
fn copy_of<O: Outcome>(
    call: &Call<O>,
    value: &O::Stored,
    left: Option<u64>,
    cost: u64,
) -> Option<NewValue<O::Stored>> {
    let deadline = copied_until(&call.query, ValueRef::new(value), left, cost)?;
    let weight = call.query.rules.weight_of(ValueRef::new(value));
    Some(NewValue { value: value.clone(), stay: Stay { deadline, weight } })
}

/// Until when the copy of a value that is fresh for so long answers.
fn copied_until(query: &Query, value: ValueRef<'_>, left: Option<u64>, cost: u64) -> Option<Moment> {
    let local = nanoseconds(query.state.function.local_timeout()?);
    // Whichever call asks for it, whatever that will draw.
    let ahead = query.ahead(FURTHEST_DRAW, cost, value);
    let most = query.state.policy().copy(left, ahead).min(local);
    Some(query.state.store.clock.now().saturating_add(most))
}

/// How long until a moment, unless it never comes.
fn time_left(state: &State, deadline: Moment) -> Option<Duration> {
    let left = deadline.saturating_sub(state.store.clock.now()).max(1);
    (deadline != NEVER).then(|| Duration::from_nanos(left))
}

/// A value that was put, ready to be stored.
struct Prepared<S> {
    new: NewValue<S>,
    payload: Option<Vec<u8>>,
    ttl: Option<Duration>,
}

impl<O: Outcome> SharedCall<O> {
    fn is_enabled(&self) -> bool {
        self.call.query.state.store.is_enabled()
    }

    /// In this process first: what is being computed here must be fenced before the backend is asked. And once
    /// more when that is done, since a call that began meanwhile may have read what was still there.
    async fn invalidate_in(&self, way: Way) -> bool {
        let here = self.call.invalidate();
        let Some((remote, key)) = &self.remote else { return here };
        let there = remote.invalidate(way, key, self.coding.id).await;
        self.call.invalidate();
        there || here
    }

    async fn peek_in(&self, way: Way) -> Option<O::Returned> {
        if let Some(value) = self.call.peek() {
            return Some(value);
        }
        let (remote, key) = self.remote.as_ref().filter(|_| self.is_enabled())?;
        let value = remote.peek(way, key, self.coding).await?;
        Some(self.call.outcome.returned(value))
    }

    fn prepare(&self, value: &O::Returned) -> Option<Prepared<O::Stored>> {
        if !self.is_enabled() {
            return None;
        }
        let now = self.call.query.state.store.clock.now();
        let new = self.call.admit(value, now)?;
        let payload = self.coding.encode(&new.value).ok();
        let ttl = time_left(self.call.query.state, new.stay.deadline);
        Some(Prepared { new, payload, ttl })
    }

    async fn put_in(self, way: Way, prepared: Option<Prepared<O::Stored>>) {
        let Self { call, coding, remote, .. } = self;
        let Some(Prepared { new, payload, ttl }) = prepared else {
            call.put_copy(None);
            return;
        };
        if let Some((remote, key)) = remote {
            call.invalidate();
            if let Some(payload) = payload {
                let value = Encoding { codec: coding.id, payload: &payload, ttl, cost: 0 };
                remote.put(way, &key, value).await;
            } else {
                remote.is_unencodable(&remote.counts.undecodable);
                remote.invalidate(way, &key, coding.id).await;
            }
        }
        // A call that began meanwhile may have read what was still there.
        let copy = shortened(&call, new, 0);
        call.put_copy(copy);
    }
}

impl<O: Outcome> SharedCall<O> {
    /// What the user wrote may have panicked on the new value, which makes the old one no truer.
    async fn update_in(self, way: Way, prepared: thread::Result<Option<Prepared<O::Stored>>>) {
        match prepared {
            Ok(Some(prepared)) => self.put_in(way, Some(prepared)).await,
            Ok(None) => drop(self.invalidate_in(way).await),
            Err(panic) => {
                self.invalidate_in(way).await;
                resume_unwind(panic);
            }
        }
    }
}

impl<O: Outcome> Entry for SharedCall<O> {
    type Returned = O::Returned;

    fn function(&self) -> &'static Function {
        self.call.query.function
    }

    fn invalidate(&self) -> bool {
        blocking(self.invalidate_in(Way::Blocking))
    }

    fn peek(&self) -> Option<O::Returned> {
        blocking(self.peek_in(Way::Blocking))
    }

    fn put(self, value: O::Returned) {
        let prepared = self.prepare(&value);
        blocking(self.put_in(Way::Blocking, prepared));
    }

    async fn invalidate_async(self) -> bool {
        self.invalidate_in(Way::Awaited).await
    }

    async fn peek_async(self) -> Option<O::Returned> {
        self.peek_in(Way::Awaited).await
    }

    fn put_async(self, value: O::Returned) -> impl Future<Output = ()> + Send {
        let prepared = self.prepare(&value);
        self.put_in(Way::Awaited, prepared)
    }

    fn update(self, value: O::Returned) {
        let prepared = catch_unwind(AssertUnwindSafe(|| self.prepare(&value)));
        blocking(self.update_in(Way::Blocking, prepared));
    }

    fn update_async(self, value: O::Returned) -> impl Future<Output = ()> + Send {
        let prepared = catch_unwind(AssertUnwindSafe(|| self.prepare(&value)));
        self.update_in(Way::Awaited, prepared)
    }
}
