//! Between the lanes and the protocols: which lane carries what, and who answers it.
//!
//! Responsible for that table, and for nothing being answered before there is somebody to answer. It must never know what a
//! header means.

use std::fmt;
use std::sync::{Arc, OnceLock};

use futures::FutureExt as _;
use futures::future::BoxFuture;
use ultrakv_actors::Deadline;

use crate::NodeId;
use crate::block::BlockService;
use crate::entry::{EntryHost, EntryRouter};
use crate::lane::mesh::Mesh;
use crate::lane::{BulkLane, QuicLane};
use crate::peer::{Caller, Parcel, ParcelStream, PeerError, Refused, Responder};
use crate::raft::Consensus;
use crate::tenure::Tenures;
use crate::wire::Kind;

/// The way to other nodes: block bytes over the bulk lane, everything else over QUIC.
pub(crate) struct Lanes {
    pub(crate) quic: QuicLane,
    pub(crate) bulk: BulkLane,
}

impl Lanes {
    fn of(&self, kind: Kind) -> &dyn Caller {
        match kind {
            Kind::BlockRead | Kind::BlockWrite => &self.bulk,
            _ => &self.quic,
        }
    }
}

impl Caller for Lanes {
    fn call(
        &self,
        peer: NodeId,
        ask: Parcel,
        deadline: Deadline,
    ) -> BoxFuture<'_, Result<Parcel, PeerError>> {
        self.of(ask.kind).call(peer, ask, deadline)
    }

    fn post(&self, peer: NodeId, parcel: Parcel) -> bool {
        self.of(parcel.kind).post(peer, parcel)
    }

    fn open(
        &self,
        peer: NodeId,
        first: Parcel,
        deadline: Deadline,
    ) -> BoxFuture<'_, Result<Box<dyn ParcelStream>, PeerError>> {
        self.of(first.kind).open(peer, first, deadline)
    }
}

/// No way to anybody: a node that is a cluster by itself.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Nobody;

fn alone(peer: NodeId) -> PeerError {
    PeerError::Unreachable {
        peer,
        reason: "this node is a cluster by itself".to_owned(),
    }
}

impl Caller for Nobody {
    fn call(
        &self,
        peer: NodeId,
        _ask: Parcel,
        _deadline: Deadline,
    ) -> BoxFuture<'_, Result<Parcel, PeerError>> {
        async move { Err(alone(peer)) }.boxed()
    }

    fn post(&self, _peer: NodeId, _parcel: Parcel) -> bool {
        false
    }

    fn open(
        &self,
        peer: NodeId,
        _first: Parcel,
        _deadline: Deadline,
    ) -> BoxFuture<'_, Result<Box<dyn ParcelStream>, PeerError>> {
        async move { Err(alone(peer)) }.boxed()
    }
}

/// Who answers other nodes, each from when it is there.
#[derive(Default)]
pub(crate) struct Desks {
    pub(crate) consensus: OnceLock<Consensus>,
    pub(crate) tenures: OnceLock<Arc<Tenures>>,
    pub(crate) entries: OnceLock<(EntryRouter, EntryHost)>,
    pub(crate) blocks: OnceLock<BlockService>,
    pub(crate) mesh: OnceLock<Mesh>,
}

impl fmt::Debug for Desks {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Desks")
    }
}

fn not_yet() -> Refused {
    Refused {
        code: "node_starting".to_owned(),
        message: "this node is not ready to answer that yet".to_owned(),
        hint: "ask again in a moment".to_owned(),
    }
}

fn misplaced(kind: Kind) -> Refused {
    Refused {
        code: "wire_misplaced".to_owned(),
        message: format!("a frame of kind {kind:?} asks for no answer here"),
        hint: "compare the versions of both nodes".to_owned(),
    }
}

impl Responder for Desks {
    fn answer(&self, peer: NodeId, ask: Parcel) -> BoxFuture<'_, Result<Parcel, Refused>> {
        async move {
            match ask.kind {
                Kind::RaftAppend | Kind::RaftVote | Kind::Forward => {
                    let consensus = self.consensus.get().ok_or_else(not_yet)?;
                    consensus.serve(peer, ask).await
                }
                Kind::Tenure => {
                    let tenures = self.tenures.get().ok_or_else(not_yet)?;
                    tenures.serve(peer, &ask).await
                }
                Kind::Entry => {
                    let (entries, _) = self.entries.get().ok_or_else(not_yet)?;
                    entries.serve_entry(peer, ask).await
                }
                Kind::BlockRead | Kind::BlockWrite | Kind::BlockAsk => {
                    let blocks = self.blocks.get().ok_or_else(not_yet)?;
                    blocks.serve(peer, ask).await
                }
                kind @ (Kind::Hello
                | Kind::RaftSnapshot
                | Kind::Answer
                | Kind::Refusal
                | Kind::EntryNote
                | Kind::Mesh) => Err(misplaced(kind)),
            }
        }
        .boxed()
    }

    fn take(&self, peer: NodeId, parcel: Parcel) {
        if let (Kind::EntryNote, Some((_, host))) = (parcel.kind, self.entries.get()) {
            host.take_note(peer, &parcel);
        }
    }

    fn stream(
        &self,
        peer: NodeId,
        first: Parcel,
        mut stream: Box<dyn ParcelStream>,
    ) -> BoxFuture<'_, ()> {
        async move {
            match (first.kind, self.consensus.get(), self.mesh.get()) {
                (Kind::RaftSnapshot, Some(consensus), _) => {
                    consensus.serve_stream(peer, first, stream).await;
                }
                (Kind::Mesh, _, Some(mesh)) => mesh.accept(peer, first, stream).await,
                (kind, ..) => {
                    if let Ok(refusal) =
                        Parcel::new(Kind::Refusal, &misplaced(kind), bytes::Bytes::new())
                    {
                        // A peer that is gone needs no refusal.
                        drop(stream.send(refusal).await);
                    }
                }
            }
        }
        .boxed()
    }
}
