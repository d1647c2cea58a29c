//! What a node and a leader do unasked: tell of their lives, ask for what is due, move slots, and say who is down.
//!
//! Each look is at what is, so whatever was lost is done again. It must never know the network.

use std::collections::BTreeSet;
use std::sync::Arc;

use ultrakv_cluster::metadata::{Command, MemberState, SlotClaim};
use ultrakv_cluster::placement::{self, PlanNode, Share, Targets};
use ultrakv_cluster::{Incarnation, NodeId};

use super::bug::Bug;
use super::movement::{Step, next_step};
use super::process::{Process, Setup, Turn};
use super::table::{self, Table, life_of, shard_boot};

/// How long the planted bug waits before it calls a node down.
const HASTY_US: u64 = 120_000;

impl Process {
    /// What any node does.
    pub(super) fn serve(&mut self, turn: &mut Turn) {
        if let Some(command) = self.tell_of_life(turn.now_us) {
            self.wish(Arc::new(command), turn);
        }
        if !self.is_known() {
            return;
        }
        let is_listed = self.table.shard(self.life.node) == Some(self.shard);
        for slot in 0..self.setup.slots {
            let Some(ownership) = self.table.ownership(slot).cloned() else {
                continue;
            };
            let wish = self.table.wish(slot);
            let is_alive = |node| self.table.is_member_alive(node);
            match next_step(self.shard, is_listed, &ownership, &wish, is_alive) {
                Some(Step::Claim) => {
                    let claim = Command::SlotClaim(SlotClaim {
                        slot,
                        epoch: ownership.epoch,
                        member: self.shard,
                    });
                    self.wish(Arc::new(claim), turn);
                }
                Some(Step::Tell(event)) => self.tell(slot, event),
                None => {}
            }
        }
    }

    /// The next thing that the cluster must know of this life; none when it knows all.
    fn tell_of_life(&self, now_us: u64) -> Option<Command> {
        let life = self.life;
        let Some(member) = self.table.member(life.node) else {
            let is_founded = self.table.is_founded();
            return Some(if is_founded {
                table::join(life)
            } else {
                table::found()
            });
        };
        if member.state == MemberState::Left {
            return None;
        }
        if member.boot != life.boot {
            return Some(table::start(life, member.boot));
        }
        if shard_boot(member) != Some(self.shard.boot) {
            return Some(table::start_shard(life, self.shard.boot));
        }
        let is_back = member.state == MemberState::Down && !self.holder.is_held(now_us);
        if member.state == MemberState::Joining || is_back {
            return Some(table::become_state(life.node, member, MemberState::Up));
        }
        None
    }

    /// What the leader does besides granting.
    pub(super) fn lead(&mut self, turn: &mut Turn) {
        let mut commands = self.call_down(turn.now_us);
        if self.granting.is_none() {
            return;
        }
        commands.extend(self.let_leave());
        commands.extend(self.plan());
        for command in commands {
            self.wish(Arc::new(command), turn);
        }
    }

    fn call_down(&mut self, now_us: u64) -> Vec<Command> {
        let table = &self.table;
        let Some(granting) = &mut self.granting else {
            return Vec::new();
        };
        let lives = table.members().map(|(node, member)| life_of(node, member));
        let alive: Vec<Incarnation> = lives.filter(|life| table.is_alive(*life)).collect();
        let overdue: Vec<Incarnation> = if self.setup.has(Bug::DownEarly) {
            let heard = &granting.heard;
            let is_late = |life: &Incarnation| {
                let heard_us = heard.get(life);
                heard_us.is_some_and(|heard_us| now_us.saturating_sub(*heard_us) > HASTY_US)
            };
            alive.into_iter().filter(is_late).collect()
        } else {
            let mut overdue = granting.grantor.overdue(alive, now_us);
            let grantor = &mut granting.grantor;
            overdue.retain(|life| {
                !grantor.is_barred(*life) && grantor.declare_down(*life, now_us).is_ok()
            });
            overdue
        };
        let down = overdue.into_iter().filter_map(|life| {
            let changed_index = table.member(life.node)?.changed_index;
            Some(Command::NodeDown {
                life,
                changed_index,
            })
        });
        down.collect()
    }

    /// Drained nodes that hold nothing any more.
    fn let_leave(&self) -> Vec<Command> {
        let slots = 0..self.setup.slots;
        let holds = |node: NodeId| {
            slots.clone().any(|slot| {
                let ownership = self.table.ownership(slot);
                let mut members = ownership.into_iter().flat_map(|record| &record.in_sync);
                members.any(|member| member.node == node)
                    || self.table.targets(slot).contains(&node)
            })
        };
        let is_only = |node: NodeId| {
            slots.clone().any(|slot| {
                let ownership = self.table.ownership(slot);
                ownership.is_some_and(|record| {
                    record.in_sync.len() == 1 && record.in_sync.iter().all(|it| it.node == node)
                })
            })
        };
        let lives = self.table.members().filter_map(|(node, member)| {
            let is_drained =
                member.state == MemberState::Draining && self.may_leave(node) && !holds(node);
            let is_robbed = self.setup.has(Bug::SoleClaimed)
                && member.state == MemberState::Down
                && is_only(node);
            (is_drained || is_robbed).then_some(life_of(node, member))
        });
        lives.map(|life| Command::MemberLeave { life }).collect()
    }

    /// A new plan when other nodes are to hold slots than the present one was made for.
    fn plan(&self) -> Option<Command> {
        let present: BTreeSet<NodeId> = self.table.planned().iter().copied().collect();
        let wanted = wanted_nodes(&self.table, &present);
        let is_first = present.is_empty() && wanted.len() < usize::from(self.setup.founders);
        if wanted == present || wanted.is_empty() || is_first {
            return None;
        }
        let nodes: Vec<NodeId> = wanted.into_iter().collect();
        let targets = targets_for(&self.table, &nodes, &self.setup)?;
        Some(table::stage(self.table.plan(), &nodes, &targets))
    }
}

/// Who is to hold slots: whoever is up, and whoever was and is not told to go.
fn wanted_nodes(table: &Table, present: &BTreeSet<NodeId>) -> BTreeSet<NodeId> {
    let members = table.members().filter(|(node, member)| match member.state {
        MemberState::Up => true,
        MemberState::Joining | MemberState::Down => present.contains(node),
        MemberState::Draining | MemberState::Left => false,
    });
    members.map(|(node, _)| node).collect()
}

/// The planner's targets of every slot for these nodes; none while nobody may be given any.
pub(super) fn targets_for(
    table: &Table,
    nodes: &[NodeId],
    setup: &Setup,
) -> Option<Vec<Vec<NodeId>>> {
    let is_up = |node: &NodeId| {
        let member = table.member(*node);
        member.is_some_and(|member| member.state == MemberState::Up)
    };
    let planned = |node: &NodeId| PlanNode {
        node: *node,
        capacity_bytes: 1,
        zone: String::new(),
        share: if is_up(node) {
            Share::Full
        } else {
            Share::Present
        },
    };
    let nodes: Vec<PlanNode> = nodes.iter().map(planned).collect();
    let present: Vec<Targets> = (0..setup.slots)
        .map(|slot| table.targets(slot).into())
        .collect();
    let plan = placement::plan(&nodes, setup.copies, &present).ok()?;
    let targets = plan.targets.iter().map(|targets| targets.to_vec());
    Some(targets.collect())
}
