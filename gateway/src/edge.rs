//! The outermost layer: gives a request its id and its span, and every failure its shape.
//!
//! Whatever fails inside, a panic included, leaves here as a problem with the request's id, in the shape that the path speaks.
//! Log lines and metrics name the route's pattern, never the path, so that keys and prompts stay out of both.

use axum::extract::{FromRequestParts, MatchedPath, Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::Next;
use axum::response::Response;
use tracing::Instrument;
use ultrakv_actors::clock::Clock;
use uuid::Uuid;

use crate::auth::Door;
use crate::problem::{Problem, Shape};
use crate::process::ms;
use crate::server::Peer;

/// The header that carries a request's id, in both directions.
pub const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The longest id that is taken from a client.
const REQUEST_ID_CHARS_MAX: usize = 128;

/// The routes whose duration is the documented `kv_cache_request_duration_seconds`.
const GENERATING_ROUTES: [&str; 3] = [
    "/api/v1/kv-cache/process",
    "/v1/chat/completions",
    "/v1/completions",
];

/// The name of a request, from its client or made here.
#[derive(Debug, Clone)]
pub struct RequestId(HeaderValue);

impl RequestId {
    /// The client's id when it is short and plain, else a new one. An odd id is replaced, not refused: it is a courtesy to
    /// the client's own logs and no reason to fail.
    fn of(headers: &HeaderMap) -> Self {
        let plain = |value: &&HeaderValue| {
            let bytes = value.as_bytes();
            let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || b"-_.:/+=".contains(byte);
            (1..=REQUEST_ID_CHARS_MAX).contains(&bytes.len()) && bytes.iter().all(allowed)
        };
        let sent = headers.get(REQUEST_ID).filter(plain).cloned();
        let made = || HeaderValue::from_str(&Uuid::now_v7().to_string()).ok();
        Self(
            sent.or_else(made)
                .unwrap_or_else(|| HeaderValue::from_static("unknown")),
        )
    }

    /// The id as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.to_str().unwrap_or_default()
    }
}

impl<S: Send + Sync> FromRequestParts<S> for RequestId {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _state: &S) -> Result<Self, Problem> {
        let id = parts.extensions.get::<Self>().cloned();
        id.ok_or_else(|| Problem::internal("request_id_unknown"))
    }
}

/// What the edge of one door needs.
#[derive(Debug, Clone)]
pub(crate) struct Edge {
    pub(crate) door: Door,
    pub(crate) clock: Clock,
}

/// The layer itself.
pub(crate) async fn edge(State(edge): State<Edge>, mut request: Request, next: Next) -> Response {
    let stopwatch = edge.clock.stopwatch();
    let id = RequestId::of(request.headers());
    let shape = Shape::of(request.uri().path());
    let route = route(&request);
    let method = method_name(request.method());
    let generates = GENERATING_ROUTES.contains(&&*route);
    request.extensions_mut().insert(id.clone());
    let peer = request
        .extensions()
        .get::<Peer>()
        .map(|Peer(address)| *address);
    let span = tracing::info_span!(
        "request", door = edge.door.name(), method, route = %route, request_id = id.as_str(),
        peer = peer.map(tracing::field::display),
    );

    let response = next.run(request).instrument(span.clone()).await;

    let mut response = shaped(response, shape, &id);
    let status = response.status();
    let elapsed = stopwatch.elapsed();
    let elapsed_ms = ms(u64::try_from(elapsed.as_micros()).unwrap_or(u64::MAX));
    span.in_scope(|| {
        if status.is_server_error() {
            tracing::warn!(status = status.as_u16(), elapsed_ms, "request failed");
        } else {
            tracing::debug!(status = status.as_u16(), elapsed_ms, "request answered");
        }
    });
    let labels = [
        ("door", edge.door.name().into()),
        ("route", route),
        ("method", method.into()),
        (
            "status",
            metrics::SharedString::from(status.as_u16().to_string()),
        ),
    ];
    let duration_labels = [labels[0].clone(), labels[1].clone()];
    metrics::counter!("ultrakv_http_requests_total", &labels).increment(1);
    metrics::histogram!("ultrakv_http_request_duration_seconds", &duration_labels).record(elapsed);
    if generates {
        metrics::histogram!("kv_cache_request_duration_seconds").record(elapsed);
    }
    response.headers_mut().insert(REQUEST_ID, id.0);
    response
}

/// What a panic in a handler is answered with. The panic itself was logged by the panic hook, within the request's span.
#[expect(
    clippy::needless_pass_by_value,
    reason = "the signature is tower-http's"
)]
pub(crate) fn panicked(cause: Box<dyn std::any::Any + Send + 'static>) -> Response {
    let said = cause.downcast_ref::<&str>().copied();
    let said = said.or_else(|| cause.downcast_ref::<String>().map(String::as_str));
    tracing::error!(
        panic = said.unwrap_or("of another type"),
        "a handler panicked"
    );
    Problem::internal("panic").render(Shape::Problem, None)
}

/// The answer to a path that no route has.
pub(crate) fn no_such_route(path: &str, routes: &[String]) -> Problem {
    let problem = Problem::not_found("route_unknown", "there is no such route on this door");
    let nearest = routes
        .iter()
        .map(|route| (strsim::jaro_winkler(route, path), route))
        .filter(|(likeness, _)| *likeness >= 0.88)
        .max_by(|(left, _), (right, _)| left.total_cmp(right));
    match nearest {
        Some((_, route)) => problem.hint(format!("did you mean {route}? /docs lists the routes")),
        None => problem.hint("/docs lists the routes of this door"),
    }
}

/// The answer to a route that has no such method. axum adds the header `allow`.
pub(crate) async fn no_such_method() -> Problem {
    Problem::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "method_not_allowed",
        "the route does not take this method",
    )
    .hint("use a method of the header allow")
}

/// Gives a failure the shape of its path. Failures that did not come from us (axum's own refusals) become problems too.
fn shaped(mut response: Response, shape: Shape, id: &RequestId) -> Response {
    if let Some(problem) = response.extensions_mut().remove::<Problem>() {
        let mut rendered = problem.render(shape, Some(id.as_str()));
        // Layers between the problem's maker and here added headers, such as `allow`.
        for (name, value) in response.headers() {
            if *name != header::CONTENT_LENGTH && *name != header::CONTENT_TYPE {
                rendered.headers_mut().insert(name.clone(), value.clone());
            }
        }
        return rendered;
    }
    let status = response.status();
    let is_ours =
        response.headers().contains_key(header::CONTENT_TYPE) && !is_plain_text(&response);
    if (status.is_client_error() || status.is_server_error()) && !is_ours {
        let told = status.canonical_reason().unwrap_or("the request failed");
        return Problem::new(status, "request_refused", told)
            .hint("see /openapi.json for what this route takes")
            .render(shape, Some(id.as_str()));
    }
    response
}

fn is_plain_text(response: &Response) -> bool {
    let content_type = response.headers().get(header::CONTENT_TYPE);
    content_type.is_some_and(|value| value.as_bytes().starts_with(b"text/plain"))
}

/// The route's pattern: a bounded set, unlike paths.
fn route(request: &Request) -> metrics::SharedString {
    let matched = request.extensions().get::<MatchedPath>();
    matched.map_or("unmatched".into(), |path| path.as_str().to_owned().into())
}

/// The method when it is one of HTTP's own: a bounded set, unlike what clients may send.
fn method_name(method: &axum::http::Method) -> &'static str {
    const KNOWN: [&str; 7] = ["GET", "POST", "PUT", "DELETE", "HEAD", "OPTIONS", "PATCH"];
    KNOWN
        .into_iter()
        .find(|known| *known == method.as_str())
        .unwrap_or("OTHER")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_id_is_kept_and_an_odd_one_replaced() {
        let check = |sent: &'static str, kept: bool| {
            let headers = HeaderMap::from_iter([(REQUEST_ID, HeaderValue::from_static(sent))]);
            assert_eq!(RequestId::of(&headers).as_str() == sent, kept, "{sent}");
        };
        check("7d9f0f4e-1", true);
        check("trace:abc/1.2_3", true);
        check("", false);
        check("two words", false);
        check("<script>", false);
        assert_eq!(RequestId::of(&HeaderMap::new()).as_str().len(), 36);
    }

    #[test]
    fn a_mistyped_route_is_told_its_nearest_neighbour() {
        let routes = ["/v1/kv/exists", "/v1/models", "/health"].map(str::to_owned);
        let hint = |path: &str| no_such_route(path, &routes).body(None).hint;
        assert!(hint("/v1/kv/exist").contains("/v1/kv/exists"));
        assert!(hint("/helth").contains("/health"));
        assert!(!hint("/wp-login.php").contains("did you mean"));
    }
}
