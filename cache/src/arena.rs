//! Responsible for which pages of one sparse region are used, free, or free but still resident. It must never know the
//! region's address, nor what is written into a page.

use std::sync::Arc;

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
}
