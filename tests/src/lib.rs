//! What several tests need.

pub mod driver;
pub mod engine;
pub mod events;

use std::future::Future;
use std::pin::Pin;
use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{LazyLock, Mutex};
use std::task::{Context, Poll, Waker};
use std::thread;

use cached_runtime::testing::{self, Isolated};
pub use cached_tests_servers as servers;
pub use servers::{PATIENCE, eventually};

pub mod processes;
pub mod proxy;

/// Another process, as far as the library is concerned: a store of its own.
#[must_use]
pub fn process() -> Isolated {
    testing::isolated().store()
}

/// Does something in such a process.
pub fn within<R>(process: &Isolated, work: impl FnOnce() -> R) -> R {
    let _entered = process.enter();
    work()
}

/// Counts, for instance the runs of a body.
#[derive(Debug, Default)]
pub struct Runs(AtomicU32);

impl Runs {
    /// None so far.
    #[must_use]
    pub const fn new() -> Self {
        Self(AtomicU32::new(0))
    }

    /// One more; returns how many that makes.
    pub fn add(&self) -> u32 {
        self.0.fetch_add(1, SeqCst) + 1
    }

    /// So many so far.
    #[must_use]
    pub fn get(&self) -> u32 {
        self.0.load(SeqCst)
    }
}

/// Where bodies wait until they are let through, one by one.
#[derive(Debug)]
pub struct Gate(LazyLock<Ends>);

type Ends = (Mutex<Sender<()>>, Mutex<Receiver<()>>);

impl Gate {
    /// Closed.
    #[must_use]
    pub const fn new() -> Self {
        Self(LazyLock::new(|| {
            let (sender, receiver) = channel();
            (Mutex::new(sender), Mutex::new(receiver))
        }))
    }

    /// Waits to be let through.
    ///
    /// # Panics
    ///
    /// If nobody does so.
    pub fn pass(&self) {
        self.0.1.lock().expect("nobody panics").recv_timeout(PATIENCE).expect("the gate opens");
    }

    /// Lets one through.
    ///
    /// # Panics
    ///
    /// If one has panicked.
    pub fn open(&self) {
        self.0.0.lock().expect("nobody panics").send(()).expect("it waits");
    }
}

impl Default for Gate {
    fn default() -> Self {
        Self::new()
    }
}

/// A value that reports when its last clone is dropped.
#[derive(Clone, Debug)]
pub struct Reporting(#[expect(dead_code, reason = "it is there to be dropped")] std::sync::Arc<Report>);

#[derive(Debug)]
struct Report(u64, Sender<u64>);

impl Drop for Report {
    fn drop(&mut self) {
        let _ = self.1.send(self.0);
    }
}

/// Makes values that report their drop, and where they report it.
pub fn reporting() -> (impl Fn(u64) -> Reporting + Clone + Send + Sync, Receiver<u64>) {
    let (sender, receiver) = channel();
    (move |number| Reporting(std::sync::Arc::new(Report(number, sender.clone()))), receiver)
}

/// Runs a test that would hang if what it tests were wrong, on a thread of its own, and fails by its name
/// if it does.
///
/// # Panics
///
/// If the test does, or does not end.
pub fn watched(test: impl FnOnce() + Send + 'static) {
    let name = thread::current().name().unwrap_or("the test").to_owned();
    let (running, ended) = channel::<()>();
    let run = move || {
        let _running = running;
        test();
    };
    let thread = thread::Builder::new().name(name.clone()).spawn(run).expect("there is room for a thread");
    // Whatever it waits for itself has been given up by then, and says what it was.
    assert_ne!(ended.recv_timeout(PATIENCE * 2), Err(RecvTimeoutError::Timeout), "{name} hangs");
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

/// Polls a future once, for nobody who would be woken.
pub fn poll_once<F: Future + ?Sized>(future: Pin<&mut F>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(Waker::noop()))
}

/// The examples of the README run as they stand there.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
pub struct Readme;
