//! Tests of the forest against a model that is a set of keys, and a match that is a scan.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

/// A key as a digest would be: all bytes spread.
fn key(number: usize) -> BlockKey {
    BlockKey::from_bytes(*blake3::hash(&number.to_le_bytes()).as_bytes())
}

/// A tree of keys: `parents[i] < i` is the parent of `i`, the tree's vertex 0 has none.
#[derive(Clone, Debug)]
struct Tree {
    parents: Vec<usize>,
}

impl Tree {
    fn chain(&self, of: usize) -> Vec<BlockKey> {
        let mut chain = vec![key(of)];
        let mut at = of;
        while at != 0 {
            at = self.parents[at];
            chain.push(key(at));
        }
        chain.reverse();
        chain
    }

    fn parent_key(&self, of: usize) -> Option<BlockKey> {
        (of != 0).then(|| key(self.parents[of]))
    }
}

fn trees() -> impl Strategy<Value = Tree> {
    // Long chains with a few branches: most vertices follow the one before.
    proptest::collection::vec((any::<usize>(), 0..6_u8), 1..60).prop_map(|picks| {
        let parent = |(i, (pick, branch)): (usize, (usize, u8))| match i {
            0 => 0,
            i if branch == 0 => pick % i,
            i => i - 1,
        };
        Tree {
            parents: picks.into_iter().enumerate().map(parent).collect(),
        }
    })
}

#[derive(Clone, Debug)]
enum Step {
    Insert(usize),
    InsertChain(usize),
    Remove(usize),
    RemoveLeaf(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        4 => any::<usize>().prop_map(Step::Insert),
        2 => any::<usize>().prop_map(Step::InsertChain),
        2 => any::<usize>().prop_map(Step::Remove),
        3 => any::<usize>().prop_map(Step::RemoveLeaf),
    ];
    proptest::collection::vec(step, 1..120)
}

fn scan(present: &BTreeSet<BlockKey>, keys: &[BlockKey]) -> usize {
    keys.iter().take_while(|key| present.contains(*key)).count()
}

fn pick_leaf(forest: &Forest, present: &BTreeSet<BlockKey>, pick: usize) -> Option<BlockId> {
    let leaves: Vec<BlockId> = present
        .iter()
        .filter_map(|key| forest.find(key))
        .filter(|id| forest.is_leaf(*id))
        .collect();
    (!leaves.is_empty()).then(|| leaves[pick % leaves.len()])
}

fn take_step(forest: &mut Forest, present: &mut BTreeSet<BlockKey>, tree: &Tree, step: &Step) {
    let len = tree.parents.len();
    match *step {
        Step::Insert(pick) => {
            let of = pick % len;
            let inserted = forest.insert(&key(of), tree.parent_key(of).as_ref());
            let is_new = present.insert(key(of));
            assert_eq!(matches!(inserted, Inserted::New(_)), is_new);
        }
        Step::InsertChain(pick) => {
            let chain = tree.chain(pick % len);
            let known = if pick % 2 == 0 {
                forest.match_prefix(&chain)
            } else {
                0
            };
            let new = chain.iter().filter(|key| present.insert(**key)).count();
            assert_eq!(forest.insert_chain(&chain, known), new);
        }
        Step::Remove(pick) => {
            if let Some(id) = forest.find(&key(pick % len)) {
                forest.remove(id);
                assert!(present.remove(&key(pick % len)));
            }
        }
        Step::RemoveLeaf(pick) => {
            if let Some(id) = pick_leaf(forest, present, pick) {
                assert!(present.remove(forest.key(id)));
                forest.remove(id);
            }
        }
    }
}

/// Every chain, the chain without its ends, and every third run of two: what a shard of several sees.
fn queries(tree: &Tree) -> Vec<Vec<BlockKey>> {
    let mut queries = Vec::new();
    for of in 0..tree.parents.len() {
        let chain = tree.chain(of);
        let some = chain.chunks(2).enumerate().filter(|(run, _)| run % 3 != 1);
        queries.push(some.flat_map(|(_, run)| run.to_vec()).collect());
        queries.push(chain[chain.len() / 2..].to_vec());
        queries.push(chain);
    }
    queries.push(Vec::new());
    queries
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn matches_what_a_scan_matches_whatever_was_stored_removed_and_in_which_order(
        tree in trees(), steps in steps(),
    ) {
        let mut forest = Forest::new();
        let mut present = BTreeSet::new();
        let queries = queries(&tree);
        for step in &steps {
            take_step(&mut forest, &mut present, &tree, step);
            prop_assert_eq!(forest.len(), present.len());
        }
        for query in &queries {
            let (blocks, deepest) = forest.match_where(query, |_| true);
            prop_assert_eq!(blocks, scan(&present, query));
            prop_assert_eq!(deepest.map(|id| *forest.key(id)), blocks.checked_sub(1).map(|last| query[last]));
        }
        // Nothing leaks: taking leaves one after another empties the forest, and then every number is free again.
        while let Some(id) = pick_leaf(&forest, &present, 0) {
            present.remove(forest.key(id));
            forest.remove(id);
        }
        prop_assert!(present.is_empty() && forest.is_empty());
        prop_assert_eq!(free_vertices(&forest), forest.slots);
    }

    #[test]
    fn counts_only_what_is_live(tree in trees(), picks in proptest::collection::vec(any::<usize>(), 0..20)) {
        let mut forest = Forest::new();
        for of in 0..tree.parents.len() {
            forest.insert(&key(of), tree.parent_key(of).as_ref());
        }
        // What expires takes all that was stored under it along.
        let mut dead = BTreeSet::new();
        for of in 0..tree.parents.len() {
            let is_picked = picks.iter().any(|pick| pick % tree.parents.len() == of);
            if is_picked || tree.parent_key(of).is_some_and(|parent| dead.contains(&parent)) {
                dead.insert(key(of));
            }
        }
        for query in queries(&tree) {
            let expected = query.iter().take_while(|key| !dead.contains(*key)).count();
            let (blocks, _) = forest.match_where(&query, |id| !dead.contains(forest.key(id)));
            prop_assert_eq!(blocks, expected);
        }
    }

    #[test]
    fn survives_parents_that_nobody_would_derive(
        links in proptest::collection::vec((0..12_usize, proptest::option::of(0..12_usize), any::<bool>()), 1..200),
    ) {
        let mut forest = Forest::new();
        let mut present = BTreeMap::new();
        for (child, parent, is_removed) in links {
            if is_removed {
                if let Some(id) = forest.find(&key(child)) {
                    forest.remove(id);
                    present.remove(&child);
                }
            } else {
                forest.insert(&key(child), parent.map(key).as_ref());
                present.insert(child, ());
            }
            for number in 0..12 {
                prop_assert_eq!(forest.find(&key(number)).is_some(), present.contains_key(&number));
            }
        }
        // No ring: leaves exist until nothing does.
        while !forest.is_empty() {
            let leaf = (0..12).filter_map(|number| forest.find(&key(number))).find(|id| forest.is_leaf(*id));
            prop_assert!(leaf.is_some(), "a ring");
            forest.remove(leaf.unwrap());
        }
        prop_assert_eq!(free_vertices(&forest), forest.slots);
    }
}

fn free_vertices(forest: &Forest) -> u32 {
    let mut count = 0;
    let mut free = forest.free;
    while free != NONE {
        count += 1;
        free = forest.vertices[free].parent;
    }
    count
}

fn chain(len: usize) -> Vec<BlockKey> {
    (0..len).map(key).collect()
}

/// Lookups that a match makes, counted through the filter it asks for each block it finds.
fn found_by(forest: &Forest, keys: &[BlockKey]) -> (usize, usize) {
    let found = std::cell::Cell::new(0);
    let (blocks, _) = forest.match_where(keys, |_| {
        found.set(found.get() + 1);
        true
    });
    (blocks, found.get())
}

#[test]
fn looks_at_a_logarithm_of_the_chain() {
    let keys = chain(100_000);
    let mut forest = Forest::new();
    assert_eq!(forest.insert_chain(&keys[..70_000], 0), 70_000);
    // 70 000 blocks are two paths of at most 65 536.
    let (blocks, found) = found_by(&forest, &keys);
    assert_eq!(blocks, 70_000);
    assert!(found < 40, "{found} blocks looked at");
    let (blocks, found) = found_by(&forest, &keys[..70_000]);
    assert_eq!(blocks, 70_000);
    assert!(found < 10, "{found} blocks looked at");
}

#[test]
fn recovers_short_matches_after_a_hole_is_filled() {
    let keys = chain(1_000);
    let mut forest = Forest::new();
    forest.insert_chain(&keys, 0);
    let hole = forest.find(&keys[500]).unwrap();
    forest.remove(hole);
    assert_eq!(forest.match_prefix(&keys), 500);
    forest.insert(&keys[500], Some(&keys[499]));
    assert_eq!(forest.match_prefix(&keys), 1_000);
    // The old proofs end at the hole, so the walk steps over the older half; what is new is proven as before.
    let more: Vec<BlockKey> = (0..1_100).map(key).collect();
    forest.insert_chain(&more, 0);
    assert_eq!(forest.match_prefix(&more), 1_100);
}

#[test]
fn keeps_the_first_parent_and_refuses_itself() {
    let mut forest = Forest::new();
    let Inserted::New(a) = forest.insert(&key(0), Some(&key(0))) else {
        panic!("new")
    };
    assert_eq!(forest.parent(a), None);
    assert_eq!(forest.insert(&key(0), Some(&key(0))), Inserted::Known(a));
    assert!(forest.is_leaf(a));
    let Inserted::New(b) = forest.insert(&key(1), Some(&key(0))) else {
        panic!("new")
    };
    forest.insert(&key(2), None);
    forest.insert(&key(1), Some(&key(2)));
    assert_eq!(forest.parent(b), Some(a));
    assert_eq!(forest.insert(&key(0), Some(&key(1))), Inserted::Known(a));
    assert_eq!(forest.parent(a), None, "a block is not its own ancestor");
}

#[test]
fn links_a_parent_that_came_late_when_the_child_is_stored_again() {
    let mut forest = Forest::new();
    let Inserted::New(child) = forest.insert(&key(1), Some(&key(0))) else {
        panic!("new")
    };
    let Inserted::New(parent) = forest.insert(&key(0), None) else {
        panic!("new")
    };
    assert!(forest.is_leaf(parent));
    assert_eq!(forest.match_prefix(&[key(0), key(1)]), 2);
    forest.insert(&key(1), Some(&key(0)));
    assert_eq!(forest.parent(child), Some(parent));
    assert!(!forest.is_leaf(parent));
}
