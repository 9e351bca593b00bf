//! Flights: one running computation of one key, with those who wait for it.
//!
//! A flight ends in one of two ways: it lands, with something for those who wait or with nothing, or
//! it is lost, when the body panicked or its future was dropped. Waiting threads and tasks share one
//! state; only how they sleep differs.

use std::cell::RefCell;
use std::collections::HashMap;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll, Waker};

use hashbrown::HashTable;
use once_cell::sync::OnceCell;
use parking_lot::{Condvar, Mutex};

/// A running computation, and the one within whose body it began.
pub(crate) struct Course {
    id: u64,
    within: Option<Arc<Course>>,
}

thread_local! {
    /// The innermost computation whose body this thread is running.
    static CURRENT: RefCell<Option<Arc<Course>>> = const { RefCell::new(None) };
}

impl Course {
    fn begin() -> Arc<Self> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        Arc::new(Self { id: NEXT.fetch_add(1, Relaxed), within: Self::current() })
    }

    fn current() -> Option<Arc<Self>> {
        CURRENT.try_with(|current| current.borrow().clone()).ok().flatten()
    }

    /// This computation and those around it, innermost first.
    fn chain(&self) -> impl Iterator<Item = u64> {
        std::iter::successors(Some(self), |course| course.within.as_deref()).map(|course| course.id)
    }

    /// Makes this the current computation until the guard is dropped.
    pub(crate) fn enter(self: &Arc<Self>) -> Entered {
        let outer = CURRENT.try_with(|current| current.replace(Some(Arc::clone(self)))).ok().flatten();
        Entered(outer)
    }
}

pub(crate) struct Entered(Option<Arc<Course>>);

impl Drop for Entered {
    fn drop(&mut self) {
        let _ = CURRENT.try_with(|current| current.replace(self.0.take()));
    }
}

/// What became of a flight.
pub(crate) enum Ending<D> {
    /// The body returned; where there is nothing to share, those who waited go on on their own.
    Landed(Option<D>),
    /// The body panicked or was dropped; one of those who waited takes its place.
    Lost,
}

/// See the module. `D` is what is delivered to those who wait.
pub(crate) struct Flight<D> {
    pub(crate) course: Arc<Course>,
    ending: OnceCell<Ending<D>>,
    tasks: Mutex<Tasks>,
    landed: Condvar,
}

/// The tasks that wait, by a number that each got when it first did.
#[derive(Default)]
struct Tasks {
    next: u64,
    wakers: HashMap<u64, Waker>,
}

impl<D> Flight<D> {
    fn begin() -> Arc<Self> {
        Arc::new(Self {
            course: Course::begin(),
            ending: OnceCell::new(),
            tasks: Mutex::default(),
            landed: Condvar::new(),
        })
    }

    /// Ends the flight, once, and wakes everybody.
    pub(crate) fn end(&self, ending: Ending<D>) {
        if self.ending.set(ending).is_err() {
            return;
        }
        let wakers = std::mem::take(&mut self.tasks.lock().wakers);
        self.landed.notify_all();
        wakers.into_values().for_each(Waker::wake);
    }

    pub(crate) fn has_ended(&self) -> bool {
        self.ending.get().is_some()
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
}

/// A future that is ready when the flight has ended. Dropping it affects nobody else.
pub(crate) struct Ended<'a, D> {
    flight: &'a Flight<D>,
    number: Option<u64>,
}

impl<'a, D> Future for Ended<'a, D> {
    type Output = &'a Ending<D>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let flight = self.flight;
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
        let old = tasks.wakers.insert(number, waker);
        drop(tasks);
        drop(old);
        Poll::Pending
    }
}

impl<D> Drop for Ended<'_, D> {
    fn drop(&mut self) {
        if let Some(number) = self.number {
            let waker = self.flight.tasks.lock().wakers.remove(&number);
            drop(waker);
        }
    }
}

/// The computations of one table that are running.
///
/// A computation is known here from before its body begins until its value is stored; taken away
/// earlier, by an invalidation, it is fenced: its value goes to its callers and is not stored.
pub(crate) struct Flights<K, D>(HashTable<Running<K, D>>);

struct Running<K, D> {
    hash: u64,
    key: K,
    flight: Arc<Flight<D>>,
    /// Whether others may wait for it.
    shared: bool,
}

impl<K, D> Default for Flights<K, D> {
    fn default() -> Self {
        Self(HashTable::new())
    }
}

impl<K, D> Flights<K, D> {
    /// The computation of this key that can be waited for.
    pub(crate) fn of(&self, hash: u64, is_key: impl Fn(&K) -> bool) -> Option<&Arc<Flight<D>>> {
        let running = self.0.find(hash, |it| it.hash == hash && it.shared && is_key(&it.key))?;
        Some(&running.flight)
    }

    /// Begins a computation.
    pub(crate) fn begin(&mut self, hash: u64, key: K, shared: bool) -> Arc<Flight<D>> {
        let flight = Flight::begin();
        let running = Running { hash, key, flight: Arc::clone(&flight), shared };
        self.0.insert_unique(hash, running, |it| it.hash);
        flight
    }

    /// Ends a computation's time here; returns its key if it was not fenced.
    pub(crate) fn finish(&mut self, hash: u64, flight: &Arc<Flight<D>>) -> Option<K> {
        let found = self.0.find_entry(hash, |it| Arc::ptr_eq(&it.flight, flight)).ok()?;
        let (running, _) = found.remove();
        self.shrink();
        Some(running.key)
    }

    /// Fences the computations of one key.
    pub(crate) fn fence(&mut self, hash: u64, is_key: impl Fn(&K) -> bool) {
        while let Ok(found) = self.0.find_entry(hash, |it| it.hash == hash && is_key(&it.key)) {
            found.remove();
        }
    }

    pub(crate) fn fence_all(&mut self) {
        self.0.clear();
        self.shrink();
    }

    /// Gives back what a crowd of flights has left behind.
    fn shrink(&mut self) {
        if self.0.is_empty() && self.0.capacity() > 64 {
            self.0.shrink_to(0, |it| it.hash);
        }
    }
}

/// Who waits for whom: from each computation to those that it, or one within it, waits for.
static WAITING: Mutex<Option<HashMap<u64, Vec<u64>>>> = Mutex::new(None);

/// Stands for the current computation's waiting for another.
pub(crate) struct Waiting {
    by: Option<Arc<Course>>,
    to: u64,
}

impl Waiting {
    /// Begins to wait, unless the wait would close a circle and never end: unless `target` is one of
    /// the computations that this thread or task is running, or waits, itself or through others, for
    /// one of them.
    pub(crate) fn begin(target: &Course) -> Option<Self> {
        let to = target.id;
        let Some(by) = Course::current() else {
            // Nobody can be waiting for who computes nothing.
            return Some(Self { by: None, to });
        };
        let own: Vec<u64> = by.chain().collect();
        let mut waiting = WAITING.lock();
        let edges = waiting.get_or_insert_default();
        if leads_to(edges, to, &own) {
            return None;
        }
        for course in own {
            edges.entry(course).or_default().push(to);
        }
        drop(waiting);
        Some(Self { by: Some(by), to })
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        let Some(by) = &self.by else { return };
        let mut waiting = WAITING.lock();
        let edges = waiting.get_or_insert_default();
        for course in by.chain() {
            let Some(targets) = edges.get_mut(&course) else { continue };
            if let Some(at) = targets.iter().position(|target| *target == self.to) {
                targets.swap_remove(at);
            }
            if targets.is_empty() {
                edges.remove(&course);
            }
        }
        if edges.is_empty() {
            *waiting = None;
        }
    }
}

/// Whether a path leads from `from` to one of `goals`.
fn leads_to(edges: &HashMap<u64, Vec<u64>>, from: u64, goals: &[u64]) -> bool {
    let mut open = vec![from];
    let mut seen = std::collections::HashSet::new();
    while let Some(course) = open.pop() {
        if goals.contains(&course) {
            return true;
        }
        if seen.insert(course) {
            open.extend(edges.get(&course).into_iter().flatten());
        }
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_found_through_others_and_circles_do_not_trap_the_search() {
        let edges = HashMap::from([(1, vec![2, 3]), (2, vec![1]), (3, vec![4])]);
        for (from, goals, expected) in
            [(1, &[4][..], true), (2, &[4], true), (4, &[1, 2, 3], false), (1, &[9], false), (7, &[7], true)]
        {
            assert_eq!(leads_to(&edges, from, goals), expected, "{from} to {goals:?}");
        }
    }

    #[test]
    fn who_computes_nothing_may_wait_for_anybody() {
        assert!(Waiting::begin(&Course::begin()).is_some());
    }

    #[test]
    fn nobody_waits_for_a_computation_that_it_is_part_of() {
        let outer = Course::begin();
        let _outer = outer.enter();
        let inner = Course::begin();
        let _inner = inner.enter();
        assert!(Waiting::begin(&outer).is_none());
        assert!(Waiting::begin(&inner).is_none());
    }

    #[test]
    fn nobody_waits_for_who_waits_for_them_through_others() {
        let [a, b, c] = [(); 3].map(|()| Course::begin());
        let wait = |by: &Arc<Course>, target: &Course| {
            let _entered = by.enter();
            Waiting::begin(target)
        };
        let a_for_b = wait(&a, &b);
        let b_for_c = wait(&b, &c);
        assert!(a_for_b.is_some() && b_for_c.is_some());
        assert!(wait(&c, &a).is_none());
        drop(b_for_c);
        assert!(wait(&c, &a).is_some());
    }
}
