//! What outlives a shard's lives: its gate, its device, and the way to its present life.
//!
//! Handles and the eviction actor reach a shard through its port only; the supervisor's restarts
//! put a new [`Life`] into it. It must never know what a request asks for.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use parking_lot::Mutex;
use ractor::ActorRef;
use tokio::sync::{oneshot, watch};
use ultrakv_cache::LeaseId;

use super::message::{Ask, ShardMsg};
use super::meters::NotAdmitted;
use crate::clock::{Clock, Deadline};
use crate::device::{Device, Region, TierError};
use crate::guest::GuestMessage;
use crate::handle::{Gate, Permit};
use crate::plan::ShardPlan;
use crate::telemetry;
use crate::{BootId, RequestError};

/// The fixed place of one shard in the node.
#[derive(Debug)]
pub(crate) struct ShardPort {
    pub(crate) index: usize,
    pub(crate) plan: ShardPlan,
    pub(crate) device: Arc<dyn Device>,
    pub(crate) gate: Gate,
    /// The gate of what other nodes' guests say.
    pub(crate) notes: Gate,
    pub(crate) clock: Clock,
    /// Whoever holds this owns the shard's memory: a new life waits until the last one's arenas
    /// are given back, so that two lives never fill one budget.
    pub(crate) memory: Arc<tokio::sync::Mutex<()>>,
    /// Counts writes that were not wanted, or that the device failed.
    pub(crate) not_admitted: NotAdmitted,
    /// Set while the eviction actor was told of pressure and has not looked yet.
    pub(crate) pressed: AtomicBool,
    /// Turns of eviction it was given.
    #[cfg(test)]
    pub(crate) turns: std::sync::atomic::AtomicU64,
    life: ArcSwapOption<Life>,
    retired: Mutex<Vec<Weak<Region>>>,
}

/// One life of a shard, as its callers see it.
#[derive(Debug)]
pub(crate) struct Life {
    pub(crate) boot_id: BootId,
    actor: ActorRef<ShardMsg>,
    /// Closes when the life's state is dropped.
    over: watch::Receiver<()>,
    /// Leases whose readers are done. At most one message says that there are some, so the mailbox
    /// grows by one; the list is as long as the leases that were handed out, at most.
    released: Mutex<Vec<LeaseId>>,
    /// What waits for the guest, as much as permits allow; none once the life is over.
    inbox: Mutex<Option<Vec<GuestMessage>>>,
    /// A wake is on its way to the guest.
    is_woken: AtomicBool,
}

impl ShardPort {
    pub(crate) fn new(
        index: usize,
        plan: ShardPlan,
        device: Arc<dyn Device>,
        clock: Clock,
    ) -> Self {
        Self {
            index,
            gate: Gate::new(index, &plan.gate),
            notes: Gate::of_notes(index),
            plan,
            device,
            clock,
            memory: Arc::default(),
            not_admitted: NotAdmitted::new(index),
            pressed: AtomicBool::new(false),
            #[cfg(test)]
            turns: std::sync::atomic::AtomicU64::new(0),
            life: ArcSwapOption::empty(),
            retired: Mutex::default(),
        }
    }

    /// The present life; none before the first one.
    pub(crate) fn life(&self) -> Result<Arc<Life>, RequestError> {
        self.life.load_full().ok_or(RequestError::Stopped)
    }

    /// Makes a life the present one.
    pub(crate) fn begin(&self, life: Arc<Life>) {
        self.pressed.store(false, Ordering::SeqCst);
        self.life.store(Some(life));
    }

    /// Remembers a region that ended while it may still be read.
    pub(crate) fn retire(&self, region: &Arc<Region>) {
        region.retire();
        if region.claimed_bytes() > 0 {
            self.retired.lock().push(Arc::downgrade(region));
        }
    }

    /// Bytes of ended regions that readers still hold: taken off the present life's budget.
    pub(crate) fn residue_bytes(&self) -> u64 {
        let mut retired = self.retired.lock();
        let mut residue = 0;
        retired.retain(|region| {
            let claimed = region.upgrade().map_or(0, |region| region.claimed_bytes());
            residue += claimed;
            claimed > 0
        });
        residue
    }

    /// Notes a failure of the device: a miss to the caller, a line and a metric to the operator.
    pub(crate) fn tier_failed(&self, what: &str, error: &TierError) {
        tracing::warn!(shard = self.index, %error, "{what}");
        telemetry::tier_failed(self.index, error.code());
    }

    /// Asks the present life and waits for the answer.
    pub(crate) async fn ask<Q, A>(
        &self,
        permit: &Permit,
        question: Q,
        deadline: Deadline,
        message: impl FnOnce(Ask<Q, A>) -> ShardMsg,
    ) -> Result<A, RequestError> {
        let life = self.life()?;
        if deadline.passed(self.clock.now()) {
            return Err(RequestError::Deadline);
        }
        let (reply, answer) = oneshot::channel();
        let ask = Ask {
            question,
            deadline,
            permit: permit.clone(),
            reply,
        };
        life.send(message(ask))?;
        self.answer(&life, answer, deadline).await?
    }

    /// Waits for an answer, the end of the life that owes it, or the deadline: whichever is first.
    pub(crate) async fn answer<A>(
        &self,
        life: &Life,
        answer: oneshot::Receiver<A>,
        deadline: Deadline,
    ) -> Result<A, RequestError> {
        let mut over = life.over.clone();
        tokio::select! {
            // An answer that was given counts, even when the life ended right after.
            biased;
            answer = answer => answer.map_err(|_| RequestError::Stopped),
            // A message that is sent while the mailbox closes can be left in it for good, with its
            // reply port: the end of the life is an answer of its own.
            _ = over.changed() => Err(RequestError::Stopped),
            () = tokio::time::sleep(self.clock.remaining(deadline)) => Err(RequestError::Deadline),
        }
    }
}

impl Life {
    /// A life and the thing whose drop ends it.
    pub(crate) fn new(
        boot_id: BootId,
        actor: ActorRef<ShardMsg>,
    ) -> (Arc<Self>, watch::Sender<()>) {
        let (end, over) = watch::channel(());
        let life = Self {
            boot_id,
            actor,
            over,
            released: Mutex::default(),
            inbox: Mutex::new(Some(Vec::new())),
            is_woken: AtomicBool::new(false),
        };
        (Arc::new(life), end)
    }

    /// Sends a message, or says that this life is over.
    pub(crate) fn send(&self, message: ShardMsg) -> Result<(), RequestError> {
        self.actor
            .send_message(message)
            .map_err(|_| RequestError::Stopped)
    }

    /// Sends a message to itself after a while.
    pub(crate) fn send_after(&self, after: Duration, message: fn() -> ShardMsg) {
        // The timer ends by itself, at the latest when it finds the actor gone.
        drop(self.actor.send_after(after, message));
    }

    /// Puts a message into the guest's inbox, and wakes it.
    pub(crate) fn put_in(&self, message: GuestMessage) -> Result<(), RequestError> {
        match &mut *self.inbox.lock() {
            Some(inbox) => inbox.push(message),
            None => return Err(RequestError::Stopped),
        }
        self.wake_guest();
        Ok(())
    }

    /// Has the guest take a turn.
    pub(crate) fn wake_guest(&self) {
        if !self.is_woken.swap(true, Ordering::SeqCst) {
            // A life that is over has no guest to wake.
            let _ = self.send(ShardMsg::Guest);
        }
    }

    /// Takes what waits for the guest. From here on another wake may come.
    pub(crate) fn take_inbox(&self) -> Vec<GuestMessage> {
        self.is_woken.store(false, Ordering::SeqCst);
        let mut inbox = self.inbox.lock();
        inbox.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Ends the inbox, and drops what is in it: its senders learn that nobody will answer.
    pub(crate) fn close_inbox(&self) {
        // Taken out first: what is dropped may be anything, and must not find the lock held.
        let left = self.inbox.lock().take();
        drop(left);
    }

    /// Notes that a reader is done. Never waits and is never lost: the list is drained by the
    /// message that the first note sends. After the life's end nobody reads it, rightly so.
    pub(crate) fn release(&self, lease: LeaseId) {
        let first = {
            let mut released = self.released.lock();
            released.push(lease);
            released.len() == 1
        };
        if first {
            // A life that is over has nothing left to release.
            let _ = self.send(ShardMsg::Released);
        }
    }

    /// Takes all leases whose readers are done.
    pub(crate) fn take_released(&self) -> Vec<LeaseId> {
        std::mem::take(&mut self.released.lock())
    }
}
