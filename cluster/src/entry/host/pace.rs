//! How fast slots move while clients ask.
//!
//! Responsible for the owner's share of a move: a copy that only changes places begins at a bounded rate while there are
//! questions, so that those who ask hardly notice, and as fast as it goes while there are none. A copy that is missing never
//! waits. It must never know which slots there are.

use ultrakv_cache::Now;

/// What is counted is counted for so long.
const WINDOW_MS: u64 = 100;
/// So many questions in a window mean that clients are there.
const BUSY_QUESTIONS: usize = 3;
/// How long that is remembered.
const BUSY_FOR_MS: u64 = 1_000;
/// Moves that begin in a window meanwhile. A move costs a shard and its peers about a millisecond in all: three agreements
/// on the slot, each heard by every copy of it.
const MOVES_MAX: u32 = 5;

/// The pace of one shard.
#[derive(Debug, Default)]
pub(super) struct Pace {
    window: u64,
    questions: usize,
    begun: u32,
    busy_until: Now,
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
        self.begun += u32::from(may);
        may
    }

    fn turn(&mut self, now: Now) {
        let window = now.0 / WINDOW_MS;
        if window != self.window {
            *self = Self {
                window,
                busy_until: self.busy_until,
                ..Self::default()
            };
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
}
