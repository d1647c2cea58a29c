//! Members come, go, lag and lose their disks.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use openraft::CommittedLeaderId;

use super::bench::{Bench, LONG, id, leader_of, pipe, until};
use crate::metadata::{Command, DirectoryBatch, MemberState, State};
use crate::peer::{Parcel, Refused};
use crate::raft::SnapshotRules;
use crate::raft::rpc::{PieceHead, SnapshotHead, pack};
use crate::raft::snapshot::SnapshotFile;
use crate::raft::types::{LogId, RaftId, SnapshotMeta, Vote};
use crate::wire::Kind;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_lags_gets_a_snapshot_over_one_stream() {
    let mut bench = Bench::new();
    bench.snapshots = SnapshotRules {
        log_bytes_min: 16 << 10,
        keep_logs: 16,
    };
    let nodes = bench.cluster(3).await;
    bench.net.cut_off(3, [1, 2]);
    let behind = nodes[2].consensus.status().last_index;
    for number in 0..10 {
        bench.write(&nodes[0], &format!("s{number}")).await.unwrap();
    }
    let filling = async {
        while nodes[0].consensus.status().purged_index <= behind {
            let records = Command::Directory(DirectoryBatch(vec![7; 4 << 10]));
            let made = nodes[0].consensus.propose(vec![records], bench.deadline());
            made.await.unwrap();
        }
    };
    let filled = tokio::time::timeout(LONG, filling).await;
    assert!(filled.is_ok(), "the log is never cut");
    assert_eq!(bench.net.seen(Kind::RaftSnapshot), 0);
    bench.net.heal();
    nodes[2]
        .consensus
        .read_point(bench.deadline())
        .await
        .unwrap();
    assert!(
        bench.net.seen(Kind::RaftSnapshot) >= 2,
        "a head and a piece at least"
    );
    // What is told of a snapshot follows its installation by a moment.
    let told = async {
        while nodes[2].consensus.status().snapshot_index <= behind {
            tokio::task::yield_now().await;
        }
    };
    let told = tokio::time::timeout(LONG, told).await;
    assert!(told.is_ok(), "{:?}", nodes[2].consensus.status());
    for number in 0..10 {
        assert!(nodes[2].knows(&format!("s{number}")));
    }
    // It goes on from there, also after a restart.
    let [one, two, three] = <[Arc<_>; 3]>::try_from(nodes).ok().unwrap();
    bench.stop(three).await;
    let three = bench.start(3).await;
    bench.join(&three, 1).await;
    three.consensus.read_point(bench.deadline()).await.unwrap();
    assert!(three.knows("s9"));
    for node in [one, two, three] {
        bench.stop(node).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_lost_its_disk_is_a_new_learner_and_votes_again_later() {
    let mut bench = Bench::new();
    let nodes = bench.cluster(3).await;
    let [one, two, three] = <[Arc<_>; 3]>::try_from(nodes).ok().unwrap();
    let lost = three.consensus.id();
    bench.stop(three).await;
    bench.lose_disk(3);
    let three = bench.start(3).await;
    assert!(three.consensus.is_pristine());
    let found = three.consensus.id();
    assert!(found.node == lost.node && found.disk != lost.disk);
    bench.join(&three, 2).await;
    until(
        "it votes under its new id, and the old one is forgotten",
        || {
            let status = one.consensus.status();
            status.voters.contains(&found)
                && !status.voters.contains(&lost)
                && !status.learners.contains(&lost)
                && status.voters.len() == 3
        },
    )
    .await;
    // What is for the member that it was, it refuses.
    let rpc = openraft::raft::AppendEntriesRequest {
        vote: one.consensus.inner.raft.metrics().borrow().vote,
        prev_log_id: None,
        entries: vec![],
        leader_commit: None,
    };
    let ask = pack(lost, rpc.clone(), 1).unwrap().parcel;
    let refused = three.consensus.serve(id(1), ask).await.unwrap_err();
    assert_eq!(refused.code, "raft_other_member");
    let ask = pack(found, rpc, 1).unwrap().parcel;
    let refused = three.consensus.serve(id(2), ask.clone()).await.unwrap_err();
    assert_eq!(refused.code, "raft_other_node");
    assert!(three.consensus.serve(id(1), ask).await.is_ok());
    let noise = Parcel {
        kind: Kind::RaftAppend,
        header: Bytes::from_static(b"\xc1noise"),
        payload: Bytes::new(),
    };
    let refused = three.consensus.serve(id(1), noise).await.unwrap_err();
    assert_eq!(refused.code, "raft_unreadable");
    for node in [one, two, three] {
        bench.stop(node).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_dead_voter_is_replaced_by_a_learner_and_who_left_is_forgotten() {
    let mut bench = Bench::new();
    bench.voters.dead_after = Duration::from_secs(2);
    let mut nodes = bench.cluster(4).await;
    let learner = nodes[0].consensus.status().learners;
    assert_eq!(learner.len(), 1);
    let place = nodes
        .iter()
        .position(|node| node.consensus.id() == learner[0])
        .unwrap();
    // Neither the learner nor the leader.
    let dead = (1..4).find(|other| *other != place).unwrap();
    let dead = nodes.remove(dead);
    let (dead_id, dead_life) = (dead.consensus.id(), dead.life);
    bench.stop(dead).await;
    until("the learner votes in its place", || {
        let status = nodes[0].consensus.status();
        status.voters.contains(&learner[0]) && !status.voters.contains(&dead_id)
    })
    .await;
    let number = u64::try_from(dead_life.node.to_u128()).unwrap();
    until("it is down", || {
        nodes[0].state_of(number) == Some(MemberState::Down)
    })
    .await;
    let leave = Command::MemberLeave { life: dead_life };
    let left = nodes[1].consensus.propose(vec![leave], bench.deadline());
    assert!(left.await.unwrap()[0].is_applied());
    until("it is forgotten", || {
        let status = nodes[0].consensus.status();
        !status.learners.contains(&dead_id) && status.voters.len() == 3
    })
    .await;
    leader_of(&nodes.iter().collect::<Vec<_>>()).await;
    for node in nodes {
        bench.stop(node).await;
    }
}

/// A stream that is cut, out of order, too long or damaged is refused, leaves no file, and stops nothing.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn half_a_snapshot_is_never_installed() {
    let mut bench = Bench::new();
    let one = bench.start(1).await;
    let leader = RaftId {
        node: id(2),
        disk: 5,
    };
    let vote = Vote::new_committed(4, leader);
    let meta = SnapshotMeta {
        last_log_id: Some(LogId::new(CommittedLeaderId::new(4, leader), 9)),
        ..SnapshotMeta::default()
    };
    let file = SnapshotFile::at(bench.path("sent"));
    let mut freeze = State::new().freeze().unwrap();
    let chunks = std::iter::from_fn(|| freeze.next_chunk().map(Bytes::from));
    file.write(&meta, chunks).unwrap();
    let whole = std::fs::read(file.path()).unwrap();
    let send = async |pieces: Vec<(u64, Vec<u8>)>| {
        let head = SnapshotHead {
            to: one.consensus.id(),
            vote,
            meta: meta.clone(),
            file_bytes: u64::try_from(whole.len()).unwrap(),
        };
        let (mut ours, theirs) = pipe(&bench.net, id(2), id(1));
        let first = Parcel::new(Kind::RaftSnapshot, &head, Bytes::new()).unwrap();
        let serving = one.consensus.serve_stream(id(2), first, theirs);
        let sending = async {
            for (at, piece) in pieces {
                let piece = Parcel::new(Kind::RaftSnapshot, &PieceHead { at }, piece.into());
                // Who refused takes no more.
                let _ = ours.send(piece.unwrap()).await;
            }
            ours.receive().await.unwrap()
        };
        let (last, ()) = tokio::join!(sending, serving);
        last.map(|last| match last.kind {
            Kind::Refusal => last.header::<Refused>().unwrap().code,
            _ => "taken".to_owned(),
        })
    };
    let half = whole.len() / 2;
    let mut flipped = whole.clone();
    flipped[half] ^= 1;
    let longer = [whole.clone(), vec![0]].concat();
    let bad = [
        vec![(1, whole.clone())],
        vec![(0, whole[..half].to_vec()), (0, whole[half..].to_vec())],
        vec![(0, longer)],
        vec![(0, vec![])],
        vec![(0, flipped)],
    ];
    for pieces in bad {
        let code = send(pieces).await;
        assert_eq!(code.as_deref(), Some("raft_snapshot_damaged"));
        assert_eq!(one.consensus.status().snapshot_index, 0);
    }
    let taken = send(vec![
        (0, whole[..half].to_vec()),
        (u64::try_from(half).unwrap(), whole[half..].to_vec()),
    ]);
    assert_eq!(taken.await.as_deref(), Some("taken"));
    until("it is installed", || {
        one.consensus.status().snapshot_index == 9
    })
    .await;
    assert!(one.consensus.status().fatal.is_none());
    assert_eq!(bench.asides(1), 0, "no half file is left");
    bench.stop(one).await;
}
