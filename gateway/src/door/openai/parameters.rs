//! The parameters that both completion routes take, each with one of three fates: honoured, accepted
//! at the value that means "nothing special", or refused. Never ignored.
//!
//! The table of accepted no-ops is the whole list of what clients send by habit; every other name is
//! refused with the nearest one we know. Knows no prompt and no answer.

use serde_json::Value;

use crate::door::fields::Fields;
use crate::problem::Problem;
use crate::process::Sampling;

/// Stop texts in a request, as in the protocol.
const STOP_COUNT_MAX: usize = 4;
/// Characters of a stop text.
const STOP_CHARS_MAX: usize = 256;
/// Characters of a salt.
const SALT_CHARS_MAX: usize = 255;
/// Characters of an opaque label such as `user`.
const LABEL_CHARS_MAX: usize = 512;
/// The largest `max_tokens`; the model's context ends an answer earlier.
const TOKENS_MAX: u32 = 1_000_000;
const TEMPERATURE_MAX: f64 = 2.0;

/// Which completion route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Route {
    /// `/v1/chat/completions`
    Chat,
    /// `/v1/completions`
    Completion,
}

/// What both routes are told.
#[derive(Debug, PartialEq)]
pub(super) struct Parameters {
    /// The model asked for.
    pub(super) model: String,
    /// How to sample.
    pub(super) sampling: Sampling,
    /// Whether to stream.
    pub(super) stream: bool,
    /// Whether the stream ends with a chunk of usage figures.
    pub(super) include_usage: bool,
    /// The caller's own separation (vLLM's extension).
    pub(super) cache_salt: Option<String>,
}

/// A parameter that changes nothing at the values accepted here.
struct NoOp {
    name: &'static str,
    accepted: fn(&Value) -> bool,
    only: &'static str,
    chat: bool,
    completion: bool,
}

const fn both(name: &'static str, only: &'static str, accepted: fn(&Value) -> bool) -> NoOp {
    NoOp {
        name,
        accepted,
        only,
        chat: true,
        completion: true,
    }
}

const fn chat(name: &'static str, only: &'static str, accepted: fn(&Value) -> bool) -> NoOp {
    NoOp {
        name,
        accepted,
        only,
        chat: true,
        completion: false,
    }
}

const fn completion(name: &'static str, only: &'static str, accepted: fn(&Value) -> bool) -> NoOp {
    NoOp {
        name,
        accepted,
        only,
        chat: false,
        completion: true,
    }
}

/// What clients send by habit. `null` is always accepted and not repeated here.
const NO_OPS: [NoOp; 30] = [
    both("n", "1", is_one),
    both("presence_penalty", "0", is_zero),
    both("frequency_penalty", "0", is_zero),
    both("logit_bias", "null or {}", is_empty),
    both(
        "user",
        "a label of at most 512 characters, which is not used",
        is_label,
    ),
    both(
        "safety_identifier",
        "a label of at most 512 characters, which is not used",
        is_label,
    ),
    both("service_tier", "\"auto\" or \"default\"", |it| {
        is_any(it, &["auto", "default"])
    }),
    both("store", "false", is_false),
    both("metadata", "null or {}", is_empty),
    both("kv_transfer_params", "null", |_| false),
    chat("logprobs", "false", is_false),
    chat("top_logprobs", "null", |_| false),
    chat("tools", "null or []", is_empty),
    chat("tool_choice", "\"none\"", |it| is_any(it, &["none"])),
    chat("parallel_tool_calls", "true", |it| it == &Value::Bool(true)),
    chat("functions", "null or []", is_empty),
    chat("function_call", "\"none\"", |it| is_any(it, &["none"])),
    chat("response_format", "{\"type\": \"text\"}", is_text_format),
    chat("modalities", "[\"text\"]", |it| {
        it == &serde_json::json!(["text"])
    }),
    chat("audio", "null", |_| false),
    chat("prediction", "null", |_| false),
    chat("reasoning_effort", "null", |_| false),
    chat("verbosity", "null", |_| false),
    chat("web_search_options", "null", |_| false),
    chat(
        "prompt_cache_key",
        "null; use cache_salt to separate callers",
        |_| false,
    ),
    completion("logprobs", "null", |_| false),
    completion("echo", "false", is_false),
    completion("best_of", "1", is_one),
    completion("suffix", "null", |_| false),
    completion(
        "prompt_cache_key",
        "null; use cache_salt to separate callers",
        |_| false,
    ),
];

/// What is honoured, for suggestions.
const HONOURED: [&str; 13] = [
    "model",
    "messages",
    "prompt",
    "max_tokens",
    "max_completion_tokens",
    "temperature",
    "top_p",
    "seed",
    "stop",
    "stream",
    "stream_options",
    "cache_salt",
    "user",
];

impl Parameters {
    /// Reads everything but the prompt, which the caller has taken from `fields` already.
    ///
    /// # Errors
    /// 400 naming the parameter that is wrong, unsupported or unknown.
    pub(super) fn read(mut fields: Fields, route: Route) -> Result<Self, Problem> {
        let model = match fields.required("model")? {
            Value::String(model) => model,
            other => return Err(fields.wrong("model", "a string", &other)),
        };
        let temperature = fields.number("temperature", 0.0, TEMPERATURE_MAX)?;
        let sampling = Sampling {
            tokens_max: tokens_max(&mut fields, route)?,
            temperature: temperature.unwrap_or(1.0),
            top_p: fields.top_p()?,
            seed: fields.seed()?,
            stop: fields.stop(STOP_COUNT_MAX, STOP_CHARS_MAX)?,
        };
        let stream = fields.flag("stream")?.unwrap_or(false);
        let include_usage = stream_options(&mut fields, stream)?;
        let cache_salt = fields.label("cache_salt", SALT_CHARS_MAX)?;
        refuse_meaningful(&mut fields, route)?;
        refuse_unknown(&fields, route)?;
        Ok(Self {
            model,
            sampling,
            stream,
            include_usage,
            cache_salt,
        })
    }
}

/// `max_tokens`, or in chats its newer name; both only when they agree.
fn tokens_max(fields: &mut Fields, route: Route) -> Result<Option<u32>, Problem> {
    /// The protocol's own default for completions; chats end with the context.
    const COMPLETION_TOKENS_DEFAULT: u32 = 16;
    let old = fields.whole("max_tokens", 1, TOKENS_MAX)?;
    if route == Route::Completion {
        return Ok(Some(old.unwrap_or(COMPLETION_TOKENS_DEFAULT)));
    }
    let new = fields.whole("max_completion_tokens", 1, TOKENS_MAX)?;
    match (old, new) {
        (Some(old), Some(new)) if old != new => Err(Problem::bad_request(
            "field_invalid",
            "`max_tokens` and `max_completion_tokens` differ",
        )
        .hint("send one of them")
        .param("max_tokens")),
        (old, new) => Ok(new.or(old)),
    }
}

/// `stream_options`, of which only `include_usage` says something to us.
fn stream_options(fields: &mut Fields, stream: bool) -> Result<bool, Problem> {
    let Some(value) = fields.take("stream_options") else {
        return Ok(false);
    };
    if !stream {
        return Err(Problem::bad_request(
            "field_invalid",
            "`stream_options` is only allowed when `stream` is true",
        )
        .hint("set stream to true, or leave stream_options out")
        .param("stream_options"));
    }
    let mut options = Fields::nested(value, "stream_options.".to_owned())?;
    let include_usage = options.flag("include_usage")?.unwrap_or(false);
    // Obfuscation pads chunks against traffic analysis; only its absence is what we do.
    if let Some(value) = options.take("include_obfuscation")
        && !is_false(&value)
    {
        return Err(unsupported_value(
            "stream_options.include_obfuscation",
            "false",
        ));
    }
    options.end(&["include_usage"])?;
    Ok(include_usage)
}

/// Takes every known no-op and refuses it at any value that would mean something.
fn refuse_meaningful(fields: &mut Fields, route: Route) -> Result<(), Problem> {
    for no_op in no_ops(route) {
        if let Some(value) = fields.take(no_op.name)
            && !(no_op.accepted)(&value)
        {
            return Err(unsupported_value(no_op.name, no_op.only));
        }
    }
    Ok(())
}

/// Refuses whatever is left, `null` or not: it is not ours.
fn refuse_unknown(fields: &Fields, route: Route) -> Result<(), Problem> {
    let Some((name, _)) = fields.rest() else {
        return Ok(());
    };
    let known: Vec<&'static str> = HONOURED
        .into_iter()
        .chain(no_ops(route).map(|no_op| no_op.name))
        .collect();
    Err(fields.unknown("unsupported_parameter", name, &known))
}

fn no_ops(route: Route) -> impl Iterator<Item = &'static NoOp> {
    NO_OPS.iter().filter(move |no_op| match route {
        Route::Chat => no_op.chat,
        Route::Completion => no_op.completion,
    })
}

fn unsupported_value(name: &str, only: &str) -> Problem {
    Problem::bad_request(
        "unsupported_parameter",
        format!("`{name}` is not supported at this value; accepted: {only}"),
    )
    .hint("leave it out; parameters are honoured or refused, never ignored")
    .param(name)
}

fn is_one(value: &Value) -> bool {
    value.as_u64() == Some(1)
}

fn is_zero(value: &Value) -> bool {
    value.as_f64() == Some(0.0)
}

fn is_false(value: &Value) -> bool {
    value == &Value::Bool(false)
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Object(map) => map.is_empty(),
        Value::Array(list) => list.is_empty(),
        _ => false,
    }
}

fn is_any(value: &Value, accepted: &[&str]) -> bool {
    value.as_str().is_some_and(|text| accepted.contains(&text))
}

fn is_label(value: &Value) -> bool {
    value
        .as_str()
        .is_some_and(|label| label.chars().count() <= LABEL_CHARS_MAX)
}

fn is_text_format(value: &Value) -> bool {
    value == &serde_json::json!({"type": "text"})
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn read(body: Value, route: Route) -> Result<Parameters, Problem> {
        let mut fields = Fields::nested(body, String::new()).unwrap();
        let _prompt = fields.take("prompt");
        let _messages = fields.take("messages");
        Parameters::read(fields, route)
    }

    fn with(extra: &Value) -> Value {
        let mut body = json!({"model": "m"});
        for (name, value) in extra.as_object().unwrap() {
            body[name] = value.clone();
        }
        body
    }

    #[test]
    fn the_defaults_are_the_protocols() {
        let chat = read(json!({"model": "m"}), Route::Chat).unwrap();
        assert_eq!(
            (chat.sampling.tokens_max, chat.sampling.temperature),
            (None, 1.0)
        );
        assert!(!chat.stream && !chat.include_usage);
        let completion = read(json!({"model": "m"}), Route::Completion).unwrap();
        assert_eq!(completion.sampling.tokens_max, Some(16));
    }

    #[test]
    fn what_clients_send_by_habit_is_accepted_where_it_means_nothing() {
        let accepted = json!({
            "n": 1, "presence_penalty": 0, "frequency_penalty": 0.0, "logit_bias": {},
            "user": "someone", "store": false, "metadata": null, "service_tier": "auto",
            "kv_transfer_params": null,
        });
        for route in [Route::Chat, Route::Completion] {
            assert!(read(with(&accepted), route).is_ok(), "{route:?}");
        }
        let chat = json!({
            "logprobs": false, "top_logprobs": null, "tools": [], "tool_choice": "none",
            "parallel_tool_calls": true, "response_format": {"type": "text"},
            "modalities": ["text"], "max_completion_tokens": 5, "max_tokens": 5,
            "stream": true, "stream_options": {"include_usage": true},
        });
        let read_chat = read(with(&chat), Route::Chat).unwrap();
        assert!(read_chat.stream && read_chat.include_usage);
        assert_eq!(read_chat.sampling.tokens_max, Some(5));
        let completion = json!({"echo": false, "best_of": 1, "suffix": null, "logprobs": null});
        assert!(read(with(&completion), Route::Completion).is_ok());
    }

    #[test]
    fn what_would_mean_something_is_refused_by_name() {
        let rows = [
            (Route::Chat, json!({"n": 2}), "n"),
            (
                Route::Chat,
                json!({"presence_penalty": 0.5}),
                "presence_penalty",
            ),
            (
                Route::Chat,
                json!({"frequency_penalty": -1}),
                "frequency_penalty",
            ),
            (Route::Chat, json!({"logprobs": true}), "logprobs"),
            (Route::Chat, json!({"top_logprobs": 0}), "top_logprobs"),
            (Route::Chat, json!({"logit_bias": {"1": 5}}), "logit_bias"),
            (Route::Chat, json!({"tools": [{}]}), "tools"),
            (Route::Chat, json!({"tool_choice": "auto"}), "tool_choice"),
            (
                Route::Chat,
                json!({"response_format": {"type": "json_object"}}),
                "response_format",
            ),
            (Route::Chat, json!({"store": true}), "store"),
            (Route::Chat, json!({"metadata": {"a": "b"}}), "metadata"),
            (
                Route::Chat,
                json!({"service_tier": "priority"}),
                "service_tier",
            ),
            (
                Route::Chat,
                json!({"kv_transfer_params": {}}),
                "kv_transfer_params",
            ),
            (
                Route::Chat,
                json!({"reasoning_effort": "low"}),
                "reasoning_effort",
            ),
            (Route::Chat, json!({"user": 5}), "user"),
            (Route::Chat, json!({"echo": false}), "echo"),
            (Route::Completion, json!({"echo": true}), "echo"),
            (Route::Completion, json!({"best_of": 3}), "best_of"),
            (Route::Completion, json!({"suffix": "x"}), "suffix"),
            (Route::Completion, json!({"logprobs": 0}), "logprobs"),
            (
                Route::Completion,
                json!({"max_completion_tokens": 5}),
                "max_completion_tokens",
            ),
            (Route::Completion, json!({"tools": []}), "tools"),
            (Route::Completion, json!({"top_k": 5}), "top_k"),
        ];
        for (route, extra, name) in rows {
            let problem = read(with(&extra), route).unwrap_err();
            let body = problem.openai_body().error;
            assert_eq!(problem.status().as_u16(), 400, "{extra}");
            assert_eq!(body.param.as_deref(), Some(name), "{extra}");
            assert_eq!(body.code, "unsupported_parameter", "{extra}");
        }
    }

    #[test]
    fn wrong_values_are_refused_by_name() {
        let rows = [
            (json!({"temperature": 2.1}), "temperature"),
            (json!({"top_p": 0}), "top_p"),
            (json!({"max_tokens": 0}), "max_tokens"),
            (
                json!({"max_tokens": 4, "max_completion_tokens": 5}),
                "max_tokens",
            ),
            (json!({"stop": ["a", "b", "c", "d", "e"]}), "stop"),
            (json!({"seed": "7"}), "seed"),
            (json!({"stream": 1}), "stream"),
            (
                json!({"stream_options": {"include_usage": true}}),
                "stream_options",
            ),
            (
                json!({"stream": true, "stream_options": {"x": 1}}),
                "stream_options.x",
            ),
            (json!({"model": 5}), "model"),
        ];
        for (extra, name) in rows {
            let body = read(with(&extra), Route::Chat)
                .unwrap_err()
                .openai_body()
                .error;
            assert_eq!(body.param.as_deref(), Some(name), "{extra}");
        }
        let missing = read(json!({}), Route::Chat)
            .unwrap_err()
            .openai_body()
            .error;
        assert_eq!(missing.param.as_deref(), Some("model"));
    }

    #[test]
    fn a_misspelt_parameter_is_told_the_nearest_one() {
        let body = read(json!({"model": "m", "temperatur": 0}), Route::Chat).unwrap_err();
        assert!(body.openai_body().error.message.contains("`temperature`"));
    }
}
