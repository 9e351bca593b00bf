//! User code that panics anywhere, on many threads at once.

use std::cell::Cell;
use std::hash::{Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;
use std::task::Poll;
use std::thread;
use std::time::Duration;

use cached_runtime::{cached, testing};
use cached_tests::{Runs, poll_once, watched};

thread_local! {
    /// One in so many of what a thread does panics; none if it is 0.
    pub(crate) static ONE_IN: Cell<u64> = const { Cell::new(0) };
    pub(crate) static RANDOM: Cell<u64> = const { Cell::new(1) };
}

pub(crate) const MESSAGE: &str = "as it was told to";

pub(crate) fn random() -> u64 {
    let next = RANDOM.get().wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    RANDOM.set(next);
    next >> 33
}

/// Perhaps panics, unless this thread is panicking: two at once would end the process.
pub(crate) fn perhaps() {
    let one_in = ONE_IN.get();
    if one_in > 0 && !thread::panicking() && random().is_multiple_of(one_in) {
        std::panic::panic_any(MESSAGE);
    }
}

/// Says nothing of the panics that are meant to be.
pub(crate) fn quietly() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let others = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if panic.payload().downcast_ref::<&str>() != Some(&MESSAGE) {
                others(panic);
            }
        }));
    });
}

/// Panics when it is hashed, compared, cloned or dropped.
struct Touchy(u64);

impl Hash for Touchy {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        perhaps();
        // Some have the same hash.
        (self.0 % 30).hash(hasher);
    }
}

impl PartialEq for Touchy {
    fn eq(&self, other: &Self) -> bool {
        perhaps();
        self.0 == other.0
    }
}

impl Eq for Touchy {}

impl Clone for Touchy {
    fn clone(&self) -> Self {
        perhaps();
        Self(self.0)
    }
}

impl Drop for Touchy {
    fn drop(&mut self) {
        perhaps();
    }
}

#[cached(
    capacity = 40,
    timeout = |_| { perhaps(); Duration::from_secs(60) },
    cache_if = |value| { perhaps(); value.0 % 10 != 9 },
    weigh = |value| { perhaps(); usize::try_from(value.0 % 5).unwrap() },
)]
fn weighed(key: &Touchy) -> Touchy {
    perhaps();
    Touchy(key.0)
}

#[cached(capacity = 20, idle_timeout = 60)]
fn counted(key: &Touchy) -> Touchy {
    perhaps();
    Touchy(key.0)
}

fn step() {
    let key = Touchy(random() % 60);
    let is_its = |value: Touchy| assert_eq!(value.0, key.0, "the value of another key");
    match random() % 20 {
        0 => drop(weighed::invalidate(&key)),
        1 => weighed::put(&key, Touchy(key.0)),
        2 => is_its(weighed::refresh(&key)),
        3 => weighed::peek(&key).into_iter().for_each(is_its),
        4 => drop(counted::invalidate(&key)),
        5 => counted::put(&key, Touchy(key.0)),
        6 => is_its(counted::refresh(&key)),
        7 => counted::peek(&key).into_iter().for_each(is_its),
        8 if random().is_multiple_of(20) => weighed::clear(),
        8 if random().is_multiple_of(20) => counted::clear(),
        9..14 => is_its(weighed(&key)),
        _ => is_its(counted(&key)),
    }
}

/// A key that panics when it is dropped, once it is told to.
#[derive(Clone, Hash, PartialEq, Eq)]
struct Bomb;

thread_local! {
    static ARMED: Cell<bool> = const { Cell::new(false) };
}

impl Drop for Bomb {
    fn drop(&mut self) {
        if !thread::panicking() && ARMED.replace(false) {
            std::panic::panic_any(MESSAGE);
        }
    }
}

#[test]
fn a_refresh_that_fails_before_its_body_leaves_nothing_that_others_wait_for() {
    static DEPTH: Runs = Runs::new();
    #[cached]
    fn f(key: &Bomb) -> u32 {
        let _ = key;
        let depth = DEPTH.add();
        if depth == 1 {
            // It drops the key of this call, which it fences.
            ARMED.set(true);
            assert!(catch_unwind(|| f::refresh(&Bomb)).is_err());
        }
        depth
    }
    quietly();
    watched(|| {
        let _own = testing::isolated();
        assert_eq!((f(&Bomb), f(&Bomb), f(&Bomb)), (1, 2, 2));
    });
}

#[test]
fn a_leader_whose_key_panics_when_it_is_dropped_holds_nobody_up() {
    static RUNS: Runs = Runs::new();
    #[cached]
    async fn f(key: &Bomb) -> u32 {
        let _ = key;
        if RUNS.add() == 1 {
            std::future::pending::<()>().await;
        }
        RUNS.get()
    }
    quietly();
    watched(|| {
        let _own = testing::isolated();
        let key = Bomb;
        let mut leader = Box::pin(f(&key));
        let mut waits = Box::pin(f(&key));
        assert!(poll_once(leader.as_mut()).is_pending() && poll_once(waits.as_mut()).is_pending());
        ARMED.set(true);
        assert!(catch_unwind(AssertUnwindSafe(|| drop(leader))).is_err());
        assert_eq!(poll_once(waits.as_mut()), Poll::Ready(2));
    });
}

/// A key that panics when it is compared, once it is told to; all have the same hash.
#[derive(Clone)]
struct Incomparable(u32);

impl Hash for Incomparable {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        0.hash(hasher);
    }
}

impl PartialEq for Incomparable {
    fn eq(&self, other: &Self) -> bool {
        if ARMED.replace(false) {
            std::panic::panic_any(MESSAGE);
        }
        self.0 == other.0
    }
}

impl Eq for Incomparable {}

#[test]
fn a_leader_whose_key_panics_while_its_value_is_stored_holds_nobody_up() {
    static RUNS: Runs = Runs::new();
    #[cached]
    async fn f(key: &Incomparable) -> u32 {
        let run = RUNS.add();
        let mut polled = false;
        // The leader, which is the second run, takes two polls.
        std::future::poll_fn(|_| {
            if run != 2 || std::mem::replace(&mut polled, true) { Poll::Ready(()) } else { Poll::Pending }
        })
        .await;
        key.0
    }
    quietly();
    watched(|| {
        let _own = testing::isolated();
        // With this one the leader's key is compared when its value is stored.
        let (other, key) = (Incomparable(1), Incomparable(2));
        assert_eq!(poll_once(Box::pin(f(&other)).as_mut()), Poll::Ready(1));
        let mut leader = Box::pin(f(&key));
        let mut waits = Box::pin(f(&key));
        assert!(poll_once(leader.as_mut()).is_pending() && poll_once(waits.as_mut()).is_pending());
        ARMED.set(true);
        assert!(catch_unwind(AssertUnwindSafe(|| poll_once(leader.as_mut()))).is_err());
        assert_eq!(poll_once(waits.as_mut()), Poll::Ready(2));
        assert_eq!(RUNS.get(), 3);
    });
}

#[test]
fn panics_at_random_on_many_threads_leave_the_store_as_it_should_be() {
    quietly();
    watched(|| {
        let own = testing::isolated();
        let threads: Vec<_> = (0..4)
            .map(|number| {
                let store = own.store();
                thread::spawn(move || {
                    let _entered = store.enter();
                    RANDOM.set(number * 1000 + 7);
                    let mut panicked = 0;
                    for _ in 0..8000 {
                        ONE_IN.set(40);
                        if let Err(panic) = catch_unwind(AssertUnwindSafe(step)) {
                            assert_eq!(panic.downcast_ref::<&str>(), Some(&MESSAGE));
                            panicked += 1;
                        }
                        ONE_IN.set(0);
                        assert!(weighed::stats().weight <= 40 && counted::stats().weight <= 20);
                    }
                    panicked
                })
            })
            .collect();
        let panicked: u32 = threads.into_iter().map(|thread| thread.join().unwrap()).sum();
        assert!(panicked > 1000, "{panicked}");

        // What is counted is what is there.
        for (stats, peek) in [
            (weighed::stats(), weighed::peek as fn(&Touchy) -> Option<Touchy>),
            (counted::stats(), counted::peek),
        ] {
            let there: Vec<_> = (0..60).filter_map(|n| peek(&Touchy(n))).map(|value| value.0).collect();
            assert_eq!(there.len() as u64, stats.entries, "{stats:?}");
        }
        let weight: u64 = (0..60).filter_map(|n| weighed::peek(&Touchy(n))).map(|value| value.0 % 5).sum();
        assert_eq!(weighed::stats().weight, weight);
        assert_eq!(counted::stats().weight, counted::stats().entries);

        // And all goes on as it should.
        for n in (0..60).cycle().take(600) {
            assert_eq!((weighed(&Touchy(n)).0, counted(&Touchy(n)).0), (n, n));
        }
        assert_eq!(counted::stats().entries, 20);
        weighed::clear();
        counted::clear();
        assert_eq!((weighed::stats().entries, weighed::stats().weight, counted::stats().entries), (0, 0, 0));
        let store = format!("{:?}", cached_runtime::store());
        assert!(store.contains("entries: 0, bytes: 0"), "{store}");
    });
}
