//! Strangers, liars and noise on the QUIC port: each is refused clearly, while a good peer goes on.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use quinn::crypto::rustls::QuicClientConfig;
use quinn::{Connection, Endpoint};
use rustls::ClientConfig;
use tokio::net::UdpSocket;
use tokio::time::timeout;
use ultrakv_actors::BootId;

use super::house::{Ca, Node, Say, WAIT, forged, frame, id, parcel};
use super::strangers::believing;
use crate::lane::QuicLimits;
use crate::lane::hello::Hello;
use crate::lane::quic::endpoint;
use crate::peer::{Caller as _, Refused};
use crate::wire::{Cover, Decoder, Encoded, Envelope, Kind, Limits};

/// A node that serves, a good peer of it, and what strangers need.
struct Scene {
    ca: Ca,
    served: Node,
    good: Node,
}

async fn scene(limits: QuicLimits) -> Scene {
    let ca = Ca::new("blue");
    let (served, good) = (
        Node::start(&ca, 1, limits),
        Node::start(&ca, 2, QuicLimits::default()),
    );
    good.knows(&served);
    good.is_served_by(&served).await;
    Scene { ca, served, good }
}

impl Scene {
    async fn goes_on(&self) {
        self.good.is_served_by(&self.served).await;
        assert_eq!(self.good.lane.peers()[0].failures, 0);
    }

    /// A connection of a node with a certificate of its own, and no lane.
    async fn raw(&self, node: u128) -> (Endpoint, Connection) {
        let config = self.ca.identity(node).client_config();
        dial(&self.ca, config, self.served.address()).await.unwrap()
    }
}

async fn dial(
    ca: &Ca,
    config: Arc<ClientConfig>,
    address: SocketAddr,
) -> Result<(Endpoint, Connection), String> {
    let limits = QuicLimits::default();
    let (endpoint, mut client) =
        endpoint::make(&ca.identity(0xbad), "127.0.0.1:0".parse().unwrap(), &limits).unwrap();
    let crypto = Arc::new(QuicClientConfig::try_from(config).unwrap());
    client = {
        let mut new = quinn::ClientConfig::new(crypto);
        drop(client);
        let mut transport = quinn::TransportConfig::default();
        transport.keep_alive_interval(Some(limits.keep_alive));
        new.transport_config(Arc::new(transport));
        new
    };
    let connecting = endpoint.connect_with(client, address, "x").unwrap();
    let connection = connecting.await.map_err(|error| error.to_string())?;
    // In TLS 1.3 the dialler is done before the other side has judged its certificate.
    let (mut send, mut recv) = connection.open_bi().await.map_err(|e| e.to_string())?;
    drop(send.write_all(b"?").await);
    drop(send.finish());
    recv.read_to_end(1000)
        .await
        .map_err(|error| format!("{error:?}"))?;
    Ok((endpoint, connection))
}

/// What the node answers to these bytes on a new stream.
async fn answer(connection: &Connection, bytes: &[u8], finish: bool) -> Result<Refused, String> {
    let (mut send, mut recv) = connection.open_bi().await.map_err(|e| e.to_string())?;
    send.write_all(bytes).await.map_err(|e| e.to_string())?;
    if finish {
        send.finish().unwrap();
    }
    let read = timeout(WAIT, recv.read_to_end(1 << 20)).await.unwrap();
    let mut decoder = Decoder::new(Limits::SMALL);
    decoder.push(&read.map_err(|error| format!("{error:?}"))?);
    let frame = decoder.next_frame().unwrap().expect("an answer");
    assert_eq!(frame.envelope.kind, Kind::Refusal);
    Ok(frame.header().unwrap())
}

#[tokio::test]
async fn only_nodes_of_this_cluster_with_valid_certificates_come_in() {
    let scene = scene(QuicLimits::default()).await;
    let address = scene.served.address();
    for (what, config) in scene.ca.strangers(1) {
        let refused = dial(&scene.ca, Arc::new(config), address).await;
        assert!(refused.is_err(), "{what} came in");
        scene.goes_on().await;
    }
    let trusted = believing(&scene.ca.identity(7).client_config());
    let let_in = dial(&scene.ca, Arc::new(trusted), address).await;
    assert!(let_in.is_ok(), "the dialler itself works: {let_in:?}");
    assert!(
        scene
            .served
            .lane
            .peers()
            .iter()
            .all(|peer| { peer.node == scene.good.id || peer.node == id(7) })
    );
}

#[tokio::test]
async fn a_node_does_not_speak_with_strangers_that_it_dials() {
    let ca = Ca::new("blue");
    let limits = QuicLimits::default();
    let one = Node::start(&ca, 1, limits);
    let stranger = Node::start(&Ca::new("blue"), 2, limits);
    one.knows(&stranger);
    let error = one.say(stranger.id, Say::Echo, "").await.unwrap_err();
    assert!(error.is_unsent(), "{error}");
    assert!(error.to_string().contains("certificate"), "{error}");
}

#[tokio::test]
async fn bytes_that_are_no_frame_are_refused_by_name_and_the_connection_goes_on() {
    let limits = QuicLimits {
        read_within: Duration::from_millis(400),
        ..QuicLimits::default()
    };
    let scene = scene(limits).await;
    let (_endpoint, connection) = scene.raw(7).await;
    let whole = frame(Cover::Whole, 7, Kind::Entry, b"payload");
    let mut damaged = whole.clone();
    damaged[55] ^= 1;
    let large = frame(Cover::Whole, 7, Kind::Entry, &vec![0; 5 << 20]);
    let huge = forged(Cover::Whole, whole.clone(), 12, &u32::MAX.to_le_bytes());
    let twice = [&whole[..], &whole[..]].concat();
    for (bytes, finish, code) in [
        (
            forged(Cover::Whole, whole.clone(), 4, &0_u16.to_le_bytes()),
            true,
            "wire_version",
        ),
        (
            forged(Cover::Whole, whole.clone(), 4, &2_u16.to_le_bytes()),
            true,
            "wire_version",
        ),
        (
            forged(Cover::Whole, whole.clone(), 6, &999_u16.to_le_bytes()),
            true,
            "wire_unknown_kind",
        ),
        (whole[..whole.len() - 1].to_vec(), true, "wire_truncated"),
        (whole[..20].to_vec(), true, "wire_truncated"),
        (whole[..20].to_vec(), false, "lane_slow"),
        (damaged, true, "wire_checksum"),
        (large[..48].to_vec(), false, "wire_payload_too_large"),
        (huge[..48].to_vec(), false, "wire_payload_too_large"),
        (b"GET / HTTP/1.1\r\n\r\n".to_vec(), false, "wire_magic"),
        (twice, true, "wire_header"),
    ] {
        let refused = answer(&connection, &bytes, finish).await.unwrap();
        assert_eq!(refused.code, code, "{refused}");
        assert!(!refused.hint.is_empty());
        scene.goes_on().await;
    }
    assert!(connection.close_reason().is_none());
}

#[tokio::test]
async fn a_frame_in_another_nodes_name_ends_the_connection() {
    let scene = scene(QuicLimits::default()).await;
    for bidirectional in [true, false] {
        let (_endpoint, connection) = scene.raw(7).await;
        let lie = frame(Cover::Whole, 2, Kind::Entry, b"");
        if bidirectional {
            drop(answer(&connection, &lie, true).await.unwrap_err());
        } else {
            let mut posts = connection.open_uni().await.unwrap();
            posts.write_all(&lie).await.unwrap();
        }
        let ended = timeout(WAIT, connection.closed())
            .await
            .unwrap()
            .to_string();
        assert!(ended.contains("the certificate node"), "{ended}");
        scene.goes_on().await;
    }
}

#[tokio::test]
async fn posts_that_are_no_frames_end_the_connection_and_unknown_ones_are_lost() {
    let mut scene = scene(QuicLimits::default()).await;
    let (_endpoint, connection) = scene.raw(7).await;
    let mut posts = connection.open_uni().await.unwrap();
    let whole = frame(Cover::Whole, 7, Kind::EntryNote, b"whole");
    let unknown = forged(Cover::Whole, whole.clone(), 6, &999_u16.to_le_bytes());
    posts.write_all(&unknown).await.unwrap();
    posts.write_all(&whole).await.unwrap();
    let (peer, note) = timeout(WAIT, scene.served.posts.recv())
        .await
        .unwrap()
        .unwrap();
    assert_eq!((peer, &note.payload[..]), (id(7), &b"whole"[..]));
    posts
        .write_all(b"garbage that is long enough")
        .await
        .unwrap();
    let ended = timeout(WAIT, connection.closed())
        .await
        .unwrap()
        .to_string();
    assert!(ended.contains("do not begin a frame"), "{ended}");
    scene.goes_on().await;
}

#[tokio::test]
async fn an_answer_that_is_none_is_an_error_of_the_call() {
    // The peer's certificate is good, but it answers with a frame of another node, a torn one, or another request's.
    let ca = Ca::new("blue");
    let one = Node::start(&ca, 1, QuicLimits::default());
    let (liar, _) = endpoint::make(
        &ca.identity(9),
        "127.0.0.1:0".parse().unwrap(),
        &QuicLimits::default(),
    )
    .unwrap();
    one.book
        .0
        .lock()
        .insert(id(9), vec![liar.local_addr().unwrap()]);
    let lies = vec![
        (
            frame(Cover::Whole, 9, Kind::Answer, b"another request's"),
            "peer_protocol",
        ),
        (
            frame(Cover::Whole, 9, Kind::Entry, b"no answer"),
            "peer_protocol",
        ),
        (b"garbage".to_vec(), "peer_protocol"),
        (
            frame(Cover::Whole, 9, Kind::Answer, b"torn")[..30].to_vec(),
            "peer_protocol",
        ),
        (Vec::new(), "peer_lost"),
        (
            frame(Cover::Whole, 2, Kind::Answer, b"another node's"),
            "peer_lost",
        ),
    ];
    let expected: Vec<_> = lies.iter().map(|(_, code)| *code).collect();
    let lying = tokio::spawn(async move {
        let connection = liar.accept().await.unwrap().await.unwrap();
        let said = [Vec::new()]
            .into_iter()
            .chain(lies.into_iter().map(|(lie, _)| lie));
        for (number, lie) in said.enumerate() {
            let (mut send, mut recv) = connection.accept_bi().await.unwrap();
            let mut decoder = Decoder::new(Limits::SMALL);
            decoder.push(&recv.read_to_end(1 << 20).await.unwrap());
            let ask = decoder.next_frame().unwrap().unwrap();
            let lie = if number == 0 {
                hello_of(9, ask.envelope.request)
            } else {
                lie
            };
            send.write_all(&lie).await.unwrap();
            send.finish().unwrap();
        }
        connection.closed().await.to_string()
    });
    for code in expected {
        let error = one.say(id(9), Say::Echo, "").await.unwrap_err();
        assert_eq!(error.code(), code, "{error}");
    }
    let ended = timeout(WAIT, lying).await.unwrap().unwrap();
    assert!(ended.contains("the certificate node"), "{ended}");
}

#[tokio::test]
async fn noise_on_the_port_is_nothing() {
    let scene = scene(QuicLimits::default()).await;
    let noise = UdpSocket::bind("127.0.0.1:0").await.unwrap();
    let address = scene.served.address();
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    for round in 0..20_000_usize {
        let length = 1 + usize::try_from(next() % 1400).unwrap();
        let mut packet: Vec<u8> = (0..length).map(|_| next().to_le_bytes()[0]).collect();
        // Every other looks like the beginning of a QUIC connection.
        if round % 2 == 0 {
            packet[0] |= 0xc0;
            if packet.len() > 5 {
                packet[1..5].copy_from_slice(&1_u32.to_be_bytes());
            }
        }
        drop(noise.send_to(&packet, address).await);
        if round % 1000 == 0 {
            scene.goes_on().await;
        }
    }
    scene.goes_on().await;
    let new = Node::start(&scene.ca, 3, QuicLimits::default());
    new.knows(&scene.served);
    new.is_served_by(&scene.served).await;
}

#[tokio::test]
async fn handshakes_that_stop_half_way_leave_room_for_good_peers() {
    let limits = QuicLimits {
        handshakes_max: 8,
        handshake_within: Duration::from_secs(2),
        ..QuicLimits::default()
    };
    let scene = scene(limits).await;
    let address = scene.served.address();
    let mut halves = Vec::new();
    for _ in 0..40 {
        // A relay that lets one packet through and then falls silent, towards both.
        let relay = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        let (endpoint, client) = endpoint::make(
            &scene.ca.identity(7),
            "127.0.0.1:0".parse().unwrap(),
            &QuicLimits::default(),
        )
        .unwrap();
        let to = relay.local_addr().unwrap();
        let connecting = endpoint.connect_with(client, to, "x").unwrap();
        let mut packet = [0; 2000];
        let (length, _) = relay.recv_from(&mut packet).await.unwrap();
        relay.send_to(&packet[..length], address).await.unwrap();
        halves.push((relay, endpoint, connecting));
    }
    // Before any of them has run out of time.
    let new = Node::start(&scene.ca, 3, QuicLimits::default());
    new.knows(&scene.served);
    timeout(limits.handshake_within, new.is_served_by(&scene.served))
        .await
        .unwrap();
    scene.goes_on().await;
}

#[tokio::test]
async fn connections_are_bounded_in_all_and_for_each_peer() {
    let limits = QuicLimits {
        connections_max: 3,
        connections_per_peer_max: 2,
        ..QuicLimits::default()
    };
    let scene = scene(limits).await;
    let (first_end, first) = scene.raw(7).await;
    let (_second_end, second) = scene.raw(7).await;
    // The node's three places are taken: the good peer's and these two.
    let config = scene.ca.identity(8).client_config();
    let third = dial(&scene.ca, config, scene.served.address()).await;
    assert!(third.is_err(), "one too many came in");
    scene.goes_on().await;

    first.close(0_u32.into(), b"");
    first_end.wait_idle().await;
    let again = async {
        loop {
            let config = scene.ca.identity(7).client_config();
            if let Ok(let_in) = dial(&scene.ca, config, scene.served.address()).await {
                return let_in;
            }
        }
    };
    let (_third_end, third) = timeout(WAIT, again).await.unwrap();
    assert!(second.close_reason().is_none() && third.close_reason().is_none());
    scene.goes_on().await;
}

#[tokio::test]
async fn the_oldest_of_a_peers_connections_makes_room() {
    let limits = QuicLimits {
        connections_per_peer_max: 2,
        ..QuicLimits::default()
    };
    let scene = scene(limits).await;
    let (_one, first) = scene.raw(7).await;
    let (_two, second) = scene.raw(7).await;
    let (_three, third) = scene.raw(7).await;
    let ended = timeout(WAIT, first.closed()).await.unwrap().to_string();
    assert!(ended.contains("newer connections"), "{ended}");
    assert!(second.close_reason().is_none() && third.close_reason().is_none());
    scene.goes_on().await;
}

#[tokio::test]
async fn long_requests_share_a_bounded_room() {
    let limits = QuicLimits {
        request_bytes_max: 1 << 20,
        read_within: Duration::from_secs(1),
        ..QuicLimits::default()
    };
    let scene = scene(limits).await;
    let (_endpoint, connection) = scene.raw(7).await;
    // Says that a megabyte comes, takes the room for it, and stays silent.
    let long = frame(Cover::Whole, 7, Kind::Entry, &vec![0; (1 << 20) - 200]);
    let (mut send, mut silent) = connection.open_bi().await.unwrap();
    send.write_all(&long[..60_000]).await.unwrap();
    // Short requests are served meanwhile, a long one only when the silent one has been given up.
    scene.goes_on().await;
    let ask = || parcel(Say::Echo, vec![1; 900_000]);
    let late = scene.good.lane.call(
        scene.served.id,
        ask(),
        scene.good.clock.deadline(Duration::from_millis(200)),
    );
    assert_eq!(
        late.await.unwrap_err().code(),
        "peer_deadline",
        "there is no room"
    );
    let given_up = timeout(WAIT, silent.read_to_end(1 << 20))
        .await
        .unwrap()
        .unwrap();
    let mut decoder = Decoder::new(Limits::SMALL);
    decoder.push(&given_up);
    let refused: Refused = decoder.next_frame().unwrap().unwrap().header().unwrap();
    assert_eq!(refused.code, "lane_slow");
    let served = scene
        .good
        .lane
        .call(scene.served.id, ask(), scene.good.soon());
    assert_eq!(served.await.unwrap().payload.len(), 900_000);
}

/// The answer to a hello.
fn hello_of(node: u128, request: u64) -> Vec<u8> {
    let envelope = Envelope {
        kind: Kind::Answer,
        node: id(node),
        request,
    };
    let hello = Hello::new(BootId::from_u128(1));
    let hello = Encoded::new(envelope, &hello, Bytes::new(), Limits::SMALL);
    hello.unwrap().to_vec()
}
