//! A sorted array with gaps: entries by key, found in one step and read in order. It must never know what an entry
//! means.
//!
//! Keys are digests under secrets that no client knows, so their first 64 bits are spread evenly and nobody can choose
//! them to collide: no hash function is needed, and no seed. `home = first 64 bits × homes ÷ 2⁶⁴` grows with the key,
//! and an entry stands at its home or in the next place after it that keeps the order (ordered linear probing, Amble
//! and Knuth 1974). So:
//!
//! - A lookup that fails stops as early as one that succeeds: at the first greater key.
//! - The order of entries does not depend on the order of stores: two replicas read, cut into chunks and digest the
//!   same sequence.
//! - A resize is one pass over two arrays in order, and a cursor is a key, valid across resizes.
//! - Entries that no digest made (keys chosen to collide) make it slow, never wrong and never larger.
#![expect(
    clippy::indexing_slicing,
    clippy::as_conversions,
    reason = "the dense core: places are below the vector's length by the loops that find them; 64-bit products are cut on purpose"
)]

use super::key::DirectoryKey;

/// An entry of fixed size with a key.
pub(super) trait Entry: Copy {
    /// What stands in a gap.
    const GAP: Self;

    fn key(&self) -> DirectoryKey;

    fn is_gap(&self) -> bool;
}

/// Places at most filled before the table grows: 3 of 4. A lookup then reads 2.5 places on average, which is two cache
/// lines.
const FILL_MAX: (usize, usize) = (3, 4);
/// Places filled after a resize: 3 of 5, so a table is copied once while it grows by a quarter.
const FILL_RESIZED: (usize, usize) = (3, 5);
/// Places at least filled before the table shrinks: 2 of 5. Bytes an entry are at most 2.5 times its size.
const FILL_MIN: (usize, usize) = (2, 5);
/// Places after the last home, for the entries that the last homes push on.
const SLACK: usize = 4;
const HOMES_MIN: usize = 4;

/// Entries sorted by key. Every entry is at or after its home, with no gap between.
#[derive(Clone, Debug)]
pub(super) struct Table<E> {
    places: Vec<E>,
    homes: u32,
    len: u32,
}

impl<E: Entry> Table<E> {
    pub(super) const fn new() -> Self {
        Self {
            places: Vec::new(),
            homes: 0,
            len: 0,
        }
    }

    /// A table of entries that come in order of their keys, `count` of them.
    pub(super) fn from_sorted(entries: impl Iterator<Item = E>, count: usize) -> Self {
        let homes = homes_for(count);
        let mut table = Self {
            places: Vec::with_capacity(homes + SLACK),
            homes: u32::try_from(homes).unwrap_or(u32::MAX),
            len: 0,
        };
        for entry in entries {
            let home = table.home(entry.key());
            while table.places.len() < home {
                table.places.push(E::GAP);
            }
            table.push(entry);
            table.len += 1;
        }
        while table.places.len() < homes {
            table.places.push(E::GAP);
        }
        table
    }

    pub(super) const fn len(&self) -> usize {
        self.len as usize
    }

    /// Bytes of memory.
    pub(super) const fn bytes(&self) -> usize {
        self.places.capacity() * size_of::<E>()
    }

    #[inline]
    const fn home(&self, key: DirectoryKey) -> usize {
        let first = (key.to_u128() >> 64) as u64;
        ((first as u128 * self.homes as u128) >> 64) as usize
    }

    /// Asks the memory for the places of a key and does not wait for them; the number is of no meaning.
    ///
    /// Loads that nothing depends on overlap: sixteen of them cost little more than one.
    #[inline]
    pub(super) fn touch(&self, key: DirectoryKey) -> u64 {
        let home = self.home(key);
        let word = |place: usize| {
            self.places
                .get(place)
                .map_or(0, |entry| entry.key().to_u128() as u64)
        };
        word(home) ^ word(home + 2)
    }

    #[inline]
    fn position(&self, key: DirectoryKey) -> Result<usize, usize> {
        let mut at = self.home(key);
        while let Some(entry) = self.places.get(at) {
            if entry.is_gap() || entry.key() > key {
                return Err(at);
            }
            if entry.key() == key {
                return Ok(at);
            }
            at += 1;
        }
        Err(at)
    }

    #[inline]
    pub(super) fn get(&self, key: DirectoryKey) -> Option<&E> {
        self.position(key).ok().map(|at| &self.places[at])
    }

    pub(super) fn get_mut(&mut self, key: DirectoryKey) -> Option<&mut E> {
        self.position(key).ok().map(|at| &mut self.places[at])
    }

    /// Adds an entry, or replaces the one with its key.
    pub(super) fn insert(&mut self, entry: E) {
        if self.homes == 0 {
            *self = Self::from_sorted(std::iter::empty(), 1);
        }
        let at = match self.position(entry.key()) {
            Ok(at) => {
                self.places[at] = entry;
                return;
            }
            Err(at) => at,
        };
        let rest = &self.places[at..];
        let gap = at + rest.iter().position(E::is_gap).unwrap_or(rest.len());
        if gap == self.places.len() {
            self.push(E::GAP);
        }
        self.places.copy_within(at..gap, at + 1);
        self.places[at] = entry;
        self.len += 1;
    }

    pub(super) fn remove(&mut self, key: DirectoryKey) -> Option<E> {
        let at = self.position(key).ok()?;
        let removed = self.places[at];
        // Those after it that are not at home come one nearer.
        let mut end = at + 1;
        while let Some(entry) = self.places.get(end) {
            if entry.is_gap() || self.home(entry.key()) == end {
                break;
            }
            end += 1;
        }
        self.places.copy_within(at + 1..end, at);
        self.places[end - 1] = E::GAP;
        self.len -= 1;
        Some(removed)
    }

    /// The table to put in this one's place before `more` entries come, when this one is too full or too empty.
    ///
    /// It reads only, so that the one writer can build it while readers go on.
    pub(super) fn resized(&self, more: usize) -> Option<Self> {
        let (count, homes) = (self.len() + more, self.homes as usize);
        let full = count * FILL_MAX.1 > homes * FILL_MAX.0;
        let empty = homes > HOMES_MIN && count * FILL_MIN.1 < homes * FILL_MIN.0;
        (full || empty).then(|| Self::from_sorted(self.iter().copied(), count))
    }

    /// Every entry in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = &E> {
        self.places.iter().filter(|entry| !entry.is_gap())
    }

    /// The entries from this key on, in order.
    pub(super) fn iter_from(&self, key: DirectoryKey) -> impl Iterator<Item = &E> {
        let (Ok(at) | Err(at)) = self.position(key);
        let rest = self.places.get(at..).unwrap_or_default();
        rest.iter().filter(|entry| !entry.is_gap())
    }

    /// Adds a place at the end; room is made for a few, since doubling would double the memory.
    fn push(&mut self, entry: E) {
        if self.places.len() == self.places.capacity() {
            self.places.reserve_exact(SLACK + self.places.len() / 16);
        }
        self.places.push(entry);
    }
}

const fn homes_for(count: usize) -> usize {
    if count == 0 {
        return 0;
    }
    let homes = (count * FILL_RESIZED.1).div_ceil(FILL_RESIZED.0);
    if homes < HOMES_MIN { HOMES_MIN } else { homes }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Copy, Debug, PartialEq)]
    struct Pair(u128, u32);

    impl Entry for Pair {
        const GAP: Self = Self(0, 0);

        fn key(&self) -> DirectoryKey {
            DirectoryKey::from_u128(self.0)
        }

        fn is_gap(&self) -> bool {
            self.1 == 0
        }
    }

    /// Spread like a digest, or all within `few` homes, as no digest would be.
    fn key(number: u32, few: u32) -> u128 {
        let spread = u128::from_be_bytes(
            blake3::hash(&number.to_le_bytes()).as_bytes()[..16]
                .try_into()
                .unwrap(),
        );
        match few {
            0 => spread,
            few => u128::from(number % few) << 64 | u128::from(number),
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(150))]

        #[test]
        fn is_a_map_in_order(
            steps in proptest::collection::vec((0..400_u32, 0..4_u8), 1..900),
            few in prop_oneof![Just(0_u32), 1..5_u32],
        ) {
            let mut table = Table::new();
            let mut model = BTreeMap::new();
            for (turn, (number, step)) in (1..).zip(steps) {
                let key = key(number, few);
                if step == 0 {
                    prop_assert_eq!(table.remove(DirectoryKey::from_u128(key)).map(|pair: Pair| pair.1), model.remove(&key));
                } else {
                    if let Some(resized) = table.resized(1) {
                        table = resized;
                    }
                    table.insert(Pair(key, turn));
                    model.insert(key, turn);
                }
                prop_assert_eq!(table.len(), model.len());
            }
            let entries: Vec<_> = table.iter().map(|pair| (pair.0, pair.1)).collect();
            prop_assert_eq!(entries, model.clone().into_iter().collect::<Vec<_>>());
            for number in 0..400 {
                let key = key(number, few);
                prop_assert_eq!(table.get(DirectoryKey::from_u128(key)).map(|pair| pair.1), model.get(&key).copied());
                let after: Vec<_> = table.iter_from(DirectoryKey::from_u128(key)).map(|pair| pair.0).collect();
                prop_assert_eq!(after, model.range(key..).map(|(key, _)| *key).collect::<Vec<_>>());
            }
            for key in model.keys() {
                prop_assert!(table.remove(DirectoryKey::from_u128(*key)).is_some());
            }
            prop_assert!(table.places.iter().all(Entry::is_gap));
        }
    }

    #[test]
    fn stays_between_its_fills_while_it_grows_and_shrinks() {
        let mut table = Table::new();
        let fits = |table: &Table<Pair>| {
            table.bytes() * 2 <= (table.len() + 2) * 5 * size_of::<Pair>() + SLACK * 64
        };
        for number in 0..20_000 {
            if let Some(resized) = table.resized(1) {
                table = resized;
            }
            table.insert(Pair(key(number, 0), 1));
            assert!(fits(&table), "{} bytes for {}", table.bytes(), table.len());
        }
        for number in 0..20_000 {
            table.remove(DirectoryKey::from_u128(key(number, 0)));
            if let Some(resized) = table.resized(0) {
                table = resized;
            }
            assert!(fits(&table), "{} bytes for {}", table.bytes(), table.len());
        }
        assert_eq!(table.len(), 0);
    }
}
