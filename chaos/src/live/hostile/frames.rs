//! Frames that no node of ours would send, each wrong in one way only, so that it is this way that is refused.
//!
//! It must never know a socket.

use anyhow::Result;
use bytes::Bytes;
use serde::Serialize;
use ultrakv_cluster::NodeId;
use ultrakv_cluster::wire::{Encoded, Envelope, Kind, Limits, VERSION};
use xxhash_rust::xxh3::xxh3_64;

/// Where the fields of a frame lie, as `cluster/src/wire.rs` draws them.
const VERSION_AT: usize = 4;
const PAYLOAD_LENGTH_AT: usize = 12;
const PRELUDE_CHECK_AT: usize = 40;
const TRAILER_BYTES: usize = 8;

/// What a node says first.
#[derive(Serialize)]
struct Hello {
    boot: &'static str,
    version: &'static str,
}

/// A way to be wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bad {
    Older,
    Newer,
    Torn,
    Turned,
    TurnedPrelude,
    Endless,
    Noise,
    OtherNode,
    NoHello,
}

impl Bad {
    pub(super) const ALL: [Self; 9] = [
        Self::Older,
        Self::Newer,
        Self::Torn,
        Self::Turned,
        Self::TurnedPrelude,
        Self::Endless,
        Self::Noise,
        Self::OtherNode,
        Self::NoHello,
    ];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Older => "an older protocol",
            Self::Newer => "a newer protocol",
            Self::Torn => "a torn frame",
            Self::Turned => "a frame with a bit turned",
            Self::TurnedPrelude => "a frame with a bit of its lengths turned",
            Self::Endless => "a frame of four gigabytes",
            Self::Noise => "bytes that are no frame",
            Self::OtherNode => "a frame in another node's name",
            Self::NoHello => "a first frame that is no hello",
        }
    }

    /// The codes of which one must be told.
    pub(super) const fn codes(self) -> &'static [&'static str] {
        match self {
            Self::Older | Self::Newer => &["wire_version"],
            Self::Torn => &["wire_truncated"],
            Self::Turned => &["wire_checksum"],
            Self::TurnedPrelude => &["wire_prelude"],
            Self::Endless => &["wire_payload_too_large"],
            Self::Noise => &["wire_magic"],
            Self::OtherNode => &["wire_header", "lane_wrong_node"],
            Self::NoHello => &["wire_header", "lane_hello"],
        }
    }
}

/// A good hello of this node.
pub(super) fn hello(node: NodeId) -> Result<Vec<u8>> {
    frame(node, Kind::Hello)
}

fn frame(node: NodeId, kind: Kind) -> Result<Vec<u8>> {
    let envelope = Envelope {
        kind,
        node,
        request: 1,
    };
    let header = Hello {
        boot: "00000000000000000000000000000001",
        version: "0.1.0",
    };
    Ok(Encoded::new(envelope, &header, Bytes::new(), Limits::SMALL)?.to_vec())
}

/// A frame of `node` that is wrong in this way; `victim` is the node whose name is abused.
pub(super) fn bad(bad: Bad, node: NodeId, victim: NodeId) -> Result<Vec<u8>> {
    let mut bytes = hello(node)?;
    match bad {
        Bad::Older => put(&mut bytes, VERSION_AT, &(VERSION - 1).to_le_bytes()),
        Bad::Newer => put(&mut bytes, VERSION_AT, &(VERSION + 1).to_le_bytes()),
        Bad::Torn => bytes.truncate(bytes.len() - TRAILER_BYTES - 1),
        Bad::Turned => {
            if let Some(last) = bytes.last_mut() {
                *last ^= 1;
            }
            return Ok(bytes);
        }
        Bad::TurnedPrelude => {
            if let Some(length) = bytes.get_mut(PAYLOAD_LENGTH_AT) {
                *length ^= 1;
            }
            return Ok(bytes);
        }
        Bad::Endless => put(&mut bytes, PAYLOAD_LENGTH_AT, &u32::MAX.to_le_bytes()),
        Bad::Noise => return Ok(vec![0xa5; 4096]),
        Bad::OtherNode => return hello(victim),
        Bad::NoHello => return frame(node, Kind::BlockRead),
    }
    if bad != Bad::Torn {
        check(&mut bytes);
    }
    Ok(bytes)
}

fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    if let Some(place) = bytes.get_mut(at..at + value.len()) {
        place.copy_from_slice(value);
    }
}

/// Makes both checks right again, so that only what was meant is wrong.
fn check(bytes: &mut [u8]) {
    let prelude = xxh3_64(bytes.get(..PRELUDE_CHECK_AT).unwrap_or_default());
    put(bytes, PRELUDE_CHECK_AT, &prelude.to_le_bytes());
    let end = bytes.len().saturating_sub(TRAILER_BYTES);
    let all = xxh3_64(bytes.get(..end).unwrap_or_default());
    put(bytes, end, &all.to_le_bytes());
}

#[cfg(test)]
mod tests {
    use ultrakv_cluster::wire::{Decoder, WireError};

    use super::*;

    fn decode(bytes: &[u8]) -> Result<Kind, WireError> {
        let mut decoder = Decoder::new(Limits::BULK);
        decoder.push(bytes);
        match decoder.next_frame()? {
            Some(frame) => Ok(frame.envelope.kind),
            None => decoder.finish().map(|()| Kind::Hello),
        }
    }

    #[test]
    fn each_frame_is_refused_for_its_own_fault_and_for_no_other() {
        let (node, victim) = (NodeId::from_u128(7), NodeId::from_u128(8));
        assert_eq!(decode(&hello(node).unwrap()), Ok(Kind::Hello));
        for kind in Bad::ALL {
            let bytes = bad(kind, node, victim).unwrap();
            match kind {
                // Whole frames: whoever knows the certificate refuses them.
                Bad::OtherNode => assert_eq!(decode(&bytes), Ok(Kind::Hello)),
                Bad::NoHello => assert_eq!(decode(&bytes), Ok(Kind::BlockRead)),
                _ => {
                    let code = decode(&bytes).unwrap_err().code();
                    assert!(kind.codes().contains(&code), "{}: {code}", kind.name());
                }
            }
        }
    }
}
