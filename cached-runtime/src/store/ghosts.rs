//! What is remembered of entries that were evicted: that they were there, how long ago they were last
//! known to be used, and from which queue they left. Twenty bits each.

/// Cells for each entry that is stored: four bytes.
const CELLS: (usize, usize) = (8, 5);
const AGE_BITS: u32 = 7;
const AGE_MASK: u64 = (1 << AGE_BITS) - 1;
/// Ages are kept up to this, well below where they wrap.
const AGE_MAX: u64 = 96;
/// A cell has one of so many places; the oldest of them is overwritten.
const WAYS: usize = 4;

/// Twelve bits of hash in the upper part of `low`, and the state: four bits in the rest of `low`, four
/// in `high`, which serves two cells.
#[derive(Default)]
pub(super) struct Ghosts {
    low: Vec<u16>,
    high: Vec<u8>,
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
        let cells = entries * CELLS.0 / CELLS.1;
        if cells > self.low.len() + self.low.len() / 4 + 16 {
            let cells = cells.next_multiple_of(WAYS);
            *self = Self { low: vec![0; cells], high: vec![0; cells / 2] };
        }
    }

    /// Where an entry may be, and its print, which is never 0.
    fn places(&self, hash: u64) -> (std::ops::Range<usize>, u16) {
        let sets = (self.low.len() / WAYS) as u64;
        let (set, print) = ((((hash >> 32) * sets) >> 32) as usize, (hash & 0xfff) as u16);
        (set * WAYS..(set + 1) * WAYS.min(self.low.len()), print.max(1))
    }

    fn get(&self, cell: usize) -> (u16, u64) {
        let (low, high) = (self.low[cell], self.high[cell / 2] >> (cell % 2 * 4) & 15);
        (low >> 4, u64::from(low & 15) | u64::from(high) << 4)
    }

    fn set(&mut self, cell: usize, print: u16, state: u64) {
        let (low, high) = ((state & 15) as u16, (state >> 4 & 15) as u8);
        self.low[cell] = print << 4 | low;
        let shift = cell % 2 * 4;
        self.high[cell / 2] = self.high[cell / 2] & !(15 << shift) | high << shift;
    }

    /// What is remembered of a hash; it is forgotten thereby. `epoch` is the present one.
    pub(super) fn take(&mut self, hash: u64, epoch: u64) -> Option<Ghost> {
        let (mut cells, print) = self.places(hash);
        let cell = cells.find(|cell| self.get(*cell).0 == print)?;
        let (_, state) = self.get(cell);
        self.set(cell, 0, 0);
        Some(Ghost { age: epoch.wrapping_sub(state) & AGE_MASK, left_main: state >> AGE_BITS != 0 })
    }

    pub(super) fn put(&mut self, hash: u64, epoch: u64, ghost: Ghost) {
        let (cells, print) = self.places(hash);
        let age = |(print, state): (u16, u64)| {
            if print == 0 { u64::MAX } else { epoch.wrapping_sub(state) & AGE_MASK }
        };
        let Some(oldest) = cells.max_by_key(|cell| age(self.get(*cell))) else { return };
        let used = epoch.wrapping_sub(ghost.age.min(AGE_MAX)) & AGE_MASK;
        self.set(oldest, print, u64::from(ghost.left_main) << AGE_BITS | used);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
