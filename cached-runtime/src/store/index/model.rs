//! An index under the model checker: readers beside writers.

use std::collections::HashSet;
use std::sync::Arc;

use shuttle::thread::{self, JoinHandle};

use super::*;
use crate::shim::{Mutex, explore};

struct Item {
    key: u64,
    version: u32,
}

/// All in one bucket at first, and all with the same tag, so that keys alone tell them apart; every other
/// one has to move when the bucket is split.
fn hash(key: u64) -> u64 {
    (key % 2) << TAG_BITS
}

struct Modelled {
    index: Index<Item>,
    writing: Mutex<Writing>,
    /// The keys that were moved, or removed.
    disturbed: parking_lot::Mutex<HashSet<u64>>,
}

impl Modelled {
    /// With so many keys, of version 0.
    fn holding(keys: u64) -> Arc<Self> {
        let (index, writing) = Index::new(1, 100, false);
        let it = Self { index, writing: Mutex::new(writing), disturbed: parking_lot::Mutex::default() };
        (0..keys).for_each(|key| it.insert(key));
        it.disturbed.lock().clear();
        Arc::new(it)
    }

    fn split(&self, writing: &mut Writing, guard: &Guard) {
        let moved = |_, to| {
            let entry = self.index.at(to, guard).expect("it has moved there");
            self.disturbed.lock().insert(entry.key);
        };
        // They may be missed before they are known to have moved.
        for place in (0..writing.shape.buckets).flat_map(Place::of_bucket) {
            let key = self.index.at(place, guard).map(|entry| entry.key);
            self.disturbed.lock().extend(key.filter(|key| key % 2 == 1 || place.bucket() > 0));
        }
        assert!(self.index.split(writing, |item| Some(hash(item.key)), moved, guard).is_ok());
    }

    fn insert(&self, key: u64) {
        let guard = Guard::new();
        let mut writing = self.writing.lock();
        while writing.should_split() {
            self.split(&mut writing, &guard);
        }
        self.index.insert(&mut writing, hash(key), Owned::new(Item { key, version: 0 }));
    }

    fn place(&self, key: u64, guard: &Guard) -> Option<Place> {
        self.index.look(hash(key)).find(|item| item.key == key, guard).map(|found| found.place())
    }

    fn remove(&self, key: u64) {
        let guard = Guard::new();
        let mut writing = self.writing.lock();
        self.disturbed.lock().insert(key);
        let place = self.place(key, &guard).expect("it is there, and nobody moves it");
        assert_eq!(self.index.at(place, &guard).map(|removed| removed.key), Some(key));
        assert!(self.index.remove(&mut writing, place, Some(hash(key))));
    }

    fn replace(&self, key: u64, version: u32) {
        let guard = Guard::new();
        let _writing = self.writing.lock();
        let place = self.place(key, &guard).expect("it is there, and nobody moves it");
        self.index.replace(place, Owned::new(Item { key, version }));
    }

    /// The version of a key, by a reader.
    fn read(&self, key: u64) -> Option<u32> {
        let guard = Guard::new();
        let found = self.index.look(hash(key)).find(|item| item.key == key, &guard)?;
        assert_eq!(found.entry.key, key, "a reader never finds a wrong one");
        Some(found.entry.version)
    }

    /// The same by a reader that must know, of a key that is there all the time.
    fn know(&self, key: u64) -> u32 {
        self.read(key).unwrap_or_else(|| {
            assert!(self.disturbed.lock().contains(&key), "{key} was missed, and nobody moves it");
            let _writing = self.writing.lock();
            self.read(key).expect("nobody moves it under the lock")
        })
    }
}

fn spawn(it: &Arc<Modelled>, act: impl FnOnce(&Modelled) + Send + 'static) -> JoinHandle<()> {
    let it = Arc::clone(it);
    thread::spawn(move || act(&it))
}

fn join(thread: JoinHandle<()>) {
    thread.join().expect("no thread panics");
}

/// Checks what is there in the end.
fn settle(it: &Modelled, keys: impl IntoIterator<Item = u64>) {
    let guard = Guard::new();
    let writing = it.writing.lock();
    it.index.validate(&writing, |item| Some(hash(item.key)), true, &guard);
    let mut count = 0;
    for key in keys {
        assert!(it.read(key).is_some(), "{key}");
        count += 1;
    }
    assert_eq!(writing.len(), count);
}

#[test]
fn a_reader_never_finds_a_wrong_entry_and_misses_only_one_that_is_moved() {
    explore(|| {
        // The next one splits.
        let it = Modelled::holding(6);
        let threads = [
            spawn(&it, |it| (6..8).for_each(|key| it.insert(key))),
            spawn(&it, |it| {
                it.remove(2);
                it.insert(8);
            }),
            spawn(&it, |it| (0..2).for_each(|key| assert_eq!(it.know(key), 0))),
            spawn(&it, |it| {
                assert!(it.read(2).is_none_or(|version| version == 0));
                assert_eq!((it.know(5), it.know(4)), (0, 0));
            }),
        ];
        threads.into_iter().for_each(join);
        assert_eq!(it.read(2), None);
        settle(&it, [0, 1, 3, 4, 5, 6, 7, 8]);
    });
}

#[test]
fn what_has_spilled_past_a_full_bucket_is_found_while_others_go() {
    explore(|| {
        let it = Modelled::holding(6);
        {
            let guard = Guard::new();
            let mut writing = it.writing.lock();
            // More of one home than a bucket has room for.
            it.split(&mut writing, &guard);
            for key in (6..18).step_by(2) {
                it.index.insert(&mut writing, hash(key), Owned::new(Item { key, version: 0 }));
            }
            it.disturbed.lock().clear();
        }
        let threads = [
            spawn(&it, |it| [0, 14, 8].into_iter().for_each(|key| it.remove(key))),
            spawn(&it, |it| it.replace(16, 1)),
            spawn(&it, |it| {
                let versions = [it.know(16), it.know(16)];
                assert!(versions.is_sorted(), "{versions:?}");
                assert_eq!((it.know(12), it.know(1)), (0, 0));
            }),
        ];
        threads.into_iter().for_each(join);
        assert_eq!(it.read(16), Some(1));
        settle(&it, [1, 2, 3, 4, 5, 6, 10, 12, 16]);
    });
}

#[test]
fn a_value_is_replaced_without_a_moment_in_which_it_is_missed() {
    explore(|| {
        let it = Modelled::holding(3);
        let threads = [
            spawn(&it, |it| (1..4).for_each(|version| it.replace(1, version))),
            spawn(&it, |it| {
                let versions = [(); 3].map(|()| it.know(1));
                assert!(versions.is_sorted(), "{versions:?}");
            }),
            spawn(&it, |it| it.remove(0)),
        ];
        threads.into_iter().for_each(join);
        assert_eq!(it.know(1), 3);
        settle(&it, [1, 2]);
    });
}
