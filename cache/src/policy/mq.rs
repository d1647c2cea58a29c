//! Responsible for MQ: queues by the logarithm of uses, with a lifetime in each. It must never know costs.
//!
//! # Source
//! Zhou, Philbin, Li, "The multi-queue replacement algorithm for second level buffer caches", USENIX ATC 2001: eight queues,
//! the uses of what is gone remembered for four times the room. The lifetime is libCacheSim's default.

use crate::forest::{BlockId, Forest};
use crate::policy::ghosts::{Ghosts, hash_of};
use crate::policy::queues::Queues;
use crate::policy::{
    Explanation, Facts, Figures, Newcomer, Policy, Rank, Recipe, as_f64, count, path,
};
use crate::slab::Slab;

pub(super) static RECIPE: Recipe = Recipe {
    name: "mq",
    summary: "Queues by the logarithm of uses; who is not used for a lifetime moves down one.",
    source: "Zhou, Philbin, Li, USENIX ATC 2001",
    make: |_| Box::new(Mq::new()),
};

const QUEUES: u8 = 8;
const NAMES: &[&str] = &[
    "queue 0", "queue 1", "queue 2", "queue 3", "queue 4", "queue 5", "queue 6", "queue 7",
];

/// Uses of anything during which a block may stay in its queue without one of its own.
const LIFETIME: u64 = 10_000;

/// Ghosts for each block of room.
const GHOSTS_A_BLOCK: usize = 4;

#[derive(Clone, Copy, Default)]
struct Life {
    uses: u32,
    expires: u64,
}

/// See the module.
#[derive(Debug)]
pub struct Mq {
    queues: Queues,
    lives: Slab<Life>,
    ghosts: Ghosts<u32>,
    clock: u64,
}

impl Default for Mq {
    fn default() -> Self {
        Self::new()
    }
}

fn queue_of(uses: u32) -> u8 {
    u8::try_from(uses.max(1).ilog2())
        .unwrap_or(QUEUES)
        .min(QUEUES - 1)
}

impl Mq {
    /// A policy that knows no block yet.
    pub fn new() -> Self {
        Self {
            queues: Queues::new(usize::from(QUEUES)),
            lives: Slab::new(),
            ghosts: Ghosts::new(),
            clock: 0,
        }
    }

    /// Moves the coldest of each queue down when its lifetime is over.
    fn adjust(&mut self) {
        for queue in 1..QUEUES {
            if let Some(id) = self.queues.coldest_any(queue)
                && self.lives[id.0].expires < self.clock
            {
                self.queues.renew(id, queue - 1);
                self.lives[id.0].expires = self.clock + LIFETIME;
            }
        }
    }
}

impl Policy for Mq {
    fn admit(&mut self, forest: &Forest, id: BlockId, _facts: &Facts) {
        let uses = self
            .ghosts
            .remove(hash_of(forest.key(id)))
            .unwrap_or(0)
            .saturating_add(1);
        self.clock += 1;
        self.lives.reach(id.0);
        self.lives[id.0] = Life {
            uses,
            expires: self.clock + LIFETIME,
        };
        self.queues.admit(id, queue_of(uses), 0);
        self.adjust();
    }

    fn touch(&mut self, forest: &Forest, id: BlockId) {
        for id in path(forest, id) {
            self.clock += 1;
            let uses = self.lives[id.0].uses.saturating_add(1);
            self.lives[id.0] = Life {
                uses,
                expires: self.clock + LIFETIME,
            };
            self.queues.renew(id, queue_of(uses));
            self.adjust();
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
        let room = self.queues.total();
        self.ghosts
            .insert(hash_of(forest.key(id)), self.lives[id.0].uses);
        self.ghosts.keep(room * GHOSTS_A_BLOCK);
        self.forget(forest, id, heir);
    }

    fn victim(&mut self, forest: &Forest, _newcomer: Option<&Newcomer<'_>>) -> Option<BlockId> {
        let found = (0..QUEUES).find_map(|queue| self.queues.coldest(forest, queue));
        found.or_else(|| self.queues.coldest_last(forest))
    }

    fn explain(&self, forest: &Forest, id: BlockId) -> Explanation {
        let mut explanation = self.queues.explain(forest, id, NAMES);
        explanation
            .because
            .push(("uses", f64::from(self.lives[id.0].uses)));
        explanation
    }

    fn outlook(&self, forest: &Forest, many: usize) -> Vec<BlockId> {
        let order = (0..QUEUES).flat_map(|queue| self.queues.walk(queue));
        self.queues.outlook(forest, order, many)
    }

    fn figures(&self) -> Figures {
        Figures {
            numbers: vec![("ghosts", as_f64(count(self.ghosts.len())))],
            classes: self.queues.figures(NAMES),
        }
    }
}
