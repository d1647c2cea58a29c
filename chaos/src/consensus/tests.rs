//! Members over the simulated network: what must hold under every fault, and the traps that are known.

use super::*;
use crate::network::{LinkShape, Network, Us};

const TICK_US: u64 = 10_000;

#[derive(Clone)]
enum Event {
    Tick,
    Said(ConsensusMsg<u64>),
}

/// A cluster, and everything that was ever committed or granted in it.
struct Cluster {
    net: Network<Event>,
    rng: Rng,
    members: Vec<Consensus<u64>>,
    applied: Vec<Vec<(u64, u64)>>,
    committed: BTreeMap<u64, u64>,
    acknowledged: Vec<u64>,
    leaders: BTreeMap<u64, Place>,
    /// The latest tenure granted so far: its end, the term and the leader it came from.
    tenure: (u64, u64),
    tenures: u64,
    overlaps: u64,
    proposed: u64,
    fed: bool,
}

impl Cluster {
    fn new(membership: &Membership, timing: Timing, seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let count = u8::try_from(membership.voters.len() + membership.learners.len()).unwrap();
        let mut net = Network::new(count, LinkShape::calm(), rng.fork());
        let members = (0..count)
            .map(|place| {
                net.timer(place, rng.below(TICK_US), Event::Tick);
                Consensus::new(place, membership.clone(), timing)
            })
            .collect();
        Self {
            net,
            rng,
            members,
            applied: vec![Vec::new(); usize::from(count)],
            committed: BTreeMap::new(),
            acknowledged: Vec::new(),
            leaders: BTreeMap::new(),
            tenure: (0, 0),
            tenures: 0,
            overlaps: 0,
            proposed: 0,
            fed: true,
        }
    }

    fn voters(count: u8, seed: u64) -> Self {
        Self::new(&Membership::voters(count), Timing::standard(), seed)
    }

    fn run_until(&mut self, until: Us) {
        while let Some(arrival) = self.net.next_before(until) {
            let input = match (arrival.message, arrival.from) {
                (Event::Said(message), Some(from)) => Input::Message(from, message),
                _ => {
                    self.net.timer(arrival.to, TICK_US, Event::Tick);
                    self.feed_leader(arrival.to);
                    Input::Tick
                }
            };
            self.step(arrival.to, input);
        }
    }

    fn run_for(&mut self, us: u64) {
        self.run_until(self.net.now().plus(us));
    }

    /// Whoever believes to lead is asked to, now and then.
    fn feed_leader(&mut self, place: Place) {
        if !self.fed || self.members[usize::from(place)].role() != Role::Leader {
            return;
        }
        if self.rng.chance_ppm(300_000) {
            self.proposed += 1;
            self.step(place, Input::Propose(self.proposed, self.proposed));
        }
        if self.rng.chance_ppm(100_000) {
            self.step(place, Input::ConfirmLeadership(0));
        }
    }

    fn step(&mut self, place: Place, input: Input<u64>) {
        let (mut out, now_us) = (Vec::new(), self.net.now().0);
        let member = &mut self.members[usize::from(place)];
        member.handle(input, now_us, &mut self.rng, &mut out);
        assert!(!member.is_contradicted(), "committed entries taken back");
        let term = member.term();
        for output in out {
            match output {
                Output::Send(to, message) => self.net.send(place, to, Event::Said(message)),
                Output::Committed { index, command } => self.note_committed(place, index, command),
                Output::Proposed(ticket, Some(_)) => self.acknowledged.push(ticket),
                Output::LeadershipConfirmed(_, Some(t0_us)) => {
                    self.tenures += 1;
                    let until_us = t0_us + 360_000;
                    self.tenure = self.tenure.max((until_us, term));
                }
                Output::RoleChanged(Role::Leader) => self.note_leader(place, term),
                _ => {}
            }
        }
    }

    fn note_committed(&mut self, place: Place, index: u64, command: u64) {
        let known = *self.committed.entry(index).or_insert(command);
        assert_eq!(known, command, "two commands at index {index}");
        let applied = &mut self.applied[usize::from(place)];
        assert!(applied.last().is_none_or(|(last, _)| *last < index));
        applied.push((index, command));
    }

    fn note_leader(&mut self, place: Place, term: u64) {
        let before = self.leaders.insert(term, place);
        assert!(before.is_none(), "term {term} has two leaders");
        let (until_us, granted_in) = self.tenure;
        if granted_in < term && self.net.now().0 < until_us {
            self.overlaps += 1;
        }
    }

    fn restart(&mut self, place: Place) {
        let at = usize::from(place);
        self.net.restart(place);
        self.net.timer(place, 0, Event::Tick);
        self.members[at] = Consensus::recover(self.members[at].persisted());
        self.applied[at].clear();
    }

    fn leader(&self) -> Option<Place> {
        let leading = |member: &&Consensus<u64>| member.role() == Role::Leader;
        let leader = self
            .members
            .iter()
            .filter(leading)
            .max_by_key(|member| member.term());
        leader.map(Consensus::place)
    }

    /// Everything acknowledged must be what every member has applied in the end.
    fn assert_agreed(&self) {
        let all: Vec<(u64, u64)> = self
            .committed
            .iter()
            .map(|(&at, &what)| (at, what))
            .collect();
        for applied in &self.applied {
            assert_eq!(*applied, all);
        }
        for ticket in &self.acknowledged {
            assert!(
                self.committed.values().any(|command| command == ticket),
                "{ticket} lost"
            );
        }
    }
}

#[test]
fn a_calm_cluster_elects_once_and_commits() {
    for count in [1, 2, 3, 5] {
        let mut cluster = Cluster::voters(count, 1);
        cluster.run_for(10_000_000);
        assert_eq!(cluster.leaders.len(), 1, "{count} voters");
        assert!(cluster.acknowledged.len() > 200 && cluster.tenures > 50);
        let first = cluster.leader();
        cluster.run_for(1_000_000);
        assert_eq!(cluster.leader(), first);
    }
}

#[test]
fn learners_follow_but_never_count() {
    let membership = Membership {
        voters: BTreeSet::from([0, 1, 2]),
        learners: BTreeSet::from([3, 4]),
    };
    let mut cluster = Cluster::new(&membership, Timing::standard(), 2);
    cluster.run_for(3_000_000);
    assert!(!cluster.applied[4].is_empty());
    // One voter and both learners are no majority.
    let leader = cluster.leader().unwrap();
    for voter in (0..3).filter(|voter| *voter != leader) {
        cluster.net.pause(voter);
    }
    cluster.run_for(1_000);
    let before = cluster.acknowledged.len();
    cluster.run_for(5_000_000);
    assert_eq!(cluster.acknowledged.len(), before);
    assert_eq!(
        cluster.leader(),
        None,
        "a leader without a majority steps down"
    );
}

fn cut_both(cluster: &mut Cluster, left: Place, right: Place) {
    cluster.net.cut(left, right);
    cluster.net.cut(right, left);
}

/// A leader that reaches only the bridge, a voter that is gone, and two that reach the bridge and each other.
fn behind_a_bridge(quorum_loss_us: Option<u64>, seed: u64) -> (Cluster, Place) {
    let timing = Timing {
        quorum_loss_us,
        ..Timing::standard()
    };
    let mut cluster = Cluster::new(&Membership::voters(5), timing, seed);
    cluster.run_for(3_000_000);
    let old = cluster.leader().unwrap();
    let others: Vec<Place> = (0..5).filter(|place| *place != old).collect();
    cluster.net.pause(others[0]);
    for far in &others[2..] {
        cut_both(&mut cluster, old, *far);
    }
    cluster.run_for(10_000_000);
    (cluster, old)
}

#[test]
fn a_bridge_does_not_keep_a_majority_from_its_leader() {
    for seed in 0..20 {
        let (mut cluster, old) = behind_a_bridge(Some(400_000), seed);
        let before = cluster.acknowledged.len();
        cluster.run_for(5_000_000);
        assert!(cluster.acknowledged.len() > before + 20, "seed {seed}");
        assert_ne!(cluster.leader(), Some(old));
        assert_eq!(cluster.overlaps, 0);
    }
}

#[test]
fn without_the_watchdog_a_bridge_blocks_everything() {
    let (mut cluster, old) = behind_a_bridge(None, 1);
    let before = cluster.acknowledged.len();
    cluster.run_for(20_000_000);
    assert_eq!(cluster.acknowledged.len(), before);
    assert_eq!(cluster.leader(), Some(old), "it leads, and nothing moves");
}

/// A voter answers the round a tenure rests on, starts anew, and is asked for its vote at once. Tells overlapping tenures.
fn asked_right_after_a_restart(promise_after_restart: bool, seed: u64) -> u64 {
    let timing = Timing {
        promise_after_restart,
        ..Timing::standard()
    };
    let mut cluster = Cluster::new(&Membership::voters(3), timing, seed);
    cluster.fed = false;
    cluster.run_for(3_000_000);
    let leader = cluster.leader().unwrap();
    let (voter, rival) = ((leader + 1) % 3, (leader + 2) % 3);
    cut_both(&mut cluster, rival, leader);
    cut_both(&mut cluster, rival, voter);
    cluster.run_for(2_000_000);
    let granted = cluster.tenures;
    cluster.step(leader, Input::ConfirmLeadership(0));
    cluster.run_for(20_000);
    assert_eq!(cluster.tenures, granted + 1);
    cut_both(&mut cluster, leader, voter);
    cluster.net.heal(rival, voter);
    cluster.net.heal(voter, rival);
    cluster.restart(voter);
    cluster.run_for(3_000_000);
    assert_ne!(
        cluster.leader(),
        Some(leader),
        "the other two elect in the end"
    );
    cluster.overlaps
}

#[test]
fn a_promise_outlives_a_restart() {
    let broken: u64 = (0..30)
        .map(|seed| asked_right_after_a_restart(false, seed))
        .sum();
    let kept: u64 = (0..30)
        .map(|seed| asked_right_after_a_restart(true, seed))
        .sum();
    assert!(
        broken > 3,
        "the check must see what it guards against: {broken}"
    );
    assert_eq!(kept, 0);
}

#[test]
fn everybody_agrees_after_everybody_restarted() {
    let mut cluster = Cluster::voters(3, 5);
    for place in [0, 1, 2, 0, 1, 2] {
        cluster.run_for(700_000);
        cluster.restart(place);
    }
    cluster.run_for(5_000_000);
    cluster.fed = false;
    cluster.run_for(1_000_000);
    assert!(cluster.acknowledged.len() > 20);
    cluster.assert_agreed();
}
