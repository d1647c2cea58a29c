//! The other nodes as the protocols see them: asked one question at a time, told something in passing, or spoken with over
//! a stream of frames.
//!
//! Responsible for the contract between what is said and how it travels: [`Caller`] on the side that asks,
//! [`Responder`] on the side that answers. The lanes implement the first and drive the second; tests do it with channels.
//! It must never know a socket, nor what a header means.

use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;
use serde::Serialize;
use serde::de::DeserializeOwned;
use ultrakv_actors::Deadline;

use crate::NodeId;
use crate::wire::{Kind, WireError};

/// One message without its envelope: what it is for, its header as MessagePack with named fields, and raw bytes.
#[derive(Clone, Debug)]
pub struct Parcel {
    /// What it is for, and so which header it has.
    pub kind: Kind,
    /// The header, encoded.
    pub header: Bytes,
    /// Raw bytes, never copied on the way.
    pub payload: Bytes,
}

impl Parcel {
    /// Encodes a header.
    ///
    /// # Errors
    /// When the header cannot be written as MessagePack.
    pub fn new(kind: Kind, header: &impl Serialize, payload: Bytes) -> Result<Self, WireError> {
        let header = rmp_serde::to_vec_named(header).map_err(|error| WireError::Header {
            kind,
            reason: error.to_string(),
        })?;
        Ok(Self {
            kind,
            header: header.into(),
            payload,
        })
    }

    /// Reads the header.
    ///
    /// # Errors
    /// When it is not the header that the caller expects.
    pub fn header<T: DeserializeOwned>(&self) -> Result<T, WireError> {
        rmp_serde::from_slice(&self.header).map_err(|error| WireError::Header {
            kind: self.kind,
            reason: error.to_string(),
        })
    }

    /// What it takes of a bound on bytes.
    #[must_use]
    pub fn len_bytes(&self) -> usize {
        self.header.len().saturating_add(self.payload.len())
    }
}

/// Why a peer was not asked, or gave no answer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PeerError {
    /// Nothing was sent: no address, no connection, or this node is stopping.
    #[error("node {peer} is not reached: {reason}")]
    Unreachable {
        /// Who.
        peer: NodeId,
        /// Why.
        reason: String,
    },
    /// As much is under way to this peer as may be; nothing was sent.
    #[error("too much is under way to node {peer}")]
    Busy {
        /// Who.
        peer: NodeId,
    },
    /// No answer came in time; it may have been carried out.
    #[error("node {peer} did not answer in time")]
    Deadline {
        /// Who.
        peer: NodeId,
    },
    /// The connection ended before the answer came; it may have been carried out.
    #[error("the connection to node {peer} ended: {reason}")]
    Lost {
        /// Who.
        peer: NodeId,
        /// Why.
        reason: String,
    },
    /// The peer understood, and refused.
    #[error("node {peer} refused: {refused}")]
    Refused {
        /// Who.
        peer: NodeId,
        /// Its words.
        refused: Refused,
    },
    /// The peer sent what is no frame, or not the one that was due.
    #[error("node {peer} broke the protocol: {error}")]
    Protocol {
        /// Who.
        peer: NodeId,
        /// How.
        error: WireError,
    },
}

impl PeerError {
    /// Whether it is certain that the peer never got the question.
    #[must_use]
    pub const fn is_unsent(&self) -> bool {
        matches!(self, Self::Unreachable { .. } | Self::Busy { .. })
    }

    /// A stable name for machines.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Unreachable { .. } => "peer_unreachable",
            Self::Busy { .. } => "peer_busy",
            Self::Deadline { .. } => "peer_deadline",
            Self::Lost { .. } => "peer_lost",
            Self::Refused { .. } => "peer_refused",
            Self::Protocol { .. } => "peer_protocol",
        }
    }

    /// What to do about it.
    #[must_use]
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::Unreachable { .. } | Self::Lost { .. } => {
                "see whether the node runs and its cluster port can be reached from here"
            }
            Self::Busy { .. } | Self::Deadline { .. } => "try again after a moment",
            Self::Refused { .. } => "the refusal says what to do",
            Self::Protocol { .. } => "compare the versions of both nodes",
        }
    }
}

/// A refusal as it travels: the answer of kind [`Kind::Refusal`].
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize, thiserror::Error)]
#[error("{message} ({code})")]
pub struct Refused {
    /// A stable name for machines.
    pub code: String,
    /// One sentence for people.
    pub message: String,
    /// What to do about it.
    pub hint: String,
}

/// A stream of frames between two nodes, in order, each way. Dropping it ends it.
pub trait ParcelStream: Send {
    /// Sends the next one, and waits while the peer is slower.
    ///
    /// # Errors
    /// When the stream ended.
    fn send(&mut self, parcel: Parcel) -> BoxFuture<'_, Result<(), PeerError>>;

    /// The next one; none when the peer has said everything.
    ///
    /// # Errors
    /// When the stream broke.
    fn receive(&mut self) -> BoxFuture<'_, Result<Option<Parcel>, PeerError>>;
}

/// Reaches other nodes. Who is where, it knows by itself.
pub trait Caller: Send + Sync + 'static {
    /// Asks, and waits for the answer until the deadline at most.
    fn call(
        &self,
        peer: NodeId,
        ask: Parcel,
        deadline: Deadline,
    ) -> BoxFuture<'_, Result<Parcel, PeerError>>;

    /// Says something that needs no answer and may be lost; never waits. Tells whether there was room for it.
    fn post(&self, peer: NodeId, parcel: Parcel) -> bool;

    /// Opens a stream of frames whose first is `first`.
    fn open(
        &self,
        peer: NodeId,
        first: Parcel,
        deadline: Deadline,
    ) -> BoxFuture<'_, Result<Box<dyn ParcelStream>, PeerError>>;
}

/// Answers other nodes. Who asks was proven by its certificate.
pub trait Responder: Send + Sync + 'static {
    /// Answers a question.
    fn answer(&self, peer: NodeId, ask: Parcel) -> BoxFuture<'_, Result<Parcel, Refused>>;

    /// Takes what needs no answer; must not wait.
    fn take(&self, peer: NodeId, parcel: Parcel);

    /// Takes a stream that a peer opened with `first`, until its end.
    fn stream(
        &self,
        peer: NodeId,
        first: Parcel,
        stream: Box<dyn ParcelStream>,
    ) -> BoxFuture<'_, ()>;
}

/// The way to other nodes, shared.
pub type Callers = Arc<dyn Caller>;
