//! Which entry goes when there is no room: S3-FIFO (Yang, Zhang, Qiu, Yue, Rashmi: “FIFO queues are
//! all you need for cache eviction”, SOSP 2023).
//!
//! New entries wait in a small queue. Those hit meanwhile move on to the main queue, the others are
//! evicted, but their hash is remembered for a while: an entry that comes back within that time goes
//! straight to the main queue. There each hit buys another round, up to three.

use std::collections::VecDeque;

use hashbrown::HashSet;

/// The most hits that count.
pub(super) const FREQUENCY_MAX: u8 = 3;

/// The number of an entry in its table.
pub(super) type Id = u32;

const NOBODY: Id = Id::MAX;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Queue {
    Small,
    Main,
}

/// An entry's place in its queue, and its weight.
#[derive(Clone, Copy)]
struct Link {
    newer: Id,
    older: Id,
    queue: Queue,
    weight: usize,
}

/// A queue as a doubly linked list through the links, oldest first out.
struct Fifo {
    newest: Id,
    oldest: Id,
    weight: usize,
}

impl Fifo {
    const EMPTY: Self = Self { newest: NOBODY, oldest: NOBODY, weight: 0 };
}

/// The hashes of entries evicted from the small queue, oldest first.
#[derive(Default)]
struct Ghost {
    order: VecDeque<u64>,
    hashes: HashSet<u64, foldhash::fast::FixedState>,
}

impl Ghost {
    fn remember(&mut self, hash: u64, most: usize) {
        if self.hashes.insert(hash) {
            self.order.push_back(hash);
        }
        while self.order.len() > most {
            if let Some(oldest) = self.order.pop_front() {
                self.hashes.remove(&oldest);
            }
        }
    }

    fn recalls(&self, hash: u64) -> bool {
        self.hashes.contains(&hash)
    }
}

/// Many functions never have more than one entry: a vector would begin with room for four.
pub(super) fn reserve_one<T>(vector: &mut Vec<T>) {
    if vector.capacity() == 0 {
        vector.reserve_exact(1);
    }
}

/// What eviction asks of the entries.
pub(super) trait Entries {
    /// How often the entry was hit, at most [`FREQUENCY_MAX`].
    fn frequency(&self, id: Id) -> u8;
    fn set_frequency(&self, id: Id, frequency: u8);
    fn hash(&self, id: Id) -> u64;
}

/// The order in which the entries of one table are evicted.
pub(super) struct Eviction {
    links: Vec<Link>,
    small: Fifo,
    main: Fifo,
    /// None until something is evicted.
    ghost: Option<Box<Ghost>>,
    len: usize,
}

impl Eviction {
    pub(super) fn new() -> Self {
        Self { links: Vec::new(), small: Fifo::EMPTY, main: Fifo::EMPTY, ghost: None, len: 0 }
    }

    /// The weight of all entries.
    pub(super) fn weight(&self) -> usize {
        self.small.weight + self.main.weight
    }

    pub(super) fn weight_of(&self, id: Id) -> usize {
        self.links[id as usize].weight
    }

    /// Takes up a new entry.
    pub(super) fn insert(&mut self, id: Id, hash: u64, weight: usize) {
        let queue = if self.ghost.as_ref().is_some_and(|ghost| ghost.recalls(hash)) {
            Queue::Main
        } else {
            Queue::Small
        };
        let link = Link { newer: NOBODY, older: NOBODY, queue, weight };
        let at = id as usize;
        if at == self.links.len() {
            reserve_one(&mut self.links);
            self.links.push(link);
        } else {
            self.links[at] = link;
        }
        self.push(id, queue);
        self.len += 1;
    }

    /// Gives an entry another weight, in its old place.
    pub(super) fn reweigh(&mut self, id: Id, weight: usize) {
        let Link { queue, weight: old, .. } = self.links[id as usize];
        self.links[id as usize].weight = weight;
        let fifo = self.fifo(queue);
        fifo.weight = fifo.weight - old + weight;
    }

    /// Lets go of an entry.
    pub(super) fn remove(&mut self, id: Id) {
        self.unlink(id);
        self.len -= 1;
    }

    /// The entry to evict next, if there is any; it stays until it is removed.
    pub(super) fn victim(&mut self, capacity: usize, entries: &impl Entries) -> Option<Id> {
        loop {
            let small_is_over = self.small.weight > capacity / 10;
            let candidate = if small_is_over || self.main.oldest == NOBODY {
                self.small.oldest
            } else {
                self.main.oldest
            };
            if candidate == NOBODY {
                return None;
            }
            let frequency = entries.frequency(candidate);
            match (self.links[candidate as usize].queue, frequency) {
                (Queue::Small, 0) => {
                    self.ghost.get_or_insert_default().remember(entries.hash(candidate), self.len);
                    return Some(candidate);
                }
                (Queue::Small, _) => {
                    entries.set_frequency(candidate, 0);
                    self.move_to_main(candidate);
                }
                (Queue::Main, 0) => return Some(candidate),
                (Queue::Main, _) => {
                    entries.set_frequency(candidate, frequency - 1);
                    self.move_to_main(candidate);
                }
            }
        }
    }

    fn move_to_main(&mut self, id: Id) {
        self.unlink(id);
        self.push(id, Queue::Main);
    }

    fn fifo(&mut self, queue: Queue) -> &mut Fifo {
        match queue {
            Queue::Small => &mut self.small,
            Queue::Main => &mut self.main,
        }
    }

    fn push(&mut self, id: Id, queue: Queue) {
        let weight = self.links[id as usize].weight;
        let fifo = self.fifo(queue);
        let older = std::mem::replace(&mut fifo.newest, id);
        fifo.weight += weight;
        if older == NOBODY {
            fifo.oldest = id;
        } else {
            self.links[older as usize].newer = id;
        }
        self.links[id as usize] = Link { newer: NOBODY, older, queue, weight };
    }

    fn unlink(&mut self, id: Id) {
        let Link { newer, older, queue, weight } = self.links[id as usize];
        if newer == NOBODY {
            self.fifo(queue).newest = older;
        } else {
            self.links[newer as usize].older = older;
        }
        if older == NOBODY {
            self.fifo(queue).oldest = newer;
        } else {
            self.links[older as usize].newer = newer;
        }
        self.fifo(queue).weight -= weight;
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;

    use super::*;

    struct Hits(RefCell<Vec<u8>>);

    impl Entries for Hits {
        fn frequency(&self, id: Id) -> u8 {
            self.0.borrow()[id as usize]
        }
        fn set_frequency(&self, id: Id, frequency: u8) {
            self.0.borrow_mut()[id as usize] = frequency;
        }
        fn hash(&self, id: Id) -> u64 {
            u64::from(id)
        }
    }

    fn filled(count: Id) -> (Eviction, Hits) {
        let mut eviction = Eviction::new();
        for id in 0..count {
            eviction.insert(id, u64::from(id), 1);
        }
        (eviction, Hits(RefCell::new(vec![0; count as usize])))
    }

    fn evict(eviction: &mut Eviction, hits: &Hits, capacity: usize) -> Option<Id> {
        let victim = eviction.victim(capacity, hits)?;
        eviction.remove(victim);
        Some(victim)
    }

    #[test]
    fn what_was_never_hit_goes_first_and_in_order() {
        let (mut eviction, hits) = filled(4);
        hits.set_frequency(0, 1);
        let order: Vec<_> = std::iter::from_fn(|| evict(&mut eviction, &hits, 4)).collect();
        assert_eq!(order, [1, 2, 3, 0]);
        assert_eq!(eviction.weight(), 0);
    }

    #[test]
    fn an_entry_that_comes_back_soon_is_not_the_first_to_go() {
        let (mut eviction, hits) = filled(3);
        assert_eq!(evict(&mut eviction, &hits, 3), Some(0));
        eviction.insert(0, 0, 1);
        assert_eq!(evict(&mut eviction, &hits, 3), Some(1));
        assert_eq!(evict(&mut eviction, &hits, 3), Some(2));
        assert_eq!(evict(&mut eviction, &hits, 3), Some(0));
    }

    #[test]
    fn the_weight_is_the_sum_of_the_weights() {
        let (mut eviction, _) = filled(3);
        eviction.reweigh(1, 10);
        assert_eq!(eviction.weight(), 12);
        eviction.remove(1);
        assert_eq!(eviction.weight(), 2);
    }
}
