//! Values of a backend that are served while one process computes them anew. Its claim lies beside the value, which
//! stays.

use std::time::Duration;

use super::claim::Ending;
use super::{Fetched, Kept, Remote, RemoteKey, Ticket, Wanted};
use crate::backend::codec::Coding;
use crate::backend::driver::{Expected, Found};
use crate::backend::envelope::{Kind, Record};
use crate::backend::generation::random;
use crate::backend::link::{Trouble, Way};
use crate::backend::verdict::unchanged;
use crate::backend::{name, verdict};
use crate::clock::NEVER;
use crate::policy::{Freshness, PARTS_OF_IDLE};

/// For so long one process computes anew what is served meanwhile, where no lease says otherwise; then another may.
const RENEWAL: Duration = Duration::from_secs(10);

/// Whether a value is to be computed anew by this process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leave {
    Given,
    /// Another one does, under a claim of this number, where that can be told.
    Taken(Option<u128>),
    /// Another one has, and its body has failed.
    BacksOff,
}

impl<S> Kept<S> {
    pub(crate) fn freshness(&self, remote: &Remote, ahead: u64) -> Freshness {
        self.times.freshness(remote.terms.windows, remote.terms.idle, ahead, self.now)
    }

    /// For how many nanoseconds it is fresh, unless for ever.
    pub(crate) fn left(&self, remote: &Remote) -> Option<u64> {
        let end = self.times.deadline.saturating_sub(remote.terms.windows.longest());
        (self.times.deadline != NEVER).then(|| end.saturating_sub(self.now))
    }
}

/// The claim, or what has become of it, that was found beside a key, and its number.
fn claim_in(found: Option<&Found>, key: &RemoteKey) -> Option<(Kind, u128)> {
    let record = Record::decode(&found?.value)?;
    let is_claim = matches!(record.kind, Kind::Claim | Kind::Released) && *record.key == *key.encoded;
    is_claim.then(|| verdict::claimed(&record)).flatten().map(|(number, _)| (record.kind, number))
}

impl Remote {
    /// Asks whether this process is to compute anew what it has found, and takes the ticket to do so.
    pub(crate) async fn renew(&'static self, way: Way, key: &RemoteKey, ticket: &mut Ticket) -> Leave {
        if self.link.conditions() == Some(false) {
            return Leave::Given;
        }
        match self.try_to_renew(way, key, ticket).await {
            Ok(leave) => leave,
            Err(Trouble::Unsupported) => Leave::Given,
            Err(trouble) => {
                // Each process computes, as without a backend.
                self.count(trouble);
                Leave::Given
            }
        }
    }

    /// Whether what was found is not there any more, now that there is a claim to compute it anew; that ends then.
    pub(crate) async fn is_overtaken(&'static self, way: Way, key: &RemoteKey, ticket: &mut Ticket) -> bool {
        if ticket.renewal.is_none() {
            return false;
        }
        // Where it cannot be told, it is not stored over what is there.
        let found = self.link.get_one(self.by(way), &key.name).await;
        let is_overtaken = found.is_ok_and(|found| unchanged(found.as_ref()) != ticket.expected);
        if is_overtaken {
            self.end_renewal(way, ticket).await;
        }
        is_overtaken
    }

    /// Ends the claim to compute anew, so that the next one can be made as soon as the caller goes on.
    pub(crate) async fn end_renewal(&self, way: Way, ticket: &mut Ticket) {
        let Some(renewal) = &mut ticket.renewal else { return };
        renewal.end(self.by(way)).await;
    }

    /// The body has failed: no process is to try again for a while.
    pub(crate) async fn back_off(&'static self, way: Way, key: &RemoteKey, ticket: &mut Ticket) {
        let Some(mut renewal) = ticket.renewal.take() else { return };
        let pause = self.error_backoff;
        let record = self.claim_record(key, Kind::Released, (random(), None), ticket.generation, pause);
        if let Ok(bytes) = record {
            renewal.ending = Some(Ending::Released(bytes, pause));
        }
        renewal.end(self.by(way)).await;
    }

    async fn try_to_renew(
        &'static self,
        way: Way,
        key: &RemoteKey,
        ticket: &mut Ticket,
    ) -> Result<Leave, Trouble> {
        let lease = self.lease.unwrap_or(RENEWAL);
        let number = random();
        let claimed = self.claim_record(key, Kind::Claim, (number, None), ticket.generation, lease)?;
        let name = name::of_renewal(&key.name);
        let claim = (number, claimed, Ending::Deleted);
        ticket.renewal = self.claim(way, &name, claim, lease, Expected::Nothing).await?;
        if ticket.renewal.is_some() {
            return Ok(Leave::Given);
        }
        let found = self.link.get_one(self.by(way), &name).await?;
        Ok(match claim_in(found.as_ref(), key) {
            Some((Kind::Released, _)) => Leave::BacksOff,
            Some((_, number)) => Leave::Taken(Some(number)),
            None => Leave::Taken(None),
        })
    }

    /// The claim of who computes anew what was served until now, and has gone by itself: its value comes in the place
    /// of that.
    pub(super) async fn renewed_by(
        &'static self,
        way: Way,
        key: &RemoteKey,
    ) -> Result<Option<u128>, Trouble> {
        if !self.renews {
            return Ok(None);
        }
        let found = self.link.get_one(self.by(way), &name::of_renewal(&key.name)).await?;
        let claim = claim_in(found.as_ref(), key).filter(|(kind, _)| *kind == Kind::Claim);
        Ok(claim.map(|(_, number)| number))
    }

    /// Keeps a value that is in use from becoming idle: from time to time it is written anew.
    pub(crate) async fn touch<S>(&'static self, way: Way, key: &RemoteKey, kept: &Kept<S>) {
        let Kept { times, now, found, .. } = kept;
        let (Some(idle), Some(found)) = (self.terms.idle, found) else { return };
        let is_due = now.saturating_sub(times.touched) >= idle / PARTS_OF_IDLE;
        let (Some(version), Some(record)) = (found.version, Record::decode(&found.value)) else { return };
        let touched = Record { written: self.clock.wall(), ..record }.encode();
        if let Some(bytes) = touched.filter(|_| is_due) {
            let ttl = Some(Duration::from_nanos(idle.min(times.deadline.saturating_sub(*now))));
            // Where it fails, or something has happened to the key, the value is as it was or gone.
            let set = self.link.set(self.by(way), &key.name, bytes, ttl, Expected::Version(version));
            let _ = Box::pin(set).await;
        }
    }

    /// What may be served after a body has failed, if anything; `old` was there before. What was invalidated
    /// meanwhile is not there, and what was put is newer.
    pub(crate) async fn fall_back<S>(
        &'static self,
        way: Way,
        key: &RemoteKey,
        coding: Coding<S>,
        old: Kept<S>,
    ) -> Option<S> {
        let kept = match self.fetch(way, key, coding, Wanted::ValueNow).await {
            Ok(Fetched::Value(kept, _)) => kept,
            Ok(_) => return None,
            Err(trouble) => {
                self.count(trouble);
                old
            }
        };
        kept.freshness(self, 0).hides_errors().then_some(kept.value)
    }
}
