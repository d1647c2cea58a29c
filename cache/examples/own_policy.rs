//! A policy of one's own in one file: first in, first out, among leaves. The book's chapter on policies walks through it.

use std::collections::{BTreeMap, BTreeSet};

use ultrakv_cache::policy::explain::LOOK_MAX;
use ultrakv_cache::{
    BlockId, BlockKey, Explanation, Facts, Figures, Forest, Inserted, Newcomer, Policy, PolicyKind,
    Rank, Recipe, Setup,
};

/// Oldest leaf first.
#[derive(Debug, Default)]
struct Fifo {
    next: u32,
    /// Rank, when it came, and which block; those that may go.
    queue: BTreeSet<(Rank, u32, BlockId)>,
    /// When each block came, with its rank.
    came: BTreeMap<BlockId, (Rank, u32)>,
}

impl Policy for Fifo {
    fn admit(&mut self, _forest: &Forest, id: BlockId, _facts: &Facts) {
        self.next += 1;
        self.came.insert(id, (Rank::Normal, self.next));
        self.queue.insert((Rank::Normal, self.next, id));
    }

    fn touch(&mut self, _forest: &Forest, _id: BlockId) {
        // Use does not matter here.
    }

    fn suspend(&mut self, id: BlockId) {
        if let Some((rank, at)) = self.came.get(&id) {
            self.queue.remove(&(*rank, *at, id));
        }
    }

    fn resume(&mut self, id: BlockId, rank: Rank) {
        self.suspend(id);
        if let Some(came) = self.came.get_mut(&id) {
            came.0 = rank;
            self.queue.insert((rank, came.1, id));
        }
    }

    fn forget(&mut self, _forest: &Forest, id: BlockId, _heir: Option<BlockId>) {
        self.suspend(id);
        self.came.remove(&id);
    }

    fn evict(&mut self, forest: &Forest, id: BlockId, heir: Option<BlockId>) {
        self.forget(forest, id, heir);
    }

    fn victim(&mut self, forest: &Forest, _newcomer: Option<&Newcomer<'_>>) -> Option<BlockId> {
        self.outlook(forest, 1).first().copied()
    }

    fn outlook(&self, forest: &Forest, many: usize) -> Vec<BlockId> {
        let queue = self.queue.iter().map(|(_, _, id)| *id).take(LOOK_MAX);
        queue.filter(|id| forest.is_leaf(*id)).take(many).collect()
    }

    fn figures(&self) -> Figures {
        Figures {
            numbers: vec![("blocks that ever came", f64::from(self.next))],
            ..Figures::default()
        }
    }

    fn explain(&self, forest: &Forest, id: BlockId) -> Explanation {
        Explanation {
            class: "queue".to_owned(),
            score: self.came.get(&id).map_or(0.0, |(_, at)| f64::from(*at)),
            because: Vec::new(),
            can_go: forest.is_leaf(id) && self.queue.iter().any(|(_, _, other)| *other == id),
        }
    }
}

/// What a shard's configuration names: `policy: PolicyKind::of(&FIFO)`.
pub(crate) static FIFO: Recipe = Recipe {
    name: "fifo",
    summary: "Oldest leaf first.",
    source: "as old as queues",
    make: |_| Box::<Fifo>::default(),
};

fn main() {
    let mut policy = PolicyKind::of(&FIFO).make(&Setup::default());
    let mut forest = Forest::new();
    let [root, child, other] = [1, 2, 3].map(|byte| BlockKey::from_bytes([byte; 32]));
    for (key, parent) in [(root, None), (child, Some(root)), (other, None)] {
        if let Inserted::New(id) = forest.insert(&key, parent.as_ref()) {
            policy.admit(
                &forest,
                id,
                &Facts {
                    bytes: 1,
                    depth: 0,
                    cost: 1.0,
                },
            );
        }
    }
    // The root came first, but its child needs it.
    assert_eq!(policy.victim(&forest, None), forest.find(&child));
}
