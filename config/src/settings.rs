//! What the operator meant: plain values, already checked, in the units their names end with.
//!
//! Nothing here knows where a value came from (that is [`crate::Loaded::origins`]) or how it was spelled. A
//! [`Settings`] that came out of [`crate::load`] needs no further checks by its readers. [`Settings::default`] is a
//! working node on this machine only.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::ports;

mod cluster;
mod encoding;

pub use cluster::ClusterSettings;
pub use encoding::{BlockEncoding, ERROR_PPM_DEFAULT, EncodingSettings, Rung};

/// Bytes in one mebibyte.
const MIB: u64 = 1 << 20;

/// The service every caller belongs to when no token says otherwise.
pub const DEFAULT_SERVICE: &str = "default";

/// The service whose token opens the admin door.
pub const ADMIN_SERVICE: &str = "admin";

/// Everything a node is told.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    /// Who this node is.
    pub node: NodeSettings,
    /// The main HTTP door.
    pub http: DoorSettings,
    /// The admin door.
    pub admin: DoorSettings,
    /// The cluster it belongs to.
    pub cluster: ClusterSettings,
    /// How much is cached, where, and what goes first.
    pub cache: CacheSettings,
    /// Which model answers.
    pub model: ModelSettings,
    /// How requests are run.
    pub process: ProcessSettings,
    /// What a client may ask of a door.
    pub limits: LimitSettings,
    /// The configured callers, by name; [`DEFAULT_SERVICE`] is always among them.
    pub services: BTreeMap<String, ServiceSettings>,
    /// Who may come in.
    pub auth: AuthSettings,
    /// How the node speaks to its operator.
    pub log: LogSettings,
}

/// Who this node is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NodeSettings {
    /// The name in logs, metrics and status.
    pub name: String,
    /// The folder that outlives the process; a member of a cluster needs one.
    pub data: Option<PathBuf>,
}

/// One listening address.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DoorSettings {
    /// Where the door listens; port 0 lets the system choose.
    pub bind: SocketAddr,
}

/// How much is cached, where, and what goes first.
#[derive(Debug, Clone, PartialEq)]
pub struct CacheSettings {
    /// When false, nothing is read from or written to the cache and every request is computed.
    pub enabled: bool,
    /// What the operator asked for: an order of eviction, and how blocks are stored.
    pub strategy: Strategy,
    /// The order of eviction by name, when it is not the strategy's own.
    pub policy: Option<String>,
    /// How blocks are stored, where the strategy does not say or is not to decide.
    pub encoding: EncodingSettings,
    /// The node's budget, split over its shards; never exceeded.
    pub bytes_max: u64,
    /// The node's budget in tokens of cached blocks, split over its shards; whichever budget is reached first binds.
    pub tokens_max: Option<u64>,
    /// The part of `bytes_max` that entries (cached responses) may take.
    pub entry_bytes_max: u64,
    /// Tokens in one block.
    pub block_tokens: u32,
    /// How many shards, and on which devices.
    pub devices: Devices,
    /// The unit in which arenas give room; a power of two.
    pub page_bytes: u32,
    /// The share of the budget at which eviction starts, in `0.0..=1.0`.
    pub watermark_high: f64,
    /// The share of the budget at which eviction stops; below `watermark_high`.
    pub watermark_low: f64,
    /// The longest lease a reader may ask for.
    pub lease_ms_max: u32,
    /// Whether blocks are fetched from other nodes before they are asked for.
    pub prefetch: bool,
    /// Blocks read ahead of a chain that is read piece by piece, at most; 0 for none.
    pub prefetch_blocks: u32,
}

/// What the operator asked the cache to do when it runs out of room: the six documented names. Each is an order of eviction
/// and a way to store blocks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Strategy {
    /// Least recently used goes first; raw.
    Lru,
    /// Least frequently used goes first, with ageing; raw.
    Lfu,
    /// Least expected saving goes first, learned from the traffic; raw.
    Adaptive,
    /// As adaptive, in small pages.
    Paged,
    /// As adaptive, and blocks are made smaller without loss.
    Compressed,
    /// As adaptive, and blocks are in as few bits as each service accepts.
    Quantized,
}

impl Strategy {
    /// Every strategy, in the order the documentation lists them.
    pub const ALL: [Self; 6] = [
        Self::Lru,
        Self::Lfu,
        Self::Adaptive,
        Self::Paged,
        Self::Compressed,
        Self::Quantized,
    ];

    /// The documented name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Lru => "lru",
            Self::Lfu => "lfu",
            Self::Adaptive => "adaptive",
            Self::Paged => "paged",
            Self::Compressed => "compressed",
            Self::Quantized => "quantized",
        }
    }

    /// Its order of eviction, as the cache's register of policies names it.
    #[must_use]
    pub const fn policy(self) -> &'static str {
        match self {
            Self::Lru => "lru",
            Self::Lfu => "lfuda",
            Self::Adaptive | Self::Paged | Self::Compressed | Self::Quantized => "adaptive",
        }
    }

    /// Whether its name says who goes first, and not only how blocks are stored.
    pub(crate) const fn is_order(self) -> bool {
        matches!(self, Self::Lru | Self::Lfu | Self::Adaptive)
    }
}

impl CacheSettings {
    /// The order of eviction that runs on this node, as the cache's register of policies names it.
    #[must_use]
    pub fn policy_name(&self) -> &str {
        self.policy.as_deref().unwrap_or(self.strategy.policy())
    }
}

/// How many shards a node cuts its memory into.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Devices {
    /// One shard per device; without a GPU, one host shard per core.
    Auto,
    /// Exactly this many host shards; at least one.
    Count(u32),
}

/// Which model answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelSettings {
    /// Where the weights come from.
    pub source: ModelSource,
    /// The name clients see; the model's own when none is given.
    pub name: Option<String>,
    /// How keys and values are stored.
    pub kv_dtype: KvDtype,
    /// A shorter context than the model's own.
    pub context_tokens_max: Option<u32>,
    /// Threads for arithmetic; all cores when none is given.
    pub threads: Option<u32>,
}

/// Where the weights come from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ModelSource {
    /// The built-in reference model, made from a seed; its text has no meaning.
    Reference {
        /// Equal seeds make equal weights.
        seed: u64,
    },
    /// A folder in the Hugging Face layout: `config.json`, safetensors, `tokenizer.json`.
    Folder(PathBuf),
}

/// How keys and values are stored.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KvDtype {
    /// Four bytes a number.
    F32,
    /// Two bytes, ten bits of mantissa.
    F16,
    /// Two bytes, seven bits of mantissa.
    Bf16,
}

impl KvDtype {
    /// The documented name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::F32 => "float32",
            Self::F16 => "float16",
            Self::Bf16 => "bfloat16",
        }
    }

    /// Bytes of one number.
    #[must_use]
    pub const fn bytes(self) -> u64 {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
        }
    }
}

/// How requests are run.
#[derive(Debug, Clone, PartialEq)]
pub struct ProcessSettings {
    /// Generations that compute at the same time.
    pub generations_concurrent_max: u32,
    /// Requests that wait for their turn; the next one is told to come back later.
    pub queue_max: u32,
    /// Whether whole answers are kept and given again.
    pub response_cache: bool,
    /// How long a kept answer is good for.
    pub response_ttl: Duration,
    /// Tokens generated when the request does not say.
    pub default_max_length: u32,
    /// The most tokens a request may ask for.
    pub max_length_max: u32,
    /// The longest text of a request, in characters.
    pub text_chars_max: u32,
}

/// What a client may ask of a door.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LimitSettings {
    /// The largest request body.
    pub body_bytes_max: u64,
    /// Requests a door works on at the same time.
    pub requests_concurrent_max: u32,
    /// Connections a door keeps open, idle ones included.
    pub connections_max: u32,
    /// From the last byte of the head to the last byte of the answer.
    pub request_timeout: Duration,
    /// From the first byte of a connection to the end of the request's head.
    pub header_timeout: Duration,
    /// How long a stopping node waits for requests it has begun.
    pub shutdown_timeout: Duration,
    /// How long a stopping member of a cluster hands its slots over before it closes its doors.
    pub drain_timeout: Duration,
}

/// One configured caller.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ServiceSettings {
    /// Services of one share group reuse each other's blocks; without a group a service shares with nobody.
    pub share_group: Option<String>,
    /// How its blocks are stored, whatever the node says; as the node says when it is silent. Its order of eviction is the node's.
    pub strategy: Option<Strategy>,
    /// The relative error of the attention output that it accepts where blocks are quantized, in millionths; 0 for none at all,
    /// [`ERROR_PPM_DEFAULT`] where nothing is said.
    pub error_ppm: Option<u32>,
}

/// Who may come in.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct AuthSettings {
    /// Lines of `service token`; without the file every door stays on this machine.
    pub token_file: Option<PathBuf>,
}

/// How the node speaks to its operator.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogSettings {
    /// The shape of a line.
    pub format: LogFormat,
    /// What is said: a level, or directives such as `info,ultrakv_gateway=debug`.
    pub level: String,
}

/// The shape of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// Text on a terminal, JSON elsewhere.
    Auto,
    /// For people.
    Text,
    /// For machines: one object a line.
    Json,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            node: NodeSettings {
                name: "ultrakv".to_owned(),
                data: None,
            },
            http: DoorSettings {
                bind: ports::loopback(ports::HTTP),
            },
            admin: DoorSettings {
                bind: ports::loopback(ports::ADMIN),
            },
            cluster: ClusterSettings::default(),
            cache: CacheSettings::default(),
            model: ModelSettings::default(),
            process: ProcessSettings::default(),
            limits: LimitSettings::default(),
            services: BTreeMap::from([(DEFAULT_SERVICE.to_owned(), ServiceSettings::default())]),
            auth: AuthSettings::default(),
            log: LogSettings {
                format: LogFormat::Auto,
                level: "info".to_owned(),
            },
        }
    }
}

impl Default for CacheSettings {
    fn default() -> Self {
        Self {
            enabled: true,
            strategy: Strategy::Adaptive,
            policy: None,
            encoding: EncodingSettings::default(),
            bytes_max: 1024 * MIB,
            tokens_max: None,
            entry_bytes_max: 64 * MIB,
            block_tokens: 64,
            devices: Devices::Auto,
            page_bytes: 64 << 10,
            watermark_high: 0.9,
            watermark_low: 0.8,
            lease_ms_max: 60_000,
            prefetch: true,
            prefetch_blocks: 16,
        }
    }
}

impl Default for ModelSettings {
    fn default() -> Self {
        Self {
            source: ModelSource::Reference { seed: 0 },
            name: None,
            kv_dtype: KvDtype::F32,
            context_tokens_max: None,
            threads: None,
        }
    }
}

impl Default for ProcessSettings {
    fn default() -> Self {
        Self {
            generations_concurrent_max: 4,
            queue_max: 256,
            response_cache: true,
            response_ttl: Duration::from_secs(3_600),
            default_max_length: 100,
            max_length_max: 10_000,
            text_chars_max: 100_000,
        }
    }
}

impl Default for LimitSettings {
    fn default() -> Self {
        Self {
            body_bytes_max: 32 * MIB,
            requests_concurrent_max: 512,
            connections_max: 4_096,
            request_timeout: Duration::from_secs(120),
            header_timeout: Duration::from_secs(10),
            shutdown_timeout: Duration::from_secs(20),
            drain_timeout: Duration::from_secs(10),
        }
    }
}
