//! Responsible for codes of tokens that were rotated by a Hadamard matrix, which spreads what one dimension holds over all,
//! so that one range a token serves every dimension. It must never know which rung asks.
//!
//! Works on sixteen tokens side by side, a lane a token: the transform is then additions of whole vectors only. Decoding adds
//! integers, which is exact: a code has at most eight bits and a transform at most 128 terms, so sums fit 16 bits, and the
//! zero of a range reaches only the first dimension of a transform.
//!
//! # Shape
//! Unit; when centred, `mean i8[dims]` in 127ths of the unit; then for every sixteen tokens (fewer at the end): for every group
//! of dimensions `zero f16[tokens], scale f16[tokens]` in units; codes, four bits: `[dims / 2][tokens]`, even dimension in the
//! low half; eight bits: `[dims][tokens]`.
//!
//! # Source
//! QuaRot (arXiv 2404.00456), section 4: a Hadamard rotation removes outliers before 4-bit codes.

use super::cursor::Cursor;
use super::decode::DecodeError;
use super::element::Element;
use super::hadamard::{Row, hadamard};
use super::isa::{LANES, Simd};
use super::range::{
    self, RANGE_BYTES, ROUND, Ranges, Unit, bound, codes, extent, lanes, levels, put, sum_channels,
};
use super::room::Room;
use super::scratch::{Scratch, sized};
use super::shape::Tensor;
use super::square::{self, Square};

/// Longest transform: 128 codes of eight bits still sum up to 16 bits.
const TRANSFORM_MAX: usize = 128;
const _: () = assert!(TRANSFORM_MAX * 255 <= 32_767);

/// How a tensor's dimensions are transformed and scaled.
#[derive(Clone, Copy)]
struct Plan {
    /// Dimensions of one transform: the largest power of two that divides them all.
    transform: usize,
    /// Dimensions that share a scale.
    group: usize,
}

impl Plan {
    fn of(dims: usize) -> Self {
        let transform = (1 << dims.trailing_zeros()).min(TRANSFORM_MAX);
        let group = if transform >= 64 { transform } else { dims };
        Self { transform, group }
    }

    /// The transform's length as a number, exactly.
    fn length(self) -> f32 {
        let mut length = 1.0;
        for _ in 0..self.transform.trailing_zeros() {
            length *= 2.0;
        }
        length
    }

    /// Whether a transform begins at this dimension. A range's zero adds up there, and cancels out elsewhere.
    const fn begins_at(self, dim: usize) -> bool {
        dim & (self.transform - 1) == 0
    }

    /// Powers of two by which a transform may enlarge numbers.
    fn spare(self) -> u8 {
        u8::try_from(self.transform.trailing_zeros()).unwrap_or(0)
    }
}

/// The mean of each channel in 127ths of the unit, written to `codes`, and what these stand for.
#[inline(always)]
fn center<E: Element>(tile: &[E::Bytes], unit: Unit, means: &mut [f32], codes: &mut [u8]) {
    let tokens = sum_channels::<E>(tile, means);
    let factor = 127.0 / tokens * unit.inverse();
    for (mean, place) in means.iter_mut().zip(codes) {
        let [low, ..] = (*mean * factor + ROUND).to_bits().to_le_bytes();
        *place = low;
        *mean = mean_of(low, unit);
    }
}

#[inline(always)]
fn mean_of(code: u8, unit: Unit) -> f32 {
    f32::from(code.cast_signed()) * (unit.value() * (1.0 / 127.0))
}

/// Appends a tile's codes and answers the bound of its error; `None`, with nothing to be kept of what was appended, when it
/// holds NaN, infinities or magnitudes at the ends of the range.
#[inline(always)]
pub(super) fn encode<E: Element, S: Simd, const BITS: usize>(
    tensor: &Tensor,
    tile: &[E::Bytes],
    centered: bool,
    scratch: &mut Scratch,
    out: &mut Room<'_>,
) -> Option<f32> {
    let dims = tensor.dims;
    let plan = Plan::of(dims);
    let (least, greatest) = extent::<E>(tile)?;
    let largest = least.abs().max(greatest.abs());
    // The mean is below the unit as all numbers are; a number less its mean is below twice the unit.
    let unit = Unit::of(largest, 0)?;
    let wide = Unit::of(largest, plan.spare() + u8::from(centered))?;
    out.push(unit.code());
    let means = sized(&mut scratch.low, dims, 0.0);
    if centered {
        center::<E>(tile, unit, means, out.take(dims));
    }
    let grid = sized(&mut scratch.grid, dims, [0.0; LANES]);
    let mut scale_max = 0.0_f32;
    for tokens in tile.chunks(LANES * dims) {
        square::load::<E, S>(tokens, dims, grid);
        if centered {
            for (row, mean) in grid.iter_mut().zip(means.iter()) {
                for number in row {
                    *number -= *mean;
                }
            }
        }
        hadamard(grid, plan.transform);
        let count = tokens.len() / dims;
        let range_bytes = dims / plan.group * count * RANGE_BYTES;
        let (scales, codes) = out
            .take(range_bytes + dims * count * BITS / 8)
            .split_at_mut_checked(range_bytes)?;
        let places = scales
            .chunks_exact_mut(count * RANGE_BYTES)
            .zip(codes.chunks_exact_mut(plan.group * count * BITS / 8));
        for (rows, (scales, codes)) in grid.chunks_exact(plan.group).zip(places) {
            let widest = quantize::<BITS>(rows, wide, scales, codes, count);
            scale_max = scale_max.max(widest);
        }
    }
    // A number is the mean of the transform's terms, so its error is at most that of one term.
    Some(bound::<E>(largest * 2.0, scale_max))
}

/// Codes of one group's rows, and the largest scale.
#[inline(always)]
fn quantize<const BITS: usize>(
    rows: &[Row<f32>],
    unit: Unit,
    scales: &mut [u8],
    places: &mut [u8],
    count: usize,
) -> f32 {
    let (mut low, mut high) = ([f32::INFINITY; LANES], [f32::NEG_INFINITY; LANES]);
    for row in rows {
        for ((number, low), high) in row.iter().zip(&mut low).zip(&mut high) {
            *low = if *number < *low { *number } else { *low };
            *high = if *number > *high { *number } else { *high };
        }
    }
    for (low, high) in low.iter_mut().zip(&mut high).skip(count) {
        // There is no token in this lane.
        (*low, *high) = (0.0, 0.0);
    }
    let ranges = Ranges::over(&low, &high, levels(BITS), unit);
    let (zero_places, scale_places) = scales.split_at_mut(count * 2);
    put(zero_places.as_chunks_mut().0, &ranges.zero_codes);
    put(scale_places.as_chunks_mut().0, &ranges.scale_codes);
    let (zeros, inverses) = (&ranges.zeros, &ranges.inverses);
    if BITS == 8 {
        for (row, places) in rows.iter().zip(places.chunks_exact_mut(count)) {
            put(places, &codes(row, zeros, inverses));
        }
    } else {
        let pairs = rows.as_chunks::<2>().0.iter();
        for ([even, odd], places) in pairs.zip(places.chunks_exact_mut(count)) {
            let mut line = codes(even, zeros, inverses);
            for (low, high) in line.iter_mut().zip(&codes(odd, zeros, inverses)) {
                *low |= high << 4;
            }
            put(places, &line);
        }
    }
    ranges.scale_max
}

/// Reads a tile's codes into `tile`.
#[inline(always)]
pub(super) fn decode<E: Element, S: Simd, const BITS: usize>(
    tensor: &Tensor,
    body: &mut Cursor<'_>,
    centered: bool,
    scratch: &mut Scratch,
    tile: &mut [E::Bytes],
) -> Result<(), DecodeError> {
    let dims = tensor.dims;
    let plan = Plan::of(dims);
    let unit = Unit::from_code(body.byte()?)?;
    let wide = unit.value() * plan.length() * if centered { 2.0 } else { 1.0 };
    let means = sized(&mut scratch.low, dims, 0.0);
    if centered {
        for (mean, code) in means.iter_mut().zip(body.take(dims)?) {
            *mean = mean_of(*code, unit);
        }
    } else {
        means.fill(0.0);
    }
    let codes = sized(&mut scratch.codes, dims, [0; LANES]);
    for tokens in tile.chunks_mut(LANES * dims) {
        let count = tokens.len() / dims;
        let scales = body.take(dims / plan.group * count * RANGE_BYTES)?;
        unpack::<BITS>(body.take(dims * count * BITS / 8)?, count, codes);
        hadamard(codes, plan.transform);
        let groups = codes
            .chunks_exact(plan.group)
            .zip(scales.chunks_exact(count * RANGE_BYTES));
        for (at, (rows, scales)) in groups.enumerate() {
            let (zero_codes, scale_codes) = scales.split_at(count * 2);
            let (mut zero, mut scale) = ([0.0; LANES], [0.0; LANES]);
            range::read(zero_codes, wide, zero.get_mut(..count).unwrap_or_default());
            let factor = wide / plan.length();
            range::read(
                scale_codes,
                factor,
                scale.get_mut(..count).unwrap_or_default(),
            );
            for (rows, part) in rows.chunks(LANES).zip((0..).step_by(LANES)) {
                let from = at * plan.group + part;
                let means = means.get(from..).unwrap_or_default();
                let mut square = Square::EMPTY;
                for ((row, mean), at) in rows.iter().zip(means).zip(0..) {
                    let mut offset = [*mean; LANES];
                    if plan.begins_at(from + at) {
                        for (offset, zero) in offset.iter_mut().zip(&zero) {
                            *offset += *zero;
                        }
                    }
                    square.set::<E>(at, row, &scale, &offset);
                }
                square.store::<E, S>(tokens, dims, (from, rows.len()));
            }
        }
    }
    Ok(())
}

/// Codes of `count` tokens as integers, a row a dimension.
#[inline(always)]
fn unpack<const BITS: usize>(bytes: &[u8], count: usize, codes: &mut [Row<i16>]) {
    if BITS == 8 {
        for (row, line) in codes.iter_mut().zip(bytes.chunks_exact(count)) {
            for (code, byte) in row.iter_mut().zip(&lanes(line)) {
                *code = i16::from(*byte);
            }
        }
        return;
    }
    let pairs = codes.as_chunks_mut::<2>().0.iter_mut();
    for ([even, odd], line) in pairs.zip(bytes.chunks_exact(count)) {
        let line = lanes(line);
        for (even, code) in even.iter_mut().zip(&line) {
            *even = i16::from(code & 15);
        }
        for (odd, code) in odd.iter_mut().zip(&line) {
            *odd = i16::from(code >> 4);
        }
    }
}
