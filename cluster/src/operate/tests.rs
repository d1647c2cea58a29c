//! A cluster of one answers operators, and reports and errors are what they are said to be.

use std::time::Duration;

use ultrakv_actors::{Entropy, Node, NodePlan};
use ultrakv_cache::Budget;

use super::*;
use crate::ClusterPlan;

async fn one() -> (Node, ClusterHandle, Deadline) {
    let node = Node::start(NodePlan::host(Budget::of_bytes(1 << 20), 4096, 1))
        .await
        .unwrap();
    let plan = ClusterPlan {
        node_name: "one".to_owned(),
        version: "1.2.3".to_owned(),
        services: [("default".to_owned(), None)].into(),
        encodings: [].into(),
        member: None,
        reports: None,
    };
    let cluster = ClusterHandle::start(plan, &node).await.unwrap();
    let deadline = cluster.clock().deadline(Duration::from_secs(10));
    (node, cluster, deadline)
}

#[tokio::test]
async fn a_cluster_of_one_owns_every_slot_and_moves_none() {
    let (_node, cluster, deadline) = one().await;
    let layout = cluster.layout();
    let own = layout.node_id;
    assert_eq!(own, cluster.status().node_id);
    assert_eq!((layout.unsettled, layout.nodes.len()), (0, 1));
    assert!(layout.plan > 0);
    let node = &layout.nodes[0];
    assert_eq!((node.name.as_str(), node.node_id), ("one", own));
    assert_eq!(
        (node.quota, node.owned, node.target_owned, node.followers),
        (16_384, 16_384, 16_384, 0)
    );

    assert_eq!(cluster.jobs(), []);
    let absent = OperateError::UnknownJob(JobId(7));
    assert_eq!(cluster.job(JobId(7)), Err(absent.clone()));
    assert_eq!(
        cluster.job_cancel(JobId(7), deadline).await,
        Err(absent.clone())
    );
    assert_eq!(
        cluster.job_throttle(JobId(7), Some(1), deadline).await,
        Err(absent)
    );

    let last = OperateError::LastMember(own);
    for leave in [false, true] {
        let drained = cluster.drain(own, leave, None, deadline).await;
        assert_eq!(drained, Err(last.clone()));
    }
    assert_eq!(cluster.leave(own, deadline).await, Err(last));
    let forgotten = cluster.remove_dead(own, deadline).await.unwrap_err();
    assert_eq!(forgotten.code(), "member_state");
    let stranger = NodeId::draw(&Entropy::seeded(1)).unwrap();
    let unknown = OperateError::UnknownNode(stranger);
    assert_eq!(
        cluster.drain(stranger, false, None, deadline).await,
        Err(unknown.clone())
    );
    assert_eq!(
        cluster.leave(stranger, deadline).await,
        Err(unknown.clone())
    );
    assert_eq!(cluster.remove_dead(stranger, deadline).await, Err(unknown));

    let none = OperateError::NoCluster;
    assert_eq!(cluster.rebalance(None, deadline).await, Err(none.clone()));
    let seeds = ["node-1:7802".to_owned()];
    assert_eq!(cluster.join(&seeds, deadline).await, Err(none));

    let aside = cluster.step_aside(deadline).await;
    assert_eq!(
        (aside.handed_over, aside.kept, aside.alone),
        (0, 16_384, true)
    );
    assert_eq!(cluster.status().slots_owned, 16_384, "and serves on");
}

#[test]
fn reports_are_read_as_they_are_written() {
    let node = NodeId::from_u128(7);
    let job = JobReport {
        id: JobId(3),
        kind: JobKind::Drain,
        node_id: Some(node),
        leave: true,
        state: JobState::Running,
        reason: "moving".to_owned(),
        done: 1,
        total: 9,
        throttle_bytes_per_second: Some(1 << 20),
        created_unix_ms: 1_700_000_000_000,
    };
    let text = serde_json::to_string(&job).unwrap();
    for part in [
        "\"id\":\"00000000000000000000000000000003\"",
        "\"kind\":\"drain\"",
        "\"state\":\"running\"",
        "\"node_id\":\"00000000000000000000000000000007\"",
    ] {
        assert!(text.contains(part), "{text}");
    }
    assert_eq!(serde_json::from_str::<JobReport>(&text).unwrap(), job);
    for state in [
        JobState::Cancelling,
        JobState::Running,
        JobState::Done,
        JobState::Cancelled,
        JobState::Failed,
    ] {
        let text = serde_json::to_string(&state).unwrap();
        assert_eq!(text, format!("\"{}\"", state.name()));
    }
    for kind in [JobKind::Join, JobKind::Drain, JobKind::Rebalance] {
        assert_eq!(
            serde_json::to_string(&kind).unwrap(),
            format!("\"{}\"", kind.name())
        );
    }
}

#[test]
fn every_error_has_a_code_a_message_and_a_hint() {
    let node = NodeId::from_u128(7);
    let id = JobId(3);
    let errors = [
        OperateError::NoCluster,
        OperateError::LastMember(node),
        OperateError::UnknownNode(node),
        OperateError::UnknownJob(id),
        OperateError::JobRunning(id),
        OperateError::JobOver {
            id,
            state: JobState::Done,
        },
        OperateError::WrongState {
            node,
            state: MemberState::Up,
            needed: "down",
        },
        OperateError::Member {
            cluster: "blue".to_owned(),
        },
        OperateError::BadSeed {
            seed: "x".to_owned(),
        },
        OperateError::NoSeed {
            reason: "node-1:7802: refused".to_owned(),
        },
        OperateError::NoQuorum,
        OperateError::Refused(Refusal::OtherLife),
        OperateError::Request(RequestError::Deadline),
    ];
    let codes: std::collections::BTreeSet<_> = errors.iter().map(OperateError::code).collect();
    assert_eq!(codes.len(), errors.len(), "each has its own");
    for error in &errors {
        assert!(
            !error.to_string().is_empty() && !error.hint().is_empty(),
            "{error:?}"
        );
        assert!(!error.to_string().ends_with('.'), "{error}");
    }
    assert_eq!(
        errors[5].to_string(),
        "job 00000000000000000000000000000003 is over: it is done"
    );
}
