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
