//! When this member gives no vote although consensus would: one pure machine. It must never know a clock.
//!
//! - Until an instant to which it is bound: what a former life of it, or a round of tenures that it led, may rest on.
//! - To a candidate that got its vote several times and never led. The library draws a member's time to stand once a
//!   life and has no pre-vote, so a candidate that cannot win, because it reaches nobody else, would stand again and
//!   again before anybody who can, whose time begins anew with each vote it gives. Refusing a vote is always safe.

use std::collections::BTreeMap;

use super::types::RaftId;

/// Votes in a row that a candidate gets in vain.
const VAIN_MAX: u32 = 3;

/// What was promised, and who stood in vain.
#[derive(Debug)]
pub(super) struct VoteBook {
    bound_us: u64,
    /// For how long one who stood in vain is refused: the longest time after which this member stands itself.
    rest_us: u64,
    /// Votes given to a candidate, and until when it is refused.
    vain: BTreeMap<RaftId, (u32, u64)>,
}

impl VoteBook {
    /// A member that is bound until an instant.
    pub(super) const fn new(bound_us: u64, longest_us: u64) -> Self {
        Self {
            bound_us,
            rest_us: longest_us.saturating_mul(2),
            vain: BTreeMap::new(),
        }
    }

    /// Gives nobody a vote before this instant.
    pub(super) fn bind(&mut self, until_us: u64) {
        self.bound_us = until_us.max(self.bound_us);
    }

    /// Whether a candidate may be given a vote now.
    pub(super) fn may_give(&mut self, candidate: RaftId, now_us: u64) -> bool {
        let vain = self.vain.get(&candidate).copied();
        match vain {
            _ if now_us < self.bound_us => false,
            Some((VAIN_MAX.., until_us)) if now_us < until_us => false,
            Some((VAIN_MAX.., _)) => {
                self.vain.remove(&candidate);
                true
            }
            _ => true,
        }
    }

    /// A candidate was given a vote.
    pub(super) fn given(&mut self, candidate: RaftId, now_us: u64) {
        let (count, until_us) = self.vain.entry(candidate).or_default();
        *count += 1;
        *until_us = now_us.saturating_add(self.rest_us);
    }

    /// Somebody leads: nobody stood in vain.
    pub(super) fn led(&mut self) {
        self.vain.clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_bound_gives_nobody_a_vote() {
        let mut book = VoteBook::new(500, 400);
        book.bind(300);
        assert!(!book.may_give(1.into(), 499) && book.may_give(1.into(), 500));
        book.bind(900);
        assert!(!book.may_give(1.into(), 899) && book.may_give(2.into(), 900));
    }

    #[test]
    fn who_stands_in_vain_rests_and_begins_anew() {
        let mut book = VoteBook::new(0, 400);
        for now_us in [0, 100, 200] {
            assert!(book.may_give(1.into(), now_us));
            book.given(1.into(), now_us);
        }
        assert!(!book.may_give(1.into(), 999) && book.may_give(2.into(), 300));
        assert!(book.may_give(1.into(), 1_000));
        book.given(1.into(), 1_000);
        assert!(book.may_give(1.into(), 1_001), "the count begins anew");
        book.given(1.into(), 1_001);
        book.given(1.into(), 1_002);
        assert!(!book.may_give(1.into(), 1_003));
        book.led();
        assert!(book.may_give(1.into(), 1_003));
    }
}
