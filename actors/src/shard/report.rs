//! The figures of one shard, as statistics and tests read them.
//!
//! Plain values; it must never hold anything that lives.

use std::ops::Deref;

use ultrakv_cache::{Budget, Figures, PolicyKind, ShardStats, Standing};

use crate::BootId;

/// One shard's figures at one moment. Dereferences to the cache's own [`ShardStats`].
#[derive(Clone, Copy, Debug)]
pub struct ShardReport {
    /// Which shard.
    pub shard: usize,
    /// The tier that its memory is.
    pub tier: &'static str,
    /// Its present life; the counters began with it.
    pub boot_id: BootId,
    /// Its limits, less what readers still hold of an earlier life.
    pub budget: Budget,
    /// What its state machine counted.
    pub stats: ShardStats,
    /// Memory that its arenas really take up, as the operating system says.
    pub memory_bytes: u64,
    /// Memory that readers and writers hold at this moment.
    pub claimed_bytes: u64,
    /// Requests in flight.
    pub permits_used: usize,
}

/// What the policy of one shard does at one moment.
#[derive(Clone, Debug)]
pub struct PolicyReport {
    /// Which shard, and its figures.
    pub report: ShardReport,
    /// Which policy runs on it.
    pub policy: PolicyKind,
    /// How the policy is doing.
    pub figures: Figures,
    /// Blocks that would go next if nothing changed, the first to go first.
    pub next: Vec<Standing>,
}

impl Deref for ShardReport {
    type Target = ShardStats;

    fn deref(&self) -> &ShardStats {
        &self.stats
    }
}
