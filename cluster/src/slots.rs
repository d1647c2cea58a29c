//! Which node owns which slot, each slot at its own epoch.
//!
//! With one node the map has one range. It must never know what lies in a slot.

use serde::{Deserialize, Serialize};
use ultrakv_cache::SLOT_COUNT;

use crate::NodeId;

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
    /// The node that orders the range's entries.
    pub owner: NodeId,
    /// Nodes that hold every answered write, the owner among them.
    pub in_sync: Vec<NodeId>,
    /// The version of this record.
    pub epoch: Epoch,
}

/// The owner of every slot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SlotMap {
    /// Every slot exactly once, in order.
    pub ranges: Vec<SlotRange>,
}

impl SlotMap {
    /// The map of a cluster of one: every slot at its first epoch, all owned by this node.
    #[must_use]
    pub fn of_one(node: NodeId) -> Self {
        Self {
            ranges: vec![SlotRange {
                first: 0,
                last: SLOT_COUNT - 1,
                owner: node,
                in_sync: vec![node],
                epoch: Epoch(1),
            }],
        }
    }

    /// The record of a slot; none for a number that is no slot.
    #[must_use]
    pub fn record(&self, slot: u16) -> Option<&SlotRange> {
        let after = self.ranges.partition_point(|range| range.last < slot);
        let range = self.ranges.get(after)?;
        (range.first <= slot).then_some(range)
    }

    /// How many slots a node owns.
    #[must_use]
    pub fn owned(&self, node: NodeId) -> u32 {
        let ranges = self.ranges.iter().filter(|range| range.owner == node);
        ranges
            .map(|range| u32::from(range.last - range.first) + 1)
            .sum()
    }
}

#[cfg(test)]
mod tests {
    use ultrakv_actors::Entropy;

    use super::*;

    #[test]
    fn one_node_owns_every_slot_and_nothing_beyond() {
        let node = NodeId::draw(&Entropy::seeded(1)).unwrap();
        let map = SlotMap::of_one(node);
        assert_eq!(map.owned(node), u32::from(SLOT_COUNT));
        for slot in [0, 1, SLOT_COUNT / 2, SLOT_COUNT - 1] {
            assert_eq!(map.record(slot).map(|range| range.owner), Some(node));
        }
        assert_eq!(map.record(SLOT_COUNT), None);
        assert_eq!(map.record(u16::MAX), None);
    }

    #[test]
    fn a_slot_is_found_in_its_own_range() {
        let entropy = Entropy::seeded(2);
        let nodes = [(); 3].map(|()| NodeId::draw(&entropy).unwrap());
        let range = |first, last, owner| SlotRange {
            first,
            last,
            owner,
            in_sync: vec![owner],
            epoch: Epoch(1),
        };
        let map = SlotMap {
            ranges: vec![
                range(0, 9, nodes[0]),
                range(10, 10, nodes[1]),
                range(11, SLOT_COUNT - 1, nodes[2]),
            ],
        };
        for (slot, owner) in [(0, 0), (9, 0), (10, 1), (11, 2), (SLOT_COUNT - 1, 2)] {
            assert_eq!(map.record(slot).unwrap().owner, nodes[owner], "slot {slot}");
        }
        assert_eq!(map.owned(nodes[1]), 1);
    }
}
