//! Responsible for the adaptive policy, "prefix Gittins": each block is kept for the cost it is expected to save for each
//! byte and request from now on. It must never know keys' owners, pages or clocks.
//!
//! # Source
//! Ours, from parts that are others': see `curve` for the index and the estimates, Jaleel-like sampling of candidates from
//! Psounis, Prabhakar, "A randomized web-cache replacement scheme", 2001, and Waldspurger, Saemundsson, Ahmad, Park, "Cache
//! modeling and optimization using miniature simulations", ATC 2017.
//!
//! # How
//! 1. A block's *class* is what is cheap to know of it: how often it was used, how deep it lies, how many children it ever
//!    had, which visit to its path stored it.
//! 2. For each class, lives are counted by their length in requests: from a use to the next, or until they are lost from
//!    sight. Blocks that are gone are watched on as ghosts, so what is evicted does not bias what is learned.
//! 3. The *index* of a class at an age is the best ratio of the chance of a use to the time waited for it.
//!    Where a client said when it will use a block, the greater of this and of what `hints` makes of that.
//! 4. Score = index × cost of computing the block again ÷ bytes it takes as it is stored.
//! 5. A victim is the lowest score among some leaves drawn by chance and the newest; of equal ones the deepest. A newcomer
//!    whose score is lower still is not stored at all.
#![expect(
    clippy::indexing_slicing,
    reason = "every id is reached when it is admitted; lists of leaves are two"
)]

use std::fmt;

use crate::forest::{BlockId, Forest};
use crate::policy::adaptive::curve::{ClassSeen, Curves};
use crate::policy::adaptive::hints::Hints;
use crate::policy::adaptive::leaves::Leaves;
use crate::policy::adaptive::pool::{Candidate, Pool};
use crate::policy::adaptive::record::{
    CLASSES, EXPECTED, LAST, LEAF, Life, NOWHERE, POOLED, PRESENT, Record, SUSPENDED,
};
use crate::policy::chance::Chance;
use crate::policy::explain::LOOK_MAX;
use crate::policy::ghosts::{Ghosts, hash_of};
use crate::policy::price::as_f32;
use crate::policy::{
    ClassFigures, Explanation, Facts, Figures, Newcomer, Policy, Rank, Recipe, Setup, as_f64, count,
};
use crate::slab::Slab;
use crate::time::Now;

mod curve;
mod hints;
mod leaves;
mod pool;
mod record;

pub(super) static RECIPE: Recipe = Recipe {
    name: "adaptive",
    summary: "Least expected saving for each byte first, learned from the traffic.",
    source: "prefix Gittins: ours, after Gittins 1979, LHD 2018 and miniature simulations 2017",
    make: |setup| Box::new(Adaptive::new(setup)),
};

/// Leaves drawn for one victim, beside those that earlier draws left.
const DRAWN: u32 = 16;

/// Leaves drawn at a time.
const BATCH: usize = 8;

/// Leaves drawn when none are left.
const DRAWN_FIRST: u32 = 64;

/// Ghosts kept for each block present.
const GHOSTS_A_BLOCK: usize = 5;

/// Ghosts kept however few blocks are present.
const GHOSTS_MIN: usize = 1_024;

/// Requests between two estimates, at least.
const ESTIMATE_REQUESTS: u32 = 128;

/// Blocks used and stored between two estimates, at least: short requests must not pay for an estimate each few blocks.
const ESTIMATE_BLOCKS: u32 = 2_048;

/// Lives that go on are counted from samples of this many at each estimate: of blocks, and of ghosts.
const ALIVE_SAMPLE: u32 = 2_000;

/// Classes that its figures show: what an operator reads.
const CLASSES_SHOWN: usize = 32;

/// What an observation still counts after an estimate.
const FADE: f32 = 0.99;

/// See the module.
pub struct Adaptive {
    records: Slab<Record>,
    /// Numbers ever used.
    slots: u32,
    present: u32,
    leaves: [Leaves; 2],
    pools: [Pool; 2],
    ghosts: Ghosts<Life>,
    curves: Curves,
    chance: Chance,
    /// Number of the request that is being served.
    request: u32,
    /// Request of the last estimate, and blocks used and stored since.
    estimated: u32,
    work: u32,
    newest: Option<BlockId>,
    hints: Hints,
    now: Now,
}

impl fmt::Debug for Adaptive {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Adaptive({} blocks, {} ghosts)",
            self.present,
            self.ghosts.len()
        )
    }
}

impl Adaptive {
    /// A policy that knows no block yet.
    pub fn new(setup: &Setup) -> Self {
        Self {
            records: Slab::new(),
            slots: 0,
            present: 0,
            leaves: [Leaves::default(), Leaves::default()],
            pools: [Pool::default(), Pool::default()],
            ghosts: Ghosts::new(),
            curves: Curves::new(),
            chance: Chance::new(setup.seed),
            request: 1,
            estimated: 0,
            work: 0,
            newest: None,
            hints: Hints::default(),
            now: Now(0),
        }
    }

    fn age(&self, life: &Life) -> u32 {
        self.request.wrapping_sub(life.used)
    }

    /// What a block is worth of which no client said anything.
    fn score(&self, life: &Life, value: f32) -> f32 {
        self.curves.index(life.class(), self.age(life)) * value
    }

    /// What a block that is present is worth.
    fn score_of(&self, id: u32, record: &Record) -> f32 {
        let learned = self.score(&record.life, record.value);
        if record.has(EXPECTED) {
            return learned.max(self.hints.index(id, self.now) * record.value);
        }
        learned
    }

    /// Forgets what was said of a block.
    fn unexpect(&mut self, id: u32) {
        if self.records[id].has(EXPECTED) {
            self.records[id].set(EXPECTED, false);
            self.hints.remove(id);
        }
    }

    /// Changes the state of a block, and its list with it.
    fn change(&mut self, id: u32, state: u8, on: bool) {
        let before = self.records[id].list();
        self.records[id].set(state, on);
        let after = self.records[id].list();
        if before != after {
            if let Some(list) = before {
                self.leaves[list].remove(&mut self.records, id);
                // What the pool still holds of it is found out when it is looked at.
                self.records[id].set(POOLED, false);
            }
            if let Some(list) = after {
                self.leaves[list].add(&mut self.records, id);
            }
        }
    }

    /// The life that a block enters with: its old one if it is remembered.
    fn enter(&mut self, hash: u64, parent: Option<BlockId>, depth: u32) -> Life {
        let turn = parent.map_or(1, |BlockId(parent)| {
            let parent = &self.records[parent].life;
            // A parent that this same request stored belongs to the same visit.
            parent
                .turn
                .saturating_add(u8::from(parent.hits > 0 || parent.used != self.request))
        });
        match self.ghosts.remove(hash) {
            Some(life) => {
                self.curves.saw_use(life.class(), self.age(&life));
                Life {
                    used: self.request,
                    hits: life.hits.saturating_add(1),
                    ..life
                }
            }
            None => Life {
                used: self.request,
                depth: u16::try_from(depth).unwrap_or(u16::MAX),
                hits: 0,
                children: 0,
                turn,
            },
        }
    }

    fn remember(&mut self, hash: u64, life: Life) {
        self.ghosts.insert(hash, life);
        let ghosts_max =
            GHOSTS_MIN.max(usize::try_from(self.present).unwrap_or(usize::MAX) * GHOSTS_A_BLOCK);
        while self.ghosts.len() > ghosts_max {
            if let Some((_, life)) = self.ghosts.pop_oldest() {
                self.curves.lost_sight(life.class(), self.age(&life));
            }
        }
    }

    fn leave(&mut self, forest: &Forest, id: BlockId, heir: Option<BlockId>, is_remembered: bool) {
        let life = self.records[id.0].life;
        self.change(id.0, PRESENT, false);
        self.unexpect(id.0);
        self.records[id.0] = Record::default();
        self.present -= 1;
        if is_remembered {
            self.remember(hash_of(forest.key(id)), life);
        } else {
            self.curves.lost_sight(life.class(), self.age(&life));
        }
        if let Some(BlockId(heir)) = heir
            && forest.children(BlockId(heir)) == 1
        {
            self.change(heir, LEAF, true);
        }
        if self.newest == Some(id) {
            self.newest = heir;
        }
    }

    /// The lowest score among leaves of one list: candidates of earlier draws, some drawn now, and the newest.
    fn lowest(&mut self, forest: &Forest, list: usize) -> Option<BlockId> {
        let len = self.leaves[list].len();
        if len == 0 {
            return None;
        }
        let mut pool = std::mem::take(&mut self.pools[list]);
        let draws = if pool.is_empty() { DRAWN_FIRST } else { DRAWN };
        pool.refresh(self.request, |id| {
            self.candidate(id, list).map(|candidate| candidate.score)
        });
        for from in (0..draws.min(len)).step_by(BATCH) {
            self.draw(&mut pool, list, from, len <= draws);
        }
        let mut lowest = None;
        while let Some((place, found)) = pool.lowest() {
            match self.candidate(found.id, list) {
                None => pool.remove(place),
                Some(_) if !forest.is_leaf(BlockId(found.id)) => {
                    // It was linked to a child that had been here before.
                    self.change(found.id, LEAF, false);
                    pool.remove(place);
                }
                Some(now) if found.score < now.score => pool.rescore(place, now.score),
                Some(now) => {
                    lowest = Some(now);
                    break;
                }
            }
        }
        self.pools[list] = pool;
        // Of the newest path the end only: were it kept among the candidates, each next block of its chain would make it void.
        let newest = self.newest.and_then(|BlockId(id)| self.candidate(id, list));
        let newest =
            newest.filter(|newest| lowest.is_none_or(|lowest| newest.goes_before(&lowest)));
        newest.or(lowest).map(|candidate| BlockId(candidate.id))
    }

    /// The block as a candidate of a list, if it is in it.
    fn candidate(&self, id: u32, list: usize) -> Option<Candidate> {
        let record = &self.records[id];
        (record.list() == Some(list)).then(|| Candidate {
            score: self.score_of(id, record),
            depth: record.life.depth,
            id,
        })
    }

    /// Draws some leaves into the pool, or takes those from a place on. In steps that do not depend on one another, so that
    /// the lines they miss in the processor's cache arrive together.
    fn draw(&mut self, pool: &mut Pool, list: usize, from: u32, is_all: bool) {
        let len = self.leaves[list].len();
        let mut places = [0; BATCH];
        for (place, next) in places.iter_mut().zip(from..) {
            *place = if is_all { next } else { self.chance.below(len) };
        }
        let ids = places.map(|place| self.leaves[list].get(place));
        let found = ids.map(|id| id.map(|id| (id, self.records[id])));
        for (id, record) in found.into_iter().flatten() {
            // The batch may have drawn it twice, so the copy does not tell.
            if self.records[id].has(POOLED) {
                continue;
            }
            self.records[id].set(POOLED, true);
            let (score, depth) = (self.score_of(id, &record), record.life.depth);
            if let Some(left) = pool.add(Candidate { score, depth, id }) {
                self.records[left].set(POOLED, false);
            }
        }
    }

    fn estimate(&mut self) {
        self.curves.fade(FADE);
        self.curves.forget_alive();
        let draws = ALIVE_SAMPLE.min(self.slots);
        for _ in 0..draws {
            let id = self.chance.below(self.slots);
            let Record { life, state, .. } = self.records[id];
            if state & PRESENT != 0 {
                let many = as_f32(u64::from(self.slots)) / as_f32(u64::from(draws));
                self.curves.saw_alive(life.class(), self.age(&life), many);
            }
        }
        let places = self.ghosts.places();
        let draws = places.min(usize::try_from(ALIVE_SAMPLE).unwrap_or(usize::MAX));
        for _ in 0..draws {
            if let Some(life) = self.ghosts.pick(self.chance.next()) {
                let many = as_f32(count(places)) / as_f32(count(draws));
                self.curves
                    .saw_alive(life.class(), self.request.wrapping_sub(life.used), many);
            }
        }
        self.curves.rebuild();
    }
}

impl Policy for Adaptive {
    fn begin(&mut self, now: Now) {
        self.now = now;
        self.request = self.request.wrapping_add(1);
        self.hints.begin(now);
        while let Some(id) = self.hints.lapsed(now) {
            self.records[id].set(EXPECTED, false);
        }
        let requests = self.request.wrapping_sub(self.estimated);
        if requests >= ESTIMATE_REQUESTS && self.work >= ESTIMATE_BLOCKS {
            (self.estimated, self.work) = (self.request, 0);
            self.estimate();
        }
    }

    fn admit(&mut self, forest: &Forest, id: BlockId, facts: &Facts) {
        let parent = forest.parent(id);
        let life = self.enter(hash_of(forest.key(id)), parent, facts.depth);
        self.records.reach(id.0);
        self.slots = self.slots.max(id.0 + 1);
        self.present += 1;
        self.work += 1;
        self.records[id.0] = Record {
            life,
            place: NOWHERE,
            value: facts.value(),
            state: 0,
        };
        self.change(id.0, PRESENT, true);
        self.change(id.0, LEAF, forest.is_leaf(id));
        if let Some(BlockId(parent)) = parent {
            self.change(parent, LEAF, false);
            let children = &mut self.records[parent].life.children;
            *children = children.saturating_add(1).min(2);
        }
        self.newest = Some(id);
    }

    fn touch(&mut self, forest: &Forest, id: BlockId) {
        let mut next = Some(id);
        while let Some(id) = next {
            let Record { life, state, .. } = self.records[id.0];
            if state & EXPECTED != 0 {
                self.unexpect(id.0); // It came true.
            }
            if life.used == self.request {
                break; // And so are all above it.
            }
            self.work += 1;
            self.curves.saw_use(life.class(), self.age(&life));
            let life = &mut self.records[id.0].life;
            life.used = self.request;
            life.hits = life.hits.saturating_add(1);
            next = forest.parent(id);
        }
    }

    fn suspend(&mut self, id: BlockId) {
        self.change(id.0, SUSPENDED, true);
    }

    fn resume(&mut self, id: BlockId, rank: Rank) {
        self.change(id.0, LAST, rank == Rank::Last);
        self.change(id.0, SUSPENDED, false);
    }

    fn forget(&mut self, forest: &Forest, id: BlockId, heir: Option<BlockId>) {
        self.leave(forest, id, heir, false);
    }

    fn evict(&mut self, forest: &Forest, id: BlockId, heir: Option<BlockId>) {
        self.leave(forest, id, heir, true);
    }

    fn victim(&mut self, forest: &Forest, _newcomer: Option<&Newcomer<'_>>) -> Option<BlockId> {
        (0..self.leaves.len()).find_map(|list| self.lowest(forest, list))
    }

    fn admits(&mut self, _forest: &Forest, newcomer: &Newcomer<'_>, victim: BlockId) -> bool {
        let hash = hash_of(newcomer.key);
        let mut life = match self.ghosts.get(hash) {
            Some(life) => Life {
                used: self.request,
                hits: life.hits.saturating_add(1),
                ..*life
            },
            None => Life {
                used: self.request,
                depth: u16::try_from(newcomer.facts.depth).unwrap_or(u16::MAX),
                hits: 0,
                children: 0,
                turn: 1,
            },
        };
        if let Some(parent) = newcomer.parent {
            let parent = &self.records[parent.0].life;
            life.turn = life.turn.max(
                parent
                    .turn
                    .saturating_add(u8::from(parent.hits > 0 || parent.used != self.request)),
            );
        }
        life.children = life.children.max(1);
        let least = self.score_of(victim.0, &self.records[victim.0]);
        let is_worth = !newcomer.is_orphan && self.score(&life, newcomer.facts.value()) >= least;
        if !is_worth {
            if let Some(old) = self.ghosts.get(hash).copied() {
                self.curves.saw_use(old.class(), self.age(&old));
            }
            self.remember(hash, life);
        }
        is_worth
    }

    fn revise(&mut self, id: BlockId, facts: &Facts) {
        self.records[id.0].value = facts.value();
    }

    fn expect_use(&mut self, id: BlockId, now: Now, ms: u64) {
        let is_remembered = self.hints.add(id.0, now, ms);
        self.records[id.0].set(EXPECTED, is_remembered);
    }

    fn explain(&self, _forest: &Forest, id: BlockId) -> Explanation {
        let record = &self.records[id.0];
        let Record { life, value, .. } = *record;
        Explanation {
            class: record::words(life.class()),
            score: f64::from(self.score_of(id.0, record)),
            because: vec![
                ("hits", f64::from(life.hits)),
                ("depth", f64::from(life.depth)),
                ("children ever", f64::from(life.children)),
                ("turn", f64::from(life.turn)),
                (
                    "requests since its last use",
                    as_f64(u64::from(self.age(&life))),
                ),
                ("value a byte", f64::from(value)),
                ("expected", f64::from(u8::from(record.has(EXPECTED)))),
            ],
            can_go: self.records[id.0].place != NOWHERE,
        }
    }

    /// The lowest scores of the candidates that earlier draws left and of the first [`LOOK_MAX`] leaves: of those there are, not
    /// of those that the next draw will find.
    fn outlook(&self, forest: &Forest, many: usize) -> Vec<BlockId> {
        let mut found = Vec::new();
        for (list, leaves) in self.leaves.iter().enumerate() {
            let drawn = self.pools[list].ids();
            let leaves = (0..leaves.len()).map_while(|place| leaves.get(place));
            let looked = leaves.take(LOOK_MAX).chain(drawn);
            let newest = self.newest.map(|BlockId(id)| id);
            let mut candidates: Vec<Candidate> = looked
                .chain(newest)
                .filter(|id| forest.is_leaf(BlockId(*id)))
                .filter_map(|id| self.candidate(id, list))
                .collect();
            candidates.sort_by(Candidate::order);
            candidates.dedup_by_key(|candidate| candidate.id);
            found.extend(candidates.iter().map(|candidate| BlockId(candidate.id)));
        }
        found.truncate(many);
        found
    }

    /// The classes of which most blocks are known, with what they are worth right after a use.
    fn figures(&self) -> Figures {
        let mut classes: Vec<(usize, ClassSeen)> = (0..CLASSES)
            .filter_map(|class| Some((class, self.curves.seen(class)?)))
            .collect();
        classes.sort_by(|a, b| b.1.alive.total_cmp(&a.1.alive).then(a.0.cmp(&b.0)));
        classes.truncate(CLASSES_SHOWN);
        let shown = |(class, seen): (usize, ClassSeen)| ClassFigures {
            name: record::words(class),
            numbers: vec![
                ("blocks and ghosts, estimated", f64::from(seen.alive)),
                ("uses, faded", f64::from(seen.uses)),
                ("uses to come a request after a use", f64::from(seen.index)),
            ],
        };
        Figures {
            numbers: vec![
                ("blocks", f64::from(self.present)),
                ("ghosts", as_f64(count(self.ghosts.len()))),
                ("requests", f64::from(self.request)),
                (
                    "requests since the last estimate",
                    f64::from(self.request.wrapping_sub(self.estimated)),
                ),
                ("hints", as_f64(count(self.hints.len()))),
            ],
            classes: classes.into_iter().map(shown).collect(),
        }
    }
}

#[cfg(test)]
mod tests;
