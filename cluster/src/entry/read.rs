//! Reads: a committed value, and the tenure asked after it was read. It must never know how writes are numbered.

use super::message::Effect;
use super::owner::{PARKED_MAX, Parked};
use super::replica::{Replica, Role};
use super::request::{Answer, Delay, Found};
use super::types::{Change, Key};
use super::world::World;

impl Replica {
    /// Reads a key, or waits for what is deciding it.
    pub(super) fn read(
        &mut self,
        ticket: u64,
        key: Key,
        world: &mut World<'_>,
        effects: &mut Vec<Effect>,
    ) {
        let was_held = self.sabotage.tenure_first() && world.tenure.is_held();
        let stored = world.store.get(&key);
        if stored
            .as_ref()
            .is_some_and(|stored| stored.is_over(world.now))
        {
            self.read_over(ticket, key, world, effects);
            return;
        }
        let is_held = was_held || !self.sabotage.tenure_first() && world.tenure.is_held();
        let answer = if is_held {
            Answer::Found(stored.map(|stored| Found {
                ttl_ms: stored.expires.map(|expires| expires.since_ms(world.now)),
                value: stored.value,
                version: stored.version,
                class: stored.class,
            }))
        } else {
            Answer::Retry(Delay::NoTenure)
        };
        effects.push(Effect::Answer { ticket, answer });
    }

    /// The time of what is stored is over: that becomes true for readers when it is a numbered delete that everybody
    /// has. Were "absent" answered by the clock alone, the next owner, whose clock began later, could show the value
    /// again.
    fn read_over(
        &mut self,
        ticket: u64,
        key: Key,
        world: &mut World<'_>,
        effects: &mut Vec<Effect>,
    ) {
        let delay = if world.tenure.is_held() {
            Delay::Busy
        } else {
            Delay::NoTenure
        };
        let mut at = self.list.last_about(&key);
        if at.is_none() && delay == Delay::Busy {
            at = self
                .number(key.clone(), Change::Delete, world.now)
                .ok()
                .map(|version| version.seq());
        }
        match (&mut self.role, at) {
            (Role::Owner(owner), Some(at)) if owner.parked.len() < PARKED_MAX => {
                owner.park(at, ticket, Parked::Read(key));
            }
            _ => effects.push(Effect::Answer {
                ticket,
                answer: Answer::Retry(delay),
            }),
        }
    }
}
