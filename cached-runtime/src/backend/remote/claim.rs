//! Claims: who computes a value for all processes.

use std::sync::Arc;
use std::time::Duration;

use super::{Remote, RemoteKey, TOMBSTONE, Ticket};
use crate::backend::driver::{Expected, Found, Version};
use crate::backend::envelope::{Kind, Record};
use crate::backend::generation::random;
use crate::backend::link::{By, Link, Trouble, Way, blocking};
use crate::backend::{offload, verdict};
use crate::clock::Clock;

/// How long a claim that was given up can be seen by those who waited for it, where nothing was there before.
pub(super) const RELEASED: Duration = Duration::from_secs(1);

/// A claim that was made, or may have been. One that is dropped ends, in another thread.
pub(super) struct Claim {
    pub(super) link: Arc<Link>,
    pub(super) clock: &'static Clock,
    pub(super) name: String,
    number: u128,
    /// Once it was seen.
    version: Option<Version>,
    /// How, if it has not ended otherwise.
    pub(super) ending: Option<Ending>,
}

impl Claim {
    /// What must still be there when it ends, or something takes its place.
    pub(super) fn expected(&self) -> Option<Expected> {
        self.version.map(Expected::Version)
    }

    /// Which version it is, which the engine tells only who reads it; nothing if it is not there.
    async fn find(&mut self, by: By) -> Result<(), Trouble> {
        let found = self.link.get_one(by, &self.name).await?;
        self.version = found.filter(|found| self.is_in(found)).and_then(|found| found.version);
        Ok(())
    }

    fn is_in(&self, found: &Found) -> bool {
        let record = Record::decode(&found.value).filter(|record| record.kind == Kind::Claim);
        record
            .is_some_and(|record| verdict::claimed(&record).is_some_and(|(number, _)| number == self.number))
    }

    /// Ends it as it is to end, if it is there; by itself if this fails.
    pub(super) async fn end(&mut self, by: By) {
        if self.version.is_none() {
            let _ = self.find(by).await;
        }
        // Not taken ahead of it: who is dropped meanwhile ends it in another thread.
        if let (Some(ending), Some(expected)) = (&self.ending, self.expected()) {
            ending.write(&self.link, by, &self.name, expected).await;
        }
        self.ending = None;
    }
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
    async fn write(&self, link: &Link, by: By, name: &str, expected: Expected) {
        let ended = match self {
            Self::Deleted => link.delete(by, name, expected).await,
            Self::Released(bytes, ttl) => link.set(by, name, bytes.clone(), Some(*ttl), expected).await,
        };
        if ended == Err(Trouble::Unsupported) {
            let _ = link.delete(by, name, Expected::Anything).await;
        }
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        let Some(ending) = self.ending.take() else { return };
        let Self { clock, number, version, .. } = *self;
        let (link, name) = (Arc::clone(&self.link), std::mem::take(&mut self.name));
        let end = move || {
            let mut claim = Self { link, clock, name, number, version, ending: Some(ending) };
            let by = claim.link.by(Way::Blocking, clock);
            blocking(claim.end(by));
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
        (number, fence): (u128, Option<u128>),
        generation: u128,
        ttl: Duration,
    ) -> Result<Vec<u8>, Trouble> {
        let payload = verdict::claim(number, fence);
        let blank = self.blank(&key.encoded, Some(ttl), 0);
        Record { kind, payload: &payload, generation, ..blank }.encode().ok_or(Trouble::TooLarge)
    }

    /// Makes a claim in the place of what was found, unless something is in the way. In the place of an invalidation it
    /// stays as long as that, though it holds no longer than others.
    pub(super) async fn claim_key(
        &self,
        way: Way,
        key: &RemoteKey,
        ticket: &Ticket,
    ) -> Result<Option<Claim>, Trouble> {
        let Some(lease) = self.lease else { return Ok(None) };
        let (number, fence, generation) = (random(), ticket.fence, ticket.generation);
        let (stays, left) =
            if fence.is_some() { (lease.max(TOMBSTONE), TOMBSTONE) } else { (lease, RELEASED) };
        let released = self.claim_record(key, Kind::Released, (number, fence), generation, left)?;
        let claimed = self.claim_record(key, Kind::Claim, (number, fence), generation, lease)?;
        let ending = Ending::Released(released, left);
        self.claim(way, &key.name, (number, claimed, ending), stays, ticket.expected).await
    }

    /// Writes a claim of this number under a name, unless something is in the way.
    pub(super) async fn claim(
        &self,
        way: Way,
        name: &str,
        (number, claimed, ending): (u128, Vec<u8>, Ending),
        stays: Duration,
        expected: Expected,
    ) -> Result<Option<Claim>, Trouble> {
        let by = self.by(way);
        // Before it is made: who is dropped meanwhile, or hears nothing of it, leaves none.
        let mut claim = Claim {
            link: Arc::clone(&self.link),
            clock: self.clock,
            name: name.to_owned(),
            number,
            version: None,
            ending: Some(ending),
        };
        match self.link.set(by, name, claimed, Some(stays), expected).await {
            Ok(true) => claim.find(by).await?,
            Err(Trouble::Failed) => return Err(Trouble::Failed),
            Ok(false) => {}
            Err(trouble) => {
                claim.ending = None;
                return Err(trouble);
            }
        }
        if claim.version.is_none() {
            claim.ending = None;
            return Ok(None);
        }
        Ok(Some(claim))
    }
}
