//! What several tests need.

use std::sync::atomic::{AtomicU32, Ordering::SeqCst};
use std::sync::mpsc::{Receiver, Sender, channel};

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

/// The examples of the README run as they stand there.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
pub struct Readme;
