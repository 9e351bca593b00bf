//! Tags of functions with a backend.

use std::sync::{Arc, LazyLock};
use std::thread::{self, ThreadId};
use std::time::{Duration, Instant};

use cached_runtime::backend::driver::{Answer, Driver, Expected, Found};
use cached_runtime::testing::Isolated;
use cached_runtime::{Backend, backends, cached, invalidates, store, testing};
use cached_tests::driver::{Fault, Faulty};
use cached_tests::{Gate, PATIENCE, Runs};

use super::{process, within};

const SECOND: Duration = Duration::from_secs(1);

/// After this a process believes nothing that it knew before.
fn later(process: &Isolated) {
    within(process, || testing::advance(SECOND));
}

#[test]
fn an_invalidated_tag_is_seen_at_once_here_and_within_a_second_elsewhere() {
    backend!(OWN, DRIVER, Faulty::new());
    #[cached(timeout = 300, tags("user:{id}", "all-users"), backend = OWN)]
    fn user(id: u32) -> u32 {
        id
    }
    #[cached(timeout = 300, tags("user:{id}"), backend = OWN)]
    fn orders(id: u32, year: u32) -> Option<u32> {
        Some(id + year)
    }
    #[cached(timeout = 300, backend = OWN)]
    fn other(id: u32) -> u32 {
        id
    }
    let there = || {
        let users = [1, 2].map(|id| user::peek(id).is_some());
        let orders = [(1, 10), (1, 20), (2, 10)].map(|(id, year)| orders::peek(id, year).is_some());
        (users, orders, other::peek(1).is_some())
    };
    let (a, b) = (process(), process());
    let fill =
        || ([1, 2].map(user), [(1, 10), (1, 20), (2, 10)].map(|(id, year)| orders(id, year)), other(1));
    let all = ([true; 2], [true; 3], true);
    for (tag, left) in [
        ("user:3", all),
        ("user:1", ([false, true], [false, false, true], true)),
        ("all-users", ([false; 2], [true; 3], true)),
    ] {
        within(&a, fill);
        // What was computed in the last second may have been under what is not current any more.
        later(&b);
        assert_eq!((within(&a, there), within(&b, there)), (all, all));
        within(&a, || store().invalidate_tag(tag));
        assert_eq!(within(&a, there), left, "{tag}");
        later(&b);
        assert_eq!(within(&b, there), left, "{tag}");
        later(&a);
        assert_eq!(within(&a, there), left, "{tag}, asked for anew");
    }
}

#[test]
fn a_function_with_tags_can_be_cleared_as_a_whole() {
    #[cached(timeout = 300, tags("{n}"), backend = "memory://")]
    fn f(n: u32) -> u32 {
        n
    }
    let own = testing::isolated();
    f(1);
    f::clear();
    assert_eq!(f::peek(1), None);
    f(1);
    own.advance(SECOND);
    assert_eq!(f::peek(1), Some(1));
    assert!(f::invalidate(1));
    assert_eq!(f::peek(1), None);
}

#[test]
fn a_hit_asks_for_the_entry_and_all_generations_in_one_round_trip() {
    backend!(OWN, DRIVER, Faulty::new());
    #[cached(timeout = 300, tags("{n}", "a", "b"), backend = OWN)]
    fn f(n: u32) -> u32 {
        n
    }
    let own = testing::isolated();
    f(1);
    for advance in [Duration::ZERO, SECOND] {
        own.advance(advance);
        let before = DRIVER.operations();
        assert_eq!((f(1), DRIVER.operations() - before), (1, 1));
    }
    assert_eq!(f::stats().backend_hits, 2);
}

/// A tag is invalidated in this one of two processes while a body runs in the first.
macro_rules! while_it_is_computed {
    ($($name:ident: $driver:expr, $there:expr;)*) => {$(
        #[test]
        fn $name() {
            backend!(OWN, DRIVER, $driver);
            static GATE: Gate = Gate::new();
            static BEGAN: Runs = Runs::new();
            #[cached(timeout = 300, tags("group", "{n}"), backend = OWN)]
            fn f(n: u32) -> u32 {
                if BEGAN.add() == 1 {
                    GATE.pass();
                }
                n
            }
            let processes = [process(), process()];
            within(&processes[1], || f::peek(1));
            let body = processes[0].clone();
            let computing = thread::spawn(move || within(&body, || f(1)));
            while BEGAN.get() == 0 {
                thread::yield_now();
            }
            within(&processes[$there], || store().invalidate_tag("group"));
            GATE.open();
            assert_eq!(computing.join().expect("it is done"), 1, "its own caller gets the value");
            processes.iter().for_each(later);
            assert_eq!(processes.each_ref().map(|it| within(it, || f::peek(1))), [None; 2]);
            assert_eq!(processes.each_ref().map(|it| within(it, || f(1))), [1; 2]);
            assert_eq!(BEGAN.get(), 2, "the second value is stored");
        }
    )*};
}
while_it_is_computed! {
    an_invalidation_in_the_same_process_is_not_undone_by_a_late_write: Faulty::new(), 0;
    an_invalidation_in_another_process_is_not_undone_by_a_late_write: Faulty::new(), 1;
    without_versions_it_is_not_undone_either: Faulty::without_versions(), 1;
}

#[test]
fn copies_of_this_process_are_forgotten_at_once_and_those_of_others_with_their_timeout() {
    backend!(OWN, DRIVER, Faulty::new());
    static RUNS: Runs = Runs::new();
    #[cached(timeout = 300, local_timeout = 60, tags("group"), backend = OWN)]
    fn f(n: u32) -> u32 {
        n + RUNS.add()
    }
    let (a, b) = (process(), process());
    assert_eq!((within(&a, || f(0)), within(&b, || f(0))), (1, 1));
    within(&a, || store().invalidate_tag("group"));
    assert_eq!((within(&a, || f(0)), within(&b, || f(0))), (2, 1));
    within(&b, || testing::advance(60 * SECOND));
    assert_eq!((within(&a, f::stats).hits, within(&b, || f(0))), (0, 2));
}

#[test]
fn an_invalidation_while_the_value_is_being_written_holds_for_the_copy_too() {
    backend!(OWN, DRIVER, Faulty::new());
    #[cached(timeout = 300, local_timeout = 60, tags("group"), backend = OWN)]
    fn f(n: u32) -> u32 {
        n
    }
    let _own = testing::isolated();
    DRIVER.before_set(|| store().invalidate_tag("group"));
    assert_eq!((f(1), f::peek(1)), (1, None));
    assert_eq!((f(1), f::peek(1)), (1, Some(1)));
}

#[test]
fn what_another_process_has_invalidated_while_it_was_computed_is_no_copy_either() {
    backend!(OWN, DRIVER, Faulty::new());
    static OTHER: LazyLock<Isolated> = LazyLock::new(process);
    static RUNS: Runs = Runs::new();
    #[cached(timeout = 300, local_timeout = 60, tags("group"), backend = OWN)]
    fn f(clears: bool) -> u32 {
        let run = RUNS.add();
        if run % 2 == 1 {
            within(&OTHER, || if clears { f::clear() } else { store().invalidate_tag("group") });
            // What was known of the generations is asked for anew.
            testing::advance(SECOND);
        }
        run
    }
    within(&OTHER, f::stats);
    let a = process();
    assert_eq!(within(&a, || [f(false), f(false), f(false)]), [1, 2, 2]);
    assert_eq!(within(&a, || [f(true), f(true), f(true)]), [3, 4, 4]);
}

#[test]
fn what_is_put_after_an_invalidation_in_another_process_stays() {
    backend!(OWN, DRIVER, Faulty::new());
    #[cached(timeout = 300, tags("group"), backend = OWN)]
    fn f(n: u32) -> u32 {
        n
    }
    let processes = [process(), process(), process()];
    // All of them know the generations, and believe them for a second.
    for process in &processes {
        assert_eq!(within(process, || f(1)), 1);
    }
    within(&processes[0], || store().invalidate_tag("group"));
    within(&processes[1], || f::put(1, 55));
    for process in &processes {
        assert_eq!(within(process, || (f(1), f::peek(1))), (55, Some(55)));
    }
}

#[test]
fn generations_that_were_lost_make_misses_and_never_old_values() {
    backend!(OWN, DRIVER, Faulty::new());
    #[cached(timeout = "1h", tags("group", "{n}"), backend = OWN)]
    fn f(n: u32) -> u32 {
        n
    }
    let own = testing::isolated();
    f(1);
    for lost in DRIVER.generations() {
        DRIVER.lose(&lost);
        for _ in 0..2 {
            own.advance(SECOND);
            assert_eq!(f::peek(1), None, "{lost}");
        }
        f(1);
        own.advance(SECOND);
        assert_eq!(f::peek(1), Some(1), "{lost}");
    }
}

#[test]
fn no_tag_comes_onto_the_wire() {
    backend!(OWN, DRIVER, Faulty::new());
    static RUNS: Runs = Runs::new();
    #[cached(timeout = 300, tags(tag), key = tag, backend = OWN)]
    fn f(tag: &str) -> u32 {
        let _ = tag;
        RUNS.add()
    }
    let own = testing::isolated();
    let large = "marker ".repeat(100_000);
    let tags = [
        "",
        "marker",
        "marker\r\nset key 0 0 1\r\nx\r\n",
        "marker\0",
        ":generation",
        "{}",
        "märker \u{1F980}",
        &large,
    ];
    for tag in tags {
        let value = f(tag);
        own.advance(SECOND);
        assert_eq!(f(tag), value);
        store().invalidate_tag(tag);
        assert!(f::peek(tag).is_none() && f(tag) > value);
    }
    for key in DRIVER.keys().into_iter().chain(DRIVER.generations()) {
        let is_legal = key.len() <= 250 && key.bytes().all(|byte| byte.is_ascii_graphic());
        assert!(is_legal && !key.contains("marker"), "{key:?}");
    }
    // The function's, that of all tags, and one for each.
    assert_eq!(DRIVER.generations().len(), 2 + tags.len());
    for key in DRIVER.generations() {
        let record = DRIVER.raw(&key).expect("it is there");
        assert!(record.len() < 250 && !record.windows(6).any(|part| part == b"marker"));
    }
}

#[test]
fn an_invalidation_that_the_backend_could_not_be_told_is_made_up_for() {
    backend!(OWN, DRIVER, Faulty::new());
    // Without a timeout, since much time may pass until then.
    #[cached(tags("group"), backend = OWN)]
    fn f(n: u32) -> u32 {
        n
    }
    let (a, b) = (process(), process());
    within(&a, || f(1));
    DRIVER.set_fault(Fault::Refuses);
    within(&a, || store().invalidate_tag("group"));
    DRIVER.set_fault(Fault::None);
    assert_eq!(within(&a, || f::peek(1)), None, "what is owed counts before what is found");
    within(&b, || f(1));
    DRIVER.set_fault(Fault::Refuses);
    within(&a, || store().invalidate_tag("group"));
    DRIVER.set_fault(Fault::None);
    // Though nobody calls the function there any more.
    let begun = Instant::now();
    while within(&b, || f::peek(1)).is_some() {
        assert!(begun.elapsed() < PATIENCE, "it is not made up for");
        thread::yield_now();
        later(&b);
    }
}

#[test]
fn more_invalidations_than_can_be_owed_are_made_up_for_by_one_of_all_tags() {
    backend!(OWN, DRIVER, Faulty::new());
    // Without a timeout, since much time may pass until then.
    #[cached(tags("{n}"), backend = OWN)]
    fn f(n: u32) -> u32 {
        n
    }
    #[cached(backend = OWN)]
    fn without(n: u32) -> u32 {
        n
    }
    let (a, b) = (process(), process());
    for process in [&a, &b] {
        within(process, || (f(1), f(2), without(1)));
    }
    DRIVER.set_fault(Fault::Refuses);
    within(&a, || {
        // Those that were there first, and many others.
        (1..10_000).filter(|n| *n != 2).for_each(|n| store().invalidate_tag(&n.to_string()));
    });
    DRIVER.set_fault(Fault::None);
    // When it is asked again.
    within(&a, || testing::advance(60 * SECOND));
    assert_eq!(within(&a, || f::peek(1)), None);
    let begun = Instant::now();
    while within(&b, || f::peek(1)).is_some() {
        assert!(begun.elapsed() < PATIENCE, "it is not made up for");
        thread::yield_now();
        later(&b);
    }
    assert_eq!(within(&b, || without::peek(1)), Some(1));
    // And what is computed from now on stays, with any tag.
    within(&a, || (f(1), f(2)));
    later(&b);
    assert_eq!(within(&b, || (f::peek(1), f::peek(2))), (Some(1), Some(2)));
}

#[test]
fn what_was_invalidated_before_a_backend_is_used_is_not_served_from_it() {
    backend!(OWN, DRIVER, Faulty::new());
    #[cached(timeout = "1h", tags("{n}"), backend = OWN)]
    fn f(n: u32) -> u32 {
        n
    }
    let reads = process();
    within(&reads, || (f(1), f(2)));
    let (few, many) = (process(), process());
    within(&few, || store().invalidate_tag("1"));
    assert_eq!(within(&few, || (f::peek(1), f::peek(2))), (None, Some(2)));
    later(&reads);
    assert_eq!(within(&reads, || (f::peek(1), f::peek(2))), (None, Some(2)));
    within(&many, || (2..10_000).for_each(|n| store().invalidate_tag(&n.to_string())));
    assert_eq!(within(&many, || (f::peek(2), f::peek(1))), (None, None));
}

#[test]
fn a_process_that_has_asked_the_companion_of_one_function_tells_its_backend() {
    backend!(OWN, DRIVER, Faulty::new());
    #[cached(timeout = "1h", tags("group"), backend = OWN)]
    fn f(n: u32) -> u32 {
        n
    }
    let (reads, writes) = (process(), process());
    within(&reads, || f(1));
    within(&writes, || {
        f::stats();
        store().invalidate_tag("group");
    });
    later(&reads);
    assert_eq!(within(&reads, || f::peek(1)), None);
}

/// How long the generations of single tags live from when they were written, in milliseconds.
fn lives(driver: &Faulty) -> Vec<u64> {
    let word = |record: &[u8], at: usize| {
        u64::from_le_bytes(record[at..at + 8].try_into().expect("it is long enough"))
    };
    let records = driver.generations().into_iter().filter(|key| !key.contains(":v0:"));
    let lives = records.filter_map(|key| {
        let record = driver.raw(&key).expect("it is there");
        let expires = Some(word(&record, 16)).filter(|expires| *expires != u64::MAX);
        expires.map(|expires| expires - word(&record, 8))
    });
    let mut lives: Vec<u64> = lives.collect();
    lives.sort_unstable();
    lives
}

#[test]
fn the_generation_of_a_tag_outlives_its_entries_and_does_not_stay_for_ever() {
    const HOUR: u64 = 3_600_000;
    backend!(OWN, DRIVER, Faulty::new());
    #[cached(timeout = "10h", tags("{n}"), cache_if = |n| *n < 10, backend = OWN)]
    fn f(n: u32) -> u32 {
        n
    }
    let own = testing::isolated();
    // Nothing is known yet of how long they live.
    assert_eq!((f(99), lives(&DRIVER)), (99, vec![2 * HOUR]));
    // Then the generation of each is prolonged when it is asked for again.
    f(1);
    own.advance(SECOND);
    assert_eq!((f::peek(1), lives(&DRIVER)), (Some(1), vec![2 * HOUR, 20 * HOUR]));
    store().invalidate_tag("1");
    f(1);
    for hours in [0, 9, 9, 9] {
        own.advance(Duration::from_secs(3600 * hours) + SECOND);
        assert_eq!((f(1), lives(&DRIVER)), (1, vec![2 * HOUR, 20 * HOUR]));
    }
}

#[test]
fn without_versions_the_generation_of_a_tag_is_left_as_it_is() {
    backend!(OWN, DRIVER, Faulty::without_versions());
    #[cached(timeout = "10h", tags("{n}"), backend = OWN)]
    fn f(n: u32) -> u32 {
        n
    }
    let own = testing::isolated();
    f(1);
    own.advance(SECOND);
    assert_eq!((f::peek(1), lives(&DRIVER)), (Some(1), vec![7_200_000]));
}

/// That no thread of its caller's has to wait for it.
struct Elsewhere(Arc<Faulty>, ThreadId);

impl Driver for Elsewhere {
    fn get(&self, keys: &[&str], deadline: Instant) -> Answer<Vec<Option<Found>>> {
        assert_ne!(thread::current().id(), self.1);
        self.0.get(keys, deadline)
    }
    fn set(
        &self,
        key: &str,
        value: &[u8],
        ttl: Option<Duration>,
        expected: Expected,
        deadline: Instant,
    ) -> Answer<bool> {
        assert_ne!(thread::current().id(), self.1);
        self.0.set(key, value, ttl, expected, deadline)
    }
    fn delete(&self, key: &str, expected: Expected, deadline: Instant) -> Answer<bool> {
        assert_ne!(thread::current().id(), self.1);
        self.0.delete(key, expected, deadline)
    }
}

#[test]
fn an_async_writer_tells_the_backend_without_blocking() {
    static DRIVER: LazyLock<Arc<Faulty>> = LazyLock::new(Faulty::new);
    static OWN: Backend = Backend::driver("tags of async writers", || {
        Arc::new(Elsewhere(Arc::clone(&DRIVER), thread::current().id()))
    });
    #[cached(timeout = 300, tags("user:{id}"), backend = OWN)]
    async fn user(id: u32) -> u32 {
        id
    }
    #[invalidates(tag("user:{id}"))]
    async fn rename(id: u32) -> Result<(), ()> {
        if id > 0 { Ok(()) } else { Err(()) }
    }
    #[invalidates(before, tag("user:{id}"))]
    async fn touch(id: u32) -> Option<u32> {
        user::peek(id).await
    }
    fn is_send<F: Future + Send>(future: F) -> F {
        future
    }
    let (a, b) = (process(), process());
    let there = |process: &Isolated, id| {
        later(process);
        within(process, || smol::block_on(user::peek(id)))
    };
    within(&a, || smol::block_on(async { (user(0).await, user(1).await) }));
    assert_eq!((there(&b, 0), there(&b, 1)), (Some(0), Some(1)));
    within(&a, || smol::block_on(is_send(rename(0))).unwrap_err());
    within(&a, || smol::block_on(is_send(rename(1))).unwrap());
    assert_eq!((there(&b, 0), there(&b, 1)), (Some(0), None));
    assert_eq!((there(&a, 0), there(&a, 1)), (Some(0), None));
    assert_eq!(within(&a, || smol::block_on(is_send(touch(0)))), None, "it was forgotten before");
    assert_eq!(there(&b, 0), None);
    let shown = backends().into_iter().find(|it| it.name == OWN.to_string()).expect("it was used");
    assert_eq!(shown.failures, 0, "{:?}", shown.last_failure);
}
