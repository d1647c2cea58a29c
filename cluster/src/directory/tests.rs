//! The directory beside a plain model, its replicas beside each other, and readers beside the writer.

mod model;
mod snapshots;
mod threads;

use ultrakv_actors::BootId;
use ultrakv_cache::{BlockAddress, BlockKey};

use super::*;
use crate::NodeId;

const PLENTY_BYTES: u64 = 1 << 30;

fn key(number: u64) -> BlockKey {
    BlockKey::from_bytes(*blake3::hash(&number.to_le_bytes()).as_bytes())
}

/// A chain of blocks `first..first + count` in runs of sixteen.
fn chain(first: u64, count: u64) -> Vec<BlockAddress> {
    let address = |at: u64| BlockAddress {
        key: key(first + at),
        run: key(first + at / 16 * 16),
    };
    (0..count).map(address).collect()
}

fn host() -> Form {
    Form::new(Tier::Host, 0).unwrap()
}

fn life(node: u128, shard: u16, boot: u128) -> Life {
    Life {
        node: NodeId::from_u128(node),
        shard,
        boot: BootId::from_u128(boot),
    }
}

/// Additions of a chain's blocks, each head with its parent.
fn adds(chain: &[BlockAddress]) -> Vec<Change> {
    let parents = std::iter::once(None).chain(chain.iter().map(Some));
    let changes = chain
        .iter()
        .zip(parents)
        .map(|(address, parent)| Change::Add {
            place: Place::of(address),
            form: host(),
            parent: parent.filter(|_| address.key == address.run).map(Place::of),
        });
    changes.collect()
}

fn removes(chain: &[BlockAddress]) -> Vec<Change> {
    let places = chain.iter().map(Place::of);
    places.map(|place| Change::Remove { place }).collect()
}

fn report(life: Life, sequence: u64, changes: Vec<Change>) -> Section {
    Section::Report {
        boot: life.boot,
        sequence,
        changes,
    }
}

fn outcome(directory: &Directory, section: Section) -> ReportOutcome {
    directory.apply(&[section]).outcomes[0].1
}

fn prefix(directory: &Directory, chain: &[BlockAddress]) -> usize {
    let mut found = Prefix::default();
    directory.longest_prefix(chain, Accept::ALL, &mut found);
    found.blocks()
}

/// Applies nothing until every void holder is swept.
fn settle(directory: &Directory) {
    for _ in 0..10_000 {
        directory.apply(&[]);
        if directory.stats().void_holders == 0 {
            return;
        }
    }
    panic!("the sweep never ends: {:?}", directory.stats());
}

#[test]
fn the_longest_prefix_stops_at_the_first_gap() {
    let directory = Directory::new(PLENTY_BYTES);
    let (one, two) = (life(1, 0, 11), life(2, 0, 22));
    let chain = chain(0, 100);
    let mut changes = adds(&chain);
    changes.remove(70);
    directory.apply(&[
        Section::Open(one),
        report(one, 1, changes),
        Section::Open(two),
        report(two, 1, adds(&chain[..20])),
    ]);
    assert_eq!(prefix(&directory, &chain), 70);
    assert_eq!(
        prefix(&directory, &chain[71..]),
        29,
        "a chain is looked up from what it is given"
    );

    let mut found = Prefix::default();
    directory.longest_prefix(&chain, Accept::ALL, &mut found);
    assert_eq!(found.lives(), [one, two]);
    let runs: Vec<_> = found
        .runs()
        .iter()
        .map(|run| (run.first, run.blocks))
        .collect();
    assert_eq!(runs, [(0, 16), (16, 16), (32, 16), (48, 16), (64, 6)]);
    let held = |run: usize| -> Vec<_> {
        found
            .holders(&found.runs()[run])
            .iter()
            .map(|holder| (holder.life, holder.held))
            .collect()
    };
    assert_eq!(held(0), [(0, 0xffff), (1, 0xffff)]);
    assert_eq!(held(1), [(0, 0xffff), (1, 0x000f)]);
    assert_eq!(held(4), [(0, 0x003f)]);
}

#[test]
fn a_copy_in_a_codec_that_the_reader_does_not_accept_is_no_copy() {
    let directory = Directory::new(PLENTY_BYTES);
    let one = life(1, 0, 11);
    let chain = chain(0, 3);
    let mut changes = adds(&chain);
    let coarse = Form::new(Tier::Disk, 5).unwrap();
    changes[1] = Change::Add {
        place: Place::of(&chain[1]),
        form: coarse,
        parent: None,
    };
    directory.apply(&[Section::Open(one), report(one, 1, changes)]);
    let mut found = Prefix::default();
    directory.longest_prefix(&chain, Accept::codecs(&[0]), &mut found);
    assert_eq!(found.blocks(), 1);
    directory.longest_prefix(&chain, Accept::codecs(&[0, 5]), &mut found);
    assert_eq!(found.blocks(), 3);
    assert_eq!(
        found.holders(&found.runs()[0])[0].tier,
        Tier::Disk,
        "the slowest of them"
    );
}

#[test]
fn reports_are_applied_once_and_in_turn() {
    let directory = Directory::new(PLENTY_BYTES);
    let one = life(1, 0, 11);
    let blocks = chain(0, 4);
    let add = |at: usize, sequence| report(one, sequence, adds(&blocks[at..=at]));
    assert_eq!(outcome(&directory, add(0, 1)), ReportOutcome::Unknown);
    assert_eq!(
        outcome(&directory, Section::Open(one)),
        ReportOutcome::Applied
    );
    assert_eq!(outcome(&directory, add(0, 1)), ReportOutcome::Applied);
    assert_eq!(
        outcome(&directory, report(one, 1, removes(&blocks))),
        ReportOutcome::Old
    );
    assert_eq!(
        outcome(&directory, add(1, 3)),
        ReportOutcome::Gap { expected: 2 }
    );
    assert_eq!(prefix(&directory, &blocks), 1, "neither was applied");
    // An inventory may leave a gap; what it does not list is void at its end, and not before.
    let boot = one.boot;
    assert_eq!(
        outcome(&directory, Section::InventoryBegin { boot, sequence: 7 }),
        ReportOutcome::Applied
    );
    assert_eq!(
        outcome(&directory, report(one, 8, adds(&blocks[1..]))),
        ReportOutcome::Applied
    );
    assert_eq!(prefix(&directory, &blocks), 4);
    assert_eq!(
        outcome(&directory, Section::InventoryEnd { boot, sequence: 9 }),
        ReportOutcome::Applied
    );
    assert_eq!(prefix(&directory, &blocks), 0);
    assert_eq!(prefix(&directory, &blocks[1..]), 3);
    assert_eq!(directory.life(boot), Some((one, 9)));
    settle(&directory);
    assert_eq!(
        (directory.stats().records, directory.stats().holders),
        (3, 3)
    );
}

#[test]
fn a_correction_counts_unless_a_later_report_was_applied() {
    let directory = Directory::new(PLENTY_BYTES);
    let one = life(1, 0, 11);
    let blocks = chain(0, 2);
    directory.apply(&[
        Section::Open(one),
        report(one, 1, adds(&blocks)),
        report(one, 2, vec![]),
    ]);
    let correction = |boot, sequence| Section::Correction {
        boot,
        sequence,
        place: Place::of(&blocks[1]),
    };
    assert_eq!(
        directory.apply(&[correction(one.boot, 1)]).removed,
        0,
        "the answer is older than report 2"
    );
    assert_eq!(
        directory
            .apply(&[correction(BootId::from_u128(99), 2)])
            .removed,
        0,
        "another life"
    );
    assert_eq!(prefix(&directory, &blocks), 2);
    assert_eq!(directory.apply(&[correction(one.boot, 2)]).removed, 1);
    assert_eq!(prefix(&directory, &blocks), 1);
    assert_eq!(
        directory.apply(&[correction(one.boot, 3)]).removed,
        0,
        "it is gone already"
    );
}

#[test]
fn a_new_boot_id_voids_every_record_at_once_and_the_sweep_frees_them_later() {
    let directory = Directory::new(PLENTY_BYTES);
    let (old, new) = (life(1, 0, 11), life(1, 0, 12));
    let blocks = chain(0, 20_000);
    directory.apply(&[Section::Open(old), report(old, 1, adds(&blocks))]);
    assert_eq!(directory.stats().holders, 20_000);
    directory.apply(&[Section::Open(new)]);
    assert_eq!(prefix(&directory, &blocks), 0);
    let stats = directory.stats();
    assert_eq!((stats.holders, stats.lives), (0, 1));
    assert!(
        stats.void_holders >= 20_000 - 4_096,
        "one step of the sweep at most: {stats:?}"
    );
    assert_eq!(
        outcome(&directory, report(old, 2, adds(&blocks[..1]))),
        ReportOutcome::Unknown
    );
    settle(&directory);
    let stats = directory.stats();
    assert_eq!(
        (stats.records, stats.edges, stats.charged_bytes),
        (0, 0, 0),
        "nothing is left"
    );
}

#[test]
fn a_tail_is_a_leaf_only_while_no_child_run_is_listed() {
    let directory = Directory::new(PLENTY_BYTES);
    let (one, two) = (life(1, 0, 11), life(2, 0, 22));
    let blocks = chain(0, 48);
    let (tail, head) = (Place::of(&blocks[15]), [blocks[16]]);
    let child = |sequence, life, changes| report(life, sequence, changes);
    directory.apply(&[Section::Open(one), Section::Open(two)]);
    // The child run is listed before its parent, and by two holders.
    let all = adds(&blocks);
    directory.apply(&[child(1, one, vec![all[16]]), child(1, two, vec![all[16]])]);
    assert!(directory.has_child_run(tail));
    assert!(
        directory.holders(tail).is_empty(),
        "known as a parent, held by nobody"
    );
    assert_eq!((directory.stats().records, directory.stats().edges), (1, 1));
    directory.apply(&[child(2, one, all[..16].to_vec())]);
    assert!(directory.has_child_run(tail));
    directory.apply(&[child(3, one, removes(&head))]);
    assert!(
        directory.has_child_run(tail),
        "the other holder still has it"
    );
    directory.apply(&[Section::Close(two.node)]);
    settle(&directory);
    assert!(!directory.has_child_run(tail));
    assert_eq!(prefix(&directory, &blocks), 16);
    directory.apply(&[child(4, one, removes(&blocks[..16]))]);
    assert_eq!(directory.stats().records, 0);
}

#[test]
fn as_many_holders_as_can_be_named_and_no_more() {
    let directory = Directory::new(PLENTY_BYTES);
    let blocks = chain(0, 1);
    let place = Place::of(&blocks[0]);
    let lives: Vec<Life> = (0..40)
        .map(|number| life(number, 0, 100 + number))
        .collect();
    let mut refused = 0;
    for life in &lives {
        refused += directory
            .apply(&[Section::Open(*life), report(*life, 1, adds(&blocks))])
            .refused;
    }
    assert_eq!(refused, 40 - u64::try_from(HOLDERS_MAX).unwrap());
    let named: Vec<Life> = directory
        .holders(place)
        .iter()
        .map(|holder| holder.life)
        .collect();
    assert_eq!(named, lives[..HOLDERS_MAX]);
    for life in &lives[..HOLDERS_MAX] {
        assert_eq!(
            directory
                .apply(&[report(*life, 2, removes(&blocks))])
                .removed,
            1
        );
    }
    let stats = directory.stats();
    assert_eq!(
        (stats.records, stats.holders, stats.charged_bytes),
        (0, 0, 0)
    );
}

#[test]
fn a_full_directory_refuses_additions_and_takes_removals() {
    let bytes_max = 100_000;
    let directory = Directory::new(bytes_max);
    let one = life(1, 0, 11);
    let blocks = chain(0, 2_000);
    let applied = directory.apply(&[Section::Open(one), report(one, 1, adds(&blocks))]);
    let stats = directory.stats();
    assert_eq!(applied.added + applied.refused, 2_000);
    assert!(applied.added > 900 && applied.refused > 0, "{applied:?}");
    assert!(stats.charged_bytes <= bytes_max);
    assert_eq!(
        (stats.records, stats.refused),
        (applied.added, applied.refused)
    );
    let listed = usize::try_from(applied.added).unwrap();
    assert_eq!(
        prefix(&directory, &blocks),
        listed,
        "those before the limit"
    );
    let again = directory.apply(&[report(one, 2, adds(&blocks[..listed]))]);
    assert_eq!(
        (again.added, again.refused),
        (0, 0),
        "what is listed is not refused"
    );
    assert_eq!(
        directory
            .apply(&[report(one, 3, removes(&blocks[..100]))])
            .removed,
        100
    );
    let more = directory.apply(&[report(one, 4, adds(&blocks[listed..listed + 50]))]);
    assert_eq!((more.added, more.refused), (50, 0));
}

#[test]
fn lives_run_out_only_until_a_sweep_frees_void_ones() {
    let directory = Directory::new(PLENTY_BYTES);
    let many: Vec<Section> = (0..4_096)
        .map(|number| Section::Open(life(number, 0, 10_000 + number)))
        .collect();
    directory.apply(&many);
    let one_more = Section::Open(life(5_000, 0, 1));
    assert_eq!(
        outcome(&directory, one_more.clone()),
        ReportOutcome::LivesFull
    );
    let begin = Section::InventoryBegin {
        boot: BootId::from_u128(10_000),
        sequence: 1,
    };
    assert_eq!(outcome(&directory, begin.clone()), ReportOutcome::LivesFull);
    directory.apply(&[Section::Close(NodeId::from_u128(7))]);
    for _ in 0..40 {
        directory.apply(&[]);
    }
    assert_eq!(
        outcome(&directory, begin),
        ReportOutcome::Applied,
        "it was not counted as sent"
    );
    assert_eq!(outcome(&directory, one_more), ReportOutcome::LivesFull);
}

#[test]
fn a_slot_is_listed_in_pieces() {
    let directory = Directory::new(PLENTY_BYTES);
    let one = life(1, 0, 11);
    // One run of a hundred blocks: branches behind one head.
    let run = key(0);
    let blocks: Vec<BlockAddress> = (0..100)
        .map(|number| BlockAddress {
            key: key(number),
            run,
        })
        .collect();
    directory.apply(&[Section::Open(one), report(one, 1, adds(&blocks))]);
    let (mut listed, mut from) = (
        Vec::new(),
        Some(Place {
            slot: run.slot(),
            key: DirectoryKey::default(),
        }),
    );
    while let Some(place) = from {
        let (more, next) = directory.list(place, 7);
        listed.extend(more);
        from = next;
    }
    let mut keys: Vec<DirectoryKey> = blocks
        .iter()
        .map(|address| DirectoryKey::of(&address.key))
        .collect();
    keys.sort();
    assert_eq!(
        listed.iter().map(|listing| listing.key).collect::<Vec<_>>(),
        keys
    );
    assert!(listed.iter().all(|listing| listing.holders
        == [BlockHolder {
            life: one,
            form: host()
        }]));
    assert_eq!(
        directory.list(
            Place {
                slot: u16::MAX,
                key: DirectoryKey::default()
            },
            7
        ),
        (vec![], None)
    );
}
