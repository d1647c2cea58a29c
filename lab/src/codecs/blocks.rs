//! Responsible for a sample as the blocks that a cache would hold, and blocks as arrays again. It must never know what is
//! measured on them.

use half::{bf16, f16};
use ultrakv_cache::codec::{Decoder, Encoded, Encoder, Frame, RawBlock};
use ultrakv_cache::{BlockKind, BlockLayout, Codec, Dtype};

use super::profile::{Sample, SampleShape};

/// Tokens at the start of a sequence that lossy rungs keep as they are.
pub const EXACT_TOKENS: u16 = 4;

/// A sequence cut in blocks of one layer.
pub struct Blocks {
    /// What each holds.
    pub layout: BlockLayout,
    /// Tokens of each block but the last, which may have fewer.
    pub block_tokens: usize,
    shape: SampleShape,
    plain: Vec<Vec<u8>>,
}

impl Blocks {
    /// A sample as blocks of `block_tokens` tokens and numbers of this type.
    ///
    /// # Errors
    /// [`BlocksError`] when the sample has dimensions that no layout has.
    pub fn cut(sample: &Sample, dtype: Dtype, block_tokens: usize) -> Result<Self, BlocksError> {
        let SampleShape {
            heads,
            tokens,
            dims,
            ..
        } = sample.shape;
        let fits = |count: usize| u16::try_from(count).map_err(|_| BlocksError);
        let layout = BlockLayout {
            kind: BlockKind::Kv,
            dtype,
            layers: 1,
            kv_heads: fits(heads)?,
            head_size: fits(dims)?,
        };
        if block_tokens == 0 || u32::try_from(tokens).is_err() {
            return Err(BlocksError);
        }
        let plain = (0..tokens)
            .step_by(block_tokens)
            .map(|first| {
                let count = block_tokens.min(tokens - first);
                let mut bytes = Vec::new();
                for tensor in [&sample.keys, &sample.values] {
                    for head in tensor.chunks_exact(tokens * dims) {
                        let part = head.get(first * dims..(first + count) * dims);
                        part.unwrap_or_default()
                            .iter()
                            .for_each(|number| store(dtype, *number, &mut bytes));
                    }
                }
                bytes
            })
            .collect();
        Ok(Self {
            layout,
            block_tokens,
            shape: sample.shape,
            plain,
        })
    }

    /// Bytes of all numbers.
    pub fn plain_bytes(&self) -> usize {
        self.plain.iter().map(Vec::len).sum()
    }

    /// The blocks' bytes.
    pub fn plain(&self) -> &[Vec<u8>] {
        &self.plain
    }

    /// The blocks, as an encoder takes them.
    pub fn raw(&self) -> impl Iterator<Item = RawBlock<'_>> {
        self.plain.iter().enumerate().map(|(at, plain)| {
            let tokens = self.tokens_of(at);
            RawBlock {
                exact_tokens: if at == 0 { EXACT_TOKENS } else { 0 },
                ..RawBlock::new(
                    self.layout,
                    u32::try_from(tokens).unwrap_or(u32::MAX),
                    plain,
                )
            }
        })
    }

    fn tokens_of(&self, at: usize) -> usize {
        self.block_tokens
            .min(self.shape.tokens - at * self.block_tokens)
    }

    /// Keys and values as arrays, from each block's decoded bytes.
    pub fn arrays(&self, decoded: &[Vec<u8>]) -> (Vec<f32>, Vec<f32>) {
        let SampleShape {
            heads,
            tokens,
            dims,
            ..
        } = self.shape;
        let mut tensors = [
            vec![0.0; heads * tokens * dims],
            vec![0.0; heads * tokens * dims],
        ];
        for (at, bytes) in decoded.iter().enumerate() {
            let width = usize::try_from(self.layout.dtype.bytes()).unwrap_or(usize::MAX);
            let count = self.tokens_of(at);
            for (part, numbers) in bytes.chunks_exact(count * dims * width).enumerate() {
                let head = part % heads;
                let first = (head * tokens + at * self.block_tokens) * dims;
                let place = tensors
                    .get_mut(part / heads)
                    .and_then(|tensor| tensor.get_mut(first..first + count * dims));
                for (place, number) in place
                    .unwrap_or_default()
                    .iter_mut()
                    .zip(numbers.chunks_exact(width))
                {
                    *place = load(self.layout.dtype, number);
                }
            }
        }
        let [keys, values] = tensors;
        (keys, values)
    }
}

/// One block's payload.
pub struct Stored {
    /// What became of it.
    pub encoded: Encoded,
    /// Its bytes.
    pub payload: Vec<u8>,
}

/// Encodes a block.
///
/// # Panics
/// Never on blocks that [`Blocks::cut`] made.
pub fn encode(encoder: &mut Encoder, codec: Codec, block: &RawBlock<'_>) -> Stored {
    let mut payload = Vec::new();
    #[expect(
        clippy::expect_used,
        reason = "the lab's blocks have the bytes that their layout asks for"
    )]
    let encoded = encoder
        .encode(codec, block, &mut payload)
        .expect("a whole block");
    Stored { encoded, payload }
}

/// Decodes a payload that was just encoded into `plain`.
///
/// # Panics
/// When a payload of ours does not decode: then the ladder is broken, and no figure means anything.
pub fn decode(decoder: &mut Decoder, stored: &Stored, plain: &mut [u8]) {
    if stored.encoded.codec == Codec::Raw {
        plain.copy_from_slice(&stored.payload);
        return;
    }
    #[expect(
        clippy::expect_used,
        reason = "our own payload decodes, or no figure means anything"
    )]
    let frame = Frame::parse(&stored.payload).expect("a frame of ours");
    #[expect(
        clippy::expect_used,
        reason = "our own payload decodes, or no figure means anything"
    )]
    decoder
        .decode(&frame, &stored.payload, plain)
        .expect("a payload of ours");
}

fn store(dtype: Dtype, number: f32, out: &mut Vec<u8>) {
    match dtype {
        Dtype::Bf16 => out.extend_from_slice(&bf16::from_f32(number).to_le_bytes()),
        Dtype::F16 => out.extend_from_slice(&f16::from_f32(number).to_le_bytes()),
        Dtype::F32 => out.extend_from_slice(&number.to_le_bytes()),
    }
}

fn load(dtype: Dtype, bytes: &[u8]) -> f32 {
    match (dtype, bytes) {
        (Dtype::Bf16, [a, b]) => bf16::from_le_bytes([*a, *b]).to_f32(),
        (Dtype::F16, [a, b]) => f16::from_le_bytes([*a, *b]).to_f32(),
        (Dtype::F32, [a, b, c, d]) => f32::from_le_bytes([*a, *b, *c, *d]),
        _ => f32::NAN,
    }
}

/// Why a sample cannot be cut in blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "heads, dimensions or tokens are more than a block's layout holds, or a block has no tokens"
)]
pub struct BlocksError;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codecs::profile::Profile;

    #[test]
    fn cutting_and_joining_gives_the_sample_back() {
        let shape = SampleShape {
            heads: 3,
            tokens: 150,
            dims: 32,
            queries: 2,
        };
        let sample = Sample::generate(Profile::Qwen, shape, 1);
        for dtype in [Dtype::Bf16, Dtype::F32] {
            let blocks = Blocks::cut(&sample, dtype, 64).expect("small");
            assert_eq!(blocks.plain().len(), 3);
            let (keys, values) = blocks.arrays(blocks.plain());
            assert!(keys == sample.keys && values == sample.values);
        }
    }
}
