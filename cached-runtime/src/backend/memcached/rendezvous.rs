//! Which server a key is on: the one with the highest score (Thaler and Ravishankar, "A Name-Based Mapping
//! Scheme for Rendezvous", 1996).
//!
//! Every process must come to the same answer, of whatever build and release. So the hash is a published one,
//! XXH3 of 64 bits, and a server's name is all that goes into it: the order in which servers are listed is
//! not.

use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

/// What a server's name adds to the scores of keys.
pub(super) fn seed(name: &str) -> u64 {
    xxh3_64(name.as_bytes())
}

/// How much a key wants to be on a server.
fn score(key: &str, seed: u64) -> u64 {
    xxh3_64_with_seed(key.as_bytes(), seed)
}

/// The server, of those with these seeds, that a key is on: the first in the order of its scores that is
/// `good`. Whether one is, is asked only of those before it in that order, and of itself.
pub(super) fn choose(key: &str, seeds: &[u64], mut good: impl FnMut(usize) -> bool) -> Option<usize> {
    let ranked = |index: &usize| (score(key, seeds[*index]), seeds[*index]);
    let best = (0..seeds.len()).max_by_key(ranked)?;
    if good(best) {
        return Some(best);
    }
    let mut others: Vec<usize> = (0..seeds.len()).filter(|index| *index != best).collect();
    others.sort_by_key(ranked);
    others.into_iter().rev().find(|index| good(*index))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The bytes 0, 1, 2, …
    fn counting(length: u8) -> Vec<u8> {
        (0..length).collect()
    }

    /// As the reference implementation has them.
    #[test]
    fn the_hash_is_the_published_one() {
        assert_eq!(xxh3_64(b""), 0x2D06_8005_38D3_94C2);
        for (length, seed, expected) in [
            (3, 0, 6_864_218_090_047_839_419_i64),
            (8, 31, -5_301_042_565_225_696_800),
            (16, 0, -8_983_023_575_487_778_597),
            (17, 31, 2_076_895_542_453_216_941),
            (128, 0, -8_807_326_403_944_725_397),
            (129, 31, -2_042_564_055_962_608_839),
            (240, 0, 3_988_562_325_861_820_517),
            (241, 31, -6_630_060_899_166_563_120),
        ] {
            let hash = xxh3_64_with_seed(&counting(length), seed);
            assert_eq!(hash, u64::from_ne_bytes(expected.to_ne_bytes()), "{length} bytes");
        }
    }

    fn seeds(names: &[&str]) -> Vec<u64> {
        names.iter().map(|name| seed(name)).collect()
    }

    const NAMES: [&str; 4] = ["10.0.0.1:11211", "10.0.0.2:11211", "10.0.0.3:11211", "10.0.0.4:11211"];

    /// A change here moves every key of every cache that is in use.
    #[test]
    fn keys_stay_where_they_are() {
        let seeds = seeds(&NAMES);
        let places: Vec<_> = (0..16).filter_map(|n| choose(&format!("key:{n}"), &seeds, |_| true)).collect();
        assert_eq!(places, [1, 1, 2, 2, 1, 1, 1, 1, 3, 0, 3, 1, 2, 3, 1, 2]);
    }

    #[test]
    fn keys_are_spread_and_few_move() {
        let all = seeds(&NAMES);
        let fewer = seeds(&NAMES[..3]);
        let mut counts = [0_u32; 4];
        for n in 0..10_000 {
            let key = format!("key:{n}");
            let place = choose(&key, &all, |_| true).unwrap();
            counts[place] += 1;
            let without_last = choose(&key, &fewer, |_| true).unwrap();
            assert!(place == 3 || place == without_last, "only the keys of a lost server move");
            let with_last_down = choose(&key, &all, |index| index != 3);
            assert_eq!(with_last_down, Some(without_last), "down is as if it were not listed");
        }
        assert!(counts.iter().all(|count| (2300..2700).contains(count)), "{counts:?}");
        assert_eq!(choose("key", &all, |_| false), None);
        assert_eq!(choose("key", &[], |_| true), None);
    }

    #[test]
    fn the_order_of_the_list_does_not_matter() {
        let mut reversed = NAMES;
        reversed.reverse();
        let (one, other) = (seeds(&NAMES), seeds(&reversed));
        for n in 0..100 {
            let key = format!("key:{n}");
            let (one, other) = (choose(&key, &one, |_| true), choose(&key, &other, |_| true));
            assert_eq!(one.map(|it| NAMES[it]), other.map(|it| reversed[it]));
        }
    }
}
