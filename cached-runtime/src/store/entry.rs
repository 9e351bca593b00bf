//! A stored value with its key, its deadline and how often it was hit: the latter two in one word.

use std::sync::atomic::Ordering::Relaxed;

use super::eviction::FREQUENCY_MAX;
use crate::clock::{Moment, NEVER};
use crate::shim::AtomicU64;

pub(crate) struct Entry<K, S> {
    pub(super) key: K,
    pub(super) value: S,
    pub(super) life: Life,
}

/// The deadline of an entry, without its lowest bits, in units of four nanoseconds so to speak, and how often it was
/// hit in these.
pub(crate) struct Life(AtomicU64);

const FREQUENCY: u64 = FREQUENCY_MAX as u64;

impl Life {
    pub(super) fn new(deadline: Moment, frequency: u8) -> Self {
        Self(AtomicU64::new(deadline & !FREQUENCY | u64::from(frequency.min(FREQUENCY_MAX))))
    }

    /// Counts a hit of an entry that is not past its deadline, with a write only if that makes a
    /// difference; returns whether it was a hit.
    #[inline]
    pub(super) fn hit(&self, now: Moment) -> bool {
        let state = self.0.load(Relaxed);
        if now < state & !FREQUENCY {
            if state & FREQUENCY != FREQUENCY {
                self.count(state);
            }
            return true;
        }
        false
    }

    /// Whoever is faster counts.
    #[cold]
    #[inline(never)]
    fn count(&self, state: u64) {
        let _ = self.0.compare_exchange_weak(state, state + 1, Relaxed, Relaxed);
    }

    /// When it goes.
    pub(super) fn deadline(&self) -> Moment {
        let deadline = self.0.load(Relaxed) & !FREQUENCY;
        if deadline == NEVER & !FREQUENCY { NEVER } else { deadline }
    }

    pub(super) fn frequency(&self) -> u8 {
        (self.0.load(Relaxed) & FREQUENCY) as u8
    }

    pub(super) fn set_frequency(&self, frequency: u8) {
        let deadline = self.0.load(Relaxed) & !FREQUENCY;
        self.0.store(deadline | u64::from(frequency.min(FREQUENCY_MAX)), Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hits_are_counted_up_to_three_and_until_the_deadline() {
        let life = Life::new(1000, 0);
        for (now, hit, frequency) in
            [(0, true, 1), (999, true, 2), (1000, false, 2), (5, true, 3), (6, true, 3)]
        {
            assert_eq!((life.hit(now), life.frequency()), (hit, frequency), "at {now}");
        }
        life.set_frequency(1);
        assert_eq!((life.frequency(), life.deadline()), (1, 1000));
    }

    #[test]
    fn a_deadline_that_never_comes_stays_so() {
        let life = Life::new(NEVER, 0);
        assert!(life.hit(NEVER - 10));
        assert_eq!(life.deadline(), NEVER);
    }
}
