//! Responsible for attention of one head, and for how far two answers lie apart. It must never know codecs.
#![expect(
    clippy::as_conversions,
    reason = "counts, far below 2^52, become numbers"
)]

use serde::Serialize;

/// How many of the heaviest tokens are compared.
const TOP: usize = 8;
/// Lanes of a sum, so that it becomes vector code.
const LANES: usize = 16;

/// One head's keys and values.
#[derive(Clone, Copy)]
pub struct Attention<'a> {
    /// `[token][dim]`.
    pub keys: &'a [f32],
    /// `[token][dim]`.
    pub values: &'a [f32],
    /// Elements a token.
    pub dims: usize,
}

/// What a head answers to a query.
pub struct Answer {
    /// A logit a token.
    pub logits: Vec<f32>,
    /// Their softmax.
    pub weights: Vec<f32>,
    /// The weighted sum of the values.
    pub output: Vec<f32>,
}

impl Attention<'_> {
    /// The answer to a query that may look at every token.
    pub fn answer(&self, query: &[f32]) -> Answer {
        let scale = 1.0 / (self.dims as f32).sqrt();
        let logits: Vec<f32> = self
            .keys
            .chunks_exact(self.dims)
            .map(|key| dot(query, key) * scale)
            .collect();
        let most = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let mut weights: Vec<f32> = logits.iter().map(|logit| (logit - most).exp()).collect();
        let total: f32 = weights.iter().sum();
        let mut output = vec![0.0; self.dims];
        for (weight, value) in weights.iter_mut().zip(self.values.chunks_exact(self.dims)) {
            *weight /= total;
            for (sum, value) in output.iter_mut().zip(value) {
                *sum += *weight * value;
            }
        }
        Answer {
            logits,
            weights,
            output,
        }
    }
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

/// How far answers over decoded numbers lie from answers over the original ones.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub struct Distance {
    /// `sqrt(Σ‖o' − o‖² / Σ‖o‖²)` over queries: the error of the attention output.
    pub output: f64,
    /// Mean Kullback-Leibler divergence of the weights, in nats.
    pub divergence: f64,
    /// Root mean square error of a logit, after taking away each query's common shift, which softmax does not see.
    pub logit_rms: f64,
    /// The largest such error.
    pub logit_max: f64,
    /// Share of queries whose heaviest token stays the same.
    pub top_one: f64,
    /// Mean share of the eight heaviest tokens that stay among them.
    pub top_eight: f64,
}

/// Sums of which a [`Distance`] is made.
#[derive(Clone, Default)]
pub struct Comparison {
    queries: f64,
    error: f64,
    norm: f64,
    divergence: f64,
    logit_square: f64,
    logits: f64,
    logit_max: f64,
    top_one: f64,
    top_eight: f64,
}

impl Comparison {
    /// Adds one query's two answers.
    pub fn add(&mut self, exact: &Answer, coded: &Answer) {
        self.queries += 1.0;
        for (a, b) in exact.output.iter().zip(&coded.output) {
            self.error += f64::from(b - a).powi(2);
            self.norm += f64::from(*a).powi(2);
        }
        let pairs = || exact.weights.iter().zip(&coded.weights);
        self.divergence += pairs()
            .filter(|(a, _)| **a > 0.0)
            .map(|(a, b)| {
                f64::from(*a) * (f64::from(*a) / f64::from(b.max(f32::MIN_POSITIVE))).ln()
            })
            .sum::<f64>();
        let differences = || {
            exact
                .logits
                .iter()
                .zip(&coded.logits)
                .map(|(a, b)| f64::from(b - a))
        };
        let count = exact.logits.len() as f64;
        let shift = differences().sum::<f64>() / count;
        self.logits += count;
        for difference in differences() {
            self.logit_square += (difference - shift).powi(2);
            self.logit_max = self.logit_max.max((difference - shift).abs());
        }
        let (before, after) = (heaviest(&exact.weights), heaviest(&coded.weights));
        self.top_one += f64::from(u8::from(before.first() == after.first()));
        let kept = before.iter().filter(|token| after.contains(token)).count();
        self.top_eight += kept as f64 / before.len().max(1) as f64;
    }

    /// Adds what another comparison saw.
    pub fn merge(&mut self, other: &Self) {
        self.queries += other.queries;
        self.error += other.error;
        self.norm += other.norm;
        self.divergence += other.divergence;
        self.logit_square += other.logit_square;
        self.logits += other.logits;
        self.logit_max = self.logit_max.max(other.logit_max);
        self.top_one += other.top_one;
        self.top_eight += other.top_eight;
    }

    /// The distance so far.
    pub fn distance(&self) -> Distance {
        let share = |sum: f64, of: f64| if of > 0.0 { sum / of } else { 0.0 };
        Distance {
            output: share(self.error, self.norm).sqrt(),
            divergence: share(self.divergence, self.queries),
            logit_rms: share(self.logit_square, self.logits).sqrt(),
            logit_max: self.logit_max,
            top_one: share(self.top_one, self.queries),
            top_eight: share(self.top_eight, self.queries),
        }
    }
}

/// The heaviest tokens, heaviest first.
fn heaviest(weights: &[f32]) -> Vec<usize> {
    let mut top: Vec<(f32, usize)> = Vec::with_capacity(TOP + 1);
    for (token, weight) in weights.iter().enumerate() {
        if top.len() < TOP || top.last().is_some_and(|(least, _)| weight > least) {
            let at = top.partition_point(|(other, _)| other >= weight);
            top.insert(at, (*weight, token));
            top.truncate(TOP);
        }
    }
    top.into_iter().map(|(_, token)| token).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_as_the_formula_says() {
        let attention = Attention {
            keys: &[2.0, 0.0, 0.0, 2.0],
            values: &[1.0, 0.0, 0.0, 1.0],
            dims: 2,
        };
        let answer = attention.answer(&[2.0_f32.sqrt(), 0.0]);
        let share = 2.0_f32.exp() / (2.0_f32.exp() + 1.0);
        assert!(
            (answer.output[0] - share).abs() < 1e-6
                && (answer.output[1] - 1.0 + share).abs() < 1e-6
        );
        assert!((answer.logits[0] - 2.0).abs() < 1e-6);
    }

    #[test]
    fn equal_answers_have_no_distance_and_others_have_the_one_worked_by_hand() {
        let answer = |output: [f32; 2], logits: [f32; 2], weights: [f32; 2]| Answer {
            logits: logits.to_vec(),
            weights: weights.to_vec(),
            output: output.to_vec(),
        };
        let exact = answer([3.0, 4.0], [1.0, 0.0], [0.75, 0.25]);
        let mut comparison = Comparison::default();
        comparison.add(&exact, &exact);
        let none = comparison.distance();
        assert_eq!(
            (none.output, none.divergence, none.logit_rms, none.top_one),
            (0.0, 0.0, 0.0, 1.0)
        );
        let mut comparison = Comparison::default();
        comparison.add(&exact, &answer([3.0, 3.0], [1.0, 2.0], [0.25, 0.75]));
        let some = comparison.distance();
        assert!((some.output - 0.2).abs() < 1e-9 && (some.logit_rms - 1.0).abs() < 1e-9);
        assert!((some.divergence - 0.5 * 3.0_f64.ln()).abs() < 1e-6);
        assert_eq!((some.top_one, some.top_eight), (0.0, 1.0));
    }
}
