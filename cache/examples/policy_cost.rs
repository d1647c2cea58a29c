//! What a policy's decisions cost: nanoseconds of processor for each block of a hit, and for each block that comes to a full
//! cache: the search for its victim, whether it is worth that, the eviction and the admission. That figure is what it costs
//! beyond LRU's, whose victim is the head of a list, so that the forest's own work is in neither. Judged by
//! `tests/show/policy-cost`.
//!
//! Requests come eight at a time and store their blocks in turns, so that a chain's blocks do not lie beside one another in
//! memory. The cache is turned over before anything is measured, until what is remembered of the past is as large as it gets
//! or a block in ten was replaced. Names of policies as arguments: only those are measured, besides LRU.
#![expect(
    clippy::print_stdout,
    clippy::as_conversions,
    clippy::indexing_slicing,
    reason = "a program that measures: its output is its purpose, and its counts are small"
)]

use rustix::time::{ClockId, clock_gettime};
use ultrakv_cache::policy::victim_sparing;
use ultrakv_cache::{
    BlockId, BlockKey, Facts, Forest, Inserted, Newcomer, Now, Policy, PolicyKind, Rank, Setup,
};

/// Blocks of a chain, of which the first are shared by all: a prompt, then a conversation's turns.
const CHAIN: usize = 24;
const SHARED: usize = 4;

/// Requests that are served at a time.
const ABREAST: usize = 8;

/// Measured: so many groups of requests that store, at most so many that only hit.
const GROUPS: usize = 1_250;
const USES_MAX: usize = 20_000;

/// Chains found before they are used: what the forest holds of them fits the processor's second cache.
const FOUND: usize = 64;

/// Each second chain is used again this many groups after it was stored.
const AGAIN_AFTER: usize = 8;

/// Runs, of which the median counts.
const RUNS: usize = 3;

fn key(number: u64) -> BlockKey {
    let mut bytes = [0; 32];
    let mut state = number;
    for part in bytes.chunks_exact_mut(8) {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        part.copy_from_slice(&(mixed ^ mixed >> 31).to_le_bytes());
    }
    BlockKey::from_bytes(bytes)
}

/// The key of a block of a chain.
fn key_of(chain: u64, depth: usize) -> BlockKey {
    let number = if depth < SHARED {
        u64::MAX
    } else {
        chain * CHAIN as u64
    };
    key(number.wrapping_add(depth as u64))
}

struct Full {
    forest: Forest,
    policy: Box<dyn Policy>,
    capacity: usize,
    /// Chains begun.
    chains: u64,
    /// Blocks that came when there was no room.
    decided: u64,
    now: Now,
}

impl Full {
    fn begin(&mut self) {
        self.now = self.now.add_ms(10);
        self.policy.begin(self.now);
    }

    /// Serves new conversations, block by block in turns.
    fn group(&mut self) {
        let mut is_over = [false; ABREAST];
        let first = self.chains;
        self.chains += ABREAST as u64;
        for depth in 0..CHAIN {
            for (chain, is_over) in (first..).zip(&mut is_over) {
                if depth == 0 || depth == SHARED {
                    self.begin();
                }
                *is_over = *is_over || self.block(chain, depth).is_none();
            }
        }
        if let Some(chain) = first.checked_sub((AGAIN_AFTER * ABREAST) as u64) {
            (0..ABREAST as u64)
                .step_by(2)
                .for_each(|at| self.again(chain + at));
        }
    }

    /// Uses what is left of a chain.
    fn again(&mut self, chain: u64) {
        self.begin();
        let found = (0..CHAIN).map_while(|depth| self.forest.find(&key_of(chain, depth)));
        if let Some(last) = found.last() {
            self.policy.touch(&self.forest, last);
        }
    }

    /// A block of a chain, found or stored; none when it is not admitted, or the block before it had to go.
    fn block(&mut self, chain: u64, depth: usize) -> Option<BlockId> {
        let key = &key_of(chain, depth);
        if let Some(known) = self.forest.find(key) {
            return Some(known);
        }
        let parent = match depth.checked_sub(1) {
            Some(before) => Some(self.forest.find(&key_of(chain, before))?),
            None => None,
        };
        let facts = Facts {
            bytes: 2 << 20,
            depth: depth as u32,
            cost: 512.0,
        };
        if self.forest.len() >= self.capacity {
            self.decided += 1;
            let newcomer = Newcomer {
                key,
                parent,
                is_orphan: false,
                facts,
            };
            let policy = self.policy.as_mut();
            let victim = victim_sparing(policy, &self.forest, Some(&newcomer), parent, || {
                Rank::Normal
            })?;
            if !self.policy.admits(&self.forest, &newcomer, victim) {
                return None;
            }
            let heir = self.forest.parent(victim);
            self.policy.evict(&self.forest, victim, heir);
            self.forest.remove(victim);
        }
        let parent = parent.map(|id| *self.forest.key(id));
        match self.forest.insert(key, parent.as_ref()) {
            Inserted::New(id) => {
                self.policy.admit(&self.forest, id, &facts);
                Some(id)
            }
            Inserted::Known(id) => Some(id),
        }
    }
}

/// Processor time of this thread: others on the machine do not count.
fn cpu_ns() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 * 1e9 + time.tv_nsec as f64
}

fn measure(kind: PolicyKind, blocks: usize) -> (f64, f64) {
    let mut full = Full {
        forest: Forest::new(),
        policy: kind.make(&Setup::default()),
        capacity: blocks,
        chains: 0,
        decided: 0,
        now: Now(0),
    };
    let turned = (blocks * 6).min(300_000.max(blocks / 10)) as u64;
    while full.decided < turned {
        full.group();
    }
    let ends: Vec<BlockId> = (0..full.chains)
        .filter_map(|chain| full.forest.find(&key_of(chain, CHAIN - 1)))
        .collect();
    let hit = hit_ns(&mut full, &ends);
    let (began, before) = (cpu_ns(), full.decided);
    (0..GROUPS).for_each(|_| full.group());
    let decided = (full.decided - before).max(1);
    (hit, (cpu_ns() - began) / decided as f64)
}

/// Hits on chains in no order, each used about twice. A request has found its blocks before it uses them, so the forest's part
/// of each chain is at hand; the policy's is not.
fn hit_ns(full: &mut Full, ends: &[BlockId]) -> f64 {
    let uses = ends.len().min(USES_MAX);
    let order: Vec<BlockId> = (0..uses)
        .map(|number| ends[number * 7_919 % ends.len()])
        .collect();
    let mut spent = 0.0;
    for some in order.chunks(FOUND) {
        for end in some {
            let path = std::iter::successors(Some(*end), |id| full.forest.parent(*id));
            assert_eq!(path.count(), CHAIN, "chains were looked for whole");
        }
        let began = cpu_ns();
        for end in some {
            full.begin();
            full.policy.touch(&full.forest, *end);
        }
        spent += cpu_ns() - began;
    }
    spent / (uses * CHAIN) as f64
}

/// Medians of several runs.
fn medians(kind: PolicyKind, blocks: usize) -> (f64, f64) {
    let (mut hits, mut evictions): (Vec<_>, Vec<_>) =
        (0..RUNS).map(|_| measure(kind, blocks)).unzip();
    hits.sort_by(f64::total_cmp);
    evictions.sort_by(f64::total_cmp);
    (hits[RUNS / 2], evictions[RUNS / 2])
}

fn main() {
    let names: Vec<String> = std::env::args().skip(1).collect();
    for blocks in [10_000, 100_000, 1_000_000] {
        let (_, base) = medians(PolicyKind::LRU, blocks);
        for kind in PolicyKind::all() {
            if names.is_empty() || names.iter().any(|name| name == kind.recipe().name) {
                let (hit, eviction) = medians(kind, blocks);
                println!("{kind} {blocks} {hit:.1} {:.1}", eviction - base);
            }
        }
    }
}
