//! What a budget costs: bytes per token for a model's shape, memory for a number of tokens, and which budget binds.
//!
//! Arithmetic only. It must never know where the shape came from or how its rows are printed.

use serde::Serialize;

use crate::settings::{CacheSettings, Devices, KvDtype, Settings, Strategy};

/// The dimensions that decide how large a token's keys and values are.
///
/// # Source
/// One entry of the original engine was one layer; its table of memory (4 096 tokens take 2 to 4 GB) holds for a
/// 7B-class model: [`Shape::SEVEN_B`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct Shape {
    /// Decoder layers.
    pub layers: u16,
    /// Heads of keys and values, which grouped attention has fewer of than heads of queries.
    pub kv_heads: u16,
    /// Numbers in one head.
    pub head_size: u16,
}

impl Shape {
    /// Llama-2-7B and its kin: the shape that the original's table of memory fits.
    pub const SEVEN_B: Self = Self {
        layers: 32,
        kv_heads: 32,
        head_size: 128,
    };

    /// Keys and values of one token in every layer: `2 · layers · kv_heads · head_size · bytes`.
    #[must_use]
    pub fn token_bytes(self, dtype: KvDtype) -> u64 {
        // At most 2 · 65535³ · 4, which is below 2^51.
        2 * u64::from(self.layers)
            * u64::from(self.kv_heads)
            * u64::from(self.head_size)
            * dtype.bytes()
    }
}

/// What to plan for.
#[derive(Debug, Clone, Copy)]
pub struct PlanRequest<'a> {
    /// The model's shape.
    pub shape: Shape,
    /// How keys and values are stored.
    pub dtype: KvDtype,
    /// What the operator asked for. Blocks are counted at their full size under all six: how much smaller encoded ones are depends
    /// on what is in them.
    pub strategy: Strategy,
    /// The budgets.
    pub settings: &'a Settings,
}

/// What the budgets cost.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Plan {
    /// The shape planned for.
    pub shape: Shape,
    /// The documented name of the dtype.
    pub dtype: &'static str,
    /// The documented name of the strategy.
    pub strategy: &'static str,
    /// The policy that runs.
    pub policy: String,
    /// Keys and values of one token.
    pub token_bytes: u64,
    /// Keys and values of one block, before pages.
    pub block_bytes: u64,
    /// The same in whole pages, as the arena gives it.
    pub block_paged_bytes: u64,
    /// The configured budget in bytes.
    pub bytes_max: u64,
    /// The configured budget in tokens.
    pub tokens_max: Option<u64>,
    /// Tokens that fit into the budget in bytes, entries left aside.
    pub tokens_by_bytes: u64,
    /// Which of the two is reached first.
    pub binds: Binds,
    /// Memory for each number of tokens.
    pub rows: Vec<PlanRow>,
    /// What the operator should know.
    pub warnings: Vec<PlanWarning>,
}

/// Which budget is reached first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Binds {
    /// `cache.bytes_max`.
    Bytes,
    /// `cache.tokens_max`.
    Tokens,
}

/// Memory for a number of tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub struct PlanRow {
    /// Tokens kept.
    pub tokens: u64,
    /// Whole blocks they fill.
    pub blocks: u64,
    /// Memory of those blocks, in whole pages.
    pub bytes: u64,
    /// Whether this is what is configured now.
    pub configured: bool,
}

/// Advice about a budget.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PlanWarning {
    /// Stable, for programs.
    pub code: &'static str,
    /// A sentence without its full stop.
    pub message: String,
    /// What to do about it.
    pub hint: String,
}

/// The documented rows.
const TOKENS_SHOWN: [u64; 4] = [4_096, 8_192, 16_384, 32_768];

/// Below this share of the bytes, a budget in tokens leaves most of the memory unused.
const BOUND_PERCENT_MIN: u64 = 10;

/// What the configured budgets cost for a shape.
#[must_use]
pub fn plan(request: &PlanRequest<'_>) -> Plan {
    let cache = &request.settings.cache;
    let token_bytes = request.shape.token_bytes(request.dtype);
    let block_tokens = u64::from(cache.block_tokens.max(1));
    let block_bytes = token_bytes * block_tokens;
    let block_paged_bytes = block_bytes.next_multiple_of(u64::from(cache.page_bytes.max(1)));
    let row = |tokens: u64, configured| {
        let blocks = tokens.div_ceil(block_tokens);
        PlanRow {
            tokens,
            blocks,
            bytes: blocks.saturating_mul(block_paged_bytes),
            configured,
        }
    };
    let tokens_by_bytes = (cache.bytes_max / block_paged_bytes.max(1)).saturating_mul(block_tokens);
    let configured = cache.tokens_max.unwrap_or(tokens_by_bytes);
    let mut rows: Vec<PlanRow> = TOKENS_SHOWN
        .into_iter()
        .filter(|tokens| *tokens != configured)
        .map(|tokens| row(tokens, false))
        .collect();
    rows.push(row(configured, true));
    rows.sort_by_key(|row| row.tokens);
    let binds = match cache.tokens_max {
        Some(tokens) if tokens < tokens_by_bytes => Binds::Tokens,
        _ => Binds::Bytes,
    };
    let needed = row(configured, true).bytes;
    Plan {
        shape: request.shape,
        dtype: request.dtype.name(),
        strategy: request.strategy.name(),
        policy: cache
            .policy
            .clone()
            .unwrap_or_else(|| request.strategy.policy().to_owned()),
        token_bytes,
        block_bytes,
        block_paged_bytes,
        bytes_max: cache.bytes_max,
        tokens_max: cache.tokens_max,
        tokens_by_bytes,
        binds,
        rows,
        warnings: warnings(request, (tokens_by_bytes, needed, block_paged_bytes)),
    }
}

/// Budgets that hold no block. What counts is a shard's part: a block is never cut over shards.
fn too_small(cache: &CacheSettings, block_paged_bytes: u64) -> Vec<PlanWarning> {
    let shards = match cache.devices {
        Devices::Count(count) => u64::from(count.max(1)),
        // `auto` makes fewer shards before it makes them too small.
        Devices::Auto => 1,
    };
    let each = match shards {
        1 => String::new(),
        shards => format!(" that are left to each of {shards} shards"),
    };
    let mut warnings = Vec::new();
    let bytes = cache.bytes_max / shards;
    if bytes < block_paged_bytes {
        warnings.push(PlanWarning {
            code: "plan.no_block_fits",
            message: format!("the {bytes} bytes{each} do not hold one block"),
            hint: "raise cache.bytes_max, or lower cache.block_tokens or cache.devices".to_owned(),
        });
    }
    let tokens = cache.tokens_max.map(|tokens| tokens / shards);
    if let Some(tokens) = tokens.filter(|tokens| *tokens < u64::from(cache.block_tokens)) {
        warnings.push(PlanWarning {
            code: "plan.no_block_fits",
            message: format!(
                "the {tokens} tokens{each} do not fill one block of {}",
                cache.block_tokens
            ),
            hint: "raise cache.tokens_max, or lower cache.block_tokens or cache.devices".to_owned(),
        });
    }
    warnings
}

fn warnings(
    request: &PlanRequest<'_>,
    (tokens_by_bytes, needed, block_paged_bytes): (u64, u64, u64),
) -> Vec<PlanWarning> {
    let cache = &request.settings.cache;
    let mut warnings = too_small(cache, block_paged_bytes);
    if let Some(tokens) = cache.tokens_max {
        let share = needed.saturating_mul(100) / cache.bytes_max.max(1);
        if share < BOUND_PERCENT_MIN {
            warnings.push(PlanWarning {
                code: "plan.tokens_bind_early",
                message: format!(
                    "cache.tokens_max ({tokens} tokens) is reached at {share} % of cache.bytes_max; \
                     the other {} % of the memory stays unused",
                    100 - share
                ),
                hint: format!(
                    "raise it (max_tokens, KV_CACHE_MAX_TOKENS) towards {tokens_by_bytes}, leave it out, \
                     or lower cache.bytes_max"
                ),
            });
        }
    }
    warnings
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seven_b(dtype: KvDtype, settings: &Settings) -> Plan {
        let strategy = settings.cache.strategy;
        plan(&PlanRequest {
            shape: Shape::SEVEN_B,
            dtype,
            strategy,
            settings,
        })
    }

    fn settings(bytes_max: u64, tokens_max: Option<u64>) -> Settings {
        let cache = CacheSettings {
            bytes_max,
            tokens_max,
            ..CacheSettings::default()
        };
        Settings {
            cache,
            ..Settings::default()
        }
    }

    #[test]
    fn the_documented_table_holds_for_a_7b_model_in_half_and_full_precision() {
        let settings = settings(8 << 30, None);
        let half = seven_b(KvDtype::F16, &settings);
        let full = seven_b(KvDtype::F32, &settings);
        assert_eq!((half.token_bytes, full.token_bytes), (512 << 10, 1 << 20));
        let gib = |plan: &Plan| -> Vec<(u64, u64)> {
            plan.rows
                .iter()
                .map(|row| (row.tokens, row.bytes >> 30))
                .collect()
        };
        // The original: 4 096 tokens take 2 to 4 GB, and so on in proportion.
        assert_eq!(
            gib(&half),
            [(4_096, 2), (8_192, 4), (16_384, 8), (32_768, 16)]
        );
        assert_eq!(
            gib(&full),
            [(4_096, 4), (8_192, 8), (16_384, 16), (32_768, 32)]
        );
    }

    #[test]
    fn the_budget_reached_first_binds() {
        assert_eq!(
            seven_b(KvDtype::F16, &settings(8 << 30, None)).binds,
            Binds::Bytes
        );
        assert_eq!(
            seven_b(KvDtype::F16, &settings(8 << 30, Some(4_096))).binds,
            Binds::Tokens
        );
        assert_eq!(
            seven_b(KvDtype::F16, &settings(1 << 30, Some(4_096))).binds,
            Binds::Bytes
        );
    }

    #[test]
    fn tokens_that_leave_nine_tenths_of_the_bytes_unused_are_warned_about() {
        let early = seven_b(KvDtype::F16, &settings(64 << 30, Some(4_096)));
        assert_eq!(early.warnings.len(), 1);
        assert_eq!(early.warnings[0].code, "plan.tokens_bind_early");
        assert!(
            early.warnings[0].message.contains("at 3 %"),
            "{}",
            early.warnings[0].message
        );
        let fitting = seven_b(KvDtype::F16, &settings(8 << 30, Some(4_096)));
        assert_eq!(fitting.warnings, []);
    }

    #[test]
    fn a_budget_whose_shards_hold_no_block_is_warned_about() {
        let codes = |bytes_max, tokens_max, devices| -> Vec<String> {
            let mut settings = settings(bytes_max, tokens_max);
            settings.cache.devices = devices;
            let plan = seven_b(KvDtype::F16, &settings);
            let fits = |warning: &PlanWarning| warning.code == "plan.no_block_fits";
            let found = plan.warnings.into_iter().filter(fits);
            found.map(|warning| warning.message).collect()
        };
        // A block of 64 tokens takes 32 MiB.
        assert_eq!(codes(64 << 20, Some(128), Devices::Auto), [""; 0]);
        assert_eq!(codes(64 << 20, Some(128), Devices::Count(2)), [""; 0]);
        assert_eq!(
            codes(64 << 20, Some(128), Devices::Count(4)),
            [
                "the 16777216 bytes that are left to each of 4 shards do not hold one block",
                "the 32 tokens that are left to each of 4 shards do not fill one block of 64"
            ]
        );
        assert_eq!(
            codes(16 << 20, None, Devices::Auto),
            ["the 16777216 bytes do not hold one block"]
        );
    }

    #[test]
    fn extreme_shapes_and_budgets_do_not_overflow() {
        let shape = Shape {
            layers: u16::MAX,
            kv_heads: u16::MAX,
            head_size: u16::MAX,
        };
        let mut settings = settings(u64::MAX, Some(u64::MAX));
        settings.cache.block_tokens = 1_024;
        let request = PlanRequest {
            shape,
            dtype: KvDtype::F32,
            strategy: Strategy::Lru,
            settings: &settings,
        };
        assert!(plan(&request).rows.iter().all(|row| row.bytes > 0));
    }
}
