//! Responsible for what the Content Redundancy Detector computes of texts: counts, repetition, resemblance, readability, quality. It must
//! never know requests, stores or models.
//!
//! Everything takes time linear in the text, whatever the text: [`Analysis::steps`] counts the steps, and a property holds them to
//! [`STEPS_PER_BYTE_MAX`]. Words, characters and case are Unicode's; readability knows Spanish and English.
//!
//! ```
//! use ultrakv_services::analysis::{Options, Text, analyze};
//!
//! let text = Text::new("Más vale tarde que nunca. Más vale tarde que nunca.")?;
//! let found = analyze(&text, &Options::default())?;
//! assert_eq!((found.word_count, found.sentence_count, found.unique_words), (10, 2, 5));
//! // Of the eight shingles of three words, three already occurred.
//! assert_eq!(found.redundancy_score, 0.375);
//! # Ok::<(), ultrakv_services::analysis::AnalysisError>(())
//! ```

mod language;
mod message;
mod minhash;
mod prepared;
mod quality;
mod readability;
mod report;
mod shingle;
mod similarity;
mod structure;
mod syllable;
mod text;
mod vocabulary;
mod work;

pub use language::Language;
pub use message::Tongue;
pub use minhash::{Estimate, SIGNATURE_PLACES, Signature};
pub use quality::{Rating, Suggestion};
pub use readability::{Level, Readability};
pub use report::{
    Analysis, Options, QualityReport, REPEATED_MAX, THRESHOLD_DEFAULT, analyze, quality,
};
pub use shingle::{SHINGLE_WORDS_DEFAULT, SHINGLE_WORDS_MAX, Width};
pub use similarity::{COMMON_WORDS_MAX, CommonWord, EXACT_SHINGLES_MAX, Similarity, similarity};
pub use text::{AnalysisError, TEXT_CHARACTERS_MAX, TEXT_CHARACTERS_MIN, Text};
pub use work::Work;

/// Most steps that [`analyze`] or [`quality`] takes for a byte of text: some ten passes, the tables' probes, and the looks into six lists
/// of words.
pub const STEPS_PER_BYTE_MAX: u64 = 64;

#[cfg(test)]
mod tests;
