//! One shard's metrics: looked up at its start, moved forward once a tick.
//!
//! Differences are taken of what the pure shard counts anyway, so that a request costs nothing
//! here. It must never be read to decide something.

use metrics::{Counter, Gauge, counter, gauge};

use super::report::ShardReport;
use crate::telemetry;

/// Counts writes that were not stored; touched by callers, not by the shard.
pub(crate) struct NotAdmitted(Counter);

impl NotAdmitted {
    pub(crate) fn new(shard: usize) -> Self {
        let shard = shard.to_string();
        Self(counter!(telemetry::BLOCKS_NOT_ADMITTED, "shard" => shard))
    }

    pub(crate) fn increment(&self) {
        self.0.increment(1);
    }
}

impl std::fmt::Debug for NotAdmitted {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("NotAdmitted")
    }
}

/// Handles of one life's metrics.
pub(crate) struct Meters {
    last: Option<ShardReport>,
    hits: Counter,
    misses: Counter,
    stored: Counter,
    evicted: Counter,
    expired: Counter,
    entry_hits: Counter,
    entry_misses: Counter,
    blocks: Gauge,
    bytes_used: Gauge,
    bytes_budget: Gauge,
    bytes_resident: Gauge,
    tokens: Gauge,
    entries: Gauge,
    leases: Gauge,
    permits: Gauge,
}

impl Meters {
    pub(crate) fn new(shard: usize, tier: &'static str) -> Self {
        let shard = shard.to_string();
        let count = |name: &'static str| counter!(name, "shard" => shard.clone());
        let level = |name: &'static str| gauge!(name, "shard" => shard.clone(), "tier" => tier);
        Self {
            last: None,
            hits: count(telemetry::BLOCK_HITS),
            misses: count(telemetry::BLOCK_MISSES),
            stored: count(telemetry::BLOCKS_STORED),
            evicted: count(telemetry::BLOCKS_EVICTED),
            expired: count(telemetry::BLOCKS_EXPIRED),
            entry_hits: count(telemetry::ENTRY_HITS),
            entry_misses: count(telemetry::ENTRY_MISSES),
            blocks: level(telemetry::BLOCKS),
            bytes_used: level(telemetry::BYTES_USED),
            bytes_budget: level(telemetry::BYTES_BUDGET),
            bytes_resident: level(telemetry::BYTES_RESIDENT),
            tokens: level(telemetry::TOKENS_USED),
            entries: level(telemetry::ENTRIES),
            leases: level(telemetry::LEASES),
            permits: level(telemetry::PERMITS_USED),
        }
    }

    /// Moves every metric to what the report says.
    pub(crate) fn publish(&mut self, report: ShardReport) {
        let (now, last) = (
            report.stats,
            self.last.replace(report).map(|last| last.stats),
        );
        let last = last.unwrap_or_default();
        let grown = |counter: &Counter, now: u64, last: u64| {
            counter.increment(now.saturating_sub(last));
        };
        grown(&self.hits, now.hits, last.hits);
        grown(
            &self.misses,
            now.lookups.saturating_sub(now.hits),
            last.lookups.saturating_sub(last.hits),
        );
        grown(&self.stored, now.stored, last.stored);
        grown(&self.evicted, now.evicted, last.evicted);
        grown(&self.expired, now.expired, last.expired);
        grown(&self.entry_hits, now.entry_hits, last.entry_hits);
        grown(
            &self.entry_misses,
            now.entry_lookups.saturating_sub(now.entry_hits),
            last.entry_lookups.saturating_sub(last.entry_hits),
        );
        self.blocks.set(float(now.blocks_visible));
        self.bytes_used.set(float(now.usage.bytes));
        self.bytes_budget.set(float(report.budget.bytes_max));
        self.bytes_resident.set(float(report.memory_bytes));
        self.tokens.set(float(now.usage.tokens));
        self.entries.set(float(now.entries));
        self.leases.set(float(now.leases));
        self.permits.set(float(
            u64::try_from(report.permits_used).unwrap_or(u64::MAX),
        ));
    }
}

/// A figure as gauges hold it.
#[expect(clippy::as_conversions, reason = "a gauge may round above 2^53")]
const fn float(figure: u64) -> f64 {
    figure as f64
}
