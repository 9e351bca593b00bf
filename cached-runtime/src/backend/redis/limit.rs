//! What a server was seen to refuse as too large.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

use super::wire::MOST_BYTES;

/// Whoever runs the server may raise its limit.
const REMEMBERED: Duration = Duration::from_secs(60);

/// A server closes the connection over what is too large, in the midst of it. So it is not sent again for a
/// while.
#[derive(Debug, Default)]
pub(super) struct Limit(Mutex<Option<(usize, Instant)>>);

impl Limit {
    pub(super) fn allows(&self, bytes: usize, now: Instant) -> bool {
        bytes <= MOST_BYTES
            && self.0.lock().is_none_or(|(refused, at)| bytes < refused || now >= at + REMEMBERED)
    }

    /// So many bytes were refused.
    pub(super) fn refused(&self, bytes: usize, now: Instant) {
        if self.allows(bytes, now) {
            *self.0.lock() = Some((bytes, now));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_refused_is_for_a_while_and_what_is_smaller_is_not() {
        let (limit, now) = (Limit::default(), Instant::now());
        assert!(limit.allows(MOST_BYTES, now) && !limit.allows(MOST_BYTES + 1, now));
        limit.refused(2000, now);
        assert!(limit.allows(1999, now) && !limit.allows(2000, now) && !limit.allows(2001, now));
        limit.refused(3000, now + REMEMBERED / 2);
        assert!(limit.allows(3000, now + REMEMBERED), "what is known already is not known for longer");
        limit.refused(1000, now);
        assert!(!limit.allows(1000, now));
    }
}
