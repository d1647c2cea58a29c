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

use super::channel::{Affine, ROUND, Unit, bound, code};
use super::cursor::Cursor;
use super::decode::DecodeError;
use super::element::Element;
use super::hadamard::{Row, hadamard};
use super::half;
use super::isa::{LANES, Simd};
use super::scratch::{Scratch, sized};
use super::shape::Tensor;

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

    /// Powers of two by which a transform may enlarge numbers.
    fn spare(self) -> u8 {
        u8::try_from(self.transform.trailing_zeros()).unwrap_or(0)
    }
}

/// Turns up to sixteen tokens on their side, as numbers.
#[inline(always)]
fn load<E: Element, S: Simd>(tokens: &[E::Bytes], dims: usize, grid: &mut [Row<f32>]) {
    for (at, rows) in grid.chunks_mut(LANES).enumerate() {
        let mut low = [[0; LANES]; LANES];
        let mut high = [[0; LANES]; LANES];
        let from = at * LANES;
        for ((token, low), high) in tokens.chunks_exact(dims).zip(&mut low).zip(&mut high) {
            let numbers = token.get(from..from + rows.len()).unwrap_or_default();
            for (number, low) in numbers.iter().zip(low) {
                (*low, _) = E::halves(*number);
            }
            if E::BYTES == 4 {
                for (number, high) in numbers.iter().zip(high) {
                    (_, *high) = E::halves(*number);
                }
            }
        }
        S::transpose(&mut low);
        if E::BYTES == 4 {
            S::transpose(&mut high);
        }
        for ((row, low), high) in rows.iter_mut().zip(&low).zip(&high) {
            for ((number, low), high) in row.iter_mut().zip(low).zip(high) {
                *number = E::load(E::of_halves(*low, *high));
            }
        }
    }
}

/// Turns numbers back into up to sixteen tokens.
#[inline(always)]
fn store<E: Element, S: Simd>(
    rows: &[Row<f32>],
    from: usize,
    dims: usize,
    tokens: &mut [E::Bytes],
) {
    let mut low = [[0; LANES]; LANES];
    let mut high = [[0; LANES]; LANES];
    for ((row, low), high) in rows.iter().zip(&mut low).zip(&mut high) {
        for (number, low) in row.iter().zip(low) {
            (*low, _) = E::halves(E::store(*number));
        }
        if E::BYTES == 4 {
            for (number, high) in row.iter().zip(high) {
                (_, *high) = E::halves(E::store(*number));
            }
        }
    }
    S::transpose(&mut low);
    if E::BYTES == 4 {
        S::transpose(&mut high);
    }
    for ((token, low), high) in tokens.chunks_exact_mut(dims).zip(&low).zip(&high) {
        let places = token.get_mut(from..from + rows.len()).unwrap_or_default();
        if E::BYTES == 2
            && let Ok(places) = <&mut [E::Bytes; LANES]>::try_from(&mut *places)
        {
            for (place, low) in places.iter_mut().zip(low) {
                *place = E::of_halves(*low, 0);
            }
            continue;
        }
        for ((place, low), high) in places.iter_mut().zip(low).zip(high) {
            *place = E::of_halves(*low, *high);
        }
    }
}

/// Least and greatest number of a tile; `None` when one is not finite.
#[inline(always)]
fn extent<E: Element>(tile: &[E::Bytes]) -> Option<(f32, f32)> {
    let (mut least, mut greatest) = (E::HIGHEST, E::LOWEST);
    for number in tile {
        let key = E::key(*number);
        least = least.min(key);
        greatest = greatest.max(key);
    }
    E::are_finite(least, greatest).then(|| (E::of_key(least), E::of_key(greatest)))
}

/// The mean of each channel in 127ths of the unit, written to `codes`, and what these stand for.
#[inline(always)]
fn center<E: Element>(tile: &[E::Bytes], unit: Unit, means: &mut [f32], codes: &mut [u8]) {
    means.fill(0.0);
    let mut tokens = 0.0_f32;
    for row in tile.chunks_exact(means.len()) {
        tokens += 1.0;
        for (sum, number) in means.iter_mut().zip(row) {
            *sum += E::load(*number);
        }
    }
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
    out: &mut Vec<u8>,
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
        let at = out.len();
        out.resize(at + dims, 0);
        center::<E>(tile, unit, means, out.get_mut(at..)?);
    }
    let grid = sized(&mut scratch.grid, dims, [0.0; LANES]);
    let mut scale_max = 0.0_f32;
    for tokens in tile.chunks(LANES * dims) {
        load::<E, S>(tokens, dims, grid);
        if centered {
            for (row, mean) in grid.iter_mut().zip(means.iter()) {
                for number in row {
                    *number -= *mean;
                }
            }
        }
        hadamard(grid, plan.transform);
        let count = tokens.len() / dims;
        let at = out.len();
        let groups = dims / plan.group;
        out.resize(at + groups * count * 4 + dims * count * BITS / 8, 0);
        let (scales, codes) = out
            .get_mut(at..)?
            .split_at_mut_checked(groups * count * 4)?;
        let group_codes = plan.group * count * BITS / 8;
        let places = scales
            .chunks_exact_mut(count * 4)
            .zip(codes.chunks_exact_mut(group_codes));
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
    codes: &mut [u8],
    count: usize,
) -> f32 {
    let levels = if BITS == 8 { 255.0 } else { 15.0 };
    let (mut low, mut high) = ([f32::INFINITY; LANES], [f32::NEG_INFINITY; LANES]);
    for row in rows {
        for ((number, low), high) in row.iter().zip(&mut low).zip(&mut high) {
            *low = if *number < *low { *number } else { *low };
            *high = if *number > *high { *number } else { *high };
        }
    }
    let (zero_codes, scale_codes) = scales.split_at_mut(count * 2);
    let places = zero_codes
        .as_chunks_mut::<2>()
        .0
        .iter_mut()
        .zip(scale_codes.as_chunks_mut::<2>().0);
    let mut inverse = [0.0; LANES];
    let mut scale_max = 0_u32;
    for (((low, high), inverse), (zero_place, scale_place)) in
        low.iter_mut().zip(high).zip(&mut inverse).zip(places)
    {
        let affine = Affine::over(*low, high, levels, unit);
        *zero_place = affine.zero_code.to_le_bytes();
        *scale_place = affine.scale_code.to_le_bytes();
        *low = affine.zero;
        *inverse = affine.inverse();
        scale_max = scale_max.max(affine.scale.to_bits());
    }
    let quantized = |row: &Row<f32>| {
        let mut line = [0_u8; LANES];
        for (((number, zero), inverse), place) in row.iter().zip(&low).zip(&inverse).zip(&mut line)
        {
            *place = code(*number, *zero, *inverse);
        }
        line
    };
    if BITS == 8 {
        for (row, codes) in rows.iter().zip(codes.chunks_exact_mut(count)) {
            put(codes, &quantized(row));
        }
    } else {
        for (pair, codes) in rows
            .as_chunks::<2>()
            .0
            .iter()
            .zip(codes.chunks_exact_mut(count))
        {
            let [even, odd] = pair;
            let (mut line, odd) = (quantized(even), quantized(odd));
            for (low, high) in line.iter_mut().zip(&odd) {
                *low |= high << 4;
            }
            put(codes, &line);
        }
    }
    f32::from_bits(scale_max)
}

/// Copies as many lanes as there are tokens.
#[inline(always)]
fn put(places: &mut [u8], line: &[u8; LANES]) {
    if let Ok(whole) = <&mut [u8; LANES]>::try_from(&mut *places) {
        *whole = *line;
        return;
    }
    for (place, byte) in places.iter_mut().zip(line) {
        *place = *byte;
    }
}

/// As many bytes as there are tokens, zeros after them.
#[inline(always)]
fn get(bytes: &[u8]) -> [u8; LANES] {
    if let Ok(whole) = <&[u8; LANES]>::try_from(bytes) {
        return *whole;
    }
    let mut line = [0; LANES];
    for (place, byte) in line.iter_mut().zip(bytes) {
        *place = *byte;
    }
    line
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
    }
    let codes = sized(&mut scratch.codes, dims, [0; LANES]);
    for tokens in tile.chunks_mut(LANES * dims) {
        let count = tokens.len() / dims;
        let scales = body.take(dims / plan.group * count * 4)?;
        unpack::<BITS>(body.take(dims * count * BITS / 8)?, count, codes);
        hadamard(codes, plan.transform);
        let groups = codes
            .chunks_exact(plan.group)
            .zip(scales.chunks_exact(count * 4));
        for (at, (rows, scales)) in groups.enumerate() {
            let (zero_codes, scale_codes) = scales.split_at(count * 2);
            let zero = lanes(zero_codes, wide);
            let scale = lanes(scale_codes, wide / plan.length());
            for (part, rows) in rows.chunks(LANES).enumerate() {
                let from = at * plan.group + part * LANES;
                let mut numbers = [[0.0; LANES]; LANES];
                for ((dim, row), numbers) in (from..).zip(rows).zip(&mut numbers) {
                    for ((number, code), scale) in numbers.iter_mut().zip(row).zip(&scale) {
                        *number = f32::from(*code) * *scale;
                    }
                    if dim.is_multiple_of(plan.transform) {
                        *numbers = plus(numbers, &zero);
                    }
                }
                if centered {
                    let means = means.get(from..).unwrap_or_default();
                    for (numbers, mean) in numbers.iter_mut().zip(means) {
                        *numbers = plus(numbers, &[*mean; LANES]);
                    }
                }
                let numbers = numbers.get(..rows.len()).unwrap_or_default();
                store::<E, S>(numbers, from, dims, tokens);
            }
        }
    }
    Ok(())
}

#[inline(always)]
fn plus(a: &Row<f32>, b: &Row<f32>) -> Row<f32> {
    let mut sum = *a;
    for (sum, b) in sum.iter_mut().zip(b) {
        *sum += *b;
    }
    sum
}

/// Codes of `count` tokens as integers, a row a dimension.
#[inline(always)]
fn unpack<const BITS: usize>(bytes: &[u8], count: usize, codes: &mut [Row<i16>]) {
    if BITS == 8 {
        for (row, line) in codes.iter_mut().zip(bytes.chunks_exact(count)) {
            for (code, byte) in row.iter_mut().zip(&get(line)) {
                *code = i16::from(*byte);
            }
        }
        return;
    }
    let pairs = codes.as_chunks_mut::<2>().0.iter_mut();
    for ([even, odd], line) in pairs.zip(bytes.chunks_exact(count)) {
        let line = get(line);
        for ((even, odd), code) in even.iter_mut().zip(odd).zip(&line) {
            *even = i16::from(code & 15);
            *odd = i16::from(code >> 4);
        }
    }
}

/// One 16-bit number a token, times `unit`.
#[inline(always)]
fn lanes(codes: &[u8], unit: f32) -> Row<f32> {
    let mut numbers = [0.0; LANES];
    for (number, code) in numbers.iter_mut().zip(codes.as_chunks::<2>().0) {
        *number = half::load(u16::from_le_bytes(*code)) * unit;
    }
    numbers
}
