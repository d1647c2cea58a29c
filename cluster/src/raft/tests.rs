//! Storage against the library's own conformance suite, and what the suite does not ask.

pub(crate) mod bench;
mod cluster;
mod faults;
mod kills;
mod members;
mod partitions;

use std::io;
use std::time::Duration;

use bytes::Bytes;
use openraft::RaftSnapshotBuilder;
use openraft::storage::RaftStateMachine;
use openraft::testing::{StoreBuilder, Suite};
use tempfile::TempDir;
use ultrakv_actors::{Clock, Entropy};

use super::log::LogStore;
use super::machine::{Feeder, Frozen, Machine};
use super::types::{RaftTypes, StorageError};

/// Remembers every batch it was given.
#[derive(Default)]
pub(super) struct Toy {
    batches: Vec<Bytes>,
}

impl Machine for Toy {
    fn apply(&mut self, index: u64, batch: &Bytes) -> io::Result<Bytes> {
        self.batches.push(batch.clone());
        Ok(index.to_le_bytes().to_vec().into())
    }

    fn freeze(&self) -> io::Result<Frozen> {
        Ok(Box::new(self.batches.clone().into_iter()))
    }

    fn install(&mut self, chunks: &mut dyn Iterator<Item = io::Result<Bytes>>) -> io::Result<()> {
        self.batches = chunks.collect::<io::Result<_>>()?;
        Ok(())
    }
}

struct Fresh;

impl StoreBuilder<RaftTypes, LogStore, Feeder<Toy>, TempDir> for Fresh {
    async fn build(&self) -> Result<(TempDir, LogStore, Feeder<Toy>), StorageError> {
        let folder = tempfile::tempdir().unwrap();
        let log = LogStore::open(
            &folder.path().join("log"),
            &Entropy::seeded(1),
            Clock::machine(),
        );
        let feeder = Feeder::open(&folder.path().join("snapshots"), Toy::default());
        Ok((folder, log.unwrap(), feeder.unwrap()))
    }
}

#[test]
fn storage_passes_the_conformance_suite() {
    Suite::test_all(Fresh).unwrap();
}

#[tokio::test]
async fn a_machine_comes_back_from_its_snapshot_and_never_from_half_of_one() {
    let folder = tempfile::tempdir().unwrap();
    let mut feeder = Feeder::open(folder.path(), Toy::default()).unwrap();
    feeder.apply((0..9).map(kills::entry)).await.unwrap();
    let mut writer = feeder.get_snapshot_builder().await;
    // What is applied after the freeze is not in it.
    feeder.apply([kills::entry(9)]).await.unwrap();
    let built = writer.build_snapshot().await.unwrap();
    assert_eq!(built.meta.last_log_id, Some(kills::entry(8).log_id));

    let mut again = Feeder::open(folder.path(), Toy::default()).unwrap();
    assert_eq!(
        again.applied_state().await.unwrap().0,
        built.meta.last_log_id
    );
    let path = built.snapshot.path();
    let whole = std::fs::read(path).unwrap();
    for cut in [0, 7, 30, whole.len() / 2, whole.len() - 1] {
        std::fs::write(path, &whole[..cut]).unwrap();
        assert!(
            Feeder::open(folder.path(), Toy::default()).is_err(),
            "cut at {cut}"
        );
    }
    std::fs::write(folder.path().join("7.aside"), b"half").unwrap();
    std::fs::write(path, &whole).unwrap();
    Feeder::open(folder.path(), Toy::default()).unwrap();
    assert!(!folder.path().join("7.aside").exists());
}

#[test]
fn a_disk_is_measured_before_elections_rely_on_it() {
    let folder = tempfile::tempdir().unwrap();
    let clock = Clock::machine();
    let log = LogStore::open(folder.path(), &Entropy::seeded(1), clock.clone()).unwrap();
    assert!(!log.probe(&clock, Duration::ZERO).unwrap());
    assert!(log.flush_figures().count() > 0);
    assert!(log.flush_figures().under_us(500) <= log.flush_figures().under_us(999));
    println!(
        "{:?}",
        [500, 990, 999].map(|part| log.flush_figures().under_us(part))
    );
}
