//! Responsible for Export IA's documents: one model, read once, written as eight formats, and scored. It must never know where files go.
//!
//! ```
//! use ultrakv_services::export::{Document, Format, SectionSource, Source, render};
//!
//! let source = Source {
//!     title: "Informe: ¿cuánto se ahorra?".to_owned(),
//!     sections: vec![SectionSource { heading: "Resumen".to_owned(), content: "Un **tercio**, <b>más o menos</b>.".to_owned() }],
//!     ..Source::default()
//! };
//! let document = Document::read(&source)?;
//! let file = render(&document, Format::Html)?;
//! assert_eq!(file.name, "Informe-cuánto-se-ahorra.html");
//! let page = String::from_utf8(file.bytes)?;
//! assert!(page.contains("<strong>tercio</strong>, &lt;b&gt;más o menos&lt;/b&gt;."));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```

mod block;
mod clean;
mod document;
mod docx;
mod error;
mod html;
mod markdown;
mod markup;
mod parse;
mod pdf;
mod rtf;
mod score;
mod stamp;
mod text;
mod xml;

use serde::{Deserialize, Serialize};

pub use block::{Align, Block, Look, Span, Table};
pub use document::{
    Branding, CONTENT_BYTES_MAX, Colour, Document, DocumentType, METADATA_MAX, NAME_CHARACTERS_MAX,
    SECTIONS_MAX, Section, SectionSource, Source, TITLE_CHARACTERS_MAX, VALUE_CHARACTERS_MAX,
};
pub use error::ExportError;
pub use pdf::PAGES_MAX;
pub use score::{Fault, Scores, blocks, validate};
pub use stamp::Stamp;

/// What a document can be written as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// Pages with embedded fonts.
    Pdf,
    /// Office Open XML.
    Docx,
    /// One self-contained page.
    Html,
    /// CommonMark with tables.
    Markdown,
    /// Rich Text Format.
    Rtf,
    /// Plain text.
    Txt,
    /// The model itself.
    Json,
    /// The model itself.
    Xml,
}

impl Format {
    /// All of them, in the order of the original's list.
    pub const ALL: [Self; 8] = [
        Self::Pdf,
        Self::Docx,
        Self::Html,
        Self::Markdown,
        Self::Rtf,
        Self::Txt,
        Self::Json,
        Self::Xml,
    ];

    /// The format of a name, in any case; `md` and `text` too.
    ///
    /// # Errors
    /// [`ExportError::UnknownFormat`].
    pub fn parse(name: &str) -> Result<Self, ExportError> {
        let lower = name.to_ascii_lowercase();
        let named = Self::ALL
            .into_iter()
            .find(|format| format.name() == lower || format.extension() == lower);
        let aliased = || (lower == "text").then_some(Self::Txt);
        named
            .or_else(aliased)
            .ok_or_else(|| ExportError::UnknownFormat {
                name: ExportError::cut(name),
            })
    }

    /// Its name in requests.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.row().0
    }

    /// The ending of its files.
    #[must_use]
    pub const fn extension(self) -> &'static str {
        self.row().1
    }

    /// Its media type.
    #[must_use]
    pub const fn media_type(self) -> &'static str {
        self.row().2
    }

    const fn row(self) -> (&'static str, &'static str, &'static str) {
        match self {
            Self::Pdf => ("pdf", "pdf", "application/pdf"),
            Self::Docx => (
                "docx",
                "docx",
                "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
            ),
            Self::Html => ("html", "html", "text/html; charset=utf-8"),
            Self::Markdown => ("markdown", "md", "text/markdown; charset=utf-8"),
            Self::Rtf => ("rtf", "rtf", "application/rtf"),
            Self::Txt => ("txt", "txt", "text/plain; charset=utf-8"),
            Self::Json => ("json", "json", "application/json"),
            Self::Xml => ("xml", "xml", "application/xml"),
        }
    }
}

/// A file of a document.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct File {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// A safe name: it names no folder, device or option.
    pub name: String,
    /// Its media type.
    pub media_type: &'static str,
}

/// Writes a document. Equal documents give equal bytes.
///
/// # Errors
/// [`ExportError::Unwritable`] and [`ExportError::TooManyPages`] for PDF, [`ExportError::Writer`] where a writer fails.
pub fn render(document: &Document, format: Format) -> Result<File, ExportError> {
    let bytes = match format {
        Format::Pdf => pdf::write(document)?,
        Format::Docx => docx::write(document)?,
        Format::Html => html::write(document),
        Format::Markdown => markdown::write(document),
        Format::Rtf => rtf::write(document),
        Format::Txt => text::write(document),
        Format::Json => {
            serde_json::to_vec_pretty(document).map_err(|error| ExportError::Writer {
                format: "json",
                reason: error.to_string(),
            })?
        }
        Format::Xml => xml::write(document),
    };
    Ok(File {
        bytes,
        name: clean::file_name(&document.title, format.extension()),
        media_type: format.media_type(),
    })
}

#[cfg(test)]
mod tests;
