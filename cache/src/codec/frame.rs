//! Responsible for the head of an encoded payload: what it decodes to, and where each layer's body lies. It must never know
//! how a body is encoded.
//!
//! ```text
//!   header 40 bytes │ layer row 20 bytes × layers │ body of layer 0 │ body of layer 1 │ …
//! ```
//! A raw payload has no frame. Bodies follow one another without gaps, so a reader that has the head and the first bodies
//! decodes the first layers.

use std::ops::Range;

use thiserror::Error;
use xxhash_rust::xxh3::xxh3_64;

use super::Codec;
use super::shape::{Shape, TENSOR_BYTES_MAX};
use crate::layout::{BlockKind, BlockLayout};

/// Bytes of a frame's header.
pub const FRAME_HEADER_BYTES: usize = 40;

/// Bytes of one row of the table of layers.
pub const LAYER_ROW_BYTES: usize = 20;

/// Bytes of the header that its checksum covers, besides the rows.
const COVERED_BYTES: usize = 32;

/// First byte of every frame.
const FRAME_VERSION: u8 = 1;

/// How the numbers of a key's tile share scales.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScaleLayout {
    /// No scales: an exact rung.
    None,
    /// One scale a channel, over the tokens of a segment.
    Channel,
    /// Centred by channel, one scale a token: small blocks, and rungs that scale by token.
    Token,
}

impl ScaleLayout {
    const fn code(self) -> u8 {
        match self {
            Self::None => 0,
            Self::Channel => 1,
            Self::Token => 2,
        }
    }

    const fn from_code(code: u8) -> Option<Self> {
        match code {
            0 => Some(Self::None),
            1 => Some(Self::Channel),
            2 => Some(Self::Token),
            _ => None,
        }
    }

    /// The one that a codec uses for a shape.
    pub(super) const fn of(codec: Codec, shape: &Shape) -> Self {
        match codec {
            Codec::Raw | Codec::Exponent | Codec::Planes => Self::None,
            Codec::Int8 | Codec::Int4 if shape.first.by_channel() => Self::Channel,
            Codec::Entropy | Codec::Archive => Self::Channel,
            Codec::Int8 | Codec::Int4 | Codec::Fp8 => Self::Token,
        }
    }
}

/// One layer's row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct LayerRow {
    /// Where its body ends, counted from the end of the table.
    end: usize,
    /// XXH3-64 of the body.
    body_sum: u64,
    /// XXH3-64 of what it decodes to; 0 for lossy rungs.
    plain_sum: u64,
}

/// What an encoded payload says of itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Frame {
    /// Encoding of the bodies; never raw.
    pub codec: Codec,
    /// Shape of what it decodes to.
    pub layout: BlockLayout,
    /// Tokens of the block.
    pub tokens: u32,
    /// Leading tokens that are kept as they came.
    pub exact_tokens: u16,
    /// How keys share scales.
    pub scales: ScaleLayout,
    /// How many lossy encodings these numbers went through, this one included; 0 for exact numbers.
    pub generation: u8,
    /// Guaranteed bound of the absolute error of any element, earlier encodings included.
    pub error_max: f32,
    /// Bytes of the decoded payload.
    pub plain_bytes: u64,
    rows: Vec<LayerRow>,
}

impl Frame {
    /// The frame at the start of `bytes`, which must hold the header and all rows; bodies may still be missing.
    ///
    /// # Errors
    /// [`FrameError`] when the bytes are no such head. The block is then to be treated as a miss.
    pub fn parse(bytes: &[u8]) -> Result<Self, FrameError> {
        let (header, rest) = bytes
            .split_first_chunk::<FRAME_HEADER_BYTES>()
            .ok_or(FrameError::Short)?;
        let mut frame = Self::parse_header(header)?;
        let layers = frame.layers();
        let table = rest
            .get(..layers * LAYER_ROW_BYTES)
            .ok_or(FrameError::Short)?;
        if sum_of(header, table).to_le_bytes() != field(header, COVERED_BYTES) {
            return Err(FrameError::Checksum);
        }
        frame.rows.reserve_exact(layers);
        let mut end = 0_usize;
        for row in table.as_chunks::<LAYER_ROW_BYTES>().0 {
            let length = usize::try_from(u32::from_le_bytes(field(row, 0)));
            end = length
                .ok()
                .and_then(|length| end.checked_add(length))
                .ok_or(FrameError::Table)?;
            frame.rows.push(LayerRow {
                end,
                body_sum: u64::from_le_bytes(field(row, 4)),
                plain_sum: u64::from_le_bytes(field(row, 12)),
            });
        }
        Ok(frame)
    }

    fn parse_header(header: &[u8; FRAME_HEADER_BYTES]) -> Result<Self, FrameError> {
        let [version, codec, scales, generation, ..] = *header;
        if version != FRAME_VERSION {
            return Err(FrameError::Version { version });
        }
        let codec = Codec::from_code(codec)
            .filter(|codec| *codec != Codec::Raw)
            .ok_or(FrameError::Codec { codec })?;
        let layout = BlockLayout::decode(field(header, 4)).ok_or(FrameError::Layout)?;
        let tokens = u32::from_le_bytes(field(header, 12));
        let plain_bytes = u64::from_le_bytes(field(header, 24));
        let agrees = match layout.payload_bytes(tokens) {
            Some(bytes) => bytes == plain_bytes && bytes > 0,
            None => {
                layout == BlockLayout::OPAQUE
                    && codec == Codec::Planes
                    && usize::try_from(plain_bytes).is_ok_and(|bytes| bytes <= TENSOR_BYTES_MAX)
            }
        };
        let error_max = f32::from_bits(u32::from_le_bytes(field(header, 20)));
        let bounded = error_max.is_finite() && error_max.is_sign_positive();
        let exact_agrees = (generation == 0) == codec.is_exact();
        if !agrees || !bounded || !exact_agrees || field::<2>(header, 18) != [0; 2] {
            return Err(FrameError::Header);
        }
        Ok(Self {
            codec,
            layout,
            tokens,
            exact_tokens: u16::from_le_bytes(field(header, 16)),
            scales: ScaleLayout::from_code(scales).ok_or(FrameError::Header)?,
            generation,
            error_max,
            plain_bytes,
            rows: Vec::new(),
        })
    }

    /// Writes header and table to the front of the payload `out`.
    ///
    /// # Shape
    /// `version, codec, scales, generation, layout 8, tokens LE32, exact_tokens LE16, 2 zero, error_max LE f32, plain_bytes LE64,
    /// checksum LE64`, then a row a layer: `body_bytes LE32, body checksum LE64, decoded checksum LE64`.
    pub(super) fn write(&self, out: &mut [u8]) {
        let head = out.get_mut(..self.head_bytes()).unwrap_or_default();
        let Some((header, table)) = head.split_first_chunk_mut::<FRAME_HEADER_BYTES>() else {
            return;
        };
        let mut begin = 0;
        for (row, place) in self
            .rows
            .iter()
            .zip(table.as_chunks_mut::<LAYER_ROW_BYTES>().0)
        {
            let length = u32::try_from(row.end - begin).unwrap_or(u32::MAX);
            begin = row.end;
            put(place, 0, &length.to_le_bytes());
            put(place, 4, &row.body_sum.to_le_bytes());
            put(place, 12, &row.plain_sum.to_le_bytes());
        }
        *header = [0; FRAME_HEADER_BYTES];
        let start = [
            FRAME_VERSION,
            self.codec.code(),
            self.scales.code(),
            self.generation,
        ];
        put(header, 0, &start);
        put(header, 4, &self.layout.encode());
        put(header, 12, &self.tokens.to_le_bytes());
        put(header, 16, &self.exact_tokens.to_le_bytes());
        put(header, 20, &self.error_max.to_bits().to_le_bytes());
        put(header, 24, &self.plain_bytes.to_le_bytes());
        let sum = sum_of(header, table);
        put(header, COVERED_BYTES, &sum.to_le_bytes());
    }

    /// A frame whose rows are still to be pushed.
    pub(super) fn begin(codec: Codec, layout: BlockLayout, tokens: u32, plain_bytes: u64) -> Self {
        Self {
            codec,
            layout,
            tokens,
            exact_tokens: 0,
            scales: ScaleLayout::None,
            generation: 0,
            error_max: 0.0,
            plain_bytes,
            rows: Vec::new(),
        }
    }

    /// Adds the next layer's row; its body ends where the payload ends so far.
    pub(super) fn push(&mut self, body: &[u8], plain: Option<&[u8]>) {
        let begin = self.rows.last().map_or(0, |row| row.end);
        self.rows.push(LayerRow {
            end: begin + body.len(),
            body_sum: xxh3_64(body),
            plain_sum: plain.map_or(0, xxh3_64),
        });
    }

    /// Bodies in the payload: layers, or one for opaque bytes.
    pub fn layers(&self) -> usize {
        match self.layout.kind {
            BlockKind::Opaque => 1,
            BlockKind::Kv | BlockKind::Latent => usize::from(self.layout.layers),
        }
    }

    /// Bytes of header and table: where the first body begins.
    pub fn head_bytes(&self) -> usize {
        FRAME_HEADER_BYTES + self.layers() * LAYER_ROW_BYTES
    }

    /// Bytes of the whole payload.
    pub fn payload_bytes(&self) -> usize {
        self.head_bytes() + self.rows.last().map_or(0, |row| row.end)
    }

    /// Where in the payload a layer's body lies.
    pub fn body(&self, layer: usize) -> Option<Range<usize>> {
        let row = self.rows.get(layer)?;
        let begin = match layer.checked_sub(1) {
            Some(before) => self.rows.get(before)?.end,
            None => 0,
        };
        Some(self.head_bytes() + begin..self.head_bytes() + row.end)
    }

    /// Where in the decoded payload a layer lies.
    pub fn plain(&self, layer: usize) -> Option<Range<usize>> {
        let bytes = usize::try_from(self.plain_bytes).ok()?;
        let each = bytes / self.layers();
        (layer < self.layers()).then(|| layer * each..(layer + 1) * each)
    }

    /// Whether `body` is the body of this layer as it was written.
    pub fn verify_body(&self, layer: usize, body: &[u8]) -> bool {
        self.rows
            .get(layer)
            .is_some_and(|row| row.body_sum == xxh3_64(body))
    }

    /// Whether `plain` is what an exact rung was given for this layer; false for lossy rungs, which cannot say.
    pub fn verify_plain(&self, layer: usize, plain: &[u8]) -> bool {
        let row = self.rows.get(layer);
        self.codec.is_exact() && row.is_some_and(|row| row.plain_sum == xxh3_64(plain))
    }

    /// The shape of the decoded payload; `None` for opaque bytes.
    pub(super) fn shape(&self) -> Option<Shape> {
        Shape::of(&self.layout, self.tokens, self.exact_tokens)
    }
}

fn sum_of(header: &[u8; FRAME_HEADER_BYTES], table: &[u8]) -> u64 {
    let (covered, _) = header.split_at(COVERED_BYTES);
    xxh3_64(table) ^ xxh3_64(covered)
}

/// `N` bytes at `at`, zeros where `bytes` is too short (never, for the constants above).
fn field<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let found = bytes.get(at..).and_then(<[u8]>::first_chunk);
    found.copied().unwrap_or([0; N])
}

fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    if let Some(place) = bytes.get_mut(at..at + value.len()) {
        place.copy_from_slice(value);
    }
}

/// Why bytes are not the head of an encoded payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum FrameError {
    /// The bytes end before the table does.
    #[error("the encoded payload ends within its head")]
    Short,
    /// Written by another version of the format.
    #[error("frame version {version} is not known")]
    Version {
        /// Version found.
        version: u8,
    },
    /// Unknown codec, or raw, which has no frame.
    #[error("codec {codec} has no frame here")]
    Codec {
        /// Code found.
        codec: u8,
    },
    /// Unknown kind or element type.
    #[error("the frame's layout is not known")]
    Layout,
    /// Fields that contradict each other.
    #[error("the frame's header contradicts itself")]
    Header,
    /// The table's lengths overflow.
    #[error("the frame's table of layers is not possible")]
    Table,
    /// Header or table are damaged.
    #[error("the frame's checksum does not hold")]
    Checksum,
}

impl FrameError {
    /// A stable code for logs and answers.
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Short => "frame_short",
            Self::Version { .. } => "frame_version",
            Self::Codec { .. } => "frame_codec",
            Self::Layout => "frame_layout",
            Self::Header => "frame_header",
            Self::Table => "frame_table",
            Self::Checksum => "frame_checksum",
        }
    }

    /// What to do about it.
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::Version { .. } | Self::Codec { .. } | Self::Layout => {
                "a newer version wrote this payload; let it be recomputed, or upgrade this node"
            }
            Self::Short | Self::Header | Self::Table | Self::Checksum => {
                "the bytes are damaged or are no encoded payload; treat the block as a miss"
            }
        }
    }
}
