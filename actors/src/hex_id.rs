//! How 128-bit ids are written: 32 lower-case hexadecimal digits where people read, 16 bytes where machines do.
//!
//! For serde's `with` and for hand-written impls. It must never know what an id names.

use std::fmt;

use serde::de::{Error, Unexpected, Visitor};
use serde::{Deserializer, Serializer};

/// Reads an id as it is printed: 32 lower-case hexadecimal digits and nothing else.
#[must_use]
pub fn parse(text: &str) -> Option<u128> {
    let plain = text.len() == 32
        && text
            .bytes()
            .all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'));
    plain.then(|| u128::from_str_radix(text, 16).ok()).flatten()
}

/// Writes an id.
///
/// # Errors
/// When the serializer refuses.
pub fn serialize<S: Serializer>(id: u128, serializer: S) -> Result<S::Ok, S::Error> {
    if serializer.is_human_readable() {
        serializer.collect_str(&format_args!("{id:032x}"))
    } else {
        serializer.serialize_bytes(&id.to_le_bytes())
    }
}

/// Reads an id.
///
/// # Errors
/// When it is not 32 digits, or not 16 bytes.
pub fn deserialize<'de, D: Deserializer<'de>>(deserializer: D) -> Result<u128, D::Error> {
    if deserializer.is_human_readable() {
        deserializer.deserialize_str(Id)
    } else {
        deserializer.deserialize_bytes(Id)
    }
}

struct Id;

impl Visitor<'_> for Id {
    type Value = u128;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("32 lower-case hexadecimal digits, or 16 bytes")
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<u128, E> {
        parse(text).ok_or_else(|| E::invalid_value(Unexpected::Str(text), &self))
    }

    fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<u128, E> {
        let bytes = bytes
            .try_into()
            .map_err(|_| E::invalid_length(bytes.len(), &self))?;
        Ok(u128::from_le_bytes(bytes))
    }
}
