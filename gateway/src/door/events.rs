//! Server-sent events out of the process path: how an answer streams, whatever the protocol.
//!
//! The body is driven by whoever reads it: when the client goes away the body is dropped, with it the
//! path's stream, and the generation ends. A comment is sent while a long prompt computes, so that
//! proxies keep the connection and a vanished client is noticed. Knows events, not their contents.
//!
//! # Source
//! WHATWG HTML, section 9.2 "Server-sent events".

use std::convert::Infallible;
use std::time::Duration;

use axum::http::{HeaderValue, header};
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures::Stream;

use crate::problem::Problem;
use crate::process::{ProcessError, ProcessEvent, ProcessStream};

/// How long a stream may be silent before a comment is sent.
const SILENCE_MAX: Duration = Duration::from_secs(5);

/// Writes the events of one protocol.
pub(crate) trait EventWriter: Send + 'static {
    /// What this door calls the prompt, for errors about it.
    const PROMPT: &'static str;

    /// The events before any text.
    fn open(&mut self) -> Vec<Event> {
        Vec::new()
    }

    /// The events that say what the path said. After the path's end: the protocol's end.
    fn write(&mut self, event: ProcessEvent) -> Vec<Event>;

    /// The events that say that the path failed, after the answer's head was sent.
    fn fail(&mut self, problem: &Problem) -> Vec<Event>;
}

/// Answers with a stream of events, or with the error that came before the first of them.
///
/// # Errors
/// Whatever the path fails with before it has said anything, as a proper answer with its own status.
pub(crate) async fn answer<W: EventWriter>(
    mut stream: ProcessStream,
    mut writer: W,
) -> Result<Response, Problem> {
    let first = stream
        .next()
        .await
        .map_err(|error| error.problem(W::PROMPT))?;
    let ended = matches!(first, ProcessEvent::Done(_));
    let mut events = writer.open();
    events.extend(writer.write(first));
    let rest = Rest {
        stream,
        writer,
        ended,
    };
    let body = futures::stream::unfold(
        (events.into_iter(), rest),
        |(mut events, mut rest)| async move {
            loop {
                if let Some(event) = events.next() {
                    return Some((Ok::<_, Infallible>(event), (events, rest)));
                }
                events = rest.more().await?.into_iter();
            }
        },
    );
    Ok(response(body))
}

/// What is left of a stream.
struct Rest<W> {
    stream: ProcessStream,
    writer: W,
    ended: bool,
}

impl<W: EventWriter> Rest<W> {
    /// The next events, or `None` after the end.
    async fn more(&mut self) -> Option<Vec<Event>> {
        if self.ended {
            return None;
        }
        let next: Result<ProcessEvent, ProcessError> = self.stream.next().await;
        Some(match next {
            Ok(event) => {
                self.ended = matches!(event, ProcessEvent::Done(_));
                self.writer.write(event)
            }
            Err(error) => {
                self.ended = true;
                self.writer.fail(&error.problem(W::PROMPT))
            }
        })
    }
}

fn response(body: impl Stream<Item = Result<Event, Infallible>> + Send + 'static) -> Response {
    let keep_alive = KeepAlive::new().interval(SILENCE_MAX);
    let mut response = Sse::new(body).keep_alive(keep_alive).into_response();
    let headers = response.headers_mut();
    // Answers belong to their caller: no cache between us may keep one.
    headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    headers.insert("x-accel-buffering", HeaderValue::from_static("no"));
    response
}

/// An event with a JSON body. Data that cannot be written down (it always can) becomes an empty event.
pub(crate) fn json_event(event: Event, data: &impl serde::Serialize) -> Event {
    // JSON has no raw line breaks, so one event is one `data:` line.
    event.data(serde_json::to_string(data).unwrap_or_default())
}
