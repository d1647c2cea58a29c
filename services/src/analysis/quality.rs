//! Responsible for one rating of a text, and for what would better it. It must never rewrite anything.
//!
//! `quality = 0.35 ease + 0.35 freshness + 0.15 variety + 0.15 rhythm`, each 0..100:
//! - *ease*: readability; 50 where the language has no formula;
//! - *freshness*: `100 (1 − min(1, 2 redundancy))`, so that a text half of which repeats has none;
//! - *variety*: distinct words over words, against what a text of that length usually has: `min(1, V / (1.3 n^0.75))`, for a
//!   vocabulary grows about so with length (Herdan's and Heaps' law);
//! - *rhythm*: 100 up to a mean of 20 words a sentence, 0 from 45, straight between.
//!
//! The weights are this house's judgement, stated so that they can be argued with.

use serde::Serialize;

use super::language::Language;
use super::prepared::Prepared;
use super::readability::{Readability, sentence_lengths};
use super::work::{real, share};

/// Four steps of quality.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Rating {
    /// Below 40.
    Poor,
    /// From 40.
    Fair,
    /// From 60.
    Good,
    /// From 80.
    Excellent,
}

impl Rating {
    /// The rating of a score 0..100.
    #[must_use]
    pub fn of(score: f64) -> Self {
        match score {
            score if score >= 80.0 => Self::Excellent,
            score if score >= 60.0 => Self::Good,
            score if score >= 40.0 => Self::Fair,
            _ => Self::Poor,
        }
    }
}

/// What would better a text. Programs branch on the code, readers get [`Suggestion::message`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Suggestion {
    /// The text has no words.
    AddWords,
    /// Fewer than 50 words.
    AddDetail,
    /// More than a fifth of its shingles repeat.
    RemoveRepetition,
    /// Its distinct words are less than half of what is usual.
    VaryVocabulary,
    /// More than 25 words a sentence in the mean.
    ShortenSentences,
    /// A sentence of more than 50 words.
    SplitLongestSentence,
    /// More than two syllables a word (English) or two and a half (Spanish).
    UseSimplerWords,
    /// More than 200 words in one paragraph in the mean.
    SplitParagraphs,
    /// Mostly capitals.
    AvoidCapitals,
    /// The language has no readability formula here.
    LanguageUnknown,
}

/// The score and what would raise it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Quality {
    pub(crate) score: f64,
    pub(crate) suggestions: Vec<Suggestion>,
}

impl Quality {
    pub(crate) fn of(
        prepared: &Prepared,
        distinct: usize,
        redundancy: f64,
        language: Language,
        readability: Option<&Readability>,
    ) -> Self {
        let words = prepared.words.len();
        if words == 0 {
            return Self {
                score: 0.0,
                suggestions: vec![Suggestion::AddWords],
            };
        }
        let (mean, longest) = sentence_lengths(prepared);
        let variety = (real(distinct) / (1.3 * real(words).powf(0.75))).min(1.0);
        let ease = readability.map_or(50.0, |readability| readability.score);
        let freshness = 100.0 * (1.0 - (2.0 * redundancy).min(1.0));
        let rhythm = (100.0 * (45.0 - mean) / 25.0).clamp(0.0, 100.0);
        let syllables_many = if language == Language::Spanish {
            2.5
        } else {
            2.0
        };
        let tests = [
            (words < 50, Suggestion::AddDetail),
            (redundancy > 0.2, Suggestion::RemoveRepetition),
            (variety < 0.5, Suggestion::VaryVocabulary),
            (mean > 25.0, Suggestion::ShortenSentences),
            (longest > 50, Suggestion::SplitLongestSentence),
            (
                readability.is_some_and(|found| found.syllables_per_word > syllables_many),
                Suggestion::UseSimplerWords,
            ),
            (
                share(words, prepared.paragraphs) > 200.0,
                Suggestion::SplitParagraphs,
            ),
            (
                prepared.letters > 20 && share(prepared.capitals, prepared.letters) > 0.5,
                Suggestion::AvoidCapitals,
            ),
            (language == Language::Other, Suggestion::LanguageUnknown),
        ];
        Self {
            score: 0.35 * ease + 0.35 * freshness + 0.15 * 100.0 * variety + 0.15 * rhythm,
            suggestions: tests
                .into_iter()
                .filter_map(|(applies, suggestion)| applies.then_some(suggestion))
                .collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ratings_follow_the_score() {
        let rows = [
            (0.0, Rating::Poor),
            (39.9, Rating::Poor),
            (40.0, Rating::Fair),
            (60.0, Rating::Good),
            (80.0, Rating::Excellent),
            (100.0, Rating::Excellent),
        ];
        for (score, expected) in rows {
            assert_eq!(Rating::of(score), expected, "{score}");
        }
    }
}
