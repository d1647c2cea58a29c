//! Responsible for entries under the shard's budget: conditions, quotas, who gives way. It must never know what a value means.

use std::sync::Arc;

use super::Shard;
use crate::effect::{Effect, EntryRead, EntryRefusal};
use crate::entry::{ENTRY_KEY_BYTES_MAX, Entry, EntryId, charge};
use crate::event::{ArenaId, EntryPut, OnlyIf, Ticket};

impl Shard {
    pub(super) fn entry_get(&mut self, domain: ArenaId, key: &[u8]) -> Option<EntryRead> {
        self.counted.entry_lookups += 1;
        let id = self.find_entry(domain, key)?;
        self.entries.touch(id);
        self.counted.entry_hits += 1;
        let entry = self.entries.get(id)?;
        Some(EntryRead {
            value: Arc::clone(&entry.value),
            version: entry.version,
            class: entry.class,
            ttl_ms: entry.expires.map(|expires| expires.since_ms(self.now)),
        })
    }

    pub(super) fn entry_put(&mut self, ticket: Ticket, put: EntryPut) -> Effect {
        let bytes = charge(put.key.len(), put.value.len());
        if put.key.len() > ENTRY_KEY_BYTES_MAX || bytes > self.budget.entry_bytes_max {
            return Effect::EntryRefused {
                ticket,
                why: EntryRefusal::TooLarge,
            };
        }
        let named = self.entries.find(put.domain, &put.key);
        let stored = self.find_entry(put.domain, &put.key);
        if let Err(version) = self.check(stored, put.only_if) {
            return Effect::EntryConflict { ticket, version };
        }
        // One whose time is over, but whose turn to be ended is not come, would take the new one's name along.
        if let Some(over) = named.filter(|id| Some(*id) != stored) {
            self.drop_entry(over);
        }
        if !self.make_entry_room(bytes, stored) {
            self.counted.refused += 1;
            return Effect::EntryRefused {
                ticket,
                why: EntryRefusal::Full,
            };
        }
        if let Some(stored) = stored {
            self.drop_entry(stored);
        }
        self.usage.bytes += bytes;
        self.usage.entry_bytes += bytes;
        let version = self.entries.insert(put, self.now);
        Effect::EntryStored { ticket, version }
    }

    pub(super) fn entry_delete(
        &mut self,
        ticket: Ticket,
        domain: ArenaId,
        key: &[u8],
        only_if: OnlyIf,
    ) -> Effect {
        let stored = self.find_entry(domain, key);
        if let Err(version) = self.check(stored, only_if) {
            return Effect::EntryConflict { ticket, version };
        }
        if let Some(stored) = stored {
            self.drop_entry(stored);
        }
        Effect::EntryDeleted {
            ticket,
            existed: stored.is_some(),
        }
    }

    /// The entry under a key, unless its time is over.
    fn find_entry(&self, domain: ArenaId, key: &[u8]) -> Option<EntryId> {
        let id = self.entries.find(domain, key)?;
        self.entries
            .get(id)
            .filter(|entry| !entry.is_expired(self.now))
            .map(|_| id)
    }

    /// Whether a condition holds; if not, the version that is stored.
    fn check(&self, stored: Option<EntryId>, only_if: OnlyIf) -> Result<(), Option<u64>> {
        let version = stored
            .and_then(|id| self.entries.get(id))
            .map(|entry| entry.version);
        let holds = match only_if {
            OnlyIf::Always => true,
            OnlyIf::Absent => version.is_none(),
            OnlyIf::Present => version.is_some(),
            OnlyIf::Version(wanted) => version == Some(wanted),
        };
        if holds { Ok(()) } else { Err(version) }
    }

    /// Evicts until an entry of `bytes` fits in the place of `replaced`: cached entries for the quota of entries, then blocks
    /// for the whole. What is replaced stays until then: a refused write changes nothing under its key.
    fn make_entry_room(&mut self, bytes: u64, replaced: Option<EntryId>) -> bool {
        let freed = replaced
            .and_then(|id| self.entries.get(id))
            .map_or(0, Entry::bytes);
        while self.usage.entry_bytes - freed + bytes > self.budget.entry_bytes_max {
            if self.evict_entry(replaced).is_none() {
                return false;
            }
        }
        while self.usage.bytes - freed + bytes > self.budget.bytes_max {
            if self.evict_block(None).is_none() && self.evict_entry(replaced).is_none() {
                return false;
            }
        }
        true
    }
}
