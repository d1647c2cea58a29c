//! Responsible for the most that any policy could have saved: the one that knows what comes. It must never be offered as a
//! policy.
//!
//! # Source
//! Belady, "A study of replacement algorithms for a virtual-storage computer", 1966, for blocks of one size, with bypass. A
//! block is never used later than its descendants, so the block used farthest from now is a leaf, and the rule that only
//! leaves go costs nothing.

use std::collections::BTreeSet;

use crate::trace::Trace;

/// Never used again.
const NEVER: usize = usize::MAX;

/// Contiguous hits of the optimum with room for `capacity` blocks.
pub fn hits(trace: &Trace, capacity: usize) -> u64 {
    let next = next_uses(trace);
    // By next use, then depth: of those used together the deepest goes first.
    let mut kept: BTreeSet<(usize, usize, u32)> = BTreeSet::new();
    let mut place: Vec<Option<(usize, usize)>> = vec![None; trace.unique_blocks()];
    let mut at = 0;
    let mut hits = 0;
    for request in &trace.requests {
        let mut is_contiguous = true;
        for (depth, block) in request.blocks.iter().enumerate() {
            let Some(slot) = usize::try_from(*block)
                .ok()
                .and_then(|block| place.get_mut(block))
            else {
                continue;
            };
            match slot.take() {
                Some((next, depth)) => {
                    kept.remove(&(next, depth, *block));
                    hits += u64::from(is_contiguous);
                }
                None => is_contiguous = false,
            }
            let next = next.get(at).copied().unwrap_or(NEVER);
            at += 1;
            if next != NEVER {
                *slot = Some((next, depth));
                kept.insert((next, depth, *block));
            }
        }
        while kept.len() > capacity {
            if let Some((_, _, block)) = kept.pop_last()
                && let Some(slot) = usize::try_from(block)
                    .ok()
                    .and_then(|block| place.get_mut(block))
            {
                *slot = None;
            }
        }
    }
    hits
}

/// For each touch, the request that uses its block next.
fn next_uses(trace: &Trace) -> Vec<usize> {
    let mut next = vec![NEVER; trace.touches()];
    let mut seen = vec![NEVER; trace.unique_blocks()];
    let mut at = next.len();
    for (number, request) in trace.requests.iter().enumerate().rev() {
        for block in request.blocks.iter().rev() {
            at -= 1;
            let seen = usize::try_from(*block)
                .ok()
                .and_then(|block| seen.get_mut(block));
            if let (Some(next), Some(seen)) = (next.get_mut(at), seen) {
                *next = std::mem::replace(seen, number);
            }
        }
    }
    next
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::Request;

    #[test]
    fn keeps_what_is_used_soonest_and_stores_nothing_that_is_not_used_again() {
        let mut trace = Trace::new("test", 16);
        (0..4).for_each(|_| {
            trace.add_block();
        });
        let chains: [&[u32]; 5] = [&[0, 1], &[2], &[0, 1], &[2], &[3]];
        trace.requests = chains
            .iter()
            .map(|blocks| Request {
                at_ms: 0,
                blocks: blocks.to_vec(),
            })
            .collect();
        // With two blocks of room 0 and 1 stay, which come first; 2 is not stored.
        assert_eq!(hits(&trace, 2), 2);
        assert_eq!(hits(&trace, 3), 3);
        assert_eq!(hits(&trace, 1), 1);
    }
}
