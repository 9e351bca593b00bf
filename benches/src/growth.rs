//! Growth: what an insert costs in a cache that has room, the more entries there are.

use std::cell::Cell;
use std::hint::black_box;
use std::io;
use std::ops::Range;
use std::time::{Duration, Instant};

use crate::caches;
use crate::histogram::{Histogram, QUANTILES};
use crate::measure::{LOOP, Sampler, medians};
use crate::random::scattered;
use crate::report::{Row, Unit};
use crate::scheduler;

pub(crate) fn about(quick: bool) -> String {
    format!(
        "an insert of a new key, with room for {CAPACITY} entries, medians of {} rounds; what is not a mean includes \
         a reading of the clock; `{LOOP}` does nothing else, for as long; `{BOXES}` allocates as much as an entry takes",
        rounds(quick)
    )
}

pub(crate) fn run(quick: bool) -> io::Result<Vec<Row>> {
    let decades = decades(if quick { 1_000_000 } else { 10_000_000 });
    let took = Cell::new(Duration::ZERO);
    let samplers = vec![
        Sampler::new("ours", || {
            let (figures, span) = sample::<Ours>(&decades, Duration::ZERO);
            took.set(span);
            Ok(figures)
        }),
        Sampler::new("quick_cache", || Ok(sample::<QuickCache>(&decades, Duration::ZERO).0)),
        Sampler::new(BOXES, || Ok(sample::<Boxes>(&decades, Duration::ZERO).0)),
        Sampler::new(LOOP, || Ok(sample::<Nothing>(&decades, took.get()).0)),
    ];
    medians(samplers, rounds(quick), cases(&decades))
}

/// Allocations alone, of as much memory as an entry of ours takes in all.
const BOXES: &str = "boxes";

fn rounds(quick: bool) -> usize {
    if quick { 1 } else { 5 }
}

/// Of the figures of a sample.
fn cases(decades: &[Range<u64>]) -> Vec<(String, Unit)> {
    let means = decades.iter().map(|decade| format!("mean, {} to {} entries", decade.start, decade.end));
    let quantiles = QUANTILES.iter().map(|(name, _)| format!("{name} of the last decade"));
    let others = [
        ("max of the last decade", Unit::MILLISECONDS),
        ("max of the last decade, while it had a core", Unit::MILLISECONDS),
        ("mean of the last decade over the first", Unit::TIMES_AS_LONG),
    ];
    let others = others.map(|(case, unit)| (case.to_owned(), unit));
    means.chain(quantiles).map(|case| (case, Unit::NANOSECONDS)).chain(others).collect()
}

/// From 1,000 on.
fn decades(last: u64) -> Vec<Range<u64>> {
    let starts = std::iter::successors(Some(1000), |start| Some(start * 10));
    starts.take_while(|start| *start < last).map(|start| start..start * 10).collect()
}

// As in the attribute.
const CAPACITY: usize = 20_000_000;

#[cached_runtime::cached(timeout = 3600, capacity = 20_000_000)]
fn function(number: u64) -> u64 {
    number
}

/// A cache that is empty when it is made, and gone when it is dropped.
trait Growing {
    fn new() -> Self;
    fn insert(&self, number: u64);
}

struct Ours;

impl Growing for Ours {
    fn new() -> Self {
        Self
    }

    fn insert(&self, number: u64) {
        black_box(function(number));
    }
}

impl Drop for Ours {
    // Another thread frees what was cleared, which must not be part of what is timed next.
    fn drop(&mut self) {
        function::clear();
        scheduler::wait_for_quiet();
    }
}

type QuickCache = quick_cache::sync::Cache<u64, u64>;

impl Growing for QuickCache {
    fn new() -> Self {
        caches::quick_cache(CAPACITY)
    }

    fn insert(&self, number: u64) {
        self.insert(number, number);
    }
}

/// Allocates as much as an entry takes, and keeps it: what new memory costs at worst.
#[derive(Default)]
struct Boxes(Cell<Option<Box<Link>>>);

struct Link {
    next: Option<Box<Self>>,
    _rest: [u64; 7],
}

impl Growing for Boxes {
    fn new() -> Self {
        Self::default()
    }

    fn insert(&self, number: u64) {
        self.0.set(Some(Box::new(Link { next: self.0.take(), _rest: [number; 7] })));
    }
}

impl Drop for Boxes {
    // One by one, as the stack is not deep enough for all of them.
    fn drop(&mut self) {
        let mut next = self.0.take();
        while let Some(mut link) = next {
            next = link.next.take();
        }
    }
}

/// What the loop does besides; it shows what the machine adds.
struct Nothing;

impl Growing for Nothing {
    fn new() -> Self {
        Self
    }

    fn insert(&self, number: u64) {
        black_box(number);
    }
}

/// The means of all decades; then, of another cache, what single inserts of the last one took, and how long
/// all of them, which is made at least so long.
fn sample<G: Growing>(decades: &[Range<u64>], at_least: Duration) -> (Vec<f64>, Duration) {
    let mut figures = means::<G>(decades);
    let growth = figures.last().zip(figures.first()).map(|(late, early)| late / early);
    let last = decades.last().cloned().unwrap_or_default();
    let start = Instant::now();
    let singles = singles::<G>(last, at_least);
    figures.extend(singles.histogram.quantiles());
    figures.extend([singles.histogram.max() / 1e6, singles.longest.as_secs_f64() * 1e3]);
    figures.extend(growth);
    (figures, start.elapsed())
}

fn means<G: Growing>(decades: &[Range<u64>]) -> Vec<f64> {
    let cache = G::new();
    let first = decades.first().map_or(0, |decade| decade.start);
    insert_all(&cache, 0..first);
    let mean = |decade: &Range<u64>| {
        let start = Instant::now();
        insert_all(&cache, decade.clone());
        start.elapsed().as_secs_f64() * 1e9 / (decade.end - decade.start) as f64
    };
    decades.iter().map(mean).collect()
}

struct Singles {
    histogram: Histogram,
    /// Less the time for which the thread had no core.
    longest: Duration,
}

fn singles<G: Growing>(decade: Range<u64>, at_least: Duration) -> Singles {
    let cache = G::new();
    insert_all(&cache, 0..decade.start);
    let mut singles = Singles { histogram: Histogram::new(), longest: Duration::ZERO };
    let start = Instant::now();
    singles.add_all(&cache, decade.clone());
    while start.elapsed() < at_least {
        singles.add_all(&cache, decade.clone());
    }
    singles
}

impl Singles {
    /// The kernel is asked how long the thread has waited only now and then, and where it may have.
    fn add_all(&mut self, cache: &impl Growing, numbers: Range<u64>) {
        let mut waited = scheduler::waited();
        for number in numbers {
            let span = self.histogram.time(|| cache.insert(scattered(number)));
            if span > self.longest || number % 1024 == 0 {
                let now = scheduler::waited();
                self.longest = self.longest.max(span.saturating_sub(now.saturating_sub(waited)));
                waited = now;
            }
        }
    }
}

fn insert_all<G: Growing>(cache: &G, numbers: Range<u64>) {
    for number in numbers {
        cache.insert(scattered(number));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decades_go_from_a_thousand_to_the_last() {
        assert_eq!(decades(100_000), [1000..10_000, 10_000..100_000]);
    }

    #[test]
    fn there_is_a_figure_for_each_case_and_nothing_is_left_behind() {
        let decades = decades(10_000);
        let samples = [
            sample::<Ours>(&decades, Duration::ZERO),
            sample::<QuickCache>(&decades, Duration::ZERO),
            sample::<Boxes>(&decades, Duration::ZERO),
            sample::<Nothing>(&decades, Duration::from_millis(1)),
        ];
        for (figures, _) in samples {
            assert_eq!(figures.len(), cases(&decades).len());
            assert!(figures.iter().all(|figure| *figure > 0.0), "{figures:?}");
        }
        let stats = function::stats();
        assert_eq!((stats.computations, stats.entries), (20_000, 0));
    }
}
