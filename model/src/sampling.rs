//! From logits to a token: greedy, or drawn from the nucleus at a temperature.
//!
//! Responsible for being a pure function of logits, options and the count of earlier draws. Must never
//! know what tokens mean; a [`Mask`] says which may come.

use rand::{RngCore, SeedableRng};
use rand_chacha::ChaCha12Rng;

use crate::options::SamplingOptions;

/// Which tokens may come next.
pub(crate) trait Mask {
    /// May this token come next?
    fn allows(&self, token: u32) -> bool;
}

/// Draws tokens.
pub(crate) struct Sampler {
    temperature: f32,
    top_p: f32,
    random: ChaCha12Rng,
}

impl Sampler {
    /// A sampler whose draws are a function of the options' seed.
    pub(crate) fn new(options: &SamplingOptions) -> Self {
        Self {
            temperature: options.temperature,
            top_p: options.top_p,
            random: ChaCha12Rng::seed_from_u64(options.seed),
        }
    }

    /// The next token, or `None` if the mask allows none. Equal logits: the lower token first.
    pub(crate) fn draw(&mut self, logits: &[f32], mask: &impl Mask) -> Option<u32> {
        let allowed = (0_u32..)
            .zip(logits.iter().copied())
            .filter(|(token, _)| mask.allows(*token));
        if self.temperature == 0.0 {
            return allowed
                .reduce(|best, next| if next.1 > best.1 { next } else { best })
                .map(|(token, _)| token);
        }
        let mut candidates: Vec<(u32, f64)> = allowed
            .map(|(token, logit)| (token, f64::from(logit) / f64::from(self.temperature)))
            .collect();
        candidates.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
        let top = candidates.first()?.1;
        candidates
            .iter_mut()
            .for_each(|(_, weight)| *weight = (*weight - top).exp());
        let total: f64 = candidates.iter().map(|(_, weight)| weight).sum();
        let nucleus = self.nucleus(&candidates, total);
        let mut left = self.uniform() * nucleus;
        for (token, weight) in &candidates {
            left -= weight;
            if left < 0.0 {
                return Some(*token);
            }
        }
        candidates.first().map(|(token, _)| *token)
    }

    /// The weight of the fewest candidates that reach `top_p` of the total.
    fn nucleus(&self, candidates: &[(u32, f64)], total: f64) -> f64 {
        let goal = f64::from(self.top_p) * total;
        let mut sum = 0.0;
        for (_, weight) in candidates {
            sum += weight;
            if sum >= goal {
                break;
            }
        }
        sum
    }

    /// Uniform in [0, 1): 53 bits of the stream.
    fn uniform(&mut self) -> f64 {
        let bits = self.random.next_u64() >> 11;
        #[expect(clippy::as_conversions, reason = "53 bits fit an f64 exactly")]
        let whole = bits as f64;
        whole / 9_007_199_254_740_992.0
    }
}

#[cfg(test)]
#[expect(clippy::as_conversions, reason = "small numbers made for tests")]
mod tests {
    use super::*;

    struct All;
    impl Mask for All {
        fn allows(&self, _: u32) -> bool {
            true
        }
    }
    struct Only(u32);
    impl Mask for Only {
        fn allows(&self, token: u32) -> bool {
            token == self.0
        }
    }

    fn sampler(temperature: f32, top_p: f32, seed: u64) -> Sampler {
        Sampler::new(&SamplingOptions {
            temperature,
            top_p,
            seed,
            ..SamplingOptions::default()
        })
    }

    #[test]
    fn greedy_takes_the_first_of_the_largest() {
        assert_eq!(
            sampler(0.0, 1.0, 0).draw(&[1.0, 3.0, 3.0, 2.0], &All),
            Some(1)
        );
        assert_eq!(
            sampler(0.0, 1.0, 0).draw(&[1.0, 3.0, 3.0, 2.0], &Only(3)),
            Some(3)
        );
        assert_eq!(sampler(0.0, 1.0, 0).draw(&[1.0], &Only(3)), None);
        assert_eq!(sampler(1.0, 1.0, 0).draw(&[1.0], &Only(3)), None);
    }

    #[test]
    fn equal_seeds_draw_equal_tokens_and_other_seeds_others() {
        let logits: Vec<f32> = (0..50).map(|x| (x as f32).sin()).collect();
        let draws = |seed| -> Vec<_> {
            let mut sampler = sampler(1.0, 0.95, seed);
            (0..64).map(|_| sampler.draw(&logits, &All)).collect()
        };
        assert_eq!(draws(7), draws(7));
        assert_ne!(draws(7), draws(8));
    }

    #[test]
    fn draws_follow_the_probabilities() {
        let logits = [0.0_f32, 1.0, 2.0];
        let mut sampler = sampler(1.0, 1.0, 3);
        let mut counts = [0_u32; 3];
        for _ in 0..30_000 {
            counts[sampler.draw(&logits, &All).unwrap() as usize] += 1;
        }
        let total: f64 = logits.iter().map(|x| f64::from(*x).exp()).sum();
        for (count, logit) in counts.iter().zip(logits) {
            let expected = f64::from(logit).exp() / total;
            assert!((f64::from(*count) / 30_000.0 - expected).abs() < 0.01);
        }
    }

    #[test]
    fn a_narrow_nucleus_keeps_only_the_likeliest() {
        let mut narrow = sampler(1.0, 0.5, 1);
        assert!((0..200).all(|_| narrow.draw(&[0.0, 5.0, 1.0], &All) == Some(1)));
        let mut wide = sampler(100.0, 1.0, 1);
        let drawn: std::collections::BTreeSet<_> = (0..200)
            .map(|_| wide.draw(&[0.0, 5.0, 1.0], &All))
            .collect();
        assert_eq!(drawn.len(), 3);
    }
}
