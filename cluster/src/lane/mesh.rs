//! The mesh: actors of one node found and asked from another, over one stream of frames a pair of nodes.
//!
//! Responsible for sessions of `ractor_cluster`: who opens them, how they come back, who is present, and the one actor a
//! node shows. It must never carry data: its queues have no bound, and a long message would hold up all others.
//!
//! # Trust
//! The library's own handshake is a label, not a lock. Streams come from a lane that proved the peer; sessions that come in
//! through the library's own port, which listens on the loopback address because it always listens, are ended at once.
//!
//! # One process, one node
//! The library's names and groups belong to the process. Each node's actor has a group of its own name, and is asked
//! only through the session with that node, so that several nodes in one process, as in tests, do not mix.

mod node;
mod report;
mod stream;

use std::collections::BTreeMap;
use std::sync::Arc;

use arc_swap::ArcSwapOption;
use bytes::Bytes;
use futures::future::join_all;
use parking_lot::Mutex;
use ractor::rpc::CallResult;
use ractor::{ActorId, ActorRef, pg};
use tokio::sync::{broadcast, watch};
use ultrakv_actors::clock::Clock;
use ultrakv_actors::{ChildSpec, Deadline};

use self::node::{MeshActor, MeshMsg};
use self::report::ReportMsg;
use super::tls::ClusterName;
use crate::NodeId;
use crate::peer::{Callers, Parcel, ParcelStream};
use crate::wire::Kind;

/// Presence events that wait for a slow listener.
const EVENTS_MAX: usize = 1024;

/// Makes a node's report of itself: some kilobytes, at once, from figures at hand.
pub type Reporter = Arc<dyn Fn() -> Bytes + Send + Sync>;

/// What the mesh is told at its start.
#[derive(Clone)]
pub struct MeshPlan {
    /// The cluster; nodes of another have no session.
    pub cluster: ClusterName,
    /// This node.
    pub node: NodeId,
    /// The lane that carries streams; QUIC.
    pub lane: Callers,
    /// What the node says of itself.
    pub reporter: Reporter,
    /// The time.
    pub clock: Clock,
}

/// A peer's session came or went: a hint for suspicion, never proof of death.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Presence {
    /// Its actors can be asked.
    Seen(NodeId),
    /// They cannot any more.
    Lost(NodeId),
}

/// Why a peer gave no report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReportError {
    /// There is no session with it.
    #[error("the node is not present")]
    Absent,
    /// It did not answer in time.
    #[error("the node did not answer in time")]
    Deadline,
    /// Its session or its actor ended meanwhile.
    #[error("the node went away while it was asked")]
    Lost,
}

impl ReportError {
    /// A stable name for machines.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Absent => "report_absent",
            Self::Deadline => "report_deadline",
            Self::Lost => "report_lost",
        }
    }

    /// What to do about it.
    #[must_use]
    pub const fn hint(self) -> &'static str {
        match self {
            Self::Absent => "see whether the node runs and its cluster port can be reached",
            Self::Deadline | Self::Lost => "ask again after a moment",
        }
    }
}

/// The mesh of a node; clones are one mesh.
#[derive(Clone)]
pub struct Mesh {
    shared: Arc<Shared>,
}

/// What outlives the lives of the mesh's actor.
struct Shared {
    plan: MeshPlan,
    peers: watch::Sender<Arc<[NodeId]>>,
    life: ArcSwapOption<Life>,
    /// Sessions that are ready, and their numbers in the library.
    ready: Mutex<BTreeMap<NodeId, u64>>,
    presence: broadcast::Sender<Presence>,
}

struct Life {
    actor: ActorRef<MeshMsg>,
}

impl Shared {
    /// Where a node's own actor is found.
    fn group(&self, node: NodeId) -> String {
        format!("ultrakv/{}/{node}", self.plan.cluster)
    }

    /// Who listens to nothing loses nothing.
    fn tell(&self, presence: Presence) {
        drop(self.presence.send(presence));
    }

    fn seen(&self, node: NodeId, session: u64) {
        if self.ready.lock().insert(node, session).is_none() {
            self.tell(Presence::Seen(node));
        }
    }

    fn lost(&self, node: NodeId, session: u64) {
        let mut ready = self.ready.lock();
        if ready.get(&node) == Some(&session) {
            ready.remove(&node);
            drop(ready);
            self.tell(Presence::Lost(node));
        }
    }

    fn all_lost(&self) {
        let lost = std::mem::take(&mut *self.ready.lock());
        for node in lost.into_keys() {
            self.tell(Presence::Lost(node));
        }
    }
}

impl Mesh {
    /// A mesh that begins when its actor is started; see [`Mesh::spec`].
    #[must_use]
    pub fn new(plan: MeshPlan) -> Self {
        Self {
            shared: Arc::new(Shared {
                plan,
                peers: watch::Sender::new(Arc::from([])),
                life: ArcSwapOption::empty(),
                ready: Mutex::default(),
                presence: broadcast::Sender::new(EVENTS_MAX),
            }),
        }
    }

    /// The actor to put under the supervisor `cluster`.
    #[must_use]
    pub fn spec(&self) -> ChildSpec {
        let shared = Arc::clone(&self.shared);
        ChildSpec::actor("mesh", "MeshActor", move |_| {
            (MeshActor::new(Arc::clone(&shared)), ())
        })
    }

    /// Which nodes there are; told at each change of the members. Of two nodes the one with the lower id opens the stream.
    pub fn set_peers(&self, peers: impl Into<Arc<[NodeId]>>) {
        self.shared.peers.send_replace(peers.into());
    }

    /// Takes a stream of kind [`Kind::Mesh`] that a peer opened, until its end; for the node's responder.
    pub async fn accept(&self, peer: NodeId, first: Parcel, stream: Box<dyn ParcelStream>) {
        if first.kind != Kind::Mesh || peer >= self.shared.plan.node {
            tracing::debug!(%peer, "a stream that should not be is no session");
            return;
        }
        let Some(life) = self.shared.life.load_full() else {
            return;
        };
        let (io, carried) = stream::carry(peer, stream);
        // An actor that stops drops the other end, and the stream ends at once.
        if life.actor.cast(MeshMsg::Accepted { peer, io }).is_ok() {
            carried.await;
        }
    }

    /// Nodes whose actors can be asked now.
    #[must_use]
    pub fn present(&self) -> Vec<NodeId> {
        self.shared.ready.lock().keys().copied().collect()
    }

    /// Who comes and goes, from now on. A listener that falls 1 024 behind is told how many it missed.
    #[must_use]
    pub fn presence(&self) -> broadcast::Receiver<Presence> {
        self.shared.presence.subscribe()
    }

    /// Has every node report itself, at once; this node and all of [`Mesh::set_peers`], in order of their ids.
    pub async fn ask_all(&self, deadline: Deadline) -> Vec<(NodeId, Result<Bytes, ReportError>)> {
        let me = self.shared.plan.node;
        let mut nodes: Vec<NodeId> = self.shared.peers.borrow().to_vec();
        nodes.push(me);
        nodes.sort_unstable();
        nodes.dedup();
        let asks = nodes.into_iter().map(|node| async move {
            let report = if node == me {
                Ok((self.shared.plan.reporter)())
            } else {
                self.ask(node, deadline).await
            };
            (node, report)
        });
        join_all(asks).await
    }

    /// Has one node report itself.
    ///
    /// # Errors
    /// When it is not present, or does not answer in time.
    pub async fn ask(&self, node: NodeId, deadline: Deadline) -> Result<Bytes, ReportError> {
        let session = self.shared.ready.lock().get(&node).copied();
        let session = session.ok_or(ReportError::Absent)?;
        // Groups are told by peers; only what came through the node's own session is the node's.
        let found = pg::get_members(&self.shared.group(node)).into_iter();
        let mut found = found.filter(
            |actor| matches!(actor.get_id(), ActorId::Remote { node_id, .. } if node_id == session),
        );
        let actor: ActorRef<ReportMsg> = found.next().ok_or(ReportError::Absent)?.into();
        let left = self.shared.plan.clock.remaining(deadline);
        match actor.call(ReportMsg::Report, Some(left)).await {
            Ok(CallResult::Success(report)) => Ok(report.into()),
            Ok(CallResult::Timeout) => Err(ReportError::Deadline),
            Ok(CallResult::SenderError) | Err(_) => Err(ReportError::Lost),
        }
    }

    /// Starts its actor under nobody.
    #[cfg(test)]
    pub(super) async fn start_alone(&self) -> ractor::ActorCell {
        let actor = MeshActor::new(Arc::clone(&self.shared));
        let started = ractor::Actor::spawn(None, actor, ()).await;
        started.unwrap().0.get_cell()
    }
}
