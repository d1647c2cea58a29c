//! What a caller is told when something goes wrong: one type, one body, one place that decides its shape.
//!
//! A door answers with a [`Problem`]. The edge of the server renders it: as `application/problem+json` (RFC 9457), or, on the
//! routes that speak `OpenAI`'s protocol, as that protocol's error object. A problem never holds a token, a key, a prompt or a
//! path of the host, and never knows how an answer travels.

mod convert;

use std::borrow::Cow;

use axum::Json;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

/// The media type of RFC 9457.
pub const PROBLEM_JSON: &str = "application/problem+json";

/// One failed request, as its caller is told about it.
///
/// # Source
/// RFC 9457, *Problem Details for HTTP APIs*, section 3.
#[derive(Debug, Clone)]
pub struct Problem(
    // Boxed, because a problem is rare and the `Result` it may be in is not.
    Box<Facts>,
);

/// What is known of a problem.
#[derive(Debug, Clone)]
struct Facts {
    status: StatusCode,
    code: &'static str,
    detail: String,
    hint: Cow<'static, str>,
    documented_code: Option<&'static str>,
    param: Option<String>,
    headers: Vec<(HeaderName, HeaderValue)>,
}

/// The body of every error answer outside the `OpenAI` routes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
#[schema(as = Problem)]
pub struct ProblemBody {
    /// Names the kind of problem: `urn:ultrakv:problem:` and the code.
    #[serde(rename = "type")]
    #[schema(example = "urn:ultrakv:problem:body_too_large")]
    pub kind: String,
    /// The status code in words.
    #[schema(example = "Payload Too Large")]
    pub title: &'static str,
    /// The status code again, for readers that see only the body.
    #[schema(example = 413)]
    pub status: u16,
    /// What went wrong with this very request.
    #[schema(example = "the body is larger than 1048576 bytes")]
    pub detail: String,
    /// A stable name for the kind of problem; programs branch on this.
    #[schema(example = "body_too_large")]
    pub code: &'static str,
    /// What the caller can do about it.
    #[schema(example = "send less, or raise limits.body_bytes_max")]
    pub hint: String,
    /// The field of the request that is wrong, when it is one field.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub param: Option<String>,
    /// The code the original system documented for this kind: E (engine), S (system) or A (API).
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(example = "A002")]
    pub documented_code: Option<&'static str>,
    /// The request's id, as in the header `x-request-id` and in the log.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
}

/// The error object of the `OpenAI` protocol.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct OpenAiErrorBody {
    /// The error itself.
    pub error: OpenAiError,
}

/// The inside of [`OpenAiErrorBody`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct OpenAiError {
    /// What went wrong and what can be done about it.
    pub message: String,
    /// The kind of error in `OpenAI`'s words.
    #[serde(rename = "type")]
    #[schema(example = "invalid_request_error")]
    pub kind: &'static str,
    /// The parameter that is wrong, when it is one.
    pub param: Option<String>,
    /// Our stable code.
    pub code: &'static str,
}

/// Which body an error gets: decided by the request's path and by nothing else.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    /// `application/problem+json`.
    Problem,
    /// `OpenAI`'s error object.
    OpenAi,
}

impl Shape {
    /// The shape of errors on `path`.
    #[must_use]
    pub fn of(path: &str) -> Self {
        const OPENAI_ROUTES: [&str; 3] = ["/v1/chat", "/v1/completions", "/v1/models"];
        let speaks_openai = OPENAI_ROUTES.iter().any(|route| {
            path.strip_prefix(route)
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
        });
        if speaks_openai {
            Self::OpenAi
        } else {
            Self::Problem
        }
    }
}

impl Problem {
    /// A problem with the given status, stable code and description of this very occurrence.
    #[must_use]
    pub fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        Self(Box::new(Facts {
            status,
            code,
            detail: detail.into(),
            hint: Cow::Borrowed(""),
            documented_code: documented_code(status),
            param: None,
            headers: Vec::new(),
        }))
    }

    /// 400: the request is wrong and will stay wrong.
    #[must_use]
    pub fn bad_request(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, code, detail)
    }

    /// 404: there is no such thing.
    #[must_use]
    pub fn not_found(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::NOT_FOUND, code, detail)
    }

    /// 429: no permit was free; the same request may succeed shortly.
    #[must_use]
    pub fn busy(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, "busy", detail)
            .hint("retry after the time in Retry-After, with fewer requests at once")
            .retry_after(1)
    }

    /// 504: the deadline passed before the answer was ready.
    #[must_use]
    pub fn deadline() -> Self {
        Self::new(
            StatusCode::GATEWAY_TIMEOUT,
            "deadline",
            "the deadline passed before the answer was ready",
        )
        .hint("ask for less, or raise limits.request_timeout")
    }

    /// 503: a part of the node is down or stopping.
    #[must_use]
    pub fn unavailable(code: &'static str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, code, detail)
            .hint("retry after the time in Retry-After; see /readyz?verbose on the admin door")
            .retry_after(1)
    }

    /// 500: a fault of ours. The cause is in the log under the request's id, never in the answer.
    #[must_use]
    pub fn internal(code: &'static str) -> Self {
        Self::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            code,
            "the server failed on this request",
        )
        .hint("report the request id to the operator; the log has the cause")
    }

    /// Says what the caller can do.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<Cow<'static, str>>) -> Self {
        self.0.hint = hint.into();
        self
    }

    /// Names the field of the request that is wrong.
    #[must_use]
    pub fn param(mut self, param: impl Into<String>) -> Self {
        self.0.param = Some(param.into());
        self
    }

    /// Replaces the documented code that the status suggests.
    #[must_use]
    pub fn documented_as(mut self, code: &'static str) -> Self {
        self.0.documented_code = Some(code);
        self
    }

    /// Adds a header to the answer.
    #[must_use]
    pub fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.0.headers.push((name, value));
        self
    }

    /// Tells the caller when to come back.
    #[must_use]
    pub fn retry_after(self, seconds: u32) -> Self {
        self.header(header::RETRY_AFTER, HeaderValue::from(seconds))
    }

    /// The status code of the answer.
    #[must_use]
    pub fn status(&self) -> StatusCode {
        self.0.status
    }

    /// The stable name of this kind of problem.
    #[must_use]
    pub fn code(&self) -> &'static str {
        self.0.code
    }

    /// What went wrong with this very request.
    #[must_use]
    pub fn detail(&self) -> &str {
        &self.0.detail
    }

    /// The body in RFC 9457's shape.
    #[must_use]
    pub fn body(&self, request_id: Option<&str>) -> ProblemBody {
        ProblemBody {
            kind: format!("urn:ultrakv:problem:{}", self.0.code),
            title: self.0.status.canonical_reason().unwrap_or("Error"),
            status: self.0.status.as_u16(),
            detail: self.0.detail.clone(),
            code: self.0.code,
            hint: self.0.hint.clone().into_owned(),
            param: self.0.param.clone(),
            documented_code: self.0.documented_code,
            request_id: request_id.map(ToOwned::to_owned),
        }
    }

    /// The body in `OpenAI`'s shape.
    #[must_use]
    pub fn openai_body(&self) -> OpenAiErrorBody {
        let message = if self.0.hint.is_empty() {
            self.0.detail.clone()
        } else {
            format!("{}; {}", self.0.detail, self.0.hint)
        };
        let kind = match self.0.status.as_u16() {
            401 => "authentication_error",
            403 => "permission_error",
            429 => "rate_limit_error",
            400..=499 => "invalid_request_error",
            _ => "server_error",
        };
        let error = OpenAiError {
            message,
            kind,
            param: self.0.param.clone(),
            code: self.0.code,
        };
        OpenAiErrorBody { error }
    }

    /// The answer in the given shape. The problem itself travels in the answer's extensions, so that the edge of the server
    /// can render it again with what only the edge knows.
    #[must_use]
    pub fn render(self, shape: Shape, request_id: Option<&str>) -> Response {
        let mut response = match shape {
            Shape::Problem => {
                let mut response = Json(self.body(request_id)).into_response();
                let media_type = HeaderValue::from_static(PROBLEM_JSON);
                response
                    .headers_mut()
                    .insert(header::CONTENT_TYPE, media_type);
                response
            }
            Shape::OpenAi => Json(self.openai_body()).into_response(),
        };
        *response.status_mut() = self.0.status;
        for (name, value) in &self.0.headers {
            response.headers_mut().insert(name.clone(), value.clone());
        }
        response.extensions_mut().insert(self);
        response
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        self.render(Shape::Problem, None)
    }
}

/// The original system's code for a status. Kinds that need another one say so with [`Problem::documented_as`].
const fn documented_code(status: StatusCode) -> Option<&'static str> {
    match status.as_u16() {
        401 | 403 => Some("A001"),
        404 => Some("A003"),
        429 => Some("S004"),
        400..=499 => Some("A002"),
        502..=504 => Some("S001"),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn openai_routes_get_openai_errors_and_no_other_route_does() {
        let check = |path: &str, shape: Shape| assert_eq!(Shape::of(path), shape, "{path}");
        check("/v1/chat/completions", Shape::OpenAi);
        check("/v1/completions", Shape::OpenAi);
        check("/v1/models", Shape::OpenAi);
        check("/v1/models/reference", Shape::OpenAi);
        check("/v1/modelsx", Shape::Problem);
        check("/v1/kv/exists", Shape::Problem);
        check("/", Shape::Problem);
    }

    #[test]
    fn every_status_class_has_its_documented_code() {
        let check = |status: StatusCode, code: Option<&str>| {
            assert_eq!(
                Problem::new(status, "x", "y").body(None).documented_code,
                code,
                "{status}"
            );
        };
        check(StatusCode::UNAUTHORIZED, Some("A001"));
        check(StatusCode::PAYLOAD_TOO_LARGE, Some("A002"));
        check(StatusCode::NOT_FOUND, Some("A003"));
        check(StatusCode::TOO_MANY_REQUESTS, Some("S004"));
        check(StatusCode::SERVICE_UNAVAILABLE, Some("S001"));
        check(StatusCode::INTERNAL_SERVER_ERROR, None);
    }

    #[test]
    fn a_problem_says_what_happened_and_what_to_do() {
        let body = serde_json::to_value(Problem::busy("16 requests are running").body(Some("r-1")));
        let expected = serde_json::json!({
            "type": "urn:ultrakv:problem:busy", "title": "Too Many Requests", "status": 429,
            "detail": "16 requests are running", "code": "busy", "documented_code": "S004",
            "hint": "retry after the time in Retry-After, with fewer requests at once",
            "request_id": "r-1",
        });
        assert_eq!(body.expect("a problem is plain data"), expected);
    }
}
