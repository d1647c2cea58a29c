//! What the heads of requests say that every generating door honours: how far caches may be used, and
//! whether the answer may stream.
//!
//! Knows header names; knows no body.

use axum::http::{HeaderMap, StatusCode, header};

use crate::problem::Problem;
use crate::process::CacheControl;

/// The media type of server-sent events.
pub(crate) const EVENT_STREAM: &str = "text/event-stream";
const JSON: &str = "application/json";

/// Reads `Cache-Control`. Directives we do not know change nothing, as HTTP wants it.
///
/// # Source
/// RFC 9111, sections 5.2.1.4 (`no-cache`) and 5.2.1.5 (`no-store`).
pub(crate) fn cache_control(headers: &HeaderMap) -> CacheControl {
    let mut control = CacheControl::Normal;
    let values = headers.get_all(header::CACHE_CONTROL).iter();
    for directive in values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|text| text.split(','))
    {
        match directive.trim().to_ascii_lowercase().as_str() {
            "no-store" => return CacheControl::NoStore,
            "no-cache" | "max-age=0" => control = CacheControl::NoCache,
            _ => {}
        }
    }
    control
}

/// Which media types the caller takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Accepted {
    /// JSON, or anything.
    pub(crate) json: bool,
    /// Server-sent events, asked for by name.
    pub(crate) events: bool,
}

/// Reads `Accept`; without it everything is accepted.
///
/// # Errors
/// 406 when the caller takes nothing that these doors answer with.
///
/// # Source
/// RFC 9110, section 12.5.1.
pub(crate) fn accepted(headers: &HeaderMap) -> Result<Accepted, Problem> {
    let mut accepted = Accepted {
        json: false,
        events: false,
    };
    let mut any = false;
    let values = headers.get_all(header::ACCEPT).iter();
    for range in values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|text| text.split(','))
    {
        any = true;
        let mut parts = range.split(';').map(str::trim);
        let media_type = parts.next().unwrap_or_default().to_ascii_lowercase();
        if parts.any(is_zero_quality) {
            continue;
        }
        match media_type.as_str() {
            "*/*" | "application/*" | JSON => accepted.json = true,
            EVENT_STREAM | "text/*" => accepted.events = true,
            _ => {}
        }
    }
    if !any {
        accepted.json = true;
    }
    if accepted.json || accepted.events {
        return Ok(accepted);
    }
    let detail = format!("this route answers with {JSON} or {EVENT_STREAM}");
    Err(
        Problem::new(StatusCode::NOT_ACCEPTABLE, "not_acceptable", detail)
            .hint("send one of them, or */*, in the header accept"),
    )
}

/// Whether a parameter says "not this one": `q=0`, `q=0.0`, ….
fn is_zero_quality(parameter: &str) -> bool {
    let quality = parameter
        .strip_prefix("q=")
        .or_else(|| parameter.strip_prefix("Q="));
    quality
        .and_then(|quality| quality.parse::<f32>().ok())
        .is_some_and(|quality| quality == 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(name: header::HeaderName, values: &[&'static str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(name.clone(), axum::http::HeaderValue::from_static(value));
        }
        headers
    }

    #[test]
    fn cache_control_takes_the_strictest_directive() {
        let check = |values: &[&'static str], expected| {
            assert_eq!(
                cache_control(&headers(header::CACHE_CONTROL, values)),
                expected
            );
        };
        check(&[], CacheControl::Normal);
        check(&["max-age=60"], CacheControl::Normal);
        check(&["No-Cache"], CacheControl::NoCache);
        check(&["no-cache, no-store"], CacheControl::NoStore);
        check(&["no-store", "no-cache"], CacheControl::NoStore);
        check(&["max-age=0"], CacheControl::NoCache);
    }

    #[test]
    fn accept_chooses_json_or_events_or_is_refused() {
        let check = |values: &[&'static str], json, events| {
            let read = accepted(&headers(header::ACCEPT, values)).unwrap();
            assert_eq!(read, Accepted { json, events }, "{values:?}");
        };
        check(&[], true, false);
        check(&["*/*"], true, false);
        check(&["application/json"], true, false);
        check(&["text/event-stream"], false, true);
        check(&["application/json, text/event-stream"], true, true);
        check(&["text/event-stream;q=0, */*;q=0.1"], true, false);
        let refused = accepted(&headers(header::ACCEPT, &["image/png"])).unwrap_err();
        assert_eq!(refused.status(), StatusCode::NOT_ACCEPTABLE);
    }
}
