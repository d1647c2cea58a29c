//! The admin door: is the node alive and ready, what does it measure, what is it made of.
//!
//! Health answers are short and need no token; everything else is for operators. Nothing here changes the node, and nothing shows a
//! secret, a prompt or a key.

use axum::Json;
use axum::extract::{RawQuery, State};
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use serde::Serialize;
use ultrakv_actors::{ActorInfo, PrefetchReport};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::auth::Caller;
use crate::door::cache_admin::{CheckAnswer, word};
use crate::figures::{Figures, Standing};
use crate::state::AppState;
use crate::telemetry;

/// The routes of this door.
pub(crate) fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(livez))
        .routes(routes!(readyz))
        .routes(routes!(healthz))
        .routes(routes!(health))
        .routes(routes!(metrics))
        .routes(routes!(metrics_summary))
        .routes(routes!(version))
        .routes(routes!(status))
        .routes(routes!(actors))
        .routes(routes!(prefetch))
}

/// Health in a word.
#[derive(Debug, Serialize, ToSchema)]
struct Word {
    /// `alive`, `healthy` or `unhealthy`.
    #[schema(example = "healthy")]
    status: &'static str,
}

/// Readiness.
#[derive(Debug, Serialize, ToSchema)]
struct Readiness {
    /// `ready`; `degraded`: blocks are served and entries are not, for want of a quorum; `draining`: it still serves and is
    /// about to stop; or `not_ready`.
    #[schema(example = "ready")]
    status: &'static str,
    /// What was checked; only with `?verbose`, or when a check fails.
    #[serde(skip_serializing_if = "Option::is_none")]
    checks: Option<Vec<CheckAnswer>>,
    /// Settings that do not do what they say; only with `?verbose`.
    #[serde(skip_serializing_if = "Option::is_none")]
    warnings: Option<Vec<WarningAnswer>>,
}

/// A setting that does not do what it says.
#[derive(Debug, Serialize, ToSchema)]
struct WarningAnswer {
    /// The stable code of this kind of warning.
    #[schema(example = "config.not_yet")]
    code: &'static str,
    /// The setting.
    key: String,
    /// Where it was written.
    origin: String,
    /// What does not happen, and what happens instead.
    message: String,
    /// What to do about it.
    hint: Option<String>,
}

/// What runs here.
#[derive(Debug, Serialize, ToSchema)]
struct VersionAnswer {
    /// The name of the program.
    #[schema(example = "ultrakv")]
    name: &'static str,
    /// Its version.
    #[schema(example = "0.1.0")]
    version: &'static str,
    /// The node's name.
    node: String,
}

/// What the node is and what it is doing.
#[derive(Debug, Serialize, ToSchema)]
struct StatusAnswer {
    /// The cluster as this node sees it.
    #[schema(value_type = Object)]
    cluster: ultrakv_cluster::ClusterStatus,
    /// The model that answers.
    model: ModelAnswer,
    /// How blocks are evicted.
    #[schema(example = "adaptive")]
    policy: String,
    /// Tokens in one block.
    block_tokens: u32,
    /// Used bytes.
    used_bytes: u64,
    /// The budget.
    limit_bytes: u64,
    /// Seconds since the gateway started.
    uptime_seconds: f64,
    /// Whether the node is on its way out.
    draining: bool,
    /// How many settings do not do what they say; `/readyz?verbose` lists them.
    warnings: usize,
}

/// The model that answers.
#[derive(Debug, Serialize, ToSchema)]
struct ModelAnswer {
    /// Its name.
    name: String,
    /// Its weights.
    parameters: u64,
    /// Tokens that fit into its context.
    context_tokens: usize,
    /// Whether it is the built-in reference model, whose text has no meaning.
    reference: bool,
}

/// The supervision tree.
#[derive(Debug, Serialize, ToSchema)]
struct ActorsAnswer {
    /// Every actor, parents before their children.
    #[schema(value_type = Vec<Object>)]
    actors: Vec<ActorInfo>,
}

/// The process answers. Says nothing about whether it can serve.
#[utoipa::path(get, path = "/livez", tag = "health",
    responses((status = 200, description = "The process is alive.", body = Word)))]
async fn livez() -> Json<Word> {
    Json(Word { status: "alive" })
}

/// Whether the node can serve.
#[utoipa::path(get, path = "/readyz", tag = "health",
    params(
        ("verbose" = Option<String>, Query, description = "Lists the checks and the warnings about settings."),
        ("degraded" = Option<String>, Query, description = "`ok`: a degraded node, which serves blocks only, is answered 200 too."),
    ),
    responses(
        (status = 200, description = "It can.", body = Readiness),
        (status = 503, description = "It cannot, or not everything; `checks` says why.", body = Readiness),
    ))]
async fn readyz(
    State(state): State<AppState>,
    RawQuery(query): RawQuery,
) -> (StatusCode, Json<Readiness>) {
    let figures = Figures::gather(&state).await;
    let standing = figures.standing();
    let ready = standing == Standing::Ready;
    let asks =
        |part: &str| part == "verbose" || part.starts_with("verbose=") && part != "verbose=false";
    let query = query.unwrap_or_default();
    let verbose = query.split('&').any(asks);
    let content = query.split('&').any(|part| part == "degraded=ok");
    let serves = ready || content && standing == Standing::Degraded;
    let answer = Readiness {
        status: standing.name(),
        checks: (verbose || !ready).then(|| figures.checks.iter().map(CheckAnswer::from).collect()),
        warnings: verbose.then(|| state.warnings.iter().map(WarningAnswer::from).collect()),
    };
    (status_code(serves), Json(answer))
}

/// The same as `/readyz`, in a word.
#[utoipa::path(get, path = "/healthz", tag = "health",
    responses(
        (status = 200, description = "The node can serve.", body = Word),
        (status = 503, description = "It cannot.", body = Word),
    ))]
async fn healthz(state: State<AppState>) -> (StatusCode, Json<Word>) {
    health(state).await
}

/// The same as `/readyz`, in a word.
#[utoipa::path(get, path = "/health", tag = "health",
    responses(
        (status = 200, description = "The node can serve.", body = Word),
        (status = 503, description = "It cannot.", body = Word),
    ))]
async fn health(State(state): State<AppState>) -> (StatusCode, Json<Word>) {
    let ready = Figures::gather(&state).await.ready();
    (
        status_code(ready),
        Json(Word {
            status: word(ready),
        }),
    )
}

/// Every figure, for Prometheus.
#[utoipa::path(get, path = "/metrics", tag = "metrics",
    responses((status = 200, description = "Prometheus' text format.", content_type = "text/plain", body = String)))]
async fn metrics(State(state): State<AppState>, _caller: Caller) -> impl IntoResponse {
    let figures = Figures::gather(&state).await;
    let text = telemetry::render(&state.recorded.render(), &figures);
    ([(header::CONTENT_TYPE, telemetry::TEXT_FORMAT)], text)
}

/// The figures that matter first, in one line.
#[utoipa::path(get, path = "/metrics/summary", tag = "metrics",
    responses((status = 200, description = "One line for people.", content_type = "text/plain", body = String)))]
async fn metrics_summary(State(state): State<AppState>, _caller: Caller) -> String {
    telemetry::summary(&Figures::gather(&state).await)
}

/// What runs here.
#[utoipa::path(get, path = "/version", tag = "node",
    responses((status = 200, description = "Name and version.", body = VersionAnswer)))]
async fn version(State(state): State<AppState>, _caller: Caller) -> Json<VersionAnswer> {
    Json(VersionAnswer {
        name: "ultrakv",
        version: env!("CARGO_PKG_VERSION"),
        node: state.settings.node.name.clone(),
    })
}

/// What the node is and what it is doing.
#[utoipa::path(get, path = "/status", tag = "node",
    responses((status = 200, description = "The cluster, the model and memory.", body = StatusAnswer)))]
async fn status(State(state): State<AppState>, _caller: Caller) -> Json<StatusAnswer> {
    let figures = Figures::gather(&state).await;
    let model = state.engine.info();
    Json(StatusAnswer {
        cluster: state.cluster.status(),
        model: ModelAnswer {
            name: model.name.clone(),
            parameters: model.parameters,
            context_tokens: model.context_tokens,
            reference: model.reference,
        },
        policy: state.settings.cache.policy_name().to_owned(),
        block_tokens: state.settings.cache.block_tokens,
        used_bytes: figures.cache().usage.bytes,
        limit_bytes: figures.bytes_max,
        uptime_seconds: figures.uptime_seconds,
        draining: figures.draining,
        warnings: state.warnings.len(),
    })
}

/// The supervision tree: every actor, its state and its restarts.
#[utoipa::path(get, path = "/v1/actors", tag = "node",
    responses((status = 200, description = "Every actor, parents before their children.", body = ActorsAnswer)))]
async fn actors(State(state): State<AppState>, _caller: Caller) -> Json<ActorsAnswer> {
    Json(ActorsAnswer {
        actors: state.cluster.actors(),
    })
}

/// What this node fetched from others before it was asked for: by source, with accuracy, coverage, timeliness and waste.
#[utoipa::path(get, path = "/v1/prefetch", tag = "node",
    responses((status = 200, description = "The figures since the prefetch actor's present life began.", body = Object)))]
async fn prefetch(State(state): State<AppState>, _caller: Caller) -> Json<PrefetchReport> {
    Json(state.cluster.prefetch().report())
}

const fn status_code(ready: bool) -> StatusCode {
    if ready {
        StatusCode::OK
    } else {
        StatusCode::SERVICE_UNAVAILABLE
    }
}

impl From<&ultrakv_config::Warning> for WarningAnswer {
    fn from(warning: &ultrakv_config::Warning) -> Self {
        Self {
            code: warning.code,
            key: warning.key.clone(),
            origin: warning.origin.to_string(),
            message: warning.message.clone(),
            hint: warning.hint.clone(),
        }
    }
}
