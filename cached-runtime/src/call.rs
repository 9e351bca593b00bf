//! One call: lookup → flight → body → store.

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::marker::PhantomData;
use std::pin::pin;
use std::sync::Arc;
use std::task::Waker;
use std::time::{Duration, Instant};

use sdd::Guard;

use crate::ask::Ask;
use crate::circle::{self, Computing, Waiting};
use crate::computation::{Computation, Delivery, Rules, Timeout, admit, after_store};
use crate::epoch::{self, with_guard};
use crate::flight::{Ending, Flight};
use crate::function::{Function, State};
use crate::handle::{AsyncHandle, Handle};
use crate::key::Part;
use crate::outcome::Outcome;
use crate::stats::Cells;
use crate::store::janitor;
use crate::store::table::{NewEntry, Table};

/// What to do with what may be stored.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Mode {
    /// Look it up; compute and store it if it is not there.
    Cached,
    /// Compute and store it.
    Refresh,
    /// Just compute.
    Bypass,
}

/// The conditions of one call: `bypass_if`, `refresh_if`.
#[derive(Clone, Copy)]
pub struct Lookup(Mode);

impl Lookup {
    #[expect(clippy::new_without_default, reason = "written by the attribute alone")]
    #[inline]
    #[must_use]
    pub const fn new() -> Self {
        Self(Mode::Cached)
    }

    #[inline]
    #[must_use]
    pub const fn bypass_if(self, yes: bool) -> Self {
        if yes { Self(Mode::Bypass) } else { self }
    }

    /// Has no effect on a call that bypasses the cache.
    #[inline]
    #[must_use]
    pub const fn refresh_if(self, yes: bool) -> Self {
        match self.0 {
            Mode::Cached if yes => Self(Mode::Refresh),
            _ => self,
        }
    }
}

thread_local! {
    /// The function whose next call on this thread, the very next one, has these conditions.
    static FORCED: Cell<Option<(&'static Function, Lookup)>> = const { Cell::new(None) };
}

/// Forces the conditions of the next call until the guard is dropped.
pub(crate) fn force(function: &'static Function, lookup: Lookup) -> Forced {
    function.exceptions.begin();
    Forced { function, outer: FORCED.replace(Some((function, lookup))) }
}

pub(crate) struct Forced {
    function: &'static Function,
    outer: Option<(&'static Function, Lookup)>,
}

impl Drop for Forced {
    fn drop(&mut self) {
        FORCED.set(self.outer.take());
        self.function.exceptions.end();
    }
}

/// Polls a call for the first time under conditions; the call takes note of them at once.
pub(crate) async fn forced<F: Future>(function: &'static Function, lookup: Lookup, call: F) -> F::Output {
    let mut call = pin!(call);
    let mut first = true;
    poll_fn(|context| {
        let _forced = std::mem::take(&mut first).then(|| force(function, lookup));
        call.as_mut().poll(context)
    })
    .await
}

/// The conditions forced on this call, if they are; they hold once.
fn take_forced(function: &'static Function) -> Option<Lookup> {
    let (forced, lookup) = FORCED.get()?;
    std::ptr::eq(forced, function).then(|| {
        FORCED.set(None);
        lookup
    })
}

/// The conditions of a call to which something exceptional may apply.
#[cold]
fn conditions(function: &'static Function, state: &State, lookup: Lookup) -> Lookup {
    let lookup = take_forced(function).unwrap_or(lookup);
    lookup.bypass_if(!state.store.is_enabled())
}

/// What a lookup found.
pub enum Step<O: Outcome, K: Owned> {
    Return(O::Returned),
    Run(Call<O, K>),
}

/// What an owned key is.
pub trait Owned: Send + Sync + 'static {}
impl<K: Send + Sync + 'static> Owned for K {}

pub(crate) type TableOf<O, K> =
    Table<K, <O as Outcome>::Stored, Delivery<<O as Outcome>::Stored, <O as Outcome>::Shared>>;
pub(crate) type FlightOf<O> = Flight<Delivery<<O as Outcome>::Stored, <O as Outcome>::Shared>>;

/// The part of a call that is made every time: looks it up.
#[expect(clippy::inline_always, reason = "a hit is cheaper where its value need not pass through memory")]
#[inline(always)]
pub fn begin<G: ?Sized, P: Part, O: Outcome>(
    function: &'static Function,
    outcome: O,
    identity: PhantomData<G>,
    key: P,
) -> Step<O, P::Owned> {
    begin_if(Lookup::new(), function, outcome, identity, key)
}

/// The same under conditions.
#[expect(clippy::inline_always, reason = "as above")]
#[expect(clippy::needless_pass_by_value, reason = "the expansion hands over what it has made")]
#[inline(always)]
pub fn begin_if<G: ?Sized, P: Part, O: Outcome>(
    lookup: Lookup,
    function: &'static Function,
    outcome: O,
    identity: PhantomData<G>,
    key: P,
) -> Step<O, P::Owned> {
    let state = function.state();
    let lookup = if function.exceptions.any() { conditions(function, state, lookup) } else { lookup };
    let found = if lookup.0 == Mode::Cached { hit::<G, _, O>(state, &key) } else { None };
    match found {
        Some(value) => Step::Return(outcome.returned(value)),
        None => Step::Run(Call::new(function, lookup, outcome, identity, &key)),
    }
}

/// The value of a key that is there and fresh.
#[expect(clippy::inline_always, reason = "as above")]
#[inline(always)]
fn hit<G: ?Sized, P: Part, O: Outcome>(state: &'static State, key: &P) -> Option<O::Stored> {
    let cells = Cells::of_this_thread()?;
    let table: &TableOf<O, P::Owned> = state.table::<G, P, _, _>();
    let hash = table.hash_of(key);
    // The guard is a barrier: what can be known before it costs less before it.
    let now = table.now();
    let guard = Guard::new();
    let value = table.hit(hash, |owned| key.matches(owned), now, &guard)?.clone();
    table.hits.add_one(cells);
    Some(value)
}

/// A call that was not answered from the store, or one that the companion asks about.
pub struct Call<O: Outcome, K: Owned> {
    function: &'static Function,
    state: &'static State,
    /// Absent if the call is to be no more than its body.
    target: Option<Target<O, K>>,
    /// Compute, whatever is stored or being computed.
    refresh: bool,
    /// Compute without waiting for anybody.
    alone: bool,
    /// Whether its miss has been counted.
    counted: bool,
    outcome: O,
    rules: Rules<O::Stored>,
}

/// What a call looks for, and where.
struct Target<O: Outcome, K: Owned> {
    table: &'static TableOf<O, K>,
    hash: u64,
    key: K,
}

impl<O: Outcome, K: Owned> Target<O, K> {
    fn is_key(&self) -> impl Fn(&K) -> bool + Copy {
        |owned| self.table.same(owned, &self.key)
    }
}

/// What a call is to do next.
enum Turn<O: Outcome, K: Owned> {
    Return(O::Returned),
    /// No more than the body.
    Bypass,
    /// The body, and then the store.
    Compute(Computation<O, K>),
    Wait(Call<O, K>, Arc<FlightOf<O>>, Waiting),
}

impl<O: Outcome, K: Owned> Call<O, K> {
    #[cold]
    #[inline(never)]
    pub(crate) fn new<G: ?Sized, P: Part<Owned = K>>(
        function: &'static Function,
        lookup: Lookup,
        outcome: O,
        _: PhantomData<G>,
        key: &P,
    ) -> Self {
        let state = function.state();
        let target = (lookup.0 != Mode::Bypass).then(|| {
            let table: &TableOf<O, K> = state.table::<G, P, _, _>();
            Target { table, hash: table.hash_of(key), key: key.own() }
        });
        Self {
            function,
            state,
            target,
            refresh: lookup.0 == Mode::Refresh,
            alone: !state.policy().single_flight(),
            counted: false,
            outcome,
            rules: Rules::NONE,
        }
    }

    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.rules.timeout = Some(Timeout::Fixed(timeout));
        self
    }

    #[must_use]
    pub fn timeout_of(mut self, timeout: impl Fn(&O::Stored) -> Duration + Send + Sync + 'static) -> Self {
        self.rules.timeout = Some(Timeout::Of(Box::new(timeout)));
        self
    }

    #[must_use]
    pub fn cache_if(mut self, rule: impl Fn(&O::Stored) -> bool + Send + Sync + 'static) -> Self {
        self.rules.cache_if = Some(Box::new(rule));
        self
    }

    #[must_use]
    pub fn weigh(mut self, rule: impl Fn(&O::Stored) -> usize + Send + Sync + 'static) -> Self {
        self.rules.weigh = Some(Box::new(rule));
        self
    }

    /// Answers what the companion asks.
    pub fn ask<A: Ask<fn() -> O::Returned>>(self, ask: A) -> A::Answer {
        ask.of(self)
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
    #[cold]
    #[inline(never)]
    pub fn run(mut self, body: impl FnOnce() -> O::Returned) -> O::Returned {
        loop {
            match self.turn() {
                Turn::Return(value) => return value,
                Turn::Bypass => return body(),
                Turn::Compute(computation) => {
                    let value = {
                        let _entered = circle::enter(computation.flight.clone());
                        body()
                    };
                    return computation.land(value);
                }
                Turn::Wait(call, flight, _waiting) => match call.after(flight.wait()) {
                    Ok(value) => return value,
                    Err(call) => self = call,
                },
            }
        }
    }

    /// The same for a body that is awaited.
    pub async fn run_async(mut self, body: impl AsyncFnOnce() -> O::Returned) -> O::Returned {
        loop {
            match self.turn() {
                Turn::Return(value) => return value,
                Turn::Bypass => return body().await,
                Turn::Compute(computation) => {
                    let flight = &computation.flight;
                    let waker = Waker::from(Arc::clone(flight));
                    let mut body = pin!(body());
                    let value = poll_fn(|context| flight.poll(&waker, body.as_mut(), context)).await;
                    return computation.land(value);
                }
                Turn::Wait(call, flight, _waiting) => match call.after(flight.ended().await) {
                    Ok(value) => return value,
                    Err(call) => self = call,
                },
            }
        }
    }

    /// Counts a miss once, and no earlier than when it has a flight: whoever sees so many misses knows
    /// that so many calls wait or compute.
    fn count_miss(&mut self) {
        if !self.refresh && !std::mem::replace(&mut self.counted, true) {
            self.state.counts.misses.add(1);
        }
    }

    /// Finds out what to do next, and takes up the computation if it falls to this call.
    fn turn(mut self) -> Turn<O, K> {
        let Some(target) = self.target.take().filter(|_| epoch::lives()) else {
            self.state.counts.bypassed.add(1);
            return Turn::Bypass;
        };
        let guard = Guard::new();
        let mut fenced = Vec::new();
        let mut writer = target.table.lock(&guard);
        if self.refresh {
            // What began earlier must not replace what is computed from here on.
            fenced = writer.flights.fence(target.hash, target.is_key());
        } else {
            // Whoever computed it may have stored it since the lookup.
            let now = target.table.now();
            if let Some(value) = target.table.hit(target.hash, target.is_key(), now, &guard) {
                drop(writer);
                self.count_miss();
                self.state.counts.coalesced.add(1);
                return Turn::Return(self.outcome.returned(value.clone()));
            }
            if !self.alone
                && let Some(flight) = writer.flights.join(target.hash, target.is_key())
            {
                self.count_miss();
                drop(writer);
                self.target = Some(target);
                return match Waiting::begin(flight.course()) {
                    Some(waiting) => Turn::Wait(self, flight, waiting),
                    // It would wait for itself.
                    None => Self { alone: true, ..self }.turn(),
                };
            }
        }
        let Target { table, hash, key } = target;
        let flight = writer.flights.begin(hash, key, !self.alone);
        self.count_miss();
        drop(writer);
        let Self { state, outcome, rules, .. } = self;
        let started = Instant::now();
        let computation = Computation { state, table, hash, outcome, rules, flight, started, landed: false };
        // What is dropped here may call the function, and must not wait for what has only begun; or
        // panic, and then the computation is lost.
        let entered = circle::enter(computation.flight.clone());
        drop(fenced);
        drop(guard);
        drop(entered);
        Turn::Compute(computation)
    }

    /// What to do after the flight that this call waited for.
    fn after(self, ending: &Ending<Delivery<O::Stored, O::Shared>>) -> Result<O::Returned, Self> {
        let returned = match ending {
            Ending::Landed(Some(Delivery::Stored(value))) => self.outcome.returned(value.clone()),
            Ending::Landed(Some(Delivery::NotStored(value))) => self.outcome.unshare(value),
            Ending::Landed(None) => return Err(Self { alone: true, ..self }),
            Ending::Lost => return Err(self),
        };
        self.state.counts.coalesced.add(1);
        Ok(returned)
    }
}

/// What the companion and the handle do with one key.
pub trait Entry: Sized {
    type Returned;
    #[doc(hidden)]
    fn function(&self) -> &'static Function;
    fn invalidate(&self) -> bool;
    fn peek(&self) -> Option<Self::Returned>;
    fn put(self, value: Self::Returned);
}

impl<O: Outcome, K: Owned> Entry for Call<O, K> {
    type Returned = O::Returned;

    fn function(&self) -> &'static Function {
        self.function
    }

    fn invalidate(&self) -> bool {
        let Some(target) = &self.target else { return false };
        let removed = with_guard(|guard| target.table.invalidate(target.hash, target.is_key(), guard));
        janitor::free();
        removed
    }

    fn peek(&self) -> Option<O::Returned> {
        let target = self.target.as_ref().filter(|_| self.state.store.is_enabled() && epoch::lives())?;
        let guard = Guard::new();
        let now = target.table.now();
        let value = target.table.peek(target.hash, target.is_key(), now, &guard)?;
        Some(self.outcome.returned(value.clone()))
    }

    fn put(self, value: O::Returned) {
        let Some(target) = self.target.filter(|_| self.state.store.is_enabled()) else { return };
        let admitted = admit(self.state, self.outcome, &self.rules, &value);
        let Target { table, hash, key } = target;
        let stored = with_guard(|guard| {
            let mut writer = table.lock(guard);
            // What is being computed must not replace the value.
            let fenced = writer.flights.fence(hash, |it| table.same(it, &key));
            let left = match admitted {
                Some(admitted) => {
                    table.insert(&mut writer, hash, admitted.with(key), guard).map(NewEntry::into_parts)
                }
                None => Some((Some(key), None)),
            };
            drop(writer);
            drop(fenced);
            left.is_none()
        });
        after_store(self.state, stored);
    }
}
