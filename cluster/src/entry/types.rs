//! The nouns of replication: keys, versions, records, ownership. It must never know who sends them to whom.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use ultrakv_actors::{Domain, DomainTag};
use ultrakv_cache::{ENTRY_OVERHEAD_BYTES, EntryClass, Now};

use super::blob;
use crate::{Epoch, Incarnation};

/// Longest key and value of one record, in bytes together. Two of them fit the prepared list, and the whole list fits
/// one frame of a small lane.
pub const RECORD_BYTES_MAX: usize = 1 << 20;

/// Longest name of an entry inside its domain, in bytes.
pub const NAME_BYTES_MAX: usize = 64 << 10;

/// What a record is charged besides its name and value, in bytes: exactly what its entry will be charged in the shard's table, so
/// that room can be promised for what is under way. Its numbers, and their names on the wire, take less.
const RECORD_OVERHEAD_BYTES: usize = 288;
const _: () = assert!(RECORD_OVERHEAD_BYTES == 32 + overhead());

#[expect(clippy::as_conversions, reason = "a constant of some hundred bytes")]
const fn overhead() -> usize {
    ENTRY_OVERHEAD_BYTES as usize
}

/// An entry's bytes, shared and never copied.
pub type Value = Arc<[u8]>;

/// An entry's name in the whole cluster. Arenas are numbered by each node, so the domain itself stands here.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Key {
    /// The domain that the entry belongs to: the tag of its generation, then 16 bytes of a digest of the effective domain.
    ///
    /// The tag first, so that what a purge voids lies together and can be recognised by a node that knows no secrets. Half
    /// a digest is enough for the rest: without the secret two salts of one domain that meet can only be found by asking,
    /// 2^64 times.
    #[serde(with = "blob::digest")]
    pub domain: [u8; 32],
    /// The key inside the domain.
    #[serde(with = "blob")]
    pub name: Arc<[u8]>,
}

impl Key {
    /// The key of a name in a domain.
    #[must_use]
    pub fn of(domain: &Domain, name: &[u8]) -> Self {
        let mut bytes = [0; 32];
        let (tag, salted) = bytes.split_at_mut(16);
        tag.copy_from_slice(&domain.tag.0);
        salted.copy_from_slice(&domain.effective.entry_name());
        Self {
            domain: bytes,
            name: name.into(),
        }
    }

    /// The tag of the domain's generation.
    #[must_use]
    pub fn tag(&self) -> DomainTag {
        let mut tag = [0; 16];
        tag.copy_from_slice(self.domain.split_at(16).0);
        DomainTag(tag)
    }
}

impl fmt::Debug for Key {
    /// Sizes only: keys are users' data.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Key({} bytes)", self.name.len())
    }
}

/// The number of a write of one slot: 1 is the first, and each has the next number. Epochs do not restart it.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
pub struct Seq(pub u64);

impl Seq {
    /// The number after this one.
    #[must_use]
    pub const fn next(self) -> Self {
        Self(self.0.saturating_add(1))
    }
}

/// Which write made an entry what it is: epoch and number of the write in one word, so that compare-and-set never
/// mistakes one write for another, whoever owned the slot and however often shards restarted.
///
/// # Units
/// The upper 20 bits are the epoch (a change a minute for two years), the lower 44 the number (100 000 writes a second
/// to one slot for five years). Past either the owner refuses writes: it never wraps.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Version(pub u64);

impl Version {
    const SEQ_BITS: u32 = 44;
    const SEQ_MAX: u64 = (1 << Self::SEQ_BITS) - 1;
    const EPOCH_MAX: u64 = (1 << (u64::BITS - Self::SEQ_BITS)) - 1;

    /// The version of a write; none when the numbers are used up.
    #[must_use]
    pub const fn new(epoch: Epoch, seq: Seq) -> Option<Self> {
        if epoch.0 > Self::EPOCH_MAX || seq.0 > Self::SEQ_MAX {
            return None;
        }
        Some(Self((epoch.0 << Self::SEQ_BITS) | seq.0))
    }

    /// The epoch under which the write was numbered.
    #[must_use]
    pub const fn epoch(self) -> Epoch {
        Epoch(self.0 >> Self::SEQ_BITS)
    }

    /// The number of the write.
    #[must_use]
    pub const fn seq(self) -> Seq {
        Seq(self.0 & Self::SEQ_MAX)
    }
}

impl fmt::Debug for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Version({}.{})", self.epoch().0, self.seq().0)
    }
}

/// An entry as a replica holds it.
#[derive(Clone, PartialEq, Eq)]
pub struct Stored {
    /// Its bytes.
    pub value: Value,
    /// Which write made it.
    pub version: Version,
    /// Kept or cached.
    pub class: EntryClass,
    /// When its time is over, on this replica's clock. Over is not gone: only the owner's numbered delete ends it.
    pub expires: Option<Now>,
}

impl Stored {
    /// Whether its time is over.
    #[must_use]
    pub fn is_over(&self, now: Now) -> bool {
        self.expires.is_some_and(|expires| expires <= now)
    }
}

impl fmt::Debug for Stored {
    /// Sizes only: entries are users' data.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stored")
            .field("value_bytes", &self.value.len())
            .field("version", &self.version)
            .field("class", &self.class)
            .field("expires", &self.expires)
            .finish()
    }
}

/// The kept/cached mark as it stands in messages.
#[derive(Serialize, Deserialize)]
#[serde(remote = "EntryClass")]
pub(super) enum ClassForm {
    Kept,
    Cached,
}

/// What a write does to its key: the outcome, never the condition.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Change {
    /// The key holds this now.
    Put {
        /// Its bytes.
        #[serde(with = "blob")]
        value: Value,
        /// Kept or cached.
        #[serde(with = "ClassForm")]
        class: EntryClass,
        /// Milliseconds it has left to live when this is sent.
        ttl_ms: Option<u64>,
    },
    /// The key holds nothing now. Numbered even when nothing was stored: a follower may hold a cached entry that the
    /// owner has evicted, and must not bring it back.
    Delete,
    /// The entry has this long to live; its bytes and version stay.
    Expire {
        /// Milliseconds it has left when this is sent; `None` for no limit.
        ttl_ms: Option<u64>,
    },
}

impl fmt::Debug for Change {
    /// Sizes only: entries are users' data.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Put { value, .. } => write!(f, "Put({} bytes)", value.len()),
            Self::Delete => f.write_str("Delete"),
            Self::Expire { ttl_ms } => write!(f, "Expire({ttl_ms:?} ms)"),
        }
    }
}

/// One numbered write, as it goes to the other members.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// Its number, and the epoch under which it was numbered first.
    pub version: Version,
    /// What it is about.
    pub key: Key,
    /// What it does.
    pub change: Change,
}

impl Record {
    /// What it is charged in lists and messages.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let value = match &self.change {
            Change::Put { value, .. } => value.len(),
            Change::Delete | Change::Expire { .. } => 0,
        };
        RECORD_OVERHEAD_BYTES + self.key.name.len() + value
    }
}

/// A committed entry on its way to a joining replica.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CopyEntry {
    /// Its key.
    pub key: Key,
    /// Its bytes.
    #[serde(with = "blob")]
    pub value: Value,
    /// Which write made it.
    pub version: Version,
    /// Kept or cached.
    #[serde(with = "ClassForm")]
    pub class: EntryClass,
    /// Milliseconds it has left when this is sent.
    pub ttl_ms: Option<u64>,
}

impl CopyEntry {
    /// What it is charged in messages.
    #[must_use]
    pub fn bytes(&self) -> usize {
        RECORD_OVERHEAD_BYTES + self.key.name.len() + self.value.len()
    }
}

impl fmt::Debug for CopyEntry {
    /// Sizes only: entries are users' data.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "CopyEntry({:?}, {} bytes)",
            self.version,
            self.value.len()
        )
    }
}

/// Raft's word about a slot.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ownership {
    /// Grows with every change of this record.
    pub epoch: Epoch,
    /// The epoch at which the slot last began empty: what anybody holds from before it is void. A slot begins empty
    /// when it is first given out, and when it is given out again after its last member was lost.
    pub founded: Epoch,
    /// Members that hold every answered write; the first is the owner. Empty: nobody owns it.
    pub in_sync: Vec<Incarnation>,
}

impl Ownership {
    /// Who orders the slot's writes and answers its reads.
    #[must_use]
    pub fn owner(&self) -> Option<Incarnation> {
        self.in_sync.first().copied()
    }
}
