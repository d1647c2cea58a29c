//! What the gateway's figures are called outside: Prometheus' text, and one line for people.
//!
//! `ultrakv_*` are the names to use. `kv_cache_*` are the names that the original system documented or exported; each is a view of
//! a figure that an `ultrakv_*` metric shows too, so that its dashboards and alert rules work and never disagree with ours. Where
//! its two sets gave one name two meanings, the documented one holds.

mod exposition;
mod names;

use metrics::{Unit, describe_counter, describe_histogram};

pub(crate) use self::exposition::{Exposition, TEXT_FORMAT};

use crate::figures::Figures;

/// Says what the doors' own metrics mean. Call it once, when the recorder is installed.
pub fn describe() {
    describe_counter!(
        "ultrakv_http_requests_total",
        Unit::Count,
        "Requests answered, by route and status."
    );
    describe_histogram!(
        "ultrakv_http_request_duration_seconds",
        Unit::Seconds,
        "Time from a request's head to the head of its answer."
    );
    describe_histogram!(
        "kv_cache_request_duration_seconds",
        Unit::Seconds,
        "Time from the head of a generating request to the head of its answer."
    );
    describe_counter!(
        "ultrakv_connections_total",
        Unit::Count,
        "Connections accepted."
    );
    describe_counter!(
        "ultrakv_connections_failed_total",
        Unit::Count,
        "Connections that could not be accepted."
    );
    describe_counter!(
        "ultrakv_connections_refused_total",
        Unit::Count,
        "Connections refused at the cap."
    );
    describe_counter!(
        "ultrakv_connections_evicted_total",
        Unit::Count,
        "Idle connections closed at the cap to make room."
    );
    describe_counter!(
        "ultrakv_blocks_corrupt_total",
        Unit::Count,
        "Blocks whose checksum did not hold when they were read; answered as missing."
    );
}

/// Everything in Prometheus' text format. `recorded` is what the recorder has of its own.
pub(crate) fn render(recorded: &str, figures: &Figures) -> String {
    let mut exposition = Exposition::over(recorded);
    names::ours(&mut exposition, figures);
    names::documented(&mut exposition, figures);
    exposition.finish()
}

/// The figures that matter first, in one line for people.
pub(crate) fn summary(figures: &Figures) -> String {
    let process = &figures.process;
    let cache = figures.cache();
    format!(
        "{} | {} requests, {:.1} % hits ({} answers, {} prefixes), {} errors | {:.1} req/s | \
         p50 {:.1} ms p95 {:.1} ms p99 {:.1} ms | {} blocks, {} entries | {:.1} of {:.1} MiB ({:.1} %) | {} tokens reused\n",
        if figures.ready() {
            "ready"
        } else {
            "not ready"
        },
        process.total_requests,
        process.hit_rate * 100.0,
        process.cached_requests,
        process.prefix_hits,
        process.errors,
        process.throughput_rps,
        process.latency.p50_ms,
        process.latency.p95_ms,
        process.latency.p99_ms,
        cache.blocks_visible,
        cache.entries,
        mebibytes(cache.usage.bytes),
        mebibytes(figures.bytes_max),
        figures.memory_ratio() * 100.0,
        process.tokens_reused,
    )
}

fn mebibytes(bytes: u64) -> f64 {
    crate::figures::float(bytes) / 1_048_576.0
}
