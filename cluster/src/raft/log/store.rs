//! The store as consensus sees it: opening, checking, appending, voting, truncating and purging. It must never know what
//! a command means.

use std::fmt::Debug;
use std::ops::{Bound, RangeBounds};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use openraft::storage::{LogFlushed, LogState, RaftLogReader, RaftLogStorage};
use openraft::{EntryPayload, OptionalSend, StorageIOError};
use tokio::task::spawn_blocking;
use ultrakv_actors::{Clock, Entropy};

use super::disk::Pair;
use super::layout::{
    KEY_COMMITTED, KEY_DISK, KEY_PROBE, KEY_PURGED, KEY_VERSION, KEY_VOTE, LOGS_FROM, LOGS_TO,
    VERSION, log_index, log_key, read, seal, unseal,
};
use super::tail::Tail;
use super::writer::Writer;
use super::{Disk, DiskError, FlushFigures, LogError, SledDisk};
use crate::raft::types::{Entry, LogId, RaftTypes, StorageError, Vote};

/// Items that are read or removed in one step.
const STEP_ITEMS: usize = 1024;
/// What is read at once for a member that lags, about: more than fits one message is read in vain.
const READ_BYTES_MAX: usize = 2 << 20;
const READ_STEP_ITEMS: usize = 16;
/// Flushes that measure the disk at the start, and the longest that they may take.
const PROBES_MAX: u64 = 256;
const PROBE_TIME_MAX: Duration = Duration::from_millis(500);

type Steps = Vec<(Vec<Pair>, Vec<Vec<u8>>)>;

/// Logs, votes, the commit point and the purge point of one member.
pub struct LogStore {
    disk: Arc<dyn Disk>,
    tail: Arc<Tail>,
    first: Arc<AtomicU64>,
    writer: Writer,
    disk_id: u64,
    purged: Option<LogId>,
    last: Option<LogId>,
}

/// Reads logs for consensus while the store is written to.
#[derive(Clone)]
pub struct LogReader {
    disk: Arc<dyn Disk>,
    tail: Arc<Tail>,
    /// The first item that was not purged: those before it may be on the disk a while longer.
    first: Arc<AtomicU64>,
}

impl LogStore {
    /// Opens the sled store of a folder, or makes it, and checks every item. Blocks.
    ///
    /// # Errors
    /// When the folder cannot be used or an item is damaged; see [`LogError::must_rejoin`].
    pub fn open(path: &Path, entropy: &Entropy, clock: Clock) -> Result<Self, LogError> {
        let disk = SledDisk::open(path)?;
        match disk.blob_count()? {
            0 => Self::open_on(Arc::new(disk), entropy, clock),
            blobs => Err(LogError::Corrupt {
                what: format!("{blobs} items became files of their own"),
            }),
        }
    }

    /// Opens a store on any disk. Blocks.
    ///
    /// # Errors
    /// As [`LogStore::open`].
    pub fn open_on(disk: Arc<dyn Disk>, entropy: &Entropy, clock: Clock) -> Result<Self, LogError> {
        let disk_id = identify(&*disk, entropy)?;
        read::<Option<Vote>>(&*disk, KEY_VOTE)?.ok_or_else(|| LogError::Corrupt {
            what: "its vote is missing".to_owned(),
        })?;
        read::<Option<LogId>>(&*disk, KEY_COMMITTED)?;
        let purged = read(&*disk, KEY_PURGED)?;
        let last = check_logs(&*disk, purged)?;
        let writer = Writer::start(Arc::clone(&disk), clock)?;
        Ok(Self {
            disk,
            tail: Arc::default(),
            first: Arc::new(AtomicU64::new(after(purged))),
            writer,
            disk_id,
            purged,
            last,
        })
    }

    /// Drawn when the store was made: the part of [`crate::raft::types::RaftId`] that a lost disk changes.
    #[must_use]
    pub const fn disk_id(&self) -> u64 {
        self.disk_id
    }

    /// How long flushes took so far.
    #[must_use]
    pub fn flush_figures(&self) -> FlushFigures {
        self.writer.figures()
    }

    /// Measures the disk, and warns when elections would suffer from it: p99.9 of a flush must stay under half of the
    /// shortest election timeout. Blocks for up to about half a second.
    ///
    /// # Errors
    /// When the disk fails.
    pub fn probe(&self, clock: &Clock, election_timeout_min: Duration) -> Result<bool, LogError> {
        let probing = clock.stopwatch();
        for round in 0..PROBES_MAX {
            let value = seal(KEY_PROBE, &round)?;
            let answer = self
                .writer
                .submit(vec![(vec![(KEY_PROBE.to_vec(), value)], vec![])])?;
            answer.blocking_recv().map_err(|_| LogError::Closed)??;
            if probing.elapsed() > PROBE_TIME_MAX {
                break;
            }
        }
        let worst_us = self.flush_figures().under_us(999);
        let fine = u128::from(worst_us) < election_timeout_min.as_micros() / 2;
        if !fine {
            tracing::warn!(
                flush_p999_us = worst_us,
                election_timeout_min_ms = u64::try_from(election_timeout_min.as_millis()).ok(),
                "this disk flushes too slowly for the election timeouts; use a faster one or raise them"
            );
        }
        Ok(fine)
    }

    async fn durable(&self, steps: Steps) -> Result<(), LogError> {
        self.writer
            .submit(steps)?
            .await
            .map_err(|_| LogError::Closed)?
    }

    async fn put(&self, key: &[u8], value: &impl serde::Serialize) -> Result<(), LogError> {
        let sealed = seal(key, value)?;
        self.durable(vec![(vec![(key.to_vec(), sealed)], vec![])])
            .await
    }
}

/// Reads the store's version and id, or writes both into an empty store.
fn identify(disk: &dyn Disk, entropy: &Entropy) -> Result<u64, LogError> {
    match read(disk, KEY_VERSION)? {
        Some(VERSION) => read(disk, KEY_DISK)?.ok_or_else(|| LogError::Corrupt {
            what: "its id is missing".to_owned(),
        }),
        Some(found) => Err(LogError::Version {
            found,
            wanted: VERSION,
        }),
        None => {
            if !disk.range(b"l", b"n", 1)?.is_empty() {
                return Err(LogError::Corrupt {
                    what: "its version is missing".to_owned(),
                });
            }
            let drawn = entropy.draw().map_err(|error| DiskError {
                doing: "draw the store's id",
                source: std::io::Error::other(error),
            })?;
            let disk_id = u64::from_le_bytes(drawn);
            let put = vec![
                (KEY_VERSION.to_vec(), seal(KEY_VERSION, &VERSION)?),
                (KEY_DISK.to_vec(), seal(KEY_DISK, &disk_id)?),
                // Written from the beginning, so that a vote that vanished is told from one that was never cast.
                (KEY_VOTE.to_vec(), seal(KEY_VOTE, &None::<Vote>)?),
            ];
            disk.write(put, vec![])?;
            disk.flush()?;
            Ok(disk_id)
        }
    }
}

/// Checks every log item, removes what a purge left behind, and returns the last id.
fn check_logs(disk: &dyn Disk, purged: Option<LogId>) -> Result<Option<LogId>, LogError> {
    let mut last = purged;
    let mut from = LOGS_FROM.to_vec();
    let mut leftovers = Vec::new();
    loop {
        let items = disk.range(&from, LOGS_TO, STEP_ITEMS)?;
        let Some((end, _)) = items.last() else { break };
        from.clone_from(end);
        from.push(0);
        for (key, sealed) in items {
            let index = log_index(&key)?;
            if purged.is_some_and(|purged| index <= purged.index) {
                leftovers.push(key);
                continue;
            }
            let entry: Entry = unseal(&key, &sealed)?;
            let follows = last.is_none_or(|last| last.index.checked_add(1) == Some(index));
            if entry.log_id.index != index || !follows {
                return Err(LogError::Corrupt {
                    what: format!("item {index} does not follow {last:?}"),
                });
            }
            last = Some(entry.log_id);
        }
    }
    for chunk in leftovers.chunks(STEP_ITEMS) {
        disk.write(vec![], chunk.to_vec())?;
    }
    Ok(last)
}

/// The keys of a range of logs, both ends included, in order. Logs have no holes, so nothing is read to name them.
fn log_keys(from: u64, last: u64) -> Vec<Vec<u8>> {
    (from..=last).map(log_key).collect()
}

/// The item that follows a purge point.
fn after(purged: Option<LogId>) -> u64 {
    purged.map_or(0, |purged| purged.index.saturating_add(1))
}

fn on_write(error: LogError) -> StorageError {
    StorageIOError::write_logs(&error).into()
}

fn on_read(error: LogError) -> StorageError {
    StorageIOError::read_logs(&error).into()
}

/// Runs what may wait for the disk away from the runtime's threads.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, LogError> + Send + 'static,
) -> Result<T, LogError> {
    spawn_blocking(work).await.map_err(|_| LogError::Closed)?
}

impl RaftLogReader<RaftTypes> for LogReader {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry>, StorageError> {
        let from = match range.start_bound() {
            Bound::Included(from) => *from,
            Bound::Excluded(before) => before.saturating_add(1),
            Bound::Unbounded => 0,
        };
        let to = match range.end_bound() {
            Bound::Included(last) => last.saturating_add(1),
            Bound::Excluded(to) => *to,
            Bound::Unbounded => u64::MAX,
        };
        let from = from.max(self.first.load(Ordering::SeqCst));
        if from >= to {
            return Ok(Vec::new());
        }
        if let Some(found) = self.tail.read(from, to, usize::MAX) {
            return Ok(found);
        }
        let disk = Arc::clone(&self.disk);
        let read = move || {
            let items = disk.range(&log_key(from), &log_key(to), usize::MAX)?;
            items
                .iter()
                .map(|(key, sealed)| unseal(key, sealed))
                .collect()
        };
        blocking(read).await.map_err(on_read)
    }

    async fn limited_get_log_entries(
        &mut self,
        start: u64,
        end: u64,
    ) -> Result<Vec<Entry>, StorageError> {
        let start = start.max(self.first.load(Ordering::SeqCst));
        if let Some(found) = self.tail.read(start, end, READ_BYTES_MAX) {
            return Ok(found);
        }
        let disk = Arc::clone(&self.disk);
        let read = move || {
            let (mut entries, mut bytes, mut from) = (Vec::new(), 0, log_key(start));
            let to = log_key(end);
            while bytes < READ_BYTES_MAX {
                let items = disk.range(&from, &to, READ_STEP_ITEMS)?;
                let Some((last, _)) = items.last() else { break };
                from.clone_from(last);
                from.push(0);
                for (key, sealed) in &items {
                    bytes += sealed.len();
                    entries.push(unseal(key, sealed)?);
                }
            }
            Ok(entries)
        };
        blocking(read).await.map_err(on_read)
    }
}

impl RaftLogReader<RaftTypes> for LogStore {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry>, StorageError> {
        self.get_log_reader().await.try_get_log_entries(range).await
    }
}

impl RaftLogStorage<RaftTypes> for LogStore {
    type LogReader = LogReader;

    async fn get_log_state(&mut self) -> Result<LogState<RaftTypes>, StorageError> {
        Ok(LogState {
            last_purged_log_id: self.purged,
            last_log_id: self.last,
        })
    }

    async fn get_log_reader(&mut self) -> LogReader {
        LogReader {
            disk: Arc::clone(&self.disk),
            tail: Arc::clone(&self.tail),
            first: Arc::clone(&self.first),
        }
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), StorageError> {
        let saved = self.put(KEY_VOTE, &Some(vote)).await;
        saved.map_err(|error| StorageIOError::write_vote(&error).into())
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, StorageError> {
        let disk = Arc::clone(&self.disk);
        let found = blocking(move || read::<Option<Vote>>(&*disk, KEY_VOTE))
            .await
            .map(Option::flatten);
        found.map_err(|error| StorageIOError::read_vote(&error).into())
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), StorageError> {
        // Only a hint for the start, so it gets no flush of its own: a lost one is learnt again from the leader.
        let sealed = seal(KEY_COMMITTED, &committed).map_err(on_write)?;
        let put = vec![(KEY_COMMITTED.to_vec(), sealed)];
        self.writer.hint((put, vec![])).map_err(on_write)
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, StorageError> {
        // Through the writer first: a hint that is still queued would be missed.
        self.durable(vec![]).await.map_err(on_read)?;
        let disk = Arc::clone(&self.disk);
        let found = blocking(move || read(&*disk, KEY_COMMITTED))
            .await
            .map_err(on_read)?;
        Ok(found.flatten())
    }

    async fn append<I>(
        &mut self,
        entries: I,
        callback: LogFlushed<RaftTypes>,
    ) -> Result<(), StorageError>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut last = self.last;
        let (mut put, mut appended) = (Vec::new(), Vec::new());
        for entry in entries {
            let key = log_key(entry.log_id.index);
            if let EntryPayload::Normal(batch) = &entry.payload {
                batch.trace().logged();
            }
            last = Some(entry.log_id);
            let sealed = seal(&key, &entry).map_err(on_write)?;
            put.push((key, sealed));
            appended.push(entry);
        }
        self.durable(vec![(put, vec![])]).await.map_err(on_write)?;
        self.last = last;
        self.tail.push(appended);
        callback.log_io_completed(Ok(()));
        Ok(())
    }

    async fn truncate(&mut self, log_id: LogId) -> Result<(), StorageError> {
        self.tail.clear();
        let keys = log_keys(log_id.index, self.last.map_or(0, |last| last.index));
        // From the end, so that no crash leaves a hole.
        let steps = keys
            .rchunks(STEP_ITEMS)
            .map(|chunk| (vec![], chunk.to_vec()))
            .collect();
        self.durable(steps).await.map_err(on_write)?;
        let disk = Arc::clone(&self.disk);
        let last = blocking(move || {
            let last = disk.last(LOGS_FROM, LOGS_TO)?;
            last.map(|(key, sealed)| unseal::<Entry>(&key, &sealed))
                .transpose()
        });
        let last = last.await.map_err(on_read)?;
        // What a purge left may still be there.
        self.last = last.map(|entry| entry.log_id).max(self.purged);
        Ok(())
    }

    async fn purge(&mut self, log_id: LogId) -> Result<(), StorageError> {
        let from = after(self.purged);
        let last = self.last.map_or(0, |last| last.index);
        let sealed = seal(KEY_PURGED, &log_id).map_err(on_write)?;
        // The purge point first: what a crash leaves below it is removed at the next start.
        let step = (vec![(KEY_PURGED.to_vec(), sealed)], vec![]);
        self.durable(vec![step]).await.map_err(on_write)?;
        self.first
            .store(log_id.index.saturating_add(1), Ordering::SeqCst);
        self.tail.purge(log_id);
        // A snapshot may reach beyond what was ever logged here.
        let leftovers = log_keys(from, log_id.index.min(last));
        self.writer.remove_later(leftovers).map_err(on_write)?;
        self.purged = Some(log_id);
        self.last = self.last.max(Some(log_id));
        Ok(())
    }
}
