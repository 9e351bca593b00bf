//! Values that are served, and meanwhile computed anew in the background: by a call of the function itself, with
//! copies of the arguments, that takes over a computation which is registered already.

use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;
use std::time::{Duration, Instant};

use sdd::Guard;

#[cfg(feature = "backend")]
use crate::backend::{link::Way, remote::Ticket};
use crate::call::{Call, Lookup, Mode, Query, Target, after_drop, force};
use crate::circle::Waiting;
#[cfg(feature = "backend")]
use crate::computation::Computation;
use crate::epoch::{self, with_guard};
#[cfg(feature = "backend")]
use crate::flight::Finished;
use crate::flight::{Ending, Flight};
use crate::function::Function;
use crate::outcome::Outcome;
use crate::policy::{Freshness, Service};
use crate::spawner::{may_be_left, spawn, spawn_blocking};
use crate::stats::Cells;
use crate::store::any::ValueRef;
use crate::store::table::AnyTable;
use crate::timer::Sleep;

/// A computation that is registered, and that nobody has begun. Dropped before that, it is lost.
pub(crate) struct Claim {
    function: &'static Function,
    table: &'static dyn AnyTable,
    hash: u64,
    number: u64,
}

/// A call, with what is there to answer it, if there is something.
pub struct Served<O: Outcome> {
    call: Call<O>,
    answer: Option<Answer<O>>,
}

/// What is there for a call to return.
struct Answer<O: Outcome> {
    value: O::Stored,
    /// The flight that may bring a newer value, and for how long the call waits for it.
    awaited: Option<Awaited>,
}

type Awaited = (Arc<Flight>, Waiting, Duration);

impl Claim {
    /// Whether its value would be stored.
    fn is_wanted(&self) -> bool {
        let is_queued = with_guard(|guard| {
            self.table.lock(self.hash, guard).writer.flights.is_queued(self.hash, self.number)
        });
        is_queued && self.table.base().state.store.is_enabled()
    }

    /// Whoever waits for it, if it is still to end, wakes it.
    fn is_left(&self) {
        let flight = with_guard(|guard| {
            self.table.lock(self.hash, guard).writer.flights.flight_of(self.hash, self.number)
        });
        if let Some(flight) = flight {
            flight.is_left();
        }
    }

    /// The conditions under which a call takes it over.
    fn lookup(&self) -> Lookup {
        Lookup(Mode::Resume(self.number))
    }

    /// Calls the function with `call`, on another thread.
    fn spawn<R>(self, call: impl FnOnce() -> R + Send + 'static) {
        let surroundings = Surroundings::here();
        spawn_blocking(move || {
            let _entered = surroundings.enter();
            self.run(|| drop(call()));
        });
    }

    /// The same for a call that is awaited.
    fn spawn_async(self, call: impl Future + Send + 'static) {
        spawn(Box::pin(self.run_async(call)));
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
        let (mut begun, may_be_left) = (false, may_be_left());
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
            if first && may_be_left {
                self.is_left();
            }
            polled.unwrap_or(Poll::Ready(()))
        })
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let finished = with_guard(|guard| {
            self.table.lock(self.hash, guard).writer.flights.finish(self.hash, self.number)
        });
        if let Some(flight) = finished.as_ref().and_then(|it| it.flight.as_ref()) {
            flight.end(Ending::Lost);
        }
    }
}

impl<O: Outcome> Call<O> {
    /// A call whose values are computed anew by one of its callers.
    #[must_use]
    pub fn inline(mut self) -> Self {
        self.guarded = Some(|computation, body| computation.run_guarded(body));
        self
    }

    /// Answers the call with what is there, if that is to be computed anew meanwhile; `job` makes copies of the
    /// arguments for that, and a call with them.
    #[must_use]
    pub fn background<J>(self, job: impl FnOnce() -> J) -> Served<O>
    where
        J: FnOnce() -> O::Returned + Send + 'static,
    {
        self.serve(|claim| claim.spawn(job()))
    }

    /// The same for a call that is awaited.
    #[must_use]
    pub fn background_async<F>(self, job: impl FnOnce() -> F) -> Served<O>
    where
        F: Future<Output = O::Returned> + Send + 'static,
    {
        self.serve(|claim| claim.spawn_async(job()))
    }

    /// What a call returns that was answered.
    fn given(&self, answer: Answer<O>) -> O::Returned {
        let Answer { value, awaited } = answer;
        let Some(awaited) = awaited else { return self.outcome.returned(value) };
        self.newer(self.brought_soon(awaited), value)
    }

    /// The same for one that is awaited.
    async fn given_async(&self, answer: Answer<O>) -> O::Returned {
        let Answer { value, awaited } = answer;
        let Some(awaited) = awaited else { return self.outcome.returned(value) };
        self.newer(self.brought_soon_async(awaited).await, value)
    }

    /// What a flight brings in the time that the call waits for it.
    fn brought_soon(&self, (flight, _waiting, most): Awaited) -> Option<O::Returned> {
        flight.wait_until(Instant::now() + most).and_then(|ending| self.brought(ending))
    }

    /// The same for a call that is awaited.
    async fn brought_soon_async(&self, (flight, _waiting, most): Awaited) -> Option<O::Returned> {
        let (mut ended, mut sleep) = (pin!(flight.ended()), pin!(Sleep::until(Instant::now() + most)));
        let ending = poll_fn(|context| match ended.as_mut().poll(context) {
            Poll::Ready(ending) => Poll::Ready(Some(ending)),
            Poll::Pending => sleep.as_mut().poll(context).map(|()| None),
        });
        ending.await.and_then(|ending| self.brought(ending))
    }

    /// What a flight has brought, unless it is an error.
    fn brought(&self, ending: &Ending) -> Option<O::Returned> {
        self.delivered(ending).filter(|new| !self.outcome.is_error(new))
    }

    /// The new value where there is one, else the stale one, counted as such.
    fn newer(&self, new: Option<O::Returned>, stale: O::Stored) -> O::Returned {
        let Some(new) = new else {
            self.query.state.rare.stale.add(1);
            return self.outcome.returned(stale);
        };
        if let Some(Target { table, hash, .. }) = &self.query.target {
            with_guard(|guard| table.lock(*hash, guard).writer.counts.misses += 1);
        }
        self.query.state.rare.coalesced.add(1);
        new
    }

    fn serve(self, compute: impl FnOnce(Claim)) -> Served<O> {
        let mut call = self.inline();
        let answer = call.answer(compute);
        Served { call, answer }
    }

    fn answer(&mut self, compute: impl FnOnce(Claim)) -> Option<Answer<O>> {
        let guard = epoch::guard()?;
        let Servable { value, freshness, claim, joined } = self.query.serve(&guard)?;
        let value = value.value::<O::Stored>().clone();
        drop(guard);
        let awaited = joined.and_then(|(flight, number, most)| Some((flight, Waiting::begin(number)?, most)));
        if awaited.is_none() {
            self.query.count_served(freshness);
        }
        if let Some(claim) = claim {
            self.query.state.rare.revalidations.add(1);
            compute(claim);
        }
        Some(Answer { value, awaited })
    }
}

impl<O: Outcome> Served<O> {
    /// Answers the call, with `body` where it must be.
    pub fn run(self, body: impl FnOnce() -> O::Returned) -> O::Returned {
        let Self { call, answer } = self;
        let Some(answer) = answer else { return call.run(body) };
        let value = call.given(answer);
        after_drop(call, value)
    }

    /// The same for a body that is awaited.
    pub async fn run_async(self, body: impl AsyncFnOnce() -> O::Returned) -> O::Returned {
        let Self { call, answer } = self;
        let Some(answer) = answer else { return call.run_async(body).await };
        let value = call.given_async(answer).await;
        after_drop(call, value)
    }
}

/// A value that is there for a call to return, while it may be computed anew.
struct Servable<'g> {
    value: ValueRef<'g>,
    freshness: Freshness,
    /// Where it is to be computed anew, and nobody does.
    claim: Option<Claim>,
    /// What may bring a newer value, the number of its course, and for how long the call waits for it.
    joined: Option<(Arc<Flight>, u64, Duration)>,
}

impl Query {
    /// What the call is answered with, if that is not simply fresh, and need not be computed first.
    fn serve<'g>(&mut self, guard: &'g Guard) -> Option<Servable<'g>> {
        let (target, cells) = self.target.as_ref().zip(Cells::of_this_thread())?;
        if self.refresh || self.resumes.is_some() {
            return None;
        }
        let (table, base, hash) = (target.table, target.table.base(), target.hash);
        let now = base.now();
        let mut locked = table.lock(hash, guard);
        let ahead = |value: ValueRef<'_>| self.ahead(self.draw, base.cost(), value);
        let found = locked.servable(hash, &target.is_live_key(), &ahead, now);
        let max_wait = self.state.policy().max_wait();
        let is_for_here = |freshness: Freshness| {
            freshness.is_served_meanwhile() || freshness.is_stale() && max_wait.is_some()
        };
        let (value, freshness) = found.filter(|(_, freshness)| is_for_here(*freshness))?;
        let claim = match target.service(freshness, &mut locked.writer, now) {
            Service::Serve | Service::Wait => None,
            Service::Compute => self.target.as_mut().and_then(Target::take_key).map(|key| {
                let number = cells.number_computation();
                locked.writer.flights.enqueue(hash, key, number);
                Claim { function: self.function, table, hash, number }
            }),
        };
        let joined = max_wait.filter(|_| freshness.is_stale()).and_then(|most| {
            let flights = &mut locked.writer.flights;
            let (flight, number) = match &claim {
                Some(claim) => flights.join_number(hash, claim.number),
                None => flights.join_for_now(hash, &self.target.as_ref()?.is_live_key()),
            }?;
            Some((flight, number, most))
        });
        Some(Servable { value, freshness, claim, joined })
    }

    /// Counts a value that was served.
    fn count_served(&self, freshness: Freshness) {
        if let Some((target, cells)) = self.target.as_ref().zip(Cells::of_this_thread()) {
            self.count_hit(target.table, freshness, cells);
        }
    }
}

/// Computes anew in the background what a backend has, by a call with copies of the arguments.
#[cfg(feature = "backend")]
pub(crate) struct Renewer(Box<dyn FnOnce(Claim) + Send>);

#[cfg(feature = "backend")]
impl Renewer {
    pub(crate) fn new<R>(call: impl FnOnce() -> R + Send + 'static) -> Self {
        Self(Box::new(|claim| claim.spawn(call)))
    }

    pub(crate) fn new_async(call: impl Future + Send + 'static) -> Self {
        Self(Box::new(|claim| claim.spawn_async(call)))
    }
}

#[cfg(feature = "backend")]
impl<O: Outcome> Computation<'_, O> {
    /// What this process computes aside, where the backend has nothing to serve meanwhile any more. Nobody waits
    /// for what has not begun: that is taken away.
    pub(crate) async fn await_renewal(&self, ticket: &Ticket, way: Way) -> Option<O::Returned> {
        let call = self.call();
        let Target { table, hash, .. } = call.query.target.as_ref()?;
        if !ticket.may_await_renewal() || self.is_aside() || !call.query.state.policy().serves_ahead() {
            return None;
        }
        let (joined, overtaken) = with_guard(|guard| {
            let flights = &mut table.lock(*hash, guard).writer.flights;
            match flights.renewal(*hash, self.number(), &|one, other| table.base().keys.same(one, other)) {
                Some((number, false)) => (flights.join_number(*hash, number), None),
                Some((number, true)) => (None, flights.finish(*hash, number)),
                None => (None, None),
            }
        });
        if let Some(Finished { flight: Some(flight), .. }) = overtaken {
            flight.end(Ending::Lost);
        }
        let (flight, number) = joined?;
        let _waiting = Waiting::begin(number)?;
        let ending = match way {
            Way::Blocking => flight.wait(),
            Way::Awaited => flight.ended().await,
        };
        call.brought(ending)
    }

    /// Answers the call with what was found, which is computed anew in the background; for a while it waits for
    /// that, if it is to.
    pub(crate) async fn hand_over(
        mut self,
        value: O::Stored,
        freshness: Freshness,
        renewer: Renewer,
        way: Way,
    ) -> O::Returned {
        let call = self.call();
        let mut awaited = None;
        if let Some((Target { table, hash, .. }, cells)) =
            call.query.target.as_ref().zip(Cells::of_this_thread())
        {
            let number = cells.number_computation();
            self.leave_to(number);
            if let Some(most) = call.query.state.policy().max_wait().filter(|_| freshness.is_stale()) {
                let joined =
                    with_guard(|guard| table.lock(*hash, guard).writer.flights.join_number(*hash, number));
                awaited = joined.and_then(|(flight, number)| Some((flight, Waiting::begin(number)?, most)));
            }
            call.query.state.rare.revalidations.add(1);
            renewer.0(Claim { function: call.query.function, table: *table, hash: *hash, number });
        }
        let new = match (awaited, way) {
            (None, _) => None,
            (Some(awaited), Way::Blocking) => call.brought_soon(awaited),
            (Some(awaited), Way::Awaited) => call.brought_soon_async(awaited).await,
        };
        let returned = new.unwrap_or_else(|| {
            if freshness.is_stale() {
                call.query.state.rare.stale.add(1);
            }
            call.outcome.returned(value)
        });
        self.settle(returned, None, true).returned
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
