//! How many slots each node is to own and to follow: shares of the capacity, by the largest remainder, within bounds.
//!
//! It must never know which slots those are.
//!
//! # Why the quotas of followers can be met exactly
//! Let there be at least as many zones as copies, k, and let every node take its full share. A plan is then a flow: from
//! each node to its zone's place in a slot (at most 1), from there to the slot (at most 1, and 0 in the owner's zone),
//! which takes k − 1. By Hall's condition it exists if every set of nodes is to follow no more than the slots can give
//! it. A set that touches j < k zones is given j − 1 places by each slot that these zones own and j by all others, and
//! no zone is to have more than one copy of each slot, its own slots among them; for j ≥ k the slots give all they have.

use std::cmp::Reverse;

use super::Quota;
use super::draft::{Draft, Row};

/// What is known of one that gets a part.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Claim {
    /// Its weight among the others.
    pub(super) weight: u128,
    /// It gets no less.
    pub(super) least: u32,
    /// It gets no more.
    pub(super) most: u32,
    /// What it has now; decides between equal remainders.
    pub(super) held: u32,
}

/// The quotas, in order of the nodes' numbers.
pub(super) fn of(draft: &Draft) -> Vec<Quota> {
    let slots = count(draft.rows.len());
    let nodes = draft.spots.len();
    let (mut owned, mut held) = (vec![0_u32; nodes], vec![0_u32; nodes]);
    for Row { had, had_owner, .. } in &draft.rows {
        let raise = |tally: &mut Vec<u32>, at: usize| {
            if let Some(number) = tally.get_mut(at) {
                *number += 1;
            }
        };
        had_owner.iter().for_each(|at| raise(&mut owned, *at));
        had.iter().for_each(|at| raise(&mut held, *at));
    }
    let claims = |held: &[u32], least: &[u32]| -> Vec<Claim> {
        let spots = draft.spots.iter().zip(held.iter().zip(least));
        spots
            .map(|(spot, (held, least))| Claim {
                weight: spot.weight.into(),
                least: *least,
                most: if spot.may_gain { slots } else { *held },
                held: *held,
            })
            .collect()
    };
    let owned = apportion(slots, &claims(&owned, &vec![0; nodes]));
    let copies = copies(draft, slots, &claims(&held, &owned));
    let quotas = owned.into_iter().zip(copies);
    quotas
        .map(|(owned, copies)| Quota {
            owned,
            following: copies.saturating_sub(owned),
        })
        .collect()
}

/// How many copies each node is to hold: first what each zone is to, then each node of it.
fn copies(draft: &Draft, slots: u32, nodes: &[Claim]) -> Vec<u32> {
    let wanted = count(draft.zones_wanted());
    let copies = count(draft.copies);
    // A slot is in as many zones as it can be; what is left of its copies may be in any one of them.
    let most = slots * (copies + 1 - wanted);
    let floor = if wanted < copies { slots } else { 0 };
    let mut zones = vec![Claim::default(); draft.zones];
    for (spot, node) in draft.spots.iter().zip(nodes) {
        if let Some(zone) = zones.get_mut(spot.zone) {
            zone.weight += node.weight;
            zone.least += node.least;
            zone.most = zone.most.saturating_add(node.most);
            zone.held += node.held;
        }
    }
    for zone in &mut zones {
        zone.most = zone.most.min(most);
        zone.least = zone.least.max(floor.min(zone.most));
    }
    let room = zones.iter().map(|zone| u64::from(zone.most)).sum::<u64>();
    let total = u32::try_from(room.min(u64::from(slots) * u64::from(copies))).unwrap_or(u32::MAX);
    let mut quotas = vec![0; nodes.len()];
    for (zone, total) in apportion(total, &zones).into_iter().enumerate() {
        let members = draft.spots.iter().zip(nodes).enumerate();
        let members = members.filter(|(_, (spot, _))| spot.zone == zone);
        let (places, claims): (Vec<usize>, Vec<Claim>) =
            members.map(|(at, (_, node))| (at, *node)).unzip();
        for (at, part) in places.into_iter().zip(apportion(total, &claims)) {
            if let Some(quota) = quotas.get_mut(at) {
                *quota = part;
            }
        }
    }
    quotas
}

fn count(length: usize) -> u32 {
    u32::try_from(length).unwrap_or(u32::MAX)
}

/// Parts of a whole by weight, by the largest remainder, none outside its bounds. The bounds together must leave room
/// for the whole. Without any weight all weigh the same.
///
/// Whoever a fair part would be too little for, or too much, is fixed at its bound, the greater evil of both first,
/// until all others can have their fair part of what is left.
pub(super) fn apportion(total: u32, claims: &[Claim]) -> Vec<u32> {
    let mut fixed: Vec<Option<u32>> = vec![None; claims.len()];
    let (mut rest, mut weights);
    loop {
        let taken = fixed.iter().flatten().map(|part| u128::from(*part)).sum();
        rest = u128::from(total).saturating_sub(taken);
        let free = claims.iter().zip(&fixed).filter(|(_, part)| part.is_none());
        weights = free.map(|(claim, _)| claim.weight).sum::<u128>();
        if weights == 0 {
            break;
        }
        // Compared without division: a part is rest × weight ÷ weights.
        let (mut under, mut over) = (0_u128, 0_u128);
        for (claim, _) in claims.iter().zip(&fixed).filter(|(_, p)| p.is_none()) {
            let part = rest * claim.weight;
            under += (u128::from(claim.least) * weights).saturating_sub(part);
            over += part.saturating_sub(u128::from(claim.most) * weights);
        }
        if under == 0 && over == 0 {
            break;
        }
        for (claim, place) in claims.iter().zip(&mut fixed).filter(|(_, p)| p.is_none()) {
            let part = rest * claim.weight;
            if under >= over && part < u128::from(claim.least) * weights {
                *place = Some(claim.least);
            } else if under < over && part > u128::from(claim.most) * weights {
                *place = Some(claim.most);
            }
        }
    }
    if weights == 0 {
        return evenly(rest, claims, fixed);
    }
    by_remainder(rest, weights, claims, &fixed)
}

/// What is left goes in equal parts to those that weigh nothing.
fn evenly(rest: u128, claims: &[Claim], fixed: Vec<Option<u32>>) -> Vec<u32> {
    if rest == 0 || fixed.iter().all(Option::is_some) {
        return fixed.into_iter().map(Option::unwrap_or_default).collect();
    }
    let free = claims.iter().zip(&fixed).filter(|(_, part)| part.is_none());
    let free: Vec<Claim> = free
        .map(|(claim, _)| Claim {
            weight: 1,
            ..*claim
        })
        .collect();
    let rest = u32::try_from(rest).unwrap_or(u32::MAX);
    let mut parts = apportion(rest, &free).into_iter();
    let filled = fixed
        .into_iter()
        .map(|part| part.or_else(|| parts.next()).unwrap_or_default());
    filled.collect()
}

fn by_remainder(rest: u128, weights: u128, claims: &[Claim], fixed: &[Option<u32>]) -> Vec<u32> {
    let whole = |claim: &Claim| u32::try_from(rest * claim.weight / weights).unwrap_or(u32::MAX);
    let mut parts: Vec<u32> = claims
        .iter()
        .zip(fixed)
        .map(|(claim, part)| part.unwrap_or_else(|| whole(claim)))
        .collect();
    let free = claims.iter().zip(fixed).enumerate();
    let free = free.filter(|(_, (_, part))| part.is_none());
    // Between equals, who has one more already keeps it: nothing moves for the sake of a number.
    let mut order: Vec<_> = free
        .map(|(at, (claim, _))| {
            let remainder = rest * claim.weight % weights;
            (Reverse(remainder), claim.held <= whole(claim), at)
        })
        .collect();
    order.sort_unstable();
    let given: u128 = order
        .iter()
        .filter_map(|(.., at)| parts.get(*at))
        .map(|part| u128::from(*part))
        .sum();
    let more = usize::try_from(rest.saturating_sub(given)).unwrap_or(usize::MAX);
    for (.., at) in order.into_iter().take(more) {
        if let Some(part) = parts.get_mut(at) {
            *part += 1;
        }
    }
    parts
}
