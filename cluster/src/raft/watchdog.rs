//! A leader that no majority answers must fall silent, or it keeps those who hear it from electing another one.
//!
//! In openraft 0.9 (issue 2080) a follower that hears a leader refuses its vote, also when that leader hears nobody. One
//! pure machine: it must never know how a leader is silenced.
//!
//! A silent leader tries again after a while: when its majority was only away, nobody else can lead either.

/// What is seen of this member.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sight {
    /// It leads, in this term.
    pub(super) term: Option<u64>,
    /// Others vote beside it.
    pub(super) has_peers: bool,
    /// How long ago a majority answered it; none when that never was.
    pub(super) acked_before_us: Option<u64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// It does not lead, or a majority answers.
    Calm,
    Silent {
        until_us: u64,
    },
    /// It speaks again, and sees who answers.
    Trying {
        until_us: u64,
    },
}

/// Decides when a leader is silent.
#[derive(Debug)]
pub(super) struct Watchdog {
    longest_us: u64,
    state: State,
    leads: Option<(u64, u64)>,
}

impl Watchdog {
    /// For a longest election timeout.
    pub(super) const fn new(longest_us: u64) -> Self {
        Self {
            longest_us,
            state: State::Calm,
            leads: None,
        }
    }

    /// Whether this member must be silent from now on.
    pub(super) fn step(&mut self, now_us: u64, sight: Sight) -> bool {
        let Some(term) = sight.term.filter(|_| sight.has_peers) else {
            self.state = State::Calm;
            self.leads = None;
            return false;
        };
        let since_us = match self.leads {
            Some((led, since_us)) if led == term => since_us,
            _ => {
                self.state = State::Calm;
                now_us
            }
        };
        self.leads = Some((term, since_us));
        let lonely_us = sight
            .acked_before_us
            .unwrap_or(u64::MAX)
            .min(now_us.saturating_sub(since_us));
        self.state = match self.state {
            State::Calm if lonely_us > self.longest_us.saturating_mul(2) => self.silence(now_us),
            // Long enough for the others to wait for their lease, to draw their time to stand, and to stand twice.
            State::Silent { until_us } if now_us >= until_us => State::Trying {
                until_us: now_us.saturating_add(self.longest_us),
            },
            State::Trying { .. } if lonely_us < self.longest_us => State::Calm,
            State::Trying { until_us } if now_us >= until_us => self.silence(now_us),
            same => same,
        };
        matches!(self.state, State::Silent { .. })
    }

    const fn silence(&self, now_us: u64) -> State {
        State::Silent {
            until_us: now_us.saturating_add(self.longest_us.saturating_mul(4)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn leader(acked_before_us: Option<u64>) -> Sight {
        Sight {
            term: Some(3),
            has_peers: true,
            acked_before_us,
        }
    }

    #[test]
    fn a_leader_without_its_majority_falls_silent_and_tries_again() {
        let mut watchdog = Watchdog::new(400);
        assert!(!watchdog.step(0, leader(None)));
        assert!(!watchdog.step(800, leader(None)), "it has just begun");
        assert!(watchdog.step(801, leader(None)));
        assert!(
            watchdog.step(2400, leader(Some(10))),
            "four times the timeout"
        );
        assert!(!watchdog.step(2401, leader(Some(2400))));
        assert!(!watchdog.step(2800, leader(Some(2800))));
        assert!(watchdog.step(2801, leader(Some(2801))), "nobody answered");
        assert!(!watchdog.step(4401, leader(None)));
        assert!(!watchdog.step(4500, leader(Some(50))));
        assert!(!watchdog.step(4900, leader(Some(790))), "calm again");
        assert!(watchdog.step(5000, leader(Some(801))));
        let deposed = Sight {
            term: None,
            ..leader(None)
        };
        assert!(!watchdog.step(5001, deposed));
    }

    #[test]
    fn the_only_voter_is_never_silent() {
        let mut watchdog = Watchdog::new(400);
        for now_us in [0, 1_000, 100_000] {
            let alone = Sight {
                has_peers: false,
                ..leader(None)
            };
            assert!(!watchdog.step(now_us, alone));
        }
    }
}
