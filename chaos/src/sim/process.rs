//! One life of a node: its consensus, its record of members and slots, its tenure, and its shard's replicas.
//!
//! Responsible for carrying words between the machines, as the running node does. It must never know the network, the
//! other nodes' state, or what is being judged.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

use ultrakv_cluster::entry::{Answer, Delay, Effect, Event, Op, Replica, Request, World};
use ultrakv_cluster::metadata::{Command, SlotChange};
use ultrakv_cluster::tenure::{Grantor, GrantorTiming, Holder, Round};
use ultrakv_cluster::{Epoch, Incarnation, NodeId};

use super::bug::{self, Bug};
use super::clock::now_ms;
use super::store::{Held, Looked, MapStore, Sleep};
use super::table::{Table, life_of, shard_boot};
use super::words::{Msg, Shared, node_at, place_of};
use crate::consensus::{Consensus, Input, Output, Persisted, Role};
use crate::network::Place;
use crate::rng::Rng;

/// Between a node's questions for a tenure, on its own clock.
const ASK_US: u64 = 100_000;
/// Between looks at what a node or its leadership has to do.
pub(super) const DUTY_US: u64 = 50_000;

/// What is the same for every life in a run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Setup {
    pub(super) slots: u16,
    pub(super) voters: u8,
    /// Nodes that must be up before slots are given out.
    pub(super) founders: u8,
    pub(super) copies: usize,
    pub(super) election_us_max: u64,
    pub(super) bug: Option<Bug>,
}

impl Setup {
    pub(super) const fn tenure(&self) -> GrantorTiming {
        GrantorTiming::of_election_timeout(self.election_us_max)
    }

    pub(super) fn has(&self, bug: Bug) -> bool {
        self.bug == Some(bug)
    }
}

/// What happened in a turn besides messages.
#[derive(Debug)]
pub(super) enum Note {
    Committed {
        index: u64,
        command: Shared,
    },
    Led,
    /// A write was acknowledged to a client.
    Acknowledged {
        slot: u16,
        seq: u64,
    },
    /// A value was answered, and the tenure not asked after it was read.
    Unguarded {
        slot: u16,
    },
    /// An answer to nothing that was asked.
    Stray {
        slot: u16,
    },
    ParkedRead,
}

/// One turn of a process: what time it is, and what comes of it.
pub(super) struct Turn {
    pub(super) now_us: u64,
    pub(super) rate_ppm: u64,
    pub(super) sleep: Sleep,
    pub(super) sends: Vec<(Place, Msg)>,
    pub(super) notes: Vec<Note>,
    pub(super) touched: BTreeSet<u16>,
}

/// A replica, its store, and how much of Raft's word it has heard.
pub(super) struct Seat {
    pub(super) replica: Replica,
    pub(super) store: MapStore,
    fed: Option<Epoch>,
}

/// What a leader keeps of tenures.
pub(super) struct Granting {
    pub(super) grantor: Grantor,
    round: Option<(u64, Round)>,
    /// When each life asked last; looked at only by a planted bug.
    pub(super) heard: BTreeMap<Incarnation, u64>,
}

enum Work {
    Raft(Input<Shared>),
    Replica(u16, Event),
}

/// One life of a node.
pub(super) struct Process {
    pub(super) setup: Setup,
    pub(super) place: Place,
    pub(super) life: Incarnation,
    pub(super) shard: Incarnation,
    pub(super) consensus: Consensus<Shared>,
    pub(super) table: Table,
    pub(super) holder: Holder,
    pub(super) granting: Option<Granting>,
    /// Who led last, other than itself.
    former: Option<Place>,
    pub(super) seats: BTreeMap<u16, Seat>,
    /// Which client's question a local ticket stands for, and whether it is a read.
    tickets: BTreeMap<u64, (Place, u64, bool)>,
    numbers: u64,
    seen: BTreeSet<(Place, u64)>,
    work: VecDeque<Work>,
    asked_us: Option<u64>,
    duty_us: Option<u64>,
    rng: Rng,
}

impl Process {
    pub(super) fn new(
        setup: Setup,
        (life, shard): (Incarnation, Incarnation),
        place: Place,
        disk: Persisted<Shared>,
        rng: Rng,
    ) -> Self {
        Self {
            setup,
            place,
            life,
            shard,
            consensus: Consensus::recover(disk),
            table: Table::new(),
            holder: Holder::new(life, setup.tenure().tenure_us),
            granting: None,
            former: None,
            seats: BTreeMap::new(),
            tickets: BTreeMap::new(),
            numbers: 0,
            seen: BTreeSet::new(),
            work: VecDeque::new(),
            asked_us: None,
            duty_us: None,
            rng,
        }
    }

    /// The shard alone begins a new life, with nothing.
    pub(super) fn restart_shard(&mut self, shard: Incarnation) {
        self.shard = shard;
        self.seats.clear();
        self.tickets.clear();
    }

    pub(super) fn leads(&self) -> bool {
        self.consensus.role() == Role::Leader
    }

    pub(super) fn handle(&mut self, from: Option<Place>, msg: Msg, turn: &mut Turn) {
        match (msg, from) {
            (Msg::Tick, _) => self.tick(turn),
            (Msg::Raft(message), Some(from)) => {
                self.work
                    .push_back(Work::Raft(Input::Message(from, message)));
            }
            (Msg::Wish(command), _) if self.leads() => self.wish(command, turn),
            (Msg::Ask(ask), _) => {
                if let Some(granting) = &mut self.granting {
                    granting.grantor.asked(ask);
                    granting.heard.insert(ask.holder, turn.now_us);
                }
            }
            (Msg::Grant(grant), _) => self.holder.granted(grant),
            (
                Msg::Entry {
                    slot,
                    from,
                    to,
                    message,
                },
                _,
            ) => {
                let event = Event::Message { from, to, message };
                self.work.push_back(Work::Replica(slot, event));
            }
            (Msg::Ops { slot, requests }, Some(from)) => self.ask(from, slot, requests, turn),
            (Msg::Where { slot }, Some(from)) => {
                if let Some(record) = self.table.ownership(slot) {
                    let record = record.clone();
                    turn.sends.push((from, Msg::Here { slot, record }));
                }
            }
            _ => {}
        }
        self.work_off(turn);
    }

    fn work_off(&mut self, turn: &mut Turn) {
        while let Some(work) = self.work.pop_front() {
            match work {
                Work::Raft(input) => self.raft(input, turn),
                Work::Replica(slot, event) => self.replica(slot, event, turn),
            }
        }
    }

    /// Has a command proposed: here, or wherever the leader is believed to be.
    pub(super) fn wish(&mut self, command: Shared, turn: &mut Turn) {
        if self.leads() {
            self.work.push_back(Work::Raft(Input::Propose(command, 0)));
        } else if let Some(leader) = self.consensus.leader_hint() {
            turn.sends.push((leader, Msg::Wish(command)));
        }
    }

    pub(super) fn tell(&mut self, slot: u16, event: Event) {
        self.work.push_back(Work::Replica(slot, event));
    }

    fn tick(&mut self, turn: &mut Turn) {
        self.raft(Input::Tick, turn);
        let now_us = turn.now_us;
        let is_due = |last: Option<u64>, every| last.is_none_or(|last| now_us >= last + every);
        if is_due(self.asked_us, ASK_US)
            && let Some(leader) = self.consensus.leader_hint()
        {
            self.asked_us = Some(now_us);
            let ask = self.holder.ask(now_us, self.consensus.applied_index());
            turn.sends.push((leader, Msg::Ask(ask)));
        }
        self.begin_round(turn);
        let is_duty = is_due(self.duty_us, DUTY_US);
        if is_duty {
            self.duty_us = Some(now_us);
            self.lead(turn);
            self.serve(turn);
        }
        for (slot, seat) in &self.seats {
            if is_duty || seat.replica.is_restless() {
                self.work.push_back(Work::Replica(*slot, Event::Tick));
            }
        }
    }

    fn begin_round(&mut self, turn: &mut Turn) {
        let Some(granting) = &mut self.granting else {
            return;
        };
        let Some(round) = granting.grantor.begin(turn.now_us) else {
            return;
        };
        self.numbers += 1;
        granting.round = Some((self.numbers, round));
        if self.setup.has(Bug::GrantUnconfirmed) {
            self.confirmed(self.numbers, Some(turn.now_us), turn);
        } else {
            let input = Input::ConfirmLeadership(self.numbers);
            self.work.push_back(Work::Raft(input));
        }
    }

    fn confirmed(&mut self, ticket: u64, t0_us: Option<u64>, turn: &mut Turn) {
        let Some(granting) = &mut self.granting else {
            return;
        };
        let Some((_, round)) = granting.round.take_if(|(asked, _)| *asked == ticket) else {
            return;
        };
        if t0_us.is_none() {
            granting.grantor.unconfirmed(round);
            return;
        }
        let (table, is_deaf) = (&self.table, self.setup.has(Bug::GrantUnheard));
        let alive_since = |life| {
            let since_index = table.alive_since(life);
            since_index.map(|index| if is_deaf { 0 } else { index })
        };
        for grant in granting.grantor.confirmed(round, alive_since) {
            if let Some(place) = place_of(grant.holder.node) {
                turn.sends.push((place, Msg::Grant(grant)));
            }
        }
    }

    fn raft(&mut self, input: Input<Shared>, turn: &mut Turn) {
        let mut out = Vec::new();
        let leader = self.consensus.leader_hint();
        self.former = leader
            .filter(|leader| *leader != self.place)
            .or(self.former);
        self.consensus
            .handle(input, turn.now_us, &mut self.rng, &mut out);
        for output in out {
            match output {
                Output::Send(to, message) => turn.sends.push((to, Msg::Raft(message))),
                Output::Committed { index, command } => {
                    self.apply(index, &command);
                    turn.notes.push(Note::Committed { index, command });
                }
                Output::LeadershipConfirmed(ticket, t0_us) => self.confirmed(ticket, t0_us, turn),
                Output::RoleChanged(Role::Leader) => {
                    let former = self.former.and_then(|place| {
                        let node = node_at(place);
                        Some(life_of(node, self.table.member(node)?))
                    });
                    let grantor = Grantor::new(self.setup.tenure()).after(former);
                    self.granting = Some(Granting {
                        grantor,
                        round: None,
                        heard: BTreeMap::new(),
                    });
                    turn.notes.push(Note::Led);
                }
                Output::RoleChanged(_) => self.granting = None,
                Output::Proposed(..) => {}
            }
        }
    }

    fn apply(&mut self, index: u64, command: &Command) {
        let is_done = self.table.apply(index, command);
        if let (Some(granting), Command::NodeDown { life, .. }) = (&mut self.granting, command) {
            // It took effect or never will: what it compares with is another now.
            granting.grantor.decided(*life);
        }
        if !is_done {
            return;
        }
        if let Some(granting) = &mut self.granting {
            // At once: a life that is down and up again before the next look is another standing.
            let table = &self.table;
            granting.grantor.forget(|life| table.is_alive(life));
        }
        if !self.is_known() {
            return;
        }
        let (shard, bug) = (self.shard, self.setup.bug);
        for slot in 0..self.setup.slots {
            let Some(ownership) = self.table.ownership(slot) else {
                continue;
            };
            let seat = self.seats.entry(slot).or_insert_with(|| Seat {
                replica: bug::replica(shard, bug),
                store: MapStore::default(),
                fed: None,
            });
            if seat.fed.is_none_or(|fed| fed < ownership.epoch) {
                seat.fed = Some(ownership.epoch);
                let event = Event::Ownership(ownership.clone());
                self.work.push_back(Work::Replica(slot, event));
            }
        }
    }

    /// Whether the cluster has been told of this life and of its shard's; it serves nothing before.
    pub(super) fn is_known(&self) -> bool {
        let member = self.table.member(self.life.node);
        member.is_some_and(|member| {
            member.boot == self.life.boot && shard_boot(member) == Some(self.shard.boot)
        })
    }

    fn ask(&mut self, from: Place, slot: u16, requests: Vec<Request>, turn: &mut Turn) {
        let mut taken = Vec::with_capacity(requests.len());
        for mut request in requests {
            // A lane gives each message once; the network does not.
            if !self.seen.insert((from, request.ticket)) {
                continue;
            }
            if !self.seats.contains_key(&slot) {
                let answer = Answer::Retry(Delay::Behind);
                let ticket = request.ticket;
                turn.sends.push((from, Msg::Answered { ticket, answer }));
                continue;
            }
            self.numbers += 1;
            let is_read = request.op == Op::Get;
            self.tickets
                .insert(self.numbers, (from, request.ticket, is_read));
            request.ticket = self.numbers;
            taken.push(request);
        }
        if !taken.is_empty() {
            self.tell(slot, Event::Requests(taken));
        }
    }

    fn replica(&mut self, slot: u16, event: Event, turn: &mut Turn) {
        let Some(seat) = self.seats.get_mut(&slot) else {
            return;
        };
        let reads: Vec<u64> = match &event {
            Event::Requests(requests) => {
                let reads = requests.iter().filter(|request| request.op == Op::Get);
                reads.map(|request| request.ticket).collect()
            }
            _ => Vec::new(),
        };
        let mut effects = Vec::new();
        let mut world = World {
            now: now_ms(turn.now_us),
            store: &mut Looked {
                store: &mut seat.store,
                sleep: &turn.sleep,
            },
            tenure: &mut Held {
                until_us: self.holder.until_us(),
                began_us: turn.now_us,
                rate_ppm: turn.rate_ppm,
                sleep: &turn.sleep,
            },
            wish: &self.table.wish(slot),
        };
        seat.replica.handle(event, &mut world, &mut effects);
        turn.touched.insert(slot);
        // Each event carries one question here, so the last look belongs to the last answer.
        let is_found = |effect: &Effect| {
            matches!(
                effect,
                Effect::Answer {
                    answer: Answer::Found(_),
                    ..
                }
            )
        };
        if turn.sleep.is_unguarded() && effects.iter().any(is_found) {
            turn.notes.push(Note::Unguarded { slot });
        }
        for effect in effects {
            self.effect(slot, effect, turn);
        }
        let parked = reads.iter().any(|read| self.tickets.contains_key(read));
        if parked {
            turn.notes.push(Note::ParkedRead);
        }
    }

    fn effect(&mut self, slot: u16, effect: Effect, turn: &mut Turn) {
        match effect {
            Effect::Answer { ticket, answer } => {
                let Some((to, ticket, _)) = self.tickets.remove(&ticket) else {
                    turn.notes.push(Note::Stray { slot });
                    return;
                };
                if let Answer::Done { version, .. } = &answer {
                    // Of a touch it is the version of the entry, which has been acknowledged before.
                    let seq = version.seq().0;
                    turn.notes.push(Note::Acknowledged { slot, seq });
                }
                turn.sends.push((to, Msg::Answered { ticket, answer }));
            }
            Effect::Send { to, message } => {
                if let Some(place) = place_of(to.node) {
                    let from = self.shard;
                    let entry = Msg::Entry {
                        slot,
                        from,
                        to,
                        message,
                    };
                    turn.sends.push((place, entry));
                }
            }
            Effect::Propose(proposal) => {
                let change = Command::SlotChange(SlotChange::of(slot, &proposal));
                self.wish(Arc::new(change), turn);
            }
        }
    }

    /// The node of a place that is not a voter may leave for good.
    pub(super) fn may_leave(&self, node: NodeId) -> bool {
        place_of(node).is_some_and(|place| place >= self.setup.voters)
    }
}
