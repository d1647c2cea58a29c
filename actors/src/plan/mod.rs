//! What a node is told before it starts: plain values, and how a node's budget is cut over its
//! shards.
//!
//! It must never know where the values come from, save for [`NodePlan::from_settings`], nor how any policy works.

mod split;

use std::sync::Arc;

use ultrakv_cache::prefetch::PrefetchConfig;
use ultrakv_cache::{Budget, PolicyKind, Setup, ShardConfig};
use ultrakv_config::{CacheSettings, Devices};

use crate::clock::Clock;
use crate::device::{Device, HostDevice};
use crate::supervise::RestartLimit;
use crate::{BlockWatcher, Entropy};

pub use split::split;

/// Below this a shard holds too few blocks to be worth one; `auto` makes fewer shards instead.
pub const SHARD_BYTES_MIN: u64 = 64 << 20;

/// Four runs: with fewer blocks than this a shard hardly holds a prefix, so `auto` makes fewer shards of more blocks.
const SHARD_BLOCKS_MIN: u64 = 64;

/// The share of the budget that hard pins may take: half, so that a shard can always serve.
const PIN_SHARE_DIVISOR: u64 = 2;

/// Blocks that a shard's tables may describe: 16 Mi, at most 2 GiB of them.
const BLOCKS_MAX: u64 = 1 << 24;

/// The longest lease by time when nobody says otherwise: a minute.
const LEASE_MS_MAX: u32 = 60_000;

/// How many requests and payload bytes may be in flight at one shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct GateLimits {
    /// Requests; the next one is told `Busy`.
    pub requests_in_flight_max: usize,
    /// Payload bytes of writes on their way into the shard.
    pub payload_in_flight_bytes_max: u64,
}

impl Default for GateLimits {
    /// A thousand requests are a few milliseconds of work for a shard; a quarter of a gibibyte is
    /// some hundred blocks.
    fn default() -> Self {
        Self {
            requests_in_flight_max: 1024,
            payload_in_flight_bytes_max: 256 << 20,
        }
    }
}

/// How the eviction actor works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EvictionPlan {
    /// Time between looks at every shard.
    pub tick_ms: u64,
    /// Victims in one turn of a shard, which bounds how long its other requests wait: a victim
    /// costs about a microsecond, and its pages a system call when they are given back.
    pub batch_blocks_max: u32,
}

impl Default for EvictionPlan {
    fn default() -> Self {
        Self {
            tick_ms: 500,
            batch_blocks_max: 64,
        }
    }
}

/// How the prefetch actor works.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PrefetchPlan {
    /// Limits, and which sources are on.
    pub config: PrefetchConfig,
    /// What a block is taken to need before one has come.
    pub block_bytes: u64,
}

impl PrefetchPlan {
    /// All that a cache of so many bytes prefetches, a block taken for one in 256 of it until one has come.
    #[must_use]
    pub const fn of_bytes(bytes_max: u64) -> Self {
        Self {
            config: PrefetchConfig::of_bytes(bytes_max),
            block_bytes: bytes_max / 256,
        }
    }
}

/// One device that a shard lives on.
#[derive(Clone, Debug)]
pub struct DevicePlan {
    /// Its share of the budget and of the runs, against the other devices' weights.
    pub weight: u32,
    /// What gives it memory.
    pub device: Arc<dyn Device>,
}

/// Everything a node's cache is told.
#[derive(Clone, Debug)]
pub struct NodePlan {
    /// The whole node's limits; cut over the devices by weight, to the last byte.
    pub budget: Budget,
    /// Bytes of a page.
    pub page_bytes: u32,
    /// Eviction order.
    pub policy: PolicyKind,
    /// The devices, one shard each; at least one.
    pub devices: Vec<DevicePlan>,
    /// Limits of each shard's gate.
    pub gate: GateLimits,
    /// The longest lease by time that a shard grants; readers of pages hold theirs without one.
    pub lease_ms_max: u32,
    /// How eviction works.
    pub eviction: EvictionPlan,
    /// Each supervisor's patience.
    pub restarts: RestartLimit,
    /// The time.
    pub clock: Clock,
    /// Where boot ids and secrets are drawn.
    pub entropy: Entropy,
    /// What is fetched before it is asked for.
    pub prefetch: PrefetchPlan,
    /// Who is told which blocks come and go; nobody on a node without peers.
    pub watcher: Option<Arc<dyn BlockWatcher>>,
}

/// The settings name a policy that nobody registered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("there is no policy named {name:?}")]
pub struct UnknownPolicy {
    /// What they name.
    pub name: String,
}

impl UnknownPolicy {
    /// A stable name for machines.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        "unknown_policy"
    }

    /// What the operator can do about it.
    #[must_use]
    pub const fn hint(&self) -> &'static str {
        "`ultrakv config check` lists the names that cache.policy may have"
    }
}

/// One shard's part of the plan.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ShardPlan {
    pub(crate) config: ShardConfig,
    pub(crate) gate: GateLimits,
}

impl NodePlan {
    /// A plan for host memory: this many shards over this budget, everything else by default.
    #[must_use]
    pub fn host(budget: Budget, page_bytes: u32, shards: u32) -> Self {
        let device: Arc<dyn Device> = Arc::new(HostDevice::new(page_bytes));
        let devices = (0..shards.max(1)).map(|_| DevicePlan {
            weight: 1,
            device: Arc::clone(&device),
        });
        Self {
            budget,
            page_bytes,
            policy: PolicyKind::LRU,
            devices: devices.collect(),
            gate: GateLimits::default(),
            lease_ms_max: LEASE_MS_MAX,
            eviction: EvictionPlan::default(),
            restarts: RestartLimit::default(),
            clock: Clock::machine(),
            entropy: Entropy::machine(),
            prefetch: PrefetchPlan::of_bytes(budget.bytes_max),
            watcher: None,
        }
    }

    /// The plan that the settings ask for, when nobody knows how large a block will be.
    ///
    /// # Errors
    /// As [`NodePlan::for_blocks`].
    pub fn from_settings(settings: &CacheSettings) -> Result<Self, UnknownPolicy> {
        Self::for_blocks(settings, 0)
    }

    /// The plan that the settings ask for, for a model whose blocks have this many bytes.
    ///
    /// # Errors
    /// When no registered policy has the name that the settings say.
    pub fn for_blocks(settings: &CacheSettings, block_bytes: u64) -> Result<Self, UnknownPolicy> {
        let name = settings.policy_name();
        let policy = PolicyKind::named(name).ok_or_else(|| UnknownPolicy {
            name: name.to_owned(),
        })?;
        let budget = Budget {
            tokens_max: settings.tokens_max,
            entry_bytes_max: settings.entry_bytes_max,
            watermark_high: per_mille(settings.watermark_high),
            watermark_low: per_mille(settings.watermark_low),
            ..Budget::of_bytes(settings.bytes_max)
        };
        let shards = match settings.devices {
            Devices::Count(count) => count,
            Devices::Auto => auto_shards(settings, block_bytes),
        };
        let host = Self::host(budget, settings.page_bytes, shards);
        let is_on = settings.enabled && settings.prefetch;
        let config = PrefetchConfig {
            arrival: is_on,
            session: is_on,
            read_ahead_blocks_max: if is_on { settings.prefetch_blocks } else { 0 },
            ..host.prefetch.config
        };
        Ok(Self {
            policy,
            lease_ms_max: settings.lease_ms_max,
            prefetch: PrefetchPlan {
                config,
                block_bytes: match block_bytes {
                    0 => host.prefetch.block_bytes,
                    known => known,
                },
            },
            ..host
        })
    }

    /// The devices' weights, in order.
    pub(crate) fn weights(&self) -> Vec<u32> {
        self.devices.iter().map(|device| device.weight).collect()
    }

    /// Each shard's part, in the devices' order. Sums are exactly the node's limits.
    pub(crate) fn shards(&self) -> Vec<ShardPlan> {
        let weights = self.weights();
        let bytes = split(self.budget.bytes_max, &weights);
        let entry_bytes = split(self.budget.entry_bytes_max, &weights);
        let tokens = self.budget.tokens_max.map(|tokens| split(tokens, &weights));
        let part = |parts: &[u64], index: usize| parts.get(index).copied().unwrap_or(0);

        let shard = |index| {
            let bytes_max = part(&bytes, index);
            let blocks_max = (bytes_max / u64::from(self.page_bytes.max(1))).clamp(1, BLOCKS_MAX);
            let budget = Budget {
                bytes_max,
                tokens_max: tokens.as_deref().map(|tokens| part(tokens, index)),
                entry_bytes_max: part(&entry_bytes, index).min(bytes_max),
                blocks_max: u32::try_from(blocks_max).unwrap_or(u32::MAX),
                pin_bytes_max: bytes_max / PIN_SHARE_DIVISOR,
                watermark_high: self.budget.watermark_high,
                watermark_low: self.budget.watermark_low,
            };
            ShardPlan {
                config: ShardConfig {
                    page_bytes: self.page_bytes,
                    policy: self.policy,
                    // A number of its own for each shard: the same draws everywhere would miss the same blocks.
                    policy_setup: Setup {
                        seed: u64::try_from(index).unwrap_or(0),
                    },
                    lease_ms_max: self.lease_ms_max,
                    tells_changes: self.watcher.is_some(),
                    ..ShardConfig::new(budget)
                },
                gate: self.gate,
            }
        };
        (0..self.devices.len()).map(shard).collect()
    }
}

/// One shard a core, but none smaller than it is worth, in bytes or in tokens.
fn auto_shards(settings: &CacheSettings, block_bytes: u64) -> u32 {
    let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
    let page_bytes = u64::from(settings.page_bytes.max(1));
    let paged_bytes = block_bytes.div_ceil(page_bytes).saturating_mul(page_bytes);
    let shard_bytes = SHARD_BYTES_MIN.max(paged_bytes.saturating_mul(SHARD_BLOCKS_MIN));
    let by_bytes = settings.bytes_max / shard_bytes;
    let shard_tokens = SHARD_BLOCKS_MIN * u64::from(settings.block_tokens.max(1));
    let by_tokens = settings.tokens_max.unwrap_or(u64::MAX) / shard_tokens;
    let worth = by_bytes.min(by_tokens);
    let shards = worth.clamp(1, u64::try_from(cores).unwrap_or(1));
    u32::try_from(shards).unwrap_or(1)
}

/// A share in `0.0..=1.0` as the cache counts it.
fn per_mille(share: f64) -> u16 {
    // Found by comparing rather than by casting, which would have to be excused.
    let steps = share.clamp(0.0, 1.0) * 1000.0;
    (0..=1000_u16)
        .find(|step| f64::from(*step) + 0.5 > steps)
        .unwrap_or(1000)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_shards_budgets_sum_to_the_nodes(
            bytes in 0_u64..1 << 50,
            tokens in 0_u64..1 << 40,
            weights in prop::collection::vec(0_u32..100, 1..20),
        ) {
            let mut plan = NodePlan::host(Budget::of_bytes(bytes), 4096, 1);
            plan.budget.tokens_max = Some(tokens);
            let device = plan.devices.remove(0).device;
            plan.devices = weights
                .iter()
                .map(|weight| DevicePlan { weight: *weight, device: Arc::clone(&device) })
                .collect();
            let shards = plan.shards();
            let sum = |of: fn(&Budget) -> u64| -> u64 {
                shards.iter().map(|shard| of(&shard.config.budget)).sum()
            };
            prop_assert_eq!(sum(|budget| budget.bytes_max), bytes);
            prop_assert_eq!(sum(|budget| budget.tokens_max.unwrap()), tokens);
            prop_assert!(sum(|budget| budget.entry_bytes_max) <= plan.budget.entry_bytes_max);
        }
    }

    #[test]
    fn auto_makes_no_shard_smaller_than_it_is_worth() {
        let cores = std::thread::available_parallelism().unwrap().get();
        let cores = u32::try_from(cores).unwrap();
        let check = |bytes_max, tokens_max, block_bytes, expected: u32| {
            let settings = CacheSettings {
                bytes_max,
                tokens_max,
                block_tokens: 64,
                ..CacheSettings::default()
            };
            let plan = NodePlan::for_blocks(&settings, block_bytes).unwrap();
            let shards = u32::try_from(plan.devices.len()).unwrap();
            assert_eq!(shards, expected.min(cores), "{settings:?} {block_bytes}");
        };
        check(0, None, 0, 1);
        check(SHARD_BYTES_MIN, None, 0, 1);
        check(2 * SHARD_BYTES_MIN, None, 0, 2);
        check(u64::MAX, None, 0, u32::MAX);
        // Tokens that bind: each shard holds some prefixes, and not a fraction of a block.
        check(8 << 30, Some(512), 0, 1);
        check(8 << 30, Some(2 * 64 * 64), 0, 2);
        // Blocks of a 7B-class model: 32 MiB each.
        check(8 << 30, None, 32 << 20, 4);
        check(1 << 30, None, 32 << 20, 1);
        check(u64::MAX, None, u64::MAX, 1);
    }

    #[test]
    fn every_strategy_names_a_registered_policy_and_any_other_can_be_named() {
        let policy = |settings: &CacheSettings| {
            let plan = NodePlan::from_settings(settings);
            plan.map(|plan| plan.shards()[0].config.policy)
        };
        for strategy in ultrakv_config::Strategy::ALL {
            let settings = CacheSettings {
                strategy,
                ..CacheSettings::default()
            };
            let name = strategy.policy();
            assert_eq!(
                policy(&settings).unwrap().recipe().name,
                name,
                "{strategy:?}"
            );
        }
        let named = |name: &str| CacheSettings {
            policy: Some(name.to_owned()),
            ..CacheSettings::default()
        };
        for kind in PolicyKind::all() {
            assert_eq!(policy(&named(kind.recipe().name)), Ok(kind));
        }
        let unknown = policy(&named("oracle")).unwrap_err();
        assert_eq!(
            (unknown.code(), unknown.name.as_str()),
            ("unknown_policy", "oracle")
        );
    }

    #[test]
    fn shares_become_per_mille() {
        for (share, expected) in [
            (0.0, 0),
            (0.95, 950),
            (0.9, 900),
            (1.0, 1000),
            (7.0, 1000),
            (0.0004, 0),
        ] {
            assert_eq!(per_mille(share), expected, "{share}");
        }
    }
}
