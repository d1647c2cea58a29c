//! Whole nodes, as far as consensus and tenures go, in one process, and a network between them that can be cut one way,
//! both ways, and slowed down.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Weak};
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use parking_lot::Mutex;
use tempfile::TempDir;
use tokio::sync::mpsc;
use ultrakv_actors::{BootId, Clock, Deadline, Entropy};

use crate::metadata::{
    Addresses, COMMANDS_VERSION, ClusterId, Command, Done, Found, MemberCapacity, MemberJoin,
    MemberState, Outcome, Secret, ServiceSet, Sharing, VersionRange,
};
use crate::peer::{Caller, Parcel, ParcelStream, PeerError, Refused};
use crate::raft::handle::Inner;
use crate::raft::log::MemoryDisk;
use crate::raft::{
    Consensus, ConsensusPlan, ControlError, RaftTiming, SnapshotRules, Storage, VoterRules,
};
use crate::tenure::{TenurePlan, Tenures};
use crate::wire::Kind;
use crate::{Incarnation, NodeId};

/// Slower than a product's, because tests share their processors.
pub(crate) const TIMING: RaftTiming = RaftTiming {
    heartbeat: Duration::from_millis(100),
    election_min: Duration::from_millis(400),
    election_max: Duration::from_millis(800),
    snapshot: Duration::from_secs(20),
};

/// Before a test gives up.
pub(crate) const LONG: Duration = Duration::from_secs(30);

pub(crate) fn id(number: u64) -> NodeId {
    NodeId::from_u128(number.into())
}

/// One running node.
pub(crate) struct Node {
    pub(crate) consensus: Consensus,
    pub(crate) tenures: Tenures,
    pub(crate) life: Incarnation,
}

impl Node {
    async fn stop(self: Arc<Self>) -> Weak<Inner> {
        self.tenures.shutdown().await;
        self.consensus.shutdown().await;
        Arc::downgrade(&self.consensus.inner)
    }

    pub(crate) fn is_held(&self) -> bool {
        self.tenures.cell().is_held()
    }

    /// What the state says of a node, as this one sees it.
    pub(crate) fn state_of(&self, number: u64) -> Option<MemberState> {
        let view = self.consensus.view();
        let record = view.members().get(id(number));
        record.map(|record| record.state)
    }

    pub(crate) fn knows(&self, service: &str) -> bool {
        self.consensus.view().services().find(service).is_some()
    }
}

/// Who reaches whom.
#[derive(Default)]
pub(crate) struct Net {
    nodes: Mutex<BTreeMap<NodeId, Arc<Node>>>,
    cut: Mutex<BTreeSet<(NodeId, NodeId)>>,
    /// Kinds of everything that was delivered.
    seen: Mutex<Vec<Kind>>,
}

impl Net {
    fn carries(&self, from: NodeId, to: NodeId) -> bool {
        !self.cut.lock().contains(&(from, to))
    }

    fn node(&self, number: NodeId) -> Option<Arc<Node>> {
        self.nodes.lock().get(&number).cloned()
    }

    /// Nothing from the first reaches the second.
    pub(crate) fn cut(&self, from: u64, to: u64) {
        self.cut.lock().insert((id(from), id(to)));
    }

    /// Nothing comes from a node nor goes to it.
    pub(crate) fn cut_off(&self, number: u64, others: impl IntoIterator<Item = u64>) {
        for other in others {
            self.cut(number, other);
            self.cut(other, number);
        }
    }

    pub(crate) fn heal(&self) {
        self.cut.lock().clear();
    }

    pub(crate) fn seen(&self, kind: Kind) -> usize {
        let seen = self.seen.lock();
        seen.iter().filter(|seen| **seen == kind).count()
    }
}

/// One node's way into the network.
struct Port {
    me: NodeId,
    net: Arc<Net>,
    clock: Clock,
}

async fn answer(node: &Node, peer: NodeId, ask: Parcel) -> Result<Parcel, Refused> {
    match ask.kind {
        Kind::Tenure => node.tenures.serve(peer, &ask).await,
        _ => node.consensus.serve(peer, ask).await,
    }
}

impl Caller for Port {
    fn call(
        &self,
        peer: NodeId,
        ask: Parcel,
        deadline: Deadline,
    ) -> BoxFuture<'_, Result<Parcel, PeerError>> {
        let (me, net) = (self.me, Arc::clone(&self.net));
        let left = self.clock.remaining(deadline);
        let asking = async move {
            if !net.carries(me, peer) {
                return std::future::pending().await;
            }
            let Some(node) = net.node(peer) else {
                return Err(PeerError::Unreachable {
                    peer,
                    reason: "it does not run".to_owned(),
                });
            };
            net.seen.lock().push(ask.kind);
            // The peer goes on with it when nobody waits any more.
            let answered = tokio::spawn(async move { answer(&node, me, ask).await }).await;
            if !net.carries(peer, me) {
                return std::future::pending().await;
            }
            match answered {
                Ok(answered) => answered.map_err(|refused| PeerError::Refused { peer, refused }),
                Err(_) => Err(PeerError::Lost {
                    peer,
                    reason: "it stopped".to_owned(),
                }),
            }
        };
        async move {
            let answered = tokio::time::timeout(left, asking).await;
            answered.unwrap_or(Err(PeerError::Deadline { peer }))
        }
        .boxed()
    }

    fn post(&self, _peer: NodeId, _parcel: Parcel) -> bool {
        false
    }

    fn open(
        &self,
        peer: NodeId,
        first: Parcel,
        _deadline: Deadline,
    ) -> BoxFuture<'_, Result<Box<dyn ParcelStream>, PeerError>> {
        let (me, net) = (self.me, Arc::clone(&self.net));
        async move {
            let unreachable = || PeerError::Unreachable {
                peer,
                reason: "cut".to_owned(),
            };
            let node = net.node(peer).filter(|_| net.carries(me, peer));
            let node = node.ok_or_else(unreachable)?;
            net.seen.lock().push(first.kind);
            let (ours, theirs) = pipe(&net, me, peer);
            tokio::spawn(async move {
                node.consensus.serve_stream(me, first, theirs).await;
            });
            Ok(ours)
        }
        .boxed()
    }
}

/// Both ends of a stream: that of who opens it, and that of who takes it.
pub(crate) fn pipe(
    net: &Arc<Net>,
    me: NodeId,
    peer: NodeId,
) -> (Box<dyn ParcelStream>, Box<dyn ParcelStream>) {
    let (there, from_here) = mpsc::channel(4);
    let (back, from_there) = mpsc::channel(4);
    let end = |from, to, out, into| Pipe {
        from,
        to,
        net: Arc::clone(net),
        out,
        into,
    };
    (
        Box::new(end(me, peer, there, from_there)),
        Box::new(end(peer, me, back, from_here)),
    )
}

struct Pipe {
    from: NodeId,
    to: NodeId,
    net: Arc<Net>,
    out: mpsc::Sender<Parcel>,
    into: mpsc::Receiver<Parcel>,
}

impl ParcelStream for Pipe {
    fn send(&mut self, parcel: Parcel) -> BoxFuture<'_, Result<(), PeerError>> {
        async move {
            let lost = |reason: &str| PeerError::Lost {
                peer: self.to,
                reason: reason.to_owned(),
            };
            if !self.net.carries(self.from, self.to) {
                return Err(lost("cut"));
            }
            self.net.seen.lock().push(parcel.kind);
            let sent = self.out.send(parcel).await;
            sent.map_err(|_| lost("ended"))
        }
        .boxed()
    }

    fn receive(&mut self) -> BoxFuture<'_, Result<Option<Parcel>, PeerError>> {
        async move { Ok(self.into.recv().await) }.boxed()
    }
}

/// Nodes, their disks and their network.
pub(crate) struct Bench {
    pub(crate) net: Arc<Net>,
    pub(crate) clock: Clock,
    pub(crate) snapshots: SnapshotRules,
    pub(crate) voters: VoterRules,
    folder: TempDir,
    disks: BTreeMap<u64, Storage>,
    lives: u128,
}

impl Bench {
    pub(crate) fn new() -> Self {
        Self {
            net: Arc::default(),
            clock: Clock::machine(),
            snapshots: SnapshotRules::default(),
            voters: VoterRules {
                every: Duration::from_millis(100),
                ..VoterRules::default()
            },
            folder: tempfile::tempdir().unwrap(),
            disks: BTreeMap::new(),
            lives: 100,
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Files that are half received or half written in a node's folder of snapshots.
    pub(crate) fn asides(&self, number: u64) -> usize {
        let Some(Storage::Parts(_, folder)) = self.disks.get(&number) else {
            return 0;
        };
        let files = std::fs::read_dir(folder).unwrap();
        let names = files.map(|file| file.unwrap().path());
        names
            .filter(|name| name.extension().is_some_and(|end| end == "aside"))
            .count()
    }

    pub(crate) fn deadline(&self) -> Deadline {
        self.clock.deadline(LONG)
    }

    /// Puts a node's store elsewhere.
    pub(crate) fn store(&mut self, number: u64, storage: Storage) {
        self.disks.insert(number, storage);
    }

    /// The node's disk is lost.
    pub(crate) fn lose_disk(&mut self, number: u64) {
        self.disks.remove(&number);
    }

    /// Starts a node on the disk that it had, or on a new one.
    pub(crate) async fn start(&mut self, number: u64) -> Arc<Node> {
        self.lives += 1;
        let lives = self.lives;
        let snapshots = self.path(&format!("{number}-{lives}"));
        let storage = self
            .disks
            .entry(number)
            .or_insert_with(|| Storage::Parts(Arc::new(MemoryDisk::new()), snapshots));
        let plan = ConsensusPlan {
            node: id(number),
            storage: storage.clone(),
            timing: TIMING,
            snapshots: self.snapshots,
            voters: self.voters,
            callers: Arc::new(Port {
                me: id(number),
                net: Arc::clone(&self.net),
                clock: self.clock.clone(),
            }),
            clock: self.clock.clone(),
            entropy: Entropy::machine(),
        };
        let consensus = Consensus::start(plan).await.unwrap();
        let life = Incarnation {
            node: id(number),
            boot: BootId::from_u128(lives),
        };
        let plan = TenurePlan::new(life);
        let tenures = Tenures::start(consensus.clone(), plan, consensus.changes());
        let node = Arc::new(Node {
            consensus,
            tenures,
            life,
        });
        self.net.nodes.lock().insert(id(number), Arc::clone(&node));
        node
    }

    /// Stops a node; whoever asks it finds nobody. What it shared must be gone when it returns.
    pub(crate) async fn stop(&self, node: Arc<Node>) {
        self.net.nodes.lock().remove(&node.life.node);
        let inner = Arc::clone(&node).stop().await;
        drop(node);
        until("nothing of a node remains", || inner.strong_count() == 0).await;
    }

    pub(crate) fn about(&self, node: &Node) -> MemberJoin {
        MemberJoin {
            node: node.life.node,
            disk: node.consensus.id().disk,
            boot: node.life.boot,
            name: "node".to_owned(),
            binary: "1".to_owned(),
            versions: VersionRange {
                min: 1,
                max: COMMANDS_VERSION,
            },
            addresses: Addresses::default(),
            capacity: MemberCapacity {
                shards: 1,
                bytes_max: 1,
                tokens_max: None,
            },
            zone: String::new(),
            at_unix_ms: 1,
        }
    }

    pub(crate) async fn found(&self, node: &Node) {
        let found = Found {
            cluster: ClusterId(7),
            version: 1,
            directory_bytes_max: 64 << 20,
            at_unix_ms: 1,
        };
        let about = self.about(node);
        let founded = node.consensus.found(found, about, self.deadline()).await;
        assert_eq!(founded, Ok(Ok(())));
    }

    pub(crate) async fn join(&self, node: &Node, via: u64) {
        let (via, about) = ([id(via)], self.about(node));
        let joined = node.consensus.join(&via, about, self.deadline()).await;
        let joined = joined.unwrap();
        assert!(joined.outcome.is_applied(), "{joined:?}");
        let up = Command::MemberState {
            life: node.life,
            from: MemberState::Joining,
            to: MemberState::Up,
        };
        let outcomes = node.consensus.propose(vec![up], self.deadline()).await;
        assert!(outcomes.unwrap().iter().all(Outcome::is_applied));
    }

    /// Nodes 1 to so many, all of them up, with as many voters as there should be.
    pub(crate) async fn cluster(&mut self, count: u64) -> Vec<Arc<Node>> {
        let mut nodes = vec![self.start(1).await];
        self.found(&nodes[0]).await;
        for number in 2..=count {
            let node = self.start(number).await;
            self.join(&node, 1).await;
            nodes.push(node);
        }
        let voters = [0, 1, 1, 3, 3, 5];
        let voters = voters[usize::try_from(count).unwrap()];
        for node in &nodes {
            until("the voters are as they should be", || {
                let status = node.consensus.status();
                status.voters.len() == voters && !status.is_joint && node.is_held()
            })
            .await;
        }
        nodes
    }

    pub(crate) async fn write(&self, node: &Node, name: &str) -> Result<(), ControlError> {
        let outcomes = node.consensus.propose(vec![service(name)], self.deadline());
        let outcomes = outcomes.await?;
        assert_eq!(outcomes, [Outcome::Applied(Done::Set)], "{name}");
        Ok(())
    }
}

pub(crate) fn service(name: &str) -> Command {
    Command::ServiceSet(ServiceSet {
        service: name.to_owned(),
        sharing: Sharing::Alone(name.to_owned()),
        secret: Secret::from_bytes([7; 32]),
    })
}

/// Waits for something, and fails the test when it does not come.
pub(crate) async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let waiting = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    let came = tokio::time::timeout(LONG, waiting).await;
    assert!(came.is_ok(), "it never came that {what}");
}

/// Who leads, once all of these agree.
pub(crate) async fn leader_of(nodes: &[&Arc<Node>]) -> u64 {
    let mut found = None;
    until("all agree on a leader", || {
        let leaders: BTreeSet<_> = nodes.iter().map(|node| node.consensus.leader()).collect();
        let terms: BTreeSet<_> = nodes
            .iter()
            .map(|node| node.consensus.status().term)
            .collect();
        found = leaders.first().copied().flatten();
        leaders.len() == 1 && terms.len() == 1 && found.is_some()
    })
    .await;
    u64::try_from(found.unwrap().to_u128()).unwrap()
}
