//! The `OpenAI` protocol over the process path: models, chat completions, completions.
//!
//! One model is served under one name. Parameters are honoured or refused, never ignored; see
//! `parameters`. Answers are cached only where the request makes them reproducible: at temperature
//! 0, or with a seed. Errors leave as the protocol's error object (the edge of the server sees to
//! that). `usage.prompt_tokens_details.cached_tokens` says how much of the prompt was not computed.
//!
//! # Source
//! `OpenAI` API reference, "Chat completions", "Completions", "Models"; vLLM's `cache_salt`.

mod chat;
mod completions;
mod head;
mod messages;
mod models;
mod parameters;
mod prompt;
mod usage;

use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::problem::Problem;
use crate::process::Processor;
use crate::state::AppState;

/// The routes of this door.
pub fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new()
        .routes(routes!(models::list))
        .routes(routes!(models::retrieve))
        .routes(routes!(chat::create))
        .routes(routes!(completions::create))
}

/// Refuses a model that is not served.
///
/// # Errors
/// 404 with the name that is.
fn check_model(processor: &Processor, model: &str) -> Result<(), Problem> {
    let served = &processor.model().name;
    if model == served {
        return Ok(());
    }
    Err(
        Problem::not_found("model_not_found", "the model is not served here")
            .hint(format!("use `{served}`; /v1/models lists what is served"))
            .param("model"),
    )
}
