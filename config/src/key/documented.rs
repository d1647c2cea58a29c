//! The documented section `kv_cache`: every word of the original system's configuration, and what becomes of it here.
//!
//! Nothing in it pretends: a word either sets something real, or warns. The bounds are the documented ones.

use super::{Key, Meaning, PRESETS, alias, always, not_yet, ours};
use crate::value::{Kind, Value};

const NO_ADAPTING: &str =
    "every block gets the smallest rung of the ladder that its service accepts, whatever the load";
const NO_PERSISTENCE: &str = "the cache lives in memory and starts cold after a restart";
const NO_DEVICES: &str = "blocks live in host memory; no accelerator memory is used";
const NO_CLUSTER: &str = "cluster.certs makes the node a member of a cluster; this word cannot";
const NO_BACKEND: &str = "nodes speak QUIC and TCP with each other";
const NO_PROFILING: &str = "figures are measured all the time and served on /metrics";
const NO_WARMUP: &str = "the cache starts cold";
const NO_BATCHES: &str =
    "requests are run one by one; process.generations_concurrent_max sets how many at a time";

/// `max_tokens` and its old name: below 128 nothing useful fits.
const TOKENS: Kind = Kind::Count {
    min: 128,
    max: 1 << 48,
};
/// A small count of anything.
const SMALL: Kind = Kind::Count {
    min: 0,
    max: 1 << 20,
};

/// A documented number of the model's shape.
const fn shape(path: &'static str, doc: &'static str) -> Key {
    Key {
        path,
        kind: Kind::Count {
            min: 1,
            max: 65_535,
        },
        doc,
        meaning: Meaning::Shape,
        secret: false,
    }
}

/// Every documented word of the section.
pub(super) const KEYS: &[Key] = &[
    Key {
        path: "kv_cache.preset",
        kind: Kind::Choice(&PRESETS),
        doc: "The same as `preset` at the root of the file.",
        meaning: Meaning::Preset,
        secret: false,
    },
    alias(
        "kv_cache.enabled",
        Kind::Flag,
        "cache.enabled",
        "The same as cache.enabled.",
    ),
    shape(
        "kv_cache.num_heads",
        "Heads of keys and values, for `config plan`; a loaded model has its own.",
    ),
    shape(
        "kv_cache.head_dim",
        "Numbers in one head, for `config plan`; a loaded model has its own.",
    ),
    alias(
        "kv_cache.max_tokens",
        TOKENS,
        "cache.tokens_max",
        "The budget in tokens: cache.tokens_max.",
    ),
    alias(
        "kv_cache.block_size",
        ours::BLOCK_TOKENS,
        "cache.block_tokens",
        "Tokens in one block: cache.block_tokens.",
    ),
    alias(
        "kv_cache.cache_strategy",
        Kind::Choice(ours::STRATEGIES),
        "cache.strategy",
        "Who goes first when room is needed, and how blocks are stored: cache.strategy.",
    ),
    Key {
        path: "kv_cache.cache_mode",
        kind: Kind::Choice(&["inference", "training", "bulk", "streaming", "interactive"]),
        doc: "Documented; only `inference` exists, and any other value is answered with a warning.",
        meaning: Meaning::Always {
            only: Some("inference"),
            because: "the cache serves inference; nothing else depends on the mode yet",
        },
        secret: false,
    },
    alias(
        "kv_cache.use_compression",
        Kind::Flag,
        "cache.compress",
        "Blocks stored smaller without loss: cache.compress.",
    ),
    alias(
        "kv_cache.compression_ratio",
        ours::COMPRESSION_RATIO,
        "cache.compression_ratio",
        "Stored bytes over original bytes: cache.compression_ratio.",
    ),
    Key {
        path: "kv_cache.compression_method",
        kind: Kind::Choice(&["svd", "lowrank", "sparse"]),
        doc: "Documented; none of the three can restore a block, so the ladder of codecs is used whatever stands here.",
        meaning: Meaning::Always {
            only: None,
            because: "the ladder of codecs restores what it stores; the documented methods cannot",
        },
        secret: false,
    },
    alias(
        "kv_cache.use_quantization",
        Kind::Flag,
        "cache.quantize",
        "Blocks that lose what their service accepts: cache.quantize.",
    ),
    alias(
        "kv_cache.quantization_bits",
        ours::QUANTIZATION_BITS,
        "cache.quantization_bits",
        "Bits of a number, 8 or 4: cache.quantization_bits.",
    ),
    Key {
        path: "kv_cache.max_memory_mb",
        kind: Kind::Count {
            min: 100,
            max: 1 << 30,
        },
        doc: "The budget in mebibytes: cache.bytes_max.",
        meaning: Meaning::Alias {
            of: "cache.bytes_max",
            convert: |value| match value {
                Value::Count(mebibytes) => Value::Bytes(mebibytes << 20),
                value => value,
            },
        },
        secret: false,
    },
    always(
        "kv_cache.enable_gc",
        "true",
        "room is always made by eviction, so that the budget is never exceeded",
    ),
    alias(
        "kv_cache.gc_threshold",
        Kind::Ratio { min: 0.1, max: 1.0 },
        "cache.watermark_high",
        "The share of the budget at which eviction starts: cache.watermark_high.",
    ),
    not_yet("kv_cache.pin_memory", Kind::Flag, NO_DEVICES),
    not_yet("kv_cache.non_blocking", Kind::Flag, NO_DEVICES),
    alias(
        "kv_cache.dtype",
        Kind::Choice(ours::DTYPES),
        "model.kv_dtype",
        "How keys and values are stored: model.kv_dtype.",
    ),
    not_yet("kv_cache.adaptive_compression", Kind::Flag, NO_ADAPTING),
    not_yet("kv_cache.adaptive_quantization", Kind::Flag, NO_ADAPTING),
    always(
        "kv_cache.monitor_memory",
        "true",
        "memory is always measured; the budget depends on it",
    ),
    not_yet("kv_cache.enable_persistence", Kind::Flag, NO_PERSISTENCE),
    not_yet("kv_cache.persistence_path", Kind::Path, NO_PERSISTENCE),
    alias(
        "kv_cache.enable_prefetch",
        Kind::Flag,
        "cache.prefetch",
        "Whether blocks are fetched before they are asked for: cache.prefetch.",
    ),
    alias(
        "kv_cache.prefetch_size",
        ours::PREFETCH_BLOCKS,
        "cache.prefetch_blocks",
        "Blocks read ahead: cache.prefetch_blocks.",
    ),
    not_yet("kv_cache.enable_profiling", Kind::Flag, NO_PROFILING),
    always("kv_cache.enable_distributed", "false", NO_CLUSTER),
    not_yet(
        "kv_cache.distributed_backend",
        Kind::Choice(&["nccl", "gloo", "mpi"]),
        NO_BACKEND,
    ),
    Key {
        path: "kv_cache.multi_tenant",
        kind: Kind::Flag,
        doc: "Documented; every service is a tenant with keys of its own, however many there are.",
        meaning: Meaning::Always {
            only: None,
            because: "every service has keys of its own",
        },
        secret: false,
    },
    always(
        "kv_cache.tenant_isolation",
        "true",
        "services are always kept apart; give two of them one services.<name>.share_group to let them share",
    ),
    always(
        "kv_cache.enable_async",
        "true",
        "every request runs asynchronously",
    ),
    not_yet(
        "kv_cache.async_threads",
        SMALL,
        "the runtime takes one thread for each core; model.threads limits arithmetic",
    ),
    not_yet("kv_cache.enable_warmup", Kind::Flag, NO_WARMUP),
    not_yet("kv_cache.warmup_samples", SMALL, NO_WARMUP),
    // Words that only the original guides used; its own configuration did not have them.
    alias(
        "kv_cache.cache_size",
        TOKENS,
        "cache.tokens_max",
        "The first version's name of max_tokens.",
    ),
    not_yet("kv_cache.device", Kind::Text, NO_DEVICES),
    not_yet("kv_cache.use_cuda", Kind::Flag, NO_DEVICES),
    not_yet("kv_cache.num_workers", SMALL, NO_BATCHES),
    not_yet("kv_cache.batch_size", SMALL, NO_BATCHES),
    not_yet(
        "kv_cache.min_tokens",
        SMALL,
        "every whole block is cached, however short the request",
    ),
];
