//! The records of one slot: which lives hold each block, in which form, and how many runs follow it. It must never know
//! whether a report was in turn, nor other slots.
//!
//! ```text
//! row, 32 bytes, two in a cache line:  key 16 │ lives 4 × 2 │ forms 4 × 1 │ children 3, state 1
//! ```
//! - Four holders stand in the row: a block has one or two copies, a hot one more. Further ones, up to [`HOLDERS_MAX`],
//!   lie beside.
//! - *Children* counts the listed runs whose head names this block as its parent. A block that nobody holds but that
//!   has children keeps a row without holders (a *stub*), so the count is exact in whatever order reports come.
//! - A listed head that named its parent has an *edge* (34 bytes, for one record in sixteen), so that the parent can be
//!   told when the head goes, whoever makes it go.

use std::collections::BTreeMap;

use super::key::{DirectoryKey, Form, Place};
use super::life::{LifeNumber, LiveBits};
use super::table::{Entry, Table};

/// Lives that the directory names for one block; the rest are holders that nobody is sent to.
pub const HOLDERS_MAX: usize = 32;

const IN_ROW: usize = 4;
const CHILDREN_MAX: u32 = (1 << 24) - 1;

const STATE_TAKEN: u32 = 1;
const STATE_BESIDE: u32 = 1 << 1;
const STATE_EDGE: u32 = 1 << 2;
const STATE_LEN_SHIFT: u32 = 3;
const STATE_BITS: u32 = 8;

/// One block.
#[derive(Clone, Copy, Debug)]
#[repr(align(32))]
pub(super) struct Row {
    key: DirectoryKey,
    lives: [LifeNumber; IN_ROW],
    forms: [u8; IN_ROW],
    /// Children in the upper 24 bits; below: three bits of holders in the row, edge, beside, taken.
    packed: u32,
}

const _: () = assert!(
    size_of::<Row>() == 32,
    "the promise is a record of at most 36 bytes"
);

impl Entry for Row {
    const GAP: Self = Self {
        key: DirectoryKey::from_u128(0),
        lives: [0; IN_ROW],
        forms: [0; IN_ROW],
        packed: 0,
    };

    #[inline]
    fn key(&self) -> DirectoryKey {
        self.key
    }

    #[inline]
    fn is_gap(&self) -> bool {
        self.packed == 0
    }
}

impl Row {
    const fn new(key: DirectoryKey) -> Self {
        Self {
            key,
            packed: STATE_TAKEN,
            ..Self::GAP
        }
    }

    pub(super) const fn children(&self) -> u32 {
        self.packed >> STATE_BITS
    }

    const fn set_children(&mut self, children: u32) {
        let state = self.packed & ((1 << STATE_BITS) - 1);
        self.packed = children << STATE_BITS | state;
    }

    #[inline]
    fn in_row(&self) -> usize {
        (self.packed >> STATE_LEN_SHIFT & 7).try_into().unwrap_or(0)
    }

    pub(super) const fn has_edge(&self) -> bool {
        self.packed & STATE_EDGE != 0
    }

    #[inline]
    const fn has_beside(&self) -> bool {
        self.packed & STATE_BESIDE != 0
    }

    const fn set(&mut self, bit: u32, on: bool) {
        self.packed = if on {
            self.packed | bit
        } else {
            self.packed & !bit
        };
    }

    pub(super) fn is_stub(&self) -> bool {
        self.in_row() == 0
    }

    #[inline]
    fn holders(&self) -> impl Iterator<Item = Holder> {
        let pairs = self.lives.iter().zip(&self.forms).take(self.in_row());
        pairs.filter_map(|(life, form)| {
            Some(Holder {
                life: *life,
                form: Form::from_byte(*form)?,
            })
        })
    }
}

/// A life that has the block, and in which form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Holder {
    pub(super) life: LifeNumber,
    pub(super) form: Form,
}

/// From the head of a run to the block that it follows.
#[derive(Clone, Copy, Debug)]
pub(super) struct Edge {
    head: DirectoryKey,
    parent: DirectoryKey,
    slot: u16,
    taken: bool,
}

impl Entry for Edge {
    const GAP: Self = Self {
        head: DirectoryKey::from_u128(0),
        parent: DirectoryKey::from_u128(0),
        slot: 0,
        taken: false,
    };

    fn key(&self) -> DirectoryKey {
        self.head
    }

    fn is_gap(&self) -> bool {
        !self.taken
    }
}

/// What most slots do not need.
#[derive(Clone, Debug)]
struct Beside {
    edges: Table<Edge>,
    holders: BTreeMap<DirectoryKey, Vec<Holder>>,
}

/// How the numbers of the whole directory change by one step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    /// Blocks with a holder.
    pub(super) records: i64,
    pub(super) edges: i64,
    /// Holders that lie beside their row.
    pub(super) beside: i64,
}

/// What became of an addition.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Added {
    /// It is listed now, and was not.
    New,
    /// The life held it already; its form is the new one.
    Known,
    /// The life held it under its number from before an inventory.
    Renumbered,
    /// As many lives as can be named hold it already.
    HoldersFull,
    /// No memory is left for one block, or one holder beside its row, more.
    NoRoom,
}

/// What is to be written about one addition.
#[derive(Clone, Copy, Debug)]
pub(super) struct Addition {
    pub(super) key: DirectoryKey,
    pub(super) holder: Holder,
    /// The number of the same life from before an inventory.
    pub(super) before: Option<LifeNumber>,
    /// For the head of a run, the block that it follows.
    pub(super) parent: Option<Place>,
    /// Whether the directory may list one block more.
    pub(super) room: bool,
}

/// The records of one slot.
#[derive(Clone, Debug)]
pub(super) struct Partition {
    rows: Table<Row>,
    beside: Option<Box<Beside>>,
}

impl Partition {
    /// Holders beyond this many lie beside their row.
    pub(super) const HOLDERS_IN_ROW: usize = IN_ROW;

    pub(super) const fn new() -> Self {
        Self {
            rows: Table::new(),
            beside: None,
        }
    }

    /// A partition of rows in order of their keys, each with its holders and its parent. Children are counted
    /// afterwards.
    pub(super) fn from_sorted(rows: &[(DirectoryKey, Vec<Holder>, Option<Place>)]) -> Self {
        let mut made = Self::new();
        let bare = rows.iter().map(|(key, ..)| Row::new(*key));
        made.rows = Table::from_sorted(bare, rows.len());
        for (key, holders, parent) in rows {
            made.set_holders(*key, holders);
            if let Some(parent) = parent {
                made.add_edge(*key, *parent);
            }
        }
        made
    }

    #[inline]
    pub(super) fn touch(&self, key: DirectoryKey) -> u64 {
        self.rows.touch(key)
    }

    #[inline]
    pub(super) fn row(&self, key: DirectoryKey) -> Option<&Row> {
        self.rows.get(key)
    }

    pub(super) fn rows_from(&self, key: DirectoryKey) -> impl Iterator<Item = &Row> {
        self.rows.iter_from(key)
    }

    pub(super) fn rows(&self) -> &Table<Row> {
        &self.rows
    }

    pub(super) fn replace_rows(&mut self, rows: Table<Row>) -> Table<Row> {
        std::mem::replace(&mut self.rows, rows)
    }

    /// Every holder of a row, void ones among them, in order.
    #[inline]
    pub(super) fn holders<'a>(&'a self, row: &'a Row) -> impl Iterator<Item = Holder> + 'a {
        let beside = if row.has_beside() {
            self.beside_of(row.key)
        } else {
            &[]
        };
        row.holders().chain(beside.iter().copied())
    }

    fn beside_of(&self, key: DirectoryKey) -> &[Holder] {
        let beside = self
            .beside
            .as_ref()
            .and_then(|beside| beside.holders.get(&key));
        beside.map_or(&[], Vec::as_slice)
    }

    /// The block that a head follows, when it has said so.
    pub(super) fn parent(&self, head: &Row) -> Option<Place> {
        let edge = head
            .has_edge()
            .then_some(self.beside.as_ref()?)?
            .edges
            .get(head.key)?;
        Some(Place {
            slot: edge.slot,
            key: edge.parent,
        })
    }

    /// The parent of every head that has named one.
    pub(super) fn parents(&self) -> impl Iterator<Item = Place> {
        let edges = self.beside.iter().flat_map(|beside| beside.edges.iter());
        edges.map(|edge| Place {
            slot: edge.slot,
            key: edge.parent,
        })
    }

    /// Bytes of memory of the tables.
    pub(super) fn bytes(&self) -> usize {
        let beside = self.beside.as_ref().map_or(0, |beside| {
            let holders = beside.holders.values();
            let holders: usize = holders
                .map(|list| list.capacity() * size_of::<Holder>() + HOLDERS_BESIDE_BYTES)
                .sum();
            size_of::<Beside>() + beside.edges.bytes() + holders
        });
        size_of::<Self>() + self.rows.bytes() + beside
    }

    /// Lists a holder. The caller made room in the table for one row more.
    pub(super) fn add(
        &mut self,
        addition: &Addition,
        live: &LiveBits,
        tally: &mut Tally,
        dropped: &mut Vec<LifeNumber>,
    ) -> Added {
        let Addition {
            key,
            holder,
            before,
            parent,
            room,
        } = *addition;
        let row = self.rows.get(key);
        let is_listed = row.is_some_and(|row| !row.is_stub());
        if !is_listed && !room {
            return Added::NoRoom;
        }
        let mut holders: Vec<Holder> = row
            .map(|row| self.holders(row).collect())
            .unwrap_or_default();
        let same = |life: LifeNumber| move |held: &Holder| held.life == life;
        let outcome = if let Some(at) = holders.iter().position(same(holder.life)) {
            replace(&mut holders, at, holder);
            Added::Known
        } else if let Some(at) = before.and_then(|before| holders.iter().position(same(before))) {
            dropped.extend(before);
            replace(&mut holders, at, holder);
            Added::Renumbered
        } else {
            holders.retain(|held| {
                let lives = live.is_live(held.life);
                if !lives {
                    dropped.push(held.life);
                }
                lives
            });
            if holders.len() == HOLDERS_MAX {
                Added::HoldersFull
            } else if holders.len() >= IN_ROW && !room {
                Added::NoRoom
            } else {
                holders.push(holder);
                Added::New
            }
        };
        if row.is_none() {
            self.rows.insert(Row::new(key));
        }
        tally.records += i64::from(!is_listed);
        tally.beside += self.set_holders(key, &holders);
        // An edge that finds no room is forgone: the parent counts as a leaf too early, which costs a worse victim.
        if let Some(parent) = parent.filter(|_| room)
            && self.add_edge(key, parent)
        {
            tally.edges += 1;
        }
        outcome
    }

    /// Strikes holders off a block. Where nobody is left, the block goes, and its edge; the parent is returned.
    pub(super) fn strike(
        &mut self,
        key: DirectoryKey,
        mut strike: impl FnMut(LifeNumber) -> bool,
        tally: &mut Tally,
    ) -> Option<Place> {
        let row = self.rows.get(key).filter(|row| !row.is_stub())?;
        let count = self.holders(row).count();
        let holders: Vec<Holder> = self
            .holders(row)
            .filter(|held| !strike(held.life))
            .collect();
        if holders.len() == count {
            return None;
        }
        tally.beside += self.set_holders(key, &holders);
        if !holders.is_empty() {
            return None;
        }
        tally.records -= 1;
        let parent = self.remove_edge(key);
        tally.edges -= i64::from(parent.is_some());
        self.remove_if_bare(key);
        parent
    }

    /// One listed run more follows this block. The caller made room in the table for one row more.
    pub(super) fn add_child(&mut self, key: DirectoryKey) {
        if self.rows.get(key).is_none() {
            self.rows.insert(Row::new(key));
        }
        if let Some(row) = self.rows.get_mut(key) {
            // Sixteen million runs after one block are more than the directory lists at all.
            row.set_children((row.children() + 1).min(CHILDREN_MAX));
        }
    }

    /// One listed run fewer follows this block.
    pub(super) fn remove_child(&mut self, key: DirectoryKey) {
        if let Some(row) = self.rows.get_mut(key) {
            row.set_children(row.children().saturating_sub(1));
            self.remove_if_bare(key);
        }
    }

    fn remove_if_bare(&mut self, key: DirectoryKey) {
        let bare = self
            .rows
            .get(key)
            .is_some_and(|row| row.is_stub() && row.children() == 0);
        if bare {
            self.rows.remove(key);
        }
    }

    /// Writes the holders of a row; the answer is by how many more lie beside it than before.
    fn set_holders(&mut self, key: DirectoryKey, holders: &[Holder]) -> i64 {
        let (near, far) = holders.split_at(holders.len().min(IN_ROW));
        let Some(row) = self.rows.get_mut(key) else {
            return 0;
        };
        (row.lives, row.forms) = ([0; IN_ROW], [0; IN_ROW]);
        for ((life, form), held) in row.lives.iter_mut().zip(&mut row.forms).zip(near) {
            (*life, *form) = (held.life, held.form.to_byte());
        }
        let len = u32::try_from(near.len()).unwrap_or(0);
        row.packed = row.packed & !(7 << STATE_LEN_SHIFT) | len << STATE_LEN_SHIFT;
        let had = row.has_beside();
        row.set(STATE_BESIDE, !far.is_empty());
        if !had && far.is_empty() {
            return 0;
        }
        let beside = &mut self.beside_mut().holders;
        let before = if far.is_empty() {
            beside.remove(&key)
        } else {
            beside.insert(key, far.to_vec())
        };
        count(far.len()) - count(before.map_or(0, |before| before.len()))
    }

    /// Remembers the parent of a head that has none yet.
    fn add_edge(&mut self, head: DirectoryKey, parent: Place) -> bool {
        let Some(row) = self.rows.get_mut(head).filter(|row| !row.has_edge()) else {
            return false;
        };
        row.set(STATE_EDGE, true);
        let edges = &mut self.beside_mut().edges;
        if let Some(resized) = edges.resized(1) {
            *edges = resized;
        }
        edges.insert(Edge {
            head,
            parent: parent.key,
            slot: parent.slot,
            taken: true,
        });
        true
    }

    fn remove_edge(&mut self, head: DirectoryKey) -> Option<Place> {
        let row = self.rows.get_mut(head).filter(|row| row.has_edge())?;
        row.set(STATE_EDGE, false);
        let edges = &mut self.beside.as_mut()?.edges;
        let edge = edges.remove(head)?;
        if let Some(resized) = edges.resized(0) {
            *edges = resized;
        }
        Some(Place {
            slot: edge.slot,
            key: edge.parent,
        })
    }

    fn beside_mut(&mut self) -> &mut Beside {
        self.beside.get_or_insert_with(|| {
            Box::new(Beside {
                edges: Table::new(),
                holders: BTreeMap::new(),
            })
        })
    }
}

/// What a list of holders beside a row costs besides the holders: a map's entry at its worst fill.
const HOLDERS_BESIDE_BYTES: usize = 96;

fn replace(holders: &mut [Holder], at: usize, holder: Holder) {
    if let Some(held) = holders.get_mut(at) {
        *held = holder;
    }
}

fn count(len: usize) -> i64 {
    i64::try_from(len).unwrap_or(i64::MAX)
}
