//! What the shards of this node told, on its way to the directory: one reporter a life of a shard, bounded, never in the
//! shard's way. It must never know how batches are agreed on.
//!
//! Sections of one life must reach the directory in their order, and a batch may be lost or agreed on twice. So each life
//! has one batch on its way at a time, kept until its outcome is known and sent again as it was if that stays unknown;
//! batches of different lives go side by side.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::Mutex;
use ultrakv_actors::clock::Now;
use ultrakv_actors::{BlockWatcher, BootId};
use ultrakv_cache::{BlockKey, Codec};

use super::message::LifeMark;
use super::meters;
use crate::NodeId;
use crate::directory::{
    Applied, BATCH_RECORDS_MAX, BatchBuilder, DirectoryKey, Dropped, Form, Life, Place,
    ReportOutcome, Reporter, Section, Tier,
};

/// Sections of one life in one batch.
const SECTIONS_MAX: usize = 4;
/// Corrections that wait; more are dropped, since the next reader finds the same.
const CORRECTIONS_MAX: usize = 4_096;
/// Corrections of one batch, so that reports have the most of it.
const CORRECTIONS_A_BATCH: usize = 256;
/// Time before a batch of unknown fate, or one that found no number for its life, is sent again.
const RETRY_MS: u64 = 250;
/// Time between two inventories of one shard: each costs the log as much as the shard holds.
const INVENTORY_MS: u64 = 1_000;
/// Changes under one lock, which a shard in its turn may wait for: some tens of microseconds.
const CUT_RECORDS: usize = 256;

/// Who is woken when there is something to tell.
pub(super) trait Wake: Send + Sync {
    /// Something waits; when it is enough for a batch, `full`.
    fn wake(&self, full: bool);
}

/// What this node's shards have to tell the directory. Give it to [`ultrakv_actors::NodePlan::watcher`].
pub struct BlockReports {
    shards: Box<[Mutex<Option<Feed>>]>,
    tier: Tier,
    waiting_max: usize,
    corrections: Mutex<BTreeMap<(BootId, Place), u64>>,
    waker: Mutex<Option<Box<dyn Wake>>>,
    /// Set from a first change until the actor cuts, so that it is woken once.
    woken: AtomicBool,
    full: AtomicBool,
}

/// One life of a shard.
struct Feed {
    boot: BootId,
    reporter: Reporter,
    /// Whether the directory is known to know this life.
    opened: bool,
    /// What is on its way, or is to be sent again.
    outstanding: Option<Outstanding>,
    listing: Option<Listing>,
    inventories: u64,
    inventory_after: Now,
    dropped: Dropped,
}

struct Outstanding {
    sections: Vec<Section>,
    /// When to send again; none while the outcome is awaited.
    retry_at: Option<Now>,
}

/// How far an inventory is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Listing {
    /// Which inventory of this life: a page of an earlier one is nothing to it.
    number: u64,
    from: u32,
    /// A page was asked for and has not come.
    asked: bool,
}

/// A batch, and whose sections it has: as many times as the answer will name each.
#[derive(Debug)]
pub(super) struct Batch {
    pub(super) bytes: Vec<u8>,
    pub(super) lives: Vec<BootId>,
}

/// A page of an inventory to be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct PageAsk {
    pub(super) shard: usize,
    number: u64,
    pub(super) from: u32,
    pub(super) blocks_max: u32,
}

impl BlockReports {
    /// For a node of so many shards, whose blocks are in this tier; each shard may have `waiting_max` changes waiting.
    #[must_use]
    pub fn new(shards: usize, tier: Tier, waiting_max: usize) -> Self {
        Self {
            shards: (0..shards).map(|_| Mutex::new(None)).collect(),
            tier,
            waiting_max,
            corrections: Mutex::default(),
            waker: Mutex::new(None),
            woken: AtomicBool::new(false),
            full: AtomicBool::new(false),
        }
    }

    /// Whether a life is the present one of a shard here.
    #[must_use]
    pub fn is_present(&self, boot: BootId) -> bool {
        let mut feeds = self.shards.iter();
        feeds.any(|feed| feed.lock().as_ref().is_some_and(|feed| feed.boot == boot))
    }

    /// Changes that wait to be told.
    #[must_use]
    pub fn waiting(&self) -> usize {
        let waiting = |feed: &Mutex<Option<Feed>>| {
            feed.lock()
                .as_ref()
                .map_or(0, |feed| feed.reporter.waiting())
        };
        self.shards.iter().map(waiting).sum()
    }

    /// The present lives and the last reports that they cut. Whoever asks a shard *after* this and finds a block absent may
    /// correct the directory with it: a block that appeared since is in a later report.
    pub(super) fn marks(&self) -> Vec<LifeMark> {
        let feeds = self.shards.iter().filter_map(|feed| {
            feed.lock().as_ref().map(|feed| LifeMark {
                boot: feed.boot,
                sequence: feed.reporter.sequence(),
            })
        });
        feeds.collect()
    }

    /// A holder has a block no more that the directory lists.
    pub(super) fn correct(&self, boot: BootId, sequence: u64, place: Place) {
        let mut corrections = self.corrections.lock();
        if corrections.len() < CORRECTIONS_MAX || corrections.contains_key(&(boot, place)) {
            let known = corrections.entry((boot, place)).or_insert(sequence);
            *known = sequence.max(*known);
        }
        drop(corrections);
        meters::count(meters::CORRECTIONS, 1);
        self.wake(false);
    }

    /// Who is woken from now on. What waits already is told at once.
    pub(super) fn attach(&self, waker: Box<dyn Wake>) {
        *self.waker.lock() = Some(waker);
        self.woken.store(false, Ordering::SeqCst);
        self.full.store(false, Ordering::SeqCst);
        self.wake(false);
    }

    /// The form of a block of this node with this codec.
    fn form(&self, codec: Codec) -> Form {
        Form::new(self.tier, codec.code())
            .unwrap_or_else(|| unreachable!("codecs have numbers below 16"))
    }

    fn wake(&self, full: bool) {
        let first = !self.woken.swap(true, Ordering::SeqCst);
        let first_full = full && !self.full.swap(true, Ordering::SeqCst);
        if (first || first_full)
            && let Some(waker) = &*self.waker.lock()
        {
            waker.wake(full);
        }
    }

    fn with(&self, shard: usize, change: impl FnOnce(&mut Feed)) {
        let Some(slot) = self.shards.get(shard) else {
            return;
        };
        let mut slot = slot.lock();
        let Some(feed) = &mut *slot else {
            return;
        };
        change(feed);
        let is_full = feed.reporter.waiting() >= BATCH_RECORDS_MAX;
        let dropped = feed.reporter.dropped();
        let more = dropped.adds + dropped.removals - feed.dropped.adds - feed.dropped.removals;
        feed.dropped = dropped;
        drop(slot);
        meters::count(meters::REPORTS_DROPPED, more);
        self.wake(is_full);
    }
}

/// The actor's side.
impl BlockReports {
    /// A new life of the actor: nobody hears of batches that the last one sent, so they are sent again.
    pub(super) fn resume(&self, now: Now) {
        for feed in &self.shards {
            if let Some(feed) = &mut *feed.lock() {
                if let Some(outstanding) = &mut feed.outstanding {
                    outstanding.retry_at = Some(now);
                }
                if let Some(listing) = &mut feed.listing {
                    listing.asked = false;
                }
            }
        }
    }

    /// The actor is about to cut: what comes from here on wakes it again.
    pub(super) fn rearm(&self) {
        self.woken.store(false, Ordering::SeqCst);
        self.full.store(false, Ordering::SeqCst);
    }

    /// The next batch, of every life that has none on its way; `None` when there is nothing to tell. `turn` makes another
    /// shard the first each time.
    pub(super) fn cut(&self, node: NodeId, turn: usize, now: Now) -> Option<Batch> {
        let mut batch = BatchBuilder::new();
        let mut lives = Vec::new();
        let count = self.shards.len();
        for offset in 0..count {
            let shard = (turn + offset) % count;
            let Some(slot) = self.shards.get(shard) else {
                continue;
            };
            let Some(life) = u16::try_from(shard).ok() else {
                continue;
            };
            Self::cut_one(slot, node, life, now, (&mut batch, &mut lives));
        }
        let mut corrections = self.corrections.lock();
        for _ in 0..CORRECTIONS_A_BATCH {
            if batch.room() == 0 {
                break;
            }
            let Some(((boot, place), sequence)) = corrections.pop_first() else {
                break;
            };
            batch.push(&Section::Correction {
                boot,
                sequence,
                place,
            });
        }
        drop(corrections);
        (!batch.is_empty()).then(|| Batch {
            bytes: batch.finish(),
            lives,
        })
    }

    fn cut_one(
        slot: &Mutex<Option<Feed>>,
        node: NodeId,
        shard: u16,
        now: Now,
        (batch, lives): (&mut BatchBuilder, &mut Vec<BootId>),
    ) {
        let mut slot = slot.lock();
        let Some(feed) = &mut *slot else {
            return;
        };
        let boot = feed.boot;
        if let Some(outstanding) = &mut feed.outstanding {
            let records: usize = outstanding.sections.iter().map(Section::records).sum();
            if outstanding.retry_at.is_none_or(|at| now < at) || records > batch.room() {
                return;
            }
            outstanding.retry_at = None;
            for section in &outstanding.sections {
                batch.push(section);
                lives.push(boot);
            }
            return;
        }
        let mut sections = Vec::new();
        if !feed.opened {
            sections.push(Section::Open(Life { node, shard, boot }));
        }
        if feed.reporter.inventory_due() && feed.listing.is_none() && feed.inventory_after <= now {
            feed.reporter.begin_inventory();
            feed.inventory_after = now.add_ms(INVENTORY_MS);
            feed.inventories += 1;
            feed.listing = Some(Listing {
                number: feed.inventories,
                from: 0,
                asked: false,
            });
            meters::count(meters::INVENTORIES, 1);
        }
        let mut room = batch
            .room()
            .saturating_sub(sections.iter().map(Section::records).sum());
        if batch.room() == 0 {
            return;
        }
        while sections.len() < SECTIONS_MAX
            && let Some(section) = feed.reporter.cut(room.min(CUT_RECORDS))
        {
            room -= section.records();
            sections.push(section);
        }
        if sections.is_empty() {
            return;
        }
        for section in &sections {
            batch.push(section);
            lives.push(boot);
        }
        feed.outstanding = Some(Outstanding {
            sections,
            retry_at: None,
        });
    }

    /// What a batch did, or that nobody knows.
    pub(super) fn settle(&self, lives: &[BootId], applied: Option<&Applied>, now: Now) {
        let mut outcomes: BTreeMap<BootId, Vec<ReportOutcome>> = BTreeMap::new();
        for boot in lives {
            outcomes.entry(*boot).or_default();
        }
        if let Some(applied) = applied {
            for (boot, outcome) in &applied.outcomes {
                outcomes.entry(*boot).or_default().push(*outcome);
            }
        }
        for slot in &self.shards {
            if let Some(feed) = &mut *slot.lock()
                && let Some(outcomes) = outcomes.get(&feed.boot)
            {
                feed.settle(outcomes, now);
            }
        }
    }

    /// Pages of inventories to be asked for now.
    pub(super) fn pages(&self) -> Vec<PageAsk> {
        let mut asks = Vec::new();
        for (shard, slot) in self.shards.iter().enumerate() {
            let mut slot = slot.lock();
            let Some(feed) = &mut *slot else {
                continue;
            };
            // Half of what is free, so that the shard's own changes find room meanwhile.
            let room = feed.reporter.room().div_ceil(2);
            let Some(listing) = &mut feed.listing else {
                continue;
            };
            if listing.asked || room == 0 {
                continue;
            }
            listing.asked = true;
            asks.push(PageAsk {
                shard,
                number: listing.number,
                from: listing.from,
                blocks_max: u32::try_from(room.min(CUT_RECORDS)).unwrap_or(1),
            });
        }
        asks
    }

    /// A page was told, up to `next`; or the shard gave no answer, and is to be asked again.
    pub(super) fn paged(&self, ask: PageAsk, told: Option<(BootId, Option<u32>)>) {
        let Some(slot) = self.shards.get(ask.shard) else {
            return;
        };
        let mut slot = slot.lock();
        let Some(feed) = &mut *slot else {
            return;
        };
        let Some(listing) = &mut feed.listing else {
            return;
        };
        if listing.number != ask.number {
            return;
        }
        listing.asked = false;
        match told {
            // Another life: its own feed began empty, and this one's page is nothing to it.
            Some((boot, _)) if boot != feed.boot => {}
            Some((_, Some(next))) => listing.from = next,
            Some((_, None)) => {
                feed.listing = None;
                feed.reporter.end_inventory();
            }
            None => {}
        }
    }

    /// Whether something waits that no batch on its way has; and whether it fills one.
    pub(super) fn has_more(&self) -> (bool, bool) {
        let (mut any, mut full) = (!self.corrections.lock().is_empty(), false);
        for slot in &self.shards {
            if let Some(feed) = &*slot.lock()
                && feed.outstanding.is_none()
            {
                let waiting = feed.reporter.waiting();
                any |= waiting > 0 || !feed.opened || feed.listing.is_some();
                full |= waiting >= CUT_RECORDS;
            }
        }
        (any, full)
    }
}

impl Feed {
    fn settle(&mut self, outcomes: &[ReportOutcome], now: Now) {
        let Some(outstanding) = &mut self.outstanding else {
            return;
        };
        let later = Some(now.add_ms(RETRY_MS));
        let is_known = outcomes.len() == outstanding.sections.len();
        if !is_known || outcomes.contains(&ReportOutcome::LivesFull) {
            // As it was: what was applied already is old then, and changes nothing.
            outstanding.retry_at = later;
            return;
        }
        self.outstanding = None;
        let is_lost = |outcome: &ReportOutcome| {
            matches!(outcome, ReportOutcome::Gap { .. } | ReportOutcome::Unknown)
        };
        self.opened = !outcomes.contains(&ReportOutcome::Unknown);
        if outcomes.iter().any(is_lost) {
            // An inventory under way lost a part of itself, so it begins again.
            self.listing = None;
            self.reporter.require_inventory();
        }
    }
}

impl BlockWatcher for BlockReports {
    fn began(&self, shard: usize, life: BootId) {
        if let Some(slot) = self.shards.get(shard) {
            *slot.lock() = Some(Feed {
                boot: life,
                reporter: Reporter::new(life, self.waiting_max),
                opened: false,
                outstanding: None,
                listing: None,
                inventories: 0,
                inventory_after: Now::default(),
                dropped: Dropped::default(),
            });
        }
        self.wake(false);
    }

    fn appeared(&self, shard: usize, key: &BlockKey, run: &BlockKey, codec: Codec) {
        let place = Place {
            slot: run.slot(),
            key: DirectoryKey::of(key),
        };
        let form = self.form(codec);
        self.with(shard, |feed| feed.reporter.add(place, form, None, true));
    }

    fn vanished(&self, shard: usize, key: &BlockKey, slot: u16) {
        let key = DirectoryKey::of(key);
        self.with(shard, |feed| feed.reporter.remove(Place { slot, key }));
    }

    fn listed(&self, shard: usize, key: &BlockKey, slot: u16, codec: Codec) {
        let key = DirectoryKey::of(key);
        let form = self.form(codec);
        self.with(shard, |feed| {
            feed.reporter.add(Place { slot, key }, form, None, false);
        });
    }
}

impl fmt::Debug for BlockReports {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BlockReports")
            .field("shards", &self.shards.len())
            .finish_non_exhaustive()
    }
}
