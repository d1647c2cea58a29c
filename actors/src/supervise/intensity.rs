//! How many restarts a supervisor accepts before it gives up: a pure sliding window.
//!
//! It must never know what is restarted; the time is an argument.

use std::collections::VecDeque;

use crate::clock::Now;

/// At most this many restarts ...
pub const RESTARTS_MAX: usize = 10;
/// ... within this time. Ten in ten seconds is a fault that restarting does not cure.
pub const RESTART_WINDOW_MS: u64 = 10_000;
/// The wait before the second restart within a window; the first one is immediate.
pub const RESTART_BACKOFF_MS: u64 = 10;
/// The longest wait before a restart.
pub const RESTART_BACKOFF_MS_MAX: u64 = 500;

/// A supervisor's patience.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RestartLimit {
    /// Restarts accepted within the window.
    pub restarts_max: usize,
    /// The window.
    pub window_ms: u64,
    /// The longest wait before a restart.
    pub backoff_ms_max: u64,
}

impl Default for RestartLimit {
    fn default() -> Self {
        Self {
            restarts_max: RESTARTS_MAX,
            window_ms: RESTART_WINDOW_MS,
            backoff_ms_max: RESTART_BACKOFF_MS_MAX,
        }
    }
}

/// What to do about a child that died.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Verdict {
    /// Start it again after this wait.
    Restart { after_ms: u64 },
    /// The limit is exceeded: the supervisor itself must die.
    Escalate,
}

/// The restarts of one supervisor's children within the last window.
#[derive(Debug)]
pub(crate) struct Intensity {
    limit: RestartLimit,
    recent: VecDeque<Now>,
}

impl Intensity {
    pub(crate) fn new(limit: RestartLimit) -> Self {
        Self {
            limit,
            recent: VecDeque::with_capacity(limit.restarts_max),
        }
    }

    /// Counts one death and says what to do about it.
    pub(crate) fn died(&mut self, now: Now) -> Verdict {
        let horizon = now.0.saturating_sub(self.limit.window_ms);
        while self.recent.front().is_some_and(|at| at.0 < horizon) {
            self.recent.pop_front();
        }
        if self.recent.len() >= self.limit.restarts_max {
            return Verdict::Escalate;
        }
        let earlier = self.recent.len();
        self.recent.push_back(now);
        Verdict::Restart {
            after_ms: backoff_ms(earlier, self.limit.backoff_ms_max),
        }
    }
}

/// None for the first death in a window, then doubling up to a limit.
fn backoff_ms(earlier: usize, backoff_ms_max: u64) -> u64 {
    let Some(doublings) = earlier.checked_sub(1) else {
        return 0;
    };
    let factor = u32::try_from(doublings)
        .ok()
        .and_then(|doublings| 1_u64.checked_shl(doublings))
        .unwrap_or(u64::MAX);
    RESTART_BACKOFF_MS
        .saturating_mul(factor)
        .min(backoff_ms_max)
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMIT: RestartLimit = RestartLimit {
        restarts_max: 3,
        window_ms: 1000,
        backoff_ms_max: RESTART_BACKOFF_MS_MAX,
    };

    #[test]
    fn the_first_restart_is_immediate_and_the_next_ones_wait_longer() {
        let mut intensity = Intensity::new(LIMIT);
        let after = |after_ms| Verdict::Restart { after_ms };
        assert_eq!(intensity.died(Now(0)), after(0));
        assert_eq!(intensity.died(Now(1)), after(RESTART_BACKOFF_MS));
        assert_eq!(intensity.died(Now(2)), after(2 * RESTART_BACKOFF_MS));
        assert_eq!(intensity.died(Now(3)), Verdict::Escalate);
    }

    #[test]
    fn deaths_outside_the_window_are_forgotten() {
        let mut intensity = Intensity::new(LIMIT);
        for at in (0..100).map(|i| Now(i * 400)) {
            assert_ne!(intensity.died(at), Verdict::Escalate, "at {at:?}");
        }
    }

    #[test]
    fn no_wait_is_longer_than_the_limit() {
        for earlier in 0..200 {
            assert!(backoff_ms(earlier, 77) <= 77);
        }
    }
}
