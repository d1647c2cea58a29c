//! Responsible for codes between the least and the greatest number of a channel, over the tokens of a segment. It must never
//! know which rung asks.
//!
//! # Shape
//! Unit, then a segment at a time: the channels' ranges, `code[tokens][dims]`. Eight bits: a byte each. Four bits: byte `j` of a
//! row holds dimension `j` in its low and `j + dims / 2` in its high half.
//!
//! # Source
//! KIVI (arXiv 2402.02750), section 3: outliers of keys stay in their channels, so each channel has its own range.

use super::cursor::Cursor;
use super::decode::DecodeError;
use super::element::Element;
use super::range::{self, RANGE_BYTES, Unit, code, largest};
use super::room::Room;
use super::scratch::{Scratch, sized};
use super::shape::{LOSSY_DIMS_MAX, Tensor};

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
    out: &mut Room<'_>,
) -> Option<f32> {
    let dims = tensor.dims;
    let count = dims * tensor.segments(segment_max(BITS)).count();
    let low = sized(&mut scratch.low, count, 0.0);
    let high = sized(&mut scratch.high, count, 0.0);
    let mut rest = tile;
    let ranges = low.chunks_exact_mut(dims).zip(high.chunks_exact_mut(dims));
    for (tokens, (low, high)) in tensor.segments(segment_max(BITS)).zip(ranges) {
        let (rows, after) = rest.split_at_checked(tokens * dims)?;
        rest = after;
        if !measure::<E>(rows, low, high) {
            return None;
        }
    }
    let most = largest(low).max(largest(high));
    let unit = Unit::of(most, 0)?;
    out.push(unit.code());
    let mut scale_max = 0.0_f32;
    let mut rest = tile;
    let ranges = low.chunks_exact_mut(dims).zip(high.chunks_exact_mut(dims));
    for (tokens, (low, high)) in tensor.segments(segment_max(BITS)).zip(ranges) {
        let (rows, after) = rest.split_at_checked(tokens * dims)?;
        rest = after;
        let (scales, codes) = out
            .take(dims * RANGE_BYTES + rows.len() * BITS / 8)
            .split_at_mut_checked(dims * RANGE_BYTES)?;
        let widest = range::write(low, high, range::levels(BITS), unit, scales);
        scale_max = scale_max.max(widest);
        let rows = rows.chunks_exact(dims);
        for (row, codes) in rows.zip(codes.chunks_exact_mut(dims * BITS / 8)) {
            if BITS == 8 {
                bytes::<E>(row, low, high, codes);
            } else {
                nibbles::<E>(row, low, high, codes);
            }
        }
    }
    Some(range::bound::<E>(most, scale_max))
}

/// Least and greatest number of each channel; whether all are finite.
#[inline(always)]
fn measure<E: Element>(rows: &[E::Bytes], low: &mut [f32], high: &mut [f32]) -> bool {
    let dims = low.len();
    let (mut least, mut greatest) = ([E::HIGHEST; LOSSY_DIMS_MAX], [E::LOWEST; LOSSY_DIMS_MAX]);
    let mut pairs = rows.chunks_exact(dims * 2);
    for pair in &mut pairs {
        let (first, second) = pair.split_at(dims);
        let columns = first.iter().zip(second);
        for ((a, b), (least, greatest)) in columns.zip(least.iter_mut().zip(&mut greatest)) {
            let (a, b) = (E::key(*a), E::key(*b));
            *least = (*least).min(a.min(b));
            *greatest = (*greatest).max(a.max(b));
        }
    }
    let last = pairs.remainder().iter();
    for (number, (least, greatest)) in last.zip(least.iter_mut().zip(&mut greatest)) {
        let key = E::key(*number);
        *least = (*least).min(key);
        *greatest = (*greatest).max(key);
    }
    let mut finite = true;
    for ((low, high), (least, greatest)) in
        low.iter_mut().zip(high).zip(least.iter().zip(&greatest))
    {
        finite &= E::are_finite(*least, *greatest);
        *low = E::of_key(*least);
        *high = E::of_key(*greatest);
    }
    finite
}

/// Codes of one token, a byte each.
#[inline(always)]
fn bytes<E: Element>(row: &[E::Bytes], zeros: &[f32], inverses: &[f32], places: &mut [u8]) {
    let ranges = zeros.iter().zip(inverses);
    for ((number, (zero, inverse)), place) in row.iter().zip(ranges).zip(places) {
        *place = code(E::load(*number), *zero, *inverse);
    }
}

/// Codes of one token, two a byte.
#[inline(always)]
fn nibbles<E: Element>(row: &[E::Bytes], zeros: &[f32], inverses: &[f32], places: &mut [u8]) {
    let (row_low, row_high) = row.split_at(places.len());
    let (zeros_low, zeros_high) = zeros.split_at(places.len());
    let (inverses_low, inverses_high) = inverses.split_at(places.len());
    let low = row_low.iter().zip(zeros_low.iter().zip(inverses_low));
    let high = row_high.iter().zip(zeros_high.iter().zip(inverses_high));
    for (((a, (zero_a, inverse_a)), (b, (zero_b, inverse_b))), place) in low.zip(high).zip(places) {
        let low = code(E::load(*a), *zero_a, *inverse_a);
        let high = code(E::load(*b), *zero_b, *inverse_b);
        *place = low | high << 4;
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
        range::read(body.take(dims * 2)?, unit, zeros);
        range::read(body.take(dims * 2)?, unit, scales);
        let codes = body.take(rows.len() * BITS / 8)?;
        let codes = codes.chunks_exact(dims * BITS / 8);
        for (row, codes) in rows.chunks_exact_mut(dims).zip(codes) {
            if BITS == 8 {
                expand::<E>(codes, zeros, scales, row, |code| code);
                continue;
            }
            let (low, high) = row.split_at_mut(codes.len());
            let (zeros_low, zeros_high) = zeros.split_at(codes.len());
            let (scales_low, scales_high) = scales.split_at(codes.len());
            expand::<E>(codes, zeros_low, scales_low, low, |code| code & 15);
            expand::<E>(codes, zeros_high, scales_high, high, |code| code >> 4);
        }
    }
    Ok(())
}

/// The numbers of codes that are the `part` of each byte.
#[inline(always)]
fn expand<E: Element>(
    codes: &[u8],
    zeros: &[f32],
    scales: &[f32],
    places: &mut [E::Bytes],
    part: impl Fn(u8) -> u8,
) {
    let ranges = zeros.iter().zip(scales);
    for ((place, code), (zero, scale)) in places.iter_mut().zip(codes).zip(ranges) {
        *place = E::store(f32::from(part(*code)) * *scale + *zero);
    }
}
