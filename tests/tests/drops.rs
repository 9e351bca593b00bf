//! Keys and values of which any clone, comparison or drop may panic, on many threads at once: each is
//! dropped once all the same.

use std::collections::HashSet;
use std::hash::{Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::sync::{LazyLock, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use cached_runtime::{Stats, cached, testing};
use cached_tests::{PATIENCE, watched};

use crate::panics::{MESSAGE, ONE_IN, RANDOM, perhaps, quietly, random};

/// The numbers of all that live.
static LIVING: LazyLock<Mutex<HashSet<u64>>> = LazyLock::new(Mutex::default);
static DROPPED_TWICE: AtomicBool = AtomicBool::new(false);
/// Whether what the janitor does may panic too.
static JANITOR: AtomicBool = AtomicBool::new(false);

fn living<R>(act: impl FnOnce(&mut HashSet<u64>) -> R) -> R {
    act(&mut LIVING.lock().unwrap_or_else(PoisonError::into_inner))
}

const USUALLY: u64 = 40;

fn perhaps_anywhere() {
    if thread::current().name() == Some("cached-janitor") {
        ONE_IN.set(if JANITOR.load(SeqCst) { USUALLY } else { 0 });
    }
    perhaps();
}

/// Known by a number of its own from when it is made until it is dropped, even if its drop panics.
struct Counted {
    of: u64,
    number: u64,
}

impl Counted {
    fn new(of: u64) -> Self {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, SeqCst);
        living(|living| living.insert(number));
        Self { of, number }
    }
}

impl Clone for Counted {
    fn clone(&self) -> Self {
        perhaps_anywhere();
        Self::new(self.of)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        if !living(|living| living.remove(&self.number)) {
            DROPPED_TWICE.store(true, SeqCst);
        }
        perhaps_anywhere();
    }
}

impl Hash for Counted {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        perhaps_anywhere();
        self.of.hash(hasher);
    }
}

impl PartialEq for Counted {
    fn eq(&self, other: &Self) -> bool {
        perhaps_anywhere();
        self.of == other.of
    }
}

impl Eq for Counted {}

const SMALL: u64 = 20;
/// Enough for several shards.
const LARGE: u64 = 1 << 15;

/// What a body does: long enough for others to wait for it.
fn compute() {
    thread::yield_now();
    perhaps();
}

#[cached(capacity = 20, timeout = 10)]
fn expires(key: &Counted) -> Counted {
    compute();
    Counted::new(key.of)
}

#[cached(capacity = 20, idle_timeout = 10, timeout = 60, weigh = |value| usize::try_from(value.of % 3).unwrap())]
fn weighed(key: &Counted) -> Counted {
    compute();
    Counted::new(key.of)
}

/// What is not stored goes to those who wait.
#[cached(capacity = 20, timeout = 10)]
fn fails(key: &Counted) -> Result<Counted, Counted> {
    compute();
    let value = Counted::new(key.of);
    if key.of.is_multiple_of(3) { Err(value) } else { Ok(value) }
}

#[cached(capacity = 1 << 15, timeout = 1000)]
fn large(key: &Counted) -> Counted {
    compute();
    Counted::new(key.of)
}

fn either(result: Result<Counted, Counted>) -> Counted {
    result.unwrap_or_else(|value| value)
}

fn step() {
    let key = Counted::new(random() % 60);
    let is_its = |value: Counted| assert_eq!(value.of, key.of, "the value of another key");
    match random() % 24 {
        0 => _ = expires::invalidate(&key),
        1 => _ = weighed::invalidate(&key),
        2 => _ = fails::invalidate(&key),
        3 => expires::put(&key, Counted::new(key.of)),
        4 => weighed::put(&key, Counted::new(key.of)),
        5 => fails::put(&key, Err(Counted::new(key.of))),
        6 => is_its(expires::refresh(&key)),
        7 => weighed::peek(&key).into_iter().for_each(is_its),
        8 => match random() % 20 {
            0 => expires::clear(),
            1 => weighed::clear(),
            2 => fails::clear(),
            _ => testing::advance(Duration::from_secs(1)),
        },
        9..12 => is_its(expires(&key)),
        12..15 => is_its(weighed(&key)),
        15..18 => is_its(either(fails(&key))),
        _ => {
            let key = Counted::new(random() % (LARGE + LARGE / 8));
            let value = if random().is_multiple_of(8) {
                large::invalidate(&key);
                large::refresh(&key)
            } else {
                large(&key)
            };
            assert_eq!(value.of, key.of, "the value of another key");
        }
    }
}

fn stats() -> [(Stats, u64); 4] {
    [(expires::stats(), SMALL), (weighed::stats(), SMALL), (fails::stats(), SMALL), (large::stats(), LARGE)]
}

/// Panics at random until it is dropped; returns how often that was.
fn stress(seed: u64) -> u32 {
    RANDOM.set(seed);
    let mut panicked = 0;
    for _ in 0..4000 {
        ONE_IN.set(USUALLY);
        let stepped = catch_unwind(AssertUnwindSafe(step));
        ONE_IN.set(0);
        if let Err(panic) = stepped {
            assert_eq!(panic.downcast_ref::<&str>(), Some(&MESSAGE));
            panicked += 1;
        }
        // A table of several shards is counted one shard after another: only when all is quiet is that what
        // is there at once.
        for (stats, capacity) in stats().into_iter().filter(|(_, capacity)| *capacity == SMALL) {
            assert!(stats.weight <= capacity, "{stats:?}");
        }
    }
    panicked
}

#[test]
fn whatever_panics_when_it_is_cloned_or_dropped_all_is_dropped_once() {
    quietly();
    watched(|| {
        let own = testing::isolated();
        (0..LARGE).for_each(|n| large::put(&Counted::new(n), Counted::new(n)));
        JANITOR.store(true, SeqCst);
        let threads: Vec<_> = (0..4)
            .map(|number| {
                let store = own.store();
                thread::spawn(move || {
                    let _entered = store.enter();
                    stress(number * 1000 + 7)
                })
            })
            .collect();
        let panicked: u32 = threads.into_iter().map(|thread| thread.join().unwrap()).sum();
        JANITOR.store(false, SeqCst);
        assert!(panicked > 1000, "{panicked}");
        assert!(large::stats().entries <= LARGE);
        let [expires_stats, weighed_stats, fails_stats, large_stats] = stats().map(|(stats, _)| stats);
        // How many of them fall to one function is left to chance, and to when the threads have a processor.
        let small = [expires_stats, weighed_stats, fails_stats];
        let counts: [fn(&Stats) -> u64; 3] = [|it| it.evictions, |it| it.expirations, |it| it.invalidations];
        for count in counts {
            assert!(small.iter().map(count).sum::<u64>() > 0, "{small:?}");
        }
        assert!(large_stats.evictions > 0, "{large_stats:?}");

        // Later calls work; no room was lost.
        for n in (0..60).cycle().take(180) {
            let key = Counted::new(n);
            assert_eq!([expires(&key).of, weighed(&key).of, either(fails(&key)).of], [n; 3]);
        }
        (0..LARGE + LARGE / 8).for_each(|n| assert_eq!(large(&Counted::new(n)).of, n));
        assert_eq!([expires::stats().entries, large::stats().entries], [SMALL, LARGE]);

        // Each thread, the janitor among them, drops what it has let go when it next looks something up.
        let begun = Instant::now();
        while living(|living| !living.is_empty()) {
            assert!(begun.elapsed() < PATIENCE / 2, "{} are not dropped", living(|living| living.len()));
            cached_runtime::store().clear();
            testing::advance(Duration::ZERO);
        }
        assert!(stats().iter().all(|(stats, _)| stats.entries == 0 && stats.weight == 0));
        assert!(!DROPPED_TWICE.load(SeqCst));
    });
}
