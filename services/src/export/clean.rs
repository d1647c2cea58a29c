//! Responsible for text that every format can hold: composed, without characters that XML forbids. It must never know formats' own
//! escapes.

use unicode_normalization::UnicodeNormalization;

/// Text in normal form C, line ends as `\n`, without control characters and non-characters. Stream-safe first, so that runs of
/// combining marks cost linear time.
///
/// # Source
/// XML 1.0 (fifth edition), production 2 `Char`, the narrowest set among the formats here; C1 controls, which it only discourages,
/// are left out too.
pub(crate) fn text(raw: &str) -> String {
    let lines = raw.replace("\r\n", "\n").replace('\r', "\n");
    lines
        .stream_safe()
        .nfc()
        .filter(|letter| is_kept(*letter))
        .collect()
}

/// One line: blanks joined, and nothing that turns writing around, for such marks make titles read as what they are not.
pub(crate) fn line(raw: &str) -> String {
    let cleaned: String = text(raw).chars().filter(|letter| !turns(*letter)).collect();
    cleaned.split_whitespace().collect::<Vec<_>>().join(" ")
}

const fn is_kept(letter: char) -> bool {
    match letter {
        '\n' | '\t' => true,
        '\0'..='\u{1f}' | '\u{7f}'..='\u{9f}' | '\u{fdd0}'..='\u{fdef}' => false,
        // The joiner that the stream-safe form puts in says nothing to a reader.
        '\u{34f}' => false,
        // The last two code points of every plane are no characters.
        other => {
            let low = u32_of(other) & 0xffff;
            low != 0xfffe && low != 0xffff
        }
    }
}

const fn turns(letter: char) -> bool {
    matches!(letter, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}' | '\u{feff}')
}

#[expect(
    clippy::as_conversions,
    reason = "a char is a number below 0x110000; `u32::from` is not const"
)]
const fn u32_of(letter: char) -> u32 {
    letter as u32
}

/// Longest stem of a file's name in characters; with an ending it stays below the 255 bytes that file systems allow.
const STEM_CHARACTERS_MAX: usize = 60;

/// A name for the file of a document: letters, digits, `-` and `_` of the title, so that no folder, device or option can be named.
pub(crate) fn file_name(title: &str, extension: &str) -> String {
    let mut stem = String::new();
    for letter in title.chars() {
        if letter.is_alphanumeric() || letter == '_' {
            stem.push(letter);
        } else if !stem.is_empty() && !stem.ends_with('-') {
            stem.push('-');
        }
    }
    let stem: String = stem.chars().take(STEM_CHARACTERS_MAX).collect();
    let stem = stem.trim_end_matches('-');
    let lower = stem.to_lowercase();
    let is_device = ["con", "prn", "aux", "nul"].contains(&lower.as_str())
        || ["com", "lpt"].iter().any(|device| {
            let number = lower.strip_prefix(device);
            number.is_some_and(|number| {
                number.chars().count() == 1 && number.chars().all(char::is_numeric)
            })
        });
    match stem {
        "" => format!("document.{extension}"),
        stem if is_device => format!("document-{stem}.{extension}"),
        stem => format!("{stem}.{extension}"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_of_files_stay_in_their_folder() {
        let rows = [
            ("Informe de ventas 2026", "Informe-de-ventas-2026.pdf"),
            ("../../etc/passwd", "etc-passwd.pdf"),
            ("..\\..\\windows\\system32", "windows-system32.pdf"),
            ("/", "document.pdf"),
            ("", "document.pdf"),
            ("...", "document.pdf"),
            ("-rf *", "rf.pdf"),
            ("CON", "document-CON.pdf"),
            ("com1", "document-com1.pdf"),
            ("compra", "compra.pdf"),
            ("a\0b", "a-b.pdf"),
            ("Año\nnuevo; rm -rf ~", "Año-nuevo-rm-rf.pdf"),
            ("evil\u{202e}fdp.exe", "evil-fdp-exe.pdf"),
        ];
        for (title, expected) in rows {
            assert_eq!(file_name(title, "pdf"), expected, "{title:?}");
        }
    }

    proptest! {
        #[test]
        fn what_is_cleaned_is_xml(raw in any::<String>()) {
            let cleaned = text(&raw);
            prop_assert!(cleaned.chars().all(is_kept));
            let cleaned = line(&raw);
            prop_assert!(!cleaned.contains('\n') && cleaned.trim() == cleaned);
            let name = file_name(&raw, "txt");
            prop_assert!(name.len() <= 255 && !name.contains(['/', '\\', '\0', ':']) && !name.starts_with(['.', '-']));
        }
    }
}
