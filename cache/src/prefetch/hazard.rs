//! Responsible for how likely a conversation goes on within some time, by how long it has been silent. It must never know
//! single conversations.
//!
//! # Source
//! Lives counted by age and class, those that go on among them: Kaplan, Meier, "Nonparametric estimation from incomplete
//! observations", 1958; the same estimate as the adaptive policy's, whose ages are requests while these are milliseconds: what
//! is to be foreseen here is when, not before what.
#![expect(
    clippy::indexing_slicing,
    reason = "classes and bins come from the functions that make them, which keep them below the tables' sizes"
)]

use crate::policy::as_f64;

/// Bins of silence, two to an octave: up to 17 minutes, and all that is longer.
pub(super) const BINS: usize = 40;

/// Classes there are.
const CLASSES: usize = TURNS * DEPTHS;
const TURNS: usize = 4;
const DEPTHS: usize = 3;

/// Observations that a class gets from all: weight of what is known beforehand.
const LENT: f64 = 16.0;

/// Chance in a bin before anything was seen: nobody goes on.
const UNSEEN: f64 = 0.0;

/// What an observation still counts after an estimate.
const FADE: f64 = 0.98;

/// The class of a conversation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Class(usize);

impl Class {
    /// That of conversations of so many turns and blocks: who has asked twice will likely ask again.
    pub(super) const fn of(turns: u32, blocks: usize) -> Self {
        let turns = match turns {
            0..=1 => 0,
            2 => 1,
            3..=4 => 2,
            5.. => 3,
        };
        let depth = match blocks {
            0..=7 => 0,
            8..=31 => 1,
            32.. => 2,
        };
        Self(turns * DEPTHS + depth)
    }
}

/// Where each bin begins, in milliseconds.
pub(super) fn bin_start_ms(bin: usize) -> u64 {
    let octave = 1_u64 << (bin / 2).min(62);
    // A half octave up is a factor of the square root of two: 181 / 128.
    let start = if bin.is_multiple_of(2) {
        octave
    } else {
        octave * 181 / 128
    };
    start - 1
}

/// The bin of a silence.
pub(super) fn bin(ms: u64) -> usize {
    let starts = (1..BINS).map(bin_start_ms);
    // A walk over forty numbers; a logarithm would have to agree with the starts to the last bit.
    starts.take_while(|start| *start <= ms).count()
}

type Counts = [f64; BINS];

/// Silences of one class by how they ended.
#[derive(Clone, Copy, Debug)]
struct Seen {
    broken: Counts,
    lost: Counts,
}

/// See the module.
#[derive(Debug)]
pub(super) struct Hazard {
    seen: [Seen; CLASSES],
    /// Chance in each bin, of those that came so far.
    chance: [Counts; CLASSES],
}

impl Hazard {
    pub(super) const fn new() -> Self {
        const NONE: Seen = Seen {
            broken: [0.0; BINS],
            lost: [0.0; BINS],
        };
        Self {
            seen: [NONE; CLASSES],
            chance: [[UNSEEN; BINS]; CLASSES],
        }
    }

    /// A silence was broken after so long.
    pub(super) fn went_on(&mut self, class: Class, silent_ms: u64) {
        self.seen[class.0].broken[bin(silent_ms)] += 1.0;
    }

    /// A conversation is not watched any longer, silent for so long.
    pub(super) fn lost_sight(&mut self, class: Class, silent_ms: u64) {
        self.seen[class.0].lost[bin(silent_ms)] += 1.0;
    }

    /// Makes the chances anew; `silent` are those that are still watched.
    pub(super) fn rebuild(&mut self, silent: impl Iterator<Item = (Class, u64)>) {
        let mut quiet: Vec<Counts> = self.seen.iter().map(|seen| seen.lost).collect();
        silent.for_each(|(class, ms)| quiet[class.0][bin(ms)] += 1.0);
        let mut all = (0.0, [0.0; BINS], [0.0; BINS]);
        let mut classes = [([0.0; BINS], [0.0; BINS]); CLASSES];
        for (class, (broken, reached)) in classes.iter_mut().enumerate() {
            let mut beyond = 0.0;
            for bin in (0..BINS).rev() {
                let (ended, quiet) = (self.seen[class].broken[bin], quiet[class][bin]);
                // Those that are out of sight in this bin were at risk for half of it.
                broken[bin] = ended;
                reached[bin] = beyond + ended + quiet / 2.0;
                beyond += ended + quiet;
                all.1[bin] += broken[bin];
                all.2[bin] += reached[bin];
            }
            all.0 += beyond;
        }
        let of_all: Counts = std::array::from_fn(|bin| ratio(all.1[bin], all.2[bin]));
        for (class, (broken, reached)) in classes.iter().enumerate() {
            self.chance[class] = std::array::from_fn(|bin| {
                ratio(broken[bin] + LENT * of_all[bin], reached[bin] + LENT)
            });
        }
        for seen in &mut self.seen {
            let counts = seen.broken.iter_mut().chain(&mut seen.lost);
            counts.for_each(|count| *count *= FADE);
        }
    }

    /// Chance that a conversation which has been silent for so long goes on within so long.
    pub(super) fn within(&self, class: Class, silent_ms: u64, window_ms: u64) -> f64 {
        let chance = &self.chance[class.0];
        let until_ms = silent_ms.saturating_add(window_ms);
        let mut silent = 1.0;
        let last = bin(until_ms);
        let bins = chance.iter().enumerate().take(last + 1);
        for (bin, chance) in bins.skip(bin(silent_ms)) {
            let start_ms = bin_start_ms(bin);
            let end_ms = bin_start_ms(bin + 1);
            let covered_ms = end_ms.min(until_ms).saturating_sub(start_ms.max(silent_ms));
            // The last bin has no end; what it says is taken for an octave's half.
            let part = (as_f64(covered_ms) / as_f64((end_ms - start_ms).max(1))).min(1.0);
            silent *= (1.0 - chance).max(0.0).powf(part);
        }
        1.0 - silent
    }
}

fn ratio(part: f64, whole: f64) -> f64 {
    if whole > 0.0 {
        (part / whole).min(1.0)
    } else {
        UNSEEN
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_silence_has_the_bin_that_begins_before_it() {
        for ms in (0..5_000).chain([1 << 19, 1 << 20, 1 << 40]) {
            let at = bin(ms);
            assert!(bin_start_ms(at) <= ms, "{ms}");
            assert!(at == BINS - 1 || ms < bin_start_ms(at + 1), "{ms}");
        }
    }

    #[test]
    fn says_what_was_seen_and_less_the_longer_the_silence() {
        let mut hazard = Hazard::new();
        let class = Class::of(3, 10);
        // Six in ten go on after a minute or so, the others never.
        for at in 0..1_000 {
            match at % 10 {
                0..6 => hazard.went_on(class, 50_000 + at * 20),
                _ => hazard.lost_sight(class, 900_000),
            }
        }
        hazard.rebuild(std::iter::empty());
        let early = hazard.within(class, 0, 120_000);
        assert!((early - 0.6).abs() < 0.05, "{early}");
        assert!(hazard.within(class, 0, 20_000) < 0.05);
        assert!(hazard.within(class, 40_000, 60_000) > 0.5);
        assert!(hazard.within(class, 200_000, 120_000) < 0.05);
    }

    #[test]
    fn those_that_are_still_silent_count_as_not_having_gone_on() {
        let class = Class::of(1, 1);
        let mut hazard = Hazard::new();
        (0..100).for_each(|_| hazard.went_on(class, 1_000));
        hazard.rebuild(std::iter::repeat_n((class, 100_000), 300));
        let chance = hazard.within(class, 0, 10_000);
        assert!((chance - 0.25).abs() < 0.05, "{chance}");
    }

    #[test]
    fn a_class_without_a_past_leans_on_all() {
        let mut hazard = Hazard::new();
        assert!(hazard.within(Class::of(9, 99), 0, 1 << 30) <= 0.0);
        (0..500).for_each(|_| hazard.went_on(Class::of(1, 1), 1_000));
        hazard.rebuild(std::iter::empty());
        assert!(hazard.within(Class::of(9, 99), 0, 5_000) > 0.9);
    }
}
