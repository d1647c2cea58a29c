//! Responsible for rung L2': eight-bit floating point (e4m3), one scale a token, keys centred by channel. It must never know
//! frames or other rungs.
//!
//! # Shape
//! Unit; for keys `mean f16[dims]` in units; `scale f16[tokens]` in units; `code[tokens][dims]`.
//!
//! # Source
//! Micikevicius et al., FP8 Formats for Deep Learning (arXiv 2209.05433): e4m3 has no infinities and reaches 448.

use super::cursor::Cursor;
use super::decode::DecodeError;
use super::element::Element;
use super::half;
use super::isa::Simd;
use super::range::{Unit, extent, sum_channels};
use super::room::Room;
use super::scratch::{Scratch, sized};
use super::shape::{Role, Tensor};
use super::tiles::Rung;

/// The largest e4m3 number.
const LARGEST: f32 = 448.0;
/// Its code.
const LARGEST_CODE: u32 = 0x7e;
/// Half a unit in the last place of the topmost binade.
const HALF_STEP: f32 = 16.0;
/// What the exponents' biases differ by, in an `f32`.
const BIAS: u32 = (127 - 7) << 23;

/// The rung.
pub(super) struct Fp8;

/// The code nearest to a number of at most 448, ties to even.
#[inline(always)]
fn nearest(value: f32) -> u8 {
    let bits = value.to_bits();
    let magnitude = bits & 0x7fff_ffff;
    let rounded = magnitude
        .wrapping_sub(BIAS)
        .wrapping_add(0x0007_ffff + (magnitude >> 20 & 1))
        >> 20;
    let normal = rounded.min(LARGEST_CODE);
    // Next to 2^14, the last place of an `f32` is 2^-9, the last place of a subnormal e4m3.
    let below = (f32::from_bits(magnitude) + 16_384.0).to_bits();
    let unsigned = if magnitude < 0x3c80_0000 {
        below
    } else {
        normal
    };
    let [low, ..] = (unsigned & 0x7f | (bits >> 24 & 0x80)).to_le_bytes();
    low
}

/// The number of a code.
#[inline(always)]
fn number(code: u8) -> f32 {
    let code = u32::from(code);
    let magnitude = code & 0x7f;
    let normal = f32::from_bits((magnitude << 20).wrapping_add(BIAS));
    let below = half::small_integer(magnitude) * (1.0 / 512.0);
    let value = if magnitude < 8 { below } else { normal };
    f32::from_bits(value.to_bits() | (code & 0x80) << 24)
}

/// Means of the channels, as 16-bit codes and what these stand for.
#[inline(always)]
fn center<E: Element>(tile: &[E::Bytes], unit: Unit, means: &mut [f32], codes: &mut [u8]) {
    let tokens = sum_channels::<E>(tile, means);
    let factor = unit.inverse() / tokens;
    for (mean, place) in means.iter_mut().zip(codes.as_chunks_mut::<2>().0) {
        let code = half::nearest(*mean * factor);
        *place = code.to_le_bytes();
        *mean = half::load(code) * unit.value();
    }
}

impl Rung for Fp8 {
    #[inline(always)]
    fn encode<E: Element, S: Simd>(
        tensor: &Tensor,
        tile: &[E::Bytes],
        scratch: &mut Scratch,
        out: &mut Room<'_>,
    ) -> Option<f32> {
        let (dims, tokens) = (tensor.dims, tensor.coded());
        let (least, greatest) = extent::<E>(tile)?;
        let largest = least.abs().max(greatest.abs());
        let unit = Unit::of(largest, 1)?;
        out.push(unit.code());
        let means = sized(&mut scratch.low, dims, 0.0);
        means.fill(0.0);
        if tensor.role == Role::Key {
            center::<E>(tile, unit, means, out.take(dims * 2));
        }
        let line = sized(&mut scratch.row, dims, 0.0);
        let (scales, codes) = out
            .take(tokens * 2 + tile.len())
            .split_at_mut_checked(tokens * 2)?;
        let rows = tile.chunks_exact(dims).zip(codes.chunks_exact_mut(dims));
        let mut scale_max = 0.0_f32;
        for ((row, codes), place) in rows.zip(scales.as_chunks_mut::<2>().0) {
            let mut peak = 0;
            for ((number, mean), place) in row.iter().zip(means.iter()).zip(line.iter_mut()) {
                *place = E::load(*number) - *mean;
                peak = peak.max(place.to_bits() & 0x7fff_ffff);
            }
            let code = half::above(f32::from_bits(peak) * unit.inverse() * (1.000_001 / LARGEST));
            *place = code.to_le_bytes();
            let scale = half::load(code) * unit.value();
            scale_max = scale_max.max(scale);
            let inverse = if scale > 0.0 { 1.0 / scale } else { 0.0 };
            for (number, place) in line.iter().zip(codes) {
                *place = nearest(*number * inverse);
            }
        }
        let rounding = (largest * 3.0 + scale_max) * (E::EPSILON * 1.01 + 2.0e-6);
        Some(scale_max * HALF_STEP * 1.001 + rounding + E::TINY)
    }

    #[inline(always)]
    fn decode<E: Element, S: Simd>(
        tensor: &Tensor,
        body: &mut Cursor<'_>,
        scratch: &mut Scratch,
        tile: &mut [E::Bytes],
    ) -> Result<(), DecodeError> {
        let (dims, tokens) = (tensor.dims, tensor.coded());
        let unit = Unit::from_code(body.byte()?)?.value();
        let means = sized(&mut scratch.low, dims, 0.0);
        means.fill(0.0);
        if tensor.role == Role::Key {
            for (mean, code) in means
                .iter_mut()
                .zip(body.take(dims * 2)?.as_chunks::<2>().0)
            {
                *mean = half::load(u16::from_le_bytes(*code)) * unit;
            }
        }
        let scales = body.take(tokens * 2)?.as_chunks::<2>().0;
        let codes = body.take(tokens * dims)?;
        let rows = tile.chunks_exact_mut(dims).zip(codes.chunks_exact(dims));
        for ((row, codes), scale) in rows.zip(scales) {
            let scale = half::load(u16::from_le_bytes(*scale)) * unit;
            for ((place, code), mean) in row.iter_mut().zip(codes).zip(means.iter()) {
                *place = E::store(number(*code) * scale + *mean);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_nearest_to_its_number() {
        for code in 0..=255_u8 {
            if code & 0x7f < 0x7f {
                assert_eq!(nearest(number(code)), code, "{}", number(code));
            }
        }
        assert_eq!(number(0x7e), 448.0);
        assert_eq!(number(0x01), 1.0 / 512.0);
        assert_eq!(nearest(448.4), 0x7e);
    }

    #[test]
    fn rounds_to_the_nearer_neighbour() {
        let mut value = 1.0e-4_f32;
        while value < 448.0 {
            let near = number(nearest(value));
            let best = (0..0x7f_u8)
                .map(|code| (number(code) - value).abs())
                .fold(f32::MAX, f32::min);
            assert_eq!((near - value).abs(), best, "{value}");
            value *= 1.013;
        }
    }
}
