//! How a request to the node can fail, whatever it asked for.
//!
//! Outcomes (a miss, an object not admitted) are values and not here. This module must never know
//! a protocol: doors map these codes to theirs.

/// A request did not get an answer from the node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// As many requests as the node allows are in flight: none was queued, nothing happened.
    #[error("the node has as many requests in flight as it allows")]
    Busy,
    /// The request's time was up; it may have been carried out or not.
    #[error("the request's deadline passed before its answer came")]
    Deadline,
    /// The part that would have answered is not running, or stopped before it answered.
    #[error("the part of the node that answers this request is not running")]
    Stopped,
}

impl RequestError {
    /// A stable name for machines.
    #[must_use]
    pub const fn code(self) -> &'static str {
        match self {
            Self::Busy => "busy",
            Self::Deadline => "deadline",
            Self::Stopped => "stopped",
        }
    }

    /// What the caller can do about it.
    #[must_use]
    pub const fn hint(self) -> &'static str {
        match self {
            Self::Busy => "slow down, then send the request again; nothing of it was carried out",
            Self::Deadline => "give the request more time, or send fewer at once",
            Self::Stopped => {
                "send the request again after a moment: the part is being restarted, or the node \
                 is shutting down"
            }
        }
    }
}
