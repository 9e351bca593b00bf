//! Flights: one running computation of one key, with those who wait for it.
//!
//! A flight ends in one of two ways: it lands, with something for those who wait or with nothing, or
//! it is lost, when the body panicked or its future was dropped. Waiting threads and tasks share one
//! state; only how they sleep differs.
//!
//! A future may also be kept and never polled again. The leader's future is therefore polled with the
//! flight itself as its waker: a leader that was woken and is not polled for [`STALLED`] is given up,
//! and those who wait go on. A body that is not woken is at work, however long it takes.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::{Acquire, Relaxed, Release};
use std::sync::atomic::{AtomicBool, AtomicU64};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use hashbrown::HashTable;
use once_cell::sync::OnceCell;
use parking_lot::{Condvar, Mutex};

use crate::circle::Course;
use crate::clock::{self, NEVER, nanoseconds};

/// What became of a flight.
pub(crate) enum Ending<D> {
    /// The body returned; where there is nothing to share, those who waited go on on their own.
    Landed(Option<D>),
    /// The body panicked or was dropped; one of those who waited takes its place.
    Lost,
}

/// How long a leader that was woken may take to be polled. Only a program that has forgotten about it,
/// or is hopelessly late, takes as long.
const STALLED: Duration = Duration::from_millis(500);

/// See the module. `D` is what is delivered to those who wait.
pub(crate) struct Flight<D> {
    pub(crate) course: Arc<Course>,
    ending: OnceCell<Ending<D>>,
    /// Whether anybody has waited for it.
    is_awaited: AtomicBool,
    tasks: Mutex<Tasks>,
    landed: Condvar,
    /// When the leader was woken, if it was not polled since; else [`NEVER`].
    woken: AtomicU64,
}

#[derive(Default)]
struct Tasks {
    /// The leader's.
    leader: Option<Waker>,
    /// Those that wait, by a number that each got when it first did. The first watches the leader.
    waiting: BTreeMap<u64, Waker>,
    next: u64,
}

impl<D> Flight<D> {
    fn begin() -> Arc<Self> {
        Arc::new(Self {
            course: Course::begin(),
            ending: OnceCell::new(),
            is_awaited: AtomicBool::new(false),
            tasks: Mutex::default(),
            landed: Condvar::new(),
            woken: AtomicU64::new(NEVER),
        })
    }

    /// Ends the flight, once, and wakes everybody.
    pub(crate) fn end(&self, ending: Ending<D>) {
        if self.ending.set(ending).is_err() {
            return;
        }
        let Tasks { leader, waiting, .. } = std::mem::take(&mut *self.tasks.lock());
        self.landed.notify_all();
        waiting.into_values().for_each(Waker::wake);
        drop(leader);
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.ending.get().is_some()
    }

    pub(crate) fn is_awaited(&self) -> bool {
        self.is_awaited.load(Acquire)
    }

    /// Sleeps until the flight has ended.
    pub(crate) fn wait(&self) -> &Ending<D> {
        let mut tasks = self.tasks.lock();
        loop {
            if let Some(ending) = self.ending.get() {
                return ending;
            }
            self.landed.wait(&mut tasks);
        }
    }

    /// The same for a task.
    pub(crate) fn ended(&self) -> Ended<'_, D> {
        Ended { flight: self, number: None }
    }

    /// The leader's task is being polled.
    pub(crate) fn polled(&self, context: &Context<'_>) {
        self.woken.store(NEVER, Release);
        let mut tasks = self.tasks.lock();
        let is_known = tasks.leader.as_ref().is_some_and(|leader| leader.will_wake(context.waker()));
        if !is_known {
            drop(tasks);
            let waker = context.waker().clone();
            tasks = self.tasks.lock();
            let old = tasks.leader.replace(waker);
            drop(tasks);
            drop(old);
        }
    }

    fn is_stalled(&self) -> bool {
        clock::now() > self.woken.load(Acquire).saturating_add(nanoseconds(STALLED))
    }
}

/// The leader is to be polled: whoever watches it should see that it is.
impl<D: Send + Sync> Wake for Flight<D> {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        let _ = self.woken.compare_exchange(NEVER, clock::now(), Release, Relaxed);
        let tasks = self.tasks.lock();
        let leader = tasks.leader.clone();
        let watching = tasks.waiting.values().next().cloned();
        drop(tasks);
        leader.into_iter().chain(watching).for_each(Waker::wake);
    }
}

/// A future that is ready when the flight has ended, or is given up. Dropping it affects nobody else.
pub(crate) struct Ended<'a, D> {
    flight: &'a Flight<D>,
    number: Option<u64>,
}

impl<'a, D> Future for Ended<'a, D> {
    type Output = &'a Ending<D>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let flight = self.flight;
        if flight.is_stalled() {
            flight.end(Ending::Lost);
        }
        // A waker's clone and drop are foreign code: neither runs under the lock.
        let waker = context.waker().clone();
        let mut tasks = flight.tasks.lock();
        if let Some(ending) = flight.ending.get() {
            return Poll::Ready(ending);
        }
        let number = *self.number.get_or_insert_with(|| {
            tasks.next += 1;
            tasks.next
        });
        let old = tasks.waiting.insert(number, waker);
        let watches = tasks.waiting.keys().next() == Some(&number);
        drop(tasks);
        drop(old);
        if watches && flight.woken.load(Acquire) != NEVER {
            // The leader's turn comes before the next one of this task, or it is late.
            context.waker().wake_by_ref();
        }
        Poll::Pending
    }
}

impl<D> Drop for Ended<'_, D> {
    fn drop(&mut self) {
        let Some(number) = self.number else { return };
        let mut tasks = self.flight.tasks.lock();
        let own = tasks.waiting.remove(&number);
        let watching = tasks.waiting.values().next().cloned();
        drop(tasks);
        drop(own);
        // The next one watches.
        watching.into_iter().for_each(Waker::wake);
    }
}

/// The computations of one table that are running.
///
/// A computation is known here from before its body begins until its value is stored; taken away
/// earlier, by an invalidation, it is fenced: its value goes to its callers and is not stored.
pub(crate) struct Flights<K, D> {
    /// The first ones; there are seldom more.
    few: Vec<Running<K, D>>,
    more: HashTable<Running<K, D>>,
}

const FEW: usize = 8;

struct Running<K, D> {
    hash: u64,
    key: K,
    flight: Arc<Flight<D>>,
    /// Whether others may wait for it.
    shared: bool,
}

impl<K, D> Default for Flights<K, D> {
    fn default() -> Self {
        Self { few: Vec::new(), more: HashTable::new() }
    }
}

impl<K, D> Flights<K, D> {
    fn find(&self, hash: u64, is_it: impl Fn(&Running<K, D>) -> bool) -> Option<&Running<K, D>> {
        let is_it = |it: &Running<K, D>| it.hash == hash && is_it(it);
        self.few.iter().find(|it| is_it(it)).or_else(|| self.more.find(hash, is_it))
    }

    fn take(&mut self, hash: u64, is_it: impl Fn(&Running<K, D>) -> bool) -> Option<Running<K, D>> {
        let is_it = |it: &Running<K, D>| it.hash == hash && is_it(it);
        if let Some(at) = self.few.iter().position(is_it) {
            return Some(self.few.swap_remove(at));
        }
        let found = self.more.find_entry(hash, is_it).ok()?;
        let (running, _) = found.remove();
        self.shrink();
        Some(running)
    }

    /// The computation of this key that can be waited for; it will be.
    pub(crate) fn join(&self, hash: u64, is_key: impl Fn(&K) -> bool) -> Option<Arc<Flight<D>>> {
        let running = self.find(hash, |it| it.shared && is_key(&it.key))?;
        // A flight that was given up is the first caller's alone.
        let flight = Some(&running.flight).filter(|flight| !flight.has_ended())?;
        flight.is_awaited.store(true, Release);
        Some(Arc::clone(flight))
    }

    /// Begins a computation.
    pub(crate) fn begin(&mut self, hash: u64, key: K, shared: bool) -> Arc<Flight<D>> {
        let flight = Flight::begin();
        let running = Running { hash, key, flight: Arc::clone(&flight), shared };
        if self.few.len() < FEW {
            if self.few.capacity() == 0 {
                self.few.reserve_exact(1);
            }
            self.few.push(running);
        } else {
            self.more.insert_unique(hash, running, |it| it.hash);
        }
        flight
    }

    /// Ends a computation's time here; returns its key if it was not fenced.
    pub(crate) fn finish(&mut self, hash: u64, flight: &Arc<Flight<D>>) -> Option<K> {
        self.take(hash, |it| Arc::ptr_eq(&it.flight, flight)).map(|running| running.key)
    }

    /// Fences the computations of one key.
    pub(crate) fn fence(&mut self, hash: u64, is_key: impl Fn(&K) -> bool) {
        while self.take(hash, |it| is_key(&it.key)).is_some() {}
    }

    pub(crate) fn fence_all(&mut self) {
        self.few.clear();
        self.more.clear();
        self.shrink();
    }

    /// Gives back what a crowd of flights has left behind.
    fn shrink(&mut self) {
        if self.more.is_empty() && self.more.capacity() > 64 {
            self.more.shrink_to(0, |it| it.hash);
        }
    }
}
