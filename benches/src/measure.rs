//! Measuring: interleaved rounds, threads that start together, medians.

use std::convert::Infallible;
use std::hint::black_box;
use std::sync::Barrier;
use std::time::{Duration, Instant};
use std::{io, thread};

use crate::random::Random;
use crate::report::{Row, Unit};

/// The contender that does nothing but what all of them do besides.
pub(crate) const LOOP: &str = "loop";

/// What does the operation that is timed: on the thread of this number, this many times.
type Work<'a> = Box<dyn Fn(u32, u32) + Sync + 'a>;

/// One of those compared.
pub(crate) struct Contender<'a> {
    name: &'static str,
    prepare: Box<dyn Fn() + 'a>,
    work: Work<'a>,
}

impl<'a> Contender<'a> {
    /// `work` takes the number of its thread and how often it does the operation. It holds the loop
    /// itself, so that the operation can be inlined there.
    pub(crate) fn new(name: &'static str, work: impl Fn(u32, u32) + Sync + 'a) -> Self {
        Self { name, prepare: Box::new(|| ()), work: Box::new(work) }
    }

    /// How many of something there are for one operation, of what this counts.
    pub(crate) fn counted(&self, count: impl Fn() -> usize, operations: u32) -> (&'static str, f64) {
        let before = count();
        (self.work)(0, operations);
        (self.name, (count() - before) as f64 / f64::from(operations))
    }

    /// Calls with random ones of so many keys, after one call with each of them. All contenders get the same
    /// keys, all threads others.
    pub(crate) fn of_keys<V>(name: &'static str, keys: usize, call: impl Fn(usize) -> V + Sync + 'a) -> Self {
        (0..keys).for_each(|key| drop(black_box(call(key))));
        Self::new(name, move |thread, operations| {
            let mut random = Random::new(thread);
            for _ in 0..operations {
                black_box(call(black_box(random.below(keys))));
            }
        })
    }

    /// With something that is done each time before it is timed.
    pub(crate) fn after(self, prepare: impl Fn() + 'a) -> Self {
        Self { prepare: Box::new(prepare), ..self }
    }
}

/// What all contenders do, and on how many threads: first on so many, then on so many.
pub(crate) struct Case<'a> {
    pub(crate) name: &'static str,
    pub(crate) threads: &'static [u32],
    pub(crate) contenders: Vec<Contender<'a>>,
}

/// A case on so many threads, with what it took each contender.
pub(crate) struct Measured {
    pub(crate) name: &'static str,
    pub(crate) threads: u32,
    /// The contenders in their order, each with its nanoseconds per operation.
    pub(crate) times: Vec<(&'static str, f64)>,
}

impl Measured {
    /// The name of the case with its number of threads.
    pub(crate) fn label(&self) -> String {
        let plural = if self.threads == 1 { "" } else { "s" };
        format!("{} {} thread{plural}", self.name, self.threads)
    }

    pub(crate) fn row(&self) -> Row {
        Row::new(self.label(), Unit::NANOSECONDS, self.times.iter().copied())
    }
}

/// The times; then how many times the throughput of one thread two have: 2 at best, and for the loop,
/// which shares nothing, less only where the machine was busy.
pub(crate) fn with_throughputs(measured: &[Measured]) -> Vec<Row> {
    let with = |threads| measured.iter().filter(move |case| case.threads == threads);
    let pairs = with(1).filter_map(|one| Some((one, with(2).find(|two| two.name == one.name)?)));
    let throughputs = pairs.map(|(one, two)| {
        let ratios = one.times.iter().zip(&two.times).map(|((name, one), (_, two))| (*name, one / two));
        Row::new(format!("{}, 2 threads over 1", one.name), Unit::TIMES_THE_THROUGHPUT, ratios)
    });
    measured.iter().map(Measured::row).chain(throughputs).collect()
}

/// How much is measured.
#[derive(Clone, Copy)]
pub(crate) struct Effort {
    pub(crate) rounds: usize,
    /// The least that one contender runs in one round.
    pub(crate) span: Duration,
}

impl Effort {
    pub(crate) fn new(quick: bool) -> Self {
        let span = Duration::from_millis(if quick { 5 } else { 50 });
        Self { rounds: if quick { 3 } else { 7 }, span }
    }
}

/// A contender of a case, ready to be timed.
struct Run<'a> {
    contender: &'a Contender<'a>,
    threads: u32,
    /// Of each thread.
    operations: u32,
    samples: Vec<f64>,
}

impl<'a> Run<'a> {
    fn new(contender: &'a Contender<'a>, threads: u32, span: Duration) -> Self {
        (contender.prepare)();
        let mut operations = 1 << 10;
        while wall(contender, threads, operations) < span && operations < 1 << 31 {
            operations *= 2;
        }
        Self { contender, threads, operations, samples: Vec::new() }
    }

    fn sample(&mut self) {
        (self.contender.prepare)();
        let wall = wall(self.contender, self.threads, self.operations);
        let operations = f64::from(self.threads) * f64::from(self.operations);
        self.samples.push(wall.as_secs_f64() * 1e9 / operations);
    }
}

/// The medians over all rounds. In each round every contender of every case is measured once, so that
/// what disturbs the machine for a while disturbs all of them alike.
pub(crate) fn measure(cases: &[Case<'_>], effort: Effort) -> Vec<Measured> {
    let cases = cases.iter().flat_map(|case| case.threads.iter().map(move |threads| (case, *threads)));
    let mut runs: Vec<_> =
        cases.clone().map(|(case, threads)| calibrated(case, threads, effort.span)).collect();
    let sampled = interleave(&mut runs, effort.rounds, |run| {
        run.sample();
        Ok::<_, Infallible>(())
    });
    let Ok(()) = sampled;
    let measured = cases.zip(runs).map(|((case, threads), runs)| {
        let times = runs.into_iter().filter_map(|run| Some((run.contender.name, median(run.samples)?)));
        Measured { name: case.name, threads, times: times.collect() }
    });
    measured.collect()
}

fn calibrated<'a>(case: &'a Case<'_>, threads: u32, span: Duration) -> Vec<Run<'a>> {
    case.contenders.iter().map(|contender| Run::new(contender, threads, span)).collect()
}

/// Samples everybody once a round, and lets nobody always come after the same one of its group.
fn interleave<T, E>(
    groups: &mut [Vec<T>],
    rounds: usize,
    mut sample: impl FnMut(&mut T) -> Result<(), E>,
) -> Result<(), E> {
    for round in 0..rounds {
        for group in &mut *groups {
            let first = round % group.len().max(1);
            let (later, sooner) = group.split_at_mut(first);
            sooner.iter_mut().chain(later).try_for_each(&mut sample)?;
        }
    }
    Ok(())
}

/// One of those compared of whom each sample is several figures.
pub(crate) struct Sampler<'a> {
    name: &'static str,
    sample: Box<dyn FnMut() -> io::Result<Vec<f64>> + 'a>,
    samples: Vec<Vec<f64>>,
}

impl<'a> Sampler<'a> {
    pub(crate) fn new(name: &'static str, sample: impl FnMut() -> io::Result<Vec<f64>> + 'a) -> Self {
        Self { name, sample: Box::new(sample), samples: Vec::new() }
    }
}

/// The medians over all rounds, a row for each of the figures.
pub(crate) fn medians(
    samplers: Vec<Sampler<'_>>,
    rounds: usize,
    cases: Vec<(String, Unit)>,
) -> io::Result<Vec<Row>> {
    let mut group = [samplers];
    interleave(&mut group, rounds, |sampler| {
        sampler.samples.push((sampler.sample)()?);
        Ok::<_, io::Error>(())
    })?;
    let [samplers] = group;
    let row = |(at, (case, unit))| {
        let figure = |sampler: &Sampler<'_>| {
            let of_rounds = sampler.samples.iter().filter_map(|figures| figures.get(at).copied());
            Some((sampler.name, median(of_rounds.collect())?))
        };
        Row::new(case, unit, samplers.iter().filter_map(figure))
    };
    Ok(cases.into_iter().enumerate().map(row).collect())
}

/// How long all threads together take, from the start of the first to the end of the last.
fn wall(contender: &Contender<'_>, threads: u32, operations: u32) -> Duration {
    let mut spans: Vec<Option<(Instant, Instant)>> = (0..threads).map(|_| None).collect();
    let barrier = Barrier::new(spans.len());
    thread::scope(|scope| {
        for (number, span) in (0..).zip(&mut spans) {
            let (barrier, work) = (&barrier, &contender.work);
            scope.spawn(move || {
                barrier.wait();
                let start = Instant::now();
                work(number, operations);
                *span = Some((start, Instant::now()));
            });
        }
    });
    let first = spans.iter().flatten().map(|(start, _)| *start).min();
    let last = spans.iter().flatten().map(|(_, end)| *end).max();
    first.zip(last).map_or(Duration::ZERO, |(first, last)| last - first)
}

/// The middle one; of an even number, halfway between the middle two.
pub(crate) fn median(mut samples: Vec<f64>) -> Option<f64> {
    samples.sort_by(f64::total_cmp);
    let upper = samples.get(samples.len() / 2)?;
    let lower = samples.get((samples.len() - 1) / 2)?;
    Some(f64::midpoint(*lower, *upper))
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    #[test]
    fn the_median_is_the_middle() {
        for (samples, expected) in [
            (&[][..], None),
            (&[3.0], Some(3.0)),
            (&[9.0, 1.0], Some(5.0)),
            (&[9.0, 1.0, 2.0], Some(2.0)),
            (&[4.0, 100.0, 2.0, 1.0], Some(3.0)),
        ] {
            assert_eq!(median(samples.to_vec()), expected, "{samples:?}");
        }
    }

    #[test]
    fn every_thread_does_all_its_operations() {
        let done = Mutex::new(Vec::new());
        let contender = Contender::new("notes", |thread, operations| {
            done.lock().expect("nobody panics").push((thread, operations));
        });
        wall(&contender, 2, 30);
        let mut done = done.lock().expect("nobody panics").clone();
        done.sort_unstable();
        assert_eq!(done, [(0, 30), (1, 30)]);
    }

    #[test]
    fn each_key_is_called_once_before_random_ones_are() {
        let called = Mutex::new(Vec::new());
        let note = |key| called.lock().expect("nobody panics").push(key);
        let contender = Contender::of_keys("notes", 3, note);
        wall(&contender, 1, 100);
        let called = called.lock().expect("nobody panics");
        assert_eq!((&called[..3], called.len()), (&[0, 1, 2][..], 103));
        assert!(called.iter().all(|key| *key < 3));
    }

    #[test]
    fn a_round_measures_every_contender_of_every_case_once() {
        let order = Mutex::new(String::new());
        let contender =
            |name| Contender::new(name, |_, _| order.lock().expect("nobody panics").push_str(name));
        let cases = [
            Case { name: "one", threads: &[1], contenders: vec![contender("a"), contender("b")] },
            Case { name: "two", threads: &[1], contenders: vec![contender("c"), contender("d")] },
        ];
        let measured = measure(&cases, Effort { rounds: 3, span: Duration::ZERO });

        // The first four calibrate.
        assert_eq!(*order.lock().expect("nobody panics"), "abcdabcdbadcabcd");
        let names = measured.iter().map(|case| case.times.iter().map(|(name, _)| *name).collect::<Vec<_>>());
        assert_eq!(names.collect::<Vec<_>>(), [["a", "b"], ["c", "d"]]);
    }

    #[test]
    fn a_case_is_labelled_with_its_threads() {
        let measured = |threads| Measured { name: "str", threads, times: vec![("ours", 7.0)] };
        assert_eq!(measured(1).label(), "str 1 thread");
        assert_eq!(measured(2).label(), "str 2 threads");
        assert_eq!(measured(1).row().figures, [("ours", 7.0)]);
    }

    #[test]
    fn throughputs_are_those_of_the_cases_that_there_are_twice() {
        let measured =
            |name, threads, ours| Measured { name, threads, times: vec![("ours", ours), (LOOP, 1.0)] };
        let measured = [measured("u64", 1, 20.0), measured("u64", 2, 12.5), measured("alone", 1, 4.0)];
        let throughput =
            Row::new("u64, 2 threads over 1", Unit::TIMES_THE_THROUGHPUT, [("ours", 1.6), (LOOP, 1.0)]);
        assert_eq!(with_throughputs(&measured)[3..], [throughput]);
    }

    #[test]
    fn what_is_counted_is_divided_by_the_operations() {
        let count = std::sync::atomic::AtomicUsize::new(7);
        let contender = Contender::new("ours", |_, operations| {
            count.fetch_add(operations as usize / 2, std::sync::atomic::Ordering::Relaxed);
        });
        let counted = contender.counted(|| count.load(std::sync::atomic::Ordering::Relaxed), 10);
        assert_eq!(counted, ("ours", 0.5));
    }

    #[test]
    fn a_case_is_measured_on_each_number_of_threads() {
        let done = Mutex::new(Vec::new());
        let contender = Contender::new("ours", |thread, _| done.lock().expect("nobody panics").push(thread));
        let cases = [Case { name: "one", threads: &[1, 2], contenders: vec![contender] }];
        let measured = measure(&cases, Effort { rounds: 1, span: Duration::ZERO });
        assert_eq!(
            measured.iter().map(Measured::label).collect::<Vec<_>>(),
            ["one 1 thread", "one 2 threads"]
        );
        // Once to calibrate, and once to measure.
        assert_eq!(done.lock().expect("nobody panics").iter().filter(|thread| **thread == 1).count(), 2);
    }

    #[test]
    fn preparation_comes_before_each_sample_and_is_not_repeated_within() {
        let order = Mutex::new(String::new());
        let note = |what| order.lock().expect("nobody panics").push_str(what);
        let contender = Contender::new("a", |_, _| note("w")).after(|| note("p"));
        let case = Case { name: "one", threads: &[1], contenders: vec![contender] };
        measure(&[case], Effort { rounds: 2, span: Duration::ZERO });
        assert_eq!(*order.lock().expect("nobody panics"), "pwpwpw");
    }

    #[test]
    fn each_figure_has_a_median_of_its_own() {
        let sampler = |name, samples: [[f64; 2]; 3]| {
            let mut samples = samples.into_iter();
            Sampler::new(name, move || Ok(samples.next().map(Vec::from).unwrap_or_default()))
        };
        let samplers = vec![
            sampler("ours", [[1.0, 60.0], [2.0, 40.0], [3.0, 50.0]]),
            sampler("peer", [[9.0, 1.0], [9.0, 1.0], [0.0, 1.0]]),
        ];
        let cases = [("a", Unit::SECONDS), ("b", Unit::BYTES)].map(|(case, unit)| (case.to_owned(), unit));
        let rows = medians(samplers, 3, cases.to_vec()).expect("no sample fails");
        let figures: Vec<_> = rows.into_iter().map(|row| row.figures).collect();
        assert_eq!(figures, [[("ours", 2.0), ("peer", 9.0)], [("ours", 50.0), ("peer", 1.0)]]);
    }
}
