//! Responsible for why a document is not made. It must never know who asked.

/// Why a document, or a file of it, is not made.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ExportError {
    /// A document without a title.
    #[error("the document has no title")]
    NoTitle,
    /// A document without sections, or with none that says anything.
    #[error("the document has no content")]
    NoContent,
    /// Something is longer than allowed.
    #[error("{field} has more than {max} {unit}")]
    TooLarge {
        /// What.
        field: &'static str,
        /// What is counted.
        unit: &'static str,
        /// How many are allowed.
        max: usize,
    },
    /// A colour not of the form `#rrggbb`.
    #[error("`{colour}` is not a colour")]
    BadColour {
        /// What was given, cut to 16 characters.
        colour: String,
    },
    /// A language tag that is none.
    #[error("`{language}` is not a language tag")]
    BadLanguage {
        /// What was given, cut to 16 characters.
        language: String,
    },
    /// A name that is no format.
    #[error("`{name}` is not a format")]
    UnknownFormat {
        /// What was given, cut to 16 characters.
        name: String,
    },
    /// Characters that the format's fonts lack.
    #[error("pdf cannot show {characters}")]
    Unwritable {
        /// The first of them, each with its code point.
        characters: String,
    },
    /// The file would have more pages than allowed.
    #[error("the document has more than {max} pages")]
    TooManyPages {
        /// How many are allowed.
        max: usize,
    },
    /// The writer of a format failed: a fault of ours.
    #[error("{format} could not be written: {reason}")]
    Writer {
        /// The format.
        format: &'static str,
        /// What it said.
        reason: String,
    },
}

impl ExportError {
    /// A stable name for programs.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::NoTitle => "document_without_title",
            Self::NoContent => "document_without_content",
            Self::TooLarge { .. } => "document_too_large",
            Self::BadColour { .. } => "colour_malformed",
            Self::BadLanguage { .. } => "language_malformed",
            Self::UnknownFormat { .. } => "format_unknown",
            Self::Unwritable { .. } => "pdf_characters_missing",
            Self::TooManyPages { .. } => "document_too_many_pages",
            Self::Writer { .. } => "export_failed",
        }
    }

    /// What to do about it.
    #[must_use]
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::NoTitle => "give the document a title",
            Self::NoContent => "give the document a section with a heading or content",
            Self::TooLarge { .. } => "shorten it, or make several documents",
            Self::BadColour { .. } => "write the colour as #rrggbb, for example #1a5fb4",
            Self::BadLanguage { .. } => "write the language as es, en or es-MX",
            Self::UnknownFormat { .. } => "choose pdf, docx, html, markdown, rtf, txt, json or xml",
            Self::Unwritable { .. } => {
                "the pdf fonts have Latin, Greek and Cyrillic: replace these characters, or export as html or docx"
            }
            Self::TooManyPages { .. } => "shorten the document, or export its parts",
            Self::Writer { .. } => "try another format, and report this with the document",
        }
    }

    /// What was given, short enough to be told back.
    pub(crate) fn cut(given: &str) -> String {
        given.chars().take(16).collect()
    }
}
