//! Growth: what an insert costs in a cache that has room, the more entries there are.

use std::hint::black_box;
use std::io;
use std::ops::Range;
use std::time::Instant;

use crate::caches;
use crate::histogram::{Histogram, QUANTILES};
use crate::measure::{Sampler, medians};
use crate::random::scattered;
use crate::report::{Findings, Unit};

const ROUNDS: usize = 3;

pub(crate) fn run(quick: bool) -> io::Result<Findings> {
    let decades = decades(if quick { 1_000_000 } else { 10_000_000 });
    let means = decades.iter().map(|decade| format!("mean, {} to {} entries", decade.start, decade.end));
    let quantiles = QUANTILES.iter().map(|(name, _)| format!("{name} of the last decade"));
    let cases = means.chain(quantiles).map(|case| (case, Unit::NANOSECONDS));
    let max = ("max of the last decade".to_owned(), Unit::MILLISECONDS);
    let cases = cases.chain([max]).collect();
    let samplers = vec![
        Sampler::new("ours", || Ok(sample::<Ours>(&decades))),
        Sampler::new("quick_cache", || Ok(sample::<QuickCache>(&decades))),
    ];
    let rows = medians(samplers, ROUNDS, cases)?;
    let about = format!(
        "an insert of a new key, with room for {CAPACITY} entries, medians of {ROUNDS} rounds; what is not a mean \
         includes a reading of the clock"
    );
    Ok(Findings { about, rows, footer: String::new() })
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
    fn drop(&mut self) {
        function::clear();
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

/// The means of all decades; then, of another cache, the quantiles and the maximum of the last one, where
/// each insert is timed.
fn sample<G: Growing>(decades: &[Range<u64>]) -> Vec<f64> {
    let mut figures = means::<G>(decades);
    if let Some(last) = decades.last() {
        let singles = singles::<G>(last.clone());
        figures.extend(singles.quantiles().chain([singles.max() / 1e6]));
    }
    figures
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

fn singles<G: Growing>(decade: Range<u64>) -> Histogram {
    let cache = G::new();
    insert_all(&cache, 0..decade.start);
    let mut singles = Histogram::new();
    for number in decade {
        singles.time(|| cache.insert(scattered(number)));
    }
    singles
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
        for figures in [sample::<Ours>(&decades), sample::<QuickCache>(&decades)] {
            assert_eq!(figures.len(), decades.len() + QUANTILES.len() + 1);
            assert!(figures.iter().all(|figure| *figure > 0.0), "{figures:?}");
        }
        let stats = function::stats();
        assert_eq!((stats.computations, stats.entries), (20_000, 0));
    }
}
