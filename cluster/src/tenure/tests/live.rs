//! Tenures over real consensus and a network with faults.

use std::sync::Arc;
use std::time::Duration;

use tokio::task::JoinHandle;

use super::super::TenureAsk;
use crate::metadata::{Command, MemberState, Sharing};
use crate::peer::Parcel;
use crate::raft::tests::bench::{Bench, Node, TIMING, id, leader_of, until};
use crate::wire::Kind;

/// Watches one node's view at each of its changes: whenever another node is down in it, that node holds nothing.
fn guard(viewer: &Arc<Node>, watched: &[Arc<Node>]) -> JoinHandle<usize> {
    let (viewer, watched) = (Arc::clone(viewer), watched.to_vec());
    tokio::spawn(async move {
        let mut changes = viewer.consensus.changes();
        let mut seen = 0;
        while changes.changed().await.is_ok() {
            for other in &watched {
                let number = u64::try_from(other.life.node.to_u128()).unwrap();
                // The tenure is looked at first: what is down now may be up again and granted a moment later.
                let is_held = other.is_held();
                if viewer.state_of(number) == Some(MemberState::Down) {
                    seen += 1;
                    let is_still_held = other.is_held();
                    assert!(
                        !(is_held && is_still_held),
                        "{number} is down and holds a tenure"
                    );
                }
            }
        }
        seen
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_is_cut_off_is_down_after_its_tenure_and_comes_back() {
    let mut bench = Bench::new();
    let nodes = bench.cluster(3).await;
    let guards: Vec<_> = nodes.iter().map(|viewer| guard(viewer, &nodes)).collect();
    let boot = nodes[2].life.boot;
    for _ in 0..2 {
        let took = bench.clock.stopwatch();
        bench.net.cut_off(3, [1, 2]);
        until("its tenure ends", || !nodes[2].is_held()).await;
        assert!(took.elapsed() < TIMING.election_max + Duration::from_millis(200));
        until("it is called down", || {
            nodes[0].state_of(3) == Some(MemberState::Down)
        })
        .await;
        let down = took.elapsed();
        println!("a node that is cut off is down after {down:?}");
        assert!(down < Duration::from_secs(3), "{down:?}");
        assert!(!nodes[2].is_held());
        assert!(nodes[0].is_held() && nodes[1].is_held());
        bench.net.heal();
        until(
            "it is up again in the same life, and holds a tenure",
            || {
                let view = nodes[0].consensus.view();
                let record = view.members().get(id(3)).unwrap();
                record.boot == boot && record.state == MemberState::Up && nodes[2].is_held()
            },
        )
        .await;
    }
    for guard in guards {
        guard.abort();
        assert!(guard.await.is_err_and(|error| error.is_cancelled()));
    }
    for node in nodes {
        bench.stop(node).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lost_leader_is_down_and_the_others_serve_on() {
    let mut bench = Bench::new();
    let nodes = bench.cluster(3).await;
    let guards: Vec<_> = nodes.iter().map(|viewer| guard(viewer, &nodes)).collect();
    let took = bench.clock.stopwatch();
    bench.net.cut_off(1, [2, 3]);
    until("the old leader is down and holds nothing", || {
        nodes[1].state_of(1) == Some(MemberState::Down) && !nodes[0].is_held()
    })
    .await;
    until("the others hold tenures of the new one", || {
        nodes[1].is_held() && nodes[2].is_held()
    })
    .await;
    println!("a lost leader's slots are free after {:?}", took.elapsed());
    assert_eq!(nodes[1].state_of(2), Some(MemberState::Up));
    assert_eq!(nodes[1].state_of(3), Some(MemberState::Up));
    // It knows nothing of that, and its metadata grow old.
    assert_eq!(nodes[0].state_of(1), Some(MemberState::Up));
    let age_us = nodes[0].tenures.metadata_age_us().unwrap();
    assert!(age_us > 1_000_000 && age_us > nodes[1].tenures.metadata_age_us().unwrap());
    bench.net.heal();
    until("it is up again", || {
        nodes[1].state_of(1) == Some(MemberState::Up) && nodes[0].is_held()
    })
    .await;
    leader_of(&nodes.iter().collect::<Vec<_>>()).await;
    for guard in guards {
        guard.abort();
        assert!(guard.await.is_err_and(|error| error.is_cancelled()));
    }
    for node in nodes {
        bench.stop(node).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_a_calm_network_nobody_is_called_down() {
    let mut bench = Bench::new();
    let nodes = bench.cluster(3).await;
    let before: Vec<_> = (1..=3)
        .map(|number| {
            let view = nodes[0].consensus.view();
            view.members().get(id(number)).unwrap().changed_index
        })
        .collect();
    let calm = bench.clock.stopwatch();
    let mut gaps = 0;
    until("some time has passed", || {
        gaps += usize::from(!nodes.iter().all(|node| node.is_held()));
        calm.elapsed() > TIMING.election_max * 4
    })
    .await;
    let view = nodes[0].consensus.view();
    for (number, before) in (1..).zip(before) {
        let record = view.members().get(id(number)).unwrap();
        assert_eq!(
            (record.changed_index, record.state),
            (before, MemberState::Up)
        );
    }
    assert_eq!(gaps, 0, "tenures are renewed before they end");
    assert!(nodes.iter().all(|node| node.tenures.metadata_fresh()));
    for node in nodes {
        bench.stop(node).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_purge_waits_for_a_node_that_is_down_until_it_is_said_to_be_gone() {
    let mut bench = Bench::new();
    let nodes = bench.cluster(3).await;
    bench.write(&nodes[0], "a").await.unwrap();
    bench.net.cut_off(3, [1, 2]);
    let sharing = Sharing::Alone("a".to_owned());
    let purge = Command::Purge {
        sharing: sharing.clone(),
        generation: 0,
    };
    let propose = |command| {
        let deadline = bench.deadline();
        let consensus = nodes[1].consensus.clone();
        async move { consensus.propose(vec![command], deadline).await.unwrap()[0].is_applied() }
    };
    assert!(propose(purge).await);
    let gone = nodes[2].life;
    let waits = || {
        let view = nodes[0].consensus.view();
        let keyring = view.services().keyring(&sharing).unwrap();
        let mut waiting = keyring.waiting_for(1);
        waiting.any(|life| life == gone)
    };
    let state = || {
        let view = nodes[0].consensus.view();
        view.members().get(gone.node).unwrap().state
    };
    until("it is down", || state() == MemberState::Down).await;
    assert!(waits(), "it may serve what was purged");
    assert!(propose(Command::MemberLeave { life: gone }).await);
    until("nobody waits for it", || !waits()).await;
    for node in nodes {
        bench.stop(node).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nobody_asks_for_another_and_only_the_leader_grants() {
    let mut bench = Bench::new();
    let nodes = bench.cluster(2).await;
    let ask = TenureAsk {
        holder: nodes[1].life,
        number: 1 << 40,
        applied_index: u64::MAX,
    };
    let parcel = Parcel::new(Kind::Tenure, &ask, bytes::Bytes::new()).unwrap();
    let refused = nodes[0].tenures.serve(id(3), &parcel).await.unwrap_err();
    assert_eq!(refused.code, "tenure_other_node");
    let refused = nodes[1].tenures.serve(id(2), &parcel).await.unwrap_err();
    assert_eq!(refused.code, "tenure_not_granted");
    assert!(nodes[0].tenures.serve(id(2), &parcel).await.is_ok());
    for node in nodes {
        bench.stop(node).await;
    }
}
