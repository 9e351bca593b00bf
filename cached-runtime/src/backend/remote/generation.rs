//! Generations, between this process and the backend.

use std::sync::Arc;
use std::time::Duration;

use super::{Remote, RemoteKey};
use crate::backend::driver::{Expected, Found};
use crate::backend::envelope::{Kind, Record};
use crate::backend::generation::{self, Generation, random};
use crate::backend::link::{By, Link, Trouble, Way};
use crate::backend::owed::make_up_later;
use crate::backend::verdict::{self, unchanged};
use crate::clock::Moment;

impl Generation {
    /// Tells the backend the number that holds, if that is owed; returns it then. One that ends is lost, which
    /// makes misses.
    pub(in crate::backend) async fn tell(
        &self,
        link: &Link,
        by: By,
        life: Option<Duration>,
    ) -> Result<Option<u128>, Trouble> {
        let mut told = None;
        // A new one may come meanwhile.
        while let Some(telling) = self.owed() {
            let number = telling.number;
            self.set(link, by, number, life, Expected::Anything).await?;
            telling.done(by.clock.now());
            told = Some(number);
        }
        Ok(told)
    }

    async fn set(
        &self,
        link: &Link,
        by: By,
        number: u128,
        life: Option<Duration>,
        expected: Expected,
    ) -> Result<bool, Trouble> {
        let payload = number.to_le_bytes();
        let blank = Record::blank(self.key.as_bytes(), by.clock.wall(), life);
        let record = Record { kind: Kind::Generation, payload: &payload, generation: number, ..blank };
        let bytes = record.encode().ok_or(Trouble::TooLarge)?;
        link.set(by, &self.key, bytes, life, expected).await
    }

    /// The number, given what was found of it; a new one if it was lost.
    async fn settle(
        &self,
        link: &Link,
        by: By,
        asked: u64,
        found: Option<Found>,
        life: Option<Duration>,
    ) -> Result<u128, Trouble> {
        let learn = |number| self.learn(number, asked, by.clock.now());
        let found = found.as_ref();
        if let Some((number, expires)) = verdict::generation(found, self.key.as_bytes()) {
            let expected = unchanged(found);
            // Without versions, it might be written over a new one.
            if generation::is_ending(expires, by.clock.wall(), life) && expected != Expected::Anything {
                // What is not written now will be by another.
                let _ = self.set(link, by, number, life, expected).await;
            }
            return Ok(learn(number));
        }
        let new = random();
        match self.set(link, by, new, life, unchanged(found)).await {
            Ok(true) => return Ok(learn(new)),
            Ok(false) => {}
            // The last one to write it wins.
            Err(Trouble::Unsupported) => {
                self.set(link, by, new, life, Expected::Anything).await?;
            }
            Err(trouble) => return Err(trouble),
        }
        let found = link.get_one(by, &self.key).await?;
        let found = verdict::generation(found.as_ref(), self.key.as_bytes());
        // An engine that stores nothing has no generations either, and needs none.
        Ok(learn(found.map_or(new, |(number, _)| number)))
    }
}

/// How well a number is known in the course of one operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Known {
    Not,
    /// From before the operation.
    Believed,
    /// The backend was told, or asked.
    Surely,
}

/// One of the generations that an entry depends on.
pub(super) struct Seen {
    generation: Arc<Generation>,
    life: Option<Duration>,
    number: u128,
    known: Known,
}

/// What the entry that depends on these is written under.
pub(super) fn combined(seen: &[Seen]) -> u128 {
    generation::combined(seen.iter().map(|it| it.number))
}

/// The same of one of several keys, all of whose tags are these, in order, and were seen last.
pub(super) fn combined_of(seen: &[Seen], tags: &[u128], key: &RemoteKey) -> u128 {
    let (of_all, of_tags) = seen.split_at(seen.len() - tags.len());
    let own = key.tags.iter().filter_map(|tag| of_tags.get(tags.binary_search(tag).ok()?));
    generation::combined(of_all.iter().chain(own).map(|it| it.number))
}

/// A generation that the backend is being told of.
struct OwingAll(&'static Remote);

impl Drop for OwingAll {
    fn drop(&mut self) {
        if self.0.generation.is_owed() {
            make_up_later(self.0);
        }
    }
}

impl Remote {
    /// What is known of the generations of keys with these tags, after the backend was told what it is owed.
    pub(super) async fn see(&self, by: By, tags_of_keys: &[u128], now: Moment) -> Result<Vec<Seen>, Trouble> {
        let seen = |generation, life| Seen { generation, life, number: 0, known: Known::Not };
        let mut all = Vec::with_capacity(if self.tags.is_some() { 2 + tags_of_keys.len() } else { 1 });
        all.push(seen(Arc::clone(&self.generation), None));
        if let Some(tags) = self.tags {
            all.push(seen(tags.all(), None));
            all.extend(tags_of_keys.iter().map(|tag| seen(tags.generation(*tag), self.life())));
        }
        for seen in &mut all {
            let Seen { generation, life, .. } = &*seen;
            let told = if generation.is_owed() {
                Box::pin(generation.tell(&self.link, self.telling(by), *life)).await?
            } else {
                None
            };
            if let Some(number) = told {
                (seen.number, seen.known) = (number, Known::Surely);
            } else if let Some(number) = generation.believed(now) {
                (seen.number, seen.known) = (number, Known::Believed);
            }
        }
        Ok(all)
    }

    /// Asks for the generations that are not known so well, and in the same round trip for entries.
    pub(super) async fn ask(
        &self,
        by: By,
        seen: &mut [Seen],
        known: Known,
        entries: &[&str],
    ) -> Result<Vec<Option<Found>>, Trouble> {
        let asked: Vec<(&mut Seen, u64)> = seen
            .iter_mut()
            .filter(|it| it.known < known)
            .map(|it| {
                let asked = it.generation.ask();
                (it, asked)
            })
            .collect();
        if asked.is_empty() {
            return if entries.is_empty() { Ok(Vec::new()) } else { self.link.get(by, entries).await };
        }
        let keys = asked.iter().map(|(it, _)| &*it.generation.key);
        let keys: Vec<&str> = entries.iter().copied().chain(keys).collect();
        let mut found = self.link.get(by, &keys).await?.into_iter();
        let entries = found.by_ref().take(entries.len()).collect();
        for ((it, asked), found) in asked.into_iter().zip(found) {
            it.number = Box::pin(it.generation.settle(&self.link, by, asked, found, it.life)).await?;
            it.known = Known::Surely;
        }
        Ok(entries)
    }

    /// What the entry of a key is written under, asked for anew whatever is believed.
    pub(super) async fn current(&self, by: By, key: &RemoteKey) -> Result<u128, Trouble> {
        let mut seen = self.see(by, &key.tags, self.clock.now()).await?;
        self.ask(by, &mut seen, Known::Surely, &[]).await?;
        Ok(combined(&seen))
    }

    /// Whether entries of a key are still written under this, as far as is believed; not where that cannot be told.
    pub(super) async fn is_current(&self, by: By, key: &RemoteKey, generation: u128) -> bool {
        let Ok(mut seen) = self.see(by, &key.tags, self.clock.now()).await else { return false };
        self.ask(by, &mut seen, Known::Believed, &[]).await.is_ok() && combined(&seen) == generation
    }

    /// Forgets all keys: here at once, in other processes within a second.
    pub(crate) async fn clear(&'static self, way: Way) {
        self.generation.renew();
        self.owed.clear();
        let _owing = OwingAll(self);
        if let Err(trouble) = self.generation.tell(&self.link, self.telling(self.by(way)), None).await {
            self.count(trouble);
        }
    }
}
