//! Responsible for conversations: which chain each has reached, how long it has been silent, and when it is worth a look. It
//! must never know where blocks are.
//!
//! A conversation is what a client names so, or else whatever continues the end of a chain. The last block of a prompt is
//! seldom full and another one when it is, so a chain may be continued from the block before its last, too.

use std::collections::{BTreeMap, BTreeSet};

use super::event::{Arrival, SessionHint, SessionName};
use super::hazard::{BINS, Class, Hazard, bin_start_ms};
use crate::event::ArenaId;
use crate::key::{BlockAddress, BlockKey};
use crate::time::Now;

/// Conversations watched; the one that has been silent for the longest gives way.
pub(super) const SESSIONS_MAX: usize = 4_096;

/// Blocks of all of them together: 16 MiB of addresses.
const BLOCKS_MAX: usize = 262_144;

/// Blocks of one; the first ones, since a prefix without its beginning is none.
const CHAIN_BLOCKS_MAX: usize = 2_048;

/// Turns seen between two estimates.
const ESTIMATE_TURNS: u32 = 64;

/// Looks at one conversation in one silence: what was fetched may be gone again before it goes on.
const LOOKS_MAX: u8 = 8;

/// Chance from which a conversation is fetched. Twice what the throttle takes for break-even, since a guess should not need
/// to be throttled.
pub(super) const CHANCE_MIN: f64 = 0.5;

/// A hint lapses when this part of its time and [`GRACE_MS`] have passed beyond it.
const GRACE_PART: u64 = 4;

/// See [`GRACE_PART`].
const GRACE_MS: u64 = 1_000;

/// Fetching begins this long before a conversation is expected, and twice the time that loading takes.
const LEAD_MS: u64 = 1_000;

/// Hints further off than this are not taken.
const AHEAD_MS_MAX: u64 = 600_000;

#[derive(Debug)]
struct Session {
    arena: ArenaId,
    name: Option<SessionName>,
    chain: Vec<BlockAddress>,
    block_tokens: u32,
    turns: u32,
    last: Now,
    looks: u8,
    /// When it is looked at next.
    due: Option<Now>,
    /// Until when a client's word that it goes on holds.
    hinted_until: Option<Now>,
}

impl Session {
    fn class(&self) -> Class {
        Class::of(self.turns, self.chain.len())
    }

    /// The ends that a next turn may continue.
    fn ends(&self) -> impl Iterator<Item = BlockKey> {
        self.chain.iter().rev().take(2).map(|block| block.key)
    }
}

/// A conversation that is to be fetched.
#[derive(Debug)]
pub(super) struct DueSession {
    pub(super) arena: ArenaId,
    pub(super) chain: Vec<BlockAddress>,
    pub(super) block_tokens: u32,
    /// Until when what is fetched is given the chance to be used.
    pub(super) until: Now,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Sessions {
    hold_ms: u64,
    sessions: BTreeMap<u64, Session>,
    ends: BTreeMap<(ArenaId, BlockKey), u64>,
    names: BTreeMap<(ArenaId, SessionName), u64>,
    due: BTreeSet<(Now, u64)>,
    silent: BTreeSet<(Now, u64)>,
    blocks: usize,
    next: u64,
    hazard: Hazard,
    turns_seen: u32,
}

impl Sessions {
    pub(super) const fn new(hold_ms: u64) -> Self {
        Self {
            hold_ms,
            sessions: BTreeMap::new(),
            ends: BTreeMap::new(),
            names: BTreeMap::new(),
            due: BTreeSet::new(),
            silent: BTreeSet::new(),
            blocks: 0,
            next: 0,
            hazard: Hazard::new(),
            turns_seen: 0,
        }
    }

    /// A request has come: a conversation begins or goes on.
    pub(super) fn arrive(&mut self, arrival: &Arrival, now: Now) {
        let Arrival {
            arena,
            chain,
            block_tokens,
            session: name,
        } = arrival;
        if chain.is_empty() {
            return;
        }
        let named = name.and_then(|name| self.names.get(&(*arena, name)).copied());
        let is_anonymous = |id: &u64| {
            let session = self.sessions.get(id);
            name.is_none() || session.is_some_and(|session| session.name.is_none())
        };
        let found = named.or_else(|| {
            let mut ends = chain.iter().rev();
            ends.find_map(|block| self.ends.get(&(*arena, block.key)).copied())
                .filter(is_anonymous)
        });
        let before = found.and_then(|id| self.take(id));
        let turns = before.as_ref().map_or(1, |session| {
            let silent_ms = now.since_ms(session.last);
            self.hazard.went_on(session.class(), silent_ms);
            session.turns.saturating_add(1)
        });
        let id = found.unwrap_or(self.next);
        self.next = self.next.max(id.saturating_add(1));
        let session = Session {
            arena: *arena,
            name: name.or_else(|| before.and_then(|session| session.name)),
            chain: chain.iter().take(CHAIN_BLOCKS_MAX).copied().collect(),
            block_tokens: *block_tokens,
            turns,
            last: now,
            looks: 0,
            due: None,
            hinted_until: None,
        };
        self.put(id, session);
        self.turns_seen += 1;
        if self.turns_seen >= ESTIMATE_TURNS {
            self.turns_seen = 0;
            let sessions = self.sessions.values();
            let silent = sessions.map(|session| (session.class(), now.since_ms(session.last)));
            self.hazard.rebuild(silent);
        }
        self.plan(id);
        while self.sessions.len() > SESSIONS_MAX || self.blocks > BLOCKS_MAX {
            let Some((_, oldest)) = self.silent.first().copied() else {
                break;
            };
            if let Some(session) = self.take(oldest) {
                let silent_ms = now.since_ms(session.last);
                self.hazard.lost_sight(session.class(), silent_ms);
            }
        }
    }

    /// A client says something of a conversation that it named.
    pub(super) fn hint(&mut self, arena: ArenaId, name: SessionName, hint: SessionHint, now: Now) {
        let Some(id) = self.names.get(&(arena, name)).copied() else {
            return;
        };
        match hint {
            SessionHint::Over => {
                if let Some(session) = self.take(id) {
                    let silent_ms = now.since_ms(session.last);
                    self.hazard.lost_sight(session.class(), silent_ms);
                }
            }
            SessionHint::Due { ms } if ms <= AHEAD_MS_MAX => {
                let until = now.add_ms(ms + ms / GRACE_PART + GRACE_MS);
                if let Some(session) = self.sessions.get_mut(&id) {
                    session.hinted_until = Some(until);
                    session.looks = 0;
                }
                self.look_at(id, Some(now.add_ms(ms.saturating_sub(LEAD_MS))));
            }
            SessionHint::Due { .. } => {}
        }
    }

    /// The next conversation to be fetched, if one is due by now.
    pub(super) fn due(&mut self, now: Now) -> Option<DueSession> {
        // Each turn of the loop takes one out of the queue, or puts it back for later than now.
        while let Some((_, id)) = self.due.first().copied().filter(|(at, _)| *at <= now) {
            self.look_at(id, None);
            let Some(session) = self.sessions.get_mut(&id) else {
                continue;
            };
            let until = match session.hinted_until {
                Some(until) if until > now => until,
                Some(_) => {
                    // It was said to go on and did not. What is known of others holds again, from here on.
                    session.hinted_until = None;
                    self.plan(id);
                    continue;
                }
                None => {
                    let silent_ms = now.since_ms(session.last);
                    let chance = self.hazard.within(session.class(), silent_ms, self.hold_ms);
                    if chance < CHANCE_MIN {
                        continue;
                    }
                    now.add_ms(self.hold_ms)
                }
            };
            session.looks += 1;
            let again = session.looks < LOOKS_MAX;
            let due = DueSession {
                arena: session.arena,
                chain: session.chain.clone(),
                block_tokens: session.block_tokens,
                until,
            };
            let pause_ms = (until.since_ms(now) / 4).max(1);
            self.look_at(id, again.then(|| now.add_ms(pause_ms)));
            return Some(due);
        }
        None
    }

    /// Forgets a domain.
    pub(super) fn purge(&mut self, arena: ArenaId) {
        let of = |(id, session): (&u64, &Session)| (session.arena == arena).then_some(*id);
        let gone: Vec<u64> = self.sessions.iter().filter_map(of).collect();
        for id in gone {
            self.take(id);
        }
    }

    /// Looks at a conversation as soon as it is likely enough to go on.
    fn plan(&mut self, id: u64) {
        let Some(session) = self.sessions.get(&id) else {
            return;
        };
        let class = session.class();
        let last = session.last;
        let mut silences = (0..BINS).map(bin_start_ms);
        let due_ms = silences.find(|silent_ms| {
            let chance = self.hazard.within(class, *silent_ms, self.hold_ms);
            chance >= CHANCE_MIN
        });
        self.look_at(id, due_ms.map(|ms| last.add_ms(ms)));
    }

    fn look_at(&mut self, id: u64, at: Option<Now>) {
        if let Some(session) = self.sessions.get_mut(&id) {
            if let Some(before) = std::mem::replace(&mut session.due, at) {
                self.due.remove(&(before, id));
            }
            self.due.extend(at.map(|at| (at, id)));
        }
    }

    fn put(&mut self, id: u64, session: Session) {
        for end in session.ends() {
            self.ends.insert((session.arena, end), id);
        }
        if let Some(name) = session.name {
            self.names.insert((session.arena, name), id);
        }
        self.silent.insert((session.last, id));
        self.blocks += session.chain.len();
        self.sessions.insert(id, session);
    }

    fn take(&mut self, id: u64) -> Option<Session> {
        let session = self.sessions.remove(&id)?;
        for end in session.ends() {
            // A later conversation may have come to the same end.
            if self.ends.get(&(session.arena, end)) == Some(&id) {
                self.ends.remove(&(session.arena, end));
            }
        }
        if let Some(name) = session.name {
            self.names.remove(&(session.arena, name));
        }
        if let Some(due) = session.due {
            self.due.remove(&(due, id));
        }
        self.silent.remove(&(session.last, id));
        self.blocks -= session.chain.len();
        Some(session)
    }
}

#[cfg(test)]
impl Sessions {
    /// What must hold after every event.
    pub(super) fn check(&self) {
        assert!(self.sessions.len() <= SESSIONS_MAX && self.blocks <= BLOCKS_MAX);
        assert_eq!(self.silent.len(), self.sessions.len());
        let due = self.sessions.values().filter(|of| of.due.is_some()).count();
        assert_eq!(self.due.len(), due);
        assert!(self.ends.len() <= 2 * self.sessions.len());
        assert!(self.names.len() <= self.sessions.len());
        let blocks: usize = self.sessions.values().map(|of| of.chain.len()).sum();
        assert_eq!(blocks, self.blocks);
    }

    pub(super) fn watched(&self) -> usize {
        self.sessions.len()
    }
}
