//! Who a node is to the others, for as long as it keeps its data.
//!
//! Without a disk a node keeps nothing, so each start draws a new id. This module must never know
//! addresses.

use std::fmt;

use ultrakv_actors::{BootId, Entropy, EntropyError, hex_id};

/// The id of a node and the data it holds; a node that lost its data comes back under another one.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(u128);

impl NodeId {
    /// Draws the id of a new node.
    ///
    /// # Errors
    /// When the operating system has no randomness to give.
    pub fn draw(entropy: &Entropy) -> Result<Self, EntropyError> {
        entropy.draw().map(|bytes| Self(u128::from_le_bytes(bytes)))
    }

    /// The id as it stands in frames.
    #[must_use]
    pub const fn to_u128(self) -> u128 {
        self.0
    }

    /// The id of a frame, a certificate or a stored record.
    #[must_use]
    pub const fn from_u128(id: u128) -> Self {
        Self(id)
    }

    /// Reads an id as it is printed: 32 lower-case hexadecimal digits and nothing else.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        hex_id::parse(text).map(Self)
    }
}

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:032x}", self.0)
    }
}

impl fmt::Debug for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "NodeId({self})")
    }
}

impl serde::Serialize for NodeId {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        hex_id::serialize(self.0, serializer)
    }
}

impl<'de> serde::Deserialize<'de> for NodeId {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        hex_id::deserialize(deserializer).map(Self)
    }
}

/// One life of a node, or of the shard of it that is meant: what was granted to one life is nothing to the next.
#[derive(
    Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, serde::Serialize, serde::Deserialize,
)]
pub struct Incarnation {
    /// The node.
    pub node: NodeId,
    /// Which of its lives.
    pub boot: BootId,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_digits_for_people_and_bytes_for_machines() {
        let entropy = Entropy::seeded(3);
        let life = Incarnation {
            node: NodeId::draw(&entropy).unwrap(),
            boot: BootId::draw(&entropy).unwrap(),
        };
        let text = serde_json::to_string(&life).unwrap();
        assert!(text.contains(&format!("\"{}\"", life.node)), "{text}");
        assert_eq!(serde_json::from_str::<Incarnation>(&text).unwrap(), life);
        let bytes = rmp_serde::to_vec(&life).unwrap();
        assert!(bytes.len() <= 2 * 18 + 1, "{} bytes", bytes.len());
        assert_eq!(rmp_serde::from_slice::<Incarnation>(&bytes).unwrap(), life);
        for wrong in ["\"\"", "\"0\"", "7", "\"000000000000000000000000000000zz\""] {
            assert!(serde_json::from_str::<NodeId>(wrong).is_err(), "{wrong}");
        }
    }
}
