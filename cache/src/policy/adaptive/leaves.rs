//! Responsible for the leaves that may go, so that some can be drawn by chance. It must never know which should go.

use crate::policy::adaptive::record::{NOWHERE, Record};
use crate::slab::Slab;

/// Leaves of one rank, in no order.
#[derive(Debug, Default)]
pub(super) struct Leaves {
    ids: Vec<u32>,
}

impl Leaves {
    pub(super) fn len(&self) -> u32 {
        u32::try_from(self.ids.len()).unwrap_or(u32::MAX)
    }

    pub(super) fn get(&self, place: u32) -> Option<u32> {
        self.ids.get(usize::try_from(place).ok()?).copied()
    }

    pub(super) fn add(&mut self, records: &mut Slab<Record>, id: u32) {
        records[id].place = self.len();
        self.ids.push(id);
    }

    pub(super) fn remove(&mut self, records: &mut Slab<Record>, id: u32) {
        let place = std::mem::replace(&mut records[id].place, NOWHERE);
        if let Ok(at) = usize::try_from(place)
            && at < self.ids.len()
        {
            self.ids.swap_remove(at);
            if let Some(moved) = self.ids.get(at) {
                records[*moved].place = place;
            }
        }
    }
}
