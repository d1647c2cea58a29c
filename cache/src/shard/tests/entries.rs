//! Walks through the contract of entries.

use super::*;

fn put(number: u8, bytes: usize, class: EntryClass) -> EntryPut {
    EntryPut {
        domain: ARENA,
        key: vec![number].into(),
        value: vec![number; bytes].into(),
        class,
        ttl_ms: None,
        only_if: OnlyIf::Always,
    }
}

fn store(walk: &mut Walk, put: EntryPut) -> Effect {
    walk.event(Event::EntryPut {
        ticket: TICKET,
        put,
    })
    .swap_remove(0)
}

fn value(walk: &mut Walk, number: u8) -> Option<Vec<u8>> {
    let key = vec![number].into();
    match walk
        .event(Event::EntryGet {
            ticket: TICKET,
            domain: ARENA,
            key,
        })
        .pop()
    {
        Some(Effect::Entry { found, .. }) => found.map(|found| found.value.to_vec()),
        other => panic!("{other:?} does not answer an EntryGet"),
    }
}

fn version(effect: &Effect) -> u64 {
    match effect {
        Effect::EntryStored { version, .. } => *version,
        other => panic!("{other:?} is no stored entry"),
    }
}

/// Room for four entries of 1 000 bytes, in a shard of 32 pages.
fn walk() -> Walk {
    let mut config = config(32);
    config.budget.entry_bytes_max = 4 * (1_001 + crate::entry::ENTRY_OVERHEAD_BYTES);
    Walk::new(config)
}

#[test]
fn reads_the_latest_write_and_its_version() {
    let mut walk = walk();
    let first = version(&store(&mut walk, put(1, 10, EntryClass::Kept)));
    let second = version(&store(&mut walk, put(1, 20, EntryClass::Cached)));
    assert!(first < second);
    assert_eq!(value(&mut walk, 1), Some(vec![1; 20]));
    assert_eq!(value(&mut walk, 2), None);
    assert_eq!(walk.shard.stats().entries, 1);
}

#[test]
fn a_full_quota_evicts_cached_entries_and_refuses_beside_kept_ones() {
    let mut walk = walk();
    for number in 0..4 {
        version(&store(&mut walk, put(number, 1_000, EntryClass::Cached)));
    }
    assert!(
        value(&mut walk, 0).is_some(),
        "read, so no longer the first to go"
    );
    version(&store(&mut walk, put(4, 1_000, EntryClass::Kept)));
    assert_eq!(value(&mut walk, 1), None);
    for number in 5..8 {
        version(&store(&mut walk, put(number, 1_000, EntryClass::Kept)));
    }
    let full = |why| Effect::EntryRefused {
        ticket: TICKET,
        why,
    };
    assert_eq!(
        store(&mut walk, put(8, 1, EntryClass::Cached)),
        full(EntryRefusal::Full)
    );
    assert_eq!(
        store(&mut walk, put(8, 5_000, EntryClass::Kept)),
        full(EntryRefusal::TooLarge)
    );
    version(&store(&mut walk, put(4, 1_000, EntryClass::Kept)));
    assert_eq!(
        store(&mut walk, put(4, 1_001, EntryClass::Kept)),
        full(EntryRefusal::Full)
    );
    assert_eq!(
        value(&mut walk, 4),
        Some(vec![4; 1_000]),
        "a refused write changes nothing"
    );
}

#[test]
fn entries_push_blocks_out_but_not_leased_ones() {
    let mut walk = walk();
    (1..=32).for_each(|number| assert_eq!(walk.put(Walk::block(number, 1)), STORED));
    let lent: Vec<Lent> = (3..=32)
        .map(|number| walk.get(number, Term::Held).unwrap())
        .collect();
    version(&store(&mut walk, put(1, 200, EntryClass::Kept)));
    assert!(!walk.holds(1) && !walk.holds(2));
    let refused = store(&mut walk, put(2, 1_000, EntryClass::Kept));
    assert_eq!(
        refused,
        Effect::EntryRefused {
            ticket: TICKET,
            why: EntryRefusal::Full
        }
    );
    lent.iter().for_each(|lent| {
        walk.release(lent.lease);
    });
    version(&store(&mut walk, put(2, 1_000, EntryClass::Kept)));
}

#[test]
fn conditions_hold_or_nothing_changes() {
    let mut walk = walk();
    let with = |only_if| EntryPut {
        only_if,
        ..put(1, 10, EntryClass::Kept)
    };
    let conflict = |version| Effect::EntryConflict {
        ticket: TICKET,
        version,
    };
    assert_eq!(store(&mut walk, with(OnlyIf::Present)), conflict(None));
    assert_eq!(store(&mut walk, with(OnlyIf::Version(0))), conflict(None));
    let first = version(&store(&mut walk, with(OnlyIf::Absent)));
    assert_eq!(
        store(&mut walk, with(OnlyIf::Absent)),
        conflict(Some(first))
    );
    let second = version(&store(&mut walk, with(OnlyIf::Version(first))));
    assert_eq!(
        store(&mut walk, with(OnlyIf::Version(first))),
        conflict(Some(second))
    );
    version(&store(&mut walk, with(OnlyIf::Present)));
    let delete = |only_if| Event::EntryDelete {
        ticket: TICKET,
        domain: ARENA,
        key: vec![1].into(),
        only_if,
    };
    let third = match &walk.event(delete(OnlyIf::Version(second)))[..] {
        [
            Effect::EntryConflict {
                version: Some(version),
                ..
            },
        ] => *version,
        other => panic!("{other:?}"),
    };
    let deleted = |existed| {
        [Effect::EntryDeleted {
            ticket: TICKET,
            existed,
        }]
    };
    assert_eq!(walk.event(delete(OnlyIf::Version(third))), deleted(true));
    assert_eq!(walk.event(delete(OnlyIf::Always)), deleted(false));
}

#[test]
fn time_ends_entries_and_purges_end_domains() {
    let mut walk = walk();
    version(&store(
        &mut walk,
        EntryPut {
            ttl_ms: Some(100),
            ..put(1, 10, EntryClass::Kept)
        },
    ));
    version(&store(&mut walk, put(2, 10, EntryClass::Kept)));
    version(&store(
        &mut walk,
        EntryPut {
            domain: ArenaId(5),
            ..put(2, 10, EntryClass::Kept)
        },
    ));
    walk.later(99);
    let key = vec![1].into();
    let read = walk.event(Event::EntryGet {
        ticket: TICKET,
        domain: ARENA,
        key,
    });
    let [
        Effect::Entry {
            found: Some(found), ..
        },
    ] = &read[..]
    else {
        panic!("{read:?}")
    };
    assert_eq!(found.ttl_ms, Some(1));
    walk.later(1);
    assert_eq!(value(&mut walk, 1), None);
    let again = EntryPut {
        only_if: OnlyIf::Absent,
        ..put(1, 10, EntryClass::Kept)
    };
    version(&store(&mut walk, again));
    let purged = walk.event(Event::Purge {
        ticket: TICKET,
        arena: ARENA,
    });
    assert_eq!(
        purged,
        [Effect::Purged {
            ticket: TICKET,
            blocks: 0,
            entries: 2
        }]
    );
    assert_eq!(walk.shard.stats().entries, 1);
}

#[test]
fn a_write_over_an_entry_whose_time_is_over_is_not_lost_with_it() {
    let mut walk = Walk::pages(1 << 16);
    let name = |number: u32| -> Box<[u8]> { number.to_le_bytes().into() };
    let put = |number: u32, ttl_ms| Event::EntryPut {
        ticket: TICKET,
        put: EntryPut {
            domain: ARENA,
            key: name(number),
            value: (&[1][..]).into(),
            class: EntryClass::Kept,
            ttl_ms,
            only_if: OnlyIf::Absent,
        },
    };
    // More than one event ends for their age, so that the last is still there when it is written again.
    let last = 3 * EXPIRE_STEP;
    for number in 0..=last {
        walk.event(put(number, Some(10)));
    }
    walk.later(10);
    let written = walk.event(put(last, None));
    assert!(matches!(written[..], [Effect::EntryStored { .. }]));
    for _ in 0..4 {
        walk.event(Event::Tick);
    }
    let read = walk.event(Event::EntryGet {
        ticket: TICKET,
        domain: ARENA,
        key: name(last),
    });
    assert!(
        matches!(read[..], [Effect::Entry { found: Some(_), .. }]),
        "{read:?}"
    );
    assert_eq!(walk.shard.stats().entries, 1);
}
