//! Who votes: one change at a time towards as many voters as help.
//!
//! One pure decision from what the leader sees. It must never know how a change is made, nor a clock.
//!
//! # How many
//! The largest odd number up to five of which the cluster has members: 1 of one or two, 3 of three or four, else 5. An
//! even number tolerates no more losses than the odd one below it, and stops for more reasons. With two members one
//! votes: were there two, the loss of either would stop changes; so only the loss of one of them does. The other follows
//! as a learner.
//!
//! Voters are added in pairs where one alone would make the number even. A joint configuration takes both at once.

use std::collections::BTreeSet;

use super::types::RaftId;

/// Voters at most.
pub(super) const VOTERS_MAX: usize = 5;
/// A dead voter is dropped without a replacement only when this many others remain.
const VOTERS_KEPT: usize = 3;

/// A member as the leader sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Seen {
    pub(super) id: RaftId,
    /// It was not heard for so long that another one should vote in its place.
    pub(super) is_dead: bool,
    /// It has nearly all of the log, and is heard.
    pub(super) is_caught_up: bool,
}

/// What the leader sees.
#[derive(Clone, Debug, Default)]
pub(super) struct Scene {
    /// This member.
    pub(super) me: RaftId,
    /// The configurations of voters, more than one while they change.
    pub(super) configs: Vec<BTreeSet<RaftId>>,
    /// Everybody whom consensus knows.
    pub(super) known: Vec<Seen>,
    /// Everybody who should be known: members that did not leave, by the disk that they have now.
    pub(super) wanted: BTreeSet<RaftId>,
}

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// These vote from now on, also to end a change that somebody else began.
    Vote(BTreeSet<RaftId>),
    /// This one learns.
    Learn(RaftId),
    /// This one, which does not vote, is told nothing more.
    Forget(RaftId),
}

/// The next change; none when all is as it should be.
pub(super) fn next(scene: &Scene) -> Option<Step> {
    let voters = scene.configs.last()?;
    if scene.configs.len() > 1 {
        return Some(Step::Vote(voters.clone()));
    }
    let known: BTreeSet<RaftId> = scene.known.iter().map(|seen| seen.id).collect();
    if let Some(id) = scene.wanted.difference(&known).next() {
        return Some(Step::Learn(*id));
    }
    if let Some(voters) = better(scene, voters) {
        return Some(Step::Vote(voters));
    }
    let forgotten = known
        .iter()
        .find(|id| !scene.wanted.contains(id) && !voters.contains(id));
    forgotten.map(|id| Step::Forget(*id))
}

/// Better voters than these, if there are.
fn better(scene: &Scene, voters: &BTreeSet<RaftId>) -> Option<BTreeSet<RaftId>> {
    let is_dead = |id: &RaftId| {
        scene
            .known
            .iter()
            .any(|seen| seen.id == *id && seen.is_dead)
    };
    let mut ready: Vec<RaftId> = scene
        .known
        .iter()
        .filter(|seen| seen.is_caught_up && !seen.is_dead)
        .map(|seen| seen.id)
        .filter(|id| scene.wanted.contains(id) && !voters.contains(id))
        .rev()
        .collect();
    // Who left, or lost the disk with its votes, never comes back: it only stands in the way.
    let gone: BTreeSet<RaftId> = voters.difference(&scene.wanted).copied().collect();
    let mut next: BTreeSet<RaftId> = voters.difference(&gone).copied().collect();
    let target = odd(scene.wanted.len());
    next.extend(ready.split_off(ready.len() - gone.len().min(ready.len())));
    // One dead voter at a time makes place for one that has caught up, or for nobody while enough remain.
    if gone.is_empty()
        && let Some(dead) = next
            .iter()
            .copied()
            .find(|id| *id != scene.me && is_dead(id))
        && (!ready.is_empty() || next.len() > VOTERS_KEPT.max(target))
    {
        next.remove(&dead);
        next.extend(ready.pop());
    }
    if next.len() < target {
        let missing = target - next.len();
        let pair = odd(next.len() + ready.len()).saturating_sub(next.len());
        next.extend(ready.split_off(ready.len() - missing.min(pair).min(ready.len())));
    }
    while next.len() > target {
        let dead = next.iter().copied().find(|id| is_dead(id));
        let other = next.iter().copied().rev().find(|id| *id != scene.me);
        let Some(id) = dead.or(other) else { break };
        next.remove(&id);
    }
    (!next.is_empty() && next != *voters).then_some(next)
}

/// The largest odd number of voters out of so many members.
fn odd(members: usize) -> usize {
    let most = members.min(VOTERS_MAX);
    if most.is_multiple_of(2) {
        most.saturating_sub(1)
    } else {
        most
    }
}

#[cfg(test)]
mod tests;
