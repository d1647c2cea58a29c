//! Responsible for what is remembered of one block, present or gone, and which class that puts it in. It must never know
//! what a class is worth.

/// Classes there are.
pub(super) const CLASSES: usize = HITS * DEPTHS * CHILDREN * TURNS;

/// Coarser classes that small ones lean on: hits and children only.
pub(super) const FAMILIES: usize = HITS * CHILDREN;

const HITS: usize = 6;
const DEPTHS: usize = 5;
const CHILDREN: usize = 3;
const TURNS: usize = 4;

/// In no list of leaves.
pub(super) const NOWHERE: u32 = u32::MAX;

/// What a block has been through; outlives the block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Life {
    /// Number of the request that used it last.
    pub(super) used: u32,
    /// Blocks before it, up to 65 535.
    pub(super) depth: u16,
    /// Requests that used it after it was stored, up to 255.
    pub(super) hits: u8,
    /// Children it ever had, two of them counted.
    pub(super) children: u8,
    /// Which visit to its path stored it: the first question of a conversation, the second.
    pub(super) turn: u8,
}

impl Life {
    /// The class of blocks that it is taken to behave like.
    pub(super) fn class(&self) -> usize {
        let hits = match self.hits {
            0..=2 => usize::from(self.hits),
            3..=5 => 3,
            6..=15 => 4,
            16.. => 5,
        };
        let depth = match self.depth {
            0 => 0,
            1..=3 => 1,
            4..=15 => 2,
            16..=47 => 3,
            48.. => 4,
        };
        let turn = match self.turn {
            0..=1 => 0,
            2 => 1,
            3..=4 => 2,
            5.. => 3,
        };
        ((hits * CHILDREN + usize::from(self.children.min(2))) * DEPTHS + depth) * TURNS + turn
    }
}

/// The coarser class that a class belongs to.
pub(super) const fn family(class: usize) -> usize {
    class / (DEPTHS * TURNS)
}

/// A block that is present.
#[derive(Clone, Copy, Debug)]
pub(super) struct Record {
    pub(super) life: Life,
    /// Place among the leaves, or [`NOWHERE`].
    pub(super) place: u32,
    /// Cost saved for each byte stored, were it used for certain.
    pub(super) value: f32,
    pub(super) state: u8,
}

/// The record is a block's.
pub(super) const PRESENT: u8 = 1;
/// No child of it is present.
pub(super) const LEAF: u8 = 2;
/// Leased, or pinned hard.
pub(super) const SUSPENDED: u8 = 4;
/// Pinned softly.
pub(super) const LAST: u8 = 8;
/// A client said when it will use it.
pub(super) const EXPECTED: u8 = 16;

/// It is among the candidates that earlier draws left.
pub(super) const POOLED: u8 = 32;

impl Default for Record {
    fn default() -> Self {
        Self {
            life: Life::default(),
            place: NOWHERE,
            value: 0.0,
            state: 0,
        }
    }
}

impl Record {
    pub(super) const fn has(&self, state: u8) -> bool {
        self.state & state != 0
    }

    pub(super) const fn set(&mut self, state: u8, on: bool) {
        self.state = self.state & !state | if on { state } else { 0 };
    }

    /// Which list of leaves it belongs to, if to any.
    pub(super) const fn list(&self) -> Option<usize> {
        match self.state & (PRESENT | LEAF | SUSPENDED | LAST) {
            state if state == PRESENT | LEAF => Some(0),
            state if state == PRESENT | LEAF | LAST => Some(1),
            _ => None,
        }
    }
}
