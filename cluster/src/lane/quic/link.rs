//! This node's own connection to each peer: dialled when first needed, by one dialler, again after a pause.
//!
//! Responsible for finding, proving and keeping it. It must never know what is sent.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use quinn::{Connection, ConnectionError, VarInt};
use tokio::sync::{mpsc, watch};
use tokio::time::{interval, timeout};
use ultrakv_actors::Deadline;
use ultrakv_actors::clock::Now;

use super::post::{self, Post};
use super::stream::{FrameReader, Outgoing, encode, open_frame, refused_by, write, write_reason};
use super::{QuicLimits, Shared, code};
use crate::NodeId;
use crate::lane::backoff::Backoff;
use crate::lane::book::{Direction, LaneChange, LaneEvent, PeerState};
use crate::lane::hello::Hello;
use crate::lane::room::Room;
use crate::lane::tls::Identity;
use crate::peer::PeerError;
use crate::wire::Kind;

/// The name that TLS wants and nobody believes; certificates name nodes.
const SERVER_NAME: &str = "ultrakv";
/// A connection that ends sooner counts as a dial that failed, so that a peer that throws us out is not hammered.
const SETTLED_MS: u64 = 2_000;
/// How exactly it is known when a peer was last heard.
const HEARD_EVERY: Duration = Duration::from_millis(500);

/// One peer, whether there is a connection or not.
pub(super) struct Peer {
    pub(super) node: NodeId,
    pub(super) calls: Arc<Room>,
    pub(super) posts: Arc<Room>,
    pub(super) inbound: AtomicUsize,
    heard: AtomicU64,
    slot: Mutex<Slot>,
}

struct Slot {
    link: Link,
    backoff: Backoff,
    /// Where it was found last, tried first.
    found: Option<SocketAddr>,
}

#[derive(Default)]
enum Link {
    #[default]
    Idle,
    /// One task dials; everybody waits for the other end of `over` to go.
    Dialling {
        over: watch::Receiver<()>,
        posts: mpsc::Sender<Post>,
    },
    Up(Arc<Up>),
}

/// A connection that stands.
pub(super) struct Up {
    pub(super) connection: Connection,
    posts: mpsc::Sender<Post>,
    since: Now,
    hello: Hello,
}

impl Peer {
    pub(super) fn new(node: NodeId, limits: &QuicLimits) -> Self {
        Self {
            node,
            calls: Room::new(limits.calls_per_peer_max, limits.call_bytes_per_peer_max),
            posts: Room::new(limits.posts_per_peer_max, limits.post_bytes_per_peer_max),
            inbound: AtomicUsize::new(0),
            heard: AtomicU64::new(0),
            slot: Mutex::new(Slot {
                link: Link::Idle,
                backoff: Backoff::new(limits.backoff_min, limits.backoff_max),
                found: None,
            }),
        }
    }

    /// Something came from it.
    pub(super) fn heard(&self, now: Now) {
        self.heard.fetch_max(now.0, Ordering::Relaxed);
    }

    pub(super) fn state(&self, now: Now) -> PeerState {
        let slot = self.slot.lock();
        let up = match &slot.link {
            Link::Up(up) => Some(up),
            _ => None,
        };
        let inbound = self.inbound.load(Ordering::Relaxed);
        let heard = self.heard.load(Ordering::Relaxed);
        PeerState {
            node: self.node,
            connected: up.is_some(),
            address: up.map(|up| up.connection.remote_address().to_string()),
            connected_ms: up.map(|up| now.0.saturating_sub(up.since.0)),
            inbound,
            rtt_us: up.map(|up| u64::try_from(up.connection.rtt().as_micros()).unwrap_or(u64::MAX)),
            heard_ms_ago: (heard > 0).then(|| now.0.saturating_sub(heard)),
            version: up.map(|up| up.hello.version.clone()),
            calls: self.calls.count(),
            failures: slot.backoff.failures(),
            last_error: slot.backoff.reason().cloned(),
        }
    }

    /// Ends its connection, if there is one.
    pub(super) fn close(&self, number: VarInt, reason: &str) {
        if let Link::Up(up) = &self.slot.lock().link {
            up.connection.close(number, reason.as_bytes());
        }
    }

    /// Ends a connection to an earlier life of the peer, whose silence would be waited for otherwise.
    pub(super) fn lives_as(&self, hello: &Hello) {
        if let Link::Up(up) = &self.slot.lock().link
            && up.hello.boot != hello.boot
        {
            up.connection
                .close(code::SUPERSEDED, b"the peer started again");
        }
    }

    /// The connection that stands towards this address.
    fn up_at(&self, address: SocketAddr) -> bool {
        matches!(&self.slot.lock().link, Link::Up(up) if up.connection.remote_address() == address)
    }

    /// Where a post may wait for its connection; none during a pause. It dials when there is none.
    pub(super) fn post_queue(self: &Arc<Self>, shared: &Arc<Shared>) -> Option<mpsc::Sender<Post>> {
        let mut slot = self.slot.lock();
        match &slot.link {
            Link::Up(up) => return Some(up.posts.clone()),
            Link::Dialling { posts, .. } => return Some(posts.clone()),
            Link::Idle => {}
        }
        if slot.backoff.pauses(shared.clock.now()).is_some() {
            return None;
        }
        let (posts, _) = self.start_dialling(&mut slot, shared);
        Some(posts)
    }

    fn start_dialling(
        self: &Arc<Self>,
        slot: &mut Slot,
        shared: &Arc<Shared>,
    ) -> (mpsc::Sender<Post>, watch::Receiver<()>) {
        let (posts, queue) = mpsc::channel(shared.limits.posts_per_peer_max);
        let (done, over) = watch::channel(());
        slot.link = Link::Dialling {
            over: over.clone(),
            posts: posts.clone(),
        };
        let (peer, shared, sender) = (Arc::clone(self), Arc::clone(shared), posts.clone());
        let found = slot.found;
        tokio::spawn(async move {
            let dialled = dial(&shared, peer.node, found).await;
            peer.dialled(&shared, dialled, sender, queue);
            drop(done);
        });
        (posts, over)
    }

    fn dialled(
        self: &Arc<Self>,
        shared: &Arc<Shared>,
        dialled: Result<(Connection, Hello), String>,
        posts: mpsc::Sender<Post>,
        mut queue: mpsc::Receiver<Post>,
    ) {
        match dialled {
            Ok((connection, hello)) => self.install(shared, connection, hello, posts, queue),
            Err(reason) => {
                tracing::debug!(peer = %self.node, reason, "a node is not reached");
                let mut slot = self.slot.lock();
                slot.link = Link::Idle;
                slot.backoff.failed(&shared.clock, reason);
                drop(slot);
                shared
                    .meters
                    .posts_dropped
                    .increment(post::drain(&mut queue));
            }
        }
    }

    fn install(
        self: &Arc<Self>,
        shared: &Arc<Shared>,
        connection: Connection,
        hello: Hello,
        posts: mpsc::Sender<Post>,
        queue: mpsc::Receiver<Post>,
    ) {
        let now = shared.clock.now();
        self.heard(now);
        let up = Arc::new(Up {
            connection,
            posts,
            since: now,
            hello,
        });
        let mut slot = self.slot.lock();
        slot.found = Some(up.connection.remote_address());
        slot.link = Link::Up(Arc::clone(&up));
        drop(slot);
        tokio::spawn(post::write_all(
            Arc::clone(shared),
            up.connection.clone(),
            queue,
        ));
        tokio::spawn(Arc::clone(self).tend(Arc::clone(shared), up));
    }

    /// Keeps an eye on a connection until it ends.
    async fn tend(self: Arc<Self>, shared: Arc<Shared>, up: Arc<Up>) {
        shared.meters.connections_out.increment(1.0);
        shared.tell(LaneEvent {
            node: self.node,
            direction: Direction::Out,
            change: LaneChange::Up,
        });
        let ended = listen(&shared, &self, &up.connection).await;
        let reason = code::reason(&ended);
        self.ended(&shared, &up, &reason);
        shared.meters.connections_out.decrement(1.0);
        shared.tell(LaneEvent {
            node: self.node,
            direction: Direction::Out,
            change: LaneChange::Down { reason },
        });
    }

    /// Forgets a connection that is over; whoever sees it first says so.
    pub(super) fn ended(&self, shared: &Shared, up: &Arc<Up>, reason: &str) {
        let mut slot = self.slot.lock();
        if !matches!(&slot.link, Link::Up(present) if Arc::ptr_eq(present, up)) {
            return;
        }
        slot.link = Link::Idle;
        if shared.clock.now().0.saturating_sub(up.since.0) < SETTLED_MS {
            slot.backoff.failed(&shared.clock, reason.to_owned());
        } else {
            slot.backoff.ended(reason.to_owned());
        }
    }
}

/// Notes what is heard on a connection, until that ends.
pub(super) async fn listen(
    shared: &Shared,
    peer: &Peer,
    connection: &Connection,
) -> ConnectionError {
    let mut ticks = interval(HEARD_EVERY);
    let mut seen = 0;
    loop {
        tokio::select! {
            ended = connection.closed() => return ended,
            _ = ticks.tick() => {
                let packets = connection.stats().udp_rx.datagrams;
                if packets != seen {
                    seen = packets;
                    peer.heard(shared.clock.now());
                }
            }
        }
    }
}

/// The connection to a peer; dials, and waits for it until the deadline.
pub(super) async fn connected(
    shared: &Arc<Shared>,
    peer: &Arc<Peer>,
    deadline: Deadline,
) -> Result<Arc<Up>, PeerError> {
    let unreachable = |reason: &str| PeerError::Unreachable {
        peer: peer.node,
        reason: reason.to_owned(),
    };
    loop {
        if shared.is_stopping() {
            return Err(unreachable("this node stops"));
        }
        let mut over = {
            let mut slot = peer.slot.lock();
            match &slot.link {
                Link::Up(up) => return Ok(Arc::clone(up)),
                Link::Dialling { over, .. } => over.clone(),
                Link::Idle if peer.node == shared.me() => {
                    return Err(unreachable("that is this node itself"));
                }
                Link::Idle => match slot.backoff.pauses(shared.clock.now()) {
                    Some(reason) => return Err(unreachable(&reason)),
                    None => peer.start_dialling(&mut slot, shared).1,
                },
            }
        };
        let left = shared.clock.remaining(deadline);
        // The dialler ends by dropping its end, which is the news.
        if timeout(left, over.changed()).await.is_err() {
            return Err(unreachable("no connection in time"));
        }
    }
}

/// Tries a node's addresses one after the other.
async fn dial(
    shared: &Arc<Shared>,
    node: NodeId,
    found: Option<SocketAddr>,
) -> Result<(Connection, Hello), String> {
    let mut addresses = shared.book.addresses(node);
    // Where it was found last comes first, if the book still knows it.
    if let Some(at) = addresses.iter().position(|address| Some(*address) == found) {
        addresses.swap(0, at);
    }
    let mut reason = "no address is known".to_owned();
    for address in addresses {
        match reach(shared, address, Some(node)).await {
            Ok((_, connection, hello)) => return Ok((connection, hello)),
            Err(error) => reason = format!("{address}: {error}"),
        }
    }
    Err(reason)
}

/// Connects to an address and exchanges hellos, so that a peer that would refuse us has done so before anything is sent.
async fn reach(
    shared: &Arc<Shared>,
    address: SocketAddr,
    meant: Option<NodeId>,
) -> Result<(NodeId, Connection, Hello), String> {
    let limit = shared.limits.handshake_within;
    let reached = timeout(limit, async {
        let connecting = shared
            .endpoint
            .connect_with(shared.client.clone(), address, SERVER_NAME)
            .map_err(|error| error.to_string())?;
        let connection = connecting.await.map_err(|error| code::reason(&error))?;
        let node = who(&shared.identity, &connection)?;
        if meant.is_some_and(|meant| meant != node) {
            let reason = format!("node {node} is there instead");
            connection.close(code::NOT_MEANT, b"another node was meant");
            return Err(reason);
        }
        if node == shared.me() {
            connection.close(code::NOT_MEANT, b"a node needs no lane to itself");
            return Err("that is this node itself".to_owned());
        }
        let hello = greet(shared, &connection, node).await;
        let hello = hello.inspect_err(|_| connection.close(code::NO_HELLO, b"no hello"))?;
        Ok((node, connection, hello))
    });
    let reached = reached.await;
    let reached = reached.unwrap_or_else(|_| Err("no answer in time".to_owned()));
    reached.inspect_err(|_| shared.meters.handshake_failed("lane_dial"))
}

/// The node of a connection's certificate.
pub(super) fn who(identity: &Identity, connection: &Connection) -> Result<NodeId, String> {
    let shown = connection.peer_identity();
    let shown = shown.and_then(|shown| {
        shown
            .downcast::<Vec<rustls::pki_types::CertificateDer<'static>>>()
            .ok()
    });
    let shown = shown.ok_or_else(|| "no certificate was shown".to_owned())?;
    identity.peer(&shown).map_err(|error| error.to_string())
}

async fn greet(
    shared: &Arc<Shared>,
    connection: &Connection,
    node: NodeId,
) -> Result<Hello, String> {
    let request = shared.next_request();
    let ask = shared.hello.parcel(Kind::Hello);
    let ask = ask.and_then(|ask| encode(shared, request, &ask));
    let ask = ask.map_err(|error| error.to_string())?;
    let opened = connection.open_bi().await;
    let (send, recv) = opened.map_err(|error| code::reason(&error))?;
    let mut send = Outgoing::new(send);
    let written = write(&mut send.send, ask).await;
    written.map_err(|error| write_reason(&error))?;
    send.finish();
    let frame = FrameReader::new(recv).next().await;
    let frame = frame.map_err(|fault| fault.for_peer(node).to_string())?;
    let frame = frame.ok_or_else(|| "the peer says nothing".to_owned())?;
    let opened = open_frame(shared, connection, node, frame);
    let (_, answer) = opened.map_err(|error| error.to_string())?;
    if answer.kind == Kind::Refusal {
        return Err(refused_by(node, &answer).to_string());
    }
    answer.header::<Hello>().map_err(|error| error.to_string())
}

/// Connects to an address without knowing who is there, and makes it that node's connection unless that has one.
pub(super) async fn introduce(
    shared: &Arc<Shared>,
    address: SocketAddr,
    deadline: Deadline,
) -> Result<NodeId, PeerError> {
    let known = shared
        .peers
        .read()
        .values()
        .find(|peer| peer.up_at(address))
        .map(|peer| peer.node);
    if let Some(node) = known {
        return Ok(node);
    }
    let unreachable = |reason: String| PeerError::Unreachable {
        peer: NodeId::default(),
        reason: format!("{address}: {reason}"),
    };
    if shared.is_stopping() {
        return Err(unreachable("this node stops".to_owned()));
    }
    let reached = timeout(shared.clock.remaining(deadline), async {
        // The semaphore is never closed; if it were, one dial more does no harm.
        let _permit = shared.introductions.acquire().await;
        reach(shared, address, None).await
    });
    let reached = reached.await;
    let reached = reached.unwrap_or_else(|_| Err("no connection in time".to_owned()));
    let (node, connection, hello) = reached.map_err(unreachable)?;
    let peer = shared.peer(node);
    let has_one = {
        let slot = peer.slot.lock();
        matches!(slot.link, Link::Up(_) | Link::Dialling { .. })
    };
    if has_one {
        connection.close(code::SUPERSEDED, b"there is a connection already");
        return Ok(node);
    }
    let (posts, queue) = mpsc::channel(shared.limits.posts_per_peer_max);
    peer.install(shared, connection, hello, posts, queue);
    Ok(node)
}
