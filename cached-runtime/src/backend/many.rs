//! Many keys of a function with a backend: one round trip for those that are not in this process, one call of a
//! loader for those that are not in the backend either.

use std::any::Any;
use std::future::poll_fn;
use std::panic::resume_unwind;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::thread;

use parking_lot::Mutex;

use super::codec::Coding;
use super::link::{Way, blocking};
use super::remote::{Fetched, Kept, Remote, RemoteKey, Ticket};
use super::shared::{SharedStep, finish, serve};
use crate::bulk::{Batch, Missing, Round, Wait, all};
use crate::call::{Step, caught_if, ended};
use crate::circle;
use crate::computation::Computation;
use crate::flight::Together;
use crate::outcome::Outcome;
use crate::policy::{Freshness, Service};
use crate::store::any::ValueRef;

type Panic = Box<dyn Any + Send>;

/// What the backend has nothing of, or nothing that is fresh.
struct Absent<'a, O: Outcome> {
    missing: Missing<'a, O>,
    ticket: Option<Ticket>,
    /// What stands in for an error.
    old: Option<Kept<O::Stored>>,
}

/// How each key is known in the backend, if it is.
struct Remotes<O: Outcome> {
    keys: Vec<Option<(&'static Remote, RemoteKey)>>,
    coding: Option<Coding<O::Stored>>,
}

impl<O: Outcome> Remotes<O> {
    fn batch<K>(keys: Vec<K>, mut begin: impl FnMut(K) -> (SharedStep<O>, K)) -> (Batch<K, O>, Self) {
        let mut remotes = Self { keys: Vec::new(), coding: None };
        let batch = Batch::new(keys, |key| {
            let (step, key) = begin(key);
            let (step, remote) = match step {
                SharedStep::Return(value) => (Step::Return(value), None),
                SharedStep::Run(call) => {
                    let (call, coding, remote) = call.into_parts();
                    remotes.coding = Some(coding);
                    (Step::Run(call), remote)
                }
            };
            remotes.keys.push(remote);
            (step, key)
        });
        (batch, remotes)
    }

    fn of(&self, missing: &Missing<'_, O>) -> Option<&(&'static Remote, RemoteKey)> {
        missing.computation.as_ref()?;
        self.keys[missing.at].as_ref()
    }

    /// What the backend has of what is missing: in order, nothing where it was not asked.
    async fn fetch(&self, way: Way, missing: &[Missing<'_, O>]) -> Vec<Option<Fetched<O::Stored>>> {
        let asked: Vec<_> = missing.iter().map(|missing| self.of(missing)).collect();
        let keys: Vec<&RemoteKey> = asked.iter().flatten().map(|(_, key)| key).collect();
        let (Some((remote, _)), Some(coding)) = (asked.iter().flatten().next(), self.coding) else {
            return asked.iter().map(|_| None).collect();
        };
        let mut fetched = remote.fetch_many(way, &keys, coding).await.into_iter();
        asked.iter().map(|asked| asked.and_then(|_| fetched.next())).collect()
    }

    /// Answers for what is missing, from the backend or by the loader.
    async fn fill<K, A: FnMut(&K) -> O::Returned>(
        &self,
        way: Way,
        round: &mut Round<'_, K, O>,
        load: impl AsyncFnOnce(Arc<[K]>) -> A,
    ) {
        let fetched = self.fetch(way, &round.missing).await;
        let (mut absent, mut keys) = (Vec::new(), Vec::new());
        let missing = std::mem::take(&mut round.missing).into_iter().zip(std::mem::take(&mut round.keys));
        for ((mut missing, key), fetched) in missing.zip(fetched) {
            let (mut ticket, mut old) = (None, None);
            match (fetched, missing.computation.take(), self.keys[missing.at].as_ref()) {
                (Some(Fetched::Value(kept, leave)), Some(mut computation), Some((remote, key))) => {
                    let call = computation.call();
                    let ahead = call.query.ahead(call.query.draw, kept.cost, ValueRef::new(&kept.value));
                    let freshness = kept.freshness(remote, ahead);
                    if freshness == Freshness::Early || computation.service(freshness) == Service::Serve {
                        let served = serve(computation, (remote, key), kept, freshness, way);
                        *missing.value = Some(served.await);
                        continue;
                    }
                    if computation.can_be_set_aside(freshness, false) {
                        computation.set_aside(&kept.value);
                    }
                    computation.replaces(freshness);
                    missing.computation = Some(computation);
                    (ticket, old) = (Some(leave), Some(kept));
                }
                (Some(Fetched::Nothing(leave)), computation, _) => {
                    (missing.computation, ticket) = (computation, Some(leave));
                }
                (_, computation, _) => missing.computation = computation,
            }
            absent.push(Absent { missing, ticket, old });
            keys.push(key);
        }
        if absent.is_empty() {
            return;
        }
        for computation in absent.iter_mut().filter_map(|it| it.missing.computation.as_mut()) {
            computation.restart();
        }
        let (keys, parts): (Arc<[K]>, _) = (keys.into(), absent.len() as u64);
        let wanted = absent.iter().any(|absent| absent.old.is_some());
        let mut answer = match ended(wanted, load(Arc::clone(&keys))).await {
            Ok(answer) => answer,
            Err(panic) => return self.stand_in(way, absent, panic).await,
        };
        let returned: Vec<_> = keys.iter().map(|key| caught_if(true, || answer(key))).collect();
        let panics = Mutex::new(Vec::new());
        let writes = absent.into_iter().zip(returned).map(|(absent, returned)| async {
            let panic = self.write(way, absent, parts, returned).await;
            panics.lock().extend(panic);
        });
        all(writes.map(|write| Box::pin(write) as Pin<Box<_>>).collect()).await;
        // What has failed is lost with it.
        if let Some((panic, _lost)) = panics.into_inner().pop() {
            resume_unwind(panic);
        }
    }

    /// Answers for what the loader has returned for a key, unless that is a panic that goes on.
    async fn write<'a>(
        &self,
        way: Way,
        absent: Absent<'a, O>,
        parts: u64,
        returned: thread::Result<O::Returned>,
    ) -> Option<(Panic, Option<Computation<'a, O>>)> {
        let Absent { missing: Missing { at, value, computation }, ticket, old } = absent;
        let (Some(computation), Some(coding)) = (computation, self.coding) else {
            return returned.map(|returned| *value = Some(returned)).err().map(|panic| (panic, None));
        };
        let mut computation = computation.one_of(parts);
        if returned.is_ok() {
            computation.stop();
        }
        let remote = self.keys[at].as_ref();
        let has_failed = returned.as_ref().map_or(true, |it| computation.call().outcome.is_error(it));
        if let (Some(old), Some((remote, key))) = (old, remote)
            && has_failed
            && !computation.is_fenced()
            && let Some(old) = remote.fall_back(way, key, coding, old).await
        {
            *value = Some(computation.fall_back_to(old, returned));
            return None;
        }
        match returned {
            Ok(returned) => {
                *value = Some(finish(computation, coding, remote.zip(ticket), way, returned).await);
                None
            }
            Err(panic) => Some((panic, Some(computation))),
        }
    }

    /// Answers after a panic of the loader, which goes on unless there is a value to serve for each key.
    async fn stand_in(&self, way: Way, absent: Vec<Absent<'_, O>>, panic: Panic) {
        let (parts, mut lost) = (absent.len() as u64, Vec::new());
        for absent in absent {
            lost.extend(self.write(way, absent, parts, Err(Box::new(()))).await);
        }
        if !lost.is_empty() {
            resume_unwind(panic);
        }
    }
}

/// [`get_many`](crate::bulk::get_many) of a function with a backend.
pub fn get_many_shared<K, O: Outcome, A: FnMut(&K) -> O::Returned>(
    keys: Vec<K>,
    begin: impl FnMut(K) -> (SharedStep<O>, K),
    mut load: impl FnMut(&[K]) -> A,
) -> Vec<O::Returned> {
    let (mut batch, remotes) = Remotes::batch(keys, begin);
    while let Some(mut round) = batch.round(false) {
        if !round.missing.is_empty() {
            let _entered = round.course.clone().map(circle::enter);
            let load = async |keys: Arc<[K]>| load(&keys);
            blocking(remotes.fill(Way::Blocking, &mut round, load));
        }
        for Wait { value, call, flight, waiting: _waiting } in round.waits {
            *value = call.after(flight.wait());
        }
    }
    batch.into_values()
}

/// The same with a loader that is awaited.
pub async fn get_many_shared_async<K, O: Outcome, A: FnMut(&K) -> O::Returned, F>(
    keys: Vec<K>,
    begin: impl FnMut(K) -> (SharedStep<O>, K),
    mut load: impl FnMut(Arc<[K]>) -> F,
) -> Vec<O::Returned>
where
    F: Future<Output = A>,
{
    let (mut batch, remotes) = Remotes::batch(keys, begin);
    while let Some(mut round) = batch.round(true) {
        if !round.missing.is_empty() {
            let (course, together) = (round.course.clone(), Together::of(std::mem::take(&mut round.flights)));
            let mut filling = pin!(remotes.fill(Way::Awaited, &mut round, async |keys| load(keys).await));
            poll_fn(|context| match &course {
                Some(course) => together.poll(course, filling.as_mut(), context),
                None => filling.as_mut().poll(context),
            })
            .await;
        }
        for Wait { value, call, flight, waiting: _waiting } in round.waits {
            *value = call.after(flight.ended().await);
        }
    }
    batch.into_values()
}
