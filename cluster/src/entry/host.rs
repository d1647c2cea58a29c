//! The entry host: the replicas of this node's slots, at home in the node's shards.
//!
//! Responsible for everything between the pure [`Replica`]s and the running node: which shard has a slot, what Raft and the
//! plan say of it, questions of this node and of peers, what replicas say to each other, and what becomes of it all when a
//! shard begins another life. It must never know sockets, how Raft agrees, or what a value means.
//!
//! ```text
//!   metadata view ──learn, set_roll──► Words ◄──learn── Moved answers
//!                                        │ changed slots, by shard
//!   EntryRouter ──question───► GuestPort ▼
//!   peers ──Kind::EntryNote──►  Guest (in the shard's turn) ── Replica × slot ── EntryTable
//!                                 │
//!                                 └──► answers · notes to peers · Proposer (SlotChange, SlotClaim)
//! ```
//!
//! A replica is made when it is first needed. That is sound: what is in sync holds every answered write, a replica that was
//! never made has acknowledged none, so there was none while it was in sync.

mod desk;
mod guest;
mod meters;
mod note;
mod pace;
mod plan;
mod store;
mod sweep;
mod words;

use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::{oneshot, watch};
use ultrakv_actors::clock::{Clock, Deadline};
use ultrakv_actors::{
    BootId, CacheHandle, DomainTag, GuestFactory, GuestPort, RequestError, ShardGuest,
};
use ultrakv_cache::{EntryBox, SLOT_COUNT};

pub use plan::{Wanted, wanted};
pub use words::{Roll, SlotWord};

use super::message::Proposal;
use super::replica::Timing;
use super::request::{Answer, Request};
use crate::peer::{Callers, Parcel};
use crate::{Epoch, Incarnation, NodeId};
use guest::{Guest, Told};
use words::Words;

/// How a node hosts slots.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct HostPlan {
    /// This node.
    pub me: NodeId,
    /// The replicas' patience.
    pub timing: Timing,
    /// Slots that may copy into this node at a time: each has a part of 256 KiB on its way.
    pub joins_max: usize,
    /// A question is given up after this long without anybody to answer it; longer than it takes others to take over.
    pub unserved_ms_max: u64,
}

impl HostPlan {
    /// The defaults for a node.
    #[must_use]
    pub fn of(me: NodeId) -> Self {
        Self {
            me,
            timing: Timing::default(),
            joins_max: 64,
            unserved_ms_max: 3_000,
        }
    }
}

/// Takes what slots ask of Raft. Called within a shard's turn: it must not wait. What it gives up is asked again.
pub trait Proposer: Send + Sync + 'static {
    /// Asks for a change of a slot; whether there was room for the question. One that can wait may be asked together with
    /// others a little later.
    fn propose_slot(&self, slot: u16, proposal: Proposal, can_wait: bool) -> bool;

    /// Asks for a slot that nobody holds, at this epoch; whether there was room for the question.
    fn claim_slot(&self, slot: u16, epoch: Epoch, member: Incarnation) -> bool;
}

/// Whether this node may serve as owner.
pub trait Tenured: Send + Sync + 'static {
    /// Whether its tenure holds at the moment of the call, by a clock read inside the call. Called within a shard's turn:
    /// it must not wait.
    fn is_held(&self) -> bool;
}

/// What the host is connected with.
#[derive(Clone)]
pub struct HostLinks {
    /// The shards.
    pub cache: CacheHandle,
    /// The time.
    pub clock: Clock,
    /// The way to other nodes.
    pub callers: Callers,
    /// The way to Raft.
    pub proposer: Arc<dyn Proposer>,
    /// The node's tenure.
    pub tenure: Arc<dyn Tenured>,
}

/// The slots' replicas of one node; clones are the same.
#[derive(Clone)]
pub struct EntryHost {
    shared: Arc<Shared>,
}

/// What all guests of a node share.
pub(super) struct Shared {
    pub(super) plan: HostPlan,
    pub(super) links: HostLinks,
    pub(super) words: Words,
    /// The shard of each slot.
    shards: Vec<usize>,
    ports: Vec<GuestPort>,
    lives: watch::Sender<Vec<Option<BootId>>>,
}

/// A question that was not asked, or whose answer was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unasked {
    /// It certainly was not carried out.
    Unsent(RequestError),
    /// It may have been carried out.
    InDoubt(RequestError),
}

impl EntryHost {
    /// A host for a node's shards. Nothing lives in them before [`EntryHost::admit`].
    #[must_use]
    pub fn new(plan: HostPlan, links: HostLinks) -> Self {
        meters::describe();
        let cache = &links.cache;
        let shards: Vec<usize> = (0..SLOT_COUNT)
            .map(|slot| cache.box_shard(EntryBox(slot)))
            .collect();
        let ports: Vec<GuestPort> = (0..cache.shards())
            .filter_map(|shard| cache.guest(shard))
            .collect();
        let lives = watch::Sender::new(vec![None; ports.len()]);
        Self {
            shared: Arc::new(Shared {
                words: Words::new(ports.len()),
                plan,
                links,
                shards,
                ports,
                lives,
            }),
        }
    }

    /// Lets the replicas into the shards; gives whether nobody was there before.
    pub fn admit(&self) -> bool {
        let factory = Factory(Arc::clone(&self.shared));
        self.shared.links.cache.admit(Arc::new(factory))
    }

    /// Takes in what Raft and the plan say of slots now: all of them once, then those that changed. Older epochs are ignored; a
    /// word of the same epoch is taken for another plan's, so views must come one after the other.
    pub fn learn(&self, words: impl IntoIterator<Item = SlotWord>) {
        self.shared.learn(words);
    }

    /// Takes in who lives: the lives that the metadata lists for this node's shards, the nodes that are alive, and the
    /// retired domains. Rolls must come one after the other, each before the words that rest on it.
    pub fn set_roll(&self, roll: Roll) {
        if self.shared.words.set_roll(roll) {
            self.shared.wake_all();
        }
    }

    /// The lives of this node's shards that run, in order; none for one that has not begun. The metadata must list a life,
    /// and so end the former one, before its replicas do anything.
    #[must_use]
    pub fn lives(&self) -> watch::Receiver<Vec<Option<BootId>>> {
        self.shared.lives.subscribe()
    }

    /// Voids all entries of a domain's generation on this node, and answers how many it dropped, once all are gone. They can
    /// be neither read nor written from the call on.
    ///
    /// # Errors
    /// When a shard did not finish in time; it goes on nevertheless, and asking again is harmless.
    pub async fn retire(&self, tag: DomainTag, deadline: Deadline) -> Result<u64, RequestError> {
        let shared = &self.shared;
        shared.words.retire(tag);
        let mut answers = Vec::with_capacity(shared.ports.len());
        for port in &shared.ports {
            let (reply, answer) = oneshot::channel();
            let told = Told::Retire { tag, reply };
            let permit = port.order()?;
            match port.try_send(permit, Box::new(told)) {
                Ok(()) => answers.push(answer),
                // A life that ended took its entries along.
                Err(RequestError::Stopped) => {}
                Err(error) => return Err(error),
            }
        }
        let mut dropped = 0;
        for answer in answers {
            let left = shared.links.clock.remaining(deadline);
            match tokio::time::timeout(left, answer).await {
                Ok(answer) => dropped += answer.unwrap_or(0),
                Err(_) => return Err(RequestError::Deadline),
            }
        }
        Ok(dropped)
    }

    pub(super) fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Takes what replicas of a peer say. Never waits; what finds no room is lost, and said again.
    pub fn take_note(&self, peer: NodeId, parcel: &Parcel) {
        let notes = match note::unpack(peer, parcel) {
            Ok(notes) => notes,
            Err(error) => {
                tracing::warn!(%peer, %error, "notes of a peer's replicas are dropped");
                return;
            }
        };
        let shared = &self.shared;
        let mut by_shard: Vec<Vec<note::Note>> = vec![Vec::new(); shared.ports.len()];
        for note in notes {
            let shard = shared.shards.get(usize::from(note.slot)).copied();
            if let Some(list) = shard.and_then(|shard| by_shard.get_mut(shard)) {
                list.push(note);
            }
        }
        let bytes = u64::try_from(parcel.payload.len()).unwrap_or(u64::MAX);
        for (port, notes) in shared.ports.iter().zip(by_shard) {
            if notes.is_empty() {
                continue;
            }
            if let Ok(permit) = port.note(bytes) {
                // A life that is over hears nothing.
                let _ = port.try_send(permit, Box::new(Told::Notes(notes)));
            }
        }
    }
}

impl std::fmt::Debug for EntryHost {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EntryHost")
            .field("plan", &self.shared.plan)
            .finish_non_exhaustive()
    }
}

impl Shared {
    fn shard_of(&self, slot: u16) -> Option<usize> {
        self.shards.get(usize::from(slot)).copied()
    }

    /// The slots that live in a shard.
    fn slots_of(&self, shard: usize) -> impl Iterator<Item = u16> + '_ {
        (0..SLOT_COUNT).filter(move |slot| self.shard_of(*slot) == Some(shard))
    }

    /// Slots that may copy into one shard at a time.
    fn joins_max(&self) -> usize {
        self.plan.joins_max.div_ceil(self.ports.len().max(1)).max(1)
    }

    pub(super) fn learn(&self, words: impl IntoIterator<Item = SlotWord>) {
        let mut touched = vec![false; self.ports.len()];
        for word in words {
            let Some(shard) = self.shard_of(word.slot) else {
                continue;
            };
            if self.words.learn(word, shard)
                && let Some(touched) = touched.get_mut(shard)
            {
                *touched = true;
            }
        }
        for (port, _) in self
            .ports
            .iter()
            .zip(touched)
            .filter(|(_, touched)| *touched)
        {
            port.wake();
        }
        self.words.tell();
    }

    /// Takes in a newer record that a replica told.
    pub(super) fn learn_ownership(&self, slot: u16, ownership: super::Ownership) {
        let wish = self.words.get(slot).map(|word| word.wish.clone());
        self.learn([SlotWord {
            slot,
            ownership,
            wish: wish.unwrap_or_default(),
        }]);
    }

    fn wake_all(&self) {
        self.ports.iter().for_each(GuestPort::wake);
    }

    /// A shard begins a life.
    fn began(&self, shard: usize, life: BootId) {
        self.words
            .forget_told(shard, |slot| self.shard_of(slot) == Some(shard));
        self.lives.send_modify(|lives| {
            if let Some(place) = lives.get_mut(shard) {
                *place = Some(life);
            }
        });
    }

    /// Asks this node's replica of a slot, and waits for its answer until the deadline.
    pub(super) async fn ask(
        &self,
        slot: u16,
        request: Request,
        payload_bytes: usize,
        deadline: Deadline,
    ) -> Result<Answer, Unasked> {
        let port = self.shard_of(slot).and_then(|shard| self.ports.get(shard));
        let port = port.ok_or(Unasked::Unsent(RequestError::Stopped))?;
        if deadline.passed(self.links.clock.now()) {
            return Err(Unasked::Unsent(RequestError::Deadline));
        }
        let bytes = u64::try_from(payload_bytes).unwrap_or(u64::MAX);
        let permit = port.request(bytes).map_err(Unasked::Unsent)?;
        let (reply, answer) = oneshot::channel();
        let told = Told::Ask {
            slot,
            request,
            deadline,
            reply,
        };
        port.try_send(permit, Box::new(told))
            .map_err(Unasked::Unsent)?;
        let left = self.links.clock.remaining(deadline);
        match tokio::time::timeout(left, answer).await {
            Ok(Ok(answer)) => Ok(answer),
            Ok(Err(_)) => Err(Unasked::InDoubt(RequestError::Stopped)),
            Err(_) => Err(Unasked::InDoubt(RequestError::Deadline)),
        }
    }
}

/// Makes the shards' guests.
struct Factory(Arc<Shared>);

impl GuestFactory for Factory {
    fn begin(&self, shard: usize, life: BootId) -> Box<dyn ShardGuest> {
        self.0.began(shard, life);
        Box::new(Guest::new(Arc::clone(&self.0), shard, life))
    }
}

impl std::fmt::Debug for Factory {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Factory")
    }
}

/// Bytes of what is written as MessagePack with named fields.
pub(super) fn packed(value: &impl serde::Serialize) -> Result<Bytes, crate::wire::WireError> {
    let bytes = rmp_serde::to_vec_named(value);
    bytes
        .map(Bytes::from)
        .map_err(|error| crate::wire::WireError::Header {
            kind: crate::wire::Kind::Entry,
            reason: error.to_string(),
        })
}
