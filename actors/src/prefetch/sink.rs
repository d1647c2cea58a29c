//! How the prefetch actor reaches blocks that are elsewhere. It must never say where elsewhere is.

use std::fmt;

use futures::future::BoxFuture;
use ultrakv_cache::BlockAddress;
use ultrakv_cache::prefetch::{Landing, LinkId, Wanted};

use crate::Domain;
use crate::clock::Deadline;

/// Where a block is, as far as the sink knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whereabouts {
    /// On this node.
    Here,
    /// Elsewhere; it would come this way.
    There(LinkId),
    /// Nowhere that is known.
    Nowhere,
}

/// Other places that blocks are fetched from: other nodes' memories.
pub trait PrefetchSink: fmt::Debug + Send + Sync + 'static {
    /// Where each of these blocks is, from this node's own memory: at once, without a hop.
    fn locate(&self, blocks: &[BlockAddress]) -> Vec<Whereabouts>;

    /// Fetches blocks and stores them on this node as copies that may be evicted; says what became of each, in order, no
    /// later than the deadline.
    fn fetch(
        &self,
        domain: Domain,
        blocks: Vec<Wanted>,
        deadline: Deadline,
    ) -> BoxFuture<'static, Vec<Landing>>;
}
