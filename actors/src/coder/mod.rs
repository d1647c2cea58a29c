//! Blocks made smaller on their way into the cache, and numbers again on their way out, beside the shards and never in their
//! turn.
//!
//! Responsible for how much of that goes on at a time, in threads and in bytes, and for who takes what. Which rung a block
//! gets is the ladder's business ([`ultrakv_cache::codec`]); where it lies, nobody's here. Stored bytes are what shards hold,
//! budgets count and nodes send each other; only who reads numbers decodes them.
//!
//! ```text
//!   put ──▶ encode: a turn ─▶ a thread that may block ─▶ smallest rung allowed, when it saves a page ──▶ shard
//!   get ──▶ shard ──▶ does the reader take it? ──▶ decode: room, turns ─▶ threads that may block ──▶ numbers
//! ```

mod encoding;
mod hints;
mod meters;
#[cfg(test)]
mod tests;
mod worker;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::join_all;
use parking_lot::Mutex;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use ultrakv_cache::codec::Frame;
use ultrakv_cache::{BlockAddress, BlockKey, Codec};

use crate::Domain;
use crate::clock::{Clock, Deadline};
use crate::handle::BlockPut;
use crate::shard::LeasedBlock;
use hints::Hints;
use meters::Meters;
use worker::{Coded, Reason, Unreadable, Wish, Worker};

pub use encoding::{Encoding, Quality};

/// How long a block waits for its turn to be encoded. Longer, and it is stored raw: a full cache is no reason to make writers
/// wait, and every contract accepts raw numbers.
const ENCODE_WAIT: Duration = Duration::from_millis(250);
/// Threads that encode and decode at most: beyond, memory is the limit.
const TURNS_MAX: usize = 8;
/// Decoded blocks that readers hold at one time, in KiB: a gibibyte. What does not fit is a miss.
const DECODED_KIB_MAX: u64 = 1 << 20;

/// Encodes and decodes; clones are the same one.
#[derive(Clone)]
pub struct Coder {
    inner: Arc<Inner>,
}

struct Inner {
    page_bytes: u64,
    clock: Clock,
    turns: Arc<Semaphore>,
    turns_max: usize,
    /// As many as there are turns, at most.
    idle: Mutex<Vec<Worker>>,
    room: Arc<Semaphore>,
    hints: Mutex<Hints>,
    meters: Meters,
}

/// One block to be decoded.
struct Job {
    place: usize,
    key: BlockKey,
    block: LeasedBlock,
    /// What its numbers take, in KiB.
    kib: u32,
}

/// Numbers, counted until their reader is done.
struct Decoded {
    plain: Vec<u8>,
    _room: Option<OwnedSemaphorePermit>,
}

impl AsRef<[u8]> for Decoded {
    fn as_ref(&self) -> &[u8] {
        &self.plain
    }
}

impl Coder {
    /// A coder for shards with pages of this size: a block that saves none is better left raw. It takes half of the machine's
    /// cores at most, since others compute too.
    #[must_use]
    pub fn new(page_bytes: u32, clock: Clock) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let turns_max = (cores / 2).clamp(1, TURNS_MAX);
        let room = usize::try_from(DECODED_KIB_MAX).unwrap_or(Semaphore::MAX_PERMITS);
        Self {
            inner: Arc::new(Inner {
                page_bytes: u64::from(page_bytes),
                clock,
                turns: Arc::new(Semaphore::new(turns_max)),
                turns_max,
                idle: Mutex::default(),
                room: Arc::new(Semaphore::new(room)),
                hints: Mutex::default(),
                meters: Meters::new(),
            }),
        }
    }

    /// The block as it is to be stored: as small as its domain's encoding allows, or as it came. Never fails, since every
    /// encoding allows what is exact.
    pub async fn encode(&self, domain: &Domain, put: BlockPut, deadline: Deadline) -> BlockPut {
        let inner = &self.inner;
        let encoding = domain.encoding();
        let is_plain = put.header.codec == Codec::Raw && put.header.is_exact();
        if encoding == Encoding::Raw || !is_plain {
            return put;
        }
        if put.header.payload_bytes <= inner.page_bytes {
            inner.meters.chosen(put.header.codec, Reason::Pages);
            return put;
        }
        let wait = ENCODE_WAIT.min(inner.clock.remaining(deadline) / 2);
        let Some(turn) = inner.turn(wait).await else {
            inner.meters.chosen(put.header.codec, Reason::Busy);
            return put;
        };
        let layout = put.header.layout;
        let wish = Wish {
            encoding,
            begin: inner.hints.lock().begin(layout, encoding),
            page_bytes: inner.page_bytes,
        };
        let (inner, kept) = (Arc::clone(inner), put.clone());
        let coded = tokio::task::spawn_blocking(move || {
            let coded = inner.encode(&wish, put);
            drop(turn);
            coded
        });
        // A coder that panicked, or a runtime that stops: the block is none the worse for it.
        let coded = coded.await.unwrap_or_else(|error| {
            tracing::error!(%error, "a coder ended in the middle of a block");
            Coded::as_it_came(kept, Reason::Unfit)
        });
        let Coded { put, reason, taken } = coded;
        if let Some(taken) = taken {
            self.inner.hints.lock().learn(layout, encoding, taken);
        }
        self.inner.meters.chosen(put.header.codec, reason);
        put
    }

    /// The numbers of each block that is there, in order. What its reader does not take, what is damaged, and what finds no room
    /// or no turn in time is a miss.
    pub async fn decode(
        &self,
        domain: &Domain,
        addresses: &[BlockAddress],
        mut blocks: Vec<Option<LeasedBlock>>,
        deadline: Deadline,
    ) -> Vec<Option<LeasedBlock>> {
        let jobs = self.inner.sort(domain, addresses, &mut blocks);
        if jobs.is_empty() {
            return blocks;
        }
        let Some((turns, mut room)) = self.enter(&jobs, deadline).await else {
            return blocks;
        };
        let each = jobs.len().div_ceil(turns.len());
        let mut jobs = jobs.into_iter();
        let mut parts = Vec::with_capacity(turns.len());
        for turn in turns {
            let part: Vec<_> = jobs
                .by_ref()
                .take(each)
                .map(|job| {
                    let kib = usize::try_from(job.kib).unwrap_or(usize::MAX);
                    (job, room.split(kib))
                })
                .collect();
            let inner = Arc::clone(&self.inner);
            parts.push(tokio::task::spawn_blocking(move || {
                let decoded = inner.decode(part);
                drop(turn);
                decoded
            }));
        }
        for part in join_all(parts).await {
            match part {
                Ok(decoded) => {
                    for (place, block) in decoded {
                        if let Some(to) = blocks.get_mut(place) {
                            *to = block;
                        }
                    }
                }
                Err(error) => tracing::error!(%error, "a coder ended in the middle of a block"),
            }
        }
        blocks
    }

    /// Turns for as many threads as are free and of use, at least one, and room for all numbers.
    async fn enter(
        &self,
        jobs: &[Job],
        deadline: Deadline,
    ) -> Option<(Vec<OwnedSemaphorePermit>, OwnedSemaphorePermit)> {
        let inner = &self.inner;
        let kib = jobs.iter().map(|job| job.kib).sum();
        let room = Arc::clone(&inner.room).acquire_many_owned(kib);
        let wait = inner.clock.remaining(deadline);
        let room = tokio::time::timeout(wait, room).await.ok()?.ok()?;
        let first = inner.turn(inner.clock.remaining(deadline)).await?;
        let mut turns = vec![first];
        while turns.len() < jobs.len().min(inner.turns_max)
            && let Ok(turn) = Arc::clone(&inner.turns).try_acquire_owned()
        {
            turns.push(turn);
        }
        Some((turns, room))
    }
}

impl Inner {
    /// A turn, unless all are taken for this long.
    async fn turn(&self, wait: Duration) -> Option<OwnedSemaphorePermit> {
        let turn = Arc::clone(&self.turns).acquire_owned();
        tokio::time::timeout(wait, turn).await.ok()?.ok()
    }

    fn with<R>(&self, work: impl FnOnce(&mut Worker) -> R) -> R {
        let idle = self.idle.lock().pop();
        let mut worker = idle.unwrap_or_default();
        let result = work(&mut worker);
        self.idle.lock().push(worker);
        result
    }

    fn encode(&self, wish: &Wish, put: BlockPut) -> Coded {
        let watch = self.clock.stopwatch();
        let plain = put.header.payload_bytes;
        let coded = self.with(|worker| worker.encode(wish, put));
        let stored = coded.put.header.payload_bytes;
        self.meters.encoded(plain, stored, watch.elapsed());
        coded
    }

    /// Takes out what cannot be handed on as it is: what the reader does not take, and what is to be decoded.
    fn sort(
        &self,
        domain: &Domain,
        addresses: &[BlockAddress],
        blocks: &mut [Option<LeasedBlock>],
    ) -> Vec<Job> {
        let mut jobs = Vec::new();
        let mut left = DECODED_KIB_MAX;
        for (place, (slot, address)) in blocks.iter_mut().zip(addresses).enumerate() {
            let encoding = domain.encoding();
            let is_ready = |block: &LeasedBlock| {
                block.header.codec == Codec::Raw && encoding.takes(&block.header)
            };
            let Some(block) = slot.take_if(|block| !is_ready(block)) else {
                continue;
            };
            if !encoding.takes(&block.header) {
                self.meters.refused();
                continue;
            }
            let kib = match Frame::parse(&block.payload) {
                Ok(frame) => frame.plain_bytes.div_ceil(1 << 10),
                Err(error) => {
                    self.fail(&error.into());
                    continue;
                }
            };
            let Some(rest) = left.checked_sub(kib) else {
                continue;
            };
            left = rest;
            jobs.push(Job {
                place,
                key: address.key,
                block,
                kib: u32::try_from(kib).unwrap_or(u32::MAX),
            });
        }
        jobs
    }

    fn decode(
        &self,
        jobs: Vec<(Job, Option<OwnedSemaphorePermit>)>,
    ) -> Vec<(usize, Option<LeasedBlock>)> {
        let watch = self.clock.stopwatch();
        let (mut plain_bytes, mut stored_bytes) = (0, 0);
        let decoded = self.with(|worker| {
            let decode = |(job, room): (Job, Option<OwnedSemaphorePermit>)| {
                let block = match worker.decode(&job.key, &job.block) {
                    Ok((header, plain)) => {
                        plain_bytes += header.payload_bytes;
                        stored_bytes += job.block.header.payload_bytes;
                        let payload = Bytes::from_owner(Decoded { plain, _room: room });
                        Some(LeasedBlock {
                            header,
                            payload,
                            ttl_ms: job.block.ttl_ms,
                        })
                    }
                    Err(error) => {
                        self.fail(&error);
                        None
                    }
                };
                (job.place, block)
            };
            jobs.into_iter().map(decode).collect()
        });
        self.meters
            .decoded(plain_bytes, stored_bytes, watch.elapsed());
        decoded
    }

    /// A miss to the reader, a line and a figure to the operator.
    fn fail(&self, error: &Unreadable) {
        tracing::warn!(%error, code = error.code(), "a stored block was not decoded");
        self.meters.failed(error.code());
    }
}

impl std::fmt::Debug for Coder {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Coder")
            .field("turns", &self.inner.turns_max)
            .finish_non_exhaustive()
    }
}
