//! The frame against accidents and attackers. Nothing here touches a socket.

use bytes::Bytes;
use proptest::prelude::*;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64;

use super::*;
use crate::NodeId;

const LIMITS: Limits = Limits {
    header_bytes_max: 512,
    payload_bytes_max: 4096,
    cover: Cover::Whole,
};

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Header {
    slot: u16,
    name: String,
}

fn envelope(kind: Kind) -> Envelope {
    Envelope {
        kind,
        node: NodeId::from_u128(0x1234_5678_9abc_def0_0fed_cba9_8765_4321),
        request: 77,
    }
}

fn header() -> Header {
    Header {
        slot: 9,
        name: "prefix".to_owned(),
    }
}

fn bytes_of(payload: &[u8]) -> Vec<u8> {
    let payload = Bytes::copy_from_slice(payload);
    Encoded::new(envelope(Kind::Forward), &header(), payload, LIMITS)
        .unwrap()
        .to_vec()
}

fn first(bytes: &[u8]) -> Result<Option<Frame>, WireError> {
    let mut decoder = Decoder::new(LIMITS);
    decoder.push(bytes);
    decoder.next_frame()
}

/// The frame with other fields and checks that are right again.
fn forged(mut bytes: Vec<u8>, forge: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    forge(&mut bytes);
    let check = xxh3_64(&bytes[..CHECKED_PRELUDE_BYTES]);
    bytes[CHECKED_PRELUDE_BYTES..PRELUDE_BYTES].copy_from_slice(&check.to_le_bytes());
    let end = bytes.len() - TRAILER_BYTES;
    let check = xxh3_64(&bytes[..end]);
    bytes[end..].copy_from_slice(&check.to_le_bytes());
    bytes
}

#[test]
fn every_kind_has_its_own_number() {
    for kind in Kind::ALL {
        assert_eq!(Kind::of(kind.number()), Some(kind));
    }
    assert_eq!(Kind::of(0), None);
}

#[test]
fn the_layout_is_the_documented_one() {
    let bytes = bytes_of(b"KV");
    assert_eq!(&bytes[..8], b"UKVf\x01\x00\x05\x00");
    assert_eq!(bytes[12..16], 2u32.to_le_bytes());
    assert_eq!(bytes[32..40], 77u64.to_le_bytes());
    let end = bytes.len() - 8;
    assert_eq!(&bytes[end - 2..end], b"KV");
    assert_eq!(bytes[end..], xxh3_64(&bytes[..end]).to_le_bytes());
    // The header is a map with named fields, so that a later build may add one.
    assert!(bytes.windows(4).any(|window| window == b"slot"));
}

#[test]
fn the_payload_is_never_copied() {
    let payload = Bytes::from(vec![7; 2048]);
    let at = payload.as_ptr();
    let encoded = Encoded::new(envelope(Kind::BlockWrite), &(), payload, LIMITS).unwrap();
    assert_eq!(encoded.clone().into_pieces()[1].as_ptr(), at);

    let mut decoder = Decoder::new(LIMITS);
    decoder.room().extend_from_slice(&encoded.to_vec());
    let held = decoder.room().as_ptr();
    let frame = decoder.next_frame().unwrap().unwrap();
    let offset = frame.payload.as_ptr().addr() - held.addr();
    assert!(
        offset < encoded.len_bytes(),
        "the payload lies in the read buffer"
    );
}

#[test]
fn another_version_is_refused_by_both_names_whatever_follows() {
    let mut bytes = bytes_of(b"");
    bytes[4] = 9;
    let error = first(&bytes[..6]).unwrap_err();
    assert_eq!(
        error,
        WireError::Version {
            theirs: 9,
            ours: VERSION
        }
    );
    assert!(error.to_string().contains('9') && error.to_string().contains('1'));
    assert!(error.ends_stream());
}

#[test]
fn an_unknown_kind_is_named_and_the_stream_goes_on() {
    let unknown = forged(bytes_of(b"new"), |bytes| bytes[6] = 200);
    let mut decoder = Decoder::new(LIMITS);
    decoder.push(&unknown);
    decoder.push(&bytes_of(b"old"));
    let error = decoder.next_frame().unwrap_err();
    assert!(matches!(
        error,
        WireError::UnknownKind {
            number: 200,
            request: 77,
            ..
        }
    ));
    assert_eq!(decoder.next_frame().unwrap().unwrap().payload, &b"old"[..]);
    assert_eq!(decoder.finish(), Ok(()));
}

#[test]
fn a_wrong_header_is_an_error_of_the_frame_only() {
    let frame = first(&bytes_of(b"")).unwrap().unwrap();
    let error = frame.header::<Vec<u64>>().unwrap_err();
    assert_eq!(error.code(), "wire_header");
    assert!(!error.ends_stream());
    assert_eq!(frame.header::<Header>().unwrap(), header());
}

#[test]
fn a_foreign_protocol_is_refused_by_its_first_byte() {
    assert_eq!(first(b"G").unwrap_err().code(), "wire_magic");
    assert_eq!(first(b"UKV").unwrap().map(|_| ()), None);
    assert_eq!(first(b"UKVx").unwrap_err().code(), "wire_magic");
}

#[test]
fn no_room_is_made_for_an_oversized_frame() {
    for (at, code) in [(8, "wire_header_too_large"), (12, "wire_payload_too_large")] {
        let bytes = forged(bytes_of(b""), |bytes| {
            bytes[at..at + 4].copy_from_slice(&u32::MAX.to_le_bytes());
        });
        let mut decoder = Decoder::new(LIMITS);
        decoder.push(&bytes[..PRELUDE_BYTES]);
        assert_eq!(decoder.next_frame().unwrap_err().code(), code);
        assert_eq!(decoder.pending_bytes(), 0);
        // Later bytes cannot revive it.
        decoder.push(&bytes_of(b""));
        assert_eq!(decoder.next_frame().unwrap_err().code(), code);
    }
    let large = Bytes::from(vec![0; 4097]);
    let error = Encoded::new(envelope(Kind::Forward), &(), large, LIMITS).unwrap_err();
    assert_eq!(error.code(), "wire_payload_too_large");
}

#[test]
fn a_lane_of_blocks_checks_all_but_the_payload() {
    let limits = Limits {
        cover: Cover::Head,
        ..LIMITS
    };
    let payload = Bytes::from_static(b"has a checksum of its own");
    let frame = Encoded::new(
        envelope(Kind::BlockWrite),
        &header(),
        payload.clone(),
        limits,
    );
    let bytes = frame.unwrap().to_vec();
    let read = |bytes: &[u8]| {
        let mut decoder = Decoder::new(limits);
        decoder.push(bytes);
        decoder.next_frame()
    };
    assert_eq!(read(&bytes).unwrap().unwrap().payload, payload);
    let of_payload = bytes.len() - TRAILER_BYTES - payload.len()..bytes.len() - TRAILER_BYTES;
    for at in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[at] ^= 1;
        let is_believed = matches!(read(&damaged), Ok(Some(_)));
        assert_eq!(is_believed, of_payload.contains(&at), "byte {at}");
    }
    assert_eq!(
        first(&bytes).unwrap_err(),
        WireError::Checksum,
        "lanes do not mix"
    );
}

#[test]
fn an_end_inside_a_frame_is_told_from_an_end_between_frames() {
    let bytes = bytes_of(b"x");
    let mut decoder = Decoder::new(LIMITS);
    decoder.push(&bytes[..bytes.len() - 1]);
    assert!(decoder.next_frame().unwrap().is_none());
    assert_eq!(decoder.finish().unwrap_err().code(), "wire_truncated");
    decoder.push(&bytes[bytes.len() - 1..]);
    assert!(decoder.next_frame().unwrap().is_some());
    assert_eq!(decoder.finish(), Ok(()));
}

proptest! {
    #[test]
    fn frames_come_back_however_the_stream_is_cut(
        payloads in prop::collection::vec(prop::collection::vec(any::<u8>(), 0..4096), 1..6),
        cuts in prop::collection::vec(1usize..3000, 1..40),
        node in any::<u128>(),
        request in any::<u64>(),
    ) {
        let envelope = Envelope { kind: Kind::Answer, node: NodeId::from_u128(node), request };
        let stream: Vec<u8> = payloads
            .iter()
            .flat_map(|payload| {
                let payload = Bytes::copy_from_slice(payload);
                Encoded::new(envelope, &header(), payload, LIMITS).unwrap().to_vec()
            })
            .collect();
        let mut decoder = Decoder::new(LIMITS);
        let (mut rest, mut seen) = (&stream[..], Vec::new());
        for cut in cuts.iter().cycle() {
            let (piece, after) = rest.split_at((*cut).min(rest.len()));
            decoder.room().extend_from_slice(piece);
            rest = after;
            while let Some(frame) = decoder.next_frame().unwrap() {
                prop_assert_eq!(frame.envelope, envelope);
                prop_assert_eq!(frame.header::<Header>().unwrap(), header());
                seen.push(frame.payload.to_vec());
            }
            if rest.is_empty() { break; }
        }
        prop_assert_eq!(seen, payloads);
        prop_assert_eq!(decoder.finish(), Ok(()));
    }

    #[test]
    fn any_flipped_bit_is_an_error(
        payload in prop::collection::vec(any::<u8>(), 0..600),
        bit in any::<prop::sample::Index>(),
    ) {
        let mut bytes = bytes_of(&payload);
        let bit = bit.index(bytes.len() * 8);
        bytes[bit / 8] ^= 1 << (bit % 8);
        prop_assert!(first(&bytes).is_err());
    }

    #[test]
    fn a_long_frame_is_checked_while_it_comes_however_it_is_cut(
        size in 60_000_usize..200_000,
        seed in any::<u8>(),
        cuts in prop::collection::vec(1_usize..50_000, 1..12),
        flip in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let payload: Vec<u8> = (0..size).map(|at| seed.wrapping_add(at.to_le_bytes()[0])).collect();
        let payload = Bytes::from(payload);
        let limits = Limits::SMALL;
        let whole = Encoded::new(envelope(Kind::Forward), &header(), payload.clone(), limits);
        let mut bytes = [whole.unwrap().to_vec(), bytes_of(b"next")].concat();
        let last = bytes.len() - bytes_of(b"next").len();
        if let Some(flip) = flip {
            // Behind the prelude, whose own check would speak first.
            bytes[PRELUDE_BYTES + flip.index(last - PRELUDE_BYTES)] ^= 1;
        }
        let mut decoder = Decoder::new(limits);
        let mut frames = Vec::new();
        let mut rest = &bytes[..];
        let mut cuts = cuts.into_iter().cycle();
        while !rest.is_empty() {
            let (now, later) = rest.split_at(cuts.next().unwrap().min(rest.len()));
            decoder.push(now);
            rest = later;
            loop {
                match decoder.next_frame() {
                    Ok(Some(frame)) => frames.push(frame.payload),
                    Ok(None) => break,
                    Err(error) => {
                        prop_assert_eq!(error, WireError::Checksum);
                        prop_assert!(flip.is_some() && frames.is_empty());
                        return Ok(());
                    }
                }
            }
        }
        prop_assert!(flip.is_none());
        prop_assert_eq!(frames, [payload, Bytes::from_static(b"next")]);
    }

    #[test]
    fn a_truncated_frame_is_awaited_and_never_believed(
        payload in prop::collection::vec(any::<u8>(), 0..600),
        cut in any::<prop::sample::Index>(),
    ) {
        let bytes = bytes_of(&payload);
        let cut = cut.index(bytes.len());
        let mut decoder = Decoder::new(LIMITS);
        decoder.push(&bytes[..cut]);
        prop_assert!(decoder.next_frame().unwrap().is_none());
        prop_assert_eq!(decoder.finish().is_ok(), cut == 0);
    }

    #[test]
    fn hostile_bytes_never_panic_and_never_take_more_than_the_bound(
        start in 0usize..=PRELUDE_BYTES,
        noise in prop::collection::vec(any::<u8>(), 0..8192),
        repair in any::<bool>(),
    ) {
        // Noise after a good beginning gets deeper than noise alone; a repaired check deeper still.
        let mut bytes = bytes_of(b"payload")[..start].to_vec();
        bytes.extend_from_slice(&noise);
        if repair && bytes.len() >= PRELUDE_BYTES {
            let check = xxh3_64(&bytes[..CHECKED_PRELUDE_BYTES]);
            bytes[CHECKED_PRELUDE_BYTES..PRELUDE_BYTES].copy_from_slice(&check.to_le_bytes());
        }
        let bound = 2 * LIMITS.frame_bytes_max().max(16 * 1024);
        let mut decoder = Decoder::new(LIMITS);
        for piece in bytes.chunks(1000) {
            decoder.room().extend_from_slice(piece);
            prop_assert!(decoder.capacity_bytes() <= bound);
            let frame = decoder.next_frame();
            prop_assert!(decoder.capacity_bytes() <= bound);
            match frame {
                Ok(Some(frame)) => drop(frame.header::<Header>()),
                Ok(None) => {}
                Err(error) if error.ends_stream() => break,
                Err(_) => {}
            }
        }
    }

    #[test]
    fn hostile_headers_never_panic(noise in prop::collection::vec(any::<u8>(), 0..512)) {
        let mut bytes = bytes_of(b"");
        let header_bytes = bytes.len() - OVERHEAD_BYTES;
        bytes.splice(PRELUDE_BYTES..PRELUDE_BYTES + header_bytes, noise.iter().copied());
        let length = u32::try_from(noise.len()).unwrap().to_le_bytes();
        let bytes = forged(bytes, |bytes| bytes[8..12].copy_from_slice(&length));
        let frame = first(&bytes).unwrap().unwrap();
        drop(frame.header::<Header>());
        drop(frame.header::<Vec<Header>>());
    }
}
