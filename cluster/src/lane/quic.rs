//! The lane of small messages: one QUIC endpoint a node, which asks as a [`Caller`] and drives a [`Responder`].
//!
//! Responsible for connections, bounds and deadlines of requests, posts and streams. It must never know a header.
//!
//! # Connections
//! Each side dials its own: what a node asks travels on a connection that it dialled, what it answers on one that the
//! peer dialled. That costs a second connection a pair, a few kilobytes and two keep-alives a second, and spares the
//! election between two that were dialled at once; and a node that cannot be dialled is seen to be so by its peers,
//! instead of hiding behind a connection of its own.
//!
//! # Shape
//! A request is a bidirectional stream: a frame there, a frame back (`Answer` or `Refusal`). Posts are frames on one
//! long-lived unidirectional stream. A stream of frames is a bidirectional stream whose request ids bear the top bit.

mod answer;
mod call;
mod code;
pub(crate) mod endpoint;
mod link;
mod post;
mod serve;
mod stream;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use parking_lot::RwLock;
use quinn::{ClientConfig, Endpoint};
use tokio::sync::{Semaphore, broadcast};
use tokio::time::timeout;
use ultrakv_actors::clock::Clock;
use ultrakv_actors::{BootId, Deadline};

use self::link::Peer;
use super::book::{AddressBook, LaneError, LaneEvent, PeerState};
use super::hello::Hello;
use super::telemetry::Meters;
use super::tls::Identity;
use crate::NodeId;
use crate::peer::{Caller, Parcel, ParcelStream, PeerError, Responder};

/// Events that wait for a slow listener; the connections of a large cluster, once.
const EVENTS_MAX: usize = 1024;
/// Connections to addresses whose node is not known yet that may be dialled at once.
const INTRODUCTIONS_MAX: usize = 8;

/// The bounds of a QUIC lane.
#[derive(Clone, Copy, Debug)]
pub struct QuicLimits {
    /// Connections that peers may hold, all together.
    pub connections_max: usize,
    /// Connections that one peer may hold; the oldest makes room for a new one.
    pub connections_per_peer_max: usize,
    /// Connections of strangers in the making. From half of it on, a stranger must show that its address is its own, and
    /// one address gets a quarter of it at most.
    pub handshakes_max: usize,
    /// The time for making a connection, on either side; for the dialling side, for each address.
    pub handshake_within: Duration,
    /// The shortest pause after a dial that failed; it doubles with each.
    pub backoff_min: Duration,
    /// The longest pause.
    pub backoff_max: Duration,
    /// Requests of ours under way to one peer.
    pub calls_per_peer_max: usize,
    /// Their bytes.
    pub call_bytes_per_peer_max: usize,
    /// Messages that need no answer waiting for one peer.
    pub posts_per_peer_max: usize,
    /// Their bytes.
    pub post_bytes_per_peer_max: usize,
    /// Requests of one connection that are brought or answered at once.
    pub requests_per_connection_max: u32,
    /// Streams of frames that one connection may have open.
    pub streams_per_connection_max: usize,
    /// Bytes of requests longer than 16 KiB that are brought or answered at once, of all peers together.
    pub request_bytes_max: usize,
    /// The time for bringing a whole request.
    pub read_within: Duration,
    /// The time for answering it, and for bringing the answer away.
    pub answer_within: Duration,
    /// The longest time that a stream of frames waits for a peer that does not read.
    pub stall_within: Duration,
    /// How often a quiet connection is proven to live.
    pub keep_alive: Duration,
    /// After which silence a connection is over.
    pub idle: Duration,
    /// What each socket buffer is asked to be; the system may give less.
    pub socket_buffer_bytes: usize,
    /// The largest packet that is tried. Ten packets go to the kernel at once and must fit 65 507 bytes.
    pub packet_bytes_max: u16,
}

impl Default for QuicLimits {
    fn default() -> Self {
        Self {
            connections_max: 1024,
            connections_per_peer_max: 4,
            handshakes_max: 128,
            handshake_within: Duration::from_secs(2),
            backoff_min: Duration::from_millis(50),
            backoff_max: Duration::from_secs(1),
            calls_per_peer_max: 1024,
            call_bytes_per_peer_max: 64 * 1024 * 1024,
            posts_per_peer_max: 4096,
            post_bytes_per_peer_max: 8 * 1024 * 1024,
            requests_per_connection_max: 1024,
            streams_per_connection_max: 16,
            request_bytes_max: 256 * 1024 * 1024,
            read_within: Duration::from_secs(10),
            answer_within: Duration::from_secs(30),
            stall_within: Duration::from_secs(30),
            keep_alive: Duration::from_secs(1),
            idle: Duration::from_secs(3),
            socket_buffer_bytes: 8 * 1024 * 1024,
            packet_bytes_max: 6_500,
        }
    }
}

/// What a lane is told at its start.
pub struct QuicPlan {
    /// What the node shows, and whom it believes.
    pub identity: Identity,
    /// This life of the node.
    pub boot: BootId,
    /// Where to listen; port 0 takes a free one.
    pub bind: SocketAddr,
    /// Its bounds.
    pub limits: QuicLimits,
    /// The time.
    pub clock: Clock,
}

/// A node's QUIC lane. Clones are one lane; it ends with the last of them, or with [`QuicLane::close`].
#[derive(Clone)]
pub struct QuicLane {
    shared: Arc<Shared>,
    _end: Arc<End>,
}

/// What every task of the lane knows.
struct Shared {
    identity: Identity,
    hello: Hello,
    limits: QuicLimits,
    clock: Clock,
    endpoint: Endpoint,
    client: ClientConfig,
    responder: Arc<dyn Responder>,
    book: Arc<dyn AddressBook>,
    peers: RwLock<BTreeMap<NodeId, Arc<Peer>>>,
    events: broadcast::Sender<LaneEvent>,
    meters: Meters,
    requests: AtomicU64,
    stopping: AtomicBool,
    /// In kibibytes.
    request_room: Arc<Semaphore>,
    introductions: Semaphore,
    inbound: serve::Inbound,
}

impl Shared {
    fn me(&self) -> NodeId {
        self.identity.node()
    }

    fn next_request(&self) -> u64 {
        // Beginning anew after 2^63 requests reaches none that is still under way.
        self.requests.fetch_add(1, Ordering::Relaxed) & !stream::STREAM_BIT
    }

    fn peer(&self, node: NodeId) -> Arc<Peer> {
        if let Some(peer) = self.peers.read().get(&node) {
            return Arc::clone(peer);
        }
        let mut peers = self.peers.write();
        let peer = peers
            .entry(node)
            .or_insert_with(|| Arc::new(Peer::new(node, &self.limits)));
        Arc::clone(peer)
    }

    /// A node that knows of nobody listening loses nothing.
    fn tell(&self, event: LaneEvent) {
        drop(self.events.send(event));
    }

    fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }
}

/// Ends the lane with its last clone; the tasks hold only what they share.
struct End {
    endpoint: Endpoint,
}

impl Drop for End {
    fn drop(&mut self) {
        self.endpoint.close(code::STOPPED, b"the node stops");
    }
}

impl QuicLane {
    /// Starts a lane: listens, and answers through the responder.
    ///
    /// # Errors
    /// When the port cannot be had, or a library below refuses the settings.
    pub fn start(
        plan: QuicPlan,
        responder: Arc<dyn Responder>,
        book: Arc<dyn AddressBook>,
    ) -> Result<Self, LaneError> {
        let QuicPlan {
            identity,
            boot,
            bind,
            limits,
            clock,
        } = plan;
        let (endpoint, client) = endpoint::make(&identity, bind, &limits)?;
        let kibibytes = limits.request_bytes_max / stream::KIBIBYTE;
        let shared = Arc::new(Shared {
            hello: Hello::new(boot),
            identity,
            clock,
            client,
            responder,
            book,
            peers: RwLock::default(),
            events: broadcast::Sender::new(EVENTS_MAX),
            meters: Meters::new("quic"),
            requests: AtomicU64::new(1),
            stopping: AtomicBool::new(false),
            request_room: Arc::new(Semaphore::new(kibibytes.min(Semaphore::MAX_PERMITS))),
            introductions: Semaphore::new(INTRODUCTIONS_MAX),
            inbound: serve::Inbound::new(&limits),
            endpoint: endpoint.clone(),
            limits,
        });
        tokio::spawn(serve::accept(Arc::clone(&shared)));
        Ok(Self {
            shared,
            _end: Arc::new(End { endpoint }),
        })
    }

    /// Where it listens.
    ///
    /// # Errors
    /// When the system does not say.
    pub fn local_addr(&self) -> Result<SocketAddr, std::io::Error> {
        self.shared.endpoint.local_addr()
    }

    /// Who this node is to its peers.
    #[must_use]
    pub fn node(&self) -> NodeId {
        self.shared.me()
    }

    /// Asks whoever is at an address, and tells who that was; for a node that joins through a seed.
    ///
    /// # Errors
    /// As [`Caller::call`]. While it is not known who is there, errors name node 0 and give the address as a reason.
    pub async fn call_address(
        &self,
        address: SocketAddr,
        ask: Parcel,
        deadline: Deadline,
    ) -> Result<(NodeId, Parcel), PeerError> {
        let node = link::introduce(&self.shared, address, deadline).await?;
        let answer = call::call(&self.shared, node, ask, deadline).await?;
        Ok((node, answer))
    }

    /// Makes a connection to whoever is at an address, and tells who that is; it can be asked from then on.
    ///
    /// # Errors
    /// As [`QuicLane::call_address`].
    pub async fn introduce(
        &self,
        address: SocketAddr,
        deadline: Deadline,
    ) -> Result<NodeId, PeerError> {
        link::introduce(&self.shared, address, deadline).await
    }

    /// Every peer that was spoken with, for status.
    #[must_use]
    pub fn peers(&self) -> Vec<PeerState> {
        let peers: Vec<Arc<Peer>> = self.shared.peers.read().values().map(Arc::clone).collect();
        let now = self.shared.clock.now();
        peers.iter().map(|peer| peer.state(now)).collect()
    }

    /// Ends everything with a peer that is no member any more, and forgets it.
    pub fn forget(&self, node: NodeId) {
        let peer = self.shared.peers.write().remove(&node);
        if let Some(peer) = peer {
            peer.close(code::FORGOTTEN, "no member any more");
        }
        self.shared.inbound.close(node, "no member any more");
    }

    /// Connections that come and go, from now on. A listener that falls 1 024 behind is told how many it missed.
    #[must_use]
    pub fn events(&self) -> broadcast::Receiver<LaneEvent> {
        self.shared.events.subscribe()
    }

    /// Stops: refuses what is new, waits for answers under way until the deadline, then ends every connection.
    pub async fn close(&self, deadline: Deadline) {
        let shared = &self.shared;
        shared.stopping.store(true, Ordering::Release);
        shared.endpoint.set_server_config(None);
        let left = shared.clock.remaining(deadline);
        // Whoever is not answered by then sees its connection end, which is an answer too.
        drop(timeout(left, shared.inbound.idle()).await);
        // An answer written just before the lane began to stop did not wait for its receipt.
        if shared.inbound.is_used() {
            tokio::time::sleep(FAREWELL).await;
        }
        shared.endpoint.close(code::STOPPED, b"the node stops");
        // Peers that do not take the news find out by silence.
        let left = shared.clock.remaining(deadline).max(FAREWELL);
        drop(timeout(left, shared.endpoint.wait_idle()).await);
    }
}

/// The time for peers to take last answers and the news that the connection ends, also when the deadline is over.
const FAREWELL: Duration = Duration::from_millis(100);

impl Caller for QuicLane {
    fn call(
        &self,
        peer: NodeId,
        ask: Parcel,
        deadline: Deadline,
    ) -> BoxFuture<'_, Result<Parcel, PeerError>> {
        call::call(&self.shared, peer, ask, deadline).boxed()
    }

    fn post(&self, peer: NodeId, parcel: Parcel) -> bool {
        post::post(&self.shared, peer, parcel)
    }

    fn open(
        &self,
        peer: NodeId,
        first: Parcel,
        deadline: Deadline,
    ) -> BoxFuture<'_, Result<Box<dyn ParcelStream>, PeerError>> {
        call::open(&self.shared, peer, first, deadline).boxed()
    }
}
