//! Wakes tasks at a moment, whatever runs them: one thread for all, started when there is something to wait for.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

use crate::process::PerProcess;
use crate::shim::spawn;
use crate::wakers::{Wakers, wake};

#[derive(Default)]
struct Timers {
    state: Mutex<State>,
    sooner: Condvar,
}

/// Who is to be woken when, by moment and number.
#[derive(Default)]
struct State {
    waiting: Wakers<(Instant, u64)>,
    next: u64,
    /// When the thread will look by itself, if there is one.
    looks: Option<Instant>,
}

static TIMERS: PerProcess<Timers> = PerProcess::new(Timers::default);

/// A thread with nothing to wait for ends after this time.
const IDLE: Duration = Duration::from_secs(10);

/// A place among those that wait, given up when it is dropped.
pub(crate) struct Timer {
    moment: Instant,
    place: Option<(&'static Timers, u64)>,
}

impl Timer {
    pub(crate) fn at(moment: Instant) -> Self {
        Self { moment, place: None }
    }

    /// Whether the moment has come; if not, the task will be woken then.
    pub(crate) fn has_come(&mut self, waker: &Waker) -> bool {
        if Instant::now() >= self.moment {
            return true;
        }
        // A waker's clone and drop are foreign code: neither runs under the lock.
        let waker = waker.clone();
        let all = self.place.map_or_else(|| TIMERS.own(), |(all, _)| all);
        let mut timers = all.state.lock();
        let (_, number) = *self.place.get_or_insert_with(|| {
            timers.next += 1;
            (all, timers.next)
        });
        let old = timers.waiting.insert((self.moment, number), waker);
        match timers.looks {
            // To wake a thread costs more than all the rest: deadlines mostly come one after another.
            Some(looks) if looks <= self.moment => {}
            Some(_) => {
                timers.looks = Some(self.moment);
                all.sooner.notify_one();
            }
            None => {
                // Where no thread can be had, the caller is late, and asks again when it is woken by what it
                // waits for.
                let is_there = spawn("cached-timer", || all.wake_in_time());
                timers.looks = is_there.then_some(self.moment);
            }
        }
        drop(timers);
        drop(old);
        false
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        let Some((all, number)) = self.place else { return };
        let own = all.state.lock().waiting.remove((self.moment, number));
        drop(own);
    }
}

impl Timers {
    fn wake_in_time(&self) {
        let mut timers = self.state.lock();
        loop {
            let now = Instant::now();
            let next = timers.waiting.first();
            if let Some(first) = next.filter(|(moment, _)| *moment <= now) {
                let waker = timers.waiting.remove(first);
                drop(timers);
                waker.into_iter().for_each(wake);
                timers = self.state.lock();
                continue;
            }
            let looks = next.map_or(now + IDLE, |(moment, _)| moment);
            timers.looks = Some(looks);
            let timed_out = self.sooner.wait_until(&mut timers, looks).timed_out();
            if timed_out && next.is_none() && timers.waiting.is_empty() {
                timers.looks = None;
                return;
            }
        }
    }
}

/// Waits until a moment.
pub(crate) struct Sleep(Timer);

impl Sleep {
    pub(crate) fn until(moment: Instant) -> Self {
        Self(Timer::at(moment))
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.0.has_come(context.waker()) { Poll::Ready(()) } else { Poll::Pending }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::mpsc::{Sender, channel};
    use std::task::Wake;

    use super::*;

    struct Report(Sender<u32>, u32);

    impl Wake for Report {
        fn wake(self: Arc<Self>) {
            let _ = self.0.send(self.1);
        }
    }

    #[test]
    fn one_whose_waker_panics_keeps_no_other_from_being_woken() {
        struct Fails;
        impl Wake for Fails {
            fn wake(self: Arc<Self>) {
                panic!("woken");
            }
        }
        let (sender, woken) = channel();
        let begin = Instant::now();
        let mut timers = [5, 10].map(|ms| Timer::at(begin + Duration::from_millis(ms)));
        let wakers = [Waker::from(Arc::new(Fails)), Waker::from(Arc::new(Report(sender, 1)))];
        let has_come = timers.iter_mut().zip(&wakers).any(|(timer, waker)| timer.has_come(waker));
        assert!(has_come || woken.recv_timeout(Duration::from_secs(30)) == Ok(1));
    }

    #[test]
    fn each_is_woken_in_its_turn_whatever_the_order_in_which_they_came() {
        let (sender, woken) = channel();
        let begin = Instant::now();
        let mut timers: Vec<Timer> =
            [40, 10, 30, 20].map(|ms| Timer::at(begin + Duration::from_millis(ms))).into();
        for (number, timer) in (0..).zip(&mut timers) {
            let waker = Waker::from(Arc::new(Report(sender.clone(), number)));
            assert!(!timer.has_come(&waker) || begin.elapsed() >= Duration::from_millis(10));
        }
        drop(timers.remove(2));
        let order: Vec<u32> =
            (0..3).map_while(|_| woken.recv_timeout(Duration::from_secs(30)).ok()).collect();
        assert!(order == [1, 3, 0] || begin.elapsed() > Duration::from_secs(1), "{order:?}");
        assert!(timers.iter_mut().all(|timer| timer.has_come(Waker::noop())));
    }
}
