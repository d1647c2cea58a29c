//! Commands through whole clusters: from any node, through the loss of leaders, and after restarts.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::bench::{Bench, LONG, TIMING, id, leader_of, service, until};
use crate::metadata::{Command, DirectoryBatch, Done, Outcome};
use crate::peer::Parcel;
use crate::raft::log::{Disk, DiskError, MemoryDisk, Pair};
use crate::raft::rpc::VoteHead;
use crate::raft::types::{Batch, RaftId, Vote};
use crate::raft::{ControlError, RaftRole, SnapshotRules, Storage};
use crate::wire::Kind;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cluster_of_one_needs_no_disk_and_no_peers() {
    let mut bench = Bench::new();
    bench.store(1, Storage::Memory);
    bench.snapshots = SnapshotRules {
        log_bytes_min: 64 << 10,
        keep_logs: 16,
    };
    let one = bench.start(1).await;
    assert!(one.consensus.is_pristine());
    bench.found(&one).await;
    // Whoever founds again finds it founded.
    bench.found(&one).await;
    until("it holds a tenure", || one.is_held()).await;
    until("its metadata are fresh", || one.tenures.metadata_fresh()).await;
    let names: Vec<String> = (0..1_000).map(|number| format!("s{number}")).collect();
    let before = one.consensus.status().last_index;
    let commands = names.iter().map(|name| service(name)).collect();
    let outcomes = one.consensus.propose(commands, bench.deadline()).await;
    assert_eq!(outcomes.unwrap(), vec![Outcome::Applied(Done::Set); 1_000]);
    let items = one.consensus.status().last_index - before;
    assert!(
        (1..10).contains(&items),
        "{items} log items for 1 000 commands"
    );
    // Its log is cut although no snapshot is ever written.
    let filling = async {
        while one.consensus.status().purged_index <= before {
            let records = Command::Directory(DirectoryBatch(vec![7; 8 << 10]));
            let made = one.consensus.propose(vec![records], bench.deadline());
            made.await.unwrap();
        }
    };
    let cut = tokio::time::timeout(LONG, filling).await;
    assert!(cut.is_ok(), "{:?}", one.consensus.status());
    let over = one.consensus.clone();
    one.tenures.shutdown().await;
    over.shutdown().await;
    let late = over.propose(vec![service("late")], bench.deadline());
    assert_eq!(late.await, Err(ControlError::Unavailable));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_node_changes_and_reads_the_same_state() {
    let mut bench = Bench::new();
    let nodes = bench.cluster(3).await;
    assert_eq!(nodes[0].consensus.status().role, RaftRole::Leader);
    for (number, node) in nodes.iter().enumerate() {
        let name = format!("of-{number}");
        bench.write(node, &name).await.unwrap();
        for reader in &nodes {
            reader.consensus.read_point(bench.deadline()).await.unwrap();
            assert!(
                reader.knows(&name),
                "what was acknowledged is read everywhere"
            );
        }
    }
    let here = nodes[1]
        .consensus
        .propose_here(vec![service("x")], bench.deadline());
    let leader = Some(id(1));
    assert_eq!(here.await, Err(ControlError::NotLeader { leader }));
    for node in nodes {
        bench.stop(node).await;
    }
}

/// Writers go on while leaders are stopped and started: what was acknowledged stays, what was certainly not done is not
/// there.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_acknowledged_command_is_lost_with_its_leader() {
    let mut bench = Bench::new();
    let mut nodes = bench.cluster(3).await;
    let (mut acknowledged, mut denied) = (BTreeSet::new(), BTreeSet::new());
    for round in 0..3 {
        let all: Vec<_> = nodes.iter().collect();
        let leader = leader_of(&all).await;
        let place = nodes
            .iter()
            .position(|node| node.life.node == id(leader))
            .unwrap();
        let stopping = nodes.remove(place);
        let writers: Vec<_> = nodes
            .iter()
            .map(|node| {
                let (node, deadline) = (Arc::clone(node), bench.deadline());
                tokio::spawn(async move {
                    let mut fates = Vec::new();
                    for number in 0..40 {
                        let name = format!("{round}-{}-{number}", node.life.node);
                        let done = node.consensus.propose(vec![service(&name)], deadline).await;
                        fates.push((name, done));
                    }
                    fates
                })
            })
            .collect();
        until("writes are under way", || {
            nodes[0].knows(&format!("{round}-{}-3", nodes[0].life.node))
        })
        .await;
        bench.stop(stopping).await;
        for writer in writers {
            for (name, done) in writer.await.unwrap() {
                match done {
                    Ok(_) => assert!(acknowledged.insert(name)),
                    Err(error) if error.is_certain() => assert!(denied.insert(name)),
                    Err(error) => assert_eq!(error, ControlError::Unknown, "{name}"),
                }
            }
        }
        let back = bench.start(leader).await;
        assert!(!back.consensus.is_pristine());
        let survivor = u64::try_from(nodes[0].life.node.to_u128()).unwrap();
        bench.join(&back, survivor).await;
        nodes.push(back);
    }
    assert!(acknowledged.len() > 150, "{} writes", acknowledged.len());
    for node in &nodes {
        node.consensus.read_point(bench.deadline()).await.unwrap();
        for name in &acknowledged {
            assert!(node.knows(name), "{name} was acknowledged");
        }
        for name in &denied {
            assert!(!node.knows(name), "{name} was certainly not done");
        }
    }
    for node in nodes {
        bench.stop(node).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_voter_that_restarts_keeps_its_word_for_the_longest_timeout() {
    let mut bench = Bench::new();
    let folder = bench.path("sled");
    bench.store(3, Storage::Folder(folder));
    let nodes = bench.cluster(3).await;
    let [one, two, three] = <[_; 3]>::try_from(nodes).ok().unwrap();
    bench.write(&two, "before").await.unwrap();
    until("it knows of the commit", || three.knows("before")).await;
    let (me, term) = (three.consensus.id(), three.consensus.status().term);
    bench.stop(three).await;
    // It hears nobody from its start on.
    bench.net.cut_off(3, [1, 2]);
    let began = bench.clock.stopwatch();
    let three = bench.start(3).await;
    assert_eq!(three.consensus.id(), me, "its disk is the same");
    until("it has applied its log again", || three.knows("before")).await;
    until("it knows its term again", || {
        three.consensus.status().term == term
    })
    .await;
    let head = VoteHead {
        to: me,
        ask: openraft::raft::VoteRequest {
            vote: Vote::new(term + 7, two.consensus.id()),
            last_log_id: three.consensus.inner.raft.data_metrics().borrow().last_log,
        },
    };
    let ask = Parcel::new(Kind::RaftVote, &head, Bytes::new()).unwrap();
    let refused = three.consensus.serve(id(2), ask.clone()).await.unwrap_err();
    assert_eq!(refused.code, "raft_vote_bound");
    assert_eq!(three.consensus.status().term, term);
    until("it stands", || three.consensus.status().term > term).await;
    assert!(began.elapsed() >= TIMING.election_max);
    let voted = three.consensus.serve(id(2), ask).await.unwrap();
    let voted: openraft::raft::VoteResponse<RaftId> = voted.header().unwrap();
    assert!(voted.vote_granted, "{voted}");
    bench.net.heal();
    leader_of(&[&one, &two, &three]).await;
    bench.write(&three, "after").await.unwrap();
    for node in [one, two, three] {
        bench.stop(node).await;
    }
}

/// A disk that never keeps the commit point, which is only a hint.
struct Hintless(MemoryDisk);

impl Disk for Hintless {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, DiskError> {
        self.0.get(key)
    }

    fn range(&self, from: &[u8], to: &[u8], items_max: usize) -> Result<Vec<Pair>, DiskError> {
        self.0.range(from, to, items_max)
    }

    fn last(&self, from: &[u8], to: &[u8]) -> Result<Option<Pair>, DiskError> {
        self.0.last(from, to)
    }

    fn write(&self, mut put: Vec<Pair>, remove: Vec<Vec<u8>>) -> Result<(), DiskError> {
        put.retain(|(key, _)| key != b"m/committed");
        self.0.write(put, remove)
    }

    fn flush(&self) -> Result<(), DiskError> {
        self.0.flush()
    }
}

/// A leader that restarts at once leads on in its term, and the library then says that it has applied enough.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_restarts_reads_nothing_of_the_past() {
    let mut bench = Bench::new();
    let snapshots = bench.path("hintless");
    let disk = Arc::new(Hintless(MemoryDisk::new()));
    bench.store(1, Storage::Parts(disk, snapshots));
    let mut nodes = bench.cluster(3).await;
    let mut one = nodes.remove(0);
    // On a busy machine the others may elect another one meanwhile: then it is tried again.
    for round in 0..10 {
        bench.write(&one, &format!("s{round}")).await.unwrap();
        let status = one.consensus.status();
        let (term, applied) = (status.term, status.applied_index);
        bench.stop(one).await;
        one = bench.start(1).await;
        let point = one.consensus.read_point(bench.deadline()).await.unwrap();
        assert!(point > applied, "{point}, and {applied} was applied before");
        assert!(one.knows(&format!("s{round}")), "it was acknowledged");
        if one.consensus.status().term == term && one.consensus.leading().is_some() {
            break;
        }
        assert!(round < 9, "it never led on");
    }
    for node in nodes.into_iter().chain([one]) {
        bench.stop(node).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_item_of_a_newer_build_stops_the_node() {
    let mut bench = Bench::new();
    let one = bench.start(1).await;
    bench.found(&one).await;
    let mut fatal = one.consensus.fatal();
    assert!(fatal.borrow_and_update().is_none());
    let newer = Batch::new(Bytes::from_static(&[b'U', b'M', 255, 255, 0, 0])).unwrap();
    let written = one.consensus.inner.raft.client_write(newer).await;
    assert!(written.is_err());
    let told = tokio::time::timeout(Duration::from_secs(10), fatal.wait_for(Option::is_some));
    let reason = told.await.unwrap().unwrap().clone().unwrap();
    assert!(reason.contains("version 65535"), "{reason}");
    let refused = one.consensus.propose(vec![service("x")], bench.deadline());
    assert!(matches!(refused.await, Err(ControlError::Fatal { .. })));
    assert_eq!(one.consensus.status().fatal, Some(reason));
    bench.stop(one).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_call_that_nobody_can_answer_ends_at_its_deadline() {
    let mut bench = Bench::new();
    let nodes = bench.cluster(3).await;
    bench.net.cut_off(1, [2, 3]);
    bench.net.cut_off(2, [3]);
    let within = bench.clock.deadline(Duration::from_millis(300));
    // The old leader still believes in itself: whether it will be done is not known.
    let lonely = nodes[0].consensus.propose(vec![service("lonely")], within);
    assert_eq!(lonely.await, Err(ControlError::Unknown));
    until("the leader knows that it is alone", || {
        nodes[0].consensus.leading().is_none()
    })
    .await;
    let within = bench.clock.deadline(Duration::from_millis(300));
    let late = nodes[0].consensus.propose(vec![service("late")], within);
    assert_eq!(late.await, Err(ControlError::Unavailable));
    let within = bench.clock.deadline(Duration::from_millis(300));
    assert!(nodes[1].consensus.read_point(within).await.is_err());
    bench.net.heal();
    leader_of(&nodes.iter().collect::<Vec<_>>()).await;
    bench.write(&nodes[0], "healed").await.unwrap();
    assert!(!nodes[0].knows("late"));
    for node in nodes {
        bench.stop(node).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn records_of_a_busy_shard_are_agreed_on_fast_enough() {
    use crate::directory::BATCH_RECORDS_MAX;
    let mut bench = Bench::new();
    for number in 1..=3 {
        let folder = bench.path(&format!("sled-{number}"));
        bench.store(number, Storage::Folder(folder));
    }
    let nodes = bench.cluster(3).await;
    // As large as a full batch; what is in it is refused alike by every node, which costs no less to agree on.
    let batch = || Command::Directory(DirectoryBatch(vec![7; crate::directory::BATCH_BYTES_MAX]));
    let took = bench.clock.stopwatch();
    let mut calls = Vec::new();
    for _ in 0..20 {
        let (node, deadline) = (Arc::clone(&nodes[1]), bench.deadline());
        calls.push(tokio::spawn(async move {
            for _ in 0..2 {
                let commands = (0..8).map(|_| batch()).collect();
                let outcomes = node.consensus.propose(commands, deadline).await.unwrap();
                assert!(outcomes.len() == 8 && !outcomes[0].is_applied());
            }
        }));
    }
    for call in calls {
        call.await.unwrap();
    }
    let seconds = took.elapsed().as_secs_f64();
    let records = 20 * 2 * 8 * BATCH_RECORDS_MAX;
    println!(
        "{records} records in {seconds:.2} s: {:.0} a second",
        f64::from(u32::try_from(records).unwrap()) / seconds
    );
    assert!(seconds < 20.0);
    for node in nodes {
        bench.stop(node).await;
    }
}
