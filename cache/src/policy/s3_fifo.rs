//! Responsible for S3-FIFO: a small queue on probation, a main one, and ghosts. It must never know recency.
//!
//! # Source
//! Yang, Zhang, Qiu, Yue, Rashmi, "FIFO queues are all you need for cache eviction", SOSP 2023, with its defaults: a tenth
//! of the room on probation, two uses there to get into the main queue, ghosts for nine tenths of the room.

use crate::forest::{BlockId, Forest};
use crate::policy::explain::LOOK_MAX;
use crate::policy::ghosts::{Ghosts, hash_of};
use crate::policy::queues::{Queues, share};
use crate::policy::{
    Explanation, Facts, Figures, Newcomer, Policy, Rank, Recipe, as_f64, count, path,
};

pub(super) static RECIPE: Recipe = Recipe {
    name: "s3-fifo",
    summary: "New blocks prove themselves in a small queue before they get into the main one.",
    source: "Yang, Zhang, Qiu, Yue, Rashmi, SOSP 2023",
    make: |_| Box::new(S3Fifo::new()),
};

const SMALL: u8 = 0;
const MAIN: u8 = 1;
const NAMES: &[&str] = &["small", "main"];

/// Share of the room that is on probation.
const SMALL_SHARE: f64 = 0.1;
/// Ghosts for each block of room.
const GHOST_SHARE: f64 = 0.9;
/// Uses on probation that lead into the main queue.
const PROVEN: u8 = 2;
/// Uses that count for another round in the main queue.
const ROUNDS_MAX: u8 = 3;

/// See the module.
#[derive(Debug)]
pub struct S3Fifo {
    /// Marks: uses.
    queues: Queues,
    ghosts: Ghosts<()>,
}

impl Default for S3Fifo {
    fn default() -> Self {
        Self::new()
    }
}

impl S3Fifo {
    /// A policy that knows no block yet.
    pub fn new() -> Self {
        Self {
            queues: Queues::new(2),
            ghosts: Ghosts::new(),
        }
    }

    /// Whether the main queue gives way.
    fn is_mains_turn(&self) -> bool {
        let room = self.queues.total();
        self.queues.len(MAIN) > room - share(room, SMALL_SHARE) || self.queues.len(SMALL) == 0
    }

    /// The oldest on probation that has not proven itself; those that have move on.
    fn of_small(&mut self, forest: &Forest) -> Option<BlockId> {
        while let Some(id) = self.queues.coldest(forest, SMALL) {
            if self.queues.mark(id) < PROVEN {
                return Some(id);
            }
            self.queues.set_mark(id, 0);
            self.queues.renew(id, MAIN);
        }
        None
    }

    /// The oldest of the main queue that was not used since its last round.
    fn of_main(&mut self, forest: &Forest) -> Option<BlockId> {
        while let Some(id) = self.queues.coldest(forest, MAIN) {
            let uses = self.queues.mark(id);
            if uses == 0 {
                return Some(id);
            }
            self.queues.set_mark(id, uses.min(ROUNDS_MAX) - 1);
            self.queues.renew(id, MAIN);
        }
        None
    }
}

impl Policy for S3Fifo {
    fn admit(&mut self, forest: &Forest, id: BlockId, _facts: &Facts) {
        let is_known = self.ghosts.remove(hash_of(forest.key(id))).is_some();
        self.queues
            .admit(id, if is_known { MAIN } else { SMALL }, 0);
    }

    fn touch(&mut self, forest: &Forest, id: BlockId) {
        for id in path(forest, id) {
            self.queues
                .set_mark(id, self.queues.mark(id).saturating_add(1));
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
        if self.queues.queue(id) == SMALL {
            self.ghosts.insert(hash_of(forest.key(id)), ());
            self.ghosts.keep(share(self.queues.total(), GHOST_SHARE));
        }
        self.forget(forest, id, heir);
    }

    fn victim(&mut self, forest: &Forest, _newcomer: Option<&Newcomer<'_>>) -> Option<BlockId> {
        if self.is_mains_turn() {
            // What is on probation and proven moves on to the main queue, from where it may go.
            self.of_main(forest)
                .or_else(|| self.of_small(forest))
                .or_else(|| self.of_main(forest))
        } else {
            self.of_small(forest).or_else(|| self.of_main(forest))
        }
        .or_else(|| self.queues.coldest_last(forest))
    }

    fn explain(&self, forest: &Forest, id: BlockId) -> Explanation {
        self.queues.explain(forest, id, NAMES)
    }

    /// Those on probation as they came, those that have proven themselves behind the main queue's; of that, fewer rounds first.
    fn outlook(&self, forest: &Forest, many: usize) -> Vec<BlockId> {
        let small = self.queues.walk(SMALL).take(LOOK_MAX);
        let (unproven, proven): (Vec<BlockId>, Vec<BlockId>) =
            small.partition(|id| self.queues.mark(*id) < PROVEN);
        let mut main: Vec<BlockId> = self.queues.walk(MAIN).take(LOOK_MAX).collect();
        main.sort_by_key(|id| self.queues.mark(*id).min(ROUNDS_MAX));
        let order = if self.is_mains_turn() {
            [main, unproven, proven]
        } else {
            let rounds = main.partition_point(|id| self.queues.mark(*id) == 0);
            let later = main.split_off(rounds);
            [unproven, main, proven.into_iter().chain(later).collect()]
        };
        self.queues
            .outlook(forest, order.into_iter().flatten(), many)
    }

    fn figures(&self) -> Figures {
        Figures {
            numbers: vec![("ghosts", as_f64(count(self.ghosts.len())))],
            classes: self.queues.figures(NAMES),
        }
    }
}
