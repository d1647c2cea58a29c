//! Responsible for one trace on one node whose memory is small and whose neighbours hold everything else, with prefetching
//! and without: where requests find their blocks, how long they wait, and what came for nothing. It must never decide what is
//! fetched; that is the cache's prefetcher.
//!
//! # Model
//! A request comes, waits its turn for a time that is the same for all, and then asks for its chain. Blocks come from the
//! neighbours over one link, in the order in which they were asked for, so what is fetched ahead delays what is asked for
//! behind it. A request waits until its last block from elsewhere is here and the rest is computed. Everything that was ever
//! computed is held by some neighbour.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use ultrakv_cache::policy::price;
use ultrakv_cache::prefetch::{
    Arrival, BySource, Demand, Figures, Held, Landing, LinkId, PrefetchConfig, PrefetchEffect,
    PrefetchEvent, Prefetcher, Source, Wanted,
};
use ultrakv_cache::{ArenaId, BlockAddress, BlockKey, Now, PolicyKind, Setup, Ticket};

use crate::cache::{Cache, Cost};
use crate::replay::{count, ratio};
use crate::trace::{Request, Trace};

const ARENA: ArenaId = ArenaId(0);
const LINK: LinkId = LinkId(0);

/// Milliseconds between two looks of the prefetcher at the time.
const TICK_MS: u64 = 1_000;

/// The node, its link and its model.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// Which blocks give way.
    pub kind: PolicyKind,
    /// Blocks of room.
    pub capacity: usize,
    /// Bytes of a block.
    pub block_bytes: u64,
    /// Microseconds before the first byte of a load.
    pub latency_us: u64,
    /// Bytes a microsecond after that.
    pub bandwidth: u64,
    /// Microseconds to compute a token at the start of a text.
    pub token_us: u64,
    /// Milliseconds from a request's coming to its turn.
    pub queue_ms: u64,
    /// Whether anything is fetched ahead, and how.
    pub prefetch: Option<PrefetchConfig>,
}

impl Place {
    /// Room for so many blocks of a model with 128 KiB a token, on a link of 25 Gbit/s, that computes 10 000 tokens a second.
    pub fn new(capacity: usize, block_tokens: u32) -> Self {
        Self {
            kind: PolicyKind::LRU,
            capacity,
            block_bytes: u64::from(block_tokens) << 17,
            latency_us: 500,
            bandwidth: 3_125,
            token_us: 100,
            queue_ms: 100,
            prefetch: None,
        }
    }

    /// The same with all that a cache of its size would prefetch.
    #[must_use]
    pub fn with_prefetch(self) -> Self {
        let bytes = count(self.capacity) * self.block_bytes;
        Self {
            prefetch: Some(PrefetchConfig::of_bytes(bytes)),
            ..self
        }
    }
}

/// What one source did, for reports.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct SourceReport {
    /// Blocks asked for.
    pub asked_blocks: u64,
    /// Used for each whose fate is known.
    pub accuracy: f64,
    /// Of the blocks that were elsewhere when needed, how many it had fetched.
    pub coverage: f64,
    /// Here in time for each used.
    pub timeliness: f64,
    /// Blocks pushed out and asked for again.
    pub polluted_blocks: u64,
    /// Bytes that came for nothing.
    pub wasted_bytes: u64,
}

/// Where requests found their blocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Report {
    /// Blocks asked for.
    pub blocks: u64,
    /// Found in this node's memory, without a gap from the root.
    pub here: u64,
    /// Fetched from elsewhere while their request waited.
    pub there: u64,
    /// Computed.
    pub computed: u64,
    /// Milliseconds that a request waited after its turn had come, on the mean.
    pub wait_ms_mean: f64,
    /// The same for the request in the middle, among those that reuse anything.
    pub wait_ms_median: f64,
    /// Bytes that came over the link.
    pub link_bytes: u64,
    /// Bytes that came for nothing.
    pub wasted_bytes: u64,
    /// By source.
    pub sources: BySourceReport,
}

/// A report for each source.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct BySourceReport {
    /// Of arrivals.
    pub arrival: SourceReport,
    /// Of reading ahead.
    pub read_ahead: SourceReport,
    /// Of sessions.
    pub session: SourceReport,
}

impl Report {
    /// Found in this node's memory for each asked for.
    pub fn here_ratio(&self) -> f64 {
        ratio(self.here, self.blocks)
    }
}

/// Replays a trace on a node.
pub fn replay(trace: &Trace, place: &Place) -> Report {
    let mut node = Node::new(trace, place);
    for (number, request) in trace.requests.iter().enumerate() {
        node.schedule(request.at_ms * 1_000, Happening::Arrives(number));
        let turn_us = (request.at_ms + place.queue_ms) * 1_000;
        node.schedule(turn_us, Happening::IsServed(number));
    }
    let first_ms = trace.requests.first().map_or(0, |request| request.at_ms);
    let last_ms = trace.requests.last().map_or(0, |request| request.at_ms);
    if place.prefetch.is_some() {
        let ticks = (first_ms..=last_ms).step_by(usize::try_from(TICK_MS).unwrap_or(usize::MAX));
        ticks.for_each(|at_ms| node.schedule(at_ms * 1_000, Happening::Tick));
    }
    while let Some(((at_us, _), happening)) = node.coming.pop_first() {
        node.now_us = at_us;
        node.happen(happening);
    }
    node.report()
}

enum Happening {
    Arrives(usize),
    IsServed(usize),
    Lands(Ticket, Vec<Wanted>, u64),
    Tick,
}

struct Node<'a> {
    trace: &'a Trace,
    place: &'a Place,
    cache: Cache,
    prefetcher: Option<Prefetcher>,
    /// Blocks that somebody has computed.
    computed: BTreeSet<BlockKey>,
    depths: BTreeMap<BlockKey, usize>,
    /// When each block that was asked for ahead will be here.
    landing: BTreeMap<BlockKey, u64>,
    link_free_us: u64,
    link_bytes: u64,
    now_us: u64,
    coming: BTreeMap<(u64, u64), Happening>,
    scheduled: u64,
    waits_us: Vec<u64>,
    waits_of_reuse_us: Vec<u64>,
    report: Report,
}

impl<'a> Node<'a> {
    fn new(trace: &'a Trace, place: &'a Place) -> Self {
        let mut depths = BTreeMap::new();
        for request in &trace.requests {
            for (depth, key) in keys(trace, request).enumerate() {
                depths.insert(key, depth);
            }
        }
        let mut cache = Cache::new(place.kind, &Setup::default(), place.capacity, Cost::Blocks);
        cache.take_evicted();
        Self {
            trace,
            place,
            cache,
            prefetcher: place.prefetch.map(Prefetcher::new),
            computed: BTreeSet::new(),
            depths,
            landing: BTreeMap::new(),
            link_free_us: 0,
            link_bytes: 0,
            now_us: 0,
            coming: BTreeMap::new(),
            scheduled: 0,
            waits_us: Vec::new(),
            waits_of_reuse_us: Vec::new(),
            report: Report::default(),
        }
    }

    fn schedule(&mut self, at_us: u64, happening: Happening) {
        self.scheduled += 1;
        self.coming.insert((at_us, self.scheduled), happening);
    }

    fn happen(&mut self, happening: Happening) {
        match happening {
            Happening::Arrives(number) => {
                let arrival = Arrival {
                    arena: ARENA,
                    chain: self.chain(number),
                    block_tokens: self.trace.block_tokens,
                    session: None,
                };
                self.tell(PrefetchEvent::Arrived(arrival));
            }
            Happening::IsServed(number) => self.serve(number),
            Happening::Lands(ticket, blocks, asked_us) => self.land(ticket, &blocks, asked_us),
            Happening::Tick => self.tell(PrefetchEvent::Tick),
        }
    }

    fn chain(&self, number: usize) -> Vec<BlockAddress> {
        let request = self.trace.requests.get(number);
        let chain = request
            .into_iter()
            .flat_map(|request| keys(self.trace, request));
        chain.map(|key| BlockAddress { key, run: key }).collect()
    }

    fn held(&self, key: &BlockKey) -> Held {
        if self.cache.forest().find(key).is_some() {
            Held::Here
        } else if self.computed.contains(key) {
            Held::There {
                link: LINK,
                bytes: self.place.block_bytes,
            }
        } else {
            Held::Nowhere
        }
    }

    fn tell(&mut self, event: PrefetchEvent) {
        let Some(prefetcher) = &mut self.prefetcher else {
            return;
        };
        let mut effects = Vec::new();
        prefetcher.handle(event, Now(self.now_us / 1_000), &mut effects);
        for effect in effects {
            match effect {
                PrefetchEffect::Locate { ticket, blocks, .. } => {
                    let held = blocks.iter().map(|block| self.held(&block.key)).collect();
                    self.tell(PrefetchEvent::Located { ticket, held });
                }
                PrefetchEffect::Fetch { ticket, blocks, .. } => {
                    let done_us = self.load(count(blocks.len()));
                    for wanted in &blocks {
                        self.landing.insert(wanted.address.key, done_us);
                    }
                    let lands = Happening::Lands(ticket, blocks, self.now_us);
                    self.schedule(done_us, lands);
                }
            }
        }
    }

    /// Loads so many blocks behind all others; gives when they are here.
    fn load(&mut self, blocks: u64) -> u64 {
        let bytes = blocks * self.place.block_bytes;
        self.link_bytes += bytes;
        let begins_us = self.link_free_us.max(self.now_us);
        self.link_free_us = begins_us + bytes / self.place.bandwidth;
        self.link_free_us + self.place.latency_us
    }

    fn land(&mut self, ticket: Ticket, blocks: &[Wanted], asked_us: u64) {
        let mut landings = Vec::new();
        for wanted in blocks {
            let key = wanted.address.key;
            self.landing.remove(&key);
            landings.push(if self.cache.forest().find(&key).is_some() {
                Landing::Known
            } else {
                let depth = self.depths.get(&key).copied().unwrap_or(0);
                match self
                    .cache
                    .bring(self.trace, &key, wanted.parent.as_ref(), depth)
                {
                    true => Landing::Stored {
                        bytes: self.place.block_bytes,
                    },
                    false => Landing::Failed,
                }
            });
        }
        let elapsed_us = self.now_us - asked_us;
        self.tell(PrefetchEvent::Landed {
            ticket,
            landings,
            elapsed_us,
        });
        self.tell_evicted();
    }

    fn tell_evicted(&mut self) {
        for key in self.cache.take_evicted() {
            let bytes = self.place.block_bytes;
            self.tell(PrefetchEvent::Evicted { key, bytes });
        }
    }

    fn serve(&mut self, number: usize) {
        let blocks = self.chain(number);
        let held = blocks.iter().map(|block| self.held(&block.key));
        let mut found: Vec<Held> = held.take_while(|held| *held != Held::Nowhere).collect();
        let here = found.iter().take_while(|held| **held == Held::Here).count();
        // What is here behind a gap is of use once the gap is filled, so all that is reached counts.
        let reached = found.len();
        let mut own = 0;
        let mut ready_us = self.now_us;
        for (block, held) in blocks.iter().zip(&found) {
            match (held, self.landing.get(&block.key)) {
                (Held::Here | Held::Nowhere, _) => {}
                (Held::There { .. }, Some(at_us)) => ready_us = ready_us.max(*at_us),
                (Held::There { .. }, None) => own += 1,
            }
        }
        if own > 0 {
            let done_us = self.load(own);
            ready_us = ready_us.max(done_us);
        }
        let tokens = u64::from(self.trace.block_tokens);
        let left = u32::try_from((blocks.len() - reached) * as_usize(tokens)).unwrap_or(u32::MAX);
        let cost = price::recompute_cost(left, count(reached) * tokens);
        let compute_us = whole_us(f64::from(cost) * ratio(self.place.token_us, 1));
        let wait_us = ready_us - self.now_us + compute_us;
        self.waits_us.push(wait_us);
        if reached > 0 {
            self.waits_of_reuse_us.push(wait_us);
        }
        let there = found.iter().filter(|held| **held != Held::Here).count();
        self.report.blocks += count(blocks.len());
        self.report.here += count(here);
        self.report.there += count(there);
        self.report.computed += count(blocks.len() - reached);
        self.computed.extend(blocks.iter().map(|block| block.key));
        found.truncate(reached);
        self.tell(PrefetchEvent::Demanded(Demand {
            arena: ARENA,
            blocks,
            found,
            is_whole: true,
        }));
        if left > 0 {
            self.tell(PrefetchEvent::Computed {
                tokens: left,
                before: count(reached) * tokens,
                elapsed_us: compute_us,
            });
        }
        if let Some(request) = self.trace.requests.get(number) {
            self.cache.serve(self.trace, request);
        }
        self.tell_evicted();
    }

    fn report(mut self) -> Report {
        let figures = self.prefetcher.as_ref().map(Prefetcher::figures);
        let figures = figures.copied().unwrap_or_default();
        let waits = self.waits_us.iter();
        let all_us: u64 = waits.sum();
        self.waits_of_reuse_us.sort_unstable();
        let middle = self.waits_of_reuse_us.get(self.waits_of_reuse_us.len() / 2);
        let wasted = Source::ALL.map(|source| figures.by_source.of(source).wasted_bytes);
        Report {
            wait_ms_mean: ratio(all_us, 1_000 * count(self.waits_us.len())),
            wait_ms_median: ratio(middle.copied().unwrap_or(0), 1_000),
            link_bytes: self.link_bytes,
            wasted_bytes: wasted.iter().sum(),
            sources: sources(&figures),
            ..self.report
        }
    }
}

fn sources(figures: &Figures) -> BySourceReport {
    let BySource {
        arrival,
        read_ahead,
        session,
    } = BySource::make(|source| {
        let tally = figures.by_source.of(source);
        SourceReport {
            asked_blocks: tally.asked_blocks,
            accuracy: tally.accuracy(),
            coverage: figures.coverage(source),
            timeliness: tally.timeliness(),
            polluted_blocks: tally.polluted_blocks,
            wasted_bytes: tally.wasted_bytes,
        }
    });
    BySourceReport {
        arrival,
        read_ahead,
        session,
    }
}

fn keys<'a>(trace: &'a Trace, request: &'a Request) -> impl Iterator<Item = BlockKey> + 'a {
    let places = request.blocks.iter();
    let places = places.filter_map(|block| usize::try_from(*block).ok());
    places.filter_map(|place| trace.keys.get(place).copied())
}

fn as_usize(number: u64) -> usize {
    usize::try_from(number).unwrap_or(usize::MAX)
}

fn whole_us(us: f64) -> u64 {
    count(crate::replay::whole(us))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::generate::{Mix, generate};

    fn both(mix: Mix, share: f64) -> (Report, Report) {
        let trace = generate(mix, 11, 3_000);
        let place = Place::new(trace.capacity(share), trace.block_tokens);
        (
            replay(&trace, &place),
            replay(&trace, &place.with_prefetch()),
        )
    }

    #[test]
    fn the_same_trace_on_the_same_node_gives_the_same_report() {
        let trace = generate(Mix::Chat, 5, 1_000);
        let place = Place::new(trace.capacity(0.05), trace.block_tokens).with_prefetch();
        assert_eq!(replay(&trace, &place), replay(&trace, &place));
    }

    #[test]
    fn every_block_is_found_here_elsewhere_or_computed() {
        let (off, on) = both(Mix::Chat, 0.05);
        // What is here behind a gap counts as neither hit nor fetched, so the three need not make up the whole.
        for report in [off, on] {
            assert!(report.here + report.there + report.computed <= report.blocks);
        }
        assert_eq!(off.computed, on.computed, "prefetching computes nothing");
        assert_eq!((off.blocks, off.wasted_bytes), (on.blocks, 0));
    }

    #[test]
    fn prefetching_finds_more_here_and_waits_less_where_people_talk() {
        let (off, on) = both(Mix::Chat, 0.05);
        assert!(on.here_ratio() > off.here_ratio() + 0.03, "{off:?}\n{on:?}");
        assert!(on.wait_ms_mean < off.wait_ms_mean, "{off:?}\n{on:?}");
        assert!(on.sources.arrival.accuracy > 0.9, "{on:?}");
    }

    #[test]
    fn a_request_that_is_served_at_once_leaves_arrivals_nothing_to_win() {
        let trace = generate(Mix::Chat, 11, 2_000);
        let place = Place {
            queue_ms: 0,
            ..Place::new(trace.capacity(0.05), trace.block_tokens)
        };
        let off = replay(&trace, &place);
        let on = replay(&trace, &place.with_prefetch());
        assert!(on.sources.arrival.timeliness < 0.1, "{on:?}");
        assert!(on.wait_ms_mean < off.wait_ms_mean * 1.05, "{off:?}\n{on:?}");
    }
}
