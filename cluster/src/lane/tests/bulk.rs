//! What the bulk lane carries between two good nodes, what it bounds, and whom it refuses meanwhile.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use ultrakv_actors::clock::Clock;
use ultrakv_actors::{BootId, Deadline, Entropy};

use super::house::{Book, Ca, Obedient, Say, WAIT, forged, frame, id, parcel};
use super::strangers::believing;
use crate::NodeId;
use crate::lane::hello::Hello;
use crate::lane::{BulkLane, BulkLimits, BulkPlan, BulkSecurity};
use crate::peer::{Caller as _, Parcel, PeerError, Refused};
use crate::wire::{Cover, Decoder, Encoded, Envelope, Kind, Limits};

struct Node {
    id: NodeId,
    lane: BulkLane,
    book: Arc<Book>,
    responder: Arc<Obedient>,
    clock: Clock,
}

impl Node {
    fn start(security: BulkSecurity, node: u128, limits: BulkLimits, bind: &str) -> Self {
        let (responder, _) = Obedient::new();
        let (book, clock) = (Arc::new(Book::default()), Clock::machine());
        let plan = BulkPlan {
            security,
            boot: BootId::draw(&Entropy::machine()).unwrap(),
            bind: bind.parse().unwrap(),
            limits,
            clock: clock.clone(),
        };
        let lane = BulkLane::start(
            plan,
            Arc::<Obedient>::clone(&responder),
            Arc::<Book>::clone(&book),
        );
        Self {
            id: id(node),
            lane: lane.unwrap(),
            book,
            responder,
            clock,
        }
    }

    fn knows(&self, other: &Self) {
        let address = other.lane.local_addr();
        self.book.0.lock().insert(other.id, vec![address]);
    }

    fn soon(&self) -> Deadline {
        self.clock.deadline(WAIT)
    }

    async fn say(
        &self,
        peer: NodeId,
        say: Say,
        payload: impl Into<Bytes>,
    ) -> Result<Parcel, PeerError> {
        self.lane
            .call(peer, parcel(say, payload), self.soon())
            .await
    }

    async fn is_served_by(&self, other: &Self) {
        let answer = self.say(other.id, Say::Echo, "still there?").await.unwrap();
        assert_eq!(answer.payload, "still there?");
        assert_eq!(answer.header::<NodeId>().unwrap(), self.id);
    }
}

const ANY_PORT: &str = "127.0.0.1:0";

fn tls(ca: &Ca, node: u128) -> BulkSecurity {
    BulkSecurity::Tls(ca.identity(node))
}

fn plain(node: u128) -> BulkSecurity {
    BulkSecurity::Plain { node: id(node) }
}

/// Two nodes; the second is asked.
fn pair(limits: BulkLimits) -> (Ca, Node, Node) {
    let ca = Ca::new("blue");
    let one = Node::start(tls(&ca, 1), 1, limits, ANY_PORT);
    let two = Node::start(tls(&ca, 2), 2, limits, ANY_PORT);
    one.knows(&two);
    (ca, one, two)
}

fn code(error: PeerError) -> String {
    match error {
        PeerError::Refused { refused, .. } => {
            assert!(!refused.hint.is_empty() && !refused.message.is_empty());
            refused.code
        }
        other => other.code().to_owned(),
    }
}

#[tokio::test]
async fn payloads_of_every_size_go_there_and_back_with_and_without_tls() {
    let ca = Ca::new("blue");
    for security in [[tls(&ca, 1), tls(&ca, 2)], [plain(1), plain(2)]] {
        let [one, two] = security;
        let one = Node::start(one, 1, BulkLimits::default(), ANY_PORT);
        let two = Node::start(two, 2, BulkLimits::default(), ANY_PORT);
        one.knows(&two);
        for size in [0, 1, 16_000, 16_384, 2 << 20, 64 << 20] {
            let payload = Bytes::from(vec![u8::try_from(size % 251).unwrap(); size]);
            let answer = one.say(two.id, Say::Echo, payload.clone()).await.unwrap();
            assert_eq!(answer.payload.len(), size);
            assert!(answer.payload == payload, "{size} bytes came back changed");
        }
        let large = one.say(two.id, Say::Echo, vec![0; (64 << 20) + 1]).await;
        assert_eq!(large.unwrap_err().code(), "peer_protocol");
        assert_eq!(one.lane.peers()[0].connections, 1, "one was enough");
        assert!(!one.lane.post(two.id, parcel(Say::Echo, "")));
        let stream = one
            .lane
            .open(two.id, parcel(Say::Echo, ""), one.soon())
            .await;
        assert!(stream.err().unwrap().is_unsent());
    }
}

#[tokio::test]
async fn requests_share_a_bounded_pool() {
    let limits = BulkLimits {
        connections_per_peer_max: 3,
        calls_per_peer_max: 40,
        ..BulkLimits::default()
    };
    let (_ca, one, two) = pair(limits);
    let asks = (0..40_u32).map(|number| {
        let one = &one;
        async move {
            let payload = Bytes::from(number.to_le_bytes().repeat(10_000));
            let answer = one.say(id(2), Say::Echo, payload.clone()).await.unwrap();
            assert_eq!(answer.payload, payload);
        }
    });
    join_all(asks).await;
    let state = &one.lane.peers()[0];
    assert!((1..=3).contains(&state.connections), "{state:?}");
    assert_eq!(state.calls, 0);

    let many = (0..41).map(|_| one.say(two.id, Say::Echo, ""));
    let refused = join_all(many).await;
    let refused: Vec<_> = refused.into_iter().filter_map(Result::err).collect();
    assert_eq!(refused, [PeerError::Busy { peer: two.id }]);
}

#[tokio::test]
async fn refusals_panics_and_lateness_end_one_request_each() {
    let limits = BulkLimits {
        answer_within: Duration::from_millis(300),
        ..BulkLimits::default()
    };
    let (_ca, one, two) = pair(limits);
    for (say, expected) in [
        (Say::Refuse, "told_so"),
        (Say::Panic, "lane_panic"),
        (Say::PanicLater, "lane_panic"),
        (Say::Wait, "lane_late"),
        (Say::Bytes((64 << 20) + 1), "wire_payload_too_large"),
    ] {
        let error = one.say(two.id, say, "").await.unwrap_err();
        assert_eq!(code(error), expected);
        one.is_served_by(&two).await;
    }
    assert_eq!(
        one.lane.peers()[0].connections,
        1,
        "one connection bore it all"
    );
}

#[tokio::test]
async fn an_answer_that_nobody_waits_for_frees_its_connection_when_it_comes_or_takes_too_long() {
    let limits = BulkLimits {
        connections_per_peer_max: 1,
        drain_within: Duration::from_millis(500),
        ..BulkLimits::default()
    };
    let (_ca, one, two) = pair(limits);
    for comes in [true, false] {
        let deadline = one.clock.deadline(Duration::from_millis(100));
        let late = one
            .lane
            .call(two.id, parcel(Say::Wait, vec![1; 1 << 20]), deadline);
        assert_eq!(late.await.unwrap_err().code(), "peer_deadline");
        two.responder.waiting.notified().await;
        assert_eq!(one.lane.peers()[0].calls, 1, "it still takes its place");
        if comes {
            two.responder.go.notify_one();
        }
        one.is_served_by(&two).await;
        assert_eq!(one.lane.peers()[0].connections, 1);
    }
}

#[tokio::test]
async fn a_peer_that_starts_again_is_asked_without_an_error() {
    let (ca, one, two) = pair(BulkLimits::default());
    one.is_served_by(&two).await;
    let address = two.lane.local_addr().to_string();
    two.lane.close(two.soon()).await;
    drop(two);
    let down = one.say(id(2), Say::Echo, "").await.unwrap_err();
    assert!(!matches!(down, PeerError::Deadline { .. }), "{down}");
    let two = Node::start(tls(&ca, 2), 2, BulkLimits::default(), &address);
    let again = async {
        while one.say(id(2), Say::Echo, "").await.is_err() {
            tokio::task::yield_now().await;
        }
    };
    timeout(WAIT, again).await.unwrap();
    one.is_served_by(&two).await;
}

#[tokio::test]
async fn a_lane_that_closes_answers_what_is_under_way() {
    let (_ca, one, two) = pair(BulkLimits::default());
    one.is_served_by(&two).await;
    let asked = one.say(two.id, Say::Wait, "last");
    let closes = async {
        two.responder.waiting.notified().await;
        let closed = two.lane.close(two.soon());
        let told = async {
            let own = two.say(one.id, Say::Echo, "").await.unwrap_err();
            assert!(own.is_unsent(), "{own}");
            two.responder.go.notify_one();
        };
        tokio::join!(closed, told)
    };
    let (answer, _) = tokio::join!(asked, closes);
    assert_eq!(answer.unwrap().payload, "last");
    assert!(one.say(two.id, Say::Echo, "").await.is_err());
}

#[tokio::test]
async fn only_the_node_that_was_meant_is_asked() {
    let (_ca, one, two) = pair(BulkLimits::default());
    one.book.0.lock().insert(id(3), vec![two.lane.local_addr()]);
    let error = one.say(id(3), Say::Echo, "").await.unwrap_err();
    assert!(
        error.is_unsent() && error.to_string().contains("is there instead"),
        "{error}"
    );
    let bare = Node::start(plain(4), 4, BulkLimits::default(), ANY_PORT);
    bare.knows(&two);
    one.knows(&bare);
    for error in [
        bare.say(two.id, Say::Echo, "").await.unwrap_err(),
        one.say(bare.id, Say::Echo, "").await.unwrap_err(),
    ] {
        assert!(
            error.is_unsent(),
            "with and without TLS do not mix: {error}"
        );
    }
    one.is_served_by(&two).await;
}

trait Both: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Both for T {}

/// A connection without a lane, after its hello unless that is refused.
async fn raw(
    config: rustls::ClientConfig,
    address: SocketAddr,
    node: u128,
) -> Result<Box<dyn Both>, String> {
    let words = |error: std::io::Error| error.to_string();
    let socket = TcpStream::connect(address).await.map_err(words)?;
    let connector = TlsConnector::from(Arc::new(config));
    let name = ServerName::try_from("x").unwrap();
    let mut stream = connector.connect(name, socket).await.map_err(words)?;
    let envelope = Envelope {
        kind: Kind::Hello,
        node: id(node),
        request: 1,
    };
    let hello = Hello::new(BootId::from_u128(9));
    let hello = Encoded::new(envelope, &hello, Bytes::new(), Limits::BULK).unwrap();
    stream.write_all(&hello.to_vec()).await.map_err(words)?;
    match answer(&mut stream).await? {
        (Kind::Answer, _) => Ok(Box::new(stream)),
        (_, refused) => Err(refused.unwrap().code),
    }
}

async fn answer(stream: &mut (impl AsyncRead + Unpin)) -> Result<(Kind, Option<Refused>), String> {
    let mut decoder = Decoder::new(Limits::BULK);
    loop {
        if let Some(frame) = decoder.next_frame().unwrap() {
            return Ok((frame.envelope.kind, frame.header().ok()));
        }
        let read = timeout(WAIT, stream.read_buf(decoder.room()))
            .await
            .unwrap();
        if read.map_err(|error| error.to_string())? == 0 {
            return Err("the end".to_owned());
        }
    }
}

#[tokio::test]
async fn strangers_and_liars_are_refused_while_a_good_peer_goes_on() {
    let limits = BulkLimits {
        inbound_per_peer_max: 1,
        ..BulkLimits::default()
    };
    let (ca, good, served) = pair(limits);
    let address = served.lane.local_addr();
    for (what, config) in ca.strangers(2) {
        let node = if what == "the node's own" { 2 } else { 7 };
        assert!(raw(config, address, node).await.is_err(), "{what} came in");
        good.is_served_by(&served).await;
    }
    let own = || believing(&ca.identity(7).client_config());
    let liar = raw(own(), address, 8).await.err().unwrap();
    assert_eq!(liar, "wire_header", "the hello names another node");
    let mut first = raw(own(), address, 7).await.unwrap();
    let second = raw(own(), address, 7).await.err().unwrap();
    assert_eq!(second, "lane_connections_full");
    first
        .write_all(&frame(Cover::Head, 8, Kind::Entry, b"in another's name"))
        .await
        .unwrap();
    let (_, refused) = answer(&mut first).await.unwrap();
    assert_eq!(refused.unwrap().code, "lane_wrong_node");
    assert_eq!(answer(&mut first).await.unwrap_err(), "the end");
    good.is_served_by(&served).await;
}

#[tokio::test]
async fn bytes_that_are_no_frame_are_refused_by_name_and_end_their_connection() {
    let limits = BulkLimits {
        transfer_within: Duration::from_millis(400),
        ..BulkLimits::default()
    };
    let (ca, good, served) = pair(limits);
    let address = served.lane.local_addr();
    let whole = frame(Cover::Head, 7, Kind::Entry, b"payload");
    let mut damaged = whole.clone();
    damaged[49] ^= 1;
    let huge = forged(Cover::Head, whole.clone(), 12, &u32::MAX.to_le_bytes());
    for (bytes, expected) in [
        (
            forged(Cover::Head, whole.clone(), 4, &0_u16.to_le_bytes()),
            "wire_version",
        ),
        (
            forged(Cover::Head, whole.clone(), 4, &2_u16.to_le_bytes()),
            "wire_version",
        ),
        (damaged, "wire_checksum"),
        (huge[..48].to_vec(), "wire_payload_too_large"),
        (b"GET / HTTP/1.1\r\n\r\n".to_vec(), "wire_magic"),
        (whole[..20].to_vec(), ""),
    ] {
        let config = believing(&ca.identity(7).client_config());
        let mut stream = raw(config, address, 7).await.unwrap();
        stream.write_all(&bytes).await.unwrap();
        stream.flush().await.unwrap();
        if !expected.is_empty() {
            let (kind, refused) = answer(&mut stream).await.unwrap();
            assert_eq!(kind, Kind::Refusal);
            assert_eq!(refused.unwrap().code, expected);
        }
        // A frame that does not come in its time has no answer but the end.
        drop(answer(&mut stream).await.unwrap_err());
        good.is_served_by(&served).await;
    }
    let config = believing(&ca.identity(7).client_config());
    let mut stream = raw(config, address, 7).await.unwrap();
    for _ in 0..3 {
        let unknown = forged(Cover::Head, whole.clone(), 6, &999_u16.to_le_bytes());
        stream.write_all(&unknown).await.unwrap();
        let (_, refused) = answer(&mut stream).await.unwrap();
        assert_eq!(refused.unwrap().code, "wire_unknown_kind", "and it goes on");
    }
}

#[tokio::test]
async fn noise_and_half_handshakes_take_no_room_from_others() {
    let limits = BulkLimits {
        handshakes_max: 8,
        handshake_within: Duration::from_secs(3),
        connections_max: 2,
        ..BulkLimits::default()
    };
    let ca = Ca::new("blue");
    let served = Node::start(tls(&ca, 2), 2, limits, "0.0.0.0:0");
    let port = served.lane.local_addr().port();
    let good = Node::start(tls(&ca, 1), 1, BulkLimits::default(), ANY_PORT);
    let address = SocketAddr::from(([127, 0, 0, 1], port));
    good.book.0.lock().insert(served.id, vec![address]);
    good.is_served_by(&served).await;
    // Silent, half a hello of TLS, noise: all from one address, which gets a quarter of the places.
    let mut halves = Vec::new();
    for number in 0..60_usize {
        let socket = tokio::net::TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
        let mut socket = socket.connect(address).await.unwrap();
        let said: &[u8] = [&b""[..], b"\x16\x03\x01\x02\x00\x01\x00", &[0xa5; 4096]][number % 3];
        drop(socket.write_all(said).await);
        halves.push(socket);
    }
    let new = Node::start(tls(&ca, 3), 3, BulkLimits::default(), ANY_PORT);
    new.book.0.lock().insert(served.id, vec![address]);
    timeout(limits.handshake_within, new.is_served_by(&served))
        .await
        .unwrap();
    good.is_served_by(&served).await;
    // Both places are taken now.
    let third = Node::start(tls(&ca, 4), 4, BulkLimits::default(), ANY_PORT);
    third.book.0.lock().insert(served.id, vec![address]);
    let error = third.say(served.id, Say::Echo, "").await.unwrap_err();
    assert!(
        error.to_string().contains("no room for another connection"),
        "{error}"
    );
    // Those that fell silent are thrown out in their time.
    for mut socket in halves {
        let mut bytes = Vec::new();
        drop(timeout(WAIT, socket.read_to_end(&mut bytes)).await.unwrap());
    }
    good.is_served_by(&served).await;
}
