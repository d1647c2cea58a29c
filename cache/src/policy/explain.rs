//! Responsible for the words in which a policy accounts for its decisions. It must never decide anything.

use std::fmt;

use crate::forest::{BlockId, Forest};

/// Blocks that a look ahead goes through at most, in the order in which they would go: 4 096 are some tens of microseconds of a
/// shard's time, and more than an operator reads.
pub const LOOK_MAX: usize = 4_096;

/// How a policy is doing, in numbers and words of its own.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Figures {
    /// Of the whole: clocks, ghosts, floors.
    pub numbers: Vec<(&'static str, f64)>,
    /// Of each group that it counts blocks to.
    pub classes: Vec<ClassFigures>,
}

/// A group that a policy counts blocks to.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ClassFigures {
    /// As explanations name it.
    pub name: String,
    /// What is known of it.
    pub numbers: Vec<(&'static str, f64)>,
}

/// The leaves among the first [`LOOK_MAX`] blocks of an order, `many` at most.
pub(crate) fn leaves(
    forest: &Forest,
    order: impl Iterator<Item = BlockId>,
    many: usize,
) -> Vec<BlockId> {
    let looked = order.take(LOOK_MAX);
    looked.filter(|id| forest.is_leaf(*id)).take(many).collect()
}

/// Why a block stands where it stands.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Explanation {
    /// The group the policy counts it to: a list, a queue, a class of blocks that behave alike.
    pub class: String,
    /// What it is ordered by within the policy; the lowest goes first.
    pub score: f64,
    /// The numbers behind the score, as the policy names them.
    pub because: Vec<(&'static str, f64)>,
    /// Whether it can be a victim now: a leaf that is neither leased nor pinned.
    pub can_go: bool,
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, score {:.3e}", self.class, self.score)?;
        for (name, value) in &self.because {
            write!(f, ", {name} {value:.4}")?;
        }
        if !self.can_go {
            f.write_str(", cannot go now")?;
        }
        Ok(())
    }
}
