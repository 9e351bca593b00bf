//! Whether a server is asked at all.

use std::sync::atomic::{AtomicU32, Ordering::Relaxed};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// So many operations in a row that were not answered in time, or not with sense, mark a server down.
/// Connections that cannot be had do so at once.
const STRIKES: u32 = 2;

/// What is known of a server's state. While it is down, others are asked for its keys; one operation in a
/// while tries it again.
#[derive(Debug, Default)]
pub(super) struct Health {
    /// Failures since the last success.
    strikes: AtomicU32,
    /// When to try again; absent unless the server is down.
    retry: Mutex<Option<Instant>>,
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
    pub(super) fn is_good(&self, now: Instant, pause: Duration) -> bool {
        if self.strikes.load(Relaxed) < STRIKES {
            return true;
        }
        let mut retry = self.retry.lock();
        match *retry {
            Some(moment) if now < moment => false,
            _ => {
                *retry = Some(later(now, pause));
                true
            }
        }
    }

    /// It has answered. Returns whether it was down.
    pub(super) fn succeeded(&self) -> bool {
        if self.strikes.load(Relaxed) == 0 {
            return false;
        }
        let was_down = self.strikes.swap(0, Relaxed) >= STRIKES;
        *self.retry.lock() = None;
        was_down
    }

    /// It did not answer. Returns whether it is down now, and whether it was before.
    pub(super) fn failed(&self, now: Instant, pause: Duration) -> Down {
        let strikes = self.strikes.fetch_add(1, Relaxed) + 1;
        if strikes < STRIKES {
            return Down::Not;
        }
        self.strikes.store(STRIKES, Relaxed);
        *self.retry.lock() = Some(later(now, pause));
        if strikes == STRIKES { Down::Now } else { Down::Still }
    }

    /// No connection could be had.
    pub(super) fn down(&self, now: Instant, pause: Duration) -> Down {
        let strikes = self.strikes.swap(STRIKES, Relaxed);
        *self.retry.lock() = Some(later(now, pause));
        if strikes < STRIKES { Down::Now } else { Down::Still }
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
        assert!(health.is_good(now, PAUSE));
        assert_eq!(health.failed(now, PAUSE), Down::Not, "one may happen");
        assert!(health.is_good(now, PAUSE));
        assert_eq!(health.failed(now, PAUSE), Down::Now);
        assert_eq!(health.failed(now, PAUSE), Down::Still);
        assert!(!health.is_good(now, PAUSE));
        assert!(health.is_good(now + PAUSE, PAUSE), "one tries");
        assert!(!health.is_good(now + PAUSE, PAUSE), "and nobody else does");
        assert!(health.is_good(now + 2 * PAUSE, PAUSE));
        assert!(health.succeeded(), "it was down");
        assert!(!health.succeeded());
        assert!(health.is_good(now, PAUSE));
        assert_eq!(health.failed(now, PAUSE), Down::Not, "it begins to count anew");
        assert!(health.is_good(now, PAUSE));
        assert_eq!(health.down(now, Duration::MAX), Down::Now);
        assert_eq!(health.down(now, Duration::MAX), Down::Still);
        assert!(!health.is_good(now + PAUSE, PAUSE), "without a connection it is down at once");
    }
}
