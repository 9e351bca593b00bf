//! What a caller sees at every age of an entry: values that are stale, or computed anew while they are served.

use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::SeqCst;
use std::thread;
use std::time::Duration;

use cached_runtime::{cached, testing};
use cached_tests::{Runs, eventually as until};

const SECOND: Duration = Duration::from_secs(1);

/// What one call sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Sees {
    /// The first value, and nothing begins.
    First,
    /// A second value, that it has computed.
    Second,
}

#[test]
fn the_table_of_ages_where_a_caller_computes() {
    static RUNS: Runs = Runs::new();
    #[cached(timeout = 60, stale_while_revalidate = 30, revalidate = "inline")]
    fn f(age: u64) -> u32 {
        let _ = age;
        RUNS.add()
    }
    use Sees::{First, Second};
    for (age, sees) in [(0, First), (59, First), (60, Second), (89, Second), (90, Second)] {
        let own = testing::isolated();
        let first = f(age);
        own.advance(SECOND * age as u32);
        let peeked = f::peek(age);
        let second = f(age);
        let seen = if second == first { First } else { Second };
        assert_eq!(seen, sees, "at the age of {age} s");
        assert_eq!(peeked.is_some(), age < 60, "only what is fresh is peeked at: {age} s");
        assert_eq!(f(age), second);
    }
}

#[test]
fn while_one_caller_computes_the_others_get_the_stale_value() {
    static RUNS: Runs = Runs::new();
    static RELEASED: AtomicBool = AtomicBool::new(false);
    #[cached(timeout = 60, stale_while_revalidate = "1m", revalidate = "inline")]
    fn f(n: u8) -> u32 {
        let _ = n;
        let run = RUNS.add();
        until(|| run == 1 || RELEASED.load(SeqCst));
        run
    }
    let own = testing::isolated();
    assert_eq!(f(1), 1);
    own.advance(60 * SECOND);
    let store = own.store();
    thread::scope(|scope| {
        let pays = scope.spawn(|| {
            let _entered = store.enter();
            f(1)
        });
        until(|| RUNS.get() == 2);
        for _ in 0..100 {
            assert_eq!(f(1), 1);
        }
        RELEASED.store(true, SeqCst);
        assert_eq!(pays.join().unwrap(), 2);
    });
    assert_eq!((f(1), RUNS.get()), (2, 2));
    let stats = f::stats();
    assert_eq!((stats.stale, stats.revalidations, stats.hits, stats.misses), (100, 1, 1, 2));
}

#[test]
fn a_body_that_calls_itself_while_it_computes_anew_gets_the_stale_value() {
    #[cached(timeout = 60, stale_while_revalidate = 60, revalidate = "inline", skip(depth))]
    fn f(depth: u32) -> u32 {
        if depth == 0 { 1 } else { f(depth - 1) + 1 }
    }
    let own = testing::isolated();
    assert_eq!(f(0), 1);
    own.advance(60 * SECOND);
    assert_eq!(f(5), 2);
}

#[test]
fn an_invalidated_value_is_not_served_stale_nor_brought_back() {
    static RUNS: Runs = Runs::new();
    #[cached(timeout = 60, stale_while_revalidate = 60, revalidate = "inline")]
    fn f(n: u8) -> u32 {
        let run = RUNS.add();
        if run == 2 {
            assert!(!f::invalidate(n), "what is stale is not fresh, and goes all the same");
        }
        run
    }
    let own = testing::isolated();
    f(1);
    own.advance(60 * SECOND);
    assert_eq!(f(1), 2);
    assert_eq!((f::peek(1), f::stats().entries), (None, 0), "its value is from before the invalidation");
    assert_eq!(f(1), 3);
}

#[test]
fn an_idle_value_is_not_served_stale() {
    static RUNS: Runs = Runs::new();
    #[cached(timeout = 60, idle_timeout = 30, stale_while_revalidate = 60, revalidate = "inline")]
    fn f() -> u32 {
        RUNS.add()
    }
    let own = testing::isolated();
    f();
    own.advance(30 * SECOND);
    f();
    assert_eq!((RUNS.get(), f::stats().revalidations), (2, 0));
    own.advance(29 * SECOND);
    f();
    own.advance(29 * SECOND);
    f();
    own.advance(2 * SECOND);
    f();
    assert_eq!((RUNS.get(), f::stats().revalidations), (3, 1));
}

#[test]
fn a_stale_value_goes_by_itself_at_the_end_of_its_window() {
    #[cached(timeout = 60, stale_while_revalidate = 30, jitter = "10%")]
    fn f(n: u32) -> u32 {
        n
    }
    let own = testing::isolated();
    (0..100).for_each(|n| {
        f(n);
    });
    // Jitter shortens the timeout, and the window not at all.
    own.advance(Duration::from_millis(83_999));
    assert_eq!(f::stats().entries, 100);
    own.advance(Duration::from_millis(6_001));
    until(|| f::stats().entries == 0);
}

#[test]
fn a_policy_says_what_is_served() {
    #[cached(timeout = 60, stale_while_revalidate = 30, name = "freshness")]
    fn f() {}
    let _own = testing::isolated();
    f();
    let function = cached_runtime::store().function("freshness").expect("it has been called");
    assert_eq!(function.policy().to_string(), "timeout 60s, stale_while_revalidate 30s, capacity 65536");
}
