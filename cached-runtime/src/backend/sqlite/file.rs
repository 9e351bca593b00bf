//! The file in its directory: which one it is, how it comes into being, and how it is set aside.
//!
//! `SQLite` finds the log of a file by the file's name. A file that is renamed while another process opens it
//! would be read with the log of its successor; so whoever opens, makes or renames it holds a lock, which is
//! a file of its own that is never removed. The system takes the lock from a process that dies.

use std::ffi::OsString;
use std::fs::{self, Metadata, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::time::{Instant, SystemTime};

use parking_lot::Mutex;

use super::connection::{self, Raw};
use super::fault::{Fault, refused};
use crate::backend::event::Event;

/// What `SQLite` keeps beside a file: log, index of the log, and the journal of a file that has no log yet.
const COMPANIONS: [&str; 3] = ["-wal", "-shm", "-journal"];

/// Tells a file from every other that exists at the same time; whoever has it open keeps the number from
/// being given to another.
#[cfg(unix)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity(u64, u64);

/// Where files have no numbers, one that is open cannot be replaced either.
#[cfg(not(unix))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity;

/// Which file is there now, if any.
pub(super) fn identity(path: &Path) -> Option<Identity> {
    fs::metadata(path).ok().map(|metadata| identity_of(&metadata))
}

#[cfg(unix)]
fn identity_of(metadata: &Metadata) -> Identity {
    use std::os::unix::fs::MetadataExt;

    Identity(metadata.dev(), metadata.ino())
}

#[cfg(not(unix))]
fn identity_of(_: &Metadata) -> Identity {
    Identity
}

/// A file that nobody else opens, makes or renames meanwhile.
pub(super) struct Locked {
    path: PathBuf,
    /// Its transaction is the lock.
    _lock: Raw,
}

impl Locked {
    /// Waits for whoever has the lock, until the deadline.
    pub(super) fn new(path: &Path, deadline: Instant) -> Result<Self, Fault> {
        let path = resolve(path)?;
        if fs::metadata(&path).is_ok_and(|it| !it.is_file()) {
            return Err(refused("use", &path, io::Error::other("not a regular file")));
        }
        let lock = beside(&path, "-lock");
        make_lock(&lock)?;
        let raw = Raw::open(&lock, deadline)?;
        // Nothing is ever written, so neither file nor journal get any bytes.
        let begun = raw.execute_batch("PRAGMA journal_mode = MEMORY; BEGIN EXCLUSIVE");
        match begun.map_err(Fault::from) {
            Ok(()) => Ok(Self { path, _lock: raw }),
            Err(Fault::Damaged(source) | Fault::Foreign(source)) => {
                Err(refused("use as a lock, since it is not empty,", &lock, io::Error::other(source)))
            }
            Err(fault) => Err(fault),
        }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn identity(&self) -> Option<Identity> {
        identity(&self.path)
    }

    /// Makes an empty file that only its owner can read, unless there is one. Its log gets the same mode from
    /// `SQLite`.
    pub(super) fn make(&self) -> Result<(), Fault> {
        match fs::metadata(&self.path) {
            // Somebody emptied it: those who have it open would go on with a log that SQLite removes now.
            Ok(metadata) if metadata.len() == 0 && self.has_log() => {
                remove(&self.path)?;
                self.make()
            }
            // Somebody made room for ours.
            Ok(metadata) if metadata.len() == 0 => make_private(&self.path),
            Ok(_) => Ok(()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                // A log that was left behind belongs to another file.
                for companion in COMPANIONS {
                    remove(&beside(&self.path, companion))?;
                }
                create(&self.path)
            }
            Err(error) => Err(refused("look at", &self.path, error)),
        }
    }

    fn has_log(&self) -> bool {
        beside(&self.path, COMPANIONS[0]).exists()
    }

    /// Renames a file, and what belongs to it, if it is still the one that was found bad. One of our own that
    /// was damaged replaces the one before; one of somebody else is kept for ever.
    pub(super) fn set_aside(&self, bad: Identity, fault: &Fault) -> Result<Option<Event>, Fault> {
        if self.identity() != Some(bad) {
            return Ok(None);
        }
        let to = match fault {
            Fault::Foreign(_) => self.unused_name(),
            _ => beside(&self.path, ".damaged"),
        };
        for companion in COMPANIONS {
            remove(&beside(&to, companion))?;
        }
        let rename = |from: &Path, to: &Path| match fs::rename(from, to) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(refused("set aside", from, error)),
            _ => Ok(()),
        };
        // The file first: what is left of one that is gone is recognised as that.
        rename(&self.path, &to)?;
        for companion in COMPANIONS {
            rename(&beside(&self.path, companion), &beside(&to, companion))?;
        }
        Ok(Some(Event::FileSetAside { file: self.path.clone(), to, message: fault.to_string() }))
    }

    fn unused_name(&self) -> PathBuf {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_millis();
        let names = (now..).map(|number| beside(&self.path, &format!(".foreign-{number}")));
        names.into_iter().find(|name| fs::symlink_metadata(name).is_err()).unwrap_or_default()
    }
}

/// Follows links, so that all names of a file lead to one lock and one log.
fn resolve(path: &Path) -> Result<PathBuf, Fault> {
    if let Ok(path) = fs::canonicalize(path) {
        return Ok(path);
    }
    let (Some(directory), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(refused("use", path, io::Error::other("not the path of a file")));
    };
    let directory = fs::canonicalize(directory)
        .map_err(|error| refused("open, since its directory must exist already,", path, error))?;
    Ok(directory.join(name))
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = OsString::from(path);
    name.push(suffix);
    name.into()
}

fn remove(path: &Path) -> Result<(), Fault> {
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(refused("remove", path, error)),
        _ => Ok(()),
    }
}

/// To close a file takes away every lock that the process has on it, also those of `SQLite`: so none is opened
/// here that another thread may have open.
fn make_lock(path: &Path) -> Result<(), Fault> {
    static MAKING: Mutex<()> = Mutex::new(());
    let _making = MAKING.lock();
    if path.exists() { Ok(()) } else { create(path) }
}

fn create(path: &Path) -> Result<(), Fault> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    match options.open(path) {
        // Another process was faster.
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
        Err(error) => Err(refused("make", path, error)),
        Ok(_) => Ok(()),
    }
}

#[cfg(unix)]
fn make_private(path: &Path) -> Result<(), Fault> {
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o600);
    fs::set_permissions(path, mode).map_err(|error| refused("make private", path, error))
}

#[cfg(not(unix))]
fn make_private(_: &Path) -> Result<(), Fault> {
    Ok(())
}

/// Opens the file, makes it if it is missing, and sets aside what is not ours.
pub(super) fn open(
    path: &Path,
    pages: connection::Limit,
    deadline: Instant,
    mut note_that: impl FnMut(Event),
) -> Result<connection::Connection, Fault> {
    let locked = Locked::new(path, deadline)?;
    let mut first = true;
    loop {
        locked.make()?;
        let identity = locked
            .identity()
            .ok_or_else(|| refused("open", locked.path(), io::Error::from(io::ErrorKind::NotFound)))?;
        match connection::Connection::open(locked.path(), identity, pages, deadline) {
            Err(fault @ (Fault::Damaged(_) | Fault::Foreign(_))) if std::mem::take(&mut first) => {
                if let Some(note) = locked.set_aside(identity, &fault)? {
                    note_that(note);
                }
            }
            opened => return opened,
        }
    }
}
