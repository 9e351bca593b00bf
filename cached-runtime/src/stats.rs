//! Counters. A hit writes only to memory of its own thread; the sums are taken when somebody asks.

use std::cell::RefCell;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use parking_lot::Mutex;

/// What happened to one function so far, as a snapshot.
///
/// ```
/// use cached_runtime::cached;
///
/// #[cached(timeout = 60)]
/// fn double(n: u64) -> u64 {
///     n * 2
/// }
///
/// assert_eq!((double(1), double(1), double(2)), (2, 2, 4));
/// let stats = double::stats();
/// assert_eq!((stats.hits, stats.misses, stats.entries), (1, 2, 2));
/// assert!((stats.hit_ratio() - 1.0 / 3.0).abs() < 1e-9);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Calls answered from the store.
    pub hits: u64,
    /// Calls that found nothing fresh in the store.
    pub misses: u64,
    /// Of the misses, those answered by a computation that another call had begun.
    pub coalesced: u64,
    /// Times the body ran to its end, for whatever reason.
    pub computations: u64,
    /// Times the body panicked, or its future was dropped before the end.
    pub abandoned: u64,
    /// Values that were computed and not stored: `Err`, `None`, refused by `cache_if`, already
    /// expired, too heavy, or overtaken by an invalidation.
    pub not_stored: u64,
    /// Calls that went straight to the body: `bypass_if`, or a disabled store.
    pub bypassed: u64,
    /// Entries that went to make room.
    pub evictions: u64,
    /// Entries that went because their time was over.
    pub expirations: u64,
    /// Entries removed by `invalidate` or `clear`.
    pub invalidations: u64,
    /// Entries stored now.
    pub entries: u64,
    /// Their weight: the sum of what `weigh` gave, without it the number of entries.
    pub weight: u64,
    /// The time that all computations took together.
    pub compute_time: Duration,
}

impl Stats {
    /// The part of the lookups that was answered from the store, from 0 to 1; 0 if there were none.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a ratio")]
    pub fn hit_ratio(&self) -> f64 {
        let lookups = self.hits + self.misses;
        if lookups == 0 { 0.0 } else { self.hits as f64 / lookups as f64 }
    }

    /// The time that callers did not have to wait: hits and coalesced calls times the mean time of a
    /// computation.
    #[must_use]
    pub fn time_saved(&self) -> Duration {
        if self.computations == 0 {
            return Duration::ZERO;
        }
        let saved = u128::from(self.hits + self.coalesced) * self.compute_time.as_nanos();
        let nanoseconds = saved / u128::from(self.computations);
        Duration::from_nanos(u64::try_from(nanoseconds).unwrap_or(u64::MAX))
    }
}

/// A counter for what is too rare to deserve more.
#[derive(Default)]
pub(crate) struct Count(AtomicU64);

impl Count {
    pub(crate) fn add(&self, count: u64) {
        self.0.fetch_add(count, Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// The counters of one function that are not touched by a hit.
#[derive(Default)]
pub(crate) struct Counts {
    pub(crate) misses: Count,
    pub(crate) coalesced: Count,
    pub(crate) computations: Count,
    pub(crate) abandoned: Count,
    pub(crate) not_stored: Count,
    pub(crate) bypassed: Count,
    pub(crate) evictions: Count,
    pub(crate) expirations: Count,
    pub(crate) invalidations: Count,
    pub(crate) compute_nanoseconds: Count,
}

/// A counter that each thread has a cell of its own for.
pub(crate) struct PerThread {
    /// Which of a thread's cells is this counter's.
    number: usize,
    cells: Mutex<Cells>,
}

#[derive(Default)]
struct Cells {
    live: Vec<Arc<AtomicU64>>,
    /// The sum of the cells whose threads have ended.
    ended: u64,
}

/// The cells of one thread, by the numbers of the counters.
struct Own(Vec<Option<(&'static PerThread, Arc<AtomicU64>)>>);

thread_local! {
    static OWN: RefCell<Own> = const { RefCell::new(Own(Vec::new())) };
}

impl PerThread {
    pub(crate) fn new() -> Self {
        static NEXT: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
        Self { number: NEXT.fetch_add(1, Relaxed), cells: Mutex::default() }
    }

    #[inline]
    pub(crate) fn add_one(&'static self) {
        let counted = OWN.try_with(|own| {
            let own = own.try_borrow().ok()?;
            let (_, cell) = own.0.get(self.number)?.as_ref()?;
            // Only this thread writes the cell, so that nothing is lost between the two.
            cell.store(cell.load(Relaxed) + 1, Relaxed);
            Some(())
        });
        if !matches!(counted, Ok(Some(()))) {
            self.add_first();
        }
    }

    /// Makes a cell for this thread that holds one; a thread that is ending counts without.
    #[cold]
    fn add_first(&'static self) {
        let cell = Arc::new(AtomicU64::new(1));
        let kept = OWN.try_with(|own| {
            let mut own = own.try_borrow_mut().ok()?;
            if own.0.len() <= self.number {
                own.0.resize(self.number + 1, None);
            }
            own.0[self.number] = Some((self, Arc::clone(&cell)));
            Some(())
        });
        let mut cells = self.cells.lock();
        match kept {
            Ok(Some(())) => cells.live.push(cell),
            _ => cells.ended += 1,
        }
    }

    pub(crate) fn sum(&self) -> u64 {
        let cells = self.cells.lock();
        cells.ended + cells.live.iter().map(|cell| cell.load(Relaxed)).sum::<u64>()
    }
}

impl Drop for Own {
    fn drop(&mut self) {
        for (counter, cell) in self.0.drain(..).flatten() {
            let mut cells = counter.cells.lock();
            cells.ended += cell.load(Relaxed);
            cells.live.retain(|live| !Arc::ptr_eq(live, &cell));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_keeps_what_ended_threads_counted_and_not_their_cells() {
        let counter: &'static PerThread = Box::leak(Box::new(PerThread::new()));
        for _ in 0..100 {
            let threads = [(); 4].map(|()| std::thread::spawn(|| (0..10).for_each(|_| counter.add_one())));
            threads.into_iter().for_each(|thread| thread.join().expect("it counts"));
        }
        counter.add_one();
        assert_eq!(counter.sum(), 4001);
        assert_eq!(counter.cells.lock().live.len(), 1);
    }

    #[test]
    fn time_saved_is_what_the_hits_would_have_cost() {
        let stats = Stats {
            hits: 9,
            coalesced: 1,
            computations: 2,
            compute_time: Duration::from_secs(4),
            ..Stats::default()
        };
        assert_eq!(stats.time_saved(), Duration::from_secs(20));
        assert_eq!(Stats::default().time_saved(), Duration::ZERO);
    }
}
