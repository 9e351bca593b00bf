//! What every driver must do, as tests.

use std::collections::HashSet;
use std::future::Future;
use std::hash::{BuildHasher, RandomState};
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::{Duration, Instant};

use crate::backend::driver::{Driver, DriverError, Expected, Found, Version};

/// Tests a driver against the contract of [`Driver`]; `open` is called for a driver of the same engine
/// several times. Its keys are new each time, so that the engine may hold other things, too.
///
/// What is demanded:
///
/// - **Values** come back unchanged, whatever their bytes, up to 64 KiB; keys of up to 250 printable bytes are
///   told apart; what was not stored is not found; several keys are answered in their order, also where one
///   is asked for twice.
/// - **`set`** replaces, and another driver of the engine sees it. A value of whatever size is stored whole,
///   or refused with [`DriverError::TooLarge`]; then the key holds nothing.
/// - **Conditions** hold at one moment: of several that store with [`Expected::Nothing`] one succeeds, and of
///   those that store with the same [`Expected::Version`], too. A version is never that of another value, not
///   even of one with the same bytes, or after a `delete`. A driver without them says
///   [`DriverError::Unsupported`] each time, stores nothing then, and tells no versions.
/// - **`delete`** says whether something was there, and what it removes is gone.
/// - **Time**: what has a `ttl` is gone at last, also one of a nanosecond; a `ttl` of any length is not taken
///   for the past; without one a value stays. What has expired is nothing to [`Expected::Nothing`].
/// - **Deadlines**: one that has passed is answered in time, with an answer or with
///   [`DriverError::TimedOut`].
/// - **The awaited twins** do the same; their futures may be dropped at any time.
///
/// An engine that stores nothing, such as `null://`, says `false` each time and passes.
///
/// ```
/// use std::sync::Arc;
/// use cached_runtime::backend::memory::{Config, Memory};
/// use cached_runtime::testing;
///
/// let memory = Arc::new(Memory::new(Config::default()));
/// testing::conformance(|| memory.clone());
/// ```
///
/// # Panics
///
/// If the driver does not conform; the message says where.
pub fn conformance(open: impl Fn() -> Arc<dyn Driver>) {
    if stores_nothing(&*open()) {
        return;
    }
    values(&*open());
    replacing(&*open(), &*open());
    sizes(&*open());
    if conditions(&*open()) {
        races(&*open(), &*open());
    }
    time(&*open());
    deadlines(&*open());
    block_on(conformance_of_twins(&open()));
}

/// The awaited part of [`conformance`], for a runtime of one's own: a driver that uses the runtime it is
/// awaited on wants to be tested there, too.
///
/// # Panics
///
/// If the driver does not conform; the message says where.
pub async fn conformance_of_twins(driver: &Arc<dyn Driver>) {
    let (key, other) = (new_key(), new_key());
    let set = |value: &[u8], expected| {
        Arc::clone(driver).set_async(key.clone(), value.to_vec(), None, expected, soon())
    };
    if !answer(set(b"1", Expected::Anything).await) {
        return;
    }
    let get = || Arc::clone(driver).get_async(vec![other.clone(), key.clone()], soon());
    drop(get());
    let found = answer(get().await);
    assert_eq!(found.len(), 2, "an answer for each key");
    assert_eq!(found[0], None, "a key that is not there, awaited");
    assert_eq!(found[1].as_ref().map(|it| &*it.value), Some(&b"1"[..]), "a key that is there, awaited");
    if let Some(version) = found[1].as_ref().and_then(|it| it.version) {
        assert!(!answer(set(b"2", Expected::Nothing).await), "`Nothing` where something is, awaited");
        assert!(answer(set(b"2", Expected::Version(version)).await), "the version that is there, awaited");
        assert!(!answer(set(b"3", Expected::Version(version)).await), "an old version, awaited");
    }
    let delete = || Arc::clone(driver).delete_async(key.clone(), Expected::Anything, soon());
    assert!(answer(delete().await), "`delete` of what is there, awaited");
    assert!(!answer(delete().await), "`delete` of what is not there, awaited");
    assert_eq!(answer(get().await)[1], None, "what was deleted, awaited");
}

/// A key that nobody has used.
fn new_key() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!("conformance:{:016x}:{}", RandomState::new().hash_one(0), NEXT.fetch_add(1, Relaxed))
}

fn soon() -> Instant {
    Instant::now() + Duration::from_secs(10)
}

#[track_caller]
fn answer<T>(answer: Result<T, DriverError>) -> T {
    answer.unwrap_or_else(|error| {
        let source = std::error::Error::source(&error).map(ToString::to_string).unwrap_or_default();
        panic!("the driver failed: {error} {source}")
    })
}

#[track_caller]
fn get(driver: &dyn Driver, key: &str) -> Option<Found> {
    let mut found = answer(driver.get(&[key], soon()));
    assert_eq!(found.len(), 1, "an answer for each key");
    found.remove(0)
}

#[track_caller]
fn value(driver: &dyn Driver, key: &str) -> Option<Vec<u8>> {
    get(driver, key).map(|found| found.value)
}

#[track_caller]
fn set(driver: &dyn Driver, key: &str, value: &[u8], ttl: Option<Duration>, expected: Expected) -> bool {
    answer(driver.set(key, value, ttl, expected, soon()))
}

#[track_caller]
fn put(driver: &dyn Driver, key: &str, value: &[u8]) {
    assert!(set(driver, key, value, None, Expected::Anything), "`Anything` is always there");
}

#[track_caller]
fn delete(driver: &dyn Driver, key: &str) -> bool {
    answer(driver.delete(key, Expected::Anything, soon()))
}

#[track_caller]
fn version(driver: &dyn Driver, key: &str) -> Version {
    let found = get(driver, key).expect("the value is there");
    found.version.expect("a driver that compares versions tells them")
}

fn stores_nothing(driver: &dyn Driver) -> bool {
    let key = new_key();
    if set(driver, &key, b"value", None, Expected::Anything) {
        return false;
    }
    assert_eq!(get(driver, &key), None, "what was not stored is not found");
    assert!(!delete(driver, &key), "what was not stored is not removed");
    true
}

fn values(driver: &dyn Driver) {
    let key = new_key();
    assert_eq!(get(driver, &key), None, "a key that was never stored");
    let all_bytes: Vec<u8> = (0..=255).collect();
    let long = all_bytes.repeat(256);
    let wire = b"\r\nVA 2\r\nHD\r\n\0EN\r\n$-1\r\n'; DROP TABLE";
    for bytes in [&b"a"[..], b"\0", b"\r\n", wire, &all_bytes, &long] {
        put(driver, &key, bytes);
        assert_eq!(value(driver, &key).as_deref(), Some(bytes), "a value comes back unchanged");
    }
    let printable: String = ('!'..='~').collect();
    let filled = |last: &str| {
        let mut key = new_key() + &printable;
        key.extend(std::iter::repeat_n('x', 249 - key.len()));
        key + last
    };
    let (one, other) = (filled("1"), filled("2"));
    put(driver, &one, b"one");
    put(driver, &other, b"other");
    let keys = [&*other, &*key, "conformance:absent", &*one, &*other];
    let found = answer(driver.get(&keys, soon()));
    let found: Vec<_> = found.iter().map(|found| found.as_ref().map(|it| &*it.value)).collect();
    let expected = [Some(&b"other"[..]), Some(&long), None, Some(b"one"), Some(b"other")];
    assert_eq!(found, expected, "several keys in their order");
    assert!(answer(driver.get(&[], soon())).is_empty(), "no keys, no answers");
    for key in [&key, &one, &other] {
        assert!(delete(driver, key), "`delete` of what is there");
        assert!(!delete(driver, key), "`delete` of what is not there");
        assert_eq!(get(driver, key), None, "what was deleted");
    }
}

fn replacing(one: &dyn Driver, other: &dyn Driver) {
    let key = new_key();
    put(one, &key, b"first");
    assert_eq!(value(other, &key).as_deref(), Some(&b"first"[..]), "another driver sees it");
    put(other, &key, b"second");
    assert_eq!(value(one, &key).as_deref(), Some(&b"second"[..]), "what another driver stored");
    assert!(delete(one, &key), "what another driver stored is removed");
    assert_eq!(get(other, &key), None, "what another driver removed");
}

fn sizes(driver: &dyn Driver) {
    for size in [100_000, 1_000_000, 1 << 20, 5_000_000] {
        let key = new_key();
        put(driver, &key, b"old");
        let large = vec![b'x'; size];
        match driver.set(&key, &large, None, Expected::Anything, soon()) {
            Err(DriverError::TooLarge) => {
                assert_eq!(get(driver, &key), None, "nothing remains where a value is too large");
            }
            stored => {
                assert!(answer(stored), "`Anything` is always there");
                assert!(value(driver, &key) == Some(large), "a value of {size} bytes comes back unchanged");
            }
        }
        delete(driver, &key);
    }
}

/// Returns whether the driver knows conditions.
fn conditions(driver: &dyn Driver) -> bool {
    let key = new_key();
    if !knows_conditions(driver, &key) {
        return false;
    }
    assert!(!set(driver, &key, b"2", None, Expected::Nothing), "`Nothing` where something is");
    assert_eq!(value(driver, &key).as_deref(), Some(&b"1"[..]), "what was not replaced");
    let mut versions = vec![version(driver, &key)];
    let mut is_new = |version| {
        let is_new = !versions.contains(&version);
        versions.push(version);
        is_new
    };
    let first = version(driver, &key);
    assert!(set(driver, &key, b"1", None, Expected::Version(first)), "the version that is there");
    let second = version(driver, &key);
    assert!(is_new(second), "the same bytes stored again are another version");
    assert!(!set(driver, &key, b"3", None, Expected::Version(first)), "an old version");
    let removes = |expected| answer(driver.delete(&key, expected, soon()));
    assert!(!removes(Expected::Version(first)), "`delete` of an old version");
    assert!(!removes(Expected::Nothing), "there is nothing to delete where nothing is");
    assert!(get(driver, &key).is_some(), "what was not deleted");
    assert!(removes(Expected::Version(second)), "`delete` of the version that is there");
    assert!(!set(driver, &key, b"4", None, Expected::Version(second)), "a version where nothing is");
    assert!(!removes(Expected::Version(second)), "`delete` of a version where nothing is");
    assert!(set(driver, &key, b"1", None, Expected::Nothing), "`Nothing` where something was deleted");
    assert!(is_new(version(driver, &key)), "a version does not come back");
    put(driver, &key, b"1");
    assert!(is_new(version(driver, &key)), "`Anything` makes another version, too");
    delete(driver, &key);
    true
}

/// Stores `1` with `Nothing`, unless the driver knows no conditions at all.
fn knows_conditions(driver: &dyn Driver, key: &str) -> bool {
    match driver.set(key, b"1", None, Expected::Nothing, soon()) {
        Err(DriverError::Unsupported(_)) => {
            assert_eq!(get(driver, key), None, "what is not supported is not done");
            put(driver, key, b"1");
            assert_eq!(get(driver, key).and_then(|it| it.version), None, "no versions without conditions");
            let version = Expected::Version(Version(0));
            let stored = driver.set(key, b"2", None, version, soon());
            assert!(matches!(stored, Err(DriverError::Unsupported(_))), "a version cannot be compared");
            let removed = driver.delete(key, version, soon());
            assert!(matches!(removed, Err(DriverError::Unsupported(_))), "a version cannot be compared");
            assert_eq!(value(driver, key).as_deref(), Some(&b"1"[..]), "what is not supported is not done");
            delete(driver, key);
            false
        }
        stored => {
            assert!(answer(stored), "`Nothing` where nothing is");
            true
        }
    }
}

fn races(one: &dyn Driver, other: &dyn Driver) {
    const THREADS: usize = 8;
    const ROUNDS: usize = 20;
    let drivers = [one, other];
    let all = |work: &(dyn Fn(&dyn Driver) -> usize + Sync)| -> usize {
        thread::scope(|scope| {
            let threads: Vec<_> =
                (0..THREADS).map(|n| scope.spawn(move || work(drivers[n % drivers.len()]))).collect();
            threads.into_iter().map(|thread| thread.join().expect("a thread of the test failed")).sum()
        })
    };
    for _ in 0..ROUNDS {
        let key = new_key();
        let stored = all(&|driver| usize::from(set(driver, &key, b"1", None, Expected::Nothing)));
        assert_eq!(stored, 1, "one of those that found nothing stores");
        let removed = all(&|driver| usize::from(delete(driver, &key)));
        assert_eq!(removed, 1, "one of those that delete does");
    }
    // Each adds up by comparing, so that nothing is lost.
    let key = new_key();
    put(one, &key, b"0");
    let added = all(&|driver| {
        let mut added = 0;
        while added < ROUNDS {
            let Found { value, version } = get(driver, &key).expect("it is there");
            let version = version.expect("a driver that compares versions tells them");
            let count: usize = String::from_utf8_lossy(&value).parse().expect("it is a number");
            let next = (count + 1).to_string();
            added += usize::from(set(driver, &key, next.as_bytes(), None, Expected::Version(version)));
        }
        added
    });
    assert_eq!(value(one, &key), Some(added.to_string().into_bytes()), "nothing was lost");
    delete(one, &key);
}

fn time(driver: &dyn Driver) {
    const DAY: Duration = Duration::from_secs(24 * 60 * 60);
    let shorts = [Duration::from_nanos(1), Duration::from_millis(1), Duration::from_millis(400)];
    let short_keys: Vec<(String, Duration)> = shorts.into_iter().map(|ttl| (new_key(), ttl)).collect();
    for (key, ttl) in &short_keys {
        assert!(set(driver, key, b"short", Some(*ttl), Expected::Anything), "a time of {ttl:?}");
    }
    let replaced = new_key();
    assert!(set(driver, &replaced, b"short", Some(shorts[2]), Expected::Anything));
    assert!(set(driver, &replaced, b"long", None, Expected::Anything));
    let longs = [DAY, 30 * DAY, 30 * DAY + Duration::from_secs(1), 36_500 * DAY, Duration::MAX];
    let long_keys: Vec<String> = longs.iter().map(|_| new_key()).collect();
    for (key, ttl) in long_keys.iter().zip(longs) {
        assert!(set(driver, key, b"long", Some(ttl), Expected::Anything), "a time of {ttl:?}");
    }
    for (key, ttl) in &short_keys {
        let patience = Instant::now() + Duration::from_secs(10);
        while get(driver, key).is_some() {
            assert!(Instant::now() < patience, "a value with a time of {ttl:?} is still there");
            thread::sleep(Duration::from_millis(5));
        }
        assert!(!delete(driver, key), "there is nothing to delete where something has expired");
        match driver.set(key, b"new", None, Expected::Nothing, soon()) {
            Err(DriverError::Unsupported(_)) => {}
            stored => assert!(answer(stored), "what has expired is nothing"),
        }
        delete(driver, key);
    }
    assert_eq!(value(driver, &replaced).as_deref(), Some(&b"long"[..]), "the time of before is no more");
    delete(driver, &replaced);
    for (key, ttl) in long_keys.iter().zip(longs) {
        assert_eq!(value(driver, key).as_deref(), Some(&b"long"[..]), "a time of {ttl:?} is not over");
        delete(driver, key);
    }
}

fn deadlines(driver: &dyn Driver) {
    let key = new_key();
    let past = Instant::now();
    let is_fine = |error: &DriverError| matches!(error, DriverError::TimedOut);
    let answers = [
        driver.get(&[&key], past).map(|_| ()).err(),
        driver.set(&key, b"1", None, Expected::Anything, past).map(|_| ()).err(),
        driver.delete(&key, Expected::Anything, past).map(|_| ()).err(),
    ];
    for error in answers.into_iter().flatten() {
        assert!(is_fine(&error), "a deadline that has passed is `TimedOut`, not: {error}");
    }
    put(driver, &key, b"1");
    assert_eq!(value(driver, &key).as_deref(), Some(&b"1"[..]), "the driver works after a deadline");
    let distinct: HashSet<_> = (0..3).map(|_| value(driver, &key)).collect();
    assert_eq!(distinct.len(), 1, "and answers what it is asked");
    delete(driver, &key);
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Runs a future on this thread.
fn block_on<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    loop {
        match future.as_mut().poll(&mut Context::from_waker(&waker)) {
            Poll::Ready(output) => return output,
            Poll::Pending => thread::park(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::backend::driver::{Answer, Awaited};
    use crate::backend::memory::{Config, Memory};
    use crate::backend::null::Null;

    #[test]
    fn the_engines_of_this_process_conform() {
        let memory = Arc::new(Memory::new(Config::default()));
        conformance(|| memory.clone());
        conformance(|| Arc::new(Null));
    }

    /// A memory with a fault.
    struct Faulty {
        memory: Memory,
        fault: Fault,
    }

    #[derive(Clone, Copy, Debug, PartialEq)]
    enum Fault {
        None,
        NoConditions,
        ConditionsIgnored,
        KeysSwapped,
        LineEndsStripped,
        OldStaysWhenTooLarge,
    }

    impl Driver for Faulty {
        fn get(&self, keys: &[&str], deadline: Instant) -> Answer<Vec<Option<Found>>> {
            let mut found = self.memory.get(keys, deadline)?;
            if self.fault == Fault::NoConditions {
                found.iter_mut().flatten().for_each(|it| it.version = None);
            }
            if self.fault == Fault::KeysSwapped {
                found.reverse();
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
            let expected = match self.fault {
                Fault::NoConditions if expected != Expected::Anything => {
                    return Err(DriverError::Unsupported("conditions"));
                }
                Fault::ConditionsIgnored => Expected::Anything,
                _ => expected,
            };
            if self.fault == Fault::OldStaysWhenTooLarge && value.len() > 1 << 20 {
                return Err(DriverError::TooLarge);
            }
            let value = match self.fault {
                Fault::LineEndsStripped => value.strip_suffix(b"\r\n").unwrap_or(value),
                _ => value,
            };
            self.memory.set(key, value, ttl, expected, deadline)
        }

        fn delete(&self, key: &str, expected: Expected, deadline: Instant) -> Answer<bool> {
            match self.fault {
                Fault::NoConditions if expected != Expected::Anything => {
                    Err(DriverError::Unsupported("conditions"))
                }
                _ => self.memory.delete(key, expected, deadline),
            }
        }

        fn get_async(self: Arc<Self>, keys: Vec<String>, deadline: Instant) -> Awaited<Vec<Option<Found>>> {
            let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
            let answer = self.get(&keys, deadline);
            Box::pin(async { answer })
        }
    }

    #[test]
    fn a_driver_conforms_without_conditions_and_not_with_a_fault() {
        for (fault, conforms) in [
            (Fault::None, true),
            (Fault::NoConditions, true),
            (Fault::ConditionsIgnored, false),
            (Fault::KeysSwapped, false),
            (Fault::LineEndsStripped, false),
            (Fault::OldStaysWhenTooLarge, false),
        ] {
            let driver = Arc::new(Faulty { memory: Memory::new(Config::default()), fault });
            let driver = std::panic::AssertUnwindSafe(driver);
            let result = std::panic::catch_unwind(|| conformance(|| driver.clone()));
            assert_eq!(result.is_ok(), conforms, "{fault:?}");
        }
    }
}
