//! Host memory as a device: one sparse memfd a memory.
//!
//! A memfd rather than the heap, so that pages can be given back one by one, so that its room can
//! be measured, and so that a process on the same machine can be handed the domain that is its own
//! (the file takes `F_SEAL_FUTURE_WRITE` when that door opens). It must never know domains.

use std::os::fd::AsFd;
use std::sync::Arc;

use bytes::Bytes;
use rustix::fs::{FallocateFlags, MemfdFlags, SealFlags};

use super::mapping::{MappedSlice, Mapping};
use super::{Device, Memory, TierError, check_range};

/// Huge pages are asked for only when the cache's pages are whole huge pages, and declined otherwise,
/// since some kernels give them unasked: a smaller page would take up a huge one, and the room in use
/// would exceed the budget unseen.
const HUGE_PAGE_BYTES: u32 = 2 << 20;

/// The unit in which `stat` counts a file's room.
const STAT_BLOCK_BYTES: u64 = 512;

/// Makes memories of the machine's own memory.
#[derive(Clone, Copy, Debug)]
pub struct HostDevice {
    page_bytes: u32,
}

impl HostDevice {
    /// A device for arenas that are cut into pages of this size.
    #[must_use]
    pub const fn new(page_bytes: u32) -> Self {
        Self { page_bytes }
    }
}

impl Device for HostDevice {
    fn tier(&self) -> &'static str {
        "host"
    }

    fn open(&self, label: &str, size_bytes: u64) -> Result<Arc<dyn Memory>, TierError> {
        let name = format!("ultrakv-{label}");
        let file = rustix::fs::memfd_create(name, MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)
            .map_err(|error| io("memfd_create", error))?;
        rustix::fs::ftruncate(&file, size_bytes).map_err(|error| io("ftruncate", error))?;
        // A mapping of a file that shrinks is a crash; sealed, it cannot.
        rustix::fs::fcntl_add_seals(&file, SealFlags::SHRINK | SealFlags::GROW)
            .map_err(|error| io("sealing the memfd's size", error))?;
        let mapping = Mapping::new(file, size_bytes).map_err(|source| TierError::Io {
            action: "mmap",
            source,
        })?;
        // Advice: a kernel set to `never` or built without refuses, and small pages do the same.
        let huge = self.page_bytes.is_multiple_of(HUGE_PAGE_BYTES);
        if let Err(error) = mapping.advise_huge(huge) {
            tracing::debug!(%error, huge, "the kernel takes no advice on huge pages");
        }
        Ok(Arc::new(HostMemory {
            mapping: Arc::new(mapping),
        }))
    }
}

#[derive(Debug)]
struct HostMemory {
    mapping: Arc<Mapping>,
}

impl Memory for HostMemory {
    fn size_bytes(&self) -> u64 {
        self.mapping.size_bytes()
    }

    fn read(self: Arc<Self>, offset: u64, len: u64) -> Result<Bytes, TierError> {
        let slice = MappedSlice::new(Arc::clone(&self.mapping), offset, len)?;
        Ok(Bytes::from_owner(slice))
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> Result<(), TierError> {
        self.mapping.write(offset, bytes)
    }

    fn discard(&self, offset: u64, len: u64) -> Result<(), TierError> {
        check_range(offset, len, self.size_bytes())?;
        if len == 0 {
            return Ok(());
        }
        let flags = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        rustix::fs::fallocate(self.mapping.file().as_fd(), flags, offset, len)
            .map_err(|error| io("fallocate(PUNCH_HOLE)", error))
    }

    fn resident_bytes(&self) -> Result<u64, TierError> {
        let stat = rustix::fs::fstat(self.mapping.file()).map_err(|error| io("fstat", error))?;
        Ok(u64::try_from(stat.st_blocks).unwrap_or(0) * STAT_BLOCK_BYTES)
    }
}

fn io(action: &'static str, error: rustix::io::Errno) -> TierError {
    TierError::Io {
        action,
        source: error.into(),
    }
}
