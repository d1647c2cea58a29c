//! The shapes of what is told of policies. Numbers keep the names that the policies give them. Nothing is computed here.

use std::collections::BTreeMap;

use serde::Serialize;
use ultrakv_actors::PolicyReport;
use ultrakv_cache::{ArenaId, EntryClass, Pin, Standing};
use ultrakv_cluster::{ClusterHandle, EntryFound};
use ultrakv_config::Settings;
use utoipa::ToSchema;

/// Numbers by name.
type Numbers = BTreeMap<&'static str, f64>;

/// Which services' blocks lie in which arena.
pub(super) struct Homes(BTreeMap<ArenaId, Vec<String>>);

impl Homes {
    pub(super) fn of(cluster: &ClusterHandle) -> Self {
        let mut homes: BTreeMap<ArenaId, Vec<String>> = BTreeMap::new();
        for service in cluster.services() {
            if let Ok(domain) = cluster.domain(&service, None) {
                homes.entry(domain.arena).or_default().push(service);
            }
        }
        Self(homes)
    }

    fn services(&self, arena: ArenaId) -> Vec<String> {
        self.0.get(&arena).cloned().unwrap_or_default()
    }
}

/// What decides which blocks give way on this node.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PolicyAnswer {
    /// The node's name.
    node: String,
    /// The strategy that was asked for.
    #[schema(example = "adaptive")]
    strategy: &'static str,
    /// The policy that runs.
    #[schema(example = "adaptive")]
    policy: String,
    /// What it does, in a sentence.
    summary: &'static str,
    /// Who described it first.
    source: &'static str,
    /// Each shard.
    shards: Vec<ShardPolicyAnswer>,
}

/// The policy of one shard.
#[derive(Debug, Serialize, ToSchema)]
struct ShardPolicyAnswer {
    /// Which shard.
    shard: usize,
    /// The policy that runs on it.
    policy: &'static str,
    /// Blocks that can be found.
    blocks: u64,
    /// Used bytes.
    used_bytes: u64,
    /// The shard's part of the budget.
    limit_bytes: u64,
    /// Blocks evicted for room since the shard began.
    blocks_evicted: u64,
    /// The policy's own numbers, as it names them.
    #[schema(value_type = Object)]
    figures: Numbers,
    /// The groups that it counts blocks to.
    classes: Vec<PolicyClassAnswer>,
    /// Blocks that would go next if nothing changed, the first to go first.
    next: Vec<StandingAnswer>,
}

/// A group that a policy counts blocks to.
#[derive(Debug, Serialize, ToSchema)]
struct PolicyClassAnswer {
    /// As explanations name it.
    name: String,
    /// What is known of it.
    #[schema(value_type = Object)]
    figures: Numbers,
}

/// How a block or an entry stands among those that may give way.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct StandingAnswer {
    /// `block` or `entry`.
    #[schema(example = "block")]
    kind: &'static str,
    /// A block's key, an entry's name.
    key: String,
    /// The services whose it is; more than one of a share group.
    services: Vec<String>,
    /// The group that the policy counts it to; `kept` or `cached` for an entry.
    class: String,
    /// What it is ordered by within the policy: the lowest goes first. Null for an entry.
    score: Option<f64>,
    /// The numbers behind the score, as the policy names them: uses, time since the last one, worth.
    #[schema(value_type = Object)]
    because: Numbers,
    /// Whether it can go now.
    can_go: bool,
    /// Why it stays or may go.
    reason: String,
    /// Its bytes; of a block those of its pages.
    bytes: u64,
    /// Milliseconds it has left; null for no limit.
    ttl_ms: Option<u64>,
    /// What is known of blocks only.
    #[serde(flatten)]
    block: Option<BlockStandingAnswer>,
}

/// What is known of a block only.
#[derive(Debug, Serialize, ToSchema)]
struct BlockStandingAnswer {
    /// The shard that holds it.
    shard: usize,
    /// The block before it, when that is in the same shard.
    parent: Option<String>,
    /// Blocks before it in its chain, as far as was told.
    depth: u16,
    /// Blocks of the same shard that follow it.
    children: u32,
    /// Readers that hold it.
    leases: u32,
    /// `none`, `soft` or `hard`.
    #[schema(example = "none")]
    pin: &'static str,
    /// Tokens it covers.
    tokens: u32,
}

impl PolicyAnswer {
    pub(super) fn new(settings: &Settings, homes: &Homes, reports: Vec<PolicyReport>) -> Self {
        let recipe = reports.first().map(|report| report.policy.recipe());
        Self {
            node: settings.node.name.clone(),
            strategy: settings.cache.strategy.name(),
            policy: settings.cache.policy_name().to_owned(),
            summary: recipe.map_or("", |recipe| recipe.summary),
            source: recipe.map_or("", |recipe| recipe.source),
            shards: reports
                .into_iter()
                .map(|report| ShardPolicyAnswer::new(homes, report))
                .collect(),
        }
    }
}

impl ShardPolicyAnswer {
    fn new(homes: &Homes, told: PolicyReport) -> Self {
        let PolicyReport {
            report,
            policy,
            figures,
            next,
        } = told;
        let classes = figures.classes.into_iter().map(|class| PolicyClassAnswer {
            name: class.name,
            figures: class.numbers.into_iter().collect(),
        });
        let standing = |standing| StandingAnswer::of_block(homes, report.shard, standing);
        Self {
            shard: report.shard,
            policy: policy.recipe().name,
            blocks: report.blocks_visible,
            used_bytes: report.usage.bytes,
            limit_bytes: report.budget.bytes_max,
            blocks_evicted: report.evicted,
            figures: figures.numbers.into_iter().collect(),
            classes: classes.collect(),
            next: next.iter().map(standing).collect(),
        }
    }
}

impl StandingAnswer {
    pub(super) fn of_block(homes: &Homes, shard: usize, standing: &Standing) -> Self {
        let explanation = &standing.explanation;
        Self {
            kind: "block",
            key: standing.key.to_string(),
            services: homes.services(standing.arena),
            class: explanation.class.clone(),
            score: Some(explanation.score),
            because: explanation.because.iter().copied().collect(),
            can_go: explanation.can_go,
            reason: standing.reason(),
            bytes: standing.bytes,
            ttl_ms: standing.ttl_ms,
            block: Some(BlockStandingAnswer {
                shard,
                parent: standing.parent.map(|parent| parent.to_string()),
                depth: standing.depth,
                children: standing.children,
                leases: standing.leases,
                pin: match standing.pin {
                    Pin::None => "none",
                    Pin::Soft => "soft",
                    Pin::Hard => "hard",
                },
                tokens: standing.tokens,
            }),
        }
    }

    pub(super) fn of_entry(service: &str, name: String, entry: &EntryFound) -> Self {
        let (class, reason) = match entry.class {
            EntryClass::Kept => (
                "kept",
                "it is kept, so it never goes to make room: it ends with its time, or when it is deleted",
            ),
            EntryClass::Cached => (
                "cached",
                "it is cached: it goes when the quota of entries is full, or when bytes lack and no block can go; of those, the one used \
                 least recently",
            ),
        };
        Self {
            kind: "entry",
            key: name,
            services: vec![service.to_owned()],
            class: class.to_owned(),
            score: None,
            because: Numbers::new(),
            can_go: entry.class == EntryClass::Cached,
            reason: reason.to_owned(),
            bytes: u64::try_from(entry.value.len()).unwrap_or(u64::MAX),
            ttl_ms: entry.ttl_ms,
            block: None,
        }
    }
}
