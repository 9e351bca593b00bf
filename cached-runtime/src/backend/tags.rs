//! Tags of entries in backends. The generation of a tag is kept as that of a function is, and an entry is written
//! under a hash of all that it depends on: to invalidate a tag is to give it a new one.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Release};
use std::time::Duration;

use parking_lot::Mutex;

use super::generation::Generation;
use super::link::{By, Link, Trouble, Way, blocking};
use super::name;
use super::owed::{Debtor, make_up_later};
use crate::clock::Clock;
use crate::store::Inner;
use crate::tag;

/// Of so many tags a process knows the generations in one backend, and what it has invalidated for backends that
/// are yet to come.
const MOST: usize = 4096;

/// For so long the backend keeps the generation of a tag, at least.
const LIFE: Duration = Duration::from_secs(2 * 3600);

/// The life of the generation of a tag of values that live for so long. It is prolonged when half of it has passed.
pub(crate) fn life_with(longest: Duration) -> Duration {
    longest.saturating_mul(2).max(LIFE)
}

/// The tags of one store in one of its backends.
pub(crate) struct Tags {
    link: Arc<Link>,
    clock: &'static Clock,
    /// Every entry with tags depends on it: a new one stands for new ones of all tags.
    all: Arc<Generation>,
    /// By the hashes of the tags. One that is not owed may be forgotten, and is asked for again.
    each: Mutex<HashMap<u128, Arc<Generation>>>,
    /// Whether processes keep copies of what has tags.
    have_copies: AtomicBool,
    is_made_up_later: AtomicBool,
}

impl Tags {
    fn new(link: &Arc<Link>, clock: &'static Clock) -> Self {
        Self {
            clock,
            all: Arc::new(Generation::new(name::of_all_tags(&link.prefix))),
            link: Arc::clone(link),
            each: Mutex::default(),
            have_copies: AtomicBool::new(false),
            is_made_up_later: AtomicBool::new(false),
        }
    }

    pub(crate) fn all(&self) -> Arc<Generation> {
        Arc::clone(&self.all)
    }

    pub(crate) fn generation(&self, tag: u128) -> Arc<Generation> {
        self.with(tag, |_| {})
    }

    /// Under the lock, so that what it makes owed is not forgotten before.
    fn with(&self, tag: u128, work: impl FnOnce(&Generation)) -> Arc<Generation> {
        let mut each = self.each.lock();
        if each.len() >= MOST && !each.contains_key(&tag) {
            each.retain(|_, generation| generation.is_owed());
            if each.len() > MOST / 2 {
                each.clear();
                self.all.renew();
            }
        }
        let new = || Arc::new(Generation::new(name::of_tag(&self.link.prefix, tag)));
        let generation = each.entry(tag).or_insert_with(new);
        work(generation);
        Arc::clone(generation)
    }

    fn renew(&self, tag: u128) -> Arc<Generation> {
        self.with(tag, Generation::renew)
    }

    fn by(&self, way: Way) -> By {
        By { tells: self.have_copies.load(Acquire), ..self.link.by(way, self.clock) }
    }

    /// Other processes may have invalidated any of them.
    pub(crate) fn doubt(&self) {
        self.all.doubt();
        self.each.lock().values().for_each(|generation| generation.doubt());
    }

    pub(crate) fn doubt_one(&self, tag: u128) {
        if let Some(generation) = self.each.lock().get(&tag) {
            generation.doubt();
        }
    }

    async fn tell(&self, way: Way, tag: &Generation) {
        let by = self.by(way);
        if self.all.tell(&self.link, by, None).await.is_ok() {
            // If it fails, it is owed.
            let _ = tag.tell(&self.link, by, Some(LIFE)).await;
        }
    }

    /// Those that the backend may not know.
    fn owed(&self) -> Vec<Arc<Generation>> {
        let each = self.each.lock();
        each.values().filter(|generation| generation.is_owed()).map(Arc::clone).collect()
    }

    async fn tell_all(&self, way: Way) -> Result<(), Trouble> {
        self.all.tell(&self.link, self.by(way), None).await?;
        for generation in self.owed() {
            generation.tell(&self.link, self.by(way), Some(LIFE)).await?;
        }
        Ok(())
    }
}

impl Debtor for Tags {
    fn owes(&self) -> bool {
        self.all.is_owed() || !self.owed().is_empty()
    }

    fn pay(&'static self) {
        if !self.link.is_refusing(self.clock) {
            // What fails stays owed.
            let _ = blocking(self.tell_all(Way::Blocking));
        }
    }

    fn is_made_up_later(&self) -> &AtomicBool {
        &self.is_made_up_later
    }
}

/// A tag that the backend is being told of: what it was not told is made up for, also if nobody waits any more.
struct Owing {
    tags: &'static Tags,
    tag: Arc<Generation>,
}

impl Drop for Owing {
    fn drop(&mut self) {
        if self.tag.is_owed() || self.tags.all.is_owed() {
            make_up_later(self.tags);
        }
    }
}

/// The tags of one store in all of its backends.
#[derive(Default)]
pub(crate) struct Everywhere(Mutex<Backends>);

#[derive(Default)]
struct Backends {
    used: Vec<&'static Tags>,
    invalidated: Invalidated,
}

/// The tags that were invalidated so far, of which a backend hears when it is first used.
enum Invalidated {
    These(HashSet<u128>),
    TooMany,
}

impl Default for Invalidated {
    fn default() -> Self {
        Self::These(HashSet::new())
    }
}

impl Invalidated {
    fn add(&mut self, tag: u128) {
        match self {
            Self::These(tags) if tags.len() < MOST || tags.contains(&tag) => drop(tags.insert(tag)),
            _ => *self = Self::TooMany,
        }
    }

    fn owe(&self, tags: &'static Tags) {
        match self {
            Self::These(these) if these.is_empty() => return,
            Self::These(these) => these.iter().for_each(|tag| drop(tags.renew(*tag))),
            Self::TooMany => tags.all.renew(),
        }
        make_up_later(tags);
    }
}

impl Everywhere {
    /// Those in one backend.
    pub(crate) fn of(&self, link: &Arc<Link>, clock: &'static Clock, have_copies: bool) -> &'static Tags {
        let mut backends = self.0.lock();
        if let Some(tags) = backends.used.iter().find(|tags| Arc::ptr_eq(&tags.link, link)) {
            tags.have_copies.fetch_or(have_copies, AcqRel);
            return tags;
        }
        let tags: &'static Tags = Box::leak(Box::new(Tags::new(link, clock)));
        tags.have_copies.store(have_copies, Release);
        backends.invalidated.owe(tags);
        backends.used.push(tags);
        tags
    }
}

/// An invalidated tag, of which the backends are to be told.
pub(crate) struct Renewed(Vec<(&'static Tags, Arc<Generation>)>);

/// Gives a tag new generations: from now on nothing that is found in a backend has it.
pub(crate) fn renew(store: &'static Inner, tag: &str) -> Renewed {
    for state in store.functions() {
        state.use_tags();
    }
    let tag = tag::known_as(tag);
    let mut backends = store.tags.0.lock();
    backends.invalidated.add(tag);
    Renewed(backends.used.iter().map(|tags| (*tags, tags.renew(tag))).collect())
}

impl Renewed {
    pub(crate) async fn tell(self, way: Way) {
        let owing: Vec<_> = self.0.into_iter().map(|(tags, tag)| Owing { tags, tag }).collect();
        for Owing { tags, tag } in &owing {
            tags.tell(way, tag).await;
        }
    }
}
