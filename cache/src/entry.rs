//! Responsible for entries: small values in numbered boxes, ordered by key, with a version and a time that are only recorded. It
//! must never know budgets, nor decide what is written, when its time is over, or who may read it: replicas of slots do.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::ops::Bound;
use std::sync::Arc;

use crate::time::Now;

/// What an entry is charged besides key and value: its record, its key's node, and its places in the orders of use and expiry.
pub const ENTRY_OVERHEAD_BYTES: u64 = 256;

/// A box of entries: keys of one box are ordered among themselves, listed together and cleared together. Numbered by the
/// caller; it has nothing to do with the arenas of blocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EntryBox(pub u16);

/// What an entry's quota does when it is full.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EntryClass {
    /// Never evicted; a full quota refuses the write.
    Kept,
    /// Evicted when room is needed, least recently used first.
    Cached,
}

/// An entry's bytes, shared and never copied.
pub type EntryValue = Arc<[u8]>;

/// An entry as it is stored. Nothing here acts by itself: it stays until it is removed, or evicted if it is cached.
#[derive(Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its bytes.
    pub value: EntryValue,
    /// Its writer's number for this write.
    pub version: u64,
    /// Kept or cached.
    pub class: EntryClass,
    /// When its time is over, if ever.
    pub expires: Option<Now>,
}

impl fmt::Debug for Entry {
    /// Sizes only: entries are users' data.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry")
            .field("value_bytes", &self.value.len())
            .field("version", &self.version)
            .field("class", &self.class)
            .field("expires", &self.expires)
            .finish()
    }
}

/// Some entries of a box, in the order of their keys.
#[derive(Clone, PartialEq, Eq)]
pub struct EntryPage {
    /// Keys and entries.
    pub entries: Vec<(Arc<[u8]>, Entry)>,
    /// Whether nothing lies behind them.
    pub is_last: bool,
}

impl fmt::Debug for EntryPage {
    /// Sizes only: entries are users' data.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EntryPage")
            .field("entries", &self.entries.len())
            .field("is_last", &self.is_last)
            .finish()
    }
}

/// There is no room for an entry, and nothing may give way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no room for an entry")]
pub struct EntryFull;

/// Number of an entry inside the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct EntryId(usize);

/// Where an entry lies.
struct Place {
    at: EntryBox,
    key: Arc<[u8]>,
    entry: Entry,
    used: u64,
}

impl Place {
    fn bytes(&self) -> u64 {
        charge(self.key.len(), self.entry.value.len())
    }
}

impl fmt::Debug for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Place({:?}, {} bytes)", self.at, self.bytes())
    }
}

/// What an entry of these lengths is charged.
pub(crate) fn charge(key_bytes: usize, value_bytes: usize) -> u64 {
    let bytes = key_bytes.saturating_add(value_bytes);
    u64::try_from(bytes)
        .unwrap_or(u64::MAX)
        .saturating_add(ENTRY_OVERHEAD_BYTES)
}

/// The entries of one box.
#[derive(Debug, Default)]
struct Content {
    keys: BTreeMap<Arc<[u8]>, EntryId>,
    due: BTreeSet<(Now, EntryId)>,
}

/// All entries of a shard.
#[derive(Debug, Default)]
pub(crate) struct Entries {
    boxes: BTreeMap<EntryBox, Content>,
    places: Vec<Option<Place>>,
    vacant: Vec<EntryId>,
    /// Cached entries by last use.
    cached: BTreeMap<u64, EntryId>,
    /// Each box that has timed entries, by the earliest end.
    due: BTreeSet<(Now, EntryBox)>,
    /// Number of the next use or write.
    clock: u64,
    len: usize,
    bytes: u64,
    kept_bytes: u64,
}

impl Entries {
    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    /// What all entries are charged.
    #[cfg(test)]
    pub(crate) const fn bytes(&self) -> u64 {
        self.bytes
    }

    /// What those are charged that are never evicted.
    pub(crate) const fn kept_bytes(&self) -> u64 {
        self.kept_bytes
    }

    pub(crate) fn find(&self, at: EntryBox, key: &[u8]) -> Option<EntryId> {
        self.boxes.get(&at)?.keys.get(key).copied()
    }

    pub(crate) fn get(&self, id: EntryId) -> Option<&Entry> {
        self.place(id).map(|place| &place.entry)
    }

    /// What an entry is charged.
    pub(crate) fn bytes_of(&self, id: EntryId) -> u64 {
        self.place(id).map_or(0, Place::bytes)
    }

    fn place(&self, id: EntryId) -> Option<&Place> {
        self.places.get(id.0)?.as_ref()
    }

    /// The entry was read.
    pub(crate) fn touch(&mut self, id: EntryId) {
        self.clock += 1;
        if let Some(place) = self.places.get_mut(id.0).and_then(Option::as_mut)
            && self.cached.remove(&place.used).is_some()
        {
            place.used = self.clock;
            self.cached.insert(self.clock, id);
        }
    }

    /// Stores an entry under a key that holds none.
    pub(crate) fn insert(&mut self, at: EntryBox, key: &[u8], entry: Entry) {
        self.clock += 1;
        let id = self.vacant.pop().unwrap_or_else(|| {
            self.places.push(None);
            EntryId(self.places.len() - 1)
        });
        let place = Place {
            at,
            key: key.into(),
            entry,
            used: self.clock,
        };
        self.len += 1;
        self.bytes += place.bytes();
        match place.entry.class {
            EntryClass::Cached => {
                self.cached.insert(place.used, id);
            }
            EntryClass::Kept => self.kept_bytes += place.bytes(),
        }
        let content = self.boxes.entry(at).or_default();
        content.keys.insert(Arc::clone(&place.key), id);
        let expires = place.entry.expires;
        if let Some(slot) = self.places.get_mut(id.0) {
            *slot = Some(place);
        }
        self.set_due(at, id, None, expires);
    }

    /// Gives an entry another end.
    pub(crate) fn set_expires(&mut self, id: EntryId, expires: Option<Now>) {
        if let Some(place) = self.places.get_mut(id.0).and_then(Option::as_mut) {
            let was = std::mem::replace(&mut place.entry.expires, expires);
            let at = place.at;
            self.set_due(at, id, was, expires);
        }
    }

    pub(crate) fn remove(&mut self, id: EntryId) -> Option<Entry> {
        let place = self.places.get_mut(id.0)?.take()?;
        self.vacant.push(id);
        self.len -= 1;
        self.bytes -= place.bytes();
        match place.entry.class {
            EntryClass::Cached => {
                self.cached.remove(&place.used);
            }
            EntryClass::Kept => self.kept_bytes -= place.bytes(),
        }
        self.set_due(place.at, id, place.entry.expires, None);
        if let Some(content) = self.boxes.get_mut(&place.at) {
            content.keys.remove(&place.key);
            if content.keys.is_empty() {
                self.boxes.remove(&place.at);
            }
        }
        Some(place.entry)
    }

    /// Moves an entry in the orders of time: its own box's, and the boxes' among each other.
    fn set_due(&mut self, at: EntryBox, id: EntryId, was: Option<Now>, is: Option<Now>) {
        if was == is {
            return;
        }
        let Some(content) = self.boxes.get_mut(&at) else {
            return;
        };
        let first = |content: &Content| content.due.first().map(|(expires, _)| *expires);
        let before = first(content);
        if let Some(was) = was {
            content.due.remove(&(was, id));
        }
        if let Some(is) = is {
            content.due.insert((is, id));
        }
        let after = first(content);
        if before != after {
            if let Some(before) = before {
                self.due.remove(&(before, at));
            }
            if let Some(after) = after {
                self.due.insert((after, at));
            }
        }
    }

    /// The cached entry least recently used, other than `spared`.
    pub(crate) fn victim(&self, spared: Option<EntryId>) -> Option<EntryId> {
        self.cached.values().copied().find(|id| Some(*id) != spared)
    }

    /// Keys of a box whose time is over, the longest over first.
    pub(crate) fn due(&self, at: EntryBox, now: Now, keys_max: usize) -> Vec<Arc<[u8]>> {
        let content = self.boxes.get(&at);
        let due = content.into_iter().flat_map(|content| &content.due);
        due.take_while(|(expires, _)| *expires <= now)
            .take(keys_max)
            .filter_map(|(_, id)| Some(Arc::clone(&self.place(*id)?.key)))
            .collect()
    }

    /// Boxes with an entry whose time is over, the longest over first.
    pub(crate) fn due_boxes(&self, now: Now, boxes_max: usize) -> Vec<EntryBox> {
        let due = self.due.iter();
        due.take_while(|(expires, _)| *expires <= now)
            .take(boxes_max)
            .map(|(_, at)| *at)
            .collect()
    }

    /// The first box after one that has entries.
    pub(crate) fn box_after(&self, after: Option<EntryBox>) -> Option<EntryBox> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.boxes
            .range((from, Bound::Unbounded))
            .next()
            .map(|(at, _)| *at)
    }

    /// The entries of a box after a key, in order.
    pub(crate) fn after<'a>(
        &'a self,
        at: EntryBox,
        after: Option<&'a [u8]>,
    ) -> impl Iterator<Item = (&'a Arc<[u8]>, EntryId)> + 'a {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        self.range(at, from)
    }

    /// The entries of a box whose keys begin like this, in order.
    pub(crate) fn beginning<'a>(
        &'a self,
        at: EntryBox,
        prefix: &'a [u8],
    ) -> impl Iterator<Item = EntryId> + 'a {
        self.range(at, Bound::Included(prefix))
            .take_while(move |(key, _)| key.starts_with(prefix))
            .map(|(_, id)| id)
    }

    fn range<'a>(
        &'a self,
        at: EntryBox,
        from: Bound<&'a [u8]>,
    ) -> impl Iterator<Item = (&'a Arc<[u8]>, EntryId)> + 'a {
        let content = self.boxes.get(&at).into_iter();
        content
            .flat_map(move |content| content.keys.range::<[u8], _>((from, Bound::Unbounded)))
            .map(|(key, id)| (key, *id))
    }

    /// The sums of all tables counted again, for checks.
    #[cfg(test)]
    pub(crate) fn recounted(&self) -> (usize, u64, u64) {
        let places = self.places.iter().flatten();
        let kept = |place: &&Place| place.entry.class == EntryClass::Kept;
        let first = |content: &Content| content.due.first().map(|(expires, _)| *expires);
        let boxes = self.boxes.iter();
        let due: BTreeSet<(Now, EntryBox)> = boxes
            .filter_map(|(at, content)| Some((first(content)?, *at)))
            .collect();
        assert_eq!(due, self.due, "the boxes' order of time");
        let keys: usize = self.boxes.values().map(|content| content.keys.len()).sum();
        assert_eq!(keys, self.len);
        let timed = places.clone().filter(|place| place.entry.expires.is_some());
        let due: usize = self.boxes.values().map(|content| content.due.len()).sum();
        assert_eq!(timed.count(), due);
        let cached = places.clone().filter(|place| !kept(place)).count();
        assert_eq!(cached, self.cached.len());
        let bytes = |places: &mut dyn Iterator<Item = &Place>| places.map(Place::bytes).sum();
        (
            places.clone().count(),
            bytes(&mut places.clone()),
            bytes(&mut places.filter(kept)),
        )
    }
}
