//! Responsible for the bytes that describe one stored block: the block table. It must never know the forest's links nor
//! the policy's order, which are in tables of their own under the same number.

use std::collections::BTreeMap;
use std::sync::Arc;

use crate::arena::{Extents, PageRange};
use crate::block::BlockHeader;
use crate::codec::Codec;
use crate::event::Pin;
use crate::forest::BlockId;
use crate::layout::{BlockKind, BlockLayout, Dtype};
use crate::slab::Slab;
use crate::time::Now;

/// Blocks longer than this are refused; 1 TiB, so that five bytes hold a length.
pub(crate) const PAYLOAD_BYTES_MAX: u64 = (1 << 40) - 1;

/// The first instant that a record cannot tell from never: 34 years of milliseconds.
pub(crate) const NEVER: Now = Now(PAYLOAD_BYTES_MAX);

/// Leases one block can have at a time; more are refused as if the block were absent.
pub(crate) const LEASES_A_BLOCK_MAX: u16 = u16::MAX;

/// A stored block, 44 bytes.
#[derive(Clone, Copy, Default)]
pub(crate) struct Record {
    checksum: [u32; 2],
    first: u32,
    tokens: u32,
    error_max: u32,
    payload_bytes: U40,
    expires: U40,
    /// Slot of the head of its run: known also when the blocks between are gone.
    pub(crate) slot: u16,
    /// Slot of the arena in the shard's table.
    pub(crate) arena: u16,
    /// Leases on it.
    pub(crate) leases: u16,
    layers: u16,
    kv_heads: u16,
    head_size: u16,
    shape: u8,
    state: u8,
}

const _: () = assert!(size_of::<Record>() == 44);

const STATE_PIN: u8 = 3;
const STATE_STORED: u8 = 4;
const STATE_MANY: u8 = 8;
const STATE_HEAD: u8 = 16;

/// What a new record is made of.
pub(crate) struct NewRecord<'a> {
    pub(crate) header: &'a BlockHeader,
    pub(crate) extents: &'a Extents,
    pub(crate) arena: u16,
    pub(crate) pin: Pin,
    pub(crate) expires: Option<Now>,
    /// Slot of the head of its run.
    pub(crate) slot: u16,
    /// Whether it is the first of its run.
    pub(crate) is_head: bool,
}

impl Record {
    pub(crate) fn header(&self) -> BlockHeader {
        let [low, high] = self.checksum;
        BlockHeader {
            layout: BlockLayout {
                kind: BlockKind::from_code(self.shape & 3).unwrap_or(BlockKind::Opaque),
                dtype: Dtype::from_code(self.shape >> 2 & 7).unwrap_or(Dtype::F32),
                layers: self.layers,
                kv_heads: self.kv_heads,
                head_size: self.head_size,
            },
            tokens: self.tokens,
            codec: Codec::from_code(self.shape >> 5).unwrap_or(Codec::Raw),
            error_max: f32::from_bits(self.error_max),
            payload_bytes: self.payload_bytes.get(),
            checksum: u64::from(high) << 32 | u64::from(low),
        }
    }

    /// Whether a block is stored here at all.
    pub(crate) const fn is_stored(&self) -> bool {
        self.state & STATE_STORED != 0
    }

    pub(crate) const fn tokens(&self) -> u32 {
        self.tokens
    }

    /// Whether it is the first of its run.
    pub(crate) const fn is_head(&self) -> bool {
        self.state & STATE_HEAD != 0
    }

    /// First page of the payload: with the arena, the name of the holding.
    pub(crate) const fn first(&self) -> u32 {
        self.first
    }

    pub(crate) const fn pin(&self) -> Pin {
        match self.state & STATE_PIN {
            1 => Pin::Soft,
            2 => Pin::Hard,
            _ => Pin::None,
        }
    }

    pub(crate) const fn set_pin(&mut self, pin: Pin) {
        let bits = match pin {
            Pin::None => 0,
            Pin::Soft => 1,
            Pin::Hard => 2,
        };
        self.state = self.state & !STATE_PIN | bits;
    }

    /// When the block is gone, [`Now`]`(u64::MAX)` for never.
    pub(crate) fn expires(&self) -> Now {
        match self.expires.get() {
            PAYLOAD_BYTES_MAX => Now(u64::MAX),
            ms => Now(ms),
        }
    }
}

// A code that does not fit its bits would be read back as another.
const _: () =
    assert!(BlockKind::Opaque.code() <= 3 && Dtype::Bf16.code() <= 7 && Codec::Archive.code() <= 7);

/// 40 bits with an alignment of one byte.
#[derive(Clone, Copy, Default)]
struct U40([u8; 5]);

impl U40 {
    fn new(value: u64) -> Self {
        let [a, b, c, d, e, ..] = value.min(PAYLOAD_BYTES_MAX).to_le_bytes();
        Self([a, b, c, d, e])
    }

    fn get(self) -> u64 {
        let [a, b, c, d, e] = self.0;
        u64::from_le_bytes([a, b, c, d, e, 0, 0, 0])
    }
}

/// All stored blocks by number, and the extents of the few that lie in several pieces.
#[derive(Debug, Default)]
pub(crate) struct BlockTable {
    pub(crate) records: Slab<Record>,
    many: BTreeMap<u32, Arc<[PageRange]>>,
}

impl BlockTable {
    pub(crate) fn put(&mut self, id: BlockId, new: &NewRecord<'_>) {
        let header = new.header;
        let layout = &header.layout;
        let [a, b, c, d, e, f, g, h] = header.checksum.to_le_bytes();
        let mut record = Record {
            checksum: [
                u32::from_le_bytes([a, b, c, d]),
                u32::from_le_bytes([e, f, g, h]),
            ],
            first: new.extents.first(),
            tokens: header.tokens,
            error_max: header.error_max.to_bits(),
            payload_bytes: U40::new(header.payload_bytes),
            expires: U40::new(new.expires.map_or(u64::MAX, |Now(ms)| ms)),
            slot: new.slot,
            arena: new.arena,
            leases: 0,
            layers: layout.layers,
            kv_heads: layout.kv_heads,
            head_size: layout.head_size,
            shape: layout.kind.code() | layout.dtype.code() << 2 | header.codec.code() << 5,
            state: STATE_STORED,
        };
        record.set_pin(new.pin);
        if new.is_head {
            record.state |= STATE_HEAD;
        }
        if let Extents::Many(ranges) = new.extents {
            record.state |= STATE_MANY;
            self.many.insert(id.0, Arc::clone(ranges));
        }
        self.records.reach(id.0);
        self.records[id.0] = record;
    }

    /// Where the block lies. `page_bytes` must be the one it was stored with.
    pub(crate) fn extents(&self, id: BlockId, page_bytes: u32) -> Extents {
        let record = &self.records[id.0];
        if record.state & STATE_MANY != 0
            && let Some(ranges) = self.many.get(&id.0)
        {
            return Extents::Many(Arc::clone(ranges));
        }
        let pages = record.payload_bytes.get().div_ceil(u64::from(page_bytes));
        Extents::One(PageRange {
            first: record.first,
            pages: u32::try_from(pages).unwrap_or(u32::MAX),
        })
    }

    pub(crate) fn clear(&mut self, id: BlockId) {
        if self.records[id.0].state & STATE_MANY != 0 {
            self.many.remove(&id.0);
        }
        self.records[id.0] = Record::default();
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::key::BlockKey;

    proptest! {
        #[test]
        fn gives_back_the_header_pin_expiry_and_extents_it_took(
            kind in 1..=3_u8, dtype in 1..=3_u8, dims in any::<[u16; 3]>(), tokens in any::<u32>(),
            error in 0.0..1e9_f32, length in 1..=PAYLOAD_BYTES_MAX, checksum in any::<u64>(), ttl in any::<Option<u32>>(),
            many in any::<bool>(), is_head in any::<bool>(), slot in any::<u16>(),
        ) {
            let layout = BlockLayout {
                kind: BlockKind::from_code(kind).unwrap(), dtype: Dtype::from_code(dtype).unwrap(),
                layers: dims[0], kv_heads: dims[1], head_size: dims[2],
            };
            let mut header = BlockHeader::seal(layout, tokens, &BlockKey::from_bytes([0; 32]), &[]);
            (header.error_max, header.payload_bytes, header.checksum) = (error, length, checksum);
            let pages = u32::try_from(length.div_ceil(4096)).unwrap();
            let extents = if many {
                Extents::Many([PageRange { first: 9, pages: 1 }, PageRange { first: 20, pages }].into())
            } else {
                Extents::One(PageRange { first: 7, pages })
            };
            let mut table = BlockTable::default();
            for pin in [Pin::None, Pin::Soft, Pin::Hard] {
                let expires = ttl.map(|ms| Now(u64::from(ms)));
                table.put(BlockId(5), &NewRecord { header: &header, extents: &extents, arena: 3, pin, expires, slot, is_head });
                let record = table.records[5];
                prop_assert_eq!(record.header(), header);
                prop_assert_eq!((record.pin(), record.arena, record.first()), (pin, 3, extents.first()));
                prop_assert_eq!((record.is_head(), record.slot), (is_head, slot));
                prop_assert_eq!(record.expires(), expires.unwrap_or(Now(u64::MAX)));
                prop_assert_eq!(table.extents(BlockId(5), 4096), extents.clone());
            }
            table.clear(BlockId(5));
            prop_assert!(!table.records[5].is_stored());
        }
    }
}
