//! What can be wrong with a store of logs and votes. It must never know who opened it.

use super::DiskError;

/// Why a store could not be opened, read or written.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The disk, or the library that writes to it, refused.
    #[error("the store of logs and votes cannot be used")]
    Disk(#[from] DiskError),
    /// An item is not what was written.
    #[error("the store of logs and votes is damaged: {what}")]
    Corrupt {
        /// Which item, and how.
        what: String,
    },
    /// Another version of the layout.
    #[error("the store of logs and votes has layout {found}, this build reads {wanted}")]
    Version {
        /// What the store says.
        found: u64,
        /// What this build reads.
        wanted: u64,
    },
    /// The writing thread is gone, after an error or a stop.
    #[error("the store of logs and votes is closed")]
    Closed,
}

impl LogError {
    /// A stable name for logs and metrics.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Disk(_) => "raft_log_disk",
            Self::Corrupt { .. } => "raft_log_corrupt",
            Self::Version { .. } => "raft_log_version",
            Self::Closed => "raft_log_closed",
        }
    }

    /// What to do about it.
    #[must_use]
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::Disk(_) => {
                "check the disk; if it is lost, wipe the store and rejoin as a new learner"
            }
            Self::Corrupt { .. } => {
                "wipe the store and rejoin as a new learner: this member's votes are lost"
            }
            Self::Version { .. } => {
                "run the build that wrote it, or wipe the store and rejoin as a new learner"
            }
            Self::Closed => {
                "look for the first error of this store in the log, and restart the node"
            }
        }
    }

    /// Whether the member must never come back under its old id: it may have forgotten a vote.
    #[must_use]
    pub const fn must_rejoin(&self) -> bool {
        matches!(self, Self::Disk(_) | Self::Corrupt { .. })
    }
}
