//! Slots change for who knows their epoch, and lose the members whose life is over; at random, against the rules.

use std::sync::Arc;

use proptest::prelude::*;
use ultrakv_cache::SLOT_COUNT;

use super::*;
use crate::Epoch;
use crate::entry::{Ownership, Proposal, Why};

fn node(id: u128) -> NodeId {
    NodeId::from_u128(id)
}

/// The life of the shard `number` of a node in its life `boot`.
fn shard(id: u128, boot: u128, number: u16) -> Incarnation {
    life(id, 1_000 * boot + u128::from(number))
}

fn start_shard(id: u128, boot: u128, number: u16) -> Command {
    Command::ShardStart {
        life: life(id, boot),
        shard: number,
        boot: shard(id, boot, number).boot,
    }
}

fn list(ids: &[u128]) -> Arc<[NodeId]> {
    ids.iter().map(|id| node(*id)).collect()
}

fn stage(plan: u64, first: u16, lists: &[&[u128]]) -> Command {
    let lists: Vec<_> = lists.iter().map(|ids| list(ids)).collect();
    Command::SlotsStage(SlotsStage::new(plan, first, &lists))
}

fn change(slot: u16, epoch: u64, in_sync: &[Incarnation]) -> Command {
    let proposal = Proposal {
        epoch: Epoch(epoch),
        in_sync: in_sync.to_vec(),
        why: Why::Renew,
    };
    Command::SlotChange(SlotChange::of(slot, &proposal))
}

fn claim(slot: u16, epoch: u64, member: Incarnation) -> Command {
    Command::SlotClaim(SlotClaim {
        slot,
        epoch: Epoch(epoch),
        member,
    })
}

impl Rig {
    /// Nodes with one shard each, number 0.
    fn with_shards(nodes: u128) -> Self {
        let mut rig = Self::of(nodes);
        for id in 1..=nodes {
            rig.done(&start_shard(id, 1, 0));
        }
        rig
    }

    fn slot(&self, slot: u16) -> Ownership {
        let view = self.state.view();
        view.slots().get(slot).unwrap().ownership.clone()
    }

    fn set(&mut self, command: &Command, epoch: u64, in_sync: &[Incarnation]) {
        let outcome = self.apply(command);
        assert!(outcome.is_applied(), "{command:?}: {outcome:?}");
        let ownership = outcome.ownership().unwrap();
        assert_eq!(
            (ownership.epoch, &*ownership.in_sync),
            (Epoch(epoch), in_sync)
        );
    }

    fn stale(&mut self, command: &Command, epoch: u64) {
        let outcome = self.apply(command);
        assert!(matches!(outcome, Outcome::Stale(_)), "{outcome:?}");
        assert_eq!(outcome.ownership().unwrap().epoch, Epoch(epoch));
    }
}

#[test]
fn a_slot_is_claimed_by_the_first_target_alive_and_changes_for_who_knows_its_epoch() {
    let mut rig = Rig::with_shards(3);
    let [one, two, three] = [1, 2, 3].map(|id| shard(id, 1, 0));
    rig.stale(&claim(7, 0, one), 0);
    rig.done(&stage(0, 7, &[&[1, 2], &[2]]));
    rig.stale(&claim(7, 0, two), 0);
    rig.stale(&claim(7, 1, one), 0);
    // A life of the node is none of a shard.
    rig.stale(&claim(7, 0, life(1, 1)), 0);
    rig.set(&claim(7, 0, one), 1, &[one]);
    rig.stale(&claim(7, 1, one), 1);
    // The first target is down, so the next one is the first.
    rig.fell(life(2, 1));
    rig.done(&stage(1, 8, &[&[2, 3]]));
    rig.set(&claim(8, 0, three), 1, &[three]);
    rig.done(&go(life(2, 1), MemberState::Down, MemberState::Up));

    rig.set(&change(7, 1, &[one, two]), 2, &[one, two]);
    rig.stale(&change(7, 1, &[one]), 2);
    rig.set(&change(7, 2, &[two, one]), 3, &[two, one]);
    assert_eq!(rig.slot(7).founded, Epoch(1));
    // Who holds nothing cannot own, and nobody is named twice, nor nobody at all.
    for wrong in [&[three, two][..], &[two, shard(2, 1, 1)], &[]] {
        assert_eq!(rig.refused(&change(7, 3, wrong)), "metadata_field");
    }
    assert_eq!(
        rig.refused(&change(SLOT_COUNT, 0, &[two])),
        "metadata_field"
    );
    assert_eq!(rig.refused(&claim(SLOT_COUNT, 0, two)), "metadata_field");
    // A newcomer whose life is over, or that is down, does not come in.
    rig.stale(&change(7, 3, &[two, one, shard(3, 2, 0)]), 3);
    rig.fell(life(3, 1));
    rig.stale(&change(7, 3, &[two, one, three]), 3);
}

#[test]
fn a_node_that_is_down_leaves_the_sets_of_others_and_keeps_what_it_alone_holds() {
    let mut rig = Rig::with_shards(3);
    let [one, two, three] = [1, 2, 3].map(|id| shard(id, 1, 0));
    rig.done(&stage(0, 0, &[&[1, 2], &[1]]));
    rig.set(&claim(0, 0, one), 1, &[one]);
    rig.set(&claim(1, 0, one), 1, &[one]);
    rig.set(&change(0, 1, &[one, two, three]), 2, &[one, two, three]);
    let before = rig.state.view();
    let changed_index = before.members().get(node(1)).unwrap().changed_index;
    let down = Command::NodeDown {
        life: life(1, 1),
        changed_index,
    };
    rig.done(&down);
    assert_eq!(rig.apply(&down), Outcome::Applied(Done::Already));
    assert_eq!(rig.slot(0).in_sync, [two, three]);
    assert_eq!(
        (rig.slot(1).epoch, rig.slot(1).in_sync),
        (Epoch(1), vec![one])
    );
    // It comes back as the same life and goes on; a late command does not fell it again.
    rig.done(&go(life(1, 1), MemberState::Down, MemberState::Up));
    assert!(matches!(
        rig.apply(&down),
        Outcome::Stale(Present::Member(_))
    ));
    rig.set(&change(1, 1, &[one]), 2, &[one]);
    // What it proposed before it fell again is taken: then it is not needed any more.
    rig.fell(life(1, 1));
    rig.set(&change(1, 2, &[one, two]), 3, &[two]);
    // Its next life has nothing, also where it alone had it.
    rig.done(&go(life(1, 1), MemberState::Down, MemberState::Up));
    rig.set(&change(0, 3, &[two, three, one]), 4, &[two, three, one]);
    rig.done(&start(2, 2, 1));
    assert_eq!(rig.slot(0).in_sync, [three, one]);
    assert_eq!(
        (rig.slot(1).epoch, rig.slot(1).founded),
        (Epoch(4), Epoch(1))
    );
    assert!(rig.slot(1).in_sync.is_empty());
    rig.set(&claim(1, 4, one), 5, &[one]);
    assert_eq!(rig.slot(1).founded, Epoch(5), "it begins empty again");
}

#[test]
fn a_shard_that_restarts_and_a_member_that_leaves_take_what_they_held_with_them() {
    let mut rig = Rig::with_shards(2);
    let [one, two] = [1, 2].map(|id| shard(id, 1, 0));
    rig.done(&stage(0, 0, &[&[1, 2], &[2]]));
    rig.set(&claim(0, 0, one), 1, &[one]);
    rig.set(&change(0, 1, &[one, two]), 2, &[one, two]);
    rig.set(&claim(1, 0, two), 1, &[two]);
    // Another shard of the node is another life.
    rig.done(&start_shard(1, 1, 1));
    assert_eq!(rig.slot(0).epoch, Epoch(2));
    let again = Command::ShardStart {
        life: life(1, 1),
        shard: 0,
        boot: BootId::from_u128(5),
    };
    rig.done(&again);
    assert_eq!(rig.apply(&again), Outcome::Applied(Done::Already));
    assert_eq!(
        (rig.slot(0).epoch, rig.slot(0).in_sync),
        (Epoch(3), vec![two])
    );
    rig.done(&go(life(2, 1), MemberState::Up, MemberState::Draining));
    rig.done(&Command::MemberLeave { life: life(2, 1) });
    let view = rig.state.view();
    assert!(view.slots().ownerless() == u32::from(SLOT_COUNT));
    // The first target left: the next one is the first that is alive.
    rig.set(&claim(0, 4, life(1, 5)), 5, &[life(1, 5)]);
    assert!(rebuilt(&chunks(&rig.state)).is_ok());
}

#[test]
fn a_plan_is_staged_by_who_knows_the_present_one_and_touches_only_what_differs() {
    let mut rig = Rig::of(3);
    let before = rig.state.view();
    rig.done(&stage(0, 0, &[&[1, 2][..]; 200]));
    let after = rig.state.view();
    let changed: Vec<_> = Slots::changed_chunks(before.slots(), after.slots()).collect();
    assert_eq!(changed, [0..64, 64..128, 128..192, 192..256]);
    let mut lists: Vec<&[u128]> = vec![&[1, 2]; 200];
    lists[70] = &[2, 1, 3];
    rig.done(&stage(1, 0, &lists));
    let later = rig.state.view();
    let changed: Vec<_> = Slots::changed_chunks(after.slots(), later.slots()).collect();
    assert_eq!(changed, std::slice::from_ref(&(64..128)));
    let changed: Vec<_> = Slots::changed(after.slots(), later.slots()).collect();
    assert_eq!(changed, [(70, later.slots().get(70).unwrap())]);
    assert_eq!(later.slots().get(70).unwrap().targets, list(&[2, 1, 3]));
    assert!(later.slots().revision() > after.slots().revision());

    let stale = rig.apply(&stage(1, 0, &[&[1]]));
    assert_eq!(stale, Outcome::Stale(Present::Plan(2)));
    assert_eq!(rig.refused(&stage(2, 0, &[&[1, 9]])), "unknown_member");
    let end = SLOT_COUNT - 1;
    assert_eq!(rig.refused(&stage(2, end, &[&[1], &[1]])), "metadata_field");
    rig.done(&stage(2, end, &[&[3]]));
    // Several parts of a plan in one entry follow each other.
    let entry = Entry(vec![stage(3, 0, &[&[1]]), stage(4, 1, &[&[2]])]);
    rig.index += 1;
    let outcomes = rig.state.apply_entry(rig.index, &entry);
    assert!(outcomes.iter().all(Outcome::is_applied), "{outcomes:?}");
}

#[test]
fn a_stage_that_means_nothing_is_refused() {
    let good = SlotsStage::new(0, 0, &[list(&[1, 2]), list(&[2])]);
    assert_eq!(good.map, [0, 1, 1, 0xff]);
    let with = |change: &dyn Fn(&mut SlotsStage)| {
        let mut stage = good.clone();
        change(&mut stage);
        stage
    };
    let wrong = [
        with(&|stage| stage.width = 0),
        with(&|stage| stage.width = 9),
        with(&|stage| stage.map.clear()),
        with(&|stage| stage.map.push(0)),
        with(&|stage| stage.map[1] = 2),
        with(&|stage| stage.map[1] = 0),
        with(&|stage| stage.map[2] = 0xff),
        with(&|stage| stage.nodes[1] = stage.nodes[0]),
        SlotsStage::new(0, 0, &[list(&[1, 2, 3, 4, 5, 6, 7, 8, 9])]),
    ];
    let mut rig = Rig::of(9);
    for stage in wrong {
        let command = Command::SlotsStage(stage);
        assert_eq!(rig.refused(&command), "metadata_field", "{command:?}");
    }
    rig.done(&Command::SlotsStage(good));
}

#[test]
fn many_nodes_are_numbered_by_two_bytes_and_many_changes_fit_an_entry() {
    let ids: Vec<u128> = (1..=300).collect();
    let lists: Vec<Arc<[NodeId]>> = ids.chunks(3).map(list).collect();
    let wide = SlotsStage::new(0, 5, &lists);
    assert_eq!(wide.map.len(), 300 * 2);
    let mut rig = Rig::of(300);
    rig.done(&Command::SlotsStage(wide));
    let view = rig.state.view();
    for (slot, targets) in (5..).zip(&lists) {
        assert_eq!(view.slots().get(slot).unwrap().targets, *targets);
    }
    assert!(rebuilt(&chunks(&rig.state)).is_ok());

    let [one, two, three] = [1, 2, 3].map(|id| shard(id, 1, 0));
    let mut builder = EntryBuilder::new();
    let changes = (0..SLOT_COUNT).map(|slot| change(slot, 70_000, &[one, two, three]));
    let taken = changes.take_while(|change| builder.push(change)).count();
    assert!(taken >= 500, "{taken}");
    let (bytes, _) = builder.finish();
    let batch = crate::raft::types::Batch::new(bytes.into()).unwrap();
    assert_eq!(Entry::decode(batch.bytes()).unwrap().0.len(), taken);
}

#[test]
fn counts_tell_what_each_node_has_and_is_to_have() {
    let mut rig = Rig::with_shards(2);
    let [one, two] = [1, 2].map(|id| shard(id, 1, 0));
    rig.done(&stage(0, 0, &[&[1, 2], &[2], &[1]]));
    rig.set(&claim(0, 0, one), 1, &[one]);
    rig.set(&claim(2, 0, one), 1, &[one]);
    rig.set(&change(2, 1, &[one, two]), 2, &[one, two]);
    let view = rig.state.view();
    let counts = view.slots().counts();
    let of_one = SlotCounts {
        owned: 2,
        target_owned: 2,
        ..SlotCounts::default()
    };
    let of_two = SlotCounts {
        following: 1,
        target_owned: 1,
        target_following: 1,
        arriving: 2,
        leaving: 1,
        ..SlotCounts::default()
    };
    assert_eq!(counts, [(node(1), of_one), (node(2), of_two)].into());
    assert_eq!(view.slots().unsettled(), 3, "no slot is as planned yet");
    rig.set(&change(2, 2, &[one]), 3, &[one]);
    assert_eq!(rig.state.view().slots().unsettled(), 2);
}

/// What happens to the slots; made a command with a look at the state, so that most of them take effect.
#[derive(Clone, Debug)]
enum Step {
    Start(u128),
    Shard(u128, u16),
    Go(u128, MemberState),
    Down(u128, bool),
    Leave(u128),
    Join(u128),
    Stage(u16, Vec<Vec<u128>>),
    Claim(u16),
    Change {
        slot: u16,
        add: Option<(u128, bool)>,
        remove: Option<usize>,
        turn: usize,
        is_late: bool,
    },
}

const SLOTS: [u16; 4] = [0, 63, 64, SLOT_COUNT - 1];
const NODES: u128 = 4;

fn any_step() -> impl Strategy<Value = Step> {
    let id = || 1..=NODES;
    let slot = || prop::sample::select(SLOTS.to_vec());
    let state = prop::sample::select(vec![MemberState::Up, MemberState::Draining]);
    let lists = prop::collection::vec(prop::collection::vec(id(), 1..4), 1..66);
    let add = (id(), 0..6_u8).prop_map(|(id, dead)| (id, dead == 0));
    let members = (prop::option::of(add), prop::option::of(0..3_usize));
    prop_oneof![
        2 => id().prop_map(Step::Start),
        6 => (id(), 0..2_u16).prop_map(|(id, shard)| Step::Shard(id, shard)),
        4 => (id(), state).prop_map(|(id, to)| Step::Go(id, to)),
        3 => (id(), any::<bool>()).prop_map(|(id, is_late)| Step::Down(id, is_late)),
        1 => id().prop_map(Step::Leave),
        3 => id().prop_map(Step::Join),
        2 => (slot(), lists).prop_map(|(slot, lists)| Step::Stage(slot, lists)),
        12 => slot().prop_map(Step::Claim),
        20 => (slot(), members, 0..3_usize, 0..8_u8).prop_map(|(slot, (add, remove), turn, late)| {
            Step::Change { slot, add, remove, turn, is_late: late == 0 }
        }),
    ]
}

fn shard_of(view: &View, id: u128) -> Option<Incarnation> {
    let record = view.members().get(node(id))?;
    let boot = *record.shards.values().next()?;
    Some(Incarnation {
        node: node(id),
        boot,
    })
}

/// The present life of a node's shard, or one that never was.
fn added(view: &View, (id, is_dead): (u128, bool), drawn: u128) -> Option<Incarnation> {
    let dead = is_dead.then(|| life(id, drawn));
    dead.or_else(|| shard_of(view, id))
}

/// The command of a step; none when there is nothing that it could be about.
fn command_of(step: &Step, view: &View, drawn: u128) -> Option<Command> {
    let record = |id: &u128| view.members().get(node(*id));
    let present = |id: &u128| record(id).map(|record| (life(*id, record.boot.to_u128()), record));
    Some(match step {
        Step::Start(id) => {
            let (_, record) = present(id)?;
            start(*id, drawn, record.boot.to_u128())
        }
        Step::Shard(id, shard) => Command::ShardStart {
            life: present(id)?.0,
            shard: *shard,
            boot: BootId::from_u128(drawn),
        },
        Step::Go(id, to) => {
            let (life, record) = present(id)?;
            go(life, record.state, *to)
        }
        Step::Down(id, is_late) => {
            let (life, record) = present(id)?;
            let changed_index = record.changed_index - u64::from(*is_late);
            Command::NodeDown {
                life,
                changed_index,
            }
        }
        Step::Leave(id) => Command::MemberLeave {
            life: present(id)?.0,
        },
        Step::Join(id) => Command::MemberJoin(about(*id, drawn)),
        Step::Stage(first, lists) => {
            let mut lists = lists.clone();
            for list in &mut lists {
                list.sort_unstable();
                list.dedup();
            }
            let lists: Vec<&[u128]> = lists.iter().map(Vec::as_slice).collect();
            stage(view.slots().plan(), *first, &lists)
        }
        Step::Claim(slot) => {
            let record = view.slots().get(*slot)?;
            let mut targets = record.targets.iter().map(|node| node.to_u128());
            let member = targets.find_map(|id| shard_of(view, id))?;
            claim(*slot, record.ownership.epoch.0, member)
        }
        Step::Change {
            slot,
            add,
            remove,
            turn,
            is_late,
        } => {
            let ownership = &view.slots().get(*slot)?.ownership;
            let mut in_sync = ownership.in_sync.clone();
            if !in_sync.is_empty() {
                let turn = turn % in_sync.len();
                in_sync.rotate_left(turn);
            }
            if let Some(at) = remove.filter(|at| *at < in_sync.len()) {
                in_sync.remove(at);
            }
            in_sync.extend(add.and_then(|add| added(view, add, drawn)));
            change(
                *slot,
                ownership.epoch.0.wrapping_sub(u64::from(*is_late)),
                &in_sync,
            )
        }
    })
}

/// What one command may do to the slots, told from outside.
fn check(before: &View, after: &View, command: &Command, outcome: &Outcome) {
    let is_down = |node| {
        let record = after.members().get(node);
        record.is_some_and(|record| record.state == MemberState::Down)
    };
    let mut differ = BTreeSet::new();
    for ((slot, old), (_, new)) in before.slots().iter().zip(after.slots().iter()) {
        let (was, is) = (&old.ownership, &new.ownership);
        if old != new {
            differ.insert(slot / 64);
        }
        if was == is {
            continue;
        }
        assert_eq!(is.epoch.0, was.epoch.0 + 1, "slot {slot}");
        let is_claim = matches!(command, Command::SlotClaim(_));
        let founded = if is_claim { is.epoch } else { was.founded };
        assert_eq!(is.founded, founded);
        let gone: Vec<_> = was
            .in_sync
            .iter()
            .filter(|m| !is.in_sync.contains(m))
            .collect();
        match command {
            Command::SlotChange(_) => {
                // Somebody who held everything is among those whom the command named and left in.
                assert!(!was.in_sync.is_empty() && !is.in_sync.is_empty());
            }
            Command::SlotClaim(claim) => {
                assert!(was.in_sync.is_empty() && is.in_sync == [claim.member]);
            }
            Command::NodeDown { life, .. } => {
                assert!(gone.iter().all(|member| member.node == life.node));
                assert!(!is.in_sync.is_empty());
            }
            Command::MemberStart(_) | Command::ShardStart { .. } | Command::MemberLeave { .. } => {
                assert!(!gone.is_empty() && is.in_sync.len() + gone.len() == was.in_sync.len());
            }
            other => panic!("{other:?} changed slot {slot}"),
        }
        let nodes: BTreeSet<_> = is.in_sync.iter().map(|member| member.node).collect();
        assert_eq!(nodes.len(), is.in_sync.len());
        assert!(nodes.len() == 1 || !nodes.into_iter().any(is_down));
    }
    for (_, record) in after.slots().iter() {
        let members = &record.ownership.in_sync;
        assert!(members.iter().all(|member| {
            let record = after.members().get(member.node).unwrap();
            record.shards.values().any(|boot| *boot == member.boot)
        }));
    }
    let told = Slots::changed_chunks(before.slots(), after.slots());
    let told: BTreeSet<_> = told.map(|range| range.start / 64).collect();
    assert!(told.is_superset(&differ), "{told:?} {differ:?}");
    for (slot, record) in Slots::changed(before.slots(), after.slots()) {
        assert_ne!(before.slots().get(slot), Some(record));
    }
    let is_told = |slot| Slots::changed(before.slots(), after.slots()).any(|(at, _)| at == slot);
    for (slot, record) in after.slots().iter() {
        assert!(
            before.slots().get(slot) == Some(record) || is_told(slot),
            "{slot}"
        );
    }
    let is_changed = after.slots().revision() > before.slots().revision();
    assert!(is_changed || differ.is_empty());
    if !outcome.is_applied() {
        assert!(differ.is_empty() && !is_changed);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens_the_rules_of_slots_hold_and_a_snapshot_says_the_same(
        steps in prop::collection::vec(any_step(), 1..80),
    ) {
        let mut rig = Rig::with_shards(NODES);
        rig.done(&stage(0, 0, &[&[1, 2, 3][..]; 65]));
        rig.done(&stage(1, SLOT_COUNT - 1, &[&[4, 2]]));
        for (step, drawn) in steps.iter().zip(2_000..) {
            let before = rig.state.view();
            if let Some(command) = command_of(step, &before, drawn) {
                let outcome = rig.apply(&command);
                check(&before, &rig.state.view(), &command, &outcome);
            }
        }
        let again = rebuilt(&chunks(&rig.state)).unwrap();
        prop_assert!(again.view().slots() == rig.state.view().slots());
    }
}
