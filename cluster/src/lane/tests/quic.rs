//! What the QUIC lane carries between two good nodes, and what it bounds.

use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;
use tokio::time::timeout;

use super::house::{Ca, Node, Say, WAIT, id, pair, parcel};
use crate::lane::{Direction, LaneChange, QuicLimits};
use crate::peer::{Caller as _, PeerError};
use crate::wire::Kind;

#[tokio::test]
async fn requests_posts_and_streams_go_both_ways() {
    let (mut one, mut two) = pair(QuicLimits::default());
    one.is_served_by(&two).await;
    two.is_served_by(&one).await;
    let lanes = (one.lane.clone(), two.lane.clone());
    for (from, to) in [(lanes.0, &mut two), (lanes.1, &mut one)] {
        let sender = from.node();
        for number in 0..1000_u32 {
            let note = parcel(Say::Echo, number.to_le_bytes().to_vec());
            assert!(from.post(to.id, note), "there is room for {number}");
        }
        for number in 0..1000_u32 {
            let (peer, note) = timeout(WAIT, to.posts.recv()).await.unwrap().unwrap();
            assert_eq!(peer, sender);
            assert_eq!(note.payload, number.to_le_bytes().to_vec(), "in order");
        }
        let first = parcel(Say::Echo, "first");
        let mut stream = from.open(to.id, first, to.soon()).await.unwrap();
        assert_eq!(stream.receive().await.unwrap().unwrap().payload, "first");
        for size in [0, 1, 20_000, 3_000_000] {
            let sent = parcel(Say::Echo, vec![3; size]);
            stream.send(sent.clone()).await.unwrap();
            let back = stream.receive().await.unwrap().unwrap();
            assert_eq!((back.kind, back.header), (sent.kind, sent.header));
            assert_eq!(back.payload, sent.payload);
        }
        drop(stream);
    }
}

#[tokio::test]
async fn many_first_callers_share_one_dial_and_answers_find_their_callers() {
    let (one, two) = pair(QuicLimits::default());
    let calls = (0..200_usize).map(|number| {
        let one = &one;
        async move {
            let payload = Bytes::from(number.to_le_bytes().repeat(1 + number * 25));
            let answer = one.say(id(2), Say::Echo, payload.clone()).await.unwrap();
            assert_eq!(answer.payload, payload);
        }
    });
    join_all(calls).await;
    let seen = two.lane.peers();
    assert_eq!((seen[0].node, seen[0].inbound), (one.id, 1));
    let state = &one.lane.peers()[0];
    assert!(state.connected && state.rtt_us.is_some() && state.calls == 0);
    assert_eq!(state.version.as_deref(), Some(env!("CARGO_PKG_VERSION")));
    assert!(state.heard_ms_ago.is_some_and(|ago| ago < 5_000));
}

#[tokio::test]
async fn a_seed_is_asked_by_its_address_alone() {
    let ca = Ca::new("blue");
    let limits = QuicLimits::default();
    let (one, two) = (Node::start(&ca, 1, limits), Node::start(&ca, 2, limits));
    for _ in 0..3 {
        let ask = parcel(Say::Echo, "who?");
        let asked = one.lane.call_address(two.address(), ask, one.soon()).await;
        let (node, answer) = asked.unwrap();
        assert_eq!((node, &answer.payload[..]), (two.id, &b"who?"[..]));
    }
    assert_eq!(two.lane.peers()[0].inbound, 1, "the connection was kept");
    one.is_served_by(&two).await;

    let own = parcel(Say::Echo, "");
    let own = one.lane.call_address(one.address(), own, one.soon()).await;
    assert!(own.unwrap_err().to_string().contains("this node itself"));
    let nobody = one
        .lane
        .call(id(9), parcel(Say::Echo, ""), one.soon())
        .await;
    assert!(nobody.unwrap_err().to_string().contains("no address"));
}

#[tokio::test]
async fn another_node_at_the_address_is_not_spoken_with() {
    let ca = Ca::new("blue");
    let limits = QuicLimits::default();
    let (one, two) = (Node::start(&ca, 1, limits), Node::start(&ca, 2, limits));
    one.book.0.lock().insert(id(3), vec![two.address()]);
    let error = one.say(id(3), Say::Echo, "").await.unwrap_err();
    assert!(error.is_unsent(), "{error}");
    assert!(
        error
            .to_string()
            .contains(&format!("node {} is there", two.id)),
        "{error}"
    );
    // The next in the book is tried.
    let three = Node::start(&ca, 3, limits);
    let both = vec![two.address(), three.address()];
    one.book.0.lock().insert(id(3), both);
    tokio::time::sleep(limits.backoff_min * 2).await;
    one.is_served_by(&three).await;
}

#[tokio::test]
async fn refusals_panics_and_lateness_end_one_request_each() {
    let limits = QuicLimits {
        answer_within: Duration::from_millis(300),
        ..QuicLimits::default()
    };
    let (one, mut two) = pair(limits);
    let code = |error: PeerError| match error {
        PeerError::Refused { refused, .. } => {
            assert!(!refused.hint.is_empty() && !refused.message.is_empty());
            refused.code
        }
        other => other.code().to_owned(),
    };
    for (say, expected) in [
        (Say::Refuse, "told_so"),
        (Say::Panic, "lane_panic"),
        (Say::PanicLater, "lane_panic"),
        (Say::Wait, "lane_late"),
        (Say::Bytes(5_000_000), "wire_payload_too_large"),
    ] {
        let error = one.say(two.id, say, "").await.unwrap_err();
        assert_eq!(code(error), expected);
        one.is_served_by(&two).await;
    }
    let large = one.say(two.id, Say::Echo, vec![0; 5_000_000]).await;
    assert_eq!(large.unwrap_err().code(), "peer_protocol");
    // A receiver of posts that panics loses that one.
    assert!(one.lane.post(two.id, parcel(Say::Echo, "panic")));
    assert!(one.lane.post(two.id, parcel(Say::Echo, "after")));
    let (_, note) = timeout(WAIT, two.posts.recv()).await.unwrap().unwrap();
    assert_eq!(note.payload, "after");
    assert_eq!(two.lane.peers()[0].inbound, 1, "one connection bore it all");
}

#[tokio::test]
async fn a_caller_who_leaves_ends_the_answer_and_a_deadline_is_kept() {
    let (one, two) = pair(QuicLimits::default());
    one.is_served_by(&two).await;
    let deadline = one.clock.deadline(Duration::from_millis(100));
    let late = one.lane.call(two.id, parcel(Say::Wait, ""), deadline).await;
    assert_eq!(late.unwrap_err().code(), "peer_deadline");
    timeout(WAIT, two.responder.dropped.notified())
        .await
        .unwrap();

    two.responder.waiting.notified().await;
    let mut asked = one.lane.call(two.id, parcel(Say::Wait, ""), one.soon());
    tokio::select! {
        _ = &mut asked => panic!("nobody told it to answer"),
        () = two.responder.waiting.notified() => {}
    }
    drop(asked);
    timeout(WAIT, two.responder.dropped.notified())
        .await
        .unwrap();
    one.is_served_by(&two).await;
}

#[tokio::test]
async fn more_calls_than_may_be_are_refused_before_they_are_sent() {
    let limits = QuicLimits {
        calls_per_peer_max: 2,
        ..QuicLimits::default()
    };
    let (one, two) = pair(limits);
    let waits = [0, 1].map(|_| one.say(two.id, Say::Wait, ""));
    let asks = async {
        for _ in 0..2 {
            two.responder.waiting.notified().await;
        }
        let third = one.say(two.id, Say::Echo, "").await.unwrap_err();
        assert_eq!(third, PeerError::Busy { peer: two.id });
        assert!(third.is_unsent());
        two.responder.go.notify_one();
        tokio::task::yield_now().await;
        two.responder.go.notify_one();
    };
    let (answers, ()) = tokio::join!(join_all(waits), asks);
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    one.is_served_by(&two).await;
}

#[tokio::test]
async fn posts_are_dropped_without_room_or_connection_and_wait_for_a_dial() {
    let limits = QuicLimits {
        posts_per_peer_max: 8,
        ..QuicLimits::default()
    };
    let (one, mut two) = pair(limits);
    // Nothing runs between these, so the dial cannot be over.
    let queued = (0..20)
        .filter(|_| one.lane.post(two.id, parcel(Say::Echo, "x")))
        .count();
    assert_eq!(queued, 8, "what waits for the dial is bounded");
    for _ in 0..8 {
        timeout(WAIT, two.posts.recv()).await.unwrap().unwrap();
    }
    let nobody = id(9);
    while one.lane.post(nobody, parcel(Say::Echo, "x")) {
        tokio::task::yield_now().await;
    }
    assert!(
        !one.lane.post(one.id, parcel(Say::Echo, "x")),
        "not to itself"
    );
}

#[tokio::test]
async fn a_peer_that_starts_again_is_found_and_its_former_life_given_up() {
    let ca = Ca::new("blue");
    let limits = QuicLimits::default();
    let (one, two) = (Node::start(&ca, 1, limits), Node::start(&ca, 2, limits));
    one.knows(&two);
    one.is_served_by(&two).await;
    let mut events = one.lane.events();
    let address = two.address();
    two.lane.close(two.soon()).await;
    let event = timeout(WAIT, events.recv()).await.unwrap().unwrap();
    assert_eq!((event.node, event.direction), (two.id, Direction::Out));
    let LaneChange::Down { reason } = event.change else {
        panic!("it went up?");
    };
    assert!(reason.contains("the node stops"), "{reason}");
    let error = one.say(two.id, Say::Echo, "").await.unwrap_err();
    assert!(error.is_unsent(), "{error}");
    assert!(one.lane.peers()[0].failures > 0);
    drop(two);
    // The port is free once the last task of the closed lane is gone.
    let free = async {
        while std::net::UdpSocket::bind(address).is_err() {
            tokio::task::yield_now().await;
        }
    };
    timeout(WAIT, free).await.unwrap();

    let two = Node::start_at(&ca, 2, limits, address);
    let again = async {
        while one.say(two.id, Say::Echo, "").await.is_err() {
            tokio::time::sleep(limits.backoff_min).await;
        }
    };
    timeout(WAIT, again).await.unwrap();
    assert!(one.lane.peers()[0].connected);
}

#[tokio::test]
async fn a_new_life_that_dials_ends_the_connection_to_the_former_one() {
    let ca = Ca::new("blue");
    // Silence alone would not be noticed in the time of this test.
    let limits = QuicLimits {
        idle: Duration::from_secs(600),
        ..QuicLimits::default()
    };
    let (one, two) = (Node::start(&ca, 1, limits), Node::start(&ca, 2, limits));
    one.knows(&two);
    one.is_served_by(&two).await;
    // The former life goes silent: it neither answers nor says goodbye.
    let mut events = one.lane.events();
    let new = Node::start(&ca, 2, limits);
    new.knows(&one);
    one.knows(&new);
    new.is_served_by(&one).await;
    let down = async {
        loop {
            let event = events.recv().await.unwrap();
            if event.direction == Direction::Out && matches!(event.change, LaneChange::Down { .. })
            {
                return;
            }
        }
    };
    timeout(WAIT, down).await.unwrap();
    let again = async {
        while one.say(new.id, Say::Echo, "").await.is_err() {
            tokio::time::sleep(limits.backoff_min).await;
        }
    };
    timeout(WAIT, again).await.unwrap();
    assert_eq!(one.lane.peers()[0].address, Some(new.address().to_string()));
}

#[tokio::test]
async fn a_lane_that_closes_answers_what_is_under_way_and_refuses_the_rest() {
    let (one, two) = pair(QuicLimits::default());
    let asked = one.say(two.id, Say::Wait, "last");
    let closes = async {
        two.responder.waiting.notified().await;
        let closed = two.lane.close(two.soon());
        let meanwhile = async {
            let late = one.say(two.id, Say::Echo, "").await.unwrap_err();
            assert!(late.to_string().contains("lane_stopping"), "{late}");
            let own = two.say(one.id, Say::Echo, "").await.unwrap_err();
            assert!(own.is_unsent(), "{own}");
            two.responder.go.notify_one();
        };
        tokio::join!(closed, meanwhile)
    };
    let (answer, _) = tokio::join!(asked, closes);
    assert_eq!(answer.unwrap().payload, "last");
}

#[tokio::test]
async fn a_member_that_left_is_forgotten() {
    let (one, two) = pair(QuicLimits::default());
    one.is_served_by(&two).await;
    two.is_served_by(&one).await;
    let mut events = one.lane.events();
    one.lane.forget(two.id);
    for _ in 0..2 {
        let event = timeout(WAIT, events.recv()).await.unwrap().unwrap();
        assert!(matches!(event.change, LaneChange::Down { .. }));
    }
    assert!(one.lane.peers().iter().all(|peer| !peer.connected));
}

#[tokio::test]
async fn streams_of_a_connection_are_bounded() {
    let limits = QuicLimits {
        streams_per_connection_max: 1,
        ..QuicLimits::default()
    };
    let (one, two) = pair(limits);
    let open = || async {
        let first = parcel(Say::Echo, "first");
        let mut stream = one.lane.open(two.id, first, one.soon()).await.unwrap();
        (stream.receive().await, stream)
    };
    let (first, stream) = open().await;
    assert_eq!(first.unwrap().unwrap().kind, Kind::Entry);
    let (second, _) = open().await;
    let error = second.unwrap_err();
    assert!(error.to_string().contains("lane_streams"), "{error}");
    drop(stream);
    let again = async { while open().await.0.is_err() {} };
    timeout(WAIT, again).await.unwrap();
    one.is_served_by(&two).await;
}
