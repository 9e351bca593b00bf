//! Expiry: how soon expired entries are freed when nobody calls, what hits of others cost meanwhile, and
//! what it costs them that there are entries which will expire.

use std::hint::black_box;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Relaxed};
use std::sync::atomic::{AtomicBool, AtomicUsize};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};
use std::{io, thread};

use crate::histogram::{Histogram, QUANTILES};
use crate::measure::{Case, Contender, Effort, Sampler, measure, median, medians};
use crate::random::Random;
use crate::report::{Row, Unit};
use crate::scheduler;

pub(crate) fn about(quick: bool) -> String {
    let (entries, rounds) = effort(quick);
    format!(
        "{entries} entries with one deadline, from that moment on, with no call of their function; moka_called: \
         with run_pending_tasks called all the time, without which it frees nothing; medians of {rounds} rounds"
    )
}

pub(crate) fn run(quick: bool) -> io::Result<Vec<Row>> {
    let (entries, rounds) = effort(quick);
    // Before anything is stored, as nothing stops what that starts.
    let unused = (0..rounds).filter_map(|_| used_while_idle()).collect();
    let mut rows = until_freed(entries, rounds)?;
    rows.extend(hits_meanwhile(entries, rounds)?);
    rows.extend(hits_with_entries_waiting(entries, Effort::new(quick)));
    rows.extend(idle(entries, rounds, unused).into_iter().flatten());
    Ok(rows)
}

/// How many entries, and how many rounds.
fn effort(quick: bool) -> (u64, usize) {
    if quick { (200_000, 1) } else { (1_000_000, 5) }
}

/// When what is made from now on expires.
static DEADLINE: Mutex<Option<Instant>> = Mutex::new(None);

fn time_left() -> Duration {
    let deadline = *DEADLINE.lock().unwrap_or_else(PoisonError::into_inner);
    deadline.map_or(Duration::ZERO, |deadline| deadline.saturating_duration_since(Instant::now()))
}

/// How many values there are.
static VALUES: AtomicUsize = AtomicUsize::new(0);

/// A value that is counted.
struct Value;

impl Value {
    fn new() -> Self {
        VALUES.fetch_add(1, Relaxed);
        Self
    }
}

impl Clone for Value {
    fn clone(&self) -> Self {
        Self::new()
    }
}

impl Drop for Value {
    fn drop(&mut self) {
        VALUES.fetch_sub(1, AcqRel);
    }
}

#[cached_runtime::cached(timeout = time_left(), capacity = 2_000_000)]
fn expiring(number: u64) -> Value {
    let _ = number;
    Value::new()
}

#[cached_runtime::cached(timeout = 3600, capacity = 2_000_000)]
fn waiting(number: u64) -> u64 {
    number
}

#[cached_runtime::cached(timeout = 3600, capacity = 100_000)]
fn live(number: u64) -> u64 {
    number
}

/// Entries of moka with the same deadline.
struct AtDeadline;

impl moka::Expiry<u64, Value> for AtDeadline {
    fn expire_after_create(&self, _: &u64, _: &Value, _: Instant) -> Option<Duration> {
        Some(time_left())
    }
}

/// Makes entries that expire together, sleeps until then, and returns when that is. Fails if not all of
/// them were stored.
fn fill(entries: u64, insert: impl Fn(u64), clear: impl Fn()) -> io::Result<Instant> {
    let mut lead = Duration::from_secs(2);
    loop {
        let start = Instant::now();
        let deadline = start + lead;
        *DEADLINE.lock().unwrap_or_else(PoisonError::into_inner) = Some(deadline);
        (0..entries).for_each(&insert);
        let left = time_left();
        if left > lead / 4 {
            let stored = VALUES.load(Acquire) as u64;
            if stored < entries {
                return Err(io::Error::other(format!("only {stored} of {entries} entries were stored")));
            }
            thread::sleep(left);
            return Ok(deadline);
        }
        lead = 2 * start.elapsed();
        clear();
    }
}

fn fill_ours(entries: u64) -> io::Result<Instant> {
    fill(entries, |number| drop(expiring(number)), expiring::clear)
}

/// Milliseconds from the deadline until it is so; meanwhile this is done again and again.
fn wait(deadline: Instant, meanwhile: impl Fn(), is_so: impl Fn() -> bool) -> io::Result<f64> {
    while !is_so() {
        meanwhile();
        if deadline.elapsed() > Duration::from_mins(1) {
            return Err(io::Error::other("entries are still there a minute after they expired"));
        }
    }
    Ok(deadline.elapsed().as_secs_f64() * 1e3)
}

fn sleep() {
    thread::sleep(Duration::from_millis(1));
}

fn no_value_is_left() -> bool {
    VALUES.load(Acquire) == 0
}

fn until_freed(entries: u64, rounds: usize) -> io::Result<Vec<Row>> {
    let ours = || {
        let deadline = fill_ours(entries)?;
        let gone = wait(deadline, sleep, || expiring::stats().entries == 0)?;
        Ok(vec![gone, wait(deadline, sleep, no_value_is_left)?])
    };
    let moka = || {
        let cache = moka::sync::Cache::builder().max_capacity(2 * entries).expire_after(AtDeadline).build();
        let insert = |number| cache.insert(number, Value::new());
        let deadline = fill(entries, insert, || cache.invalidate_all())?;
        let gone = wait(deadline, || cache.run_pending_tasks(), || cache.entry_count() == 0)?;
        Ok(vec![gone, wait(deadline, || cache.run_pending_tasks(), no_value_is_left)?])
    };
    let cases = ["no entry is left", "no value is left"].map(|case| (case.to_owned(), Unit::MILLISECONDS));
    medians(vec![Sampler::new("ours", ours), Sampler::new("moka_called", moka)], rounds, cases.to_vec())
}

/// Hits of another function while entries are freed, and in `idle` while nothing is.
fn hits_meanwhile(entries: u64, rounds: usize) -> io::Result<Vec<Row>> {
    let ours = || {
        let deadline = fill_ours(entries)?;
        quantiles_of_hits(|| wait(deadline, sleep, no_value_is_left).map(drop))
    };
    let idle = || {
        quantiles_of_hits(|| {
            thread::sleep(Duration::from_millis(500));
            Ok(())
        })
    };
    let cases = QUANTILES.map(|(name, _)| (format!("{name} of other hits meanwhile"), Unit::NANOSECONDS));
    medians(vec![Sampler::new("ours", ours), Sampler::new("idle", idle)], rounds, cases.to_vec())
}

const KEYS: usize = 1000;

fn quantiles_of_hits(meanwhile: impl FnOnce() -> io::Result<()>) -> io::Result<Vec<f64>> {
    let done = AtomicBool::new(false);
    let hits = || {
        let (mut histogram, mut random) = (Histogram::new(), Random::new(0));
        while !done.load(Relaxed) {
            let key = random.below(KEYS) as u64;
            histogram.time(|| live(black_box(key)));
        }
        histogram.quantiles().collect()
    };
    (0..KEYS as u64).for_each(|key| _ = live(key));
    thread::scope(|scope| {
        let hits = scope.spawn(hits);
        let ended = meanwhile();
        done.store(true, Relaxed);
        let quantiles = hits.join().map_err(|_| io::Error::other("a hit panicked"))?;
        ended.map(|()| quantiles)
    })
}

/// Hits while entries wait that expire in an hour, and in `without` while there are none.
fn hits_with_entries_waiting(entries: u64, effort: Effort) -> Vec<Row> {
    let hits = |name| Contender::of_keys(name, KEYS, |key| live(key as u64));
    let store = || (0..entries).for_each(|number| _ = waiting(number));
    let contenders = vec![
        hits("ours").after(store),
        // After the same work, which leaves the processor's caches with something else.
        hits("without").after(|| {
            store();
            waiting::clear();
        }),
    ];
    let case = Case { name: "hits while entries wait", threads: &[1], contenders };
    let measured = measure(&[case], effort);
    let per_second = |row: Row| {
        Row::new(
            row.case,
            Unit::HITS_PER_SECOND,
            row.figures.into_iter().map(|(name, time)| (name, 1e9 / time)),
        )
    };
    measured.iter().map(|measured| per_second(measured.row())).collect()
}

/// Processor time while nobody calls, in the first two seconds after the last call, with entries that expire
/// in an hour; and in a process in which nothing has been stored.
fn idle(entries: u64, rounds: usize, unused: Vec<f64>) -> Option<[Row; 2]> {
    let seconds: Vec<_> = (0..rounds)
        .filter_map(|_| {
            (0..entries).for_each(|number| _ = waiting(number));
            Some((used_while_idle()?, used_while_idle()?))
        })
        .collect();
    let (first, second) = seconds.into_iter().unzip();
    let unused = median(unused)?;
    let row =
        |case, ours| Row::new(case, Unit::MILLISECONDS_OF_A_SECOND, [("ours", ours), ("unused", unused)]);
    Some([
        row("entries wait, nobody calls, 1st second", median(first)?),
        row("entries wait, nobody calls, 2nd second", median(second)?),
    ])
}

/// The processor time of the whole process in one second; none where the system does not say.
fn used_while_idle() -> Option<f64> {
    let before = scheduler::used().ok()?;
    thread::sleep(Duration::from_secs(1));
    Some(scheduler::used().ok()?.saturating_sub(before).as_secs_f64() * 1e3)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_counted_until_it_is_dropped() {
        let one = Value::new();
        let two = one.clone();
        assert_eq!(VALUES.load(Relaxed), 2);
        drop((one, two));
        assert!(no_value_is_left());
    }

    #[test]
    fn waiting_ends_when_it_is_so() {
        let polls = AtomicUsize::new(0);
        let waited = wait(Instant::now(), sleep, || polls.fetch_add(1, Relaxed) == 2);
        assert!(waited.is_ok_and(|milliseconds| milliseconds >= 2.0));
    }
}
