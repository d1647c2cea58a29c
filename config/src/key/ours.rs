//! The settings of ours: section by section, each with its bounds.
//!
//! Section `cluster` has a file of its own. Bounds here are what the machinery can bear. The narrower bounds of documented words stand beside those words.

use super::{Key, Meaning, PRESETS};
use crate::plain::{ByteCount, Plain};
use crate::settings::ModelSource;
use crate::value::{Kind, Value};

/// Twelve hours, the longest any limit waits.
const HALF_DAY_MS: u64 = 12 * 3_600 * 1_000;
/// A petabyte: beyond any host.
pub(super) const BYTES_MAX: u64 = 1 << 50;

/// The spellings of a dtype.
pub(super) const DTYPES: &[&str] = &["float32", "float16", "bfloat16"];
/// The six documented strategies.
pub(super) const STRATEGIES: &[&str] =
    &["lru", "lfu", "adaptive", "paged", "compressed", "quantized"];
/// Block sizes that the engine's fixed chunks and the arenas' pages can bear.
pub(super) const BLOCK_TOKENS: Kind = Kind::Count { min: 8, max: 1_024 };
/// As far as the longest chain that one question names.
pub(super) const PREFETCH_BLOCKS: Kind = Kind::Count { min: 0, max: 4_096 };

/// Bits of a number: two of them are rungs of the ladder.
pub(super) const QUANTIZATION_BITS: Kind = Kind::Count { min: 4, max: 16 };
/// A share of the original size; smaller than a hundredth nothing is.
pub(super) const COMPRESSION_RATIO: Kind = Kind::Ratio {
    min: 0.01,
    max: 1.0,
};

/// A setting kept in a field whose type says how it is read.
macro_rules! setting {
    ($path:literal, $kind:expr, $($field:ident).+, $doc:literal) => {
        Key {
            path: $path,
            kind: $kind,
            doc: $doc,
            meaning: Meaning::Setting {
                get: |settings| Plain::to_value(&settings.$($field).+),
                set: |settings, value| {
                    settings.$($field).+ = Plain::from_value(value)?;
                    Some(())
                },
            },
            secret: false,
        }
    };
}

/// A setting that is a number of bytes.
macro_rules! bytes {
    ($path:literal, $min:expr, $max:expr, $($field:ident).+, $doc:literal) => {
        Key {
            path: $path,
            kind: Kind::Bytes { min: $min, max: $max },
            doc: $doc,
            meaning: Meaning::Setting {
                get: |settings| Value::Bytes(u64::from(settings.$($field).+)),
                set: |settings, value| {
                    settings.$($field).+ = ByteCount::from_value(value)?.0.try_into().ok()?;
                    Some(())
                },
            },
            secret: false,
        }
    };
}

pub(super) use {bytes, setting};

/// A count that fits in 32 bits, from 1.
pub(super) const fn count(max: u32) -> Kind {
    // Widening; `u64::from` is not const.
    #[expect(clippy::as_conversions, reason = "u32 to u64 never loses anything")]
    Kind::Count {
        min: 1,
        max: max as u64,
    }
}

/// A span of time from one millisecond.
pub(super) const TIME: Kind = Kind::Time {
    min_ms: 1,
    max_ms: HALF_DAY_MS,
};

/// Every setting of ours, and `preset`.
pub(super) const KEYS: &[Key] = &[
    Key {
        path: "preset",
        kind: Kind::Choice(&PRESETS),
        doc: "Values that stand between the defaults and this file.",
        meaning: Meaning::Preset,
        secret: false,
    },
    setting!(
        "node.name",
        Kind::Name,
        node.name,
        "The node's name in logs, metrics and status."
    ),
    setting!(
        "node.data",
        Kind::Path,
        node.data,
        "The folder of the node's own that outlives the process; needed with cluster.certs, unused without."
    ),
    setting!(
        "http.bind",
        Kind::Address,
        http.bind,
        "Where the main HTTP door listens; away from this machine it needs auth.token_file."
    ),
    setting!(
        "admin.bind",
        Kind::Address,
        admin.bind,
        "Where the admin door listens; away from this machine it needs auth.token_file."
    ),
    setting!(
        "cache.enabled",
        Kind::Flag,
        cache.enabled,
        "When false, nothing is read from or written to the cache."
    ),
    setting!(
        "cache.strategy",
        Kind::Choice(STRATEGIES),
        cache.strategy,
        "Who goes first when room is needed, and how blocks are stored; see docs/policies.md and docs/codecs.md."
    ),
    setting!(
        "cache.policy",
        Kind::Name,
        cache.policy,
        "The order of eviction alone, by the name of any policy of the house, whatever cache.strategy says."
    ),
    setting!(
        "cache.compress",
        Kind::Flag,
        cache.encoding.compress,
        "Store blocks smaller without loss, under any strategy; on by itself under `compressed`."
    ),
    setting!(
        "cache.quantize",
        Kind::Flag,
        cache.encoding.quantize,
        "Let blocks lose what their service accepts (services.<name>.error_max), under any strategy; on by itself under `quantized`."
    ),
    setting!(
        "cache.quantization_bits",
        QUANTIZATION_BITS,
        cache.encoding.bits,
        "Bits of a number, 8 or 4, below which no block goes; as few as each service accepts without it."
    ),
    setting!(
        "cache.compression_ratio",
        COMPRESSION_RATIO,
        cache.encoding.ratio,
        "Stored bytes over original bytes that are wanted: blocks go no further down the ladder, and a start that cannot reach it fails."
    ),
    bytes!(
        "cache.bytes_max",
        1,
        BYTES_MAX,
        cache.bytes_max,
        "The node's budget in bytes, split over its shards and never exceeded."
    ),
    setting!(
        "cache.tokens_max",
        Kind::Count {
            min: 1,
            max: 1 << 48
        },
        cache.tokens_max,
        "The node's budget in tokens of cached blocks; whichever budget is reached first binds."
    ),
    bytes!(
        "cache.entry_bytes_max",
        0,
        BYTES_MAX,
        cache.entry_bytes_max,
        "The part of bytes_max that cached responses and other entries may take."
    ),
    setting!(
        "cache.block_tokens",
        BLOCK_TOKENS,
        cache.block_tokens,
        "Tokens in one block."
    ),
    setting!(
        "cache.devices",
        Kind::Devices,
        cache.devices,
        "Shards of the node: `auto` is one for each core when there is no GPU, and fewer when they would hold few blocks."
    ),
    bytes!(
        "cache.page_bytes",
        4 << 10,
        16 << 20,
        cache.page_bytes,
        "The unit in which arenas give room; a power of two."
    ),
    setting!(
        "cache.watermark_high",
        Kind::Ratio {
            min: 0.01,
            max: 1.0
        },
        cache.watermark_high,
        "The share of the budget at which eviction starts."
    ),
    setting!(
        "cache.watermark_low",
        Kind::Ratio { min: 0.0, max: 1.0 },
        cache.watermark_low,
        "The share of the budget at which eviction stops; below watermark_high."
    ),
    setting!(
        "cache.lease_ms_max",
        count(3_600_000),
        cache.lease_ms_max,
        "The longest lease a reader may ask for, in milliseconds."
    ),
    setting!(
        "cache.prefetch",
        Kind::Flag,
        cache.prefetch,
        "Whether blocks are fetched from other nodes before they are asked for."
    ),
    setting!(
        "cache.prefetch_blocks",
        PREFETCH_BLOCKS,
        cache.prefetch_blocks,
        "Blocks read ahead of a chain that is read piece by piece, at most; 0 for none."
    ),
    Key {
        path: "model.seed",
        kind: Kind::Count {
            min: 0,
            max: u64::MAX,
        },
        doc: "The seed of the built-in reference model; not used when model.folder is set.",
        meaning: Meaning::Setting {
            get: |settings| match settings.model.source {
                ModelSource::Reference { seed } => Value::Count(seed),
                ModelSource::Folder(_) => Value::Absent,
            },
            set: |settings, value| {
                let chosen = u64::from_value(value)?;
                if let ModelSource::Reference { seed } = &mut settings.model.source {
                    *seed = chosen;
                }
                Some(())
            },
        },
        secret: false,
    },
    Key {
        path: "model.folder",
        kind: Kind::Path,
        doc: "A model folder in the Hugging Face layout; the built-in reference model without it.",
        meaning: Meaning::Setting {
            get: |settings| match &settings.model.source {
                ModelSource::Reference { .. } => Value::Absent,
                ModelSource::Folder(folder) => Value::Path(folder.clone()),
            },
            set: |settings, value| {
                if let Some(folder) = Option::from_value(value)? {
                    settings.model.source = ModelSource::Folder(folder);
                }
                Some(())
            },
        },
        secret: false,
    },
    setting!(
        "model.name",
        Kind::Text,
        model.name,
        "The model's name for clients; its own name without it."
    ),
    setting!(
        "model.kv_dtype",
        Kind::Choice(DTYPES),
        model.kv_dtype,
        "How keys and values are stored."
    ),
    setting!(
        "model.context_tokens_max",
        count(u32::MAX),
        model.context_tokens_max,
        "A shorter context than the model's own."
    ),
    setting!(
        "model.threads",
        count(1_024),
        model.threads,
        "Threads for arithmetic; all cores without it."
    ),
    setting!(
        "process.generations_concurrent_max",
        count(1_024),
        process.generations_concurrent_max,
        "Generations that compute at the same time."
    ),
    setting!(
        "process.queue_max",
        Kind::Count {
            min: 0,
            max: 1 << 20
        },
        process.queue_max,
        "Requests that wait for their turn; the next one is told to come back later."
    ),
    setting!(
        "process.response_cache",
        Kind::Flag,
        process.response_cache,
        "Whether whole answers are kept and given again."
    ),
    setting!(
        "process.response_ttl",
        Kind::Time {
            min_ms: 1,
            max_ms: 365 * 86_400 * 1_000
        },
        process.response_ttl,
        "How long a kept answer is good for."
    ),
    setting!(
        "process.default_max_length",
        count(10_000),
        process.default_max_length,
        "Tokens generated when the request does not say."
    ),
    setting!(
        "process.max_length_max",
        count(1 << 20),
        process.max_length_max,
        "The most tokens a request may ask for."
    ),
    setting!(
        "process.text_chars_max",
        count(1 << 30),
        process.text_chars_max,
        "The longest text of a request, in characters."
    ),
    bytes!(
        "limits.body_bytes_max",
        1 << 10,
        4 << 30,
        limits.body_bytes_max,
        "The largest request body."
    ),
    setting!(
        "limits.requests_concurrent_max",
        count(1 << 20),
        limits.requests_concurrent_max,
        "Requests a door works on at the same time."
    ),
    setting!(
        "limits.connections_max",
        count(1 << 20),
        limits.connections_max,
        "Connections a door keeps open, idle ones included."
    ),
    setting!(
        "limits.request_timeout",
        TIME,
        limits.request_timeout,
        "The longest a request may take from its head to the end of its answer."
    ),
    setting!(
        "limits.header_timeout",
        TIME,
        limits.header_timeout,
        "The longest a client may take to send a request's head."
    ),
    setting!(
        "limits.shutdown_timeout",
        TIME,
        limits.shutdown_timeout,
        "How long a stopping node waits for requests it has begun."
    ),
    setting!(
        "limits.drain_timeout",
        TIME,
        limits.drain_timeout,
        "How long a stopping member of a cluster hands its slots over, before it closes its doors."
    ),
    setting!(
        "auth.token_file",
        Kind::Path,
        auth.token_file,
        "Lines of `service token`; without the file every door stays on this machine."
    ),
    setting!(
        "log.format",
        Kind::Choice(&["auto", "text", "json"]),
        log.format,
        "`auto` is text on a terminal and JSON elsewhere."
    ),
    setting!(
        "log.level",
        Kind::Text,
        log.level,
        "A level, or directives such as `info,ultrakv_gateway=debug`."
    ),
];
