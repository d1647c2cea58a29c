//! Responsible for what operators and time do to blocks: pins, removal, purges, expiry, new limits. It must never know why.

use super::{Shard, sane};
use crate::budget::Budget;
use crate::effect::{Effect, PinOutcome};
use crate::event::{ArenaId, Pin, Ticket};
use crate::forest::BlockId;
use crate::key::BlockKey;

/// Blocks a purge looks at before it answers; the rest cannot be found any more and goes with the ticks that follow.
const PURGE_STEP: u32 = 65_536;

impl Shard {
    pub(super) fn pin(&mut self, key: &BlockKey, pin: Pin) -> PinOutcome {
        let Some(id) = self.find_live(key) else {
            return PinOutcome::Absent;
        };
        let before = self.table.records[id.0].pin();
        if before == pin {
            return PinOutcome::Done;
        }
        let bytes = self.bytes_of(&self.table.extents(id, self.config.page_bytes));
        if pin == Pin::Hard {
            let pin_bytes = self.usage.pin_bytes.saturating_add(bytes);
            if pin_bytes > self.budget.pin_bytes_max {
                return PinOutcome::QuotaFull;
            }
            self.usage.pin_bytes = pin_bytes;
        }
        if before == Pin::Hard {
            self.usage.pin_bytes -= bytes;
        }
        self.table.records[id.0].set_pin(pin);
        self.place_by_pin(id, pin);
        PinOutcome::Done
    }

    pub(super) fn remove(&mut self, keys: &[BlockKey]) -> u32 {
        let mut removed = 0;
        for key in keys {
            if let Some(id) = self.find_live(key) {
                self.drop_block(id, false);
                removed += 1;
            }
        }
        removed
    }

    pub(super) fn purge(&mut self, ticket: Ticket, arena: ArenaId) -> Effect {
        let mut blocks = 0;
        if let Some(slot) = self.regions.slot(arena) {
            self.reservations.doom(slot);
            if let Some(region) = self.regions.get_mut(slot)
                && !region.is_purging
            {
                blocks = region.blocks;
                if blocks == 0 {
                    region.is_retired = true;
                    self.retired.push(slot);
                } else {
                    region.is_purging = true;
                    self.purging += 1;
                }
            }
            self.sweep(PURGE_STEP);
        }
        Effect::Purged { ticket, blocks }
    }

    /// Looks at the next `steps` blocks and drops those whose time is over or whose domain is being purged.
    pub(super) fn sweep(&mut self, steps: u32) {
        let slots = self.forest.slots();
        for _ in 0..steps.min(slots) {
            if self.timed_blocks == 0 && self.purging == 0 {
                return;
            }
            let id = BlockId(self.sweep_at);
            self.sweep_at = if self.sweep_at + 1 < slots {
                self.sweep_at + 1
            } else {
                0
            };
            let record = &self.table.records[id.0];
            if record.is_stored() && self.regions[record.arena].is_purging {
                self.drop_block(id, false);
            } else {
                self.drop_expired(id);
            }
        }
    }

    /// Drops a block whose time is over, and those ancestors that it was the last to keep. Nobody outlives the parent it was
    /// stored under, so what is below an expired block is expired too, and going leaf by leaf reaches every one without
    /// cutting a proof. Only a block that came back before its children were gone can be outlived; nothing is proven
    /// through it, so it goes at once.
    fn drop_expired(&mut self, id: BlockId) {
        let mut next = Some(id);
        while let Some(id) = next.take() {
            let record = &self.table.records[id.0];
            if record.is_stored()
                && record.expires() <= self.now
                && (self.forest.is_leaf(id) || self.forest.is_severed(id))
            {
                next = self.forest.parent(id);
                self.drop_block(id, false);
                self.counted.expired += 1;
            }
        }
    }

    /// Evicts until everything fits the new limits, and takes them if it does.
    pub(super) fn resize(&mut self, budget: Budget) -> bool {
        let budget = sane(budget);
        while !self.usage.is_within(&budget) {
            let lacks_entry_bytes = self.usage.entry_bytes > budget.entry_bytes_max;
            let evicted = if lacks_entry_bytes {
                self.evict_entry(None).is_some()
            } else if self.usage.pin_bytes > budget.pin_bytes_max {
                false
            } else {
                // Entries have no tokens and are no blocks: for those limits none has to go.
                let lacks_bytes = self.usage.bytes > budget.bytes_max;
                self.evict_block(None).is_some() || lacks_bytes && self.evict_entry(None).is_some()
            };
            if !evicted {
                return false;
            }
        }
        self.budget = budget;
        true
    }
}
