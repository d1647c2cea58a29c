//! How fast slots move while clients ask.
//!
//! Responsible for the owner's share of a move: a copy that only changes places begins at a bounded rate while there are
//! questions, and slots change hands many at a time, so that those who ask hardly notice; and both as fast as they go while
//! there are none. A copy that is missing never waits. It must never know which slots there are.

use ultrakv_cache::Now;

/// What is counted is counted for so long.
const WINDOW_MS: u64 = 100;
/// So many questions in a window mean that clients are there.
const BUSY_QUESTIONS: usize = 3;
/// How long that is remembered.
const BUSY_FOR_MS: u64 = 1_000;
/// Copies that begin in a window meanwhile: little work each, which is spread.
const MOVES_MAX: u64 = 4;
/// Slots change hands in bursts so far apart: an agreement costs every node about a millisecond of waking up, however many
/// slots it is about, and the slots of one turn share it.
const BURST_EVERY_MS: u64 = 500;
/// A burst lasts so long: a few turns of the shard, whose questions are brought to the leader together.
const BURST_MS: u64 = 10;
/// Slots that change hands in a burst: as many as copies begin meanwhile, and as many again to make good for delays. Their
/// clients wait for one agreement.
const BURST_MAX: u64 = 50;
const _: () = assert!(BURST_MAX >= 2 * MOVES_MAX * BURST_EVERY_MS / WINDOW_MS);

/// The pace of one shard.
#[derive(Debug, Default)]
pub(super) struct Pace {
    window: u64,
    questions: usize,
    begun: u64,
    busy_until: Now,
    /// When the last burst began, and how many slots it has.
    burst_at: Option<Now>,
    burst: u64,
}

impl Pace {
    /// Clients asked.
    pub(super) fn asked(&mut self, questions: usize, now: Now) {
        self.turn(now);
        self.questions += questions;
        if self.questions >= BUSY_QUESTIONS {
            self.busy_until = now.add_ms(BUSY_FOR_MS);
        }
    }

    /// Whether clients are there.
    pub(super) const fn is_busy(&self, now: Now) -> bool {
        now.0 < self.busy_until.0
    }

    /// Whether one more move may begin now; it is counted then.
    pub(super) fn may_begin(&mut self, now: Now) -> bool {
        self.turn(now);
        let may = !self.is_busy(now) || self.begun < MOVES_MAX;
        self.begun += u64::from(may);
        may
    }

    /// Whether one more slot may change hands in this turn; it is counted then.
    pub(super) fn may_hand_over(&mut self, now: Now) -> bool {
        if !self.is_busy(now) {
            return true;
        }
        let is_over = |at: Now| now.since_ms(at) >= BURST_EVERY_MS;
        if self.burst_at.is_none_or(is_over) {
            (self.burst_at, self.burst) = (Some(now), 0);
        }
        let is_under_way = |at: Now| now.since_ms(at) < BURST_MS;
        let may = self.burst_at.is_some_and(is_under_way) && self.burst < BURST_MAX;
        self.burst += u64::from(may);
        may
    }

    fn turn(&mut self, now: Now) {
        let window = now.0 / WINDOW_MS;
        if window != self.window {
            (self.window, self.questions, self.begun) = (window, 0, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moves_are_bounded_while_clients_ask_and_for_a_while_after() {
        let mut pace = Pace::default();
        let begun = |pace: &mut Pace, at: u64| (0..100).filter(|_| pace.may_begin(Now(at))).count();
        assert_eq!(begun(&mut pace, 10), 100, "nobody asks");
        pace.asked(2, Now(1_000));
        assert_eq!(begun(&mut pace, 1_010), 100, "hardly anybody");
        pace.asked(2, Now(1_050));
        let bound = usize::try_from(MOVES_MAX).unwrap();
        assert_eq!(begun(&mut pace, 1_100), bound, "a new window");
        assert_eq!(begun(&mut pace, 1_150), 0, "of the same window");
        assert_eq!(begun(&mut pace, 1_250), bound);
        assert_eq!(begun(&mut pace, 2_050), 100, "they are gone");
    }

    #[test]
    fn slots_change_hands_in_bursts_while_clients_ask() {
        let mut pace = Pace::default();
        let given = |pace: &mut Pace, at: u64| {
            let may = |_: &u32| pace.may_hand_over(Now(at));
            (0..100).filter(may).count()
        };
        assert_eq!(given(&mut pace, 10), 100, "nobody asks");
        pace.asked(BUSY_QUESTIONS, Now(1_000));
        let bound = usize::try_from(BURST_MAX).unwrap();
        assert!(pace.may_hand_over(Now(1_000)));
        assert_eq!(given(&mut pace, 1_009), bound - 1, "the same burst");
        assert_eq!(given(&mut pace, 1_499), 0);
        assert!(pace.may_hand_over(Now(1_500)), "the next");
        assert_eq!(given(&mut pace, 1_510), 0, "it is over");
        assert_eq!(given(&mut pace, 2_100), 100, "they are gone");
    }
}
