//! The slots as pieces of a snapshot, and back from bytes that may be anything.
//!
//! Responsible for the form. It must never know where pieces are stored, nor which members there are.
//!
//! ```text
//! piece:   plan u64 · revision u64 · 1 024 records, in order            all little-endian
//! record:  epoch u64 · founded u64 · members u8 · targets u8 · members × (node 16, life 16) · targets × node 16
//! ```

use std::sync::Arc;

use bytes::Buf as _;
use ultrakv_actors::BootId;
use ultrakv_cache::SLOT_COUNT;

use super::super::packed::Packed as _;
use super::{CHUNK_SLOTS, COPIES_MAX, SlotRecord, Slots};
use crate::entry::Ownership;
use crate::{Epoch, Incarnation, NodeId, directory};

/// Slots of one piece: with as many members and targets as there may be, it fits a chunk of a snapshot.
const PIECE_SLOTS: u16 = 1_024;
/// Pieces of all slots.
pub(in super::super) const SLOTS_PIECES: u16 = SLOT_COUNT / PIECE_SLOTS;

const HEAD_BYTES: usize = 16;
const RECORD_BYTES_MAX: usize = 18 + COPIES_MAX * (32 + 16);
const _: () = assert!(
    HEAD_BYTES + 1_024 * RECORD_BYTES_MAX <= directory::SNAPSHOT_CHUNK_BYTES_MAX
        && PIECE_SLOTS == 1_024
        && PIECE_SLOTS.is_multiple_of(CHUNK_SLOTS)
        && SLOT_COUNT.is_multiple_of(PIECE_SLOTS)
);

/// One piece of the slots, by its number below [`SLOTS_PIECES`].
pub(in super::super) fn piece(slots: &Slots, number: u16) -> Vec<u8> {
    let mut bytes = Vec::new();
    bytes.extend(slots.plan.to_le_bytes());
    bytes.extend(slots.revision.to_le_bytes());
    let first = number.saturating_mul(PIECE_SLOTS);
    for slot in first..first.saturating_add(PIECE_SLOTS) {
        let Some(SlotRecord { ownership, targets }) = slots.get(slot) else {
            break;
        };
        bytes.extend(ownership.epoch.0.to_le_bytes());
        bytes.extend(ownership.founded.0.to_le_bytes());
        let counts = [ownership.in_sync.len(), targets.len()];
        bytes.extend(counts.map(|count| u8::try_from(count).unwrap_or(u8::MAX)));
        for member in &ownership.in_sync {
            member.put(&mut bytes);
        }
        for node in targets.iter() {
            node.put(&mut bytes);
        }
    }
    bytes
}

/// Makes slots of pieces, in order.
#[derive(Debug, Default)]
pub(in super::super) struct SlotsRebuild {
    chunks: Vec<Arc<[SlotRecord]>>,
    head: Option<(u64, u64)>,
}

impl SlotsRebuild {
    /// Takes the next piece in; `false` when it is none.
    pub(in super::super) fn push(&mut self, piece: &[u8]) -> bool {
        !self.is_whole() && self.read(piece).is_some()
    }

    fn read(&mut self, mut piece: &[u8]) -> Option<()> {
        let head = (piece.try_get_u64_le().ok()?, piece.try_get_u64_le().ok()?);
        if *self.head.get_or_insert(head) != head {
            return None;
        }
        for _ in 0..PIECE_SLOTS / CHUNK_SLOTS {
            let records = (0..CHUNK_SLOTS).map(|_| record(&mut piece));
            let chunk: Option<Arc<[SlotRecord]>> = records.collect();
            self.chunks.push(chunk?);
        }
        piece.is_empty().then_some(())
    }

    fn is_whole(&self) -> bool {
        self.chunks.len() == usize::from(super::CHUNKS)
    }

    /// The slots, once all pieces are in.
    pub(in super::super) fn finish(self) -> Option<Slots> {
        let (plan, revision) = self.head.filter(|_| self.is_whole())?;
        Some(Slots {
            chunks: self.chunks,
            plan,
            revision,
        })
    }
}

fn record(from: &mut &[u8]) -> Option<SlotRecord> {
    let (epoch, founded) = (from.try_get_u64_le().ok()?, from.try_get_u64_le().ok()?);
    let members = usize::from(from.try_get_u8().ok()?);
    let targets = usize::from(from.try_get_u8().ok()?);
    if members > COPIES_MAX || targets > COPIES_MAX {
        return None;
    }
    let mut id = || from.try_get_u128_le().ok();
    let mut in_sync = Vec::with_capacity(members);
    for _ in 0..members {
        in_sync.push(Incarnation {
            node: NodeId::from_u128(id()?),
            boot: BootId::from_u128(id()?),
        });
    }
    let targets = (0..targets).map(|_| id().map(NodeId::from_u128));
    Some(SlotRecord {
        targets: targets.collect::<Option<_>>()?,
        ownership: Ownership {
            epoch: Epoch(epoch),
            founded: Epoch(founded),
            in_sync,
        },
    })
}
