//! The handle: the one way from outside the actors to the cache of this node.
//!
//! Cloneable, without an `ActorRef`. Each call takes a permit or is told `Busy`, carries a deadline,
//! sends at most one message a shard, and ends when the shard's life ends. It must never know a
//! service, a slot or a protocol.

mod blocks;
mod gate;
mod guests;
mod policy;
mod put;

use std::sync::{Arc, OnceLock};

use futures::future::{join_all, try_join_all};
use metrics::{Histogram, histogram};
use ultrakv_cache::{ArenaId, BlockAddress};

pub(crate) use gate::{Gate, Permit};
pub use policy::NEXT_MAX;
pub use put::{BlockPut, PutError, Stored};

use crate::RequestError;
use crate::clock::Deadline;
use crate::guest::GuestFactory;
use crate::placement::Placement;
use crate::prefetch::PrefetchHandle;
use crate::shard::{ArenaPurge, Arenas, ShardMsg, ShardPort, ShardReport};
use crate::telemetry;

/// The cache of this node.
#[derive(Clone)]
pub struct CacheHandle {
    inner: Arc<Inner>,
}

struct Inner {
    shards: Arc<[Arc<ShardPort>]>,
    placement: Placement,
    arenas: Arc<Arenas>,
    guests: Arc<OnceLock<Arc<dyn GuestFactory>>>,
    prefetch: PrefetchHandle,
    seconds: Seconds,
}

/// Time from call to answer, by operation.
struct Seconds {
    match_prefix: Histogram,
    get: Histogram,
    put: Histogram,
}

/// The part of a request that goes to one shard.
struct Part {
    shard: usize,
    /// Places in the request, in order.
    places: Vec<usize>,
}

impl CacheHandle {
    pub(crate) fn new(
        shards: Arc<[Arc<ShardPort>]>,
        placement: Placement,
        (arenas, guests): (Arc<Arenas>, Arc<OnceLock<Arc<dyn GuestFactory>>>),
        prefetch: PrefetchHandle,
    ) -> Self {
        let seconds = |operation: &'static str| histogram!(telemetry::REQUEST_SECONDS, "operation" => operation);
        let seconds = Seconds {
            match_prefix: seconds("match_prefix"),
            get: seconds("get"),
            put: seconds("put"),
        };
        Self {
            inner: Arc::new(Inner {
                shards,
                placement,
                arenas,
                guests,
                prefetch,
                seconds,
            }),
        }
    }

    /// How many shards the node has.
    #[must_use]
    pub fn shards(&self) -> usize {
        self.inner.shards.len()
    }

    /// What is fetched from elsewhere before it is asked for.
    #[must_use]
    pub fn prefetch(&self) -> &PrefetchHandle {
        &self.inner.prefetch
    }

    /// Bytes of a page, in which shards give room.
    #[must_use]
    pub fn page_bytes(&self) -> u32 {
        let first = self.inner.shards.first();
        first.map_or(1, |shard| shard.plan.config.page_bytes)
    }

    /// The node's budget in bytes.
    #[must_use]
    pub fn bytes_max(&self) -> u64 {
        let shards = self.inner.shards.iter();
        shards.map(|shard| shard.plan.config.budget.bytes_max).sum()
    }

    /// The node's budget in tokens; none when bytes alone bind.
    #[must_use]
    pub fn tokens_max(&self) -> Option<u64> {
        let shards = self.inner.shards.iter();
        shards
            .map(|shard| shard.plan.config.budget.tokens_max)
            .sum()
    }

    /// Opens an arena for a domain's blocks. It takes up nothing until it is used.
    #[must_use]
    pub fn open_arena(&self) -> ArenaId {
        self.inner.arenas.open()
    }

    /// Closes an arena for good and frees what it holds; pages that are being read go when their
    /// readers are done. An order: it gets in when clients fill
    /// the gate.
    ///
    /// # Errors
    /// When a shard did not confirm in time. The arena is closed all the same, and asking again is
    /// harmless.
    pub async fn purge(
        &self,
        arena: ArenaId,
        deadline: Deadline,
    ) -> Result<ArenaPurge, RequestError> {
        self.inner.arenas.close(arena);
        self.inner.prefetch.purged(arena);
        let purges = self.inner.shards.iter().map(|shard| async move {
            let permit = shard.gate.order()?;
            match shard.ask(&permit, arena, deadline, ShardMsg::Purge).await {
                Ok(purged) => Ok(purged),
                // A life that ended took what it held along, and the next one finds the arena
                // closed.
                Err(RequestError::Stopped) => Ok(ArenaPurge::default()),
                Err(cause) => Err(cause),
            }
        });
        let mut sum = ArenaPurge::default();
        for purged in join_all(purges).await {
            let purged = purged?;
            sum.blocks += purged.blocks;
        }
        Ok(sum)
    }

    /// Every shard's figures, in order. An order: operators look when clients fill the gate.
    ///
    /// # Errors
    /// When a shard did not answer.
    pub async fn stats(&self, deadline: Deadline) -> Result<Vec<ShardReport>, RequestError> {
        let reports = self.inner.shards.iter().map(|shard| async move {
            let permit = shard.gate.order()?;
            shard.ask(&permit, (), deadline, ShardMsg::Stats).await
        });
        try_join_all(reports).await
    }

    /// Cuts a request over the shards that its runs live in.
    fn parts(&self, addresses: &[BlockAddress]) -> Vec<Part> {
        let mut parts: Vec<Part> = Vec::new();
        // Neighbours mostly share a run, whose shard is then known.
        let mut last = None;
        for (place, address) in addresses.iter().enumerate() {
            let shard = match last {
                Some((run, shard)) if run == address.run => shard,
                _ => self.inner.placement.run(&address.run),
            };
            last = Some((address.run, shard));
            match parts.iter_mut().find(|part| part.shard == shard) {
                Some(part) => part.places.push(place),
                None => parts.push(Part {
                    shard,
                    places: vec![place],
                }),
            }
        }
        parts
    }

    pub(crate) fn shard(&self, index: usize) -> Result<&Arc<ShardPort>, RequestError> {
        // Placement names shards that exist; an error is kinder than a panic if it ever does not.
        self.inner.shards.get(index).ok_or(RequestError::Stopped)
    }
}

impl std::fmt::Debug for CacheHandle {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CacheHandle")
            .field("shards", &self.shards())
            .finish_non_exhaustive()
    }
}

#[cfg(any(test, feature = "chaos"))]
impl CacheHandle {
    /// Holds a shard up from when this returns until the guard is dropped.
    ///
    /// # Errors
    /// When the shard is not running.
    pub async fn stall_shard(
        &self,
        index: usize,
    ) -> Result<tokio::sync::oneshot::Sender<()>, RequestError> {
        let (begun, begins) = tokio::sync::oneshot::channel();
        let (guard, until) = tokio::sync::oneshot::channel();
        self.shard(index)?
            .life()?
            .send(ShardMsg::Stall(begun, until))?;
        begins.await.map_err(|_| RequestError::Stopped)?;
        Ok(guard)
    }
}
