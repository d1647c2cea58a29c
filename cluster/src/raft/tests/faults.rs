//! Disks that refuse, forget and lie: errors are typed, and nothing is acknowledged that a power cut would take.

use std::collections::BTreeMap;
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use openraft::storage::{RaftLogReader, RaftLogStorage, RaftLogStorageExt};
use parking_lot::Mutex;
use ultrakv_actors::{Clock, Entropy};

use super::kills::entry;
use crate::raft::log::{Disk, DiskError, LogError, LogStore, Pair};
use crate::raft::types::Vote;

type Items = BTreeMap<Vec<u8>, Vec<u8>>;

/// A disk with a cache that a power cut loses, and a switch that makes it refuse flushes.
#[derive(Default)]
struct Forgetful {
    cached: Mutex<Items>,
    durable: Mutex<Items>,
    refuses: AtomicBool,
}

impl Forgetful {
    /// The disk after a power cut: another one, so that nothing still writes to it.
    fn after_cut(&self) -> Arc<Self> {
        let durable = self.durable.lock().clone();
        Arc::new(Self {
            cached: Mutex::new(durable.clone()),
            durable: Mutex::new(durable),
            refuses: AtomicBool::new(false),
        })
    }

    fn damage(&self, key: &[u8]) {
        let mut items = self.cached.lock();
        *items.get_mut(key).unwrap().last_mut().unwrap() ^= 1;
    }
}

impl Disk for Forgetful {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, DiskError> {
        Ok(self.cached.lock().get(key).cloned())
    }

    fn range(&self, from: &[u8], to: &[u8], items_max: usize) -> Result<Vec<Pair>, DiskError> {
        let items = self.cached.lock();
        let range = items.range(from.to_vec()..to.to_vec()).take(items_max);
        Ok(range
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect())
    }

    fn last(&self, from: &[u8], to: &[u8]) -> Result<Option<Pair>, DiskError> {
        Ok(self.range(from, to, usize::MAX)?.pop())
    }

    fn write(&self, put: Vec<Pair>, remove: Vec<Vec<u8>>) -> Result<(), DiskError> {
        let mut items = self.cached.lock();
        items.extend(put);
        items.retain(|key, _| !remove.contains(key));
        Ok(())
    }

    fn flush(&self) -> Result<(), DiskError> {
        if self.refuses.load(Ordering::SeqCst) {
            return Err(DiskError {
                doing: "flush",
                source: io::Error::other("no"),
            });
        }
        *self.durable.lock() = self.cached.lock().clone();
        Ok(())
    }
}

fn open(disk: &Arc<Forgetful>) -> Result<LogStore, LogError> {
    let disk: Arc<dyn Disk> = Arc::<Forgetful>::clone(disk);
    LogStore::open_on(disk, &Entropy::seeded(5), Clock::machine())
}

async fn last(store: &mut LogStore) -> Option<u64> {
    store
        .get_log_state()
        .await
        .unwrap()
        .last_log_id
        .map(|last| last.index)
}

#[tokio::test]
async fn what_was_acknowledged_survives_a_power_cut() {
    let disk = Arc::new(Forgetful::default());
    let mut store = open(&disk).unwrap();
    let vote = Vote::new(4, 1.into());
    store.save_vote(&vote).await.unwrap();
    store.blocking_append((0..9).map(entry)).await.unwrap();
    store.purge(entry(2).log_id).await.unwrap();
    store.truncate(entry(7).log_id).await.unwrap();

    let mut again = open(&disk.after_cut()).unwrap();
    assert_eq!(again.disk_id(), store.disk_id());
    assert_eq!(again.read_vote().await.unwrap(), Some(vote));
    assert_eq!(last(&mut again).await, Some(6));
    let purged = again.get_log_state().await.unwrap().last_purged_log_id;
    assert_eq!(purged, Some(entry(2).log_id));
}

#[tokio::test]
async fn a_disk_that_refuses_once_is_never_written_again() {
    let disk = Arc::new(Forgetful::default());
    let mut store = open(&disk).unwrap();
    store.blocking_append([entry(0)]).await.unwrap();
    disk.refuses.store(true, Ordering::SeqCst);
    assert!(store.blocking_append([entry(1)]).await.is_err());
    assert!(store.save_vote(&Vote::new(9, 1.into())).await.is_err());
    disk.refuses.store(false, Ordering::SeqCst);
    assert!(store.save_vote(&Vote::new(9, 1.into())).await.is_err());

    let mut again = open(&disk.after_cut()).unwrap();
    assert_eq!(last(&mut again).await, Some(0));
    assert_eq!(again.read_vote().await.unwrap(), None);
}

#[tokio::test]
async fn damage_means_a_new_member() {
    let log = |index: u64| [b"l/".as_slice(), &index.to_be_bytes()].concat();
    for key in [
        b"m/vote".to_vec(),
        b"m/disk".to_vec(),
        b"m/version".to_vec(),
        log(3),
    ] {
        let disk = Arc::new(Forgetful::default());
        let mut store = open(&disk).unwrap();
        store.save_vote(&Vote::new(4, 1.into())).await.unwrap();
        store.blocking_append((0..9).map(entry)).await.unwrap();
        let damaged = disk.after_cut();
        damaged.damage(&key);
        let error = open(&damaged).err().unwrap();
        assert_eq!(error.code(), "raft_log_corrupt", "{key:?}: {error}");
        assert!(error.must_rejoin() && error.hint().contains("new learner"));
        let lost = disk.after_cut();
        lost.cached.lock().remove(&key);
        assert!(
            open(&lost).is_err_and(|error| error.must_rejoin()),
            "{key:?} is gone"
        );
    }
}

/// A disk on which removing waits until it is let.
struct Slow {
    items: Forgetful,
    removed: Mutex<Option<std::sync::mpsc::Receiver<()>>>,
}

impl Disk for Slow {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, DiskError> {
        self.items.get(key)
    }

    fn range(&self, from: &[u8], to: &[u8], items_max: usize) -> Result<Vec<Pair>, DiskError> {
        self.items.range(from, to, items_max)
    }

    fn last(&self, from: &[u8], to: &[u8]) -> Result<Option<Pair>, DiskError> {
        self.items.last(from, to)
    }

    fn write(&self, put: Vec<Pair>, remove: Vec<Vec<u8>>) -> Result<(), DiskError> {
        if !remove.is_empty()
            && let Some(let_go) = self.removed.lock().take()
        {
            // The other end goes when the test has seen enough.
            let _ = let_go.recv();
        }
        self.items.write(put, remove)
    }

    fn flush(&self) -> Result<(), DiskError> {
        self.items.flush()
    }
}

fn start(disk: Arc<dyn Disk>) -> LogStore {
    LogStore::open_on(disk, &Entropy::seeded(1), Clock::machine()).unwrap()
}

#[tokio::test]
async fn nobody_waits_for_what_a_purge_leaves_and_nobody_reads_it() {
    let (go, held) = std::sync::mpsc::channel::<()>();
    let disk = Arc::new(Slow {
        items: Forgetful::default(),
        removed: Mutex::new(Some(held)),
    });
    let mut store = start(Arc::<Slow>::clone(&disk));
    store.blocking_append((0..100).map(entry)).await.unwrap();
    store.purge(entry(89).log_id).await.unwrap();
    let mut reader = store.get_log_reader().await;
    let read = reader.try_get_log_entries(0..95).await.unwrap();
    let first = read.first().map(|entry| entry.log_id.index);
    assert_eq!((first, read.len()), (Some(90), 5));
    let read = reader.limited_get_log_entries(50, 95).await.unwrap();
    assert_eq!(read.first().map(|entry| entry.log_id.index), Some(90));
    assert!(disk.items.durable.lock().len() > 100, "they are all there");
    // A power cut now: the next start does not take the leftovers for items.
    let mut again = start(disk.items.after_cut());
    let state = again.get_log_state().await.unwrap();
    assert_eq!(state.last_purged_log_id, Some(entry(89).log_id));
    assert_eq!(state.last_log_id, Some(entry(99).log_id));
    assert_eq!(again.try_get_log_entries(0..100).await.unwrap().len(), 10);
    // What is truncated down to the purge point ends there, whatever lies below.
    drop(go);
    store.truncate(entry(90).log_id).await.unwrap();
    let state = store.get_log_state().await.unwrap();
    assert_eq!(state.last_log_id, Some(entry(89).log_id));
    store.blocking_append((90..92).map(entry)).await.unwrap();
    assert_eq!(store.try_get_log_entries(0..99).await.unwrap().len(), 2);
    drop((reader, store));
    let logs = disk.items.range(b"l", b"m", usize::MAX).unwrap();
    assert!(logs.len() < 92, "{} items", logs.len());
}
