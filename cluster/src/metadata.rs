//! What every node knows alike: members, slots, jobs, services and their domains, tokens, quotas, pins, purges, and the
//! directory.
//!
//! Responsible for one pure state machine: [`State::apply`] is total and the same on every replica; whatever time or
//! randomness a change needs was put into its [`Command`] by who proposed it. It must never know a clock, a socket, a
//! file, or how commands came to be agreed on.

mod access;
mod command;
mod entry;
mod jobs;
mod member;
mod outcome;
mod packed;
mod services;
mod slots;
mod snapshot;
mod state;

#[cfg(test)]
mod tests;

pub use access::{Access, PinKey, PinRecord, QuotaRecord, TokenDigest, TokenRecord};
pub use command::{
    Command, DirectoryBatch, Found, JobCreate, JobUpdate, MemberJoin, MemberStart, PinSet,
    PurgeConfirm, QuotaSet, ServiceSet, SlotChange, SlotClaim, TokenSet,
};
pub use entry::{ENTRY_BYTES_MAX, Entry, EntryBuilder, EntryDecodeError};
pub use jobs::{JOBS_MAX, Job, JobId, JobKind, JobState, Jobs};
pub use member::{
    Addresses, MEMBERS_MAX, MemberCapacity, MemberRecord, MemberState, Members, SHARDS_MAX,
    VersionRange,
};
pub use outcome::{Bound, Done, FieldName, Outcome, Present, Refusal};
pub use services::{Keyring, SERVICES_MAX, Secret, Services, Sharing};
pub use slots::{COPIES_MAX, SlotCounts, SlotRecord, Slots, SlotsStage};
pub use snapshot::{CHUNK_BYTES_MAX, Freeze, Rebuild, SnapshotError};
pub use state::{State, View};

/// The newest commands that this build understands. Raised together with the first command that needs it
/// ([`Command::since`]).
pub const COMMANDS_VERSION: u16 = 1;

/// Bytes of a name, an address or a zone.
pub const TEXT_BYTES_MAX: usize = 255;

/// The id of a cluster, drawn at its founding.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct ClusterId(pub u128);

impl serde::Serialize for ClusterId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        ultrakv_actors::hex_id::serialize(self.0, serializer)
    }
}

impl<'de> serde::Deserialize<'de> for ClusterId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        ultrakv_actors::hex_id::deserialize(deserializer).map(Self)
    }
}

impl std::fmt::Display for ClusterId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

/// Whether a text may be a name: not empty, bounded, and without control characters.
fn is_name(text: &str) -> bool {
    !text.is_empty() && is_text(text)
}

/// Whether a text may be an address or a zone: as a name, or empty.
fn is_text(text: &str) -> bool {
    text.len() <= TEXT_BYTES_MAX && !text.chars().any(char::is_control)
}
