//! Values that are served, and meanwhile computed anew in the background: by a call of the function itself, with
//! copies of the arguments, that takes over a computation which is registered already.

use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::Poll;

use sdd::Guard;

use crate::call::{Call, DeliveryOf, Lookup, Mode, Owned, force};
use crate::computation::ahead;
use crate::epoch::with_guard;
use crate::flight::Ending;
use crate::function::Function;
use crate::outcome::Outcome;
use crate::policy::Service;
use crate::spawner::{spawn, spawn_blocking};
use crate::stats::Cells;
use crate::store::table::Table;

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
        let found = table.servable(hash, target.is_key(), ahead, now, &guard);
        let Some((value, freshness)) = found.filter(|(_, freshness)| freshness.is_served_meanwhile()) else {
            drop(locked);
            return self;
        };
        let claim = match target.service(freshness, &mut locked.writer, now) {
            Service::Serve => None,
            Service::Wait => {
                drop(locked);
                return self;
            }
            Service::Compute => target.key.take().map(|key| {
                let number = cells.number_computation();
                locked.writer.flights.enqueue(hash, key, number);
                Claim { function: self.function, table, hash, number }
            }),
        };
        drop(locked);
        self.count_hit(table, freshness, cells);
        self.answer = Some(value.clone());
        drop(guard);
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
    fn enter(&self) {}
}
