//! The owner's traffic: writes out, acknowledgements in, commits, and what is done about silence. It must never know
//! what a write means.

use ultrakv_cache::Now;

use super::list::{List, PREPARED_BYTES_MAX, PREPARED_MAX, Prepared};
use super::message::{Effect, Message, Progress, Proposal, Why};
use super::owner::{Joiner, Owner, Parked, Peer, Recent, Serving};
use super::replica::{Replica, Role};
use super::request::{Answer, Delay};
use super::types::{Record, Seq};
use super::wish::Wish;
use super::world::World;
use crate::{Epoch, Incarnation, NodeId};

impl Replica {
    /// After every event: commits what all have, answers who waited for it, sends what is new, and asks Raft for what
    /// has become possible.
    pub(super) fn settle(&mut self, world: &mut World<'_>, effects: &mut Vec<Effect>) {
        loop {
            let before = self.list.committed();
            self.commit(world, effects);
            self.release(world, effects);
            if self.list.committed() == before {
                break;
            }
        }
        self.advance_serving(world.wish, world.now, effects);
        self.stream(world.now, effects);
    }

    fn commit(&mut self, world: &mut World<'_>, effects: &mut Vec<Effect>) {
        let Role::Owner(owner) = &mut self.role else {
            return;
        };
        let through = owner.prepared_by_all(&self.list);
        while self.list.committed() < through {
            match self.list.commit_next(world.store, world.now) {
                Ok(Some(write)) => owner.keep(write),
                Ok(None) => return,
                Err(_) => return self.fail(effects),
            }
        }
    }

    /// Answers all that waited for what is committed now.
    fn release(&mut self, world: &mut World<'_>, effects: &mut Vec<Effect>) {
        let committed = self.list.committed();
        while let Some((ticket, what)) = self.next_released(committed) {
            let answer = match what {
                Parked::Write(answer) => answer,
                Parked::Refusal(refusal) if world.tenure.is_held() => Answer::Refused(refusal),
                Parked::Refusal(_) => Answer::Retry(Delay::NoTenure),
                Parked::Read(key) => {
                    self.read(ticket, key, world, effects);
                    continue;
                }
            };
            effects.push(Effect::Answer { ticket, answer });
        }
    }

    fn next_released(&mut self, committed: Seq) -> Option<(u64, Parked)> {
        let Role::Owner(owner) = &mut self.role else {
            return None;
        };
        let first = owner.parked.first_entry()?;
        (first.key().0 <= committed).then(|| first.remove())
    }

    /// What the commit point allows: to serve, to hand over, to add.
    ///
    /// A change takes along what the plan wants besides: each agreement is heard by every copy, which then says anew how far it is.
    fn advance_serving(&mut self, wish: &Wish, now: Now, effects: &mut Vec<Effect>) {
        let me = self.me;
        let (Role::Owner(owner), Some(ownership)) = (&mut self.role, &self.ownership) else {
            return;
        };
        let committed = self.list.committed();
        match owner.serving {
            Serving::Reconciling { until } if committed >= until => owner.serving = Serving::Open,
            Serving::HandingOver { to, .. }
                if self.list.is_empty() && owner.parked.is_empty() && !owner.has_proposed() =>
            {
                let others = ownership.in_sync.iter().copied();
                let in_sync = std::iter::once(to).chain(others.filter(|other| *other != to));
                let proven = |member: &Incarnation| *member == me || owner.has_all(*member);
                let proposal = Proposal {
                    epoch: ownership.epoch,
                    in_sync: without_unwanted(in_sync.collect(), wish, &[to], proven),
                    why: Why::HandOver(to),
                };
                owner.propose(proposal, now, effects);
            }
            _ => {}
        }
        let can_add = owner.serving == Serving::Open && !owner.has_proposed();
        let whole = |joiner: &Joiner| joiner.is_whole && joiner.peer.acked >= committed;
        let joiners = owner.joiners.iter().filter(|(_, joiner)| whole(joiner));
        // All that are whole at once: an epoch ends every copy that is under way.
        let added: Vec<Incarnation> = joiners.map(|(member, _)| *member).collect();
        if can_add && let Some(first) = added.first() {
            let in_sync: Vec<Incarnation> =
                ownership.in_sync.iter().chain(&added).copied().collect();
            // A newcomer has acknowledged everything up to now, and no write is committed without it any more.
            let proven = |member: &Incarnation| {
                *member == me || added.contains(member) || owner.has_all(*member)
            };
            let stay: Vec<Incarnation> = added.iter().copied().chain([me]).collect();
            let proposal = Proposal {
                epoch: ownership.epoch,
                in_sync: without_unwanted(in_sync, wish, &stay, proven),
                why: Why::Add(*first),
            };
            for member in &added {
                if let Some(joiner) = owner.joiners.get_mut(member) {
                    joiner.is_required = true;
                }
            }
            owner.propose(proposal, now, effects);
        }
    }

    /// Sends each other replica the writes that it was not sent yet.
    fn stream(&mut self, now: Now, effects: &mut Vec<Effect>) {
        let (epoch, committed) = (self.epoch(), self.list.committed());
        let Role::Owner(owner) = &mut self.role else {
            return;
        };
        let Owner {
            peers,
            joiners,
            recent,
            ..
        } = &mut **owner;
        let last = self.list.last();
        for (to, peer) in peers.iter_mut() {
            if peer.is_synced && peer.sent < last {
                let writes = self.list.above(peer.sent);
                append((to, peer), (epoch, committed), writes, now, effects);
            }
        }
        for (to, joiner) in joiners.iter_mut() {
            let peer = &mut joiner.peer;
            if peer.sent < last {
                let writes = writes_above(recent, &self.list, peer.sent);
                append((to, peer), (epoch, committed), writes, now, effects);
            }
        }
    }

    /// Sends every member that has not acknowledged under this epoch the whole list.
    pub(super) fn sync_all(&mut self, now: Now, effects: &mut Vec<Effect>) {
        let (Role::Owner(owner), Some(ownership)) = (&mut self.role, &self.ownership) else {
            return;
        };
        for (to, peer) in owner.peers.iter_mut().filter(|(_, peer)| !peer.is_synced) {
            peer.tell_again(now);
            let records = self.list.above(self.list.committed());
            effects.push(Effect::Send {
                to: *to,
                message: Message::Sync {
                    ownership: ownership.clone(),
                    committed: self.list.committed(),
                    records: records.map(|write| write.record(now)).collect(),
                },
            });
        }
    }

    /// Another replica has all writes up to a number.
    pub(super) fn acked(
        &mut self,
        from: Incarnation,
        progress: Progress,
        now: Now,
        effects: &mut Vec<Effect>,
    ) {
        let (last, epoch) = (self.list.last(), self.epoch());
        let by_node = self.sabotage.boot_forgotten();
        let Role::Owner(owner) = &mut self.role else {
            return;
        };
        let (through, committed) = (progress.through.min(last), progress.committed);
        if let Some(peer) = owner.peer_mut(from, by_node) {
            if !peer.is_synced {
                peer.is_synced = true;
                peer.sent = through;
                peer.owes_since = now;
                peer.repeats = 0;
            }
            advance(peer, through, committed, now);
        } else if let Some(joiner) = owner.joiners.get_mut(&from) {
            if joiner.copy == progress.copy {
                advance(&mut joiner.peer, through, committed, now);
                joiner.is_whole |= progress.is_whole;
            }
        } else if progress.copy > 0 {
            // It was silent for too long and is forgotten here: it would wait for ever.
            let ask = progress.copy;
            owner.void(from, ask);
            effects.push(Effect::Send {
                to: from,
                message: Message::CopyVoid { epoch, ask },
            });
        }
    }

    /// Says again what is not acknowledged, and gives up on who is silent.
    pub(super) fn tick_owner(&mut self, world: &mut World<'_>, effects: &mut Vec<Effect>) {
        self.expire(world);
        let now = world.now;
        self.sync_silent(now, effects);
        self.append_again(now, effects);
        self.drop_silent_joiners(now);
        self.remove_silent(now, effects);
        if let Role::Owner(owner) = &mut self.role {
            owner.propose_again(self.timing.propose_ms, now, effects);
        }
    }

    fn sync_silent(&mut self, now: Now, effects: &mut Vec<Effect>) {
        let resend_ms = self.timing.resend_ms;
        let Role::Owner(owner) = &self.role else {
            return;
        };
        let mut peers = owner.peers.values();
        if peers.any(|peer| !peer.is_synced && peer.is_due(resend_ms, now)) {
            self.sync_all(now, effects);
        }
    }

    fn append_again(&mut self, now: Now, effects: &mut Vec<Effect>) {
        let (epoch, resend_ms) = (self.epoch(), self.timing.resend_ms);
        let (last, committed) = (self.list.last(), self.list.committed());
        let Role::Owner(owner) = &mut self.role else {
            return;
        };
        let Owner {
            peers,
            joiners,
            recent,
            ..
        } = &mut **owner;
        let is_due = |peer: &Peer| {
            let is_behind = peer.acked < last || peer.committed < committed;
            is_behind && peer.is_due(resend_ms, now)
        };
        for (to, peer) in peers.iter_mut().filter(|(_, peer)| peer.is_synced) {
            if is_due(peer) {
                let writes = self.list.above(peer.acked);
                append((to, peer), (epoch, committed), writes, now, effects);
                peer.tell_again(now);
            }
        }
        let mut left_behind = Vec::new();
        for (to, joiner) in joiners.iter_mut() {
            let peer = &mut joiner.peer;
            if !is_due(peer) {
                continue;
            }
            let mut writes = writes_above(recent, &self.list, peer.acked).peekable();
            let has_gap = match writes.peek() {
                Some(first) => first.seq() > peer.acked.next(),
                None => peer.acked < last,
            };
            if has_gap {
                left_behind.push((*to, joiner.ask));
            } else {
                append((to, peer), (epoch, committed), writes, now, effects);
                peer.tell_again(now);
            }
        }
        for (to, ask) in left_behind {
            owner.joiners.remove(&to);
            owner.void(to, ask);
            let message = Message::CopyVoid { epoch, ask };
            effects.push(Effect::Send { to, message });
        }
    }

    /// Forgets silent joiners that Raft was not asked to add. They begin again when they are heard of.
    fn drop_silent_joiners(&mut self, now: Now) {
        let (last, silence_ms_max) = (self.list.last(), self.timing.silence_ms_max);
        if let Role::Owner(owner) = &mut self.role {
            let is_silent = |joiner: &Joiner| {
                let silent_ms = now.since_ms(joiner.peer.owes_since);
                !joiner.is_required && joiner.peer.owes(last) && silent_ms >= silence_ms_max
            };
            let silent: Vec<(Incarnation, u64)> = owner
                .joiners
                .extract_if(.., |_, joiner| is_silent(joiner))
                .map(|(member, joiner)| (member, joiner.ask))
                .collect();
            for (member, ask) in silent {
                owner.void(member, ask);
            }
        }
    }

    /// Asks Raft to remove members that owe an acknowledgement for too long. No write is answered before its word. What
    /// was proposed and may never be taken (a silent joiner, a hand-over that Raft does not want) is decided by an
    /// epoch.
    fn remove_silent(&mut self, now: Now, effects: &mut Vec<Effect>) {
        let (last, silence_ms_max) = (self.list.last(), self.timing.silence_ms_max);
        let (Role::Owner(owner), Some(ownership)) = (&mut self.role, &self.ownership) else {
            return;
        };
        let is_silent =
            |peer: &Peer| peer.owes(last) && now.since_ms(peer.owes_since) >= silence_ms_max;
        let silent = |member: &Incarnation| owner.peers.get(member).is_some_and(is_silent);
        let first = ownership.in_sync.iter().copied().find(silent);
        let is_joiner_silent = |joiner: &Joiner| joiner.is_required && is_silent(&joiner.peer);
        let is_stuck = match owner.serving {
            Serving::HandingOver { since, .. } => now.since_ms(since) >= silence_ms_max,
            Serving::Reconciling { .. } | Serving::Open => false,
        };
        let why = match first {
            Some(member) => Why::Remove(member),
            None if is_stuck || owner.joiners.values().any(is_joiner_silent) => Why::Renew,
            None => return,
        };
        let members = ownership.in_sync.iter().copied();
        let in_sync = members.filter(|member| !silent(member)).collect();
        let proposal = Proposal {
            epoch: ownership.epoch,
            in_sync,
            why,
        };
        owner.propose(proposal, now, effects);
    }
}

/// A higher number is acknowledged.
fn advance(peer: &mut Peer, through: Seq, committed: Seq, now: Now) {
    if committed > peer.committed || through > peer.acked {
        peer.repeats = 0;
    }
    peer.committed = peer.committed.max(committed);
    if through > peer.acked {
        peer.acked = through;
        peer.sent = peer.sent.max(through);
        peer.owes_since = now;
    }
}

/// Committed writes that are kept, then prepared ones.
fn writes_above<'a>(
    recent: &'a Recent,
    list: &'a List,
    seq: Seq,
) -> impl Iterator<Item = &'a Prepared> {
    recent.above(seq).chain(list.above(seq))
}

/// A set without those that the plan can do without, where everybody else is proven to have everything. Some stay in any case.
fn without_unwanted(
    in_sync: Vec<Incarnation>,
    wish: &Wish,
    stay: &[Incarnation],
    proven: impl Fn(&Incarnation) -> bool,
) -> Vec<Incarnation> {
    let has_all = |node: NodeId| {
        let mut members = in_sync.iter();
        members.any(|member| member.node == node && proven(member))
    };
    let goes =
        |member: &Incarnation| !stay.contains(member) && wish.is_dispensable(member.node, has_all);
    in_sync.iter().copied().filter(|it| !goes(it)).collect()
}

/// Sends as many writes as fit one message.
fn append<'a>(
    (to, peer): (&Incarnation, &mut Peer),
    (epoch, committed): (Epoch, Seq),
    writes: impl Iterator<Item = &'a Prepared>,
    now: Now,
    effects: &mut Vec<Effect>,
) {
    let (mut records, mut bytes): (Vec<Record>, usize) = (Vec::new(), 0);
    for write in writes.take(PREPARED_MAX) {
        bytes += write.bytes();
        if bytes > PREPARED_BYTES_MAX {
            break;
        }
        records.push(write.record(now));
    }
    if let Some(last) = records.last() {
        let was_idle = peer.acked >= peer.sent;
        peer.sent = peer.sent.max(last.version.seq());
        if was_idle {
            peer.owes_since = now;
        }
    }
    peer.sent_at = now;
    effects.push(Effect::Send {
        to: *to,
        message: Message::Append {
            epoch,
            committed,
            records,
        },
    });
}
