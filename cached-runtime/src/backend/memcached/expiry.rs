//! How memcached is told until when to keep something.

use std::time::Duration;

/// What is longer than 30 days is taken for a date, in seconds since 1970.
const LONGEST_RELATIVE: u64 = 30 * 24 * 60 * 60;
/// The last date that every server takes; it has 32 bits with a sign.
const LAST_DATE: u64 = i32::MAX as u64;
/// 2020. A clock that says less was never set.
const PLAUSIBLE: u64 = 1_577_836_800;

/// What to send for a time to live, now being so many seconds since 1970: whole seconds, rounded up, as
/// zero is "for ever", or a date. What cannot be said is made as long as can be.
pub(super) fn expiry(ttl: Option<Duration>, now: u64) -> u32 {
    let Some(ttl) = ttl else { return 0 };
    // One more, since the server counts seconds that have begun already.
    let seconds = ttl.as_secs().saturating_add(u64::from(ttl.subsec_nanos() > 0)).saturating_add(1);
    let date = now.saturating_add(seconds).min(LAST_DATE);
    // Where the date cannot be trusted, or comes too soon because there is none later.
    let is_date = seconds > LONGEST_RELATIVE && now >= PLAUSIBLE && date > now + LONGEST_RELATIVE;
    let sent = if is_date { date } else { seconds.min(LONGEST_RELATIVE) };
    u32::try_from(sent).unwrap_or(i32::MAX as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_become_seconds_or_dates() {
        const NOW: u64 = 1_795_541_306;
        const DAYS_30: u64 = 2_592_000;
        for (ttl, now, expected) in [
            (None, NOW, 0),
            (Some(Duration::from_nanos(1)), NOW, 2),
            (Some(Duration::from_millis(400)), NOW, 2),
            (Some(Duration::from_secs(1)), NOW, 2),
            (Some(Duration::from_millis(1001)), NOW, 3),
            (Some(Duration::from_secs(DAYS_30 - 1)), NOW, DAYS_30),
            (Some(Duration::from_secs(DAYS_30)), NOW, NOW + DAYS_30 + 1),
            (Some(Duration::from_secs(u64::from(u32::MAX))), NOW, LAST_DATE),
            (Some(Duration::from_secs(u64::from(u32::MAX) + 2)), NOW, LAST_DATE),
            (Some(Duration::MAX), NOW, LAST_DATE),
            // A clock that was never set, and one after the last date.
            (Some(Duration::MAX), 0, DAYS_30),
            (Some(Duration::MAX), LAST_DATE - 5, DAYS_30),
            (Some(Duration::MAX), u64::MAX - DAYS_30, DAYS_30),
        ] {
            assert_eq!(u64::from(expiry(ttl, now)), expected, "{ttl:?} at {now}");
        }
    }
}
