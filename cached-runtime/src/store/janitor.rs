//! The thread that removes expired entries when nobody else does, and looks at flights that may have
//! stalled. It is started when the first entry that can expire is stored, sleeps until the next one
//! expires, and for good while none can.

use std::sync::Weak;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::SeqCst;
use std::thread;
use std::time::Duration;

use parking_lot::{Condvar, Mutex, MutexGuard, RwLock};
use sdd::Guard;

use super::Inner;
use crate::clock::{self, Moment, NEVER, nanoseconds};
use crate::epoch;
use crate::flight::Watched;
use crate::shim::spawn;

/// It wakes up no more often than this, so that entries are removed together.
const PAUSE: Duration = Duration::from_millis(250);
/// So many entries of one table are removed before writers get their turn.
const BATCH: usize = 256;

static STORES: RwLock<Vec<&'static Inner>> = RwLock::new(Vec::new());
static DUTY: Mutex<Duty> = Mutex::new(Duty { works: false, called: false, watched: Vec::new() });
static CALL: Condvar = Condvar::new();
/// When it will wake up by itself. In one total order with the tables' next expiries: whoever stores an
/// earlier one sees either this moment, or that the janitor is about to look.
static NEXT: AtomicU64 = AtomicU64::new(NEVER);

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
    if !runs(store) {
        // Its clock moves by calls, which call the janitor too.
        start(&mut DUTY.lock());
    } else if expiry < NEXT.load(SeqCst) {
        call();
    }
}

/// Makes it look at once.
pub(crate) fn call() {
    let mut duty = DUTY.lock();
    duty.called = true;
    start(&mut duty);
    CALL.notify_one();
}

/// Makes it look at something when a moment has come.
pub(crate) fn call_at(moment: Moment, watched: Weak<dyn Watched>) {
    let mut duty = DUTY.lock();
    duty.watched.push((moment, watched));
    start(&mut duty);
    if moment < NEXT.load(SeqCst) {
        duty.called = true;
        CALL.notify_one();
    }
}

/// Looks at what is due, and returns when the next is.
fn look(duty: &mut MutexGuard<'_, Duty>) -> Moment {
    let now = clock::now();
    let (due, later) = duty.watched.drain(..).partition(|(moment, _)| *moment <= now);
    duty.watched = later;
    let again = MutexGuard::unlocked(duty, || {
        let due: Vec<(Moment, Weak<dyn Watched>)> = due;
        let look = |watched: &Weak<dyn Watched>| watched.upgrade()?.look(now);
        due.into_iter().filter_map(|(_, it)| Some((look(&it)?, it))).collect::<Vec<_>>()
    });
    duty.watched.extend(again);
    duty.watched.iter().map(|(moment, _)| *moment).min().unwrap_or(NEVER)
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

/// Where no thread can be had, expired entries go when others are stored.
fn start(duty: &mut Duty) {
    if !duty.works {
        duty.works = spawn("cached-janitor", work);
    }
}

fn work() {
    loop {
        let freed = remove_expired();
        // What could not be freed, because somebody was looking at it, is tried again.
        sleep(if freed { NEVER } else { 0 });
    }
}

fn remove_expired() -> bool {
    let stores = STORES.read().clone();
    while stores.iter().map(|store| store.remove_expired(BATCH)).sum::<usize>() > 0 {}
    free_all()
}

/// Until something expires or is to be looked at, or until a moment.
fn sleep(until: Moment) {
    let stores = STORES.read().clone();
    let mut duty = DUTY.lock();
    let watched = look(&mut duty);
    if !duty.called {
        // Whoever stores something from here on compares with this, and calls if it expires earlier.
        NEXT.store(NEVER, SeqCst);
        let next = stores.iter().filter(|store| runs(store)).map(|store| store.next_expiry()).min();
        let next = next
            .unwrap_or(NEVER)
            .min(watched)
            .min(until)
            .max(clock::now().saturating_add(nanoseconds(PAUSE)));
        if next == NEVER {
            CALL.wait(&mut duty);
        } else {
            NEXT.store(next, SeqCst);
            let pause = next.saturating_sub(clock::now());
            CALL.wait_for(&mut duty, Duration::from_nanos(pause));
        }
    }
    duty.called = false;
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
            while !(far..NEVER).contains(&NEXT.load(SeqCst)) {
                assert!(begun.elapsed() < PATIENCE, "the janitor does not go to sleep");
                thread::yield_now();
            }
            let dropped = store(n, Duration::from_millis(1));
            let gone = dropped.recv_timeout(PATIENCE);
            assert_eq!(gone, Err(std::sync::mpsc::RecvTimeoutError::Disconnected), "it slept on");
        }
    }
}
