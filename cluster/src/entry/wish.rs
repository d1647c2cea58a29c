//! Who is to hold a slot. It must never know who holds it, nor how the plan was made.

use std::sync::Arc;

use crate::NodeId;

/// What the plan says of a slot, as one node knows it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Wish {
    /// The nodes that the plan names, the wanted owner first; empty while none is known.
    pub plan: Arc<[NodeId]>,
    /// Those of them that are up, in the same order: they may own it and join. All of them while none is, so that the slot waits
    /// for them and goes nowhere else.
    pub ready: Arc<[NodeId]>,
}

impl Wish {
    /// What a plan says while some nodes are up.
    #[must_use]
    pub fn new(plan: &Arc<[NodeId]>, is_up: impl Fn(&NodeId) -> bool) -> Self {
        let ready = if plan.iter().all(&is_up) {
            Arc::clone(plan)
        } else {
            let up: Vec<NodeId> = plan.iter().copied().filter(is_up).collect();
            if up.is_empty() {
                Arc::clone(plan)
            } else {
                up.into()
            }
        };
        Self {
            plan: Arc::clone(plan),
            ready,
        }
    }

    /// Whether a node's copy may be given up, given which nodes have everything.
    ///
    /// One that the plan does not name may go once all that it names have everything and are up: else a healthy copy would go because
    /// its replacement is away, or about to be. One that the plan names goes only while it is not up, which is when it is about
    /// to stop; then those that are up are to have everything.
    #[must_use]
    pub fn is_dispensable(&self, node: NodeId, has_all: impl Fn(NodeId) -> bool) -> bool {
        let needed = if self.plan.contains(&node) {
            &self.ready
        } else {
            &self.plan
        };
        let serves = |needed: &NodeId| self.ready.contains(needed) && has_all(*needed);
        !needed.is_empty() && !needed.contains(&node) && needed.iter().all(serves)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wish(plan: &[u128], up: &[u128]) -> Wish {
        let plan: Arc<[NodeId]> = plan.iter().map(|id| NodeId::from_u128(*id)).collect();
        Wish::new(&plan, |node| up.contains(&node.to_u128()))
    }

    /// Whether node 1 may go when others have everything.
    fn check(plan: &[u128], up: &[u128], have: &[u128], expected: bool) {
        let may = wish(plan, up)
            .is_dispensable(NodeId::from_u128(1), |node| have.contains(&node.to_u128()));
        assert_eq!(may, expected, "{plan:?} {up:?} {have:?}");
    }

    #[test]
    fn a_copy_goes_only_when_the_plan_can_do_without_it() {
        // Not named: all that are must have everything and be up.
        check(&[2, 3], &[1, 2, 3], &[2, 3], true);
        check(&[2, 3], &[1, 2, 3], &[2], false);
        check(&[2, 3], &[1, 2], &[2], false);
        check(&[2, 3], &[1, 2], &[2, 3], false);
        check(&[2, 3], &[1], &[2, 3], true);
        // Named: not while it is up, nor while nobody is.
        check(&[2, 1], &[1, 2], &[2], false);
        check(&[2, 1], &[2], &[2], true);
        check(&[2, 1, 3], &[2, 3], &[2], false);
        check(&[2, 1], &[], &[2], false);
        check(&[1], &[], &[2], false);
        // Nothing is known.
        check(&[], &[1, 2], &[2], false);
    }

    #[test]
    fn those_who_are_up_are_ready_and_all_while_none_is() {
        let ids = |nodes: &[NodeId]| nodes.iter().map(|node| node.to_u128()).collect::<Vec<_>>();
        assert_eq!(ids(&wish(&[3, 1, 2], &[1, 2, 3]).ready), [3, 1, 2]);
        assert_eq!(ids(&wish(&[3, 1, 2], &[2, 3]).ready), [3, 2]);
        assert_eq!(ids(&wish(&[3, 1, 2], &[4]).ready), [3, 1, 2]);
        assert_eq!(ids(&wish(&[3, 1, 2], &[2, 3]).plan), [3, 1, 2]);
    }
}
