//! Forgetting a key in the backend, now or when it is there again.

use std::sync::atomic::AtomicBool;

use super::{Remote, RemoteKey, TOMBSTONE, Written};
use crate::backend::driver::Expected;
use crate::backend::envelope::{Kind, Record};
use crate::backend::generation::random;
use crate::backend::link::{By, Trouble, Way, blocking};
use crate::backend::owed::{Debtor, make_up_later};
use crate::backend::verdict::{self, Verdict};

impl Remote {
    /// What was there before must not remain.
    pub(super) async fn too_large(&'static self, way: Way, key: &RemoteKey) -> Written {
        self.is_too_large();
        // Nor may what was computed before come in its place.
        if self.forget(self.by(way), key, 0).await.is_err() {
            self.owe(key);
        }
        Written::NotStored
    }

    /// Forgets one key; returns whether a fresh value was there. What is being computed elsewhere is not
    /// stored afterwards, if the engine can compare versions.
    pub(crate) async fn invalidate(&'static self, way: Way, key: &RemoteKey, codec: u8) -> bool {
        let owing = Owing { remote: self, key };
        match self.try_to_invalidate(way, key, codec).await {
            Ok(was_there) => {
                owing.pay();
                was_there
            }
            Err(trouble) => {
                self.count(trouble);
                false
            }
        }
    }

    pub(super) async fn try_to_invalidate(
        &'static self,
        way: Way,
        key: &RemoteKey,
        codec: u8,
    ) -> Result<bool, Trouble> {
        let by = self.by(way);
        let look = self.look(by, key).await?;
        let was_there = match self.judge(key, codec, &look) {
            Verdict::Value(record) => self.is_fresh(&record, look.wall),
            _ => false,
        };
        self.forget(by, key, look.generation).await?;
        Ok(was_there)
    }

    /// Leaves a tombstone, or nothing where it would not be looked at.
    pub(super) async fn forget(&self, by: By, key: &RemoteKey, generation: u128) -> Result<(), Trouble> {
        let by = self.telling(by);
        if self.link.conditions() == Some(false) {
            self.link.delete(by, &key.name, Expected::Anything).await?;
        } else {
            let bytes = self.tombstone(key, generation, false)?;
            let (ttl, expected) = (Some(TOMBSTONE), Expected::Anything);
            match self.link.set(by, &key.name, bytes, ttl, expected).await {
                // It has removed what was there.
                Ok(_) | Err(Trouble::TooLarge) => {}
                Err(trouble) => return Err(trouble),
            }
        }
        self.owed.remove(&key.name);
        Ok(())
    }

    /// What an invalidation leaves, or a mark.
    pub(super) fn tombstone(
        &self,
        key: &RemoteKey,
        generation: u128,
        is_mark: bool,
    ) -> Result<Vec<u8>, Trouble> {
        let payload = &*verdict::tombstone(random(), is_mark);
        let blank = self.blank(&key.encoded, Some(TOMBSTONE), 0);
        Record { kind: Kind::Tombstone, generation, payload, ..blank }.encode().ok_or(Trouble::TooLarge)
    }

    /// Removes what was stored after all where the engine could not prevent it.
    pub(crate) async fn undo(&'static self, way: Way, key: &RemoteKey) {
        if self.link.conditions() == Some(false) {
            self.remove(way, key).await;
        }
    }

    /// Removes what is there, whatever it is, now or when that is possible again.
    async fn remove(&'static self, way: Way, key: &RemoteKey) {
        let by = self.telling(self.by(way));
        let deleted = self.link.delete(by, &key.name, Expected::Anything).await;
        if deleted.is_err() {
            self.owe(key);
        }
    }

    pub(super) fn owe(&'static self, key: &RemoteKey) {
        if self.owed.add(&key.name, &key.encoded) {
            self.generation.renew();
        }
        make_up_later(self);
    }

    /// Makes up for invalidations that failed, until one fails again.
    pub(super) fn pay_keys(&'static self) {
        while let Some((name, encoded)) = self.owed.one() {
            let key = RemoteKey { encoded, name, tags: Vec::new() };
            if blocking(self.forget(self.by(Way::Blocking), &key, 0)).is_err() {
                break;
            }
        }
        self.owed.end_to_pay();
    }
}

/// A key that the backend is being told of: what it was not told is made up for, also where nobody waits any more.
pub(super) struct Owing<'a> {
    pub(super) remote: &'static Remote,
    pub(super) key: &'a RemoteKey,
}

impl Owing<'_> {
    /// The backend was told.
    pub(super) fn pay(self) {
        std::mem::forget(self);
    }
}

impl Drop for Owing<'_> {
    fn drop(&mut self) {
        self.remote.owe(self.key);
    }
}

impl Debtor for Remote {
    fn owes(&self) -> bool {
        self.owed.any() || self.generation.is_owed()
    }

    fn pay(&'static self) {
        if !self.link.is_refusing(self.clock) {
            let by = self.telling(self.by(Way::Blocking));
            let told = blocking(self.generation.tell(&self.link, by, None));
            if told.is_ok() && self.owed.begin_to_pay() {
                self.pay_keys();
            }
        }
    }

    fn is_made_up_later(&self) -> &AtomicBool {
        &self.is_made_up_later
    }
}
