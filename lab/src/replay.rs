//! Responsible for every policy at every capacity on one trace. It must never know how figures are shown.

use serde::Serialize;
use ultrakv_cache::{PolicyKind, Setup};

use crate::cache::{Cache, Cost, Saved};
use crate::optimum;
use crate::trace::Trace;

/// What to replay.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Policies.
    pub kinds: Vec<PolicyKind>,
    /// Capacities as shares of the trace's different blocks.
    pub shares: Vec<f64>,
    /// What blocks are taken to cost.
    pub cost: Cost,
    /// What policies are made with.
    pub setup: Setup,
}

/// One policy at one capacity.
#[derive(Clone, Debug, Serialize)]
pub struct Cell {
    /// The policy, or `opt`.
    pub policy: String,
    /// Share of the different blocks.
    pub share: f64,
    /// Blocks of room.
    pub capacity: usize,
    /// Contiguous hits a block asked for.
    pub hit_ratio: f64,
    /// Share of the prefill's operations saved; not computed for the optimum, which is one of hits.
    pub cost_ratio: Option<f64>,
    /// Blocks hit.
    pub hits: u64,
    /// Blocks evicted.
    pub evictions: u64,
    /// Blocks not admitted.
    pub bypassed: u64,
}

/// All cells of a trace.
#[derive(Clone, Debug, Serialize)]
pub struct Table {
    /// The trace.
    pub trace: String,
    /// Its requests.
    pub requests: usize,
    /// Blocks asked for.
    pub touches: usize,
    /// Different blocks.
    pub unique_blocks: usize,
    /// Tokens of a block.
    pub block_tokens: u32,
    /// Policies in the plan's order, each at every capacity, then the optimum.
    pub cells: Vec<Cell>,
}

impl Table {
    /// Hit ratio of a policy at a share.
    pub fn hit_ratio(&self, policy: &str, share: f64) -> Option<f64> {
        self.cells
            .iter()
            .find(|cell| cell.policy == policy && (cell.share - share).abs() < 1e-12)
            .map(|cell| cell.hit_ratio)
    }
}

/// Replays a trace; `progress` is told of the touches done so far, of how many.
pub fn replay(trace: &Trace, plan: &Plan, mut progress: impl FnMut(u64, u64)) -> Table {
    let touches = count(trace.touches());
    let total = touches * count(plan.shares.len()) * (count(plan.kinds.len()) + 1);
    let mut done = 0;
    let mut cells = Vec::new();
    for kind in &plan.kinds {
        for share in &plan.shares {
            let capacity = trace.capacity(*share);
            let mut cache = Cache::new(*kind, &plan.setup, capacity, plan.cost);
            for (number, request) in trace.requests.iter().enumerate() {
                cache.serve(trace, request);
                if number % 1_024 == 0 {
                    progress(done + cache.saved().blocks, total);
                }
            }
            done += touches;
            cells.push(cell(kind.recipe().name, *share, capacity, cache.saved()));
        }
    }
    for share in &plan.shares {
        let capacity = trace.capacity(*share);
        let hits = optimum::hits(trace, capacity);
        done += touches;
        progress(done, total);
        let saved = Saved {
            hits,
            blocks: touches,
            ..Saved::default()
        };
        let optimum = cell("opt", *share, capacity, &saved);
        cells.push(Cell {
            cost_ratio: None,
            ..optimum
        });
    }
    Table {
        trace: trace.name.clone(),
        requests: trace.requests.len(),
        touches: trace.touches(),
        unique_blocks: trace.unique_blocks(),
        block_tokens: trace.block_tokens,
        cells,
    }
}

fn cell(policy: &str, share: f64, capacity: usize, saved: &Saved) -> Cell {
    Cell {
        policy: policy.to_owned(),
        share,
        capacity,
        hit_ratio: saved.hit_ratio(),
        cost_ratio: Some(saved.cost_ratio()),
        hits: saved.hits,
        evictions: saved.evictions,
        bypassed: saved.bypassed,
    }
}

/// A length as a count.
pub(crate) fn count(len: usize) -> u64 {
    u64::try_from(len).unwrap_or(u64::MAX)
}

/// `a` for each `b`; 0 of nothing.
#[expect(
    clippy::as_conversions,
    clippy::cast_precision_loss,
    reason = "counts of a trace are far below 2^53"
)]
pub(crate) fn ratio<N: TryInto<u64>>(a: N, b: N) -> f64 {
    let (a, b) = (a.try_into().unwrap_or(0), b.try_into().unwrap_or(0));
    if b == 0 { 0.0 } else { a as f64 / b as f64 }
}

/// The nearest whole number.
#[expect(
    clippy::as_conversions,
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a float becomes the nearest number that fits"
)]
pub(crate) fn whole(value: f64) -> usize {
    value.round().max(0.0) as usize
}
