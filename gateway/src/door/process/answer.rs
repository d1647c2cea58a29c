//! The documented answer of `process`: one object that holds the fields of all three shapes that the
//! original system documents, each with the meaning it had there, and ours under `metadata`.

use serde::Serialize;
use utoipa::ToSchema;

use crate::backend::ModelCard;
use crate::process::{CacheUse, ProcessOutcome, ms, seconds};

/// An answer of `process`.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct ProcessAnswer {
    /// The generated text.
    result: String,
    /// The generated text again, and whether it was found whole.
    response: ProcessResponse,
    /// Always true; failures are problems with a status of their own.
    #[schema(example = true)]
    success: bool,
    /// Whether the cache contributed: the whole answer, or a prefix.
    cache_hit: bool,
    /// From the request's arrival to its whole answer, in milliseconds.
    latency_ms: f64,
    /// The same under its documented name, in milliseconds.
    latency: f64,
    /// The same in seconds.
    processing_time: f64,
    /// The request's own, or null.
    session_id: Option<String>,
    /// Whether a GPU computed for this request.
    gpu_used: bool,
    /// Always null; failures are problems.
    error: Option<String>,
    /// How the answer came about.
    metadata: ProcessMetadata,
}

/// The text, as one of the documented shapes wants it.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct ProcessResponse {
    /// The generated text.
    text: String,
    /// Whether the whole answer was found in the cache.
    cached: bool,
}

/// How an answer came about.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct ProcessMetadata {
    /// The request's id, as in the header `x-request-id`.
    request_id: String,
    /// The model that answered.
    model: String,
    /// Tokens of the prompt.
    prompt_tokens: u32,
    /// Tokens generated, now or when the answer was stored.
    completion_tokens: u32,
    /// Prompt tokens that did not have to be computed for this request.
    reused_tokens: u32,
    /// Prompt tokens that had to be; with `reused_tokens` this is `prompt_tokens`.
    computed_tokens: u32,
    /// `stop`: the model or a stop text ended it. `length`: `max_length` or the context did.
    #[schema(example = "length")]
    finish_reason: &'static str,
    /// From the request's arrival to the first generated token, in milliseconds.
    time_to_first_token_ms: f64,
    /// What the cache contributed: `response`, `prefix` or `none`.
    #[schema(example = "prefix")]
    cache: &'static str,
    /// Whether an equal request that was already running computed the answer.
    coalesced: bool,
}

/// Whose answer it is.
#[derive(Debug, Clone)]
pub(super) struct Asked {
    pub(super) request_id: String,
    pub(super) session_id: Option<String>,
}

impl ProcessAnswer {
    /// Writes an outcome down.
    pub(super) fn new(outcome: &ProcessOutcome, asked: &Asked, model: &ModelCard) -> Self {
        let answer = &outcome.answer;
        let latency_ms = ms(outcome.latency_us);
        Self {
            result: answer.text.clone(),
            response: ProcessResponse {
                text: answer.text.clone(),
                cached: outcome.cache == CacheUse::Response,
            },
            success: true,
            cache_hit: outcome.cache != CacheUse::None,
            latency_ms,
            latency: latency_ms,
            processing_time: seconds(outcome.latency_us),
            session_id: asked.session_id.clone(),
            gpu_used: model.gpu && outcome.cache != CacheUse::Response,
            error: None,
            metadata: ProcessMetadata {
                request_id: asked.request_id.clone(),
                model: model.name.clone(),
                prompt_tokens: answer.prompt_tokens,
                completion_tokens: answer.completion_tokens,
                reused_tokens: outcome.reused_tokens,
                computed_tokens: outcome.computed_tokens,
                finish_reason: answer.finish.name(),
                time_to_first_token_ms: ms(outcome.first_token_us),
                cache: outcome.cache.name(),
                coalesced: outcome.coalesced,
            },
        }
    }
}
