//! Which entry goes when there is no room.
//!
//! Newcomers wait in a window, a FIFO queue; the rest is the main queue, a FIFO with second chances.
//! Of what is evicted, its hash and when it was last used are remembered for a while. Time is counted
//! in misses, and a hit does no more than raise the entry's frequency.
//!
//! - A newcomer that is remembered, used `r` misses ago, may take the place of the main queue's oldest
//!   entry at once, if nobody has looked at that for `1.5 r` misses and it was not used since. This is
//!   the comparison that LIRS makes (Jiang, Zhang: “LIRS”, SIGMETRICS 2002); it also bounds how fast the
//!   queue turns, so that a long loop keeps a stable part of itself.
//! - In a small cache, the newcomer must also have been asked for more often of late, which is told by a
//!   sketch of counters (as in `TinyLFU`: Einziger, Friedman, Manes, TOS 2017).
//! - Entries that were used in the window, or, rarely, any, may take the place of an unused oldest one.
//! - Newcomers that a somewhat larger window would have kept ask for one, those that a somewhat larger
//!   main queue would have kept for a smaller window (as in ARC: Megiddo, Modha, FAST 2003; and
//!   Cliffhanger: Cidon et al., NSDI 2016).
//!
//! The two queues and the memory of hashes are those of S3-FIFO (Yang et al., SOSP 2023).

use super::ghosts::{AGE_MAX, Ghost, Ghosts};
use super::places::{ByPlace, Place};
use super::sketch::Sketch;

/// The most hits that count.
pub(super) const FREQUENCY_MAX: u8 = 3;

/// Epochs in as many misses as there are entries: how coarsely the age of ghosts is known.
const EPOCHS: u64 = 16;
/// How many parts of one entry the window is measured in.
const PARTS: u64 = 256;
/// By how many of them it grows for a ghost that just left it, and for one whose use was recent, but not
/// frequent enough; shrinks for one that left the main queue not long ago, and with each miss.
const WINDOW_UP: u64 = 192;
const WINDOW_UP_IF_RARE: u64 = 6;
const WINDOW_DOWN: u64 = 256;
const WINDOW_LEAK: u64 = 3;
/// Who returns “just left” the window this many misses ago, at least, or half as many epochs; and “not
/// long ago” is so many epochs.
const JUST: u64 = 3;
const NOT_LONG_AGO: u64 = 6;
/// The window's smallest and largest part of all entries, of 1024.
const WINDOW_MIN: u64 = 10;
const WINDOW_MAX: u64 = 973;
/// The oldest entry of the main queue must have been left alone for half of this many times as long as
/// the newcomer.
const GATE: u64 = 3;
/// Entries that are given a second chance for one newcomer.
const CHANCES: u32 = 8;
/// The hits in the window that are worth a place in the main queue.
const PROMOTED_AT: u8 = 2;
/// One of so many that leave the window takes the place of an entry that has been unused for long.
const RARELY: u64 = 32;

/// No place: its slot is larger than any.
const NOBODY: u32 = !Place::SPARE;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Queue {
    Window,
    Main,
}
use Queue::{Main, Window};

/// An entry's neighbours in its queue, as bits of places; which queue that is, is in a spare bit.
#[derive(Clone, Copy, Default)]
struct Link {
    newer: u32,
    older: u32,
}

impl Link {
    fn queue(self) -> Queue {
        if self.newer & Place::SPARE == 0 { Window } else { Main }
    }

    fn neighbours(self) -> [Option<Place>; 2] {
        let newer = if self.queue() == Main { self.newer ^ Place::SPARE } else { self.newer };
        [newer, self.older].map(|bits| (bits != NOBODY).then(|| Place::from_bits(bits)))
    }

    fn new(queue: Queue, newer: Option<Place>, older: Option<Place>) -> Self {
        let [newer, older] = [newer, older].map(|place| place.map_or(NOBODY, Place::bits));
        Self { newer: if queue == Main { newer | Place::SPARE } else { newer }, older }
    }
}

/// A queue, as the ends of a doubly linked list.
#[derive(Clone, Copy, Default)]
struct Fifo {
    newest: Option<Place>,
    oldest: Option<Place>,
    len: u64,
    weight: u64,
}

/// When entries were put into the main queue, one mark for several of them instead of a stamp for each.
struct Marks {
    at: [u64; 128],
    /// One for 2^shift pushes.
    shift: u32,
    pushes: u64,
}

impl Marks {
    const MOST: usize = 128;

    fn index(number: u64) -> usize {
        usize::try_from(number % Self::MOST as u64).unwrap_or(0)
    }

    /// Notes a push to a queue of so many entries.
    fn push(&mut self, now: u64, len: u64) {
        while len >> self.shift >= 96 {
            self.halve();
        }
        let number = self.pushes >> self.shift;
        if number << self.shift == self.pushes {
            self.at[Self::index(number)] = now;
        }
        self.pushes += 1;
    }

    /// Keeps every other mark.
    fn halve(&mut self) {
        let (old, newest) = (self.at, self.pushes >> self.shift);
        for number in (newest.saturating_sub(127)..=newest).filter(|number| number.is_multiple_of(2)) {
            self.at[Self::index(number / 2)] = old[Self::index(number)];
        }
        self.shift += 1;
    }

    /// When the oldest of a queue of so many entries was pushed.
    fn of_oldest(&self, len: u64) -> u64 {
        self.at[Self::index(self.pushes.saturating_sub(len) >> self.shift)]
    }
}

/// What is remembered beyond the entries themselves; not there until something is evicted.
struct Memory {
    ghosts: Ghosts,
    sketch: Sketch,
    marks: Marks,
    /// For how many entries these have room.
    fits: u64,
    /// How many [`PARTS`] of entries should be in the window.
    window: u64,
    /// The misses so far, the epochs so far, and the miss with which the next one begins.
    now: u64,
    epoch: u64,
    epoch_ends: u64,
    /// Until there has to be room.
    returned: Option<Returned>,
}

/// A newcomer that was remembered, and how many misses ago it was used.
struct Returned {
    place: Place,
    hash: u64,
    misses: u64,
}

impl Memory {
    fn new() -> Self {
        Self {
            ghosts: Ghosts::default(),
            sketch: Sketch::default(),
            marks: Marks { at: [0; Marks::MOST], shift: 0, pushes: 0 },
            fits: 0,
            window: 0,
            now: 0,
            epoch: 0,
            epoch_ends: 0,
            returned: None,
        }
    }

    /// Room for what so many entries deserve.
    fn fit(&mut self, len: u64) {
        if self.fits != len {
            self.fits = len;
            let entries = usize::try_from(len).unwrap_or(usize::MAX);
            self.ghosts.fit(entries);
            self.sketch.fit(entries);
        }
    }

    /// The misses since the oldest of so many entries of the main queue was put there.
    fn age_of_oldest(&self, in_main: u64) -> u64 {
        self.now.saturating_sub(self.marks.of_oldest(in_main))
    }

    /// Takes note of a miss while there are so many entries in the window and in the main queue.
    fn miss(&mut self, place: Place, hash: u64, in_window: u64, in_main: u64) {
        let len = in_window + in_main;
        let misses_of_an_epoch = misses_of_an_epoch(len);
        self.now += 1;
        if self.now >= self.epoch_ends {
            self.epoch += 1;
            self.epoch_ends = self.now + misses_of_an_epoch;
        }
        self.sketch.miss(hash, self.now, len);
        let (mut up, mut down) = (0, WINDOW_LEAK);
        // One whose age cannot be told any more has nothing to say.
        let ghost = self.ghosts.take(hash, self.epoch).filter(|ghost| ghost.age < AGE_MAX);
        if let Some(Ghost { age, left_main }) = ghost {
            let (queue, more) = if left_main {
                (self.age_of_oldest(in_main), misses_of_an_epoch * NOT_LONG_AGO)
            } else {
                (in_window, (misses_of_an_epoch * JUST / 2).max(JUST))
            };
            match left_main {
                _ if age * misses_of_an_epoch > queue + more => {}
                true => down += WINDOW_DOWN,
                false => up = WINDOW_UP,
            }
        }
        self.resize_window(up, down, len);
        self.returned = ghost.map(|ghost| Returned { place, hash, misses: ghost.age * misses_of_an_epoch });
    }

    fn resize_window(&mut self, up: u64, down: u64, len: u64) {
        let window = (self.window + up).saturating_sub(down);
        self.window = window.clamp(len * PARTS * WINDOW_MIN / 1024, len * PARTS * WINDOW_MAX / 1024);
    }
}

/// So that two of them can be added.
const MOST_WEIGHT: u64 = u64::MAX / 2;

fn misses_of_an_epoch(len: u64) -> u64 {
    (len / EPOCHS).max(1)
}

/// What eviction asks of the entries.
pub(super) trait Entries {
    /// How often the entry was hit, at most [`FREQUENCY_MAX`].
    fn frequency(&self, place: Place) -> u8;
    fn set_frequency(&self, place: Place, frequency: u8);
    /// Nothing if it cannot be told.
    fn hash(&self, place: Place) -> Option<u64>;
}

/// The order in which the entries of one table are evicted.
pub(super) struct Eviction {
    links: ByPlace<Link>,
    /// Where entries have weights; otherwise each weighs 1.
    weights: Option<Box<ByPlace<u64>>>,
    window: Fifo,
    main: Fifo,
    capacity: u64,
    memory: Option<Box<Memory>>,
}

impl Eviction {
    pub(super) fn new(capacity: usize, weighed: bool) -> Self {
        Self {
            links: ByPlace::new(),
            weights: weighed.then(|| Box::new(ByPlace::new())),
            window: Fifo::default(),
            main: Fifo::default(),
            capacity: (capacity as u64).min(MOST_WEIGHT),
            memory: None,
        }
    }

    /// The weight of all entries.
    pub(super) fn weight(&self) -> u64 {
        self.window.weight + self.main.weight
    }

    pub(super) fn weight_of(&self, place: Place) -> u64 {
        self.weights.as_ref().map_or(1, |weights| weights.get(place))
    }

    pub(super) fn set_capacity(&mut self, capacity: u64) {
        self.capacity = capacity;
    }

    pub(super) fn is_over(&self) -> bool {
        self.weight() > self.capacity
    }

    fn len(&self) -> u64 {
        self.window.len + self.main.len
    }

    /// Takes up a new entry.
    pub(super) fn insert(&mut self, place: Place, hash: u64, weight: usize) {
        if let Some(weights) = &mut self.weights {
            weights.set(place, (weight as u64).min(MOST_WEIGHT));
        }
        if let Some(memory) = &mut self.memory {
            memory.miss(place, hash, self.window.len, self.main.len);
        }
        self.push(Window, place);
    }

    /// Gives an entry another weight, in its old place.
    pub(super) fn reweigh(&mut self, place: Place, weight: usize) {
        let (old, weight) = (self.weight_of(place), (weight as u64).min(MOST_WEIGHT));
        let queue = self.links.get(place).queue();
        if let Some(weights) = &mut self.weights {
            weights.change(place, |it| *it = weight);
            let fifo = self.fifo(queue);
            fifo.weight = fifo.weight - old + weight;
        }
    }

    /// Lets go of an entry.
    pub(super) fn remove(&mut self, place: Place) {
        self.unlink(place);
        if let Some(memory) = &mut self.memory
            && memory.returned.as_ref().is_some_and(|returned| returned.place == place)
        {
            memory.returned = None;
        }
    }

    /// The index has moved an entry.
    pub(super) fn moved(&mut self, from: Place, to: Place) {
        let link = self.links.get(from);
        self.links.set(to, link);
        self.relink(link, Some(to));
        let weight = self.weight_of(from);
        if let Some(weights) = &mut self.weights {
            weights.set(to, weight);
        }
        if let Some(returned) = self.memory.as_mut().and_then(|memory| memory.returned.as_mut())
            && returned.place == from
        {
            returned.place = to;
        }
    }

    /// The entry to evict next, if there is any, with its hash; it stays until it is removed.
    pub(super) fn victim(&mut self, entries: &dyn Entries) -> Option<(Place, Option<u64>)> {
        let len = self.len();
        let mut memory = self.memory.take().unwrap_or_else(|| Box::new(Memory::new()));
        memory.fit(len);
        let chosen = self.choose(&mut memory, entries).map(|(victim, left_main)| {
            let hash = entries.hash(victim);
            if let Some(hash) = hash {
                let misses = if left_main { memory.age_of_oldest(self.main.len) } else { self.window.len };
                let age = misses / misses_of_an_epoch(len);
                memory.ghosts.put(hash, memory.epoch, Ghost { age, left_main });
            }
            (victim, hash)
        });
        self.memory = Some(memory);
        chosen
    }

    /// The victim, and whether it is the oldest of the main queue.
    fn choose(&mut self, memory: &mut Memory, entries: &dyn Entries) -> Option<(Place, bool)> {
        if let Some(Returned { place, hash, misses }) = memory.returned.take() {
            let limit = (misses * GATE / 2).saturating_mul(self.heaviness(place));
            if let Some(victim) = self.contest(limit, memory, entries) {
                if memory.sketch.is_more_frequent(hash, || entries.hash(victim)) {
                    self.promote(place, 0, memory, entries);
                    return Some((victim, true));
                }
                memory.resize_window(WINDOW_UP_IF_RARE, 0, self.len());
            }
        }
        // A limit over all functions may be lower than the capacity: what will be left is all there is.
        let left = self.weight().saturating_sub(self.average_weight());
        let capacity = if self.is_over() { self.capacity } else { left }.max(1);
        // Each turn promotes an entry or ends.
        loop {
            let target = self.window_target(capacity, memory);
            let is_small = self.window.weight <= target || self.window.len <= 1;
            let Some(candidate) = self.window.oldest.filter(|_| !is_small || self.main.len == 0) else {
                return self.weakest_of_main(memory, entries).map(|victim| (victim, true));
            };
            let frequency = entries.frequency(candidate);
            let with_it = self.main.weight + self.weight_of(candidate);
            if with_it <= capacity - target && self.window.len > 1 {
                // There is room in the main queue.
                self.promote(candidate, frequency.saturating_sub(1), memory, entries);
                continue;
            }
            let limit = match frequency {
                PROMOTED_AT.. => Some(0),
                0 if memory.now.is_multiple_of(RARELY) => Some((RARELY * self.len()).max(2048) / 2),
                _ => None,
            };
            if let Some(victim) = limit.and_then(|limit| self.contest(limit, memory, entries)) {
                self.promote(candidate, 0, memory, entries);
                return Some((victim, true));
            }
            if frequency > 0 && self.window.len > 1 {
                entries.set_frequency(candidate, 0);
                self.unlink(candidate);
                self.push(Window, candidate);
            }
            return self.window.oldest.map(|victim| (victim, false));
        }
    }

    /// The most weight that the window should have, of so much.
    fn window_target(&self, capacity: u64, memory: &Memory) -> u64 {
        let entries = (memory.window / PARTS).max(1);
        entries.saturating_mul(self.average_weight()).clamp(1, capacity.max(2) - 1)
    }

    fn average_weight(&self) -> u64 {
        if self.weights.is_some() { self.weight() / self.len().max(1) } else { 1 }
    }

    /// One that is heavier than others must be worth as many of them.
    fn heaviness(&self, place: Place) -> u64 {
        self.weights.as_ref().map_or(1, |weights| weights.get(place) / self.average_weight().max(1)).max(1)
    }

    /// The oldest entry of the main queue, if it has been left alone for so many misses and is unused.
    fn contest(&mut self, limit: u64, memory: &mut Memory, entries: &dyn Entries) -> Option<Place> {
        for _ in 0..CHANCES {
            let oldest = self.main.oldest.filter(|_| memory.age_of_oldest(self.main.len) >= limit)?;
            if entries.frequency(oldest) == 0 {
                return Some(oldest);
            }
            self.second_chance(oldest, memory, entries);
        }
        None
    }

    fn weakest_of_main(&mut self, memory: &mut Memory, entries: &dyn Entries) -> Option<Place> {
        self.contest(0, memory, entries).or(self.main.oldest)
    }

    fn second_chance(&mut self, place: Place, memory: &mut Memory, entries: &dyn Entries) {
        let frequency = entries.frequency(place);
        memory.sketch.hits(frequency, || entries.hash(place));
        self.promote(place, frequency / 2, memory, entries);
    }

    /// Makes an entry the newest of the main queue.
    fn promote(&mut self, place: Place, frequency: u8, memory: &mut Memory, entries: &dyn Entries) {
        entries.set_frequency(place, frequency);
        self.unlink(place);
        memory.marks.push(memory.now, self.main.len);
        self.push(Main, place);
    }

    fn fifo(&mut self, queue: Queue) -> &mut Fifo {
        match queue {
            Window => &mut self.window,
            Main => &mut self.main,
        }
    }

    fn push(&mut self, queue: Queue, place: Place) {
        let weight = self.weight_of(place);
        let fifo = self.fifo(queue);
        let older = fifo.newest.replace(place);
        fifo.oldest.get_or_insert(place);
        fifo.len += 1;
        fifo.weight += weight;
        self.links.set(place, Link::new(queue, None, older));
        if let Some(older) = older {
            self.links.change(older, |link| *link = Link::new(queue, Some(place), link.neighbours()[1]));
        }
    }

    fn unlink(&mut self, place: Place) {
        let link = self.links.get(place);
        let weight = self.weight_of(place);
        self.relink(link, None);
        let fifo = self.fifo(link.queue());
        fifo.len -= 1;
        fifo.weight -= weight;
    }

    /// Makes an entry, or one another, the neighbours of those that an entry had.
    fn relink(&mut self, link: Link, instead: Option<Place>) {
        let queue = link.queue();
        let [newer, older] = link.neighbours();
        let (towards_older, towards_newer) = (instead.or(older), instead.or(newer));
        match newer {
            Some(newer) => {
                self.links.change(newer, |it| *it = Link::new(queue, it.neighbours()[0], towards_older));
            }
            None => self.fifo(queue).newest = towards_older,
        }
        match older {
            Some(older) => {
                self.links.change(older, |it| *it = Link::new(queue, towards_newer, it.neighbours()[1]));
            }
            None => self.fifo(queue).oldest = towards_newer,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::cell::RefCell;
    use std::collections::{HashMap, HashSet};

    use proptest::prelude::*;

    use super::*;
    use crate::store::cases;

    impl Eviction {
        /// Checks both queues, and returns what is in them with its weight.
        pub(in crate::store) fn validate(&self) -> Vec<(Place, u64)> {
            let mut all = Vec::new();
            for (queue, fifo) in [(Window, &self.window), (Main, &self.main)] {
                let (mut next, mut before, mut len, mut weight) = (fifo.newest, None, 0, 0);
                while let Some(place) = next {
                    let link = self.links.get(place);
                    let [newer, older] = link.neighbours();
                    assert_eq!((link.queue(), newer), (queue, before), "{place:?}");
                    all.push((place, self.weight_of(place)));
                    len += 1;
                    weight += self.weight_of(place);
                    (before, next) = (next, older);
                    assert!(len <= fifo.len, "there are more than are counted");
                }
                assert_eq!((fifo.oldest, fifo.len, fifo.weight), (before, len, weight), "{queue:?}");
            }
            let places: HashSet<_> = all.iter().map(|(place, _)| place.bits()).collect();
            assert_eq!(places.len(), all.len(), "nothing is there twice");
            if let Some(returned) = self.memory.as_ref().and_then(|memory| memory.returned.as_ref()) {
                assert!(places.contains(&returned.place.bits()), "who returned is there");
            }
            all
        }
    }

    const BUCKETS: usize = 300;

    /// Entries that are but numbers.
    #[derive(Default)]
    struct Numbers {
        frequencies: RefCell<HashMap<u32, u8>>,
        numbers: HashMap<u32, u64>,
    }

    impl Numbers {
        fn hit(&self, place: Place) {
            let frequency = self.frequency(place);
            self.set_frequency(place, (frequency + 1).min(FREQUENCY_MAX));
        }
    }

    impl Entries for Numbers {
        fn frequency(&self, place: Place) -> u8 {
            self.frequencies.borrow().get(&place.bits()).copied().unwrap_or(0)
        }
        fn set_frequency(&self, place: Place, frequency: u8) {
            self.frequencies.borrow_mut().insert(place.bits(), frequency);
        }
        fn hash(&self, place: Place) -> Option<u64> {
            let number = *self.numbers.get(&place.bits())?;
            // One in so many cannot be told.
            (number % 100 != 99).then(|| number.wrapping_mul(0x9e37_79b9_7f4a_7c15))
        }
    }

    /// A cache of numbers that is nothing but its eviction.
    struct Cache {
        eviction: Eviction,
        entries: Numbers,
        places: HashMap<u64, Place>,
        free: Vec<Place>,
        /// Of each that is called.
        weight: usize,
        hits: u64,
    }

    impl Cache {
        fn new(capacity: usize, weighed: bool) -> Self {
            Self {
                eviction: Eviction::new(capacity, weighed),
                entries: Numbers::default(),
                places: HashMap::new(),
                free: (0..BUCKETS).flat_map(Place::of_bucket).collect(),
                weight: 1,
                hits: 0,
            }
        }

        fn insert(&mut self, number: u64, weight: usize) {
            let place = self.free.pop().expect("there are enough");
            self.entries.numbers.insert(place.bits(), number);
            self.entries.set_frequency(place, 0);
            self.places.insert(number, place);
            self.eviction.insert(place, number.wrapping_mul(0x9e37_79b9_7f4a_7c15), weight);
        }

        fn remove(&mut self, place: Place) -> u64 {
            self.eviction.remove(place);
            let number = self.entries.numbers.remove(&place.bits()).expect("it was there");
            self.places.remove(&number);
            self.free.push(place);
            number
        }

        fn evict(&mut self) -> Option<u64> {
            let (victim, _) = self.eviction.victim(&self.entries)?;
            Some(self.remove(victim))
        }

        fn call(&mut self, number: u64) {
            if let Some(place) = self.places.get(&number) {
                self.entries.hit(*place);
                self.hits += 1;
                return;
            }
            self.insert(number, self.weight);
            while self.eviction.is_over() {
                self.evict();
            }
        }
    }

    #[derive(Clone, Debug)]
    enum Step {
        Insert(u64, usize),
        Remove(u64),
        Reweigh(u64, usize),
        Move(u64),
        Hit(u64),
        /// Chooses a victim, and lets it go or not.
        Victim(bool),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let number = || 0..200_u64;
        let weight = || prop_oneof![5 => 0..20_usize, 1 => Just(usize::MAX)];
        let step = prop_oneof![
            10 => (number(), weight()).prop_map(|(number, weight)| Step::Insert(number, weight)),
            2 => number().prop_map(Step::Remove),
            2 => (number(), weight()).prop_map(|(number, weight)| Step::Reweigh(number, weight)),
            2 => number().prop_map(Step::Move),
            8 => number().prop_map(Step::Hit),
            8 => prop::bool::weighted(0.9).prop_map(Step::Victim),
        ];
        prop::collection::vec(step, 0..300)
    }

    proptest! {
        #![proptest_config(cases(96))]
        #[test]
        fn the_queues_hold_what_was_put_there_with_its_weight(
            steps in steps(), capacity in prop::sample::select(vec![1, 7, 100, usize::MAX]), weighed: bool,
        ) {
            let mut cache = Cache::new(capacity, weighed);
            let mut weights: HashMap<u64, u64> = HashMap::new();
            for step in steps {
                match step {
                    // So that no sum overflows: the table never has more than a capacity and one more.
                    Step::Insert(number, weight) | Step::Reweigh(number, weight)
                        if weight == usize::MAX && cache.eviction.weight() > 0 =>
                    {
                        let _ = number;
                    }
                    Step::Insert(number, weight) => {
                        if !weights.contains_key(&number) && cache.eviction.weight() < MOST_WEIGHT {
                            cache.insert(number, weight);
                            weights.insert(number, if weighed { (weight as u64).min(MOST_WEIGHT) } else { 1 });
                        }
                    }
                    Step::Remove(number) => {
                        if let Some(place) = cache.places.get(&number) {
                            cache.remove(*place);
                            weights.remove(&number);
                        }
                    }
                    Step::Reweigh(number, weight) => {
                        if let Some(place) = cache.places.get(&number) {
                            cache.eviction.reweigh(*place, weight);
                            weights.insert(number, if weighed { (weight as u64).min(MOST_WEIGHT) } else { 1 });
                        }
                    }
                    Step::Move(number) => {
                        if let Some(from) = cache.places.get(&number).copied() {
                            let to = cache.free.swap_remove(cache.free.len() / 2);
                            cache.entries.numbers.remove(&from.bits());
                            cache.entries.numbers.insert(to.bits(), number);
                            cache.entries.set_frequency(to, cache.entries.frequency(from));
                            cache.places.insert(number, to);
                            cache.eviction.moved(from, to);
                            cache.free.push(from);
                        }
                    }
                    Step::Hit(number) => {
                        cache.places.get(&number).inspect(|place| cache.entries.hit(**place));
                    }
                    Step::Victim(goes) => {
                        let victim = cache.eviction.victim(&cache.entries);
                        prop_assert_eq!(victim.is_some(), !weights.is_empty());
                        if let Some((victim, hash)) = victim {
                            let number = cache.entries.numbers[&victim.bits()];
                            prop_assert_eq!(hash, cache.entries.hash(victim));
                            prop_assert!(weights.contains_key(&number));
                            if goes {
                                cache.remove(victim);
                                weights.remove(&number);
                            }
                        }
                    }
                }
                let mut found: Vec<_> = cache.eviction.validate();
                prop_assert_eq!(cache.eviction.weight(), weights.values().sum::<u64>());
                prop_assert_eq!(cache.eviction.is_over(), cache.eviction.weight() > capacity as u64);
                found.retain(|(place, weight)| weights[&cache.entries.numbers[&place.bits()]] != *weight);
                prop_assert!(found.is_empty(), "{found:?}");
                prop_assert_eq!(cache.eviction.len(), weights.len() as u64);
            }
        }

        #[test]
        fn a_mark_is_no_further_off_than_its_step(
            most in 1..1000_u64, gaps in prop::collection::vec(0..5_u64, 1..2000),
        ) {
            let mut marks = Marks { at: [0; Marks::MOST], shift: 0, pushes: 0 };
            let (mut now, mut pushed) = (0, Vec::new());
            for gap in gaps {
                now += gap;
                let len = (pushed.len() as u64).min(most);
                marks.push(now, len);
                pushed.push(now);
                let len = (pushed.len() as u64).min(most);
                let oldest = pushed.len() - usize::try_from(len).unwrap();
                let range = pushed[oldest.saturating_sub(1 << marks.shift)]..=pushed[oldest];
                prop_assert!(range.contains(&marks.of_oldest(len)), "{range:?} {}", marks.of_oldest(len));
                prop_assert!(1 << marks.shift <= (most / 48).max(1));
            }
        }
    }

    #[test]
    fn a_loop_that_is_longer_than_the_capacity_keeps_a_stable_part_of_itself() {
        let mut cache = Cache::new(100, false);
        for round in 0..100 {
            if round == 50 {
                cache.hits = 0;
            }
            (0..150).for_each(|number| cache.call(number));
        }
        let ratio = cache.hits * 100 / (50 * 150);
        assert!((50..67).contains(&ratio), "{ratio} % of the calls were hits, 66 % are possible");
    }

    #[test]
    fn entries_that_all_weigh_the_same_are_kept_as_if_they_weighed_nothing() {
        for (capacity, weight, more) in [(1, 7, 6), (2, 7, 0), (70, 1_000_003, 999_999), (300, 3, 1)] {
            let mut caches = [Cache::new(capacity, false), Cache::new(capacity * weight + more, true)];
            caches[1].weight = weight;
            for call in 0..20_000_u64 {
                let number = call * call % 1009 % (1 + call % 500);
                for cache in &mut caches {
                    cache.call(number);
                }
            }
            assert_eq!(caches[0].hits, caches[1].hits, "{capacity} entries");
        }
    }

    #[test]
    fn working_sets_that_follow_one_another_are_taken_up_however_often_the_last_one_was_used() {
        let mut cache = Cache::new(100, false);
        for set in 0..200 {
            if set == 100 {
                cache.hits = 0;
            }
            (0..5 * 40).for_each(|turn| cache.call(set * 40 + turn % 40));
        }
        let ratio = cache.hits * 100 / (100 * 5 * 40);
        assert!((77..=80).contains(&ratio), "{ratio} % of the calls were hits, 80 % are possible");
    }

    #[test]
    fn the_window_becomes_large_where_the_most_recent_entries_are_the_best() {
        let mut cache = Cache::new(100, false);
        // Each number four times or so while it is one of the last 150, and never again.
        let mut random = 1_u64;
        for call in 0..30_000 {
            random = random.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(1);
            cache.call(call / 4 + (random >> 33) % 150);
        }
        assert!(cache.eviction.window.len > 50, "{} entries", cache.eviction.window.len);
    }

    #[test]
    fn who_never_was_there_takes_nobody_s_place() {
        let mut cache = Cache::new(100, false);
        // In the main queue, and used now and then.
        for _ in 0..3 {
            (0..90).for_each(|number| cache.call(number));
        }
        (1000..1200).for_each(|number| cache.call(number));
        assert_eq!((0..90).filter(|number| cache.places.contains_key(number)).count(), 90);
        // Unused from here on: few go.
        (2000..2500).for_each(|number| cache.call(number));
        let left = (0..90).filter(|number| cache.places.contains_key(number)).count();
        assert!(left >= 60, "{left} of 90 are left");
    }

    #[test]
    fn who_returns_soon_takes_the_place_of_the_oldest_that_is_unused() {
        let mut cache = Cache::new(100, false);
        (0..1000).for_each(|number| cache.call(number));
        let evicted = (0..1000).rev().find(|number| !cache.places.contains_key(number)).unwrap();
        let oldest = cache.eviction.main.oldest.expect("the main queue is not empty");
        cache.call(evicted);
        assert!(!cache.places.values().any(|place| *place == oldest) || cache.places[&evicted] == oldest);
        let link = cache.eviction.links.get(cache.places[&evicted]);
        assert_eq!(link.queue(), Main);
        let stranger = 5000;
        cache.call(stranger);
        assert_eq!(cache.eviction.links.get(cache.places[&stranger]).queue(), Window);
    }

    #[test]
    fn an_entry_that_was_hit_more_often_gets_more_second_chances() {
        for (hits, chances) in [(0, 0), (1, 1), (2, 2), (3, 2), (9, 2)] {
            let mut cache = Cache::new(10, false);
            cache.call(0);
            // Into the main queue, with no frequency left.
            (1..30).for_each(|number| cache.call(number));
            let place = cache.eviction.main.oldest.expect("the main queue is not empty");
            (0..hits).for_each(|_| cache.entries.hit(place));
            let others: Vec<_> = cache.places.values().copied().filter(|it| *it != place).collect();
            let mut memory = cache.eviction.memory.take().unwrap();
            let mut given = 0;
            while cache.entries.frequency(place) > 0 {
                for it in &others {
                    cache.entries.set_frequency(*it, 0);
                }
                cache.eviction.second_chance(place, &mut memory, &cache.entries);
                given += 1;
            }
            assert_eq!(given, chances, "after {hits} hits");
        }
    }
}
