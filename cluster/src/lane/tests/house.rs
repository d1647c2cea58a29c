//! What the tests share: authorities, nodes with a lane, a responder that does as it is told.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use tempfile::TempDir;
use tokio::sync::{Notify, mpsc};
use ultrakv_actors::clock::Clock;
use ultrakv_actors::{BootId, Deadline, UnixMs};
use xxhash_rust::xxh3::xxh3_64;

use crate::NodeId;
use crate::lane::tls::{Authority, ClusterName, Credentials, Identity, Subject};
use crate::lane::{AddressBook, QuicLane, QuicLimits, QuicPlan};
use crate::peer::{Caller as _, Parcel, ParcelStream, PeerError, Refused, Responder};
use crate::wire::{Cover, Encoded, Envelope, Kind, Limits};

pub(super) const WAIT: Duration = Duration::from_secs(20);
const DAY_MS: u64 = 86_400_000;

/// An authority in a folder of its own.
pub(super) struct Ca {
    pub(super) authority: Authority,
    pem: String,
    pub(super) key_pem: String,
}

impl Ca {
    pub(super) fn new(cluster: &str) -> Self {
        Self::at(cluster, now())
    }

    fn at(cluster: &str, at: UnixMs) -> Self {
        let cluster = ClusterName::parse(cluster).unwrap();
        let (authority, issued) = Authority::create(cluster, at).unwrap();
        Self {
            authority,
            pem: issued.cert_pem,
            key_pem: issued.key_pem,
        }
    }

    pub(super) fn identity(&self, node: u128) -> Identity {
        self.issue(&Subject::Node(id(node)), 1, now())
    }

    /// A certificate that was valid for a day, two days ago.
    pub(super) fn expired(cluster: &str, node: u128) -> (Self, Identity) {
        let at = UnixMs(now().0 - 3 * DAY_MS);
        let ca = Self::at(cluster, at);
        let identity = ca.issue(&Subject::Node(id(node)), 1, at);
        (ca, identity)
    }

    /// A node's certificates, for another process.
    pub(super) fn folder(&self, node: u128) -> TempDir {
        let subject = Subject::Node(id(node));
        let issued = self.authority.issue(&subject, 1, now()).unwrap();
        let folder = TempDir::new().unwrap();
        Credentials::write(folder.path(), &self.pem, &issued, false).unwrap();
        folder
    }

    fn issue(&self, subject: &Subject, days: u32, at: UnixMs) -> Identity {
        let issued = self.authority.issue(subject, days, at).unwrap();
        let folder = TempDir::new().unwrap();
        Credentials::write(folder.path(), &self.pem, &issued, false).unwrap();
        Identity::new(&Credentials::load(folder.path(), at).unwrap()).unwrap()
    }
}

pub(super) fn now() -> UnixMs {
    Clock::machine().unix()
}

pub(super) fn id(node: u128) -> NodeId {
    NodeId::from_u128(node)
}

/// Who is where, as the test says.
#[derive(Default)]
pub(super) struct Book(pub(super) Mutex<BTreeMap<NodeId, Vec<SocketAddr>>>);

impl AddressBook for Book {
    fn addresses(&self, node: NodeId) -> Vec<SocketAddr> {
        self.0.lock().get(&node).cloned().unwrap_or_default()
    }
}

/// What a request asks of the responder.
#[derive(Debug, serde::Serialize, serde::Deserialize)]
pub(super) enum Say {
    /// The payload comes back.
    Echo,
    /// The answer comes when the test says so; `dropped` is told when nobody waits any more.
    Wait,
    /// It panics before it gives its future.
    Panic,
    /// It panics while it is waited for.
    PanicLater,
    /// It refuses.
    Refuse,
    /// It answers with so many bytes.
    Bytes(usize),
}

/// Does as it is told.
pub(super) struct Obedient {
    pub(super) go: Arc<Notify>,
    pub(super) waiting: Arc<Notify>,
    pub(super) dropped: Arc<Notify>,
    taken: mpsc::UnboundedSender<(NodeId, Parcel)>,
}

struct Tells(Arc<Notify>);

impl Drop for Tells {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

impl Obedient {
    pub(super) fn new() -> (Arc<Self>, mpsc::UnboundedReceiver<(NodeId, Parcel)>) {
        let (taken, posts) = mpsc::unbounded_channel();
        let new = Self {
            go: Arc::default(),
            waiting: Arc::default(),
            dropped: Arc::default(),
            taken,
        };
        (Arc::new(new), posts)
    }
}

impl Responder for Obedient {
    fn answer(&self, peer: NodeId, ask: Parcel) -> BoxFuture<'_, Result<Parcel, Refused>> {
        let say: Say = ask.header().unwrap();
        assert!(!matches!(say, Say::Panic), "as it was told");
        async move {
            let answer = |payload| Ok(Parcel::new(Kind::Answer, &peer, payload).unwrap());
            match say {
                Say::Echo => answer(ask.payload),
                Say::Wait => {
                    let _tells = Tells(Arc::clone(&self.dropped));
                    self.waiting.notify_one();
                    self.go.notified().await;
                    answer(ask.payload)
                }
                Say::Panic | Say::PanicLater => {
                    tokio::task::yield_now().await;
                    panic!("as it was told")
                }
                Say::Refuse => Err(Refused {
                    code: "told_so".to_owned(),
                    message: "it was told to refuse".to_owned(),
                    hint: "say something else".to_owned(),
                }),
                Say::Bytes(bytes) => answer(Bytes::from(vec![7; bytes])),
            }
        }
        .boxed()
    }

    fn take(&self, peer: NodeId, parcel: Parcel) {
        assert!(parcel.payload != "panic", "as it was told");
        self.taken.send((peer, parcel)).unwrap();
    }

    fn stream(
        &self,
        _peer: NodeId,
        first: Parcel,
        mut stream: Box<dyn ParcelStream>,
    ) -> BoxFuture<'_, ()> {
        async move {
            stream.send(first).await.unwrap();
            while let Ok(Some(parcel)) = stream.receive().await {
                if stream.send(parcel).await.is_err() {
                    return;
                }
            }
        }
        .boxed()
    }
}

/// A node with a QUIC lane.
pub(super) struct Node {
    pub(super) id: NodeId,
    pub(super) lane: QuicLane,
    pub(super) book: Arc<Book>,
    pub(super) responder: Arc<Obedient>,
    pub(super) posts: mpsc::UnboundedReceiver<(NodeId, Parcel)>,
    pub(super) clock: Clock,
}

impl Node {
    pub(super) fn start(ca: &Ca, node: u128, limits: QuicLimits) -> Self {
        Self::start_at(ca, node, limits, "127.0.0.1:0".parse().unwrap())
    }

    pub(super) fn start_at(ca: &Ca, node: u128, limits: QuicLimits, bind: SocketAddr) -> Self {
        let (responder, posts) = Obedient::new();
        let (book, clock) = (Arc::new(Book::default()), Clock::machine());
        let boot = ultrakv_actors::Entropy::machine();
        let plan = QuicPlan {
            identity: ca.identity(node),
            boot: BootId::draw(&boot).unwrap(),
            bind,
            limits,
            clock: clock.clone(),
        };
        let lane = QuicLane::start(
            plan,
            Arc::<Obedient>::clone(&responder),
            Arc::<Book>::clone(&book),
        );
        Self {
            id: id(node),
            lane: lane.unwrap(),
            book,
            responder,
            posts,
            clock,
        }
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.lane.local_addr().unwrap()
    }

    pub(super) fn knows(&self, other: &Self) {
        self.book.0.lock().insert(other.id, vec![other.address()]);
    }

    pub(super) fn soon(&self) -> Deadline {
        self.clock.deadline(WAIT)
    }

    pub(super) async fn say(
        &self,
        peer: NodeId,
        say: Say,
        payload: impl Into<Bytes>,
    ) -> Result<Parcel, PeerError> {
        let ask = parcel(say, payload);
        self.lane.call(peer, ask, self.soon()).await
    }

    /// A peer that does nothing wrong is served.
    pub(super) async fn is_served_by(&self, other: &Self) {
        let answer = self.say(other.id, Say::Echo, "still there?").await.unwrap();
        assert_eq!(answer.payload, "still there?");
        assert_eq!(answer.header::<NodeId>().unwrap(), self.id);
    }
}

pub(super) fn parcel(say: Say, payload: impl Into<Bytes>) -> Parcel {
    Parcel::new(Kind::Entry, &say, payload.into()).unwrap()
}

/// Two nodes that know each other.
pub(super) fn pair(limits: QuicLimits) -> (Node, Node) {
    let ca = Ca::new("blue");
    let (one, two) = (Node::start(&ca, 1, limits), Node::start(&ca, 2, limits));
    one.knows(&two);
    two.knows(&one);
    (one, two)
}

/// A frame as a node would send it over a lane like this.
pub(super) fn frame(cover: Cover, node: u128, kind: Kind, payload: &[u8]) -> Vec<u8> {
    let envelope = Envelope {
        kind,
        node: id(node),
        request: 77,
    };
    let payload = Bytes::copy_from_slice(payload);
    let limits = Limits {
        cover,
        ..Limits::BULK
    };
    Encoded::new(envelope, &Say::Echo, payload, limits)
        .unwrap()
        .to_vec()
}

/// A frame with these bytes put somewhere into its beginning, and its checks made anew.
pub(super) fn forged(cover: Cover, mut frame: Vec<u8>, at: usize, bytes: &[u8]) -> Vec<u8> {
    let header_bytes = u32::from_le_bytes(frame[8..12].try_into().unwrap());
    frame[at..at + bytes.len()].copy_from_slice(bytes);
    let check = xxh3_64(&frame[..40]).to_le_bytes();
    frame[40..48].copy_from_slice(&check);
    let end = frame.len() - 8;
    let covered = match cover {
        Cover::Whole => end,
        Cover::Head => 48 + usize::try_from(header_bytes).unwrap(),
    };
    let check = xxh3_64(&frame[..covered]).to_le_bytes();
    frame[end..].copy_from_slice(&check);
    frame
}
