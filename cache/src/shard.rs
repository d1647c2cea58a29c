//! Responsible for the one state machine that a device's actor drives: events in, effects out.
//! It must never know time except as an argument, nor memory except as page numbers.
//!
//! What happens to a block, and which table knows of it:
//!
//! ```text
//! Reserve ──▶ pages taken, invisible ──Commit──▶ visible: forest, policy, block table
//!    │               │ Abort, or term over          │ evicted, removed, expired, purged
//!    │               ▼                              ▼
//!    └─ NoRoom      free  ◀──────────── no lease ── gone from every table
//!                    ▲                              │ leases open
//!                    └───── last Release ───── remains: pages only, nobody finds them
//! ```

use std::collections::BTreeMap;

use crate::arena::Extents;
use crate::budget::{Budget, Usage};
use crate::effect::Effect;
use crate::entry::Entries;
use crate::event::{Event, Pin, Term};
use crate::forest::{BlockId, Forest};
use crate::key::BlockKey;
use crate::lease::{Holding, Leases};
use crate::policy::{Policy, PolicyKind, Rank, Setup};
use crate::record::BlockTable;
use crate::region::Regions;
use crate::reservation::Reservations;
use crate::time::Now;

mod entries;
mod listing;
mod lookup;
mod room;
mod standing;
mod store;
mod upkeep;

pub use entries::EntryTable;
pub use standing::Standing;

/// Most blocks a shard ever holds: ghosts can double the vertices, and their numbers have 31 bits.
pub const BLOCKS_MAX: u32 = 1 << 30;

/// Leases and reservations ended for their age before one event.
const EXPIRE_STEP: u32 = 4_096;

/// Blocks looked at for their age by one tick: 16 384 records are 700 KiB, well under a millisecond.
const SWEEP_STEP: u32 = 16_384;

/// How a shard is set up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ShardConfig {
    /// Limits to start with.
    pub budget: Budget,
    /// Bytes of a page.
    pub page_bytes: u32,
    /// Virtual size of each arena's region. Blocks of one domain never exceed it, whatever the budget grows to.
    pub arena_bytes: u64,
    /// Arenas at most.
    pub arenas_max: u16,
    /// Eviction order.
    pub policy: PolicyKind,
    /// What the policy is made with.
    pub policy_setup: Setup,
    /// Longest `Timed` term of a lease or reservation.
    pub lease_ms_max: u32,
    /// Leased blocks at most, counted once a claim.
    pub leases_max: u32,
    /// Open reservations at most.
    pub reservations_max: u32,
    /// Whether every block that appears or vanishes is told, for a directory that many nodes share.
    pub tells_changes: bool,
}

impl ShardConfig {
    /// The defaults for a budget: 64 KiB pages, regions as large as the budget, LRU, terms up to a minute.
    pub const fn new(budget: Budget) -> Self {
        Self {
            budget,
            page_bytes: 64 << 10,
            arena_bytes: budget.bytes_max,
            arenas_max: 4_096,
            policy: PolicyKind::LRU,
            policy_setup: Setup { seed: 0 },
            lease_ms_max: 60_000,
            leases_max: 1 << 20,
            reservations_max: 4_096,
            tells_changes: false,
        }
    }
}

/// What a shard counted since it was made, and how full it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShardStats {
    /// What is used now.
    pub usage: Usage,
    /// The limits that hold now.
    pub budget: Budget,
    /// Bytes of physical memory that arenas hold, free pages that are still resident included.
    pub resident_bytes: u64,
    /// Blocks that a lookup can find, those whose time is just over included.
    pub blocks_visible: u64,
    /// Entries stored.
    pub entries: u64,
    /// Leases open.
    pub leases: u64,
    /// Reservations open.
    pub reservations: u64,
    /// Arenas known.
    pub arenas: u32,
    /// Block lookups (one a key of `Match` and `Get`) since the start.
    pub lookups: u64,
    /// Lookups that found their block.
    pub hits: u64,
    /// Blocks committed.
    pub stored: u64,
    /// Blocks evicted for room.
    pub evicted: u64,
    /// Blocks gone by time.
    pub expired: u64,
    /// Entries that clients looked up.
    pub entry_lookups: u64,
    /// Lookups of them that found something.
    pub entry_hits: u64,
    /// Cached entries evicted for room.
    pub entries_evicted: u64,
    /// Requests refused for want of room, leases or reservations.
    pub refused: u64,
}

/// One device's single-writer partition of a node's cache.
#[derive(Debug)]
pub struct Shard {
    config: ShardConfig,
    budget: Budget,
    usage: Usage,
    /// The latest instant seen; time handed in never takes the shard back.
    now: Now,
    forest: Forest,
    policy: Box<dyn Policy>,
    table: BlockTable,
    regions: Regions,
    leases: Leases,
    /// Pages of blocks that were removed while lent; freed by the last release.
    remains: BTreeMap<Holding, Remains>,
    reservations: Reservations,
    entries: Entries,
    /// Blocks with a time to live.
    timed_blocks: u64,
    /// Regions whose purge still goes on.
    purging: u32,
    /// Regions to look at for closing.
    retired: Vec<u16>,
    /// Next number the sweep looks at.
    sweep_at: u32,
    /// Blocks that appeared and vanished during this event, not yet told.
    changes: Vec<Effect>,
    is_pressed: bool,
    counted: ShardStats,
}

/// What is left of a block that was removed while lent.
#[derive(Debug)]
struct Remains {
    extents: Extents,
    tokens: u32,
    leases: u32,
}

impl Shard {
    /// An empty shard. Limits that contradict each other are cut to the smaller: entries and pins to all bytes, blocks to
    /// [`BLOCKS_MAX`], a page to at least one byte.
    pub fn new(config: ShardConfig) -> Self {
        let config = ShardConfig {
            page_bytes: config.page_bytes.max(1),
            ..config
        };
        Self {
            config,
            budget: sane(config.budget),
            usage: Usage::default(),
            now: Now::default(),
            forest: Forest::new(),
            policy: config.policy.make(&config.policy_setup),
            table: BlockTable::default(),
            regions: Regions::default(),
            leases: Leases::default(),
            remains: BTreeMap::new(),
            reservations: Reservations::default(),
            entries: Entries::default(),
            timed_blocks: 0,
            purging: 0,
            retired: Vec::new(),
            sweep_at: 0,
            changes: Vec::new(),
            is_pressed: false,
            counted: ShardStats::default(),
        }
    }

    /// Takes one event at one instant and appends what is to be done. Total: any event, in any order, at any time.
    ///
    /// # Panics
    /// When an invariant of its own is broken, such as used ≤ budget: the supervisor then restarts it empty.
    pub fn handle(&mut self, event: Event, now: Now, effects: &mut Vec<Effect>) {
        self.now = self.now.max(now);
        self.expire();
        let is_tick = matches!(event, Event::Tick);
        match event {
            Event::Match {
                ticket,
                chain,
                lease,
            } => {
                self.policy.begin(self.now);
                effects.push(self.match_chain(ticket, &chain, lease));
            }
            Event::Get {
                ticket,
                keys,
                leading_only,
                term,
            } => {
                self.policy.begin(self.now);
                let blocks = self.lend(&keys, leading_only, term);
                effects.push(Effect::Lent { ticket, blocks });
            }
            Event::Reserve { ticket, block } => self.reserve(ticket, *block, effects),
            Event::Commit {
                ticket,
                reservation,
            } => effects.push(self.commit(ticket, reservation)),
            Event::Abort { reservation } => self.abort(reservation),
            Event::Release { lease } => self.release(lease),
            Event::Touch { keys } => {
                self.policy.begin(self.now);
                self.touch(&keys);
            }
            Event::Expect { keys, ms } => self.expect_use(&keys, ms),
            Event::Pin { ticket, keys, pin } => {
                let outcomes = keys.iter().map(|key| self.pin(key, pin)).collect();
                effects.push(Effect::Pinned { ticket, outcomes });
            }
            Event::Remove { ticket, keys } => {
                let blocks = self.remove(&keys);
                effects.push(Effect::Removed { ticket, blocks });
            }
            Event::Purge { ticket, arena } => effects.push(self.purge(ticket, arena)),
            Event::Evict {
                ticket,
                bytes_goal,
                tokens_goal,
                batch_max,
            } => {
                effects.push(self.evict(ticket, bytes_goal, tokens_goal, batch_max));
            }
            Event::List { ticket, page } => effects.push(self.list(ticket, page)),
            Event::Tick => self.sweep(SWEEP_STEP),
            Event::Resize { ticket, budget } => {
                let applied = self.resize(budget);
                effects.push(Effect::Resized { ticket, applied });
            }
        }
        self.settle(is_tick, effects);
    }

    /// Counters and gauges.
    pub fn stats(&self) -> ShardStats {
        let resident_free = self.resident_free_bytes();
        let hidden: u64 = self
            .regions
            .iter()
            .filter(|region| region.is_purging)
            .map(|region| region.blocks)
            .sum();
        ShardStats {
            usage: self.usage,
            budget: self.budget,
            resident_bytes: self.usage.bytes - self.usage.entry_bytes + resident_free,
            blocks_visible: count(self.forest.len()).saturating_sub(hidden),
            entries: count(self.entries.len()),
            leases: count(self.leases.len()),
            reservations: count(self.reservations.len()),
            arenas: u32::try_from(self.regions.len()).unwrap_or(u32::MAX),
            ..self.counted
        }
    }

    /// Ends what ran out of time. Bounded: what is left over is ended by the next event, and nothing is found by then
    /// that should not be, since every lookup checks the time itself.
    fn expire(&mut self) {
        for _ in 0..EXPIRE_STEP {
            if let Some(lease) = self.leases.due(self.now) {
                self.release(lease);
            } else if let Some(reservation) = self.reservations.due(self.now) {
                self.abort(reservation);
            } else {
                break;
            }
        }
    }

    /// Brings memory under the budget, closes what is empty, and checks that every limit holds.
    fn settle(&mut self, is_tick: bool, effects: &mut Vec<Effect>) {
        effects.append(&mut self.changes);
        self.close_retired(effects);
        self.discard_excess(effects);
        let over = |used: u64, max: u64, watermark: u16| used.saturating_sub(part(max, watermark));
        let Budget {
            bytes_max,
            tokens_max,
            watermark_high,
            watermark_low,
            ..
        } = self.budget;
        let tokens_max = tokens_max.unwrap_or(u64::MAX);
        let is_pressed = over(self.usage.bytes, bytes_max, watermark_high) > 0
            || over(self.usage.tokens, tokens_max, watermark_high) > 0;
        if is_pressed && (is_tick || !self.is_pressed) {
            effects.push(Effect::Pressure {
                bytes_over: over(self.usage.bytes, bytes_max, watermark_low),
                tokens_over: over(self.usage.tokens, tokens_max, watermark_low),
            });
        }
        self.is_pressed = is_pressed;
        assert!(
            self.usage.is_within(&self.budget),
            "{:?} exceeds {:?}",
            self.usage,
            self.budget
        );
        assert!(
            self.usage.bytes + self.resident_free_bytes() <= bytes_max,
            "used and resident pages exceed {bytes_max} bytes: {:?}",
            self.usage,
        );
    }

    fn resident_free_bytes(&self) -> u64 {
        self.regions.resident_free_pages() * u64::from(self.config.page_bytes)
    }

    /// Whether a block may be found: its time is not over, and its domain not being purged.
    fn is_live(&self, id: BlockId) -> bool {
        let record = &self.table.records[id.0];
        self.now < record.expires() && !self.regions[record.arena].is_purging
    }

    fn find_live(&self, key: &BlockKey) -> Option<BlockId> {
        self.forest.find(key).filter(|id| self.is_live(*id))
    }

    fn until(&self, term: Term) -> Option<Now> {
        match term {
            Term::Held => None,
            Term::Timed { ms } => {
                Some(self.now.add_ms(u64::from(ms.min(self.config.lease_ms_max))))
            }
        }
    }

    fn pages(&self, payload_bytes: u64) -> u64 {
        payload_bytes.div_ceil(u64::from(self.config.page_bytes))
    }

    fn bytes_of(&self, extents: &Extents) -> u64 {
        u64::from(extents.pages()) * u64::from(self.config.page_bytes)
    }
}

/// The budget without contradictions.
fn sane(budget: Budget) -> Budget {
    Budget {
        entry_bytes_max: budget.entry_bytes_max.min(budget.bytes_max),
        pin_bytes_max: budget.pin_bytes_max.min(budget.bytes_max),
        blocks_max: budget.blocks_max.min(BLOCKS_MAX),
        watermark_high: budget.watermark_high.min(1_000),
        watermark_low: budget.watermark_low.min(budget.watermark_high).min(1_000),
        ..budget
    }
}

/// `per_mille`, at most 1 000, of `max`. In two pieces, so that nothing overflows and no event waits for a long division.
fn part(max: u64, per_mille: u16) -> u64 {
    let per_mille = u64::from(per_mille);
    max / 1_000 * per_mille + max % 1_000 * per_mille / 1_000
}

fn count(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}

/// Where a block with this pin stands among victims.
const fn rank_of(pin: Pin) -> Rank {
    match pin {
        Pin::None | Pin::Hard => Rank::Normal,
        Pin::Soft => Rank::Last,
    }
}

#[cfg(test)]
mod tests;
