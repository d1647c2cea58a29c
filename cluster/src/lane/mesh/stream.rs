//! Bytes of a session carried in frames. It must never know what the bytes are.

use bytes::{Bytes, BytesMut};
use ractor_cluster::{BoxRead, BoxWrite, ClusterBidiStream};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, DuplexStream, duplex, split};

use crate::NodeId;
use crate::peer::{Parcel, ParcelStream};
use crate::wire::Kind;

/// What one side may be ahead of the other, and the longest frame.
const PIPE_BYTES: usize = 64 * 1024;

/// The session's end of a stream.
pub(super) struct SessionIo {
    peer: NodeId,
    io: DuplexStream,
}

impl ClusterBidiStream for SessionIo {
    fn split(self: Box<Self>) -> (BoxRead, BoxWrite) {
        let (read, write) = split(self.io);
        (Box::new(read), Box::new(write))
    }

    fn peer_label(&self) -> Option<String> {
        Some(label(self.peer))
    }
}

/// What the library calls a session with a peer that a lane has proven.
fn label(peer: NodeId) -> String {
    format!("ultrakv-node/{peer}")
}

/// The peer of a session, if it is one of ours.
pub(super) fn labelled(label: &str) -> Option<NodeId> {
    NodeId::parse(label.strip_prefix("ultrakv-node/")?)
}

/// The first frame of a stream, and every later one.
pub(super) const fn parcel(payload: Bytes) -> Parcel {
    Parcel {
        kind: Kind::Mesh,
        header: Bytes::new(),
        payload,
    }
}

/// The session's end, and the work that carries its bytes until either side ends.
pub(super) fn carry(
    peer: NodeId,
    stream: Box<dyn ParcelStream>,
) -> (SessionIo, impl Future<Output = ()> + Send) {
    let (io, ours) = duplex(PIPE_BYTES);
    (SessionIo { peer, io }, pump(peer, stream, ours))
}

/// While it waits to send it receives nothing; a peer that does the same and never reads is given up by the lane.
async fn pump(peer: NodeId, mut stream: Box<dyn ParcelStream>, io: DuplexStream) {
    let (mut from_session, mut to_session) = split(io);
    let mut bytes = BytesMut::new();
    loop {
        bytes.reserve(PIPE_BYTES);
        let ended = tokio::select! {
            read = from_session.read_buf(&mut bytes) => match read {
                Ok(0) | Err(_) => None,
                Ok(_) => {
                    let sent = stream.send(parcel(bytes.split().freeze())).await;
                    sent.inspect_err(|error| tracing::debug!(%peer, %error, "a session ends")).ok()
                }
            },
            received = stream.receive() => match received {
                Ok(Some(parcel)) => to_session.write_all(&parcel.payload).await.ok(),
                Ok(None) => None,
                Err(error) => {
                    tracing::debug!(%peer, %error, "a session ends");
                    None
                }
            },
        };
        if ended.is_none() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_own_labels_name_a_peer() {
        let peer = NodeId::from_u128(7);
        assert_eq!(labelled(&label(peer)), Some(peer));
        for foreign in ["127.0.0.1:5000", "external", "ultrakv-node/7", ""] {
            assert_eq!(labelled(foreign), None);
        }
    }
}
