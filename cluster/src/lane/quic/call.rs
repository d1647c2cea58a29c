//! Asking a peer, on a stream of its own. It must never know what is asked.

use std::sync::Arc;

use quinn::Connection;
use tokio::time::timeout;
use ultrakv_actors::Deadline;

use super::link::{Peer, Up, connected};
use super::stream::{
    FrameReader, Outgoing, QuicParcels, STREAM_BIT, encode, open_frame, refused_by, write,
    write_reason,
};
use super::{Shared, code};
use crate::NodeId;
use crate::lane::telemetry::count;
use crate::peer::{Parcel, ParcelStream, PeerError};
use crate::wire::{Encoded, Kind, WireError};

/// A connection that ended before anything was sent is dialled again, once.
const TRIES: usize = 2;

/// Asks, and waits for the answer until the deadline at most. When the future is dropped, the peer is told so.
pub(super) async fn call(
    shared: &Arc<Shared>,
    node: NodeId,
    ask: Parcel,
    deadline: Deadline,
) -> Result<Parcel, PeerError> {
    let asked = ask_one(shared, node, ask, deadline).await;
    match &asked {
        Ok(_) => shared.meters.asked.increment(1),
        Err(error) => shared.meters.call_failed(error.code()),
    }
    asked
}

async fn ask_one(
    shared: &Arc<Shared>,
    node: NodeId,
    ask: Parcel,
    deadline: Deadline,
) -> Result<Parcel, PeerError> {
    let peer = shared.peer(node);
    let bytes = ask.len_bytes();
    let _place = peer
        .calls
        .take(bytes)
        .ok_or(PeerError::Busy { peer: node })?;
    let request = shared.next_request();
    let frame = encode(shared, request, &ask);
    let frame = frame.map_err(|error| PeerError::Protocol { peer: node, error })?;
    let (up, streams) = streams(shared, &peer, deadline).await?;
    let answered = timeout(shared.clock.remaining(deadline), async {
        let Some((send, recv)) = streams else {
            return Err(PeerError::Busy { peer: node });
        };
        let mut send = Outgoing::new(send);
        deliver(node, &mut send, frame).await?;
        shared.meters.bytes_out.increment(count(bytes));
        take_answer(shared, &up.connection, node, request, recv).await
    });
    answered
        .await
        .unwrap_or(Err(PeerError::Deadline { peer: node }))
}

type Streams = Option<(quinn::SendStream, quinn::RecvStream)>;

/// A new stream of the peer's connection; none when the peer lets us open no more until the deadline.
async fn streams(
    shared: &Arc<Shared>,
    peer: &Arc<Peer>,
    deadline: Deadline,
) -> Result<(Arc<Up>, Streams), PeerError> {
    let mut reason = String::new();
    for _ in 0..TRIES {
        let up = connected(shared, peer, deadline).await?;
        let left = shared.clock.remaining(deadline);
        match timeout(left, up.connection.open_bi()).await {
            Ok(Ok(streams)) => return Ok((up, Some(streams))),
            Ok(Err(error)) => {
                reason = code::reason(&error);
                peer.ended(shared, &up, &reason);
            }
            Err(_) => return Ok((up, None)),
        }
    }
    Err(PeerError::Unreachable {
        peer: peer.node,
        reason,
    })
}

async fn deliver(node: NodeId, send: &mut Outgoing, frame: Encoded) -> Result<(), PeerError> {
    match write(&mut send.send, frame).await {
        Ok(()) => {
            send.finish();
            Ok(())
        }
        // The peer did not wish to read all of it: its answer says why.
        Err(quinn::WriteError::Stopped(_)) => Ok(()),
        Err(error) => Err(PeerError::Lost {
            peer: node,
            reason: write_reason(&error),
        }),
    }
}

async fn take_answer(
    shared: &Shared,
    connection: &Connection,
    node: NodeId,
    request: u64,
    recv: quinn::RecvStream,
) -> Result<Parcel, PeerError> {
    let mut reader = FrameReader::new(recv);
    let frame = reader.next().await.map_err(|fault| {
        let error = fault.for_peer(node);
        if let PeerError::Protocol { error, .. } = &error {
            shared.meters.frame_refused(error.code());
        }
        error
    })?;
    let frame = frame.ok_or_else(|| PeerError::Lost {
        peer: node,
        reason: "the peer ended the stream without an answer".to_owned(),
    })?;
    let (answered, parcel) = open_frame(shared, connection, node, frame)?;
    // A refusal of what could not be read cannot name the request; the stream does.
    match parcel.kind {
        Kind::Refusal => Err(refused_by(node, &parcel)),
        Kind::Answer if answered == request => Ok(parcel),
        kind => Err(PeerError::Protocol {
            peer: node,
            error: WireError::Header {
                kind,
                reason: format!("an answer to request {request} was due, not this of {answered}"),
            },
        }),
    }
}

/// Opens a stream of frames.
pub(super) async fn open(
    shared: &Arc<Shared>,
    node: NodeId,
    first: Parcel,
    deadline: Deadline,
) -> Result<Box<dyn ParcelStream>, PeerError> {
    let peer = shared.peer(node);
    let (up, streams) = streams(shared, &peer, deadline).await?;
    let (send, recv) = streams.ok_or(PeerError::Busy { peer: node })?;
    // What waits behind a snapshot is worth more than the snapshot; a stream that is over has no priority to set.
    drop(send.set_priority(-1));
    let mut stream = QuicParcels {
        shared: Arc::clone(shared),
        connection: up.connection.clone(),
        peer: node,
        request: shared.next_request() | STREAM_BIT,
        send: Outgoing::new(send),
        reader: FrameReader::new(recv),
        permit: None,
        torn: false,
    };
    let left = shared.clock.remaining(deadline);
    match timeout(left, stream.write(first)).await {
        Ok(written) => written?,
        Err(_) => return Err(PeerError::Deadline { peer: node }),
    }
    Ok(Box::new(stream))
}
