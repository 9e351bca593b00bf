//! What a caller sees at every age of an entry that is in a backend: values that are stale, or computed anew by one
//! process while all serve them.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, Barrier, LazyLock};
use std::thread;
use std::time::Duration;

use cached_runtime::testing::Isolated;
use cached_runtime::{Backend, cached, testing};
use cached_tests::driver::{Fault, Faulty};
use cached_tests::{Gate, Runs, eventually as until};

use super::{process, within};

const SECOND: Duration = Duration::from_secs(1);

/// Processes, all of whose clocks go by the same.
fn processes<const N: usize>() -> [Isolated; N] {
    std::array::from_fn(|_| process())
}

fn advance(processes: &[Isolated], time: Duration) {
    for process in processes {
        within(process, || testing::advance(time));
    }
}

#[test]
fn the_table_of_ages_where_a_caller_computes() {
    backend!(OWN, DRIVER, Faulty::new());
    static RUNS: Runs = Runs::new();
    #[cached(timeout = 60, stale_while_revalidate = 30, revalidate = "inline", backend = OWN)]
    fn f(age: u32) -> u32 {
        let _ = age;
        RUNS.add()
    }
    for (age, is_new) in [(0, false), (59, false), (60, true), (89, true), (90, true)] {
        let all = processes::<2>();
        let [a, b] = &all;
        let first = within(a, || f(age));
        advance(&all, SECOND * age);
        assert_eq!(
            within(b, || f::peek(age)).is_some(),
            age < 60,
            "only what is fresh is peeked at: {age} s"
        );
        let second = within(b, || f(age));
        assert_eq!(second != first, is_new, "at the age of {age} s");
        assert_eq!([a, b].map(|it| within(it, || f(age))), [second; 2]);
        let revalidations = u64::from(is_new && age < 90);
        assert_eq!(within(b, || f::stats().revalidations), revalidations, "at the age of {age} s");
    }
}

#[test]
fn the_table_of_ages_where_the_background_computes() {
    backend!(OWN, DRIVER, Faulty::new());
    static RUNS: Runs = Runs::new();
    #[cached(timeout = 60, stale_while_revalidate = 30, backend = OWN)]
    fn f(age: u32) -> u32 {
        let _ = age;
        RUNS.add()
    }
    // The age; whether the first call is served what was there, and whether a later one is.
    for (age, at_once, later) in
        [(0, true, true), (59, true, true), (60, true, false), (89, true, false), (90, false, false)]
    {
        let all = processes::<2>();
        let [a, b] = &all;
        let first = within(a, || f(age));
        advance(&all, SECOND * age);
        assert_eq!(within(b, || f(age)) == first, at_once, "at the age of {age} s");
        within(b, || until(|| f::stats().computations == u64::from(age >= 60)));
        until(|| within(a, || f::peek(age)).is_some());
        assert_eq!(within(a, || f(age)) == first, later, "at the age of {age} s");
        let stats = within(b, f::stats);
        let is_stale = u64::from(at_once && !later);
        assert_eq!((stats.stale, stats.revalidations), (is_stale, is_stale), "at the age of {age} s");
    }
}

#[test]
fn one_of_all_processes_computes_anew_and_nobody_waits_for_it() {
    backend!(OWN, DRIVER, Faulty::new());
    static RUNS: Runs = Runs::new();
    static RELEASED: AtomicBool = AtomicBool::new(false);
    #[cached(timeout = 60, stale_while_revalidate = "1m", backend = OWN)]
    fn f(n: u8) -> u32 {
        let _ = n;
        let run = RUNS.add();
        until(|| run == 1 || RELEASED.load(SeqCst));
        run
    }
    let all = processes::<8>();
    within(&all[0], || f(1));
    advance(&all, 61 * SECOND);
    let barrier = &Barrier::new(64);
    thread::scope(|scope| {
        for process in &all {
            for _ in 0..8 {
                scope.spawn(move || {
                    within(process, || {
                        barrier.wait();
                        assert_eq!((f(1), f(1)), (1, 1));
                    });
                });
            }
        }
    });
    RELEASED.store(true, SeqCst);
    until(|| within(&all[0], || f::peek(1)) == Some(2));
    assert_eq!(within(&all[7], || f(1)), 2);
    assert_eq!(RUNS.get(), 2, "one process computed, and one call of it");
}

#[test]
fn the_one_who_computes_anew_in_its_call_holds_nobody_up() {
    backend!(OWN, DRIVER, Faulty::new());
    static RUNS: Runs = Runs::new();
    static GATE: Gate = Gate::new();
    #[cached(timeout = 60, stale_while_revalidate = "1m", revalidate = "inline", backend = OWN)]
    fn f(n: u8) -> u32 {
        let _ = n;
        let run = RUNS.add();
        if run > 1 {
            GATE.pass();
        }
        run
    }
    let all = processes::<2>();
    let [a, b] = &all;
    within(a, || f(1));
    advance(&all, 61 * SECOND);
    let computing = thread::spawn({
        let a = a.clone();
        move || within(&a, || f(1))
    });
    until(|| RUNS.get() == 2);
    assert_eq!([a, b].map(|it| within(it, || f(1))), [1, 1], "here and elsewhere");
    GATE.open();
    assert_eq!(computing.join().expect("it is done"), 2);
    assert_eq!([a, b].map(|it| within(it, || f(1))), [2, 2]);
    assert_eq!(RUNS.get(), 2);
}

#[test]
fn an_error_is_hidden_and_the_origin_asked_once_per_backoff_by_all_processes() {
    backend!(OWN, DRIVER, Faulty::new());
    static RUNS: Runs = Runs::new();
    #[cached(timeout = 60, stale_if_error = "1h", error_backoff = "2h", backend = OWN)]
    fn f(fails: bool) -> Result<u32, String> {
        if RUNS.add() > 1 {
            assert!(!fails, "on purpose");
            return Err("down".into());
        }
        Ok(7)
    }
    for fails in [false, true] {
        let before = RUNS.get();
        let all = processes::<3>();
        let [a, b, c] = &all;
        within(a, || f::put(fails, Ok(7)));
        RUNS.add();
        advance(&all, 61 * SECOND);
        assert_eq!([b, c, b, a].map(|it| within(it, || f(fails))), [const { Ok(7) }; 4]);
        assert_eq!(RUNS.get(), before + 2, "one of them tried");
        let stats = within(b, f::stats);
        assert_eq!((stats.errors_hidden, stats.stale, stats.revalidations), (1, 1, 1));
        // The hard limit stays.
        advance(&all, Duration::from_secs(3600));
        let seen = catch_unwind(AssertUnwindSafe(|| within(b, || f(fails))));
        assert!(matches!(seen, Ok(Err(_)) | Err(_)), "{seen:?}");
    }
}

#[test]
fn a_body_that_fails_serves_those_who_wait_for_its_lease_what_was_there() {
    backend!(OWN, DRIVER, Faulty::new());
    static RUNS: Runs = Runs::new();
    #[cached(timeout = 60, stale_if_error = "1h", error_backoff = "1h", lease = "1h", backend = OWN)]
    fn f(n: u8) -> Result<u8, String> {
        if RUNS.add() > 1 {
            thread::sleep(Duration::from_millis(20));
            return Err("down".into());
        }
        Ok(n)
    }
    let all = processes::<8>();
    within(&all[0], || f(1)).expect("the first run is fine");
    advance(&all, 61 * SECOND);
    let barrier = &Barrier::new(16);
    thread::scope(|scope| {
        for process in &all {
            for _ in 0..2 {
                scope.spawn(move || {
                    within(process, || {
                        barrier.wait();
                        assert_eq!(f(1), Ok(1));
                    });
                });
            }
        }
    });
    assert_eq!(RUNS.get(), 2);
}

#[test]
fn an_invalidation_meanwhile_is_not_undone_by_what_was_computed_anew() {
    backend!(OWN, DRIVER, Faulty::new());
    static RUNS: Runs = Runs::new();
    static GATE: Gate = Gate::new();
    #[cached(timeout = 60, stale_while_revalidate = "1m", backend = OWN)]
    fn f(n: u8) -> u32 {
        let _ = n;
        let run = RUNS.add();
        if run == 2 {
            GATE.pass();
        }
        run
    }
    let all = processes::<2>();
    let [a, b] = &all;
    within(a, || f(1));
    advance(&all, 61 * SECOND);
    assert_eq!(within(a, || f(1)), 1);
    until(|| RUNS.get() == 2);
    assert!(!within(b, || f::invalidate(1)), "what was there was not fresh");
    assert_eq!([a, b].map(|it| within(it, || f(1))), [3, 3], "what is stale was invalidated too");
    GATE.open();
    within(a, || until(|| f::stats().backend_overtaken == 1));
    assert_eq!([a, b].map(|it| within(it, || f(1))), [3, 3]);
}

#[test]
fn a_value_put_meanwhile_is_newer_than_the_one_that_hides_an_error() {
    backend!(OWN, DRIVER, Faulty::new());
    static OTHER: LazyLock<Isolated> = LazyLock::new(process);
    #[cached(timeout = 60, stale_if_error = "1h", backend = OWN)]
    fn f(invalidates: bool) -> Result<u8, String> {
        within(&OTHER, || {
            if invalidates {
                f::invalidate(invalidates);
            } else {
                f::put(invalidates, Ok(9));
            }
        });
        Err("down".into())
    }
    let all = [process(), OTHER.clone()];
    within(&all[0], || [true, false].map(|it| f::put(it, Ok(1))));
    advance(&all, 61 * SECOND);
    assert_eq!(within(&all[0], || (f(false), f(true))), (Ok(9), Err("down".into())));
}

#[test]
fn a_value_is_computed_anew_ahead_of_its_end() {
    backend!(OWN, DRIVER, Faulty::new());
    static RUNS: Runs = Runs::new();
    #[cached(timeout = 100, refresh_ahead = 0.8, revalidate = "inline", backend = OWN)]
    fn f(n: u8) -> u32 {
        let _ = n;
        RUNS.add()
    }
    let all = processes::<2>();
    let [a, b] = &all;
    let mut now = 0;
    for (age, expected) in [(0, 1), (78, 1), (82, 2), (160, 2), (164, 3)] {
        advance(&all, SECOND * (age - now));
        now = age;
        assert_eq!(within(b, || f(1)), expected, "at {now} s");
        assert_eq!(within(a, || f(1)), expected, "at {now} s");
    }
    // Nobody asked in time.
    advance(&all, 100 * SECOND);
    assert_eq!(within(a, || f(1)), 4);
}

#[test]
fn who_may_wait_for_a_while_gets_the_new_value_or_else_the_old_one() {
    backend!(OWN, DRIVER, Faulty::new());
    static RUNS: Runs = Runs::new();
    static GATE: Gate = Gate::new();
    #[cached(timeout = 60, stale_if_error = "1h", max_wait = "20ms", backend = OWN)]
    fn slow(n: u8) -> Result<u32, String> {
        let _ = n;
        let run = RUNS.add();
        if run > 1 {
            GATE.pass();
        }
        Ok(run)
    }
    #[cached(timeout = 60, stale_while_revalidate = "1h", max_wait = "1h", backend = OWN)]
    fn fast(n: u8) -> u32 {
        let _ = n;
        RUNS.add()
    }
    let all = processes::<1>();
    let [a] = &all;
    within(a, || {
        assert_eq!(slow(1), Ok(1));
        advance(&all, 61 * SECOND);
        assert_eq!((slow(1), slow(1)), (Ok(1), Ok(1)), "the body is not done");
        assert_eq!(RUNS.get(), 2);
        GATE.open();
        until(|| slow::peek(1) == Some(Ok(2)));
        let first = fast(1);
        advance(&all, 61 * SECOND);
        assert_eq!(fast(1), first + 1);
    });
}

#[test]
fn the_engine_is_told_the_end_of_the_windows_and_no_more_than_the_idle_timeout() {
    backend!(OWN, DRIVER, Faulty::new());
    #[cached(timeout = 60, stale_while_revalidate = 30, stale_if_error = 90, revalidate = "inline", backend = OWN)]
    fn windows(n: u8) -> u8 {
        n
    }
    #[cached(timeout = 60, idle_timeout = 10, backend = OWN)]
    fn idle(n: u8) -> u8 {
        n
    }
    #[cached(timeout = |v| Duration::from_secs(u64::from(*v)), stale_if_error = 5, backend = OWN)]
    fn of_the_value(n: u8) -> u8 {
        n
    }
    #[cached(timeout = 1000, jitter = "10%", stale_if_error = 1000, backend = OWN)]
    fn jittered(n: u8) -> u8 {
        n
    }
    let _own = testing::isolated();
    let ttl = |call: &dyn Fn()| {
        let before = DRIVER.keys();
        call();
        let key = DRIVER.keys().into_iter().find(|key| !before.contains(key)).expect("it was written");
        DRIVER.ttl(&key).expect("it ends").as_secs_f64()
    };
    assert!((ttl(&|| _ = windows(1)) - 150.0).abs() < 1.0);
    assert!((ttl(&|| _ = idle(1)) - 10.0).abs() < 1.0);
    assert!((ttl(&|| _ = of_the_value(20)) - 25.0).abs() < 1.0);
    let jittered: Vec<_> = (0..50).map(|n| ttl(&|| _ = jittered(n))).collect();
    assert!(jittered.iter().all(|ttl| (1899.0..=2000.0).contains(ttl)), "{jittered:?}");
    assert!(jittered.iter().any(|ttl| *ttl < 1990.0), "{jittered:?}");
}

#[test]
fn a_value_that_is_used_does_not_become_idle() {
    backend!(OWN, DRIVER, Faulty::new());
    static RUNS: Runs = Runs::new();
    #[cached(timeout = 60, idle_timeout = 10, backend = OWN)]
    fn f(n: u8) -> u32 {
        let _ = n;
        RUNS.add()
    }
    let all = processes::<2>();
    let [a, b] = &all;
    within(a, || f(1));
    for process in [a, b, a, b, a, b] {
        advance(&all, 9 * SECOND);
        assert_eq!(within(process, || f(1)), 1, "no longer idle than nine seconds");
    }
    advance(&all, 6 * SECOND);
    assert_eq!(within(a, || f(1)), 2, "its timeout is not extended");
    advance(&all, 10 * SECOND);
    assert_eq!((within(b, || f::peek(1)), within(b, || f(1))), (None, 3));
}

#[test]
fn what_took_longer_than_the_window_is_stored_all_the_same() {
    backend!(OWN, DRIVER, Faulty::new());
    static RUNS: Runs = Runs::new();
    #[cached(timeout = 60, stale_while_revalidate = 30, revalidate = "inline", backend = OWN)]
    fn f(n: u8) -> u32 {
        let _ = n;
        let run = RUNS.add();
        if run == 2 {
            // The engine lets the old value go meanwhile.
            let key = DRIVER.keys().into_iter().find(|key| key.contains('f')).expect("it is there");
            DRIVER.lose(&key);
        }
        run
    }
    let all = processes::<1>();
    let [a] = &all;
    within(a, || f(1));
    advance(&all, 61 * SECOND);
    assert_eq!(within(a, || (f(1), f(1))), (2, 2));
    assert_eq!(within(a, || f::stats().backend_overtaken), 0);
}

#[test]
fn a_copy_lives_no_longer_than_its_value_is_fresh_and_a_stale_one_is_none() {
    backend!(OWN, DRIVER, Faulty::new());
    static RUNS: Runs = Runs::new();
    #[cached(timeout = 60, local_timeout = "1h", stale_if_error = "1h", error_backoff = "1h", backend = OWN)]
    fn f(n: u8) -> Result<u32, String> {
        let _ = n;
        if RUNS.add() == 1 { Ok(1) } else { Err("down".into()) }
    }
    let all = processes::<1>();
    let [a] = &all;
    within(a, || {
        assert_eq!((f(1), f(1)), (Ok(1), Ok(1)));
        assert_eq!((f::stats().hits, f::stats().entries), (1, 1));
        advance(&all, 59 * SECOND);
        assert_eq!((f(1), f::stats().hits), (Ok(1), 2));
        advance(&all, SECOND);
        assert_eq!((f(1), f(1), RUNS.get()), (Ok(1), Ok(1), 2));
        assert_eq!((f::stats().hits, f::stats().stale), (2, 1));
    });
}

#[test]
fn a_driver_without_versions_lets_each_process_compute_anew() {
    backend!(OWN, DRIVER, Faulty::without_versions());
    static RUNS: Runs = Runs::new();
    #[cached(timeout = 60, stale_while_revalidate = 30, revalidate = "inline", backend = OWN)]
    fn f(n: u8) -> u32 {
        let _ = n;
        RUNS.add()
    }
    let all = processes::<2>();
    let [a, b] = &all;
    within(a, || f(1));
    advance(&all, 61 * SECOND);
    assert_eq!(within(b, || f(1)), 2);
    assert_eq!([a, b].map(|it| within(it, || f(1))), [2, 2]);
}

#[test]
fn a_backend_that_fails_while_a_value_is_computed_anew_fails_no_call() {
    backend!(OWN, DRIVER, Faulty::new());
    #[cached(timeout = 60, stale_if_error = "1h", backend = OWN)]
    fn f(n: u8) -> Result<u8, String> {
        let _ = n;
        DRIVER.set_fault(Fault::Refuses);
        Err("down".into())
    }
    let all = processes::<1>();
    let [a] = &all;
    within(a, || f::put(1, Ok(1)));
    advance(&all, 61 * SECOND);
    assert_eq!(within(a, || f(1)), Ok(1), "what was read before is better than an error");
    assert_eq!(within(a, || f(1)), Err("down".into()), "nothing can be read now");
}

/// Runs two calls in tasks of one thread, the first of which computes.
fn two_tasks<R>(calls: impl Future<Output = R>) -> R {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(calls)
}

#[test]
fn a_task_that_computes_anew_is_woken_though_others_have_gone_on() {
    backend!(OWN, DRIVER, Faulty::new());
    static RUNS: Runs = Runs::new();
    static BEGUN: LazyLock<Arc<tokio::sync::Notify>> = LazyLock::new(Arc::default);
    #[cached(timeout = 60, stale_while_revalidate = 30, revalidate = "inline", backend = OWN)]
    async fn f(n: u8) -> u32 {
        let _ = n;
        let run = RUNS.add();
        if run > 1 {
            BEGUN.notified().await;
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        run
    }
    let own = testing::isolated();
    two_tasks(async {
        f(1).await;
        own.advance(60 * SECOND);
        let others = async {
            let seen = tokio::join!(f(1), f(1));
            BEGUN.notify_one();
            seen
        };
        assert_eq!(tokio::join!(f(1), others), (2, (1, 1)));
        assert_eq!(f(1).await, 2);
    });
    assert_eq!(RUNS.get(), 2);
}

#[test]
fn a_task_of_the_runtime_computes_anew() {
    backend!(OWN, DRIVER, Faulty::new());
    static RUNS: Runs = Runs::new();
    #[cached(timeout = 60, stale_while_revalidate = 30, backend = OWN)]
    async fn f(text: &str) -> String {
        format!("{text} {}", RUNS.add())
    }
    let own = testing::isolated();
    two_tasks(async {
        assert_eq!(f("a").await, "a 1");
        own.advance(60 * SECOND);
        assert_eq!(f("a").await, "a 1");
        while f::peek("a").await.is_none() {
            tokio::task::yield_now().await;
        }
        assert_eq!(f("a").await, "a 2");
    });
}

/// Copies are given up while chance decides, and the call in the background does not draw once more.
#[test]
fn xfetch_computes_a_hot_key_ahead_with_copies_and_without() {
    static HERE: Runs = Runs::new();
    fn compute() {
        if thread::current().name() != Some("cached-background") {
            HERE.add();
        }
        // What it costs is told to others in real time.
        thread::sleep(Duration::from_millis(5));
    }
    backend!(OWN, DRIVER, Faulty::new());
    #[cached(timeout = 60, refresh_ahead = "xfetch", backend = OWN)]
    fn without(n: u32) -> u32 {
        compute();
        n
    }
    #[cached(timeout = 60, refresh_ahead = "xfetch", local_timeout = 600, backend = OWN)]
    fn with(n: u32) -> u32 {
        compute();
        n
    }
    for f in [without as fn(u32) -> u32, with] {
        let process = process();
        within(&process, || {
            let before = HERE.get();
            f(1);
            for _ in 0..5 {
                testing::advance(59 * SECOND);
                let computed = || without::stats().computations + with::stats().computations;
                let before = computed();
                for _ in 0..10_000 {
                    testing::advance(SECOND / 10_000);
                    f(1);
                    let revalidations = || without::stats().revalidations + with::stats().revalidations;
                    until(|| computed() == revalidations() + 1);
                    if computed() > before {
                        break;
                    }
                }
            }
            assert_eq!(HERE.get() - before, 1, "the first time");
            assert_eq!(without::stats().computations + with::stats().computations, 6);
        });
    }
}

#[test]
fn a_copy_lives_no_longer_than_until_its_value_is_computed_ahead() {
    backend!(OWN, DRIVER, Faulty::new());
    static RUNS: Runs = Runs::new();
    #[cached(timeout = 100, refresh_ahead = 0.8, local_timeout = 600, backend = OWN)]
    fn f(n: u32) -> u32 {
        n + RUNS.add()
    }
    let process = process();
    within(&process, || {
        f(0);
        testing::advance(79 * SECOND);
        assert_eq!((f(0), f::stats().hits), (1, 1));
        testing::advance(SECOND);
        assert_eq!(f(0), 1);
        until(|| f::stats().computations == 2);
        assert_eq!(f(0), 2);
    });
}

#[test]
fn what_is_in_use_in_a_process_that_has_a_copy_is_idle_for_nobody() {
    backend!(OWN, DRIVER, Faulty::new());
    #[cached(timeout = 600, idle_timeout = 8, local_timeout = 100, backend = OWN)]
    fn f(n: u32) -> u32 {
        n
    }
    let all = processes::<2>();
    for _ in 0..60 {
        within(&all[0], || f(1));
        advance(&all, SECOND / 2);
    }
    let stats = within(&all[0], f::stats);
    assert_eq!((stats.computations, stats.hits), (1, 30), "{stats:?}");
    assert_eq!(within(&all[1], || f::peek(1)), Some(1));
}
