//! Commands that go to a server together, and what their answers say.

use std::fmt;
use std::io;
use std::sync::atomic::{AtomicU32, Ordering::Relaxed};

use super::protocol::{self, Body, Condition, Malformed, Refusal, Reply};
use crate::backend::driver::{Answer, DriverError};

/// An item that is stored only to see which `cas unique` it gets; for so many seconds.
const MARK: &str = "cached:mark";
const MARK_EXPIRY: u32 = 60;

/// The bytes of one or several commands. Their opaques follow one another.
#[derive(Debug)]
pub(super) struct Request {
    pub(super) bytes: Vec<u8>,
    first: u32,
    count: usize,
    /// Whether it may be sent once more if it is not known what became of it.
    pub(super) is_repeatable: bool,
}

impl Request {
    /// Asks for the values of these keys.
    pub(super) fn get<'k>(keys: impl ExactSizeIterator<Item = &'k str>) -> Self {
        let mut request = Self::new(keys.len(), true);
        for (key, opaque) in keys.zip(request.first..) {
            protocol::get(&mut request.bytes, key, opaque);
        }
        request
    }

    pub(super) fn set(key: &str, value: &[u8], expiry: u32, condition: Condition) -> Self {
        let mut request = Self::new(1, condition == Condition::Always);
        protocol::set(&mut request.bytes, key, value, expiry, condition, request.first);
        request
    }

    pub(super) fn delete(key: &str, condition: Condition) -> Self {
        let mut request = Self::new(1, condition == Condition::Always);
        protocol::delete(&mut request.bytes, key, condition, request.first);
        request
    }

    /// Asks which `cas unique` the server has reached, as that of an item which is stored just for that; and
    /// removes these items, if they still have these `cas uniques`.
    pub(super) fn mark<'k>(old: impl ExactSizeIterator<Item = (&'k str, u64)>) -> Self {
        let mut request = Self::new(2 + old.len(), true);
        let (bytes, first) = (&mut request.bytes, request.first);
        protocol::set(bytes, MARK, b"mark", MARK_EXPIRY, Condition::Always, first);
        protocol::get(bytes, MARK, first + 1);
        for ((key, cas), opaque) in old.zip(first + 2..) {
            protocol::delete(bytes, key, Condition::IfCas(cas), opaque);
        }
        request
    }

    fn new(count: usize, is_repeatable: bool) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let room = u32::try_from(count).unwrap_or(u32::MAX);
        let mut first = NEXT.fetch_add(room, Relaxed);
        if first.checked_add(room).is_none() {
            first = 1;
        }
        Self { bytes: Vec::with_capacity(64 * count), first, count, is_repeatable }
    }

    pub(super) fn replies(&self) -> Replies {
        Replies { next: self.first, left: self.count, bodies: Vec::with_capacity(self.count) }
    }
}

/// What has been answered to a request.
#[derive(Debug)]
pub(super) struct Replies {
    next: u32,
    left: usize,
    bodies: Vec<Body>,
}

impl Replies {
    pub(super) fn none_so_far(&self) -> bool {
        self.bodies.is_empty()
    }

    pub(super) fn is_complete(&self) -> bool {
        self.left == 0
    }

    /// Takes an answer; fails if it is not the one to the next command.
    pub(super) fn add(&mut self, reply: Reply) -> Result<(), Malformed> {
        let is_own = match reply.opaque {
            Some(opaque) => opaque == self.next,
            // An error never carries an opaque, nor does a miss of the first releases of 1.6.
            None => matches!(reply.body, Body::Refused(_) | Body::Miss),
        };
        if !is_own || self.left == 0 {
            return Err(Malformed("an answer to something else"));
        }
        // After an error the connection is given up; what else may come is not waited for.
        let answered = if matches!(reply.body, Body::Refused(_)) { self.left } else { 1 };
        self.next = self.next.wrapping_add(1);
        self.left -= answered;
        self.bodies.extend(std::iter::repeat_n(reply.body, answered));
        Ok(())
    }

    pub(super) fn into_bodies(self) -> Vec<Body> {
        self.bodies
    }
}

/// Whether what a server sends next can be trusted after these answers.
pub(super) fn are_sound(bodies: &[Body]) -> bool {
    !bodies.iter().any(|body| matches!(body, Body::Refused(_)))
}

/// Whether the server has as many connections as it may have, and closes this one.
pub(super) fn is_full(bodies: &[Body]) -> bool {
    bodies.contains(&Body::Refused(Refusal::Full))
}

/// The value and `cas unique` that a get found.
pub(super) fn found(body: Body) -> Answer<Option<(Vec<u8>, u64)>> {
    match body {
        Body::Value { value, cas } => Ok(Some((value, cas))),
        Body::Miss => Ok(None),
        other => Err(error(other)),
    }
}

/// The `cas unique` that a server had reached when it was asked for a mark.
pub(super) fn marked(bodies: Vec<Body>) -> Result<u64, Failure> {
    match bodies.into_iter().nth(1) {
        Some(Body::Value { cas, .. }) => Ok(cas),
        _ => Err(Failure::Malformed(Malformed("a mark that is not kept"))),
    }
}

/// Whether a set or delete was done.
pub(super) fn done(body: Body) -> Answer<bool> {
    match body {
        Body::Done => Ok(true),
        Body::NotFound | Body::NotStored | Body::Exists => Ok(false),
        other => Err(error(other)),
    }
}

fn error(body: Body) -> DriverError {
    let Body::Refused(refusal) = body else {
        return DriverError::Failed(Malformed("an answer to another kind of command").into());
    };
    match refusal {
        Refusal::TooLarge => DriverError::TooLarge,
        Refusal::OutOfMemory => DriverError::Failed("the server is out of memory".into()),
        Refusal::Full => DriverError::Unavailable(FULL.into()),
        Refusal::UnknownCommand => DriverError::Unsupported("meta commands: memcached 1.6 is needed"),
        Refusal::Server(text) => DriverError::Unavailable(format!("SERVER_ERROR {text}").into()),
        Refusal::Client(text) => DriverError::Failed(format!("CLIENT_ERROR {text}").into()),
    }
}

pub(super) const FULL: &str = "the server takes no more connections";

/// Why there is no answer.
#[derive(Debug)]
pub(super) enum Failure {
    /// Other operations of this process have all the connections that there may be. Nothing was sent.
    Busy,
    /// No connection could be had. Nothing was sent.
    Unreachable(io::Error),
    /// The connection was lost.
    Lost(io::Error),
    TimedOut,
    Malformed(Malformed),
}

impl fmt::Display for Failure {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unreachable(error) | Self::Lost(error) => error.fmt(formatter),
            Self::TimedOut => DriverError::TimedOut.fmt(formatter),
            Self::Busy => DriverError::Busy.fmt(formatter),
            Self::Malformed(malformed) => malformed.fmt(formatter),
        }
    }
}

impl From<Failure> for DriverError {
    fn from(failure: Failure) -> Self {
        match failure {
            Failure::Unreachable(error) | Failure::Lost(error) => Self::Unavailable(error.into()),
            Failure::TimedOut => Self::TimedOut,
            Failure::Busy => Self::Busy,
            Failure::Malformed(malformed) => Self::Failed(malformed.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_to_another_command_is_not_taken() {
        let request = Request::get(["a", "b"].into_iter());
        let mut replies = request.replies();
        let miss = |opaque| Reply { opaque, body: Body::Miss };
        assert!(replies.add(miss(Some(request.first.wrapping_sub(1)))).is_err());
        assert!(replies.add(miss(Some(request.first + 1))).is_err());
        assert!(replies.add(Reply { opaque: None, body: Body::Done }).is_err());
        assert!(replies.none_so_far());
        assert!(replies.add(miss(Some(request.first))).is_ok());
        assert!(replies.add(miss(None)).is_ok());
        assert!(replies.is_complete());
        assert!(replies.add(miss(Some(request.first + 2))).is_err(), "nothing more was asked");
    }

    #[test]
    fn an_error_answers_all_that_is_left() {
        let request = Request::get(["a", "b", "c"].into_iter());
        let mut replies = request.replies();
        assert!(replies.add(Reply { opaque: Some(request.first), body: Body::Miss }).is_ok());
        let error = Body::Refused(Refusal::OutOfMemory);
        assert!(replies.add(Reply { opaque: None, body: error.clone() }).is_ok());
        assert!(replies.is_complete());
        let bodies = replies.into_bodies();
        assert!(!are_sound(&bodies));
        assert_eq!(bodies, [Body::Miss, error.clone(), error]);
    }

    #[test]
    fn no_two_requests_have_the_same_opaques() {
        let first = Request::get(["a", "b", "c"].into_iter());
        let second = Request::delete("a", Condition::Always);
        assert!(second.first >= first.first + 3 || second.first < first.first);
    }
}
