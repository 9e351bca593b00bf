//! The generation of the function, between this process and the backend.

use super::Remote;
use super::forget::FIRST_TRY;
use crate::backend::driver::{Expected, Found};
use crate::backend::envelope::{Kind, Record};
use crate::backend::generation::{Knowledge, random};
use crate::backend::link::{By, Trouble, Way};
use crate::backend::verdict::{self, unchanged};

impl Remote {
    /// What is known of the generation, after the backend was told what it is owed.
    pub(super) async fn knowledge(&self, by: By) -> Result<Knowledge, Trouble> {
        let knowledge = self.generations.knowledge(self.clock.now());
        if let Knowledge::Owed(generation) = knowledge {
            self.tell(by, generation).await?;
        }
        Ok(knowledge)
    }

    pub(super) async fn tell(&self, by: By, generation: u128) -> Result<(), Trouble> {
        self.set_generation(self.telling(by), generation, Expected::Anything).await?;
        self.generations.told(generation, self.clock.now());
        Ok(())
    }

    pub(super) async fn set_generation(
        &self,
        by: By,
        generation: u128,
        expected: Expected,
    ) -> Result<bool, Trouble> {
        let payload = generation.to_le_bytes();
        let key = self.generation_key.as_bytes();
        let record =
            Record { kind: Kind::Generation, payload: &payload, generation, ..self.blank(key, None, 0) };
        let bytes = record.encode().ok_or(Trouble::TooLarge)?;
        self.link.set(by, &self.generation_key, bytes, None, expected).await
    }

    /// The generation, given what was found of it; a new one if it was lost.
    pub(super) async fn settle(&self, by: By, asked: u64, found: Option<Found>) -> Result<u128, Trouble> {
        let key = self.generation_key.as_bytes();
        let learn = |generation| self.generations.learn(generation, asked, self.clock.now());
        if let Some(generation) = verdict::generation(found.as_ref(), key) {
            return Ok(learn(generation));
        }
        let new = random();
        match self.set_generation(by, new, unchanged(found.as_ref())).await {
            Ok(true) => return Ok(learn(new)),
            Ok(false) => {}
            // The last one to write it wins.
            Err(Trouble::Unsupported) => {
                self.set_generation(by, new, Expected::Anything).await?;
            }
            Err(trouble) => return Err(trouble),
        }
        let found = self.link.get_one(by, &self.generation_key).await?;
        // An engine that stores nothing has no generations either, and needs none.
        Ok(learn(verdict::generation(found.as_ref(), key).unwrap_or(new)))
    }

    /// The generation, asked for anew whatever is believed.
    pub(super) async fn generation(&self, by: By) -> Result<u128, Trouble> {
        if let Knowledge::Owed(generation) = self.knowledge(by).await? {
            return Ok(generation);
        }
        let asked = self.generations.ask();
        let found = self.link.get_one(by, &self.generation_key).await?;
        self.settle(by, asked, found).await
    }

    /// Forgets all keys: here at once, in other processes within a second.
    pub(crate) async fn clear(&'static self, way: Way) {
        let generation = self.generations.renew();
        self.owed.clear();
        if let Err(trouble) = self.tell(self.by(way), generation).await {
            self.count(trouble);
            self.make_up_after(FIRST_TRY);
        }
    }
}
