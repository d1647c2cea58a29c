//! The actor: words in, the cache's prefetcher, questions and fetches out. Each of its lives begins with a prefetcher that
//! has seen nothing; fetches of a life before it land as copies that nobody counts.
//!
//! It must never wait for anything once it runs: what takes time is a task beside it, bounded by the port's permits and by a
//! deadline.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use ractor::{Actor, ActorProcessingErr, ActorRef};
use ultrakv_cache::prefetch::{Held, Landing, PrefetchEffect, PrefetchEvent, Prefetcher, Wanted};
use ultrakv_cache::{ArenaId, BlockAddress, Ticket};

use super::handle::{PrefetchPort, WordPermit};
use super::meters::PrefetchMeters;
use super::report::PrefetchReport;
use super::sink::Whereabouts;
use crate::Domain;
use crate::clock::Clock;
use crate::plan::PrefetchPlan;

/// Time between looks at the clock: conversations fall due by it, and figures are published.
const TICK: Duration = Duration::from_millis(250);

/// Time for a fetch; the prefetcher gives up some time later.
const FETCH_WITHIN: Duration = Duration::from_secs(10);

/// Domains remembered; the oldest arena gives way.
const DOMAINS_MAX: usize = 4_096;

/// What the prefetch actor is told.
pub(crate) enum PrefetchMsg {
    /// Something happened, in this domain.
    Word {
        domain: Option<Domain>,
        event: PrefetchEvent,
        permit: WordPermit,
    },
    /// Blocks went; they are in the port. At most one until it was looked at.
    Gone,
    /// What the prefetcher asked is answered; blocks of this domain turned out to take so much.
    Answer(PrefetchEvent, Option<(ArenaId, u64)>),
    /// Time has passed.
    Tick,
    /// Panic, in the middle of handling a message.
    #[cfg(any(test, feature = "chaos"))]
    Panic,
}

impl ractor::Message for PrefetchMsg {}

/// The actor, with what all its lives are given.
#[derive(Clone)]
pub(crate) struct PrefetchActor {
    pub(crate) port: Arc<PrefetchPort>,
    pub(crate) clock: Clock,
    pub(crate) plan: PrefetchPlan,
}

/// One life.
pub(crate) struct PrefetchState {
    prefetcher: Prefetcher,
    domains: BTreeMap<ArenaId, Domain>,
    /// What a block of each domain took when one last came.
    block_bytes: BTreeMap<ArenaId, u64>,
    effects: Vec<PrefetchEffect>,
    meters: PrefetchMeters,
}

impl Actor for PrefetchActor {
    type Msg = PrefetchMsg;
    type State = PrefetchState;
    type Arguments = ();

    async fn pre_start(
        &self,
        myself: ActorRef<PrefetchMsg>,
        (): (),
    ) -> Result<PrefetchState, ActorProcessingErr> {
        self.port.begin(myself.clone());
        // What went before this life is nothing to it.
        drop(self.port.take_gone());
        myself.send_after(TICK, || PrefetchMsg::Tick);
        Ok(PrefetchState {
            prefetcher: Prefetcher::new(self.plan.config),
            domains: BTreeMap::new(),
            block_bytes: BTreeMap::new(),
            effects: Vec::new(),
            meters: PrefetchMeters::new(),
        })
    }

    async fn handle(
        &self,
        myself: ActorRef<PrefetchMsg>,
        message: PrefetchMsg,
        state: &mut PrefetchState,
    ) -> Result<(), ActorProcessingErr> {
        match message {
            PrefetchMsg::Word {
                domain,
                event,
                permit,
            } => {
                state.know(domain, &event);
                self.feed(&myself, state, event);
                drop(permit);
            }
            PrefetchMsg::Gone => {
                for key in self.port.take_gone() {
                    let bytes = self.plan.block_bytes;
                    self.feed(&myself, state, PrefetchEvent::Evicted { key, bytes });
                }
            }
            PrefetchMsg::Answer(event, took) => {
                // Of domains that are gone meanwhile nothing is remembered.
                let took = took.filter(|(arena, _)| state.domains.contains_key(arena));
                state.block_bytes.extend(took);
                self.feed(&myself, state, event);
            }
            PrefetchMsg::Tick => {
                self.feed(&myself, state, PrefetchEvent::Tick);
                self.publish(state);
                myself.send_after(TICK, || PrefetchMsg::Tick);
            }
            #[cfg(any(test, feature = "chaos"))]
            #[expect(clippy::panic, reason = "the message orders it")]
            PrefetchMsg::Panic => panic!("told to panic"),
        }
        Ok(())
    }
}

impl PrefetchState {
    /// Remembers whose blocks an event is about.
    fn know(&mut self, domain: Option<Domain>, event: &PrefetchEvent) {
        if let PrefetchEvent::Purged { arena } = event {
            self.domains.remove(arena);
            self.block_bytes.remove(arena);
        }
        if let Some(domain) = domain {
            self.domains.insert(domain.arena, domain);
            if self.domains.len() > DOMAINS_MAX {
                self.domains.pop_first();
                self.block_bytes
                    .retain(|arena, _| self.domains.contains_key(arena));
            }
        }
    }
}

impl PrefetchActor {
    fn feed(
        &self,
        myself: &ActorRef<PrefetchMsg>,
        state: &mut PrefetchState,
        event: PrefetchEvent,
    ) {
        let now = self.clock.now();
        let mut effects = std::mem::take(&mut state.effects);
        state.prefetcher.handle(event, now, &mut effects);
        for effect in effects.drain(..) {
            match effect {
                PrefetchEffect::Locate {
                    ticket,
                    arena,
                    blocks,
                } => self.locate(myself, state, (ticket, arena), &blocks),
                PrefetchEffect::Fetch {
                    ticket,
                    arena,
                    blocks,
                    ..
                } => self.fetch(myself, state, (ticket, arena), blocks),
            }
        }
        state.effects = effects;
        let is_curious = state.prefetcher.is_curious();
        self.port.is_curious.store(is_curious, Ordering::Relaxed);
    }

    /// Finds out where blocks are. The sink's memory of this node may be some milliseconds old: what it is wrong about is
    /// found out when it is fetched, or asked for.
    fn locate(
        &self,
        myself: &ActorRef<PrefetchMsg>,
        state: &PrefetchState,
        (ticket, arena): (Ticket, ArenaId),
        blocks: &[BlockAddress],
    ) {
        let bytes = state.block_bytes.get(&arena).copied();
        let bytes = bytes.unwrap_or(self.plan.block_bytes);
        let places = self.port.sink.get().map(|sink| sink.locate(blocks));
        let places = places.unwrap_or_default().into_iter();
        let held = places.map(|place| match place {
            Whereabouts::Here => Held::Here,
            Whereabouts::There(link) => Held::There { link, bytes },
            Whereabouts::Nowhere => Held::Nowhere,
        });
        let held = held.collect();
        answer(myself, PrefetchEvent::Located { ticket, held }, None);
    }

    fn fetch(
        &self,
        myself: &ActorRef<PrefetchMsg>,
        state: &PrefetchState,
        (ticket, arena): (Ticket, ArenaId),
        blocks: Vec<Wanted>,
    ) {
        let sink = self.port.sink.get().map(Arc::clone);
        let permit = Arc::clone(&self.port.fetches).try_acquire_owned().ok();
        let domain = state.domains.get(&arena).copied();
        let (Some(sink), Some(permit), Some(domain)) = (sink, permit, domain) else {
            let landed = PrefetchEvent::Landed {
                ticket,
                landings: Vec::new(),
                elapsed_us: 0,
            };
            return answer(myself, landed, None);
        };
        let (clock, actor) = (self.clock.clone(), myself.clone());
        let deadline = clock.deadline(FETCH_WITHIN);
        // Bounded by the permit and by its deadline.
        tokio::spawn(async move {
            let watch = clock.stopwatch();
            let landings = sink.fetch(domain, blocks, deadline).await;
            let elapsed_us = u64::try_from(watch.elapsed().as_micros()).unwrap_or(u64::MAX);
            drop(permit);
            let took = landings.iter().find_map(|landing| match landing {
                Landing::Stored { bytes } => Some((arena, *bytes)),
                Landing::Known | Landing::Failed => None,
            });
            let landed = PrefetchEvent::Landed {
                ticket,
                landings,
                elapsed_us,
            };
            answer(&actor, landed, took);
        });
    }

    fn publish(&self, state: &mut PrefetchState) {
        let unheard = self.port.unheard.load(Ordering::Relaxed);
        let report = PrefetchReport::of(&state.prefetcher, unheard);
        self.port.report.send_replace(report);
        state.meters.publish(report);
    }
}

/// Answers through the mailbox, in its turn. A life that ended hears nothing any more.
fn answer(actor: &ActorRef<PrefetchMsg>, event: PrefetchEvent, took: Option<(ArenaId, u64)>) {
    let _ = actor.send_message(PrefetchMsg::Answer(event, took));
}
