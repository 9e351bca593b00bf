//! Misses: what a call costs whose value is not there, in a cache that has no room for it.

use std::hint::black_box;
use std::io;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;

use crate::caches;
use crate::measure::{Case, Contender, Effort, LOOP, measure, with_throughputs};
use crate::random::scattered;
use crate::report::Row;

pub(crate) fn about(quick: bool) -> String {
    format!(
        "ns per miss of a new key that is stored in the place of another, {CAPACITY} entries, median of {} rounds; \
         each time includes `{LOOP}`, which makes the key; moka and quick_cache `insert`",
        Effort::new(quick).rounds
    )
}

/// Fails if a call was a hit.
pub(crate) fn run(quick: bool) -> io::Result<Vec<Row>> {
    let case = Case { name: "u64", threads: &[1, 2], contenders: contenders() };
    let measured = measure(&[case], Effort::new(quick));
    let hits = functions::ours::stats().hits;
    if hits > 0 {
        return Err(io::Error::other(format!("{hits} calls were hits; the times are not those of misses")));
    }
    Ok(with_throughputs(&measured))
}

// As in the attributes.
const CAPACITY: usize = 100_000;

mod functions {
    crate::caches::annotated!(100_000, fn(number: u64) -> u64 { number });
}

fn contenders() -> Vec<Contender<'static>> {
    let (moka, quick_cache) = (caches::moka(CAPACITY), caches::quick_cache(CAPACITY));
    vec![
        contender("ours", functions::ours),
        contender("cached", functions::cached),
        contender("concurrent_cached", functions::concurrent_cached),
        contender("moka", move |key| moka.insert(key, key)),
        contender("quick_cache", move |key| quick_cache.insert(key, key)),
        contender(LOOP, |key| key),
    ]
}

/// One who is called with keys that are always new, and is full.
fn contender<'a, V>(name: &'static str, call: impl Fn(u64) -> V + Sync + 'a) -> Contender<'a> {
    let call = move |operations| {
        for key in new_keys(operations) {
            black_box(call(black_box(key)));
        }
    };
    // Twice, since the shards of a cache do not fill up alike.
    call(2 * CAPACITY as u64);
    Contender::new(name, move |_, operations| call(u64::from(operations)))
}

/// Keys that nobody has had.
fn new_keys(count: u64) -> impl Iterator<Item = u64> {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let first = NEXT.fetch_add(count, Relaxed);
    (first..first + count).map(scattered)
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn a_key_never_comes_twice() {
        let keys: HashSet<_> = new_keys(1000).chain(new_keys(1000)).collect();
        assert_eq!(keys.len(), 2000);
    }

    #[test]
    fn every_call_evicts() {
        contender("ours", functions::ours);
        let before = functions::ours::stats();
        for key in new_keys(1000) {
            functions::ours(key);
        }
        let after = functions::ours::stats();
        assert_eq!((before.entries, after.entries), (CAPACITY as u64, CAPACITY as u64));
        assert_eq!((after.evictions - before.evictions, after.hits), (1000, 0));
    }
}
