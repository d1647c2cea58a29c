//! Every actor of the tree dies under load, in every way there is.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use super::*;
use crate::{ActorInfo, ActorState, RequestError, StopReason};

const BUDGET: u64 = 4 << 20;

/// A request that has not ended by then hangs: its own deadline is long past.
const HANGS_AFTER: Duration = Duration::from_secs(15);

/// Clients that store and read back until they are told to stop.
struct Load {
    rig: Arc<Rig>,
    done: Arc<AtomicBool>,
    answered: Arc<AtomicU64>,
    failed: Arc<AtomicU64>,
    clients: Vec<tokio::task::JoinHandle<()>>,
}

impl Load {
    fn start(rig: &Arc<Rig>, clients: u32) -> Self {
        let mut load = Self {
            rig: Arc::clone(rig),
            done: Arc::default(),
            answered: Arc::default(),
            failed: Arc::default(),
            clients: Vec::new(),
        };
        for client in 0..clients {
            let rig = Arc::clone(rig);
            let (done, answered) = (Arc::clone(&load.done), Arc::clone(&load.answered));
            let failed = Arc::clone(&load.failed);
            load.clients.push(tokio::spawn(async move {
                let mut round = 0;
                while !done.load(Ordering::Relaxed) {
                    let chain = rig.chain(client * 100 + round % 50, 20);
                    let turn = tokio::time::timeout(HANGS_AFTER, turn(&rig, &chain)).await;
                    match turn.expect("a request hangs") {
                        Ok(()) => answered.fetch_add(1, Ordering::Relaxed),
                        Err(RequestError::Stopped | RequestError::Busy) => {
                            tokio::task::yield_now().await;
                            failed.fetch_add(1, Ordering::Relaxed)
                        }
                        Err(RequestError::Deadline) => panic!("waited for its deadline"),
                    };
                    round += 1;
                }
            }));
        }
        load
    }

    /// Waits until so many more turns were answered.
    async fn answered(&self, more: u64) {
        let goal = self.answered.load(Ordering::Relaxed) + more;
        let goes_on = async {
            while self.answered.load(Ordering::Relaxed) < goal {
                tokio::task::yield_now().await;
            }
        };
        let went_on = tokio::time::timeout(HANGS_AFTER, goes_on).await;
        went_on.expect("the load does not go on");
    }

    async fn stop(self) -> (u64, u64) {
        self.done.store(true, Ordering::Relaxed);
        for client in self.clients {
            client.await.unwrap();
        }
        self.rig.until_at_rest().await;
        (
            self.answered.load(Ordering::Relaxed),
            self.failed.load(Ordering::Relaxed),
        )
    }
}

/// One client's turn: store a chain, read what is there, check every byte; an entry beside it.
async fn turn(rig: &Rig, chain: &[BlockAddress]) -> Result<(), RequestError> {
    let mut parent = None;
    for address in chain {
        match rig
            .cache
            .put(&rig.domain, block(address, parent), rig.deadline())
            .await
        {
            Ok(_) | Err(PutError::Refused(_)) => {}
            Err(PutError::Request(error)) => return Err(error),
        }
        parent = Some(address.key);
    }
    let found = rig.cache.get(&rig.domain, chain, rig.deadline()).await?;
    for (address, block) in chain.iter().zip(&found) {
        assert!(
            block.as_ref().is_none_or(|block| is_right(address, block)),
            "wrong bytes"
        );
    }
    rig.cache
        .match_prefix(&rig.domain, chain, rig.deadline())
        .await?;

    let key = chain[0].key.as_bytes();
    rig.shelve(key, Bytes::copy_from_slice(key)).await?;
    let found = rig.shelved(key).await?;
    assert!(found.is_none_or(|value| *value == *key), "wrong bytes");
    Ok(())
}

fn restarts(tree: &[ActorInfo], path: &str) -> u64 {
    let actor = tree.iter().find(|actor| actor.path == path);
    actor.map_or(0, |actor| actor.restarts)
}

/// Hurts every actor below the root, one after the other, and waits each time until all are back.
async fn hurt_each(rig: &Rig, load: &Load, hurt: impl Fn(&Node, &str) -> bool) {
    for actor in rig
        .node
        .tree()
        .into_iter()
        .filter(|actor| actor.path != "node")
    {
        load.answered(3).await;
        let before = restarts(&rig.node.tree(), &actor.path);
        assert!(hurt(&rig.node, &actor.path), "{} is not there", actor.path);
        let back = rig.node.wait_for_tree(|tree| {
            restarts(tree, &actor.path) > before
                && tree.iter().all(|actor| actor.status == ActorState::Running)
        });
        let back = tokio::time::timeout(HANGS_AFTER, back).await;
        back.unwrap_or_else(|_| panic!("{} did not come back", actor.path));
        load.answered(3).await;
        for report in rig.cache.stats(rig.deadline()).await.unwrap_or_default() {
            assert!(report.usage.bytes <= report.budget.bytes_max, "{report:?}");
            assert!(report.memory_bytes <= report.budget.bytes_max, "{report:?}");
        }
    }
}

/// Nobody died of anything but what the test did: an invariant that broke on the way would show.
fn assert_only_died_as_told(rig: &Rig) {
    for actor in rig.node.tree() {
        let failure = actor.last_failure.as_deref();
        let told = matches!(failure, None | Some("killed" | "told to panic"));
        assert!(told, "{actor:?}");
    }
}

async fn chaos(hurt: impl Fn(&Node, &str) -> bool) {
    let rig = Arc::new(Rig::start(plan(BUDGET, 2)).await);
    let load = Load::start(&rig, 4);
    hurt_each(&rig, &load, hurt).await;
    let (answered, failed) = load.stop().await;
    assert!(answered > 0);
    assert_only_died_as_told(&rig);
    println!("{answered} turns answered, {failed} told that they failed");
    // No permit, lease or page was lost on the way, so the node is as good as new.
    rig.until("whole", |report| report.budget.bytes_max == BUDGET / 2)
        .await;
    let chain = rig.chain(u32::MAX, 16);
    rig.put_chain(&chain).await;
    assert_eq!(rig.matched(&chain).await, 16);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn each_actor_is_killed_under_load_and_nobody_hangs() {
    chaos(Node::kill).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn each_actor_panics_under_load_and_nobody_hangs() {
    chaos(Node::panic).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_shard_that_dies_while_it_is_asked_ends_its_requests_at_once() {
    let rig = Rig::start(plan(BUDGET, 1)).await;
    let chain = rig.chain(1, 1);
    let _stall = rig.cache.stall_shard(0).await.unwrap();
    let (cache, domain, deadline) = (rig.cache.clone(), rig.domain, rig.deadline());
    let asked = tokio::spawn({
        let chain = chain.clone();
        async move { cache.match_prefix(&domain, &chain, deadline).await }
    });
    tokio::task::yield_now().await;
    let watch = rig.node.clock().stopwatch();
    assert!(rig.node.kill("node/cache/shard-0"));
    let answer = asked.await.unwrap();
    // Either it was sent to the life that ended, or it met the next one, which is empty.
    assert!(
        matches!(answer, Err(RequestError::Stopped) | Ok(0)),
        "{answer:?}"
    );
    assert!(watch.elapsed() < Duration::from_secs(5));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_shard_that_dies_again_and_again_stops_the_node_with_a_reason() {
    let mut plan = plan(BUDGET, 2);
    plan.restarts.restarts_max = 2;
    plan.restarts.window_ms = 600_000;
    let rig = Rig::start(plan).await;
    let path = "node/cache/shard-1";
    // Three deaths end a life of its supervisor, three of those end the node.
    for death in 1..=8 {
        assert!(rig.node.panic(path));
        let back = rig.node.wait_for_tree(|tree| {
            restarts(tree, path) == death
                && tree.iter().all(|actor| actor.status == ActorState::Running)
        });
        tokio::time::timeout(HANGS_AFTER, back).await.unwrap();
    }
    assert!(rig.node.panic(path));
    let reason = tokio::time::timeout(HANGS_AFTER, rig.node.stopped())
        .await
        .unwrap();
    let StopReason::Failed(reason) = reason else {
        panic!("nobody asked it to stop");
    };
    assert!(
        reason.starts_with("node/cache died more than 2 times"),
        "{reason}"
    );
    assert!(
        reason.contains("shard-1") && reason.contains("told to panic"),
        "{reason}"
    );
    let chain = rig.chain(1, 1);
    let asked = rig
        .cache
        .match_prefix(&rig.domain, &chain, rig.deadline())
        .await;
    assert_eq!(asked, Err(RequestError::Stopped));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn killing_the_root_ends_the_node_and_all_its_requests() {
    let rig = Arc::new(Rig::start(plan(BUDGET, 2)).await);
    let load = Load::start(&rig, 2);
    load.answered(3).await;
    assert!(rig.node.kill("node"));
    let reason = tokio::time::timeout(HANGS_AFTER, rig.node.stopped())
        .await
        .unwrap();
    assert!(matches!(reason, StopReason::Failed(_)));
    load.done.store(true, Ordering::Relaxed);
    for client in load.clients {
        tokio::time::timeout(HANGS_AFTER, client)
            .await
            .unwrap()
            .unwrap();
    }
}
