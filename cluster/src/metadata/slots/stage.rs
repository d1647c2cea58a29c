//! A part of a plan as bytes: the nodes once, then a small number a copy. It must never know how a plan is made.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::super::packed;
use super::{COPIES_MAX, are_few_and_distinct};
use crate::NodeId;

/// Nodes that one byte numbers; its highest value means that there is no further copy.
const NARROW_NODES_MAX: usize = 255;

/// The targets of neighbouring slots.
///
/// # Shape
/// `width` numbers a slot, each the place of a node in `nodes`: one byte when there are at most 255 nodes, else two,
/// little-endian. All ones: the slot has no further target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotsStage {
    /// The plan that must be the present one; the next one is the present one from then on.
    pub plan: u64,
    /// The nodes that are named, each once.
    #[serde(with = "packed")]
    pub nodes: Vec<NodeId>,
    /// The first slot.
    pub first: u16,
    /// Numbers a slot.
    pub width: u8,
    /// The numbers.
    #[serde(with = "packed")]
    pub map: Vec<u8>,
}

impl SlotsStage {
    /// The targets of neighbouring slots, each at least one node and at most [`COPIES_MAX`].
    #[must_use]
    pub fn new(plan: u64, first: u16, lists: &[Arc<[NodeId]>]) -> Self {
        let nodes: BTreeSet<NodeId> = lists.iter().flat_map(|list| list.iter().copied()).collect();
        let numbers: BTreeMap<NodeId, usize> = nodes.iter().copied().zip(0..).collect();
        let width = lists.iter().map(|list| list.len()).max().unwrap_or(0);
        let is_narrow = nodes.len() <= NARROW_NODES_MAX;
        let mut map = Vec::new();
        for list in lists {
            let known = list.iter().filter_map(|node| numbers.get(node).copied());
            let padded = known.chain(std::iter::repeat(usize::MAX)).take(width);
            for number in padded {
                let wide = u16::try_from(number).unwrap_or(u16::MAX);
                let [low, high] = wide.to_le_bytes();
                map.push(low);
                if !is_narrow {
                    map.push(high);
                }
            }
        }
        Self {
            plan,
            nodes: nodes.into_iter().collect(),
            first,
            width: u8::try_from(width).unwrap_or(u8::MAX),
            map,
        }
    }

    /// The targets, slot by slot; none when the bytes mean nothing. Equal lists are one in memory.
    pub(super) fn lists(&self) -> Option<Vec<Arc<[NodeId]>>> {
        let distinct: BTreeSet<&NodeId> = self.nodes.iter().collect();
        let width = usize::from(self.width);
        if !(1..=COPIES_MAX).contains(&width) || distinct.len() != self.nodes.len() {
            return None;
        }
        let number_bytes = if self.nodes.len() <= NARROW_NODES_MAX {
            1
        } else {
            2
        };
        let rows = self.map.chunks_exact(width * number_bytes);
        if !rows.remainder().is_empty() {
            return None;
        }
        let mut known = BTreeMap::<&[u8], Arc<[NodeId]>>::new();
        let mut lists = Vec::new();
        for row in rows {
            let list = match known.get(row) {
                Some(list) => Arc::clone(list),
                None => {
                    let list = self.list(row, number_bytes)?;
                    known.insert(row, Arc::clone(&list));
                    list
                }
            };
            lists.push(list);
        }
        (!lists.is_empty()).then_some(lists)
    }

    fn list(&self, row: &[u8], number_bytes: usize) -> Option<Arc<[NodeId]>> {
        let numbers = row.chunks_exact(number_bytes).map(|bytes| match *bytes {
            [0xff] | [0xff, 0xff] => None,
            [low] => Some(usize::from(low)),
            [low, high] => Some(usize::from(u16::from_le_bytes([low, high]))),
            _ => None,
        });
        let named: Vec<usize> = numbers.clone().map_while(|number| number).collect();
        // Nothing follows the end of a list: one meaning has one encoding.
        let is_one_way = numbers.skip(named.len()).all(|number| number.is_none());
        let nodes = named
            .into_iter()
            .map(|number| self.nodes.get(number).copied());
        let nodes: Arc<[NodeId]> = nodes.collect::<Option<_>>()?;
        (is_one_way && !nodes.is_empty() && are_few_and_distinct(nodes.iter().copied()))
            .then_some(nodes)
    }
}
