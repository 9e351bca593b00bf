//! Many keys in one round trip.

use super::generation::{Known, combined_of};
use super::{Fetched, Look, Remote, RemoteKey};
use crate::backend::codec::Coding;
use crate::backend::envelope::Record;
use crate::backend::link::{By, Trouble, Way};
use crate::backend::verdict::Verdict;

/// So many keys go in one round trip, which has a deadline.
const AT_ONCE: usize = 1000;

impl Remote {
    /// The value of each key, or leave to compute it. What others have claimed is not waited for, and nothing is
    /// claimed.
    pub(crate) async fn fetch_many<S>(
        &'static self,
        way: Way,
        keys: &[&RemoteKey],
        coding: Coding<S>,
    ) -> Vec<Fetched<S>> {
        let mut fetched = Vec::with_capacity(keys.len());
        for keys in keys.chunks(AT_ONCE) {
            match self.look_at_many(self.by(way), keys).await {
                Ok(looks) => {
                    let looks = keys.iter().zip(looks);
                    fetched.extend(looks.map(|(key, look)| self.value_or_leave(key, coding, look)));
                }
                Err(trouble) => {
                    self.count(trouble);
                    fetched.extend(keys.iter().map(|_| Fetched::Unknown));
                }
            }
        }
        let hits = fetched.iter().filter(|it| matches!(it, Fetched::Value(..))).count();
        self.counts.hits.add(hits as u64);
        self.counts.misses.add((fetched.len() - hits) as u64);
        fetched
    }

    fn value_or_leave<S>(&self, key: &RemoteKey, coding: Coding<S>, mut look: Look) -> Fetched<S> {
        let verdict = self.judge(key, coding.id, &look);
        let mut ticket = self.ticket(key, &look, &verdict);
        if let Verdict::Value(record) = verdict {
            if let Some(mut kept) = self.decoded(&record, look.wall, coding) {
                kept.found = look.found.take();
                return Fetched::Value(kept, ticket);
            }
            ticket.is_foreign = true;
        }
        if ticket.is_foreign {
            self.is_undecodable();
        }
        Fetched::Nothing(ticket)
    }

    async fn look_at_many(&'static self, by: By, keys: &[&RemoteKey]) -> Result<Vec<Look>, Trouble> {
        // Ahead of the look, as for one.
        let owed: Vec<bool> = keys.iter().map(|key| self.owed.contains(&key.name)).collect();
        let names: Vec<&str> = keys.iter().map(|key| &*key.name).collect();
        let mut tags: Vec<u128> = keys.iter().flat_map(|key| &key.tags).copied().collect();
        tags.sort_unstable();
        tags.dedup();
        let begun = self.clock.now();
        let mut seen = self.see(by, &tags, begun).await?;
        let found = self.ask(by, &mut seen, Known::Believed, &names).await?;
        let is_old = keys.iter().zip(&found).any(|(key, found)| {
            let written_under = found.as_ref().and_then(|found| Record::generation_in(&found.value));
            written_under.is_some_and(|written_under| written_under != combined_of(&seen, &tags, key))
        });
        if is_old {
            self.ask(by, &mut seen, Known::Surely, &[]).await?;
        }
        self.pay_later();
        let wall = self.clock.wall();
        let looks = keys.iter().zip(found).zip(owed).map(|((key, found), is_owed)| Look {
            begun,
            wall,
            found,
            generation: combined_of(&seen, &tags, key),
            is_owed,
        });
        Ok(looks.collect())
    }
}
