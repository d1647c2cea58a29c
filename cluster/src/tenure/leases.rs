//! Whose metadata lease is certainly lost: one leadership's side of it, as a pure machine.
//!
//! A node serves while it has applied, within the lease, everything that was agreed on when it sent a question. Here is
//! noted when each life was last answered. One that was not answered for longer than the lease lasts, by any clock a
//! tenth off, serves nothing, and no purge needs to wait for it.
//!
//! Before that is proposed the life is answered no more, until what was proposed is decided: otherwise it might be fresh
//! again, and unaware of a later purge, by the time at which it is excused from waiting. It must never know purges.

use std::collections::BTreeMap;

use crate::Incarnation;

/// The leases as one leadership knows them.
#[derive(Debug)]
pub(super) struct Leases {
    lease_us: u64,
    since_us: u64,
    answered_us: BTreeMap<Incarnation, u64>,
    /// Lives that are said to have lost theirs, and whether that is being proposed at this moment.
    lost: BTreeMap<Incarnation, bool>,
}

impl Leases {
    /// A leadership that begins now. What former ones answered was asked before.
    pub(super) const fn new(lease_us: u64, now_us: u64) -> Self {
        Self {
            lease_us,
            since_us: now_us,
            answered_us: BTreeMap::new(),
            lost: BTreeMap::new(),
        }
    }

    /// Whether a life may be answered.
    pub(super) fn may_answer(&self, life: Incarnation) -> bool {
        !self.lost.contains_key(&life)
    }

    /// A life is answered now.
    pub(super) fn answered(&mut self, life: Incarnation, now_us: u64) {
        self.answered_us.insert(life, now_us);
    }

    /// Of these lives, those whose lease is lost and that is to be proposed now.
    pub(super) fn lost(
        &mut self,
        waited_for: impl IntoIterator<Item = Incarnation>,
        now_us: u64,
    ) -> Vec<Incarnation> {
        let bound_us = self.lease_us.saturating_add(self.lease_us / 10);
        let mut lost = Vec::new();
        for life in waited_for {
            let answered_us = self.answered_us.get(&life).copied();
            let silent_us = now_us.saturating_sub(answered_us.unwrap_or(self.since_us));
            let is_proposed = self.lost.get(&life).copied().unwrap_or(false);
            if silent_us >= bound_us && !is_proposed && !lost.contains(&life) {
                self.lost.insert(life, true);
                lost.push(life);
            }
        }
        lost
    }

    /// What was proposed of a life is decided and applied, or it is not certain and must be proposed again.
    pub(super) fn proposed(&mut self, life: Incarnation, is_decided: bool) {
        if is_decided {
            self.lost.remove(&life);
        } else if let Some(is_proposed) = self.lost.get_mut(&life) {
            *is_proposed = false;
        }
    }

    /// Forgets lives that are over.
    pub(super) fn forget(&mut self, is_present: impl Fn(Incarnation) -> bool) {
        self.answered_us.retain(|life, _| is_present(*life));
    }
}

#[cfg(test)]
mod tests {
    use ultrakv_actors::BootId;

    use super::*;
    use crate::NodeId;

    const fn life(number: u128) -> Incarnation {
        Incarnation {
            node: NodeId::from_u128(number),
            boot: BootId::from_u128(number),
        }
    }

    #[test]
    fn a_lease_is_lost_a_tenth_late_and_its_life_is_answered_only_once_that_is_decided() {
        let mut leases = Leases::new(5_000, 0);
        leases.answered(life(1), 1_000);
        assert!(leases.lost([life(1), life(2)], 5_499).is_empty());
        assert_eq!(leases.lost([life(1), life(2)], 5_500), [life(2)]);
        assert!(leases.may_answer(life(1)) && !leases.may_answer(life(2)));
        assert_eq!(leases.lost([life(1), life(2), life(1)], 6_500), [life(1)]);
        leases.proposed(life(1), false);
        assert!(!leases.may_answer(life(1)), "it may still be decided");
        assert_eq!(leases.lost([life(1)], 7_000), [life(1)]);
        leases.proposed(life(1), true);
        assert!(leases.may_answer(life(1)));
        leases.answered(life(1), 7_000);
        leases.forget(|life| life.node == NodeId::from_u128(1));
        assert!(leases.lost([life(1)], 12_499).is_empty());
    }
}
