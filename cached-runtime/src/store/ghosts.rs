//! What is remembered of entries that were evicted: that they were there, how long ago they were last
//! known to be used, and from which queue they left. Twenty bits each. And, while a cache is small, how
//! often keys were asked for of late.

/// Cells for each entry that is stored: four bytes.
const CELLS: (usize, usize) = (8, 5);
/// So many entries are worth a cell more each.
const FEW: usize = 256;
const AGE_BITS: u32 = 7;
const AGE_MASK: u64 = (1 << AGE_BITS) - 1;
/// Ages are kept up to this, well below where they wrap; who was put there older is as old as that.
pub(super) const AGE_MAX: u64 = 96;
/// A cell has one of so many places; the oldest of them is overwritten.
const WAYS: usize = 4;

/// The cells that an entry may be in: their lower halves, and as the last word four bits for each. A cell
/// is a print of the hash, in the upper twelve bits of its lower half, and the state: four bits in the
/// rest, four in the last word.
type Set = [u16; WAYS + 1];

#[derive(Default)]
pub(super) struct Ghosts {
    sets: Vec<Set>,
}

/// What was remembered of one entry.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Ghost {
    /// In epochs.
    pub(super) age: u64,
    pub(super) left_main: bool,
}

impl Ghosts {
    /// Room for what so many entries deserve. If they have become many more, all is forgotten.
    pub(super) fn fit(&mut self, entries: usize) {
        let sets = (entries * CELLS.0 / CELLS.1 + entries.min(FEW)).div_ceil(WAYS);
        if sets > self.sets.len() + self.sets.len() / 4 {
            self.sets = vec![Set::default(); sets];
        }
    }

    /// Where an entry may be, and its print, which is never 0.
    fn set(&mut self, hash: u64) -> (Option<&mut Set>, u16) {
        let set = (((hash >> 32) * self.sets.len() as u64) >> 32) as usize;
        (self.sets.get_mut(set), ((hash & 0xfff) as u16).max(1))
    }

    /// What is remembered of a hash; it is forgotten thereby. `epoch` is the present one.
    pub(super) fn take(&mut self, hash: u64, epoch: u64) -> Option<Ghost> {
        let (set, print) = self.set(hash);
        let set = set?;
        let way = (0..WAYS).find(|way| get(set, *way).0 == print)?;
        let (_, state) = get(set, way);
        put(set, way, 0, 0);
        Some(Ghost { age: epoch.wrapping_sub(state) & AGE_MASK, left_main: state >> AGE_BITS != 0 })
    }

    pub(super) fn put(&mut self, hash: u64, epoch: u64, ghost: Ghost) {
        let (Some(set), print) = self.set(hash) else { return };
        let age = |(print, state): (u16, u64)| {
            if print == 0 { u64::MAX } else { epoch.wrapping_sub(state) & AGE_MASK }
        };
        let Some(oldest) = (0..WAYS).max_by_key(|way| age(get(set, *way))) else { return };
        let used = epoch.wrapping_sub(ghost.age.min(AGE_MAX)) & AGE_MASK;
        put(set, oldest, print, u64::from(ghost.left_main) << AGE_BITS | used);
    }
}

/// The print and the state of a cell.
fn get(set: &Set, way: usize) -> (u16, u64) {
    let (low, high) = (set[way], set[WAYS] >> (way * 4) & 15);
    (low >> 4, u64::from(low & 15 | high << 4))
}

fn put(set: &mut Set, way: usize, print: u16, state: u64) {
    let (low, high) = ((state & 15) as u16, (state >> 4 & 15) as u16);
    set[way] = print << 4 | low;
    set[WAYS] = set[WAYS] & !(15 << (way * 4)) | high << (way * 4);
}

/// About how often keys were asked for of late, as a miss or a hit that came to notice. There is nothing
/// in it where there are many entries: they would need much memory, and recency tells enough.
///
/// A count-min sketch with conservative update: Estan, Varghese: “New directions in traffic measurement
/// and accounting”, SIGCOMM 2002.
#[derive(Default)]
pub(super) struct Counts {
    counters: Vec<u8>,
    /// The miss with which all of them become smaller.
    fade: u64,
}

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

impl Counts {
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
    use proptest::prelude::*;

    use super::*;
    use crate::store::cases;

    fn hash(n: u64) -> u64 {
        n.wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }

    #[test]
    fn a_ghost_is_remembered_once_with_its_age() {
        let mut ghosts = Ghosts::default();
        ghosts.put(hash(1), 5, Ghost { age: 1, left_main: true });
        assert_eq!(ghosts.take(hash(1), 5), None, "there is no room before somebody asks for it");
        ghosts.fit(100);
        for left_main in [false, true] {
            ghosts.put(hash(1), 1000, Ghost { age: 3, left_main });
            assert_eq!(ghosts.take(hash(1), 1010), Some(Ghost { age: 13, left_main }));
            assert_eq!(ghosts.take(hash(1), 1010), None);
        }
    }

    #[test]
    fn the_oldest_make_room_for_the_newest() {
        let mut ghosts = Ghosts::default();
        ghosts.fit(1000);
        for n in 0..10_000 {
            ghosts.put(hash(n), n / 100, Ghost { age: 0, left_main: false });
        }
        let known = |ghosts: &mut Ghosts, range: std::ops::Range<u64>| {
            range.filter(|n| ghosts.take(hash(*n), 99).is_some()).count()
        };
        assert!(known(&mut ghosts, 9_500..10_000) > 400);
        assert!(known(&mut ghosts, 0..5_000) < 500);
    }

    #[test]
    fn who_is_asked_for_often_counts_more_until_that_is_long_ago() {
        let mut counts = Counts::default();
        counts.fit(100);
        let mut now = 0;
        let mut miss = |counts: &mut Counts, n| {
            now += 1;
            counts.miss(hash(n), now, 100);
        };
        (0..5).for_each(|_| miss(&mut counts, 1));
        counts.hits(2, || Some(hash(2)));
        assert!(counts.is_more_frequent(hash(1), || Some(hash(2))));
        assert!(!counts.is_more_frequent(hash(2), || Some(hash(1))));
        assert!(counts.is_more_frequent(hash(2), || None), "who cannot be told does not count");
        for n in 0..5000 {
            miss(&mut counts, 10 + n % 200);
        }
        assert!(counts.is_more_frequent(hash(10), || Some(hash(1))));
    }

    #[test]
    fn nothing_is_counted_where_there_are_many_entries() {
        let mut counts = Counts::default();
        for (entries, counted) in [(0, false), (2, true), (512, true), (513, false), (7, true)] {
            counts.fit(entries);
            counts.hits(3, || Some(hash(1)));
            assert_eq!(counts.get(hash(1)) > 0, counted, "with {entries} entries");
            assert!(counts.counters.len() <= COUNTERS_MAX);
        }
    }

    proptest! {
        #![proptest_config(cases(64))]
        #[test]
        fn what_is_recalled_was_put_there_and_not_taken_since(
            steps in prop::collection::vec((any::<bool>(), 0..60_u64, 0..200_u64, any::<bool>(), 0..3_u64), 0..300),
            entries in 0..60_usize,
        ) {
            let mut ghosts = Ghosts::default();
            ghosts.fit(entries);
            // All that were put there and may still be: with the epoch of their last use.
            let mut model: Vec<((u64, u16), u64, bool)> = Vec::new();
            let mut epoch = 1000;
            for (put, n, age, left_main, later) in steps {
                epoch += later;
                let sets = ghosts.sets.len();
                prop_assert_eq!(sets > 0, entries > 0);
                let identity = (((hash(n) >> 32) * sets as u64) >> 32, ghosts.set(hash(n)).1);
                if put {
                    ghosts.put(hash(n), epoch, Ghost { age, left_main });
                    model.push((identity, epoch - age.min(AGE_MAX), left_main));
                    if sets > 0 && model.iter().filter(|it| it.0 == identity).count() == 1 {
                        // The newest is there whatever else is.
                        let expected = Ghost { age: age.min(AGE_MAX), left_main };
                        prop_assert_eq!(ghosts.take(hash(n), epoch), Some(expected));
                        ghosts.put(hash(n), epoch, Ghost { age, left_main });
                    }
                } else if let Some(ghost) = ghosts.take(hash(n), epoch) {
                    let put = model.iter().position(|(it, used, main)| {
                        *it == identity && *main == ghost.left_main && (epoch - used) & AGE_MASK == ghost.age
                    });
                    prop_assert!(put.is_some(), "{ghost:?} of {n}");
                    put.map(|at| model.swap_remove(at));
                }
                let cells = ghosts.sets.iter().flat_map(|set| (0..WAYS).map(|way| get(set, way)));
                let known = cells.filter(|(print, _)| *print != 0).count();
                prop_assert!(known <= model.len());
            }
        }
    }
}
