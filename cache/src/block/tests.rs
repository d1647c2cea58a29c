//! Tests of the block header: golden bytes, total decoding, and what the checksum tells apart.

use proptest::prelude::*;

use super::*;
use crate::layout::{BlockKind, Dtype};

fn layout() -> BlockLayout {
    BlockLayout {
        kind: BlockKind::Kv,
        dtype: Dtype::F16,
        layers: 2,
        kv_heads: 2,
        head_size: 4,
    }
}

fn key(fill: u8) -> BlockKey {
    BlockKey::from_bytes([fill; 32])
}

#[test]
fn writes_the_golden_bytes() {
    let payload: Vec<u8> = (0..=127).collect();
    let header = BlockHeader::seal(layout(), 2, &key(7), &payload);
    let mut golden = vec![
        1, 0, 0, 0, 1, 2, 2, 0, 2, 0, 4, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 128, 0, 0, 0, 0, 0,
        0, 0,
    ];
    golden.extend(GOLDEN_CHECKSUM.to_le_bytes());
    assert_eq!(
        header.encode().to_vec(),
        golden,
        "checksum is {:#018x}",
        header.checksum
    );
    assert_eq!(BlockHeader::decode(&golden), Ok(header));
    assert!(header.is_consistent());
}

/// Computed independently with Python's `xxhash`; a change of this value orphans every stored block.
const GOLDEN_CHECKSUM: u64 = 0x5346_5a6f_4a79_5086;

#[test]
fn fails_the_right_bytes_under_a_wrong_key_and_any_flipped_bit() {
    let payload: Vec<u8> = (0..=127).collect();
    let header = BlockHeader::seal(layout(), 2, &key(7), &payload);
    assert!(header.verify(&key(7), &payload));
    assert!(!header.verify(&key(8), &payload));
    // A key that shares the seed's bytes is told apart by the rest of it.
    let mut near = [7; 32];
    near[0] = 8;
    assert!(!header.verify(&BlockKey::from_bytes(near), &payload));
    for bit in 0..payload.len() * 8 {
        let mut flipped = payload.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert!(!header.verify(&key(7), &flipped), "bit {bit}");
    }
    assert!(!header.verify(&key(7), &payload[..127]));
    let other = BlockHeader {
        tokens: 3,
        ..header
    };
    assert!(!other.verify(&key(7), &payload));
    let coarser = BlockHeader {
        error_max: 0.5,
        ..header
    };
    assert!(!coarser.verify(&key(7), &payload));
}

#[test]
fn names_what_is_wrong_with_foreign_bytes() {
    let good = BlockHeader::seal(layout(), 2, &key(7), &[0; 128]).encode();
    let check = |at: usize, byte: u8, want: HeaderError| {
        let mut bytes = good;
        bytes[at] = byte;
        assert_eq!(BlockHeader::decode(&bytes), Err(want), "byte {at}");
        assert!(!want.code().is_empty() && !want.hint().is_empty());
    };
    check(0, 9, HeaderError::Version { version: 9 });
    check(1, 9, HeaderError::Codec { codec: 9 });
    check(2, 1, HeaderError::Reserved);
    check(21, 1, HeaderError::Reserved);
    check(4, 0, HeaderError::Layout);
    check(5, 77, HeaderError::Layout);
    check(19, 0x80, HeaderError::ErrorBound);
    assert_eq!(
        BlockHeader::decode(&good[..39]),
        Err(HeaderError::Length { bytes: 39 })
    );
}

#[test]
fn is_inconsistent_when_length_and_layout_disagree() {
    let header = BlockHeader::seal(layout(), 2, &key(1), &[0; 127]);
    assert!(!header.is_consistent());
    assert!(!BlockHeader::seal(BlockLayout::OPAQUE, 0, &key(1), &[]).is_consistent());
    assert!(BlockHeader::seal(BlockLayout::OPAQUE, 0, &key(1), &[1]).is_consistent());
    let dressed = BlockLayout {
        layers: 1,
        ..BlockLayout::OPAQUE
    };
    assert!(!BlockHeader::seal(dressed, 0, &key(1), &[1]).is_consistent());
}

#[test]
fn is_consistent_when_codec_length_and_error_agree() {
    let encoded = |codec, error_max, bytes: usize| {
        let encoded = Encoded {
            codec,
            error_max,
            kept_tiles: 0,
        };
        let payload = vec![3; bytes];
        let header = BlockHeader::seal_encoded(layout(), 2, &encoded, &key(1), &payload);
        assert!(header.verify(&key(1), &payload) && !header.verify(&key(2), &payload));
        assert_eq!(BlockHeader::decode(&header.encode()), Ok(header));
        header.is_consistent()
    };
    assert!(encoded(Codec::Raw, 0.0, 128) && encoded(Codec::Raw, 0.5, 128));
    assert!(!encoded(Codec::Raw, 0.0, 100));
    assert!(encoded(Codec::Planes, 0.0, 100) && encoded(Codec::Int8, 0.5, 100));
    assert!(!encoded(Codec::Planes, 0.0, 128) && !encoded(Codec::Exponent, 0.5, 100));
    assert!(!encoded(Codec::Int8, 0.5, 0));
}

proptest! {
    #[test]
    fn decodes_any_bytes_or_refuses_them_and_writes_back_what_it_read(
        mut bytes in proptest::collection::vec(any::<u8>(), 0..64), plausible in any::<bool>(),
    ) {
        if plausible && bytes.len() >= HEADER_BYTES {
            bytes.truncate(HEADER_BYTES);
            let known = [1, 0, 0, 0, 1 + bytes[4] % 3, 1 + bytes[5] % 3];
            bytes[..6].copy_from_slice(&known);
            bytes[19] &= 0x3f;
            bytes[20..24].fill(0);
        }
        if let Ok(header) = BlockHeader::decode(&bytes) {
            prop_assert_eq!(header.encode().to_vec(), bytes);
        } else {
            prop_assert!(!plausible || bytes.len() != HEADER_BYTES);
        }
    }
}
