//! A policy of one's own in one file: first in, first out, among leaves. The book's chapter on policies walks through it.

use std::collections::BTreeSet;

use ultrakv_cache::{
    BlockId, BlockKey, Explanation, Facts, Forest, Inserted, Newcomer, Policy, PolicyKind, Rank,
    Recipe, Setup,
};

/// Oldest leaf first.
#[derive(Debug, Default)]
struct Fifo {
    next: u64,
    /// Rank, when it came, and which block; those that may go.
    queue: BTreeSet<(Rank, u64, BlockId)>,
    /// When each block came, with its rank.
    came: std::collections::BTreeMap<BlockId, (Rank, u64)>,
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
        let leaves = self.queue.iter().map(|(_, _, id)| *id);
        leaves.into_iter().find(|id| forest.is_leaf(*id))
    }

    fn explain(&self, forest: &Forest, id: BlockId) -> Explanation {
        Explanation {
            class: "queue".to_owned(),
            can_go: forest.is_leaf(id),
            ..Explanation::default()
        }
    }
}

/// What a shard's configuration names: `policy: PolicyKind::of(&FIFO)`.
static FIFO: Recipe = Recipe {
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
