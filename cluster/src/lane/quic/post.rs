//! Messages that need no answer: a bounded queue a peer, many frames a write, one stream a connection.
//!
//! They arrive in order while the stream lives. It must never wait for a peer.

use std::sync::Arc;

use bytes::{Bytes, BytesMut};
use quinn::Connection;
use tokio::sync::mpsc;

use super::stream::{encode, open_frame};
use super::{Shared, code};
use crate::NodeId;
use crate::lane::room::Place;
use crate::lane::telemetry::count;
use crate::peer::Parcel;
use crate::wire::WireError;

/// Frames that go into one write.
const BATCH_MAX: usize = 256;
/// A batch is cut when it has grown this long.
const BATCH_BYTES_MAX: usize = 64 * 1024;

/// A frame that waits for its turn, and what it takes of the queue's room.
pub(super) struct Post {
    frame: Bytes,
    /// Given back when the frame is written or dropped.
    _place: Place,
}

/// Puts a parcel into its peer's queue, if there is room and a connection or a dial under way.
pub(super) fn post(shared: &Arc<Shared>, node: NodeId, parcel: Parcel) -> bool {
    let queued = queue(shared, node, &parcel).is_some();
    if !queued {
        shared.meters.posts_dropped.increment(1);
    }
    queued
}

fn queue(shared: &Arc<Shared>, node: NodeId, parcel: &Parcel) -> Option<()> {
    if node == shared.me() || shared.is_stopping() {
        return None;
    }
    let peer = shared.peer(node);
    let place = peer.posts.take(parcel.len_bytes())?;
    let frame = encode(shared, 0, parcel);
    let frame = frame.inspect_err(|error| {
        tracing::warn!(code = error.code(), %error, "a message to a peer cannot be sent");
    });
    let frame = Bytes::from(frame.ok()?.to_vec());
    let queue = peer.post_queue(shared)?;
    queue
        .try_send(Post {
            frame,
            _place: place,
        })
        .ok()
}

/// Writes what is queued for one connection, until that ends.
pub(super) async fn write_all(
    shared: Arc<Shared>,
    connection: Connection,
    mut queue: mpsc::Receiver<Post>,
) {
    let dropped = tokio::select! {
        ended = connection.closed() => {
            tracing::debug!(reason = code::reason(&ended), "posts end with their connection");
            0
        }
        dropped = write_queue(&shared, &connection, &mut queue) => dropped,
    };
    let lost = dropped.saturating_add(drain(&mut queue));
    shared.meters.posts_dropped.increment(lost);
}

/// Empties a queue that nobody will write, and counts what was in it.
pub(super) fn drain(queue: &mut mpsc::Receiver<Post>) -> u64 {
    queue.close();
    let mut lost: u64 = 0;
    while queue.try_recv().is_ok() {
        lost = lost.saturating_add(1);
    }
    lost
}

/// Answers how many frames were taken and not written.
async fn write_queue(
    shared: &Shared,
    connection: &Connection,
    queue: &mut mpsc::Receiver<Post>,
) -> u64 {
    let mut batch = Vec::with_capacity(BATCH_MAX);
    let mut stream = None;
    loop {
        batch.clear();
        if queue.recv_many(&mut batch, BATCH_MAX).await == 0 {
            return 0;
        }
        let send = match &mut stream {
            Some(send) => send,
            None => match connection.open_uni().await {
                Ok(send) => stream.insert(send),
                Err(_) => return count(batch.len()),
            },
        };
        let mut rest = batch.as_slice();
        while let Some((first, after)) = rest.split_first() {
            let (piece, left) = piece(first, after);
            let bytes = count(piece.len());
            if send.write_chunk(piece).await.is_err() {
                return count(rest.len());
            }
            shared.meters.bytes_out.increment(bytes);
            rest = left;
        }
    }
}

/// The first frame and those after it that fit into one write, and what is left.
fn piece<'a>(first: &Post, after: &'a [Post]) -> (Bytes, &'a [Post]) {
    let mut bytes = first.frame.len();
    let mut fit = 0;
    for post in after {
        bytes = bytes.saturating_add(post.frame.len());
        if bytes > BATCH_BYTES_MAX {
            break;
        }
        fit += 1;
    }
    let (now, later) = after.split_at_checked(fit).unwrap_or((after, &[]));
    if now.is_empty() {
        return (first.frame.clone(), later);
    }
    let mut piece = BytesMut::with_capacity(bytes.min(BATCH_BYTES_MAX));
    piece.extend_from_slice(&first.frame);
    for post in now {
        piece.extend_from_slice(&post.frame);
    }
    (piece.freeze(), later)
}

/// Takes what a peer posts on one stream, until that ends; bytes that are no frame end the connection.
pub(super) async fn read_all(
    shared: Arc<Shared>,
    connection: Connection,
    peer: NodeId,
    recv: quinn::RecvStream,
) {
    let mut reader = super::stream::FrameReader::new(recv);
    loop {
        match reader.next().await {
            Ok(Some(frame)) => {
                let Ok((_, parcel)) = open_frame(&shared, &connection, peer, frame) else {
                    return;
                };
                take(&shared, peer, parcel);
            }
            Ok(None) => return,
            Err(super::stream::Fault::Wire(error)) => {
                shared.meters.frame_refused(error.code());
                // A newer peer may post kinds that this build does not know; they are lost, as posts may be.
                if matches!(error, WireError::UnknownKind { .. }) {
                    continue;
                }
                tracing::warn!(%peer, code = error.code(), %error, "a peer's posts are no frames");
                connection.close(code::NO_FRAME, error.to_string().as_bytes());
                return;
            }
            Err(_) => return,
        }
    }
}

fn take(shared: &Shared, peer: NodeId, parcel: Parcel) {
    let taken = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        shared.responder.take(peer, parcel);
    }));
    if taken.is_err() {
        shared.meters.answer_failed("lane_panic");
        tracing::error!(%peer, "a message of a peer made its receiver panic");
    }
}
