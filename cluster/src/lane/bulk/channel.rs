//! Frames on one connection, one after the other. It must never know what they are for.

use std::io;
use std::sync::Arc;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::io::Io;
use crate::NodeId;
use crate::peer::{Parcel, PeerError};
use crate::wire::{Decoder, Encoded, Envelope, Frame, Limits, WireError};

/// The unit in which room for long requests is counted.
pub(super) const KIBIBYTE: usize = 1024;
/// Requests up to this length are bounded by the number of connections alone.
const UNCOUNTED_BYTES_MAX: usize = 16 * 1024;

/// The memory that a connection keeps for its next frame: a block of 4 MiB and what is around it.
const KEPT_BYTES_MAX: usize = 5 * 1024 * 1024;

/// Why no frame came.
#[derive(Debug)]
pub(super) enum Fault {
    /// What came is no frame.
    Wire(WireError),
    /// The connection ended.
    Lost(String),
}

impl Fault {
    pub(super) fn for_peer(self, peer: NodeId) -> PeerError {
        match self {
            Self::Wire(error) => PeerError::Protocol { peer, error },
            Self::Lost(reason) => PeerError::Lost { peer, reason },
        }
    }
}

impl From<WireError> for Fault {
    fn from(error: WireError) -> Self {
        Self::Wire(error)
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        Self::Lost(error.to_string())
    }
}

/// A connection and what was read of it ahead.
pub(super) struct Channel {
    io: Io,
    decoder: Decoder,
    /// The longest frame whose memory may still be held.
    frame_bytes: usize,
}

impl Channel {
    pub(super) fn new(io: Io) -> Self {
        Self {
            io,
            decoder: Decoder::new(Limits::BULK),
            frame_bytes: 0,
        }
    }

    /// Waits until something comes; false when the peer ended the connection instead. What came is kept when nobody
    /// waits any more.
    pub(super) async fn wakes(&mut self) -> Result<bool, Fault> {
        if self.decoder.pending_bytes() > 0 {
            return Ok(true);
        }
        Ok(self.io.read_buf(self.decoder.room()).await? > 0)
    }

    /// The next frame, with the room that it took if it is long; none when the peer ended the connection.
    pub(super) async fn read(
        &mut self,
        room: Option<&Arc<Semaphore>>,
    ) -> Result<Option<(Frame, Option<OwnedSemaphorePermit>)>, Fault> {
        let mut held = None;
        loop {
            let frame = self.decoder.next_frame()?;
            if let Some(frame) = frame {
                self.let_go();
                return Ok(Some((frame, held)));
            }
            self.frame_bytes = self
                .decoder
                .expected_bytes()
                .unwrap_or(0)
                .max(self.frame_bytes);
            if let Some(room) = room.filter(|_| held.is_none()) {
                held = self.take_room(room).await?;
            }
            if self.io.read_buf(self.decoder.room()).await? == 0 {
                self.decoder.finish()?;
                return Ok(None);
            }
        }
    }

    /// Room for the frame under way, once it is known to be a long one.
    async fn take_room(
        &self,
        room: &Arc<Semaphore>,
    ) -> Result<Option<OwnedSemaphorePermit>, Fault> {
        let expected = self.decoder.expected_bytes();
        let Some(bytes) = expected.filter(|bytes| *bytes > UNCOUNTED_BYTES_MAX) else {
            return Ok(None);
        };
        let kibibytes = u32::try_from(bytes.div_ceil(KIBIBYTE)).unwrap_or(u32::MAX);
        let taken = Arc::clone(room).acquire_many_owned(kibibytes).await;
        taken
            .map(Some)
            .map_err(|_| Fault::Lost("this node stops".to_owned()))
    }

    /// The last frame's memory is used again for the next, once the payload is dropped: fresh memory costs as much as
    /// moving the bytes. A quiet connection must not keep the memory of a very long one, though.
    fn let_go(&mut self) {
        let kept = self.decoder.pending_bytes();
        if kept == 0 && self.frame_bytes > KEPT_BYTES_MAX {
            self.decoder = Decoder::new(Limits::BULK);
            self.frame_bytes = 0;
        }
    }

    pub(super) async fn write(&mut self, frame: Encoded) -> io::Result<()> {
        self.io.write_all_buf(&mut frame.into_buf()).await?;
        self.io.flush().await
    }

    /// Tells the peer that nothing more comes, as TLS wants it.
    pub(super) async fn end(mut self) {
        // The connection is over either way.
        drop(self.io.shutdown().await);
    }

    pub(super) fn is_quiet(&self) -> bool {
        self.decoder.pending_bytes() == 0 && self.io.is_quiet()
    }
}

/// A parcel in a node's envelope.
pub(super) fn encode(me: NodeId, request: u64, parcel: &Parcel) -> Result<Encoded, WireError> {
    let envelope = Envelope {
        kind: parcel.kind,
        node: me,
        request,
    };
    let payload = parcel.payload.clone();
    Encoded::of_parts(envelope, &parcel.header, payload, Limits::BULK)
}

/// What is in a frame's envelope.
pub(super) fn open(frame: Frame) -> (Envelope, Parcel) {
    let (envelope, header, payload) = frame.into_parts();
    let kind = envelope.kind;
    let parcel = Parcel {
        kind,
        header,
        payload,
    };
    (envelope, parcel)
}
