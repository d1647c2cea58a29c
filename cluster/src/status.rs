//! What operators are told about the cluster, as this node sees it.
//!
//! Plain values; it must never hold a secret.

use serde::Serialize;
use ultrakv_actors::clock::UnixMs;
use ultrakv_actors::{ActorState, BootId};

use crate::director::Phase;
use crate::lane::PeerState;
use crate::metadata::{Addresses, MemberCapacity, MemberState};
use crate::raft::RaftStatus;
use crate::{ClusterHandle, NodeId};

/// The cluster as this node sees it.
#[derive(Clone, Debug, Serialize)]
pub struct ClusterStatus {
    /// This node.
    pub node_id: NodeId,
    /// Its present life.
    pub boot_id: BootId,
    /// The name it was configured with.
    pub node_name: String,
    /// The version of its binary.
    pub version: String,
    /// The cluster, as its certificates name it; none of a node without certificates.
    pub cluster: Option<String>,
    /// Where this node is on its way into the cluster: `member` when it has arrived.
    pub phase: &'static str,
    /// What is in the way, when something is.
    pub phase_reason: String,
    /// Grows with every change to members, slots, services' generations and jobs.
    pub revision: u64,
    /// Every member that did not leave, this node among them.
    pub members: Vec<Member>,
    /// Whether a majority of voters is reachable.
    pub quorum: Quorum,
    /// Who leads, when somebody does who has a majority.
    pub leader: Option<NodeId>,
    /// The term of consensus on this node.
    pub term: u64,
    /// Consensus on this node.
    pub raft: RaftStatus,
    /// Slots that this node owns, of 16 384.
    pub slots_owned: u32,
    /// Slots that nobody serves.
    pub slots_ownerless: u32,
    /// Slots that are not yet where the plan wants them.
    pub slots_unsettled: u32,
    /// Whether this node may serve as owner.
    pub tenure_held: bool,
    /// How old this node's metadata may be, in milliseconds; none when it never was certain.
    pub metadata_age_ms: Option<u64>,
    /// The nodes that this one speaks with.
    pub peers: Vec<PeerState>,
    /// Every service and its domain's generation.
    pub services: Vec<ServiceStatus>,
    /// What this cluster promises when a node is lost.
    pub failover: Failover,
    /// What outlives a restart.
    pub persistence: Persistence,
}

/// One node of the cluster.
#[derive(Clone, Debug, Serialize)]
pub struct Member {
    /// Its id.
    pub node_id: NodeId,
    /// Its present life; of one that is down, its last.
    pub boot_id: BootId,
    /// The name it was configured with.
    pub name: String,
    /// The version of its binary.
    pub version: String,
    /// What it does in the cluster.
    pub role: Role,
    /// Whether it serves.
    pub state: MemberState,
    /// What it can hold.
    pub capacity: MemberCapacity,
    /// Where other nodes reach it.
    pub addresses: Addresses,
    /// Its failure zone; empty when it has no label.
    pub zone: String,
    /// When its present life began.
    pub started_unix_ms: UnixMs,
}

/// What a member does in the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// It counts for the majority, and leads.
    Leader,
    /// It counts for the majority.
    Voter,
    /// It follows and does not vote.
    Learner,
}

/// The majority that changes to the cluster's metadata need.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Quorum {
    /// Members that vote.
    pub voters: usize,
    /// Votes that a change needs.
    pub needed: usize,
    /// Voters that are up, as far as this node was told.
    pub reachable: usize,
    /// Whether somebody leads whom a majority follows, and this node hears of it.
    pub held: bool,
}

/// One service and its domain, without the secret.
#[derive(Clone, Debug, Serialize)]
pub struct ServiceStatus {
    /// The service's name.
    pub name: String,
    /// Whom it shares blocks with: `service a`, or `share group g`.
    pub shares: String,
    /// How often its domain was purged.
    pub generation: u64,
}

/// What is promised when a node is lost.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Failover {
    /// Whether another node takes over.
    pub promised: bool,
    /// Why, or why not.
    pub detail: &'static str,
}

impl Failover {
    const OF_FEW: Self = Self {
        promised: false,
        detail: "not promised on fewer than three nodes: what is left of two is no majority",
    };
    const OF_MANY: Self = Self {
        promised: true,
        detail: "a node that is lost is replaced by those that hold its slots in sync",
    };

    const fn of(voters: usize) -> Self {
        match voters {
            0..=2 => Self::OF_FEW,
            _ => Self::OF_MANY,
        }
    }
}

/// What outlives a restart of this node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Persistence {
    /// Whether blocks and entries of this node are on disk.
    pub durable: bool,
    /// What that means.
    pub detail: &'static str,
}

impl Persistence {
    const NONE: Self = Self {
        durable: false,
        detail: "blocks, entries and domain secrets live in memory: a restarted node starts empty, \
                 under a new node id and new secrets",
    };
    const METADATA: Self = Self {
        durable: false,
        detail: "members, slots and domain secrets are on disk; blocks and entries live in memory, \
                 and a restarted node copies its entries from the others",
    };
}

/// One line of the readiness report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Check {
    /// What is checked.
    pub name: &'static str,
    /// Whether it is as it must be.
    pub ok: bool,
    /// Whether only entries and changes to the cluster need it: without it blocks are still read and stored.
    pub entries_only: bool,
    /// What was found.
    pub detail: String,
}

impl ClusterHandle {
    /// The cluster as this node sees it.
    #[must_use]
    pub fn status(&self) -> ClusterStatus {
        let inner = &self.inner;
        let directed = &inner.directed;
        let view = directed.consensus.view();
        let raft = directed.consensus.status();
        let counts = view.slots().counts();
        let phase = directed.phase.borrow().clone();
        let (phase, phase_reason) = match phase {
            Phase::Starting => ("starting", String::new()),
            Phase::Waiting => (
                "waiting",
                "told neither to found a cluster nor whom to join".into(),
            ),
            Phase::Entering { reason } => ("entering", reason),
            Phase::Member => ("member", String::new()),
            Phase::Left => ("left", String::new()),
        };
        let services = directed.domains.load();
        let services = services
            .iter()
            .map(|(name, sharing, generation)| ServiceStatus {
                name: name.to_owned(),
                shares: sharing.label(),
                generation,
            });
        ClusterStatus {
            node_id: directed.me,
            boot_id: inner.node.boot_id(),
            node_name: inner.plan.node_name.clone(),
            version: inner.plan.version.clone(),
            cluster: inner.cluster_name.clone(),
            phase,
            phase_reason,
            revision: view.revision(),
            members: self.members(&raft),
            quorum: self.quorum(&raft),
            leader: raft.leader,
            term: raft.term,
            slots_owned: counts.get(&directed.me).map_or(0, |counts| counts.owned),
            slots_ownerless: view.slots().ownerless(),
            slots_unsettled: view.slots().unsettled(),
            tenure_held: inner.tenures.cell().is_held(),
            metadata_age_ms: inner.tenures.metadata_age_us().map(|age_us| age_us / 1_000),
            peers: directed
                .lanes
                .as_ref()
                .map_or_else(Vec::new, |lanes| lanes.quic.peers()),
            services: services.collect(),
            failover: Failover::of(raft.voters.len()),
            persistence: if inner.plan.member.is_some() {
                Persistence::METADATA
            } else {
                Persistence::NONE
            },
            raft,
        }
    }

    fn members(&self, raft: &RaftStatus) -> Vec<Member> {
        let view = self.inner.directed.consensus.view();
        let role = |node: NodeId| {
            if raft.leader == Some(node) {
                Role::Leader
            } else if raft.voters.iter().any(|voter| voter.node == node) {
                Role::Voter
            } else {
                Role::Learner
            }
        };
        let members = view.members().present().map(|(node_id, record)| Member {
            node_id,
            boot_id: record.boot,
            name: record.name.clone(),
            version: record.binary.clone(),
            role: role(node_id),
            state: record.state,
            capacity: record.capacity,
            addresses: record.addresses.clone(),
            zone: record.zone.clone(),
            started_unix_ms: UnixMs(record.started_unix_ms),
        });
        members.collect()
    }

    fn quorum(&self, raft: &RaftStatus) -> Quorum {
        let view = self.inner.directed.consensus.view();
        let is_up = |node: NodeId| {
            let record = view.members().get(node);
            record.is_some_and(|record| record.state.is_alive())
        };
        let voters = raft.voters.len();
        Quorum {
            voters,
            needed: voters / 2 + 1,
            reachable: raft.voters.iter().filter(|voter| is_up(voter.node)).count(),
            held: raft.leader.is_some() && self.inner.tenures.metadata_fresh(),
        }
    }

    /// Whether this life of the node is up in the metadata.
    pub(crate) fn is_up(&self) -> bool {
        let directed = &self.inner.directed;
        let view = directed.consensus.view();
        let me = view.members().get(directed.me);
        me.is_some_and(|me| me.boot == directed.boot && me.state == MemberState::Up)
    }

    /// Whether this node can serve, line by line.
    #[must_use]
    pub fn readiness(&self) -> Vec<Check> {
        let actors = self.actors();
        let down: Vec<_> = actors
            .iter()
            .filter(|actor| actor.status != ActorState::Running)
            .map(|actor| actor.path.as_str())
            .collect();
        let status = self.status();
        let is_up = self.is_up();
        let state = status
            .members
            .iter()
            .find(|member| member.node_id == status.node_id)
            .map_or("no member", |member| word(member.state));
        vec![
            Check {
                name: "actors",
                ok: down.is_empty(),
                entries_only: false,
                detail: if down.is_empty() {
                    format!("{} actors run", actors.len())
                } else {
                    format!("not running: {}", down.join(", "))
                },
            },
            Check {
                name: "member",
                ok: is_up,
                entries_only: false,
                detail: match status.phase_reason.as_str() {
                    "" => format!("{}, {state}", status.phase),
                    reason => format!("{}, {state}: {reason}", status.phase),
                },
            },
            Check {
                name: "quorum",
                ok: status.quorum.held,
                entries_only: true,
                detail: format!(
                    "{} of {} voters are up, {} needed; {}",
                    status.quorum.reachable,
                    status.quorum.voters,
                    status.quorum.needed,
                    match status.raft.leader {
                        Some(leader) => format!("{leader} leads"),
                        None => "nobody leads".to_owned(),
                    }
                ),
            },
            Check {
                name: "slots",
                ok: status.slots_ownerless == 0,
                entries_only: true,
                detail: format!(
                    "{} owned here, {} without an owner, {} moving",
                    status.slots_owned, status.slots_ownerless, status.slots_unsettled
                ),
            },
        ]
    }
}

/// A member's state in a word.
const fn word(state: MemberState) -> &'static str {
    match state {
        MemberState::Joining => "joining",
        MemberState::Up => "up",
        MemberState::Draining => "draining",
        MemberState::Down => "down",
        MemberState::Left => "left",
    }
}
