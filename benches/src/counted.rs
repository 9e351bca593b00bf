//! What the second program counts, in whose allocator: the bytes that an entry takes, of all that a cache
//! allocates, and the allocations of a hit.

use std::hash::Hash;
use std::hint::black_box;
use std::process::ExitCode;

use cached::Cached;
use moka::sync::Cache;
use stats_alloc::INSTRUMENTED_SYSTEM;

use crate::caches;
use crate::lookups::{self, AllPeers};
use crate::measure::Case;
use crate::report::{Row, Unit};

// As in the attributes.
const CAPACITY: usize = 1_000_000;

mod numbers {
    crate::caches::annotated!(1_000_000, fn(number: u64) -> u64 { number });
}

mod texts {
    crate::caches::annotated!(1_000_000, fn(text: &str) -> String { super::value_of(text) });
}

/// Of 20 bytes.
fn key(number: u64) -> String {
    format!("{number:020}")
}

/// Of 100 bytes.
fn value_of(key: &str) -> String {
    key.repeat(5)
}

/// Bytes.
fn allocated() -> usize {
    let stats = INSTRUMENTED_SYSTEM.stats();
    stats.bytes_allocated - stats.bytes_deallocated
}

/// Fills a cache, looks a part of it up, as a program would, so that what the cache has put off is done,
/// and divides what is allocated by the number of entries.
fn bytes_per_entry<C>(
    entries: u64,
    new: impl FnOnce() -> C,
    get: impl Fn(&C, u64),
    count: impl FnOnce(&C) -> u64,
) -> f64 {
    let before = allocated();
    let cache = new();
    (0..entries).chain(0..entries / 10).for_each(|number| get(&cache, number));
    let count = count(&cache);
    let bytes = allocated().saturating_sub(before);
    bytes as f64 / count as f64
}

fn of_function<K, V>(
    entries: u64,
    key: fn(u64) -> K,
    call: impl Fn(&K) -> V,
    count: impl Fn() -> u64,
) -> f64 {
    let get = |(): &(), number| drop(black_box(call(&key(number))));
    bytes_per_entry(entries, || (), get, |()| count())
}

fn of_moka<K, V>(entries: u64, key: fn(u64) -> K, value: fn(&K) -> V) -> f64
where
    K: Hash + Eq + Clone + Send + Sync + 'static,
    V: Clone + Send + Sync + 'static,
{
    let get = |cache: &Cache<K, V>, number| {
        let key = key(number);
        drop(black_box(caches::get_moka(cache, &key, || value(&key))));
    };
    let count = |cache: &Cache<K, V>| {
        cache.run_pending_tasks();
        cache.entry_count()
    };
    bytes_per_entry(entries, || caches::moka(CAPACITY), get, count)
}

fn of_quick_cache<K: Hash + Eq + Clone, V: Clone>(
    entries: u64,
    key: fn(u64) -> K,
    value: fn(&K) -> V,
) -> f64 {
    let get = |cache: &quick_cache::sync::Cache<K, V>, number| {
        let key = key(number);
        drop(black_box(caches::get_quick_cache(cache, &key, || value(&key))));
    };
    bytes_per_entry(entries, || caches::quick_cache(CAPACITY), get, |cache| cache.len() as u64)
}

/// Each cache in a process of its own, so that none frees what another has allocated.
fn of_entry(case: &str, cache: &str, entries: u64) -> Option<f64> {
    let number = |number| number;
    let bytes = match (case, cache) {
        ("u64", "ours") => {
            of_function(entries, number, |it| numbers::ours(*it), || numbers::ours::stats().entries)
        }
        ("u64", "cached") => of_function(
            entries,
            number,
            |it| numbers::cached(*it),
            || numbers::CACHED.read().cache_size() as u64,
        ),
        ("u64", "concurrent_cached") => of_function(
            entries,
            number,
            |it| numbers::concurrent_cached(*it),
            || numbers::CONCURRENT_CACHED.len() as u64,
        ),
        ("u64", "moka") => of_moka(entries, number, |it| *it),
        ("u64", "quick_cache") => of_quick_cache(entries, number, |it| *it),
        ("String", "ours") => {
            of_function(entries, key, |it| texts::ours(it), || texts::ours::stats().entries)
        }
        ("String", "cached") => {
            of_function(entries, key, |it| texts::cached(it), || texts::CACHED.read().cache_size() as u64)
        }
        ("String", "concurrent_cached") => of_function(
            entries,
            key,
            |it| texts::concurrent_cached(it),
            || texts::CONCURRENT_CACHED.len() as u64,
        ),
        ("String", "moka") => of_moka(entries, key, |it| value_of(it)),
        ("String", "quick_cache") => of_quick_cache(entries, key, |it| value_of(it)),
        _ => return None,
    };
    Some(bytes)
}

const HITS: u32 = 100_000;

/// Those of all threads that there are.
fn of_hits() -> Vec<Row> {
    let (peers, names) = (AllPeers::new(), lookups::names());
    let allocations = || {
        let stats = INSTRUMENTED_SYSTEM.stats();
        stats.allocations + stats.reallocations
    };
    let row = |case: &Case<'_>| {
        let figures = case.contenders.iter().map(|contender| contender.counted(allocations, HITS));
        Row::new(format!("{}, per hit", case.name), Unit::ALLOCATIONS, figures)
    };
    lookups::kinds(&peers, &names).iter().map(row).collect()
}

/// Counts what the command line asks for, and prints it.
#[must_use]
pub fn count() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let answer = match arguments.as_slice() {
        ["hit"] => Some(of_hits().iter().map(|row| row.json("hit", None) + "\n").collect()),
        ["entry", case, cache, entries] => {
            let bytes = entries.parse().ok().and_then(|entries| of_entry(case, cache, entries));
            bytes.map(|bytes| format!("{bytes}\n"))
        }
        _ => None,
    };
    let Some(answer) = answer else {
        eprintln!(
            "usage: compare-memory hit\n       compare-memory entry u64|String {} ENTRIES",
            caches::NAMES.join("|")
        );
        return ExitCode::from(2);
    };
    print!("{answer}");
    ExitCode::SUCCESS
}
