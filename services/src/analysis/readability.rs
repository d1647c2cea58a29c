//! Responsible for how easy a text reads, by the formulas of its language. It must never judge what it says.
//!
//! | Language | Formula | Source |
//! |---|---|---|
//! | English | `206.835 − 1.015 W/S − 84.6 Y/W` | R. Flesch, *A new readability yardstick* (1948) |
//! | Spanish | `206.835 − W/S − 62.3 Y/W` | F. Szigriszt Pazos, *Sistemas predictivos de legibilidad* (1993) |
//!
//! with `W` words, `S` sentences, `Y` syllables. Both say 100 for the easiest and 0 for the hardest ordinary prose, and leave that range
//! for odd texts; the score is cut to 0..100, the formula's own value is told beside. Spanish uses Szigriszt and not
//! Fernández Huerta (1959), of which two readings are in use, as its printed formula errs (G. Law, 2011). The levels are Flesch's for English
//! and, for Spanish, those of the INFLESZ scale (I. Barrio-Cantalejo and others, 2008).
//!
//! A text in another language has no score, but every text has LIX, which counts no syllables.

use serde::Serialize;

use super::language::Language;
use super::prepared::Prepared;
use super::syllable;
use super::vocabulary::Vocabulary;
use super::work::{Work, real, share};

/// How easy a text reads.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Readability {
    /// The formula's value, cut to 0..100: higher is easier.
    pub score: f64,
    /// The formula's own value.
    pub raw: f64,
    /// Its name: `flesch` or `szigriszt_pazos`.
    pub formula: &'static str,
    /// What the score means.
    pub level: Level,
    /// Syllables in all.
    pub syllables: usize,
    /// Syllables a word.
    pub syllables_per_word: f64,
}

/// Five steps of reading ease.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Level {
    /// Science, law, philosophy.
    VeryDifficult,
    /// Specialised press.
    Difficult,
    /// General press.
    Standard,
    /// Schooling to twelve or so.
    Easy,
    /// Primary school, comics.
    VeryEasy,
}

impl Level {
    const ORDER: [Self; 5] = [
        Self::VeryDifficult,
        Self::Difficult,
        Self::Standard,
        Self::Easy,
        Self::VeryEasy,
    ];

    fn of(score: f64, language: Language) -> Self {
        let bounds = match language {
            Language::Spanish => [40.0, 55.0, 65.0, 80.0],
            // Flesch's seven steps, the outer ones taken together.
            Language::English | Language::Other => [30.0, 60.0, 70.0, 90.0],
        };
        let step = bounds.iter().filter(|bound| score >= **bound).count();
        Self::ORDER.get(step).copied().unwrap_or(Self::VeryEasy)
    }
}

impl Readability {
    /// The readability of a text; `None` without words or without a formula for its language.
    pub(crate) fn of(
        prepared: &Prepared,
        vocabulary: &Vocabulary,
        language: Language,
        work: &mut Work,
    ) -> Option<Self> {
        let (words, sentences) = (prepared.words.len(), prepared.sentence_words.len());
        if words == 0 || sentences == 0 {
            return None;
        }
        let mut syllables = 0;
        for word in &prepared.words {
            let word = vocabulary.word(*word);
            work.add(word.len());
            syllables += syllable::count(word, language)?;
        }
        let syllables_per_word = share(syllables, words);
        let sentence_words = share(words, sentences);
        let (formula, raw) = match language {
            Language::English => (
                "flesch",
                206.835 - 1.015 * sentence_words - 84.6 * syllables_per_word,
            ),
            Language::Spanish => (
                "szigriszt_pazos",
                206.835 - sentence_words - 62.3 * syllables_per_word,
            ),
            Language::Other => return None,
        };
        let score = raw.clamp(0.0, 100.0);
        Some(Self {
            score,
            raw,
            formula,
            level: Level::of(score, language),
            syllables,
            syllables_per_word,
        })
    }
}

/// LIX: words a sentence, plus the percentage of words of more than six letters. About 25 for children's books, 55 and more for
/// official prose. 0 without words.
///
/// # Source
/// C. H. Björnsson, *Läsbarhet* (1968).
pub(crate) fn lix(prepared: &Prepared) -> f64 {
    let words = prepared.words.len();
    if prepared.sentence_words.is_empty() {
        return 0.0;
    }
    share(words, prepared.sentence_words.len()) + 100.0 * share(prepared.long_words, words)
}

/// LIX as 0..1, where 1 is a LIX of 80 or more.
pub(crate) fn complexity(lix: f64) -> f64 {
    const LIX_HARDEST: f64 = 80.0;
    (lix / LIX_HARDEST).clamp(0.0, 1.0)
}

/// The mean and the largest number of words a sentence.
pub(crate) fn sentence_lengths(prepared: &Prepared) -> (f64, usize) {
    let longest = prepared.sentence_words.iter().copied().max().unwrap_or(0);
    let sentences = prepared.sentence_words.len().max(1);
    (real(prepared.words.len()) / real(sentences), longest)
}

#[cfg(test)]
mod tests {
    use super::super::text::Text;
    use super::*;

    fn read(raw: &str, language: Language) -> Option<Readability> {
        let text = Text::new(raw).expect("within bounds");
        let mut work = Work::default();
        let mut vocabulary = Prepared::vocabulary(&[&text], 0);
        let prepared = Prepared::of(&text, &mut vocabulary, &mut work);
        Readability::of(&prepared, &vocabulary, language, &mut work)
    }

    #[test]
    fn formulas_give_what_a_hand_computes() {
        let found = read("The cat sat on the mat.", Language::English).expect("it has words");
        assert_eq!(found.syllables, 6);
        assert!((found.raw - (206.835 - 1.015 * 6.0 - 84.6)).abs() < 1e-9);
        assert_eq!((found.formula, found.level), ("flesch", Level::VeryEasy));
        // la ca-sa es muy bo-ni-ta: 8 syllables, 5 words, 1 sentence.
        let found = read("La casa es muy bonita.", Language::Spanish).expect("it has words");
        assert_eq!(found.syllables, 8);
        assert!((found.raw - (206.835 - 5.0 - 62.3 * 8.0 / 5.0)).abs() < 1e-9);
        assert_eq!(
            (found.formula, found.level),
            ("szigriszt_pazos", Level::VeryEasy)
        );
    }

    #[test]
    fn official_prose_reads_harder_than_a_tale() {
        let tale = read(
            "El gato duerme. El perro corre. La niña ríe y canta.",
            Language::Spanish,
        );
        let law = read(
            "La responsabilidad administrativa correspondiente a las infracciones presupuestarias establecidas reglamentariamente \
             será exigible conforme a las disposiciones procedimentales vigentes.",
            Language::Spanish,
        );
        let (tale, law) = (tale.expect("words"), law.expect("words"));
        assert!(tale.score > 80.0 && law.score < 20.0, "{tale:?} {law:?}");
        assert_eq!(law.level, Level::VeryDifficult);
    }

    #[test]
    fn no_formula_no_score() {
        assert_eq!(read("Дом стоит у моря.", Language::Other), None);
        assert_eq!(read("..............", Language::English), None);
    }

    #[test]
    fn scores_stay_in_range() {
        let long = format!("{}.", "extraordinariamente ".repeat(500));
        for language in [Language::English, Language::Spanish] {
            let found = read(&long, language).expect("it has words");
            assert!((0.0..=100.0).contains(&found.score));
            assert!(found.raw < 0.0);
        }
    }
}
