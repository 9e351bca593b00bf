//! The limits over all functions, the switch, and functions of many types.

use cached_runtime::{cached, store, testing};
use cached_tests::{Runs, watched};

/// Calls a generic function with each of four hundred numbers as its parameter.
macro_rules! each {
    ($call:ident) => {
        each!(@fours $call 0 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 19 20 21 22 23 24)
    };
    (@fours $call:ident $($n:literal)*) => {
        $(
            each!(@four $call ($n * 16));
            each!(@four $call ($n * 16 + 4));
            each!(@four $call ($n * 16 + 8));
            each!(@four $call ($n * 16 + 12));
        )*
    };
    (@four $call:ident $n:expr) => {
        $call::<{ $n }>();
        $call::<{ $n + 1 }>();
        $call::<{ $n + 2 }>();
        $call::<{ $n + 3 }>();
    };
}
const EACH: u32 = 400;

#[test]
fn a_generic_function_keeps_hundreds_of_its_types_apart() {
    static RUNS: Runs = Runs::new();
    #[cached]
    fn f<const N: usize>(n: usize) -> usize {
        RUNS.add();
        N * 1000 + n
    }
    fn call<const N: usize>() {
        assert_eq!((f::<N>(1), f::<N>(2)), (N * 1000 + 1, N * 1000 + 2));
    }
    let _own = testing::isolated();
    for _ in 0..2 {
        each!(call);
    }
    assert_eq!(RUNS.get(), 2 * EACH);
    let stats = f::stats();
    assert_eq!((stats.entries, stats.hits, stats.misses), (800, 800, 800));
    f::clear();
    assert_eq!(f::stats().entries, 0);
}

#[test]
fn many_tables_at_the_limit_stay_right() {
    #[cached]
    fn f<const N: usize>(n: usize) -> usize {
        N * 1000 + n
    }
    #[cached]
    fn other(n: usize) -> usize {
        n
    }
    fn call<const N: usize>() {
        assert_eq!((f::<N>(1), f::<N>(2), f::<N>(1)), (N * 1000 + 1, N * 1000 + 2, N * 1000 + 1));
    }
    fn entries() -> u64 {
        f::stats().entries + other::stats().entries
    }
    watched(|| {
        let _own = testing::isolated();
        each!(call);
        assert_eq!(entries(), 800);
        for most in [500, 100, 1] {
            store().set_max_entries(most);
            assert_eq!(entries(), most as u64);
            (0..50).for_each(|n| assert_eq!(other(n), n));
            each!(call);
            assert_eq!(entries(), most as u64);
        }
        store().set_max_entries(usize::MAX);
        each!(call);
        each!(call);
        assert!(entries() >= 800, "there is room again");
    });
}

/// Calls for forty keys over and over, and between them for others that never come back.
fn scan(call: impl Fn(u64)) {
    let mut state = 1_u64;
    for cold in 0..40_000 {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        call(if state >> 63 == 0 { (state >> 33) % 60 } else { 1000 + cold });
    }
}

#[test]
fn hot_keys_survive_a_scan_under_a_limit_over_all_functions_as_they_do_under_a_capacity() {
    #[cached(capacity = 100)]
    fn own(n: u64) -> u64 {
        n
    }
    #[cached]
    fn global(n: u64) -> u64 {
        n
    }
    #[cached(capacity = 1_000_000, weigh = |_| 1000)]
    fn weighed(n: u64) -> u64 {
        n
    }
    let of_own = {
        let _own = testing::isolated();
        scan(|n| {
            own(n);
        });
        own::stats().hits
    };
    let of_global = {
        let _own = testing::isolated();
        store().set_max_entries(100);
        scan(|n| {
            global(n);
        });
        global::stats().hits
    };
    let of_weighed = {
        let _own = testing::isolated();
        store().set_max_bytes(103_000);
        scan(|n| {
            weighed(n);
        });
        weighed::stats().hits
    };
    assert!(of_own > 18_000, "nearly all of the 20,000 calls of hot keys: {of_own}");
    let nearly = of_own / 100 * 98;
    assert!(of_global > nearly && of_weighed > nearly, "{of_own}, {of_global}, {of_weighed}");
}

#[test]
fn what_lands_while_the_store_is_disabled_is_not_stored() {
    #[cached]
    fn f(n: u32, disable: bool) -> u32 {
        if disable {
            store().set_enabled(false);
        }
        n
    }
    let _own = testing::isolated();
    assert_eq!(f(1, true), 1);
    assert_eq!((f::stats().entries, f::stats().not_stored), (0, 1));
    assert_eq!(f::refresh(2, false), 2);
    f::put(3, false, 3);
    store().set_enabled(true);
    assert_eq!((f::peek(1, true), f::peek(2, false), f::peek(3, false)), (None, None, None));
    assert_eq!((f(2, false), f::peek(2, false)), (2, Some(2)));
}

#[test]
fn what_is_forgotten_while_the_store_is_disabled_is_forgotten() {
    #[cached]
    fn f(n: u32) -> u32 {
        n
    }
    let _own = testing::isolated();
    f(1);
    f(2);
    store().set_enabled(false);
    assert!(f::invalidate(1));
    store().set_enabled(true);
    assert_eq!((f::peek(1), f::peek(2)), (None, Some(2)));
}

#[test]
fn a_store_that_is_disabled_before_the_first_call_of_a_function_is_disabled_for_it_too() {
    static RUNS: Runs = Runs::new();
    #[cached]
    fn f(n: u32) -> u32 {
        n + RUNS.add()
    }
    let _own = testing::isolated();
    store().set_enabled(false);
    assert_eq!((f(0), f(0)), (1, 2));
    assert_eq!((f::stats().bypassed, f::stats().misses), (2, 0));
    store().set_enabled(true);
    assert_eq!((f(0), f(0)), (3, 3));
}
