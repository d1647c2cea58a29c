//! Responsible for the ladder of codecs: how a block's numbers become fewer bytes, and numbers again. It must never know
//! where a block lies, who asks for it, or when.
//!
//! ```text
//!   rung       K                              V                          bits     exact
//!   raw        as it came                     as it came                 16       yes
//!   exponent   top 16 exponents in 4 bits, escapes aside                 12       yes
//!   planes     byte planes, zstd where it pays                           ~10.9    yes
//!   int8       min..max of a channel          min..max of a token        8.4      no
//!   fp8        e4m3, centred, of a token      e4m3 of a token            8.2      no
//!   int4       min..max of a channel          Hadamard, min..max         4.4      no
//!   entropy    half a deviation, rANS         half a deviation, rANS     3.2      no
//!   archive    half a deviation, rANS         one deviation, rANS        2.7      no
//! ```
//!
//! A lossy payload is a [`Frame`]: a header, a table of layers, and a body a layer, so that a reader decodes layer 0 while
//! layer 1 is still on its way. What a lossy rung cannot hold — NaN, infinities, magnitudes at the ends of the range, odd
//! shapes — is kept exactly, tile by tile (a *tile* is one head of one layer's K or V) or for the whole block. Opaque
//! bytes are only ever compressed without loss.
//!
//! Arithmetic is the same on every machine: kernels are written once, over plain IEEE operations in a fixed order, and
//! compiled for several instruction sets ([`Isa`]), so that the choice changes speed and never a bit.
//!
//! # Source
//! KIVI (arXiv 2402.02750) for K by channel and V by token; QuaRot (2404.00456) for rotation; CacheGen (2310.07240) for
//! entropy-coded uniform steps; SplitZip (2605.01708) for the exponent code; KVQuant (2401.18079) for exact first tokens.

use std::fmt;

mod channel;
pub mod contract;
mod cursor;
pub mod decode;
mod element;
pub mod encode;
mod entropy;
mod exponent;
mod fp8;
pub mod frame;
mod hadamard;
mod half;
mod isa;
mod planes;
mod probe;
mod range;
mod rans;
mod room;
mod rotated;
mod scratch;
mod shape;
mod square;
mod steps;
mod tiles;
mod token;

pub use contract::{Chooser, Contract, Evidence};
pub use decode::{DecodeError, Decoder, RecodeError};
pub use encode::{EncodeError, Encoded, Encoder, RawBlock};
pub use frame::{FRAME_HEADER_BYTES, Frame, FrameError, LAYER_ROW_BYTES, ScaleLayout};
pub use isa::Isa;

/// How a payload is encoded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Codec {
    /// The numbers as the layout orders them, nothing changed and nothing added: no frame.
    Raw = 0,
    /// The sixteen most frequent exponents in four bits, the others aside. Exact.
    Exponent = 1,
    /// One plane a byte of the element, each compressed where it pays. Exact; the only rung of opaque bytes but raw.
    Planes = 2,
    /// Eight bits a number: keys by channel, values by token.
    Int8 = 3,
    /// Eight-bit floating point (e4m3) with one scale a token, keys centred.
    Fp8 = 4,
    /// Four bits a number: keys by channel, values rotated and by token.
    Int4 = 5,
    /// Steps of half a standard deviation, entropy-coded.
    Entropy = 6,
    /// As [`Codec::Entropy`], values in steps of a whole deviation: for archives whose owner asked for it.
    Archive = 7,
}

impl Codec {
    /// Every rung, from the one that keeps most.
    pub const ALL: [Self; 8] = [
        Self::Raw,
        Self::Exponent,
        Self::Planes,
        Self::Int8,
        Self::Fp8,
        Self::Int4,
        Self::Entropy,
        Self::Archive,
    ];

    /// The number that stands for this codec in headers. Never reused, never changed.
    pub const fn code(self) -> u8 {
        match self {
            Self::Raw => 0,
            Self::Exponent => 1,
            Self::Planes => 2,
            Self::Int8 => 3,
            Self::Fp8 => 4,
            Self::Int4 => 5,
            Self::Entropy => 6,
            Self::Archive => 7,
        }
    }

    /// The codec that `code` stands for.
    pub const fn from_code(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::Raw),
            1 => Some(Self::Exponent),
            2 => Some(Self::Planes),
            3 => Some(Self::Int8),
            4 => Some(Self::Fp8),
            5 => Some(Self::Int4),
            6 => Some(Self::Entropy),
            7 => Some(Self::Archive),
            _ => None,
        }
    }

    /// Whether decoding gives back every bit.
    pub const fn is_exact(self) -> bool {
        matches!(self, Self::Raw | Self::Exponent | Self::Planes)
    }

    /// Whether a block of this rung may be encoded again as `to`: an exact one as anything, a lossy one only further
    /// down, since a finer rung would keep the loss and give the bytes back.
    pub const fn may_become(self, to: Self) -> bool {
        self.is_exact() || (!to.is_exact() && to.code() > self.code())
    }

    /// The name by which people and settings call it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Raw => "raw",
            Self::Exponent => "exponent",
            Self::Planes => "planes",
            Self::Int8 => "int8",
            Self::Fp8 => "fp8",
            Self::Int4 => "int4",
            Self::Entropy => "entropy",
            Self::Archive => "archive",
        }
    }
}

impl fmt::Display for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

#[cfg(test)]
mod tests;
