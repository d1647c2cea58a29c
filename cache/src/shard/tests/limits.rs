//! Walks through purges, limits and memory.

use super::*;

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
            blocks: 2
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
            blocks: 70_000
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

#[test]
fn a_resize_that_tokens_refuse_evicts_no_entries() {
    let mut walk = Walk::pages(32);
    assert_eq!(walk.put(Walk::block(1, 1)), STORED);
    let _reader = walk.get(1, Term::Held).unwrap();
    walk.entry(7, 10, crate::entry::EntryClass::Cached).unwrap();
    let budget = Budget {
        tokens_max: Some(15),
        ..walk.shard.stats().budget
    };
    let resized = walk.event(Event::Resize {
        ticket: TICKET,
        budget,
    });
    assert!(matches!(
        resized[..],
        [Effect::Resized { applied: false, .. }]
    ));
    assert_eq!(walk.shard.stats().entries, 1);
}

#[test]
fn times_that_no_record_can_hold_are_never() {
    let mut walk = Walk::pages(8);
    for (number, ttl_ms) in [(1, u64::MAX), (2, 1 << 50), (3, (1 << 48) - 1 - 1_000)] {
        let retain = Retain {
            pin: Pin::None,
            ttl_ms: Some(ttl_ms),
        };
        assert_eq!(
            walk.put(ReserveBlock {
                retain,
                ..Walk::block(number, 1)
            }),
            STORED
        );
    }
    assert_eq!(walk.shard.timed_blocks, 0, "nothing to sweep for");
    walk.later(1 << 40);
    walk.event(Event::Tick);
    assert!((1..=3).all(|number| walk.holds(number)));
}

#[test]
fn parts_of_any_limit_are_exact() {
    for max in [0, 1, 999, 1_000, 1_001, 123_456_789, u64::MAX - 1, u64::MAX] {
        for per_mille in [0, 1, 499, 900, 999, 1_000] {
            let exact = u128::from(max) * u128::from(per_mille) / 1_000;
            assert_eq!(
                u128::from(part(max, per_mille)),
                exact,
                "{per_mille} of {max}"
            );
        }
    }
}

#[test]
fn removed_parents_take_no_memory_beyond_the_limit_of_blocks() {
    let mut config = config(64);
    config.budget.blocks_max = 16;
    let mut walk = Walk::new(config);
    for pair in 0..100 {
        let (parent, child) = (2 * pair, 2 * pair + 1);
        assert_eq!(walk.put(Walk::block(parent, 1)), STORED);
        let child = ReserveBlock {
            parent: Some(key(parent)),
            ..Walk::block(child, 1)
        };
        assert_eq!(walk.put(child), STORED);
        let keys = vec![key(parent)];
        walk.event(Event::Remove {
            ticket: TICKET,
            keys,
        });
        assert!(walk.shard.forest.slots() <= 16);
    }
    assert_eq!(walk.shard.forest.ghosts(), 8);
}
