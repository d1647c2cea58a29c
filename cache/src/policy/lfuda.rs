//! Responsible for least frequently used first, with ageing, among leaves. It must never know what else a policy could
//! count.
//!
//! # Source
//! LFU with dynamic ageing: Arlitt, Cherkasova, Dilley, Friedrich, Jin, "Evaluating content management techniques for web
//! proxy caches", 1999 (there for equal sizes). A block's *merit* is one more than its uses, plus the age at its last use; the age is
//! the merit of the latest victim. What was popular long ago is thus overtaken by what is used now.
//!
//! # Why being stored is no use
//! A chain of n blocks is stored by n events. If each counted, the root would inherit n uses from one request nobody
//! repeated, and outlive what is in use. Blocks start with no uses, the current age, and the one that all have: it makes the
//! age rise with every generation that goes unused.
//!
//! Equal merits form a list, colder ones first; lists are found by merit in a B-tree that has as many keys as there are
//! different merits: few, since merits differ by numbers of uses.
#![expect(
    clippy::indexing_slicing,
    reason = "every id is reached when it is admitted"
)]

use std::collections::BTreeMap;

use crate::forest::{BlockId, Forest};
use crate::policy::explain::leaves;
use crate::policy::links::{Linked, Links, List, walk};
use crate::policy::{Explanation, Facts, Figures, Newcomer, Policy, Rank, Recipe, as_f64, count};
use crate::slab::Slab;

pub(super) static RECIPE: Recipe = Recipe {
    name: "lfuda",
    summary: "Least frequently used leaf first, with dynamic ageing.",
    source: "Arlitt, Cherkasova, Dilley, Friedrich, Jin, 1999",
    make: |_| Box::new(Lfuda::new()),
};

const LISTED: u64 = 1 << 63;
const SUSPENDED: u64 = 1 << 62;
const LAST: u64 = 1 << 61;
const MERIT_BITS: u32 = 40;
const MERIT_MAX: u64 = (1 << MERIT_BITS) - 1;

/// Uses are counted up to two million and then no further: beyond it blocks are equally popular, and the latest use decides.
const USES_MAX: u64 = (1 << 21) - 1;

/// State, uses and merit share 64 bits, in two words so that four bytes align them: 16 bytes.
#[derive(Clone, Copy, Default)]
struct Record {
    links: Links,
    words: [u32; 2],
}

const _: () = assert!(size_of::<Record>() == 16);

impl Linked for Record {
    fn links(&mut self) -> &mut Links {
        &mut self.links
    }
}

impl Record {
    fn bits(&self) -> u64 {
        let [low, high] = self.words;
        u64::from(high) << 32 | u64::from(low)
    }

    fn set_bits(&mut self, bits: u64) {
        let [a, b, c, d, e, f, g, h] = bits.to_le_bytes();
        self.words = [
            u32::from_le_bytes([a, b, c, d]),
            u32::from_le_bytes([e, f, g, h]),
        ];
    }

    fn uses(&self) -> u64 {
        self.bits() >> MERIT_BITS & USES_MAX
    }

    fn has(&self, state: u64) -> bool {
        self.bits() & state != 0
    }

    fn set(&mut self, state: u64, on: bool) {
        self.set_bits(self.bits() & !state | if on { state } else { 0 });
    }

    fn rank(&self) -> usize {
        usize::from(self.has(LAST))
    }

    fn merit(&self) -> u64 {
        self.bits() & MERIT_MAX
    }

    /// Age at the last use.
    fn age(&self) -> u64 {
        self.merit().saturating_sub(self.uses() + 1)
    }

    fn value(&mut self, age: u64, uses: u64) {
        let uses = uses.min(USES_MAX);
        let merit = age.saturating_add(uses + 1).min(MERIT_MAX);
        let state = self.bits() & (LISTED | SUSPENDED | LAST);
        self.set_bits(state | uses << MERIT_BITS | merit);
    }
}

/// Least frequently used first, with ageing.
#[derive(Debug, Default)]
pub struct Lfuda {
    records: Slab<Record>,
    by_merit: [BTreeMap<u64, List>; 2],
    age: u64,
}

impl Lfuda {
    /// A policy that knows no block yet.
    pub fn new() -> Self {
        Self::default()
    }

    /// The merit by which a block stands: one more than its uses, plus the age at its last use.
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
    fn revalue(&mut self, id: u32, age: u64, uses: u64) {
        self.unlist(id);
        self.records[id].value(age, uses);
        if !self.records[id].has(SUSPENDED) {
            self.list(id);
        }
    }
}

impl Policy for Lfuda {
    fn admit(&mut self, _forest: &Forest, id: BlockId, _facts: &Facts) {
        self.records.reach(id.0);
        self.records[id.0] = Record::default();
        self.revalue(id.0, self.age, 0);
    }

    fn touch(&mut self, _forest: &Forest, id: BlockId) {
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

    fn forget(&mut self, _forest: &Forest, id: BlockId, heir: Option<BlockId>) {
        if let Some(heir) = heir {
            let (from, to) = (self.records[id.0], self.records[heir.0]);
            self.revalue(heir.0, from.age().max(to.age()), from.uses() + to.uses());
        }
        self.unlist(id.0);
        self.records[id.0] = Record::default();
    }

    fn evict(&mut self, forest: &Forest, id: BlockId, heir: Option<BlockId>) {
        self.age = self.age.max(self.records[id.0].merit());
        self.forget(forest, id, heir);
    }

    fn victim(&mut self, forest: &Forest, _newcomer: Option<&Newcomer<'_>>) -> Option<BlockId> {
        for rank in 0..self.by_merit.len() {
            while let Some(list) = self.by_merit[rank].first_entry() {
                let coldest = list.get().coldest;
                if forest.is_leaf(BlockId(coldest)) {
                    return Some(BlockId(coldest));
                }
                self.unlist(coldest);
            }
        }
        None
    }

    fn explain(&self, forest: &Forest, id: BlockId) -> Explanation {
        let record = self.records[id.0];
        Explanation {
            class: if record.has(LAST) { "last" } else { "normal" }.into(),
            score: as_f64(record.merit()),
            because: vec![
                ("uses", as_f64(record.uses())),
                ("age at the last", as_f64(record.age())),
            ],
            can_go: forest.is_leaf(id) && !record.has(SUSPENDED),
        }
    }

    fn outlook(&self, forest: &Forest, many: usize) -> Vec<BlockId> {
        let lists = self.by_merit.iter().flat_map(BTreeMap::values);
        let order =
            lists.flat_map(|list| walk(list.coldest, move |id| self.records[id].links.hotter));
        leaves(forest, order, many)
    }

    fn figures(&self) -> Figures {
        let merits = self.by_merit.iter().map(BTreeMap::len).sum();
        Figures {
            numbers: vec![
                ("age", as_f64(self.age)),
                ("different merits", as_f64(count(merits))),
            ],
            ..Figures::default()
        }
    }
}
