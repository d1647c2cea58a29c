//! Responsible for the proof that a contract holds: blocks are chosen by what seeded probes say of each alone, and the error is then
//! measured over the whole sequence with queries that the probes never saw. It must never know how a rung is chosen.
#![expect(
    clippy::as_conversions,
    reason = "counts and bytes, far below 2^52, become ratios and seeds"
)]

use std::collections::BTreeMap;

use serde::Serialize;
use ultrakv_cache::codec::{Chooser, Contract, Decoder};

use super::attention::Answer;
use super::blocks::{Blocks, Stored, decode};
use super::profile::Sample;
use super::quality::{compare, pooled};

/// One contract on one sample.
#[derive(Clone, Debug, Serialize)]
pub struct Held {
    /// Error of the attention output that was accepted.
    pub accepted: f32,
    /// Blocks a rung.
    pub rungs: BTreeMap<&'static str, usize>,
    /// Original bytes over stored bytes.
    pub ratio: f64,
    /// The error that the probes saw: root mean square over blocks.
    pub probed: f64,
    /// The error that was promised: the worst block's.
    pub promised: f64,
    /// The error that held-out queries saw over the whole sequence.
    pub held_out: f64,
    /// The worst block's bound.
    pub bound: f64,
    /// Whether the held-out error is within what was accepted.
    pub kept: bool,
}

/// Chooses every block under `contract` and measures with the sample's own queries.
///
/// # Panics
/// Never on blocks that [`Blocks::cut`] made.
pub fn measure(
    sample: &Sample,
    blocks: &Blocks,
    exact: &[Vec<Answer>],
    contract: &Contract,
    seed: u64,
) -> Held {
    let (mut chooser, mut decoder) = (Chooser::default(), Decoder::default());
    let mut held = Held {
        accepted: contract.output_error_max,
        rungs: BTreeMap::new(),
        ratio: 0.0,
        probed: 0.0,
        promised: 0.0,
        held_out: 0.0,
        bound: 0.0,
        kept: false,
    };
    let (mut bytes, mut squares, mut count) = (0, 0.0, 0.0);
    let decoded: Vec<Vec<u8>> = blocks
        .raw()
        .enumerate()
        .map(|(at, block)| {
            let mut payload = Vec::new();
            let choice = chooser.choose(&block, contract, seed ^ at as u64, &mut payload);
            #[expect(
                clippy::expect_used,
                reason = "the lab's blocks have the bytes that their layout asks for"
            )]
            let (encoded, evidence) = choice.expect("a whole block");
            *held.rungs.entry(encoded.codec.name()).or_default() += 1;
            bytes += payload.len();
            squares += f64::from(evidence.probed).powi(2);
            count += 1.0;
            held.promised = held.promised.max(f64::from(evidence.promised));
            held.bound = held.bound.max(f64::from(evidence.bound));
            let mut plain = vec![0; block.plain.len()];
            decode(&mut decoder, &Stored { encoded, payload }, &mut plain);
            plain
        })
        .collect();
    let (keys, values) = blocks.arrays(&decoded);
    held.ratio = blocks.plain_bytes() as f64 / bytes as f64;
    held.probed = f64::sqrt(squares / count);
    held.held_out = pooled(&compare(sample, exact, &keys, &values))
        .distance()
        .output;
    held.kept = held.held_out <= f64::from(held.accepted);
    held
}
