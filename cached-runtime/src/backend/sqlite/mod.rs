//! A file that the processes of one machine share, by `SQLite`.
//!
//! - The file survives restarts, and processes that die at any point. It is never waited for until bytes are on
//!   the disk: after a loss of power it may be damaged, and is then set aside.
//! - Whatever else lies in its place is set aside: `FILE.damaged` is the last one of our own that could not be
//!   read, `FILE.foreign-TIME` are those of other programs. What is in a page whose bytes were exchanged may
//!   be returned; to tell that is up to the checksum of the entry.
//! - Expiry is by the wall clock. One that is set back by some time lets rows live for so much longer at most,
//!   and those that had expired are removed within seconds of it; rows that were written in what has become
//!   the future count as absent.
//! - `max_bytes` bounds the file. Its log adds some 4 MB; where writes never pause, up to 16 MB; or the largest
//!   value.
//! - The file and what belongs to it (`-wal`, `-shm`, `-lock`) can be removed together at any time, but not
//!   the log alone. They must not be on a network's file system.

mod connection;
mod engine;
mod fault;
mod file;
mod keeper;
mod pool;
mod room;
mod rows;
#[cfg(test)]
mod tests;

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use self::engine::{Engine, wall_clock};
use self::keeper::Keeper;
use self::rows::Entry;
use super::driver::{Answer, Driver, Expected, Found};

/// Milliseconds of the Unix era.
type Clock = Arc<dyn Fn() -> i64 + Send + Sync>;

/// What can be chosen about a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Config {
    /// Its directory must exist.
    pub(crate) path: PathBuf,
    /// How large it may become; at least 256 KiB.
    pub(crate) max_bytes: u64,
}

impl Config {
    const MAX_BYTES: u64 = 256 * 1024 * 1024;

    pub(crate) fn new(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), max_bytes: Self::MAX_BYTES }
    }
}

/// An engine in a file, which is opened when it is first asked.
pub(crate) struct Sqlite {
    engine: Arc<Engine>,
    keeper: Keeper,
}

impl Sqlite {
    pub(crate) fn new(config: Config) -> Self {
        Self::with_clock(config, wall_clock())
    }

    fn with_clock(config: Config, clock: Clock) -> Self {
        Self { engine: Arc::new(Engine::new(config, clock)), keeper: Keeper::default() }
    }

    /// Does something with the engine, and tells what became of the file in it.
    fn with<T>(&self, work: impl FnOnce(&Engine) -> Answer<T>) -> Answer<T> {
        self.keeper.start(&self.engine);
        let answer = work(&self.engine);
        self.engine.tell();
        answer
    }
}

impl fmt::Debug for Sqlite {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Sqlite").field("path", &self.engine.path()).finish_non_exhaustive()
    }
}

impl Driver for Sqlite {
    fn get(&self, keys: &[&str], deadline: Instant) -> Answer<Vec<Option<Found>>> {
        self.with(|engine| {
            let now = engine.now();
            engine.read(deadline, |connection| rows::get(connection, keys, now))
        })
    }

    fn set(
        &self,
        key: &str,
        value: &[u8],
        ttl: Option<Duration>,
        expected: Expected,
        deadline: Instant,
    ) -> Answer<bool> {
        self.with(|engine| {
            let now = engine.now();
            let stored = engine.set(Entry { key, value, now, expiry: expiry(now, ttl) }, expected, deadline);
            if engine.has_logged(value.len()) {
                self.keeper.call();
            }
            stored
        })
    }

    fn delete(&self, key: &str, expected: Expected, deadline: Instant) -> Answer<bool> {
        self.with(|engine| {
            let now = engine.now();
            engine.write(deadline, |connection, _| rows::delete(connection, key, now, expected))
        })
    }
}

/// A part of a millisecond counts as a whole one; a time that ends is not taken for one that does not.
fn expiry(now: i64, ttl: Option<Duration>) -> i64 {
    let Some(ttl) = ttl else { return i64::MAX };
    let milliseconds = ttl.as_nanos().div_ceil(1_000_000);
    now.saturating_add(i64::try_from(milliseconds).unwrap_or(i64::MAX)).min(i64::MAX - 1)
}
