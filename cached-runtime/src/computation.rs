//! A body that is running, and what becomes of the value that it returns.

use std::hash::BuildHasher;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::call::{FlightOf, Owned, TableOf};
use crate::circle;
use crate::clock::{Moment, nanoseconds};
use crate::epoch::with_guard;
use crate::flight::{Ending, Flight};
use crate::function::State;
use crate::outcome::Outcome;
use crate::store::janitor;
use crate::store::table::NewEntry;

/// What waiting callers get.
pub(crate) enum Delivery<S, D> {
    Stored(S),
    NotStored(D),
}

/// The values of a function decide with these what becomes of them.
pub(crate) struct Rules<S> {
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
    pub(crate) const NONE: Self = Self { timeout: None, cache_if: None, weigh: None };
}

/// A body that is running, on behalf of one call and those who wait.
pub(crate) struct Computation<O: Outcome, K: Owned> {
    pub(crate) state: &'static State,
    pub(crate) table: &'static TableOf<O, K>,
    pub(crate) hash: u64,
    pub(crate) outcome: O,
    pub(crate) rules: Rules<O::Stored>,
    pub(crate) flight: Arc<FlightOf<O>>,
    pub(crate) started: Instant,
    pub(crate) landed: bool,
}

impl<O: Outcome, K: Owned> Computation<O, K> {
    /// Stores what the body returned, if it is to be stored and nothing has fenced it, and hands it to
    /// those who wait.
    pub(crate) fn land(mut self, returned: O::Returned) -> O::Returned {
        let counts = &self.state.counts;
        counts.computations.add(1);
        counts.compute_nanoseconds.add(nanoseconds(self.started.elapsed()));
        // Until it has landed, a call that the rules make, or what is dropped, must not wait for it.
        let entered = circle::enter(self.flight.clone());
        let admitted = admit(self.state, self.outcome, &self.rules, &returned);
        let stored = self.store(admitted);
        drop(entered);
        after_store(self.state, stored);
        // Nobody can join any more.
        if self.flight.is_awaited() {
            let delivery = match self.outcome.stored(&returned).filter(|_| stored) {
                Some(value) => Some(Delivery::Stored(value.clone())),
                None => self.outcome.share(&returned).map(Delivery::NotStored),
            };
            self.flight.end(Ending::Landed(delivery));
        }
        self.landed = true;
        returned
    }

    /// Ends the flight's time in the table, and stores a value; returns whether it was stored.
    fn store(&self, admitted: Option<Admitted<O::Stored>>) -> bool {
        let (table, hash, flight) = (self.table, self.hash, &self.flight);
        with_guard(|guard| {
            let mut writer = table.lock(guard);
            let key = writer.flights.finish(hash, flight);
            // A flight that was given up has been overtaken by another.
            let is_latest = !flight.has_ended() && table.state.store.is_enabled();
            let left = match (key, admitted) {
                (Some(key), Some(admitted)) if is_latest => {
                    table.insert(&mut writer, hash, admitted.with(key), guard).map(NewEntry::into_parts)
                }
                (key, admitted) => Some((key, admitted.map(|it| it.value))),
            };
            // What is left is dropped without the lock: to drop it may be to call the function.
            drop(writer);
            left.is_none()
        })
    }
}

/// A computation that ends without having landed is lost.
impl<O: Outcome, K: Owned> Drop for Computation<O, K> {
    fn drop(&mut self) {
        if self.landed {
            return;
        }
        self.state.counts.abandoned.add(1);
        let _lost = Lost(&self.flight);
        let _entered = circle::enter(self.flight.clone());
        let (table, hash, flight) = (self.table, self.hash, &self.flight);
        with_guard(|guard| {
            let key = table.lock(guard).flights.finish(hash, flight);
            drop(key);
        });
    }
}

/// Those who wait go on, even if what is dropped before panics.
struct Lost<'a, D>(&'a Flight<D>);

impl<D> Drop for Lost<'_, D> {
    fn drop(&mut self) {
        self.0.end(Ending::Lost);
    }
}

/// A value that is to be stored.
pub(crate) struct Admitted<S> {
    value: S,
    deadline: Moment,
    weight: usize,
}

impl<S> Admitted<S> {
    pub(crate) fn with<K>(self, key: K) -> NewEntry<K, S> {
        let Self { value, deadline, weight } = self;
        NewEntry { key, value, deadline, weight }
    }
}

/// Whether, until when and with which weight a returned value is to be stored.
pub(crate) fn admit<O: Outcome>(
    state: &State,
    outcome: O,
    rules: &Rules<O::Stored>,
    returned: &O::Returned,
) -> Option<Admitted<O::Stored>> {
    let value = outcome.stored(returned)?;
    if !rules.cache_if.as_ref().is_none_or(|rule| rule(value)) {
        return None;
    }
    let computed = rules.timeout.as_ref().map(|timeout| match timeout {
        Timeout::Fixed(timeout) => *timeout,
        Timeout::Of(rule) => rule(value),
    });
    let timeout = state.policy().timeout_of(computed, outcome.is_negative(returned));
    let weight = rules.weigh.as_ref().map_or(1, |rule| rule(value));
    let value = value.clone();
    let random = if state.policy().jitter_percent() > 0 { random() } else { 0 };
    let deadline = state.policy().deadline(state.store.clock.now(), timeout, random)?;
    Some(Admitted { value, deadline, weight })
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
        state.counts.not_stored.add(1);
    }
}
