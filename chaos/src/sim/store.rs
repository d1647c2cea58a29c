//! A slot's entries in memory, and the tenure as a thread sees it that may sleep between any two looks.
//!
//! Responsible for what a replica is handled with. It must never know who is right.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::ops::Bound;
use std::sync::Arc;

use ultrakv_cache::Now;
use ultrakv_cluster::entry::{Change, CopyEntry, Full, Key, Page, Store, Stored, Tenure, Version};

/// Entries of one part of a copy; few, so that copies take several parts.
const PAGE_ENTRIES: usize = 2;

/// Where in one event a thread sleeps, and for how long.
#[derive(Debug, Default)]
pub(super) struct Sleep {
    looks: Cell<u64>,
    at_look: u64,
    for_us: u64,
    slept_us: Cell<u64>,
    /// Whether the last look was at a value, and not at the tenure.
    is_unguarded: Cell<bool>,
}

impl Sleep {
    /// Sleeps right before the look of this number, counted from 1.
    pub(super) const fn before(at_look: u64, for_us: u64) -> Self {
        Self {
            looks: Cell::new(0),
            at_look,
            for_us,
            slept_us: Cell::new(0),
            is_unguarded: Cell::new(false),
        }
    }

    fn look(&self) {
        let looks = self.looks.get() + 1;
        self.looks.set(looks);
        if looks == self.at_look {
            self.slept_us.set(self.for_us);
        }
    }

    /// Whether a value was read and the tenure not asked since.
    pub(super) const fn is_unguarded(&self) -> bool {
        self.is_unguarded.get()
    }

    pub(super) const fn slept_us(&self) -> u64 {
        self.slept_us.get()
    }
}

/// The tenure of a node, asked in the middle of an event.
pub(super) struct Held<'a> {
    pub(super) until_us: Option<u64>,
    pub(super) began_us: u64,
    /// The clock's rate, by which a sleep is longer or shorter to the node.
    pub(super) rate_ppm: u64,
    pub(super) sleep: &'a Sleep,
}

impl Tenure for Held<'_> {
    fn is_held(&mut self) -> bool {
        self.sleep.look();
        self.sleep.is_unguarded.set(false);
        let slept_us = self.sleep.slept_us() * self.rate_ppm / 1_000_000;
        let now_us = self.began_us.saturating_add(slept_us);
        self.until_us.is_some_and(|until_us| now_us < until_us)
    }
}

/// What was applied to a store, for the oracle.
#[derive(Clone, Debug)]
pub(super) struct Applied {
    pub(super) key: Key,
    pub(super) change: Change,
    pub(super) version: Version,
}

/// Committed entries of one slot.
#[derive(Debug, Default)]
pub(super) struct MapStore {
    entries: BTreeMap<Key, Stored>,
    applied: Vec<Applied>,
}

impl MapStore {
    pub(super) const fn entries(&self) -> &BTreeMap<Key, Stored> {
        &self.entries
    }

    /// What was applied since the last question.
    pub(super) fn take_applied(&mut self) -> Vec<Applied> {
        std::mem::take(&mut self.applied)
    }
}

/// A store, and the sleep of the thread that looks at it.
pub(super) struct Looked<'a> {
    pub(super) store: &'a mut MapStore,
    pub(super) sleep: &'a Sleep,
}

impl Store for Looked<'_> {
    fn get(&mut self, key: &Key) -> Option<Stored> {
        self.sleep.look();
        self.sleep.is_unguarded.set(true);
        self.store.entries.get(key).cloned()
    }

    fn apply(
        &mut self,
        key: &Key,
        change: &Change,
        version: Version,
        now: Now,
    ) -> Result<(), Full> {
        let entries = &mut self.store.entries;
        match change {
            Change::Put {
                value,
                class,
                ttl_ms,
            } => {
                let stored = Stored {
                    value: Arc::clone(value),
                    version,
                    class: *class,
                    expires: ttl_ms.map(|ms| now.add_ms(ms)),
                };
                entries.insert(key.clone(), stored);
            }
            Change::Delete => {
                entries.remove(key);
            }
            Change::Expire { ttl_ms } => {
                if let Some(stored) = entries.get_mut(key) {
                    stored.expires = ttl_ms.map(|ms| now.add_ms(ms));
                }
            }
        }
        self.store.applied.push(Applied {
            key: key.clone(),
            change: change.clone(),
            version,
        });
        Ok(())
    }

    fn has_room(&mut self, _: &Key, _: usize, _: usize) -> bool {
        true
    }

    fn page(&mut self, after: Option<&Key>, _: usize, now: Now) -> Page {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let mut range = self.store.entries.range((from, Bound::Unbounded));
        let entries = range
            .by_ref()
            .take(PAGE_ENTRIES)
            .map(|(key, stored)| CopyEntry {
                key: key.clone(),
                value: Arc::clone(&stored.value),
                version: stored.version,
                class: stored.class,
                ttl_ms: stored.expires.map(|expires| expires.since_ms(now)),
            });
        Page {
            entries: entries.collect(),
            is_last: range.next().is_none(),
        }
    }

    fn due(&mut self, now: Now, keys_max: usize) -> Vec<Key> {
        let over = self
            .store
            .entries
            .iter()
            .filter(|(_, stored)| stored.is_over(now));
        over.map(|(key, _)| key.clone()).take(keys_max).collect()
    }

    fn clear(&mut self) {
        self.store.entries.clear();
    }
}
