//! Responsible for the words in which a policy accounts for its decisions. It must never decide anything.

use std::fmt;

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
