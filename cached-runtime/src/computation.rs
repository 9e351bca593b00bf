//! A body that is running, and what becomes of the value that it returns.

use std::hash::BuildHasher;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use sdd::Guard;

#[cfg(feature = "backend")]
use crate::call::TableOf;
use crate::call::{Call, FlightOf, Owned, Target, WriterOf, after_drop};
use crate::circle::{self, Course};
#[cfg(feature = "backend")]
use crate::clock;
use crate::clock::{Moment, Reading, nanoseconds};
use crate::epoch::with_guard;
use crate::flight::{Ending, Finished, Flight};
use crate::function::State;
use crate::outcome::Outcome;
use crate::policy::{FURTHEST_DRAW, RefreshAhead};
#[cfg(feature = "backend")]
use crate::policy::{Freshness, Service, service};
use crate::store::janitor;
use crate::store::table::NewValue;

/// What waiting callers get.
pub(crate) enum Delivery<S, D> {
    Stored(S),
    NotStored(D),
}

/// The values of a function decide with these what becomes of them. Most functions have none.
pub(crate) struct Rules<S>(Option<Box<Given<S>>>);

pub(crate) struct Given<S> {
    pub(crate) timeout: Option<Timeout<S>>,
    pub(crate) cache_if: Option<Rule<S, bool>>,
    pub(crate) weigh: Option<Rule<S, usize>>,
}

type Rule<S, R> = Box<dyn Fn(&S) -> R + Send + Sync>;

pub(crate) enum Timeout<S> {
    Fixed(Duration),
    Of(Rule<S, Duration>),
}

impl<S> Rules<S> {
    pub(crate) const NONE: Self = Self(None);

    /// To be added to.
    pub(crate) fn given(&mut self) -> &mut Given<S> {
        self.0.get_or_insert_with(|| Box::new(Given { timeout: None, cache_if: None, weigh: None }))
    }

    fn admit(&self, value: &S) -> bool {
        self.0.as_ref().and_then(|given| given.cache_if.as_ref()).is_none_or(|rule| rule(value))
    }

    fn timeout_of(&self, value: &S) -> Option<Duration> {
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

    pub(crate) fn weight_of(&self, value: &S) -> usize {
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
pub(crate) struct Computation<'a, O: Outcome, K: Owned> {
    call: &'a Call<O, K>,
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
    flight: Option<Arc<FlightOf<O>>>,
    landed: bool,
}

impl<'a, O: Outcome, K: Owned> Computation<'a, O, K> {
    pub(crate) fn begin(
        call: &'a Call<O, K>,
        number: u64,
        old: Old,
        start: Reading,
        course: Option<Course>,
    ) -> Self {
        Self {
            call,
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
        }
    }

    /// Stores what the body returned, if it is to be stored and nothing has fenced it, and hands it to
    /// those who wait.
    pub(crate) fn land(mut self, returned: O::Returned) -> O::Returned {
        self.stop();
        let admitted = self.admit(&returned);
        self.settle(returned, admitted, false).returned
    }

    /// Lands what the body has returned, or lets its panic go on; where it has failed and there is a value that
    /// may be served, that is the answer.
    pub(crate) fn conclude(mut self, ended: thread::Result<O::Returned>) -> O::Returned {
        let failed = match ended {
            Ok(returned) if !self.old.may_be_served() || !self.call.outcome.is_error(&returned) => {
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
        let Target { table, hash, .. } = self.call.target.as_ref()?;
        let guard = Guard::new();
        let mut locked = table.lock(*hash, &guard);
        let now = table.now();
        let key = locked.writer.flights.key(*hash, self.number)?;
        // What was invalidated meanwhile is not there, and what was put is newer.
        let found = table.servable(*hash, &|it| table.same(it, key), &|_| 0, now, &guard);
        let (value, _) = found.filter(|(_, freshness)| freshness.hides_errors())?;
        drop(locked);
        Some(value.clone())
    }

    /// Ends the computation, which has failed, with a value of another one.
    pub(crate) fn fall_back_to(
        mut self,
        value: O::Stored,
        failed: thread::Result<O::Returned>,
    ) -> O::Returned {
        let call @ Call { state, outcome, .. } = self.call;
        if let Some(Target { table, hash, .. }) = &call.target {
            let finished = with_guard(|guard| self.finish(*hash, &mut table.lock(*hash, guard).writer, true));
            drop(finished);
        }
        if let Some(flight) = self.flight.as_ref().filter(|it| it.is_awaited()) {
            flight.end(Ending::Landed(Some(Delivery::Stored(value.clone()))));
        }
        self.landed = true;
        if failed.is_err() {
            state.rare.abandoned.add(1);
        }
        state.rare.errors_hidden.add(1);
        after_drop((self, failed), outcome.returned(value))
    }

    /// Whether there may be a value in place of which its body's was to come.
    pub(crate) fn has_fallback(&self) -> bool {
        self.old == Old::Fallback
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
        self.ended = Some(self.call.state.store.clock.read());
    }

    /// One of so many that share a body.
    pub(crate) fn one_of(mut self, parts: u64) -> Self {
        self.parts = parts.max(1);
        self
    }

    /// For how many nanoseconds the body ran.
    pub(crate) fn took(&self) -> u64 {
        self.ended.map_or(0, |ended| ended.system.saturating_sub(self.start.system) / self.parts)
    }

    /// What is to be stored of a returned value.
    pub(crate) fn admit(&self, returned: &O::Returned) -> Option<NewValue<O::Stored>> {
        // Until it has landed, a call that the rules make, or what is dropped, must not wait for it.
        let _entered = self.course.clone().map(circle::enter);
        let now = self.ended.map_or_else(|| self.call.state.store.clock.now(), |ended| ended.store);
        admit(self.call.state, self.call.outcome, &self.call.rules, returned, now)
    }

    /// Stores what was admitted, if nothing has fenced it, and hands what was returned to those who wait.
    /// `is_shared` if it is stored elsewhere.
    pub(crate) fn settle(
        mut self,
        returned: O::Returned,
        admitted: Option<NewValue<O::Stored>>,
        is_shared: bool,
    ) -> Settled<O::Returned> {
        let Call { state, outcome, .. } = self.call;
        let entered = self.course.clone().map(circle::enter);
        let failed = outcome.is_error(&returned);
        let (stored, fenced) = self.store(admitted, failed);
        drop(entered);
        let stored = stored || is_shared;
        after_store(state, stored);
        if failed && self.old == Old::Answered {
            state.rare.errors_hidden.add(1);
        }
        // Nobody can join any more.
        if let Some(flight) = self.flight.as_ref().filter(|it| it.is_awaited()) {
            let delivery = match outcome.stored(&returned).filter(|_| stored) {
                Some(value) => Some(Delivery::Stored(value.clone())),
                None => outcome.share(&returned).map(Delivery::NotStored),
            };
            flight.end(if self.is_overtaken { Ending::Lost } else { Ending::Landed(delivery) });
        }
        self.landed = true;
        after_drop(self, Settled { returned, fenced })
    }

    /// Ends the computation's time in the table, and stores a value; returns whether it was stored, and
    /// whether it must not be.
    fn store(&mut self, admitted: Option<NewValue<O::Stored>>, failed: bool) -> (bool, bool) {
        let call = self.call;
        let Some(Target { table, hash, .. }) = &call.target else { return (false, true) };
        let (stored, (_left, fenced)) = with_guard(|guard| {
            table.store(*hash, admitted, guard, |writer| {
                let Some((key, fenced)) = self.finish(*hash, writer, failed) else {
                    return (None, (None, true));
                };
                // A flight that was given up has been overtaken by another.
                let is_overtaken = self.flight.as_ref().is_some_and(|it| it.has_ended());
                let fenced = fenced || !table.is_live(&key);
                if fenced || is_overtaken || !self.call.state.store.is_enabled() {
                    return (None, (Some(key), true));
                }
                (Some(key), (None, false))
            })
        });
        (stored, fenced)
    }

    /// Returns the key, and whether the computation was fenced.
    fn finish(&mut self, hash: u64, writer: &mut WriterOf<O, K>, failed: bool) -> Option<(K, bool)> {
        let Finished { key, flight, fenced } = writer.flights.finish(hash, self.number)?;
        if let Some(ended) = self.ended {
            writer.counts.computations += 1;
            if let Some(Target { table, .. }) = &self.call.target {
                table.learn_cost(ended.store.saturating_sub(self.start.store));
            }
            let nanoseconds = &mut writer.counts.compute_nanoseconds;
            *nanoseconds = nanoseconds.saturating_add(self.took());
        }
        if let Some(flight) = flight {
            self.flight = Some(flight);
        }
        if self.old != Old::Nothing {
            if failed {
                let now = self.call.state.store.clock.now();
                let pause = nanoseconds(self.call.state.policy().error_backoff());
                writer.retries.note(hash, now, now.saturating_add(pause));
            } else {
                writer.retries.forget(hash);
            }
        }
        Some((key, fenced))
    }
}

#[cfg(feature = "backend")]
impl<'a, O: Outcome, K: Owned> Computation<'a, O, K> {
    pub(crate) fn call(&self) -> &'a Call<O, K> {
        self.call
    }

    /// What it has computed is not what the backend has, or is to have.
    pub(crate) fn is_overtaken(&mut self) {
        self.is_overtaken = true;
    }

    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    pub(crate) fn is_aside(&self) -> bool {
        self.aside
    }

    /// What is to be done about what the backend has.
    pub(crate) fn service(&self, freshness: Freshness) -> Service {
        let Some(Target { table, hash, .. }) = &self.call.target else { return Service::Compute };
        if freshness == Freshness::Fresh {
            return Service::Serve;
        }
        with_guard(|guard| {
            let writer = &mut table.lock(*hash, guard).writer;
            let renewal = writer.flights.renewal(*hash, self.number, &|one, other| table.same(one, other));
            service(freshness, renewal.is_some(), writer.retries.backs_off(*hash, table.now()))
        })
    }

    /// Whether those who wait need not, once a value of this freshness was found. Without a renewer the call itself
    /// computes.
    pub(crate) fn can_be_set_aside(&self, freshness: Freshness, has_renewer: bool) -> bool {
        let is_awaited_for_a_while = has_renewer && self.call.state.policy().max_wait().is_some();
        !self.aside && (freshness.is_served_meanwhile() || freshness.is_stale() && is_awaited_for_a_while)
    }

    /// Goes on aside: those who wait get the value that was found.
    pub(crate) fn set_aside(&mut self, value: &O::Stored) {
        if let Some(flight) = self.move_aside(self.number, false).filter(|it| it.is_awaited()) {
            flight.end(Ending::Landed(Some(Delivery::Stored(value.clone()))));
        }
        self.aside = true;
    }

    fn move_aside(&self, number: u64, queued: bool) -> Option<Arc<FlightOf<O>>> {
        let Target { table, hash, .. } = self.call.target.as_ref()?;
        with_guard(|guard| {
            table.lock(*hash, guard).writer.flights.set_aside(*hash, self.number, number, queued)
        })
    }

    /// Leaves the computation to somebody else, for whom it has this number from now on. What the call returns is
    /// still its own, and of those who wait for it.
    pub(crate) fn leave_to(&mut self, number: u64) {
        if let Some(flight) = self.move_aside(number, true) {
            self.flight = Some(flight);
        }
    }

    /// There is a value of this freshness in place of which the body's is to be stored.
    pub(crate) fn replaces(&mut self, freshness: Freshness) {
        if self.old == Old::Nothing {
            self.old = if freshness.hides_errors() { Old::Fallback } else { Old::Served };
            self.call.state.rare.revalidations.add(1);
        }
    }

    /// The body begins only now.
    pub(crate) fn restart(&mut self) {
        self.start.system = clock::now();
    }

    /// Whether its value must not be stored.
    pub(crate) fn is_fenced(&self) -> bool {
        let Some(Target { table, hash, .. }) = &self.call.target else { return true };
        let is_fenced = with_guard(|guard| {
            let writer = &mut table.lock(*hash, guard).writer;
            Self::is_fenced_in(writer, table, *hash, self.number)
        });
        is_fenced || !self.call.state.store.is_enabled()
    }

    fn is_fenced_in(writer: &mut WriterOf<O, K>, table: &TableOf<O, K>, hash: u64, number: u64) -> bool {
        let is_dead = writer.flights.key(hash, number).is_some_and(|key| !table.is_live(key));
        is_dead || writer.flights.is_fenced(hash, number)
    }

    /// Whether it was fenced since it looked for a value, and begins only now: it is to look again.
    pub(crate) fn begins_again(&self) -> bool {
        let Some(Target { table, hash, .. }) = &self.call.target else { return false };
        with_guard(|guard| {
            let writer = &mut table.lock(*hash, guard).writer;
            let (same, renew) = (|a: &K, b: &K| table.same(a, b), |key: &mut K| table.renew(key));
            Self::is_fenced_in(writer, table, *hash, self.number)
                && writer.flights.begin_again(*hash, self.number, &same, &renew)
        })
    }
}

/// What a computation has come to.
pub(crate) struct Settled<R> {
    pub(crate) returned: R,
    /// Whether something happened that its value must not outlive.
    #[cfg_attr(not(feature = "backend"), expect(dead_code, reason = "of use elsewhere"))]
    pub(crate) fenced: bool,
}

/// A computation that ends without having landed is lost.
impl<O: Outcome, K: Owned> Drop for Computation<'_, O, K> {
    fn drop(&mut self) {
        let call = self.call;
        let Some(Target { table, hash, .. }) = call.target.as_ref().filter(|_| !self.landed) else {
            return;
        };
        self.call.state.rare.abandoned.add(1);
        let failed = thread::panicking();
        if failed && self.old == Old::Answered {
            self.call.state.rare.errors_hidden.add(1);
        }
        let _entered = self.course.take().map(circle::enter);
        let key = with_guard(|guard| self.finish(*hash, &mut table.lock(*hash, guard).writer, failed));
        let _lost = self.flight.as_ref().map(|flight| Lost(flight));
        drop(key);
    }
}

/// Those who wait go on, even if what is dropped before panics.
struct Lost<'a, D>(&'a Flight<D>);

impl<D> Drop for Lost<'_, D> {
    fn drop(&mut self) {
        self.0.end(Ending::Lost);
    }
}

/// Whether, until when and with which weight a value that was returned at this moment is to be stored.
pub(crate) fn admit<O: Outcome>(
    state: &State,
    outcome: O,
    rules: &Rules<O::Stored>,
    returned: &O::Returned,
    now: Moment,
) -> Option<NewValue<O::Stored>> {
    let value = outcome.stored(returned)?;
    if !rules.admit(value) {
        return None;
    }
    let timeout = state.policy().timeout_of(rules.timeout_of(value), outcome.is_negative(returned));
    let weight = rules.weight_of(value);
    let value = value.clone();
    let random = if state.policy().jitter_percent() > 0 { random() } else { 0 };
    let deadline = state.policy().deadline(now, timeout, random)?;
    Some(NewValue { value, deadline, weight })
}

/// How long before the end of its timeout a value is to be computed anew.
pub(crate) fn ahead<O: Outcome>(
    state: &State,
    outcome: O,
    rules: &Rules<O::Stored>,
    draw: u64,
    cost: u64,
    value: &O::Stored,
) -> u64 {
    let policy = state.policy();
    if policy.refresh_ahead().is_none() {
        return 0;
    }
    let timeout = policy.timeout_of(rules.fixed_timeout(), outcome.is_stored_negative(value));
    policy.ahead(timeout, cost, draw)
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
