//! Who a node is to the others, for as long as it keeps its data.
//!
//! Without a disk a node keeps nothing, so each start draws a new id. This module must never know
//! addresses.

use std::fmt;

use ultrakv_actors::{Entropy, EntropyError};

/// The id of a node and the data it holds; a node that lost its data comes back under another one.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
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
        let plain = text.len() == 32
            && text
                .bytes()
                .all(|digit| matches!(digit, b'0'..=b'9' | b'a'..=b'f'));
        if plain {
            u128::from_str_radix(text, 16).ok().map(Self)
        } else {
            None
        }
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
        serializer.collect_str(self)
    }
}
