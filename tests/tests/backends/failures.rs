//! Whatever the backend does, a call returns what its body returns.

use std::pin::Pin;
use std::sync::{Arc, LazyLock};
use std::task::Poll;
use std::thread;
use std::time::{Duration, Instant};

use cached_runtime::{Backend, BackendInfo, BackendState, backends, cached, testing};
use cached_tests::driver::{Fault, Faulty};
use cached_tests::{PATIENCE, Runs, poll_once};

fn info(backend: &Backend) -> BackendInfo {
    let name = backend.to_string();
    backends().into_iter().find(|it| it.name == name).expect("it was used")
}

#[test]
fn a_backend_that_fails_is_not_asked_for_a_while_and_then_by_one_call() {
    backend!(OWN, DRIVER, Faulty::new());
    #[cached(timeout = 300, backend = OWN)]
    fn f(n: u32) -> u32 {
        n
    }
    let own = testing::isolated();
    assert_eq!((f(1), f(1), f::stats().backend_hits), (1, 1, 1));
    assert_eq!(info(&OWN).state, BackendState::Closed);
    DRIVER.set_fault(Fault::Refuses);
    let before = DRIVER.operations();
    for n in 0..20 {
        assert_eq!(f(n), n);
    }
    assert_eq!(DRIVER.operations() - before, 5, "five failures in a row open the breaker");
    let shown = info(&OWN);
    assert_eq!((shown.state, shown.failures), (BackendState::Open, 5));
    let message = shown.last_failure.expect("there was one").message;
    assert_eq!(message, "the engine cannot be reached: connection refused");
    assert_eq!((f::stats().backend_errors, f::stats().backend_skipped), (5, 15));
    assert_eq!((shown.skipped, shown.openings), (15, 1));
    // Probes, after one second and then two.
    for (seconds, probes) in [(1, 1), (1, 1), (1, 2), (3, 2), (1, 3)] {
        own.advance(Duration::from_secs(seconds));
        assert_eq!((f(1), f(2)), (1, 2));
        assert_eq!(DRIVER.operations() - before - 5, probes, "after {seconds} s more");
    }
    DRIVER.set_fault(Fault::None);
    own.advance(Duration::from_secs(8));
    let hits = f::stats().backend_hits;
    assert_eq!((f(1), f(1)), (1, 1));
    assert_eq!(f::stats().backend_hits - hits, 2, "what was there before is found again");
    let shown = info(&OWN);
    assert_eq!((shown.state, shown.openings), (BackendState::Closed, 1), "a probe that fails is no opening");
}

#[test]
fn a_driver_that_is_asked_for_too_much_at_once_has_not_failed() {
    backend!(OWN, DRIVER, Faulty::new());
    #[cached(timeout = 300, backend = OWN)]
    fn f(n: u32) -> u32 {
        n
    }
    let own = testing::isolated();
    assert_eq!((f(1), f(1), f::stats().backend_hits), (1, 1, 1));
    let operations = info(&OWN).operations;
    DRIVER.set_fault(Fault::IsBusy);
    for n in 0..20 {
        assert_eq!(f(n), n);
    }
    let shown = info(&OWN);
    assert_eq!((shown.state, shown.failures, shown.skipped), (BackendState::Closed, 0, 20));
    assert_eq!(shown.operations, operations, "none was tried");
    assert_eq!((f::stats().backend_errors, f::stats().backend_skipped), (0, 20));
    DRIVER.set_fault(Fault::None);
    assert_eq!((f(1), f::stats().backend_hits), (1, 2));
    // One call alone, after all others have failed, is too much only for an engine that is not well.
    DRIVER.set_fault(Fault::Refuses);
    (0..5).for_each(|n| assert_eq!(f(n), n));
    DRIVER.set_fault(Fault::IsBusy);
    own.advance(Duration::from_secs(1));
    assert_eq!((f(1), info(&OWN).state, info(&OWN).failures), (1, BackendState::Open, 6));
    own.advance(Duration::from_secs(1));
    let skipped = info(&OWN).skipped;
    assert_eq!((f(1), info(&OWN).failures, info(&OWN).skipped), (1, 6, skipped + 1), "it waits for longer");
}

#[test]
fn an_engine_that_hangs_costs_one_deadline_until_it_is_not_asked() {
    backend!(OWN, DRIVER, Faulty::new());
    #[cached(timeout = 300, backend = OWN)]
    fn f(n: u32) -> u32 {
        n
    }
    let _own = testing::isolated();
    DRIVER.set_fault(Fault::Hangs);
    for n in 0..8 {
        assert_eq!(f(n), n);
    }
    assert_eq!(DRIVER.operations(), 5, "one for each call, and then none");
}

#[tokio::test]
async fn a_future_of_a_driver_that_is_never_ready_is_given_up() {
    backend!(OWN, DRIVER, Faulty::new());
    #[cached(timeout = 300, backend = OWN)]
    async fn f(n: u32) -> u32 {
        n
    }
    let own = testing::isolated();
    DRIVER.set_fault(Fault::Hangs);
    for n in 0..8 {
        assert_eq!(own.store().run(async move { f(n).await }).await, n);
    }
    assert_eq!(DRIVER.operations(), 5);
}

#[test]
fn a_driver_that_panics_or_answers_nonsense_fails_no_call() {
    backend!(PANICS, PANICKING, Faulty::new());
    backend!(LESS, LESSENING, Faulty::new());
    #[cached(timeout = 300, backend = PANICS)]
    fn f(n: u32) -> u32 {
        n
    }
    #[cached(timeout = 300, backend = LESS)]
    fn g(n: u32) -> u32 {
        n
    }
    let _own = testing::isolated();
    PANICKING.set_fault(Fault::Panics);
    LESSENING.set_fault(Fault::AnswersLess);
    assert_eq!((f(1), g(1)), (1, 1));
    assert_eq!((f::stats().backend_errors, g::stats().backend_errors), (1, 1));
    assert!(!f::invalidate(1));
    assert_eq!(f::peek(1), None);
    f::put(1, 2);
    f::clear();
    assert_eq!(f::refresh(1), 1);
}

#[test]
fn an_engine_that_is_too_old_for_anything_is_seen() {
    backend!(OWN, DRIVER, Faulty::new());
    #[cached(timeout = 300, backend = OWN)]
    fn f(n: u32) -> u32 {
        n
    }
    let _own = testing::isolated();
    DRIVER.set_fault(Fault::IsOld);
    for n in 0..20 {
        assert_eq!((f(n), f::invalidate(n)), (n, false));
    }
    let shown = info(&OWN);
    assert_eq!((shown.state, shown.failures), (BackendState::Open, 5));
    assert!(
        shown.last_failure.expect("it says why").message.ends_with("the engine has no commands of today")
    );
}

#[test]
fn a_backend_that_only_reads_is_read() {
    backend!(OWN, DRIVER, Faulty::new());
    #[cached(timeout = 300, backend = OWN)]
    fn f(n: u32) -> u32 {
        n
    }
    let _own = testing::isolated();
    f(1);
    DRIVER.set_fault(Fault::CannotWrite);
    assert_eq!((f(1), f(2), f(2)), (1, 2, 2));
    assert_eq!((f::stats().backend_hits, f::stats().backend_errors), (1, 2));
}

#[test]
fn writes_that_fail_are_not_hidden_by_lookups_that_do_not() {
    backend!(OWN, DRIVER, Faulty::new());
    #[cached(timeout = 300, backend = OWN)]
    fn f(n: u32) -> u32 {
        n
    }
    let own = testing::isolated();
    f(1);
    DRIVER.set_fault(Fault::CannotWrite);
    for n in 2..22 {
        assert_eq!(f(n), n);
    }
    assert_eq!(info(&OWN).failures, 5);
    assert_eq!(info(&OWN).state, BackendState::Open);
    // The lookup of the next call finds it well; its write does not.
    own.advance(Duration::from_secs(1));
    assert_eq!((f(1), info(&OWN).state), (1, BackendState::Closed));
    assert_eq!((f(2), info(&OWN).failures, info(&OWN).state), (2, 6, BackendState::Open));
    DRIVER.set_fault(Fault::None);
    own.advance(Duration::from_secs(2));
    assert_eq!((f(2), f(2), f::peek(2)), (2, 2, Some(2)));
}

#[tokio::test]
async fn callers_less_patient_than_the_backend_find_out_that_it_does_not_answer() {
    backend!(OWN, DRIVER, Faulty::new());
    #[cached(timeout = 300, backend = OWN)]
    async fn f(n: u32) -> u32 {
        n
    }
    let own = testing::isolated();
    DRIVER.set_fault(Fault::Hangs);
    let call = |n| own.store().run(async move { f(n).await });
    let mut given_up = 0;
    for n in 0..20 {
        if tokio::time::timeout(Duration::from_millis(50), call(n)).await.is_err() {
            given_up += 1;
        }
    }
    assert_eq!((info(&OWN).state, DRIVER.operations()), (BackendState::Open, 5));
    assert!(given_up <= 5, "the others have their values: {given_up}");
}

#[test]
fn operations_that_fail_while_others_succeed_say_nothing_of_the_engine() {
    type Call = Pin<Box<dyn Future<Output = u32>>>;
    backend!(OWN, DRIVER, Faulty::new());
    #[cached(timeout = 300, backend = OWN)]
    async fn f(n: u32) -> u32 {
        n
    }
    let own = testing::isolated();
    let begin = |n| {
        let mut call: Call = Box::pin(own.store().run(async move { f(n).await }));
        DRIVER.set_fault(Fault::TakesTime);
        assert!(poll_once(call.as_mut()).is_pending());
        call
    };
    let fails = |mut call: Call, n| {
        DRIVER.set_fault(Fault::Refuses);
        assert_eq!(poll_once(call.as_mut()), Poll::Ready(n));
    };
    let early: Vec<_> = (0..20).map(begin).collect();
    DRIVER.set_fault(Fault::None);
    assert_eq!(smol::block_on(own.store().run(async { f(20).await })), 20);
    early.into_iter().zip(0..).for_each(|(call, n)| fails(call, n));
    assert_eq!((info(&OWN).state, info(&OWN).failures), (BackendState::Closed, 20));
    let late: Vec<_> = (0..5).map(begin).collect();
    late.into_iter().zip(0..).for_each(|(call, n)| fails(call, n));
    assert_eq!((info(&OWN).state, info(&OWN).failures), (BackendState::Open, 25));
}

#[test]
fn a_driver_that_cannot_be_opened_fails_no_call() {
    static OWN: Backend = Backend::driver("not opened", || panic!("on purpose"));
    #[cached(timeout = 300, backend = OWN)]
    fn f(n: u32) -> u32 {
        n
    }
    let _own = testing::isolated();
    assert_eq!((f(1), f(1)), (1, 1));
    assert_eq!(info(&OWN).state, BackendState::Unusable);
}

#[test]
fn a_value_that_is_too_large_is_counted_and_the_old_one_is_gone() {
    backend!(OWN, DRIVER, Faulty::with_most(1000));
    static SIZE: Runs = Runs::new();
    #[cached(timeout = 300, backend = OWN)]
    fn f() -> String {
        "x".repeat(if SIZE.add() == 1 { 10 } else { 2000 })
    }
    let _own = testing::isolated();
    assert_eq!((f().len(), f().len()), (10, 10));
    assert_eq!(f::refresh().len(), 2000);
    assert_eq!(f::peek(), None);
    assert_eq!(f().len(), 2000);
    assert_eq!((f::stats().backend_too_large, f::stats().backend_errors), (2, 0));
    assert_eq!(info(&OWN).state, BackendState::Closed);
}

#[test]
fn a_url_that_is_none_fails_no_call_and_is_seen() {
    // A variable that is there, and a folder.
    static OWN: Backend = Backend::env("CARGO_MANIFEST_DIR", "memory://");
    static RUNS: Runs = Runs::new();
    #[cached(timeout = 300, local_timeout = 10, backend = OWN)]
    fn f(n: u32) -> u32 {
        RUNS.add();
        n
    }
    let own = testing::isolated();
    assert_eq!((f(1), f(1), RUNS.get()), (1, 1, 1), "copies are kept nevertheless");
    own.advance(Duration::from_secs(10));
    assert_eq!((f(1), RUNS.get()), (1, 2));
    let shown = info(&OWN);
    assert_eq!((&*shown.name, shown.state), ("$CARGO_MANIFEST_DIR", BackendState::Unusable));
    assert_eq!((shown.operations, shown.skipped), (0, 2));
    assert!(shown.last_failure.expect("it says why").message.contains("scheme"));
}

#[test]
fn an_invalidation_that_failed_is_made_up_for() {
    backend!(OWN, DRIVER, Faulty::new());
    #[cached(timeout = 300, backend = OWN)]
    fn f(n: u32) -> u32 {
        n
    }
    let _own = testing::isolated();
    f(1);
    f(2);
    DRIVER.set_fault(Fault::Refuses);
    assert!(!f::invalidate(1));
    DRIVER.set_fault(Fault::None);
    assert_eq!((f::peek(1), f::peek(2)), (None, Some(2)), "what was invalidated does not come back");
    DRIVER.set_fault(Fault::CannotWrite);
    f::put(2, 7);
    DRIVER.set_fault(Fault::None);
    assert_eq!(f::peek(2), None, "nor does what was replaced");
    // It may be made up for after this.
    while f::peek(1).is_none() {
        assert_eq!(f(1), 1);
    }
}

#[test]
fn what_failed_is_made_up_for_though_nobody_calls_the_function_any_more() {
    backend!(OWN, DRIVER, Faulty::new());
    #[cached(backend = OWN)]
    fn f(n: u32) -> u32 {
        n
    }
    #[cached(backend = OWN)]
    fn g(n: u32) -> u32 {
        n
    }
    let (own, other) = (testing::isolated().store(), testing::isolated().store());
    {
        let _entered = own.enter();
        assert_eq!((f(1), g(1)), (1, 1));
        DRIVER.set_fault(Fault::Refuses);
        f::invalidate(1);
        g::clear();
        DRIVER.set_fault(Fault::None);
    }
    let _entered = other.enter();
    let begun = Instant::now();
    while f::peek(1).is_some() || g::peek(1).is_some() {
        assert!(begun.elapsed() < PATIENCE, "it is not made up for");
        thread::yield_now();
        testing::advance(Duration::from_secs(1));
    }
}

#[test]
fn a_clear_that_failed_is_made_up_for() {
    backend!(OWN, DRIVER, Faulty::new());
    #[cached(timeout = 300, backend = OWN)]
    fn f(n: u32) -> u32 {
        n
    }
    let own = testing::isolated();
    f(1);
    DRIVER.set_fault(Fault::Refuses);
    f::clear();
    DRIVER.set_fault(Fault::None);
    assert_eq!(f::peek(1), None);
    own.advance(Duration::from_secs(10));
    assert_eq!(f::peek(1), None, "also when the generation is read again");
    f(1);
    own.advance(Duration::from_secs(10));
    assert_eq!(f::peek(1), Some(1));
}

#[test]
fn a_value_without_an_encoding_is_computed_each_time() {
    #[expect(clippy::option_option, reason = "this is what cannot be encoded")]
    #[cached(timeout = 300, backend = "memory://")]
    fn f(n: u32) -> Vec<Option<Option<u32>>> {
        vec![Some((n > 0).then_some(n))]
    }
    let _own = testing::isolated();
    assert_eq!(
        (f(0), f(0), f(1), f(1)),
        (vec![Some(None)], vec![Some(None)], vec![Some(Some(1))], vec![Some(Some(1))])
    );
    assert_eq!((f::stats().backend_undecodable, f::stats().backend_hits), (2, 1));
}

#[test]
fn a_codec_that_panics_or_fails_fails_no_call() {
    use cached_runtime::backend::codec::{Codec, CodecError};

    struct Broken;
    impl Codec<u32> for Broken {
        const ID: u8 = 200;
        fn encode(value: &u32) -> Result<Vec<u8>, CodecError> {
            assert!(*value != 1, "on purpose");
            if *value == 2 { Err("on purpose".into()) } else { Ok(vec![0]) }
        }
        fn decode(_: &[u8]) -> Result<u32, CodecError> {
            panic!("on purpose")
        }
    }
    #[cached(timeout = 300, codec = Broken, backend = "memory://")]
    fn f(n: u32) -> u32 {
        n
    }
    let _own = testing::isolated();
    for n in [1, 2, 3, 3] {
        assert_eq!(f(n), n);
    }
    assert_eq!((f::stats().computations, f::stats().backend_undecodable), (4, 3));
}

#[test]
fn a_panic_and_an_error_leave_nothing_behind() {
    static RUNS: Runs = Runs::new();
    #[cached(timeout = 300, lease = "1h", backend = "memory://")]
    fn f(n: u32) -> Result<u32, String> {
        match RUNS.add() {
            1 => panic!("on purpose"),
            2 => Err("on purpose".into()),
            _ => Ok(n),
        }
    }
    let _own = testing::isolated();
    assert!(std::panic::catch_unwind(|| f(1)).is_err());
    assert_eq!((f(1).is_err(), f(1), f(1)), (true, Ok(1), Ok(1)));
    assert_eq!(RUNS.get(), 3);
}
