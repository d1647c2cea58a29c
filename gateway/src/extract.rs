//! What a request carries, parsed into types or refused with a problem that names the place.
//!
//! Handlers take [`Json`] and [`Params`] from here, never axum's own, so that invalid UTF-8, wrong types and unknown fields are told
//! in one voice on every route. The size and pace of bodies is bounded before this file sees them (see `limits`).

mod document;

use axum::body::{Bytes, HttpBody};
use axum::extract::{FromRequest, FromRequestParts, Request};
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use bytes::BytesMut;
use futures::StreamExt;
use serde::de::DeserializeOwned;

use crate::limits::{BodyGate, BodyRoom, discard};
use crate::problem::Problem;

pub(crate) use self::document::Document;

/// A JSON body, complete and of the right shape.
#[derive(Debug, Clone)]
pub struct Json<T>(pub T);

/// A JSON body of the right shape, or nothing at all, which means the default.
#[derive(Debug, Clone)]
pub struct JsonOrDefault<T>(pub T);

/// The query string, complete and of the right shape.
#[derive(Debug, Clone)]
pub struct Params<T>(pub T);

/// A whole body as bytes, within the limits of the door.
#[derive(Debug)]
pub struct Body {
    /// The bytes themselves.
    pub bytes: Bytes,
    /// The share of the door's memory they take while the handler works on them.
    #[expect(dead_code, reason = "held for its end, never read")]
    room: BodyRoom,
}

impl<S: Send + Sync> FromRequest<S> for Body {
    type Rejection = Problem;

    async fn from_request(request: Request, _state: &S) -> Result<Self, Problem> {
        let (parts, body) = request.into_parts();
        if is_encoded(&parts.headers) {
            discard(body);
            return Err(encoded());
        }
        let Some(gate) = parts.extensions.get::<BodyGate>().cloned() else {
            return Err(Problem::internal("body_unbounded"));
        };
        let expected = body
            .size_hint()
            .exact()
            .and_then(|bytes| usize::try_from(bytes).ok());
        let mut room = gate.room();
        room.grow_to(expected.unwrap_or(0))?;
        let mut bytes = BytesMut::with_capacity(expected.unwrap_or(0));
        let mut frames = body.into_data_stream();
        while let Some(frame) = frames.next().await {
            let frame = frame.map_err(|_| body_broken())?;
            if let Err(problem) = room.grow_to(bytes.len().saturating_add(frame.len())) {
                discard(axum::body::Body::from_stream(frames));
                return Err(problem);
            }
            bytes.extend_from_slice(&frame);
        }
        Ok(Self {
            bytes: bytes.freeze(),
            room,
        })
    }
}

impl<T: DeserializeOwned, S: Send + Sync> FromRequest<S> for Json<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        if !is_json(request.headers()) {
            return Err(not_json());
        }
        let body = Body::from_request(request, state).await?;
        parse_json(&body.bytes).map(Self)
    }
}

impl<T: DeserializeOwned + Default, S: Send + Sync> FromRequest<S> for JsonOrDefault<T> {
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let is_json = is_json(request.headers());
        let body = Body::from_request(request, state).await?;
        match (body.bytes.is_empty(), is_json) {
            (true, _) => Ok(Self(T::default())),
            (false, true) => parse_json(&body.bytes).map(Self),
            (false, false) => Err(not_json()),
        }
    }
}

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Params<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let query = axum::extract::Query::<T>::from_request_parts(parts, state).await;
        query
            .map(|axum::extract::Query(value)| Self(value))
            .map_err(|rejection| {
                Problem::bad_request("query_invalid", rejection.body_text())
                    .hint("see /openapi.json for the parameters of this route")
            })
    }
}

/// Parses a JSON document that must be exactly one `T`, and no list.
///
/// # Errors
/// 400 with the byte of the first invalid UTF-8, the line and column of a syntax error, or the path of the wrong field.
pub fn parse_json<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Problem> {
    let text = std::str::from_utf8(bytes).map_err(|error| {
        Problem::bad_request(
            "invalid_utf8",
            format!(
                "the body is not valid UTF-8 from byte {} on",
                error.valid_up_to()
            ),
        )
        .hint("encode the body as UTF-8")
    })?;
    // Serde would also read a list of values in the order of the fields, which no schema tells.
    if text.trim_start().starts_with('[') {
        let told = "the body must be a JSON object, not a list";
        return Err(Problem::bad_request("field_invalid", told)
            .hint("see /openapi.json for the fields of this route"));
    }
    let mut document = serde_json::Deserializer::from_str(text);
    let value = serde_path_to_error::deserialize(&mut document).map_err(|error| {
        let path = error.path().to_string();
        json_problem(error.inner(), Some(path).filter(|path| path != "."))
    })?;
    document.end().map_err(|error| json_problem(&error, None))?;
    Ok(value)
}

/// The problem of a body that is not the JSON we asked for.
fn json_problem(error: &serde_json::Error, path: Option<String>) -> Problem {
    use serde_json::error::Category;
    match error.classify() {
        Category::Data => {
            let problem = Problem::bad_request("field_invalid", error.to_string())
                .hint("see /openapi.json for the fields of this route");
            match path {
                Some(path) => problem.param(path),
                None => problem,
            }
        }
        Category::Syntax | Category::Eof | Category::Io => {
            Problem::bad_request("json_invalid", format!("the body is not JSON: {error}"))
                .hint("send one JSON document and nothing after it")
        }
    }
}

/// The problem of a body that does not say it is JSON.
fn not_json() -> Problem {
    let told = "this route reads a JSON body";
    Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "not_json", told)
        .hint("send the header content-type: application/json")
}

/// The problem of a body that would have to be decoded first.
fn encoded() -> Problem {
    let told = "this door reads bodies as they are, without a content-encoding";
    Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "body_encoded", told)
        .hint("send the body uncompressed")
}

/// The problem of a body that could not be read to its end.
fn body_broken() -> Problem {
    Problem::bad_request("body_broken", "the body ended before it was complete")
        .hint("send as many bytes as content-length says, or a complete chunked body")
}

/// Whether the body says that it is compressed.
fn is_encoded(headers: &HeaderMap) -> bool {
    let mut encodings = headers.get_all(header::CONTENT_ENCODING).iter();
    encodings.any(|encoding| !encoding.as_bytes().eq_ignore_ascii_case(b"identity"))
}

/// Whether the body says it is JSON.
fn is_json(headers: &HeaderMap) -> bool {
    let content_type = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let media_type = content_type
        .and_then(|value| value.split(';').next())
        .map(str::trim);
    media_type.is_some_and(|media_type| {
        media_type.eq_ignore_ascii_case("application/json")
            || media_type.to_ascii_lowercase().ends_with("+json")
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Outer {
        #[expect(dead_code, reason = "only its parsing is under test")]
        inner: Inner,
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Inner {
        #[expect(dead_code, reason = "only its parsing is under test")]
        count: u32,
    }

    fn check(bytes: &[u8], code: &str, param: Option<&str>, says: &str) {
        let problem = parse_json::<Outer>(bytes).expect_err("the document is wrong");
        assert_eq!(problem.code(), code);
        assert_eq!(problem.body(None).param.as_deref(), param);
        assert!(problem.detail().contains(says), "{}", problem.detail());
    }

    #[test]
    fn a_wrong_document_is_told_with_its_place() {
        check(
            b"{\"inner\":{\"count\":\xff}}",
            "invalid_utf8",
            None,
            "byte 18",
        );
        check(
            b"{\"inner\":{\"count\":1}",
            "json_invalid",
            None,
            "line 1 column",
        );
        check(
            b"{\"inner\":{\"count\":1}} x",
            "json_invalid",
            None,
            "trailing",
        );
        check(b"", "json_invalid", None, "EOF");
        check(
            b"{\"inner\":{\"count\":-1}}",
            "field_invalid",
            Some("inner.count"),
            "-1",
        );
        check(
            b"{\"inner\":{\"count\":1,\"x\":1}}",
            "field_invalid",
            Some("inner.x"),
            "unknown field",
        );
        check(b"{}", "field_invalid", None, "missing field `inner`");
        check(b" [{\"count\":1}]", "field_invalid", None, "not a list");
    }

    #[test]
    fn a_body_that_would_have_to_be_decoded_is_told_from_one_that_would_not() {
        let headers = |encoding: &'static str| {
            HeaderMap::from_iter([(header::CONTENT_ENCODING, encoding.parse().expect("valid"))])
        };
        assert!(is_encoded(&headers("gzip")));
        assert!(!is_encoded(&headers("Identity")));
        assert!(!is_encoded(&HeaderMap::new()));
    }

    #[test]
    fn deeply_nested_documents_are_refused_before_the_stack_ends() {
        let deep = format!("{{\"a\":{}", "[".repeat(100_000));
        let problem = parse_json::<Document>(deep.as_bytes()).expect_err("too deep");
        assert_eq!(problem.code(), "json_invalid");
    }
}
