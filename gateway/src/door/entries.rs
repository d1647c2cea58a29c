//! Entries by name: small values with a version and a time to live, read and written one at a time.
//!
//! A value is opaque here. Conditions are HTTP's own (RFC 9110, section 13.1): the version is the entity tag. Nothing here knows
//! who owns a name.

use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use ultrakv_cache::EntryClass;
use ultrakv_cluster::{EntryFound, EntryOptions, OnlyIf};
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::door::name::{Name, Scope};
use crate::extract::{Body, Params};
use crate::limits::AnswerBy;
use crate::problem::Problem;
use crate::state::AppState;

/// `kept` or `cached`.
const CLASS: HeaderName = HeaderName::from_static("x-ultrakv-class");

/// Milliseconds that are left.
const TTL: HeaderName = HeaderName::from_static("x-ultrakv-ttl-ms");

/// The routes of this family.
pub(crate) fn router() -> OpenApiRouter<AppState> {
    OpenApiRouter::new().routes(routes!(get_entry, put_entry, delete_entry))
}

/// Whether an entry may be evicted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Class {
    /// Never evicted: a full quota refuses the write.
    #[default]
    Kept,
    /// Evicted when room is needed.
    Cached,
}

impl From<Class> for EntryClass {
    fn from(class: Class) -> Self {
        match class {
            Class::Kept => Self::Kept,
            Class::Cached => Self::Cached,
        }
    }
}

/// How an entry is to be kept.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct PutParams {
    /// `kept` when absent.
    class: Option<Class>,
    /// The entry is gone after this time; never when absent.
    ttl_ms: Option<u64>,
}

/// The answer to a write.
#[derive(Debug, Serialize, ToSchema)]
struct EntryPutAnswer {
    /// The version that was written; also the entity tag.
    #[schema(example = 7)]
    version: u64,
}

/// The answer to a deletion.
#[derive(Debug, Serialize, ToSchema)]
struct EntryDeleteAnswer {
    /// Whether there was such an entry.
    deleted: bool,
}

/// An entry's value.
#[utoipa::path(
    get,
    path = "/v1/kv/entries/{key}",
    tag = "entries",
    params(
        ("key" = String, Path, description = "The entry's name: 1 to 512 bytes of UTF-8, percent-encoded."),
        ("x-ultrakv-salt" = Option<String>, Header, description = "Separates names inside the service."),
    ),
    responses(
        (status = 200, description = "The value.", content_type = "application/octet-stream", body = Vec<u8>,
            headers(
                ("etag" = String, description = "The version, in quotes."),
                ("x-ultrakv-class" = String, description = "`kept` or `cached`."),
                ("x-ultrakv-ttl-ms" = u64, description = "Milliseconds that are left; absent when there is no limit."),
            )),
        (status = 404, description = "There is no such entry.", content_type = "application/problem+json",
            body = inline(crate::problem::ProblemBody)),
    ),
)]
async fn get_entry(
    State(state): State<AppState>,
    Scope(domain): Scope,
    Name(name): Name,
    AnswerBy(deadline): AnswerBy,
) -> Result<Response, Problem> {
    let cluster = &state.cluster;
    let found = cluster
        .entry_get(&domain, name.as_bytes(), deadline)
        .await?;
    let EntryFound {
        value,
        version,
        class,
        ttl_ms,
    } = found.ok_or_else(|| {
        Problem::not_found("entry_missing", "there is no entry of that name").hint(
            "it was never written, was deleted, has expired or, if it is `cached`, was evicted",
        )
    })?;
    let mut response = value.into_response();
    let headers = response.headers_mut();
    let octets = HeaderValue::from_static("application/octet-stream");
    headers.insert(header::CONTENT_TYPE, octets);
    if let Some(tag) = tag(version) {
        headers.insert(header::ETAG, tag);
    }
    let class = match class {
        EntryClass::Kept => "kept",
        EntryClass::Cached => "cached",
    };
    headers.insert(CLASS, HeaderValue::from_static(class));
    if let Some(ttl_ms) = ttl_ms {
        headers.insert(TTL, HeaderValue::from(ttl_ms));
    }
    Ok(response)
}

/// Writes an entry.
///
/// `if-none-match: *` writes only where nothing is, `if-match: *` only where something is, `if-match: "VERSION"` only over that
/// version. An answer `outcome_unknown` means that the write may have been carried out: read before writing again.
#[utoipa::path(
    put,
    path = "/v1/kv/entries/{key}",
    tag = "entries",
    params(
        ("key" = String, Path, description = "The entry's name: 1 to 512 bytes of UTF-8, percent-encoded."),
        ("x-ultrakv-salt" = Option<String>, Header, description = "Separates names inside the service."),
        ("if-match" = Option<String>, Header, description = "`*`, or the version in quotes."),
        ("if-none-match" = Option<String>, Header, description = "`*`."),
        ("class" = inline(Option<Class>), Query, description = "`kept` (as when absent) is never evicted, `cached` may be."),
        ("ttl_ms" = Option<u64>, Query, description = "The entry is gone after this time; never when absent."),
    ),
    request_body(content = Vec<u8>, content_type = "application/octet-stream", description = "The value; it may be empty."),
    responses(
        (status = 200, description = "Written.", body = EntryPutAnswer,
            headers(("etag" = String, description = "The version, in quotes."))),
        (status = 412, description = "The condition does not hold; nothing changed. `etag` is the version that is stored.",
            content_type = "application/problem+json", body = inline(crate::problem::ProblemBody)),
        (status = 507, description = "The quota of entries is full of kept ones.",
            content_type = "application/problem+json", body = inline(crate::problem::ProblemBody)),
    ),
)]
async fn put_entry(
    State(state): State<AppState>,
    Scope(domain): Scope,
    Name(name): Name,
    AnswerBy(deadline): AnswerBy,
    Params(params): Params<PutParams>,
    (headers, body): (HeaderMap, Body),
) -> Result<Response, Problem> {
    let options = EntryOptions {
        class: params.class.unwrap_or_default().into(),
        ttl_ms: params.ttl_ms,
        only_if: condition(&headers)?,
    };
    let cluster = &state.cluster;
    let value = body.bytes.clone();
    let put = cluster.entry_put(&domain, name.as_bytes(), value, options, deadline);
    let version = put.await?;
    let mut response = axum::Json(EntryPutAnswer { version }).into_response();
    if let Some(tag) = tag(version) {
        response.headers_mut().insert(header::ETAG, tag);
    }
    Ok(response)
}

/// Deletes an entry.
#[utoipa::path(
    delete,
    path = "/v1/kv/entries/{key}",
    tag = "entries",
    params(
        ("key" = String, Path, description = "The entry's name: 1 to 512 bytes of UTF-8, percent-encoded."),
        ("x-ultrakv-salt" = Option<String>, Header, description = "Separates names inside the service."),
        ("if-match" = Option<String>, Header, description = "`*`, or the version in quotes."),
    ),
    responses(
        (status = 200, description = "It is gone, whether or not it was there.", body = EntryDeleteAnswer),
        (status = 412, description = "The condition does not hold; nothing changed. `etag` is the version that is stored.",
            content_type = "application/problem+json", body = inline(crate::problem::ProblemBody)),
    ),
)]
async fn delete_entry(
    State(state): State<AppState>,
    Scope(domain): Scope,
    Name(name): Name,
    AnswerBy(deadline): AnswerBy,
    headers: HeaderMap,
) -> Result<axum::Json<EntryDeleteAnswer>, Problem> {
    let only_if = condition(&headers)?;
    let cluster = &state.cluster;
    let delete = cluster.entry_delete(&domain, name.as_bytes(), only_if, deadline);
    Ok(axum::Json(EntryDeleteAnswer {
        deleted: delete.await?,
    }))
}

/// A version as an entity tag.
fn tag(version: u64) -> Option<HeaderValue> {
    HeaderValue::from_str(&format!("\"{version}\"")).ok()
}

/// What the request's headers demand. Lists and weak tags are refused: a version is one and exact.
fn condition(headers: &HeaderMap) -> Result<OnlyIf, Problem> {
    let given = |name: HeaderName| {
        let mut values = headers.get_all(&name).iter();
        match (values.next(), values.next()) {
            (None, _) => Ok(None),
            (Some(value), None) => Ok(Some(value.as_bytes())),
            (Some(_), Some(_)) => Err(condition_invalid(&name)),
        }
    };
    match (given(header::IF_MATCH)?, given(header::IF_NONE_MATCH)?) {
        (None, None) => Ok(OnlyIf::Always),
        (Some(b"*"), None) => Ok(OnlyIf::Present),
        (None, Some(b"*")) => Ok(OnlyIf::Absent),
        (Some(tag), None) => version(tag)
            .map(OnlyIf::Version)
            .ok_or_else(|| condition_invalid(&header::IF_MATCH)),
        (_, Some(_)) => Err(condition_invalid(&header::IF_NONE_MATCH)),
    }
}

/// The version that an entity tag names.
fn version(tag: &[u8]) -> Option<u64> {
    let digits = tag.strip_prefix(b"\"")?.strip_suffix(b"\"")?;
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

fn condition_invalid(name: &HeaderName) -> Problem {
    Problem::bad_request(
        "condition_invalid",
        "the condition is none that an entry can have",
    )
    .hint("send `if-match: \"VERSION\"`, `if-match: *` or `if-none-match: *`, and only one of them")
    .param(name.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn conditions_are_one_exact_tag_or_a_star() {
        let of = |pairs: &[(HeaderName, &'static str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in pairs {
                headers.append(name, HeaderValue::from_static(value));
            }
            condition(&headers).map_err(|problem| problem.code())
        };
        let (is, not) = (header::IF_MATCH, header::IF_NONE_MATCH);
        assert_eq!(of(&[]), Ok(OnlyIf::Always));
        assert_eq!(of(&[(is.clone(), "*")]), Ok(OnlyIf::Present));
        assert_eq!(of(&[(not.clone(), "*")]), Ok(OnlyIf::Absent));
        assert_eq!(of(&[(is.clone(), "\"7\"")]), Ok(OnlyIf::Version(7)));
        for wrong in [
            "7",
            "\"\"",
            "\"+7\"",
            "W/\"7\"",
            "\"7\", \"8\"",
            "\"99999999999999999999\"",
        ] {
            assert_eq!(
                of(&[(is.clone(), wrong)]),
                Err("condition_invalid"),
                "{wrong}"
            );
        }
        assert_eq!(of(&[(not.clone(), "\"7\"")]), Err("condition_invalid"));
        let twice = [(is.clone(), "\"7\""), (is.clone(), "\"8\"")];
        assert_eq!(of(&twice), Err("condition_invalid"));
        assert_eq!(of(&[(is, "*"), (not, "*")]), Err("condition_invalid"));
    }
}
