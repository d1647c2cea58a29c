//! The actor that owns the cluster's metadata: members, boot ids, slots, domains' generations.
//!
//! With one node it orders changes that with many go through Raft: every change is one message,
//! and readers see it at once, whole, in the published [`View`]. It must never be on the path of a
//! read.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwapOption;
use ractor::{Actor, ActorProcessingErr, ActorRef};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot, watch};
use ultrakv_actors::clock::{Clock, Deadline};
use ultrakv_actors::{CacheHandle, RequestError};

use crate::domains::UnknownService;
use crate::entry::EntryHost;
use crate::status::PurgeReport;
use crate::view::{Published, View};

/// Purges that may wait at once: an operator's act, not a client's.
pub(crate) const PURGES_IN_FLIGHT_MAX: usize = 16;

/// The time for confirming purges that an earlier life began.
const RECONFIRM_MS: u64 = 5_000;

/// Why a purge was not confirmed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PurgeError {
    /// No such service.
    #[error(transparent)]
    Unknown(#[from] UnknownService),
    /// The purge was ordered, but not confirmed in time or by a part that stopped. What was stored
    /// before is unreachable in any case.
    #[error("the purge was not confirmed: {0}")]
    Unconfirmed(#[from] RequestError),
}

impl PurgeError {
    /// A stable name for machines.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Unknown(error) => error.code(),
            Self::Unconfirmed(_) => "purge_unconfirmed",
        }
    }

    /// What the caller can do about it.
    #[must_use]
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::Unknown(error) => error.hint(),
            Self::Unconfirmed(_) => "send the purge again to have it confirmed; that is harmless",
        }
    }
}

/// What the membership actor is asked.
pub(crate) enum MembershipMsg {
    /// Move a service to its next generation and free what the last one held.
    Purge {
        service: String,
        deadline: Deadline,
        /// Travels with the order, so that callers who leave do not make room while their orders wait.
        permit: OwnedSemaphorePermit,
        reply: oneshot::Sender<Result<PurgeReport, PurgeError>>,
    },
    /// Confirm purges that an earlier life left unconfirmed.
    Reconfirm,
}

impl ractor::Message for MembershipMsg {}

/// Where the present life of the actor is found; outlives its lives.
#[derive(Debug)]
pub(crate) struct MembershipPort {
    life: ArcSwapOption<Life>,
    purges: Arc<Semaphore>,
}

#[derive(Debug)]
struct Life {
    actor: ActorRef<MembershipMsg>,
    over: watch::Receiver<()>,
}

impl MembershipPort {
    pub(crate) fn new() -> Self {
        Self {
            life: ArcSwapOption::empty(),
            purges: Arc::new(Semaphore::new(PURGES_IN_FLIGHT_MAX)),
        }
    }

    /// Orders a purge and waits until it is confirmed.
    pub(crate) async fn purge(
        &self,
        service: &str,
        clock: &Clock,
        deadline: Deadline,
    ) -> Result<PurgeReport, PurgeError> {
        let stopped = || PurgeError::Unconfirmed(RequestError::Stopped);
        let permit = Arc::clone(&self.purges).try_acquire_owned();
        let permit = permit.map_err(|_| RequestError::Busy)?;
        let life = self.life.load_full().ok_or_else(stopped)?;
        let (reply, answer) = oneshot::channel();
        let message = MembershipMsg::Purge {
            service: service.to_owned(),
            deadline,
            permit,
            reply,
        };
        life.actor.send_message(message).map_err(|_| stopped())?;
        let mut over = life.over.clone();
        tokio::select! {
            biased;
            answer = answer => answer.map_err(|_| stopped())?,
            _ = over.changed() => Err(stopped()),
            () = tokio::time::sleep(clock.remaining(deadline)) => {
                Err(PurgeError::Unconfirmed(RequestError::Deadline))
            }
        }
    }
}

/// What every life of the actor is told.
#[derive(Clone)]
pub(crate) struct Membership {
    pub(crate) view: Published,
    pub(crate) port: Arc<MembershipPort>,
    pub(crate) cache: CacheHandle,
    pub(crate) entries: EntryHost,
    pub(crate) clock: Clock,
}

/// What purges dropped.
#[derive(Clone, Copy, Debug, Default)]
struct Purged {
    blocks: u64,
    entries: u64,
}

/// Keeps callers waiting only while this life lasts.
pub(crate) struct Alive {
    _end: watch::Sender<()>,
}

impl Membership {
    /// Replaces the view. There is one writer, so nothing is lost between load and store.
    fn publish(&self, change: impl FnOnce(&mut View)) {
        let mut view = View::clone(&self.view.load());
        change(&mut view);
        view.revision += 1;
        self.view.store(Arc::new(view));
    }

    async fn purge(&self, service: &str, deadline: Deadline) -> Result<PurgeReport, PurgeError> {
        let view = self.view.load_full();
        let (sharing, keyring) = view.domains.find(service)?;
        let old = (keyring.arena, keyring.tag());
        // First the new generation, so that the old blocks are unreachable at once; a request that
        // still holds the old domain finds its arena closed and stores nothing.
        let arena = self.cache.open_arena();
        let mut generation = keyring.generation;
        self.publish(|view| {
            view.closing.push(old);
            generation = view.domains.advance(sharing, arena).unwrap_or(generation);
        });
        let purged = self.confirm_all(deadline).await?;
        tracing::info!(service, generation, blocks = purged.blocks, "domain purged");
        Ok(PurgeReport {
            service: service.to_owned(),
            shares: sharing.label(),
            generation,
            blocks: purged.blocks,
            entries: purged.entries,
        })
    }

    /// Frees every closed arena and what entries lie under its tag, on every shard, and forgets it: this purge's, and those of earlier
    /// purges that ran out of time.
    async fn confirm_all(&self, deadline: Deadline) -> Result<Purged, RequestError> {
        let mut sum = Purged::default();
        let closing = self.view.load().closing.clone();
        for (arena, tag) in closing {
            let purged = self.cache.purge(arena, deadline).await?;
            sum.blocks += purged.blocks;
            sum.entries += self.entries.retire(tag, deadline).await?;
            self.publish(|view| view.closing.retain(|closing| closing.0 != arena));
        }
        Ok(sum)
    }
}

impl Actor for Membership {
    type Msg = MembershipMsg;
    type State = Alive;
    type Arguments = ();

    async fn pre_start(
        &self,
        myself: ActorRef<Self::Msg>,
        (): (),
    ) -> Result<Alive, ActorProcessingErr> {
        let (end, over) = watch::channel(());
        if !self.view.load().closing.is_empty() {
            myself.send_message(MembershipMsg::Reconfirm)?;
        }
        let actor = myself;
        self.port.life.store(Some(Arc::new(Life { actor, over })));
        Ok(Alive { _end: end })
    }

    async fn handle(
        &self,
        _myself: ActorRef<Self::Msg>,
        message: MembershipMsg,
        _alive: &mut Alive,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            MembershipMsg::Purge {
                service,
                deadline,
                permit,
                reply,
            } => {
                let report = self.purge(&service, deadline).await;
                // Before the answer, so that a caller who asks again at once finds room.
                drop(permit);
                // Nobody waiting for the report is no reason to undo the purge.
                let _ = reply.send(report);
            }
            MembershipMsg::Reconfirm => {
                let deadline = self.clock.deadline(Duration::from_millis(RECONFIRM_MS));
                if let Err(error) = self.confirm_all(deadline).await {
                    tracing::warn!(%error, "an earlier purge is still not confirmed");
                }
            }
        }
        Ok(())
    }
}
