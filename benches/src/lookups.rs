//! Who is asked for values that are there: functions under each attribute, and the caches without one.

use std::convert::Infallible;
use std::hash::Hash;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll, Waker};

use quick_cache::Equivalent;

use crate::caches::{self, annotated};
use crate::measure::{Case, Contender, LOOP};

/// How often a body has run, whoever called it.
pub(crate) static COMPUTED: AtomicU64 = AtomicU64::new(0);

/// The body of the functions of a number.
fn square(number: u64) -> u64 {
    COMPUTED.fetch_add(1, Relaxed);
    number.wrapping_mul(number)
}

/// The body of the functions of a text.
fn upper(text: &str) -> Arc<str> {
    COMPUTED.fetch_add(1, Relaxed);
    text.to_uppercase().into()
}

/// The functions of a number, with a capacity that is far from what they are asked for. A macro, because
/// attributes take literals, and because what is called by a pointer is not inlined.
macro_rules! squares {
    ($module:ident, $capacity:tt) => {
        mod $module {
            use super::{Contender, LOOP, Peers, annotated, square};

            annotated!($capacity, fn(number: u64) -> u64 { square(number) });

            pub(super) fn peers() -> Peers<u64, u64> {
                Peers::new($capacity)
            }

            pub(super) fn contenders(peers: &Peers<u64, u64>, keys: usize) -> Vec<Contender<'_>> {
                vec![
                    Contender::of_keys("ours", keys, |key| ours(key as u64)),
                    Contender::of_keys("cached", keys, |key| cached(key as u64)),
                    Contender::of_keys("concurrent_cached", keys, |key| concurrent_cached(key as u64)),
                    Contender::of_keys("moka", keys, |key| peers.moka(key as u64)),
                    Contender::of_keys("quick_cache", keys, |key| peers.quick_cache(key as u64)),
                    Contender::of_keys(LOOP, keys, |key| key as u64),
                ]
            }
        }
    };
}
squares!(thousands, 100_000);
squares!(millions, 2_000_000);

#[cached_runtime::cached(timeout = 3600, capacity = 100_000)]
async fn awaited_square(number: u64) -> u64 {
    square(number)
}

mod texts {
    use super::{Arc, annotated, upper};

    annotated!(100_000, fn(text: &str) -> Arc<str> { upper(text) });
}

mod pairs {
    use super::{Arc, annotated, upper};

    annotated!(100_000, fn(text: &str, bytes: &[u8]) -> Arc<str> {
        let _ = bytes;
        upper(text)
    });
}

/// A text and bytes, to be looked up without owning them.
#[derive(Hash)]
struct Pair<'a>(&'a str, &'a [u8]);

type OwnedPair = (String, Vec<u8>);

impl Pair<'_> {
    fn compute(&self, store: impl FnOnce(OwnedPair, Arc<str>)) -> Arc<str> {
        let value = upper(self.0);
        store((self.0.to_owned(), self.1.to_owned()), Arc::clone(&value));
        value
    }
}

impl Equivalent<OwnedPair> for Pair<'_> {
    fn equivalent(&self, (text, bytes): &OwnedPair) -> bool {
        self.0 == text && self.1 == bytes
    }
}

/// The caches that come without an attribute.
struct Peers<K, V> {
    moka: moka::sync::Cache<K, V>,
    quick_cache: quick_cache::sync::Cache<K, V>,
}

impl<K, V> Peers<K, V>
where
    K: Hash + Eq + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    fn new(capacity: usize) -> Self {
        Self { moka: caches::moka(capacity), quick_cache: caches::quick_cache(capacity) }
    }
}

impl Peers<u64, u64> {
    fn moka(&self, number: u64) -> u64 {
        caches::get_moka(&self.moka, &number, || square(number))
    }

    fn quick_cache(&self, number: u64) -> u64 {
        caches::get_quick_cache(&self.quick_cache, &number, || square(number))
    }
}

impl Peers<String, Arc<str>> {
    fn moka(&self, text: &str) -> Arc<str> {
        caches::get_moka(&self.moka, text, || upper(text))
    }

    fn quick_cache(&self, text: &str) -> Arc<str> {
        caches::get_quick_cache(&self.quick_cache, text, || upper(text))
    }
}

// Lookups that compute want a key that knows its owned form, which `Pair` cannot.
impl Peers<OwnedPair, Arc<str>> {
    fn moka(&self, pair: &Pair<'_>) -> Arc<str> {
        self.moka.get(pair).unwrap_or_else(|| pair.compute(|key, value| self.moka.insert(key, value)))
    }

    fn quick_cache(&self, pair: &Pair<'_>) -> Arc<str> {
        let insert = |key, value| self.quick_cache.insert(key, value);
        self.quick_cache.get(pair).unwrap_or_else(|| pair.compute(insert))
    }
}

/// The peers for each type of key and each size.
pub(crate) struct AllPeers {
    thousands: Peers<u64, u64>,
    millions: Peers<u64, u64>,
    texts: Peers<String, Arc<str>>,
    pairs: Peers<OwnedPair, Arc<str>>,
}

impl AllPeers {
    pub(crate) fn new() -> Self {
        let (thousands, millions) = (thousands::peers(), millions::peers());
        Self { thousands, millions, texts: Peers::new(100_000), pairs: Peers::new(100_000) }
    }
}

/// What a future returns that need not wait. Nothing is allocated for it, and nobody is woken.
fn at_once<T>(future: impl Future<Output = T>) -> T {
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(value) = future.as_mut().poll(&mut Context::from_waker(Waker::noop())) {
            return value;
        }
    }
}

/// The keys of the cases of texts.
pub(crate) fn names() -> Vec<String> {
    (0..1000).map(|number| format!("customer:{number}")).collect()
}

/// One case for each kind of key, 1,000 of them, and of function: those of which allocations are counted too.
pub(crate) fn kinds<'a>(peers: &'a AllPeers, names: &'a [String]) -> [Case<'a>; 4] {
    let case = |name, contenders| Case { name, threads: THREADS, contenders };
    [
        case("u64", thousands::contenders(&peers.thousands, 1000)),
        case("str", of_texts(&peers.texts, names)),
        case("str, bytes", of_pairs(peers, names)),
        Case { name: "async", threads: &[1], contenders: awaited(&peers.thousands) },
    ]
}

/// Hot keys, and more keys than what is near the processor can hold.
pub(crate) fn numbers(peers: &AllPeers) -> [Case<'_>; 3] {
    let case = |name, contenders| Case { name, threads: THREADS, contenders };
    [
        case("hot key", thousands::contenders(&peers.thousands, 1)),
        case("4 hot keys", thousands::contenders(&peers.thousands, 4)),
        case("1,000,000 keys", millions::contenders(&peers.millions, 1_000_000)),
    ]
}

const THREADS: &[u32] = &[1, 2];

fn of_texts<'a>(peers: &'a Peers<String, Arc<str>>, names: &'a [String]) -> Vec<Contender<'a>> {
    let keys = names.len();
    vec![
        Contender::of_keys("ours", keys, |key| texts::ours(&names[key])),
        Contender::of_keys("cached", keys, |key| texts::cached(&names[key])),
        Contender::of_keys("concurrent_cached", keys, |key| texts::concurrent_cached(&names[key])),
        Contender::of_keys("moka", keys, |key| peers.moka(&names[key])),
        Contender::of_keys("quick_cache", keys, |key| peers.quick_cache(&names[key])),
        Contender::of_keys(LOOP, keys, |key| names[key].as_str()),
    ]
}

/// `quick_cache` has one part of the key alone, the best that it could do; `quick_cache_pair` has both.
fn of_pairs<'a>(peers: &'a AllPeers, names: &'a [String]) -> Vec<Contender<'a>> {
    let keys = names.len();
    let pair = |key: usize| Pair(&names[key], names[key].as_bytes());
    vec![
        Contender::of_keys("ours", keys, |key| pairs::ours(&names[key], names[key].as_bytes())),
        Contender::of_keys("cached", keys, |key| pairs::cached(&names[key], names[key].as_bytes())),
        Contender::of_keys("concurrent_cached", keys, |key| {
            pairs::concurrent_cached(&names[key], names[key].as_bytes())
        }),
        Contender::of_keys("moka", keys, move |key| peers.pairs.moka(&pair(key))),
        Contender::of_keys("quick_cache", keys, |key| peers.texts.quick_cache(&names[key])),
        Contender::of_keys("quick_cache_pair", keys, move |key| peers.pairs.quick_cache(&pair(key))),
        Contender::of_keys(LOOP, keys, pair),
    ]
}

/// A hit of an `async` function, and in `sync` of one that is not.
fn awaited(peers: &Peers<u64, u64>) -> Vec<Contender<'_>> {
    let keys = 1000;
    let square = async |key: usize| Ok::<_, Infallible>(square(key as u64));
    vec![
        Contender::of_keys("ours", keys, |key| at_once(awaited_square(key as u64))),
        Contender::of_keys("sync", keys, |key| thousands::ours(key as u64)),
        Contender::of_keys("quick_cache", keys, move |key| {
            let Ok(value) = at_once(peers.quick_cache.get_or_insert_async(&(key as u64), square(key)));
            value
        }),
        Contender::of_keys(LOOP, keys, |key| key as u64),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_contenders_answer_alike() {
        let peers = AllPeers::new();
        let annotated = [thousands::ours(7), thousands::cached(7), thousands::concurrent_cached(7)];
        let others = [peers.thousands.moka(7), peers.thousands.quick_cache(7), at_once(awaited_square(7))];
        assert_eq!((annotated, others), ([49; 3], [49; 3]));

        let pair = Pair("a", b"b");
        for text in [
            texts::ours("a"),
            texts::cached("a"),
            texts::concurrent_cached("a"),
            peers.texts.moka("a"),
            peers.texts.quick_cache("a"),
            pairs::ours("a", b"b"),
            pairs::cached("a", b"b"),
            pairs::concurrent_cached("a", b"b"),
            peers.pairs.moka(&pair),
            peers.pairs.quick_cache(&pair),
        ] {
            assert_eq!(&*text, "A");
        }
    }

    #[test]
    fn a_pair_finds_what_is_stored_under_its_owned_form() {
        let peers = AllPeers::new().pairs;
        for get in [Peers::<OwnedPair, _>::moka, Peers::<OwnedPair, _>::quick_cache] {
            let first = get(&peers, &Pair("a", b"b"));
            assert!(Arc::ptr_eq(&first, &get(&peers, &Pair("a", b"b"))));
            assert!(!Arc::ptr_eq(&first, &get(&peers, &Pair("ab", b""))));
        }
    }

    #[test]
    fn a_future_that_needs_more_polls_gets_them() {
        let mut polls = 0;
        let third = std::future::poll_fn(|_| {
            polls += 1;
            if polls == 3 { Poll::Ready("done") } else { Poll::Pending }
        });
        assert_eq!(at_once(third), "done");
    }
}
