//! A question for a slot's owner on its way between two nodes, and the answer. It must never know what they mean.
//!
//! # Shape
//! Kind `Entry`; header `{slot, wait_ms}`; payload: the [`Request`] as MessagePack. The answer, kind `Answer`: header `{slot}`;
//! payload: the [`Answer`] as MessagePack.

use serde::{Deserialize, Serialize};
use ultrakv_cache::{SLOT_COUNT, entry_slot};

use crate::entry::host::packed;
use crate::entry::{Answer, Request};
use crate::peer::Parcel;
use crate::wire::{Kind, WireError};

/// Nobody waits longer for an answer, whatever he says: a minute.
const WAIT_MS_MAX: u64 = 60_000;

#[derive(Serialize, Deserialize)]
struct AskHead {
    slot: u16,
    /// How long the asker waits, from when it sent the question.
    wait_ms: u64,
}

#[derive(Serialize, Deserialize)]
struct AnswerHead {
    slot: u16,
}

fn malformed(kind: Kind, reason: String) -> WireError {
    WireError::Header { kind, reason }
}

pub(super) fn ask(slot: u16, wait_ms: u64, request: &Request) -> Result<Parcel, WireError> {
    Parcel::new(Kind::Entry, &AskHead { slot, wait_ms }, packed(request)?)
}

/// Slot, milliseconds to wait, and the question.
pub(super) fn read_ask(parcel: &Parcel) -> Result<(u16, u64, Request), WireError> {
    let AskHead { slot, wait_ms } = parcel.header()?;
    let request: Request = rmp_serde::from_slice(&parcel.payload)
        .map_err(|error| malformed(Kind::Entry, error.to_string()))?;
    // Replicas of different nodes must never disagree about where a key lies.
    if slot >= SLOT_COUNT || entry_slot(&request.key.name) != slot {
        return Err(malformed(
            Kind::Entry,
            format!("slot {slot} is not the key's"),
        ));
    }
    Ok((slot, wait_ms.min(WAIT_MS_MAX), request))
}

pub(super) fn answer(slot: u16, answer: &Answer) -> Result<Parcel, WireError> {
    Parcel::new(Kind::Answer, &AnswerHead { slot }, packed(answer)?)
}

pub(super) fn read_answer(slot: u16, parcel: &Parcel) -> Result<Answer, WireError> {
    let head: AnswerHead = parcel.header()?;
    if head.slot != slot {
        return Err(malformed(Kind::Answer, format!("about slot {}", head.slot)));
    }
    rmp_serde::from_slice(&parcel.payload)
        .map_err(|error| malformed(Kind::Answer, error.to_string()))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;
    use proptest::prelude::*;
    use ultrakv_cache::EntryClass;

    use super::*;
    use crate::Epoch;
    use crate::entry::{Found, Key, OnlyIf, Op, Refusal, Version};

    fn request(name: &[u8]) -> Request {
        Request {
            ticket: 0,
            epoch: Epoch(u64::MAX),
            key: Key {
                domain: [255; 32],
                name: Arc::from(name),
            },
            op: Op::Put {
                value: vec![128; 300].into(),
                class: EntryClass::Cached,
                ttl_ms: Some(7),
                only_if: OnlyIf::Version(9),
            },
        }
    }

    #[test]
    fn questions_and_answers_arrive_as_they_were_sent() {
        let slot = entry_slot(b"key");
        let sent = ask(slot, 99, &request(b"key")).unwrap();
        assert!(sent.payload.len() < 600, "{} bytes", sent.payload.len());
        assert_eq!(read_ask(&sent), Ok((slot, 99, request(b"key"))));
        let forever = ask(slot, u64::MAX, &request(b"key")).unwrap();
        assert_eq!(read_ask(&forever).unwrap().1, WAIT_MS_MAX);
        let answers = [
            Answer::Found(None),
            Answer::Found(Some(Found {
                value: vec![1, 200].into(),
                version: Version(1 << 50),
                class: EntryClass::Kept,
                ttl_ms: None,
            })),
            Answer::Refused(Refusal::Purged),
            Answer::Unknown,
        ];
        for told in answers {
            let sent = answer(slot, &told).unwrap();
            assert_eq!(read_answer(slot, &sent), Ok(told));
            assert!(read_answer(slot + 1, &sent).is_err());
        }
    }

    #[test]
    fn a_question_about_a_key_of_another_slot_is_refused() {
        let slot = entry_slot(b"key");
        for wrong in [slot ^ 1, SLOT_COUNT, u16::MAX] {
            assert!(read_ask(&ask(wrong, 1, &request(b"key")).unwrap()).is_err());
        }
    }

    proptest! {
        #[test]
        fn noise_is_no_question(header in prop::collection::vec(any::<u8>(), 0..40), payload in prop::collection::vec(any::<u8>(), 0..60)) {
            let parcel = Parcel { kind: Kind::Entry, header: Bytes::from(header), payload: Bytes::from(payload) };
            let _ = read_ask(&parcel);
            let _ = read_answer(1, &parcel);
        }
    }
}
