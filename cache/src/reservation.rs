//! Responsible for pages that writers are filling: what was reserved, and which reservations ran out of time. It must never
//! know what is written.

use std::collections::{BTreeMap, BTreeSet};

use crate::arena::Extents;
use crate::event::{ReservationId, ReserveBlock};
use crate::time::Now;

/// Pages reserved for one block.
#[derive(Debug)]
pub(crate) struct Reservation {
    pub(crate) block: ReserveBlock,
    /// Slot of the arena in the shard's table.
    pub(crate) arena: u16,
    pub(crate) extents: Extents,
    /// Whether its domain was purged meanwhile: it holds its pages but can no longer be committed.
    pub(crate) doomed: bool,
    pub(crate) until: Option<Now>,
}

/// All open reservations.
#[derive(Debug, Default)]
pub(crate) struct Reservations {
    open: BTreeMap<ReservationId, Reservation>,
    due: BTreeSet<(Now, ReservationId)>,
    latest: u64,
}

impl Reservations {
    pub(crate) fn len(&self) -> usize {
        self.open.len()
    }

    pub(crate) fn open(&mut self, reservation: Reservation) -> ReservationId {
        self.latest += 1;
        let id = ReservationId(self.latest);
        if let Some(until) = reservation.until {
            self.due.insert((until, id));
        }
        self.open.insert(id, reservation);
        id
    }

    /// Ends a reservation; `None` when it is not open (any more).
    pub(crate) fn close(&mut self, id: ReservationId) -> Option<Reservation> {
        let reservation = self.open.remove(&id)?;
        if let Some(until) = reservation.until {
            self.due.remove(&(until, id));
        }
        Some(reservation)
    }

    /// Takes the right to commit from every reservation in an arena.
    pub(crate) fn doom(&mut self, arena: u16) {
        for reservation in self.open.values_mut().filter(|open| open.arena == arena) {
            reservation.doomed = true;
        }
    }

    /// A reservation whose time is over.
    pub(crate) fn due(&self, now: Now) -> Option<ReservationId> {
        self.due
            .first()
            .filter(|(until, _)| *until <= now)
            .map(|(_, id)| *id)
    }

    #[cfg(test)]
    pub(crate) fn iter(&self) -> impl Iterator<Item = &Reservation> {
        self.open.values()
    }
}
