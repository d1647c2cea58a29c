//! Which shard holds which block, as every node knows it: fed by batches out of the log, asked by many threads
//! meanwhile.
//!
//! Responsible for the records in memory, for their order, for the longest prefix of a chain, and for snapshots. It
//! must never know how a batch came to be agreed on, nor ask a holder. It is a hint: a stale record costs a hop and is
//! corrected.
//!
//! - One partition a slot ([`ultrakv_cache::SLOT_COUNT`] of them): the blocks of a run lie together, under one lock. A
//!   table that grows is built by the one writer while readers read the old one, so a resize stalls nobody.
//! - [`Directory::apply`] is the same function on every replica: what it does depends on the batches alone. Everything
//!   else takes `&self` and waits for one partition's lock at most.
//! - Memory is bounded by what a record costs at the worst fill of its table; past that, additions are refused and
//!   counted, and removals go on ([`Directory::new`]).

mod apply;
mod batch;
mod freeze;
mod key;
mod life;
mod partition;
mod prefix;
mod reporter;
mod snapshot;
mod table;

#[cfg(test)]
mod tests;

use std::sync::Arc;

use parking_lot::{Mutex, RwLock};
use ultrakv_cache::SLOT_COUNT;

pub use apply::{Applied, ReportOutcome};
pub use batch::{
    BATCH_BYTES_MAX, BATCH_RECORDS_MAX, BatchBuilder, BatchError, Change, RECORD_BYTES, Section,
    decode,
};
pub use freeze::{Freeze, FreezeBusy};
pub use key::{Accept, DirectoryKey, Form, Place, Tier};
pub use life::{LIVES_MAX, Life};
pub use partition::HOLDERS_MAX;
pub use prefix::{BlockHolder, Listing, Prefix, PrefixRun, RunHolder};
pub use reporter::{Dropped, Reporter};
pub use snapshot::{Rebuild, SNAPSHOT_CHUNK_BYTES_MAX, SnapshotError};

use apply::Writer;
use life::Lives;
use partition::Partition;

/// Bytes that a listed block is charged with: its row at the lowest fill of a table (32 × 5 ÷ 2), and a partition's
/// share.
const RECORD_CHARGE_BYTES: u64 = 88;
/// Bytes of an edge at the lowest fill (48 × 5 ÷ 2), and of the row that its parent keeps even when nobody holds that.
const EDGE_CHARGE_BYTES: u64 = 120 + RECORD_CHARGE_BYTES;
/// Bytes of a holder beside its row, with its part of the list that it is in: a list of one costs most.
const BESIDE_CHARGE_BYTES: u64 = 128;

/// Neighbouring locks would share a cache line, and readers of one partition wait for the writer of the other.
#[derive(Debug)]
#[repr(align(64))]
struct Cell {
    partition: RwLock<Partition>,
}

/// One replica of the directory.
#[derive(Debug)]
pub struct Directory {
    cells: Box<[Cell]>,
    /// Read by every lookup; written only when a life begins or ends, never by an ordinary report.
    lives: RwLock<Lives>,
    writer: Mutex<Writer>,
}

/// How much the directory holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct DirectoryStats {
    /// Blocks listed, those among them that only void lives hold and that no sweep has reached.
    pub records: u64,
    /// Holders named by living lives, over all blocks.
    pub holders: u64,
    /// Holders named by void lives that no sweep has reached.
    pub void_holders: u64,
    /// Runs that named the block they follow.
    pub edges: u64,
    /// Lives that live.
    pub lives: u64,
    /// Bytes charged against the limit.
    pub charged_bytes: u64,
    /// The limit.
    pub bytes_max: u64,
    /// Additions refused for want of memory since this process began.
    pub refused: u64,
}

impl Directory {
    /// An empty directory that charges at most `bytes_max` bytes.
    ///
    /// A block is charged by what it costs when its table is at its emptiest, so the memory of the tables stays below
    /// the limit; the locks, about 1.5 MB, come on top, and while a snapshot is made, at worst one more copy of the
    /// rows. `bytes_max` decides what is refused, so every replica must be given the same: it belongs into the
    /// replicated configuration, not into a node's.
    #[must_use]
    pub fn new(bytes_max: u64) -> Arc<Self> {
        Arc::new(Self::of(Lives::new(), Writer::new(bytes_max), |_| {
            Partition::new()
        }))
    }

    fn of(lives: Lives, writer: Writer, mut partition: impl FnMut(u16) -> Partition) -> Self {
        let cells = (0..SLOT_COUNT).map(|slot| Cell {
            partition: RwLock::new(partition(slot)),
        });
        Self {
            cells: cells.collect(),
            lives: RwLock::new(lives),
            writer: Mutex::new(writer),
        }
    }

    fn cell(&self, slot: u16) -> Option<&RwLock<Partition>> {
        self.cells
            .get(usize::from(slot))
            .map(|cell| &cell.partition)
    }

    /// How much it holds.
    #[must_use]
    pub fn stats(&self) -> DirectoryStats {
        let writer = self.writer.lock();
        let lives = self.lives.read();
        writer.stats(&lives)
    }

    /// Bytes of memory of the tables, counted one by one; for reports and tests, since it visits every partition.
    #[must_use]
    pub fn table_bytes(&self) -> usize {
        self.cells
            .iter()
            .map(|cell| cell.partition.read().bytes())
            .sum()
    }
}
