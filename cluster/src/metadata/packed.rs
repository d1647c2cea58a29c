//! Lists of ids as one string of bytes, for serde's `with`: a command names thousands of them.
//!
//! It must never know what an id names.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{Error, Visitor};
use serde::{Deserializer, Serializer};
use ultrakv_actors::BootId;

use crate::{Incarnation, NodeId};

/// What has a fixed number of bytes.
pub(super) trait Packed: Sized {
    /// How many.
    const BYTES: usize;

    /// Writes it.
    fn put(&self, to: &mut Vec<u8>);

    /// Reads it from as many bytes.
    fn take(bytes: &[u8]) -> Option<Self>;
}

impl Packed for u8 {
    const BYTES: usize = 1;

    fn put(&self, to: &mut Vec<u8>) {
        to.push(*self);
    }

    fn take(bytes: &[u8]) -> Option<Self> {
        bytes.first().copied()
    }
}

impl Packed for NodeId {
    const BYTES: usize = 16;

    fn put(&self, to: &mut Vec<u8>) {
        to.extend(self.to_u128().to_le_bytes());
    }

    fn take(bytes: &[u8]) -> Option<Self> {
        let bytes = bytes.try_into().ok()?;
        Some(Self::from_u128(u128::from_le_bytes(bytes)))
    }
}

impl Packed for Incarnation {
    const BYTES: usize = 2 * NodeId::BYTES;

    fn put(&self, to: &mut Vec<u8>) {
        self.node.put(to);
        to.extend(self.boot.to_u128().to_le_bytes());
    }

    fn take(bytes: &[u8]) -> Option<Self> {
        let (node, boot) = bytes.split_at_checked(NodeId::BYTES)?;
        let boot = u128::from_le_bytes(boot.try_into().ok()?);
        Some(Self {
            node: NodeId::take(node)?,
            boot: BootId::from_u128(boot),
        })
    }
}

pub(super) fn serialize<T: Packed, S: Serializer>(
    list: &[T],
    serializer: S,
) -> Result<S::Ok, S::Error> {
    let mut bytes = Vec::with_capacity(list.len() * T::BYTES);
    for item in list {
        item.put(&mut bytes);
    }
    serializer.serialize_bytes(&bytes)
}

pub(super) fn deserialize<'de, T: Packed, D: Deserializer<'de>>(
    deserializer: D,
) -> Result<Vec<T>, D::Error> {
    struct Bytes<T>(PhantomData<T>);
    impl<T: Packed> Visitor<'_> for Bytes<T> {
        type Value = Vec<T>;
        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            write!(f, "bytes, {} for each item", T::BYTES)
        }
        fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Self::Value, E> {
            let items = bytes.chunks_exact(T::BYTES);
            if !items.remainder().is_empty() {
                return Err(E::invalid_length(bytes.len(), &self));
            }
            let items = items.map(T::take).collect::<Option<_>>();
            items.ok_or_else(|| E::invalid_length(bytes.len(), &self))
        }
    }
    deserializer.deserialize_bytes(Bytes(PhantomData))
}
