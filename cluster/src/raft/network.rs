//! The side of consensus that speaks to other members. Making a client connects to nobody.
//!
//! Responsible for one message's time and size, for the one stream of a snapshot, and for silence while this member
//! must be silent. It must never know a socket.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use openraft::error::{
    Fatal, RPCError, RaftError, ReplicationClosed, StreamingError, Timeout, Unreachable,
};
use openraft::network::{Backoff, RPCOption};
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, VoteRequest, VoteResponse,
};
use openraft::{OptionalSend, RPCTypes, RaftNetwork, RaftNetworkFactory, Snapshot, StorageIOError};
use parking_lot::Mutex;
use tokio::fs::File;
use tokio::io::AsyncReadExt as _;
use ultrakv_actors::Clock;

use super::rpc::{
    APPEND_BYTES_MAX, APPEND_BYTES_MIN, PIECE_BYTES_MAX, PieceHead, SnapshotHead, VoteHead, pack,
};
use super::types::{Addresses, RaftId, RaftTypes, Vote};
use crate::peer::{Callers, Parcel, ParcelStream, PeerError, Refused};
use crate::wire::{Kind, WireError};

/// How long a peer may take to take a stream.
const OPEN_MAX: Duration = Duration::from_secs(5);

type RpcError = RPCError<RaftId, Addresses, RaftError<RaftId>>;
type SnapshotFailure = StreamingError<RaftTypes, Fatal<RaftId>>;

/// When each member last answered its leader here.
#[derive(Debug, Default)]
pub(super) struct Heard(Mutex<BTreeMap<RaftId, u64>>);

impl Heard {
    fn note(&self, member: RaftId, now_us: u64) {
        self.0.lock().insert(member, now_us);
    }

    pub(super) fn of(&self, member: &RaftId) -> Option<u64> {
        self.0.lock().get(member).copied()
    }

    pub(super) fn retain(&self, is_member: impl Fn(&RaftId) -> bool) {
        self.0.lock().retain(|member, _| is_member(member));
    }
}

/// What all ways to other members share.
pub(super) struct Ways {
    pub(super) me: RaftId,
    pub(super) callers: Callers,
    pub(super) clock: Clock,
    pub(super) heartbeat: Duration,
    /// While it is set this member says nothing as a leader, so that those who hear it may elect another one.
    pub(super) is_muted: AtomicBool,
    pub(super) heard: Heard,
}

/// Makes the ways to other members.
pub(super) struct Network(pub(super) Arc<Ways>);

/// The way to one member.
pub(super) struct Way {
    target: RaftId,
    ways: Arc<Ways>,
    /// Bytes of one message: halved when it was too much for the time that a message has, doubled when it was not.
    bytes_max: usize,
}

impl RaftNetworkFactory<RaftTypes> for Network {
    type Network = Way;

    async fn new_client(&mut self, target: RaftId, _node: &Addresses) -> Way {
        Way {
            target,
            ways: Arc::clone(&self.0),
            bytes_max: APPEND_BYTES_MAX,
        }
    }
}

/// This member is silent on purpose.
#[derive(Debug, thiserror::Error)]
#[error("this leader lost its quorum and is silent, so that another one can be elected")]
struct Muted;

fn unread(error: &WireError) -> RpcError {
    Unreachable::new(error).into()
}

impl Way {
    /// Asks within nine tenths of the time after which the library gives up, so that the reason is seen here.
    async fn call(&self, parcel: Parcel, option: &RPCOption) -> Result<Parcel, PeerError> {
        let ways = &self.ways;
        let deadline = ways.clock.deadline(option.hard_ttl() * 9 / 10);
        let answer = ways
            .callers
            .call(self.target.node, parcel, deadline)
            .await?;
        ways.heard.note(self.target, ways.clock.boot_us());
        Ok(answer)
    }

    fn failed(&self, error: &PeerError, action: RPCTypes, option: &RPCOption) -> RpcError {
        match error {
            PeerError::Deadline { .. } => RPCError::Timeout(Timeout {
                action,
                id: self.ways.me,
                target: self.target,
                timeout: option.hard_ttl(),
            }),
            // All others come at once, and must not be tried again at once.
            _ => RPCError::Unreachable(Unreachable::new(error)),
        }
    }

    async fn send_snapshot(
        &self,
        vote: Vote,
        snapshot: Snapshot<RaftTypes>,
    ) -> Result<SnapshotResponse<RaftId>, SnapshotFailure> {
        let unreadable = |error: &std::io::Error| {
            SnapshotFailure::from(openraft::StorageError::from(StorageIOError::read_snapshot(
                None, error,
            )))
        };
        let file = File::open(snapshot.snapshot.path()).await;
        let mut file = file.map_err(|error| unreadable(&error))?;
        let about = file.metadata().await.map_err(|error| unreadable(&error))?;
        let head = SnapshotHead {
            to: self.target,
            vote,
            meta: snapshot.meta,
            file_bytes: about.len(),
        };
        let mut stream = self.open(&head).await?;
        let mut at = 0;
        while at < head.file_bytes {
            let piece = read_piece(&mut file).await;
            let piece = piece.map_err(|error| unreadable(&error))?;
            let len = u64::try_from(piece.len()).unwrap_or(u64::MAX);
            if len == 0 {
                return Err(unreadable(&std::io::ErrorKind::UnexpectedEof.into()));
            }
            let parcel = Parcel::new(Kind::RaftSnapshot, &PieceHead { at }, piece);
            let parcel = parcel.map_err(|error| Unreachable::new(&error))?;
            let sent = stream.send(parcel).await;
            sent.map_err(|error| Unreachable::new(&error))?;
            at = at.saturating_add(len);
        }
        self.installed(&mut *stream).await
    }

    async fn open(&self, head: &SnapshotHead) -> Result<Box<dyn ParcelStream>, SnapshotFailure> {
        let first = Parcel::new(Kind::RaftSnapshot, head, Bytes::new());
        let first = first.map_err(|error| Unreachable::new(&error))?;
        let deadline = self.ways.clock.deadline(OPEN_MAX);
        let opened = self.ways.callers.open(self.target.node, first, deadline);
        Ok(opened.await.map_err(|error| Unreachable::new(&error))?)
    }

    async fn installed(
        &self,
        stream: &mut dyn ParcelStream,
    ) -> Result<SnapshotResponse<RaftId>, SnapshotFailure> {
        let peer = self.target.node;
        let answer = stream.receive().await;
        let answer = answer.and_then(|answer| {
            answer.ok_or_else(|| PeerError::Lost {
                peer,
                reason: "it ended without an answer".to_owned(),
            })
        });
        let answer = answer.map_err(|error| Unreachable::new(&error))?;
        if answer.kind == Kind::Refusal {
            let refused: Refused = answer.header().map_err(|error| Unreachable::new(&error))?;
            return Err(Unreachable::new(&refused).into());
        }
        self.ways.heard.note(self.target, self.ways.clock.boot_us());
        let vote = answer.header().map_err(|error| Unreachable::new(&error))?;
        Ok(SnapshotResponse::new(vote))
    }
}

async fn read_piece(file: &mut File) -> std::io::Result<Bytes> {
    let mut piece = BytesMut::with_capacity(PIECE_BYTES_MAX);
    while piece.len() < PIECE_BYTES_MAX {
        let room = PIECE_BYTES_MAX - piece.len();
        let room = u64::try_from(room).unwrap_or(u64::MAX);
        if (&mut *file).take(room).read_buf(&mut piece).await? == 0 {
            break;
        }
    }
    Ok(piece.freeze())
}

impl RaftNetwork<RaftTypes> for Way {
    async fn append_entries(
        &mut self,
        rpc: AppendEntriesRequest<RaftTypes>,
        option: RPCOption,
    ) -> Result<AppendEntriesResponse<RaftId>, RpcError> {
        if self.ways.is_muted.load(Ordering::SeqCst) {
            return Err(Unreachable::new(&Muted).into());
        }
        let packed = pack(self.target, rpc, self.bytes_max).map_err(|error| unread(&error))?;
        match self.call(packed.parcel, &option).await {
            Ok(answer) => {
                self.bytes_max = (self.bytes_max * 2).min(APPEND_BYTES_MAX);
                let answer = answer.header().map_err(|error| unread(&error))?;
                Ok(match (answer, packed.cut_at) {
                    (AppendEntriesResponse::Success, Some(at)) => {
                        AppendEntriesResponse::PartialSuccess(Some(at))
                    }
                    (answer, _) => answer,
                })
            }
            Err(error) => {
                if matches!(error, PeerError::Deadline { .. }) {
                    self.bytes_max = (self.bytes_max / 2).max(APPEND_BYTES_MIN);
                }
                Err(self.failed(&error, RPCTypes::AppendEntries, &option))
            }
        }
    }

    async fn vote(
        &mut self,
        rpc: VoteRequest<RaftId>,
        option: RPCOption,
    ) -> Result<VoteResponse<RaftId>, RpcError> {
        let head = VoteHead {
            to: self.target,
            ask: rpc,
        };
        let parcel = Parcel::new(Kind::RaftVote, &head, Bytes::new());
        let answer = self
            .call(parcel.map_err(|error| unread(&error))?, &option)
            .await;
        let answer = answer.map_err(|error| self.failed(&error, RPCTypes::Vote, &option))?;
        answer.header().map_err(|error| unread(&error))
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot<RaftTypes>,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        option: RPCOption,
    ) -> Result<SnapshotResponse<RaftId>, SnapshotFailure> {
        if self.ways.is_muted.load(Ordering::SeqCst) {
            return Err(Unreachable::new(&Muted).into());
        }
        let within = option.hard_ttl();
        let sending = tokio::time::timeout(within, self.send_snapshot(vote, snapshot));
        tokio::select! {
            biased;
            closed = cancel => Err(closed.into()),
            sent = sending => match sent {
                Ok(sent) => sent,
                Err(_) => Err(Timeout {
                    action: RPCTypes::InstallSnapshot,
                    id: self.ways.me,
                    target: self.target,
                    timeout: within,
                }
                .into()),
            },
        }
    }

    fn backoff(&self) -> Backoff {
        Backoff::new(std::iter::repeat(self.ways.heartbeat))
    }
}
