//! What is remembered of entries that were evicted: that they were there, how long ago they were last
//! known to be used, and from which queue they left. Twenty bits each.

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
