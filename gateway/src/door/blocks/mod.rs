//! K/V blocks by name, for inference engines: one at a time as octet streams, many at a time as frames.
//!
//! The bytes of a block are opaque here: they are stored, verified and handed out, never looked into. A block cannot be changed;
//! whoever stores a name first decides what it holds. Nothing here knows how names become keys (see [`crate::door::name`]) or where blocks
//! lie.

mod batch;
mod exists;
mod frame;
mod lease;
mod offer;
mod range;
mod single;

use serde::Deserialize;
use ultrakv_actors::{Domain, LeasedBlock};
use ultrakv_cache::{BlockAddress, BlockKey};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::door::name;
use crate::problem::Problem;
use crate::state::AppState;

pub(crate) use self::lease::HeldLeases;

/// The most blocks one request may name: eight times the 128 pages of SGLang's batches.
pub(crate) const BATCH_BLOCKS_MAX: usize = 1_024;

/// The routes of this family.
pub(crate) fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(
            single::get_block,
            single::put_block,
            single::delete_block
        ))
        .routes(routes!(exists::exists))
        .routes(routes!(exists::release))
        .routes(routes!(batch::get_blocks))
        .routes(routes!(batch::put_blocks))
}

/// The keys of a batch, in order.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
struct KeysBody {
    /// Names of blocks, 1 to 1 024.
    #[schema(min_items = 1, max_items = 1024, example = json!(["layer-0/block-7", "layer-0/block-8"]))]
    keys: Vec<String>,
}

/// Refuses batches out of bounds.
fn check_batch(keys: &[String]) -> Result<(), Problem> {
    if keys.is_empty() || keys.len() > BATCH_BLOCKS_MAX {
        let told = format!(
            "a batch has 1 to {BATCH_BLOCKS_MAX} keys, this one has {}",
            keys.len()
        );
        return Err(Problem::bad_request("batch_size", told)
            .hint("split the batch")
            .param("keys"));
    }
    for (index, key) in keys.iter().enumerate() {
        name::check(key.as_bytes(), &format!("keys[{index}]"))?;
    }
    Ok(())
}

/// Every route of this family that reads keys reads them like this.
fn addresses(domain: &Domain, keys: &[String]) -> Vec<BlockAddress> {
    keys.iter()
        .map(|key| name::address(domain, key.as_bytes()))
        .collect()
}
/// Whether a block is what was stored under its key. Doubt about a block is a miss.
fn is_intact(key: &BlockKey, block: &LeasedBlock) -> bool {
    let intact = block.header.verify(key, &block.payload);
    if !intact {
        metrics::counter!("ultrakv_blocks_corrupt_total").increment(1);
        tracing::error!(
            ?key,
            "a block's checksum does not hold; it is treated as missing"
        );
    }
    intact
}
