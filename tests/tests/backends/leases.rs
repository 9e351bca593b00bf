//! The same deduplication between processes.

use std::sync::{Arc, Barrier, LazyLock};
use std::thread;
use std::time::Duration;

use cached_runtime::testing::Isolated;
use cached_runtime::{Backend, Event, backends, cached, testing};
use cached_tests::driver::{Fault, Faulty};
use cached_tests::engine::Timed;
use cached_tests::events::{heard, listen};
use cached_tests::{Gate, PATIENCE, Runs, eventually};

use super::{process, within};

/// Calls a function in eight processes, by eight threads of each, at the same time.
fn everywhere(call: impl Fn() + Sync) {
    let (call, barrier) = (&call, &Barrier::new(64));
    thread::scope(|scope| {
        for _ in 0..8 {
            let process = process();
            for _ in 0..8 {
                let process = process.clone();
                scope.spawn(move || {
                    within(&process, || {
                        barrier.wait();
                        call();
                    });
                });
            }
        }
    });
}

#[test]
fn one_of_all_processes_computes() {
    backend!(OWN, DRIVER, Faulty::new());
    static RUNS: Runs = Runs::new();
    #[cached(timeout = "1h", lease = "30s", backend = OWN)]
    fn f(n: u32) -> u32 {
        RUNS.add();
        thread::sleep(Duration::from_millis(20));
        n
    }
    everywhere(|| assert_eq!(f(1), 1));
    assert_eq!(RUNS.get(), 1);
}

#[test]
fn a_driver_without_versions_works_without_leases_and_is_seen_to() {
    backend!(OWN, DRIVER, Faulty::without_versions());
    #[cached(timeout = "1h", lease = "1h", backend = OWN)]
    fn f(n: u32) -> u32 {
        n
    }
    everywhere(|| assert_eq!(f(1), 1));
    let shown = backends().into_iter().find(|it| it.name == OWN.to_string()).expect("it was used");
    assert_eq!((shown.leases, shown.failures), (Some(false), 0));
    // Those who came at the same time may have made generations that did not stay.
    assert_eq!((within(&process(), || f(1)), within(&process(), || f::peek(1))), (1, Some(1)));
}

#[test]
fn an_engine_that_stores_nothing_has_no_leases() {
    static OWN: Backend = Backend::url("null://?prefix=no-leases");
    #[cached(timeout = "1h", backend = OWN)]
    fn plain(n: u32) -> u32 {
        n
    }
    #[cached(timeout = "1h", lease = "1h", backend = OWN)]
    fn f(n: u32) -> u32 {
        n
    }
    listen();
    let _own = testing::isolated();
    let backend = OWN.to_string();
    let shown = || backends().into_iter().rfind(|it| it.name == backend).expect("it was used");
    plain(1);
    let without = shown().operations;
    assert_eq!(heard(&backend), [], "nobody has asked for any");
    assert_eq!((f(1), shown().operations - without), (1, without));
    assert_eq!(
        (shown().leases, heard(&backend)),
        (Some(false), vec![Event::NoLeases { backend: backend.clone() }])
    );
    assert_eq!((f(1), f::peek(1), f::invalidate(1)), (1, None, false));
    assert_eq!((f::stats().computations, heard(&backend).len()), (2, 1), "it is told once");
}

#[test]
fn a_holder_that_hangs_delays_others_by_no_more_than_the_lease_and_is_fenced() {
    backend!(OWN, DRIVER, Faulty::new());
    static RUNS: Runs = Runs::new();
    static GATE: Gate = Gate::new();
    #[cached(timeout = "1h", lease = "50ms", backend = OWN)]
    fn f(n: u32) -> u32 {
        if RUNS.add() == 1 {
            GATE.pass();
            return n + 1000;
        }
        n
    }
    let (a, b) = (process(), process());
    let holder = a.clone();
    let holding = thread::spawn(move || within(&holder, || f(1)));
    while RUNS.get() == 0 {
        thread::yield_now();
    }
    // Its claim ends while it is computing.
    assert_eq!(within(&b, || f(1)), 1);
    GATE.open();
    assert_eq!(holding.join().expect("it is done"), 1001);
    assert_eq!((within(&a, || f::peek(1)), within(&b, || f::peek(1))), (Some(1), Some(1)));
    assert_eq!(within(&a, || f::stats().backend_overtaken), 1);
}

/// Three processes, and the time of an engine and of both.
struct Clocked {
    engine: LazyLock<Arc<Timed>>,
    processes: LazyLock<[Isolated; 3]>,
}

impl Clocked {
    const fn new() -> Self {
        fn processes() -> [Isolated; 3] {
            [process(), process(), process()]
        }
        Self { engine: LazyLock::new(Timed::new), processes: LazyLock::new(processes) }
    }

    fn pass(&self, seconds: u64) {
        let time = Duration::from_secs(seconds);
        self.engine.advance(time);
        self.processes.iter().for_each(|process| within(process, || testing::advance(time)));
    }
}

#[test]
fn a_body_that_takes_longer_than_its_lease_is_stored_where_nothing_was_invalidated_meanwhile() {
    static ALL: Clocked = Clocked::new();
    static OWN: Backend = Backend::driver("longer than its lease", || ALL.engine.clone());
    #[cached(timeout = "1h", lease = "10s", backend = OWN)]
    fn f(n: u8, invalidated: bool) -> u8 {
        ALL.pass(11);
        if invalidated {
            within(&ALL.processes[1], || f::invalidate(n, invalidated));
            ALL.pass(11);
        }
        n
    }
    let [a, b, _] = &*ALL.processes;
    for (n, invalidated_before) in [(1, false), (2, true)] {
        for invalidated_meanwhile in [false, true] {
            if invalidated_before {
                within(b, || f::invalidate(n, invalidated_meanwhile));
            }
            assert_eq!(within(a, || f(n, invalidated_meanwhile)), n);
            let stored = within(b, || f::peek(n, invalidated_meanwhile));
            assert_eq!(stored, (!invalidated_meanwhile).then_some(n), "{n}, {invalidated_before}");
        }
    }
}

#[test]
fn the_first_to_end_is_stored_though_another_has_claimed_the_key_by_then() {
    static ALL: Clocked = Clocked::new();
    static OWN: Backend = Backend::driver("first to end", || ALL.engine.clone());
    static RUNS: Runs = Runs::new();
    static GATE: Gate = Gate::new();
    #[cached(timeout = "1h", lease = "10s", backend = OWN)]
    fn f(n: u8, invalidated: bool) -> u32 {
        let run = RUNS.add();
        if run.is_multiple_of(2) {
            GATE.pass();
            return run;
        }
        // The claim is over, and the next one computes.
        ALL.pass(11);
        if invalidated {
            within(&ALL.processes[1], || f::invalidate(n, invalidated));
        }
        thread::spawn(move || within(&ALL.processes[1], || f(n, invalidated)));
        while RUNS.get() == run {
            thread::yield_now();
        }
        run
    }
    let [a, b, c] = &*ALL.processes;
    for (n, invalidated_before) in [(1, false), (2, true)] {
        for invalidated_meanwhile in [false, true] {
            if invalidated_before {
                within(b, || f::invalidate(n, invalidated_meanwhile));
            }
            let first = within(a, || f(n, invalidated_meanwhile));
            let stored = within(c, || f::peek(n, invalidated_meanwhile));
            assert_eq!(stored, (!invalidated_meanwhile).then_some(first), "{n}, {invalidated_before}");
            GATE.open();
            // What came first stays; what was invalidated has come to nothing, and the next one is stored.
            eventually(|| within(c, || f::peek(n, invalidated_meanwhile)).is_some());
            let second = if invalidated_meanwhile { first + 1 } else { first };
            assert_eq!(within(c, || f::peek(n, invalidated_meanwhile)), Some(second));
        }
    }
}

#[tokio::test]
async fn a_call_that_is_dropped_leaves_no_claim_wherever_it_was() {
    backend!(OWN, DRIVER, Faulty::new());
    #[cached(timeout = "1h", lease = "1h", backend = OWN)]
    async fn f(n: u32) -> u32 {
        tokio::task::yield_now().await;
        n
    }
    DRIVER.set_fault(Fault::TakesTime);
    let (a, b) = (process(), process());
    for polls in 0..20 {
        let mut dropped = Box::pin(a.run(f(polls)));
        for _ in 0..polls {
            if futures_poll(&mut dropped).await.is_some() {
                break;
            }
        }
        drop(dropped);
        let next = tokio::time::timeout(PATIENCE, b.run(f(polls))).await;
        assert_eq!(next.ok(), Some(polls), "dropped after {polls} polls");
    }
}

#[test]
fn an_invalidation_fences_the_holder() {
    backend!(OWN, DRIVER, Faulty::new());
    static RUNS: Runs = Runs::new();
    static OTHER: LazyLock<Isolated> = LazyLock::new(process);
    #[cached(timeout = "1h", lease = "1h", backend = OWN)]
    fn f(n: u32) -> u32 {
        if RUNS.add() == 1 {
            assert!(!within(&OTHER, || f::invalidate(n)), "there was only a claim");
        }
        n
    }
    let a = process();
    assert_eq!(
        (within(&a, || f(1)), within(&a, || f::peek(1)), within(&OTHER, || f::peek(1))),
        (1, None, None)
    );
    assert_eq!((within(&a, || f(1)), within(&OTHER, || f::peek(1))), (1, Some(1)));
}

#[test]
fn those_who_wait_for_a_body_that_fails_go_on() {
    backend!(OWN, DRIVER, Faulty::new());
    static RUNS: Runs = Runs::new();
    #[cached(timeout = "1h", lease = "1h", backend = OWN)]
    fn f(n: u32) -> Result<u32, String> {
        if RUNS.add() == 1 {
            thread::sleep(Duration::from_millis(20));
        }
        Err(n.to_string())
    }
    // An hour would be too long for anybody.
    everywhere(|| assert_eq!(f(1), Err("1".into())));
}

#[test]
fn a_body_that_calls_its_own_key_does_not_wait_for_its_own_claim() {
    static RUNS: Runs = Runs::new();
    #[cached(timeout = "1h", lease = "1h", backend = "memory://")]
    fn f(n: u32) -> u32 {
        if RUNS.add() == 1 { f(n) + 1 } else { n }
    }
    let _own = testing::isolated();
    assert_eq!((f(1), RUNS.get()), (2, 2));
}

#[tokio::test]
async fn a_holder_whose_future_is_dropped_lets_others_go_on() {
    backend!(OWN, DRIVER, Faulty::new());
    static RUNS: Runs = Runs::new();
    #[cached(timeout = "1h", lease = "1h", backend = OWN)]
    async fn f(n: u32) -> u32 {
        if RUNS.add() == 1 {
            std::future::pending::<()>().await;
        }
        n
    }
    let (a, b) = (process(), process());
    let mut holder = Box::pin(a.run(async { f(1).await }));
    while RUNS.get() == 0 {
        assert!(futures_poll(&mut holder).await.is_none());
    }
    let other = tokio::spawn(b.run(async { f(1).await }));
    drop(holder);
    assert_eq!(other.await.expect("it is done"), 1);
    assert_eq!(b.run(async { f::peek(1).await }).await, Some(1));
}

/// Polls once.
async fn futures_poll<F: Future + Unpin>(future: &mut F) -> Option<F::Output> {
    tokio::task::yield_now().await;
    std::future::poll_fn(|context| {
        std::task::Poll::Ready(match std::pin::Pin::new(&mut *future).poll(context) {
            std::task::Poll::Ready(output) => Some(output),
            std::task::Poll::Pending => None,
        })
    })
    .await
}

#[test]
fn who_waits_for_another_process_goes_on_waiting_through_a_hiccup_of_the_engine() {
    backend!(OWN, DRIVER, Faulty::new());
    static RUNS: Runs = Runs::new();
    static GATE: Gate = Gate::new();
    #[cached(timeout = "1h", lease = "1h", backend = OWN)]
    fn f(n: u32) -> u32 {
        RUNS.add();
        GATE.pass();
        n
    }
    thread::scope(|scope| {
        let computes = scope.spawn(|| within(&process(), || f(1)));
        while RUNS.get() == 0 {
            thread::yield_now();
        }
        let waits = scope.spawn(|| within(&process(), || f(1)));
        let wait_for_operations = |more| {
            let before = DRIVER.operations();
            while DRIVER.operations() < before + more && !waits.is_finished() {
                thread::yield_now();
            }
        };
        wait_for_operations(3);
        DRIVER.set_fault(Fault::Refuses);
        wait_for_operations(1);
        DRIVER.set_fault(Fault::None);
        wait_for_operations(1);
        GATE.open();
        assert_eq!((computes.join().ok(), waits.join().ok()), (Some(1), Some(1)));
    });
    assert_eq!(RUNS.get(), 1);
}
