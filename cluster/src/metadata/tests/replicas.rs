//! Generated commands on two replicas, one of which goes through a snapshot; and bytes that nobody wrote.

use proptest::prelude::*;

use super::*;
use crate::Epoch;

fn any_life() -> impl Strategy<Value = Incarnation> {
    (1..4_u128, 1..4_u128).prop_map(|(node, boot)| life(node, boot))
}

fn any_state() -> impl Strategy<Value = MemberState> {
    use MemberState::{Down, Draining, Joining, Left, Up};
    prop::sample::select(vec![Joining, Up, Draining, Down, Left])
}

fn any_sharing() -> impl Strategy<Value = Sharing> {
    let group = Sharing::Group("a".to_owned());
    prop::sample::select(vec![alone("a"), alone("b"), group])
}

fn any_records() -> impl Strategy<Value = Command> {
    let report = (1..4_u128, 1..4_u64, 0..4_u16, 0..4_u128);
    let report = report.prop_map(|(boot, sequence, slot, key)| {
        let mut batch = BatchBuilder::new();
        let place = Place {
            slot,
            key: DirectoryKey::from_u128(key),
        };
        let form = Form::new(Tier::Device, 0).unwrap();
        let changes = vec![Change::Add {
            place,
            form,
            parent: None,
        }];
        let boot = BootId::from_u128(boot);
        assert!(batch.push(&Section::Report {
            boot,
            sequence,
            changes
        }));
        Command::Directory(DirectoryBatch(batch.finish()))
    });
    let noise = prop::collection::vec(any::<u8>(), 0..60);
    let noise = noise.prop_map(|bytes| Command::Directory(DirectoryBatch(bytes)));
    prop_oneof![3 => report, 1 => noise]
}

fn any_access() -> impl Strategy<Value = Command> {
    let replaces = prop::option::of(1..30_u64);
    let token = (0..3_u8, replaces.clone()).prop_map(|(digest, replaces)| {
        Command::TokenSet(TokenSet {
            digest: TokenDigest([digest; 32]),
            name: "t".repeat(usize::from(digest) * 200),
            scopes: BTreeSet::new(),
            expires_unix_ms: None,
            replaces,
        })
    });
    let gone = (0..3_u8).prop_map(|digest| Command::TokenRemove {
        digest: TokenDigest([digest; 32]),
    });
    let quota = (any::<bool>(), replaces).prop_map(|(some, replaces)| {
        let quota = some.then(QuotaRecord::default);
        Command::QuotaSet(QuotaSet {
            service: "a".to_owned(),
            quota,
            replaces,
        })
    });
    let pin =
        (any_sharing(), 0..3_u8, prop::option::of(0..2_u64)).prop_map(|(sharing, key, bytes)| {
            Command::PinSet(PinSet {
                pin: PinKey {
                    sharing,
                    key: [key; 32],
                },
                bytes,
                at_unix_ms: 3,
            })
        });
    prop_oneof![token, gone, quota, pin]
}

fn any_slots() -> impl Strategy<Value = Command> {
    let slot = || prop::sample::select(vec![0_u16, 1, 64, 16_383, 16_384]);
    let nodes = prop::collection::vec((1..4_u128).prop_map(NodeId::from_u128), 0..4);
    let map = prop::collection::vec(prop::sample::select(vec![0_u8, 1, 2, 3, 255]), 0..8);
    let stage =
        (0..4_u64, nodes, slot(), 0..4_u8, map).prop_map(|(plan, nodes, first, width, map)| {
            Command::SlotsStage(SlotsStage {
                plan,
                nodes,
                first,
                width,
                map,
            })
        });
    // So that slots are claimed now and then.
    let plain = (0..3_u64, 1..4_u128).prop_map(|(plan, node)| {
        let list: std::sync::Arc<[NodeId]> = [NodeId::from_u128(node)].into();
        Command::SlotsStage(SlotsStage::new(
            plan,
            0,
            &[std::sync::Arc::clone(&list), list],
        ))
    });
    let claim = (slot(), 0..3_u64, any_life()).prop_map(|(slot, epoch, member)| {
        let epoch = Epoch(epoch);
        Command::SlotClaim(SlotClaim {
            slot,
            epoch,
            member,
        })
    });
    let members = prop::collection::vec(any_life(), 0..3);
    let change = (slot(), 0..4_u64, members).prop_map(|(slot, epoch, in_sync)| {
        let epoch = Epoch(epoch);
        Command::SlotChange(SlotChange {
            slot,
            epoch,
            in_sync,
        })
    });
    prop_oneof![1 => stage, 2 => plain, 3 => claim, 3 => change]
}

fn any_job() -> impl Strategy<Value = Command> {
    let id = || (0..4_u128).prop_map(JobId);
    let node = || (1..4_u128).prop_map(NodeId::from_u128);
    let kind = prop_oneof![
        node().prop_map(|node| JobKind::Join { node }),
        (node(), any::<bool>()).prop_map(|(node, then_leave)| JobKind::Drain { node, then_leave }),
        Just(JobKind::Rebalance),
    ];
    let bytes_s = || prop::option::of(0..3_u64);
    let create = (id(), kind, bytes_s()).prop_map(|(id, kind, throttle_bytes_s)| {
        Command::JobCreate(JobCreate {
            id,
            kind,
            throttle_bytes_s,
            at_unix_ms: 9,
        })
    });
    use JobState::{Cancelled, Cancelling, Done, Failed, Running};
    let state = prop::sample::select(vec![Running, Cancelling, Done, Failed, Cancelled]);
    let update = (id(), 1..30_u64, state, 0..3_u32, 0..3_u32).prop_map(
        |(id, changed_index, state, done, total)| {
            Command::JobUpdate(JobUpdate {
                id,
                changed_index,
                state,
                reason: "r".repeat(usize::try_from(100 * total).unwrap()),
                done,
                total,
            })
        },
    );
    prop_oneof![
        3 => create,
        3 => update,
        1 => id().prop_map(|id| Command::JobCancel { id }),
        1 => (id(), bytes_s()).prop_map(|(id, bytes_s)| Command::JobThrottle { id, bytes_s }),
    ]
}

fn any_command() -> impl Strategy<Value = Command> {
    let member = prop_oneof![
        any_life()
            .prop_map(|life| Command::MemberJoin(about(life.node.to_u128(), life.boot.to_u128()))),
        (1..4_u128, 1..4_u128, 1..4_u128).prop_map(|(node, boot, old)| start(node, boot, old)),
        (any_life(), 0..3_u16, 1..4_u128).prop_map(|(life, shard, boot)| {
            Command::ShardStart {
                life,
                shard,
                boot: BootId::from_u128(boot),
            }
        }),
        (any_life(), any_state(), any_state()).prop_map(|(life, from, to)| go(life, from, to)),
        (any_life(), 0..40_u64).prop_map(|(life, changed_index)| Command::NodeDown {
            life,
            changed_index
        }),
        any_life().prop_map(|life| Command::MemberLeave { life }),
        any_life().prop_map(|life| Command::LeaseLost { life }),
        (0..3_u16, 0..2_u16).prop_map(|(from, to)| Command::VersionRaise { from, to }),
        Just(found()),
    ];
    let name = || prop::sample::select(vec!["a", "b", "", "\n"]).prop_map(str::to_owned);
    let set = (name(), any_sharing(), any::<u8>());
    let service = prop_oneof![
        set.prop_map(|(service, sharing, secret)| {
            let secret = Secret::from_bytes([secret; 32]);
            Command::ServiceSet(ServiceSet {
                service,
                sharing,
                secret,
            })
        }),
        name().prop_map(|service| Command::ServiceRemove { service }),
        (any_sharing(), 0..3_u64).prop_map(|(sharing, generation)| Command::Purge {
            sharing,
            generation
        }),
        (any_sharing(), 0..4_u64, any_life()).prop_map(|(sharing, generation, life)| {
            Command::PurgeConfirm(PurgeConfirm {
                sharing,
                generation,
                life,
            })
        }),
    ];
    prop_oneof![
        6 => member,
        4 => service,
        2 => any_access(),
        2 => any_records(),
        3 => any_slots(),
        2 => any_job(),
    ]
}

/// Through the bytes of the log.
fn read_back(commands: &[Command]) -> Entry {
    let mut builder = EntryBuilder::new();
    for command in commands {
        assert!(builder.push(command));
    }
    Entry::decode(&builder.finish().0).unwrap()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn replicas_are_equal_byte_for_byte_from_any_snapshot_on(
        entries in prop::collection::vec(prop::collection::vec(any_command(), 1..4), 1..40),
        cut in any::<prop::sample::Index>(),
    ) {
        let (mut one, mut other) = (State::new(), State::new());
        let cut = cut.index(entries.len());
        one.apply(1, &found());
        other.apply(1, &found());
        for (at, commands) in entries.iter().enumerate() {
            let index = 2 + u64::try_from(at).unwrap();
            let entry = read_back(commands);
            let outcomes = one.apply_entry(index, &entry);
            prop_assert_eq!(outcomes.len(), commands.len());
            prop_assert_eq!(&outcomes, &other.apply_entry(index, &entry));
            let told = rmp_serde::to_vec(&outcomes).unwrap();
            prop_assert_eq!(&rmp_serde::from_slice::<Vec<Outcome>>(&told).unwrap(), &outcomes);
            if at == cut {
                other = rebuilt(&chunks(&other)).unwrap();
            }
        }
        prop_assert_eq!(chunks(&one), chunks(&other));
    }

    #[test]
    fn bytes_that_nobody_wrote_are_an_error_and_no_more(
        noise in prop::collection::vec(any::<u8>(), 0..200),
        commands in prop::collection::vec(any_command(), 1..6),
        at in any::<prop::sample::Index>(),
        bit in 0..8_u8,
    ) {
        let _ = Entry::decode(&noise);
        let _ = Rebuild::new().push(&noise);
        let mut builder = EntryBuilder::new();
        for command in &commands {
            builder.push(command);
        }
        let (mut bytes, _) = builder.finish();
        prop_assert!(Entry::decode(&bytes[..at.index(bytes.len())]).is_err());
        let flipped = at.index(bytes.len());
        bytes[flipped] ^= 1 << bit;
        if let Ok(entry) = Entry::decode(&bytes) {
            let mut state = State::new();
            state.apply(1, &found());
            state.apply_entry(2, &entry);
        }
    }

    #[test]
    fn a_damaged_snapshot_is_refused(
        commands in prop::collection::vec(any_command(), 1..30),
        at in any::<prop::sample::Index>(),
        bit in 0..8_u8,
        which in any::<prop::sample::Index>(),
    ) {
        let mut state = State::new();
        state.apply(1, &found());
        for (index, command) in (2..).zip(&commands) {
            state.apply(index, command);
        }
        let mut chunks = chunks(&state);
        prop_assert!(rebuilt(&chunks[..chunks.len() - 1]).is_err());
        let which = which.index(chunks.len());
        let flipped = at.index(chunks[which].len());
        chunks[which][flipped] ^= 1 << bit;
        prop_assert!(rebuilt(&chunks).is_err());
    }
}
