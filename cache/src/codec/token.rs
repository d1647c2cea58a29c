//! Responsible for eight-bit codes between the least and the greatest number of a token. It must never know which rung asks.
//!
//! # Shape
//! Unit, the tokens' ranges, `code[tokens][dims]`, a byte each.
//!
//! # Source
//! KIVI (arXiv 2402.02750), section 3: values have no outlier channels, and a token's error stays with the token's weight.

use super::cursor::Cursor;
use super::decode::DecodeError;
use super::element::Element;
use super::range::{self, RANGE_BYTES, Unit, code, extent, largest};
use super::room::Room;
use super::scratch::{Scratch, sized};
use super::shape::Tensor;

/// Appends a tile's codes and answers the bound of its error; `None`, with nothing to be kept of what was appended, when it
/// holds NaN, infinities or magnitudes at the ends of the range.
#[inline(always)]
pub(super) fn encode<E: Element>(
    tensor: &Tensor,
    tile: &[E::Bytes],
    scratch: &mut Scratch,
    out: &mut Room<'_>,
) -> Option<f32> {
    let (dims, tokens) = (tensor.dims, tensor.coded());
    let low = sized(&mut scratch.low, tokens, 0.0);
    let high = sized(&mut scratch.high, tokens, 0.0);
    for (row, (low, high)) in tile
        .chunks_exact(dims)
        .zip(low.iter_mut().zip(high.iter_mut()))
    {
        (*low, *high) = extent::<E>(row)?;
    }
    let most = largest(low).max(largest(high));
    let unit = Unit::of(most, 0)?;
    out.push(unit.code());
    let (scales, places) = out
        .take(tokens * RANGE_BYTES + tile.len())
        .split_at_mut_checked(tokens * RANGE_BYTES)?;
    let scale_max = range::write(low, high, range::levels(8), unit, scales);
    let rows = tile.chunks_exact(dims).zip(places.chunks_exact_mut(dims));
    for ((row, places), (zero, inverse)) in rows.zip(low.iter().zip(high)) {
        for (number, place) in row.iter().zip(places) {
            *place = code(E::load(*number), *zero, *inverse);
        }
    }
    Some(range::bound::<E>(most, scale_max))
}

/// Reads a tile's codes into `tile`.
#[inline(always)]
pub(super) fn decode<E: Element>(
    tensor: &Tensor,
    body: &mut Cursor<'_>,
    scratch: &mut Scratch,
    tile: &mut [E::Bytes],
) -> Result<(), DecodeError> {
    let (dims, tokens) = (tensor.dims, tensor.coded());
    let unit = Unit::from_code(body.byte()?)?.value();
    let zeros = sized(&mut scratch.low, tokens, 0.0);
    let scales = sized(&mut scratch.factor, tokens, 0.0);
    range::read(body.take(tokens * 2)?, unit, zeros);
    range::read(body.take(tokens * 2)?, unit, scales);
    let codes = body.take(tile.len())?;
    let rows = tile.chunks_exact_mut(dims).zip(codes.chunks_exact(dims));
    for ((row, codes), (zero, scale)) in rows.zip(zeros.iter().zip(scales)) {
        for (place, code) in row.iter_mut().zip(codes) {
            *place = E::store(f32::from(*code) * *scale + *zero);
        }
    }
    Ok(())
}
