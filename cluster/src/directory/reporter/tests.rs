//! Whatever waits, is merged or is dropped: what the directory lists in the end is what the shard said.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::directory::{DirectoryKey, Tier};

const BOOT: BootId = BootId::from_u128(9);

fn place(number: u16) -> Place {
    Place {
        slot: number % 3,
        key: DirectoryKey::from_u128(u128::from(number)),
    }
}

fn form(codec: u8) -> Form {
    Form::new(Tier::Host, codec).unwrap()
}

/// What a directory does with the sections of one life.
#[derive(Default)]
struct Listed {
    sequence: u64,
    now: BTreeMap<Place, Form>,
    before: BTreeMap<Place, Form>,
}

impl Listed {
    fn take(&mut self, section: Section) {
        let next = self.sequence + 1;
        self.sequence = match section {
            Section::Report {
                boot,
                sequence,
                changes,
            } => {
                assert_eq!(boot, BOOT);
                assert!(!changes.is_empty());
                for change in changes {
                    self.before.remove(&change.place());
                    match change {
                        Change::Add { place, form, .. } => self.now.insert(place, form),
                        Change::Remove { place } => self.now.remove(&place),
                    };
                }
                sequence
            }
            Section::InventoryBegin { sequence, .. } => {
                self.before = std::mem::take(&mut self.now);
                sequence
            }
            Section::InventoryEnd { sequence, .. } => {
                self.before.clear();
                sequence
            }
            other => panic!("{other:?} is not a reporter's"),
        };
        assert_eq!(self.sequence, next);
    }
}

#[derive(Clone, Debug)]
enum Step {
    Change { number: u16, codec: Option<u8> },
    Cut { records: usize },
    Inventory,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => (0..40_u16, proptest::option::of(0..3_u8)).prop_map(|(number, codec)| Step::Change { number, codec }),
        3 => (0..12_usize).prop_map(|records| Step::Cut { records }),
        1 => Just(Step::Inventory),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(300))]

    #[test]
    fn lists_what_the_shard_holds_but_for_what_was_dropped(
        steps in proptest::collection::vec(step(), 1..300),
        waiting_max in 1..60_usize,
    ) {
        let mut reporter = Reporter::new(BOOT, waiting_max);
        let (mut held, mut listed) = (BTreeMap::new(), Listed::default());
        for step in steps {
            match step {
                Step::Change { number, codec: Some(codec) } => {
                    let fresh = held.insert(place(number), form(codec)).is_none();
                    reporter.add(place(number), form(codec), None, fresh);
                }
                Step::Change { number, codec: None } => {
                    if held.remove(&place(number)).is_some() {
                        reporter.remove(place(number));
                    }
                }
                Step::Cut { records } => {
                    let section = reporter.cut(records);
                    prop_assert!(section.as_ref().is_none_or(|section| section.records() <= records.max(1)));
                    section.into_iter().for_each(|section| listed.take(section));
                }
                Step::Inventory => {
                    reporter.begin_inventory();
                    held.iter().for_each(|(place, form)| reporter.add(*place, *form, None, true));
                    reporter.end_inventory();
                }
            }
            prop_assert!(reporter.waiting() <= waiting_max);
            prop_assert_eq!(reporter.room(), waiting_max - reporter.waiting());
        }
        while let Some(section) = reporter.cut(7) {
            listed.take(section);
        }
        prop_assert!(listed.before.is_empty());
        prop_assert_eq!(listed.sequence, reporter.sequence());
        let dropped = reporter.dropped();
        if dropped.adds == 0 && !reporter.inventory_due() {
            prop_assert_eq!(&listed.now, &held);
        }
        // Only a lost removal leaves something listed that is not held, and then an inventory is due.
        let stale = listed.now.keys().any(|place| !held.contains_key(place));
        prop_assert!(!stale || reporter.inventory_due());
    }
}

#[test]
fn an_addition_and_its_removal_leave_nothing_to_say() {
    let mut reporter = Reporter::new(BOOT, 10);
    reporter.add(place(1), form(0), None, true);
    reporter.remove(place(1));
    assert_eq!(reporter.cut(100), None);
    // But a block that may be listed is removed, however often it changed since.
    reporter.add(place(1), form(2), None, false);
    reporter.remove(place(1));
    let Some(Section::Report {
        sequence: 1,
        changes,
        ..
    }) = reporter.cut(100)
    else {
        panic!("a removal waits");
    };
    assert_eq!(changes, [Change::Remove { place: place(1) }]);
}

#[test]
fn additions_are_dropped_first_and_a_lost_removal_makes_an_inventory_due() {
    let mut reporter = Reporter::new(BOOT, 2);
    reporter.add(place(1), form(0), None, true);
    reporter.add(place(2), form(0), None, true);
    reporter.add(place(3), form(0), None, true);
    reporter.remove(place(4));
    reporter.remove(place(5));
    assert_eq!(
        reporter.dropped(),
        Dropped {
            adds: 3,
            removals: 0
        }
    );
    assert!(!reporter.inventory_due());
    reporter.remove(place(6));
    assert_eq!(
        reporter.dropped(),
        Dropped {
            adds: 3,
            removals: 1
        }
    );
    assert!(reporter.inventory_due());
}

#[test]
fn no_place_waits_longer_than_one_round() {
    let mut reporter = Reporter::new(BOOT, 100);
    (0..9).for_each(|number| reporter.remove(place(number)));
    let mut seen = Vec::new();
    for _ in 0..3 {
        // Low places go on changing.
        (0..3).for_each(|number| reporter.remove(place(number)));
        let Some(Section::Report { changes, .. }) = reporter.cut(4) else {
            panic!("changes wait");
        };
        seen.extend(changes.iter().map(Change::place));
    }
    assert!(
        (0..9).all(|number| seen.contains(&place(number))),
        "{seen:?}"
    );
}
