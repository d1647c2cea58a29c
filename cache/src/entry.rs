//! Responsible for entries: small values with a version, a class and a time to live. It must never know budgets; it is asked
//! what it holds and told what to drop.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use crate::event::{ArenaId, EntryClass, EntryPut, EntryValue};
use crate::time::Now;

/// Longest key of an entry.
pub const ENTRY_KEY_BYTES_MAX: usize = 64 << 10;

/// What an entry is charged besides key and value: its record, its key's node, and its places in the orders of use and expiry.
pub const ENTRY_OVERHEAD_BYTES: u64 = 256;

/// Number of an entry inside the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct EntryId(usize);

/// A stored entry.
pub(crate) struct Entry {
    domain: ArenaId,
    key: Arc<[u8]>,
    pub(crate) value: EntryValue,
    pub(crate) class: EntryClass,
    pub(crate) version: u64,
    pub(crate) expires: Option<Now>,
    used: u64,
}

impl Entry {
    /// What it is charged.
    pub(crate) fn bytes(&self) -> u64 {
        charge(self.key.len(), self.value.len())
    }

    pub(crate) fn is_expired(&self, now: Now) -> bool {
        self.expires.is_some_and(|expires| expires <= now)
    }
}

impl fmt::Debug for Entry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Entry(version {}, {} bytes)", self.version, self.bytes())
    }
}

/// What an entry of these lengths is charged.
pub(crate) fn charge(key_bytes: usize, value_bytes: usize) -> u64 {
    let bytes = key_bytes.saturating_add(value_bytes);
    u64::try_from(bytes)
        .unwrap_or(u64::MAX)
        .saturating_add(ENTRY_OVERHEAD_BYTES)
}

/// All entries of a shard.
#[derive(Debug, Default)]
pub(crate) struct Entries {
    domains: BTreeMap<ArenaId, BTreeMap<Arc<[u8]>, EntryId>>,
    places: Vec<Option<Entry>>,
    vacant: Vec<EntryId>,
    /// Cached entries by last use.
    cached: BTreeMap<u64, EntryId>,
    due: BTreeSet<(Now, EntryId)>,
    /// Number of the next use or write.
    clock: u64,
    len: usize,
    bytes: u64,
}

impl Entries {
    pub(crate) const fn len(&self) -> usize {
        self.len
    }

    /// What all entries are charged.
    pub(crate) const fn bytes(&self) -> u64 {
        self.bytes
    }

    pub(crate) fn find(&self, domain: ArenaId, key: &[u8]) -> Option<EntryId> {
        self.domains.get(&domain)?.get(key).copied()
    }

    pub(crate) fn get(&self, id: EntryId) -> Option<&Entry> {
        self.places.get(id.0)?.as_ref()
    }

    /// The entry was read.
    pub(crate) fn touch(&mut self, id: EntryId) {
        self.clock += 1;
        if let Some(entry) = self.places.get_mut(id.0).and_then(Option::as_mut)
            && self.cached.remove(&entry.used).is_some()
        {
            entry.used = self.clock;
            self.cached.insert(self.clock, id);
        }
    }

    /// Stores an entry under a key that holds none; answers its version.
    pub(crate) fn insert(&mut self, put: EntryPut, now: Now) -> u64 {
        self.clock += 1;
        let entry = Entry {
            domain: put.domain,
            key: put.key.into(),
            value: put.value,
            class: put.class,
            version: self.clock,
            expires: put.ttl_ms.map(|ms| now.add_ms(ms)),
            used: self.clock,
        };
        let id = self.vacant.pop().unwrap_or_else(|| {
            self.places.push(None);
            EntryId(self.places.len() - 1)
        });
        if entry.class == EntryClass::Cached {
            self.cached.insert(entry.used, id);
        }
        if let Some(expires) = entry.expires {
            self.due.insert((expires, id));
        }
        self.len += 1;
        self.bytes += entry.bytes();
        self.domains
            .entry(entry.domain)
            .or_default()
            .insert(Arc::clone(&entry.key), id);
        if let Some(place) = self.places.get_mut(id.0) {
            *place = Some(entry);
        }
        self.clock
    }

    pub(crate) fn remove(&mut self, id: EntryId) -> Option<Entry> {
        let entry = self.places.get_mut(id.0)?.take()?;
        self.vacant.push(id);
        if entry.class == EntryClass::Cached {
            self.cached.remove(&entry.used);
        }
        if let Some(expires) = entry.expires {
            self.due.remove(&(expires, id));
        }
        self.len -= 1;
        self.bytes -= entry.bytes();
        if let Some(domain) = self.domains.get_mut(&entry.domain) {
            domain.remove(&entry.key);
            if domain.is_empty() {
                self.domains.remove(&entry.domain);
            }
        }
        Some(entry)
    }

    /// Removes a whole domain; answers how many entries it had.
    pub(crate) fn purge(&mut self, domain: ArenaId) -> u64 {
        let ids: Vec<EntryId> = self
            .domains
            .get(&domain)
            .into_iter()
            .flat_map(|keys| keys.values().copied())
            .collect();
        ids.into_iter()
            .filter_map(|id| self.remove(id))
            .fold(0, |purged, _| purged + 1)
    }

    /// The cached entry least recently used, other than `spared`.
    pub(crate) fn victim(&self, spared: Option<EntryId>) -> Option<EntryId> {
        self.cached.values().copied().find(|id| Some(*id) != spared)
    }

    /// An entry whose time is over.
    pub(crate) fn due(&self, now: Now) -> Option<EntryId> {
        self.due
            .first()
            .filter(|(expires, _)| *expires <= now)
            .map(|(_, id)| *id)
    }
}
