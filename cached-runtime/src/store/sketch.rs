//! About how often keys were asked for of late, as a miss or a hit that came to notice. There is nothing
//! in it where there are many entries: they would need much memory, and recency tells enough.
//!
//! A count-min sketch with conservative update: Estan, Varghese: “New directions in traffic measurement
//! and accounting”, SIGCOMM 2002.

/// Counters for each entry and in all, and for how many entries.
const COUNTERS: usize = 32;
const COUNTERS_MAX: usize = 4096;
const COUNTED_MAX: usize = 512;
/// Of which those of one key are so many.
const ROWS: u32 = 4;
/// What a miss and a hit count.
const MISS: u8 = 16;
const HIT: u8 = 8;
/// An eighth of each counter goes in every 5 / 2 times as many misses as there are entries.
const FADING: (u64, u64) = (5, 2);

/// See the module.
#[derive(Default)]
pub(super) struct Sketch {
    counters: Vec<u8>,
    /// The miss with which all of them become smaller.
    fade: u64,
}

impl Sketch {
    pub(super) fn fit(&mut self, entries: usize) {
        let counters = if entries > COUNTED_MAX { 0 } else { (entries * COUNTERS).min(COUNTERS_MAX) };
        if counters == 0 || counters > self.counters.len() + self.counters.len() / 4 {
            self.counters = vec![0; counters];
        }
    }

    fn places(&self, hash: u64) -> impl Iterator<Item = usize> + use<> {
        let counters = self.counters.len() as u64;
        (0..ROWS).map(move |row| (((hash >> (row * 16) & 0xffff) * counters) >> 16) as usize)
    }

    fn get(&self, hash: u64) -> u8 {
        self.places(hash).filter_map(|place| self.counters.get(place)).copied().min().unwrap_or(0)
    }

    fn add(&mut self, hash: u64, more: u8) {
        let count = self.get(hash).saturating_add(more);
        for place in self.places(hash) {
            if let Some(counter) = self.counters.get_mut(place) {
                *counter = count.max(*counter);
            }
        }
    }

    /// Counts a miss, the `now`-th, while there are so many entries.
    pub(super) fn miss(&mut self, hash: u64, now: u64, entries: u64) {
        if self.counters.is_empty() {
            return;
        }
        if now >= self.fade {
            self.fade = now + (entries * FADING.0 / FADING.1).max(4);
            self.counters.iter_mut().for_each(|counter| *counter -= counter.div_ceil(8));
        }
        self.add(hash, MISS);
    }

    /// Counts the hits of an entry.
    pub(super) fn hits(&mut self, hits: u8, hash: impl FnOnce() -> Option<u64>) {
        if !self.counters.is_empty()
            && let Some(hash) = hash()
        {
            self.add(hash, hits.saturating_mul(HIT));
        }
    }

    /// Whether a key was asked for clearly more often than another, as far as that can be told.
    pub(super) fn is_more_frequent(&self, hash: u64, other: impl FnOnce() -> Option<u64>) -> bool {
        let count = |hash| u32::from(self.get(hash));
        self.counters.is_empty() || other().is_none_or(|other| count(hash) * 5 >= count(other) * 6)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(n: u64) -> u64 {
        n.wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }

    #[test]
    fn who_is_asked_for_often_sketch_more_until_that_is_long_ago() {
        let mut sketch = Sketch::default();
        sketch.fit(100);
        let mut now = 0;
        let mut miss = |sketch: &mut Sketch, n| {
            now += 1;
            sketch.miss(hash(n), now, 100);
        };
        (0..5).for_each(|_| miss(&mut sketch, 1));
        sketch.hits(2, || Some(hash(2)));
        assert!(sketch.is_more_frequent(hash(1), || Some(hash(2))));
        assert!(!sketch.is_more_frequent(hash(2), || Some(hash(1))));
        assert!(sketch.is_more_frequent(hash(2), || None), "who cannot be told does not count");
        for n in 0..5000 {
            miss(&mut sketch, 10 + n % 200);
        }
        assert!(sketch.is_more_frequent(hash(10), || Some(hash(1))));
    }

    #[test]
    fn nothing_is_counted_where_there_are_many_entries() {
        let mut sketch = Sketch::default();
        for (entries, counted) in [(0, false), (2, true), (512, true), (513, false), (7, true)] {
            sketch.fit(entries);
            sketch.hits(3, || Some(hash(1)));
            assert_eq!(sketch.get(hash(1)) > 0, counted, "with {entries} entries");
            assert!(sketch.counters.len() <= COUNTERS_MAX);
        }
    }
}
