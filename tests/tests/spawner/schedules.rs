//! Random schedules of calls, writes, failures, background tasks and steps of the clock, against a simple model: in
//! one process, and in two that share a backend.

use std::cell::RefCell;
use std::collections::HashMap;
use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::task::Poll;
use std::thread;
use std::time::Duration;

use cached_runtime::{Backend, cached, testing};
use cached_tests::engine::Timed;
use cached_tests::poll_once;
use proptest::prelude::*;

use super::{KEPT, Spawns, Task, spawner};

/// In seconds.
const TIMEOUT: u64 = 10;
const BACKOFF: u64 = 3;
const KEYS: u8 = 2;

#[derive(Clone, Copy, Debug)]
enum Step {
    Call(u8),
    Put(u8),
    Invalidate(u8),
    Clear,
    /// The body returns a value from now on, or an error, or panics.
    Body(Body),
    Advance(u64),
    /// Polls one of the background's tasks once, or to its end, or drops it.
    Poll(usize),
    Finish(usize),
    Drop(usize),
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Body {
    #[default]
    Returns,
    Fails,
    Panics,
}

fn step() -> impl Strategy<Value = Step> {
    let key = 0..KEYS;
    prop_oneof![
        8 => key.clone().prop_map(Step::Call),
        1 => key.clone().prop_map(Step::Put),
        2 => key.prop_map(Step::Invalidate),
        1 => Just(Step::Clear),
        2 => prop_oneof![Just(Body::Returns), Just(Body::Fails), Just(Body::Panics)].prop_map(Step::Body),
        5 => (1..8_u64).prop_map(Step::Advance),
        3 => (0..4_usize).prop_map(Step::Poll),
        3 => (0..4_usize).prop_map(Step::Finish),
        1 => (0..4_usize).prop_map(Step::Drop),
    ]
}

/// A value is the number of the write or read that it comes from.
type Answer = Result<u64, String>;
type Future_<T> = Pin<Box<dyn Future<Output = T>>>;

/// What the bodies see, and what is known about each key.
#[derive(Default)]
struct Model {
    now: u64,
    /// In a backend nothing is stored of a body that takes as long as a value lives.
    life: Option<u64>,
    body: Body,
    numbers: u64,
    keys: HashMap<u8, Known>,
}

#[derive(Clone, Copy, Default)]
struct Known {
    /// The value that is stored, and since when.
    stored: Option<(u64, u64)>,
    /// Whatever has a smaller number must not be returned to a call that begins now.
    floor: u64,
    /// How often it was fenced, and how many bodies run since then.
    fences: u64,
    running: u32,
    failed: Option<u64>,
    /// Whether the body took too long for what is stored to be there.
    is_doubtful: bool,
}

thread_local! {
    static MODEL: RefCell<Model> = RefCell::default();
}

fn model<R>(act: impl FnOnce(&mut Model) -> R) -> R {
    MODEL.with_borrow_mut(act)
}

impl Model {
    fn number(&mut self) -> u64 {
        self.numbers += 1;
        self.numbers
    }

    fn known(&mut self, key: u8) -> &mut Known {
        self.keys.entry(key).or_default()
    }

    fn fence(&mut self, key: u8, stored: Option<u64>) {
        let (now, floor) = (self.now, stored.unwrap_or(self.numbers + 1));
        let known = self.known(key);
        let fences = known.fences + 1;
        *known = Known { stored: stored.map(|it| (it, now)), floor, fences, ..Known::default() };
    }
}

/// A body that runs.
struct Running {
    key: u8,
    fences: u64,
    begun: u64,
}

impl Running {
    fn begin(key: u8) -> (Self, u64) {
        model(|model| {
            let (number, begun) = (model.number(), model.now);
            let known = model.known(key);
            known.running += 1;
            assert!(known.running == 1, "two bodies at once");
            (Self { key, fences: known.fences, begun }, number)
        })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        model(|model| {
            let known = model.known(self.key);
            if known.fences == self.fences {
                known.running -= 1;
            }
        });
    }
}

async fn body(key: u8) -> Answer {
    let (running, number) = Running::begin(key);
    yield_now().await;
    let fails = model(|model| {
        let (now, body) = (model.now, model.body);
        let is_doubtful = model.life.is_some_and(|life| now - running.begun >= life);
        let known = model.known(running.key);
        if known.fences == running.fences {
            match body {
                Body::Returns => {
                    (known.stored, known.failed, known.is_doubtful) =
                        (Some((number, now)), None, is_doubtful);
                }
                Body::Fails | Body::Panics => known.failed = Some(now),
            }
        }
        body
    });
    match fails {
        Body::Returns => Ok(number),
        Body::Fails => Err("down".to_owned()),
        // Without the noise of a hook.
        Body::Panics => std::panic::resume_unwind(Box::new(())),
    }
}

async fn yield_now() {
    let mut yielded = false;
    poll_fn(|context| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

/// A function of some policy.
struct Subject {
    call: fn(u8) -> Future_<Answer>,
    peek: fn(u8) -> Option<Answer>,
    put: fn(u8, u64),
    invalidate: fn(u8) -> bool,
    clear: fn(),
    /// Windows after the timeout, in seconds.
    meanwhile: u64,
    on_error: u64,
    is_inline: bool,
    /// Whether two processes share a backend.
    is_shared: bool,
}

macro_rules! subject {
    ($meanwhile:literal, $on_error:literal, $is_inline:literal, $($option:tt)*) => {{
        #[cached($($option)*)]
        async fn f(key: u8) -> Answer {
            body(key).await
        }
        Subject {
            call: |key| Box::pin(f(key)),
            peek: |key| super::done(f::peek(key)),
            put: |key, value| super::done(f::put(key, Ok(value))),
            invalidate: |key| super::done(f::invalidate(key)),
            clear: || super::done(f::clear()),
            meanwhile: $meanwhile,
            on_error: $on_error,
            is_inline: $is_inline,
            is_shared: false,
        }
    }};
}

fn subjects() -> [Subject; 5] {
    [
        subject!(8, 0, false, timeout = 10, stale_while_revalidate = 8),
        subject!(8, 0, true, timeout = 10, stale_while_revalidate = 8, revalidate = "inline"),
        subject!(0, 12, true, timeout = 10, stale_if_error = 12, error_backoff = 3),
        subject!(
            5,
            12,
            false,
            timeout = 10,
            stale_while_revalidate = 5,
            stale_if_error = 12,
            error_backoff = 3,
            refresh_ahead = 0.6
        ),
        subject!(
            9,
            4,
            true,
            timeout = 10,
            stale_while_revalidate = 9,
            stale_if_error = 4,
            error_backoff = 3,
            refresh_ahead = "xfetch",
            revalidate = "inline"
        ),
    ]
}

static ENGINE: LazyLock<Arc<Timed>> = LazyLock::new(Timed::new);
static SHARED: Backend = Backend::driver("timed", || ENGINE.clone());

/// One test at a time uses the engine.
static USES_ENGINE: Mutex<()> = Mutex::new(());

/// No two clocks are the same: nothing is decided at the second.
fn shared_subjects() -> [Subject; 4] {
    let subjects = [
        subject!(8, 0, false, timeout = "9900ms", stale_while_revalidate = 8, backend = SHARED, lease = "1h"),
        subject!(
            8,
            0,
            true,
            timeout = "9900ms",
            stale_while_revalidate = 8,
            revalidate = "inline",
            backend = SHARED,
            lease = "1h"
        ),
        subject!(
            0,
            12,
            true,
            timeout = "9900ms",
            stale_if_error = 12,
            error_backoff = 3,
            backend = SHARED,
            lease = "1h"
        ),
        subject!(
            5,
            12,
            false,
            timeout = "9900ms",
            stale_while_revalidate = 5,
            stale_if_error = 12,
            error_backoff = 3,
            refresh_ahead = 0.6,
            backend = SHARED,
            lease = "1h"
        ),
    ];
    subjects.map(|subject| Subject { is_shared: true, ..subject })
}

impl Subject {
    /// A call, to its end: with the help of the background, if it waits for that. Its answer, `None` if it
    /// panicked, and whether it was there at once.
    fn call(&self, key: u8) -> (Option<Answer>, bool) {
        let mut call = (self.call)(key);
        let mut poll = || std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| poll_once(call.as_mut())));
        for polls in 0..1000 {
            match poll() {
                Ok(Poll::Ready(answer)) => return (Some(answer), polls == 0),
                Err(_) => return (None, false),
                Ok(Poll::Pending) if polls > 3 => {
                    with_tasks(|tasks| tasks.retain_mut(|task| poll_once(task.as_mut()).is_pending()));
                    if self.is_shared {
                        // It looks from time to time whether another process is done.
                        thread::sleep(Duration::from_millis(1));
                    }
                }
                Ok(Poll::Pending) => {}
            }
        }
        panic!("the call does not end");
    }

    fn check_call(&self, key: u8) {
        let before = model(|model| *model.known(key));
        let now = model(|model| model.now);
        let (answer, at_once) = self.call(key);
        let after = model(|model| *model.known(key));
        let age = before.stored.map(|(_, since)| now - since);
        let old = before.stored.map(|(number, _)| number);
        let number = answer.clone().and_then(Result::ok);
        if let Some(number) = number {
            assert!(number >= before.floor, "a value from before an invalidation");
            assert!(
                Some(number) == old || Some(number) == after.stored.map(|it| it.0),
                "a value from elsewhere"
            );
        }
        match age {
            Some(age) if age < TIMEOUT => {
                assert!(number.is_some(), "what is fresh is an answer, whatever fails");
                assert!(
                    self.is_inline || at_once && number == old,
                    "nobody waits for what is computed ahead"
                );
            }
            Some(age) if age < TIMEOUT + self.meanwhile && !self.is_inline => {
                assert!(at_once && number == old, "a stale value is there at once");
            }
            Some(age) if age < TIMEOUT + self.on_error => {
                assert!(number.is_some(), "an old value stands in for an error");
                let backs_off = before.failed.is_some_and(|at| now - at < BACKOFF);
                assert!(!backs_off || number == old, "the body is left alone for a while");
            }
            Some(age) if age < TIMEOUT + self.meanwhile => {}
            _ => assert!(number.is_none() || number != old, "what has expired is not served"),
        }
    }
}

fn with_tasks<R>(act: impl FnOnce(&mut Vec<Task>) -> R) -> R {
    let mut tasks = KEPT.take();
    let result = act(&mut tasks);
    let mut new = KEPT.take();
    new.append(&mut tasks);
    KEPT.set(new);
    result
}

/// Polls a task to its end, if it comes to one while nothing else goes on.
fn finish(mut task: Task) -> Option<Task> {
    (0..10).all(|_| poll_once(task.as_mut()).is_pending()).then_some(task)
}

fn take(tasks: &mut Vec<Task>, at: usize) -> Option<Task> {
    (!tasks.is_empty()).then(|| tasks.swap_remove(at % tasks.len()))
}

fn run(subject: &Subject, steps: &[Step]) {
    let processes = [testing::isolated().store(), testing::isolated().store()];
    let advance = |seconds| {
        model(|model| model.now += seconds);
        ENGINE.advance(Duration::from_secs(seconds));
        for process in &processes {
            process.enter().advance(Duration::from_secs(seconds));
        }
    };
    drop(KEPT.take());
    MODEL.take();
    ENGINE.lose_all();
    let life = TIMEOUT + subject.meanwhile.max(subject.on_error);
    model(|model| model.life = subject.is_shared.then_some(life));
    for (at, step) in steps.iter().enumerate() {
        let process = &processes[if subject.is_shared { at % 2 } else { 0 }];
        let _entered = process.enter();
        match *step {
            Step::Call(key) => subject.check_call(key),
            Step::Put(key) => {
                let number = model(|model| {
                    let number = model.number();
                    model.fence(key, Some(number));
                    number
                });
                (subject.put)(key, number);
            }
            Step::Invalidate(key) => {
                let was_fresh = model(|model| {
                    let now = model.now;
                    let stored = model.known(key).stored;
                    model.fence(key, None);
                    stored.is_some_and(|(_, since)| now - since < TIMEOUT)
                });
                assert_eq!((subject.invalidate)(key), was_fresh);
            }
            Step::Clear => {
                model(|model| (0..KEYS).for_each(|key| model.fence(key, None)));
                (subject.clear)();
                if subject.is_shared {
                    // Until another process hears of it.
                    advance(1);
                }
            }
            Step::Body(body) => model(|model| model.body = body),
            Step::Advance(seconds) => advance(seconds),
            Step::Poll(at) => with_tasks(|tasks| {
                if let Some(mut task) = take(tasks, at)
                    && poll_once(task.as_mut()).is_pending()
                {
                    tasks.push(task);
                }
            }),
            Step::Finish(at) => with_tasks(|tasks| {
                let task = take(tasks, at).and_then(finish);
                tasks.extend(task);
            }),
            Step::Drop(at) => with_tasks(|tasks| drop(take(tasks, at))),
        }
        for key in 0..KEYS {
            let peeked = (subject.peek)(key);
            if peeked.is_none() && model(|model| model.known(key).is_doubtful) {
                model(|model| model.known(key).stored = None);
            }
            let fresh = model(|model| {
                let now = model.now;
                let stored = model.known(key).stored.filter(|(_, since)| now - since < TIMEOUT);
                stored.map(|(number, _)| Ok(number))
            });
            assert_eq!(peeked, fresh, "after {step:?}");
        }
    }
}

#[test]
fn no_schedule_shows_a_value_that_is_too_old_or_invalidated_or_runs_two_bodies_at_once() {
    let _one = USES_ENGINE.lock().unwrap_or_else(PoisonError::into_inner);
    spawner(Spawns::Keeps);
    // `PROPTEST_CASES` makes them more.
    let default = ProptestConfig::default();
    let config = ProptestConfig { cases: default.cases / 2, failure_persistence: None, ..default };
    for subject in subjects().into_iter().chain(shared_subjects()) {
        proptest!(config.clone(), |(steps in prop::collection::vec(step(), 1..60))| run(&subject, &steps));
    }
    drop(KEPT.take());
}

#[test]
fn schedules_that_have_failed_do_so_no_more() {
    use Step::{Advance, Call, Finish, Invalidate, Poll, Put};
    let _one = USES_ENGINE.lock().unwrap_or_else(PoisonError::into_inner);
    spawner(Spawns::Keeps);
    let schedules: [&[Step]; 2] = [
        // A body ends when what was stored after an invalidation has gone.
        &[
            Call(1),
            Call(1),
            Advance(5),
            Advance(5),
            Call(1),
            Poll(0),
            Call(0),
            Invalidate(1),
            Call(1),
            Advance(5),
            Advance(3),
            Advance(5),
            Advance(5),
            Poll(0),
        ],
        // A claim to compute anew has not ended when the next one is made.
        &[
            Call(0),
            Call(0),
            Call(0),
            Call(1),
            Advance(4),
            Advance(7),
            Call(0),
            Call(1),
            Call(1),
            Invalidate(0),
            Advance(5),
            Poll(0),
            Advance(2),
            Call(0),
            Call(0),
            Put(1),
            Call(0),
            Advance(4),
            Advance(6),
            Advance(1),
            Finish(0),
        ],
    ];
    for subject in subjects().into_iter().chain(shared_subjects()) {
        for steps in schedules {
            run(&subject, steps);
        }
    }
    drop(KEPT.take());
}
