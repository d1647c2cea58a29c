//! Responsible for everything that a prefetcher is told and everything that it asks for. It must never know who tells, nor
//! how a block travels.

use super::source::Source;
use crate::event::{ArenaId, Ticket};
use crate::key::{BlockAddress, BlockKey};

/// A way to another holder of blocks: a node, or a slower tier of this one. Numbered by the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LinkId(pub u64);

/// A conversation, as a client names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct SessionName(pub u64);

/// Where a block is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Held {
    /// In the memory that requests are served from.
    Here,
    /// Elsewhere.
    There {
        /// How it would come.
        link: LinkId,
        /// What it takes.
        bytes: u64,
    },
    /// Nowhere that is known.
    Nowhere,
}

/// What became of a block that was to be fetched.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Landing {
    /// It is here now, and takes these bytes.
    Stored {
        /// Bytes that came.
        bytes: u64,
    },
    /// It came, and was here already.
    Known,
    /// It did not come, or found no room.
    Failed,
}

impl Landing {
    /// Bytes that were stored, if they were.
    pub(super) const fn stored_bytes(self) -> Option<u64> {
        match self {
            Self::Stored { bytes } => Some(bytes),
            Self::Known | Self::Failed => None,
        }
    }
}

/// What a client says of a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SessionHint {
    /// It goes on in about this time: a tool runs, a step of a plan follows.
    Due {
        /// Milliseconds from the event.
        ms: u64,
    },
    /// It does not go on.
    Over,
}

/// A request that has come, before it is served.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// Whose blocks.
    pub arena: ArenaId,
    /// The blocks it will ask for, from the root on.
    pub chain: Vec<BlockAddress>,
    /// Tokens of each; 0 where they cannot be computed again.
    pub block_tokens: u32,
    /// The conversation it belongs to, where its client says so. Otherwise a conversation is whatever continues a chain.
    pub session: Option<SessionName>,
}

/// Blocks that a request asks for, now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Demand {
    /// Whose blocks.
    pub arena: ArenaId,
    /// Which, in the order of their chain as far as the asker knows.
    pub blocks: Vec<BlockAddress>,
    /// Where each was found; what is missing at the end was found nowhere.
    pub found: Vec<Held>,
    /// Whether these are all that will be asked for. Otherwise this may be a piece of a chain that is read on.
    pub is_whole: bool,
}

/// Everything that can happen to a prefetcher.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PrefetchEvent {
    /// A request has come.
    Arrived(Arrival),
    /// Where the blocks of a [`PrefetchEffect::Locate`] are, in order; what is missing at the end is nowhere.
    Located {
        /// Of the effect.
        ticket: Ticket,
        /// Where each is.
        held: Vec<Held>,
    },
    /// Blocks are asked for.
    Demanded(Demand),
    /// What became of the blocks of a [`PrefetchEffect::Fetch`], in order; what is missing at the end failed.
    Landed {
        /// Of the effect.
        ticket: Ticket,
        /// What became of each.
        landings: Vec<Landing>,
        /// How long it took.
        elapsed_us: u64,
    },
    /// A block went to make room, whoever had brought it.
    Evicted {
        /// Which.
        key: BlockKey,
        /// What it took.
        bytes: u64,
    },
    /// So many tokens were computed, that many others before them in their text.
    Computed {
        /// Tokens.
        tokens: u32,
        /// Tokens before them.
        before: u64,
        /// How long it took.
        elapsed_us: u64,
    },
    /// A client says something of its conversation.
    Hinted {
        /// Whose.
        arena: ArenaId,
        /// Which.
        session: SessionName,
        /// What.
        hint: SessionHint,
    },
    /// All blocks of a domain are gone for good.
    Purged {
        /// Which.
        arena: ArenaId,
    },
    /// Time has passed. Sent now and then; sessions fall due and lapse by it.
    Tick,
}

/// A block to fetch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Its address.
    pub address: BlockAddress,
    /// The block before it in its chain, where that is known.
    pub parent: Option<BlockKey>,
}

/// Everything that a prefetcher asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PrefetchEffect {
    /// Say where these blocks are: [`PrefetchEvent::Located`]. Unanswered for ten seconds, it is void.
    Locate {
        /// To be named in the answer.
        ticket: Ticket,
        /// Whose blocks.
        arena: ArenaId,
        /// Which, in the order of their chain.
        blocks: Vec<BlockAddress>,
    },
    /// Fetch these blocks and store them here as copies that may go: [`PrefetchEvent::Landed`]. Unanswered for half a
    /// minute, all are taken to have failed.
    Fetch {
        /// To be named in the answer.
        ticket: Ticket,
        /// For what reason.
        source: Source,
        /// Whose blocks.
        arena: ArenaId,
        /// How they come.
        link: LinkId,
        /// Which, those nearer to the root first.
        blocks: Vec<Wanted>,
    },
}
