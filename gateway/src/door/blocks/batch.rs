//! Many blocks in one request, each with its own fate: partial success is normal.

use std::collections::{BTreeSet, VecDeque};
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Body as AnswerBody, Bytes, HttpBody};
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::Response;
use hyper::body::{Frame, SizeHint};
use serde::{Deserialize, Serialize};
use ultrakv_actors::clock::Deadline;
use ultrakv_actors::{Domain, LeasedBlock};
use ultrakv_cluster::block::Ack;
use utoipa::ToSchema;
use xxhash_rust::xxh3::xxh3_64;

use super::frame::{FRAMES, Offered, decode, found_head, missing};
use super::offer::{AckWish, Offer, PinWish, PutAnswer, PutOutcome};
use super::{BATCH_BLOCKS_MAX, KeysBody, addresses, check_batch, is_intact, name};
use crate::door::name::Scope;
use crate::extract::{Body, Json, Params};
use crate::limits::AnswerBy;
use crate::problem::Problem;
use crate::state::AppState;

/// How the blocks of a batch are to be kept.
#[derive(Debug, Clone, Copy, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct PutBatchParams {
    /// When a block counts as stored.
    ack: Option<AckWish>,
}

/// What became of one offered block.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PutResult {
    /// Whether the name can be read now.
    stored: bool,
    /// What became of the offer, when it was not refused.
    outcome: Option<PutOutcome>,
    /// The stable code of the refusal.
    #[schema(example = "no_room")]
    code: Option<String>,
    /// What was wrong.
    detail: Option<String>,
}

/// What became of each offered block, in order.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PutBlocksAnswer {
    /// How many of the names can be read now.
    stored: usize,
    /// One result for each frame.
    results: Vec<PutResult>,
}

/// The blocks of these names, as frames in the order of the keys.
///
/// Each frame is `status u8 (1 found, 0 missing) · 0 u8 · 0 u16 · tokens u32 · length u64 · checksum u64 · payload`, numbers
/// little-endian, the checksum XXH3-64 of the payload.
#[utoipa::path(
    post,
    path = "/v1/kv/get",
    tag = "blocks",
    params(("x-ultrakv-salt" = Option<String>, Header, description = "Separates names inside the service.")),
    request_body = KeysBody,
    responses((status = 200, description = "One frame for each key.", content_type = "application/vnd.ultrakv.blocks",
        body = Vec<u8>)),
)]
pub(super) async fn get_blocks(
    State(state): State<AppState>,
    Scope(domain): Scope,
    AnswerBy(deadline): AnswerBy,
    Json(body): Json<KeysBody>,
) -> Result<Response, Problem> {
    check_batch(&body.keys)?;
    check_distinct(&body.keys)?;
    let addresses = addresses(&domain, &body.keys);
    let found = state.cluster.get(&domain, &addresses, deadline).await?;
    let mut pieces = Pieces::default();
    for (address, block) in addresses.iter().zip(found) {
        pieces.push(block.filter(|block| is_intact(&address.key, block)));
        // Hashing a batch of large blocks takes seconds, which others, and this request's own deadline, must not wait for.
        tokio::task::yield_now().await;
    }
    let mut response = Response::new(AnswerBody::new(pieces));
    response
        .headers_mut()
        .insert(header::CONTENT_TYPE, HeaderValue::from_static(FRAMES));
    Ok(response)
}

/// Refuses a name that stands twice: without this a short request could ask for a thousand times what the cache holds.
fn check_distinct(keys: &[String]) -> Result<(), Problem> {
    let mut seen = BTreeSet::new();
    match keys.iter().position(|key| !seen.insert(key)) {
        None => Ok(()),
        Some(index) => {
            let told = format!("keys[{index}] stands in this batch already");
            Err(Problem::bad_request("batch_repeats", told)
                .hint("ask for each block once")
                .param("keys"))
        }
    }
}

/// Stores blocks that come as frames.
///
/// Each frame is `flags u16 · name u16 · parent u16 · 0 u16 · tokens u32 · depth u32 · length u64 · checksum u64 · name · parent ·
/// payload`, numbers little-endian; flag 1 says that the checksum (XXH3-64 of the payload) counts, flag 2 that there is a parent.
/// `depth` is how many blocks come before this one in its chain, 0 where that is not known.
/// Blocks are stored in order, so a parent may come in the same body.
#[utoipa::path(
    post,
    path = "/v1/kv/put",
    tag = "blocks",
    params(
        ("x-ultrakv-salt" = Option<String>, Header, description = "Separates names inside the service."),
        ("ack" = inline(Option<AckWish>), Query, description = "When each block counts as stored: `one` (default) as soon as one node \
            has it, `all` when every wanted copy was tried, `committed` when the cluster has agreed on where it is."),
    ),
    request_body(content = Vec<u8>, content_type = "application/vnd.ultrakv.blocks", description = "At most 1 024 frames."),
    responses((status = 200, description = "One result for each frame.", body = PutBlocksAnswer)),
)]
pub(super) async fn put_blocks(
    State(state): State<AppState>,
    Scope(domain): Scope,
    AnswerBy(deadline): AnswerBy,
    Params(params): Params<PutBatchParams>,
    headers: HeaderMap,
    body: Body,
) -> Result<axum::Json<PutBlocksAnswer>, Problem> {
    let content_type = headers.get(header::CONTENT_TYPE).map(HeaderValue::as_bytes);
    if content_type != Some(FRAMES.as_bytes()) {
        let told = "this route reads a body of frames";
        return Err(
            Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "not_frames", told)
                .hint(format!("send the header content-type: {FRAMES}")),
        );
    }
    let frames = decode(body.bytes.clone(), BATCH_BLOCKS_MAX).map_err(|error| {
        Problem::bad_request("frames_invalid", error.to_string())
            .hint("see /docs for the framing of this route")
    })?;
    let ack = params.ack.unwrap_or_default().into();
    let mut results = Vec::with_capacity(frames.len());
    for offered in frames {
        let outcome = put_one(&state, &domain, offered, ack, deadline).await;
        results.push(PutResult::from(outcome));
    }
    let stored = results.iter().filter(|result| result.stored).count();
    Ok(axum::Json(PutBlocksAnswer { stored, results }))
}

async fn put_one(
    state: &AppState,
    domain: &Domain,
    offered: Offered,
    ack: Ack,
    deadline: Deadline,
) -> Result<PutAnswer, Problem> {
    name::check(&offered.name, "name")?;
    if let Some(parent) = &offered.parent {
        name::check(parent, "parent")?;
    }
    let offer = Offer {
        name: &offered.name,
        parent: offered.parent.as_deref(),
        depth: offered.depth,
        tokens: offered.tokens,
        checksum: offered.checksum,
        payload: offered.payload,
        pin: PinWish::None,
        ttl_ms: None,
    };
    let put = offer.seal(domain)?;
    Ok(PutAnswer::from(
        state.cluster.put_with(domain, put, ack, deadline).await?,
    ))
}

impl From<Result<PutAnswer, Problem>> for PutResult {
    fn from(outcome: Result<PutAnswer, Problem>) -> Self {
        match outcome {
            Ok(answer) => Self {
                stored: answer.stored,
                outcome: Some(answer.outcome),
                code: None,
                detail: None,
            },
            Err(problem) => Self {
                stored: false,
                outcome: None,
                code: Some(problem.code().to_owned()),
                detail: Some(problem.detail().to_owned()),
            },
        }
    }
}

/// An answer in pieces that lie where they are: nothing is copied into one buffer, and the length is known in advance.
#[derive(Default)]
struct Pieces {
    pieces: VecDeque<Bytes>,
    left_bytes: u64,
}

impl Pieces {
    fn push(&mut self, block: Option<LeasedBlock>) {
        let Some(block) = block else {
            self.push_bytes(missing());
            return;
        };
        let length = u64::try_from(block.payload.len()).unwrap_or(u64::MAX);
        let checksum = xxh3_64(&block.payload);
        self.push_bytes(found_head(block.header.tokens, length, checksum));
        self.push_bytes(block.payload);
    }

    fn push_bytes(&mut self, piece: Bytes) {
        let bytes = u64::try_from(piece.len()).unwrap_or(u64::MAX);
        self.left_bytes = self.left_bytes.saturating_add(bytes);
        self.pieces.push_back(piece);
    }
}

impl HttpBody for Pieces {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let Some(piece) = self.pieces.pop_front() else {
            return Poll::Ready(None);
        };
        let bytes = u64::try_from(piece.len()).unwrap_or(u64::MAX);
        self.left_bytes = self.left_bytes.saturating_sub(bytes);
        Poll::Ready(Some(Ok(Frame::data(piece))))
    }

    fn is_end_stream(&self) -> bool {
        self.pieces.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left_bytes)
    }
}
