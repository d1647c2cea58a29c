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

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicU64, Ordering};

    use metrics::{Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit};
    use parking_lot::Mutex;
    use ultrakv_cache::{Budget, ShardStats};

    use super::*;
    use crate::{BootId, Entropy};

    /// Keeps every counter and gauge by its name.
    #[derive(Default)]
    struct Ledger(Mutex<BTreeMap<String, Arc<AtomicU64>>>);

    impl Ledger {
        fn cell(&self, key: &Key) -> Arc<AtomicU64> {
            let mut cells = self.0.lock();
            Arc::clone(cells.entry(key.name().to_owned()).or_default())
        }

        fn counter(&self, name: &str) -> u64 {
            self.0.lock()[name].load(Ordering::SeqCst)
        }

        fn gauge(&self, name: &str) -> f64 {
            f64::from_bits(self.counter(name))
        }
    }

    impl Recorder for Ledger {
        fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
            Counter::from_arc(self.cell(key))
        }
        fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
            Gauge::from_arc(self.cell(key))
        }
        fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
            Histogram::noop()
        }
    }

    #[test]
    fn counters_grow_over_lives_and_gauges_follow_the_last_report() {
        let ledger = Ledger::default();
        let report = |lookups, hits, entries| ShardReport {
            shard: 0,
            tier: "host",
            boot_id: BootId::draw(&Entropy::seeded(1)).unwrap(),
            budget: Budget::of_bytes(1000),
            stats: ShardStats {
                lookups,
                hits,
                entries,
                ..ShardStats::default()
            },
            memory_bytes: 77,
            claimed_bytes: 0,
            permits_used: 3,
        };
        metrics::with_local_recorder(&ledger, || {
            let mut first = Meters::new(0, "host");
            first.publish(report(10, 4, 2));
            first.publish(report(15, 5, 1));
            // The next life counts from zero, on the same counters.
            Meters::new(0, "host").publish(report(3, 3, 9));
        });
        assert_eq!(ledger.counter(telemetry::BLOCK_HITS), 8);
        assert_eq!(ledger.counter(telemetry::BLOCK_MISSES), 10);
        let gauges = [
            (telemetry::ENTRIES, 9.0),
            (telemetry::BYTES_BUDGET, 1000.0),
            (telemetry::BYTES_RESIDENT, 77.0),
            (telemetry::PERMITS_USED, 3.0),
        ];
        for (name, expected) in gauges {
            let found = ledger.gauge(name);
            assert!((found - expected).abs() < f64::EPSILON, "{name}: {found}");
        }
    }
}
