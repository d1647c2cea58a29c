//! Checks that all tables of a shard tell the same story, by counting everything again from the records.

use std::collections::{BTreeMap, BTreeSet};

use super::*;
use crate::arena::PageRange;

/// Everything a shard holds pages for, counted from scratch.
#[derive(Default)]
struct Counted {
    usage: Usage,
    pages: BTreeMap<u16, BTreeSet<u32>>,
    blocks: BTreeMap<u16, u64>,
}

impl Counted {
    fn hold(&mut self, arena: u16, ranges: &[PageRange], tokens: u32) {
        let pages = self.pages.entry(arena).or_default();
        for range in ranges {
            for page in range.first..range.end() {
                assert!(
                    pages.insert(page),
                    "page {page} of arena {arena} is held twice"
                );
                self.usage.bytes += u64::from(PAGE_BYTES);
            }
        }
        self.usage.tokens += u64::from(tokens);
        self.usage.blocks += 1;
    }
}

/// Asserts that usage, arenas, leases and counters are what the records add up to.
pub(super) fn agrees(shard: &Shard) {
    if shard.forest.slots() > 1_000 {
        return; // Counting from scratch after every event of a large shard would take longer than it is worth.
    }
    let mut counted = Counted::default();
    let mut visible = 0;
    let mut timed = 0;
    let mut leases: BTreeMap<Holding, u32> = BTreeMap::new();
    for id in (0..shard.forest.slots()).map(BlockId) {
        let record = &shard.table.records[id.0];
        if !record.is_stored() {
            continue;
        }
        visible += 1;
        assert_eq!(
            shard.forest.find(shard.forest.key(id)),
            Some(id),
            "a record without a vertex"
        );
        let extents = shard.table.extents(id, PAGE_BYTES);
        counted.hold(record.arena, extents.as_slice(), record.tokens());
        *counted.blocks.entry(record.arena).or_default() += 1;
        if record.pin() == Pin::Hard {
            counted.usage.pin_bytes += shard.bytes_of(&extents);
        }
        timed += u64::from(record.expires() < Now(u64::MAX));
        if record.leases > 0 {
            let holding = Holding {
                arena: record.arena,
                first: record.first(),
            };
            leases.insert(holding, u32::from(record.leases));
        }
    }
    assert_eq!(visible, shard.forest.len());
    for (holding, remains) in &shard.remains {
        counted.hold(holding.arena, remains.extents.as_slice(), remains.tokens);
        assert!(
            leases.insert(*holding, remains.leases).is_none(),
            "pages of two blocks"
        );
    }
    for reservation in shard.reservations.iter() {
        let (header, extents) = (&reservation.block.header, &reservation.extents);
        counted.hold(reservation.arena, extents.as_slice(), header.tokens);
        if reservation.block.retain.pin == Pin::Hard {
            counted.usage.pin_bytes += shard.bytes_of(extents);
        }
    }
    let mut claimed: BTreeMap<Holding, u32> = BTreeMap::new();
    shard
        .leases
        .iter()
        .for_each(|claim| *claimed.entry(claim.holding).or_default() += 1);
    assert_eq!(claimed, leases, "leases and the counts on what they hold");
    counted.usage.entry_bytes = shard.entries.bytes();
    counted.usage.bytes += shard.entries.bytes();
    assert_eq!(
        shard.entries.recounted(),
        (
            shard.entries.len(),
            shard.entries.bytes(),
            shard.entries.kept_bytes()
        )
    );
    assert_eq!(counted.usage, shard.usage);
    assert_eq!(timed, shard.timed_blocks);
    arenas_agree(shard, &counted);
}

fn arenas_agree(shard: &Shard, counted: &Counted) {
    let mut resident_free = 0;
    let mut purging = 0;
    for region in shard.regions.iter() {
        let slot = shard.regions.slot(region.id).unwrap();
        let used = counted.pages.get(&slot).map_or(0, BTreeSet::len);
        assert_eq!(usize::try_from(region.arena.used_pages()).unwrap(), used);
        assert_eq!(
            region.blocks,
            counted.blocks.get(&slot).copied().unwrap_or(0)
        );
        resident_free += u64::from(region.arena.resident_free_pages());
        purging += u32::from(region.is_purging);
    }
    assert_eq!(resident_free, shard.regions.resident_free_pages());
    assert_eq!(purging, shard.purging);
}
