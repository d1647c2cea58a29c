//! The right to generate: how a request gets one of the node's few generation slots.
//!
//! ```text
//!   handle ── seat (none free: Busy) ──► GatewayActor's queue ── slot free ──► permit ──► generation
//! ```
//! A **seat** is a place in the house, waiting or generating; there are as many as slots and queue
//! places together, so the actor's mailbox and queue are bounded. A **permit** is a slot; it keeps its
//! seat until the generation's thread is done with it. The count of permits out lives outside the
//! actor, so an actor that was killed and started again never admits more than there are slots, and
//! the generations of its former life go on undisturbed; whoever was still waiting is told at once.
//!
//! Waiting has no time limit of its own: a waiter that gives up drops its `Waiting`, which frees its
//! place. This module knows nothing of prompts or models.

mod queue;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use arc_swap::ArcSwapOption;
use ractor::ActorRef;
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use crate::gateway_actor::GatewayMessage;
use crate::process::{Priority, ProcessError};

pub(crate) use queue::Queue;

/// The way to permits. Cheap to clone; clones share.
#[derive(Debug, Clone)]
pub struct Admission {
    shared: Arc<Shared>,
}

/// What outlives each life of the gateway actor.
#[derive(Debug)]
struct Shared {
    slots_max: usize,
    seats_max: usize,
    seats: Arc<Semaphore>,
    /// Permits out.
    running: AtomicUsize,
    /// The actor's present life.
    actor: ArcSwapOption<ActorRef<GatewayMessage>>,
}

/// A waiter, as the actor sees it.
#[derive(Debug)]
pub(crate) struct Waiter {
    pub(crate) priority: Priority,
    seat: OwnedSemaphorePermit,
    reply: oneshot::Sender<GenerationPermit>,
}

/// The right to run one generation. Dropping it lets the next one in.
#[derive(Debug)]
pub(crate) struct GenerationPermit {
    admission: Admission,
    _seat: OwnedSemaphorePermit,
}

impl Admission {
    /// Admission to that many slots, with that many places to wait. At least one slot.
    #[must_use]
    pub fn new(slots_max: usize, queue_max: usize) -> Self {
        let slots_max = slots_max.max(1);
        let seats_max = slots_max
            .saturating_add(queue_max)
            .min(Semaphore::MAX_PERMITS);
        let shared = Shared {
            slots_max,
            seats_max,
            seats: Arc::new(Semaphore::new(seats_max)),
            running: AtomicUsize::new(0),
            actor: ArcSwapOption::empty(),
        };
        Self {
            shared: Arc::new(shared),
        }
    }

    /// Waits for a slot. Dropping the future gives the place up.
    ///
    /// # Errors
    /// [`ProcessError::Busy`] when every seat is taken, [`ProcessError::Stopped`] when the gateway
    /// actor is not running or died while we waited.
    pub(crate) async fn admit(&self, priority: Priority) -> Result<GenerationPermit, ProcessError> {
        let seats = Arc::clone(&self.shared.seats);
        let Ok(seat) = seats.try_acquire_owned() else {
            let running = self.running();
            let queued = self.shared.seats_max.saturating_sub(running);
            return Err(ProcessError::Busy { running, queued });
        };
        let (reply, permit) = oneshot::channel();
        self.send(GatewayMessage::Admit(Waiter {
            priority,
            seat,
            reply,
        }))?;
        let mut waiting = Waiting {
            admission: self,
            permit: Some(permit),
        };
        let permit = match waiting.permit.as_mut() {
            Some(permit) => permit.await.map_err(|_closed| ProcessError::Stopped)?,
            None => return Err(ProcessError::Stopped),
        };
        waiting.permit = None;
        Ok(permit)
    }

    /// Generations running now.
    pub(crate) fn running(&self) -> usize {
        self.shared.running.load(Ordering::Acquire)
    }

    /// Requests waiting for a slot now.
    pub(crate) fn queued(&self) -> usize {
        let taken = self
            .shared
            .seats_max
            .saturating_sub(self.shared.seats.available_permits());
        taken.saturating_sub(self.running())
    }

    /// Puts a new life of the actor in the place of the last.
    pub(crate) fn opened_by(&self, actor: ActorRef<GatewayMessage>) {
        self.shared.actor.store(Some(Arc::new(actor)));
    }

    /// Notes that this life of the actor ended in good order.
    pub(crate) fn closed(&self, actor: &ActorRef<GatewayMessage>) {
        let current = self.shared.actor.load();
        if current
            .as_ref()
            .is_some_and(|current| current.get_id() == actor.get_id())
        {
            self.shared.actor.store(None);
        }
    }

    /// Gives free slots to whoever is next. Called by the actor only.
    pub(crate) fn grant(&self, queue: &mut Queue<Waiter>) {
        queue.retain(|waiter| !waiter.reply.is_closed());
        while self.running() < self.shared.slots_max {
            let Some(Waiter { seat, reply, .. }) = queue.pop() else {
                return;
            };
            self.shared.running.fetch_add(1, Ordering::AcqRel);
            let permit = GenerationPermit {
                admission: self.clone(),
                _seat: seat,
            };
            // A waiter that left in this instant gives the permit back by dropping it.
            let _left = reply.send(permit);
        }
    }

    fn send(&self, message: GatewayMessage) -> Result<(), ProcessError> {
        let actor = self.shared.actor.load();
        let Some(actor) = actor.as_ref() else {
            return Err(ProcessError::Stopped);
        };
        actor.cast(message).map_err(|_dead| ProcessError::Stopped)
    }

    /// Has the actor look at its queue again; without an actor there is no queue to look at.
    fn poke(&self) {
        let _no_actor = self.send(GatewayMessage::Recheck);
    }
}

impl Drop for GenerationPermit {
    fn drop(&mut self) {
        self.admission.shared.running.fetch_sub(1, Ordering::AcqRel);
        self.admission.poke();
    }
}

/// A place in the queue, given up when dropped.
struct Waiting<'a> {
    admission: &'a Admission,
    permit: Option<oneshot::Receiver<GenerationPermit>>,
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        // Close first: the actor must see that nobody waits when it looks.
        if self.permit.take().is_some() {
            self.admission.poke();
        }
    }
}
