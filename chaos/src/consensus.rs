//! The metadata consensus as the simulator sees it: Raft with fixed voters and learners, pure, and honest about what it promises.
//!
//! Responsible for terms, votes, the log, commits, and the proof of leadership on which tenures rest. It must never know
//! what a command means, nor a clock: `now_us` is its node's own time, which need only go forward while it runs.
//!
//! What is durable ([`Persisted`]) counts as written before any output of the same `handle` leaves.
//! It stands in for the real implementation, so it takes over its unpleasant habits: no pre-vote, elections only after
//! `election_us_max` plus a draw, a leader that steps down at any higher term, a promise renewed by every heartbeat.

mod elect;
mod message;
mod replicate;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

pub use message::{
    Append, Appended, ConsensusMsg, Entry, Input, Membership, Output, Persisted, Role, Timing,
    VoteRequest,
};

use crate::network::Place;
use crate::rng::Rng;

/// Entries a log holds at most; there are no snapshots, a run is short.
pub const LOG_ENTRIES_MAX: usize = 1 << 20;
/// Entries one message carries at most.
pub const BATCH_ENTRIES_MAX: usize = 64;
/// Proposals, and proofs of leadership, that may wait at a leader.
pub const WAITING_MAX: usize = 1_024;

/// What a leader knows of another member.
#[derive(Debug, Clone, Copy)]
struct Peer {
    next: u64,
    matched: u64,
    /// When the latest message was *sent* that it answered in this term, by the leader's own time.
    acked_us: Option<u64>,
}

#[derive(Debug, Clone, Copy)]
struct Confirm {
    ticket: u64,
    t0_us: u64,
    read_index: u64,
}

/// What only a leader has; forgotten when it stops being one.
#[derive(Debug, Clone, Default)]
struct Leading {
    peers: BTreeMap<Place, Peer>,
    since_us: u64,
    heartbeat_due_us: u64,
    first_own_index: u64,
    proposals: BTreeMap<u64, u64>,
    confirms: VecDeque<Confirm>,
}

/// One member's part in the consensus.
#[derive(Debug, Clone)]
pub struct Consensus<C> {
    durable: Persisted<C>,
    role: Role,
    leader: Option<Place>,
    commit: u64,
    applied: u64,
    apply_due_us: Option<u64>,
    started: bool,
    promised_until_us: u64,
    election_due_us: u64,
    votes: BTreeSet<Place>,
    leading: Leading,
    contradicted: bool,
}

impl<C: Clone> Consensus<C> {
    /// A member that has never run.
    #[must_use]
    pub fn new(place: Place, membership: Membership, timing: Timing) -> Self {
        Self::recover(Persisted {
            place,
            membership,
            timing,
            term: 0,
            voted_for: None,
            log: Vec::new(),
        })
    }

    /// A member that starts with what it had written. Its commands come again as [`Output::Committed`], from the first on.
    ///
    /// It refuses votes for a whole promise after its first event, whatever it had promised before: so the promise holds
    /// over a restart though no time is ever written, and though its clock may have begun anew.
    #[must_use]
    pub fn recover(persisted: Persisted<C>) -> Self {
        let role = persisted.membership.role_at_rest(persisted.place);
        Self {
            durable: persisted,
            role,
            leader: None,
            commit: 0,
            applied: 0,
            apply_due_us: None,
            started: false,
            promised_until_us: 0,
            election_due_us: 0,
            votes: BTreeSet::new(),
            leading: Leading::default(),
            contradicted: false,
        }
    }

    /// What survives a restart.
    #[must_use]
    pub fn persisted(&self) -> Persisted<C> {
        self.durable.clone()
    }

    /// The commands of its log after an index, committed or not, with their indices.
    #[must_use]
    pub fn commands_after(&self, index: u64) -> Vec<(u64, &C)> {
        self.durable.commands_after(index)
    }

    /// Takes one input. `now_us` is the node's own time. [`Input::Tick`] must come often, about every 10 ms.
    pub fn handle(
        &mut self,
        input: Input<C>,
        now_us: u64,
        rng: &mut Rng,
        out: &mut Vec<Output<C>>,
    ) {
        if !self.started {
            self.started = true;
            if self.timing().promise_after_restart {
                self.promise(now_us);
            }
            self.expect_leader(now_us, rng);
        }
        match input {
            Input::Message(from, message) => self.receive(from, message, now_us, rng, out),
            Input::Tick => self.tick(now_us, rng, out),
            Input::Propose(command, ticket) => self.propose(command, ticket, now_us, out),
            Input::ConfirmLeadership(ticket) => self.confirm(ticket, now_us, out),
        }
        self.apply(now_us, rng, out);
        self.settle_confirms(now_us, out);
    }

    /// What this member is at present.
    #[must_use]
    pub const fn role(&self) -> Role {
        self.role
    }

    /// The term it is in.
    #[must_use]
    pub const fn term(&self) -> u64 {
        self.durable.term
    }

    /// Who it believes leads, itself included: a hint.
    #[must_use]
    pub const fn leader_hint(&self) -> Option<Place> {
        self.leader
    }

    /// The last index it knows committed.
    #[must_use]
    pub const fn commit_index(&self) -> u64 {
        self.commit
    }

    /// The last index it has handed out.
    #[must_use]
    pub const fn applied_index(&self) -> u64 {
        self.applied
    }

    /// Whether it was told to take back what was committed, which must never happen.
    #[must_use]
    pub const fn is_contradicted(&self) -> bool {
        self.contradicted
    }

    const fn place(&self) -> Place {
        self.durable.place
    }

    const fn timing(&self) -> Timing {
        self.durable.timing
    }

    fn last_index(&self) -> u64 {
        u64::try_from(self.durable.log.len()).unwrap_or(u64::MAX)
    }

    fn term_at(&self, index: u64) -> Option<u64> {
        if index == 0 {
            return Some(0);
        }
        self.entry_at(index).map(|entry| entry.term)
    }

    fn entry_at(&self, index: u64) -> Option<&Entry<C>> {
        let at = usize::try_from(index.checked_sub(1)?).ok()?;
        self.durable.log.get(at)
    }

    fn majority(&self) -> usize {
        self.durable.membership.voters.len() / 2 + 1
    }

    /// The largest value that a majority of voters reaches, this one with `own`.
    fn reached_by_majority(&self, own: u64, of: impl Fn(&Peer) -> u64) -> u64 {
        let voters = &self.durable.membership.voters;
        let mut values: Vec<u64> = self
            .leading
            .peers
            .iter()
            .filter(|(place, _)| voters.contains(place))
            .map(|(_, peer)| of(peer))
            .chain([own])
            .collect();
        values.sort_unstable_by(|left, right| right.cmp(left));
        values.get(self.majority() - 1).copied().unwrap_or(0)
    }

    /// The latest moment of sending that a majority has answered.
    fn quorum_acked_us(&self, now_us: u64) -> u64 {
        self.reached_by_majority(now_us, |peer| peer.acked_us.unwrap_or(0))
    }

    /// Votes for nobody, itself included, for the length of the promise.
    fn promise(&mut self, now_us: u64) {
        let until_us = now_us.saturating_add(self.timing().promise_us);
        self.promised_until_us = self.promised_until_us.max(until_us);
    }

    fn expect_leader(&mut self, now_us: u64, rng: &mut Rng) {
        let timing = self.timing();
        let drawn_us = rng.between(timing.election_us_min, timing.election_us_max);
        self.election_due_us = now_us
            .saturating_add(timing.election_us_max)
            .saturating_add(drawn_us);
    }

    fn tick(&mut self, now_us: u64, rng: &mut Rng, out: &mut Vec<Output<C>>) {
        match self.role {
            Role::Learner => {}
            Role::Follower | Role::Candidate => {
                if now_us >= self.election_due_us && now_us >= self.promised_until_us {
                    self.stand(now_us, rng, out);
                }
            }
            Role::Leader => {
                let heard_us = self.quorum_acked_us(now_us).max(self.leading.since_us);
                let quorum_loss_us = self.timing().quorum_loss_us;
                if quorum_loss_us.is_some_and(|limit| now_us.saturating_sub(heard_us) > limit) {
                    self.follow(self.term(), now_us, rng, out);
                } else if now_us >= self.leading.heartbeat_due_us {
                    self.broadcast(now_us, out);
                }
            }
        }
    }

    fn receive(
        &mut self,
        from: Place,
        message: ConsensusMsg<C>,
        now_us: u64,
        rng: &mut Rng,
        out: &mut Vec<Output<C>>,
    ) {
        match message {
            ConsensusMsg::RequestVote(request) => {
                self.judge_candidate(from, request, now_us, rng, out);
            }
            ConsensusMsg::Vote { term, granted } => {
                self.count_vote(from, (term, granted), now_us, rng, out);
            }
            ConsensusMsg::Append(append) => self.follow_leader(from, append, now_us, rng, out),
            ConsensusMsg::Appended(appended) => {
                if appended.term > self.term() {
                    self.follow(appended.term, now_us, rng, out);
                } else {
                    self.note_appended(from, appended, now_us, out);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
