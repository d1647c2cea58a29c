//! Responsible for finding a vertex by its key. It must never know how vertices are linked.
#![expect(
    clippy::indexing_slicing,
    reason = "a byte indexes 256 parts; an id in a table names a vertex that exists"
)]

use hashbrown::HashTable;

use crate::forest::vertex::Vertex;
use crate::key::BlockKey;
use crate::slab::Slab;

/// Independent tables. A table that grows moves only its own part of the ids, so that no store waits for a million.
const PARTS: usize = 256;

/// Key → vertex. Keys are digests under a secret, so their own bytes are the hash, and nobody can choose them to collide.
#[derive(Debug)]
pub(crate) struct Index {
    parts: Box<[HashTable<u32>; PARTS]>,
}

impl Index {
    pub(crate) fn new() -> Self {
        Self {
            parts: Box::new(std::array::from_fn(|_| HashTable::new())),
        }
    }

    #[inline]
    pub(crate) fn find(&self, vertices: &Slab<Vertex>, key: &BlockKey) -> Option<u32> {
        let part = &self.parts[part_of(key)];
        part.find(hash_of(key), |id| vertices[*id].key == *key)
            .copied()
    }

    /// Adds a key that is not there yet.
    pub(crate) fn insert(&mut self, vertices: &Slab<Vertex>, key: &BlockKey, id: u32) {
        let part = &mut self.parts[part_of(key)];
        part.insert_unique(hash_of(key), id, |id| hash_of(&vertices[*id].key));
    }

    pub(crate) fn remove(&mut self, key: &BlockKey, id: u32) {
        let part = &mut self.parts[part_of(key)];
        if let Ok(found) = part.find_entry(hash_of(key), |other| *other == id) {
            found.remove();
        }
    }
}

/// Parts and buckets use different bytes: else all keys of a part would share the bits that spread them.
#[inline]
fn part_of(key: &BlockKey) -> usize {
    usize::from(key.as_bytes()[8])
}

#[inline]
fn hash_of(key: &BlockKey) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = *key.as_bytes();
    u64::from_le_bytes([a, b, c, d, e, f, g, h])
}
