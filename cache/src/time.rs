//! Responsible for the one shape in which time enters this crate: a number handed in by the caller.
//! It must never know where that number comes from; reading a clock here would end the crate's determinism.

use std::fmt;

/// An instant on the caller's monotonic clock.
///
/// # Units
/// Milliseconds since an arbitrary start that one shard never sees change.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Now(pub u64);

impl Now {
    /// The instant `ms` later. Saturates: an instant past the end of time is never reached.
    pub const fn add_ms(self, ms: u64) -> Self {
        Self(self.0.saturating_add(ms))
    }

    /// Milliseconds from `earlier` to `self`, zero when `earlier` is not earlier.
    pub const fn since_ms(self, earlier: Self) -> u64 {
        self.0.saturating_sub(earlier.0)
    }
}

impl fmt::Display for Now {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ms", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_wraps_around() {
        assert_eq!(Now(u64::MAX).add_ms(5), Now(u64::MAX));
        assert_eq!(Now(3).since_ms(Now(10)), 0);
        assert_eq!(Now(10).since_ms(Now(3)), 7);
    }
}
