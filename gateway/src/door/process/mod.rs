//! `POST /api/v1/kv-cache/process`: text in, continuation out, in the documented shapes, whole or as
//! server-sent events.
//!
//! Every answer of this door is cached, whatever its sampling: the documented promise. It knows the
//! shapes and nothing of how an answer is made.

mod answer;
mod request;

use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, header};
use axum::response::sse::Event;
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::auth::Caller;
use crate::backend::ModelCard;
use crate::door::events::{self, EventWriter, json_event};
use crate::door::process::answer::{Asked, ProcessAnswer};
use crate::door::process::request::{ProcessBody, RequestLimits, parse};
use crate::door::request_head::{accepted, cache_control};
use crate::edge::RequestId;
use crate::extract::{Document, Json};
use crate::limits::AnswerBy;
use crate::problem::Problem;
use crate::process::{ProcessEvent, ProcessLimits};
use crate::state::AppState;

/// What this door calls the prompt.
const PROMPT: &str = "text";

/// The routes of this door.
pub fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(process))
}

/// A piece of a streamed answer: the data of a `token` event.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct TokenEvent {
    /// More of the generated text.
    text: String,
}

/// Continues a text.
///
/// The longest prefix of the prompt that the caller's service has in the cache is not computed again.
/// The whole answer is cached too, whatever the temperature: `Cache-Control: no-cache` has it computed
/// afresh, `Cache-Control: no-store` also leaves nothing of it behind, neither the answer nor its
/// blocks. Equal requests at the same time are computed once. A client that goes away stops its
/// generation, unless somebody else waits for the same answer.
///
/// With `stream: true`, or an `Accept` that names `text/event-stream` and not JSON, the answer comes
/// as server-sent events: `token` events (`{"text": …}`), then one `done` event with the whole answer,
/// or an `error` event with a problem.
#[utoipa::path(
    post,
    path = "/api/v1/kv-cache/process",
    tag = "process",
    request_body = ProcessBody,
    responses(
        (status = 200, description = "The continuation.", content(
            (ProcessAnswer = "application/json"),
            (TokenEvent = "text/event-stream"),
        )),
        (status = 406, description = "The caller accepts neither JSON nor events."),
    ),
)]
async fn process(
    State(state): State<AppState>,
    caller: Caller,
    AnswerBy(deadline): AnswerBy,
    request_id: RequestId,
    headers: HeaderMap,
    Json(Document(body)): Json<Document>,
) -> Result<Response, Problem> {
    let processor = &state.processor;
    let accepted = accepted(&headers)?;
    let parsed = parse(body, cache_control(&headers), limits(processor.limits()))?;
    let asked = Asked {
        request_id: request_id.as_str().to_owned(),
        session_id: parsed.request.session_id.clone(),
    };
    let streams = parsed.stream.unwrap_or(accepted.events && !accepted.json);
    if streams {
        let stream = processor.open(&caller, parsed.request, deadline).await;
        let stream = stream.map_err(|error| error.problem(PROMPT))?;
        let writer = Writer {
            asked,
            model: processor.model().clone(),
        };
        return events::answer(stream, writer).await;
    }
    let outcome = processor.run(&caller, parsed.request, deadline).await;
    let outcome = outcome.map_err(|error| error.problem(PROMPT))?;
    let answer = ProcessAnswer::new(&outcome, &asked, processor.model());
    let no_store = [(header::CACHE_CONTROL, HeaderValue::from_static("no-store"))];
    Ok((no_store, axum::Json(answer)).into_response())
}

fn limits(limits: ProcessLimits) -> RequestLimits {
    RequestLimits {
        max_length_default: limits.max_length_default,
        max_length_max: limits.max_length_max,
        text_chars_max: limits.text_chars_max,
    }
}

/// Writes the events of this door.
struct Writer {
    asked: Asked,
    model: ModelCard,
}

impl EventWriter for Writer {
    const PROMPT: &'static str = PROMPT;

    fn write(&mut self, event: ProcessEvent) -> Vec<Event> {
        vec![match event {
            ProcessEvent::Delta(text) => {
                json_event(Event::default().event("token"), &TokenEvent { text })
            }
            ProcessEvent::Done(outcome) => {
                let answer = ProcessAnswer::new(&outcome, &self.asked, &self.model);
                json_event(Event::default().event("done"), &answer)
            }
        }]
    }

    fn fail(&mut self, problem: &Problem) -> Vec<Event> {
        let body = problem.body(Some(&self.asked.request_id));
        vec![json_event(Event::default().event("error"), &body)]
    }
}
