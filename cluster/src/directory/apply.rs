//! The one writer: batches out of the log, in their order, and a piece of the sweep with each. It must never know the
//! time, or anything else that differs between replicas.

use std::sync::Arc;

use parking_lot::RwLockWriteGuard;
use ultrakv_actors::BootId;
use ultrakv_cache::SLOT_COUNT;

use super::batch::{Change, Section};
use super::freeze::Frozen;
use super::key::{DirectoryKey, Place};
use super::life::{LIVES_MAX, Life, LifeNumber, LiveBits, Lives};
use super::partition::{Added, Addition, Holder, Partition, Row, Tally};
use super::table::{Entry, Table};
use super::{
    BESIDE_CHARGE_BYTES, Directory, DirectoryStats, EDGE_CHARGE_BYTES, RECORD_CHARGE_BYTES,
};

/// Rows that a sweep reads with each batch: a few microseconds a thousand, and ten million are swept within 2 500
/// batches.
const SWEEP_ROWS: usize = 4_096;
/// Partitions that a sweep visits with each batch, so that empty ones cost no more.
const SWEEP_PARTITIONS: usize = 512;
/// Rows that a sweep alters under one lock.
const SWEEP_LOCKED_ROWS: usize = 64;

/// What became of one numbered section.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub enum ReportOutcome {
    /// It was in turn.
    Applied,
    /// It, or a later one, was applied before: sent twice.
    Old,
    /// Reports before it are missing. Nothing of it was applied; the life must send an inventory.
    Gap {
        /// The number that is in turn.
        expected: u64,
    },
    /// No such life is known: it was voided, or never opened. Its shard must open it, if it still runs.
    Unknown,
    /// No number for one more life; void ones are freed as batches are applied. To be sent again.
    LivesFull,
}

/// What a batch did.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
pub struct Applied {
    /// What became of each section that names a life, in order.
    pub outcomes: Vec<(BootId, ReportOutcome)>,
    /// Holders newly listed.
    pub added: u64,
    /// Holders struck off by reports and corrections.
    pub removed: u64,
    /// Additions refused, for want of memory or since [`super::HOLDERS_MAX`] lives hold the block already.
    pub refused: u64,
}

/// A sweep that runs: everything before this place is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Sweep {
    pub(super) slot: u16,
    pub(super) key: DirectoryKey,
}

/// What only the writer changes.
#[derive(Debug)]
pub(super) struct Writer {
    pub(super) bytes_max: u64,
    pub(super) tally: Tally,
    /// The last report applied, by the number of its life.
    sequences: Box<[u64]>,
    /// Holders by the number of their life.
    pub(super) held: Box<[u64]>,
    pub(super) sweep: Option<Sweep>,
    pub(super) frozen: Option<Arc<Frozen>>,
    refused: u64,
    /// Children won and lost in the changes at hand, told to their parents once no lock is held.
    kinships: Vec<(Place, bool)>,
}

impl Writer {
    pub(super) fn new(bytes_max: u64) -> Self {
        Self {
            bytes_max,
            tally: Tally::default(),
            sequences: vec![0; LIVES_MAX].into_boxed_slice(),
            held: vec![0; LIVES_MAX].into_boxed_slice(),
            sweep: None,
            frozen: None,
            refused: 0,
            kinships: Vec::new(),
        }
    }

    pub(super) fn charged_bytes(&self) -> u64 {
        let charge = |count: i64, bytes: u64| u64::try_from(count).unwrap_or(0) * bytes;
        let records = charge(self.tally.records, RECORD_CHARGE_BYTES);
        records
            + charge(self.tally.edges, EDGE_CHARGE_BYTES)
            + charge(self.tally.beside, BESIDE_CHARGE_BYTES)
    }

    /// Whether one block more may be listed, with an edge and a holder beside it at worst.
    fn has_room(&self) -> bool {
        self.charged_bytes() + RECORD_CHARGE_BYTES + EDGE_CHARGE_BYTES + BESIDE_CHARGE_BYTES
            <= self.bytes_max
    }

    pub(super) fn sequence(&self, number: LifeNumber) -> u64 {
        self.sequences
            .get(usize::from(number))
            .copied()
            .unwrap_or(0)
    }

    pub(super) fn set_sequence(&mut self, number: LifeNumber, sequence: u64) {
        if let Some(last) = self.sequences.get_mut(usize::from(number)) {
            *last = sequence;
        }
    }

    pub(super) fn gain(&mut self, number: LifeNumber) {
        if let Some(held) = self.held.get_mut(usize::from(number)) {
            *held += 1;
        }
    }

    fn lose(&mut self, number: LifeNumber) {
        if let Some(held) = self.held.get_mut(usize::from(number)) {
            *held -= 1;
        }
    }

    pub(super) fn stats(&self, lives: &Lives) -> DirectoryStats {
        let numbered = (0..).zip(self.held.iter());
        let (mut holders, mut void_holders) = (0, 0);
        for (number, held) in numbered {
            if lives.live.is_live(number) {
                holders += held;
            } else {
                void_holders += held;
            }
        }
        DirectoryStats {
            records: u64::try_from(self.tally.records).unwrap_or(0),
            holders,
            void_holders,
            edges: u64::try_from(self.tally.edges).unwrap_or(0),
            lives: u64::try_from(lives.currents().count()).unwrap_or(u64::MAX),
            charged_bytes: self.charged_bytes(),
            bytes_max: self.bytes_max,
            refused: self.refused,
        }
    }
}

impl Directory {
    /// Applies the sections of one batch, in order, and then a bounded piece of the sweep.
    ///
    /// Whoever calls it, calls it in the order of the log; two calls at once take turns.
    pub fn apply(&self, sections: &[Section]) -> Applied {
        let mut applied = Applied::default();
        let mut writer = self.writer.lock();
        for section in sections {
            self.section(&mut writer, section, &mut applied);
        }
        self.sweep(&mut writer);
        writer.refused += applied.refused;
        applied
    }

    fn section(&self, writer: &mut Writer, section: &Section, applied: &mut Applied) {
        match section {
            Section::Open(life) => {
                let outcome = self.open(writer, *life);
                applied.outcomes.push((life.boot, outcome));
            }
            Section::Close(node) => self.lives.write().close(*node),
            Section::Report {
                boot,
                sequence,
                changes,
            } => {
                let outcome = self.turn(writer, *boot, *sequence, false);
                applied.outcomes.push((*boot, outcome));
                if outcome == ReportOutcome::Applied {
                    self.changes(writer, *boot, changes, applied);
                }
            }
            Section::InventoryBegin { boot, sequence } => {
                let outcome = self.begin_inventory(writer, *boot, *sequence);
                applied.outcomes.push((*boot, outcome));
            }
            Section::InventoryEnd { boot, sequence } => {
                let outcome = self.turn(writer, *boot, *sequence, false);
                applied.outcomes.push((*boot, outcome));
                if outcome == ReportOutcome::Applied {
                    self.lives.write().end_inventory(*boot);
                }
            }
            Section::Correction {
                boot,
                sequence,
                place,
            } => self.correct(writer, (*boot, *sequence), *place, applied),
        }
    }

    /// Whether a numbered section is in turn; when it is, the next one is.
    fn turn(
        &self,
        writer: &mut Writer,
        boot: BootId,
        sequence: u64,
        after_gap: bool,
    ) -> ReportOutcome {
        let Some(number) = self
            .lives
            .read()
            .current(boot)
            .map(|current| current.number)
        else {
            return ReportOutcome::Unknown;
        };
        let Some(last) = writer.sequences.get_mut(usize::from(number)) else {
            return ReportOutcome::Unknown;
        };
        if sequence <= *last {
            return ReportOutcome::Old;
        }
        if sequence - *last > 1 && !after_gap {
            return ReportOutcome::Gap {
                expected: *last + 1,
            };
        }
        *last = sequence;
        ReportOutcome::Applied
    }

    fn open(&self, writer: &mut Writer, life: Life) -> ReportOutcome {
        let mut lives = self.lives.write();
        let is_known = lives.current(life.boot).is_some();
        if !is_known && !lives.open(life) {
            return ReportOutcome::LivesFull;
        }
        let number = lives
            .current(life.boot)
            .filter(|_| !is_known)
            .map(|current| current.number);
        if let Some(number) = number {
            writer.set_sequence(number, 0);
        }
        ReportOutcome::Applied
    }

    fn begin_inventory(&self, writer: &mut Writer, boot: BootId, sequence: u64) -> ReportOutcome {
        // Asked first: a number that is not given must leave the section to be sent again.
        if !self.lives.read().has_free() {
            return ReportOutcome::LivesFull;
        }
        let outcome = self.turn(writer, boot, sequence, true);
        if outcome == ReportOutcome::Applied
            && let Some(number) = self.lives.write().begin_inventory(boot)
        {
            writer.set_sequence(number, sequence);
        }
        outcome
    }

    /// The changes of one report; neighbours of one partition under one lock.
    fn changes(
        &self,
        writer: &mut Writer,
        boot: BootId,
        changes: &[Change],
        applied: &mut Applied,
    ) {
        let lives = self.lives.read();
        let Some(current) = lives.current(boot).copied() else {
            return;
        };
        let (live, numbers) = (lives.live.clone(), (current.number, current.before));
        drop(lives);
        for group in changes.chunk_by(|left, right| left.place().slot == right.place().slot) {
            let Some(first) = group.first() else {
                continue;
            };
            let adds = group
                .iter()
                .filter(|change| matches!(change, Change::Add { .. }))
                .count();
            let keys = group.iter().map(|change| change.place().key);
            let Some(mut writing) = self.write(writer, first.place().slot, adds, keys) else {
                continue;
            };
            for change in group {
                change_one(
                    writer,
                    &mut writing.partition,
                    (&live, numbers),
                    change,
                    applied,
                );
            }
            drop(writing);
            self.tell_parents(writer);
        }
    }

    fn correct(
        &self,
        writer: &mut Writer,
        (boot, sequence): (BootId, u64),
        place: Place,
        applied: &mut Applied,
    ) {
        let lives = self.lives.read();
        // A later report may have listed the block again, and the answer that the reader had is older than that.
        let current = lives
            .current(boot)
            .copied()
            .filter(|current| writer.sequence(current.number) <= sequence);
        drop(lives);
        let Some(current) = current else {
            return;
        };
        let Some(mut writing) = self.write(writer, place.slot, 0, [place.key].into_iter()) else {
            return;
        };
        strike(
            writer,
            &mut writing.partition,
            place.key,
            (current.number, current.before),
            applied,
        );
        drop(writing);
        self.tell_parents(writer);
    }

    /// A partition to write in, with room for `more` rows. What takes time is done before the lock is taken, since
    /// nobody else writes: a larger table is built, the rows to be changed are brought near, a snapshot gets its copy.
    fn write(
        &self,
        writer: &Writer,
        slot: u16,
        more: usize,
        keys: impl Iterator<Item = DirectoryKey>,
    ) -> Option<Writing<'_>> {
        let cell = self.cell(slot)?;
        let partition = cell.read();
        if let Some(frozen) = &writer.frozen {
            frozen.save(slot, &partition);
        }
        let resized = partition.rows().resized(more);
        if resized.is_none() {
            std::hint::black_box(keys.fold(0, |sum, key| sum ^ partition.touch(key)));
        }
        drop(partition);
        let mut partition = cell.write();
        let former = resized.map(|rows| partition.replace_rows(rows));
        Some(Writing {
            partition,
            _former: former,
        })
    }

    /// Tells parents which children they won or lost; each parent may lie in any partition.
    fn tell_parents(&self, writer: &mut Writer) {
        let mut kinships = std::mem::take(&mut writer.kinships);
        for (parent, gained) in kinships.drain(..) {
            let more = usize::from(gained);
            let Some(mut writing) = self.write(writer, parent.slot, more, std::iter::empty())
            else {
                continue;
            };
            if gained {
                writing.partition.add_child(parent.key);
            } else {
                writing.partition.remove_child(parent.key);
            }
        }
        writer.kinships = kinships;
    }

    /// Strikes void holders off the next rows. A number is free once a sweep that began after its end has passed over
    /// all.
    fn sweep(&self, writer: &mut Writer) {
        let Some(mut sweep) = writer.sweep.or_else(|| self.begin_sweep()) else {
            return;
        };
        let live = self.lives.read().live.clone();
        let mut rows = SWEEP_ROWS;
        for _ in 0..SWEEP_PARTITIONS {
            if rows == 0 {
                break;
            }
            let Some(cell) = self.cell(sweep.slot) else {
                break;
            };
            let partition = cell.read();
            let mut void = Vec::new();
            let mut next = None;
            for row in partition.rows_from(sweep.key) {
                if rows == 0 || void.len() == SWEEP_LOCKED_ROWS {
                    next = Some(row.key());
                    break;
                }
                rows -= 1;
                if partition
                    .holders(row)
                    .any(|holder| !live.is_live(holder.life))
                {
                    void.push(row.key());
                }
            }
            drop(partition);
            self.sweep_rows(writer, sweep.slot, &void, &live);
            sweep = match next {
                Some(key) => Sweep { key, ..sweep },
                None => Sweep {
                    slot: sweep.slot + 1,
                    key: DirectoryKey::default(),
                },
            };
        }
        let done = sweep.slot >= SLOT_COUNT;
        if done {
            self.lives.write().end_sweep();
        }
        writer.sweep = (!done).then_some(sweep);
    }

    fn begin_sweep(&self) -> Option<Sweep> {
        let begun = self.lives.write().begin_sweep();
        begun.then_some(Sweep {
            slot: 0,
            key: DirectoryKey::default(),
        })
    }

    fn sweep_rows(&self, writer: &mut Writer, slot: u16, void: &[DirectoryKey], live: &LiveBits) {
        if void.is_empty() {
            return;
        }
        let Some(mut writing) = self.write(writer, slot, 0, void.iter().copied()) else {
            return;
        };
        for key in void {
            let mut tally = writer.tally;
            let is_void = |number| {
                let is_void = !live.is_live(number);
                if is_void {
                    writer.lose(number);
                }
                is_void
            };
            let orphaned = writing.partition.strike(*key, is_void, &mut tally);
            writer.tally = tally;
            writer
                .kinships
                .extend(orphaned.map(|parent| (parent, false)));
        }
        drop(writing);
        self.tell_parents(writer);
    }

    /// The life of a shard that the directory knows by this boot id, and the last of its reports that was applied.
    #[must_use]
    pub fn life(&self, boot: BootId) -> Option<(Life, u64)> {
        let writer = self.writer.lock();
        let lives = self.lives.read();
        let number = lives.current(boot)?.number;
        lives
            .life(number)
            .map(|life| (life, writer.sequence(number)))
    }
}

/// A partition locked for the writer. Fields are dropped in order: memory that a resize left is given back, which can
/// take long, after the lock is.
struct Writing<'a> {
    partition: RwLockWriteGuard<'a, Partition>,
    _former: Option<Table<Row>>,
}

/// The number of a life, and the one from before an inventory.
type Numbers = (LifeNumber, Option<LifeNumber>);

fn change_one(
    writer: &mut Writer,
    partition: &mut Partition,
    (live, numbers): (&LiveBits, Numbers),
    change: &Change,
    applied: &mut Applied,
) {
    let (place, form, parent) = match *change {
        Change::Add {
            place,
            form,
            parent,
        } => (place, form, parent),
        Change::Remove { place } => return strike(writer, partition, place.key, numbers, applied),
    };
    let (number, before) = numbers;
    let edges = writer.tally.edges;
    let mut tally = writer.tally;
    let mut dropped = Vec::new();
    let addition = Addition {
        key: place.key,
        holder: Holder { life: number, form },
        before,
        parent,
        room: writer.has_room(),
    };
    let added = partition.add(&addition, live, &mut tally, &mut dropped);
    writer.tally = tally;
    dropped.into_iter().for_each(|number| writer.lose(number));
    match added {
        Added::New => {
            applied.added += 1;
            writer.gain(number);
        }
        Added::Renumbered => writer.gain(number),
        Added::Known => {}
        Added::HoldersFull | Added::NoRoom => applied.refused += 1,
    }
    if writer.tally.edges > edges {
        writer.kinships.extend(parent.map(|parent| (parent, true)));
    }
}

fn strike(
    writer: &mut Writer,
    partition: &mut Partition,
    key: DirectoryKey,
    numbers: Numbers,
    applied: &mut Applied,
) {
    let (number, before) = numbers;
    let mut tally = writer.tally;
    let mut lost = Vec::new();
    let orphaned = partition.strike(
        key,
        |held| {
            let is_it = held == number || Some(held) == before;
            if is_it {
                lost.push(held);
            }
            is_it
        },
        &mut tally,
    );
    writer.tally = tally;
    applied.removed += u64::from(!lost.is_empty());
    lost.into_iter().for_each(|number| writer.lose(number));
    writer
        .kinships
        .extend(orphaned.map(|parent| (parent, false)));
}
