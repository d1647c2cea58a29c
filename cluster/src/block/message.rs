//! What nodes ask one another about blocks, and its bytes: names, headers and outcomes packed, block bytes in the payload.
//! Reading is total: hostile bytes are an error. It must never know where a block lies.

use std::fmt;

use bytes::Bytes;
use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use ultrakv_actors::{BlockPut, BootId, DomainTag};
use ultrakv_cache::{BlockAddress, BlockHeader, BlockKey, HEADER_BYTES, Pin};

/// Blocks that one frame may name, whatever its sender wishes: with 150 bytes each a header stays under 256 KiB.
pub(super) const NAMES_MAX: usize = 1_024;
/// Bytes of a key and its run.
const PLACE_BYTES: usize = 64;
/// Bytes of a found block's description: state, header, time left.
const FOUND_BYTES: usize = 1 + HEADER_BYTES + 8;
/// Bytes of a brought block's description: key and run, whether there is a parent, it, header, pin, time left.
const BROUGHT_BYTES: usize = PLACE_BYTES + 1 + 32 + 4 + HEADER_BYTES + 1 + 8;

/// Bytes that MessagePack keeps together.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Packed(pub(super) Vec<u8>);

impl Serialize for Packed {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Packed {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Bytes;
        impl Visitor<'_> for Bytes {
            type Value = Vec<u8>;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("bytes")
            }

            fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Vec<u8>, E> {
                Ok(bytes.to_vec())
            }
        }
        deserializer.deserialize_bytes(Bytes).map(Self)
    }
}

/// Bytes that are not what they should be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a list of blocks cannot be read")]
pub(super) struct Unreadable;

/// Wants blocks.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct ReadAsk {
    /// Whose.
    pub(super) domain: DomainTag,
    /// Which.
    pub(super) places: Packed,
    /// Codecs that the reader takes.
    pub(super) codecs: Vec<u8>,
    /// Bytes of blocks that the answer may have, unless a single block is larger.
    pub(super) bytes_max: u64,
    /// Milliseconds that the reader waits.
    pub(super) within_ms: u32,
}

/// A life of one of the answerer's shards, and the last report that it had cut before the question.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct LifeMark {
    pub(super) boot: BootId,
    pub(super) sequence: u64,
}

/// What there was; the blocks' bytes are the payload, one after the other.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct ReadAnswer {
    /// For each block asked for, a description.
    pub(super) found: Packed,
    /// The lives that answer.
    pub(super) lives: Vec<LifeMark>,
}

/// What became of one block asked for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Found {
    /// It is not here.
    Absent,
    /// Its bytes are in the payload.
    Here(BlockHeader, Option<u64>),
    /// It is here, but this answer is full.
    Later,
    /// Nobody can say: the domain is not known, the codec not wanted, or the shard busy.
    Unsure,
}

/// Brings blocks; their bytes are the payload, one after the other.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct WriteAsk {
    /// Whose.
    pub(super) domain: DomainTag,
    /// Descriptions.
    pub(super) blocks: Packed,
    /// Whether to answer only when the directory's records are agreed on.
    pub(super) committed: bool,
    /// Milliseconds that the writer waits.
    pub(super) within_ms: u32,
}

/// For each block brought, or named, one [`Code`].
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct CodesAnswer {
    pub(super) codes: Packed,
}

/// What is to be done with blocks where they lie.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) enum Act {
    /// Drop them.
    Remove,
    /// Change their pins: 0 none, 1 soft, 2 hard.
    Pin(u8),
    /// Keep them for so many milliseconds.
    Lease(u32),
}

/// Has something done with blocks.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct ActAsk {
    /// Whose.
    pub(super) domain: DomainTag,
    /// What.
    pub(super) act: Act,
    /// Which.
    pub(super) places: Packed,
    /// Milliseconds that the asker waits.
    pub(super) within_ms: u32,
}

/// What became of one block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Code {
    /// It is not here.
    Absent,
    /// Done, stored.
    Done,
    /// It was stored already.
    Known,
    /// Not wanted now.
    NotAdmitted,
    /// Larger than the whole budget.
    TooLarge,
    /// Everything is in use.
    NoRoom,
    /// The quota of hard pins is full.
    PinQuota,
    /// Header and bytes disagree.
    Malformed,
    /// No answer of the shard; nobody knows.
    Unsure,
}

impl Code {
    const ALL: [Self; 9] = [
        Self::Absent,
        Self::Done,
        Self::Known,
        Self::NotAdmitted,
        Self::TooLarge,
        Self::NoRoom,
        Self::PinQuota,
        Self::Malformed,
        Self::Unsure,
    ];

    fn number(self) -> u8 {
        let place = Self::ALL.iter().position(|code| *code == self);
        place
            .and_then(|place| u8::try_from(place).ok())
            .unwrap_or(0)
    }

    pub(super) fn pack(codes: &[Self]) -> Packed {
        Packed(codes.iter().map(|code| code.number()).collect())
    }

    /// The codes of an answer about so many blocks.
    pub(super) fn unpack(packed: &Packed, count: usize) -> Result<Vec<Self>, Unreadable> {
        if packed.0.len() != count {
            return Err(Unreadable);
        }
        let codes = packed.0.iter();
        codes
            .map(|number| {
                Self::ALL
                    .get(usize::from(*number))
                    .copied()
                    .ok_or(Unreadable)
            })
            .collect()
    }
}

pub(super) fn pack_places<'a>(places: impl IntoIterator<Item = &'a BlockAddress>) -> Packed {
    let mut bytes = Vec::new();
    for place in places {
        bytes.extend_from_slice(place.key.as_bytes());
        bytes.extend_from_slice(place.run.as_bytes());
    }
    Packed(bytes)
}

pub(super) fn unpack_places(packed: &Packed) -> Result<Vec<BlockAddress>, Unreadable> {
    let (places, []) = packed.0.as_chunks::<PLACE_BYTES>() else {
        return Err(Unreadable);
    };
    if places.len() > NAMES_MAX {
        return Err(Unreadable);
    }
    places.iter().map(|place| Reader(place).address()).collect()
}

pub(super) fn pack_found(found: &[Found]) -> Packed {
    let mut bytes = Vec::with_capacity(found.len() * FOUND_BYTES);
    for found in found {
        let (state, header, ttl_ms) = match found {
            Found::Absent => (0, [0; HEADER_BYTES], None),
            Found::Here(header, ttl_ms) => (1, header.encode(), *ttl_ms),
            Found::Later => (2, [0; HEADER_BYTES], None),
            Found::Unsure => (3, [0; HEADER_BYTES], None),
        };
        bytes.push(state);
        bytes.extend_from_slice(&header);
        bytes.extend_from_slice(&ttl_ms.unwrap_or(u64::MAX).to_le_bytes());
    }
    Packed(bytes)
}

pub(super) fn unpack_found(packed: &Packed, count: usize) -> Result<Vec<Found>, Unreadable> {
    let (found, []) = packed.0.as_chunks::<FOUND_BYTES>() else {
        return Err(Unreadable);
    };
    if found.len() != count {
        return Err(Unreadable);
    }
    let read = |bytes: &[u8; FOUND_BYTES]| {
        let mut reader = Reader(bytes);
        match reader.byte()? {
            0 => Ok(Found::Absent),
            1 => Ok(Found::Here(reader.header()?, reader.ttl()?)),
            2 => Ok(Found::Later),
            3 => Ok(Found::Unsure),
            _ => Err(Unreadable),
        }
    };
    found.iter().map(read).collect()
}

pub(super) fn pack_brought<'a>(blocks: impl IntoIterator<Item = &'a BlockPut>) -> Packed {
    let mut bytes = Vec::new();
    for put in blocks {
        bytes.extend_from_slice(put.address.key.as_bytes());
        bytes.extend_from_slice(put.address.run.as_bytes());
        bytes.push(u8::from(put.parent.is_some()));
        let parent = put.parent.unwrap_or(BlockKey::from_bytes([0; 32]));
        bytes.extend_from_slice(parent.as_bytes());
        bytes.extend_from_slice(&put.depth.to_le_bytes());
        bytes.extend_from_slice(&put.header.encode());
        bytes.push(pin_number(put.pin));
        bytes.extend_from_slice(&put.ttl_ms.unwrap_or(u64::MAX).to_le_bytes());
    }
    Packed(bytes)
}

/// The blocks of a write, each with its part of the payload; an error when they do not use up the payload.
pub(super) fn unpack_brought(
    packed: &Packed,
    payload: &Bytes,
) -> Result<Vec<BlockPut>, Unreadable> {
    let (brought, []) = packed.0.as_chunks::<BROUGHT_BYTES>() else {
        return Err(Unreadable);
    };
    if brought.len() > NAMES_MAX {
        return Err(Unreadable);
    }
    let mut pieces = Pieces::new(payload);
    let mut blocks = Vec::with_capacity(brought.len());
    for bytes in brought {
        let mut reader = Reader(bytes);
        let address = reader.address()?;
        let has_parent = reader.byte()?;
        let parent = reader.key()?;
        let depth = reader.count()?;
        let header = reader.header()?;
        let pin = pin_of(reader.byte()?).ok_or(Unreadable)?;
        blocks.push(BlockPut {
            address,
            parent: (has_parent == 1).then_some(parent),
            depth,
            header,
            payload: pieces.next(header.payload_bytes)?,
            pin,
            ttl_ms: reader.ttl()?,
        });
    }
    pieces.end()?;
    Ok(blocks)
}

/// Cuts a payload into the blocks that lie in it.
pub(super) struct Pieces<'a> {
    payload: &'a Bytes,
    at: usize,
}

impl<'a> Pieces<'a> {
    pub(super) const fn new(payload: &'a Bytes) -> Self {
        Self { payload, at: 0 }
    }

    /// The next piece, a view.
    pub(super) fn next(&mut self, bytes: u64) -> Result<Bytes, Unreadable> {
        let length = usize::try_from(bytes).map_err(|_| Unreadable)?;
        let end = self.at.checked_add(length).ok_or(Unreadable)?;
        if end > self.payload.len() {
            return Err(Unreadable);
        }
        let piece = self.payload.slice(self.at..end);
        self.at = end;
        Ok(piece)
    }

    pub(super) const fn end(&self) -> Result<(), Unreadable> {
        if self.at == self.payload.len() {
            Ok(())
        } else {
            Err(Unreadable)
        }
    }
}

pub(super) const fn pin_number(pin: Pin) -> u8 {
    match pin {
        Pin::None => 0,
        Pin::Soft => 1,
        Pin::Hard => 2,
    }
}

pub(super) const fn pin_of(number: u8) -> Option<Pin> {
    match number {
        0 => Some(Pin::None),
        1 => Some(Pin::Soft),
        2 => Some(Pin::Hard),
        _ => None,
    }
}

/// Takes fields off the front.
struct Reader<'a>(&'a [u8]);

impl Reader<'_> {
    fn take<const N: usize>(&mut self) -> Result<[u8; N], Unreadable> {
        let (field, rest) = self.0.split_first_chunk::<N>().ok_or(Unreadable)?;
        self.0 = rest;
        Ok(*field)
    }

    fn byte(&mut self) -> Result<u8, Unreadable> {
        self.take::<1>().map(|[byte]| byte)
    }

    fn count(&mut self) -> Result<u32, Unreadable> {
        self.take().map(u32::from_le_bytes)
    }

    fn key(&mut self) -> Result<BlockKey, Unreadable> {
        self.take().map(BlockKey::from_bytes)
    }

    fn address(&mut self) -> Result<BlockAddress, Unreadable> {
        Ok(BlockAddress {
            key: self.key()?,
            run: self.key()?,
        })
    }

    fn header(&mut self) -> Result<BlockHeader, Unreadable> {
        let bytes: [u8; HEADER_BYTES] = self.take()?;
        BlockHeader::decode(&bytes).map_err(|_| Unreadable)
    }

    fn ttl(&mut self) -> Result<Option<u64>, Unreadable> {
        let ms = u64::from_le_bytes(self.take()?);
        Ok((ms != u64::MAX).then_some(ms))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use ultrakv_cache::BlockLayout;

    use super::*;

    fn key(byte: u8) -> BlockKey {
        BlockKey::from_bytes([byte; 32])
    }

    fn put(byte: u8, parent: bool, ttl_ms: Option<u64>) -> BlockPut {
        let address = BlockAddress {
            key: key(byte),
            run: key(byte / 2),
        };
        let payload = Bytes::from(vec![byte; usize::from(byte) + 1]);
        BlockPut {
            address,
            parent: parent.then(|| key(byte.wrapping_sub(1))),
            depth: u32::from(byte) << 20,
            header: BlockHeader::seal(BlockLayout::OPAQUE, 3, &address.key, &payload),
            payload,
            pin: Pin::Soft,
            ttl_ms,
        }
    }

    proptest! {
        #[test]
        fn what_is_packed_is_unpacked(
            blocks in prop::collection::vec((any::<u8>(), any::<bool>(), prop::option::of(0..1_000_000_u64)), 0..20),
            codes in prop::collection::vec(0..9_usize, 0..20),
        ) {
            let blocks: Vec<_> = blocks.into_iter().map(|(byte, parent, ttl)| put(byte, parent, ttl)).collect();
            let payload = Bytes::from(blocks.iter().flat_map(|put| put.payload.to_vec()).collect::<Vec<_>>());
            let again = unpack_brought(&pack_brought(&blocks), &payload).unwrap();
            prop_assert_eq!(format!("{blocks:?}"), format!("{again:?}"));
            let places: Vec<_> = blocks.iter().map(|put| put.address).collect();
            prop_assert_eq!(unpack_places(&pack_places(&places)), Ok(places));
            let found: Vec<_> = blocks.iter().map(|put| Found::Here(put.header, put.ttl_ms))
                .chain([Found::Absent, Found::Later, Found::Unsure]).collect();
            prop_assert_eq!(unpack_found(&pack_found(&found), found.len()), Ok(found));
            let codes: Vec<_> = codes.into_iter().map(|code| Code::ALL[code]).collect();
            prop_assert_eq!(Code::unpack(&Code::pack(&codes), codes.len()), Ok(codes));
        }

        #[test]
        fn noise_is_refused_or_read_and_never_panics(
            bytes in prop::collection::vec(any::<u8>(), 0..600), payload in prop::collection::vec(any::<u8>(), 0..600),
            count in 0..20_usize,
        ) {
            let (packed, payload) = (Packed(bytes), Bytes::from(payload));
            let _ = unpack_places(&packed);
            if let Ok(found) = unpack_found(&packed, count) {
                prop_assert_eq!(found.len(), count);
            }
            if let Ok(codes) = Code::unpack(&packed, count) {
                prop_assert_eq!(codes.len(), count);
            }
            if let Ok(blocks) = unpack_brought(&packed, &payload) {
                prop_assert_eq!(blocks.iter().map(|put| put.payload.len()).sum::<usize>(), payload.len());
            }
        }
    }

    #[test]
    fn a_payload_that_is_too_short_or_too_long_is_refused() {
        let block = put(9, true, None);
        let packed = pack_brought([&block]);
        for payload in [vec![9; 9], vec![9; 11], vec![]] {
            assert!(unpack_brought(&packed, &payload.into()).is_err());
        }
        let more = pack_places(vec![&block.address; NAMES_MAX + 1]);
        assert_eq!(unpack_places(&more), Err(Unreadable));
    }
}
