//! The shard's side: changes waiting to be told, bounded, never in the way of the shard. It must never know how reports
//! travel.
//!
//! What waits is kept by place, one change a block: an addition and its removal that both still wait are nothing, and a
//! report comes out in order of slots, so that applying it takes each partition's lock once. When all room is taken
//! additions go first: a block that is not listed costs a hint, a listed one that is gone costs a reader a hop. A
//! removal that finds no room makes an inventory due.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;

use ultrakv_actors::BootId;

use super::batch::{BATCH_RECORDS_MAX, Change, Section};
use super::key::{Form, Place};

/// What waits for one block.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Waiting {
    Add {
        form: Form,
        parent: Option<Place>,
        /// Whether the directory cannot have it listed, so that a removal leaves nothing to say.
        fresh: bool,
    },
    Remove,
}

/// How far an inventory is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Inventory {
    None,
    /// Its first record is to be sent.
    Begun {
        /// Whether all is listed already.
        listed: bool,
    },
    /// The shard lists what it holds.
    Listing,
    /// All is listed; the last record follows when nothing listed waits any more.
    Ending,
}

/// What was given up for want of room since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dropped {
    /// Additions that were not told.
    pub adds: u64,
    /// Removals that were not told; each made an inventory due.
    pub removals: u64,
}

/// Changes of one shard's life on their way into reports.
#[derive(Clone, Debug)]
pub struct Reporter {
    boot: BootId,
    sequence: u64,
    waiting: BTreeMap<Place, Waiting>,
    waiting_max: usize,
    /// Places of waiting additions, so that one to drop is found at once.
    adds: BTreeSet<Place>,
    /// The place that the last report ended with.
    cursor: Option<Place>,
    inventory: Inventory,
    inventory_due: bool,
    dropped: Dropped,
}

impl Reporter {
    /// The reporter of a life that has reported nothing yet; at most `waiting_max` changes wait (about 100 bytes each).
    #[must_use]
    pub fn new(boot: BootId, waiting_max: usize) -> Self {
        Self {
            boot,
            sequence: 0,
            waiting: BTreeMap::new(),
            waiting_max: waiting_max.max(1),
            adds: BTreeSet::new(),
            cursor: None,
            inventory: Inventory::None,
            inventory_due: false,
            dropped: Dropped::default(),
        }
    }

    /// The shard has a block that it had not, or (`fresh` false) has it in another form now.
    pub fn add(&mut self, place: Place, form: Form, parent: Option<Place>, fresh: bool) {
        let fresh = match self.waiting.get(&place) {
            // The directory may still list it from before the removal.
            Some(Waiting::Remove) => false,
            Some(Waiting::Add {
                fresh: was_fresh, ..
            }) => *was_fresh,
            None if self.waiting.len() < self.waiting_max => fresh,
            None => {
                self.dropped.adds += 1;
                return;
            }
        };
        self.put(
            place,
            Waiting::Add {
                form,
                parent,
                fresh,
            },
        );
    }

    /// The shard has a block no more.
    pub fn remove(&mut self, place: Place) {
        match self.waiting.get(&place) {
            Some(Waiting::Add { fresh: true, .. }) => {
                self.waiting.remove(&place);
                self.adds.remove(&place);
                return;
            }
            Some(_) => {}
            None => {
                if self.waiting.len() >= self.waiting_max && !self.drop_add() {
                    self.dropped.removals += 1;
                    self.inventory_due = true;
                    return;
                }
            }
        }
        self.put(place, Waiting::Remove);
    }

    /// Changes that can still wait before one is dropped. An inventory lists no more at once than this.
    #[must_use]
    pub fn room(&self) -> usize {
        self.waiting_max - self.waiting.len()
    }

    /// Changes that wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }

    /// What was given up so far.
    #[must_use]
    pub const fn dropped(&self) -> Dropped {
        self.dropped
    }

    /// The number of the last report cut; a holder names it where it answers that it has no such block.
    #[must_use]
    pub const fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Whether the directory may list what the shard has no more, so that an inventory should begin.
    #[must_use]
    pub const fn inventory_due(&self) -> bool {
        self.inventory_due
    }

    /// The directory missed a report, or a report was lost on its way.
    pub const fn require_inventory(&mut self) {
        self.inventory_due = true;
    }

    /// Begins an inventory: from here on the caller adds every block that the shard holds, as [`Reporter::room`]
    /// allows, and ends it. What still waits is forgotten: the list says it all.
    pub fn begin_inventory(&mut self) {
        self.waiting.clear();
        self.adds.clear();
        self.inventory = Inventory::Begun { listed: false };
        self.inventory_due = false;
    }

    /// Every block was added.
    pub fn end_inventory(&mut self) {
        self.inventory = match self.inventory {
            Inventory::None => Inventory::None,
            Inventory::Begun { .. } => Inventory::Begun { listed: true },
            Inventory::Listing | Inventory::Ending => Inventory::Ending,
        };
    }

    /// The next section to be told, of at most `records_max` records; `None` when there is nothing to tell.
    ///
    /// Sections must reach the directory in this order. One that is lost leaves a gap, which the directory answers with
    /// the wish for an inventory.
    pub fn cut(&mut self, records_max: usize) -> Option<Section> {
        let boot = self.boot;
        let changes_max = records_max.min(BATCH_RECORDS_MAX).checked_sub(1)?;
        if let Inventory::Begun { listed } = self.inventory {
            self.inventory = if listed {
                Inventory::Ending
            } else {
                Inventory::Listing
            };
            let sequence = self.next();
            return Some(Section::InventoryBegin { boot, sequence });
        }
        if self.waiting.is_empty() {
            if self.inventory != Inventory::Ending {
                return None;
            }
            self.inventory = Inventory::None;
            let sequence = self.next();
            return Some(Section::InventoryEnd { boot, sequence });
        }
        let changes = self.take(changes_max);
        if changes.is_empty() {
            return None;
        }
        let sequence = self.next();
        Some(Section::Report {
            boot,
            sequence,
            changes,
        })
    }

    /// Takes changes from where the last report ended, and from the start again: no slot waits longer than one round.
    fn take(&mut self, count: usize) -> Vec<Change> {
        let after = self.cursor.map_or(Bound::Unbounded, Bound::Excluded);
        let later = self.waiting.range((after, Bound::Unbounded));
        let until = self.cursor.map_or(Bound::Unbounded, Bound::Included);
        let earlier = self
            .cursor
            .map(|_| self.waiting.range((Bound::Unbounded, until)));
        let both = later.chain(earlier.into_iter().flatten());
        let changes: Vec<Change> = both
            .take(count)
            .map(|(place, waiting)| change(*place, *waiting))
            .collect();
        for change in &changes {
            self.waiting.remove(&change.place());
            self.adds.remove(&change.place());
        }
        self.cursor = changes.last().map(Change::place).or(self.cursor);
        changes
    }

    fn put(&mut self, place: Place, waiting: Waiting) {
        if matches!(waiting, Waiting::Add { .. }) {
            self.adds.insert(place);
        } else {
            self.adds.remove(&place);
        }
        self.waiting.insert(place, waiting);
    }

    /// Drops an addition, the one of the highest place; `false` when none waits.
    fn drop_add(&mut self) -> bool {
        let dropped = self.adds.pop_last();
        if let Some(place) = dropped {
            self.waiting.remove(&place);
            self.dropped.adds += 1;
        }
        dropped.is_some()
    }

    const fn next(&mut self) -> u64 {
        self.sequence += 1;
        self.sequence
    }
}

const fn change(place: Place, waiting: Waiting) -> Change {
    match waiting {
        Waiting::Add { form, parent, .. } => Change::Add {
            place,
            form,
            parent,
        },
        Waiting::Remove => Change::Remove { place },
    }
}

#[cfg(test)]
mod tests;
