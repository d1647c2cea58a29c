//! Responsible for the header that travels with every block: its fixed bytes, and the checksum that ties payload, header
//! and key together. It must never know where a block lies or who asks for it.

use thiserror::Error;
use xxhash_rust::xxh3::Xxh3;

use crate::codec::{Codec, Encoded};
use crate::key::BlockKey;
use crate::layout::BlockLayout;

/// Bytes of an encoded [`BlockHeader`].
pub const HEADER_BYTES: usize = 40;

/// Bytes of the header that the checksum covers: everything before the checksum itself.
const HEADER_COVERED_BYTES: usize = 32;

/// First byte of every encoded header.
const HEADER_VERSION: u8 = 1;

/// What is known of a block besides its key and its bytes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BlockHeader {
    /// Shape of the decoded payload.
    pub layout: BlockLayout,
    /// Tokens the block covers; counted against the token budget.
    pub tokens: u32,
    /// Encoding of the payload.
    pub codec: Codec,
    /// Guaranteed bound of the absolute error of any element; 0 means exact.
    pub error_max: f32,
    /// Length of the encoded payload.
    pub payload_bytes: u64,
    /// XXH3-64 over key, header and payload; see [`BlockHeader::verify`].
    pub checksum: u64,
}

impl BlockHeader {
    /// The header of an exact, raw `payload` stored under `key`.
    pub fn seal(layout: BlockLayout, tokens: u32, key: &BlockKey, payload: &[u8]) -> Self {
        let mut header = Self {
            layout,
            tokens,
            codec: Codec::Raw,
            error_max: 0.0,
            payload_bytes: u64::try_from(payload.len()).unwrap_or(u64::MAX),
            checksum: 0,
        };
        header.checksum = header.checksum_of(key, payload);
        header
    }

    /// The header of a `payload` that [`crate::codec::Encoder`] made, stored under `key`.
    pub fn seal_encoded(
        layout: BlockLayout,
        tokens: u32,
        encoded: &Encoded,
        key: &BlockKey,
        payload: &[u8],
    ) -> Self {
        let mut header = Self {
            codec: encoded.codec,
            error_max: encoded.error_max,
            ..Self::seal(layout, tokens, key, &[])
        };
        header.payload_bytes = u64::try_from(payload.len()).unwrap_or(u64::MAX);
        header.checksum = header.checksum_of(key, payload);
        header
    }

    /// The header of the numbers that the payload of `stored` decodes to, under the same `key`. The bound of their error stays.
    pub fn seal_decoded(stored: &Self, key: &BlockKey, plain: &[u8]) -> Self {
        let mut header = Self {
            error_max: stored.error_max,
            ..Self::seal(stored.layout, stored.tokens, key, &[])
        };
        header.payload_bytes = u64::try_from(plain.len()).unwrap_or(u64::MAX);
        header.checksum = header.checksum_of(key, plain);
        header
    }

    /// Whether every bit of the numbers is what was computed: nothing was lost now or in an earlier life of them.
    pub fn is_exact(&self) -> bool {
        self.codec.is_exact() && self.error_max == 0.0
    }

    /// Whether `payload` is what was sealed into this header under this `key`: right bytes under a wrong key fail too.
    pub fn verify(&self, key: &BlockKey, payload: &[u8]) -> bool {
        u64::try_from(payload.len()) == Ok(self.payload_bytes)
            && self.checksum == self.checksum_of(key, payload)
    }

    /// Whether length, tokens, layout and codec agree: a raw payload has exactly the bytes its layout asks for, an encoded
    /// one some but fewer, an opaque one any number but zero; only a lossy codec states an error, or numbers that once
    /// were lossy and lie raw.
    pub fn is_consistent(&self) -> bool {
        let bytes_agree = match self.layout.payload_bytes(self.tokens) {
            Some(bytes) if self.codec == Codec::Raw => bytes == self.payload_bytes,
            Some(bytes) => self.payload_bytes < bytes || !self.codec.is_exact(),
            None => self.layout == BlockLayout::OPAQUE && self.codec.is_exact(),
        };
        let error_agrees =
            !self.codec.is_exact() || self.codec == Codec::Raw || self.error_max == 0.0;
        bytes_agree && error_agrees && self.payload_bytes > 0 && is_error_bound(self.error_max)
    }

    /// The header's bytes.
    ///
    /// # Shape
    /// `version, codec, 2 zero, layout 8, tokens LE32, error_max LE f32, 4 zero, payload_bytes LE64, checksum LE64`.
    pub fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        let fields: [(usize, &[u8]); 7] = [
            (0, &[HEADER_VERSION, self.codec.code()]),
            (4, &self.layout.encode()),
            (12, &self.tokens.to_le_bytes()),
            (16, &self.error_max.to_bits().to_le_bytes()),
            (20, &[0; 4]),
            (24, &self.payload_bytes.to_le_bytes()),
            (32, &self.checksum.to_le_bytes()),
        ];
        for (at, field) in fields {
            if let Some(place) = bytes.get_mut(at..at + field.len()) {
                place.copy_from_slice(field);
            }
        }
        bytes
    }

    /// The header that `bytes` hold.
    ///
    /// # Errors
    /// [`HeaderError`] for anything [`BlockHeader::encode`] cannot have written; the block is then to be treated as a miss.
    pub fn decode(bytes: &[u8]) -> Result<Self, HeaderError> {
        let bytes: &[u8; HEADER_BYTES] = bytes
            .try_into()
            .map_err(|_| HeaderError::Length { bytes: bytes.len() })?;
        let [version, codec, zero0, zero1, ..] = *bytes;
        if version != HEADER_VERSION {
            return Err(HeaderError::Version { version });
        }
        if [zero0, zero1] != [0; 2] || field::<4>(bytes, 20) != [0; 4] {
            return Err(HeaderError::Reserved);
        }
        let error_max = f32::from_bits(u32::from_le_bytes(field(bytes, 16)));
        if !is_error_bound(error_max) {
            return Err(HeaderError::ErrorBound);
        }
        Ok(Self {
            layout: BlockLayout::decode(field(bytes, 4)).ok_or(HeaderError::Layout)?,
            tokens: u32::from_le_bytes(field(bytes, 12)),
            codec: Codec::from_code(codec).ok_or(HeaderError::Codec { codec })?,
            error_max,
            payload_bytes: u64::from_le_bytes(field(bytes, 24)),
            checksum: u64::from_le_bytes(field(bytes, 32)),
        })
    }

    fn checksum_of(&self, key: &BlockKey, payload: &[u8]) -> u64 {
        // The seed alone would tell keys apart; hashing the whole key as well keeps that true for keys that share the
        // eight bytes of the seed.
        let mut hash = Xxh3::with_seed(u64::from_le_bytes(field(key.as_bytes(), 16)));
        hash.update(key.as_bytes());
        hash.update(&field::<HEADER_COVERED_BYTES>(&self.encode(), 0));
        hash.update(payload);
        hash.digest()
    }
}

/// A bound is a finite number that is not negative; `-0.0` is refused so that equal headers have equal bytes.
fn is_error_bound(bound: f32) -> bool {
    bound.is_finite() && bound.is_sign_positive()
}

/// `N` bytes at `at`, zeros where `bytes` is too short (never, for the constants above).
fn field<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut out = [0; N];
    if let Some(found) = bytes.get(at..at + N) {
        out.copy_from_slice(found);
    }
    out
}

/// Why bytes are not a header.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum HeaderError {
    /// Not the fixed length.
    #[error("a block header has {HEADER_BYTES} bytes, not {bytes}")]
    Length {
        /// Length given.
        bytes: usize,
    },
    /// Written by another version of the format.
    #[error("block header version {version} is not known")]
    Version {
        /// Version found.
        version: u8,
    },
    /// Unknown codec.
    #[error("block codec {codec} is not known")]
    Codec {
        /// Code found.
        codec: u8,
    },
    /// Unknown kind or element type.
    #[error("the block's kind or element type is not known")]
    Layout,
    /// Bytes that must be zero are not.
    #[error("reserved bytes of the block header are not zero")]
    Reserved,
    /// The error bound is negative, infinite or not a number.
    #[error("the block's error bound is not a finite number from zero")]
    ErrorBound,
}

impl HeaderError {
    /// A stable code for logs and answers.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Length { .. } => "header_length",
            Self::Version { .. } => "header_version",
            Self::Codec { .. } => "header_codec",
            Self::Layout => "header_layout",
            Self::Reserved => "header_reserved",
            Self::ErrorBound => "header_error_bound",
        }
    }

    /// What to do about it.
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::Version { .. } | Self::Codec { .. } | Self::Layout => {
                "a newer version wrote this block; let it be recomputed, or upgrade this node"
            }
            Self::Length { .. } | Self::Reserved | Self::ErrorBound => {
                "the bytes are damaged or are no block header; treat the block as a miss"
            }
        }
    }
}

#[cfg(test)]
mod tests;
