//! Responsible for PDF: lines laid on A4 pages, with embedded fonts, links, an outline and metadata. It must never write a character as
//! something else: what its fonts lack is refused.
//!
//! Written with krilla, the writer under Typst, which subsets and embeds fonts and keeps text extractable. Fonts are embedded rather
//! than taken from the fourteen standard ones because those know only Latin-1, and their metrics would have to be copied. Glyphs
//! are placed one after another: no ligatures, no kerning, no right-to-left, which fits Latin, Greek and Cyrillic, composed.
//!
//! # Source
//! ISO 32000-2 (PDF 2.0), through krilla; the fonts' tables through ttf-parser.

mod flow;
mod font;
mod measure;
mod page;

use krilla::Document as Pdf;
use krilla::SerializeSettings;
use krilla::destination::XyzDestination;
use krilla::geom::Point;
use krilla::metadata::{DateTime, Metadata};
use krilla::outline::{Outline, OutlineNode};

use super::document::Document;
use super::error::ExportError;
use flow::Flow;
use font::Fonts;

/// Most pages. A mebibyte of prose is about four hundred; a document of empty paragraphs could be more.
pub const PAGES_MAX: usize = 2000;

/// Writes a PDF.
pub(crate) fn write(document: &Document) -> Result<Vec<u8>, ExportError> {
    let fonts = Fonts::load()?;
    fonts.check(document)?;
    let mut flow = Flow::new(document, &fonts);
    flow.document();
    let (pages, headings) = flow.finish();
    if pages.len() > PAGES_MAX {
        return Err(ExportError::TooManyPages { max: PAGES_MAX });
    }
    let mut pdf = Pdf::new_with(SerializeSettings::default());
    let count = pages.len();
    for (number, page) in pages.iter().enumerate() {
        page.paint(&mut pdf, document, &fonts, number + 1, count);
    }
    let mut outline = Outline::new();
    for heading in headings {
        let place = XyzDestination::new(heading.page, Point::from_xy(0.0, heading.top));
        outline.push_child(OutlineNode::new(heading.text, place));
    }
    pdf.set_outline(outline);
    pdf.set_metadata(metadata(document));
    pdf.finish().map_err(|error| ExportError::Writer {
        format: "pdf",
        reason: format!("{error:?}"),
    })
}

fn metadata(document: &Document) -> Metadata {
    let mut metadata = Metadata::new()
        .title(document.title.clone())
        .language(document.language.clone());
    if let Some(author) = document.metadatum("author") {
        metadata = metadata.authors(vec![author.to_owned()]);
    }
    if let Some(subject) = document.metadatum("subject") {
        metadata = metadata.description(subject.to_owned());
    }
    if let Some(keywords) = document.metadatum("keywords") {
        metadata = metadata.keywords(
            keywords
                .split(',')
                .map(|word| word.trim().to_owned())
                .collect(),
        );
    }
    if let Some(made) = document.created {
        let date = DateTime::new(made.year).month(made.month).day(made.day);
        metadata =
            metadata.creation_date(date.hour(made.hour).minute(made.minute).second(made.second));
    }
    metadata
}
