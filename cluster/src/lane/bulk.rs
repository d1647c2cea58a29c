//! The lane of block bytes: requests with large payloads over TCP, inside TLS unless that was given up explicitly.
//!
//! Responsible for a small pool of connections to each peer, and for bounds and deadlines. It must never know a block.
//!
//! # Why TCP
//! Over loopback QUIC moves a tenth of what TCP does for the same CPU; between machines the kernel and the card help TCP
//! alone. One request at a time is on a connection: the next answer of a pipeline would wait behind up to 64 MiB, and
//! several connections use several cores.

mod channel;
mod io;
mod pool;
mod serve;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use parking_lot::RwLock;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio::time::timeout;
use ultrakv_actors::clock::Clock;
use ultrakv_actors::{BootId, Deadline};

use self::pool::Pool;
use super::book::{AddressBook, LaneError};
use super::hello::Hello;
use super::telemetry::Meters;
use super::tls::Identity;
use crate::NodeId;
use crate::peer::{Caller, Parcel, ParcelStream, PeerError, Responder};

/// The bounds of a bulk lane.
#[derive(Clone, Copy, Debug)]
pub struct BulkLimits {
    /// Connections that peers may hold, all together.
    pub connections_max: usize,
    /// Connections of strangers in the making; a quarter of it for one address.
    pub handshakes_max: usize,
    /// The time for making a connection, on either side; for the dialling side, for each address.
    pub handshake_within: Duration,
    /// The shortest pause after a dial that failed; it doubles with each.
    pub backoff_min: Duration,
    /// The longest pause.
    pub backoff_max: Duration,
    /// Connections to one peer, and so requests that travel at once.
    pub connections_per_peer_max: usize,
    /// Connections that one peer may hold of this node.
    pub inbound_per_peer_max: usize,
    /// Requests to one peer that travel or wait for a connection.
    pub calls_per_peer_max: usize,
    /// Their bytes.
    pub call_bytes_per_peer_max: usize,
    /// Bytes of requests longer than 16 KiB that are brought or answered at once, of all peers together.
    pub request_bytes_max: usize,
    /// The time for bringing a whole request, or for taking a whole answer.
    pub transfer_within: Duration,
    /// The time for answering.
    pub answer_within: Duration,
    /// How long an answer that nobody waits for any more may still take, so that its connection is used again.
    pub drain_within: Duration,
    /// How long this side keeps a connection that it does not use; the other side waits three times as long.
    pub idle: Duration,
    /// After which silence of the other machine's kernel a connection is over.
    pub silence: Duration,
}

impl Default for BulkLimits {
    fn default() -> Self {
        Self {
            connections_max: 1024,
            handshakes_max: 128,
            handshake_within: Duration::from_secs(2),
            backoff_min: Duration::from_millis(50),
            backoff_max: Duration::from_secs(1),
            connections_per_peer_max: 8,
            inbound_per_peer_max: 16,
            calls_per_peer_max: 256,
            call_bytes_per_peer_max: 256 * 1024 * 1024,
            request_bytes_max: 512 * 1024 * 1024,
            transfer_within: Duration::from_secs(20),
            answer_within: Duration::from_secs(30),
            drain_within: Duration::from_secs(2),
            idle: Duration::from_secs(20),
            silence: Duration::from_secs(4),
        }
    }
}

/// How a bulk lane proves who is at the other end.
#[derive(Clone, Debug)]
pub enum BulkSecurity {
    /// Mutual TLS.
    Tls(Identity),
    /// Nothing: whoever reaches the port is believed to be who it says. For machines that nobody else can reach.
    Plain {
        /// Who this node says it is.
        node: NodeId,
    },
}

impl BulkSecurity {
    const fn node(&self) -> NodeId {
        match self {
            Self::Tls(identity) => identity.node(),
            Self::Plain { node } => *node,
        }
    }
}

/// What a lane is told at its start.
pub struct BulkPlan {
    /// How peers are known.
    pub security: BulkSecurity,
    /// This life of the node.
    pub boot: BootId,
    /// Where to listen; port 0 takes a free one.
    pub bind: SocketAddr,
    /// Its bounds.
    pub limits: BulkLimits,
    /// The time.
    pub clock: Clock,
}

/// What the lane knows of a peer, for status.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct BulkPeer {
    /// Who.
    pub node: NodeId,
    /// Connections that this node dialled.
    pub connections: usize,
    /// Requests that travel or wait for a connection.
    pub calls: usize,
    /// Dials that failed since the last that did not.
    pub failures: u32,
    /// Why the last dial failed.
    pub last_error: Option<String>,
}

/// A node's bulk lane. Clones are one lane; it ends with the last of them, or with [`BulkLane::close`].
///
/// It carries requests only: [`Caller::post`] drops and [`Caller::open`] refuses.
#[derive(Clone)]
pub struct BulkLane {
    shared: Arc<Shared>,
    address: SocketAddr,
    /// Tasks that wait for the next request end when it goes.
    stop: Arc<watch::Sender<bool>>,
}

/// What every task of the lane knows.
struct Shared {
    security: BulkSecurity,
    hello: Hello,
    limits: BulkLimits,
    clock: Clock,
    responder: Arc<dyn Responder>,
    book: Arc<dyn AddressBook>,
    pools: RwLock<BTreeMap<NodeId, Arc<Pool>>>,
    meters: Meters,
    requests: AtomicU64,
    stopping: AtomicBool,
    /// In kibibytes.
    request_room: Arc<Semaphore>,
    inbound: serve::Inbound,
}

impl Shared {
    fn me(&self) -> NodeId {
        self.security.node()
    }

    fn next_request(&self) -> u64 {
        self.requests.fetch_add(1, Ordering::Relaxed)
    }

    fn pool(&self, node: NodeId) -> Arc<Pool> {
        if let Some(pool) = self.pools.read().get(&node) {
            return Arc::clone(pool);
        }
        let mut pools = self.pools.write();
        let pool = pools
            .entry(node)
            .or_insert_with(|| Arc::new(Pool::new(node, &self.limits)));
        Arc::clone(pool)
    }

    fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }
}

impl BulkLane {
    /// Starts a lane: listens, and answers through the responder.
    ///
    /// # Errors
    /// When the port cannot be had.
    pub fn start(
        plan: BulkPlan,
        responder: Arc<dyn Responder>,
        book: Arc<dyn AddressBook>,
    ) -> Result<Self, LaneError> {
        let BulkPlan {
            security,
            boot,
            bind,
            limits,
            clock,
        } = plan;
        let failed = |source| LaneError::Bind {
            address: bind,
            source,
        };
        let listener: TcpListener = io::listen(bind).map_err(failed)?;
        let address = listener.local_addr().map_err(failed)?;
        let kibibytes = limits.request_bytes_max / channel::KIBIBYTE;
        let shared = Arc::new(Shared {
            hello: Hello::new(boot),
            security,
            clock,
            responder,
            book,
            pools: RwLock::default(),
            meters: Meters::new("bulk"),
            requests: AtomicU64::new(1),
            stopping: AtomicBool::new(false),
            request_room: Arc::new(Semaphore::new(kibibytes.min(Semaphore::MAX_PERMITS))),
            inbound: serve::Inbound::new(&limits),
            limits,
        });
        let (stop, stopped) = watch::channel(false);
        tokio::spawn(pool::prune(Arc::clone(&shared), stopped.clone()));
        tokio::spawn(serve::accept(Arc::clone(&shared), listener, stopped));
        Ok(Self {
            shared,
            address,
            stop: Arc::new(stop),
        })
    }

    /// Where it listens.
    #[must_use]
    pub const fn local_addr(&self) -> SocketAddr {
        self.address
    }

    /// Who this node is to its peers.
    #[must_use]
    pub fn node(&self) -> NodeId {
        self.shared.me()
    }

    /// Every peer that was asked, for status.
    #[must_use]
    pub fn peers(&self) -> Vec<BulkPeer> {
        let pools: Vec<Arc<Pool>> = self.shared.pools.read().values().map(Arc::clone).collect();
        pools.iter().map(|pool| pool.state()).collect()
    }

    /// Forgets a peer that is no member any more, and ends idle connections to it.
    pub fn forget(&self, node: NodeId) {
        drop(self.shared.pools.write().remove(&node));
    }

    /// Stops: refuses what is new, waits for answers under way until the deadline, then ends every connection.
    pub async fn close(&self, deadline: Deadline) {
        let shared = &self.shared;
        shared.stopping.store(true, Ordering::Release);
        self.stop.send_replace(true);
        shared.pools.write().clear();
        let left = shared.clock.remaining(deadline);
        // Whoever is not answered by then sees its connection end, which is an answer too.
        drop(timeout(left, shared.inbound.idle()).await);
        shared.inbound.end();
    }
}

impl Caller for BulkLane {
    fn call(
        &self,
        peer: NodeId,
        ask: Parcel,
        deadline: Deadline,
    ) -> BoxFuture<'_, Result<Parcel, PeerError>> {
        pool::call(&self.shared, peer, ask, deadline).boxed()
    }

    fn post(&self, peer: NodeId, parcel: Parcel) -> bool {
        tracing::debug!(%peer, kind = ?parcel.kind, "the bulk lane carries requests only");
        self.shared.meters.posts_dropped.increment(1);
        false
    }

    fn open(
        &self,
        peer: NodeId,
        _first: Parcel,
        _deadline: Deadline,
    ) -> BoxFuture<'_, Result<Box<dyn ParcelStream>, PeerError>> {
        let reason = "the bulk lane carries requests only".to_owned();
        std::future::ready(Err(PeerError::Unreachable { peer, reason })).boxed()
    }
}
