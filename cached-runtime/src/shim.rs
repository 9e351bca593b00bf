//! What the concurrent parts are made of, in one place, so that a model checker can take its place:
//! `RUSTFLAGS="--cfg shuttle" cargo test -p cached-runtime --lib --features testing model::`.
//!
//! Shuttle runs the threads of a model one at a time, and chooses at each operation of what is below who
//! goes on. What it explores are the interleavings of flights, shards, tables and indexes, with the slots
//! of an index among them. What it does not:
//!
//! - weaker orderings than `SeqCst`: each operation is seen by all at once. Loom knows them, but tries all
//!   schedules, of which whole calls have too many, and has no atomics that are made in a `const`;
//! - the epochs of `sdd`, which are the real ones and see one thread: that nothing is freed too early is
//!   sdd's promise, and the compiler's check of its guards;
//! - what stands outside of the shim, and is one step in a model: `once_cell`, the counters of threads,
//!   the list of who waits for whom;
//! - the threads of the janitor and the clock, which have models of their own, and are in no other.

/// Whether a model may be running, which has neither the janitor nor the clock of the process.
pub(crate) const IS_MODEL: bool = cfg!(all(test, shuttle));

#[cfg(all(test, shuttle))]
pub(crate) use checked::*;
#[cfg(not(all(test, shuttle)))]
pub(crate) use real::*;

#[cfg(not(all(test, shuttle)))]
mod real {
    pub(crate) use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};
    use std::thread;
    pub(crate) use std::thread::yield_now;
    pub(crate) use std::thread_local;

    pub(crate) use parking_lot::{Condvar, Mutex, MutexGuard};
    pub(crate) use sdd::AtomicOwned;

    /// Starts a thread; returns whether one could be had.
    pub(crate) fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> bool {
        // In a box, so that there is one way to start a thread, of whatever it does.
        let work: Box<dyn FnOnce() + Send> = Box::new(work);
        thread::Builder::new().name(name.to_owned()).spawn(work).is_ok()
    }
}

#[cfg(all(test, shuttle))]
mod checked {
    use std::ops::{Deref, DerefMut};
    use std::sync::PoisonError;
    use std::sync::atomic::Ordering;

    use sdd::{Guard, Owned, Ptr, Tag};
    use shuttle::sync;
    pub(crate) use shuttle::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};
    pub(crate) use shuttle::thread::yield_now;
    pub(crate) use shuttle::thread_local;

    pub(crate) fn spawn(_: &str, _: impl FnOnce() + Send + 'static) -> bool {
        false
    }

    /// As `parking_lot`'s, without poison.
    #[derive(Default)]
    pub(crate) struct Mutex<T>(sync::Mutex<T>);

    /// Empty only while it waits.
    pub(crate) struct MutexGuard<'a, T>(Option<sync::MutexGuard<'a, T>>);

    impl<T> Mutex<T> {
        pub(crate) const fn new(value: T) -> Self {
            Self(sync::Mutex::new(value))
        }

        pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
            MutexGuard(Some(self.0.lock().unwrap_or_else(PoisonError::into_inner)))
        }

        pub(crate) fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
            Some(MutexGuard(Some(self.0.try_lock().ok()?)))
        }
    }

    impl<T> Deref for MutexGuard<'_, T> {
        type Target = T;
        fn deref(&self) -> &T {
            self.0.as_ref().expect("it does not wait")
        }
    }

    impl<T> DerefMut for MutexGuard<'_, T> {
        fn deref_mut(&mut self) -> &mut T {
            self.0.as_mut().expect("it does not wait")
        }
    }

    pub(crate) struct Condvar(sync::Condvar);

    impl Condvar {
        pub(crate) const fn new() -> Self {
            Self(sync::Condvar::new())
        }

        pub(crate) fn wait<T>(&self, guard: &mut MutexGuard<'_, T>) {
            let held = guard.0.take().expect("it does not wait");
            guard.0 = Some(self.0.wait(held).unwrap_or_else(PoisonError::into_inner));
        }

        /// Time does not pass in a model.
        pub(crate) fn wait_until<T>(&self, guard: &mut MutexGuard<'_, T>, _: std::time::Instant) {
            self.wait(guard);
        }

        /// What is soon is at once; the rest never comes.
        pub(crate) fn wait_for<T>(&self, guard: &mut MutexGuard<'_, T>, time: std::time::Duration) {
            if time > std::time::Duration::from_secs(60) {
                self.wait(guard);
            }
        }

        pub(crate) fn notify_one(&self) {
            self.0.notify_one();
        }

        pub(crate) fn notify_all(&self) {
            self.0.notify_all();
        }
    }

    /// sdd's, with somebody else's turn before each operation.
    pub(crate) struct AtomicOwned<T> {
        slot: sdd::AtomicOwned<T>,
        turn: AtomicBool,
    }

    impl<T> AtomicOwned<T> {
        pub(crate) const fn null() -> Self {
            Self { slot: sdd::AtomicOwned::null(), turn: AtomicBool::new(false) }
        }
    }

    impl<T: 'static> AtomicOwned<T> {
        pub(crate) fn load<'g>(&self, order: Ordering, guard: &'g Guard) -> Ptr<'g, T> {
            self.turn.load(Ordering::SeqCst);
            self.slot.load(order, guard)
        }

        pub(crate) fn swap(&self, new: (Option<Owned<T>>, Tag), order: Ordering) -> (Option<Owned<T>>, Tag) {
            self.turn.load(Ordering::SeqCst);
            self.slot.swap(new, order)
        }
    }
}

/// So many schedules at random, and as many that interrupt threads seldom, which finds what needs one to
/// stand still for long.
#[cfg(all(test, shuttle))]
const SCHEDULES: usize = 800;

/// Runs a model under many schedules. The first failure counts: the guards of its threads are never
/// dropped, which sdd may complain about in models that are run afterwards.
#[cfg(all(test, shuttle))]
pub(crate) fn explore(model: impl Fn() + Clone + Send + Sync + 'static) {
    use shuttle::scheduler::{PctScheduler, RandomScheduler};
    use shuttle::{Config, MaxSteps, Runner};

    let mut config = Config::new();
    config.stack_size = 0x4_0000;
    config.silence_warnings = true;
    config.max_steps = MaxSteps::FailAfter(20_000);
    Runner::new(RandomScheduler::new(SCHEDULES), config.clone()).run(model.clone());
    Runner::new(PctScheduler::new(3, SCHEDULES), config).run(model);
}
