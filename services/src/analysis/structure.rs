//! Responsible for paragraphs and sentences: where a reader pauses. It must never know words' meaning or language.
//!
//! One pass, no look-back further than a word. The general algorithm of UAX #29 asks at each mark whether a lower-case letter follows
//! at *any* distance; its usual implementation asks again at each of a run of marks, and takes minutes over fifty thousand closing
//! brackets. Here a sentence ends with a terminator, its closers and a blank, unless what follows begins in lower case or what ended
//! was an abbreviation or an initial.
//!
//! A single line break is a blank, for prose is often wrapped; an empty line, or a line that begins like a list's item or a heading,
//! begins a paragraph.
//!
//! # Source
//! Unicode Standard Annex #29, section 5 (sentence boundaries SB6 to SB11), from which this differs as said.

use super::work::Work;

/// Words before whose full stop a sentence does not end, folded. Those that often close a sentence ("etc") are left out.
const ABBREVIATIONS: &[&str] = &[
    "av", "avda", "cap", "col", "dr", "dra", "dept", "ej", "fig", "gen", "gob", "gral", "ing",
    "jr", "lic", "mr", "mrs", "ms", "mt", "no", "nro", "núm", "pág", "págs", "prof", "profa",
    "rev", "sr", "sra", "sres", "srta", "srtas", "st", "sto", "sta", "tel", "ud", "uds", "vd",
    "vds", "vol", "vs", "p", "pp", "cf", "ed", "eds", "op", "cit", "approx", "aprox",
];
/// Longest abbreviation in code points; longer words are not looked up.
const ABBREVIATION_CHARACTERS_MAX: usize = 6;

/// The sentences of a text with at least one letter or digit, by paragraph.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Structure {
    /// Each with single blanks between its words.
    pub(crate) sentences: Vec<String>,
    /// Paragraphs with at least one sentence.
    pub(crate) paragraphs: usize,
}

impl Structure {
    /// Takes a composed text apart.
    pub(crate) fn of(text: &str, work: &mut Work) -> Self {
        let mut found = Self::default();
        let mut paragraph = String::new();
        for line in text.split(['\n', '\r', '\u{2028}', '\u{2029}', '\u{85}']) {
            work.add(line.len() + 1);
            let line = line.trim();
            if line.is_empty() || opens_paragraph(line) {
                found.close(&mut paragraph, work);
            }
            if !paragraph.is_empty() {
                paragraph.push(' ');
            }
            paragraph.push_str(line);
            if line.starts_with('#') {
                found.close(&mut paragraph, work);
            }
        }
        found.close(&mut paragraph, work);
        found
    }

    fn close(&mut self, paragraph: &mut String, work: &mut Work) {
        let before = self.sentences.len();
        work.add(2 * paragraph.len());
        split(paragraph, &mut self.sentences);
        if self.sentences.len() > before {
            self.paragraphs += 1;
        }
        paragraph.clear();
    }
}

/// Whether a trimmed line begins a list's item, a heading, a quotation or a row of a table.
fn opens_paragraph(line: &str) -> bool {
    if line.starts_with('#') || line.starts_with('|') || line.starts_with('>') {
        return true;
    }
    let is_bullet = ["- ", "* ", "+ ", "• ", "– ", "— "]
        .iter()
        .any(|bullet| line.starts_with(bullet));
    let after_number = line.trim_start_matches(|letter: char| letter.is_ascii_digit());
    let number_digits = line.len() - after_number.len();
    let is_numbered = (1..=3).contains(&number_digits)
        && (after_number.starts_with(". ") || after_number.starts_with(") "));
    is_bullet || is_numbered
}

const fn is_terminator(letter: char) -> bool {
    matches!(
        letter,
        '.' | '!' | '?' | '…' | '\u{ff0e}' | '؟' | '۔' | '।' | '॥' | '։'
    ) || ends_without_blank(letter)
}

/// Terminators of scripts that put no blank after a sentence: ideographic and half-width full stops, full-width marks.
const fn ends_without_blank(letter: char) -> bool {
    matches!(letter, '\u{3002}' | '\u{ff61}' | '\u{ff01}' | '\u{ff1f}')
}

const fn is_closer(letter: char) -> bool {
    matches!(
        letter,
        ')' | ']' | '}' | '"' | '\'' | '»' | '”' | '’' | '›' | '」' | '』' | '）' | '*' | '_'
    )
}

/// Cuts one paragraph. Every code point is looked at once here and once when its sentence is kept.
fn split(paragraph: &str, into: &mut Vec<String>) {
    let mut start = 0;
    let mut word_start = 0;
    let mut letters = paragraph.char_indices().peekable();
    while let Some((at, letter)) = letters.next() {
        if letter.is_whitespace() {
            word_start = at + letter.len_utf8();
            continue;
        }
        if !is_terminator(letter) {
            continue;
        }
        let word = paragraph.get(word_start..at).unwrap_or_default();
        let mut strong = letter != '.' && letter != '…';
        let mut tight = ends_without_blank(letter);
        let mut stops = 1;
        let mut end = at + letter.len_utf8();
        while let Some(&(next_at, next)) = letters.peek() {
            if is_terminator(next) {
                strong |= next != '.' && next != '…';
                tight |= ends_without_blank(next);
                stops += 1;
            } else if !is_closer(next) {
                break;
            }
            end = next_at + next.len_utf8();
            letters.next();
        }
        let mut blank = false;
        while let Some(&(_, next)) = letters.peek() {
            if !next.is_whitespace() {
                break;
            }
            blank = true;
            letters.next();
        }
        let Some(&(next_at, next)) = letters.peek() else {
            break;
        };
        word_start = if blank { next_at } else { word_start };
        let goes_on = next.is_lowercase() || (!strong && stops == 1 && is_abbreviation(word));
        if tight || (blank && !goes_on) {
            keep(paragraph.get(start..end), into);
            start = next_at;
            word_start = next_at;
        }
    }
    keep(paragraph.get(start..), into);
}

/// A listed abbreviation, or a single letter (an initial).
fn is_abbreviation(word: &str) -> bool {
    let word = word.trim_start_matches(|letter: char| !letter.is_alphanumeric());
    let letters = word.chars().take(ABBREVIATION_CHARACTERS_MAX + 1).count();
    if letters == 1 {
        return word.chars().all(char::is_uppercase);
    }
    letters <= ABBREVIATION_CHARACTERS_MAX && ABBREVIATIONS.contains(&word.to_lowercase().as_str())
}

fn keep(sentence: Option<&str>, into: &mut Vec<String>) {
    let sentence = sentence.unwrap_or_default();
    if sentence.chars().any(char::is_alphanumeric) {
        into.push(sentence.split_whitespace().collect::<Vec<_>>().join(" "));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, expected: &[&str], paragraphs: usize) {
        let found = Structure::of(text, &mut Work::default());
        assert_eq!(found.sentences, expected, "{text}");
        assert_eq!(found.paragraphs, paragraphs, "{text}");
    }

    #[test]
    fn sentences_end_where_a_reader_pauses() {
        check(
            "Hola. ¿Qué tal? ¡Bien!",
            &["Hola.", "¿Qué tal?", "¡Bien!"],
            1,
        );
        check(
            "El Sr. García vino. Se fue.",
            &["El Sr. García vino.", "Se fue."],
            1,
        );
        check(
            "J. R. R. Tolkien wrote. I read.",
            &["J. R. R. Tolkien wrote.", "I read."],
            1,
        );
        check(
            "Cuesta 3.50 euros. Caro.",
            &["Cuesta 3.50 euros.", "Caro."],
            1,
        );
        check("Dijo «ven.» Y fue.", &["Dijo «ven.»", "Y fue."], 1);
        check(
            "He said \"go!\" and went. Done.",
            &["He said \"go!\" and went.", "Done."],
            1,
        );
        check("Bueno... no sé. Ya.", &["Bueno... no sé.", "Ya."], 1);
        check("今日は。明日は！", &["今日は。", "明日は！"], 1);
        check(
            "Véase example.com hoy. Fin",
            &["Véase example.com hoy.", "Fin"],
            1,
        );
        check("... !!! ???", &[], 0);
        check("", &[], 0);
    }

    #[test]
    fn wrapped_lines_are_one_paragraph_and_items_are_their_own() {
        check(
            "Una frase\nen dos líneas. Otra.",
            &["Una frase en dos líneas.", "Otra."],
            1,
        );
        check("Uno.\n\nDos.\r\n\r\nTres.", &["Uno.", "Dos.", "Tres."], 3);
        check(
            "# Título\nTexto.\n- uno\n- dos\n1. tres",
            &["# Título", "Texto.", "- uno", "- dos", "1. tres"],
            5,
        );
    }

    #[test]
    fn hostile_runs_of_marks_take_linear_steps() {
        for unit in [")", " ", ".", ". ", ".)", "\n", "a.\n", "#\n"] {
            let text = format!("a.{}", unit.repeat(20_000));
            let mut work = Work::default();
            Structure::of(&text, &mut work);
            assert!(
                work.steps() <= 4 * u64::try_from(text.len()).expect("small") + 8,
                "{unit:?}"
            );
        }
    }
}
