//! What begins while a backend is told of a change.

use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, LazyLock, Mutex};
use std::thread;
use std::time::Duration;

use cached_runtime::testing::Isolated;
use cached_runtime::{Backend, cached, testing};
use cached_tests::driver::{Fault, Faulty};
use cached_tests::engine::Timed;
use cached_tests::{Gate, PATIENCE, Runs, eventually};

use super::{process, within};

#[test]
fn a_copy_that_is_made_while_the_backend_is_told_does_not_outlive_that() {
    backend!(OWN, DRIVER, Faulty::new());
    static NOW: AtomicU32 = AtomicU32::new(1);
    static SEEN: AtomicU32 = AtomicU32::new(0);
    #[cached(timeout = "1h", local_timeout = "1h", backend = OWN)]
    fn f(n: u32) -> u32 {
        n * NOW.load(SeqCst)
    }
    let ways: [fn(); 3] = [|| _ = f::invalidate(1), f::clear, || f::put(1, NOW.load(SeqCst))];
    let _own = testing::isolated();
    for (now, way) in (1..).zip(ways) {
        NOW.store(now, SeqCst);
        f::invalidate(1);
        assert_eq!(f(1), now);
        // A call that finds what is still there, and keeps a copy of it.
        DRIVER.before_write(|| SEEN.store(f(1), SeqCst));
        NOW.store(now + 1, SeqCst);
        way();
        assert!(SEEN.load(SeqCst) >= now);
        assert_eq!(f(1), now + 1);
    }
}

#[test]
fn who_waits_while_another_process_invalidates_looks_again() {
    backend!(OWN, DRIVER, Faulty::new());
    static RUNS: Runs = Runs::new();
    static GATE: Gate = Gate::new();
    static OTHER: LazyLock<Isolated> = LazyLock::new(process);
    #[cached(timeout = "1h", backend = OWN)]
    fn f(n: u32) -> u32 {
        let run = RUNS.add();
        if run == 1 {
            GATE.pass();
        }
        n + run
    }
    let own = process();
    let call = || {
        let own = own.clone();
        thread::spawn(move || within(&own, || f(0)))
    };
    let first = call();
    eventually(|| RUNS.get() == 1);
    within(&OTHER, || f::invalidate(0));
    let second = call();
    within(&own, || eventually(|| f::stats().misses == 2));
    GATE.open();
    assert_eq!(first.join().expect("it is done"), 1, "it began before");
    assert_eq!(second.join().expect("it is done"), 2, "it began after");
}

#[test]
fn what_is_served_stale_is_not_kept_from_being_replaced_by_being_used() {
    backend!(OWN, DRIVER, Faulty::new());
    static RUNS: Runs = Runs::new();
    static GATE: Gate = Gate::new();
    #[cached(timeout = 60, stale_while_revalidate = "1h", idle_timeout = "1m", backend = OWN)]
    fn f(n: u32) -> u32 {
        let run = RUNS.add();
        if run == 2 {
            GATE.pass();
        }
        n + run
    }
    let own = testing::isolated();
    assert_eq!(f(0), 1);
    own.advance(Duration::from_secs(50));
    assert_eq!(f(0), 1);
    own.advance(Duration::from_secs(15));
    assert_eq!(f(0), 1, "it is stale, and computed anew");
    eventually(|| RUNS.get() == 2);
    own.advance(Duration::from_secs(15));
    assert_eq!(f(0), 1);
    GATE.open();
    eventually(|| f::peek(0) == Some(2));
    assert_eq!(f::stats().backend_overtaken, 0);
}

#[test]
fn a_batch_serves_nothing_that_another_process_has_invalidated() {
    backend!(OWN, DRIVER, Faulty::new());
    static OTHER: LazyLock<Isolated> = LazyLock::new(process);
    #[cached(timeout = 60, stale_if_error = "1h", backend = OWN)]
    fn f(n: u32) -> Result<u32, String> {
        Ok(n)
    }
    let own = testing::isolated();
    f(1).expect("it is fine");
    own.advance(Duration::from_secs(60));
    let fails = |_: &[u32]| |_: &u32| Err("down".to_owned());
    assert_eq!(f::get_many(vec![1], fails), [Ok(1)], "in place of the error");
    own.advance(Duration::from_secs(2));
    let seen = f::get_many(vec![1], |keys| {
        within(&OTHER, || f::invalidate(1));
        fails(keys)
    });
    assert_eq!(seen, [Err("down".to_owned())]);
}

/// What it has stored is to be taken back, when those who waited have their value.
#[tokio::test]
async fn an_awaited_call_goes_on_after_those_who_waited_for_it() {
    backend!(OWN, DRIVER, Faulty::without_versions());
    static PROCESS: LazyLock<Isolated> = LazyLock::new(process);
    #[cached(timeout = "1h", backend = OWN)]
    async fn f(n: u32) -> u32 {
        tokio::task::yield_now().await;
        n
    }
    DRIVER.set_fault(Fault::TakesTime);
    DRIVER.before_set(|| within(&PROCESS, || assert!(!smol::block_on(f::invalidate(1)))));
    let [leads, waits] = [(); 2].map(|()| tokio::spawn(PROCESS.run(f(1))));
    for call in [leads, waits] {
        let value = tokio::time::timeout(PATIENCE, call).await.expect("it ends");
        assert_eq!(value.expect("it returns"), 1);
    }
    assert_eq!(PROCESS.run(f::peek(1)).await, None);
    assert_eq!(PROCESS.run(f::stats()).await.coalesced, 1);
}

#[test]
fn a_body_that_takes_longer_than_values_live_does_not_undo_an_invalidation() {
    static ENGINE: LazyLock<Arc<Timed>> = LazyLock::new(Timed::new);
    static OWN: Backend = Backend::driver("outlived", || ENGINE.clone());
    static PROCESSES: LazyLock<[Isolated; 2]> = LazyLock::new(|| [process(), process()]);
    static RUNS: Runs = Runs::new();
    static MEANWHILE: Mutex<Option<fn()>> = Mutex::new(None);
    fn body() -> u32 {
        let (run, work) = (RUNS.add(), MEANWHILE.lock().expect("nobody panics").take());
        if let Some(work) = work {
            work();
        }
        run
    }
    #[cached(timeout = 10, backend = OWN)]
    fn f(n: u8) -> u32 {
        let _ = n;
        body()
    }
    #[cached(timeout = 10, stale_while_revalidate = 8, revalidate = "inline", backend = OWN)]
    fn renewed(n: u8) -> u32 {
        let _ = n;
        body()
    }
    #[cached(timeout = "1h", backend = OWN, lease = "10s")]
    fn leased(n: u8) -> Option<u32> {
        let _ = n;
        None
    }
    #[cached(timeout = |_| Duration::from_secs(10), backend = OWN)]
    fn ruled(n: u8) -> u32 {
        let _ = n;
        body()
    }
    fn pass(seconds: u64) {
        let time = Duration::from_secs(seconds);
        ENGINE.advance(time);
        PROCESSES.iter().for_each(|process| within(process, || testing::advance(time)));
    }
    let [a, b] = &*PROCESSES;
    let during = |work| *MEANWHILE.lock().expect("nobody panics") = Some(work);

    // What has taken the place of the tombstone has gone by the end.
    for n in [1, 2] {
        during(|| {
            within(&PROCESSES[1], || (1..=2).for_each(|n| _ = (f::invalidate(n), f(n))));
            pass(11);
        });
        let first = RUNS.get() + 1;
        assert_eq!(within(a, || f(n)), first);
        assert_eq!(within(b, || f::peek(n)), None);
        assert_eq!(within(a, || f::stats().backend_overtaken), u64::from(n));
    }
    // It is stored where nothing has happened, once such bodies are known of.
    during(|| pass(11));
    let value = within(a, || f(3));
    assert_eq!(within(b, || f::peek(3)), Some(value));
    let load = |missing: &[u8]| {
        pass(11);
        assert_eq!(missing, [4, 5]);
        |n: &u8| u32::from(*n)
    };
    assert_eq!(within(a, || f::get_many(vec![4, 5], load)), [4, 5]);
    assert_eq!(within(b, || [4, 5].map(f::peek)), [None; 2], "a batch leaves no marks");

    // Nor is it where a claim has taken the place of the tombstone, and gone.
    let fail = |missing: &[u8]| {
        assert_eq!(missing, [1]);
        within(&PROCESSES[1], || (leased::invalidate(1), leased(1)));
        pass(3);
        |_: &u8| Some(7)
    };
    assert_eq!(within(a, || leased::get_many(vec![1], fail)), [Some(7)]);
    assert_eq!(within(b, || leased::peek(1)), None);

    // Nor one that computes anew what was served until it was invalidated.
    within(a, || renewed(1));
    pass(12);
    during(|| {
        within(&PROCESSES[1], || (renewed::invalidate(1), renewed(1)));
        pass(19);
    });
    within(a, || renewed(1));
    assert_eq!(within(b, || renewed::peek(1)), None);

    // How long values live by a rule is known from those that were computed.
    during(|| {
        within(&PROCESSES[1], || (ruled::invalidate(2), ruled(2)));
        pass(11);
    });
    within(a, || ruled(2));
    assert_eq!(within(b, || ruled::peek(2)), None);
}
