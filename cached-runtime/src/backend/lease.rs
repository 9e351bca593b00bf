//! Leases: the same deduplication between processes as flights are within one. The claim is a record in the
//! entry's own key, for a time; what is decided about it is here.

use std::time::{Duration, Instant};

/// Between two looks at somebody else's claim, at first and at last.
const FIRST_PAUSE: Duration = Duration::from_millis(4);
const LONGEST_PAUSE: Duration = Duration::from_millis(64);

/// One call's patience with the claims of others: for all of them together no longer than a lease.
pub(crate) struct Patience {
    lease: Duration,
    ends: Option<Instant>,
    pause: Duration,
    /// The claim that was waited for last.
    last: Option<u128>,
    /// How often a claim could not be made, though nothing was seen in its way.
    refusals: u32,
}

/// What to do about a claim.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Next {
    /// Look again after this time.
    Pause(Duration),
    /// Compute, without a claim.
    Compute,
    /// Claim it.
    Claim,
}

impl Patience {
    pub(crate) fn new(lease: Duration) -> Self {
        Self { lease, ends: None, pause: FIRST_PAUSE, last: None, refusals: 0 }
    }

    /// Somebody else's claim was seen.
    pub(crate) fn claimed(&mut self, number: u128, now: Instant) -> Next {
        let lease = self.lease;
        let ends = *self.ends.get_or_insert_with(|| now + lease);
        self.last = Some(number);
        let left = ends.saturating_duration_since(now);
        if left.is_zero() {
            return Next::Compute;
        }
        let pause = self.pause.min(left);
        self.pause = (self.pause * 2).min(LONGEST_PAUSE);
        Next::Pause(pause)
    }

    /// Nothing could be seen. Who waits for a claim goes on waiting for this time; who does not is no worse off
    /// alone.
    pub(crate) fn blind(&mut self, now: Instant) -> Option<Duration> {
        match self.last.map(|number| self.claimed(number, now)) {
            Some(Next::Pause(pause)) => Some(pause),
            _ => None,
        }
    }

    /// A claim was given up, since nothing is to be stored: those who waited for it go on, all at once.
    pub(crate) fn released(&self, number: u128) -> Next {
        if self.last == Some(number) { Next::Compute } else { Next::Claim }
    }

    /// Nothing is in the way.
    pub(crate) fn free(&self, now: Instant) -> Next {
        let is_over = self.ends.is_some_and(|ends| ends <= now);
        if is_over || self.refusals > 2 { Next::Compute } else { Next::Claim }
    }

    /// Something was in the way when it was claimed, or what was claimed was not there.
    pub(crate) fn refused(&mut self) {
        self.refusals += 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MILLISECOND: Duration = Duration::from_millis(1);

    #[test]
    fn all_claims_together_are_waited_for_no_longer_than_a_lease() {
        let mut patience = Patience::new(20 * MILLISECOND);
        let begin = Instant::now();
        for (after, number, expected) in [
            (0, 1, Next::Pause(4 * MILLISECOND)),
            (4, 1, Next::Pause(8 * MILLISECOND)),
            (12, 2, Next::Pause(8 * MILLISECOND)),
            (20, 3, Next::Compute),
            (21, 3, Next::Compute),
        ] {
            assert_eq!(patience.claimed(number, begin + after * MILLISECOND), expected, "{after} ms");
        }
        assert_eq!(patience.free(begin + 19 * MILLISECOND), Next::Claim);
        assert_eq!(patience.free(begin + 20 * MILLISECOND), Next::Compute);
    }

    #[test]
    fn who_waits_goes_on_waiting_though_nothing_can_be_seen() {
        let (mut patience, begin) = (Patience::new(20 * MILLISECOND), Instant::now());
        assert_eq!(patience.blind(begin), None, "it was not waiting");
        patience.claimed(1, begin);
        assert_eq!(patience.blind(begin + 4 * MILLISECOND), Some(8 * MILLISECOND));
        assert_eq!(patience.released(1), Next::Compute, "it is still the claim that it waits for");
        assert_eq!(patience.blind(begin + 20 * MILLISECOND), None);
    }

    #[test]
    fn those_who_waited_for_a_claim_that_was_given_up_go_on_on_their_own() {
        let mut patience = Patience::new(20 * MILLISECOND);
        assert_eq!(patience.released(1), Next::Claim, "who comes later begins anew");
        patience.claimed(1, Instant::now());
        assert_eq!(patience.released(1), Next::Compute);
        assert_eq!(patience.released(2), Next::Claim);
    }

    #[test]
    fn an_engine_on_which_no_claim_stays_is_not_asked_for_ever() {
        let mut patience = Patience::new(20 * MILLISECOND);
        for _ in 0..3 {
            assert_eq!(patience.free(Instant::now()), Next::Claim);
            patience.refused();
        }
        assert_eq!(patience.free(Instant::now()), Next::Compute);
    }
}
