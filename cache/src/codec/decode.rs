//! Responsible for turning an encoded payload back into numbers, layer by layer, in a buffer of the caller's. It must never know
//! where the payload comes from: any bytes are answered, never trusted.

use thiserror::Error;

use super::cursor::Cursor;
use super::element::{Bf16, Element, F16, F32};
use super::encode::{EncodeError, Encoded, Encoder, RawBlock};
use super::fp8::Fp8;
use super::frame::{Frame, FrameError};
use super::isa::Isa;
use super::planes::Unpack;
use super::scratch::Scratch;
use super::shape::Tensor;
use super::steps::Steps;
use super::tiles;
use super::{Codec, entropy, exponent};
use crate::layout::Dtype;

/// Decodes payloads; keeps its buffers from one to the next.
pub struct Decoder {
    isa: Isa,
    scratch: Scratch,
    unpack: Unpack,
}

impl Default for Decoder {
    fn default() -> Self {
        Self::new(Isa::detect())
    }
}

impl Decoder {
    /// A decoder that works with these instructions.
    pub fn new(isa: Isa) -> Self {
        Self {
            isa,
            scratch: Scratch::default(),
            unpack: Unpack::new(),
        }
    }

    /// Decodes a whole framed payload into `plain`, which must have [`Frame::plain_bytes`]. Checksums are not looked at: that
    /// is for whoever took the bytes from outside ([`Frame::verify_body`], [`Frame::verify_plain`]).
    ///
    /// # Errors
    /// [`DecodeError`] when the payload is damaged; `plain` then holds no block.
    pub fn decode(
        &mut self,
        frame: &Frame,
        payload: &[u8],
        plain: &mut [u8],
    ) -> Result<(), DecodeError> {
        if payload.len() != frame.payload_bytes() {
            return Err(if payload.len() < frame.payload_bytes() {
                DecodeError::Short
            } else {
                DecodeError::Long
            });
        }
        if u64::try_from(plain.len()) != Ok(frame.plain_bytes) {
            return Err(DecodeError::Output);
        }
        for layer in 0..frame.layers() {
            let body = frame
                .body(layer)
                .and_then(|range| payload.get(range))
                .ok_or(DecodeError::Short)?;
            let place = frame
                .plain(layer)
                .and_then(|range| plain.get_mut(range))
                .ok_or(DecodeError::Output)?;
            self.decode_layer(frame, body, place)?;
        }
        Ok(())
    }

    /// Decodes one layer's `body` into `plain`, which must have as many bytes as [`Frame::plain`] says.
    ///
    /// # Errors
    /// [`DecodeError`] when the body is damaged; `plain` then holds no layer.
    pub fn decode_layer(
        &mut self,
        frame: &Frame,
        body: &[u8],
        plain: &mut [u8],
    ) -> Result<(), DecodeError> {
        let mut body = Cursor::new(body);
        let Some(shape) = frame.shape() else {
            let length = body.length()?;
            let bytes = body.take(length)?;
            if length == plain.len() {
                plain.copy_from_slice(bytes);
            } else {
                self.unpack.plane(bytes, plain)?;
            }
            return body.finish();
        };
        if plain.len() != shape.layer_bytes {
            return Err(DecodeError::Output);
        }
        if !frame.codec.is_exact() && !shape.suits_lossy() {
            return Err(DecodeError::Shape);
        }
        for (tensor, plain) in shape
            .tensors()
            .zip(plain.chunks_exact_mut(shape.tensor_bytes()))
        {
            match frame.layout.dtype {
                Dtype::Bf16 => self.tensor::<Bf16>(frame.codec, &tensor, &mut body, plain),
                Dtype::F16 => self.tensor::<F16>(frame.codec, &tensor, &mut body, plain),
                Dtype::F32 => self.tensor::<F32>(frame.codec, &tensor, &mut body, plain),
            }?;
        }
        body.finish()
    }

    fn tensor<E: Element>(
        &mut self,
        codec: Codec,
        tensor: &Tensor,
        body: &mut Cursor<'_>,
        plain: &mut [u8],
    ) -> Result<(), DecodeError> {
        let (isa, tools) = (self.isa, (&mut self.scratch, &mut self.unpack));
        match codec {
            Codec::Raw => plain.copy_from_slice(body.take(plain.len())?),
            Codec::Exponent => exponent::decode::<E>(isa, body, plain)?,
            Codec::Planes => tools.1.decode::<E>(isa, body, tools.0, plain)?,
            Codec::Int8 => tiles::decode::<E, Steps<8>>(isa, tensor, body, tools, plain)?,
            Codec::Fp8 => tiles::decode::<E, Fp8>(isa, tensor, body, tools, plain)?,
            Codec::Int4 => tiles::decode::<E, Steps<4>>(isa, tensor, body, tools, plain)?,
            Codec::Entropy | Codec::Archive => {
                entropy::decode::<E>(isa, tensor, body, tools, plain)?
            }
        }
        Ok(())
    }

    /// Encodes a framed payload again as the rung `to`, replacing what is in `out`. Exact payloads may become anything; lossy ones only a
    /// coarser rung, and the bound of their error grows by the new one.
    ///
    /// # Errors
    /// [`RecodeError`] when the payload is damaged or `to` is not further down.
    pub fn recode(
        &mut self,
        encoder: &mut Encoder,
        payload: &[u8],
        to: Codec,
        out: &mut Vec<u8>,
    ) -> Result<Encoded, RecodeError> {
        let frame = Frame::parse(payload)?;
        if !frame.codec.may_become(to) {
            return Err(RecodeError::Encode(EncodeError::Upwards { codec: to }));
        }
        let bytes = usize::try_from(frame.plain_bytes).map_err(|_| DecodeError::Output)?;
        let mut plain = vec![0; bytes];
        self.decode(&frame, payload, &mut plain)?;
        let block = RawBlock {
            layout: frame.layout,
            tokens: frame.tokens,
            exact_tokens: frame.exact_tokens,
            plain: &plain,
            generation: frame.generation,
            error_max: frame.error_max,
        };
        Ok(encoder.encode(to, &block, out)?)
    }
}

/// Why an encoded payload cannot be decoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum DecodeError {
    /// Ends too early.
    #[error("the encoded payload ends too early")]
    Short,
    /// Goes on after its end.
    #[error("the encoded payload goes on after its end")]
    Long,
    /// The caller's buffer is not what the frame decodes to.
    #[error("the buffer has not the length that the frame decodes to")]
    Output,
    /// The rung does not take this shape.
    #[error("the frame's codec does not take its shape")]
    Shape,
    /// A tile's tag is not known.
    #[error("a tile's tag is not known")]
    Tag,
    /// A unit that no encoder writes.
    #[error("a tile's unit is not possible")]
    Scale,
    /// An exception names a number that is not there.
    #[error("an escaped exponent lies outside its tensor")]
    Escape,
    /// A compressed plane is damaged.
    #[error("a compressed plane is damaged")]
    Plane,
    /// Frequencies that no encoder writes.
    #[error("a table of frequencies is not possible")]
    Table,
    /// A coded stream is damaged.
    #[error("an entropy-coded stream is damaged")]
    Stream,
}

impl DecodeError {
    /// A stable code for logs and answers.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Short => "decode_short",
            Self::Long => "decode_long",
            Self::Output => "decode_output",
            Self::Shape => "decode_shape",
            Self::Tag => "decode_tag",
            Self::Scale => "decode_scale",
            Self::Escape => "decode_escape",
            Self::Plane => "decode_plane",
            Self::Table => "decode_table",
            Self::Stream => "decode_stream",
        }
    }

    /// What to do about it.
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::Output => "give a buffer of `plain_bytes`, or of one layer's part of it",
            _ => "the bytes are damaged; treat the block as a miss",
        }
    }
}

/// Why a payload cannot be encoded again.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RecodeError {
    /// No frame.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// Damaged.
    #[error(transparent)]
    Decode(#[from] DecodeError),
    /// Not possible.
    #[error(transparent)]
    Encode(#[from] EncodeError),
}
