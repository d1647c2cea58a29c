//! What operators are told about the cluster: complete today, with one node, and of the same shape
//! with many.
//!
//! Plain values; it must never hold a secret.

use serde::Serialize;
use ultrakv_actors::BootId;
use ultrakv_actors::clock::UnixMs;

use crate::NodeId;
use crate::slots::SlotMap;

/// The cluster as this node sees it.
#[derive(Clone, Debug, Serialize)]
pub struct ClusterStatus {
    /// This node.
    pub node_id: NodeId,
    /// Its present life.
    pub boot_id: BootId,
    /// The name it was configured with.
    pub node_name: String,
    /// The version that all members can speak; today this node's.
    pub version: String,
    /// Grows with every change to members, slots or services' generations.
    pub revision: u64,
    /// Every member, this node among them.
    pub members: Vec<Member>,
    /// Whether a majority of voters is reachable.
    pub quorum: Quorum,
    /// Slots that this node owns, of 16 384.
    pub slots_owned: u32,
    /// Every slot's record.
    pub slots: SlotMap,
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
    /// Its present life.
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
    pub capacity: Capacity,
    /// When its present life began.
    pub started_unix_ms: UnixMs,
}

/// What a member does in the cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// Counts for the majority.
    Voter,
}

/// Whether a member serves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum MemberState {
    /// It serves its slots.
    Up,
}

/// What a member can hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Capacity {
    /// Shards of the node.
    pub shards: usize,
    /// Budget in bytes, over all shards.
    pub bytes_max: u64,
    /// Budget in tokens, over all shards; none when bytes alone bind.
    pub tokens_max: Option<u64>,
}

/// The majority that changes to the cluster's metadata need.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Quorum {
    /// Members that vote.
    pub voters: usize,
    /// Votes that a change needs.
    pub needed: usize,
    /// Voters that answer.
    pub reachable: usize,
    /// Whether enough answer.
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
    /// The answer of one node.
    pub const OF_ONE: Self = Self {
        promised: false,
        detail: "not promised on one node: there is nobody to take over its slots",
    };
}

/// What outlives a restart of this node.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Persistence {
    /// Whether blocks, entries and domains' secrets are on disk.
    pub durable: bool,
    /// What that means.
    pub detail: &'static str,
}

impl Persistence {
    /// The answer of a node without a disk tier.
    pub const NONE: Self = Self {
        durable: false,
        detail: "blocks, entries and domain secrets live in memory: a restarted node starts empty, \
                 under a new node id and new secrets",
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

/// What a purge did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PurgeReport {
    /// The service that was asked for.
    pub service: String,
    /// Whose blocks are gone: a share group is purged as a whole.
    pub shares: String,
    /// The generation from now on.
    pub generation: u64,
    /// Blocks that were dropped.
    pub blocks: u64,
    /// Entries that were dropped.
    pub entries: u64,
}
