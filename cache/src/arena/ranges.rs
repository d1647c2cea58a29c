//! Responsible for a set of pages kept as ranges, found by place and by length. It must never know what the set means.

use std::collections::{BTreeMap, BTreeSet};

use crate::arena::PageRange;

/// A set of pages as coalesced ranges.
#[derive(Debug, Default)]
pub(crate) struct Ranges {
    /// First page → number of pages.
    by_first: BTreeMap<u32, u32>,
    /// (number of pages, first page): the best fit is the first from (n, 0).
    by_length: BTreeSet<(u32, u32)>,
    pages: u32,
}

impl Ranges {
    /// Pages in the set.
    pub(crate) const fn pages(&self) -> u32 {
        self.pages
    }

    /// The shortest range of at least `pages`, the lowest of equals.
    pub(crate) fn best_fit(&self, pages: u32) -> Option<PageRange> {
        let (pages, first) = *self.by_length.range((pages, 0)..).next()?;
        Some(PageRange { first, pages })
    }

    /// The longest range.
    pub(crate) fn longest(&self) -> Option<PageRange> {
        let (pages, first) = *self.by_length.last()?;
        Some(PageRange { first, pages })
    }

    /// Adds pages, none of which is in the set.
    pub(crate) fn insert(&mut self, range: PageRange) {
        if range.pages == 0 {
            return;
        }
        self.pages += range.pages;
        let mut whole = range;
        let before = self.by_first.range(..range.first).next_back();
        if let Some((first, pages)) = before.map(|(first, pages)| (*first, *pages))
            && first + pages == range.first
        {
            self.drop_range(PageRange { first, pages });
            whole = PageRange {
                first,
                pages: pages + whole.pages,
            };
        }
        if let Some(pages) = self.by_first.get(&range.end()).copied() {
            self.drop_range(PageRange {
                first: range.end(),
                pages,
            });
            whole.pages += pages;
        }
        self.put_range(whole);
    }

    /// Takes out whichever of these pages are in the set; answers how many were.
    pub(crate) fn remove(&mut self, range: PageRange) -> u32 {
        let mut removed = 0;
        while let Some(found) = self.last_overlapping(range) {
            self.drop_range(found);
            let first = found.first.max(range.first);
            let end = found.end().min(range.end());
            self.put_range(PageRange {
                first: found.first,
                pages: first - found.first,
            });
            self.put_range(PageRange {
                first: end,
                pages: found.end() - end,
            });
            removed += end - first;
        }
        self.pages -= removed;
        removed
    }

    fn last_overlapping(&self, range: PageRange) -> Option<PageRange> {
        let (first, pages) = self.by_first.range(..range.end()).next_back()?;
        let found = PageRange {
            first: *first,
            pages: *pages,
        };
        (range.first < found.end()).then_some(found)
    }

    fn put_range(&mut self, range: PageRange) {
        if range.pages > 0 {
            self.by_first.insert(range.first, range.pages);
            self.by_length.insert((range.pages, range.first));
        }
    }

    fn drop_range(&mut self, range: PageRange) {
        self.by_first.remove(&range.first);
        self.by_length.remove(&(range.pages, range.first));
    }
}
