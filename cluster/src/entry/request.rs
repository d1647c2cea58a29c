//! What clients ask of a slot's owner, and every way it can answer. It must never know RESP or HTTP.

use std::fmt;

use serde::{Deserialize, Serialize};
use ultrakv_cache::EntryClass;

use super::blob;
use super::types::{ClassForm, Key, Ownership, Value, Version};
use crate::Epoch;

/// When to write at all.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum OnlyIf {
    /// No condition.
    #[default]
    Always,
    /// Nothing is stored under the key.
    Absent,
    /// Something is.
    Present,
    /// The stored entry has this version.
    Version(u64),
}

/// One question about one key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Request {
    /// The asker's number; exactly one [`Answer`] carries it.
    pub ticket: u64,
    /// The slot's epoch as the asker knows it.
    pub epoch: Epoch,
    /// About which key.
    pub key: Key,
    /// What to do.
    pub op: Op,
}

/// What to do with a key.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Op {
    /// Read it.
    Get,
    /// Write it.
    Put {
        /// Its bytes.
        #[serde(with = "blob")]
        value: Value,
        /// Kept or cached.
        #[serde(with = "ClassForm")]
        class: EntryClass,
        /// Milliseconds to live, or `None` for no limit.
        ttl_ms: Option<u64>,
        /// Condition.
        only_if: OnlyIf,
    },
    /// Delete it.
    Delete {
        /// Condition.
        only_if: OnlyIf,
    },
    /// Change how long it has to live. Needs an entry: without one it is refused, even with no condition.
    Touch {
        /// Milliseconds to live, or `None` for no limit.
        ttl_ms: Option<u64>,
        /// Condition.
        only_if: OnlyIf,
    },
}

impl fmt::Debug for Op {
    /// Sizes only: entries are users' data.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Get => f.write_str("Get"),
            Self::Put { value, only_if, .. } => {
                write!(f, "Put({} bytes, {only_if:?})", value.len())
            }
            Self::Delete { only_if } => write!(f, "Delete({only_if:?})"),
            Self::Touch { ttl_ms, only_if } => write!(f, "Touch({ttl_ms:?} ms, {only_if:?})"),
        }
    }
}

/// What a read found.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Found {
    /// The bytes.
    #[serde(with = "blob")]
    pub value: Value,
    /// Which write made them.
    pub version: Version,
    /// Kept or cached.
    #[serde(with = "ClassForm")]
    pub class: EntryClass,
    /// Milliseconds left to live.
    pub ttl_ms: Option<u64>,
}

impl fmt::Debug for Found {
    /// Sizes only: entries are users' data.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Found({:?}, {} bytes)", self.version, self.value.len())
    }
}

/// How a question ends.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// What the key holds; none when nothing.
    Found(Option<Found>),
    /// The write was done, and every member in sync has it.
    Done {
        /// The version of the entry after a put or touch; of the delete itself after a delete.
        version: Version,
        /// Whether the key held something before.
        existed: bool,
    },
    /// The write was certainly not done, and asking again as it is would not help.
    Refused(Refusal),
    /// Certainly not done: another replica answers for this slot, or the asker's epoch is old. Here is the newer
    /// record.
    Moved(Ownership),
    /// Certainly not done now; asking again soon may help.
    Retry(Delay),
    /// The write may have been done, or may be done yet. It must not be sent again blindly.
    Unknown,
}

/// Why a write was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Refusal {
    /// The condition does not hold; this is what the key holds.
    Condition {
        /// The version stored; none when nothing is.
        version: Option<Version>,
    },
    /// The quota is full and nothing may give way.
    Full,
    /// Key and value together are larger than a record may be.
    TooLarge,
    /// The slot's version numbers are used up.
    Exhausted,
    /// The key's domain was purged.
    Purged,
}

/// Why to ask again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Delay {
    /// This node may not serve now: its tenure is not confirmed.
    NoTenure,
    /// A new owner is bringing the others to its last number.
    Reconciling,
    /// The slot is changing hands.
    HandingOver,
    /// As much is under way as may be.
    Busy,
    /// This replica has not heard yet of the asker's epoch.
    Behind,
    /// Nobody owns the slot, or this replica has failed.
    Ownerless,
}
