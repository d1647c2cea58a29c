//! Responsible for the one state machine that a device's actor drives: events in, effects out.
//! It must never know time except as an argument, nor memory except as page numbers.

use crate::budget::{Budget, Usage};
use crate::effect::Effect;
use crate::event::Event;
use crate::time::Now;

/// Which block goes first when room is needed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PolicyKind {
    /// Least recently used.
    #[default]
    Lru,
    /// Least frequently used, with ageing.
    Lfu,
}

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
    /// Longest `Timed` term of a lease or reservation.
    pub lease_ms_max: u32,
    /// Leased blocks at most, counted once a claim.
    pub leases_max: u32,
    /// Open reservations at most.
    pub reservations_max: u32,
}

impl ShardConfig {
    /// The defaults for a budget: 64 KiB pages, regions as large as the budget, LRU, terms up to a minute.
    pub const fn new(budget: Budget) -> Self {
        Self {
            budget,
            page_bytes: 64 << 10,
            arena_bytes: budget.bytes_max,
            arenas_max: 4_096,
            policy: PolicyKind::Lru,
            lease_ms_max: 60_000,
            leases_max: 1 << 20,
            reservations_max: 4_096,
        }
    }
}

/// What a shard counted since it was made, and how full it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ShardStats {
    /// What is used now.
    pub usage: Usage,
    /// Bytes of physical memory that arenas hold, free pages that are still resident included.
    pub resident_bytes: u64,
    /// Blocks that a lookup can find.
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
    /// Entry lookups.
    pub entry_lookups: u64,
    /// Entry lookups that found something.
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
}

impl Shard {
    /// An empty shard.
    pub fn new(config: ShardConfig) -> Self {
        Self { config }
    }

    /// Takes one event at one instant and appends what is to be done. Total: any event, in any order, at any time.
    ///
    /// # Panics
    /// When an invariant of its own is broken, such as used ≤ budget: the supervisor then restarts it empty.
    pub fn handle(&mut self, event: Event, now: Now, effects: &mut Vec<Effect>) {
        let _ = (event, now, effects, self.config);
    }

    /// Counters and gauges.
    pub fn stats(&self) -> ShardStats {
        ShardStats::default()
    }
}
