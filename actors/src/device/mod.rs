//! The port to memory that holds blocks: a GPU's one day, host memory today.
//!
//! A [`Device`] opens one sparse [`Memory`] per arena. Which pages hold what is decided by the pure
//! cache; who may touch them at a moment is decided by `Region`'s claims; the device only stores
//! and hands back bytes. It must never know keys, domains or policies.

mod fake;
mod host;
mod mapping;
mod region;

#[cfg(test)]
mod conformance;

use std::fmt;
use std::sync::Arc;

use bytes::Bytes;

pub use fake::FakeDevice;
pub use host::HostDevice;
pub(crate) use region::{Claim, Pages, Region};

/// A device could not give or take memory.
///
/// A reader sees a miss, a writer an object that was not admitted; operators see the metric.
#[derive(Debug, thiserror::Error)]
pub enum TierError {
    /// The operating system refused an operation.
    #[error("{action} failed: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// Why it failed.
        source: std::io::Error,
    },
    /// A range is not inside the memory: a broken invariant of the caller.
    #[error("bytes {offset}..{offset}+{len} are not inside a memory of {size} bytes")]
    OutOfRange {
        /// First byte.
        offset: u64,
        /// Bytes asked for.
        len: u64,
        /// Bytes there are.
        size: u64,
    },
}

impl TierError {
    /// A stable name for machines.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Io { .. } => "tier_io",
            Self::OutOfRange { .. } => "tier_out_of_range",
        }
    }

    /// What an operator can do about it.
    #[must_use]
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::Io { .. } => "check the limits on memory, open files and mappings of the process",
            Self::OutOfRange { .. } => "this is a defect of the node: report it with the log",
        }
    }
}

/// A maker of memories, shared by all lives of the shard that uses it.
pub trait Device: Send + Sync + fmt::Debug {
    /// The tier that its memory is, as metrics and answers name it.
    fn tier(&self) -> &'static str;

    /// Opens a memory of `size_bytes` zero bytes that takes up no room until it is written.
    ///
    /// # Errors
    /// When the machine refuses; the caller answers as if there were no room.
    fn open(&self, label: &str, size_bytes: u64) -> Result<Arc<dyn Memory>, TierError>;
}

/// One arena's bytes. They live until the last [`Arc`] or [`Bytes`] over them is gone, whatever
/// happens to the shard that asked for them.
///
/// Nothing here is locked: a caller must not write or discard what another one reads or writes,
/// which `Region` asserts.
pub trait Memory: Send + Sync + fmt::Debug {
    /// Its size, most of which may take up no room.
    ///
    /// # Units
    /// Bytes.
    fn size_bytes(&self) -> u64;

    /// The bytes at `offset`, without copying where the device can. Bytes that were never written
    /// read as zero, and may take up room from then on: read only what was written.
    ///
    /// # Errors
    /// Outside the memory.
    fn read(self: Arc<Self>, offset: u64, len: u64) -> Result<Bytes, TierError>;

    /// Copies `bytes` to `offset`.
    ///
    /// # Errors
    /// Outside the memory, or when the device refuses.
    fn write(&self, offset: u64, bytes: &[u8]) -> Result<(), TierError>;

    /// Gives the room of these bytes back; they read as zero from now on.
    ///
    /// # Errors
    /// Outside the memory, or when the device refuses.
    fn discard(&self, offset: u64, len: u64) -> Result<(), TierError>;

    /// The room it really takes up.
    ///
    /// # Errors
    /// When the device cannot say.
    fn resident_bytes(&self) -> Result<u64, TierError>;
}

/// Checks a range against a size.
fn check_range(offset: u64, len: u64, size: u64) -> Result<(), TierError> {
    match offset.checked_add(len) {
        Some(end) if end <= size => Ok(()),
        _ => Err(TierError::OutOfRange { offset, len, size }),
    }
}
