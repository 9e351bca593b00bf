//! Wakes tasks at a moment, whatever runs them: one thread for all, started when there is something to wait for.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::{Condvar, Mutex};

/// Who is to be woken when, by moment and number.
struct Timers {
    waiting: BTreeMap<(Instant, u64), Waker>,
    next: u64,
    has_thread: bool,
}

static TIMERS: Mutex<Timers> = Mutex::new(Timers { waiting: BTreeMap::new(), next: 0, has_thread: false });
static SOONER: Condvar = Condvar::new();

/// A thread with nothing to wait for ends after this time.
const IDLE: Duration = Duration::from_secs(10);

/// A place among those that wait, given up when it is dropped.
pub(crate) struct Timer {
    moment: Instant,
    number: Option<u64>,
}

impl Timer {
    pub(crate) fn at(moment: Instant) -> Self {
        Self { moment, number: None }
    }

    /// Whether the moment has come; if not, the task will be woken then.
    pub(crate) fn has_come(&mut self, waker: &Waker) -> bool {
        if Instant::now() >= self.moment {
            return true;
        }
        // A waker's clone and drop are foreign code: neither runs under the lock.
        let waker = waker.clone();
        let mut timers = TIMERS.lock();
        let number = *self.number.get_or_insert_with(|| {
            timers.next += 1;
            timers.next
        });
        let old = timers.waiting.insert((self.moment, number), waker);
        if !timers.has_thread {
            // Where no thread can be had, the caller is late, and asks again when it is woken by what it
            // waits for.
            timers.has_thread =
                thread::Builder::new().name("cached-timer".to_owned()).spawn(wake_in_time).is_ok();
        }
        SOONER.notify_one();
        drop(timers);
        drop(old);
        false
    }
}

impl Drop for Timer {
    fn drop(&mut self) {
        let Some(number) = self.number else { return };
        let own = TIMERS.lock().waiting.remove(&(self.moment, number));
        drop(own);
    }
}

fn wake_in_time() {
    let mut timers = TIMERS.lock();
    loop {
        let now = Instant::now();
        if let Some(entry) = timers.waiting.first_entry()
            && entry.key().0 <= now
        {
            let waker = entry.remove();
            drop(timers);
            waker.wake();
            timers = TIMERS.lock();
            continue;
        }
        let next = timers.waiting.first_key_value().map(|((moment, _), _)| *moment);
        let timed_out = SOONER.wait_until(&mut timers, next.unwrap_or(now + IDLE)).timed_out();
        if timed_out && next.is_none() && timers.waiting.is_empty() {
            timers.has_thread = false;
            return;
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
