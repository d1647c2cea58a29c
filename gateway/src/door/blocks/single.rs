//! One block at a time, as an octet stream: read whole or in part, stored, dropped.

use axum::extract::State;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use ultrakv_actors::LeasedBlock;
use utoipa::ToSchema;
use xxhash_rust::xxh3::xxh3_64;

use super::is_intact;
use super::offer::{AckWish, Offer, PinWish, PutAnswer, PutOutcome};
use super::range::{self, Wanted};
use crate::door::name::{self, Target};
use crate::extract::{Body, Params};
use crate::limits::AnswerBy;
use crate::problem::Problem;
use crate::state::AppState;

/// XXH3-64 of the payload, as 16 hexadecimal digits.
const CHECKSUM: HeaderName = HeaderName::from_static("x-ultrakv-checksum");

/// Tokens the block covers.
const TOKENS: HeaderName = HeaderName::from_static("x-ultrakv-tokens");

/// How a block is to be kept.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PutParams {
    /// Tokens the block covers, counted against the token budget; the node's block size when absent.
    tokens: Option<u32>,
    /// The name of the block before this one in its chain, so that chains are evicted from their ends.
    parent: Option<String>,
    /// Blocks before this one in its chain: deeper ones cost more to compute again.
    depth: Option<u32>,
    /// `soft`: among the last to be evicted.
    pin: Option<PinWish>,
    /// The block is dropped after this time.
    ttl_ms: Option<u64>,
    /// When to answer.
    ack: Option<AckWish>,
}

/// The answer to a removal.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct DeleteAnswer {
    /// Whether there was such a block.
    removed: bool,
}

/// A block's bytes.
///
/// One range of bytes may be asked for with `range`; the checksum is always that of the whole block.
#[utoipa::path(
    get,
    path = "/v1/kv/blocks/{key}",
    tag = "blocks",
    params(
        ("key" = String, Path, description = "The block's name: 1 to 512 bytes of UTF-8, percent-encoded."),
        ("range" = Option<String>, Header, description = "One range of bytes."),
        ("x-ultrakv-salt" = Option<String>, Header, description = "Separates names inside the service."),
    ),
    responses(
        (status = 200, description = "The whole block.", content_type = "application/octet-stream", body = Vec<u8>,
            headers(
                ("x-ultrakv-tokens" = u32, description = "Tokens the block covers."),
                ("x-ultrakv-checksum" = String, description = "XXH3-64 of the whole block, 16 hexadecimal digits."),
            )),
        (status = 206, description = "The asked part of it.", content_type = "application/octet-stream", body = Vec<u8>),
        (status = 404, description = "No such block: a miss.", content_type = "application/problem+json",
            body = inline(crate::problem::ProblemBody)),
        (status = 416, description = "The block does not have the asked bytes.", content_type = "application/problem+json",
            body = inline(crate::problem::ProblemBody)),
    ),
)]
pub(super) async fn get_block(
    State(state): State<AppState>,
    target: Target,
    AnswerBy(deadline): AnswerBy,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let Target {
        domain, address, ..
    } = target;
    let mut found = state.cluster.get(&domain, &[address], deadline).await?;
    let block = found
        .pop()
        .flatten()
        .filter(|block| is_intact(&address.key, block));
    let block = block.ok_or_else(block_missing)?;
    let range = headers
        .get(header::RANGE)
        .and_then(|value| value.to_str().ok());
    answer_block(&block, range)
}

fn answer_block(block: &LeasedBlock, range: Option<&str>) -> Result<Response, Problem> {
    let length = block.payload.len();
    let (status, payload, content_range) = match range::wanted(range, length) {
        Wanted::Whole => (StatusCode::OK, block.payload.clone(), None),
        Wanted::Part(part) => {
            let told = format!(
                "bytes {}-{}/{length}",
                part.start,
                part.end.saturating_sub(1)
            );
            (
                StatusCode::PARTIAL_CONTENT,
                block.payload.slice(part),
                Some(told),
            )
        }
        Wanted::Unsatisfiable => {
            let told = format!("the block has {length} bytes");
            let size = HeaderValue::from_str(&format!("bytes */{length}"));
            return Err(Problem::new(
                StatusCode::RANGE_NOT_SATISFIABLE,
                "range_unsatisfiable",
                told,
            )
            .hint("ask for bytes that the block has")
            .header(
                header::CONTENT_RANGE,
                size.unwrap_or(HeaderValue::from_static("bytes */*")),
            ));
        }
    };
    let checksum = format!("{:016x}", xxh3_64(&block.payload));
    let mut response = (status, payload).into_response();
    let headers = response.headers_mut();
    headers.insert(
        header::CONTENT_TYPE,
        HeaderValue::from_static("application/octet-stream"),
    );
    headers.insert(header::ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(TOKENS, HeaderValue::from(block.header.tokens));
    for (name, value) in [
        (CHECKSUM, Some(checksum)),
        (header::CONTENT_RANGE, content_range),
    ] {
        if let Some(value) = value.and_then(|value| HeaderValue::from_str(&value).ok()) {
            headers.insert(name, value);
        }
    }
    Ok(response)
}

/// Stores a block under a name.
///
/// The first to store a name decides what it holds: storing it again changes nothing and answers `known`.
#[utoipa::path(
    put,
    path = "/v1/kv/blocks/{key}",
    tag = "blocks",
    params(
        ("key" = String, Path, description = "The block's name: 1 to 512 bytes of UTF-8, percent-encoded."),
        ("x-ultrakv-checksum" = Option<String>, Header,
            description = "XXH3-64 of the body, 16 hexadecimal digits; verified when sent."),
        ("x-ultrakv-salt" = Option<String>, Header, description = "Separates names inside the service."),
        ("tokens" = Option<u32>, Query, maximum = 1_048_576,
            description = "Tokens the block covers, counted against the token budget; the node's block size when absent."),
        ("parent" = Option<String>, Query,
            description = "The name of the block before this one in its chain, so that chains are evicted from their ends."),
        ("depth" = Option<u32>, Query,
            description = "Blocks before this one in its chain: deeper ones cost more to compute again. 0 when absent."),
        ("pin" = inline(Option<PinWish>), Query, description = "`soft`: among the last to be evicted."),
        ("ttl_ms" = Option<u64>, Query, description = "The block is dropped after this time."),
        ("ack" = inline(Option<AckWish>), Query, description = "When to answer: `one` (default) as soon as one node has the block, \
            `all` when every wanted copy was tried, `committed` when the cluster has agreed on where it is, so that every node finds it."),
    ),
    request_body(content = Vec<u8>, content_type = "application/octet-stream", description = "The block's bytes, at least one."),
    responses(
        (status = 201, description = "Stored by this request.", body = PutAnswer),
        (status = 200, description = "Not stored by this request; `outcome` says why.", body = PutAnswer),
        (status = 507, description = "No room: everything else is leased or pinned.",
            content_type = "application/problem+json", body = inline(crate::problem::ProblemBody)),
    ),
)]
pub(super) async fn put_block(
    State(state): State<AppState>,
    target: Target,
    AnswerBy(deadline): AnswerBy,
    Params(params): Params<PutParams>,
    headers: HeaderMap,
    body: Body,
) -> Result<Response, Problem> {
    let checksum = headers.get(CHECKSUM).map(parse_checksum).transpose()?;
    if let Some(parent) = &params.parent {
        name::check(parent.as_bytes(), "parent")?;
    }
    let offer = Offer {
        name: target.name.as_bytes(),
        parent: params.parent.as_deref().map(str::as_bytes),
        depth: params.depth.unwrap_or(0),
        tokens: params.tokens.unwrap_or(state.settings.cache.block_tokens),
        checksum,
        payload: body.bytes.clone(),
        pin: params.pin.unwrap_or(PinWish::None),
        ttl_ms: params.ttl_ms,
    };
    let put = offer.seal(&target.domain)?;
    let ack = params.ack.unwrap_or_default().into();
    let stored = state
        .cluster
        .put_with(&target.domain, put, ack, deadline)
        .await?;
    let answer = PutAnswer::from(stored);
    let status = match answer.outcome {
        PutOutcome::Stored => StatusCode::CREATED,
        PutOutcome::Known | PutOutcome::NotAdmitted => StatusCode::OK,
    };
    Ok((status, axum::Json(answer)).into_response())
}

/// Drops a block. Readers that have it on lease keep it until they are done.
#[utoipa::path(
    delete,
    path = "/v1/kv/blocks/{key}",
    tag = "blocks",
    params(
        ("key" = String, Path, description = "The block's name: 1 to 512 bytes of UTF-8, percent-encoded."),
        ("x-ultrakv-salt" = Option<String>, Header, description = "Separates names inside the service."),
    ),
    responses((status = 200, description = "It is gone, whether or not it was there.", body = DeleteAnswer)),
)]
pub(super) async fn delete_block(
    State(state): State<AppState>,
    target: Target,
    AnswerBy(deadline): AnswerBy,
) -> Result<axum::Json<DeleteAnswer>, Problem> {
    let Target {
        domain, address, ..
    } = target;
    let removed = state.cluster.remove(&domain, &[address], deadline).await?;
    Ok(axum::Json(DeleteAnswer {
        removed: removed > 0,
    }))
}

fn parse_checksum(value: &HeaderValue) -> Result<u64, Problem> {
    let digits = value.to_str().ok().filter(|digits| digits.len() == 16);
    let parsed = digits.and_then(|digits| u64::from_str_radix(digits, 16).ok());
    parsed.ok_or_else(|| {
        Problem::bad_request(
            "checksum_invalid",
            "the checksum is not 16 hexadecimal digits",
        )
        .hint("send XXH3-64 of the body as 16 hexadecimal digits, or no checksum")
        .param(CHECKSUM.as_str())
    })
}

fn block_missing() -> Problem {
    Problem::not_found("block_missing", "no block of that name is cached")
        .hint("a miss is normal: compute the block, and store it for the next time")
        .documented_as("E002")
}
