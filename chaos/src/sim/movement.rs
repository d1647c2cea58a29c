//! How a slot comes to where the plan wants it: the product's own rule, as an event for the simulated replica. It must never
//! know how the plan was made.

use std::collections::BTreeSet;

use ultrakv_cluster::entry::{Event, Ownership, Wanted, Wish, wanted};
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
    wish: &Wish,
    is_alive: impl Fn(NodeId) -> bool,
) -> Option<Step> {
    let alive: BTreeSet<NodeId> = wish
        .plan
        .iter()
        .copied()
        .filter(|node| is_alive(*node))
        .collect();
    let event = match wanted(ownership, wish, me, is_listed, &alive) {
        Wanted::Nothing => return None,
        Wanted::Claim => return Some(Step::Claim),
        Wanted::Join => Event::Join,
        Wanted::Leave => Event::Leave,
        Wanted::HandOver(to) => Event::HandOver { to },
        Wanted::Dismiss(member) => Event::Dismiss { member },
    };
    Some(Step::Tell(event))
}
