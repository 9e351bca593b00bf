//! What stands between all functions and one engine: its deadline, its breaker, and what is known of it.

use std::error::Error;
use std::fmt;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::AtomicU8;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use parking_lot::Mutex;

use super::breaker::Breaker;
use super::driver::{Answer, Driver, DriverError, Expected, Found};
use super::url::{DEFAULT_PREFIX, DEFAULT_TIMEOUT, Secret, Url};
use crate::clock::{Clock, Moment};
use crate::stats::Count;
use crate::timer::{Sleep, Timer};

/// How operations are done. All decisions are the same in both ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// They block the thread: a future of them is ready when it is first polled.
    Blocking,
    Awaited,
}

/// The output of a future all of whose operations block.
pub(crate) fn blocking<F: Future>(future: F) -> F::Output {
    match pin!(future).poll(&mut Context::from_waker(Waker::noop())) {
        Poll::Ready(output) => output,
        Poll::Pending => unreachable!("what blocks is done when it returns"),
    }
}

impl Way {
    pub(crate) async fn sleep(self, time: Duration) {
        match self {
            Self::Blocking => thread::sleep(time),
            Self::Awaited => Sleep::until(Instant::now() + time).await,
        }
    }
}

/// How one operation is done, and by when.
#[derive(Clone, Copy)]
pub(crate) struct By {
    pub(crate) way: Way,
    pub(crate) clock: &'static Clock,
    pub(crate) deadline: Instant,
}

/// Why an operation has not been done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// It was not tried.
    Skipped,
    /// It was tried, and may have been done.
    Failed,
    TooLarge,
    Unsupported,
}

/// See the module.
pub(crate) struct Link {
    /// Without secrets.
    pub(crate) name: String,
    /// What nobody may see in the text of an error.
    password: Option<Secret>,
    pub(crate) prefix: String,
    timeout: Duration,
    /// Where there is none, the text says why.
    driver: Result<Arc<dyn Driver>, String>,
    breaker: Mutex<Breaker>,
    conditions: AtomicU8,
    operations: Count,
    failures: Count,
    last_failure: Mutex<Option<Failure>>,
}

/// What went wrong, and when.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Failure {
    /// When it went wrong.
    pub at: SystemTime,
    /// What the engine, or the system, says; never a password.
    pub message: String,
}

/// Whether an engine compares versions; not known before it was asked to.
const UNKNOWN: u8 = 0;
const YES: u8 = 1;
const NO: u8 = 2;

impl Link {
    pub(crate) fn of_url(url: &Url, driver: Result<Arc<dyn Driver>, String>) -> Self {
        Self {
            password: url.password.clone(),
            prefix: url.prefix.clone(),
            timeout: url.timeout,
            ..Self::new(url.to_string(), driver)
        }
    }

    pub(crate) fn new(name: String, driver: Result<Arc<dyn Driver>, String>) -> Self {
        let failure = driver.as_ref().err();
        let failure = failure.map(|message| Failure { at: SystemTime::now(), message: message.clone() });
        Self {
            name,
            password: None,
            prefix: DEFAULT_PREFIX.to_owned(),
            timeout: DEFAULT_TIMEOUT,
            driver,
            breaker: Mutex::new(Breaker::CLOSED),
            conditions: AtomicU8::new(UNKNOWN),
            operations: Count::default(),
            failures: Count::default(),
            last_failure: Mutex::new(failure),
        }
    }

    /// How operations that begin now are done.
    pub(crate) fn by(&self, way: Way, clock: &'static Clock) -> By {
        By { way, clock, deadline: Instant::now() + self.timeout }
    }

    /// Whether an operation would not be tried.
    pub(crate) fn refuses(&self, now: Moment) -> bool {
        self.driver.is_err()
            || match *self.breaker.lock() {
                Breaker::Closed { .. } => false,
                Breaker::Open { until, .. } | Breaker::HalfOpen { until, .. } => now < until,
            }
    }

    /// Whether the engine compares versions, if that is known.
    pub(crate) fn conditions(&self) -> Option<bool> {
        match self.conditions.load(Relaxed) {
            YES => Some(true),
            NO => Some(false),
            _ => None,
        }
    }

    fn learn_conditions(&self, there: bool) {
        self.conditions.store(if there { YES } else { NO }, Relaxed);
    }

    pub(crate) async fn get(&self, by: By, keys: &[&str]) -> Result<Vec<Option<Found>>, Trouble> {
        let driver = self.admitted(by.clock)?;
        let answer = match by.way {
            Way::Blocking => caught(|| driver.get(keys, by.deadline)),
            Way::Awaited => {
                let keys = keys.iter().map(|&key| key.to_owned()).collect();
                bounded(by.deadline, Arc::clone(driver).get_async(keys, by.deadline)).await
            }
        };
        let answer = answer.and_then(|found| {
            if found.len() == keys.len() { Ok(found) } else { Err(failed("not every key was answered")) }
        });
        let found = self.note(by.clock, answer)?;
        if let Some(found) = found.iter().flatten().next() {
            self.learn_conditions(found.version.is_some());
        }
        Ok(found)
    }

    pub(crate) async fn set(
        &self,
        by: By,
        key: &str,
        value: Vec<u8>,
        ttl: Option<Duration>,
        expected: Expected,
    ) -> Result<bool, Trouble> {
        let driver = self.admitted(by.clock)?;
        let answer = match by.way {
            Way::Blocking => caught(|| driver.set(key, &value, ttl, expected, by.deadline)),
            Way::Awaited => {
                let set = Arc::clone(driver).set_async(key.to_owned(), value, ttl, expected, by.deadline);
                bounded(by.deadline, set).await
            }
        };
        self.learn(expected, &answer);
        self.note(by.clock, answer)
    }

    pub(crate) async fn delete(&self, by: By, key: &str, expected: Expected) -> Result<bool, Trouble> {
        let driver = self.admitted(by.clock)?;
        let answer = match by.way {
            Way::Blocking => caught(|| driver.delete(key, expected, by.deadline)),
            Way::Awaited => {
                let delete = Arc::clone(driver).delete_async(key.to_owned(), expected, by.deadline);
                bounded(by.deadline, delete).await
            }
        };
        self.learn(expected, &answer);
        self.note(by.clock, answer)
    }

    /// The driver, if it may be asked now.
    fn admitted(&self, clock: &Clock) -> Result<&Arc<dyn Driver>, Trouble> {
        let driver = self.driver.as_ref().map_err(|_| Trouble::Skipped)?;
        if !self.breaker.lock().admit(clock.now()) {
            return Err(Trouble::Skipped);
        }
        self.operations.add(1);
        Ok(driver)
    }

    fn learn(&self, expected: Expected, answer: &Answer<bool>) {
        match answer {
            Err(DriverError::Unsupported(_)) => self.learn_conditions(false),
            Ok(true) if expected != Expected::Anything => self.learn_conditions(true),
            _ => {}
        }
    }

    /// Tells the breaker what became of an operation.
    fn note<T>(&self, clock: &Clock, answer: Answer<T>) -> Result<T, Trouble> {
        match answer {
            Ok(value) => {
                self.breaker.lock().succeeded();
                Ok(value)
            }
            // An engine that says so is well.
            Err(DriverError::TooLarge) => {
                self.breaker.lock().succeeded();
                Err(Trouble::TooLarge)
            }
            Err(DriverError::Unsupported(_)) => {
                self.breaker.lock().succeeded();
                Err(Trouble::Unsupported)
            }
            Err(error) => {
                self.breaker.lock().failed(clock.now());
                self.failures.add(1);
                let failure = Failure { at: SystemTime::now(), message: self.text_of(&error) };
                *self.last_failure.lock() = Some(failure);
                Err(Trouble::Failed)
            }
        }
    }

    /// An error with its causes, without the password.
    fn text_of(&self, error: &DriverError) -> String {
        let mut text = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            text = format!("{text}: {cause}");
            source = cause.source();
        }
        match &self.password {
            Some(password) => text.replace(password.expose(), "***"),
            None => text,
        }
    }

    pub(crate) fn info(&self) -> BackendInfo {
        BackendInfo {
            name: self.name.clone(),
            state: match (&self.driver, *self.breaker.lock()) {
                (Err(_), _) => BackendState::Unusable,
                (Ok(_), Breaker::Closed { .. }) => BackendState::Closed,
                (Ok(_), Breaker::Open { .. }) => BackendState::Open,
                (Ok(_), Breaker::HalfOpen { .. }) => BackendState::HalfOpen,
            },
            last_failure: self.last_failure.lock().clone(),
            leases: self.conditions(),
            operations: self.operations.get(),
            failures: self.failures.get(),
        }
    }
}

fn failed(what: &'static str) -> DriverError {
    DriverError::Failed(what.into())
}

const PANICKED: &str = "the driver panicked";

fn caught<T>(operation: impl FnOnce() -> Answer<T>) -> Answer<T> {
    catch_unwind(AssertUnwindSafe(operation)).unwrap_or_else(|_| Err(failed(PANICKED)))
}

/// What is awaited, or [`DriverError::TimedOut`] at its deadline, whatever the driver does.
async fn bounded<T>(deadline: Instant, operation: impl Future<Output = Answer<T>>) -> Answer<T> {
    let mut operation = pin!(operation);
    let mut timer = Timer::at(deadline);
    poll_fn(|context| {
        let polled = catch_unwind(AssertUnwindSafe(|| operation.as_mut().poll(context)));
        match polled {
            Err(_) => Poll::Ready(Err(failed(PANICKED))),
            Ok(Poll::Ready(answer)) => Poll::Ready(answer),
            Ok(Poll::Pending) if timer.has_come(context.waker()) => Poll::Ready(Err(DriverError::TimedOut)),
            Ok(Poll::Pending) => Poll::Pending,
        }
    })
    .await
}

/// How a backend is doing, from [`backends`](super::backends): for health checks.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct BackendInfo {
    /// Its URL without secrets, or the name of one's own driver.
    pub name: String,
    /// Whether it is asked.
    pub state: BackendState,
    /// The last thing that went wrong.
    pub last_failure: Option<Failure>,
    /// Whether the engine compares versions, so that leases and the fencing of late writes work; `None` until
    /// that has been seen.
    pub leases: Option<bool>,
    /// Operations that were tried.
    pub operations: u64,
    /// Those of them that failed.
    pub failures: u64,
}

/// Whether a backend is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BackendState {
    /// It is asked.
    Closed,
    /// It failed several times in a row, and is not asked for a while.
    Open,
    /// One operation is trying whether it is there again.
    HalfOpen,
    /// It cannot be asked: its URL is wrong.
    Unusable,
}

impl fmt::Display for BackendState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half-open",
            Self::Unusable => "unusable",
        })
    }
}
