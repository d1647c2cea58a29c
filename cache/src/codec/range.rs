//! Responsible for ranges: the least number of a channel or token and the step above it, sixteen ranges side by side, and codes
//! that count those steps. It must never know what shares a range, or which rung asks.
//!
//! # Shape
//! Of `n` ranges: `zero f16[n], scale f16[n]`, both in units of the tile.

use super::decode::DecodeError;
use super::element::Element;
use super::hadamard::Row;
use super::half;
use super::isa::LANES;

/// Adding this to a number from 0 to 2^22 leaves its nearest integer in the lowest bits.
pub(super) const ROUND: f32 = 12_582_912.0;
/// Bytes of one range.
pub(super) const RANGE_BYTES: usize = 4;

/// A power of two above all magnitudes of a tile, in which its 16-bit scales are counted.
#[derive(Clone, Copy)]
pub(super) struct Unit(u8);

impl Unit {
    /// The unit for magnitudes up to `largest`, times `2^spare`; `None` where single precision would lose its footing: then the
    /// tile is kept exactly.
    pub(super) fn of(largest: f32, spare: u8) -> Option<Self> {
        if largest == 0.0 {
            return Some(Self(127));
        }
        let [_, _, low, high] = largest.to_bits().to_le_bytes();
        let exponent = high << 1 | low >> 7;
        (27..=227)
            .contains(&exponent)
            .then(|| Self(exponent + 1 + spare))
    }

    pub(super) const fn code(self) -> u8 {
        self.0
    }

    pub(super) const fn from_code(code: u8) -> Result<Self, DecodeError> {
        if code >= 27 && code < 254 {
            Ok(Self(code))
        } else {
            Err(DecodeError::Scale)
        }
    }

    pub(super) fn value(self) -> f32 {
        f32::from_bits(u32::from(self.0) << 23)
    }

    /// One over it.
    pub(super) fn inverse(self) -> f32 {
        f32::from_bits(u32::from(254 - self.0) << 23)
    }
}

/// The greatest code of this many bits.
pub(super) const fn levels(bits: usize) -> f32 {
    if bits == 8 { 255.0 } else { 15.0 }
}

/// Sixteen ranges: their 16-bit codes and what these stand for.
pub(super) struct Ranges {
    pub(super) zero_codes: [[u8; 2]; LANES],
    pub(super) scale_codes: [[u8; 2]; LANES],
    pub(super) zeros: Row<f32>,
    /// One over the scale; 0 where there is nothing to scale.
    pub(super) inverses: Row<f32>,
    pub(super) scale_max: f32,
}

impl Ranges {
    /// The finest that cover `low..=high`: zero is not above `low`, and `levels` steps reach `high`.
    ///
    /// Arrays and one loop a result, because the compiler makes vectors of that, and not of one loop over many slices: it could
    /// not know that they do not overlap.
    #[inline(always)]
    pub(super) fn over(low: &Row<f32>, high: &Row<f32>, levels: f32, unit: Unit) -> Self {
        let (value, inverse) = (unit.value(), unit.inverse());
        let mut zero_codes = [0; LANES];
        for (code, low) in zero_codes.iter_mut().zip(low) {
            *code = half::below(*low * inverse);
        }
        let zeros = loaded(&zero_codes, value);
        // A little more than the span, so that a rounded quotient cannot fall short of it.
        let share = 1.000_001 / levels;
        let mut scale_codes = [0; LANES];
        for (code, (zero, high)) in scale_codes.iter_mut().zip(zeros.iter().zip(high)) {
            *code = half::above((*high - *zero) * inverse * share);
        }
        let scales = loaded(&scale_codes, value);
        let mut inverses = [0.0; LANES];
        for (inverse, scale) in inverses.iter_mut().zip(&scales) {
            *inverse = if *scale > 0.0 { 1.0 / *scale } else { 0.0 };
        }
        Self {
            zero_codes: stored(&zero_codes),
            scale_codes: stored(&scale_codes),
            zeros,
            inverses,
            scale_max: largest(&scales),
        }
    }
}

#[inline(always)]
fn loaded(codes: &[u16; LANES], unit: f32) -> Row<f32> {
    let mut numbers = [0.0; LANES];
    for (number, code) in numbers.iter_mut().zip(codes) {
        *number = half::load(*code) * unit;
    }
    numbers
}

#[inline(always)]
fn stored(codes: &[u16; LANES]) -> [[u8; 2]; LANES] {
    let mut bytes = [[0; 2]; LANES];
    for (bytes, code) in bytes.iter_mut().zip(codes) {
        *bytes = code.to_le_bytes();
    }
    bytes
}

/// The largest magnitude.
#[inline(always)]
pub(super) fn largest(numbers: &[f32]) -> f32 {
    // Magnitudes are ordered as their bits are; integers have a vector maximum, numbers that may be NaN have none.
    let bits = numbers
        .iter()
        .fold(0, |most, number| number.abs().to_bits().max(most));
    f32::from_bits(bits)
}

/// Writes the ranges from `low` to `high`; then `low` holds their zeros and `high` one over their scales. Answers the largest
/// scale.
#[inline(always)]
pub(super) fn write(
    low: &mut [f32],
    high: &mut [f32],
    levels: f32,
    unit: Unit,
    out: &mut [u8],
) -> f32 {
    let (zero_codes, scale_codes) = out.split_at_mut(low.len() * 2);
    let places = zero_codes
        .as_chunks_mut()
        .0
        .chunks_mut(LANES)
        .zip(scale_codes.as_chunks_mut().0.chunks_mut(LANES));
    let numbers = low.chunks_mut(LANES).zip(high.chunks_mut(LANES));
    let mut scale_max = 0.0_f32;
    for ((low, high), (zero_places, scale_places)) in numbers.zip(places) {
        let ranges = Ranges::over(&lanes(low), &lanes(high), levels, unit);
        put(low, &ranges.zeros);
        put(high, &ranges.inverses);
        put(zero_places, &ranges.zero_codes);
        put(scale_places, &ranges.scale_codes);
        scale_max = scale_max.max(ranges.scale_max);
    }
    scale_max
}

/// What 16-bit codes stand for, in numbers.
#[inline(always)]
pub(super) fn read(codes: &[u8], unit: f32, numbers: &mut [f32]) {
    let codes = codes.as_chunks::<2>().0.chunks(LANES);
    for (numbers, codes) in numbers.chunks_mut(LANES).zip(codes) {
        let mut words = [0; LANES];
        for (word, code) in words.iter_mut().zip(&lanes(codes)) {
            *word = u16::from_le_bytes(*code);
        }
        put(numbers, &loaded(&words, unit));
    }
}

/// As many as there are, up to sixteen, and nothing after them.
#[inline(always)]
pub(super) fn lanes<T: Copy + Default>(numbers: &[T]) -> [T; LANES] {
    if let Ok(whole) = <&[T; LANES]>::try_from(numbers) {
        return *whole;
    }
    let mut line = [T::default(); LANES];
    for (place, number) in line.iter_mut().zip(numbers) {
        *place = *number;
    }
    line
}

/// Copies as many lanes as there are places.
#[inline(always)]
pub(super) fn put<T: Copy>(places: &mut [T], line: &[T; LANES]) {
    if let Ok(whole) = <&mut [T; LANES]>::try_from(&mut *places) {
        *whole = *line;
        return;
    }
    for (place, number) in places.iter_mut().zip(line) {
        *place = *number;
    }
}

/// Codes of sixteen numbers.
#[inline(always)]
pub(super) fn codes(numbers: &Row<f32>, zeros: &Row<f32>, inverses: &Row<f32>) -> [u8; LANES] {
    let mut line = [0; LANES];
    for ((place, number), (zero, inverse)) in
        line.iter_mut().zip(numbers).zip(zeros.iter().zip(inverses))
    {
        *place = code(*number, *zero, *inverse);
    }
    line
}

/// The code of a number: its nearest step above zero.
#[inline(always)]
pub(super) fn code(number: f32, zero: f32, inverse: f32) -> u8 {
    let [low, ..] = ((number - zero) * inverse + ROUND).to_bits().to_le_bytes();
    low
}

/// Least and greatest of at least one number; `None` when one is not finite.
#[inline(always)]
pub(super) fn extent<E: Element>(numbers: &[E::Bytes]) -> Option<(f32, f32)> {
    let (mut least, mut greatest) = (E::HIGHEST, E::LOWEST);
    for number in numbers {
        let key = E::key(*number);
        least = least.min(key);
        greatest = greatest.max(key);
    }
    E::are_finite(least, greatest).then(|| (E::of_key(least), E::of_key(greatest)))
}

/// Sums the numbers of each channel into `sums`; answers how many rows there were.
#[inline(always)]
pub(super) fn sum_channels<E: Element>(tile: &[E::Bytes], sums: &mut [f32]) -> f32 {
    sums.fill(0.0);
    let mut rows = 0.0_f32;
    for row in tile.chunks_exact(sums.len()) {
        rows += 1.0;
        for (sum, number) in sums.iter_mut().zip(row) {
            *sum += E::load(*number);
        }
    }
    rows
}

/// The bound of the error of numbers up to `largest` in magnitude in steps of `scale`, stored as `E`.
pub(super) fn bound<E: Element>(largest: f32, scale: f32) -> f32 {
    // Rounding of codes, of the stored number, and of the few operations between, which work on numbers that are at most a
    // few times as large as the result.
    scale * 0.501 + (largest + scale) * (E::EPSILON * 1.01 + 2.0e-6) + E::TINY
}

#[cfg(test)]
mod tests {
    use super::super::element::{Bf16, F32};
    use super::*;

    #[test]
    fn ranges_cover_what_they_are_asked_to_with_the_finest_step() {
        for bits in [4, 8] {
            let mut low = [-3.0_f32; LANES];
            let mut high = [-3.0_f32; LANES];
            for (at, (low, high)) in (0_u8..).zip(low.iter_mut().zip(&mut high)) {
                *low += f32::from(at) * 0.37;
                *high = *low + f32::from(at) * 0.21;
            }
            let unit = Unit::of(16.0, 0).unwrap();
            let ranges = Ranges::over(&low, &high, levels(bits), unit);
            for at in 0..LANES {
                let step = ranges.inverses[at].recip();
                assert!(ranges.zeros[at] <= low[at]);
                if ranges.inverses[at] > 0.0 {
                    let reach = ranges.zeros[at] + step * levels(bits);
                    assert!(reach >= high[at] && reach < high[at] + step * 0.6 + 0.02);
                } else {
                    assert_eq!(ranges.zeros[at], high[at]);
                }
            }
        }
    }

    #[test]
    fn ranges_that_are_written_are_read_again_in_any_count() {
        for count in [1_usize, 15, 16, 17, 40] {
            let unit = Unit::of(8.0, 0).unwrap();
            let mut low: Vec<f32> = (0..40_u8).map(|at| f32::from(at) * 0.1 - 2.0).collect();
            low.truncate(count);
            let mut high: Vec<f32> = low.iter().map(|low| low * low + 0.5).collect();
            let mut bytes = vec![0xee; count * RANGE_BYTES];
            let most = write(&mut low, &mut high, levels(8), unit, &mut bytes);
            let (mut zeros, mut scales) = (vec![0.0; count], vec![0.0; count]);
            let (zero_codes, scale_codes) = bytes.split_at(count * 2);
            read(zero_codes, unit.value(), &mut zeros);
            read(scale_codes, unit.value(), &mut scales);
            assert_eq!(zeros, low);
            let inverses: Vec<f32> = scales.iter().map(|scale| 1.0 / scale).collect();
            assert_eq!((inverses, largest(&scales)), (high, most));
        }
    }

    #[test]
    fn extents_are_those_of_any_count_and_none_for_what_is_not_finite() {
        let numbers: Vec<[u8; 4]> = (0..37_u8)
            .map(|at| F32::store(f32::from(at.wrapping_mul(101)) - 100.0))
            .collect();
        for count in 1..=37 {
            let some: Vec<f32> = numbers[..count].iter().map(|n| F32::load(*n)).collect();
            let low = some.iter().copied().fold(f32::INFINITY, f32::min);
            let high = some.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            assert_eq!(extent::<F32>(&numbers[..count]), Some((low, high)));
        }
        let nan = 0x7fc1_u16.to_le_bytes();
        for at in 0..20 {
            let mut numbers = [Bf16::store(1.0); 20];
            numbers[at] = nan;
            assert_eq!(extent::<Bf16>(&numbers), None);
        }
    }
}
