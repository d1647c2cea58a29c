//! How a leader comes and goes.
//!
//! Responsible for votes and for one leader a term, after the promises to the one before ran out. It must never touch the log
//! but to compare its end, and to begin a term.

use std::collections::BTreeSet;

use super::message::{ConsensusMsg, Output, Role, VoteRequest};
use super::{Consensus, Leading, Peer};
use crate::network::Place;
use crate::rng::Rng;

impl<C: Clone> Consensus<C> {
    /// Asks for votes in a new term. The caller has made sure that no promise forbids the vote for itself.
    pub(super) fn stand(&mut self, now_us: u64, rng: &mut Rng, out: &mut Vec<Output<C>>) {
        self.durable.term += 1;
        self.durable.voted_for = Some(self.place());
        self.leader = None;
        self.votes = BTreeSet::from([self.place()]);
        let timing = self.timing();
        let patience_us = rng.between(timing.election_us_min, timing.election_us_max);
        self.election_due_us = now_us.saturating_add(patience_us);
        self.become_role(Role::Candidate, out);
        let last_index = self.last_index();
        let request = VoteRequest {
            term: self.term(),
            last_index,
            last_term: self.term_at(last_index).unwrap_or(0),
        };
        for voter in &self.durable.membership.voters {
            if *voter != self.place() {
                out.push(Output::Send(*voter, ConsensusMsg::RequestVote(request)));
            }
        }
        self.lead_if_chosen(now_us, out);
    }

    pub(super) fn judge_candidate(
        &mut self,
        from: Place,
        request: VoteRequest,
        now_us: u64,
        rng: &mut Rng,
        out: &mut Vec<Output<C>>,
    ) {
        if self.role == Role::Learner {
            return;
        }
        // The promise comes before the term: a term taken over would make a leader in office step down at its next heartbeat.
        let may = now_us >= self.promised_until_us && request.term >= self.term();
        let mut granted = false;
        if may {
            if request.term > self.term() {
                self.follow(request.term, now_us, rng, out);
            }
            let last_index = self.last_index();
            let own = (self.term_at(last_index).unwrap_or(0), last_index);
            let free = self.durable.voted_for.is_none_or(|chosen| chosen == from);
            granted = free && (request.last_term, request.last_index) >= own;
        }
        if granted {
            self.durable.voted_for = Some(from);
            self.expect_leader(now_us, rng);
        }
        let vote = ConsensusMsg::Vote {
            term: self.term(),
            granted,
        };
        out.push(Output::Send(from, vote));
    }

    pub(super) fn count_vote(
        &mut self,
        from: Place,
        (term, granted): (u64, bool),
        now_us: u64,
        rng: &mut Rng,
        out: &mut Vec<Output<C>>,
    ) {
        if term > self.term() {
            self.follow(term, now_us, rng, out);
        } else if self.role == Role::Candidate && term == self.term() && granted {
            self.votes.insert(from);
            self.lead_if_chosen(now_us, out);
        }
    }

    /// Gives up whatever it was and follows in `term`, if that is not behind its own.
    pub(super) fn follow(
        &mut self,
        term: u64,
        now_us: u64,
        rng: &mut Rng,
        out: &mut Vec<Output<C>>,
    ) {
        if term > self.durable.term {
            self.durable.term = term;
            self.durable.voted_for = None;
            self.leader = None;
        }
        if !matches!(self.role, Role::Candidate | Role::Leader) {
            return;
        }
        let left = std::mem::take(&mut self.leading);
        for ticket in left.proposals.into_values() {
            out.push(Output::Proposed(ticket, None));
        }
        for confirm in left.confirms {
            out.push(Output::LeadershipConfirmed(confirm.ticket, None));
        }
        self.leader = None;
        self.votes.clear();
        self.expect_leader(now_us, rng);
        self.become_role(Role::Follower, out);
    }

    fn lead_if_chosen(&mut self, now_us: u64, out: &mut Vec<Output<C>>) {
        if self.votes.len() < self.majority() {
            return;
        }
        let next = self.last_index() + 1;
        let fresh = Peer {
            next,
            matched: 0,
            acked_us: None,
        };
        let others = self.durable.membership.others(self.place());
        self.leading = Leading {
            peers: others.map(|place| (place, fresh)).collect(),
            since_us: now_us,
            first_own_index: next,
            ..Leading::default()
        };
        self.leader = Some(self.place());
        self.become_role(Role::Leader, out);
        // Only an entry of its own term tells a leader what is committed.
        self.append_own(None);
        self.broadcast(now_us, out);
        self.advance_commit();
    }

    fn become_role(&mut self, role: Role, out: &mut Vec<Output<C>>) {
        if self.role != role {
            self.role = role;
            out.push(Output::RoleChanged(role));
        }
    }
}
