//! Responsible for the order in which blocks give way: what a policy is told, what it is asked, and which policies there
//! are. It must never know pages, budgets or clocks; time is a number handed in, and chance comes from a seed.
//!
//! # Lazy touches
//! Using a block uses its whole prefix, since a model reads all of it. Touching every ancestor on every request would cost
//! as much as the prefix is long. Only leaves are ever victims, so an ancestor's history matters no sooner than when its
//! last child goes; therefore a request touches its deepest block only, and **a block that goes leaves its history to its
//! parent**, its *heir*: the later of the two last uses (LRU), the sum of the uses (LFUDA). By induction over the removals,
//! a block that becomes a leaf has then exactly the history it would have if every touch had walked to the root. The tests
//! hold both policies against a model that does walk.
//!
//! Policies whose lists have sizes that mean something (ARC, LIRS, MQ, S3-FIFO), and Adaptive, which learns from every use,
//! do walk: some nanoseconds a block, next to lending each of these blocks to the request.
//!
//! Inner blocks may stand in a policy's lists. A search for a victim takes out those it meets; each was put in by one
//! admission, touch or inheritance, so the search is amortised O(1) in them.
//!
//! # Chains in pieces
//! A node may hold some runs of a chain and not others. The head of a run then has no parent here; it is treated as a root
//! whose true depth comes with its [`Facts`]. Nothing else of a policy depends on seeing a whole chain.
//!
//! # Adding one
//! Implement [`Policy`], describe it by a [`Recipe`], and hand `PolicyKind::of(&RECIPE)` to the shard; the book's chapter
//! on policies walks through `examples/own_policy.rs`.

use std::fmt;

use crate::forest::{BlockId, Forest};
use crate::key::BlockKey;
use crate::time::Now;

mod adaptive;
mod arc;
pub(crate) mod chance;
pub mod explain;
mod gdsf;
mod ghosts;
mod lfuda;
mod links;
mod lirs;
mod lru;
mod mq;
pub mod price;
mod queues;
mod registry;
mod s3_fifo;
mod sieve;

pub use adaptive::Adaptive;
pub use arc::Arc;
pub use explain::{ClassFigures, Explanation, Figures};
pub use gdsf::Gdsf;
pub use lfuda::Lfuda;
pub use lirs::Lirs;
pub use lru::Lru;
pub use mq::Mq;
pub use registry::{PolicyKind, Recipe, Setup};
pub use s3_fifo::S3Fifo;
pub use sieve::Sieve;

/// In which of two groups a block stands. Nobody in the second goes while somebody in the first can.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rank {
    /// The first to go.
    #[default]
    Normal,
    /// The last: soft pins.
    Last,
}

/// What a block takes and what it saves.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Facts {
    /// Bytes it takes as it is stored, encoding included.
    pub bytes: u64,
    /// Blocks before it in its chain, also those that are absent or on other nodes.
    pub depth: u32,
    /// What computing it again costs, in a unit that is the same for all blocks; [`price::recompute_cost`] is one.
    pub cost: f32,
}

impl Facts {
    /// Cost saved a byte stored, were the block certain to be used again.
    pub fn value(&self) -> f32 {
        self.cost / price::as_f32(self.bytes.max(1))
    }
}

/// A block that is not stored yet and for which another would have to go.
#[derive(Clone, Copy, Debug)]
pub struct Newcomer<'a> {
    /// Its key.
    pub key: &'a BlockKey,
    /// The block before it, if that is here.
    pub parent: Option<BlockId>,
    /// Whether a block before it was declared but is neither here nor, this being the head of a run, possibly elsewhere:
    /// then no prefix reaches it.
    pub is_orphan: bool,
    /// What it takes and saves.
    pub facts: Facts,
}

/// An eviction policy over blocks.
///
/// Each block is admitted once, then touched, suspended, resumed, and forgotten or evicted once. The forest that comes with
/// a call shows the block and its links as they are: when it is admitted it is already in, when it goes it is still in.
pub trait Policy: fmt::Debug + Send {
    /// A request begins: lookups and touches until the next call belong to it, and so do most blocks that it stores.
    fn begin(&mut self, _now: Now) {}

    /// A new block, of normal rank. Being stored is not yet a use, but it is recent.
    fn admit(&mut self, forest: &Forest, id: BlockId, facts: &Facts);

    /// The block was used, and its ancestors with it.
    fn touch(&mut self, forest: &Forest, id: BlockId);

    /// The block must not be a victim until it is resumed (leased or hard-pinned).
    fn suspend(&mut self, id: BlockId);

    /// The block may be a victim again, at this rank. Also changes the rank of a block that was not suspended.
    fn resume(&mut self, id: BlockId, rank: Rank);

    /// The block is gone for a reason of its own; its history goes to `heir`.
    fn forget(&mut self, forest: &Forest, id: BlockId, heir: Option<BlockId>);

    /// The block went to make room; its history goes to `heir`, and those that stay may age by it.
    fn evict(&mut self, forest: &Forest, id: BlockId, heir: Option<BlockId>);

    /// The block to go next, among leaves that are not suspended; `newcomer` is what the room is for, if for a block. Asked
    /// again without an event between, it answers the same or one as good.
    fn victim(&mut self, forest: &Forest, newcomer: Option<&Newcomer<'_>>) -> Option<BlockId>;

    /// Whether `newcomer` is worth more than `victim`, which would go for it. Policies that admit everything do not ask.
    fn admits(&mut self, _forest: &Forest, _newcomer: &Newcomer<'_>, _victim: BlockId) -> bool {
        true
    }

    /// The block is stored in another form now, at another rung or with another loss.
    fn revise(&mut self, _id: BlockId, _facts: &Facts) {}

    /// A client expects to use the block again in about `ms`. A hint, never a promise: the block may go all the same. Policies
    /// that only look back leave it aside; [`Adaptive`] weighs it.
    fn expect_use(&mut self, _id: BlockId, _now: Now, _ms: u64) {}

    /// Why the block stands where it stands.
    fn explain(&self, forest: &Forest, id: BlockId) -> Explanation;

    /// The leaves that would go next if nothing changed, the first to go first, `many` at most, of the first
    /// [`explain::LOOK_MAX`] blocks of the policy's order. Unlike [`Policy::victim`] it changes nothing: who looks must not
    /// decide. What becomes a leaf only as others go is not among them. Nothing of a policy that does not tell.
    fn outlook(&self, _forest: &Forest, _many: usize) -> Vec<BlockId> {
        Vec::new()
    }

    /// How it is doing. Nothing of a policy that does not tell.
    fn figures(&self) -> Figures {
        Figures::default()
    }
}

/// A length as a count.
pub(crate) fn count(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}

/// A block and its ancestors that are here, upwards.
pub(crate) fn path(forest: &Forest, id: BlockId) -> impl Iterator<Item = BlockId> {
    std::iter::successors(Some(id), |id| forest.parent(*id))
}

/// The block to go next, other than `spared`: the parent of what comes, mostly. It stands aside for this one search: were it just
/// passed over, the coldest leaf could never be continued in a full shard, though others could go.
pub fn victim_sparing(
    policy: &mut dyn Policy,
    forest: &Forest,
    newcomer: Option<&Newcomer<'_>>,
    spared: Option<BlockId>,
    rank_of_spared: impl FnOnce() -> Rank,
) -> Option<BlockId> {
    let coldest = policy.victim(forest, newcomer)?;
    if Some(coldest) != spared {
        return Some(coldest);
    }
    policy.suspend(coldest);
    let other = policy.victim(forest, newcomer);
    policy.resume(coldest, rank_of_spared());
    other
}

/// A count as a figure for people.
#[expect(
    clippy::as_conversions,
    clippy::cast_precision_loss,
    reason = "counts below 2^53 are exact, and beyond that nobody reads the last digits"
)]
pub(crate) const fn as_f64(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests;
