//! Writes: conditions are decided when a write gets its number, against all writes before it, and only the outcome is
//! shipped. It must never know who else has them.

use ultrakv_cache::Now;

use super::list::Prepared;
use super::message::Effect;
use super::owner::{PARKED_MAX, Parked, Serving};
use super::replica::{Replica, Role};
use super::request::{Answer, Delay, OnlyIf, Op, Refusal, Request};
use super::types::{Change, Key, NAME_BYTES_MAX, RECORD_BYTES_MAX, Record, Stored, Version};
use super::world::World;

/// Entries whose time is over that one tick ends, at most.
const EXPIRED_MAX: usize = 64;

/// How a write fares that is not parked.
enum Denied {
    /// Answered now.
    Now(Answer),
    /// Refused for what the key holds or will hold: to be answered when that is committed.
    Condition(Refusal),
}

impl From<Delay> for Denied {
    fn from(delay: Delay) -> Self {
        Self::Now(Answer::Retry(delay))
    }
}

impl From<Refusal> for Denied {
    fn from(refusal: Refusal) -> Self {
        Self::Now(Answer::Refused(refusal))
    }
}

impl Replica {
    /// Takes one question.
    pub(super) fn request(
        &mut self,
        request: Request,
        world: &mut World<'_>,
        effects: &mut Vec<Effect>,
    ) {
        let ticket = request.ticket;
        if let Some(answer) = self.turned_away(&request) {
            effects.push(Effect::Answer { ticket, answer });
            return;
        }
        if request.op == Op::Get {
            self.read(ticket, request.key, world, effects);
            return;
        }
        let key = request.key.clone();
        match self.write(request, world, effects) {
            Ok(()) => {}
            Err(Denied::Now(answer)) => effects.push(Effect::Answer { ticket, answer }),
            Err(Denied::Condition(refusal)) => {
                self.refuse(ticket, &key, refusal, world, effects);
            }
        }
    }

    /// The answer to a question that this replica must not look at.
    fn turned_away(&self, request: &Request) -> Option<Answer> {
        let Some(ownership) = &self.ownership else {
            return Some(Answer::Retry(Delay::Behind));
        };
        if request.epoch > ownership.epoch {
            return Some(Answer::Retry(Delay::Behind));
        }
        let Role::Owner(owner) = &self.role else {
            return Some(self.redirect());
        };
        if request.epoch < ownership.epoch && !self.sabotage.epoch_unchecked() {
            return Some(Answer::Moved(ownership.clone()));
        }
        match owner.serving {
            Serving::Open => None,
            Serving::Reconciling { .. } => Some(Answer::Retry(Delay::Reconciling)),
            Serving::HandingOver { .. } => Some(Answer::Retry(Delay::HandingOver)),
        }
    }

    /// Decides a write and numbers its outcome. What is decided rests on everything numbered before it.
    fn write(
        &mut self,
        request: Request,
        world: &mut World<'_>,
        effects: &mut Vec<Effect>,
    ) -> Result<(), Denied> {
        let Request {
            ticket, key, op, ..
        } = request;
        if !world.tenure.is_held() {
            return Err(Delay::NoTenure.into());
        }
        if key.name.len() > NAME_BYTES_MAX {
            return Err(Refusal::TooLarge.into());
        }
        let now = world.now;
        let mut state = self.list.state(&key, world.store);
        if state.as_ref().is_some_and(|stored| stored.is_over(now)) {
            self.number(key.clone(), Change::Delete, now)?;
            state = None;
        }
        let (change, only_if) = change_of(op);
        let existed = state.is_some();
        let is_touch = matches!(change, Change::Expire { .. });
        if !holds(only_if, state.as_ref()) || is_touch && !existed {
            let version = state.map(|stored| stored.version);
            return Err(Denied::Condition(Refusal::Condition { version }));
        }
        if let Change::Put { value, .. } = &change {
            if key.name.len().saturating_add(value.len()) > RECORD_BYTES_MAX {
                return Err(Refusal::TooLarge.into());
            }
            if !world.store.has_room(&key, value.len(), self.list.bytes()) {
                return Err(Refusal::Full.into());
            }
        }
        let number = self.number(key, change, now)?;
        let version = match state {
            Some(stored) if is_touch => stored.version,
            _ => number,
        };
        let answer = Answer::Done { version, existed };
        if self.sabotage.answer_early() {
            effects.push(Effect::Answer { ticket, answer });
        } else if let Role::Owner(owner) = &mut self.role {
            owner.park(number.seq(), ticket, Parked::Write(answer));
        }
        Ok(())
    }

    /// Gives an outcome the next number.
    pub(super) fn number(
        &mut self,
        key: Key,
        change: Change,
        now: Now,
    ) -> Result<Version, NotNumbered> {
        let Role::Owner(owner) = &self.role else {
            return Err(NotNumbered::Busy);
        };
        let seq = self.list.last().next();
        let version = Version::new(self.epoch(), seq).ok_or(NotNumbered::Exhausted)?;
        let record = Record {
            version,
            key,
            change,
        };
        if owner.parked.len() >= PARKED_MAX || !self.list.has_room(record.bytes()) {
            return Err(NotNumbered::Busy);
        }
        self.list.push(Prepared::new(record, now));
        Ok(version)
    }

    /// Refuses for what a key holds: a kind of read, so what it rests on must be committed and the tenure must hold.
    fn refuse(
        &mut self,
        ticket: u64,
        key: &Key,
        refusal: Refusal,
        world: &mut World<'_>,
        effects: &mut Vec<Effect>,
    ) {
        let answer = match (&mut self.role, self.list.last_about(key)) {
            (Role::Owner(owner), Some(at)) if owner.parked.len() < PARKED_MAX => {
                owner.park(at, ticket, Parked::Refusal(refusal));
                return;
            }
            (_, Some(_)) => Answer::Retry(Delay::Busy),
            (_, None) if world.tenure.is_held() => Answer::Refused(refusal),
            (_, None) => Answer::Retry(Delay::NoTenure),
        };
        effects.push(Effect::Answer { ticket, answer });
    }

    /// Ends entries whose time is over, as numbered deletes.
    pub(super) fn expire(&mut self, world: &mut World<'_>) {
        if !self.is_open() || !world.tenure.is_held() {
            return;
        }
        for key in world.store.due(world.now, EXPIRED_MAX) {
            let is_changing = self.list.last_about(&key).is_some();
            if !is_changing && self.number(key, Change::Delete, world.now).is_err() {
                return;
            }
        }
    }
}

/// Why a write got no number.
pub(super) enum NotNumbered {
    /// As much is under way as may be.
    Busy,
    /// The numbers are used up.
    Exhausted,
}

impl From<NotNumbered> for Denied {
    fn from(why: NotNumbered) -> Self {
        match why {
            NotNumbered::Busy => Delay::Busy.into(),
            NotNumbered::Exhausted => Refusal::Exhausted.into(),
        }
    }
}

/// The outcome that a question asks for, and its condition. Reads do not come here.
fn change_of(op: Op) -> (Change, OnlyIf) {
    match op {
        Op::Put {
            value,
            class,
            ttl_ms,
            only_if,
        } => {
            let change = Change::Put {
                value,
                class,
                ttl_ms,
            };
            (change, only_if)
        }
        Op::Touch { ttl_ms, only_if } => (Change::Expire { ttl_ms }, only_if),
        Op::Delete { only_if } => (Change::Delete, only_if),
        Op::Get => (Change::Expire { ttl_ms: None }, OnlyIf::Absent),
    }
}

fn holds(only_if: OnlyIf, stored: Option<&Stored>) -> bool {
    match only_if {
        OnlyIf::Always => true,
        OnlyIf::Absent => stored.is_none(),
        OnlyIf::Present => stored.is_some(),
        OnlyIf::Version(wanted) => stored.is_some_and(|stored| stored.version.0 == wanted),
    }
}
