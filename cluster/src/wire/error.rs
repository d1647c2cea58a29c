//! What can be wrong with a frame. It must never know where the frame came from.

use crate::NodeId;

/// Why bytes are not a frame, or a frame not what was expected.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WireError {
    /// The stream does not begin like a frame.
    #[error("the bytes {found:02x?} do not begin a frame")]
    Magic {
        /// What stood there.
        found: [u8; 4],
    },
    /// The peer speaks another version.
    #[error("the peer speaks frame version {theirs}, this node speaks {ours}")]
    Version {
        /// The version in the frame.
        theirs: u16,
        /// The version of this build.
        ours: u16,
    },
    /// The first 48 bytes were damaged.
    #[error("the checksum of a frame's first bytes is wrong")]
    Prelude,
    /// The header is longer than this lane allows.
    #[error("a header of {bytes} bytes is longer than {bytes_max}")]
    HeaderTooLarge {
        /// Its length.
        bytes: u64,
        /// The longest allowed.
        bytes_max: u64,
    },
    /// The payload is longer than this lane allows.
    #[error("a payload of {bytes} bytes is longer than {bytes_max}")]
    PayloadTooLarge {
        /// Its length.
        bytes: u64,
        /// The longest allowed.
        bytes_max: u64,
    },
    /// The frame was damaged.
    #[error("the checksum of a frame is wrong")]
    Checksum,
    /// A whole and undamaged frame of a kind that this build does not know.
    #[error("frame kind {number} of node {node} is not known to this build")]
    UnknownKind {
        /// The number in the frame.
        number: u16,
        /// Who sent it.
        node: NodeId,
        /// Which request it was, so that it can be refused by name.
        request: u64,
    },
    /// The header is not the one that its kind has.
    #[error("a header of kind {kind:?} cannot be read: {reason}")]
    Header {
        /// The kind of the frame.
        kind: super::Kind,
        /// What the reader said.
        reason: String,
    },
    /// The stream ended inside a frame.
    #[error("the stream ended inside a frame, after {bytes} of its bytes")]
    Truncated {
        /// What had come.
        bytes: u64,
    },
}

impl WireError {
    /// Whether the stream must be given up, since nobody knows where the next frame begins.
    #[must_use]
    pub const fn ends_stream(&self) -> bool {
        !matches!(self, Self::UnknownKind { .. } | Self::Header { .. })
    }

    /// A stable name for logs and metrics.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Magic { .. } => "wire_magic",
            Self::Version { .. } => "wire_version",
            Self::Prelude => "wire_prelude",
            Self::HeaderTooLarge { .. } => "wire_header_too_large",
            Self::PayloadTooLarge { .. } => "wire_payload_too_large",
            Self::Checksum => "wire_checksum",
            Self::UnknownKind { .. } => "wire_unknown_kind",
            Self::Header { .. } => "wire_header",
            Self::Truncated { .. } => "wire_truncated",
        }
    }

    /// What to do about it.
    #[must_use]
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::Magic { .. } => "check that the address is the cluster port of an UltraKV node",
            Self::Version { .. } => "run builds of neighbouring versions during an upgrade",
            Self::Prelude | Self::Checksum => {
                "retry on a new connection; if it stays, suspect memory or the network card"
            }
            Self::HeaderTooLarge { .. } | Self::PayloadTooLarge { .. } => {
                "send less in one frame, or several frames"
            }
            Self::UnknownKind { .. } => "upgrade the older node before the new kind is used",
            Self::Header { .. } => "report it with the versions of both nodes",
            Self::Truncated { .. } => "the peer closed or crashed; retry on a new connection",
        }
    }
}
