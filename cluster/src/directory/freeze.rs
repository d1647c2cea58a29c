//! A picture of the directory at one place of the log, taken while batches go on being applied. It must never know
//! where the picture goes.
//!
//! The reader of the picture goes through the partitions one after another and copies each under its read lock. The
//! writer copies a partition that it is about to change and that was not read yet, and leaves the copy for the reader.
//! So a partition is copied once, and nobody waits longer than for the copy of one.

use std::collections::BTreeMap;
use std::sync::Arc;

use parking_lot::Mutex;

use super::Directory;
use super::key::DirectoryKey;
use super::partition::Partition;
use super::snapshot::{ChunkWriter, encode_head, encode_rows};

/// Copies that wait for the reader of the picture.
#[derive(Debug, Default)]
pub(super) struct Frozen {
    state: Mutex<Progress>,
}

#[derive(Debug, Default)]
struct Progress {
    /// The first slot that the reader has not taken.
    next: u16,
    saved: BTreeMap<u16, Partition>,
}

impl Frozen {
    /// Called by the writer before it changes a partition.
    pub(super) fn save(&self, slot: u16, partition: &Partition) {
        let mut progress = self.state.lock();
        if slot >= progress.next {
            progress
                .saved
                .entry(slot)
                .or_insert_with(|| partition.clone());
        }
    }

    fn take(&self, slot: u16, partition: &Partition) -> Partition {
        let mut progress = self.state.lock();
        progress.next = slot + 1;
        progress
            .saved
            .remove(&slot)
            .unwrap_or_else(|| partition.clone())
    }
}

/// A picture is being taken already; there is one at a time, so that at most one copy of the rows exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a snapshot of the directory is being made already")]
pub struct FreezeBusy;

impl FreezeBusy {
    /// A stable name for logs and metrics.
    #[must_use]
    pub const fn code(self) -> &'static str {
        "directory_freeze_busy"
    }

    /// What to do about it.
    #[must_use]
    pub const fn hint(self) -> &'static str {
        "wait until the other snapshot is finished or dropped"
    }
}

/// The picture: chunks to be sent or stored in order. Dropped, it ends the copying.
#[derive(Debug)]
pub struct Freeze {
    directory: Arc<Directory>,
    frozen: Arc<Frozen>,
    head: Option<Vec<u8>>,
    chunks: ChunkWriter,
    slot: u16,
    /// The partition at hand and where in it to go on.
    partition: Option<(Partition, DirectoryKey)>,
    done: bool,
}

impl Directory {
    /// Freezes the directory as the last batch left it.
    ///
    /// # Errors
    /// [`FreezeBusy`] while another freeze is not dropped.
    pub fn freeze(self: &Arc<Self>) -> Result<Freeze, FreezeBusy> {
        let mut writer = self.writer.lock();
        if writer.frozen.is_some() {
            return Err(FreezeBusy);
        }
        let frozen = Arc::new(Frozen::default());
        writer.frozen = Some(Arc::clone(&frozen));
        let head = encode_head(&writer, &self.lives.read());
        Ok(Freeze {
            directory: Arc::clone(self),
            frozen,
            head: Some(head),
            chunks: ChunkWriter::default(),
            slot: 0,
            partition: None,
            done: false,
        })
    }

    /// A digest of everything that replicas must agree on. Batches wait meanwhile (about 50 ms a million records): it
    /// is for tests and for comparing replicas now and then.
    #[must_use]
    pub fn digest(&self) -> u128 {
        let writer = self.writer.lock();
        let mut hash = xxhash_rust::xxh3::Xxh3::new();
        hash.update(&encode_head(&writer, &self.lives.read()));
        let mut bytes = Vec::new();
        for (slot, cell) in (0..).zip(self.cells.iter()) {
            let mut from = Some(DirectoryKey::default());
            while let Some(key) = from {
                bytes.clear();
                (_, from) = encode_rows(slot, &cell.partition.read(), key, &mut bytes);
                hash.update(&bytes);
            }
        }
        hash.digest128()
    }
}

impl Freeze {
    /// The next chunk, at most [`super::SNAPSHOT_CHUNK_BYTES_MAX`] long; `None` after the last.
    pub fn next_chunk(&mut self) -> Option<Vec<u8>> {
        if let Some(head) = self.head.take() {
            return Some(self.chunks.head(&head));
        }
        let (mut body, mut rows) = (Vec::new(), 0);
        while !ChunkWriter::is_full(&body)
            && let Some(added) = self.next_rows(&mut body)
        {
            rows += added;
        }
        if rows > 0 {
            return Some(self.chunks.rows(&body, rows));
        }
        if self.done {
            return None;
        }
        self.done = true;
        Some(self.chunks.end())
    }

    /// Adds rows of one partition and says how many; `None` when there are no more partitions.
    fn next_rows(&mut self, body: &mut Vec<u8>) -> Option<u32> {
        let (partition, from) = match self.partition.take() {
            Some(at_hand) => at_hand,
            None => {
                let cell = self.directory.cell(self.slot)?;
                (
                    self.frozen.take(self.slot, &cell.read()),
                    DirectoryKey::default(),
                )
            }
        };
        let (rows, next) = encode_rows(self.slot, &partition, from, body);
        match next {
            Some(next) => self.partition = Some((partition, next)),
            None => self.slot += 1,
        }
        Some(rows)
    }
}

impl Drop for Freeze {
    fn drop(&mut self) {
        self.directory.writer.lock().frozen = None;
    }
}
