//! Responsible for guessing a text's language from its function words, and for leaving such words out. It must never know grammar.
//!
//! Four languages that share words with Spanish or English are listed too, only so that their texts are not taken for either. A word
//! counts for every language that lists it; the guess is the language with the most, if it has a twentieth of the text's words and a
//! tenth more than the next.

use serde::{Deserialize, Serialize};

use super::prepared::Prepared;
use super::vocabulary::Vocabulary;
use super::work::Work;

/// The languages for which readability is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Language {
    /// Español.
    #[serde(alias = "es")]
    Spanish,
    /// English.
    #[serde(alias = "en")]
    English,
    /// Any other, or no evidence.
    Other,
}

/// In order of frequency; folded.
const SPANISH: &str = "de la que el en y a los se del las un por con no una su para es al lo como más pero sus le ya o este sí \
    porque esta entre cuando muy sin sobre también me hasta hay donde quien desde todo nos durante todos uno les ni contra otros ese eso \
    ante ellos e esto mí antes algunos qué unos yo otro otras otra él tanto esa estos mucho quienes nada muchos cual poco ella estar \
    estas algunas algo nosotros mi mis tú te ti tu tus ellas os si son fue ser está están era han ha he";
const ENGLISH: &str = "the of and to a in is it you that he was for on are with as i his they be at one have this from or had by not \
    but what some we can out other were all there when up use your how said an each she which do their if will way about many then \
    them would so these her has him my than been who its our no me us into any only also could should because while where after";
const PORTUGUESE: &str = "de a o que e do da em um para é com não uma os no se na por mais as dos como mas foi ao ele das tem à seu \
    sua ou ser quando muito há nos já está eu também só pelo pela até isso ela entre era depois sem mesmo aos ter seus quem nas me \
    esse eles estão você tinha foram essa num nem suas meu às minha têm numa pelos elas havia seja qual será nós tenho";
const FRENCH: &str = "de la le et les des en un du une que est pour qui dans a par plus pas au sur ne se ce il sont la mais comme ou \
    si leur y dont elle cette avec tout nous sa ses aux même ces été être fait deux ont son sans je vous on lui aussi bien peut";
const ITALIAN: &str = "di e il la che in a per un è del non una sono le si da con i al della come più ma anche lo gli dei alla nel \
    delle ha o se questo suo essere sua ho dal ed era ci nella mi cui loro dalla degli perché tra stato quando";
const GERMAN: &str = "der die und in den von zu das mit sich des auf für ist im dem nicht ein eine als auch es an werden aus er hat \
    dass sie nach wird bei einer um am sind noch wie einem über einen so zum war haben nur oder aber vor zur bis mehr durch";

const LISTED: [(Language, &str); 6] = [
    (Language::Spanish, SPANISH),
    (Language::English, ENGLISH),
    (Language::Other, PORTUGUESE),
    (Language::Other, FRENCH),
    (Language::Other, ITALIAN),
    (Language::Other, GERMAN),
];

impl Language {
    /// Guesses the language of a text.
    pub(crate) fn of(prepared: &Prepared, vocabulary: &Vocabulary, work: &mut Work) -> Self {
        let counts = prepared.counts(vocabulary.len(), work);
        Self::of_counts(&counts, vocabulary, work)
    }

    /// Guesses the language of two texts together.
    pub(crate) fn of_two(texts: &[Prepared; 2], vocabulary: &Vocabulary, work: &mut Work) -> Self {
        let [first, second] = texts
            .each_ref()
            .map(|text| text.counts(vocabulary.len(), work));
        let counts: Vec<u32> = first.iter().zip(&second).map(|(a, b)| a + b).collect();
        Self::of_counts(&counts, vocabulary, work)
    }

    fn of_counts(counts: &[u32], vocabulary: &Vocabulary, work: &mut Work) -> Self {
        let mut hits = [0_u64; LISTED.len()];
        let mut words = 0_u64;
        for (number, count) in (0_u32..).zip(counts) {
            let count = u64::from(*count);
            words += count;
            let word = vocabulary.word(number);
            work.add(LISTED.len());
            for (hit, (_, list)) in hits.iter_mut().zip(LISTED) {
                *hit += if lists(list, word) { count } else { 0 };
            }
        }
        let mut order: Vec<(u64, Self)> = hits
            .into_iter()
            .zip(LISTED.map(|(language, _)| language))
            .collect();
        order.sort_by_key(|(hits, _)| std::cmp::Reverse(*hits));
        let (best, language) = order.first().copied().unwrap_or((0, Self::Other));
        let next = order.get(1).map_or(0, |(hits, _)| *hits);
        if best * 20 >= words.max(1) && best * 10 >= next * 11 {
            language
        } else {
            Self::Other
        }
    }

    /// Whether a folded word only joins others in this language.
    pub(crate) fn is_function_word(self, word: &str) -> bool {
        LISTED
            .iter()
            .any(|(language, list)| *language == self && self != Self::Other && lists(list, word))
    }
}

/// Whether a list holds a word. Lists have about a hundred words of a few letters, so that a look costs a constant.
fn lists(list: &str, word: &str) -> bool {
    const LISTED_BYTES_MAX: usize = 12;
    word.len() <= LISTED_BYTES_MAX && list.split_whitespace().any(|listed| listed == word)
}

#[cfg(test)]
mod tests {
    use super::super::text::Text;
    use super::*;

    fn guess(raw: &str) -> Language {
        let text = Text::new(raw).expect("within bounds");
        let mut work = Work::default();
        let mut vocabulary = Prepared::vocabulary(&[&text], 0);
        let prepared = Prepared::of(&text, &mut vocabulary, &mut work);
        Language::of(&prepared, &vocabulary, &mut work)
    }

    #[test]
    fn languages_are_told_apart() {
        let rows = [
            (
                "La casa de mi abuela está cerca del mar y es muy bonita.",
                Language::Spanish,
            ),
            (
                "El informe trimestral muestra que las ventas crecieron.",
                Language::Spanish,
            ),
            (
                "The house of my grandmother is near the sea and it is pretty.",
                Language::English,
            ),
            (
                "We have seen that sales grew in the last quarter.",
                Language::English,
            ),
            (
                "A casa da minha avó fica perto do mar e é muito bonita, não é?",
                Language::Other,
            ),
            (
                "La maison de ma grand-mère est près de la mer et elle est jolie.",
                Language::Other,
            ),
            (
                "La casa di mia nonna è vicino al mare ed è molto bella.",
                Language::Other,
            ),
            (
                "Das Haus meiner Großmutter ist nahe am Meer und es ist schön.",
                Language::Other,
            ),
            ("Дом моей бабушки стоит у моря.", Language::Other),
            ("lorem ipsum dolor sit amet consectetur", Language::Other),
            ("12345 67890 !!!", Language::Other),
        ];
        for (raw, expected) in rows {
            assert_eq!(guess(raw), expected, "{raw}");
        }
    }

    #[test]
    fn only_known_languages_have_function_words() {
        assert!(Language::Spanish.is_function_word("también"));
        assert!(!Language::Spanish.is_function_word("the"));
        assert!(Language::English.is_function_word("the"));
        assert!(!Language::Other.is_function_word("the"));
    }
}
