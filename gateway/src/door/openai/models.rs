//! `/v1/models`: the one model that is served.

use axum::Json;
use axum::extract::{Path, State};
use serde::Serialize;
use utoipa::ToSchema;

use super::check_model;
use crate::auth::Caller;
use crate::problem::Problem;
use crate::process::Processor;
use crate::state::AppState;

/// A model.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct Model {
    /// The name to ask for.
    id: String,
    /// Always `model`.
    #[schema(example = "model")]
    object: &'static str,
    /// When this node loaded it, in Unix seconds.
    created: u64,
    /// Always `ultrakv`.
    #[schema(example = "ultrakv")]
    owned_by: &'static str,
    /// Most tokens of prompt and answer together (vLLM's extension).
    max_model_len: usize,
}

/// The models.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct ModelList {
    /// Always `list`.
    #[schema(example = "list")]
    object: &'static str,
    /// The models.
    data: Vec<Model>,
}

fn served(processor: &Processor) -> Model {
    let card = processor.model();
    Model {
        id: card.name.clone(),
        object: "model",
        created: processor.started_unix_s(),
        owned_by: "ultrakv",
        max_model_len: card.context_tokens,
    }
}

/// Lists the models.
#[utoipa::path(
    get,
    path = "/v1/models",
    tag = "openai",
    responses((status = 200, description = "The models.", body = ModelList)),
)]
pub(super) async fn list(State(state): State<AppState>, _caller: Caller) -> Json<ModelList> {
    Json(ModelList {
        object: "list",
        data: vec![served(&state.processor)],
    })
}

/// Tells about one model.
#[utoipa::path(
    get,
    path = "/v1/models/{model}",
    tag = "openai",
    params(("model" = String, Path, description = "The model's name.")),
    responses(
        (status = 200, description = "The model.", body = Model),
        (status = 404, description = "It is not served here."),
    ),
)]
pub(super) async fn retrieve(
    State(state): State<AppState>,
    _caller: Caller,
    Path(model): Path<String>,
) -> Result<Json<Model>, Problem> {
    check_model(&state.processor, &model)?;
    Ok(Json(served(&state.processor)))
}
