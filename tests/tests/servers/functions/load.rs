//! Many threads and many keys, while the server is killed and comes back.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::thread;
use std::time::{Duration, Instant};

use cached_runtime::{Backend, BackendState, cached};
use cached_tests::{Runs, eventually};

use super::{Engine, MEMCACHED, REDIS, backend, info, on_each_engine};

const THREADS: u64 = 64;
const KEYS: u64 = 10_000;
const KILLS: u32 = 5;
/// What a body takes, without which those who do not ask the server would leave no time to those who do.
const WORK: Duration = Duration::from_millis(20);

/// A value that tells of which key it is, of many sizes.
fn value(key: u64) -> String {
    format!("{key};").repeat(1 + usize::try_from(key % 97).expect("it is small"))
}

macro_rules! under_load {
    ($engine:expr, $time:expr, $pause:expr) => {{
        backend!(OWN, URL);
        static RUNS: Runs = Runs::new();
        #[cached(timeout = "1h", backend = OWN)]
        fn blocking(key: u64) -> String {
            RUNS.add();
            thread::sleep(WORK);
            value(key)
        }
        static AWAITED_RUNS: Runs = Runs::new();
        #[cached(timeout = "1h", backend = OWN)]
        async fn awaited(key: u64) -> String {
            AWAITED_RUNS.add();
            tokio::time::sleep(WORK).await;
            value(key)
        }
        // How long it lasts, and what each thread leaves to others between two calls.
        let (engine, time, pause): (Engine, Duration, Duration) = ($engine, $time, $pause);
        let mut server = engine.start();
        URL.set(engine.url(server.address())).expect("once in each test");
        let (is_over, calls) = (AtomicBool::new(false), AtomicU64::new(0));
        // Each thread takes the keys in an order of its own.
        let keys = |thread: u64| {
            let (is_over, calls) = (&is_over, &calls);
            (0..).map(move |turn: u64| (thread * 157 + turn * (2 * thread + 1)) % KEYS).take_while(
                move |_| {
                    calls.fetch_add(1, Relaxed);
                    !is_over.load(Relaxed)
                },
            )
        };
        thread::scope(|scope| {
            for thread in 0..THREADS {
                let keys = keys(thread);
                scope.spawn(move || {
                    if thread % 4 > 0 {
                        for key in keys {
                            assert_eq!(blocking(key), value(key));
                            thread::sleep(pause);
                        }
                        return;
                    }
                    let runtime = tokio::runtime::Builder::new_current_thread()
                        .enable_all()
                        .build()
                        .expect("a runtime");
                    runtime.block_on(async {
                        for key in keys {
                            assert_eq!(awaited(key).await, value(key));
                            tokio::time::sleep(pause).await;
                        }
                    });
                });
            }
            let hits = || blocking::stats().backend_hits;
            let hit_again = || {
                let before = hits();
                eventually(|| hits() > before + 1000);
            };
            let ending = Ending { is_over: &is_over };
            for _ in 0..KILLS {
                let begun = Instant::now();
                hit_again();
                thread::sleep((time / (KILLS + 1)).saturating_sub(begun.elapsed()));
                server.kill();
                eventually(|| info(&OWN).state == BackendState::Open);
                server.restart();
            }
            hit_again();
            drop(ending);
        });
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        let awaited = runtime.block_on(awaited::stats());
        for (stats, runs) in [(blocking::stats(), RUNS.get()), (awaited, AWAITED_RUNS.get())] {
            println!("{}: {} calls in all, {runs} bodies, {stats:?}", engine.scheme, calls.load(Relaxed));
            let runs = u64::from(runs);
            assert_eq!(runs, stats.computations);
            assert_eq!(stats.misses, stats.backend_hits + stats.coalesced + runs, "a body for each miss");
            let unknown = stats.backend_errors + stats.backend_skipped;
            assert!(runs <= stats.backend_misses + unknown, "and none for a hit");
        }
    }};
}

/// Ends the load also where the test fails.
struct Ending<'a> {
    is_over: &'a AtomicBool,
}

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.is_over.store(true, Relaxed);
    }
}

on_each_engine! {
    fn no_value_is_wrong_and_no_call_fails_while_the_server_is_killed(engine) {
        under_load!(engine, Duration::from_secs(5), Duration::from_millis(10));
    }
}

on_each_engine! {
    #[ignore = "takes a minute"]
    fn for_a_minute_no_value_is_wrong_and_no_call_fails_while_the_server_is_killed(engine) {
        under_load!(engine, Duration::from_secs(60), Duration::ZERO);
    }
}
