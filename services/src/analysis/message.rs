//! Responsible for what readers are told of each suggestion, in Spanish and English: one table. It must never decide when.

use super::quality::Suggestion;

/// The language a reader is told things in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Tongue {
    /// Español.
    Spanish,
    /// English.
    #[default]
    English,
}

impl Suggestion {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::AddWords,
        Self::AddDetail,
        Self::RemoveRepetition,
        Self::VaryVocabulary,
        Self::ShortenSentences,
        Self::SplitLongestSentence,
        Self::UseSimplerWords,
        Self::SplitParagraphs,
        Self::AvoidCapitals,
        Self::LanguageUnknown,
    ];

    /// A stable name for programs.
    #[must_use]
    pub const fn code(self) -> &'static str {
        self.row().0
    }

    /// What a reader is told.
    #[must_use]
    pub const fn message(self, tongue: Tongue) -> &'static str {
        let (_, spanish, english) = self.row();
        match tongue {
            Tongue::Spanish => spanish,
            Tongue::English => english,
        }
    }

    const fn row(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::AddWords => (
                "add_words",
                "El texto no tiene palabras.",
                "The text has no words.",
            ),
            Self::AddDetail => (
                "add_detail",
                "El texto es muy corto: añada detalles o ejemplos.",
                "The text is very short: add details or examples.",
            ),
            Self::RemoveRepetition => (
                "remove_repetition",
                "Hay pasajes que se repiten: deje cada idea una sola vez.",
                "Some passages repeat: say each idea once.",
            ),
            Self::VaryVocabulary => (
                "vary_vocabulary",
                "Se usan siempre las mismas palabras: varíe el vocabulario.",
                "The same words come again and again: vary them.",
            ),
            Self::ShortenSentences => (
                "shorten_sentences",
                "Las frases son largas: procure no pasar de veinte palabras.",
                "Sentences are long: aim at twenty words or fewer.",
            ),
            Self::SplitLongestSentence => (
                "split_longest_sentence",
                "Hay una frase de más de cincuenta palabras: divídala.",
                "One sentence has more than fifty words: split it.",
            ),
            Self::UseSimplerWords => (
                "use_simpler_words",
                "Las palabras son largas: busque otras más sencillas.",
                "Words are long: look for simpler ones.",
            ),
            Self::SplitParagraphs => (
                "split_paragraphs",
                "Los párrafos son largos: dé a cada idea el suyo.",
                "Paragraphs are long: give each idea its own.",
            ),
            Self::AvoidCapitals => (
                "avoid_capitals",
                "Casi todo está en mayúsculas: se lee peor.",
                "Almost everything is in capitals, which reads worse.",
            ),
            Self::LanguageUnknown => (
                "language_unknown",
                "No se reconoce el idioma, así que no se mide la legibilidad: indíquelo si es español o inglés.",
                "The language is not recognised, so readability is not measured: name it if it is Spanish or English.",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_suggestion_has_its_own_code_and_says_it_in_both_tongues() {
        let codes: BTreeSet<&str> = Suggestion::ALL
            .iter()
            .map(|suggestion| suggestion.code())
            .collect();
        assert_eq!(codes.len(), Suggestion::ALL.len());
        for suggestion in Suggestion::ALL {
            let sent = serde_json::to_string(&suggestion).expect("plain data");
            assert_eq!(sent, format!("\"{}\"", suggestion.code()));
            let (spanish, english) = (
                suggestion.message(Tongue::Spanish),
                suggestion.message(Tongue::English),
            );
            assert!(!spanish.is_empty() && !english.is_empty() && spanish != english);
        }
    }
}
