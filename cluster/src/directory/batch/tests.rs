//! What is written is read, and nothing else is.

use proptest::prelude::*;

use super::*;
use crate::directory::key::Tier;

fn place() -> impl Strategy<Value = Place> {
    let key = any::<u128>().prop_map(DirectoryKey::from_u128);
    (0..ultrakv_cache::SLOT_COUNT, key).prop_map(|(slot, key)| Place { slot, key })
}

fn form() -> impl Strategy<Value = Form> {
    let tier = prop_oneof![
        Just(Tier::Device),
        Just(Tier::Host),
        Just(Tier::Disk),
        Just(Tier::Archive)
    ];
    (tier, 0..16_u8).prop_filter_map("a codec below 16", |(tier, codec)| Form::new(tier, codec))
}

fn change() -> impl Strategy<Value = Change> {
    prop_oneof![
        (place(), form(), proptest::option::of(place())).prop_map(|(place, form, parent)| {
            Change::Add {
                place,
                form,
                parent,
            }
        }),
        place().prop_map(|place| Change::Remove { place }),
    ]
}

fn section() -> impl Strategy<Value = Section> {
    let boot = || any::<u128>().prop_map(BootId::from_u128);
    let node = || any::<u128>().prop_map(NodeId::from_u128);
    prop_oneof![
        (node(), any::<u16>(), boot()).prop_map(|(node, shard, boot)| Section::Open(Life {
            node,
            shard,
            boot
        })),
        node().prop_map(Section::Close),
        (
            boot(),
            any::<u64>(),
            proptest::collection::vec(change(), 0..40)
        )
            .prop_map(|(boot, sequence, changes)| Section::Report {
                boot,
                sequence,
                changes
            }),
        (boot(), any::<u64>())
            .prop_map(|(boot, sequence)| Section::InventoryBegin { boot, sequence }),
        (boot(), any::<u64>())
            .prop_map(|(boot, sequence)| Section::InventoryEnd { boot, sequence }),
        (boot(), any::<u64>(), place()).prop_map(|(boot, sequence, place)| Section::Correction {
            boot,
            sequence,
            place
        }),
    ]
}

fn encode(sections: &[Section]) -> Vec<u8> {
    let mut builder = BatchBuilder::new();
    assert!(sections.iter().all(|section| builder.push(section)));
    builder.finish()
}

/// A head that fits these records.
fn sealed(records: &[u8]) -> Vec<u8> {
    let mut bytes = b"UKVD\x01\0\0\0".to_vec();
    bytes.extend_from_slice(&xxh3_64(records).to_le_bytes());
    bytes.extend_from_slice(records);
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn what_is_written_is_read(sections in proptest::collection::vec(section(), 0..12)) {
        let bytes = encode(&sections);
        prop_assert!(bytes.len() <= BATCH_BYTES_MAX);
        prop_assert_eq!(decode(&bytes).unwrap(), sections);
    }

    #[test]
    fn one_meaning_has_one_encoding(
        sections in proptest::collection::vec(section(), 1..6),
        at in any::<prop::sample::Index>(),
        bit in 0..8_u32,
    ) {
        let mut records = encode(&sections).split_off(HEAD_BYTES);
        let at = at.index(records.len());
        records[at] ^= 1 << bit;
        let bytes = sealed(&records);
        if let Ok(other) = decode(&bytes) {
            prop_assert_ne!(&other, &sections);
            prop_assert_eq!(encode(&other), bytes);
        }
    }

    #[test]
    fn damage_is_noticed(
        sections in proptest::collection::vec(section(), 1..6),
        at in any::<prop::sample::Index>(),
        bit in 0..8_u32,
        cut in any::<prop::sample::Index>(),
    ) {
        let whole = encode(&sections);
        let mut bytes = whole.clone();
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        prop_assert!(decode(&bytes).is_err());
        prop_assert!(decode(&whole[..cut.index(whole.len())]).is_err());
    }

    #[test]
    fn noise_is_refused_or_read_as_it_stands(
        ops in proptest::collection::vec((0..12_u8, 0..80_u8, any::<[u8; 4]>(), any::<[u8; 2]>()), 0..30),
    ) {
        let mut records = Vec::new();
        for (op, form, [a, b, c, d], [e, f]) in ops {
            let mut record = [0; RECORD_BYTES];
            record[..6].copy_from_slice(&[op, form % 70, a, b % 65, c % 4, d % 2]);
            (record[20], record[40]) = (e, f);
            records.extend_from_slice(&record);
        }
        let bytes = sealed(&records);
        if let Ok(sections) = decode(&bytes) {
            prop_assert_eq!(encode(&sections), bytes);
        }
        let _ = decode(&records);
    }
}

#[test]
fn a_raft_entry_takes_a_thousand_changes_and_no_more_than_fit() {
    let place = Place {
        slot: 7,
        key: DirectoryKey::from_u128(1),
    };
    let changes = vec![Change::Remove { place }; 1_000];
    let report = Section::Report {
        boot: BootId::from_u128(5),
        sequence: 1,
        changes,
    };
    let mut builder = BatchBuilder::new();
    assert!(builder.is_empty() && builder.push(&report));
    assert!(
        !builder.push(&report),
        "{} records are left",
        builder.room()
    );
    let rest = vec![Change::Remove { place }; builder.room() - 1];
    assert!(builder.push(&Section::Report {
        boot: BootId::from_u128(5),
        sequence: 2,
        changes: rest
    }));
    assert_eq!(builder.room(), 0);
    let bytes = builder.finish();
    assert!(bytes.len() <= BATCH_BYTES_MAX && bytes.len() + RECORD_BYTES > BATCH_BYTES_MAX);
    assert_eq!(decode(&bytes).unwrap().len(), 2);
}

#[test]
fn every_error_has_its_own_name_and_a_hint() {
    let place = Place {
        slot: 7,
        key: DirectoryKey::from_u128(1),
    };
    let change = Record::of_change(&Change::Remove { place }).encode();
    let boot = BootId::from_u128(5);
    let (mut report, _) = Record::of(&Section::Report {
        boot,
        sequence: 1,
        changes: vec![],
    });
    report.number = 2;
    let mut other_version = sealed(&[]);
    other_version[4] = 9;
    let mut damaged = sealed(&change);
    damaged[30] ^= 1;
    let errors = [
        decode(&sealed(&change[..47])).unwrap_err(),
        decode(&other_version).unwrap_err(),
        decode(&damaged).unwrap_err(),
        decode(&sealed(&[0; RECORD_BYTES])).unwrap_err(),
        decode(&sealed(&[report.encode(), change].concat())).unwrap_err(),
        decode(&sealed(&change)).unwrap_err(),
    ];
    let codes: std::collections::BTreeSet<_> = errors.iter().map(BatchError::code).collect();
    assert_eq!(codes.len(), errors.len(), "{errors:?}");
    assert!(
        errors
            .iter()
            .all(|error| !error.hint().is_empty() && !error.to_string().is_empty())
    );
    let too_long = decode(&sealed(&vec![0; BATCH_BYTES_MAX])).unwrap_err();
    assert!(matches!(too_long, BatchError::Length { .. }));
}
