//! Measuring: interleaved rounds, threads that start together, medians.

use std::sync::Barrier;
use std::thread;
use std::time::{Duration, Instant};

/// What does the operation that is timed: on the thread of this number, this many times.
type Work<'a> = Box<dyn Fn(u32, u32) + Sync + 'a>;

/// One of those compared.
pub(crate) struct Contender<'a> {
    name: &'static str,
    work: Work<'a>,
}

impl<'a> Contender<'a> {
    /// `work` takes the number of its thread and how often it does the operation. It holds the loop
    /// itself, so that the operation can be inlined there.
    pub(crate) fn new(name: &'static str, work: impl Fn(u32, u32) + Sync + 'a) -> Self {
        Self { name, work: Box::new(work) }
    }
}

/// What all contenders do, on how many threads.
pub(crate) struct Case<'a> {
    pub(crate) name: &'static str,
    pub(crate) threads: u32,
    pub(crate) contenders: Vec<Contender<'a>>,
}

/// A case with what it took each contender.
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

    /// Nanoseconds per operation of one contender.
    pub(crate) fn time(&self, contender: &str) -> Option<f64> {
        self.times.iter().find(|(name, _)| *name == contender).map(|(_, time)| *time)
    }
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
        Self { rounds: if quick { 5 } else { 7 }, span }
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
        let mut operations = 1 << 10;
        while wall(contender, threads, operations) < span && operations < 1 << 31 {
            operations *= 2;
        }
        Self { contender, threads, operations, samples: Vec::new() }
    }

    fn sample(&mut self) {
        let wall = wall(self.contender, self.threads, self.operations);
        let operations = f64::from(self.threads) * f64::from(self.operations);
        self.samples.push(wall.as_secs_f64() * 1e9 / operations);
    }
}

/// The medians over all rounds. In each round every contender of every case is measured once, so that
/// what disturbs the machine for a while disturbs all of them alike.
pub(crate) fn measure(cases: &[Case<'_>], effort: Effort) -> Vec<Measured> {
    let mut runs: Vec<Vec<Run<'_>>> = cases.iter().map(|case| calibrated(case, effort.span)).collect();
    for round in 0..effort.rounds {
        for contenders in &mut runs {
            // Nobody always comes after the same one.
            let first = round % contenders.len().max(1);
            let (later, sooner) = contenders.split_at_mut(first);
            sooner.iter_mut().chain(later).for_each(Run::sample);
        }
    }
    cases.iter().zip(runs).map(|(case, runs)| summary(case, runs)).collect()
}

fn calibrated<'a>(case: &'a Case<'_>, span: Duration) -> Vec<Run<'a>> {
    case.contenders.iter().map(|contender| Run::new(contender, case.threads, span)).collect()
}

fn summary(case: &Case<'_>, runs: Vec<Run<'_>>) -> Measured {
    let times = runs.into_iter().filter_map(|run| Some((run.contender.name, median(run.samples)?)));
    Measured { name: case.name, threads: case.threads, times: times.collect() }
}

/// How long all threads together take, from the start of the first to the end of the last.
fn wall(contender: &Contender<'_>, threads: u32, operations: u32) -> Duration {
    let mut spans: Vec<Option<(Instant, Instant)>> = (0..threads).map(|_| None).collect();
    let barrier = Barrier::new(spans.len());
    thread::scope(|scope| {
        for (number, span) in (0..).zip(&mut spans) {
            let barrier = &barrier;
            scope.spawn(move || {
                barrier.wait();
                let start = Instant::now();
                (contender.work)(number, operations);
                *span = Some((start, Instant::now()));
            });
        }
    });
    let first = spans.iter().flatten().map(|(start, _)| *start).min();
    let last = spans.iter().flatten().map(|(_, end)| *end).max();
    first.zip(last).map_or(Duration::ZERO, |(first, last)| last - first)
}

/// The middle one; of an even number, halfway between the middle two.
fn median(mut samples: Vec<f64>) -> Option<f64> {
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
    fn a_round_measures_every_contender_of_every_case_once() {
        let order = Mutex::new(String::new());
        let contender =
            |name| Contender::new(name, |_, _| order.lock().expect("nobody panics").push_str(name));
        let case = |name, contenders| Case { name, threads: 1, contenders };
        let cases = [
            case("one", vec![contender("a"), contender("b")]),
            case("two", vec![contender("c"), contender("d")]),
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
        assert_eq!(measured(1).time("ours"), Some(7.0));
        assert_eq!(measured(1).time("nobody"), None);
    }
}
