//! Responsible for rungs L2 and L3: steps between the least and the greatest number, eight or four bits each. Keys by channel;
//! keys of small blocks, whose channels are too short for ranges of their own, centred, rotated and by token; values by token,
//! rotated too where they have four bits. It must never know frames or other rungs.

use super::cursor::Cursor;
use super::decode::DecodeError;
use super::element::Element;
use super::isa::Simd;
use super::room::Room;
use super::scratch::Scratch;
use super::shape::{Role, Tensor};
use super::tiles::Rung;
use super::{channel, rotated, token};

/// The rung of this many bits.
pub(super) struct Steps<const BITS: usize>;

impl<const BITS: usize> Rung for Steps<BITS> {
    #[inline(always)]
    fn encode<E: Element, S: Simd>(
        tensor: &Tensor,
        tile: &[E::Bytes],
        scratch: &mut Scratch,
        out: &mut Room<'_>,
    ) -> Option<f32> {
        match tensor.role {
            Role::Value if BITS == 8 => token::encode::<E>(tensor, tile, scratch, out),
            Role::Value => rotated::encode::<E, S, BITS>(tensor, tile, false, scratch, out),
            Role::Key if tensor.by_channel() => {
                channel::encode::<E, BITS>(tensor, tile, scratch, out)
            }
            Role::Key => rotated::encode::<E, S, BITS>(tensor, tile, true, scratch, out),
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
            Role::Value if BITS == 8 => token::decode::<E>(tensor, body, scratch, tile),
            Role::Value => rotated::decode::<E, S, BITS>(tensor, body, false, scratch, tile),
            Role::Key if tensor.by_channel() => {
                channel::decode::<E, BITS>(tensor, body, scratch, tile)
            }
            Role::Key => rotated::decode::<E, S, BITS>(tensor, body, true, scratch, tile),
        }
    }
}
