//! Many keys at once: what is missing is loaded together, and shared with single calls.

use std::collections::{HashMap, HashSet};
use std::future::Future;
use std::hash::{Hash, Hasher};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Barrier, Mutex};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

use cached_runtime::{cached, store, testing};
use cached_tests::{Gate, Runs, eventually, watched};

/// What a loader was asked for, call by call.
struct Loads(Mutex<Vec<Vec<u64>>>);

impl Loads {
    const fn new() -> Self {
        Self(Mutex::new(Vec::new()))
    }

    fn add(&self, keys: &[u64]) {
        self.0.lock().expect("nobody panics").push(keys.to_vec());
    }

    fn take(&self) -> Vec<Vec<u64>> {
        std::mem::take(&mut self.0.lock().expect("nobody panics"))
    }
}

#[cached(timeout = 60)]
fn double(id: u64) -> u64 {
    id * 2
}

#[test]
fn values_come_in_the_order_of_their_keys_and_what_is_missing_is_loaded_once() {
    let _own = testing::isolated();
    let loads = Loads::new();
    let load = |keys: &[u64]| {
        loads.add(keys);
        |id: &u64| id * 2
    };
    double(3);
    assert_eq!(double::get_many(vec![5, 3, 5, 1, 3], load), [10, 6, 10, 2, 6]);
    assert_eq!(loads.take(), [[5, 1]]);
    let stats = double::stats();
    assert_eq!((stats.hits, stats.misses, stats.computations, stats.coalesced), (2, 4, 3, 1));
    assert_eq!(double::get_many(vec![1, 5], load), [2, 10]);
    assert_eq!(double::get_many(Vec::new(), load), [0; 0]);
    assert_eq!(loads.take(), [[0; 0]; 0], "there was nothing to load");
    assert_eq!((double(1), double::stats().computations), (2, 3));
}

#[test]
fn what_a_batch_loads_is_stored_by_the_rules_of_the_function() {
    #[cached(timeout = |v| Duration::from_secs(*v), cache_if = |v| v % 2 == 0, tags("n:{id}"))]
    fn f(id: u64) -> Option<u64> {
        Some(id)
    }
    let own = testing::isolated();
    let rows = HashMap::from([(1, 1), (2, 2), (4, 4)]);
    let values = f::get_many(vec![1, 2, 3, 4], |keys| {
        assert_eq!(keys, [1, 2, 3, 4]);
        |id| rows.get(id).copied()
    });
    assert_eq!(values, [Some(1), Some(2), None, Some(4)]);
    let there = || [1, 2, 3, 4].map(|id| f::peek(id).is_some());
    assert_eq!(there(), [false, true, false, true]);
    own.advance(Duration::from_secs(2));
    assert_eq!(there(), [false, false, false, true]);
    store().invalidate_tag("n:4");
    assert_eq!(there(), [false; 4]);
    f::get_many(vec![4], |_| {
        store().invalidate_tag("n:4");
        |id| Some(*id)
    });
    assert_eq!(there(), [false; 4], "it was invalidated while it was loaded");
}

/// An error that nobody can share.
#[derive(Debug, PartialEq)]
struct Failed;

#[test]
fn errors_are_each_keys_own() {
    #[cached]
    fn f(id: u64) -> Result<u64, Failed> {
        Ok(id)
    }
    let _own = testing::isolated();
    let loads = Loads::new();
    let values = f::get_many(vec![1, 0, 2, 0], |keys| {
        loads.add(keys);
        |id| id.checked_sub(1).ok_or(Failed)
    });
    assert_eq!(values, [Ok(0), Err(Failed), Ok(1), Err(Failed)]);
    // The second one cannot have the first one's.
    assert_eq!(loads.take(), [vec![1, 0, 2], vec![0]]);
    assert_eq!(f::stats().entries, 2);
}

#[test]
fn a_single_call_waits_for_a_batch_and_a_batch_for_a_single_call() {
    static GATE: Gate = Gate::new();
    static RUNS: Runs = Runs::new();
    #[cached]
    fn f(id: u64) -> u64 {
        RUNS.add();
        GATE.pass();
        id + 100
    }
    watched(|| {
        let own = testing::isolated();
        let store = own.store();
        thread::scope(|scope| {
            let single = scope.spawn(|| {
                let _entered = store.enter();
                f(1)
            });
            eventually(|| RUNS.get() == 1);
            let batch = scope.spawn(|| {
                let _entered = store.enter();
                f::get_many(vec![1, 2, 3], |keys| {
                    assert_eq!(keys, [2, 3]);
                    GATE.pass();
                    |id| id + 200
                })
            });
            eventually(|| f::stats().misses == 4);
            let waits = scope.spawn(|| {
                let _entered = store.enter();
                f(2)
            });
            eventually(|| f::stats().misses == 5);
            GATE.open();
            GATE.open();
            assert_eq!(single.join().expect("it returns"), 101);
            assert_eq!(batch.join().expect("it returns"), [101, 202, 203]);
            assert_eq!(waits.join().expect("it returns"), 202);
        });
        assert_eq!((RUNS.get(), f::stats().computations), (1, 3));
    });
}

#[test]
fn batches_that_overlap_share_what_they_load_and_never_wait_in_a_circle() {
    #[cached(name = "bulk.overlapping")]
    fn f(id: u64) -> u64 {
        id
    }
    watched(|| {
        for _ in 0..200 {
            let own = testing::isolated();
            own.set_capacity("bulk.overlapping", 1000);
            let (store, start, loaded) = (own.store(), Barrier::new(3), AtomicU64::new(0));
            thread::scope(|scope| {
                for part in 0..3 {
                    let (store, start, loaded) = (&store, &start, &loaded);
                    scope.spawn(move || {
                        let _entered = store.enter();
                        let mut keys: Vec<u64> = (0..40).collect();
                        keys.rotate_left(part * 13);
                        if part == 1 {
                            keys.reverse();
                        }
                        start.wait();
                        let values = f::get_many(keys.clone(), |keys| {
                            loaded.fetch_add(keys.len() as u64, SeqCst);
                            thread::yield_now();
                            |id| *id
                        });
                        assert_eq!(values, keys);
                    });
                }
            });
            assert_eq!(loaded.load(SeqCst), 40);
        }
    });
}

#[test]
fn a_loader_that_panics_leaves_nothing_behind_and_nobody_waiting() {
    static GATE: Gate = Gate::new();
    watched(|| {
        let own = testing::isolated();
        let store = own.store();
        thread::scope(|scope| {
            let batch = scope.spawn(|| {
                let _entered = store.enter();
                double::get_many(vec![1, 2], |_| -> fn(&u64) -> u64 {
                    GATE.pass();
                    panic!("it does")
                })
            });
            eventually(|| double::stats().misses == 2);
            let waits = scope.spawn(|| {
                let _entered = store.enter();
                double(2)
            });
            eventually(|| double::stats().misses == 3);
            GATE.open();
            assert!(batch.join().is_err());
            assert_eq!(waits.join().expect("it goes on"), 4);
        });
        assert_eq!((double::stats().abandoned, double(1)), (2, 2));
        // What has no answer is lost, and what has one is not.
        let ended = catch_unwind(AssertUnwindSafe(|| {
            double::get_many(vec![7, 8, 9], |_| |id| if *id == 8 { panic!("it does") } else { *id })
        }));
        assert!(ended.is_err());
        assert_eq!([7, 8, 9].map(double::peek), [Some(7), None, None]);
        assert_eq!([8, 9].map(double), [16, 18]);
    });
}

#[test]
fn what_is_invalidated_while_it_is_loaded_is_not_stored() {
    let _own = testing::isolated();
    let values = double::get_many(vec![1, 2, 3], |_| {
        double::invalidate(2);
        double::put(3, 33);
        |id| id * 2
    });
    assert_eq!(values, [2, 4, 6]);
    assert_eq!([1, 2, 3].map(double::peek), [Some(2), None, Some(33)]);
    double::get_many(vec![4, 5], |_| {
        double::clear();
        |id| id * 2
    });
    assert_eq!(double::stats().entries, 0);
}

#[test]
fn a_loader_that_calls_the_function_does_not_wait_for_itself() {
    watched(|| {
        let _own = testing::isolated();
        let values = double::get_many((0..50).collect(), |keys| {
            let values: HashMap<u64, u64> = keys.iter().map(|id| (*id, double(*id) + 1)).collect();
            let inner = double::get_many(keys.to_vec(), |inner| {
                assert_eq!(
                    inner,
                    keys.iter().copied().filter(|id| double::peek(*id).is_none()).collect::<Vec<_>>()
                );
                |id| id * 2
            });
            assert_eq!(inner.len(), 50);
            move |id| values[id]
        });
        assert_eq!(values, (0..50).map(|id| id * 2 + 1).collect::<Vec<_>>());
    });
}

#[test]
fn a_batch_and_a_body_that_want_one_another_do_not_wait_in_a_circle() {
    static MET: std::sync::LazyLock<Barrier> = std::sync::LazyLock::new(|| Barrier::new(2));
    static RUNS: Runs = Runs::new();
    #[cached]
    fn body(id: u64) -> u64 {
        if id == 0 {
            // If the batch closes the circle, it runs this itself.
            if RUNS.add() == 1 {
                MET.wait();
            }
            // The batch computes it.
            item(7) + 1000
        } else {
            id
        }
    }
    #[cached]
    fn item(id: u64) -> u64 {
        id
    }
    watched(|| {
        let own = testing::isolated();
        let store = own.store();
        thread::scope(|scope| {
            let other = scope.spawn(|| {
                let _entered = store.enter();
                body(0)
            });
            eventually(|| body::stats().misses == 1);
            let values = item::get_many(vec![6, 7], |_| {
                MET.wait();
                let other = body(0);
                move |id| id + other * 10
            });
            let other = other.join().expect("it returns");
            // Whoever would have closed the circle has computed on its own.
            assert_eq!(values.iter().map(|value| value % 10).collect::<Vec<_>>(), [6, 7]);
            assert!(other >= 1007, "{other}");
        });
    });
}

#[test]
fn a_store_that_is_off_leaves_all_to_the_loader() {
    let _own = testing::isolated();
    double(1);
    store().set_enabled(false);
    assert_eq!(
        double::get_many(vec![1, 2, 1], |keys| {
            assert_eq!(keys, [1, 2, 1]);
            |id| id + 1
        }),
        [2, 3, 2]
    );
    assert_eq!(double::stats().bypassed, 3);
    store().set_enabled(true);
    assert_eq!([1, 2].map(double::peek), [Some(2), None]);
}

#[test]
fn an_old_value_stands_in_for_an_error_of_its_key() {
    #[cached(timeout = 60, stale_if_error = 60)]
    fn f(id: u64) -> Result<u64, Failed> {
        Ok(id)
    }
    let own = testing::isolated();
    assert_eq!(f(1), Ok(1));
    own.advance(Duration::from_secs(60));
    let values = f::get_many(vec![1, 2], |keys| {
        assert_eq!(keys, [1, 2]);
        |_| Err(Failed)
    });
    assert_eq!(values, [Ok(1), Err(Failed)]);
    assert_eq!(f::stats().errors_hidden, 1);
}

#[test]
fn an_old_value_stands_in_for_a_panic_of_the_loader() {
    #[cached(timeout = 60, stale_if_error = 60)]
    fn f(id: u64) -> u64 {
        id
    }
    #[cached(timeout = 60, stale_if_error = 60)]
    async fn awaited(id: u64) -> u64 {
        id
    }
    let own = testing::isolated();
    assert_eq!([1, 2].map(f), [1, 2]);
    smol::block_on(awaited(1));
    own.advance(Duration::from_secs(60));
    assert_eq!(f::get_many(vec![2, 1], |_| -> fn(&u64) -> u64 { panic!("it does") }), [2, 1]);
    own.advance(Duration::from_secs(1));
    assert_eq!(f::get_many(vec![2, 1], |_| |id| if *id == 2 { panic!("it does") } else { 11 }), [2, 11]);
    assert_eq!((f::stats().errors_hidden, f::stats().abandoned), (3, 3));
    let ended = catch_unwind(AssertUnwindSafe(|| {
        f::get_many(vec![2, 3], |_| -> fn(&u64) -> u64 { panic!("there is none for the other") })
    }));
    assert!(ended.is_err());
    let load = |_| async { if true { panic!("it does") } else { |id: &u64| *id } };
    assert_eq!(smol::block_on(awaited::get_many(vec![1], load)), [1]);
}

#[test]
fn a_stale_key_that_stands_twice_has_one_value() {
    #[cached(timeout = 60, stale_while_revalidate = 60)]
    fn f(id: u64) -> Result<u64, String> {
        Ok(id)
    }
    let own = testing::isolated();
    assert_eq!([1, 2].map(f), [Ok(1), Ok(2)]);
    own.advance(Duration::from_secs(60));
    let load = |_: &[u64]| |id: &u64| if *id == 1 { Ok(10) } else { Err("down".to_owned()) };
    let failed = Err("down".to_owned());
    assert_eq!(f::get_many(vec![1, 2, 1, 2], load), [Ok(10), failed.clone(), Ok(10), failed]);
    assert_eq!(f::stats().computations, 4);
}

#[test]
fn what_is_fresh_is_no_batchs_to_compute() {
    #[cached(timeout = 60, refresh_ahead = 0.5)]
    fn f(id: u64) -> u64 {
        id
    }
    let own = testing::isolated();
    f(1);
    own.advance(Duration::from_secs(45));
    assert_eq!(f::get_many(vec![1], |_| -> fn(&u64) -> u64 { unreachable!("it is there") }), [1]);
    assert_eq!((f::stats().hits, f::stats().revalidations), (1, 0));
}

#[test]
fn without_single_flight_every_position_is_loaded() {
    #[cached(single_flight = false)]
    fn f(id: u64) -> u64 {
        id
    }
    let _own = testing::isolated();
    assert_eq!(
        f::get_many(vec![1, 1, 2], |keys| {
            assert_eq!(keys, [1, 1, 2]);
            |id| id + 1
        }),
        [2, 2, 3]
    );
}

/// All keys have one hash.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Alike(u64);

impl Hash for Alike {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u8(0);
    }
}

/// A key need not be `Clone` if it is computed from the argument.
struct Unique(u64);

#[test]
fn keys_may_be_of_any_kind() {
    #[cached]
    fn alike(key: Alike) -> u64 {
        key.0
    }
    #[cached]
    fn text(slug: &str) -> String {
        slug.to_uppercase()
    }
    #[cached(skip(tail), capacity = 9, weigh = Vec::len)]
    fn list(names: &[&str], tail: &mut Vec<u8>) -> Vec<String> {
        let _ = tail;
        names.iter().map(ToString::to_string).collect()
    }
    #[cached(key = unique.0, timeout = Duration::from_secs(unique.0 + 1))]
    fn computed(unique: &Unique) -> u64 {
        unique.0
    }
    #[cached(key = unique.0)]
    fn by_value(unique: Unique) -> u64 {
        unique.0
    }
    #[cached(skip(shown))]
    fn generic<T: cached_runtime::Key + Clone>(key: T, shown: fn(&T) -> String) -> String {
        shown(&key)
    }
    #[cached(key = (*x, *y))]
    fn pattern((x, y): (u64, u64)) -> u64 {
        x + y
    }
    let _own = testing::isolated();
    let keys: Vec<_> = (0..20).map(Alike).collect();
    assert_eq!(alike::get_many(keys, |_| |key| key.0), (0..20).collect::<Vec<_>>());
    assert_eq!((0..20).map(|key| alike(Alike(key))).sum::<u64>(), 190);
    assert_eq!(alike::stats().computations, 20);
    let owned = "b".to_owned();
    assert_eq!(text("a"), "A");
    assert_eq!(
        text::get_many(vec!["a", &owned], |slugs| {
            assert_eq!(slugs, ["b"]);
            let values: HashMap<String, String> =
                slugs.iter().map(|slug| (slug.to_string(), "loaded".into())).collect();
            move |slug| values[*slug].clone()
        }),
        ["A", "loaded"]
    );
    assert_eq!(list::get_many(vec![&["a"], &["a", "b"]], |_| |names| vec![names.concat()]), [["a"], ["ab"]]);
    let [one, two] = [1, 2].map(Unique);
    assert_eq!(
        computed::get_many(vec![&one, &two, &one], |keys| {
            assert_eq!(keys.len(), 2);
            |unique| unique.0 + 1
        }),
        [2, 3, 2]
    );
    assert_eq!(by_value::get_many(vec![Unique(1), Unique(1)], |_| |unique| unique.0), [1, 1]);
    assert_eq!(generic::get_many(vec!["a".to_owned()], |_| |key: &String| key.clone()), ["a"]);
    assert_eq!(pattern::get_many(vec![(1, 2), (3, 4)], |_| |(x, y)| x * y), [2, 12]);
}

#[test]
fn a_large_batch_is_no_deeper_than_a_small_one() {
    let _own = testing::isolated();
    let keys: Vec<u64> = (0..50_000).collect();
    let values = double::get_many(keys, |keys| {
        assert_eq!(double(keys[49_999]), 99_998, "computed apart");
        |id| id * 2
    });
    assert_eq!((values.len(), values[49_999]), (50_000, 99_998));
}

#[cached]
async fn awaited(id: u64) -> Result<u64, String> {
    Ok(id)
}

#[cached]
async fn awaited_text(slug: &str) -> String {
    slug.to_owned()
}

fn is_send<T: Send>(value: T) -> T {
    value
}

#[test]
fn a_batch_may_be_awaited_on_any_thread() {
    let own = testing::isolated();
    let loads = Loads::new();
    // As in a handler, which borrows what it loads from.
    let load = async |loads: &Loads| {
        let load = |keys: std::sync::Arc<[u64]>| async move {
            loads.add(&keys);
            smol::future::yield_now().await;
            |id: &u64| Ok(id + 1)
        };
        awaited::get_many(vec![1, 2, 1], load).await
    };
    let many = load(&loads);
    assert_eq!(smol::block_on(own.store().run(is_send(many))), [Ok(2), Ok(3), Ok(2)]);
    assert_eq!(loads.take(), [[1, 2]]);
    let many = awaited_text::get_many(vec!["a", "b"], |slugs| async move {
        smol::future::yield_now().await;
        move |slug: &&str| format!("{slug} of {}", slugs.len())
    });
    assert_eq!(smol::block_on(own.store().run(many)), ["a of 2", "b of 2"]);
}

#[test]
fn a_batch_that_is_dropped_or_forgotten_holds_nobody_up() {
    watched(|| {
        let own = testing::isolated();
        let never = || {
            awaited::get_many(vec![1, 2], |_| async {
                std::future::pending::<()>().await;
                |id: &u64| Ok(id + 1)
            })
        };
        let mut context = Context::from_waker(Waker::noop());
        let mut waits = pin!(awaited(2));
        {
            let mut batch = pin!(never());
            assert!(batch.as_mut().poll(&mut context).is_pending());
            assert!(waits.as_mut().poll(&mut context).is_pending());
        }
        assert_eq!(waits.as_mut().poll(&mut context), Poll::Ready(Ok(2)));
        // One that was woken and is not polled any more is given up.
        let (sender, receiver) = smol::channel::bounded::<()>(1);
        let mut batch = pin!(awaited::get_many(vec![3, 4], |_| async {
            let _ = receiver.recv().await;
            |id: &u64| Ok(id + 1)
        }));
        assert!(batch.as_mut().poll(&mut context).is_pending());
        sender.try_send(()).expect("there is room");
        let store = own.store();
        assert_eq!(smol::block_on(store.run(async { (awaited(3).await, awaited(4).await) })), (Ok(3), Ok(4)));
        assert_eq!(batch.as_mut().poll(&mut context), Poll::Ready(vec![Ok(4), Ok(5)]));
        assert_eq!(smol::block_on(store.run(awaited::peek(3))), Some(Ok(3)), "it came too late");
    });
}

#[test]
fn awaited_batches_share_with_calls_and_one_another() {
    let own = testing::isolated();
    let loaded = AtomicU64::new(0);
    let load = |keys: std::sync::Arc<[u64]>| {
        loaded.fetch_add(keys.len() as u64, SeqCst);
        async {
            smol::future::yield_now().await;
            |id: &u64| Ok(id * 3)
        }
    };
    let all = async {
        let batches = smol::future::zip(
            awaited::get_many((0..10).collect(), load),
            awaited::get_many((5..15).rev().collect(), load),
        );
        smol::future::zip(batches, awaited(7)).await
    };
    let ((one, other), single) = smol::block_on(own.store().run(all));
    let keys: HashSet<_> = one.into_iter().chain(other).map(|value| value.expect("it is one")).collect();
    assert_eq!((keys.len(), loaded.load(SeqCst), single), (15, 15, Ok(21)));
}
