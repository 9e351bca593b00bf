//! What stands between all functions and one engine: its deadline, its breaker, and what is known of it.

use std::error::Error;
use std::fmt;
use std::future::{Future, poll_fn};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicBool, AtomicU8};
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::{Duration, Instant, SystemTime};

use parking_lot::Mutex;

use super::breaker::{Admission, Breaker, Change, Kind, State};
use super::broadcast::Broadcast;
use super::driver::{Answer, Awaited, Driver, DriverError, Expected, Found};
use super::engines::Engine;
use super::event::{Event, emit};
use super::url::{DEFAULT_PREFIX, DEFAULT_TIMEOUT, Scheme, Secret, Url};
use crate::clock::{Clock, Moment};
use crate::function::State as FunctionState;
use crate::process::PerProcess;
use crate::report::one_line;
use crate::shim::spawn;
use crate::stats::Count;
#[cfg(feature = "testing")]
use crate::store::Inner;
use crate::timer::{Sleep, Timer};

/// How operations are done. All decisions are the same in both ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Way {
    /// They block the thread: a future of them is ready when it is first polled.
    Blocking,
    Awaited,
}

/// The output of a future all of whose operations block.
#[expect(clippy::inline_always, reason = "a future of some thousand bytes need not be moved here")]
#[inline(always)]
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
    /// Whether other processes are told of it.
    pub(crate) tells: bool,
}

/// Why an operation has not been done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    /// It was not tried.
    Skipped,
    /// Nor was this, as too much is asked at once.
    Crowded,
    /// It was tried, and may have been done.
    Failed,
    TooLarge,
    Unsupported,
}

/// An engine; where there is none, the text says why.
pub(crate) type Opened = Result<Engine, String>;

/// See the module.
pub(crate) struct Link {
    /// Without secrets.
    pub(crate) name: String,
    /// What nobody may see in the text of an error.
    password: Option<Secret>,
    pub(crate) prefix: String,
    timeout: Duration,
    engine: PerProcess<Opened, Box<dyn Fn() -> Opened + Send + Sync>>,
    breaker: Mutex<Breaker>,
    conditions: AtomicU8,
    operations: Count,
    failures: Count,
    skipped: Count,
    openings: Count,
    last_failure: Mutex<Option<Failure>>,
    /// What is told once, was.
    is_told_unusable: AtomicBool,
    is_told_no_leases: AtomicBool,
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
    pub(crate) fn of_url(url: &Url, open: impl Fn() -> Opened + Send + Sync + 'static) -> Self {
        Self {
            password: url.password.clone(),
            prefix: url.prefix.clone(),
            timeout: url.timeout,
            // What stores nothing has nothing to compare, and says that of each claim as if it were too late.
            conditions: AtomicU8::new(if url.scheme == Scheme::Null { NO } else { UNKNOWN }),
            ..Self::new(url.to_string(), open)
        }
    }

    pub(crate) fn new(name: String, open: impl Fn() -> Opened + Send + Sync + 'static) -> Self {
        let engine = PerProcess::new(Box::new(open) as Box<dyn Fn() -> Opened + Send + Sync>);
        let failure = engine.own().as_ref().err();
        let failure = failure.map(|message| Failure { at: SystemTime::now(), message: message.clone() });
        Self {
            name,
            password: None,
            prefix: DEFAULT_PREFIX.to_owned(),
            timeout: DEFAULT_TIMEOUT,
            engine,
            breaker: Mutex::new(Breaker::new()),
            conditions: AtomicU8::new(UNKNOWN),
            operations: Count::default(),
            failures: Count::default(),
            skipped: Count::default(),
            openings: Count::default(),
            is_told_unusable: AtomicBool::new(false),
            is_told_no_leases: AtomicBool::new(false),
            last_failure: Mutex::new(failure),
        }
    }

    /// How operations that begin now are done.
    pub(crate) fn by(&self, way: Way, clock: &'static Clock) -> By {
        By { way, clock, deadline: Instant::now() + self.timeout, tells: false }
    }

    /// Whether nothing is asked of the engine now.
    pub(crate) fn is_refusing(&self, clock: &Clock) -> bool {
        self.unusable().is_some() || refuses(&self.breaker.lock(), clock)
    }

    /// Why there is no engine, if there is none. That is so for the process and for those that it has forked.
    fn unusable(&self) -> Option<&String> {
        self.engine.first()?.as_ref().err()
    }

    /// Whether an operation would not be tried; then it counts as one that was not.
    pub(crate) fn refuses(&self, clock: &Clock) -> bool {
        let refuses = match self.unusable() {
            None => refuses(&self.breaker.lock(), clock),
            Some(message) => {
                self.is_unusable(message);
                true
            }
        };
        if refuses {
            self.skipped.add(1);
        }
        refuses
    }

    fn is_unusable(&self, message: &str) {
        if is_first(&self.is_told_unusable) {
            emit(&Event::Unusable { backend: self.name.clone(), message: message.to_owned() });
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
        // Of several servers, some may and others not.
        if !there {
            self.tell_no_leases();
        }
    }

    fn tell_no_leases(&self) {
        if is_first(&self.is_told_no_leases) {
            emit(&Event::NoLeases { backend: self.name.clone() });
        }
    }

    /// Whether a claim can be made, as far as it is known. Who would make one is told if not.
    pub(crate) fn has_leases(&self) -> bool {
        let has_leases = self.conditions() != Some(false);
        if !has_leases {
            self.tell_no_leases();
        }
        has_leases
    }

    pub(crate) async fn get(&self, by: By, keys: &[&str]) -> Result<Vec<Option<Found>>, Trouble> {
        let (driver, mut operation) = self.admitted(by, Kind::Lookup)?;
        let answer = match by.way {
            Way::Blocking => caught(|| driver.get(keys, by.deadline)),
            Way::Awaited => {
                let keys = keys.iter().map(|&key| key.to_owned()).collect();
                operation.awaited(|| Arc::clone(driver).get_async(keys, by.deadline)).await
            }
        };
        let answer = answer.and_then(|found| {
            if found.len() == keys.len() { Ok(found) } else { Err(failed("not every key was answered")) }
        });
        let found = operation.note(answer.map_err(must_be_supported))?;
        // One that tells versions need not compare them.
        if found.iter().flatten().any(|found| found.version.is_none()) {
            self.learn_conditions(false);
        }
        Ok(found)
    }

    pub(crate) async fn get_one(&self, by: By, key: &str) -> Result<Option<Found>, Trouble> {
        Ok(self.get(by, &[key]).await?.pop().flatten())
    }

    pub(crate) async fn set(
        &self,
        by: By,
        key: &str,
        value: Vec<u8>,
        ttl: Option<Duration>,
        expected: Expected,
    ) -> Result<bool, Trouble> {
        let (driver, mut operation) = self.admitted(by, Kind::Write)?;
        let answer = match by.way {
            Way::Blocking => caught(|| driver.set(key, &value, ttl, expected, by.deadline)),
            Way::Awaited => {
                let set = || Arc::clone(driver).set_async(key.to_owned(), value, ttl, expected, by.deadline);
                operation.awaited(set).await
            }
        };
        operation.note_one(expected, answer)
    }

    pub(crate) async fn delete(&self, by: By, key: &str, expected: Expected) -> Result<bool, Trouble> {
        let (driver, mut operation) = self.admitted(by, Kind::Write)?;
        let answer = match by.way {
            Way::Blocking => caught(|| driver.delete(key, expected, by.deadline)),
            Way::Awaited => {
                let delete = || Arc::clone(driver).delete_async(key.to_owned(), expected, by.deadline);
                operation.awaited(delete).await
            }
        };
        operation.note_one(expected, answer)
    }

    /// The driver, if it may be asked now.
    fn admitted(&self, by: By, kind: Kind) -> Result<(&Arc<dyn Driver>, Operation<'_>), Trouble> {
        let engine = self.engine.own().as_ref().inspect_err(|message| self.is_unusable(message));
        let admit = |engine| Some((engine, self.step(|breaker| breaker.admit(time_for(breaker, by.clock)))?));
        let Some((engine, admission)) = engine.ok().and_then(admit) else {
            self.skipped.add(1);
            return Err(Trouble::Skipped);
        };
        let telling = engine.broadcast.as_ref().filter(|_| by.tells).map(Broadcast::driver);
        let driver = telling.unwrap_or(&engine.driver);
        Ok((driver, Operation { link: self, by, kind, admission, looked: None, is_noted: false }))
    }

    /// Lets the breaker take a step, and tells what that changes.
    fn step<T>(&self, step: impl FnOnce(&mut Breaker) -> T) -> T {
        let mut breaker = self.breaker.lock();
        let before = *breaker;
        let result = step(&mut breaker);
        let change = breaker.since(before);
        drop(breaker);
        let backend = || self.name.clone();
        match change {
            None => {}
            Some(Change::Opened) => {
                self.openings.add(1);
                let failure = self.last_failure.lock().clone();
                let message = failure.map_or_else(String::new, |failure| failure.message);
                let wait = Duration::from_nanos(before.wait);
                emit(&Event::Opened { backend: backend(), wait, message });
            }
            Some(Change::Probing) => emit(&Event::Probing { backend: backend() }),
            Some(Change::Closed) => emit(&Event::Closed { backend: backend() }),
        }
        result
    }

    /// Takes note of an operation that failed.
    fn has_failed(&self, clock: &Clock, kind: Kind, admission: Admission, message: String) {
        self.failures.add(1);
        *self.last_failure.lock() = Some(Failure { at: SystemTime::now(), message: message.clone() });
        // Those that were begun before it opened are many, and say nothing new.
        if self.breaker.lock().minds(admission) {
            emit(&Event::Failed { backend: self.name.clone(), message });
        }
        self.step(|breaker| breaker.failed(admission, kind, clock.now()));
    }

    /// Where processes tell each other what they change.
    fn broadcast(&self) -> Option<&Broadcast> {
        self.engine.own().as_ref().ok()?.broadcast.as_ref()
    }

    /// Copies of what a function of this stem has in the backend go when other processes change it.
    pub(crate) fn listen(self: &Arc<Self>, stem: &str, state: &'static FunctionState) {
        if let Some(broadcast) = self.broadcast() {
            broadcast.add(stem, state);
            if broadcast.begins() {
                let link = Arc::clone(self);
                let listen = move || link.broadcast().iter().for_each(|broadcast| broadcast.listen(&link));
                // Where there can be no thread, it is not heard, as `info` tells.
                let _ = spawn("cached-broadcast", listen);
            }
        }
    }

    /// Forgets the functions of a store.
    #[cfg(feature = "testing")]
    pub(crate) fn forget(&self, store: &'static Inner) {
        self.broadcast().iter().for_each(|broadcast| broadcast.forget(store));
    }

    /// Tells that it is not heard what others change.
    pub(crate) fn does_not_hear(&self, error: &DriverError) {
        emit(&Event::BroadcastLost { backend: self.name.clone(), message: self.text_of(error) });
    }

    pub(crate) fn hears_again(&self) {
        emit(&Event::BroadcastBack { backend: self.name.clone() });
    }

    /// An error with its causes, in one line and without the password.
    fn text_of(&self, error: &DriverError) -> String {
        let mut text = error.to_string();
        let mut source = error.source();
        while let Some(cause) = source {
            text = format!("{text}: {cause}");
            source = cause.source();
        }
        match &self.password {
            Some(password) => one_line(&text.replace(password.expose(), "***")),
            None => one_line(&text),
        }
    }

    pub(crate) fn info(&self) -> BackendInfo {
        BackendInfo {
            name: self.name.clone(),
            state: match (self.unusable(), self.breaker.lock().state) {
                (Some(_), _) => BackendState::Unusable,
                (None, State::Closed) => BackendState::Closed,
                (None, State::Open { .. }) => BackendState::Open,
                (None, State::HalfOpen { .. }) => BackendState::HalfOpen,
            },
            last_failure: self.last_failure.lock().clone(),
            leases: self.conditions(),
            broadcast: self.broadcast().and_then(Broadcast::is_listening),
            operations: self.operations.get(),
            failures: self.failures.get(),
            skipped: self.skipped.get(),
            openings: self.openings.get(),
        }
    }
}

/// What the time is, for a breaker. To a closed one it is all the same.
fn time_for(breaker: &Breaker, clock: &Clock) -> Moment {
    if breaker.state == State::Closed { 0 } else { clock.now() }
}

fn refuses(breaker: &Breaker, clock: &Clock) -> bool {
    breaker.refuses(time_for(breaker, clock))
}

/// An operation that was begun: the breaker hears what becomes of it, also if its caller stops waiting.
struct Operation<'a> {
    link: &'a Link,
    by: By,
    kind: Kind,
    admission: Admission,
    /// When it was first and last seen not to be done, if it is awaited.
    looked: Option<(Instant, Instant)>,
    is_noted: bool,
}

impl Operation<'_> {
    /// What is awaited, or [`DriverError::TimedOut`] at its deadline, whatever the driver does.
    async fn awaited<T>(&mut self, begin: impl FnOnce() -> Awaited<T>) -> Answer<T> {
        let mut operation = caught(|| Ok(begin()))?;
        let mut timer = Timer::at(self.by.deadline);
        poll_fn(|context| {
            let polled = catch_unwind(AssertUnwindSafe(|| operation.as_mut().poll(context)));
            match polled {
                Err(_) => Poll::Ready(Err(failed(PANICKED))),
                Ok(Poll::Ready(answer)) => Poll::Ready(answer),
                Ok(Poll::Pending) if timer.has_come(context.waker()) => {
                    Poll::Ready(Err(DriverError::TimedOut))
                }
                Ok(Poll::Pending) => {
                    let now = Instant::now();
                    self.looked.get_or_insert((now, now)).1 = now;
                    Poll::Pending
                }
            }
        })
        .await
    }

    fn note<T>(mut self, answer: Answer<T>) -> Result<T, Trouble> {
        self.is_noted = true;
        let Self { link, by, kind, admission, .. } = self;
        let is_busy = matches!(answer, Err(DriverError::Busy));
        // A probe is alone: what else is under way was never answered.
        if is_busy && !link.breaker.lock().is_probed_by(admission) {
            link.skipped.add(1);
            return Err(Trouble::Crowded);
        }
        link.operations.add(1);
        match &answer {
            // An engine that says what it cannot do is well; not one that blocks for long past the deadline.
            Ok(_) | Err(DriverError::TooLarge | DriverError::Unsupported(_)) => {
                if by.way == Way::Blocking && Instant::now() > by.deadline + link.timeout {
                    link.has_failed(by.clock, kind, admission, DriverError::TimedOut.to_string());
                } else {
                    link.step(|breaker| breaker.succeeded(admission, kind));
                }
            }
            Err(error) => link.has_failed(by.clock, kind, admission, link.text_of(error)),
        }
        answer.map_err(|error| match error {
            DriverError::TooLarge => Trouble::TooLarge,
            DriverError::Unsupported(_) => Trouble::Unsupported,
            DriverError::Busy => Trouble::Crowded,
            _ => Trouble::Failed,
        })
    }

    /// The same of one that expects something.
    fn note_one(self, expected: Expected, answer: Answer<bool>) -> Result<bool, Trouble> {
        if expected == Expected::Anything {
            return self.note(answer.map_err(must_be_supported));
        }
        match (&answer, expected) {
            (Err(DriverError::Unsupported(_)), _) => self.link.learn_conditions(false),
            // That nothing is there, some can tell that can do no more.
            (Ok(true), Expected::Version(_)) => self.link.learn_conditions(true),
            _ => {}
        }
        self.note(answer)
    }
}

/// One that nobody waits for any more has failed if its caller has looked for it in vain for a while, and others have
/// not succeeded meanwhile; otherwise it says nothing. Without this, a caller who is always less patient than the
/// backend would find out each time anew that it does not answer. Who has not looked again was busy, and cannot tell.
impl Drop for Operation<'_> {
    fn drop(&mut self) {
        if self.is_noted {
            return;
        }
        let Self { link, by: By { clock, .. }, kind, admission, looked, .. } = *self;
        link.operations.add(1);
        let waited = looked.map_or(Duration::ZERO, |(first, last)| last - first);
        let is_long = waited >= link.timeout / SHORTLY;
        if is_long && !link.breaker.lock().has_succeeded_since(admission, kind) {
            link.has_failed(clock, kind, admission, GIVEN_UP.to_owned());
        } else {
            link.step(|breaker| breaker.abandoned(admission, clock.now()));
        }
    }
}

/// A part of the timeout after which an engine that is well has mostly answered.
const SHORTLY: u32 = 10;

const GIVEN_UP: &str = "no answer until it was given up by its caller";

fn is_first(is_told: &AtomicBool) -> bool {
    !is_told.load(Relaxed) && !is_told.swap(true, Relaxed)
}

/// An engine may lack versions; one that lacks what needs none has failed.
fn must_be_supported(error: DriverError) -> DriverError {
    match error {
        DriverError::Unsupported(_) => DriverError::Failed(error.to_string().into()),
        other => other,
    }
}

fn failed(what: &'static str) -> DriverError {
    DriverError::Failed(what.into())
}

const PANICKED: &str = "the driver panicked";

fn caught<T>(operation: impl FnOnce() -> Answer<T>) -> Answer<T> {
    catch_unwind(AssertUnwindSafe(operation)).unwrap_or_else(|_| Err(failed(PANICKED)))
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
    /// Whether this process hears what others change, so that its copies of that go; `None` where none are kept,
    /// or the engine carries no messages.
    pub broadcast: Option<bool>,
    /// Operations that were tried.
    pub operations: u64,
    /// Those of them that failed.
    pub failures: u64,
    /// Operations that were not tried, because several had failed in a row, the URL is wrong, or too many were
    /// under way.
    pub skipped: u64,
    /// How often it was no longer asked, because several operations had failed in a row.
    pub openings: u64,
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
    /// It cannot be asked: its URL is wrong, or its driver was not opened.
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

#[cfg(all(test, feature = "redis"))]
mod tests {
    use std::sync::LazyLock;

    use super::super::null::Null;
    use super::*;

    #[test]
    fn the_text_of_an_error_is_one_line_without_the_password() {
        let url = Url::parse("redis://app:hunter%202@host").expect("a URL");
        let link = Link::of_url(&url, || Err(String::new()));
        let error = DriverError::Failed("no user 'app' with 'hunter 2'\r\n+OK".into());
        let expected = "the engine did not do what it was asked: no user 'app' with '***'\\r\\n+OK";
        assert_eq!(link.text_of(&error), expected);
    }

    #[test]
    fn who_gives_up_has_seen_a_failure_only_if_it_was_looked_for_in_vain() {
        static CLOCK: LazyLock<Clock> = LazyLock::new(Clock::default);
        const TENTH: Duration = Duration::from_secs(1);
        let open = || Ok(Engine { driver: Arc::new(Null), broadcast: None });
        let link = Link { timeout: TENTH * SHORTLY, ..Link::new("a link".to_owned(), open) };
        let by = || link.by(Way::Awaited, &CLOCK);
        let begun = Instant::now();
        let short = Duration::from_millis(999);
        for (looked, others_succeed, failures) in [
            // Polled once, and not again before it was dropped, however late that is.
            (None, false, 0),
            (Some(Duration::ZERO), false, 0),
            (Some(short), false, 0),
            (Some(TENTH), false, 1),
            (Some(TENTH), true, 0),
        ] {
            let before = link.failures.get();
            let (_, mut operation) = link.admitted(by(), Kind::Lookup).expect("it is closed");
            operation.by.deadline = begun;
            operation.looked = looked.map(|time| (begun, begun + time));
            if others_succeed {
                blocking(link.get(By { way: Way::Blocking, ..by() }, &[])).expect("it does");
            }
            drop(operation);
            assert_eq!(link.failures.get() - before, failures, "{looked:?}, {others_succeed}");
        }
        let failure = link.info().last_failure.expect("there was one");
        assert_eq!(failure.message, GIVEN_UP);
    }
}
