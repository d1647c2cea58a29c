//! Who is to own which slot: what exceeds a quota moves, and no more.
//!
//! It must never know who follows.

use std::cmp::Reverse;

use super::Quota;
use super::draft::{Draft, Row, Tally};

/// A slot that could go to a node that holds a copy of it.
struct Promotion {
    slot: usize,
    from: Option<usize>,
    to: usize,
}

/// Owners under way to their quotas.
struct Hands {
    /// How many slots each owns more than its quota, or fewer.
    excess: Tally,
    /// The owner of each slot; none while it has none.
    owners: Vec<Option<usize>>,
}

impl Hands {
    fn lacks(&self, at: usize) -> bool {
        self.excess.get(at) < 0
    }

    /// Whether a slot may still go: it has no owner, or its owner has too many.
    fn may_go(&self, slot: usize, from: Option<usize>) -> bool {
        let owner = self.owners.get(slot).copied().flatten();
        owner == from && from.is_none_or(|from| self.excess.get(from) > 0)
    }

    fn give(&mut self, slot: usize, to: usize) {
        if let Some(place) = self.owners.get_mut(slot) {
            if let Some(from) = place.replace(to) {
                self.excess.add(from, -1);
            }
            self.excess.add(to, 1);
        }
    }
}

/// Gives every slot an owner, and the copies that it had.
pub(super) fn assign(draft: &mut Draft, quotas: &[Quota]) {
    let mut hands = Hands {
        excess: Tally::new(draft.spots.len()),
        owners: draft.rows.iter().map(|row| row.had_owner).collect(),
    };
    for (at, quota) in quotas.iter().enumerate() {
        hands.excess.add(at, -i64::from(quota.owned));
    }
    for owner in draft.rows.iter().filter_map(|row| row.had_owner) {
        hands.excess.add(owner, 1);
    }
    promote(draft, &mut hands);
    hand_out(draft, &mut hands);
    for (row, owner) in draft.rows.iter_mut().zip(hands.owners) {
        let others = row.had.iter().copied().filter(|at| Some(*at) != owner);
        row.now = owner.into_iter().chain(others).collect();
    }
}

/// First to those that hold a copy: nothing has to be fetched, and the slot is served again at once.
fn promote(draft: &Draft, hands: &mut Hands) {
    let mut promotions = Vec::new();
    for (slot, row) in draft.rows.iter().enumerate() {
        if !hands.may_go(slot, row.had_owner) {
            continue;
        }
        let holders = row.had.iter().copied();
        let holders = holders.filter(|at| Some(*at) != row.had_owner && hands.lacks(*at));
        promotions.extend(holders.map(|to| Promotion {
            slot,
            from: row.had_owner,
            to,
        }));
    }
    promotions.sort_by_cached_key(|Promotion { slot, from, to }| {
        let score = Reverse(draft.score(*slot, *to));
        (from.is_some(), score, *slot, *to)
    });
    for Promotion { slot, from, to } in promotions {
        if hands.lacks(to) && hands.may_go(slot, from) {
            hands.give(slot, to);
        }
    }
}

/// Then what is left, wherever there is room.
fn hand_out(draft: &Draft, hands: &mut Hands) {
    let mut going: Vec<(bool, u64, usize)> = Vec::new();
    for (slot, row) in draft.rows.iter().enumerate() {
        let owner = hands.owners.get(slot).copied().flatten();
        // The slots that are the least to their owner go first.
        match owner {
            None => going.push((false, draft.score(slot, usize::MAX), slot)),
            Some(owner) if row.had_owner == Some(owner) && hands.excess.get(owner) > 0 => {
                going.push((true, draft.score(slot, owner), slot));
            }
            Some(_) => {}
        }
    }
    going.sort_unstable();
    let mut takers: Vec<usize> = hands
        .excess
        .iter()
        .filter(|(_, excess)| *excess < 0)
        .map(|(at, _)| at)
        .collect();
    for (.., slot) in going {
        let owner = hands.owners.get(slot).copied().flatten();
        let Some(row) = draft.rows.get(slot).filter(|_| hands.may_go(slot, owner)) else {
            continue;
        };
        let fits = |at: usize| (row.had.contains(&at), has_room(draft, row, at));
        let best = takers
            .iter()
            .copied()
            .max_by_key(|at| (fits(*at), draft.score(slot, *at)));
        let Some(to) = best else {
            return;
        };
        hands.give(slot, to);
        if !hands.lacks(to) {
            takers.retain(|at| *at != to);
        }
    }
}

/// Whether nobody would have to leave a slot for the zone of its new owner: a copy that leaves must be fetched elsewhere.
fn has_room(draft: &Draft, row: &Row, at: usize) -> bool {
    // An owner that stays as follower makes one too many anyhow.
    row.had_owner.is_some()
        || !row
            .had
            .iter()
            .any(|other| draft.zone(*other) == draft.zone(at))
}
