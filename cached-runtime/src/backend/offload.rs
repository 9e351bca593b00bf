//! Blocking work for those who must not block, on threads of its own.

use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};
use std::time::Instant;

use parking_lot::Mutex;

use super::driver::{Answer, Awaited, DriverError};
use crate::pool::{Job, Pool};
use crate::timer::Timer;

/// The most threads; each is blocked by one operation at a time, for no longer than until its deadline.
const MOST_THREADS: usize = 32;
static THREADS: Pool = Pool::new("cached-backend", MOST_THREADS);

/// Does the work on a thread that may block. Whoever waits gets [`DriverError::TimedOut`] if it was not done
/// by the deadline; work that nobody waits for any more is not begun.
pub(crate) fn offload<T: Send + 'static>(
    deadline: Instant,
    work: impl FnOnce() -> Answer<T> + Send + 'static,
) -> Awaited<T> {
    let slot = Arc::new(Slot { state: Mutex::new(Progress { answer: None, waker: None, is_over: false }) });
    let shared = Arc::clone(&slot);
    let job = move || {
        if shared.state.lock().is_over || Instant::now() >= deadline {
            return shared.fill(Err(DriverError::TimedOut));
        }
        let answer = catch_unwind(AssertUnwindSafe(work));
        shared.fill(answer.unwrap_or_else(|_| Err(DriverError::Failed("the driver panicked".into()))));
    };
    if !submit(Box::new(job)) {
        slot.fill(Err(DriverError::TimedOut));
    }
    Box::pin(Offloaded { slot, timer: Timer::at(deadline) })
}

/// Does something on one of these threads at a moment, or soon after, if there is room for it then.
pub(crate) fn submit_at(moment: Instant, job: Job) {
    let alarm = Arc::new(Alarm { job: Mutex::new(Some(job)), timer: Mutex::new(Timer::at(moment)) });
    let waker = Waker::from(Arc::clone(&alarm));
    if alarm.timer.lock().has_come(&waker) {
        alarm.wake();
    }
}

/// A job that waits for its moment; the timer keeps it.
struct Alarm {
    job: Mutex<Option<Job>>,
    timer: Mutex<Timer>,
}

impl Wake for Alarm {
    fn wake(self: Arc<Self>) {
        let job = self.job.lock().take();
        job.map(submit);
    }
}

/// Does something on one of these threads, if there is room for it.
pub(crate) fn submit(job: Job) -> bool {
    THREADS.submit(job)
}

/// Where an answer arrives.
struct Slot<T> {
    state: Mutex<Progress<T>>,
}

struct Progress<T> {
    answer: Option<Answer<T>>,
    waker: Option<Waker>,
    /// Nobody waits any more.
    is_over: bool,
}

impl<T> Slot<T> {
    fn fill(&self, answer: Answer<T>) {
        let mut progress = self.state.lock();
        progress.answer = Some(answer);
        let waker = progress.waker.take();
        drop(progress);
        waker.into_iter().for_each(Waker::wake);
    }
}

struct Offloaded<T> {
    slot: Arc<Slot<T>>,
    timer: Timer,
}

impl<T> Future for Offloaded<T> {
    type Output = Answer<T>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Answer<T>> {
        let waker = context.waker().clone();
        let mut progress = self.slot.state.lock();
        if let Some(answer) = progress.answer.take() {
            return Poll::Ready(answer);
        }
        let old = progress.waker.replace(waker);
        drop(progress);
        drop(old);
        if self.timer.has_come(context.waker()) {
            return Poll::Ready(Err(DriverError::TimedOut));
        }
        Poll::Pending
    }
}

impl<T> Drop for Offloaded<T> {
    fn drop(&mut self) {
        let mut progress = self.slot.state.lock();
        progress.is_over = true;
        let waker = progress.waker.take();
        drop(progress);
        drop(waker);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;
    use std::task::Wake;
    use std::thread;
    use std::time::Duration;

    use super::*;

    struct Unpark(thread::Thread);

    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }

    fn wait<T>(mut future: Awaited<T>) -> Answer<T> {
        let waker = Waker::from(Arc::new(Unpark(thread::current())));
        loop {
            match future.as_mut().poll(&mut Context::from_waker(&waker)) {
                Poll::Ready(answer) => return answer,
                Poll::Pending => thread::park(),
            }
        }
    }

    fn soon() -> Instant {
        Instant::now() + Duration::from_secs(30)
    }

    #[test]
    fn work_is_done_elsewhere_and_its_task_woken() {
        let own = thread::current().id();
        let other = wait(offload(soon(), move || Ok(thread::current().id())));
        assert_ne!(other.expect("it was done"), own);
    }

    #[test]
    fn a_panic_is_a_failure() {
        let answer = wait(offload::<()>(soon(), || panic!("on purpose")));
        assert!(matches!(answer, Err(DriverError::Failed(_))));
    }

    #[test]
    fn who_waits_for_work_that_hangs_is_told_at_the_deadline() {
        let (release, released) = mpsc::channel::<()>();
        let deadline = Instant::now() + Duration::from_millis(5);
        let answer = wait(offload(deadline, move || {
            let _ = released.recv();
            Ok(())
        }));
        assert!(matches!(answer, Err(DriverError::TimedOut)));
        drop(release);
    }

    #[test]
    fn a_dropped_future_harms_nobody() {
        let (done, is_done) = mpsc::channel();
        for _ in 0..100 {
            drop(offload(soon(), || Ok(())));
        }
        let _ = wait(offload(soon(), move || {
            let _ = done.send(());
            Ok(())
        }));
        assert!(is_done.recv().is_ok());
    }
}
