//! Which nodes are to hold which slot: from the members and the present plan to the next one.
//!
//! Responsible for quotas, for moving as little as they allow, and for spreading copies over zones. Pure: the same
//! input gives the same plan everywhere. It must never know who holds a slot at the moment, nor how one is moved.
//!
//! 1. **Owners.** Each node's quota of owned slots is its share of the capacity, by the largest remainder. Only what a
//!    node has over its quota moves, so the number of slots that change their owner is the least there can be. First to
//!    nodes that hold a copy already: they need no data. A rendezvous score chooses among equals.
//! 2. **Copies.** Quotas of followed slots likewise, as far as a node and a zone can hold one copy of a slot each. Whom
//!    a slot had stays where it may; what is missing goes to who lacks most.
//! 3. **Balance.** A follower too many gives way to one too few, directly or along a shortest chain of others, as in a
//!    maximum flow; each link of it moves one copy.

mod balance;
mod draft;
mod owners;
mod quota;
mod stage;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

pub use stage::stages;

use crate::NodeId;
use crate::metadata::{COPIES_MAX, MemberState, Members, Slots};
use draft::Draft;

/// The nodes that are to hold one slot, the wanted owner first.
pub type Targets = Arc<[NodeId]>;

/// Copies of each slot where nobody says how many.
pub const COPIES_DEFAULT: usize = 3;

/// What a node may be given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share {
    /// As much as its capacity is of the whole.
    Full,
    /// Nothing new: it is down, or not ready. It keeps what it has, up to its share.
    Present,
    /// Nothing: it is drained.
    Nothing,
}

/// A node that slots are planned for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PlanNode {
    /// The node.
    pub node: NodeId,
    /// What it can hold, in bytes; only the ratio to others counts.
    pub capacity_bytes: u64,
    /// Its failure zone; empty when it has no label, and then it shares none.
    pub zone: String,
    /// What it may be given.
    pub share: Share,
}

/// How many slots a node is to have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Quota {
    /// As owner.
    pub owned: u32,
    /// As follower.
    pub following: u32,
}

/// A slot whose targets change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotMove {
    /// The slot.
    pub slot: u16,
    /// The owner that was wanted before.
    pub from: Option<NodeId>,
    /// The owner that is wanted now.
    pub to: NodeId,
    /// Nodes that are to copy it.
    pub gains: Vec<NodeId>,
    /// Nodes that are to hold it no more.
    pub loses: Vec<NodeId>,
}

/// A new plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// Slot by slot.
    pub targets: Vec<Targets>,
    /// What differs from the plan before, by slot.
    pub moves: Vec<SlotMove>,
    /// What each node is to have.
    pub quotas: BTreeMap<NodeId, Quota>,
}

impl Plan {
    /// Slots that change their owner.
    #[must_use]
    pub fn owners_moved(&self) -> usize {
        let moved = self.moves.iter().filter(|slot| slot.from != Some(slot.to));
        moved.count()
    }

    /// Copies of slots that somebody has to fetch.
    #[must_use]
    pub fn copies_moved(&self) -> usize {
        self.moves.iter().map(|slot| slot.gains.len()).sum()
    }
}

/// Why there is no plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlanError {
    /// Nobody may be given slots.
    #[error("no member may be given slots")]
    NoNode,
    /// A number of copies that no slot can have.
    #[error("a slot has 1 to {COPIES_MAX} copies, not {copies}")]
    Copies {
        /// How many were wanted.
        copies: usize,
    },
}

impl PlanError {
    /// A stable name for machines.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NoNode => "plan_no_node",
            Self::Copies { .. } => "plan_copies",
        }
    }

    /// What to do about it.
    #[must_use]
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::NoNode => "start another node, or stop draining the last one",
            Self::Copies { .. } => "set the number of copies within its bounds",
        }
    }
}

/// The members as the planner sees them. One that is joining gets its share once it `is_ready`; one that is down or not
/// ready keeps what it has.
pub fn plan_nodes(members: &Members, is_ready: impl Fn(NodeId) -> bool) -> Vec<PlanNode> {
    let nodes = members.present().map(|(node, record)| PlanNode {
        node,
        capacity_bytes: record.capacity.bytes_max,
        zone: record.zone.clone(),
        share: match record.state {
            MemberState::Up => Share::Full,
            MemberState::Joining if is_ready(node) => Share::Full,
            MemberState::Joining | MemberState::Down => Share::Present,
            MemberState::Draining | MemberState::Left => Share::Nothing,
        },
    });
    nodes.collect()
}

/// The present plan, slot by slot.
#[must_use]
pub fn present(slots: &Slots) -> Vec<Targets> {
    slots
        .iter()
        .map(|(_, record)| Arc::clone(&record.targets))
        .collect()
}

/// Makes the next plan of the present one. Each slot gets as many copies as are wanted and there are nodes for; a
/// slot of nodes that may be given nothing new can have fewer.
///
/// # Errors
/// [`PlanError`].
pub fn plan(nodes: &[PlanNode], copies: usize, present: &[Targets]) -> Result<Plan, PlanError> {
    let (mut draft, quotas) = drafted(nodes, copies, present)?;
    owners::assign(&mut draft, &quotas);
    draft.trim(&quotas);
    draft.fill(&quotas);
    balance::level(&mut draft, &quotas);
    let targets: Vec<Targets> = draft.targets().collect();
    let pairs = (0..=u16::MAX).zip(present.iter().zip(&targets));
    let moves = pairs.filter_map(|(slot, (was, is))| moved(slot, was, is));
    Ok(Plan {
        moves: moves.collect(),
        quotas: named(&draft, &quotas),
        targets,
    })
}

/// What each node is to have, without the plan that gives it.
///
/// # Errors
/// [`PlanError`].
pub fn quotas(
    nodes: &[PlanNode],
    copies: usize,
    present: &[Targets],
) -> Result<BTreeMap<NodeId, Quota>, PlanError> {
    let (draft, quotas) = drafted(nodes, copies, present)?;
    Ok(named(&draft, &quotas))
}

fn drafted(
    nodes: &[PlanNode],
    copies: usize,
    present: &[Targets],
) -> Result<(Draft, Vec<Quota>), PlanError> {
    if !(1..=COPIES_MAX).contains(&copies) {
        return Err(PlanError::Copies { copies });
    }
    if !nodes.iter().any(|node| node.share == Share::Full) {
        return Err(PlanError::NoNode);
    }
    let draft = Draft::new(nodes, copies, present);
    let quotas = quota::of(&draft);
    Ok((draft, quotas))
}

fn named(draft: &Draft, quotas: &[Quota]) -> BTreeMap<NodeId, Quota> {
    let spots = draft.spots.iter().map(|spot| spot.id);
    spots.zip(quotas.iter().copied()).collect()
}

fn moved(slot: u16, was: &Targets, is: &Targets) -> Option<SlotMove> {
    let to = is.first().copied()?;
    let without = |these: &Targets, those: &Targets| {
        let left = these.iter().copied().filter(|node| !those.contains(node));
        left.collect()
    };
    (was != is).then(|| SlotMove {
        slot,
        from: was.first().copied(),
        to,
        gains: without(is, was),
        loses: without(was, is),
    })
}
