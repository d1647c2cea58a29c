//! What policies tell of the blocks that go next, against what they then take.

use super::*;

/// How many candidates Adaptive draws at the least; with no more leaves it looks at all of them.
const LEAVES_MAX: usize = 16;

/// Every present block, and whether it is suspended.
type Present = BTreeMap<BlockId, bool>;

/// Plays the steps, with a look before each victim that is taken.
fn play(kind: PolicyKind, steps: &[Step]) {
    let mut policy = kind.make(&Setup { seed: 5 });
    let mut forest = Forest::new();
    let mut present = Present::new();
    for (number, step) in steps.iter().enumerate() {
        policy.begin(Now(u64::try_from(number).unwrap()));
        let ids: Vec<BlockId> = present.keys().copied().collect();
        let pick = |pick: usize| (!ids.is_empty()).then(|| ids[pick % ids.len()]);
        match *step {
            Step::Admit { .. } if present.len() == LEAVES_MAX => {}
            Step::Admit { under } => {
                let parent = under.and_then(pick).map(|id| *forest.key(id));
                if let Inserted::New(id) = forest.insert(&key(number), parent.as_ref()) {
                    policy.admit(&forest, id, &FACTS);
                    present.insert(id, false);
                }
            }
            Step::Touch(at) => {
                if let Some(id) = pick(at) {
                    policy.touch(&forest, id);
                }
            }
            Step::Suspend(at) => {
                if let Some(id) = pick(at) {
                    policy.suspend(id);
                    present.insert(id, true);
                }
            }
            Step::Resume(at, last) => {
                if let Some(id) = pick(at) {
                    let rank = if last { Rank::Last } else { Rank::Normal };
                    policy.resume(id, rank);
                    present.insert(id, false);
                }
            }
            Step::ForgetLeaf(at) => {
                if let Some(id) = pick(at).filter(|id| forest.is_leaf(*id)) {
                    policy.forget(&forest, id, forest.parent(id));
                    forest.remove(id);
                    present.remove(&id);
                }
            }
            Step::Evict => {
                look(kind, policy.as_ref(), &forest, &present);
                let told = policy.outlook(&forest, 1);
                let score = |id: BlockId| policy.explain(&forest, id).score;
                let told_score = told.first().map(|id| score(*id));
                let victim = policy.victim(&forest, None);
                if kind.recipe().name == "adaptive" {
                    // It draws, so of equal ones any may be it.
                    let score = victim.map(|id| policy.explain(&forest, id).score);
                    assert_eq!(told_score, score, "{kind} at {number}");
                } else {
                    assert_eq!(told.first().copied(), victim, "{kind} at {number}");
                }
                if let Some(victim) = victim {
                    policy.evict(&forest, victim, forest.parent(victim));
                    forest.remove(victim);
                    present.remove(&victim);
                }
            }
        }
    }
}

/// A look names every leaf that can go, each once, no more than asked for, and no other block; and explanations say the same.
fn look(kind: PolicyKind, policy: &dyn Policy, forest: &Forest, present: &Present) {
    let able =
        |(id, suspended): (&BlockId, &bool)| (!suspended && forest.is_leaf(*id)).then_some(*id);
    let able: Vec<BlockId> = present.iter().filter_map(able).collect();
    let mut told = policy.outlook(forest, usize::MAX);
    for few in 0..3 {
        let first = told.get(..few.min(told.len()));
        assert_eq!(Some(&*policy.outlook(forest, few)), first, "{kind}");
    }
    for id in present.keys() {
        let explanation = policy.explain(forest, *id);
        assert_eq!(
            explanation.can_go,
            told.contains(id),
            "{kind}: {explanation}"
        );
    }
    told.sort_unstable();
    assert_eq!(told, able, "{kind}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn every_policy_tells_who_goes_next_without_changing_it(steps in steps(true)) {
        for kind in PolicyKind::all() {
            play(kind, &steps);
        }
    }
}

#[test]
fn every_policy_has_figures() {
    for kind in PolicyKind::all() {
        let mut policy = kind.make(&Setup::default());
        let mut forest = Forest::new();
        for number in 0..100 {
            policy.begin(Now(number));
            let number = usize::try_from(number).unwrap();
            if let Inserted::New(id) = forest.insert(&key(number), None) {
                policy.admit(&forest, id, &FACTS);
                policy.touch(&forest, id);
            }
        }
        let Figures { numbers, classes } = policy.figures();
        assert!(!numbers.is_empty() || !classes.is_empty(), "{kind}");
        let of_classes = classes.iter().flat_map(|class| &class.numbers);
        for (name, number) in numbers.iter().chain(of_classes) {
            assert!(number.is_finite(), "{kind}: {name}");
        }
        let members = classes.iter().flat_map(|class| &class.numbers);
        let members: f64 = members
            .filter(|(name, _)| *name == "blocks")
            .map(|(_, count)| count)
            .sum();
        assert!(classes.iter().all(|class| !class.name.is_empty()));
        assert!(members == 0.0 || members == 100.0, "{kind}: {members}");
    }
}
