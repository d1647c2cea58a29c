//! What is told to the directory, and the bytes of it in one Raft entry. It must never know what the directory holds.
//!
//! ```text
//! batch:   "UKVD", version LE16, 2 zero, checksum LE64 (XXH3 of the records), then records of 48 bytes
//! record:  op, form, slot LE16, number LE16, 2 zero, name 16, name 16, sequence LE64
//! ```
//! Ids are big-endian, as they are printed. A field that an op does not use is zero: one meaning has one encoding.
//! A report is a record that says how many records of changes follow.

use ultrakv_actors::BootId;
use xxhash_rust::xxh3::xxh3_64;

use super::key::{DirectoryKey, Form, Place};
use super::life::Life;
use crate::NodeId;

/// The most bytes of one batch, which is one Raft entry of 64 KiB together with its envelope.
pub const BATCH_BYTES_MAX: usize = 63 * 1024;
/// The most records of one batch.
pub const BATCH_RECORDS_MAX: usize = (BATCH_BYTES_MAX - HEAD_BYTES) / RECORD_BYTES;

/// Bytes of one record.
pub const RECORD_BYTES: usize = 48;
const HEAD_BYTES: usize = 16;
const MAGIC: [u8; 4] = *b"UKVD";
const VERSION: u16 = 1;

/// One change of what a shard holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// The shard has the block, or has it in another form now.
    Add {
        /// The block.
        place: Place,
        /// The form it is in.
        form: Form,
        /// For the head of a run that follows another run: that run's last block.
        parent: Option<Place>,
    },
    /// The shard has the block no more.
    Remove {
        /// The block.
        place: Place,
    },
}

impl Change {
    /// The place of the block that changed.
    #[must_use]
    pub const fn place(&self) -> Place {
        match self {
            Self::Add { place, .. } | Self::Remove { place } => *place,
        }
    }
}

/// One thing told to the directory.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Section {
    /// A shard began a life; its former one is void. Told before the shard's first report.
    Open(Life),
    /// All lives of a node are void: it left, or lost its data.
    Close(NodeId),
    /// What changed at a shard.
    Report {
        /// The shard's life.
        boot: BootId,
        /// One more than that of the life's report before; its first is 1.
        sequence: u64,
        /// In the order in which they happened; at most [`BATCH_RECORDS_MAX`] with the record that precedes them.
        changes: Vec<Change>,
    },
    /// A shard begins to list everything that it holds, since reports were lost.
    InventoryBegin {
        /// The shard's life.
        boot: BootId,
        /// Numbered like a report; the one that may leave a gap before it.
        sequence: u64,
    },
    /// Everything is listed: what was not is void.
    InventoryEnd {
        /// The shard's life.
        boot: BootId,
        /// Numbered like a report.
        sequence: u64,
    },
    /// A reader did not find a block where the directory said.
    Correction {
        /// The life that answered that it has no such block.
        boot: BootId,
        /// The last report that this life had cut when it answered so.
        sequence: u64,
        /// The block.
        place: Place,
    },
}

impl Section {
    /// Records of 48 bytes that it takes.
    #[must_use]
    pub const fn records(&self) -> usize {
        match self {
            Self::Report { changes, .. } => 1 + changes.len(),
            _ => 1,
        }
    }
}

/// Why bytes are not a batch. A node that finds one in its log must stop: another build wrote it, or the log is
/// damaged.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BatchError {
    /// Not the length of a head and whole records, or longer than a batch may be.
    #[error(
        "{bytes} bytes are no batch of the directory: 16 and a multiple of 48, at most {BATCH_BYTES_MAX}"
    )]
    Length {
        /// Bytes given.
        bytes: usize,
    },
    /// It does not begin as a batch of this version.
    #[error("the bytes {found:02x?} do not begin a batch of version {VERSION}")]
    Head {
        /// The first eight bytes.
        found: [u8; 8],
    },
    /// It was damaged.
    #[error("the checksum of a batch of the directory is wrong")]
    Checksum,
    /// A record that means nothing, or that has another encoding.
    #[error("record {record} of a batch (op {op}) means nothing")]
    Record {
        /// Its place in the batch.
        record: usize,
        /// Its first byte.
        op: u8,
    },
    /// A report announces more changes than follow, or other records follow it.
    #[error("record {record} of a batch should be a change of the report before it, but is none")]
    Changes {
        /// Its place in the batch.
        record: usize,
    },
    /// A change that no report announced.
    #[error("record {record} of a batch is a change of no report")]
    Stray {
        /// Its place in the batch.
        record: usize,
    },
}

impl BatchError {
    /// A stable name for logs and metrics.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Length { .. } => "directory_batch_length",
            Self::Head { .. } => "directory_batch_head",
            Self::Checksum => "directory_batch_checksum",
            Self::Record { .. } => "directory_batch_record",
            Self::Changes { .. } => "directory_batch_changes",
            Self::Stray { .. } => "directory_batch_stray",
        }
    }

    /// What to do about it.
    #[must_use]
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::Head { .. } => "upgrade this node: a newer build wrote the batch",
            Self::Checksum | Self::Length { .. } => {
                "suspect the disk or memory: remove the node's data and let it join again"
            }
            Self::Record { .. } | Self::Changes { .. } | Self::Stray { .. } => {
                "report it with the versions of all nodes"
            }
        }
    }
}

/// Sections on their way into one Raft entry.
#[derive(Clone, Debug, Default)]
pub struct BatchBuilder {
    records: Vec<u8>,
}

impl BatchBuilder {
    /// An empty batch.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            records: Vec::new(),
        }
    }

    /// Records that still fit.
    #[must_use]
    pub const fn room(&self) -> usize {
        BATCH_RECORDS_MAX.saturating_sub(self.records.len() / RECORD_BYTES)
    }

    /// Whether nothing was put in.
    #[must_use]
    pub const fn is_empty(&self) -> bool {
        self.records.is_empty()
    }

    /// Puts a section in; `false`, and nothing changed, when it does not fit.
    pub fn push(&mut self, section: &Section) -> bool {
        let fits = section.records() <= self.room();
        if fits {
            let (first, changes) = Record::of(section);
            self.records.extend_from_slice(&first.encode());
            for change in changes {
                self.records
                    .extend_from_slice(&Record::of_change(change).encode());
            }
        }
        fits
    }

    /// The bytes, for a Raft entry.
    #[must_use]
    pub fn finish(self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEAD_BYTES + self.records.len());
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&[0; 2]);
        bytes.extend_from_slice(&xxh3_64(&self.records).to_le_bytes());
        bytes.extend_from_slice(&self.records);
        bytes
    }
}

/// Reads a batch.
///
/// # Errors
/// [`BatchError`] for every byte string that [`BatchBuilder::finish`] did not write.
pub fn decode(bytes: &[u8]) -> Result<Vec<Section>, BatchError> {
    let length = BatchError::Length { bytes: bytes.len() };
    if bytes.len() > BATCH_BYTES_MAX {
        return Err(length);
    }
    let (head, rest) = bytes
        .split_first_chunk::<HEAD_BYTES>()
        .ok_or(length.clone())?;
    let [m0, m1, m2, m3, v0, v1, z0, z1, checksum @ ..] = *head;
    let found = [m0, m1, m2, m3, v0, v1, z0, z1];
    if [m0, m1, m2, m3] != MAGIC || u16::from_le_bytes([v0, v1]) != VERSION || [z0, z1] != [0; 2] {
        return Err(BatchError::Head { found });
    }
    let (records, []) = rest.as_chunks::<RECORD_BYTES>() else {
        return Err(length);
    };
    if xxh3_64(rest) != u64::from_le_bytes(checksum) {
        return Err(BatchError::Checksum);
    }
    let mut sections = Vec::new();
    let mut records = records.iter().enumerate();
    while let Some((at, bytes)) = records.next() {
        let (record, op) = Record::decode(at, bytes)?;
        let section = match op {
            Op::Change => return Err(BatchError::Stray { record: at }),
            Op::Report => {
                let mut changes = Vec::with_capacity(usize::from(record.number).min(records.len()));
                for offset in 0..usize::from(record.number) {
                    let missing = BatchError::Changes {
                        record: at + 1 + offset,
                    };
                    let (at, bytes) = records.next().ok_or(missing.clone())?;
                    let (change, _) = Record::decode(at, bytes)?;
                    changes.push(change.change().ok_or(missing)?);
                }
                let (boot, sequence) = (BootId::from_u128(record.first), record.sequence);
                Section::Report {
                    boot,
                    sequence,
                    changes,
                }
            }
            Op::Single => record.section().ok_or(BatchError::Record {
                record: at,
                op: record.op,
            })?,
        };
        sections.push(section);
    }
    Ok(sections)
}

const OP_OPEN: u8 = 1;
const OP_CLOSE: u8 = 2;
const OP_REPORT: u8 = 3;
const OP_INVENTORY_BEGIN: u8 = 4;
const OP_INVENTORY_END: u8 = 5;
const OP_CORRECTION: u8 = 6;
const OP_ADD: u8 = 7;
const OP_ADD_AFTER: u8 = 8;
const OP_REMOVE: u8 = 9;

/// What a record is within a batch.
enum Op {
    Single,
    Report,
    Change,
}

/// The fields of a record, whatever they mean.
#[derive(Clone, Copy, Default)]
struct Record {
    op: u8,
    form: u8,
    slot: u16,
    number: u16,
    first: u128,
    second: u128,
    sequence: u64,
}

impl Record {
    fn of(section: &Section) -> (Self, &[Change]) {
        let numbered = |op, boot: &BootId, sequence: &u64| Self {
            op,
            first: boot.to_u128(),
            sequence: *sequence,
            ..Self::default()
        };
        let record = match section {
            Section::Open(life) => Self {
                op: OP_OPEN,
                number: life.shard,
                first: life.node.to_u128(),
                second: life.boot.to_u128(),
                ..Self::default()
            },
            Section::Close(node) => Self {
                op: OP_CLOSE,
                first: node.to_u128(),
                ..Self::default()
            },
            Section::Report {
                boot,
                sequence,
                changes,
            } => {
                let number = u16::try_from(changes.len()).unwrap_or(u16::MAX);
                let record = numbered(OP_REPORT, boot, sequence);
                return (Self { number, ..record }, changes);
            }
            Section::InventoryBegin { boot, sequence } => {
                numbered(OP_INVENTORY_BEGIN, boot, sequence)
            }
            Section::InventoryEnd { boot, sequence } => numbered(OP_INVENTORY_END, boot, sequence),
            Section::Correction {
                boot,
                sequence,
                place,
            } => Self {
                op: OP_CORRECTION,
                slot: place.slot,
                first: place.key.to_u128(),
                second: boot.to_u128(),
                sequence: *sequence,
                ..Self::default()
            },
        };
        (record, &[])
    }

    fn of_change(change: &Change) -> Self {
        let place = change.place();
        let named = Self {
            slot: place.slot,
            first: place.key.to_u128(),
            ..Self::default()
        };
        match change {
            Change::Remove { .. } => Self {
                op: OP_REMOVE,
                ..named
            },
            Change::Add {
                form, parent: None, ..
            } => Self {
                op: OP_ADD,
                form: form.to_byte(),
                ..named
            },
            Change::Add {
                form,
                parent: Some(parent),
                ..
            } => Self {
                op: OP_ADD_AFTER,
                form: form.to_byte(),
                number: parent.slot,
                second: parent.key.to_u128(),
                ..named
            },
        }
    }

    fn section(&self) -> Option<Section> {
        let (boot, sequence) = (BootId::from_u128(self.first), self.sequence);
        Some(match self.op {
            OP_OPEN => Section::Open(Life {
                node: NodeId::from_u128(self.first),
                shard: self.number,
                boot: BootId::from_u128(self.second),
            }),
            OP_CLOSE => Section::Close(NodeId::from_u128(self.first)),
            OP_INVENTORY_BEGIN => Section::InventoryBegin { boot, sequence },
            OP_INVENTORY_END => Section::InventoryEnd { boot, sequence },
            OP_CORRECTION => Section::Correction {
                boot: BootId::from_u128(self.second),
                sequence,
                place: self.place()?,
            },
            _ => return None,
        })
    }

    fn change(&self) -> Option<Change> {
        let (place, form) = (self.place()?, Form::from_byte(self.form)?);
        let parent = Place {
            slot: self.number,
            key: DirectoryKey::from_u128(self.second),
        };
        match self.op {
            OP_ADD => Some(Change::Add {
                place,
                form,
                parent: None,
            }),
            OP_ADD_AFTER if parent.is_valid() => Some(Change::Add {
                place,
                form,
                parent: Some(parent),
            }),
            OP_REMOVE => Some(Change::Remove { place }),
            _ => None,
        }
    }

    fn place(&self) -> Option<Place> {
        let place = Place {
            slot: self.slot,
            key: DirectoryKey::from_u128(self.first),
        };
        place.is_valid().then_some(place)
    }

    fn encode(&self) -> [u8; RECORD_BYTES] {
        let mut bytes = [0; RECORD_BYTES];
        let [op, form, s0, s1, n0, n1, _, _, names @ ..] = &mut bytes;
        (*op, *form) = (self.op, self.form);
        ([*s0, *s1], [*n0, *n1]) = (self.slot.to_le_bytes(), self.number.to_le_bytes());
        let fields = self
            .first
            .to_be_bytes()
            .into_iter()
            .chain(self.second.to_be_bytes());
        for (to, from) in names
            .iter_mut()
            .zip(fields.chain(self.sequence.to_le_bytes()))
        {
            *to = from;
        }
        bytes
    }

    /// Reads a record and asks whether it means something and is written as this build would write it.
    fn decode(at: usize, bytes: &[u8; RECORD_BYTES]) -> Result<(Self, Op), BatchError> {
        let [op, form, s0, s1, n0, n1, _, _, names @ ..] = *bytes;
        let (first, rest) = names.split_first_chunk().unwrap_or((&[0; 16], &[]));
        let (second, rest) = rest.split_first_chunk().unwrap_or((&[0; 16], &[]));
        let sequence = rest.first_chunk().unwrap_or(&[0; 8]);
        let record = Self {
            op,
            form,
            slot: u16::from_le_bytes([s0, s1]),
            number: u16::from_le_bytes([n0, n1]),
            first: u128::from_be_bytes(*first),
            second: u128::from_be_bytes(*second),
            sequence: u64::from_le_bytes(*sequence),
        };
        let again = match op {
            OP_REPORT => {
                let (number, first, sequence) = (record.number, record.first, record.sequence);
                Some((
                    Self {
                        op,
                        number,
                        first,
                        sequence,
                        ..Self::default()
                    },
                    Op::Report,
                ))
            }
            OP_ADD | OP_ADD_AFTER | OP_REMOVE => record
                .change()
                .map(|change| (Self::of_change(&change), Op::Change)),
            _ => record
                .section()
                .map(|section| (Self::of(&section).0, Op::Single)),
        };
        let kept = again.filter(|(again, _)| again.encode() == *bytes);
        kept.map(|(_, op)| (record, op))
            .ok_or(BatchError::Record { record: at, op })
    }
}

#[cfg(test)]
mod tests;
