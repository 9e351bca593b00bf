//! Keys whose body has failed while there was a value to serve, and when it may be tried again.

use std::collections::HashMap;

use crate::clock::Moment;

/// Takes no room where nothing fails.
#[derive(Default)]
pub(crate) struct Retries(Option<Box<Failed>>);

#[derive(Default)]
struct Failed {
    /// By the hash of the key.
    until: HashMap<u64, Moment>,
    /// At so many of them those whose time has come are forgotten.
    prune_at: usize,
}

const FEW: usize = 16;

impl Retries {
    /// Whether the key is not to be tried yet.
    pub(crate) fn backs_off(&self, hash: u64, now: Moment) -> bool {
        let until = self.0.as_ref().and_then(|failed| failed.until.get(&hash));
        until.is_some_and(|until| now < *until)
    }

    pub(crate) fn note(&mut self, hash: u64, now: Moment, until: Moment) {
        let failed = self.0.get_or_insert_default();
        if failed.until.len() >= failed.prune_at {
            failed.until.retain(|_, until| now < *until);
            failed.prune_at = FEW.max(2 * failed.until.len());
        }
        failed.until.insert(hash, until);
    }

    pub(crate) fn forget(&mut self, hash: u64) {
        let Some(failed) = &mut self.0 else { return };
        failed.until.remove(&hash);
        if failed.until.is_empty() {
            self.0 = None;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_tried_again_when_its_time_has_come_and_what_is_past_takes_no_room() {
        let mut retries = Retries::default();
        assert!(!retries.backs_off(7, 0));
        for now in 0..10_000 {
            retries.note(now, now, now + 10);
            assert!(retries.backs_off(now, now + 9) && !retries.backs_off(now, now + 10));
        }
        assert!(retries.0.as_ref().is_some_and(|failed| failed.until.len() < 100));
        (0..10_000).for_each(|hash| retries.forget(hash));
        assert!(retries.0.is_none());
    }
}
