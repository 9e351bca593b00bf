//! Calls under the model checker: flights, fences, circles.

use std::future::{Future, poll_fn};
use std::marker::PhantomData;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::SeqCst;
use std::task::{Context, Poll, Waker};

use shuttle::future::block_on;
use shuttle::thread::{self, JoinHandle, yield_now};

use crate::call::{Entry, Lookup, Step, begin_if};
use crate::function::Function;
use crate::key::{Arg, key};
use crate::outcome::{Ret, value};
use crate::policy::PolicyBuilder;
use crate::shim::explore;
use crate::tag::tagged;
use crate::testing;

static FUNCTION: Function = Function::new("model", PolicyBuilder::new().capacity(4));

/// Makes the values: what they are now, and how often they were made.
#[derive(Default)]
struct Source {
    now: AtomicU32,
    runs: AtomicU32,
}

impl Source {
    /// A body: what it returns may be old by then.
    fn read(&self) -> u32 {
        self.runs.fetch_add(1, SeqCst);
        let read = self.now.load(SeqCst);
        yield_now();
        read
    }

    fn runs(&self) -> u32 {
        self.runs.load(SeqCst)
    }
}

/// Every key has one.
fn tags() -> [String; 1] {
    ["tag".to_owned()]
}

fn outcome() -> impl crate::outcome::Outcome<Returned = u32, Stored = u32> {
    value(Ret::<fn() -> u32>::NEW.__outcome())
}

fn call_if(lookup: Lookup, number: u32, body: impl FnOnce() -> u32) -> u32 {
    let part = tagged((key(Arg::new(&number).__view()),), &tags);
    match begin_if(lookup, &FUNCTION, outcome(), PhantomData::<()>, part) {
        Step::Return(value) => value,
        Step::Run(call) => call.run(body),
    }
}

fn call(number: u32, body: impl FnOnce() -> u32) -> u32 {
    call_if(Lookup::new(), number, body)
}

async fn call_async(number: u32, body: impl AsyncFnOnce() -> u32) -> u32 {
    let part = tagged((key(Arg::new(&number).__view()),), &tags);
    match begin_if(Lookup::new(), &FUNCTION, outcome(), PhantomData::<()>, part) {
        Step::Return(value) => value,
        Step::Run(call) => call.run_async(body).await,
    }
}

fn entry(number: u32) -> impl Entry<Returned = u32> {
    FUNCTION.entry(outcome(), PhantomData::<()>, tagged((key(Arg::new(&number).__view()),), &tags))
}

/// Runs a model in a store of its own.
fn explored(model: impl Fn(&Arc<Source>) + Clone + Send + Sync + 'static) {
    explore(move || {
        let _own = testing::isolated();
        model(&Arc::default());
    });
}

fn spawn<R: Send + 'static>(
    source: &Arc<Source>,
    act: impl FnOnce(&Source) -> R + Send + 'static,
) -> JoinHandle<R> {
    let source = Arc::clone(source);
    thread::spawn(move || act(&source))
}

fn join<R>(thread: JoinHandle<R>) -> R {
    thread.join().expect("no thread panics")
}

#[test]
fn concurrent_calls_of_one_key_run_the_body_once() {
    explored(|source| {
        let threads = [(); 3].map(|()| spawn(source, |source| call(1, || source.read() + 7)));
        assert_eq!(threads.map(join), [7; 3]);
        assert_eq!(source.runs(), 1);
        let stats = FUNCTION.stats();
        assert_eq!((stats.computations, stats.entries), (1, 1));
        assert_eq!(stats.hits + stats.coalesced, 2);
    });
}

#[test]
fn a_body_that_panics_fails_its_own_caller_and_the_others_go_on() {
    explored(|source| {
        let fails = spawn(source, |source| {
            let body = || -> u32 {
                source.read();
                resume_unwind(Box::new(()))
            };
            catch_unwind(AssertUnwindSafe(|| call(1, body))).is_err()
        });
        let others = [(); 2].map(|()| spawn(source, |source| call(1, || source.read() + 7)));
        let failed = join(fails);
        assert_eq!(others.map(join), [7; 2]);
        assert_eq!(source.runs(), 1 + u32::from(failed));
        assert_eq!(FUNCTION.stats().abandoned, u64::from(failed));
        assert_eq!(entry(1).peek(), Some(7));
    });
}

#[test]
fn a_leader_that_is_dropped_leaves_its_place_to_one_of_those_who_wait() {
    explored(|source| {
        let leaves = spawn(source, |source| {
            let body = async || {
                source.read();
                std::future::pending().await
            };
            let polled = pin!(call_async(1, body)).poll(&mut Context::from_waker(Waker::noop()));
            // It is dropped here, unless it waits for another one or was answered.
            polled.is_pending()
        });
        let waits = spawn(source, |source| call(1, || source.read() + 7));
        let awaits = spawn(source, |source| block_on(call_async(1, async || source.read() + 7)));
        join(leaves);
        assert_eq!([waits, awaits].map(join), [7; 2]);
        assert!((1..=2).contains(&source.runs()), "{}", source.runs());
        assert_eq!(u64::from(source.runs()), 1 + FUNCTION.stats().abandoned);
    });
}

/// Something that a body waits for. What wakes it comes from another thread: shuttle polls a task once
/// more if it was woken for any reason while it was polled.
#[derive(Default)]
struct Signal(parking_lot::Mutex<(bool, Option<Waker>)>);

impl Signal {
    fn raise(&self) {
        let waker = {
            let mut signal = self.0.lock();
            signal.0 = true;
            signal.1.take()
        };
        waker.into_iter().for_each(Waker::wake);
    }

    async fn raised(&self) {
        poll_fn(|context| {
            let mut signal = self.0.lock();
            if signal.0 {
                return Poll::Ready(());
            }
            signal.1 = Some(context.waker().clone());
            Poll::Pending
        })
        .await;
    }
}

#[test]
fn a_leader_is_woken_and_those_who_wait_hear_of_its_end() {
    explored(|source| {
        let signal = Arc::new(Signal::default());
        let callers = [(); 2].map(|()| {
            let signal = Arc::clone(&signal);
            let call = move |source: &Source| {
                let body = async || {
                    let read = source.read();
                    signal.raised().await;
                    read + 7
                };
                block_on(call_async(1, body))
            };
            spawn(source, call)
        });
        let raises = spawn(source, move |_| {
            yield_now();
            signal.raise();
        });
        join(raises);
        assert_eq!(callers.map(join), [7; 2]);
        assert_eq!(source.runs(), 1);
    });
}

/// What was read before the source changed is not served by a call that begins after `forget`, nor does
/// it stay. The writer's own body cannot be old.
fn nothing_old_is_served_after(forget: fn(&Source)) {
    explored(move |source| {
        let threads = [(); 2].map(|()| spawn(source, |source| call(1, || source.read())));
        let writer = spawn(source, move |source| {
            source.now.store(1, SeqCst);
            forget(source);
            assert_ne!(entry(1).peek(), Some(0), "it was forgotten");
            assert_eq!(call(1, || source.read()), 1, "the call began afterwards");
        });
        for value in threads.map(join) {
            assert!(value < 2);
        }
        join(writer);
        assert_eq!(entry(1).peek(), Some(1));
    });
}

#[test]
fn an_invalidation_is_not_undone_by_what_began_before_it() {
    nothing_old_is_served_after(|_| {
        entry(1).invalidate();
    });
}

#[test]
fn an_invalidation_by_tag_is_not_undone_by_what_began_before_it() {
    nothing_old_is_served_after(|_| crate::store().invalidate_tag("tag"));
}

#[test]
fn a_clear_is_not_undone_by_what_began_before_it() {
    nothing_old_is_served_after(|_| crate::store().clear());
}

#[test]
fn a_put_is_not_undone_by_what_began_before_it() {
    nothing_old_is_served_after(|_| entry(1).put(1));
}

#[test]
fn a_refresh_is_not_undone_by_what_began_before_it() {
    nothing_old_is_served_after(|source| {
        assert_eq!(call_if(Lookup::new().refresh_if(true), 1, || source.read()), 1);
    });
}

#[test]
fn calls_that_need_each_other_end() {
    explored(|source| {
        let around = |first: u32| {
            move |source: &Source| {
                let inner = |number, within: u32| call(number, || source.read() + call(within, || 0));
                call(first, || 10 + inner(first % 3 + 1, (first + 1) % 3 + 1))
            }
        };
        let threads = [1, 2, 3].map(|first| spawn(source, around(first)));
        for value in threads.map(join) {
            assert!(value < 100);
        }
    });
}
