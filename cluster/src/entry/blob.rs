//! Shared bytes as one string of bytes in MessagePack. It must never know what the bytes mean.

use std::fmt;
use std::sync::Arc;

use serde::de::{Error, SeqAccess, Visitor};
use serde::{Deserializer, Serializer};

/// The most bytes made room for before they have arrived.
const CAPACITY_BYTES_MAX: usize = 4096;

pub(super) fn serialize<S: Serializer>(bytes: &Arc<[u8]>, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_bytes(bytes)
}

pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Arc<[u8]>, D::Error> {
    from.deserialize_bytes(Bytes)
}

struct Bytes;

impl<'de> Visitor<'de> for Bytes {
    type Value = Arc<[u8]>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("bytes")
    }

    fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Self::Value, E> {
        Ok(bytes.into())
    }

    fn visit_byte_buf<E: Error>(self, bytes: Vec<u8>) -> Result<Self::Value, E> {
        Ok(bytes.into())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Self::Value, A::Error> {
        let capacity = list.size_hint().unwrap_or(0).min(CAPACITY_BYTES_MAX);
        let mut bytes = Vec::with_capacity(capacity);
        while let Some(byte) = list.next_element()? {
            bytes.push(byte);
        }
        Ok(bytes.into())
    }
}

/// Thirty-two bytes as one string of bytes.
pub(super) mod digest {
    use super::{Arc, Deserializer, Error, Serializer};

    pub(in crate::entry) fn serialize<S: Serializer>(
        bytes: &[u8; 32],
        to: S,
    ) -> Result<S::Ok, S::Error> {
        to.serialize_bytes(bytes)
    }

    pub(in crate::entry) fn deserialize<'de, D: Deserializer<'de>>(
        from: D,
    ) -> Result<[u8; 32], D::Error> {
        let bytes: Arc<[u8]> = super::deserialize(from)?;
        bytes
            .as_ref()
            .try_into()
            .map_err(|_| D::Error::invalid_length(bytes.len(), &"32 bytes"))
    }
}
