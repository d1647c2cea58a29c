//! What members say to each other, as headers and payloads of parcels.
//!
//! Responsible for a form that names the member it is for, so that a node whose disk was lost never answers for it. The
//! bytes of batches travel as payload. It must never know how parcels travel.

use bytes::{Bytes, BytesMut};
use openraft::EntryPayload;
use openraft::raft::AppendEntriesRequest;
use serde::{Deserialize, Serialize};

use super::types::{Batch, Entry, LogId, Membership, RaftId, RaftTypes, SnapshotMeta, Vote};
use crate::NodeId;
use crate::peer::{Parcel, Refused};
use crate::wire::{Kind, WireError};

/// Bytes of log items in one message at most, but always one item: well below what a frame may have.
pub(super) const APPEND_BYTES_MAX: usize = 2 << 20;
/// And at least this many when a slow way makes messages smaller: one whole item.
pub(super) const APPEND_BYTES_MIN: usize = 128 << 10;
/// A piece of a snapshot's file.
pub(super) const PIECE_BYTES_MAX: usize = 512 << 10;

/// Log items, or none for a heartbeat.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct AppendHead {
    pub(super) to: RaftId,
    vote: Vote,
    prev: Option<LogId>,
    commit: Option<LogId>,
    entries: Vec<EntryHead>,
}

#[derive(Debug, Serialize, Deserialize)]
struct EntryHead {
    log_id: LogId,
    what: What,
}

/// What an item is, and how many bytes of the payload are its own.
#[derive(Debug, Serialize, Deserialize)]
enum What {
    Blank,
    Batch(u32),
    Members(u32),
}

/// A candidate asks for a vote.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct VoteHead {
    pub(super) to: RaftId,
    pub(super) ask: openraft::raft::VoteRequest<RaftId>,
}

/// A snapshot follows, piece by piece.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct SnapshotHead {
    pub(super) to: RaftId,
    pub(super) vote: Vote,
    pub(super) meta: SnapshotMeta,
    pub(super) file_bytes: u64,
}

/// A piece of a snapshot's file.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct PieceHead {
    pub(super) at: u64,
}

/// How much of a list of items fits into one message: how many there are, and the last of them.
pub(super) struct Packed {
    pub(super) parcel: Parcel,
    /// The last item that is in it, when not all are.
    pub(super) cut_at: Option<LogId>,
}

/// Packs as many items as a message of about so many bytes holds; always one at least.
pub(super) fn pack(
    to: RaftId,
    rpc: AppendEntriesRequest<RaftTypes>,
    bytes_max: usize,
) -> Result<Packed, WireError> {
    let mut payload = BytesMut::new();
    let mut entries = Vec::with_capacity(rpc.entries.len());
    let (count, mut cut_at) = (rpc.entries.len(), None);
    for entry in rpc.entries {
        let bytes = match &entry.payload {
            EntryPayload::Blank => Bytes::new(),
            EntryPayload::Normal(batch) => batch.bytes().clone(),
            EntryPayload::Membership(members) => encode(members)?,
        };
        if !entries.is_empty() && payload.len() + bytes.len() > bytes_max {
            break;
        }
        let len = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
        let what = match &entry.payload {
            EntryPayload::Blank => What::Blank,
            EntryPayload::Normal(_) => What::Batch(len),
            EntryPayload::Membership(_) => What::Members(len),
        };
        payload.extend_from_slice(&bytes);
        cut_at = Some(entry.log_id);
        entries.push(EntryHead {
            log_id: entry.log_id,
            what,
        });
    }
    let cut_at = cut_at.filter(|_| entries.len() < count);
    let head = AppendHead {
        to,
        vote: rpc.vote,
        prev: rpc.prev_log_id,
        commit: rpc.leader_commit,
        entries,
    };
    Ok(Packed {
        parcel: Parcel::new(Kind::RaftAppend, &head, payload.freeze())?,
        cut_at,
    })
}

/// The items of a message again; batches are views of its payload.
pub(super) fn unpack(
    head: AppendHead,
    mut payload: Bytes,
) -> Result<AppendEntriesRequest<RaftTypes>, WireError> {
    let mut cut = |len: u32| {
        let len = usize::try_from(len).unwrap_or(usize::MAX);
        (len <= payload.len())
            .then(|| payload.split_to(len))
            .ok_or_else(|| wrong("an item is cut off"))
    };
    let mut entries = Vec::with_capacity(head.entries.len());
    for EntryHead { log_id, what } in head.entries {
        let payload = match what {
            What::Blank => EntryPayload::Blank,
            What::Batch(len) => {
                let batch = Batch::new(cut(len)?).map_err(|error| wrong(error.code()))?;
                EntryPayload::Normal(batch)
            }
            What::Members(len) => {
                let members: Membership = rmp_serde::from_slice(&cut(len)?)
                    .map_err(|_| wrong("members that cannot be read"))?;
                EntryPayload::Membership(members)
            }
        };
        entries.push(Entry { log_id, payload });
    }
    if !payload.is_empty() {
        return Err(wrong("bytes that no item owns"));
    }
    Ok(AppendEntriesRequest {
        vote: head.vote,
        prev_log_id: head.prev,
        entries,
        leader_commit: head.commit,
    })
}

fn encode(members: &Membership) -> Result<Bytes, WireError> {
    let bytes = rmp_serde::to_vec_named(members);
    let bytes = bytes.map_err(|error| wrong(&error.to_string()))?;
    Ok(bytes.into())
}

fn wrong(reason: &str) -> WireError {
    WireError::Header {
        kind: Kind::RaftAppend,
        reason: reason.to_owned(),
    }
}

/// Whether a leader's or a candidate's word comes from its own node.
pub(super) fn is_of(vote: &Vote, peer: NodeId) -> bool {
    vote.leader_id()
        .voted_for()
        .is_some_and(|id| id.node == peer)
}

/// Packs an answer.
pub(super) fn answer(header: &impl Serialize, payload: Bytes) -> Result<Parcel, Refused> {
    Parcel::new(Kind::Answer, header, payload).map_err(|error| unreadable(&error))
}

/// A refusal.
pub(super) fn refuse(code: &str, message: &str, hint: &str) -> Refused {
    Refused {
        code: code.to_owned(),
        message: message.to_owned(),
        hint: hint.to_owned(),
    }
}

/// The refusal of what cannot be read.
pub(super) fn unreadable(error: &WireError) -> Refused {
    refuse(
        "raft_unreadable",
        &error.to_string(),
        "compare the versions of both nodes",
    )
}

#[cfg(test)]
mod tests;
