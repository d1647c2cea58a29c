//! What two nodes say first on a new connection, and the words of a refusal. It must never know a socket.

use bytes::Bytes;
use ultrakv_actors::BootId;

use crate::peer::{Parcel, Refused};
use crate::wire::{Kind, WireError};

/// Who speaks: which life of the node, and which build.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub(super) struct Hello {
    /// The life; a peer that meets a new one gives up what it had with the former.
    pub(super) boot: BootId,
    /// The version of the build, for people.
    pub(super) version: String,
}

impl Hello {
    pub(super) fn new(boot: BootId) -> Self {
        Self {
            boot,
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }

    pub(super) fn parcel(&self, kind: Kind) -> Result<Parcel, WireError> {
        Parcel::new(kind, self, Bytes::new())
    }
}

/// A refusal in the lane's own name.
pub(super) fn refused(code: &str, message: impl Into<String>, hint: &str) -> Refused {
    Refused {
        code: code.to_owned(),
        message: message.into(),
        hint: hint.to_owned(),
    }
}

/// A refusal of bytes that are no frame, or not the one that was due.
pub(super) fn refused_frame(error: &WireError) -> Refused {
    refused(error.code(), error.to_string(), error.hint())
}

/// A refusal as a parcel. Three strings can always be written, and an empty header is refused by its reader.
pub(super) fn refusal(refused: &Refused) -> Parcel {
    Parcel::new(Kind::Refusal, refused, Bytes::new()).unwrap_or(Parcel {
        kind: Kind::Refusal,
        header: Bytes::new(),
        payload: Bytes::new(),
    })
}
