//! What operators see and change of a cluster: where its slots are, the jobs that move them, who joins and who goes.
//!
//! Responsible for the vocabulary of these operations and for a cluster of one's answers to them. Plain values that travel
//! as JSON; it must never know a protocol, nor move anything itself.

use std::fmt;

use serde::{Deserialize, Serialize};
use ultrakv_actors::clock::Deadline;
use ultrakv_actors::{RequestError, hex_id};
use ultrakv_cache::SLOT_COUNT;

use crate::metadata::{MemberState, Refusal};
use crate::{ClusterHandle, NodeId};

/// Where the slots are, and where they are to be.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayoutReport {
    /// The node that answers.
    pub node_id: NodeId,
    /// The number of the plan that targets follow; 0 before the first plan.
    pub plan: u64,
    /// Slots that are not yet as the plan wants them.
    pub unsettled: u32,
    /// Every member that did not leave, by id.
    pub nodes: Vec<NodeLayout>,
}

/// One node's part of the layout.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NodeLayout {
    /// The node.
    pub node_id: NodeId,
    /// The name it was configured with.
    pub name: String,
    /// Its failure zone; empty when it has no label.
    pub zone: String,
    /// Whether it serves.
    pub state: MemberState,
    /// Slots that its capacity entitles it to own.
    pub quota: u32,
    /// Slots that it owns.
    pub owned: u32,
    /// Slots that it holds in sync for another owner.
    pub followers: u32,
    /// Slots that the plan wants it to own.
    pub target_owned: u32,
    /// Slots, of those that it has or is to have, that are not yet as the plan wants them.
    pub unsettled: u32,
}

/// The id of a job, drawn by who asks for it.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobId(pub u128);

impl JobId {
    /// Reads an id as it is printed: 32 lower-case hexadecimal digits and nothing else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        hex_id::parse(text).map(Self)
    }
}

impl fmt::Display for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for JobId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "JobId({self})")
    }
}

impl Serialize for JobId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        hex_id::serialize(self.0, serializer)
    }
}

impl<'de> Deserialize<'de> for JobId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        hex_id::deserialize(deserializer).map(Self)
    }
}

/// What a job is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobKind {
    /// A new member is given its part of the slots.
    Join,
    /// A member's slots are given to the others.
    Drain,
    /// Slots are spread as the members' capacities say.
    Rebalance,
}

impl JobKind {
    /// The word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Join => "join",
            Self::Drain => "drain",
            Self::Rebalance => "rebalance",
        }
    }
}

/// How a job stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    /// It moves slots, or waits for what it needs.
    Running,
    /// Somebody asked to end it: what is half moved is given up.
    Cancelling,
    /// Every slot is where it is to be.
    Done,
    /// An operator ended it; what has moved stays where it is.
    Cancelled,
    /// It cannot go on.
    Failed,
}

impl JobState {
    /// The word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Cancelling => "cancelling",
            Self::Done => "done",
            Self::Cancelled => "cancelled",
            Self::Failed => "failed",
        }
    }

    /// Whether nothing will change any more.
    #[must_use]
    pub const fn is_over(self) -> bool {
        matches!(self, Self::Done | Self::Cancelled | Self::Failed)
    }
}

/// A job, as far as it has come.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobReport {
    /// Its id.
    pub id: JobId,
    /// What it is for.
    pub kind: JobKind,
    /// The member it is about; none when it is about all.
    pub node_id: Option<NodeId>,
    /// Whether the member leaves the cluster once it is drained.
    pub leave: bool,
    /// How it stands.
    pub state: JobState,
    /// Why it stands so: what it waits for, what it does, or what keeps it from going on.
    pub reason: String,
    /// Slots that are settled, of `total`.
    pub done: u32,
    /// Slots that it has to settle.
    pub total: u32,
    /// The most bytes a second that each node may move for it; none when the nodes' own setting counts.
    pub throttle_bytes_per_second: Option<u64>,
    /// When it was asked for.
    pub created_unix_ms: u64,
}

/// How a joining node was received.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JoinReport {
    /// The node that joined.
    pub node_id: NodeId,
    /// The cluster, as its certificates name it.
    pub cluster: String,
    /// Members, the new one among them.
    pub members: u32,
    /// The job that gives it its slots; none while the cluster has not begun one.
    pub job: Option<JobReport>,
}

/// What became of a stopping node's slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SteppedAside {
    /// Slots that another member owns now.
    pub handed_over: u32,
    /// Slots that this node still owns: nobody else had them in sync, or the time was up. Others take those that they
    /// have once this node's tenure has run out.
    pub kept: u32,
    /// Whether anybody was there to take them.
    pub alone: bool,
}

/// Why an operation on the cluster was not carried out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum OperateError {
    /// The node was started without certificates.
    #[error("this node is a cluster of one: it was started without certificates")]
    NoCluster,
    /// Draining or leaving of the only member that could keep the slots.
    #[error("{0} is the last member: nobody else could take its slots")]
    LastMember(NodeId),
    /// No such member.
    #[error("there is no member {0}")]
    UnknownNode(NodeId),
    /// No such job.
    #[error("there is no job {0}")]
    UnknownJob(JobId),
    /// Another job is about the same member, or about all as this one would be.
    #[error("job {0} is under way about the same")]
    JobRunning(JobId),
    /// The job can no longer be changed.
    #[error("job {id} is over: it is {}", .state.name())]
    JobOver {
        /// The job.
        id: JobId,
        /// How it ended.
        state: JobState,
    },
    /// A member is in a state that this is not for.
    #[error("{node} is {state}; this is for members that are {needed}")]
    WrongState {
        /// The member.
        node: NodeId,
        /// How it is.
        state: MemberState,
        /// How it would have to be.
        needed: &'static str,
    },
    /// The node is a member already.
    #[error("this node is a member of the cluster {cluster} already")]
    Member {
        /// The cluster's name.
        cluster: String,
    },
    /// What was given as a seed is no address.
    #[error("{seed:?} is not the host and port of a member")]
    BadSeed {
        /// What was given.
        seed: String,
    },
    /// None of the seeds answered.
    #[error("no seed answered: {reason}")]
    NoSeed {
        /// What each said, or why it did not.
        reason: String,
    },
    /// Fewer than a majority of the voters answer: nothing about the cluster can be changed.
    #[error("no majority of the voters answers")]
    NoQuorum,
    /// The cluster's metadata refused it.
    #[error(transparent)]
    Refused(#[from] Refusal),
    /// No answer came; it may have been carried out.
    #[error(transparent)]
    Request(#[from] RequestError),
}

impl OperateError {
    /// A stable name for machines.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NoCluster => "no_cluster",
            Self::LastMember(_) => "last_member",
            Self::UnknownNode(_) => "unknown_member",
            Self::UnknownJob(_) => "unknown_job",
            Self::JobRunning(_) => "job_running",
            Self::JobOver { .. } => "job_over",
            Self::WrongState { .. } => "member_state",
            Self::Member { .. } => "member_already",
            Self::BadSeed { .. } => "seed_invalid",
            Self::NoSeed { .. } => "no_seed",
            Self::NoQuorum => "no_quorum",
            Self::Refused(refusal) => refusal.code(),
            Self::Request(error) => error.code(),
        }
    }

    /// What the operator can do about it.
    #[must_use]
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::NoCluster => {
                "start it with cluster.certs and node.data (`ultrakv start --certs DIR --data DIR`) to make it a member"
            }
            Self::LastMember(_) => {
                "let another node join first, or stop this one: its data goes with it"
            }
            Self::UnknownNode(_) => "`ultrakv cluster layout` lists the members",
            Self::UnknownJob(_) => "`ultrakv cluster jobs` lists the jobs that are remembered",
            Self::JobRunning(_) => "wait for it, or cancel it first",
            Self::JobOver { .. } => "begin a new one",
            Self::WrongState { .. } => {
                "look at `ultrakv cluster layout`: only a drained member leaves, only one that is down is forgotten"
            }
            Self::Member { .. } => {
                "let it leave that cluster first, or start it on an empty node.data"
            }
            Self::BadSeed { .. } => {
                "give what a member advertises, such as `node-1:7802`: its cluster.bind, not its HTTP door"
            }
            Self::NoSeed { .. } => {
                "is a member running there, with certificates of the same authority, and UDP let through?"
            }
            Self::NoQuorum => {
                "bring members back until more than half of the voters answer; `ultrakv cluster status` shows them"
            }
            Self::Refused(refusal) => refusal.hint(),
            Self::Request(RequestError::Deadline) => {
                "it may have been carried out: look at `ultrakv cluster jobs` before you ask again"
            }
            Self::Request(error) => error.hint(),
        }
    }
}

/// A cluster of one has its answers at once; those of many come from the leader, and are waited for.
#[expect(
    clippy::unused_async,
    reason = "the answers of more than one node are waited for, and callers must not have to know"
)]
impl ClusterHandle {
    /// Where the slots are, and where they are to be.
    #[must_use]
    pub fn layout(&self) -> LayoutReport {
        let status = self.status();
        let nodes = status.members.iter().map(|member| NodeLayout {
            node_id: member.node_id,
            name: member.name.clone(),
            zone: String::new(),
            state: MemberState::Up,
            quota: u32::from(SLOT_COUNT),
            owned: status.slots.owned(member.node_id),
            followers: 0,
            target_owned: u32::from(SLOT_COUNT),
            unsettled: 0,
        });
        LayoutReport {
            node_id: status.node_id,
            plan: 0,
            unsettled: 0,
            nodes: nodes.collect(),
        }
    }

    /// Every job that is remembered, newest first.
    #[must_use]
    pub fn jobs(&self) -> Vec<JobReport> {
        // Nothing moves within one node.
        Vec::new()
    }

    /// One job.
    ///
    /// # Errors
    /// When no such job is remembered.
    pub fn job(&self, id: JobId) -> Result<JobReport, OperateError> {
        let mut jobs = self.jobs().into_iter();
        jobs.find(|job| job.id == id)
            .ok_or(OperateError::UnknownJob(id))
    }

    /// Begins to give a member's slots to the others; with `leave` it is no longer a member afterwards.
    ///
    /// # Errors
    /// When there is no such member, nobody else to take its slots, another job, no majority, or no answer in time.
    pub async fn drain(
        &self,
        node: NodeId,
        leave: bool,
        throttle_bytes_per_second: Option<u64>,
        deadline: Deadline,
    ) -> Result<JobReport, OperateError> {
        let _ = (leave, throttle_bytes_per_second, deadline);
        Err(OperateError::LastMember(self.member(node)?))
    }

    /// Begins to spread the slots as the members' capacities say.
    ///
    /// # Errors
    /// On a cluster of one; when another job moves slots, without a majority, or when no answer came in time.
    pub async fn rebalance(
        &self,
        throttle_bytes_per_second: Option<u64>,
        deadline: Deadline,
    ) -> Result<JobReport, OperateError> {
        let _ = (throttle_bytes_per_second, deadline);
        Err(OperateError::NoCluster)
    }

    /// Asks a job to end; what has moved stays where it is.
    ///
    /// # Errors
    /// When there is no such job, it is over, there is no majority, or no answer came in time.
    pub async fn job_cancel(
        &self,
        id: JobId,
        deadline: Deadline,
    ) -> Result<JobReport, OperateError> {
        let _ = deadline;
        self.job(id)
    }

    /// Changes how fast a job moves; none is what the nodes' own setting says.
    ///
    /// # Errors
    /// As [`Self::job_cancel`].
    pub async fn job_throttle(
        &self,
        id: JobId,
        throttle_bytes_per_second: Option<u64>,
        deadline: Deadline,
    ) -> Result<JobReport, OperateError> {
        let _ = (throttle_bytes_per_second, deadline);
        self.job(id)
    }

    /// Asks the first of these members that answers for admission to its cluster.
    ///
    /// # Errors
    /// On a node without certificates or one that is a member already, when no seed answers, or when they refuse.
    pub async fn join(
        &self,
        seeds: &[String],
        deadline: Deadline,
    ) -> Result<JoinReport, OperateError> {
        let _ = (seeds, deadline);
        Err(OperateError::NoCluster)
    }

    /// Lets a member that is drained leave; answers the layout without it.
    ///
    /// # Errors
    /// When there is no such member, it is the last or not drained, without a majority, or when no answer came in time.
    pub async fn leave(
        &self,
        node: NodeId,
        deadline: Deadline,
    ) -> Result<LayoutReport, OperateError> {
        let _ = deadline;
        Err(OperateError::LastMember(self.member(node)?))
    }

    /// Takes a member that is down, and will not come back, out of the cluster; answers the layout without it. What only
    /// it held is lost.
    ///
    /// # Errors
    /// When there is no such member, it is not down, without a majority, or when no answer came in time.
    pub async fn remove_dead(
        &self,
        node: NodeId,
        deadline: Deadline,
    ) -> Result<LayoutReport, OperateError> {
        let _ = deadline;
        Err(OperateError::WrongState {
            node: self.member(node)?,
            state: MemberState::Up,
            needed: "down",
        })
    }

    /// Hands this node's slots to members that have them in sync, because it is about to stop. Returns once no slot is
    /// left that somebody else could serve, and at the deadline in any case; the node stays a member.
    pub async fn step_aside(&self, deadline: Deadline) -> SteppedAside {
        let _ = deadline;
        SteppedAside {
            handed_over: 0,
            kept: self.status().slots_owned,
            alone: true,
        }
    }

    fn member(&self, node: NodeId) -> Result<NodeId, OperateError> {
        let status = self.status();
        let mut members = status.members.iter().map(|member| member.node_id);
        members
            .find(|member| *member == node)
            .ok_or(OperateError::UnknownNode(node))
    }
}

#[cfg(test)]
mod tests;
