//! A directory as chunks of bytes, and a directory out of them. It must never know how chunks travel, and must trust
//! none.
//!
//! ```text
//! chunk:  "UKVS", version LE16, kind, 0, number LE32, body length LE32, checksum LE64 (XXH3 of the rest), body
//! head:   limit 8, sweep (0, or 1 slot 2 key 16), numbers 2, each: number 2 state 1 node 16 shard 2 boot 16,
//!         lives 2, each: boot 16 number 2 before (0, or 1 number 2) sequence 8
//! rows:   groups: slot 2, rows 4, each: key 16, holders and edge 1, each holder: number 2 form 1, edge: slot 2 key 16
//! end:    rows in all 8
//! ```
//! Integers are little-endian, keys and ids big-endian. Children are not written: they are counted from the edges.

use std::sync::Arc;

use ultrakv_actors::BootId;
use ultrakv_cache::SLOT_COUNT;
use xxhash_rust::xxh3::Xxh3;

use super::Directory;
use super::apply::{Sweep, Writer};
use super::key::{DirectoryKey, Form, Place};
use super::life::{Current, LIVES_MAX, Life, LifeNumber, Lives, Numbered, State};
use super::partition::{HOLDERS_MAX, Holder, Partition};
use super::table::Entry;
use crate::NodeId;

/// The most bytes of one chunk of a snapshot.
pub const SNAPSHOT_CHUNK_BYTES_MAX: usize = 512 * 1024;

const MAGIC: [u8; 4] = *b"UKVS";
const VERSION: u16 = 1;
const HEAD_BYTES: usize = 24;
/// A chunk is closed past this many bytes: what is added last is at most one row, and the group's head.
const BODY_BYTES_FULL: usize = SNAPSHOT_CHUNK_BYTES_MAX - 1_024;
const EDGE_BIT: u8 = 0x80;

const KIND_HEAD: u8 = 1;
const KIND_ROWS: u8 = 2;
const KIND_END: u8 = 3;

/// Why a directory cannot be made of these chunks. The receiver asks for the snapshot again, from another node if it
/// repeats.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SnapshotError {
    /// Shorter or longer than a chunk can be, or than it says.
    #[error("a chunk of {bytes} bytes is no chunk of a directory's snapshot")]
    Length {
        /// Bytes given.
        bytes: usize,
    },
    /// It does not begin as a chunk of this version.
    #[error("the bytes {found:02x?} do not begin a chunk of version {VERSION}")]
    Head {
        /// The first eight bytes.
        found: [u8; 8],
    },
    /// It was damaged.
    #[error("the checksum of a chunk of a directory's snapshot is wrong")]
    Checksum,
    /// A chunk is missing, or comes twice.
    #[error("chunk {found} of a directory's snapshot came where {expected} was expected")]
    Order {
        /// The chunk that should have come.
        expected: u32,
        /// The one that came.
        found: u32,
    },
    /// It was made under another limit of memory, so its replica refuses other additions than this one.
    #[error("the snapshot was made under a limit of {theirs} bytes, this node has {ours}")]
    Limit {
        /// The limit in the snapshot.
        theirs: u64,
        /// This node's.
        ours: u64,
    },
    /// It lists more than its limit allows.
    #[error("a directory's snapshot lists more than its limit of {bytes_max} bytes allows")]
    TooLarge {
        /// The limit.
        bytes_max: u64,
    },
    /// What it says cannot be: an unknown number, rows out of order, a slot that is none.
    #[error("a directory's snapshot cannot be: {what}")]
    Content {
        /// What was found.
        what: &'static str,
    },
    /// The last chunk has not come.
    #[error("a directory's snapshot ended after {chunks} chunks, before its last")]
    Incomplete {
        /// Chunks that came.
        chunks: u32,
    },
}

impl SnapshotError {
    /// A stable name for logs and metrics.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Length { .. } => "directory_snapshot_length",
            Self::Head { .. } => "directory_snapshot_head",
            Self::Checksum => "directory_snapshot_checksum",
            Self::Order { .. } => "directory_snapshot_order",
            Self::Limit { .. } => "directory_snapshot_limit",
            Self::TooLarge { .. } => "directory_snapshot_too_large",
            Self::Content { .. } => "directory_snapshot_content",
            Self::Incomplete { .. } => "directory_snapshot_incomplete",
        }
    }

    /// What to do about it.
    #[must_use]
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::Head { .. } => "upgrade this node: a newer build made the snapshot",
            Self::Limit { .. } => "give all nodes the same limit for the directory",
            Self::Content { .. } | Self::TooLarge { .. } => {
                "report it with the versions of all nodes"
            }
            Self::Length { .. } | Self::Checksum | Self::Order { .. } | Self::Incomplete { .. } => {
                "the snapshot is asked for again; if it stays, suspect memory or the network card"
            }
        }
    }
}

/// Numbers chunks and counts what is in them.
#[derive(Debug, Default)]
pub(super) struct ChunkWriter {
    number: u32,
    rows: u64,
}

impl ChunkWriter {
    pub(super) const fn is_full(body: &[u8]) -> bool {
        body.len() >= BODY_BYTES_FULL
    }

    pub(super) fn head(&mut self, body: &[u8]) -> Vec<u8> {
        self.chunk(KIND_HEAD, body)
    }

    pub(super) fn rows(&mut self, body: &[u8], rows: u32) -> Vec<u8> {
        self.rows += u64::from(rows);
        self.chunk(KIND_ROWS, body)
    }

    pub(super) fn end(&mut self) -> Vec<u8> {
        let rows = self.rows.to_le_bytes();
        self.chunk(KIND_END, &rows)
    }

    fn chunk(&mut self, kind: u8, body: &[u8]) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(HEAD_BYTES + body.len());
        bytes.extend_from_slice(&MAGIC);
        bytes.extend_from_slice(&VERSION.to_le_bytes());
        bytes.extend_from_slice(&[kind, 0]);
        bytes.extend_from_slice(&self.number.to_le_bytes());
        let length = u32::try_from(body.len()).unwrap_or(u32::MAX);
        bytes.extend_from_slice(&length.to_le_bytes());
        let checksum = checksum(&bytes, body);
        bytes.extend_from_slice(&checksum.to_le_bytes());
        bytes.extend_from_slice(body);
        self.number += 1;
        bytes
    }
}

fn checksum(head: &[u8], body: &[u8]) -> u64 {
    let mut hash = Xxh3::new();
    hash.update(head);
    hash.update(body);
    hash.digest()
}

/// What is not rows.
pub(super) fn encode_head(writer: &Writer, lives: &Lives) -> Vec<u8> {
    let mut bytes = writer.bytes_max.to_le_bytes().to_vec();
    bytes.push(u8::from(writer.sweep.is_some()));
    if let Some(sweep) = writer.sweep {
        bytes.extend_from_slice(&sweep.slot.to_le_bytes());
        bytes.extend_from_slice(&sweep.key.to_u128().to_be_bytes());
    }
    let length = |count: usize| u16::try_from(count).unwrap_or(u16::MAX).to_le_bytes();
    bytes.extend_from_slice(&length(lives.iter().count()));
    for (number, numbered) in lives.iter() {
        bytes.extend_from_slice(&number.to_le_bytes());
        bytes.push(match numbered.state {
            State::Live => 0,
            State::Void => 1,
            State::Sweeping => 2,
        });
        bytes.extend_from_slice(&numbered.life.node.to_u128().to_be_bytes());
        bytes.extend_from_slice(&numbered.life.shard.to_le_bytes());
        bytes.extend_from_slice(&numbered.life.boot.to_u128().to_be_bytes());
    }
    bytes.extend_from_slice(&length(lives.currents().count()));
    for (boot, current) in lives.currents() {
        bytes.extend_from_slice(&boot.to_u128().to_be_bytes());
        bytes.extend_from_slice(&current.number.to_le_bytes());
        bytes.push(u8::from(current.before.is_some()));
        bytes.extend(
            current
                .before
                .iter()
                .flat_map(|before| before.to_le_bytes()),
        );
        bytes.extend_from_slice(&writer.sequence(current.number).to_le_bytes());
    }
    bytes
}

/// Adds the rows of a partition from a key on as one group; the answer is how many, and where to go on when the body is
/// full.
pub(super) fn encode_rows(
    slot: u16,
    partition: &Partition,
    from: DirectoryKey,
    body: &mut Vec<u8>,
) -> (u32, Option<DirectoryKey>) {
    let begin = body.len();
    body.extend_from_slice(&slot.to_le_bytes());
    body.extend_from_slice(&[0; 4]);
    let (mut rows, mut next) = (0_u32, None);
    // A stub is told by the edges that need it.
    for row in partition.rows_from(from).filter(|row| !row.is_stub()) {
        if ChunkWriter::is_full(body) {
            next = Some(row.key());
            break;
        }
        rows += 1;
        body.extend_from_slice(&row.key().to_u128().to_be_bytes());
        let at = body.len();
        body.push(0);
        let mut flags = 0;
        for holder in partition.holders(row) {
            flags += 1;
            body.extend_from_slice(&holder.life.to_le_bytes());
            body.push(holder.form.to_byte());
        }
        if let Some(parent) = partition.parent(row) {
            flags |= EDGE_BIT;
            body.extend_from_slice(&parent.slot.to_le_bytes());
            body.extend_from_slice(&parent.key.to_u128().to_be_bytes());
        }
        body.iter_mut()
            .skip(at)
            .take(1)
            .for_each(|byte| *byte = flags);
    }
    if rows == 0 {
        body.truncate(begin);
    } else {
        let count = body.iter_mut().skip(begin + 2);
        count
            .zip(rows.to_le_bytes())
            .for_each(|(to, from)| *to = from);
    }
    (rows, next)
}

type RowRead = (DirectoryKey, Vec<Holder>, Option<Place>);

/// Reads fields from untrusted bytes; `None` past their end.
struct Reader<'a> {
    bytes: &'a [u8],
}

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (field, rest) = self.bytes.split_first_chunk()?;
        self.bytes = rest;
        Some(*field)
    }

    fn u8(&mut self) -> Option<u8> {
        self.take().map(|[byte]| byte)
    }

    fn u16(&mut self) -> Option<u16> {
        self.take().map(u16::from_le_bytes)
    }

    fn u32(&mut self) -> Option<u32> {
        self.take().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.take().map(u64::from_le_bytes)
    }

    fn id(&mut self) -> Option<u128> {
        self.take().map(u128::from_be_bytes)
    }

    fn flag(&mut self) -> Option<bool> {
        match self.u8()? {
            0 => Some(false),
            1 => Some(true),
            _ => None,
        }
    }

    fn place(&mut self) -> Option<Place> {
        let slot = self.u16()?;
        Some(Place {
            slot,
            key: DirectoryKey::from_u128(self.id()?),
        })
    }

    fn row(&mut self) -> Option<RowRead> {
        let key = DirectoryKey::from_u128(self.id()?);
        let flags = self.u8()?;
        let count = usize::from(flags & !EDGE_BIT);
        if count == 0 || count > HOLDERS_MAX {
            return None;
        }
        let mut holders = Vec::with_capacity(count);
        for _ in 0..count {
            let life = self.u16()?;
            holders.push(Holder {
                life,
                form: Form::from_byte(self.u8()?)?,
            });
        }
        let parent = if flags & EDGE_BIT == 0 {
            None
        } else {
            Some(self.place().filter(|parent| parent.is_valid())?)
        };
        Some((key, holders, parent))
    }
}

/// Makes a directory of chunks, each of which may be anything.
#[derive(Debug)]
pub struct Rebuild {
    writer: Writer,
    lives: Lives,
    partitions: Vec<Partition>,
    /// Rows of the slot at hand, which the next chunk may go on with.
    rows: Vec<RowRead>,
    slot: u16,
    chunks: u32,
    rows_count: u64,
    is_complete: bool,
}

impl Rebuild {
    /// Begins with nothing. `bytes_max` is this node's limit, which must be that of the snapshot.
    #[must_use]
    pub fn new(bytes_max: u64) -> Self {
        Self {
            writer: Writer::new(bytes_max),
            lives: Lives::new(),
            partitions: Vec::new(),
            rows: Vec::new(),
            slot: 0,
            chunks: 0,
            rows_count: 0,
            is_complete: false,
        }
    }

    /// Takes the next chunk in.
    ///
    /// # Errors
    /// [`SnapshotError`]; the rebuild is then to be dropped.
    pub fn push(&mut self, chunk: &[u8]) -> Result<(), SnapshotError> {
        let (kind, number, body) = open(chunk)?;
        if number != self.chunks || self.is_complete {
            return Err(SnapshotError::Order {
                expected: self.chunks,
                found: number,
            });
        }
        let mut reader = Reader { bytes: body };
        match (kind, number) {
            (KIND_HEAD, 0) => self.head(&mut reader)?,
            (KIND_ROWS, 1..) => self.groups(&mut reader)?,
            (KIND_END, 1..) => {
                if reader.u64() != Some(self.rows_count) {
                    return Err(content("another count of rows at its end"));
                }
                self.is_complete = true;
            }
            _ => {
                return Err(content(
                    "a chunk of an unknown kind, or of one that does not belong there",
                ));
            }
        }
        if !reader.bytes.is_empty() {
            return Err(content("bytes after the end of a chunk"));
        }
        self.chunks += 1;
        Ok(())
    }

    /// The directory, once the last chunk is in.
    ///
    /// # Errors
    /// [`SnapshotError::Incomplete`] before that.
    pub fn finish(mut self) -> Result<Arc<Directory>, SnapshotError> {
        if !self.is_complete {
            return Err(SnapshotError::Incomplete {
                chunks: self.chunks,
            });
        }
        self.close_slots(SLOT_COUNT);
        let partitions = std::mem::take(&mut self.partitions);
        let parents: Vec<Place> = partitions.iter().flat_map(Partition::parents).collect();
        let mut partitions = partitions.into_iter();
        let partition = |_| partitions.next().unwrap_or_else(Partition::new);
        let directory = Directory::of(self.lives, self.writer, partition);
        for parent in parents {
            if let Some(cell) = directory.cell(parent.slot) {
                let mut partition = cell.write();
                if let Some(resized) = partition.rows().resized(1) {
                    partition.replace_rows(resized);
                }
                partition.add_child(parent.key);
            }
        }
        Ok(Arc::new(directory))
    }

    fn head(&mut self, reader: &mut Reader<'_>) -> Result<(), SnapshotError> {
        let short = || content("a head that ends too early");
        let theirs = reader.u64().ok_or_else(short)?;
        let ours = self.writer.bytes_max;
        if theirs != ours {
            return Err(SnapshotError::Limit { theirs, ours });
        }
        if reader.flag().ok_or_else(short)? {
            let place = reader.place().filter(|place| place.is_valid());
            let place = place.ok_or_else(|| content("a sweep in no slot"))?;
            self.writer.sweep = Some(Sweep {
                slot: place.slot,
                key: place.key,
            });
        }
        for _ in 0..reader.u16().ok_or_else(short)? {
            let (number, numbered) =
                read_numbered(reader).ok_or_else(|| content("a number that cannot be"))?;
            if self.lives.numbered(number).is_some() {
                return Err(content("a number twice"));
            }
            self.lives.put(number, numbered);
        }
        for _ in 0..reader.u16().ok_or_else(short)? {
            let (boot, current, sequence) = read_current(reader).ok_or_else(short)?;
            if !self.lives.restore(boot, current) {
                return Err(content("a life that its number does not stand for"));
            }
            self.writer.set_sequence(current.number, sequence);
        }
        if !self.lives.is_whole(self.writer.sweep.is_some()) {
            return Err(content("a number that nobody would ever free"));
        }
        Ok(())
    }

    fn groups(&mut self, reader: &mut Reader<'_>) -> Result<(), SnapshotError> {
        while !reader.bytes.is_empty() {
            let head = reader.u16().zip(reader.u32());
            let (slot, count) = head.ok_or_else(|| content("a group that ends too early"))?;
            if slot < self.slot || slot >= SLOT_COUNT || count == 0 {
                return Err(content("a slot out of order, or empty"));
            }
            self.close_slots(slot);
            for _ in 0..count {
                let row = reader
                    .row()
                    .ok_or_else(|| content("a row that cannot be"))?;
                self.row(row)?;
            }
        }
        Ok(())
    }

    fn row(&mut self, row: RowRead) -> Result<(), SnapshotError> {
        let (key, holders, parent) = &row;
        if self.rows.last().is_some_and(|(last, ..)| last >= key) {
            return Err(content("rows out of order"));
        }
        for (at, holder) in holders.iter().enumerate() {
            let is_known = self.lives.numbered(holder.life).is_some();
            let twice = holders
                .iter()
                .take(at)
                .any(|other| other.life == holder.life);
            if !is_known || twice {
                return Err(content("a holder that is not known, or twice"));
            }
            if self.is_swept(*key) && self.lives.is_sweeping(holder.life) {
                return Err(content("a holder that the sweep has struck off already"));
            }
            self.writer.gain(holder.life);
        }
        let beside = holders.len().saturating_sub(Partition::HOLDERS_IN_ROW);
        let tally = &mut self.writer.tally;
        tally.records += 1;
        tally.edges += i64::from(parent.is_some());
        tally.beside += i64::try_from(beside).unwrap_or(0);
        if self.writer.charged_bytes() > self.writer.bytes_max {
            return Err(SnapshotError::TooLarge {
                bytes_max: self.writer.bytes_max,
            });
        }
        self.rows_count += 1;
        self.rows.push(row);
        Ok(())
    }

    /// Whether the sweep that runs is past a row of the present slot.
    fn is_swept(&self, key: DirectoryKey) -> bool {
        let sweep = self.writer.sweep;
        sweep.is_some_and(|sweep| (self.slot, key) < (sweep.slot, sweep.key))
    }

    /// Makes the partitions before `slot`, of which all rows have come.
    fn close_slots(&mut self, slot: u16) {
        while self.slot < slot {
            self.partitions.push(Partition::from_sorted(&self.rows));
            self.rows.clear();
            self.slot += 1;
        }
    }
}

fn open(chunk: &[u8]) -> Result<(u8, u32, &[u8]), SnapshotError> {
    let length = SnapshotError::Length { bytes: chunk.len() };
    if chunk.len() > SNAPSHOT_CHUNK_BYTES_MAX {
        return Err(length);
    }
    let (signed, rest) = chunk
        .split_at_checked(HEAD_BYTES - 8)
        .ok_or(length.clone())?;
    let (sum, body) = rest.split_first_chunk().ok_or(length.clone())?;
    let mut reader = Reader { bytes: signed };
    let found: [u8; 8] = reader.take().ok_or(length.clone())?;
    let [m0, m1, m2, m3, v0, v1, kind, zero] = found;
    if [m0, m1, m2, m3] != MAGIC || u16::from_le_bytes([v0, v1]) != VERSION || zero != 0 {
        return Err(SnapshotError::Head { found });
    }
    let (number, bytes) = reader.u32().zip(reader.u32()).ok_or(length.clone())?;
    if u32::try_from(body.len()) != Ok(bytes) {
        return Err(length);
    }
    if checksum(signed, body) != u64::from_le_bytes(*sum) {
        return Err(SnapshotError::Checksum);
    }
    Ok((kind, number, body))
}

fn read_numbered(reader: &mut Reader<'_>) -> Option<(LifeNumber, Numbered)> {
    let number = reader
        .u16()
        .filter(|number| usize::from(*number) < LIVES_MAX)?;
    let state = match reader.u8()? {
        0 => State::Live,
        1 => State::Void,
        2 => State::Sweeping,
        _ => return None,
    };
    let node = NodeId::from_u128(reader.id()?);
    let shard = reader.u16()?;
    let boot = BootId::from_u128(reader.id()?);
    Some((
        number,
        Numbered {
            life: Life { node, shard, boot },
            state,
        },
    ))
}

fn read_current(reader: &mut Reader<'_>) -> Option<(BootId, Current, u64)> {
    let boot = BootId::from_u128(reader.id()?);
    let number = reader.u16()?;
    let before = if reader.flag()? {
        Some(reader.u16()?)
    } else {
        None
    };
    Some((boot, Current { number, before }, reader.u64()?))
}

const fn content(what: &'static str) -> SnapshotError {
    SnapshotError::Content { what }
}
