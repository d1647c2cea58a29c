//! Responsible for what a rung costs and saves on a sample: bytes, and the distance of attention's answers. It must never know
//! time.
#![expect(
    clippy::as_conversions,
    reason = "byte counts, far below 2^52, become ratios"
)]

use serde::Serialize;
use ultrakv_cache::Codec;
use ultrakv_cache::codec::{Decoder, Encoder};

use super::attention::{Answer, Comparison, Distance};
use super::blocks::{Blocks, decode, encode};
use super::profile::Sample;

/// One rung on one sample.
#[derive(Clone, Debug, Serialize)]
pub struct Quality {
    /// The rung that was asked for.
    pub codec: &'static str,
    /// Original bytes over stored bytes.
    pub ratio: f64,
    /// Stored bits a number.
    pub bits: f64,
    /// Whether every bit came back.
    pub exact: bool,
    /// Tiles that a lossy rung kept exactly.
    pub kept_tiles: usize,
    /// Bound of the error of any element that the encoder stated.
    pub error_bound: f32,
    /// The largest error of any element.
    pub error_max: f32,
    /// Over all heads.
    pub all: Distance,
    /// Error of the attention output by head: median, 95th percentile, largest.
    pub heads: [f64; 3],
    /// Error of the attention output with decoded keys and original values.
    pub keys_only: f64,
    /// Error of the attention output with original keys and decoded values.
    pub values_only: f64,
}

/// What the sample's own numbers answer, head by head.
pub fn answers(sample: &Sample) -> Vec<Vec<Answer>> {
    (0..sample.shape.heads)
        .map(|head| {
            let attention = sample.head(head, &sample.keys, &sample.values);
            sample
                .queries_of(head)
                .map(|query| attention.answer(query))
                .collect()
        })
        .collect()
}

/// Measures a rung.
pub fn measure(sample: &Sample, blocks: &Blocks, exact: &[Vec<Answer>], codec: Codec) -> Quality {
    let (mut encoder, mut decoder) = (Encoder::default(), Decoder::default());
    let (mut stored_bytes, mut kept_tiles, mut error_bound) = (0, 0, 0.0_f32);
    let decoded: Vec<Vec<u8>> = blocks
        .raw()
        .map(|block| {
            let stored = encode(&mut encoder, codec, &block);
            stored_bytes += stored.payload.len();
            kept_tiles += stored.encoded.kept_tiles;
            error_bound = error_bound.max(stored.encoded.error_max);
            let mut plain = vec![0; block.plain.len()];
            decode(&mut decoder, &stored, &mut plain);
            plain
        })
        .collect();
    let (keys, values) = blocks.arrays(&decoded);
    let pairs = sample
        .keys
        .iter()
        .chain(&sample.values)
        .zip(keys.iter().chain(&values));
    let error_max = pairs.map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    let ratio = blocks.plain_bytes() as f64 / stored_bytes as f64;
    let by_head = compare(sample, exact, &keys, &values);
    let mut heads: Vec<f64> = by_head.iter().map(|head| head.distance().output).collect();
    heads.sort_by(f64::total_cmp);
    let at = |share: f64| {
        heads
            .get((share * (heads.len() - 1) as f64).ceil() as usize)
            .copied()
            .unwrap_or(0.0)
    };
    Quality {
        codec: codec.name(),
        ratio,
        bits: blocks.layout.dtype.bytes() as f64 * 8.0 / ratio,
        exact: decoded.as_slice() == blocks.plain(),
        kept_tiles,
        error_bound,
        error_max,
        all: pooled(&by_head).distance(),
        heads: [at(0.5), at(0.95), at(1.0)],
        keys_only: pooled(&compare(sample, exact, &keys, &sample.values))
            .distance()
            .output,
        values_only: pooled(&compare(sample, exact, &sample.keys, &values))
            .distance()
            .output,
    }
}

/// A comparison a head, of these numbers' answers with the exact ones.
pub fn compare(
    sample: &Sample,
    exact: &[Vec<Answer>],
    keys: &[f32],
    values: &[f32],
) -> Vec<Comparison> {
    exact
        .iter()
        .enumerate()
        .map(|(head, exact)| {
            let attention = sample.head(head, keys, values);
            let mut comparison = Comparison::default();
            for (query, exact) in sample.queries_of(head).zip(exact) {
                comparison.add(exact, &attention.answer(query));
            }
            comparison
        })
        .collect()
}

/// All heads as one.
pub fn pooled(heads: &[Comparison]) -> Comparison {
    let mut all = Comparison::default();
    heads.iter().for_each(|head| all.merge(head));
    all
}
