//! Responsible for the two answers about one text, [`analyze`] and [`quality`], and for what may be wished of them. It must never know
//! who asks.

use md5::{Digest, Md5};
use serde::Serialize;

use super::language::Language;
use super::prepared::Prepared;
use super::quality::{Quality, Rating, Suggestion};
use super::readability::{Readability, complexity, lix, sentence_lengths};
use super::shingle::{Shingles, Width};
use super::similarity::{CommonWord, most_common};
use super::text::{AnalysisError, Text};
use super::vocabulary::Vocabulary;
use super::work::{Work, share};

/// Most repeated passages told.
pub const REPEATED_MAX: usize = 5;
/// The threshold where none is asked for, as the original documents it.
pub const THRESHOLD_DEFAULT: f64 = 0.8;

/// What may be wished of an analysis.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Options {
    /// Words a shingle.
    pub width: Width,
    /// From which score a text is redundant, or two are similar: 0..1.
    pub threshold: f64,
    /// The text's language; guessed where it is not given.
    pub language: Option<Language>,
    /// Where words lie in tables. It changes no result. Where callers are not trusted, a secret of the process: then nobody can choose
    /// words that meet.
    pub table_seed: u64,
    /// What signatures are made with. One everywhere, or signatures do not compare.
    pub signature_seed: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            width: Width::default(),
            threshold: THRESHOLD_DEFAULT,
            language: None,
            table_seed: 0,
            signature_seed: 0x756c_7472_616b_7631,
        }
    }
}

impl Options {
    pub(crate) fn check(&self) -> Result<(), AnalysisError> {
        if (0.0..=1.0).contains(&self.threshold) {
            return Ok(());
        }
        Err(AnalysisError::BadThreshold {
            threshold: self.threshold,
        })
    }
}

/// What a text is made of and how much of it repeats.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Analysis {
    /// MD5 of the composed text in UTF-8, as the original documents it: an identifier, no safeguard.
    pub content_hash: String,
    /// Words.
    pub word_count: usize,
    /// Characters as a reader counts them.
    pub character_count: usize,
    /// Sentences.
    pub sentence_count: usize,
    /// Paragraphs.
    pub paragraph_count: usize,
    /// Distinct words, case and form disregarded.
    pub unique_words: usize,
    /// The fraction of shingles that already occurred, 0..1.
    pub redundancy_score: f64,
    /// Whether that reaches the threshold asked for.
    pub is_redundant: bool,
    /// That threshold.
    pub threshold: f64,
    /// Words a shingle.
    pub shingle_words: usize,
    /// The passages of that many words that repeat most.
    pub repeated: Vec<CommonWord>,
    /// The most used words, function words left out.
    pub common_words: Vec<CommonWord>,
    /// The language given or guessed.
    pub language: Language,
    /// Elementary steps taken.
    pub steps: u64,
}

/// How well a text reads.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct QualityReport {
    /// Reading ease, 0..100; `None` where the language has no formula here.
    pub readability_score: Option<f64>,
    /// How that was computed.
    pub readability: Option<Readability>,
    /// How heavy the prose is, 0..1, by LIX over 80.
    pub complexity_score: f64,
    /// LIX itself.
    pub lix: f64,
    /// The rating's score, 0..100.
    pub quality_score: f64,
    /// The rating.
    pub quality_rating: Rating,
    /// What would raise it.
    pub suggestions: Vec<Suggestion>,
    /// The fraction of shingles that already occurred, 0..1.
    pub redundancy_score: f64,
    /// Words a sentence in the mean.
    pub sentence_words_mean: f64,
    /// Words of the longest sentence.
    pub sentence_words_max: usize,
    /// Distinct words over words, 0..1.
    pub unique_ratio: f64,
    /// The language given or guessed.
    pub language: Language,
    /// Elementary steps taken.
    pub steps: u64,
}

/// Counts a text's parts and measures how much of it repeats.
///
/// # Errors
/// [`AnalysisError::BadThreshold`].
pub fn analyze(text: &Text, options: &Options) -> Result<Analysis, AnalysisError> {
    options.check()?;
    let mut work = Work::default();
    let (prepared, vocabulary, language) = take_apart(text, options, &mut work);
    let shingles = Shingles::of(
        &prepared.words,
        options.width,
        options.table_seed,
        &mut work,
    );
    let redundancy_score = shingles.redundancy();
    let repeated = shingles.repeated(REPEATED_MAX, &mut work);
    let counts = prepared.counts(vocabulary.len(), &mut work);
    work.add(text.composed().len());
    Ok(Analysis {
        content_hash: hex(&Md5::digest(text.composed().as_bytes())),
        word_count: prepared.words.len(),
        character_count: prepared.characters,
        sentence_count: prepared.sentence_words.len(),
        paragraph_count: prepared.paragraphs,
        unique_words: vocabulary.len(),
        redundancy_score,
        is_redundant: shingles.total() > 0 && redundancy_score >= options.threshold,
        threshold: options.threshold,
        shingle_words: options.width.words(),
        repeated: repeated
            .into_iter()
            .map(|(shingle, count)| CommonWord {
                word: spell(shingle, &vocabulary),
                count,
            })
            .collect(),
        common_words: most_common(&counts, &vocabulary, language, &mut work),
        language,
        steps: work.steps(),
    })
}

/// Measures how well a text reads.
///
/// # Errors
/// [`AnalysisError::BadThreshold`].
pub fn quality(text: &Text, options: &Options) -> Result<QualityReport, AnalysisError> {
    options.check()?;
    let mut work = Work::default();
    let (prepared, vocabulary, language) = take_apart(text, options, &mut work);
    let shingles = Shingles::of(
        &prepared.words,
        options.width,
        options.table_seed,
        &mut work,
    );
    let redundancy_score = shingles.redundancy();
    let readability = Readability::of(&prepared, &vocabulary, language, &mut work);
    let distinct = vocabulary.len();
    let quality = Quality::of(
        &prepared,
        distinct,
        redundancy_score,
        language,
        readability.as_ref(),
    );
    let lix = lix(&prepared);
    let (sentence_words_mean, sentence_words_max) = sentence_lengths(&prepared);
    Ok(QualityReport {
        readability_score: readability.map(|readability| readability.score),
        readability,
        complexity_score: complexity(lix),
        lix,
        quality_score: quality.score,
        quality_rating: Rating::of(quality.score),
        suggestions: quality.suggestions,
        redundancy_score,
        sentence_words_mean,
        sentence_words_max,
        unique_ratio: share(distinct, prepared.words.len()),
        language,
        steps: work.steps(),
    })
}

fn take_apart(text: &Text, options: &Options, work: &mut Work) -> (Prepared, Vocabulary, Language) {
    let mut vocabulary = Prepared::vocabulary(&[text], options.table_seed);
    let prepared = Prepared::of(text, &mut vocabulary, work);
    let guess = |work: &mut Work| Language::of(&prepared, &vocabulary, work);
    let language = options.language.unwrap_or_else(|| guess(work));
    (prepared, vocabulary, language)
}

fn spell(shingle: &[u32], vocabulary: &Vocabulary) -> String {
    let words: Vec<&str> = shingle.iter().map(|word| vocabulary.word(*word)).collect();
    words.join(" ")
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
