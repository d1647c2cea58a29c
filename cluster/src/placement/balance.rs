//! Levels what nodes follow to their quotas, one copy after the other.
//!
//! It must never know owners, which stay.
//!
//! A node that follows too many slots gives one to a node that follows too few. Where no slot allows that, it gives one
//! to a third node that gives another one on: a shortest path in the graph whose edges are "may take this one's place in
//! this slot", which is the residual graph of the flow of which the quotas tell ([`super::quota`]). Each step brings two
//! nodes nearer to their quotas and leaves all others, so it ends.

use std::collections::VecDeque;

use super::Quota;
use super::draft::{Draft, Tally};

/// One follower of a slot gives way to another node.
#[derive(Clone, Copy, Debug)]
struct Link {
    slot: usize,
    leaves: usize,
    enters: usize,
}

struct Balance<'a> {
    draft: &'a mut Draft,
    /// How many slots each follows more than its quota, or fewer.
    excess: Tally,
    /// The slots that each follows, in an order of its own.
    follows: Vec<Vec<usize>>,
    /// From whom no path leads on.
    is_stuck: Vec<bool>,
}

/// Brings what nodes follow as near to their quotas as zones allow.
pub(super) fn level(draft: &mut Draft, quotas: &[Quota]) {
    let mut follows = vec![Vec::new(); draft.spots.len()];
    for (slot, row) in draft.rows.iter().enumerate() {
        for at in row.followers() {
            if let Some(slots) = follows.get_mut(at) {
                slots.push(slot);
            }
        }
    }
    for (at, slots) in follows.iter_mut().enumerate() {
        slots.sort_by_cached_key(|slot| draft.score(*slot, at));
    }
    let mut balance = Balance {
        excess: draft.excess(quotas),
        is_stuck: vec![false; draft.spots.len()],
        follows,
        draft,
    };
    // First only to who lacks some: a copy that goes to anybody else is fetched for a smaller gain.
    balance.run(|_, to| to < 0, |from| from > 0);
    balance.is_stuck.fill(false);
    balance.run(|from, to| to <= from - 2, |_| true);
}

impl Balance<'_> {
    /// Gives on for as long as somebody may give (by its excess) and finds one that may take (by both).
    fn run(&mut self, may_take: impl Fn(i64, i64) -> bool, may_give: impl Fn(i64) -> bool) {
        while let Some((from, excess)) = self.fullest(&may_give) {
            let may_take = |to| may_take(excess, self.excess.get(to));
            let links = match self.link(from, may_take) {
                Some(link) => vec![link],
                None => match self.path(from, may_take) {
                    Ok(links) => links,
                    // None of those that were reached reaches anybody: they are not tried again.
                    Err(reached) => {
                        reached.into_iter().for_each(|at| self.stick(at));
                        continue;
                    }
                },
            };
            if !self.carry_out(&links) {
                self.stick(from);
            }
        }
    }

    fn stick(&mut self, at: usize) {
        if let Some(is_stuck) = self.is_stuck.get_mut(at) {
            *is_stuck = true;
        }
    }

    fn fullest(&self, may_give: &impl Fn(i64) -> bool) -> Option<(usize, i64)> {
        let nodes = self.excess.iter().zip(&self.is_stuck);
        let givers = nodes.filter(|((_, excess), is_stuck)| !**is_stuck && may_give(*excess));
        // Of several the first, or the one that is found last would depend on nothing.
        givers
            .map(|(node, _)| node)
            .max_by_key(|(at, excess)| (*excess, std::cmp::Reverse(*at)))
    }

    /// A single link to the emptiest node that may take the place of this one.
    fn link(&self, from: usize, may_take: impl Fn(usize) -> bool) -> Option<Link> {
        let mut takers: Vec<(i64, usize)> = self
            .excess
            .iter()
            .filter(|(at, _)| *at != from && may_take(*at))
            .map(|(at, excess)| (excess, at))
            .collect();
        takers.sort_unstable();
        let slots = self.follows.get(from)?;
        takers.into_iter().find_map(|(_, enters)| {
            let mut slots = slots.iter().copied();
            let slot = slots.find(|slot| self.draft.may_replace(*slot, (from, enters)))?;
            Some(Link {
                slot,
                leaves: from,
                enters,
            })
        })
    }

    /// A shortest path to a node that may take; or all nodes that paths lead to.
    fn path(&self, from: usize, may_take: impl Fn(usize) -> bool) -> Result<Vec<Link>, Vec<usize>> {
        let nodes = self.draft.spots.len();
        let mut ways: Vec<Option<Link>> = vec![None; nodes];
        let mut unseen: Vec<usize> = (0..nodes).filter(|at| *at != from).collect();
        let mut reached = vec![from];
        let mut queue = VecDeque::from([from]);
        while let Some(leaves) = queue.pop_front() {
            for slot in self.follows.get(leaves).into_iter().flatten().copied() {
                let mut found = Vec::new();
                unseen.retain(|enters| {
                    let may = self.draft.may_replace(slot, (leaves, *enters));
                    if may {
                        found.push(*enters);
                    }
                    !may
                });
                for enters in found {
                    if let Some(way) = ways.get_mut(enters) {
                        *way = Some(Link {
                            slot,
                            leaves,
                            enters,
                        });
                    }
                    if may_take(enters) {
                        return Ok(links(&ways, enters));
                    }
                    reached.push(enters);
                    queue.push_back(enters);
                }
                if unseen.is_empty() {
                    break;
                }
            }
        }
        Err(reached)
    }

    /// Carries a path out; `false`, and nothing changed, when two links of it are in each other's way.
    fn carry_out(&mut self, links: &[Link]) -> bool {
        for (done, link) in links.iter().enumerate() {
            if !self
                .draft
                .may_replace(link.slot, (link.leaves, link.enters))
            {
                for link in links.iter().take(done).rev() {
                    self.draft.replace(link.slot, (link.enters, link.leaves));
                }
                return false;
            }
            self.draft.replace(link.slot, (link.leaves, link.enters));
        }
        for link in links {
            self.excess.add(link.leaves, -1);
            self.excess.add(link.enters, 1);
            if let Some(slots) = self.follows.get_mut(link.leaves)
                && let Some(place) = slots.iter().position(|slot| *slot == link.slot)
            {
                slots.swap_remove(place);
            }
            if let Some(slots) = self.follows.get_mut(link.enters) {
                slots.push(link.slot);
            }
        }
        true
    }
}

/// From a node back to where the search began.
fn links(ways: &[Option<Link>], to: usize) -> Vec<Link> {
    let mut links = Vec::new();
    let mut at = to;
    while let Some(link) = ways.get(at).copied().flatten() {
        at = link.leaves;
        links.push(link);
    }
    links
}
