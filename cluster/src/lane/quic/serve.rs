//! Connections that peers dial: who may come in, how many, and what they may have under way.
//!
//! It must never know what is asked.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use parking_lot::Mutex;
use quinn::{Connection, Incoming};
use tokio::sync::{Notify, Semaphore};
use tokio::time::timeout;

use super::link::{Peer, listen, who};
use super::{QuicLimits, Shared, answer, code, post};
use crate::NodeId;
use crate::lane::book::{Direction, LaneChange, LaneEvent};
use crate::lane::gate::{Gate, Pass};

/// What peers hold of this node.
pub(super) struct Inbound {
    connections: Arc<Semaphore>,
    handshakes: Arc<Gate>,
    per_peer_max: usize,
    held: Mutex<BTreeMap<NodeId, Vec<Connection>>>,
    under_way: Arc<UnderWay>,
}

/// How many requests are being answered.
#[derive(Default)]
struct UnderWay {
    count: AtomicUsize,
    zero: Notify,
}

/// One request that is being answered.
pub(super) struct Answering(Arc<UnderWay>);

impl Drop for Answering {
    fn drop(&mut self) {
        if self.0.count.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.zero.notify_waiters();
        }
    }
}

impl Inbound {
    pub(super) fn new(limits: &QuicLimits) -> Self {
        Self {
            connections: Arc::new(Semaphore::new(limits.connections_max)),
            handshakes: Gate::new(limits.handshakes_max),
            per_peer_max: limits.connections_per_peer_max,
            held: Mutex::default(),
            under_way: Arc::default(),
        }
    }

    pub(super) fn begin(&self) -> Answering {
        self.under_way.count.fetch_add(1, Ordering::AcqRel);
        Answering(Arc::clone(&self.under_way))
    }

    /// Waits until no request is being answered.
    pub(super) async fn idle(&self) {
        loop {
            let mut zero = std::pin::pin!(self.under_way.zero.notified());
            // Listening begins before the look, so that no end between them is missed.
            zero.as_mut().enable();
            if self.under_way.count.load(Ordering::Acquire) == 0 {
                return;
            }
            zero.await;
        }
    }

    /// Whether any peer has a connection.
    pub(super) fn is_used(&self) -> bool {
        !self.held.lock().is_empty()
    }

    /// Ends what a peer dialled.
    pub(super) fn close(&self, node: NodeId, reason: &str) {
        for connection in self.held.lock().get(&node).into_iter().flatten() {
            connection.close(code::FORGOTTEN, reason.as_bytes());
        }
    }

    /// Takes a connection in; the peer's oldest makes room for it, since a peer that dials again gave it up.
    fn enter(&self, node: NodeId, connection: &Connection) {
        let mut held = self.held.lock();
        let of_peer = held.entry(node).or_default();
        if of_peer.len() >= self.per_peer_max {
            let oldest = of_peer.remove(0);
            oldest.close(code::SUPERSEDED, b"there are newer connections");
        }
        of_peer.push(connection.clone());
    }

    fn leave(&self, node: NodeId, connection: &Connection) {
        let mut held = self.held.lock();
        if let Some(of_peer) = held.get_mut(&node) {
            of_peer.retain(|one| one.stable_id() != connection.stable_id());
            if of_peer.is_empty() {
                held.remove(&node);
            }
        }
    }
}

/// Lets peers in until the endpoint is closed.
pub(super) async fn accept(shared: Arc<Shared>) {
    while let Some(incoming) = shared.endpoint.accept().await {
        let is_proven = incoming.remote_address_validated();
        let from = incoming.remote_address().ip();
        let Some(permit) = shared.inbound.handshakes.enter(from, is_proven) else {
            if !is_proven && incoming.may_retry() {
                shared.meters.handshake_failed("lane_unproven_address");
                if let Err(error) = incoming.retry() {
                    error.into_incoming().ignore();
                }
                continue;
            }
            shared.meters.handshake_failed("lane_handshakes_full");
            // No word costs nothing, and a real peer tries again.
            incoming.ignore();
            continue;
        };
        tokio::spawn(admit(Arc::clone(&shared), incoming, permit));
    }
}

/// Finishes a handshake in its time, then serves the connection until it ends.
async fn admit(shared: Arc<Shared>, incoming: Incoming, handshake: Pass) {
    let from = incoming.remote_address();
    let refuse = |label: &'static str, reason: &str| {
        shared.meters.handshake_failed(label);
        tracing::debug!(%from, reason, "a connection was not made");
    };
    let connecting = match incoming.accept() {
        Ok(connecting) => connecting,
        Err(error) => return refuse("lane_handshake", &code::reason(&error)),
    };
    let connection = match timeout(shared.limits.handshake_within, connecting).await {
        Ok(Ok(connection)) => connection,
        Ok(Err(error)) => return refuse("lane_handshake", &code::reason(&error)),
        Err(_) => return refuse("lane_handshake_slow", "the handshake took too long"),
    };
    let node = match who(&shared.identity, &connection) {
        Ok(node) => node,
        Err(reason) => {
            connection.close(code::WRONG_NODE, reason.as_bytes());
            return refuse("lane_identity", &reason);
        }
    };
    if node == shared.me() {
        connection.close(code::NOT_MEANT, b"a node needs no lane to itself");
        return refuse("lane_self", "this node's own certificate");
    }
    let places = Arc::clone(&shared.inbound.connections);
    let Ok(_place) = places.try_acquire_owned() else {
        connection.close(code::TOO_MANY, b"no room for another connection");
        return refuse("lane_connections_full", "no room for another connection");
    };
    drop(handshake);
    serve(shared, connection, node).await;
}

async fn serve(shared: Arc<Shared>, connection: Connection, node: NodeId) {
    let peer = shared.peer(node);
    peer.heard(shared.clock.now());
    peer.inbound.fetch_add(1, Ordering::Relaxed);
    shared.inbound.enter(node, &connection);
    shared.meters.connections_in.increment(1.0);
    shared.tell(LaneEvent {
        node,
        direction: Direction::In,
        change: LaneChange::Up,
    });
    let served = Arc::new(Served {
        streams: Arc::new(Semaphore::new(shared.limits.streams_per_connection_max)),
        shared: Arc::clone(&shared),
        connection: connection.clone(),
        peer: Arc::clone(&peer),
    });
    let ended = tokio::select! {
        ended = listen(&shared, &peer, &connection) => ended,
        ended = requests(&served) => ended,
        ended = posts(&served) => ended,
    };
    shared.inbound.leave(node, &connection);
    peer.inbound.fetch_sub(1, Ordering::Relaxed);
    shared.meters.connections_in.decrement(1.0);
    shared.tell(LaneEvent {
        node,
        direction: Direction::In,
        change: LaneChange::Down {
            reason: code::reason(&ended),
        },
    });
}

/// A connection that a peer dialled.
pub(super) struct Served {
    pub(super) shared: Arc<Shared>,
    pub(super) connection: Connection,
    pub(super) peer: Arc<Peer>,
    pub(super) streams: Arc<Semaphore>,
}

async fn requests(served: &Arc<Served>) -> quinn::ConnectionError {
    let shared = &served.shared;
    let places = usize::try_from(shared.limits.requests_per_connection_max).unwrap_or(usize::MAX);
    // The transport bounds streams; a peer that opens and resets them must not have more tasks than streams.
    let places = Arc::new(Semaphore::new(places.min(Semaphore::MAX_PERMITS)));
    loop {
        // It is never closed; without a place the next request would only be unbounded.
        let place = Arc::clone(&places).acquire_owned().await.ok();
        match served.connection.accept_bi().await {
            Ok((send, recv)) => {
                tokio::spawn(answer::answer(Arc::clone(served), send, recv, place));
            }
            Err(ended) => return ended,
        }
    }
}

async fn posts(served: &Arc<Served>) -> quinn::ConnectionError {
    loop {
        match served.connection.accept_uni().await {
            Ok(recv) => {
                tokio::spawn(post::read_all(
                    Arc::clone(&served.shared),
                    served.connection.clone(),
                    served.peer.node,
                    recv,
                ));
            }
            Err(ended) => return ended,
        }
    }
}
