//! An engine whose time is told, as that of a test's clock is.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use cached_runtime::backend::driver::{Answer, Awaited, Driver, Expected, Found, Version};

/// A memory in which time passes when it is told to.
#[derive(Default)]
pub struct Timed(Mutex<Entries>);

#[derive(Default)]
struct Entries {
    now: Duration,
    versions: u64,
    by_key: HashMap<String, Entry>,
}

struct Entry {
    found: Found,
    goes: Option<Duration>,
}

impl Entries {
    fn find(&self, key: &str) -> Option<&Found> {
        let entry = self.by_key.get(key)?;
        entry.goes.is_none_or(|goes| goes > self.now).then_some(&entry.found)
    }

    fn is_there(&self, key: &str, expected: Expected) -> bool {
        match expected {
            Expected::Anything => true,
            Expected::Nothing => self.find(key).is_none(),
            Expected::Version(version) => self.find(key).is_some_and(|found| found.version == Some(version)),
        }
    }
}

impl Timed {
    /// With nothing in it.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::default()
    }

    fn lock(&self) -> MutexGuard<'_, Entries> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// So much time passes.
    pub fn advance(&self, time: Duration) {
        self.lock().now += time;
    }

    /// Loses everything.
    pub fn lose_all(&self) {
        self.lock().by_key.clear();
    }
}

impl Driver for Timed {
    fn get(&self, keys: &[&str], _: Instant) -> Answer<Vec<Option<Found>>> {
        let entries = self.lock();
        Ok(keys.iter().map(|key| entries.find(key).cloned()).collect())
    }

    fn set(
        &self,
        key: &str,
        value: &[u8],
        ttl: Option<Duration>,
        expected: Expected,
        _: Instant,
    ) -> Answer<bool> {
        let mut entries = self.lock();
        let stored = entries.is_there(key, expected);
        if stored {
            entries.versions += 1;
            let found = Found { value: value.to_vec(), version: Some(Version(entries.versions)) };
            let goes = ttl.map(|ttl| entries.now.saturating_add(ttl));
            entries.by_key.insert(key.to_owned(), Entry { found, goes });
        }
        Ok(stored)
    }

    fn delete(&self, key: &str, expected: Expected, _: Instant) -> Answer<bool> {
        let mut entries = self.lock();
        let deleted = entries.find(key).is_some() && entries.is_there(key, expected);
        if deleted {
            entries.by_key.remove(key);
        }
        Ok(deleted)
    }

    fn get_async(self: Arc<Self>, keys: Vec<String>, deadline: Instant) -> Awaited<Vec<Option<Found>>> {
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        Box::pin(std::future::ready(self.get(&keys, deadline)))
    }

    fn set_async(
        self: Arc<Self>,
        key: String,
        value: Vec<u8>,
        ttl: Option<Duration>,
        expected: Expected,
        deadline: Instant,
    ) -> Awaited<bool> {
        Box::pin(std::future::ready(self.set(&key, &value, ttl, expected, deadline)))
    }

    fn delete_async(self: Arc<Self>, key: String, expected: Expected, deadline: Instant) -> Awaited<bool> {
        Box::pin(std::future::ready(self.delete(&key, expected, deadline)))
    }
}
