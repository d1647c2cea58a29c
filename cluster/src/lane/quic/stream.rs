//! Frames on a QUIC stream, one after the other. It must never know what they are for.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use quinn::{Connection, ReadError, RecvStream, SendStream, WriteError};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::timeout;

use super::{Shared, code};
use crate::NodeId;
use crate::peer::{Parcel, ParcelStream, PeerError, Refused};
use crate::wire::{Decoder, Encoded, Envelope, Frame, Kind, Limits, WireError};

/// Set in the request id of every frame of a stream of frames.
pub(super) const STREAM_BIT: u64 = 1 << 63;
/// The unit in which room for long requests is counted.
pub(super) const KIBIBYTE: usize = 1024;

/// Frames up to this length are sent as one piece: a copy is cheaper than three.
const COPY_BYTES_MAX: usize = 16 * 1024;
/// Requests up to this length are bounded by their number alone.
const UNCOUNTED_BYTES_MAX: usize = 16 * 1024;
/// What is taken from the connection at once.
const CHUNK_BYTES_MAX: usize = 1024 * 1024;

/// Why no frame came.
#[derive(Debug)]
pub(super) enum Fault {
    /// What came is no frame.
    Wire(WireError),
    /// The peer gave the stream up.
    Reset(u64),
    /// The connection ended.
    Lost(String),
}

impl Fault {
    pub(super) fn for_peer(self, peer: NodeId) -> PeerError {
        match self {
            Self::Wire(error) => PeerError::Protocol { peer, error },
            Self::Reset(number) => PeerError::Lost {
                peer,
                reason: format!("the peer gave the stream up (code {number})"),
            },
            Self::Lost(reason) => PeerError::Lost { peer, reason },
        }
    }
}

impl From<WireError> for Fault {
    fn from(error: WireError) -> Self {
        Self::Wire(error)
    }
}

/// Reads frames from one stream.
pub(super) struct FrameReader {
    recv: RecvStream,
    decoder: Decoder,
    room: Option<Arc<Semaphore>>,
    held: Option<OwnedSemaphorePermit>,
}

impl FrameReader {
    pub(super) fn new(recv: RecvStream) -> Self {
        Self {
            recv,
            decoder: Decoder::new(Limits::SMALL),
            room: None,
            held: None,
        }
    }

    /// A reader whose first long frame waits for room, and holds it until the reader is dropped.
    pub(super) fn with_room(recv: RecvStream, room: Arc<Semaphore>) -> Self {
        Self {
            room: Some(room),
            ..Self::new(recv)
        }
    }

    /// The next frame, or none when the peer said everything. What was read is kept when nobody waits any more.
    pub(super) async fn next(&mut self) -> Result<Option<Frame>, Fault> {
        loop {
            if let Some(frame) = self.decoder.next_frame()? {
                return Ok(Some(frame));
            }
            if let Some(bytes) = self.decoder.expected_bytes() {
                self.make_room(bytes).await?;
                self.decoder.room();
            }
            match self.recv.read_chunk(CHUNK_BYTES_MAX, true).await {
                Ok(Some(chunk)) => self.decoder.push(&chunk.bytes),
                Ok(None) => {
                    self.decoder.finish()?;
                    return Ok(None);
                }
                Err(ReadError::Reset(number)) => return Err(Fault::Reset(number.into_inner())),
                Err(ReadError::ConnectionLost(error)) => {
                    return Err(Fault::Lost(code::reason(&error)));
                }
                Err(error) => return Err(Fault::Lost(error.to_string())),
            }
        }
    }

    async fn make_room(&mut self, bytes: usize) -> Result<(), Fault> {
        if bytes <= UNCOUNTED_BYTES_MAX || self.held.is_some() {
            return Ok(());
        }
        let Some(room) = &self.room else {
            return Ok(());
        };
        let kibibytes = u32::try_from(bytes.div_ceil(KIBIBYTE)).unwrap_or(u32::MAX);
        let held = Arc::clone(room).acquire_many_owned(kibibytes).await;
        self.held = Some(held.map_err(|_| Fault::Lost("this node stops".to_owned()))?);
        Ok(())
    }

    /// Whether bytes came that belong to no frame taken so far.
    pub(super) fn has_more(&self) -> bool {
        self.decoder.pending_bytes() > 0
    }

    /// Tells the peer to send no more.
    pub(super) fn stop(&mut self, number: quinn::VarInt) {
        // A stream that ended by itself has nothing to stop.
        drop(self.recv.stop(number));
    }
}

/// Writes one frame.
pub(super) async fn write(send: &mut SendStream, frame: Encoded) -> Result<(), WriteError> {
    if frame.len_bytes() <= COPY_BYTES_MAX {
        return send.write_chunk(Bytes::from(frame.to_vec())).await;
    }
    send.write_all_chunks(&mut frame.into_pieces()).await
}

/// Why a write failed, in words.
pub(super) fn write_reason(error: &WriteError) -> String {
    match error {
        WriteError::ConnectionLost(error) => code::reason(error),
        WriteError::Stopped(number) => {
            format!("the peer gave the stream up (code {number})")
        }
        other => other.to_string(),
    }
}

/// Resets its stream unless it was finished, so that a sender who goes away leaves no half frame that looks whole.
pub(super) struct Outgoing {
    pub(super) send: SendStream,
    finished: bool,
}

impl Outgoing {
    pub(super) const fn new(send: SendStream) -> Self {
        Self {
            send,
            finished: false,
        }
    }

    pub(super) fn finish(&mut self) {
        self.finished = true;
        // A peer that stopped the stream needs no end of it.
        drop(self.send.finish());
    }
}

impl Drop for Outgoing {
    fn drop(&mut self) {
        if !self.finished {
            drop(self.send.reset(code::CANCELLED));
        }
    }
}

/// A stream of frames over one QUIC stream.
pub(super) struct QuicParcels {
    pub(super) shared: Arc<Shared>,
    pub(super) connection: Connection,
    pub(super) peer: NodeId,
    pub(super) request: u64,
    pub(super) send: Outgoing,
    pub(super) reader: FrameReader,
    /// What bounds the number of streams, given back with this one.
    pub(super) permit: Option<OwnedSemaphorePermit>,
    /// Whether a frame was begun and not written whole.
    pub(super) torn: bool,
}

impl QuicParcels {
    /// Writes one parcel, and gives up a peer that does not read.
    pub(super) async fn write(&mut self, parcel: Parcel) -> Result<(), PeerError> {
        let peer = self.peer;
        let frame = encode(&self.shared, self.request, &parcel)
            .map_err(|error| PeerError::Protocol { peer, error })?;
        let within: Duration = self.shared.limits.stall_within;
        self.torn = true;
        match timeout(within, write(&mut self.send.send, frame)).await {
            Ok(Ok(())) => {
                self.torn = false;
                Ok(())
            }
            Ok(Err(error)) => Err(PeerError::Lost {
                peer,
                reason: write_reason(&error),
            }),
            Err(_) => Err(PeerError::Lost {
                peer,
                reason: "the peer does not read".to_owned(),
            }),
        }
    }

    async fn read(&mut self) -> Result<Option<Parcel>, PeerError> {
        let peer = self.peer;
        let next = self.reader.next().await;
        let Some(frame) = next.map_err(|fault| fault.for_peer(peer))? else {
            return Ok(None);
        };
        let parcel = open_frame(&self.shared, &self.connection, peer, frame)?.1;
        if parcel.kind == Kind::Refusal {
            return Err(refused_by(peer, &parcel));
        }
        Ok(Some(parcel))
    }
}

impl Drop for QuicParcels {
    fn drop(&mut self) {
        // A frame that was cut short must not look like the end of what was said.
        if !self.torn {
            self.send.finish();
        }
        drop(self.permit.take());
    }
}

impl ParcelStream for QuicParcels {
    fn send(&mut self, parcel: Parcel) -> BoxFuture<'_, Result<(), PeerError>> {
        self.write(parcel).boxed()
    }

    fn receive(&mut self) -> BoxFuture<'_, Result<Option<Parcel>, PeerError>> {
        self.read().boxed()
    }
}

/// A parcel in this node's envelope.
pub(super) fn encode(shared: &Shared, request: u64, parcel: &Parcel) -> Result<Encoded, WireError> {
    let envelope = Envelope {
        kind: parcel.kind,
        node: shared.me(),
        request,
    };
    let payload = parcel.payload.clone();
    Encoded::of_parts(envelope, &parcel.header, payload, Limits::SMALL)
}

/// Takes a frame out of its envelope, once that names the node of the connection's certificate; else it ends that.
pub(super) fn open_frame(
    shared: &Shared,
    connection: &Connection,
    peer: NodeId,
    frame: Frame,
) -> Result<(u64, Parcel), PeerError> {
    let (envelope, header, payload) = frame.into_parts();
    if envelope.node != peer {
        shared.meters.frame_refused("lane_wrong_node");
        let reason = format!(
            "a frame names node {}, the certificate node {peer}",
            envelope.node
        );
        connection.close(code::WRONG_NODE, reason.as_bytes());
        return Err(PeerError::Lost { peer, reason });
    }
    let parcel = Parcel {
        kind: envelope.kind,
        header,
        payload,
    };
    let bytes = crate::lane::telemetry::count(parcel.len_bytes());
    shared.meters.bytes_in.increment(bytes);
    Ok((envelope.request, parcel))
}

/// A refusal as the error that it stands for.
pub(super) fn refused_by(peer: NodeId, parcel: &Parcel) -> PeerError {
    match parcel.header::<Refused>() {
        Ok(refused) => PeerError::Refused { peer, refused },
        Err(error) => PeerError::Protocol { peer, error },
    }
}
