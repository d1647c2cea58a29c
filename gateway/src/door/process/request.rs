//! The documented request of `process`, read into the path's own terms.
//!
//! Fields and ranges are those that the original system documents, plus `top_p`, `seed`, `stop`,
//! `stream` and `cache_salt`. Anything else is refused by name.

use serde::Deserialize;
use serde_json::Value;
use utoipa::ToSchema;

use crate::door::fields::Fields;
use crate::problem::Problem;
use crate::process::{CacheControl, Door, Priority, ProcessRequest, Prompt, Sampling};

/// Characters a session's name may have, as documented.
pub(crate) const SESSION_CHARS_MAX: usize = 255;
/// Characters a salt may have.
pub(crate) const SALT_CHARS_MAX: usize = 255;
/// Stop texts in a request.
pub(crate) const STOP_COUNT_MAX: usize = 4;
/// Characters of a stop text.
pub(crate) const STOP_CHARS_MAX: usize = 256;
/// The documented temperature where none is given.
const TEMPERATURE_DEFAULT: f64 = 1.0;
/// The documented end of the temperature's range.
const TEMPERATURE_MAX: f64 = 2.0;

const FIELDS: [&str; 10] = [
    "text",
    "max_length",
    "temperature",
    "session_id",
    "priority",
    "top_p",
    "seed",
    "stop",
    "stream",
    "cache_salt",
];

/// The limits that the node's settings put on requests.
#[derive(Debug, Clone, Copy)]
pub(crate) struct RequestLimits {
    /// `max_length` where none is given.
    pub(crate) max_length_default: u32,
    /// The largest `max_length`.
    pub(crate) max_length_max: u32,
    /// Characters of `text`.
    pub(crate) text_chars_max: u32,
}

/// A request to `process`.
#[derive(Debug, Deserialize, ToSchema)]
#[schema(as = ProcessRequest)]
#[expect(
    dead_code,
    reason = "this type documents the body; `parse` reads it field by field"
)]
pub(crate) struct ProcessBody {
    /// The text to continue, 1 to 100 000 characters. Longer than the model's context: an error,
    /// never cut.
    #[schema(
        min_length = 1,
        max_length = 100_000,
        example = "Tell me about prefix caching."
    )]
    text: String,
    /// Tokens to generate at most.
    #[schema(minimum = 1, maximum = 10_000, default = 100)]
    max_length: Option<u32>,
    /// 0 is greedy. Every answer is cached, also at temperatures above 0 and without a seed: the
    /// documented promise. Send `Cache-Control: no-cache` or `no-store` to have it computed afresh.
    #[schema(minimum = 0.0, maximum = 2.0, default = 1.0)]
    temperature: Option<f64>,
    /// A name for the conversation: echoed, and part of the cached response's key, so that two
    /// sessions never answer each other. Prefixes are shared by a service's sessions.
    #[schema(max_length = 255)]
    session_id: Option<String>,
    /// Place in the queue when the node is busy: `critical`, `high`, `normal`, `low`, `background`,
    /// or 1 (most urgent) to 5.
    #[schema(value_type = Option<String>, example = "normal")]
    priority: Option<Value>,
    /// Nucleus mass, above 0 and at most 1.
    #[schema(default = 1.0)]
    top_p: Option<f64>,
    /// Makes a sampled answer reproducible.
    seed: Option<i64>,
    /// A text, or up to four, that end the answer; not part of it.
    #[schema(value_type = Option<Vec<String>>)]
    stop: Option<Value>,
    /// Answer as server-sent events: `token` events, then one `done` event with the whole answer.
    #[schema(default = false)]
    stream: Option<bool>,
    /// Separates this caller's cache from that of other callers of the same service.
    #[schema(max_length = 255)]
    cache_salt: Option<String>,
}

/// A request that was read, and how it wants its answer.
#[derive(Debug)]
pub(crate) struct Parsed {
    /// What the path is asked.
    pub(crate) request: ProcessRequest,
    /// `stream`, where it was said.
    pub(crate) stream: Option<bool>,
}

/// Reads a body.
///
/// # Errors
/// 400 naming the field that is missing, wrong or unknown.
pub(crate) fn parse(
    body: Value,
    cache: CacheControl,
    limits: RequestLimits,
) -> Result<Parsed, Problem> {
    let mut fields = Fields::of(body)?;
    let text = text(&mut fields, limits.text_chars_max)?;
    let max_length = fields.whole("max_length", 1, limits.max_length_max)?;
    let temperature = fields.number("temperature", 0.0, TEMPERATURE_MAX)?;
    let sampling = Sampling {
        tokens_max: Some(max_length.unwrap_or(limits.max_length_default)),
        temperature: temperature.unwrap_or(TEMPERATURE_DEFAULT),
        top_p: fields.top_p()?,
        seed: fields.seed()?,
        stop: fields.stop(STOP_COUNT_MAX, STOP_CHARS_MAX)?,
    };
    let request = ProcessRequest {
        door: Door::Process,
        prompt: Prompt::Text(text),
        sampling,
        session_id: fields.label("session_id", SESSION_CHARS_MAX)?,
        priority: priority(&mut fields)?,
        cache_salt: fields.label("cache_salt", SALT_CHARS_MAX)?,
        cache,
    };
    let stream = fields.flag("stream")?;
    fields.end(&FIELDS)?;
    Ok(Parsed { request, stream })
}

fn text(fields: &mut Fields, chars_max: u32) -> Result<String, Problem> {
    let value = fields.required("text")?;
    let Value::String(text) = value else {
        return Err(fields.wrong("text", "a string", &value));
    };
    let chars = text.chars().count();
    if chars == 0 {
        return Err(Problem::bad_request("field_invalid", "`text` is empty")
            .hint("send at least one character")
            .param("text"));
    }
    if u32::try_from(chars).is_ok_and(|chars| chars <= chars_max) {
        return Ok(text);
    }
    let detail = format!("`text` has {chars} characters; at most {chars_max} are allowed");
    Err(Problem::bad_request("field_invalid", detail)
        .hint("send less text; input is never cut")
        .param("text"))
}

fn priority(fields: &mut Fields) -> Result<Priority, Problem> {
    let Some(value) = fields.take("priority") else {
        return Ok(Priority::default());
    };
    let priority = match &value {
        Value::String(name) => Priority::from_name(name),
        Value::Number(number) => number.as_u64().and_then(Priority::from_number),
        _ => None,
    };
    priority.ok_or_else(|| {
        let names = Priority::ALL.map(Priority::name).join(", ");
        fields.wrong("priority", &format!("one of {names}, or 1 to 5"), &value)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: RequestLimits = RequestLimits {
        max_length_default: 100,
        max_length_max: 10_000,
        text_chars_max: 20,
    };

    fn read(body: &str) -> Result<Parsed, Problem> {
        parse(
            serde_json::from_str(body).unwrap(),
            CacheControl::Normal,
            LIMITS,
        )
    }

    #[test]
    fn the_smallest_request_gets_the_documented_defaults() {
        let request = read(r#"{"text":"hello"}"#).unwrap().request;
        assert_eq!(request.prompt, Prompt::Text("hello".to_owned()));
        assert_eq!(request.sampling.tokens_max, Some(100));
        assert_eq!(request.sampling.temperature, 1.0);
        assert_eq!(request.sampling.top_p, 1.0);
        assert_eq!(request.priority, Priority::Normal);
        assert_eq!((request.session_id, request.cache_salt), (None, None));
    }

    #[test]
    fn every_field_is_honoured() {
        let body = r#"{"text":"hello","max_length":5,"temperature":0,"session_id":"s","priority":
            "HIGH","top_p":0.5,"seed":7,"stop":["x"],"stream":true,"cache_salt":"salt"}"#;
        let Parsed { request, stream } = read(body).unwrap();
        assert_eq!(stream, Some(true));
        assert_eq!(request.sampling.tokens_max, Some(5));
        assert_eq!(
            (request.sampling.temperature, request.sampling.top_p),
            (0.0, 0.5)
        );
        assert_eq!(
            (request.sampling.seed, request.sampling.stop),
            (Some(7), vec!["x".to_owned()])
        );
        assert_eq!(request.session_id.as_deref(), Some("s"));
        assert_eq!(request.cache_salt.as_deref(), Some("salt"));
        assert_eq!(request.priority, Priority::High);
    }

    #[test]
    fn every_wrong_field_is_refused_by_name() {
        let rows = [
            (r#"{}"#, "text"),
            (r#"{"text":""}"#, "text"),
            (r#"{"text":5}"#, "text"),
            (r#"{"text":"123456789012345678901"}"#, "text"),
            (r#"{"text":"a","max_length":0}"#, "max_length"),
            (r#"{"text":"a","max_length":10001}"#, "max_length"),
            (r#"{"text":"a","temperature":2.5}"#, "temperature"),
            (r#"{"text":"a","temperature":-1}"#, "temperature"),
            (r#"{"text":"a","priority":"urgent"}"#, "priority"),
            (r#"{"text":"a","priority":9}"#, "priority"),
            (r#"{"text":"a","stream":"yes"}"#, "stream"),
            (r#"{"text":"a","max_lenght":5}"#, "max_lenght"),
        ];
        for (body, param) in rows {
            let problem = read(body).unwrap_err().body(None);
            assert_eq!(
                (problem.status, problem.param.as_deref()),
                (400, Some(param)),
                "{body}"
            );
        }
        let long = format!(r#"{{"text":"a","session_id":"{}"}}"#, "x".repeat(256));
        assert_eq!(
            read(&long).unwrap_err().body(None).param.as_deref(),
            Some("session_id")
        );
        let twenty = "ä".repeat(20);
        assert!(
            read(&format!(r#"{{"text":"{twenty}"}}"#)).is_ok(),
            "characters, not bytes"
        );
    }
}
