//! Whether a server is asked at all.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// So many operations in a row that were not answered in time, or not with sense, mark a server down.
/// Connections that cannot be had do so at once.
const STRIKES: u32 = 2;

/// What is known of a server's state. While it is down, others are asked for its keys; one operation in a
/// while tries it again.
///
/// An operation that was begun before the server was last marked down or up says how it was then: what becomes
/// of it changes nothing. Nor does one that fails while others are answered.
#[derive(Debug, Default)]
pub(super) struct Health {
    /// Failures since the last success. Changed under the lock.
    strikes: AtomicU32,
    /// How often it was marked down or up. Changed under the lock.
    turns: AtomicU32,
    /// How many operations it has answered.
    answers: AtomicU32,
    /// When to try again; absent unless the server is down.
    retry: Mutex<Option<Instant>>,
}

/// That an operation was begun, after so many turns and answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Begun {
    turns: u32,
    answers: u32,
}

/// Whether a server that did not answer is down.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Down {
    Not,
    /// It was not before.
    Now,
    Still,
}

impl Health {
    /// Whether to ask the server now. If it is down and it is time to try again, this says so once, and after
    /// `pause` once more.
    pub(super) fn is_good(&self, now: impl FnOnce() -> Instant, pause: Duration) -> bool {
        if !self.is_down() {
            return true;
        }
        let now = now();
        let mut retry = self.retry.lock();
        match *retry {
            Some(moment) if now < moment => false,
            _ => {
                *retry = Some(later(now, pause));
                true
            }
        }
    }

    fn is_down(&self) -> bool {
        self.strikes.load(Relaxed) >= STRIKES
    }

    /// To be known before the server is asked.
    pub(super) fn begin(&self) -> Begun {
        Begun { turns: self.turns.load(Relaxed), answers: self.answers.load(Relaxed) }
    }

    /// It has answered. Returns whether it was down.
    pub(super) fn succeeded(&self, begun: Begun) -> bool {
        self.answers.fetch_add(1, Relaxed);
        if self.strikes.load(Relaxed) == 0 {
            return false;
        }
        let mut retry = self.retry.lock();
        if self.begin().turns != begun.turns {
            return false;
        }
        let was_down = self.is_down();
        self.strikes.store(0, Relaxed);
        *retry = None;
        if was_down {
            self.turns.fetch_add(1, Relaxed);
        }
        was_down
    }

    /// It did not answer. Returns whether it is down now, and whether it was before.
    pub(super) fn failed(&self, begun: Begun, now: Instant, pause: Duration) -> Down {
        self.strike(1, begun, now, pause)
    }

    /// No connection could be had.
    pub(super) fn down(&self, begun: Begun, now: Instant, pause: Duration) -> Down {
        self.strike(STRIKES, begun, now, pause)
    }

    fn strike(&self, count: u32, begun: Begun, now: Instant, pause: Duration) -> Down {
        let mut retry = self.retry.lock();
        let was_down = self.is_down();
        if self.begin() == begun {
            let strikes = self.strikes.load(Relaxed).saturating_add(count).min(STRIKES);
            self.strikes.store(strikes, Relaxed);
            if strikes >= STRIKES {
                *retry = Some(later(now, pause));
            }
        }
        match (was_down, self.is_down()) {
            (_, false) => Down::Not,
            (true, true) => Down::Still,
            (false, true) => {
                self.turns.fetch_add(1, Relaxed);
                Down::Now
            }
        }
    }
}

/// Where the pause is longer than the clock can tell, a year is as good.
fn later(now: Instant, pause: Duration) -> Instant {
    now.checked_add(pause).unwrap_or(now + Duration::from_secs(365 * 24 * 60 * 60))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAUSE: Duration = Duration::from_secs(1);

    #[test]
    fn a_server_is_down_after_two_failures_and_tried_once_in_a_while() {
        let health = Health::default();
        let now = Instant::now();
        assert!(health.is_good(|| now, PAUSE));
        assert_eq!(health.failed(health.begin(), now, PAUSE), Down::Not, "one may happen");
        assert!(health.is_good(|| now, PAUSE));
        assert_eq!(health.failed(health.begin(), now, PAUSE), Down::Now);
        assert_eq!(health.failed(health.begin(), now, PAUSE), Down::Still);
        assert!(!health.is_good(|| now, PAUSE));
        assert!(health.is_good(|| now + PAUSE, PAUSE), "one tries");
        assert!(!health.is_good(|| now + PAUSE, PAUSE), "and nobody else does");
        assert!(health.is_good(|| now + 2 * PAUSE, PAUSE));
        assert!(health.succeeded(health.begin()), "it was down");
        assert!(!health.succeeded(health.begin()));
        assert!(health.is_good(|| now, PAUSE));
        assert_eq!(health.failed(health.begin(), now, PAUSE), Down::Not, "it begins to count anew");
        assert!(health.is_good(|| now, PAUSE));
        assert_eq!(health.down(health.begin(), now, Duration::MAX), Down::Now);
        assert_eq!(health.down(health.begin(), now, Duration::MAX), Down::Still);
        assert!(!health.is_good(|| now + PAUSE, PAUSE), "without a connection it is down at once");
    }

    #[test]
    fn what_fails_while_others_are_answered_changes_nothing() {
        let health = Health::default();
        let now = Instant::now();
        let meanwhile = health.begin();
        assert!(!health.succeeded(health.begin()));
        for _ in 0..STRIKES {
            assert_eq!(health.failed(meanwhile, now, PAUSE), Down::Not);
            assert_eq!(health.down(meanwhile, now, PAUSE), Down::Not);
        }
        assert_eq!(health.down(health.begin(), now, PAUSE), Down::Now);
    }

    #[test]
    fn what_was_begun_before_it_was_marked_changes_nothing() {
        let health = Health::default();
        let now = Instant::now();
        let before = health.begin();
        assert_eq!(health.down(before, now, PAUSE), Down::Now);
        assert!(!health.succeeded(before), "it was answered before");
        assert!(!health.is_good(|| now, PAUSE));
        // Nor is it left alone for longer.
        assert_eq!(health.failed(before, now + PAUSE, PAUSE), Down::Still);
        assert!(health.is_good(|| now + PAUSE, PAUSE));
        let meanwhile = health.begin();
        assert!(health.succeeded(meanwhile));
        for late in [before, meanwhile] {
            assert_eq!(health.down(late, now, PAUSE), Down::Not);
            assert_eq!(health.failed(late, now, PAUSE), Down::Not);
            assert_eq!(health.failed(late, now, PAUSE), Down::Not);
        }
        assert_eq!(health.failed(health.begin(), now, PAUSE), Down::Not, "the first that counts");
        assert!(!health.succeeded(before));
        assert_eq!(health.failed(health.begin(), now, PAUSE), Down::Now);
    }
}
