//! The types that consensus is instantiated with: ids, addresses, batches of commands and their outcomes.
//!
//! Commands and outcomes are opaque bytes, so that a toy machine tests what the real one runs on. This module must
//! never know what is in them.

use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use serde::de::{Error as _, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::snapshot::SnapshotFile;
use crate::NodeId;

/// The most bytes of one batch of commands: larger log items would leave the store's segments for files of their own.
pub const BATCH_BYTES_MAX: usize = crate::metadata::ENTRY_BYTES_MAX;

/// A member of the consensus: a node, and the disk on which it keeps its votes.
///
/// A node that lost its disk forgot what it voted for, so it is another member, while its certificate still names the
/// same node.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct RaftId {
    /// The node, as its certificate names it.
    pub node: NodeId,
    /// Drawn when the node's store of votes and logs was made.
    pub disk: u64,
}

impl fmt::Display for RaftId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{:016x}", self.node, self.disk)
    }
}

#[cfg(test)]
impl From<u64> for RaftId {
    fn from(number: u64) -> Self {
        Self {
            node: NodeId::from_u128(number.into()),
            disk: number,
        }
    }
}

/// Where a member's lanes listen.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Addresses {
    /// In order of preference.
    pub lanes: Vec<SocketAddr>,
}

/// Opaque bytes that are written as bytes, not as a list of numbers.
fn as_bytes<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
    struct Raw;
    impl Visitor<'_> for Raw {
        type Value = Bytes;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("bytes")
        }
        fn visit_bytes<E: serde::de::Error>(self, bytes: &[u8]) -> Result<Bytes, E> {
            Ok(Bytes::copy_from_slice(bytes))
        }
        fn visit_byte_buf<E: serde::de::Error>(self, bytes: Vec<u8>) -> Result<Bytes, E> {
            Ok(bytes.into())
        }
    }
    deserializer.deserialize_bytes(Raw)
}

/// Whether a batch was handed to this member's log. Known to the process that proposed it only; it never travels.
///
/// Consensus says "ask the leader" both for what it never took and for what it took and lost; the first may be
/// proposed again, the second may still be committed by another leader. This tells them apart.
#[derive(Clone, Debug, Default)]
pub struct Traced(Option<Arc<AtomicBool>>);

impl PartialEq for Traced {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Traced {}

impl Traced {
    /// Whether the log was given the batch.
    #[must_use]
    pub fn is_logged(&self) -> bool {
        let logged = self.0.as_ref();
        logged.is_some_and(|logged| logged.load(Ordering::SeqCst))
    }

    pub(super) fn logged(&self) {
        if let Some(logged) = &self.0 {
            logged.store(true, Ordering::SeqCst);
        }
    }
}

/// A batch of commands that are committed together, at most [`BATCH_BYTES_MAX`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Batch {
    bytes: Bytes,
    trace: Traced,
}

/// A batch that is too large to be one log item.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a batch of {bytes} bytes is over the {BATCH_BYTES_MAX} that one log item may have")]
pub struct BatchTooLarge {
    /// How many bytes it has.
    pub bytes: usize,
}

impl BatchTooLarge {
    /// A stable name for logs and metrics.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        "raft_batch_too_large"
    }

    /// What to do about it.
    #[must_use]
    pub const fn hint(&self) -> &'static str {
        "propose the commands in smaller batches"
    }
}

impl Batch {
    /// Takes the bytes of a batch.
    ///
    /// # Errors
    /// When there are more than [`BATCH_BYTES_MAX`].
    pub fn new(bytes: Bytes) -> Result<Self, BatchTooLarge> {
        match bytes.len() {
            fine if fine <= BATCH_BYTES_MAX => Ok(Self {
                bytes,
                trace: Traced::default(),
            }),
            bytes => Err(BatchTooLarge { bytes }),
        }
    }

    /// The bytes, as they were proposed.
    #[must_use]
    pub const fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Follows the batch from here on, for as long as it stays in this process.
    #[must_use]
    pub fn traced(self) -> (Self, Traced) {
        let trace = Traced(Some(Arc::new(AtomicBool::new(false))));
        let bytes = self.bytes;
        (
            Self {
                bytes,
                trace: trace.clone(),
            },
            trace,
        )
    }

    pub(super) const fn trace(&self) -> &Traced {
        &self.trace
    }
}

impl Serialize for Batch {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.bytes)
    }
}

impl<'de> Deserialize<'de> for Batch {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::new(as_bytes(deserializer)?).map_err(D::Error::custom)
    }
}

/// What a machine answered to a batch.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome(pub Bytes);

impl Serialize for Outcome {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Outcome {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        as_bytes(deserializer).map(Self)
    }
}

openraft::declare_raft_types!(
    /// Everything that consensus is instantiated with.
    pub RaftTypes:
        D = Batch,
        R = Outcome,
        NodeId = RaftId,
        Node = Addresses,
        SnapshotData = SnapshotFile,
);

/// An item of the log.
pub type Entry = openraft::Entry<RaftTypes>;
/// The id of an item of the log.
pub type LogId = openraft::LogId<RaftId>;
/// What a member voted for.
pub type Vote = openraft::Vote<RaftId>;
/// What a snapshot covers.
pub type SnapshotMeta = openraft::SnapshotMeta<RaftId, Addresses>;
/// Who votes and who learns.
pub type Membership = openraft::Membership<RaftId, Addresses>;
/// The members, and the log item that made them so.
pub type StoredMembership = openraft::StoredMembership<RaftId, Addresses>;
/// How storage tells consensus that it must stop.
pub type StorageError = openraft::StorageError<RaftId>;
