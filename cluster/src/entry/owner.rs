//! What an owner keeps besides its list: how far the others are, who waits for an answer, what Raft was asked for.
//!
//! It must never know how writes are evaluated.

use std::collections::{BTreeMap, VecDeque};

use ultrakv_cache::Now;

use super::list::{List, Prepared};
use super::message::{Effect, Proposal, Why};
use super::replica::{Replica, Role};
use super::request::{Answer, Refusal};
use super::types::{Key, Ownership, Seq};
use crate::Incarnation;

/// Answers of one slot that wait for a commit, at most.
pub const PARKED_MAX: usize = 1024;

/// Replicas that may join one slot at a time.
pub const JOINERS_MAX: usize = 2;

/// Committed writes kept for joiners, at most; one that lags further begins again.
const RECENT_MAX: usize = 1024;

/// Bytes of committed writes kept for joiners, at most.
const RECENT_BYTES_MAX: usize = 4 << 20;

/// Whether an owner takes questions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Serving {
    /// Not before this number is committed: the former owner may have answered up to it.
    Reconciling { until: Seq },
    /// Yes.
    Open,
    /// No more: the slot changes hands. Once Raft was asked only a new epoch ends this, since the change may be
    /// committed.
    HandingOver { to: Incarnation, since: Now },
}

/// How long what was said so often is not said again.
pub(super) const fn backed_off(resend_ms: u64, repeats: u32) -> u64 {
    const DOUBLINGS_MAX: u32 = 3;
    let doublings = if repeats < DOUBLINGS_MAX {
        repeats
    } else {
        DOUBLINGS_MAX
    };
    resend_ms << doublings
}

/// How far another replica is.
#[derive(Debug)]
pub(super) struct Peer {
    /// It has acknowledged under this epoch: its list is ours up to `acked`.
    pub(super) is_synced: bool,
    pub(super) acked: Seq,
    pub(super) sent: Seq,
    /// Up to where it says it has committed.
    pub(super) committed: Seq,
    pub(super) sent_at: Now,
    /// How often it was told again without progress.
    pub(super) repeats: u32,
    /// Since when it owes something without progress.
    pub(super) owes_since: Now,
}

impl Peer {
    pub(super) const fn new(committed: Seq, is_synced: bool, now: Now) -> Self {
        Self {
            is_synced,
            acked: committed,
            sent: committed,
            committed: Seq(0),
            sent_at: now,
            repeats: 0,
            owes_since: now,
        }
    }

    pub(super) fn owes(&self, last: Seq) -> bool {
        !self.is_synced || self.acked < last
    }

    /// Whether it is to be told again. Each time later than the last: a peer that is slow because thousands of slots speak to
    /// it at once must not be told everything many times over.
    pub(super) const fn is_due(&self, resend_ms: u64, now: Now) -> bool {
        now.since_ms(self.sent_at) >= backed_off(resend_ms, self.repeats)
    }

    pub(super) const fn tell_again(&mut self, now: Now) {
        self.sent_at = now;
        self.repeats = self.repeats.saturating_add(1);
    }
}

/// A replica that copies.
#[derive(Debug)]
pub(super) struct Joiner {
    pub(super) peer: Peer,
    /// The number of the question that began its copy.
    pub(super) copy: u64,
    /// Its last question's number.
    pub(super) ask: u64,
    /// It has everything up to `acked`.
    pub(super) is_whole: bool,
    /// Raft was asked to add it: no write is committed without it any more, since it may be a member already.
    pub(super) is_required: bool,
}

/// What waits for a commit.
#[derive(Debug)]
pub(super) enum Parked {
    /// A numbered write.
    Write(Answer),
    /// A refusal that rests on what was prepared.
    Refusal(Refusal),
    /// A read of what is changing.
    Read(Key),
}

/// Committed writes that joiners may still need.
#[derive(Debug, Default)]
pub(super) struct Recent {
    writes: VecDeque<Prepared>,
    bytes: usize,
}

impl Recent {
    pub(super) fn push(&mut self, write: Prepared) {
        self.bytes += write.bytes();
        self.writes.push_back(write);
        while self.writes.len() > RECENT_MAX || self.bytes > RECENT_BYTES_MAX {
            let Some(oldest) = self.writes.pop_front() else {
                break;
            };
            self.bytes = self.bytes.saturating_sub(oldest.bytes());
        }
    }

    fn forget(&mut self) {
        self.writes.clear();
        self.bytes = 0;
    }

    pub(super) fn above(&self, seq: Seq) -> impl Iterator<Item = &Prepared> {
        self.writes.iter().filter(move |write| write.seq() > seq)
    }
}

/// The owner's side of a slot.
#[derive(Debug)]
pub(super) struct Owner {
    pub(super) serving: Serving,
    pub(super) peers: BTreeMap<Incarnation, Peer>,
    pub(super) joiners: BTreeMap<Incarnation, Joiner>,
    /// By the number that they wait for, then by arrival.
    pub(super) parked: BTreeMap<(Seq, u64), (u64, Parked)>,
    arrivals: u64,
    pub(super) recent: Recent,
    proposal: Option<(Proposal, Now)>,
    /// The highest question of each joiner that was told, or is to be told, that its copy is not known here. Such a copy
    /// is never taken up again: then the joiner may throw it away, since Raft was not and will not be asked to add it.
    void: BTreeMap<Incarnation, u64>,
}

impl Owner {
    /// Whether a question belongs to a copy that is not known here any more.
    pub(super) fn is_void(&self, joiner: Incarnation, ask: u64) -> bool {
        self.void.get(&joiner).is_some_and(|void| ask <= *void)
    }

    /// A copy is not known here any more.
    pub(super) fn void(&mut self, joiner: Incarnation, ask: u64) {
        let void = self.void.entry(joiner).or_default();
        *void = ask.max(*void);
    }

    pub(super) fn park(&mut self, at: Seq, ticket: u64, what: Parked) {
        self.arrivals += 1;
        self.parked.insert((at, self.arrivals), (ticket, what));
    }

    /// Another replica, member or joiner. A forgotten boot id is a planted bug.
    pub(super) fn peer_mut(&mut self, from: Incarnation, by_node: bool) -> Option<&mut Peer> {
        if by_node {
            let mut peers = self.peers.iter_mut();
            return peers
                .find(|(peer, _)| peer.node == from.node)
                .map(|(_, peer)| peer);
        }
        self.peers.get_mut(&from)
    }

    /// The last number that every member, and every joiner that may be one, has.
    pub(super) fn prepared_by_all(&self, list: &List) -> Seq {
        let required = self.joiners.values().filter(|joiner| joiner.is_required);
        let peers = self.peers.values();
        peers
            .chain(required.map(|joiner| &joiner.peer))
            .map(|peer| if peer.is_synced { peer.acked } else { Seq(0) })
            .fold(list.last(), Seq::min)
    }

    /// Whether a member has acknowledged under this epoch: then it has all that was answered.
    pub(super) fn has_all(&self, member: Incarnation) -> bool {
        self.peers.get(&member).is_some_and(|peer| peer.is_synced)
    }

    /// Keeps a committed write while somebody joins.
    pub(super) fn keep(&mut self, write: Prepared) {
        if self.joiners.is_empty() {
            self.recent.forget();
        } else {
            self.recent.push(write);
        }
    }

    pub(super) fn is_restless(&self, list: &List) -> bool {
        let committed = list.committed();
        !list.is_empty()
            || !self.joiners.is_empty()
            || self.proposal.is_some()
            || self.serving != Serving::Open
            || self
                .peers
                .values()
                .any(|peer| !peer.is_synced || peer.committed < committed)
    }

    /// Asks Raft, unless the same is asked already. A later proposal of the same epoch takes the earlier one's place
    /// here; Raft takes one of them at most.
    pub(super) fn propose(&mut self, proposal: Proposal, now: Now, effects: &mut Vec<Effect>) {
        let is_asked = self
            .proposal
            .as_ref()
            .is_some_and(|(asked, _)| *asked == proposal);
        if !is_asked {
            effects.push(Effect::Propose(proposal.clone()));
            self.proposal = Some((proposal, now));
        }
    }

    /// Whether something was asked of Raft that is not decided.
    pub(super) const fn has_proposed(&self) -> bool {
        self.proposal.is_some()
    }

    pub(super) fn propose_again(&mut self, after_ms: u64, now: Now, effects: &mut Vec<Effect>) {
        if let Some((proposal, at)) = &mut self.proposal
            && now.since_ms(*at) >= after_ms
        {
            *at = now;
            effects.push(Effect::Propose(proposal.clone()));
        }
    }

    /// Ends all that waits: this replica orders the slot no more. A numbered write may be in the next owner's list.
    pub(super) fn abandon(self, new: &Ownership, effects: &mut Vec<Effect>) {
        for (ticket, what) in self.parked.into_values() {
            let answer = match what {
                Parked::Write(_) => Answer::Unknown,
                Parked::Refusal(_) | Parked::Read(_) => Answer::Moved(new.clone()),
            };
            effects.push(Effect::Answer { ticket, answer });
        }
    }
}

impl Replica {
    /// Becomes, or stays, owner at a new epoch. All others must prepare our list anew before they count.
    pub(super) fn own(&mut self, was: Option<Box<Owner>>, now: Now, effects: &mut Vec<Effect>) {
        let Some(ownership) = &self.ownership else {
            return;
        };
        let until = self.list.last();
        let (serving, parked, arrivals) = match was.map(|was| *was) {
            Some(was) if matches!(was.serving, Serving::Reconciling { .. }) => {
                (was.serving, was.parked, was.arrivals)
            }
            Some(was) => (Serving::Open, was.parked, was.arrivals),
            None => (Serving::Reconciling { until }, BTreeMap::new(), 0),
        };
        let others = ownership.in_sync.iter().copied();
        let peers = others
            .filter(|member| !self.is_me(*member))
            .map(|member| (member, Peer::new(self.list.committed(), false, now)))
            .collect();
        self.role = Role::Owner(Box::new(Owner {
            serving,
            peers,
            joiners: BTreeMap::new(),
            parked,
            arrivals,
            recent: Recent::default(),
            proposal: None,
            void: BTreeMap::new(),
        }));
        self.sync_all(now, effects);
    }

    /// The plan wants another owner: takes no more questions; [`Replica::settle`] asks Raft when nothing is under way.
    pub(super) fn hand_over(&mut self, to: Incarnation, now: Now) {
        if self.can_hand_over(to)
            && let Role::Owner(owner) = &mut self.role
        {
            owner.serving = Serving::HandingOver { to, since: now };
        }
    }

    /// Whether it owns the slot, serves, has nothing under way with Raft that would end a hand-over, and the other has everything.
    #[must_use]
    pub fn can_hand_over(&self, to: Incarnation) -> bool {
        let Role::Owner(owner) = &self.role else {
            return false;
        };
        owner.serving == Serving::Open && !owner.has_proposed() && owner.has_all(to)
    }

    /// Whether every other member has acknowledged under this epoch, but for one.
    pub(super) fn are_others_synced(&self, but: Incarnation) -> bool {
        let Role::Owner(owner) = &self.role else {
            return false;
        };
        let mut others = owner.peers.iter().filter(|(member, _)| **member != but);
        others.all(|(_, peer)| peer.is_synced)
    }

    /// Asks Raft to remove a member, for what that is worth.
    pub(super) fn dismiss(&mut self, why: Why, now: Now, effects: &mut Vec<Effect>) {
        let (Why::Remove(member) | Why::Dismiss(member)) = why else {
            return;
        };
        let (Role::Owner(owner), Some(ownership)) = (&mut self.role, &self.ownership) else {
            return;
        };
        if owner.peers.contains_key(&member) {
            let others = ownership.in_sync.iter().copied();
            let proposal = Proposal {
                epoch: ownership.epoch,
                in_sync: others.filter(|other| *other != member).collect(),
                why,
            };
            owner.propose(proposal, now, effects);
        }
    }
}
