//! Responsible for a tensor as a row of tiles: the exact first tokens, the tag that says whether a tile is coded or kept as it
//! came, and running a rung's kernel on each. It must never know what a rung does.
//!
//! # Shape
//! A tile a head: the exact tokens' numbers; a tag byte; then what the rung wrote ([`CODED`]), or the planes of the numbers
//! ([`KEPT`]).

use std::marker::PhantomData;

use super::cursor::Cursor;
use super::decode::DecodeError;
use super::element::Element;
use super::isa::{Isa, Kernel, Simd};
use super::planes::{Pack, Unpack};
use super::room::Room;
use super::scratch::Scratch;
use super::shape::Tensor;

/// Tag of a tile that is kept as it came.
pub(super) const KEPT: u8 = 0;
/// Tag of a tile that the rung encoded.
pub(super) const CODED: u8 = 1;

/// A rung that encodes tile by tile.
pub(super) trait Rung {
    /// Appends the tile's code and answers the bound of its error; `None`, with what was appended to be dropped, when the
    /// tile must be kept.
    fn encode<E: Element, S: Simd>(
        tensor: &Tensor,
        tile: &[E::Bytes],
        scratch: &mut Scratch,
        out: &mut Room<'_>,
    ) -> Option<f32>;

    /// Reads a tile's code.
    fn decode<E: Element, S: Simd>(
        tensor: &Tensor,
        body: &mut Cursor<'_>,
        scratch: &mut Scratch,
        tile: &mut [E::Bytes],
    ) -> Result<(), DecodeError>;
}

/// What became of a tensor.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Outcome {
    /// Bound of the error of any number.
    pub(super) error_max: f32,
    /// Tiles that were kept as they came.
    pub(super) kept: usize,
}

struct Encode<'a, 'b, E: Element, R> {
    tensor: &'a Tensor,
    tile: &'a [E::Bytes],
    scratch: &'a mut Scratch,
    out: &'a mut Room<'b>,
    rung: PhantomData<R>,
}

impl<E: Element, R: Rung> Kernel for Encode<'_, '_, E, R> {
    type Output = Option<f32>;

    #[inline(always)]
    fn run<S: Simd>(self) -> Option<f32> {
        R::encode::<E, S>(self.tensor, self.tile, self.scratch, self.out)
    }
}

struct Decode<'a, 'b, E: Element, R> {
    tensor: &'a Tensor,
    body: &'a mut Cursor<'b>,
    scratch: &'a mut Scratch,
    tile: &'a mut [E::Bytes],
    rung: PhantomData<R>,
}

impl<E: Element, R: Rung> Kernel for Decode<'_, '_, E, R> {
    type Output = Result<(), DecodeError>;

    #[inline(always)]
    fn run<S: Simd>(self) -> Self::Output {
        R::decode::<E, S>(self.tensor, self.body, self.scratch, self.tile)
    }
}

/// Appends a tensor.
pub(super) fn encode<E: Element, R: Rung>(
    isa: Isa,
    tensor: &Tensor,
    plain: &[u8],
    (scratch, pack): (&mut Scratch, &mut Pack),
    out: &mut Room<'_>,
) -> Outcome {
    let mut outcome = Outcome::default();
    let exact_bytes = tensor.exact * tensor.dims * E::BYTES;
    for head in plain.chunks_exact(tensor.tokens * tensor.dims * E::BYTES) {
        let (exact, coded) = head.split_at(exact_bytes);
        out.extend(exact);
        let at = out.len();
        out.push(CODED);
        let kernel = Encode::<E, R> {
            tensor,
            tile: E::split(coded),
            scratch: &mut *scratch,
            out: &mut *out,
            rung: PhantomData,
        };
        match isa.run(kernel).filter(|error| error.is_finite()) {
            Some(error) => outcome.error_max = outcome.error_max.max(error),
            None => {
                keep::<E>(isa, coded, at, (&mut *scratch, &mut *pack), out);
                outcome.kept += 1;
            }
        }
    }
    outcome
}

/// Replaces what was appended since `at` by the tile as it came.
pub(super) fn keep<E: Element>(
    isa: Isa,
    coded: &[u8],
    at: usize,
    (scratch, pack): (&mut Scratch, &mut Pack),
    out: &mut Room<'_>,
) {
    out.truncate(at);
    out.push(KEPT);
    pack.encode::<E>(isa, coded, scratch, out);
}

/// Reads a tensor into `plain`.
pub(super) fn decode<E: Element, R: Rung>(
    isa: Isa,
    tensor: &Tensor,
    body: &mut Cursor<'_>,
    (scratch, unpack): (&mut Scratch, &mut Unpack),
    plain: &mut [u8],
) -> Result<(), DecodeError> {
    let exact_bytes = tensor.exact * tensor.dims * E::BYTES;
    for head in plain.chunks_exact_mut(tensor.tokens * tensor.dims * E::BYTES) {
        let (exact, coded) = head.split_at_mut(exact_bytes);
        exact.copy_from_slice(body.take(exact_bytes)?);
        match body.byte()? {
            KEPT => unpack.decode::<E>(isa, body, scratch, coded)?,
            CODED => isa.run(Decode::<E, R> {
                tensor,
                body: &mut *body,
                scratch: &mut *scratch,
                tile: E::split_mut(coded),
                rung: PhantomData,
            })?,
            _ => return Err(DecodeError::Tag),
        }
    }
    Ok(())
}
