//! The whole state as chunks, and back from bytes that may be anything.
//!
//! Responsible for the form of a chunk and for what is refused. It must never know where chunks are stored.
//!
//! ```text
//! "UMS" · kind u8 · version u16 · number u32 · XXH3-64 of what precedes and follows u64 · body
//! ```
//! Chunks of kind 0 are the MessagePack of everything but slots and directory, cut; those of kind 3 are the slots',
//! those of kind 1 the directory's; neither is there before the founding. One of kind 2 ends it.

use std::sync::Arc;

use super::COMMANDS_VERSION;
use super::slots::{SLOTS_PIECES, Slots, SlotsRebuild, piece};
use super::state::{Core, State, View};
use crate::directory;

const MAGIC: [u8; 3] = *b"UMS";
const HEAD_BYTES: usize = 18;
const KIND_CORE: u8 = 0;
const KIND_DIRECTORY: u8 = 1;
const KIND_END: u8 = 2;
const KIND_SLOTS: u8 = 3;
/// Everything but slots and directory: 1 024 members, as many services, 16 384 tokens and 65 536 pins are well below.
const CORE_BYTES_MAX: usize = 128 << 20;

/// Bytes of a chunk.
pub const CHUNK_BYTES_MAX: usize = directory::SNAPSHOT_CHUNK_BYTES_MAX + HEAD_BYTES;

/// Why chunks are not a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    /// A newer build wrote it.
    #[error(
        "the snapshot needs commands of version {found}; this binary understands up to {known}"
    )]
    Newer {
        /// The version that it needs.
        found: u16,
        /// The newest of this binary.
        known: u16,
    },
    /// Not what was written.
    #[error("the snapshot cannot be read: {what}")]
    Damaged {
        /// What is wrong.
        what: &'static str,
    },
    /// The directory's part of it.
    #[error(transparent)]
    Directory(#[from] directory::SnapshotError),
}

impl SnapshotError {
    /// A stable name for machines.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Newer { .. } => "snapshot_newer",
            Self::Damaged { .. } => "snapshot_damaged",
            Self::Directory(error) => error.code(),
        }
    }

    /// What to do about it.
    #[must_use]
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::Newer { .. } => {
                "start the newer binary again: the cluster's version was raised and is not lowered"
            }
            Self::Damaged { .. } => "drop it and take the snapshot again from another node",
            Self::Directory(error) => error.hint(),
        }
    }
}

/// A picture of the state, written chunk by chunk while the state goes on. Dropped, it ends the directory's copying.
#[derive(Debug)]
pub struct Freeze {
    version: u16,
    number: u32,
    core: Vec<u8>,
    cut: usize,
    slots: Option<Arc<Slots>>,
    piece: u16,
    directory: Option<directory::Freeze>,
    is_done: bool,
}

impl State {
    /// Freezes the state as the last entry left it.
    ///
    /// # Errors
    /// While another freeze of the directory is not dropped.
    pub fn freeze(&self) -> Result<Freeze, directory::FreezeBusy> {
        let directory = self.view.directory.as_ref();
        Ok(Freeze {
            version: self.view.core.version,
            number: 0,
            // A list of plain values in memory: it cannot fail, and an empty one is refused when it is read.
            core: rmp_serde::to_vec(&self.view.core).unwrap_or_default(),
            cut: 0,
            slots: directory.map(|_| Arc::clone(&self.view.core.slots)),
            piece: 0,
            directory: directory.map(directory::Directory::freeze).transpose()?,
            is_done: false,
        })
    }
}

impl Freeze {
    /// The next chunk, at most [`CHUNK_BYTES_MAX`] long; `None` after the last.
    pub fn next_chunk(&mut self) -> Option<Vec<u8>> {
        let rest = self.core.get(self.cut..).unwrap_or_default();
        if !rest.is_empty() {
            let length = rest.len().min(directory::SNAPSHOT_CHUNK_BYTES_MAX);
            let body = rest.get(..length).unwrap_or_default();
            let chunk = seal(KIND_CORE, self.version, self.number, body);
            self.cut += length;
            self.number += 1;
            return Some(chunk);
        }
        if let Some(slots) = self.slots.as_ref().filter(|_| self.piece < SLOTS_PIECES) {
            let body = piece(slots, self.piece);
            let chunk = seal(KIND_SLOTS, self.version, self.number, &body);
            self.piece += 1;
            self.number += 1;
            return Some(chunk);
        }
        let records = self
            .directory
            .as_mut()
            .and_then(directory::Freeze::next_chunk);
        if records.is_none() && self.is_done {
            return None;
        }
        self.is_done = records.is_none();
        let kind = if self.is_done {
            KIND_END
        } else {
            KIND_DIRECTORY
        };
        let chunk = seal(
            kind,
            self.version,
            self.number,
            &records.unwrap_or_default(),
        );
        self.number += 1;
        Some(chunk)
    }
}

fn seal(kind: u8, version: u16, number: u32, body: &[u8]) -> Vec<u8> {
    let mut chunk = Vec::with_capacity(HEAD_BYTES + body.len());
    chunk.extend(MAGIC);
    chunk.push(kind);
    chunk.extend(version.to_le_bytes());
    chunk.extend(number.to_le_bytes());
    let sum = checksum(&chunk, body);
    chunk.extend(sum.to_le_bytes());
    chunk.extend(body);
    chunk
}

fn checksum(head: &[u8], body: &[u8]) -> u64 {
    let mut hash = xxhash_rust::xxh3::Xxh3::new();
    hash.update(head);
    hash.update(body);
    hash.digest()
}

const fn damaged(what: &'static str) -> SnapshotError {
    SnapshotError::Damaged { what }
}

/// Makes a state of chunks, each of which may be anything.
#[derive(Debug, Default)]
pub struct Rebuild {
    number: u32,
    core_bytes: Vec<u8>,
    core: Option<Core>,
    slots: Option<SlotsRebuild>,
    directory: Option<directory::Rebuild>,
    is_checked: bool,
    is_complete: bool,
}

impl Rebuild {
    /// Begins with nothing.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Takes the next chunk in.
    ///
    /// # Errors
    /// [`SnapshotError`]; the rebuild is then to be dropped.
    pub fn push(&mut self, chunk: &[u8]) -> Result<(), SnapshotError> {
        if chunk.len() > CHUNK_BYTES_MAX {
            return Err(damaged("a chunk is too long"));
        }
        let (head, rest) = chunk
            .split_at_checked(HEAD_BYTES - 8)
            .ok_or(damaged("a chunk is cut off"))?;
        let (sum, body) = rest
            .split_first_chunk()
            .ok_or(damaged("a chunk is cut off"))?;
        let [a, b, c, kind, v0, v1, n0, n1, n2, n3] = *head else {
            return Err(damaged("a chunk is cut off"));
        };
        if [a, b, c] != MAGIC {
            return Err(damaged("another kind of bytes"));
        }
        if u64::from_le_bytes(*sum) != checksum(head, body) {
            return Err(damaged("a checksum does not fit"));
        }
        let found = u16::from_le_bytes([v0, v1]);
        if found > COMMANDS_VERSION {
            return Err(SnapshotError::Newer {
                found,
                known: COMMANDS_VERSION,
            });
        }
        if u32::from_le_bytes([n0, n1, n2, n3]) != self.number || self.is_complete {
            return Err(damaged("chunks out of order"));
        }
        self.number += 1;
        match kind {
            KIND_CORE => self.core_chunk(body),
            KIND_SLOTS => {
                self.read_core()?;
                let is_piece = self.slots.as_mut().is_some_and(|slots| slots.push(body));
                is_piece.then_some(()).ok_or(damaged("not slots"))
            }
            KIND_DIRECTORY => {
                self.read_slots()?;
                let directory = self
                    .directory
                    .as_mut()
                    .ok_or(damaged("records before the founding"))?;
                Ok(directory.push(body)?)
            }
            KIND_END if body.is_empty() => {
                self.read_slots()?;
                self.is_complete = true;
                Ok(())
            }
            _ => Err(damaged("a chunk of an unknown kind")),
        }
    }

    fn core_chunk(&mut self, body: &[u8]) -> Result<(), SnapshotError> {
        if self.core.is_some() || self.core_bytes.len() + body.len() > CORE_BYTES_MAX {
            return Err(damaged("a chunk that does not belong there"));
        }
        self.core_bytes.extend_from_slice(body);
        Ok(())
    }

    /// Reads what is neither slots nor directory once it is all there.
    fn read_core(&mut self) -> Result<(), SnapshotError> {
        if self.core.is_some() {
            return Ok(());
        }
        let core: Core =
            rmp_serde::from_slice(&self.core_bytes).map_err(|_| damaged("not a state"))?;
        if core.version > COMMANDS_VERSION {
            return Err(SnapshotError::Newer {
                found: core.version,
                known: COMMANDS_VERSION,
            });
        }
        self.slots = core.founded.map(|_| SlotsRebuild::default());
        self.directory = core
            .founded
            .map(|found| directory::Rebuild::new(found.directory_bytes_max));
        self.core = Some(core);
        self.core_bytes = Vec::new();
        Ok(())
    }

    /// Takes the slots in once they are all there, and with them everything but the directory.
    fn read_slots(&mut self) -> Result<(), SnapshotError> {
        self.read_core()?;
        if self.is_checked {
            return Ok(());
        }
        let slots = self.slots.take().map(SlotsRebuild::finish);
        let core = self.core.as_mut().ok_or(damaged("chunks are missing"))?;
        if let Some(slots) = slots {
            core.slots = Arc::new(slots.ok_or(damaged("slots are missing"))?);
        }
        if !core.is_valid() {
            return Err(damaged("a state that no commands make"));
        }
        self.is_checked = true;
        Ok(())
    }

    /// The state, once the last chunk is in.
    ///
    /// # Errors
    /// [`SnapshotError`] before that.
    pub fn finish(self) -> Result<State, SnapshotError> {
        let core = self
            .core
            .filter(|_| self.is_complete)
            .ok_or(damaged("chunks are missing"))?;
        let directory = self.directory.map(directory::Rebuild::finish).transpose()?;
        Ok(State::resume(View { core, directory }))
    }
}
