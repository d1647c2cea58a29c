//! Responsible for going through everything that a shard holds, piece by piece. It must never know what for.

use super::Shard;
use crate::effect::{Effect, Listed};
use crate::event::{ListPage, Ticket};
use crate::forest::BlockId;
use crate::key::{BlockKey, PLACEMENT_RUN_BLOCKS};
use crate::time::Now;

/// Numbers looked at by one event: 4 096 records are 180 KiB, and the walk to a run's head is paid for found blocks only.
const LIST_STEP: u32 = 4_096;

impl Shard {
    /// The blocks of a page.
    ///
    /// A block keeps its number for as long as it is here, so whoever goes from the first number to the last sees every
    /// block that was here all the while, once; of others the changes tell.
    pub(super) fn list(&self, ticket: Ticket, page: ListPage) -> Effect {
        let ListPage { from, blocks_max } = page;
        let slots = self.forest.slots();
        let end = from.saturating_add(LIST_STEP).min(slots);
        let room = usize::try_from(blocks_max.max(1)).unwrap_or(usize::MAX);
        let mut blocks = Vec::new();
        let mut at = from;
        while at < end && blocks.len() < room {
            let id = BlockId(at);
            at += 1;
            if self.table.records[id.0].is_stored() && self.is_live(id) {
                blocks.push(self.listed(id));
            }
        }
        let next = (at < slots).then_some(at);
        Effect::Listed {
            ticket,
            blocks,
            next,
        }
    }

    fn listed(&self, id: BlockId) -> Listed {
        let record = &self.table.records[id.0];
        let parent = self.forest.parent(id);
        Listed {
            key: *self.forest.key(id),
            slot: record.slot,
            run: self.run_of(id),
            parent: parent.map(|parent| *self.forest.key(parent)),
            depth: self.forest.depth(id),
            arena: self.regions[record.arena].id,
            pin: record.pin(),
            ttl_ms: self.ttl_ms(record.expires()),
            payload_bytes: record.header().payload_bytes,
            codec: record.header().codec,
        }
    }

    /// Milliseconds until an instant, `None` for never.
    pub(super) fn ttl_ms(&self, expires: Now) -> Option<u64> {
        (expires < Now(u64::MAX)).then(|| expires.0.saturating_sub(self.now.0))
    }

    /// The first block of a block's run, found through the blocks between.
    fn run_of(&self, id: BlockId) -> Option<BlockKey> {
        let mut at = id;
        for _ in 0..PLACEMENT_RUN_BLOCKS {
            if self.table.records[at.0].is_head() {
                return Some(*self.forest.key(at));
            }
            at = self.forest.parent(at)?;
        }
        None
    }
}
