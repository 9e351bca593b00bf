//! What several processes rely on, which are several stores here.

use std::sync::{Arc, LazyLock};
use std::thread;
use std::time::Duration;

use cached_runtime::testing::Isolated;
use cached_runtime::{Backend, cached, testing};
use cached_tests::driver::Faulty;
use cached_tests::{Gate, Runs};

use super::{process, within};

#[test]
fn one_computes_and_the_other_hits() {
    backend!(OWN, DRIVER, Faulty::new());
    static RUNS: Runs = Runs::new();
    #[cached(timeout = 300, backend = OWN)]
    fn f(text: &str) -> String {
        RUNS.add();
        text.to_uppercase()
    }
    let (a, b) = (process(), process());
    assert_eq!(within(&a, || f("x")), "X");
    assert_eq!(within(&b, || f("x")), "X");
    assert_eq!((RUNS.get(), within(&b, || f::stats().backend_hits)), (1, 1));
}

/// Runs a function in one process, does something in another one meanwhile, and returns what the second one
/// sees at the end.
macro_rules! meanwhile {
    ($driver:expr, $meanwhile:expr) => {{
        backend!(OWN, DRIVER, $driver);
        static GATE: Gate = Gate::new();
        static BEGAN: Runs = Runs::new();
        #[cached(timeout = 300, backend = OWN)]
        fn f(n: u32) -> u32 {
            if BEGAN.add() == 1 {
                GATE.pass();
                return n + 1000;
            }
            n
        }
        let (a, b) = (process(), process());
        let body = a.clone();
        let computing = thread::spawn(move || within(&body, || f(1)));
        while BEGAN.get() == 0 {
            thread::yield_now();
        }
        let act: fn(&Isolated, &Isolated, fn(u32) -> u32, [fn(u32); 2]) = $meanwhile;
        let invalidate = |n| {
            f::invalidate(n);
        };
        act(&a, &b, f, [invalidate, |_| f::clear()]);
        GATE.open();
        assert_eq!(computing.join().expect("it is done"), 1001, "its own caller gets the value");
        (within(&b, || f::peek(1)), within(&a, || f::peek(1)))
    }};
}

#[test]
fn an_invalidation_in_another_process_is_not_undone_by_a_late_write() {
    let seen = meanwhile!(Faulty::new(), |_, b, _, [invalidate, _]| within(b, || invalidate(1)));
    assert_eq!(seen, (None, None));
}

#[test]
fn a_clear_in_another_process_is_not_undone_by_a_late_write() {
    let seen = meanwhile!(Faulty::new(), |a, b, _, [_, clear]| {
        within(b, || clear(0));
        within(a, || testing::advance(Duration::from_secs(2)));
    });
    assert_eq!(seen, (None, None));
}

#[test]
fn a_newer_value_of_another_process_is_not_replaced_by_a_late_write() {
    let seen = meanwhile!(Faulty::new(), |_, b, f, _| {
        assert_eq!(within(b, || f(1)), 1);
    });
    assert_eq!(seen, (Some(1), Some(1)));
}

#[test]
fn an_invalidation_in_the_same_process_holds_also_without_versions() {
    let seen = meanwhile!(Faulty::without_versions(), |a, _, _, [invalidate, _]| within(a, || invalidate(1)));
    assert_eq!(seen, (None, None));
}

#[test]
fn what_is_put_after_a_clear_of_another_process_stays_and_is_seen_by_all() {
    backend!(OWN, DRIVER, Faulty::new());
    #[cached(timeout = 300, backend = OWN)]
    fn f(n: u32) -> u32 {
        n
    }
    let [clears, puts, reads] = [process(), process(), process()];
    // All of them know the generation, and believe it for a second.
    for process in [&clears, &puts, &reads] {
        assert_eq!(within(process, || f(1)), 1);
    }
    within(&clears, f::clear);
    within(&puts, || f::put(1, 55));
    for process in [&reads, &puts, &clears] {
        assert_eq!(within(process, || (f(1), f::peek(1))), (55, Some(55)));
    }
    assert_eq!(within(&process(), || f(1)), 55);
}

#[test]
fn an_invalidation_while_the_value_is_being_written_holds_in_the_same_process() {
    backend!(WITH, VERSIONS, Faulty::new());
    backend!(WITHOUT, NO_VERSIONS, Faulty::without_versions());
    #[cached(timeout = 300, backend = WITH)]
    fn f(n: u32) -> u32 {
        n
    }
    #[cached(timeout = 300, local_timeout = 60, backend = WITHOUT)]
    fn g(n: u32) -> u32 {
        n
    }
    let _own = testing::isolated();
    // What the driver has is known after this.
    assert_eq!((f(0), g(0), g::refresh(0)), (0, 0, 0));
    VERSIONS.before_set(|| {
        f::invalidate(1);
    });
    NO_VERSIONS.before_set(|| {
        g::invalidate(1);
    });
    assert_eq!((f(1), g(1)), (1, 1));
    assert_eq!((f::peek(1), g::peek(1)), (None, None));
}

#[test]
fn a_clear_is_seen_at_once_here_and_within_a_second_elsewhere() {
    backend!(OWN, DRIVER, Faulty::new());
    #[cached(timeout = "1h", backend = OWN)]
    fn f(n: u32) -> u32 {
        n
    }
    let (a, b) = (process(), process());
    within(&a, || f(1));
    assert_eq!(within(&b, || f::peek(1)), Some(1));
    within(&a, f::clear);
    assert_eq!(within(&a, || f::peek(1)), None);
    within(&b, || testing::advance(Duration::from_secs(1)));
    assert_eq!(within(&b, || f::peek(1)), None);
    within(&b, || f(1));
    assert_eq!(within(&a, || f::peek(1)), Some(1));
}

#[test]
fn a_clear_holds_between_clocks_that_differ_by_an_hour() {
    backend!(OWN, DRIVER, Faulty::new());
    #[cached(timeout = "3h", backend = OWN)]
    fn f(n: u32) -> u32 {
        n
    }
    let (early, late) = (process(), process());
    within(&late, || testing::advance(Duration::from_secs(3600)));
    for (one, other) in [(&early, &late), (&late, &early)] {
        within(one, || f(1));
        within(other, f::clear);
        within(one, || testing::advance(Duration::from_secs(1)));
        assert_eq!((within(one, || f::peek(1)), within(other, || f::peek(1))), (None, None));
        within(other, || f(1));
        within(one, || testing::advance(Duration::from_secs(1)));
        assert_eq!((within(one, || f::peek(1)), within(other, || f::peek(1))), (Some(1), Some(1)));
    }
}

#[test]
fn a_generation_that_was_lost_makes_misses_and_never_old_values() {
    backend!(OWN, DRIVER, Faulty::new());
    #[cached(timeout = "1h", backend = OWN)]
    fn f(n: u32) -> u32 {
        n
    }
    let own = testing::isolated();
    f(1);
    DRIVER.lose(":generation");
    own.advance(Duration::from_secs(1));
    assert_eq!(f::peek(1), None);
    own.advance(Duration::from_secs(1));
    assert_eq!(f::peek(1), None);
    f(1);
    own.advance(Duration::from_secs(1));
    assert_eq!(f::peek(1), Some(1));
}

#[test]
fn a_copy_elsewhere_lives_no_longer_than_its_timeout() {
    backend!(OWN, DRIVER, Faulty::new());
    #[cached(timeout = "1h", local_timeout = "5s", backend = OWN)]
    fn f(n: u32) -> u32 {
        n
    }
    let (a, b) = (process(), process());
    within(&a, || f(1));
    within(&b, || f(1));
    within(&a, || f::put(1, 7));
    within(&b, || testing::advance(Duration::from_millis(4999)));
    assert_eq!((within(&a, || f(1)), within(&b, || f(1))), (7, 1));
    within(&b, || testing::advance(Duration::from_millis(1)));
    assert_eq!(within(&b, || f(1)), 7);
}

#[test]
fn calls_of_one_key_share_one_lookup() {
    backend!(OWN, DRIVER, Faulty::new());
    static RUNS: Runs = Runs::new();
    #[cached(timeout = "1h", backend = OWN)]
    fn f(n: u32) -> u32 {
        RUNS.add();
        // All the others have come by then.
        while f::stats().misses < 8 {
            thread::yield_now();
        }
        n
    }
    let a = process();
    thread::scope(|scope| {
        for _ in 0..8 {
            scope.spawn(|| within(&a, || assert_eq!(f(1), 1)));
        }
    });
    assert_eq!(RUNS.get(), 1);
    // The look, the generation, and the value.
    assert_eq!((DRIVER.operations(), within(&a, || f::stats().coalesced)), (3, 7));
}

#[test]
fn every_flipped_bit_of_an_entry_makes_a_miss() {
    backend!(OWN, DRIVER, Faulty::new());
    #[cached(timeout = "1h", backend = OWN)]
    fn f(text: &str) -> (String, u32) {
        (text.to_owned(), 7)
    }
    let own = testing::isolated();
    f("key");
    let key = DRIVER.keys().pop().expect("it was stored");
    let good = DRIVER.raw(&key).expect("it was stored");
    for bit in 0..good.len() * 8 {
        let mut flipped = good.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        DRIVER.set_raw(&key, &flipped);
        assert_eq!(f::peek("key"), None, "bit {bit}");
    }
    for len in 0..good.len() {
        DRIVER.set_raw(&key, &good[..len]);
        assert_eq!(f::peek("key"), None, "{len} bytes");
    }
    // The entry of another key in the place of this one.
    f("other");
    let other = DRIVER.keys().into_iter().find(|it| *it != key).expect("it was stored");
    DRIVER.set_raw(&key, &DRIVER.raw(&other).expect("it was stored"));
    assert_eq!(f::peek("key"), None);
    assert_eq!((f("key").1, f::peek("key").is_some()), (7, true), "and is healed");
    drop(own);
}

#[test]
fn what_is_not_an_entry_is_removed_where_nothing_takes_its_place() {
    backend!(OWN, DRIVER, Faulty::new());
    #[cached(timeout = "1h", backend = OWN)]
    fn f(n: u32) -> Option<u32> {
        (n > 0).then_some(n)
    }
    let _own = testing::isolated();
    f(0);
    let key = DRIVER.keys().pop().expect("it was looked up");
    DRIVER.set_raw(&key, b"something else");
    assert_eq!((f(0), DRIVER.raw(&key)), (None, None));
}

#[test]
fn no_argument_comes_onto_the_wire() {
    backend!(OWN, DRIVER, Faulty::new());
    #[cached(timeout = "1h", name = "name with\nspaces and\0more", backend = OWN)]
    fn f(text: &str) -> usize {
        text.len()
    }
    let _own = testing::isolated();
    let large = "marker ".repeat(1_500_000);
    let texts = ["", "marker", "marker\r\nset key 0 0 1\r\nx\r\n", "marker\0", "märker \u{1F980}", &large];
    for text in texts {
        assert_eq!((f(text), f(text)), (text.len(), text.len()));
    }
    assert_eq!(f::stats().backend_hits, texts.len() as u64);
    let keys = DRIVER.keys();
    assert_eq!(keys.len(), texts.len());
    for key in keys {
        let is_legal = key.len() <= 250 && key.bytes().all(|byte| byte.is_ascii_graphic());
        assert!(is_legal && !key.contains("marker"), "{key:?}");
    }
}
