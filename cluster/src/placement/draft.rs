//! A plan in the making: nodes by small numbers, and for each slot whom it had and whom it gets.
//!
//! Responsible for the rules of one slot: distinct nodes, as many zones as there can be, nothing new for who may not
//! gain. It must never know where quotas come from.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};

use xxhash_rust::xxh3::xxh3_64;

use super::{PlanNode, Quota, Share, Targets};
use crate::NodeId;

/// A node that may hold slots.
#[derive(Clone, Debug)]
pub(super) struct Spot {
    pub(super) id: NodeId,
    pub(super) weight: u64,
    pub(super) zone: usize,
    pub(super) may_gain: bool,
    seed: u64,
}

impl Spot {
    /// How much this node is for this slot: as good as random, and the same everywhere.
    pub(super) const fn score(&self, slot: usize) -> u64 {
        // The finishing steps of SplitMix64 (Steele, Lea, Flood, "Fast Splittable Pseudorandom Number Generators").
        let mixed = self.seed ^ (slot_word(slot).wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }
}

#[expect(
    clippy::as_conversions,
    reason = "widens on every target, and is const"
)]
const fn slot_word(slot: usize) -> u64 {
    slot as u64 + 1
}

/// One slot.
#[derive(Clone, Debug, Default)]
pub(super) struct Row {
    /// Who held it by the plan before, of those who may.
    pub(super) had: Vec<usize>,
    /// Its owner by the plan before, if that may hold it still.
    pub(super) had_owner: Option<usize>,
    /// Who is to hold it, the owner first.
    pub(super) now: Vec<usize>,
}

impl Row {
    pub(super) fn followers(&self) -> impl Iterator<Item = usize> + Clone {
        self.now.iter().copied().skip(1)
    }
}

/// A number for each node.
#[derive(Clone, Debug)]
pub(super) struct Tally(Vec<i64>);

impl Tally {
    pub(super) fn new(count: usize) -> Self {
        Self(vec![0; count])
    }

    pub(super) fn get(&self, at: usize) -> i64 {
        self.0.get(at).copied().unwrap_or_default()
    }

    pub(super) fn add(&mut self, at: usize, more: i64) {
        if let Some(number) = self.0.get_mut(at) {
            *number += more;
        }
    }

    /// In order of the nodes' numbers.
    pub(super) fn iter(&self) -> impl Iterator<Item = (usize, i64)> {
        self.0.iter().copied().enumerate()
    }
}

/// The plan in the making.
#[derive(Clone, Debug)]
pub(super) struct Draft {
    pub(super) spots: Vec<Spot>,
    pub(super) rows: Vec<Row>,
    /// How many a slot is to have.
    pub(super) copies: usize,
    /// How many zones there are; a node without a label is one of its own.
    pub(super) zones: usize,
}

impl Draft {
    pub(super) fn new(nodes: &[PlanNode], copies: usize, present: &[Targets]) -> Self {
        let nodes: BTreeMap<NodeId, &PlanNode> = nodes
            .iter()
            .filter(|node| node.share != Share::Nothing)
            .map(|node| (node.node, node))
            .collect();
        let mut labels = BTreeMap::<&str, usize>::new();
        let mut zones = 0;
        let mut spots = Vec::with_capacity(nodes.len());
        for (id, node) in &nodes {
            let fresh = zones;
            let zone = match &*node.zone {
                "" => fresh,
                label => *labels.entry(label).or_insert(fresh),
            };
            zones += usize::from(zone == fresh);
            spots.push(Spot {
                id: *id,
                weight: node.capacity_bytes,
                zone,
                may_gain: node.share == Share::Full,
                seed: xxh3_64(&id.to_u128().to_le_bytes()),
            });
        }
        let numbers: BTreeMap<NodeId, usize> = nodes.into_keys().zip(0..).collect();
        let row = |targets: &Targets| Row {
            had: targets
                .iter()
                .filter_map(|node| numbers.get(node).copied())
                .collect(),
            had_owner: targets
                .first()
                .and_then(|owner| numbers.get(owner).copied()),
            now: Vec::new(),
        };
        Self {
            copies: copies.min(spots.len()),
            rows: present.iter().map(row).collect(),
            spots,
            zones,
        }
    }

    pub(super) fn targets(&self) -> impl Iterator<Item = Targets> {
        self.rows.iter().map(|row| {
            let ids = row.now.iter().filter_map(|at| self.spots.get(*at));
            ids.map(|spot| spot.id).collect()
        })
    }

    pub(super) fn score(&self, slot: usize, at: usize) -> u64 {
        self.spots.get(at).map_or(0, |spot| spot.score(slot))
    }

    pub(super) fn zone(&self, at: usize) -> Option<usize> {
        self.spots.get(at).map(|spot| spot.zone)
    }

    /// Zones that a slot should be in.
    pub(super) fn zones_wanted(&self) -> usize {
        self.zones.min(self.copies)
    }

    /// How many slots each follows more than its quota says, or fewer.
    pub(super) fn excess(&self, quotas: &[Quota]) -> Tally {
        let mut excess = Tally::new(self.spots.len());
        for (at, quota) in quotas.iter().enumerate() {
            excess.add(at, -i64::from(quota.following));
        }
        for follower in self.rows.iter().flat_map(Row::followers) {
            excess.add(follower, 1);
        }
        excess
    }

    /// Whether a node may be among the targets of a slot that it is not among.
    pub(super) fn may_enter(&self, row: &Row, at: usize) -> bool {
        let may_gain = self.spots.get(at).is_some_and(|spot| spot.may_gain);
        (may_gain || row.had.contains(&at)) && !row.now.contains(&at)
    }

    /// Whether one of these is in the zone.
    fn covers(&self, mut nodes: impl Iterator<Item = usize>, zone: Option<usize>) -> bool {
        nodes.any(|at| self.zone(at) == zone)
    }

    /// How many zones these are in.
    pub(super) fn cover(&self, nodes: &[usize]) -> usize {
        let firsts = nodes.iter().enumerate().filter(|(place, at)| {
            let before = nodes.iter().copied().take(*place);
            !self.covers(before, self.zone(**at))
        });
        firsts.count()
    }

    /// Whether a slot has another node in the zone of this one.
    fn is_double(&self, row: &Row, at: usize) -> bool {
        let others = row.now.iter().copied().filter(|other| *other != at);
        self.covers(others, self.zone(at))
    }

    /// Whether a follower of a slot may give way to another node: the slot is in as many zones as it should be, or in
    /// no fewer than before.
    pub(super) fn may_replace(&self, slot: usize, (leaves, enters): (usize, usize)) -> bool {
        let Some(row) = self
            .rows
            .get(slot)
            .filter(|row| self.may_enter(row, enters))
        else {
            return false;
        };
        let stay = row.now.iter().copied().filter(|at| *at != leaves);
        !self.covers(stay, self.zone(enters))
            || self.is_double(row, leaves)
            || self.cover(&row.now) > self.zones_wanted()
    }

    /// Puts one follower in another's place.
    pub(super) fn replace(&mut self, slot: usize, (leaves, enters): (usize, usize)) {
        if let Some(row) = self.rows.get_mut(slot) {
            row.now.retain(|at| *at != leaves);
            row.now.push(enters);
        }
    }

    /// Lets go whom a slot has too many of, and whose place another zone needs. Who follows most over its quota goes
    /// first.
    pub(super) fn trim(&mut self, quotas: &[Quota]) {
        let mut excess = self.excess(quotas);
        for slot in 0..self.rows.len() {
            while let Some(at) = self.unwanted(slot, &excess) {
                excess.add(at, -1);
                if let Some(row) = self.rows.get_mut(slot) {
                    row.now.retain(|other| *other != at);
                }
            }
        }
    }

    fn unwanted(&self, slot: usize, excess: &Tally) -> Option<usize> {
        let row = self.rows.get(slot)?;
        let cover = self.cover(&row.now);
        let missing = self.zones_wanted().saturating_sub(cover);
        let is_over = row.now.len() > self.copies;
        if !is_over {
            // Without zones that it could enter, a slot stays as it is.
            let zones = || self.widening(row).map(|at| self.zone(at));
            let missing = if missing > 0 {
                missing.min(zones().collect::<BTreeSet<_>>().len())
            } else {
                0
            };
            if self.copies - row.now.len() >= missing {
                return None;
            }
        }
        let may_go = |at: &usize| self.is_double(row, *at) || cover > self.zones_wanted();
        let candidates = row.followers().filter(may_go);
        candidates.max_by_key(|at| (excess.get(*at), Reverse(self.score(slot, *at))))
    }

    /// Nodes by which a slot would be in one more zone.
    fn widening<'a>(&'a self, row: &'a Row) -> impl Iterator<Item = usize> + 'a {
        (0..self.spots.len()).filter(|at| {
            self.may_enter(row, *at) && !self.covers(row.now.iter().copied(), self.zone(*at))
        })
    }

    /// Fills what slots lack with who follows least of its quota, in a new zone where one is wanted.
    pub(super) fn fill(&mut self, quotas: &[Quota]) {
        let mut excess = self.excess(quotas);
        for slot in 0..self.rows.len() {
            while let Some(at) = self.wanted(slot, &excess) {
                excess.add(at, 1);
                if let Some(row) = self.rows.get_mut(slot) {
                    row.now.push(at);
                }
            }
        }
    }

    fn wanted(&self, slot: usize, excess: &Tally) -> Option<usize> {
        let row = self.rows.get(slot)?;
        if row.now.len() >= self.copies {
            return None;
        }
        let widens = |at: usize| !self.covers(row.now.iter().copied(), self.zone(at));
        let widening = (self.cover(&row.now) < self.zones_wanted())
            .then(|| self.emptiest(slot, excess, |at| self.may_enter(row, at) && widens(at)))
            .flatten();
        widening.or_else(|| self.emptiest(slot, excess, |at| self.may_enter(row, at)))
    }

    /// Who follows least of its quota, and of several the one that scores highest. Asks whether it may as late as it can:
    /// that costs most.
    fn emptiest(&self, slot: usize, excess: &Tally, may: impl Fn(usize) -> bool) -> Option<usize> {
        let mut best: Option<(i64, Reverse<u64>, usize)> = None;
        for (at, over) in excess.iter() {
            if best.is_some_and(|(least, ..)| over > least) {
                continue;
            }
            let rank = (over, Reverse(self.score(slot, at)), at);
            if best.is_none_or(|best| rank < best) && may(at) {
                best = Some(rank);
            }
        }
        best.map(|(.., at)| at)
    }
}
