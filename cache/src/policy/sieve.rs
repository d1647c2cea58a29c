//! Responsible for SIEVE: one queue, one hand, one bit a block. It must never know how often a block was used.
//!
//! # Source
//! Zhang, Yang, Yue, Vigfusson, Rashmi, "SIEVE is simpler than LRU", NSDI 2024. It is not proof against scans, and on chains
//! it does worse than LRU; it is here for comparison.

use crate::forest::{BlockId, Forest};
use crate::policy::explain::LOOK_MAX;
use crate::policy::queues::Queues;
use crate::policy::{Explanation, Facts, Figures, Newcomer, Policy, Rank, Recipe, path};

pub(super) static RECIPE: Recipe = Recipe {
    name: "sieve",
    summary: "A hand moves from old to new over a queue and takes the first leaf not used since it passed.",
    source: "Zhang, Yang, Yue, Vigfusson, Rashmi, NSDI 2024",
    make: |_| Box::new(Sieve::new()),
};

const QUEUE: u8 = 0;
const NAMES: &[&str] = &["queue"];

/// See the module.
#[derive(Debug)]
pub struct Sieve {
    /// Marks: 1 when used since the hand passed.
    queues: Queues,
    hand: Option<BlockId>,
}

impl Default for Sieve {
    fn default() -> Self {
        Self::new()
    }
}

impl Sieve {
    /// A policy that knows no block yet.
    pub fn new() -> Self {
        Self {
            queues: Queues::new(1),
            hand: None,
        }
    }

    fn advance_from(&mut self, id: BlockId) {
        if self.hand == Some(id) {
            self.hand = self.queues.hotter(id);
        }
    }

    fn set_aside(&mut self, id: BlockId) {
        self.advance_from(id);
        self.queues.set_aside(id);
    }
}

/// The blocks from one on, towards the hot end.
fn walk_from(queues: &Queues, start: Option<BlockId>) -> impl Iterator<Item = BlockId> {
    std::iter::successors(start, |id| queues.hotter(*id))
}

impl Policy for Sieve {
    fn admit(&mut self, _forest: &Forest, id: BlockId, _facts: &Facts) {
        self.queues.admit(id, QUEUE, 0);
    }

    fn touch(&mut self, forest: &Forest, id: BlockId) {
        path(forest, id).for_each(|id| self.queues.set_mark(id, 1));
    }

    fn suspend(&mut self, id: BlockId) {
        self.queues.suspend(id);
    }

    fn resume(&mut self, id: BlockId, rank: Rank) {
        self.advance_from(id);
        self.queues.resume(id, rank);
    }

    fn forget(&mut self, _forest: &Forest, id: BlockId, heir: Option<BlockId>) {
        if let Some(heir) = heir {
            self.queues.inherit(id, heir);
        }
        self.advance_from(id);
        self.queues.remove(id);
    }

    fn evict(&mut self, forest: &Forest, id: BlockId, heir: Option<BlockId>) {
        self.forget(forest, id, heir);
    }

    fn victim(&mut self, forest: &Forest, _newcomer: Option<&Newcomer<'_>>) -> Option<BlockId> {
        // Twice around at most: the first round clears every mark.
        while let Some(id) = self.hand.or_else(|| self.queues.coldest_any(QUEUE)) {
            self.hand = Some(id);
            if !self.queues.can_go(forest, id) {
                self.set_aside(id);
            } else if self.queues.mark(id) > 0 {
                self.queues.set_mark(id, 0);
                self.hand = self.queues.hotter(id);
            } else {
                return Some(id);
            }
        }
        self.queues.coldest_last(forest)
    }

    fn explain(&self, forest: &Forest, id: BlockId) -> Explanation {
        self.queues.explain(forest, id, NAMES)
    }

    /// From the hand on and once around: what was not used since, then what was.
    fn outlook(&self, forest: &Forest, many: usize) -> Vec<BlockId> {
        let from_hand = walk_from(&self.queues, self.hand);
        let before_hand = self.queues.walk(QUEUE);
        let around: Vec<BlockId> = from_hand
            .chain(before_hand.take_while(|id| Some(*id) != self.hand))
            .take(LOOK_MAX)
            .collect();
        let (used, unused): (Vec<BlockId>, Vec<BlockId>) =
            around.into_iter().partition(|id| self.queues.mark(*id) > 0);
        self.queues
            .outlook(forest, unused.into_iter().chain(used), many)
    }

    fn figures(&self) -> Figures {
        Figures {
            classes: self.queues.figures(NAMES),
            ..Figures::default()
        }
    }
}
