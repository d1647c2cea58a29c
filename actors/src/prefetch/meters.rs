//! The metrics of prefetching: looked up at the actor's start, moved forward once a tick. It must never be read to decide
//! something.

use metrics::{Counter, Gauge, counter, gauge};
use ultrakv_cache::prefetch::{BySource, Source};

use super::report::{PrefetchReport, SourceReport};
use crate::telemetry;

/// Reads one count of a report.
type Read = fn(&SourceReport) -> u64;

/// What can become of a block, and how its count is read.
const OUTCOMES: [(&str, Read); 10] = [
    ("asked", |of| of.asked_blocks),
    ("stored", |of| of.stored_blocks),
    ("known", |of| of.known_blocks),
    ("failed", |of| of.failed_blocks),
    ("timely", |of| of.timely_blocks),
    ("late", |of| of.late_blocks),
    ("evicted", |of| of.evicted_blocks),
    ("lapsed", |of| of.lapsed_blocks),
    ("declined", |of| of.declined_blocks),
    ("held_back", |of| of.held_back_blocks),
];

/// Handles of one source's metrics.
struct OfSource {
    outcomes: [Counter; OUTCOMES.len()],
    stored_bytes: Counter,
    wasted_bytes: Counter,
    polluted: Counter,
    accuracy: Gauge,
    coverage: Gauge,
    timeliness: Gauge,
    at_risk: Gauge,
    allowance: Gauge,
}

impl OfSource {
    fn new(source: Source) -> Self {
        let source = source.name();
        let level = |name: &'static str| gauge!(name, "source" => source);
        let count = |name: &'static str| counter!(name, "source" => source);
        Self {
            outcomes: OUTCOMES.map(|(outcome, _)| {
                counter!(telemetry::PREFETCH_BLOCKS, "source" => source, "outcome" => outcome)
            }),
            stored_bytes: count(telemetry::PREFETCH_BYTES),
            wasted_bytes: count(telemetry::PREFETCH_WASTED_BYTES),
            polluted: count(telemetry::PREFETCH_POLLUTED),
            accuracy: level(telemetry::PREFETCH_ACCURACY),
            coverage: level(telemetry::PREFETCH_COVERAGE),
            timeliness: level(telemetry::PREFETCH_TIMELINESS),
            at_risk: level(telemetry::PREFETCH_AT_RISK_BYTES),
            allowance: level(telemetry::PREFETCH_ALLOWANCE_BYTES),
        }
    }

    fn publish(&self, now: &SourceReport, last: &SourceReport) {
        for (counter, (_, read)) in self.outcomes.iter().zip(OUTCOMES) {
            counter.increment(read(now) - read(last));
        }
        self.stored_bytes
            .increment(now.stored_bytes - last.stored_bytes);
        self.wasted_bytes
            .increment(now.wasted_bytes - last.wasted_bytes);
        self.polluted
            .increment(now.polluted_blocks - last.polluted_blocks);
        self.accuracy.set(now.accuracy_ratio);
        self.coverage.set(now.coverage_ratio);
        self.timeliness.set(now.timeliness_ratio);
        self.at_risk.set(level(now.at_risk_bytes));
        self.allowance.set(level(now.allowance_bytes));
    }
}

/// Handles of one life's metrics.
pub(super) struct PrefetchMeters {
    last: PrefetchReport,
    sources: BySource<OfSource>,
    missed: Counter,
    in_flight: Gauge,
}

impl PrefetchMeters {
    pub(super) fn new() -> Self {
        Self {
            last: PrefetchReport::default(),
            sources: BySource::make(OfSource::new),
            missed: counter!(telemetry::PREFETCH_MISSED),
            in_flight: gauge!(telemetry::PREFETCH_IN_FLIGHT_BYTES),
        }
    }

    /// Moves every metric to what the report says.
    pub(super) fn publish(&mut self, report: PrefetchReport) {
        let last = std::mem::replace(&mut self.last, report);
        for source in Source::ALL {
            let of = self.sources.of(source);
            of.publish(report.of_source(source), last.of_source(source));
        }
        self.missed
            .increment(report.missed_blocks - last.missed_blocks);
        self.in_flight.set(level(report.in_flight_bytes));
    }
}

/// A count as a gauge takes it; exact up to 2^53.
#[expect(
    clippy::as_conversions,
    clippy::cast_precision_loss,
    reason = "levels of bytes are below 2^53, and beyond that nobody reads the last digits"
)]
const fn level(count: u64) -> f64 {
    count as f64
}
