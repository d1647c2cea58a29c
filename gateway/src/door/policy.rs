//! What decides which blocks give way, for operators: the policy of each shard with its figures and the blocks that go next, and
//! how one block or entry stands, and why.
//!
//! Looks only: nothing here counts as a use of a block. Each node answers for its own shards. Nothing here decides anything.

mod answer;

use axum::Json;
use axum::extract::State;
use serde::Deserialize;
use ultrakv_actors::NEXT_MAX;
use ultrakv_actors::clock::Deadline;
use ultrakv_cache::BlockKey;
use ultrakv_config::DEFAULT_SERVICE;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::auth::Caller;
use crate::door::name;
use crate::extract::Params;
use crate::limits::AnswerBy;
use crate::problem::Problem;
use crate::state::AppState;

use self::answer::{Homes, PolicyAnswer, StandingAnswer};

/// Blocks told of each shard when nobody says how many: a screenful.
const NEXT_DEFAULT: usize = 16;

/// The routes of this family.
pub(crate) fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(policy))
        .routes(routes!(explain))
}

/// How much is told.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PolicyParams {
    /// Blocks that would go next, of each shard.
    next: Option<usize>,
}

/// What is to be explained.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct ExplainParams {
    /// A block's key, or a name.
    key: String,
    /// Whose name it is.
    service: Option<String>,
    /// The salt that separates names inside the service.
    salt: Option<String>,
    /// Only a block, or only an entry.
    kind: Option<Kind>,
}

/// What a name may stand for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Block,
    Entry,
}

/// The policy of every shard of this node: its figures, its classes, and the blocks that would go next, and why.
///
/// The blocks are the leaves that would go if nothing changed, the first to go first; what becomes a leaf only as others go is not among
/// them. `adaptive` draws candidates by chance, so it tells the lowest of what earlier draws left and of the first 4 096 leaves.
#[utoipa::path(get, path = "/v1/policy", tag = "policy",
    params(("next" = Option<usize>, Query, maximum = 256, description = "Blocks told of each shard; 16 when absent.")),
    responses((status = 200, description = "A report of each shard.", body = PolicyAnswer)))]
async fn policy(
    State(state): State<AppState>,
    _caller: Caller,
    AnswerBy(deadline): AnswerBy,
    Params(params): Params<PolicyParams>,
) -> Result<Json<PolicyAnswer>, Problem> {
    let next = params.next.unwrap_or(NEXT_DEFAULT);
    if next > NEXT_MAX {
        let told = format!("at most {NEXT_MAX} blocks of each shard are told, not {next}");
        return Err(Problem::bad_request("next_invalid", told)
            .hint("ask for fewer")
            .param("next"));
    }
    let reports = state.cluster.policies(next, deadline).await?;
    let homes = Homes::of(&state.cluster);
    Ok(Json(PolicyAnswer::new(&state.settings, &homes, reports)))
}

/// How a block or an entry stands: its class, its score, the numbers behind it, and why it stays or may go.
///
/// `key` is a block's key, 64 hexadecimal digits, as `/v1/policy` lists them; or the name of a block or an entry of a service, the
/// block first where there are both. Of an entry only its class is known, wherever it is, and looking at it counts as a use.
#[utoipa::path(get, path = "/v1/policy/explain", tag = "policy",
    params(
        ("key" = String, Query, description = "A block's key, or the name of a block or an entry."),
        ("service" = Option<String>, Query, description = "Whose name it is; `default` when absent."),
        ("salt" = Option<String>, Query, description = "The salt that separates names inside the service."),
        ("kind" = Option<String>, Query, description = "`block` or `entry`: what the name stands for; either when absent."),
    ),
    responses(
        (status = 200, description = "How it stands.", body = StandingAnswer),
        (status = 404, description = "Nothing of that key or name is here.", content_type = "application/problem+json",
            body = inline(crate::problem::ProblemBody)),
    ))]
async fn explain(
    State(state): State<AppState>,
    _caller: Caller,
    AnswerBy(deadline): AnswerBy,
    Params(params): Params<ExplainParams>,
) -> Result<Json<StandingAnswer>, Problem> {
    name::check(params.key.as_bytes(), "key")?;
    if params.kind != Some(Kind::Entry)
        && let Ok(key) = params.key.parse()
        && let Some(found) = explain_block(&state, key, deadline).await?
    {
        return Ok(Json(found));
    }
    let service = params.service.as_deref().unwrap_or(DEFAULT_SERVICE);
    let domain = state.cluster.domain(service, params.salt.as_deref());
    let domain = domain.map_err(|unknown| {
        Problem::not_found(unknown.code(), unknown.to_string())
            .hint("`/v1/cluster/status` lists the services")
            .param("service")
    })?;
    if params.kind != Some(Kind::Entry) {
        let key = name::key(&domain, params.key.as_bytes());
        if let Some(found) = explain_block(&state, key, deadline).await? {
            return Ok(Json(found));
        }
    }
    if params.kind != Some(Kind::Block) {
        let entry = state
            .cluster
            .entry_get(&domain, params.key.as_bytes(), deadline)
            .await?;
        if let Some(entry) = entry {
            return Ok(Json(StandingAnswer::of_entry(service, params.key, &entry)));
        }
    }
    Err(nothing(service, params.kind))
}

/// How a block of this node stands, if it is here.
async fn explain_block(
    state: &AppState,
    key: BlockKey,
    deadline: Deadline,
) -> Result<Option<StandingAnswer>, Problem> {
    let found = state.cluster.explain(key, deadline).await?;
    Ok(found.map(|(shard, standing)| {
        StandingAnswer::of_block(&Homes::of(&state.cluster), shard, &standing)
    }))
}

fn nothing(service: &str, kind: Option<Kind>) -> Problem {
    let what = match kind {
        Some(Kind::Block) => "no block on this node",
        Some(Kind::Entry) => "no entry",
        None => "no block on this node and no entry",
    };
    let told = format!("there is {what} of that key or that name of `{service}`");
    Problem::not_found("explain_missing", told)
        .hint("`/v1/policy` lists keys; each node answers for the blocks of its own shards; names need their service and salt")
        .param("key")
        .documented_as("E002")
}
