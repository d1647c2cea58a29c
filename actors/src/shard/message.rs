//! What a shard is asked, and what it hands out.
//!
//! Payload never travels in a message: a reader is lent pages, a writer is given pages to fill. It
//! must never know how a question is answered.

use tokio::sync::oneshot;
use ultrakv_cache::{
    ArenaId, BlockKey, Listed, Pin, PinOutcome, PutRefusal, ReservationId, ReserveBlock, Standing,
};

use super::lease::{LentBlock, Reservation};
use super::report::{PolicyReport, ShardReport};
use crate::clock::Deadline;
use crate::handle::Permit;
use crate::{BootId, RequestError};

/// A question, until when it is worth answering, where to, and the right to wait.
pub(crate) struct Ask<Q, A> {
    pub(crate) question: Q,
    pub(crate) deadline: Deadline,
    pub(crate) permit: Permit,
    pub(crate) reply: oneshot::Sender<Result<A, RequestError>>,
}

/// What a shard is told. Questions come through the gate, whose permit they carry; the rest is
/// bounded as is noted.
pub(crate) enum ShardMsg {
    /// How many leading blocks are here?
    Match(Ask<Vec<BlockKey>, usize>),
    /// Lend blocks.
    Get(Ask<Wanted, Vec<Option<LentBlock>>>),
    /// Keep blocks until a time is over; which are there?
    Lease(Ask<(ArenaId, Vec<BlockKey>, u32), Vec<bool>>),
    /// What is here, from a number on, so many at most?
    List(Ask<(u32, u32), BlockPage>),
    /// Tell the watcher what is here, from a number on, so many at most.
    Tell(Ask<(u32, u32), BlockPage>),
    /// Give pages to fill.
    Reserve(Ask<Box<ReserveBlock>, Reserved>),
    /// The pages are filled. Without a deadline of its own: the work is done.
    Commit {
        reservation: ReservationId,
        permit: Permit,
        reply: oneshot::Sender<Committed>,
    },
    /// The pages will not be filled. At most one for each open reservation, whose
    /// number the cache limits.
    Abort { reservation: ReservationId },
    /// Some readers are done. At most one at a time.
    Released,
    /// Change pins.
    Pin(Ask<(Vec<BlockKey>, Pin), Vec<PinOutcome>>),
    /// Drop blocks.
    Remove(Ask<Vec<BlockKey>, u32>),
    /// Drop a domain. From the membership actor, which asks for one at a time.
    Purge(Ask<ArenaId, ArenaPurge>),
    /// There is something in the guest's inbox, or to look at. At most one at a time.
    Guest,
    /// A restless guest's time has passed. At most one at a time.
    GuestTick,
    /// Let time pass, and free some room. From the eviction actor, which waits for the answer.
    Evict(Ask<Turn, Relief>),
    /// Report.
    Stats(Ask<(), ShardReport>),
    /// How does a block stand, if it is here?
    Explain(Ask<BlockKey, Option<Standing>>),
    /// What does the policy do, and which blocks, so many at most, would go next?
    Policy(Ask<usize, PolicyReport>),
    /// Panic, in the middle of handling a message.
    #[cfg(any(test, feature = "chaos"))]
    Panic,
    /// Take this long to handle a message; the sender learns when it begins.
    #[cfg(any(test, feature = "chaos"))]
    Stall(oneshot::Sender<()>, oneshot::Receiver<()>),
}

impl ractor::Message for ShardMsg {}

/// Some of the blocks of one life of a shard.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BlockPage {
    /// The life that was asked.
    pub life: BootId,
    /// Blocks that can be read.
    pub blocks: Vec<Listed>,
    /// Where to go on, none at the end.
    pub next: Option<u32>,
}

/// Blocks that a reader wants.
pub(crate) struct Wanted {
    /// Where the reader's blocks lie: a block in any other arena is none of its business.
    pub(crate) arena: ArenaId,
    pub(crate) keys: Vec<BlockKey>,
    /// Only those before the first that is absent.
    pub(crate) leading_only: bool,
}

/// The answer to a reservation.
pub(crate) enum Reserved {
    /// Fill these pages.
    Pages(Reservation),
    /// The block is here already.
    Known,
    /// Not wanted, or the device failed.
    NotAdmitted,
    /// Cannot be stored.
    Refused(PutRefusal),
}

/// The answer to a commit.
pub(crate) enum Committed {
    /// Visible.
    Stored,
    /// Somebody was first.
    Known,
    /// Not stored after all.
    Refused(PutRefusal),
}

/// What a purge dropped.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ArenaPurge {
    /// Blocks that were visible.
    pub blocks: u64,
}

/// One turn of eviction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Turn {
    /// Victims at most.
    pub(crate) batch_blocks_max: u32,
    /// Whether earlier turns began: then down to the low watermark, else only from the high one.
    pub(crate) begun: bool,
}

/// What a turn of eviction did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Relief {
    /// Victims.
    pub(crate) blocks: u32,
    /// Whether the shard is still above its low watermark and another turn may help.
    pub(crate) more: bool,
}
