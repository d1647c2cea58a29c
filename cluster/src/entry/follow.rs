//! The follower's side: prepares in order, commits behind the owner, gives its list up only for the owner's whole one.
//!
//! It must never know clients.

use super::list::Prepared;
use super::message::{Effect, Message, Progress};
use super::replica::{Replica, Role};
use super::types::{Record, Seq};
use super::world::World;
use crate::{Epoch, Incarnation};

impl Replica {
    /// The owner of a new epoch sends its whole list.
    ///
    /// What it has committed is in our list at the same places, because we were in sync when it was committed. So that
    /// part is committed from ours; the rest of ours was answered to nobody unless it is in the owner's, which takes
    /// its place.
    pub(super) fn synced(
        &mut self,
        from: Incarnation,
        epoch: Epoch,
        (committed, records): (Seq, Vec<Record>),
        world: &mut World<'_>,
        effects: &mut Vec<Effect>,
    ) {
        match self.role {
            Role::Follower { is_synced: true } => {
                self.appended(from, epoch, (committed, records), world, effects);
            }
            Role::Follower { is_synced: false } => {
                let end = records
                    .last()
                    .map_or(committed, |record| record.version.seq());
                let lacks = self.list.last() < committed || end < self.list.committed();
                if lacks && !self.sabotage.boot_forgotten() {
                    self.role = Role::Failed { asked_at: None };
                    send(from, Message::Void { epoch }, effects);
                    return;
                }
                if lacks {
                    self.list = super::list::List::after(committed); // The planted bug.
                }
                if !self.commit_through(committed, world, effects) {
                    return;
                }
                self.list.replace(records, world.now);
                self.role = Role::Follower { is_synced: true };
                self.ack(from, epoch, effects);
            }
            Role::Failed { .. } => send(from, Message::Void { epoch }, effects),
            Role::Idle | Role::Owner(_) | Role::Joining(_) => {}
        }
    }

    /// The owner sends the next writes.
    pub(super) fn appended(
        &mut self,
        from: Incarnation,
        epoch: Epoch,
        (committed, records): (Seq, Vec<Record>),
        world: &mut World<'_>,
        effects: &mut Vec<Effect>,
    ) {
        let is_ready = match &self.role {
            Role::Follower { is_synced } => *is_synced,
            Role::Joining(joining) => joining.has_base(),
            Role::Idle | Role::Owner(_) | Role::Failed { .. } => false,
        };
        if !is_ready {
            return;
        }
        for record in records {
            // Commits in between keep the list as short as the owner's, also where it brings much that is committed.
            let is_next = record.version.seq() == self.list.last().next();
            if is_next && self.list.has_room(record.bytes()) {
                self.list.push(Prepared::new(record, world.now));
            }
            if !self.commit_through(committed, world, effects) {
                return;
            }
        }
        if self.commit_through(committed, world, effects) {
            self.ack(from, epoch, effects);
        }
    }

    /// Commits what the owner has committed, as far as it is here; whether this replica still stands.
    fn commit_through(
        &mut self,
        committed: Seq,
        world: &mut World<'_>,
        effects: &mut Vec<Effect>,
    ) -> bool {
        while self.list.committed() < committed {
            match self.list.commit_next(world.store, world.now) {
                Ok(Some(write)) => {
                    if let Role::Joining(joining) = &mut self.role {
                        joining.applied(&write);
                    }
                }
                Ok(None) => break,
                Err(_) => {
                    self.fall_out(world, effects);
                    return false;
                }
            }
        }
        true
    }

    /// There was no room for a write.
    fn fall_out(&mut self, world: &mut World<'_>, effects: &mut Vec<Effect>) {
        if matches!(self.role, Role::Joining(_)) {
            self.drop_copy(world);
        } else {
            self.fail(effects);
        }
    }

    pub(super) fn ack(&self, to: Incarnation, epoch: Epoch, effects: &mut Vec<Effect>) {
        let (copy, is_whole) = match &self.role {
            Role::Joining(joining) => (joining.copy(), joining.is_whole()),
            _ => (0, false),
        };
        let progress = Progress {
            through: self.list.last(),
            committed: self.list.committed(),
            copy,
            is_whole,
        };
        let message = Message::Ack { epoch, progress };
        send(to, message, effects);
    }
}

pub(super) fn send(to: Incarnation, message: Message, effects: &mut Vec<Effect>) {
    effects.push(Effect::Send { to, message });
}
