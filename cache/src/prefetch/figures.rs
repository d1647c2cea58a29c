//! Responsible for what prefetching did, in numbers. It must never decide by them: that is the throttle's.
//!
//! # Source
//! Srinivasan, Davidson, Tyson, "A prefetch taxonomy", IEEE Transactions on Computers 2004: useful, late, useless and
//! polluting prefetches told apart.

use super::source::{BySource, Source};
use crate::policy::as_f64;

/// What one source did.
///
/// `asked = in flight + stored + known + failed`, and `stored = lying unused + timely + late + evicted + lapsed + purged`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Blocks asked for.
    pub asked_blocks: u64,
    /// Blocks that came and were stored.
    pub stored_blocks: u64,
    /// Bytes of those.
    pub stored_bytes: u64,
    /// Blocks that came and were here already: wasted.
    pub known_blocks: u64,
    /// Blocks that did not come, or found no room.
    pub failed_blocks: u64,
    /// Blocks that were here before a request asked for them.
    pub timely_blocks: u64,
    /// Blocks that a request asked for while they were on their way.
    pub late_blocks: u64,
    /// Blocks that went unused, to make room.
    pub evicted_blocks: u64,
    /// Blocks that nobody asked for in the time given.
    pub lapsed_blocks: u64,
    /// Blocks whose domain was purged before they were used: nobody's fault.
    pub purged_blocks: u64,
    /// Bytes that came for nothing: those of known, evicted and lapsed blocks.
    pub wasted_bytes: u64,
    /// Blocks that went while this source's lay unused, and that were asked for again.
    pub polluted_blocks: u64,
    /// Blocks that were cheaper to compute than to fetch.
    pub declined_blocks: u64,
    /// Blocks that found no room in a budget in time, or were held back by the throttle.
    pub held_back_blocks: u64,
}

impl Tally {
    /// Blocks that a request asked for.
    pub const fn used_blocks(&self) -> u64 {
        self.timely_blocks + self.late_blocks
    }

    /// Used for each that came and whose fate is known; 1 while none is.
    pub fn accuracy(&self) -> f64 {
        let wasted = self.evicted_blocks + self.lapsed_blocks + self.known_blocks;
        share(self.used_blocks(), self.used_blocks() + wasted, 1.0)
    }

    /// Here in time for each used; 1 while none is.
    pub fn timeliness(&self) -> f64 {
        share(self.timely_blocks, self.used_blocks(), 1.0)
    }
}

/// What all sources did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Figures {
    /// By source.
    pub by_source: BySource<Tally>,
    /// Blocks that requests asked for and that nobody had fetched ahead, though they were elsewhere.
    pub missed_blocks: u64,
}

impl Figures {
    /// Of all blocks that were elsewhere when a request came to need them, how many this source had fetched.
    pub fn coverage(&self, source: Source) -> f64 {
        let used = |source| self.by_source.of(source).used_blocks();
        let all: u64 = Source::ALL.into_iter().map(used).sum();
        share(used(source), all + self.missed_blocks, 0.0)
    }
}

fn share(part: u64, whole: u64, of_nothing: f64) -> f64 {
    if whole == 0 {
        return of_nothing;
    }
    as_f64(part) / as_f64(whole)
}
