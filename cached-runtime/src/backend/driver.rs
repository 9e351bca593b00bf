//! What a backend's engine must do: bytes in, bytes out.

use std::error::Error;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::offload::offload;

/// What an engine answers.
pub type Answer<T> = Result<T, DriverError>;

/// The same, to be awaited. It may be dropped at any time.
pub type Awaited<T> = Pin<Box<dyn Future<Output = Answer<T>> + Send>>;

/// An engine that keeps bytes by key, for a time: three operations, blocking and awaited.
///
/// All else is done above it, once for all engines: what the bytes are, what becomes of failures, deadlines,
/// leases, generations. A driver connects when it is first asked, and again after its connection was lost.
///
/// - Keys have at most 250 bytes, all of them printable ASCII and none a space, and nothing in them was chosen
///   by whoever calls the cached function. Values are never empty.
/// - An operation gives up at its `deadline` with [`DriverError::TimedOut`]; what it has sent may have been
///   done nevertheless.
/// - The awaited twins are the blocking ones on a thread that may block, unless a driver has better ones.
pub trait Driver: Send + Sync + 'static {
    /// What is there under each of the keys, in their order, in one round trip where that is possible.
    ///
    /// # Errors
    ///
    /// If it is not known of all of them.
    fn get(&self, keys: &[&str], deadline: Instant) -> Answer<Vec<Option<Found>>>;

    /// Stores a value for `ttl`, or for as long as there is room if that is absent, provided that what is there
    /// is what is `expected`. Returns whether it was stored.
    ///
    /// A `ttl` is never zero. It may be as long or as short as can be; a driver whose engine knows only longer
    /// ones rounds up, never to "for ever", and one whose engine knows no such long ones takes the longest.
    ///
    /// # Errors
    ///
    /// [`DriverError::TooLarge`] if the engine cannot hold such a value; then the key holds nothing afterwards.
    /// [`DriverError::Unsupported`] if the engine cannot compare with what is expected.
    fn set(
        &self,
        key: &str,
        value: &[u8],
        ttl: Option<Duration>,
        expected: Expected,
        deadline: Instant,
    ) -> Answer<bool>;

    /// Removes what is there, provided that it is what is `expected`. Returns whether something was removed;
    /// a driver that asks again after its connection was lost may find nothing left to remove, and say so.
    ///
    /// # Errors
    ///
    /// [`DriverError::Unsupported`] if the engine cannot compare with what is expected.
    fn delete(&self, key: &str, expected: Expected, deadline: Instant) -> Answer<bool>;

    /// [`get`](Self::get), awaited.
    fn get_async(self: Arc<Self>, keys: Vec<String>, deadline: Instant) -> Awaited<Vec<Option<Found>>> {
        offload(deadline, move || {
            let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
            self.get(&keys, deadline)
        })
    }

    /// [`set`](Self::set), awaited.
    fn set_async(
        self: Arc<Self>,
        key: String,
        value: Vec<u8>,
        ttl: Option<Duration>,
        expected: Expected,
        deadline: Instant,
    ) -> Awaited<bool> {
        offload(deadline, move || self.set(&key, &value, ttl, expected, deadline))
    }

    /// [`delete`](Self::delete), awaited.
    fn delete_async(self: Arc<Self>, key: String, expected: Expected, deadline: Instant) -> Awaited<bool> {
        offload(deadline, move || self.delete(&key, expected, deadline))
    }
}

/// What was found under a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// What was stored, unchanged.
    pub value: Vec<u8>,
    /// Which of the values that this key has had; absent if the engine does not tell.
    pub version: Option<Version>,
}

/// Tells a value from every other that the same key has had or will have, even one of the same bytes. Two
/// versions are only compared for equality.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Version(pub u64);

/// What must be under a key for an operation to be done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expected {
    /// It does not matter.
    Anything,
    /// Nothing, or what has expired.
    Nothing,
    /// The value of this version.
    Version(Version),
}

/// Why an engine did not do what it was asked.
#[derive(Debug)]
#[non_exhaustive]
pub enum DriverError {
    /// There was no answer by the deadline.
    TimedOut,
    /// The engine was not asked, as this process asks it for too much at once: that says nothing of the engine.
    Busy,
    /// The engine could not be reached, or the connection was lost, or it says that it cannot serve.
    Unavailable(Box<dyn Error + Send + Sync>),
    /// The engine answered what makes no sense, or refused what it should have done.
    Failed(Box<dyn Error + Send + Sync>),
    /// The value is larger than the engine can hold.
    TooLarge,
    /// The engine cannot do this at all; the text says what.
    Unsupported(&'static str),
}

impl fmt::Display for DriverError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::TimedOut => formatter.write_str("no answer by the deadline"),
            Self::Busy => formatter.write_str("too much is asked of the engine at once"),
            Self::Unavailable(_) => formatter.write_str("the engine cannot be reached"),
            Self::Failed(_) => formatter.write_str("the engine did not do what it was asked"),
            Self::TooLarge => formatter.write_str("the value is larger than the engine can hold"),
            Self::Unsupported(what) => write!(formatter, "the engine has no {what}"),
        }
    }
}

impl Error for DriverError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match self {
            Self::Unavailable(source) | Self::Failed(source) => Some(source.as_ref()),
            _ => None,
        }
    }
}
