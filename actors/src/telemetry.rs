//! The names of this crate's metrics, and their handles.
//!
//! A handle is looked up once and then is one atomic operation. This module must never decide
//! anything: a node without a recorder behaves the same.

use metrics::Unit;

/// Counter: blocks asked for and found. Labels: `shard`.
pub const BLOCK_HITS: &str = "ultrakv_block_hits_total";
/// Counter: blocks asked for and not found. Labels: `shard`.
pub const BLOCK_MISSES: &str = "ultrakv_block_misses_total";
/// Counter: blocks stored. Labels: `shard`.
pub const BLOCKS_STORED: &str = "ultrakv_blocks_stored_total";
/// Counter: blocks offered and not admitted. Labels: `shard`.
pub const BLOCKS_NOT_ADMITTED: &str = "ultrakv_blocks_not_admitted_total";
/// Counter: blocks gone by time. Labels: `shard`.
pub const BLOCKS_EXPIRED: &str = "ultrakv_blocks_expired_total";
/// Counter: entries asked for and found. Labels: `shard`.
pub const ENTRY_HITS: &str = "ultrakv_entry_hits_total";
/// Counter: entries asked for and not found. Labels: `shard`.
pub const ENTRY_MISSES: &str = "ultrakv_entry_misses_total";
/// Counter: blocks that left for room. Labels: `shard`.
pub const BLOCKS_EVICTED: &str = "ultrakv_blocks_evicted_total";
/// Gauge: blocks held. Labels: `shard`, `tier`.
pub const BLOCKS: &str = "ultrakv_blocks";
/// Gauge: bytes in use by blocks and entries. Labels: `shard`, `tier`.
pub const BYTES_USED: &str = "ultrakv_bytes_used";
/// Gauge: bytes that may be in use. Labels: `shard`, `tier`.
pub const BYTES_BUDGET: &str = "ultrakv_bytes_budget";
/// Gauge: memory that arenas really take up. Labels: `shard`, `tier`.
pub const BYTES_RESIDENT: &str = "ultrakv_bytes_resident";
/// Gauge: tokens in blocks held. Labels: `shard`, `tier`.
pub const TOKENS_USED: &str = "ultrakv_tokens_used";
/// Gauge: entries held. Labels: `shard`, `tier`.
pub const ENTRIES: &str = "ultrakv_entries";
/// Gauge: leases of readers. Labels: `shard`, `tier`.
pub const LEASES: &str = "ultrakv_leases";
/// Gauge: requests in flight. Labels: `shard`, `tier`.
pub const PERMITS_USED: &str = "ultrakv_permits_used";
/// Counter: requests turned away. Labels: `shard`.
pub const BUSY: &str = "ultrakv_busy_total";
/// Counter: what other nodes' guests said and found no room for. Labels: `shard`.
pub const NOTES_LOST: &str = "ultrakv_notes_lost_total";
/// Counter: failures of a device. Labels: `shard`, `code`.
pub const TIER_ERRORS: &str = "ultrakv_tier_errors_total";
/// Counter: blocks fetched ahead, by what became of them. Labels: `source`, `outcome`.
pub const PREFETCH_BLOCKS: &str = "ultrakv_prefetch_blocks_total";
/// Counter: bytes fetched ahead and stored. Labels: `source`.
pub const PREFETCH_BYTES: &str = "ultrakv_prefetch_stored_bytes_total";
/// Counter: bytes fetched ahead for nothing. Labels: `source`.
pub const PREFETCH_WASTED_BYTES: &str = "ultrakv_prefetch_wasted_bytes_total";
/// Counter: blocks pushed out by what lay unused, and asked for again. Labels: `source`.
pub const PREFETCH_POLLUTED: &str = "ultrakv_prefetch_polluted_blocks_total";
/// Counter: blocks that requests needed from elsewhere and that nobody had fetched ahead.
pub const PREFETCH_MISSED: &str = "ultrakv_prefetch_missed_blocks_total";
/// Gauge: used for each block fetched ahead whose fate is known. Labels: `source`.
pub const PREFETCH_ACCURACY: &str = "ultrakv_prefetch_accuracy_ratio";
/// Gauge: fetched ahead for each block needed from elsewhere. Labels: `source`.
pub const PREFETCH_COVERAGE: &str = "ultrakv_prefetch_coverage_ratio";
/// Gauge: here in time for each block fetched ahead and used. Labels: `source`.
pub const PREFETCH_TIMELINESS: &str = "ultrakv_prefetch_timeliness_ratio";
/// Gauge: bytes on their way or unused. Labels: `source`.
pub const PREFETCH_AT_RISK_BYTES: &str = "ultrakv_prefetch_at_risk_bytes";
/// Gauge: bytes that may be on their way or unused. Labels: `source`.
pub const PREFETCH_ALLOWANCE_BYTES: &str = "ultrakv_prefetch_allowance_bytes";
/// Gauge: bytes on their way here.
pub const PREFETCH_IN_FLIGHT_BYTES: &str = "ultrakv_prefetch_in_flight_bytes";
/// Counter: actors started again. Labels: `kind`.
pub const RESTARTS: &str = "ultrakv_actor_restarts_total";
/// Counter: blocks by what they were stored as, and why. Labels: `codec`, `reason`.
pub const CODEC_BLOCKS: &str = "ultrakv_codec_blocks_total";
/// Counter: bytes that were encoded and decoded. Labels: `operation` (`encode`, `decode`), `form` (`plain`, `stored`).
pub const CODEC_BYTES: &str = "ultrakv_codec_bytes_total";
/// Gauge: stored bytes over plain bytes of all blocks that went in since the start.
pub const CODEC_RATIO: &str = "ultrakv_codec_stored_ratio";
/// Counter: blocks that were coarser than their reader takes.
pub const CODEC_REFUSED: &str = "ultrakv_codec_refused_total";
/// Counter: stored blocks that could not be decoded. Labels: `code`.
pub const CODEC_FAILURES: &str = "ultrakv_codec_failures_total";
/// Histogram: seconds that encoding a block, or decoding a request's blocks on one thread, took. Labels: `operation`.
pub const CODEC_SECONDS: &str = "ultrakv_codec_seconds";
/// Histogram: seconds from a handle's call to its answer. Labels: `operation`.
pub const REQUEST_SECONDS: &str = "ultrakv_request_seconds";

/// Counters, and what they mean.
const COUNTERS: &[(&str, &str)] = &[
    (BLOCK_HITS, "Blocks asked for and found"),
    (BLOCK_MISSES, "Blocks asked for and not found"),
    (BLOCKS_STORED, "Blocks stored"),
    (BLOCKS_NOT_ADMITTED, "Blocks offered and not admitted"),
    (BLOCKS_EVICTED, "Blocks that left for room"),
    (BLOCKS_EXPIRED, "Blocks gone by time"),
    (ENTRY_HITS, "Entries asked for and found"),
    (ENTRY_MISSES, "Entries asked for and not found"),
    (BUSY, "Requests turned away because too many were in flight"),
    (NOTES_LOST, "Messages of other nodes that found no room"),
    (TIER_ERRORS, "Failures of a device"),
    (RESTARTS, "Actors started again"),
    (
        PREFETCH_BLOCKS,
        "Blocks fetched ahead, by what became of them",
    ),
    (PREFETCH_BYTES, "Bytes fetched ahead and stored"),
    (PREFETCH_WASTED_BYTES, "Bytes fetched ahead for nothing"),
    (
        PREFETCH_POLLUTED,
        "Blocks pushed out by unused prefetched ones, and asked for again",
    ),
    (
        PREFETCH_MISSED,
        "Blocks needed from elsewhere that nobody had fetched ahead",
    ),
    (CODEC_BLOCKS, "Blocks by what they were stored as, and why"),
    (CODEC_BYTES, "Bytes that were encoded and decoded"),
    (
        CODEC_REFUSED,
        "Blocks that were coarser than their reader takes",
    ),
    (CODEC_FAILURES, "Stored blocks that could not be decoded"),
];

/// Gauges, and what they mean.
const GAUGES: &[(&str, Unit, &str)] = &[
    (BLOCKS, Unit::Count, "Blocks held"),
    (
        BYTES_USED,
        Unit::Bytes,
        "Bytes in use by blocks and entries",
    ),
    (BYTES_BUDGET, Unit::Bytes, "Bytes that may be in use"),
    (
        BYTES_RESIDENT,
        Unit::Bytes,
        "Memory that arenas really take up",
    ),
    (TOKENS_USED, Unit::Count, "Tokens in blocks held"),
    (ENTRIES, Unit::Count, "Entries held"),
    (LEASES, Unit::Count, "Leases of readers"),
    (PERMITS_USED, Unit::Count, "Requests in flight"),
    (
        PREFETCH_ACCURACY,
        Unit::Count,
        "Used for each block fetched ahead",
    ),
    (
        PREFETCH_COVERAGE,
        Unit::Count,
        "Fetched ahead for each block needed from elsewhere",
    ),
    (
        PREFETCH_TIMELINESS,
        Unit::Count,
        "In time for each block fetched ahead and used",
    ),
    (
        PREFETCH_AT_RISK_BYTES,
        Unit::Bytes,
        "Bytes fetched ahead and unused",
    ),
    (
        PREFETCH_ALLOWANCE_BYTES,
        Unit::Bytes,
        "Bytes that may be fetched ahead and unused",
    ),
    (
        PREFETCH_IN_FLIGHT_BYTES,
        Unit::Bytes,
        "Bytes fetched ahead on their way",
    ),
    (
        CODEC_RATIO,
        Unit::Count,
        "Stored bytes over plain bytes of all blocks that went in",
    ),
];

/// Tells the recorder what the metrics mean; called once a node.
pub(crate) fn describe() {
    for (name, text) in COUNTERS {
        metrics::describe_counter!(*name, *text);
    }
    for (name, unit, text) in GAUGES {
        metrics::describe_gauge!(*name, *unit, *text);
    }
    metrics::describe_histogram!(REQUEST_SECONDS, Unit::Seconds, "Time from call to answer");
    metrics::describe_histogram!(
        CODEC_SECONDS,
        Unit::Seconds,
        "Time encoding and decoding took"
    );
}

/// Notes that an actor is started again.
pub(crate) fn restarted(kind: &'static str) {
    metrics::counter!(RESTARTS, "kind" => kind).increment(1);
}

/// Notes a failure of a device.
pub(crate) fn tier_failed(shard: usize, code: &'static str) {
    metrics::counter!(TIER_ERRORS, "shard" => shard.to_string(), "code" => code).increment(1);
}
