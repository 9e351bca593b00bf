//! Work for threads of our own: a few, started when there is work, that end when there has been none.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use crate::process::PerProcess;
use crate::shim::spawn;
use crate::store::janitor;

/// The most work that waits for a thread. What is more would not be begun in time.
const MOST_WAITING: usize = 4096;
/// A thread without work ends after this time.
const IDLE: Duration = Duration::from_secs(10);

pub(crate) type Job = Box<dyn FnOnce() + Send>;

/// Values that are computed anew. Whoever needs one before its turn computes it.
pub(crate) static BACKGROUND: Pool = Pool::new("cached-background", 8);

pub(crate) struct Pool {
    /// Of the threads.
    name: &'static str,
    most_threads: usize,
    queue: PerProcess<Queue>,
}

#[derive(Default)]
struct Queue {
    state: Mutex<State>,
    has_work: Condvar,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    threads: usize,
    idle: usize,
}

impl Pool {
    pub(crate) const fn new(name: &'static str, most_threads: usize) -> Self {
        Self { name, most_threads, queue: PerProcess::new(Queue::default) }
    }

    /// Does something on one of these threads, if there is room for it.
    pub(crate) fn submit(&'static self, job: Job) -> bool {
        let queue = self.queue.own();
        let mut state = queue.state.lock();
        if state.jobs.len() >= MOST_WAITING {
            return false;
        }
        if state.idle <= state.jobs.len() && state.threads < self.most_threads {
            if spawn(self.name, || queue.work()) {
                state.threads += 1;
            } else if state.threads == 0 {
                return false;
            }
        }
        state.jobs.push_back(job);
        queue.has_work.notify_one();
        true
    }
}

impl Queue {
    fn work(&self) {
        let mut state = self.state.lock();
        loop {
            if let Some(job) = state.jobs.pop_front() {
                drop(state);
                let _ = catch_unwind(AssertUnwindSafe(job));
                state = self.state.lock();
                continue;
            }
            // What its last job has replaced goes before the next one comes.
            drop(state);
            janitor::free();
            state = self.state.lock();
            if !state.jobs.is_empty() {
                continue;
            }
            state.idle += 1;
            let timed_out = self.has_work.wait_for(&mut state, IDLE).timed_out();
            state.idle -= 1;
            if timed_out && state.jobs.is_empty() {
                state.threads -= 1;
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc::channel;

    use super::*;

    #[test]
    fn work_is_done_by_no_more_threads_than_there_may_be_whatever_panics() {
        static POOL: Pool = Pool::new("pool-of-a-test", 2);
        let (done, threads) = channel();
        for number in 0..100 {
            let done = done.clone();
            let job = move || {
                let _ = done.send(std::thread::current().id());
                assert!(number % 10 > 0, "on purpose");
            };
            assert!(POOL.submit(Box::new(job)));
        }
        drop(done);
        let threads: Vec<_> = threads.iter().collect();
        assert_eq!(threads.len(), 100);
        assert!(threads.iter().collect::<std::collections::HashSet<_>>().len() <= 2);
    }
}
