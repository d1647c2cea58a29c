//! Responsible for how much two texts resemble each other. It must never judge which is the copy.

use serde::Serialize;

use super::language::Language;
use super::minhash::Signature;
use super::prepared::Prepared;
use super::report::Options;
use super::shingle::{Shingles, Width};
use super::text::{AnalysisError, Text};
use super::vocabulary::Vocabulary;
use super::work::{Work, share};

/// Up to this many distinct shingles in the two texts together, similarity is counted and not estimated. Counting is linear too, but
/// needs both texts' shingles at once; above, the estimate's error is below what readers notice.
pub const EXACT_SHINGLES_MAX: usize = 4096;
/// Most common words told.
pub const COMMON_WORDS_MAX: usize = 20;

/// Two texts compared.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Similarity {
    /// Jaccard similarity of the texts' shingles, 0..1.
    pub similarity_score: f64,
    /// Its standard error: 0 where `exact`.
    pub standard_error: f64,
    /// Whether the score was counted and not estimated.
    pub exact: bool,
    /// Whether the score reaches the threshold asked for.
    pub is_similar: bool,
    /// That threshold.
    pub threshold: f64,
    /// Words a shingle really used: fewer than asked for where a text has fewer.
    pub shingle_words: usize,
    /// Jaccard similarity of the texts' words, order and number disregarded.
    pub word_similarity: f64,
    /// Words that both texts use, function words left out; the most used first.
    pub common_words: Vec<CommonWord>,
    /// Elementary steps taken.
    pub steps: u64,
}

/// A word of a text, or of two.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CommonWord {
    /// The word, folded.
    pub word: String,
    /// How often it occurs; of two texts, in the one that has it less often.
    pub count: u32,
}

/// Compares two texts.
///
/// # Errors
/// [`AnalysisError::BadThreshold`].
pub fn similarity(
    one: &Text,
    other: &Text,
    options: &Options,
) -> Result<Similarity, AnalysisError> {
    options.check()?;
    let seed = options.table_seed;
    let mut work = Work::default();
    let mut vocabulary = Prepared::vocabulary(&[one, other], seed);
    let prepared = [
        Prepared::of(one, &mut vocabulary, &mut work),
        Prepared::of(other, &mut vocabulary, &mut work),
    ];
    let [first, second] = &prepared;
    let shortest = first.words.len().min(second.words.len()).max(1);
    let width = Width::new(options.width.words().min(shortest))?;
    let ours = Shingles::of(&first.words, width, seed, &mut work);
    let theirs = Shingles::of(&second.words, width, seed, &mut work);
    let (score, standard_error, exact) =
        if ours.distinct() + theirs.distinct() <= EXACT_SHINGLES_MAX {
            let shared = ours.shared_with(&theirs, seed, &mut work);
            (
                jaccard(shared, ours.distinct(), theirs.distinct()),
                0.0,
                true,
            )
        } else {
            let sign = |shingles: &Shingles<'_>, work: &mut Work| {
                Signature::of_shingles(shingles, &vocabulary, width, options.signature_seed, work)
            };
            let mine = sign(&ours, &mut work);
            let estimate = mine.similarity(&sign(&theirs, &mut work))?;
            (estimate.value, estimate.standard_error, false)
        };
    let counts = prepared
        .each_ref()
        .map(|text| text.counts(vocabulary.len(), &mut work));
    let language = options
        .language
        .unwrap_or_else(|| Language::of_two(&prepared, &vocabulary, &mut work));
    let [first_counts, second_counts] = &counts;
    let used = |counts: &[u32]| counts.iter().filter(|count| **count > 0).count();
    let both: Vec<u32> = first_counts
        .iter()
        .zip(second_counts)
        .map(|(a, b)| *a.min(b))
        .collect();
    Ok(Similarity {
        similarity_score: score,
        standard_error,
        exact,
        is_similar: score >= options.threshold,
        threshold: options.threshold,
        shingle_words: width.words(),
        word_similarity: jaccard(used(&both), used(first_counts), used(second_counts)),
        common_words: most_common(&both, &vocabulary, language, &mut work),
        steps: work.steps(),
    })
}

/// Jaccard similarity of sets of these sizes. Two empty sets are alike.
fn jaccard(shared: usize, ours: usize, theirs: usize) -> f64 {
    let union = ours + theirs - shared;
    if union == 0 {
        1.0
    } else {
        share(shared, union)
    }
}

/// The words with the highest counts, function words left out; equal counts by order of first use.
pub(crate) fn most_common(
    counts: &[u32],
    vocabulary: &Vocabulary,
    language: Language,
    work: &mut Work,
) -> Vec<CommonWord> {
    let mut best: Vec<(u32, u32)> = Vec::with_capacity(COMMON_WORDS_MAX + 1);
    for (number, count) in (0_u32..).zip(counts).filter(|(_, count)| **count > 0) {
        work.add(1);
        let at = best.partition_point(|(_, other)| other >= count);
        if at < COMMON_WORDS_MAX && !language.is_function_word(vocabulary.word(number)) {
            best.insert(at, (number, *count));
            best.truncate(COMMON_WORDS_MAX);
        }
    }
    best.into_iter()
        .map(|(number, count)| CommonWord {
            word: vocabulary.word(number).to_owned(),
            count,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn compare(one: &str, other: &str) -> Similarity {
        let text = |raw| Text::new(raw).expect("within bounds");
        similarity(&text(one), &text(other), &Options::default()).expect("the options are good")
    }

    #[test]
    fn exact_where_texts_are_short() {
        let found = compare("the red house by the sea", "the red house by the lake");
        // Four shingles each, three shared.
        assert!(found.exact);
        assert!((found.similarity_score - 3.0 / 5.0).abs() < 1e-12);
        assert!(!found.is_similar);
        let words: Vec<&str> = found
            .common_words
            .iter()
            .map(|word| word.word.as_str())
            .collect();
        assert_eq!(words, ["red", "house"]);
    }

    #[test]
    fn form_and_case_do_not_matter() {
        let found = compare("CANCIÓN DE CUNA para ti", "cancio\u{301}n de cuna PARA TI");
        assert!((found.similarity_score - 1.0).abs() < 1e-12);
        assert!(found.is_similar);
    }

    #[test]
    fn texts_shorter_than_a_shingle_still_compare() {
        let found = compare(
            "constitucionalmente",
            "constitucionalmente hablando claro y alto",
        );
        assert_eq!(found.shingle_words, 1);
        assert!((found.similarity_score - 0.2).abs() < 1e-12);
        let none = compare("!!!!!!!!!!!!", "............");
        assert!((none.similarity_score - 1.0).abs() < 1e-12);
    }

    #[test]
    fn long_texts_are_estimated_near_the_count() {
        let words =
            |range: std::ops::Range<u32>| range.map(|word| format!("w{word} ")).collect::<String>();
        let found = compare(&words(0..6000), &words(2000..8000));
        assert!(!found.exact);
        let truth = 3998.0 / (2.0 * 5998.0 - 3998.0);
        assert!(
            (found.similarity_score - truth).abs() < 4.0 * 0.032,
            "{found:?}"
        );
        assert!(found.standard_error > 0.0);
    }

    #[test]
    fn bad_thresholds_are_refused() {
        let text = Text::new("ten characters").expect("long enough");
        for threshold in [-0.1, 1.1, f64::NAN] {
            let options = Options {
                threshold,
                ..Options::default()
            };
            let code = similarity(&text, &text, &options)
                .err()
                .map(|error| error.code());
            assert_eq!(code, Some("threshold_out_of_range"));
        }
    }

    proptest! {
        #[test]
        fn symmetric_and_one_with_itself(one in "[a-cñ .]{0,200}", other in "\\PC{0,200}") {
            let (one, other) = (format!("un principio {one}"), format!("un principio {other}"));
            let (there, back) = (compare(&one, &other), compare(&other, &one));
            prop_assert_eq!(there.similarity_score, back.similarity_score);
            prop_assert_eq!(there.word_similarity, back.word_similarity);
            prop_assert!((0.0..=1.0).contains(&there.similarity_score));
            prop_assert_eq!(compare(&one, &one).similarity_score, 1.0);
            prop_assert_eq!(compare(&other, &other).similarity_score, 1.0);
        }
    }
}
