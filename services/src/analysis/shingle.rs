//! Responsible for shingles, the runs of `w` consecutive words, and for redundancy, the part of them that repeats. It must never know
//! what a word means.
//!
//! Redundancy is `1 − d / n` for `n` shingles of which `d` are distinct: the fraction of shingles that already occurred. It is 0 for
//! a text that never repeats `w` words in a row, and nears 1 for one that repeats itself for ever. A text shorter than `w`
//! words is one shingle, so 0.
//!
//! # Source
//! A. Z. Broder, *On the resemblance and containment of documents* (1997), section 2, for shingles.

use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::text::AnalysisError;
use super::vocabulary::Table;
use super::work::{Work, share};

/// Words a shingle, where none is asked for: shorter ones meet by chance, longer ones break at each changed word.
pub const SHINGLE_WORDS_DEFAULT: usize = 3;
/// Most words a shingle.
pub const SHINGLE_WORDS_MAX: usize = 8;

/// Words a shingle, 1 to [`SHINGLE_WORDS_MAX`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Width(usize);

impl Width {
    /// A width of this many words.
    ///
    /// # Errors
    /// [`AnalysisError::BadWidth`] outside 1..=[`SHINGLE_WORDS_MAX`].
    pub const fn new(words: usize) -> Result<Self, AnalysisError> {
        if words == 0 || words > SHINGLE_WORDS_MAX {
            return Err(AnalysisError::BadWidth { words });
        }
        Ok(Self(words))
    }

    /// Words a shingle.
    #[must_use]
    pub const fn words(self) -> usize {
        self.0
    }
}

impl Default for Width {
    fn default() -> Self {
        Self(SHINGLE_WORDS_DEFAULT)
    }
}

/// The distinct shingles of one or two texts under one vocabulary.
#[derive(Debug)]
pub(crate) struct Shingles<'a> {
    words: &'a [u32],
    width: usize,
    /// Of each distinct shingle, where it first starts and how often it occurs.
    distinct: Vec<(usize, u32)>,
    total: usize,
}

impl<'a> Shingles<'a> {
    /// The shingles of `words`.
    pub(crate) fn of(words: &'a [u32], width: Width, seed: u64, work: &mut Work) -> Self {
        let width = width.words().min(words.len());
        let total = if width == 0 {
            0
        } else {
            words.len() - width + 1
        };
        let mut table = Table::with_room_for(total);
        let mut distinct: Vec<(usize, u32)> = Vec::new();
        for (start, shingle) in windows(words, width).enumerate() {
            let next = u32::try_from(distinct.len()).unwrap_or(u32::MAX - 1);
            let is_equal = |number: u32| {
                let first = usize::try_from(number).ok().and_then(|at| distinct.get(at));
                first.is_some_and(|(first, _)| words.get(*first..first + width) == Some(shingle))
            };
            work.add(width);
            let known = table.find_or_insert(hash(shingle, seed), next, is_equal, work);
            match known.and_then(|number| usize::try_from(number).ok()) {
                Some(number) => {
                    if let Some((_, count)) = distinct.get_mut(number) {
                        *count += 1;
                    }
                }
                None => distinct.push((start, 1)),
            }
        }
        Self {
            words,
            width,
            distinct,
            total,
        }
    }

    /// Shingles in all.
    pub(crate) const fn total(&self) -> usize {
        self.total
    }

    /// The fraction of shingles that already occurred, 0..1.
    pub(crate) fn redundancy(&self) -> f64 {
        share(self.total - self.distinct.len(), self.total)
    }

    /// The distinct shingles, by first place.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &'a [u32]> + '_ {
        self.distinct
            .iter()
            .filter_map(|(start, _)| self.words.get(*start..start + self.width))
    }

    /// How many are distinct.
    pub(crate) const fn distinct(&self) -> usize {
        self.distinct.len()
    }

    /// The shingles that occur most often, twice at least, with their counts; equal ones by first place. At most `most`.
    pub(crate) fn repeated(&self, most: usize, work: &mut Work) -> Vec<(&'a [u32], u32)> {
        let mut best: Vec<(usize, u32)> = Vec::with_capacity(most + 1);
        for &(start, count) in self.distinct.iter().filter(|(_, count)| *count > 1) {
            work.add(most);
            let at = best.partition_point(|(_, other)| *other >= count);
            if at < most {
                best.insert(at, (start, count));
                best.truncate(most);
            }
        }
        best.into_iter()
            .filter_map(|(start, count)| Some((self.words.get(start..start + self.width)?, count)))
            .collect()
    }

    /// How many distinct shingles are also among `other`'s. Both must be of one vocabulary and one width.
    pub(crate) fn shared_with(&self, other: &Shingles<'_>, seed: u64, work: &mut Work) -> usize {
        let mut table = Table::with_room_for(self.distinct.len() + other.distinct.len());
        let mine: Vec<&[u32]> = self.iter().collect();
        for (number, shingle) in (0_u32..).zip(&mine) {
            work.add(self.width);
            table.find_or_insert(hash(shingle, seed), number, |_| false, work);
        }
        let is_mine = |shingle: &[u32], number: u32| {
            let known = usize::try_from(number).ok().and_then(|at| mine.get(at));
            known.is_some_and(|known| *known == shingle)
        };
        let mut shared = 0;
        for shingle in other.iter() {
            work.add(self.width);
            // What is not mine takes a number that is nobody's, and is distinct, so nothing ever equals it.
            let hash = hash(shingle, seed);
            let known =
                table.find_or_insert(hash, u32::MAX - 1, |number| is_mine(shingle, number), work);
            shared += usize::from(known.is_some());
        }
        shared
    }
}

fn windows(words: &[u32], width: usize) -> impl Iterator<Item = &[u32]> {
    // `windows(0)` panics; no word, no shingle.
    words.windows(width.max(1))
}

fn hash(shingle: &[u32], seed: u64) -> u64 {
    shingle.iter().fold(seed, |hash, word| {
        xxh3_64_with_seed(&word.to_le_bytes(), hash)
    })
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;

    use super::*;

    fn width(words: usize) -> Width {
        Width::new(words).expect("within bounds")
    }

    #[test]
    fn widths_are_bounded() {
        assert!(Width::new(0).is_err());
        assert!(Width::new(SHINGLE_WORDS_MAX + 1).is_err());
        assert_eq!(Width::default().words(), 3);
    }

    #[test]
    fn redundancy_is_the_fraction_that_repeats() {
        let rows: &[(&[u32], usize, f64)] = &[
            (&[], 3, 0.0),
            (&[1, 2], 3, 0.0),
            (&[1, 2, 3], 3, 0.0),
            (&[1, 2, 3, 1, 2, 3], 3, 0.25),
            (&[1, 1, 1, 1], 1, 0.75),
            (&[7, 7, 7, 7, 7, 7], 3, 0.75),
        ];
        for (words, words_a_shingle, expected) in rows {
            let found = Shingles::of(words, width(*words_a_shingle), 0, &mut Work::default());
            assert!((found.redundancy() - expected).abs() < 1e-12, "{words:?}");
        }
    }

    proptest! {
        #[test]
        fn tables_agree_with_a_naive_count(
            one in prop::collection::vec(0_u32..5, 0..80),
            other in prop::collection::vec(0_u32..5, 0..80),
            words in 1_usize..5,
            seed in any::<u64>(),
        ) {
            let mut work = Work::default();
            let found = Shingles::of(&one, width(words), seed, &mut work);
            let mut naive: BTreeMap<&[u32], u32> = BTreeMap::new();
            let really = words.min(one.len()).max(1);
            for shingle in one.windows(really) {
                *naive.entry(shingle).or_default() += 1;
            }
            prop_assert_eq!(found.distinct(), naive.len());
            let most = found.repeated(3, &mut work);
            let mut counts: Vec<u32> = naive.values().copied().filter(|count| *count > 1).collect();
            counts.sort_unstable_by(|a, b| b.cmp(a));
            counts.truncate(3);
            prop_assert_eq!(most.iter().map(|(_, count)| *count).collect::<Vec<_>>(), counts);
            for (shingle, count) in most {
                prop_assert_eq!(naive.get(shingle), Some(&count));
            }
            if one.len() >= words && other.len() >= words {
                let theirs = Shingles::of(&other, width(words), seed, &mut work);
                let set: BTreeSet<&[u32]> = other.windows(words).collect();
                let shared = naive.keys().filter(|shingle| set.contains(*shingle)).count();
                prop_assert_eq!(found.shared_with(&theirs, seed, &mut work), shared);
                prop_assert_eq!(theirs.shared_with(&found, seed, &mut work), shared);
            }
        }
    }
}
