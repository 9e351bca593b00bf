//! A table of several shards under the model checker: its exact capacity, and what expires in it.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::RwLock;
use shuttle::thread::{self, JoinHandle};

use super::*;
use crate::clock::Clock;
use crate::function::Function;
use crate::policy::PolicyBuilder;
use crate::shim::explore;
use crate::store::Inner;

const CAPACITY: usize = 2;
const SECOND: u64 = 1_000_000_000;

struct Modelled {
    table: Table<u64, u64>,
}

/// Even keys are in the first shard, odd ones in the second.
fn hash(key: u64) -> u64 {
    (key % 2) << 32 | key
}

impl Modelled {
    fn new(capacity: usize) -> Arc<Self> {
        static FUNCTION: Function = Function::new("model", PolicyBuilder::new());
        // A clock that stands still, and no janitor.
        let store: &'static Inner = Box::leak(Box::new(Inner {
            functions: RwLock::default(),
            enabled: true.into(),
            most_entries: usize::MAX.into(),
            most_bytes: usize::MAX.into(),
            clock: Clock::default(),
            #[cfg(feature = "backend")]
            waiting: crate::saved::Waiting::default(),
        }));
        store.clock.freeze();
        let state = FUNCTION.first_state(store, capacity);
        let keys = Keys {
            hash: |key, _| hash(*key.key()),
            same: |one, other| one.key::<u64>() == other.key::<u64>(),
            is_live: |_| true,
            renew: |_| {},
        };
        Arc::new(Self {
            table: Table::new(Base::with_shards(state, keys, Table::<u64, u64>::ENTRY_BYTES, 2)),
        })
    }

    /// Stores the key itself, for so many seconds if so many are given; not if it was fenced meanwhile.
    fn store(&self, key: u64, seconds: Option<u64>, fenced: bool) {
        let deadline = seconds.map_or(NEVER, |seconds| self.table.base.now() + seconds * SECOND);
        let new = NewValue { value: key, stay: Stay { deadline, weight: 1 } };
        let mut owned = (!fenced).then(|| AnyKey::new(key));
        self.table.store(hash(key), Some(new), &mut |_| owned.take());
    }

    fn invalidate(&self, key: u64) {
        self.table.any().invalidate(hash(key), &|it| *it.key::<u64>() == key, &Guard::new());
    }

    fn advance(&self, seconds: u64) {
        self.table.base.state.store.clock.advance(Duration::from_secs(seconds));
    }

    /// The entries, and the room that is free: with all locks held, what is set aside is all that may be
    /// missing.
    fn count(&self) -> (usize, usize) {
        let guard = Guard::new();
        let locked: Vec<_> = self.table.any().lock_each(&guard).collect();
        let entries = locked.iter().map(Locked::len).sum();
        (entries, self.table.base.free.load(SeqCst))
    }

    fn watch(&self) {
        let (entries, free) = self.count();
        assert!(entries + free <= self.table.base.state.capacity, "{entries} entries, and room for {free}");
    }

    /// Checks what there is in the end; returns the number of entries.
    fn settle(&self) -> usize {
        let (entries, free) = self.count();
        assert_eq!(entries + free, self.table.base.state.capacity, "no room was lost, and none was made up");
        assert_eq!(self.table.any().footprint().0, entries);
        let guard = Guard::new();
        for (number, shard) in self.table.shards.iter().enumerate() {
            let locked = self.table.any().lock_shard(number, &guard);
            for (key, _) in locked.validate(&shard.index) {
                assert!(std::ptr::eq(self.table.shard(hash(key)), &raw const **shard));
            }
        }
        entries
    }
}

fn spawn(it: &Arc<Modelled>, act: impl FnOnce(&Modelled) + Send + 'static) -> JoinHandle<()> {
    let it = Arc::clone(it);
    thread::spawn(move || act(&it))
}

fn join(thread: JoinHandle<()>) {
    thread.join().expect("no thread panics");
}

#[test]
fn shards_share_a_capacity_that_is_never_exceeded_and_always_used() {
    explore(|| {
        let it = Modelled::new(CAPACITY);
        let threads = [
            spawn(&it, |it| [0, 2].into_iter().for_each(|key| it.store(key, None, false))),
            spawn(&it, |it| [1, 3].into_iter().for_each(|key| it.store(key, None, false))),
            spawn(&it, Modelled::watch),
        ];
        threads.into_iter().for_each(join);
        assert_eq!(it.settle(), CAPACITY);
    });
}

#[test]
fn room_that_was_set_aside_or_came_free_is_not_lost() {
    explore(|| {
        let it = Modelled::new(CAPACITY);
        it.store(0, None, false);
        let threads = [
            spawn(&it, |it| {
                it.store(1, None, true);
                it.store(3, None, false);
            }),
            spawn(&it, |it| it.invalidate(0)),
            spawn(&it, |it| {
                it.store(2, None, true);
                it.table.any().evict_one(&Guard::new());
            }),
            spawn(&it, Modelled::watch),
        ];
        threads.into_iter().for_each(join);
        it.settle();
    });
}

#[test]
fn who_finds_all_room_set_aside_lets_others_go_on() {
    explore(|| {
        let it = Modelled::new(1);
        let threads = [spawn(&it, |it| it.store(1, None, false)), spawn(&it, |it| it.store(0, None, false))];
        threads.into_iter().for_each(join);
        assert_eq!(it.settle(), 1);
    });
}

#[test]
fn a_clear_gives_back_what_it_takes() {
    explore(|| {
        let it = Modelled::new(CAPACITY);
        let threads = [
            spawn(&it, |it| (0..3).for_each(|key| it.store(key, None, false))),
            spawn(&it, |it| {
                it.table.any().clear(&Guard::new());
            }),
            spawn(&it, Modelled::watch),
        ];
        threads.into_iter().for_each(join);
        it.settle();
    });
}

#[test]
fn whatever_expires_the_table_knows_the_first_of_it() {
    explore(|| {
        let it = Modelled::new(CAPACITY);
        it.store(0, Some(1), false);
        it.advance(1);
        let threads = [
            spawn(&it, |it| it.store(1, Some(3), false)),
            spawn(&it, |it| {
                it.store(2, Some(2), false);
                it.table.any().remove_expired(10, &Guard::new());
            }),
            spawn(&it, |it| {
                it.table.any().remove_expired(10, &Guard::new());
                it.watch();
            }),
        ];
        threads.into_iter().for_each(join);
        it.settle();
        it.advance(3);
        while it.table.any().remove_expired(1, &Guard::new()) > 0 {}
        assert_eq!(it.settle(), 0, "what has expired was not forgotten");
    });
}
