//! One block made smaller, or numbers again: the arithmetic, with the buffers it keeps from block to block. It must never wait,
//! nor know whose block it is.

use bytes::Bytes;
use ultrakv_cache::codec::{
    Chooser, DecodeError, Decoder, EncodeError, Encoded, Encoder, Evidence, Frame, FrameError,
    RawBlock,
};
use ultrakv_cache::{BlockHeader, BlockKey, BlockKind, Codec};

use super::encoding::{Encoding, Quality};
use crate::handle::BlockPut;
use crate::shard::LeasedBlock;

/// Leading tokens of a sequence that a lossy rung keeps as they are: attention leans on them.
///
/// # Source
/// Attention sinks (StreamingLLM, arXiv 2309.17453); kept exact by KVQuant (2401.18079).
const SINK_TOKENS: u16 = 4;

/// The dearer of the two exact rungs must save this share over the cheaper one, in percent: it takes three times as long to decode.
const PLANES_SAVE_PERCENT_MIN: usize = 5;

/// Why a block is stored as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reason {
    /// Exactness was asked for.
    Exact,
    /// No query of ordinary length can see more error than is accepted.
    Bound,
    /// Probes and a margin see no more error than is accepted.
    Promise,
    /// A contract would accept an error, but no lossy rung keeps it, or none suits the block: kept exactly.
    Contract,
    /// It takes as many pages encoded as raw.
    Pages,
    /// Every coder was busy for too long: kept raw.
    Busy,
    /// It cannot be encoded: as it came.
    Unfit,
}

impl Reason {
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Exact => "exact",
            Self::Bound => "bound",
            Self::Promise => "promise",
            Self::Contract => "contract",
            Self::Pages => "pages",
            Self::Busy => "busy",
            Self::Unfit => "unfit",
        }
    }
}

/// What is wanted of a block.
#[derive(Clone, Copy, Debug)]
pub(super) struct Wish {
    pub(super) encoding: Encoding,
    /// Where to begin on the ladder, when something is known of blocks like it.
    pub(super) begin: Option<Codec>,
    pub(super) page_bytes: u64,
}

/// What became of a block.
#[derive(Debug)]
pub(super) struct Coded {
    pub(super) put: BlockPut,
    pub(super) reason: Reason,
    /// The rung that the ladder ended at, whether or not it saved a page.
    pub(super) taken: Option<Codec>,
}

impl Coded {
    pub(super) const fn as_it_came(put: BlockPut, reason: Reason) -> Self {
        Self {
            put,
            reason,
            taken: None,
        }
    }
}

/// Why a stored payload gives no numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Unreadable {
    /// The bytes are not those that were stored under this key.
    #[error("the stored bytes are not those of the key")]
    Checksum,
    /// Header and frame say different things.
    #[error("the block's header and its frame disagree")]
    Disagree,
    /// No frame.
    #[error(transparent)]
    Frame(#[from] FrameError),
    /// Damaged.
    #[error(transparent)]
    Decode(#[from] DecodeError),
}

impl Unreadable {
    pub(super) const fn code(&self) -> &'static str {
        match self {
            Self::Checksum => "block_checksum",
            Self::Disagree => "block_disagrees",
            Self::Frame(error) => error.code(),
            Self::Decode(error) => error.code(),
        }
    }
}

/// Encodes and decodes, one block at a time.
#[derive(Default)]
pub(super) struct Worker {
    chooser: Chooser,
    encoder: Encoder,
    decoder: Decoder,
    coded: Vec<u8>,
    cheaper: Vec<u8>,
}

impl Worker {
    /// The smallest payload that the wish allows, or the block as it came.
    pub(super) fn encode(&mut self, wish: &Wish, put: BlockPut) -> Coded {
        // A payload that is not what its header says must not get a header that it does agree with.
        if !put.header.verify(&put.address.key, &put.payload) {
            return Coded::as_it_came(put, Reason::Unfit);
        }
        let chosen = match wish.encoding {
            Encoding::Raw => return Coded::as_it_came(put, Reason::Exact),
            Encoding::Exact { coarsest } => self.exact(wish, coarsest, &put),
            Encoding::Lossy(quality) => self.lossy(wish, quality, &put),
        };
        let (encoded, reason) = match chosen {
            Ok(chosen) => chosen,
            Err(error) => {
                tracing::debug!(%error, "a block is stored as it came");
                return Coded::as_it_came(put, Reason::Unfit);
            }
        };
        let pages = |bytes: usize| {
            u64::try_from(bytes)
                .unwrap_or(u64::MAX)
                .div_ceil(wish.page_bytes.max(1))
        };
        let taken = Some(encoded.codec);
        if encoded.codec == Codec::Raw || pages(self.coded.len()) >= pages(put.payload.len()) {
            return Coded {
                taken,
                ..Coded::as_it_came(put, Reason::Pages)
            };
        }
        let BlockHeader { layout, tokens, .. } = put.header;
        let key = &put.address.key;
        let header = BlockHeader::seal_encoded(layout, tokens, &encoded, key, &self.coded);
        if !header.is_consistent() {
            return Coded::as_it_came(put, Reason::Unfit);
        }
        let put = BlockPut {
            header,
            payload: Bytes::copy_from_slice(&self.coded),
            ..put
        };
        Coded { put, reason, taken }
    }

    fn exact(
        &mut self,
        wish: &Wish,
        coarsest: Codec,
        put: &BlockPut,
    ) -> Result<(Encoded, Reason), EncodeError> {
        let block = RawBlock::new(put.header.layout, put.header.tokens, &put.payload);
        let only = match (put.header.layout.kind, coarsest) {
            (BlockKind::Opaque, _) => Some(Codec::Planes),
            (_, Codec::Exponent) => Some(Codec::Exponent),
            _ => wish.begin,
        };
        // Raw where blocks like it did not become smaller: until the next look.
        if let Some(codec) = only.filter(|codec| codec.is_exact()) {
            let encoded = self.encoder.encode(codec, &block, &mut self.coded)?;
            return Ok((encoded, Reason::Exact));
        }
        let cheaper = self
            .encoder
            .encode(Codec::Exponent, &block, &mut self.cheaper)?;
        let dearer = self
            .encoder
            .encode(Codec::Planes, &block, &mut self.coded)?;
        let worth = self.cheaper.len() * (100 - PLANES_SAVE_PERCENT_MIN) / 100;
        if self.coded.len() <= worth {
            return Ok((dearer, Reason::Exact));
        }
        std::mem::swap(&mut self.coded, &mut self.cheaper);
        Ok((cheaper, Reason::Exact))
    }

    fn lossy(
        &mut self,
        wish: &Wish,
        quality: Quality,
        put: &BlockPut,
    ) -> Result<(Encoded, Reason), EncodeError> {
        let mut contract = quality.contract();
        if let Some(begin) = wish.begin {
            contract.coarsest = begin.min(quality.coarsest);
        }
        let is_first = put.parent.is_none() && put.header.layout.kind != BlockKind::Opaque;
        let block = RawBlock {
            exact_tokens: if is_first { SINK_TOKENS } else { 0 },
            ..RawBlock::new(put.header.layout, put.header.tokens, &put.payload)
        };
        // Seeded by the key, so that the same block gets the same probes everywhere.
        let [a, b, c, d, e, f, g, h, ..] = *put.address.key.as_bytes();
        let seed = u64::from_le_bytes([a, b, c, d, e, f, g, h]);
        let (encoded, evidence) = self
            .chooser
            .choose(&block, &contract, seed, &mut self.coded)?;
        let Evidence { bound, .. } = evidence;
        let reason = match encoded.codec.is_exact() {
            true => Reason::Contract,
            false if bound <= contract.output_error_max => Reason::Bound,
            false => Reason::Promise,
        };
        Ok((encoded, reason))
    }

    /// The numbers of an encoded block, with a header that names them exactly as they are.
    pub(super) fn decode(
        &mut self,
        key: &BlockKey,
        block: &LeasedBlock,
    ) -> Result<(BlockHeader, Vec<u8>), Unreadable> {
        let header = &block.header;
        if !header.verify(key, &block.payload) {
            return Err(Unreadable::Checksum);
        }
        let frame = Frame::parse(&block.payload)?;
        let told = (frame.codec, frame.layout, frame.tokens, frame.error_max);
        if told != (header.codec, header.layout, header.tokens, header.error_max) {
            return Err(Unreadable::Disagree);
        }
        let bytes = usize::try_from(frame.plain_bytes).map_err(|_| DecodeError::Output)?;
        let mut plain = vec![0; bytes];
        self.decoder.decode(&frame, &block.payload, &mut plain)?;
        let header = BlockHeader::seal_decoded(header, key, &plain);
        Ok((header, plain))
    }
}
