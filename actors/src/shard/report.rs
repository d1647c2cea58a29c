//! The figures of one shard, as statistics and tests read them.
//!
//! Plain values; it must never hold anything that lives.

use std::ops::Deref;

use ultrakv_cache::{Budget, ShardStats};

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

impl Deref for ShardReport {
    type Target = ShardStats;

    fn deref(&self) -> &ShardStats {
        &self.stats
    }
}
