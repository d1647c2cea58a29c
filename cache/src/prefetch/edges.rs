//! Responsible for which block mostly follows which, as seen in requests. It must never know where blocks are.
//!
//! # Source
//! A Markov table of the first order (Joseph, Grunwald, "Prefetching using Markov predictors", ISCA 1997), with one follower
//! kept a block: in a tree of prefixes most blocks have one child, and where they have many, none is likely.

use std::collections::{BTreeMap, VecDeque};

use crate::event::ArenaId;
use crate::key::{BlockAddress, BlockKey};

/// Blocks whose follower is remembered: about 10 MiB.
const EDGES_MAX: usize = 65_536;

/// Times counted at most; then all counts of a block are halved, so that a new follower can take over.
const TIMES_MAX: u16 = 64;

#[derive(Clone, Copy, Debug)]
struct Edge {
    child: BlockAddress,
    /// How often this one followed, and how often any.
    times: u16,
    all: u16,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Edges {
    edges: BTreeMap<(ArenaId, BlockKey), Edge>,
    order: VecDeque<(ArenaId, BlockKey)>,
}

impl Edges {
    /// Whether nothing was learned.
    pub(super) fn is_empty(&self) -> bool {
        self.edges.is_empty()
    }

    /// These followed each other.
    pub(super) fn learn(&mut self, arena: ArenaId, chain: &[BlockAddress]) {
        for (parent, child) in chain.iter().zip(chain.iter().skip(1)) {
            self.follows(arena, parent.key, child);
        }
    }

    fn follows(&mut self, arena: ArenaId, parent: BlockKey, child: &BlockAddress) {
        let name = (arena, parent);
        let Some(edge) = self.edges.get_mut(&name) else {
            let (child, times) = (*child, 1);
            let edge = Edge {
                child,
                times,
                all: 1,
            };
            self.edges.insert(name, edge);
            self.order.push_back(name);
            while self.edges.len() > EDGES_MAX {
                let Some(oldest) = self.order.pop_front() else {
                    break;
                };
                self.edges.remove(&oldest);
            }
            return;
        };
        if edge.all >= TIMES_MAX {
            (edge.times, edge.all) = (edge.times / 2, edge.all / 2);
        }
        edge.all += 1;
        if edge.child.key == child.key {
            edge.times += 1;
        } else if u32::from(edge.times) * 2 < u32::from(edge.all) {
            // It follows less than half the time. The other one begins as a guess.
            (edge.child, edge.times, edge.all) = (*child, 1, 2);
        }
    }

    /// The likely followers of a block, one after another, at most so many. The way ends where it becomes a guess.
    pub(super) fn ahead(&self, arena: ArenaId, after: BlockKey, most: u32) -> Vec<BlockAddress> {
        let mut blocks = Vec::new();
        let mut at = after;
        for _ in 0..most {
            let Some(edge) = self.edges.get(&(arena, at)) else {
                break;
            };
            // At least 0.7 of the times, with half a time lent to each side.
            let is_likely =
                (2 * u32::from(edge.times) + 1) * 10 >= (2 * u32::from(edge.all) + 2) * 7;
            if !is_likely {
                break;
            }
            blocks.push(edge.child);
            at = edge.child.key;
        }
        blocks
    }

    /// Forgets a domain.
    pub(super) fn purge(&mut self, arena: ArenaId) {
        self.edges.retain(|(of, _), _| *of != arena);
        self.order.retain(|(of, _)| *of != arena);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ARENA: ArenaId = ArenaId(1);

    fn address(number: u32) -> BlockAddress {
        let mut bytes = [0; 32];
        bytes[..4].copy_from_slice(&number.to_le_bytes());
        let key = BlockKey::from_bytes(bytes);
        BlockAddress { key, run: key }
    }

    fn chain(numbers: &[u32]) -> Vec<BlockAddress> {
        numbers.iter().copied().map(address).collect()
    }

    #[test]
    fn follows_the_likely_child_and_stops_where_it_is_a_guess() {
        // Chains learned, and what is then ahead of block 1.
        let cases: [(&[&[u32]], &[u32]); 5] = [
            (&[], &[]),
            (&[&[1, 2, 3, 4]], &[2, 3, 4]),
            (&[&[1, 2, 3], &[1, 2, 4]], &[2]),
            (&[&[1, 2], &[1, 2], &[1, 2], &[1, 2], &[1, 9]], &[2]),
            (&[&[1, 2], &[1, 9]], &[]),
        ];
        for (chains, want) in cases {
            let mut edges = Edges::default();
            chains
                .iter()
                .for_each(|numbers| edges.learn(ARENA, &chain(numbers)));
            assert_eq!(
                edges.ahead(ARENA, address(1).key, 8),
                chain(want),
                "{chains:?}"
            );
        }
    }

    #[test]
    fn a_new_follower_takes_over_in_time() {
        let mut edges = Edges::default();
        (0..100).for_each(|_| edges.learn(ARENA, &chain(&[1, 2])));
        (0..400).for_each(|_| edges.learn(ARENA, &chain(&[1, 3])));
        assert_eq!(edges.ahead(ARENA, address(1).key, 8), chain(&[3]));
    }

    #[test]
    fn reaches_no_further_than_asked_and_a_circle_ends() {
        let mut edges = Edges::default();
        edges.learn(ARENA, &chain(&[1, 2, 1]));
        assert_eq!(edges.ahead(ARENA, address(1).key, 5).len(), 5);
        edges.purge(ARENA);
        assert_eq!(edges.ahead(ARENA, address(1).key, 5), []);
        assert!(edges.order.is_empty());
    }

    #[test]
    fn memory_is_bounded() {
        let mut edges = Edges::default();
        let most = u32::try_from(EDGES_MAX).unwrap();
        (0..most + 10).for_each(|at| edges.learn(ARENA, &chain(&[at, at + 1])));
        assert_eq!(
            (edges.edges.len(), edges.order.len()),
            (EDGES_MAX, EDGES_MAX)
        );
        assert_eq!(edges.ahead(ARENA, address(0).key, 1), []);
    }
}
