//! The circuit breaker: after failures in a row an engine is not asked for a while, then by one call.
//!
//! A pure state machine: the time is given to it, and what came of the operations.

use std::time::Duration;

use crate::clock::{Moment, nanoseconds};

/// So many failures in a row open it.
pub(crate) const MOST_FAILURES: u32 = 5;
/// For so long at first, twice as long each time the one call fails, up to the longest.
pub(crate) const FIRST_WAIT: Duration = Duration::from_secs(1);
const LONGEST_WAIT: Duration = Duration::from_secs(30);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Breaker {
    /// Operations are done; the last ones failed.
    Closed { failures: u32 },
    /// None is done until then; after a failure of the first one, none for so much longer.
    Open { until: Moment, wait: u64 },
    /// One is being done. If nothing is heard of it until then, the next one is.
    HalfOpen { until: Moment, wait: u64 },
}

/// What is worth telling of a step of a breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Opened,
    Probing,
    Closed,
}

impl Breaker {
    pub(crate) const CLOSED: Self = Self::Closed { failures: 0 };

    /// Whether an operation may be done now; what became of it must be told.
    pub(crate) fn admit(&mut self, now: Moment) -> bool {
        match *self {
            Self::Closed { .. } => true,
            Self::Open { until, wait } | Self::HalfOpen { until, wait } if until <= now => {
                *self = Self::HalfOpen { until: now.saturating_add(wait), wait };
                true
            }
            Self::Open { .. } | Self::HalfOpen { .. } => false,
        }
    }

    /// The engine answered.
    pub(crate) fn succeeded(&mut self) {
        *self = Self::CLOSED;
    }

    /// It did not, or with nonsense.
    pub(crate) fn failed(&mut self, now: Moment) {
        *self = match *self {
            Self::Closed { failures } if failures + 1 < MOST_FAILURES => {
                Self::Closed { failures: failures + 1 }
            }
            Self::Closed { .. } => Self::open(now, nanoseconds(FIRST_WAIT)),
            // Begun before it opened.
            Self::Open { .. } => return,
            Self::HalfOpen { wait, .. } => Self::open(now, (wait * 2).min(nanoseconds(LONGEST_WAIT))),
        };
    }

    /// What has changed since it was `before`. A probe that failed is no change: it has only become open again.
    pub(crate) fn since(self, before: Self) -> Option<Change> {
        match (before, self) {
            (Self::Closed { .. }, Self::Open { .. }) => Some(Change::Opened),
            (Self::Open { .. } | Self::HalfOpen { .. }, Self::HalfOpen { .. }) if before != self => {
                Some(Change::Probing)
            }
            (Self::Open { .. } | Self::HalfOpen { .. }, Self::Closed { .. }) => Some(Change::Closed),
            _ => None,
        }
    }

    fn open(now: Moment, wait: u64) -> Self {
        Self::Open { until: now.saturating_add(wait), wait }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;
    const CLOSED: Breaker = Breaker::CLOSED;
    const FAILING: Breaker = Breaker::Closed { failures: 4 };
    const OPEN: Breaker = Breaker::Open { until: 100, wait: SECOND };
    const HALF: Breaker = Breaker::HalfOpen { until: 100, wait: SECOND };

    #[test]
    fn one_operation_is_admitted_when_the_time_is_over() {
        for (before, now, expected, after) in [
            (CLOSED, 7, true, CLOSED),
            (FAILING, 7, true, FAILING),
            (OPEN, 99, false, OPEN),
            (OPEN, 100, true, Breaker::HalfOpen { until: 100 + SECOND, wait: SECOND }),
            (HALF, 99, false, HALF),
            (HALF, 100, true, Breaker::HalfOpen { until: 100 + SECOND, wait: SECOND }),
        ] {
            let mut breaker = before;
            assert_eq!(breaker.admit(now), expected, "{before:?} at {now}");
            assert_eq!(breaker, after, "{before:?} at {now}");
        }
    }

    #[test]
    fn failures_open_it_and_each_probe_that_fails_doubles_the_wait() {
        for (before, after) in [
            (CLOSED, Breaker::Closed { failures: 1 }),
            (FAILING, Breaker::Open { until: 7 + SECOND, wait: SECOND }),
            (OPEN, OPEN),
            (HALF, Breaker::Open { until: 7 + 2 * SECOND, wait: 2 * SECOND }),
            (
                Breaker::HalfOpen { until: 0, wait: 16 * SECOND },
                Breaker::Open { until: 7 + 30 * SECOND, wait: 30 * SECOND },
            ),
            (
                Breaker::HalfOpen { until: 0, wait: 30 * SECOND },
                Breaker::Open { until: 7 + 30 * SECOND, wait: 30 * SECOND },
            ),
        ] {
            let mut breaker = before;
            breaker.failed(7);
            assert_eq!(breaker, after, "{before:?}");
        }
    }

    #[test]
    fn a_success_closes_it_whatever_it_was() {
        for mut breaker in [CLOSED, FAILING, OPEN, HALF] {
            breaker.succeeded();
            assert_eq!(breaker, CLOSED);
        }
    }

    #[test]
    fn what_changes_is_told_once() {
        const LATER: Breaker = Breaker::HalfOpen { until: 200, wait: SECOND };
        for (before, after, change) in [
            (CLOSED, CLOSED, None),
            (CLOSED, FAILING, None),
            (FAILING, CLOSED, None),
            (FAILING, OPEN, Some(Change::Opened)),
            (OPEN, OPEN, None),
            (OPEN, HALF, Some(Change::Probing)),
            (HALF, HALF, None),
            (HALF, LATER, Some(Change::Probing)),
            (HALF, OPEN, None),
            (HALF, CLOSED, Some(Change::Closed)),
            (OPEN, CLOSED, Some(Change::Closed)),
        ] {
            assert_eq!(after.since(before), change, "{before:?} to {after:?}");
        }
    }
}
