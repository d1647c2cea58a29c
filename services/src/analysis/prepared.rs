//! Responsible for taking a text apart once: words by number, sentences, paragraphs, characters. It must never judge what it counts.

use unicode_segmentation::UnicodeSegmentation;

use super::structure::Structure;
use super::text::Text;
use super::vocabulary::Vocabulary;
use super::work::Work;

/// A word is long with more letters than this.
///
/// # Source
/// C. H. Björnsson, *Läsbarhet* (1968), the measure LIX.
const LONG_WORD_LETTERS: usize = 6;

/// A text taken apart.
#[derive(Debug)]
pub(crate) struct Prepared {
    /// Every word in order, as the vocabulary numbers it.
    pub(crate) words: Vec<u32>,
    /// Words of each sentence, in order; their sum is `words.len()`.
    pub(crate) sentence_words: Vec<usize>,
    pub(crate) paragraphs: usize,
    /// What a reader counts: extended grapheme clusters.
    pub(crate) characters: usize,
    pub(crate) letters: usize,
    pub(crate) capitals: usize,
    pub(crate) long_words: usize,
}

impl Prepared {
    /// Takes `text` apart.
    ///
    /// # Source
    /// UAX #29: extended grapheme clusters (section 3) and words (section 4). It cuts Chinese and Japanese mostly by character, and
    /// leaves runs of Thai or Lao whole, for those need a dictionary.
    pub(crate) fn of(text: &Text, vocabulary: &mut Vocabulary, work: &mut Work) -> Self {
        let composed = text.composed();
        let structure = Structure::of(composed, work);
        let mut prepared = Self {
            words: Vec::new(),
            sentence_words: Vec::with_capacity(structure.sentences.len()),
            paragraphs: structure.paragraphs,
            characters: composed.graphemes(true).count(),
            letters: 0,
            capitals: 0,
            long_words: 0,
        };
        work.add(composed.len());
        for letter in composed.chars().filter(|letter| letter.is_alphabetic()) {
            prepared.letters += 1;
            prepared.capitals += usize::from(letter.is_uppercase());
        }
        work.add(composed.len());
        for sentence in &structure.sentences {
            work.add(2 * sentence.len());
            let before = prepared.words.len();
            for word in sentence.unicode_words() {
                prepared.words.push(vocabulary.number(word, work));
                prepared.long_words += usize::from(word.chars().count() > LONG_WORD_LETTERS);
            }
            let words = prepared.words.len() - before;
            if words > 0 {
                prepared.sentence_words.push(words);
            }
        }
        prepared
    }

    /// A vocabulary with room for these texts: a word has a code point at least.
    pub(crate) fn vocabulary(texts: &[&Text], seed: u64) -> Vocabulary {
        // A code point may fold to three, but a word stays a word; composing may split a word only where a mark is put in between,
        // so the composed length bounds the number of words.
        let words_max = texts
            .iter()
            .map(|text| text.composed().chars().count())
            .sum();
        Vocabulary::new(words_max, seed)
    }

    /// How often each word occurs, by its number, for a vocabulary of `distinct` words.
    pub(crate) fn counts(&self, distinct: usize, work: &mut Work) -> Vec<u32> {
        work.add(self.words.len() + distinct);
        let mut counts = vec![0_u32; distinct];
        for word in &self.words {
            if let Some(count) = usize::try_from(*word)
                .ok()
                .and_then(|word| counts.get_mut(word))
            {
                *count += 1;
            }
        }
        counts
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prepare(raw: &str) -> Prepared {
        let text = Text::new(raw).expect("within bounds");
        let mut vocabulary = Prepared::vocabulary(&[&text], 0);
        Prepared::of(&text, &mut vocabulary, &mut Work::default())
    }

    #[test]
    fn counts_are_a_readers() {
        // Characters, words, sentences, paragraphs.
        let rows = [
            ("¡Hola, señor! ¿Cómo está?", 25, 4, 2, 1),
            ("nin\u{303}o pequen\u{303}o", 12, 2, 1, 1),
            ("👨‍👩‍👧 una familia feliz 🇪🇸", 21, 3, 1, 1),
            ("It's 3.50, don't worry. OK", 26, 5, 2, 1),
            ("你好世界。再见世界。！", 11, 8, 2, 1),
            ("Привет, мир! Как дела?", 22, 4, 2, 1),
            ("1234567890", 10, 1, 1, 1),
            ("..........", 10, 0, 0, 0),
        ];
        for (raw, characters, words, sentences, paragraphs) in rows {
            let found = prepare(raw);
            assert_eq!(found.characters, characters, "characters of {raw}");
            assert_eq!(found.words.len(), words, "words of {raw}");
            assert_eq!(found.sentence_words.len(), sentences, "sentences of {raw}");
            assert_eq!(found.paragraphs, paragraphs, "paragraphs of {raw}");
        }
    }

    #[test]
    fn words_of_sentences_add_up() {
        let found = prepare("Uno dos tres. Cuatro cinco. Seis");
        assert_eq!(found.sentence_words, [3, 2, 1]);
        assert_eq!(found.words, [0, 1, 2, 3, 4, 5]);
        assert_eq!(found.counts(6, &mut Work::default()), [1; 6]);
    }
}
