//! The shapes of the cache routes' answers, and how the node's figures fill them.
//!
//! Top-level names are the documented ones; nested details are ours. Nothing is counted here.

use serde::Serialize;
use ultrakv_cluster::{Check, PurgeReport};
use utoipa::ToSchema;

use crate::figures::{Figures, ratio};
use crate::process::LatencyStats;
use crate::service_actor::ServiceStats;

/// The figures of the node since it started.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct StatsAnswer {
    /// Answered requests that the cache shortened: (response hits + prefix hits) / answered.
    hit_rate: f64,
    /// 1 - `hit_rate`; 0 before the first answer.
    miss_rate: f64,
    /// Requests to the process path, with or without an answer.
    total_requests: u64,
    /// Requests answered by a stored answer.
    cached_requests: u64,
    /// Used bytes as a part of the budget, 0 to 1.
    memory_usage: f64,
    /// Mean latency of whole answers.
    average_latency_ms: f64,
    /// Half of the answers took at most this.
    p50_latency_ms: f64,
    /// 95 of 100 answers took at most this.
    p95_latency_ms: f64,
    /// 99 of 100 answers took at most this.
    p99_latency_ms: f64,
    /// Answers a second over the last minute.
    throughput_rps: f64,
    /// Seconds since the gateway started.
    uptime_seconds: f64,
    /// The calling service's own part, since its actor started; null when that does not answer.
    service: Option<ServiceStats>,
    /// The process path in detail.
    process: ProcessFigures,
    /// Blocks and entries in detail.
    cache: CacheAnswer,
    /// Memory in detail.
    memory: MemoryAnswer,
}

/// The process path.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ProcessFigures {
    /// Requests that continued from a cached prefix.
    prefix_hits: u64,
    /// Requests that shared the answer of an equal request in progress.
    coalesced_requests: u64,
    /// Requests that found nothing cached.
    misses: u64,
    /// Requests without an answer.
    errors: u64,
    /// Prompt tokens that did not have to be computed.
    tokens_reused: u64,
    /// Prompt tokens that had to be.
    tokens_computed: u64,
    /// Tokens generated.
    tokens_generated: u64,
    /// Generations in progress.
    generations_active: usize,
    /// Requests that wait for one.
    generations_queued: usize,
    /// Whole answers from the response cache.
    latency_response_hit: LatencyAnswer,
    /// Time to first token with a cached prefix.
    first_token_warm: LatencyAnswer,
    /// Time to first token with everything computed.
    first_token_cold: LatencyAnswer,
}

/// Percentiles of one kind of latency, in milliseconds.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct LatencyAnswer {
    /// Requests measured.
    count: u64,
    /// Mean.
    mean_ms: f64,
    /// Median.
    p50_ms: f64,
    /// 95th percentile.
    p95_ms: f64,
    /// 99th percentile.
    p99_ms: f64,
}

/// Blocks and entries.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct CacheAnswer {
    /// Shards that answered.
    shards: usize,
    /// Blocks that can be found.
    blocks: u64,
    /// Tokens they cover.
    tokens: u64,
    /// The budget in tokens, when there is one.
    tokens_max: Option<u64>,
    /// Entries, such as stored answers.
    entries: u64,
    /// Lookups of single blocks.
    block_lookups: u64,
    /// Those that found their block.
    block_hits: u64,
    /// `block_hits` / `block_lookups`.
    block_hit_rate: f64,
    /// Blocks stored.
    blocks_stored: u64,
    /// Blocks evicted for room.
    blocks_evicted: u64,
    /// Blocks gone by time.
    blocks_expired: u64,
    /// Leases open.
    leases: u64,
}

/// Memory.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct MemoryAnswer {
    /// Bytes of blocks and entries.
    used_bytes: u64,
    /// The budget; never exceeded.
    limit_bytes: u64,
    /// The part of `used_bytes` that entries take.
    entry_bytes: u64,
    /// The part of `used_bytes` that is pinned hard.
    pinned_bytes: u64,
    /// Physical memory that the arenas hold.
    resident_bytes: u64,
}

/// What a purge dropped.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ClearAnswer {
    /// The caller's service.
    service: String,
    /// Whose cache was cleared: a share group is cleared as a whole.
    shares: String,
    /// The domain's generation from now on: nothing stored before can be named any more.
    generation: u64,
    /// Blocks dropped.
    blocks: u64,
    /// Entries dropped.
    entries: u64,
}

/// The documented health report.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct HealthAnswer {
    /// `healthy` or `unhealthy`. A cold cache is healthy.
    #[schema(example = "healthy")]
    status: &'static str,
    /// The parts.
    components: Components,
    /// The figures to look at first.
    metrics: HealthMetrics,
    /// What was checked, and what was found.
    checks: Vec<CheckAnswer>,
}

/// The documented parts.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Components {
    /// `healthy` or `unhealthy`.
    #[schema(example = "healthy")]
    cache: &'static str,
    /// `absent`: the node caches in host memory.
    #[schema(example = "absent")]
    gpu: &'static str,
    /// `none`: the cache lives in memory and a restarted node starts empty.
    #[schema(example = "none")]
    persistence: &'static str,
}

/// The documented figures.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct HealthMetrics {
    /// Used bytes as a part of the budget, 0 to 1.
    memory_usage: f64,
    /// Blocks and entries.
    cache_size: u64,
    /// Requests in progress or waiting on the process path.
    active_sessions: u64,
}

/// One check.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CheckAnswer {
    /// What was checked.
    pub(crate) name: &'static str,
    /// Whether it is as it must be.
    pub(crate) ok: bool,
    /// What was found.
    pub(crate) detail: String,
}

/// The shortest health report.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ShortHealth {
    /// `healthy` or `unhealthy`.
    #[schema(example = "healthy")]
    pub(super) status: &'static str,
}

/// Health in a word.
pub(crate) const fn word(healthy: bool) -> &'static str {
    if healthy { "healthy" } else { "unhealthy" }
}

impl From<&Figures> for StatsAnswer {
    fn from(figures: &Figures) -> Self {
        let process = &figures.process;
        Self {
            hit_rate: process.hit_rate,
            miss_rate: process.miss_rate,
            total_requests: process.total_requests,
            cached_requests: process.cached_requests,
            memory_usage: figures.memory_ratio(),
            average_latency_ms: process.latency.mean_ms,
            p50_latency_ms: process.latency.p50_ms,
            p95_latency_ms: process.latency.p95_ms,
            p99_latency_ms: process.latency.p99_ms,
            throughput_rps: process.throughput_rps,
            uptime_seconds: figures.uptime_seconds,
            service: None,
            process: ProcessFigures {
                prefix_hits: process.prefix_hits,
                coalesced_requests: process.coalesced_requests,
                misses: process.misses,
                errors: process.errors,
                tokens_reused: process.tokens_reused,
                tokens_computed: process.tokens_computed,
                tokens_generated: process.tokens_generated,
                generations_active: process.generations_active,
                generations_queued: process.generations_queued,
                latency_response_hit: process.latency_response_hit.into(),
                first_token_warm: process.first_token_warm.into(),
                first_token_cold: process.first_token_cold.into(),
            },
            cache: CacheAnswer::from(figures),
            memory: MemoryAnswer::from(figures),
        }
    }
}

impl StatsAnswer {
    /// The same with the calling service's own part.
    pub(super) fn of(self, service: Option<ServiceStats>) -> Self {
        Self { service, ..self }
    }
}

impl From<LatencyStats> for LatencyAnswer {
    fn from(stats: LatencyStats) -> Self {
        let LatencyStats {
            count,
            mean_ms,
            p50_ms,
            p95_ms,
            p99_ms,
            ..
        } = stats;
        Self {
            count,
            mean_ms,
            p50_ms,
            p95_ms,
            p99_ms,
        }
    }
}

impl From<&Figures> for CacheAnswer {
    fn from(figures: &Figures) -> Self {
        let cache = figures.cache();
        Self {
            shards: figures.shards.as_ref().map_or(0, Vec::len),
            blocks: cache.blocks_visible,
            tokens: cache.usage.tokens,
            tokens_max: figures.tokens_max,
            entries: cache.entries,
            block_lookups: cache.lookups,
            block_hits: cache.hits,
            block_hit_rate: ratio(cache.hits, cache.lookups),
            blocks_stored: cache.stored,
            blocks_evicted: cache.evicted,
            blocks_expired: cache.expired,
            leases: cache.leases,
        }
    }
}

impl From<&Figures> for MemoryAnswer {
    fn from(figures: &Figures) -> Self {
        let cache = figures.cache();
        Self {
            used_bytes: cache.usage.bytes,
            limit_bytes: figures.bytes_max,
            entry_bytes: cache.usage.entry_bytes,
            pinned_bytes: cache.usage.pin_bytes,
            resident_bytes: cache.resident_bytes,
        }
    }
}

impl From<&Figures> for HealthAnswer {
    fn from(figures: &Figures) -> Self {
        let cache = figures.cache();
        let checks = figures.checks.iter().map(CheckAnswer::from).collect();
        Self {
            status: word(figures.ready()),
            components: Components {
                cache: word(figures.shards.is_some()),
                gpu: "absent",
                persistence: "none",
            },
            metrics: HealthMetrics {
                memory_usage: figures.memory_ratio(),
                cache_size: cache.blocks_visible.saturating_add(cache.entries),
                active_sessions: figures.sessions_active(),
            },
            checks,
        }
    }
}

impl From<&Check> for CheckAnswer {
    fn from(check: &Check) -> Self {
        Self {
            name: check.name,
            ok: check.ok,
            detail: check.detail.clone(),
        }
    }
}

impl From<PurgeReport> for ClearAnswer {
    fn from(report: PurgeReport) -> Self {
        let PurgeReport {
            service,
            shares,
            generation,
            blocks,
            entries,
        } = report;
        Self {
            service,
            shares,
            generation,
            blocks,
            entries,
        }
    }
}
