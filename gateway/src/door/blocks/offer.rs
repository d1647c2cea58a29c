//! A block as a client offers it, whichever route it comes by: checked, tied to its key, and what became of it.
//!
//! Knows nothing of HTTP beyond the problems it refuses with.

use axum::body::Bytes;
use serde::{Deserialize, Serialize};
use ultrakv_actors::{BlockPut, Domain, Stored};
use ultrakv_cache::{BlockHeader, BlockLayout, Pin};
use ultrakv_cluster::block::Ack;
use utoipa::ToSchema;
use xxhash_rust::xxh3::xxh3_64;

use super::name;
use crate::problem::Problem;

/// The most tokens a block may say it covers.
const TOKENS_MAX: u32 = 1 << 20;

/// A block as it is offered, by whichever route.
pub(super) struct Offer<'a> {
    pub(super) name: &'a [u8],
    pub(super) parent: Option<&'a [u8]>,
    pub(super) depth: u32,
    pub(super) tokens: u32,
    pub(super) checksum: Option<u64>,
    pub(super) payload: Bytes,
    pub(super) pin: PinWish,
    pub(super) ttl_ms: Option<u64>,
}

impl Offer<'_> {
    /// Checks what was offered and ties it to its key.
    pub(super) fn seal(self, domain: &Domain) -> Result<BlockPut, Problem> {
        if self.payload.is_empty() {
            return Err(
                Problem::bad_request("block_empty", "a block has at least one byte")
                    .hint("send the block's bytes as the body"),
            );
        }
        if self.tokens > TOKENS_MAX {
            let told = format!("a block covers at most {TOKENS_MAX} tokens");
            return Err(Problem::bad_request("tokens_invalid", told)
                .hint("send the number of tokens of this one block")
                .param("tokens"));
        }
        if self
            .checksum
            .is_some_and(|checksum| checksum != xxh3_64(&self.payload))
        {
            return Err(checksum_mismatch());
        }
        let address = name::address(domain, self.name);
        let header = BlockHeader::seal(
            BlockLayout::OPAQUE,
            self.tokens,
            &address.key,
            &self.payload,
        );
        Ok(BlockPut {
            address,
            parent: self.parent.map(|parent| name::key(domain, parent)),
            depth: self.depth,
            header,
            payload: self.payload,
            pin: match self.pin {
                PinWish::None => Pin::None,
                PinWish::Soft => Pin::Soft,
            },
            ttl_ms: self.ttl_ms,
        })
    }
}

/// How firmly a client may pin. Hard pins are an operator's.
#[derive(Debug, Clone, Copy, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum PinWish {
    None,
    Soft,
}

/// When a client wants the answer to what it stores.
#[derive(Debug, Clone, Copy, Default, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum AckWish {
    /// As soon as one node has the block; further copies follow.
    #[default]
    One,
    /// When every wanted copy was tried; the answer's `copies` says how many there are.
    All,
    /// When one node has it and the cluster has agreed on where it is, so that every node finds it.
    Committed,
}

impl From<AckWish> for Ack {
    fn from(wish: AckWish) -> Self {
        match wish {
            AckWish::One => Self::One,
            AckWish::All => Self::All,
            AckWish::Committed => Self::Committed,
        }
    }
}

/// What became of a block that was offered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum PutOutcome {
    /// It is stored and can be read.
    Stored,
    /// The name was taken already; what is stored stays.
    Known,
    /// The cache chose not to take it; nothing is wrong with it.
    NotAdmitted,
}

/// The answer to a stored block.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct PutAnswer {
    /// Whether the name can be read now.
    pub(super) stored: bool,
    /// What became of the offer.
    pub(super) outcome: PutOutcome,
    /// Nodes known to hold the block when this was answered, when this request stored it: with `ack=all`, all of them.
    pub(super) copies: Option<u32>,
}

impl From<Stored> for PutAnswer {
    fn from(stored: Stored) -> Self {
        let (outcome, copies) = match stored {
            Stored::Copies(copies) => (PutOutcome::Stored, Some(copies)),
            Stored::Known => (PutOutcome::Known, None),
            Stored::NotAdmitted => (PutOutcome::NotAdmitted, None),
        };
        Self {
            stored: outcome != PutOutcome::NotAdmitted,
            outcome,
            copies,
        }
    }
}

fn checksum_mismatch() -> Problem {
    Problem::bad_request(
        "checksum_mismatch",
        "the bytes that arrived do not have the sent checksum",
    )
    .hint("send the block again; if it persists, compare the client's XXH3-64 with ours")
    .documented_as("E004")
}
