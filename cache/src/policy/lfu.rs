//! Responsible for least frequently used first, with ageing, among leaves. It must never know what else a policy could
//! count.
//!
//! # Source
//! LFU with dynamic ageing: Arlitt, Cherkasova, Dilley, Friedrich, Jin, "Evaluating content management techniques for web
//! proxy caches", 1999 (there for equal sizes). A block's *merit* is its uses plus the age at its last use; the age is the
//! merit of the latest victim. What was popular long ago is thus overtaken by what is used now.
//!
//! # Why being stored is no use
//! A chain of n blocks is stored by n events. If each counted, the root would inherit n uses from one request nobody
//! repeated, and outlive what is in use. Blocks start with no uses and the current age.
//!
//! Equal merits form a list, colder ones first; lists are found by merit in a B-tree that has as many keys as there are
//! different merits: few, since merits differ by numbers of uses.
#![expect(
    clippy::indexing_slicing,
    reason = "every id is reached when it is admitted"
)]

use std::collections::BTreeMap;

use crate::forest::BlockId;
use crate::policy::links::{Linked, Links, List};
use crate::policy::{Policy, Rank};
use crate::slab::Slab;

const LISTED: u32 = 1 << 31;
const SUSPENDED: u32 = 1 << 30;
const LAST: u32 = 1 << 29;

/// Uses are counted up to this number and then no further.
const USES_MAX: u32 = LAST - 1;

/// 20 bytes: state and uses share a word, and the merit is cut in two so that four bytes align it.
#[derive(Clone, Copy, Default)]
struct Record {
    links: Links,
    uses_and_state: u32,
    merit_low: u32,
    merit_high: u32,
}

const _: () = assert!(size_of::<Record>() == 20);

impl Linked for Record {
    fn links(&mut self) -> &mut Links {
        &mut self.links
    }
}

impl Record {
    const fn uses(&self) -> u32 {
        self.uses_and_state & USES_MAX
    }

    const fn has(&self, state: u32) -> bool {
        self.uses_and_state & state != 0
    }

    const fn set(&mut self, state: u32, on: bool) {
        self.uses_and_state = self.uses_and_state & !state | if on { state } else { 0 };
    }

    const fn rank(&self) -> usize {
        if self.has(LAST) { 1 } else { 0 }
    }

    fn merit(&self) -> u64 {
        u64::from(self.merit_high) << 32 | u64::from(self.merit_low)
    }

    /// Age at the last use.
    fn age(&self) -> u64 {
        self.merit().saturating_sub(u64::from(self.uses()))
    }

    fn value(&mut self, age: u64, uses: u32) {
        let uses = uses.min(USES_MAX);
        self.uses_and_state = self.uses_and_state & !USES_MAX | uses;
        let [a, b, c, d, e, f, g, h] = age.saturating_add(u64::from(uses)).to_le_bytes();
        self.merit_low = u32::from_le_bytes([a, b, c, d]);
        self.merit_high = u32::from_le_bytes([e, f, g, h]);
    }
}

/// Least frequently used first, with ageing.
#[derive(Debug, Default)]
pub struct Lfu {
    records: Slab<Record>,
    by_merit: [BTreeMap<u64, List>; 2],
    age: u64,
}

impl Lfu {
    /// A policy that knows no block yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The merit by which a block stands: its uses, plus the age at its last use.
    pub fn merit(&self, id: BlockId) -> u64 {
        self.records[id.0].merit()
    }

    fn unlist(&mut self, id: u32) {
        let record = self.records[id];
        if !record.has(LISTED) {
            return;
        }
        self.records[id].set(LISTED, false);
        let lists = &mut self.by_merit[record.rank()];
        if let Some(list) = lists.get_mut(&record.merit()) {
            list.remove(&mut self.records, id);
            if list.is_empty() {
                lists.remove(&record.merit());
            }
        }
    }

    fn list(&mut self, id: u32) {
        let record = self.records[id];
        self.records[id].set(LISTED, true);
        let list = self.by_merit[record.rank()]
            .entry(record.merit())
            .or_default();
        list.insert_after(&mut self.records, id, list.hottest);
    }

    /// Gives a block a new value and, unless it is suspended, the place that goes with it.
    fn revalue(&mut self, id: u32, age: u64, uses: u32) {
        self.unlist(id);
        self.records[id].value(age, uses);
        if !self.records[id].has(SUSPENDED) {
            self.list(id);
        }
    }
}

impl Policy for Lfu {
    fn admit(&mut self, id: BlockId) {
        self.records.reach(id.0);
        self.records[id.0] = Record::default();
        self.revalue(id.0, self.age, 0);
    }

    fn touch(&mut self, id: BlockId) {
        self.revalue(id.0, self.age, self.records[id.0].uses() + 1);
    }

    fn suspend(&mut self, id: BlockId) {
        self.unlist(id.0);
        self.records[id.0].set(SUSPENDED, true);
    }

    /// No use: the lease's beginning was one.
    fn resume(&mut self, id: BlockId, rank: Rank) {
        self.unlist(id.0);
        self.records[id.0].set(SUSPENDED, false);
        self.records[id.0].set(LAST, rank == Rank::Last);
        self.list(id.0);
    }

    fn forget(&mut self, id: BlockId, heir: Option<BlockId>) {
        if let Some(heir) = heir {
            let (from, to) = (self.records[id.0], self.records[heir.0]);
            self.revalue(
                heir.0,
                from.age().max(to.age()),
                from.uses().saturating_add(to.uses()),
            );
        }
        self.unlist(id.0);
        self.records[id.0] = Record::default();
    }

    fn evict(&mut self, id: BlockId, heir: Option<BlockId>) {
        self.age = self.age.max(self.records[id.0].merit());
        self.forget(id, heir);
    }

    fn victim(&mut self, is_leaf: impl Fn(BlockId) -> bool) -> Option<BlockId> {
        for rank in 0..self.by_merit.len() {
            while let Some(list) = self.by_merit[rank].first_entry() {
                let coldest = list.get().coldest;
                if is_leaf(BlockId(coldest)) {
                    return Some(BlockId(coldest));
                }
                self.unlist(coldest);
            }
        }
        None
    }
}
