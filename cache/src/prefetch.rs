//! Responsible for which blocks are fetched before a request asks for them, and how much of that is risked. It must never
//! know how a block travels, what time it is, or chance that does not come from a seed.
//!
//! A [`Prefetcher`] is a state machine that an actor drives, as a [`Shard`](crate::Shard) is: events in, effects out.
//!
//! # The three sources
//! 1. **Arrival**: a request's whole chain is known as soon as it has come, often long before it is served. Its blocks that are
//!    elsewhere are fetched from the root on, up to the first that is nowhere, if loading them takes less time than computing
//!    them (`estimate` has the formula). A link over which nothing came for a while is tried by a few blocks all the same.
//! 2. **Read-ahead**: where a chain is read piece by piece, what mostly followed the last piece is fetched, as far as it is
//!    likely. The reach grows with every block that is used and halves with every one that is not.
//! 3. **Session**: a conversation is fetched before its next turn, when that is more likely than not to come while the blocks
//!    would be held (`hazard`), or when a client says so.
//!
//! # Limits
//! Bytes on their way are bounded for all sources together, for read-ahead and sessions more narrowly; the surer source goes
//! first. What a source has on its way or lying here unused is bounded by its allowance, which the `throttle` makes from its
//! accuracy. Every table and queue has a named limit.
//!
//! # Source
//! CachedAttention (Gao et al., USENIX ATC 2024) fetches the cached text of requests that wait in the queue. Read-ahead that
//! adapts its reach: Gill, Bathen, "AMP: adaptive multi-stream prefetching in a shared cache", FAST 2007. The rest is ours.

use std::collections::{BTreeMap, BTreeSet};

mod config;
mod edges;
mod estimate;
mod event;
mod figures;
mod hazard;
mod ledger;
mod plan;
mod send;
mod sessions;
mod source;
mod throttle;

pub use config::PrefetchConfig;
pub use event::{
    Arrival, Demand, Held, Landing, LinkId, PrefetchEffect, PrefetchEvent, SessionHint,
    SessionName, Wanted,
};
pub use figures::{Figures, Tally};
pub use source::{BySource, Source};

use edges::Edges;
use estimate::{Links, Prefill};
use ledger::{Judged, Ledger};
use plan::{Planned, Queues};
use sessions::Sessions;
use throttle::{Grant, PROBE_BLOCKS, Throttle};

use crate::event::{ArenaId, Ticket};
use crate::key::{BlockAddress, BlockKey};
use crate::policy::chance::Chance;
use crate::time::Now;

/// Questions where blocks are that may be open at once.
const QUESTIONS_MAX: usize = 1_024;

/// Blocks named in one question: chains beyond that are fetched by their beginnings.
const QUESTION_BLOCKS_MAX: usize = 4_096;

/// An answer that has not come by then will not.
const QUESTION_MS_MAX: u64 = 10_000;

/// A fetch that has not landed by then has failed.
const FLIGHT_MS_MAX: u64 = 30_000;

/// Blocks fetched to measure a link that may have become faster.
const TRIAL_BLOCKS: usize = 4;

/// How long a block of a request that has come may wait for room.
const ARRIVAL_WAIT_MS: u64 = 30_000;

/// How long a block that is read ahead may wait for room.
const READ_AHEAD_WAIT_MS: u64 = 5_000;

/// Blocks read ahead at first.
const REACH_FIRST: u32 = 4;

/// Conversations looked at in one tick.
const SESSIONS_A_TICK: usize = 16;

/// Blocks whose time is over, looked at in one event.
const LAPSES_AN_EVENT: usize = 256;

/// A question that is open.
#[derive(Debug)]
struct Question {
    source: Source,
    arena: ArenaId,
    blocks: Vec<BlockAddress>,
    /// The block before the first.
    before: Option<BlockKey>,
    block_tokens: u32,
    until: Now,
    asked: Now,
}

/// Blocks on their way.
#[derive(Debug)]
struct Flight {
    link: LinkId,
    blocks: Vec<(BlockKey, u64)>,
    /// Bytes on the link when it began, its own included.
    queued_bytes: u64,
    until: Now,
    begun: Now,
}

/// See the module.
#[derive(Debug)]
pub struct Prefetcher {
    config: PrefetchConfig,
    ledger: Ledger,
    throttles: BySource<Throttle>,
    queues: Queues,
    links: Links,
    prefill: Prefill,
    edges: Edges,
    sessions: Sessions,
    questions: BTreeMap<Ticket, Question>,
    flights: BTreeMap<Ticket, Flight>,
    next_ticket: u64,
    reach: u32,
    chance: Chance,
}

impl Prefetcher {
    /// A prefetcher that has seen nothing.
    pub fn new(config: PrefetchConfig) -> Self {
        Self {
            ledger: Ledger::default(),
            throttles: BySource::make(|_| Throttle::new(config.at_risk_bytes_max)),
            queues: Queues::default(),
            links: Links::default(),
            prefill: Prefill::default(),
            edges: Edges::default(),
            sessions: Sessions::new(config.hold_ms),
            questions: BTreeMap::new(),
            flights: BTreeMap::new(),
            next_ticket: 0,
            reach: REACH_FIRST.min(config.read_ahead_blocks_max),
            chance: Chance::new(config.seed),
            config,
        }
    }

    /// Something happened. What is to be done about it is added to `effects`, in order.
    pub fn handle(&mut self, event: PrefetchEvent, now: Now, effects: &mut Vec<PrefetchEffect>) {
        match event {
            PrefetchEvent::Arrived(arrival) => self.arrived(arrival, now, effects),
            PrefetchEvent::Located { ticket, held } => self.located(ticket, &held, now),
            PrefetchEvent::Demanded(demand) => self.demanded(&demand, now, effects),
            PrefetchEvent::Landed {
                ticket,
                landings,
                elapsed_us,
            } => self.landed(ticket, &landings, Some(elapsed_us), now),
            PrefetchEvent::Evicted { key, bytes } => {
                let judged = self.ledger.evict(key, bytes);
                self.judge(judged, now);
            }
            PrefetchEvent::Computed {
                tokens,
                before,
                elapsed_us,
            } => self.prefill.measured(tokens, before, elapsed_us),
            PrefetchEvent::Hinted {
                arena,
                session,
                hint,
            } => self.sessions.hint(arena, session, hint, now),
            PrefetchEvent::Purged { arena } => self.purged(arena),
            PrefetchEvent::Tick => self.tick(now, effects),
        }
        for _ in 0..LAPSES_AN_EVENT {
            let Some(judged) = self.ledger.lapse(now) else {
                break;
            };
            self.judge(Some(judged), now);
        }
        self.pump(now, effects);
    }

    /// What prefetching did so far.
    pub const fn figures(&self) -> &Figures {
        &self.ledger.figures
    }

    /// Bytes on their way here.
    pub fn in_flight_bytes(&self) -> u64 {
        self.ledger.in_flight_bytes()
    }

    /// Bytes of a source on their way or lying here unused.
    pub const fn at_risk_bytes(&self, source: Source) -> u64 {
        self.ledger.at_risk_bytes(source)
    }

    /// Bytes that a source may have at risk now; 0 when it is closed and only probed.
    pub const fn allowance_bytes(&self, source: Source) -> u64 {
        self.throttles.of(source).allowance_bytes()
    }

    /// Whether it matters which single blocks are asked for: some of what was fetched is unused, or what follows is known.
    pub fn is_curious(&self) -> bool {
        !self.ledger.is_empty() || (self.config.read_ahead_blocks_max > 0 && !self.edges.is_empty())
    }

    fn arrived(&mut self, arrival: Arrival, now: Now, effects: &mut Vec<PrefetchEffect>) {
        self.edges.learn(arrival.arena, &arrival.chain);
        if self.config.session {
            self.sessions.arrive(&arrival, now);
        }
        if self.config.arrival {
            let question = Question {
                source: Source::Arrival,
                arena: arrival.arena,
                blocks: arrival.chain,
                before: None,
                block_tokens: arrival.block_tokens,
                until: now.add_ms(ARRIVAL_WAIT_MS),
                asked: now,
            };
            self.ask(question, effects);
        }
    }

    fn ask(&mut self, mut question: Question, effects: &mut Vec<PrefetchEffect>) {
        question.blocks.truncate(QUESTION_BLOCKS_MAX);
        if question.blocks.is_empty() {
            return;
        }
        if self.questions.len() >= QUESTIONS_MAX {
            let tally = self.ledger.figures.by_source.of_mut(question.source);
            tally.held_back_blocks += crate::policy::count(question.blocks.len());
            return;
        }
        let ticket = self.ticket();
        effects.push(PrefetchEffect::Locate {
            ticket,
            arena: question.arena,
            blocks: question.blocks.clone(),
        });
        self.questions.insert(ticket, question);
    }

    fn located(&mut self, ticket: Ticket, held: &[Held], now: Now) {
        let Some(question) = self.questions.remove(&ticket) else {
            return;
        };
        // Behind a block that is nowhere, nothing can be used.
        let reached = question.blocks.iter().zip(held);
        let reached = reached.take_while(|(_, held)| **held != Held::Nowhere);
        let mut wanted = Vec::new();
        let (mut before, mut blocks) = (question.before, 0_u32);
        let mut first = None;
        for (address, held) in reached {
            if let Held::There { link, bytes } = *held {
                first.get_or_insert(blocks);
                wanted.push(Planned {
                    arena: question.arena,
                    wanted: Wanted {
                        address: *address,
                        parent: before,
                    },
                    link,
                    bytes,
                    until: question.until,
                });
            }
            before = Some(address.key);
            blocks = blocks.saturating_add(1);
        }
        wanted.retain(|planned| !self.ledger.watches(&planned.wanted.address.key));
        let is_worth_it = question.source == Source::ReadAhead
            || question.block_tokens == 0
            || self.loads_faster(&wanted, first.unwrap_or(0)..blocks, question.block_tokens);
        self.plan(question.source, wanted, is_worth_it, now);
    }

    /// Has blocks of one chain fetched, as far as that is worth it and allowed.
    fn plan(&mut self, source: Source, mut wanted: Vec<Planned>, is_worth_it: bool, now: Now) {
        let bytes_max = self.config.in_flight_bytes_max_of(source);
        let bytes_max = bytes_max.min(self.config.at_risk_bytes_max);
        // What can never be sent must not stand in the way of what can, and behind it nothing can be used.
        let reach = wanted.iter().position(|planned| planned.bytes > bytes_max);
        let reach = reach.unwrap_or(wanted.len());
        let tally = self.ledger.figures.by_source.of_mut(source);
        tally.held_back_blocks += crate::policy::count(wanted.len() - reach);
        wanted.truncate(reach);
        if !is_worth_it {
            let first = wanted.first().map(|planned| planned.link);
            let is_trial = first.is_some_and(|link| self.links.begin_trial(link, now));
            let kept = if is_trial { TRIAL_BLOCKS } else { 0 };
            tally.declined_blocks += crate::policy::count(wanted.len().saturating_sub(kept));
            wanted.truncate(kept);
        }
        if wanted.is_empty() {
            return;
        }
        let throttle = self.throttles.of_mut(source);
        match throttle.grant(now, &mut self.chance) {
            Grant::Bytes(_) => tally.held_back_blocks += self.queues.push(source, wanted),
            Grant::Probe => {
                let probed = usize::try_from(PROBE_BLOCKS).unwrap_or(usize::MAX);
                self.queues.probe(source, &wanted, probed);
                tally.held_back_blocks += crate::policy::count(wanted.len().saturating_sub(probed));
            }
            Grant::Closed => tally.held_back_blocks += crate::policy::count(wanted.len()),
        }
    }

    /// Whether fetching these takes less time than computing what they let be reused: the blocks of the range, among them
    /// some that are here but of no use without them.
    fn loads_faster(
        &self,
        wanted: &[Planned],
        range: std::ops::Range<u32>,
        block_tokens: u32,
    ) -> bool {
        let mut by_link: BTreeMap<LinkId, u64> = BTreeMap::new();
        for planned in wanted {
            *by_link.entry(planned.link).or_default() += planned.bytes;
        }
        let loads = by_link.into_iter();
        let load_us = loads
            .map(|(link, bytes)| self.links.load_us(link, bytes))
            .fold(0.0, f64::max);
        let count = range.end.saturating_sub(range.start);
        let before = u64::from(range.start) * u64::from(block_tokens);
        let tokens = count.saturating_mul(block_tokens);
        load_us < self.prefill.compute_us(tokens, before)
    }

    fn demanded(&mut self, demand: &Demand, now: Now, effects: &mut Vec<PrefetchEffect>) {
        let found = demand.found.iter().copied();
        let found = found.chain(std::iter::repeat(Held::Nowhere));
        for (block, found) in demand.blocks.iter().zip(found) {
            let judged = self.ledger.demand(&block.key, found);
            self.judge(judged, now);
        }
        if !self.queues.is_empty() {
            let keys: BTreeSet<BlockKey> = demand.blocks.iter().map(|block| block.key).collect();
            // The request fetches them itself now.
            self.queues.drop_demanded(&keys);
        }
        if !demand.is_whole {
            // A whole chain has taught when its request came.
            self.edges.learn(demand.arena, &demand.blocks);
        }
        let last = demand.blocks.last().filter(|_| !demand.is_whole);
        if let Some(last) = last
            && self.config.read_ahead_blocks_max > 0
        {
            let ahead = self.edges.ahead(demand.arena, last.key, self.reach);
            let question = Question {
                source: Source::ReadAhead,
                arena: demand.arena,
                before: Some(last.key),
                blocks: ahead,
                block_tokens: 0,
                until: now.add_ms(READ_AHEAD_WAIT_MS),
                asked: now,
            };
            let mut ahead = question.blocks.iter();
            if ahead.any(|block| !self.ledger.watches(&block.key)) {
                self.ask(question, effects);
            }
        }
    }

    fn landed(&mut self, ticket: Ticket, landings: &[Landing], elapsed_us: Option<u64>, now: Now) {
        let Some(flight) = self.flights.remove(&ticket) else {
            return;
        };
        let landings = landings.iter().copied();
        let landings = landings.chain(std::iter::repeat(Landing::Failed));
        let (mut sent, mut came) = (0, 0);
        let lapses = flight.until.max(now.add_ms(self.config.hold_ms));
        for ((key, bytes), landing) in flight.blocks.iter().zip(landings) {
            sent += bytes;
            came += if landing == Landing::Failed {
                0
            } else {
                *bytes
            };
            let judged = self.ledger.land(*key, landing, lapses);
            self.judge(judged, now);
        }
        self.links.done(flight.link, sent);
        if let Some(elapsed_us) = elapsed_us.filter(|_| came == sent && sent > 0) {
            self.links
                .measured(flight.link, flight.queued_bytes, elapsed_us, now);
        }
    }

    fn purged(&mut self, arena: ArenaId) {
        self.sessions.purge(arena);
        self.edges.purge(arena);
        self.queues.purge(arena);
        self.ledger.purge(arena);
        self.questions.retain(|_, question| question.arena != arena);
    }

    fn tick(&mut self, now: Now, effects: &mut Vec<PrefetchEffect>) {
        self.questions
            .retain(|_, question| now.since_ms(question.asked) < QUESTION_MS_MAX);
        let late = |(ticket, flight): (&Ticket, &Flight)| {
            (now.since_ms(flight.begun) >= FLIGHT_MS_MAX).then_some(*ticket)
        };
        let late: Vec<Ticket> = self.flights.iter().filter_map(late).collect();
        for ticket in late {
            self.landed(ticket, &[], None, now);
        }
        for _ in 0..SESSIONS_A_TICK {
            let Some(due) = self.sessions.due(now) else {
                break;
            };
            let question = Question {
                source: Source::Session,
                arena: due.arena,
                blocks: due.chain,
                before: None,
                block_tokens: due.block_tokens,
                until: due.until,
                asked: now,
            };
            self.ask(question, effects);
        }
    }

    fn judge(&mut self, judged: Option<Judged>, now: Now) {
        let Some(Judged { source, is_used }) = judged else {
            return;
        };
        self.throttles.of_mut(source).judge(is_used, now);
        if source == Source::ReadAhead {
            self.reach = if is_used {
                (self.reach + 1).min(self.config.read_ahead_blocks_max)
            } else {
                (self.reach / 2)
                    .max(1)
                    .min(self.config.read_ahead_blocks_max)
            };
        }
    }

    const fn ticket(&mut self) -> Ticket {
        self.next_ticket += 1;
        Ticket(self.next_ticket)
    }
}

#[cfg(test)]
mod tests;
