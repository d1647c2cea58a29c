//! Responsible for what the numbers in a block's payload are: element type, kind of tensor, dimensions and their order.
//! It must never know keys, storage, or who computed the numbers.

use std::fmt;

/// Version of the order in which a payload is laid out. Part of every chained key: a new order is a new key space.
pub const LAYOUT_VERSION: u8 = 1;

/// Element type of a payload, little-endian.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Dtype {
    /// IEEE 754 binary32.
    F32 = 1,
    /// IEEE 754 binary16.
    F16 = 2,
    /// The upper half of a binary32.
    Bf16 = 3,
}

impl Dtype {
    /// Bytes of one element.
    pub const fn bytes(self) -> u64 {
        match self {
            Self::F32 => 4,
            Self::F16 | Self::Bf16 => 2,
        }
    }

    /// The number that stands for this type in headers and keys. Never reused, never changed.
    pub const fn code(self) -> u8 {
        match self {
            Self::F32 => 1,
            Self::F16 => 2,
            Self::Bf16 => 3,
        }
    }

    /// The type that `code` stands for.
    pub const fn from_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::F32),
            2 => Some(Self::F16),
            3 => Some(Self::Bf16),
            _ => None,
        }
    }
}

impl fmt::Display for Dtype {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::F32 => "f32",
            Self::F16 => "f16",
            Self::Bf16 => "bf16",
        })
    }
}

/// What kind of tensor a block holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum BlockKind {
    /// Attention keys and values, per layer and K/V head.
    Kv = 1,
    /// The compressed latent of multi-head latent attention (MLA): one tensor a layer, no K/V pair.
    Latent = 2,
    /// Bytes whose inside only the client knows.
    Opaque = 3,
}

impl BlockKind {
    /// The number that stands for this kind in headers and keys. Never reused, never changed.
    pub const fn code(self) -> u8 {
        match self {
            Self::Kv => 1,
            Self::Latent => 2,
            Self::Opaque => 3,
        }
    }

    /// The kind that `code` stands for.
    pub const fn from_code(code: u8) -> Option<Self> {
        match code {
            1 => Some(Self::Kv),
            2 => Some(Self::Latent),
            3 => Some(Self::Opaque),
            _ => None,
        }
    }
}

/// The shape of a block's payload.
///
/// # Shape
/// `Kv`: `[layers][K, V][kv_heads][tokens][head_size]`; `Latent`: `[layers][kv_heads][tokens][head_size]`; row-major,
/// little-endian. Layer-major, so that a transfer can feed a model layer by layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlockLayout {
    /// Kind of tensor.
    pub kind: BlockKind,
    /// Element type.
    pub dtype: Dtype,
    /// Decoder layers.
    pub layers: u16,
    /// K/V heads a layer (fewer than query heads under grouped-query attention).
    pub kv_heads: u16,
    /// Elements a head holds for one token.
    pub head_size: u16,
}

impl BlockLayout {
    /// The layout of opaque blocks: no dimensions, bytes as they come.
    pub const OPAQUE: Self = Self {
        kind: BlockKind::Opaque,
        dtype: Dtype::F32,
        layers: 0,
        kv_heads: 0,
        head_size: 0,
    };

    /// Bytes that `tokens` tokens take, or `None` when the layout does not say (opaque) or no machine could hold them.
    pub fn payload_bytes(&self, tokens: u32) -> Option<u64> {
        let tensors: u64 = match self.kind {
            BlockKind::Kv => 2,
            BlockKind::Latent => 1,
            BlockKind::Opaque => return None,
        };
        // layers × heads × size × tensors × bytes stays below 2^51; only the tokens can overflow.
        let token_bytes = u64::from(self.layers)
            * u64::from(self.kv_heads)
            * u64::from(self.head_size)
            * tensors
            * self.dtype.bytes();
        token_bytes.checked_mul(u64::from(tokens))
    }

    /// The eight bytes that stand for this layout in keys and headers.
    ///
    /// # Shape
    /// `kind, dtype, layers LE16, kv_heads LE16, head_size LE16`.
    pub fn encode(&self) -> [u8; 8] {
        let [l0, l1] = self.layers.to_le_bytes();
        let [h0, h1] = self.kv_heads.to_le_bytes();
        let [s0, s1] = self.head_size.to_le_bytes();
        [self.kind.code(), self.dtype.code(), l0, l1, h0, h1, s0, s1]
    }

    /// The layout that `bytes` stand for, or `None` for an unknown kind or element type.
    pub fn decode(bytes: [u8; 8]) -> Option<Self> {
        let [kind, dtype, l0, l1, h0, h1, s0, s1] = bytes;
        Some(Self {
            kind: BlockKind::from_code(kind)?,
            dtype: Dtype::from_code(dtype)?,
            layers: u16::from_le_bytes([l0, l1]),
            kv_heads: u16::from_le_bytes([h0, h1]),
            head_size: u16::from_le_bytes([s0, s1]),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_both_tensors_of_a_kv_block_and_one_of_a_latent() {
        let mut layout = BlockLayout {
            kind: BlockKind::Kv,
            dtype: Dtype::F16,
            layers: 32,
            kv_heads: 8,
            head_size: 128,
        };
        assert_eq!(layout.payload_bytes(64), Some(8 << 20));
        layout.kind = BlockKind::Latent;
        assert_eq!(layout.payload_bytes(64), Some(4 << 20));
        assert_eq!(BlockLayout::OPAQUE.payload_bytes(64), None);
    }

    #[test]
    fn answers_for_the_largest_dimensions_without_overflow() {
        let layout = BlockLayout {
            kind: BlockKind::Kv,
            dtype: Dtype::F32,
            layers: u16::MAX,
            kv_heads: u16::MAX,
            head_size: u16::MAX,
        };
        assert_eq!(layout.payload_bytes(u32::MAX), None);
        assert!(layout.payload_bytes(1).is_some());
    }

    #[test]
    fn decodes_what_it_encodes_and_nothing_unknown() {
        let layout = BlockLayout {
            kind: BlockKind::Latent,
            dtype: Dtype::Bf16,
            layers: 61,
            kv_heads: 1,
            head_size: 576,
        };
        assert_eq!(layout.encode(), [2, 3, 61, 0, 1, 0, 0x40, 2]);
        assert_eq!(BlockLayout::decode(layout.encode()), Some(layout));
        assert_eq!(BlockLayout::decode([0, 3, 0, 0, 0, 0, 0, 0]), None);
        assert_eq!(BlockLayout::decode([1, 9, 0, 0, 0, 0, 0, 0]), None);
    }
}
