//! A device of plain heap memory that can be told to fail, for tests of everything above it.
//!
//! Slow and simple: a map of small pages behind a lock. It must never be used by a node that serves.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use bytes::Bytes;
use parking_lot::Mutex;

use super::{Device, Memory, TierError, check_range};

/// The fake's own page: what a write makes resident.
const FAKE_PAGE_BYTES: u64 = 4096;

/// Makes memories on the heap, until it is told to fail.
#[derive(Clone, Debug, Default)]
pub struct FakeDevice {
    faults: Arc<Faults>,
}

#[derive(Debug, Default)]
struct Faults {
    open: AtomicBool,
    write: AtomicBool,
    opened: AtomicU64,
}

impl FakeDevice {
    /// Makes every later `open` fail, or work again.
    pub fn fail_open(&self, fail: bool) {
        self.faults.open.store(fail, Ordering::SeqCst);
    }

    /// Makes every later `write` fail, or work again.
    pub fn fail_write(&self, fail: bool) {
        self.faults.write.store(fail, Ordering::SeqCst);
    }

    /// How many memories were opened so far.
    #[must_use]
    pub fn opened(&self) -> u64 {
        self.faults.opened.load(Ordering::SeqCst)
    }
}

impl Device for FakeDevice {
    fn tier(&self) -> &'static str {
        "fake"
    }

    fn open(&self, _label: &str, size_bytes: u64) -> Result<Arc<dyn Memory>, TierError> {
        if self.faults.open.load(Ordering::SeqCst) {
            return Err(told_to_fail("open"));
        }
        self.faults.opened.fetch_add(1, Ordering::SeqCst);
        Ok(Arc::new(FakeMemory {
            size_bytes,
            pages: Mutex::new(BTreeMap::new()),
            faults: Arc::clone(&self.faults),
        }))
    }
}

#[derive(Debug)]
struct FakeMemory {
    size_bytes: u64,
    pages: Mutex<BTreeMap<u64, Vec<u8>>>,
    faults: Arc<Faults>,
}

impl FakeMemory {
    /// Calls `visit` with every byte's page and place in it.
    fn each(offset: u64, len: u64, mut visit: impl FnMut(u64, usize)) {
        for at in offset..offset + len {
            let within = usize::try_from(at % FAKE_PAGE_BYTES).unwrap_or(0);
            visit(at / FAKE_PAGE_BYTES, within);
        }
    }
}

impl Memory for FakeMemory {
    fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    fn read(self: Arc<Self>, offset: u64, len: u64) -> Result<Bytes, TierError> {
        check_range(offset, len, self.size_bytes)?;
        let pages = self.pages.lock();
        let mut bytes = Vec::new();
        Self::each(offset, len, |page, within| {
            let byte = pages.get(&page).and_then(|page| page.get(within));
            bytes.push(byte.copied().unwrap_or(0));
        });
        Ok(Bytes::from(bytes))
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> Result<(), TierError> {
        if self.faults.write.load(Ordering::SeqCst) {
            return Err(told_to_fail("write"));
        }
        let len = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        check_range(offset, len, self.size_bytes)?;
        let mut pages = self.pages.lock();
        let mut from = bytes.iter();
        let page_len = usize::try_from(FAKE_PAGE_BYTES).unwrap_or(0);
        Self::each(offset, len, |page, within| {
            let page = pages.entry(page).or_insert_with(|| vec![0; page_len]);
            if let (Some(to), Some(byte)) = (page.get_mut(within), from.next()) {
                *to = *byte;
            }
        });
        Ok(())
    }

    fn discard(&self, offset: u64, len: u64) -> Result<(), TierError> {
        check_range(offset, len, self.size_bytes)?;
        let mut pages = self.pages.lock();
        Self::each(offset, len, |page, within| {
            if let Some(byte) = pages.get_mut(&page).and_then(|page| page.get_mut(within)) {
                *byte = 0;
            }
        });
        pages.retain(|_, page| page.iter().any(|byte| *byte != 0));
        Ok(())
    }

    fn resident_bytes(&self) -> Result<u64, TierError> {
        let pages = u64::try_from(self.pages.lock().len()).unwrap_or(u64::MAX);
        Ok(pages * FAKE_PAGE_BYTES)
    }
}

fn told_to_fail(action: &'static str) -> TierError {
    TierError::Io {
        action,
        source: std::io::Error::other("the fake device was told to fail"),
    }
}
