//! The three operations, each of them one statement, so that no other process comes in between.

use rusqlite::{Connection, ErrorCode, OptionalExtension, params};

use super::fault::Fault;
use crate::backend::driver::{Expected, Found, Version};

/// What there is at the time `?2`. A row from the future was written before the clock was set back, and would
/// live for longer than it was meant to; the second is for clocks that are corrected in small steps.
macro_rules! live {
    () => {
        "(entries_1.expiry > ?2 AND entries_1.written <= ?2 + 1000)"
    };
}

macro_rules! insert {
    ($($condition:expr),*) => {
        concat!(
            "INSERT INTO entries_1 (id, key, version, written, expiry, value) \
             VALUES (?5, ?1, random(), ?2, ?3, ?4) ON CONFLICT (key) DO UPDATE SET \
             version = excluded.version, written = excluded.written, expiry = excluded.expiry, \
             value = excluded.value",
            $($condition),*
        )
    };
}

const GET: &str = concat!("SELECT version, value FROM entries_1 WHERE key = ?1 AND ", live!());
const SET: &str = insert!();
const ADD: &str = insert!(" WHERE NOT ", live!());
const REPLACE: &str = concat!(
    "UPDATE entries_1 SET version = random(), written = ?2, expiry = ?3, value = ?4 \
     WHERE key = ?1 AND version = ?5 AND ",
    live!()
);
const DELETE: &str = concat!("DELETE FROM entries_1 WHERE key = ?1 AND ", live!());
const DELETE_VERSION: &str = concat!("DELETE FROM entries_1 WHERE key = ?1 AND version = ?3 AND ", live!());

/// A value to be stored; times are milliseconds of the Unix era.
#[derive(Clone, Copy)]
pub(super) struct Entry<'a> {
    pub(super) key: &'a str,
    pub(super) value: &'a [u8],
    pub(super) now: i64,
    pub(super) expiry: i64,
}

/// Several keys are read as of one moment.
pub(super) fn get(connection: &Connection, keys: &[&str], now: i64) -> Result<Vec<Option<Found>>, Fault> {
    let _moment = if keys.len() > 1 { Some(connection.unchecked_transaction()?) } else { None };
    let mut statement = connection.prepare_cached(GET)?;
    let mut one = |key: &&str| {
        let row = statement.query_row(params![key, now], |row| {
            let version: i64 = row.get(0)?;
            Ok(Found { value: row.get(1)?, version: Some(Version(version.cast_unsigned())) })
        });
        Ok(row.optional()?)
    };
    keys.iter().map(&mut one).collect()
}

/// `id` is where a new row is put, if nothing is there.
pub(super) fn set(
    connection: &Connection,
    entry: Entry<'_>,
    id: Option<i64>,
    expected: Expected,
) -> Result<bool, Fault> {
    let Entry { key, value, now, expiry } = entry;
    let execute = |sql, last: Option<i64>| -> rusqlite::Result<usize> {
        connection.prepare_cached(sql)?.execute(params![key, now, expiry, value, last])
    };
    let sql = match expected {
        Expected::Version(Version(version)) => return Ok(execute(REPLACE, Some(version.cast_signed()))? > 0),
        Expected::Anything => SET,
        Expected::Nothing => ADD,
    };
    let changed = match execute(sql, id) {
        Err(error) if id.is_some() && error.sqlite_error_code() == Some(ErrorCode::ConstraintViolation) => {
            execute(sql, None)
        }
        changed => changed,
    };
    Ok(changed? > 0)
}

pub(super) fn delete(
    connection: &Connection,
    key: &str,
    now: i64,
    expected: Expected,
) -> Result<bool, Fault> {
    let changed = match expected {
        Expected::Nothing => 0,
        Expected::Anything => connection.prepare_cached(DELETE)?.execute(params![key, now])?,
        Expected::Version(Version(version)) => {
            connection.prepare_cached(DELETE_VERSION)?.execute(params![key, now, version.cast_signed()])?
        }
    };
    Ok(changed > 0)
}
