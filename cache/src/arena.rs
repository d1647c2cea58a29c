//! Responsible for which pages of one sparse region are used, free, or free but still resident. It must never know the
//! region's address, nor what is written into a page.
//!
//! A page is *used* (lent to a block or a reservation), *resident-free* (nobody's, but the machine still holds memory for
//! it) or *absent* (a hole). Allocation takes resident-free pages first, since the others cost memory that the budget may
//! not have, and one range rather than several, since readers can map one without copying.

use std::sync::Arc;

use crate::arena::ranges::Ranges;

mod ranges;

/// Consecutive pages of an arena.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PageRange {
    /// First page.
    pub first: u32,
    /// Number of pages.
    pub pages: u32,
}

impl PageRange {
    /// One past the last page.
    pub const fn end(&self) -> u32 {
        self.first.saturating_add(self.pages)
    }
}

/// Where a block lies: almost always one range of pages, sometimes several.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Extents {
    /// In one piece.
    One(PageRange),
    /// In several, in payload order.
    Many(Arc<[PageRange]>),
}

impl Extents {
    /// The ranges, in payload order.
    pub fn as_slice(&self) -> &[PageRange] {
        match self {
            Self::One(range) => std::slice::from_ref(range),
            Self::Many(ranges) => ranges,
        }
    }

    /// Pages of all ranges together.
    pub fn pages(&self) -> u32 {
        self.as_slice()
            .iter()
            .fold(0, |sum, range| sum.saturating_add(range.pages))
    }

    /// First page of the payload. No two blocks that hold pages share it, so it names the holding.
    pub fn first(&self) -> u32 {
        self.as_slice().first().map_or(0, |range| range.first)
    }
}

/// Pages of one region.
#[derive(Debug)]
pub struct Arena {
    pages: u32,
    /// Everything unused, resident or not.
    free: Ranges,
    /// The resident part of `free`.
    resident_free: Ranges,
}

impl Arena {
    /// A region of `pages` pages, all absent.
    pub fn new(pages: u32) -> Self {
        let mut free = Ranges::default();
        free.insert(PageRange { first: 0, pages });
        Self {
            pages,
            free,
            resident_free: Ranges::default(),
        }
    }

    /// Pages of the region.
    pub const fn pages(&self) -> u32 {
        self.pages
    }

    /// Pages lent out.
    pub const fn used_pages(&self) -> u32 {
        self.pages - self.free.pages()
    }

    /// Pages not lent out.
    pub const fn free_pages(&self) -> u32 {
        self.free.pages()
    }

    /// Pages that hold memory and nothing else.
    pub const fn resident_free_pages(&self) -> u32 {
        self.resident_free.pages()
    }

    /// Takes `pages` pages, or nothing when fewer are free or none are asked for.
    pub fn allocate(&mut self, pages: u32) -> Option<Extents> {
        if pages == 0 || self.free.pages() < pages {
            return None;
        }
        let fit = self
            .resident_free
            .best_fit(pages)
            .or_else(|| self.free.best_fit(pages));
        if let Some(found) = fit {
            return Some(Extents::One(self.take(found.first, pages)));
        }
        // Fragmented: the longest ranges first, so that the block is in as few pieces as can be.
        let mut rest = pages;
        let mut ranges = Vec::new();
        while let Some(found) = self.free.longest().filter(|_| rest > 0) {
            let taken = self.take(found.first, found.pages.min(rest));
            rest -= taken.pages;
            ranges.push(taken);
        }
        Some(Extents::Many(ranges.into()))
    }

    /// Gives pages back that [`Arena::allocate`] handed out; they stay resident until discarded.
    pub fn free(&mut self, extents: &Extents) {
        for range in extents.as_slice() {
            self.free.insert(*range);
            self.resident_free.insert(*range);
        }
    }

    /// Picks up to `pages` resident-free pages to become absent, appends their ranges, answers how many they are.
    pub fn discard(&mut self, pages: u32, discarded: &mut Vec<PageRange>) -> u32 {
        let mut rest = pages;
        while let Some(found) = self.resident_free.longest().filter(|_| rest > 0) {
            // The upper end, so that low pages stay resident and are used again.
            let taken = found.pages.min(rest);
            let range = PageRange {
                first: found.end() - taken,
                pages: taken,
            };
            self.resident_free.remove(range);
            discarded.push(range);
            rest -= taken;
        }
        pages - rest
    }

    fn take(&mut self, first: u32, pages: u32) -> PageRange {
        let range = PageRange { first, pages };
        let free = self.free.remove(range);
        debug_assert_eq!(free, pages, "only free pages are taken");
        self.resident_free.remove(range);
        range
    }
}

#[cfg(test)]
mod tests;
