//! Counts elementary steps, so that "linear time" is a figure a test can hold and not a duration that a busy machine bends. It must
//! never know what a step is worth.

/// How many elementary steps a computation took: one a code point a pass, one a probe of a table, one a hash of a signature.
///
/// # Units
/// Steps. Equal inputs take equal steps on every machine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Work {
    steps: u64,
}

impl Work {
    /// Adds this many steps.
    pub(crate) fn add(&mut self, steps: usize) {
        self.steps = self
            .steps
            .saturating_add(u64::try_from(steps).unwrap_or(u64::MAX));
    }

    /// The steps counted so far.
    #[must_use]
    pub const fn steps(self) -> u64 {
        self.steps
    }
}

/// A count as a number to compute with. Counts here are of at most [`super::TEXT_CHARACTERS_MAX`] things, so nothing is lost.
pub(crate) fn real(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

/// `part / whole`, and 0 where there is no whole.
pub(crate) fn share(part: usize, whole: usize) -> f64 {
    if whole == 0 {
        0.0
    } else {
        real(part) / real(whole)
    }
}
