//! Responsible for how likely blocks of a class are used again, by the time since their last use, and for the index that
//! follows from it. It must never know single blocks.
//!
//! # Source
//! Gittins, "Bandit processes and dynamic allocation indices", 1979: with one unit of a scarce resource and several claims to
//! it, serve the claim with the highest ratio of expected reward to expected time, each at its best stopping time. Reuse
//! counted by age and class, also for what is gone: Beckmann, Chen, Cidon, "LHD: improving cache hit rate by maximizing hit
//! density", NSDI 2018. Estimation from lives that are still going on: Kaplan, Meier, 1958.
#![expect(
    clippy::indexing_slicing,
    clippy::as_conversions,
    reason = "classes and bins come from the functions that make them, which keep them below the tables' sizes; bins are few, \
              and several tables are walked by one of them"
)]

use crate::policy::adaptive::record::{CLASSES, FAMILIES, family};
use crate::policy::price::as_f32;

/// Bins of ages, two to an octave: up to a million requests.
pub(super) const BINS: usize = 40;

/// Observations that a class gets from its family, and a family from all: weight of what is known beforehand.
const LENT: f32 = 16.0;

/// Chance of reuse in a bin before anything was seen.
const UNSEEN: f32 = 0.02;

/// The bin of an age in requests.
pub(super) fn bin(age: u32) -> usize {
    // Half octaves without a logarithm: the leading bit, and whether what follows is beyond the square root of two.
    let age = u64::from(age) + 1;
    let octave = age.ilog2();
    let is_upper = age * age >= 1 << (2 * octave + 1);
    (octave as usize * 2 + usize::from(is_upper)).min(BINS - 1)
}

/// One count for each bin.
type Counts = [f32; BINS];

/// Lives of one class that ended in each bin: by a use, or unknown how.
#[derive(Clone, Copy)]
struct Seen {
    used: Counts,
    lost: Counts,
}

impl Seen {
    const NONE: Self = Self {
        used: [0.0; BINS],
        lost: [0.0; BINS],
    };
}

/// What is known of one class.
#[derive(Clone, Copy, Debug)]
pub(super) struct ClassSeen {
    /// Uses of its blocks, older ones counting less.
    pub(super) uses: f32,
    /// Blocks and ghosts in it as of the last rebuild, estimated from a sample.
    pub(super) alive: f32,
    /// Uses to come for each block and request, right after a use.
    pub(super) index: f32,
}

/// What was seen, and the indices made of it.
pub(super) struct Curves {
    seen: Vec<Seen>,
    /// Classes of which anything was seen; the others are as their families.
    is_seen: Vec<bool>,
    /// Lives that go on, a sample of them weighted to the whole, as of the last rebuild.
    alive: Vec<Counts>,
    index: Vec<Counts>,
    /// Age, and one, at which each bin starts, and how far it goes.
    starts: Counts,
    widths: Counts,
    /// What an observation counts now; grows, so that older ones fade without being touched.
    weight: f32,
}

impl Curves {
    pub(super) fn new() -> Self {
        let start = |bin: usize| 2.0_f32.powf(as_f32(bin as u64) / 2.0);
        let starts: Counts = std::array::from_fn(start);
        let widths: Counts = std::array::from_fn(|bin| start(bin + 1) - start(bin));
        let mut curves = Self {
            seen: vec![Seen::NONE; CLASSES],
            is_seen: vec![false; CLASSES],
            alive: vec![[0.0; BINS]; CLASSES],
            index: vec![[0.0; BINS]; CLASSES],
            starts,
            widths,
            weight: 1.0,
        };
        curves.rebuild();
        curves
    }

    /// A block of this class was used at this age.
    pub(super) fn saw_use(&mut self, class: usize, age: u32) {
        self.is_seen[class] = true;
        self.seen[class].used[bin(age)] += self.weight;
    }

    /// A block of this class is not watched any longer from this age on.
    pub(super) fn lost_sight(&mut self, class: usize, age: u32) {
        self.is_seen[class] = true;
        self.seen[class].lost[bin(age)] += self.weight;
    }

    /// Uses to come for each block and request: the index of a class at an age.
    /// Between the starts of two bins it goes over from the one to the other, so that of two blocks in one bin the older is
    /// told apart.
    pub(super) fn index(&self, class: usize, age: u32) -> f32 {
        let bin = bin(age);
        let index = &self.index[class];
        let next = index[(bin + 1).min(BINS - 1)];
        let into = (as_f32(u64::from(age) + 1) - self.starts[bin]) / self.widths[bin];
        index[bin] + (next - index[bin]) * into.min(1.0)
    }

    /// What is known of a class, if anything was seen of it.
    pub(super) fn seen(&self, class: usize) -> Option<ClassSeen> {
        let sum = |counts: &Counts| counts.iter().sum::<f32>() / self.weight;
        self.is_seen[class].then(|| ClassSeen {
            uses: sum(&self.seen[class].used),
            alive: sum(&self.alive[class]),
            index: self.index(class, 0),
        })
    }

    /// What was seen so far counts this much less from now on.
    pub(super) fn fade(&mut self, by: f32) {
        self.weight /= by;
        if self.weight > 1e6 {
            for seen in &mut self.seen {
                let counts = seen.used.iter_mut().chain(&mut seen.lost);
                counts.for_each(|count| *count /= self.weight);
            }
            self.weight = 1.0;
        }
    }

    /// Starts a new count of the lives that go on.
    pub(super) fn forget_alive(&mut self) {
        self.alive.fill([0.0; BINS]);
    }

    /// So many blocks of this class are this old, unused.
    pub(super) fn saw_alive(&mut self, class: usize, age: u32, many: f32) {
        self.is_seen[class] = true;
        self.alive[class][bin(age)] += many * self.weight;
    }

    /// Makes the indices anew.
    pub(super) fn rebuild(&mut self) {
        let mut all = Chances::default();
        let mut families = [Chances::default(); FAMILIES];
        for class in (0..CLASSES).filter(|class| self.is_seen[*class]) {
            families[family(class)].add(&self.seen[class], &self.alive[class]);
        }
        families.iter().for_each(|family| all.merge(family));
        let unseen = [UNSEEN; BINS];
        let of_all = all.estimate(&unseen, self.weight);
        for (at, chances) in families.iter().enumerate() {
            let of_family = chances.estimate(&of_all, self.weight);
            let index_of_family = gittins(&of_family, &self.widths);
            for class in (0..CLASSES).filter(|class| family(*class) == at) {
                if !self.is_seen[class] {
                    self.index[class] = index_of_family;
                    continue;
                }
                let mut chances = Chances::default();
                chances.add(&self.seen[class], &self.alive[class]);
                let chance = chances.estimate(&of_family, self.weight);
                self.index[class] = gittins(&chance, &self.widths);
            }
        }
    }
}

/// Of the lives that reached each bin, how many were used in it.
#[derive(Clone, Copy)]
struct Chances {
    used: Counts,
    reached: Counts,
}

impl Default for Chances {
    fn default() -> Self {
        Self {
            used: [0.0; BINS],
            reached: [0.0; BINS],
        }
    }
}

impl Chances {
    fn add(&mut self, seen: &Seen, alive: &Counts) {
        let mut beyond = 0.0;
        for bin in (0..BINS).rev() {
            // Those that end here without a use were at risk for half of it.
            let quiet = seen.lost[bin] + alive[bin];
            self.reached[bin] += beyond + seen.used[bin] + quiet / 2.0;
            self.used[bin] += seen.used[bin];
            beyond += seen.used[bin] + quiet;
        }
    }

    fn merge(&mut self, other: &Self) {
        for bin in 0..BINS {
            self.used[bin] += other.used[bin];
            self.reached[bin] += other.reached[bin];
        }
    }

    /// Chance of a use in each bin, leaning on what is known beforehand.
    fn estimate(&self, before: &Counts, weight: f32) -> Counts {
        let mut chance = [0.0; BINS];
        let lent = LENT * weight;
        for bin in 0..BINS {
            let near = |counts: &Counts| {
                let (colder, hotter) = (bin.saturating_sub(1), (bin + 1).min(BINS - 1));
                (counts[colder] + counts[hotter]) / 4.0 + counts[bin] / 2.0
            };
            chance[bin] = (near(&self.used) + lent * before[bin]) / (near(&self.reached) + lent);
        }
        chance
    }
}

/// The index at each bin: the best ratio of the chance of a use to the time until it or until giving up, over all times to
/// give up. From the last bin backwards: going on is worth it as long as what follows has the better ratio.
fn gittins(chance: &Counts, widths: &Counts) -> Counts {
    let mut index = [0.0; BINS];
    // Stretches that follow, nearest last: uses and time expected when each is entered, and how likely it is survived.
    let mut ahead: Vec<(f32, f32, f32)> = Vec::with_capacity(BINS);
    for bin in (0..BINS).rev() {
        let used = chance[bin].clamp(0.0, 1.0);
        let (mut uses, mut time, mut survives) =
            (used, widths[bin] * (1.0 - used / 2.0), 1.0 - used);
        while let Some((next_uses, next_time, next_survives)) = ahead.last().copied() {
            if next_uses * time <= uses * next_time {
                break;
            }
            uses += survives * next_uses;
            time += survives * next_time;
            survives *= next_survives;
            ahead.pop();
        }
        index[bin] = uses / time;
        ahead.push((uses, time, survives));
    }
    index
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bins_are_half_octaves() {
        let mut last = 0;
        for age in 0..2_000_000_u32 {
            let expected = (2.0 * f64::from(age + 1).log2() + 1e-9).floor();
            let bin = bin(age);
            assert!(
                (f64::from(u32::try_from(bin).unwrap()) - expected.min(39.0)).abs() < 0.5,
                "{age}"
            );
            assert!(last <= bin);
            last = bin;
        }
    }

    /// Tries every time to give up.
    fn naive(chance: &Counts, widths: &Counts, from: usize) -> f32 {
        let (mut uses, mut time, mut alive, mut best) = (0.0, 0.0, 1.0, 0.0_f32);
        for bin in from..BINS {
            uses += alive * chance[bin];
            time += alive * widths[bin] * (1.0 - chance[bin] / 2.0);
            alive *= 1.0 - chance[bin];
            best = best.max(uses / time);
        }
        best
    }

    #[test]
    fn the_index_is_the_best_over_all_times_to_give_up() {
        let mut chances = crate::policy::chance::Chance::new(7);
        let curves = Curves::new();
        for _ in 0..500 {
            let chance: Counts = std::array::from_fn(|_| {
                let random = as_f32(chances.next() >> 40) / 16_777_216.0;
                random * random * random
            });
            let index = gittins(&chance, &curves.widths);
            for (bin, index) in index.iter().enumerate() {
                let naive = naive(&chance, &curves.widths, bin);
                assert!(
                    (index - naive).abs() <= naive * 1e-4,
                    "{bin}: {index} {naive}"
                );
            }
        }
    }

    #[test]
    fn a_class_that_comes_back_after_a_while_is_worth_more_as_that_time_nears() {
        let mut curves = Curves::new();
        for _ in 0..1_000 {
            curves.saw_use(0, 100);
            (0..9).for_each(|_| curves.lost_sight(0, 5_000));
        }
        curves.rebuild();
        assert!(curves.index(0, 0) < curves.index(0, 60));
        assert!(curves.index(0, 400) < curves.index(0, 60) / 20.0);
    }
}
