//! Random numbers that are the same in every run: Marsaglia's xorshift, “Xorshift RNGs”, 2003.

pub(crate) struct Random(u64);

/// 2^64 divided by the golden ratio, and odd.
const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

/// Different numbers for different ones, far from those of their neighbours.
pub(crate) fn scattered(number: u64) -> u64 {
    number.wrapping_mul(GOLDEN)
}

impl Random {
    /// Another sequence for each seed.
    pub(crate) fn new(seed: u32) -> Self {
        Self(scattered(u64::from(seed) * 2 + 1))
    }

    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    /// One of the numbers below `limit`, which fits into 32 bits.
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        let number = ((self.next() >> 32) * limit as u64) >> 32;
        // Less than `limit`, which came from a `usize`.
        usize::try_from(number).unwrap_or_default()
    }

    /// From 0 to less than 1.
    pub(crate) fn fraction(&mut self) -> f64 {
        let number = u32::try_from(self.next() >> 32).unwrap_or_default();
        f64::from(number) / (f64::from(u32::MAX) + 1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_uniform_and_differ_between_seeds() {
        let picked = |seed| {
            let mut random = Random::new(seed);
            (0..4000).map(|_| random.below(4)).collect::<Vec<_>>()
        };
        for key in 0..4 {
            let count = picked(0).iter().filter(|it| **it == key).count();
            assert!((900..1100).contains(&count), "{key}: {count}");
        }
        assert_ne!(picked(0), picked(1));
        assert!(!picked(0).contains(&4));
    }

    #[test]
    fn fractions_fill_the_unit_interval() {
        let mut random = Random::new(0);
        let fractions: Vec<_> = (0..4000).map(|_| random.fraction()).collect();
        assert!(fractions.iter().all(|it| (0.0..1.0).contains(it)));
        let low = fractions.iter().filter(|it| **it < 0.25).count();
        assert!((900..1100).contains(&low), "{low}");
    }
}
