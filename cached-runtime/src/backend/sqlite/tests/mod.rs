mod contract;
#[cfg(unix)]
mod disks;
#[cfg(unix)]
mod files;
mod processes;
mod size;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::{Config, Sqlite};
use crate::backend::driver::{Answer, Driver, Expected, Found, Version};
use crate::backend::event::{Event, on_event};

/// The files that were set aside, each with its new place.
static SET_ASIDE: Mutex<Vec<(PathBuf, PathBuf)>> = Mutex::new(Vec::new());
const NOTHING: [PathBuf; 0] = [];

fn listen() {
    on_event(|event| {
        if let Event::FileSetAside { file, to, .. } = event {
            SET_ASIDE.lock().push((file.clone(), to.clone()));
        }
    });
}

/// A directory that goes with the test.
struct Folder(PathBuf);

impl Folder {
    fn new() -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, SeqCst);
        let path = std::env::temp_dir().join(format!("cached-sqlite-{}-{number}", std::process::id()));
        fs::create_dir(&path).unwrap();
        listen();
        Self(path)
    }

    fn file(&self) -> PathBuf {
        self.0.join("cache.db")
    }

    fn beside(&self, suffix: &str) -> PathBuf {
        self.0.join(format!("cache.db{suffix}"))
    }

    fn open(&self) -> Sqlite {
        Sqlite::new(Config::new(self.file()))
    }

    fn open_with(&self, max_bytes: u64, time: &Time) -> Sqlite {
        let now = Arc::clone(&time.0);
        let config = Config { max_bytes, ..Config::new(self.file()) };
        Sqlite::with_clock(config, Arc::new(move || now.load(SeqCst)))
    }

    fn names(&self) -> Vec<String> {
        let names = fs::read_dir(&self.0).unwrap().map(|it| it.unwrap().file_name().into_string().unwrap());
        let mut names: Vec<String> = names.collect();
        names.sort();
        names
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A clock that moves when it is told to.
struct Time(Arc<AtomicI64>);

impl Time {
    const START: i64 = 1_700_000_000_000;

    fn new() -> Self {
        Self(Arc::new(AtomicI64::new(Self::START)))
    }

    fn advance(&self, milliseconds: i64) {
        self.0.fetch_add(milliseconds, SeqCst);
    }
}

/// Long enough for whatever does not hang.
fn deadline() -> Instant {
    Instant::now() + Duration::from_secs(20)
}

const MINUTE: Option<Duration> = Some(Duration::from_secs(60));

/// The operations with a deadline that does not matter.
impl Sqlite {
    fn found(&self, key: &str) -> Option<Found> {
        self.get(&[key], deadline()).unwrap().remove(0)
    }

    fn value(&self, key: &str) -> Option<Vec<u8>> {
        self.found(key).map(|it| it.value)
    }

    fn version(&self, key: &str) -> Version {
        self.found(key).unwrap().version.unwrap()
    }

    fn put(&self, key: &str, value: &[u8]) -> bool {
        self.put_if(key, value, Expected::Anything)
    }

    fn put_if(&self, key: &str, value: &[u8], expected: Expected) -> bool {
        self.try_put(key, value, MINUTE, expected).unwrap()
    }

    fn try_put(&self, key: &str, value: &[u8], ttl: Option<Duration>, expected: Expected) -> Answer<bool> {
        self.set(key, value, ttl, expected, deadline())
    }

    fn remove(&self, key: &str, expected: Expected) -> bool {
        self.delete(key, expected, deadline()).unwrap()
    }

    /// Where files in its place were set aside to, since this was last asked.
    fn set_aside(&self) -> Vec<PathBuf> {
        let path = fs::canonicalize(self.engine.path()).unwrap();
        SET_ASIDE.lock().extract_if(.., |(file, _)| *file == path).map(|(_, to)| to).collect()
    }

    fn rows(&self) -> i64 {
        let count = "SELECT count(*) FROM entries_1";
        self.engine
            .read(deadline(), |connection| Ok(connection.query_row(count, [], |row| row.get(0))?))
            .unwrap()
    }
}

/// Numbers that look random, the same in every run.
struct Numbers(u64);

impl Numbers {
    fn next(&mut self) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0
    }

    fn below(&mut self, bound: usize) -> usize {
        usize::try_from(self.next() % bound as u64).unwrap()
    }

    fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.next().to_le_bytes()[3]).collect()
    }
}

/// As another program would see it.
fn plain(path: &Path) -> rusqlite::Connection {
    rusqlite::Connection::open(path).unwrap()
}
