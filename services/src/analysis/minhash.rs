//! Responsible for signatures: a few hundred numbers of a text that tell how much it resembles another, without either text. It must
//! never know where signatures are kept.
//!
//! Each of `k` hash functions keeps its smallest value over the shingles. Two texts agree in a place with probability `J`, their
//! Jaccard similarity, so the fraction of places that agree estimates `J` without bias, with standard error
//! `sqrt(J (1 − J) / k)`: at most 0.032 for the 256 places here.
//!
//! # Source
//! A. Z. Broder, *On the resemblance and containment of documents* (1997); Broder, Charikar, Frieze and Mitzenmacher, *Min-wise
//! independent permutations* (1998). The hash functions are one 64-bit hash, xored with a place's constant and mixed by
//! the finalizer of S. Vigna's splitmix64.

use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::prepared::Prepared;
use super::shingle::{Shingles, Width};
use super::text::{AnalysisError, Text};
use super::vocabulary::Vocabulary;
use super::work::{Work, real, share};

/// Places of a signature. 2 KiB a text buys a standard error of 0.032; halving that error would take 8 KiB.
pub const SIGNATURE_PLACES: usize = 256;

/// What a text looks like to another.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Signature {
    width_words: usize,
    seed: u64,
    shingles: usize,
    places: Vec<u64>,
}

impl Signature {
    /// The signature of a text over shingles of `width` words. Signatures compare only under one width and seed.
    #[must_use]
    pub fn of(text: &Text, width: Width, seed: u64, work: &mut Work) -> Self {
        let mut vocabulary = Prepared::vocabulary(&[text], seed);
        let prepared = Prepared::of(text, &mut vocabulary, work);
        let shingles = Shingles::of(&prepared.words, width, seed, work);
        Self::of_shingles(&shingles, &vocabulary, width, seed, work)
    }

    pub(crate) fn of_shingles(
        shingles: &Shingles<'_>,
        vocabulary: &Vocabulary,
        width: Width,
        seed: u64,
        work: &mut Work,
    ) -> Self {
        let constants = constants(seed);
        let mut places = vec![u64::MAX; SIGNATURE_PLACES];
        for shingle in shingles.iter() {
            // Of the words themselves, for numbers differ between vocabularies. The length keeps ("ab", "c") from ("a", "bc").
            let hash = shingle.iter().fold(seed, |hash, word| {
                let word = vocabulary.word(*word);
                work.add(word.len());
                xxh3_64_with_seed(word.as_bytes(), mix(hash))
            });
            work.add(SIGNATURE_PLACES);
            for (place, constant) in places.iter_mut().zip(&constants) {
                *place = (*place).min(mix(hash ^ constant));
            }
        }
        Self {
            width_words: width.words(),
            seed,
            shingles: shingles.distinct(),
            places,
        }
    }

    /// Estimates the Jaccard similarity of the texts behind two signatures.
    ///
    /// # Errors
    /// [`AnalysisError::OtherSignature`] where widths, seeds or lengths differ.
    pub fn similarity(&self, other: &Self) -> Result<Estimate, AnalysisError> {
        if (self.width_words, self.seed, self.places.len())
            != (other.width_words, other.seed, other.places.len())
        {
            return Err(AnalysisError::OtherSignature);
        }
        if self.shingles == 0 && other.shingles == 0 {
            return Ok(Estimate {
                value: 1.0,
                standard_error: 0.0,
            });
        }
        let pairs = self.places.iter().zip(&other.places);
        let agree = pairs.filter(|(mine, theirs)| mine == theirs).count();
        let value = share(agree, self.places.len());
        Ok(Estimate {
            value,
            standard_error: (value * (1.0 - value) / real(self.places.len().max(1))).sqrt(),
        })
    }
}

/// An estimated similarity.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// The estimate, 0..1.
    pub value: f64,
    /// Its standard error: two in three lie nearer to the truth than this, nineteen in twenty nearer than twice this.
    pub standard_error: f64,
}

/// The constants of the places: consecutive outputs of splitmix64.
fn constants(seed: u64) -> Vec<u64> {
    const STEP: u64 = 0x9e37_79b9_7f4a_7c15;
    (1..=SIGNATURE_PLACES)
        .scan(seed, |state, _| {
            *state = state.wrapping_add(STEP);
            Some(mix(*state))
        })
        .collect()
}

const fn mix(mut value: u64) -> u64 {
    value = (value ^ (value >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value = (value ^ (value >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ (value >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(range: std::ops::Range<u32>) -> String {
        range.map(|word| format!("w{word} ")).collect()
    }

    fn signature(raw: &str, seed: u64) -> Signature {
        let text = Text::new(raw).expect("within bounds");
        Signature::of(
            &text,
            Width::new(1).expect("1 is allowed"),
            seed,
            &mut Work::default(),
        )
    }

    #[test]
    fn estimates_are_near_the_truth_over_many_seeds() {
        // Overlaps of 1 000 words each: the truth is shared / (2000 - shared).
        for shared in [0_u32, 100, 500, 900, 1000] {
            let (one, other) = (words(0..1000), words(1000 - shared..2000 - shared));
            let truth = f64::from(shared) / f64::from(2000 - shared);
            let mut sum = 0.0;
            let seeds = 12_u32;
            for seed in 0..seeds {
                let seed = u64::from(seed);
                let found = signature(&one, seed)
                    .similarity(&signature(&other, seed))
                    .expect("one kind");
                let error = (truth * (1.0 - truth) / 256.0).sqrt();
                assert!(
                    (found.value - truth).abs() <= 4.5 * error + 1e-12,
                    "{shared}: {found:?}"
                );
                sum += found.value;
            }
            // The mean of twelve has a standard error of 0.032 / sqrt(12) at most.
            assert!((sum / f64::from(seeds) - truth).abs() < 0.03, "{shared}");
        }
    }

    #[test]
    fn only_signatures_of_one_kind_compare() {
        let one = signature("uno dos tres", 1);
        let other = signature("uno dos tres", 2);
        assert_eq!(one.similarity(&other), Err(AnalysisError::OtherSignature));
        assert_eq!(one.similarity(&one).map(|found| found.value), Ok(1.0));
    }

    #[test]
    fn a_signature_survives_its_journey() {
        let one = signature("uno dos tres cuatro", 9);
        let sent = serde_json::to_string(&one).expect("it is plain data");
        assert_eq!(
            serde_json::from_str::<Signature>(&sent).expect("it was just written"),
            one
        );
    }
}
