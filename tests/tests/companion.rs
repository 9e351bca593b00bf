//! The companion, the handle, and the store's own calls.

use cached_runtime::{FunctionInfo, cached, store, testing};
use cached_tests::Runs;

#[test]
fn the_companion_does_what_it_says() {
    static RUNS: Runs = Runs::new();
    #[cached(timeout = 300, skip(suffix))]
    fn f(n: u32, suffix: &str) -> Result<String, ()> {
        RUNS.add();
        Ok(format!("{n}{suffix}"))
    }
    let _own = testing::isolated();
    assert_eq!(f::peek(1), None);
    assert!(!f::invalidate(1));
    assert_eq!(f(1, "a"), Ok("1a".into()));
    assert_eq!(f::peek(1), Some(Ok("1a".into())));
    assert_eq!(f::uncached(1, "b"), Ok("1b".into()));
    assert_eq!(f(1, "c"), Ok("1a".into()));
    assert_eq!(f::refresh(1, "d"), Ok("1d".into()));
    assert_eq!(f(1, "e"), Ok("1d".into()));
    f::put(1, Ok("put".into()));
    assert_eq!(f(1, "f"), Ok("put".into()));
    f::put(1, Err(()));
    assert_eq!(f(1, "g"), Ok("put".into()), "an error is not stored, by whichever way it comes");
    assert!(f::invalidate(1));
    assert_eq!(f(1, "h"), Ok("1h".into()));
    f(2, "").unwrap();
    f::clear();
    assert_eq!((f::peek(1), f::peek(2), f::stats().entries), (None, None, 0));
    assert_eq!(RUNS.get(), 5);
    assert_eq!((f::stats().hits, f::stats().misses, f::stats().computations), (4, 3, 4));
}

#[test]
fn peeking_leaves_no_trace() {
    #[cached]
    fn f(n: u32) -> u32 {
        n
    }
    let _own = testing::isolated();
    f(1);
    let before = f::stats();
    for _ in 0..10 {
        assert_eq!((f::peek(1), f::peek(2)), (Some(1), None));
    }
    assert_eq!(f::stats(), before);
}

#[test]
fn a_refresh_inside_the_body_of_a_forced_call_is_a_call_like_others() {
    #[cached]
    fn f(n: u32) -> u32 {
        if n == 0 { 0 } else { f(n - 1) + 1 }
    }
    let _own = testing::isolated();
    assert_eq!(f(3), 3);
    f::put(2, 100);
    assert_eq!(f::refresh(3), 101, "only the outermost call is forced");
    assert_eq!(f::uncached(3), 101);
    f::put(1, 7);
    assert_eq!(f::uncached(2), 8);
}

mod inner {
    #[cached_runtime::cached]
    pub fn visible(n: u32) -> u32 {
        n
    }
}

#[test]
fn the_companion_comes_with_the_function() {
    use inner::visible;
    let _own = testing::isolated();
    visible(1);
    assert!(visible::invalidate(1));
}

#[test]
fn the_companion_may_have_another_name() {
    #[expect(dead_code, non_camel_case_types)]
    struct item {
        n: u32,
    }
    #[cached(handle = item_cache)]
    fn item(n: u32) -> u32 {
        n
    }
    let _own = testing::isolated();
    item(1);
    assert_eq!(item_cache::peek(1), Some(1));
}

struct Repo {
    id: u32,
    runs: Runs,
}

impl Repo {
    #[cached(timeout = 60, key = (self.id, n), handle = load_cache)]
    fn load(&self, n: u32) -> String {
        format!("{} {n} {}", self.id, self.runs.add())
    }

    #[cached(handle = make_cache)]
    fn make(n: u32) -> u32 {
        n
    }
}

#[test]
fn a_method_s_handle_is_that_of_one_entry() {
    let _own = testing::isolated();
    let repo = Repo { id: 7, runs: Runs::new() };
    assert_eq!(repo.load_cache(1).peek(), None);
    assert_eq!(repo.load(1), "7 1 1");
    assert_eq!(repo.load_cache(1).peek().as_deref(), Some("7 1 1"));
    assert_eq!(repo.load_cache(1).refresh(), "7 1 2");
    repo.load_cache(1).put("put".into());
    assert_eq!(repo.load(1), "put");
    assert!(repo.load_cache(1).invalidate());
    assert_eq!(repo.load(1), "7 1 3");
    Repo::make(1);
    assert!(Repo::make_cache(1).invalidate());
}

#[test]
fn every_function_is_in_the_store_by_its_name() {
    #[cached(name = "catalog.item", timeout = "90s", capacity = 10)]
    fn item(n: u32) -> u32 {
        n
    }
    let _own = testing::isolated();
    assert!(store().function("catalog.item").is_none(), "not before its first call");
    item(1);
    item(1);
    Repo { id: 1, runs: Runs::new() }.load(1);
    let names: Vec<_> = store().functions().iter().map(FunctionInfo::name).collect();
    assert_eq!(names, ["catalog.item", concat!(module_path!(), "::load")]);
    let function = store().function("catalog.item").unwrap();
    assert_eq!((function.stats().hits, function.policy().capacity()), (1, 10));
    function.clear();
    assert_eq!(item::peek(1), None);
    let report = store().report().to_string();
    let mut rows = report.lines();
    assert!(rows.next().unwrap().starts_with("function"));
    assert!(rows.next().unwrap().starts_with("catalog.item"));
    assert!(report.lines().all(|row| row.chars().count() == report.lines().next().unwrap().chars().count()));
}

#[test]
fn a_report_has_a_row_for_each_function_whatever_its_name() {
    #[cached(name = "a\nb\t\u{1b}[2J\u{202e}c")]
    fn f(n: u32) -> u32 {
        n
    }
    let _own = testing::isolated();
    f(1);
    let report = store().report().to_string();
    let rows: Vec<_> = report.lines().collect();
    assert_eq!(rows.len(), 2);
    assert!(rows[1].starts_with(r"a\nb\t\u{1b}[2J\u{202e}c "), "{report}");
    assert_eq!(rows[0].chars().count(), rows[1].chars().count());
}

#[test]
fn a_disabled_store_is_as_if_it_were_not_there() {
    static RUNS: Runs = Runs::new();
    #[cached]
    fn f(n: u32) -> u32 {
        let _ = n;
        RUNS.add()
    }
    let _own = testing::isolated();
    f(1);
    store().set_enabled(false);
    assert_eq!((f(1), f(1), f::peek(1)), (2, 3, None));
    f::put(1, 9);
    store().set_enabled(true);
    assert_eq!((f(1), f::stats().bypassed), (1, 2));
}

#[test]
fn the_limits_hold_over_all_functions() {
    #[cached]
    fn f(n: u32) -> u32 {
        n
    }
    #[cached]
    fn g(n: u32) -> u32 {
        n
    }
    #[cached(weigh = String::len)]
    fn weighed(n: usize) -> String {
        "x".repeat(n)
    }
    let entries = || f::stats().entries + g::stats().entries + weighed::stats().entries;
    let _own = testing::isolated();
    (0..100).for_each(|n| {
        f(n);
    });
    store().set_max_entries(50);
    assert_eq!(entries(), 50);
    (0..20).for_each(|n| {
        g(n);
    });
    assert_eq!((entries(), g::stats().entries), (50, 20), "the larger function gives way");
    store().set_max_entries(usize::MAX);
    (1000..1010).for_each(|n| drop(weighed(n)));
    assert_eq!(weighed::stats().entries, 10);
    store().set_max_bytes(5000);
    assert!(weighed::stats().weight < 5000);
    store().set_max_bytes(0);
    f(1);
    assert_eq!(entries(), 0);
}

#[test]
fn clearing_the_store_clears_every_function() {
    #[cached]
    fn f(n: u32) -> u32 {
        n
    }
    let _own = testing::isolated();
    f(1);
    store().clear();
    assert_eq!((f::peek(1), f::stats().invalidations), (None, 1));
}

#[test]
fn time_saved_is_counted() {
    #[cached]
    fn f(n: u32) -> u32 {
        (0..n).fold(0, |sum, n| std::hint::black_box(sum ^ n))
    }
    let _own = testing::isolated();
    (0..10).for_each(|_| {
        f(100_000);
    });
    let stats = f::stats();
    assert_eq!(stats.time_saved(), stats.compute_time * 9);
    assert!(stats.compute_time > std::time::Duration::ZERO);
}
