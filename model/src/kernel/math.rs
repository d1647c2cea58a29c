//! Elementary functions and sums with one fixed order, written so that compilers vectorise them.
#![expect(
    clippy::indexing_slicing,
    reason = "lanes are arrays of constant length indexed by constants and loop counters below it"
)]

use super::isa::{LANES, Lanes};

/// The exponential function to about one unit in the last place of `f32`.
///
/// Our own, because the platform's differs between systems and does not vectorise. Arguments below
/// -87 give about 1e-38 and above 88 about 1e38 instead of 0 and infinity.
///
/// # Source
/// Cody and Waite's range reduction; polynomial of degree 6 from Cephes `expf`.
#[inline(always)]
pub(crate) fn exp(x: f32) -> f32 {
    /// 1.5 * 2^23: adding it leaves the rounded integer in the low bits of the mantissa.
    const ROUND: f32 = 12_582_912.0;
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    let x = x.clamp(-87.0, 88.0);
    let shifted = x.mul_add(core::f32::consts::LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = n.mul_add(-LN2_HIGH, x);
    let r = n.mul_add(-LN2_LOW, r);
    let mut p = 1.987_569_1e-4_f32;
    p = p.mul_add(r, 1.398_199_9e-3);
    p = p.mul_add(r, 8.333_452e-3);
    p = p.mul_add(r, 4.166_579_6e-2);
    p = p.mul_add(r, 1.666_666_5e-1);
    p = p.mul_add(r, 0.5);
    let p = p.mul_add(r * r, r) + 1.0;
    let power = shifted
        .to_bits()
        .wrapping_sub(ROUND.to_bits())
        .wrapping_add(127)
        << 23;
    p * f32::from_bits(power)
}

/// Adds the lanes as a fixed tree.
#[inline(always)]
pub(crate) fn fold(mut lanes: [f32; LANES]) -> f32 {
    let mut half = LANES / 2;
    while half > 0 {
        for lane in 0..half {
            lanes[lane] += lanes[lane + half];
        }
        half /= 2;
    }
    lanes[0]
}

/// Laned inner product of two slices of equal length.
#[inline(always)]
pub(crate) fn dot<V: Lanes>(a: &[f32], b: &[f32]) -> f32 {
    let mut sums = V::splat(0.0);
    let (a, a_rest) = a.as_chunks::<LANES>();
    let (b, b_rest) = b.as_chunks::<LANES>();
    for (a, b) in a.iter().zip(b) {
        sums = V::load(a).mul_add(V::load(b), sums);
    }
    if a_rest.is_empty() {
        return sums.sum();
    }
    let mut lanes = sums.store();
    for (lane, (a, b)) in lanes.iter_mut().zip(a_rest.iter().zip(b_rest)) {
        *lane = a.mul_add(*b, *lane);
    }
    fold(lanes)
}

/// Replaces each score by the exponential of its distance to the largest and returns their laned sum.
#[inline(always)]
pub(crate) fn exponentials(scores: &mut [f32]) -> f32 {
    // The maximum is exact in any order, so lanes here are only for speed.
    let mut tops = [f32::NEG_INFINITY; LANES];
    let (whole, rest) = scores.as_chunks::<LANES>();
    for chunk in whole {
        for lane in 0..LANES {
            tops[lane] = if chunk[lane] > tops[lane] {
                chunk[lane]
            } else {
                tops[lane]
            };
        }
    }
    let top = rest
        .iter()
        .chain(&tops)
        .fold(f32::NEG_INFINITY, |top, &x| if x > top { x } else { top });
    let mut lanes = [0.0_f32; LANES];
    let (whole, rest) = scores.as_chunks_mut::<LANES>();
    for chunk in whole {
        for lane in 0..LANES {
            chunk[lane] = exp(chunk[lane] - top);
            lanes[lane] += chunk[lane];
        }
    }
    for (lane, score) in lanes.iter_mut().zip(rest) {
        *score = exp(*score - top);
        *lane += *score;
    }
    fold(lanes)
}

#[cfg(test)]
#[expect(clippy::as_conversions, reason = "small numbers made for tests")]
mod tests {
    use super::*;

    #[test]
    fn exp_is_within_two_units_in_the_last_place() {
        let mut worst = 0.0_f64;
        for i in -86_000..88_000_i32 {
            let x = i as f32 / 1000.0;
            let exact = f64::from(x).exp();
            worst = worst.max(((f64::from(exp(x)) - exact) / exact).abs());
        }
        assert!(worst < 2.4e-7, "relative error {worst}");
    }

    #[test]
    fn exp_of_zero_is_one_and_the_ends_stay_finite() {
        assert_eq!(exp(0.0), 1.0);
        assert!(exp(-1e30) < 1e-37 && exp(-1e30) >= 0.0);
        assert!(exp(1e30).is_finite());
    }
}
