//! What is decided about an entry, as pure functions of its times and the clock.

use std::fmt;
use std::time::Duration;

#[cfg(feature = "backend")]
use crate::clock::Date;
use crate::clock::{Moment, NEVER, nanoseconds};

/// What an annotated function promises about its entries: the options that are known before any
/// value is.
///
/// Read it from [`FunctionInfo::policy`](crate::FunctionInfo::policy).
///
/// ```
/// use std::time::Duration;
/// use cached_runtime::{cached, store};
///
/// #[cached(timeout = "5m", capacity = 100, name = "square")]
/// fn square(n: u64) -> u64 {
///     n * n
/// }
/// square(2);
///
/// let function = store().function("square").expect("it has been called");
/// assert_eq!(function.policy().timeout(), Some(Duration::from_secs(300)));
/// assert_eq!(function.policy().capacity(), 100);
/// assert_eq!(function.policy().to_string(), "timeout 300s, capacity 100");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Policy {
    timeout: Option<Duration>,
    idle_timeout: Option<Duration>,
    negative_timeout: Option<Duration>,
    jitter_percent: u8,
    capacity: usize,
    weighed: bool,
    single_flight: bool,
    stale_while_revalidate: Option<Duration>,
    stale_if_error: Option<Duration>,
    error_backoff: Duration,
    refresh_ahead: Option<RefreshAhead>,
    max_wait: Option<Duration>,
}

/// When a value that is still fresh is computed anew, for who asks for it then.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum RefreshAhead {
    /// From this part of its timeout on, in millionths.
    Part(u32),
    /// The likelier the nearer the end of its timeout, and the earlier the longer the body takes: probabilistic
    /// early expiration (Vattani, Chierichetti, Lowenstein, VLDB 2015).
    XFetch,
}

const MILLION: u32 = 1_000_000;

/// No value is computed anew earlier than so many times its cost before the end of its timeout, since any hit
/// from there on may be the one that does so. A key that is asked for a thousand times within its cost is computed
/// anew at about seven times that; here it is within the next few hundred hits.
const FURTHEST: u64 = 6;

/// The number with which [`Policy::ahead`] is the longest.
pub(crate) const FURTHEST_DRAW: u64 = 0;

/// So often a process asks a backend for a value of which it keeps copies, in the time in which that may be computed
/// ahead by chance: sixteen times in the time that its body takes.
#[cfg(feature = "backend")]
const DRAWS: u64 = 16 * FURTHEST;

/// A value that is in use is written anew after this part of the time after which it would be idle.
#[cfg(feature = "backend")]
pub(crate) const PARTS_OF_IDLE: u64 = 8;

impl Policy {
    /// Entries a function may have where `capacity` does not say otherwise.
    pub const DEFAULT_CAPACITY: usize = 65_536;

    /// For how long a body that failed is not tried again where `error_backoff` does not say otherwise.
    pub const DEFAULT_ERROR_BACKOFF: Duration = Duration::from_secs(1);

    /// How long a value is fresh; `None` where nothing, or an expression, says so.
    #[must_use]
    pub const fn timeout(&self) -> Option<Duration> {
        self.timeout
    }

    /// How long a value lives without a hit.
    #[must_use]
    pub const fn idle_timeout(&self) -> Option<Duration> {
        self.idle_timeout
    }

    /// How long a stored `Err` or `None` is fresh, where that differs from [`timeout`](Self::timeout).
    #[must_use]
    pub const fn negative_timeout(&self) -> Option<Duration> {
        self.negative_timeout
    }

    /// By how many percent a timeout may be shortened at random.
    #[must_use]
    pub const fn jitter_percent(&self) -> u8 {
        self.jitter_percent
    }

    /// The most entries, or with `weigh` the most weight, that the function may have.
    #[must_use]
    pub const fn capacity(&self) -> usize {
        self.capacity
    }

    /// Whether the capacity is a weight, computed by `weigh`, rather than a number of entries.
    #[must_use]
    pub const fn is_weighed(&self) -> bool {
        self.weighed
    }

    /// Whether concurrent calls of one key share one computation.
    #[must_use]
    pub const fn single_flight(&self) -> bool {
        self.single_flight
    }

    /// For how long past its timeout a value is served while it is computed anew.
    #[must_use]
    pub const fn stale_while_revalidate(&self) -> Option<Duration> {
        self.stale_while_revalidate
    }

    /// For how long past its timeout a value is served where the body fails.
    #[must_use]
    pub const fn stale_if_error(&self) -> Option<Duration> {
        self.stale_if_error
    }

    /// For how long a body that failed is not tried again, while there is a value to serve.
    #[must_use]
    pub const fn error_backoff(&self) -> Duration {
        self.error_backoff
    }

    /// When a value that is still fresh is computed anew.
    #[must_use]
    pub const fn refresh_ahead(&self) -> Option<RefreshAhead> {
        self.refresh_ahead
    }

    /// For how long a call waits for a new value that has a stale one.
    #[must_use]
    pub const fn max_wait(&self) -> Option<Duration> {
        self.max_wait
    }

    /// How long before the end of its timeout a value is computed anew, if it is asked for. `cost` is what the
    /// body takes; `random` is any number.
    pub(crate) fn ahead(&self, timeout: Option<Duration>, cost: u64, random: u64) -> u64 {
        match self.refresh_ahead {
            None => 0,
            Some(RefreshAhead::Part(part)) => {
                let rest = u128::from(timeout.map_or(0, nanoseconds)) * u128::from(MILLION - part);
                u64::try_from(rest / u128::from(MILLION)).map_or(LONGEST, |ahead| ahead.min(LONGEST))
            }
            Some(RefreshAhead::XFetch) => early(cost, random),
        }
    }

    /// How long before an entry goes it is no hit without further ado, for all entries whose timeout is no longer
    /// than this, or than those of the policy.
    pub(crate) fn lead(&self, timeout: Option<Duration>, cost: u64) -> u64 {
        let timeout = timeout.max(self.timeout).max(self.negative_timeout);
        self.windows().longest().saturating_add(self.ahead(timeout, cost, 0)).min(LONGEST)
    }

    /// For how long a copy answers in place of the backend, of a value that is fresh for so long: until the value is
    /// to be computed ahead, or the backend is to hear that it is in use.
    #[cfg(feature = "backend")]
    pub(crate) fn copy(&self, left: Option<u64>, ahead: u64) -> u64 {
        let fresh = left.map_or(LONGEST, |left| match left.saturating_sub(ahead) {
            0 => left.min(ahead / DRAWS),
            certain => certain,
        });
        self.idle_timeout.map_or(fresh, |idle| fresh.min(nanoseconds(idle) / PARTS_OF_IDLE))
    }

    /// For how long past its timeout a value may be served.
    pub(crate) fn windows(&self) -> Windows {
        Windows {
            revalidate: self.stale_while_revalidate.map_or(0, window),
            on_error: self.stale_if_error.map_or(0, window),
        }
    }

    /// Whether a value may be served that is not simply fresh.
    pub(crate) const fn serves_ahead(&self) -> bool {
        self.stale_while_revalidate.is_some() || self.stale_if_error.is_some() || self.refresh_ahead.is_some()
    }

    /// The moment at which a value stored now goes, or `None` if it would be expired at once: at the end of its
    /// timeout and of the windows. `random` is any number; it picks the jitter.
    pub(crate) fn deadline(&self, now: Moment, timeout: Option<Duration>, random: u64) -> Option<Moment> {
        let Some(timeout) = timeout.map(nanoseconds) else {
            return Some(NEVER);
        };
        let jitter = if self.jitter_percent > 0 { jitter(timeout, self.jitter_percent, random) } else { 0 };
        let shortened = timeout - jitter;
        (shortened > 0).then(|| now.saturating_add(shortened).saturating_add(self.windows().longest()))
    }

    /// For at least so many nanoseconds a value is there once it is stored, as far as no rule of the function says
    /// otherwise.
    #[cfg(feature = "backend")]
    pub(crate) fn shortest_life(&self) -> u64 {
        let shortest = [self.timeout, self.negative_timeout].into_iter().flatten().map(nanoseconds).min();
        let life = shortest.map_or(NEVER, |timeout| {
            (timeout - jitter(timeout, self.jitter_percent, u64::MAX))
                .saturating_add(self.windows().longest())
        });
        self.idle_timeout.map_or(life, |idle| life.min(nanoseconds(idle)))
    }

    /// The timeout of a value for which a rule of the function may have computed one.
    pub(crate) fn timeout_of(&self, computed: Option<Duration>, negative: bool) -> Option<Duration> {
        match self.negative_timeout {
            Some(timeout) if negative => Some(timeout),
            _ => computed.or(self.timeout),
        }
    }
}

/// The length of a window, which is added to moments.
fn window(duration: Duration) -> u64 {
    nanoseconds(duration).min(LONGEST)
}

const LONGEST: u64 = NEVER / 4;

/// The cost times the negative logarithm of a number between 0 and 1. Not inlined, so that it is not computed ahead of
/// the question whether it is needed.
#[inline(never)]
#[expect(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a random length of time"
)]
fn early(cost: u64, random: u64) -> u64 {
    let uniform = (random as f64 + 1.0) / (u64::MAX as f64 + 1.0);
    let times = (-uniform.ln()).min(FURTHEST as f64);
    (cost.min(LONGEST / FURTHEST / 2) as f64 * times) as u64
}

/// A part of `timeout` between nothing and `percent` of it.
fn jitter(timeout: u64, percent: u8, random: u64) -> u64 {
    let most = u128::from(timeout) * u128::from(percent) / 100;
    let part = (most * u128::from(random)) >> 64;
    u64::try_from(part).unwrap_or(0)
}

impl fmt::Display for Policy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let durations = [
            ("timeout", self.timeout),
            ("idle_timeout", self.idle_timeout),
            ("negative_timeout", self.negative_timeout),
            ("stale_while_revalidate", self.stale_while_revalidate),
            ("stale_if_error", self.stale_if_error),
            ("max_wait", self.max_wait),
            ("error_backoff", Some(self.error_backoff).filter(|it| *it != Self::DEFAULT_ERROR_BACKOFF)),
        ];
        for (name, duration) in durations {
            if let Some(duration) = duration {
                write!(f, "{name} {duration:?}, ")?;
            }
        }
        match self.refresh_ahead {
            Some(RefreshAhead::Part(part)) => {
                write!(f, "refresh_ahead {}, ", f64::from(part) / f64::from(MILLION))?;
            }
            Some(RefreshAhead::XFetch) => f.write_str("refresh_ahead xfetch, ")?,
            None => {}
        }
        if self.jitter_percent > 0 {
            write!(f, "jitter {}%, ", self.jitter_percent)?;
        }
        if !self.single_flight {
            f.write_str("single_flight off, ")?;
        }
        let unit = if self.weighed { " by weight" } else { "" };
        write!(f, "capacity {}{unit}", self.capacity)
    }
}

/// The policy as the attribute writes it down.
#[derive(Clone, Copy)]
pub struct PolicyBuilder(Policy);

#[expect(missing_docs, reason = "seen by the expansion alone")]
impl PolicyBuilder {
    #[expect(clippy::new_without_default, reason = "written by the attribute alone, in a const")]
    #[must_use]
    pub const fn new() -> Self {
        Self(Policy {
            timeout: None,
            idle_timeout: None,
            negative_timeout: None,
            jitter_percent: 0,
            capacity: Policy::DEFAULT_CAPACITY,
            weighed: false,
            single_flight: true,
            stale_while_revalidate: None,
            stale_if_error: None,
            error_backoff: Policy::DEFAULT_ERROR_BACKOFF,
            refresh_ahead: None,
            max_wait: None,
        })
    }

    #[must_use]
    pub const fn timeout(mut self, timeout: Duration) -> Self {
        self.0.timeout = Some(timeout);
        self
    }

    /// # Panics
    ///
    /// Here and below a bad value panics, at compile time, as these are called in a static.
    #[must_use]
    pub const fn idle_timeout(mut self, timeout: Duration) -> Self {
        assert!(!timeout.is_zero(), "`idle_timeout` must be longer than zero");
        self.0.idle_timeout = Some(timeout);
        self
    }

    /// # Panics
    #[must_use]
    pub const fn negative_timeout(mut self, timeout: Duration) -> Self {
        assert!(!timeout.is_zero(), "`negative_timeout` must be longer than zero");
        self.0.negative_timeout = Some(timeout);
        self
    }

    /// # Panics
    #[must_use]
    pub const fn jitter(mut self, percent: u8) -> Self {
        assert!(percent <= 100, "`jitter` is at most 100%");
        self.0.jitter_percent = percent;
        self
    }

    /// # Panics
    #[must_use]
    pub const fn capacity(mut self, capacity: usize) -> Self {
        assert!(capacity > 0, "`capacity` must be at least 1");
        self.0.capacity = capacity;
        self
    }

    #[must_use]
    pub const fn weighed(mut self) -> Self {
        self.0.weighed = true;
        self
    }

    #[must_use]
    pub const fn single_flight(mut self, on: bool) -> Self {
        self.0.single_flight = on;
        self
    }

    /// # Panics
    #[must_use]
    pub const fn stale_while_revalidate(mut self, window: Duration) -> Self {
        assert!(!window.is_zero(), "`stale_while_revalidate` must be longer than zero");
        self.0.stale_while_revalidate = Some(window);
        self
    }

    /// # Panics
    #[must_use]
    pub const fn stale_if_error(mut self, window: Duration) -> Self {
        assert!(!window.is_zero(), "`stale_if_error` must be longer than zero");
        self.0.stale_if_error = Some(window);
        self
    }

    /// # Panics
    #[must_use]
    pub const fn error_backoff(mut self, pause: Duration) -> Self {
        assert!(!pause.is_zero(), "`error_backoff` must be longer than zero");
        self.0.error_backoff = pause;
        self
    }

    /// # Panics
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it is between 0 and 1")]
    #[must_use]
    pub const fn refresh_ahead(mut self, part: f64) -> Self {
        assert!(part > 0.0 && part < 1.0, "`refresh_ahead` is between 0 and 1");
        self.0.refresh_ahead = Some(RefreshAhead::Part((part * MILLION as f64) as u32));
        self
    }

    #[must_use]
    pub const fn refresh_ahead_xfetch(mut self) -> Self {
        self.0.refresh_ahead = Some(RefreshAhead::XFetch);
        self
    }

    /// # Panics
    #[must_use]
    pub const fn max_wait(mut self, most: Duration) -> Self {
        assert!(!most.is_zero(), "`max_wait` must be longer than zero");
        self.0.max_wait = Some(most);
        self
    }

    pub(crate) const fn build(self) -> Policy {
        self.0
    }
}

/// How long past its timeout a value may be served, in nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Windows {
    /// While it is computed anew.
    pub(crate) revalidate: u64,
    /// If the body fails.
    pub(crate) on_error: u64,
}

impl Windows {
    pub(crate) fn longest(self) -> u64 {
        self.revalidate.max(self.on_error)
    }
}

/// The times of one entry.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Times {
    /// When it goes: at the end of the longest window after its timeout.
    pub(crate) deadline: Moment,
    /// When it was last stored or hit; kept only where there is an `idle_timeout`.
    pub(crate) touched: Moment,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Freshness {
    Fresh,
    /// Fresh, and to be computed anew already.
    Early,
    /// Past the timeout, within these windows.
    Stale {
        revalidate: bool,
        on_error: bool,
    },
    Expired,
}

impl Freshness {
    /// Whether it is served to a call whose body has failed.
    pub(crate) const fn hides_errors(self) -> bool {
        matches!(self, Self::Fresh | Self::Early | Self::Stale { on_error: true, .. })
    }

    pub(crate) const fn is_stale(self) -> bool {
        matches!(self, Self::Stale { .. })
    }

    /// Whether nobody need wait for its being computed anew.
    pub(crate) const fn is_served_meanwhile(self) -> bool {
        matches!(self, Self::Early | Self::Stale { revalidate: true, .. })
    }
}

impl Times {
    /// The moment from which the entry is expired if it is not hit again.
    pub(crate) fn expiry(self, idle: Option<u64>) -> Moment {
        idle.map_or(self.deadline, |idle| self.deadline.min(self.touched.saturating_add(idle)))
    }

    /// An entry is fresh before the end of its timeout, and stale from that moment on, until it is expired. It is
    /// to be computed anew so long `ahead` of that end.
    pub(crate) fn freshness(self, windows: Windows, idle: Option<u64>, ahead: u64, now: Moment) -> Freshness {
        if now >= self.expiry(idle) {
            return Freshness::Expired;
        }
        let end = self.deadline.saturating_sub(windows.longest());
        if self.deadline == NEVER || now < end.saturating_sub(ahead) {
            return Freshness::Fresh;
        }
        if now < end {
            return Freshness::Early;
        }
        let past = now - end;
        Freshness::Stale { revalidate: past < windows.revalidate, on_error: past < windows.on_error }
    }
}

/// When a saved entry stops being fresh, by the wall clock and in milliseconds; `None` if it never does.
#[cfg(feature = "backend")]
pub(crate) fn expires(deadline: Moment, windows: Windows, at: Date) -> Option<u64> {
    if deadline == NEVER {
        return None;
    }
    let left = i128::from(deadline) - i128::from(windows.longest()) - i128::from(at.now);
    Some(u64::try_from(i128::from(at.wall) + left.div_euclid(MILLISECOND)).unwrap_or(0))
}

/// When an entry goes that was loaded at a time, or `None` if it has gone. It has no more life than when it was
/// written, even where the wall clock has gone backwards since, and no more than its timeout is now.
#[cfg(feature = "backend")]
pub(crate) fn restored(
    written: u64,
    expires: Option<u64>,
    timeout: Option<Duration>,
    windows: Windows,
    at: Date,
) -> Option<Moment> {
    // By then all of the millisecond has passed that it may be.
    let wall = i128::from(at.wall.max(written)) + 1;
    let left = expires.map(|expires| (i128::from(expires) - wall) * MILLISECOND);
    let most = timeout.map(|timeout| i128::from(nanoseconds(timeout)));
    let Some(left) = left.into_iter().chain(most).min() else { return Some(NEVER) };
    let left = left + i128::from(windows.longest());
    (left > 0).then(|| u64::try_from(left).map_or(NEVER, |left| at.now.saturating_add(left)))
}

/// When an entry that was loaded at a time, and not used, stops being fresh as of now.
#[cfg(feature = "backend")]
pub(crate) fn resaved(written: u64, expires: u64, at: Date, now: Date) -> u64 {
    let left = i128::from(expires) - i128::from(at.wall.max(written));
    let passed = i128::from(now.now.saturating_sub(at.now)).div_euclid(MILLISECOND) + 1;
    u64::try_from(i128::from(now.wall) + left - passed).unwrap_or(0)
}

#[cfg(feature = "backend")]
const MILLISECOND: i128 = 1_000_000;

/// What a call does about the key that it looks up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Service {
    /// It returns what is there.
    Serve,
    /// It waits for who computes the key.
    Wait,
    Compute,
}

/// `is_running` if somebody computes the key; `backs_off` if its body has failed and is not to be tried yet.
pub(crate) fn service(freshness: Freshness, is_running: bool, backs_off: bool) -> Service {
    match freshness {
        Freshness::Fresh => Service::Serve,
        Freshness::Early | Freshness::Stale { .. } if backs_off => Service::Serve,
        Freshness::Early | Freshness::Stale { .. } if is_running && freshness.is_served_meanwhile() => {
            Service::Serve
        }
        _ if is_running => Service::Wait,
        _ => Service::Compute,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000_000;

    #[test]
    fn an_entry_is_fresh_until_its_deadline_and_while_it_is_not_idle() {
        for (deadline, touched, idle, now, expected) in [
            (10, 0, None, 9, Freshness::Fresh),
            (10, 0, None, 10, Freshness::Expired),
            (NEVER, 0, None, NEVER - 1, Freshness::Fresh),
            (100, 5, Some(10), 14, Freshness::Fresh),
            (100, 5, Some(10), 15, Freshness::Expired),
            (12, 5, Some(10), 12, Freshness::Expired),
            (NEVER, 5, Some(u64::MAX), NEVER - 1, Freshness::Fresh),
        ] {
            let times = Times { deadline, touched };
            let freshness = times.freshness(Windows::default(), idle, 0, now);
            assert_eq!(freshness, expected, "{times:?} {idle:?} at {now}");
        }
    }

    #[cfg(feature = "backend")]
    #[test]
    fn a_saved_entry_has_the_rest_of_its_life_and_never_more() {
        const MINUTE: u64 = 60_000;
        let windows = Windows { revalidate: 30 * SECOND, on_error: 10 * SECOND };
        let saved = Date { now: 100 * SECOND, wall: 10 * MINUTE };
        for (deadline, expected) in [
            (NEVER, None),
            (190 * SECOND, Some(11 * MINUTE)),
            (190 * SECOND - 1, Some(11 * MINUTE - 1)),
            (110 * SECOND, Some(10 * MINUTE - 20_000)),
        ] {
            assert_eq!(expires(deadline, windows, saved), expected, "{deadline}");
        }
        let fresh = Some(11 * MINUTE);
        let short = Some(Duration::from_secs(5));
        for (wall, expires, timeout, expected) in [
            (10 * MINUTE, fresh, None, Some(90_000)),
            (10 * MINUTE + 1000, fresh, None, Some(89_000)),
            (11 * MINUTE, fresh, None, Some(30_000)),
            (11 * MINUTE + 29_998, fresh, None, Some(2)),
            (11 * MINUTE + 30_000, fresh, None, None),
            // The clock was put back.
            (MINUTE, fresh, None, Some(90_000)),
            (10 * MINUTE, fresh, short, Some(35_001)),
            (10 * MINUTE, None, short, Some(35_001)),
            (10 * MINUTE, None, None, Some(NEVER)),
            (10 * MINUTE, Some(u64::MAX), None, Some(NEVER)),
        ] {
            let at = Date { now: 7 * SECOND, wall };
            let expected = expected.map(|left| match left {
                NEVER => NEVER,
                left => 7 * SECOND + (left - 1) * 1_000_000,
            });
            let found = restored(saved.wall, expires, timeout, windows, at);
            assert_eq!(found, expected, "{expires:?} {timeout:?} at {wall}");
        }
        let loaded = Date { now: 0, wall: MINUTE };
        let again = Date { now: 20 * SECOND, wall: 2 * MINUTE };
        assert_eq!(resaved(10 * MINUTE, 11 * MINUTE, loaded, again), 2 * MINUTE + 40_000 - 1);
    }

    #[test]
    fn what_is_served_at_every_age() {
        use Service::{Compute, Serve, Wait};
        let build = |revalidate: u64, on_error: u64| {
            let mut policy = PolicyBuilder::new().timeout(Duration::from_secs(60));
            if revalidate > 0 {
                policy = policy.stale_while_revalidate(Duration::from_secs(revalidate));
            }
            if on_error > 0 {
                policy = policy.stale_if_error(Duration::from_secs(on_error));
            }
            policy.build()
        };
        let (none, meanwhile) = (build(0, 0), build(30, 0));
        let ahead = PolicyBuilder::new().timeout(Duration::from_secs(60)).refresh_ahead(0.8).build();
        let (on_error, both, shorter) = (build(0, 30), build(30, 90), build(30, 10));
        // The age in seconds; what a call does that finds nobody computing, one that finds somebody, and one
        // whose body has just failed; whether an error of the body is hidden.
        for (policy, age, alone, beside_others, after_failure, hides) in [
            (none, 59, Serve, Serve, Serve, true),
            (none, 60, Compute, Wait, Compute, false),
            (meanwhile, 59, Serve, Serve, Serve, true),
            (meanwhile, 60, Compute, Serve, Serve, false),
            (meanwhile, 89, Compute, Serve, Serve, false),
            (meanwhile, 90, Compute, Wait, Compute, false),
            (on_error, 59, Serve, Serve, Serve, true),
            (on_error, 60, Compute, Wait, Serve, true),
            (on_error, 89, Compute, Wait, Serve, true),
            (on_error, 90, Compute, Wait, Compute, false),
            (both, 60, Compute, Serve, Serve, true),
            (both, 89, Compute, Serve, Serve, true),
            (both, 90, Compute, Wait, Serve, true),
            (both, 149, Compute, Wait, Serve, true),
            (both, 150, Compute, Wait, Compute, false),
            (shorter, 69, Compute, Serve, Serve, true),
            (shorter, 70, Compute, Serve, Serve, false),
            (shorter, 90, Compute, Wait, Compute, false),
            (ahead, 47, Serve, Serve, Serve, true),
            (ahead, 48, Compute, Serve, Serve, true),
            (ahead, 59, Compute, Serve, Serve, true),
            (ahead, 60, Compute, Wait, Compute, false),
        ] {
            let stored = 7 * SECOND;
            let deadline = policy.deadline(stored, policy.timeout(), 0).expect("it has one");
            let times = Times { deadline, touched: NEVER };
            let ahead = policy.ahead(policy.timeout(), 0, 0);
            let freshness = times.freshness(policy.windows(), None, ahead, stored + age * SECOND);
            let does = [(false, false), (true, false), (false, true)]
                .map(|(is_running, backs_off)| service(freshness, is_running, backs_off));
            assert_eq!(does, [alone, beside_others, after_failure], "{policy}: at the age of {age} s");
            assert_eq!(freshness.hides_errors(), hides, "{policy}: at the age of {age} s");
        }
    }

    #[test]
    fn early_is_likelier_the_nearer_the_end_and_the_longer_the_body_takes() {
        let policy = PolicyBuilder::new().refresh_ahead_xfetch().build();
        for (random, cost, expected) in [
            (u64::MAX, 1000, 0),
            (u64::MAX / 2, 1000, 693),
            (u64::MAX / 100, 1000, 4605),
            (u64::MAX / 100, 2000, 9210),
            (0, 1000, 6000),
            (0, u64::MAX, LONGEST / FURTHEST / 2 * FURTHEST),
        ] {
            let ahead = policy.ahead(None, cost, random);
            assert!(ahead.abs_diff(expected) <= 1 + expected / 1000, "{ahead} for {random}");
            assert!(policy.lead(None, cost) >= ahead);
        }
    }

    /// What came of a run of [`simulate`].
    #[derive(Debug, Default)]
    struct Came {
        loads: usize,
        /// The most computations at once.
        stampede: usize,
        /// Callers that found nothing to serve.
        late: usize,
    }

    /// Calls of one key, so many in each cost of its body, for so many timeouts of fifty costs. Where they know of
    /// one another, one computes at a time.
    fn simulate(policy: Policy, calls: u64, timeouts: u64, know_of_one_another: bool) -> Came {
        const COST: u64 = SECOND;
        let timeout = Some(Duration::from_nanos(50 * COST));
        let mut came = Came::default();
        let mut times: Option<Times> = None;
        let mut running = std::collections::VecDeque::new();
        let mut random = 1_u64;
        for now in (0..timeouts * 50 * COST).step_by(usize::try_from(COST / calls).expect("it is small")) {
            while running.pop_front_if(|ends| *ends <= now).is_some() {
                let deadline = policy.deadline(now, timeout, 0).expect("it has one");
                times = Some(Times { deadline, touched: NEVER });
            }
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let ahead = policy.ahead(timeout, COST, random);
            let freshness =
                times.map_or(Freshness::Expired, |it| it.freshness(policy.windows(), None, ahead, now));
            came.late += usize::from(freshness == Freshness::Expired);
            let is_running = know_of_one_another && !running.is_empty();
            if service(freshness, is_running, false) == Service::Compute {
                came.loads += 1;
                running.push_back(now + COST);
                came.stampede = came.stampede.max(running.len());
            }
        }
        came
    }

    #[test]
    fn a_hot_key_that_is_computed_ahead_never_expires_and_costs_the_origin_little_more() {
        let policy = |build: fn(PolicyBuilder) -> PolicyBuilder| build(PolicyBuilder::new()).build();
        let (none, part, xfetch) = (
            policy(|it| it),
            policy(|it| it.refresh_ahead(0.8)),
            policy(PolicyBuilder::refresh_ahead_xfetch),
        );
        // A hundred calls during each computation, a hundred timeouts.
        let [without, with_part, with_xfetch] =
            [none, part, xfetch].map(|policy| simulate(policy, 100, 100, true));
        // Without it, everybody who comes while the key is computed waits: the first of each timeout, and
        // ninety-nine more.
        assert!(without.late >= 9_500 && without.loads >= 95, "{without:?}");
        // With it, those of the first time.
        assert!(with_part.late <= 100 && with_xfetch.late <= 100, "{with_part:?} {with_xfetch:?}");
        assert!(with_part.loads * 4 <= without.loads * 5 + 4, "a quarter more: {with_part:?}");
        assert!(with_xfetch.loads * 8 <= without.loads * 9, "an eighth more: {with_xfetch:?}");
        // Where callers do not know of one another, as in processes without a lease.
        let [without, with_xfetch] = [none, xfetch].map(|policy| simulate(policy, 100, 100, false));
        assert_eq!(without.stampede, 100, "{without:?}");
        // The first time nothing is there to be computed ahead.
        let later = with_xfetch.loads - 100;
        assert!(later * 8 <= without.loads, "{with_xfetch:?} {without:?}");
        // A key that is asked for once in three timeouts is computed for who asks.
        for policy in [none, part, xfetch] {
            let times = Times { deadline: 50 * SECOND, touched: NEVER };
            let ahead = policy.ahead(Some(Duration::from_secs(50)), SECOND, u64::MAX);
            let freshness = times.freshness(policy.windows(), None, ahead, 150 * SECOND);
            assert_eq!(service(freshness, false, false), Service::Compute);
        }
    }

    #[test]
    fn a_deadline_counts_from_now_and_never_overflows() {
        let policy = PolicyBuilder::new().build();
        for (timeout, expected) in [
            (None, Some(NEVER)),
            (Some(Duration::ZERO), None),
            (Some(Duration::from_secs(1)), Some(7 + SECOND)),
            (Some(Duration::MAX), Some(NEVER)),
        ] {
            assert_eq!(policy.deadline(7, timeout, 0), expected, "{timeout:?}");
        }
    }

    #[test]
    fn jitter_only_shortens_and_by_no_more_than_it_says() {
        for (random, expected) in [(0, 0), (u64::MAX / 2, 4), (u64::MAX, 9)] {
            assert_eq!(jitter(100, 10, random), expected);
        }
        assert!(jitter(u64::MAX, 100, u64::MAX) < u64::MAX, "something of the timeout remains");
    }

    #[test]
    fn a_negative_value_has_its_own_timeout() {
        let (own, short) = (Duration::from_secs(9), Duration::from_secs(1));
        let policy = PolicyBuilder::new().timeout(own).negative_timeout(short).build();
        let computed = Some(Duration::from_secs(3));
        assert_eq!(policy.timeout_of(None, false), Some(own));
        assert_eq!(policy.timeout_of(computed, false), computed);
        assert_eq!(policy.timeout_of(computed, true), Some(short));
        let policy = PolicyBuilder::new().timeout(own).build();
        assert_eq!(policy.timeout_of(None, true), Some(own));
    }
}
