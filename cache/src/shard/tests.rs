//! Tests of the shard: walks through its contract here, arbitrary events against a naive model in `random`, eviction order
//! against a model that touches every ancestor in `order`, and the checker of everything the tables must agree on.

use super::*;
use crate::block::BlockHeader;
use crate::effect::{EntryRefusal, Lent, PinOutcome, PutRefusal};
use crate::event::{
    ArenaId, EntryClass, EntryPut, LeaseId, OnlyIf, ReservationId, ReserveBlock, Retain, Ticket,
};
use crate::layout::BlockLayout;

mod check;
mod entries;
mod order;
mod random;

pub(super) const PAGE_BYTES: u32 = 256;

pub(super) fn key(number: usize) -> BlockKey {
    BlockKey::from_bytes(*blake3::hash(&number.to_le_bytes()).as_bytes())
}

pub(super) fn header(key: &BlockKey, tokens: u32, payload_bytes: usize) -> BlockHeader {
    BlockHeader::seal(BlockLayout::OPAQUE, tokens, key, &vec![0; payload_bytes])
}

pub(super) fn config(pages: u64) -> ShardConfig {
    let bytes_max = pages * u64::from(PAGE_BYTES);
    let budget = Budget {
        pin_bytes_max: bytes_max,
        ..Budget::of_bytes(bytes_max)
    };
    ShardConfig {
        page_bytes: PAGE_BYTES,
        ..ShardConfig::new(budget)
    }
}

/// A shard with a clock, for walks.
struct Walk {
    shard: Shard,
    now: Now,
    effects: Vec<Effect>,
}

const ARENA: ArenaId = ArenaId(0);
const TICKET: Ticket = Ticket(1);

impl Walk {
    fn new(config: ShardConfig) -> Self {
        Self {
            shard: Shard::new(config),
            now: Now(1_000),
            effects: Vec::new(),
        }
    }

    fn pages(pages: u64) -> Self {
        Self::new(config(pages))
    }

    /// Handles one event; answers its effects other than `Pressure`.
    fn event(&mut self, event: Event) -> Vec<Effect> {
        self.effects.clear();
        self.shard.handle(event, self.now, &mut self.effects);
        check::agrees(&self.shard);
        let is_answer = |effect: &&Effect| !matches!(effect, Effect::Pressure { .. });
        self.effects.iter().filter(is_answer).cloned().collect()
    }

    fn later(&mut self, ms: u64) {
        self.now = self.now.add_ms(ms);
    }

    fn block(number: usize, pages: usize) -> ReserveBlock {
        let key = key(number);
        let page_bytes = usize::try_from(PAGE_BYTES).unwrap();
        ReserveBlock {
            key,
            parent: None,
            arena: ARENA,
            header: header(&key, 16, pages * page_bytes - 1),
            retain: Retain::default(),
            term: Term::Held,
        }
    }

    fn reserve(&mut self, block: ReserveBlock) -> Vec<Effect> {
        self.event(Event::Reserve {
            ticket: TICKET,
            block: Box::new(block),
        })
    }

    /// Reserves and commits; answers the effect that decided.
    fn put(&mut self, block: ReserveBlock) -> Effect {
        match self.reserve(block).pop() {
            Some(Effect::Reserved { reservation, .. }) => self.commit(reservation),
            other => other.expect("an answer"),
        }
    }

    fn commit(&mut self, reservation: ReservationId) -> Effect {
        self.event(Event::Commit {
            ticket: TICKET,
            reservation,
        })
        .pop()
        .expect("an answer")
    }

    fn get(&mut self, number: usize, term: Term) -> Option<Lent> {
        let keys = vec![key(number)];
        match self
            .event(Event::Get {
                ticket: TICKET,
                keys,
                leading_only: false,
                term,
            })
            .pop()
        {
            Some(Effect::Lent { mut blocks, .. }) => blocks.pop().flatten(),
            other => panic!("{other:?} does not answer a Get"),
        }
    }

    fn holds(&mut self, number: usize) -> bool {
        let matched = self.event(Event::Match {
            ticket: TICKET,
            chain: vec![key(number)],
            lease: None,
        });
        matched
            == [Effect::Matched {
                ticket: TICKET,
                blocks: 1,
                lease: None,
            }]
    }

    fn release(&mut self, lease: LeaseId) -> Vec<Effect> {
        self.event(Event::Release { lease })
    }

    fn pin(&mut self, number: usize, pin: Pin) -> PinOutcome {
        let keys = vec![key(number)];
        match self
            .event(Event::Pin {
                ticket: TICKET,
                keys,
                pin,
            })
            .pop()
        {
            Some(Effect::Pinned { outcomes, .. }) => outcomes[0],
            other => panic!("{other:?} does not answer a Pin"),
        }
    }
}

const STORED: Effect = Effect::Stored { ticket: TICKET };

const fn refused(why: PutRefusal) -> Effect {
    Effect::Refused {
        ticket: TICKET,
        why,
    }
}

#[test]
fn lends_what_was_committed_and_nothing_before() {
    let mut walk = Walk::pages(8);
    let block = Walk::block(1, 2);
    let reserved = walk.reserve(block);
    let [
        Effect::Reserved {
            reservation,
            arena: ARENA,
            extents,
            ..
        },
    ] = &reserved[..]
    else {
        panic!("{reserved:?}")
    };
    assert_eq!(extents.pages(), 2);
    assert!(!walk.holds(1), "a reservation is invisible");
    assert_eq!(walk.commit(*reservation), STORED);
    let lent = walk.get(1, Term::Held).unwrap();
    assert_eq!(
        (lent.header, lent.arena, &lent.extents),
        (block.header, ARENA, extents)
    );
    assert_eq!(walk.commit(*reservation), refused(PutRefusal::Gone));
    assert_eq!(walk.put(block), Effect::Known { ticket: TICKET });
}

#[test]
fn keeps_the_first_of_two_commits() {
    let mut walk = Walk::pages(8);
    let block = Walk::block(1, 2);
    let mut reservations = Vec::new();
    for _ in 0..2 {
        match walk.reserve(block).pop() {
            Some(Effect::Reserved { reservation, .. }) => reservations.push(reservation),
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(walk.commit(reservations[1]), STORED);
    assert_eq!(
        walk.commit(reservations[0]),
        Effect::Known { ticket: TICKET }
    );
    assert_eq!(walk.shard.stats().usage.blocks, 1);
}

#[test]
fn evicts_nothing_while_all_is_leased_and_the_parent_of_what_comes_never() {
    let mut walk = Walk::pages(4);
    assert_eq!(walk.put(Walk::block(1, 2)), STORED);
    assert_eq!(walk.put(Walk::block(2, 2)), STORED);
    let leases = [
        walk.get(1, Term::Held).unwrap().lease,
        walk.get(2, Term::Held).unwrap().lease,
    ];
    assert_eq!(walk.put(Walk::block(3, 2)), refused(PutRefusal::NoRoom));
    walk.release(leases[0]);
    let child = ReserveBlock {
        parent: Some(key(1)),
        ..Walk::block(3, 2)
    };
    assert_eq!(walk.put(child), refused(PutRefusal::NoRoom));
    assert_eq!(walk.put(Walk::block(3, 2)), STORED);
    assert!(!walk.holds(1) && walk.holds(2) && walk.holds(3));
}

#[test]
fn frees_what_was_removed_while_lent_only_with_the_last_release() {
    let mut walk = Walk::pages(4);
    assert_eq!(walk.put(Walk::block(1, 4)), STORED);
    let first = walk.get(1, Term::Held).unwrap();
    let second = walk.get(1, Term::Timed { ms: 10 }).unwrap();
    let removed = walk.event(Event::Remove {
        ticket: TICKET,
        keys: vec![key(1), key(2)],
    });
    assert_eq!(
        removed,
        [Effect::Removed {
            ticket: TICKET,
            blocks: 1
        }]
    );
    assert!(walk.get(1, Term::Held).is_none(), "unreachable at once");
    assert_eq!(walk.put(Walk::block(1, 4)), refused(PutRefusal::NoRoom));
    walk.later(10);
    assert_eq!(
        walk.put(Walk::block(1, 4)),
        refused(PutRefusal::NoRoom),
        "the other lease holds on"
    );
    walk.release(second.lease);
    walk.release(first.lease);
    assert_eq!(walk.put(Walk::block(1, 4)), STORED);
    walk.release(first.lease);
    assert!(
        walk.holds(1),
        "a second release of the same lease is nothing"
    );
}

#[test]
fn leases_end_by_time_only_when_they_were_asked_to() {
    let mut walk = Walk::pages(2);
    assert_eq!(walk.put(Walk::block(1, 2)), STORED);
    walk.get(1, Term::Timed { ms: 50 }).unwrap();
    walk.later(49);
    assert_eq!(walk.put(Walk::block(2, 2)), refused(PutRefusal::NoRoom));
    walk.later(1);
    assert_eq!(walk.put(Walk::block(2, 2)), STORED);
    walk.get(2, Term::Held).unwrap();
    walk.later(u64::MAX);
    assert_eq!(walk.put(Walk::block(3, 2)), refused(PutRefusal::NoRoom));
}

#[test]
fn a_match_leases_its_whole_run() {
    let mut walk = Walk::pages(4);
    assert_eq!(walk.put(Walk::block(1, 1)), STORED);
    assert_eq!(
        walk.put(ReserveBlock {
            parent: Some(key(1)),
            ..Walk::block(2, 1)
        }),
        STORED
    );
    let chain = vec![key(1), key(2), key(3)];
    let lease = Some(Term::Timed { ms: 1_000 });
    let matched = walk
        .event(Event::Match {
            ticket: TICKET,
            chain,
            lease,
        })
        .pop();
    let Some(Effect::Matched {
        blocks: 2,
        lease: Some(lease),
        ..
    }) = matched
    else {
        panic!("{matched:?}")
    };
    assert_eq!(walk.put(Walk::block(9, 3)), refused(PutRefusal::NoRoom));
    walk.release(lease);
    assert_eq!(walk.put(Walk::block(9, 3)), STORED);
    assert!(walk.holds(1) && !walk.holds(2), "the leaf goes first");
}

#[test]
fn a_get_of_the_leading_run_stops_at_the_first_absent_block() {
    let mut walk = Walk::pages(4);
    assert_eq!(walk.put(Walk::block(1, 1)), STORED);
    assert_eq!(walk.put(Walk::block(3, 1)), STORED);
    for (leading_only, expected) in [(true, [true, false, false]), (false, [true, false, true])] {
        let keys = vec![key(1), key(2), key(3)];
        let lent = walk.event(Event::Get {
            ticket: TICKET,
            keys,
            leading_only,
            term: Term::Held,
        });
        let [Effect::Lent { blocks, .. }] = &lent[..] else {
            panic!("{lent:?}")
        };
        assert_eq!(
            blocks.iter().map(Option::is_some).collect::<Vec<_>>(),
            expected
        );
    }
}

#[test]
fn hard_pins_stay_and_soft_pins_go_last() {
    let mut config = config(6);
    config.budget.pin_bytes_max = 2 * u64::from(PAGE_BYTES);
    let mut walk = Walk::new(config);
    for number in [1, 2, 3] {
        assert_eq!(walk.put(Walk::block(number, 2)), STORED);
    }
    assert_eq!(walk.pin(1, Pin::Hard), PinOutcome::Done);
    assert_eq!(walk.pin(2, Pin::Hard), PinOutcome::QuotaFull);
    assert_eq!(walk.pin(2, Pin::Soft), PinOutcome::Done);
    assert_eq!(walk.pin(9, Pin::Soft), PinOutcome::Absent);
    let hard = |number| {
        let retain = Retain {
            pin: Pin::Hard,
            ttl_ms: None,
        };
        ReserveBlock {
            retain,
            ..Walk::block(number, 2)
        }
    };
    assert_eq!(walk.put(hard(4)), refused(PutRefusal::PinQuota));
    assert_eq!(walk.put(Walk::block(4, 2)), STORED);
    assert!(walk.holds(1) && walk.holds(2) && !walk.holds(3));
    assert_eq!(walk.put(Walk::block(5, 4)), STORED);
    assert!(walk.holds(1) && !walk.holds(2) && !walk.holds(4));
    assert_eq!(walk.put(Walk::block(6, 6)), refused(PutRefusal::NoRoom));
    assert_eq!(walk.pin(1, Pin::None), PinOutcome::Done);
    assert_eq!(walk.put(hard(6)), STORED);
}

#[test]
fn what_is_over_is_a_miss_at_once_and_room_after_a_tick() {
    let mut walk = Walk::pages(4);
    let brief = |number, ttl_ms, parent| ReserveBlock {
        retain: Retain {
            pin: Pin::Hard,
            ttl_ms,
        },
        parent,
        ..Walk::block(number, 1)
    };
    assert_eq!(walk.put(brief(1, Some(100), None)), STORED);
    assert_eq!(walk.put(brief(2, Some(500), Some(key(1)))), STORED);
    walk.later(99);
    assert!(walk.holds(1) && walk.holds(2));
    walk.later(1);
    assert!(
        !walk.holds(1) && !walk.holds(2),
        "a child does not outlive its parent"
    );
    assert_eq!(walk.shard.stats().usage.blocks, 2);
    walk.event(Event::Tick);
    assert_eq!(walk.shard.stats().usage, Usage::default());
    assert_eq!(walk.shard.stats().expired, 2);
}

#[test]
fn a_reservation_in_time_can_be_committed_and_one_too_late_cannot() {
    let mut walk = Walk::pages(2);
    let timed = ReserveBlock {
        term: Term::Timed { ms: 100 },
        ..Walk::block(1, 2)
    };
    for (wait, expected) in [(100, refused(PutRefusal::Gone)), (99, STORED)] {
        let Some(Effect::Reserved { reservation, .. }) = walk.reserve(timed).pop() else {
            panic!("an empty shard has room")
        };
        walk.later(wait);
        assert_eq!(walk.commit(reservation), expected);
    }
    let mut walk = Walk::pages(2);
    let Some(Effect::Reserved { reservation, .. }) = walk.reserve(Walk::block(1, 2)).pop() else {
        panic!("an empty shard has room")
    };
    assert_eq!(walk.put(Walk::block(2, 1)), refused(PutRefusal::NoRoom));
    walk.later(1 << 40);
    assert_eq!(walk.commit(reservation), STORED);
}

#[test]
fn a_purge_hides_all_at_once_and_closes_the_arena_after_the_last_reader() {
    let mut walk = Walk::pages(8);
    assert_eq!(walk.put(Walk::block(1, 1)), STORED);
    assert_eq!(
        walk.put(ReserveBlock {
            parent: Some(key(1)),
            ..Walk::block(2, 1)
        }),
        STORED
    );
    assert_eq!(
        walk.put(ReserveBlock {
            arena: ArenaId(7),
            ..Walk::block(3, 1)
        }),
        STORED
    );
    let lent = walk.get(1, Term::Held).unwrap();
    let Some(Effect::Reserved { reservation, .. }) = walk.reserve(Walk::block(4, 1)).pop() else {
        panic!("there is room")
    };
    let purged = walk.event(Event::Purge {
        ticket: TICKET,
        arena: ARENA,
    });
    assert_eq!(
        purged,
        [Effect::Purged {
            ticket: TICKET,
            blocks: 2,
            entries: 0
        }]
    );
    assert!(!walk.holds(1) && !walk.holds(2) && walk.holds(3));
    assert_eq!(
        walk.commit(reservation),
        refused(PutRefusal::Gone),
        "late writes are harmless"
    );
    assert_eq!(
        walk.release(lent.lease),
        [Effect::ArenaClosed { arena: ARENA }]
    );
    assert_eq!(walk.shard.stats().usage.blocks, 1);
    assert_eq!(
        walk.put(Walk::block(1, 1)),
        STORED,
        "a new life of the same arena"
    );
}

#[test]
fn a_purge_of_more_than_one_step_hides_all_and_goes_on_with_ticks() {
    let blocks: usize = 70_000;
    let mut config = config(u64::try_from(blocks).unwrap());
    config.budget.watermark_high = 1_000;
    let mut shard = Shard::new(config);
    let mut effects = Vec::new();
    for number in 0..blocks {
        effects.clear();
        let block = Box::new(Walk::block(number, 1));
        shard.handle(
            Event::Reserve {
                ticket: TICKET,
                block,
            },
            Now(0),
            &mut effects,
        );
        let Some(Effect::Reserved { reservation, .. }) = effects.pop() else {
            panic!("room")
        };
        shard.handle(
            Event::Commit {
                ticket: TICKET,
                reservation,
            },
            Now(0),
            &mut effects,
        );
    }
    let mut walk = Walk {
        shard,
        now: Now(1),
        effects,
    };
    let purged = walk.event(Event::Purge {
        ticket: TICKET,
        arena: ARENA,
    });
    assert_eq!(
        purged,
        [Effect::Purged {
            ticket: TICKET,
            blocks: 70_000,
            entries: 0
        }]
    );
    assert!(walk.shard.stats().usage.blocks > 0);
    assert!((0..blocks).step_by(997).all(|number| !walk.holds(number)));
    assert_eq!(
        walk.put(Walk::block(1, 1)),
        Effect::NotAdmitted { ticket: TICKET }
    );
    let mut closed = Vec::new();
    for _ in 0..5 {
        closed.extend(walk.event(Event::Tick));
    }
    assert_eq!(closed, [Effect::ArenaClosed { arena: ARENA }]);
    assert_eq!(walk.shard.stats().usage, Usage::default());
}

#[test]
fn gives_memory_back_before_another_domain_needs_it() {
    let mut walk = Walk::pages(4);
    assert_eq!(walk.put(Walk::block(1, 4)), STORED);
    let effects = walk.reserve(ReserveBlock {
        arena: ArenaId(1),
        ..Walk::block(2, 3)
    });
    let [
        Effect::Discard {
            arena: ARENA,
            pages,
        },
        Effect::Reserved {
            arena: ArenaId(1), ..
        },
    ] = &effects[..]
    else {
        panic!("{effects:?}")
    };
    assert_eq!(pages.pages, 3, "and no more than it needs");
    assert_eq!(walk.shard.stats().resident_bytes, 4 * u64::from(PAGE_BYTES));
}

#[test]
fn refuses_what_no_empty_shard_could_hold() {
    let mut config = config(4);
    config.budget.tokens_max = Some(20);
    let mut walk = Walk::new(config);
    assert_eq!(walk.put(Walk::block(1, 5)), refused(PutRefusal::TooLarge));
    let mut wordy = Walk::block(1, 1);
    wordy.header.tokens = 21;
    assert_eq!(walk.put(wordy), refused(PutRefusal::TooLarge));
    let mut hollow = Walk::block(1, 1);
    hollow.header.payload_bytes = 0;
    assert_eq!(walk.put(hollow), refused(PutRefusal::Malformed));
    let mut endless = Walk::block(1, 1);
    endless.header.payload_bytes = u64::MAX;
    assert_eq!(walk.put(endless), refused(PutRefusal::TooLarge));
    let mut nothing = Walk::pages(0);
    assert_eq!(
        nothing.put(Walk::block(1, 1)),
        refused(PutRefusal::TooLarge)
    );
}

#[test]
fn tokens_and_blocks_are_limits_too() {
    let mut config = config(100);
    config.budget.tokens_max = Some(32);
    let mut walk = Walk::new(config);
    (1..=3).for_each(|number| assert_eq!(walk.put(Walk::block(number, 1)), STORED));
    assert!(!walk.holds(1) && walk.holds(2) && walk.holds(3));
    config.budget.tokens_max = None;
    config.budget.blocks_max = 2;
    let mut walk = Walk::new(config);
    (1..=3).for_each(|number| assert_eq!(walk.put(Walk::block(number, 1)), STORED));
    assert!(!walk.holds(1) && walk.holds(2) && walk.holds(3));
}

#[test]
fn asks_for_eviction_once_a_crossing_and_again_with_a_tick() {
    let mut config = config(10);
    (config.budget.watermark_high, config.budget.watermark_low) = (800, 500);
    let mut walk = Walk::new(config);
    let pressure = |walk: &Walk| {
        let is_pressure = |effect: &&Effect| matches!(effect, Effect::Pressure { .. });
        walk.effects.iter().find(is_pressure).cloned()
    };
    (1..=8).for_each(|number| assert_eq!(walk.put(Walk::block(number, 1)), STORED));
    assert_eq!(pressure(&walk), None);
    walk.reserve(Walk::block(9, 1));
    let asked = Effect::Pressure {
        bytes_over: 4 * u64::from(PAGE_BYTES),
        tokens_over: 0,
    };
    assert_eq!(pressure(&walk), Some(asked.clone()));
    walk.reserve(Walk::block(10, 1));
    assert_eq!(pressure(&walk), None);
    walk.event(Event::Tick);
    assert!(pressure(&walk).is_some());
    let evict = |batch_max| Event::Evict {
        ticket: TICKET,
        bytes_goal: 5 * u64::from(PAGE_BYTES),
        tokens_goal: 0,
        batch_max,
    };
    let evicted = |blocks: u32, more| Effect::Evicted {
        ticket: TICKET,
        blocks,
        bytes: u64::from(blocks) * u64::from(PAGE_BYTES),
        tokens: u64::from(blocks) * 16,
        more,
    };
    assert_eq!(walk.event(evict(2)), [evicted(2, true)]);
    assert_eq!(walk.event(evict(100)), [evicted(5, false)]);
    assert_eq!(
        walk.event(evict(100)),
        [evicted(1, false)],
        "reservations stay"
    );
    walk.event(Event::Tick);
    assert_eq!(pressure(&walk), None);
}

#[test]
fn takes_new_limits_when_what_must_stay_fits_them() {
    let mut walk = Walk::pages(8);
    (1..=8).for_each(|number| assert_eq!(walk.put(Walk::block(number, 1)), STORED));
    let lease = walk.get(8, Term::Held).unwrap().lease;
    let resize = |pages| Event::Resize {
        ticket: TICKET,
        budget: config(pages).budget,
    };
    let resized = |applied| Effect::Resized {
        ticket: TICKET,
        applied,
    };
    let effects = walk.event(resize(3));
    assert_eq!(effects[0], resized(true));
    assert!(
        effects
            .iter()
            .any(|effect| matches!(effect, Effect::Discard { .. }))
    );
    assert_eq!(walk.shard.stats().usage.blocks, 3);
    assert_eq!(walk.event(resize(0)), [resized(false)]);
    assert!(
        walk.holds(8),
        "what is lent stays, and so does the old limit"
    );
    walk.release(lease);
    assert_eq!(walk.event(resize(0))[0], resized(true));
    assert_eq!(walk.shard.stats().resident_bytes, 0);
    assert_eq!(walk.event(resize(8)), [resized(true)]);
    assert_eq!(walk.put(Walk::block(1, 8)), STORED);
}

#[test]
fn closes_an_idle_arena_or_empties_one_when_a_new_domain_comes() {
    let mut config = config(8);
    config.arenas_max = 2;
    let mut walk = Walk::new(config);
    for arena in 0..4_u32 {
        let number = usize::try_from(arena).unwrap();
        assert_eq!(
            walk.put(ReserveBlock {
                arena: ArenaId(arena),
                ..Walk::block(number, 1)
            }),
            STORED
        );
    }
    assert_eq!(walk.shard.stats().arenas, 2);
    assert!(walk.holds(2) && walk.holds(3) && !walk.holds(0) && !walk.holds(1));
    for number in [2, 3] {
        walk.get(number, Term::Held).unwrap();
    }
    let fifth = ReserveBlock {
        arena: ArenaId(9),
        ..Walk::block(9, 1)
    };
    assert_eq!(walk.put(fifth), refused(PutRefusal::NoRoom));
}

#[test]
fn opens_no_more_leases_and_reservations_than_it_may() {
    let mut config = config(8);
    (config.leases_max, config.reservations_max) = (2, 1);
    let mut walk = Walk::new(config);
    assert_eq!(walk.put(Walk::block(1, 1)), STORED);
    assert_eq!(
        walk.put(ReserveBlock {
            parent: Some(key(1)),
            ..Walk::block(2, 1)
        }),
        STORED
    );
    walk.get(1, Term::Held).unwrap();
    let matched = walk.event(Event::Match {
        ticket: TICKET,
        chain: vec![key(1), key(2)],
        lease: Some(Term::Held),
    });
    assert_eq!(
        matched,
        [Effect::Matched {
            ticket: TICKET,
            blocks: 2,
            lease: None
        }]
    );
    walk.get(1, Term::Held).unwrap();
    assert!(walk.get(1, Term::Held).is_none(), "doubt is a miss");
    assert!(matches!(
        walk.reserve(Walk::block(3, 1))[..],
        [Effect::Reserved { .. }]
    ));
    assert_eq!(walk.put(Walk::block(4, 1)), refused(PutRefusal::NoRoom));
}

#[test]
fn time_never_goes_back() {
    let mut walk = Walk::pages(4);
    let brief = Retain {
        pin: Pin::None,
        ttl_ms: Some(10),
    };
    assert_eq!(
        walk.put(ReserveBlock {
            retain: brief,
            ..Walk::block(1, 1)
        }),
        STORED
    );
    walk.later(10);
    assert!(!walk.holds(1));
    walk.now = Now(0);
    assert!(!walk.holds(1));
}
