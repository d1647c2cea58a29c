//! Responsible for entries under the shard's budget: quotas, and who gives way. It must never know what a value means, why it is
//! written, or when its time is over.

use std::sync::Arc;

use super::Shard;
use crate::effect::Effect;
use crate::entry::{Entry, EntryBox, EntryFull, EntryId, EntryPage, charge};
use crate::time::Now;

/// A shard's entries, for as long as one turn takes. Every write leaves the shard within its budget, as every event does; what it
/// asks of the actor is added to the turn's effects, to be carried out before the next event.
#[derive(Debug)]
pub struct EntryTable<'a> {
    shard: &'a mut Shard,
    effects: &'a mut Vec<Effect>,
}

impl Shard {
    /// The shard's entries.
    pub const fn entries<'a>(&'a mut self, effects: &'a mut Vec<Effect>) -> EntryTable<'a> {
        EntryTable {
            shard: self,
            effects,
        }
    }
}

impl EntryTable<'_> {
    /// What a key holds. A cached entry counts as used.
    pub fn get(&mut self, at: EntryBox, key: &[u8]) -> Option<Entry> {
        let entries = &mut self.shard.entries;
        let id = entries.find(at, key)?;
        entries.touch(id);
        entries.get(id).cloned()
    }

    /// Stores an entry, in the place of what the key held. Cached entries give way for the quota, then blocks for the whole.
    ///
    /// # Errors
    /// When nothing may give way; what was stored before still is.
    ///
    /// # Panics
    /// When the shard breaks an invariant of its own, as [`Shard::handle`].
    pub fn put(&mut self, at: EntryBox, key: &[u8], entry: Entry) -> Result<(), EntryFull> {
        let shard = &mut *self.shard;
        let bytes = charge(key.len(), entry.value.len());
        let replaced = shard.entries.find(at, key);
        if !shard.make_entry_room(bytes, replaced) {
            return Err(EntryFull);
        }
        if let Some(replaced) = replaced {
            shard.drop_entry(replaced);
        }
        shard.usage.bytes += bytes;
        shard.usage.entry_bytes += bytes;
        shard.entries.insert(at, key, entry);
        self.settle();
        Ok(())
    }

    /// Gives an entry another end; whether there is one.
    pub fn set_expires(&mut self, at: EntryBox, key: &[u8], expires: Option<Now>) -> bool {
        let found = self.shard.entries.find(at, key);
        if let Some(id) = found {
            self.shard.entries.set_expires(id, expires);
        }
        found.is_some()
    }

    /// Removes an entry; whether there was one.
    pub fn remove(&mut self, at: EntryBox, key: &[u8]) -> bool {
        let found = self.shard.entries.find(at, key);
        if let Some(id) = found {
            self.shard.drop_entry(id);
            self.settle();
        }
        found.is_some()
    }

    /// Removes everything of a box; answers how many entries that was.
    pub fn clear(&mut self, at: EntryBox) -> u64 {
        self.remove_beginning(at, &[], usize::MAX)
    }

    /// Removes entries of a box whose keys begin like this, some at most; answers how many.
    pub fn remove_beginning(&mut self, at: EntryBox, prefix: &[u8], entries_max: usize) -> u64 {
        let found = self.shard.entries.beginning(at, prefix).take(entries_max);
        let found: Vec<EntryId> = found.collect();
        let mut removed = 0;
        for id in found {
            self.shard.drop_entry(id);
            removed += 1;
        }
        if removed > 0 {
            self.settle();
        }
        removed
    }

    /// Makes room for an entry besides bytes that are promised already; whether there is. Asked before a write is promised, since
    /// cached entries and blocks give way here, not when it is done.
    ///
    /// # Units
    /// `ahead_bytes` are what the promised entries will be charged: key, value and [`crate::ENTRY_OVERHEAD_BYTES`] each.
    pub fn has_room(
        &mut self,
        at: EntryBox,
        key: &[u8],
        value_bytes: usize,
        ahead_bytes: u64,
    ) -> bool {
        let replaced = self.shard.entries.find(at, key);
        let bytes = charge(key.len(), value_bytes).saturating_add(ahead_bytes);
        let has_room = self.shard.make_entry_room(bytes, replaced);
        if !has_room {
            self.shard.counted.refused += 1;
        }
        self.settle();
        has_room
    }

    /// The entries of a box after a key (from the first if none), in the order of keys: one at least if there is one, then no
    /// more than are charged `bytes_max` together.
    pub fn page(&self, at: EntryBox, after: Option<&[u8]>, bytes_max: usize) -> EntryPage {
        let bytes_max = u64::try_from(bytes_max).unwrap_or(u64::MAX);
        let table = &self.shard.entries;
        let (mut entries, mut bytes) = (Vec::new(), 0_u64);
        for (key, id) in table.after(at, after) {
            bytes = bytes.saturating_add(table.bytes_of(id));
            if bytes > bytes_max && !entries.is_empty() {
                return EntryPage {
                    entries,
                    is_last: false,
                };
            }
            if let Some(entry) = table.get(id) {
                entries.push((Arc::clone(key), entry.clone()));
            }
        }
        EntryPage {
            entries,
            is_last: true,
        }
    }

    /// Keys of a box whose time is over, some at most, the longest over first. They stay readable: only their owner ends them.
    pub fn due(&self, at: EntryBox, now: Now, keys_max: usize) -> Vec<Arc<[u8]>> {
        self.shard.entries.due(at, now, keys_max)
    }

    /// Boxes with an entry whose time is over, some at most, the longest over first.
    pub fn due_boxes(&self, now: Now, boxes_max: usize) -> Vec<EntryBox> {
        self.shard.entries.due_boxes(now, boxes_max)
    }

    /// The first box after one (of all, if none) that has entries.
    pub fn box_after(&self, after: Option<EntryBox>) -> Option<EntryBox> {
        self.shard.entries.box_after(after)
    }

    /// Counts a client's lookup. Reading alone is not one: whoever decides a write reads, too.
    pub const fn count_lookup(&mut self, is_hit: bool) {
        let counted = &mut self.shard.counted;
        counted.entry_lookups += 1;
        if is_hit {
            counted.entry_hits += 1;
        }
    }

    fn settle(&mut self) {
        self.shard.settle(false, self.effects);
    }
}

impl Shard {
    /// Evicts until `bytes` of entries fit in the place of `replaced`: cached entries for the quota of entries, then blocks
    /// for the whole. What is replaced stays until then: a refused write changes nothing under its key.
    fn make_entry_room(&mut self, bytes: u64, replaced: Option<EntryId>) -> bool {
        let freed = replaced.map_or(0, |id| self.entries.bytes_of(id));
        let is_kept = |id| {
            let entry = self.entries.get(id);
            entry.is_some_and(|entry| entry.class == crate::entry::EntryClass::Kept)
        };
        let freed_kept = replaced.filter(|id| is_kept(*id)).map_or(0, |_| freed);
        let kept_bytes = self.entries.kept_bytes() - freed_kept;
        if kept_bytes.saturating_add(bytes) > self.budget.entry_bytes_max {
            return false; // Evicting all that may go would not do.
        }
        while (self.usage.entry_bytes - freed).saturating_add(bytes) > self.budget.entry_bytes_max {
            if self.evict_entry(replaced).is_none() {
                return false;
            }
        }
        while (self.usage.bytes - freed).saturating_add(bytes) > self.budget.bytes_max {
            if self.evict_block(None).is_none() && self.evict_entry(replaced).is_none() {
                return false;
            }
        }
        true
    }
}
