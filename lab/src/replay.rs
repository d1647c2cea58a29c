//! Responsible for every policy at every capacity on one trace. It must never know how figures are shown.

use std::str::FromStr;

use serde::Serialize;
use thiserror::Error;
use ultrakv_cache::{PolicyKind, Setup};

use crate::cache::{Cache, Cost, Saved};
use crate::optimum;
use crate::trace::Trace;

/// What to replay.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Policies.
    pub kinds: Vec<PolicyKind>,
    /// Room for blocks.
    pub capacities: Vec<Capacity>,
    /// What blocks are taken to cost.
    pub cost: Cost,
    /// What policies are made with.
    pub setup: Setup,
}

/// Room for blocks.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Capacity {
    /// A share of the trace's different blocks.
    Share(f64),
    /// So many blocks.
    Blocks(usize),
}

impl Capacity {
    /// Blocks of room on a trace.
    fn blocks(self, trace: &Trace) -> usize {
        match self {
            Self::Share(share) => trace.capacity(share),
            Self::Blocks(blocks) => blocks,
        }
    }

    /// Share of a trace's different blocks.
    fn share(self, trace: &Trace) -> f64 {
        match self {
            Self::Share(share) => share,
            Self::Blocks(blocks) => ratio(blocks, trace.unique_blocks()),
        }
    }
}

impl FromStr for Capacity {
    type Err = BadCapacity;

    fn from_str(text: &str) -> Result<Self, BadCapacity> {
        let text = text.trim();
        let capacity = match text.strip_suffix('%') {
            Some(percent) => percent.trim().parse().ok().and_then(|percent: f64| {
                let is_share = percent > 0.0 && percent <= 100.0;
                is_share.then_some(Self::Share(percent / 100.0))
            }),
            None => {
                let blocks = text.parse::<usize>().ok().filter(|blocks| *blocks > 0);
                blocks.map(Self::Blocks)
            }
        };
        capacity.ok_or(BadCapacity)
    }
}

/// A text is no capacity.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error(
    "write percent of the different blocks above 0 to 100, such as 2.5%, or a number of blocks, such as 1000"
)]
pub struct BadCapacity;

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
    let total = touches * count(plan.capacities.len()) * (count(plan.kinds.len()) + 1);
    let mut done = 0;
    let mut cells = Vec::new();
    for kind in &plan.kinds {
        for room in &plan.capacities {
            let capacity = room.blocks(trace);
            let mut cache = Cache::new(*kind, &plan.setup, capacity, plan.cost);
            for (number, request) in trace.requests.iter().enumerate() {
                cache.serve(trace, request);
                if number % 1_024 == 0 {
                    progress(done + cache.saved().blocks, total);
                }
            }
            done += touches;
            let share = room.share(trace);
            cells.push(cell(kind.recipe().name, share, capacity, cache.saved()));
        }
    }
    for room in &plan.capacities {
        let capacity = room.blocks(trace);
        let hits = optimum::hits(trace, capacity);
        done += touches;
        progress(done, total);
        let saved = Saved {
            hits,
            blocks: touches,
            ..Saved::default()
        };
        let optimum = cell("opt", room.share(trace), capacity, &saved);
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
