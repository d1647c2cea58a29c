//! Responsible for what clients said of uses to come: which blocks, when, and what that is worth in the index's unit. It
//! must never know what else a block is worth.
//!
//! # Source
//! Ours. A hint is a use with a chance of [`KEPT`] after a known time, so its index is that chance for each request until then:
//! Gittins' ratio for a reward that comes at one instant.

use std::collections::{BTreeMap, BTreeSet};

use crate::policy::price::as_f32;
use crate::time::Now;

/// Hints remembered; further ones are not taken until some have lapsed or come true.
pub(super) const HINTS_MAX: usize = 4_096;

/// Uses further off than this are no reason to keep a block now.
pub(super) const AHEAD_MS_MAX: u64 = 600_000;

/// A hint lapses when this part of its time, and [`GRACE_MS`], have passed beyond it.
const GRACE_PART: u64 = 4;

/// See [`GRACE_PART`].
const GRACE_MS: u64 = 1_000;

/// How often a hint is taken to come true.
const KEPT: f32 = 0.5;

/// Weight of the newest gap between two requests in their mean.
const GAP_WEIGHT: f32 = 1.0 / 64.0;

/// Gaps counted at most: a pause says nothing of the traffic that follows.
const GAP_MS_MAX: u64 = 10_000;

/// When a block is expected, and until when that is believed.
#[derive(Clone, Copy, Debug)]
struct Hint {
    due: Now,
    lapses: Now,
}

/// Hints that hold.
#[derive(Debug, Default)]
pub(super) struct Hints {
    hints: BTreeMap<u32, Hint>,
    lapsing: BTreeSet<(Now, u32)>,
    /// Milliseconds between requests, on the mean.
    gap_ms: f32,
    latest: Option<Now>,
}

impl Hints {
    /// Hints that hold.
    pub(super) fn len(&self) -> usize {
        self.hints.len()
    }

    /// A request begins.
    pub(super) fn begin(&mut self, now: Now) {
        if let Some(latest) = self.latest.replace(now) {
            let gap_ms = as_f32(now.since_ms(latest).min(GAP_MS_MAX));
            self.gap_ms += (gap_ms - self.gap_ms) * GAP_WEIGHT;
        }
    }

    /// Takes out one hint that has lapsed, and names its block.
    pub(super) fn lapsed(&mut self, now: Now) -> Option<u32> {
        let &(lapses, id) = self.lapsing.first()?;
        if now < lapses {
            return None;
        }
        self.remove(id);
        Some(id)
    }

    /// Expects a block to be used in about so long, instead of what was said of it before. Answers whether that is remembered.
    pub(super) fn add(&mut self, id: u32, now: Now, ms: u64) -> bool {
        self.remove(id);
        if ms > AHEAD_MS_MAX || self.hints.len() >= HINTS_MAX {
            return false;
        }
        let due = now.add_ms(ms);
        let lapses = due.add_ms(ms / GRACE_PART + GRACE_MS);
        self.hints.insert(id, Hint { due, lapses });
        self.lapsing.insert((lapses, id));
        true
    }

    /// Forgets what was said of a block.
    pub(super) fn remove(&mut self, id: u32) {
        if let Some(hint) = self.hints.remove(&id) {
            self.lapsing.remove(&(hint.lapses, id));
        }
    }

    /// Uses to come for each request until the block is due, or until the hint would lapse once it is; 0 without a hint.
    pub(super) fn index(&self, id: u32, now: Now) -> f32 {
        let Some(hint) = self.hints.get(&id).filter(|hint| now < hint.lapses) else {
            return 0.0;
        };
        let until = if now < hint.due {
            hint.due
        } else {
            hint.lapses
        };
        // As long as no time is seen to pass between requests, there may be a thousand of them in a millisecond.
        let requests = as_f32(until.since_ms(now)) / self.gap_ms.max(1e-3);
        KEPT / requests.max(1.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Hints after a thousand requests, ten milliseconds apart, and the time then.
    fn after_requests() -> (Hints, Now) {
        let mut hints = Hints::default();
        (0..=1_000).for_each(|request| hints.begin(Now(request * 10)));
        (hints, Now(10_000))
    }

    #[test]
    fn a_hint_is_worth_its_chance_for_each_request_until_it_is_due() {
        let (mut hints, now) = after_requests();
        assert!(hints.add(7, now, 2_000));
        // 200 requests ahead, then 100, then 10.
        for (passed, requests) in [(0, 200.0), (1_000, 100.0), (1_900, 10.0)] {
            let index = hints.index(7, now.add_ms(passed));
            assert!((index * requests / KEPT - 1.0).abs() < 1e-3, "{passed}");
        }
        assert!(hints.index(8, now) <= 0.0);
    }

    #[test]
    fn a_hint_lapses_a_little_after_it_was_due() {
        let (mut hints, now) = after_requests();
        assert!(hints.add(7, now, 2_000));
        let (last, over) = (now.add_ms(3_499), now.add_ms(3_500));
        assert!(hints.index(7, last) > 0.0 && hints.lapsed(last).is_none());
        assert!(hints.index(7, over) <= 0.0);
        assert_eq!((hints.lapsed(over), hints.lapsed(over)), (Some(7), None));
        assert!(hints.hints.is_empty() && hints.lapsing.is_empty());
    }

    #[test]
    fn hints_are_bounded_and_a_later_one_replaces_the_earlier() {
        let (mut hints, now) = after_requests();
        let max = u32::try_from(HINTS_MAX).unwrap();
        assert!((0..max).all(|id| hints.add(id, now, 2_000)));
        assert!(!hints.add(max, now, 2_000));
        assert!(hints.add(0, now, 50));
        assert!(hints.index(0, now) > hints.index(1, now));
        assert_eq!(
            (hints.hints.len(), hints.lapsing.len()),
            (HINTS_MAX, HINTS_MAX)
        );
        assert!(
            !hints.add(1, now, AHEAD_MS_MAX + 1),
            "too far off, and what was said before is void"
        );
        assert!(hints.index(1, now) <= 0.0 && hints.add(max, now, 2_000));
    }
}
