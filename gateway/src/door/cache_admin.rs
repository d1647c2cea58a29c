//! The documented routes around the cache: its figures, its health, clearing it, and a self-test.
//!
//! Names and shapes are those that the original system documented and never served; nested details are ours. Clearing touches
//! the caller's service only.

mod answer;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::auth::Caller;
use crate::door::self_test;
use crate::figures::Figures;
use crate::limits::AnswerBy;
use crate::problem::Problem;
use crate::state::AppState;

use self::answer::{ClearAnswer, HealthAnswer, ShortHealth, StatsAnswer};

pub(crate) use self::answer::{CheckAnswer, word};

/// The routes of this family.
pub(crate) fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(stats))
        .routes(routes!(clear))
        .routes(routes!(cache_health))
        .routes(routes!(self_test::test))
        .routes(routes!(health))
}

/// Figures of the cache and of the process path.
#[utoipa::path(
    get,
    path = "/api/v1/kv-cache/stats",
    tag = "cache",
    responses((status = 200, description = "The figures since the node started.", body = StatsAnswer)),
)]
async fn stats(
    State(state): State<AppState>,
    caller: Caller,
) -> Result<Json<StatsAnswer>, Problem> {
    let figures = Figures::gather(&state).await;
    if figures.shards.is_none() {
        return Err(Problem::unavailable(
            "shards_silent",
            "the shards did not answer in time",
        ));
    }
    let service = state.processor.services().stats(&caller.service).await;
    Ok(Json(StatsAnswer::from(&figures).of(service)))
}

/// Clears the caller's cache.
///
/// Everything that the caller's service stored, blocks and answers, can no longer be found. Services of one share group have one
/// cache, and it is cleared for all of them.
#[utoipa::path(
    post,
    path = "/api/v1/kv-cache/clear",
    tag = "cache",
    responses((status = 200, description = "What was dropped.", body = ClearAnswer)),
)]
async fn clear(
    State(state): State<AppState>,
    caller: Caller,
    AnswerBy(deadline): AnswerBy,
) -> Result<Json<ClearAnswer>, Problem> {
    let report = state.cluster.purge(&caller.service, deadline).await?;
    tracing::info!(
        service = report.service,
        generation = report.generation,
        blocks = report.blocks,
        "cache cleared"
    );
    Ok(Json(ClearAnswer::from(report)))
}

/// Health of the cache in the documented shape.
#[utoipa::path(
    get,
    path = "/api/v1/kv-cache/health",
    tag = "cache",
    responses(
        (status = 200, description = "The node can serve.", body = HealthAnswer),
        (status = 503, description = "It cannot; `checks` says why.", body = HealthAnswer),
    ),
)]
async fn cache_health(State(state): State<AppState>) -> (StatusCode, Json<HealthAnswer>) {
    let figures = Figures::gather(&state).await;
    (status(&figures), Json(HealthAnswer::from(&figures)))
}

/// Health in one word, for load balancers.
#[utoipa::path(
    get,
    path = "/health",
    tag = "cache",
    responses(
        (status = 200, description = "The node can serve.", body = ShortHealth),
        (status = 503, description = "It cannot.", body = ShortHealth),
    ),
)]
async fn health(State(state): State<AppState>) -> (StatusCode, Json<ShortHealth>) {
    let figures = Figures::gather(&state).await;
    (
        status(&figures),
        Json(ShortHealth {
            status: word(figures.ready()),
        }),
    )
}

fn status(figures: &Figures) -> StatusCode {
    if figures.ready() {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    }
}
