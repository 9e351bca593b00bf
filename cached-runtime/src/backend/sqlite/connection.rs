//! One connection to the file, ready to be asked.

use std::ops::{Deref, RangeInclusive};
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rusqlite::OpenFlags;
use rusqlite::config::DbConfig;

use super::fault::Fault;
use super::file::Identity;

/// Says in a file's header whose it is: "cach".
const APPLICATION: i32 = 0x6361_6368;
/// How long a log may become before a writer itself has to write it into the file, which takes as long as the
/// disk takes; and how much shorter it is when the keeper does, so that no caller has to wait for the disk.
const LOG: RangeInclusive<u64> = 4 << 20..=16 << 20;
const KEPT: u64 = 4;
/// Waits for others' locks are this short at first, and so much longer at most.
const FIRST_WAIT: Duration = Duration::from_micros(50);
const DOUBLINGS: i32 = 6;

/// The number at the end is the format's. A release with another one adds tables beside these, so that old
/// and new ones can use one file.
const TABLE: &str = "CREATE TABLE entries_1 (\
    id INTEGER PRIMARY KEY, \
    key TEXT NOT NULL UNIQUE, \
    version INTEGER NOT NULL, \
    written INTEGER NOT NULL, \
    expiry INTEGER NOT NULL, \
    value BLOB NOT NULL) STRICT";
const INDEX: &str = "CREATE INDEX entries_1_expiry ON entries_1 (expiry, written)";

/// How large the file may become.
#[derive(Clone, Copy, Debug)]
pub(super) struct Limit {
    pub(super) bytes: u64,
}

impl Limit {
    /// How long it may be.
    pub(super) fn longest_log(self) -> u64 {
        (self.bytes / 8).clamp(*LOG.start(), *LOG.end())
    }

    /// How long a log is when it should be written into the file.
    pub(super) fn log(self) -> u64 {
        self.longest_log() / KEPT
    }
}

/// A connection that waits for others until a deadline.
pub(super) struct Raw {
    connection: rusqlite::Connection,
    deadline: Arc<Mutex<Instant>>,
}

impl Raw {
    pub(super) fn open(path: &Path, deadline: Instant) -> Result<Self, Fault> {
        let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
        let mut connection = rusqlite::Connection::open_with_flags(path, flags)?;
        let deadline = Arc::new(Mutex::new(deadline));
        let until = Arc::clone(&deadline);
        connection.busy_handler(Some(move |attempt: i32| {
            let left = until.lock().saturating_duration_since(Instant::now());
            thread::sleep(left.min(FIRST_WAIT * (1 << attempt.clamp(0, DOUBLINGS))));
            !left.is_zero()
        }))?;
        Ok(Self { connection, deadline })
    }
}

impl Deref for Raw {
    type Target = rusqlite::Connection;

    fn deref(&self) -> &rusqlite::Connection {
        &self.connection
    }
}

/// A connection to a file with our tables.
pub(super) struct Connection {
    raw: Raw,
    identity: Identity,
    page_size: u64,
}

impl Connection {
    /// To be called by whoever holds the file's lock.
    pub(super) fn open(
        path: &Path,
        identity: Identity,
        limit: Limit,
        deadline: Instant,
    ) -> Result<Self, Fault> {
        let raw = Raw::open(path, deadline)?;
        // The last one to close would remove the log by its name, which may be that of another file by then.
        raw.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        raw.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
        raw.set_db_config(DbConfig::SQLITE_DBCONFIG_TRUSTED_SCHEMA, false)?;
        raw.execute_batch("PRAGMA cell_size_check = ON; PRAGMA temp_store = MEMORY")?;
        if is_empty(&raw)? {
            fill(&raw)?;
        } else {
            check(&raw)?;
            use_log(&raw)?;
        }
        let page_size = number(&raw, "PRAGMA page_size")?;
        let connection = Self { raw, identity, page_size };
        let log = limit.longest_log();
        connection.execute_batch(&format!(
            "PRAGMA synchronous = OFF; PRAGMA wal_autocheckpoint = {}; PRAGMA journal_size_limit = {}",
            log / page_size,
            limit.log()
        ))?;
        connection.limit(limit)?;
        Ok(connection)
    }

    pub(super) fn identity(&self) -> Identity {
        self.identity
    }

    pub(super) fn set_deadline(&self, deadline: Instant) {
        *self.raw.deadline.lock() = deadline;
    }

    /// Makes `SQLite` refuse what would make the file larger. One that is too large already does not grow.
    pub(super) fn limit(&self, limit: Limit) -> Result<(), Fault> {
        let pages = (limit.bytes / self.page_size).max(1);
        number(self, &format!("PRAGMA max_page_count = {pages}")).map(drop)
    }

    /// Bytes of the file, and of them those that are not in use.
    pub(super) fn size(&self) -> Result<(u64, u64), Fault> {
        let pages = number(self, "PRAGMA page_count")?;
        let free = number(self, "PRAGMA freelist_count")?;
        Ok((pages * self.page_size, free * self.page_size))
    }

    /// Writes the log into the file as far as nobody reads from it, and keeps nobody from reading or writing.
    /// Returns how many bytes of it are there, and how many are written now.
    pub(super) fn checkpoint(&self) -> Result<(u64, u64), Fault> {
        let pages = |row: &rusqlite::Row<'_>, column| row.get::<_, i64>(column).map(i64::unsigned_abs);
        let row = |row: &rusqlite::Row<'_>| Ok((pages(row, 1)?, pages(row, 2)?));
        let (all, written) = self.query_row("PRAGMA wal_checkpoint(PASSIVE)", [], row)?;
        Ok((all * self.page_size, written * self.page_size))
    }

    /// Gives some of what is not in use back to the system.
    pub(super) fn shrink(&self, bytes: u64) -> Result<(), Fault> {
        let mut statement =
            self.prepare(&format!("PRAGMA incremental_vacuum({})", bytes / self.page_size))?;
        // Each row is a page.
        let mut rows = statement.query([])?;
        while rows.next()?.is_some() {}
        Ok(())
    }
}

impl Deref for Connection {
    type Target = rusqlite::Connection;

    fn deref(&self) -> &rusqlite::Connection {
        &self.raw
    }
}

fn number(connection: &rusqlite::Connection, pragma: &str) -> Result<u64, Fault> {
    let number: i64 = connection.prepare_cached(pragma)?.query_row([], |row| row.get(0))?;
    Ok(number.unsigned_abs())
}

/// Whether nobody has made anything of the file yet.
fn is_empty(connection: &rusqlite::Connection) -> Result<bool, Fault> {
    let application: i32 = connection.query_row("PRAGMA application_id", [], |row| row.get(0))?;
    let objects: i64 = connection.query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))?;
    match (application, objects) {
        (0, 0) => Ok(true),
        (APPLICATION, _) => Ok(false),
        _ => Err(Fault::Foreign("the database of another program".into())),
    }
}

/// The log comes first: a process that dies in between leaves what is empty still.
fn fill(connection: &rusqlite::Connection) -> Result<(), Fault> {
    connection.execute_batch("PRAGMA auto_vacuum = INCREMENTAL")?;
    use_log(connection)?;
    let transaction = connection.unchecked_transaction()?;
    transaction.execute_batch(&format!("{TABLE}; {INDEX}; PRAGMA application_id = {APPLICATION}"))?;
    Ok(transaction.commit()?)
}

fn use_log(connection: &rusqlite::Connection) -> Result<(), Fault> {
    let mode: String = connection.query_row("PRAGMA journal_mode = WAL", [], |row| row.get(0))?;
    if mode.eq_ignore_ascii_case("wal") {
        Ok(())
    } else {
        Err(Fault::Unavailable("the file system has no shared memory for a write-ahead log".into()))
    }
}

/// A table of another shape would answer wrongly, and a trigger would do more than it is asked.
fn check(connection: &rusqlite::Connection) -> Result<(), Fault> {
    let ours: i64 = connection.query_row(
        "SELECT (SELECT count(*) FROM sqlite_schema WHERE sql IN (?1, ?2)) \
            - 2 * (SELECT count(*) FROM sqlite_schema WHERE type IN ('trigger', 'view'))",
        [TABLE, INDEX],
        |row| row.get(0),
    )?;
    if ours == 2 { Ok(()) } else { Err(Fault::Damaged("its tables are not as they were made".into())) }
}
