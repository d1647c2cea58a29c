//! The course of a run: faults for a while, then a calm in which all must come right, again and again.
//!
//! Responsible for what a calm must bring, and for how soon. It must never know which faults there were.

use std::collections::{BTreeMap, BTreeSet};

use ultrakv_cluster::NodeId;
use ultrakv_cluster::metadata::MemberState;

use super::client::{TIME, is_timed, slot_of};
use super::clock::now_ms;
use super::director::ACT_US;
use super::oracle::Wrong;
use super::words::{Msg, place_of};
use super::world::World;
use crate::history::{Op, Outcome};
use crate::linear;
use crate::network::Us;

/// How long faults last.
const FAULTS_US_MIN: u64 = 4_000_000;
const FAULTS_US_MAX: u64 = 10_000_000;
/// Within this long after the last fault everything is as planned, and serves.
const CALM_US: u64 = 15_000_000;
/// Within this long every question is answered or given up.
const ANSWER_US: u64 = 12_000_000;
/// How often a client may miss, since it asked who is gone, before it is held against the cluster.
const FINDS_MAX: usize = 5;
/// Longer than any message is under way.
const QUIET_US: u64 = 2_000_000;
/// Between two looks whether it is.
const SLICE_US: u64 = 50_000;
/// An entry lives no longer than this after its time, once all is calm.
const OVERDUE_MS: u64 = 1_000;

impl World {
    /// Runs until the time is over or something is wrong.
    pub(super) fn play(&mut self, until: Us) {
        self.net.timer(self.director_place, ACT_US, Msg::Act);
        while self.net.now() < until && self.goes_on() {
            self.is_calm = false;
            let faults_us = self.rng.between(FAULTS_US_MIN, FAULTS_US_MAX);
            self.run_for(faults_us);
            if self.goes_on() {
                self.come_right();
            }
        }
        if self.wrong.is_none()
            && self.excuse.is_some()
            && let Err(wrong) = self.judge_history()
        {
            self.fail(wrong);
        }
    }

    const fn goes_on(&self) -> bool {
        self.wrong.is_none() && self.excuse.is_none()
    }

    fn run_for(&mut self, us: u64) {
        let until = self.net.now().plus(us);
        while self.goes_on()
            && let Some(arrival) = self.net.next_before(until)
        {
            if self.step(arrival) {
                self.net.timer(self.director_place, ACT_US, Msg::Act);
                self.direct();
            }
        }
    }

    /// Runs until a question is answered with nothing; else tells what is still missing.
    fn wait(
        &mut self,
        patience_us: u64,
        missing: impl Fn(&Self) -> Option<Wrong>,
    ) -> Result<(), Wrong> {
        let deadline = self.net.now().plus(patience_us);
        loop {
            self.run_for(SLICE_US);
            let Some(mut wrong) = missing(self) else {
                return Ok(());
            };
            if !self.goes_on() {
                return Ok(());
            }
            if self.net.now() >= deadline {
                wrong.is_missing = true;
                return Err(wrong);
            }
            self.undrain();
            self.plan_at_last();
        }
    }

    fn come_right(&mut self) {
        self.calm();
        if let Err(wrong) = self.must_come_right() {
            self.fail(wrong);
        }
        for client in &mut self.clients {
            client.set_quiet(false);
        }
    }

    fn must_come_right(&mut self) -> Result<(), Wrong> {
        self.wait(CALM_US, Self::not_settled)?;
        for client in &mut self.clients {
            client.set_quiet(true);
        }
        let is_busy = |world: &Self| {
            let is_busy = world.clients.iter().any(|client| !client.is_idle());
            is_busy.then(|| Wrong::anywhere("a client's question has no end".to_owned()))
        };
        self.wait(ANSWER_US, is_busy)?;
        // Whatever is still under way arrives, so that nothing unknown can happen after this.
        self.run_for(QUIET_US);
        // The first reads only find out where slots are now: a write to who is gone would be unknown.
        for _ in 0..FINDS_MAX {
            let asked = self.history.calls().len();
            for slot in 0..self.setup.slots {
                self.with_client(0, |client, desk| client.read_all(slot, desk));
            }
            self.wait(ANSWER_US, is_busy)?;
            let mut calls = self.history.calls().iter().skip(asked);
            if calls.all(|call| call.outcome != Outcome::Refused) {
                break;
            }
        }
        let asked = self.history.calls().len();
        for slot in 0..self.setup.slots {
            self.with_client(0, |client, desk| client.write_one(slot, desk));
        }
        self.wait(ANSWER_US, is_busy)?;
        for slot in 0..self.setup.slots {
            self.with_client(0, |client, desk| client.read_all(slot, desk));
        }
        self.wait(ANSWER_US, is_busy)?;
        if !self.goes_on() {
            return Ok(());
        }
        let mut calls = self.history.calls().iter().skip(asked);
        let is_served = |outcome| matches!(outcome, Outcome::Value(_) | Outcome::Done);
        let unserved = calls.find(|call| !is_served(call.outcome) && call.op != Op::Delete);
        if let Some(call) = unserved {
            let slot = slot_of(call.key);
            let what = format!("all is calm, and yet: key {}, {call}", call.key);
            let mut wrong = Wrong::of(slot, what);
            wrong.is_missing = true;
            return Err(wrong);
        }
        self.nothing_is_overdue()?;
        self.judge_history()
    }

    /// Whether one order explains all that clients were told since the last calm. The next history begins with what was
    /// read last.
    fn judge_history(&mut self) -> Result<(), Wrong> {
        let history = std::mem::take(&mut self.history);
        self.calls += history.calls().len();
        if let Err(violation) = linear::check(&history) {
            if violation.kind == linear::ViolationKind::Undecided {
                // No proof of anything: the run ends here and is counted apart.
                self.is_undecided = true;
                self.excuse.get_or_insert(self.net.now());
                return Ok(());
            }
            let mut wrong = Wrong::of(slot_of(violation.key), violation.to_string());
            wrong.at = violation.culprit.and_then(|call| call.completed);
            return Err(wrong);
        }
        let now = self.net.now();
        let mut last = BTreeMap::new();
        for call in history.calls() {
            if let Outcome::Value(value) = call.outcome {
                last.insert(call.key, value);
            }
        }
        for (key, value) in last {
            let op = value.map_or(Op::Delete, Op::Write);
            let call = self.history.invoke(TIME, key, op, now);
            self.history.complete(call, Outcome::Done, now);
            if is_timed(key) && value.is_some() {
                self.history.invoke(TIME, key, Op::Delete, now);
            }
        }
        Ok(())
    }

    fn nothing_is_overdue(&self) -> Result<(), Wrong> {
        for host in &self.hosts {
            let Some(process) = &host.process else {
                continue;
            };
            let now = now_ms(host.clock.us(self.net.now()));
            for (slot, seat) in &process.seats {
                let entries = seat.store.entries().values();
                let mut times = entries.filter_map(|stored| stored.expires);
                if seat.replica.is_open() && times.any(|end| now.since_ms(end) > OVERDUE_MS) {
                    let what = format!("place {} keeps what is over", process.place);
                    return Err(Wrong::of(*slot, what));
                }
            }
        }
        Ok(())
    }

    /// What is not as the plan wants it; none when everything is.
    fn not_settled(&self) -> Option<Wrong> {
        let Some(leader) = self.leader() else {
            return Some(Wrong::anywhere("nobody leads".to_owned()));
        };
        for process in self.processes() {
            if process.consensus.applied_index() < self.truth_index
                || !process.table.is_same(&self.truth, self.setup.slots)
            {
                let what = format!("place {} lags behind leader {leader}", process.place);
                return Some(Wrong::anywhere(what));
            }
        }
        for (node, member) in self.truth.members() {
            let is_settled = matches!(member.state, MemberState::Up | MemberState::Left);
            if !is_settled {
                let what = format!("place {:?} is {}", place_of(node), member.state);
                return Some(Wrong::anywhere(what));
            }
        }
        if self.truth.planned().is_empty() {
            return Some(Wrong::anywhere("there is no plan".to_owned()));
        }
        (0..self.setup.slots).find_map(|slot| self.slot_not_settled(slot))
    }

    fn slot_not_settled(&self, slot: u16) -> Option<Wrong> {
        let record = self.truth.ownership(slot)?;
        let targets: BTreeSet<NodeId> = self.truth.targets(slot).iter().copied().collect();
        let members: BTreeSet<NodeId> = record.in_sync.iter().map(|it| it.node).collect();
        let owner = record.owner().map(|owner| owner.node);
        let first = self.truth.targets(slot).first().copied();
        if targets != members || owner != first {
            let what = format!("wanted {:?}, is {record:?}", self.truth.targets(slot));
            return Some(Wrong::of(slot, what));
        }
        let serving = self.serving(slot);
        (serving.len() != 1).then(|| Wrong::of(slot, format!("served by {serving:?}")))
    }
}
