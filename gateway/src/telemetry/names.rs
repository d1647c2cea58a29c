//! Which figure has which name. Ours first; the documented ones are views of the same values.

use super::exposition::{Exposition, Labels};
use crate::figures::{Figures, float};
use crate::process::LatencyStats;

/// Names of ours.
pub(super) fn ours(to: &mut Exposition, figures: &Figures) {
    node(to, figures);
    process(to, figures);
    budget(to, figures);
}

fn node(to: &mut Exposition, figures: &Figures) {
    let version: Labels<'_> = &[("version", env!("CARGO_PKG_VERSION"))];
    to.gauges(
        "ultrakv_build_info",
        "The running version; the value is always 1.",
        &[(version, 1.0)],
    );
    to.gauge(
        "ultrakv_uptime_seconds",
        "Time since the gateway started.",
        figures.uptime_seconds,
    );
    to.gauge(
        "ultrakv_ready",
        "1 when every readiness check holds.",
        truth(figures.ready()),
    );
    to.gauge(
        "ultrakv_actors_running",
        "Actors that run.",
        count(figures.actors_running()),
    );
    to.gauge(
        "ultrakv_http_requests_in_progress",
        "Requests in progress at the main door.",
        count(figures.requests_in_progress),
    );
    to.gauge(
        "ultrakv_http_blocks_held",
        "Blocks that clients hold by leases over HTTP.",
        count(figures.blocks_held),
    );
}

fn process(to: &mut Exposition, figures: &Figures) {
    let stats = &figures.process;
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
    to.counter(
        "ultrakv_process_coalesced_requests_total",
        "Requests that shared an equal request's answer.",
        float(stats.coalesced_requests),
    );
    to.counters(
        "ultrakv_process_tokens_total",
        "Tokens, by what was done with them.",
        &[
            (&[("kind", "reused")], float(stats.tokens_reused)),
            (&[("kind", "computed")], float(stats.tokens_computed)),
            (&[("kind", "generated")], float(stats.tokens_generated)),
        ],
    );
    to.gauge(
        "ultrakv_generations_active",
        "Generations in progress.",
        count(stats.generations_active),
    );
    to.gauge(
        "ultrakv_generations_queued",
        "Requests that wait for a generation.",
        count(stats.generations_queued),
    );
    to.counter(
        "ultrakv_generations_started_total",
        "Generations begun.",
        float(stats.generations_started),
    );
    to.counter(
        "ultrakv_generations_cancelled_total",
        "Generations stopped because nobody waited any more.",
        float(stats.generations_cancelled),
    );
    to.counter(
        "ultrakv_lookups_in_doubt_total",
        "Lookups that failed and were treated as misses.",
        float(stats.lookups_in_doubt),
    );
    latency(
        to,
        "ultrakv_process_latency_seconds",
        "Whole answers.",
        &stats.latency,
    );
    latency(
        to,
        "ultrakv_process_response_hit_latency_seconds",
        "Whole answers from the response cache.",
        &stats.latency_response_hit,
    );
    latency(
        to,
        "ultrakv_first_token_warm_seconds",
        "First token with a cached prefix.",
        &stats.first_token_warm,
    );
    latency(
        to,
        "ultrakv_first_token_cold_seconds",
        "First token with everything computed.",
        &stats.first_token_cold,
    );
}

/// The node's budget. What its shards use of it, they record themselves.
fn budget(to: &mut Exposition, figures: &Figures) {
    to.gauge("ultrakv_budget_bytes", "The node's budget; used bytes never exceed it.", float(figures.bytes_max));
    if let Some(tokens_max) = figures.tokens_max {
        to.gauge("ultrakv_budget_tokens", "The node's budget in tokens.", float(tokens_max));
    }
}

/// The documented names, and the exporter's where they do not contradict them.
pub(super) fn documented(to: &mut Exposition, figures: &Figures) {
    let stats = &figures.process;
    let cache = figures.cache();
    let hits = stats.cached_requests.saturating_add(stats.prefix_hits);
    to.gauge(
        "kv_cache_hit_rate",
        "Answered requests that the cache shortened, 0 to 1.",
        stats.hit_rate,
    );
    to.gauge(
        "kv_cache_miss_rate",
        "Answered requests that it did not shorten, 0 to 1.",
        stats.miss_rate,
    );
    to.counters(
        "kv_cache_requests_total",
        "Answered requests.",
        &[
            (&[("status", "hit")], float(hits)),
            (&[("status", "miss")], float(stats.misses)),
        ],
    );
    to.counter(
        "kv_cache_cache_hits_total",
        "Answered requests that the cache shortened.",
        float(hits),
    );
    to.counter(
        "kv_cache_cache_misses_total",
        "Answered requests that it did not shorten.",
        float(stats.misses),
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
                float(
                    stats
                        .errors
                        .saturating_sub(stats.busy)
                        .saturating_sub(stats.deadline_exceeded),
                ),
            ),
        ],
    );
    to.counters(
        "kv_cache_tokens_total",
        "Tokens.",
        &[
            (&[("type", "reused")], float(stats.tokens_reused)),
            (&[("type", "computed")], float(stats.tokens_computed)),
            (&[("type", "generated")], float(stats.tokens_generated)),
        ],
    );
    latency(
        to,
        "kv_cache_latency_seconds",
        "Whole answers.",
        &stats.latency,
    );
    for (name, milliseconds) in [
        ("kv_cache_response_time_p50_seconds", stats.latency.p50_ms),
        ("kv_cache_response_time_p95_seconds", stats.latency.p95_ms),
        ("kv_cache_response_time_p99_seconds", stats.latency.p99_ms),
    ] {
        to.gauge(
            name,
            "Whole answers: the percentile that the name says.",
            milliseconds / 1_000.0,
        );
    }
    let per_second = stats.throughput_rps;
    to.gauge(
        "kv_cache_throughput_rps",
        "Answers a second over the last minute.",
        per_second,
    );
    to.gauge(
        "kv_cache_throughput_requests_per_second",
        "Answers a second over the last minute.",
        per_second,
    );
    let size = float(cache.blocks_visible.saturating_add(cache.entries));
    to.gauge("kv_cache_cache_size", "Blocks and entries.", size);
    let used = float(cache.usage.bytes);
    to.gauge("kv_cache_size_bytes", "Bytes of blocks and entries.", used);
    to.gauge(
        "kv_cache_memory_usage_bytes",
        "Bytes of blocks and entries.",
        used,
    );
    to.gauge(
        "kv_cache_memory_bytes",
        "Bytes of blocks and entries.",
        used,
    );
    to.gauge(
        "kv_cache_memory_limit_bytes",
        "The budget in bytes.",
        float(figures.bytes_max),
    );
    to.gauge(
        "kv_cache_memory_usage_ratio",
        "Used bytes as a part of the budget.",
        figures.memory_ratio(),
    );
    to.gauge(
        "kv_cache_active_sessions",
        "Requests in progress or waiting on the process path.",
        float(figures.sessions_active()),
    );
    to.counter(
        "system_requests_total",
        "Requests to the process path.",
        float(stats.total_requests),
    );
    to.counter(
        "system_errors_total",
        "Requests without an answer.",
        float(stats.errors),
    );
    to.gauge(
        "system_active_connections",
        "Requests in progress at the main door.",
        count(figures.requests_in_progress),
    );
}

fn latency(to: &mut Exposition, name: &str, help: &str, stats: &LatencyStats) {
    let quantiles = [
        ("0.5", stats.p50_ms / 1_000.0),
        ("0.95", stats.p95_ms / 1_000.0),
        ("0.99", stats.p99_ms / 1_000.0),
    ];
    let sum = stats.mean_ms / 1_000.0 * float(stats.count);
    to.summary(name, help, &quantiles, (sum, stats.count));
}

fn truth(holds: bool) -> f64 {
    if holds { 1.0 } else { 0.0 }
}

fn count(value: usize) -> f64 {
    float(u64::try_from(value).unwrap_or(u64::MAX))
}
