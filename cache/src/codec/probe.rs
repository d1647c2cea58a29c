//! Responsible for attention that is asked with made-up queries: what a head answers with its numbers, and how far the answer
//! moves with others. It must never know codecs or contracts.
//!
//! A probe aims at one of the block's tokens: that token's key, each channel less its mean and by its deviation, and twice as
//! much noise. Its length is such that its logits over the block have a given deviation, since how sharp attention is, not
//! how long its vectors are, says what an error of a key costs.

use super::shape::Tensor;

/// Noise of a probe beside what it aims at.
const NOISE: f32 = 2.0;
/// Lanes of a sum, so that it becomes vector code.
const LANES: usize = 16;

/// Repeatable numbers.
///
/// # Source
/// Steele, Lea and Flood, Fast splittable pseudorandom number generators (OOPSLA 2014): SplitMix64.
pub(super) struct Seeded(u64);

impl Seeded {
    pub(super) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    const fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Nearly normal: four uniform numbers, centred and scaled.
    fn bell(&mut self) -> f32 {
        let [a, b, c, d, e, f, g, h] = self.bits().to_le_bytes();
        let sum: f32 = [[a, b], [c, d], [e, f], [g, h]]
            .into_iter()
            .map(|pair| f32::from(u16::from_le_bytes(pair)))
            .sum();
        (sum * (1.0 / 65_535.0) - 2.0) * 1.732_050_8
    }

    fn below(&mut self, count: usize) -> usize {
        let most = u64::try_from(count).unwrap_or(u64::MAX).max(1);
        usize::try_from(self.bits() % most).unwrap_or(0)
    }
}

/// One head's keys and values.
#[derive(Clone, Copy)]
pub(super) struct Head<'a> {
    /// `[token][dim]`.
    pub(super) keys: &'a [f32],
    /// `[token][dim]`; the keys once more for a latent.
    pub(super) values: &'a [f32],
    pub(super) dims: usize,
}

impl Head<'_> {
    /// A weight a token for a query.
    fn weigh(&self, query: &[f32], weights: &mut Vec<f32>) {
        let scale = 1.0 / root(self.dims);
        let keys = self.keys.chunks_exact(self.dims);
        weights.clear();
        weights.extend(keys.map(|key| dot(query, key) * scale));
        let most = weights.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let mut total = 0.0;
        for weight in weights.iter_mut() {
            *weight = (*weight - most).exp();
            total += *weight;
        }
        weights.iter_mut().for_each(|weight| *weight /= total);
    }

    /// The values' weighted sum.
    fn mix(&self, weights: &[f32], output: &mut [f32]) {
        output.fill(0.0);
        for (weight, value) in weights.iter().zip(self.values.chunks_exact(self.dims)) {
            for (sum, value) in output.iter_mut().zip(value) {
                *sum += *weight * value;
            }
        }
    }

    /// The output for a query; `weights` is room for a number a token.
    fn answer(&self, query: &[f32], weights: &mut Vec<f32>, output: &mut [f32]) {
        self.weigh(query, weights);
        self.mix(weights, output);
    }

    /// A probe whose logits over this head's tokens have `deviation`.
    fn aim(&self, moments: &[(f32, f32)], deviation: f32, seeded: &mut Seeded) -> Vec<f32> {
        let token = seeded.below(self.keys.len() / self.dims);
        let key = self
            .keys
            .chunks_exact(self.dims)
            .nth(token)
            .unwrap_or_default();
        let mut probe: Vec<f32> = key
            .iter()
            .zip(moments)
            .map(|(number, (mean, deviation))| {
                let aim = if *deviation > 0.0 {
                    (number - mean) / deviation
                } else {
                    0.0
                };
                aim + NOISE * seeded.bell()
            })
            .collect();
        let logits: Vec<f32> = self
            .keys
            .chunks_exact(self.dims)
            .map(|key| dot(&probe, key) / root(self.dims))
            .collect();
        let (_, spread) = moment(logits.iter().copied());
        let gain = if spread > 0.0 {
            deviation / spread
        } else {
            1.0
        };
        probe.iter_mut().for_each(|number| *number *= gain);
        probe
    }
}

/// Probes of one head and what its exact numbers answer.
pub(super) struct Probes {
    queries: Vec<f32>,
    outputs: Vec<f32>,
    /// The length of the longest query.
    length_max: f32,
}

/// What a head's other numbers change.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Change {
    /// `Σ‖o' − o‖²` over probes.
    pub(super) error: f32,
    /// The part of it that the keys' change makes, with the exact values.
    pub(super) key_error: f32,
    /// The part that the values' change adds.
    pub(super) value_error: f32,
    /// `Σ‖o‖²` over probes.
    pub(super) norm: f32,
    /// What no query of the probes' length can exceed, over the probes' mean output.
    pub(super) bound: f32,
}

impl Probes {
    /// As many probes of a head.
    pub(super) fn of(head: &Head<'_>, count: usize, deviation: f32, seeded: &mut Seeded) -> Self {
        let dims = head.dims;
        let moments: Vec<(f32, f32)> = (0..dims)
            .map(|dim| moment(head.keys.iter().skip(dim).step_by(dims).copied()))
            .collect();
        let (mut queries, mut weights, mut length_max) = (Vec::new(), Vec::new(), 0.0_f32);
        let mut outputs = vec![0.0; count * dims];
        for output in outputs.chunks_exact_mut(dims) {
            let query = head.aim(&moments, deviation, seeded);
            head.answer(&query, &mut weights, output);
            length_max = length_max.max(length(&query));
            queries.extend(query);
        }
        Self {
            queries,
            outputs,
            length_max,
        }
    }

    /// `Σ‖o‖²` over probes.
    pub(super) fn norm(&self) -> f32 {
        dot(&self.outputs, &self.outputs)
    }

    /// How far answers move when `exact` becomes `coded`.
    pub(super) fn change(&self, exact: &Head<'_>, coded: &Head<'_>) -> Change {
        let dims = exact.dims;
        let (mut weights, mut after, mut between) = (Vec::new(), vec![0.0; dims], vec![0.0; dims]);
        let mut change = Change::default();
        for (query, before) in self
            .queries
            .chunks_exact(dims)
            .zip(self.outputs.chunks_exact(dims))
        {
            coded.weigh(query, &mut weights);
            coded.mix(&weights, &mut after);
            exact.mix(&weights, &mut between);
            change.error += square_distance(before, &after);
            change.key_error += square_distance(before, &between);
            change.value_error += square_distance(&between, &after);
            change.norm += dot(before, before);
        }
        let count = number(self.outputs.len() / dims);
        let mean = (change.norm / count).sqrt();
        let bound = bound(exact, coded, self.length_max);
        change.bound = if mean > 0.0 {
            bound / mean
        } else {
            f32::INFINITY
        };
        change
    }
}

/// What `‖o' − o‖` cannot exceed for any query of at most this length.
///
/// When every logit changes by at most `d`, weights change by factors between `e^-2d` and `e^2d`, so the output moves by at most
/// `(e^2d − 1) max‖v‖ + max‖v' − v‖`; and `d ≤ ‖q‖ max‖k' − k‖ / √dims` by Cauchy and Schwarz.
pub(super) fn bound(exact: &Head<'_>, coded: &Head<'_>, query_length: f32) -> f32 {
    let dims = exact.dims;
    let widest = |a: &[f32], b: &[f32]| {
        let pairs = a.chunks_exact(dims).zip(b.chunks_exact(dims));
        pairs
            .map(|(a, b)| square_distance(a, b))
            .fold(0.0, f32::max)
            .sqrt()
    };
    let logit = query_length * widest(exact.keys, coded.keys) / root(dims);
    let longest = exact
        .values
        .chunks_exact(dims)
        .map(length)
        .fold(0.0, f32::max);
    (2.0 * logit).exp_m1() * longest + widest(exact.values, coded.values)
}

/// One head of a layer's numbers, which hold the first tensor and, when there is one, the second.
pub(super) fn head_of<'a>(numbers: &'a [f32], tensor: &Tensor, head: usize) -> Head<'a> {
    let each = tensor.tokens * tensor.dims;
    let part = |at: usize| numbers.get(at * each..(at + 1) * each).unwrap_or_default();
    let keys = part(head);
    let values = if numbers.len() > tensor.heads * each {
        part(tensor.heads + head)
    } else {
        keys
    };
    Head {
        keys,
        values,
        dims: tensor.dims,
    }
}

fn number(count: usize) -> f32 {
    u16::try_from(count).map_or(f32::MAX, f32::from)
}

fn root(dims: usize) -> f32 {
    number(dims).sqrt()
}

fn length(vector: &[f32]) -> f32 {
    dot(vector, vector).sqrt()
}

/// Mean and deviation.
fn moment(numbers: impl Iterator<Item = f32> + Clone) -> (f32, f32) {
    let (mut count, mut sum) = (0.0_f32, 0.0_f32);
    for number in numbers.clone() {
        count += 1.0;
        sum += number;
    }
    let mean = sum / count;
    let square: f32 = numbers
        .map(|number| (number - mean) * (number - mean))
        .sum();
    (mean, (square / count).sqrt())
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0.0_f32; LANES];
    for (a, b) in a.chunks(LANES).zip(b.chunks(LANES)) {
        for ((lane, a), b) in lanes.iter_mut().zip(a).zip(b) {
            *lane += a * b;
        }
    }
    lanes.into_iter().sum()
}

fn square_distance(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bells(count: usize, seed: u64) -> Vec<f32> {
        let mut seeded = Seeded::new(seed);
        (0..count).map(|_| seeded.bell()).collect()
    }

    #[test]
    fn bells_have_mean_zero_and_deviation_one() {
        let (mean, deviation) = moment(bells(40_000, 5).into_iter());
        assert!(
            mean.abs() < 0.02 && (deviation - 1.0).abs() < 0.02,
            "{mean} {deviation}"
        );
    }

    #[test]
    fn probes_are_as_sharp_as_asked() {
        let keys = bells(64 * 32, 1);
        let head = Head {
            keys: &keys,
            values: &keys,
            dims: 32,
        };
        let probes = Probes::of(&head, 3, 2.5, &mut Seeded::new(9));
        for query in probes.queries.chunks_exact(32) {
            let logits: Vec<f32> = keys
                .chunks_exact(32)
                .map(|key| dot(query, key) / root(32))
                .collect();
            let (_, deviation) = moment(logits.into_iter());
            assert!((deviation - 2.5).abs() < 0.01, "{deviation}");
        }
    }

    proptest! {
        #[test]
        fn no_query_moves_the_output_beyond_the_bound(
            seed: u64, tokens in 1..40_usize, size in 0.001..1.5_f32, loudness in 0.1..8.0_f32,
        ) {
            let count = tokens * 16;
            let (keys, values) = (bells(count, seed), bells(count, seed ^ 1));
            let moved = |numbers: &[f32], seed: u64| -> Vec<f32> {
                numbers.iter().zip(bells(count, seed)).map(|(number, change)| number + size * change).collect()
            };
            let (near_keys, near_values) = (moved(&keys, seed ^ 2), moved(&values, seed ^ 3));
            let exact = Head { keys: &keys, values: &values, dims: 16 };
            let coded = Head { keys: &near_keys, values: &near_values, dims: 16 };
            let query: Vec<f32> = bells(16, seed ^ 4).into_iter().map(|number| number * loudness).collect();
            let (mut weights, mut before, mut after) = (Vec::new(), [0.0; 16], [0.0; 16]);
            exact.answer(&query, &mut weights, &mut before);
            coded.answer(&query, &mut weights, &mut after);
            let limit = bound(&exact, &coded, length(&query));
            prop_assert!(square_distance(&before, &after).sqrt() <= limit * 1.0001, "{limit}");
        }
    }
}
