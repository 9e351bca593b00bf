//! Many keys of one function at once: hits from the store, one call of a loader for all that is missing.
//!
//! In the store each of these keys is a computation of its own, so that single calls wait for it; for circles all of
//! them are one course. A batch begins all that it computes before it loads, lands all of it, and only then waits for
//! what others compute: so no two batches wait for each other.

use std::future::poll_fn;
use std::panic::resume_unwind;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::Poll;
use std::thread;

use crate::call::{Begun, Call, Step, Turn, caught_if, ended};
use crate::circle::{self, Course, Waiting};
use crate::computation::Computation;
use crate::flight::{Flight, Together};
use crate::outcome::Outcome;

/// The values of some keys, in their order. `load` is called with those that nobody else computes, usually once: again
/// only if somebody else has failed, or has nothing to share. What it returns is asked for the value of each of them.
pub fn get_many<K, O: Outcome, A: FnMut(&K) -> O::Returned>(
    keys: Vec<K>,
    begin: impl FnMut(K) -> (Step<O>, K),
    mut load: impl FnMut(&[K]) -> A,
) -> Vec<O::Returned> {
    let mut batch = Batch::new(keys, begin);
    while let Some(mut round) = batch.round(false) {
        if !round.missing.is_empty() {
            let _entered = round.course.clone().map(circle::enter);
            let keys = std::mem::take(&mut round.keys);
            let answer = caught_if(round.has_fallback(), || load(&keys));
            round.land(&keys, answer);
        }
        for Wait { value, call, flight, waiting: _waiting } in round.waits {
            *value = call.after(flight.wait());
        }
    }
    batch.into_values()
}

/// The same with a loader that is awaited. It gets keys that it can keep, so that its future borrows nothing of what is
/// here.
pub async fn get_many_async<K, O: Outcome, A: FnMut(&K) -> O::Returned, F: Future<Output = A>>(
    keys: Vec<K>,
    begin: impl FnMut(K) -> (Step<O>, K),
    mut load: impl FnMut(Arc<[K]>) -> F,
) -> Vec<O::Returned> {
    let mut batch = Batch::new(keys, begin);
    while let Some(mut round) = batch.round(true) {
        if !round.missing.is_empty() {
            let keys: Arc<[K]> = std::mem::take(&mut round.keys).into();
            let (course, together) = (round.course.clone(), Together::of(std::mem::take(&mut round.flights)));
            let answer = {
                let loading = async { load(Arc::clone(&keys)).await };
                let mut loading = pin!(ended(round.has_fallback(), loading));
                poll_fn(|context| match &course {
                    Some(course) => together.poll(course, loading.as_mut(), context),
                    None => loading.as_mut().poll(context),
                })
                .await
            };
            let _entered = course.map(circle::enter);
            round.land(&keys, answer);
        }
        for Wait { value, call, flight, waiting: _waiting } in round.waits {
            *value = call.after(flight.ended().await);
        }
    }
    batch.into_values()
}

/// Awaits all of them at once.
pub(crate) async fn all<F: Future<Output = ()> + ?Sized>(mut futures: Vec<Pin<Box<F>>>) {
    poll_fn(|context| {
        futures.retain_mut(|future| future.as_mut().poll(context).is_pending());
        if futures.is_empty() { Poll::Ready(()) } else { Poll::Pending }
    })
    .await;
}

/// One of the keys.
pub(crate) struct Asked<K, O: Outcome> {
    /// Until it is loaded.
    key: Option<K>,
    /// There if it was no hit.
    call: Option<Call<O>>,
    value: Option<O::Returned>,
}

pub(crate) struct Batch<K, O: Outcome>(Vec<Asked<K, O>>);

/// What there is to do for keys that have no value yet.
pub(crate) struct Round<'a, K, O: Outcome> {
    pub(crate) missing: Vec<Missing<'a, O>>,
    /// Those of what is missing.
    pub(crate) keys: Vec<K>,
    /// That of all computations, if there are any.
    pub(crate) course: Option<Course>,
    /// Those of the computations, where they are needed.
    pub(crate) flights: Vec<Arc<Flight>>,
    /// What others compute, or this batch for another position of the same key.
    pub(crate) waits: Vec<Wait<'a, O>>,
}

pub(crate) struct Missing<'a, O: Outcome> {
    /// The position of the key.
    #[cfg_attr(not(feature = "backend"), expect(dead_code, reason = "of use to backends"))]
    pub(crate) at: usize,
    pub(crate) value: &'a mut Option<O::Returned>,
    /// Absent if the value is not to be stored. Dropped before it has landed, it is lost.
    pub(crate) computation: Option<Computation<'a, O>>,
}

pub(crate) struct Wait<'a, O: Outcome> {
    pub(crate) value: &'a mut Option<O::Returned>,
    pub(crate) call: &'a mut Call<O>,
    pub(crate) flight: Arc<Flight>,
    pub(crate) waiting: Waiting,
}

impl<K, O: Outcome> Batch<K, O> {
    pub(crate) fn new(keys: Vec<K>, mut begin: impl FnMut(K) -> (Step<O>, K)) -> Self {
        let ask = |key| {
            let (step, key) = begin(key);
            let (call, value) = match step {
                Step::Return(value) => (None, Some(value)),
                Step::Run(mut call) => {
                    call.query.is_of_batch = true;
                    (Some(call), None)
                }
            };
            Asked { key: Some(key), call, value }
        };
        Self(keys.into_iter().map(ask).collect())
    }

    /// Looks up again what has no value, and begins what nobody computes; nothing if all have one.
    pub(crate) fn round(&mut self, needs_flights: bool) -> Option<Round<'_, K, O>> {
        if self.0.iter().all(|asked| asked.value.is_some()) {
            return None;
        }
        let (missing, keys, flights, waits) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let mut round = Round { missing, keys, course: None, flights, waits };
        let mut course = None;
        for (at, Asked { key, call, value }) in self.0.iter_mut().enumerate() {
            let Some(call) = call.as_mut().filter(|_| value.is_none()) else { continue };
            call.query.course = course;
            match call.turn(needs_flights) {
                Turn::Return(found) => *value = Some(found),
                Turn::Bypass => {
                    round.missing.push(Missing { at, value, computation: None });
                    round.keys.extend(key.take());
                }
                Turn::Compute(Begun { number, old, start, course: begun, flight, entered }) => {
                    drop(entered);
                    let computation = Some(Computation::begin(call, number, old, start, Some(begun.clone())));
                    round.missing.push(Missing { at, value, computation });
                    round.keys.extend(key.take());
                    round.flights.extend(flight);
                    course.get_or_insert(number);
                    round.course.get_or_insert(begun);
                }
                Turn::Wait(flight, waiting) => round.waits.push(Wait { value, call, flight, waiting }),
            }
        }
        Some(round)
    }

    pub(crate) fn into_values(self) -> Vec<O::Returned> {
        self.0.into_iter().filter_map(|asked| asked.value).collect()
    }
}

impl<K, O: Outcome> Round<'_, K, O> {
    /// Whether a panic of the loader is not at once that of the batch.
    fn has_fallback(&self) -> bool {
        self.missing.iter().filter_map(|missing| missing.computation.as_ref()).any(Computation::has_fallback)
    }

    /// Answers for what was loaded. A panic goes on unless there is a value to serve for each key.
    fn land(&mut self, keys: &[K], loaded: thread::Result<impl FnMut(&K) -> O::Returned>) {
        let mut answer = match loaded {
            Ok(answer) => answer,
            Err(panic) => {
                self.missing.retain_mut(|Missing { value, computation, .. }| {
                    match computation.take().map(Computation::stand_in) {
                        Some(Ok(stale)) => **value = Some(stale),
                        Some(Err(lost)) => *computation = Some(lost),
                        None => {}
                    }
                    value.is_none()
                });
                if self.missing.is_empty() {
                    return;
                }
                resume_unwind(panic);
            }
        };
        let parts = self.missing.len() as u64;
        for (Missing { value, computation, .. }, key) in self.missing.drain(..).zip(keys) {
            *value = Some(match computation.map(|it| it.one_of(parts)) {
                Some(computation) => {
                    let returned = caught_if(computation.has_fallback(), || answer(key));
                    computation.conclude(returned)
                }
                None => answer(key),
            });
        }
    }
}
