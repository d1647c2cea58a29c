//! Who holds which slot, and who is to: for each slot Raft's word about its entries, and the nodes that the plan names.
//!
//! Responsible for the records and for when they may change: an epoch only grows, only a claim founds a slot, a set
//! names distinct nodes that are members. It must never know how a plan is made, nor what lies in a slot.
//!
//! # Shape
//! 256 chunks of 64 slots, each behind a counted reference: a change copies one chunk, and what differs between two
//! views is found by comparing pointers.

mod change;
mod codec;
mod stage;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::sync::Arc;

use serde::Serialize;
use ultrakv_cache::SLOT_COUNT;

pub(super) use codec::{SLOTS_PIECES, SlotsRebuild, piece};
pub use stage::SlotsStage;

use super::member::{MemberState, Members};
use crate::entry::Ownership;
use crate::{Epoch, NodeId};

/// Members of one slot, and nodes that the plan names for one.
pub const COPIES_MAX: usize = 8;

/// Slots of one chunk.
const CHUNK_SLOTS: u16 = 64;
const CHUNKS: u16 = SLOT_COUNT / CHUNK_SLOTS;
const _: () = assert!(CHUNKS * CHUNK_SLOTS == SLOT_COUNT);

/// One slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SlotRecord {
    /// Raft's word about the slot's entries. Epoch 0: it was never claimed.
    pub ownership: Ownership,
    /// The nodes that are to hold it, the wanted owner first; empty before the first plan.
    pub targets: Arc<[NodeId]>,
}

impl Default for SlotRecord {
    fn default() -> Self {
        Self {
            ownership: Ownership {
                epoch: Epoch(0),
                founded: Epoch(0),
                in_sync: Vec::new(),
            },
            targets: Arc::default(),
        }
    }
}

impl SlotRecord {
    /// Whether those who hold it are those who are to, with the wanted owner first.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        let members = &self.ownership.in_sync;
        let owner = members.first().map(|owner| owner.node);
        owner == self.targets.first().copied()
            && members.len() == self.targets.len()
            && members
                .iter()
                .all(|member| self.targets.contains(&member.node))
    }

    /// Whether commands could have made it.
    fn is_valid(&self, members: &Members) -> bool {
        let Ownership {
            epoch,
            founded,
            in_sync,
        } = &self.ownership;
        let nodes = in_sync.iter().map(|member| member.node);
        let is_down = |node| {
            members
                .get(node)
                .is_some_and(|record| record.state == MemberState::Down)
        };
        founded <= epoch
            && (epoch.0 == 0) == (founded.0 == 0)
            && (epoch.0 > 0 || in_sync.is_empty())
            && are_few_and_distinct(nodes.clone())
            && are_few_and_distinct(self.targets.iter().copied())
            && in_sync.iter().all(|member| members.has_shard(*member))
            // One that is down stays only where nobody else has the data.
            && (in_sync.len() <= 1 || !nodes.into_iter().any(is_down))
    }
}

fn are_few_and_distinct(mut nodes: impl ExactSizeIterator<Item = NodeId>) -> bool {
    let mut seen = BTreeSet::new();
    nodes.len() <= COPIES_MAX && nodes.all(|node| seen.insert(node))
}

/// What one node has of the slots.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct SlotCounts {
    /// Slots that it owns.
    pub owned: u32,
    /// Slots that it is in sync of without owning them.
    pub following: u32,
    /// Slots that it is to own.
    pub target_owned: u32,
    /// Slots that it is to follow.
    pub target_following: u32,
    /// Slots that it is to hold and is not in sync of.
    pub arriving: u32,
    /// Slots that it is in sync of and is not to hold.
    pub leaving: u32,
}

/// Every slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Slots {
    chunks: Vec<Arc<[SlotRecord]>>,
    plan: u64,
    revision: u64,
}

impl Default for Slots {
    fn default() -> Self {
        let chunk: Arc<[SlotRecord]> = vec![SlotRecord::default(); usize::from(CHUNK_SLOTS)].into();
        Self {
            chunks: vec![chunk; usize::from(CHUNKS)],
            plan: 0,
            revision: 0,
        }
    }
}

impl Slots {
    /// A slot; none for a number that is no slot.
    #[must_use]
    pub fn get(&self, slot: u16) -> Option<&SlotRecord> {
        let chunk = self.chunks.get(usize::from(slot / CHUNK_SLOTS))?;
        chunk.get(usize::from(slot % CHUNK_SLOTS))
    }

    /// Every slot in order.
    pub fn iter(&self) -> impl Iterator<Item = (u16, &SlotRecord)> {
        (0..SLOT_COUNT).zip(self.chunks.iter().flat_map(|chunk| chunk.iter()))
    }

    /// Ranges of neighbouring slots of which some may differ between two views; all others are the same. Costs no look
    /// at any record.
    pub fn changed_chunks<'a>(
        old: &'a Self,
        new: &'a Self,
    ) -> impl Iterator<Item = Range<u16>> + 'a {
        let chunks = (0..CHUNKS).zip(old.chunks.iter().zip(&new.chunks));
        chunks
            .filter(|(_, (old, new))| !Arc::ptr_eq(old, new))
            .map(|(chunk, _)| chunk * CHUNK_SLOTS..(chunk + 1) * CHUNK_SLOTS)
    }

    /// The slots that differ between two views, as the newer has them. Every change of who holds a slot raises its
    /// epoch.
    pub fn changed<'a>(
        old: &'a Self,
        new: &'a Self,
    ) -> impl Iterator<Item = (u16, &'a SlotRecord)> + 'a {
        let slots = Self::changed_chunks(old, new).flatten();
        slots.filter_map(|slot| {
            let (old, new) = (old.get(slot)?, new.get(slot)?);
            let is_same = old.ownership.epoch == new.ownership.epoch && old.targets == new.targets;
            (!is_same).then_some((slot, new))
        })
    }

    /// The number of the present plan; grows with every part of a plan that is staged.
    #[must_use]
    pub const fn plan(&self) -> u64 {
        self.plan
    }

    /// Grows with every change of a slot or of the plan.
    #[must_use]
    pub const fn revision(&self) -> u64 {
        self.revision
    }

    /// What each node has, and is to have. Visits every slot.
    #[must_use]
    pub fn counts(&self) -> BTreeMap<NodeId, SlotCounts> {
        let mut counts = BTreeMap::<NodeId, SlotCounts>::new();
        for (_, SlotRecord { ownership, targets }) in self.iter() {
            let members = &ownership.in_sync;
            for (place, member) in members.iter().enumerate() {
                let count = counts.entry(member.node).or_default();
                count.owned += u32::from(place == 0);
                count.following += u32::from(place > 0);
                count.leaving += u32::from(!targets.contains(&member.node));
            }
            for (place, node) in targets.iter().enumerate() {
                let count = counts.entry(*node).or_default();
                count.target_owned += u32::from(place == 0);
                count.target_following += u32::from(place > 0);
                count.arriving += u32::from(!members.iter().any(|member| member.node == *node));
            }
        }
        counts
    }

    /// Slots that are not yet held as the plan says.
    #[must_use]
    pub fn unsettled(&self) -> u32 {
        let unsettled = self.iter().filter(|(_, record)| !record.is_settled());
        u32::try_from(unsettled.count()).unwrap_or(u32::MAX)
    }

    /// Slots that nobody is in sync of: their next owner begins empty.
    #[must_use]
    pub fn ownerless(&self) -> u32 {
        let ownerless = self
            .iter()
            .filter(|(_, record)| record.ownership.in_sync.is_empty());
        u32::try_from(ownerless.count()).unwrap_or(u32::MAX)
    }

    pub(super) fn is_valid(&self, members: &Members) -> bool {
        self.iter().all(|(_, record)| record.is_valid(members))
    }

    fn get_mut(&mut self, slot: u16) -> Option<&mut SlotRecord> {
        let chunk = self.chunks.get_mut(usize::from(slot / CHUNK_SLOTS))?;
        Arc::make_mut(chunk).get_mut(usize::from(slot % CHUNK_SLOTS))
    }
}
