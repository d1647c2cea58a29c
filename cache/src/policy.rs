//! Responsible for the order in which blocks give way. It must never know keys, pages, budgets or time; it is told of uses
//! and asked for victims.
//!
//! # Lazy touches
//! Using a block uses its whole prefix, since a model reads all of it. Touching every ancestor on every request would cost
//! as much as the prefix is long. Only leaves are ever victims, so an ancestor's history matters no sooner than when its
//! last child goes; therefore a request touches its deepest block only, and **a block that goes leaves its history to its
//! parent**, its *heir*: the later of the two last uses (LRU), the sum of the uses (LFU). By induction over the removals, a
//! block that becomes a leaf has then exactly the history it would have if every touch had walked to the root. The tests
//! hold both policies against a model that does walk.
//!
//! Inner blocks may stand in a policy's lists. A search for a victim takes out those it meets; each was put in by one
//! admission, touch or inheritance, so the search is amortised O(1) in them.

use crate::forest::BlockId;

mod lfu;
mod links;
mod lru;

pub use lfu::Lfu;
pub use lru::Lru;

/// In which of two groups a block stands. Nobody in the second goes while somebody in the first can.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Rank {
    /// The first to go.
    #[default]
    Normal,
    /// The last: soft pins.
    Last,
}

/// An eviction policy over blocks.
///
/// Each block is admitted once, then touched, suspended, resumed, and forgotten or evicted once.
pub trait Policy {
    /// A new block, of normal rank. Being stored is not yet a use, but it is recent.
    fn admit(&mut self, id: BlockId);

    /// The block was used, and its ancestors with it.
    fn touch(&mut self, id: BlockId);

    /// The block must not be a victim until it is resumed (leased or hard-pinned).
    fn suspend(&mut self, id: BlockId);

    /// The block may be a victim again, at this rank. Also changes the rank of a block that was not suspended.
    fn resume(&mut self, id: BlockId, rank: Rank);

    /// The block is gone for a reason of its own; its history goes to `heir`.
    fn forget(&mut self, id: BlockId, heir: Option<BlockId>);

    /// The block went to make room; its history goes to `heir`, and those that stay may age by it.
    fn evict(&mut self, id: BlockId, heir: Option<BlockId>);

    /// The block to go next, among those for which `is_leaf` holds and which are not suspended.
    fn victim(&mut self, is_leaf: impl Fn(BlockId) -> bool) -> Option<BlockId>;
}

/// The policy a shard was configured with.
#[derive(Debug)]
pub(crate) enum AnyPolicy {
    Lru(Lru),
    Lfu(Lfu),
}

/// Calls the same method on whichever policy it is.
macro_rules! delegate {
    ($self:ident, $policy:ident => $call:expr) => {
        match $self {
            Self::Lru($policy) => $call,
            Self::Lfu($policy) => $call,
        }
    };
}

impl Policy for AnyPolicy {
    fn admit(&mut self, id: BlockId) {
        delegate!(self, policy => policy.admit(id));
    }

    fn touch(&mut self, id: BlockId) {
        delegate!(self, policy => policy.touch(id));
    }

    fn suspend(&mut self, id: BlockId) {
        delegate!(self, policy => policy.suspend(id));
    }

    fn resume(&mut self, id: BlockId, rank: Rank) {
        delegate!(self, policy => policy.resume(id, rank));
    }

    fn forget(&mut self, id: BlockId, heir: Option<BlockId>) {
        delegate!(self, policy => policy.forget(id, heir));
    }

    fn evict(&mut self, id: BlockId, heir: Option<BlockId>) {
        delegate!(self, policy => policy.evict(id, heir));
    }

    fn victim(&mut self, is_leaf: impl Fn(BlockId) -> bool) -> Option<BlockId> {
        delegate!(self, policy => policy.victim(is_leaf))
    }
}

#[cfg(test)]
mod tests;
