//! What happened to blocks of late: which were fetched once, so that the second time is noticed, and where new ones were
//! brought, so that their writer finds them before the directory lists them. It must never know what is done then.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use ultrakv_cache::{ArenaId, BlockKey};

use crate::NodeId;

/// Blocks remembered: about half a megabyte, and some minutes of fetches.
const SEEN_MAX: usize = 4_096;

/// Blocks seen once, the oldest forgotten first.
#[derive(Debug, Default)]
pub(super) struct SeenOnce {
    seen: BTreeSet<(ArenaId, BlockKey)>,
    order: VecDeque<(ArenaId, BlockKey)>,
}

impl SeenOnce {
    /// Notes a block; tells whether it was seen before, and forgets it then.
    pub(super) fn is_second(&mut self, arena: ArenaId, key: BlockKey) -> bool {
        let seen = (arena, key);
        if self.seen.remove(&seen) {
            return true;
        }
        self.seen.insert(seen);
        self.order.push_back(seen);
        // What was forgotten by its second sight still stands in the order; at most as often as there is room.
        while self.order.len() > SEEN_MAX {
            if let Some(oldest) = self.order.pop_front() {
                self.seen.remove(&oldest);
            }
        }
        false
    }
}

/// Blocks remembered after they were brought elsewhere: their records are agreed on within some milliseconds.
const BROUGHT_MAX: usize = 8_192;

/// Where new blocks were brought, the oldest forgotten first. A hint, as the directory is one.
#[derive(Debug, Default)]
pub(super) struct Brought {
    nodes: BTreeMap<BlockKey, NodeId>,
    order: VecDeque<BlockKey>,
}

impl Brought {
    /// A block was brought to a node.
    pub(super) fn note(&mut self, key: BlockKey, node: NodeId) {
        if self.nodes.insert(key, node).is_none() {
            self.order.push_back(key);
        }
        while self.order.len() > BROUGHT_MAX {
            if let Some(oldest) = self.order.pop_front() {
                self.nodes.remove(&oldest);
            }
        }
    }

    /// Where a block was brought of late.
    pub(super) fn node(&self, key: &BlockKey) -> Option<NodeId> {
        self.nodes.get(key).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(number: usize) -> BlockKey {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&number.to_le_bytes());
        BlockKey::from_bytes(bytes)
    }

    #[test]
    fn the_second_time_counts_and_memory_is_bounded() {
        let mut seen = SeenOnce::default();
        assert!(!seen.is_second(ArenaId(1), key(7)));
        assert!(!seen.is_second(ArenaId(2), key(7)), "another domain's");
        assert!(seen.is_second(ArenaId(1), key(7)));
        assert!(!seen.is_second(ArenaId(1), key(7)), "counted again");
        (100..100 + SEEN_MAX).for_each(|number| assert!(!seen.is_second(ArenaId(1), key(number))));
        assert!(!seen.is_second(ArenaId(1), key(7)), "forgotten by now");
        assert!(seen.seen.len() <= SEEN_MAX && seen.order.len() <= SEEN_MAX);
    }

    #[test]
    fn where_a_block_was_brought_last_is_known_for_a_while() {
        let mut brought = Brought::default();
        let node = |id| NodeId::from_u128(id);
        brought.note(key(1), node(7));
        brought.note(key(1), node(8));
        assert_eq!(brought.node(&key(1)), Some(node(8)));
        assert_eq!(brought.node(&key(2)), None);
        (10..10 + BROUGHT_MAX).for_each(|number| brought.note(key(number), node(9)));
        assert_eq!(brought.node(&key(1)), None);
        assert_eq!(
            (brought.nodes.len(), brought.order.len()),
            (BROUGHT_MAX, BROUGHT_MAX)
        );
    }
}
