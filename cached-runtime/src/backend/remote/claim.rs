//! Claims: who computes a value for all processes.

use std::sync::Arc;
use std::time::Duration;

use super::{Remote, RemoteKey, Ticket};
use crate::backend::driver::{Expected, Found, Version};
use crate::backend::envelope::{Kind, Record};
use crate::backend::generation::random;
use crate::backend::link::{Link, Trouble, Way, blocking};
use crate::backend::{offload, verdict};
use crate::clock::Clock;

/// How long a claim that was given up can be seen by those who waited for it.
pub(super) const RELEASED: Duration = Duration::from_secs(1);

/// A claim that was made. One that is dropped is given up, in another thread.
pub(super) struct Claim {
    pub(super) link: Arc<Link>,
    pub(super) clock: &'static Clock,
    pub(super) name: String,
    pub(super) version: Version,
    /// What then takes its place.
    pub(super) released: Option<Vec<u8>>,
}

impl Drop for Claim {
    fn drop(&mut self) {
        let Some(released) = self.released.take() else { return };
        let (link, clock, name) = (Arc::clone(&self.link), self.clock, std::mem::take(&mut self.name));
        let expected = Expected::Version(self.version);
        let release = move || {
            let by = link.by(Way::Blocking, clock);
            let set = link.set(by, &name, released, Some(RELEASED), expected);
            // It ends by itself if this fails.
            let _ = blocking(set);
        };
        let _ = offload::submit(Box::new(release));
    }
}

impl Remote {
    /// Makes a claim in the place of what was found, unless something is in the way.
    pub(super) async fn claim(
        &self,
        way: Way,
        key: &RemoteKey,
        ticket: &Ticket,
    ) -> Result<Option<Claim>, Trouble> {
        let Some(lease) = self.lease else { return Ok(None) };
        let number = random();
        let payload = number.to_le_bytes();
        let claim = |kind, ttl| {
            let blank = self.blank(&key.encoded, Some(ttl), 0);
            Record { kind, payload: &payload, generation: ticket.generation, ..blank }.encode()
        };
        let (Some(claimed), Some(released)) = (claim(Kind::Claim, lease), claim(Kind::Released, RELEASED))
        else {
            return Err(Trouble::TooLarge);
        };
        let by = self.by(way);
        let set = self.link.set(by, &key.name, claimed, Some(lease), ticket.expected);
        if !set.await? {
            return Ok(None);
        }
        // Which version it is, the engine tells only who reads it.
        let found = self.link.get_one(by, &key.name).await?;
        let Some(Found { value, version: Some(version) }) = found else { return Ok(None) };
        let is_own = Record::decode(&value).is_some_and(|record| {
            record.kind == Kind::Claim && verdict::number(record.payload) == Some(number)
        });
        Ok(is_own.then(|| Claim {
            link: Arc::clone(&self.link),
            clock: self.clock,
            name: key.name.to_string(),
            version,
            released: Some(released),
        }))
    }
}
