//! Bugs that a simulator may plant, to prove that its checkers see them. Without the feature `sabotage` every question
//! here is a constant `false` and the compiler drops what hangs on it; with it, only a replica built to be broken is.
//!
//! It must never know what a bug leads to.

/// Which bugs a replica has; none by default.
#[cfg(feature = "sabotage")]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sabotage {
    /// Replicas take messages of lower epochs.
    pub epoch_unchecked: bool,
    /// The owner commits and answers before the others have prepared.
    pub answer_early: bool,
    /// The tenure is asked before the value is read.
    pub tenure_first: bool,
    /// A new life of a shard takes itself for the member that its former life was.
    pub boot_forgotten: bool,
}

/// Which bugs a replica has: none.
#[cfg(not(feature = "sabotage"))]
#[derive(Clone, Copy, Debug)]
pub(super) struct Sabotage;

#[cfg(feature = "sabotage")]
impl Sabotage {
    /// No bug.
    pub const NONE: Self = Self {
        epoch_unchecked: false,
        answer_early: false,
        tenure_first: false,
        boot_forgotten: false,
    };

    pub(super) const fn epoch_unchecked(self) -> bool {
        self.epoch_unchecked
    }

    pub(super) const fn answer_early(self) -> bool {
        self.answer_early
    }

    pub(super) const fn tenure_first(self) -> bool {
        self.tenure_first
    }

    pub(super) const fn boot_forgotten(self) -> bool {
        self.boot_forgotten
    }
}

#[cfg(not(feature = "sabotage"))]
impl Sabotage {
    /// No bug.
    pub(super) const NONE: Self = Self;

    pub(super) const fn epoch_unchecked(self) -> bool {
        false
    }

    pub(super) const fn answer_early(self) -> bool {
        false
    }

    pub(super) const fn tenure_first(self) -> bool {
        false
    }

    pub(super) const fn boot_forgotten(self) -> bool {
        false
    }
}
