//! Walks through the contract of blocks: storing, lending, pinning, expiring.

use super::*;

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
