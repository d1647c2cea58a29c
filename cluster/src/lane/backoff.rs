//! The pause after a dial that failed: short at first, doubled with each, bounded. It must never know who is dialled.

use std::time::Duration;

use ultrakv_actors::clock::{Clock, Now};

/// How often dials failed lately, and until when nobody tries again.
#[derive(Debug)]
pub(super) struct Backoff {
    min: Duration,
    max: Duration,
    failures: u32,
    until: Option<Now>,
    reason: Option<String>,
}

impl Backoff {
    pub(super) const fn new(min: Duration, max: Duration) -> Self {
        Self {
            min,
            max,
            failures: 0,
            until: None,
            reason: None,
        }
    }

    /// A dial failed, or what it made ended at once.
    pub(super) fn failed(&mut self, clock: &Clock, reason: String) {
        let longer = 1_u32.checked_shl(self.failures.min(16)).unwrap_or(1);
        let pause = self.min.saturating_mul(longer).min(self.max);
        self.failures = self.failures.saturating_add(1);
        self.until = Some(clock.deadline(pause).at);
        self.reason = Some(reason);
    }

    /// What a dial made was good for a while, and ended.
    pub(super) fn ended(&mut self, reason: String) {
        self.settled();
        self.reason = Some(reason);
    }

    /// A dial succeeded for good.
    pub(super) fn settled(&mut self) {
        self.failures = 0;
        self.until = None;
    }

    /// Why nobody dials now, during a pause.
    pub(super) fn pauses(&self, now: Now) -> Option<String> {
        self.until
            .is_some_and(|until| now < until)
            .then(|| self.reason.clone().unwrap_or_default())
    }

    pub(super) const fn failures(&self) -> u32 {
        self.failures
    }

    pub(super) const fn reason(&self) -> Option<&String> {
        self.reason.as_ref()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pause_doubles_is_bounded_and_ends() {
        let clock = Clock::manual();
        let mut backoff = Backoff::new(Duration::from_millis(50), Duration::from_millis(300));
        for pause in [50, 100, 200, 300, 300] {
            assert_eq!(backoff.pauses(clock.now()), None);
            backoff.failed(&clock, "no route".to_owned());
            clock.advance(Duration::from_millis(pause - 1));
            assert_eq!(backoff.pauses(clock.now()).as_deref(), Some("no route"));
            clock.advance(Duration::from_millis(1));
        }
        for _ in 0..100 {
            backoff.failed(&clock, String::new());
        }
        backoff.settled();
        assert_eq!((backoff.failures(), backoff.pauses(clock.now())), (0, None));
    }
}
