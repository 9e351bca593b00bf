//! What is made of a server's replies.

use std::error::Error;
use std::fmt;

use redis::{ServerError, ServerErrorKind, Value};

use super::super::driver::{Answer, DriverError, Found, Version};
use super::command::VERSION_BYTES;

/// What a server replied instead of doing what it was asked.
#[derive(Debug)]
pub(super) struct Refused {
    code: String,
    detail: String,
}

impl fmt::Display for Refused {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "the server replied {} {}", self.code, self.detail)
    }
}

impl Error for Refused {}

/// The error that such a reply stands for.
pub(super) fn refused(reply: &ServerError) -> DriverError {
    let code = reply.code();
    // What follows would be what was sent: a value or a password.
    let detail = reply.details().unwrap_or_default().split("with args").next().unwrap_or_default();
    let source = Refused { code: code.into(), detail: detail.chars().take(200).collect() };
    let passing = matches!(
        code,
        "LOADING"
            | "MASTERDOWN"
            | "CLUSTERDOWN"
            | "TRYAGAIN"
            | "READONLY"
            | "BUSY"
            | "MISCONF"
            | "NOREPLICAS"
            | "MOVED"
            | "ASK"
    );
    if passing || is_full(reply) {
        DriverError::Unavailable(source.into())
    } else {
        DriverError::Failed(source.into())
    }
}

/// Whether it says that the server takes no more connections.
pub(super) fn is_full(reply: &ServerError) -> bool {
    reply.details().is_some_and(says_full)
}

/// The same of the error that such a reply stands for.
pub(super) fn is_refused_as_full(error: &DriverError) -> bool {
    let DriverError::Unavailable(source) = error else { return false };
    source.downcast_ref::<Refused>().is_some_and(|refused| says_full(&refused.detail))
}

fn says_full(detail: &str) -> bool {
    detail.contains("max number of clients")
}

pub(super) fn unexpected(reply: &Value) -> DriverError {
    let kind = match reply {
        Value::ServerError(error) => return refused(error),
        Value::Nil => "nothing",
        Value::Int(_) => "a number",
        Value::BulkString(_) => "a string",
        Value::Array(_) => "an array",
        Value::Okay | Value::SimpleString(_) => "a status",
        _ => "something",
    };
    DriverError::Failed(format!("the server replied {kind} where that makes no sense").into())
}

/// The reply to a command, where there must be just one.
pub(super) fn only(replies: Vec<Value>) -> Answer<Value> {
    replies.into_iter().next_back().ok_or_else(no_reply)
}

pub(super) fn no_reply() -> DriverError {
    DriverError::Failed("there is no reply".into())
}

/// What a reply to `GET` says is there. What no driver of this kind stored is not.
pub(super) fn found(reply: Value) -> Answer<Option<Found>> {
    match reply {
        Value::Nil => Ok(None),
        Value::BulkString(mut bytes) => {
            Ok(version(&bytes).filter(|_| bytes.len() > VERSION_BYTES).map(|version| {
                bytes.drain(..VERSION_BYTES);
                Found { value: bytes, version: Some(version) }
            }))
        }
        Value::ServerError(error) if is_foreign_type(&error) => Ok(None),
        other => Err(unexpected(&other)),
    }
}

/// The version that these bytes begin with.
fn version(bytes: &[u8]) -> Option<Version> {
    bytes.first_chunk().map(|version| Version(u64::from_le_bytes(*version)))
}

/// Whether a script, or `DEL`, says that it did something.
pub(super) fn did(reply: &Value) -> Answer<bool> {
    match reply {
        Value::Int(count) => Ok(*count > 0),
        Value::ServerError(error) if is_foreign_type(error) => Ok(false),
        Value::ServerError(error) if is_too_large(error) => Err(DriverError::TooLarge),
        other => Err(unexpected(other)),
    }
}

/// The same of a script, which a server may not let everybody run.
pub(super) fn did_by_script(reply: &Value) -> Answer<bool> {
    match reply {
        Value::ServerError(error) if is_forbidden(error) => {
            Err(DriverError::Unsupported("scripts for this user, without which versions are not compared"))
        }
        other => did(other),
    }
}

/// Whether `SET` says that it stored.
pub(super) fn stored(reply: &Value) -> Answer<bool> {
    match reply {
        Value::Okay => Ok(true),
        Value::Nil => Ok(false),
        Value::ServerError(error) if is_too_large(error) => Err(DriverError::TooLarge),
        other => Err(unexpected(other)),
    }
}

/// What is under a key that `SET … NX` found taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// What the very same command has stored, whose first reply was lost.
    Ours,
    Others,
    /// What no driver of this kind stored, or nothing any more.
    Foreign,
}

pub(super) fn taken(glance: &Value, ours: [u8; VERSION_BYTES]) -> Answer<Taken> {
    match glance {
        Value::BulkString(bytes) if bytes.starts_with(&ours) => Ok(Taken::Ours),
        Value::BulkString(bytes) if bytes.len() > VERSION_BYTES => Ok(Taken::Others),
        Value::BulkString(_) => Ok(Taken::Foreign),
        Value::ServerError(error) if is_foreign_type(error) => Ok(Taken::Foreign),
        other => Err(unexpected(other)),
    }
}

pub(super) fn is_unknown_script(reply: &Value) -> bool {
    matches!(reply, Value::ServerError(error) if error.kind() == Some(ServerErrorKind::NoScript))
}

fn is_foreign_type(error: &ServerError) -> bool {
    // Raised within a script, it comes without its code from some servers.
    error.code() == "WRONGTYPE" || error.details().is_some_and(|detail| detail.contains("WRONGTYPE"))
}

/// Whether a command, or one within a script, is not for this user, or has no name any more. Some keys may still
/// be: what is said of those is something else.
fn is_forbidden(error: &ServerError) -> bool {
    error.details().is_some_and(|detail| {
        detail.contains("permissions to run the")
            || detail.contains("can't run this command")
            || detail.starts_with("unknown command")
    })
}

fn is_too_large(error: &ServerError) -> bool {
    error.details().is_some_and(|detail| {
        detail.contains("invalid bulk length") || detail.contains("exceeds maximum allowed size")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply(line: &str) -> Value {
        redis::parse_redis_value(format!("{line}\r\n").as_bytes()).expect("a reply")
    }

    fn error(line: &str) -> DriverError {
        stored(&reply(line)).expect_err("an error")
    }

    #[test]
    fn what_will_pass_is_told_from_what_will_not() {
        for line in [
            "-LOADING Redis is loading the dataset in memory",
            "-CLUSTERDOWN Hash slot not served",
            "-MASTERDOWN Link with MASTER is down",
            "-READONLY You can't write against a read only replica.",
            "-MISCONF Redis is configured to save RDB snapshots",
            "-ERR max number of clients reached",
        ] {
            assert!(matches!(error(line), DriverError::Unavailable(_)), "{line}");
        }
        for line in [
            "-OOM command not allowed when used memory > 'maxmemory'.",
            "-NOAUTH Authentication required.",
            "-NOPERM this user has no permissions",
            "-ERR unknown command",
            "*0",
            ":1",
        ] {
            assert!(matches!(error(line), DriverError::Failed(_)), "{line}");
        }
        assert!(matches!(error("-ERR Protocol error: invalid bulk length"), DriverError::TooLarge));
    }

    #[test]
    fn scripts_that_are_not_for_this_user_are_told_from_what_has_failed() {
        for line in [
            "-NOPERM this user has no permissions to run the 'evalsha' command",
            "-NOPERM User cache has no permissions to run the 'eval' command",
            "-ERR The user executing the script can't run this command or subcommand script: 5bbd, on @user_script:1.",
            "-ERR ACL failure in script: User cache has no permissions to run the 'getrange' command",
            "-ERR unknown command 'EVALSHA', with args beginning with: ",
        ] {
            assert!(matches!(did_by_script(&reply(line)), Err(DriverError::Unsupported(_))), "{line}");
            assert!(matches!(did(&reply(line)), Err(DriverError::Failed(_))), "{line}");
        }
        for line in [
            "-NOPERM No permissions to access a key",
            "-ERR The user executing the script can't access at least one of the keys mentioned",
            "-ERR value is not an integer or out of range",
        ] {
            assert!(matches!(did_by_script(&reply(line)), Err(DriverError::Failed(_))), "{line}");
        }
        assert!(did_by_script(&reply(":1")).expect("an answer"));
    }

    #[test]
    fn what_was_sent_does_not_come_back_in_an_error() {
        let error = error("-ERR unknown command 'AUTH', with args beginning with: 'secret' ");
        assert!(!format!("{error:?}").contains("secret"));
    }

    #[test]
    fn what_is_too_short_for_a_value_is_not_there() {
        for bytes in [&b""[..], b"1234567", b"12345678"] {
            assert_eq!(found(Value::BulkString(bytes.into())).expect("an answer"), None);
        }
        let nine = found(Value::BulkString(b"\x01\0\0\0\0\0\0\0x".to_vec())).expect("an answer");
        assert_eq!(nine, Some(Found { value: b"x".to_vec(), version: Some(Version(1)) }));
        assert_eq!(found(reply("-WRONGTYPE Operation against a key")).expect("an answer"), None);
    }
}
