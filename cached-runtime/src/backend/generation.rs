//! The generation of a function, or of a tag: a random number in the backend, new after each `clear`, or each
//! invalidation. What was begun under another one is a miss. No clock takes part in this but that of each process,
//! which says for how long it believes what it has read.

use std::hash::{BuildHasher, RandomState};
use std::process;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use parking_lot::Mutex;

use super::envelope::Wall;
use super::name;
use crate::clock::{Moment, nanoseconds};

/// For so long a generation is believed to be the current one.
const BELIEVED: Duration = Duration::from_secs(1);

/// What one process knows of one generation.
pub(crate) struct Generation {
    /// What it is called in the backend.
    pub(crate) key: String,
    known: Mutex<Known>,
}

#[derive(Default)]
struct Known {
    number: u128,
    /// Believed until then; zero if none is.
    until: Moment,
    /// How often it was renewed or told here, or doubted: what was asked for before is not learned after.
    changes: u64,
    /// It is the current one, but the backend may not know it yet.
    is_owed: bool,
    /// So many tell the backend at this moment, perhaps of different ones.
    telling: u32,
}

impl Generation {
    pub(crate) fn new(key: String) -> Self {
        Self { key, known: Mutex::default() }
    }

    /// The number that is believed to be the current one, if one is and the backend knows it.
    pub(crate) fn believed(&self, now: Moment) -> Option<u128> {
        let known = self.known.lock();
        (now < known.until && !known.is_owed).then_some(known.number)
    }

    /// The backend is to be asked, whatever is believed; this goes with the answer.
    pub(crate) fn ask(&self) -> u64 {
        self.known.lock().changes
    }

    /// Takes note of what the backend has; returns the number that holds.
    pub(crate) fn learn(&self, number: u128, asked: u64, now: Moment) -> u128 {
        let mut known = self.known.lock();
        if known.changes == asked && known.telling == 0 && !known.is_owed {
            known.number = number;
            known.until = now.saturating_add(nanoseconds(BELIEVED));
        } else if known.until == 0 && !known.is_owed {
            // It is all that is known.
            return number;
        }
        known.number
    }

    /// A new one, which the backend is to be told.
    pub(crate) fn renew(&self) {
        let number = random();
        let mut known = self.known.lock();
        known.number = number;
        known.changes += 1;
        known.is_owed = true;
    }

    pub(crate) fn is_owed(&self) -> bool {
        self.known.lock().is_owed
    }

    /// Another process may have renewed it: what is believed, or being asked for, may be from before.
    pub(crate) fn doubt(&self) {
        let mut known = self.known.lock();
        known.until = 0;
        known.changes += 1;
    }

    /// What the backend is to be told, if it is.
    pub(crate) fn owed(&self) -> Option<Telling<'_>> {
        let mut known = self.known.lock();
        known.is_owed.then(|| {
            known.telling += 1;
            Telling { generation: self, number: known.number, changes: known.changes, told: None }
        })
    }
}

/// The backend is being told. Until it is known that it was, and of the current one, that is owed.
pub(crate) struct Telling<'a> {
    generation: &'a Generation,
    pub(crate) number: u128,
    /// As of when it began.
    changes: u64,
    told: Option<Moment>,
}

impl Telling<'_> {
    pub(crate) fn done(mut self, now: Moment) {
        self.told = Some(now);
    }
}

impl Drop for Telling<'_> {
    fn drop(&mut self) {
        let mut known = self.generation.known.lock();
        known.telling -= 1;
        let is_doubted = known.changes != self.changes;
        known.changes += 1;
        // Another one may have been written over the current one.
        known.is_owed = known.number != self.number || known.is_owed && self.told.is_none();
        // Where it was doubted meanwhile, another process may have told another one since.
        if let Some(now) = self.told.filter(|_| !known.is_owed && !is_doubted) {
            known.until = now.saturating_add(nanoseconds(BELIEVED));
        }
    }
}

/// What an entry is written under that depends on generations of these numbers: one alone is that itself.
pub(crate) fn combined(mut numbers: impl Iterator<Item = u128>) -> u128 {
    let first = numbers.next().unwrap_or_default();
    let Some(second) = numbers.next() else { return first };
    let all: Vec<[u8; 16]> = [first, second].into_iter().chain(numbers).map(u128::to_le_bytes).collect();
    name::hash(all.as_flattened())
}

/// Whether a generation that ends then is to be written anew, to live for this time.
pub(crate) fn is_ending(expires: Option<Wall>, now: Wall, life: Option<Duration>) -> bool {
    let is_short = |left: Wall| life.is_none_or(|life| u128::from(left) < life.as_millis() / 2);
    expires.is_some_and(|expires| is_short(expires.saturating_sub(now)))
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

    fn generation() -> Generation {
        Generation::new(String::new())
    }

    #[test]
    fn what_was_read_is_believed_for_a_second() {
        let generation = generation();
        assert_eq!(generation.believed(5), None);
        assert_eq!(generation.learn(7, generation.ask(), 5), 7);
        assert_eq!(generation.believed(4 + SECOND), Some(7));
        assert_eq!(generation.believed(5 + SECOND), None);
    }

    #[test]
    fn a_new_one_holds_at_once_and_is_owed_until_told() {
        let generation = generation();
        let asked = generation.ask();
        generation.learn(7, asked, 5);
        generation.renew();
        let telling = generation.owed().expect("it is owed");
        let new = telling.number;
        assert_eq!(generation.learn(7, asked, 6), new, "what was asked before");
        assert_eq!(generation.learn(7, generation.ask(), 6), new, "what was asked meanwhile");
        assert_eq!(generation.believed(6), None);
        let asked = generation.ask();
        drop(telling);
        assert_eq!(generation.learn(7, asked, 6), new, "it was not told");
        generation.owed().expect("it is still owed").done(6);
        assert!(!generation.is_owed());
        assert_eq!(generation.learn(7, asked, 6), new, "what was asked before it was told");
        assert_eq!((generation.believed(5 + SECOND), generation.believed(6 + SECOND)), (Some(new), None));
        assert_eq!(generation.learn(8, generation.ask(), 6), 8, "of another process");
    }

    #[test]
    fn what_was_told_last_is_the_current_one() {
        let generation = generation();
        generation.renew();
        let late = generation.owed().expect("it is owed");
        generation.renew();
        let current = generation.owed().expect("it is owed");
        let number = current.number;
        current.done(5);
        assert!(!generation.is_owed());
        // It may have been written over the other.
        assert_eq!(generation.learn(late.number, generation.ask(), 5), number);
        late.done(5);
        assert_eq!(generation.owed().map(|it| it.number), Some(number));
    }

    #[test]
    fn a_combination_differs_with_each_number_and_their_order() {
        assert_eq!(combined([7].into_iter()), 7);
        let all = [vec![7, 8], vec![8, 7], vec![7, 9], vec![7, 8, 8], vec![7]];
        let combinations: HashSet<u128> = all.into_iter().map(|it| combined(it.into_iter())).collect();
        assert_eq!(combinations.len(), 5);
    }

    #[test]
    fn what_has_lived_half_of_its_life_is_ending() {
        let life = Some(Duration::from_millis(100));
        for (expires, life, expected) in [
            (Some(1050), life, false),
            (Some(1049), life, true),
            (Some(900), life, true),
            (None, life, false),
            (Some(1050), None, true),
            (None, None, false),
        ] {
            assert_eq!(is_ending(expires, 1000, life), expected, "{expires:?} {life:?}");
        }
    }

    #[test]
    fn what_is_doubted_is_asked_for_anew_and_not_learned_from_what_was_asked_before() {
        let generation = generation();
        let before = generation.ask();
        generation.learn(7, before, 5);
        generation.doubt();
        assert_eq!(generation.believed(6), None);
        assert_eq!(generation.learn(8, before, 6), 8, "it is all that is known");
        assert_eq!(generation.believed(6), None);
        assert_eq!(generation.learn(9, generation.ask(), 6), 9);
        assert_eq!(generation.learn(8, before, 6), 9);
        assert_eq!(generation.believed(6), Some(9));
        generation.renew();
        let telling = generation.owed().expect("it is owed");
        generation.doubt();
        telling.done(6);
        assert!(!generation.is_owed());
        assert_eq!(generation.believed(6), None, "another process may have told another one");
    }

    #[test]
    fn random_numbers_differ() {
        assert_eq!((0..1000).map(|_| random()).collect::<HashSet<_>>().len(), 1000);
    }
}
