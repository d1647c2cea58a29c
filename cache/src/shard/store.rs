//! Responsible for blocks on their way in: reservation, commit, abort. It must never know who fills the pages.

use super::Shard;
use crate::effect::{Effect, PutRefusal};
use crate::event::{ArenaId, Pin, ReservationId, ReserveBlock, Ticket};
use crate::forest::{BlockId, Inserted};
use crate::key::BlockKey;
use crate::policy::{Facts, Newcomer, Rank, price};
use crate::record::{NEVER, NewRecord, PAYLOAD_BYTES_MAX};
use crate::reservation::Reservation;
use crate::shard::room::Need;
use crate::shard::{count, rank_of};
use crate::time::Now;

/// Blocks evicted at most to empty an arena when a new domain needs one and all are taken.
const REGION_VICTIMS_MAX: u32 = 256;

/// Why a block gets no pages.
pub(super) enum Denied {
    NotAdmitted,
    Refused(PutRefusal),
}

impl From<PutRefusal> for Denied {
    fn from(why: PutRefusal) -> Self {
        Self::Refused(why)
    }
}

impl Shard {
    pub(super) fn reserve(
        &mut self,
        ticket: Ticket,
        block: ReserveBlock,
        effects: &mut Vec<Effect>,
    ) {
        if let Some(id) = self.find_live(&block.key) {
            self.store_again(id, &block);
            effects.push(Effect::Known { ticket });
            return;
        }
        let opened = self.open_reservation(block, effects);
        self.discard_excess(effects); // Before the writer fills the new pages.
        effects.push(match opened {
            Ok((reservation, extents)) => Effect::Reserved {
                ticket,
                reservation,
                arena: block.arena,
                extents,
            },
            Err(Denied::NotAdmitted) => Effect::NotAdmitted { ticket },
            Err(Denied::Refused(why)) => {
                self.counted.refused += 1;
                Effect::Refused { ticket, why }
            }
        });
    }

    fn open_reservation(
        &mut self,
        block: ReserveBlock,
        effects: &mut Vec<Effect>,
    ) -> Result<(ReservationId, crate::arena::Extents), Denied> {
        let need = self.need(&block)?;
        let pages = u32::try_from(need.bytes / u64::from(self.config.page_bytes))
            .map_err(|_| PutRefusal::TooLarge)?;
        if count(self.reservations.len()) >= u64::from(self.config.reservations_max) {
            return Err(PutRefusal::NoRoom.into());
        }
        let arena = self.region_for(block.arena, effects)?;
        let parent = block.parent.and_then(|parent| self.forest.find(&parent));
        let is_pinned = block.retain.pin != Pin::None;
        let room = self
            .make_room(&need, &self.newcomer(&block, parent), is_pinned)
            .and_then(|()| self.make_region_room(arena, pages, parent));
        if let Err(denied) = room {
            self.retired.push(arena); // To be closed if it was opened for nothing.
            return Err(denied);
        }
        let extents = self
            .regions
            .allocate(arena, pages)
            .ok_or(PutRefusal::NoRoom)?;
        self.usage.bytes += need.bytes;
        self.usage.tokens += need.tokens;
        self.usage.blocks += need.blocks;
        if block.retain.pin == Pin::Hard {
            self.usage.pin_bytes += need.bytes;
        }
        let until = self.until(block.term);
        let reservation = Reservation {
            block,
            arena,
            extents: extents.clone(),
            doomed: false,
            until,
        };
        Ok((self.reservations.open(reservation), extents))
    }

    /// The block as its policy sees it before it is stored.
    fn newcomer<'a>(&self, block: &'a ReserveBlock, parent: Option<BlockId>) -> Newcomer<'a> {
        Newcomer {
            key: &block.key,
            parent,
            is_orphan: block.parent.is_some() && parent.is_none() && block.run != block.key,
            facts: self.facts(block, parent),
        }
    }

    /// What a block takes and saves.
    fn facts(&self, block: &ReserveBlock, parent: Option<BlockId>) -> Facts {
        let ReserveBlock { header, depth, .. } = block;
        let depth = parent.map_or(*depth, |id| {
            u32::from(self.forest.depth(id)).saturating_add(1)
        });
        let tokens_before = u64::from(depth) * u64::from(header.tokens);
        Facts {
            bytes: self.pages(header.payload_bytes) * u64::from(self.config.page_bytes),
            depth,
            cost: price::recompute_cost(header.tokens, tokens_before),
        }
    }

    /// What a block takes, when an empty shard could hold it.
    fn need(&self, block: &ReserveBlock) -> Result<Need, PutRefusal> {
        let header = &block.header;
        if !header.is_consistent() {
            return Err(PutRefusal::Malformed);
        }
        let pages = self.pages(header.payload_bytes);
        let bytes = pages
            .checked_mul(u64::from(self.config.page_bytes))
            .ok_or(PutRefusal::TooLarge)?;
        let tokens = u64::from(header.tokens);
        if header.payload_bytes > PAYLOAD_BYTES_MAX
            || bytes > self.budget.bytes_max
            || pages > u64::from(self.region_pages())
            || self
                .budget
                .tokens_max
                .is_some_and(|tokens_max| tokens > tokens_max)
        {
            return Err(PutRefusal::TooLarge);
        }
        if block.retain.pin == Pin::Hard
            && self.usage.pin_bytes.saturating_add(bytes) > self.budget.pin_bytes_max
        {
            return Err(PutRefusal::PinQuota);
        }
        Ok(Need {
            bytes,
            tokens,
            blocks: 1,
        })
    }

    fn region_pages(&self) -> u32 {
        u32::try_from(self.config.arena_bytes / u64::from(self.config.page_bytes))
            .unwrap_or(u32::MAX)
    }

    /// A region is normally as large as the budget, so that what fits the one fits the other; a smaller one is full first.
    fn make_region_room(
        &mut self,
        arena: u16,
        pages: u32,
        spared: Option<BlockId>,
    ) -> Result<(), Denied> {
        while self.regions[arena].arena.free_pages() < pages {
            if self.evict_block(spared).is_none() {
                return Err(PutRefusal::NoRoom.into());
            }
        }
        Ok(())
    }

    /// The slot of an arena that takes blocks; opens it, and closes an idle one when there are too many.
    fn region_for(&mut self, id: ArenaId, effects: &mut Vec<Effect>) -> Result<u16, Denied> {
        if let Some(slot) = self.regions.slot(id) {
            let region = self.regions.get_mut(slot).ok_or(Denied::NotAdmitted)?;
            if region.is_purging {
                return Err(Denied::NotAdmitted);
            }
            region.is_retired = false;
            return Ok(slot);
        }
        for _ in 0..REGION_VICTIMS_MAX {
            if self.regions.len() < usize::from(self.config.arenas_max) {
                break;
            }
            if let Some(idle) = self.regions.idle() {
                self.close_region(idle, effects);
            } else if self.evict_block(None).is_none() {
                break;
            }
        }
        if self.regions.len() >= usize::from(self.config.arenas_max) {
            return Err(PutRefusal::NoRoom.into());
        }
        let pages = self.region_pages();
        self.regions
            .open(id, pages)
            .ok_or(Denied::Refused(PutRefusal::NoRoom))
    }

    pub(super) fn commit(&mut self, ticket: Ticket, reservation: ReservationId) -> Effect {
        let Some(reservation) = self.reservations.close(reservation) else {
            return Effect::Refused {
                ticket,
                why: PutRefusal::Gone,
            };
        };
        if reservation.doomed {
            self.give_up(&reservation);
            return Effect::Refused {
                ticket,
                why: PutRefusal::Gone,
            };
        }
        let block = &reservation.block;
        match self.forest.find(&block.key) {
            Some(id) if self.is_live(id) => {
                self.give_up(&reservation);
                self.store_again(id, block);
                return Effect::Known { ticket };
            }
            // Its time is over, so nobody will miss it.
            Some(id) => self.drop_block(id, false),
            None => {}
        }
        self.store(&reservation);
        if self.config.tells_changes {
            let (key, run, codec) = (block.key, block.run, block.header.codec);
            self.changes.push(Effect::Appeared { key, run, codec });
        }
        self.counted.stored += 1;
        Effect::Stored { ticket }
    }

    pub(super) fn abort(&mut self, reservation: ReservationId) {
        if let Some(reservation) = self.reservations.close(reservation) {
            self.give_up(&reservation);
        }
    }

    fn store(&mut self, reservation: &Reservation) {
        let Reservation {
            block,
            arena,
            extents,
            ..
        } = reservation;
        let own_end = block
            .retain
            .ttl_ms
            .map(|ms| self.now.add_ms(ms))
            .unwrap_or(Now(u64::MAX));
        let parent = self.parent_for(block.parent.as_ref(), *arena, Now(0));
        let parent_end = parent.map_or(Now(u64::MAX), |id| self.table.records[id.0].expires());
        let expires = own_end.min(parent_end);
        let parent_key = parent.map(|id| *self.forest.key(id));
        let facts = self.facts(block, parent);
        let (Inserted::New(id) | Inserted::Known(id)) =
            self.forest.insert(&block.key, parent_key.as_ref());
        if parent.is_none() {
            let depth = u16::try_from(facts.depth).unwrap_or(u16::MAX);
            self.forest.set_depth(id, depth);
        }
        let new = NewRecord {
            header: &block.header,
            extents,
            arena: *arena,
            pin: block.retain.pin,
            expires: (expires < NEVER).then_some(expires),
            slot: block.run.slot(),
            is_head: block.run == block.key,
        };
        self.table.put(id, &new);
        self.timed_blocks += u64::from(new.expires.is_some());
        self.policy.admit(&self.forest, id, &facts);
        match block.retain.pin {
            Pin::None => {}
            Pin::Soft => self.policy.resume(id, Rank::Last),
            Pin::Hard => self.policy.suspend(id),
        }
        if let Some(region) = self.regions.get_mut(*arena) {
            region.blocks += 1;
        }
    }

    /// A block that is there already was stored again: a use, and a chance to link it to a parent that came late.
    fn store_again(&mut self, id: BlockId, block: &ReserveBlock) {
        self.policy.touch(&self.forest, id);
        let record = &self.table.records[id.0];
        if let Some(parent) = self.parent_for(block.parent.as_ref(), record.arena, record.expires())
        {
            let parent = *self.forest.key(parent);
            self.forest.insert(&block.key, Some(&parent));
        }
    }

    /// The declared parent, where linking to it keeps the promise of [`crate::Forest::match_where`]: it is in the same
    /// domain, and its time is not over before the child's is.
    fn parent_for(&self, key: Option<&BlockKey>, arena: u16, child_end: Now) -> Option<BlockId> {
        let id = self.find_live(key?)?;
        let record = &self.table.records[id.0];
        (record.arena == arena && child_end <= record.expires()).then_some(id)
    }

    /// Frees the pages of a reservation that came to nothing.
    fn give_up(&mut self, reservation: &Reservation) {
        let Reservation {
            block,
            arena,
            extents,
            ..
        } = reservation;
        if block.retain.pin == Pin::Hard {
            self.usage.pin_bytes -= self.bytes_of(extents);
        }
        self.free(*arena, extents, block.header.tokens);
    }

    /// Changes the place among victims that goes with a pin.
    pub(super) fn place_by_pin(&mut self, id: BlockId, pin: Pin) {
        if self.table.records[id.0].leases > 0 {
            return; // Suspended; placed when the last lease ends.
        }
        match pin {
            Pin::Hard => self.policy.suspend(id),
            Pin::None | Pin::Soft => self.policy.resume(id, rank_of(pin)),
        }
    }
}
