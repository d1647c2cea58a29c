//! Responsible for everything that can happen to a shard: the input half of its contract.
//! It must never know who sends an event, nor how answers travel back.

use crate::block::BlockHeader;
use crate::budget::Budget;
use crate::key::BlockKey;

/// The caller's number for a question. Every event that carries one is answered by exactly one effect that carries it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Ticket(pub u64);

/// One domain's arena on one shard. Numbered by the caller.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ArenaId(pub u32);

/// A claim on blocks, ended by [`Event::Release`] or by its term.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LeaseId(pub u64);

/// Pages that a writer may fill, ended by [`Event::Commit`], [`Event::Abort`] or by its term.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReservationId(pub u64);

/// How long a lease or a reservation holds its pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Term {
    /// Until it is released, however long that takes. The only safe term for whoever touches the pages themselves: time
    /// cannot tell whether a mapping is still read. The holder must guarantee the release, by a drop guard or by its
    /// connection's end.
    Held,
    /// For this many milliseconds, or until released. For claims whose holder reads only through further events, such as
    /// "these blocks exist, and will for a second". Longer than the shard allows is cut to what it allows.
    Timed {
        /// Milliseconds from the event.
        ms: u32,
    },
}

/// An operator's promise about a block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Pin {
    /// None: evicted in its turn.
    #[default]
    None,
    /// Evicted only when nothing unpinned can be.
    Soft,
    /// Never evicted; counted against a quota.
    Hard,
}

/// How long a new block is to stay.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Retain {
    /// Promise to start with.
    pub pin: Pin,
    /// Milliseconds after which it is gone; `None` for no such limit. A block never outlives the parent it is stored
    /// under: without it no prefix reaches it.
    pub ttl_ms: Option<u64>,
}

/// A block that a writer wants to fill.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ReserveBlock {
    /// Its key.
    pub key: BlockKey,
    /// The first block of its run; itself where it is that one, or stands alone.
    pub run: BlockKey,
    /// The block before it in its chain. Only the declared parent is ever taken for one.
    pub parent: Option<BlockKey>,
    /// Blocks before it in its chain, as far as its writer knows; 0 when it does not. A parent that is here knows better.
    pub depth: u32,
    /// The arena its pages come from.
    pub arena: ArenaId,
    /// Its header; `payload_bytes` decides the pages.
    pub header: BlockHeader,
    /// How long it is to stay once committed.
    pub retain: Retain,
    /// How long the reservation may stay open.
    pub term: Term,
}

/// A part of the list of everything that a shard holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListPage {
    /// Where to go on: 0, then what the last answer said.
    pub from: u32,
    /// Blocks at most.
    pub blocks_max: u32,
}

/// Everything that can happen to a shard.
#[derive(Clone, Debug, PartialEq)]
pub enum Event {
    /// How many leading blocks of `chain` are here. Answered by `Matched`.
    Match {
        /// Caller's number.
        ticket: Ticket,
        /// Consecutive blocks of one chain, or several such pieces one after another.
        chain: Vec<BlockKey>,
        /// With a term, the matched blocks are leased together.
        lease: Option<Term>,
    },
    /// Lend each of `keys`. Answered by `Lent`.
    Get {
        /// Caller's number.
        ticket: Ticket,
        /// Blocks wanted.
        keys: Vec<BlockKey>,
        /// Lend only the leading run: stop at the first block that is absent.
        leading_only: bool,
        /// Term of each block's lease.
        term: Term,
    },
    /// Give pages to fill. Answered by `Reserved`, `Known`, `NotAdmitted` or `Refused`.
    Reserve {
        /// Caller's number.
        ticket: Ticket,
        /// The block.
        block: Box<ReserveBlock>,
    },
    /// The reserved pages are filled: make the block visible. Answered by `Stored`, `Known` or `Refused`.
    Commit {
        /// Caller's number.
        ticket: Ticket,
        /// What was reserved.
        reservation: ReservationId,
    },
    /// The reserved pages will not be filled. Unknown numbers are ignored.
    Abort {
        /// What was reserved.
        reservation: ReservationId,
    },
    /// A lease ends. Unknown numbers are ignored.
    Release {
        /// What was lent.
        lease: LeaseId,
    },
    /// The deepest of these blocks was used elsewhere (a request served from a copy); its ancestors count with it.
    Touch {
        /// Blocks used.
        keys: Vec<BlockKey>,
    },
    /// The deepest of these blocks is expected to be used again in about this time: a tool runs, a step of a plan follows. A
    /// hint, never a promise, and taken by the adaptive policy only.
    Expect {
        /// Blocks meant.
        keys: Vec<BlockKey>,
        /// Milliseconds from the event.
        ms: u64,
    },
    /// Change the pins of blocks. Answered by `Pinned`.
    Pin {
        /// Caller's number.
        ticket: Ticket,
        /// Blocks meant.
        keys: Vec<BlockKey>,
        /// New pin.
        pin: Pin,
    },
    /// Remove blocks, whatever their pins. Leased pages are freed by the last release. Answered by `Removed`.
    Remove {
        /// Caller's number.
        ticket: Ticket,
        /// Blocks meant.
        keys: Vec<BlockKey>,
    },
    /// Remove all blocks of a domain, and its open reservations' right to commit. Answered by `Purged`.
    Purge {
        /// Caller's number.
        ticket: Ticket,
        /// The domain.
        arena: ArenaId,
    },
    /// Free room ahead of need. Answered by `Evicted`.
    Evict {
        /// Caller's number.
        ticket: Ticket,
        /// Stop when this many bytes are free again.
        bytes_goal: u64,
        /// and this many tokens.
        tokens_goal: u64,
        /// Victims at most.
        batch_max: u32,
    },
    /// What is here, from a number on. Answered by `Listed`.
    List {
        /// Caller's number.
        ticket: Ticket,
        /// Which part.
        page: ListPage,
    },
    /// Time has passed. Sent now and then; makes expiry and purges go on without other events.
    Tick,
    /// New limits. Answered by `Resized`.
    Resize {
        /// Caller's number.
        ticket: Ticket,
        /// New limits.
        budget: Budget,
    },
}
