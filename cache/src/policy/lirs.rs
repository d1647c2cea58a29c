//! Responsible for LIRS: blocks are ranked by the time between their last two uses. It must never know how often a block was
//! used.
//!
//! # Source
//! Jiang, Zhang, "LIRS: an efficient low inter-reference recency set replacement policy", SIGMETRICS 2002. Its stack is not
//! kept as a list: a block is in the stack exactly when its last use is later than that of the coldest block of low
//! inter-reference recency, so comparing two numbers says it, and pruning costs nothing.

use crate::forest::{BlockId, Forest};
use crate::policy::ghosts::{Ghosts, hash_of};
use crate::policy::queues::{Queues, share};
use crate::policy::{
    Explanation, Facts, Figures, Newcomer, Policy, Rank, Recipe, as_f64, count, path,
};
use crate::slab::Slab;

pub(super) static RECIPE: Recipe = Recipe {
    name: "lirs",
    summary: "Keeps blocks whose last two uses were close; the others pass through a hundredth of the room.",
    source: "Jiang, Zhang, SIGMETRICS 2002",
    make: |_| Box::new(Lirs::new()),
};

/// Low inter-reference recency.
const LOW: u8 = 0;
/// High: the first to go.
const HIGH: u8 = 1;
const NAMES: &[&str] = &["low", "high"];

/// Share of the room for blocks of high inter-reference recency.
const HIGH_SHARE: f64 = 0.01;

/// See the module.
#[derive(Debug)]
pub struct Lirs {
    queues: Queues,
    /// Number of each block's last use.
    used: Slab<u64>,
    ghosts: Ghosts<u64>,
    clock: u64,
    /// Blocks of low recency at most, once the room is known.
    low_max: usize,
}

impl Default for Lirs {
    fn default() -> Self {
        Self::new()
    }
}

impl Lirs {
    /// A policy that knows no block yet.
    pub fn new() -> Self {
        Self {
            queues: Queues::new(2),
            used: Slab::new(),
            ghosts: Ghosts::new(),
            clock: 0,
            low_max: usize::MAX,
        }
    }

    /// Whether a use at this time lies within the stack.
    fn is_in_stack(&self, used: u64) -> bool {
        self.queues
            .coldest_any(LOW)
            .is_none_or(|BlockId(coldest)| self.used[coldest] < used)
    }

    fn use_now(&mut self, id: BlockId) {
        self.clock += 1;
        self.used[id.0] = self.clock;
    }

    /// Makes the coldest of low recency high, until there are few enough.
    fn lower(&mut self) {
        while self.queues.len(LOW) > self.low_max {
            let Some(coldest) = self.queues.coldest_any(LOW) else {
                break;
            };
            self.queues.renew(coldest, HIGH);
        }
    }
}

impl Policy for Lirs {
    fn admit(&mut self, forest: &Forest, id: BlockId, _facts: &Facts) {
        let ghost = self.ghosts.remove(hash_of(forest.key(id)));
        let is_back = ghost.is_some_and(|used| self.is_in_stack(used));
        self.used.reach(id.0);
        self.use_now(id);
        let is_low = is_back || self.queues.len(LOW) < self.low_max;
        self.queues.admit(id, if is_low { LOW } else { HIGH }, 0);
        self.lower();
    }

    fn touch(&mut self, forest: &Forest, id: BlockId) {
        for id in path(forest, id) {
            let is_low = self.queues.queue(id) == LOW || self.is_in_stack(self.used[id.0]);
            self.use_now(id);
            self.queues.renew(id, if is_low { LOW } else { HIGH });
            self.lower();
        }
    }

    fn suspend(&mut self, id: BlockId) {
        self.queues.suspend(id);
    }

    fn resume(&mut self, id: BlockId, rank: Rank) {
        self.queues.resume(id, rank);
    }

    fn forget(&mut self, _forest: &Forest, id: BlockId, heir: Option<BlockId>) {
        self.queues.leave(id, heir);
    }

    fn evict(&mut self, forest: &Forest, id: BlockId, heir: Option<BlockId>) {
        let used = self.used[id.0];
        if self.is_in_stack(used) {
            self.ghosts.insert(hash_of(forest.key(id)), used);
            self.ghosts.keep(self.queues.total());
        }
        self.forget(forest, id, heir);
    }

    fn victim(&mut self, forest: &Forest, _newcomer: Option<&Newcomer<'_>>) -> Option<BlockId> {
        let room = self.queues.total();
        self.low_max = room - share(room, HIGH_SHARE).max(1).min(room);
        self.lower();
        let found = self.queues.coldest(forest, HIGH);
        found
            .or_else(|| self.queues.coldest(forest, LOW))
            .or_else(|| self.queues.coldest_last(forest))
    }

    /// With nothing of high recency left to go but the newcomer's own chain, LIRS would drop that chain's beginning for its
    /// end. Here the end is not stored.
    fn admits(&mut self, _forest: &Forest, newcomer: &Newcomer<'_>, victim: BlockId) -> bool {
        let hash = hash_of(newcomer.key);
        let is_back = self
            .ghosts
            .get(hash)
            .is_some_and(|used| self.is_in_stack(*used));
        if is_back || self.queues.queue(victim) == HIGH || self.queues.len(HIGH) == 0 {
            return true;
        }
        self.clock += 1;
        self.ghosts.insert(hash, self.clock);
        self.ghosts.keep(self.queues.total());
        false
    }

    fn explain(&self, forest: &Forest, id: BlockId) -> Explanation {
        let mut explanation = self.queues.explain(forest, id, NAMES);
        let since = as_f64(self.clock - self.used[id.0]);
        explanation
            .because
            .push(("uses of others since its own", since));
        explanation
    }

    /// Blocks of low recency that are too many by now stand behind the high ones, in their order, as they would be put there.
    fn outlook(&self, forest: &Forest, many: usize) -> Vec<BlockId> {
        let order = self.queues.walk(HIGH).chain(self.queues.walk(LOW));
        self.queues.outlook(forest, order, many)
    }

    fn figures(&self) -> Figures {
        Figures {
            numbers: vec![("ghosts", as_f64(count(self.ghosts.len())))],
            classes: self.queues.figures(NAMES),
        }
    }
}
