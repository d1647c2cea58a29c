//! What the plan asks of this node's replica of a slot. Pure; it must never know how it is done.
//!
//! Nothing is remembered: what is asked follows from the plan's targets and from who is in sync, so whoever crashes in between
//! goes on where the slot stands.

use std::collections::BTreeSet;

use crate::entry::{Ownership, Wish};
use crate::{Incarnation, NodeId};

/// One step towards the plan.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// None of this replica's.
    Nothing,
    /// Nobody holds the slot, and this node is to own it: it begins empty.
    Claim,
    /// To become a member.
    Join,
    /// Not to become one.
    Leave,
    /// To give the slot to the wanted owner, which has everything.
    HandOver(Incarnation),
    /// To remove a member that is not in the plan, now that all that are have everything.
    Dismiss(Incarnation),
}

/// What is asked of a life of a shard. One that the metadata does not list as alive must not become a member.
#[must_use]
pub fn wanted(
    ownership: &Ownership,
    wish: &Wish,
    me: Incarnation,
    is_listed: bool,
    alive: &BTreeSet<NodeId>,
) -> Wanted {
    let members = &ownership.in_sync;
    let is_alive = |node: &&NodeId| alive.contains(*node);
    if members.is_empty() {
        let first = wish.ready.iter().find(is_alive);
        return if is_listed && first == Some(&me.node) {
            Wanted::Claim
        } else {
            Wanted::Nothing
        };
    }
    if !members.contains(&me) {
        // A former life of this shard goes first: no set names a node twice.
        let has_former = members.iter().any(|member| member.node == me.node);
        return if is_listed && wish.ready.contains(&me.node) && !has_former {
            Wanted::Join
        } else {
            Wanted::Leave
        };
    }
    if ownership.owner() != Some(me) {
        return Wanted::Nothing;
    }
    let member_of = |node: &NodeId| members.iter().find(|member| member.node == *node).copied();
    let first = wish.ready.first().filter(is_alive).and_then(member_of);
    if let Some(first) = first
        && first != me
    {
        return Wanted::HandOver(first);
    }
    let is_in_sync = |node: NodeId| member_of(&node).is_some();
    let mut others = members.iter().filter(|member| **member != me);
    let next = others.find(|member| wish.is_dispensable(member.node, is_in_sync));
    next.map_or(Wanted::Nothing, |member| Wanted::Dismiss(*member))
}

#[cfg(test)]
mod tests {
    use ultrakv_actors::BootId;

    use super::*;
    use crate::Epoch;

    fn life(node: u128, boot: u128) -> Incarnation {
        Incarnation {
            node: NodeId::from_u128(node),
            boot: BootId::from_u128(boot),
        }
    }

    /// What is asked of the first life of node 1, when nodes 1 to 4 are alive.
    fn check(members: &[(u128, u128)], targets: &[u128], is_listed: bool, expected: Wanted) {
        let node = |id: &u128| NodeId::from_u128(*id);
        let ownership = Ownership {
            epoch: Epoch(1),
            founded: Epoch(1),
            in_sync: members
                .iter()
                .map(|(node, boot)| life(*node, *boot))
                .collect(),
        };
        let plan = targets.iter().map(node).collect();
        let alive = [1, 2, 3, 4].iter().map(node).collect();
        let wish = Wish::new(&plan, |_| true);
        let found = wanted(&ownership, &wish, life(1, 1), is_listed, &alive);
        assert_eq!(found, expected, "{members:?} {targets:?}");
    }

    #[test]
    fn each_replica_takes_the_one_step_that_is_its_own() {
        let (me, two, three) = ((1, 1), (2, 1), (3, 1));
        // Nobody holds it: the first alive target claims it, if its life is known.
        check(&[], &[1, 2], true, Wanted::Claim);
        check(&[], &[9, 1], true, Wanted::Claim);
        check(&[], &[2, 1], true, Wanted::Nothing);
        check(&[], &[1, 2], false, Wanted::Nothing);
        check(&[], &[], true, Wanted::Nothing);
        // Others hold it.
        check(&[two], &[2, 1], true, Wanted::Join);
        check(&[two], &[2, 1], false, Wanted::Leave);
        check(&[two], &[2, 3], true, Wanted::Leave);
        check(&[two, (1, 7)], &[1, 2], true, Wanted::Leave);
        // A follower does nothing.
        check(&[two, me], &[1, 2], true, Wanted::Nothing);
        // The owner.
        check(&[me, two], &[1, 2], true, Wanted::Nothing);
        check(&[me, two], &[2, 1], true, Wanted::HandOver(life(2, 1)));
        check(&[me, two], &[2, 3], true, Wanted::HandOver(life(2, 1)));
        check(&[me, two], &[3, 2], true, Wanted::Nothing);
        check(
            &[me, two, three],
            &[1, 3],
            true,
            Wanted::Dismiss(life(2, 1)),
        );
        check(&[me, two], &[1, 3], true, Wanted::Nothing);
        check(&[me, two], &[], true, Wanted::Nothing);
        check(&[me, (9, 1)], &[9, 1], true, Wanted::Nothing);
    }

    #[test]
    fn any_start_ends_as_the_plan_says_within_few_steps_and_keeps_a_member_always() {
        let node = NodeId::from_u128;
        let sets: Vec<Vec<u128>> = [
            vec![1],
            vec![2],
            vec![1, 2],
            vec![2, 1],
            vec![3, 1, 2],
            vec![4],
            vec![4, 3],
            vec![2, 3, 4],
        ]
        .into();
        let alive: BTreeSet<_> = (1..=4).map(node).collect();
        for start in [Vec::new()].iter().chain(&sets) {
            for targets in &sets {
                let plan = targets.iter().copied().map(node).collect();
                let wish = Wish::new(&plan, |_| true);
                let mut members: Vec<_> = start.iter().map(|id| life(*id, *id)).collect();
                for _ in 0..12 {
                    let ownership = Ownership {
                        epoch: Epoch(1),
                        founded: Epoch(1),
                        in_sync: members.clone(),
                    };
                    let step = |id: u128| wanted(&ownership, &wish, life(id, id), true, &alive);
                    let steps = (1..=4).map(|id| (life(id, id), step(id)));
                    let step = steps
                        .into_iter()
                        .find(|(_, step)| !matches!(step, Wanted::Nothing | Wanted::Leave));
                    match step {
                        Some((me, Wanted::Claim | Wanted::Join)) => members.push(me),
                        Some((_, Wanted::HandOver(to))) => {
                            members.retain(|member| *member != to);
                            members.insert(0, to);
                        }
                        Some((_, Wanted::Dismiss(who))) => members.retain(|member| *member != who),
                        _ => break,
                    }
                    assert!(!members.is_empty());
                }
                let held: BTreeSet<_> = members.iter().map(|member| member.node).collect();
                assert_eq!(members[0].node, plan[0], "{start:?} to {targets:?}");
                assert_eq!(
                    held,
                    plan.iter().copied().collect(),
                    "{start:?} to {targets:?}"
                );
            }
        }
    }
}
