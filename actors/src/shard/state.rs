//! One life of a shard: its state machine, its arenas, and how effects are carried out.
//!
//! Everything here happens between two messages, so no lock is held and nothing waits. It must
//! never touch a payload.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use tokio::sync::{OwnedMutexGuard, watch};
use ultrakv_cache::{
    ArenaId, BlockKey, Budget, Effect, Event, Extents, Lent, ListPage, PageRange, Shard,
    ShardConfig, Term, Ticket,
};

use super::arenas::Arenas;
use super::budget::less_residue;
use super::lease::{LentBlock, Loan};
use super::message::{BlockPage, ShardMsg};
use super::meters::Meters;
use super::port::{Life, ShardPort};
use super::report::{PolicyReport, ShardReport};
use crate::BlockWatcher;
use crate::device::{Claim, Pages, Region, TierError};
use crate::eviction::EvictionPort;
use crate::guest::{GuestFactory, GuestWorld, ShardGuest};
use crate::prefetch::PrefetchPort;

/// How often a restless guest is ticked: what it waits for are answers of other nodes, some hundred microseconds away, and it
/// repeats what was lost no sooner than after twice this.
const GUEST_TICK: Duration = Duration::from_millis(10);

/// What every life of a shard is given; outlives them all.
#[derive(Clone)]
pub(crate) struct ShardLink {
    pub(crate) port: Arc<ShardPort>,
    pub(crate) arenas: Arc<Arenas>,
    pub(crate) eviction: Arc<EvictionPort>,
    pub(crate) prefetch: Arc<PrefetchPort>,
    pub(crate) watcher: Option<Arc<dyn BlockWatcher>>,
    /// Who makes guests, once they are admitted.
    pub(crate) guests: Arc<OnceLock<Arc<dyn GuestFactory>>>,
}

/// One life of a shard.
pub(crate) struct ShardState {
    pub(super) link: ShardLink,
    pub(super) life: Arc<Life>,
    pub(super) shard: Shard,
    /// The limits that hold: the plan's, less what readers hold of earlier lives.
    pub(super) budget: Budget,
    pub(super) meters: Meters,
    /// The eviction actor is looking at this shard: it need not be told of pressure. Were it told, a shard in which nothing
    /// can go would have it come back at once, for ever.
    pub(super) has_turn: bool,
    /// A tick is on its way to the guest.
    pub(super) is_ticking: bool,
    guest: Option<Box<dyn ShardGuest>>,
    regions: BTreeMap<ArenaId, Arc<Region>>,
    effects: Vec<Effect>,
    last_ticket: u64,
    // Dropped after the regions are retired, in this order: callers learn of the end, and the next
    // life may begin.
    _end: watch::Sender<()>,
    _memory: OwnedMutexGuard<()>,
}

impl ShardState {
    pub(super) fn new(
        link: ShardLink,
        life: Arc<Life>,
        end: watch::Sender<()>,
        memory: OwnedMutexGuard<()>,
    ) -> Self {
        let plan = link.port.plan.config;
        let budget = less_residue(plan.budget, link.port.residue_bytes());
        if let Some(watcher) = &link.watcher {
            watcher.began(link.port.index, life.boot_id);
        }
        let meters = Meters::new(link.port.index, link.port.device.tier());
        Self {
            life,
            // An arena keeps its full size, since the budget grows back as old readers leave.
            shard: Shard::new(ShardConfig { budget, ..plan }),
            budget,
            meters,
            has_turn: false,
            is_ticking: false,
            guest: None,
            regions: BTreeMap::new(),
            effects: Vec::new(),
            last_ticket: 0,
            link,
            _end: end,
            _memory: memory,
        }
    }

    /// Feeds an event that is answered; carries out all effects and gives the answer.
    ///
    /// # Panics
    /// When the state machine gives no answer, against its contract: the supervisor restarts the
    /// shard, and the caller is told that it stopped.
    pub(super) fn ask(&mut self, event: impl FnOnce(Ticket) -> Event) -> Effect {
        self.last_ticket += 1;
        let answer = self.feed(event(Ticket(self.last_ticket)));
        answer.unwrap_or_else(|| unreachable!("a question to the shard was not answered"))
    }

    /// Feeds an event; carries out its effects and gives the one that is an answer.
    pub(super) fn feed(&mut self, event: Event) -> Option<Effect> {
        let now = self.link.port.clock.now();
        let mut effects = std::mem::take(&mut self.effects);
        self.shard.handle(event, now, &mut effects);
        self.carry_out(effects)
    }

    /// Gives the guest a turn; one that is not there yet begins, if guests are admitted.
    pub(super) fn visit(&mut self, turn: impl FnOnce(&mut dyn ShardGuest, &mut GuestWorld<'_>)) {
        let (shard, life) = (self.link.port.index, self.life.boot_id);
        if self.guest.is_none() {
            let factory = self.link.guests.get();
            self.guest = factory.map(|factory| factory.begin(shard, life));
        }
        let Some(guest) = &mut self.guest else {
            return;
        };
        let mut effects = std::mem::take(&mut self.effects);
        let mut world = GuestWorld {
            now: self.link.port.clock.now(),
            shard,
            life,
            entries: self.shard.entries(&mut effects),
        };
        turn(&mut **guest, &mut world);
        if guest.is_restless() && !self.is_ticking {
            self.is_ticking = true;
            self.life.send_after(GUEST_TICK, || ShardMsg::GuestTick);
        }
        self.carry_out(effects);
    }

    /// Carries effects out, in order, and gives the one that is an answer.
    fn carry_out(&mut self, mut effects: Vec<Effect>) -> Option<Effect> {
        let mut answer = None;
        for effect in effects.drain(..) {
            match effect {
                Effect::Discard { arena, pages } => self.discard(arena, pages),
                Effect::ArenaClosed { arena } => self.close(arena),
                Effect::Pressure { .. } => self.press(),
                Effect::Appeared { key, run, codec } => {
                    if let Some(watcher) = &self.link.watcher {
                        watcher.appeared(self.link.port.index, &key, &run, codec);
                    }
                }
                Effect::Vanished { key, slot } => {
                    self.link.prefetch.vanished(&key);
                    if let Some(watcher) = &self.link.watcher {
                        watcher.vanished(self.link.port.index, &key, slot);
                    }
                }
                Effect::Matched { .. }
                | Effect::Lent { .. }
                | Effect::Reserved { .. }
                | Effect::Stored { .. }
                | Effect::Known { .. }
                | Effect::NotAdmitted { .. }
                | Effect::Refused { .. }
                | Effect::Pinned { .. }
                | Effect::Removed { .. }
                | Effect::Purged { .. }
                | Effect::Evicted { .. }
                | Effect::Listed { .. }
                | Effect::Resized { .. } => answer = Some(effect),
            }
        }
        self.effects = effects;
        answer
    }

    fn discard(&self, arena: ArenaId, pages: PageRange) {
        let Some(region) = self.regions.get(&arena) else {
            return;
        };
        if let Err(error) = region.discard(pages.first..pages.end()) {
            self.link
                .port
                .tier_failed("pages were not given back", &error);
        }
    }

    fn close(&mut self, arena: ArenaId) {
        if let Some(region) = self.regions.remove(&arena) {
            self.link.port.retire(&region);
        }
    }

    /// Tells the eviction actor, once until it has looked.
    fn press(&self) {
        let port = &self.link.port;
        if !self.has_turn && !port.pressed.swap(true, Ordering::SeqCst) {
            self.link.eviction.pressure(port.index);
        }
    }

    /// The region of an arena that has blocks.
    ///
    /// # Panics
    /// When it was never opened: the state machine lends what was not reserved.
    fn region(&self, arena: ArenaId) -> &Arc<Region> {
        let region = self.regions.get(&arena);
        region.unwrap_or_else(|| unreachable!("{arena:?} was never opened"))
    }

    /// The region of an arena, opened if need be.
    pub(super) fn open(&mut self, arena: ArenaId) -> Result<Arc<Region>, TierError> {
        if let Some(region) = self.regions.get(&arena) {
            return Ok(Arc::clone(region));
        }
        let port = &self.link.port;
        let label = format!("shard-{}-arena-{}", port.index, arena.0);
        let config = &port.plan.config;
        let memory = port.device.open(&label, config.arena_bytes)?;
        let region = Arc::new(Region::new(memory, config.page_bytes));
        self.regions.insert(arena, Arc::clone(&region));
        Ok(region)
    }

    /// Hands a lent block out, or takes it back when it is not the reader's.
    pub(super) fn lend(&self, lent: Lent, reader: ArenaId) -> Option<LentBlock> {
        if lent.arena != reader {
            self.life.release(lent.lease);
            return None;
        }
        let claim = Claim::read(self.region(lent.arena), pages(&lent.extents));
        let loan = Loan::new(lent.lease, Arc::clone(&self.life), claim);
        Some(LentBlock::new(lent.header, lent.ttl_ms, loan))
    }

    /// Tells the watcher of blocks from a number on, within this turn: nothing that it is told later can come before.
    pub(super) fn tell(&mut self, from: u32, blocks_max: u32) -> BlockPage {
        let page = self.list(from, blocks_max);
        if let Some(watcher) = &self.link.watcher {
            for block in &page.blocks {
                watcher.listed(self.link.port.index, &block.key, block.slot, block.codec);
            }
        }
        page
    }

    /// Blocks from a number on.
    ///
    /// # Panics
    /// As [`ShardState::ask`].
    pub(super) fn list(&mut self, from: u32, blocks_max: u32) -> BlockPage {
        let effect = self.ask(|ticket| Event::List {
            ticket,
            page: ListPage { from, blocks_max },
        });
        let Effect::Listed { blocks, next, .. } = effect else {
            unreachable!("{effect:?} is no list of blocks")
        };
        BlockPage {
            life: self.life.boot_id,
            blocks,
            next,
        }
    }

    /// Leases blocks of an arena until a time is over, whatever becomes of who asked; tells which there are.
    pub(super) fn lease(&mut self, arena: ArenaId, keys: Vec<BlockKey>, ms: u32) -> Vec<bool> {
        let effect = self.ask(|ticket| Event::Get {
            ticket,
            keys,
            leading_only: false,
            // Nobody touches the pages through such a lease, so time may end it.
            term: Term::Timed { ms },
        });
        let Effect::Lent { blocks, .. } = effect else {
            unreachable!("{effect:?} is no loan of blocks")
        };
        let mut held = Vec::with_capacity(blocks.len());
        for lent in blocks {
            let is_theirs = lent.as_ref().is_some_and(|lent| lent.arena == arena);
            if let Some(lent) = lent.filter(|_| !is_theirs) {
                self.feed(Event::Release { lease: lent.lease });
            }
            held.push(is_theirs);
        }
        held
    }

    pub(super) fn report(&self) -> ShardReport {
        let port = &self.link.port;
        let memory = self.regions.values().map(|region| region.resident_bytes());
        ShardReport {
            shard: port.index,
            tier: port.device.tier(),
            boot_id: self.life.boot_id,
            budget: self.budget,
            stats: self.shard.stats(),
            memory_bytes: memory.map(Result::unwrap_or_default).sum(),
            claimed_bytes: self
                .regions
                .values()
                .map(|region| region.claimed_bytes())
                .sum(),
            permits_used: port.gate.used(),
        }
    }
}

impl ShardState {
    /// What the policy does, and so many at most of the blocks that would go next.
    pub(super) fn policy(&self, next_max: usize) -> PolicyReport {
        PolicyReport {
            report: self.report(),
            policy: self.link.port.plan.config.policy,
            figures: self.shard.policy_figures(),
            next: self.shard.outlook(next_max),
        }
    }
}

impl Drop for ShardState {
    /// However this life ends, its guest hears no more, and its pages go, save those that are being read.
    fn drop(&mut self) {
        self.life.close_inbox();
        for region in std::mem::take(&mut self.regions).into_values() {
            self.link.port.retire(&region);
        }
    }
}

/// The cache's extents as claims count them.
pub(super) fn pages(extents: &Extents) -> Pages {
    let ranges = extents.as_slice().iter();
    ranges.map(|range| range.first..range.end()).collect()
}
