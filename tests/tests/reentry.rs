//! Calls from where one does not expect them: from destructors of values, of keys, and of threads.

use std::cell::Cell;
use std::future::Future;
use std::hash::{Hash, Hasher};
use std::mem::ManuallyDrop;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::task::Poll;
use std::thread;
use std::time::Duration;

use cached_runtime::{cached, testing};
use cached_tests::{Runs, poll_once, watched};

/// A value or a key that makes calls when it is dropped.
#[derive(Clone)]
struct Calls(u32, fn());

/// Those from here on make none, without which there would be no end; as keys they equal others.
const QUIET: u32 = 1000;

impl Drop for Calls {
    fn drop(&mut self) {
        if self.0 < QUIET {
            (self.1)();
        }
    }
}

impl Hash for Calls {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        (self.0 % QUIET).hash(hasher);
    }
}

impl PartialEq for Calls {
    fn eq(&self, other: &Self) -> bool {
        self.0 % QUIET == other.0 % QUIET
    }
}

impl Eq for Calls {}

#[test]
fn a_value_that_is_too_heavy_may_use_the_function_when_it_is_dropped() {
    static DROPS: Runs = Runs::new();
    #[cached(capacity = 10, weigh = |value| if value.0 % 2 == 1 { 100 } else { 1 })]
    fn f(n: u32) -> Calls {
        Calls(n, || {
            DROPS.add();
            f::stats();
            assert_eq!(f::peek(QUIET).map(|value| value.0), Some(QUIET));
            assert_eq!((f(QUIET).0, f(QUIET + 1).0), (QUIET, QUIET + 1));
            f::put(QUIET + 2, f(QUIET + 3));
            f::invalidate(QUIET + 4);
        })
    }
    watched(|| {
        let _own = testing::isolated();
        f(QUIET);
        std::mem::forget(f(1));
        assert_eq!(DROPS.get(), 1, "the one that was to be stored");
        std::mem::forget(f::refresh(1));
        assert_eq!(DROPS.get(), 2);
        f::put(1, Calls(QUIET + 1, || ()));
        f::put(1, f(3));
        assert_eq!(DROPS.get(), 5, "two that were to be stored, and the one that was given");
        assert_eq!((f::stats().entries, f::stats().weight), (1, 1));
    });
}

#[test]
fn a_value_that_was_overtaken_may_use_the_function_when_it_is_dropped() {
    static DROPS: Runs = Runs::new();
    #[cached]
    fn f(n: u32, how: u8) -> Calls {
        match how {
            0 => assert!(!f::invalidate(n, how)),
            1 => f::clear(),
            2 => drop(f::refresh(n, 3)),
            _ => {}
        }
        Calls(n, || {
            DROPS.add();
            f::stats();
            f::peek(1, 0);
            assert_eq!(f(QUIET, 3).0, QUIET);
            f::invalidate(QUIET, 3);
        })
    }
    watched(|| {
        let _own = testing::isolated();
        for how in 0..2 {
            let before = DROPS.get();
            std::mem::forget(f(1, how));
            assert_eq!(DROPS.get(), before + 1, "the one that was to be stored");
            assert!(f::peek(1, how).is_none());
        }
        drop(f(1, 2));
    });
}

#[test]
fn the_key_of_what_is_not_stored_may_use_the_function_when_it_is_dropped() {
    static DROPS: Runs = Runs::new();
    #[cached(cache_if = |n| *n != 5)]
    fn f(key: &Calls) -> Option<u32> {
        Some(key.0).filter(|n| n % QUIET != 4)
    }
    fn key(n: u32) -> Calls {
        Calls(n, || {
            DROPS.add();
            f::stats();
            let keys = [QUIET, QUIET + 4].map(key);
            f::peek(&keys[0]);
            f::invalidate(&keys[0]);
            assert_eq!((f(&keys[0]), f(&keys[1])), (Some(QUIET), None));
        })
    }
    watched(|| {
        let _own = testing::isolated();
        let keys = [4, 5].map(key);
        for key in &keys {
            let result = (key.0 == 5).then_some(5);
            let before = DROPS.get();
            assert_eq!(f(key), result);
            assert_eq!(DROPS.get() - before, 1, "the key that was to be stored");
            f::put(key, result);
            assert_eq!(DROPS.get() - before, 2);
            assert_eq!(f::refresh(key), result);
            assert_eq!(DROPS.get() - before, 3);
        }
    });
}

#[test]
fn the_key_of_a_call_that_is_fenced_or_fails_may_use_the_function_when_it_is_dropped() {
    static DROPS: Runs = Runs::new();
    #[cached]
    fn f(key: &Calls) -> u32 {
        match key.0 {
            1 => f::clear(),
            2 => assert!(!f::invalidate(key)),
            3 => f::put(key, 30),
            4 => panic!("four"),
            _ => {}
        }
        key.0
    }
    fn key(n: u32) -> Calls {
        Calls(n, || {
            DROPS.add();
            f::stats();
            let key = key(QUIET);
            assert_eq!(f(&key), QUIET);
            f::peek(&key);
            f::invalidate(&key);
        })
    }
    watched(|| {
        let _own = testing::isolated();
        for n in 1..=4 {
            let key = key(n);
            let before = DROPS.get();
            let result = catch_unwind(|| f(&key));
            assert_eq!(result.ok(), (n != 4).then_some(n));
            assert!(DROPS.get() > before, "{n}: the key of the call");
            assert_eq!(f::peek(&key), (n == 3).then_some(30));
        }
    });
}

#[test]
fn a_key_that_is_dropped_may_call_the_function_for_what_is_just_being_computed() {
    static DROPS: Runs = Runs::new();
    #[cached]
    fn f(key: &Calls) -> u32 {
        if key.0 == 1 {
            // Which fences this call, and drops its key.
            assert_eq!(f::refresh(&Calls(QUIET + 1, || ())), QUIET + 1);
        }
        key.0
    }
    watched(|| {
        let _own = testing::isolated();
        let key = Calls(1, || {
            DROPS.add();
            f(&Calls(QUIET + 1, || ()));
        });
        assert_eq!(f(&key), 1);
        assert!(DROPS.get() > 0);
    });
}

#[test]
fn a_rule_may_call_the_function_for_what_it_decides_about() {
    static RULES: Runs = Runs::new();
    #[cached(cache_if = |n| { if RULES.add() < 3 { assert_eq!(f(*n), *n); } true })]
    fn f(n: u32) -> u32 {
        n
    }
    watched(|| {
        let _own = testing::isolated();
        assert_eq!((f(1), f::peek(1)), (1, Some(1)));
        assert_eq!(f::stats().computations, 3);
    });
}

#[test]
fn what_is_evicted_replaced_and_forgotten_may_use_the_function_when_it_is_dropped() {
    static DROPS: Runs = Runs::new();
    #[cached(capacity = 2, timeout = 60)]
    fn f(key: &Calls) -> Calls {
        Calls(key.0, calls)
    }
    fn calls() {
        DROPS.add();
        let key = Calls(QUIET, calls);
        f::stats();
        f(&key);
        f::peek(&key);
        f::put(&key, key.clone());
        f::invalidate(&key);
    }
    watched(|| {
        let own = testing::isolated();
        for n in 1..=200 {
            let key = Calls(n, calls);
            f(&key);
            f::put(&key, Calls(n, calls));
            f::refresh(&key);
            assert!(f::stats().entries <= 2);
        }
        own.advance(Duration::from_secs(60));
        f(&Calls(1, calls));
        f::clear();
        assert!(DROPS.get() > 400);
    });
}

#[test]
fn the_key_of_a_task_that_is_dropped_may_use_the_function() {
    static DROPS: Runs = Runs::new();
    #[cached]
    async fn f(key: Calls) -> u32 {
        if key.0 < QUIET {
            std::future::pending::<()>().await;
        }
        key.0
    }
    fn key(n: u32) -> Calls {
        Calls(n, || {
            DROPS.add();
            assert!(poll_once(Box::pin(f(key(QUIET))).as_mut()).is_ready());
            assert!(poll_once(Box::pin(f::stats()).as_mut()).is_ready());
            assert!(poll_once(Box::pin(f::invalidate(key(QUIET))).as_mut()).is_ready());
        })
    }
    watched(|| {
        let _own = testing::isolated();
        let mut call = Box::pin(f(key(1)));
        assert!(poll_once(call.as_mut()).is_pending());
        drop(call);
        assert!(DROPS.get() > 0);
        assert!(poll_once(Box::pin(f::peek(key(1))).as_mut()) == Poll::Ready(None));
    });
}

/// Does something when its thread ends.
struct AtTheEnd(Cell<fn()>);

impl Drop for AtTheEnd {
    fn drop(&mut self) {
        (self.0.get())();
    }
}

/// Lets a thread make calls, and then make some from a destructor of its thread-locals: from one that
/// runs after those that the calls have set up, or before.
fn in_an_ending_thread(late: bool, calls: fn(), at_the_end: fn()) {
    thread_local! {
        static AT_THE_END: AtTheEnd = const { AtTheEnd(Cell::new(|| ())) };
    }
    let thread = thread::spawn(move || {
        if late {
            AT_THE_END.with(|it| it.0.set(at_the_end));
        }
        calls();
        AT_THE_END.with(|it| it.0.set(at_the_end));
    });
    thread.join().expect("it ends well");
}

#[test]
fn a_call_in_the_destructor_of_a_thread_runs_its_body() {
    static RUNS: Runs = Runs::new();
    static CALLS: Runs = Runs::new();
    #[cached(timeout = 300)]
    fn f(n: u32) -> String {
        RUNS.add();
        n.to_string()
    }
    #[cached(timeout = 300)]
    fn g(n: u32) -> String {
        f(n)
    }
    // The store of the process: threads that end are in no other any more.
    watched(|| {
        for late in [true, false] {
            let (calls, runs) = (CALLS.get(), RUNS.get());
            in_an_ending_thread(
                late,
                || assert_eq!((f(1), f(1)), ("1".to_owned(), "1".to_owned())),
                || {
                    assert_eq!((f(1), f::refresh(2), f::uncached(3)), ("1".into(), "2".into(), "3".into()));
                    assert_eq!((g(4), g(4)), ("4".into(), "4".into()));
                    f::stats();
                    CALLS.add();
                },
            );
            assert_eq!(CALLS.get(), calls + 1);
            // Once before the end; then five times without any store, or once for each other key.
            let expected = if late { 1 + 5 } else { 1 + 3 };
            assert_eq!(RUNS.get() - runs, expected, "late: {late}");
            f::clear();
            g::clear();
        }
    });
}

#[test]
fn what_is_forgotten_in_the_destructor_of_a_thread_is_forgotten() {
    #[cached(timeout = 300)]
    fn f(n: u32) -> u32 {
        n
    }
    watched(|| {
        for late in [true, false] {
            f::put(1, 10);
            f::put(2, 20);
            in_an_ending_thread(
                late,
                || assert_eq!(f(1), 10),
                || {
                    assert!(f::invalidate(1));
                    assert_eq!(f::peek(1), None);
                },
            );
            assert_eq!((f::peek(1), f::peek(2)), (None, Some(20)), "late: {late}");
            in_an_ending_thread(late, || assert_eq!(f(2), 20), || f::put(2, 21));
            assert_eq!(f::peek(2), Some(21), "late: {late}");
            in_an_ending_thread(late, || assert_eq!(f(2), 21), f::clear);
            assert_eq!(f::stats().entries, 0, "late: {late}");
        }
    });
}

#[test]
fn a_task_that_is_dropped_in_the_destructor_of_a_thread_holds_nobody_up() {
    type Task = Pin<Box<dyn Future<Output = u32>>>;
    #[cached]
    async fn f(n: u32) -> u32 {
        if n == 1 && f::stats().await.misses < 2 {
            std::future::pending::<()>().await;
        }
        n
    }
    thread_local! {
        static TASK: Cell<Option<Task>> = const { Cell::new(None) };
    }
    watched(|| {
        thread::spawn(|| {
            TASK.with(|_| ());
            let mut task: Task = Box::pin(f(1));
            assert!(poll_once(task.as_mut()).is_pending());
            TASK.set(Some(task));
        })
        .join()
        .expect("it ends well");
        assert_eq!(smol::block_on(f(1)), 1);
        assert_eq!(smol::block_on(f::stats()).abandoned, 1);
    });
}

/// A key with which something is done when it is compared, or dropped; the flags hold for one time.
struct Touchy(u32);

static FAILS_TO_COMPARE: AtomicBool = AtomicBool::new(false);
static CALLS_WHEN_DROPPED: AtomicBool = AtomicBool::new(false);
static FAILS_TO_DROP: AtomicBool = AtomicBool::new(false);

impl Clone for Touchy {
    fn clone(&self) -> Self {
        Self(self.0)
    }
}

impl Hash for Touchy {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        self.0.hash(hasher);
    }
}

impl PartialEq for Touchy {
    fn eq(&self, other: &Self) -> bool {
        assert!(!FAILS_TO_COMPARE.swap(false, SeqCst), "compared");
        self.0 == other.0
    }
}

impl Eq for Touchy {}

impl Drop for Touchy {
    fn drop(&mut self) {
        if CALLS_WHEN_DROPPED.swap(false, SeqCst) {
            of_touchy(&ManuallyDrop::new(Self(self.0)));
        }
        assert!(!FAILS_TO_DROP.swap(false, SeqCst) || thread::panicking(), "dropped");
    }
}

#[cached(timeout = 10)]
fn of_touchy(key: &Touchy) -> u32 {
    key.0
}

/// One after the other, as they share the flags.
#[test]
fn a_key_that_fails_to_be_compared_or_dropped_may_use_the_function_and_is_not_stuck() {
    watched(|| {
        let _own = testing::isolated();
        let key = ManuallyDrop::new(Touchy(1));
        of_touchy(&key);
        FAILS_TO_COMPARE.store(true, SeqCst);
        CALLS_WHEN_DROPPED.store(true, SeqCst);
        assert!(catch_unwind(AssertUnwindSafe(|| of_touchy::put(&key, 5))).is_err());
        assert!(!CALLS_WHEN_DROPPED.load(SeqCst), "it has called");
        assert_eq!(of_touchy(&key), 1);
        what_fails_to_be_dropped_is_overtaken();
    });
}

#[cached(timeout = 10, stale_while_revalidate = 10)]
async fn in_background(key: &Touchy) -> u32 {
    key.0
}

/// Of a runtime whose tasks are run only now and then.
fn what_fails_to_be_dropped_is_overtaken() {
    let own = testing::isolated();
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let key = ManuallyDrop::new(Touchy(2));
    let call = || {
        let _entered = runtime.enter();
        poll_once(pin!(in_background(&key)))
    };
    assert_eq!(call(), Poll::Ready(2));
    own.advance(Duration::from_secs(11));
    assert_eq!(call(), Poll::Ready(2), "it is stale, and is to be computed anew");
    own.advance(Duration::from_secs(10));
    FAILS_TO_DROP.store(true, SeqCst);
    assert!(catch_unwind(AssertUnwindSafe(call)).is_err());
    assert!(!FAILS_TO_DROP.load(SeqCst));
    assert_eq!(call(), Poll::Ready(2), "nobody is waited for");
    assert_eq!(smol::block_on(in_background::stats()).computations, 2);
}

#[test]
fn a_value_that_is_served_in_place_of_an_error_may_use_the_function_when_it_is_cloned() {
    static IS_DOWN: AtomicBool = AtomicBool::new(false);
    static CALLS: AtomicBool = AtomicBool::new(false);
    #[derive(Debug, PartialEq)]
    struct Value(u32);
    impl Clone for Value {
        fn clone(&self) -> Self {
            if CALLS.swap(false, SeqCst) {
                assert_eq!(smol::block_on(f(self.0)), Ok(Self(self.0)));
            }
            Self(self.0)
        }
    }
    #[cached(timeout = 10, stale_if_error = 100)]
    async fn f(n: u32) -> Result<Value, String> {
        if IS_DOWN.load(SeqCst) { Err("down".to_owned()) } else { Ok(Value(n)) }
    }
    watched(|| {
        let own = testing::isolated();
        assert_eq!(smol::block_on(f(1)), Ok(Value(1)));
        own.advance(Duration::from_secs(20));
        IS_DOWN.store(true, SeqCst);
        CALLS.store(true, SeqCst);
        assert_eq!(smol::block_on(f(1)), Ok(Value(1)));
        assert!(!CALLS.load(SeqCst));
    });
}
