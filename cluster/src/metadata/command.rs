//! The changes that can be made to the metadata.
//!
//! Plain values; time is unix ms of the proposer's clock, randomness was drawn by the proposer. It must never know the
//! state that they change.
//!
//! A new command, or a new meaning of an old one, gets the next [`super::COMMANDS_VERSION`] in [`Command::since`]: it
//! is refused until the cluster's version was raised, which needs every member to understand it; and a binary that does
//! not stops at the entry that holds it, instead of skipping it.

use std::collections::BTreeSet;
use std::fmt;

use serde::{Deserialize, Serialize};
use ultrakv_actors::BootId;

use super::ClusterId;
use super::access::{PinKey, QuotaRecord, TokenDigest};
use super::jobs::{JobId, JobKind, JobState};
use super::member::{Addresses, MemberCapacity, MemberState, VersionRange};
use super::packed;
use super::services::{Secret, Sharing};
use super::slots::SlotsStage;
use crate::{Epoch, Incarnation, NodeId, entry};

/// One change.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Command {
    /// The first command of every cluster.
    Found(Found),
    /// A node becomes a member.
    MemberJoin(MemberJoin),
    /// A member began a new life; its former one is lost.
    MemberStart(MemberStart),
    /// A shard began a new life; its former one is lost.
    ShardStart {
        /// The node's present life.
        life: Incarnation,
        /// The shard's number in its node.
        shard: u16,
        /// The shard's new life.
        boot: BootId,
    },
    /// A member goes from one state to another.
    MemberState {
        /// Its present life.
        life: Incarnation,
        /// Where it must be.
        from: MemberState,
        /// Where it goes.
        to: MemberState,
    },
    /// The granted tenure of this life ran out: its slots go on without it, where others hold them.
    NodeDown {
        /// The life that no longer serves.
        life: Incarnation,
        /// The index of its last change that must be the present one: a late command fells no life that came back.
        changed_index: u64,
    },
    /// A member that was drained, that is down or that never came up is one no more.
    MemberLeave {
        /// Its present life.
        life: Incarnation,
    },
    /// Every member understands this version: its commands are allowed from now on.
    VersionRaise {
        /// The version that must be the present one.
        from: u16,
        /// The next one.
        to: u16,
    },
    /// A service and whom it shares blocks with.
    ServiceSet(ServiceSet),
    /// A service is there no more. The secret of its sharing goes with its last service.
    ServiceRemove {
        /// Its name.
        service: String,
    },
    /// A domain moves to its next generation.
    Purge {
        /// The domain.
        sharing: Sharing,
        /// The generation that must be the present one.
        generation: u64,
    },
    /// A life applied a purge.
    PurgeConfirm(PurgeConfirm),
    /// A life lost its metadata lease: it serves nothing before it knows every purge, so none waits for it.
    LeaseLost {
        /// The life.
        life: Incarnation,
    },
    /// A token may be used.
    TokenSet(TokenSet),
    /// A token may be used no more.
    TokenRemove {
        /// Its digest.
        digest: TokenDigest,
    },
    /// A service's quota, or none.
    QuotaSet(QuotaSet),
    /// A hard pin, set or taken away.
    PinSet(PinSet),
    /// Other members hold a slot.
    SlotChange(SlotChange),
    /// A slot that nobody holds begins empty.
    SlotClaim(SlotClaim),
    /// Nodes that are to hold a range of slots.
    SlotsStage(SlotsStage),
    /// A job is asked for.
    JobCreate(JobCreate),
    /// A job went on.
    JobUpdate(JobUpdate),
    /// A job is to stop.
    JobCancel {
        /// The job.
        id: JobId,
    },
    /// How much a job may move.
    JobThrottle {
        /// The job.
        id: JobId,
        /// The most bytes a second; none for no limit.
        bytes_s: Option<u64>,
    },
    /// A batch of directory records ([`crate::directory::BatchBuilder`]), as bytes.
    Directory(DirectoryBatch),
}

impl Command {
    /// The version of the cluster that allows it.
    #[must_use]
    pub const fn since(&self) -> u16 {
        1
    }

    /// The version that a binary must know to read it: one that cannot live in the version that it sets stops here, and
    /// not at some later entry.
    #[must_use]
    pub const fn readable_since(&self) -> u16 {
        match self {
            Self::Found(found) => found.version,
            Self::VersionRaise { to, .. } => *to,
            _ => self.since(),
        }
    }

    /// Whether it goes before directory records.
    #[must_use]
    pub const fn is_control(&self) -> bool {
        !matches!(self, Self::Directory(_))
    }
}

/// The founding of a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// Drawn by the founder.
    pub cluster: ClusterId,
    /// The version of commands that the cluster begins with.
    pub version: u16,
    /// What the directory may charge on every node; the same everywhere, or replicas would differ.
    pub directory_bytes_max: u64,
    /// When.
    pub at_unix_ms: u64,
}

/// What a node tells of itself.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberJoin {
    /// Its id.
    pub node: NodeId,
    /// Its disk, as Raft names it.
    pub disk: u64,
    /// Its present life.
    pub boot: BootId,
    /// The name it was configured with.
    pub name: String,
    /// The version of its binary.
    pub binary: String,
    /// Versions of commands that this binary understands.
    pub versions: VersionRange,
    /// Where it is reached.
    pub addresses: Addresses,
    /// What it can hold.
    pub capacity: MemberCapacity,
    /// Its failure zone; empty when it has no label.
    pub zone: String,
    /// When its present life began.
    pub at_unix_ms: u64,
}

/// A member's new life.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemberStart {
    /// What it tells of itself now.
    pub about: MemberJoin,
    /// The life that must be the present one, and is over.
    pub replaces: BootId,
}

/// A service.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ServiceSet {
    /// Its name.
    pub service: String,
    /// Whom it shares blocks with.
    pub sharing: Sharing,
    /// Drawn by the proposer; used only when the sharing has none yet.
    pub secret: Secret,
}

/// A purge applied by one life.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PurgeConfirm {
    /// The domain.
    pub sharing: Sharing,
    /// The generation that the life moved to.
    pub generation: u64,
    /// The life.
    pub life: Incarnation,
}

/// A token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct TokenSet {
    /// Digest of the token; the token itself is never kept.
    pub digest: TokenDigest,
    /// A name for people.
    pub name: String,
    /// What it allows.
    pub scopes: BTreeSet<String>,
    /// From when on it is refused; none for never.
    pub expires_unix_ms: Option<u64>,
    /// The index at which the record that must be the present one was written; none when there must be none.
    pub replaces: Option<u64>,
}

/// A service's quota.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct QuotaSet {
    /// The service.
    pub service: String,
    /// The limits; none takes them away.
    pub quota: Option<QuotaRecord>,
    /// The index at which the record that must be the present one was written; none when there must be none.
    pub replaces: Option<u64>,
}

/// A hard pin.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PinSet {
    /// The block.
    pub pin: PinKey,
    /// Bytes that the block holds; none takes the pin away.
    pub bytes: Option<u64>,
    /// When.
    pub at_unix_ms: u64,
}

/// Other members of a slot, as a replica of it proposes them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotChange {
    /// The slot.
    pub slot: u16,
    /// The epoch that must be the present one.
    pub epoch: Epoch,
    /// The members from then on; the first is the owner, and must be a member already.
    #[serde(with = "packed")]
    pub in_sync: Vec<Incarnation>,
}

impl SlotChange {
    /// What a replica asks for. Why it asks is no part of the decision, so it is not written to the log.
    #[must_use]
    pub fn of(slot: u16, proposal: &entry::Proposal) -> Self {
        Self {
            slot,
            epoch: proposal.epoch,
            in_sync: proposal.in_sync.clone(),
        }
    }
}

/// The founding of a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotClaim {
    /// The slot.
    pub slot: u16,
    /// The epoch that must be the present one.
    pub epoch: Epoch,
    /// The life of the shard that is to own it. Its node is the first of the slot's targets that is alive.
    pub member: Incarnation,
}

/// A job, asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobCreate {
    /// Drawn by the proposer.
    pub id: JobId,
    /// What it is about.
    pub kind: JobKind,
    /// The most bytes a second that it may move; none for no limit.
    pub throttle_bytes_s: Option<u64>,
    /// When.
    pub at_unix_ms: u64,
}

/// How far a job is now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct JobUpdate {
    /// The job.
    pub id: JobId,
    /// The index of its last change that must be the present one.
    pub changed_index: u64,
    /// Its state from now on.
    pub state: JobState,
    /// Why it waits, or its last error.
    pub reason: String,
    /// Slots that are as they are to be.
    pub done: u32,
    /// Slots that it is about.
    pub total: u32,
}

/// Bytes of directory records; shown by their number only.
#[derive(Clone, PartialEq, Eq)]
pub struct DirectoryBatch(pub Vec<u8>);

impl fmt::Debug for DirectoryBatch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "DirectoryBatch({} bytes)", self.0.len())
    }
}

impl Serialize for DirectoryBatch {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for DirectoryBatch {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bytes;
        impl serde::de::Visitor<'_> for Bytes {
            type Value = DirectoryBatch;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes of directory records")
            }
            fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<Self::Value, E> {
                Ok(DirectoryBatch(bytes.to_vec()))
            }
        }
        deserializer.deserialize_bytes(Bytes)
    }
}
