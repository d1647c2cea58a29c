//! Responsible for the fate of every block that was fetched ahead, until it is known, and for what they pushed out. It must
//! never decide what is fetched.
//!
//! # Blame
//! A block that goes to make room would have stayed, had no unused block of ours lain in its place. So each source is blamed
//! for as many bytes that go as it has lying here unused, and no more; a block it is blamed for that is asked for again and
//! not here is pollution.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::event::{Held, Landing};
use super::figures::Figures;
use super::source::{BySource, Source};
use crate::event::ArenaId;
use crate::key::BlockKey;
use crate::time::Now;

/// Blocks watched at once: on their way, or here and unused. About 8 MiB.
pub(super) const WATCHED_MAX: usize = 65_536;

/// Blocks remembered as pushed out.
const PUSHED_OUT_MAX: usize = 16_384;

/// Where a block that was fetched ahead stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// On its way; asked for meanwhile, or not.
    InFlight { is_late: bool },
    /// Here, unused; lapses then.
    Lying { lapses: Now },
}

#[derive(Clone, Copy, Debug)]
struct Watched {
    arena: ArenaId,
    source: Source,
    bytes: u64,
    state: State,
}

/// Bytes of one source.
#[derive(Clone, Copy, Debug, Default)]
struct Bytes {
    in_flight: u64,
    lying: u64,
    /// Of those that went, what this source is blamed for; at most what lies.
    blamed: u64,
}

/// A block's fate, for the throttle.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Judged {
    pub(super) source: Source,
    pub(super) is_used: bool,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Ledger {
    watched: BTreeMap<BlockKey, Watched>,
    lapsing: BTreeSet<(Now, BlockKey)>,
    bytes: BySource<Bytes>,
    pushed_out: BTreeMap<BlockKey, Source>,
    pushed_order: VecDeque<BlockKey>,
    pub(super) figures: Figures,
}

impl Ledger {
    /// Whether a block is on its way or lies here unused.
    pub(super) fn watches(&self, key: &BlockKey) -> bool {
        self.watched.contains_key(key)
    }

    /// Whether no block is watched, and none remembered as pushed out.
    pub(super) fn is_empty(&self) -> bool {
        self.watched.is_empty() && self.pushed_out.is_empty()
    }

    /// Whether another block can be watched.
    pub(super) fn has_room(&self) -> bool {
        self.watched.len() < WATCHED_MAX
    }

    /// Bytes of a source that can still turn out to be wasted.
    pub(super) const fn at_risk_bytes(&self, source: Source) -> u64 {
        let bytes = self.bytes.of(source);
        bytes.in_flight + bytes.lying
    }

    /// Bytes on their way, of all sources.
    pub(super) fn in_flight_bytes(&self) -> u64 {
        let of = |source| self.bytes.of(source).in_flight;
        Source::ALL.into_iter().map(of).sum()
    }

    /// A block is asked for.
    pub(super) fn ask(&mut self, arena: ArenaId, key: BlockKey, source: Source, bytes: u64) {
        let state = State::InFlight { is_late: false };
        let watched = Watched {
            arena,
            source,
            bytes,
            state,
        };
        self.watched.insert(key, watched);
        self.bytes.of_mut(source).in_flight += bytes;
        self.figures.by_source.of_mut(source).asked_blocks += 1;
    }

    /// A block that was asked for has landed, or not.
    pub(super) fn land(&mut self, key: BlockKey, landing: Landing, lapses: Now) -> Option<Judged> {
        let watched = self.watched.get(&key).copied()?;
        let State::InFlight { is_late } = watched.state else {
            return None;
        };
        let source = watched.source;
        self.bytes.of_mut(source).in_flight -= watched.bytes;
        let tally = self.figures.by_source.of_mut(source);
        let is_lying = matches!(landing, Landing::Stored { .. }) && !is_late;
        match landing {
            Landing::Failed => tally.failed_blocks += 1,
            // Whoever asked meanwhile shared this flight, and may have stored the block first.
            Landing::Known if !is_late => {
                tally.known_blocks += 1;
                tally.wasted_bytes += watched.bytes;
            }
            Landing::Stored { .. } | Landing::Known => {
                let bytes = landing.stored_bytes().unwrap_or(watched.bytes);
                tally.stored_blocks += 1;
                tally.stored_bytes += bytes;
                tally.late_blocks += u64::from(is_late);
            }
        }
        if is_lying {
            // What was believed of its size bounded the flight; what it really takes is at risk from here on.
            let lying = Watched {
                bytes: landing.stored_bytes().unwrap_or(watched.bytes),
                state: State::Lying { lapses },
                ..watched
            };
            self.watched.insert(key, lying);
            self.lapsing.insert((lapses, key));
            self.bytes.of_mut(source).lying += lying.bytes;
            return None;
        }
        self.watched.remove(&key);
        let is_judged = landing != Landing::Failed;
        is_judged.then_some(Judged {
            source,
            is_used: is_late,
        })
    }

    /// A request asks for a block, and found it so.
    pub(super) fn demand(&mut self, key: &BlockKey, found: Held) -> Option<Judged> {
        if found != Held::Here
            && let Some(source) = self.pushed_out.remove(key)
        {
            self.figures.by_source.of_mut(source).polluted_blocks += 1;
        }
        let is_there = matches!(found, Held::There { .. });
        let Some(watched) = self.watched.get_mut(key) else {
            self.figures.missed_blocks += u64::from(is_there);
            return None;
        };
        let source = watched.source;
        match &mut watched.state {
            State::InFlight { is_late } => {
                *is_late = true;
                None
            }
            State::Lying { .. } if found == Held::Here => {
                self.stop_lying(key);
                self.figures.by_source.of_mut(source).timely_blocks += 1;
                Some(Judged {
                    source,
                    is_used: true,
                })
            }
            // It went, and nobody has said so yet.
            State::Lying { .. } => {
                self.figures.missed_blocks += u64::from(is_there);
                self.go_unused(key)
            }
        }
    }

    /// A block went to make room.
    pub(super) fn evict(&mut self, key: BlockKey, bytes: u64) -> Option<Judged> {
        if let Some(watched) = self.watched.get(&key) {
            let is_lying = matches!(watched.state, State::Lying { .. });
            return is_lying.then(|| self.go_unused(&key)).flatten();
        }
        let unblamed = |source: &Source| {
            let of = self.bytes.of(*source);
            of.lying - of.blamed
        };
        let source = Source::ALL.into_iter().max_by_key(unblamed)?;
        if unblamed(&source) == 0 {
            return None;
        }
        let of = self.bytes.of_mut(source);
        of.blamed = (of.blamed + bytes).min(of.lying);
        if self.pushed_out.insert(key, source).is_none() {
            self.pushed_order.push_back(key);
        }
        // Keys that were asked for again still stand in the order, at most as many as there is room for.
        while self.pushed_order.len() > PUSHED_OUT_MAX {
            if let Some(oldest) = self.pushed_order.pop_front() {
                self.pushed_out.remove(&oldest);
            }
        }
        None
    }

    /// A block whose time is over by now, unused.
    pub(super) fn lapse(&mut self, now: Now) -> Option<Judged> {
        let (_, key) = self.lapsing.first().copied().filter(|(at, _)| *at <= now)?;
        let watched = self.stop_lying(&key)?;
        let tally = self.figures.by_source.of_mut(watched.source);
        tally.lapsed_blocks += 1;
        tally.wasted_bytes += watched.bytes;
        Some(Judged {
            source: watched.source,
            is_used: false,
        })
    }

    /// The blocks that lie here are gone with their domain; those on their way will find it closed.
    pub(super) fn purge(&mut self, arena: ArenaId) {
        let watched = self.watched.iter();
        let gone =
            watched.filter(|(_, of)| of.arena == arena && matches!(of.state, State::Lying { .. }));
        let gone: Vec<BlockKey> = gone.map(|(key, _)| *key).collect();
        for key in gone {
            if let Some(watched) = self.stop_lying(&key) {
                let tally = self.figures.by_source.of_mut(watched.source);
                tally.purged_blocks += 1;
            }
        }
    }

    fn go_unused(&mut self, key: &BlockKey) -> Option<Judged> {
        let watched = self.stop_lying(key)?;
        let tally = self.figures.by_source.of_mut(watched.source);
        tally.evicted_blocks += 1;
        tally.wasted_bytes += watched.bytes;
        Some(Judged {
            source: watched.source,
            is_used: false,
        })
    }

    fn stop_lying(&mut self, key: &BlockKey) -> Option<Watched> {
        let watched = self.watched.remove(key)?;
        if let State::Lying { lapses } = watched.state {
            self.lapsing.remove(&(lapses, *key));
            let of = self.bytes.of_mut(watched.source);
            of.lying -= watched.bytes;
            of.blamed = of.blamed.min(of.lying);
        }
        Some(watched)
    }
}

#[cfg(test)]
impl Ledger {
    /// Blocks of a source on their way, and lying here unused.
    fn open_blocks(&self, source: Source) -> (u64, u64) {
        let mut open = (0, 0);
        for watched in self.watched.values().filter(|of| of.source == source) {
            match watched.state {
                State::InFlight { .. } => open.0 += 1,
                State::Lying { .. } => open.1 += 1,
            }
        }
        open
    }

    /// What must hold after every event.
    pub(super) fn check(&self) {
        for source in Source::ALL {
            let tally = self.figures.by_source.of(source);
            let (in_flight, lying) = self.open_blocks(source);
            let landed = tally.stored_blocks + tally.known_blocks + tally.failed_blocks;
            assert_eq!(tally.asked_blocks, in_flight + landed, "{source:?}");
            let judged = tally.used_blocks() + tally.evicted_blocks + tally.lapsed_blocks;
            let stored = lying + judged + tally.purged_blocks;
            assert_eq!(tally.stored_blocks, stored, "{source:?}");
            let of = |state: fn(&State) -> bool| -> u64 {
                let watched = self.watched.values().filter(|of| of.source == source);
                let watched = watched.filter(|of| state(&of.state));
                watched.map(|of| of.bytes).sum()
            };
            let bytes = self.bytes.of(source);
            assert_eq!(
                bytes.in_flight,
                of(|state| matches!(state, State::InFlight { .. }))
            );
            assert_eq!(
                bytes.lying,
                of(|state| matches!(state, State::Lying { .. }))
            );
            assert!(bytes.blamed <= bytes.lying);
        }
        let lying = |of: &&Watched| matches!(of.state, State::Lying { .. });
        assert_eq!(
            self.lapsing.len(),
            self.watched.values().filter(lying).count()
        );
        assert!(self.watched.len() <= WATCHED_MAX && self.pushed_order.len() <= PUSHED_OUT_MAX);
    }
}
