//! Blocks of other nodes for the prefetch actor: where the directory says they are, and fetching them into this node as copies
//! that may be evicted. It must never decide which blocks are wanted.

use std::fmt;
use std::sync::{Arc, Weak};

use futures::FutureExt as _;
use futures::future::BoxFuture;
use ultrakv_actors::clock::Deadline;
use ultrakv_actors::{BlockPut, Domain, PrefetchSink, Stored, Whereabouts};
use ultrakv_cache::prefetch::{Held, Landing, LinkId, Wanted};
use ultrakv_cache::{BlockAddress, Pin};

use super::fetch::{CODECS, Want};
use super::router::Inner;
use super::world::Standing;
use crate::NodeId;
use crate::directory::Place;

/// The sink of a router. It does not keep the router: the node's cache keeps the sink, and the router the cache.
pub(super) struct Ahead(pub(super) Weak<Inner>);

impl fmt::Debug for Ahead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Ahead")
    }
}

impl PrefetchSink for Ahead {
    fn locate(&self, blocks: &[BlockAddress]) -> Vec<Whereabouts> {
        let inner = self.0.upgrade();
        inner.map_or_else(Vec::new, |inner| {
            blocks
                .iter()
                .map(|block| inner.whereabouts(block))
                .collect()
        })
    }

    fn fetch(
        &self,
        domain: Domain,
        blocks: Vec<Wanted>,
        deadline: Deadline,
    ) -> BoxFuture<'static, Vec<Landing>> {
        let inner = self.0.upgrade();
        async move {
            match inner {
                Some(inner) => inner.bring(domain, &blocks, deadline).await,
                None => Vec::new(),
            }
        }
        .boxed()
    }
}

/// The link that leads to a node. Two nodes whose ids end alike share what is measured, and nothing else.
fn link(node: NodeId) -> LinkId {
    LinkId(u64::try_from(node.to_u128() & u128::from(u64::MAX)).unwrap_or(0))
}

impl Inner {
    fn whereabouts(&self, address: &BlockAddress) -> Whereabouts {
        let me = self.parts.me;
        let directory = (self.parts.directory)();
        let holders = directory.holders(Place::of(address));
        if holders.iter().any(|holder| holder.life.node == me) {
            return Whereabouts::Here;
        }
        let readable = holders
            .iter()
            .filter(|holder| CODECS.contains(&holder.form.codec()));
        let rank = |node| (self.parts.layout.standing(node), node);
        let best = readable.map(|holder| rank(holder.life.node)).min();
        let brought = self.writer.brought(&address.key).map(rank);
        let best = best.or(brought);
        match best.filter(|(standing, _)| *standing != Standing::Down) {
            Some((_, node)) => Whereabouts::There(link(node)),
            None => Whereabouts::Nowhere,
        }
    }

    /// Fetches blocks and stores them here, in order, so that each finds its parent.
    async fn bring(
        self: &Arc<Self>,
        domain: Domain,
        blocks: &[Wanted],
        deadline: Deadline,
    ) -> Vec<Landing> {
        let wants = blocks.iter().map(|wanted| Want {
            address: wanted.address,
            holders: self.others(&wanted.address),
            brought: self.writer.brought(&wanted.address.key),
        });
        let wants: Vec<Want> = wants.collect();
        let fetched = self.fetcher.fetch(&domain, &wants, deadline).await;
        let mut landings = Vec::with_capacity(blocks.len());
        for (wanted, block) in blocks.iter().zip(fetched) {
            let Some(block) = block else {
                landings.push(Landing::Failed);
                continue;
            };
            let bytes = block.header.payload_bytes;
            let put = BlockPut {
                address: wanted.address,
                parent: wanted.parent,
                depth: 0,
                header: block.header,
                payload: block.payload,
                pin: Pin::None,
                ttl_ms: block.ttl_ms,
            };
            let stored = self.parts.cache.put(&domain, put, deadline).await;
            landings.push(match stored {
                Ok(Stored::Copies(_)) => Landing::Stored { bytes },
                Ok(Stored::Known) => Landing::Known,
                Ok(Stored::NotAdmitted) | Err(_) => Landing::Failed,
            });
        }
        landings
    }

    /// Tells the prefetch actor what a request asks for: so many leading blocks that are here, so many after them that are
    /// elsewhere.
    pub(super) fn tell_chain(
        &self,
        domain: &Domain,
        chain: &[BlockAddress],
        (here, listed): (usize, usize),
    ) {
        let prefetch = self.parts.cache.prefetch();
        if prefetch.wants_demand(chain.len()) {
            let mut found = vec![Held::Here; here];
            found.resize(here + listed, ELSEWHERE);
            // What is not heard is not counted, and nothing else.
            let _ = prefetch.demanded(domain, chain.to_vec(), found, true);
        }
    }

    /// As [`Inner::tell_chain`], of blocks each of which is here or may be elsewhere.
    pub(super) fn tell_blocks(
        &self,
        domain: &Domain,
        blocks: &[BlockAddress],
        found: impl Iterator<Item = Held>,
    ) {
        let prefetch = self.parts.cache.prefetch();
        if prefetch.wants_demand(blocks.len()) {
            let _ = prefetch.demanded(domain, blocks.to_vec(), found.collect(), false);
        }
    }
}

/// Somewhere else: who asks for a block now does not say how it comes.
pub(super) const ELSEWHERE: Held = Held::There {
    link: LinkId(0),
    bytes: 0,
};
