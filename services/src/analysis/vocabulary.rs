//! Responsible for giving each distinct folded word a small number, in linear time. It must never know sentences or shingles.
//!
//! Both tables of the analysis, of words here and of shingles in [`super::shingle`], stand on [`Table`]: open addressing, one
//! comparison of exact content a probe. The hash only decides where to look, so results never depend on it.

use unicode_normalization::UnicodeNormalization;
use xxhash_rust::xxh3::xxh3_64_with_seed;

use super::work::Work;

/// Open addressing over numbers that stand for things kept elsewhere.
#[derive(Debug)]
pub(crate) struct Table {
    slots: Vec<u32>,
    used: usize,
}

const EMPTY: u32 = u32::MAX;

impl Table {
    /// A table for up to `things` things; it never grows, and is at most half full.
    pub(crate) fn with_room_for(things: usize) -> Self {
        let slots = things.saturating_mul(2).next_power_of_two().max(2);
        Self {
            slots: vec![EMPTY; slots],
            used: 0,
        }
    }

    /// The number of an equal thing, or else `number`, which from now on stands for it. `None` where `number` is new.
    pub(crate) fn find_or_insert(
        &mut self,
        hash: u64,
        number: u32,
        mut is_equal: impl FnMut(u32) -> bool,
        work: &mut Work,
    ) -> Option<u32> {
        let mask = self.slots.len() - 1;
        let mut at = usize::try_from(hash & 0xffff_ffff).unwrap_or(0) & mask;
        // Half the slots stay empty, so that the walk ends.
        assert!(
            self.used * 2 < self.slots.len() + 1,
            "the table was made for fewer things"
        );
        loop {
            work.add(1);
            let slot = self.slots.get_mut(at)?;
            if *slot == EMPTY {
                *slot = number;
                self.used += 1;
                return None;
            }
            if is_equal(*slot) {
                return Some(*slot);
            }
            at = (at + 1) & mask;
        }
    }
}

/// The distinct folded words of one or two texts, numbered in order of first use.
#[derive(Debug)]
pub(crate) struct Vocabulary {
    words: Vec<Box<str>>,
    table: Table,
    seed: u64,
}

impl Vocabulary {
    /// For texts with at most this many words in all. The seed only decides where words lie in the table: secret, it keeps callers
    /// from choosing words that meet.
    pub(crate) fn new(words_max: usize, seed: u64) -> Self {
        Self {
            words: Vec::new(),
            table: Table::with_room_for(words_max),
            seed,
        }
    }

    /// The number of a word, folded.
    pub(crate) fn number(&mut self, word: &str, work: &mut Work) -> u32 {
        let folded = fold(word);
        work.add(folded.len());
        let next = u32::try_from(self.words.len()).unwrap_or(EMPTY - 1);
        let hash = xxh3_64_with_seed(folded.as_bytes(), self.seed);
        let words = &self.words;
        let is_equal = |number| at(words, number) == Some(folded.as_str());
        if let Some(known) = self.table.find_or_insert(hash, next, is_equal, work) {
            return known;
        }
        self.words.push(folded.into_boxed_str());
        next
    }

    /// The folded word of a number.
    pub(crate) fn word(&self, number: u32) -> &str {
        at(&self.words, number).unwrap_or_default()
    }

    /// How many distinct words there are.
    pub(crate) fn len(&self) -> usize {
        self.words.len()
    }
}

fn at(words: &[Box<str>], number: u32) -> Option<&str> {
    let index = usize::try_from(number).ok()?;
    words.get(index).map(AsRef::as_ref)
}

/// Full case folding, composed again: "Straße" and "STRASSE" are one word, "CANCIÓN" and "canción" too.
///
/// # Source
/// The Unicode Standard, section 3.13, default case folding.
pub(crate) fn fold(word: &str) -> String {
    if word.is_ascii() {
        return word.to_ascii_lowercase();
    }
    caseless::default_case_fold_str(word).nfc().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_that_differ_in_case_or_form_are_one() {
        let rows = [
            ("CANCIÓN", "canción"),
            ("Straße", "STRASSE"),
            ("ΌΣΟΣ", "όσος"),
            ("ÑANDÚ", "n\u{303}andu\u{301}"),
            ("Word", "wORD"),
        ];
        let mut work = Work::default();
        for seed in [0, 1, u64::MAX] {
            let mut vocabulary = Vocabulary::new(64, seed);
            for (one, other) in rows {
                let other: String = other.nfc().collect();
                assert_eq!(
                    vocabulary.number(one, &mut work),
                    vocabulary.number(&other, &mut work),
                    "{one}"
                );
            }
            assert_eq!(vocabulary.len(), rows.len());
            assert_eq!(vocabulary.word(1), "strasse");
        }
    }

    #[test]
    fn accents_keep_words_apart() {
        let mut vocabulary = Vocabulary::new(8, 0);
        let mut work = Work::default();
        let (si, sí) = (
            vocabulary.number("si", &mut work),
            vocabulary.number("sí", &mut work),
        );
        assert_ne!(si, sí);
    }

    #[test]
    fn a_full_table_still_finds_everything() {
        let mut vocabulary = Vocabulary::new(1000, 7);
        let mut work = Work::default();
        for round in 0..2 {
            for word in 0..1000_u32 {
                assert_eq!(
                    vocabulary.number(&format!("w{word}"), &mut work),
                    word,
                    "{round}"
                );
            }
        }
    }
}
