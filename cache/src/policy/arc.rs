//! Responsible for ARC: recency and frequency in balance. It must never know more of the past than its ghosts.
//!
//! # Source
//! Megiddo, Modha, "ARC: a self-tuning, low overhead replacement cache", FAST 2003, figure 4. The room is the number of
//! blocks present when room is needed.

use crate::forest::{BlockId, Forest};
use crate::policy::ghosts::{Ghosts, hash_of};
use crate::policy::queues::{Queues, hash_of_newcomer};
use crate::policy::{
    Explanation, Facts, Figures, Newcomer, Policy, Rank, Recipe, as_f64, count, path,
};

pub(super) static RECIPE: Recipe = Recipe {
    name: "arc",
    summary: "Divides the room between blocks used once and used again, by which of their ghosts are missed.",
    source: "Megiddo, Modha, FAST 2003",
    make: |_| Box::new(Arc::new()),
};

/// Used once.
const ONCE: u8 = 0;
/// Used again.
const AGAIN: u8 = 1;
const NAMES: &[&str] = &["once", "again"];

/// See the module.
#[derive(Debug)]
pub struct Arc {
    queues: Queues,
    once_ghosts: Ghosts<()>,
    again_ghosts: Ghosts<()>,
    /// Room meant for blocks used once.
    target: f64,
    /// The newcomer that was a ghost: its hash, and whether of the second list.
    returning: Option<(u64, bool)>,
}

impl Default for Arc {
    fn default() -> Self {
        Self::new()
    }
}

impl Arc {
    /// A policy that knows no block yet.
    pub fn new() -> Self {
        Self {
            queues: Queues::new(2),
            once_ghosts: Ghosts::new(),
            again_ghosts: Ghosts::new(),
            target: 0.0,
            returning: None,
        }
    }

    /// Adapts when `hash` is a ghost, once for each return.
    fn greet(&mut self, hash: u64) {
        if self
            .returning
            .is_some_and(|(returning, _)| returning == hash)
        {
            return;
        }
        let len = |ghosts: &Ghosts<()>| as_f64(count(ghosts.len()));
        let (once, again) = (len(&self.once_ghosts), len(&self.again_ghosts));
        self.returning = None;
        if self.once_ghosts.remove(hash).is_some() {
            let room = as_f64(count(self.queues.total()));
            self.target = (self.target + (again / once).max(1.0)).min(room);
            self.returning = Some((hash, false));
        } else if self.again_ghosts.remove(hash).is_some() {
            self.target = (self.target - (once / again).max(1.0)).max(0.0);
            self.returning = Some((hash, true));
        }
    }

    /// Which list gives way.
    fn is_once_over(&self) -> bool {
        let once = as_f64(count(self.queues.len(ONCE)));
        let is_even = (once - self.target).abs() < f64::EPSILON;
        let is_over =
            once > self.target || is_even && self.returning.is_some_and(|(_, again)| again);
        once > 0.0 && is_over || self.queues.len(AGAIN) == 0
    }

    /// Whether blocks used once, present and gone, fill the room, and none of them is gone.
    fn is_once_all(&self) -> bool {
        self.returning.is_none() && self.once_ghosts.len() == 0 && self.queues.len(AGAIN) == 0
    }
}

impl Policy for Arc {
    fn admit(&mut self, forest: &Forest, id: BlockId, _facts: &Facts) {
        let hash = hash_of(forest.key(id));
        self.greet(hash);
        let is_back = self
            .returning
            .take()
            .is_some_and(|(returning, _)| returning == hash);
        self.queues.admit(id, if is_back { AGAIN } else { ONCE }, 0);
    }

    fn touch(&mut self, forest: &Forest, id: BlockId) {
        path(forest, id).for_each(|id| self.queues.renew(id, AGAIN));
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
        let room = self.queues.total();
        let is_remembered = !self.is_once_all();
        if self.returning.is_none() {
            if self.queues.len(ONCE) + self.once_ghosts.len() >= room {
                self.once_ghosts.pop_oldest();
            } else if room + self.once_ghosts.len() + self.again_ghosts.len() >= 2 * room {
                self.again_ghosts.pop_oldest();
            }
        }
        let hash = hash_of(forest.key(id));
        match self.queues.queue(id) {
            ONCE if is_remembered => self.once_ghosts.insert(hash, ()),
            ONCE => {}
            _ => self.again_ghosts.insert(hash, ()),
        }
        // A cache that shrinks, or whose blocks grow, keeps to the bound as well.
        self.once_ghosts.keep(room);
        self.again_ghosts.keep(room);
        self.forget(forest, id, heir);
    }

    fn victim(&mut self, forest: &Forest, newcomer: Option<&Newcomer<'_>>) -> Option<BlockId> {
        match hash_of_newcomer(newcomer) {
            Some(hash) => self.greet(hash),
            None => self.returning = None,
        }
        let (first, second) = if self.is_once_over() {
            (ONCE, AGAIN)
        } else {
            (AGAIN, ONCE)
        };
        let found = self.queues.coldest(forest, first);
        found
            .or_else(|| self.queues.coldest(forest, second))
            .or_else(|| self.queues.coldest_last(forest))
    }

    fn explain(&self, forest: &Forest, id: BlockId) -> Explanation {
        let mut explanation = self.queues.explain(forest, id, NAMES);
        explanation
            .because
            .push(("room meant for once", self.target));
        explanation
    }

    /// As for a newcomer that is no ghost.
    fn outlook(&self, forest: &Forest, many: usize) -> Vec<BlockId> {
        let once = as_f64(count(self.queues.len(ONCE)));
        let is_once_over = once > self.target && once > 0.0 || self.queues.len(AGAIN) == 0;
        let (first, second) = if is_once_over {
            (ONCE, AGAIN)
        } else {
            (AGAIN, ONCE)
        };
        let order = self.queues.walk(first).chain(self.queues.walk(second));
        self.queues.outlook(forest, order, many)
    }

    fn figures(&self) -> Figures {
        Figures {
            numbers: vec![
                ("room meant for once", self.target),
                ("ghosts of once", as_f64(count(self.once_ghosts.len()))),
                ("ghosts of again", as_f64(count(self.again_ghosts.len()))),
            ],
            classes: self.queues.figures(NAMES),
        }
    }
}
