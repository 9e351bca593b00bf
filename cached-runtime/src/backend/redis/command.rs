//! What is said to a server.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher;
use std::io::Write;
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use redis::{Cmd, RedisWrite};

use super::super::driver::Version;

/// How many bytes stand ahead of a value, for its version.
pub(super) const VERSION_BYTES: usize = 8;

/// Longer is not asked for: the sum with the time of day must not overflow in a server.
const LONGEST: Duration = Duration::from_secs(10_000 * 365 * 24 * 60 * 60);

/// A program that a server runs as one step.
pub(super) struct Script {
    pub(super) code: &'static str,
    /// Of the code, in hexadecimal.
    pub(super) sha1: &'static str,
}

/// Stores if the version is the one expected. Having stored it already, by a command whose reply was lost, is
/// having stored it.
pub(super) const SET_IF_VERSION: Script = Script {
    code: "local there = redis.call('GETRANGE', KEYS[1], 0, 7)
if there == string.sub(ARGV[2], 1, 8) then return 1 end
if there ~= ARGV[1] then return 0 end
if ARGV[3] then redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3]) else redis.call('SET', KEYS[1], ARGV[2]) end
return 1",
    sha1: "4608c429e8c843d9949593dcbe7ce3eb526a1463",
};

/// Stores in the place of what no driver of this kind has stored.
pub(super) const SET_IF_FOREIGN: Script = Script {
    code: "if redis.call('TYPE', KEYS[1]).ok == 'string' and redis.call('STRLEN', KEYS[1]) > 8 then return 0 end
if ARGV[2] then redis.call('SET', KEYS[1], ARGV[1], 'PX', ARGV[2]) else redis.call('SET', KEYS[1], ARGV[1]) end
return 1",
    sha1: "5b69c4874430c80afffc402ef1ca1883114e6721",
};

/// Removes if the version is the one expected.
pub(super) const DELETE_IF_VERSION: Script = Script {
    code: "if redis.call('GETRANGE', KEYS[1], 0, 7) ~= ARGV[1] then return 0 end
return redis.call('DEL', KEYS[1])",
    sha1: "7c39cf64b7ef697b27013050f33c158b51441056",
};

impl Script {
    /// By its hash, which a server knows that has run it before.
    pub(super) fn by_hash(&self, key: &str, arguments: impl FnOnce(&mut Cmd)) -> Cmd {
        Self::run("EVALSHA", self.sha1, key, arguments)
    }

    pub(super) fn in_full(&self, key: &str, arguments: impl FnOnce(&mut Cmd)) -> Cmd {
        Self::run("EVAL", self.code, key, arguments)
    }

    fn run(name: &str, script: &str, key: &str, arguments: impl FnOnce(&mut Cmd)) -> Cmd {
        let mut command = redis::cmd(name);
        command.arg(script).arg(1).arg(key);
        arguments(&mut command);
        command
    }
}

pub(super) fn get(key: &str) -> Cmd {
    let mut command = Cmd::with_capacity(2, 3 + key.len());
    command.arg("GET").arg(key);
    command
}

pub(super) fn get_all(keys: &[&str]) -> Cmd {
    let mut command = redis::cmd("MGET");
    command.arg(keys);
    command
}

/// The version of what is there, and one byte of its value.
pub(super) fn glance(key: &str) -> Cmd {
    let mut command = redis::cmd("GETRANGE");
    command.arg(key).arg(0).arg(VERSION_BYTES);
    command
}

pub(super) fn set(key: &str, stamped: &Stamped<'_>, ttl: Option<Duration>) -> Cmd {
    let mut command = Cmd::with_capacity(6, 32 + key.len() + VERSION_BYTES + stamped.value.len());
    command.arg("SET").arg(key);
    stamped.put(&mut command);
    if let Some(ttl) = ttl {
        command.arg("PX").arg(milliseconds(ttl));
    }
    command
}

pub(super) fn delete(key: &str) -> Cmd {
    let mut command = redis::cmd("DEL");
    command.arg(key);
    command
}

pub(super) fn publish(channel: &str, message: &str) -> Cmd {
    let mut command = redis::cmd("PUBLISH");
    command.arg(channel).arg(message);
    command
}

pub(super) fn subscribe(channel: &str) -> Cmd {
    let mut command = redis::cmd("SUBSCRIBE");
    command.arg(channel);
    command
}

/// A value, and the version that it gets.
#[derive(Clone, Copy)]
pub(super) struct Stamped<'a> {
    pub(super) version: [u8; VERSION_BYTES],
    pub(super) value: &'a [u8],
}

impl<'a> Stamped<'a> {
    pub(super) fn new(value: &'a [u8]) -> Self {
        Self { version: fresh_version(), value }
    }

    /// Both, as one argument.
    pub(super) fn put(&self, command: &mut Cmd) {
        let mut argument = command.writer_for_next_arg();
        // A command is memory, to which writing does not fail.
        let _ = argument.write_all(&self.version);
        let _ = argument.write_all(self.value);
    }
}

pub(super) fn bytes_of(version: Version) -> [u8; VERSION_BYTES] {
    version.0.to_le_bytes()
}

/// As good as random: a keyed hash of what this process does not say twice, under a key that no other has. The
/// process's number is there for those that fork.
fn fresh_version() -> [u8; VERSION_BYTES] {
    static KEY: LazyLock<RandomState> = LazyLock::new(RandomState::new);
    static COUNT: AtomicU64 = AtomicU64::new(0);
    KEY.hash_one((std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed))).to_le_bytes()
}

/// Rounded up, so that it is never zero, which a server refuses.
pub(super) fn milliseconds(ttl: Duration) -> u64 {
    u64::try_from(ttl.min(LONGEST).as_nanos().div_ceil(1_000_000)).unwrap_or(u64::MAX).max(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_rounded_up_and_bounded() {
        for (ttl, expected) in [
            (Duration::from_nanos(1), 1),
            (Duration::from_millis(1), 1),
            (Duration::from_nanos(1_000_001), 2),
            (Duration::from_secs(31 * 24 * 60 * 60), 31 * 24 * 60 * 60 * 1000),
            (Duration::MAX, 10_000 * 365 * 24 * 60 * 60 * 1000),
        ] {
            assert_eq!(milliseconds(ttl), expected, "{ttl:?}");
        }
    }

    #[test]
    fn a_value_and_its_version_are_one_argument() {
        let stamped = Stamped { version: *b"VERSION!", value: b"a\r\nb\0" };
        let mut written = Vec::new();
        set("k", &stamped, Some(Duration::from_secs(1))).write_packed_command(&mut written);
        assert_eq!(
            String::from_utf8_lossy(&written),
            "*5\r\n$3\r\nSET\r\n$1\r\nk\r\n$13\r\nVERSION!a\r\nb\0\r\n$2\r\nPX\r\n$4\r\n1000\r\n"
        );
    }

    #[test]
    fn versions_differ() {
        let versions: std::collections::HashSet<_> = (0..10_000).map(|_| fresh_version()).collect();
        assert_eq!(versions.len(), 10_000);
    }
}
