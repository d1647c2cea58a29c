//! Responsible for rung L2: eight bits a number, keys by channel and values by token; keys of small blocks, whose channels are too
//! short for scales of their own, centred, rotated and by token. It must never know frames or other rungs.

use super::cursor::Cursor;
use super::decode::DecodeError;
use super::element::Element;
use super::isa::Simd;
use super::scratch::Scratch;
use super::shape::{Role, Tensor};
use super::tiles::Rung;
use super::{channel, rotated, token};

/// The rung.
pub(super) struct Int8;

impl Rung for Int8 {
    #[inline(always)]
    fn encode<E: Element, S: Simd>(
        tensor: &Tensor,
        tile: &[E::Bytes],
        scratch: &mut Scratch,
        out: &mut Vec<u8>,
    ) -> Option<f32> {
        match tensor.role {
            Role::Value => token::encode::<E>(tensor, tile, scratch, out),
            Role::Key if tensor.by_channel() => channel::encode::<E, 8>(tensor, tile, scratch, out),
            Role::Key => rotated::encode::<E, S, 8>(tensor, tile, true, scratch, out),
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
            Role::Value => token::decode::<E>(tensor, body, tile),
            Role::Key if tensor.by_channel() => {
                channel::decode::<E, 8>(tensor, body, scratch, tile)
            }
            Role::Key => rotated::decode::<E, S, 8>(tensor, body, true, scratch, tile),
        }
    }
}
