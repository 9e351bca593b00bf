//! Invalidations that the backend could not be told: made up for when it is there again. Until then, what is
//! found under these keys is not used here.

use std::collections::HashMap;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering::{AcqRel, Acquire, Release};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::offload;

/// Of more, or of longer ones altogether, it is cheaper to forget all keys of the function.
const MOST: usize = 4096;
const MOST_BYTES: usize = 16 << 20;

/// After so long it is tried first to make up for what failed; each time that fails, after twice as long, up to
/// the last.
const FIRST_TRY: Duration = Duration::from_millis(250);
const LAST_TRY: Duration = Duration::from_secs(10);

/// Who owes something to a backend.
pub(crate) trait Debtor: Sync {
    fn owes(&self) -> bool;
    /// Tries to make up for it now.
    fn pay(&'static self);
    /// Whether that will be tried later.
    fn is_made_up_later(&self) -> &AtomicBool;
}

/// Makes up for what failed also where nobody asks for it any more.
pub(crate) fn make_up_later(debtor: &'static dyn Debtor) {
    make_up_after(debtor, FIRST_TRY);
}

fn make_up_after(debtor: &'static dyn Debtor, wait: Duration) {
    if debtor.is_made_up_later().swap(true, AcqRel) {
        return;
    }
    let trying = Trying(debtor);
    let job = move || {
        let debtor = trying.0;
        debtor.pay();
        drop(trying);
        if debtor.owes() {
            make_up_after(debtor, (wait * 2).min(LAST_TRY));
        }
    };
    offload::submit_at(Instant::now() + wait, Box::new(job));
}

/// That it will be tried to make up for what is owed; not any more once this is dropped.
struct Trying(&'static dyn Debtor);

impl Drop for Trying {
    fn drop(&mut self) {
        self.0.is_made_up_later().store(false, Release);
    }
}

/// Keys by their names in the backend.
#[derive(Default)]
pub(crate) struct Owed {
    keys: Mutex<HashMap<String, Vec<u8>>>,
    /// Whether there are any.
    any: AtomicBool,
    is_being_paid: AtomicBool,
}

impl Owed {
    /// Notes a key. Returns whether there are too many of them now, and all are forgotten.
    pub(crate) fn add(&self, name: &str, encoded: &[u8]) -> bool {
        let mut keys = self.keys.lock();
        let bytes: usize = encoded.len() + keys.values().map(Vec::len).sum::<usize>();
        if (keys.len() >= MOST || bytes > MOST_BYTES) && !keys.contains_key(name) {
            keys.clear();
            self.any.store(false, Release);
            return true;
        }
        keys.insert(name.to_owned(), encoded.to_vec());
        self.any.store(true, Release);
        false
    }

    pub(crate) fn any(&self) -> bool {
        self.any.load(Acquire)
    }

    pub(crate) fn contains(&self, name: &str) -> bool {
        self.any.load(Acquire) && self.keys.lock().contains_key(name)
    }

    pub(crate) fn remove(&self, name: &str) {
        if self.any.load(Acquire) {
            let mut keys = self.keys.lock();
            keys.remove(name);
            self.any.store(!keys.is_empty(), Release);
        }
    }

    pub(crate) fn clear(&self) {
        let mut keys = self.keys.lock();
        keys.clear();
        self.any.store(false, Release);
    }

    /// Whether it falls to the caller to make up for them now; who is told so must say when it is done.
    pub(crate) fn begin_to_pay(&self) -> bool {
        self.any.load(Acquire) && !self.is_being_paid.swap(true, AcqRel)
    }

    pub(crate) fn end_to_pay(&self) {
        self.is_being_paid.store(false, Release);
    }

    /// Any one of them.
    pub(crate) fn one(&self) -> Option<(String, Vec<u8>)> {
        self.keys.lock().iter().next().map(|(name, encoded)| (name.clone(), encoded.clone()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_owed_until_removed_and_not_without_bound() {
        let owed = Owed::default();
        assert!(!owed.contains("a") && !owed.begin_to_pay());
        assert!(!owed.add("a", b"a"));
        assert!(owed.contains("a") && !owed.contains("b"));
        assert!(owed.begin_to_pay() && !owed.begin_to_pay());
        owed.remove("a");
        owed.end_to_pay();
        assert!(!owed.contains("a") && !owed.begin_to_pay());
        for n in 0..MOST {
            assert!(!owed.add(&n.to_string(), b""));
        }
        assert!(!owed.add("7", b""), "it is there already");
        assert!(owed.add("more", b""));
        assert_eq!(owed.one(), None);
        assert!(!owed.add("a", &vec![0; MOST_BYTES / 2]));
        assert!(owed.add("b", &vec![0; MOST_BYTES / 2 + 1]));
    }
}
