//! What is stored of what a body returns, and what is not.

use std::panic::catch_unwind;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::Duration;

use cached_runtime::{cached, testing};
use cached_tests::Runs;

#[test]
fn cache_if_decides_about_the_ok_value() {
    #[cached(cache_if = |n| *n > 10)]
    fn f(n: u32) -> Result<u32, String> {
        Ok(n)
    }
    let _own = testing::isolated();
    assert_eq!((f(5), f(50)), (Ok(5), Ok(50)));
    assert_eq!((f::peek(5), f::peek(50)), (None, Some(Ok(50))));
    assert_eq!(f::stats().not_stored, 1);
}

#[test]
fn errors_and_nones_are_stored_on_request_and_for_their_own_time() {
    #[cached(timeout = 100, cache_err, negative_timeout = "1s")]
    fn fallible(n: u32) -> Result<u32, String> {
        if n > 0 { Ok(n) } else { Err("zero".to_owned()) }
    }
    #[cached(cache_none, negative_timeout = 1, cache_if = |row: &Option<u32>| *row != Some(7))]
    fn row(n: u32) -> Option<u32> {
        (n > 0).then_some(n)
    }
    let own = testing::isolated();
    let _ = (fallible(0), fallible(1), row(0), row(1), row(7));
    assert_eq!((fallible::peek(0), row::peek(0)), (Some(Err("zero".to_owned())), Some(None)));
    own.advance(Duration::from_secs(1));
    assert_eq!((fallible::peek(0), row::peek(0)), (None, None));
    assert_eq!((fallible::peek(1), row::peek(1), row::peek(7)), (Some(Ok(1)), Some(Some(1)), None));
}

#[test]
fn bypass_touches_no_cache_and_refresh_stores_anew() {
    static RUNS: Runs = Runs::new();
    static CONDITIONS: Runs = Runs::new();
    #[cached(skip(bypass, refresh), bypass_if = bypass, refresh_if = { CONDITIONS.add(); refresh })]
    fn f(n: u8, bypass: bool, refresh: bool) -> u32 {
        let _ = n;
        RUNS.add()
    }
    let _own = testing::isolated();
    assert_eq!(f(1, true, false), 1);
    assert_eq!(f::peek(1), None);
    assert_eq!((f(1, false, false), f(1, false, false)), (2, 2));
    assert_eq!((f(1, true, true), f::peek(1)), (3, Some(2)));
    assert_eq!((f(1, false, true), f(1, false, false)), (4, 4));
    assert_eq!(CONDITIONS.get(), 6, "once a call");
    assert_eq!(f::stats().bypassed, 2);
}

#[test]
fn weights_are_summed_against_the_capacity() {
    #[cached(capacity = 100, weigh = String::len)]
    fn f(len: usize) -> String {
        "x".repeat(len)
    }
    let _own = testing::isolated();
    f(60);
    f(40);
    assert_eq!((f::stats().weight, f::stats().entries), (100, 2));
    f(10);
    assert!(f::stats().weight <= 100 && f::stats().evictions > 0);
    f(101);
    assert_eq!(f::peek(101), None, "what is heavier than the capacity is not stored");
    f::put(10, "y".repeat(1000));
    assert_eq!(f::peek(10), None, "and does not leave the old value there");
}

#[test]
fn the_heaviest_weight_overflows_nothing() {
    #[cached(capacity = usize::MAX, weigh = |_| usize::MAX)]
    fn f(n: u8) -> u8 {
        n
    }
    #[cached(capacity = usize::MAX)]
    fn g(n: u8) -> u8 {
        n
    }
    let _own = testing::isolated();
    f(1);
    f(2);
    g(1);
    g(2);
    assert_eq!((f::stats().entries, g::stats().entries), (1, 2));
}

#[test]
fn a_table_holds_as_much_as_its_capacity_and_never_more() {
    macro_rules! hold {
        ($($capacity:literal),*) => {$({
            #[cached(capacity = $capacity)]
            fn f(n: u64) -> u64 {
                n
            }
            for n in 0..3 * $capacity + 5 {
                f(n);
                assert_eq!(f::stats().entries, (n + 1).min($capacity), "capacity {}", $capacity);
            }
        })*};
    }
    let _own = testing::isolated();
    hold!(1, 2, 7, 100);
}

#[test]
fn what_is_used_stays_when_something_must_go() {
    #[cached(capacity = 100)]
    fn f(n: u64) -> u64 {
        n
    }
    let _own = testing::isolated();
    for round in 0..50 {
        for hot in 0..50 {
            f(hot);
        }
        for cold in 0..40 {
            f(1000 + round * 40 + cold);
        }
    }
    let hot = (0..50).filter(|n| f::peek(*n).is_some()).count();
    assert!(hot >= 45, "{hot} of 50 hot keys are there after a scan of 2,000 cold ones");
}

/// Panics where it is told to.
#[derive(Debug)]
struct Touchy {
    n: u8,
    clone_panics: Arc<AtomicBool>,
    drop_panics: Arc<AtomicBool>,
}

impl Clone for Touchy {
    fn clone(&self) -> Self {
        assert!(!self.clone_panics.load(SeqCst), "clone");
        Self {
            n: self.n,
            clone_panics: Arc::clone(&self.clone_panics),
            drop_panics: Arc::clone(&self.drop_panics),
        }
    }
}

impl Drop for Touchy {
    fn drop(&mut self) {
        assert!(!self.drop_panics.load(SeqCst) || std::thread::panicking(), "drop");
    }
}

#[test]
fn a_panic_in_user_code_leaves_the_store_as_it_was() {
    static WEIGH_PANICS: AtomicBool = AtomicBool::new(false);
    static CACHE_IF_PANICS: AtomicBool = AtomicBool::new(false);
    static TIMEOUT_PANICS: AtomicBool = AtomicBool::new(false);
    static BODY_PANICS: AtomicBool = AtomicBool::new(false);
    #[cached(
        capacity = 10,
        weigh = |_| { assert!(!WEIGH_PANICS.load(SeqCst), "weigh"); 1 },
        cache_if = |_| { assert!(!CACHE_IF_PANICS.load(SeqCst), "cache_if"); true },
        timeout = |_| { assert!(!TIMEOUT_PANICS.load(SeqCst), "timeout"); Duration::from_secs(9) },
    )]
    fn f(n: u8) -> u8 {
        assert!(!BODY_PANICS.load(SeqCst), "body");
        n
    }
    let own = testing::isolated();
    f(1);
    for switch in [&WEIGH_PANICS, &CACHE_IF_PANICS, &TIMEOUT_PANICS, &BODY_PANICS] {
        switch.store(true, SeqCst);
        assert!(catch_unwind(|| f(2)).is_err());
        switch.store(false, SeqCst);
        assert_eq!((f::peek(1), f::peek(2), f::stats().entries), (Some(1), None, 1));
    }
    assert_eq!(f::stats().abandoned, 4);
    assert_eq!(f(2), 2);
    (0..100).for_each(|n| {
        f(n);
    });
    assert_eq!(f::stats().entries, 10);
    own.advance(Duration::from_secs(9));
    assert_eq!(f(1), 1);
}

#[test]
fn a_value_that_panics_when_cloned_or_dropped_harms_only_its_caller() {
    static CLONE: std::sync::LazyLock<Arc<AtomicBool>> = std::sync::LazyLock::new(Arc::default);
    static DROP: std::sync::LazyLock<Arc<AtomicBool>> = std::sync::LazyLock::new(Arc::default);
    #[cached(capacity = 3)]
    fn f(n: u8) -> Touchy {
        Touchy { n, clone_panics: Arc::clone(&CLONE), drop_panics: Arc::clone(&DROP) }
    }
    let _own = testing::isolated();
    assert_eq!(f(1).n, 1);
    CLONE.store(true, SeqCst);
    assert!(catch_unwind(|| f(1)).is_err(), "a hit");
    assert!(catch_unwind(|| f(2)).is_err(), "a miss");
    CLONE.store(false, SeqCst);
    assert_eq!((f(1).n, f(2).n, f::stats().entries), (1, 2, 2));
    DROP.store(true, SeqCst);
    for n in 0..50 {
        std::mem::forget(f(n));
    }
    f::clear();
    DROP.store(false, SeqCst);
    assert_eq!(f::stats().entries, 0);
    assert_eq!(f(1).n, 1);
}

/// A key whose `Hash` and `Eq` panic on request.
#[derive(Clone)]
struct TouchyKey(u8, bool, bool);

impl std::hash::Hash for TouchyKey {
    fn hash<H: std::hash::Hasher>(&self, hasher: &mut H) {
        assert!(!self.1, "hash");
        // All of one hash, so that they are compared.
        0_u8.hash(hasher);
    }
}

impl PartialEq for TouchyKey {
    fn eq(&self, other: &Self) -> bool {
        assert!(!self.2 && !other.2, "eq");
        self.0 == other.0
    }
}

impl Eq for TouchyKey {}

#[test]
fn a_key_that_panics_when_hashed_or_compared_harms_only_its_caller() {
    #[cached(capacity = 20)]
    fn f(key: TouchyKey) -> u8 {
        key.0
    }
    let _own = testing::isolated();
    (0..10).for_each(|n| {
        f(TouchyKey(n, false, false));
    });
    assert!(catch_unwind(|| f(TouchyKey(1, true, false))).is_err());
    assert!(catch_unwind(|| f(TouchyKey(1, false, true))).is_err());
    for n in 0..30 {
        assert_eq!(f(TouchyKey(n, false, false)), n);
    }
    assert_eq!(f::stats().entries, 20);
}

#[test]
fn a_value_may_use_the_cache_when_it_is_dropped() {
    #[derive(Clone)]
    struct Calls(#[expect(dead_code)] Arc<OnDrop>);
    struct OnDrop;
    impl Drop for OnDrop {
        fn drop(&mut self) {
            other(1);
            f::peek(1);
        }
    }
    #[cached]
    fn other(n: u8) -> u8 {
        n
    }
    #[cached(capacity = 2)]
    fn f(n: u8) -> Calls {
        let _ = n;
        Calls(Arc::new(OnDrop))
    }
    let _own = testing::isolated();
    (0..100).for_each(|n| drop(f(n)));
    f::clear();
    assert_eq!(f::stats().entries, 0);
}

#[test]
fn storing_a_key_again_evicts_nothing() {
    #[cached(capacity = 3)]
    fn f(n: u8) -> u8 {
        n
    }
    let _own = testing::isolated();
    (1..=3).for_each(|n| {
        f(n);
    });
    for _ in 0..10 {
        f::put(2, 20);
        f::refresh(3);
    }
    assert_eq!((f::peek(1), f::peek(2), f::peek(3)), (Some(1), Some(20), Some(3)));
    assert_eq!((f::stats().entries, f::stats().evictions), (3, 0));
}

#[test]
fn what_is_shared_behind_an_arc_is_a_value_and_references_may_be_inside_arguments() {
    trait Shape: Send + Sync {
        fn area(&self) -> u32;
    }
    impl Shape for u32 {
        fn area(&self) -> u32 {
            *self
        }
    }
    #[cached]
    fn shape(size: u32) -> Arc<dyn Shape> {
        Arc::new(size)
    }
    #[cached(key = (pair.0, pair.1.map(str::to_owned)))]
    fn pair(pair: (&str, Option<&str>)) -> String {
        format!("{pair:?}")
    }
    let _own = testing::isolated();
    for _ in 0..2 {
        assert_eq!(shape(3).area(), 3);
        assert_eq!(pair(("a", None)), r#"("a", None)"#);
        assert_eq!(pair(("a", Some("b"))), r#"("a", Some("b"))"#);
    }
    assert_eq!((shape::stats().computations, pair::stats().computations), (1, 2));
}
