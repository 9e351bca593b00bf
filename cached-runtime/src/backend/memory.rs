//! `memory://`: encoded entries in this process, within a number of bytes.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::driver::{Answer, Awaited, Driver, DriverError, Expected, Found, Version};

/// An engine in this process, for development and tests, and for what is cheaper to keep encoded.
///
/// ```
/// use std::time::{Duration, Instant};
/// use cached_runtime::backend::driver::{Driver, Expected};
/// use cached_runtime::backend::memory::{Config, Memory};
///
/// let memory = Memory::new(Config::default());
/// let deadline = Instant::now() + Duration::from_secs(1);
/// assert!(memory.set("key", b"value", None, Expected::Nothing, deadline)?);
/// assert!(!memory.set("key", b"other", None, Expected::Nothing, deadline)?);
/// let found = memory.get(&["key", "no key"], deadline)?;
/// assert_eq!(found[0].as_ref().map(|it| &*it.value), Some(&b"value"[..]));
/// assert_eq!(found[1], None);
/// # Ok::<_, cached_runtime::backend::driver::DriverError>(())
/// ```
pub struct Memory {
    most_bytes: usize,
    entries: Mutex<Entries>,
}

/// How an engine in this process is set up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// The most bytes that keys and values take, with 128 for each entry beside them. Of what would be more,
    /// the expired goes first, then what was not used for longest.
    pub max_bytes: usize,
}

impl Default for Config {
    /// 64 MiB.
    fn default() -> Self {
        Self { max_bytes: 64 << 20 }
    }
}

/// What an entry takes beside its key and value.
const OVERHEAD: usize = 128;

/// Every entry is in `by_key`, in `by_use`, and if it expires in `by_expiry`; `bytes` is the sum of all weights.
#[derive(Default)]
struct Entries {
    by_key: HashMap<Arc<str>, Entry>,
    by_use: BTreeMap<u64, Arc<str>>,
    by_expiry: BTreeMap<(Instant, u64), Arc<str>>,
    bytes: usize,
    /// The last number given out, to a version or a use.
    last: u64,
}

struct Entry {
    value: Vec<u8>,
    version: u64,
    used: u64,
    expires: Option<Instant>,
}

impl Memory {
    /// An empty one.
    #[must_use]
    pub fn new(config: Config) -> Self {
        Self { most_bytes: config.max_bytes, entries: Mutex::default() }
    }

    /// Its entries, with none that has expired.
    fn with<T>(&self, work: impl FnOnce(&mut Entries, Instant) -> T) -> T {
        let now = Instant::now();
        let mut entries = self.entries.lock();
        entries.expire(now);
        work(&mut entries, now)
    }

    fn get_now(&self, keys: &[impl AsRef<str>]) -> Vec<Option<Found>> {
        self.with(|entries, _| keys.iter().map(|key| entries.get(key.as_ref())).collect())
    }

    fn set_now(&self, key: &str, value: &[u8], ttl: Option<Duration>, expected: Expected) -> Answer<bool> {
        self.with(|entries, now| {
            if !entries.has(key, expected) {
                return Ok(false);
            }
            entries.remove(key);
            let weight = weight(key, value);
            if weight > self.most_bytes {
                return Err(DriverError::TooLarge);
            }
            while entries.bytes + weight > self.most_bytes && entries.evict() {}
            // More time than there is on the clock is for ever.
            entries.insert(key, value.to_vec(), ttl.and_then(|ttl| now.checked_add(ttl)));
            Ok(true)
        })
    }

    fn delete_now(&self, key: &str, expected: Expected) -> bool {
        self.with(|entries, _| entries.has(key, expected) && entries.remove(key))
    }
}

fn weight(key: &str, value: &[u8]) -> usize {
    key.len() + value.len() + OVERHEAD
}

impl Entries {
    fn expire(&mut self, now: Instant) {
        while let Some(first) = self.by_expiry.first_entry()
            && first.key().0 <= now
        {
            let key = Arc::clone(first.get());
            self.remove(&key);
        }
    }

    /// Lets go what was not used for longest; returns whether there was anything.
    fn evict(&mut self) -> bool {
        let Some((_, key)) = self.by_use.first_key_value() else { return false };
        let key = Arc::clone(key);
        self.remove(&key)
    }

    fn next(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    fn get(&mut self, key: &str) -> Option<Found> {
        let now = self.next();
        let entry = self.by_key.get_mut(key)?;
        if let Some(key) = self.by_use.remove(&entry.used) {
            self.by_use.insert(now, key);
        }
        entry.used = now;
        Some(Found { value: entry.value.clone(), version: Some(Version(entry.version)) })
    }

    fn has(&self, key: &str, expected: Expected) -> bool {
        match expected {
            Expected::Anything => true,
            Expected::Nothing => !self.by_key.contains_key(key),
            Expected::Version(version) => {
                self.by_key.get(key).is_some_and(|entry| entry.version == version.0)
            }
        }
    }

    fn insert(&mut self, key: &str, value: Vec<u8>, expires: Option<Instant>) {
        let key: Arc<str> = Arc::from(key);
        let version = self.next();
        self.bytes += weight(&key, &value);
        self.by_use.insert(version, Arc::clone(&key));
        if let Some(moment) = expires {
            self.by_expiry.insert((moment, version), Arc::clone(&key));
        }
        self.by_key.insert(key, Entry { value, version, used: version, expires });
    }

    fn remove(&mut self, key: &str) -> bool {
        let Some(entry) = self.by_key.remove(key) else { return false };
        self.bytes -= weight(key, &entry.value);
        self.by_use.remove(&entry.used);
        if let Some(moment) = entry.expires {
            self.by_expiry.remove(&(moment, entry.version));
        }
        true
    }
}

impl Driver for Memory {
    fn get(&self, keys: &[&str], _: Instant) -> Answer<Vec<Option<Found>>> {
        Ok(self.get_now(keys))
    }

    fn set(
        &self,
        key: &str,
        value: &[u8],
        ttl: Option<Duration>,
        expected: Expected,
        _: Instant,
    ) -> Answer<bool> {
        self.set_now(key, value, ttl, expected)
    }

    fn delete(&self, key: &str, expected: Expected, _: Instant) -> Answer<bool> {
        Ok(self.delete_now(key, expected))
    }

    // Nothing here blocks.
    fn get_async(self: Arc<Self>, keys: Vec<String>, _: Instant) -> Awaited<Vec<Option<Found>>> {
        Box::pin(async move { Ok(self.get_now(&keys)) })
    }

    fn set_async(
        self: Arc<Self>,
        key: String,
        value: Vec<u8>,
        ttl: Option<Duration>,
        expected: Expected,
        _: Instant,
    ) -> Awaited<bool> {
        Box::pin(async move { self.set_now(&key, &value, ttl, expected) })
    }

    fn delete_async(self: Arc<Self>, key: String, expected: Expected, _: Instant) -> Awaited<bool> {
        Box::pin(async move { Ok(self.delete_now(&key, expected)) })
    }
}

impl fmt::Debug for Memory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let entries = self.entries.lock();
        f.debug_struct("Memory")
            .field("entries", &entries.by_key.len())
            .field("bytes", &entries.bytes)
            .field("max_bytes", &self.most_bytes)
            .finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_consistent(memory: &Memory) -> bool {
        let entries = memory.entries.lock();
        let bytes: usize = entries.by_key.iter().map(|(key, entry)| weight(key, &entry.value)).sum();
        let expiring = entries.by_key.values().filter(|entry| entry.expires.is_some()).count();
        entries.bytes == bytes
            && bytes <= memory.most_bytes
            && entries.by_use.len() == entries.by_key.len()
            && entries.by_expiry.len() == expiring
    }

    #[test]
    fn what_was_not_used_for_longest_goes_first() {
        let memory = Memory::new(Config { max_bytes: 3 * (OVERHEAD + 2) });
        let set = |key| memory.set_now(key, b"x", None, Expected::Anything);
        let there = |key| memory.entries.lock().by_key.contains_key(key);
        for key in ["a", "b", "c"] {
            assert!(matches!(set(key), Ok(true)));
        }
        memory.get_now(&["a"]);
        assert!(matches!(set("d"), Ok(true)));
        assert!(there("a") && !there("b") && there("c") && there("d"));
        assert!(is_consistent(&memory));
    }

    #[test]
    fn a_value_that_cannot_fit_is_refused_and_nothing_remains() {
        let memory = Memory::new(Config { max_bytes: 1000 });
        assert!(matches!(memory.set_now("a", b"x", None, Expected::Anything), Ok(true)));
        let large = memory.set_now("a", &[0; 2000], None, Expected::Anything);
        assert!(matches!(large, Err(DriverError::TooLarge)));
        assert_eq!(memory.get_now(&["a"]), [None]);
        assert!(is_consistent(&memory));
    }

    #[test]
    fn the_bytes_are_counted_whatever_happens() {
        let memory = Memory::new(Config { max_bytes: 20_000 });
        for n in 0..5000_usize {
            let key = (n * 7 % 200).to_string();
            let value = vec![0; n * 31 % 700 + 1];
            let ttl = (n % 3 > 0).then(|| Duration::from_nanos(n as u64 % 5 + 1));
            assert!(memory.set_now(&key, &value, ttl, Expected::Anything).is_ok());
            if n % 4 == 0 {
                memory.delete_now(&key, Expected::Anything);
            }
            assert!(n % 100 > 0 || is_consistent(&memory));
        }
    }
}
