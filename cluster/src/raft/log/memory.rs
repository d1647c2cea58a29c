//! A disk that is none: for a cluster of one without a data folder, whose log goes with its process.
//!
//! It must never be what a node with peers keeps its votes on.

use std::collections::{BTreeMap, BTreeSet};

use parking_lot::Mutex;

use super::disk::Pair;
use super::{Disk, DiskError};

/// Items in memory only; "durable" for as long as the process lives.
#[derive(Debug, Default)]
pub struct MemoryDisk(Mutex<BTreeMap<Vec<u8>, Vec<u8>>>);

impl MemoryDisk {
    /// Without an item.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

fn pair((key, value): (&Vec<u8>, &Vec<u8>)) -> Pair {
    (key.clone(), value.clone())
}

impl Disk for MemoryDisk {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, DiskError> {
        Ok(self.0.lock().get(key).cloned())
    }

    fn range(&self, from: &[u8], to: &[u8], items_max: usize) -> Result<Vec<Pair>, DiskError> {
        let items = self.0.lock();
        let range = items.range(from.to_vec()..to.to_vec());
        Ok(range.take(items_max).map(pair).collect())
    }

    fn last(&self, from: &[u8], to: &[u8]) -> Result<Option<Pair>, DiskError> {
        let items = self.0.lock();
        let last = items.range(from.to_vec()..to.to_vec()).next_back();
        Ok(last.map(pair))
    }

    fn write(&self, put: Vec<Pair>, remove: Vec<Vec<u8>>) -> Result<(), DiskError> {
        let remove: BTreeSet<_> = remove.into_iter().collect();
        let mut items = self.0.lock();
        items.extend(put);
        for key in remove {
            items.remove(&key);
        }
        Ok(())
    }

    fn flush(&self) -> Result<(), DiskError> {
        Ok(())
    }
}
