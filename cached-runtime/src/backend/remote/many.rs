//! Many keys in one round trip.

use std::time::Instant;

use super::{Fetched, Look, Remote, RemoteKey, Ticket};
use crate::backend::codec::Coding;
use crate::backend::envelope::Record;
use crate::backend::generation::Knowledge;
use crate::backend::link::{By, Trouble, Way};
use crate::backend::verdict::{Verdict, unchanged};

impl Remote {
    /// The value of each key, or leave to compute it. What others have claimed is not waited for, and nothing is
    /// claimed.
    pub(crate) async fn fetch_many<S>(
        &'static self,
        way: Way,
        keys: &[&RemoteKey],
        coding: Coding<S>,
    ) -> Vec<Fetched<S>> {
        let looks = match self.look_at_many(self.by(way), keys).await {
            Ok(looks) => looks,
            Err(trouble) => {
                self.count(trouble);
                return keys.iter().map(|_| Fetched::Unknown).collect();
            }
        };
        let fetched: Vec<_> =
            keys.iter().zip(looks).map(|(key, look)| self.value_or_leave(key, coding, &look)).collect();
        let hits = fetched.iter().filter(|it| matches!(it, Fetched::Value(..))).count();
        self.counts.hits.add(hits as u64);
        self.counts.misses.add((fetched.len() - hits) as u64);
        fetched
    }

    fn value_or_leave<S>(&self, key: &RemoteKey, coding: Coding<S>, look: &Look) -> Fetched<S> {
        let is_foreign = match self.judge(key, coding.id, look) {
            Verdict::Value(record) => {
                if let Ok(value) = coding.decode(record.payload) {
                    return Fetched::Value(value, self.left(record.expires));
                }
                true
            }
            verdict => verdict == Verdict::Foreign,
        };
        if is_foreign {
            self.is_undecodable();
        }
        let expected = unchanged(look.found.as_ref());
        let (generation, begun) = (look.generation, Instant::now());
        Fetched::Nothing(Ticket { generation, expected, claim: None, is_foreign, begun })
    }

    async fn look_at_many(&'static self, by: By, keys: &[&RemoteKey]) -> Result<Vec<Look>, Trouble> {
        // Ahead of the look, as for one.
        let owed: Vec<bool> = keys.iter().map(|key| self.owed.contains(&key.name)).collect();
        let mut names: Vec<&str> = keys.iter().map(|key| &*key.name).collect();
        let (found, generation) = match self.knowledge(by).await? {
            Knowledge::Asked(asked) => {
                names.push(&self.generation_key);
                let mut found = self.link.get(by, &names).await?;
                let generation = found.pop().flatten();
                (found, self.settle(by, asked, generation).await?)
            }
            Knowledge::Owed(generation) => (self.link.get(by, &names).await?, generation),
            Knowledge::Known(generation) => {
                let found = self.link.get(by, &names).await?;
                let mut written_under =
                    found.iter().flatten().filter_map(|found| Record::generation_in(&found.value));
                let is_old = written_under.any(|written_under| written_under != generation);
                (found, if is_old { self.generation(by).await? } else { generation })
            }
        };
        self.pay_later();
        let look = |(found, is_owed)| Look { found, generation, is_owed };
        Ok(found.into_iter().zip(owed).map(look).collect())
    }
}
