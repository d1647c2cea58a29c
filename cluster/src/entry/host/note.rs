//! What replicas say to each other, on the way between two nodes: many notes in one frame.
//!
//! Responsible for their form on the wire and for who may say what. It must never know what a note means.
//!
//! # Shape
//! Kind `EntryNote`; header `{notes: u32}`; payload: as many notes as MessagePack, one behind the other. A note is at most as
//! large as a replica's whole list (2 MiB) and some numbers.

use std::io::Cursor;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use ultrakv_cache::SLOT_COUNT;

use crate::entry::Message;
use crate::peer::Parcel;
use crate::wire::{Kind, Limits, WireError};
use crate::{Incarnation, NodeId};

/// Notes of one frame at most.
const NOTES_MAX: u32 = 16_384;

/// What one replica says to another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Note {
    /// About which slot.
    pub(super) slot: u16,
    /// Who says it.
    pub(super) from: Incarnation,
    /// To whom; another life must not hear it.
    pub(super) to: Incarnation,
    /// What.
    pub(super) message: Message,
}

#[derive(Serialize, Deserialize)]
struct Head {
    notes: u32,
}

fn header_error(reason: String) -> WireError {
    WireError::Header {
        kind: Kind::EntryNote,
        reason,
    }
}

/// Packs notes into as few frames as hold them.
pub(super) fn pack(notes: &[Note]) -> Result<Vec<Parcel>, WireError> {
    let payload_max = usize::try_from(Limits::SMALL.payload_bytes_max).unwrap_or(usize::MAX);
    let (mut parcels, mut payload, mut count) = (Vec::new(), Vec::new(), 0_u32);
    let seal = |payload: Vec<u8>, notes: u32| {
        Parcel::new(Kind::EntryNote, &Head { notes }, Bytes::from(payload))
    };
    for note in notes {
        let bytes =
            rmp_serde::to_vec_named(note).map_err(|error| header_error(error.to_string()))?;
        let is_full = payload.len().saturating_add(bytes.len()) > payload_max || count == NOTES_MAX;
        if is_full && count > 0 {
            parcels.push(seal(std::mem::take(&mut payload), count)?);
            count = 0;
        }
        payload.extend_from_slice(&bytes);
        count += 1;
    }
    if count > 0 {
        parcels.push(seal(payload, count)?);
    }
    Ok(parcels)
}

/// The notes of a frame that this peer sent, if it may say them.
pub(super) fn unpack(peer: NodeId, parcel: &Parcel) -> Result<Vec<Note>, WireError> {
    let head: Head = parcel.header()?;
    if head.notes > NOTES_MAX {
        return Err(header_error(format!("{} notes in one frame", head.notes)));
    }
    let mut from = rmp_serde::Deserializer::new(Cursor::new(&*parcel.payload));
    let mut notes = Vec::new();
    for _ in 0..head.notes {
        let note = Note::deserialize(&mut from).map_err(|error| header_error(error.to_string()))?;
        if note.from.node != peer || note.slot >= SLOT_COUNT {
            return Err(header_error(format!(
                "a note about slot {} in the name of node {}",
                note.slot, note.from.node
            )));
        }
        notes.push(note);
    }
    if from.get_ref().position() != u64::try_from(parcel.payload.len()).unwrap_or(u64::MAX) {
        return Err(header_error("bytes behind the last note".to_owned()));
    }
    Ok(notes)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use proptest::prelude::*;
    use ultrakv_actors::BootId;
    use ultrakv_cache::EntryClass;

    use super::*;
    use crate::Epoch;
    use crate::entry::{CopyEntry, Key, Seq, Version};

    const PEER: NodeId = NodeId::from_u128(7);

    fn note(slot: u16, bytes: usize) -> Note {
        let life = |node| Incarnation {
            node,
            boot: BootId::from_u128(9),
        };
        let entry = CopyEntry {
            key: Key {
                domain: [3; 32],
                name: Arc::from(&b"name"[..]),
            },
            value: vec![200; bytes].into(),
            version: Version(5),
            class: EntryClass::Kept,
            ttl_ms: Some(u64::MAX),
        };
        Note {
            slot,
            from: life(PEER),
            to: life(NodeId::from_u128(8)),
            message: Message::Chunk {
                epoch: Epoch(3),
                ask: 4,
                as_of: Seq(5),
                entries: vec![entry],
                is_last: false,
            },
        }
    }

    #[test]
    fn notes_arrive_as_they_were_said_in_frames_that_fit_a_small_lane() {
        let notes: Vec<_> = (0..9).map(|slot| note(slot, 1 << 20)).collect();
        let parcels = pack(&notes).unwrap();
        assert_eq!(parcels.len(), 3);
        let frame_max = usize::try_from(Limits::SMALL.payload_bytes_max).unwrap();
        assert!(
            parcels
                .iter()
                .all(|parcel| parcel.payload.len() <= frame_max)
        );
        let arrived = parcels
            .iter()
            .flat_map(|parcel| unpack(PEER, parcel).unwrap());
        assert_eq!(arrived.collect::<Vec<_>>(), notes);
        assert!(pack(&[]).unwrap().is_empty());
    }

    #[test]
    fn nobody_speaks_for_another_or_of_what_is_no_slot() {
        let parcel = pack(&[note(1, 1)]).unwrap().remove(0);
        assert!(unpack(PEER, &parcel).is_ok());
        assert!(unpack(NodeId::from_u128(8), &parcel).is_err());
        let beyond = pack(&[note(SLOT_COUNT, 1)]).unwrap().remove(0);
        assert!(unpack(PEER, &beyond).is_err());
    }

    proptest! {
        #[test]
        fn damaged_notes_are_refused_or_read_and_nothing_else(
            at in any::<prop::sample::Index>(), byte in any::<u8>(), cut in any::<bool>(), notes in any::<u32>(),
        ) {
            let whole = pack(&[note(1, 30), note(2, 300)]).unwrap().remove(0);
            let mut payload = whole.payload.to_vec();
            let index = at.index(payload.len());
            if cut { payload.truncate(index) } else { payload[index] = byte }
            let damaged = Parcel::new(Kind::EntryNote, &Head { notes: notes % 5 }, payload.clone().into()).unwrap();
            let read = unpack(PEER, &damaged);
            prop_assert!(!(cut && notes % 5 >= 2 && read.is_ok()));
        }
    }
}
