//! Prefetching with real actors on two nodes; what stands in for the cluster is a sink that reads the other node's cache.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use futures::FutureExt as _;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::watch;
use ultrakv_cache::prefetch::{Held, Landing, LinkId, Wanted};
use ultrakv_cache::{BlockKey, Codec};

use super::*;
use crate::{
    ActorState, BlockWatcher, BootId, PrefetchReport, PrefetchSink, RequestError, Whereabouts,
};

const ACTOR: &str = "node/cache/prefetch";

/// What a node holds, as its shards tell it.
#[derive(Debug, Default)]
struct Shelf {
    keys: Mutex<BTreeSet<BlockKey>>,
    count: watch::Sender<usize>,
}

impl Shelf {
    fn change(&self, change: impl FnOnce(&mut BTreeSet<BlockKey>)) {
        let mut keys = self.keys.lock();
        change(&mut keys);
        self.count.send_replace(keys.len());
    }

    fn holds(&self, key: &BlockKey) -> bool {
        self.keys.lock().contains(key)
    }

    /// Waits until so many blocks are there.
    async fn until(&self, blocks: usize) {
        let mut count = self.count.subscribe();
        let there = count.wait_for(|count| *count >= blocks);
        let there = tokio::time::timeout(Duration::from_secs(20), there).await;
        there.expect("the blocks did not come").unwrap();
    }
}

impl BlockWatcher for Shelf {
    // One shard a node in these tests.
    fn began(&self, _shard: usize, _life: BootId) {
        self.change(BTreeSet::clear);
    }

    fn appeared(&self, _shard: usize, key: &BlockKey, _run: &BlockKey, _codec: Codec) {
        self.change(|keys| {
            keys.insert(*key);
        });
    }

    fn vanished(&self, _shard: usize, key: &BlockKey, _slot: u16) {
        self.change(|keys| {
            keys.remove(key);
        });
    }

    fn listed(&self, _shard: usize, _key: &BlockKey, _slot: u16, _codec: Codec) {}
}

/// The other node, as the prefetch actor of this one reaches it.
#[derive(Debug)]
struct Neighbour {
    mine: (CacheHandle, Arc<Shelf>),
    theirs: (CacheHandle, Arc<Shelf>),
    their_domain: Domain,
    fetched: AtomicU64,
    /// Fetches wait while this is true.
    held: watch::Sender<bool>,
    clock: crate::Clock,
}

impl Neighbour {
    /// One block of the other node, checked.
    async fn read(&self, address: &BlockAddress) -> Option<LeasedBlock> {
        let (cache, _) = &self.theirs;
        let deadline = self.clock.deadline(Duration::from_secs(10));
        let blocks = cache.get(&self.their_domain, &[*address], deadline).await;
        let block = blocks.ok()?.into_iter().next()??;
        assert!(is_right(address, &block));
        Some(block)
    }
}

/// A way to the neighbour that many may share.
#[derive(Clone, Debug)]
struct Way(Arc<Neighbour>);

impl PrefetchSink for Way {
    fn locate(&self, blocks: &[BlockAddress]) -> Vec<Whereabouts> {
        let place = |block: &BlockAddress| {
            if self.0.mine.1.holds(&block.key) {
                Whereabouts::Here
            } else if self.0.theirs.1.holds(&block.key) {
                Whereabouts::There(LinkId(1))
            } else {
                Whereabouts::Nowhere
            }
        };
        blocks.iter().map(place).collect()
    }

    fn fetch(
        &self,
        domain: Domain,
        blocks: Vec<Wanted>,
        deadline: Deadline,
    ) -> BoxFuture<'static, Vec<Landing>> {
        let neighbour = Arc::clone(&self.0);
        async move {
            let mut held = neighbour.held.subscribe();
            let _ = held.wait_for(|held| !held).await;
            let mut landings = Vec::new();
            for wanted in blocks {
                let Some(found) = neighbour.read(&wanted.address).await else {
                    landings.push(Landing::Failed);
                    continue;
                };
                neighbour.fetched.fetch_add(1, Ordering::SeqCst);
                let put = BlockPut {
                    payload: found.payload.clone(),
                    ..block(&wanted.address, wanted.parent)
                };
                let bytes = put.header.payload_bytes;
                landings.push(match neighbour.mine.0.put(&domain, put, deadline).await {
                    Ok(Stored::Copies(_)) => Landing::Stored { bytes },
                    Ok(Stored::Known) => Landing::Known,
                    _ => Landing::Failed,
                });
            }
            landings
        }
        .boxed()
    }
}

/// Two nodes: blocks are asked for at the first and held by the second.
struct Pair {
    here: Rig,
    there: Rig,
    shelf: Arc<Shelf>,
    neighbour: Arc<Neighbour>,
}

impl Pair {
    async fn start(bytes_max: u64) -> Self {
        let shelves = [Arc::new(Shelf::default()), Arc::new(Shelf::default())];
        let mut rigs = Vec::new();
        for (shelf, bytes) in shelves.iter().zip([bytes_max, 16 << 20]) {
            let mut plan = plan(bytes, 1);
            plan.watcher = Some(Arc::<Shelf>::clone(shelf));
            rigs.push(Rig::start(plan).await);
        }
        let there = rigs.pop().unwrap();
        let here = rigs.pop().unwrap();
        let [shelf, their_shelf] = shelves;
        let neighbour = Arc::new(Neighbour {
            mine: (here.cache.clone(), Arc::clone(&shelf)),
            theirs: (there.cache.clone(), their_shelf),
            their_domain: there.domain,
            fetched: AtomicU64::new(0),
            held: watch::Sender::new(false),
            clock: here.node.clock().clone(),
        });
        let way = Way(Arc::clone(&neighbour));
        let prefetch = here.cache.prefetch();
        prefetch.connect(Arc::new(way));
        // A model so slow that every load is worth it, however busy the machine that tests.
        for _ in 0..50 {
            prefetch.computed(1, 0, 1_000_000).unwrap();
        }
        Self {
            here,
            there,
            shelf,
            neighbour,
        }
    }

    fn arrive(&self, chain: &[BlockAddress]) -> Result<(), RequestError> {
        let prefetch = self.here.cache.prefetch();
        prefetch.arrived(&self.here.domain, chain.to_vec(), BLOCK_TOKENS, None)
    }

    /// A request's own way: what is here from here, the rest from the neighbour; tells what it asks for, as the cluster does.
    async fn ask(&self, chain: &[BlockAddress]) -> Result<usize, RequestError> {
        let (cache, domain) = (&self.here.cache, &self.here.domain);
        let found = cache.get(domain, chain, self.here.deadline()).await?;
        let held = found.iter().zip(chain).map(|(block, address)| match block {
            Some(block) => {
                assert!(is_right(address, block));
                Held::Here
            }
            None => Held::There {
                link: LinkId(1),
                bytes: BLOCK_BYTES,
            },
        });
        let held: Vec<Held> = held.collect();
        let here = held.iter().filter(|held| **held == Held::Here).count();
        let _ = cache
            .prefetch()
            .demanded(domain, chain.to_vec(), held, true);
        for (address, found) in chain.iter().zip(found) {
            if found.is_none() {
                let read = self.neighbour.read(address).await;
                assert!(read.is_some(), "a block is lost");
            }
        }
        Ok(here)
    }

    /// Waits for a report like this.
    async fn report(&self, like: impl Fn(&PrefetchReport) -> bool) -> PrefetchReport {
        let mut reports = self.here.cache.prefetch().reports();
        let told = tokio::time::timeout(Duration::from_secs(20), reports.wait_for(|it| like(it)));
        match told.await {
            Ok(report) => *report.unwrap(),
            Err(_) => panic!("never so: {:?}", self.here.cache.prefetch().report()),
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_chain_that_another_node_holds_is_here_before_it_is_asked_for() {
    let pair = Pair::start(4 << 20).await;
    let chain = pair.here.chain(1, 12);
    pair.there.put_chain(&chain).await;
    assert_eq!(pair.here.matched(&chain).await, 0);
    pair.arrive(&chain).unwrap();
    pair.shelf.until(12).await;
    assert_eq!(pair.here.matched(&chain).await, 12);
    assert_eq!(pair.ask(&chain).await, Ok(12));
    let report = pair
        .report(|report| report.arrival.timely_blocks == 12)
        .await;
    assert_eq!(report.arrival.asked_blocks, 12);
    assert_eq!(report.arrival.stored_bytes, 12 * BLOCK_BYTES);
    assert_eq!(
        (report.arrival.wasted_bytes, report.in_flight_bytes),
        (0, 0)
    );
    // They are copies that may go, like any other.
    for report in pair.here.stats().await {
        assert_eq!(report.usage.pin_bytes, 0);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn a_request_that_is_sooner_than_its_blocks_finds_them_late_and_loses_nothing() {
    let pair = Pair::start(4 << 20).await;
    let chain = pair.here.chain(1, 4);
    pair.there.put_chain(&chain).await;
    pair.neighbour.held.send_replace(true);
    pair.arrive(&chain).unwrap();
    pair.report(|report| report.arrival.asked_blocks == 4).await;
    assert_eq!(pair.ask(&chain).await, Ok(0));
    pair.neighbour.held.send_replace(false);
    let report = pair.report(|report| report.arrival.late_blocks == 4).await;
    assert!(report.arrival.timeliness_ratio <= 0.0, "{report:?}");
    assert!(
        (report.arrival.coverage_ratio - 1.0).abs() < 1e-9,
        "{report:?}"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn what_is_computed_sooner_than_loaded_is_not_fetched() {
    let pair = Pair::start(4 << 20).await;
    let prefetch = pair.here.cache.prefetch();
    for _ in 0..500 {
        prefetch.computed(1_000, 0, 1).unwrap();
    }
    // The first load over a link measures it, whatever is thought of it.
    for (seed, declined) in [(1, 0), (2, 4)] {
        let chain = pair.here.chain(seed, 4);
        pair.there.put_chain(&chain).await;
        pair.arrive(&chain).unwrap();
        let told = pair.report(|report| {
            report.arrival.stored_blocks == 4 && report.arrival.declined_blocks == declined
        });
        assert_eq!(told.await.arrival.asked_blocks, 4);
    }
    assert_eq!(pair.neighbour.fetched.load(Ordering::SeqCst), 4);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn what_goes_unused_is_wasted_and_no_more_is_risked_than_allowed() {
    let pair = Pair::start(1 << 20).await;
    // A cache of 128 blocks: sixteen may be at risk, four of them at first, two on their way. Nobody asks for what arrives.
    for seed in 0..30 {
        let chain = pair.here.chain(seed, 8);
        pair.there.put_chain(&chain).await;
        pair.arrive(&chain).unwrap();
        let other = pair.here.chain(100_000 + seed, 40);
        pair.here.put_chain(&other).await;
    }
    let told = pair.report(|report| report.arrival.evicted_blocks >= 4);
    let arrival = told.await.arrival;
    assert!(arrival.accuracy_ratio < 0.1, "{arrival:?}");
    assert!(arrival.wasted_bytes >= 4 * BLOCK_BYTES, "{arrival:?}");
    assert!(arrival.asked_blocks < 240 / 2, "{arrival:?}");
    assert!(arrival.at_risk_bytes <= 16 * BLOCK_BYTES, "{arrival:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn too_many_words_are_not_heard_and_a_node_alone_takes_none() {
    let rig = Rig::start(plan(1 << 20, 1)).await;
    let chain = rig.chain(1, 4);
    let prefetch = rig.cache.prefetch();
    assert!(!prefetch.is_connected() && !prefetch.wants_demand(100));
    for _ in 0..100_000 {
        prefetch
            .arrived(&rig.domain, chain.clone(), 4, None)
            .unwrap();
    }
    let pair = Pair::start(1 << 20).await;
    let long = pair.here.chain(1, 64);
    let told = (0..100_000).map(|_| pair.arrive(&long));
    let refused = told.filter(|told| *told == Err(RequestError::Busy));
    assert!(refused.take(1).count() == 1, "the mailbox has no limit");
    pair.report(|report| report.unheard_total > 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 3)]
async fn killing_the_actor_under_load_loses_nothing() {
    let pair = Arc::new(Pair::start(4 << 20).await);
    let chains: Vec<_> = (0..40).map(|seed| pair.here.chain(seed, 8)).collect();
    for chain in &chains {
        pair.there.put_chain(chain).await;
    }
    let done = Arc::new(AtomicBool::new(false));
    let answered = Arc::new(AtomicU64::new(0));
    let clients: Vec<_> = (0..3)
        .map(|client| {
            let (pair, chains, done) = (Arc::clone(&pair), chains.clone(), Arc::clone(&done));
            let answered = Arc::clone(&answered);
            tokio::spawn(async move {
                let mut turn = client;
                while !done.load(Ordering::SeqCst) {
                    let chain = &chains[turn % chains.len()];
                    // Busy or dead, nobody need care.
                    let _ = pair.arrive(chain);
                    pair.ask(chain).await.unwrap();
                    answered.fetch_add(1, Ordering::SeqCst);
                    turn += 3;
                }
            })
        })
        .collect();
    for kill in 0..12 {
        let goal = answered.load(Ordering::SeqCst) + 20;
        while answered.load(Ordering::SeqCst) < goal {
            tokio::task::yield_now().await;
        }
        let hurt = if kill % 2 == 0 {
            Node::kill
        } else {
            Node::panic
        };
        assert!(hurt(&pair.here.node, ACTOR));
        let back = pair.here.node.wait_for_tree(|tree| {
            let actor = tree.iter().find(|actor| actor.path == ACTOR);
            actor.is_some_and(|actor| {
                actor.restarts == kill + 1 && actor.status == ActorState::Running
            })
        });
        let back = tokio::time::timeout(Duration::from_secs(20), back).await;
        back.expect("the actor did not come back");
    }
    done.store(true, Ordering::SeqCst);
    for client in clients {
        client.await.unwrap();
    }
    pair.here.until_at_rest().await;
    // Its last life works like the first.
    let fresh = pair.here.chain(77_777, 8);
    pair.there.put_chain(&fresh).await;
    pair.arrive(&fresh).unwrap();
    let came = pair.report(|report| report.arrival.stored_blocks >= 8);
    came.await;
    assert_eq!(pair.ask(&fresh).await, Ok(8));
}
