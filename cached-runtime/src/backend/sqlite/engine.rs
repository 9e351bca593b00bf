//! The file as one engine: connections that are opened when they are needed, and again when they have failed.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::connection::{Connection, Limit};
use super::fault::Fault;
use super::file::{self, Identity, Locked};
use super::keeper::{LATEST, SOONEST};
use super::pool::{Pool, Slot};
use super::room::{self, LEAST, Room};
use super::rows::{self, Entry};
use super::{Clock, Config};
use crate::backend::driver::{Answer, DriverError, Expected};
use crate::backend::event::{Event, emit};

/// A file is opened anew and set aside within one operation, but not again and again.
const ATTEMPTS: u32 = 3;
/// Whole pages of the table and both indices go into the log for each row.
const PAGES: u64 = 4 * 4096;
/// For how long the keeper waits for others.
const PATIENCE: Duration = Duration::from_millis(500);

pub(super) struct Engine {
    path: PathBuf,
    limit: Limit,
    clock: Clock,
    readers: Pool,
    /// Only one connection can write at a time; a queue within the process is better than `SQLite`'s polling.
    writer: Mutex<Writer>,
    /// What happened to the file.
    untold: Mutex<Vec<Event>>,
    /// What was added to the log since it was written into the file, roughly.
    logged: AtomicU64,
    /// Held by whoever writes it into the file.
    checkpointing: Mutex<()>,
}

struct Writer {
    slot: Slot,
    room: Room,
}

impl Engine {
    pub(super) fn new(config: Config, clock: Clock) -> Self {
        Self {
            // The directory of the process may change; and a name like `file:x` is no URI where it is absolute.
            path: std::path::absolute(&config.path).unwrap_or(config.path),
            limit: Limit { bytes: config.max_bytes.max(LEAST) },
            clock,
            readers: Pool::new(),
            writer: Mutex::new(Writer { slot: None, room: Room::new(config.max_bytes) }),
            untold: Mutex::default(),
            logged: AtomicU64::new(0),
            checkpointing: Mutex::default(),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn now(&self) -> i64 {
        (self.clock)()
    }

    /// Tells which files were set aside, when no lock is held.
    pub(super) fn tell(&self) {
        let events = std::mem::take(&mut *self.untold.lock());
        events.iter().for_each(emit);
    }

    fn note(&self, set_aside: Event) {
        self.untold.lock().push(set_aside);
    }

    pub(super) fn read<T>(
        &self,
        deadline: Instant,
        mut work: impl FnMut(&Connection) -> Result<T, Fault>,
    ) -> Answer<T> {
        let mut slot = self.readers.take(deadline)?;
        self.attempt(&mut slot, deadline, &mut work)
    }

    pub(super) fn write<T>(
        &self,
        deadline: Instant,
        mut work: impl FnMut(&Connection, &mut Room) -> Result<T, Fault>,
    ) -> Answer<T> {
        let mut writer = self.writer.try_lock_until(deadline).ok_or(DriverError::TimedOut)?;
        let Writer { slot, room } = &mut *writer;
        self.attempt(slot, deadline, &mut |connection| work(connection, room))
    }

    fn attempt<T>(
        &self,
        slot: &mut Slot,
        deadline: Instant,
        work: &mut dyn FnMut(&Connection) -> Result<T, Fault>,
    ) -> Answer<T> {
        let mut attempts = 0;
        loop {
            if Instant::now() >= deadline {
                return Err(DriverError::TimedOut);
            }
            attempts += 1;
            let connection = self.connection(slot, deadline)?;
            let fault = match work(connection) {
                Ok(answer) => return Ok(answer),
                Err(fault) if fault.spares_connection() => return Err(fault.into()),
                Err(fault) => fault,
            };
            let identity = connection.identity();
            *slot = None;
            match fault {
                Fault::Stale(_) if attempts < ATTEMPTS => self.readers.close(),
                // It was ours when it was opened.
                Fault::Damaged(source) | Fault::Foreign(source) if attempts < ATTEMPTS => {
                    self.set_aside(identity, &Fault::Damaged(source), deadline)?;
                }
                fault => return Err(fault.into()),
            }
        }
    }

    /// The connection of a slot, opened anew if there is none or if the file is another one by now.
    fn connection<'a>(&self, slot: &'a mut Slot, deadline: Instant) -> Result<&'a Connection, Fault> {
        if !self.is_current(slot) {
            // Closed first, so that a file that was removed is really gone.
            *slot = None;
            *slot = Some(file::open(&self.path, self.limit, deadline, |note| self.note(note))?);
        }
        let connection = slot.as_ref().ok_or(Fault::TimedOut)?;
        connection.set_deadline(deadline);
        Ok(connection)
    }

    fn is_current(&self, slot: &Slot) -> bool {
        slot.as_ref().is_some_and(|it| file::identity(&self.path) == Some(it.identity()))
    }

    fn set_aside(&self, bad: Identity, fault: &Fault, deadline: Instant) -> Result<(), Fault> {
        if let Some(note) = Locked::new(&self.path, deadline)?.set_aside(bad, fault)? {
            self.note(note);
        }
        Ok(())
    }

    /// Whether the keeper should look at the log, which is said once.
    pub(super) fn has_logged(&self, bytes: usize) -> bool {
        let more = bytes as u64 + PAGES;
        let before = self.logged.fetch_add(more, Relaxed);
        before < self.limit.log() && before + more >= self.limit.log()
    }

    /// Who writes faster than the disk waits for it, or the log would become ever longer.
    fn keep_pace(&self, deadline: Instant) -> Answer<()> {
        if self.logged.load(Relaxed) >= self.limit.longest_log() {
            drop(self.checkpointing.try_lock_until(deadline).ok_or(DriverError::TimedOut)?);
        }
        Ok(())
    }

    /// What is written to the log meanwhile keeps it from being begun anew. One that has become long by that is
    /// written while nobody else writes.
    fn checkpoint(&self) {
        let _checkpointing = self.checkpointing.lock();
        if self.logged.swap(0, Relaxed) < self.limit.log() {
            return;
        }
        let deadline = Instant::now() + PATIENCE;
        let long = 2 * self.limit.log();
        if self.read(deadline, Connection::checkpoint).is_ok_and(|(all, written)| written < all && all > long)
        {
            let _ = self.write(deadline, |connection, _| connection.checkpoint());
        }
    }

    /// Stores a value. What does not fit is known before anything is written.
    pub(super) fn set(&self, entry: Entry<'_>, expected: Expected, deadline: Instant) -> Answer<bool> {
        let bytes = Room::footprint(entry.key, entry.value);
        self.keep_pace(deadline)?;
        self.write(deadline, |connection, room| {
            if !room.can_hold(bytes) {
                return refuse(connection, entry, expected);
            }
            room.make(connection, entry.now, bytes)?;
            let mut wanted = bytes.max(LEAST / 4);
            loop {
                match rows::set(connection, entry, room.id(), expected) {
                    Err(Fault::Full(_)) if Instant::now() >= deadline => return Err(Fault::TimedOut),
                    Err(Fault::Full(source)) => {
                        if !room.is_exhausted(connection, bytes)? || room.evict(connection, wanted)? == 0 {
                            return Err(Fault::Full(source));
                        }
                        wanted *= 2;
                    }
                    answer => return answer,
                }
            }
        })
    }

    /// Removes what has expired, if the file is open, and writes the log into it. Returns how long nothing more is to be done.
    pub(super) fn tidy(&self) -> Duration {
        self.checkpoint();
        while let Some((removed, next)) = self.tidy_some() {
            if removed < room::BATCH {
                let next = next.saturating_sub(self.now());
                return Duration::from_millis(u64::try_from(next).unwrap_or(0)).clamp(SOONEST, LATEST);
            }
        }
        LATEST
    }

    /// Removes a batch. Returns how many rows that were, and when the next one expires.
    fn tidy_some(&self) -> Option<(usize, i64)> {
        let deadline = Instant::now() + PATIENCE;
        let mut writer = self.writer.try_lock_until(deadline)?;
        // Nobody wants the file if nobody has it open, and one that is gone comes back when it is wanted.
        if !self.is_current(&writer.slot) {
            return None;
        }
        let Writer { slot, room } = &mut *writer;
        let tidy = |connection: &Connection| {
            let (removed, _) = room.remove(connection, self.now(), u64::MAX)?;
            room.give_back(connection)?;
            connection.limit(self.limit)?;
            Ok((removed, room::next_expiry(connection)?.unwrap_or(i64::MAX)))
        };
        self.attempt(slot, deadline, &mut { tidy }).ok()
    }
}

/// What the key held must not outlive the value that would have taken its place.
fn refuse(connection: &Connection, entry: Entry<'_>, expected: Expected) -> Result<bool, Fault> {
    let Entry { key, now, .. } = entry;
    let in_place = match expected {
        Expected::Anything => rows::delete(connection, key, now, expected).map(|_| true),
        Expected::Nothing => rows::get(connection, &[key], now).map(|found| found[0].is_none()),
        Expected::Version(_) => rows::delete(connection, key, now, expected),
    };
    if in_place? { Err(Fault::TooLarge) } else { Ok(false) }
}

/// Milliseconds of the Unix era.
pub(super) fn wall_clock() -> Clock {
    use std::time::SystemTime;

    Arc::new(|| {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
    })
}
