//! Responsible for the arenas of one shard: which slot belongs to which domain, and how much memory all of them hold. It
//! must never know which block lies where.
#![expect(
    clippy::indexing_slicing,
    reason = "slots come from open(), and a slot stays until close()"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Index;

use crate::arena::{Arena, Extents, PageRange};
use crate::event::ArenaId;

/// One domain's arena and what the shard knows of it.
#[derive(Debug)]
pub(crate) struct Region {
    pub(crate) id: ArenaId,
    pub(crate) arena: Arena,
    /// Blocks in the table that lie here; lent remains of removed ones and reservations not counted.
    pub(crate) blocks: u64,
    /// A purge is going on: nothing here can be found any more.
    pub(crate) is_purging: bool,
    /// To be closed when its last page is free.
    pub(crate) is_retired: bool,
}

/// All arenas of a shard.
#[derive(Debug, Default)]
pub(crate) struct Regions {
    slots: Vec<Option<Region>>,
    by_id: BTreeMap<ArenaId, u16>,
    /// Slots with resident-free pages.
    resident: BTreeSet<u16>,
    resident_free_pages: u64,
}

impl Regions {
    pub(crate) fn len(&self) -> usize {
        self.by_id.len()
    }

    pub(crate) fn slot(&self, id: ArenaId) -> Option<u16> {
        self.by_id.get(&id).copied()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Region> {
        self.slots.iter().flatten()
    }

    /// Pages of all arenas that hold memory and nothing else.
    pub(crate) const fn resident_free_pages(&self) -> u64 {
        self.resident_free_pages
    }

    /// Makes a region for `id`, which has none; `None` when there are 65 535 already.
    pub(crate) fn open(&mut self, id: ArenaId, pages: u32) -> Option<u16> {
        let place = self
            .slots
            .iter()
            .position(Option::is_none)
            .unwrap_or(self.slots.len());
        let slot = u16::try_from(place).ok()?;
        if place == self.slots.len() {
            self.slots.push(None);
        }
        let arena = Arena::new(pages);
        self.slots[place] = Some(Region {
            id,
            arena,
            blocks: 0,
            is_purging: false,
            is_retired: false,
        });
        self.by_id.insert(id, slot);
        Some(slot)
    }

    /// Forgets a region of which no page is used.
    pub(crate) fn close(&mut self, slot: u16) -> Option<ArenaId> {
        let region = self.slots[usize::from(slot)].take()?;
        self.by_id.remove(&region.id);
        self.resident.remove(&slot);
        self.resident_free_pages -= u64::from(region.arena.resident_free_pages());
        Some(region.id)
    }

    /// A region of which nothing is used.
    pub(crate) fn idle(&self) -> Option<u16> {
        let idle = |region: &Region| region.arena.used_pages() == 0;
        self.by_id
            .values()
            .copied()
            .find(|slot| self.slots[usize::from(*slot)].as_ref().is_some_and(idle))
    }

    pub(crate) fn get_mut(&mut self, slot: u16) -> Option<&mut Region> {
        self.slots.get_mut(usize::from(slot))?.as_mut()
    }

    pub(crate) fn allocate(&mut self, slot: u16, pages: u32) -> Option<Extents> {
        self.change(slot, |arena| arena.allocate(pages)).flatten()
    }

    pub(crate) fn free(&mut self, slot: u16, extents: &Extents) {
        self.change(slot, |arena| arena.free(extents));
    }

    /// Makes up to `pages` resident-free pages absent, wherever they are; calls `discarded` for each range.
    pub(crate) fn discard(&mut self, pages: u64, mut discarded: impl FnMut(ArenaId, PageRange)) {
        let mut rest = pages;
        let mut ranges = Vec::new();
        while rest > 0
            && let Some(slot) = self.resident.first().copied()
        {
            let wanted = u32::try_from(rest).unwrap_or(u32::MAX);
            let done = self
                .change(slot, |arena| arena.discard(wanted, &mut ranges))
                .unwrap_or(0);
            rest -= u64::from(done);
            let id = self[slot].id;
            ranges.drain(..).for_each(|range| discarded(id, range));
        }
    }

    /// Every change of an arena passes here, so that the totals stay true.
    fn change<R>(&mut self, slot: u16, change: impl FnOnce(&mut Arena) -> R) -> Option<R> {
        let region = self.slots.get_mut(usize::from(slot))?.as_mut()?;
        self.resident_free_pages -= u64::from(region.arena.resident_free_pages());
        let result = change(&mut region.arena);
        let resident_free = region.arena.resident_free_pages();
        self.resident_free_pages += u64::from(resident_free);
        if resident_free == 0 {
            self.resident.remove(&slot);
        } else {
            self.resident.insert(slot);
        }
        Some(result)
    }
}

impl Index<u16> for Regions {
    type Output = Region;

    fn index(&self, slot: u16) -> &Region {
        match &self.slots[usize::from(slot)] {
            Some(region) => region,
            None => unreachable!("records name only slots that are open"),
        }
    }
}
