//! Walks through the contract of entries.

use super::*;
use crate::entry::{Entry, EntryBox, EntryClass, EntryFull};

const AT: EntryBox = EntryBox(7);

impl Walk {
    /// One turn with the entries.
    pub(super) fn with_entries<T>(&mut self, turn: impl FnOnce(&mut EntryTable<'_>) -> T) -> T {
        self.effects.clear();
        let outcome = turn(&mut self.shard.entries(&mut self.effects));
        check::agrees(&self.shard);
        outcome
    }

    pub(super) fn entry(
        &mut self,
        number: u8,
        bytes: usize,
        class: EntryClass,
    ) -> Result<(), EntryFull> {
        self.with_entries(|entries| entries.put(AT, &[number], entry(number, bytes, class)))
    }

    fn value(&mut self, number: u8) -> Option<Vec<u8>> {
        let found = self.with_entries(|entries| entries.get(AT, &[number]));
        found.map(|entry| entry.value.to_vec())
    }
}

fn entry(number: u8, bytes: usize, class: EntryClass) -> Entry {
    Entry {
        value: vec![number; bytes].into(),
        version: 1,
        class,
        expires: None,
    }
}

const ENTRY_BYTES: u64 = 1_001 + crate::entry::ENTRY_OVERHEAD_BYTES;

/// Room for four entries of 1 000 bytes, in a shard of 32 pages.
fn walk() -> Walk {
    let mut config = config(32);
    config.budget.entry_bytes_max = 4 * ENTRY_BYTES;
    Walk::new(config)
}

#[test]
fn gives_back_what_was_last_written_as_it_was_written() {
    let mut walk = walk();
    walk.entry(1, 10, EntryClass::Kept).unwrap();
    let second = Entry {
        version: 1 << 44,
        expires: Some(Now(5)),
        ..entry(1, 20, EntryClass::Cached)
    };
    walk.with_entries(|entries| entries.put(AT, &[1], second.clone()))
        .unwrap();
    let found = walk.with_entries(|entries| {
        assert_eq!(entries.get(AT, &[2]), None);
        assert_eq!(entries.get(EntryBox(8), &[1]), None, "another box");
        entries.get(AT, &[1])
    });
    assert_eq!(found, Some(second));
    assert_eq!(walk.shard.stats().entries, 1);
}

#[test]
fn a_full_quota_evicts_cached_entries_and_refuses_beside_kept_ones() {
    let mut walk = walk();
    for number in 0..4 {
        walk.entry(number, 1_000, EntryClass::Cached).unwrap();
    }
    assert!(
        walk.value(0).is_some(),
        "read, so no longer the first to go"
    );
    walk.entry(4, 1_000, EntryClass::Kept).unwrap();
    assert_eq!(walk.value(1), None);
    for number in 5..8 {
        walk.entry(number, 1_000, EntryClass::Kept).unwrap();
    }
    assert_eq!(walk.entry(8, 1, EntryClass::Cached), Err(EntryFull));
    assert_eq!(walk.entry(8, 5_000, EntryClass::Kept), Err(EntryFull));
    walk.entry(4, 1_000, EntryClass::Kept).unwrap();
    assert_eq!(walk.entry(4, 1_001, EntryClass::Kept), Err(EntryFull));
    assert_eq!(
        walk.value(4),
        Some(vec![4; 1_000]),
        "a refused write changes nothing"
    );
}

#[test]
fn what_cannot_fit_even_so_evicts_nothing() {
    let mut walk = walk();
    walk.entry(1, 1_000, EntryClass::Kept).unwrap();
    walk.entry(2, 1_000, EntryClass::Cached).unwrap();
    assert_eq!(walk.entry(3, 4_000, EntryClass::Cached), Err(EntryFull));
    assert!(walk.value(2).is_some());
}

#[test]
fn room_counts_what_is_promised_already_and_is_made_when_it_is_asked_for() {
    let mut walk = walk();
    walk.entry(1, 1_000, EntryClass::Kept).unwrap();
    walk.entry(2, 1_000, EntryClass::Cached).unwrap();
    let mut has_room = |key: u8, ahead| {
        walk.with_entries(|entries| entries.has_room(AT, &[key], 1_000, ahead * ENTRY_BYTES))
    };
    assert!(has_room(3, 1));
    assert!(!has_room(3, 3), "one is kept, three are promised");
    assert!(has_room(1, 3), "in the place of the kept one");
    assert_eq!(walk.value(2), None, "made room");
    assert_eq!(walk.shard.stats().refused, 1);
}

#[test]
fn entries_push_blocks_out_but_not_leased_ones() {
    let mut walk = walk();
    (1..=32).for_each(|number| assert_eq!(walk.put(Walk::block(number, 1)), STORED));
    let lent: Vec<Lent> = (3..=32)
        .map(|number| walk.get(number, Term::Held).unwrap())
        .collect();
    walk.entry(1, 200, EntryClass::Kept).unwrap();
    assert!(!walk.holds(1) && !walk.holds(2));
    assert_eq!(walk.entry(2, 1_000, EntryClass::Kept), Err(EntryFull));
    lent.iter().for_each(|lent| {
        walk.release(lent.lease);
    });
    walk.entry(2, 1_000, EntryClass::Kept).unwrap();
}

#[test]
fn time_is_told_and_ends_nothing_by_itself() {
    let mut walk = walk();
    let timed = |number, ms| Entry {
        expires: Some(Now(ms)),
        ..entry(number, 10, EntryClass::Kept)
    };
    walk.with_entries(|entries| {
        entries.put(AT, &[1], timed(1, 2_000)).unwrap();
        entries.put(AT, &[2], timed(2, 1_500)).unwrap();
        entries.put(EntryBox(3), &[1], timed(1, 1_800)).unwrap();
        entries.put(EntryBox(4), &[1], timed(1, 9_000)).unwrap();
    });
    walk.later(1_000);
    walk.event(Event::Tick);
    let now = walk.now;
    let due = walk.with_entries(|entries| {
        assert_eq!(entries.due_boxes(now, 9), [AT, EntryBox(3)]);
        assert_eq!(entries.due_boxes(now, 1), [AT]);
        assert_eq!(entries.due(AT, Now(1_499), 9), Vec::<Arc<[u8]>>::new());
        entries.due(AT, now, 9)
    });
    assert_eq!(due, [Arc::from([2]), Arc::from([1])]);
    assert!(walk.value(1).is_some());
    walk.with_entries(|entries| {
        assert!(entries.set_expires(AT, &[2], None));
        assert!(entries.set_expires(AT, &[1], Some(Now(9_500))));
        assert!(!entries.set_expires(AT, &[9], None));
        assert_eq!(entries.due_boxes(now, 9), [EntryBox(3)]);
        assert!(entries.remove(EntryBox(3), &[1]));
        assert!(!entries.remove(EntryBox(3), &[1]));
        assert_eq!(entries.due_boxes(Now(9_499), 9), [EntryBox(4)]);
    });
}

#[test]
fn a_box_is_listed_in_the_order_of_its_keys_part_by_part() {
    let mut walk = Walk::pages(1 << 10);
    for number in [9, 3, 200, 7] {
        walk.entry(number, 100, EntryClass::Cached).unwrap();
    }
    walk.with_entries(|entries| {
        let other = entry(1, 1, EntryClass::Kept);
        entries.put(EntryBox(8), &[5], other).unwrap();
        let (mut after, mut seen) = (None::<Arc<[u8]>>, Vec::new());
        loop {
            // Less than one entry, and still one comes.
            let page = entries.page(AT, after.as_deref(), 1);
            assert!(page.entries.len() <= 1);
            after = page
                .entries
                .last()
                .map(|(key, _)| Arc::clone(key))
                .or(after);
            seen.extend(page.entries.iter().map(|(key, _)| key[0]));
            if page.is_last {
                break;
            }
        }
        assert_eq!(seen, [3, 7, 9, 200]);
        let two = usize::try_from(2 * (101 + crate::entry::ENTRY_OVERHEAD_BYTES)).unwrap();
        assert_eq!(entries.page(AT, Some(&[3]), two).entries.len(), 2);
        assert_eq!(entries.box_after(None), Some(AT));
        assert_eq!(entries.box_after(Some(AT)), Some(EntryBox(8)));
        assert_eq!(entries.box_after(Some(EntryBox(8))), None);
    });
}

#[test]
fn a_box_is_cleared_alone_and_a_beginning_step_by_step() {
    let mut walk = Walk::pages(1 << 10);
    walk.with_entries(|entries| {
        for key in [&b"a1"[..], b"a2", b"a3", b"b1", b""] {
            let entry = entry(1, 10, EntryClass::Kept);
            entries.put(AT, key, entry.clone()).unwrap();
            entries.put(EntryBox(8), key, entry).unwrap();
        }
        assert_eq!(entries.remove_beginning(AT, b"a", 2), 2);
        assert_eq!(entries.remove_beginning(AT, b"a", 2), 1);
        assert_eq!(entries.remove_beginning(AT, b"a", 2), 0);
        assert!(entries.get(AT, b"b1").is_some() && entries.get(AT, b"").is_some());
        assert_eq!(entries.clear(AT), 2);
        assert_eq!(entries.clear(AT), 0);
    });
    assert_eq!(walk.shard.stats().entries, 5);
}

#[test]
fn a_purge_of_a_domain_touches_no_entries() {
    let mut walk = walk();
    walk.entry(1, 10, EntryClass::Kept).unwrap();
    let purge = Event::Purge {
        ticket: TICKET,
        arena: ARENA,
    };
    let purged = Effect::Purged {
        ticket: TICKET,
        blocks: 0,
    };
    assert_eq!(walk.event(purge), [purged]);
    assert!(walk.value(1).is_some());
}
