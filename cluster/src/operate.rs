//! What operators see and change of a cluster: where its slots are, the jobs that move them, who joins and who goes.
//!
//! Responsible for the vocabulary of these operations and for asking the metadata for them: who carries them out finds them
//! there. It must never know a protocol, nor move anything itself.

use serde::{Deserialize, Serialize};
use ultrakv_actors::RequestError;
use ultrakv_actors::clock::Deadline;

use crate::director::{Origin, Phase};
use crate::metadata::{
    self, Command, Job, JobCreate, JobId, JobState, MemberState, Outcome, Present, Refusal,
};
use crate::raft::ControlError;
use crate::{ClusterHandle, Incarnation, NodeId, placement};

/// How long stepping aside waits for a change before it looks again.
const STEP: std::time::Duration = std::time::Duration::from_millis(200);

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
    /// Slots of which this node is still in sync without owning them: their owners find out by its silence.
    pub following: u32,
    /// Whether nobody was there to take them.
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

impl ClusterHandle {
    /// Where the slots are, and where they are to be.
    #[must_use]
    pub fn layout(&self) -> LayoutReport {
        let directed = &self.inner.directed;
        let view = directed.consensus.view();
        let slots = view.slots();
        let counts = slots.counts();
        let present = placement::present(slots);
        let nodes = placement::plan_nodes(view.members(), |_| false);
        let copies = self.copies();
        let quotas = placement::quotas(&nodes, copies, &present).unwrap_or_default();
        let nodes = view.members().present().map(|(node_id, record)| {
            let counts = counts.get(&node_id).copied().unwrap_or_default();
            NodeLayout {
                node_id,
                name: record.name.clone(),
                zone: record.zone.clone(),
                state: record.state,
                quota: quotas.get(&node_id).map_or(0, |quota| quota.owned),
                owned: counts.owned,
                followers: counts.following,
                target_owned: counts.target_owned,
                unsettled: counts.arriving + counts.leaving,
            }
        });
        LayoutReport {
            node_id: directed.me,
            plan: slots.plan(),
            unsettled: slots.unsettled(),
            nodes: nodes.collect(),
        }
    }

    fn copies(&self) -> usize {
        let member = self.inner.plan.member.as_ref();
        member.map_or(1, |member| member.steward.copies)
    }

    /// Every job that is remembered, newest first.
    #[must_use]
    pub fn jobs(&self) -> Vec<JobReport> {
        let view = self.inner.directed.consensus.view();
        let mut jobs: Vec<_> = view.jobs().iter().collect();
        jobs.sort_by_key(|job| std::cmp::Reverse((job.created_unix_ms, job.id)));
        jobs.into_iter().map(JobReport::of).collect()
    }

    /// One job.
    ///
    /// # Errors
    /// When no such job is remembered.
    pub fn job(&self, id: JobId) -> Result<JobReport, OperateError> {
        let view = self.inner.directed.consensus.view();
        let job = view.jobs().get(id).map(JobReport::of);
        job.ok_or(OperateError::UnknownJob(id))
    }

    /// Begins to give a member's slots and blocks to the others; with `leave` it is no longer a member afterwards.
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
        self.look(deadline).await?;
        let state = self.member(node)?;
        let needed = "up, draining or down";
        if state == MemberState::Joining {
            return Err(OperateError::WrongState {
                node,
                state,
                needed,
            });
        }
        if !self.has_another(node) {
            return Err(OperateError::LastMember(node));
        }
        let kind = metadata::JobKind::Drain {
            node,
            then_leave: leave,
        };
        self.begin(kind, throttle_bytes_per_second, deadline).await
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
        if self.inner.cluster_name.is_none() {
            return Err(OperateError::NoCluster);
        }
        self.look(deadline).await?;
        let kind = metadata::JobKind::Rebalance;
        self.begin(kind, throttle_bytes_per_second, deadline).await
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
        self.change_job(id, Command::JobCancel { id }, deadline)
            .await
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
        let command = Command::JobThrottle {
            id,
            bytes_s: throttle_bytes_per_second,
        };
        self.change_job(id, command, deadline).await
    }

    /// Asks the first of these members that answers for admission to its cluster, and waits until this node is a member.
    ///
    /// # Errors
    /// On a node without certificates or one that is a member already, when no seed answers, or when they refuse.
    pub async fn join(
        &self,
        seeds: &[String],
        deadline: Deadline,
    ) -> Result<JoinReport, OperateError> {
        let directed = &self.inner.directed;
        let Some(cluster) = self.inner.cluster_name.clone() else {
            return Err(OperateError::NoCluster);
        };
        if *directed.phase.borrow() == Phase::Member {
            return Err(OperateError::Member { cluster });
        }
        for seed in seeds {
            let port = seed
                .rsplit_once(':')
                .map(|(host, port)| (host, port.parse::<u16>()));
            if !matches!(port, Some((host, Ok(_))) if !host.is_empty()) {
                return Err(OperateError::BadSeed { seed: seed.clone() });
            }
        }
        let mut phase = directed.phase.subscribe();
        *directed.origin.lock() = Origin::Join(seeds.to_vec());
        // A turn takes it up.
        directed.stepping_aside.send_if_modified(|_| true);
        let left = directed.clock.remaining(deadline);
        let arrived = phase.wait_for(|phase| *phase == Phase::Member);
        if tokio::time::timeout(left, arrived).await.is_err() {
            let phase = directed.phase.borrow().clone();
            let reason = match phase {
                Phase::Entering { reason } => reason,
                _ => "no answer in time".to_owned(),
            };
            return Err(OperateError::NoSeed { reason });
        }
        let view = directed.consensus.view();
        let mut jobs = self.jobs().into_iter();
        Ok(JoinReport {
            node_id: directed.me,
            cluster,
            members: u32::try_from(view.members().present().count()).unwrap_or(u32::MAX),
            job: jobs.find(|job| job.node_id == Some(directed.me)),
        })
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
        self.look(deadline).await?;
        let state = self.member(node)?;
        if !self.has_another(node) {
            return Err(OperateError::LastMember(node));
        }
        let counts = self.inner.directed.consensus.view().slots().counts();
        let holds = counts
            .get(&node)
            .is_some_and(|counts| counts.owned + counts.following > 0);
        if state != MemberState::Draining || holds {
            return Err(OperateError::WrongState {
                node,
                state,
                needed: "draining and without slots",
            });
        }
        self.take_out(node, deadline).await
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
        self.look(deadline).await?;
        let state = self.member(node)?;
        if state != MemberState::Down {
            return Err(OperateError::WrongState {
                node,
                state,
                needed: "down",
            });
        }
        self.take_out(node, deadline).await
    }

    /// Hands this node's slots to other members, because it is about to stop. Returns once it owns none and nobody's writes
    /// wait for its copies, and at the deadline in any case; the node stays a member.
    pub async fn step_aside(&self, deadline: Deadline) -> SteppedAside {
        let directed = &self.inner.directed;
        directed.stepping_aside.send_replace(true);
        let held = || {
            let view = directed.consensus.view();
            let counts = view.slots().counts();
            let mine = counts.get(&directed.me);
            mine.map_or((0, 0), |counts| (counts.owned, counts.following))
        };
        let (before, _) = held();
        if !self.has_successor() {
            return SteppedAside {
                handed_over: 0,
                kept: before,
                following: 0,
                alone: true,
            };
        }
        let mut changes = directed.consensus.changes();
        loop {
            changes.mark_unchanged();
            let is_told = self.ask_to_drain(deadline).await;
            let (kept, following) = held();
            let left = directed.clock.remaining(deadline);
            // Also those that nobody else has in sync yet: whoever is to have them is copying. Where all stop, nobody waits.
            let is_over = is_told && kept + following == 0 || !self.has_successor();
            if is_over || left.is_zero() {
                return SteppedAside {
                    handed_over: before.saturating_sub(kept),
                    kept,
                    following,
                    alone: false,
                };
            }
            // Its outcome is looked at, not whether it was a change or the time.
            drop(tokio::time::timeout(left.min(STEP), changes.changed()).await);
        }
    }

    /// Tells the cluster that this node is not to be given anything, unless it knows. Whether it does.
    async fn ask_to_drain(&self, deadline: Deadline) -> bool {
        let directed = &self.inner.directed;
        let view = directed.consensus.view();
        let me = view.members().get(directed.me);
        let is_up = me.is_some_and(|me| me.boot == directed.boot && me.state == MemberState::Up);
        if !is_up {
            return true;
        }
        let command = Command::MemberState {
            life: directed.life(),
            from: MemberState::Up,
            to: MemberState::Draining,
        };
        let deadline = deadline.min(directed.clock.deadline(STEP));
        let asked = directed.consensus.propose(vec![command], deadline).await;
        if let Err(error) = &asked {
            tracing::debug!(%error, "stepping aside was not agreed on; it is asked for again");
        }
        asked.is_ok()
    }

    /// Sees the metadata as it is now, so that what is refused is refused for a present reason.
    async fn look(&self, deadline: Deadline) -> Result<(), OperateError> {
        let seen = self.inner.directed.consensus.read_point(deadline).await;
        seen.map(|_| ()).map_err(OperateError::from)
    }

    fn member(&self, node: NodeId) -> Result<MemberState, OperateError> {
        let view = self.inner.directed.consensus.view();
        let record = view.members().get(node);
        match record.map(|record| record.state) {
            None | Some(MemberState::Left) => Err(OperateError::UnknownNode(node)),
            Some(state) => Ok(state),
        }
    }

    /// Whether somebody else could take a member's slots.
    fn has_another(&self, node: NodeId) -> bool {
        self.has_other(node, |state| state == MemberState::Up)
    }

    /// Whether somebody could take this node's slots, now or as soon as it has come in.
    fn has_successor(&self) -> bool {
        self.has_other(self.inner.directed.me, |state| {
            matches!(state, MemberState::Up | MemberState::Joining)
        })
    }

    fn has_other(&self, node: NodeId, may: impl Fn(MemberState) -> bool) -> bool {
        let view = self.inner.directed.consensus.view();
        let mut others = view.members().present();
        others.any(|(other, record)| other != node && may(record.state))
    }

    async fn begin(
        &self,
        kind: metadata::JobKind,
        throttle_bytes_s: Option<u64>,
        deadline: Deadline,
    ) -> Result<JobReport, OperateError> {
        let directed = &self.inner.directed;
        let id = directed.entropy.draw().map(u128::from_le_bytes);
        let id = JobId(id.map_err(|_| RequestError::Stopped)?);
        let create = Command::JobCreate(JobCreate {
            id,
            kind,
            throttle_bytes_s,
            at_unix_ms: directed.clock.unix().0,
        });
        self.agree(create, deadline).await?;
        self.job(id)
    }

    async fn change_job(
        &self,
        id: JobId,
        command: Command,
        deadline: Deadline,
    ) -> Result<JobReport, OperateError> {
        self.look(deadline).await?;
        let job = self.job(id)?;
        if job.state.is_over() {
            return Err(OperateError::JobOver {
                id,
                state: job.state,
            });
        }
        self.agree(command, deadline).await?;
        self.job(id)
    }

    async fn take_out(
        &self,
        node: NodeId,
        deadline: Deadline,
    ) -> Result<LayoutReport, OperateError> {
        let boot = {
            let view = self.inner.directed.consensus.view();
            let record = view.members().get(node);
            record.map(|record| record.boot)
        };
        let boot = boot.ok_or(OperateError::UnknownNode(node))?;
        let life = Incarnation { node, boot };
        self.agree(Command::MemberLeave { life }, deadline).await?;
        Ok(self.layout())
    }

    /// Has one command agreed on, and waits until this node sees what it did.
    async fn agree(&self, command: Command, deadline: Deadline) -> Result<(), OperateError> {
        let consensus = &self.inner.directed.consensus;
        let outcomes = consensus.propose(vec![command], deadline).await?;
        let outcome = outcomes.into_iter().next();
        consensus.read_point(deadline).await?;
        match outcome {
            Some(Outcome::Applied(_)) => Ok(()),
            Some(Outcome::Refused(refusal)) => Err(refusal.into()),
            Some(Outcome::Stale(Present::Job(job))) if job.state.is_over() => {
                Err(OperateError::JobOver {
                    id: job.id,
                    state: job.state,
                })
            }
            Some(Outcome::Stale(Present::Job(job))) => Err(OperateError::JobRunning(job.id)),
            // Somebody else was faster; what is now can be seen and asked for again.
            Some(Outcome::Stale(_)) | None => Err(RequestError::Busy.into()),
        }
    }
}

impl JobReport {
    /// What operators are told of a job.
    fn of(job: &Job) -> Self {
        let (kind, leave) = match job.kind {
            metadata::JobKind::Join { .. } => (JobKind::Join, false),
            metadata::JobKind::Drain { then_leave, .. } => (JobKind::Drain, then_leave),
            metadata::JobKind::Rebalance => (JobKind::Rebalance, false),
        };
        Self {
            id: job.id,
            kind,
            node_id: job.kind.node(),
            leave,
            state: job.state,
            reason: job.reason.clone(),
            done: job.done,
            total: job.total,
            throttle_bytes_per_second: job.throttle_bytes_s,
            created_unix_ms: job.created_unix_ms,
        }
    }
}

impl From<ControlError> for OperateError {
    fn from(error: ControlError) -> Self {
        match error {
            ControlError::NotLeader { .. } | ControlError::Unavailable => Self::NoQuorum,
            ControlError::Busy | ControlError::TooLarge => RequestError::Busy.into(),
            ControlError::Deadline | ControlError::Unknown => RequestError::Deadline.into(),
            ControlError::Fatal { .. } => RequestError::Stopped.into(),
        }
    }
}

#[cfg(test)]
mod tests;
