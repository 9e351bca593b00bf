//! Many keys at once: hits in one round trip, and what is missing loaded together.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::{Arc, LazyLock};
use std::task::{Context, Waker};
use std::thread;
use std::time::Duration;

use cached_runtime::{Backend, cached, testing};
use cached_tests::driver::{Fault, Faulty};
use cached_tests::{Gate, PATIENCE, Runs, eventually, watched};

use super::{process, within};

#[test]
fn all_hits_take_one_round_trip_and_what_is_loaded_is_there_for_others() {
    backend!(OWN, DRIVER, Faulty::new());
    #[cached(timeout = 300, backend = OWN)]
    fn f(id: u64) -> Option<u64> {
        Some(id)
    }
    let (here, elsewhere) = (process(), process());
    let load = |keys: &[u64]| {
        let sum: u64 = keys.iter().sum();
        move |id: &u64| (*id > 0).then_some(id * 1000 + sum)
    };
    within(&here, || {
        assert_eq!(f(2), Some(2));
        let before = DRIVER.operations();
        let values = f::get_many(vec![0, 3, 2, 1, 3], load);
        assert_eq!(values, [None, Some(3004), Some(2), Some(1004), Some(3004)]);
        assert_eq!(DRIVER.operations() - before, 3, "a look, and two writes");
        let stats = f::stats();
        assert_eq!((stats.backend_hits, stats.backend_misses, stats.computations), (1, 4, 4));
    });
    within(&elsewhere, || {
        let before = DRIVER.operations();
        let values =
            f::get_many(vec![1, 2, 3], |_| -> fn(&u64) -> Option<u64> { unreachable!("they are there") });
        assert_eq!(values, [Some(1004), Some(2), Some(3004)]);
        assert_eq!(DRIVER.operations() - before, 1, "with the generation");
        let before = DRIVER.operations();
        assert_eq!(f::get_many(vec![0], load), [None]);
        assert_eq!((f::stats().entries, DRIVER.operations() - before), (0, 1));
    });
    // Once the generation has changed.
    within(&here, f::clear);
    elsewhere.enter().advance(Duration::from_secs(1));
    within(&elsewhere, || {
        assert_eq!(f::get_many(vec![1], load), [Some(1001)]);
    });
}

#[test]
fn what_was_invalidated_while_it_was_loaded_stays_so_in_every_process() {
    backend!(OWN, DRIVER, Faulty::new());
    #[cached(timeout = 300, backend = OWN)]
    fn f(id: u64) -> u64 {
        id
    }
    let (here, elsewhere) = (process(), process());
    within(&here, || {
        let values = f::get_many(vec![1, 2, 3, 4], |_| {
            f::invalidate(1);
            within(&elsewhere, || {
                f::invalidate(2);
                f::put(3, 33);
            });
            |id| id * 10
        });
        assert_eq!(values, [10, 20, 30, 40]);
        assert_eq!([1, 2, 3, 4].map(f::peek), [None, None, Some(33), Some(40)]);
        f::get_many(vec![5], |_| {
            within(&elsewhere, f::clear);
            |id| id * 10
        });
    });
    assert_eq!(within(&elsewhere, || [4, 5].map(f::peek)), [None, None]);
}

#[test]
fn a_backend_that_is_down_leaves_all_to_one_call_of_the_loader() {
    for fault in [Fault::Refuses, Fault::Panics, Fault::AnswersLess, Fault::CannotWrite] {
        backend!(OWN, DRIVER, Faulty::new());
        #[cached(timeout = 300, backend = OWN, local_timeout = 10)]
        fn f(id: u64) -> u64 {
            id
        }
        let process = process();
        within(&process, || {
            DRIVER.set_fault(fault);
            let loads = Runs::new();
            let load = |keys: &[u64]| {
                loads.add();
                assert_eq!(keys, [1, 2]);
                |id: &u64| id + 1
            };
            assert_eq!(f::get_many(vec![1, 2], load), [2, 3]);
            assert_eq!(f::get_many(vec![1, 2], load), [2, 3]);
            assert_eq!((loads.get(), f::stats().hits), (1, 2), "{fault:?}: copies are kept here");
            DRIVER.set_fault(Fault::None);
        });
    }
}

#[test]
fn what_cannot_be_decoded_is_loaded() {
    backend!(OWN, DRIVER, Faulty::new());
    #[cached(timeout = 300, backend = OWN)]
    fn f(id: u64) -> u64 {
        id
    }
    let process = process();
    within(&process, || {
        f(1);
        let before = DRIVER.keys();
        f(2);
        let key = DRIVER.keys().into_iter().find(|key| !before.contains(key)).expect("it was written");
        DRIVER.set_raw(&key, b"something else");
        let values = f::get_many(vec![1, 2], |keys| {
            assert_eq!(keys, [2]);
            |_| 22
        });
        assert_eq!((values, f::stats().backend_undecodable), (vec![1, 22], 1));
        assert_eq!(f::peek(2), Some(22));
    });
}

#[test]
fn single_calls_wait_for_a_batch_and_its_loader_may_call_the_function() {
    static GATE: Gate = Gate::new();
    backend!(OWN, DRIVER, Faulty::new());
    #[cached(timeout = 300, backend = OWN)]
    fn f(id: u64) -> u64 {
        id
    }
    watched(|| {
        let process = process();
        thread::scope(|scope| {
            let batch = scope.spawn(|| {
                within(&process, || {
                    f::get_many(vec![1, 2], |_| {
                        let one = f(1);
                        GATE.pass();
                        move |id| id + one * 10
                    })
                })
            });
            eventually(|| within(&process, || f::stats().misses == 3));
            let single = scope.spawn(|| within(&process, || f(2)));
            eventually(|| within(&process, || f::stats().misses == 4));
            GATE.open();
            assert_eq!(batch.join().expect("it returns"), [11, 12]);
            assert_eq!(single.join().expect("it returns"), 12);
        });
    });
}

backend!(AWAITED, AWAITED_DRIVER, Faulty::new());

#[cached(timeout = 300, backend = AWAITED)]
async fn awaited(slug: &str) -> Result<String, String> {
    Ok(slug.to_owned())
}

#[tokio::test]
async fn an_awaited_function_does_the_same() {
    let process = process();
    let load = |from: &'static str| {
        move |slugs: Arc<[&'static str]>| async move {
            tokio::task::yield_now().await;
            move |slug: &&str| Ok(format!("{slug} of {} from {from}", slugs.len()))
        }
    };
    let task = tokio::spawn(process.run(async move {
        awaited("b").await.expect("it is one");
        let before = AWAITED_DRIVER.operations();
        let values = awaited::get_many(vec!["a", "b", "c"], load("here")).await;
        let values: Vec<_> = values.into_iter().map(|value| value.expect("it is one")).collect();
        assert_eq!(values, ["a of 2 from here", "b", "c of 2 from here"]);
        assert_eq!(AWAITED_DRIVER.operations() - before, 3);
    }));
    task.await.expect("it does not panic");
    let values = self::process().run(awaited::get_many(vec!["c", "a"], load("there"))).await;
    assert_eq!(values, [Ok("c of 2 from here".to_owned()), Ok("a of 2 from here".to_owned())]);
    // One that is dropped.
    let mut context = Context::from_waker(Waker::noop());
    {
        let mut batch = pin!(process.run(awaited::get_many(vec!["x", "y"], |_| async {
            std::future::pending::<()>().await;
            |_: &&str| Err(String::new())
        })));
        for _ in 0..3 {
            assert!(batch.as_mut().poll(&mut context).is_pending());
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
    assert_eq!(process.run(awaited("y")).await, Ok("y".to_owned()));
}

/// Its first key is found, for somebody who waits for it; the other one is yet to be loaded.
#[tokio::test]
async fn a_batch_goes_on_when_its_first_key_has_ended() {
    backend!(OWN, DRIVER, Faulty::new());
    #[cached(timeout = 300, backend = OWN)]
    async fn f(id: u64) -> u64 {
        id
    }
    let process = process();
    assert_eq!(process.run(f(1)).await, 1);
    DRIVER.set_fault(Fault::TakesTime);
    let batch = tokio::spawn(process.run(f::get_many(vec![1, 2], |_| async {
        tokio::task::yield_now().await;
        |id: &u64| id * 10
    })));
    // This one is polled while the batch waits for the backend.
    assert_eq!(tokio::spawn(process.run(f(1))).await.expect("it returns"), 1);
    let batch = tokio::time::timeout(PATIENCE, batch).await.expect("it ends");
    assert_eq!(batch.expect("it returns"), [1, 20]);
}

#[test]
fn a_stale_value_stands_in_for_a_panic_too() {
    backend!(OWN, DRIVER, Faulty::new());
    #[cached(timeout = 60, stale_if_error = 60, backend = OWN)]
    fn f(id: u64) -> u64 {
        id
    }
    // In this order, as the clock of the one is no later than that of the other.
    let (elsewhere, here) = (process(), process());
    within(&elsewhere, || [1, 2].map(f));
    here.enter().advance(Duration::from_secs(60));
    within(&here, || {
        assert_eq!(f::get_many(vec![2, 1], |_| -> fn(&u64) -> u64 { panic!("it does") }), [2, 1]);
        testing::advance(Duration::from_secs(1));
        assert_eq!(f::get_many(vec![2, 1], |_| |id| if *id == 2 { panic!("it does") } else { 11 }), [2, 11]);
        assert_eq!((f::stats().errors_hidden, f::stats().abandoned), (3, 3));
        let ended = catch_unwind(AssertUnwindSafe(|| {
            f::get_many(vec![2, 3], |_| -> fn(&u64) -> u64 { panic!("there is none for the other") })
        }));
        assert!(ended.is_err());
        let ended = catch_unwind(AssertUnwindSafe(|| {
            f::get_many(vec![4, 5, 6], |_| |id| if *id == 5 { panic!("it does") } else { *id })
        }));
        assert!(ended.is_err());
        assert_eq!([4, 5, 6].map(f::peek), [Some(4), None, Some(6)]);
    });
}
