//! When a slot's record may change, and what the end of a life does to it. It must never know why a replica asks.

use std::sync::Arc;

use ultrakv_cache::SLOT_COUNT;

use super::super::command::{SlotChange, SlotClaim};
use super::super::member::{MemberState, Members};
use super::super::outcome::{Done, FieldName, Outcome, Present, Refusal};
use super::{SlotRecord, Slots, SlotsStage, are_few_and_distinct};
use crate::entry::Ownership;
use crate::{Epoch, Incarnation, NodeId};

const fn refused(field: FieldName) -> Outcome {
    Outcome::Refused(Refusal::Field { field })
}

fn stale(record: &SlotRecord) -> Outcome {
    Outcome::Stale(Present::Slot(Box::new(record.ownership.clone())))
}

/// Takes those members out that are gone; whether any was. The epoch then grows.
fn take_out(
    ownership: &mut Ownership,
    is_gone: impl Fn(&Incarnation) -> bool,
    may_empty: bool,
) -> bool {
    let members = &ownership.in_sync;
    if !members.iter().any(&is_gone) || (!may_empty && members.iter().all(&is_gone)) {
        return false;
    }
    ownership.in_sync.retain(|member| !is_gone(member));
    ownership.epoch = next(ownership.epoch);
    true
}

/// No slot lives to see the last one: an entry's version stops at the millionth.
const fn next(epoch: Epoch) -> Epoch {
    Epoch(epoch.0.saturating_add(1))
}

impl Slots {
    /// Sets a slot's members, for who knows its present epoch.
    pub(in super::super) fn change(&mut self, change: &SlotChange, members: &Members) -> Outcome {
        let Some(record) = self.get(change.slot) else {
            return refused(FieldName::Slot);
        };
        let (present, wanted) = (&record.ownership, &change.in_sync);
        if wanted.is_empty() || !are_few_and_distinct(wanted.iter().map(|member| member.node)) {
            return refused(FieldName::InSync);
        }
        if present.epoch != change.epoch {
            return stale(record);
        }
        let is_member = |member: &Incarnation| present.in_sync.contains(member);
        // Nobody orders a slot's writes who does not hold every answered one.
        if !wanted.first().is_some_and(is_member) {
            return refused(FieldName::InSync);
        }
        let mut newcomers = wanted.iter().filter(|member| !is_member(member));
        if !newcomers.all(|newcomer| members.is_alive_shard(*newcomer)) {
            return stale(record);
        }
        // A member that is down stayed because nobody else had the data. Now somebody has.
        let is_down = |member: &Incarnation| {
            let record = members.get(member.node);
            record.is_some_and(|record| record.state == MemberState::Down)
        };
        let mut in_sync = wanted.clone();
        if !in_sync.iter().all(is_down) {
            in_sync.retain(|member| !is_down(member));
        }
        self.set(change.slot, |ownership| ownership.in_sync = in_sync)
    }

    /// Founds a slot that nobody holds.
    pub(in super::super) fn claim(&mut self, claim: &SlotClaim, members: &Members) -> Outcome {
        let SlotClaim {
            slot,
            epoch,
            member,
        } = *claim;
        let Some(record) = self.get(slot) else {
            return refused(FieldName::Slot);
        };
        let present = &record.ownership;
        let first = record.targets.iter().find(|node| members.is_alive(**node));
        let is_due = present.epoch == epoch
            && present.in_sync.is_empty()
            && first == Some(&member.node)
            && members.is_alive_shard(member);
        if !is_due {
            return stale(record);
        }
        self.set(slot, |ownership| {
            ownership.founded = next(epoch);
            ownership.in_sync = vec![member];
        })
    }

    fn set(&mut self, slot: u16, change: impl FnOnce(&mut Ownership)) -> Outcome {
        let Some(record) = self.get_mut(slot) else {
            return refused(FieldName::Slot);
        };
        let ownership = &mut record.ownership;
        ownership.epoch = next(ownership.epoch);
        change(ownership);
        let done = Done::Slot(Box::new(ownership.clone()));
        self.revision += 1;
        Outcome::Applied(done)
    }

    /// Sets the targets of a range of slots, for who knows the present plan.
    pub(in super::super) fn stage(&mut self, stage: &SlotsStage, members: &Members) -> Outcome {
        if stage.plan != self.plan {
            return Outcome::Stale(Present::Plan(self.plan));
        }
        let Some(lists) = stage.lists() else {
            return refused(FieldName::Targets);
        };
        if usize::from(SLOT_COUNT - stage.first.min(SLOT_COUNT)) < lists.len() {
            return refused(FieldName::Slot);
        }
        let is_present = |node: &NodeId| {
            let record = members.get(*node);
            record.is_some_and(|record| record.state != MemberState::Left)
        };
        if !stage.nodes.iter().all(is_present) {
            return Outcome::Refused(Refusal::UnknownMember);
        }
        for (slot, targets) in (stage.first..SLOT_COUNT).zip(lists) {
            // A record that stays as it is must not look changed.
            if self
                .get(slot)
                .is_some_and(|record| record.targets != targets)
                && let Some(record) = self.get_mut(slot)
            {
                record.targets = targets;
            }
        }
        self.plan += 1;
        self.revision += 1;
        Outcome::Applied(Done::Set)
    }

    /// A node's tenure ran out: others go on without it where there are others.
    pub(in super::super) fn suspend(&mut self, node: NodeId) {
        self.take_out(|member| member.node == node, false);
    }

    /// What a node held is lost.
    pub(in super::super) fn forget_node(&mut self, node: NodeId) {
        self.take_out(|member| member.node == node, true);
    }

    /// What one life of a shard held is lost.
    pub(in super::super) fn forget_shard(&mut self, life: Incarnation) {
        self.take_out(|member| *member == life, true);
    }

    fn take_out(&mut self, is_gone: impl Fn(&Incarnation) -> bool, may_empty: bool) {
        let mut changed = false;
        for chunk in &mut self.chunks {
            // Looked at before it is copied.
            let mut members = chunk.iter().flat_map(|record| &record.ownership.in_sync);
            if !members.any(&is_gone) {
                continue;
            }
            for record in Arc::make_mut(chunk) {
                changed |= take_out(&mut record.ownership, &is_gone, may_empty);
            }
        }
        self.revision += u64::from(changed);
    }
}
