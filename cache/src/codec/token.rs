//! Responsible for eight-bit codes between the least and the greatest number of a token. It must never know which rung asks.
//!
//! # Shape
//! Unit, `zero f16[tokens], scale f16[tokens]` in units, `code[tokens][dims]`, a byte each.
//!
//! # Source
//! KIVI (arXiv 2402.02750), section 3: values have no outlier channels, and a token's error stays with the token's weight.

use super::channel::{Affine, Unit, bound, code};
use super::cursor::Cursor;
use super::decode::DecodeError;
use super::element::Element;
use super::half;
use super::scratch::Scratch;
use super::shape::Tensor;

/// Appends a tile's codes and answers the bound of its error; `None`, with nothing to be kept of what was appended, when it
/// holds NaN, infinities or magnitudes at the ends of the range.
#[inline(always)]
pub(super) fn encode<E: Element>(
    tensor: &Tensor,
    tile: &[E::Bytes],
    scratch: &mut Scratch,
    out: &mut Vec<u8>,
) -> Option<f32> {
    let dims = tensor.dims;
    let Scratch { low, high, .. } = scratch;
    low.clear();
    high.clear();
    let mut largest = 0.0_f32;
    for row in tile.chunks_exact(dims) {
        let (mut least, mut greatest) = (E::HIGHEST, E::LOWEST);
        for number in row {
            let key = E::key(*number);
            least = least.min(key);
            greatest = greatest.max(key);
        }
        if !E::are_finite(least, greatest) {
            return None;
        }
        let (least, greatest) = (E::of_key(least), E::of_key(greatest));
        largest = largest.max(least.abs()).max(greatest.abs());
        low.push(least);
        high.push(greatest);
    }
    let unit = Unit::of(largest, 0)?;
    out.push(unit.code());
    let at = out.len();
    let tokens = tensor.coded();
    out.resize(at + tokens * 4 + tile.len(), 0);
    let (zero_codes, rest) = out.get_mut(at..)?.split_at_mut_checked(tokens * 2)?;
    let (scale_codes, codes) = rest.split_at_mut_checked(tokens * 2)?;
    let places = zero_codes
        .as_chunks_mut::<2>()
        .0
        .iter_mut()
        .zip(scale_codes.as_chunks_mut::<2>().0);
    let rows = tile.chunks_exact(dims).zip(codes.chunks_exact_mut(dims));
    let mut scale_max = 0.0_f32;
    for (((low, high), (zero_place, scale_place)), (row, codes)) in
        low.iter().zip(high.iter()).zip(places).zip(rows)
    {
        let affine = Affine::over(*low, *high, 255.0, unit);
        *zero_place = affine.zero_code.to_le_bytes();
        *scale_place = affine.scale_code.to_le_bytes();
        scale_max = scale_max.max(affine.scale);
        let inverse = affine.inverse();
        for (number, place) in row.iter().zip(codes) {
            *place = code(E::load(*number), affine.zero, inverse);
        }
    }
    Some(bound::<E>(largest, scale_max))
}

/// Reads a tile's codes into `tile`.
#[inline(always)]
pub(super) fn decode<E: Element>(
    tensor: &Tensor,
    body: &mut Cursor<'_>,
    tile: &mut [E::Bytes],
) -> Result<(), DecodeError> {
    let (dims, tokens) = (tensor.dims, tensor.coded());
    let unit = Unit::from_code(body.byte()?)?.value();
    let zeros = body.take(tokens * 2)?.as_chunks::<2>().0;
    let scales = body.take(tokens * 2)?.as_chunks::<2>().0;
    let codes = body.take(tokens * dims)?;
    let rows = tile.chunks_exact_mut(dims).zip(codes.chunks_exact(dims));
    for ((zero, scale), (row, codes)) in zeros.iter().zip(scales).zip(rows) {
        let zero = half::load(u16::from_le_bytes(*zero)) * unit;
        let scale = half::load(u16::from_le_bytes(*scale)) * unit;
        for (place, code) in row.iter_mut().zip(codes) {
            *place = E::store(f32::from(*code) * scale + zero);
        }
    }
    Ok(())
}
