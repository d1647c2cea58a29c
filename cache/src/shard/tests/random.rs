//! Arbitrary events against a naive model: every ticket answered once, no page lent twice, memory within the budget, and
//! exactly the blocks and entries visible that should be.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::arena::Extents;
use crate::codec::Codec;
use crate::entry::{Entry, EntryBox, EntryClass};
use crate::event::ListPage;
use crate::layout::{BlockKind, Dtype};

mod entries;
mod event;
mod observe;
mod steps;

use steps::{Step, steps};

const KEYS: usize = 24;
const ARENAS: u32 = 4;

/// Parent of each key: a tree of which every path to the root halves the number.
fn parent_of(of: usize) -> Option<usize> {
    (of > 0).then_some(of / 2)
}

/// First block of the run that a block belongs to: runs are two blocks long.
fn run_of(of: usize) -> BlockKey {
    let is_head = chain_to(of).len() % 2 == 1;
    key(if is_head { of } else { of / 2 })
}

fn chain_to(of: usize) -> Vec<usize> {
    let mut chain: Vec<usize> = std::iter::successors(Some(of), |of| parent_of(*of)).collect();
    chain.reverse();
    chain
}

/// Equal keys have equal values, so the number decides the header: one to eight pages.
/// Every third block is raw, the others encoded, one of them with loss: what a shard counts is what is stored.
fn header_of(of: usize) -> BlockHeader {
    let raw = header(&key(of), u32::try_from(of).unwrap(), 100 + of * 83);
    match of % 3 {
        0 => raw,
        1 => BlockHeader {
            codec: Codec::Planes,
            ..raw
        },
        _ => BlockHeader {
            layout: BlockLayout {
                kind: BlockKind::Kv,
                dtype: Dtype::Bf16,
                layers: 2,
                kv_heads: 4,
                head_size: 64,
            },
            codec: Codec::Int4,
            error_max: 0.5,
            ..raw
        },
    }
}

#[derive(Clone, Debug)]
struct KnownBlock {
    arena: u32,
    expires: Now,
}

/// Pages that nobody else may get, until `until` or their release.
#[derive(Debug)]
struct Held {
    arena: u32,
    extents: Extents,
    until: Now,
}

/// A shard, and what a naive observer of its effects knows.
struct Player {
    shard: Shard,
    now: Now,
    ticket: u64,
    blocks: BTreeMap<usize, KnownBlock>,
    entries: BTreeMap<(u16, u8), Entry>,
    reservations: BTreeMap<ReservationId, (ReserveBlock, usize, Held)>,
    leases: BTreeMap<LeaseId, Held>,
    run_leases: Vec<LeaseId>,
    resident: BTreeSet<(u32, u32)>,
    /// What a directory would know from the changes that were told: each block and its run.
    told: BTreeMap<BlockKey, BlockKey>,
    trace: Vec<Effect>,
    /// What the commit or abort being played names.
    named: ReservationId,
    /// Reservations whose domain was purged.
    doomed: BTreeSet<ReservationId>,
}

fn end_of(now: Now, ttl_ms: Option<u64>) -> Now {
    ttl_ms.map_or(Now(u64::MAX), |ms| now.add_ms(ms))
}

fn pages_of(arena: u32, extents: &Extents) -> impl Iterator<Item = (u32, u32)> {
    extents
        .as_slice()
        .iter()
        .flat_map(|range| range.first..range.end())
        .map(move |page| (arena, page))
}

impl Player {
    fn new(policy: PolicyKind) -> Self {
        let mut config = config(64);
        config.budget.entry_bytes_max = 6_000;
        config.budget.pin_bytes_max = 16 * u64::from(PAGE_BYTES);
        config.budget.tokens_max = Some(200);
        config.budget.blocks_max = 20;
        (
            config.leases_max,
            config.reservations_max,
            config.arenas_max,
        ) = (12, 5, 3);
        (config.lease_ms_max, config.policy) = (50, policy);
        config.tells_changes = true;
        Self {
            shard: Shard::new(config),
            now: Now(0),
            ticket: 0,
            blocks: BTreeMap::new(),
            entries: BTreeMap::new(),
            reservations: BTreeMap::new(),
            leases: BTreeMap::new(),
            run_leases: Vec::new(),
            resident: BTreeSet::new(),
            told: BTreeMap::new(),
            trace: Vec::new(),
            named: ReservationId(0),
            doomed: BTreeSet::new(),
        }
    }

    fn until(&self, term: Term) -> Now {
        match term {
            Term::Held => Now(u64::MAX),
            Term::Timed { ms } => self.now.add_ms(u64::from(ms.min(50))),
        }
    }

    fn play(&mut self, step: &Step) {
        if let Step::Wait(ms) = step {
            self.now = self.now.add_ms(*ms);
            self.forget_what_is_over();
            return;
        }
        self.ticket += 1;
        if let Step::Entry(step) = step {
            let before = self.shard.stats();
            let effects = self.play_entry(step);
            assert!(effects.iter().all(|effect| ticket_of(effect).is_none()));
            self.take_in(&Step::Tick, effects, &before);
            return;
        }
        let event = self.event(step);
        let is_asking = !matches!(
            event,
            Event::Abort { .. } | Event::Release { .. } | Event::Touch { .. } | Event::Tick
        );
        let before = self.shard.stats();
        let mut effects = Vec::new();
        self.shard.handle(event, self.now, &mut effects);
        let answers = effects
            .iter()
            .filter(|effect| ticket_of(effect) == Some(self.ticket))
            .count();
        assert_eq!(answers, usize::from(is_asking), "{step:?} {effects:?}");
        let tickets = effects
            .iter()
            .filter(|effect| ticket_of(effect).is_some())
            .count();
        assert_eq!(tickets, answers, "an answer to nobody");
        self.take_in(step, effects, &before);
    }

    /// Takes in what the shard asks for, and compares what it holds.
    fn take_in(&mut self, step: &Step, effects: Vec<Effect>, before: &ShardStats) {
        for effect in &effects {
            self.observe(step, effect, before);
        }
        let forest = &self.shard.forest;
        let ids = (0..forest.slots()).map(BlockId);
        let stored = ids.filter(|id| self.shard.table.records[id.0].is_stored());
        let stored: BTreeSet<_> = stored.map(|id| *forest.key(id)).collect();
        let told: BTreeSet<_> = self.told.keys().copied().collect();
        assert_eq!(told, stored, "the changes tell another story");
        self.lists_what_can_be_found();
        check::agrees(&self.shard);
        self.sees_what_it_should(before);
        self.trace.extend(effects);
    }

    /// Going through all numbers, a few at a time, meets every block once, with its run's slot and the parent it has.
    fn lists_what_can_be_found(&self) {
        let blocks_max = u32::try_from(self.ticket % 5).unwrap();
        let (mut listed, mut from) = (BTreeMap::new(), Some(0));
        while let Some(at) = from {
            let Effect::Listed { blocks, next, .. } = self.shard.list(
                Ticket(0),
                ListPage {
                    from: at,
                    blocks_max,
                },
            ) else {
                panic!("not a list");
            };
            assert!(blocks.len() <= usize::try_from(blocks_max.max(1)).unwrap());
            for block in blocks {
                let run = self.told[&block.key];
                assert_eq!(block.slot, run.slot());
                assert!(block.run.is_none_or(|found| found == run));
                let id = self.shard.find_live(&block.key).unwrap();
                let parent = self.shard.forest.parent(id);
                assert_eq!(block.parent, parent.map(|id| *self.shard.forest.key(id)));
                let end = block
                    .ttl_ms
                    .map_or(Now(u64::MAX), |ms| self.shard.now.add_ms(ms));
                assert_eq!(end, self.shard.table.records[id.0].expires());
                assert!(listed.insert(block.key, block).is_none(), "listed twice");
            }
            from = next;
        }
        let live = self
            .told
            .keys()
            .filter(|key| self.shard.find_live(key).is_some());
        assert!(
            live.eq(listed.keys()),
            "another list than what can be found"
        );
    }

    fn forget_what_is_over(&mut self) {
        let now = self.now;
        self.blocks.retain(|_, block| now < block.expires);
        self.leases.retain(|_, held| now < held.until);
        self.reservations.retain(|_, (_, _, held)| now < held.until);
    }

    /// What is visible is what was stored, less what was evicted: and no more is missing than was evicted.
    fn sees_what_it_should(&mut self, before: &ShardStats) {
        let stats = self.shard.stats();
        let stored = self.blocks.len();
        let shard = &self.shard;
        for of in 0..KEYS {
            let is_visible = shard.find_live(&key(of)).is_some();
            assert!(
                !is_visible || self.blocks.contains_key(&of),
                "block {of} should be gone"
            );
        }
        self.blocks
            .retain(|of, _| shard.find_live(&key(*of)).is_some());
        let missing = u64::try_from(stored - self.blocks.len()).unwrap();
        assert!(
            missing <= stats.evicted - before.evicted,
            "{missing} blocks vanished"
        );
        let stored = self.entries.len();
        self.entries.retain(|(at, key), entry| {
            let is_stored = shard.entries.find(EntryBox(*at), &[*key]).is_some();
            assert!(
                is_stored || entry.class == EntryClass::Cached,
                "a kept entry was evicted"
            );
            is_stored
        });
        let missing = u64::try_from(stored - self.entries.len()).unwrap();
        assert!(
            missing <= stats.entries_evicted - before.entries_evicted,
            "{missing} entries vanished"
        );
        let resident = u64::try_from(self.resident.len()).unwrap() * u64::from(PAGE_BYTES);
        assert_eq!(resident, stats.resident_bytes);
        assert!(resident + stats.usage.entry_bytes <= stats.budget.bytes_max);
    }

    /// Ends every claim and removes every block: nothing may be left.
    fn wind_down(&mut self) {
        let mut effects = Vec::new();
        let events = std::mem::take(&mut self.leases)
            .into_keys()
            .chain(self.run_leases.drain(..));
        let mut events: Vec<Event> = events.map(|lease| Event::Release { lease }).collect();
        let reservations = std::mem::take(&mut self.reservations).into_keys();
        events.extend(reservations.map(|reservation| Event::Abort { reservation }));
        events.extend((0..ARENAS).map(|arena| Event::Purge {
            ticket: Ticket(0),
            arena: ArenaId(arena),
        }));
        for event in events {
            self.shard.handle(event, self.now.add_ms(100), &mut effects);
            check::agrees(&self.shard);
        }
        for at in 0..entries::BOXES {
            self.shard.entries(&mut effects).clear(EntryBox(at));
            check::agrees(&self.shard);
        }
        let stats = self.shard.stats();
        assert_eq!(
            (stats.usage, stats.arenas, stats.leases),
            (Usage::default(), 0, 0)
        );
        assert_eq!(
            (stats.reservations, stats.entries, stats.resident_bytes),
            (0, 0, 0)
        );
    }
}

fn pick_of<K, V>(map: &BTreeMap<K, V>, pick: usize) -> Option<&K> {
    map.keys().nth(pick % map.len().max(1))
}

fn ticket_of(effect: &Effect) -> Option<u64> {
    let ticket = match effect {
        Effect::Matched { ticket, .. }
        | Effect::Lent { ticket, .. }
        | Effect::Reserved { ticket, .. }
        | Effect::Stored { ticket }
        | Effect::Known { ticket }
        | Effect::NotAdmitted { ticket }
        | Effect::Refused { ticket, .. }
        | Effect::Pinned { ticket, .. }
        | Effect::Removed { ticket, .. }
        | Effect::Purged { ticket, .. }
        | Effect::Evicted { ticket, .. }
        | Effect::Listed { ticket, .. }
        | Effect::Resized { ticket, .. } => ticket,
        Effect::Appeared { .. }
        | Effect::Vanished { .. }
        | Effect::Discard { .. }
        | Effect::ArenaClosed { .. }
        | Effect::Pressure { .. } => return None,
    };
    Some(ticket.0)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(600))]

    #[test]
    fn any_events_keep_every_promise(steps in steps(), pick in any::<usize>()) {
        let kinds: Vec<PolicyKind> = PolicyKind::all().collect();
        let policy = kinds[pick % kinds.len()];
        let play = || {
            let mut player = Player::new(policy);
            steps.iter().for_each(|step| player.play(step));
            player
        };
        let mut player = play();
        prop_assert_eq!(&player.trace, &play().trace, "the same events, the same effects");
        player.wind_down();
    }
}
