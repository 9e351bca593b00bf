//! Values that are served, and meanwhile computed anew in the background: by a call of the function itself, with
//! copies of the arguments, that takes over a computation which is registered already.

use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use sdd::Guard;

use crate::call::{Call, DeliveryOf, FlightOf, Lookup, Mode, Owned, Target, force};
use crate::circle::Waiting;
use crate::computation::{Delivery, ahead};
use crate::epoch::with_guard;
use crate::flight::Ending;
use crate::function::Function;
use crate::outcome::Outcome;
use crate::policy::{Freshness, Service};
use crate::spawner::{spawn, spawn_blocking};
use crate::stats::Cells;
use crate::store::table::Table;
use crate::timer::Sleep;

/// A computation that is registered, and that nobody has begun. Dropped before that, it is lost.
pub(crate) struct Claim<K, S, D>
where
    K: Send + Sync + 'static,
    S: Send + Sync + 'static,
    D: Send + Sync + 'static,
{
    function: &'static Function,
    table: &'static Table<K, S, D>,
    hash: u64,
    number: u64,
}

/// What is there for a call to return.
pub(crate) struct Answer<O: Outcome> {
    value: O::Stored,
    /// The flight that may bring a newer value, and for how long the call waits for it.
    awaited: Option<(Arc<FlightOf<O>>, Waiting, Duration)>,
}

type ClaimOf<O, K> = Claim<K, <O as Outcome>::Stored, DeliveryOf<O>>;

impl<K, S, D> Claim<K, S, D>
where
    K: Send + Sync + 'static,
    S: Send + Sync + 'static,
    D: Send + Sync + 'static,
{
    /// Whether its value would be stored.
    fn is_wanted(&self) -> bool {
        let is_queued = with_guard(|guard| {
            self.table.lock(self.hash, guard).writer.flights.is_queued(self.hash, self.number)
        });
        is_queued && self.table.state.store.is_enabled()
    }

    /// The conditions under which a call takes it over.
    fn lookup(&self) -> Lookup {
        Lookup(Mode::Resume(self.number))
    }

    /// `call` calls the function.
    fn run(self, call: impl FnOnce()) {
        if self.is_wanted() {
            // Whoever is served the old value does not hear of it.
            let _ = catch_unwind(AssertUnwindSafe(|| {
                let _forced = force(self.function, self.lookup());
                call();
            }));
        }
    }

    /// The same for a call that is awaited.
    fn run_async<F: Future>(self, call: F) -> impl Future<Output = ()> {
        let mut call = Box::pin(call);
        let mut begun = false;
        let surroundings = Surroundings::here();
        poll_fn(move |context| {
            let _entered = surroundings.enter();
            let first = !std::mem::replace(&mut begun, true);
            if first && !self.is_wanted() {
                return Poll::Ready(());
            }
            let polled = catch_unwind(AssertUnwindSafe(|| {
                let _forced = first.then(|| force(self.function, self.lookup()));
                call.as_mut().poll(context).map(drop)
            }));
            polled.unwrap_or(Poll::Ready(()))
        })
    }
}

impl<K, S, D> Drop for Claim<K, S, D>
where
    K: Send + Sync + 'static,
    S: Send + Sync + 'static,
    D: Send + Sync + 'static,
{
    fn drop(&mut self) {
        let finished = with_guard(|guard| {
            self.table.lock(self.hash, guard).writer.flights.finish(self.hash, self.number)
        });
        if let Some(flight) = finished.as_ref().and_then(|it| it.flight.as_ref()) {
            flight.end(Ending::Lost);
        }
    }
}

impl<O: Outcome, K: Owned> Call<O, K> {
    /// Answers the call with what is there, if that is to be computed anew meanwhile; `job` makes copies of the
    /// arguments for that, and a call with them.
    #[must_use]
    pub fn background<J>(self, job: impl FnOnce() -> J) -> Self
    where
        J: FnOnce() -> O::Returned + Send + 'static,
    {
        self.serve(|claim| {
            let call = job();
            let surroundings = Surroundings::here();
            spawn_blocking(move || {
                let _entered = surroundings.enter();
                claim.run(|| drop(call()));
            });
        })
    }

    /// The same for a call that is awaited.
    #[must_use]
    pub fn background_async<F>(self, job: impl FnOnce() -> F) -> Self
    where
        F: Future<Output = O::Returned> + Send + 'static,
    {
        self.serve(|claim| spawn(Box::pin(claim.run_async(job()))))
    }

    /// What a call returns that was answered.
    pub(crate) fn given(&mut self, answer: Answer<O>) -> O::Returned {
        let Answer { value, awaited } = answer;
        let Some((flight, _waiting, most)) = awaited else { return self.outcome.returned(value) };
        let new = flight.wait_until(Instant::now() + most).and_then(|ending| self.brought(ending));
        self.newer(new, value)
    }

    /// The same for one that is awaited.
    pub(crate) async fn given_async(&mut self, answer: Answer<O>) -> O::Returned {
        let Answer { value, awaited } = answer;
        let Some((flight, _waiting, most)) = awaited else { return self.outcome.returned(value) };
        let (mut ended, mut sleep) = (pin!(flight.ended()), pin!(Sleep::until(Instant::now() + most)));
        let ending = poll_fn(|context| match ended.as_mut().poll(context) {
            Poll::Ready(ending) => Poll::Ready(Some(ending)),
            Poll::Pending => sleep.as_mut().poll(context).map(|()| None),
        });
        let new = ending.await.and_then(|ending| self.brought(ending));
        self.newer(new, value)
    }

    /// What a flight has brought, unless it is an error.
    fn brought(&self, ending: &Ending<DeliveryOf<O>>) -> Option<O::Returned> {
        let new = match ending {
            Ending::Landed(Some(Delivery::Stored(value))) => self.outcome.returned(value.clone()),
            Ending::Landed(Some(Delivery::NotStored(value))) => self.outcome.unshare(value),
            Ending::Landed(None) | Ending::Lost => return None,
        };
        (!self.outcome.is_error(&new)).then_some(new)
    }

    /// The new value where there is one, else the stale one, counted as such.
    fn newer(&self, new: Option<O::Returned>, stale: O::Stored) -> O::Returned {
        let Some(new) = new else {
            self.state.rare.stale.add(1);
            return self.outcome.returned(stale);
        };
        if let Some(Target { table, hash, .. }) = &self.target {
            with_guard(|guard| table.lock(*hash, guard).writer.counts.misses += 1);
        }
        self.state.rare.coalesced.add(1);
        new
    }

    fn serve(mut self, compute: impl FnOnce(ClaimOf<O, K>)) -> Self {
        let Some((target, cells)) = self.target.as_mut().zip(Cells::of_this_thread()) else { return self };
        if self.refresh || self.resumes.is_some() {
            return self;
        }
        let (table, hash) = (target.table, target.hash);
        let now = table.now();
        let guard = Guard::new();
        let mut locked = table.lock(hash, &guard);
        let ahead = |value: &_| ahead(self.state, self.outcome, &self.rules, table.cost(), value);
        let found = table.servable(hash, &target.is_live_key(), &ahead, now, &guard);
        let max_wait = self.state.policy().max_wait();
        let is_for_here = |freshness: Freshness| {
            freshness.is_served_meanwhile() || freshness.is_stale() && max_wait.is_some()
        };
        let Some((value, freshness)) = found.filter(|(_, freshness)| is_for_here(*freshness)) else {
            drop(locked);
            return self;
        };
        let claim = match target.service(freshness, &mut locked.writer, now) {
            Service::Serve | Service::Wait => None,
            Service::Compute => target.take_key().map(|key| {
                let number = cells.number_computation();
                locked.writer.flights.enqueue(hash, key, number);
                Claim { function: self.function, table, hash, number }
            }),
        };
        let joined = max_wait.filter(|_| freshness.is_stale()).and_then(|most| {
            let flights = &mut locked.writer.flights;
            let (flight, number) = match &claim {
                Some(claim) => flights.join_number(hash, claim.number),
                None => flights.join_for_now(hash, &target.is_live_key()),
            }?;
            Some((flight, number, most))
        });
        drop(locked);
        let value = value.clone();
        drop(guard);
        let awaited = joined.and_then(|(flight, number, most)| Some((flight, Waiting::begin(number)?, most)));
        if awaited.is_none() {
            self.count_hit(table, freshness, cells);
        }
        self.answer = Some(Box::new(Answer { value, awaited }));
        if let Some(claim) = claim {
            self.state.rare.revalidations.add(1);
            compute(claim);
        }
        self
    }
}

/// What of a thread a call elsewhere needs: in a test, its store.
struct Surroundings {
    #[cfg(feature = "testing")]
    store: Option<crate::testing::Isolated>,
}

impl Surroundings {
    fn here() -> Self {
        Self {
            #[cfg(feature = "testing")]
            store: crate::testing::Isolated::here(),
        }
    }

    #[cfg(feature = "testing")]
    fn enter(&self) -> Option<crate::testing::Guard> {
        self.store.as_ref().map(crate::testing::Isolated::enter)
    }

    #[cfg(not(feature = "testing"))]
    #[expect(clippy::unused_self, reason = "there is something in tests")]
    fn enter(&self) -> Option<std::convert::Infallible> {
        None
    }
}
