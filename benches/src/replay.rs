//! How many requests of a trace are hits, by who decides what is kept.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::hint::black_box;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Mutex, PoisonError};

use crate::caches;

/// Takes the requests and a capacity.
pub(crate) type Replay = fn(&[u32], usize) -> usize;

/// What nobody can surpass: Belady's choice, “A study of replacement algorithms for a virtual-storage
/// computer”, 1966. What is used again last goes first, even if it has just come.
pub(crate) fn optimum(requests: &[u32], capacity: usize) -> usize {
    let next_uses = next_uses(requests);
    // Who is kept, by when it is used next; so the request at `now` is a hit if its key is noted for now.
    let mut kept = BTreeSet::new();
    let mut hits = 0;
    for (now, (key, next)) in requests.iter().zip(next_uses).enumerate() {
        hits += usize::from(kept.remove(&(now, *key)));
        kept.insert((next, *key));
        if kept.len() > capacity {
            kept.pop_last();
        }
    }
    hits
}

/// For each request when its key is requested next.
fn next_uses(requests: &[u32]) -> Vec<usize> {
    let mut seen = HashMap::new();
    let backwards = requests.iter().enumerate().rev();
    let mut uses: Vec<_> = backwards.map(|(now, key)| seen.insert(key, now).unwrap_or(usize::MAX)).collect();
    uses.reverse();
    uses
}

/// What was used least recently goes first. This is what `cached` does.
pub(crate) fn lru(requests: &[u32], capacity: usize) -> usize {
    let (mut last_uses, mut kept) = (HashMap::new(), BTreeMap::new());
    let mut hits = 0;
    for (now, key) in requests.iter().enumerate() {
        if let Some(last) = last_uses.insert(key, now) {
            kept.remove(&last);
            hits += 1;
        } else if kept.len() == capacity
            && let Some((_, oldest)) = kept.pop_first()
        {
            last_uses.remove(oldest);
        }
        kept.insert(now, key);
    }
    hits
}

/// It decides after each insert what goes.
pub(crate) fn moka(requests: &[u32], capacity: usize) -> usize {
    replay_moka(requests, capacity, moka::sync::Cache::run_pending_tasks)
}

/// It decides when it likes, and has more entries than it may until then.
pub(crate) fn moka_lazy(requests: &[u32], capacity: usize) -> usize {
    replay_moka(requests, capacity, |_| ())
}

fn replay_moka(requests: &[u32], capacity: usize, tend: fn(&moka::sync::Cache<u32, ()>)) -> usize {
    let cache = moka::sync::Cache::new(capacity as u64);
    let insert = |key| {
        cache.insert(key, ());
        tend(&cache);
    };
    count_hits(requests, |key| cache.get(key).is_some(), insert)
}

pub(crate) fn quick_cache(requests: &[u32], capacity: usize) -> usize {
    let cache = caches::quick_cache(capacity);
    count_hits(requests, |key| cache.get(key).is_some(), |key| cache.insert(key, ()))
}

/// Of a cache that is asked for each key, and given those that it does not have.
fn count_hits(requests: &[u32], has: impl Fn(&u32) -> bool, insert: impl Fn(u32)) -> usize {
    let is_hit = |key: &&u32| {
        let found = has(key);
        if !found {
            insert(**key);
        }
        found
    };
    requests.iter().filter(is_hit).count()
}

/// An attribute takes a literal; so the capacity is in parts of an entry, and each entry weighs as many
/// of them as leave room for those that there shall be.
static WEIGHT: AtomicUsize = AtomicUsize::new(1);
const PARTS: usize = 1_000_000_000_000;

#[cached_runtime::cached(timeout = 3600, capacity = 1_000_000_000_000, weigh = |_| WEIGHT.load(Relaxed))]
fn function(key: u32) -> u32 {
    key
}

pub(crate) fn ours(requests: &[u32], capacity: usize) -> usize {
    let (hits, _entries) = through_the_store(requests, capacity);
    hits
}

/// The hits, and the entries that are there at the end.
fn through_the_store(requests: &[u32], capacity: usize) -> (usize, u64) {
    // There is one function, and it has one weight.
    static TURN: Mutex<()> = Mutex::new(());
    let _turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    WEIGHT.store(PARTS / capacity, Relaxed);
    function::clear();
    let before = function::stats().hits;
    for key in requests {
        black_box(function(*key));
    }
    let stats = function::stats();
    (usize::try_from(stats.hits - before).unwrap_or_default(), stats.entries)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;

    /// The most hits that any choices can give, by trying all of them.
    fn best(requests: &[u32], capacity: u32, kept: u32) -> usize {
        let Some((key, rest)) = requests.split_first() else { return 0 };
        let with = kept | 1 << key;
        if kept == with {
            return 1 + best(rest, capacity, kept);
        }
        if with.count_ones() <= capacity {
            return best(rest, capacity, with);
        }
        let choices = (0..u32::BITS).filter(|victim| with & (1 << victim) != 0);
        choices.map(|victim| best(rest, capacity, with & !(1 << victim))).max().unwrap_or_default()
    }

    #[test]
    fn nothing_is_better_than_the_optimum_and_it_can_be_reached() {
        for seed in 0..50 {
            let mut random = Random::new(seed);
            let requests: Vec<_> = (0..11).map(|_| u32::try_from(random.below(5)).unwrap_or(0)).collect();
            for capacity in [1_u8, 2, 3] {
                let best = best(&requests, u32::from(capacity), 0);
                assert_eq!(optimum(&requests, usize::from(capacity)), best, "{requests:?}");
            }
        }
    }

    #[test]
    fn lru_forgets_what_was_not_used_for_longest() {
        for (requests, capacity, hits) in [
            (&[1, 2, 1, 3, 1, 2][..], 2, 2),
            (&[1, 2, 3, 1, 2, 3], 2, 0),
            (&[1, 2, 3, 1, 2, 3], 3, 3),
            (&[1, 1, 1], 1, 2),
            (&[], 1, 0),
        ] {
            assert_eq!(lru(requests, capacity), hits, "{requests:?}");
        }
    }

    #[test]
    fn everybody_hits_what_fits() {
        let requests: Vec<_> = (0..32).cycle().take(320).collect();
        for replay in [optimum, lru, moka, moka_lazy, quick_cache, ours] {
            assert_eq!(replay(&requests, 64), 320 - 32);
        }
    }

    #[test]
    fn weights_make_the_capacity_that_is_asked_for() {
        #[cached_runtime::cached(timeout = 3600, capacity = 90)]
        fn literal(key: u32) -> u32 {
            key
        }
        let mut random = Random::new(0);
        let requests: Vec<_> = (0..20_000)
            .map(|_| u32::try_from(random.below(100) * random.below(10)).unwrap_or(0))
            .inspect(|key| _ = literal(*key))
            .collect();
        let (hits, entries) = through_the_store(&requests, 90);
        assert_eq!(entries, 90);
        let expected = usize::try_from(literal::stats().hits).expect("there were few");
        // Hashes are seeded at random, which makes them differ by up to a twentieth or so.
        assert!(hits.abs_diff(expected) <= expected / 8, "{hits} hits instead of {expected}");
        for other in [60, 135] {
            let hits = ours(&requests, other);
            assert!(hits.abs_diff(expected) > expected / 8, "{hits} hits with {other}, {expected} with 90");
        }
        for capacity in [1, 16, 864, 17_293, 1_000_000] {
            assert_eq!(PARTS / (PARTS / capacity), capacity);
        }
    }
}
