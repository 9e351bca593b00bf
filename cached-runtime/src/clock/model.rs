//! The clock's thread, those who want it, and those who read its word.

use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;

use shuttle::thread;

use super::*;
use crate::shim::{explore, yield_now};

/// A moment long ago, and one that is now.
const OLD: Moment = 1;
const NOW: Moment = 1_000_000_000;

#[test]
fn whoever_wants_it_gets_it_and_no_word_stays_when_it_ends() {
    explore(|| {
        let ticking = Arc::new(Ticking::new());
        let word = Arc::new(AtomicU64::new(0));
        let ticks = {
            let (ticking, word) = (Arc::clone(&ticking), Arc::clone(&word));
            // If a call were lost, it would wait for ever.
            thread::spawn(move || ticking.turn(&word, |word| word.store(NOW, SeqCst)))
        };
        let reading = {
            let word = Arc::clone(&word);
            thread::spawn(move || {
                for _ in 0..3 {
                    assert!([0, NOW].contains(&word.load(SeqCst)));
                    take_away_if_late(&word, || NOW);
                }
            })
        };
        while !ticking.start() {
            yield_now();
        }
        ticks.join().expect("it has ticked");
        assert_eq!(word.load(SeqCst), 0);
        reading.join().expect("it reads");
    });
}

#[test]
fn a_call_while_it_ticks_is_another_turn() {
    explore(|| {
        let ticking = Arc::new(Ticking::new());
        let word = Arc::new(AtomicU64::new(0));
        let ticks = {
            let (ticking, word) = (Arc::clone(&ticking), Arc::clone(&word));
            thread::spawn(move || {
                ticking.turn(&word, |word| {
                    word.store(NOW, SeqCst);
                    while !ticking.start() {
                        yield_now();
                    }
                });
                ticking.turn(&word, |_| {});
            })
        };
        while !ticking.start() {
            yield_now();
        }
        ticks.join().expect("it has ticked twice");
        assert_eq!(word.load(SeqCst), 0);
    });
}

/// As after a fork: nobody goes on with the old word, and then somebody begins anew.
#[test]
fn an_old_word_is_taken_away_and_a_new_one_is_not() {
    explore(|| {
        let ticking = Arc::new(Ticking::new());
        let word = Arc::new(AtomicU64::new(OLD));
        let readers: Vec<_> = (0..2)
            .map(|_| {
                let word = Arc::clone(&word);
                thread::spawn(move || {
                    take_away_if_late(&word, || NOW);
                    assert_ne!(word.load(SeqCst), OLD);
                })
            })
            .collect();
        let ticks = {
            let (ticking, word) = (Arc::clone(&ticking), Arc::clone(&word));
            thread::spawn(move || {
                ticking.turn(&word, |word| {
                    word.store(NOW, SeqCst);
                    yield_now();
                    assert_eq!(word.load(SeqCst), NOW);
                });
            })
        };
        while !ticking.start() {
            yield_now();
        }
        ticks.join().expect("it has ticked");
        readers.into_iter().for_each(|reader| reader.join().expect("it has read"));
        assert_eq!(word.load(SeqCst), 0);
    });
}
