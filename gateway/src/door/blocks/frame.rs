//! How many blocks travel in one body: the framing of `POST /v1/kv/get` and `POST /v1/kv/put`.
//!
//! All numbers are little-endian. A body is frames one after the other and nothing else; a reader knows each length before it
//! reads, so nothing is searched for and nothing escaped.
//!
//! ```text
//! found (answer of get):   status u8 · 0 u8 · 0 u16 · tokens u32 · length u64 · checksum u64 · payload
//! offered (body of put):   flags u16 · name u16 · parent u16 · 0 u16 · tokens u32 · depth u32 · length u64 · checksum u64
//!                          · name · parent · payload
//! ```
//! `status` is 1 for a block that is here and 0 for a missing one, which has neither tokens nor bytes. Flag 1 says that the
//! checksum counts, flag 2 that there is a parent; `depth` is 0 where it is not known. Checksums are XXH3-64 of the payload. This file knows bytes only.

use bytes::{Buf, Bytes};
use thiserror::Error;

/// The media type of a body of frames.
pub(crate) const FRAMES: &str = "application/vnd.ultrakv.blocks";

/// Bytes of a found frame before its payload.
pub(crate) const FOUND_HEAD_BYTES: usize = 24;

/// Bytes of an offered frame before its name.
pub(crate) const OFFERED_HEAD_BYTES: usize = 32;

const FLAG_CHECKSUM: u16 = 1;
const FLAG_PARENT: u16 = 2;

/// A block that a client offers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Offered {
    pub(crate) name: Bytes,
    pub(crate) parent: Option<Bytes>,
    pub(crate) tokens: u32,
    /// Blocks before it in its chain.
    pub(crate) depth: u32,
    pub(crate) checksum: Option<u64>,
    pub(crate) payload: Bytes,
}

/// Why a body is not frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub(crate) enum FrameError {
    /// The body ends inside a frame.
    #[error("the body ends inside frame {frame}")]
    Cut {
        /// The frame, from 0.
        frame: usize,
    },
    /// A bit that has no meaning yet is set.
    #[error("frame {frame} sets bits that have no meaning")]
    Reserved {
        /// The frame, from 0.
        frame: usize,
    },
    /// There are more frames than one body may have.
    #[error("the body has more than {frames_max} frames")]
    TooMany {
        /// The most frames.
        frames_max: usize,
    },
}

/// The frames of a body.
pub(crate) fn decode(mut body: Bytes, frames_max: usize) -> Result<Vec<Offered>, FrameError> {
    let mut frames = Vec::new();
    while !body.is_empty() {
        let frame = frames.len();
        if frame == frames_max {
            return Err(FrameError::TooMany { frames_max });
        }
        frames.push(decode_one(&mut body, frame)?);
    }
    Ok(frames)
}

fn decode_one(body: &mut Bytes, frame: usize) -> Result<Offered, FrameError> {
    if body.len() < OFFERED_HEAD_BYTES {
        return Err(FrameError::Cut { frame });
    }
    let flags = body.get_u16_le();
    let name_bytes = body.get_u16_le();
    let parent_bytes = body.get_u16_le();
    let zero = body.get_u16_le();
    let tokens = body.get_u32_le();
    let depth = body.get_u32_le();
    let length = body.get_u64_le();
    let checksum = body.get_u64_le();
    let has = |flag: u16| flags & flag != 0;
    let unknown = flags & !(FLAG_CHECKSUM | FLAG_PARENT) != 0;
    let contradicts = !has(FLAG_PARENT) && parent_bytes != 0;
    if unknown || contradicts || zero != 0 {
        return Err(FrameError::Reserved { frame });
    }
    let mut take = |length: u64| match usize::try_from(length) {
        Ok(length) if length <= body.len() => Ok(body.split_to(length)),
        _ => Err(FrameError::Cut { frame }),
    };
    let name = take(u64::from(name_bytes))?;
    let parent = take(u64::from(parent_bytes))?;
    let payload = take(length)?;
    Ok(Offered {
        name,
        parent: has(FLAG_PARENT).then_some(parent),
        tokens,
        depth,
        checksum: has(FLAG_CHECKSUM).then_some(checksum),
        payload,
    })
}

/// The head of a block that is here.
pub(crate) fn found_head(tokens: u32, length: u64, checksum: u64) -> Bytes {
    let mut head = Vec::with_capacity(FOUND_HEAD_BYTES);
    head.extend_from_slice(&[1, 0, 0, 0]);
    head.extend_from_slice(&tokens.to_le_bytes());
    head.extend_from_slice(&length.to_le_bytes());
    head.extend_from_slice(&checksum.to_le_bytes());
    head.into()
}

/// The whole frame of a block that is missing.
pub(crate) const fn missing() -> Bytes {
    Bytes::from_static(&[0; FOUND_HEAD_BYTES])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// What a client does.
    fn encode(offered: &Offered) -> Vec<u8> {
        let parent = offered.parent.clone().unwrap_or_default();
        let short = |length: usize| {
            u16::try_from(length)
                .expect("names are short")
                .to_le_bytes()
        };
        let flags = u16::from(offered.checksum.is_some()) * FLAG_CHECKSUM
            + u16::from(offered.parent.is_some()) * FLAG_PARENT;
        let mut bytes = flags.to_le_bytes().to_vec();
        bytes.extend_from_slice(&short(offered.name.len()));
        bytes.extend_from_slice(&short(parent.len()));
        bytes.extend_from_slice(&[0; 2]);
        bytes.extend_from_slice(&offered.tokens.to_le_bytes());
        bytes.extend_from_slice(&offered.depth.to_le_bytes());
        bytes.extend_from_slice(
            &u64::try_from(offered.payload.len())
                .expect("small")
                .to_le_bytes(),
        );
        bytes.extend_from_slice(&offered.checksum.unwrap_or(0).to_le_bytes());
        assert_eq!(bytes.len(), OFFERED_HEAD_BYTES);
        for part in [&offered.name, &parent, &offered.payload] {
            bytes.extend_from_slice(part);
        }
        bytes
    }

    fn any_bytes(length_max: usize) -> impl Strategy<Value = Bytes> {
        prop::collection::vec(any::<u8>(), 0..=length_max).prop_map(Bytes::from)
    }

    fn any_offered() -> impl Strategy<Value = Offered> {
        let names = (any_bytes(40), prop::option::of(any_bytes(40)));
        let numbers = (any::<u32>(), any::<u32>(), any::<Option<u64>>());
        (names, numbers, any_bytes(200)).prop_map(
            |((name, parent), (tokens, depth, checksum), payload)| Offered {
                name,
                parent,
                tokens,
                depth,
                checksum,
                payload,
            },
        )
    }

    proptest! {
        #[test]
        fn what_a_client_offers_is_what_is_read(
            offered in prop::collection::vec(any_offered(), 0..8),
        ) {
            let body: Vec<u8> = offered.iter().flat_map(encode).collect();
            prop_assert_eq!(decode(body.into(), 8), Ok(offered));
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in any_bytes(300)) {
            let _ = decode(bytes, 8);
        }

        #[test]
        fn a_body_that_is_cut_short_is_refused(offered in any_offered(), cut in 1_usize..500) {
            let body = encode(&offered);
            let kept = body.len().saturating_sub(cut).max(1);
            let cut = Bytes::from(body).slice(..kept);
            prop_assert_eq!(decode(cut, 8), Err(FrameError::Cut { frame: 0 }));
        }
    }

    #[test]
    fn unknown_bits_and_too_many_frames_are_refused() {
        let offered = Offered {
            name: Bytes::from_static(b"a"),
            parent: None,
            tokens: 1,
            depth: 0,
            checksum: None,
            payload: Bytes::from_static(b"x"),
        };
        let mut odd = encode(&offered);
        odd[0] = 4;
        assert_eq!(
            decode(odd.into(), 8),
            Err(FrameError::Reserved { frame: 0 })
        );
        let many: Vec<u8> = (0..3).flat_map(|_| encode(&offered)).collect();
        assert_eq!(
            decode(many.into(), 2),
            Err(FrameError::TooMany { frames_max: 2 })
        );
    }

    #[test]
    fn a_length_beyond_memory_is_a_cut_body() {
        let mut head = vec![0; OFFERED_HEAD_BYTES];
        head[16..24].copy_from_slice(&u64::MAX.to_le_bytes());
        assert_eq!(decode(head.into(), 8), Err(FrameError::Cut { frame: 0 }));
    }

    #[test]
    fn heads_of_answers_have_the_documented_bytes() {
        let head = found_head(16, 3, 0x0102_0304_0506_0708);
        let expected = [
            1, 0, 0, 0, 16, 0, 0, 0, 3, 0, 0, 0, 0, 0, 0, 0, 8, 7, 6, 5, 4, 3, 2, 1,
        ];
        assert_eq!(head.as_ref(), expected);
        assert_eq!(missing().as_ref(), [0; FOUND_HEAD_BYTES]);
    }
}
