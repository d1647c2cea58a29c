//! What a shard tells of the order of eviction: who would go next, and why a block stays.

use super::*;
use crate::policy::PolicyKind;

/// A chain of three, one pinned either way, one leased.
fn scene(policy: PolicyKind) -> (Walk, LeaseId) {
    let config = ShardConfig {
        policy,
        ..config(32)
    };
    let mut walk = Walk::new(config);
    for number in 1..=3 {
        let parent = (number > 1).then(|| key(number - 1));
        let block = ReserveBlock {
            parent,
            run: key(1),
            depth: 9,
            ..Walk::block(number, 2)
        };
        assert_eq!(walk.put(block), STORED);
    }
    for number in 4..=7 {
        assert_eq!(walk.put(Walk::block(number, 1)), STORED);
    }
    assert_eq!(walk.pin(4, Pin::Hard), PinOutcome::Done);
    assert_eq!(walk.pin(5, Pin::Soft), PinOutcome::Done);
    let lease = walk.get(6, Term::Held).unwrap().lease;
    (walk, lease)
}

#[test]
fn a_block_is_told_with_what_keeps_it_most_firmly() {
    for policy in PolicyKind::all() {
        let (walk, _) = scene(policy);
        let told = |number: usize| walk.shard.explain(&key(number)).expect("it is here");
        let check = |number: usize, can_go: bool, words: &str| {
            let standing = told(number);
            let reason = standing.reason();
            assert!(reason.contains(words), "{policy}: {number}: {reason}");
            assert_eq!(standing.explanation.can_go, can_go, "{policy}: {number}");
        };
        check(1, false, "a block that follows it");
        check(3, true, "nothing holds it");
        check(4, false, "pinned hard");
        check(5, true, "pinned softly");
        check(6, false, "a reader holds it");
        assert_eq!(walk.shard.explain(&key(8)), None);

        let Standing {
            parent,
            depth,
            children,
            bytes,
            tokens,
            ..
        } = told(2);
        // The first of them was told to lie at depth 9.
        assert_eq!((parent, depth, children), (Some(key(1)), 10, 1));
        assert_eq!((bytes, tokens), (2 * u64::from(PAGE_BYTES), 16));
        assert_eq!(told(6).leases, 1);
    }
}

#[test]
fn what_would_go_next_goes_next_and_looking_uses_nothing() {
    for policy in PolicyKind::all() {
        let (mut walk, lease) = scene(policy);
        walk.release(lease);
        let stats = walk.shard.stats();
        let next = walk.shard.outlook(100);
        assert_eq!(walk.shard.outlook(100), next, "{policy}");
        assert_eq!(walk.shard.stats(), stats);
        let mut keys: Vec<BlockKey> = next.iter().map(|standing| standing.key).collect();
        assert_eq!(keys.pop(), Some(key(5)), "{policy}: soft pins go last");
        keys.sort_unstable();
        let mut expected = [3, 6, 7].map(key);
        expected.sort_unstable();
        assert_eq!(keys, expected, "{policy}");
        assert_eq!(walk.shard.outlook(2), next[..2], "{policy}");

        let evicted = walk.event(Event::Evict {
            ticket: TICKET,
            bytes_goal: 1,
            tokens_goal: 0,
            batch_max: 1,
        });
        assert!(matches!(evicted[..], [Effect::Evicted { blocks: 1, .. }]));
        let gone = |standing: &Standing| walk.shard.explain(&standing.key).is_none();
        let gone: Vec<&Standing> = next.iter().filter(|standing| gone(standing)).collect();
        // Adaptive may take another of an equal score.
        assert_eq!(gone.len(), 1, "{policy}");
        let [least, gone] = [&next[0], gone[0]].map(|standing| standing.explanation.score);
        assert!((gone - least).abs() <= f64::EPSILON, "{policy}");
        assert!(walk.shard.policy_figures() != crate::Figures::default());
    }
}
