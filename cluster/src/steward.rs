//! What the leader sees to: who gets which slots, and how far the jobs are.
//!
//! Responsible for one pure decision: the metadata and the time go in, commands come out, all of them compare-and-set, so
//! that a steward of a later leadership goes on where this one stopped. Slots move by themselves once a plan is staged;
//! nothing here waits for them. It must never know sockets, actors or clocks.
//!
//! # Who has a part in the plan
//! - A member that is up, unless its join was cancelled.
//! - A member that has slots by the plan and is away (down, starting again, or stepping aside for a restart without a
//!   drain): for the grace that restarts get, then not.
//! - Never one that is being drained.

mod jobs;
#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use ultrakv_cache::Now;

use crate::metadata::{
    Command, JobId, JobKind, JobState, MemberRecord, MemberState, SlotCounts, View,
};
use crate::placement::{self, PlanNode, Share};
use crate::{Incarnation, NodeId};

/// What the steward is told once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StewardRules {
    /// Nodes that hold each slot's entries, when there are as many.
    pub copies: usize,
    /// How long a member may be away before its part of the plan goes to others, in milliseconds.
    pub grace_ms: u64,
    /// A job's progress is told at most this often, in milliseconds.
    pub report_ms: u64,
}

impl Default for StewardRules {
    fn default() -> Self {
        Self {
            copies: 3,
            grace_ms: 30_000,
            report_ms: 500,
        }
    }
}

/// What one decision is made with, besides the metadata.
pub struct StewardWorld<'a> {
    /// The time on this node's monotonic clock.
    pub now: Now,
    /// The time for people.
    pub unix_ms: u64,
    /// Draws the id of a new job.
    pub draw: &'a mut dyn FnMut() -> JobId,
}

/// One leadership's steward.
#[derive(Debug)]
pub struct Steward {
    rules: StewardRules,
    /// Since when each life is not up, as this steward has seen it.
    away: BTreeMap<Incarnation, Now>,
    /// When each job's progress was told last.
    reported: BTreeMap<JobId, Now>,
    /// What the last plan was made from, so that nothing is planned twice.
    planned: Option<(Vec<PlanNode>, u64)>,
    is_planning: bool,
    /// What each node has of the slots, and of which revision of them that is.
    counted: Option<(u64, Arc<Counts>)>,
}

/// What each node has of the slots.
type Counts = BTreeMap<NodeId, SlotCounts>;

impl Steward {
    /// A steward that has seen nothing yet: whoever is away gets the whole grace from it.
    #[must_use]
    pub const fn new(rules: StewardRules) -> Self {
        Self {
            rules,
            away: BTreeMap::new(),
            reported: BTreeMap::new(),
            planned: None,
            is_planning: false,
            counted: None,
        }
    }

    /// What is to be proposed now; asked again after every change of the metadata, and now and then.
    pub fn decide(&mut self, view: &View, world: &mut StewardWorld<'_>) -> Vec<Command> {
        self.note_away(view, world.now);
        let mut commands = Vec::new();
        self.see_to_plan(view, world.now, &mut commands);
        // While a plan is on its way nothing is where it is to be, whatever the present one says.
        self.is_planning = !commands.is_empty();
        let counts = self.count(view);
        Self::see_to_joins(view, &counts, world, &mut commands);
        self.see_to_jobs(view, &counts, world, &mut commands);
        commands
    }

    /// Visits every slot, so only when one of them changed.
    fn count(&mut self, view: &View) -> Arc<Counts> {
        let revision = view.slots().revision();
        match &self.counted {
            Some((counted, counts)) if *counted == revision => Arc::clone(counts),
            _ => {
                let counts = Arc::new(view.slots().counts());
                self.counted = Some((revision, Arc::clone(&counts)));
                counts
            }
        }
    }

    fn note_away(&mut self, view: &View, now: Now) {
        let away = |(node, record): (NodeId, &MemberRecord)| {
            let life = Incarnation {
                node,
                boot: record.boot,
            };
            (record.state != MemberState::Up).then_some(life)
        };
        let away: BTreeSet<Incarnation> = view.members().present().filter_map(away).collect();
        self.away.retain(|life, _| away.contains(life));
        for life in away {
            self.away.entry(life).or_insert(now);
        }
    }

    /// What a member may be given in a plan that is made now.
    fn share(&self, view: &View, (node, record): (NodeId, &MemberRecord), now: Now) -> Share {
        let mut jobs = view.jobs().running();
        let is_drained = jobs.any(|job| {
            job.state == JobState::Running
                && matches!(job.kind, JobKind::Drain { node: drained, .. } if drained == node)
        });
        match record.state {
            MemberState::Left => Share::Nothing,
            _ if is_drained => Share::Nothing,
            MemberState::Up if jobs::was_join_cancelled(view, node) => Share::Nothing,
            MemberState::Up => Share::Full,
            MemberState::Joining | MemberState::Draining | MemberState::Down => {
                let life = Incarnation {
                    node,
                    boot: record.boot,
                };
                let since = self.away.get(&life).copied().unwrap_or(now);
                if now.since_ms(since) < self.rules.grace_ms {
                    Share::Present
                } else {
                    Share::Nothing
                }
            }
        }
    }

    fn see_to_plan(&mut self, view: &View, now: Now, commands: &mut Vec<Command>) {
        let nodes: Vec<PlanNode> = view
            .members()
            .present()
            .map(|(node, record)| PlanNode {
                node,
                capacity_bytes: record.capacity.bytes_max,
                zone: record.zone.clone(),
                share: self.share(view, (node, record), now),
            })
            .collect();
        let made_from = (nodes, view.slots().plan());
        if self.planned.as_ref() == Some(&made_from) {
            return;
        }
        let present = placement::present(view.slots());
        // Without a node that may be given slots there is no plan, and the present one stays.
        if let Ok(plan) = placement::plan(&made_from.0, self.rules.copies, &present) {
            let stages = placement::stages(view.slots().plan(), &present, &plan.targets);
            commands.extend(stages.into_iter().map(Command::SlotsStage));
        }
        self.planned = Some(made_from);
    }
}
