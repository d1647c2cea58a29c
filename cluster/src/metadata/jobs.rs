//! What operators asked for that takes its time: a node joins, is drained, or slots are spread anew.
//!
//! Responsible for the records and their compare-and-set: who drives a job may die, and the next one goes on from here.
//! It must never know how a job is carried out.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::command::{JobCreate, JobUpdate};
use super::is_text;
use super::member::{MemberState, Members};
use super::outcome::{Bound, Done, FieldName, Outcome, Present, Refusal};
use crate::NodeId;

/// Jobs of one cluster, those that are over and are remembered among them.
pub const JOBS_MAX: usize = 256;

/// The id of a job, drawn by who asks for it.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct JobId(pub u128);

impl JobId {
    /// Reads an id as it is printed: 32 lower-case hexadecimal digits and nothing else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        ultrakv_actors::hex_id::parse(text).map(Self)
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
        ultrakv_actors::hex_id::serialize(self.0, serializer)
    }
}

impl<'de> Deserialize<'de> for JobId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        ultrakv_actors::hex_id::deserialize(deserializer).map(Self)
    }
}

/// What a job is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobKind {
    /// A new member gets its share of the slots.
    Join {
        /// The member.
        node: NodeId,
    },
    /// A member's slots go to others.
    Drain {
        /// The member.
        node: NodeId,
        /// Whether it is a member no more once it holds nothing.
        then_leave: bool,
    },
    /// Slots are spread anew over the members that are there.
    Rebalance,
}

impl JobKind {
    /// The member that it is about.
    #[must_use]
    pub const fn node(&self) -> Option<NodeId> {
        match self {
            Self::Join { node } | Self::Drain { node, .. } => Some(*node),
            Self::Rebalance => None,
        }
    }
}

/// How far a job is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobState {
    /// It is being carried out, or waits.
    Running,
    /// It is being undone or stopped.
    Cancelling,
    /// All of it was carried out.
    Done,
    /// It was given up.
    Failed,
    /// It was stopped because somebody asked.
    Cancelled,
}

impl JobState {
    /// The word for it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Running => "running",
            Self::Cancelling => "cancelling",
            Self::Done => "done",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// Whether nothing happens any more.
    #[must_use]
    pub const fn is_over(self) -> bool {
        matches!(self, Self::Done | Self::Failed | Self::Cancelled)
    }

    /// Whether who drives a job may take it there. Into `Cancelling` leads a command of its own, and out of it no way
    /// back.
    const fn leads_to(self, to: Self) -> bool {
        matches!(
            (self, to),
            (Self::Running, Self::Running | Self::Done | Self::Failed)
                | (
                    Self::Cancelling,
                    Self::Cancelling | Self::Done | Self::Failed | Self::Cancelled
                )
        )
    }
}

/// One job.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Job {
    /// Its id.
    pub id: JobId,
    /// What it is about.
    pub kind: JobKind,
    /// How far it is.
    pub state: JobState,
    /// Why it waits, or its last error; empty when there is nothing to say.
    pub reason: String,
    /// Slots that are as they are to be.
    pub done: u32,
    /// Slots that it is about.
    pub total: u32,
    /// The most bytes a second that it may move; none for no limit.
    pub throttle_bytes_s: Option<u64>,
    /// When it was asked for.
    pub created_unix_ms: u64,
    /// The log index of its last change.
    pub changed_index: u64,
}

impl Job {
    fn is_valid(&self) -> bool {
        is_text(&self.reason) && self.done <= self.total && self.throttle_bytes_s != Some(0)
    }

    fn stale(&self) -> Outcome {
        Outcome::Stale(Present::Job(Box::new(self.clone())))
    }
}

/// Every job by its id.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Jobs(BTreeMap<JobId, Job>);

impl Jobs {
    /// A job.
    #[must_use]
    pub fn get(&self, id: JobId) -> Option<&Job> {
        self.0.get(&id)
    }

    /// Every job, those that are over among them, by id.
    pub fn iter(&self) -> impl Iterator<Item = &Job> {
        self.0.values()
    }

    /// Jobs that are not over, by id.
    pub fn running(&self) -> impl Iterator<Item = &Job> {
        self.iter().filter(|job| !job.state.is_over())
    }

    /// The lowest limit of all jobs that are not over.
    #[must_use]
    pub fn throttle_bytes_s(&self) -> Option<u64> {
        self.running().filter_map(|job| job.throttle_bytes_s).min()
    }

    pub(super) fn is_valid(&self) -> bool {
        self.0.len() <= JOBS_MAX
            && self
                .0
                .iter()
                .all(|(id, job)| *id == job.id && job.is_valid())
            && self
                .running()
                .all(|job| self.rival(&job.kind).map(|rival| rival.id) == Some(job.id))
    }

    /// The job under way about the same.
    fn rival(&self, kind: &JobKind) -> Option<&Job> {
        self.running().find(|job| job.kind.node() == kind.node())
    }

    pub(super) fn create(&mut self, create: &JobCreate, members: &Members, index: u64) -> Outcome {
        let there = self.get(create.id);
        if let Some(there) = there {
            // Sent twice; anything else is another job under this id.
            return if there.kind == create.kind && there.created_unix_ms == create.at_unix_ms {
                Outcome::Applied(Done::Already)
            } else {
                there.stale()
            };
        }
        if create.throttle_bytes_s == Some(0) {
            return refused(FieldName::Throttle);
        }
        let is_member = |node| {
            let record = members.get(node);
            record.is_some_and(|record| record.state != MemberState::Left)
        };
        if !create.kind.node().is_none_or(is_member) {
            return Outcome::Refused(Refusal::UnknownMember);
        }
        if let Some(rival) = self.rival(&create.kind) {
            return rival.stale();
        }
        if !self.make_room() {
            let (what, max) = (Bound::Jobs, u64::try_from(JOBS_MAX).unwrap_or(u64::MAX));
            return Outcome::Refused(Refusal::Full { what, max });
        }
        let job = Job {
            id: create.id,
            kind: create.kind,
            state: JobState::Running,
            reason: String::new(),
            done: 0,
            total: 0,
            throttle_bytes_s: create.throttle_bytes_s,
            created_unix_ms: create.at_unix_ms,
            changed_index: index,
        };
        self.0.insert(job.id, job);
        Outcome::Applied(Done::Set)
    }

    /// Forgets the job that was over first when there is no room.
    fn make_room(&mut self) -> bool {
        if self.0.len() < JOBS_MAX {
            return true;
        }
        let over = self.iter().filter(|job| job.state.is_over());
        let oldest = over.min_by_key(|job| (job.changed_index, job.id));
        let oldest = oldest.map(|job| job.id);
        oldest.is_some_and(|id| self.0.remove(&id).is_some())
    }

    pub(super) fn update(&mut self, update: &JobUpdate, index: u64) -> Outcome {
        let Some(job) = self.0.get_mut(&update.id) else {
            return Outcome::Refused(Refusal::UnknownJob);
        };
        if job.changed_index != update.changed_index || job.state.is_over() {
            return job.stale();
        }
        if !is_text(&update.reason) {
            return refused(FieldName::Reason);
        }
        if update.done > update.total {
            return refused(FieldName::Progress);
        }
        if !job.state.leads_to(update.state) {
            return refused(FieldName::JobState);
        }
        job.state = update.state;
        job.reason.clone_from(&update.reason);
        job.done = update.done;
        job.total = update.total;
        job.changed_index = index;
        Outcome::Applied(Done::Set)
    }

    pub(super) fn cancel(&mut self, id: JobId, index: u64) -> Outcome {
        match self.0.get_mut(&id) {
            None => Outcome::Refused(Refusal::UnknownJob),
            Some(job) if job.state.is_over() => job.stale(),
            Some(job) if job.state == JobState::Cancelling => Outcome::Applied(Done::Already),
            Some(job) => {
                job.state = JobState::Cancelling;
                job.changed_index = index;
                Outcome::Applied(Done::Set)
            }
        }
    }

    pub(super) fn throttle(&mut self, id: JobId, bytes_s: Option<u64>, index: u64) -> Outcome {
        if bytes_s == Some(0) {
            return refused(FieldName::Throttle);
        }
        match self.0.get_mut(&id) {
            None => Outcome::Refused(Refusal::UnknownJob),
            Some(job) if job.state.is_over() => job.stale(),
            Some(job) if job.throttle_bytes_s == bytes_s => Outcome::Applied(Done::Already),
            Some(job) => {
                job.throttle_bytes_s = bytes_s;
                job.changed_index = index;
                Outcome::Applied(Done::Set)
            }
        }
    }
}

const fn refused(field: FieldName) -> Outcome {
    Outcome::Refused(Refusal::Field { field })
}
