//! One entry of the log: several commands, as bytes.
//!
//! Responsible for the bound on an entry, for control commands before directory records, and for refusing what a newer
//! build wrote. It must never know what a command does.
//!
//! ```text
//! "UM" · version u16 · count u16 · count × (length u32 · MessagePack)      all little-endian
//! ```

use super::COMMANDS_VERSION;
use super::command::Command;
use crate::{directory, raft};

const MAGIC: [u8; 2] = *b"UM";
const HEAD_BYTES: usize = 6;
/// Commands of one entry.
const COMMANDS_MAX: usize = 1_024;

/// Bytes of an entry: a whole directory batch, and room for its envelope.
pub const ENTRY_BYTES_MAX: usize = directory::BATCH_BYTES_MAX + 1_024;
// Every entry is a batch that the log takes.
const _: () = assert!(ENTRY_BYTES_MAX == raft::types::BATCH_BYTES_MAX);

/// Why bytes are not an entry. A node that finds one in its log must stop: skipping it would make it differ.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum EntryDecodeError {
    /// A newer build wrote it.
    #[error(
        "the log entry needs commands of version {found}; this binary understands up to {known}"
    )]
    Newer {
        /// The version that it needs.
        found: u16,
        /// The newest of this binary.
        known: u16,
    },
    /// Not what was written.
    #[error("the log entry cannot be read: {what}")]
    Damaged {
        /// What is wrong.
        what: &'static str,
    },
}

impl EntryDecodeError {
    /// A stable name for machines.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Newer { .. } => "entry_newer",
            Self::Damaged { .. } => "entry_damaged",
        }
    }

    /// What to do about it.
    #[must_use]
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::Newer { .. } => {
                "start the newer binary again: the cluster's version was raised and is not lowered"
            }
            Self::Damaged { .. } => "let the node join again with an empty data folder",
        }
    }
}

/// The commands of one entry, in the order in which they are applied.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry(pub Vec<Command>);

impl Entry {
    /// Reads an entry; the bytes may be anything.
    ///
    /// # Errors
    /// [`EntryDecodeError`].
    pub fn decode(bytes: &[u8]) -> Result<Self, EntryDecodeError> {
        let damaged = |what| EntryDecodeError::Damaged { what };
        if bytes.len() > ENTRY_BYTES_MAX {
            return Err(damaged("too long"));
        }
        let (magic, rest) = bytes.split_first_chunk().ok_or(damaged("too short"))?;
        let (version, rest) = rest.split_first_chunk().ok_or(damaged("too short"))?;
        if *magic != MAGIC {
            return Err(damaged("another kind of bytes"));
        }
        let found = u16::from_le_bytes(*version);
        if found > COMMANDS_VERSION {
            return Err(EntryDecodeError::Newer {
                found,
                known: COMMANDS_VERSION,
            });
        }
        let (count, mut rest) = rest.split_first_chunk().ok_or(damaged("too short"))?;
        let count = u16::from_le_bytes(*count);
        if usize::from(count) > COMMANDS_MAX {
            return Err(damaged("too many commands"));
        }
        let mut commands = Vec::with_capacity(usize::from(count));
        for _ in 0..count {
            let (length, after) = rest.split_first_chunk().ok_or(damaged("cut off"))?;
            let length =
                usize::try_from(u32::from_le_bytes(*length)).map_err(|_| damaged("cut off"))?;
            let (command, after) = after.split_at_checked(length).ok_or(damaged("cut off"))?;
            let command = command_of(command).ok_or(damaged("not a command"))?;
            if command.readable_since() > found {
                return Err(damaged("a command newer than it says"));
            }
            commands.push(command);
            rest = after;
        }
        if !rest.is_empty() {
            return Err(damaged("bytes after its end"));
        }
        Ok(Self(commands))
    }
}

fn command_of(bytes: &[u8]) -> Option<Command> {
    let mut reader = rmp_serde::Deserializer::from_read_ref(bytes);
    let command: Command = serde::Deserialize::deserialize(&mut reader).ok()?;
    // Nothing may follow it, and it is written in one way only.
    let again = rmp_serde::to_vec(&command).ok()?;
    (again == bytes).then_some(command)
}

/// Gathers commands until an entry is full.
#[derive(Debug, Default)]
pub struct EntryBuilder {
    control: Vec<(usize, Vec<u8>)>,
    records: Vec<(usize, Vec<u8>)>,
    bytes: usize,
    since: u16,
}

impl EntryBuilder {
    /// Begins with nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Whether nothing was taken.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.control.is_empty() && self.records.is_empty()
    }

    /// Takes a command when it fits; `false` when it does not, and is for the next entry. One that an empty builder
    /// does not take fits in no entry.
    pub fn push(&mut self, command: &Command) -> bool {
        let place = self.control.len() + self.records.len();
        let Ok(bytes) = rmp_serde::to_vec(command) else {
            return false;
        };
        let after = self.bytes + 4 + bytes.len();
        if HEAD_BYTES + after > ENTRY_BYTES_MAX || place >= COMMANDS_MAX {
            return false;
        }
        self.bytes = after;
        self.since = self.since.max(command.readable_since());
        let list = if command.is_control() {
            &mut self.control
        } else {
            &mut self.records
        };
        list.push((place, bytes));
        true
    }

    /// The entry's bytes, and for each of its commands, in order, as how many-eth it was pushed: control commands
    /// come first.
    #[must_use]
    pub fn finish(self) -> (Vec<u8>, Vec<usize>) {
        let mut bytes = Vec::with_capacity(HEAD_BYTES + self.bytes);
        let count = self.control.len() + self.records.len();
        bytes.extend(MAGIC);
        bytes.extend(self.since.to_le_bytes());
        bytes.extend(u16::try_from(count).unwrap_or(u16::MAX).to_le_bytes());
        let mut order = Vec::with_capacity(count);
        for (place, command) in self.control.into_iter().chain(self.records) {
            bytes.extend(
                u32::try_from(command.len())
                    .unwrap_or(u32::MAX)
                    .to_le_bytes(),
            );
            bytes.extend(command);
            order.push(place);
        }
        (bytes, order)
    }
}
