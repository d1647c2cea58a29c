//! A seeded workload of chained requests: shared system prompts, documents, conversations that go on.
//! It makes numbers only; which index stores them is not its business.

use ultrakv_cache::BlockKey;

/// Blocks of 16 tokens in the longest request: 128 k tokens.
const BLOCKS_MAX: usize = 8192;
/// System prompts that new conversations share.
const SYSTEM_PROMPTS: u64 = 48;
/// Conversations that may still be continued.
const OPEN_CONVERSATIONS: usize = 512;

/// One request: per block, the hash of its own tokens, the hash of its prefix, and our key.
pub struct Request {
    pub local: Vec<u64>,
    pub chained: Vec<u64>,
    pub keys: Vec<BlockKey>,
}

/// SplitMix64 (Steele, Lea, Flood 2014): small, seeded, the same everywhere.
pub struct Random(pub u64);

impl Random {
    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn unit(&mut self) -> f64 {
        (self.next() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// A length with a heavy tail: mean about 1.6 × `median`.
    fn length(&mut self, median: f64) -> usize {
        let sum: f64 = (0..12).map(|_| self.unit()).sum::<f64>() - 6.0;
        ((median * sum.exp()) as usize).clamp(1, BLOCKS_MAX)
    }
}

/// Requests in the order in which they arrive.
pub fn generate(seed: u64, requests: usize) -> Vec<Request> {
    let mut random = Random(seed);
    let systems: Vec<Vec<u64>> = (0..SYSTEM_PROMPTS)
        .map(|_| {
            let blocks = 8 + random.length(24.0);
            (0..blocks).map(|_| random.next()).collect()
        })
        .collect();
    let mut open: Vec<Vec<u64>> = Vec::new();
    (0..requests)
        .map(|_| {
            let continues = !open.is_empty() && random.unit() < 0.35;
            let mut local = if continues {
                let index = random.below(open.len() as u64) as usize;
                open.swap_remove(index)
            } else {
                // Squared, so that the first prompts are the popular ones.
                let rank = (random.unit().powi(2) * SYSTEM_PROMPTS as f64) as usize;
                systems[rank].clone()
            };
            let grown = random.length(if continues { 48.0 } else { 300.0 });
            local.extend((0..grown).map(|_| random.next()));
            local.truncate(BLOCKS_MAX);
            if open.len() == OPEN_CONVERSATIONS {
                let oldest = random.below(open.len() as u64) as usize;
                open.swap_remove(oldest);
            }
            open.push(local.clone());
            chain(local)
        })
        .collect()
}

fn chain(local: Vec<u64>) -> Request {
    let mut key = [0u8; 32];
    let mut chained = Vec::with_capacity(local.len());
    let mut keys = Vec::with_capacity(local.len());
    for hash in &local {
        // Any good mixing serves here: both indexes get their keys ready made.
        let mut state = Random(u64::from_le_bytes(key[..8].try_into().unwrap()) ^ hash.rotate_left(17));
        for part in key.chunks_exact_mut(8) {
            part.copy_from_slice(&state.next().to_le_bytes());
        }
        chained.push(u64::from_le_bytes(key[..8].try_into().unwrap()));
        keys.push(BlockKey::from_bytes(key));
    }
    Request { local, chained, keys }
}
