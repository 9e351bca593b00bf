//! The entries of a table as records of a file.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::any::{AnyKey, KeyRef};
use super::shard::{AnyEntry, Stay};
use super::table::{AnyTable, NewValue, Stores, Table};
use crate::backend::codec::{CodecError, Coding, caught};
use crate::backend::envelope::{Kind, Record};
use crate::clock::Date;
use crate::epoch::with_guard;
use crate::policy::{Freshness, Times, expires, restored};
use crate::saved::KeyCoding;

/// What is needed to write the entries of a table, and to read them.
pub(crate) struct Saving<K, S> {
    /// What the function is called in files.
    pub(crate) function: u128,
    /// What tells its tables apart, at the front of each key.
    pub(crate) types: Vec<u8>,
    pub(crate) key: Box<dyn KeyCoding<K>>,
    pub(crate) value: Coding<S>,
    pub(crate) is_negative: fn(&S) -> bool,
}

impl<K, S> Saving<K, S> {
    fn encode_key(&self, key: &K) -> Result<Vec<u8>, CodecError> {
        let length = u32::try_from(self.types.len())?;
        let mut bytes = [&length.to_le_bytes()[..], &self.types].concat();
        self.key.encode(key, &mut bytes)?;
        Ok(bytes)
    }

    /// What follows the types in a key, if they are those of this table.
    fn of_table<'a>(&self, key: &'a [u8]) -> Option<&'a [u8]> {
        let (length, rest) = key.split_first_chunk()?;
        let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
        let (types, rest) = rest.split_at_checked(length)?;
        (types == self.types).then_some(rest)
    }

    fn decode_key(&self, key: &[u8]) -> Result<K, CodecError> {
        let mut rest = self.of_table(key).ok_or("it is the key of another table")?;
        let key = self.key.decode(&mut rest)?;
        if rest.is_empty() { Ok(key) } else { Err("there is more than a key".into()) }
    }

    fn is_of_table(&self, record: &[u8]) -> bool {
        Record::decode(record).is_some_and(|record| self.of_table(record.key).is_some())
    }
}

impl<K, S> Table<K, S>
where
    K: Send + Sync + 'static,
    S: Send + Sync + 'static,
{
    #[inline]
    pub(crate) fn is_saved(&self) -> bool {
        self.saving.get().is_some()
    }

    /// From now on its entries are saved; takes over what was loaded for it.
    pub(crate) fn save_as(&self, saving: Saving<K, S>) {
        // Ahead of it, so that whoever finds it saved is noticed.
        let _taking_over = TakingOver::begin(self.any());
        if self.saving.set(Box::new(saving)).is_ok() {
            self.take_over();
        }
    }

    /// Hands the records of all entries out, those of a shard at a time, with no lock taken. Returns how many
    /// there were, and how many have none.
    pub(super) fn save_with(&self, write: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<(u64, u64)> {
        let (mut count, mut left_out) = (0, 0);
        let Some(saving) = self.saving.get() else { return Ok((0, 0)) };
        for number in 0..self.shards.len() {
            let mut records = Vec::new();
            with_guard(|guard| {
                let entries = self.any().lock_shard(number, guard).entries();
                let at = self.base.state.store.clock.date();
                for (entry, times, weight) in entries {
                    if self.base.freshness(times, at.now) == Freshness::Expired {
                        continue;
                    }
                    match caught(|| self.record(saving, &entry, times, weight, at)) {
                        Ok(record) => records.push(record),
                        Err(_) => left_out += 1,
                    }
                }
            });
            for record in &records {
                write(record)?;
                count += 1;
            }
        }
        Ok((count, left_out))
    }

    fn record(
        &self,
        saving: &Saving<K, S>,
        entry: &AnyEntry<'_>,
        times: Times,
        weight: u64,
        at: Date,
    ) -> Result<Vec<u8>, CodecError> {
        let key = saving.encode_key(entry.key.key())?;
        if !self.base.keys.same(KeyRef::new(&saving.decode_key(&key)?), entry.key) {
            return Err("the key would come back as another one".into());
        }
        let payload = saving.value.encode(entry.value.value())?;
        let record = Record {
            kind: Kind::Value,
            codec: saving.value.id,
            written: at.wall,
            expires: expires(times.deadline, self.base.state.windows(), at),
            cost: weight,
            generation: saving.function,
            key: &key,
            payload: &payload,
        };
        record.encode().ok_or_else(|| "it is too long".into())
    }

    /// Takes over what was loaded for this table. Returns how many entries there are by that, and how many
    /// records are none.
    pub(super) fn take_over(&self) -> (u64, u64) {
        let Some(saving) = self.saving.get() else { return (0, 0) };
        let _taking_over = TakingOver::begin(self.any());
        let store = self.base.state.store;
        let Some(found) = store.waiting.take(saving.function, |record| saving.is_of_table(record)) else {
            return (0, 0);
        };
        let restore = |record: &[u8]| self.restore_one(saving, record, found.at) == Some(true);
        // Whatever the user's types panic with fails no call.
        let is_restored = |record: &[u8]| catch_unwind(AssertUnwindSafe(|| restore(record))).unwrap_or(false);
        let count = found.records.iter().filter(|record| is_restored(record)).count();
        store.keep_limits();
        (count as u64, (found.records.len() - count) as u64)
    }

    fn restore_one(&self, saving: &Saving<K, S>, record: &[u8], at: Date) -> Option<bool> {
        let record = Record::decode(record).filter(|record| record.codec == saving.value.id)?;
        let key = saving.decode_key(record.key).ok()?;
        let value = saving.value.decode(record.payload).ok()?;
        let timeout = self.base.state.policy().timeout_of(None, (saving.is_negative)(&value));
        let now = self.base.now();
        let deadline = restored(record.written, record.expires, timeout, self.base.state.windows(), at)?;
        if deadline <= now {
            return None;
        }
        let weight = usize::try_from(record.cost).unwrap_or(usize::MAX);
        let mut key = Some(AnyKey::new(key));
        let hash = self.base.hash_of_owned(key.as_ref()?.view());
        let new = NewValue { value, stay: Stay { deadline, weight } };
        Some(self.store(hash, Some(new), &mut |locked| {
            let is_key = self.base.keys.is(key.as_ref());
            let is_newer = locked.writer.flights.may_be_loaded(hash) && !locked.is_there(hash, &is_key, now);
            key.take_if(|_| is_newer)
        }))
    }
}

/// What is fenced is noted while this is there.
struct TakingOver<'a>(&'a dyn AnyTable);

impl<'a> TakingOver<'a> {
    fn begin(table: &'a dyn AnyTable) -> Self {
        with_guard(|guard| table.lock_each(guard).for_each(|mut it| it.writer.flights.begin_load()));
        Self(table)
    }
}

impl Drop for TakingOver<'_> {
    fn drop(&mut self) {
        with_guard(|guard| self.0.lock_each(guard).for_each(|mut it| it.writer.flights.end_load()));
    }
}
