//! Responsible for the one model that every format is written from, and for its bounds. It must never know formats.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::block::{Block, plain};
use super::clean;
use super::error::ExportError;
use super::parse::{Notes, markdown};
use super::stamp::Stamp;

/// Longest title or heading in characters: two lines of a page.
pub const TITLE_CHARACTERS_MAX: usize = 300;
/// Most sections.
pub const SECTIONS_MAX: usize = 500;
/// Most bytes of content in all sections: some four hundred pages. It bounds time and memory of every writer.
pub const CONTENT_BYTES_MAX: usize = 1 << 20;
/// Most metadata.
pub const METADATA_MAX: usize = 32;
/// Longest name of a metadatum, and longest short text of branding, in characters.
pub const NAME_CHARACTERS_MAX: usize = 64;
/// Longest value of a metadatum in characters.
pub const VALUE_CHARACTERS_MAX: usize = 1000;

/// A document as a caller sends it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Source {
    /// Its title.
    pub title: String,
    /// Its sections, in order.
    pub sections: Vec<SectionSource>,
    /// What else is known of it: `author`, `subject`, `keywords` (separated by commas) are put where a format keeps them.
    pub metadata: BTreeMap<String, String>,
    /// Whose it is.
    pub branding: Branding,
    /// What it is.
    pub document_type: Option<DocumentType>,
    /// Its language as a tag: `es`, `en-GB`. Spanish where none is given.
    pub language: Option<String>,
    /// When it was made, in seconds since 1970; told only where given, so that equal documents give equal files.
    pub created_s: Option<u64>,
}

/// A section as a caller sends it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct SectionSource {
    /// Its heading; may be empty.
    pub heading: String,
    /// Its content, in Markdown.
    pub content: String,
}

/// Whose a document is.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Branding {
    /// The house's name, above the title.
    pub company: String,
    /// The colour of headings, `#rrggbb`.
    pub primary_color: String,
    /// A line below each page, or at the end.
    pub footer: String,
}

/// What a document is. Its name stands above the title.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names say it")]
pub enum DocumentType {
    BusinessPlan,
    Report,
    Proposal,
    Presentation,
    Manual,
    Contract,
    Letter,
    Memo,
    Newsletter,
    Catalog,
}

impl DocumentType {
    /// All of them, in the order of the original's list.
    pub const ALL: [Self; 10] = [
        Self::BusinessPlan,
        Self::Report,
        Self::Proposal,
        Self::Presentation,
        Self::Manual,
        Self::Contract,
        Self::Letter,
        Self::Memo,
        Self::Newsletter,
        Self::Catalog,
    ];

    /// Its name in the document's language, where that is Spanish, or else in English.
    #[must_use]
    pub fn label(self, language: &str) -> &'static str {
        let (spanish, english) = match self {
            Self::BusinessPlan => ("Plan de negocio", "Business plan"),
            Self::Report => ("Informe", "Report"),
            Self::Proposal => ("Propuesta", "Proposal"),
            Self::Presentation => ("Presentación", "Presentation"),
            Self::Manual => ("Manual", "Handbook"),
            Self::Contract => ("Contrato", "Contract"),
            Self::Letter => ("Carta", "Letter"),
            Self::Memo => ("Memorando", "Memo"),
            Self::Newsletter => ("Boletín", "Newsletter"),
            Self::Catalog => ("Catálogo", "Catalogue"),
        };
        if is_spanish(language) {
            spanish
        } else {
            english
        }
    }
}

/// Whether a language tag is of Spanish.
pub(crate) fn is_spanish(language: &str) -> bool {
    language
        .split('-')
        .next()
        .is_some_and(|tag| tag.eq_ignore_ascii_case("es"))
}

/// A colour.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Colour {
    /// Red, 0..=255.
    pub red: u8,
    /// Green, 0..=255.
    pub green: u8,
    /// Blue, 0..=255.
    pub blue: u8,
}

impl Colour {
    /// Dark blue, where the branding names none. Its contrast with white is 11 to 1.
    pub const DEFAULT: Self = Self {
        red: 0x1b,
        green: 0x36,
        blue: 0x5d,
    };

    fn parse(text: &str) -> Result<Self, ExportError> {
        let wrong = || ExportError::BadColour {
            colour: ExportError::cut(text),
        };
        let digits = text
            .strip_prefix('#')
            .filter(|digits| digits.len() == 6)
            .ok_or_else(wrong)?;
        if !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return Err(wrong());
        }
        let part = |at: usize| {
            let pair = digits.get(at..at + 2).ok_or_else(wrong)?;
            u8::from_str_radix(pair, 16).map_err(|_| wrong())
        };
        Ok(Self {
            red: part(0)?,
            green: part(2)?,
            blue: part(4)?,
        })
    }

    /// Six hexadecimal digits, without the `#`.
    #[must_use]
    pub fn hex(self) -> String {
        format!("{:02x}{:02x}{:02x}", self.red, self.green, self.blue)
    }

    /// The contrast with white, 1 to 21; text needs 4.5.
    ///
    /// # Source
    /// WCAG 2.2, definitions of contrast ratio and relative luminance.
    #[must_use]
    pub fn contrast_with_white(self) -> f64 {
        let linear = |part: u8| {
            let part = f64::from(part) / 255.0;
            if part <= 0.040_45 {
                part / 12.92
            } else {
                ((part + 0.055) / 1.055).powf(2.4)
            }
        };
        let luminance =
            0.2126 * linear(self.red) + 0.7152 * linear(self.green) + 0.0722 * linear(self.blue);
        1.05 / (luminance + 0.05)
    }
}

/// A section, read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Section {
    /// Its heading; may be empty.
    pub heading: String,
    /// What it says.
    pub blocks: Vec<Block>,
}

/// A document within bounds, cleaned and read: what every writer takes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Document {
    pub(crate) title: String,
    pub(crate) language: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) document_type: Option<DocumentType>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) created: Option<Stamp>,
    pub(crate) metadata: BTreeMap<String, String>,
    pub(crate) company: String,
    pub(crate) footer: String,
    pub(crate) colour: Colour,
    pub(crate) sections: Vec<Section>,
    #[serde(skip)]
    pub(crate) notes: Notes,
}

impl Document {
    /// Reads what a caller sent.
    ///
    /// # Errors
    /// What is missing, too large or malformed: each kind of [`ExportError`] but those of writers.
    pub fn read(source: &Source) -> Result<Self, ExportError> {
        let title = short(&source.title, "the title", TITLE_CHARACTERS_MAX)?;
        if title.is_empty() {
            return Err(ExportError::NoTitle);
        }
        at_most(
            source.sections.len(),
            "the document",
            "sections",
            SECTIONS_MAX,
        )?;
        let bytes = source
            .sections
            .iter()
            .map(|section| section.content.len())
            .sum();
        at_most(bytes, "the content", "bytes", CONTENT_BYTES_MAX)?;
        let mut notes = Notes::default();
        let sections = source
            .sections
            .iter()
            .map(|section| read_section(section, &mut notes));
        let mut sections = sections.collect::<Result<Vec<_>, _>>()?;
        sections.retain(|section| !section.heading.is_empty() || !section.blocks.is_empty());
        if sections.is_empty() {
            return Err(ExportError::NoContent);
        }
        let colour = match source.branding.primary_color.as_str() {
            "" => Colour::DEFAULT,
            given => Colour::parse(given)?,
        };
        Ok(Self {
            title,
            language: language(source.language.as_deref().unwrap_or("es"))?,
            document_type: source.document_type,
            created: source.created_s.map(Stamp::of_unix_s),
            metadata: metadata(&source.metadata)?,
            company: short(&source.branding.company, "the company", NAME_CHARACTERS_MAX)?,
            footer: short(&source.branding.footer, "the footer", TITLE_CHARACTERS_MAX)?,
            colour,
            sections,
            notes,
        })
    }

    /// Its title.
    #[must_use]
    pub fn title(&self) -> &str {
        &self.title
    }

    /// Its sections.
    #[must_use]
    pub fn sections(&self) -> &[Section] {
        &self.sections
    }

    /// A metadatum.
    pub(crate) fn metadatum(&self, name: &str) -> Option<&str> {
        self.metadata.get(name).map(String::as_str)
    }

    /// What stands above the title: the house, and what the document is.
    pub(crate) fn kicker(&self) -> String {
        let label = self.document_type.map(|kind| kind.label(&self.language));
        let parts = [
            Some(self.company.as_str()).filter(|company| !company.is_empty()),
            label,
        ];
        parts.into_iter().flatten().collect::<Vec<_>>().join(" · ")
    }

    /// What stands below the title: author and day.
    pub(crate) fn byline(&self) -> String {
        let day = self.created.map(Stamp::day);
        let parts = [self.metadatum("author").map(str::to_owned), day];
        parts.into_iter().flatten().collect::<Vec<_>>().join(" · ")
    }
}

fn read_section(section: &SectionSource, notes: &mut Notes) -> Result<Section, ExportError> {
    Ok(Section {
        heading: short(&section.heading, "a heading", TITLE_CHARACTERS_MAX)?,
        blocks: markdown(&clean::text(&section.content), notes)?,
    })
}

fn metadata(given: &BTreeMap<String, String>) -> Result<BTreeMap<String, String>, ExportError> {
    at_most(given.len(), "the metadata", "entries", METADATA_MAX)?;
    let pairs = given.iter().map(|(name, value)| {
        let name = short(name, "a metadatum's name", NAME_CHARACTERS_MAX)?;
        Ok((name, short(value, "a metadatum", VALUE_CHARACTERS_MAX)?))
    });
    let pairs: Vec<_> = pairs.collect::<Result<_, ExportError>>()?;
    Ok(pairs
        .into_iter()
        .filter(|(name, value)| !name.is_empty() && !value.is_empty())
        .collect())
}

fn short(given: &str, field: &'static str, max: usize) -> Result<String, ExportError> {
    at_most(given.chars().count(), field, "characters", max)?;
    Ok(clean::line(given))
}

const fn at_most(
    count: usize,
    field: &'static str,
    unit: &'static str,
    max: usize,
) -> Result<(), ExportError> {
    if count <= max {
        Ok(())
    } else {
        Err(ExportError::TooLarge { field, unit, max })
    }
}

/// A language tag: letters, then parts of letters or digits. Enough of RFC 5646 to be safe everywhere a tag is written.
fn language(tag: &str) -> Result<String, ExportError> {
    let mut parts = tag.split('-');
    let first = parts.next().unwrap_or_default();
    let first_is_good =
        (2..=3).contains(&first.len()) && first.bytes().all(|letter| letter.is_ascii_alphabetic());
    let is_good = |part: &str| {
        (1..=8).contains(&part.len()) && part.bytes().all(|letter| letter.is_ascii_alphanumeric())
    };
    if first_is_good && tag.len() <= 35 && parts.all(is_good) {
        return Ok(tag.to_owned());
    }
    Err(ExportError::BadLanguage {
        language: ExportError::cut(tag),
    })
}

/// The plain text of a section's blocks, one paragraph a line.
pub(crate) fn section_text(blocks: &[Block]) -> String {
    let mut text = String::new();
    super::block::walk(blocks, &mut |block| {
        let line = match block {
            Block::Heading { spans, .. } | Block::Paragraph { spans } => plain(spans),
            Block::Table(table) => {
                let cells = table.head.iter().chain(table.rows.iter().flatten());
                cells.map(|cell| plain(cell)).collect::<Vec<_>>().join(". ")
            }
            _ => return,
        };
        text.push_str(&line);
        text.push_str("\n\n");
    });
    text
}
