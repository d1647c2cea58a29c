//! What became of a command: the same on every replica, and told to whoever proposed it.
//!
//! Values that travel back over the wire. It must never hold a secret.

use serde::{Deserialize, Serialize};

use super::access::{PinRecord, QuotaRecord, TokenRecord};
use super::jobs::Job;
use super::member::MemberRecord;
use crate::entry::Ownership;
use crate::{Incarnation, directory};

/// What became of one command.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// It was carried out.
    Applied(Done),
    /// It was not, and would not be if it were sent again unchanged.
    Refused(Refusal),
    /// What it compared with is no longer so: nothing was changed. The record as it is now.
    Stale(Present),
}

impl Outcome {
    /// Whether it was carried out.
    #[must_use]
    pub const fn is_applied(&self) -> bool {
        matches!(self, Self::Applied(_))
    }

    /// Raft's word about the slot that the command was about, when it was carried out and when it came too late.
    #[must_use]
    pub fn ownership(&self) -> Option<&Ownership> {
        match self {
            Self::Applied(Done::Slot(ownership)) | Self::Stale(Present::Slot(ownership)) => {
                Some(ownership)
            }
            _ => None,
        }
    }
}

/// What a command that was carried out did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Done {
    /// The state is as the command says.
    Set,
    /// It was so before: sent twice.
    Already,
    /// A purge was ordered.
    Purge {
        /// The generation from now on.
        generation: u64,
        /// Lives that must confirm it, or lose their metadata lease, before it is answered.
        waiting: Vec<Incarnation>,
    },
    /// A slot has other members.
    Slot(Box<Ownership>),
    /// A batch of directory records.
    Directory(directory::Applied),
}

/// A record that was compared with.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Present {
    /// A member.
    Member(Box<MemberRecord>),
    /// The generation of a domain.
    Generation(u64),
    /// A token; none when there is no such token.
    Token(Option<TokenRecord>),
    /// A service's quota; none when it has none.
    Quota(Option<QuotaRecord>),
    /// A pin; none when the block is not pinned.
    Pin(Option<PinRecord>),
    /// The version of the cluster's commands.
    Version(u16),
    /// Who holds a slot. With the epoch that was compared: a member that was to be new is not alive.
    Slot(Box<Ownership>),
    /// The number of the plan.
    Plan(u64),
    /// A job: the one that was meant, or the one that is under way about the same.
    Job(Box<Job>),
}

/// Why a command was not carried out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum Refusal {
    /// The first command of a cluster must found it.
    #[error("the cluster is not founded")]
    NotFounded,
    /// A second founding.
    #[error("the cluster is founded already")]
    FoundedAlready,
    /// A log entry at or below one that was applied.
    #[error("log entry {index} was applied before; the last was {applied}")]
    AppliedBefore {
        /// Its index.
        index: u64,
        /// The index of the last that was applied.
        applied: u64,
    },
    /// The command is newer than what all members understand.
    #[error("the command needs version {needed}, the cluster is at {present}")]
    VersionNotReached {
        /// The version it came with.
        needed: u16,
        /// The cluster's.
        present: u16,
    },
    /// A version that some member does not speak.
    #[error("not every member speaks version {version}")]
    VersionNotSpoken {
        /// The version that was meant.
        version: u16,
    },
    /// No such member.
    #[error("there is no such member")]
    UnknownMember,
    /// A member that joins has an id that another one uses.
    #[error("a member with this id is there already")]
    MemberThere,
    /// A life that is over, or was never told.
    #[error("this life of the node or shard is not its present one")]
    OtherLife,
    /// A change of state that no member makes.
    #[error("a member does not go from {from} to {to}")]
    Transition {
        /// Where it is.
        from: super::MemberState,
        /// Where it was to go.
        to: super::MemberState,
    },
    /// The last member cannot leave.
    #[error("the last member cannot leave")]
    LastMember,
    /// No such service or share group.
    #[error("there is no such service or share group")]
    UnknownService,
    /// No such job.
    #[error("there is no such job")]
    UnknownJob,
    /// A bound is reached.
    #[error("there is no room for more than {max} {what}")]
    Full {
        /// What there would be too many of.
        what: Bound,
        /// How many there may be.
        max: u64,
    },
    /// A field is not what it may be.
    #[error("the field {field} is not what it may be")]
    Field {
        /// Its name.
        field: FieldName,
    },
    /// A directory batch that cannot be read.
    #[error("the directory batch cannot be read")]
    DirectoryBatch,
}

/// What a bound is on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Bound {
    /// Members, those that left among them.
    Members,
    /// Services.
    Services,
    /// Tokens.
    Tokens,
    /// Pins.
    Pins,
    /// Jobs.
    Jobs,
}

impl std::fmt::Display for Bound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Members => "members",
            Self::Services => "services",
            Self::Tokens => "tokens",
            Self::Pins => "pins",
            Self::Jobs => "jobs",
        })
    }
}

/// A field of a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum FieldName {
    /// A name.
    Name,
    /// An address.
    Address,
    /// A zone.
    Zone,
    /// A version of a binary, or a range of versions of commands.
    Version,
    /// A shard's number, or how many there are.
    Shard,
    /// A scope of a token.
    Scope,
    /// A generation.
    Generation,
    /// A slot's number, or a range of slots.
    Slot,
    /// The members of a slot.
    InSync,
    /// The nodes that are to hold slots.
    Targets,
    /// Why a job waits.
    Reason,
    /// How far a job is.
    Progress,
    /// The state of a job.
    JobState,
    /// The limit of what a job moves.
    Throttle,
}

impl std::fmt::Display for FieldName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Name => "name",
            Self::Address => "address",
            Self::Zone => "zone",
            Self::Version => "version",
            Self::Shard => "shard",
            Self::Scope => "scope",
            Self::Generation => "generation",
            Self::Slot => "slot",
            Self::InSync => "in_sync",
            Self::Targets => "targets",
            Self::Reason => "reason",
            Self::Progress => "progress",
            Self::JobState => "job_state",
            Self::Throttle => "throttle",
        })
    }
}

impl Refusal {
    /// A stable name for machines.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NotFounded => "cluster_not_founded",
            Self::FoundedAlready => "cluster_founded_already",
            Self::AppliedBefore { .. } => "entry_applied_before",
            Self::VersionNotReached { .. } => "cluster_version_not_reached",
            Self::VersionNotSpoken { .. } => "cluster_version_not_spoken",
            Self::UnknownMember => "unknown_member",
            Self::MemberThere => "member_there",
            Self::OtherLife => "other_life",
            Self::Transition { .. } => "member_transition",
            Self::LastMember => "last_member",
            Self::UnknownService => "unknown_service",
            Self::UnknownJob => "unknown_job",
            Self::Full { .. } => "metadata_full",
            Self::Field { .. } => "metadata_field",
            Self::DirectoryBatch => "directory_batch",
        }
    }

    /// What to do about it.
    #[must_use]
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::NotFounded => "found the cluster first, once, on one node",
            Self::FoundedAlready => "join the cluster instead of founding it again",
            Self::AppliedBefore { .. } => "nothing to do: it took effect when it was applied first",
            Self::VersionNotReached { .. } => {
                "upgrade every member, then raise the cluster's version"
            }
            Self::VersionNotSpoken { .. } => {
                "run a binary on every member that speaks this version"
            }
            Self::UnknownMember => "let the node join, or name one that the status lists",
            Self::MemberThere => "start the member that is there, or let it leave first",
            Self::OtherLife => "tell the present life first; what an earlier one asks for is void",
            Self::Transition { .. } => {
                "look at the member's state in the status and try what follows it"
            }
            Self::LastMember => "stop the node instead; its data goes with the cluster",
            Self::UnknownService => "name a service that the settings list under `services`",
            Self::UnknownJob => "name a job that the list of jobs shows",
            Self::Full { .. } => "remove what is no longer needed",
            Self::Field { .. } => {
                "give at most 255 bytes without control characters, and numbers within their bounds"
            }
            Self::DirectoryBatch => {
                "report it: the shard's node built a batch that no node can read"
            }
        }
    }
}
