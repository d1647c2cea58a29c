//! Responsible for random numbers from a seed: bells, log-normal numbers, directions. It must never know what they stand for.

use std::f32::consts::TAU;

use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// A repeatable source of numbers.
pub(super) struct Chance {
    source: ChaCha8Rng,
    spare: Option<f32>,
}

impl Chance {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            source: ChaCha8Rng::seed_from_u64(seed),
            spare: None,
        }
    }

    /// A standard normal number.
    ///
    /// # Source
    /// Box and Muller, A note on the generation of random normal deviates (1958).
    pub(super) fn bell(&mut self) -> f32 {
        if let Some(spare) = self.spare.take() {
            return spare;
        }
        // Never zero, whose logarithm is none.
        let radius = (-2.0 * (1.0 - self.source.random::<f32>()).ln()).sqrt();
        let angle = TAU * self.source.random::<f32>();
        self.spare = Some(radius * angle.sin());
        radius * angle.cos()
    }

    /// As many standard normal numbers.
    pub(super) fn bells(&mut self, count: usize) -> Vec<f32> {
        (0..count).map(|_| self.bell()).collect()
    }

    /// A number whose logarithm is normal with this deviation.
    pub(super) fn log_normal(&mut self, deviation: f32) -> f32 {
        (self.bell() * deviation).exp()
    }

    /// A number below `count`.
    pub(super) fn below(&mut self, count: usize) -> usize {
        self.source.random_range(0..count.max(1))
    }

    /// One of two signs.
    pub(super) fn sign(&mut self) -> f32 {
        if self.source.random::<bool>() {
            1.0
        } else {
            -1.0
        }
    }
}
