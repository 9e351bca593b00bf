//! Tags: groups of entries, of whichever function, invalidated at once.

use std::collections::HashMap;
use std::sync::Mutex;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

use cached_runtime::{cached, store, testing};
use cached_tests::{Runs, watched};
use proptest::prelude::*;

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

/// The bodies that are to run: each reports that it has begun, and returns what it is sent.
static BODIES: Mutex<Vec<(Sender<()>, Receiver<u64>)>> = Mutex::new(Vec::new());

#[cached(tags("slow:{n}"))]
fn slow(n: u64) -> u64 {
    let (begun, result) = BODIES.lock().unwrap().pop().expect("no other body was to run");
    begun.send(()).unwrap();
    n + result.recv().unwrap()
}

#[test]
fn what_is_being_computed_is_not_stored_and_not_waited_for() {
    watched(|| {
        let own = testing::isolated();
        let call = || {
            let store = own.store();
            thread::spawn(move || {
                let _own = store.enter();
                slow(1)
            })
        };
        // A call that computes, once its body has begun.
        let computes = || {
            let (started, begun) = channel();
            let (send, result) = channel();
            BODIES.lock().unwrap().push((started, result));
            let thread = call();
            begun.recv().unwrap();
            (thread, send)
        };
        let (old, old_result) = computes();
        store().invalidate_tag("slow:1");
        let (new, new_result) = computes();
        // Whoever comes now waits for the new one.
        let waits = call();
        cached_tests::eventually(|| slow::stats().misses == 3);
        new_result.send(20).unwrap();
        assert_eq!((new.join().unwrap(), waits.join().unwrap()), (21, 21));
        // The old one comes last, and is its own caller's alone.
        old_result.send(10).unwrap();
        assert_eq!((old.join().unwrap(), slow::peek(1)), (11, Some(21)));
        assert_eq!((slow::stats().computations, slow::stats().not_stored), (2, 1));
    });
}

/// Says so when it is dropped, also by a test that fails.
struct Done<'a>(&'a AtomicBool);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.store(true, SeqCst);
    }
}

static SOURCE: [AtomicUsize; 4] = [const { AtomicUsize::new(0) }; 4];

#[cached(tags("source:{n}", "any"))]
fn read(n: usize) -> usize {
    SOURCE[n].load(SeqCst)
}

#[test]
fn no_call_that_begins_after_an_invalidation_has_a_value_from_before() {
    watched(|| {
        let own = testing::isolated();
        let done = AtomicBool::new(false);
        thread::scope(|scope| {
            let ending = Done(&done);
            for reader in 0..3 {
                let (store, done) = (own.store(), &done);
                scope.spawn(move || {
                    let _own = store.enter();
                    let mut round = reader;
                    while !done.load(SeqCst) {
                        round += 1;
                        read(round % SOURCE.len());
                    }
                });
            }
            for version in 1..5000 {
                let n = version % SOURCE.len();
                SOURCE[n].store(version, SeqCst);
                store().invalidate_tag(&format!("source:{n}"));
                assert_eq!(read(n), version);
            }
            drop(ending);
        });
    });
}

#[test]
fn tags_are_made_when_a_call_computes_and_not_when_it_hits() {
    static MADE: Runs = Runs::new();
    fn tag(n: u64) -> String {
        MADE.add();
        format!("even:{}", n.is_multiple_of(2))
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
fn tags_are_of_all_that_is_part_of_the_key() {
    #[cached(tags("{a}-{b}", "{{n}}"), key = (a.to_lowercase(), b))]
    fn pattern<T: ToString>((a, b): (&str, u8), _thing: T) -> Result<String, std::io::Error> {
        Ok(format!("{a}{b}"))
    }
    let _own = testing::isolated();
    for (tag, there) in [("A-2", true), ("a-1", true), ("A-1", false), ("{{n}}", true), ("{n}", false)] {
        pattern(("A", 1), 7_u8).unwrap();
        store().invalidate_tag(tag);
        assert_eq!(pattern::peek(("a", 1), 7_u8).is_some(), there, "{tag}");
    }
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

/// What happens to the functions of the property below.
#[derive(Clone, Debug)]
enum Step {
    Call {
        id: u8,
        group: u8,
    },
    Put {
        id: u8,
        group: u8,
    },
    Refresh {
        id: u8,
        group: u8,
    },
    Invalidate {
        id: u8,
        group: u8,
    },
    InvalidateId(u8),
    InvalidateGroup(u8),
    InvalidateAll,
    Clear,
    /// Time goes on by so many seconds, of the ten that a value is fresh.
    Pass(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let key = || (0..4_u8, 0..2_u8);
    prop_oneof![
        6 => key().prop_map(|(id, group)| Step::Call { id, group }),
        1 => key().prop_map(|(id, group)| Step::Put { id, group }),
        1 => key().prop_map(|(id, group)| Step::Refresh { id, group }),
        1 => key().prop_map(|(id, group)| Step::Invalidate { id, group }),
        2 => (0..4_u8).prop_map(Step::InvalidateId),
        2 => (0..2_u8).prop_map(Step::InvalidateGroup),
        1 => Just(Step::InvalidateAll),
        1 => Just(Step::Clear),
        1 => (1..6_u64).prop_map(Step::Pass),
    ]
}

static VERSION: AtomicU64 = AtomicU64::new(0);

#[cached(timeout = 10, tags("id:{id}", "group:{group}", "everything"))]
fn modelled(id: u8, group: u8) -> u64 {
    let _ = (id, group);
    VERSION.fetch_add(1, SeqCst) + 1
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_store_with_tags_is_a_map_whose_entries_go_by_tag(steps in proptest::collection::vec(step(), 1..60)) {
        let own = testing::isolated();
        // What is there, and until when.
        let mut model: HashMap<(u8, u8), (u64, u64)> = HashMap::new();
        let mut now = 0;
        for step in steps {
            let next = VERSION.load(SeqCst) + 1;
            match step {
                Step::Call { id, group } => {
                    let (expected, _) = *model.entry((id, group)).or_insert((next, now + 10));
                    prop_assert_eq!(modelled(id, group), expected);
                }
                Step::Put { id, group } => {
                    modelled::put(id, group, 7);
                    model.insert((id, group), (7, now + 10));
                }
                Step::Refresh { id, group } => {
                    prop_assert_eq!(modelled::refresh(id, group), next);
                    model.insert((id, group), (next, now + 10));
                }
                Step::Invalidate { id, group } => {
                    prop_assert_eq!(modelled::invalidate(id, group), model.remove(&(id, group)).is_some());
                }
                Step::InvalidateId(id) => {
                    store().invalidate_tag(&format!("id:{id}"));
                    model.retain(|key, _| key.0 != id);
                }
                Step::InvalidateGroup(group) => {
                    store().invalidate_tag(&format!("group:{group}"));
                    model.retain(|key, _| key.1 != group);
                }
                Step::InvalidateAll => {
                    store().invalidate_tag("everything");
                    model.clear();
                }
                Step::Clear => {
                    modelled::clear();
                    model.clear();
                }
                Step::Pass(seconds) => {
                    own.advance(std::time::Duration::from_secs(seconds));
                    now += seconds;
                    model.retain(|_, (_, until)| *until > now);
                }
            }
            for (id, group) in (0..4).flat_map(|id| [(id, 0), (id, 1)]) {
                prop_assert_eq!(modelled::peek(id, group), model.get(&(id, group)).map(|(value, _)| *value));
            }
            prop_assert!(modelled::stats().entries <= 8, "none is there twice");
        }
    }
}

#[test]
fn futures_of_functions_with_tags_can_be_sent() {
    #[cached(tags("{a}", a.len()))]
    async fn later(a: &str) -> String {
        std::future::ready(a.to_owned()).await
    }
    fn is_send<F: Future + Send>(future: F) -> F {
        future
    }
    let _own = testing::isolated();
    assert_eq!(smol::block_on(is_send(later("a"))), "a");
    assert!(smol::block_on(is_send(later::peek("a"))).is_some());
    store().invalidate_tag("1");
    assert!(smol::block_on(later::peek("a")).is_none());
}

#[test]
fn what_a_tag_has_invalidated_is_not_served_while_it_would_be_computed_anew() {
    const SECOND: std::time::Duration = std::time::Duration::from_secs(1);
    static AHEAD: Runs = Runs::new();
    #[cached(timeout = 60, stale_while_revalidate = 60, refresh_ahead = 0.5, tags("stale"))]
    fn in_background() -> u32 {
        AHEAD.add()
    }
    static INLINE: Runs = Runs::new();
    #[cached(timeout = 60, stale_while_revalidate = 60, revalidate = "inline", tags("stale"))]
    fn inline() -> u32 {
        INLINE.add()
    }
    static WAITING: Runs = Runs::new();
    #[cached(timeout = 60, stale_while_revalidate = 60, max_wait = "1h", tags("stale"))]
    fn waiting() -> u32 {
        WAITING.add()
    }
    // Early, and stale.
    for age in [40, 90] {
        let own = testing::isolated();
        let old = [in_background(), inline(), waiting()];
        own.advance(age * SECOND);
        store().invalidate_tag("stale");
        let new = [in_background(), inline(), waiting()];
        assert!(new.iter().zip(&old).all(|(new, old)| new > old), "{new:?} after {old:?} at {age} s");
        assert_eq!([in_background(), inline(), waiting()], new, "and what was computed is found");
    }
}
