//! A body that is running, and what becomes of the value that it returns.

use std::hash::BuildHasher;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use sdd::Guard;

use crate::call::{Body, Call, Query, Target, after_drop, caught_if};
use crate::circle::{self, Course, Entered};
#[cfg(feature = "backend")]
use crate::clock;
use crate::clock::{Moment, Reading, nanoseconds};
use crate::epoch::{self, with_guard};
#[cfg(feature = "backend")]
use crate::flight::Flights;
use crate::flight::{Delivered, Ending, Finished, Flight};
use crate::function::State;
use crate::outcome::Outcome;
use crate::policy::{FURTHEST_DRAW, RefreshAhead};
#[cfg(feature = "backend")]
use crate::policy::{Freshness, Service, service};
use crate::store::any::{AnyKey, ValueRef};
#[cfg(feature = "backend")]
use crate::store::any::{KeyRef, Keys};
use crate::store::janitor;
use crate::store::shard::{Locked, Stay, Writer};
use crate::store::table::NewValue;

/// What waiting callers get.
pub(crate) enum Delivery<S, D> {
    Stored(S),
    NotStored(D),
}

/// The values of a function decide with these what becomes of them. Most functions have none.
#[derive(Default)]
pub(crate) struct Rules(Option<Box<Given>>);

#[derive(Default)]
pub(crate) struct Given {
    pub(crate) timeout: Option<Timeout>,
    pub(crate) cache_if: Option<Rule<bool>>,
    pub(crate) weigh: Option<Rule<usize>>,
}

/// What a function says of its values.
pub(crate) type Rule<R> = Box<dyn Fn(ValueRef<'_>) -> R + Send + Sync>;

/// A rule, of those for whom its values are of whatever type.
pub(crate) fn rule<S: 'static, R>(of: impl Fn(&S) -> R + Send + Sync + 'static) -> Rule<R> {
    Box::new(move |value| of(value.value()))
}

pub(crate) enum Timeout {
    Fixed(Duration),
    Of(Rule<Duration>),
}

impl Rules {
    /// To be added to.
    pub(crate) fn given(&mut self) -> &mut Given {
        self.0.get_or_insert_default()
    }

    fn admit(&self, value: ValueRef<'_>) -> bool {
        self.0.as_ref().and_then(|given| given.cache_if.as_ref()).is_none_or(|rule| rule(value))
    }

    fn timeout_of(&self, value: ValueRef<'_>) -> Option<Duration> {
        match self.0.as_ref()?.timeout.as_ref()? {
            Timeout::Fixed(timeout) => Some(*timeout),
            Timeout::Of(rule) => Some(rule(value)),
        }
    }

    /// The timeout that does not depend on the value.
    fn fixed_timeout(&self) -> Option<Duration> {
        match self.0.as_ref()?.timeout {
            Some(Timeout::Fixed(timeout)) => Some(timeout),
            _ => None,
        }
    }

    pub(crate) fn weight_of(&self, value: ValueRef<'_>) -> usize {
        self.0.as_ref().and_then(|given| given.weigh.as_ref()).map_or(1, |rule| rule(value))
    }
}

/// What is there of a key while it is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Old {
    Nothing,
    /// A value that others are served.
    Served,
    /// A value that is the answer to the call itself, if its body fails.
    Fallback,
    /// A value that has answered the call.
    Answered,
}

impl Old {
    /// Whether somebody may get it if the body fails: the call itself, or those who wait.
    fn may_be_served(self) -> bool {
        matches!(self, Self::Fallback | Self::Answered)
    }
}

/// A body that is running, on behalf of one call and those who wait.
pub(crate) struct Computation<'a, O: Outcome> {
    call: &'a Call<O>,
    run: Run<'a>,
}

/// The same, whatever the body returns. One that ends without having landed is lost.
struct Run<'a> {
    query: &'a Query,
    number: u64,
    old: Old,
    /// Whether nobody waits for it but who has an old value.
    #[cfg(feature = "backend")]
    aside: bool,
    /// Whether something has happened to the key elsewhere, so that those who wait look again.
    is_overtaken: bool,
    /// Where the thread that runs it does not stay in it.
    course: Option<Course>,
    start: Reading,
    /// Once the body has returned.
    ended: Option<Reading>,
    /// How many computations the body is that of.
    parts: u64,
    /// Once it is no longer known to the table: whoever waits must hear of the end, whatever panics.
    flight: Option<Arc<Flight>>,
    landed: bool,
}

impl Run<'_> {
    /// The body has returned.
    fn stop(&mut self) {
        self.ended = Some(self.query.state.store.clock.read());
    }

    /// For how many nanoseconds the body ran.
    fn took(&self) -> u64 {
        self.ended.map_or(0, |ended| ended.system.saturating_sub(self.start.system) / self.parts)
    }

    /// When the body returned.
    fn end(&self) -> Moment {
        self.ended.map_or_else(|| self.query.state.store.clock.now(), |ended| ended.store)
    }

    /// Where the thread that runs it is not in it, that it is: until it has landed, a call that the rules make, or what
    /// is dropped, must not wait for it.
    fn enter(&self) -> Option<Entered> {
        self.course.clone().map(circle::enter)
    }

    /// What may be served in place of what has failed.
    fn fallback<'g>(&self, guard: &'g Guard) -> Option<ValueRef<'g>> {
        let Target { table, hash, .. } = self.query.target.as_ref()?;
        let now = table.base().now();
        // What was invalidated meanwhile is not there, and what was put is newer.
        let found = table.lock(*hash, guard).servable_of(*hash, self.number, now);
        found.filter(|(_, freshness)| freshness.hides_errors()).map(|(value, _)| value)
    }

    /// Ends a computation that has failed, and whose call is answered with another value. Returns the flight of those who
    /// wait for it.
    fn fall_back(&mut self, has_panicked: bool) -> Option<&Flight> {
        let query = self.query;
        if let Some(Target { table, hash, .. }) = &query.target {
            let finished = with_guard(|guard| self.finish(&mut table.lock(*hash, guard).writer, true));
            drop(finished);
        }
        if has_panicked {
            query.state.rare.abandoned.add(1);
        }
        query.state.rare.errors_hidden.add(1);
        self.awaited()
    }

    /// The flight, if somebody waits for it. Nobody can join any more.
    fn awaited(&self) -> Option<&Flight> {
        self.flight.as_deref().filter(|it| it.is_awaited())
    }

    /// Ends the computation's time in the table, and finds the key to store its value under. Fails if that must not be
    /// stored, with the key that is left.
    fn key_to_store(&mut self, locked: &mut Locked<'_>, failed: bool) -> Result<AnyKey, Option<AnyKey>> {
        let Some((key, fenced)) = self.finish(&mut locked.writer, failed) else { return Err(None) };
        // A flight that was given up has been overtaken by another.
        let is_overtaken = self.flight.as_ref().is_some_and(|it| it.has_ended());
        let is_live = self.query.target.as_ref().is_some_and(|it| it.table.base().keys.is_live(key.view()));
        let is_wanted = is_live && !fenced && !is_overtaken && self.query.state.store.is_enabled();
        if is_wanted { Ok(key) } else { Err(Some(key)) }
    }

    /// A value was stored, or was not. Returns the flight of those who wait for it.
    fn settle(&self, stored: bool, failed: bool) -> Option<&Flight> {
        let state = self.query.state;
        after_store(state, stored);
        if failed && self.old == Old::Answered {
            state.rare.errors_hidden.add(1);
        }
        self.awaited()
    }

    /// Returns the key, and whether the computation was fenced.
    fn finish(&mut self, writer: &mut Writer, failed: bool) -> Option<(AnyKey, bool)> {
        let Target { table, hash, .. } = self.query.target.as_ref()?;
        let Finished { key, flight, fenced } = writer.flights.finish(*hash, self.number)?;
        if let Some(ended) = self.ended {
            writer.counts.computations += 1;
            table.base().learn_cost(ended.store.saturating_sub(self.start.store));
            let nanoseconds = &mut writer.counts.compute_nanoseconds;
            *nanoseconds = nanoseconds.saturating_add(self.took());
        }
        if let Some(flight) = flight {
            self.flight = Some(flight);
        }
        if self.old != Old::Nothing {
            if failed {
                let now = self.query.state.store.clock.now();
                let pause = nanoseconds(self.query.state.policy().error_backoff());
                writer.retries.note(*hash, now, now.saturating_add(pause));
            } else {
                writer.retries.forget(*hash);
            }
        }
        Some((key, fenced))
    }
}

impl Drop for Run<'_> {
    fn drop(&mut self) {
        let query = self.query;
        let Some(Target { table, hash, .. }) = query.target.as_ref().filter(|_| !self.landed) else {
            return;
        };
        query.state.rare.abandoned.add(1);
        let failed = thread::panicking();
        if failed && self.old == Old::Answered {
            query.state.rare.errors_hidden.add(1);
        }
        let _entered = self.course.take().map(circle::enter);
        let key = with_guard(|guard| self.finish(&mut table.lock(*hash, guard).writer, failed));
        let _lost = self.flight.as_ref().map(|flight| Lost(flight));
        drop(key);
    }
}

impl<'a, O: Outcome> Computation<'a, O> {
    pub(crate) fn begin(
        call: &'a Call<O>,
        number: u64,
        old: Old,
        start: Reading,
        course: Option<Course>,
    ) -> Self {
        let run = Run {
            query: &call.query,
            number,
            old,
            #[cfg(feature = "backend")]
            aside: old == Old::Answered,
            is_overtaken: false,
            course,
            start,
            ended: None,
            parts: 1,
            flight: None,
            landed: false,
        };
        Self { call, run }
    }

    /// Stores what the body returned, if it is to be stored and nothing has fenced it, and hands it to
    /// those who wait.
    pub(crate) fn land(mut self, returned: O::Returned) -> O::Returned {
        self.stop();
        let admitted = self.admit(&returned);
        self.settle(returned, admitted, false).returned
    }

    /// Runs the body; where it fails and there is a value that may be served, that is the answer.
    pub(crate) fn run_guarded(self, body: &mut dyn Body<O::Returned>) -> O::Returned {
        let ended = caught_if(self.has_fallback(), || body.run());
        self.conclude(ended)
    }

    /// Lands what the body has returned, or lets its panic go on; where it has failed and there is a value that
    /// may be served, that is the answer.
    pub(crate) fn conclude(mut self, ended: thread::Result<O::Returned>) -> O::Returned {
        let failed = match ended {
            Ok(returned) if !self.run.old.may_be_served() || !self.call.outcome.is_error(&returned) => {
                return self.land(returned);
            }
            failed => failed,
        };
        if failed.is_ok() {
            self.stop();
        }
        match (self.fallback(), failed) {
            (Some(value), failed) => self.fall_back_to(value, failed),
            (None, Ok(returned)) => self.land(returned),
            (None, Err(panic)) => resume_unwind(panic),
        }
    }

    /// What may be served in place of what has failed.
    fn fallback(&self) -> Option<O::Stored> {
        let _entered = self.run.enter();
        let guard = epoch::guard()?;
        Some(self.run.fallback(&guard)?.value::<O::Stored>().clone())
    }

    /// Ends the computation, which has failed, with a value of another one.
    pub(crate) fn fall_back_to(
        mut self,
        value: O::Stored,
        failed: thread::Result<O::Returned>,
    ) -> O::Returned {
        if let Some(flight) = self.run.fall_back(failed.is_err()) {
            flight.end(Ending::Landed(Some(Self::delivered(Delivery::Stored(value.clone())))));
        }
        self.run.landed = true;
        let outcome = self.call.outcome;
        after_drop((self, failed), outcome.returned(value))
    }

    fn delivered(delivery: Delivery<O::Stored, O::Shared>) -> Delivered {
        Box::new(delivery)
    }

    /// Whether there may be a value in place of which its body's was to come.
    pub(crate) fn has_fallback(&self) -> bool {
        self.run.old == Old::Fallback
    }

    /// The answer after a panic of a body that is also that of others: a value that may be served, if there is one.
    pub(crate) fn stand_in(self) -> Result<O::Returned, Self> {
        match self.fallback().filter(|_| self.has_fallback()) {
            Some(value) => Ok(self.fall_back_to(value, Err(Box::new(())))),
            None => Err(self),
        }
    }

    /// The body has returned.
    pub(crate) fn stop(&mut self) {
        self.run.stop();
    }

    /// One of so many that share a body.
    pub(crate) fn one_of(mut self, parts: u64) -> Self {
        self.run.parts = parts.max(1);
        self
    }

    /// For how many nanoseconds the body ran.
    #[cfg(feature = "backend")]
    pub(crate) fn took(&self) -> u64 {
        self.run.took()
    }

    /// What is to be stored of a returned value.
    pub(crate) fn admit(&self, returned: &O::Returned) -> Option<NewValue<O::Stored>> {
        let _entered = self.run.enter();
        self.call.admit(returned, self.run.end())
    }

    /// Stores what was admitted, if nothing has fenced it, and hands what was returned to those who wait.
    /// `is_shared` if it is stored elsewhere.
    pub(crate) fn settle(
        mut self,
        returned: O::Returned,
        admitted: Option<NewValue<O::Stored>>,
        is_shared: bool,
    ) -> Settled<O::Returned> {
        let outcome = self.call.outcome;
        let entered = self.run.enter();
        let failed = outcome.is_error(&returned);
        let (stored, fenced) = self.store(admitted, failed);
        drop(entered);
        let stored = stored || is_shared;
        if let Some(flight) = self.run.settle(stored, failed) {
            let delivery = match outcome.stored(&returned).filter(|_| stored) {
                Some(value) => Some(Delivery::Stored(value.clone())),
                None => outcome.share(&returned).map(Delivery::NotStored),
            };
            let landed = Ending::Landed(delivery.map(Self::delivered));
            flight.end(if self.run.is_overtaken { Ending::Lost } else { landed });
        }
        self.run.landed = true;
        after_drop(self, Settled { returned, fenced })
    }

    /// Ends the computation's time in the table, and stores a value; returns whether it was stored, and
    /// whether it must not be.
    fn store(&mut self, admitted: Option<NewValue<O::Stored>>, failed: bool) -> (bool, bool) {
        let Some((target, table)) = self.call.query.target.as_ref().zip(self.call.stores) else {
            return (false, true);
        };
        let (run, mut fenced, mut left) = (&mut self.run, false, None);
        let stored =
            table.store(target.hash, admitted, &mut |locked| match run.key_to_store(locked, failed) {
                Ok(key) => Some(key),
                Err(key) => {
                    (fenced, left) = (true, key);
                    None
                }
            });
        after_drop(left, (stored, fenced))
    }
}

#[cfg(feature = "backend")]
impl<'a, O: Outcome> Computation<'a, O> {
    pub(crate) fn call(&self) -> &'a Call<O> {
        self.call
    }

    /// What it has computed is not what the backend has, or is to have.
    pub(crate) fn is_overtaken(&mut self) {
        self.run.is_overtaken = true;
    }

    pub(crate) fn number(&self) -> u64 {
        self.run.number
    }

    pub(crate) fn is_aside(&self) -> bool {
        self.run.aside
    }

    /// What is to be done about what the backend has.
    pub(crate) fn service(&self, freshness: Freshness) -> Service {
        self.run.service(freshness)
    }

    /// Whether those who wait need not, once a value of this freshness was found. Without a renewer the call itself
    /// computes.
    pub(crate) fn can_be_set_aside(&self, freshness: Freshness, has_renewer: bool) -> bool {
        let is_awaited_for_a_while = has_renewer && self.call.query.state.policy().max_wait().is_some();
        !self.run.aside && (freshness.is_served_meanwhile() || freshness.is_stale() && is_awaited_for_a_while)
    }

    /// Goes on aside: those who wait get the value that was found.
    pub(crate) fn set_aside(&mut self, value: &O::Stored) {
        let flight = self.run.move_aside(self.run.number, false);
        if let Some(flight) = flight.filter(|it| it.is_awaited()) {
            flight.end(Ending::Landed(Some(Self::delivered(Delivery::Stored(value.clone())))));
        }
        self.run.aside = true;
    }

    /// Leaves the computation to somebody else, for whom it has this number from now on. What the call returns is
    /// still its own, and of those who wait for it.
    pub(crate) fn leave_to(&mut self, number: u64) {
        if let Some(flight) = self.run.move_aside(number, true) {
            self.run.flight = Some(flight);
        }
    }

    /// There is a value of this freshness in place of which the body's is to be stored.
    pub(crate) fn replaces(&mut self, freshness: Freshness) {
        self.run.replaces(freshness);
    }

    /// The body begins only now.
    pub(crate) fn restart(&mut self) {
        self.run.start.system = clock::now();
    }

    /// Whether its value must not be stored.
    pub(crate) fn is_fenced(&self) -> bool {
        self.run.is_fenced()
    }

    /// Whether it was fenced since it looked for a value, and begins only now: it is to look again.
    pub(crate) fn begins_again(&self) -> bool {
        self.run.begins_again()
    }
}

#[cfg(feature = "backend")]
impl Run<'_> {
    /// See [`Computation::service`].
    fn service(&self, freshness: Freshness) -> Service {
        let Some(Target { table, hash, .. }) = &self.query.target else { return Service::Compute };
        if freshness == Freshness::Fresh {
            return Service::Serve;
        }
        with_guard(|guard| {
            let (base, mut locked) = (table.base(), table.lock(*hash, guard));
            let Writer { flights, retries, .. } = &mut *locked.writer;
            let renewal = flights.renewal(*hash, self.number, &|one, other| base.keys.same(one, other));
            service(freshness, renewal.is_some(), retries.backs_off(*hash, base.now()))
        })
    }

    fn move_aside(&self, number: u64, queued: bool) -> Option<Arc<Flight>> {
        let Target { table, hash, .. } = self.query.target.as_ref()?;
        with_guard(|guard| {
            table.lock(*hash, guard).writer.flights.set_aside(*hash, self.number, number, queued)
        })
    }

    /// See [`Computation::replaces`].
    fn replaces(&mut self, freshness: Freshness) {
        if self.old == Old::Nothing {
            self.old = if freshness.hides_errors() { Old::Fallback } else { Old::Served };
            self.query.state.rare.revalidations.add(1);
        }
    }

    /// See [`Computation::is_fenced`].
    fn is_fenced(&self) -> bool {
        let Some(Target { table, hash, .. }) = &self.query.target else { return true };
        let is_fenced = with_guard(|guard| {
            let flights = &mut table.lock(*hash, guard).writer.flights;
            is_fenced_in(flights, table.base().keys, *hash, self.number)
        });
        is_fenced || !self.query.state.store.is_enabled()
    }

    /// See [`Computation::begins_again`].
    fn begins_again(&self) -> bool {
        let Some(Target { table, hash, .. }) = &self.query.target else { return false };
        with_guard(|guard| {
            let flights = &mut table.lock(*hash, guard).writer.flights;
            let keys = table.base().keys;
            let same = |one: KeyRef<'_>, other: KeyRef<'_>| keys.same(one, other);
            is_fenced_in(flights, keys, *hash, self.number)
                && flights.begin_again(*hash, self.number, &same, &|key| keys.renew(key))
        })
    }
}

#[cfg(feature = "backend")]
fn is_fenced_in(flights: &mut Flights, keys: Keys, hash: u64, number: u64) -> bool {
    let is_dead = flights.key(hash, number).is_some_and(|key| !keys.is_live(key));
    is_dead || flights.is_fenced(hash, number)
}

/// What a computation has come to.
pub(crate) struct Settled<R> {
    pub(crate) returned: R,
    /// Whether something happened that its value must not outlive.
    #[cfg_attr(not(feature = "backend"), expect(dead_code, reason = "of use elsewhere"))]
    pub(crate) fenced: bool,
}

/// Those who wait go on, even if what is dropped before panics.
struct Lost<'a>(&'a Flight);

impl Drop for Lost<'_> {
    fn drop(&mut self) {
        self.0.end(Ending::Lost);
    }
}

impl Query {
    /// Whether, until when and with which weight a value that was returned at this moment is to be stored.
    fn admit(&self, value: ValueRef<'_>, is_negative: bool, now: Moment) -> Option<Stay> {
        if !self.rules.admit(value) {
            return None;
        }
        let policy = self.state.policy();
        let timeout = policy.timeout_of(self.rules.timeout_of(value), is_negative);
        let weight = self.rules.weight_of(value);
        let random = if policy.jitter_percent() > 0 { random() } else { 0 };
        let deadline = policy.deadline(now, timeout, random)?;
        Some(Stay { deadline, weight })
    }

    /// How long before the end of its timeout a value is to be computed anew, by a draw, where that takes so many
    /// nanoseconds.
    pub(crate) fn ahead(&self, draw: u64, cost: u64, value: ValueRef<'_>) -> u64 {
        let policy = self.state.policy();
        if policy.refresh_ahead().is_none() {
            return 0;
        }
        let timeout = policy.timeout_of(self.rules.fixed_timeout(), (self.is_negative)(value));
        policy.ahead(timeout, cost, draw)
    }
}

impl<O: Outcome> Call<O> {
    /// What is to be stored of a value that was returned at this moment.
    pub(crate) fn admit(&self, returned: &O::Returned, now: Moment) -> Option<NewValue<O::Stored>> {
        let value = self.outcome.stored(returned)?;
        let stay = self.query.admit(ValueRef::new(value), self.outcome.is_negative(returned), now)?;
        Some(NewValue { value: value.clone(), stay })
    }
}

/// What a call draws, once, where chance decides whether it is the one that computes anew.
pub(crate) fn draw(state: &State) -> u64 {
    if state.policy().refresh_ahead() == Some(RefreshAhead::XFetch) { random() } else { FURTHEST_DRAW }
}

/// Enough for jitter: a counter, hashed with a seed of this process.
fn random() -> u64 {
    use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

    use once_cell::sync::Lazy;

    static SEED: Lazy<foldhash::quality::RandomState> = Lazy::new(foldhash::quality::RandomState::default);
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    SEED.hash_one(COUNTER.fetch_add(1, Relaxed))
}

/// What is left to do when a value has been stored, or was not.
pub(crate) fn after_store(state: &State, stored: bool) {
    if stored {
        state.store.keep_limits();
        // What is weighed is large: it goes now.
        if state.policy().is_weighed() {
            janitor::free();
        }
    } else {
        state.rare.not_stored.add(1);
    }
}
