//! One replica of one slot: which role it has, and what Raft's word makes of it. It must never know what a role does in
//! detail; the files beside this one do.

use ultrakv_cache::Now;

use super::join::Joining;
use super::list::List;
use super::message::{Effect, Event, Message, Proposal, Why};
use super::owner::{Owner, Serving};
use super::request::{Answer, Delay};
use super::sabotage::Sabotage;
use super::types::{Ownership, Seq};
use super::world::World;
use crate::{Epoch, Incarnation};

/// When things are said again, and when a silence is too long. All in milliseconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Timing {
    /// What is not acknowledged is sent again after this long.
    pub resend_ms: u64,
    /// A member that owes an acknowledgement for longer is proposed for removal.
    pub silence_ms_max: u64,
    /// What is asked of Raft is asked again after this long without its word.
    pub propose_ms: u64,
}

impl Default for Timing {
    fn default() -> Self {
        Self {
            resend_ms: 20,
            silence_ms_max: 1_000,
            propose_ms: 100,
        }
    }
}

/// What a replica is at the moment.
#[derive(Debug)]
pub(super) enum Role {
    /// No member; holds nothing.
    Idle,
    /// Orders writes and answers.
    Owner(Box<Owner>),
    /// Prepares what the owner sends; whether its list is the owner's of this epoch.
    Follower { is_synced: bool },
    /// No member yet: copies, and prepares what the owner sends.
    Joining(Box<Joining>),
    /// A member in name that lacks writes or room. It serves nothing and asks to be removed.
    Failed { asked_at: Option<Now> },
}

/// One slot's replica in one life of a shard.
#[derive(Debug)]
pub struct Replica {
    pub(super) me: Incarnation,
    pub(super) timing: Timing,
    pub(super) sabotage: Sabotage,
    pub(super) ownership: Option<Ownership>,
    pub(super) list: List,
    pub(super) role: Role,
    /// Whether the plan wants this replica to join.
    pub(super) is_wanted: bool,
    /// Number of the last question for a part of a copy.
    pub(super) ask: u64,
}

impl Replica {
    /// A replica that holds nothing and knows nothing yet. Exactly one per slot and life `me` of its shard: whoever
    /// loses its store must come back under another boot id.
    #[must_use]
    pub fn new(me: Incarnation, timing: Timing) -> Self {
        Self {
            me,
            timing,
            sabotage: Sabotage::NONE,
            ownership: None,
            list: List::default(),
            role: Role::Idle,
            is_wanted: false,
            ask: 0,
        }
    }

    /// A replica with planted bugs, for the tests of the tests.
    #[cfg(feature = "sabotage")]
    #[must_use]
    pub fn sabotaged(me: Incarnation, timing: Timing, sabotage: Sabotage) -> Self {
        Self {
            sabotage,
            ..Self::new(me, timing)
        }
    }

    /// Takes in one event. What it wants done is added to `effects`, in order.
    pub fn handle(&mut self, event: Event, world: &mut World<'_>, effects: &mut Vec<Effect>) {
        match event {
            Event::Ownership(ownership) => self.adopt(ownership, world, effects),
            Event::Requests(requests) => {
                for request in requests {
                    self.request(request, world, effects);
                }
            }
            Event::Message { from, to, message } => {
                if self.is_me(to) {
                    self.message(from, message, world, effects);
                }
            }
            Event::Join => {
                self.is_wanted = true;
                self.start_joining(world, effects);
            }
            Event::Leave => self.leave(world),
            Event::HandOver { to } => self.hand_over(to, world.now),
            Event::Dismiss { member } => {
                // Whoever stays has proven to have everything.
                if self.are_others_synced(member) {
                    self.dismiss(Why::Dismiss(member), world.now, effects);
                }
            }
            Event::Tick => self.tick(world, effects),
        }
        self.settle(world, effects);
    }

    /// Raft's last word as this replica knows it.
    #[must_use]
    pub const fn ownership(&self) -> Option<&Ownership> {
        self.ownership.as_ref()
    }

    /// The last committed write; the store is the result of all up to it.
    #[must_use]
    pub const fn committed(&self) -> Seq {
        self.list.committed()
    }

    /// The last prepared write.
    #[must_use]
    pub fn last(&self) -> Seq {
        self.list.last()
    }

    /// Whether it is the owner and answers reads, tenure permitting.
    #[must_use]
    pub fn is_open(&self) -> bool {
        matches!(&self.role, Role::Owner(owner) if owner.serving == Serving::Open)
    }

    /// Whether it holds every answered write, as far as it knows.
    #[must_use]
    pub const fn is_member(&self) -> bool {
        matches!(self.role, Role::Owner(_) | Role::Follower { .. })
    }

    /// Whether it copies, to become a member.
    #[must_use]
    pub const fn is_joining(&self) -> bool {
        matches!(self.role, Role::Joining(_))
    }

    /// Whether it still copies; one whose copy is whole only waits for Raft's word.
    #[must_use]
    pub fn is_copying(&self) -> bool {
        matches!(&self.role, Role::Joining(joining) if !joining.is_whole())
    }

    /// What the entries that are prepared and not committed will be charged.
    #[must_use]
    pub const fn prepared_bytes(&self) -> usize {
        self.list.bytes()
    }

    /// Whether ticks are needed soon: something may have to be said again.
    #[must_use]
    pub fn is_restless(&self) -> bool {
        match &self.role {
            Role::Idle | Role::Follower { .. } => false,
            Role::Owner(owner) => owner.is_restless(&self.list),
            Role::Joining(_) | Role::Failed { .. } => true,
        }
    }

    pub(super) fn epoch(&self) -> Epoch {
        let ownership = self.ownership.as_ref();
        ownership.map_or(Epoch(0), |ownership| ownership.epoch)
    }

    pub(super) fn is_me(&self, other: Incarnation) -> bool {
        other == self.me || self.sabotage.boot_forgotten() && other.node == self.me.node
    }

    fn message(
        &mut self,
        from: Incarnation,
        message: Message,
        world: &mut World<'_>,
        effects: &mut Vec<Effect>,
    ) {
        let epoch = match &message {
            Message::Sync { ownership, .. } | Message::Stale { ownership } => {
                self.adopt(ownership.clone(), world, effects);
                ownership.epoch
            }
            Message::Append { epoch, .. }
            | Message::Ack { epoch, .. }
            | Message::Void { epoch }
            | Message::CopyAsk { epoch, .. }
            | Message::Chunk { epoch, .. }
            | Message::CopyVoid { epoch, .. } => *epoch,
        };
        if epoch < self.epoch() && !self.sabotage.epoch_unchecked() {
            self.refuse_stale(from, &message, effects);
            return;
        }
        if epoch > self.epoch() {
            return; // Raft's word is on its way here, and the sender repeats itself.
        }
        match message {
            Message::Sync {
                committed, records, ..
            } => self.synced(from, epoch, (committed, records), world, effects),
            Message::Append {
                committed, records, ..
            } => self.appended(from, epoch, (committed, records), world, effects),
            Message::Ack { progress, .. } => self.acked(from, progress, world.now, effects),
            Message::Void { .. } => self.dismiss(Why::Remove(from), world.now, effects),
            Message::CopyAsk { ask, after, .. } => self.copy(from, ask, after, world, effects),
            Message::Chunk { .. } => self.chunk(message, world, effects),
            Message::CopyVoid { ask, .. } => self.copy_void(ask, world, effects),
            Message::Stale { .. } => {}
        }
    }

    /// Tells the sender of an older epoch's question or order that its time is over.
    fn refuse_stale(&self, from: Incarnation, message: &Message, effects: &mut Vec<Effect>) {
        let is_order = matches!(
            message,
            Message::Sync { .. } | Message::Append { .. } | Message::CopyAsk { .. }
        );
        if is_order && let Some(ownership) = self.ownership.clone() {
            effects.push(Effect::Send {
                to: from,
                message: Message::Stale { ownership },
            });
        }
    }

    /// Raft has spoken: takes up the role that the newer record gives.
    fn adopt(&mut self, new: Ownership, world: &mut World<'_>, effects: &mut Vec<Effect>) {
        let known = self.ownership.as_ref().map(|ownership| ownership.epoch);
        if known.is_some_and(|known| new.epoch <= known) {
            return;
        }
        let is_void = known.is_none_or(|known| new.founded > known);
        let is_member = new.in_sync.iter().any(|member| self.is_me(*member));
        let is_owner = new.owner().is_some_and(|owner| self.is_me(owner));
        let old = std::mem::replace(&mut self.role, Role::Idle);
        let has_standing = match &old {
            Role::Owner(_) | Role::Follower { .. } => true,
            Role::Joining(joining) => joining.is_whole(),
            Role::Idle | Role::Failed { .. } => false,
        };
        let mut owned = match old {
            Role::Owner(owner) => Some(owner),
            _ => None,
        };
        if is_void || !is_member {
            world.store.clear();
            self.list = List::default();
        }
        if (!is_owner || is_void)
            && let Some(owner) = owned.take()
        {
            owner.abandon(&new, effects);
        }
        self.ownership = Some(new);
        if !is_member {
            self.start_joining(world, effects);
        } else if !has_standing && !is_void {
            self.role = Role::Failed { asked_at: None };
        } else if is_owner {
            self.is_wanted = false;
            self.own(owned, world.now, effects);
        } else {
            self.is_wanted = false;
            self.role = Role::Follower { is_synced: false };
        }
    }

    /// This replica cannot hold what it must: it serves nothing from now on.
    pub(super) fn fail(&mut self, effects: &mut Vec<Effect>) {
        let role = std::mem::replace(&mut self.role, Role::Failed { asked_at: None });
        if let (Role::Owner(owner), Some(ownership)) = (role, &self.ownership) {
            owner.abandon(ownership, effects);
        }
    }

    fn tick(&mut self, world: &mut World<'_>, effects: &mut Vec<Effect>) {
        match &self.role {
            Role::Idle | Role::Follower { .. } => {}
            Role::Owner(_) => self.tick_owner(world, effects),
            Role::Joining(_) => self.tick_joining(world.now, effects),
            Role::Failed { asked_at } => {
                let again_ms = self.timing.propose_ms;
                if asked_at.is_none_or(|at| world.now.since_ms(at) >= again_ms) {
                    self.ask_to_go(world.now, effects);
                }
            }
        }
    }

    /// A failed member asks to be removed, unless nobody else is left: then only a person can decide that all is lost.
    fn ask_to_go(&mut self, now: Now, effects: &mut Vec<Effect>) {
        self.role = Role::Failed {
            asked_at: Some(now),
        };
        let Some(ownership) = &self.ownership else {
            return;
        };
        let others = ownership.in_sync.iter().copied();
        let in_sync: Vec<Incarnation> = others.filter(|member| !self.is_me(*member)).collect();
        if !in_sync.is_empty() {
            effects.push(Effect::Propose(Proposal {
                epoch: ownership.epoch,
                in_sync,
                why: Why::Remove(self.me),
            }));
        }
    }

    /// What a replica that does not own the slot says to a client.
    pub(super) fn redirect(&self) -> Answer {
        match &self.ownership {
            Some(ownership) if ownership.owner().is_some_and(|owner| !self.is_me(owner)) => {
                Answer::Moved(ownership.clone())
            }
            Some(_) => Answer::Retry(Delay::Ownerless),
            None => Answer::Retry(Delay::Behind),
        }
    }
}
