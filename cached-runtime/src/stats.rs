//! Counters. A hit writes only to memory of its own thread; the sums are taken when somebody asks.

use std::cell::{Cell, RefCell};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicU64, AtomicUsize};
use std::time::Duration;

use once_cell::sync::OnceCell;
use parking_lot::Mutex;
use sdd::Guard;

use crate::clock;

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
    /// Calls answered with a value past its timeout. They are no hits, and misses only where that was
    /// found out from a backend.
    pub stale: u64,
    /// Times that a value was computed anew while the old one was served.
    pub revalidations: u64,
    /// Times that the body failed, by an `Err` or a panic, and nobody heard of it, as a value was served.
    pub errors_hidden: u64,
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
    /// Entries removed by `invalidate` or `clear`; those of a tag count when they are found to be invalidated.
    pub invalidations: u64,
    /// Entries stored now.
    pub entries: u64,
    /// Their weight: the sum of what `weigh` gave, without it the number of entries.
    pub weight: u64,
    /// The time that all computations took together.
    pub compute_time: Duration,
    /// Of the misses, those that were answered from the backend.
    pub backend_hits: u64,
    /// Those for which there was nothing fresh in the backend either.
    pub backend_misses: u64,
    /// Operations of the backend that failed, most of them because there was no answer in time.
    pub backend_errors: u64,
    /// Operations that were not tried, because the backend had failed several times in a row, or was asked for
    /// too much at once.
    pub backend_skipped: u64,
    /// Values that the backend would not take, as they are too large for it.
    pub backend_too_large: u64,
    /// What the backend had and could not be read, for whatever reason, and values without an encoding.
    pub backend_undecodable: u64,
    /// Values that were not stored in the backend because their key was invalidated or written meanwhile.
    pub backend_overtaken: u64,
}

impl Stats {
    /// The part of the lookups that was answered from the store or the backend, with a stale value or a fresh
    /// one, from 0 to 1; 0 if there were none.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a ratio")]
    pub fn hit_ratio(&self) -> f64 {
        let lookups = self.hits + self.stale + self.misses;
        let answered = self.hits + self.stale + self.backend_hits;
        if lookups == 0 { 0.0 } else { answered as f64 / lookups as f64 }
    }

    /// The time that callers did not have to wait: hits, also stale ones and those of the backend, and coalesced
    /// calls times the mean time of a computation.
    #[must_use]
    pub fn time_saved(&self) -> Duration {
        if self.computations == 0 {
            return Duration::ZERO;
        }
        let answered = self.hits + self.stale + self.coalesced + self.backend_hits;
        let saved = u128::from(answered) * self.compute_time.as_nanos();
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

/// The counters of one function for what is rare.
#[derive(Default)]
pub(crate) struct Rare {
    pub(crate) stale: Count,
    pub(crate) revalidations: Count,
    pub(crate) errors_hidden: Count,
    pub(crate) coalesced: Count,
    pub(crate) abandoned: Count,
    pub(crate) not_stored: Count,
    pub(crate) bypassed: Count,
}

/// What is counted under a writers' lock.
#[derive(Clone, Copy, Default)]
pub(crate) struct Counts {
    pub(crate) misses: u64,
    pub(crate) computations: u64,
    pub(crate) compute_nanoseconds: u64,
    pub(crate) evictions: u64,
    pub(crate) expirations: u64,
    pub(crate) invalidations: u64,
}

impl std::iter::Sum for Counts {
    fn sum<I: Iterator<Item = Self>>(all: I) -> Self {
        all.fold(Self::default(), |sum, it| Self {
            misses: sum.misses + it.misses,
            computations: sum.computations + it.computations,
            compute_nanoseconds: sum.compute_nanoseconds.saturating_add(it.compute_nanoseconds),
            evictions: sum.evictions + it.evictions,
            expirations: sum.expirations + it.expirations,
            invalidations: sum.invalidations + it.invalidations,
        })
    }
}

/// A counter that each thread has a cell of its own for.
pub(crate) struct PerThread {
    /// Which of a thread's cells is this counter's.
    number: usize,
}

/// Cells for one thread at a time. Those of a thread that has ended are handed to the next one, which
/// counts on from where they are; so nothing is lost, and there are no more than there ever were
/// threads at once. Alone in its cache lines, of which some processors fetch two at a time: each hit writes here.
#[repr(align(128))]
pub(crate) struct Cells {
    /// Calls of any function.
    calls: AtomicU64,
    /// The last computation that was given a number here.
    computation: AtomicU64,
    /// The first is there from the beginning; each further one is twice as long as all before it.
    first: [AtomicU64; FIRST],
    further: [OnceCell<Box<[AtomicU64]>>; FURTHER],
}

const CALLS_UNTIL_CHECK: u64 = 256;
const FIRST: usize = 256;
const FURTHER: usize = usize::BITS as usize - FIRST.ilog2() as usize;

static ALL: Mutex<Vec<&'static Cells>> = Mutex::new(Vec::new());
static UNUSED: Mutex<Vec<&'static Cells>> = Mutex::new(Vec::new());

/// One more. Only this thread writes the cell, so that nothing is lost between the two.
#[inline]
fn bump(cell: &AtomicU64) -> u64 {
    let count = cell.load(Relaxed) + 1;
    cell.store(count, Relaxed);
    count
}

/// The calls of all functions by all threads so far.
pub(crate) fn calls() -> u64 {
    ALL.lock().iter().map(|cells| cells.calls.load(Relaxed)).sum()
}

/// Gives the cells back when the thread ends.
struct Lent(&'static Cells);

impl Drop for Lent {
    fn drop(&mut self) {
        OWN.set(None);
        ENDED.set(true);
        UNUSED.lock().push(self.0);
    }
}

thread_local! {
    /// Without a destructor, so that reading it is one instruction.
    static OWN: Cell<Option<&'static Cells>> = const { Cell::new(None) };
    /// Whether the thread has given its cells back.
    static ENDED: Cell<bool> = const { Cell::new(false) };
    static LENT: RefCell<Option<Lent>> = const { RefCell::new(None) };
}

impl Cells {
    fn new() -> &'static Self {
        let mut all = ALL.lock();
        let cells: &'static Self = Box::leak(Box::new(Self {
            calls: AtomicU64::new(0),
            // The numbers of no two threads are the same, for as long as anybody counts.
            computation: AtomicU64::new((all.len() as u64) << 40),
            first: [const { AtomicU64::new(0) }; FIRST],
            further: [const { OnceCell::new() }; FURTHER],
        }));
        all.push(cells);
        cells
    }

    /// Counts a call; now and then sees to the clock that it goes by.
    #[inline]
    pub(crate) fn count_call(&self) {
        let calls = bump(&self.calls);
        if calls.is_multiple_of(CALLS_UNTIL_CHECK) {
            clock::check();
        }
    }

    /// A number that no other computation of this process has.
    pub(crate) fn number_computation(&self) -> u64 {
        bump(&self.computation)
    }

    /// Those of this thread, unless it has ended.
    #[inline]
    pub(crate) fn of_this_thread() -> Option<&'static Self> {
        OWN.get().or_else(borrow)
    }

    /// The cell of a counter, made if it is not there.
    #[cold]
    fn make(&self, number: usize) -> &AtomicU64 {
        let Some(past_first) = number.checked_sub(FIRST) else { return &self.first[number] };
        let (part, start, len) = part_of(past_first);
        let cells = self.further[part].get_or_init(|| (0..len).map(|_| AtomicU64::new(0)).collect());
        &cells[past_first - start]
    }

    fn get(&self, number: usize) -> u64 {
        let Some(past_first) = number.checked_sub(FIRST) else { return self.first[number].load(Relaxed) };
        let (part, start, _) = part_of(past_first);
        self.further[part].get().map_or(0, |cells| cells[past_first - start].load(Relaxed))
    }
}

/// Which part of the further cells number `at` is in, where that part starts, and how long it is.
fn part_of(at: usize) -> (usize, usize, usize) {
    let part = (at / FIRST + 1).ilog2() as usize;
    let len = FIRST << part;
    (part, len - FIRST, len)
}

impl PerThread {
    pub(crate) fn new() -> Self {
        static NEXT: AtomicUsize = AtomicUsize::new(0);
        Self { number: NEXT.fetch_add(1, Relaxed) }
    }

    /// Counts one, in the cells of this thread.
    #[inline]
    pub(crate) fn add_one(&self, cells: &Cells) {
        bump(cells.first.get(self.number).unwrap_or_else(|| cells.make(self.number)));
    }

    pub(crate) fn sum(&self) -> u64 {
        ALL.lock().iter().map(|cells| cells.get(self.number)).sum()
    }
}

/// Cells for this thread until it ends.
#[cold]
fn borrow() -> Option<&'static Cells> {
    if ENDED.get() {
        return None;
    }
    // What is set up later ends earlier: a thread that has cells still has guards.
    drop(Guard::new());
    let unused = UNUSED.lock().pop();
    let cells = unused.unwrap_or_else(Cells::new);
    LENT.set(Some(Lent(cells)));
    OWN.set(Some(cells));
    Some(cells)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_sum_keeps_what_ended_threads_counted() {
        let counters: Vec<_> = (0..2 * FIRST).map(|_| PerThread::new()).collect();
        let count = |counter: &PerThread| counter.add_one(Cells::of_this_thread().expect("it lives"));
        for _ in 0..50 {
            std::thread::scope(|scope| {
                for _ in 0..4 {
                    scope.spawn(|| counters.iter().for_each(count));
                }
            });
        }
        counters.iter().for_each(count);
        assert!(counters.iter().all(|counter| counter.sum() == 201));
        // Other tests of this process count too; it is far from one for each of the threads.
        assert!(ALL.lock().len() < 100);
    }

    #[test]
    fn every_number_has_a_cell_of_its_own() {
        let mut at = 0;
        for part in 0..5 {
            let len = FIRST << part;
            for start in [at, at + len - 1] {
                assert_eq!(part_of(start), (part, at, len));
            }
            at += len;
        }
    }

    #[test]
    fn time_saved_is_what_the_hits_would_have_cost() {
        let stats = Stats {
            hits: 8,
            stale: 1,
            coalesced: 1,
            computations: 2,
            compute_time: Duration::from_secs(4),
            ..Stats::default()
        };
        assert_eq!(stats.time_saved(), Duration::from_secs(20));
        assert_eq!(Stats::default().time_saved(), Duration::ZERO);
    }
}
