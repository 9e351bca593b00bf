//! The generation of a function: a random number in the backend, new after each `clear`. What was begun under
//! another one is a miss. No clock takes part in this but that of each process, which says for how long it
//! believes what it has read.

use std::hash::{BuildHasher, RandomState};
use std::process;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;

use crate::clock::{Moment, nanoseconds};

/// For so long a generation is believed to be the current one.
const BELIEVED: Duration = Duration::from_secs(1);

/// What one process knows of the generation of one function.
pub(crate) struct Generations(Mutex<Known>);

struct Known {
    generation: u128,
    /// Believed until then; zero if none is.
    until: Moment,
    /// How often it was cleared here, or doubted: what was asked for before is not learned after.
    clears: u64,
    /// It is the current one, but the backend may not know it yet.
    is_owed: bool,
}

/// What is to be done to know the generation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Knowledge {
    /// Nothing.
    Known(u128),
    /// The backend is to be told.
    Owed(u128),
    /// The backend is to be asked; this goes with the answer.
    Asked(u64),
}

impl Generations {
    pub(crate) const fn new() -> Self {
        Self(Mutex::new(Known { generation: 0, until: 0, clears: 0, is_owed: false }))
    }

    pub(crate) fn knowledge(&self, now: Moment) -> Knowledge {
        let known = self.0.lock();
        match *known {
            Known { is_owed: true, generation, .. } => Knowledge::Owed(generation),
            Known { until, generation, .. } if now < until => Knowledge::Known(generation),
            Known { clears, .. } => Knowledge::Asked(clears),
        }
    }

    /// The backend is to be asked, whatever is believed; this goes with the answer.
    pub(crate) fn ask(&self) -> u64 {
        self.0.lock().clears
    }

    /// Takes note of what the backend has; returns the generation that holds.
    pub(crate) fn learn(&self, generation: u128, asked: u64, now: Moment) -> u128 {
        let mut known = self.0.lock();
        if known.clears == asked {
            known.generation = generation;
            known.until = now.saturating_add(nanoseconds(BELIEVED));
        } else if known.until == 0 && !known.is_owed {
            return generation;
        }
        known.generation
    }

    /// A new one, which the backend is to be told.
    pub(crate) fn renew(&self) -> u128 {
        let generation = random();
        let mut known = self.0.lock();
        known.generation = generation;
        known.clears += 1;
        known.is_owed = true;
        generation
    }

    /// Another process may have cleared it: what is believed, or being asked for, may be from before.
    pub(crate) fn doubt(&self) {
        let mut known = self.0.lock();
        known.until = 0;
        known.clears += 1;
    }

    /// The backend has been told.
    pub(crate) fn told(&self, generation: u128, now: Moment) {
        let mut known = self.0.lock();
        if known.generation == generation {
            known.is_owed = false;
            // Unless it was doubted: then another one may have been told since.
            if known.until != 0 {
                known.until = now.saturating_add(nanoseconds(BELIEVED));
            }
        }
    }
}

/// A number that no other process has: from the system's randomness, which the standard library keeps a seed
/// from, and what differs between processes that were forked from one.
pub(crate) fn random() -> u128 {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let seeds = [RandomState::new(), RandomState::new()];
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
    let input = (process::id(), now, NEXT.fetch_add(1, Relaxed));
    let [high, low] = seeds.map(|seed| seed.hash_one(input));
    u128::from(high) << 64 | u128::from(low)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn what_was_read_is_believed_for_a_second() {
        let generations = Generations::new();
        assert_eq!(generations.knowledge(5), Knowledge::Asked(0));
        assert_eq!(generations.learn(7, 0, 5), 7);
        assert_eq!(generations.knowledge(4 + SECOND), Knowledge::Known(7));
        assert_eq!(generations.knowledge(5 + SECOND), Knowledge::Asked(0));
    }

    #[test]
    fn a_new_one_holds_at_once_and_is_owed_until_told() {
        let generations = Generations::new();
        generations.learn(7, 0, 5);
        let new = generations.renew();
        assert_eq!(generations.knowledge(6), Knowledge::Owed(new));
        assert_eq!(generations.learn(7, 0, 6), new, "what was asked before");
        let newer = generations.renew();
        generations.told(new, 6);
        assert_eq!(generations.knowledge(6), Knowledge::Owed(newer), "another one was told");
        generations.told(newer, 6);
        assert_eq!(generations.knowledge(6), Knowledge::Known(newer));
        assert_eq!(generations.knowledge(6 + SECOND), Knowledge::Asked(2));
    }

    #[test]
    fn what_is_doubted_is_asked_for_anew_and_not_learned_from_what_was_asked_before() {
        let generations = Generations::new();
        generations.learn(7, 0, 5);
        generations.doubt();
        assert_eq!(generations.knowledge(6), Knowledge::Asked(1));
        assert_eq!(generations.learn(8, 0, 6), 8, "it is all that is known");
        assert_eq!(generations.knowledge(6), Knowledge::Asked(1), "and not believed");
        assert_eq!(generations.learn(9, 1, 6), 9);
        assert_eq!(generations.learn(8, 0, 6), 9);
        assert_eq!(generations.knowledge(6), Knowledge::Known(9));
        let new = generations.renew();
        generations.doubt();
        assert_eq!(generations.knowledge(6), Knowledge::Owed(new));
        generations.told(new, 6);
        assert_eq!(
            generations.knowledge(6),
            Knowledge::Asked(3),
            "another process may have told another one"
        );
    }

    #[test]
    fn random_numbers_differ() {
        assert_eq!((0..1000).map(|_| random()).collect::<HashSet<_>>().len(), 1000);
    }
}
