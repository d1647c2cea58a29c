//! Responsible for synthetic keys, values and queries with the statistics that published work reports of real ones. It must
//! never know codecs.
//!
//! A random network is too easy: its keys are bells without outlier channels and its attention is flat, so naive codes look
//! fine. So keys have a low-rank part that changes slowly from token to token, channel scales, channel means, and under
//! two of the three profiles a few channels with large means, mixed by rotary positions as real ones are.
//!
//! # Source
//! Outlier channels of keys, none of values: KIVI (arXiv 2402.02750). Consistent channels before rotary positions: KVQuant
//! (2401.18079). Tokens resemble their neighbours: CacheGen (2310.07240). First tokens with small values: KVSink (2508.04257).
#![expect(
    clippy::as_conversions,
    reason = "counts and positions, far below 2^24, become numbers"
)]

use clap::ValueEnum;
use half::bf16;
use serde::Serialize;

use super::attention::Attention;
use super::chance::Chance;

/// Rank of the part that all channels share.
const RANK: usize = 32;
/// Base of the rotary angles.
const ROTARY_BASE: f32 = 500_000.0;
/// First tokens of a sequence that attention leans on.
const SINKS: usize = 4;
/// Their values' norm.
const SINK_NORM: f32 = 0.05;
/// Noise of a query beside what it aims at, in deviations.
const AIM_NOISE: f32 = 2.0;
/// What the mean weight of the heaviest token is to be.
const TOP_WEIGHT: f32 = 0.35;

/// Which outliers keys have.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Profile {
    /// None: as a random network.
    Noout,
    /// Three channels a head with means of about 8 deviations.
    Llama,
    /// Four channels a head with means of about 40 deviations, as a bias of the projection makes them.
    Qwen,
}

impl Profile {
    /// All three.
    pub const ALL: [Self; 3] = [Self::Noout, Self::Llama, Self::Qwen];

    /// What it is called.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Noout => "noout",
            Self::Llama => "llama",
            Self::Qwen => "qwen",
        }
    }

    const fn outliers(self) -> (usize, f32) {
        match self {
            Self::Noout => (0, 0.0),
            Self::Llama => (3, 8.0),
            Self::Qwen => (4, 40.0),
        }
    }
}

/// How much to make.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct SampleShape {
    /// K/V heads.
    pub heads: usize,
    /// Tokens of the sequence.
    pub tokens: usize,
    /// Elements of a head for a token; even.
    pub dims: usize,
    /// Queries a head.
    pub queries: usize,
}

/// Keys, values and queries of one layer. Keys and values are numbers that bf16 holds.
pub struct Sample {
    /// What there is.
    pub shape: SampleShape,
    /// `[head][token][dim]`.
    pub keys: Vec<f32>,
    /// `[head][token][dim]`.
    pub values: Vec<f32>,
    /// `[head][query][dim]`; each attends to all tokens.
    pub queries: Vec<f32>,
}

impl Sample {
    /// A sample of this profile; equal seeds give equal samples.
    pub fn generate(profile: Profile, shape: SampleShape, seed: u64) -> Self {
        let mut sample = Self {
            shape,
            keys: Vec::new(),
            values: Vec::new(),
            queries: Vec::new(),
        };
        for head in 0..shape.heads {
            let seed = seed ^ (head as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
            let mut chance = Chance::new(seed);
            let content = content(&mut chance, shape, 0.7);
            let keys = keys(profile, &mut chance, shape, &content);
            let values = values(&mut chance, shape);
            sample
                .queries
                .extend(queries(&mut chance, shape, &content, &keys, &values));
            sample.keys.extend(keys);
            sample.values.extend(values);
        }
        sample
    }

    /// Attention of one head over `keys` and `values`, laid out as this sample's own.
    pub fn head<'a>(&self, head: usize, keys: &'a [f32], values: &'a [f32]) -> Attention<'a> {
        let each = self.shape.tokens * self.shape.dims;
        let part = |all: &'a [f32]| all.get(head * each..(head + 1) * each).unwrap_or_default();
        Attention {
            keys: part(keys),
            values: part(values),
            dims: self.shape.dims,
        }
    }

    /// The queries of one head.
    pub fn queries_of(&self, head: usize) -> impl Iterator<Item = &[f32]> {
        let each = self.shape.queries * self.shape.dims;
        let part = self.queries.get(head * each..(head + 1) * each);
        part.unwrap_or_default().chunks_exact(self.shape.dims)
    }
}

/// What tokens say, before rotary positions: a low-rank part that follows its past with this correlation, and noise.
fn content(chance: &mut Chance, shape: SampleShape, correlation: f32) -> Vec<f32> {
    let spectrum: Vec<f32> = (1..=RANK).map(|rank| (rank as f32).powf(-0.6)).collect();
    let power: f32 = spectrum.iter().map(|weight| weight * weight).sum();
    let mixing = chance.bells(RANK * shape.dims);
    let mut latent = chance.bells(RANK);
    let fresh = (1.0 - correlation * correlation).sqrt();
    let mut content = Vec::with_capacity(shape.tokens * shape.dims);
    for _ in 0..shape.tokens {
        for place in &mut latent {
            *place = correlation * *place + fresh * chance.bell();
        }
        let mut row: Vec<f32> = (0..shape.dims).map(|_| 0.6 * chance.bell()).collect();
        for ((latent, weight), mixing) in latent
            .iter()
            .zip(&spectrum)
            .zip(mixing.chunks_exact(shape.dims))
        {
            for (place, mix) in row.iter_mut().zip(mixing) {
                *place += latent * weight * mix / power.sqrt();
            }
        }
        content.extend(row);
    }
    content
}

/// Turns each pair `(i, i + dims / 2)` by its angle at this position.
fn rotate(row: &mut [f32], position: usize) {
    let half = row.len() / 2;
    let (left, right) = row.split_at_mut(half);
    for (pair, (a, b)) in left.iter_mut().zip(right).enumerate() {
        let angle = position as f32 * ROTARY_BASE.powf(-(pair as f32) / half as f32);
        let (sine, cosine) = angle.sin_cos();
        (*a, *b) = (*a * cosine - *b * sine, *a * sine + *b * cosine);
    }
}

fn keys(profile: Profile, chance: &mut Chance, shape: SampleShape, content: &[f32]) -> Vec<f32> {
    let dims = shape.dims;
    let scales: Vec<f32> = (0..dims).map(|_| chance.log_normal(0.4)).collect();
    let mut means: Vec<f32> = scales
        .iter()
        .map(|scale| scale * chance.bell() * 0.5)
        .collect();
    let (outliers, deviations) = profile.outliers();
    for _ in 0..outliers {
        // The slow half of the rotary pairs, in which a mean stays a mean.
        let pair = dims / 4 + chance.below(dims / 4);
        let channel = pair + if chance.sign() > 0.0 { dims / 2 } else { 0 };
        if let Some(mean) = means.get_mut(channel) {
            *mean = chance.sign() * deviations * chance.log_normal(0.1);
        }
    }
    let mut keys = Vec::with_capacity(content.len());
    for (position, row) in content.chunks_exact(dims).enumerate() {
        let mut key: Vec<f32> = row
            .iter()
            .zip(&scales)
            .zip(&means)
            .map(|((x, scale), mean)| x * scale + mean)
            .collect();
        rotate(&mut key, position);
        keys.extend(key.into_iter().map(rounded));
    }
    keys
}

fn values(chance: &mut Chance, shape: SampleShape) -> Vec<f32> {
    let mut values = content(chance, shape, 0.5);
    for (token, row) in values.chunks_exact_mut(shape.dims).enumerate() {
        let norm = if token < SINKS {
            SINK_NORM
        } else {
            chance.log_normal(0.15)
        };
        for value in row {
            *value = rounded(*value * norm);
        }
    }
    values
}

/// Queries that each aim at one random token, sharp enough that the heaviest token has [`TOP_WEIGHT`] on average.
fn queries(
    chance: &mut Chance,
    shape: SampleShape,
    content: &[f32],
    keys: &[f32],
    values: &[f32],
) -> Vec<f32> {
    let dims = shape.dims;
    let mut aims = Vec::with_capacity(shape.queries * dims);
    for _ in 0..shape.queries {
        let token = chance.below(shape.tokens);
        let said = content
            .get(token * dims..(token + 1) * dims)
            .unwrap_or_default();
        let mut aim: Vec<f32> = said.iter().map(|x| x + AIM_NOISE * chance.bell()).collect();
        rotate(&mut aim, token);
        aims.extend(aim);
    }
    let attention = Attention { keys, values, dims };
    let few = aims.get(..dims * shape.queries.min(32)).unwrap_or_default();
    let (mut low, mut high) = (0.0, 8.0);
    for _ in 0..12 {
        let gain = (low + high) / 2.0;
        let weights = few.chunks_exact(dims).map(|aim| {
            let query: Vec<f32> = aim.iter().map(|x| x * gain).collect();
            attention
                .answer(&query)
                .weights
                .into_iter()
                .fold(0.0, f32::max)
        });
        let mean = weights.sum::<f32>() / (few.len() / dims) as f32;
        if mean < TOP_WEIGHT {
            low = gain
        } else {
            high = gain
        }
    }
    aims.into_iter().map(|x| x * (low + high) / 2.0).collect()
}

fn rounded(value: f32) -> f32 {
    bf16::from_f32(value).to_f32()
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHAPE: SampleShape = SampleShape {
        heads: 2,
        tokens: 1024,
        dims: 128,
        queries: 48,
    };

    #[test]
    fn equal_seeds_make_equal_samples() {
        let small = SampleShape {
            tokens: 64,
            queries: 4,
            ..SHAPE
        };
        let sample = |seed| Sample::generate(Profile::Qwen, small, seed).keys;
        assert_eq!(sample(3), sample(3));
        assert_ne!(sample(3), sample(4));
    }

    #[test]
    fn attention_is_as_sharp_as_published_heads_are() {
        for profile in Profile::ALL {
            let sample = Sample::generate(profile, SHAPE, 7);
            let (mut entropy, mut top) = (0.0, 0.0);
            for head in 0..SHAPE.heads {
                let attention = sample.head(head, &sample.keys, &sample.values);
                for query in sample.queries_of(head) {
                    let weights = attention.answer(query).weights;
                    entropy -= weights
                        .iter()
                        .filter(|w| **w > 0.0)
                        .map(|w| w * w.log2())
                        .sum::<f32>();
                    top += weights.into_iter().fold(0.0, f32::max);
                }
            }
            let count = (SHAPE.heads * SHAPE.queries) as f32;
            let (entropy, top) = (entropy / count, top / count);
            assert!(
                (3.0..7.0).contains(&entropy) && (0.2..0.5).contains(&top),
                "{profile:?}: {entropy} bits, top {top}"
            );
        }
    }

    #[test]
    fn outlier_channels_are_where_their_profile_says() {
        let largest = |profile| {
            let keys = Sample::generate(profile, SHAPE, 7).keys;
            keys.into_iter()
                .fold(0.0_f32, |most, key| most.max(key.abs()))
        };
        let (none, llama, qwen) = (
            largest(Profile::Noout),
            largest(Profile::Llama),
            largest(Profile::Qwen),
        );
        assert!(
            none < 16.0 && none < llama && (30.0..90.0).contains(&qwen),
            "{none} {llama} {qwen}"
        );
    }
}
