//! One call: lookup → flight → body → store.

use std::cell::Cell;
use std::future::{Future, poll_fn, ready};
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Poll, Waker};
use std::thread;
use std::time::Duration;

use sdd::Guard;

#[cfg(feature = "backend")]
use crate::backend::remote::Wanted;
use crate::circle::{self, Course, Entered, Waiting};
#[cfg(feature = "backend")]
use crate::clock::nanoseconds;
use crate::clock::{Moment, Reading};
use crate::computation::{Computation, Delivery, Old, Rules, Timeout, after_store, draw, rule};
use crate::epoch::{self, with_guard};
use crate::flight::{Ending, Flight};
use crate::function::{Function, State};
use crate::handle::{AsyncHandle, Handle};
use crate::key::Part;
use crate::outcome::Outcome;
use crate::policy::{Freshness, Service, service};
use crate::stats::Cells;
use crate::store::any::{AnyKey, KeyRef, ValueRef};
use crate::store::janitor;
use crate::store::shard::{Locked, Writer};
use crate::store::table::{AnyTable, NewValue, Stores, Table};

/// What to do with what may be stored.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mode {
    /// Look it up; compute and store it if it is not there.
    Cached,
    /// Compute and store it.
    Refresh,
    /// Begin the computation of this number, which is registered.
    Resume(u64),
    /// Just compute.
    Bypass,
}

/// For so long a process does not ask whether it is to compute anew what another one does.
#[cfg(feature = "backend")]
const STOOD_BACK: Duration = Duration::from_secs(1);

/// The conditions of one call: `bypass_if`, `refresh_if`.
#[derive(Clone, Copy)]
pub struct Lookup(pub(crate) Mode);

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
    Forced { outer: FORCED.replace(Some((function, lookup))) }
}

pub(crate) struct Forced {
    outer: Option<(&'static Function, Lookup)>,
}

impl Drop for Forced {
    fn drop(&mut self) {
        if let Some((function, _)) = FORCED.replace(self.outer.take()) {
            function.exceptions.end();
        }
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
        forced.exceptions.end();
        lookup
    })
}

/// The conditions of a call to which something exceptional may apply.
#[cold]
pub(crate) fn conditions(function: &'static Function, state: &State, lookup: Lookup) -> Lookup {
    let lookup = take_forced(function).unwrap_or(lookup);
    lookup.bypass_if(!state.store.is_enabled())
}

/// A value, once something else is gone whose drop may panic: what a function was about to return would
/// be leaked by that (rust-lang/rust#47949).
pub(crate) fn after_drop<T>(gone: impl Sized, value: T) -> T {
    drop(gone);
    value
}

/// What a lookup found.
pub enum Step<O: Outcome> {
    Return(O::Returned),
    Run(Call<O>),
}

pub(crate) type TableOf<O, P> = Table<<P as Part>::Owned, <O as Outcome>::Stored>;

impl<O: Outcome> Step<O> {
    /// Adds to the call, if there is one.
    #[inline]
    #[must_use]
    pub fn with(self, rules: impl FnOnce(Call<O>) -> Call<O>) -> Self {
        match self {
            Self::Return(value) => Self::Return(value),
            Self::Run(call) => Self::Run(rules(call)),
        }
    }
}

/// The part of a call that is made every time: looks it up.
#[expect(clippy::inline_always, reason = "a hit is cheaper where its value need not pass through memory")]
#[inline(always)]
pub fn begin<G: ?Sized, P: Part, O: Outcome>(
    function: &'static Function,
    outcome: O,
    identity: PhantomData<G>,
    key: P,
) -> Step<O> {
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
) -> Step<O> {
    let is_usual = lookup.0 == Mode::Cached && !function.exceptions.any();
    let found = if is_usual { hit::<G, _, O>(function, &key) } else { None };
    match found {
        Some(value) => Step::Return(outcome.returned(value)),
        None => miss(function, lookup, is_usual, outcome, identity, &key),
    }
}

/// The rest of it, for what was not found, or was not looked up as it is not usual.
#[cold]
#[inline(never)]
fn miss<G: ?Sized, P: Part, O: Outcome>(
    function: &'static Function,
    lookup: Lookup,
    is_usual: bool,
    outcome: O,
    identity: PhantomData<G>,
    key: &P,
) -> Step<O> {
    let mut lookup = lookup;
    let state = function.state();
    // It may have become so with the state.
    if function.exceptions.any() {
        lookup = conditions(function, state, lookup);
        if !is_usual
            && lookup.0 == Mode::Cached
            && let Some(value) = hit::<G, _, O>(function, key)
        {
            return Step::Return(outcome.returned(value));
        }
    }
    Step::Run(Call::new(function, lookup, outcome, identity, key))
}

/// The value of a key that is there and fresh. One function for all that have the same types.
#[inline(never)]
pub(crate) fn hit<G: ?Sized, P: Part, O: Outcome>(function: &'static Function, key: &P) -> Option<O::Stored> {
    let cells = Cells::of_this_thread()?;
    cells.count_call();
    let table: &TableOf<O, P> = function.state().table::<G, P, _>();
    let hash = table.base.hash_of(key);
    // The guard is a barrier: what can be known before it costs less before it.
    let now = table.base.now();
    let candidates = table.look(hash);
    if !candidates.are_any() {
        return None;
    }
    let guard = Guard::new();
    let value = table.hit(&candidates, |owned| key.matches(owned), now, &guard)?.clone();
    table.base.hits.add_one(cells);
    Some(value)
}

/// A call that was not answered from the store, or one that the companion asks about.
pub struct Call<O: Outcome> {
    pub(crate) query: Query,
    /// The table of what it looks for, if there is any.
    pub(crate) stores: Option<&'static dyn Stores<O::Stored>>,
    pub(crate) outcome: O,
    /// How its body is run where a value may be served in place of what fails: for most functions that is not compiled.
    pub(crate) guarded: Option<RunGuarded<O>>,
}

type RunGuarded<O> = fn(Computation<'_, O>, &mut dyn Body<Returned<O>>) -> Returned<O>;
type Returned<O> = <O as Outcome>::Returned;

/// A call, whatever its types.
#[expect(clippy::struct_excessive_bools, reason = "each of them goes with each of the others")]
pub(crate) struct Query {
    pub(crate) function: &'static Function,
    pub(crate) state: &'static State,
    /// Absent if the call is to be no more than its body.
    pub(crate) target: Option<Target>,
    /// Compute, whatever is stored or being computed.
    pub(crate) refresh: bool,
    /// The registered computation that it is to begin.
    pub(crate) resumes: Option<u64>,
    /// The number of the course that it computes within, if that is not its own.
    pub(crate) course: Option<u64>,
    /// Whether it is one of several, whose body computes nothing that is fresh.
    pub(crate) is_of_batch: bool,
    /// What it drew for [`ahead`](Self::ahead).
    pub(crate) draw: u64,
    pub(crate) rules: Rules,
    /// Whether what is stored is an `Err` or a `None`.
    pub(crate) is_negative: fn(ValueRef<'_>) -> bool,
    /// Compute without waiting for anybody.
    alone: bool,
    /// Whether its miss has been counted.
    counted: bool,
}

/// What a call looks for, and where.
pub(crate) struct Target {
    pub(crate) table: &'static dyn AnyTable,
    pub(crate) hash: u64,
    /// Until the call computes.
    key: Option<AnyKey>,
}

impl Target {
    fn is_key(&self) -> impl Fn(KeyRef<'_>) -> bool + Copy {
        self.table.base().keys.is(self.key.as_ref())
    }

    /// The same of one that can be the answer.
    pub(crate) fn is_live_key(&self) -> impl Fn(KeyRef<'_>) -> bool + Copy {
        let (is_key, keys) = (self.is_key(), self.table.base().keys);
        move |owned| is_key(owned) && keys.is_live(owned)
    }

    /// The key, for a computation that begins now.
    pub(crate) fn take_key(&mut self) -> Option<AnyKey> {
        let mut key = self.key.take()?;
        self.table.base().keys.renew(&mut key);
        Some(key)
    }

    /// What a call does about what it has found.
    pub(crate) fn service(&self, freshness: Freshness, writer: &mut Writer, now: Moment) -> Service {
        let is_running = writer.flights.is_running(self.hash, &self.is_live_key());
        service(freshness, is_running, writer.retries.backs_off(self.hash, now))
    }
}

/// A body that is run once, whatever its type: so that functions share the code around it. A trait of its own, as
/// each closure that is seen as a `dyn FnMut` brings a second copy of itself.
pub(crate) trait Body<R> {
    fn run(&mut self) -> R;
}

/// Until it has run.
pub(crate) struct Once<F>(pub(crate) Option<F>);

impl<R, F: FnOnce() -> R> Body<R> for Once<F> {
    fn run(&mut self) -> R {
        match self.0.take() {
            Some(body) => body(),
            None => has_run(),
        }
    }
}

#[cold]
#[inline(never)]
fn has_run() -> ! {
    unreachable!("a call runs its body once")
}

/// What a body has come to; its panic where that is wanted.
pub(crate) fn caught_if<R>(wanted: bool, body: impl FnOnce() -> R) -> thread::Result<R> {
    if wanted { catch_unwind(AssertUnwindSafe(body)) } else { Ok(body()) }
}

/// Runs a body; its panic is part of what it comes to where that is wanted.
pub(crate) async fn ended<R>(wanted: bool, body: impl Future<Output = R>) -> thread::Result<R> {
    let mut body = pin!(body);
    let polled = poll_fn(|context| match caught_if(wanted, || body.as_mut().poll(context)) {
        Ok(polled) => polled.map(Ok),
        Err(panic) => Poll::Ready(Err(panic)),
    });
    polled.await
}

/// What a call is to do next; `R` is what it returns, or what was found for that.
pub(crate) enum Turn<R> {
    Return(R),
    /// No more than the body.
    Bypass,
    /// The body, and then the store.
    Compute(Begun),
    Wait(Arc<Flight>, Waiting),
}

/// A computation that is known to others.
pub(crate) struct Begun {
    pub(crate) number: u64,
    pub(crate) old: Old,
    pub(crate) start: Reading,
    pub(crate) course: Course,
    /// There if it was asked for.
    pub(crate) flight: Option<Arc<Flight>>,
    pub(crate) entered: Entered,
}

impl Query {
    fn new(
        function: &'static Function,
        state: &'static State,
        lookup: Lookup,
        target: Option<Target>,
        is_negative: fn(ValueRef<'_>) -> bool,
    ) -> Self {
        Self {
            function,
            state,
            target,
            refresh: lookup.0 == Mode::Refresh,
            resumes: if let Mode::Resume(number) = lookup.0 { Some(number) } else { None },
            course: None,
            is_of_batch: false,
            draw: draw(state),
            rules: Rules::default(),
            is_negative,
            alone: !state.policy().single_flight(),
            counted: false,
        }
    }

    /// Finds out what to do next, and takes up the computation if it falls to this call; with a flight if
    /// it needs one by itself.
    fn turn<'g>(&mut self, needs_flight: bool, guard: &'g Guard) -> Turn<ValueRef<'g>> {
        loop {
            let Some((target, cells)) = self.target.as_ref().zip(Cells::of_this_thread()) else {
                return self.bypass();
            };
            let (table, base, hash) = (target.table, target.table.base(), target.hash);
            let start = self.state.store.clock.read();
            let now = start.store;
            let mut locked = table.lock(hash, guard);
            if let Some(number) = self.resumes.take()
                && locked.writer.flights.resume(hash, number, &target.is_key())
            {
                let old = Old::Answered;
                return Turn::Compute(leave(locked, hash, number, number, old, start, needs_flight));
            }
            let mut old = Old::Nothing;
            // Whoever computed it may have stored it since the lookup.
            let stored = if self.refresh {
                // What began earlier must not replace what is computed from here on.
                locked.writer.flights.fence(hash, &target.is_key());
                None
            } else if base.serves_ahead() {
                let ahead = |value: ValueRef<'_>| self.ahead(self.draw, base.cost(), value);
                let found = locked.servable(hash, &target.is_live_key(), &ahead, now);
                old = found.map_or(Old::Nothing, |(_, freshness)| {
                    if freshness.hides_errors() { Old::Fallback } else { Old::Served }
                });
                let is_again = self.course.is_some_and(|course| {
                    locked.writer.flights.runs_within(course, hash, &target.is_live_key())
                });
                let mut service = |freshness| target.service(freshness, &mut locked.writer, now);
                let is_enough = |freshness| self.is_of_batch && freshness == Freshness::Early;
                // A key that stands twice in a batch has one value.
                found.filter(|(_, it)| is_enough(*it) || !is_again && service(*it) == Service::Serve)
            } else {
                let value = locked.fresh(hash, &target.is_live_key(), now);
                value.map(|value| (value, Freshness::Fresh))
            };
            let joined = if self.refresh || self.alone || stored.is_some() {
                None
            } else {
                locked.writer.flights.join(hash, &target.is_live_key())
            };
            // Counted once, and no earlier than when it has its flight: whoever sees so many misses knows
            // that so many calls wait or compute.
            let is_hit = stored.is_some() && base.serves_ahead() && !self.counted;
            if !self.refresh && !is_hit && !std::mem::replace(&mut self.counted, true) {
                locked.writer.counts.misses += 1;
            }
            if let Some((value, freshness)) = stored {
                drop(locked);
                if is_hit {
                    self.count_hit(table, freshness, cells);
                } else {
                    self.state.rare.coalesced.add(1);
                }
                return Turn::Return(value);
            }
            if let Some((flight, number)) = joined {
                drop(locked);
                match Waiting::begin(number) {
                    Some(waiting) => return Turn::Wait(flight, waiting),
                    // It would wait for itself.
                    None => self.alone = true,
                }
                continue;
            }
            // It is gone before this call registers one of its own: to end it is to run foreign code.
            if base.serves_ahead()
                && let Some(overtaken) = locked.writer.flights.overtake(hash, &target.is_key())
            {
                drop(locked);
                if let Some(flight) = &overtaken.flight {
                    flight.end(Ending::Lost);
                }
                continue;
            }
            let key = self.target.as_mut().and_then(Target::take_key);
            let Some(key) = key else { unreachable!("a call computes once") };
            let number = cells.number_computation();
            let course = self.course.unwrap_or(number);
            locked.writer.flights.begin_within(course, hash, key, number, !self.alone);
            let begun = leave(locked, hash, number, course, old, start, needs_flight);
            if old != Old::Nothing {
                self.state.rare.revalidations.add(1);
            }
            return Turn::Compute(begun);
        }
    }

    fn bypass<R>(&self) -> Turn<R> {
        self.state.rare.bypassed.add(1);
        Turn::Bypass
    }

    pub(crate) fn count_hit(&self, table: &dyn AnyTable, freshness: Freshness, cells: &Cells) {
        match freshness {
            Freshness::Fresh | Freshness::Early => table.base().hits.add_one(cells),
            _ => self.state.rare.stale.add(1),
        }
    }

    /// Forgets the entry, and fences what is being computed for it; returns whether a fresh value was there.
    fn invalidate(&self) -> bool {
        let Some(target) = &self.target else { return false };
        let removed = with_guard(|guard| target.table.invalidate(target.hash, &target.is_key(), guard));
        janitor::free();
        removed
    }

    /// The value, if it is fresh now, with no trace left.
    fn peek<'g>(&self, guard: &'g Guard) -> Option<ValueRef<'g>> {
        let target = self.target.as_ref().filter(|_| self.state.store.is_enabled())?;
        let now = target.table.base().now();
        target.table.lock(target.hash, guard).peek(target.hash, &target.is_live_key(), now)
    }
}

/// Leaves the lock to compute.
fn leave(
    mut locked: Locked<'_>,
    hash: u64,
    number: u64,
    course: u64,
    old: Old,
    start: Reading,
    needs_flight: bool,
) -> Begun {
    let flight = if needs_flight { locked.writer.flights.flight_of(hash, number) } else { None };
    drop(locked);
    // What is dropped with the guard may call the function, and must not wait for what has only begun.
    let course = Course::begin(course);
    let entered = circle::enter(course.clone());
    Begun { number, old, start, course, flight, entered }
}

impl<O: Outcome> Call<O> {
    #[cold]
    #[inline(never)]
    pub(crate) fn new<G: ?Sized, P: Part>(
        function: &'static Function,
        lookup: Lookup,
        outcome: O,
        _: PhantomData<G>,
        key: &P,
    ) -> Self {
        let state = function.state();
        let mut stores: Option<&'static dyn Stores<O::Stored>> = None;
        let target = (lookup.0 != Mode::Bypass).then(|| {
            let table: &TableOf<O, P> = state.table::<G, P, _>();
            stores = Some(table);
            Target { table, hash: table.base.hash_of(key), key: Some(AnyKey::new(key.own())) }
        });
        let is_negative = |value: ValueRef<'_>| O::NEW.is_stored_negative(value.value());
        let query = Query::new(function, state, lookup, target, is_negative);
        Self { query, stores, outcome, guarded: None }
    }

    #[must_use]
    pub fn timeout(mut self, timeout: Duration) -> Self {
        self.query.rules.given().timeout = Some(Timeout::Fixed(timeout));
        if let Some(target) = &self.query.target {
            target.table.base().learn_timeout(timeout);
        }
        self
    }

    #[must_use]
    pub fn timeout_of(mut self, timeout: impl Fn(&O::Stored) -> Duration + Send + Sync + 'static) -> Self {
        self.query.rules.given().timeout = Some(Timeout::Of(rule(timeout)));
        self
    }

    #[must_use]
    pub fn cache_if(mut self, is_stored: impl Fn(&O::Stored) -> bool + Send + Sync + 'static) -> Self {
        self.query.rules.given().cache_if = Some(rule(is_stored));
        self
    }

    #[must_use]
    pub fn weigh(mut self, weight: impl Fn(&O::Stored) -> usize + Send + Sync + 'static) -> Self {
        self.query.rules.given().weigh = Some(rule(weight));
        self
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
        self.run_once(&mut Once(Some(body)))
    }

    /// One function for all bodies of functions that have the same types.
    #[cold]
    #[inline(never)]
    fn run_once(mut self, body: &mut dyn Body<O::Returned>) -> O::Returned {
        loop {
            match self.turn(false) {
                Turn::Return(value) => return after_drop(self, value),
                Turn::Bypass => return body.run(),
                Turn::Compute(Begun { number, old, start, entered: _entered, .. }) => {
                    let computation = Computation::begin(&self, number, old, start, None);
                    let value = match self.guarded {
                        Some(run) => run(computation, body),
                        None => computation.land(body.run()),
                    };
                    return after_drop(self, value);
                }
                Turn::Wait(flight, _waiting) => {
                    let value = self.after(flight.wait());
                    if let Some(value) = after_drop(flight, value) {
                        return after_drop(self, value);
                    }
                }
            }
        }
    }

    /// The same for a body that is awaited.
    pub async fn run_async(mut self, body: impl AsyncFnOnce() -> O::Returned) -> O::Returned {
        loop {
            match self.turn(true) {
                Turn::Return(value) => return after_drop(self, value),
                Turn::Bypass => return body().await,
                Turn::Compute(Begun { number, old, start, course, flight, entered }) => {
                    drop(entered);
                    let Some(flight) = flight else {
                        unreachable!("there is a flight, since it was asked for")
                    };
                    let computation = Computation::begin(&self, number, old, start, Some(course.clone()));
                    let waker = Waker::from(Arc::clone(&flight));
                    let mut body = pin!(body());
                    let polled = poll_fn(|context| flight.poll(&course, &waker, body.as_mut(), context));
                    // Awaited on its own: a call that is dropped here drops its body before those who wait go on.
                    let ended = ended(old == Old::Fallback, polled).await;
                    let value = computation.conclude(ended);
                    return after_drop((flight, waker, self), value);
                }
                Turn::Wait(flight, _waiting) => {
                    let value = self.after(flight.ended().await);
                    if let Some(value) = after_drop(flight, value) {
                        return after_drop(self, value);
                    }
                }
            }
        }
    }

    /// What to do next; with a flight if it needs one by itself.
    pub(crate) fn turn(&mut self, needs_flight: bool) -> Turn<O::Returned> {
        let Some(guard) = epoch::guard() else { return self.query.bypass() };
        match self.query.turn(needs_flight, &guard) {
            Turn::Return(value) => Turn::Return(self.outcome.returned(value.value::<O::Stored>().clone())),
            Turn::Bypass => Turn::Bypass,
            Turn::Compute(begun) => Turn::Compute(begun),
            Turn::Wait(flight, waiting) => Turn::Wait(flight, waiting),
        }
    }

    /// What is returned after the flight that this call waited for, if anything.
    pub(crate) fn after(&mut self, ending: &Ending) -> Option<O::Returned> {
        let returned = self.delivered(ending);
        if returned.is_some() {
            self.query.state.rare.coalesced.add(1);
        } else if let Ending::Landed(_) = ending {
            self.query.alone = true;
        }
        returned
    }

    /// What a flight has brought.
    pub(crate) fn delivered(&self, ending: &Ending) -> Option<O::Returned> {
        let Ending::Landed(Some(delivered)) = ending else { return None };
        match delivered.downcast_ref::<Delivery<O::Stored, O::Shared>>()? {
            Delivery::Stored(value) => Some(self.outcome.returned(value.clone())),
            Delivery::NotStored(value) => Some(self.outcome.unshare(value)),
        }
    }
}

#[cfg(feature = "backend")]
impl Query {
    /// Another process computes the key anew, or its body has failed there: it is left alone for a while.
    pub(crate) fn stand_back(&self) {
        if let Some(Target { table, hash, .. }) = &self.target {
            let now = table.base().now();
            let until = now.saturating_add(nanoseconds(STOOD_BACK));
            with_guard(|guard| table.lock(*hash, guard).writer.retries.note(*hash, now, until));
        }
    }

    /// What it wants of a backend.
    pub(crate) fn wanted(&self) -> Wanted {
        match (self.refresh, self.alone) {
            (true, _) => Wanted::Ticket,
            (false, true) => Wanted::ValueNow,
            (false, false) => Wanted::Value,
        }
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
    fn invalidate_async(self) -> impl Future<Output = bool> + Send;
    fn peek_async(self) -> impl Future<Output = Option<Self::Returned>> + Send;
    /// What is done with the value itself is done at once.
    fn put_async(self, value: Self::Returned) -> impl Future<Output = ()> + Send;
    /// As [`put`](Self::put), but the old value goes even where the new one is not stored.
    fn update(self, value: Self::Returned);
    fn update_async(self, value: Self::Returned) -> impl Future<Output = ()> + Send;
}

impl<O: Outcome> Entry for Call<O> {
    type Returned = O::Returned;

    fn function(&self) -> &'static Function {
        self.query.function
    }

    fn invalidate(&self) -> bool {
        self.query.invalidate()
    }

    fn peek(&self) -> Option<O::Returned> {
        let guard = epoch::guard()?;
        let value = self.query.peek(&guard)?.value::<O::Stored>();
        Some(self.outcome.returned(value.clone()))
    }

    fn put(self, value: O::Returned) {
        let state = self.query.state;
        if state.store.is_enabled() {
            let now = state.store.clock.now();
            let admitted = self.admit(&value, now);
            let stored = self.put_copy(admitted);
            after_store(state, stored);
        }
    }

    async fn invalidate_async(self) -> bool {
        self.invalidate()
    }

    async fn peek_async(self) -> Option<O::Returned> {
        self.peek()
    }

    fn put_async(self, value: O::Returned) -> impl Future<Output = ()> + Send {
        self.put(value);
        ready(())
    }

    fn update(self, value: O::Returned) {
        self.invalidate();
        self.put(value);
    }

    fn update_async(self, value: O::Returned) -> impl Future<Output = ()> + Send {
        self.update(value);
        ready(())
    }
}

impl<O: Outcome> Call<O> {
    /// Stores a value, if there is one, whatever is being computed; returns whether it was stored.
    pub(crate) fn put_copy(self, admitted: Option<NewValue<O::Stored>>) -> bool {
        let Some((mut target, table)) = self.query.target.zip(self.stores) else { return false };
        let keys = target.table.base().keys;
        let hash = target.hash;
        let mut key = target.take_key();
        table.store(hash, admitted, &mut |locked| {
            // What is being computed must not replace the value.
            locked.writer.flights.fence(hash, &keys.is(key.as_ref()));
            key.take()
        })
    }
}
