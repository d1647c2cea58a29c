//! Responsible for making a block's payload of one rung. It must never know which rung is wanted, or why.

use thiserror::Error;

use super::element::{Bf16, Element, F16, F32};
use super::fp8::Fp8;
use super::frame::{Frame, ScaleLayout};
use super::isa::Isa;
use super::planes::Pack;
use super::room::Room;
use super::scratch::Scratch;
use super::shape::{Role, Shape, TENSOR_BYTES_MAX, Tensor};
use super::steps::Steps;
use super::tiles::{self, Outcome};
use super::{Codec, entropy, exponent};
use crate::layout::{BlockKind, BlockLayout, Dtype};

/// A step of keys in standard deviations. Half a deviation, as CacheGen's middle level.
const KEY_STEP: f32 = 0.5;
/// A step of values under [`Codec::Entropy`]: a little more than of keys, whose errors the softmax makes larger.
const VALUE_STEP: f32 = 0.57;
/// A step of values under [`Codec::Archive`]: values forgive more than keys.
const ARCHIVE_VALUE_STEP: f32 = 1.0;

/// A block's numbers as they are now.
#[derive(Clone, Copy, Debug)]
pub struct RawBlock<'a> {
    /// What the numbers are.
    pub layout: BlockLayout,
    /// Tokens of the block.
    pub tokens: u32,
    /// Leading tokens that a lossy rung keeps as they are: the first four of a sequence, which attention leans on.
    pub exact_tokens: u16,
    /// The numbers, as the layout orders them.
    pub plain: &'a [u8],
    /// How many lossy encodings they went through: [`Frame::generation`] of the payload they came from.
    pub generation: u8,
    /// Bound of the error that these left: [`Frame::error_max`].
    pub error_max: f32,
}

impl<'a> RawBlock<'a> {
    /// Exact numbers, all of which may be encoded.
    pub const fn new(layout: BlockLayout, tokens: u32, plain: &'a [u8]) -> Self {
        Self {
            layout,
            tokens,
            exact_tokens: 0,
            plain,
            generation: 0,
            error_max: 0.0,
        }
    }
}

/// What became of a block.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Encoded {
    /// The rung that was taken: the wanted one, or an exact one where it does not suit the numbers.
    pub codec: Codec,
    /// Guaranteed bound of the absolute error of any element, earlier encodings included; 0 means exact.
    pub error_max: f32,
    /// Tiles of a lossy rung that were kept exactly.
    pub kept_tiles: usize,
}

/// Encodes blocks; keeps its buffers from one to the next.
pub struct Encoder {
    isa: Isa,
    scratch: Scratch,
    pack: Pack,
}

impl Default for Encoder {
    fn default() -> Self {
        Self::new(Isa::detect())
    }
}

impl Encoder {
    /// An encoder that works with these instructions.
    pub fn new(isa: Isa) -> Self {
        Self {
            isa,
            scratch: Scratch::default(),
            pack: Pack::new(),
        }
    }

    /// Replaces what is in `out` by the payload of `block` in the rung `codec`.
    ///
    /// A lossy rung that does not suit the block, because of its shape or its numbers, becomes [`Codec::Planes`]; an exact rung that does
    /// not make it smaller becomes [`Codec::Raw`]. Equal inputs give equal bytes on every machine.
    ///
    /// # Errors
    /// [`EncodeError`] when the numbers are not what the layout says, or the rung would undo a loss in name only.
    pub fn encode(
        &mut self,
        codec: Codec,
        block: &RawBlock<'_>,
        out: &mut Vec<u8>,
    ) -> Result<Encoded, EncodeError> {
        check(codec, block)?;
        if codec == Codec::Raw {
            return Ok(raw(block, out));
        }
        let encoded = match Shape::of(&block.layout, block.tokens, block.exact_tokens) {
            None => self.opaque(block, out),
            Some(shape) if codec.is_exact() || !shape.suits_lossy() => {
                let codec = if codec.is_exact() {
                    codec
                } else {
                    Codec::Planes
                };
                self.framed(codec, block, &shape, out)
            }
            Some(shape) => {
                let encoded = self.framed(codec, block, &shape, out);
                let tiles =
                    shape.layers * shape.tensors().map(|tensor| tensor.heads).sum::<usize>();
                let in_vain = encoded.kept_tiles == tiles || out.len() >= block.plain.len();
                if in_vain && block.generation == 0 {
                    self.framed(Codec::Planes, block, &shape, out)
                } else {
                    encoded
                }
            }
        };
        if encoded.codec.is_exact() && out.len() >= block.plain.len() {
            return Ok(raw(block, out));
        }
        Ok(encoded)
    }

    fn opaque(&mut self, block: &RawBlock<'_>, out: &mut Vec<u8>) -> Encoded {
        let plain_bytes = u64::try_from(block.plain.len()).unwrap_or(u64::MAX);
        let mut frame = Frame::begin(Codec::Planes, block.layout, block.tokens, plain_bytes);
        let head = frame.head_bytes();
        let mut room = Room::new(out);
        room.take(head);
        self.pack
            .plane(block.plain, &mut self.scratch.packed, &mut room);
        seal(&mut frame, head, block.plain, &room);
        frame.write(room.written_mut());
        Encoded {
            codec: Codec::Planes,
            error_max: 0.0,
            kept_tiles: 0,
        }
    }

    fn framed(
        &mut self,
        codec: Codec,
        block: &RawBlock<'_>,
        shape: &Shape,
        out: &mut Vec<u8>,
    ) -> Encoded {
        // The exponent of binary16 has five bits: four of them in a code would save one bit in sixteen, so its planes serve.
        let codec = match (codec, block.layout.dtype) {
            (Codec::Exponent, Dtype::F16) => Codec::Planes,
            _ => codec,
        };
        let plain_bytes = u64::try_from(block.plain.len()).unwrap_or(u64::MAX);
        let mut frame = Frame::begin(codec, block.layout, block.tokens, plain_bytes);
        let head = frame.head_bytes();
        let mut room = Room::new(out);
        room.take(head);
        let mut total = Outcome::default();
        for plain in block.plain.chunks_exact(shape.layer_bytes) {
            let at = room.len();
            for (tensor, plain) in shape
                .tensors()
                .zip(plain.chunks_exact(shape.tensor_bytes()))
            {
                let outcome = match block.layout.dtype {
                    Dtype::Bf16 => self.tensor::<Bf16>(codec, &tensor, plain, &mut room),
                    Dtype::F16 => self.tensor::<F16>(codec, &tensor, plain, &mut room),
                    Dtype::F32 => self.tensor::<F32>(codec, &tensor, plain, &mut room),
                };
                total.error_max = total.error_max.max(outcome.error_max);
                total.kept += outcome.kept;
            }
            seal(&mut frame, at, plain, &room);
        }
        frame.scales = ScaleLayout::of(codec, shape);
        frame.error_max = total.error_max + block.error_max;
        frame.exact_tokens = block.exact_tokens;
        if !codec.is_exact() {
            frame.generation = block.generation.saturating_add(1);
        }
        frame.write(room.written_mut());
        Encoded {
            codec,
            error_max: frame.error_max,
            kept_tiles: total.kept,
        }
    }

    fn tensor<E: Element>(
        &mut self,
        codec: Codec,
        tensor: &Tensor,
        plain: &[u8],
        out: &mut Room<'_>,
    ) -> Outcome {
        let (isa, tools) = (self.isa, (&mut self.scratch, &mut self.pack));
        let step = match (codec, tensor.role) {
            (_, Role::Key) => KEY_STEP,
            (Codec::Archive, Role::Value) => ARCHIVE_VALUE_STEP,
            (_, Role::Value) => VALUE_STEP,
        };
        match codec {
            Codec::Raw => out.extend(plain),
            Codec::Exponent => exponent::encode::<E>(isa, plain, &mut tools.0.escapes, out),
            Codec::Planes => tools.1.encode::<E>(isa, plain, tools.0, out),
            Codec::Int8 => return tiles::encode::<E, Steps<8>>(isa, tensor, plain, tools, out),
            Codec::Fp8 => return tiles::encode::<E, Fp8>(isa, tensor, plain, tools, out),
            Codec::Int4 => return tiles::encode::<E, Steps<4>>(isa, tensor, plain, tools, out),
            Codec::Entropy | Codec::Archive => {
                return entropy::encode::<E>(isa, (tensor, step), plain, tools, out);
            }
        }
        Outcome::default()
    }
}

/// The numbers as they are, which need no frame.
fn raw(block: &RawBlock<'_>, out: &mut Vec<u8>) -> Encoded {
    out.clear();
    out.extend_from_slice(block.plain);
    Encoded {
        codec: Codec::Raw,
        error_max: block.error_max,
        kept_tiles: 0,
    }
}

/// Adds the row of a layer whose body begins at `at`.
fn seal(frame: &mut Frame, at: usize, plain: &[u8], out: &Room<'_>) {
    let body = out.written().get(at..).unwrap_or_default();
    frame.push(body, frame.codec.is_exact().then_some(plain));
}

fn check(codec: Codec, block: &RawBlock<'_>) -> Result<(), EncodeError> {
    let bytes = block.plain.len();
    match block.layout.payload_bytes(block.tokens) {
        Some(wanted) if u64::try_from(bytes) != Ok(wanted) || bytes == 0 => {
            return Err(EncodeError::Length { bytes, wanted });
        }
        None if block.layout.kind != BlockKind::Opaque || block.layout != BlockLayout::OPAQUE => {
            return Err(EncodeError::Layout);
        }
        Some(_) | None => {}
    }
    let pieces = usize::from(block.layout.layers).max(1);
    if bytes / pieces > TENSOR_BYTES_MAX {
        return Err(EncodeError::Large { bytes });
    }
    if codec.is_exact() && codec != Codec::Raw && block.generation > 0 {
        return Err(EncodeError::Upwards { codec });
    }
    if !block.error_max.is_finite() || block.error_max.is_sign_negative() {
        return Err(EncodeError::Layout);
    }
    Ok(())
}

/// Why a block cannot be encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum EncodeError {
    /// Other than the layout says.
    #[error("the layout asks for {wanted} bytes, not {bytes}")]
    Length {
        /// Bytes given.
        bytes: usize,
        /// Bytes that layout and tokens ask for.
        wanted: u64,
    },
    /// A layout that no block has.
    #[error("no block has this layout")]
    Layout,
    /// Too large for a frame.
    #[error("{bytes} bytes are more than a frame holds")]
    Large {
        /// Bytes given.
        bytes: usize,
    },
    /// A lossy block would be kept as if it were exact, or finer than it is.
    #[error("a lossy block must not be encoded as {codec}")]
    Upwards {
        /// The rung that was wanted.
        codec: Codec,
    },
}

impl EncodeError {
    /// A stable code for logs and answers.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Length { .. } => "encode_length",
            Self::Layout => "encode_layout",
            Self::Large { .. } => "encode_large",
            Self::Upwards { .. } => "encode_upwards",
        }
    }

    /// What to do about it.
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::Length { .. } | Self::Layout => {
                "give the numbers of a whole block as its layout orders them"
            }
            Self::Large { .. } => "use fewer tokens a block; a layer may have 2 GiB",
            Self::Upwards { .. } => "encode from the exact block, or take a coarser rung",
        }
    }
}
