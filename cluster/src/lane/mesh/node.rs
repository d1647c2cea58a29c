//! The actor that keeps the library's node server, this node's report actor, and a session with each peer.
//!
//! It must never be on the path of data. When it or anything under it fails, all sessions end and its next life begins
//! them anew.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use ractor::{Actor, ActorId, ActorProcessingErr, ActorRef, SupervisionEvent};
use ractor_cluster::node::{NodeConnectionMode, NodeServerSessionInformation};
use ractor_cluster::{NodeEventSubscription, NodeServer, NodeServerMessage};
use tokio::task::JoinHandle;
use ultrakv_actors::clock::Now;

use super::report::{REPORT_BYTES_MAX, ReportActor};
use super::stream::{SessionIo, carry, labelled, parcel};
use super::{Life, Shared};
use crate::NodeId;

/// How often missing sessions are looked for.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// The time for opening a stream.
const OPEN_WITHIN: Duration = Duration::from_secs(3);
/// A stream that has not become a session by then is ended.
const READY_MS: u64 = 5_000;
/// One that ends later than this after it was opened is opened again at once.
const SETTLED_MS: u64 = 2_000;
/// A message of the library: a report and what is around it.
const FRAME_BYTES_MAX: u64 = 2 * 1024 * 1024;
const _: () = assert!(
    REPORT_BYTES_MAX < 2 * 1024 * 1024,
    "a report must fit a message"
);

pub(super) struct MeshActor {
    shared: Arc<Shared>,
}

/// What the actor is told.
pub(super) enum MeshMsg {
    /// Look for missing sessions.
    Look,
    /// A peer opened a stream.
    Accepted { peer: NodeId, io: SessionIo },
    /// A stream of ours is open.
    Opened { peer: NodeId, io: SessionIo },
    /// A session can be used.
    Ready { peer: NodeId, session: u64 },
    /// A session ended.
    Ended { peer: NodeId, session: u64 },
}

impl ractor::Message for MeshMsg {}

pub(super) struct MeshState {
    server: ActorRef<NodeServerMessage>,
    /// Streams that this node opened or is opening.
    opened: BTreeMap<NodeId, Opened>,
    _over: Over,
}

struct Opened {
    task: JoinHandle<()>,
    since: Now,
    is_ready: bool,
}

impl Drop for Opened {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl MeshActor {
    pub(super) const fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Ends what should not be, and opens what is missing.
    fn look(&self, myself: &ActorRef<MeshMsg>, state: &mut MeshState) {
        let now = self.shared.plan.clock.now();
        let peers = Arc::clone(&self.shared.peers.borrow());
        state.opened.retain(|peer, opened| {
            let late = !opened.is_ready && now.0.saturating_sub(opened.since.0) > READY_MS;
            peers.contains(peer) && !opened.task.is_finished() && !late
        });
        for peer in peers.iter().copied() {
            if peer > self.shared.plan.node && !state.opened.contains_key(&peer) {
                let task = tokio::spawn(open(Arc::clone(&self.shared), myself.clone(), peer));
                let opened = Opened {
                    task,
                    since: now,
                    is_ready: false,
                };
                state.opened.insert(peer, opened);
            }
        }
    }
}

/// Opens a stream and carries it until it ends.
async fn open(shared: Arc<Shared>, mesh: ActorRef<MeshMsg>, peer: NodeId) {
    let deadline = shared.plan.clock.deadline(OPEN_WITHIN);
    let opened = shared.plan.lane.open(peer, parcel(Bytes::new()), deadline);
    match opened.await {
        Ok(stream) => {
            let (io, carried) = carry(peer, stream);
            if mesh.cast(MeshMsg::Opened { peer, io }).is_ok() {
                carried.await;
            }
        }
        Err(error) => tracing::debug!(%peer, %error, "no session with a node"),
    }
}

impl Actor for MeshActor {
    type Msg = MeshMsg;
    type State = MeshState;
    type Arguments = ();

    async fn pre_start(
        &self,
        myself: ActorRef<Self::Msg>,
        (): (),
    ) -> Result<Self::State, ActorProcessingErr> {
        let plan = &self.shared.plan;
        // The same on every node of a cluster and no secret: the lane below has proven the peer.
        let cookie = format!("ultrakv mesh of {}", plan.cluster);
        let server = NodeServer::new(
            0,
            cookie,
            plan.node.to_string(),
            plan.cluster.to_string(),
            None,
            Some(NodeConnectionMode::Isolated),
        )
        .with_listen_addr(IpAddr::V4(Ipv4Addr::LOCALHOST))
        .with_max_inbound_frame_size(FRAME_BYTES_MAX);
        let (server, _) = Actor::spawn_linked(None, server, (), myself.get_cell()).await?;
        let report = ReportActor {
            reporter: Arc::clone(&plan.reporter),
        };
        let group = self.shared.group(plan.node);
        Actor::spawn_linked(None, report, group, myself.get_cell()).await?;
        server.cast(NodeServerMessage::SubscribeToEvents {
            id: "mesh".to_owned(),
            subscription: Box::new(Events(myself.clone())),
        })?;
        Ok(MeshState {
            server,
            opened: BTreeMap::new(),
            _over: Over {
                shared: Arc::clone(&self.shared),
                actor: myself.get_id(),
            },
        })
    }

    async fn post_start(
        &self,
        myself: ActorRef<Self::Msg>,
        _state: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        self.shared.life.store(Some(Arc::new(Life {
            actor: myself.clone(),
        })));
        // The timer ends with the actor.
        drop(myself.send_interval(LOOK_EVERY, || MeshMsg::Look));
        Ok(())
    }

    async fn handle(
        &self,
        myself: ActorRef<Self::Msg>,
        message: Self::Msg,
        state: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            MeshMsg::Look => self.look(&myself, state),
            MeshMsg::Accepted { peer, io } => {
                tracing::debug!(%peer, "a session begins");
                state
                    .server
                    .cast(NodeServerMessage::ConnectionOpenedExternal {
                        stream: Box::new(io),
                        is_server: true,
                    })?;
            }
            MeshMsg::Opened { peer, io } => {
                // A stream that was given up meanwhile ends when this end of it is dropped.
                if state.opened.contains_key(&peer) {
                    ractor_cluster::client_connect_external(&state.server, Box::new(io)).await?;
                }
            }
            MeshMsg::Ready { peer, session } => {
                if let Some(opened) = state.opened.get_mut(&peer) {
                    opened.is_ready = true;
                }
                self.shared.seen(peer, session);
            }
            MeshMsg::Ended { peer, session } => {
                self.shared.lost(peer, session);
                // One that never stood, or hardly, waits for the next look: a peer that starts refuses some.
                let now = self.shared.plan.clock.now();
                let stood = |opened: &Opened| {
                    opened.is_ready && now.0.saturating_sub(opened.since.0) > SETTLED_MS
                };
                if state.opened.get(&peer).is_some_and(stood) {
                    self.look(&myself, state);
                }
            }
        }
        Ok(())
    }

    async fn handle_supervisor_evt(
        &self,
        _myself: ActorRef<Self::Msg>,
        event: SupervisionEvent,
        _state: &mut Self::State,
    ) -> Result<(), ActorProcessingErr> {
        match event {
            SupervisionEvent::ActorFailed(_, error) => Err(error),
            SupervisionEvent::ActorTerminated(..) => Err("a part of the mesh ended".into()),
            _ => Ok(()),
        }
    }
}

/// However a life ends, its sessions end with it.
struct Over {
    shared: Arc<Shared>,
    actor: ActorId,
}

impl Drop for Over {
    fn drop(&mut self) {
        let life = self.shared.life.load_full();
        if life.is_some_and(|life| life.actor.get_id() == self.actor) {
            self.shared.life.store(None);
            self.shared.all_lost();
        }
    }
}

/// What the library tells of sessions, on its own actor: passed on, never worked on.
struct Events(ActorRef<MeshMsg>);

impl Events {
    fn pass(&self, message: MeshMsg) {
        // A mesh that stopped has no sessions.
        drop(self.0.cast(message));
    }
}

impl NodeEventSubscription for Events {
    fn node_session_opened(&self, session: NodeServerSessionInformation) {
        if labelled(&session.peer_addr).is_none() {
            tracing::warn!(from = session.peer_addr, "a session of a stranger is ended");
            session.actor.stop(Some("no lane has proven it".to_owned()));
        }
    }

    fn node_session_disconnected(&self, session: NodeServerSessionInformation) {
        if let Some(peer) = labelled(&session.peer_addr) {
            self.pass(MeshMsg::Ended {
                peer,
                session: session.node_id,
            });
        }
    }

    fn node_session_authenticated(&self, _session: NodeServerSessionInformation) {}

    fn node_session_ready(&self, session: NodeServerSessionInformation) {
        if let Some(peer) = labelled(&session.peer_addr) {
            self.pass(MeshMsg::Ready {
                peer,
                session: session.node_id,
            });
        }
    }
}
