//! What a lane asks of the house (addresses) and what it tells of itself (peers, events). It must never know a socket.

use std::net::SocketAddr;

use crate::NodeId;

/// Where nodes are to be found; asked at each dial, so that a node may move.
pub trait AddressBook: Send + Sync + 'static {
    /// The addresses of a node's lane, the likeliest first; none when nobody knows.
    fn addresses(&self, node: NodeId) -> Vec<SocketAddr>;
}

/// Why a lane could not start.
#[derive(Debug, thiserror::Error)]
pub enum LaneError {
    /// The port cannot be had.
    #[error("cannot listen on {address}")]
    Bind {
        /// What was asked for.
        address: SocketAddr,
        /// What the system said.
        source: std::io::Error,
    },
    /// A library below does not take these settings.
    #[error("the lane's settings are refused: {reason}")]
    Settings {
        /// What it said.
        reason: String,
    },
}

impl LaneError {
    /// A stable name for machines.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Bind { .. } => "lane_bind",
            Self::Settings { .. } => "lane_settings",
        }
    }

    /// What to do about it.
    #[must_use]
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::Bind { .. } => "choose another cluster port, or stop the process that holds it",
            Self::Settings { .. } => "report it with the version of this build",
        }
    }
}

/// Which side dialled a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// This node did.
    Out,
    /// The peer did.
    In,
}

/// What happened to a connection.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LaneChange {
    /// It stands, and the peer's certificate was believed.
    Up,
    /// It ended.
    Down {
        /// Why.
        reason: String,
    },
}

/// A connection came or went; told to whoever listens, and lost to a listener that is far behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LaneEvent {
    /// With whom.
    pub node: NodeId,
    /// Who dialled.
    pub direction: Direction,
    /// What happened.
    pub change: LaneChange,
}

/// What a lane knows of a peer, for status.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct PeerState {
    /// Who.
    pub node: NodeId,
    /// Whether this node's own connection to it stands.
    pub connected: bool,
    /// Where that leads.
    pub address: Option<String>,
    /// How long it has stood.
    pub connected_ms: Option<u64>,
    /// Connections that the peer dialled.
    pub inbound: usize,
    /// A round trip on this node's connection.
    pub rtt_us: Option<u64>,
    /// How long ago anything came from it, on any connection; exact to half a second.
    pub heard_ms_ago: Option<u64>,
    /// The version of its build, as it said.
    pub version: Option<String>,
    /// Requests that it owes an answer.
    pub calls: usize,
    /// Dials that failed since the last that did not.
    pub failures: u32,
    /// Why the last connection ended or did not come about.
    pub last_error: Option<String>,
}
