//! Which node holds which slot, as it is told to operators; and the version of a slot's record. It must never know what lies
//! in a slot.

use serde::{Deserialize, Serialize};
use ultrakv_cache::SLOT_COUNT;

use crate::metadata::{SlotRecord, Slots};
use crate::{ClusterHandle, NodeId};

/// A version of one slot's ownership; grows when the slot changes hands.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Epoch(pub u64);

/// Neighbouring slots with the same record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SlotRange {
    /// The first slot of the range.
    pub first: u16,
    /// The last slot of the range, which belongs to it.
    pub last: u16,
    /// The node that orders the range's entries; none while nobody does.
    pub owner: Option<NodeId>,
    /// Nodes that hold every answered write, the owner first.
    pub in_sync: Vec<NodeId>,
    /// The version of this record.
    pub epoch: Epoch,
}

/// The holders of every slot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SlotMap {
    /// Every slot exactly once, in order.
    pub ranges: Vec<SlotRange>,
}

impl SlotMap {
    fn of(slots: &Slots) -> Self {
        let mut ranges: Vec<SlotRange> = Vec::new();
        for (slot, SlotRecord { ownership, .. }) in slots.iter() {
            let in_sync: Vec<NodeId> = ownership.in_sync.iter().map(|held| held.node).collect();
            match ranges.last_mut() {
                Some(range) if range.epoch == ownership.epoch && range.in_sync == in_sync => {
                    range.last = slot;
                }
                _ => ranges.push(SlotRange {
                    first: slot,
                    last: slot,
                    owner: in_sync.first().copied(),
                    in_sync,
                    epoch: ownership.epoch,
                }),
            }
        }
        debug_assert_eq!(ranges.last().map(|range| range.last), Some(SLOT_COUNT - 1));
        Self { ranges }
    }
}

impl ClusterHandle {
    /// The holders of every slot, as this node knows them. Long while slots move: thousands of ranges.
    #[must_use]
    pub fn slots(&self) -> SlotMap {
        SlotMap::of(self.inner.directed.consensus.view().slots())
    }
}
