//! The only reader of time in the workspace. Everything else is told what time it is.
//!
//! [`Clock`] hands out [`Now`] (monotonic milliseconds) for decisions and [`UnixMs`] for reports;
//! a [`Deadline`] is computed once, at the edge of the process, and travels with the request.
//! This module must never know what the time is used for.

#![expect(
    clippy::disallowed_methods,
    reason = "this module is the one place that may ask the machine for the time"
)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

pub use ultrakv_cache::Now;

/// Wall-clock time for logs, answers and reports; never for decisions, since it can jump.
///
/// # Units
/// Milliseconds since 1970-01-01T00:00:00Z.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
pub struct UnixMs(pub u64);

impl UnixMs {
    /// The same instant in whole seconds, as most protocols write it.
    #[must_use]
    pub const fn seconds(self) -> u64 {
        self.0 / 1000
    }
}

/// The instant at which a request's caller stops waiting for it.
///
/// An instant, not a duration: passing it on costs nothing, and waiting at one place leaves less
/// time at the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Deadline {
    /// The first instant that is too late.
    pub at: Now,
}

impl Deadline {
    /// A deadline that no request reaches; for work that nobody waits for.
    pub const NEVER: Self = Self { at: Now(u64::MAX) };

    /// The time left, zero when there is none.
    #[must_use]
    pub const fn remaining(self, now: Now) -> Duration {
        Duration::from_millis(self.at.0.saturating_sub(now.0))
    }

    /// Whether the time is up.
    #[must_use]
    pub const fn passed(self, now: Now) -> bool {
        self.at.0 <= now.0
    }

    /// The earlier of two deadlines.
    #[must_use]
    pub fn min(self, other: Self) -> Self {
        if self.at <= other.at { self } else { other }
    }
}

/// A clock that is cheap to clone; every clone tells the same time.
#[derive(Clone, Debug)]
pub struct Clock {
    source: Source,
}

#[derive(Clone, Debug)]
enum Source {
    Machine { origin: Instant },
    Manual { now_ms: Arc<AtomicU64> },
}

impl Clock {
    /// The machine's clock; its zero is this call.
    #[must_use]
    pub fn machine() -> Self {
        Self {
            source: Source::Machine {
                origin: Instant::now(),
            },
        }
    }

    /// A clock that stands still until [`Clock::advance`] moves it, for tests.
    #[must_use]
    pub fn manual() -> Self {
        Self {
            source: Source::Manual {
                now_ms: Arc::new(AtomicU64::new(0)),
            },
        }
    }

    /// Moves a manual clock forward; the machine's clock takes no orders and ignores it.
    pub fn advance(&self, by: Duration) {
        if let Source::Manual { now_ms } = &self.source {
            now_ms.fetch_add(millis(by), Ordering::SeqCst);
        }
    }

    /// Monotonic time since the clock's zero.
    #[must_use]
    pub fn now(&self) -> Now {
        match &self.source {
            Source::Machine { origin } => Now(millis(origin.elapsed())),
            Source::Manual { now_ms } => Now(now_ms.load(Ordering::SeqCst)),
        }
    }

    /// Microseconds of CLOCK_BOOTTIME, which goes on while the machine sleeps: what was granted for a time is over
    /// after that time, also when the machine slept in between. A manual clock gives its own time.
    #[must_use]
    pub fn boot_us(&self) -> u64 {
        match &self.source {
            Source::Machine { .. } => {
                let now = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
                let whole_us = u64::try_from(now.tv_sec)
                    .unwrap_or(0)
                    .saturating_mul(1_000_000);
                whole_us.saturating_add(u64::try_from(now.tv_nsec).unwrap_or(0) / 1_000)
            }
            Source::Manual { now_ms } => now_ms.load(Ordering::SeqCst).saturating_mul(1_000),
        }
    }

    /// Wall-clock time, for reports only.
    #[must_use]
    pub fn unix(&self) -> UnixMs {
        let since_epoch = SystemTime::now().duration_since(UNIX_EPOCH);
        UnixMs(since_epoch.map_or(0, millis))
    }

    /// The deadline of a request that may take this long from now.
    #[must_use]
    pub fn deadline(&self, within: Duration) -> Deadline {
        Deadline {
            at: Now(self.now().0.saturating_add(millis(within))),
        }
    }

    /// The time left until a deadline, zero when there is none.
    #[must_use]
    pub fn remaining(&self, deadline: Deadline) -> Duration {
        deadline.remaining(self.now())
    }

    /// Starts a stopwatch for a measurement that ends in a metric, finer than [`Now`].
    #[must_use]
    pub fn stopwatch(&self) -> Stopwatch {
        Stopwatch {
            started: Instant::now(),
        }
    }
}

impl Default for Clock {
    fn default() -> Self {
        Self::machine()
    }
}

/// Measures one duration with the machine's full resolution, for metrics and benches.
#[derive(Clone, Copy, Debug)]
pub struct Stopwatch {
    started: Instant,
}

impl Stopwatch {
    /// The time since the start.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }
}

/// Whole milliseconds; a duration of more than 584 million years counts as that.
fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_deadline_passes_at_its_instant_and_not_before() {
        let clock = Clock::manual();
        let deadline = clock.deadline(Duration::from_millis(10));
        clock.advance(Duration::from_millis(9));
        assert!(!deadline.passed(clock.now()));
        assert_eq!(clock.remaining(deadline), Duration::from_millis(1));
        assert_eq!(clock.boot_us(), 9_000);
        clock.advance(Duration::from_millis(1));
        assert!(deadline.passed(clock.now()));
        assert_eq!(clock.remaining(deadline), Duration::ZERO);
    }

    #[test]
    fn no_duration_overflows_a_deadline() {
        let clock = Clock::manual();
        clock.advance(Duration::from_secs(1));
        assert_eq!(clock.deadline(Duration::MAX), Deadline::NEVER);
    }

    #[test]
    fn the_machine_clock_never_goes_back() {
        let clock = Clock::machine();
        let first = clock.now();
        assert!(clock.clone().now() >= first);
        let boot_us = clock.boot_us();
        assert!(boot_us > 0 && clock.boot_us() >= boot_us);
        assert!(clock.unix().seconds() > 1_700_000_000);
    }
}
