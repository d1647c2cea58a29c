//! Responsible for counting the syllables of a word in a language whose rules are known. It must never know sentences.

mod english;
mod spanish;

use super::language::Language;

/// The syllables of a folded word, at least 1; `None` where the language has no rules here. Figures count as one syllable a digit, for
/// about so long does a reader take.
pub(crate) fn count(word: &str, language: Language) -> Option<usize> {
    let digits = word.chars().filter(char::is_ascii_digit).count();
    let spoken = match language {
        Language::Spanish => spanish::count(word),
        Language::English => english::count(word),
        Language::Other => return None,
    };
    Some((spoken + digits).max(1))
}
