//! What the parts of a node that keep blocks and entries see of the cluster: who is to hold a slot, how nodes stand, whose
//! an arena is.
//!
//! Responsible for one reading of the metadata for all of them. It must never change anything.

use std::fmt;
use std::sync::Arc;

use arc_swap::ArcSwap;
use tokio::sync::watch;
use ultrakv_actors::DomainTag;
use ultrakv_cache::ArenaId;

use crate::NodeId;
use crate::block::{BlockArenas, BlockLayout, Standing};
use crate::domains::Domains;
use crate::entry::Wish;
use crate::links::Lanes;
use crate::metadata::{MemberState, Members, SlotRecord};
use crate::raft::Consensus;

/// A peer that was not heard for this long is asked last. Connections that live are heard every second.
const SILENCE_MS_MAX: u64 = 1_500;

/// Who is to hold a slot.
pub(crate) fn wish(record: &SlotRecord, members: &Members) -> Wish {
    Wish::new(&record.targets, |node| {
        let member = members.get(*node);
        member.is_some_and(|member| member.state == MemberState::Up)
    })
}

/// What is around a node; clones see the same.
#[derive(Clone)]
pub(crate) struct Surroundings {
    pub(crate) consensus: Consensus,
    pub(crate) domains: Arc<ArcSwap<Domains>>,
    pub(crate) lanes: Option<Arc<Lanes>>,
    pub(crate) revision: watch::Sender<u64>,
    /// Up to where this node's replicas have heard the log.
    pub(crate) told: watch::Sender<u64>,
}

impl fmt::Debug for Surroundings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Surroundings")
    }
}

impl Surroundings {
    /// Whether a peer seems not to be reached: it was spoken with, and is silent.
    fn is_silent(&self, node: NodeId) -> bool {
        let Some(lanes) = &self.lanes else {
            return false;
        };
        let peers = lanes.quic.peers();
        let peer = peers.iter().find(|peer| peer.node == node);
        peer.is_some_and(|peer| {
            let is_connected = peer.connected || peer.inbound > 0;
            !is_connected && peer.failures > 0
                || peer.heard_ms_ago.is_some_and(|ms| ms > SILENCE_MS_MAX)
        })
    }
}

impl BlockLayout for Surroundings {
    fn targets(&self, slot: u16) -> Vec<NodeId> {
        let view = self.consensus.view();
        let record = view.slots().get(slot);
        record.map_or_else(Vec::new, |record| {
            wish(record, view.members()).ready.to_vec()
        })
    }

    fn standing(&self, node: NodeId) -> Standing {
        let view = self.consensus.view();
        let state = view.members().get(node).map(|record| record.state);
        match state {
            Some(MemberState::Up | MemberState::Joining) if node == self.consensus.node() => {
                Standing::Up
            }
            Some(MemberState::Up | MemberState::Joining) if self.is_silent(node) => {
                Standing::Doubted
            }
            Some(MemberState::Up | MemberState::Joining) => Standing::Up,
            Some(MemberState::Draining) => Standing::Draining,
            Some(MemberState::Down | MemberState::Left) | None => Standing::Down,
        }
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.revision.subscribe()
    }
}

impl BlockArenas for Surroundings {
    fn arena(&self, tag: DomainTag) -> Option<ArenaId> {
        self.domains.load().arena(tag)
    }

    fn tag(&self, arena: ArenaId) -> Option<DomainTag> {
        self.domains.load().tag(arena)
    }
}
