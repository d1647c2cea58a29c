//! Responsible for finding a vertex by its key. It must never know how vertices are linked.
//!
//! Keys are digests under a secret: their own bytes are the hash, and nobody can choose them to collide. The table is made
//! for one thing, that a lookup or a store of a random key touches as few cache lines as can be:
//!
//! - A *group* is one cache line: ten numbers of vertices and sixteen bits of hash for each. A lookup that fails reads one
//!   line, one that succeeds another for the key itself.
//! - A table that doubles moves each entry from group `g` to `g` or `g + size`. The next bit of its hash says which, and is
//!   among the sixteen, so growing reads no keys: it is two sequential streams.
//! - There are 256 tables of unequal shares, from one to two in steps: they double one after another and not all at once.
//!   No store waits for a million entries to move, and memory stays near 11.6 bytes an entry, where equal shares
//!   would swing between 8 and 16.
#![expect(
    clippy::indexing_slicing,
    clippy::as_conversions,
    reason = "groups are indexed modulo their number, slots below ten, parts by a table that holds only parts; \
              conversions cut hash bits on purpose or widen"
)]

use std::fmt;

use crate::forest::vertex::Vertex;
use crate::key::BlockKey;
use crate::slab::Slab;

const PARTS: usize = 256;

/// Steps in which a key's share of the parts is looked up.
const SHARES: usize = 4_096;

const SLOTS: usize = 10;

/// Entries a group holds on average before its table doubles; the two slots left make it rare that a group is full.
const LOAD_MAX: usize = 8;

/// Bits of hash kept for an entry. The seventeenth bit's place marks an entry that its own group had no room for.
const TAG_BITS: u32 = 15;
const DISPLACED: u16 = 1 << TAG_BITS;

/// With fewer bits than this left a growing table reads its keys again, once in 128 doublings' worth of entries.
const TAG_BITS_MIN: u32 = 8;

/// Ten entries in one cache line.
#[derive(Clone, Copy, Default)]
#[repr(align(64))]
struct Group {
    ids: [u32; SLOTS],
    tags: [u16; SLOTS],
    /// Entries that are further on because this group had no room. At its maximum it stays there.
    passed: u16,
    len: u16,
}

const _: () = assert!(size_of::<Group>() == 64);

impl Group {
    /// A bit for each slot that may hold an entry with this tag.
    #[inline]
    fn candidates(&self, tag: u16) -> u32 {
        let mut mask = 0;
        for (slot, other) in self.tags.iter().enumerate() {
            mask |= u32::from(other & !DISPLACED == tag) << slot;
        }
        mask & ((1 << self.len) - 1)
    }

    fn push(&mut self, id: u32, tag: u16) {
        let len = usize::from(self.len);
        (self.ids[len], self.tags[len]) = (id, tag);
        self.len += 1;
    }

    fn swap_remove(&mut self, slot: usize) {
        self.len -= 1;
        let last = usize::from(self.len);
        (self.ids[slot], self.tags[slot]) = (self.ids[last], self.tags[last]);
    }

    const fn is_full(&self) -> bool {
        self.len as usize == SLOTS
    }
}

/// One table.
#[derive(Clone, Default)]
struct Part {
    /// None, or a power of two.
    groups: Vec<Group>,
    len: usize,
    /// Bits of each tag that hold hash; the upper ones are zero.
    tag_bits: u32,
}

impl Part {
    /// Home group and tag of a hash: its lowest bits, and those above.
    #[inline]
    fn home(&self, hash: u64) -> (usize, u16) {
        let size = self.groups.len();
        let tag = hash >> size.trailing_zeros() & ((1 << self.tag_bits) - 1);
        (hash as usize & (size - 1), tag as u16)
    }

    #[inline]
    fn find(&self, hash: u64, is_it: impl Fn(u32) -> bool) -> Option<(usize, usize)> {
        if self.groups.is_empty() {
            return None;
        }
        let (mut at, tag) = self.home(hash);
        for _ in 0..self.groups.len() {
            let group = &self.groups[at];
            let mut candidates = group.candidates(tag);
            while candidates != 0 {
                let slot = candidates.trailing_zeros() as usize;
                if is_it(group.ids[slot]) {
                    return Some((at, slot));
                }
                candidates &= candidates - 1;
            }
            if group.passed == 0 {
                break;
            }
            at = (at + 1) & (self.groups.len() - 1);
        }
        None
    }

    fn insert(&mut self, hash: u64, id: u32, hash_of_id: impl Fn(u32) -> u64) {
        if self.groups.len() * LOAD_MAX <= self.len {
            self.grow(hash_of_id);
        }
        self.len += 1;
        let (home, tag) = self.home(hash);
        self.place(home, tag, id);
    }

    /// Puts an entry into the first group with room from its home on.
    fn place(&mut self, home: usize, tag: u16, id: u32) {
        let mut at = home;
        while self.groups[at].is_full() {
            self.groups[at].passed = self.groups[at].passed.saturating_add(1);
            at = (at + 1) & (self.groups.len() - 1);
        }
        let displaced = if at == home { 0 } else { DISPLACED };
        self.groups[at].push(id, tag | displaced);
    }

    fn remove(&mut self, hash: u64, id: u32) {
        let Some((at, slot)) = self.find(hash, |other| other == id) else {
            return;
        };
        self.groups[at].swap_remove(slot);
        self.len -= 1;
        let (mut passed, _) = self.home(hash);
        while passed != at {
            let group = &mut self.groups[passed];
            group.passed -= u16::from(group.passed < u16::MAX);
            passed = (passed + 1) & (self.groups.len() - 1);
        }
    }

    /// Doubles. The lowest bit of a tag is the next bit of the home; displaced entries, of which the home is not known, and
    /// all entries once too few bits are left, are looked up by their keys.
    fn grow(&mut self, hash_of_id: impl Fn(u32) -> u64) {
        let size = self.groups.len();
        let is_fresh = size == 0 || self.tag_bits <= TAG_BITS_MIN;
        self.tag_bits = if is_fresh {
            TAG_BITS
        } else {
            self.tag_bits - 1
        };
        let old = std::mem::replace(&mut self.groups, vec![Group::default(); (size * 2).max(1)]);
        for (at, group) in old.iter().enumerate() {
            for (tag, id) in group
                .tags
                .iter()
                .zip(group.ids)
                .take(usize::from(group.len))
            {
                let (home, tag) = if is_fresh || tag & DISPLACED != 0 {
                    self.home(hash_of_id(id))
                } else {
                    (at + size * usize::from(tag & 1), tag >> 1)
                };
                self.place(home, tag, id);
            }
        }
    }
}

/// Key → vertex.
pub(crate) struct Index {
    parts: Vec<Part>,
    /// Part of each share.
    part_of: Box<[u8; SHARES]>,
}

impl Index {
    pub(crate) fn new() -> Self {
        // Part i has a share of 256 + i, of 256 · 256 + (0 + … + 255) in all.
        let all = PARTS * PARTS + PARTS * (PARTS - 1) / 2;
        let mut part_of = Box::new([0; SHARES]);
        let (mut part, mut end) = (0, PARTS);
        for (share, entry) in part_of.iter_mut().enumerate() {
            while end * SHARES <= share * all {
                part += 1;
                end += PARTS + part;
            }
            *entry = part as u8;
        }
        Self {
            parts: vec![Part::default(); PARTS],
            part_of,
        }
    }

    #[inline]
    pub(crate) fn find(&self, vertices: &Slab<Vertex>, key: &BlockKey) -> Option<u32> {
        let part = &self.parts[self.part(key)];
        let (at, slot) = part.find(hash_of(key), |id| vertices[id].key == *key)?;
        Some(part.groups[at].ids[slot])
    }

    /// Adds a key that is not there yet.
    pub(crate) fn insert(&mut self, vertices: &Slab<Vertex>, key: &BlockKey, id: u32) {
        let part = self.part(key);
        self.parts[part].insert(hash_of(key), id, |id| hash_of(&vertices[id].key));
    }

    pub(crate) fn remove(&mut self, key: &BlockKey, id: u32) {
        let part = self.part(key);
        self.parts[part].remove(hash_of(key), id);
    }

    #[inline]
    fn part(&self, key: &BlockKey) -> usize {
        let [_, _, _, _, _, _, _, _, a, b, ..] = *key.as_bytes();
        usize::from(self.part_of[usize::from(u16::from_le_bytes([a, b])) % SHARES])
    }
}

impl fmt::Debug for Index {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let len: usize = self.parts.iter().map(|part| part.len).sum();
        write!(f, "Index({len} entries)")
    }
}

/// Other bytes than those that choose the part: else all keys of a part would share the bits that spread them.
#[inline]
fn hash_of(key: &BlockKey) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = *key.as_bytes();
    u64::from_le_bytes([a, b, c, d, e, f, g, h])
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    /// Spread like a digest, or with `few` different hashes, so that groups overflow as they never would.
    fn key(number: u32, few: u64) -> BlockKey {
        let mut bytes = *blake3::hash(&number.to_le_bytes()).as_bytes();
        if few > 0 {
            let hash = hash_of(&BlockKey::from_bytes(bytes)) % few;
            bytes[..8].copy_from_slice(&hash.to_le_bytes());
            bytes[8..10].fill(0);
        }
        BlockKey::from_bytes(bytes)
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(200))]

        #[test]
        fn finds_what_a_map_finds(
            steps in proptest::collection::vec((0..300_u32, 0..3_u8), 1..900),
            few in prop_oneof![Just(0), 1..40_u64, Just(1 << 20)],
        ) {
            let mut index = Index::new();
            let mut vertices = Slab::new();
            vertices.reach(300);
            let mut model = BTreeMap::new();
            for (number, step) in steps {
                let key = key(number, few);
                vertices[number] = Vertex::new(key);
                if step == 0 {
                    if model.remove(&number).is_some() {
                        index.remove(&key, number);
                    }
                } else if model.insert(number, ()).is_none() {
                    index.insert(&vertices, &key, number);
                }
                prop_assert_eq!(index.find(&vertices, &key), model.get(&number).map(|()| number));
            }
            for number in 0..300 {
                let found = index.find(&vertices, &key(number, few));
                prop_assert_eq!(found, model.get(&number).map(|()| number));
            }
            // What is empty again reads one group to say so.
            model.keys().for_each(|number| index.remove(&key(*number, few), *number));
            let groups = index.parts.iter().flat_map(|part| &part.groups);
            prop_assert!(groups.clone().all(|group| group.len == 0 && group.passed == 0));
        }
    }

    #[test]
    fn keeps_every_entry_through_all_doublings() {
        let count = 300_000;
        let mut index = Index::new();
        let mut vertices = Slab::new();
        vertices.reach(count);
        for number in 0..count {
            vertices[number] = Vertex::new(key(number, 0));
            index.insert(&vertices, &key(number, 0), number);
        }
        assert!((0..count).all(|number| index.find(&vertices, &key(number, 0)) == Some(number)));
        assert!(
            (count..count + 1_000).all(|number| index.find(&vertices, &key(number, 0)).is_none())
        );
    }

    #[test]
    fn tables_differ_in_size_so_that_they_do_not_double_together() {
        let index = Index::new();
        let mut shares = [0_usize; PARTS];
        index
            .part_of
            .iter()
            .for_each(|part| shares[usize::from(*part)] += 1);
        assert_eq!((shares[0], shares[255]), (11, 21));
        assert!(shares.windows(2).all(|pair| pair[1] + 1 >= pair[0]));
    }
}
