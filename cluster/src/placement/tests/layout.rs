//! A plan on its way through the log, and what people are told meanwhile.

use super::*;
use crate::Incarnation;
use crate::metadata::{
    Addresses, ClusterId, Command, Entry, EntryBuilder, Found, MemberCapacity, MemberJoin,
    SlotClaim, State, VersionRange,
};
use ultrakv_actors::BootId;

fn state(count: usize) -> State {
    let mut state = State::new();
    let found = Command::Found(Found {
        cluster: ClusterId(1),
        version: 1,
        directory_bytes_max: 1 << 20,
        at_unix_ms: 1,
    });
    assert!(state.apply(1, &found).is_applied());
    for (id, index) in (1..=count).zip(2..) {
        let id = u128::try_from(id).unwrap();
        let join = Command::MemberJoin(MemberJoin {
            node: NodeId::from_u128(id),
            disk: 1,
            boot: BootId::from_u128(id),
            name: format!("node-{id}"),
            binary: "1".to_owned(),
            versions: VersionRange { min: 1, max: 1 },
            addresses: Addresses::default(),
            capacity: MemberCapacity {
                shards: 1,
                bytes_max: 1 << 20,
                tokens_max: None,
            },
            zone: String::new(),
            at_unix_ms: 1,
        });
        assert!(state.apply(index, &join).is_applied());
    }
    state
}

/// Applies commands through the bytes of the log, as many an entry as fit.
fn propose(state: &mut State, commands: &[Command]) -> usize {
    let mut entries = 0;
    let mut rest = commands;
    while !rest.is_empty() {
        let mut builder = EntryBuilder::new();
        let taken = rest
            .iter()
            .take_while(|command| builder.push(command))
            .count();
        assert!(taken > 0, "a command fits no entry");
        let entry = Entry::decode(&builder.finish().0).unwrap();
        let index = state.view().applied_index() + 1;
        let outcomes = state.apply_entry(index, &entry);
        assert!(
            outcomes.iter().all(|outcome| outcome.is_applied()),
            "{outcomes:?}"
        );
        rest = &rest[taken..];
        entries += 1;
    }
    entries
}

fn staged(state: &mut State, next: &[Targets]) -> usize {
    let view = state.view();
    let commands = stages(view.slots().plan(), &present(view.slots()), next);
    let commands: Vec<Command> = commands.into_iter().map(Command::SlotsStage).collect();
    propose(state, &commands);
    assert_eq!(present(state.view().slots()), next);
    commands.len()
}

#[test]
fn a_plan_reaches_the_slots_in_entries_whatever_its_size() {
    for (count, parts) in [(1, 1), (3, 1), (200, 1), (300, 3), (1_000, 4)] {
        let mut state = state(count);
        let ids: Vec<NodeId> = nodes(count).into_iter().map(|node| node.node).collect();
        let list = |slot: usize| {
            (slot..slot + count.min(3))
                .map(|at| ids[at % count])
                .collect()
        };
        let next: Vec<Targets> = (0..usize::from(SLOT_COUNT)).map(list).collect();
        assert!(staged(&mut state, &next) <= parts, "{count} nodes");
        assert_eq!(staged(&mut state, &next), 0, "nothing differs");
    }
}

#[test]
fn only_the_range_that_differs_is_staged_and_only_what_differs_there_changes() {
    let mut state = state(3);
    let view = state.view();
    let nodes = plan_nodes(view.members(), |_| true);
    let mut next = plan(&nodes, 2, &present(view.slots())).unwrap().targets;
    staged(&mut state, &next);
    let before = state.view();
    for slot in [100, 1_000] {
        let mut nodes: Vec<NodeId> = next[slot].to_vec();
        nodes.rotate_left(1);
        next[slot] = nodes.into();
    }
    let [stage] = &*stages(before.slots().plan(), &present(before.slots()), &next) else {
        panic!("one command is enough");
    };
    assert_eq!((stage.first, stage.map.len()), (100, 901 * 2));
    staged(&mut state, &next);
    let after = state.view();
    let changed = Slots::changed_chunks(before.slots(), after.slots());
    let changed: Vec<u16> = changed.map(|range| range.start).collect();
    assert_eq!(changed, [64, 960]);
}

#[test]
fn states_of_members_say_what_they_may_be_given() {
    use MemberState::{Draining, Joining, Up};
    let mut state = state(4);
    let life = |id: u128| Incarnation {
        node: NodeId::from_u128(id),
        boot: BootId::from_u128(id),
    };
    let go = |life, from, to| Command::MemberState { life, from, to };
    propose(
        &mut state,
        &[
            go(life(1), Joining, Up),
            go(life(2), Joining, Up),
            go(life(2), Up, Draining),
        ],
    );
    let down = Command::NodeDown {
        life: life(3),
        changed_index: 4,
    };
    propose(&mut state, &[down]);
    let shares = |is_ready: bool| -> Vec<Share> {
        let view = state.view();
        let nodes = plan_nodes(view.members(), |_| is_ready);
        nodes.into_iter().map(|node| node.share).collect()
    };
    let Share::Full = shares(true)[3] else {
        panic!("a ready one takes its share");
    };
    assert_eq!(
        shares(false),
        [Share::Full, Share::Nothing, Share::Present, Share::Present]
    );
}

#[test]
fn what_is_under_way_is_counted() {
    let mut state = state(2);
    let shard = Incarnation {
        node: NodeId::from_u128(1),
        boot: BootId::from_u128(77),
    };
    let start = Command::ShardStart {
        life: Incarnation {
            node: shard.node,
            boot: BootId::from_u128(1),
        },
        shard: 0,
        boot: shard.boot,
    };
    propose(&mut state, &[start]);
    let view = state.view();
    let nodes = plan_nodes(view.members(), |_| true);
    let next = plan(&nodes, 2, &present(view.slots())).unwrap();
    staged(&mut state, &next.targets);
    let mine = (0..SLOT_COUNT).zip(&next.targets);
    let mine = mine.filter(|(_, targets)| targets.first() == Some(&shard.node));
    let claims: Vec<Command> = mine
        .map(|(slot, _)| {
            Command::SlotClaim(SlotClaim {
                slot,
                epoch: crate::Epoch(0),
                member: shard,
            })
        })
        .collect();
    assert!(propose(&mut state, &claims) >= 8, "1 024 commands an entry");

    let view = state.view();
    let half = u32::from(SLOT_COUNT / 2);
    assert_eq!(
        (view.slots().unsettled(), view.slots().ownerless()),
        (2 * half, half)
    );
    let counts = view.slots().counts();
    let [one, two] = [1, 2].map(|id| counts[&NodeId::from_u128(id)]);
    assert_eq!((one.owned, one.arriving), (half, half));
    assert_eq!((two.owned, two.arriving), (0, 2 * half));
}
