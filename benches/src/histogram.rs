//! How long single operations took: counted in buckets that grow with what they count, so that counting
//! is cheap, takes no memory, and is wrong by less than two percent.

use std::hint::black_box;
use std::time::{Duration, Instant};

/// A power of two is divided into so many buckets.
const PARTS: u64 = 1 << PARTS_LOG;
const PARTS_LOG: u32 = 6;
const BUCKETS: usize = ((u64::BITS - PARTS_LOG + 1) << PARTS_LOG) as usize;

/// What one asks a histogram for.
pub(crate) const QUANTILES: [(&str, f64); 4] =
    [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999), ("p99.99", 0.9999)];

/// Nanoseconds.
pub(crate) struct Histogram {
    counts: Vec<u64>,
    max: u64,
}

impl Histogram {
    pub(crate) fn new() -> Self {
        Self { counts: vec![0; BUCKETS], max: 0 }
    }

    /// Times an operation, and returns how long it took; that includes a reading of the clock.
    #[inline]
    pub(crate) fn time<V>(&mut self, operation: impl FnOnce() -> V) -> Duration {
        let start = Instant::now();
        let value = operation();
        let span = start.elapsed();
        drop(black_box(value));
        self.add(span);
        span
    }

    fn add(&mut self, span: Duration) {
        let nanoseconds = u64::try_from(span.as_nanos()).unwrap_or(u64::MAX);
        self.counts[bucket(nanoseconds)] += 1;
        self.max = self.max.max(nanoseconds);
    }

    /// The quantiles, in nanoseconds.
    pub(crate) fn quantiles(&self) -> impl Iterator<Item = f64> {
        QUANTILES.into_iter().map(|(_, part)| self.quantile(part))
    }

    /// The least that this part of all takes no longer than.
    fn quantile(&self, part: f64) -> f64 {
        let wanted = self.counts.iter().sum::<u64>() as f64 * part;
        let mut sum = 0;
        let found = self.counts.iter().position(|count| {
            sum += count;
            sum as f64 >= wanted
        });
        found.map_or(0.0, |bucket| start_of(bucket) as f64)
    }

    pub(crate) fn max(&self) -> f64 {
        self.max as f64
    }
}

/// Small numbers have a bucket each; from there on each power of two has so many.
fn bucket(number: u64) -> usize {
    let shift = (number | PARTS).ilog2() - PARTS_LOG;
    let index = u64::from(shift) * PARTS + (number >> shift);
    // Less than `BUCKETS`.
    usize::try_from(index).unwrap_or_default()
}

/// The least number of a bucket.
fn start_of(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    let shift = (bucket / PARTS).saturating_sub(1);
    (bucket - shift * PARTS) << shift
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bucket_starts_at_or_little_below_what_it_counts() {
        for number in (0..1000).chain([1023, 1024, 123_456_789, u64::MAX / 2, u64::MAX]) {
            let (bucket, start) = (bucket(number), start_of(bucket(number)));
            assert!(bucket < BUCKETS, "{number}");
            assert!(start <= number && number - start <= number / PARTS, "{number}: {start}");
        }
    }

    #[test]
    fn buckets_follow_one_another() {
        for at in 1..BUCKETS {
            assert_eq!(bucket(start_of(at)), at);
            assert_eq!(bucket(start_of(at) - 1), at - 1);
        }
    }

    #[test]
    fn quantiles_are_those_of_the_times() {
        let mut histogram = Histogram::new();
        for nanoseconds in 1..=1000 {
            histogram.add(Duration::from_nanos(nanoseconds));
        }
        for (found, expected) in histogram.quantiles().zip([500.0, 990.0, 999.0, 1000.0]) {
            assert!((expected * 0.98..=expected).contains(&found), "{found} for {expected}");
        }
        assert!((histogram.max() - 1000.0).abs() < f64::EPSILON);
        assert!(Histogram::new().quantiles().all(|quantile| quantile == 0.0));
    }
}
