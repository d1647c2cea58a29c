//! From hostile bytes to frames, a piece at a time. It must never panic, and never make room for more than one frame
//! within the limits.

use std::fmt;

use bytes::{Buf as _, Bytes, BytesMut};
use serde::de::DeserializeOwned;
use xxhash_rust::xxh3::{Xxh3, xxh3_64};

use super::{
    CHECKED_PRELUDE_BYTES, Cover, Envelope, Kind, Limits, MAGIC, OVERHEAD_BYTES, PRELUDE_BYTES,
    TRAILER_BYTES, VERSION, WireError, length,
};
use crate::NodeId;

/// Room for the next frame's beginning while nothing is known about it; small frames fit whole.
const READ_AHEAD_BYTES: usize = 16 * 1024;
/// A frame longer than this is checked while it comes; a shorter one mostly comes at once.
const LONG_BYTES: usize = 64 * 1024;

/// A whole, undamaged frame.
#[derive(Clone, Debug)]
pub struct Frame {
    /// What stands on its outside.
    pub envelope: Envelope,
    /// The payload: a view of the bytes that were read, not a copy.
    pub payload: Bytes,
    header: Bytes,
}

impl Frame {
    /// Reads the header.
    ///
    /// # Errors
    /// When it is not the header that the caller expects; the stream can go on.
    pub fn header<T: DeserializeOwned>(&self) -> Result<T, WireError> {
        rmp_serde::from_slice(&self.header).map_err(|error| WireError::Header {
            kind: self.envelope.kind,
            reason: error.to_string(),
        })
    }

    /// What stands on its outside, the header as it came, and the payload.
    #[must_use]
    pub fn into_parts(self) -> (Envelope, Bytes, Bytes) {
        (self.envelope, self.header, self.payload)
    }
}

/// What the prelude of the frame under way says.
#[derive(Clone, Copy, Debug)]
struct Prelude {
    kind_number: u16,
    header_bytes: usize,
    payload_bytes: usize,
    node: NodeId,
    request: u64,
}

impl Prelude {
    /// The whole frame. Both lengths are within the limits, so the sum is too.
    const fn frame_bytes(&self) -> usize {
        OVERHEAD_BYTES
            .saturating_add(self.header_bytes)
            .saturating_add(self.payload_bytes)
    }
}

/// Reads frames from a stream of bytes, however they are cut.
///
/// Read into [`Decoder::room`], then take frames with [`Decoder::next_frame`] until there is none.
#[derive(Debug)]
pub struct Decoder {
    limits: Limits,
    buffer: BytesMut,
    prelude: Option<Prelude>,
    /// For a long frame, the check of what has come of it.
    check: Option<Check>,
    ended: Option<WireError>,
}

/// The check of a long frame, made while it comes: its bytes are still near the processor then, and the time is not
/// spent at the end, when somebody waits for the whole.
struct Check {
    hasher: Xxh3,
    hashed: usize,
}

impl fmt::Debug for Check {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Check({} bytes)", self.hashed)
    }
}

impl Check {
    /// Takes what has come beyond what was taken before.
    fn update(&mut self, come: &[u8]) {
        if let Some(new) = come.get(self.hashed..) {
            self.hasher.update(new);
            self.hashed = come.len();
        }
    }
}

impl Decoder {
    /// A decoder at the beginning of a stream.
    #[must_use]
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            buffer: BytesMut::new(),
            prelude: None,
            check: None,
            ended: None,
        }
    }

    /// Where the next bytes of the stream belong: at the end of this buffer, which has spare room for what is awaited.
    pub fn room(&mut self) -> &mut BytesMut {
        let wanted = self
            .prelude
            .map_or(READ_AHEAD_BYTES, |prelude| prelude.frame_bytes());
        // A stream that was given up is owed no room, and one byte keeps `read_buf` from reading "nothing" as the end.
        let missing = wanted.saturating_sub(self.buffer.len()).max(1);
        self.buffer.reserve(missing);
        &mut self.buffer
    }

    /// Takes bytes that lie elsewhere; it copies them, unless the stream was given up.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.ended.is_none() {
            self.buffer.extend_from_slice(bytes);
        }
    }

    /// Bytes that are held and not yet part of a frame that was taken.
    #[must_use]
    pub fn pending_bytes(&self) -> usize {
        self.buffer.len()
    }

    /// The length of the whole frame under way, once [`Decoder::next_frame`] has seen its beginning.
    #[must_use]
    pub fn expected_bytes(&self) -> Option<usize> {
        self.prelude.map(|prelude| prelude.frame_bytes())
    }

    /// The room held, whether filled or not.
    #[must_use]
    pub fn capacity_bytes(&self) -> usize {
        self.buffer.capacity()
    }

    /// Whether the stream may end here.
    ///
    /// # Errors
    /// When it ends inside a frame.
    pub fn finish(&self) -> Result<(), WireError> {
        if let Some(error) = &self.ended {
            return Err(error.clone());
        }
        if self.buffer.is_empty() {
            return Ok(());
        }
        Err(WireError::Truncated {
            bytes: u64::try_from(self.buffer.len()).unwrap_or(u64::MAX),
        })
    }

    /// The next whole frame, or none until more bytes have come.
    ///
    /// # Errors
    /// When the bytes are no frame. Unless [`WireError::ends_stream`], the frame was skipped and the next call goes on;
    /// otherwise every later call says the same again.
    pub fn next_frame(&mut self) -> Result<Option<Frame>, WireError> {
        if let Some(error) = &self.ended {
            return Err(error.clone());
        }
        let taken = self.take();
        if let Err(error) = &taken
            && error.ends_stream()
        {
            self.ended = Some(error.clone());
            self.buffer = BytesMut::new();
            self.prelude = None;
            self.check = None;
        }
        taken
    }

    fn take(&mut self) -> Result<Option<Frame>, WireError> {
        let prelude = match self.prelude {
            Some(prelude) => prelude,
            None => match read_prelude(&self.buffer, self.limits)? {
                Some(prelude) => *self.prelude.insert(prelude),
                None => return Ok(None),
            },
        };
        let checked_bytes = prelude.frame_bytes().saturating_sub(TRAILER_BYTES);
        if checked_bytes > LONG_BYTES && self.limits.cover == Cover::Whole {
            let come = self.buffer.get(..checked_bytes).unwrap_or(&self.buffer);
            let check = self.check.get_or_insert_with(|| Check {
                hasher: Xxh3::new(),
                hashed: 0,
            });
            check.update(come);
        }
        if self.buffer.len() < prelude.frame_bytes() {
            return Ok(None);
        }
        let mut frame = self.buffer.split_to(prelude.frame_bytes()).freeze();
        self.prelude = None;
        let mut trailer = frame.split_off(frame.len().saturating_sub(TRAILER_BYTES));
        let check = match self.check.take() {
            Some(check) => check.hasher.digest(),
            None => {
                let covered = match self.limits.cover {
                    Cover::Whole => frame.len(),
                    Cover::Head => PRELUDE_BYTES.saturating_add(prelude.header_bytes),
                };
                xxh3_64(frame.get(..covered).unwrap_or(&frame))
            }
        };
        if trailer.try_get_u64_le().ok() != Some(check) {
            return Err(WireError::Checksum);
        }
        let Prelude { node, request, .. } = prelude;
        let kind = Kind::of(prelude.kind_number).ok_or(WireError::UnknownKind {
            number: prelude.kind_number,
            node,
            request,
        })?;
        frame.advance(PRELUDE_BYTES);
        let header = frame.split_to(prelude.header_bytes);
        Ok(Some(Frame {
            envelope: Envelope {
                kind,
                node,
                request,
            },
            payload: frame,
            header,
        }))
    }
}

/// Reads and checks the beginning of a frame, or none until all of it has come. What can already be refused is.
fn read_prelude(bytes: &[u8], limits: Limits) -> Result<Option<Prelude>, WireError> {
    let mut reader = bytes;
    let Some(found) = reader.first_chunk::<4>().copied() else {
        // A foreign protocol is refused by its first bytes, even when it waits for an answer before it says more.
        if MAGIC.starts_with(bytes) {
            return Ok(None);
        }
        let mut found = [0; 4];
        found
            .iter_mut()
            .zip(bytes)
            .for_each(|(to, from)| *to = *from);
        return Err(WireError::Magic { found });
    };
    if found != MAGIC {
        return Err(WireError::Magic { found });
    }
    reader.advance(MAGIC.len());
    let Ok(theirs) = reader.try_get_u16_le() else {
        return Ok(None);
    };
    if theirs != VERSION {
        return Err(WireError::Version {
            theirs,
            ours: VERSION,
        });
    }
    let Some(checked) = bytes.get(..CHECKED_PRELUDE_BYTES) else {
        return Ok(None);
    };
    match read_fields(reader) {
        None => Ok(None),
        Some((_, check)) if check != xxh3_64(checked) => Err(WireError::Prelude),
        Some((fields, _)) => fields.within(limits).map(Some),
    }
}

/// What stands between the version and the header, and its check.
fn read_fields(mut reader: &[u8]) -> Option<(Fields, u64)> {
    let fields = Fields {
        kind_number: reader.try_get_u16_le().ok()?,
        header_bytes: reader.try_get_u32_le().ok()?,
        payload_bytes: reader.try_get_u32_le().ok()?,
        node: NodeId::from_u128(reader.try_get_u128_le().ok()?),
        request: reader.try_get_u64_le().ok()?,
    };
    Some((fields, reader.try_get_u64_le().ok()?))
}

/// A prelude whose lengths nobody has judged.
struct Fields {
    kind_number: u16,
    header_bytes: u32,
    payload_bytes: u32,
    node: NodeId,
    request: u64,
}

impl Fields {
    fn within(self, limits: Limits) -> Result<Prelude, WireError> {
        if self.header_bytes > limits.header_bytes_max {
            return Err(WireError::HeaderTooLarge {
                bytes: u64::from(self.header_bytes),
                bytes_max: u64::from(limits.header_bytes_max),
            });
        }
        if self.payload_bytes > limits.payload_bytes_max {
            return Err(WireError::PayloadTooLarge {
                bytes: u64::from(self.payload_bytes),
                bytes_max: u64::from(limits.payload_bytes_max),
            });
        }
        Ok(Prelude {
            kind_number: self.kind_number,
            header_bytes: length(self.header_bytes),
            payload_bytes: length(self.payload_bytes),
            node: self.node,
            request: self.request,
        })
    }
}
