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

/// A class in words.
pub(super) fn words(class: usize) -> String {
    const HITS_WORDS: [&str; HITS] = ["0", "1", "2", "3 to 5", "6 to 15", "16 or more"];
    const CHILDREN_WORDS: [&str; CHILDREN] = ["0", "1", "2 or more"];
    const DEPTHS_WORDS: [&str; DEPTHS] = ["0", "1 to 3", "4 to 15", "16 to 47", "48 or more"];
    const TURNS_WORDS: [&str; TURNS] = ["1", "2", "3 or 4", "5 or later"];
    let word =
        |words: &[&'static str], at: usize| words.get(at % words.len()).copied().unwrap_or("any");
    format!(
        "hits {}, children {}, depth {}, turn {}",
        word(&HITS_WORDS, class / (CHILDREN * DEPTHS * TURNS)),
        word(&CHILDREN_WORDS, class / (DEPTHS * TURNS)),
        word(&DEPTHS_WORDS, class / TURNS),
        word(&TURNS_WORDS, class),
    )
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_class_is_told_in_the_words_of_the_lives_in_it() {
        let life = |hits, children, depth, turn| Life {
            hits,
            children,
            depth,
            turn,
            ..Life::default()
        };
        let told = |life: Life| words(life.class());
        assert_eq!(
            told(life(0, 0, 0, 1)),
            "hits 0, children 0, depth 0, turn 1"
        );
        assert_eq!(
            told(life(4, 2, 20, 4)),
            "hits 3 to 5, children 2 or more, depth 16 to 47, turn 3 or 4"
        );
        assert_eq!(
            told(life(200, 1, 60_000, 9)),
            "hits 16 or more, children 1, depth 48 or more, turn 5 or later"
        );
    }
}
