//! From a message to the bytes of a frame. It must never copy a payload.

use bytes::buf::Chain;
use bytes::{Buf as _, BufMut as _, Bytes, BytesMut};
use serde::Serialize;
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use super::{
    CHECKED_PRELUDE_BYTES, Cover, Kind, Limits, MAGIC, PRELUDE_BYTES, VERSION, WireError, length,
};
use crate::NodeId;

/// What stands on the outside of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Envelope {
    /// What the frame is for.
    pub kind: Kind,
    /// Who sends it; the reader compares it with the peer's certificate.
    pub node: NodeId,
    /// Which request it asks or answers, unique on its connection.
    pub request: u64,
}

/// A frame as three pieces, ready for a vectored write; the payload is the caller's own bytes.
#[derive(Clone, Debug)]
pub struct Encoded {
    head: Bytes,
    payload: Bytes,
    trailer: Bytes,
}

impl Encoded {
    /// Encodes a message.
    ///
    /// # Errors
    /// When a part is longer than the limits allow, or the header cannot be written as MessagePack.
    pub fn new(
        envelope: Envelope,
        header: &impl Serialize,
        payload: Bytes,
        limits: Limits,
    ) -> Result<Self, WireError> {
        let header = rmp_serde::to_vec_named(header).map_err(|error| WireError::Header {
            kind: envelope.kind,
            reason: error.to_string(),
        })?;
        Self::of_parts(envelope, &header, payload, limits)
    }

    /// Encodes a message whose header is encoded already.
    ///
    /// # Errors
    /// When a part is longer than the limits allow.
    pub fn of_parts(
        envelope: Envelope,
        header: &[u8],
        payload: Bytes,
        limits: Limits,
    ) -> Result<Self, WireError> {
        let header_bytes = bounded(header.len(), limits.header_bytes_max, |bytes, bytes_max| {
            WireError::HeaderTooLarge { bytes, bytes_max }
        })?;
        let payload_bytes = bounded(
            payload.len(),
            limits.payload_bytes_max,
            |bytes, bytes_max| WireError::PayloadTooLarge { bytes, bytes_max },
        )?;

        let mut head = BytesMut::with_capacity(PRELUDE_BYTES + header.len());
        head.put_slice(&MAGIC);
        head.put_u16_le(VERSION);
        head.put_u16_le(envelope.kind.number());
        head.put_u32_le(header_bytes);
        head.put_u32_le(payload_bytes);
        head.put_u128_le(envelope.node.to_u128());
        head.put_u64_le(envelope.request);
        debug_assert_eq!(head.len(), CHECKED_PRELUDE_BYTES);
        let check = xxh3_64(&head);
        head.put_u64_le(check);
        head.put_slice(header);

        let mut hasher = Xxh3::new();
        hasher.update(&head);
        if limits.cover == Cover::Whole {
            hasher.update(&payload);
        }
        let trailer = Bytes::copy_from_slice(&hasher.digest().to_le_bytes());
        Ok(Self {
            head: head.freeze(),
            payload,
            trailer,
        })
    }

    /// How many bytes it takes on the stream.
    #[must_use]
    pub fn len_bytes(&self) -> usize {
        self.head.len() + self.payload.len() + self.trailer.len()
    }

    /// The pieces as one buffer that a vectored write takes together.
    #[must_use]
    pub fn into_buf(self) -> Chain<Chain<Bytes, Bytes>, Bytes> {
        self.head.chain(self.payload).chain(self.trailer)
    }

    /// The pieces one after the other, for streams that take several buffers at once.
    #[must_use]
    pub fn into_pieces(self) -> [Bytes; 3] {
        [self.head, self.payload, self.trailer]
    }

    /// The frame as one contiguous buffer; it copies the payload.
    #[must_use]
    pub fn to_vec(&self) -> Vec<u8> {
        [&self.head[..], &self.payload[..], &self.trailer[..]].concat()
    }
}

/// A length that fits the limit, as it stands on the wire.
fn bounded(
    bytes: usize,
    bytes_max: u32,
    too_large: impl FnOnce(u64, u64) -> WireError,
) -> Result<u32, WireError> {
    match u32::try_from(bytes) {
        Ok(fits) if bytes <= length(bytes_max) => Ok(fits),
        _ => Err(too_large(
            u64::try_from(bytes).unwrap_or(u64::MAX),
            u64::from(bytes_max),
        )),
    }
}
