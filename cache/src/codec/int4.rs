//! Responsible for rung L3: four bits a number, keys by channel, values rotated and by token; keys of small blocks centred,
//! rotated and by token. It must never know frames or other rungs.

use super::cursor::Cursor;
use super::decode::DecodeError;
use super::element::Element;
use super::isa::Simd;
use super::scratch::Scratch;
use super::shape::{Role, Tensor};
use super::tiles::Rung;
use super::{channel, rotated};

/// The rung.
pub(super) struct Int4;

impl Rung for Int4 {
    #[inline(always)]
    fn encode<E: Element, S: Simd>(
        tensor: &Tensor,
        tile: &[E::Bytes],
        scratch: &mut Scratch,
        out: &mut Vec<u8>,
    ) -> Option<f32> {
        match tensor.role {
            Role::Value => rotated::encode::<E, S, 4>(tensor, tile, false, scratch, out),
            Role::Key if tensor.by_channel() => channel::encode::<E, 4>(tensor, tile, scratch, out),
            Role::Key => rotated::encode::<E, S, 4>(tensor, tile, true, scratch, out),
        }
    }

    #[inline(always)]
    fn decode<E: Element, S: Simd>(
        tensor: &Tensor,
        body: &mut Cursor<'_>,
        scratch: &mut Scratch,
        tile: &mut [E::Bytes],
    ) -> Result<(), DecodeError> {
        match tensor.role {
            Role::Value => rotated::decode::<E, S, 4>(tensor, body, false, scratch, tile),
            Role::Key if tensor.by_channel() => {
                channel::decode::<E, 4>(tensor, body, scratch, tile)
            }
            Role::Key => rotated::decode::<E, S, 4>(tensor, body, true, scratch, tile),
        }
    }
}
