//! Responsible for remembering blocks that are gone, in the order in which they went, up to a bound that its user sets. It
//! must never know what is remembered of them.
//!
//! Entries lie in a ring, oldest first; a table of ring numbers finds them by hash. Taking one out of the middle leaves a
//! hole, and holes are closed when they outnumber the entries, so every operation is amortised O(1). Two keys with one
//! hash would be taken for one another: at 64 bits and millions of ghosts that happens once in a million caches, and costs
//! a wrong guess.
#![expect(
    clippy::indexing_slicing,
    clippy::as_conversions,
    reason = "places are taken modulo the table's length, and the table names only entries that are in the ring"
)]

use std::collections::VecDeque;
use std::fmt;

use crate::key::BlockKey;

/// No entry; also never the number of one.
const NONE: u32 = u32::MAX;

/// Marks a hole in the ring.
const HOLE: u64 = 0;

/// Holes that never make it worth to close them.
const HOLES_FREE: usize = 64;

/// What stands for a key among ghosts: digests are their own hash.
pub(crate) fn hash_of(key: &BlockKey) -> u64 {
    let [a, b, c, d, e, f, g, h, ..] = *key.as_bytes();
    u64::from_le_bytes([a, b, c, d, e, f, g, h]).max(HOLE + 1)
}

/// Blocks that are gone, oldest first, each with a `T`.
pub(crate) struct Ghosts<T> {
    ring: VecDeque<(u64, T)>,
    /// Number of the ring's first entry.
    first: u32,
    /// Ring numbers by hash, none or a power of two of them.
    table: Vec<u32>,
    len: usize,
}

impl<T: Copy> Ghosts<T> {
    pub(crate) const fn new() -> Self {
        Self {
            ring: VecDeque::new(),
            first: 0,
            table: Vec::new(),
            len: 0,
        }
    }

    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    /// Remembers `hash` as the latest to go, in place of what was remembered of it before.
    pub(crate) fn insert(&mut self, hash: u64, value: T) {
        self.remove(hash);
        if self.table.len() < (self.len + 1) * 2 {
            self.rebuild();
        }
        if self.number(self.ring.len()) == NONE {
            self.ring.push_back((HOLE, value));
        }
        let number = self.number(self.ring.len());
        self.ring.push_back((hash, value));
        self.len += 1;
        self.link(hash, number);
    }

    /// What is remembered of `hash`.
    pub(crate) fn get(&self, hash: u64) -> Option<&T> {
        let (_, at) = self.find(hash)?;
        self.ring.get(at).map(|(_, value)| value)
    }

    /// Forgets `hash`; answers what was remembered.
    pub(crate) fn remove(&mut self, hash: u64) -> Option<T> {
        let (place, at) = self.find(hash)?;
        self.unlink(place);
        let entry = &mut self.ring[at];
        entry.0 = HOLE;
        let value = entry.1;
        self.len -= 1;
        self.close_holes();
        Some(value)
    }

    /// Forgets the oldest; answers it.
    pub(crate) fn pop_oldest(&mut self) -> Option<(u64, T)> {
        while let Some((hash, value)) = self.ring.front().copied() {
            if hash != HOLE {
                let (place, _) = self.find(hash)?;
                self.unlink(place);
                self.len -= 1;
            }
            self.ring.pop_front();
            self.first = self.first.wrapping_add(1);
            if hash != HOLE {
                return Some((hash, value));
            }
        }
        None
    }

    /// Forgets the oldest until at most `len_max` are left.
    pub(crate) fn keep(&mut self, len_max: usize) {
        while self.len > len_max {
            self.pop_oldest();
        }
    }

    /// An entry picked by a random number, each with the same chance; none when the pick is a hole.
    pub(crate) fn pick(&self, random: u64) -> Option<&T> {
        let at = ((u128::from(random) * self.ring.len() as u128) >> 64) as usize;
        let (hash, value) = self.ring.get(at)?;
        (*hash != HOLE).then_some(value)
    }

    /// Entries and holes: one pick meets one of these.
    pub(crate) fn places(&self) -> usize {
        self.ring.len()
    }

    fn number(&self, at: usize) -> u32 {
        self.first.wrapping_add(at as u32)
    }

    fn home(&self, hash: u64) -> usize {
        // The lowest bits already chose a part of the forest's index, if not a shard.
        (hash >> 20) as usize & (self.table.len() - 1)
    }

    /// Place in the table and in the ring.
    fn find(&self, hash: u64) -> Option<(usize, usize)> {
        if self.table.is_empty() {
            return None;
        }
        let mut place = self.home(hash);
        while self.table[place] != NONE {
            let at = self.table[place].wrapping_sub(self.first) as usize;
            if self.ring[at].0 == hash {
                return Some((place, at));
            }
            place = (place + 1) & (self.table.len() - 1);
        }
        None
    }

    fn link(&mut self, hash: u64, number: u32) {
        let mut place = self.home(hash);
        while self.table[place] != NONE {
            place = (place + 1) & (self.table.len() - 1);
        }
        self.table[place] = number;
    }

    /// Empties a place, and moves up those behind it that had to pass it.
    fn unlink(&mut self, place: usize) {
        let mask = self.table.len() - 1;
        let (mut hole, mut next) = (place, (place + 1) & mask);
        while self.table[next] != NONE {
            let at = self.table[next].wrapping_sub(self.first) as usize;
            let home = self.home(self.ring[at].0);
            if next.wrapping_sub(home) & mask >= next.wrapping_sub(hole) & mask {
                self.table[hole] = self.table[next];
                hole = next;
            }
            next = (next + 1) & mask;
        }
        self.table[hole] = NONE;
    }

    fn close_holes(&mut self) {
        if self.ring.len() > 2 * self.len + HOLES_FREE {
            self.rebuild();
        }
    }

    /// Numbers all entries anew, without holes, in a table with room for half as many again.
    fn rebuild(&mut self) {
        self.ring.retain(|(hash, _)| *hash != HOLE);
        self.first = 0;
        let size = (self.len * 3).max(16).next_power_of_two();
        self.table.clear();
        self.table.resize(size, NONE);
        for at in 0..self.ring.len() {
            self.link(self.ring[at].0, at as u32);
        }
    }
}

impl<T> Default for Ghosts<T> {
    fn default() -> Self {
        Self {
            ring: VecDeque::new(),
            first: 0,
            table: Vec::new(),
            len: 0,
        }
    }
}

impl<T> fmt::Debug for Ghosts<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Ghosts({})", self.len)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn equals_a_list(steps in proptest::collection::vec((0..4_u8, 1..40_u64), 1..600), crowded in any::<bool>()) {
            let mut ghosts = Ghosts::new();
            let mut model: Vec<(u64, usize)> = Vec::new();
            for (number, (step, name)) in steps.into_iter().enumerate() {
                // All in one neighbourhood of the table, or spread.
                let hash = if crowded { name } else { name << 20 };
                match step {
                    0 | 1 => {
                        ghosts.insert(hash, number);
                        model.retain(|(other, _)| *other != hash);
                        model.push((hash, number));
                    }
                    2 => {
                        let at = model.iter().position(|(other, _)| *other == hash);
                        prop_assert_eq!(ghosts.remove(hash), at.map(|at| model.remove(at).1));
                    }
                    _ => {
                        let oldest = (!model.is_empty()).then(|| model.remove(0));
                        prop_assert_eq!(ghosts.pop_oldest(), oldest);
                    }
                }
                prop_assert_eq!(ghosts.len(), model.len());
                for (hash, value) in &model {
                    prop_assert_eq!(ghosts.get(*hash), Some(value));
                }
                prop_assert!(ghosts.places() <= 2 * ghosts.len() + HOLES_FREE + 1);
            }
        }
    }

    #[test]
    fn numbers_wrap_around_without_meeting_the_mark_of_none() {
        let mut ghosts = Ghosts::new();
        ghosts.insert(1 << 20, 1);
        (ghosts.first, ghosts.table) = (NONE - 4, vec![NONE; 64]);
        ghosts.link(1 << 20, NONE - 4);
        for name in 2..12_u64 {
            ghosts.insert(name << 20, name);
        }
        assert!((1..12_u64).all(|name| ghosts.get(name << 20) == Some(&name)));
        ghosts.keep(1);
        assert_eq!((ghosts.len(), ghosts.get(11 << 20)), (1, Some(&11)));
    }
}
