//! What a policy's decisions cost: nanoseconds of processor for each block of a hit, and for each eviction with the
//! admission that needed it, in a full cache. An eviction's figure is what it costs beyond LRU's, whose decision is the head
//! of a list, so that the forest's own work is in neither. Judged by `tests/show/policy-cost`.
#![expect(
    clippy::print_stdout,
    clippy::as_conversions,
    clippy::indexing_slicing,
    reason = "a program that measures: its output is its purpose, and its counts are small"
)]

use rustix::time::{ClockId, clock_gettime};
use ultrakv_cache::{BlockId, BlockKey, Facts, Forest, Inserted, Now, Policy, PolicyKind, Setup};

/// Blocks of a chain, of which the first are shared by all: a prompt, then a conversation's turns.
const CHAIN: usize = 24;
const SHARED: usize = 4;

const FACTS: Facts = Facts {
    bytes: 2 << 20,
    depth: 0,
    cost: 512.0,
};

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

struct Full {
    forest: Forest,
    /// Ends of chains, oldest first.
    ends: Vec<BlockId>,
    next: u64,
    now: Now,
}

impl Full {
    /// Stores a conversation; with `evicts`, one block goes for each that comes.
    fn chain(&mut self, policy: &mut dyn Policy, evicts: bool) -> u64 {
        let mut parent: Option<BlockKey> = None;
        let (mut last, mut evicted) = (None, 0);
        for depth in 0..CHAIN {
            let number = if depth < SHARED { u64::MAX } else { self.next };
            let key = key(number.wrapping_add(depth as u64));
            if let Some(known) = self.forest.find(&key) {
                last = Some(known);
            } else {
                if let Some(victim) = evicts.then(|| policy.victim(&self.forest, None)).flatten() {
                    let heir = self.forest.parent(victim);
                    policy.evict(&self.forest, victim, heir);
                    self.forest.remove(victim);
                    evicted += 1;
                }
                if let Inserted::New(id) = self.forest.insert(&key, parent.as_ref()) {
                    policy.admit(&self.forest, id, &FACTS);
                    last = Some(id);
                }
            }
            parent = Some(key);
        }
        self.next += CHAIN as u64;
        self.ends.extend(last);
        evicted
    }

    fn begin(&mut self, policy: &mut dyn Policy) {
        self.now = self.now.add_ms(10);
        policy.begin(self.now);
    }
}

/// Processor time of this thread: others on the machine do not count.
fn cpu_ns() -> f64 {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    time.tv_sec as f64 * 1e9 + time.tv_nsec as f64
}

fn measure(kind: PolicyKind, blocks: usize) -> (f64, f64) {
    let mut policy = kind.make(&Setup::default());
    let mut full = Full {
        forest: Forest::new(),
        ends: Vec::new(),
        next: 0,
        now: Now(0),
    };
    while full.forest.len() + CHAIN <= blocks {
        full.begin(policy.as_mut());
        full.chain(policy.as_mut(), false);
    }
    // Hits on chains in no order, each used about twice.
    let uses = (full.ends.len() / 2).min(20_000);
    let began = cpu_ns();
    for number in 0..uses {
        full.begin(policy.as_mut());
        let end = full.ends[number * 7_919 % full.ends.len()];
        policy.touch(&full.forest, end);
    }
    let hit = (cpu_ns() - began) / (uses * CHAIN) as f64;
    let (began, mut evicted) = (cpu_ns(), 0);
    for _ in 0..10_000 {
        full.begin(policy.as_mut());
        evicted += full.chain(policy.as_mut(), true);
    }
    (hit, (cpu_ns() - began) / evicted.max(1) as f64)
}

fn main() {
    for blocks in [10_000, 100_000, 1_000_000] {
        let (_, base) = measure(PolicyKind::LRU, blocks);
        for kind in PolicyKind::all() {
            let (hit, eviction) = measure(kind, blocks);
            println!("{kind} {blocks} {hit:.1} {:.1}", eviction - base);
        }
    }
}
