//! Storing a block: reserve pages, fill them on the caller's side, commit.
//!
//! The shard never touches the payload, and nobody sees the block before its last byte is written.
//! It must never know what a block holds.

use bytes::Bytes;
use ultrakv_cache::{
    BlockAddress, BlockHeader, BlockKey, Pin, PutRefusal, ReserveBlock, Retain, Term,
};

use super::CacheHandle;
use super::gate::Permit;
use crate::clock::Deadline;
use crate::device::TierError;
use crate::shard::{Committed, Reservation, Reserved, ShardMsg};
use crate::{Domain, RequestError};

/// Payloads up to this are copied where the caller stands: some tens of microseconds. Larger ones,
/// whose fresh pages the kernel must also clear, go to a thread that may block.
const COPY_INLINE_BYTES_MAX: u64 = 256 << 10;

/// A block to store.
#[derive(Clone, Debug)]
pub struct BlockPut {
    /// Its key, and its run's.
    pub address: BlockAddress,
    /// The block before it in its chain; none for the first.
    pub parent: Option<BlockKey>,
    /// Blocks before it in its chain, as far as its writer knows; 0 when it does not. Runs of a chain lie in different shards, so
    /// the shard of a run's first block mostly lacks the parent that could tell.
    pub depth: u32,
    /// What the payload is; made by [`BlockHeader::seal`].
    pub header: BlockHeader,
    /// Its bytes, as many as the header says.
    pub payload: Bytes,
    /// Whether it may be evicted.
    pub pin: Pin,
    /// Milliseconds after which it is gone; none for no such limit.
    pub ttl_ms: Option<u64>,
}

/// What became of a block that was to be stored. All of them are successes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stored {
    /// It is stored, in so many copies.
    Copies(u32),
    /// It was there already; the first commit's bytes stay.
    Known,
    /// It was not wanted now, or the device failed; nothing is lost but time.
    NotAdmitted,
}

/// A block was not stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PutError {
    /// It was refused.
    #[error(transparent)]
    Refused(#[from] PutRefusal),
    /// No answer came; it may be stored or not, and storing it again is harmless.
    #[error(transparent)]
    Request(#[from] RequestError),
}

impl PutError {
    /// A stable name for machines.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Refused(why) => why.code(),
            Self::Request(error) => error.code(),
        }
    }

    /// What the caller can do about it.
    #[must_use]
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::Refused(why) => why.hint(),
            Self::Request(error) => error.hint(),
        }
    }
}

impl CacheHandle {
    /// Stores a block. When this returns it can be found; before, it could not. When the caller
    /// gives up in between, the pages are given back.
    ///
    /// # Errors
    /// When the block was refused, or when no answer came.
    pub async fn put(
        &self,
        domain: &Domain,
        put: BlockPut,
        deadline: Deadline,
    ) -> Result<Stored, PutError> {
        if u64::try_from(put.payload.len()).ok() != Some(put.header.payload_bytes) {
            return Err(PutRefusal::Malformed.into());
        }
        let shard = self.shard(self.inner.placement.run(&put.address.run))?;
        let watch = shard.clock.stopwatch();
        let permit = shard.gate.enter_with(put.header.payload_bytes)?;
        let block = ReserveBlock {
            key: put.address.key,
            run: put.address.run,
            parent: put.parent,
            depth: put.depth,
            arena: domain.arena,
            header: put.header,
            retain: Retain {
                pin: put.pin,
                ttl_ms: put.ttl_ms,
            },
            // The guard ends it, whatever happens here.
            term: Term::Held,
        };
        let reserved = shard
            .ask(&permit, Box::new(block), deadline, ShardMsg::Reserve)
            .await;
        let reserved = reserved?;
        let reservation = match reserved {
            Reserved::Pages(reservation) => reservation,
            Reserved::Known => return Ok(Stored::Known),
            Reserved::NotAdmitted => {
                shard.not_admitted.increment();
                return Ok(Stored::NotAdmitted);
            }
            Reserved::Refused(why) => return Err(why.into()),
        };
        let (filled, permit) = fill(reservation, put, permit).await?;
        let reservation = match filled {
            Ok(Some(reservation)) => reservation,
            Ok(None) => return Err(PutRefusal::Malformed.into()),
            Err(error) => {
                shard.tier_failed("a block was not written", &error);
                return Ok(Stored::NotAdmitted);
            }
        };

        let life = reservation.life();
        let committed = shard
            .answer(&life, reservation.commit(permit)?, deadline)
            .await?;
        self.inner.seconds.put.record(watch.elapsed());
        match committed {
            Committed::Stored => Ok(Stored::Copies(1)),
            Committed::Known => Ok(Stored::Known),
            // Its domain was purged while it was written.
            Committed::Refused(PutRefusal::Gone) => Ok(Stored::NotAdmitted),
            Committed::Refused(why) => Err(why.into()),
        }
    }
}

/// Checks the payload against its header and fills a reservation's pages; gives none when they
/// disagree. The permit goes along, so that a caller who leaves meanwhile frees it only with the
/// pages.
async fn fill(
    reservation: Reservation,
    put: BlockPut,
    permit: Permit,
) -> Result<(Result<Option<Reservation>, TierError>, Permit), RequestError> {
    let small = put.header.payload_bytes <= COPY_INLINE_BYTES_MAX;
    let copy = move || {
        // The last place where wrong bytes can be told from right ones: a local read checks none.
        if !put.header.verify(&put.address.key, &put.payload) {
            return (Ok(None), permit);
        }
        let filled = reservation.fill(&put.payload);
        (filled.map(|()| Some(reservation)), permit)
    };
    if small {
        return Ok(copy());
    }
    // The only way to fail is that the runtime is shutting down.
    tokio::task::spawn_blocking(copy)
        .await
        .map_err(|_| RequestError::Stopped)
}
