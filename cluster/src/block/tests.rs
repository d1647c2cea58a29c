//! Blocks of three nodes, real but for the wires between them and the log: channels and a list stand in for those.

mod ahead;
mod holds;
mod hostile;
mod moves;
mod reads;
mod reports;
mod writes;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use tokio::sync::watch;
use ultrakv_actors::{
    ActorState, BlockPut, BlockWatcher, CacheHandle, ChildSpec, Deadline, Domain, DomainTag,
    LeasedBlock, Node, NodePlan, Stored,
};
use ultrakv_cache::{
    ArenaId, BlockAddress, BlockHeader, BlockKind, BlockLayout as TensorLayout, Budget,
    DomainSecret, Dtype, KeyInputs, KeySpace, Pin,
};

use super::*;
use crate::NodeId;
use crate::directory::{Applied, Directory, Place, ReportOutcome, Section, Tier, decode};
use crate::peer::{Caller, Parcel, ParcelStream, PeerError};
use crate::wire::Kind;

const LAYOUT: TensorLayout = TensorLayout {
    kind: BlockKind::Kv,
    dtype: Dtype::F32,
    layers: 1,
    kv_heads: 1,
    head_size: 16,
};
const BLOCK_TOKENS: u32 = 4;
const PAYLOAD_BYTES: usize = 512;
const PAGE: u32 = 1_024;
const PLENTY: u64 = 1 << 30;
const PATIENCE: Duration = Duration::from_secs(20);

const A: usize = 0;
const B: usize = 1;
const C: usize = 2;

fn node(index: usize) -> NodeId {
    NodeId::from_u128(0x10 + u128::try_from(index).unwrap())
}

type Flaw = Box<dyn FnMut(&mut Parcel) + Send>;

/// The wires.
#[derive(Default)]
struct Net {
    services: Mutex<BTreeMap<NodeId, BlockService>>,
    cut: Mutex<BTreeSet<NodeId>>,
    flaw: Mutex<Option<Flaw>>,
    reads: AtomicU64,
    /// Answers wait while this is true.
    held: watch::Sender<bool>,
}

impl Net {
    fn is_cut(&self, one: NodeId, other: NodeId) -> bool {
        let cut = self.cut.lock();
        cut.contains(&one) || cut.contains(&other)
    }
}

/// One node's end of them.
struct Line {
    me: NodeId,
    net: Arc<Net>,
}

impl Caller for Line {
    fn call(
        &self,
        peer: NodeId,
        ask: Parcel,
        deadline: Deadline,
    ) -> BoxFuture<'_, Result<Parcel, PeerError>> {
        Box::pin(async move {
            let unreachable = || PeerError::Unreachable {
                peer,
                reason: "cut".to_owned(),
            };
            let service = self.net.services.lock().get(&peer).cloned();
            let service = service.filter(|_| !self.net.is_cut(self.me, peer));
            let service = service.ok_or_else(unreachable)?;
            if ask.kind == Kind::BlockRead {
                self.net.reads.fetch_add(1, Ordering::SeqCst);
            }
            let _ = deadline; // What a lane would do with it; the service has its own from the header.
            let answer = service.serve(self.me, ask).await;
            let mut held = self.net.held.subscribe();
            held.wait_for(|held| !held).await.unwrap();
            let mut answer = answer.map_err(|refused| PeerError::Refused { peer, refused })?;
            if let Some(flaw) = &mut *self.net.flaw.lock() {
                flaw(&mut answer);
            }
            if self.net.is_cut(self.me, peer) {
                return Err(unreachable());
            }
            Ok(answer)
        })
    }

    fn post(&self, _peer: NodeId, _parcel: Parcel) -> bool {
        false
    }

    fn open(
        &self,
        peer: NodeId,
        _first: Parcel,
        _deadline: Deadline,
    ) -> BoxFuture<'_, Result<Box<dyn ParcelStream>, PeerError>> {
        Box::pin(async move { Err(PeerError::Busy { peer }) })
    }
}

/// The log: batches in one order, applied to every node's directory.
#[derive(Debug)]
struct Log {
    directories: Vec<Arc<Directory>>,
    order: Mutex<()>,
    applied: watch::Sender<u64>,
    /// Batches that are said to be applied and are not.
    swallow: AtomicU64,
    batches: AtomicU64,
}

/// One node's way to it.
#[derive(Debug)]
struct Pen {
    log: Arc<Log>,
    /// Nothing is agreed on while this is true.
    held: watch::Sender<bool>,
}

impl Log {
    fn apply(&self, sections: &[Section]) -> Applied {
        let _order = self.order.lock();
        let mut all = self
            .directories
            .iter()
            .map(|directory| directory.apply(sections));
        let first = all.next().unwrap();
        all.for_each(|applied| assert_eq!(applied, first, "replicas differ"));
        self.applied.send_modify(|count| *count += 1);
        first
    }
}

impl RecordSink for Pen {
    fn propose(&self, batch: Vec<u8>) -> BoxFuture<'static, Result<Applied, SinkError>> {
        let log = Arc::clone(&self.log);
        let mut held = self.held.subscribe();
        Box::pin(async move {
            held.wait_for(|held| !held).await.unwrap();
            let sections = decode(&batch).unwrap();
            log.batches.fetch_add(1, Ordering::SeqCst);
            let is_report = sections
                .iter()
                .all(|section| matches!(section, Section::Report { .. }));
            let take = |left: u64| left.checked_sub(1);
            let swallowed = is_report
                && log
                    .swallow
                    .fetch_update(Ordering::SeqCst, Ordering::SeqCst, take)
                    .is_ok();
            if !swallowed {
                return Ok(log.apply(&sections));
            }
            log.applied.send_modify(|count| *count += 1);
            let outcomes = sections.iter().filter_map(|section| match section {
                Section::Report { boot, .. } => Some((*boot, ReportOutcome::Applied)),
                _ => None,
            });
            Ok(Applied {
                outcomes: outcomes.collect(),
                ..Applied::default()
            })
        })
    }

    fn applied(&self) -> watch::Receiver<u64> {
        self.log.applied.subscribe()
    }
}

/// Where blocks belong: the nodes in turn, the first by the slot, unless told otherwise.
#[derive(Debug)]
struct Map {
    nodes: Mutex<Vec<NodeId>>,
    standings: Mutex<BTreeMap<NodeId, Standing>>,
    changed: watch::Sender<u64>,
}

impl Map {
    fn set(&self, index: usize, standing: Standing) {
        self.standings.lock().insert(node(index), standing);
        self.changed.send_modify(|count| *count += 1);
    }

    fn retarget(&self, nodes: &[usize]) {
        *self.nodes.lock() = nodes.iter().map(|index| node(*index)).collect();
        self.changed.send_modify(|count| *count += 1);
    }
}

impl BlockLayout for Map {
    fn targets(&self, slot: u16) -> Vec<NodeId> {
        let mut nodes = self.nodes.lock().clone();
        let turn = usize::from(slot) % nodes.len();
        nodes.rotate_left(turn);
        nodes
    }

    fn standing(&self, node: NodeId) -> Standing {
        let known = self.standings.lock().get(&node).copied();
        known.unwrap_or(Standing::Down)
    }

    fn changes(&self) -> watch::Receiver<u64> {
        self.changed.subscribe()
    }
}

#[derive(Debug, Default)]
struct Tags(Mutex<BTreeMap<DomainTag, ArenaId>>);

impl BlockArenas for Tags {
    fn arena(&self, tag: DomainTag) -> Option<ArenaId> {
        self.0.lock().get(&tag).copied()
    }

    fn tag(&self, arena: ArenaId) -> Option<DomainTag> {
        let tags = self.0.lock();
        tags.iter()
            .find(|(_, at)| **at == arena)
            .map(|(tag, _)| *tag)
    }
}

/// One node of the rig.
struct Member {
    node: Node,
    cache: CacheHandle,
    parts: BlockParts,
    router: BlockRouter,
    mover: BlockMover,
    tags: Arc<Tags>,
    pen: Arc<Pen>,
    directory: Arc<Directory>,
}

struct Rig {
    net: Arc<Net>,
    log: Arc<Log>,
    map: Arc<Map>,
    members: Vec<Member>,
}

impl Rig {
    async fn start(options: BlockOptions) -> Self {
        Self::with_bytes(options, 4 << 20).await
    }

    async fn with_bytes(options: BlockOptions, bytes_max: u64) -> Self {
        let net = Arc::new(Net::default());
        let count = 3;
        let log = Arc::new(Log {
            directories: (0..count).map(|_| Directory::new(PLENTY)).collect(),
            order: Mutex::default(),
            applied: watch::Sender::new(0),
            swallow: AtomicU64::new(0),
            batches: AtomicU64::new(0),
        });
        let map = Arc::new(Map {
            nodes: Mutex::new((0..count).map(node).collect()),
            standings: Mutex::new(
                (0..count)
                    .map(|index| (node(index), Standing::Up))
                    .collect(),
            ),
            changed: watch::Sender::new(0),
        });
        let mut members = Vec::new();
        for index in 0..count {
            members.push(Member::start(index, options, bytes_max, (&net, &log, &map)).await);
        }
        Self {
            net,
            log,
            map,
            members,
        }
    }

    /// The same domain as a node knows it.
    fn domain(&self, at: usize, secret: u8) -> Domain {
        self.members[at].domain(secret)
    }

    fn deadline(&self, at: usize) -> Deadline {
        self.members[at].parts.clock.deadline(PATIENCE)
    }

    async fn get(&self, at: usize, addresses: &[BlockAddress]) -> Vec<Option<LeasedBlock>> {
        let domain = self.domain(at, 1);
        let router = &self.members[at].router;
        let blocks = router.get(&domain, addresses, self.deadline(at)).await;
        blocks.unwrap()
    }

    /// Asserts that a node reads all of these, rightly.
    async fn reads_all(&self, at: usize, addresses: &[BlockAddress]) {
        let blocks = self.get(at, addresses).await;
        for (address, block) in addresses.iter().zip(blocks) {
            assert_right(address, &block.expect("it is cached"));
        }
    }

    async fn put(&self, at: usize, put: BlockPut) -> Stored {
        let domain = self.domain(at, 1);
        let router = &self.members[at].router;
        router.put(&domain, put, self.deadline(at)).await.unwrap()
    }

    async fn put_chain(&self, at: usize, chain: &[BlockAddress]) {
        let mut parent = None;
        for address in chain {
            let stored = self.put(at, block(address, parent)).await;
            assert!(matches!(stored, Stored::Copies(_)), "{stored:?}");
            parent = Some(address.key);
        }
    }

    /// Blocks that a node's own cache holds.
    async fn held(&self, at: usize, addresses: &[BlockAddress]) -> usize {
        let domain = self.domain(at, 1);
        let cache = &self.members[at].cache;
        let blocks = cache.get(&domain, addresses, self.deadline(at)).await;
        blocks.unwrap().iter().flatten().count()
    }

    fn holders(&self, address: &BlockAddress) -> BTreeSet<NodeId> {
        let holders = self.members[A].directory.holders(Place::of(address));
        holders.into_iter().map(|holder| holder.life.node).collect()
    }

    /// Waits until the directory, or something that changes with it, is like this.
    async fn until(&self, what: &str, like: impl Fn() -> bool) {
        let mut applied = self.log.applied.subscribe();
        let wait = async {
            loop {
                applied.borrow_and_update();
                if like() {
                    return;
                }
                applied.changed().await.unwrap();
            }
        };
        let waited = tokio::time::timeout(PATIENCE, wait).await;
        assert!(waited.is_ok(), "never {what}");
    }

    async fn until_listed(&self, addresses: &[BlockAddress], copies: usize) {
        let listed = |address: &BlockAddress| self.holders(address).len() >= copies;
        self.until("listed", || addresses.iter().all(listed)).await;
    }

    /// Waits until each node's directory lists exactly what its cache holds.
    async fn until_right(&self) {
        let deadline = self.members[A].parts.clock.deadline(PATIENCE);
        let mut applied = self.log.applied.subscribe();
        while !self.is_right().await {
            assert!(
                !deadline.passed(self.members[A].parts.clock.now()),
                "never right"
            );
            // An inventory's pages change nothing that can be awaited, so time is a reason to look again.
            let _ = tokio::time::timeout(Duration::from_millis(20), applied.changed()).await;
        }
    }

    async fn is_right(&self) -> bool {
        let mut held = BTreeSet::new();
        for member in &self.members {
            for shard in 0..member.cache.shards() {
                let mut from = Some(0);
                while let Some(at) = from {
                    let deadline = member.parts.clock.deadline(PATIENCE);
                    let page = member.cache.list_blocks(shard, at, 100, deadline).await;
                    let Ok(page) = page else { return false };
                    let place = |key, slot| Place {
                        slot,
                        key: crate::directory::DirectoryKey::of(&key),
                    };
                    let places = page
                        .blocks
                        .iter()
                        .map(|listed| (place(listed.key, listed.slot), member.parts.me, page.life));
                    held.extend(places);
                    from = page.next;
                }
            }
        }
        let mut listed = BTreeSet::new();
        let directory = &self.members[A].directory;
        for slot in 0..ultrakv_cache::SLOT_COUNT {
            let first = Place {
                slot,
                key: crate::directory::DirectoryKey::default(),
            };
            let (listings, _) = directory.list(first, usize::MAX);
            for listing in listings {
                let place = Place {
                    slot,
                    key: listing.key,
                };
                let holders = listing.holders.iter();
                listed.extend(holders.map(|holder| (place, holder.life.node, holder.life.boot)));
            }
        }
        held == listed
    }

    /// Kills a shard and waits for its next life.
    async fn kill_shard(&self, at: usize, shard: usize) {
        let path = format!("node/cache/shard-{shard}");
        self.kill(at, &path).await;
    }

    async fn kill(&self, at: usize, path: &str) {
        let node = &self.members[at].node;
        let restarts = |tree: &[ultrakv_actors::ActorInfo]| {
            let actor = tree.iter().find(|actor| actor.path == path).unwrap();
            (actor.restarts, actor.status == ActorState::Running)
        };
        let before = restarts(&node.tree()).0;
        assert!(node.kill(path));
        let back = node.wait_for_tree(|tree| restarts(tree) > (before, false) && restarts(tree).1);
        tokio::time::timeout(PATIENCE, back).await.unwrap();
    }
}

impl Member {
    async fn start(
        index: usize,
        options: BlockOptions,
        bytes_max: u64,
        (net, log, map): (&Arc<Net>, &Arc<Log>, &Arc<Map>),
    ) -> Self {
        let shards = 2;
        let reports = BlockReports::new(shards, Tier::Host, options.report_waiting_max);
        let reports = Arc::new(reports);
        let mut plan = NodePlan::host(
            Budget::of_bytes(bytes_max),
            PAGE,
            u32::try_from(shards).unwrap(),
        );
        plan.restarts.restarts_max = 10_000;
        plan.restarts.backoff_ms_max = 2;
        plan.watcher = Some(Arc::<BlockReports>::clone(&reports));
        let this = Node::start(plan).await.unwrap();
        let cache = this.cache();
        let tags = Arc::new(Tags::default());
        for secret in 1..=2 {
            let arena = cache.open_arena();
            tags.0.lock().insert(DomainTag([secret; 16]), arena);
        }
        let pen = Arc::new(Pen {
            log: Arc::clone(log),
            held: watch::Sender::new(false),
        });
        let directory = Arc::clone(&log.directories[index]);
        let source = Arc::clone(&directory);
        let parts = BlockParts {
            me: node(index),
            cache: cache.clone(),
            clock: this.clock().clone(),
            reports,
            directory: Arc::new(move || Arc::clone(&source)),
            sink: Arc::<Pen>::clone(&pen),
            layout: Arc::<Map>::clone(map),
            arenas: Arc::<Tags>::clone(&tags),
            callers: Arc::new(Line {
                me: node(index),
                net: Arc::clone(net),
            }),
            options,
        };
        let mover = parts.mover();
        let children = [parts.reporting(), mover.child()];
        let branch = ChildSpec::supervisor("cluster", "ClusterSupervisor", children);
        this.attach(branch).await.unwrap();
        net.services.lock().insert(node(index), parts.service());
        Self {
            router: parts.router(),
            node: this,
            cache,
            mover,
            tags,
            pen,
            directory,
            parts,
        }
    }

    fn domain(&self, secret: u8) -> Domain {
        let tag = DomainTag([secret; 16]);
        let effective = DomainSecret::from_bytes([secret; 32]).effective(0, b"");
        let arena = self.tags.arena(tag).unwrap_or(ArenaId(u32::MAX));
        Domain::new(effective, arena, tag)
    }
}

fn chain_of(secret: u8, seed: u32, blocks: u32) -> Vec<BlockAddress> {
    let inputs = KeyInputs {
        weights: [1; 32],
        adapter: [0; 32],
        rope: [2; 32],
        layout: LAYOUT,
        block_tokens: BLOCK_TOKENS,
    };
    let effective = DomainSecret::from_bytes([secret; 32]).effective(0, b"");
    let tokens = (0..blocks * BLOCK_TOKENS).map(|at| if at == 0 { seed } else { at });
    KeySpace::new(&effective, &inputs).chain(&tokens.collect::<Vec<_>>())
}

fn chain(seed: u32, blocks: u32) -> Vec<BlockAddress> {
    chain_of(1, seed, blocks)
}

fn payload(address: &BlockAddress) -> Bytes {
    let bytes = address.key.as_bytes().iter().cycle();
    bytes.copied().take(PAYLOAD_BYTES).collect()
}

fn block(address: &BlockAddress, parent: Option<ultrakv_cache::BlockKey>) -> BlockPut {
    let payload = payload(address);
    BlockPut {
        address: *address,
        parent,
        depth: 0,
        header: BlockHeader::seal(LAYOUT, BLOCK_TOKENS, &address.key, &payload),
        payload,
        pin: Pin::None,
        ttl_ms: None,
    }
}

fn assert_right(address: &BlockAddress, block: &LeasedBlock) {
    assert_eq!(block.payload, payload(address), "wrong bytes");
    assert!(block.header.verify(&address.key, &block.payload));
}

/// A chain whose first block's slot has this node as its first target.
fn chain_at(rig: &Rig, at: usize, from_seed: u32, blocks: u32) -> Vec<BlockAddress> {
    let is_there = |chain: &Vec<BlockAddress>| {
        let mut blocks = chain.iter();
        blocks.all(|address| rig.map.targets(address.slot())[0] == node(at))
    };
    (from_seed..)
        .map(|seed| chain(seed, blocks))
        .find(is_there)
        .unwrap()
}

fn options() -> BlockOptions {
    BlockOptions {
        move_tick_ms: 5,
        ..BlockOptions::default()
    }
}
