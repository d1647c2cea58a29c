//! The cluster for operators: where its slots are, the jobs that move them, members that join, drain, leave or are forgotten.
//!
//! Reads are this node's view; changes are the cluster's, whichever node is asked. What moves in the background is a job, which
//! is answered as it stands and asked for again. Nothing here decides whether something may be done.

mod answer;
mod body;

use axum::Json as Answer;
use axum::extract::State;
use axum::http::StatusCode;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::auth::Caller;
use crate::extract::{Json, JsonOrDefault};
use crate::limits::AnswerBy;
use crate::problem::Problem;
use crate::state::AppState;

use self::answer::{JobAnswer, JobsAnswer, JoinAnswer, LayoutAnswer};
use self::body::{DrainBody, JobNamed, JoinBody, NodeNamed, RebalanceBody, ThrottleBody};

/// The routes of this family.
pub(crate) fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(status))
        .routes(routes!(nodes))
        .routes(routes!(layout))
        .routes(routes!(jobs))
        .routes(routes!(job))
        .routes(routes!(job_cancel))
        .routes(routes!(job_throttle))
        .routes(routes!(rebalance))
        .routes(routes!(drain))
        .routes(routes!(leave))
        .routes(routes!(forget))
        .routes(routes!(join))
}

/// The time for gathering the members' reports.
const REPORTS_WITHIN: std::time::Duration = std::time::Duration::from_secs(2);

/// The members' reports.
#[derive(serde::Serialize)]
struct NodesAnswer {
    nodes: Vec<ultrakv_cluster::NodeAnswer>,
}

/// The cluster as this node sees it, and the holders of every slot.
#[derive(serde::Serialize)]
struct Detail {
    #[serde(flatten)]
    status: ultrakv_cluster::ClusterStatus,
    slots: ultrakv_cluster::SlotMap,
}

/// The cluster as this node sees it: members, quorum, slots, services.
#[utoipa::path(get, path = "/v1/cluster/status", tag = "cluster",
    responses((status = 200, description = "Members, quorum, slots and services.", body = Object)))]
async fn status(State(state): State<AppState>, _caller: Caller) -> Answer<Detail> {
    Answer(Detail {
        status: state.cluster.status(),
        slots: state.cluster.slots(),
    })
}

/// What every member says of itself at this moment, this node first; and why, of those that said nothing.
#[utoipa::path(get, path = "/v1/cluster/nodes", tag = "cluster",
    responses((status = 200, description = "A report for each member.", body = Object)))]
async fn nodes(State(state): State<AppState>, _caller: Caller) -> Answer<NodesAnswer> {
    let deadline = state.cluster.clock().deadline(REPORTS_WITHIN);
    Answer(NodesAnswer {
        nodes: state.cluster.reports(deadline).await,
    })
}

/// Where the slots are, and where the plan wants them.
#[utoipa::path(get, path = "/v1/cluster/layout", tag = "cluster",
    responses((status = 200, description = "Each member's part.", body = LayoutAnswer)))]
async fn layout(State(state): State<AppState>, _caller: Caller) -> Answer<LayoutAnswer> {
    Answer(state.cluster.layout().into())
}

/// The jobs that are remembered, newest first.
#[utoipa::path(get, path = "/v1/cluster/jobs", tag = "cluster",
    responses((status = 200, description = "Those that move slots and those that are over.", body = JobsAnswer)))]
async fn jobs(State(state): State<AppState>, _caller: Caller) -> Answer<JobsAnswer> {
    Answer(state.cluster.jobs().into())
}

/// One job.
#[utoipa::path(get, path = "/v1/cluster/jobs/{id}", tag = "cluster",
    params(("id" = String, Path, description = "The job's id, 32 hexadecimal digits.")),
    responses(
        (status = 200, description = "The job as it stands.", body = JobAnswer),
        (status = 404, description = "No such job is remembered.", content_type = "application/problem+json",
            body = inline(crate::problem::ProblemBody)),
    ))]
async fn job(
    State(state): State<AppState>,
    _caller: Caller,
    JobNamed(id): JobNamed,
) -> Result<Answer<JobAnswer>, Problem> {
    Ok(Answer(state.cluster.job(id)?.into()))
}

/// Asks a job to end. What has moved stays where it is, and what is half moved is given up.
#[utoipa::path(post, path = "/v1/cluster/jobs/{id}/cancel", tag = "cluster",
    params(("id" = String, Path, description = "The job's id, 32 hexadecimal digits.")),
    responses(
        (status = 200, description = "The job, which is ending or has ended.", body = JobAnswer),
        (status = 404, description = "No such job is remembered.", content_type = "application/problem+json",
            body = inline(crate::problem::ProblemBody)),
        (status = 409, description = "The job is over.", content_type = "application/problem+json",
            body = inline(crate::problem::ProblemBody)),
    ))]
async fn job_cancel(
    State(state): State<AppState>,
    _caller: Caller,
    JobNamed(id): JobNamed,
    AnswerBy(deadline): AnswerBy,
) -> Result<Answer<JobAnswer>, Problem> {
    let job = state.cluster.job_cancel(id, deadline).await?;
    tracing::info!(job = %id, "a job was cancelled");
    Ok(Answer(job.into()))
}

/// Changes how fast a job moves.
#[utoipa::path(post, path = "/v1/cluster/jobs/{id}/throttle", tag = "cluster",
    params(("id" = String, Path, description = "The job's id, 32 hexadecimal digits.")),
    request_body = ThrottleBody,
    responses(
        (status = 200, description = "The job with its new throttle.", body = JobAnswer),
        (status = 404, description = "No such job is remembered.", content_type = "application/problem+json",
            body = inline(crate::problem::ProblemBody)),
        (status = 409, description = "The job is over.", content_type = "application/problem+json",
            body = inline(crate::problem::ProblemBody)),
    ))]
async fn job_throttle(
    State(state): State<AppState>,
    _caller: Caller,
    JobNamed(id): JobNamed,
    AnswerBy(deadline): AnswerBy,
    Json(body): Json<ThrottleBody>,
) -> Result<Answer<JobAnswer>, Problem> {
    let throttle = body.throttle();
    let job = state.cluster.job_throttle(id, throttle, deadline).await?;
    tracing::info!(job = %id, throttle, "a job was throttled");
    Ok(Answer(job.into()))
}

/// Begins to spread the slots as the members' capacities say.
#[utoipa::path(post, path = "/v1/cluster/rebalance", tag = "cluster",
    request_body = Option<RebalanceBody>,
    responses(
        (status = 202, description = "The job that does it.", body = JobAnswer),
        (status = 409, description = "It cannot be done now; `code` says why.", content_type = "application/problem+json",
            body = inline(crate::problem::ProblemBody)),
    ))]
async fn rebalance(
    State(state): State<AppState>,
    _caller: Caller,
    AnswerBy(deadline): AnswerBy,
    JsonOrDefault(body): JsonOrDefault<RebalanceBody>,
) -> Result<(StatusCode, Answer<JobAnswer>), Problem> {
    let job = state.cluster.rebalance(body.throttle(), deadline).await?;
    tracing::info!(job = %job.id, "a rebalance was ordered");
    Ok((StatusCode::ACCEPTED, Answer(job.into())))
}

/// Begins to give a member's slots to the others; with `leave` it is no longer a member afterwards.
#[utoipa::path(post, path = "/v1/nodes/{id}/drain", tag = "cluster",
    params(("id" = String, Path, description = "The member's id, 32 hexadecimal digits.")),
    request_body = Option<DrainBody>,
    responses(
        (status = 202, description = "The job that does it.", body = JobAnswer),
        (status = 404, description = "There is no such member.", content_type = "application/problem+json",
            body = inline(crate::problem::ProblemBody)),
        (status = 409, description = "It cannot be done now; `code` says why.", content_type = "application/problem+json",
            body = inline(crate::problem::ProblemBody)),
    ))]
async fn drain(
    State(state): State<AppState>,
    _caller: Caller,
    NodeNamed(node): NodeNamed,
    AnswerBy(deadline): AnswerBy,
    JsonOrDefault(body): JsonOrDefault<DrainBody>,
) -> Result<(StatusCode, Answer<JobAnswer>), Problem> {
    let (leave, throttle) = (body.leave, body.throttle());
    let job = state.cluster.drain(node, leave, throttle, deadline).await?;
    tracing::info!(%node, leave, job = %job.id, "a drain was ordered");
    Ok((StatusCode::ACCEPTED, Answer(job.into())))
}

/// Lets a drained member leave the cluster.
#[utoipa::path(post, path = "/v1/nodes/{id}/leave", tag = "cluster",
    params(("id" = String, Path, description = "The member's id, 32 hexadecimal digits.")),
    responses(
        (status = 200, description = "The layout without it.", body = LayoutAnswer),
        (status = 404, description = "There is no such member.", content_type = "application/problem+json",
            body = inline(crate::problem::ProblemBody)),
        (status = 409, description = "It is not drained, or the last.", content_type = "application/problem+json",
            body = inline(crate::problem::ProblemBody)),
    ))]
async fn leave(
    State(state): State<AppState>,
    _caller: Caller,
    NodeNamed(node): NodeNamed,
    AnswerBy(deadline): AnswerBy,
) -> Result<Answer<LayoutAnswer>, Problem> {
    let layout = state.cluster.leave(node, deadline).await?;
    tracing::info!(%node, "a member left");
    Ok(Answer(layout.into()))
}

/// Takes a member that is down, and will not come back, out of the cluster. What only it held is lost.
#[utoipa::path(post, path = "/v1/nodes/{id}/forget", tag = "cluster",
    params(("id" = String, Path, description = "The member's id, 32 hexadecimal digits.")),
    responses(
        (status = 200, description = "The layout without it.", body = LayoutAnswer),
        (status = 404, description = "There is no such member.", content_type = "application/problem+json",
            body = inline(crate::problem::ProblemBody)),
        (status = 409, description = "It is not down.", content_type = "application/problem+json",
            body = inline(crate::problem::ProblemBody)),
    ))]
async fn forget(
    State(state): State<AppState>,
    _caller: Caller,
    NodeNamed(node): NodeNamed,
    AnswerBy(deadline): AnswerBy,
) -> Result<Answer<LayoutAnswer>, Problem> {
    let layout = state.cluster.remove_dead(node, deadline).await?;
    tracing::warn!(%node, "a member was forgotten");
    Ok(Answer(layout.into()))
}

/// Asks members for admission of this very node to their cluster.
#[utoipa::path(post, path = "/v1/node/join", tag = "cluster",
    request_body = JoinBody,
    responses(
        (status = 200, description = "The node is a member; `job` gives it its slots.", body = JoinAnswer),
        (status = 409, description = "It cannot join; `code` says why.", content_type = "application/problem+json",
            body = inline(crate::problem::ProblemBody)),
    ))]
async fn join(
    State(state): State<AppState>,
    _caller: Caller,
    AnswerBy(deadline): AnswerBy,
    Json(body): Json<JoinBody>,
) -> Result<Answer<JoinAnswer>, Problem> {
    let joined = state.cluster.join(&body.seeds()?, deadline).await?;
    tracing::info!(cluster = joined.cluster, "this node joined");
    Ok(Answer(joined.into()))
}
