//! The time as the store sees it: nanoseconds since shortly before it was first asked for, monotonic.
//!
//! To read the system's clock costs more than all the rest of a hit. While the time is asked for very
//! often, a thread therefore writes it into one word every other millisecond, and everybody reads that.
//! Otherwise nobody ticks, and each reading is the system's. A thread that ticks may be late, where there
//! is too much to do for the processors, or not come back at all, after a fork; so every thread looks
//! after so many calls whether the word is, and takes it away if it is.

use std::sync::atomic::Ordering::Relaxed;
use std::thread;
use std::time::{Duration, Instant};
#[cfg(feature = "backend")]
use std::time::{SystemTime, UNIX_EPOCH};

use once_cell::sync::Lazy;

use crate::process::PerProcess;
use crate::shim::{AtomicU64, Condvar, IS_MODEL, Mutex, spawn};
use crate::stats;
use crate::store::janitor;

/// A moment, in nanoseconds of the clock.
pub(crate) type Moment = u64;

/// The moment that never comes.
pub(crate) const NEVER: Moment = Moment::MAX;

/// The time while it ticks, else 0.
static TICK: AtomicU64 = AtomicU64::new(0);

const PERIOD: Duration = Duration::from_millis(2);
/// Ticks between two looks at whether it is still worth it.
const TICKS: u32 = 8;
/// Calls in that time that make it worth it.
const MANY: u64 = 2000;
/// Readings of the system's clock in a row, and the time within which so many are many.
const READINGS: u64 = 1024;
const SOON: Duration = Duration::from_millis(4);
/// A word that is older than this is taken away.
const LATE: Duration = Duration::from_millis(20);

#[inline]
pub(crate) fn now() -> Moment {
    if IS_MODEL {
        return read();
    }
    match TICK.load(Relaxed) {
        0 => read_often(),
        tick => tick,
    }
}

/// The system's clock.
fn read() -> Moment {
    static ORIGIN: Lazy<Instant> = Lazy::new(Instant::now);
    nanoseconds(ORIGIN.elapsed()).saturating_add(1)
}

/// The system's clock, read by somebody who may do so often.
#[cold]
#[inline(never)]
fn read_often() -> Moment {
    static READ: AtomicU64 = AtomicU64::new(0);
    static SINCE: AtomicU64 = AtomicU64::new(0);
    let now = read();
    if READ.fetch_add(1, Relaxed) % READINGS == READINGS - 1 {
        let since = SINCE.swap(now, Relaxed);
        if now.saturating_sub(since) < nanoseconds(SOON) {
            TICKING.own().start();
        }
        janitor::call_if_forked();
    }
    now
}

/// Takes the word away if nobody writes it any more.
#[cold]
#[inline(never)]
pub(crate) fn check() {
    if IS_MODEL {
        return;
    }
    take_away_if_late(&TICK, read);
}

fn take_away_if_late(word: &AtomicU64, read: impl Fn() -> Moment) {
    let tick = word.load(Relaxed);
    if tick != 0 && is_late(tick, read()) {
        let _ = word.compare_exchange(tick, 0, Relaxed, Relaxed);
    }
}

fn is_late(tick: Moment, now: Moment) -> bool {
    now.saturating_sub(tick) > nanoseconds(LATE)
}

static TICKING: PerProcess<Ticking> = PerProcess::new(Ticking::new);

/// The thread that ticks.
struct Ticking {
    thread: Mutex<Thread>,
    call: Condvar,
}

struct Thread {
    exists: bool,
    is_wanted: bool,
}

impl Ticking {
    fn new() -> Self {
        Self { thread: Mutex::new(Thread { exists: false, is_wanted: false }), call: Condvar::new() }
    }

    /// Where no thread can be had, the system's clock will do; and where it is being called already, once will
    /// do. Returns whether it was called.
    fn start(&self) -> bool {
        let Some(mut thread) = self.thread.try_lock() else { return false };
        if !thread.exists {
            thread.exists = spawn("cached-clock", work);
        }
        thread.is_wanted = true;
        self.call.notify_one();
        true
    }

    /// Ticks as long as it is worth it, once it is wanted; afterwards there is no word.
    fn turn(&self, word: &AtomicU64, tick: impl FnOnce(&AtomicU64)) {
        let mut thread = self.thread.lock();
        while !std::mem::take(&mut thread.is_wanted) {
            self.call.wait(&mut thread);
        }
        drop(thread);
        tick(word);
        word.store(0, Relaxed);
    }
}

fn work() {
    let ticking = TICKING.own();
    let tick = |word: &AtomicU64| {
        tick_while(|| {
            for _ in 0..TICKS {
                word.store(read(), Relaxed);
                thread::sleep(PERIOD);
            }
        });
    };
    loop {
        ticking.turn(&TICK, tick);
    }
}

/// Does something again and again while there are many calls.
fn tick_while(ticks: impl Fn()) {
    let mut calls = stats::calls();
    loop {
        ticks();
        let before = std::mem::replace(&mut calls, stats::calls());
        if calls.wrapping_sub(before) < MANY {
            break;
        }
    }
}

/// A length of time on this clock; more than 584 years is for ever.
pub(crate) fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// The clock of one store: the system's, or in tests one that stands still until it is advanced.
#[derive(Default)]
pub(crate) struct Clock {
    /// The moment at which the clock was stopped; 0 while it runs.
    #[cfg(feature = "testing")]
    frozen: AtomicU64,
}

impl Clock {
    #[cfg_attr(not(feature = "testing"), expect(clippy::unused_self, reason = "it may stand still in tests"))]
    #[inline]
    pub(crate) fn now(&self) -> Moment {
        #[cfg(feature = "testing")]
        if let Some(moment) = self.frozen_at() {
            return moment;
        }
        now()
    }

    #[cfg_attr(not(feature = "testing"), expect(clippy::unused_self, reason = "it may stand still in tests"))]
    pub(crate) fn read(&self) -> Reading {
        let system = now();
        #[cfg(feature = "testing")]
        let store = self.frozen_at().unwrap_or(system);
        #[cfg(not(feature = "testing"))]
        let store = system;
        Reading { system, store }
    }
}

/// One reading for all that is to be known of a moment.
#[derive(Clone, Copy)]
pub(crate) struct Reading {
    /// By the system's clock: how long a body takes.
    pub(crate) system: Moment,
    /// By the clock of the store: what is fresh, and until when.
    pub(crate) store: Moment,
}

/// The time by the clock of the store, and by the wall clock.
#[cfg(feature = "backend")]
#[derive(Clone, Copy, Debug)]
pub(crate) struct Date {
    pub(crate) now: Moment,
    /// Milliseconds since 1970.
    pub(crate) wall: u64,
}

#[cfg(feature = "backend")]
impl Clock {
    pub(crate) fn date(&self) -> Date {
        Date { now: self.now(), wall: self.wall() }
    }

    /// Milliseconds since 1970, by the system's wall clock; where the clock stands still, as of then.
    #[cfg_attr(not(feature = "testing"), expect(clippy::unused_self, reason = "it may stand still in tests"))]
    pub(crate) fn wall(&self) -> u64 {
        #[cfg(feature = "testing")]
        if let Some(moment) = self.frozen_at() {
            static OFFSET: Lazy<u64> = Lazy::new(|| wall().saturating_sub(now() / 1_000_000));
            return *OFFSET + moment / 1_000_000;
        }
        wall()
    }
}

#[cfg(feature = "backend")]
fn wall() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    since.as_secs().saturating_mul(1000).saturating_add(u64::from(since.subsec_millis()))
}

#[cfg(feature = "testing")]
impl Clock {
    pub(crate) fn frozen_at(&self) -> Option<Moment> {
        use std::sync::atomic::Ordering::Acquire;

        Some(self.frozen.load(Acquire)).filter(|moment| *moment != 0)
    }

    pub(crate) fn freeze(&self) {
        use std::sync::atomic::Ordering::{AcqRel, Acquire};

        let _ = self.frozen.fetch_update(AcqRel, Acquire, |moment| (moment == 0).then(now));
    }

    /// Moves a clock that stands still; one that runs is stopped first.
    pub(crate) fn advance(&self, by: Duration) {
        use std::sync::atomic::Ordering::{AcqRel, Acquire};

        self.freeze();
        let _ =
            self.frozen.fetch_update(AcqRel, Acquire, |moment| Some(moment.saturating_add(nanoseconds(by))));
    }

    pub(crate) fn resume(&self) {
        self.frozen.store(0, std::sync::atomic::Ordering::Release);
    }
}

#[cfg(all(test, shuttle, feature = "testing"))]
mod model;
