//! Asking a node of the demo over HTTP, as any client would, and measuring the time to the first token.

use std::time::Duration;

use reqwest::{Client, Method, Response, StatusCode};
use serde_json::{Value, json};
use ultrakv_actors::clock::Clock;
use ultrakv_cluster::LayoutReport;

use crate::announce::Announcement;
use crate::exit::{Failure, Status};

/// How long one request may take: a cold one computes a thousand tokens, in a debug build on a busy core.
const ANSWER_WITHIN: Duration = Duration::from_secs(50);
/// How long an entry may take: the node itself waits for another owner, so this is never reached where all is well.
const ENTRY_WITHIN: Duration = Duration::from_secs(10);
/// The documented route.
const PROCESS: &str = "/api/v1/kv-cache/process";
/// The OpenAI-compatible route.
const CHAT: &str = "/v1/chat/completions";
/// Tokens of each answer: enough to see it is the same, few enough not to hide the prompt's cost.
const ANSWER_TOKENS: u32 = 16;

/// What one request was answered.
#[derive(Debug, Clone)]
pub(super) struct Said {
    /// The generated text.
    pub(super) text: String,
    /// `response`, `prefix` or `none`.
    pub(super) cache: String,
    /// Tokens of the prompt that were not computed.
    pub(super) reused_tokens: u64,
    /// Tokens of the prompt that were.
    pub(super) computed_tokens: u64,
    /// From sending the request to its first event.
    pub(super) first_token: Duration,
}

/// Whether a request may use what others stored, and leave something behind.
#[derive(Debug, Clone, Copy)]
pub(super) enum Caching<'a> {
    /// As every client's.
    On,
    /// As every client's, but not answered with a stored answer.
    Afresh,
    /// Alone under a salt of its own, and nothing stored.
    Off {
        /// The salt.
        salt: &'a str,
    },
}

/// Why an entry was not written or read.
#[derive(Debug, Clone)]
pub(super) struct Unanswered {
    /// The node's stable code; empty when there was no answer.
    pub(super) code: String,
    /// The whole story.
    pub(super) told: String,
}

/// A client of one node.
pub(super) struct Asker {
    http: Client,
    clock: Clock,
    base: String,
    admin: String,
    /// The node's name.
    pub(super) name: String,
}

impl Asker {
    /// A client of the node that announced itself.
    pub(super) fn new(
        name: &str,
        announced: &Announcement,
        clock: &Clock,
    ) -> Result<Self, Failure> {
        let http = crate::client::plain_client()?;
        Ok(Self {
            http,
            clock: clock.clone(),
            base: format!("http://{}", announced.http),
            admin: format!("http://{}", announced.admin),
            name: name.to_owned(),
        })
    }

    /// The clock that requests are measured with.
    pub(super) const fn clock(&self) -> &Clock {
        &self.clock
    }

    /// Writes an entry.
    pub(super) async fn put_entry(&self, name: &str, value: &str) -> Result<(), Unanswered> {
        self.entry_route(Method::PUT, name, value).await.map(drop)
    }

    /// An entry's value; none when the cluster says that there is no such entry.
    pub(super) async fn entry(&self, name: &str) -> Result<Option<String>, Unanswered> {
        self.entry_route(Method::GET, name, "").await
    }

    async fn entry_route(
        &self,
        method: Method,
        name: &str,
        value: &str,
    ) -> Result<Option<String>, Unanswered> {
        let url = format!("{}/v1/kv/entries/{name}", self.base);
        let request = self.http.request(method, url).timeout(ENTRY_WITHIN);
        let lost = |error: &reqwest::Error| Unanswered {
            code: String::new(),
            told: Failure::caused(&format!("asking {} for {name}", self.name), error)
                .message
                .unwrap_or_default(),
        };
        let answer = request.body(value.to_owned()).send().await;
        let answer = answer.map_err(|error| lost(&error))?;
        let status = answer.status();
        let text = answer.text().await.map_err(|error| lost(&error))?;
        match status {
            StatusCode::NOT_FOUND => Ok(None),
            status if status.is_success() => Ok(Some(text)),
            status => {
                let problem: Value = serde_json::from_str(&text).unwrap_or_default();
                let code = problem.get("code").and_then(Value::as_str);
                Err(Unanswered {
                    code: code.unwrap_or_default().to_owned(),
                    told: format!("{} answered {status} for {name}: {text}", self.name),
                })
            }
        }
    }

    /// Where the slots are, as this node sees it.
    pub(super) async fn layout(&self) -> Result<LayoutReport, Failure> {
        let told = self.get_at(&self.admin, "/v1/cluster/layout").await?;
        serde_json::from_value(told).map_err(|error| Failure::caused("reading a layout", &error))
    }

    /// The cluster and the holders of every slot, as this node sees it.
    pub(super) async fn cluster(&self) -> Result<Value, Failure> {
        self.get_at(&self.admin, "/v1/cluster/status").await
    }

    /// Has a text continued over the documented route, as a stream.
    pub(super) async fn process(&self, text: &str, caching: Caching<'_>) -> Result<Said, Failure> {
        let mut body =
            json!({"text": text, "max_length": ANSWER_TOKENS, "temperature": 0, "stream": true});
        let stopwatch = self.clock.stopwatch();
        let mut events = self.post(PROCESS, &mut body, caching).await?;
        let mut buffer = Vec::new();
        let mut first_token = None;
        loop {
            let Some(event) = next_event(&mut events, &mut buffer).await? else {
                return Err(odd("the stream ended without an answer"));
            };
            let elapsed = stopwatch.elapsed();
            let first_token = *first_token.get_or_insert(elapsed);
            let parsed: Value =
                serde_json::from_str(&event).map_err(|_| odd("an event is not JSON"))?;
            if let Some(metadata) = parsed.get("metadata") {
                return Ok(Said {
                    text: text_at(&parsed, "/result")?,
                    cache: text_at(metadata, "/cache")?,
                    reused_tokens: number_at(metadata, "/reused_tokens")?,
                    computed_tokens: number_at(metadata, "/computed_tokens")?,
                    first_token,
                });
            }
            if parsed.get("code").is_some() {
                return Err(odd(&format!("the node answered with a problem: {event}")));
            }
        }
    }

    /// Has a conversation continued over the OpenAI-compatible route: text and cached tokens.
    pub(super) async fn chat(
        &self,
        model: &str,
        system: &str,
        user: &str,
        caching: Caching<'_>,
    ) -> Result<(String, u64), Failure> {
        let mut body = json!({
            "model": model,
            "messages": [{"role": "system", "content": system}, {"role": "user", "content": user}],
            "max_tokens": ANSWER_TOKENS,
            "temperature": 0,
        });
        let answer: Value = self
            .post(CHAT, &mut body, caching)
            .await?
            .json()
            .await
            .map_err(|error| Failure::caused("reading a chat completion", &error))?;
        let text = text_at(&answer, "/choices/0/message/content")?;
        Ok((
            text,
            number_at(&answer, "/usage/prompt_tokens_details/cached_tokens")?,
        ))
    }

    /// The answer of a GET route.
    pub(super) async fn get(&self, path: &str) -> Result<Value, Failure> {
        self.get_at(&self.base, path).await
    }

    async fn get_at(&self, door: &str, path: &str) -> Result<Value, Failure> {
        let url = format!("{door}{path}");
        let answer = self.http.get(url).timeout(ANSWER_WITHIN).send().await;
        let answer = answer.map_err(|error| Failure::caused(&format!("asking {path}"), &error))?;
        answer
            .json()
            .await
            .map_err(|error| Failure::caused(&format!("reading {path}"), &error))
    }

    async fn post(
        &self,
        path: &str,
        body: &mut Value,
        caching: Caching<'_>,
    ) -> Result<Response, Failure> {
        let mut request = self
            .http
            .post(format!("{}{path}", self.base))
            .timeout(ANSWER_WITHIN);
        match caching {
            Caching::On => {}
            Caching::Afresh => request = request.header("cache-control", "no-cache"),
            Caching::Off { salt } => {
                request = request.header("cache-control", "no-store");
                if let Some(fields) = body.as_object_mut() {
                    fields.insert("cache_salt".to_owned(), salt.into());
                }
            }
        }
        let answer = request.json(body).send().await;
        let answer = answer.map_err(|error| Failure::caused(&format!("asking {path}"), &error))?;
        let status = answer.status();
        if status.is_success() {
            return Ok(answer);
        }
        let text = answer.text().await.unwrap_or_default();
        Err(odd(&format!("{path} answered {status}: {text}")))
    }
}

/// The data of the next server-sent event; `None` at the end of the stream.
async fn next_event(
    response: &mut Response,
    buffer: &mut Vec<u8>,
) -> Result<Option<String>, Failure> {
    loop {
        if let Some(data) = take_event(buffer) {
            return Ok(Some(data));
        }
        match response.chunk().await {
            Ok(Some(chunk)) => buffer.extend_from_slice(&chunk),
            Ok(None) => return Ok(None),
            Err(error) => return Err(Failure::caused("reading the stream", &error)),
        }
    }
}

/// Takes the first complete event with data off the buffer.
///
/// # Source
/// WHATWG HTML, "Server-sent events": an event ends with an empty line; data lines are joined.
fn take_event(buffer: &mut Vec<u8>) -> Option<String> {
    loop {
        let end = buffer.windows(2).position(|pair| pair == b"\n\n")?;
        let event: Vec<u8> = buffer.drain(..end + 2).collect();
        let event = String::from_utf8_lossy(&event);
        let data: Vec<&str> = event
            .lines()
            .filter_map(|line| line.strip_prefix("data:"))
            .map(|data| data.strip_prefix(' ').unwrap_or(data))
            .collect();
        // Comments, which keep a connection alive, carry no data.
        if !data.is_empty() {
            return Some(data.join("\n"));
        }
    }
}

fn text_at(value: &Value, path: &str) -> Result<String, Failure> {
    let found = value
        .pointer(path)
        .and_then(Value::as_str)
        .map(str::to_owned);
    found.ok_or_else(|| odd(&format!("no text at {path} in {value}")))
}

fn number_at(value: &Value, path: &str) -> Result<u64, Failure> {
    let found = value.pointer(path).and_then(Value::as_u64);
    found.ok_or_else(|| odd(&format!("no number at {path} in {value}")))
}

fn odd(what: &str) -> Failure {
    Failure::new(Status::Failed, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_taken_whole_and_comments_passed_over() {
        let mut buffer =
            b": still there\n\nevent: token\ndata: {\"a\":\ndata: 1}\n\ndata: hal".to_vec();
        assert_eq!(take_event(&mut buffer).as_deref(), Some("{\"a\":\n1}"));
        assert_eq!(take_event(&mut buffer), None);
        buffer.extend_from_slice(b"f\n\n");
        assert_eq!(take_event(&mut buffer).as_deref(), Some("half"));
        assert!(buffer.is_empty());
    }
}
