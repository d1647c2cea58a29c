//! The numbers with which connections and streams end. A number once given is never given another meaning.

use quinn::{ConnectionError, VarInt};

/// The node stops.
pub(super) const STOPPED: VarInt = VarInt::from_u32(0);
/// A frame names another node than the certificate of its connection.
pub(super) const WRONG_NODE: VarInt = VarInt::from_u32(1);
/// Bytes that are no frame.
pub(super) const NO_FRAME: VarInt = VarInt::from_u32(2);
/// The peer has newer connections.
pub(super) const SUPERSEDED: VarInt = VarInt::from_u32(3);
/// There is no room for another connection.
pub(super) const TOO_MANY: VarInt = VarInt::from_u32(4);
/// The dialled address is another node's.
pub(super) const NOT_MEANT: VarInt = VarInt::from_u32(5);
/// The peer is no member any more.
pub(super) const FORGOTTEN: VarInt = VarInt::from_u32(6);
/// The peer never said hello, or something else.
pub(super) const NO_HELLO: VarInt = VarInt::from_u32(7);
/// Nobody waits for the rest of this stream.
pub(super) const CANCELLED: VarInt = VarInt::from_u32(8);
/// This stream took too long.
pub(super) const TOO_SLOW: VarInt = VarInt::from_u32(9);

/// Why a connection ended, in words; the peer's words come from its certificate's holder, so they are cut short.
pub(super) fn reason(error: &ConnectionError) -> String {
    match error {
        ConnectionError::ApplicationClosed(closed) => {
            let words = String::from_utf8_lossy(&closed.reason);
            let words: String = words
                .chars()
                .filter(|c| !c.is_control())
                .take(200)
                .collect();
            format!("closed by the peer: {words} (code {})", closed.error_code)
        }
        ConnectionError::TimedOut => "no sign of life".to_owned(),
        ConnectionError::LocallyClosed => "closed by this node".to_owned(),
        other => other.to_string(),
    }
}
