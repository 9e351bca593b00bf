//! The circuit breaker: after failures in a row an engine is not asked for a while, then by one call.
//!
//! A pure state machine: the time is given to it, and what came of the operations. Lookups and writes are
//! counted apart, since an engine that still answers the one may have stopped doing the other.

use crate::clock::Moment;

/// So many failures in a row open it.
pub(crate) const MOST_FAILURES: u32 = 5;
/// For so many nanoseconds at first, twice as long each time the one call fails, up to the longest.
const FIRST_WAIT: u64 = 1_000_000_000;
const LONGEST_WAIT: u64 = 30 * FIRST_WAIT;

/// What an operation does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Lookup,
    Write,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Breaker {
    pub(crate) state: State,
    /// The last failures in a row, of lookups and of writes.
    failures: [u32; 2],
    /// For how long it is open next time, in nanoseconds.
    pub(crate) wait: u64,
    /// How often it has opened.
    openings: u32,
    /// How many lookups and writes have succeeded.
    successes: [u32; 2],
}

/// That an operation was begun, after so many openings and successes. Of one from before the last opening, nothing
/// is taken: it says how the engine was, and nothing new. Nor does one that fails say anything if others of its kind
/// have succeeded meanwhile: then it is this process that did not get to ask, or to hear the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Admission {
    openings: u32,
    successes: [u32; 2],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Operations are done.
    Closed,
    /// None is done until then.
    Open { until: Moment },
    /// One is being done. If nothing is heard of it until then, the next one is.
    HalfOpen { until: Moment },
}

/// What is worth telling of a step of a breaker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Opened,
    Probing,
    Closed,
}

impl Breaker {
    pub(crate) const fn new() -> Self {
        Self { state: State::Closed, failures: [0; 2], wait: FIRST_WAIT, openings: 0, successes: [0; 2] }
    }

    /// Whether an operation would not be done now.
    pub(crate) fn refuses(&self, now: Moment) -> bool {
        match self.state {
            State::Closed => false,
            State::Open { until } | State::HalfOpen { until } => now < until,
        }
    }

    /// Leave to do an operation now, if that may be; what became of it must be told.
    pub(crate) fn admit(&mut self, now: Moment) -> Option<Admission> {
        if self.refuses(now) {
            return None;
        }
        if self.state != State::Closed {
            self.state = State::HalfOpen { until: now.saturating_add(self.wait) };
        }
        Some(Admission { openings: self.openings, successes: self.successes })
    }

    /// Whether it was begun since the last opening. While it is not closed, only probes were.
    fn is_recent(&self, admission: Admission) -> bool {
        admission.openings == self.openings
    }

    /// Whether others of this kind have succeeded since the operation was begun.
    pub(crate) fn has_succeeded_since(&self, admission: Admission, kind: Kind) -> bool {
        admission.successes[kind as usize] != self.successes[kind as usize]
    }

    /// Whether it would be something new if the operation failed.
    pub(crate) fn minds(&self, admission: Admission) -> bool {
        self.is_recent(admission) && !matches!(self.state, State::Open { .. })
    }

    /// Whether the operation is to find out if the engine is there again.
    pub(crate) fn is_probed_by(&self, admission: Admission) -> bool {
        self.is_recent(admission) && self.state != State::Closed
    }

    /// The engine answered.
    pub(crate) fn succeeded(&mut self, admission: Admission, kind: Kind) {
        if !self.is_recent(admission) {
            return;
        }
        self.failures[kind as usize] = 0;
        self.successes[kind as usize] = self.successes[kind as usize].wrapping_add(1);
        if self.failures == [0; 2] {
            self.wait = FIRST_WAIT;
        }
        self.state = State::Closed;
    }

    /// It did not, or with nonsense.
    pub(crate) fn failed(&mut self, admission: Admission, kind: Kind, now: Moment) {
        if !self.minds(admission) || self.has_succeeded_since(admission, kind) {
            return;
        }
        let failures = &mut self.failures[kind as usize];
        *failures = failures.saturating_add(1);
        if *failures >= MOST_FAILURES || self.state != State::Closed {
            if self.state == State::Closed {
                self.openings = self.openings.wrapping_add(1);
            }
            self.state = State::Open { until: now.saturating_add(self.wait) };
            self.wait = (self.wait * 2).min(LONGEST_WAIT);
        }
    }

    /// Nobody waited for what would become of it: if it was to try whether the engine is there again, the next
    /// one does.
    pub(crate) fn abandoned(&mut self, admission: Admission, now: Moment) {
        if let State::HalfOpen { .. } = self.state
            && self.is_recent(admission)
        {
            self.state = State::Open { until: now };
        }
    }

    /// What has changed since it was `before`. A probe that failed is no change: it has only become open again.
    pub(crate) fn since(self, before: Self) -> Option<Change> {
        match (before.state, self.state) {
            (State::Closed, State::Open { .. }) => Some(Change::Opened),
            (State::Open { .. } | State::HalfOpen { .. }, State::HalfOpen { .. })
                if before.state != self.state =>
            {
                Some(Change::Probing)
            }
            (State::Open { .. } | State::HalfOpen { .. }, State::Closed) => Some(Change::Closed),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Kind::{Lookup, Write};
    use super::*;

    const SECOND: u64 = 1_000_000_000;
    const OPEN: State = State::Open { until: 100 };
    const HALF: State = State::HalfOpen { until: 100 };
    const BEFORE: Admission = Admission { openings: 0, successes: [0; 2] };
    const SINCE: Admission = Admission { openings: 1, successes: [0; 2] };

    /// One that has opened once.
    fn breaker(state: State, failures: [u32; 2], wait: u64) -> Breaker {
        Breaker { state, failures, wait: wait * SECOND, openings: 1, successes: [0; 2] }
    }

    #[test]
    fn one_operation_is_admitted_when_the_time_is_over() {
        let probing = State::HalfOpen { until: 100 + 2 * SECOND };
        for (before, now, expected, after) in [
            (State::Closed, 7, true, State::Closed),
            (OPEN, 99, false, OPEN),
            (OPEN, 100, true, probing),
            (HALF, 99, false, HALF),
            (HALF, 100, true, probing),
        ] {
            let mut breaker = breaker(before, [5, 0], 2);
            assert_eq!(breaker.refuses(now), !expected, "{before:?} at {now}");
            assert_eq!(breaker.admit(now), expected.then_some(SINCE), "{before:?} at {now}");
            assert_eq!(breaker.state, after, "{before:?} at {now}");
        }
    }

    #[test]
    fn failures_of_a_kind_open_it_and_each_probe_that_fails_doubles_the_wait() {
        let open = |seconds| State::Open { until: 7 + seconds * SECOND };
        let again = |breaker| Breaker { openings: 2, ..breaker };
        for (before, kind, after) in [
            (breaker(State::Closed, [0, 0], 1), Lookup, breaker(State::Closed, [1, 0], 1)),
            (breaker(State::Closed, [4, 0], 1), Write, breaker(State::Closed, [4, 1], 1)),
            (breaker(State::Closed, [4, 0], 1), Lookup, again(breaker(open(1), [5, 0], 2))),
            (breaker(State::Closed, [0, 4], 1), Write, again(breaker(open(1), [0, 5], 2))),
            (breaker(OPEN, [5, 0], 2), Lookup, breaker(OPEN, [5, 0], 2)),
            (breaker(HALF, [5, 0], 2), Lookup, breaker(open(2), [6, 0], 4)),
            (breaker(HALF, [5, 0], 16), Lookup, breaker(open(16), [6, 0], 30)),
            (breaker(HALF, [5, 0], 30), Lookup, breaker(open(30), [6, 0], 30)),
        ] {
            let mut breaker = before;
            breaker.failed(SINCE, kind, 7);
            assert_eq!(breaker, after, "{before:?}");
        }
    }

    #[test]
    fn a_probe_that_succeeds_closes_it() {
        // Also where it was so late that another one was sent, which has failed.
        for state in [State::Closed, OPEN, HALF] {
            let mut breaker = breaker(state, [5, 0], 16);
            breaker.succeeded(SINCE, Lookup);
            assert_eq!(breaker, Breaker { successes: [1, 0], ..self::breaker(State::Closed, [0, 0], 1) });
        }
    }

    #[test]
    fn what_was_begun_before_it_opened_changes_nothing() {
        for state in [State::Closed, OPEN, HALF] {
            let before = breaker(state, [4, 4], 16);
            for kind in [Lookup, Write] {
                let mut breaker = before;
                breaker.succeeded(BEFORE, kind);
                breaker.failed(BEFORE, kind, 7);
                breaker.abandoned(BEFORE, 7);
                assert_eq!(breaker, before);
                assert!(!breaker.minds(BEFORE) && !breaker.is_probed_by(BEFORE));
            }
        }
    }

    #[test]
    fn it_stays_open_though_answers_come_in_late() {
        let mut breaker = Breaker::new();
        let late = breaker.admit(7).expect("it is closed");
        for _ in 0..MOST_FAILURES {
            let admission = breaker.admit(7).expect("it is closed");
            breaker.failed(admission, Lookup, 7);
        }
        breaker.succeeded(late, Lookup);
        assert!(breaker.refuses(7 + SECOND - 1));
        let probe = breaker.admit(7 + SECOND).expect("the second is over");
        assert!(breaker.is_probed_by(probe));
        breaker.succeeded(late, Lookup);
        breaker.failed(late, Lookup, 7 + SECOND);
        assert_eq!(breaker.state, State::HalfOpen { until: 7 + 3 * SECOND });
        breaker.succeeded(probe, Lookup);
        assert_eq!(breaker.state, State::Closed);
        assert!(breaker.minds(probe) && !breaker.is_probed_by(probe));
    }

    #[test]
    fn what_fails_while_others_of_its_kind_succeed_says_nothing() {
        let mut breaker = Breaker::new();
        for kind in [Lookup, Write] {
            let begun: Vec<_> = (0..20).map(|_| breaker.admit(7).expect("it is closed")).collect();
            breaker.succeeded(begun[0], kind);
            for admission in &begun[1..] {
                breaker.failed(*admission, kind, 7);
            }
            assert_eq!((breaker.state, breaker.failures), (State::Closed, [0; 2]));
        }
        // What was begun after all of them does.
        let begun: Vec<_> = (0..MOST_FAILURES).map(|_| breaker.admit(7).expect("it is closed")).collect();
        for admission in begun {
            breaker.failed(admission, Lookup, 7);
        }
        assert_eq!(breaker.state, State::Open { until: 7 + SECOND });
    }

    #[test]
    fn lookups_that_succeed_do_not_hide_writes_that_fail() {
        let mut breaker = Breaker::new();
        for _ in 0..MOST_FAILURES {
            let admission = breaker.admit(7).expect("it is closed");
            breaker.succeeded(admission, Lookup);
            breaker.failed(admission, Write, 7);
        }
        assert_eq!(breaker.state, State::Open { until: 7 + SECOND });
        // A lookup finds it well; the first write that fails again opens it for longer.
        let probe = breaker.admit(7 + SECOND).expect("the second is over");
        breaker.succeeded(probe, Lookup);
        assert_eq!(breaker.state, State::Closed);
        breaker.failed(probe, Write, 7);
        assert_eq!(breaker.state, State::Open { until: 7 + 2 * SECOND });
        let probe = breaker.admit(7 + 2 * SECOND).expect("the seconds are over");
        breaker.succeeded(probe, Write);
        let successes = [MOST_FAILURES + 1, 1];
        assert_eq!(breaker, Breaker { openings: 2, successes, ..Breaker::new() });
    }

    #[test]
    fn a_probe_that_nobody_waited_for_is_followed_by_the_next() {
        let mut breaker = breaker(HALF, [5, 0], 16);
        breaker.abandoned(SINCE, 7);
        assert!(!breaker.refuses(7) && breaker.admit(7).is_some() && breaker.refuses(8));
        let mut closed = Breaker::new();
        closed.abandoned(BEFORE, 7);
        assert_eq!(closed, Breaker::new());
    }

    #[test]
    fn what_changes_is_told_once() {
        const LATER: State = State::HalfOpen { until: 200 };
        for (before, after, change) in [
            (State::Closed, State::Closed, None),
            (State::Closed, OPEN, Some(Change::Opened)),
            (OPEN, OPEN, None),
            (OPEN, HALF, Some(Change::Probing)),
            (HALF, HALF, None),
            (HALF, LATER, Some(Change::Probing)),
            (HALF, OPEN, None),
            (HALF, State::Closed, Some(Change::Closed)),
            (OPEN, State::Closed, Some(Change::Closed)),
        ] {
            let [before, after] = [before, after].map(|state| breaker(state, [0, 0], 1));
            assert_eq!(after.since(before), change, "{before:?} to {after:?}");
        }
    }
}
