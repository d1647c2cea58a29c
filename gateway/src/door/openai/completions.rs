//! `POST /v1/completions`: a text or tokens in, their continuation out.

use axum::Json;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::response::sse::Event;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use serde_json::{Value, json};
use utoipa::ToSchema;

use super::head::{Chunks, Head};
use super::parameters::{Parameters, Route};
use super::usage::Usage;
use super::{check_model, prompt};
use crate::auth::Caller;
use crate::door::events::{self, EventWriter, json_event};
use crate::door::fields::Fields;
use crate::door::request_head::cache_control;
use crate::extract::{self, Document};
use crate::limits::AnswerBy;
use crate::problem::Problem;
use crate::process::{Door, Priority, ProcessEvent, ProcessRequest};
use crate::state::AppState;

/// What this route calls the prompt.
const PROMPT: &str = "prompt";

/// A request for a completion. Parameters that are not listed are accepted only at the value that
/// changes nothing, and refused otherwise.
#[derive(Debug, ToSchema)]
#[expect(
    dead_code,
    reason = "this type documents the body; it is read field by field"
)]
pub(crate) struct CompletionRequest {
    /// The model, as `/v1/models` names it.
    model: String,
    /// The text to continue, or its token ids, or a list of exactly one of either.
    #[schema(value_type = String, example = "Once upon a time")]
    prompt: Value,
    /// Tokens to generate at most.
    #[schema(default = 16)]
    max_tokens: Option<u32>,
    /// 0 is greedy.
    #[schema(minimum = 0.0, maximum = 2.0, default = 1.0)]
    temperature: Option<f64>,
    /// Nucleus mass, above 0 and at most 1.
    #[schema(default = 1.0)]
    top_p: Option<f64>,
    /// Makes a sampled answer reproducible, and so cacheable.
    seed: Option<i64>,
    /// A text, or up to four, that end the answer.
    #[schema(value_type = Option<Vec<String>>)]
    stop: Option<Value>,
    /// Whether to stream.
    #[schema(default = false)]
    stream: Option<bool>,
    /// `include_usage`: whether the stream ends with a chunk of usage figures.
    #[schema(value_type = Option<Object>)]
    stream_options: Option<Value>,
    /// Separates this caller's cache from that of other callers of the same service.
    cache_salt: Option<String>,
}

/// A completion.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct Completion {
    /// The answer's id.
    id: String,
    /// Always `text_completion`.
    #[schema(example = "text_completion")]
    object: &'static str,
    /// When it was made, in Unix seconds.
    created: u64,
    /// The model that answered.
    model: String,
    /// One choice.
    choices: Vec<CompletionChoice>,
    /// What it cost.
    usage: Usage,
    /// Weights and numerics; equal fingerprints answer equally.
    system_fingerprint: String,
}

/// The choice.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct CompletionChoice {
    /// Always 0.
    index: u32,
    /// The continuation, without the prompt.
    text: String,
    /// Always null: log probabilities are not offered.
    #[schema(value_type = Option<Object>)]
    logprobs: Option<Value>,
    /// `stop` or `length`.
    #[schema(example = "length")]
    finish_reason: &'static str,
}

/// Continues a text.
///
/// Answers are cached at temperature 0 or with a `seed`; `Cache-Control: no-cache` and `no-store` are
/// honoured. With `stream` the answer comes as chunks, ended by `[DONE]`.
#[utoipa::path(
    post,
    path = "/v1/completions",
    tag = "openai",
    request_body = CompletionRequest,
    responses(
        (status = 200, description = "The continuation, or a stream of chunks.", content(
            (Completion = "application/json"),
            (String = "text/event-stream"),
        )),
        (status = 404, description = "The model is not served here."),
    ),
)]
pub(super) async fn create(
    State(state): State<AppState>,
    caller: Caller,
    AnswerBy(deadline): AnswerBy,
    headers: HeaderMap,
    extract::Json(Document(body)): extract::Json<Document>,
) -> Result<Response, Problem> {
    let processor = &state.processor;
    let mut fields = Fields::of(body)?;
    let prompt = prompt::read(&mut fields)?;
    let parameters = Parameters::read(fields, Route::Completion)?;
    check_model(processor, &parameters.model)?;
    let request = ProcessRequest {
        door: Door::Completion,
        prompt,
        sampling: parameters.sampling,
        session_id: None,
        priority: Priority::Normal,
        cache_salt: parameters.cache_salt,
        cache: cache_control(&headers),
    };
    let head = Head::new(processor, "cmpl");
    if parameters.stream {
        let stream = processor.open(&caller, request, deadline).await;
        let stream = stream.map_err(|error| error.problem(PROMPT))?;
        let (object, include_usage) = ("text_completion", parameters.include_usage);
        return events::answer(
            stream,
            Writer(Chunks {
                head,
                object,
                include_usage,
            }),
        )
        .await;
    }
    let outcome = processor.run(&caller, request, deadline).await;
    let outcome = outcome.map_err(|error| error.problem(PROMPT))?;
    let Head {
        id,
        created,
        model,
        system_fingerprint,
    } = head;
    let choice = CompletionChoice {
        index: 0,
        text: outcome.answer.text.clone(),
        logprobs: None,
        finish_reason: outcome.answer.finish.name(),
    };
    let completion = Completion {
        id,
        object: "text_completion",
        created,
        model,
        choices: vec![choice],
        usage: Usage::of(&outcome),
        system_fingerprint,
    };
    Ok(Json(completion).into_response())
}

/// Writes the chunks of a completion.
struct Writer(Chunks);

impl Writer {
    fn choice(&self, text: &str, finish_reason: Option<&str>) -> Event {
        let choice =
            json!({"index": 0, "text": text, "logprobs": null, "finish_reason": finish_reason});
        self.0.choice(&choice)
    }
}

impl EventWriter for Writer {
    const PROMPT: &'static str = PROMPT;

    fn write(&mut self, event: ProcessEvent) -> Vec<Event> {
        match event {
            ProcessEvent::Delta(text) => vec![self.choice(&text, None)],
            ProcessEvent::Done(outcome) => {
                let mut events = vec![self.choice("", Some(outcome.answer.finish.name()))];
                events.extend(self.0.end(&Usage::of(&outcome)));
                events
            }
        }
    }

    fn fail(&mut self, problem: &Problem) -> Vec<Event> {
        vec![json_event(Event::default(), &problem.openai_body())]
    }
}
