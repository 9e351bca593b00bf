//! Entries that are saved to a file, and loaded by the process to come. Here each process is a store of its own.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::hash::Hash;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use cached_runtime::{Loaded, cached, store, testing};
use cached_tests::Runs;
use proptest::prelude::*;
use serde::{Deserialize, Serialize};

/// A file of a test's own, in a folder that goes with it.
struct Place(PathBuf);

impl Place {
    fn new() -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("cached-saved-{}-{}", std::process::id(), NEXT.fetch_add(1, SeqCst));
        let folder = std::env::temp_dir().join(name);
        fs::create_dir(&folder).expect("there is no such folder");
        Self(folder.join("entries"))
    }

    /// What is in the folder.
    fn files(&self) -> usize {
        self.0.parent().expect("it is in a folder").read_dir().expect("it is there").count()
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let _ = self.0.parent().map(fs::remove_dir_all);
    }
}

impl AsRef<Path> for Place {
    fn as_ref(&self) -> &Path {
        &self.0
    }
}

fn save(place: &Place) -> u64 {
    let saved = store().save(place).expect("it is written");
    assert_eq!(saved.left_out, 0);
    saved.entries
}

/// The counts of entries, of those that wait, and of those that are skipped.
fn load(place: &Place) -> (u64, u64, u64) {
    let loaded = store().load(place).expect("it is read");
    assert!(loaded.is_whole);
    counts(loaded)
}

fn counts(loaded: Loaded) -> (u64, u64, u64) {
    (loaded.entries, loaded.waiting, loaded.skipped)
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
struct Item {
    id: u64,
    name: String,
}

fn item(id: u64) -> Item {
    Item { id, name: format!("item {id}") }
}

mod shapes {
    use super::*;

    #[cached(save)]
    pub(super) fn borrowed(slug: &str, tail: &[u8], path: Option<&Path>, names: &[&str]) -> String {
        format!("{slug} {tail:?} {path:?} {names:?}")
    }

    #[cached(save)]
    pub(super) async fn awaited(id: u64) -> Result<Item, ()> {
        if id > 0 { Ok(item(id)) } else { Err(()) }
    }

    #[cached(save, cache_none)]
    pub(super) fn optional(key: Item) -> Option<u64> {
        key.id.checked_sub(1)
    }

    #[cached(save)]
    pub(super) fn generic<T>(key: T) -> usize
    where
        T: Hash + Eq + Clone + Send + Sync + Serialize + for<'a> Deserialize<'a> + 'static,
    {
        let _ = key;
        size_of::<T>()
    }

    #[cached(save)]
    pub(super) fn mapped(keys: BTreeMap<Item, u8>) -> BTreeMap<(u64, Option<u8>), Item> {
        keys.into_iter().map(|(key, n)| ((key.id, Some(n)), key)).collect()
    }

    #[cached(save)]
    pub(super) fn nothing() -> u64 {
        7
    }

    #[cached(save, codec = json, key = u64::from(a) + u64::from(b))]
    pub(super) fn computed(a: u32, b: u32) -> u64 {
        u64::from(a) * u64::from(b)
    }

    #[cached(save)]
    #[expect(clippy::too_many_arguments, reason = "more than eight parts are a tuple in a tuple")]
    #[rustfmt::skip]
    pub(super) fn many(a: u8, b: u8, c: u8, d: u8, e: u8, f: u8, g: u8, h: u8, i: u8) -> u8 {
        a + b + c + d + e + f + g + h + i
    }

    pub(super) struct Repo(pub(super) u64);

    impl Repo {
        #[cached(save, key = (self.0, id), handle = load_cache)]
        pub(super) fn load(&self, id: u64) -> u64 {
            self.0 * id
        }

        #[cached(save, skip(self))]
        pub(super) fn without_a_handle(&self, id: u64) -> u64 {
            id
        }
    }

    /// Calls all of them; returns how many bodies have run.
    pub(super) fn call() -> u64 {
        assert_eq!(borrowed("a", &[1], Some(Path::new("/p")), &["n"]), r#"a [1] Some("/p") ["n"]"#);
        assert_eq!(borrowed("a", &[1], None, &[]), "a [1] None []");
        assert_eq!(smol::block_on(awaited(1)), Ok(item(1)));
        assert_eq!(smol::block_on(awaited(0)), Err(()));
        assert_eq!((optional(item(0)), optional(item(3))), (None, Some(2)));
        assert_eq!((generic(1_u8), generic(1_u16), generic(String::new())), (1, 2, size_of::<String>()));
        assert_eq!(mapped([(item(1), 2)].into()), [((1, Some(2)), item(1))].into());
        assert_eq!((nothing(), computed(2, 3), many(1, 2, 3, 4, 5, 6, 7, 8, 9)), (7, 6, 45));
        assert_eq!((Repo(2).load(3), Repo(3).load(3), Repo(1).without_a_handle(5)), (6, 9, 5));
        store().functions().iter().map(|function| function.stats().computations).sum()
    }
}

#[test]
fn what_was_saved_is_served_by_functions_of_every_shape() {
    const ENTRIES: u64 = 16;
    let place = Place::new();
    {
        let _own = testing::isolated();
        assert_eq!(shapes::call(), ENTRIES);
        assert_eq!(save(&place), ENTRIES - 1, "all but the error");
    }
    {
        let _own = testing::isolated();
        assert_eq!(load(&place), (0, ENTRIES - 1, 0));
        assert_eq!(shapes::call(), 1, "the one that failed");
    }
    let _own = testing::isolated();
    // The tables are there, and empty.
    shapes::call();
    store().clear();
    assert_eq!(load(&place), (ENTRIES - 1, 0, 0));
    assert_eq!(shapes::call(), ENTRIES + 1);
}

#[cached(save, timeout = 60)]
fn minute(id: u64) -> Item {
    RUNS.add();
    item(id)
}
static RUNS: Runs = Runs::new();

#[test]
fn time_goes_on_while_no_process_runs() {
    let place = Place::new();
    let own = testing::isolated();
    minute(1);
    own.advance(seconds(30));
    minute(2);
    assert_eq!(save(&place), 2);
    for (passed, there) in [(0, [true, true]), (28, [true, true]), (31, [false, true]), (61, [false, false])]
    {
        let next = testing::isolated();
        next.advance(seconds(30 + passed));
        load(&place);
        assert_eq!([1, 2].map(|id| minute::peek(id).is_some()), there, "after {passed} seconds");
        if there[0] {
            next.advance(seconds(30 - passed));
            assert_eq!([1, 2].map(|id| minute::peek(id).is_some()), [false, true], "after {passed} and more");
            next.advance(seconds(30));
            assert!(minute::peek(2).is_none());
        }
    }
    own.advance(seconds(60));
    assert_eq!(save(&place), 0, "what has expired is not saved");
}

#[test]
fn a_clock_that_has_gone_backwards_makes_no_life_longer() {
    let place = Place::new();
    {
        let own = testing::isolated();
        own.advance(seconds(100_000));
        minute(1);
        own.advance(seconds(20));
        save(&place);
    }
    // A day earlier; and a process later that has not called the function.
    for again in [false, true] {
        let mut own = testing::isolated();
        load(&place);
        own.advance(seconds(10));
        if again {
            save(&place);
            drop(own);
            own = testing::isolated();
            load(&place);
        }
        own.advance(seconds(29));
        assert!(minute::peek(1).is_some());
        own.advance(seconds(1));
        assert!(minute::peek(1).is_none());
    }
}

#[test]
fn a_timeout_that_has_become_shorter_holds_for_what_is_loaded() {
    fn old(id: u64) -> u64 {
        #[cached(save, name = "saved.shorter")]
        fn f(id: u64) -> u64 {
            id
        }
        f(id)
    }
    #[cached(save, timeout = 10, name = "saved.shorter")]
    fn f(id: u64) -> u64 {
        id
    }
    let place = Place::new();
    {
        let _own = testing::isolated();
        old(1);
        save(&place);
    }
    let own = testing::isolated();
    load(&place);
    own.advance(seconds(9));
    assert!(f::peek(1).is_some());
    own.advance(seconds(1));
    assert!(f::peek(1).is_none());
}

#[test]
fn stale_values_come_back_as_stale() {
    #[cached(save, timeout = 60, stale_if_error = 60)]
    fn f(id: u64) -> Result<u64, ()> {
        if RUNS.add() == 1 { Ok(id) } else { Err(()) }
    }
    static RUNS: Runs = Runs::new();
    let place = Place::new();
    let own = testing::isolated();
    assert_eq!(f(1), Ok(1));
    own.advance(seconds(90));
    assert_eq!((f::peek(1), save(&place)), (None, 1));
    let next = testing::isolated();
    next.advance(seconds(90));
    load(&place);
    assert_eq!((f::peek(1), f(1)), (None, Ok(1)), "in place of the error");
    assert_eq!(f::stats().errors_hidden, 1);
    next.advance(seconds(30));
    assert_eq!(f(1), Err(()));
}

#[test]
fn what_is_invalidated_after_loading_does_not_come_back() {
    let place = Place::new();
    {
        let _own = testing::isolated();
        (1..4).for_each(|id| drop(minute(id)));
        save(&place);
    }
    let there = || (1..4).filter(|id| minute::peek(*id).is_some()).collect::<Vec<_>>();
    {
        let _own = testing::isolated();
        load(&place);
        assert!(minute::invalidate(2));
        assert_eq!(there(), [1, 3]);
    }
    {
        let _own = testing::isolated();
        load(&place);
        minute::put(2, item(9));
        assert_eq!(minute(2), item(9));
    }
    {
        let _own = testing::isolated();
        load(&place);
        minute::clear();
        assert!(there().is_empty());
    }
    let _own = testing::isolated();
    load(&place);
    store().clear();
    assert!(there().is_empty());
}

/// A value that does something while it is decoded.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(from = "u64", into = "u64")]
struct Acting(u64);

static ACTION: Mutex<Option<fn(u64)>> = Mutex::new(None);

impl From<u64> for Acting {
    fn from(number: u64) -> Self {
        let action = *ACTION.lock().expect("nobody panics");
        if let Some(action) = action {
            action(number);
        }
        Self(number)
    }
}

impl From<Acting> for u64 {
    fn from(acting: Acting) -> Self {
        acting.0
    }
}

#[cached(save, capacity = 10)]
fn acting(id: u64) -> Acting {
    Acting(id)
}

/// The entries that are there after those of 1 to 3 were loaded, while each did this when it was decoded.
fn there_after(action: fn(u64), before: impl Fn()) -> Vec<u64> {
    let place = Place::new();
    {
        let _own = testing::isolated();
        for id in 1..4 {
            acting(id);
        }
        save(&place);
    }
    let _own = testing::isolated();
    before();
    *ACTION.lock().expect("nobody panics") = Some(action);
    load(&place);
    let there = (1..4).filter(|id| acting::peek(*id).is_some()).collect();
    *ACTION.lock().expect("nobody panics") = None;
    there
}

#[test]
fn what_happens_while_entries_are_loaded_wins_over_them() {
    // Before the table is there, and when it is.
    for before in [
        || (),
        || {
            acting::peek(0);
        },
    ] {
        assert_eq!(there_after(|_| (), before), [1, 2, 3]);
        assert_eq!(
            there_after(
                |number| {
                    acting::invalidate(number);
                },
                before
            ),
            [0; 0]
        );
        let one = |number| {
            if number == 2 {
                acting::invalidate(2);
            }
        };
        assert_eq!(there_after(one, before), [1, 3]);
        assert_eq!(there_after(|_| acting::clear(), before), [0; 0]);
        assert_eq!(there_after(|_| store().clear(), before), [0; 0]);
        let put_and_evict = |number| {
            acting::put(number, Acting(7));
            acting::invalidate(number);
        };
        assert_eq!(there_after(put_and_evict, before), [0; 0]);
        // Which is not to be waited for.
        assert_eq!(there_after(|number| assert_eq!(acting(number), Acting(number)), before), [1, 2, 3]);
        assert_eq!(there_after(|number| assert_ne!(number, 1, "it panics"), before), [2, 3]);
    }
}

#[test]
fn a_key_that_has_an_entry_keeps_it() {
    let place = Place::new();
    {
        let _own = testing::isolated();
        (1..4).for_each(|id| drop(minute(id)));
        save(&place);
    }
    let _own = testing::isolated();
    minute::put(2, item(9));
    assert_eq!(load(&place), (2, 0, 1));
    assert_eq!([1, 2, 3].map(minute), [item(1), item(9), item(3)]);
    assert_eq!(load(&place), (0, 0, 3));
}

#[test]
fn what_has_waited_in_vain_is_saved_again() {
    let place = Place::new();
    {
        let _own = testing::isolated();
        minute(1);
        save(&place);
    }
    {
        let _own = testing::isolated();
        load(&place);
        shapes::nothing();
        assert_eq!(save(&place), 2);
    }
    let _own = testing::isolated();
    assert_eq!(load(&place), (0, 2, 0));
    assert_eq!(minute::peek(1), Some(item(1)));
    // Of two files the last counts, for functions that have not been called.
    let _own = testing::isolated();
    load(&place);
    assert_eq!(load(&place), (0, 2, 0));
    minute::peek(1);
    shapes::nothing();
    assert_eq!(save(&place), 2);
}

#[test]
fn another_version_or_codec_or_function_has_no_use_for_it() {
    mod other {
        use super::*;
        #[cached(save, name = "saved.versions", version = 2)]
        pub(super) fn version(id: u64) -> u64 {
            id + 2
        }
        #[cached(save, name = "saved.versions", codec = json)]
        pub(super) fn codec(id: u64) -> u64 {
            id + 3
        }
        #[cached(save, name = "saved.versions")]
        pub(super) fn value(id: u64) -> String {
            id.to_string()
        }
        #[cached(save, name = "saved.versions")]
        pub(super) fn key(id: (u64, u64)) -> u64 {
            id.0
        }
        #[cached(save, name = "saved.others")]
        pub(super) fn name(id: u64) -> u64 {
            id + 4
        }
    }
    #[cached(save, name = "saved.versions")]
    fn f(id: u64) -> u64 {
        id
    }
    let place = Place::new();
    {
        let _own = testing::isolated();
        f(1);
        save(&place);
    }
    let absent: [fn() -> bool; 5] = [
        || other::version::peek(1).is_none(),
        || other::codec::peek(1).is_none(),
        || other::value::peek(1).is_none(),
        || other::key::peek((1, 1)).is_none(),
        || other::name::peek(1).is_none(),
    ];
    for (at, absent) in absent.into_iter().enumerate() {
        let _own = testing::isolated();
        load(&place);
        assert!(absent(), "{at}");
    }
    let _own = testing::isolated();
    load(&place);
    assert_eq!(f::peek(1), Some(1));
}

#[test]
fn what_would_come_back_as_something_else_is_left_out() {
    #[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
    struct Key {
        id: u64,
        #[serde(skip)]
        tenant: u64,
    }
    #[cached(save)]
    fn keyed(key: Key) -> u64 {
        key.tenant
    }
    #[cached(save)]
    #[expect(clippy::option_option, reason = "it is about these")]
    fn nested(id: u64) -> Vec<Option<Option<u64>>> {
        vec![Some((id > 1).then_some(id))]
    }
    let place = Place::new();
    let _own = testing::isolated();
    for tenant in [0, 1] {
        keyed(Key { id: 1, tenant });
        nested(tenant + 1);
    }
    let saved = store().save(&place).expect("it is written");
    assert_eq!((saved.entries, saved.left_out), (2, 2));
    store().clear();
    assert_eq!(load(&place), (2, 0, 0));
    assert_eq!([0, 1].map(|tenant| keyed::peek(Key { id: 1, tenant })), [Some(0), None]);
    assert_eq!([1, 2].map(|id| nested::peek(id).is_some()), [false, true]);
}

#[test]
fn weights_and_capacities_hold_for_what_is_loaded() {
    #[cached(save, name = "saved.weighed", capacity = 1000, weigh = String::len)]
    fn f(len: usize) -> String {
        "x".repeat(len)
    }
    mod smaller {
        use super::*;
        #[cached(save, name = "saved.weighed", capacity = 350, weigh = String::len)]
        pub(super) fn f(len: usize) -> String {
            "y".repeat(len)
        }
    }
    let place = Place::new();
    let _own = testing::isolated();
    for len in [100, 200, 300] {
        f(len);
    }
    save(&place);
    store().clear();
    load(&place);
    assert_eq!((f::stats().entries, f::stats().weight), (3, 600));
    {
        let _own = testing::isolated();
        load(&place);
        assert!(smaller::f::peek(0).is_none());
        let stats = smaller::f::stats();
        assert!(stats.weight > 0 && stats.weight <= 350, "{}", stats.weight);
    }
    let _own = testing::isolated();
    store().set_max_entries(2);
    load(&place);
    f::peek(0);
    assert_eq!(f::stats().entries, 2);
}

/// What a file with these bytes is good for: the values of three keys, each either right or absent.
fn values_in(bytes: &[u8], place: &Place) -> io::Result<([bool; 3], bool)> {
    #[cached(save, timeout = "1h", capacity = 8, name = "saved.small")]
    fn small(id: u64) -> Item {
        item(id)
    }
    fs::write(place, bytes)?;
    let _own = testing::isolated();
    if bytes.is_empty() {
        for id in [1, 2, 3] {
            small(id);
        }
        save(place);
        return Ok(([true; 3], true));
    }
    let loaded = store().load(place)?;
    let there = [1, 2, 3].map(|id| {
        let value = small::peek(id);
        assert!(value.is_none() || value == Some(item(id)), "{value:?} under {id}");
        value.is_some()
    });
    assert_eq!(small::stats().entries, there.iter().filter(|it| **it).count() as u64, "and none other");
    Ok((there, loaded.is_whole))
}

#[test]
fn a_file_that_is_cut_off_or_damaged_gives_no_wrong_value() {
    let place = Place::new();
    values_in(&[], &place).expect("it is written");
    let bytes = fs::read(&place).expect("it is there");
    assert_eq!(values_in(&bytes, &place).expect("it is whole"), ([true; 3], true));
    for len in 1..bytes.len() {
        match values_in(&bytes[..len], &place) {
            Ok((_, is_whole)) => assert!(!is_whole, "{len} bytes"),
            Err(error) => assert_eq!((error.kind(), len < 12), (io::ErrorKind::InvalidData, true)),
        }
    }
    let mut most = 0;
    for bit in 0..bytes.len() * 8 {
        let mut flipped = bytes.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        if let Ok((there, is_whole)) = values_in(&flipped, &place) {
            assert!(!is_whole, "bit {bit}");
            most = most.max(there.iter().filter(|it| **it).count());
        }
    }
    assert_eq!(most, 3, "what stands before the damage is there");
}

#[test]
fn what_is_no_such_file_is_an_error_and_nothing_is_lost() {
    let place = Place::new();
    let _own = testing::isolated();
    minute(1);
    assert_eq!(store().load(&place).expect_err("there is none").kind(), io::ErrorKind::NotFound);
    for foreign in [&b""[..], b"something else", b"cchdsave\x02\0\0\0\0\0\0\0"] {
        fs::write(&place, foreign).expect("it is written");
        assert_eq!(store().load(&place).expect_err("it is foreign").kind(), io::ErrorKind::InvalidData);
    }
    assert_eq!(minute::peek(1), Some(item(1)));
    assert!(store().save(place.0.join("no/such/folder")).is_err());
    assert!(store().save("/").is_err());
    // A folder in its place.
    let folder = Place::new();
    fs::remove_dir_all(folder.0.parent().expect("it is in a folder")).expect("it is there");
    fs::create_dir_all(folder.0.join("full")).expect("there is none");
    assert!(store().save(&folder).is_err());
    assert_eq!(folder.files(), 1, "nothing is left behind");
}

#[test]
fn the_file_is_replaced_as_a_whole_and_is_its_owners_alone() {
    let place = Place::new();
    let _own = testing::isolated();
    fs::write(&place, "something else").expect("it is written");
    minute(1);
    save(&place);
    assert_eq!(place.files(), 1);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        let mode = fs::metadata(&place).expect("it is there").permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
    }
    store().clear();
    assert_eq!(load(&place), (1, 0, 0));
}

#[test]
fn others_go_on_while_entries_are_saved() {
    #[cached(save, capacity = 100_000)]
    fn f(id: u64) -> u64 {
        id * 3
    }
    let place = Place::new();
    let own = testing::isolated();
    for id in 0..20_000 {
        f(id);
    }
    std::thread::scope(|scope| {
        for part in 1..3 {
            let own = own.store();
            scope.spawn(move || {
                let _own = own.enter();
                for id in 0..20_000 {
                    f(id + part * 20_000);
                }
                for id in (0..20_000).step_by(2) {
                    f::invalidate(id);
                }
            });
        }
        for _ in 0..5 {
            assert!(save(&place) >= 10_000);
            let _own = testing::isolated();
            let (_, waiting, _) = load(&place);
            f::peek(0);
            assert_eq!(f::stats().entries, waiting, "no key is there twice");
            assert!((0..60_000).all(|id| f::peek(id).is_none_or(|value| value == id * 3)));
            assert!((1..20_000).step_by(2).all(|id| f::peek(id).is_some()), "nothing was left out");
        }
    });
}

#[derive(Clone, Debug)]
enum Step {
    Put(u64, u64),
    Invalidate(u64),
    Clear,
    Pass(u64),
    /// Saves, and goes on in a process that has loaded what was saved, so many seconds later.
    Restart(u64),
    /// In a process that has called the function before it loads.
    LateRestart,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => (0..6_u64, any::<u64>()).prop_map(|(id, value)| Step::Put(id, value)),
        3 => (0..6_u64).prop_map(Step::Invalidate),
        1 => Just(Step::Clear),
        3 => (1..20_u64).prop_map(Step::Pass),
        3 => (0..10_u64).prop_map(Step::Restart),
        1 => Just(Step::LateRestart),
    ];
    prop::collection::vec(step, 1..40)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn entries_live_on_as_if_there_were_one_process(steps in steps()) {
        #[cached(save, timeout = |value| seconds(value % 30 + 1), capacity = 64)]
        fn f(id: u64) -> u64 {
            id
        }
        let place = Place::new();
        let mut own = testing::isolated();
        // The seconds that have passed in this process, and until each entry expires, by the same clock.
        let mut now = 0;
        let mut model: HashMap<u64, (u64, u64)> = HashMap::new();
        for step in steps {
            match step {
                Step::Put(id, value) => {
                    f::put(id, value);
                    model.insert(id, (value, now + value % 30 + 1));
                }
                Step::Invalidate(id) => {
                    let was_there = model.remove(&id).is_some_and(|(_, expires)| expires > now);
                    prop_assert_eq!(f::invalidate(id), was_there);
                }
                Step::Clear => {
                    f::clear();
                    model.clear();
                }
                Step::Pass(time) => {
                    own.advance(seconds(time));
                    now += time;
                }
                Step::Restart(_) | Step::LateRestart => {
                    save(&place);
                    drop(own);
                    own = testing::isolated();
                    let time = if let Step::Restart(time) = step { time } else { 0 };
                    now += time;
                    // The moments of a new store are later than those of an old one: by less than a second.
                    own.advance(seconds(now));
                    if let Step::LateRestart = step {
                        f::peek(0);
                    }
                    load(&place);
                }
            }
            for id in 0..6 {
                let expected = model.get(&id).filter(|(_, expires)| *expires > now);
                let value = f::peek(id);
                // Lives are a little shorter by a restart.
                let is_late = expected.is_some_and(|(_, expires)| *expires == now + 1);
                prop_assert!(value == expected.map(|(value, _)| *value) || value.is_none() && is_late);
            }
        }
    }
}
