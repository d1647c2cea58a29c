//! Tests of the policies against models that touch every ancestor of what is used, which the policies never do.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::forest::Inserted;
use crate::key::BlockKey;

mod looks;

const FACTS: Facts = Facts {
    bytes: 1,
    depth: 0,
    cost: 1.0,
};

fn key(number: usize) -> BlockKey {
    BlockKey::from_bytes(*blake3::hash(&number.to_le_bytes()).as_bytes())
}

/// What a model knows of one block.
#[derive(Clone, Copy, Debug, Default)]
struct Known {
    parent: Option<BlockId>,
    used: u64,
    uses: u64,
    age: u64,
    rank: Rank,
    is_suspended: bool,
}

/// All blocks and their histories, each kept by walking to the root.
#[derive(Default)]
struct Model {
    blocks: BTreeMap<BlockId, Known>,
    clock: u64,
    age: u64,
}

impl Model {
    fn walk(&mut self, id: BlockId, is_use: bool) {
        self.clock += 1;
        let mut next = Some(id);
        while let Some(block) = next.and_then(|id| self.blocks.get_mut(&id)) {
            block.used = self.clock;
            block.uses += u64::from(is_use);
            block.age = self.age;
            next = block.parent;
        }
    }

    fn is_leaf(&self, id: BlockId) -> bool {
        self.blocks.values().all(|block| block.parent != Some(id))
    }

    /// Leaves that may go, with what `merit` says of them, worst first.
    fn victims(&self, merit: impl Fn(&Known) -> u64) -> Vec<((Rank, u64), BlockId)> {
        let can_go = |(id, block): &(&BlockId, &Known)| !block.is_suspended && self.is_leaf(**id);
        let mut victims: Vec<_> = self
            .blocks
            .iter()
            .filter(can_go)
            .map(|(id, block)| ((block.rank, merit(block)), *id))
            .collect();
        victims.sort();
        victims
    }
}

#[derive(Clone, Debug)]
enum Step {
    /// Store a block under the block picked, or as a root.
    Admit {
        under: Option<usize>,
    },
    Touch(usize),
    Suspend(usize),
    Resume(usize, bool),
    ForgetLeaf(usize),
    Evict,
}

fn steps(with_suspensions: bool) -> impl Strategy<Value = Vec<Step>> {
    let suspensions = u32::from(with_suspensions);
    let step = prop_oneof![
        6 => proptest::option::weighted(0.9, any::<usize>()).prop_map(|under| Step::Admit { under }),
        6 => any::<usize>().prop_map(Step::Touch),
        suspensions => any::<usize>().prop_map(Step::Suspend),
        2 * suspensions => (any::<usize>(), any::<bool>()).prop_map(|(pick, last)| Step::Resume(pick, last)),
        1 => any::<usize>().prop_map(Step::ForgetLeaf),
        4 => Just(Step::Evict),
    ];
    proptest::collection::vec(step, 1..150)
}

/// Plays the steps on a policy and on the model; `merit` is what the policy orders by, in the model's terms.
fn check<P: Policy>(
    mut policy: P,
    steps: &[Step],
    merit: impl Fn(&Known) -> u64,
    resume_is_use: bool,
) {
    let mut forest = Forest::new();
    let mut model = Model::default();
    for (number, step) in steps.iter().enumerate() {
        let ids: Vec<BlockId> = model.blocks.keys().copied().collect();
        let pick = |pick: usize| (!ids.is_empty()).then(|| ids[pick % ids.len()]);
        match *step {
            Step::Admit { under } => {
                let parent = under.and_then(pick);
                let parent_key = parent.map(|id| *forest.key(id));
                let inserted = forest.insert(&key(number), parent_key.as_ref());
                let Inserted::New(id) = inserted else {
                    panic!("keys are new")
                };
                policy.admit(&forest, id, &FACTS);
                model.blocks.insert(
                    id,
                    Known {
                        parent,
                        ..Known::default()
                    },
                );
                model.walk(id, false);
            }
            Step::Touch(at) => {
                let Some(id) = pick(at) else { continue };
                policy.touch(&forest, id);
                model.walk(id, true);
            }
            Step::Suspend(at) => {
                let Some(id) = pick(at) else { continue };
                policy.suspend(id);
                model.blocks.get_mut(&id).unwrap().is_suspended = true;
            }
            Step::Resume(at, last) => {
                let Some(id) = pick(at) else { continue };
                let rank = if last { Rank::Last } else { Rank::Normal };
                policy.resume(id, rank);
                let block = model.blocks.get_mut(&id).unwrap();
                (block.is_suspended, block.rank) = (false, rank);
                if resume_is_use {
                    model.walk(id, false);
                }
            }
            Step::ForgetLeaf(at) => {
                let Some(id) = pick(at).filter(|id| forest.is_leaf(*id)) else {
                    continue;
                };
                policy.forget(&forest, id, forest.parent(id));
                forest.remove(id);
                model.blocks.remove(&id);
            }
            Step::Evict => {
                let victim = policy.victim(&forest, None);
                let victims = model.victims(&merit);
                assert_eq!(victim.is_some(), !victims.is_empty());
                let Some(victim) = victim else { continue };
                let worst = victims
                    .iter()
                    .find(|(_, id)| *id == victim)
                    .expect("a leaf that may go");
                // Ties are the policy's to break; in LRU there are none.
                assert_eq!(worst.0, victims[0].0, "step {number}");
                policy.evict(&forest, victim, forest.parent(victim));
                model.age = model.age.max(merit(&model.blocks[&victim]));
                forest.remove(victim);
                model.blocks.remove(&victim);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn lru_equals_touching_every_ancestor(steps in steps(false)) {
        check(Lru::new(), &steps, |block| block.used, true);
    }

    #[test]
    fn lru_equals_it_with_leases_and_pins_too(steps in steps(true)) {
        check(Lru::new(), &steps, |block| block.used, true);
    }

    #[test]
    fn lfu_equals_touching_every_ancestor(steps in steps(false)) {
        check(Lfuda::new(), &steps, |block| block.uses + block.age + 1, false);
    }

    #[test]
    fn lfu_equals_it_with_leases_and_pins_too(steps in steps(true)) {
        check(Lfuda::new(), &steps, |block| block.uses + block.age + 1, false);
    }
}

/// Stores roots with these numbers.
fn admit<P: Policy>(
    policy: &mut P,
    forest: &mut Forest,
    numbers: std::ops::Range<usize>,
) -> Vec<BlockId> {
    let store = |number| {
        let Inserted::New(id) = forest.insert(&key(number), None) else {
            panic!("keys are new")
        };
        policy.admit(forest, id, &FACTS);
        id
    };
    numbers.map(store).collect()
}

#[test]
fn nobody_of_the_last_rank_goes_while_another_can() {
    for kind in PolicyKind::all() {
        let mut policy = kind.make(&Setup::default());
        let mut forest = Forest::new();
        let ids: Vec<BlockId> = (0..3)
            .map(|number| {
                let Inserted::New(id) = forest.insert(&key(number), None) else {
                    panic!("keys are new")
                };
                policy.admit(&forest, id, &FACTS);
                id
            })
            .collect();
        let mut go = |policy: &mut dyn Policy, id| {
            assert_eq!(policy.victim(&forest, None), Some(id), "{kind}");
            policy.evict(&forest, id, None);
            forest.remove(id);
        };
        policy.resume(ids[0], Rank::Last);
        policy.suspend(ids[1]);
        go(policy.as_mut(), ids[2]);
        go(policy.as_mut(), ids[0]);
        assert_eq!(policy.victim(&forest, None), None, "{kind}");
        policy.resume(ids[1], Rank::Normal);
        assert_eq!(policy.victim(&forest, None), Some(ids[1]), "{kind}");
    }
}

#[test]
fn lfuda_lets_what_was_popular_long_ago_be_overtaken() {
    let mut policy = Lfuda::new();
    let mut forest = Forest::new();
    let old = admit(&mut policy, &mut forest, 0..1)[0];
    (0..50).for_each(|_| policy.touch(&forest, old));
    for number in 1..1_000 {
        let new = admit(&mut policy, &mut forest, number..number + 1)[0];
        (0..10).for_each(|_| policy.touch(&forest, new));
        if victim_sparing(&mut policy, &forest, None, Some(new), || Rank::Normal) == Some(old)
            && policy.merit(old) < policy.merit(new)
        {
            return;
        }
        policy.evict(&forest, new, None);
        forest.remove(new);
    }
    panic!("the old block never aged");
}
