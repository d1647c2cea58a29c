//! Responsible for the four faces: which glyph a character has, and how wide it is. It must never know lines.

use std::collections::BTreeSet;

use krilla::text::Font;
use ttf_parser::{Face, GlyphId};

use crate::export::block::{Block, Look, Span, walk};
use crate::export::document::Document;
use crate::export::error::ExportError;

const REGULAR: &[u8] = include_bytes!("../../../fonts/NotoSans-Regular.ttf");
const BOLD: &[u8] = include_bytes!("../../../fonts/NotoSans-Bold.ttf");
const ITALIC: &[u8] = include_bytes!("../../../fonts/NotoSans-Italic.ttf");
const MONO: &[u8] = include_bytes!("../../../fonts/NotoSansMono-Regular.ttf");

/// Most missing characters told.
const TOLD_MAX: usize = 8;

/// One face.
pub(super) struct Typeface {
    face: Face<'static>,
    /// The same face as the writer of PDF wants it.
    pub(super) font: Font,
    units_per_em: f32,
}

/// Which face.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    Regular,
    Bold,
    Italic,
    Mono,
}

/// The faces.
pub(super) struct Fonts {
    regular: Typeface,
    bold: Typeface,
    italic: Typeface,
    mono: Typeface,
}

/// One glyph: its face, number and width in parts of the font's size.
#[derive(Clone, Copy, Debug)]
pub(super) struct Glyph {
    pub(super) style: Style,
    pub(super) id: u32,
    pub(super) advance: f32,
}

impl Style {
    /// The face of a look; strong and stressed text is strong.
    pub(super) const fn of(look: Look) -> Self {
        match look {
            Look { code: true, .. } => Self::Mono,
            Look { strong: true, .. } => Self::Bold,
            Look { emphasis: true, .. } => Self::Italic,
            _ => Self::Regular,
        }
    }
}

impl Typeface {
    fn load(bytes: &'static [u8]) -> Result<Self, ExportError> {
        let failed = |reason: &str| ExportError::Writer {
            format: "pdf",
            reason: reason.to_owned(),
        };
        let face = Face::parse(bytes, 0).map_err(|error| failed(&error.to_string()))?;
        let font =
            Font::new(bytes.into(), 0).ok_or_else(|| failed("a font of ours does not load"))?;
        let units_per_em = f32::from(face.units_per_em());
        Ok(Self {
            face,
            font,
            units_per_em,
        })
    }

    fn glyph(&self, letter: char) -> Option<(GlyphId, f32)> {
        let glyph = self.face.glyph_index(letter)?;
        let advance = f32::from(self.face.glyph_hor_advance(glyph)?);
        Some((glyph, advance / self.units_per_em))
    }
}

impl Fonts {
    pub(super) fn load() -> Result<Self, ExportError> {
        Ok(Self {
            regular: Typeface::load(REGULAR)?,
            bold: Typeface::load(BOLD)?,
            italic: Typeface::load(ITALIC)?,
            mono: Typeface::load(MONO)?,
        })
    }

    pub(super) const fn face(&self, style: Style) -> &Typeface {
        match style {
            Style::Regular => &self.regular,
            Style::Bold => &self.bold,
            Style::Italic => &self.italic,
            Style::Mono => &self.mono,
        }
    }

    /// The glyph of a character in a face, or in the one of fixed width, which has arrows, figures and lines besides.
    pub(super) fn glyph(&self, style: Style, letter: char) -> Option<Glyph> {
        let letter = plain(letter);
        [style, Style::Mono, Style::Regular]
            .into_iter()
            .find_map(|style| {
                let (id, advance) = self.face(style).glyph(letter)?;
                Some(Glyph {
                    style,
                    id: u32::from(id.0),
                    advance,
                })
            })
    }

    /// Whether every character of a document has a glyph.
    pub(super) fn check(&self, document: &Document) -> Result<(), ExportError> {
        let mut missing = BTreeSet::new();
        let mut see = |text: &str| {
            let lacking = text
                .chars()
                .filter(|letter| *letter != '\n' && *letter != '\t');
            missing.extend(lacking.filter(|letter| self.glyph(Style::Regular, *letter).is_none()));
        };
        let lines = [&document.title, &document.company, &document.footer];
        lines.into_iter().for_each(|line| see(line));
        see(&document.byline());
        for section in &document.sections {
            see(&section.heading);
            walk(&section.blocks, &mut |block| {
                let mut spans = |spans: &[Span]| spans.iter().for_each(|span| see(&span.text));
                match block {
                    Block::Heading { spans: text, .. } | Block::Paragraph { spans: text } => {
                        spans(text)
                    }
                    Block::Table(table) => {
                        table
                            .head
                            .iter()
                            .chain(table.rows.iter().flatten())
                            .for_each(|cell| spans(cell));
                    }
                    Block::Code { text, .. } => see(text),
                    _ => {}
                }
            });
        }
        if missing.is_empty() {
            return Ok(());
        }
        let told = missing
            .iter()
            .take(TOLD_MAX)
            .map(|letter| format!("{letter} (U+{:04X})", u32::from(*letter)));
        let mut characters = told.collect::<Vec<_>>().join(", ");
        if missing.len() > TOLD_MAX {
            characters.push_str(&format!(" and {} more", missing.len() - TOLD_MAX));
        }
        Err(ExportError::Unwritable { characters })
    }
}

/// Blanks and hyphens that differ only in breaking are drawn as their plain sort; marks of no width are drawn as the narrowest blank's
/// glyph would be, that is, not at all, so they stand for themselves only in formats that keep them.
const fn plain(letter: char) -> char {
    match letter {
        '\u{a0}' | '\u{2000}'..='\u{200b}' | '\u{202f}' | '\u{205f}' | '\u{3000}' | '\t' => ' ',
        '\u{2010}' | '\u{2011}' => '-',
        other => other,
    }
}
