//! Responsible for requests as chains of blocks. It must never know how they are kept.

mod read;
mod write;

pub use read::{Format, OURS_BEGINS, TraceError, read};
pub use write::write;

use ultrakv_cache::BlockKey;

/// A request: the chain of blocks that its prompt covers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// Milliseconds since the trace began.
    pub at_ms: u64,
    /// Numbers of its blocks in [`Trace::keys`], root first.
    pub blocks: Vec<u32>,
}

/// Requests in the order of their arrival.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Trace {
    /// What the trace is called in reports.
    pub name: String,
    /// Tokens of a block.
    pub block_tokens: u32,
    /// Requests.
    pub requests: Vec<Request>,
    /// Key of each block; equal numbers mean equal prefixes.
    pub keys: Vec<BlockKey>,
}

impl Trace {
    /// An empty trace.
    pub fn new(name: impl Into<String>, block_tokens: u32) -> Self {
        Self {
            name: name.into(),
            block_tokens,
            ..Self::default()
        }
    }

    /// Gives the next block a number.
    pub fn add_block(&mut self) -> u32 {
        let number = u32::try_from(self.keys.len()).unwrap_or(u32::MAX);
        self.keys.push(key_of(number));
        number
    }

    /// Leaves out blocks that no request names, and numbers the others by their first use.
    pub(crate) fn keep_used(&mut self) {
        let old = std::mem::take(&mut self.keys);
        let mut numbers: Vec<Option<u32>> = vec![None; old.len()];
        let mut requests = std::mem::take(&mut self.requests);
        for block in requests.iter_mut().flat_map(|request| &mut request.blocks) {
            let slot = usize::try_from(*block)
                .ok()
                .and_then(|block| numbers.get_mut(block));
            if let Some(slot) = slot {
                *block = *slot.get_or_insert_with(|| self.add_block());
            }
        }
        self.requests = requests;
    }

    /// Different blocks.
    pub const fn unique_blocks(&self) -> usize {
        self.keys.len()
    }

    /// Blocks of all requests together.
    pub fn touches(&self) -> usize {
        self.requests
            .iter()
            .map(|request| request.blocks.len())
            .sum()
    }

    /// Room for `share` of the different blocks, at least one.
    pub fn capacity(&self, share: f64) -> usize {
        crate::replay::whole(crate::replay::ratio(self.unique_blocks(), 1) * share).max(1)
    }
}

/// A key that spreads like a digest, since the forest takes its bytes for a hash: SplitMix64 (Steele, Lea, Flood, 2014).
fn key_of(number: u32) -> BlockKey {
    let mut bytes = [0; 32];
    let mut state = u64::from(number);
    for part in bytes.chunks_exact_mut(8) {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ state >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        part.copy_from_slice(&(mixed ^ mixed >> 31).to_le_bytes());
    }
    BlockKey::from_bytes(bytes)
}
