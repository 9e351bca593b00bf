//! What a caller sees at every age of an entry: values that are stale, or computed anew while they are served.

use std::borrow::Cow;
use std::panic::catch_unwind;
use std::sync::Arc;
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
    /// The first value, while another one is computed for later.
    FirstForNow,
    /// A second value, that it has computed.
    Second,
}

#[test]
fn the_table_of_ages_where_a_caller_computes() {
    static RUNS: Runs = Runs::new();
    #[cached(timeout = 60, stale_while_revalidate = 30, revalidate = "inline")]
    fn f(age: u32) -> u32 {
        let _ = age;
        RUNS.add()
    }
    use Sees::{First, Second};
    for (age, sees) in [(0, First), (59, First), (60, Second), (89, Second), (90, Second)] {
        let own = testing::isolated();
        let first = f(age);
        own.advance(SECOND * age);
        let peeked = f::peek(age);
        let second = f(age);
        let seen = if second == first { First } else { Second };
        assert_eq!(seen, sees, "at the age of {age} s");
        assert_eq!(peeked.is_some(), age < 60, "only what is fresh is peeked at: {age} s");
        assert_eq!(f(age), second);
    }
}

#[test]
fn the_table_of_ages_where_the_background_computes() {
    static RUNS: Runs = Runs::new();
    #[cached(timeout = 60, stale_while_revalidate = 30)]
    fn f(age: u32) -> (u32, thread::ThreadId) {
        let _ = age;
        (RUNS.add(), thread::current().id())
    }
    use Sees::{First, FirstForNow, Second};
    for (age, sees) in [(0, First), (59, First), (60, FirstForNow), (89, FirstForNow), (90, Second)] {
        let own = testing::isolated();
        let (first, here) = f(age);
        own.advance(SECOND * age);
        let (second, _) = f(age);
        until(|| f::stats().computations == f::stats().revalidations + f::stats().misses);
        let (third, by) = f(age);
        let seen = match (second == first, third == first) {
            (true, true) => First,
            (true, false) => FirstForNow,
            (false, _) => Second,
        };
        assert_eq!(seen, sees, "at the age of {age} s");
        assert_eq!(by != here, sees == FirstForNow, "by a thread of its own or here: {age} s");
        assert_eq!(f::peek(age), Some((third, by)));
    }
}

#[test]
fn exactly_one_computes_anew_among_many_threads_and_none_of_them_waits() {
    static RUNS: Runs = Runs::new();
    static RELEASED: AtomicBool = AtomicBool::new(false);
    #[cached(timeout = 60, stale_while_revalidate = "1m")]
    fn f(n: u8) -> u32 {
        let _ = n;
        let run = RUNS.add();
        until(|| run == 1 || RELEASED.load(SeqCst));
        run
    }
    let own = testing::isolated();
    f(1);
    own.advance(60 * SECOND);
    let store = own.store();
    thread::scope(|scope| {
        for _ in 0..32 {
            scope.spawn(|| {
                let _entered = store.enter();
                assert_eq!(f(1), 1);
            });
        }
    });
    RELEASED.store(true, SeqCst);
    until(|| f::peek(1) == Some(2));
    let stats = f::stats();
    assert_eq!((stats.stale, stats.revalidations, stats.misses, RUNS.get()), (32, 1, 1, 2));
}

/// What a function may take, and what is made of it.
#[test]
fn every_kind_of_argument_is_taken_along() {
    static RUNS: Runs = Runs::new();
    #[derive(Clone)]
    struct Repo(&'static str);
    impl Repo {
        #[cached(timeout = 60, stale_while_revalidate = 60, key = (self.0, n), handle = of)]
        fn of_self(&self, n: u8) -> String {
            format!("{}{n}{}", self.0, RUNS.add())
        }
        #[cached(timeout = 60, stale_while_revalidate = 60, skip(self))]
        fn of_arc(self: Arc<Self>) -> String {
            format!("{}{}", self.0, RUNS.add())
        }
    }
    #[cached(timeout = 60, stale_while_revalidate = 60, skip(db))]
    #[expect(clippy::too_many_arguments, reason = "one of each kind")]
    fn f<T: Clone + Send + Sync + 'static, const N: usize>(
        a: &str,
        b: Option<&str>,
        c: Cow<'_, str>,
        d: &[&str],
        e: &[u8],
        f: Vec<&str>,
        g: [&str; N],
        (h, _): (u8, u8),
        mut i: String,
        _: u8,
        db: &T,
    ) -> String {
        let _ = db.clone();
        i.push_str(&RUNS.add().to_string());
        format!("{a}{b:?}{c}{d:?}{e:?}{f:?}{g:?}{h}{i}")
    }
    let own = testing::isolated();
    let calls: [&dyn Fn() -> String; 3] =
        [&|| Repo("a").of_self(1), &|| Arc::new(Repo("b")).of_arc(), &|| {
            f(
                "a",
                Some("b"),
                Cow::Borrowed("c"),
                &["d"],
                &[5],
                vec!["f"],
                ["g"; 2],
                (7, 8),
                "i".to_owned(),
                9,
                &Repo("db"),
            )
        }];
    let texts = || calls.map(|call| call());
    let digits = |text: &String| text.trim_end_matches(|c: char| c.is_ascii_digit()).to_owned();
    let first = texts();
    own.advance(60 * SECOND);
    assert_eq!(texts(), first);
    until(|| RUNS.get() == 6);
    until(|| texts() != first && texts().iter().zip(&first).all(|(one, other)| one != other));
    assert_eq!(texts().map(|it| digits(&it)), first.map(|it| digits(&it)));
}

#[test]
fn a_panic_in_the_background_is_nobody_s_and_it_is_tried_again() {
    static RUNS: Runs = Runs::new();
    #[cached(timeout = 60, stale_while_revalidate = 60)]
    fn f() -> u32 {
        let run = RUNS.add();
        assert!(run != 2, "on purpose");
        run
    }
    let own = testing::isolated();
    f();
    own.advance(60 * SECOND);
    assert_eq!(f(), 1);
    until(|| f::stats().abandoned == 1);
    assert_eq!(f(), 1);
    assert_eq!((RUNS.get(), f::stats().errors_hidden), (2, 1));
    own.advance(SECOND);
    assert_eq!(f(), 1);
    until(|| f::peek() == Some(3));
}

#[test]
fn an_error_in_the_background_leaves_the_stale_value_until_the_end_of_its_window() {
    struct NotClone;
    static RUNS: Runs = Runs::new();
    #[cached(timeout = 60, stale_while_revalidate = 60)]
    fn f() -> Result<u32, NotClone> {
        if RUNS.add() == 1 { Ok(1) } else { Err(NotClone) }
    }
    let own = testing::isolated();
    assert!(f().is_ok());
    own.advance(60 * SECOND);
    for run in 2..5 {
        assert!(f().is_ok());
        until(|| RUNS.get() == run && f::stats().computations == u64::from(run));
        assert!(f().is_ok() && RUNS.get() == run, "not again for a second");
        own.advance(SECOND);
    }
    own.advance(57 * SECOND);
    assert!(f().is_err());
}

#[test]
fn what_is_put_or_invalidated_during_a_background_run_is_not_undone_by_it() {
    static RUNS: Runs = Runs::new();
    static RELEASED: Runs = Runs::new();
    #[cached(timeout = 60, stale_while_revalidate = 60)]
    fn f(n: u32) -> u32 {
        let run = RUNS.add();
        until(|| run % 2 == 1 || RELEASED.get() == run / 2);
        n
    }
    let own = testing::isolated();
    for (n, put) in [(1, Some(7)), (2, None)] {
        f(n);
        own.advance(60 * SECOND);
        assert_eq!(f(n), n);
        until(|| RUNS.get() == 2 * n);
        match put {
            Some(value) => f::put(n, value),
            None => assert!(!f::invalidate(n)),
        }
        assert_eq!(f::peek(n), put);
        RELEASED.add();
        until(|| f::stats().computations == u64::from(2 * n));
        assert_eq!(f::peek(n), put);
    }
}

#[test]
fn an_invalidation_before_a_background_run_begins_leaves_nothing_to_run() {
    static RUNS: Runs = Runs::new();
    static RELEASED: AtomicBool = AtomicBool::new(false);
    #[cached(timeout = 60, stale_while_revalidate = 60)]
    fn f(n: u32) -> u32 {
        let run = RUNS.add();
        until(|| run <= 100 || RELEASED.load(SeqCst));
        n
    }
    let own = testing::isolated();
    (0..100).for_each(|n| {
        f(n);
    });
    own.advance(60 * SECOND);
    // Some run, and the others have no thread.
    (0..100).for_each(|n| {
        f(n);
    });
    until(|| RUNS.get() > 100);
    (0..100).for_each(|n| {
        f::invalidate(n);
    });
    RELEASED.store(true, SeqCst);
    // Past its window nobody waits for what has not begun.
    assert_eq!(f(1), 1);
    assert!(RUNS.get() < 200);
    assert_eq!(f::stats().entries, 1);
}

#[test]
fn what_has_not_begun_when_its_window_ends_is_computed_by_who_needs_it() {
    static RUNS: Runs = Runs::new();
    static RELEASED: AtomicBool = AtomicBool::new(false);
    #[cached(timeout = 60, stale_while_revalidate = 60, skip(quick))]
    fn f(n: u32, quick: bool) -> u32 {
        RUNS.add();
        until(|| quick || RELEASED.load(SeqCst));
        n
    }
    let own = testing::isolated();
    (0..100).for_each(|n| {
        f(n, true);
    });
    own.advance(60 * SECOND);
    (0..100).for_each(|n| {
        f(n, false);
    });
    own.advance(60 * SECOND);
    assert_eq!(f(99, true), 99, "it is the last in the queue, behind those that hold all threads");
    RELEASED.store(true, SeqCst);
    until(|| f::stats().computations == u64::from(RUNS.get()));
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

#[test]
fn the_table_of_ages_where_the_body_fails() {
    struct NotClone;
    static FAILS: AtomicBool = AtomicBool::new(false);
    #[cached(timeout = 60, stale_if_error = 30)]
    fn returns(age: u32) -> Result<u32, NotClone> {
        if FAILS.load(SeqCst) { Err(NotClone) } else { Ok(age) }
    }
    #[cached(timeout = 60, stale_if_error = 30)]
    fn panics(age: u32) -> u32 {
        assert!(!FAILS.load(SeqCst), "on purpose");
        age
    }
    for (age, served, hidden) in [(0, true, 0), (59, true, 0), (60, true, 1), (89, true, 1), (90, false, 0)] {
        let own = testing::isolated();
        FAILS.store(false, SeqCst);
        assert_eq!((returns(age).ok(), panics(age)), (Some(age), age));
        FAILS.store(true, SeqCst);
        own.advance(SECOND * age);
        assert_eq!(returns(age).ok(), served.then_some(age), "at the age of {age} s");
        assert_eq!(catch_unwind(|| panics(age)).ok(), served.then_some(age), "at the age of {age} s");
        assert_eq!((returns::stats().errors_hidden, panics::stats().errors_hidden), (hidden, hidden));
        assert_eq!(returns::peek(age).is_some(), age < 60, "it is not made fresh again: {age} s");
        own.advance(SECOND * (90 - age));
        assert!(returns(age).is_err(), "its end is where it was");
    }
}

#[test]
fn after_an_error_the_origin_is_left_alone_for_the_backoff() {
    static RUNS: Runs = Runs::new();
    #[cached(timeout = 60, stale_if_error = "1h", error_backoff = "10s")]
    fn f() -> Result<u32, String> {
        if RUNS.add() == 1 { Ok(1) } else { Err("down".to_owned()) }
    }
    let own = testing::isolated();
    assert_eq!(f(), Ok(1));
    own.advance(60 * SECOND);
    for second in 0..40 {
        assert_eq!(f(), Ok(1), "{second} s after its timeout");
        assert_eq!(f(), Ok(1));
        assert_eq!(RUNS.get(), 2 + second / 10, "{second} s after its timeout");
        own.advance(SECOND);
    }
    let stats = f::stats();
    assert_eq!((stats.errors_hidden, stats.misses, stats.stale, stats.computations), (4, 5, 76, 5));
}

#[test]
fn those_who_wait_for_a_body_that_fails_get_the_stale_value_too() {
    struct NotClone;
    static RUNS: Runs = Runs::new();
    #[cached(timeout = 60, stale_if_error = 60)]
    fn f(n: u8) -> Result<u32, NotClone> {
        let run = RUNS.add();
        until(|| run == 1 || f::stats().misses == 9);
        if run == 1 { Ok(u32::from(n)) } else { Err(NotClone) }
    }
    let own = testing::isolated();
    assert!(f(7).is_ok());
    own.advance(60 * SECOND);
    let store = own.store();
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| {
                let _entered = store.enter();
                assert_eq!(f(7).ok(), Some(7));
            });
        }
    });
    assert_eq!((RUNS.get(), f::stats().errors_hidden), (2, 1));
}

#[test]
fn a_failing_body_brings_back_nothing_that_was_invalidated_and_hides_nothing_newer() {
    static RUNS: Runs = Runs::new();
    #[cached(timeout = 60, stale_if_error = 60)]
    fn f(n: u8) -> Result<u32, String> {
        if RUNS.add() % 2 == 1 {
            return Ok(1);
        }
        match n {
            0 => drop(f::invalidate(0)),
            1 => f::put(1, Ok(9)),
            _ => testing::advance(60 * SECOND),
        }
        Err("late".to_owned())
    }
    let own = testing::isolated();
    let late = Err("late".to_owned());
    for (n, answer, stored) in [(0, late.clone(), None), (1, Ok(9), Some(Ok(9))), (2, late, None)] {
        assert_eq!(f(n), Ok(1));
        own.advance(60 * SECOND);
        assert_eq!((f(n), f::peek(n)), (answer, stored), "{n}");
    }
}

#[test]
fn in_both_windows_an_error_of_the_background_is_hidden_and_backed_off_from() {
    static RUNS: Runs = Runs::new();
    #[cached(timeout = 60, stale_while_revalidate = 30, stale_if_error = 60, error_backoff = 10)]
    fn f() -> Result<u32, String> {
        if RUNS.add() == 1 { Ok(1) } else { Err("down".to_owned()) }
    }
    let own = testing::isolated();
    assert_eq!(f(), Ok(1));
    own.advance(60 * SECOND);
    assert_eq!(f(), Ok(1));
    until(|| f::stats().errors_hidden == 1);
    (0..10).for_each(|_| assert_eq!(f(), Ok(1)));
    assert_eq!(RUNS.get(), 2);
    own.advance(10 * SECOND);
    assert_eq!(f(), Ok(1));
    until(|| f::stats().errors_hidden == 2);
    own.advance(20 * SECOND);
    assert_eq!(f(), Ok(1), "now in the call itself");
    assert_eq!((RUNS.get(), f::stats().errors_hidden), (4, 3));
    own.advance(30 * SECOND);
    assert!(f().is_err());
}

#[test]
fn a_refresh_says_what_the_body_says() {
    static RUNS: Runs = Runs::new();
    #[cached(timeout = 60, stale_if_error = 60)]
    fn f() -> Result<u32, String> {
        if RUNS.add() == 1 { Ok(1) } else { Err("down".to_owned()) }
    }
    let own = testing::isolated();
    assert_eq!(f(), Ok(1));
    own.advance(60 * SECOND);
    assert!(f::refresh().is_err());
    assert_eq!(f(), Ok(1));
}

#[test]
fn the_table_of_ages_where_a_value_is_computed_ahead() {
    const TIMEOUT: Duration = Duration::from_secs(60);
    static RUNS: Runs = Runs::new();
    #[cached(timeout = 60, refresh_ahead = 0.8)]
    fn literal(age: u32) -> u32 {
        let _ = age;
        RUNS.add()
    }
    #[cached(timeout = TIMEOUT, refresh_ahead = 0.8)]
    fn expression(age: u32) -> u32 {
        let _ = age;
        RUNS.add()
    }
    use Sees::{First, FirstForNow, Second};
    for (age, sees) in [(0, First), (47, First), (48, FirstForNow), (59, FirstForNow), (60, Second)] {
        for f in [literal, expression] {
            let own = testing::isolated();
            let first = f(age);
            own.advance(SECOND * age);
            let second = f(age);
            let stats = || cached_runtime::store().functions()[0].stats();
            until(|| stats().computations == stats().revalidations + stats().misses);
            let seen = match (second == first, f(age) == first) {
                (true, true) => First,
                (true, false) => FirstForNow,
                (false, _) => Second,
            };
            assert_eq!(seen, sees, "at the age of {age} s");
            assert_eq!(stats().stale, 0, "what is early is fresh, and a hit");
        }
    }
}

#[test]
fn a_hot_key_never_expires_and_a_cold_one_is_computed_for_nobody() {
    #[cached(timeout = 60, refresh_ahead = 0.8)]
    fn f(n: u32) -> u32 {
        n
    }
    let own = testing::isolated();
    f(1);
    f(2);
    for _ in 0..1000 {
        own.advance(SECOND);
        f(1);
        let stats = f::stats();
        until(|| f::stats().computations == stats.revalidations + 2);
    }
    let stats = f::stats();
    // One in 48 or 49 seconds.
    assert_eq!((stats.misses, stats.hits, stats.revalidations), (2, 1000, 20));
    assert_eq!(f::peek(2), None);
}

#[test]
fn xfetch_computes_a_hot_key_ahead_by_what_its_body_costs() {
    #[cached(timeout = 60, refresh_ahead = "xfetch", revalidate = "inline")]
    fn dear(n: u32) -> u32 {
        testing::advance(SECOND);
        n
    }
    #[cached(timeout = |_| 60 * SECOND, refresh_ahead = "xfetch", revalidate = "inline")]
    fn cheap(n: u32) -> u32 {
        n
    }
    let own = testing::isolated();
    for _ in 0..100_000 {
        own.advance(SECOND / 100);
        dear(1);
        cheap(1);
    }
    let (dear, cheap) = (dear::stats(), cheap::stats());
    assert_eq!(dear.computations, dear.revalidations + 1, "it has never expired: {dear:?}");
    // A thousand seconds of calls, and one more for each computation.
    assert!((17..25).contains(&dear.computations), "{dear:?}");
    assert_eq!(
        (cheap.revalidations, cheap.computations),
        (0, 17),
        "what costs nothing is not computed ahead"
    );
}

/// Who draws that it is time does not draw once more.
#[test]
fn xfetch_computes_in_the_background_and_never_where_it_is_called() {
    static HERE: Runs = Runs::new();
    #[cached(timeout = 60, refresh_ahead = "xfetch")]
    fn f(n: u32) -> u32 {
        if thread::current().name() != Some("cached-background") {
            HERE.add();
        }
        testing::advance(SECOND);
        n
    }
    let own = testing::isolated();
    for _ in 0..60_000 {
        own.advance(SECOND / 100);
        f(1);
        let stats = f::stats();
        until(|| f::stats().computations == stats.revalidations + 1);
    }
    let stats = f::stats();
    assert!(stats.revalidations >= 9, "{stats:?}");
    assert_eq!((HERE.get(), stats.misses), (1, 1), "the first time: {stats:?}");
}

#[test]
fn a_negative_value_is_computed_ahead_by_its_own_timeout() {
    #[cached(timeout = 600, cache_none, negative_timeout = 10, refresh_ahead = 0.5, revalidate = "inline")]
    fn f(n: u32) -> Option<u32> {
        (n > 0).then_some(n)
    }
    let own = testing::isolated();
    f(0);
    f(1);
    own.advance(4 * SECOND);
    assert_eq!((f(0), f(1), f::stats().revalidations, f::stats().hits), (None, Some(1), 0, 2));
    own.advance(SECOND);
    assert_eq!((f(0), f(1), f::stats().revalidations, f::stats().hits), (None, Some(1), 1, 3));
}

#[test]
fn a_body_that_fails_ahead_of_time_takes_nothing_away() {
    static RUNS: Runs = Runs::new();
    #[cached(timeout = 60, refresh_ahead = 0.5, revalidate = "inline", error_backoff = 5)]
    fn f() -> Result<u32, String> {
        if RUNS.add() == 1 { Ok(1) } else { Err("down".to_owned()) }
    }
    let own = testing::isolated();
    assert_eq!(f(), Ok(1));
    own.advance(30 * SECOND);
    for _ in 0..30 {
        assert_eq!(f(), Ok(1));
        own.advance(SECOND);
    }
    assert_eq!((RUNS.get(), f::stats().errors_hidden), (7, 6));
    assert!(f().is_err());
}

#[test]
fn a_call_waits_no_longer_than_it_says_and_the_body_finishes_in_the_background() {
    static RUNS: Runs = Runs::new();
    static RELEASED: AtomicBool = AtomicBool::new(false);
    #[cached(timeout = 60, stale_if_error = 60, max_wait = "1ms")]
    fn f(n: u8) -> u32 {
        let _ = n;
        let run = RUNS.add();
        until(|| run == 1 || RELEASED.load(SeqCst));
        run
    }
    let own = testing::isolated();
    assert_eq!(f(1), 1);
    own.advance(60 * SECOND);
    assert_eq!((f(1), f(1)), (1, 1));
    RELEASED.store(true, SeqCst);
    until(|| f::peek(1).is_some());
    let stats = f::stats();
    assert_eq!((f(1), stats.stale, stats.revalidations, stats.misses), (2, 2, 1, 1));
}

#[test]
fn a_call_that_waits_gets_the_new_value_or_in_place_of_an_error_the_stale_one() {
    static RUNS: Runs = Runs::new();
    #[cached(timeout = 60, stale_while_revalidate = 60, max_wait = "1h", error_backoff = 1)]
    fn f(n: u32) -> Result<u32, String> {
        let run = RUNS.add();
        if run == 2 { Err("down".to_owned()) } else { Ok(run * 10 + n) }
    }
    let own = testing::isolated();
    assert_eq!(f(1), Ok(11));
    own.advance(60 * SECOND);
    assert_eq!(f(1), Ok(11), "in place of an error");
    assert_eq!((f(1), RUNS.get()), (Ok(11), 2), "nobody waits while it is not tried");
    own.advance(SECOND);
    assert_eq!(f(1), Ok(31));
    let stats = f::stats();
    assert_eq!((stats.stale, stats.coalesced, stats.errors_hidden, stats.misses), (2, 1, 1, 2));
}

#[test]
fn a_body_that_waits_for_its_own_key_gets_the_stale_value() {
    #[cached(timeout = 60, stale_while_revalidate = 60, max_wait = "1h", skip(depth))]
    fn f(depth: u32) -> u32 {
        if depth == 0 { 1 } else { f(depth - 1) + 1 }
    }
    let own = testing::isolated();
    assert_eq!(f(0), 1);
    own.advance(60 * SECOND);
    assert_eq!(f(5), 2);
}
