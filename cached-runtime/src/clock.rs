//! The time as the store sees it: nanoseconds since some moment before the process began, monotonic,
//! in steps of a few milliseconds where the system has a clock that is cheaper for being coarse.

use std::time::Duration;

/// A moment, in nanoseconds of the clock.
pub(crate) type Moment = u64;

/// The moment that never comes.
pub(crate) const NEVER: Moment = Moment::MAX;

/// Reading this costs a tenth of `Instant::now()`, which would cost more than the rest of a hit.
#[cfg(any(target_os = "linux", target_os = "android"))]
#[inline]
pub(crate) fn now() -> Moment {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::MonotonicCoarse);
    // Neither is negative, and the sum lasts for centuries.
    (time.tv_sec.cast_unsigned()).wrapping_mul(1_000_000_000).wrapping_add(time.tv_nsec.cast_unsigned())
}

#[cfg(not(any(target_os = "linux", target_os = "android")))]
pub(crate) fn now() -> Moment {
    use once_cell::sync::Lazy;
    use std::time::Instant;

    static ORIGIN: Lazy<Instant> = Lazy::new(Instant::now);
    nanoseconds(ORIGIN.elapsed())
}

/// A length of time on this clock; more than 584 years is for ever.
pub(crate) fn nanoseconds(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// The clock of one store: the system's, or in tests one that stands still until it is advanced.
#[derive(Default)]
pub(crate) struct Clock {
    /// The moment at which the clock was stopped; 0 while it runs.
    #[cfg(feature = "testing")]
    frozen: std::sync::atomic::AtomicU64,
}

impl Clock {
    #[cfg_attr(not(feature = "testing"), expect(clippy::unused_self, reason = "it may stand still in tests"))]
    #[inline]
    pub(crate) fn now(&self) -> Moment {
        #[cfg(feature = "testing")]
        if let Some(moment) = self.frozen_at() {
            return moment;
        }
        now()
    }
}

#[cfg(feature = "testing")]
impl Clock {
    pub(crate) fn frozen_at(&self) -> Option<Moment> {
        use std::sync::atomic::Ordering::Acquire;

        Some(self.frozen.load(Acquire)).filter(|moment| *moment != 0)
    }

    pub(crate) fn freeze(&self) {
        use std::sync::atomic::Ordering::{AcqRel, Acquire};

        let _ = self.frozen.fetch_update(AcqRel, Acquire, |moment| (moment == 0).then(|| now().max(1)));
    }

    /// Moves a clock that stands still; one that runs is stopped first.
    pub(crate) fn advance(&self, by: Duration) {
        use std::sync::atomic::Ordering::{AcqRel, Acquire};

        self.freeze();
        let _ =
            self.frozen.fetch_update(AcqRel, Acquire, |moment| Some(moment.saturating_add(nanoseconds(by))));
    }

    pub(crate) fn resume(&self) {
        self.frozen.store(0, std::sync::atomic::Ordering::Release);
    }
}
