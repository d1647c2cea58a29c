//! Responsible for GDSF: uses times cost for each byte, on a floor that rises with every victim. It must never know when a
//! block was used.
//!
//! # Source
//! Cherkasova, "Improving WWW proxies performance with Greedy-Dual-Size-Frequency caching policy", HP Labs 1998.

use std::collections::BTreeSet;

use crate::forest::{BlockId, Forest};
use crate::policy::explain::leaves;
use crate::policy::{Explanation, Facts, Figures, Newcomer, Policy, Rank, Recipe};
use crate::slab::Slab;

pub(super) static RECIPE: Recipe = Recipe {
    name: "gdsf",
    summary: "Lowest uses times recompute cost a byte first, above a floor that rises with each victim.",
    source: "Cherkasova, HP Labs 1998",
    make: |_| Box::new(Gdsf::new()),
};

#[derive(Clone, Copy, Default)]
struct Record {
    /// The floor at its last use.
    floor: f64,
    value: f64,
    /// Number of its last use; breaks ties.
    used: u64,
    uses: u32,
    is_suspended: bool,
    is_last: bool,
    is_listed: bool,
}

impl Record {
    fn priority(&self) -> f64 {
        self.floor + f64::from(self.uses) * self.value
    }

    /// Priorities are not negative, so their bits are in their order.
    fn place(&self, id: u32) -> (u64, u64, u32) {
        (self.priority().to_bits(), self.used, id)
    }
}

/// See the module.
#[derive(Debug, Default)]
pub struct Gdsf {
    records: Slab<Record>,
    normal: BTreeSet<(u64, u64, u32)>,
    last: BTreeSet<(u64, u64, u32)>,
    floor: f64,
    clock: u64,
}

impl Gdsf {
    /// A policy that knows no block yet.
    pub fn new() -> Self {
        Self::default()
    }

    fn unlist(&mut self, id: u32) {
        let record = &mut self.records[id];
        if std::mem::take(&mut record.is_listed) {
            let place = record.place(id);
            let list = if record.is_last {
                &mut self.last
            } else {
                &mut self.normal
            };
            list.remove(&place);
        }
    }

    fn list(&mut self, id: u32) {
        let record = &mut self.records[id];
        if !record.is_suspended {
            record.is_listed = true;
            let place = record.place(id);
            let list = if record.is_last {
                &mut self.last
            } else {
                &mut self.normal
            };
            list.insert(place);
        }
    }

    fn use_now(&mut self, id: u32) {
        self.unlist(id);
        self.clock += 1;
        let record = &mut self.records[id];
        (record.floor, record.used) = (self.floor, self.clock);
        record.uses = record.uses.saturating_add(1);
        self.list(id);
    }
}

impl Policy for Gdsf {
    fn admit(&mut self, _forest: &Forest, id: BlockId, facts: &Facts) {
        self.records.reach(id.0);
        self.records[id.0] = Record {
            value: f64::from(facts.value()).max(0.0),
            ..Record::default()
        };
        self.use_now(id.0);
    }

    fn touch(&mut self, _forest: &Forest, id: BlockId) {
        self.use_now(id.0);
    }

    fn suspend(&mut self, id: BlockId) {
        self.unlist(id.0);
        self.records[id.0].is_suspended = true;
    }

    fn resume(&mut self, id: BlockId, rank: Rank) {
        self.unlist(id.0);
        self.records[id.0].is_suspended = false;
        self.records[id.0].is_last = rank == Rank::Last;
        self.list(id.0);
    }

    /// Being stored counts as one use; of a child's uses the heir gets all others.
    fn forget(&mut self, _forest: &Forest, id: BlockId, heir: Option<BlockId>) {
        if let Some(BlockId(heir)) = heir {
            let from = self.records[id.0];
            self.unlist(heir);
            let to = &mut self.records[heir];
            to.uses = to.uses.saturating_add(from.uses.saturating_sub(1));
            to.floor = to.floor.max(from.floor);
            to.used = to.used.max(from.used);
            self.list(heir);
        }
        self.unlist(id.0);
        self.records[id.0] = Record::default();
    }

    fn evict(&mut self, forest: &Forest, id: BlockId, heir: Option<BlockId>) {
        self.floor = self.floor.max(self.records[id.0].priority());
        self.forget(forest, id, heir);
    }

    fn victim(&mut self, forest: &Forest, _newcomer: Option<&Newcomer<'_>>) -> Option<BlockId> {
        for is_last in [false, true] {
            loop {
                let list = if is_last { &self.last } else { &self.normal };
                let Some((_, _, id)) = list.first().copied() else {
                    break;
                };
                if forest.is_leaf(BlockId(id)) {
                    return Some(BlockId(id));
                }
                self.unlist(id);
            }
        }
        None
    }

    fn revise(&mut self, id: BlockId, facts: &Facts) {
        self.unlist(id.0);
        self.records[id.0].value = f64::from(facts.value()).max(0.0);
        self.list(id.0);
    }

    fn explain(&self, forest: &Forest, id: BlockId) -> Explanation {
        let record = self.records[id.0];
        Explanation {
            class: if record.is_last { "last" } else { "normal" }.into(),
            score: record.priority(),
            because: vec![
                ("uses", f64::from(record.uses)),
                ("value a byte", record.value),
                ("floor at its last use", record.floor),
                ("floor now", self.floor),
            ],
            can_go: !record.is_suspended && forest.is_leaf(id),
        }
    }

    fn outlook(&self, forest: &Forest, many: usize) -> Vec<BlockId> {
        let order = self.normal.iter().chain(&self.last);
        leaves(forest, order.map(|(_, _, id)| BlockId(*id)), many)
    }

    fn figures(&self) -> Figures {
        Figures {
            numbers: vec![("floor", self.floor)],
            ..Figures::default()
        }
    }
}
