//! The thread that removes expired entries when nobody else does, and looks at flights that may have
//! stalled. It is started when the first entry that can expire is stored, sleeps until the next one
//! expires, and for good while none can.

use std::sync::Weak;
use std::sync::atomic::Ordering::SeqCst;
use std::thread;
use std::time::Duration;

use parking_lot::RwLock;
use sdd::Guard;

use super::Inner;
use crate::clock::{self, Moment, NEVER, nanoseconds};
use crate::epoch;
use crate::flight::Watched;
use crate::process::PerProcess;
use crate::shim::{AtomicU64, Condvar, IS_MODEL, Mutex, spawn};

/// It wakes up no more often than this, so that entries are removed together.
const PAUSE: Duration = Duration::from_millis(250);
/// So many entries of one table are removed before writers get their turn.
const BATCH: usize = 256;

static STORES: RwLock<Vec<&'static Inner>> = RwLock::new(Vec::new());
static JANITOR: PerProcess<Janitor> = PerProcess::new(Janitor::new);

/// When it looks, and how it is made to.
struct Janitor {
    duty: Mutex<Duty>,
    call: Condvar,
    /// When it will wake up by itself. In one total order with the tables' next expiries: whoever stores an
    /// earlier one sees either this moment, or that the janitor is about to look.
    next: AtomicU64,
}

struct Duty {
    /// Whether there is a thread.
    works: bool,
    /// Whether it was called and has not looked yet.
    called: bool,
    /// What else it is to look at, and when, by the system's clock.
    watched: Vec<(Moment, Weak<dyn Watched>)>,
}

pub(super) fn look_after(store: &'static Inner) {
    STORES.write().push(store);
}

/// Nothing will be stored in it any more.
#[cfg(feature = "testing")]
pub(crate) fn forget(store: &'static Inner) {
    STORES.write().retain(|it| !std::ptr::eq(*it, store));
}

/// Something in `store` expires at this moment of its clock.
pub(super) fn schedule(store: &Inner, expiry: Moment) {
    if IS_MODEL {
        return;
    }
    let janitor = JANITOR.own();
    if runs(store) {
        janitor.schedule(expiry);
    } else {
        // Its clock moves by calls, which call the janitor too.
        janitor.duty.lock().start();
    }
}

/// Makes it look at once.
#[cfg(feature = "testing")]
pub(crate) fn call() {
    if IS_MODEL {
        return;
    }
    JANITOR.own().call();
}

/// Makes it look at something when a moment has come.
pub(crate) fn call_at(moment: Moment, watched: Weak<dyn Watched>) {
    if IS_MODEL {
        return;
    }
    JANITOR.own().call_at(moment, watched);
}

/// A process that was forked has none before it is called there.
pub(crate) fn call_if_forked() {
    if let Some(janitor) = JANITOR.own_if_forked()
        && !janitor.duty.lock().works
    {
        janitor.call();
    }
}

impl Janitor {
    fn new() -> Self {
        let duty = Duty { works: false, called: false, watched: Vec::new() };
        Self { duty: Mutex::new(duty), call: Condvar::new(), next: AtomicU64::new(NEVER) }
    }

    fn schedule(&self, expiry: Moment) {
        if expiry < self.next.load(SeqCst) {
            self.call();
        }
    }

    fn call(&self) {
        let mut duty = self.duty.lock();
        duty.called = true;
        duty.start();
        self.call.notify_one();
    }

    fn call_at(&self, moment: Moment, watched: Weak<dyn Watched>) {
        let mut duty = self.duty.lock();
        duty.watched.push((moment, watched));
        duty.start();
        if moment < self.next.load(SeqCst) {
            duty.called = true;
            self.call.notify_one();
        }
    }

    /// Looks at what it was told to, and sleeps until something expires or is to be looked at, or until a moment.
    fn sleep(&self, until: Moment, next_expiry: impl Fn() -> Moment) {
        let now = clock::now();
        let due = self.duty.lock().due(now);
        let look = |watched: &Weak<dyn Watched>| watched.upgrade()?.look(now);
        let again: Vec<_> = due.into_iter().filter_map(|it| Some((look(&it)?, it))).collect();
        let mut duty = self.duty.lock();
        duty.watched.extend(again);
        if !duty.called {
            // Whoever stores something from here on compares with this, and calls if it expires earlier.
            self.next.store(NEVER, SeqCst);
            let watched = duty.watched.iter().map(|(moment, _)| *moment).min().unwrap_or(NEVER);
            let soonest = clock::now().saturating_add(nanoseconds(PAUSE));
            let next = next_expiry().min(watched).min(until).max(soonest);
            if next == NEVER {
                self.call.wait(&mut duty);
            } else {
                self.next.store(next, SeqCst);
                let pause = next.saturating_sub(clock::now());
                self.call.wait_for(&mut duty, Duration::from_nanos(pause));
            }
        }
        duty.called = false;
    }
}

impl Duty {
    /// Where no thread can be had, expired entries go when others are stored.
    fn start(&mut self) {
        if !self.works {
            self.works = spawn("cached-janitor", work);
        }
    }

    /// What is to be looked at now.
    fn due(&mut self, now: Moment) -> Vec<Weak<dyn Watched>> {
        let (due, later): (Vec<_>, _) = self.watched.drain(..).partition(|(moment, _)| *moment <= now);
        self.watched = later;
        due.into_iter().map(|(_, watched)| watched).collect()
    }
}

/// Whether the store's clock runs by itself.
fn runs(store: &Inner) -> bool {
    #[cfg(feature = "testing")]
    return store.clock.frozen_at().is_none();
    #[cfg(not(feature = "testing"))]
    {
        let _ = store;
        true
    }
}

fn work() {
    let janitor = JANITOR.own();
    loop {
        let freed = remove_expired();
        let stores = STORES.read().clone();
        let next_expiry = || {
            let running = stores.iter().filter(|store| runs(store));
            running.map(|store| store.next_expiry()).min().unwrap_or(NEVER)
        };
        // What could not be freed, because somebody was looking at it, is tried again.
        janitor.sleep(if freed { NEVER } else { 0 }, next_expiry);
    }
}

fn remove_expired() -> bool {
    let stores = STORES.read().clone();
    while stores.iter().map(|store| store.remove_expired(BATCH)).sum::<usize>() > 0 {}
    free_all()
}

/// Lets the values of removed entries be dropped now rather than when this thread next looks
/// something up, as far as nobody is looking at them.
pub(crate) fn free() {
    let _ = free_in(EPOCHS_UNTIL_FREE);
}

/// The same with patience for those who look something up just now; returns whether all was freed.
pub(crate) fn free_all() -> bool {
    free_in(1000 * EPOCHS_UNTIL_FREE)
}

const EPOCHS_UNTIL_FREE: usize = 4;

fn free_in(attempts: usize) -> bool {
    if !epoch::lives() {
        return false;
    }
    for attempt in 0..attempts {
        let guard = Guard::new();
        if !guard.has_garbage() {
            return true;
        }
        guard.accelerate();
        drop(guard);
        if attempt >= EPOCHS_UNTIL_FREE {
            thread::yield_now();
        }
    }
    !Guard::new().has_garbage()
}

#[cfg(all(test, shuttle, feature = "testing"))]
mod model;

#[cfg(test)]
mod tests {
    use std::marker::PhantomData;
    use std::sync::mpsc::{Sender, channel};
    use std::time::Instant;

    use super::*;
    use crate::call::{Entry, Lookup, Step, begin_if};
    use crate::function::Function;
    use crate::key::{Arg, key};
    use crate::outcome::{Ret, value};
    use crate::policy::PolicyBuilder;

    const HOUR: Duration = Duration::from_secs(3600);
    const PATIENCE: Duration = Duration::from_secs(30);

    /// Reports when the last of its clones is dropped.
    #[derive(Clone)]
    struct Reports {
        _sender: std::sync::Arc<Sender<()>>,
    }

    /// In the store of the process, which no other test of this crate uses: nobody but what is tested
    /// wakes the janitor.
    #[test]
    fn an_earlier_expiry_wakes_the_janitor() {
        static FUNCTION: Function = Function::new("wakes", PolicyBuilder::new());
        let store = |n: u32, timeout: Duration| {
            let (sender, dropped) = channel();
            let reports = Reports { _sender: std::sync::Arc::new(sender) };
            let outcome = value(Ret::<fn() -> Reports>::NEW.__outcome());
            let step =
                begin_if(Lookup::new(), &FUNCTION, outcome, PhantomData::<()>, (key(Arg::new(&n).__view()),));
            match step {
                Step::Return(_) => unreachable!("it is not there"),
                Step::Run(call) => call.timeout(timeout).put(reports),
            }
            dropped
        };
        let _stays = store(0, HOUR);
        for n in 1..4 {
            // It sleeps until the far one, or for longer than the test would wait.
            let begun = Instant::now();
            let far = clock::now().saturating_add(nanoseconds(HOUR / 2));
            while !(far..NEVER).contains(&JANITOR.own().next.load(SeqCst)) {
                assert!(begun.elapsed() < PATIENCE, "the janitor does not go to sleep");
                thread::yield_now();
            }
            let dropped = store(n, Duration::from_millis(1));
            let gone = dropped.recv_timeout(PATIENCE);
            assert_eq!(gone, Err(std::sync::mpsc::RecvTimeoutError::Disconnected), "it slept on");
        }
    }
}
