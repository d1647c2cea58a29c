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

/// A lease and the claim on its pages, which end together when this is dropped.
#[derive(Debug)]
pub(crate) struct Loan {
    /// Taken at the drop only.
    claim: Option<Claim>,
    lease: LeaseId,
    life: Arc<Life>,
}

impl Loan {
    pub(crate) fn new(lease: LeaseId, life: Arc<Life>, claim: Claim) -> Self {
        Self {
            claim: Some(claim),
            lease,
            life,
        }
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        // The claim first: once the shard hears of the lease's end it may write to the pages.
        self.claim = None;
        self.life.release(self.lease);
    }
}

/// A block's pages on loan to a reader, as they leave the shard.
#[derive(Debug)]
pub(crate) struct LentBlock {
    header: BlockHeader,
    ttl_ms: Option<u64>,
    loan: Loan,
}

impl LentBlock {
    pub(crate) fn new(header: BlockHeader, ttl_ms: Option<u64>, loan: Loan) -> Self {
        Self {
            header,
            ttl_ms,
            loan,
        }
    }

    /// The block as its reader sees it. Pages in one piece are shown as they lie, and the loan
    /// lasts until the last clone of the payload is dropped; pages in several are copied together,
    /// on the caller's task, and the loan ends here.
    pub(crate) fn open(self) -> Result<Option<LeasedBlock>, TierError> {
        let Self {
            header,
            ttl_ms,
            loan,
        } = self;
        let Some(claim) = &loan.claim else {
            return Ok(None);
        };
        let bytes = claim.bytes(header.payload_bytes)?;
        let payload = if claim.is_contiguous() {
            Bytes::from_owner(OnLoan { bytes, _loan: loan })
        } else {
            bytes
        };
        Ok(Some(LeasedBlock {
            header,
            payload,
            ttl_ms,
        }))
    }
}

/// What the payload's bytes keep alive.
struct OnLoan {
    bytes: Bytes,
    _loan: Loan,
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
    /// Milliseconds it had left when it was lent; none for no limit. A copy of it must not outlive it.
    pub ttl_ms: Option<u64>,
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
    id: ReservationId,
    life: Arc<Life>,
    committed: bool,
}

impl Reservation {
    pub(crate) fn new(id: ReservationId, claim: Claim, life: Arc<Life>) -> Self {
        Self {
            claim: Some(claim),
            id,
            life,
            committed: false,
        }
    }

    /// Copies the payload into the pages.
    pub(crate) fn fill(&self, payload: &[u8]) -> Result<(), TierError> {
        let filled = self.claim.as_ref().map(|claim| claim.fill(payload));
        filled.unwrap_or(Ok(()))
    }

    /// The life of the shard that gave the pages.
    pub(crate) fn life(&self) -> Arc<Life> {
        Arc::clone(&self.life)
    }

    /// Asks to make the block visible; gives where the answer will come.
    pub(crate) fn commit(
        mut self,
        permit: Permit,
    ) -> Result<oneshot::Receiver<Committed>, RequestError> {
        // The writer's claim ends before the shard may lend the pages to a reader.
        self.claim = None;
        self.committed = true;
        let (reply, answer) = oneshot::channel();
        self.life.send(ShardMsg::Commit {
            reservation: self.id,
            permit,
            reply,
        })?;
        Ok(answer)
    }
}

impl Drop for Reservation {
    fn drop(&mut self) {
        // The claim first: once the shard hears of the end it may give the pages to another writer.
        self.claim = None;
        if !self.committed {
            // A life that is over has nothing left to abort.
            let _ = self.life.send(ShardMsg::Abort {
                reservation: self.id,
            });
        }
    }
}
