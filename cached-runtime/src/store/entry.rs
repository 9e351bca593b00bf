//! A stored value with its key, its deadline and how often it was hit: the latter two in one word.

use std::sync::atomic::Ordering::Relaxed;

use super::eviction::FREQUENCY_MAX;
use crate::clock::{Moment, NEVER};
use crate::shim::AtomicU64;

pub(crate) struct Entry<K, S> {
    pub(super) key: K,
    pub(super) value: S,
    /// The deadline without its lowest bits, in units of four nanoseconds so to speak, and the
    /// frequency in these.
    state: AtomicU64,
}

const FREQUENCY: u64 = FREQUENCY_MAX as u64;

impl<K, S> Entry<K, S> {
    pub(super) fn new(key: K, value: S, deadline: Moment, frequency: u8) -> Self {
        let state = AtomicU64::new(deadline & !FREQUENCY | u64::from(frequency.min(FREQUENCY_MAX)));
        Self { key, value, state }
    }

    /// Counts a hit of an entry that is not past its deadline, with a write only if that makes a
    /// difference; returns whether it was a hit.
    #[inline]
    pub(super) fn hit(&self, now: Moment) -> bool {
        let state = self.state.load(Relaxed);
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
        let _ = self.state.compare_exchange_weak(state, state + 1, Relaxed, Relaxed);
    }

    /// When it goes.
    pub(super) fn deadline(&self) -> Moment {
        let deadline = self.state.load(Relaxed) & !FREQUENCY;
        if deadline == NEVER & !FREQUENCY { NEVER } else { deadline }
    }

    pub(super) fn frequency(&self) -> u8 {
        (self.state.load(Relaxed) & FREQUENCY) as u8
    }

    pub(super) fn set_frequency(&self, frequency: u8) {
        let deadline = self.state.load(Relaxed) & !FREQUENCY;
        self.state.store(deadline | u64::from(frequency.min(FREQUENCY_MAX)), Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hits_are_counted_up_to_three_and_until_the_deadline() {
        let entry = Entry::new((), (), 1000, 0);
        for (now, hit, frequency) in
            [(0, true, 1), (999, true, 2), (1000, false, 2), (5, true, 3), (6, true, 3)]
        {
            assert_eq!((entry.hit(now), entry.frequency()), (hit, frequency), "at {now}");
        }
        entry.set_frequency(1);
        assert_eq!((entry.frequency(), entry.deadline()), (1, 1000));
    }

    #[test]
    fn a_deadline_that_never_comes_stays_so() {
        let entry = Entry::new((), (), NEVER, 0);
        assert!(entry.hit(NEVER - 10));
        assert_eq!(entry.deadline(), NEVER);
    }
}
