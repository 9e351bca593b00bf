//! Tags: groups of entries, of whichever function, invalidated at once.

use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::mpsc::channel;
use std::thread;

use cached_runtime::{cached, store, testing};
use cached_tests::{Runs, watched};

#[cached(tags("user:{id}", "all-users"))]
fn user(id: u64) -> u64 {
    id
}

#[cached(tags("user:{id}"))]
fn orders(id: u64, year: u64) -> Option<u64> {
    (year > 0).then_some(id + year)
}

#[test]
fn a_tag_invalidates_every_entry_that_has_it_and_no_other() {
    let _own = testing::isolated();
    let fill = || {
        user(1);
        user(2);
        orders(1, 10);
        orders(1, 20);
        orders(2, 10);
    };
    let there = || {
        let users = [1, 2].map(|id| user::peek(id).is_some());
        let orders = [(1, 10), (1, 20), (2, 10)].map(|(id, year)| orders::peek(id, year).is_some());
        (users, orders)
    };
    fill();
    assert_eq!(there(), ([true; 2], [true; 3]));
    store().invalidate_tag("user:3");
    assert_eq!(there(), ([true; 2], [true; 3]));
    store().invalidate_tag("user:1");
    assert_eq!(there(), ([false, true], [false, false, true]));
    fill();
    assert_eq!(there(), ([true; 2], [true; 3]));
    store().invalidate_tag("all-users");
    assert_eq!(there(), ([false; 2], [true; 3]));
}

#[test]
fn an_invalidated_entry_is_a_miss_and_is_replaced() {
    static RUNS: Runs = Runs::new();
    #[cached(tags("a"), timeout = 60)]
    fn f(n: u64) -> u64 {
        u64::from(RUNS.add()) + n
    }
    let own = testing::isolated();
    for run in 1..5 {
        assert_eq!((f(0), f(0)), (run, run));
        let stats = f::stats();
        assert_eq!((stats.hits, stats.misses, stats.computations, stats.entries), (run, run, run, 1));
        assert_eq!(stats.invalidations, run - 1);
        store().invalidate_tag("a");
    }
    // It goes at the latest when it expires.
    own.advance(std::time::Duration::from_secs(60));
    cached_tests::eventually(|| f::stats().entries == 0);
}

#[test]
fn an_entry_that_its_tag_has_invalidated_is_not_there_to_be_invalidated() {
    let _own = testing::isolated();
    user(1);
    store().invalidate_tag("user:1");
    assert!(!user::invalidate(1));
    assert_eq!((user::stats().entries, user::stats().invalidations), (0, 1));
}

#[test]
fn a_put_or_a_refresh_after_the_invalidation_is_there() {
    #[cached(tags("group"), handle = load_cache)]
    fn load(n: u64) -> u64 {
        n
    }
    struct Repo;
    impl Repo {
        #[cached(skip(self), tags("group", format_args!("{}", n)), handle = load_cache)]
        fn load(&self, n: u64) -> u64 {
            n
        }
    }
    let _own = testing::isolated();
    load(1);
    let held = Repo.load_cache(1);
    store().invalidate_tag("group");
    load_cache::put(1, 7);
    held.put(7);
    assert_eq!((load(1), Repo.load(1)), (7, 7));
    store().invalidate_tag("group");
    assert_eq!((load_cache::refresh(1), load_cache::peek(1)), (1, Some(1)));
    store().invalidate_tag("1");
    assert_eq!(Repo.load(1), 1);
}

#[test]
fn what_is_being_computed_is_not_stored_and_not_waited_for() {
    watched(|| {
        #[cached(tags("slow:{n}"))]
        fn slow(n: u64, _run: Run) -> u64 {
            RUNS.add();
            let (begun, go_on) = LOCK.lock().unwrap().pop().unwrap();
            begun.send(()).unwrap();
            let value = go_on.recv().unwrap();
            n + value
        }
        #[derive(Clone, Debug, Hash, PartialEq, Eq)]
        struct Run;
        type Step = (std::sync::mpsc::Sender<()>, std::sync::mpsc::Receiver<u64>);
        static LOCK: std::sync::Mutex<Vec<Step>> = std::sync::Mutex::new(Vec::new());
        static RUNS: Runs = Runs::new();
        let step = || {
            let ((begin, begun), (go, go_on)) = (channel(), channel());
            LOCK.lock().unwrap().push((begin, go_on));
            (begun, go)
        };
        let own = testing::isolated();
        let spawn = || {
            let store = own.store();
            thread::spawn(move || {
                let _own = store.enter();
                slow(1, Run)
            })
        };
        let (begun, old) = step();
        let first = spawn();
        begun.recv().unwrap();
        store().invalidate_tag("slow:1");
        // It does not wait for what began before.
        let (begun, new) = step();
        let second = spawn();
        begun.recv().unwrap();
        // Whoever comes now waits for the second.
        let third = spawn();
        cached_tests::eventually(|| slow::stats().misses == 3);
        new.send(20).unwrap();
        assert_eq!((second.join().unwrap(), third.join().unwrap()), (21, 21));
        // The old one comes last, and is its own caller's alone.
        old.send(10).unwrap();
        assert_eq!((first.join().unwrap(), slow::peek(1, Run)), (11, Some(21)));
        assert_eq!(RUNS.get(), 2);
    });
}

#[test]
fn no_call_that_begins_after_an_invalidation_has_a_value_from_before() {
    watched(|| {
        static SOURCE: [std::sync::atomic::AtomicU64; 4] =
            [const { std::sync::atomic::AtomicU64::new(0) }; 4];
        static DONE: AtomicBool = AtomicBool::new(false);
        #[cached(tags("source:{n}", "any"))]
        fn read(n: usize) -> u64 {
            SOURCE[n].load(SeqCst)
        }
        let own = testing::isolated();
        thread::scope(|scope| {
            for reader in 0..3 {
                let store = own.store();
                scope.spawn(move || {
                    let _own = store.enter();
                    let mut round = reader;
                    while !DONE.load(SeqCst) {
                        round += 1;
                        read(round % 4);
                    }
                });
            }
            let _done = Done;
            struct Done;
            impl Drop for Done {
                fn drop(&mut self) {
                    DONE.store(true, SeqCst);
                }
            }
            for version in 1..5000 {
                let n = version % 4;
                SOURCE[n].store(version as u64, SeqCst);
                store().invalidate_tag(&format!("source:{n}"));
                assert_eq!(read(n), version as u64);
            }
        });
    });
}

#[test]
fn tags_are_made_when_a_call_computes_and_not_when_it_hits() {
    static MADE: Runs = Runs::new();
    fn tag(n: u64) -> String {
        MADE.add();
        format!("even:{}", n % 2 == 0)
    }
    #[cached(tags(tag(n)))]
    fn f(n: u64) -> u64 {
        n
    }
    let _own = testing::isolated();
    f(1);
    let made = MADE.get();
    (0..10).for_each(|_| assert_eq!(f(1), 1));
    assert_eq!((made, MADE.get()), (1, 1));
    f(2);
    store().invalidate_tag("even:false");
    assert_eq!((f::peek(1), f::peek(2)), (None, Some(2)));
}

#[test]
fn tags_go_with_every_kind_of_function() {
    #[cached(tags("{a}-{b}", "{{n}}"), key = a.to_lowercase())]
    async fn pattern<T: ToString>((a, b): (&str, u8), _thing: T) -> Result<String, std::io::Error> {
        Ok(format!("{a}{b}"))
    }
    let _ = pattern((":", 1), 1_u8);
}

#[test]
fn a_store_of_a_test_s_own_has_tags_of_its_own() {
    let outer = testing::isolated();
    user(1);
    {
        let _inner = testing::isolated();
        user(1);
        store().invalidate_tag("all-users");
        assert_eq!(user::peek(1), None);
    }
    assert_eq!(user::peek(1), Some(1));
    drop(outer);
}
