//! How the log spreads, what counts as committed, and how leadership is proved.
//!
//! Responsible for the log's agreement. It must never choose a leader.

use super::message::{Append, Appended, ConsensusMsg, Entry, Output, Role};
use super::{BATCH_ENTRIES_MAX, Confirm, Consensus, LOG_ENTRIES_MAX, WAITING_MAX};
use crate::network::Place;
use crate::rng::Rng;

impl<C: Clone> Consensus<C> {
    pub(super) fn propose(
        &mut self,
        command: C,
        ticket: u64,
        now_us: u64,
        out: &mut Vec<Output<C>>,
    ) {
        let full = self.leading.proposals.len() >= WAITING_MAX
            || self.durable.log.len() >= LOG_ENTRIES_MAX;
        if self.role != Role::Leader || full {
            out.push(Output::Proposed(ticket, None));
            return;
        }
        self.append_own(Some(command));
        self.leading.proposals.insert(self.last_index(), ticket);
        self.broadcast(now_us, out);
        self.advance_commit();
    }

    /// Asks everybody anew, so that the answers prove that it led after `now_us`.
    pub(super) fn confirm(&mut self, ticket: u64, now_us: u64, out: &mut Vec<Output<C>>) {
        if self.role != Role::Leader || self.leading.confirms.len() >= WAITING_MAX {
            out.push(Output::LeadershipConfirmed(ticket, None));
            return;
        }
        self.leading.confirms.push_back(Confirm {
            ticket,
            t0_us: now_us,
            read_index: self.commit.max(self.leading.first_own_index),
        });
        self.broadcast(now_us, out);
    }

    /// Answers what is proved, and what waited too long.
    pub(super) fn settle_confirms(&mut self, now_us: u64, out: &mut Vec<Output<C>>) {
        if self.leading.confirms.is_empty() {
            return;
        }
        let acked_us = self.quorum_acked_us(now_us);
        let (applied, limit_us) = (self.applied, self.timing().election_us_max);
        self.leading.confirms.retain(|confirm| {
            let proved = acked_us >= confirm.t0_us && applied >= confirm.read_index;
            let late = now_us.saturating_sub(confirm.t0_us) > limit_us;
            if proved || late {
                let t0_us = proved.then_some(confirm.t0_us);
                out.push(Output::LeadershipConfirmed(confirm.ticket, t0_us));
            }
            !(proved || late)
        });
    }

    pub(super) fn append_own(&mut self, command: Option<C>) {
        let term = self.term();
        self.durable.log.push(Entry { term, command });
    }

    pub(super) fn broadcast(&mut self, now_us: u64, out: &mut Vec<Output<C>>) {
        // The leader is a voter too: its own vote stands behind the tenures that rest on this round.
        self.promise(now_us);
        self.leading.heartbeat_due_us = now_us.saturating_add(self.timing().heartbeat_us);
        let peers: Vec<(Place, u64)> = self
            .leading
            .peers
            .iter()
            .map(|(place, peer)| (*place, peer.next))
            .collect();
        for (place, next) in peers {
            self.send_append(place, next, now_us, out);
        }
    }

    fn send_append(&self, to: Place, next: u64, now_us: u64, out: &mut Vec<Output<C>>) {
        let prev_index = next.saturating_sub(1);
        let skipped = usize::try_from(prev_index).unwrap_or(usize::MAX);
        let entries = self.durable.log.iter().skip(skipped);
        let append = Append {
            term: self.term(),
            prev_index,
            prev_term: self.term_at(prev_index).unwrap_or(0),
            entries: entries.take(BATCH_ENTRIES_MAX).cloned().collect(),
            commit: self.commit,
            sent_us: now_us,
        };
        out.push(Output::Send(to, ConsensusMsg::Append(append)));
    }

    pub(super) fn follow_leader(
        &mut self,
        from: Place,
        append: Append<C>,
        now_us: u64,
        rng: &mut Rng,
        out: &mut Vec<Output<C>>,
    ) {
        let mut answer = Appended {
            term: self.term(),
            matched: None,
            hint: 0,
            sent_us: append.sent_us,
        };
        if append.term < self.term() {
            out.push(Output::Send(from, ConsensusMsg::Appended(answer)));
            return;
        }
        if append.term == self.term() && self.role == Role::Leader {
            // Two leaders of one term: the very thing that votes exclude.
            self.contradicted = true;
            return;
        }
        self.follow(append.term, now_us, rng, out);
        self.leader = Some(from);
        self.promise(now_us);
        self.expect_leader(now_us, rng);
        answer.term = self.term();
        if self.term_at(append.prev_index) == Some(append.prev_term) {
            answer.matched = Some(self.take_entries(append));
        } else {
            answer.hint = self.guess_match(append.prev_index);
        }
        out.push(Output::Send(from, ConsensusMsg::Appended(answer)));
    }

    /// Takes over the leader's entries; tells up to where the logs are now known to be one.
    fn take_entries(&mut self, append: Append<C>) -> u64 {
        let mut index = append.prev_index;
        for entry in append.entries {
            index += 1;
            match self.term_at(index) {
                // An old message may come late: what is there and agrees stays, and so does what follows it.
                Some(term) if term == entry.term => continue,
                Some(_) => {
                    self.contradicted |= index <= self.commit;
                    let kept = usize::try_from(index - 1).unwrap_or(usize::MAX);
                    self.durable.log.truncate(kept);
                }
                None => {}
            }
            self.durable.log.push(entry);
        }
        self.commit = self.commit.max(append.commit.min(index));
        index
    }

    /// Where the logs may agree, below `prev_index`: before the whole term that disagrees.
    fn guess_match(&self, prev_index: u64) -> u64 {
        let Some(disagreeing) = self.term_at(prev_index) else {
            return self.last_index();
        };
        let mut index = prev_index;
        while index > self.commit && self.term_at(index) == Some(disagreeing) {
            index -= 1;
        }
        index
    }

    pub(super) fn note_appended(
        &mut self,
        from: Place,
        appended: Appended,
        now_us: u64,
        out: &mut Vec<Output<C>>,
    ) {
        if self.role != Role::Leader || appended.term != self.term() {
            return;
        }
        let last_index = self.last_index();
        let Some(peer) = self.leading.peers.get_mut(&from) else {
            return;
        };
        peer.acked_us = peer.acked_us.max(Some(appended.sent_us));
        let send_from = match appended.matched {
            Some(matched) => {
                let further = matched > peer.matched;
                peer.matched = peer.matched.max(matched);
                peer.next = peer.next.max(peer.matched + 1);
                (further && peer.next <= last_index).then_some(peer.next)
            }
            None => {
                peer.next = peer.next.min(appended.hint + 1).max(peer.matched + 1);
                Some(peer.next)
            }
        };
        if let Some(next) = send_from {
            self.send_append(from, next, now_us, out);
        }
        self.advance_commit();
    }

    /// Commits what a majority has, but only up to an entry of the leader's own term: an older one may still be replaced.
    pub(super) fn advance_commit(&mut self) {
        if self.role != Role::Leader {
            return;
        }
        let reached = self.reached_by_majority(self.last_index(), |peer| peer.matched);
        if reached > self.commit && self.term_at(reached) == Some(self.term()) {
            self.commit = reached;
        }
    }

    pub(super) fn apply(&mut self, now_us: u64, rng: &mut Rng, out: &mut Vec<Output<C>>) {
        if self.commit <= self.applied {
            return;
        }
        let due_us = match self.apply_due_us {
            Some(due_us) => due_us,
            None => now_us.saturating_add(rng.between(0, self.timing().apply_lag_us_max)),
        };
        self.apply_due_us = Some(due_us);
        if now_us < due_us {
            return;
        }
        self.apply_due_us = None;
        while self.applied < self.commit {
            self.applied += 1;
            let index = self.applied;
            if let Some(command) = self.entry_at(index).and_then(|entry| entry.command.clone()) {
                out.push(Output::Committed { index, command });
            }
            if let Some(ticket) = self.leading.proposals.remove(&index) {
                out.push(Output::Proposed(ticket, Some(index)));
            }
        }
    }
}
