//! Replicas that apply the same commands are the same, from any snapshot on; and what each command promises.

mod jobs;
mod replicas;
mod slots;

use std::collections::BTreeSet;

use ultrakv_actors::BootId;

use super::*;
use crate::directory::{
    BatchBuilder, Change, DirectoryKey, Form, Place, ReportOutcome, Section, Tier,
};
use crate::{Incarnation, NodeId};

const VERSIONS: VersionRange = VersionRange { min: 1, max: 1 };

fn life(node: u128, boot: u128) -> Incarnation {
    Incarnation {
        node: NodeId::from_u128(node),
        boot: BootId::from_u128(boot),
    }
}

fn about(node: u128, boot: u128) -> MemberJoin {
    MemberJoin {
        node: NodeId::from_u128(node),
        disk: 7,
        boot: BootId::from_u128(boot),
        name: format!("node-{node}"),
        binary: "1.2.3".to_owned(),
        versions: VERSIONS,
        addresses: Addresses::default(),
        capacity: MemberCapacity {
            shards: 2,
            bytes_max: 1 << 30,
            tokens_max: None,
        },
        zone: String::new(),
        at_unix_ms: 1_000,
    }
}

fn found() -> Command {
    Command::Found(Found {
        cluster: ClusterId(9),
        version: 1,
        directory_bytes_max: 1 << 20,
        at_unix_ms: 1,
    })
}

fn start(node: u128, boot: u128, replaces: u128) -> Command {
    let replaces = BootId::from_u128(replaces);
    Command::MemberStart(MemberStart {
        about: about(node, boot),
        replaces,
    })
}

fn go(life: Incarnation, from: MemberState, to: MemberState) -> Command {
    Command::MemberState { life, from, to }
}

fn alone(service: &str) -> Sharing {
    Sharing::Alone(service.to_owned())
}

fn service(name: &str, secret: u8) -> Command {
    let secret = Secret::from_bytes([secret; 32]);
    Command::ServiceSet(ServiceSet {
        service: name.to_owned(),
        sharing: alone(name),
        secret,
    })
}

fn confirm(service: &str, generation: u64, life: Incarnation) -> Command {
    Command::PurgeConfirm(PurgeConfirm {
        sharing: alone(service),
        generation,
        life,
    })
}

struct Rig {
    state: State,
    index: u64,
}

impl Rig {
    /// A cluster of these nodes in their first lives, all up, with the service `a`.
    fn of(nodes: u128) -> Self {
        let mut rig = Self {
            state: State::new(),
            index: 0,
        };
        rig.done(&found());
        rig.done(&service("a", 1));
        for node in 1..=nodes {
            rig.done(&Command::MemberJoin(about(node, 1)));
            rig.done(&go(life(node, 1), MemberState::Joining, MemberState::Up));
        }
        rig
    }

    fn apply(&mut self, command: &Command) -> Outcome {
        self.index += 1;
        self.state.apply(self.index, command)
    }

    fn done(&mut self, command: &Command) {
        let outcome = self.apply(command);
        assert_eq!(outcome, Outcome::Applied(Done::Set), "{command:?}");
    }

    /// The tenure of a node's life runs out.
    fn fell(&mut self, life: Incarnation) {
        let view = self.state.view();
        let changed_index = view.members().get(life.node).unwrap().changed_index;
        self.done(&Command::NodeDown {
            life,
            changed_index,
        });
    }

    fn refused(&mut self, command: &Command) -> &'static str {
        match self.apply(command) {
            Outcome::Refused(refusal) => {
                assert!(!refusal.hint().is_empty());
                refusal.code()
            }
            other => panic!("{command:?}: {other:?}"),
        }
    }

    fn waiting(&self, generation: u64) -> Vec<Incarnation> {
        let view = self.state.view();
        view.services()
            .keyring(&alone("a"))
            .unwrap()
            .waiting_for(generation)
            .collect()
    }
}

fn chunks(state: &State) -> Vec<Vec<u8>> {
    let mut freeze = state.freeze().unwrap();
    std::iter::from_fn(|| freeze.next_chunk()).collect()
}

fn rebuilt(chunks: &[Vec<u8>]) -> Result<State, SnapshotError> {
    let mut rebuild = Rebuild::new();
    for chunk in chunks {
        rebuild.push(chunk)?;
    }
    rebuild.finish()
}

#[test]
fn nothing_is_done_before_the_founding_and_there_is_one() {
    let mut rig = Rig {
        state: State::new(),
        index: 0,
    };
    assert_eq!(rig.refused(&service("a", 1)), "cluster_not_founded");
    rig.state = rebuilt(&chunks(&rig.state)).unwrap();
    rig.done(&found());
    assert_eq!(rig.refused(&found()), "cluster_founded_already");
    let again = rig.state.apply(rig.index, &service("a", 1));
    assert!(matches!(
        again,
        Outcome::Refused(Refusal::AppliedBefore { .. })
    ));
}

#[test]
fn a_member_goes_through_its_states_and_not_around_them() {
    use MemberState::{Down, Draining, Joining, Left, Up};
    let mut rig = Rig::of(2);
    let one = life(1, 1);
    assert!(matches!(
        rig.apply(&go(one, Joining, Up)),
        Outcome::Applied(Done::Already)
    ));
    assert!(matches!(
        rig.apply(&go(one, Joining, Draining)),
        Outcome::Stale(Present::Member(_))
    ));
    assert_eq!(rig.refused(&go(one, Up, Left)), "member_transition");
    assert_eq!(
        rig.refused(&Command::MemberLeave { life: one }),
        "member_transition"
    );
    rig.fell(one);
    rig.done(&go(one, Down, Up));
    rig.done(&go(one, Up, Draining));
    rig.done(&Command::MemberLeave { life: one });
    assert_eq!(rig.refused(&go(one, Left, Up)), "unknown_member");
    assert_eq!(rig.refused(&start(1, 2, 1)), "unknown_member");
    rig.done(&go(life(2, 1), Up, Draining));
    assert_eq!(
        rig.refused(&Command::MemberLeave { life: life(2, 1) }),
        "last_member"
    );
    rig.done(&Command::MemberJoin(about(1, 2)));
}

#[test]
fn a_new_life_voids_the_old_one_its_shards_and_its_records() {
    let mut rig = Rig::of(1);
    let (shard_boot, shard) = (BootId::from_u128(70), 1);
    rig.done(&Command::ShardStart {
        life: life(1, 1),
        shard,
        boot: shard_boot,
    });
    assert_eq!(
        rig.refused(&Command::ShardStart {
            life: life(1, 1),
            shard: 2,
            boot: shard_boot
        }),
        "metadata_field"
    );
    let mut batch = BatchBuilder::new();
    let place = Place {
        slot: 3,
        key: DirectoryKey::from_u128(5),
    };
    let form = Form::new(Tier::Device, 0).unwrap();
    let changes = vec![Change::Add {
        place,
        form,
        parent: None,
    }];
    assert!(batch.push(&Section::Report {
        boot: shard_boot,
        sequence: 1,
        changes
    }));
    let batch = Command::Directory(DirectoryBatch(batch.finish()));
    let Outcome::Applied(Done::Directory(applied)) = rig.apply(&batch) else {
        panic!("not applied");
    };
    assert_eq!(applied.outcomes, [(shard_boot, ReportOutcome::Applied)]);
    assert_eq!(rig.state.view().directory().unwrap().stats().holders, 1);

    // Another life than the one it means to replace is not replaced.
    assert!(matches!(
        rig.apply(&start(1, 3, 2)),
        Outcome::Stale(Present::Member(_))
    ));
    rig.done(&start(1, 2, 1));
    assert_eq!(rig.apply(&start(1, 2, 1)), Outcome::Applied(Done::Already));
    let view = rig.state.view();
    let member = view.members().get(NodeId::from_u128(1)).unwrap();
    assert_eq!(
        (member.state, member.shards.len()),
        (MemberState::Joining, 0)
    );
    assert_eq!(view.directory().unwrap().stats().holders, 0);
    assert!(view.members().is_present(life(1, 2)) && !view.members().is_present(life(1, 1)));
    // What the old life still asks for is void.
    for late in [
        Command::NodeDown {
            life: life(1, 1),
            changed_index: 0,
        },
        Command::ShardStart {
            life: life(1, 1),
            shard: 0,
            boot: shard_boot,
        },
        go(life(1, 1), MemberState::Up, MemberState::Draining),
    ] {
        assert_eq!(rig.refused(&late), "other_life");
    }
}

#[test]
fn a_purge_waits_for_every_life_that_has_not_confirmed_lost_its_lease_or_ended() {
    let mut rig = Rig::of(4);
    let before = rig.state.view();
    let purge = Command::Purge {
        sharing: alone("a"),
        generation: 0,
    };
    let Outcome::Applied(Done::Purge {
        generation: 1,
        waiting,
    }) = rig.apply(&purge)
    else {
        panic!("not purged");
    };
    assert_eq!(waiting, [life(1, 1), life(2, 1), life(3, 1), life(4, 1)]);
    // Sent twice, it does not purge twice.
    assert_eq!(rig.apply(&purge), Outcome::Stale(Present::Generation(1)));
    let after = rig.state.view();
    let domain = |view: &View| view.services().find("a").unwrap().1.effective(b"");
    assert!(domain(&before) != domain(&after));

    rig.done(&confirm("a", 1, life(1, 1)));
    rig.done(&start(2, 2, 1));
    rig.done(&Command::LeaseLost { life: life(3, 1) });
    assert_eq!(rig.waiting(1), [life(4, 1)]);
    // A second purge asks everybody again; who confirms only the first is still waited for.
    let purge = Command::Purge {
        sharing: alone("a"),
        generation: 1,
    };
    assert!(rig.apply(&purge).is_applied());
    rig.done(&confirm("a", 1, life(4, 1)));
    assert!(rig.waiting(1).is_empty());
    assert_eq!(
        rig.waiting(2),
        [life(1, 1), life(2, 2), life(3, 1), life(4, 1)]
    );
    let early = rig.apply(&confirm("a", 3, life(4, 1)));
    assert_eq!(early, Outcome::Stale(Present::Generation(2)));
    // A node that left may still serve until its lease ends.
    rig.fell(life(4, 1));
    rig.done(&Command::MemberLeave { life: life(4, 1) });
    assert!(rig.waiting(2).contains(&life(4, 1)));
}

#[test]
fn a_secret_is_kept_while_a_service_uses_it_and_is_never_shown() {
    let mut rig = Rig::of(1);
    let domain = |rig: &Rig| {
        rig.state
            .view()
            .services()
            .find("a")
            .map(|(_, keys)| keys.effective(b""))
    };
    let first = domain(&rig).unwrap();
    assert_eq!(
        rig.apply(&service("a", 99)),
        Outcome::Applied(Done::Already)
    );
    assert!(domain(&rig) == Some(first));
    let shown = format!("{:?} {:?}", rig.state.view(), service("a", 0xab));
    assert!(
        shown.contains("redacted") && !shown.contains("171, 171"),
        "{shown}"
    );
    assert!(serde_json::to_string(&service("a", 1)).is_err());
    rig.done(&Command::ServiceRemove {
        service: "a".to_owned(),
    });
    assert!(domain(&rig).is_none());
    rig.done(&service("a", 99));
    assert!(domain(&rig) != Some(first));
}

#[test]
fn records_are_replaced_only_by_who_knows_the_present_one() {
    let mut rig = Rig::of(1);
    let digest = TokenDigest([4; 32]);
    let token = |replaces| {
        let scopes = BTreeSet::from(["a:read".to_owned()]);
        let name = "ci".to_owned();
        Command::TokenSet(TokenSet {
            digest,
            name,
            scopes,
            expires_unix_ms: Some(5),
            replaces,
        })
    };
    rig.done(&token(None));
    let written = rig.index;
    let Outcome::Stale(Present::Token(Some(present))) = rig.apply(&token(None)) else {
        panic!("not stale");
    };
    assert_eq!(present.written_index, written);
    rig.done(&token(Some(written)));
    rig.done(&Command::TokenRemove { digest });
    assert_eq!(
        rig.apply(&token(Some(written))),
        Outcome::Stale(Present::Token(None))
    );

    let quota = |service: &str, replaces| {
        let quota = Some(QuotaRecord {
            bytes_max: Some(1),
            ..QuotaRecord::default()
        });
        Command::QuotaSet(QuotaSet {
            service: service.to_owned(),
            quota,
            replaces,
        })
    };
    assert_eq!(rig.refused(&quota("b", None)), "unknown_service");
    rig.done(&quota("a", None));
    assert!(matches!(
        rig.apply(&quota("a", None)),
        Outcome::Stale(Present::Quota(Some(_)))
    ));

    let pin = PinKey {
        sharing: alone("a"),
        key: [1; 32],
    };
    rig.done(&Command::PinSet(PinSet {
        pin: pin.clone(),
        bytes: Some(10),
        at_unix_ms: 1,
    }));
    assert!(rig.state.view().access().pin(&pin).is_some());
    assert!(
        rig.apply(&Command::Purge {
            sharing: alone("a"),
            generation: 0
        })
        .is_applied()
    );
    assert!(
        rig.state.view().access().pin(&pin).is_none(),
        "a purged block is not pinned"
    );
}

#[test]
fn a_version_is_raised_only_when_every_member_speaks_it() {
    let mut rig = Rig::of(1);
    let raise = Command::VersionRaise { from: 1, to: 2 };
    assert_eq!(rig.refused(&raise), "cluster_version_not_spoken");
    let mut wide = about(1, 2);
    wide.versions.max = 2;
    let replaces = BootId::from_u128(1);
    rig.done(&Command::MemberStart(MemberStart {
        about: wide,
        replaces,
    }));
    rig.done(&raise);
    assert_eq!(rig.apply(&raise), Outcome::Stale(Present::Version(2)));
    // The old binary is not let in again.
    assert_eq!(rig.refused(&start(1, 3, 2)), "cluster_version_not_spoken");
    assert_eq!(
        rig.refused(&Command::MemberJoin(about(2, 1))),
        "cluster_version_not_spoken"
    );
}

#[test]
fn an_entry_of_a_newer_build_stops_the_reader_and_control_commands_go_first() {
    let mut builder = EntryBuilder::new();
    let batch = Command::Directory(DirectoryBatch(BatchBuilder::new().finish()));
    assert!(builder.push(&batch) && builder.push(&found()) && builder.push(&service("a", 1)));
    let (mut bytes, order) = builder.finish();
    assert_eq!(order, [1, 2, 0]);
    assert_eq!(
        Entry::decode(&bytes).unwrap().0,
        [found(), service("a", 1), batch]
    );
    bytes[2] = 2;
    let newer = Entry::decode(&bytes).unwrap_err();
    assert_eq!(newer, EntryDecodeError::Newer { found: 2, known: 1 });
    assert_eq!(newer.code(), "entry_newer");
    // To raise the version is of the version that it raises to.
    let mut builder = EntryBuilder::new();
    assert!(builder.push(&Command::VersionRaise { from: 1, to: 2 }));
    let (mut bytes, _) = builder.finish();
    assert_eq!(Entry::decode(&bytes), Err(newer));
    bytes[2] = 1;
    assert_eq!(Entry::decode(&bytes).unwrap_err().code(), "entry_damaged");
}

#[test]
fn an_entry_takes_one_full_directory_batch_and_not_two() {
    let full = Command::Directory(DirectoryBatch(vec![7; crate::directory::BATCH_BYTES_MAX]));
    let mut builder = EntryBuilder::new();
    assert!(builder.push(&full) && !builder.push(&full));
    let (bytes, _) = builder.finish();
    assert!(bytes.len() <= ENTRY_BYTES_MAX);
    assert_eq!(Entry::decode(&bytes).unwrap().0.len(), 1);
    let more = Command::Directory(DirectoryBatch(vec![7; ENTRY_BYTES_MAX]));
    assert!(!EntryBuilder::new().push(&more));
}
