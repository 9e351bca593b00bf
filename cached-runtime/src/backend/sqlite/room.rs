//! Room in the file: rows that have expired go, and then those that expire first.

use rusqlite::{Transaction, TransactionBehavior, params};

use super::connection::Connection;
use super::fault::Fault;

/// A file is allowed at least this, so that a few values fit beside the indices.
pub(super) const LEAST: u64 = 256 * 1024;
/// So many values are stored between two looks at how full the file is.
const OFTEN: u32 = 16;
/// So many rows go at once, before other writers get their turn.
pub(super) const BATCH: usize = 256;
/// What a row takes beside its key and value, with its places in the indices, roughly.
const ROW: u64 = 64;

const FIRST: &str = "SELECT id, length(key) + length(value) FROM entries_1 WHERE expiry <= ?1 \
    ORDER BY expiry, written LIMIT ?2";
const REMOVE: &str = "DELETE FROM entries_1 WHERE id = ?1";
const NEXT: &str = "SELECT min(expiry) FROM entries_1";

/// What one writer knows about the room that there is.
pub(super) struct Room {
    max_bytes: u64,
    /// Stored since it last looked.
    writes: u32,
    bytes: u64,
    /// Where rows were that it has removed. New rows of about their size fit there, where the rest of the
    /// page is in use; without that, rows of many lifetimes would leave pages of which little is in use.
    ids: Vec<i64>,
}

impl Room {
    pub(super) fn new(max_bytes: u64) -> Self {
        Self { max_bytes: max_bytes.max(LEAST), writes: OFTEN, bytes: 0, ids: Vec::new() }
    }

    /// What a value takes of the file.
    pub(super) fn footprint(key: &str, value: &[u8]) -> u64 {
        (key.len() + value.len()) as u64 + ROW
    }

    /// A single value may not displace most of the others.
    pub(super) fn can_hold(&self, bytes: u64) -> bool {
        bytes <= self.max_bytes / 2
    }

    /// A place for a new row.
    pub(super) fn id(&mut self) -> Option<i64> {
        self.ids.pop()
    }

    /// Sees to it, every now and then, that a value finds room. What is removed is twice as much as what is
    /// stored, so that the pages in use become fewer although rows share them.
    pub(super) fn make(&mut self, connection: &Connection, now: i64, bytes: u64) -> Result<(), Fault> {
        self.writes += 1;
        self.bytes += bytes;
        if self.writes < OFTEN && self.bytes < self.max_bytes / 64 {
            return Ok(());
        }
        self.writes = 0;
        let wanted = std::mem::take(&mut self.bytes);
        self.remove(connection, now, u64::MAX)?;
        let (size, free) = connection.size()?;
        let used = size.saturating_sub(free);
        if used + wanted > self.max_bytes - self.max_bytes / 16 {
            // A file from when it was allowed to be larger shrinks step by step.
            let excess = used.saturating_sub(self.max_bytes).min(self.max_bytes / 64);
            self.evict(connection, 2 * wanted + excess)?;
        }
        Ok(())
    }

    /// Whether it is the file that has become too large, rather than the disk that is full.
    pub(super) fn is_exhausted(&self, connection: &Connection, bytes: u64) -> Result<bool, Fault> {
        let (size, free) = connection.size()?;
        Ok(size.saturating_sub(free) + 2 * bytes + LEAST / 4 > self.max_bytes)
    }

    /// Removes the rows that expire first until so many bytes are free. Returns how many that are.
    pub(super) fn evict(&mut self, connection: &Connection, bytes: u64) -> Result<u64, Fault> {
        let mut freed = 0;
        while freed < bytes {
            match self.remove(connection, i64::MAX, bytes - freed)? {
                (0, _) => break,
                (_, removed) => freed += removed,
            }
        }
        Ok(freed)
    }

    /// Removes what expires by then, a batch of rows and about so many bytes at most. Returns rows and bytes.
    pub(super) fn remove(
        &mut self,
        connection: &Connection,
        until: i64,
        bytes: u64,
    ) -> Result<(usize, u64), Fault> {
        // Nobody is kept from writing for nothing.
        if next_expiry(connection)?.is_none_or(|next| next > until) {
            return Ok((0, 0));
        }
        let transaction = Transaction::new_unchecked(connection, TransactionBehavior::Immediate)?;
        let mut removed = Vec::new();
        let mut freed = 0;
        {
            let mut statement = transaction.prepare_cached(FIRST)?;
            let mut rows = statement.query(params![until, BATCH.cast_signed()])?;
            while freed < bytes {
                let Some(row) = rows.next()? else { break };
                removed.push(row.get::<_, i64>(0)?);
                freed += row.get::<_, i64>(1)?.unsigned_abs() + ROW;
            }
        }
        {
            let mut statement = transaction.prepare_cached(REMOVE)?;
            for id in &removed {
                statement.execute([id])?;
            }
        }
        transaction.commit()?;
        self.ids.extend_from_slice(&removed);
        self.ids.drain(..self.ids.len().saturating_sub(BATCH));
        Ok((removed.len(), freed))
    }

    /// Gives room back to the system where much of the file is not in use, or it is larger than it may be;
    /// a part of it at once.
    pub(super) fn give_back(&self, connection: &Connection) -> Result<(), Fault> {
        let (size, free) = connection.size()?;
        if size > self.max_bytes || (free > LEAST && free > size / 2) {
            connection.shrink(free.min(self.max_bytes / 64 + LEAST))?;
        }
        Ok(())
    }
}

/// When the next row expires, or has.
pub(super) fn next_expiry(connection: &Connection) -> Result<Option<i64>, Fault> {
    Ok(connection.prepare_cached(NEXT)?.query_row([], |row| row.get(0))?)
}
