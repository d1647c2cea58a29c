//! Why the cluster's metadata could not be changed or read. It must never know how leaders are found.

use serde::{Deserialize, Serialize};

use crate::NodeId;

/// Why a change or a read of the metadata failed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
pub enum ControlError {
    /// This node is not the leader; nothing was proposed.
    #[error("this node does not lead the cluster")]
    NotLeader {
        /// Who leads, as far as is known here.
        leader: Option<NodeId>,
    },
    /// Nobody leads, or the leader is not reached; nothing was proposed.
    #[error("the cluster has no leader that is reached from here")]
    Unavailable,
    /// As much waits as may; nothing was proposed.
    #[error("too many changes of the metadata wait")]
    Busy,
    /// The time was up before anything was proposed.
    #[error("the change of the metadata was not proposed in time")]
    Deadline,
    /// It may have been carried out, now or later; its answer is lost.
    #[error("whether the change of the metadata was made is not known")]
    Unknown,
    /// A command that fits in no log entry, or more of them than one call may bring.
    #[error("the commands are too large to be proposed")]
    TooLarge,
    /// Consensus stopped on this node, and so must the node.
    #[error("consensus stopped on this node: {reason}")]
    Fatal {
        /// Why.
        reason: String,
    },
}

impl ControlError {
    /// A stable name for machines.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NotLeader { .. } => "control_not_leader",
            Self::Unavailable => "control_unavailable",
            Self::Busy => "control_busy",
            Self::Deadline => "control_deadline",
            Self::Unknown => "control_unknown",
            Self::TooLarge => "control_too_large",
            Self::Fatal { .. } => "control_fatal",
        }
    }

    /// What to do about it.
    #[must_use]
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::NotLeader { .. } => "ask the leader",
            Self::Unavailable => {
                "see in the status whether a majority of the voters runs and is reached"
            }
            Self::Busy | Self::Deadline => "try again after a moment",
            Self::Unknown => "look at the state before trying again: it may have been done",
            Self::TooLarge => "propose fewer or smaller commands at once",
            Self::Fatal { .. } => {
                "read this node's log for the first error of consensus, and restart it"
            }
        }
    }

    /// Whether it is certain that nothing was and nothing will be carried out.
    #[must_use]
    pub const fn is_certain(&self) -> bool {
        !matches!(self, Self::Unknown | Self::Fatal { .. })
    }
}
