//! The way up of a node's part in its cluster: identity, lanes, consensus, tenures, entries, blocks, and the actors that
//! look after them, in this order, each needing only those before it.
//!
//! It decides nothing that the plan does not say. Other nodes are answered as soon as the part that answers is there.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;
use ultrakv_actors::{ChildSpec, Coder, EntropyError, Node, StartError};

use crate::block::{BlockMover, BlockOptions, BlockParts, BlockReports};
use crate::book::Book;
use crate::control::ControlRuntime;
use crate::director::{self, Directed, Origin, Phase};
use crate::directory::{Directory, Tier};
use crate::duty::{Failed, duty};
use crate::entry::{EntryHost, EntryRouter, HostLinks, HostPlan, Tenured};
use crate::handle::{ClusterHandle, Inner};
use crate::lane::mesh::{Mesh, MeshPlan};
use crate::lane::tls::{CertsError, ClusterName, Credentials, Identity};
use crate::lane::{
    BulkLane, BulkLimits, BulkPlan, BulkSecurity, LaneError, QuicLane, QuicLimits, QuicPlan,
};
use crate::links::{Desks, Lanes, Nobody};
use crate::metadata::{
    Addresses, COMMANDS_VERSION, Command, JobId, MemberCapacity, MemberJoin, VersionRange,
};
use crate::peer::{Callers, Responder};
use crate::plan::{ClusterPlan, MemberPlan};
use crate::proposals::{Records, SlotProposals};
use crate::raft::{
    Consensus, ConsensusError, ConsensusPlan, RaftTiming, SnapshotRules, Storage, VoterRules,
};
use crate::report::Reported;
use crate::steward::{Steward, StewardRules, StewardWorld};
use crate::surroundings::Surroundings;
use crate::tenure::{TenureCell, TenurePlan, Tenures};
use crate::{Incarnation, NodeId};

/// How long a start waits for its place in the cluster. A node that was not let in by then opens its doors all the same, and
/// says so there.
const ENTER_WITHIN: Duration = Duration::from_secs(20);
/// The directory of a cluster of one, whose blocks nobody else asks for.
const DIRECTORY_BYTES_ALONE: u64 = 0;
/// The leader looks after the cluster at least this often.
const STEWARD_EVERY: Duration = Duration::from_millis(250);
/// Between two of its looks, so that a burst of changes is taken in together: a look visits every slot, and while slots move
/// every few milliseconds bring a change. Nobody waits for one.
const STEWARD_REST: Duration = Duration::from_millis(100);
/// The time for having what it decides agreed on.
const STEWARD_WITHIN: Duration = Duration::from_secs(2);

/// How long a question waits for a failover, in longest election timeouts: one takes about four.
const FAILOVER_ELECTIONS: u32 = 6;

/// The cluster did not start.
#[derive(Debug, thiserror::Error)]
pub enum ClusterStartError {
    /// No randomness for ids and secrets.
    #[error(transparent)]
    Entropy(#[from] EntropyError),
    /// An actor did not start.
    #[error(transparent)]
    Actor(#[from] StartError),
    /// The node's certificates cannot be used.
    #[error(transparent)]
    Certs(#[from] CertsError),
    /// A lane did not start.
    #[error(transparent)]
    Lane(#[from] LaneError),
    /// Consensus did not start.
    #[error(transparent)]
    Consensus(#[from] ConsensusError),
    /// The threads of consensus did not start.
    #[error("the threads of consensus do not start")]
    Threads(#[source] std::io::Error),
    /// A part panicked while it started.
    #[error("a part of the cluster panicked while it started")]
    Panicked,
    /// Another cluster was started on this node already.
    #[error("the node's shards have another cluster's entries")]
    Occupied,
}

impl ClusterStartError {
    /// A stable name for machines.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Entropy(_) => "no_entropy",
            Self::Actor(_) => "actor_start",
            Self::Certs(error) => error.code(),
            Self::Lane(error) => error.code(),
            Self::Consensus(error) => error.code(),
            Self::Threads(_) => "cluster_threads",
            Self::Panicked => "cluster_panicked",
            Self::Occupied => "cluster_occupied",
        }
    }

    /// What the operator can do about it.
    #[must_use]
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::Entropy(_) => "look whether the system has a source of randomness",
            Self::Actor(_) => "the log says which actor, and why",
            Self::Certs(error) => error.hint(),
            Self::Lane(error) => error.hint(),
            Self::Consensus(error) => error.hint(),
            Self::Threads(_) => "raise the limit of threads or of memory",
            Self::Panicked => "report it with the log",
            Self::Occupied => "start one cluster on one node",
        }
    }
}

/// Who the node is, and how it reaches others.
struct Outside {
    me: NodeId,
    lanes: Option<Arc<Lanes>>,
    callers: Callers,
    control: Book,
    bulk: Book,
    addresses: Addresses,
    cluster_name: Option<ClusterName>,
}

/// Starts a node's part in its cluster, under the node's supervision.
pub(crate) async fn start(
    plan: ClusterPlan,
    node: &Node,
) -> Result<ClusterHandle, ClusterStartError> {
    let desks = Arc::new(Desks::default());
    let Agreement {
        control,
        outside,
        consensus,
        tenures,
        told,
    } = agree(&plan, node, &desks).await?;
    let proposals = Arc::new(SlotProposals::default());
    let host = entry_host(&plan, node, &outside, &proposals, &tenures);
    if !host.admit() {
        return Err(ClusterStartError::Occupied);
    }
    let entries = EntryRouter::new(&host);
    let _ = desks.entries.set((entries.clone(), host.clone()));

    let surroundings = Surroundings {
        consensus: consensus.clone(),
        domains: Arc::default(),
        lanes: outside.lanes.clone(),
        revision: watch::Sender::new(0),
        told,
    };
    let parts = block_parts(&plan, node, &outside, &surroundings);
    let _ = desks.blocks.set(parts.service());
    let mover = plan.member.as_ref().map(|_| parts.mover());

    let reported = reported(&plan, node, &consensus, &tenures, mover.as_ref());
    let mesh = mesh(node, &outside, &reported);
    if let Some(mesh) = &mesh {
        let _ = desks.mesh.set(mesh.clone());
    }
    let cluster_name = outside.cluster_name.as_ref().map(ToString::to_string);
    let directed = Arc::new(Directed {
        mesh,
        ..directed(&plan, node, outside, host, surroundings, mover)
    });
    let mut children = vec![
        proposing(&consensus, &proposals),
        stewarding(&plan, node, &consensus),
    ];
    // Only where there are others is anybody told of blocks.
    if directed.mover.is_some() {
        children.push(parts.reporting());
    }
    children.extend(directed.mover.as_ref().map(BlockMover::child));
    children.extend(directed.mesh.as_ref().map(Mesh::spec));
    children.push(directing(&directed));
    let family = ChildSpec::supervisor("cluster", "ClusterSupervisor", children);
    node.attach(family).await?;
    let blocks = parts.router();
    // Alone there is nobody to fetch from.
    if directed.mover.is_some() {
        parts.prefetch_through(&blocks);
    }
    let handle = ClusterHandle::new(Inner {
        plan,
        cluster_name,
        node: node.clone(),
        directed,
        reported,
        _control: control,
        tenures,
        entries,
        blocks,
        coder: Coder::new(node.cache().page_bytes(), node.clock().clone()),
    });
    handle.settle_in(ENTER_WITHIN).await;
    Ok(handle)
}

/// What a node agrees with others by.
struct Agreement {
    control: ControlRuntime,
    outside: Outside,
    consensus: Consensus,
    tenures: Arc<Tenures>,
    told: watch::Sender<u64>,
}

/// Starts what agrees, on the threads that go ahead: what each part spawns runs where the part is made.
async fn agree(
    plan: &ClusterPlan,
    node: &Node,
    desks: &Arc<Desks>,
) -> Result<Agreement, ClusterStartError> {
    let panicked = || ClusterStartError::Panicked;
    let control = ControlRuntime::start().map_err(ClusterStartError::Threads)?;
    let outside = {
        let (member, node, desks) = (plan.member.clone(), node.clone(), Arc::clone(desks));
        let reached = control.run(async move { reach_out(member.as_ref(), &node, &desks) });
        reached.await.ok_or_else(panicked)??
    };
    let consensus = Consensus::start(consensus_plan(plan, node, &outside));
    let consensus = control.run(consensus).await.ok_or_else(panicked)??;
    // A desk that is set stays set: each is set once, on the way up.
    let _ = desks.consensus.set(consensus.clone());
    let life = Incarnation {
        node: outside.me,
        boot: node.boot_id(),
    };
    let told = watch::Sender::new(0);
    let tenures = {
        let (consensus, told) = (consensus.clone(), told.subscribe());
        control.run(async move { Tenures::start(consensus, TenurePlan::new(life), told) })
    };
    let tenures = Arc::new(tenures.await.ok_or_else(panicked)?);
    let _ = desks.tenures.set(Arc::clone(&tenures));
    Ok(Agreement {
        control,
        outside,
        consensus,
        tenures,
        told,
    })
}

/// What this node will say of itself.
fn reported(
    plan: &ClusterPlan,
    node: &Node,
    consensus: &Consensus,
    tenures: &Arc<Tenures>,
    mover: Option<&BlockMover>,
) -> Reported {
    Reported {
        boot: node.boot_id(),
        name: plan.node_name.clone(),
        version: plan.version.clone(),
        started: node.clock().unix(),
        clock: node.clock().clone(),
        consensus: consensus.clone(),
        tenures: Arc::clone(tenures),
        mover: mover.cloned(),
    }
}

/// The mesh of actors, where there are others.
fn mesh(node: &Node, outside: &Outside, reported: &Reported) -> Option<Mesh> {
    let cluster = outside.cluster_name.clone()?;
    Some(Mesh::new(MeshPlan {
        cluster,
        node: outside.me,
        lane: Arc::clone(&outside.callers),
        reporter: reported.reporter(),
        clock: node.clock().clone(),
    }))
}

/// The replicas of this node's slots.
fn entry_host(
    plan: &ClusterPlan,
    node: &Node,
    outside: &Outside,
    proposals: &Arc<SlotProposals>,
    tenures: &Tenures,
) -> EntryHost {
    let links = HostLinks {
        cache: node.cache(),
        clock: node.clock().clone(),
        callers: Arc::clone(&outside.callers),
        proposer: Arc::<SlotProposals>::clone(proposals),
        tenure: Arc::new(Held(tenures.cell())),
    };
    let mut host = HostPlan::of(outside.me);
    if let Some(member) = &plan.member {
        // An election may take two; its winner gives the others one to be heard of, and one more until it is sure of itself.
        let failover = member
            .timing
            .election_max
            .saturating_mul(FAILOVER_ELECTIONS);
        let failover_ms = u64::try_from(failover.as_millis()).unwrap_or(u64::MAX);
        host.unserved_ms_max = host.unserved_ms_max.max(failover_ms);
    }
    EntryHost::new(host, links)
}

/// What the director keeps true.
fn directed(
    plan: &ClusterPlan,
    node: &Node,
    outside: Outside,
    host: EntryHost,
    surroundings: Surroundings,
    mover: Option<BlockMover>,
) -> Directed {
    let member = plan.member.as_ref();
    Directed {
        me: outside.me,
        boot: node.boot_id(),
        about: about(plan, node, &outside, &surroundings.consensus),
        origin: Mutex::new(member.map_or(Origin::Found, |member| member.origin.clone())),
        services: plan.services.clone(),
        directory_bytes_max: member
            .map_or(DIRECTORY_BYTES_ALONE, |member| member.directory_bytes_max),
        consensus: surroundings.consensus.clone(),
        cache: node.cache(),
        host,
        lanes: outside.lanes,
        control: outside.control,
        bulk: outside.bulk,
        domains: Arc::clone(&surroundings.domains),
        surroundings,
        mover,
        mesh: None,
        phase: watch::Sender::new(Phase::Starting),
        stepping_aside: watch::Sender::new(false),
        purged: Mutex::default(),
        clock: node.clock().clone(),
        entropy: node.entropy().clone(),
    }
}

/// Who the node is, and its lanes when it has a cluster to speak with.
fn reach_out(
    member: Option<&MemberPlan>,
    node: &Node,
    desks: &Arc<Desks>,
) -> Result<Outside, ClusterStartError> {
    let (control, bulk) = (Book::default(), Book::default());
    let Some(member) = member else {
        return Ok(Outside {
            me: NodeId::draw(node.entropy())?,
            lanes: None,
            callers: Arc::new(Nobody),
            control,
            bulk,
            addresses: Addresses::default(),
            cluster_name: None,
        });
    };
    let credentials = Credentials::load(&member.certs, node.clock().unix())?;
    let identity = Identity::new(&credentials)?;
    let (me, cluster_name) = (identity.node(), identity.cluster().clone());
    let responder: Arc<dyn Responder> = Arc::<Desks>::clone(desks);
    let quic = QuicPlan {
        identity: identity.clone(),
        boot: node.boot_id(),
        bind: member.bind,
        limits: QuicLimits::default(),
        clock: node.clock().clone(),
    };
    let quic = QuicLane::start(quic, Arc::clone(&responder), Arc::new(control.clone()))?;
    let security = if member.bulk_plain {
        tracing::warn!("cluster.bulk_plain: block bytes travel between nodes without encryption");
        BulkSecurity::Plain { node: me }
    } else {
        BulkSecurity::Tls(identity)
    };
    let blocks = BulkPlan {
        security,
        boot: node.boot_id(),
        bind: member.bulk_bind,
        limits: BulkLimits::default(),
        clock: node.clock().clone(),
    };
    let blocks = BulkLane::start(blocks, responder, Arc::new(bulk.clone()))?;
    let told = |given: &Option<String>, bound: std::net::SocketAddr| {
        given.clone().unwrap_or_else(|| bound.to_string())
    };
    let address = |source| LaneError::Bind {
        address: member.bind,
        source,
    };
    let addresses = Addresses {
        control: told(&member.advertise, quic.local_addr().map_err(address)?),
        bulk: told(&member.bulk_advertise, blocks.local_addr()),
        door: String::new(),
    };
    let lanes = Arc::new(Lanes { quic, bulk: blocks });
    Ok(Outside {
        me,
        callers: Arc::<Lanes>::clone(&lanes),
        lanes: Some(lanes),
        control,
        bulk,
        addresses,
        cluster_name: Some(cluster_name),
    })
}

fn consensus_plan(plan: &ClusterPlan, node: &Node, outside: &Outside) -> ConsensusPlan {
    let member = plan.member.as_ref();
    ConsensusPlan {
        node: outside.me,
        storage: member.map_or(Storage::Memory, |member| {
            Storage::Folder(member.data.join("raft"))
        }),
        timing: member.map_or_else(RaftTiming::default, |member| member.timing),
        snapshots: member.map_or_else(SnapshotRules::in_memory, |_| SnapshotRules::default()),
        voters: VoterRules::default(),
        callers: Arc::clone(&outside.callers),
        clock: node.clock().clone(),
        entropy: node.entropy().clone(),
    }
}

/// What this node tells of itself.
fn about(plan: &ClusterPlan, node: &Node, outside: &Outside, consensus: &Consensus) -> MemberJoin {
    let cache = node.cache();
    MemberJoin {
        node: outside.me,
        disk: consensus.id().disk,
        boot: node.boot_id(),
        name: plan.node_name.clone(),
        binary: plan.version.clone(),
        versions: VersionRange {
            min: 1,
            max: COMMANDS_VERSION,
        },
        addresses: outside.addresses.clone(),
        capacity: MemberCapacity {
            shards: u16::try_from(cache.shards()).unwrap_or(u16::MAX),
            bytes_max: cache.bytes_max(),
            tokens_max: cache.tokens_max(),
        },
        zone: plan
            .member
            .as_ref()
            .map_or_else(String::new, |member| member.zone.clone()),
        at_unix_ms: node.clock().unix().0,
    }
}

fn block_parts(
    plan: &ClusterPlan,
    node: &Node,
    outside: &Outside,
    surroundings: &Surroundings,
) -> BlockParts {
    let options = plan
        .member
        .as_ref()
        .map_or_else(BlockOptions::default, |member| member.blocks);
    let reports = plan.reports.clone();
    let reports = reports.unwrap_or_else(|| block_reports(node.cache().shards()));
    // Until the cluster is founded, and where a snapshot is being installed, nothing is listed.
    let nothing = Directory::new(0);
    let consensus = surroundings.consensus.clone();
    BlockParts {
        me: outside.me,
        cache: node.cache(),
        clock: node.clock().clone(),
        reports,
        directory: Arc::new(move || {
            let view = consensus.view();
            let directory = view.directory().map(Arc::clone);
            directory.unwrap_or_else(|| Arc::clone(&nothing))
        }),
        sink: Arc::new(Records(surroundings.consensus.clone())),
        layout: Arc::new(surroundings.clone()),
        arenas: Arc::new(surroundings.clone()),
        callers: Arc::clone(&outside.callers),
        options,
    }
}

/// What a node's shards tell of their blocks: the watcher that a member's node is started with.
#[must_use]
pub fn block_reports(shards: usize) -> Arc<BlockReports> {
    let waiting_max = BlockOptions::default().report_waiting_max;
    // The host's memory is what shards are made of today.
    Arc::new(BlockReports::new(shards, Tier::Host, waiting_max))
}

/// The tenure as the entries' host asks for it.
struct Held(Arc<TenureCell>);

impl Tenured for Held {
    fn is_held(&self) -> bool {
        self.0.is_held()
    }
}

fn proposing(consensus: &Consensus, proposals: &Arc<SlotProposals>) -> ChildSpec {
    let (consensus, proposals) = (consensus.clone(), Arc::clone(proposals));
    duty("slots", "SlotActor", move || {
        let (consensus, proposals) = (consensus.clone(), Arc::clone(&proposals));
        async move { proposals.run(&consensus).await }
    })
}

fn directing(directed: &Arc<Directed>) -> ChildSpec {
    let directed = Arc::clone(directed);
    duty("membership", "MembershipActor", move || {
        director::run(Arc::clone(&directed))
    })
}

fn stewarding(plan: &ClusterPlan, node: &Node, consensus: &Consensus) -> ChildSpec {
    let rules = plan
        .member
        .as_ref()
        .map_or_else(StewardRules::default, |member| member.steward);
    let (node, consensus) = (node.clone(), consensus.clone());
    duty("rebalance", "RebalanceActor", move || {
        steward(rules, node.clone(), consensus.clone())
    })
}

/// Looks after the cluster while this node leads it.
async fn steward(rules: StewardRules, node: Node, consensus: Consensus) -> Failed {
    let mut changes = consensus.changes();
    let mut present: Option<(u64, Steward)> = None;
    let mut due = tokio::time::interval(STEWARD_EVERY);
    due.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut seen = None;
    loop {
        tokio::time::sleep(STEWARD_REST).await;
        let is_due = tokio::select! {
            biased;
            _ = due.tick() => true,
            _ = changes.changed() => false,
        };
        let revision = Some(consensus.view().revision());
        // The directory's records, which change all the time, are none of its business.
        if !is_due && seen == revision {
            continue;
        }
        seen = revision;
        let Some(term) = consensus.leading() else {
            present = None;
            continue;
        };
        if present.as_ref().is_none_or(|(known, _)| *known != term) {
            present = Some((term, Steward::new(rules)));
        }
        let Some((_, steward)) = &mut present else {
            continue;
        };
        let commands = see_to(steward, &node, &consensus);
        if commands.is_empty() {
            continue;
        }
        let deadline = consensus.clock().deadline(STEWARD_WITHIN);
        if let Err(error) = consensus.propose(commands, deadline).await {
            tracing::debug!(%error, "what the leader sees to was not agreed on; it is looked at again");
        }
    }
}

/// One look of the leader after the cluster.
fn see_to(steward: &mut Steward, node: &Node, consensus: &Consensus) -> Vec<Command> {
    let mut draw = || {
        // Without randomness there is no id of its own, and the metadata refuses what has another job's.
        let drawn = node.entropy().draw().unwrap_or_default();
        JobId(u128::from_le_bytes(drawn))
    };
    let mut world = StewardWorld {
        now: consensus.clock().now(),
        unix_ms: consensus.clock().unix().0,
        draw: &mut draw,
    };
    steward.decide(&consensus.view(), &mut world)
}
