//! Responsible for room: what is used, who gives way, and which memory goes back to the machine. It must never know what
//! the room is for.

use super::{Remains, Shard};
use crate::arena::Extents;
use crate::effect::{Effect, PutRefusal};
use crate::entry::EntryId;
use crate::event::{Pin, Ticket};
use crate::forest::BlockId;
use crate::lease::Holding;
use crate::policy::Rank;
use crate::policy::{Newcomer, victim_sparing};
use crate::shard::rank_of;
use crate::shard::store::Denied;
use crate::time::Now;

/// What something new takes.
pub(super) struct Need {
    pub(super) bytes: u64,
    pub(super) tokens: u64,
    pub(super) blocks: u32,
}

impl Shard {
    /// Whether `need` fits beside what is used.
    pub(super) fn fits(&self, need: &Need) -> bool {
        let with = |used: u64, more: u64| used.saturating_add(more);
        with(self.usage.bytes, need.bytes) <= self.budget.bytes_max
            && self
                .budget
                .tokens_max
                .is_none_or(|max| with(self.usage.tokens, need.tokens) <= max)
            && self
                .usage
                .blocks
                .saturating_add(self.forest.ghosts())
                .saturating_add(need.blocks)
                <= self.budget.blocks_max
    }

    /// Evicts until `need` fits: blocks first, as long as the newcomer is worth more than they are, then cached entries.
    /// A pinned one always is, and the newcomer's parent is not evicted.
    pub(super) fn make_room(
        &mut self,
        need: &Need,
        newcomer: &Newcomer<'_>,
        is_pinned: bool,
    ) -> Result<(), Denied> {
        while !self.fits(need) {
            if let Some(victim) = self.victim(Some(newcomer), newcomer.parent) {
                if !is_pinned && !self.policy.admits(&self.forest, newcomer, victim) {
                    return Err(Denied::NotAdmitted);
                }
                self.evict_victim(victim);
                continue;
            }
            let lacks_bytes = self.usage.bytes.saturating_add(need.bytes) > self.budget.bytes_max;
            if !lacks_bytes || self.evict_entry(None).is_none() {
                return Err(Denied::Refused(PutRefusal::NoRoom));
            }
        }
        Ok(())
    }

    /// Evicts the next victim; answers its bytes and tokens.
    pub(super) fn evict_block(&mut self, spared: Option<BlockId>) -> Option<(u64, u64)> {
        let id = self.victim(None, spared)?;
        Some(self.evict_victim(id))
    }

    fn evict_victim(&mut self, id: BlockId) -> (u64, u64) {
        let (bytes, tokens) = (self.usage.bytes, self.usage.tokens);
        self.drop_block(id, true);
        self.counted.evicted += 1;
        (bytes - self.usage.bytes, tokens - self.usage.tokens)
    }

    /// The block to go next, other than `spared`.
    fn victim(
        &mut self,
        newcomer: Option<&Newcomer<'_>>,
        spared: Option<BlockId>,
    ) -> Option<BlockId> {
        let pin = spared.map(|id| self.table.records[id.0].pin());
        let rank = || pin.map_or(Rank::Normal, rank_of);
        victim_sparing(self.policy.as_mut(), &self.forest, newcomer, spared, rank)
    }

    /// Evicts the cached entry least recently used; answers its bytes.
    pub(super) fn evict_entry(&mut self, spared: Option<EntryId>) -> Option<u64> {
        let id = self.entries.victim(spared)?;
        self.counted.entries_evicted += 1;
        Some(self.drop_entry(id))
    }

    pub(super) fn evict(
        &mut self,
        ticket: Ticket,
        bytes_goal: u64,
        tokens_goal: u64,
        batch_max: u32,
    ) -> Effect {
        let (mut blocks, mut bytes, mut tokens) = (0, 0, 0);
        let mut more = false;
        for victims in 0_u32.. {
            let lacks_bytes = bytes < bytes_goal;
            if !lacks_bytes && tokens >= tokens_goal {
                break;
            }
            if victims == batch_max {
                more = true;
                break;
            }
            if let Some((freed_bytes, freed_tokens)) = self.evict_block(None) {
                blocks += 1;
                bytes += freed_bytes;
                tokens += freed_tokens;
            } else if let Some(freed) = lacks_bytes.then(|| self.evict_entry(None)).flatten() {
                bytes += freed;
            } else {
                break;
            }
        }
        Effect::Evicted {
            ticket,
            blocks,
            bytes,
            tokens,
            more,
        }
    }

    /// Takes a block out of every table. Its history goes to its parent; its pages are free now, or with the last lease.
    pub(super) fn drop_block(&mut self, id: BlockId, is_evicted: bool) {
        let record = self.table.records[id.0];
        let extents = self.table.extents(id, self.config.page_bytes);
        let heir = self.forest.parent(id);
        if self.config.tells_changes {
            let (key, slot) = (*self.forest.key(id), record.slot);
            self.changes.push(Effect::Vanished { key, slot });
        }
        if is_evicted {
            self.policy.evict(&self.forest, id, heir);
        } else {
            self.policy.forget(&self.forest, id, heir);
        }
        self.forest.remove(id);
        self.table.clear(id);
        self.timed_blocks -= u64::from(record.expires() < Now(u64::MAX));
        if record.pin() == Pin::Hard {
            self.usage.pin_bytes -= self.bytes_of(&extents);
        }
        if record.leases > 0 {
            let holding = Holding {
                arena: record.arena,
                first: record.first(),
            };
            let leases = u32::from(record.leases);
            self.remains.insert(
                holding,
                Remains {
                    extents,
                    tokens: record.tokens(),
                    leases,
                },
            );
        } else {
            self.free(record.arena, &extents, record.tokens());
        }
        if let Some(region) = self.regions.get_mut(record.arena) {
            region.blocks -= 1;
            if region.is_purging && region.blocks == 0 {
                region.is_purging = false;
                region.is_retired = true;
                self.purging -= 1;
                self.retired.push(record.arena);
            }
        }
    }

    /// Gives the pages of one block back.
    pub(super) fn free(&mut self, arena: u16, extents: &Extents, tokens: u32) {
        self.usage.bytes -= self.bytes_of(extents);
        self.usage.tokens -= u64::from(tokens);
        self.usage.blocks -= 1;
        self.regions.free(arena, extents);
        if self.regions[arena].is_retired {
            self.retired.push(arena);
        }
    }

    pub(super) fn drop_entry(&mut self, id: EntryId) -> u64 {
        let bytes = self.entries.bytes_of(id);
        self.entries.remove(id);
        self.usage.bytes -= bytes;
        self.usage.entry_bytes -= bytes;
        bytes
    }

    /// Makes pages absent until used and resident pages together fit the budget. There always are enough: what exceeds it
    /// is resident and free, since what is used does not.
    pub(super) fn discard_excess(&mut self, effects: &mut Vec<Effect>) {
        let held = self.usage.bytes.saturating_add(self.resident_free_bytes());
        let excess = held.saturating_sub(self.budget.bytes_max);
        if excess > 0 {
            let pages = self.pages(excess);
            self.regions.discard(pages, |arena, pages| {
                effects.push(Effect::Discard { arena, pages })
            });
        }
    }

    /// Closes those retired regions of which nothing is left.
    pub(super) fn close_retired(&mut self, effects: &mut Vec<Effect>) {
        while let Some(slot) = self.retired.pop() {
            let is_over = self.regions.get_mut(slot).is_some_and(|region| {
                region.arena.used_pages() == 0
                    && !region.is_purging
                    && (region.is_retired || region.arena.resident_free_pages() == 0)
            });
            if is_over {
                self.close_region(slot, effects);
            }
        }
    }

    pub(super) fn close_region(&mut self, slot: u16, effects: &mut Vec<Effect>) {
        if let Some(arena) = self.regions.close(slot) {
            effects.push(Effect::ArenaClosed { arena });
        }
    }
}
