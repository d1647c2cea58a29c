//! What a fault does to the world, and what an operator does in it.
//!
//! Responsible for the limit of the promise: no crash takes the last copy of anything, and no more disks are lost than a
//! majority of voters survives. It must never choose.

use std::collections::BTreeSet;
use std::sync::Arc;

use ultrakv_cluster::entry::Ownership;
use ultrakv_cluster::metadata::{Command, MemberState};
use ultrakv_cluster::{Incarnation, NodeId};

use super::coverage::Seen;
use super::director::{Act, CutKind};
use super::duty::targets_for;
use super::table::{self, Table, become_state, life_of};
use super::words::{Msg, node_at, place_of};
use super::world::World;
use crate::network::Place;

/// Plans of one storm, and the time between them.
const STORM_PLANS: u64 = 8;
const STORM_US: u64 = 60_000;
/// Faults that do not wait for the repair of the one before, of a million.
const BOLD_PPM: u32 = 250_000;

impl World {
    /// The director looks: ends what is over, and begins something new.
    pub(super) fn direct(&mut self) {
        let now = self.net.now();
        for act in self.director.due(now) {
            self.act(act);
        }
        self.let_go();
        if self.is_calm {
            return;
        }
        let running = self.running();
        if let Some(act) = self.director.choose(now, &running) {
            self.act(act);
        }
    }

    pub(super) fn act(&mut self, act: Act) {
        let now = self.net.now();
        self.trace.line(now, None, || format!("{act:?}"));
        match act {
            Act::Shape(shape) => {
                self.coverage.add(Seen::Tail, u64::from(shape.tail_ppm > 0));
                self.net.set_shape(shape);
            }
            Act::Cut(kind) => self.cut(kind),
            Act::Heal => self.heal(),
            Act::Pause(place) => {
                if self.process(place).is_some() {
                    self.coverage.note(Seen::Pause);
                    self.stop(place);
                }
            }
            Act::Resume(place) => self.resume(place),
            Act::Crash { place, is_reboot } => self.crash(place, is_reboot),
            Act::Start(place) => self.start(place),
            Act::LoseDisk(place) => self.lose_disk(place),
            Act::RestartShard(place) => {
                if self.process(place).is_some() && self.may_lose(place) {
                    self.coverage.note(Seen::ShardRestart);
                    self.restart_shard(place);
                }
            }
            Act::Join => {
                if let Some(place) = self.spare() {
                    self.start(place);
                }
            }
            Act::Drain(place) => self.drain(place),
            Act::Undrain => self.undrain(),
            Act::Storm => {
                for number in 0..STORM_PLANS {
                    let at = now.plus(number * STORM_US);
                    self.director.later(at, Act::Stage);
                }
            }
            Act::Stage => self.stage(),
        }
    }

    fn cut(&mut self, kind: CutKind) {
        self.heal();
        let mut places = self.running();
        let leader = self.leader();
        let rng = self.director.rng();
        // A shuffle: every place changes with one at random.
        for at in 0..places.len() {
            let with = usize::try_from(rng.below(u64::try_from(places.len()).unwrap_or(0)));
            places.swap(at, with.unwrap_or(0));
        }
        let half = places.len() / 2;
        let (left, right) = places.split_at(half);
        match (kind, places.as_slice()) {
            (CutKind::OneWay, [from, to, ..]) => self.net.cut(*from, *to),
            (CutKind::Partition, [_, _, ..]) => {
                for (left, right) in pairs(left, right) {
                    self.net.cut(left, right);
                    self.net.cut(right, left);
                }
            }
            (CutKind::Bridge, [middle, others @ ..]) if others.len() >= 2 => {
                let (left, right) = others.split_at(others.len() / 2);
                for (left, right) in pairs(left, right) {
                    self.net.cut(left, right);
                    self.net.cut(right, left);
                }
                self.restart_bridge(*middle);
            }
            (CutKind::Deaf, _) => {
                let voters = places.iter().filter(|place| **place < self.setup.voters);
                let others = voters.copied().filter(|place| Some(*place) != leader);
                let mut others = others.collect::<Vec<_>>().into_iter();
                if let (Some(leader), Some(deaf), Some(between)) =
                    (leader, others.next(), others.next())
                {
                    self.net.cut(leader, deaf);
                    self.restart_bridge(between);
                }
            }
            (CutKind::Leader, _) => {
                if let Some(leader) = leader {
                    for place in &places {
                        self.net.cut(leader, *place);
                        self.net.cut(*place, leader);
                    }
                }
            }
            _ => return,
        }
        self.cut = Some((kind, self.net.counts().cut));
    }

    /// Sometimes the one in the middle forgets what it has just heard.
    fn restart_bridge(&mut self, middle: Place) {
        let now = self.net.now();
        let ppm = self.director.mood().bridge_restart_ppm;
        let rng = self.director.rng();
        let (after_us, for_us) = (rng.between(700_000, 1_500_000), rng.between(5_000, 60_000));
        if rng.chance_ppm(ppm) {
            let at = now.plus(after_us);
            let crash = Act::Crash {
                place: middle,
                is_reboot: false,
            };
            self.director.later(at, crash);
            self.director.later(at.plus(for_us), Act::Start(middle));
        }
    }

    fn heal(&mut self) {
        if let Some((kind, before)) = self.cut.take()
            && self.net.counts().cut > before
        {
            self.coverage.note(match kind {
                CutKind::OneWay | CutKind::Deaf => Seen::OneWay,
                CutKind::Bridge => Seen::Bridge,
                CutKind::Partition => Seen::Partition,
                CutKind::Leader => Seen::LeaderIsolated,
            });
        }
        self.net.heal_all();
    }

    fn crash(&mut self, place: Place, is_reboot: bool) {
        if self.process(place).is_none() || !self.may_lose(place) {
            return;
        }
        self.end(place);
        let mut rng = self.rng.fork();
        if is_reboot && let Some(host) = self.host_mut(place) {
            host.clock = host.clock.reboot(&mut rng);
        }
        self.coverage
            .note(if is_reboot { Seen::Reboot } else { Seen::Crash });
    }

    /// The machine is gone for good; another one comes in its place.
    fn lose_disk(&mut self, place: Place) {
        let is_voter = place < self.setup.voters;
        let mut gone = (0..self.setup.voters).filter_map(|voter| self.host(voter));
        let is_one_gone = gone.any(|host| host.is_retired);
        if self.process(place).is_none()
            || is_voter && is_one_gone
            || self.spare().is_none()
            || !self.may_lose(place)
        {
            return;
        }
        self.retire(place);
        self.coverage.note(Seen::DiskLost);
        let at = self.net.now().plus(300_000);
        self.director.later(at, Act::Join);
    }

    fn retire(&mut self, place: Place) {
        self.end(place);
        if let Some(host) = self.host_mut(place) {
            host.is_retired = true;
            host.disk = None;
        }
        self.nodes.retain(|node| *node != place);
    }

    fn spare(&self) -> Option<Place> {
        let mut spares = (0_u8..).zip(&self.hosts);
        let spare = spares.find(|(_, host)| !host.was_started && !host.is_retired);
        spare.map(|(place, _)| place)
    }

    /// Whether every slot keeps a living member without this place, whatever of the logs comes true. Mostly a fault waits
    /// until the one before is repaired; bold ones do not, as long as somebody is left.
    fn may_lose(&mut self, place: Place) -> bool {
        let is_bold = self.director.rng().chance_ppm(BOLD_PPM);
        let keeps_all = |record: &Ownership| record.in_sync.iter().all(|it| self.lives(*it));
        let lives = |member: &Incarnation| {
            place_of(member.node).is_some_and(|other| {
                let host = self.host(other);
                other != place && self.lives(*member) && host.is_some_and(|host| !host.is_still())
            })
        };
        let keeps = |table: &Table| {
            (0..self.setup.slots).all(|slot| {
                let record = table.ownership(slot);
                record.is_none_or(|record| {
                    record.in_sync.is_empty()
                        || record.in_sync.iter().any(lives) && (is_bold || keeps_all(record))
                })
            })
        };
        self.possible_truths().iter().all(keeps)
    }

    /// An operator asks the leader for something; asked of nobody it is lost.
    pub(super) fn operate(&mut self, command: Command) {
        if let Some(leader) = self.leader() {
            self.turn(leader, None, Msg::Wish(Arc::new(command)));
        }
    }

    fn drain(&mut self, place: Place) {
        let members = self.truth.members();
        let staying = members
            .filter(|(_, member)| member.state == MemberState::Up)
            .count();
        let Some(member) = self.truth.member(node_at(place)) else {
            return;
        };
        if member.state == MemberState::Up && staying > 3 {
            let command = become_state(node_at(place), member, MemberState::Draining);
            self.operate(command);
        }
    }

    /// Takes back a drained voter; others leave.
    pub(super) fn undrain(&mut self) {
        let voters = self.setup.voters;
        let mut draining = self.truth.members().filter(|(node, member)| {
            let is_voter = place_of(*node).is_some_and(|place| place < voters);
            member.state == MemberState::Draining && is_voter
        });
        let first = draining.next();
        let command = first.map(|(node, member)| become_state(node, member, MemberState::Up));
        drop(draining);
        if let Some(command) = command {
            self.operate(command);
        }
    }

    /// The leader waits for every founder before its first plan; where one is lost before, an operator goes on without it.
    pub(super) fn plan_at_last(&mut self) {
        let members = self.truth.members();
        let up = members.filter(|(_, member)| member.state == MemberState::Up);
        let nodes: Vec<NodeId> = up.map(|(node, _)| node).collect();
        if self.truth.planned().is_empty()
            && let Some(targets) = targets_for(&self.truth, &nodes, &self.setup)
        {
            self.operate(table::stage(self.truth.plan(), &nodes, &targets));
        }
    }

    /// Another plan for the same nodes.
    fn stage(&mut self) {
        let nodes = self.truth.planned().to_vec();
        let rng = self.director.rng();
        let slots = 0..self.setup.slots;
        let targets = slots.map(|slot| {
            let mut targets: Vec<NodeId> = self.truth.targets(slot).to_vec();
            let others = nodes.iter().filter(|node| !targets.contains(node)).copied();
            let others: Vec<NodeId> = others.collect();
            if let (Some(new), Some(last)) = (rng.pick(&others), targets.last_mut())
                && rng.chance_ppm(400_000)
            {
                *last = *new;
            }
            let turns = usize::try_from(rng.below(3)).unwrap_or(0);
            if !targets.is_empty() {
                let turns = turns % targets.len();
                targets.rotate_left(turns);
            }
            targets
        });
        let targets: Vec<Vec<NodeId>> = targets.collect();
        if !nodes.is_empty() {
            self.coverage.note(Seen::Storm);
            let plan = self.truth.plan();
            self.operate(table::stage(plan, &nodes, &targets));
        }
    }

    /// Members that left end; those whose machines are lost are taken out by an operator.
    fn let_go(&mut self) {
        let left = self.processes().filter(|process| {
            let member = process.table.member(process.life.node);
            member.is_some_and(|member| {
                member.state == MemberState::Left && member.boot == process.life.boot
            })
        });
        let left: Vec<Place> = left.map(|process| process.place).collect();
        for place in left {
            self.retire(place);
        }
        let retired: BTreeSet<NodeId> = (0_u8..)
            .zip(&self.hosts)
            .filter(|(_, host)| host.is_retired)
            .map(|(place, _)| node_at(place))
            .collect();
        let lost = self.truth.members().find_map(|(node, member)| {
            let is_lost = member.state == MemberState::Down && retired.contains(&node);
            is_lost.then_some(life_of(node, member))
        });
        if let Some(life) = lost {
            self.operate(Command::MemberLeave { life });
        }
    }

    /// Ends every fault.
    pub(super) fn calm(&mut self) {
        self.is_calm = true;
        self.heal();
        self.net.set_shape(crate::network::LinkShape::calm());
        for act in self.director.rest() {
            if act == Act::Join {
                self.act(act);
            }
        }
        for place in (0_u8..).take(self.hosts.len()) {
            self.resume(place);
            if self.host(place).is_some_and(|host| host.was_started) {
                self.start(place);
            }
        }
    }
}

fn pairs<'a>(left: &'a [Place], right: &'a [Place]) -> impl Iterator<Item = (Place, Place)> + 'a {
    left.iter()
        .flat_map(move |one| right.iter().map(move |other| (*one, *other)))
}
