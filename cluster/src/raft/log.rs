//! The log and the votes on disk: nothing is acknowledged before it was flushed.
//!
//! Responsible for keys, checksums, the store's version and the thread that writes. It must never know what is in a
//! log item.

mod disk;
mod error;
mod layout;
mod memory;
mod store;
mod tail;
mod writer;

pub use disk::{Disk, DiskError, Pair, SledDisk};
pub use error::LogError;
pub use memory::MemoryDisk;
pub use store::{LogReader, LogStore};
pub use writer::FlushFigures;
