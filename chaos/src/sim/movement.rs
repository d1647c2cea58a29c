//! How a slot comes to where the plan wants it, decided by each node for itself: join, get in sync, hand over, dismiss.
//!
//! A crash in between loses nothing: the rule looks at what is, not at what it did. It must never know how the plan was made.

use ultrakv_cluster::entry::{Event, Ownership};
use ultrakv_cluster::{Incarnation, NodeId};

/// One step towards the plan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Nobody holds the slot: it begins empty here.
    Claim,
    /// The replica is told.
    Tell(Event),
}

/// What is asked of a life of a shard; none when nothing is. One that the metadata does not list as alive must not become
/// a member.
pub(super) fn next_step(
    me: Incarnation,
    is_listed: bool,
    ownership: &Ownership,
    targets: &[NodeId],
    is_alive: impl Fn(NodeId) -> bool,
) -> Option<Step> {
    let members = &ownership.in_sync;
    let is_target = |node: NodeId| targets.contains(&node);
    let member_of = |node: NodeId| members.iter().find(|member| member.node == node).copied();
    if members.is_empty() {
        let first = targets.iter().find(|node| is_alive(**node));
        let is_mine = is_listed && first == Some(&me.node);
        return is_mine.then_some(Step::Claim);
    }
    if !members.contains(&me) {
        // A former life of this shard goes first: no set names a node twice.
        let may_join = is_listed && is_target(me.node) && member_of(me.node).is_none();
        return Some(Step::Tell(if may_join {
            Event::Join
        } else {
            Event::Leave
        }));
    }
    if ownership.owner() != Some(me) {
        return None;
    }
    let first = targets.first().copied().filter(|node| is_alive(*node));
    let first = first.and_then(member_of).filter(|first| *first != me);
    if let Some(to) = first {
        return Some(Step::Tell(Event::HandOver { to }));
    }
    let are_there = targets.iter().all(|node| member_of(*node).is_some());
    let mut others = members.iter().copied();
    let unwanted = others.find(|member| *member != me && !is_target(member.node));
    unwanted
        .filter(|_| are_there && !targets.is_empty())
        .map(|member| Step::Tell(Event::Dismiss { member }))
}
