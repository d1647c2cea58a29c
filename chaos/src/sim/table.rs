//! The replicated metadata as one node, or the truth, has applied it: the real state machine, and words to ask it with.
//!
//! Responsible for making commands and for reading what they made. It must never know who proposed them.

use std::sync::Arc;

use ultrakv_actors::BootId;
use ultrakv_cluster::entry::{Ownership, Wish};
use ultrakv_cluster::metadata::{
    Addresses, COMMANDS_VERSION, ClusterId, Command, Done, Found, MemberCapacity, MemberJoin,
    MemberRecord, MemberStart, MemberState, Outcome, SlotsStage, State, VersionRange, View,
};
use ultrakv_cluster::{Incarnation, NodeId};

/// The one shard of a simulated node.
const SHARD: u16 = 0;

/// Members and slots as some entries of the log left them.
pub(super) struct Table {
    state: State,
    view: Option<View>,
    /// Nodes that the present plan was made for.
    planned: Vec<NodeId>,
}

impl Clone for Table {
    fn clone(&self) -> Self {
        let view = self.state.view();
        Self {
            state: State::resume(view.clone()),
            view: Some(view),
            planned: self.planned.clone(),
        }
    }
}

impl Table {
    pub(super) fn new() -> Self {
        let state = State::new();
        Self {
            view: Some(state.view()),
            state,
            planned: Vec::new(),
        }
    }

    /// Carries a command out; whether it changed anything.
    pub(super) fn apply(&mut self, index: u64, command: &Command) -> bool {
        // Nobody else may hold what is about to change, or all of it is copied.
        self.view = None;
        let outcome = self.state.apply(index, command);
        self.view = Some(self.state.view());
        let is_changed = matches!(outcome, Outcome::Applied(Done::Set | Done::Slot(_)));
        if is_changed && let Command::SlotsStage(stage) = command {
            self.planned.clone_from(&stage.nodes);
        }
        is_changed
    }

    pub(super) fn is_founded(&self) -> bool {
        self.view
            .as_ref()
            .is_some_and(|view| view.cluster().is_some())
    }

    pub(super) fn member(&self, node: NodeId) -> Option<&MemberRecord> {
        self.view.as_ref()?.members().get(node)
    }

    pub(super) fn members(&self) -> impl Iterator<Item = (NodeId, &MemberRecord)> {
        self.view.iter().flat_map(|view| view.members().iter())
    }

    pub(super) fn ownership(&self, slot: u16) -> Option<&Ownership> {
        let record = self.view.as_ref()?.slots().get(slot)?;
        Some(&record.ownership)
    }

    pub(super) fn targets(&self, slot: u16) -> &[NodeId] {
        let slots = self.view.as_ref().map(View::slots);
        let record = slots.and_then(|slots| slots.get(slot));
        record.map_or(&[], |record| &record.targets)
    }

    /// Who is to hold a slot, as the product reads the metadata.
    pub(super) fn wish(&self, slot: u16) -> Wish {
        let slots = self.view.as_ref().map(View::slots);
        let Some(record) = slots.and_then(|slots| slots.get(slot)) else {
            return Wish::default();
        };
        Wish::new(&record.targets, |node| {
            let member = self.member(*node);
            member.is_some_and(|member| member.state == MemberState::Up)
        })
    }

    pub(super) fn plan(&self) -> u64 {
        self.view.as_ref().map_or(0, |view| view.slots().plan())
    }

    pub(super) fn planned(&self) -> &[NodeId] {
        &self.planned
    }

    /// The index of the last change of a node's life that may be granted a tenure.
    pub(super) fn alive_since(&self, life: Incarnation) -> Option<u64> {
        let member = self.member(life.node)?;
        let is_alive = member.boot == life.boot && member.state.is_alive();
        is_alive.then_some(member.changed_index)
    }

    /// Whether a node's life may be granted a tenure.
    pub(super) fn is_alive(&self, life: Incarnation) -> bool {
        self.alive_since(life).is_some()
    }

    /// Whether a node is joining, up or draining.
    pub(super) fn is_member_alive(&self, node: NodeId) -> bool {
        self.member(node)
            .is_some_and(|member| member.state.is_alive())
    }

    /// The shard's life of a node that may hold slots.
    pub(super) fn shard(&self, node: NodeId) -> Option<Incarnation> {
        let member = self.member(node)?;
        let boot = shard_boot(member).filter(|_| member.state.is_alive())?;
        Some(Incarnation { node, boot })
    }

    /// Whether two have come to the same.
    pub(super) fn is_same(&self, other: &Self, slots: u16) -> bool {
        let [one, two] = [self, other].map(|table| table.view.as_ref().map(View::revision));
        one == two
            && self.members().eq(other.members())
            && (0..slots).all(|slot| {
                self.ownership(slot) == other.ownership(slot)
                    && self.targets(slot) == other.targets(slot)
            })
    }
}

/// The life of a member's shard.
pub(super) fn shard_boot(member: &MemberRecord) -> Option<BootId> {
    member.shards.get(&SHARD).copied()
}

/// A member's life.
pub(super) const fn life_of(node: NodeId, member: &MemberRecord) -> Incarnation {
    Incarnation {
        node,
        boot: member.boot,
    }
}

pub(super) const fn found() -> Command {
    Command::Found(Found {
        cluster: ClusterId(1),
        version: COMMANDS_VERSION,
        directory_bytes_max: 1 << 20,
        at_unix_ms: 1,
    })
}

fn about(life: Incarnation) -> MemberJoin {
    MemberJoin {
        node: life.node,
        disk: 1,
        boot: life.boot,
        name: format!("node-{}", life.node.to_u128()),
        binary: "simulated".to_owned(),
        versions: VersionRange {
            min: 1,
            max: COMMANDS_VERSION,
        },
        addresses: Addresses::default(),
        capacity: MemberCapacity {
            shards: 1,
            bytes_max: 1 << 30,
            tokens_max: None,
        },
        zone: String::new(),
        at_unix_ms: 1,
    }
}

pub(super) fn join(life: Incarnation) -> Command {
    Command::MemberJoin(about(life))
}

pub(super) fn start(life: Incarnation, replaces: BootId) -> Command {
    let about = about(life);
    Command::MemberStart(MemberStart { about, replaces })
}

pub(super) const fn start_shard(life: Incarnation, boot: BootId) -> Command {
    let shard = SHARD;
    Command::ShardStart { life, shard, boot }
}

pub(super) fn become_state(node: NodeId, member: &MemberRecord, to: MemberState) -> Command {
    Command::MemberState {
        life: life_of(node, member),
        from: member.state,
        to,
    }
}

/// The targets of slots from 0 on; `nodes` are all that the plan is for, named or not.
pub(super) fn stage(plan: u64, nodes: &[NodeId], lists: &[Vec<NodeId>]) -> Command {
    let width = lists.iter().map(Vec::len).max().unwrap_or(0);
    let place = |node: &NodeId| nodes.iter().position(|other| other == node);
    let number = |node| place(node).and_then(|place| u8::try_from(place).ok());
    let map = lists.iter().flat_map(|list| {
        let numbers = list.iter().map(number).chain(std::iter::repeat(None));
        numbers.take(width).map(|number| number.unwrap_or(u8::MAX))
    });
    Command::SlotsStage(SlotsStage {
        plan,
        first: 0,
        width: u8::try_from(width).unwrap_or(u8::MAX),
        map: map.collect(),
        nodes: nodes.to_vec(),
    })
}

/// A command as logs share it.
pub(super) type Shared = Arc<Command>;
