//! What is said in the simulated cluster, and how places are numbered. It must never decide anything.

use ultrakv_cluster::entry::{Answer, Message, Ownership, Request};
use ultrakv_cluster::tenure::{TenureAsk, TenureGrant};
use ultrakv_cluster::{Incarnation, NodeId};

pub(super) use super::table::Shared;
use crate::consensus::ConsensusMsg;
use crate::network::Place;

/// A message or a timer.
#[derive(Clone, Debug)]
pub(super) enum Msg {
    /// A node's timer.
    Tick,
    /// Between members of the consensus.
    Raft(ConsensusMsg<Shared>),
    /// To the leader: please propose.
    Wish(Shared),
    Ask(TenureAsk),
    Grant(TenureGrant),
    /// Between replicas of a slot.
    Entry {
        slot: u16,
        from: Incarnation,
        to: Incarnation,
        message: Message,
    },
    /// A client's questions about one slot.
    Ops {
        slot: u16,
        requests: Vec<Request>,
    },
    /// The answer to one of them.
    Answered {
        ticket: u64,
        answer: Answer,
    },
    /// A client asks who owns a slot.
    Where {
        slot: u16,
    },
    /// As far as that node knows.
    Here {
        slot: u16,
        record: Ownership,
    },
    /// A client's timer: ask something new.
    Next,
    /// A client's timer: ask once more.
    Again {
        ticket: u64,
    },
    /// A client's timer: there was no answer.
    Late {
        ticket: u64,
    },
    /// A client's timer: from now on an entry may be gone.
    MayExpire {
        key: u32,
    },
    /// The director's timer: a node that slept goes on.
    Awake {
        place: Place,
        sleep: u64,
    },
    /// The director's timer: what it does next.
    Act,
}

/// The node at a place.
pub(super) fn node_at(place: Place) -> NodeId {
    NodeId::from_u128(u128::from(place) + 1)
}

/// The place of a node.
pub(super) fn place_of(node: NodeId) -> Option<Place> {
    Place::try_from(node.to_u128().checked_sub(1)?).ok()
}
