//! What each node has of the slots, is to have, and should have: for people who look. It must never decide anything.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::{PlanNode, Quota, Share, present, quotas};
use crate::NodeId;
use crate::metadata::{SlotCounts, Slots};

/// One node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct NodeLayout {
    /// The node.
    pub node: NodeId,
    /// What it may be given; none when it is no member.
    pub share: Option<Share>,
    /// What a plan made now would give it.
    pub quota: Quota,
    /// What it has, and is to have by the present plan.
    pub slots: SlotCounts,
}

/// The slots as they lie.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Layout {
    /// The number of the present plan.
    pub plan: u64,
    /// Slots that are not yet held as the plan says.
    pub unsettled: u32,
    /// Slots that nobody is in sync of.
    pub ownerless: u32,
    /// Every node that is a member, has slots or is to have some, by id.
    pub nodes: Vec<NodeLayout>,
}

impl Layout {
    /// Looks at the slots. Quotas are zero where no plan could be made.
    #[must_use]
    pub fn of(slots: &Slots, nodes: &[PlanNode], copies: usize) -> Self {
        let counts = slots.counts();
        let quotas = quotas(nodes, copies, &present(slots)).unwrap_or_default();
        let shares: BTreeMap<NodeId, Share> =
            nodes.iter().map(|node| (node.node, node.share)).collect();
        let ids: BTreeSet<NodeId> = shares.keys().chain(counts.keys()).copied().collect();
        let nodes = ids.into_iter().map(|node| NodeLayout {
            node,
            share: shares.get(&node).copied(),
            quota: quotas.get(&node).copied().unwrap_or_default(),
            slots: counts.get(&node).copied().unwrap_or_default(),
        });
        Self {
            plan: slots.plan(),
            unsettled: slots.unsettled(),
            ownerless: slots.ownerless(),
            nodes: nodes.collect(),
        }
    }
}
