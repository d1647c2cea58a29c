//! The one frame that nodes speak on every byte stream: its layout, its bounds, its checks.
//!
//! Responsible for turning a message into bytes and hostile bytes into a message or a typed error. It must
//! never know a socket, a clock, a runtime or what a header means.
//!
//! # Shape
//! Little endian; 48 bytes, then the header, then the payload, then 8 bytes:
//!
//! ```text
//! 0    magic "UKVf"           4 B
//! 4    version                2 B   read before anything else is believed
//! 6    kind                   2 B
//! 8    header_bytes           4 B   MessagePack, named fields
//! 12   payload_bytes          4 B   raw
//! 16   node id of the sender 16 B
//! 32   request id             8 B
//! 40   XXH3-64 of 0..40       8 B   so that a damaged length is refused before room is made for it
//! 48   header, payload
//! ..   XXH3-64 of all before  8 B   on the bulk lane: of all before the payload
//! ```
//!
//! The checks find accidents, not attackers: who a peer is, and that nobody else wrote, is for TLS below.

mod decode;
mod encode;
mod error;
mod kind;

#[cfg(test)]
mod tests;

pub use decode::{Decoder, Frame};
pub use encode::{Encoded, Envelope};
pub use error::WireError;
pub use kind::Kind;

/// The version of the frame that this build writes, and the only one it reads.
pub const VERSION: u16 = 1;

/// What a frame begins with.
const MAGIC: [u8; 4] = *b"UKVf";
/// Everything before the prelude's own check.
const CHECKED_PRELUDE_BYTES: usize = 40;
/// Everything before the header.
const PRELUDE_BYTES: usize = 48;
/// The check at the end.
const TRAILER_BYTES: usize = 8;

/// What a frame takes beyond its header and payload.
pub const OVERHEAD_BYTES: usize = PRELUDE_BYTES + TRAILER_BYTES;

/// What the last eight bytes of a frame check. It belongs to the lane, so both ends know it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cover {
    /// Everything before them.
    Whole,
    /// Everything before the payload: for block bytes, which TLS protects on the way and whose own checksum is compared
    /// on arrival. A second hash over them at each end would cost as much as moving them.
    Head,
}

/// The longest parts that a reader makes room for, and what is checked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// The longest header.
    pub header_bytes_max: u32,
    /// The longest payload.
    pub payload_bytes_max: u32,
    /// What the check at the end covers.
    pub cover: Cover,
}

impl Limits {
    /// For lanes of small messages: a Raft entry is at most 64 KiB, an append some of them.
    pub const SMALL: Self = Self {
        header_bytes_max: 256 * 1024,
        payload_bytes_max: 4 * 1024 * 1024,
        cover: Cover::Whole,
    };
    /// For lanes of block bytes: some blocks of a large model in one payload.
    pub const BULK: Self = Self {
        header_bytes_max: 256 * 1024,
        payload_bytes_max: 64 * 1024 * 1024,
        cover: Cover::Head,
    };

    /// The longest whole frame.
    #[must_use]
    pub fn frame_bytes_max(self) -> usize {
        length(self.header_bytes_max)
            .saturating_add(length(self.payload_bytes_max))
            .saturating_add(OVERHEAD_BYTES)
    }
}

/// A length on the wire as a length in memory.
fn length(bytes: u32) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}
