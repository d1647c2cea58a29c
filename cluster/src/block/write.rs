//! Blocks on their way to where they belong. It must never give a block up while this node could keep it.

use std::sync::Arc;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::future::BoxFuture;
use futures::stream::{FuturesUnordered, StreamExt as _};
use parking_lot::Mutex;
use tokio::sync::Semaphore;
use ultrakv_actors::clock::{Clock, Deadline};
use ultrakv_actors::{BlockPut, CacheHandle, Domain, DomainTag, PutError, RequestError, Stored};
use ultrakv_cache::{BlockAddress, BlockKey, PutRefusal};

use super::feed::BlockReports;
use super::gates::PeerGates;
use super::message::{Code, CodesAnswer, WriteAsk, pack_brought};
use super::meters;
use super::options::{Ack, BlockOptions};
use super::recent::Brought;
use super::router::BlockParts;
use super::serve::code_of;
use super::world::{BlockLayout, DirectorySource, RecordSink, Standing};
use crate::NodeId;
use crate::directory::Place;
use crate::peer::{Callers, Parcel, PeerError};
use crate::wire::{Kind, Limits};

/// Bytes up to this are copied where the caller stands.
const COPY_INLINE_BYTES_MAX: usize = 256 << 10;
/// Bytes, in KiB, of copies on their way that nobody waits for: a quarter of a gibibyte.
const BEHIND_KIB_MAX: usize = 256 << 10;

/// Writes blocks, here and elsewhere.
#[derive(Clone)]
pub(super) struct Writer {
    me: NodeId,
    cache: CacheHandle,
    clock: Clock,
    callers: Callers,
    layout: Arc<dyn BlockLayout>,
    reports: Arc<BlockReports>,
    directory: DirectorySource,
    sink: Arc<dyn RecordSink>,
    options: BlockOptions,
    gates: Arc<PeerGates>,
    brought: Arc<Mutex<Brought>>,
    /// Bytes, in KiB, of copies that go on after their writer was answered.
    behind: Arc<Semaphore>,
}

/// What one place made of a block.
struct Written {
    node: NodeId,
    code: Code,
    /// Why nothing is known.
    error: Option<RequestError>,
}

impl Writer {
    pub(super) fn new(parts: &BlockParts, gates: Arc<PeerGates>) -> Self {
        Self {
            me: parts.me,
            cache: parts.cache.clone(),
            clock: parts.clock.clone(),
            callers: Arc::clone(&parts.callers),
            layout: Arc::clone(&parts.layout),
            reports: Arc::clone(&parts.reports),
            directory: Arc::clone(&parts.directory),
            sink: Arc::clone(&parts.sink),
            options: parts.options,
            gates,
            brought: Arc::default(),
            behind: Arc::new(Semaphore::new(BEHIND_KIB_MAX)),
        }
    }

    /// The nodes that should get a new block of a slot: its first targets that can be written to.
    pub(super) fn targets(&self, slot: u16) -> Vec<NodeId> {
        let mut targets = self.layout.targets(slot);
        targets.retain(|node| self.layout.standing(*node) == Standing::Up);
        targets.truncate(self.options.copies.max(1));
        targets
    }

    /// Stores a block where it belongs; where that fails, here.
    pub(super) async fn put(
        &self,
        domain: &Domain,
        put: BlockPut,
        ack: Ack,
        deadline: Deadline,
    ) -> Result<Stored, PutError> {
        if u64::try_from(put.payload.len()).ok() != Some(put.header.payload_bytes) {
            return Err(PutRefusal::Malformed.into());
        }
        let lane_bytes_max = u64::from(Limits::BULK.payload_bytes_max);
        let mut targets = self.targets(put.address.slot());
        if put.header.payload_bytes > lane_bytes_max {
            targets.retain(|node| *node == self.me);
        }
        let kib = put.header.payload_bytes.div_ceil(1 << 10);
        let kib = u32::try_from(kib).unwrap_or(u32::MAX);
        let is_here = targets.contains(&self.me);
        let mut writes: FuturesUnordered<BoxFuture<'static, Written>> = targets
            .into_iter()
            .map(|node| self.write(node, *domain, put.clone(), ack, deadline))
            .collect();
        let mut sum = Sum::default();
        while let Some(written) = writes.next().await {
            sum.add(&written);
            if ack != Ack::All && sum.places > 0 {
                break;
            }
        }
        if sum.places == 0 && !is_here && sum.may_stay_here() {
            let written = self.write(self.me, *domain, put, ack, deadline).await;
            meters::count(meters::STRAYED, u64::from(written.code == Code::Done));
            sum.add(&written);
        }
        if !writes.is_empty() {
            let room = Arc::clone(&self.behind).try_acquire_many_owned(kib);
            let rest = async move { while writes.next().await.is_some() {} };
            match room {
                // The other copies go on, until the deadline at most.
                Ok(room) => {
                    tokio::spawn(async move {
                        rest.await;
                        drop(room);
                    });
                }
                // As much as may be goes on already: this writer waits for its own, which slows it down.
                Err(_) => rest.await,
            }
        }
        sum.into_outcome()
    }

    /// Where a block was brought a moment ago.
    pub(super) fn brought(&self, key: &BlockKey) -> Option<NodeId> {
        self.brought.lock().node(key)
    }

    /// Writes to one node, this one or another. Another one leaves enough time to store the block here instead.
    fn write(
        &self,
        node: NodeId,
        domain: Domain,
        put: BlockPut,
        ack: Ack,
        deadline: Deadline,
    ) -> BoxFuture<'static, Written> {
        let writer = self.clone();
        let key = put.address.key;
        let is_committed = ack == Ack::Committed;
        Box::pin(async move {
            let (code, error) = if node == writer.me {
                writer
                    .write_here(&domain, put, is_committed, deadline)
                    .await
            } else {
                let left = writer.clock.remaining(deadline) * 3 / 4;
                let most = Duration::from_millis(writer.options.write_ms_max);
                let soon = writer.clock.deadline(left.min(most));
                let puts = [put];
                let sent = writer.send(node, domain.tag, &puts, is_committed, soon);
                match sent.await {
                    Ok(codes) => {
                        let code = codes.first().copied().unwrap_or(Code::Unsure);
                        if matches!(code, Code::Done | Code::Known) {
                            writer.brought.lock().note(key, node);
                        }
                        (code, None)
                    }
                    Err(error) => (Code::Unsure, Some(request_error(&error))),
                }
            };
            Written { node, code, error }
        })
    }

    async fn write_here(
        &self,
        domain: &Domain,
        put: BlockPut,
        is_committed: bool,
        deadline: Deadline,
    ) -> (Code, Option<RequestError>) {
        let address = put.address;
        let stored = self.cache.put(domain, put, deadline).await;
        let code = code_of(&stored);
        if is_committed && matches!(code, Code::Done | Code::Known) {
            let here = (self.me, &*self.reports);
            let listed = committed(&self.directory, &*self.sink, here, &address);
            let wait = self.clock.remaining(deadline);
            if tokio::time::timeout(wait, listed).await.is_err() {
                return (Code::Unsure, Some(RequestError::Deadline));
            }
        }
        let error = match stored {
            Err(PutError::Request(error)) => Some(error),
            _ => None,
        };
        (code, error)
    }

    /// Brings blocks to another node, in one frame; gives what became of each.
    pub(super) async fn send(
        &self,
        node: NodeId,
        tag: DomainTag,
        blocks: &[BlockPut],
        committed: bool,
        deadline: Deadline,
    ) -> Result<Vec<Code>, PeerError> {
        let within = self.clock.remaining(deadline).as_millis();
        let ask = WriteAsk {
            domain: tag,
            blocks: pack_brought(blocks),
            committed,
            within_ms: u32::try_from(within).unwrap_or(u32::MAX),
        };
        let payload = match blocks {
            [one] => one.payload.clone(),
            several => {
                let pieces = several.iter().map(|put| put.payload.clone()).collect();
                together(pieces).await.ok_or(PeerError::Unreachable {
                    peer: node,
                    reason: "this node is stopping".to_owned(),
                })?
            }
        };
        let codes = self.codes(node, Kind::BlockWrite, &ask, payload, deadline);
        let codes = codes.await?;
        Code::unpack(&codes.codes, blocks.len()).map_err(|_| PeerError::Deadline { peer: node })
    }

    /// Asks another node something that is answered with a code a block.
    pub(super) async fn codes(
        &self,
        node: NodeId,
        kind: Kind,
        ask: &impl serde::Serialize,
        payload: Bytes,
        deadline: Deadline,
    ) -> Result<CodesAnswer, PeerError> {
        let protocol = |error| PeerError::Protocol { peer: node, error };
        let parcel = Parcel::new(kind, ask, payload).map_err(protocol)?;
        let wait = self.clock.remaining(deadline);
        let turn = tokio::time::timeout(wait, self.gates.enter(node)).await;
        let _turn = turn.map_err(|_| PeerError::Busy { peer: node })?;
        let answer = self.callers.call(node, parcel, deadline).await?;
        answer.header().map_err(protocol)
    }
}

/// The bytes of several blocks, copied one after the other; many of them where it may take its time.
async fn together(pieces: Vec<Bytes>) -> Option<Bytes> {
    let bytes = pieces.iter().map(Bytes::len).sum();
    let copy = move || {
        let mut together = BytesMut::with_capacity(bytes);
        pieces
            .iter()
            .for_each(|piece| together.extend_from_slice(piece));
        together.freeze()
    };
    if bytes <= COPY_INLINE_BYTES_MAX {
        return Some(copy());
    }
    // The only way to fail is that the runtime is shutting down.
    tokio::task::spawn_blocking(copy).await.ok()
}

/// Why a peer gave no answer, as doors know it.
pub(super) const fn request_error(error: &PeerError) -> RequestError {
    match error {
        PeerError::Busy { .. } => RequestError::Busy,
        PeerError::Deadline { .. } => RequestError::Deadline,
        PeerError::Refused { .. }
        | PeerError::Unreachable { .. }
        | PeerError::Lost { .. }
        | PeerError::Protocol { .. } => RequestError::Stopped,
    }
}

/// Waits until this node's directory lists a block at one of this node's shards: its record was then agreed on.
pub(super) async fn committed(
    directory: &DirectorySource,
    sink: &dyn RecordSink,
    (me, reports): (NodeId, &BlockReports),
    address: &BlockAddress,
) {
    let mut applied = sink.applied();
    loop {
        applied.borrow_and_update();
        let holders = directory().holders(Place::of(address));
        let mut here = holders.iter().filter(|holder| holder.life.node == me);
        if here.any(|holder| reports.is_present(holder.life.boot)) {
            return;
        }
        if applied.changed().await.is_err() {
            // Nothing is applied any more; the caller's time decides.
            std::future::pending::<()>().await;
        }
    }
}

/// What all places together made of a block.
#[derive(Default)]
struct Sum {
    places: u32,
    stored: u32,
    /// The most telling failure so far.
    failure: Option<Code>,
    error: Option<RequestError>,
}

impl Sum {
    fn add(&mut self, written: &Written) {
        match written.code {
            Code::Done => {
                self.places += 1;
                self.stored += 1;
            }
            Code::Known => self.places += 1,
            code => {
                tracing::debug!(node = %written.node, ?code, "a copy was not stored");
                if self.failure.is_none_or(|known| known == Code::Unsure) {
                    self.failure = Some(code);
                }
                self.error = self.error.or(written.error);
            }
        }
    }

    /// Whether what failed elsewhere may do here: not where the block itself, or the wish, is at fault.
    fn may_stay_here(&self) -> bool {
        !matches!(self.failure, Some(Code::Malformed | Code::PinQuota))
    }

    fn into_outcome(self) -> Result<Stored, PutError> {
        if self.stored > 0 {
            return Ok(Stored::Copies(self.places));
        }
        if self.places > 0 {
            return Ok(Stored::Known);
        }
        match self.failure {
            Some(Code::NotAdmitted) => Ok(Stored::NotAdmitted),
            Some(Code::TooLarge) => Err(PutRefusal::TooLarge.into()),
            Some(Code::NoRoom) => Err(PutRefusal::NoRoom.into()),
            Some(Code::PinQuota) => Err(PutRefusal::PinQuota.into()),
            Some(Code::Malformed) => Err(PutRefusal::Malformed.into()),
            _ => Err(self.error.unwrap_or(RequestError::Stopped).into()),
        }
    }
}
