//! One arena's memory with a count of who uses each page at the moment.
//!
//! The pure cache decides what lies where and promises that a leased page is never reused. The
//! counts here check that promise at the moment it matters, keep bytes valid for readers that
//! outlive a shard, and let a dead shard's memory shrink to what is still being read. This module
//! must never know keys or leases' times.
//!
//! ```text
//!   shard lives      claims: 0 free, n readers, or one writer; pages are given back by the cache
//!   shard is dead    `retire`: unclaimed pages are given back at once, claimed ones at their drop
//! ```

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};

use bytes::{Bytes, BytesMut};

use super::{Memory, TierError};

/// The claim of a writer, which excludes everybody.
const WRITER: u32 = u32::MAX;

/// Page ranges of one object, in the order of its bytes.
pub(crate) type Pages = Box<[Range<u32>]>;

/// An arena's memory and its claims.
#[derive(Debug)]
pub(crate) struct Region {
    memory: Arc<dyn Memory>,
    page_bytes: u32,
    /// One count a page: four bytes beside, by default, 65 536.
    claims: Box<[AtomicU32]>,
    claimed_pages: AtomicU64,
    retired: AtomicBool,
}

impl Region {
    pub(crate) fn new(memory: Arc<dyn Memory>, page_bytes: u32) -> Self {
        let pages = memory.size_bytes() / u64::from(page_bytes);
        let pages = usize::try_from(pages).unwrap_or(usize::MAX);
        let claims = std::iter::repeat_with(|| AtomicU32::new(0))
            .take(pages)
            .collect();
        Self {
            memory,
            page_bytes,
            claims,
            claimed_pages: AtomicU64::new(0),
            retired: AtomicBool::new(false),
        }
    }

    /// Bytes that somebody reads or writes at this moment.
    pub(crate) fn claimed_bytes(&self) -> u64 {
        self.claimed_pages.load(Ordering::SeqCst) * u64::from(self.page_bytes)
    }

    /// The room the memory really takes up.
    pub(crate) fn resident_bytes(&self) -> Result<u64, TierError> {
        self.memory.resident_bytes()
    }

    /// Gives pages back that the cache no longer counts.
    ///
    /// # Panics
    /// When one of them is claimed: the cache broke its promise, and going on would show a reader
    /// zeros. The supervisor restarts the shard empty.
    pub(crate) fn discard(&self, pages: Range<u32>) -> Result<(), TierError> {
        for page in pages.clone() {
            let claims = self.count(page).load(Ordering::SeqCst);
            assert!(claims == 0, "page {page} is discarded while claimed");
        }
        self.discard_unchecked(pages)
    }

    /// Ends the arena: nothing new will be claimed, and pages go as soon as nobody uses them.
    pub(crate) fn retire(&self) {
        self.retired.store(true, Ordering::SeqCst);
        let mut free: Option<Range<u32>> = None;
        for (page, claims) in (0_u32..).zip(&self.claims) {
            let unclaimed = claims.load(Ordering::SeqCst) == 0;
            match &mut free {
                Some(run) if unclaimed => run.end = page + 1,
                Some(run) => {
                    let run = std::mem::take(run);
                    free = None;
                    self.discard_logged(run);
                }
                None if unclaimed => free = Some(page..page + 1),
                None => {}
            }
        }
        if let Some(run) = free {
            self.discard_logged(run);
        }
    }

    fn discard_logged(&self, pages: Range<u32>) {
        if let Err(error) = self.discard_unchecked(pages) {
            tracing::warn!(%error, "pages of a retired arena keep their room until it is dropped");
        }
    }

    fn discard_unchecked(&self, pages: Range<u32>) -> Result<(), TierError> {
        let (offset, len) = self.byte_range(&pages);
        self.memory.discard(offset, len)
    }

    /// Offset and length of a page range, in bytes.
    fn byte_range(&self, pages: &Range<u32>) -> (u64, u64) {
        let page_bytes = u64::from(self.page_bytes);
        let count = pages.end.saturating_sub(pages.start);
        (
            u64::from(pages.start) * page_bytes,
            u64::from(count) * page_bytes,
        )
    }

    /// The count of one page.
    ///
    /// # Panics
    /// When there is no such page: the cache handed out an extent outside its arena.
    fn count(&self, page: u32) -> &AtomicU32 {
        let index = usize::try_from(page).unwrap_or(usize::MAX);
        let count = self.claims.get(index);
        count.unwrap_or_else(|| unreachable!("page {page} is not in an arena of this size"))
    }
}

/// The right to use some pages until it is dropped.
#[derive(Debug)]
pub(crate) struct Claim {
    region: Arc<Region>,
    pages: Pages,
    exclusive: bool,
}

impl Claim {
    /// Claims pages beside other readers.
    ///
    /// # Panics
    /// When somebody writes to one of them: the cache showed a block that was not committed.
    pub(crate) fn read(region: &Arc<Region>, pages: Pages) -> Self {
        for page in pages.iter().cloned().flatten() {
            let before = region.count(page).fetch_add(1, Ordering::SeqCst);
            assert!(
                before < WRITER - 1,
                "page {page} is read while it is written"
            );
            if before == 0 {
                region.claimed_pages.fetch_add(1, Ordering::SeqCst);
            }
        }
        Self {
            region: Arc::clone(region),
            pages,
            exclusive: false,
        }
    }

    /// Claims pages for writing, alone.
    ///
    /// # Panics
    /// When anybody uses one of them: the cache reused a leased page.
    pub(crate) fn write(region: &Arc<Region>, pages: Pages) -> Self {
        for page in pages.iter().cloned().flatten() {
            let claimed =
                region
                    .count(page)
                    .compare_exchange(0, WRITER, Ordering::SeqCst, Ordering::SeqCst);
            assert!(claimed.is_ok(), "page {page} is reused while claimed");
            region.claimed_pages.fetch_add(1, Ordering::SeqCst);
        }
        Self {
            region: Arc::clone(region),
            pages,
            exclusive: true,
        }
    }

    /// The first `len` bytes of the pages, in order: as they lie when they are one extent, copied
    /// together when they are several.
    pub(crate) fn bytes(&self, len: u64) -> Result<Bytes, TierError> {
        if let [only] = &*self.pages {
            let (offset, room) = self.region.byte_range(only);
            super::check_range(0, len, room)?;
            return Arc::clone(&self.region.memory).read(offset, len);
        }
        let mut together = BytesMut::new();
        self.each_piece(len, |offset, piece| {
            let bytes = Arc::clone(&self.region.memory).read(offset, piece)?;
            together.extend_from_slice(&bytes);
            Ok(())
        })?;
        Ok(together.freeze())
    }

    /// Whether [`Claim::bytes`] shows the pages themselves, so that the claim must outlive them.
    pub(crate) fn is_contiguous(&self) -> bool {
        self.pages.len() == 1
    }

    /// Fills the pages, in order.
    pub(crate) fn fill(&self, payload: &[u8]) -> Result<(), TierError> {
        debug_assert!(self.exclusive, "only a writer fills pages");
        let len = u64::try_from(payload.len()).unwrap_or(u64::MAX);
        let mut rest = payload;
        self.each_piece(len, |offset, piece| {
            let piece = usize::try_from(piece).unwrap_or(usize::MAX);
            let (now, later) = rest.split_at_checked(piece).unwrap_or((rest, &[]));
            rest = later;
            self.region.memory.write(offset, now)
        })
    }

    /// Calls `visit` with offset and length of every extent's part of the first `len` bytes.
    fn each_piece(
        &self,
        len: u64,
        mut visit: impl FnMut(u64, u64) -> Result<(), TierError>,
    ) -> Result<(), TierError> {
        let mut left = len;
        for extent in &self.pages {
            let (offset, room) = self.region.byte_range(extent);
            let piece = left.min(room);
            if piece > 0 {
                visit(offset, piece)?;
                left -= piece;
            }
        }
        super::check_range(0, len, len - left)
    }
}

impl Drop for Claim {
    fn drop(&mut self) {
        for page in self.pages.iter().cloned().flatten() {
            let count = self.region.count(page);
            let last = if self.exclusive {
                count.store(0, Ordering::SeqCst);
                true
            } else {
                count.fetch_sub(1, Ordering::SeqCst) == 1
            };
            if !last {
                continue;
            }
            self.region.claimed_pages.fetch_sub(1, Ordering::SeqCst);
            // Either `retire` sees this page's zero, or this sees `retired`; both is harmless.
            if self.region.retired.load(Ordering::SeqCst) {
                self.region.discard_logged(page..page + 1);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Device, FakeDevice, HostDevice};
    use super::*;

    const PAGE: u32 = 4096;

    fn region() -> Arc<Region> {
        let memory = HostDevice::new(PAGE)
            .open("test", u64::from(PAGE) * 64)
            .unwrap();
        Arc::new(Region::new(memory, PAGE))
    }

    fn pages(ranges: &[(u32, u32)]) -> Pages {
        ranges.iter().map(|(first, end)| *first..*end).collect()
    }

    fn put(region: &Arc<Region>, ranges: &[(u32, u32)], payload: &[u8]) {
        Claim::write(region, pages(ranges)).fill(payload).unwrap();
    }

    #[test]
    fn an_object_of_several_extents_reads_as_it_was_written() {
        let payload: Vec<u8> = (0..10_000_u32).map(|i| i.to_le_bytes()[0]).collect();
        for ranges in [
            &[(3, 6)][..],
            &[(9, 10), (1, 2), (20, 21)],
            &[(9, 10), (1, 3)],
        ] {
            for region in [region(), {
                let memory = FakeDevice::default().open("test", 64 * 4096).unwrap();
                Arc::new(Region::new(memory, PAGE))
            }] {
                put(&region, ranges, &payload);
                let claim = Claim::read(&region, pages(ranges));
                assert_eq!(claim.bytes(10_000).unwrap(), payload);
                assert_eq!(region.claimed_bytes(), 3 * u64::from(PAGE));
                assert!(claim.bytes(3 * 4096 + 1).is_err());
                drop(claim);
                assert_eq!(region.claimed_bytes(), 0);
            }
        }
    }

    #[test]
    #[should_panic(expected = "reused while claimed")]
    fn a_page_that_is_read_cannot_be_written() {
        let region = region();
        let _reader = Claim::read(&region, pages(&[(0, 2)]));
        let _writer = Claim::write(&region, pages(&[(1, 2)]));
    }

    #[test]
    #[should_panic(expected = "discarded while claimed")]
    fn a_page_that_is_read_cannot_be_discarded() {
        let region = region();
        let _reader = Claim::read(&region, pages(&[(0, 2)]));
        let _ = region.discard(1..2);
    }

    #[test]
    fn a_retired_region_keeps_what_is_read_until_it_is_dropped() {
        let region = region();
        put(&region, &[(0, 32)], &[7; 32 * 4096]);
        let reader = Claim::read(&region, pages(&[(4, 6)]));
        let bytes = reader.bytes(8192).unwrap();
        region.retire();
        assert_eq!(region.resident_bytes().unwrap(), 2 * 4096);
        assert!(bytes.iter().all(|byte| *byte == 7));
        drop((bytes, reader));
        assert_eq!(region.resident_bytes().unwrap(), 0);
    }
}
