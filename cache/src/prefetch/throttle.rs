//! Responsible for how much one source may put at risk, by how much of it was used. It must never know blocks.
//!
//! # Break-even
//! A block that is fetched ahead and used saves the time its request would have waited for it, `w`. Every block that is
//! fetched ahead takes the link for about the same `w`, of which demand feels a share: as long as prefetching has at most
//! half of the bytes in flight and meets demand on half of them, a quarter. So a source saves more than it costs while
//! `accuracy × w > w / 4`: the break-even accuracy is one in four.
//!
//! # How
//! The allowance halves after every window of blocks below break-even and doubles after every one above. Below its smallest
//! value the source is closed. A closed source is tried again by small probes, drawn by chance among what it would have
//! fetched, after a time that doubles with every probe that fails; the first that is above break-even opens it.

use crate::policy::chance::Chance;
use crate::time::Now;

/// Used blocks for each judged below which a source costs more than it saves, as a ratio: 1 in 4.
const BREAK_EVEN: (u32, u32) = (1, 4);

/// Blocks judged before the allowance changes: enough that an accuracy of one half is seldom taken for one of a quarter
/// (binomial: below 0.3 %).
const WINDOW_BLOCKS: u32 = 32;

/// Blocks of a probe, and judged after one.
pub(super) const PROBE_BLOCKS: u32 = 8;

/// The allowance is never below this part of its greatest value, unless the source is closed.
const SMALLEST_PART: u64 = 64;

/// Time until the first probe of a closed source.
const PROBE_AFTER_MS: u64 = 5_000;

/// The longest time until a probe.
const PROBE_AFTER_MS_MAX: u64 = 320_000;

/// One in so many of what a closed source would fetch is taken for the probe, once it is time.
const PROBE_ONE_IN: u32 = 4;

/// What a source may do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Grant {
    /// Bytes at risk up to this.
    Bytes(u64),
    /// A probe, of so many blocks.
    Probe,
    /// Nothing.
    Closed,
}

/// See the module.
#[derive(Clone, Debug)]
pub(super) struct Throttle {
    most_bytes: u64,
    /// 0 when closed.
    bytes: u64,
    judged: u32,
    used: u32,
    probe_at: Now,
    probe_after_ms: u64,
    /// A probe was granted since the source closed: what was fetched before that proves nothing new.
    is_probed: bool,
}

impl Throttle {
    /// Begins open, with a quarter of the most: trust is quickly earned.
    pub(super) const fn new(most_bytes: u64) -> Self {
        Self {
            most_bytes,
            bytes: most_bytes / 4,
            judged: 0,
            used: 0,
            probe_at: Now(0),
            probe_after_ms: PROBE_AFTER_MS,
            is_probed: false,
        }
    }

    /// Bytes that may be at risk; 0 when closed.
    pub(super) const fn allowance_bytes(&self) -> u64 {
        self.bytes
    }

    /// What may be fetched now. A probe that is granted is spent.
    pub(super) fn grant(&mut self, now: Now, chance: &mut Chance) -> Grant {
        if self.bytes > 0 || self.most_bytes == 0 {
            return Grant::Bytes(self.bytes);
        }
        if now < self.probe_at || chance.below(PROBE_ONE_IN) > 0 {
            return Grant::Closed;
        }
        self.probe_at = now.add_ms(self.probe_after_ms);
        self.is_probed = true;
        Grant::Probe
    }

    /// A block's fate is known.
    pub(super) fn judge(&mut self, is_used: bool, now: Now) {
        if self.bytes == 0 && !self.is_probed {
            return;
        }
        self.judged += 1;
        self.used += u32::from(is_used);
        let window = if self.bytes > 0 {
            WINDOW_BLOCKS
        } else {
            PROBE_BLOCKS
        };
        if self.judged < window {
            return;
        }
        let is_good = self.used * BREAK_EVEN.1 >= self.judged * BREAK_EVEN.0;
        (self.judged, self.used) = (0, 0);
        let smallest = (self.most_bytes / SMALLEST_PART)
            .max(1)
            .min(self.most_bytes);
        match (is_good, self.bytes > 0) {
            (true, _) => {
                self.bytes = (self.bytes.max(smallest / 2) * 2).min(self.most_bytes);
                self.probe_after_ms = PROBE_AFTER_MS;
            }
            (false, true) => {
                self.bytes /= 2;
                if self.bytes < smallest {
                    self.bytes = 0;
                    self.is_probed = false;
                    self.probe_at = now.add_ms(self.probe_after_ms);
                }
            }
            (false, false) => {
                self.probe_after_ms = (self.probe_after_ms * 2).min(PROBE_AFTER_MS_MAX);
                self.probe_at = now.add_ms(self.probe_after_ms);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOST: u64 = 1 << 20;

    fn judge(throttle: &mut Throttle, used: u32, wasted: u32, now: Now) {
        (0..used).for_each(|_| throttle.judge(true, now));
        (0..wasted).for_each(|_| throttle.judge(false, now));
    }

    fn closed() -> Throttle {
        let mut throttle = Throttle::new(MOST);
        judge(&mut throttle, 0, 32 * 10, Now(0));
        assert_eq!(
            throttle.probe_after_ms, PROBE_AFTER_MS,
            "what was under way is no probe"
        );
        throttle
    }

    #[test]
    fn each_window_halves_or_doubles_the_allowance() {
        // Used and wasted of a window, and the allowance after it in parts of the most, from a quarter.
        for (used, wasted, parts) in [
            (32, 0, 2),
            (8, 24, 2),
            (7, 25, 8),
            (0, 32, 8),
            (20, 11, 4), // not a whole window yet
        ] {
            let mut throttle = Throttle::new(MOST);
            judge(&mut throttle, used, wasted, Now(0));
            assert_eq!(throttle.allowance_bytes(), MOST / parts, "{used}, {wasted}");
        }
        let mut throttle = Throttle::new(MOST);
        judge(&mut throttle, 32 * 9, 0, Now(0));
        assert_eq!(throttle.allowance_bytes(), MOST, "and no more");
    }

    #[test]
    fn a_source_that_is_never_right_closes_and_is_probed_ever_more_seldom() {
        let (mut throttle, mut chance) = (closed(), Chance::new(7));
        assert_eq!(throttle.allowance_bytes(), 0);
        let mut granted = Vec::new();
        for now in (0..1_000_000).step_by(100).map(Now) {
            if throttle.grant(now, &mut chance) == Grant::Probe {
                granted.push(now.0);
                judge(&mut throttle, 1, PROBE_BLOCKS - 1, now);
            }
        }
        assert!((4..12).contains(&granted.len()), "{granted:?}");
        assert!(granted[0] >= PROBE_AFTER_MS);
        let gaps: Vec<u64> = granted.windows(2).map(|two| two[1] - two[0]).collect();
        assert!(
            gaps.iter().all(|gap| *gap >= 2 * PROBE_AFTER_MS),
            "{gaps:?}"
        );
        assert!(gaps.last() > gaps.first(), "{gaps:?}");
    }

    #[test]
    fn a_probe_that_is_right_opens_it_and_it_earns_the_whole_again() {
        let (mut throttle, mut chance) = (closed(), Chance::new(7));
        let mut times = (PROBE_AFTER_MS..).step_by(100).map(Now);
        let probe = times.find(|now| throttle.grant(*now, &mut chance) == Grant::Probe);
        judge(
            &mut throttle,
            2,
            PROBE_BLOCKS - 2,
            probe.expect("one is granted in the end"),
        );
        assert_eq!(throttle.allowance_bytes(), MOST / SMALLEST_PART);
        judge(&mut throttle, 32 * 6, 0, Now(0));
        assert_eq!(throttle.allowance_bytes(), MOST);
    }

    #[test]
    fn a_source_that_may_have_nothing_gets_nothing() {
        let (mut throttle, mut chance) = (Throttle::new(0), Chance::new(1));
        judge(&mut throttle, 64, 0, Now(0));
        assert_eq!(throttle.grant(Now(1 << 40), &mut chance), Grant::Bytes(0));
    }
}
