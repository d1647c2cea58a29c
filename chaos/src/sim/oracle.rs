//! What must be true after every step, whoever fails.
//!
//! Responsible for remembering what was committed, by consensus and by slots, and for saying what contradicts it. It sees
//! everything and must never change anything.

use std::collections::BTreeMap;
use std::sync::Arc;

use ultrakv_cluster::entry::{Change, Key, Ownership, Version};
use ultrakv_cluster::{Epoch, Incarnation};

use super::process::Process;
use super::store::Applied;
use super::words::Shared;
use crate::network::{Place, Us};

/// Something that must never be, and the slot that it is about.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Wrong {
    pub(super) slot: Option<u16>,
    pub(super) what: String,
    /// Nothing forbidden happened, but something due did not.
    pub(super) is_missing: bool,
    /// When it came to light, if not when it was found.
    pub(super) at: Option<Us>,
}

impl Wrong {
    pub(super) fn of(slot: u16, what: String) -> Self {
        Self {
            slot: Some(slot),
            what,
            is_missing: false,
            at: None,
        }
    }

    pub(super) const fn anywhere(what: String) -> Self {
        Self {
            slot: None,
            what,
            is_missing: false,
            at: None,
        }
    }
}

/// A write without its remaining time.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Deed {
    Put(Arc<[u8]>),
    Delete,
    Expire,
}

type Write = (Version, Key, Deed);

/// Everything that anybody has committed.
#[derive(Default)]
pub(super) struct Oracle {
    /// By slot and founding, then by number.
    writes: BTreeMap<(u16, Epoch), BTreeMap<u64, Write>>,
    records: BTreeMap<(u16, Epoch), Ownership>,
    /// The epoch that each replica was last seen at.
    epochs: BTreeMap<(u16, Incarnation), Epoch>,
    leaders: BTreeMap<u64, Place>,
    log: BTreeMap<u64, Shared>,
}

impl Oracle {
    /// A member handed out a command of the log; whether it is the first to do so.
    pub(super) fn committed(&mut self, index: u64, command: &Shared) -> Result<bool, Wrong> {
        match self.log.get(&index) {
            Some(known) if known == command => Ok(false),
            Some(known) => Err(Wrong::anywhere(format!(
                "two commands at log index {index}: {known:?} and {command:?}"
            ))),
            None => {
                self.log.insert(index, Arc::clone(command));
                Ok(true)
            }
        }
    }

    /// A member leads a term; whether none has led a later one: who slept between its election and its first act leads
    /// nobody.
    pub(super) fn led(&mut self, term: u64, place: Place) -> Result<bool, Wrong> {
        let known = *self.leaders.entry(term).or_insert(place);
        if known == place {
            let latest = self.leaders.last_key_value();
            return Ok(latest.is_none_or(|(latest, _)| *latest == term));
        }
        let what = format!("places {known} and {place} both lead term {term}");
        Err(Wrong::anywhere(what))
    }

    /// Looks at one replica of a process after a turn.
    pub(super) fn look(&mut self, process: &mut Process, slot: u16) -> Result<(), Wrong> {
        let shard = process.shard;
        let Some(seat) = process.seats.get_mut(&slot) else {
            return Ok(());
        };
        let replica = &seat.replica;
        let Some(ownership) = replica.ownership() else {
            return Ok(());
        };
        if replica.committed() > replica.last() {
            let what = format!(
                "{shard:?} committed {:?}, prepared only {:?}",
                replica.committed(),
                replica.last()
            );
            return Err(Wrong::of(slot, what));
        }
        self.look_at_record(slot, shard, ownership)?;
        let founded = ownership.founded;
        for applied in seat.store.take_applied() {
            self.look_at_write(slot, founded, applied)?;
        }
        let mut entries = seat.store.entries().values();
        if seat.replica.is_member()
            && let Some(old) = entries.find(|stored| stored.version.epoch() < founded)
        {
            let what = format!(
                "{shard:?} holds {:?} of before its slot was founded at {founded:?}",
                old.version
            );
            return Err(Wrong::of(slot, what));
        }
        Ok(())
    }

    fn look_at_record(
        &mut self,
        slot: u16,
        shard: Incarnation,
        ownership: &Ownership,
    ) -> Result<(), Wrong> {
        let last = self.epochs.entry((slot, shard)).or_default();
        if ownership.epoch < *last {
            let what = format!("{shard:?} went from {last:?} back to {:?}", ownership.epoch);
            return Err(Wrong::of(slot, what));
        }
        *last = ownership.epoch;
        let known = self.records.entry((slot, ownership.epoch));
        let known = known.or_insert_with(|| ownership.clone());
        if known != ownership {
            let what = format!("two records of one epoch: {known:?} and {ownership:?}");
            return Err(Wrong::of(slot, what));
        }
        Ok(())
    }

    fn look_at_write(&mut self, slot: u16, founded: Epoch, applied: Applied) -> Result<(), Wrong> {
        let deed = match applied.change {
            Change::Put { value, .. } => Deed::Put(value),
            Change::Delete => Deed::Delete,
            Change::Expire { .. } => Deed::Expire,
        };
        let write = (applied.version, applied.key, deed);
        let writes = self.writes.entry((slot, founded)).or_default();
        let known = writes.entry(applied.version.seq().0);
        let known = known.or_insert_with(|| write.clone());
        if *known != write {
            let what = format!("two writes committed at one number: {known:?} and {write:?}");
            return Err(Wrong::of(slot, what));
        }
        Ok(())
    }
}
