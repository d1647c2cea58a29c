//! Networks that carry one way, or around a corner: somebody leads within a bound, and never two at once.

use std::time::Duration;

use super::bench::{Bench, TIMING, id, leader_of, until};
use crate::raft::ControlError;

/// The old leader is heard by node 2 and hears nobody; node 3 reaches node 2 only. Without a watchdog node 2 keeps to the
/// old leader for ever (openraft issue 2080).
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_hears_nobody_makes_place() {
    let mut bench = Bench::new();
    let nodes = bench.cluster(3).await;
    bench.write(&nodes[0], "before").await.unwrap();
    bench.net.cut(2, 1);
    bench.net.cut_off(1, [3]);
    let took = bench.clock.stopwatch();
    until("the others have elected one", || {
        let leader = nodes[1].consensus.leader();
        leader.is_some_and(|leader| leader != id(1)) && nodes[2].consensus.leader() == leader
    })
    .await;
    // Twice the timeout until it is silent, then a lease, a draw, and a second election if the first is split.
    assert!(
        took.elapsed() < TIMING.election_max * 12,
        "{:?}",
        took.elapsed()
    );
    println!("a lonely leader is replaced after {:?}", took.elapsed());
    bench.write(&nodes[2], "between").await.unwrap();
    assert!(!nodes[0].is_held(), "its tenure is long over");
    let status = nodes[0].consensus.status();
    assert!(nodes[0].consensus.leader() != Some(id(1)), "{status:?}");
    bench.net.heal();
    leader_of(&nodes.iter().collect::<Vec<_>>()).await;
    bench.write(&nodes[0], "after").await.unwrap();
    nodes[0]
        .consensus
        .read_point(bench.deadline())
        .await
        .unwrap();
    assert!(nodes[0].knows("between") && nodes[0].knows("after"));
    for node in nodes {
        bench.stop(node).await;
    }
}

/// Five voters; the leader and two others see only the bridge between the sides. The connected majority elects.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_bridge_does_not_keep_a_majority_from_electing() {
    let mut bench = Bench::new();
    let nodes = bench.cluster(5).await;
    // 1 and 2 on one side, 4 and 5 on the other, 3 sees all.
    for left in [1, 2] {
        bench.net.cut_off(left, [4, 5]);
    }
    bench.write(&nodes[2], "bridge").await.unwrap();
    for node in [0, 1, 2] {
        nodes[node]
            .consensus
            .read_point(bench.deadline())
            .await
            .unwrap();
    }
    // Now the leader loses all but the bridge's ear.
    bench.net.cut(3, 1);
    bench.net.cut_off(1, [2]);
    until("somebody else leads", || {
        let leader = nodes[2].consensus.leader();
        leader.is_some_and(|leader| leader != id(1))
    })
    .await;
    bench.write(&nodes[2], "majority").await.unwrap();
    bench.net.heal();
    leader_of(&nodes.iter().collect::<Vec<_>>()).await;
    for node in &nodes {
        node.consensus.read_point(bench.deadline()).await.unwrap();
        assert!(node.knows("majority") && node.knows("bridge"));
    }
    for node in nodes {
        bench.stop(node).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_minority_changes_nothing_and_serves_nothing() {
    let mut bench = Bench::new();
    let nodes = bench.cluster(3).await;
    bench.net.cut_off(1, [2, 3]);
    let within = bench.clock.deadline(Duration::from_millis(500));
    let lost = nodes[0]
        .consensus
        .propose(vec![super::bench::service("lost")], within);
    assert_eq!(lost.await, Err(ControlError::Unknown));
    until("the others have elected one", || {
        let leader = nodes[1].consensus.leader();
        leader.is_some_and(|leader| leader != id(1))
    })
    .await;
    bench.write(&nodes[1], "kept").await.unwrap();
    until("the old leader has no tenure", || !nodes[0].is_held()).await;
    let reading = nodes[0]
        .consensus
        .read_point(bench.clock.deadline(Duration::from_millis(300)));
    assert!(reading.await.is_err(), "no reader is told of the past");
    bench.net.heal();
    nodes[0]
        .consensus
        .read_point(bench.deadline())
        .await
        .unwrap();
    assert!(nodes[0].knows("kept"));
    for node in nodes {
        bench.stop(node).await;
    }
}
