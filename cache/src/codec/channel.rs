//! Responsible for codes between the least and the greatest number of a channel, over the tokens of a segment. It must never
//! know which rung asks.
//!
//! # Shape
//! Unit, then a segment at a time: `zero f16[dims], scale f16[dims]` in units, `code[tokens][dims]`. Eight bits: a byte each.
//! Four bits: byte `j` of a row holds dimension `j` in its low and `j + dims / 2` in its high half.
//!
//! # Source
//! KIVI (arXiv 2402.02750), section 3: outliers of keys stay in their channels, so each channel has its own range.

use super::cursor::Cursor;
use super::decode::DecodeError;
use super::element::Element;
use super::half;
use super::scratch::{Scratch, sized};
use super::shape::Tensor;

/// Adding this to a number from 0 to 2^22 leaves its nearest integer in the lowest bits.
pub(super) const ROUND: f32 = 12_582_912.0;

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

/// Zero and scale of codes from 0 to `levels` over `low..=high`: their 16-bit codes and what these stand for.
#[derive(Clone, Copy)]
pub(super) struct Affine {
    pub(super) zero_code: u16,
    pub(super) scale_code: u16,
    pub(super) zero: f32,
    pub(super) scale: f32,
}

impl Affine {
    /// The finest that covers the range: zero is not above `low`, and `levels` steps reach `high`.
    #[inline(always)]
    pub(super) fn over(low: f32, high: f32, levels: f32, unit: Unit) -> Self {
        let zero_code = half::below(low * unit.inverse());
        let zero = half::load(zero_code) * unit.value();
        // A little more than the span, so that a rounded quotient cannot fall short of it.
        let step = (high - zero) * unit.inverse() * (1.000_001 / levels);
        let scale_code = half::above(step);
        Self {
            zero_code,
            scale_code,
            zero,
            scale: half::load(scale_code) * unit.value(),
        }
    }

    /// One over the scale; 0 where there is nothing to scale.
    #[inline(always)]
    pub(super) fn inverse(self) -> f32 {
        if self.scale > 0.0 {
            1.0 / self.scale
        } else {
            0.0
        }
    }
}

/// The bound of the error of numbers up to `largest` in magnitude in steps of `scale`, stored as `E`.
pub(super) fn bound<E: Element>(largest: f32, scale: f32) -> f32 {
    // Rounding of codes, of the stored number, and of the few operations between, which work on numbers that are at most a
    // few times as large as the result.
    scale * 0.501 + (largest + scale) * (E::EPSILON * 1.01 + 2.0e-6) + E::TINY
}

/// The code of a number: its nearest step above zero.
#[inline(always)]
pub(super) fn code(value: f32, zero: f32, inverse: f32) -> u8 {
    let [low, ..] = ((value - zero) * inverse + ROUND).to_bits().to_le_bytes();
    low
}

/// Least and greatest of each channel, as keys.
#[inline(always)]
fn measure<E: Element>(rows: &[E::Bytes], dims: usize, low: &mut [E::Key], high: &mut [E::Key]) {
    let mut pairs = rows.chunks_exact(dims * 2);
    for pair in &mut pairs {
        let (first, second) = pair.split_at(dims);
        let columns = first
            .iter()
            .zip(second)
            .zip(low.iter_mut().zip(high.iter_mut()));
        for ((a, b), (low, high)) in columns {
            let (a, b) = (E::key(*a), E::key(*b));
            *low = (*low).min(a.min(b));
            *high = (*high).max(a.max(b));
        }
    }
    let columns = pairs
        .remainder()
        .iter()
        .zip(low.iter_mut().zip(high.iter_mut()));
    for (a, (low, high)) in columns {
        let a = E::key(*a);
        *low = (*low).min(a);
        *high = (*high).max(a);
    }
}

/// Tokens that share a scale at most.
const fn segment_max(bits: usize) -> usize {
    if bits == 8 { 128 } else { 64 }
}

/// Appends a tile's codes and answers the bound of its error; `None`, with nothing to be kept of what was appended, when it
/// holds NaN, infinities or magnitudes at the ends of the range.
#[inline(always)]
pub(super) fn encode<E: Element, const BITS: usize>(
    tensor: &Tensor,
    tile: &[E::Bytes],
    scratch: &mut Scratch,
    out: &mut Vec<u8>,
) -> Option<f32> {
    let dims = tensor.dims;
    let levels = if BITS == 8 { 255.0 } else { 15.0 };
    let Scratch {
        low, high, factor, ..
    } = scratch;
    low.clear();
    high.clear();
    let mut keys = [
        [E::HIGHEST; super::shape::LOSSY_DIMS_MAX],
        [E::LOWEST; super::shape::LOSSY_DIMS_MAX],
    ];
    let mut rest = tile;
    let mut largest = 0_u32;
    for tokens in tensor.segments(segment_max(BITS)) {
        let (rows, after) = rest.split_at_checked(tokens * dims)?;
        rest = after;
        let [lows, highs] = &mut keys;
        let (lows, highs) = (lows.get_mut(..dims)?, highs.get_mut(..dims)?);
        lows.fill(E::HIGHEST);
        highs.fill(E::LOWEST);
        measure::<E>(rows, dims, lows, highs);
        let mut finite = true;
        for (low_key, high_key) in lows.iter().zip(highs) {
            finite &= E::are_finite(*low_key, *high_key);
            let (least, greatest) = (E::of_key(*low_key), E::of_key(*high_key));
            // Magnitudes are ordered as their bits are; integers have a vector maximum, numbers that may be NaN have none.
            largest = largest
                .max(least.abs().to_bits())
                .max(greatest.abs().to_bits());
            low.push(least);
            high.push(greatest);
        }
        if !finite {
            return None;
        }
    }
    let largest = f32::from_bits(largest);
    let unit = Unit::of(largest, 0)?;
    out.push(unit.code());
    let mut scale_max = 0_u32;
    let mut rest = tile;
    let ranges = low.chunks_exact_mut(dims).zip(high.chunks_exact(dims));
    for (tokens, (zeros, highs)) in tensor.segments(segment_max(BITS)).zip(ranges) {
        let (rows, after) = rest.split_at_checked(tokens * dims)?;
        rest = after;
        let at = out.len();
        out.resize(at + dims * 4 + rows.len() * BITS / 8, 0);
        let (zero_codes, rest_out) = out.get_mut(at..)?.split_at_mut_checked(dims * 2)?;
        let (scale_codes, codes) = rest_out.split_at_mut_checked(dims * 2)?;
        let inverses = sized(factor, dims, 0.0);
        let places = zero_codes
            .as_chunks_mut::<2>()
            .0
            .iter_mut()
            .zip(scale_codes.as_chunks_mut::<2>().0);
        let channels = zeros.iter_mut().zip(highs).zip(inverses.iter_mut());
        for (((zero, high), inverse), (zero_place, scale_place)) in channels.zip(places) {
            let affine = Affine::over(*zero, *high, levels, unit);
            *zero_place = affine.zero_code.to_le_bytes();
            *scale_place = affine.scale_code.to_le_bytes();
            *zero = affine.zero;
            *inverse = affine.inverse();
            scale_max = scale_max.max(affine.scale.to_bits());
        }
        quantize::<E, BITS>(rows, zeros, inverses, codes);
    }
    Some(bound::<E>(largest, f32::from_bits(scale_max)))
}

#[inline(always)]
fn quantize<E: Element, const BITS: usize>(
    rows: &[E::Bytes],
    zeros: &[f32],
    inverses: &[f32],
    codes: &mut [u8],
) {
    let dims = zeros.len();
    if BITS == 8 {
        for (row, codes) in rows.chunks_exact(dims).zip(codes.chunks_exact_mut(dims)) {
            let channels = zeros.iter().zip(inverses);
            for ((number, (zero, inverse)), place) in row.iter().zip(channels).zip(codes) {
                *place = code(E::load(*number), *zero, *inverse);
            }
        }
        return;
    }
    let half = dims / 2;
    let (zeros_low, zeros_high) = zeros.split_at(half);
    let (inverses_low, inverses_high) = inverses.split_at(half);
    for (row, codes) in rows.chunks_exact(dims).zip(codes.chunks_exact_mut(half)) {
        let (row_low, row_high) = row.split_at(half);
        let low = row_low.iter().zip(zeros_low.iter().zip(inverses_low));
        let high = row_high.iter().zip(zeros_high.iter().zip(inverses_high));
        for (((a, (zero_a, inverse_a)), (b, (zero_b, inverse_b))), place) in
            low.zip(high).zip(codes)
        {
            let low = code(E::load(*a), *zero_a, *inverse_a);
            let high = code(E::load(*b), *zero_b, *inverse_b);
            *place = low | high << 4;
        }
    }
}

/// Reads a tile's codes into `tile`.
#[inline(always)]
pub(super) fn decode<E: Element, const BITS: usize>(
    tensor: &Tensor,
    body: &mut Cursor<'_>,
    scratch: &mut Scratch,
    tile: &mut [E::Bytes],
) -> Result<(), DecodeError> {
    let dims = tensor.dims;
    let unit = Unit::from_code(body.byte()?)?.value();
    let mut rest = tile;
    for tokens in tensor.segments(segment_max(BITS)) {
        let (rows, after) = rest
            .split_at_mut_checked(tokens * dims)
            .ok_or(DecodeError::Output)?;
        rest = after;
        let zeros = sized(&mut scratch.low, dims, 0.0);
        let scales = sized(&mut scratch.factor, dims, 0.0);
        for (codes, numbers) in [
            (body.take(dims * 2)?, &mut *zeros),
            (body.take(dims * 2)?, &mut *scales),
        ] {
            for (code, number) in codes.as_chunks::<2>().0.iter().zip(numbers) {
                *number = half::load(u16::from_le_bytes(*code)) * unit;
            }
        }
        if BITS == 8 {
            let codes = body.take(tokens * dims)?;
            for (row, codes) in rows.chunks_exact_mut(dims).zip(codes.chunks_exact(dims)) {
                let channels = zeros.iter().zip(scales.iter());
                for ((place, code), (zero, scale)) in row.iter_mut().zip(codes).zip(channels) {
                    *place = E::store(f32::from(*code) * *scale + *zero);
                }
            }
            continue;
        }
        let half = dims / 2;
        let codes = body.take(tokens * half)?;
        let (zeros_low, zeros_high) = zeros.split_at(half);
        let (scales_low, scales_high) = scales.split_at(half);
        for (row, codes) in rows.chunks_exact_mut(dims).zip(codes.chunks_exact(half)) {
            // One half after the other: loops with one output become vector code.
            let (row_low, row_high) = row.split_at_mut(half);
            let channels = zeros_low.iter().zip(scales_low);
            for ((place, code), (zero, scale)) in row_low.iter_mut().zip(codes).zip(channels) {
                *place = E::store(f32::from(*code & 15) * *scale + *zero);
            }
            let channels = zeros_high.iter().zip(scales_high);
            for ((place, code), (zero, scale)) in row_high.iter_mut().zip(codes).zip(channels) {
                *place = E::store(f32::from(*code >> 4) * *scale + *zero);
            }
        }
    }
    Ok(())
}
