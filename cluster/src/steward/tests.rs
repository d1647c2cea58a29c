//! The steward over the real metadata: members come, fall and go, slots settle one after the other, and jobs end.

use ultrakv_actors::BootId;

use super::*;
use crate::metadata::{
    Addresses, ClusterId, Done, Found, Job, JobCreate, MemberCapacity, MemberJoin, MemberStart,
    Outcome, SlotChange, SlotClaim, State, VersionRange,
};
use crate::surroundings::wish;
use ultrakv_cache::SLOT_COUNT;

/// The metadata, a leader's steward, and slots that settle when they are told to.
struct Rig {
    state: State,
    steward: Steward,
    index: u64,
    now: Now,
    jobs: u128,
}

fn node(number: u128) -> NodeId {
    NodeId::from_u128(number)
}

fn life(number: u128, boot: u128) -> Incarnation {
    Incarnation {
        node: node(number),
        boot: BootId::from_u128(boot),
    }
}

fn about(number: u128, boot: u128) -> MemberJoin {
    MemberJoin {
        node: node(number),
        disk: 1,
        boot: BootId::from_u128(boot),
        name: format!("node-{number}"),
        binary: "1.0.0".to_owned(),
        versions: VersionRange { min: 1, max: 1 },
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

impl Rig {
    fn new() -> Self {
        let mut rig = Self {
            state: State::new(),
            steward: Steward::new(StewardRules::default()),
            index: 0,
            now: Now(0),
            jobs: 0,
        };
        rig.done(Command::Found(Found {
            cluster: ClusterId(1),
            version: 1,
            directory_bytes_max: 0,
            at_unix_ms: 1,
        }));
        rig
    }

    fn apply(&mut self, command: &Command) -> Outcome {
        self.index += 1;
        self.state.apply(self.index, command)
    }

    fn done(&mut self, command: Command) {
        let outcome = self.apply(&command);
        assert!(outcome.is_applied(), "{command:?}: {outcome:?}");
    }

    /// A new member that told of its one shard and is up.
    fn join(&mut self, number: u128) {
        self.done(Command::MemberJoin(about(number, number)));
        self.come_up(number, number);
    }

    fn come_up(&mut self, number: u128, boot: u128) {
        let life = life(number, boot);
        self.done(Command::ShardStart {
            life,
            shard: 0,
            boot: life.boot,
        });
        self.done(Command::MemberState {
            life,
            from: MemberState::Joining,
            to: MemberState::Up,
        });
    }

    fn fall(&mut self, number: u128, boot: u128) {
        let view = self.state.view();
        let changed_index = view.members().get(node(number)).unwrap().changed_index;
        self.done(Command::NodeDown {
            life: life(number, boot),
            changed_index,
        });
    }

    /// One look of the steward; gives how many commands it had.
    fn look(&mut self) -> usize {
        let mut jobs = self.jobs;
        let mut draw = || {
            jobs += 1;
            JobId(jobs)
        };
        let mut world = StewardWorld {
            now: self.now,
            unix_ms: self.now.0 + 2,
            draw: &mut draw,
        };
        let commands = self.steward.decide(&self.state.view(), &mut world);
        self.jobs = jobs;
        for command in &commands {
            self.done(command.clone());
        }
        commands.len()
    }

    fn pass(&mut self, ms: u64) {
        self.now = self.now.add_ms(ms);
    }

    /// Looks until there is nothing to see to; fails when that takes too long.
    fn rest(&mut self) {
        for _ in 0..20 {
            self.pass(1_000);
            if self.look() == 0 {
                return;
            }
        }
        panic!("the steward never comes to rest");
    }

    /// What the nodes do by themselves: claim, join, hand over, dismiss, for every slot.
    fn settle(&mut self) {
        let view = self.state.view();
        for slot in 0..SLOT_COUNT {
            let record = view.slots().get(slot).unwrap();
            let boot = |node: NodeId| Incarnation {
                node,
                boot: *view.members().get(node).unwrap().shards.get(&0).unwrap(),
            };
            let targets = wish(record, view.members()).ready;
            if record.ownership.in_sync.is_empty() {
                let member = boot(targets[0]);
                self.done(Command::SlotClaim(SlotClaim {
                    slot,
                    epoch: record.ownership.epoch,
                    member,
                }));
            }
            let view = self.state.view();
            let members = view.slots().get(slot).unwrap().ownership.in_sync.clone();
            let wanted: Vec<Incarnation> = targets.iter().map(|node| boot(*node)).collect();
            // First everybody joins behind the present owner, then the wanted one takes over.
            let mut all = members.clone();
            all.extend(wanted.iter().filter(|member| !members.contains(member)));
            for in_sync in [all.clone(), reordered(&all, wanted[0]), wanted.clone()] {
                let record = self
                    .state
                    .view()
                    .slots()
                    .get(slot)
                    .unwrap()
                    .ownership
                    .clone();
                if record.in_sync != in_sync {
                    self.done(Command::SlotChange(SlotChange {
                        slot,
                        epoch: record.epoch,
                        in_sync,
                    }));
                }
            }
        }
    }

    fn counts(&self, number: u128) -> (u32, u32) {
        let counts = self.state.view().slots().counts();
        let counts = counts.get(&node(number)).copied().unwrap_or_default();
        (counts.owned, counts.following)
    }

    fn job(&self) -> Job {
        let view = self.state.view();
        let last = view.jobs().iter().max_by_key(|job| job.id);
        last.unwrap().clone()
    }
}

fn reordered(members: &[Incarnation], first: Incarnation) -> Vec<Incarnation> {
    let rest = members.iter().copied().filter(|member| *member != first);
    std::iter::once(first).chain(rest).collect()
}

#[test]
fn a_founder_gets_every_slot_and_the_second_and_third_their_share() {
    let mut rig = Rig::new();
    rig.join(1);
    rig.rest();
    rig.settle();
    assert_eq!(rig.counts(1), (16_384, 0));
    assert!(
        rig.state.view().jobs().iter().next().is_none(),
        "nobody joined"
    );

    rig.join(2);
    rig.join(3);
    rig.rest();
    assert_eq!(rig.job().kind, JobKind::Join { node: node(3) });
    assert_eq!(rig.job().state, JobState::Running);
    rig.settle();
    rig.rest();
    let jobs: Vec<_> = rig
        .state
        .view()
        .jobs()
        .iter()
        .map(|job| job.state)
        .collect();
    assert_eq!(jobs, [JobState::Done, JobState::Done]);
    for number in 1..=3 {
        let (owned, following) = rig.counts(number);
        assert!((5_461..=5_462).contains(&owned), "{owned}");
        assert_eq!(owned + following, 16_384, "three copies on three nodes");
    }
}

#[test]
fn a_member_that_is_away_for_a_moment_keeps_its_part_and_one_that_stays_away_does_not() {
    let mut rig = Rig::new();
    (1..=4).for_each(|number| rig.join(number));
    rig.rest();
    rig.settle();
    rig.rest();
    let plan = rig.state.view().slots().plan();

    rig.fall(4, 4);
    rig.look();
    rig.pass(20_000);
    rig.look();
    assert_eq!(rig.state.view().slots().plan(), plan, "it may come back");
    rig.done(Command::MemberStart(MemberStart {
        about: about(4, 44),
        replaces: BootId::from_u128(4),
    }));
    rig.come_up(4, 44);
    rig.rest();
    assert_eq!(rig.state.view().slots().plan(), plan);
    rig.settle();

    rig.fall(4, 44);
    rig.look();
    rig.pass(30_000);
    rig.look();
    assert!(rig.state.view().slots().plan() > plan);
    rig.settle();
    rig.rest();
    assert_eq!(rig.counts(4), (0, 0));
    assert_eq!(
        (1..=3).map(|number| rig.counts(number).0).sum::<u32>(),
        16_384
    );
}

#[test]
fn a_drain_empties_a_member_waits_for_its_blocks_and_lets_it_leave() {
    let mut rig = Rig::new();
    (1..=4).for_each(|number| rig.join(number));
    rig.rest();
    rig.settle();
    rig.rest();
    let id = JobId(u128::MAX);
    rig.done(Command::JobCreate(JobCreate {
        id,
        kind: JobKind::Drain {
            node: node(2),
            then_leave: true,
        },
        throttle_bytes_s: None,
        at_unix_ms: rig.now.0,
    }));
    rig.rest();
    let state = |rig: &Rig| rig.state.view().members().get(node(2)).unwrap().state;
    assert_eq!(state(&rig), MemberState::Draining);
    rig.settle();
    rig.rest();
    assert_eq!(rig.counts(2), (0, 0));
    assert_eq!(rig.job().state, JobState::Running);
    assert_eq!(rig.job().reason, jobs::DRAIN_BLOCKS);
    assert_eq!(rig.job().done, rig.job().total);

    let job = rig.job();
    rig.done(Command::JobUpdate(crate::metadata::JobUpdate {
        id,
        changed_index: job.changed_index,
        state: JobState::Done,
        reason: String::new(),
        done: job.total,
        total: job.total,
    }));
    rig.rest();
    assert_eq!(state(&rig), MemberState::Left);
}

#[test]
fn a_cancelled_drain_gives_the_slots_back_and_a_cancelled_join_takes_none() {
    let mut rig = Rig::new();
    (1..=3).for_each(|number| rig.join(number));
    rig.rest();
    rig.settle();
    rig.rest();
    let drain = JobId(u128::MAX);
    rig.done(Command::JobCreate(JobCreate {
        id: drain,
        kind: JobKind::Drain {
            node: node(3),
            then_leave: false,
        },
        throttle_bytes_s: None,
        at_unix_ms: rig.now.0,
    }));
    rig.rest();
    rig.done(Command::JobCancel { id: drain });
    rig.rest();
    assert_eq!(rig.job().state, JobState::Cancelled);
    rig.settle();
    rig.rest();
    assert!(rig.counts(3).0 >= 5_461);

    rig.join(4);
    rig.look();
    let view = rig.state.view();
    let join = view.jobs().running().next().unwrap().id;
    rig.done(Command::JobCancel { id: join });
    rig.rest();
    rig.settle();
    rig.rest();
    assert_eq!(rig.counts(4), (0, 0));
    assert_eq!(
        rig.state.view().jobs().get(join).unwrap().state,
        JobState::Cancelled
    );
    // Spreading the slots anew takes it in after all.
    let spread = rig.apply(&Command::JobCreate(JobCreate {
        id: JobId(u128::MAX - 1),
        kind: JobKind::Rebalance,
        throttle_bytes_s: None,
        at_unix_ms: rig.now.0 + 10,
    }));
    assert_eq!(spread, Outcome::Applied(Done::Set));
    rig.rest();
    rig.settle();
    rig.rest();
    assert_eq!(rig.counts(4).0, 4_096);
}

#[test]
fn a_member_that_was_emptied_and_stayed_takes_slots_again_when_they_are_spread() {
    let mut rig = Rig::new();
    (1..=3).for_each(|number| rig.join(number));
    rig.rest();
    rig.settle();
    rig.rest();
    let drain = JobId(u128::MAX - 1);
    rig.done(Command::JobCreate(JobCreate {
        id: drain,
        kind: JobKind::Drain {
            node: node(3),
            then_leave: false,
        },
        throttle_bytes_s: None,
        at_unix_ms: rig.now.0 + 1,
    }));
    rig.rest();
    rig.settle();
    rig.rest();
    let job = rig.state.view().jobs().get(drain).unwrap().clone();
    rig.done(Command::JobUpdate(crate::metadata::JobUpdate {
        id: drain,
        changed_index: job.changed_index,
        state: JobState::Done,
        reason: String::new(),
        done: job.total,
        total: job.total,
    }));
    rig.rest();
    assert_eq!(rig.counts(3), (0, 0));
    rig.done(Command::JobCreate(JobCreate {
        id: JobId(u128::MAX),
        kind: JobKind::Rebalance,
        throttle_bytes_s: None,
        at_unix_ms: rig.now.0 + 2,
    }));
    rig.rest();
    rig.settle();
    rig.rest();
    assert!(rig.counts(3).0 >= 5_461);
    assert_eq!(rig.job().state, JobState::Done);
}
