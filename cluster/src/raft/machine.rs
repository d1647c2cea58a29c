//! Between consensus and the machine that it feeds: applies what is committed, freezes it into snapshots, and brings it
//! back from the last one.
//!
//! The state lives in memory only: a start loads the snapshot and replays the log after it. This module must never know
//! what a command means.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use bytes::Bytes;
use openraft::storage::{RaftStateMachine, Snapshot};
use openraft::{EntryPayload, OptionalSend, RaftSnapshotBuilder, StorageIOError};
use parking_lot::{Mutex, RwLock};
use tokio::task::spawn_blocking;

use super::snapshot::SnapshotFile;
use super::types::{
    Entry, LogId, Outcome, RaftTypes, SnapshotMeta, StorageError, StoredMembership,
};

/// The chunks of a machine's state as it was at one instant, each at most [`super::snapshot::CHUNK_BYTES_MAX`].
pub type Frozen = Box<dyn Iterator<Item = Bytes> + Send>;

/// What consensus feeds. Equal inputs must give equal states on every node.
pub trait Machine: Send + Sync + 'static {
    /// Applies a committed batch, and says what came of it. Bad commands are outcomes, not errors.
    ///
    /// # Errors
    /// When the batch cannot be understood, as one that a newer build wrote: consensus stops, since a member that
    /// skips a batch differs from the others.
    fn apply(&mut self, index: u64, batch: &Bytes) -> io::Result<Bytes>;

    /// Everything up to this log item is applied now, by batches or by a snapshot.
    fn applied(&mut self, index: u64) {
        let _ = index;
    }

    /// The state as of now, to be read while later batches are applied; must return at once.
    ///
    /// # Errors
    /// When the state cannot be frozen; consensus stops.
    fn freeze(&self) -> io::Result<Frozen>;

    /// Replaces the state by that of a snapshot.
    ///
    /// # Errors
    /// When a chunk cannot be read or understood; the state is then unusable and consensus stops.
    fn install(&mut self, chunks: &mut dyn Iterator<Item = io::Result<Bytes>>) -> io::Result<()>;
}

struct Applied<M> {
    machine: M,
    last: Option<LogId>,
    membership: StoredMembership,
}

/// A machine, what it applied, and where its snapshots are.
pub struct Feeder<M> {
    applied: Arc<RwLock<Applied<M>>>,
    /// None when snapshots are made only so that the log may be cut, and nobody will ever load one.
    folder: Option<PathBuf>,
    names: Arc<AtomicU64>,
    publishing: Arc<Mutex<()>>,
}

/// Writes a frozen state to a file.
pub struct SnapshotWriter {
    /// Behind a lock only because the library shares builders between threads.
    frozen: Mutex<Option<io::Result<Frozen>>>,
    meta: SnapshotMeta,
    aside: PathBuf,
    folder: Option<PathBuf>,
    publishing: Arc<Mutex<()>>,
}

impl<M: Machine> Feeder<M> {
    /// Loads the folder's snapshot, when there is one, into a fresh machine. Blocks.
    ///
    /// # Errors
    /// When the folder cannot be used or the snapshot is damaged: then wipe the store and rejoin as a new learner.
    pub fn open(folder: &Path, machine: M) -> io::Result<Self> {
        fs::create_dir_all(folder)?;
        for file in fs::read_dir(folder)? {
            let path = file?.path();
            // What a crash left half written or half received.
            if path
                .extension()
                .is_some_and(|extension| extension == "aside")
            {
                fs::remove_file(path)?;
            }
        }
        let mut applied = Applied::before_all(machine);
        match SnapshotFile::current(folder).read() {
            Ok((meta, mut chunks)) => {
                applied.machine.install(&mut chunks)?;
                applied.reached(meta);
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
        Ok(Self::with(applied, Some(folder.to_owned())))
    }

    /// A fresh machine whose snapshots are never written: for a member that keeps nothing and has no peers.
    #[must_use]
    pub fn forgetful(machine: M) -> Self {
        Self::with(Applied::before_all(machine), None)
    }

    fn with(applied: Applied<M>, folder: Option<PathBuf>) -> Self {
        Self {
            applied: Arc::new(RwLock::new(applied)),
            folder,
            names: Arc::new(AtomicU64::new(0)),
            publishing: Arc::default(),
        }
    }

    fn aside(&self) -> (u64, PathBuf) {
        let number = self.names.fetch_add(1, Ordering::Relaxed);
        let folder = self.folder.clone().unwrap_or_default();
        (number, folder.join(format!("{number}.aside")))
    }
}

impl<M: Machine> Applied<M> {
    fn before_all(machine: M) -> Self {
        Self {
            machine,
            last: None,
            membership: StoredMembership::default(),
        }
    }

    fn reached(&mut self, meta: SnapshotMeta) {
        self.last = meta.last_log_id;
        self.membership = meta.last_membership;
        self.machine.applied(self.last.map_or(0, |last| last.index));
    }

    #[expect(
        clippy::result_large_err,
        reason = "the library's error; boxing it would only move it"
    )]
    fn apply(&mut self, entry: Entry) -> Result<Outcome, StorageError> {
        let outcome = match entry.payload {
            EntryPayload::Blank => Outcome::default(),
            EntryPayload::Normal(batch) => {
                let applied = self.machine.apply(entry.log_id.index, batch.bytes());
                Outcome(applied.map_err(|error| StorageIOError::apply(entry.log_id, &error))?)
            }
            EntryPayload::Membership(members) => {
                self.membership = StoredMembership::new(Some(entry.log_id), members);
                Outcome::default()
            }
        };
        self.last = Some(entry.log_id);
        Ok(outcome)
    }
}

fn on_snapshot(error: &io::Error) -> StorageError {
    StorageIOError::write_snapshot(None, error).into()
}

async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> Result<T, StorageError> {
    let done = spawn_blocking(work).await.map_err(io::Error::other);
    done.and_then(|result| result)
        .map_err(|error| on_snapshot(&error))
}

impl RaftSnapshotBuilder<RaftTypes> for SnapshotWriter {
    async fn build_snapshot(&mut self) -> Result<Snapshot<RaftTypes>, StorageError> {
        let frozen = self.frozen.lock().take();
        let frozen =
            frozen.ok_or_else(|| on_snapshot(&io::Error::other("it was built already")))?;
        let frozen = frozen.map_err(|error| on_snapshot(&error))?;
        let (meta, aside) = (self.meta.clone(), SnapshotFile::at(self.aside.clone()));
        let Some(folder) = self.folder.clone() else {
            return Ok(Snapshot {
                meta,
                snapshot: Box::new(aside),
            });
        };
        let publishing = Arc::clone(&self.publishing);
        blocking(move || {
            aside.write(&meta, frozen)?;
            let _one = publishing.lock();
            // The leader may have sent a later one meanwhile, and the log below that may be gone already.
            if let Some(later) = current(&folder)?
                && later.meta.last_log_id > meta.last_log_id
            {
                fs::remove_file(aside.path())?;
                return Ok(later);
            }
            let file = aside.publish(&folder)?;
            Ok(Snapshot {
                meta,
                snapshot: Box::new(file),
            })
        })
        .await
    }
}

/// The snapshot that a start would load.
fn current(folder: &Path) -> io::Result<Option<Snapshot<RaftTypes>>> {
    let file = SnapshotFile::current(folder);
    match file.read() {
        Ok((meta, _)) => Ok(Some(Snapshot {
            meta,
            snapshot: Box::new(file),
        })),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

impl<M: Machine> RaftStateMachine<RaftTypes> for Feeder<M> {
    type SnapshotBuilder = SnapshotWriter;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), StorageError> {
        let applied = self.applied.read();
        Ok((applied.last, applied.membership.clone()))
    }

    async fn apply<I>(&mut self, entries: I) -> Result<Vec<Outcome>, StorageError>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut applied = self.applied.write();
        let mut outcomes = Vec::new();
        for entry in entries {
            outcomes.push(applied.apply(entry)?);
        }
        let last = applied.last.map_or(0, |last| last.index);
        applied.machine.applied(last);
        Ok(outcomes)
    }

    async fn get_snapshot_builder(&mut self) -> SnapshotWriter {
        let (number, aside) = self.aside();
        let applied = self.applied.read();
        let last = applied
            .last
            .map_or_else(String::new, |last| last.to_string());
        SnapshotWriter {
            frozen: Mutex::new(Some(applied.machine.freeze())),
            meta: SnapshotMeta {
                last_log_id: applied.last,
                last_membership: applied.membership.clone(),
                snapshot_id: format!("{last}-{number}"),
            },
            aside,
            folder: self.folder.clone(),
            publishing: Arc::clone(&self.publishing),
        }
    }

    async fn begin_receiving_snapshot(&mut self) -> Result<Box<SnapshotFile>, StorageError> {
        Ok(Box::new(SnapshotFile::at(self.aside().1)))
    }

    async fn install_snapshot(
        &mut self,
        meta: &SnapshotMeta,
        snapshot: Box<SnapshotFile>,
    ) -> Result<(), StorageError> {
        let meta = meta.clone();
        let folder = self.folder.clone().ok_or_else(|| {
            on_snapshot(&io::Error::other(
                "a member that keeps nothing was sent a snapshot",
            ))
        })?;
        let (applied, publishing) = (Arc::clone(&self.applied), Arc::clone(&self.publishing));
        blocking(move || {
            let (_, mut chunks) = snapshot.read()?;
            // Received bytes may still be in the system's cache alone.
            fs::File::open(snapshot.path())?.sync_all()?;
            let _one = publishing.lock();
            let mut applied = applied.write();
            applied.machine.install(&mut chunks)?;
            applied.reached(meta);
            if *snapshot != SnapshotFile::current(&folder) {
                snapshot.publish(&folder)?;
            }
            Ok(())
        })
        .await
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot<RaftTypes>>, StorageError> {
        let Some(folder) = self.folder.clone() else {
            return Ok(None);
        };
        blocking(move || current(&folder)).await
    }
}
