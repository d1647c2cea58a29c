//! Responsible for the bounds of what is analysed: a text that is a [`Text`] is neither too short nor too long, and is composed. It
//! must never know what is computed of it.

use unicode_normalization::UnicodeNormalization;

/// Fewest code points of a text, blanks at its ends not counted: below, every figure is noise.
pub const TEXT_CHARACTERS_MIN: usize = 10;
/// Most code points of a text, as the original's schema states it. It bounds memory (about 40 bytes a code point) and time.
pub const TEXT_CHARACTERS_MAX: usize = 50_000;

/// Why a text, or a wish about it, is not analysed.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum AnalysisError {
    /// Fewer code points than [`TEXT_CHARACTERS_MIN`].
    #[error("the text has {characters} characters, fewer than {TEXT_CHARACTERS_MIN}")]
    TooShort {
        /// How many it has, blanks at its ends not counted.
        characters: usize,
    },
    /// More code points than [`TEXT_CHARACTERS_MAX`].
    #[error("the text has more than {TEXT_CHARACTERS_MAX} characters")]
    TooLong,
    /// A shingle's width outside 1..=8.
    #[error("a shingle of {words} words")]
    BadWidth {
        /// The width asked for.
        words: usize,
    },
    /// A threshold outside 0..=1.
    #[error("a threshold of {threshold}")]
    BadThreshold {
        /// The threshold asked for.
        threshold: f64,
    },
    /// Signatures of different widths or seeds were compared.
    #[error("the signatures were made with different widths or seeds")]
    OtherSignature,
}

impl AnalysisError {
    /// A stable name for programs.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::TooShort { .. } => "text_too_short",
            Self::TooLong => "text_too_long",
            Self::BadWidth { .. } => "shingle_width_out_of_range",
            Self::BadThreshold { .. } => "threshold_out_of_range",
            Self::OtherSignature => "signatures_differ_in_kind",
        }
    }

    /// What to do about it.
    #[must_use]
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::TooShort { .. } => "send at least 10 characters",
            Self::TooLong => "send at most 50 000 characters, or cut the text and send its parts",
            Self::BadWidth { .. } => "choose 1 to 8 words a shingle; 3 is usual",
            Self::BadThreshold { .. } => "choose a threshold from 0 to 1; 0.8 is usual",
            Self::OtherSignature => "make both signatures with the same width and seed",
        }
    }
}

/// A text within bounds, in normal form C.
///
/// # Source
/// UAX #15 for the form, and its section 13 (Stream-Safe Text Format), which bounds runs of combining marks, so that composing takes
/// linear time whatever is sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Text {
    composed: String,
    code_points: usize,
}

impl Text {
    /// Takes a text that keeps the bounds.
    ///
    /// # Errors
    /// [`AnalysisError::TooShort`] and [`AnalysisError::TooLong`].
    pub fn new(raw: &str) -> Result<Self, AnalysisError> {
        // A code point has at most four bytes, so a longer one is refused without counting.
        if raw.len() > 4 * TEXT_CHARACTERS_MAX {
            return Err(AnalysisError::TooLong);
        }
        let code_points = raw.chars().count();
        if code_points > TEXT_CHARACTERS_MAX {
            return Err(AnalysisError::TooLong);
        }
        let characters = raw.trim().chars().count();
        if characters < TEXT_CHARACTERS_MIN {
            return Err(AnalysisError::TooShort { characters });
        }
        Ok(Self {
            composed: raw.stream_safe().nfc().collect(),
            code_points,
        })
    }

    /// The text in normal form C.
    #[must_use]
    pub fn composed(&self) -> &str {
        &self.composed
    }

    /// Code points as they were sent.
    #[must_use]
    pub const fn code_points(&self) -> usize {
        self.code_points
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_kept_and_told() {
        let rows = [
            ("", Some("text_too_short")),
            ("123456789", Some("text_too_short")),
            ("   1234567   ", Some("text_too_short")),
            ("1234567890", None),
            ("ñandúñandú", None),
        ];
        for (raw, expected) in rows {
            let error = Text::new(raw).err();
            assert_eq!(error.as_ref().map(AnalysisError::code), expected, "{raw}");
            assert!(error.is_none_or(|error| !error.hint().is_empty()));
        }
        assert!(Text::new(&"ñ".repeat(TEXT_CHARACTERS_MAX)).is_ok());
        let over = "ñ".repeat(TEXT_CHARACTERS_MAX + 1);
        assert_eq!(Text::new(&over), Err(AnalysisError::TooLong));
        let far_over = "a".repeat(5 * TEXT_CHARACTERS_MAX);
        assert_eq!(Text::new(&far_over), Err(AnalysisError::TooLong));
    }

    #[test]
    fn composed_and_decomposed_are_one() {
        let composed = Text::new("canción de niñez").expect("long enough");
        let decomposed = Text::new("cancio\u{301}n de nin\u{303}ez").expect("long enough");
        assert_eq!(composed.composed(), decomposed.composed());
        assert_ne!(composed.code_points(), decomposed.code_points());
    }
}
