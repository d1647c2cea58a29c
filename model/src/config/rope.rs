//! Rotary position embedding: the frequencies, scaled as checkpoints ask, and the turned angles.
//!
//! Computed in `f32` in the order in which Transformers computes them, because a last bit of a frequency
//! grows with the position. Must never know about heads or layers.

use core::f32::consts::TAU;

/// A rotary embedding over whole heads.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Rope {
    /// Base of the frequencies.
    pub(crate) theta: f32,
    /// How the frequencies are changed for contexts longer than the training's.
    pub(crate) scaling: RopeScaling,
}

/// Changes to the frequencies.
///
/// # Source
/// `modeling_rope_utils.py` of Transformers 5.23.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum RopeScaling {
    /// None.
    Default,
    /// All frequencies divided.
    Linear { factor: f32 },
    /// Llama 3.1: low frequencies divided, high ones kept, a ramp between.
    Llama3 {
        factor: f32,
        low: f32,
        high: f32,
        original_context: f32,
    },
    /// YaRN: interpolation by rotations within the original context, and scaled attention.
    Yarn {
        factor: f32,
        beta_fast: f32,
        beta_slow: f32,
        original_context: f32,
        attention: f32,
        truncate: bool,
    },
}

impl Rope {
    /// One frequency for each pair of numbers of a head, and the factor of cosines and sines.
    pub(crate) fn frequencies(&self, head_size: usize) -> (Vec<f32>, f32) {
        let exponent = |pair: u16| {
            self.theta
                .powf(f32::from(pair) * 2.0 / head_size_f32(head_size))
        };
        let pairs = u16::try_from(head_size / 2).unwrap_or(u16::MAX);
        let plain = (0..pairs).map(|pair| 1.0 / exponent(pair));
        match self.scaling {
            RopeScaling::Default => (plain.collect(), 1.0),
            RopeScaling::Linear { factor } => (plain.map(|f| f / factor).collect(), 1.0),
            RopeScaling::Llama3 {
                factor,
                low,
                high,
                original_context,
            } => {
                let scale = |frequency: f32| {
                    let wavelength = TAU / frequency;
                    if wavelength < original_context / high {
                        frequency
                    } else if wavelength > original_context / low {
                        frequency / factor
                    } else {
                        let smooth = (original_context / wavelength - low) / (high - low);
                        (1.0 - smooth) * frequency / factor + smooth * frequency
                    }
                };
                (plain.map(scale).collect(), 1.0)
            }
            RopeScaling::Yarn {
                factor,
                beta_fast,
                beta_slow,
                original_context,
                attention,
                truncate,
            } => {
                let ramp = self.yarn_range(
                    head_size,
                    [beta_fast, beta_slow],
                    original_context,
                    truncate,
                );
                let scale = |pair: u16| {
                    let keep =
                        1.0 - ((f32::from(pair) - ramp[0]) / (ramp[1] - ramp[0])).clamp(0.0, 1.0);
                    let power = exponent(pair);
                    1.0 / (factor * power) * (1.0 - keep) + 1.0 / power * keep
                };
                ((0..pairs).map(scale).collect(), attention)
            }
        }
    }

    /// The pairs between which YaRN's ramp runs: below, frequencies are kept; above, interpolated.
    fn yarn_range(
        &self,
        head_size: usize,
        betas: [f32; 2],
        original_context: f32,
        truncate: bool,
    ) -> [f32; 2] {
        let size = f64::from(head_size_f32(head_size));
        let pair_of = |rotations: f32| {
            size * (f64::from(original_context) / (f64::from(rotations) * core::f64::consts::TAU))
                .ln()
                / (2.0 * f64::from(self.theta).ln())
        };
        let [low, high] = betas.map(pair_of);
        let (low, high) = if truncate {
            (low.floor(), high.ceil())
        } else {
            (low, high)
        };
        let (low, mut high) = (low.max(0.0), high.min(size - 1.0));
        if low == high {
            high += 0.001;
        }
        [narrow(low), narrow(high)]
    }

    /// Cosines and sines for `count` positions from `first`: two `[count, head_size / 2]` matrices.
    pub(crate) fn angles(
        frequencies: &[f32],
        attention: f32,
        first: usize,
        count: usize,
    ) -> (Vec<f32>, Vec<f32>) {
        (first..first + count)
            .flat_map(|position| {
                let position = position_f32(position);
                frequencies.iter().map(move |frequency| {
                    let (sin, cos) = (position * frequency).sin_cos();
                    (cos * attention, sin * attention)
                })
            })
            .unzip()
    }

    /// A digest of everything that turns a key, for block keys.
    pub(crate) fn fingerprint(&self, head_size: usize) -> [u8; 32] {
        let (frequencies, attention) = self.frequencies(head_size);
        let mut hasher =
            blake3::Hasher::new_derive_key("ultrakv 2026 model rope half-rotation f32");
        frequencies.iter().chain([&attention]).for_each(|number| {
            hasher.update(&number.to_bits().to_le_bytes());
        });
        *hasher.finalize().as_bytes()
    }
}

#[expect(
    clippy::as_conversions,
    reason = "head sizes are at most 1024, which f32 holds exactly"
)]
fn head_size_f32(head_size: usize) -> f32 {
    head_size as f32
}

#[expect(
    clippy::as_conversions,
    reason = "contexts are at most 2^24, up to which f32 holds every integer"
)]
fn position_f32(position: usize) -> f32 {
    const { assert!(super::limits::CONTEXT <= 1 << 24) };
    position as f32
}

#[expect(
    clippy::as_conversions,
    reason = "rounding to f32 is what Transformers does here"
)]
fn narrow(x: f64) -> f32 {
    x as f32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn default_frequencies_fall_from_one() {
        let rope = Rope {
            theta: 10_000.0,
            scaling: RopeScaling::Default,
        };
        let (frequencies, attention) = rope.frequencies(8);
        assert_eq!(attention, 1.0);
        for (found, exact) in frequencies.iter().zip([1.0, 0.1, 0.01, 0.001]) {
            assert!((found - exact).abs() < 1e-7);
        }
    }

    #[test]
    fn every_parameter_changes_the_fingerprint() {
        let rope = |theta, scaling| Rope { theta, scaling }.fingerprint(64);
        let all = [
            rope(10_000.0, RopeScaling::Default),
            rope(500_000.0, RopeScaling::Default),
            rope(10_000.0, RopeScaling::Linear { factor: 2.0 }),
            rope(
                10_000.0,
                RopeScaling::Llama3 {
                    factor: 8.0,
                    low: 1.0,
                    high: 4.0,
                    original_context: 8192.0,
                },
            ),
        ];
        for (index, one) in all.iter().enumerate() {
            assert!(all.iter().skip(index + 1).all(|other| other != one));
        }
    }

    #[test]
    fn the_first_position_is_not_turned() {
        let (cos, sin) = Rope::angles(&[1.0, 0.1], 1.0, 0, 2);
        assert_eq!((&cos[..2], &sin[..2]), (&[1.0, 1.0][..], &[0.0, 0.0][..]));
        assert_eq!((cos[2], sin[3]), (1.0_f32.cos(), 0.1_f32.sin()));
    }
}
