//! The few things that a store of logs asks of a disk, and sled as one that does them. It must never know what the keys
//! mean.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// Items larger than a quarter of this would become files of their own, which leak.
const SEGMENT_BYTES: usize = 16 << 20;
/// Pages that sled keeps in memory; the log is read from its end, so little is enough.
const CACHE_BYTES: u64 = 32 << 20;

/// What a disk said when it refused.
#[derive(Debug, thiserror::Error)]
#[error("{doing}: {source}")]
pub struct DiskError {
    /// What was being done.
    pub doing: &'static str,
    /// What the system said.
    pub source: io::Error,
}

impl DiskError {
    fn of(doing: &'static str) -> impl FnOnce(sled::Error) -> Self {
        move |error| Self {
            doing,
            source: io::Error::from(error),
        }
    }
}

/// A key and its value.
pub type Pair = (Vec<u8>, Vec<u8>);

/// An ordered map of bytes on a disk. Writes become durable with the next [`Disk::flush`], and become so in order.
pub trait Disk: Send + Sync + 'static {
    /// The value of a key.
    ///
    /// # Errors
    /// When the disk cannot be read.
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, DiskError>;

    /// The first items from one key (inclusive) to another (exclusive), in order, at most as many as told.
    ///
    /// # Errors
    /// When the disk cannot be read.
    fn range(&self, from: &[u8], to: &[u8], items_max: usize) -> Result<Vec<Pair>, DiskError>;

    /// The last item from one key (inclusive) to another (exclusive).
    ///
    /// # Errors
    /// When the disk cannot be read.
    fn last(&self, from: &[u8], to: &[u8]) -> Result<Option<Pair>, DiskError>;

    /// Puts items and removes keys, all or nothing.
    ///
    /// # Errors
    /// When the disk cannot be written.
    fn write(&self, put: Vec<Pair>, remove: Vec<Vec<u8>>) -> Result<(), DiskError>;

    /// Makes all earlier writes durable.
    ///
    /// # Errors
    /// When the disk cannot; what is durable is then unknown.
    fn flush(&self) -> Result<(), DiskError>;
}

/// A disk in the form of a sled database.
pub struct SledDisk {
    tree: sled::Db,
    path: PathBuf,
}

impl SledDisk {
    /// Opens the database of a folder, or makes it.
    ///
    /// # Errors
    /// When the folder cannot be used, or sled finds it damaged.
    pub fn open(path: &Path) -> Result<Self, DiskError> {
        let tree = sled::Config::new()
            .path(path)
            .segment_size(SEGMENT_BYTES)
            .cache_capacity(CACHE_BYTES)
            // Every write that matters is flushed by its writer.
            .flush_every_ms(None)
            .open()
            .map_err(DiskError::of("open the store"))?;
        Ok(Self {
            tree,
            path: path.to_owned(),
        })
    }

    /// How many items became files of their own; anything but zero is a leak.
    ///
    /// # Errors
    /// When the folder cannot be listed.
    pub fn blob_count(&self) -> Result<usize, DiskError> {
        match fs::read_dir(self.path.join("blobs")) {
            Ok(files) => Ok(files.count()),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(0),
            Err(source) => Err(DiskError {
                doing: "count the store's blobs",
                source,
            }),
        }
    }
}

impl Disk for SledDisk {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, DiskError> {
        let found = self.tree.get(key).map_err(DiskError::of("read an item"))?;
        Ok(found.map(|value| value.to_vec()))
    }

    fn range(&self, from: &[u8], to: &[u8], items_max: usize) -> Result<Vec<Pair>, DiskError> {
        let items = self.tree.range(from..to).take(items_max);
        items
            .map(|item| item.map(|(key, value)| (key.to_vec(), value.to_vec())))
            .collect::<Result<_, _>>()
            .map_err(DiskError::of("read items"))
    }

    fn last(&self, from: &[u8], to: &[u8]) -> Result<Option<Pair>, DiskError> {
        let item = self.tree.range(from..to).next_back().transpose();
        let item = item.map_err(DiskError::of("read the last item"))?;
        Ok(item.map(|(key, value)| (key.to_vec(), value.to_vec())))
    }

    fn write(&self, put: Vec<Pair>, remove: Vec<Vec<u8>>) -> Result<(), DiskError> {
        let mut batch = sled::Batch::default();
        for (key, value) in put {
            batch.insert(key, value);
        }
        for key in remove {
            batch.remove(key);
        }
        self.tree
            .apply_batch(batch)
            .map_err(DiskError::of("write items"))
    }

    fn flush(&self) -> Result<(), DiskError> {
        self.tree.flush().map_err(DiskError::of("flush"))?;
        Ok(())
    }
}
