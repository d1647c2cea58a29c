//! The one unsafe module of the node: a memfd mapped for reading and writing.
//!
//! It must never know pages or leases; [`super::Region`] keeps readers and writers of one range
//! apart, and this module's contract names that duty.

#![expect(
    unsafe_code,
    reason = "bytes of a shared mapping are reachable through raw pointers only"
)]

use std::fs::File;
use std::os::fd::OwnedFd;
use std::sync::Arc;

use memmap2::{Advice, MmapOptions, MmapRaw};

use super::{TierError, check_range};

/// A whole file of fixed size in memory, and its file.
#[derive(Debug)]
pub(super) struct Mapping {
    file: File,
    map: MmapRaw,
    size_bytes: u64,
}

impl Mapping {
    /// Maps a file that must have this size and be sealed against any other.
    pub(super) fn new(file: OwnedFd, size_bytes: u64) -> std::io::Result<Self> {
        let file = File::from(file);
        let len = usize::try_from(size_bytes).map_err(std::io::Error::other)?;
        let map = MmapOptions::new().len(len).map_raw(&file)?;
        Ok(Self {
            file,
            map,
            size_bytes,
        })
    }

    pub(super) fn file(&self) -> &File {
        &self.file
    }

    pub(super) fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// Asks for huge pages, or asks for none.
    pub(super) fn advise_huge(&self, huge: bool) -> std::io::Result<()> {
        self.map.advise(if huge {
            Advice::HugePage
        } else {
            Advice::NoHugePage
        })
    }

    /// Copies bytes in. The caller holds the only claim on the range.
    pub(super) fn write(&self, offset: u64, bytes: &[u8]) -> Result<(), TierError> {
        let len = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        let start = self.checked_start(offset, len)?;
        // SAFETY: `start` is inside the mapping, which lives as long as `self`.
        let to = unsafe { self.map.as_mut_ptr().add(start) };
        // SAFETY: `check_range` showed that the whole destination is mapped, and the file is sealed
        // against shrinking; the source is an ordinary slice, which cannot overlap memory that is
        // reached through this mapping for writing: the caller holds the only claim on the range,
        // so no slice over it exists.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), to, bytes.len()) };
        Ok(())
    }

    fn checked_start(&self, offset: u64, len: u64) -> Result<usize, TierError> {
        check_range(offset, len, self.size_bytes)?;
        usize::try_from(offset).map_err(|_| TierError::OutOfRange {
            offset,
            len,
            size: self.size_bytes,
        })
    }
}

/// Bytes of a mapping that keep the whole mapping alive; an owner for [`bytes::Bytes`].
pub(super) struct MappedSlice {
    mapping: Arc<Mapping>,
    start: usize,
    len: usize,
}

impl MappedSlice {
    /// The bytes at `offset`. The caller's claim keeps writers away while they are used.
    pub(super) fn new(mapping: Arc<Mapping>, offset: u64, len: u64) -> Result<Self, TierError> {
        let start = mapping.checked_start(offset, len)?;
        let size = mapping.size_bytes;
        let len = usize::try_from(len).map_err(|_| TierError::OutOfRange { offset, len, size })?;
        Ok(Self {
            mapping,
            start,
            len,
        })
    }
}

impl AsRef<[u8]> for MappedSlice {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: `start` is inside the mapping, which `self` keeps alive.
        let from = unsafe { self.mapping.map.as_ptr().add(self.start) };
        // SAFETY: the range was checked when `self` was made and the file is sealed against
        // shrinking, so every byte is mapped and initialised (fresh pages read as zero). Nobody
        // writes to it meanwhile: claims admit either readers or one writer, and only committed
        // pages are read.
        unsafe { std::slice::from_raw_parts(from, self.len) }
    }
}
