//! Functions with a backend. Several processes are several stores here, over one driver.

/// A backend of one test, and its driver.
macro_rules! backend {
    ($backend:ident, $driver:ident, $new:expr) => {
        static $driver: LazyLock<Arc<Faulty>> = LazyLock::new(|| $new);
        static $backend: Backend = Backend::driver(concat!(module_path!(), line!()), || $driver.clone());
    };
}

mod bulk;
mod events;
mod failures;
mod freshness;
mod leases;
mod processes;
mod races;
mod schema;
mod tags;
mod writers;

use std::sync::Arc;
use std::time::Duration;

use cached_runtime::backend::memory::{Config, Memory};
use cached_runtime::{Backend, cached, testing};
use cached_tests::{Runs, process, within};

#[test]
fn the_second_call_is_answered_from_the_backend() {
    static RUNS: Runs = Runs::new();
    #[cached(timeout = 300, backend = "memory://")]
    fn f(n: u32, lang: &str) -> String {
        RUNS.add();
        format!("{n} {lang}")
    }
    let _own = testing::isolated();
    assert_eq!((f(1, "en"), f(1, "en"), f(1, "de")), ("1 en".into(), "1 en".into(), "1 de".into()));
    assert_eq!(RUNS.get(), 2);
    let stats = f::stats();
    assert_eq!((stats.hits, stats.misses, stats.backend_hits, stats.backend_misses), (0, 3, 1, 2));
    assert_eq!((stats.computations, stats.entries, stats.not_stored), (2, 0, 0));
    assert!((stats.hit_ratio() - 1.0 / 3.0).abs() < 1e-9);
}

#[tokio::test]
async fn an_awaited_function_does_the_same() {
    static RUNS: Runs = Runs::new();
    #[cached(timeout = 300, backend = "memory://")]
    async fn f(n: u32) -> Result<u32, String> {
        RUNS.add();
        tokio::task::yield_now().await;
        if n == 0 { Err("none".into()) } else { Ok(n) }
    }
    let own = testing::isolated();
    let store = own.store();
    drop(own);
    let task = tokio::spawn(store.run(async {
        assert_eq!((f(1).await, f(1).await, RUNS.get()), (Ok(1), Ok(1), 1));
        assert_eq!((f(0).await.is_err(), f(0).await.is_err(), RUNS.get()), (true, true, 3));
        assert_eq!(f::peek(1).await, Some(Ok(1)));
        assert!(f::invalidate(1).await && !f::invalidate(1).await);
        assert_eq!((f::peek(1).await, f(1).await, RUNS.get()), (None, Ok(1), 4));
        f::put(1, Ok(7)).await;
        assert_eq!((f(1).await, f::refresh(1).await, f(1).await), (Ok(7), Ok(1), Ok(1)));
        assert_eq!((f::uncached(1).await, RUNS.get()), (Ok(1), 6));
        f::clear().await;
        assert_eq!((f::peek(1).await, f::stats().await.backend_errors), (None, 0));
    }));
    task.await.expect("the task is done");
}

#[test]
fn the_companion_acts_on_the_backend() {
    static RUNS: Runs = Runs::new();
    #[cached(timeout = 300, skip(suffix), backend = "memory://")]
    fn f(n: u32, suffix: &str) -> Result<String, ()> {
        RUNS.add();
        Ok(format!("{n}{suffix}"))
    }
    let _own = testing::isolated();
    assert_eq!(f::peek(1), None);
    assert!(!f::invalidate(1));
    assert_eq!(f(1, "a"), Ok("1a".into()));
    assert_eq!(f::peek(1), Some(Ok("1a".into())));
    assert_eq!(f::uncached(1, "b"), Ok("1b".into()));
    assert_eq!(f(1, "c"), Ok("1a".into()));
    assert_eq!(f::refresh(1, "d"), Ok("1d".into()));
    assert_eq!(f(1, "e"), Ok("1d".into()));
    f::put(1, Ok("put".into()));
    assert_eq!(f(1, "f"), Ok("put".into()));
    f::put(1, Err(()));
    assert_eq!(f(1, "g"), Ok("put".into()), "an error is not stored, by whichever way it comes");
    assert!(f::invalidate(1));
    assert_eq!(f(1, "h"), Ok("1h".into()));
    f(2, "").unwrap();
    f::clear();
    assert_eq!((f::peek(1), f::peek(2)), (None, None));
    assert_eq!(RUNS.get(), 5);
}

#[test]
fn what_has_expired_is_not_served() {
    #[cached(timeout = 300, backend = "memory://")]
    fn f(n: u32) -> u32 {
        n
    }
    let own = testing::isolated();
    f(1);
    own.advance(Duration::from_millis(299_900));
    assert_eq!((f::peek(1), f(1), f::stats().backend_hits), (Some(1), 1, 1));
    own.advance(Duration::from_millis(200));
    assert_eq!((f::peek(1), f(1), f::stats().backend_hits), (None, 1, 1));
}

#[test]
fn short_and_endless_timeouts_are_kept() {
    #[cached(timeout = "1us", backend = "memory://")]
    fn short(n: u32) -> u32 {
        n
    }
    #[cached(backend = "memory://")]
    fn endless(n: u32) -> u32 {
        n
    }
    #[cached(timeout = Duration::MAX, backend = "memory://")]
    fn long(n: u32) -> u32 {
        n
    }
    let own = testing::isolated();
    assert_eq!((short(1), endless(1), long(1)), (1, 1, 1));
    own.advance(Duration::from_secs(86_400 * 365 * 100));
    assert_eq!((short::peek(1), endless::peek(1), long::peek(1)), (None, Some(1), Some(1)));
}

#[test]
fn copies_are_served_for_the_local_timeout() {
    static RUNS: Runs = Runs::new();
    #[cached(timeout = 300, local_timeout = "5s", backend = "memory://")]
    fn f(n: u32) -> u32 {
        RUNS.add();
        n
    }
    let own = testing::isolated();
    f(1);
    f(1);
    let stats = f::stats();
    assert_eq!((stats.hits, stats.backend_hits, stats.entries), (1, 0, 1));
    own.advance(Duration::from_secs(5));
    f(1);
    f(1);
    let stats = f::stats();
    assert_eq!((stats.hits, stats.backend_hits, stats.entries, RUNS.get()), (2, 1, 1, 1));
    assert!(f::invalidate(1));
    assert_eq!((f::peek(1), f::stats().entries), (None, 0));
    f::put(1, 7);
    assert_eq!((f(1), f::stats().entries), (7, 1));
    f::clear();
    assert_eq!(f::peek(1), None);
    // A copy does not outlive its entry.
    f(2);
    own.advance(Duration::from_secs(298));
    f(2);
    own.advance(Duration::from_secs(3));
    assert_eq!(f::peek(2), None);
}

#[test]
fn methods_and_generic_functions_have_entries_of_their_own() {
    struct One(u32);
    struct Other(u32);
    trait Named {
        fn name(&self, n: u32) -> String;
    }
    impl Named for One {
        #[cached(skip(self), backend = "memory://")]
        fn name(&self, n: u32) -> String {
            format!("one {} {n}", self.0)
        }
    }
    impl Named for Other {
        #[cached(skip(self), backend = "memory://")]
        fn name(&self, n: u32) -> String {
            format!("other {} {n}", self.0)
        }
    }
    impl One {
        #[cached(key = (self.0, n), backend = "memory://", handle = load_cache)]
        fn load(&self, n: u32) -> u32 {
            self.0 + n
        }
    }
    #[cached(backend = "memory://")]
    fn size<T: Default + ToString>(n: usize) -> String {
        format!("{} {n}", T::default().to_string())
    }
    let _own = testing::isolated();
    for _ in 0..2 {
        assert_eq!((One(1).name(2), Other(3).name(2)), ("one 1 2".into(), "other 3 2".into()));
        assert_eq!(
            (size::<u8>(1), size::<String>(1), size::<bool>(1)),
            ("0 1".into(), " 1".into(), "false 1".into())
        );
        assert_eq!((One(1).load(2), One(2).load(2), One(2).load(1)), (3, 4, 3));
    }
    let handle = || One(1).load_cache(2);
    assert_eq!(handle().peek(), Some(3));
    assert!(handle().invalidate());
    assert_eq!(handle().peek(), None);
    handle().put(9);
    assert_eq!((One(1).load(2), handle().refresh(), One(1).load(2)), (9, 3, 3));
}

#[test]
fn functions_of_one_name_in_blocks_of_one_function_have_entries_of_their_own() {
    let _own = testing::isolated();
    let one = {
        #[cached(timeout = 300, backend = "memory://")]
        fn inner(n: u32) -> u32 {
            n + 1
        }
        inner(1)
    };
    let other = {
        #[cached(timeout = 300, backend = "memory://")]
        fn inner(n: u32) -> u32 {
            n + 2
        }
        inner(1)
    };
    macro_rules! on_its_own {
        ($more:literal) => {{
            const CALL: fn(u32) -> u32 = {
                #[cached(timeout = 300, backend = "memory://")]
                fn inner(n: u32) -> u32 {
                    n + $more
                }
                inner
            };
            CALL(1)
        }};
    }
    assert_eq!([one, other, on_its_own!(3), on_its_own!(4)], [2, 3, 4, 5]);
}

#[test]
fn functions_of_one_name_within_others_have_entries_of_their_own() {
    fn one(n: u32) -> u32 {
        #[cached(backend = ONE_OF_ALL)]
        fn inner(n: u32) -> u32 {
            n + 1
        }
        inner(n)
    }
    fn other(n: u32) -> u32 {
        #[cached(backend = ONE_OF_ALL)]
        fn inner(n: u32) -> u32 {
            n + 2
        }
        inner(n)
    }
    let _own = testing::isolated();
    assert_eq!((one(1), other(1), one(1), other(1)), (2, 3, 2, 3));
}

#[test]
fn kinds_of_arguments_are_encoded() {
    use std::borrow::Cow;
    use std::path::Path;

    #[derive(Clone, PartialEq, Eq, Hash, serde::Serialize)]
    enum Kind {
        Plain,
        Sized { width: u8 },
    }
    #[expect(clippy::too_many_arguments, reason = "one of each kind")]
    #[cached(backend = "memory://")]
    fn f(
        a: &str,
        b: Option<&str>,
        c: Cow<'_, str>,
        d: &[&str],
        e: &Path,
        f: (u8, &str),
        g: [u8; 3],
        h: Kind,
        i: Vec<String>,
        (j, k): (u32, bool),
    ) -> u32 {
        let _ = (a, b, c, d, e, f, g, h, i, k);
        j
    }
    let _own = testing::isolated();
    let call = |b: Option<&str>, kind: Kind| {
        f("a", b, "c".into(), &["d"], Path::new("e"), (1, "f"), [1, 2, 3], kind, vec!["i".into()], (7, true))
    };
    for _ in 0..2 {
        call(None, Kind::Plain);
        call(Some(""), Kind::Plain);
        call(None, Kind::Sized { width: 1 });
    }
    assert_eq!((f::stats().backend_hits, f::stats().backend_misses), (3, 3));
}

#[test]
fn codecs_do_not_read_what_others_wrote() {
    mod packed {
        #[super::cached(name = "codecs", backend = super::ONE_OF_ALL)]
        pub(super) fn f(n: u32) -> u32 {
            n
        }
    }
    let _own = testing::isolated();
    assert_eq!(packed::f(1), 1);
    #[cached(name = "codecs", codec = json, backend = ONE_OF_ALL)]
    fn as_json(n: u32) -> u32 {
        n
    }
    #[cached(name = "codecs", codec = messagepack, version = 2, backend = ONE_OF_ALL)]
    fn of_version(n: u32) -> u32 {
        n
    }
    assert_eq!((as_json::peek(1), of_version::peek(1), packed::f::peek(1)), (None, None, Some(1)));
    as_json(1);
    assert_eq!((as_json::peek(1), packed::f::peek(1)), (Some(1), None));
}

static ONE_OF_ALL: Backend = Backend::driver("one of all", || Arc::new(Memory::new(Config::default())));
