//! A client with a router: it knows which node owned a slot when it last heard, asks there, and is sent on.
//!
//! Responsible for asking, and for telling the history no more than a client can know: a write that may have arrived and
//! was not answered is unknown and never sent again. It must never look into a node.

use std::collections::BTreeMap;
use std::sync::Arc;

use ultrakv_cache::EntryClass;
use ultrakv_cluster::Epoch;
use ultrakv_cluster::entry::{
    Answer, Delay, Found, Key, OnlyIf, Op, Ownership, Refusal, Request, Version,
};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::coverage::{Coverage, Seen};
use super::words::{Msg, place_of};
use crate::history::{CallId, History, Op as Asked, Outcome};
use crate::network::{Network, Place};
use crate::rng::Rng;

/// Keys of one slot. The last one of each slot carries times to live.
pub(super) const SLOT_KEYS: u32 = 4;
/// How long a client waits for one answer, mostly.
const ATTEMPT_US: u64 = 400_000;
/// How long some wait for what a read found: as long as a node may sleep.
const PATIENT_US: u64 = 4_000_000;
const PATIENT_PPM: u32 = 300_000;
/// How long it goes on asking.
const DEADLINE_US: u64 = 2_000_000;
/// Before it asks again.
const AGAIN_US: u64 = 15_000;
/// The client of an entry's end.
pub(super) const TIME: u32 = 255;

/// What clients do; a run may be tuned to a planted bug.
#[derive(Clone, Copy, Debug)]
pub(super) struct Habits {
    /// The longest time between two windows of questions.
    pub(super) pause_us_max: u64,
    /// Reads, of a million questions.
    pub(super) read_ppm: u32,
    /// A client goes on asking a node that it cannot reach any more only so often, of a million.
    pub(super) loyal_ppm: u32,
}

struct Pending {
    call: Option<CallId>,
    key: u32,
    op: Op,
    asked: Asked,
    ends_us: u64,
}

/// What all clients share.
pub(super) struct Desk<'a> {
    pub(super) net: &'a mut Network<Msg>,
    pub(super) history: &'a mut History,
    pub(super) coverage: &'a mut Coverage,
    pub(super) digest: &'a mut u64,
    /// The last value that anybody wrote.
    pub(super) values: &'a mut u64,
    /// Nodes that a client may ask where a slot is.
    pub(super) nodes: &'a [Place],
}

/// One client.
pub(super) struct Client {
    place: Place,
    slots: u16,
    habits: Habits,
    rng: Rng,
    records: BTreeMap<u16, Ownership>,
    pending: BTreeMap<u64, Pending>,
    /// The value and version of each key as last told.
    known: BTreeMap<u32, Option<(u64, Version)>>,
    tickets: u64,
    is_quiet: bool,
}

pub(super) fn slot_of(key: u32) -> u16 {
    u16::try_from(key / SLOT_KEYS).unwrap_or(u16::MAX)
}

pub(super) fn name_of(key: u32) -> Key {
    Key {
        domain: [7; 32],
        name: key.to_be_bytes().as_slice().into(),
    }
}

pub(super) const fn is_timed(key: u32) -> bool {
    key % SLOT_KEYS == SLOT_KEYS - 1
}

fn value_of(found: &Found) -> u64 {
    <[u8; 8]>::try_from(&*found.value).map_or(u64::MAX, u64::from_le_bytes)
}

impl Client {
    pub(super) fn new(place: Place, slots: u16, habits: Habits, rng: Rng) -> Self {
        Self {
            place,
            slots,
            habits,
            rng,
            records: BTreeMap::new(),
            pending: BTreeMap::new(),
            known: BTreeMap::new(),
            tickets: 0,
            is_quiet: false,
        }
    }

    /// From now on it asks nothing of its own, or it does again.
    pub(super) const fn set_quiet(&mut self, is_quiet: bool) {
        self.is_quiet = is_quiet;
    }

    /// Whether every question of it was answered or given up.
    pub(super) fn is_idle(&self) -> bool {
        self.pending.is_empty()
    }

    pub(super) fn handle(&mut self, message: Msg, desk: &mut Desk<'_>) {
        match message {
            Msg::Next => {
                let pause_us = self.rng.between(1_000, self.habits.pause_us_max);
                desk.net.timer(self.place, pause_us, Msg::Next);
                if !self.is_quiet {
                    self.ask_window(desk);
                }
            }
            Msg::Answered { ticket, answer } => self.answered(ticket, answer, desk),
            Msg::Again { ticket } => self.again(ticket, desk),
            Msg::Late { ticket } => self.late(ticket, desk),
            Msg::Here { slot, record } => self.learn(slot, record),
            Msg::MayExpire { key } => {
                desk.history
                    .invoke(TIME, key, Asked::Delete, desk.net.now());
                desk.coverage.note(Seen::Expiry);
            }
            _ => {}
        }
    }

    /// Writes one key of a slot, for the end of a time of faults.
    pub(super) fn write_one(&mut self, slot: u16, desk: &mut Desk<'_>) {
        let key = u32::from(slot) * SLOT_KEYS;
        let (op, asked) = self.put(key, OnlyIf::Always, None, desk);
        self.begin(key, op, asked, desk);
    }

    /// Reads every key of a slot.
    pub(super) fn read_all(&mut self, slot: u16, desk: &mut Desk<'_>) {
        let first = u32::from(slot) * SLOT_KEYS;
        for key in first..first + SLOT_KEYS {
            self.begin(key, Op::Get, Asked::Read, desk);
        }
    }

    fn ask_window(&mut self, desk: &mut Desk<'_>) {
        let slot = u16::try_from(self.rng.below(u64::from(self.slots))).unwrap_or(0);
        for _ in 0..self.rng.between(1, 3) {
            let offset = u32::try_from(self.rng.below(u64::from(SLOT_KEYS))).unwrap_or(0);
            let key = u32::from(slot) * SLOT_KEYS + offset;
            let (op, asked) = self.choose(key, desk);
            if asked.is_none() {
                // A new time to live is nothing that a history knows.
                self.begin_unheard(key, op, desk);
            } else if let Some(asked) = asked {
                self.begin(key, op, asked, desk);
            }
        }
    }

    fn choose(&mut self, key: u32, desk: &mut Desk<'_>) -> (Op, Option<Asked>) {
        let is_read = self.rng.chance_ppm(self.habits.read_ppm);
        let dice = self.rng.below(100);
        if is_read {
            return (Op::Get, Some(Asked::Read));
        }
        let only_if = OnlyIf::Always;
        let (op, asked) = match dice {
            0..=14 => (Op::Delete { only_if }, Asked::Delete),
            15..=24 if is_timed(key) => {
                let ttl_ms = Some(self.rng.between(2_000, 3_000));
                return (Op::Touch { ttl_ms, only_if }, None);
            }
            25..=54 if !is_timed(key) => {
                let (expected, only_if) = match self.known.get(&key) {
                    Some(Some((value, version))) => (Some(*value), OnlyIf::Version(version.0)),
                    _ => (None, OnlyIf::Absent),
                };
                self.put(key, only_if, expected, desk)
            }
            _ => self.put(key, only_if, None, desk),
        };
        (op, Some(asked))
    }

    fn put(
        &mut self,
        key: u32,
        only_if: OnlyIf,
        expected: Option<u64>,
        desk: &mut Desk<'_>,
    ) -> (Op, Asked) {
        *desk.values += 1;
        let value = *desk.values;
        let ttl_ms = is_timed(key).then(|| self.rng.between(100, 2_000));
        if let Some(ttl_ms) = ttl_ms {
            // The owner's clock may be a twentieth fast, and counts in whole milliseconds.
            let least_us = (ttl_ms * 940).saturating_sub(5_000);
            desk.net.timer(self.place, least_us, Msg::MayExpire { key });
        }
        let op = Op::Put {
            value: Arc::from(value.to_le_bytes().as_slice()),
            class: EntryClass::Kept,
            ttl_ms,
            only_if,
        };
        let asked = match only_if {
            OnlyIf::Always | OnlyIf::Present => Asked::Write(value),
            OnlyIf::Absent | OnlyIf::Version(_) => Asked::CompareAndSet { expected, value },
        };
        (op, asked)
    }

    fn begin(&mut self, key: u32, op: Op, asked: Asked, desk: &mut Desk<'_>) {
        let now = desk.net.now();
        let call = desk.history.invoke(u32::from(self.place), key, asked, now);
        self.attempt(
            Pending {
                call: Some(call),
                key,
                op,
                asked,
                ends_us: now.0 + DEADLINE_US,
            },
            desk,
        );
    }

    fn begin_unheard(&mut self, key: u32, op: Op, desk: &mut Desk<'_>) {
        let ends_us = desk.net.now().0 + DEADLINE_US;
        let pending = Pending {
            call: None,
            key,
            op,
            asked: Asked::Delete,
            ends_us,
        };
        self.attempt(pending, desk);
    }

    /// Sends a question to whom it believes to be the owner.
    fn attempt(&mut self, pending: Pending, desk: &mut Desk<'_>) {
        self.tickets += 1;
        let ticket = self.tickets;
        let slot = slot_of(pending.key);
        let record = self.records.get(&slot);
        let owner = record.and_then(Ownership::owner);
        let to = owner.and_then(|owner| place_of(owner.node));
        if let (Some(to), Some(record)) = (to, record) {
            let request = Request {
                ticket,
                epoch: record.epoch,
                key: name_of(pending.key),
                op: pending.op.clone(),
            };
            let requests = vec![request];
            desk.net.send(self.place, to, Msg::Ops { slot, requests });
            let is_patient = self.rng.chance_ppm(PATIENT_PPM) && pending.op == Op::Get;
            let wait_us = if is_patient { PATIENT_US } else { ATTEMPT_US };
            desk.net.timer(self.place, wait_us, Msg::Late { ticket });
        } else {
            self.look_up(slot, desk);
            desk.net.timer(self.place, AGAIN_US, Msg::Again { ticket });
        }
        self.pending.insert(ticket, pending);
    }

    fn look_up(&mut self, slot: u16, desk: &mut Desk<'_>) {
        if let Some(to) = self.rng.pick(desk.nodes) {
            desk.net.send(self.place, *to, Msg::Where { slot });
        }
    }

    fn learn(&mut self, slot: u16, record: Ownership) {
        let known = self.records.get(&slot).map(|known| known.epoch);
        if known.unwrap_or(Epoch(0)) < record.epoch {
            self.records.insert(slot, record);
        }
    }

    fn answered(&mut self, ticket: u64, answer: Answer, desk: &mut Desk<'_>) {
        let Some(pending) = self.pending.remove(&ticket) else {
            return;
        };
        let slot = slot_of(pending.key);
        match answer {
            Answer::Moved(record) => {
                desk.coverage.note(Seen::Moved);
                self.learn(slot, record);
                self.attempt_again(pending, desk);
            }
            Answer::Retry(delay) => {
                if matches!(delay, Delay::Ownerless | Delay::NoTenure | Delay::Behind) {
                    self.look_up(slot, desk);
                }
                if desk.net.now().0 >= pending.ends_us {
                    self.end(&pending, Outcome::Refused, desk);
                } else {
                    self.pending.insert(ticket, pending);
                    desk.net.timer(self.place, AGAIN_US, Msg::Again { ticket });
                }
            }
            Answer::Unknown => self.end(&pending, Outcome::Unknown, desk),
            Answer::Refused(Refusal::Condition { .. }) => {
                self.known.remove(&pending.key);
                let outcome = match pending.asked {
                    Asked::CompareAndSet { .. } => Outcome::Conflict,
                    _ => Outcome::Refused,
                };
                self.end(&pending, outcome, desk);
            }
            Answer::Refused(_) => self.end(&pending, Outcome::Refused, desk),
            Answer::Found(found) => {
                let known = found.as_ref().map(|found| (value_of(found), found.version));
                self.known.insert(pending.key, known);
                let value = known.map(|(value, _)| value);
                self.end(&pending, Outcome::Value(value), desk);
            }
            Answer::Done { version, .. } => {
                let known = match pending.asked {
                    Asked::Write(value) | Asked::CompareAndSet { value, .. } => {
                        Some((value, version))
                    }
                    Asked::Read | Asked::Delete => None,
                };
                if pending.call.is_some() {
                    self.known.insert(pending.key, known);
                }
                self.end(&pending, Outcome::Done, desk);
            }
        }
    }

    fn attempt_again(&mut self, pending: Pending, desk: &mut Desk<'_>) {
        if desk.net.now().0 >= pending.ends_us {
            self.end(&pending, Outcome::Refused, desk);
        } else {
            self.attempt(pending, desk);
        }
    }

    fn again(&mut self, ticket: u64, desk: &mut Desk<'_>) {
        if let Some(pending) = self.pending.remove(&ticket) {
            self.attempt_again(pending, desk);
        }
    }

    /// No answer came. A read is asked elsewhere; a write may have been done.
    fn late(&mut self, ticket: u64, desk: &mut Desk<'_>) {
        let Some(pending) = self.pending.remove(&ticket) else {
            return;
        };
        let slot = slot_of(pending.key);
        if pending.op != Op::Get {
            self.end(&pending, Outcome::Unknown, desk);
        } else if desk.net.now().0 >= pending.ends_us {
            self.end(&pending, Outcome::Refused, desk);
        } else {
            let again = Msg::Again { ticket };
            self.pending.insert(ticket, pending);
            desk.net.timer(self.place, AGAIN_US, again);
        }
        // Some clients stay with whom they know, which is how a deposed owner is still asked.
        if !self.rng.chance_ppm(self.habits.loyal_ppm) {
            self.look_up(slot, desk);
        }
    }

    fn end(&mut self, pending: &Pending, outcome: Outcome, desk: &mut Desk<'_>) {
        let Some(call) = pending.call else {
            return;
        };
        let is_write = pending.asked != Asked::Read;
        match outcome {
            Outcome::Unknown if is_write => desk.coverage.note(Seen::UnknownWrite),
            Outcome::Conflict => desk.coverage.note(Seen::Conflict),
            _ => {}
        }
        let told = match outcome {
            Outcome::Value(Some(value)) => value,
            Outcome::Value(None) => 1 << 60,
            Outcome::Done => 2 << 60,
            Outcome::Conflict => 3 << 60,
            Outcome::Refused => 4 << 60,
            Outcome::Unknown => 5 << 60,
        };
        *desk.digest = xxh3_64_with_seed(&told.to_le_bytes(), *desk.digest);
        desk.history.complete(call, outcome, desk.net.now());
    }
}
