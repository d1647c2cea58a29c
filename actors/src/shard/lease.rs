//! Pages on loan: to a reader until its last byte is dropped, to a writer until it commits.
//!
//! Both are guards: whatever becomes of the task that holds them, the shard hears of it. They must
//! never wait.

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::oneshot;
use ultrakv_cache::{BlockHeader, LeaseId, ReservationId};

use super::message::{Committed, ShardMsg};
use super::port::Life;
use crate::RequestError;
use crate::device::{Claim, TierError};
use crate::handle::Permit;

/// A lease that ends when this is dropped.
#[derive(Debug)]
pub(crate) struct Lease {
    id: LeaseId,
    life: Arc<Life>,
}

impl Lease {
    pub(crate) fn new(id: LeaseId, life: Arc<Life>) -> Self {
        Self { id, life }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.life.release(self.id);
    }
}

/// A block's pages on loan to a reader, as they leave the shard.
#[derive(Debug)]
pub(crate) struct LentBlock {
    header: BlockHeader,
    claim: Claim,
    // After the claim, so that the shard hears of the end only when the pages are free.
    lease: Lease,
}

impl LentBlock {
    pub(crate) fn new(header: BlockHeader, claim: Claim, lease: Lease) -> Self {
        Self {
            header,
            claim,
            lease,
        }
    }

    /// The block as its reader sees it. Pages in one piece are shown as they lie, and the loan
    /// lasts until the last clone of the payload is dropped; pages in several are copied together,
    /// on the caller's task, and the loan ends here.
    pub(crate) fn open(self) -> Result<LeasedBlock, TierError> {
        // Whichever way this goes, the claim ends before the shard hears of the lease's end.
        let bytes = self.claim.bytes(self.header.payload_bytes)?;
        if !self.claim.is_contiguous() {
            return Ok(LeasedBlock {
                header: self.header,
                payload: bytes,
            });
        }
        let Self {
            header,
            claim,
            lease,
        } = self;
        let payload = Bytes::from_owner(OnLoan {
            bytes,
            _claim: claim,
            _lease: lease,
        });
        Ok(LeasedBlock { header, payload })
    }
}

/// What the payload's bytes keep alive; dropped in this order.
struct OnLoan {
    bytes: Bytes,
    _claim: Claim,
    _lease: Lease,
}

impl AsRef<[u8]> for OnLoan {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// A block that its holder may read for as long as it keeps the payload or a clone of it.
///
/// The bytes are the shard's own pages, which the lease keeps from being reused, also over a
/// restart of the shard. Dropping the last clone releases the lease, without waiting. Whoever
/// stores them for long keeps room from the cache: copy instead.
#[derive(Clone, Debug)]
pub struct LeasedBlock {
    /// What the payload is.
    pub header: BlockHeader,
    /// The block's bytes: `[layer][K, V][head][token][dim]`, little-endian.
    pub payload: Bytes,
}

impl AsRef<[u8]> for LeasedBlock {
    fn as_ref(&self) -> &[u8] {
        &self.payload
    }
}

/// Pages on loan to a writer, who fills and commits them, or drops this.
#[derive(Debug)]
pub(crate) struct Reservation {
    claim: Option<Claim>,
    open: Open,
}

/// The open reservation; its drop tells the shard that nothing will come.
#[derive(Debug)]
struct Open {
    id: ReservationId,
    life: Arc<Life>,
    committed: bool,
}

impl Drop for Open {
    fn drop(&mut self) {
        if !self.committed {
            // A life that is over has nothing left to abort.
            let _ = self.life.send(ShardMsg::Abort {
                reservation: self.id,
            });
        }
    }
}

impl Reservation {
    pub(crate) fn new(id: ReservationId, claim: Claim, life: Arc<Life>) -> Self {
        Self {
            claim: Some(claim),
            open: Open {
                id,
                life,
                committed: false,
            },
        }
    }

    /// Copies the payload into the pages.
    pub(crate) fn fill(&self, payload: &[u8]) -> Result<(), TierError> {
        self.claim
            .as_ref()
            .map_or(Ok(()), |claim| claim.fill(payload))
    }

    /// The life of the shard that gave the pages.
    pub(crate) fn life(&self) -> Arc<Life> {
        Arc::clone(&self.open.life)
    }

    /// Asks to make the block visible; gives where the answer will come.
    pub(crate) fn commit(
        mut self,
        permit: Permit,
    ) -> Result<oneshot::Receiver<Committed>, RequestError> {
        // The writer's claim ends before the shard may lend the pages to a reader.
        self.claim = None;
        let (reply, answer) = oneshot::channel();
        self.open.committed = true;
        self.open.life.send(ShardMsg::Commit {
            reservation: self.open.id,
            permit,
            reply,
        })?;
        Ok(answer)
    }
}
