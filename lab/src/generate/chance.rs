//! Responsible for numbers drawn from a seed. It must never know what they decide.

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// A stream of chance.
pub(super) struct Chance(ChaCha8Rng);

impl Chance {
    /// The stream of a seed, another for each name.
    pub(super) fn new(seed: u64, name: &str) -> Self {
        let mut key = [0; 32];
        let (low, high) = key.split_at_mut(8);
        low.copy_from_slice(&seed.to_le_bytes());
        high.iter_mut()
            .zip(name.bytes())
            .for_each(|(to, from)| *to = from);
        Self(ChaCha8Rng::from_seed(key))
    }

    /// From 0 to below 1.
    pub(super) fn unit(&mut self) -> f64 {
        self.0.random()
    }

    pub(super) fn happens(&mut self, probability: f64) -> bool {
        self.unit() < probability
    }

    pub(super) fn between(&mut self, low: f64, high: f64) -> f64 {
        low + (high - low) * self.unit()
    }

    /// Spread evenly over orders of magnitude.
    pub(super) fn scale(&mut self, low: f64, high: f64) -> f64 {
        self.between(low.ln(), high.ln()).exp()
    }

    pub(super) fn exponential(&mut self, mean: f64) -> f64 {
        -mean * (1.0 - self.unit()).ln()
    }

    /// Log-normal around a median; `spread` is the standard deviation of the logarithm (Box, Muller, 1958).
    pub(super) fn around(&mut self, median: f64, spread: f64) -> f64 {
        let radius = (-2.0 * (1.0 - self.unit()).ln()).sqrt();
        let normal = radius * (std::f64::consts::TAU * self.unit()).cos();
        median * (spread * normal).exp()
    }

    /// A place in `weights`, each with a chance in proportion.
    pub(super) fn weighted(&mut self, weights: &[f64]) -> usize {
        let mut rest = self.unit() * weights.iter().sum::<f64>();
        for (at, weight) in weights.iter().enumerate() {
            rest -= weight;
            if rest < 0.0 {
                return at;
            }
        }
        weights.len().saturating_sub(1)
    }
}

/// Weights of Zipf's law for so many ranks.
pub(super) fn zipf(ranks: usize, exponent: f64) -> Vec<f64> {
    (1..=ranks)
        .map(|rank| crate::replay::ratio(rank, 1).powf(-exponent))
        .collect()
}

/// A time in whole milliseconds.
pub(super) fn millis(ms: f64) -> u64 {
    crate::replay::count(crate::replay::whole(ms))
}
