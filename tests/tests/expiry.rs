//! When a value stops being served, and when it goes.

use std::sync::OnceLock;
use std::sync::mpsc::Receiver;
use std::time::Duration;

use cached_runtime::{cached, testing};
use cached_tests::{Reporting, Runs, reporting};

const SECOND: Duration = Duration::from_secs(1);
/// Long enough for a thread to be scheduled; a test waits this long only to fail.
const PATIENCE: Duration = Duration::from_secs(30);

#[test]
fn a_value_is_served_until_its_timeout_and_not_after() {
    static RUNS: Runs = Runs::new();
    #[cached(timeout = 10)]
    fn f(n: u8) -> u32 {
        let _ = n;
        RUNS.add()
    }
    let own = testing::isolated();
    assert_eq!(f(1), 1);
    own.advance(Duration::from_micros(9_999_999));
    assert_eq!(f(1), 1);
    own.advance(Duration::from_micros(1));
    assert_eq!(f::peek(1), None);
    assert!(!f::invalidate(1), "what has expired is not there to be invalidated");
    assert_eq!(f(1), 2);
}

#[test]
fn hits_do_not_extend_the_timeout() {
    static RUNS: Runs = Runs::new();
    #[cached(timeout = 10)]
    fn f() -> u32 {
        RUNS.add()
    }
    let own = testing::isolated();
    for second in 0..10 {
        assert_eq!(f(), 1, "at {second} s");
        own.advance(SECOND);
    }
    assert_eq!(f(), 2);
}

#[test]
fn the_timeout_counts_from_when_the_body_returned() {
    #[cached(timeout = 10)]
    fn slow(n: u8) -> u8 {
        testing::advance(20 * SECOND);
        n
    }
    let own = testing::isolated();
    slow(1);
    own.advance(9 * SECOND);
    assert_eq!(slow::peek(1), Some(1));
    own.advance(SECOND);
    assert_eq!(slow::peek(1), None);
}

#[test]
fn every_way_to_write_a_timeout_is_the_same_timeout() {
    const TEN: Duration = Duration::from_secs(10);
    fn ten() -> Duration {
        TEN
    }
    #[cached(timeout = 10)]
    fn seconds() {}
    #[cached(timeout = "10s")]
    fn text() {}
    #[cached(timeout = TEN)]
    fn constant() {}
    #[cached(timeout = ten())]
    fn computed() {}
    #[cached(timeout = |value| Duration::from_secs(*value))]
    fn of_the_value() -> u64 {
        10
    }
    let own = testing::isolated();
    let there = || (seconds::peek(), text::peek(), constant::peek(), computed::peek(), of_the_value::peek());
    seconds();
    text();
    constant();
    computed();
    of_the_value();
    own.advance(9 * SECOND);
    assert_eq!(there(), (Some(()), Some(()), Some(()), Some(()), Some(10)));
    own.advance(SECOND);
    assert_eq!(there(), (None, None, None, None, None));
}

#[test]
fn a_timeout_may_depend_on_the_ok_value_or_on_an_argument() {
    #[cached(timeout = |item| Duration::from_secs(item.len() as u64))]
    fn f(text: &str) -> Result<String, ()> {
        Ok(text.to_owned())
    }
    #[cached(timeout = if premium { SECOND } else { 10 * SECOND })]
    fn g(premium: bool) -> bool {
        premium
    }
    let own = testing::isolated();
    let _ = (f("a"), f("abc"), g(true), g(false));
    own.advance(SECOND);
    assert_eq!((f::peek("a"), f::peek("abc").is_some()), (None, true));
    assert_eq!((g::peek(true), g::peek(false)), (None, Some(false)));
}

#[test]
fn a_computed_timeout_of_zero_stores_nothing_and_the_longest_lasts_for_ever() {
    #[cached(timeout = Duration::from_secs(seconds))]
    fn f(seconds: u64) -> u64 {
        seconds
    }
    #[cached(timeout = Duration::MAX, idle_timeout = Duration::MAX)]
    fn longest() {}
    let own = testing::isolated();
    f(0);
    assert_eq!((f::peek(0), f::stats().entries), (None, 0));
    f(u64::MAX);
    longest();
    own.advance(Duration::from_secs(500 * 365 * 24 * 3600));
    assert_eq!((f::peek(u64::MAX), longest::peek()), (Some(u64::MAX), Some(())));
}

#[test]
fn an_idle_value_goes_and_one_that_is_hit_stays_until_its_timeout() {
    #[cached(timeout = 35, idle_timeout = "10s")]
    fn f(n: u8) -> u8 {
        n
    }
    let own = testing::isolated();
    f(1);
    f(2);
    for _ in 0..3 {
        own.advance(9 * SECOND);
        assert_eq!(f(1), 1);
    }
    assert_eq!((f::stats().computations, f::peek(2)), (2, None));
    own.advance(8 * SECOND);
    assert_eq!(f::peek(1), None, "35 s after it was stored");
}

#[test]
fn a_peek_does_not_keep_a_value_from_being_idle() {
    #[cached(idle_timeout = 10)]
    fn f() {}
    let own = testing::isolated();
    f();
    own.advance(9 * SECOND);
    assert_eq!(f::peek(), Some(()));
    own.advance(SECOND);
    assert_eq!(f::peek(), None);
}

#[test]
fn jitter_shortens_a_timeout_by_no_more_than_it_says() {
    #[cached(timeout = 100, jitter = "20%")]
    fn f(n: u32) -> u32 {
        n
    }
    let own = testing::isolated();
    let left = || (0..1000).filter(|n| f::peek(*n).is_some()).count();
    (0..1000).for_each(|n| {
        f(n);
    });
    own.advance(79 * SECOND);
    assert_eq!(left(), 1000);
    own.advance(11 * SECOND);
    assert!((300..700).contains(&left()), "about half of them after half of the jitter: {}", left());
    own.advance(10 * SECOND);
    assert_eq!(left(), 0);
}

fn dropped(receiver: &Receiver<u64>, count: usize) -> Vec<u64> {
    let mut numbers: Vec<u64> =
        (0..count).map(|_| receiver.recv_timeout(PATIENCE).expect("it is dropped")).collect();
    numbers.sort_unstable();
    numbers
}

#[test]
fn expired_values_are_dropped_by_themselves_and_others_are_not() {
    static MAKE: OnceLock<Box<dyn Fn(u64) -> Reporting + Send + Sync>> = OnceLock::new();
    #[cached(timeout = Duration::from_secs(n))]
    fn f(n: u64) -> Reporting {
        MAKE.get().expect("it is set")(n)
    }
    let (make, receiver) = reporting();
    assert!(MAKE.set(Box::new(make)).is_ok());
    let own = testing::isolated();
    (1..=1000).for_each(|n| drop(f(n)));
    own.advance(600 * SECOND);
    assert_eq!(dropped(&receiver, 600), (1..=600).collect::<Vec<_>>());
    assert!(receiver.try_recv().is_err(), "the others are still there");
    assert_eq!((f::stats().entries, f::stats().expirations), (400, 600));
}

#[test]
fn the_janitor_works_on_the_running_clock_too() {
    static MAKE: OnceLock<Box<dyn Fn(u64) -> Reporting + Send + Sync>> = OnceLock::new();
    #[cached(timeout = "1ms")]
    fn f(n: u64) -> Reporting {
        MAKE.get().expect("it is set")(n)
    }
    let (make, receiver) = reporting();
    assert!(MAKE.set(Box::new(make)).is_ok());
    let _own = testing::isolated();
    testing::resume();
    drop(f(1));
    assert_eq!(dropped(&receiver, 1), [1]);
}

#[test]
fn an_expired_value_goes_before_any_live_one() {
    #[cached(timeout = Duration::from_secs(seconds), capacity = 3)]
    fn f(seconds: u64) -> u64 {
        seconds
    }
    let own = testing::isolated();
    f(100);
    f(1);
    f(200);
    // However often it was hit.
    (0..10).for_each(|_| {
        f(1);
    });
    own.advance(SECOND);
    f(300);
    assert_eq!((f::peek(100), f::peek(200), f::peek(300)), (Some(100), Some(200), Some(300)));
    assert_eq!(f::stats().evictions, 0);
}

#[test]
fn storing_again_takes_the_new_timeout() {
    #[cached(timeout = Duration::from_secs(*seconds), key = ())]
    fn f(seconds: &u64) -> u64 {
        *seconds
    }
    let own = testing::isolated();
    f(&10);
    f::put(&100, 100);
    own.advance(50 * SECOND);
    assert_eq!(f::peek(&0), Some(100));
    f::put(&1, 1);
    own.advance(SECOND);
    assert_eq!(f::peek(&0), None);
}
