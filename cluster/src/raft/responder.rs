//! The side of consensus that other members speak to.
//!
//! Responsible for whom it listens to: the member that a message is for must be this one, and whoever leads or stands
//! must be the node that its certificate names. It must never know how parcels travel.

use std::cmp::Ordering;
use std::path::PathBuf;

use bytes::Bytes;
use openraft::Snapshot;
use tokio::fs::File;
use tokio::io::AsyncWriteExt as _;

use super::handle::Inner;
use super::rpc::{
    AppendHead, PIECE_BYTES_MAX, PieceHead, SnapshotHead, VoteHead, answer, is_of, refuse, unpack,
    unreadable,
};
use super::snapshot::SnapshotFile;
use super::types::{RaftId, Vote};
use crate::NodeId;
use crate::peer::{Parcel, ParcelStream, PeerError, Refused};
use crate::wire::Kind;

fn stopped(error: &dyn std::fmt::Display) -> Refused {
    refuse(
        "raft_stopped",
        &format!("consensus stopped on this node: {error}"),
        "read that node's log and restart it",
    )
}

fn broken(error: &PeerError) -> Refused {
    refuse("raft_snapshot_broken", &error.to_string(), error.hint())
}

fn on_disk(error: &std::io::Error) -> Refused {
    refuse(
        "raft_snapshot_disk",
        &format!("the snapshot cannot be kept: {error}"),
        "look for room and errors on that node's disk",
    )
}

/// A file that goes when nobody took it.
struct Aside(Option<PathBuf>);

impl Drop for Aside {
    fn drop(&mut self) {
        if let Some(path) = self.0.take() {
            // A start removes what is left of it.
            let _ = std::fs::remove_file(path);
        }
    }
}

impl Inner {
    /// Whether a message is for this member, and from who it says.
    fn admit(&self, to: RaftId, vote: &Vote, peer: NodeId) -> Result<(), Refused> {
        if to != self.id {
            return Err(refuse(
                "raft_other_member",
                &format!("the message is for {to}, this member is {}", self.id),
                "wait until the member whose disk was lost is removed",
            ));
        }
        if !is_of(vote, peer) {
            return Err(refuse(
                "raft_other_node",
                "the certificate names another node than the message",
                "give every node its own certificate",
            ));
        }
        Ok(())
    }

    /// Log items of a leader.
    pub(super) async fn append(&self, peer: NodeId, parcel: Parcel) -> Result<Parcel, Refused> {
        let head: AppendHead = parcel.header().map_err(|error| unreadable(&error))?;
        let to = head.to;
        let rpc = unpack(head, parcel.payload).map_err(|error| unreadable(&error))?;
        self.admit(to, &rpc.vote, peer)?;
        let done = self.raft.append_entries(rpc).await;
        answer(&done.map_err(|error| stopped(&error))?, Bytes::new())
    }

    /// A candidate's question. While this member is bound it is refused unseen.
    pub(super) async fn vote(&self, peer: NodeId, parcel: &Parcel) -> Result<Parcel, Refused> {
        let head: VoteHead = parcel.header().map_err(|error| unreadable(&error))?;
        self.admit(head.to, &head.ask.vote, peer)?;
        let candidate = head.ask.vote.leader_id().node_id;
        // Held until the library has decided, so that a round which begins next finds every vote cast.
        let mut votes = self.votes.lock().await;
        if self.raft.server_metrics().borrow().vote.is_committed() {
            votes.led();
        }
        if !votes.may_give(candidate, self.ways.clock.boot_us()) {
            return Err(refuse(
                "raft_vote_bound",
                "this voter keeps to a leader that it knows, or gave the candidate its vote in vain",
                "stand again later",
            ));
        }
        let done = self.raft.vote(head.ask).await;
        let done = done.map_err(|error| stopped(&error))?;
        if done.vote_granted {
            votes.given(candidate, self.ways.clock.boot_us());
        }
        drop(votes);
        answer(&done, Bytes::new())
    }

    /// Takes a snapshot in and answers on its stream.
    pub(super) async fn take_snapshot(
        &self,
        peer: NodeId,
        first: Parcel,
        mut stream: Box<dyn ParcelStream>,
    ) {
        let taken = self.install(peer, &first, &mut *stream).await;
        let last = match taken {
            Ok(vote) => Parcel::new(Kind::Answer, &vote, Bytes::new()),
            Err(refused) => {
                tracing::warn!(%peer, %refused, "a snapshot was not taken");
                Parcel::new(Kind::Refusal, &refused, Bytes::new())
            }
        };
        if let Ok(last) = last {
            // The leader that does not get it sends the snapshot again.
            let _ = stream.send(last).await;
        }
    }

    async fn install(
        &self,
        peer: NodeId,
        first: &Parcel,
        stream: &mut dyn ParcelStream,
    ) -> Result<Vote, Refused> {
        let head: SnapshotHead = first.header().map_err(|error| unreadable(&error))?;
        self.admit(head.to, &head.vote, peer)?;
        let mine = self.raft.metrics().borrow().vote;
        // Votes are ordered in part only; what is not at least as great as ours leads nobody here.
        if !matches!(
            head.vote.partial_cmp(&mine),
            Some(Ordering::Equal | Ordering::Greater)
        ) {
            return Ok(mine);
        }
        let _one = self.receiving.try_acquire().map_err(|_| {
            refuse(
                "raft_snapshot_busy",
                "another snapshot is being received",
                "send it again later",
            )
        })?;
        let file = self.raft.begin_receiving_snapshot().await;
        let file = file.map_err(|error| stopped(&error))?;
        let mut aside = Aside(Some(file.path().to_owned()));
        receive(&file, head.file_bytes, stream).await?;
        let (checked, meta) = (SnapshotFile::clone(&file), head.meta.clone());
        tokio::task::spawn_blocking(move || check(&checked, &meta))
            .await
            .map_err(|error| stopped(&error))??;
        // From here on the machine moves it to its place.
        aside.0 = None;
        let snapshot = Snapshot {
            meta: head.meta,
            snapshot: file,
        };
        let done = self.raft.install_full_snapshot(head.vote, snapshot).await;
        Ok(done.map_err(|error| stopped(&error))?.vote)
    }
}

/// Writes what comes to a file, and gives the disk's pace back to the sender by taking no more than it can write.
async fn receive(
    file: &SnapshotFile,
    bytes: u64,
    stream: &mut dyn ParcelStream,
) -> Result<(), Refused> {
    let mut out = File::create(file.path())
        .await
        .map_err(|error| on_disk(&error))?;
    let mut at = 0_u64;
    while at < bytes {
        let piece = stream.receive().await.map_err(|error| broken(&error))?;
        let piece = piece.ok_or_else(|| cut_off(at))?;
        let head: PieceHead = piece.header().map_err(|error| unreadable(&error))?;
        let len = piece.payload.len();
        if head.at != at || len == 0 || len > PIECE_BYTES_MAX {
            return Err(cut_off(at));
        }
        at = at.saturating_add(u64::try_from(len).unwrap_or(u64::MAX));
        if at > bytes {
            return Err(cut_off(bytes));
        }
        out.write_all(&piece.payload)
            .await
            .map_err(|error| on_disk(&error))?;
    }
    out.flush().await.map_err(|error| on_disk(&error))
}

fn cut_off(at: u64) -> Refused {
    refuse(
        "raft_snapshot_damaged",
        &format!("the snapshot's pieces do not fit together at byte {at}"),
        "send it again",
    )
}

fn damaged(error: &std::io::Error) -> Refused {
    refuse("raft_snapshot_damaged", &error.to_string(), "send it again")
}

/// Reads the whole file once: a damaged one must not reach the machine, which could only stop the node then.
fn check(file: &SnapshotFile, meta: &super::types::SnapshotMeta) -> Result<(), Refused> {
    let (found, chunks) = file.read().map_err(|error| damaged(&error))?;
    if found != *meta {
        return Err(cut_off(0));
    }
    for chunk in chunks {
        chunk.map_err(|error| damaged(&error))?;
    }
    Ok(())
}
