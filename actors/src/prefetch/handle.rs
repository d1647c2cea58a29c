//! The way to the prefetch actor, for doors, shards and the cluster: a permit first, and whoever gets none is not heard,
//! which costs nobody anything but a block that is not fetched ahead.
//!
//! It must never wait, nor hold up who tells.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};

use arc_swap::ArcSwapOption;
use parking_lot::Mutex;
use ractor::ActorRef;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use ultrakv_cache::prefetch::{Arrival, Demand, Held, PrefetchEvent, SessionHint, SessionName};
use ultrakv_cache::{ArenaId, BlockAddress, BlockKey};

use super::actor::PrefetchMsg;
use super::report::PrefetchReport;
use super::sink::PrefetchSink;
use crate::{Domain, RequestError};

/// Words on their way to the actor. A thousand chains of a hundred blocks are 6 MiB, and some milliseconds of its work.
const WORDS_MAX: usize = 1_024;

/// Blocks that went and that the actor has not heard of: 512 KiB. Those that find no room are found out when they are asked
/// for.
const GONE_MAX: usize = 16_384;

/// Fetches under way, of all lives of the actor: the prefetcher's own budgets are those of one life.
const FETCHES_MAX: usize = 64;

/// What all lives of the actor share.
#[derive(Debug)]
pub(crate) struct PrefetchPort {
    actor: ArcSwapOption<ActorRef<PrefetchMsg>>,
    words: Arc<Semaphore>,
    pub(super) fetches: Arc<Semaphore>,
    gone: Mutex<VecDeque<BlockKey>>,
    is_gone_told: AtomicBool,
    /// Whether single blocks that are asked for are of any interest: set by the actor.
    pub(super) is_curious: AtomicBool,
    pub(super) unheard: AtomicU64,
    pub(super) sink: OnceLock<Arc<dyn PrefetchSink>>,
    pub(super) report: watch::Sender<PrefetchReport>,
}

impl Default for PrefetchPort {
    fn default() -> Self {
        Self {
            actor: ArcSwapOption::empty(),
            words: Arc::new(Semaphore::new(WORDS_MAX)),
            fetches: Arc::new(Semaphore::new(FETCHES_MAX)),
            gone: Mutex::default(),
            is_gone_told: AtomicBool::new(false),
            is_curious: AtomicBool::new(false),
            unheard: AtomicU64::new(0),
            sink: OnceLock::new(),
            report: watch::Sender::default(),
        }
    }
}

/// The right to have one word on its way.
pub(crate) type WordPermit = OwnedSemaphorePermit;

impl PrefetchPort {
    /// A life of the actor begins.
    pub(super) fn begin(&self, actor: ActorRef<PrefetchMsg>) {
        self.actor.store(Some(Arc::new(actor)));
    }

    /// A block went from a shard; said from within the shard's turn.
    pub(crate) fn vanished(&self, key: &BlockKey) {
        // Alone, nothing was fetched and nothing is missed.
        if self.sink.get().is_none() {
            return;
        }
        let mut gone = self.gone.lock();
        if gone.len() >= GONE_MAX {
            gone.pop_front();
        }
        gone.push_back(*key);
        drop(gone);
        if !self.is_gone_told.swap(true, Ordering::SeqCst) {
            self.send(PrefetchMsg::Gone);
        }
    }

    /// The blocks that went since the last call.
    pub(super) fn take_gone(&self) -> VecDeque<BlockKey> {
        self.is_gone_told.store(false, Ordering::SeqCst);
        std::mem::take(&mut self.gone.lock())
    }

    fn send(&self, message: PrefetchMsg) {
        if let Some(actor) = &*self.actor.load() {
            // A life that has just ended is told in vain; the next one begins anew.
            let _ = actor.send_message(message);
        }
    }
}

/// The node's prefetching; clones are the same one.
#[derive(Clone, Debug)]
pub struct PrefetchHandle {
    pub(super) port: Arc<PrefetchPort>,
}

impl PrefetchHandle {
    pub(crate) const fn new(port: Arc<PrefetchPort>) -> Self {
        Self { port }
    }

    /// Gives the actor a way to other nodes; the first one stays.
    pub fn connect(&self, sink: Arc<dyn PrefetchSink>) {
        if self.port.sink.set(sink).is_err() {
            tracing::warn!("prefetching has a sink already, and keeps it");
        }
    }

    /// Whether anything can be fetched at all: a node alone has nowhere to fetch from.
    #[must_use]
    pub fn is_connected(&self) -> bool {
        self.port.sink.get().is_some()
    }

    /// A request has come and will ask for this chain.
    ///
    /// # Errors
    /// `Busy` when too much waits for the actor; nothing need be done about it.
    pub fn arrived(
        &self,
        domain: &Domain,
        chain: Vec<BlockAddress>,
        block_tokens: u32,
        session: Option<SessionName>,
    ) -> Result<(), RequestError> {
        let arrival = Arrival {
            arena: domain.arena,
            chain,
            block_tokens,
            session,
        };
        self.tell(Some(*domain), PrefetchEvent::Arrived(arrival))
    }

    /// Whether [`PrefetchHandle::demanded`] would be of use for a request of so many blocks. Reads of single blocks are many,
    /// and mostly of no interest.
    #[must_use]
    pub fn wants_demand(&self, blocks: usize) -> bool {
        self.is_connected() && (blocks > 1 || self.port.is_curious.load(Ordering::Relaxed))
    }

    /// A request asks for blocks, and found them so.
    ///
    /// # Errors
    /// As [`PrefetchHandle::arrived`].
    pub fn demanded(
        &self,
        domain: &Domain,
        blocks: Vec<BlockAddress>,
        found: Vec<Held>,
        is_whole: bool,
    ) -> Result<(), RequestError> {
        let demand = Demand {
            arena: domain.arena,
            blocks,
            found,
            is_whole,
        };
        self.tell(Some(*domain), PrefetchEvent::Demanded(demand))
    }

    /// So many tokens behind so many others were computed in so long.
    ///
    /// # Errors
    /// As [`PrefetchHandle::arrived`].
    pub fn computed(&self, tokens: u32, before: u64, elapsed_us: u64) -> Result<(), RequestError> {
        let event = PrefetchEvent::Computed {
            tokens,
            before,
            elapsed_us,
        };
        self.tell(None, event)
    }

    /// A client says something of its conversation.
    ///
    /// # Errors
    /// As [`PrefetchHandle::arrived`].
    pub fn hinted(
        &self,
        domain: &Domain,
        session: SessionName,
        hint: SessionHint,
    ) -> Result<(), RequestError> {
        let event = PrefetchEvent::Hinted {
            arena: domain.arena,
            session,
            hint,
        };
        self.tell(Some(*domain), event)
    }

    /// A domain is gone for good. Lost when too much waits: what is fetched for it then finds its arena closed.
    pub(crate) fn purged(&self, arena: ArenaId) {
        let _ = self.tell(None, PrefetchEvent::Purged { arena });
    }

    /// What prefetching did, some hundred milliseconds old at most.
    #[must_use]
    pub fn report(&self) -> PrefetchReport {
        *self.port.report.borrow()
    }

    /// Learns of new reports.
    #[must_use]
    pub fn reports(&self) -> watch::Receiver<PrefetchReport> {
        self.port.report.subscribe()
    }

    fn tell(&self, domain: Option<Domain>, event: PrefetchEvent) -> Result<(), RequestError> {
        if !self.is_connected() {
            return Ok(());
        }
        let permit = Arc::clone(&self.port.words).try_acquire_owned();
        let Ok(permit) = permit else {
            self.port.unheard.fetch_add(1, Ordering::Relaxed);
            return Err(RequestError::Busy);
        };
        self.port.send(PrefetchMsg::Word {
            domain,
            event,
            permit,
        });
        Ok(())
    }
}
