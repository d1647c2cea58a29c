//! Which blocks are cached, on whichever node, and holding them until they are read.
//!
//! An engine asks before it computes. Between the answer and the reading the blocks could be evicted; a lease prevents that.
//! Blocks of other nodes are told from this node's directory, which costs no hop, or promised by their holders, one hop a
//! node; no block moves.

use axum::extract::{Path, State};
use serde::{Deserialize, Serialize};
use ultrakv_cluster::block::Exists;
use utoipa::ToSchema;

use super::lease::LeaseName;
use super::{addresses, check_batch};
use crate::auth::Caller;
use crate::door::name::Scope;
use crate::extract::Json;
use crate::limits::AnswerBy;
use crate::problem::Problem;
use crate::state::AppState;

/// The question.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct ExistsBody {
    /// Names of blocks in the order of their chain, 1 to 1 024.
    #[schema(min_items = 1, max_items = 1024, example = json!(["layer-0/block-7", "layer-0/block-8"]))]
    keys: Vec<String>,
    /// Keeps the leading run from being evicted for this long, wherever it is; at most the node's longest lease. Without it the
    /// answer is a hint where blocks are on other nodes.
    #[schema(example = 5000)]
    lease_ms: Option<u32>,
}

/// The answer.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ExistsAnswer {
    /// For each key, whether its block is cached on some node.
    present: Vec<bool>,
    /// How many keys from the first on are cached without a gap.
    prefix_blocks: usize,
    /// The lease over those blocks, when one was asked for and there are any.
    lease: Option<LeaseAnswer>,
}

/// A lease that was given.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct LeaseAnswer {
    /// Ends the lease early: `DELETE /v1/kv/leases/{id}`. Blocks on other nodes stay until the time is up.
    id: String,
    /// When it ends by itself.
    expires_in_ms: u32,
}

/// The answer to an ended lease.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct ReleaseAnswer {
    /// Whether there was such a lease.
    released: bool,
}

/// Which of these blocks are cached, and how long the leading run is.
#[utoipa::path(
    post,
    path = "/v1/kv/exists",
    tag = "blocks",
    params(("x-ultrakv-salt" = Option<String>, Header, description = "Separates names inside the service.")),
    request_body = ExistsBody,
    responses((status = 200, description = "One truth value for each key.", body = ExistsAnswer)),
)]
pub(super) async fn exists(
    State(state): State<AppState>,
    caller: Caller,
    Scope(domain): Scope,
    AnswerBy(deadline): AnswerBy,
    Json(body): Json<ExistsBody>,
) -> Result<axum::Json<ExistsAnswer>, Problem> {
    check_batch(&body.keys)?;
    let lease_ms_max = state.settings.cache.lease_ms_max;
    if body
        .lease_ms
        .is_some_and(|lease_ms| lease_ms == 0 || lease_ms > lease_ms_max)
    {
        let told = format!("a lease lasts 1 to {lease_ms_max} ms");
        return Err(Problem::bad_request("lease_invalid", told)
            .hint("ask for a shorter lease, or raise cache.lease_ms_max")
            .param("lease_ms"));
    }
    let addresses = addresses(&domain, &body.keys);
    let found = state
        .cluster
        .exists(&domain, &addresses, body.lease_ms, deadline)
        .await?;
    let prefix_blocks = found.prefix_blocks();
    let Exists { present, held } = found;
    let lease = match body.lease_ms {
        Some(lease_ms) if prefix_blocks > 0 => {
            let until = state
                .clock
                .deadline(std::time::Duration::from_millis(lease_ms.into()));
            let name = state.leases.hold(&caller.service, held, until)?;
            Some(LeaseAnswer {
                id: name.to_string(),
                expires_in_ms: lease_ms,
            })
        }
        _ => None,
    };
    Ok(axum::Json(ExistsAnswer {
        present,
        prefix_blocks,
        lease,
    }))
}

/// Ends a lease before its time.
#[utoipa::path(
    delete,
    path = "/v1/kv/leases/{id}",
    tag = "blocks",
    params(("id" = String, Path, description = "The lease's id, as `exists` gave it.")),
    responses((status = 200, description = "The lease has ended, now or before.", body = ReleaseAnswer)),
)]
pub(super) async fn release(
    State(state): State<AppState>,
    caller: Caller,
    id: Result<Path<String>, axum::extract::rejection::PathRejection>,
) -> Result<axum::Json<ReleaseAnswer>, Problem> {
    let name = id.ok().and_then(|Path(id)| id.parse::<LeaseName>().ok());
    let released = name.is_some_and(|name| state.leases.release(&caller.service, name));
    Ok(axum::Json(ReleaseAnswer { released }))
}
