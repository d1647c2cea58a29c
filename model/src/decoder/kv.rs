//! The keys and values of one sequence, in blocks.
//!
//! Responsible for rounding, storing and giving back keys and values in exactly the payload order of a
//! cache block, so that a block enters and leaves by one pass over its bytes. Grows by whole blocks.
//! Must never know how keys are computed or where payloads go.
#![expect(
    clippy::indexing_slicing,
    reason = "offsets are computed from the geometry that the blocks were allocated with"
)]

use bytemuck::NoUninit;
use half::slice::{HalfBitsSliceExt, HalfFloatSliceExt};
use half::vec::HalfFloatVecExt;
use half::{bf16, f16};
use rayon::prelude::*;
use ultrakv_cache::Dtype;

use crate::kernel::HeadBlocks;

/// Dimensions that every block of a sequence shares.
#[derive(Clone, Copy, Debug)]
pub(crate) struct KvGeometry {
    pub(crate) layers: usize,
    pub(crate) kv_heads: usize,
    pub(crate) head_size: usize,
    pub(crate) block_tokens: usize,
    pub(crate) dtype: Dtype,
}

impl KvGeometry {
    /// Numbers of one head in one block: `[token][head_size]`.
    fn head_floats(&self) -> usize {
        self.block_tokens * self.head_size
    }

    /// Numbers of one block: `[layer][keys, values][head][token][head_size]`.
    pub(crate) fn block_floats(&self) -> usize {
        self.layers * 2 * self.kv_heads * self.head_floats()
    }

    /// Bytes of one number.
    fn float_bytes(&self) -> usize {
        match self.dtype {
            Dtype::F32 => 4,
            Dtype::F16 | Dtype::Bf16 => 2,
        }
    }

    /// Bytes of one block's payload.
    pub(crate) fn block_bytes(&self) -> usize {
        self.block_floats() * self.float_bytes()
    }

    /// Where the keys (`part` 0) or values (`part` 1) of a head begin in a block.
    fn head_at(&self, layer: usize, part: usize, head: usize) -> usize {
        ((layer * 2 + part) * self.kv_heads + head) * self.head_floats()
    }
}

/// Blocks of one sequence. Positions at or after those written hold zeros.
pub(crate) struct KvBlocks {
    geometry: KvGeometry,
    blocks: Vec<Box<[f32]>>,
}

impl KvBlocks {
    /// No blocks yet.
    pub(crate) fn new(geometry: KvGeometry) -> Self {
        Self {
            geometry,
            blocks: Vec::new(),
        }
    }

    /// Makes room for `tokens` tokens.
    pub(crate) fn grow(&mut self, tokens: usize) {
        let count = tokens
            .div_ceil(self.geometry.block_tokens)
            .max(self.blocks.len());
        self.blocks.resize_with(count, || {
            vec![0.0; self.geometry.block_floats()].into_boxed_slice()
        });
    }

    /// Rounds and stores keys and values, each `[row][head][head_size]`, for positions from `first`.
    pub(crate) fn write(&mut self, layer: usize, first: usize, keys: &[f32], values: &[f32]) {
        let KvGeometry {
            kv_heads,
            head_size,
            block_tokens,
            dtype,
            ..
        } = self.geometry;
        for (part, rows) in [keys, values].into_iter().enumerate() {
            for (row, heads) in rows.chunks_exact(kv_heads * head_size).enumerate() {
                let position = first + row;
                let block = &mut self.blocks[position / block_tokens];
                for (head, numbers) in heads.chunks_exact(head_size).enumerate() {
                    let at = self.geometry.head_at(layer, part, head)
                        + position % block_tokens * head_size;
                    let slot = &mut block[at..at + head_size];
                    slot.copy_from_slice(numbers);
                    round(slot, dtype);
                }
            }
        }
    }

    /// The keys and values of one head, for attention.
    pub(crate) fn head(&self, layer: usize, head: usize) -> HeadBlocks<'_> {
        HeadBlocks {
            blocks: &self.blocks,
            keys_at: self.geometry.head_at(layer, 0, head),
            values_at: self.geometry.head_at(layer, 1, head),
            block_tokens: self.geometry.block_tokens,
            head_size: self.geometry.head_size,
        }
    }

    /// Appends blocks whose payloads have the right length. Copying is bound by memory, and new memory by
    /// the system handing out pages, so blocks are copied in parallel.
    pub(crate) fn restore(&mut self, payloads: &[&[u8]]) {
        let dtype = self.geometry.dtype;
        let blocks = payloads.par_iter().map(|payload| numbers(payload, dtype));
        self.blocks.par_extend(blocks);
    }

    /// The payload of a block, little-endian in the geometry's number format. Exact, because numbers were
    /// rounded to it when they were stored.
    pub(crate) fn payload(&self, index: usize) -> Vec<u8> {
        let block = &self.blocks[index];
        match self.geometry.dtype {
            Dtype::F32 => to_little_endian(block),
            Dtype::F16 => to_little_endian(&Vec::<f16>::from_f32_slice(block)),
            Dtype::Bf16 => to_little_endian(&Vec::<bf16>::from_f32_slice(block)),
        }
    }
}

/// The numbers of a payload.
fn numbers(payload: &[u8], dtype: Dtype) -> Box<[f32]> {
    match dtype {
        Dtype::F32 => payload
            .as_chunks()
            .0
            .iter()
            .map(|x| f32::from_le_bytes(*x))
            .collect(),
        Dtype::F16 => halves(payload)
            .reinterpret_cast::<f16>()
            .to_f32_vec()
            .into(),
        Dtype::Bf16 => halves(payload)
            .reinterpret_cast::<bf16>()
            .to_f32_vec()
            .into(),
    }
}

fn halves(payload: &[u8]) -> Vec<u16> {
    payload
        .as_chunks()
        .0
        .iter()
        .map(|x| u16::from_le_bytes(*x))
        .collect()
}

/// The bytes of numbers, least significant first; one copy on little-endian machines.
fn to_little_endian<T: NoUninit>(numbers: &[T]) -> Vec<u8> {
    let mut bytes = bytemuck::cast_slice(numbers).to_vec();
    if cfg!(target_endian = "big") {
        bytes
            .chunks_exact_mut(size_of::<T>())
            .for_each(<[u8]>::reverse);
    }
    bytes
}

/// Rounds numbers to what the format can hold, to nearest, ties to even. `F16` saturates at its largest
/// finite number, because an infinite key would make every later score not a number.
fn round(numbers: &mut [f32], dtype: Dtype) {
    match dtype {
        Dtype::F32 => {}
        Dtype::F16 => {
            let (min, max) = (f16::MIN.to_f32(), f16::MAX.to_f32());
            numbers
                .iter_mut()
                .for_each(|x| *x = f16::from_f32(x.clamp(min, max)).to_f32());
        }
        Dtype::Bf16 => numbers
            .iter_mut()
            .for_each(|x| *x = bf16::from_f32(*x).to_f32()),
    }
}

#[cfg(test)]
#[expect(clippy::as_conversions, reason = "small numbers made for tests")]
mod tests {
    use super::*;

    fn geometry(dtype: Dtype) -> KvGeometry {
        KvGeometry {
            layers: 2,
            kv_heads: 3,
            head_size: 4,
            block_tokens: 5,
            dtype,
        }
    }

    #[test]
    fn payloads_are_in_the_order_layer_part_head_token_number() {
        let mut kv = KvBlocks::new(geometry(Dtype::F32));
        kv.grow(7);
        for layer in 0..2_usize {
            let rows = |part: usize| -> Vec<f32> {
                (0..7 * 12)
                    .map(|at| (layer * 10_000 + part * 1000 + at) as f32)
                    .collect()
            };
            kv.write(layer, 0, &rows(0), &rows(1));
        }
        let payload = kv.payload(1);
        let at = |layer: usize, part: usize, head: usize, token: usize, number: usize| {
            let index = (((layer * 2 + part) * 3 + head) * 5 + token) * 4 + number;
            f32::from_le_bytes(payload[index * 4..][..4].try_into().unwrap())
        };
        assert_eq!(
            at(1, 1, 2, 1, 3),
            (10_000 + 1000 + 6 * 12 + 2 * 4 + 3) as f32
        );
        assert_eq!(at(0, 1, 0, 0, 0), (1000 + 5 * 12) as f32);
        assert_eq!(at(1, 0, 1, 4, 0), 0.0, "unwritten positions are zero");
    }

    #[test]
    fn a_payload_that_leaves_and_enters_is_the_same_in_every_format() {
        for dtype in [Dtype::F32, Dtype::F16, Dtype::Bf16] {
            let mut kv = KvBlocks::new(geometry(dtype));
            kv.grow(5);
            let rows: Vec<f32> = (0..60).map(|x| (x as f32 * 1.7).sin() * 1e5).collect();
            kv.write(0, 0, &rows, &rows);
            kv.write(1, 0, &rows, &rows);
            let payload = kv.payload(0);
            assert_eq!(payload.len(), geometry(dtype).block_bytes());
            let mut other = KvBlocks::new(geometry(dtype));
            other.restore(&[&payload]);
            assert_eq!(other.blocks, kv.blocks);
            assert!(kv.blocks[0].iter().all(|x| x.is_finite()));
        }
    }
}
