//! Responsible for records by number: a vector that grows in chunks, so that growth never copies and never holds twice
//! what is stored. It must never know what a record means.
#![expect(
    clippy::indexing_slicing,
    clippy::as_conversions,
    reason = "the dense core: an id below the capacity names a chunk that exists, and its low bits are below the chunk's length"
)]

use std::fmt;
use std::ops::{Index, IndexMut};

const CHUNK_BITS: u32 = 12;

/// Records a chunk holds: large enough that the list of chunks is negligible, small enough that one more is no pause.
pub(crate) const CHUNK_RECORDS: usize = 1 << CHUNK_BITS;

/// Fixed-size records addressed by `u32`.
pub(crate) struct Slab<T> {
    chunks: Vec<Box<[T; CHUNK_RECORDS]>>,
}

impl<T: Copy + Default> Slab<T> {
    pub(crate) const fn new() -> Self {
        Self { chunks: Vec::new() }
    }

    /// Makes `id` addressable.
    pub(crate) fn reach(&mut self, id: u32) {
        while self.chunks.len() <= (id >> CHUNK_BITS) as usize {
            let chunk = vec![T::default(); CHUNK_RECORDS].into_boxed_slice();
            // The length is the array's by the line above, so the conversion never takes the other way.
            if let Ok(chunk) = chunk.try_into() {
                self.chunks.push(chunk);
            }
        }
    }
}

impl<T> Index<u32> for Slab<T> {
    type Output = T;

    #[inline]
    fn index(&self, id: u32) -> &T {
        &self.chunks[(id >> CHUNK_BITS) as usize][id as usize % CHUNK_RECORDS]
    }
}

impl<T> IndexMut<u32> for Slab<T> {
    #[inline]
    fn index_mut(&mut self, id: u32) -> &mut T {
        &mut self.chunks[(id >> CHUNK_BITS) as usize][id as usize % CHUNK_RECORDS]
    }
}

impl<T> Default for Slab<T> {
    fn default() -> Self {
        Self { chunks: Vec::new() }
    }
}

impl<T> fmt::Debug for Slab<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Slab({} chunks of {CHUNK_RECORDS})", self.chunks.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_records_where_they_are_while_it_grows() {
        let mut slab = Slab::new();
        slab.reach(0);
        slab[0] = 7_u64;
        let before: *const u64 = &raw const slab[0];
        slab.reach(100_000);
        slab[100_000] = 9;
        assert_eq!((slab[0], slab[100_000]), (7, 9));
        assert_eq!(before, &raw const slab[0]);
        assert_eq!(slab.chunks.len(), 25);
    }
}
