//! The dice of the simulator: one seed, one sequence of throws, on every machine.
//!
//! Responsible for numbers drawn from a seed. It must never know entropy from outside, or what the numbers decide.

use rand::{RngCore, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// One million: chances are told in parts of it, so that no fraction is ever rounded differently.
pub const PPM: u32 = 1_000_000;

/// A seeded source of numbers.
#[derive(Debug, Clone)]
pub struct Rng(ChaCha8Rng);

impl Rng {
    /// The source that `seed` names.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(ChaCha8Rng::seed_from_u64(seed))
    }

    /// A source of its own for one part of a run, so that a throw more there moves nothing elsewhere.
    #[must_use]
    pub fn fork(&mut self) -> Self {
        Self::new(self.next_u64())
    }

    /// Any 64 bits.
    pub fn next_u64(&mut self) -> u64 {
        self.0.next_u64()
    }

    /// A number under `bound`; 0 if `bound` is 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        // The high half of the product: an even spread without a division by zero; the bias is below 2^-40 for our bounds.
        let product = u128::from(self.next_u64()) * u128::from(bound);
        u64::try_from(product >> 64).unwrap_or(0)
    }

    /// A number from `least` to `most`, both included; `least` if they are the wrong way round.
    pub fn between(&mut self, least: u64, most: u64) -> u64 {
        let span = most.saturating_sub(least);
        least.saturating_add(self.below(span.saturating_add(1)))
    }

    /// True in `ppm` of a million throws.
    pub fn chance_ppm(&mut self, ppm: u32) -> bool {
        // Thrown even when the answer is known, so that a changed chance leaves the rest of the sequence alone.
        self.below(u64::from(PPM)) < u64::from(ppm)
    }

    /// One of `choices`.
    pub fn pick<'a, T>(&mut self, choices: &'a [T]) -> Option<&'a T> {
        let bound = u64::try_from(choices.len()).unwrap_or(u64::MAX);
        let at = usize::try_from(self.below(bound)).unwrap_or(usize::MAX);
        choices.get(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_seed_throws_one_sequence() {
        let throws = |seed| {
            let mut rng = Rng::new(seed);
            (0..100).map(|_| rng.between(5, 50)).collect::<Vec<_>>()
        };
        assert_eq!(throws(7), throws(7));
        assert_ne!(throws(7), throws(8));
    }

    #[test]
    fn bounds_hold_and_both_ends_are_reached() {
        let mut rng = Rng::new(1);
        let drawn: Vec<u64> = (0..1_000).map(|_| rng.between(3, 6)).collect();
        for expected in 3..=6 {
            assert!(drawn.contains(&expected));
        }
        assert!(drawn.iter().all(|value| (3..=6).contains(value)));
        assert_eq!(rng.below(0), 0);
        assert_eq!(rng.between(9, 4), 9);
        assert_eq!(rng.between(0, u64::MAX).min(1), 1);
        assert!(rng.pick::<u8>(&[]).is_none());
        assert!(!rng.chance_ppm(0));
        assert!(rng.chance_ppm(PPM));
    }
}
