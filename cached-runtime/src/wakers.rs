//! Wakers in the order of their keys, which mostly come in that order.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::task::Waker;

/// Few enough, or so much in order, that nothing but a sorted list is worth its code.
pub(crate) struct Wakers<K>(VecDeque<(K, Waker)>);

impl<K> Default for Wakers<K> {
    fn default() -> Self {
        Self(VecDeque::new())
    }
}

impl<K: Copy + Ord> Wakers<K> {
    /// Puts in a waker; returns the one that had this key.
    pub(crate) fn insert(&mut self, key: K, waker: Waker) -> Option<Waker> {
        match self.find(key) {
            Ok(at) => Some(std::mem::replace(&mut self.0[at].1, waker)),
            Err(at) => {
                self.0.insert(at, (key, waker));
                None
            }
        }
    }

    pub(crate) fn remove(&mut self, key: K) -> Option<Waker> {
        let (_, waker) = self.0.remove(self.find(key).ok()?)?;
        Some(waker)
    }

    pub(crate) fn first(&self) -> Option<K> {
        self.0.front().map(|(key, _)| *key)
    }

    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn wake_all(self) {
        self.0.into_iter().for_each(|(_, waker)| wake(waker));
    }

    fn find(&self, key: K) -> Result<usize, usize> {
        self.0.binary_search_by(|(it, _)| it.cmp(&key))
    }
}

/// Wakes a task. That its waker panics must harm nobody else who waits.
pub(crate) fn wake(waker: Waker) {
    let woken = catch_unwind(AssertUnwindSafe(|| waker.wake()));
    // What it panics with is as foreign, and may panic when it is dropped.
    let _ = woken.map_err(std::mem::forget);
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
    use std::task::Wake;

    use super::*;

    struct Woken(AtomicU32);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Relaxed);
        }
    }

    #[test]
    fn a_waker_that_panics_keeps_no_other_from_being_woken() {
        struct Fails;
        impl Wake for Fails {
            fn wake(self: Arc<Self>) {
                std::panic::panic_any(Touchy);
            }
        }
        struct Touchy;
        impl Drop for Touchy {
            fn drop(&mut self) {
                panic!("dropped");
            }
        }
        let woken = Arc::new(Woken(AtomicU32::new(0)));
        let mut wakers = Wakers::default();
        let _ = wakers.insert(1, Waker::from(Arc::new(Fails)));
        let _ = wakers.insert(2, Waker::from(Arc::clone(&woken)));
        wakers.wake_all();
        assert_eq!(woken.0.load(Relaxed), 1);
    }

    #[test]
    fn each_waker_is_there_under_its_key_until_it_goes() {
        let woken = [(); 4].map(|()| Arc::new(Woken(AtomicU32::new(0))));
        let waker = |number: usize| Waker::from(Arc::clone(&woken[number]));
        let is_one =
            |found: Option<Waker>, number: usize| found.is_some_and(|it| it.will_wake(&waker(number)));
        let mut wakers = Wakers::default();
        assert!(wakers.is_empty() && wakers.first().is_none());
        for (key, number) in [(5, 0), (7, 1), (2, 2)] {
            assert!(wakers.insert(key, waker(number)).is_none());
        }
        assert_eq!(wakers.first(), Some(2));
        assert!(is_one(wakers.insert(7, waker(3)), 1), "it is replaced");
        assert!(is_one(wakers.remove(2), 2) && wakers.remove(2).is_none());
        assert_eq!(wakers.first(), Some(5));
        wakers.wake_all();
        assert_eq!(woken.each_ref().map(|it| it.0.load(Relaxed)), [1, 0, 0, 1]);
    }
}
