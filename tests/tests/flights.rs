//! Concurrent calls of one key, by threads.

use std::collections::HashSet;
use std::panic::catch_unwind;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::mpsc::channel;
use std::sync::{Barrier, Mutex};
use std::thread;

use cached_runtime::{cached, testing};
use cached_tests::{Runs, eventually as until, watched};

/// Runs `call` in so many threads at once, all in the store of this test.
fn together<R: Send>(
    own: &testing::Guard,
    count: usize,
    call: impl Fn(usize) -> R + Sync,
) -> Vec<thread::Result<R>> {
    let store = own.store();
    thread::scope(|scope| {
        let spawn = |number| {
            let (store, call) = (&store, &call);
            scope.spawn(move || {
                let _entered = store.enter();
                call(number)
            })
        };
        let threads: Vec<_> = (0..count).map(spawn).collect();
        threads.into_iter().map(thread::ScopedJoinHandle::join).collect()
    })
}

#[test]
fn sixty_four_threads_on_one_cold_key_run_one_body() {
    static RUNS: Runs = Runs::new();
    #[cached(timeout = 60)]
    fn f(n: u8) -> u32 {
        until(|| f::stats().misses == 64);
        u32::from(n) + RUNS.add()
    }
    let own = testing::isolated();
    let results = together(&own, 64, |_| f(1));
    assert!(results.into_iter().all(|result| result.unwrap() == 2));
    assert_eq!((RUNS.get(), f::stats().coalesced), (1, 63));
}

#[test]
fn a_slow_key_delays_no_other_one() {
    static OTHERS_DONE: AtomicBool = AtomicBool::new(false);
    #[cached(capacity = 10)]
    fn f(n: u32) -> u32 {
        if n == 0 {
            until(|| OTHERS_DONE.load(SeqCst));
        }
        n
    }
    let own = testing::isolated();
    let results = together(&own, 2, |thread| {
        if thread == 0 {
            return f(0);
        }
        until(|| f::stats().misses > 0);
        // Misses, evictions and hits beside it.
        (1..1000).for_each(|n| {
            f(n % 50 + 1);
        });
        OTHERS_DONE.store(true, SeqCst);
        0
    });
    assert!(results.into_iter().all(|result| result.is_ok()));
}

#[test]
fn a_leader_s_panic_is_its_caller_s_alone_and_one_of_the_others_takes_its_place() {
    static RUNS: Runs = Runs::new();
    #[cached]
    fn f(n: u8) -> u8 {
        until(|| f::stats().misses == 16);
        assert!(RUNS.add() > 1, "the first one");
        n
    }
    let own = testing::isolated();
    let results = together(&own, 16, |_| f(1));
    assert_eq!(results.iter().filter(|result| result.is_err()).count(), 1);
    assert_eq!((RUNS.get(), f::stats().abandoned, f::stats().coalesced), (2, 1, 14));
}

#[test]
fn an_error_that_can_be_cloned_is_shared() {
    static RUNS: Runs = Runs::new();
    #[cached]
    fn f(n: u32) -> Result<u32, String> {
        until(|| f::stats().misses == u64::from(n + 1) * 8);
        RUNS.add();
        Err(format!("{n}"))
    }
    let own = testing::isolated();
    // Who has missed and comes late to the flight finds nothing, and computes.
    let all_shared = (0..100).any(|n| {
        let before = RUNS.get();
        let results = together(&own, 8, |_| f(n));
        assert!(results.into_iter().all(|result| result.unwrap() == Err(n.to_string())));
        assert_eq!(f::peek(n), None);
        RUNS.get() - before == 1
    });
    assert!(all_shared);
    assert_eq!(f::stats().coalesced + u64::from(RUNS.get()), f::stats().misses);
}

#[test]
fn after_an_error_that_cannot_be_cloned_all_go_on_at_once() {
    struct NotClone;
    static RUNS: Runs = Runs::new();
    static REST: Barrier = Barrier::new(7);
    #[cached]
    fn f(n: u8) -> Result<u8, NotClone> {
        let _ = n;
        until(|| f::stats().misses == 8);
        if RUNS.add() > 1 {
            // Nobody passes unless all of them are here.
            REST.wait();
        }
        Err(NotClone)
    }
    let own = testing::isolated();
    let results = together(&own, 8, |_| f(1).is_err());
    assert!(results.into_iter().all(|result| result.unwrap()));
    assert_eq!(RUNS.get(), 8);
}

#[test]
fn without_single_flight_every_call_runs_its_body() {
    static ALL: Barrier = Barrier::new(4);
    #[cached(single_flight = false)]
    fn f(n: u8) -> u8 {
        ALL.wait();
        n
    }
    let own = testing::isolated();
    assert!(together(&own, 4, |_| f(1)).into_iter().all(|result| result.unwrap() == 1));
    assert_eq!((f::stats().computations, f::peek(1)), (4, Some(1)));
}

#[test]
fn a_body_may_call_its_own_function_with_its_own_key() {
    static DEPTH: Runs = Runs::new();
    #[cached]
    fn f(n: u8) -> u8 {
        if DEPTH.add() < 5 { f(n) + 1 } else { n }
    }
    let _own = testing::isolated();
    assert_eq!(f(1), 5);
    assert_eq!(f(1), 5);
}

#[test]
fn a_call_within_its_own_body_stores_what_it_computes() {
    static DEPTH: Runs = Runs::new();
    #[cached]
    fn f(n: u32) -> u32 {
        if DEPTH.add() > 1 {
            return n;
        }
        let inner = f(n);
        assert_eq!((inner, f::peek(n), f::stats().bypassed), (n, Some(n), 0));
        inner + 1
    }
    watched(|| {
        let _own = testing::isolated();
        assert_eq!((f(1), f::peek(1)), (2, Some(2)));
    });
}

#[test]
fn threads_that_wait_for_one_another_in_a_circle_go_on() {
    #[cached]
    fn f(round: u32, n: u32, depth: u32) -> u32 {
        if depth == 0 { n } else { g(round, (n + 1) % 3, depth - 1) }
    }
    #[cached(key = (round, n))]
    fn g(round: u32, n: u32, depth: u32) -> u32 {
        if depth == 0 { n } else { h(round, (n + 1) % 3, depth - 1) }
    }
    #[cached(key = (round, n))]
    fn h(round: u32, n: u32, depth: u32) -> u32 {
        if depth == 0 { n } else { g(round, (n + 2) % 3, depth - 1) }
    }
    let own = testing::isolated();
    let meet = Barrier::new(3);
    let results = together(&own, 3, |thread| {
        let start = u32::try_from(thread).unwrap();
        for round in 0..10_000 {
            meet.wait();
            f(round, start, 4);
            g(round, start, 4);
        }
    });
    assert!(results.into_iter().all(|result| result.is_ok()));
}

#[test]
fn two_functions_that_need_one_another_do_not_hang() {
    static MEET: Barrier = Barrier::new(2);
    static FIRST: Mutex<Option<HashSet<u32>>> = Mutex::new(None);
    /// Both threads are in a body of their own before either needs the other's.
    fn meet(round: u32, n: u32) {
        if FIRST.lock().unwrap().get_or_insert_default().insert(round * 2 + n) {
            MEET.wait();
        }
    }
    #[cached]
    fn a(round: u32) -> u32 {
        meet(round, 0);
        b::peek(round).unwrap_or_else(|| if own_turn() { 1 } else { b(round) + 1 })
    }
    #[cached]
    fn b(round: u32) -> u32 {
        meet(round, 1);
        a::peek(round).unwrap_or_else(|| if own_turn() { 1 } else { a(round) + 1 })
    }
    thread_local! {
        static DEPTH: std::cell::Cell<u32> = const { std::cell::Cell::new(0) };
    }
    fn own_turn() -> bool {
        DEPTH.set(DEPTH.get() + 1);
        DEPTH.get() > 2
    }
    let own = testing::isolated();
    let results = together(&own, 2, |thread| {
        for round in 0..10_000 {
            DEPTH.set(0);
            if thread == 0 {
                a(round)
            } else {
                b(round)
            };
        }
    });
    assert!(results.into_iter().all(|result| result.is_ok()));
}

/// Runs `interfere` while the body of `f(1)` runs, which returns "old".
macro_rules! during_the_body {
    ($interfere:expr, $attribute:meta) => {{
        static STARTED: AtomicBool = AtomicBool::new(false);
        static GO_ON: AtomicBool = AtomicBool::new(false);
        #[$attribute]
        fn f(n: u8) -> &'static str {
            let _ = n;
            if STARTED.swap(true, SeqCst) {
                return "new";
            }
            until(|| GO_ON.load(SeqCst));
            "old"
        }
        let own = testing::isolated();
        let results = together(&own, 2, |thread| {
            if thread == 0 {
                return f(1);
            }
            until(|| STARTED.load(SeqCst));
            $interfere(f::peek, f::put, f::invalidate, f::clear, f::refresh);
            GO_ON.store(true, SeqCst);
            "interfered"
        });
        assert_eq!(results.into_iter().map(Result::unwrap).collect::<Vec<_>>(), ["old", "interfered"]);
        f::peek(1)
    }};
}

type Peek = fn(u8) -> Option<&'static str>;
type Put = fn(u8, &'static str);
type Invalidate = fn(u8) -> bool;
type Refresh = fn(u8) -> &'static str;

#[test]
fn what_happens_while_a_body_runs_is_not_undone_by_its_result() {
    let invalidated = |_: Peek, _: Put, invalidate: Invalidate, _: fn(), _: Refresh| assert!(!invalidate(1));
    let cleared = |_: Peek, _: Put, _: Invalidate, clear: fn(), _: Refresh| clear();
    let put = |_: Peek, put: Put, _: Invalidate, _: fn(), _: Refresh| put(1, "put");
    let refreshed = |_: Peek, _: Put, _: Invalidate, _: fn(), refresh: Refresh| assert_eq!(refresh(1), "new");
    let unrelated = |_: Peek, _: Put, invalidate: Invalidate, _: fn(), _: Refresh| assert!(!invalidate(2));
    assert_eq!(during_the_body!(invalidated, cached), None);
    assert_eq!(during_the_body!(cleared, cached), None);
    assert_eq!(during_the_body!(put, cached), Some("put"));
    assert_eq!(during_the_body!(refreshed, cached), Some("new"));
    assert_eq!(during_the_body!(unrelated, cached), Some("old"));
    assert_eq!(during_the_body!(invalidated, cached(single_flight = false)), None);
    assert_eq!(during_the_body!(put, cached(single_flight = false)), Some("put"));
}

#[test]
fn a_call_after_an_invalidation_does_not_get_the_value_from_before() {
    static STARTED: Runs = Runs::new();
    let (old_may_return, old) = channel::<()>();
    let old = Mutex::new(old);
    #[cached(skip(old))]
    fn f(n: u8, old: &Mutex<std::sync::mpsc::Receiver<()>>) -> u32 {
        let _ = n;
        let number = STARTED.add();
        if number == 1 {
            old.lock().unwrap().recv().unwrap();
        }
        number
    }
    let own = testing::isolated();
    let old_may_return = Mutex::new(old_may_return);
    let results = together(&own, 2, |thread| {
        if thread == 0 {
            return f(1, &old);
        }
        until(|| STARTED.get() == 1);
        f::invalidate(1);
        let after = f(1, &old);
        old_may_return.lock().unwrap().send(()).unwrap();
        after
    });
    assert_eq!(results.into_iter().map(Result::unwrap).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(f::peek(1), Some(2));
}

#[test]
fn threads_that_store_look_up_and_forget_agree_in_the_end() {
    #[cached(capacity = 64, timeout = 60)]
    fn f(n: u64) -> u64 {
        n * 3
    }
    let own = testing::isolated();
    let results = together(&own, 8, |thread| {
        let mut state = thread as u64 + 1;
        for _ in 0..20_000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let n = state >> 57;
            match state >> 33 & 15 {
                0 => drop(f::invalidate(n)),
                1 => f::put(n, n * 3),
                2 => assert!(f::peek(n).is_none_or(|value| value == n * 3)),
                3 if n == 0 => f::clear(),
                4 => assert_eq!(f::refresh(n), n * 3),
                _ => assert_eq!(f(n), n * 3),
            }
            assert!(f::stats().entries <= 64);
        }
    });
    assert!(results.into_iter().all(|result| result.is_ok()));
    f::clear();
    assert_eq!((f::stats().entries, f::stats().weight), (0, 0));
}

#[test]
fn a_panic_on_one_thread_poisons_nothing() {
    #[cached]
    fn f(n: u8) -> u8 {
        assert_ne!(n, 1);
        n
    }
    let _own = testing::isolated();
    for _ in 0..10 {
        assert!(catch_unwind(|| f(1)).is_err());
    }
    assert_eq!(f(2), 2);
    f::put(1, 1);
    assert_eq!(f(1), 1);
}
