//! The simulated world: machines, clients and the network between them, one step after the other.
//!
//! Responsible for carrying messages and for having every step judged. It must never decide what goes wrong next.

use std::sync::Arc;

use ultrakv_actors::BootId;
use ultrakv_cluster::Incarnation;
use ultrakv_cluster::entry::Ownership;
use ultrakv_cluster::metadata::{Command, MemberState};

use super::client::{Client, Desk};
use super::clock::Clock;
use super::coverage::{Coverage, Seen};
use super::director::{CutKind, Director};
use super::oracle::{Oracle, Wrong};
use super::process::{Note, Process, Setup, Turn};
use super::store::Sleep;
use super::table::Table;
use super::trace::Trace;
use super::words::{Msg, Shared, node_at, place_of};
use crate::consensus::{Consensus, Membership, Persisted, Timing};
use crate::history::History;
use crate::network::{Arrival, Network, Place, Us};
use crate::rng::Rng;

/// Between two ticks of a node.
const TICK_US: u64 = 10_000;
/// How long a node sleeps in the middle of a question.
const SLEEP_US_MIN: u64 = 50_000;
const SLEEP_US_MAX: u64 = 2_500_000;

/// One machine; it outlives its processes.
pub(super) struct Host {
    pub(super) clock: Clock,
    pub(super) disk: Option<Persisted<Shared>>,
    pub(super) process: Option<Process>,
    /// It never comes back.
    pub(super) is_retired: bool,
    pub(super) was_started: bool,
    pub(super) is_stopped: bool,
    /// The number of the sleep that it is in.
    asleep: Option<u64>,
    held: Vec<(Place, Msg)>,
    boots: Option<(BootId, BootId)>,
}

impl Host {
    /// Whether its process stands still.
    pub(super) const fn is_still(&self) -> bool {
        self.is_stopped || self.asleep.is_some()
    }
}

/// Everything of one run.
pub(super) struct World {
    pub(super) setup: Setup,
    pub(super) timing: Timing,
    pub(super) membership: Membership,
    pub(super) net: Network<Msg>,
    pub(super) rng: Rng,
    pub(super) hosts: Vec<Host>,
    pub(super) clients: Vec<Client>,
    pub(super) director: Director,
    pub(super) director_place: Place,
    pub(super) is_calm: bool,
    pub(super) cut: Option<(CutKind, u64)>,
    pub(super) oracle: Oracle,
    /// What the log says as far as anybody has applied it.
    pub(super) truth: Table,
    pub(super) truth_index: u64,
    pub(super) coverage: Coverage,
    pub(super) history: History,
    pub(super) digest: u64,
    values: u64,
    boots: u128,
    sleeps: u64,
    /// Places that a client may know of.
    pub(super) nodes: Vec<Place>,
    pub(super) wrong: Option<Wrong>,
    pub(super) trace: Trace,
    pub(super) steps: u64,
    /// When the last copy of something was given up because its node was silent while the others were lost and not yet
    /// missed. That is a second fault before the first was repaired, for which nothing is promised: the run ends there.
    pub(super) excuse: Option<Us>,
    /// A history was too tangled to be judged.
    pub(super) is_undecided: bool,
    /// Questions of histories that were judged already.
    pub(super) calls: usize,
}

impl World {
    pub(super) fn new(
        setup: Setup,
        (timing, membership): (Timing, Membership),
        (net, director): (Network<Msg>, Director),
        mut rng: Rng,
        trace: Trace,
    ) -> Self {
        let places = membership.voters.len() + membership.learners.len();
        let hosts = (0..places).map(|_| Host {
            clock: Clock::draw(&mut rng),
            disk: None,
            process: None,
            is_retired: false,
            was_started: false,
            is_stopped: false,
            asleep: None,
            held: Vec::new(),
            boots: None,
        });
        let hosts: Vec<Host> = hosts.collect();
        Self {
            truth: Table::new(),
            setup,
            timing,
            net,
            rng,
            hosts,
            clients: Vec::new(),
            director,
            director_place: 0,
            is_calm: false,
            cut: None,
            oracle: Oracle::default(),
            truth_index: 0,
            coverage: Coverage::default(),
            history: History::new(),
            digest: 0,
            values: 0,
            boots: 0,
            sleeps: 0,
            nodes: Vec::new(),
            membership,
            wrong: None,
            trace,
            steps: 0,
            calls: 0,
            excuse: None,
            is_undecided: false,
        }
    }

    pub(super) fn host(&self, place: Place) -> Option<&Host> {
        self.hosts.get(usize::from(place))
    }

    pub(super) fn host_mut(&mut self, place: Place) -> Option<&mut Host> {
        self.hosts.get_mut(usize::from(place))
    }

    pub(super) fn process(&self, place: Place) -> Option<&Process> {
        self.host(place)?.process.as_ref()
    }

    pub(super) fn processes(&self) -> impl Iterator<Item = &Process> {
        self.hosts.iter().filter_map(|host| host.process.as_ref())
    }

    /// Places whose processes run, standing still or not.
    pub(super) fn running(&self) -> Vec<Place> {
        self.processes().map(|process| process.place).collect()
    }

    /// The leader of the highest term, if it runs and does not stand still.
    pub(super) fn leader(&self) -> Option<Place> {
        let leaders = self.processes().filter(|process| process.leads());
        let leader = leaders
            .max_by_key(|process| process.consensus.term())?
            .place;
        let host = self.host(leader)?;
        (!host.is_still()).then_some(leader)
    }

    pub(super) fn fail(&mut self, wrong: Wrong) {
        self.wrong.get_or_insert(wrong);
    }

    fn draw_boot(&mut self) -> BootId {
        self.boots += 1;
        BootId::from_u128(self.boots)
    }

    /// A process begins at a place, with what its disk has.
    pub(super) fn start(&mut self, place: Place) {
        let boots = (self.draw_boot(), self.draw_boot());
        let (rng, delay_us) = (self.rng.fork(), self.rng.below(TICK_US));
        let (setup, timing) = (self.setup, self.timing);
        let membership = self.membership.clone();
        let Some(host) = self.host_mut(place) else {
            return;
        };
        if host.process.is_some() || host.is_retired {
            return;
        }
        let keeps_boots = setup.has(super::bug::Bug::BootForgotten);
        let boots = host.boots.filter(|_| keeps_boots).unwrap_or(boots);
        host.boots = Some(boots);
        host.was_started = true;
        let node = node_at(place);
        let [life, shard] = [boots.0, boots.1].map(|boot| Incarnation { node, boot });
        let disk = host.disk.take();
        let disk = disk.unwrap_or_else(|| Consensus::new(place, membership, timing).persisted());
        host.process = Some(Process::new(setup, (life, shard), place, disk, rng));
        if !self.nodes.contains(&place) {
            self.nodes.push(place);
        }
        self.net.timer(place, delay_us, Msg::Tick);
        let at = self.net.now();
        self.trace.line(at, None, || {
            format!("{place} starts as {life:?}, shard {:?}", shard.boot)
        });
    }

    /// A process ends at once; its disk stays.
    pub(super) fn end(&mut self, place: Place) {
        let Some(host) = self.host_mut(place) else {
            return;
        };
        if let Some(process) = host.process.take() {
            host.disk = Some(process.consensus.persisted());
        }
        host.is_stopped = false;
        host.asleep = None;
        host.held.clear();
        self.net.restart(place);
        let at = self.net.now();
        self.trace.line(at, None, || format!("{place} ends"));
    }

    /// The shard alone begins a new life.
    pub(super) fn restart_shard(&mut self, place: Place) {
        let boot = self.draw_boot();
        let Some(host) = self.host_mut(place) else {
            return;
        };
        if let Some(process) = &mut host.process {
            let node = node_at(place);
            process.restart_shard(Incarnation { node, boot });
            host.boots = host.boots.map(|(life, _)| (life, boot));
        }
        let at = self.net.now();
        self.trace.line(at, None, || {
            format!("shard of {place} restarts as {boot:?}")
        });
    }

    pub(super) fn stop(&mut self, place: Place) {
        if let Some(host) = self.host_mut(place)
            && host.process.is_some()
        {
            host.is_stopped = true;
            self.net.pause(place);
        }
    }

    pub(super) fn resume(&mut self, place: Place) {
        if let Some(host) = self.host_mut(place)
            && host.is_stopped
        {
            host.is_stopped = false;
            if host.asleep.is_none() {
                self.net.resume(place);
            }
        }
    }

    fn awake(&mut self, place: Place, sleep: u64) {
        let Some(host) = self.host_mut(place) else {
            return;
        };
        if host.asleep != Some(sleep) {
            return;
        }
        host.asleep = None;
        let held = std::mem::take(&mut host.held);
        if !host.is_stopped {
            self.net.resume(place);
        }
        self.send_all(place, held);
    }

    fn send_all(&mut self, from: Place, sends: Vec<(Place, Msg)>) {
        for (to, message) in sends {
            self.net.send(from, to, message);
        }
    }

    /// One arrival; gives back what only the director understands.
    pub(super) fn step(&mut self, arrival: Arrival<Msg>) -> bool {
        self.steps += 1;
        let Arrival {
            to, from, message, ..
        } = arrival;
        if usize::from(to) < self.hosts.len() {
            if matches!(message, Msg::Tick) {
                self.net.timer(to, TICK_US, Msg::Tick);
            }
            self.turn(to, from, message);
            return false;
        }
        if to == self.director_place {
            if let Msg::Awake { place, sleep } = message {
                self.awake(place, sleep);
                return false;
            }
            return true;
        }
        let at = usize::from(to) - self.hosts.len();
        self.with_client(at, |client, desk| client.handle(message, desk));
        false
    }

    pub(super) fn with_client(&mut self, at: usize, does: impl FnOnce(&mut Client, &mut Desk<'_>)) {
        let Some(client) = self.clients.get_mut(at) else {
            return;
        };
        let mut desk = Desk {
            net: &mut self.net,
            history: &mut self.history,
            coverage: &mut self.coverage,
            digest: &mut self.digest,
            values: &mut self.values,
            nodes: &self.nodes,
        };
        does(client, &mut desk);
    }

    /// A process takes one message.
    pub(super) fn turn(&mut self, place: Place, from: Option<Place>, message: Msg) {
        let sleep = self.draw_sleep(&message);
        let now = self.net.now();
        let Some(host) = self.hosts.get_mut(usize::from(place)) else {
            return;
        };
        let Some(process) = &mut host.process else {
            return;
        };
        self.trace.message(now, place, from, &message);
        let mut turn = Turn {
            now_us: host.clock.us(now),
            rate_ppm: host.clock.rate_ppm(),
            sleep,
            sends: Vec::new(),
            notes: Vec::new(),
            touched: std::collections::BTreeSet::new(),
        };
        if matches!(message, Msg::Grant(_)) {
            turn.touched.extend(0..self.setup.slots);
        }
        process.handle(from, message, &mut turn);
        let slept_us = turn.sleep.slept_us();
        if let Err(wrong) = self.judge(place, &mut turn) {
            self.fail(wrong);
        }
        if slept_us == 0 {
            self.send_all(place, turn.sends);
            return;
        }
        self.coverage.note(Seen::Stall);
        self.sleeps += 1;
        let sleep = self.sleeps;
        if let Some(host) = self.host_mut(place) {
            host.asleep = Some(sleep);
            host.held = turn.sends;
        }
        self.net.pause(place);
        let awake = Msg::Awake { place, sleep };
        self.net.timer(self.director_place, slept_us, awake);
        self.trace
            .line(now, None, || format!("{place} sleeps {slept_us} us"));
    }

    fn draw_sleep(&mut self, message: &Msg) -> Sleep {
        if self.is_calm || !matches!(message, Msg::Ops { .. }) {
            return Sleep::default();
        }
        let sleep_ppm = self.director.mood().sleep_ppm;
        if !self.rng.chance_ppm(sleep_ppm) {
            return Sleep::default();
        }
        let for_us = self.rng.between(SLEEP_US_MIN, SLEEP_US_MAX);
        Sleep::before(self.rng.between(1, 3), for_us)
    }

    fn judge(&mut self, place: Place, turn: &mut Turn) -> Result<(), Wrong> {
        for note in std::mem::take(&mut turn.notes) {
            self.judge_note(place, note)?;
        }
        let slots = std::mem::take(&mut turn.touched);
        for slot in &slots {
            let host = self.hosts.get_mut(usize::from(place));
            if let Some(process) = host.and_then(|host| host.process.as_mut()) {
                self.oracle.look(process, *slot)?;
            }
            self.look_for_two_owners(place, *slot)?;
        }
        let process = self.process(place);
        if process.is_some_and(|process| process.consensus.is_contradicted()) {
            let what = format!("place {place} was told to take back what was committed");
            return Err(Wrong::anywhere(what));
        }
        Ok(())
    }

    fn judge_note(&mut self, place: Place, note: Note) -> Result<(), Wrong> {
        match note {
            Note::Committed { index, command } => {
                if self.oracle.committed(index, &command)? {
                    self.apply(index, &command);
                }
                Ok(())
            }
            Note::Led => self.judge_leader(place),
            Note::Acknowledged { slot, seq } => self.judge_acknowledged(place, slot, seq),
            Note::Stray { slot } => Err(Wrong::of(
                slot,
                format!("place {place} answered a question twice, or one never asked"),
            )),
            Note::Unguarded { slot } => Err(Wrong::of(
                slot,
                format!("place {place} answered a read without asking for its tenure after it"),
            )),
            Note::ParkedRead => {
                self.coverage.note(Seen::ParkedRead);
                Ok(())
            }
        }
    }

    /// Whether a place would serve a slot at this moment.
    fn would_serve(&self, host: &Host, slot: u16) -> bool {
        let Some(process) = &host.process else {
            return false;
        };
        let now_us = host.clock.us(self.net.now());
        let seat = process.seats.get(&slot);
        seat.is_some_and(|seat| seat.replica.is_open()) && process.holder.is_held(now_us)
    }

    pub(super) fn serving(&self, slot: u16) -> Vec<Place> {
        let hosts = self
            .hosts
            .iter()
            .filter(|host| self.would_serve(host, slot));
        let processes = hosts.filter_map(|host| host.process.as_ref());
        processes.map(|process| process.place).collect()
    }

    fn look_for_two_owners(&self, place: Place, slot: u16) -> Result<(), Wrong> {
        let host = self.host(place);
        if !host.is_some_and(|host| self.would_serve(host, slot)) {
            return Ok(());
        }
        let serving = self.serving(slot);
        if serving.len() > 1 {
            let what = format!("places {serving:?} all serve the slot, with tenures");
            return Err(Wrong::of(slot, what));
        }
        Ok(())
    }

    /// When a leader exists every tenure of former ones is over.
    fn judge_leader(&mut self, place: Place) -> Result<(), Wrong> {
        self.coverage.note(Seen::LeaderChange);
        let now = self.net.now();
        let Some(process) = self.process(place) else {
            return Ok(());
        };
        let term = process.consensus.term();
        self.trace
            .line(now, None, || format!("{place} leads term {term}"));
        if !self.oracle.led(term, place)? {
            return Ok(());
        }
        for host in &self.hosts {
            if let Some(process) = &host.process
                && process.holder.is_held(host.clock.us(now))
            {
                let what = format!(
                    "place {place} leads term {term} while a tenure of place {} lasts",
                    process.place
                );
                return Err(Wrong::anywhere(what));
            }
        }
        Ok(())
    }

    /// Whatever a client is told to be done lies with every member that lives.
    fn judge_acknowledged(&self, place: Place, slot: u16, seq: u64) -> Result<(), Wrong> {
        let members = self.truth.ownership(slot);
        for member in members.into_iter().flat_map(|record| &record.in_sync) {
            let process = place_of(member.node).and_then(|place| self.process(place));
            let Some(process) = process.filter(|process| process.shard == *member) else {
                continue;
            };
            let last = process.seats.get(&slot).map(|seat| seat.replica.last().0);
            if last.is_none_or(|last| last < seq) {
                let what = format!(
                    "place {place} acknowledged write {seq}; member {} has {last:?}",
                    process.place
                );
                return Err(Wrong::of(slot, what));
            }
        }
        Ok(())
    }

    /// The truth goes on by one command.
    fn apply(&mut self, index: u64, command: &Arc<Command>) {
        let slots = 0..self.setup.slots;
        let before: Vec<_> = slots
            .map(|slot| self.truth.ownership(slot).cloned())
            .collect();
        let was = member_state(&self.truth, command);
        self.truth_index = index;
        if !self.truth.apply(index, command) {
            return;
        }
        let now = self.net.now();
        self.trace
            .line(now, None, || format!("log {index}: {command:?}"));
        for (slot, before) in (0..).zip(before) {
            let Some((before, after)) = before.zip(self.truth.ownership(slot)) else {
                continue;
            };
            if before.epoch != after.epoch {
                self.trace
                    .line(now, Some(slot), || format!("log {index}: {after:?}"));
                let is_asked = matches!(&**command, Command::SlotChange(_));
                count_change(&before, after, is_asked, &mut self.coverage);
                let is_taken = matches!(&**command, Command::NodeDown { .. });
                let lives = |record: &Ownership| record.in_sync.iter().any(|it| self.lives(*it));
                if (is_asked || is_taken) && lives(&before) && !lives(after) {
                    self.excuse.get_or_insert(now);
                }
            }
        }
        self.count(command, was);
    }

    /// Whether this life of a shard runs.
    pub(super) fn lives(&self, shard: Incarnation) -> bool {
        let process = place_of(shard.node).and_then(|place| self.process(place));
        process.is_some_and(|process| process.shard == shard)
    }

    fn count(&mut self, command: &Command, was: Option<MemberState>) {
        let founders = self.setup.founders;
        let seen = match command {
            Command::MemberJoin(join) => {
                let is_late = place_of(join.node).is_some_and(|place| place >= founders);
                is_late.then_some(Seen::Join)
            }
            Command::NodeDown { .. } => Some(Seen::NodeDown),
            Command::MemberState { to, .. } => match (was, to) {
                (Some(MemberState::Down), MemberState::Up) => Some(Seen::Comeback),
                (Some(MemberState::Draining), MemberState::Up) => Some(Seen::Undrain),
                (_, MemberState::Draining) => Some(Seen::Drain),
                _ => None,
            },
            Command::MemberLeave { .. } if was == Some(MemberState::Draining) => Some(Seen::Leave),
            _ => None,
        };
        if let Some(seen) = seen {
            self.coverage.note(seen);
        }
    }

    /// What the log may yet say: the truth, and the truth with each member's log behind it.
    pub(super) fn possible_truths(&self) -> Vec<Table> {
        let mut truths = vec![self.truth.clone()];
        for host in &self.hosts {
            let disk = match (&host.process, &host.disk) {
                (Some(process), _) => Some(process.consensus.commands_after(self.truth_index)),
                (None, Some(disk)) => Some(disk.commands_after(self.truth_index)),
                (None, None) => None,
            };
            let Some(rest) = disk.filter(|rest| !rest.is_empty()) else {
                continue;
            };
            let mut truth = self.truth.clone();
            for (index, command) in rest {
                truth.apply(index, command);
            }
            truths.push(truth);
        }
        truths
    }
}

fn member_state(table: &Table, command: &Command) -> Option<MemberState> {
    let (Command::MemberState { life, .. } | Command::MemberLeave { life }) = command else {
        return None;
    };
    table.member(life.node).map(|member| member.state)
}

/// What became of a slot's members: by their own wish, or by the end of a life.
fn count_change(before: &Ownership, after: &Ownership, is_asked: bool, coverage: &mut Coverage) {
    let has = |record: &Ownership, member| record.in_sync.contains(member);
    let is_added = after.in_sync.iter().any(|member| !has(before, member));
    let is_removed = before.in_sync.iter().any(|member| !has(after, member));
    let is_moved = before.owner().is_some() && before.owner() != after.owner();
    match (is_asked, is_moved) {
        (true, _) => {
            coverage.add(Seen::JoinDone, u64::from(is_added));
            coverage.add(Seen::Removal, u64::from(is_removed));
            coverage.add(Seen::HandOver, u64::from(is_moved && !is_removed));
        }
        (false, true) => coverage.add(Seen::Promotion, u64::from(after.owner().is_some())),
        (false, false) => {}
    }
}
