//! The links of a node that is alone: nobody is reached, nothing is proposed, the tenure is its own.
//!
//! It must never be used where there are others.

use futures::FutureExt;
use futures::future::BoxFuture;
use ultrakv_actors::Deadline;

use super::host::{Proposer, Tenured};
use super::message::Proposal;
use crate::peer::{Caller, Parcel, ParcelStream, PeerError};
use crate::{Epoch, Incarnation, NodeId};

/// Nobody else.
#[derive(Clone, Copy, Debug)]
pub(super) struct Nobody;

fn unreachable(peer: NodeId) -> PeerError {
    PeerError::Unreachable {
        peer,
        reason: "this node is alone".to_owned(),
    }
}

impl Caller for Nobody {
    fn call(
        &self,
        peer: NodeId,
        _: Parcel,
        _: Deadline,
    ) -> BoxFuture<'_, Result<Parcel, PeerError>> {
        async move { Err(unreachable(peer)) }.boxed()
    }

    fn post(&self, _: NodeId, _: Parcel) -> bool {
        false
    }

    fn open(
        &self,
        peer: NodeId,
        _: Parcel,
        _: Deadline,
    ) -> BoxFuture<'_, Result<Box<dyn ParcelStream>, PeerError>> {
        async move { Err(unreachable(peer)) }.boxed()
    }
}

impl Proposer for Nobody {
    fn propose_slot(&self, _: u16, _: Proposal) -> bool {
        false
    }

    fn claim_slot(&self, _: u16, _: Epoch, _: Incarnation) -> bool {
        false
    }
}

impl Tenured for Nobody {
    fn is_held(&self) -> bool {
        true
    }
}
