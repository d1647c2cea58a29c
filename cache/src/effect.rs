//! Responsible for everything a shard asks of its caller: answers, and pages to give back. The output half of its contract.
//! It must never know how an effect is carried out.
//!
//! Effects are carried out in order and before the next event: a `Discard` that stands before a `Reserved` frees the memory
//! that the reservation will fill.

use thiserror::Error;

use crate::arena::{Extents, PageRange};
use crate::block::BlockHeader;
use crate::codec::Codec;
use crate::event::{ArenaId, LeaseId, Pin, ReservationId, Ticket};
use crate::key::BlockKey;

/// A block lent to a reader.
#[derive(Clone, Debug, PartialEq)]
pub struct Lent {
    /// The claim; release it when the last reader is done.
    pub lease: LeaseId,
    /// Its header.
    pub header: BlockHeader,
    /// The arena its pages are in.
    pub arena: ArenaId,
    /// Milliseconds it has left, `None` for no limit.
    pub ttl_ms: Option<u64>,
    /// Its pages, in payload order; the last one is filled only up to `header.payload_bytes`.
    pub extents: Extents,
}

/// A block as it is listed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Listed {
    /// The block.
    pub key: BlockKey,
    /// The slot of its run's head.
    pub slot: u16,
    /// The head of its run; `None` when the blocks between are not here.
    pub run: Option<BlockKey>,
    /// The block before it, when that is here and linked.
    pub parent: Option<BlockKey>,
    /// Blocks before it in its chain, as far as it was told.
    pub depth: u16,
    /// The arena that it lies in.
    pub arena: ArenaId,
    /// Its pin.
    pub pin: Pin,
    /// Milliseconds it has left, `None` for no limit.
    pub ttl_ms: Option<u64>,
    /// Bytes of its payload.
    pub payload_bytes: u64,
    /// How its payload is encoded.
    pub codec: Codec,
}

/// What became of one key of a pin request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PinOutcome {
    /// The block has the pin asked for.
    Done,
    /// There is no such block.
    Absent,
    /// The quota of hard pins is full; the block keeps the pin it had.
    QuotaFull,
}

/// Why a block was not stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum PutRefusal {
    /// It could not fit into an empty shard.
    #[error("the block is larger than the whole budget")]
    TooLarge,
    /// Everything that could make room is leased, pinned or reserved.
    #[error("no room: everything is leased, pinned or reserved")]
    NoRoom,
    /// It was to be hard-pinned and that quota is full.
    #[error("the quota of hard pins is full")]
    PinQuota,
    /// Its header contradicts itself.
    #[error("the header's length, tokens and layout disagree")]
    Malformed,
    /// The reservation is unknown, expired, or its domain was purged.
    #[error("the reservation is gone")]
    Gone,
}

impl PutRefusal {
    /// A stable code for logs and answers.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::TooLarge => "block_too_large",
            Self::NoRoom => "no_room",
            Self::PinQuota => "pin_quota",
            Self::Malformed => "block_malformed",
            Self::Gone => "reservation_gone",
        }
    }

    /// What to do about it.
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::TooLarge => "raise the budget of bytes or tokens, or store smaller blocks",
            Self::NoRoom => "release leases or pins, or retry after other requests have ended",
            Self::PinQuota => "unpin other blocks, use a soft pin, or raise the quota",
            Self::Malformed => "send a payload whose length is what the layout and tokens ask for",
            Self::Gone => "reserve again and commit within the term",
        }
    }
}

/// Everything a shard asks of its caller.
#[derive(Clone, Debug, PartialEq)]
pub enum Effect {
    /// Answers `Match`.
    Matched {
        /// Caller's number.
        ticket: Ticket,
        /// Leading blocks that are here.
        blocks: usize,
        /// Claim on all of them, when one was asked for and `blocks` is not zero.
        lease: Option<LeaseId>,
    },
    /// Answers `Get`: one place a key, in order.
    Lent {
        /// Caller's number.
        ticket: Ticket,
        /// What was lent.
        blocks: Vec<Option<Lent>>,
    },
    /// Answers `Reserve`: pages to fill, then `Commit` or `Abort`.
    Reserved {
        /// Caller's number.
        ticket: Ticket,
        /// What to commit or abort.
        reservation: ReservationId,
        /// Arena of the pages.
        arena: ArenaId,
        /// The pages, in payload order.
        extents: Extents,
    },
    /// Answers `Commit`: visible now.
    Stored {
        /// Caller's number.
        ticket: Ticket,
    },
    /// Answers `Reserve` or `Commit`: somebody was first; equal keys mean equal values, so nothing is lost.
    Known {
        /// Caller's number.
        ticket: Ticket,
    },
    /// Answers `Reserve`: not wanted here now. Not an error.
    NotAdmitted {
        /// Caller's number.
        ticket: Ticket,
    },
    /// Answers `Reserve` or `Commit`: not stored.
    Refused {
        /// Caller's number.
        ticket: Ticket,
        /// Why.
        why: PutRefusal,
    },
    /// Answers `Pin`: one outcome a key, in order.
    Pinned {
        /// Caller's number.
        ticket: Ticket,
        /// What became of each.
        outcomes: Vec<PinOutcome>,
    },
    /// Answers `Remove`.
    Removed {
        /// Caller's number.
        ticket: Ticket,
        /// Blocks that were here.
        blocks: u32,
    },
    /// Answers `Purge`: nothing of the domain can be reached any more; its pages follow as leases end.
    Purged {
        /// Caller's number.
        ticket: Ticket,
        /// Blocks that were visible.
        blocks: u64,
    },
    /// Answers `Evict`.
    Evicted {
        /// Caller's number.
        ticket: Ticket,
        /// Victims.
        blocks: u32,
        /// Bytes they held.
        bytes: u64,
        /// Tokens they held.
        tokens: u64,
        /// Whether asking again may free more.
        more: bool,
    },
    /// Answers `List`.
    Listed {
        /// Caller's number.
        ticket: Ticket,
        /// Blocks that are here and can be read.
        blocks: Vec<Listed>,
        /// Where to go on; `None` at the end.
        next: Option<u32>,
    },
    /// Answers `Resize`.
    Resized {
        /// Caller's number.
        ticket: Ticket,
        /// Whether the new limits hold. If not, what is leased, pinned or reserved exceeds them and the old ones hold; the
        /// rest was evicted, so asking again after releases will do.
        applied: bool,
    },
    /// Where [`crate::ShardConfig::tells_changes`]: a block became visible, after nobody had seen it.
    Appeared {
        /// The block.
        key: BlockKey,
        /// The first block of its run, as its writer said.
        run: BlockKey,
        /// How its payload is encoded.
        codec: Codec,
    },
    /// Where [`crate::ShardConfig::tells_changes`]: a block that had appeared is here no more.
    Vanished {
        /// The block.
        key: BlockKey,
        /// The slot of the head of its run.
        slot: u16,
    },
    /// Give the physical memory of these free pages back (punch a hole). Their next use starts from zeros.
    Discard {
        /// Arena of the pages.
        arena: ArenaId,
        /// The pages.
        pages: PageRange,
    },
    /// Nothing is left in this arena and the shard has forgotten it: unmap it. A later `Reserved` naming it means a fresh one.
    ArenaClosed {
        /// The arena.
        arena: ArenaId,
    },
    /// The high watermark was crossed: evict this much to reach the low one.
    Pressure {
        /// Bytes above the low watermark.
        bytes_over: u64,
        /// Tokens above it.
        tokens_over: u64,
    },
}
