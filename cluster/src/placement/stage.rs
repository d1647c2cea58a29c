//! A plan as commands, each of which fits an entry of the log. It must never know how the plan was made.

use std::collections::BTreeSet;

use super::Targets;
use crate::metadata::{ENTRY_BYTES_MAX, SlotsStage};

/// Bytes that one command may have: the rest of an entry is for its envelope and the command's own fields.
const STAGE_BYTES_MAX: usize = ENTRY_BYTES_MAX - 256;
/// Nodes that one byte numbers.
const NARROW_NODES_MAX: usize = 255;
const NODE_BYTES: usize = 16;

/// The commands that make `next` of `present`, beginning with the number of the present plan; each counts on the one
/// before. They go over the slots from the first to the last that differs; none when none does.
///
/// Proposed one after the other or together: when somebody else staged in between, the rest is stale and nothing but a
/// part of this plan is staged, from which the next plan goes on.
#[must_use]
pub fn stages(plan: u64, present: &[Targets], next: &[Targets]) -> Vec<SlotsStage> {
    let differs = |at: &usize| present.get(*at) != next.get(*at);
    let first = (0..next.len()).find(differs);
    let last = (0..next.len()).rev().find(differs);
    let (Some(first), Some(last)) = (first, last) else {
        return Vec::new();
    };
    let mut rest = next.get(first..=last).unwrap_or_default();
    let (mut plan, mut slot) = (plan, u16::try_from(first).unwrap_or(u16::MAX));
    let mut stages = Vec::new();
    while !rest.is_empty() {
        // One list always fits: at most eight nodes and their numbers.
        let mut length = rest.len();
        while length > 1 && bytes(rest.get(..length).unwrap_or_default()) > STAGE_BYTES_MAX {
            length = length.div_ceil(2);
        }
        let (part, after) = rest.split_at_checked(length).unwrap_or((rest, &[]));
        stages.push(SlotsStage::new(plan, slot, part));
        plan = plan.saturating_add(1);
        slot = slot.saturating_add(u16::try_from(length).unwrap_or(u16::MAX));
        rest = after;
    }
    stages
}

/// How many bytes of nodes and numbers the targets of these slots take.
fn bytes(lists: &[Targets]) -> usize {
    let nodes: BTreeSet<_> = lists.iter().flat_map(|list| list.iter()).collect();
    let width = lists.iter().map(|list| list.len()).max().unwrap_or(0);
    let number_bytes = if nodes.len() <= NARROW_NODES_MAX {
        1
    } else {
        2
    };
    nodes.len() * NODE_BYTES + lists.len() * width * number_bytes
}
