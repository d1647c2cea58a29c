//! Pins, removal and leases of blocks wherever they are: each holder is asked once. It must never claim that a block is
//! gone, or stays, where a holder did not answer.

use std::collections::BTreeMap;

use bytes::Bytes;
use futures::future::join_all;
use ultrakv_actors::clock::Deadline;
use ultrakv_actors::{Domain, LeasedBlock, RequestError};
use ultrakv_cache::{BlockAddress, Pin, PinOutcome};

use super::message::{Act, ActAsk, Code, NAMES_MAX, pack_places, pin_number};
use super::router::{BlockRouter, Inner};
use super::serve::act_here;
use super::world::Standing;
use super::write::request_error;
use crate::NodeId;
use crate::wire::Kind;

/// Which blocks are cached somewhere, and what keeps them.
#[derive(Clone, Debug, Default)]
pub struct Exists {
    /// For each block, whether it is there.
    pub present: Vec<bool>,
    /// The blocks of the leading run that are here, on loan; keep them for as long as the lease lasts. Those of it that are
    /// elsewhere stay by themselves for the time that was asked for.
    pub held: Vec<LeasedBlock>,
}

impl Exists {
    /// Blocks that are there from the first on, without a gap.
    #[must_use]
    pub fn prefix_blocks(&self) -> usize {
        self.present.iter().take_while(|there| **there).count()
    }
}

impl BlockRouter {
    /// Which of these blocks are cached somewhere. Without a lease it costs no hop and is a hint; with one, each block of
    /// the leading run was promised by a holder: one hop a node.
    ///
    /// # Errors
    /// When this node's cache gave no answer.
    pub async fn exists(
        &self,
        domain: &Domain,
        addresses: &[BlockAddress],
        lease_ms: Option<u32>,
        deadline: Deadline,
    ) -> Result<Exists, RequestError> {
        let inner = &self.inner;
        let here = inner.parts.cache.get(domain, addresses, deadline).await?;
        let mut present: Vec<bool> = here.iter().map(Option::is_some).collect();
        let mut by_node: BTreeMap<NodeId, Vec<usize>> = BTreeMap::new();
        for (place, address) in addresses.iter().enumerate() {
            if present.get(place) != Some(&false) {
                continue;
            }
            let holders = inner.others(address);
            let standing = |node| inner.parts.layout.standing(node);
            let best = holders
                .iter()
                .map(|holder| {
                    (
                        standing(holder.life.node),
                        holder.form.tier(),
                        holder.life.node,
                    )
                })
                .min()
                .filter(|(standing, _, _)| *standing != Standing::Down);
            let brought = inner.writer.brought(&address.key);
            let brought = brought.filter(|node| standing(*node) != Standing::Down);
            let node = best.map(|(_, _, node)| node).or(brought);
            if let Some(node) = node {
                by_node.entry(node).or_default().push(place);
            }
            if let Some(there) = present.get_mut(place) {
                *there = node.is_some();
            }
        }
        if let Some(ms) = lease_ms {
            // Only the leading run is kept, so only that is worth a hop; what is behind a gap stays a hint.
            let leading = present.iter().take_while(|there| **there).count();
            for places in by_node.values_mut() {
                places.retain(|place| *place < leading);
            }
            let asked = inner.ask_each(domain, Act::Lease(ms), addresses, by_node, deadline);
            for (_, places, codes) in asked.await {
                let codes = codes.unwrap_or_else(|_| vec![Code::Unsure; places.len()]);
                for (place, code) in places.into_iter().zip(codes) {
                    if let Some(there) = present.get_mut(place) {
                        *there = code == Code::Done;
                    }
                }
            }
        }
        let exists = Exists {
            present,
            held: Vec::new(),
        };
        let leading = exists.prefix_blocks();
        let held = here.into_iter().take(leading).flatten();
        Ok(Exists {
            held: held.collect(),
            ..exists
        })
    }

    /// Pins blocks, or unpins them, wherever they are; answers what became of each, in order. A block is pinned when one of
    /// its holders has the pin.
    ///
    /// # Errors
    /// When a holder gave no answer; some pins may have changed.
    pub async fn pin(
        &self,
        domain: &Domain,
        addresses: &[BlockAddress],
        pin: Pin,
        deadline: Deadline,
    ) -> Result<Vec<PinOutcome>, RequestError> {
        let act = Act::Pin(pin_number(pin));
        let codes = self.inner.act(domain, act, addresses, deadline).await?;
        let outcome = |code| match code {
            Code::Done => PinOutcome::Done,
            Code::PinQuota => PinOutcome::QuotaFull,
            _ => PinOutcome::Absent,
        };
        Ok(codes.into_iter().map(outcome).collect())
    }

    /// Drops blocks wherever they are; answers how many there were.
    ///
    /// # Errors
    /// When a holder gave no answer; some blocks may be gone.
    pub async fn remove(
        &self,
        domain: &Domain,
        addresses: &[BlockAddress],
        deadline: Deadline,
    ) -> Result<usize, RequestError> {
        let codes = self.inner.act(domain, Act::Remove, addresses, deadline);
        let codes = codes.await?;
        Ok(codes.iter().filter(|code| **code == Code::Done).count())
    }
}

/// A node's answer about some places of a request.
type Asked = (NodeId, Vec<usize>, Result<Vec<Code>, RequestError>);

impl Inner {
    /// Does something with blocks at all their holders. The targets of a slot are asked even when the directory does not
    /// list them: a block that was stored a moment ago may not be reported yet.
    async fn act(
        &self,
        domain: &Domain,
        act: Act,
        addresses: &[BlockAddress],
        deadline: Deadline,
    ) -> Result<Vec<Code>, RequestError> {
        let mut by_node: BTreeMap<NodeId, Vec<usize>> = BTreeMap::new();
        for (place, address) in addresses.iter().enumerate() {
            let holders = self.others(address).into_iter();
            let mut nodes: Vec<NodeId> = holders.map(|holder| holder.life.node).collect();
            nodes.extend(self.writer.targets(address.slot()));
            nodes.extend(self.writer.brought(&address.key));
            nodes.sort_unstable();
            nodes.dedup();
            nodes.retain(|node| {
                let is_down = || self.parts.layout.standing(*node) == Standing::Down;
                *node != self.parts.me && !is_down()
            });
            for node in nodes {
                by_node.entry(node).or_default().push(place);
            }
        }
        let here = act_here(&self.parts.cache, domain, act, addresses, deadline);
        let there = self.ask_each(domain, act, addresses, by_node, deadline);
        let (here, there) = futures::join!(here, there);
        let mut codes = here?;
        for (_, places, answer) in there {
            for (place, code) in places.into_iter().zip(answer?) {
                let Some(known) = codes.get_mut(place) else {
                    continue;
                };
                match (*known, code) {
                    // A holder whose shard gave no answer may have the block as it was.
                    (_, Code::Unsure) => return Err(RequestError::Busy),
                    (Code::Done, _) | (_, Code::Absent) => {}
                    _ => *known = code,
                }
            }
        }
        Ok(codes)
    }

    /// Asks nodes about their places, all at once, in frames of bounded length.
    async fn ask_each(
        &self,
        domain: &Domain,
        act: Act,
        addresses: &[BlockAddress],
        by_node: BTreeMap<NodeId, Vec<usize>>,
        deadline: Deadline,
    ) -> Vec<Asked> {
        let mut asks = Vec::new();
        for (node, places) in by_node {
            for places in places.chunks(NAMES_MAX) {
                let places = places.to_vec();
                asks.push(async move {
                    let named = places.iter().filter_map(|place| addresses.get(*place));
                    let within = self.parts.clock.remaining(deadline).as_millis();
                    let ask = ActAsk {
                        domain: domain.tag,
                        act,
                        places: pack_places(named),
                        within_ms: u32::try_from(within).unwrap_or(u32::MAX),
                    };
                    let asked =
                        self.writer
                            .codes(node, Kind::BlockAsk, &ask, Bytes::new(), deadline);
                    let codes = match asked.await {
                        Ok(answer) => Code::unpack(&answer.codes, places.len())
                            .map_err(|_| RequestError::Stopped),
                        Err(error) => Err(request_error(&error)),
                    };
                    (node, places, codes)
                });
            }
        }
        join_all(asks).await
    }
}
