//! A driver with faults that come and go.

use std::collections::HashMap;
use std::future::poll_fn;
use std::mem;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::Poll;
use std::thread;
use std::time::{Duration, Instant};

use cached_runtime::backend::driver::{Answer, Awaited, Driver, DriverError, Expected, Found};
use cached_runtime::backend::memory::{Config, Memory};

/// What is wrong with a driver.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    #[default]
    None,
    /// The engine cannot be reached.
    Refuses,
    /// It does not ask the engine, as it is asked for too much at once.
    IsBusy,
    /// There is no answer; a future stays pending for ever.
    Hangs,
    /// It panics.
    Panics,
    /// It answers less than it was asked.
    AnswersLess,
    /// It only reads.
    CannotWrite,
    /// It is too old for anything.
    IsOld,
    /// An awaited answer is not there at once.
    TakesTime,
}

/// Lets others go first.
async fn yield_once() {
    let mut is_later = false;
    poll_fn(|context| {
        if mem::replace(&mut is_later, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// A memory whose faults are set from outside.
pub struct Faulty {
    memory: Memory,
    fault: Mutex<Fault>,
    has_versions: bool,
    most: usize,
    before_set: Mutex<Option<fn()>>,
    before_write: Mutex<Option<fn()>>,
    operations: AtomicUsize,
    keys: Mutex<Vec<String>>,
    ttls: Mutex<HashMap<String, Option<Duration>>>,
}

impl Faulty {
    /// One without faults.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Self::with(true, usize::MAX)
    }

    /// One that does not compare versions.
    #[must_use]
    pub fn without_versions() -> Arc<Self> {
        Self::with(false, usize::MAX)
    }

    /// One that takes values of up to so many bytes.
    #[must_use]
    pub fn with_most(most: usize) -> Arc<Self> {
        Self::with(true, most)
    }

    fn with(has_versions: bool, most: usize) -> Arc<Self> {
        Arc::new(Self {
            memory: Memory::new(Config { max_bytes: 1 << 30 }),
            fault: Mutex::default(),
            has_versions,
            most,
            before_set: Mutex::default(),
            before_write: Mutex::default(),
            operations: AtomicUsize::new(0),
            keys: Mutex::default(),
            ttls: Mutex::default(),
        })
    }

    /// From now on this is wrong.
    pub fn set_fault(&self, fault: Fault) {
        *lock(&self.fault) = fault;
    }

    /// Does something right before the next entry is written.
    pub fn before_set(&self, work: fn()) {
        *lock(&self.before_set) = Some(work);
    }

    /// Does something right before anything is written or removed.
    pub fn before_write(&self, work: fn()) {
        *lock(&self.before_write) = Some(work);
    }

    fn write(&self) {
        let work = lock(&self.before_write).take();
        if let Some(work) = work {
            work();
        }
    }

    /// Operations that were asked for so far.
    #[must_use]
    pub fn operations(&self) -> usize {
        self.operations.load(SeqCst)
    }

    /// The keys of entries that anything was asked of, in their order.
    #[must_use]
    pub fn keys(&self) -> Vec<String> {
        let mut keys = lock(&self.keys).clone();
        keys.retain(|key| !key.ends_with(":generation") && !key.ends_with(":renewal"));
        keys.sort();
        keys.dedup();
        keys
    }

    /// For how long what was last written under a key was to stay; for ever if absent.
    #[must_use]
    pub fn ttl(&self, key: &str) -> Option<Duration> {
        lock(&self.ttls).get(key).copied().flatten()
    }

    /// The keys of generations that anything was asked of, in their order.
    #[must_use]
    pub fn generations(&self) -> Vec<String> {
        let mut keys = lock(&self.keys).clone();
        keys.retain(|key| key.ends_with(":generation"));
        keys.sort();
        keys.dedup();
        keys
    }

    /// What is there under a key.
    #[must_use]
    pub fn raw(&self, key: &str) -> Option<Vec<u8>> {
        let found = self.memory.get(&[key], Instant::now()).unwrap_or_default();
        found.into_iter().flatten().next().map(|found| found.value)
    }

    /// Puts something there.
    pub fn set_raw(&self, key: &str, value: &[u8]) {
        let stored = self.memory.set(key, value, None, Expected::Anything, Instant::now());
        debug_assert!(stored.is_ok(), "a memory does not fail");
    }

    /// Loses everything whose key ends so.
    pub fn lose(&self, end: &str) {
        let keys = lock(&self.keys).clone();
        for key in keys.iter().filter(|key| key.ends_with(end)) {
            let _ = self.memory.delete(key, Expected::Anything, Instant::now());
        }
    }

    fn note<'a>(&self, keys: impl IntoIterator<Item = &'a str>) -> Fault {
        self.operations.fetch_add(1, SeqCst);
        lock(&self.keys).extend(keys.into_iter().map(str::to_owned));
        *lock(&self.fault)
    }

    fn fail<T>(fault: Fault, writes: bool, deadline: Instant) -> Option<Answer<T>> {
        match fault {
            Fault::Refuses => Some(Err(DriverError::Unavailable("connection refused".into()))),
            Fault::IsBusy => Some(Err(DriverError::Busy)),
            Fault::CannotWrite if writes => Some(Err(DriverError::Failed("read only".into()))),
            Fault::Hangs => {
                thread::sleep(deadline.saturating_duration_since(Instant::now()));
                Some(Err(DriverError::TimedOut))
            }
            Fault::Panics => panic!("on purpose"),
            Fault::IsOld => Some(Err(DriverError::Unsupported("commands of today"))),
            _ => None,
        }
    }

    fn can(&self, expected: Expected) -> Answer<()> {
        if self.has_versions || expected == Expected::Anything {
            return Ok(());
        }
        Err(DriverError::Unsupported("versions"))
    }
}

impl Driver for Faulty {
    fn get(&self, keys: &[&str], deadline: Instant) -> Answer<Vec<Option<Found>>> {
        let fault = self.note(keys.iter().copied());
        if let Some(failed) = Self::fail(fault, false, deadline) {
            return failed;
        }
        let mut found = self.memory.get(keys, deadline)?;
        if !self.has_versions {
            found.iter_mut().flatten().for_each(|found| found.version = None);
        }
        if fault == Fault::AnswersLess {
            found.pop();
        }
        Ok(found)
    }

    fn set(
        &self,
        key: &str,
        value: &[u8],
        ttl: Option<Duration>,
        expected: Expected,
        deadline: Instant,
    ) -> Answer<bool> {
        let fault = self.note([key]);
        if let Some(failed) = Self::fail(fault, true, deadline) {
            return failed;
        }
        self.can(expected)?;
        self.write();
        lock(&self.ttls).insert(key.to_owned(), ttl);
        let work = if key.ends_with(":generation") || key.ends_with(":renewal") {
            None
        } else {
            lock(&self.before_set).take()
        };
        if let Some(work) = work {
            work();
        }
        if value.len() > self.most {
            self.memory.delete(key, Expected::Anything, deadline)?;
            return Err(DriverError::TooLarge);
        }
        self.memory.set(key, value, ttl, expected, deadline)
    }

    fn delete(&self, key: &str, expected: Expected, deadline: Instant) -> Answer<bool> {
        let fault = self.note([key]);
        if let Some(failed) = Self::fail(fault, true, deadline) {
            return failed;
        }
        self.can(expected)?;
        self.write();
        self.memory.delete(key, expected, deadline)
    }

    // At once, but for one that hangs.
    fn get_async(self: Arc<Self>, keys: Vec<String>, deadline: Instant) -> Awaited<Vec<Option<Found>>> {
        Box::pin(async move {
            if *lock(&self.fault) == Fault::Hangs {
                self.note([]);
                std::future::pending::<()>().await;
            }
            if *lock(&self.fault) == Fault::TakesTime {
                yield_once().await;
            }
            let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
            self.get(&keys, deadline)
        })
    }

    // What takes time has been done by then.
    fn set_async(
        self: Arc<Self>,
        key: String,
        value: Vec<u8>,
        ttl: Option<Duration>,
        expected: Expected,
        deadline: Instant,
    ) -> Awaited<bool> {
        Box::pin(async move {
            if *lock(&self.fault) == Fault::Hangs {
                self.note([&*key]);
                std::future::pending::<()>().await;
            }
            let answer = self.set(&key, &value, ttl, expected, deadline);
            if *lock(&self.fault) == Fault::TakesTime {
                yield_once().await;
            }
            answer
        })
    }

    fn delete_async(self: Arc<Self>, key: String, expected: Expected, deadline: Instant) -> Awaited<bool> {
        Box::pin(async move {
            if *lock(&self.fault) == Fault::TakesTime {
                yield_once().await;
            }
            self.delete(&key, expected, deadline)
        })
    }
}
