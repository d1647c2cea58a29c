//! Inside a node: which shard a run of blocks, or a box of entries, lives in.
//!
//! Rendezvous hashing with weights: every shard draws a score from the key, the highest wins, so a
//! shard that comes or goes moves only its own share. Local to the node and not replicated, so it
//! must never know slots, epochs or peers.
//!
//! # Source
//! Schindelhauer and Schomaker, "Weighted distributed hash tables", SPAA 2005 (the logarithmic
//! method).

use ultrakv_cache::{BlockKey, EntryBox};
use xxhash_rust::xxh3::xxh3_64_with_seed;

/// The shards of one node and the share of the keys that each one gets.
#[derive(Clone, Debug)]
pub(crate) struct Placement {
    shards: Vec<Share>,
}

#[derive(Clone, Copy, Debug)]
struct Share {
    /// Seeds the shard's scores; its index, so that a shard keeps its keys over restarts.
    seed: u64,
    weight: f64,
}

impl Placement {
    /// One shard a weight. A shard of weight zero is given nothing, unless all are zero.
    pub(crate) fn new(weights: &[u32]) -> Self {
        let even = weights.iter().all(|weight| *weight == 0);
        let shards = (0_u64..)
            .zip(weights)
            .map(|(seed, weight)| Share {
                seed,
                weight: if even { 1.0 } else { f64::from(*weight) },
            })
            .collect();
        Self { shards }
    }

    /// The shard of a run, named by its head's key.
    pub(crate) fn run(&self, run: &BlockKey) -> usize {
        self.choose(run.as_bytes())
    }

    /// The shard of a box of entries.
    pub(crate) fn entry_box(&self, at: EntryBox) -> usize {
        self.choose(&at.0.to_le_bytes())
    }

    fn choose(&self, key: &[u8]) -> usize {
        let mut best = (f64::NEG_INFINITY, 0);
        for (index, share) in self.shards.iter().enumerate() {
            let score = share.weight / -unit(xxh3_64_with_seed(key, share.seed)).ln();
            if score > best.0 {
                best = (score, index);
            }
        }
        best.1
    }
}

/// Maps a hash to the open interval (0, 1), where the logarithm is finite and not zero.
fn unit(hash: u64) -> f64 {
    // The upper 52 bits and a half: exact in an f64, which has 53.
    let upper = u32::try_from(hash >> 32).unwrap_or(u32::MAX);
    let lower = u32::try_from((hash >> 12) & 0xF_FFFF).unwrap_or(0);
    let whole = f64::from(upper) * f64::from(1_u32 << 20) + f64::from(lower) + 0.5;
    whole / (f64::from(1_u32 << 26) * f64::from(1_u32 << 26))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(i: u64) -> BlockKey {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&i.to_le_bytes());
        BlockKey::from_bytes(bytes)
    }

    fn counts(weights: &[u32], keys: u64) -> Vec<u64> {
        let placement = Placement::new(weights);
        let mut counts = vec![0; weights.len()];
        for i in 0..keys {
            counts[placement.run(&key(i))] += 1;
        }
        counts
    }

    #[test]
    fn shards_get_their_weights_share_of_the_runs() {
        let counts = counts(&[1, 2, 0, 5], 80_000);
        for (count, expected) in counts.iter().zip([10_000_u64, 20_000, 0, 50_000]) {
            assert!(count.abs_diff(expected) <= expected / 20, "{counts:?}");
        }
    }

    #[test]
    fn one_more_shard_moves_runs_to_itself_only() {
        let (before, after) = (Placement::new(&[1, 1, 1]), Placement::new(&[1, 1, 1, 1]));
        for i in 0..10_000 {
            let (old, new) = (before.run(&key(i)), after.run(&key(i)));
            assert!(new == old || new == 3);
        }
    }

    #[test]
    fn the_ends_of_the_hash_range_have_finite_scores() {
        for hash in [0, 1, u64::MAX] {
            let unit = unit(hash);
            assert!(unit > 0.0 && unit < 1.0, "{unit}");
        }
    }
}
