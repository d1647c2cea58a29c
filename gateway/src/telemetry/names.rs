//! Which figure has which name. Ours first; the documented ones are views of the same values.
//!
//! What the shards use and count, they record themselves; their names are not here.

use super::exposition::{Exposition, Labels};
use crate::figures::{Figures, float};
use crate::process::{LATENCY_BOUNDS_US, LatencyStats, ProcessStats, seconds};

/// One figure: its name, what it means, its value.
type Row = (&'static str, &'static str, f64);

/// Names of ours.
pub(super) fn ours(to: &mut Exposition, figures: &Figures) {
    let version: Labels<'_> = &[("version", env!("CARGO_PKG_VERSION"))];
    to.gauges(
        "ultrakv_build_info",
        "The running version; the value is always 1.",
        &[(version, 1.0)],
    );
    let stats = &figures.process;
    gauges(
        to,
        [
            (
                "ultrakv_uptime_seconds",
                "Time since the gateway started.",
                figures.uptime_seconds,
            ),
            (
                "ultrakv_ready",
                "1 when every readiness check holds.",
                truth(figures.ready()),
            ),
            (
                "ultrakv_actors_running",
                "Actors that run.",
                count(figures.actors_running()),
            ),
            (
                "ultrakv_http_requests_in_progress",
                "Requests in progress at the main door.",
                count(figures.requests_in_progress),
            ),
            (
                "ultrakv_http_connections",
                "Connections of the main door, idle ones included.",
                count(figures.connections),
            ),
            (
                "ultrakv_http_blocks_held",
                "Blocks that clients lease over HTTP.",
                count(figures.blocks_held),
            ),
            (
                "ultrakv_generations_active",
                "Generations in progress.",
                count(stats.generations_active),
            ),
            (
                "ultrakv_generations_queued",
                "Requests that wait for one.",
                count(stats.generations_queued),
            ),
            (
                "ultrakv_budget_bytes",
                "The node's budget; never exceeded.",
                float(figures.bytes_max),
            ),
        ],
    );
    if let Some(tokens_max) = figures.tokens_max {
        to.gauge(
            "ultrakv_budget_tokens",
            "The node's budget in tokens.",
            float(tokens_max),
        );
    }
    process(to, stats);
    latencies(to, stats);
}

fn process(to: &mut Exposition, stats: &ProcessStats) {
    to.counters(
        "ultrakv_process_requests_total",
        "Requests to the process path, by what the cache gave.",
        &[
            (&[("outcome", "response_hit")], float(stats.cached_requests)),
            (&[("outcome", "prefix_hit")], float(stats.prefix_hits)),
            (&[("outcome", "miss")], float(stats.misses)),
            (&[("outcome", "error")], float(stats.errors)),
        ],
    );
    tokens(to, ("ultrakv_process_tokens_total", "kind"), stats);
    counters(
        to,
        [
            (
                "ultrakv_process_coalesced_requests_total",
                "Requests that shared an equal one's answer.",
                float(stats.coalesced_requests),
            ),
            (
                "ultrakv_generations_started_total",
                "Generations begun.",
                float(stats.generations_started),
            ),
            (
                "ultrakv_generations_cancelled_total",
                "Generations nobody waited for any more.",
                float(stats.generations_cancelled),
            ),
            (
                "ultrakv_lookups_in_doubt_total",
                "Lookups that failed and counted as misses.",
                float(stats.lookups_in_doubt),
            ),
        ],
    );
}

fn latencies(to: &mut Exposition, stats: &ProcessStats) {
    for (name, help, latency) in [
        (
            "ultrakv_process_latency_seconds",
            "Whole answers.",
            &stats.latency,
        ),
        (
            "ultrakv_process_response_hit_latency_seconds",
            "Whole answers that were stored.",
            &stats.latency_response_hit,
        ),
        (
            "ultrakv_first_token_warm_seconds",
            "First token with a cached prefix.",
            &stats.first_token_warm,
        ),
        (
            "ultrakv_first_token_cold_seconds",
            "First token, all computed.",
            &stats.first_token_cold,
        ),
    ] {
        latencies_of(to, (name, help), latency, &[]);
    }
}

/// The documented names, and the exporter's where they do not contradict them.
pub(super) fn documented(to: &mut Exposition, figures: &Figures) {
    let stats = &figures.process;
    documented_requests(to, stats);
    documented_rates(to, stats);
    let cache = figures.cache();
    let size = cache.blocks_visible.saturating_add(cache.entries);
    to.gauge("kv_cache_cache_size", "Blocks and entries.", float(size));
    let used = [
        "kv_cache_size_bytes",
        "kv_cache_memory_usage_bytes",
        "kv_cache_memory_bytes",
    ];
    for name in used {
        to.gauge(
            name,
            "Bytes of blocks and entries.",
            float(cache.usage.bytes),
        );
    }
    let (limit, ratio) = (float(figures.bytes_max), figures.memory_ratio());
    to.gauge("kv_cache_memory_limit_bytes", "The budget in bytes.", limit);
    let help = "Used bytes as a part of the budget.";
    to.gauge("kv_cache_memory_usage_ratio", help, ratio);
    let help = "Requests in progress or waiting on the process path.";
    to.gauge(
        "kv_cache_active_sessions",
        help,
        float(figures.sessions_active()),
    );
    let help = "Connections of the main door, idle ones included.";
    to.gauge(
        "system_active_connections",
        help,
        count(figures.connections),
    );
}

fn documented_rates(to: &mut Exposition, stats: &ProcessStats) {
    let help = "Answered requests that the cache shortened, 0 to 1.";
    to.gauge("kv_cache_hit_rate", help, stats.hit_rate);
    let help = "Answered requests that it did not shorten, 0 to 1.";
    to.gauge("kv_cache_miss_rate", help, stats.miss_rate);
    let latency = &stats.latency;
    // Its documented rules ask for quantiles in one place and for buckets in another.
    let quantiles = [
        ("0.5", latency.p50_ms / 1_000.0),
        ("0.95", latency.p95_ms / 1_000.0),
        ("0.99", latency.p99_ms / 1_000.0),
    ];
    let name = ("kv_cache_latency_seconds", "Whole answers.");
    latencies_of(to, name, latency, &quantiles);
    let percentiles = [
        ("kv_cache_response_time_p50_seconds", latency.p50_ms),
        ("kv_cache_response_time_p95_seconds", latency.p95_ms),
        ("kv_cache_response_time_p99_seconds", latency.p99_ms),
    ];
    for (name, milliseconds) in percentiles {
        let help = "Whole answers: the percentile that the name says.";
        to.gauge(name, help, milliseconds / 1_000.0);
    }
    let per_second = [
        "kv_cache_throughput_rps",
        "kv_cache_throughput_requests_per_second",
    ];
    for name in per_second {
        to.gauge(
            name,
            "Answers a second over the last minute.",
            stats.throughput_rps,
        );
    }
}

fn documented_requests(to: &mut Exposition, stats: &ProcessStats) {
    let hits = float(stats.cached_requests.saturating_add(stats.prefix_hits));
    let misses = float(stats.misses);
    let named = stats.busy.saturating_add(stats.deadline_exceeded);
    to.counters(
        "kv_cache_requests_total",
        "Answered requests.",
        &[
            (&[("status", "hit")], hits),
            (&[("status", "miss")], misses),
        ],
    );
    to.counters(
        "kv_cache_errors_total",
        "Requests without an answer.",
        &[
            (&[("error_type", "busy")], float(stats.busy)),
            (
                &[("error_type", "deadline")],
                float(stats.deadline_exceeded),
            ),
            (
                &[("error_type", "other")],
                float(stats.errors.saturating_sub(named)),
            ),
        ],
    );
    tokens(to, ("kv_cache_tokens_total", "type"), stats);
    counters(
        to,
        [
            (
                "kv_cache_cache_hits_total",
                "Answered requests that the cache shortened.",
                hits,
            ),
            (
                "kv_cache_cache_misses_total",
                "Answered requests that it did not shorten.",
                misses,
            ),
            (
                "system_requests_total",
                "Requests to the process path.",
                float(stats.total_requests),
            ),
            (
                "system_errors_total",
                "Requests without an answer.",
                float(stats.errors),
            ),
        ],
    );
}

/// Tokens by what was done with them, under a name and a label.
fn tokens(to: &mut Exposition, (name, label): (&str, &str), stats: &ProcessStats) {
    let samples: [(Labels<'_>, f64); 3] = [
        (&[(label, "reused")], float(stats.tokens_reused)),
        (&[(label, "computed")], float(stats.tokens_computed)),
        (&[(label, "generated")], float(stats.tokens_generated)),
    ];
    to.counters(name, "Tokens, by what was done with them.", &samples);
}

fn gauges<const N: usize>(to: &mut Exposition, rows: [Row; N]) {
    for (name, help, value) in rows {
        to.gauge(name, help, value);
    }
}

fn counters<const N: usize>(to: &mut Exposition, rows: [Row; N]) {
    for (name, help, value) in rows {
        to.counter(name, help, value);
    }
}

fn latencies_of(
    to: &mut Exposition,
    name: (&str, &str),
    stats: &LatencyStats,
    quantiles: &[(&str, f64)],
) {
    let ends = LATENCY_BOUNDS_US.iter().map(|bound| seconds(*bound));
    let buckets: Vec<(f64, u64)> = ends.zip(stats.buckets).collect();
    to.histogram(
        name,
        &buckets,
        (seconds(stats.sum_us), stats.count),
        quantiles,
    );
}

fn truth(holds: bool) -> f64 {
    if holds { 1.0 } else { 0.0 }
}

fn count(value: usize) -> f64 {
    float(u64::try_from(value).unwrap_or(u64::MAX))
}
