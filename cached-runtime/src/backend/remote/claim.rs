//! Claims: who computes a value for all processes.

use std::sync::Arc;
use std::time::Duration;

use super::{Remote, RemoteKey, Ticket};
use crate::backend::driver::{Expected, Found, Version};
use crate::backend::envelope::{Kind, Record};
use crate::backend::generation::random;
use crate::backend::link::{By, Link, Trouble, Way, blocking};
use crate::backend::{offload, verdict};
use crate::clock::Clock;

/// How long a claim that was given up can be seen by those who waited for it, where nothing was there before.
pub(super) const RELEASED: Duration = Duration::from_secs(1);

/// A claim that was made. One that is dropped ends, in another thread.
pub(super) struct Claim {
    pub(super) link: Arc<Link>,
    pub(super) clock: &'static Clock,
    pub(super) name: String,
    pub(super) version: Version,
    /// How, if it has not ended otherwise.
    pub(super) ending: Option<Ending>,
}

/// How a claim ends.
pub(super) enum Ending {
    /// Nothing takes its place.
    Deleted,
    /// This does, for a time, so that others see that the body has come to nothing.
    Released(Vec<u8>, Duration),
}

impl Ending {
    /// Ends a claim; where its version cannot be compared it is deleted. It ends by itself if this fails.
    pub(super) async fn write(self, link: &Link, by: By, name: &str, expected: Expected) {
        let ended = match self {
            Self::Deleted => link.delete(by, name, expected).await,
            Self::Released(bytes, ttl) => link.set(by, name, bytes, Some(ttl), expected).await,
        };
        if ended == Err(Trouble::Unsupported) {
            let _ = link.delete(by, name, Expected::Anything).await;
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let Some(ending) = self.ending.take() else { return };
        let (link, clock, name) = (Arc::clone(&self.link), self.clock, std::mem::take(&mut self.name));
        let expected = Expected::Version(self.version);
        let end = move || {
            let by = link.by(Way::Blocking, clock);
            blocking(ending.write(&link, by, &name, expected));
        };
        let _ = offload::submit(Box::new(end));
    }
}

impl Remote {
    /// The record of a claim, or of what has become of it.
    pub(super) fn claim_record(
        &self,
        key: &RemoteKey,
        kind: Kind,
        number: u128,
        generation: u128,
        ttl: Duration,
    ) -> Result<Vec<u8>, Trouble> {
        let payload = number.to_le_bytes();
        let blank = self.blank(&key.encoded, Some(ttl), 0);
        Record { kind, payload: &payload, generation, ..blank }.encode().ok_or(Trouble::TooLarge)
    }

    /// Makes a claim in the place of what was found, unless something is in the way.
    pub(super) async fn claim_key(
        &self,
        way: Way,
        key: &RemoteKey,
        ticket: &Ticket,
    ) -> Result<Option<Claim>, Trouble> {
        let Some(lease) = self.lease else { return Ok(None) };
        let number = random();
        let ttl = ticket.released;
        let released = self.claim_record(key, Kind::Released, number, ticket.generation, ttl)?;
        let claimed = self.claim_record(key, Kind::Claim, number, ticket.generation, lease)?;
        let claim = self.claim(way, &key.name, (number, claimed), lease, ticket.expected).await?;
        Ok(claim.map(|mut claim| {
            claim.ending = Some(Ending::Released(released, ttl));
            claim
        }))
    }

    /// Writes a claim of this number under a name, unless something is in the way.
    pub(super) async fn claim(
        &self,
        way: Way,
        name: &str,
        (number, claimed): (u128, Vec<u8>),
        lease: Duration,
        expected: Expected,
    ) -> Result<Option<Claim>, Trouble> {
        let by = self.by(way);
        if !self.link.set(by, name, claimed, Some(lease), expected).await? {
            return Ok(None);
        }
        // Which version it is, the engine tells only who reads it.
        let found = self.link.get_one(by, name).await?;
        let Some(Found { value, version: Some(version) }) = found else { return Ok(None) };
        let is_own = Record::decode(&value).is_some_and(|record| {
            record.kind == Kind::Claim && verdict::number(record.payload) == Some(number)
        });
        Ok(is_own.then(|| Claim {
            link: Arc::clone(&self.link),
            clock: self.clock,
            name: name.to_owned(),
            version,
            ending: Some(Ending::Deleted),
        }))
    }
}
