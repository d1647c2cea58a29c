//! Responsible for how good a document is before it is written: four scores, what is wrong, what would help. It must never change it.
//!
//! Each score starts at 1 and loses what each fault costs, down to 0; the table of faults in [`Fault`] says how much. `overall` is
//! `0.3 formatting + 0.3 content + 0.2 accessibility + 0.2 professional`. A share is the part of sections, words and so on that is at
//! fault. The weights are this house's judgement, stated so that they can be argued with.

use serde::Serialize;

use super::block::{Block, walk};
use super::document::{Document, section_text};
use crate::analysis::{Options, QualityReport, TEXT_CHARACTERS_MAX, Text, Tongue, quality};

/// What is wrong with a document, by what it costs.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fault {
    /// Sections without a heading: formatting 0.4 × share, accessibility 0.3 × share.
    SectionWithoutHeading,
    /// Sections without content: content 0.5 × share.
    SectionWithoutContent,
    /// Headings that skip a level: formatting 0.2, accessibility 0.2.
    HeadingSkipsLevel,
    /// Two sections of one heading: formatting 0.1.
    HeadingRepeats,
    /// More than 300 words in a section and nothing but paragraphs: formatting 0.2.
    WallOfText,
    /// Raw HTML, which is shown as text: formatting 0.2.
    HtmlShownAsText,
    /// Fewer than 100 words in all: content 0.3.
    VeryShort,
    /// More than a fifth of the text repeats: content 0.4.
    Repetitive,
    /// Harder to read than the general press: content 0.2.
    HardToRead,
    /// Pictures without a description: accessibility 0.4.
    PictureWithoutDescription,
    /// Heading colour with a contrast below 4.5 to 1: accessibility 0.4.
    LowContrast,
    /// Links whose target was dropped: accessibility 0.2, professional 0.2.
    LinkDropped,
    /// No author: professional 0.2.
    NoAuthor,
    /// No company: professional 0.1.
    NoCompany,
    /// No type of document: professional 0.1.
    NoType,
    /// A placeholder left in the text, such as `lorem ipsum` or `[nombre]`: professional 0.5.
    Placeholder,
}

/// The scores of a document, each 0..1.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Scores {
    /// The weighted mean of the others.
    pub overall: f64,
    /// Structure.
    pub formatting: f64,
    /// What it says.
    pub content: f64,
    /// Who can read it.
    pub accessibility: f64,
    /// How it presents itself.
    pub professional: f64,
    /// What is wrong.
    pub issues: Vec<Fault>,
    /// What would help, in the tongue asked for; one for each issue.
    pub suggestions: Vec<String>,
}

/// Words in a section from which on something should break up its paragraphs.
const WALL_WORDS: usize = 300;
/// Fewest words of a document that says something.
const WORDS_MIN: usize = 100;
/// What stands where something was to be filled in; compared in lower case.
const PLACEHOLDERS: &[&str] = &[
    "lorem ipsum",
    "[nombre]",
    "[name]",
    "[empresa]",
    "[company]",
    "[fecha]",
    "[date]",
    "tbd",
    "{{",
    "insert here",
];

/// Scores a document.
#[must_use]
pub fn validate(document: &Document, tongue: Tongue) -> Scores {
    let mut sheet = Sheet {
        formatting: 1.0,
        content: 1.0,
        accessibility: 1.0,
        professional: 1.0,
        issues: Vec::new(),
    };
    structure(document, &mut sheet);
    text(document, &mut sheet);
    access(document, &mut sheet);
    presentation(document, &mut sheet);
    let cut = |score: f64| score.clamp(0.0, 1.0);
    let [formatting, content] = [cut(sheet.formatting), cut(sheet.content)];
    let [accessibility, professional] = [cut(sheet.accessibility), cut(sheet.professional)];
    Scores {
        overall: 0.3 * formatting + 0.3 * content + 0.2 * accessibility + 0.2 * professional,
        formatting,
        content,
        accessibility,
        professional,
        suggestions: sheet
            .issues
            .iter()
            .map(|fault| fault.message(tongue).to_owned())
            .collect(),
        issues: sheet.issues,
    }
}

struct Sheet {
    formatting: f64,
    content: f64,
    accessibility: f64,
    professional: f64,
    issues: Vec<Fault>,
}

impl Sheet {
    /// Notes a fault and what it costs, `[formatting, content, accessibility, professional]`, if it applies.
    fn note(&mut self, applies: bool, fault: Fault, costs: [f64; 4]) {
        if applies {
            let [formatting, content, accessibility, professional] = costs;
            self.formatting -= formatting;
            self.content -= content;
            self.accessibility -= accessibility;
            self.professional -= professional;
            self.issues.push(fault);
        }
    }
}

fn structure(document: &Document, sheet: &mut Sheet) {
    let sections = &document.sections;
    let part = |count: usize| share(count, sections.len());
    let unheaded = sections
        .iter()
        .filter(|section| section.heading.is_empty())
        .count();
    sheet.note(
        unheaded > 0,
        Fault::SectionWithoutHeading,
        [0.4 * part(unheaded), 0.0, 0.3 * part(unheaded), 0.0],
    );
    let empty = sections
        .iter()
        .filter(|section| section.blocks.is_empty())
        .count();
    sheet.note(
        empty > 0,
        Fault::SectionWithoutContent,
        [0.0, 0.5 * part(empty), 0.0, 0.0],
    );
    sheet.note(
        document.notes.levels_skipped > 0,
        Fault::HeadingSkipsLevel,
        [0.2, 0.0, 0.2, 0.0],
    );
    let mut headings: Vec<&str> = sections
        .iter()
        .map(|section| section.heading.as_str())
        .collect();
    headings.retain(|heading| !heading.is_empty());
    let all = headings.len();
    headings.sort_unstable();
    headings.dedup();
    sheet.note(
        headings.len() < all,
        Fault::HeadingRepeats,
        [0.1, 0.0, 0.0, 0.0],
    );
    let is_wall = |blocks: &[Block]| {
        blocks
            .iter()
            .all(|block| matches!(block, Block::Paragraph { .. }))
            && section_text(blocks).split_whitespace().count() > WALL_WORDS
    };
    let wall = sections.iter().any(|section| is_wall(&section.blocks));
    sheet.note(wall, Fault::WallOfText, [0.2, 0.0, 0.0, 0.0]);
    sheet.note(
        document.notes.html > 0,
        Fault::HtmlShownAsText,
        [0.2, 0.0, 0.0, 0.0],
    );
}

fn text(document: &Document, sheet: &mut Sheet) {
    let text: String = document
        .sections
        .iter()
        .map(|section| section_text(&section.blocks))
        .collect();
    let words = text.split_whitespace().count();
    sheet.note(words < WORDS_MIN, Fault::VeryShort, [0.0, 0.3, 0.0, 0.0]);
    if let Some(report) = report(&text) {
        sheet.note(
            report.redundancy_score > 0.2,
            Fault::Repetitive,
            [0.0, 0.4, 0.0, 0.0],
        );
        let is_hard = report.readability_score.is_some_and(|score| score < 40.0);
        sheet.note(is_hard, Fault::HardToRead, [0.0, 0.2, 0.0, 0.0]);
    }
    let lower = text.to_lowercase();
    let words: Vec<&str> = lower
        .split(|letter: char| !letter.is_alphanumeric())
        .collect();
    // A mark that is a word must stand alone: "tbd" is no part of another.
    let found = PLACEHOLDERS.iter().any(|mark| {
        let is_word = mark.chars().all(char::is_alphanumeric);
        if is_word {
            words.contains(mark)
        } else {
            lower.contains(mark)
        }
    });
    sheet.note(found, Fault::Placeholder, [0.0, 0.0, 0.0, 0.5]);
}

/// The analysis of a text, or of its beginning where it is longer than analysis takes.
fn report(text: &str) -> Option<QualityReport> {
    let beginning: String = text.chars().take(TEXT_CHARACTERS_MAX).collect();
    let text = Text::new(&beginning).ok()?;
    quality(&text, &Options::default()).ok()
}

fn access(document: &Document, sheet: &mut Sheet) {
    let notes = document.notes;
    sheet.note(
        notes.pictures_undescribed > 0,
        Fault::PictureWithoutDescription,
        [0.0, 0.0, 0.4, 0.0],
    );
    let is_pale = document.colour.contrast_with_white() < 4.5;
    sheet.note(is_pale, Fault::LowContrast, [0.0, 0.0, 0.4, 0.0]);
    sheet.note(
        notes.links_dropped > 0,
        Fault::LinkDropped,
        [0.0, 0.0, 0.2, 0.2],
    );
}

fn presentation(document: &Document, sheet: &mut Sheet) {
    sheet.note(
        document.metadatum("author").is_none(),
        Fault::NoAuthor,
        [0.0, 0.0, 0.0, 0.2],
    );
    sheet.note(
        document.company.is_empty(),
        Fault::NoCompany,
        [0.0, 0.0, 0.0, 0.1],
    );
    sheet.note(
        document.document_type.is_none(),
        Fault::NoType,
        [0.0, 0.0, 0.0, 0.1],
    );
}

fn share(part: usize, whole: usize) -> f64 {
    let real = |count: usize| f64::from(u32::try_from(count).unwrap_or(u32::MAX));
    real(part) / real(whole.max(1))
}

/// How many blocks a document has, of all depths: what its writing costs.
#[must_use]
pub fn blocks(document: &Document) -> usize {
    let mut count = 0;
    for section in &document.sections {
        walk(&section.blocks, &mut |_| count += 1);
    }
    count
}

impl Fault {
    /// All of them.
    pub const ALL: [Self; 16] = [
        Self::SectionWithoutHeading,
        Self::SectionWithoutContent,
        Self::HeadingSkipsLevel,
        Self::HeadingRepeats,
        Self::WallOfText,
        Self::HtmlShownAsText,
        Self::VeryShort,
        Self::Repetitive,
        Self::HardToRead,
        Self::PictureWithoutDescription,
        Self::LowContrast,
        Self::LinkDropped,
        Self::NoAuthor,
        Self::NoCompany,
        Self::NoType,
        Self::Placeholder,
    ];

    /// What would help.
    #[must_use]
    pub const fn message(self, tongue: Tongue) -> &'static str {
        let (spanish, english) = match self {
            Self::SectionWithoutHeading => (
                "Ponga título a cada sección.",
                "Give each section a heading.",
            ),
            Self::SectionWithoutContent => (
                "Complete o quite las secciones vacías.",
                "Fill or drop empty sections.",
            ),
            Self::HeadingSkipsLevel => (
                "No salte niveles de título: del segundo se pasa al tercero.",
                "Skip no heading level: after the second comes the third.",
            ),
            Self::HeadingRepeats => (
                "Dé a cada sección un título propio.",
                "Give each section a heading of its own.",
            ),
            Self::WallOfText => (
                "Divida las secciones largas con subtítulos, listas o tablas.",
                "Break long sections up with subheadings, lists or tables.",
            ),
            Self::HtmlShownAsText => (
                "El HTML se muestra como texto: use Markdown.",
                "HTML is shown as text: use Markdown.",
            ),
            Self::VeryShort => (
                "Desarrolle el contenido: hay menos de cien palabras.",
                "Say more: there are fewer than a hundred words.",
            ),
            Self::Repetitive => ("Quite las repeticiones.", "Remove what repeats."),
            Self::HardToRead => (
                "Acorte las frases y use palabras más sencillas.",
                "Shorten sentences and use simpler words.",
            ),
            Self::PictureWithoutDescription => ("Describa cada imagen.", "Describe each picture."),
            Self::LowContrast => (
                "Elija un color más oscuro: el contraste con el blanco no llega a 4,5.",
                "Choose a darker colour: its contrast with white is below 4.5.",
            ),
            Self::LinkDropped => (
                "Use enlaces http, https o mailto.",
                "Use http, https or mailto links.",
            ),
            Self::NoAuthor => (
                "Indique el autor en los metadatos.",
                "Name the author in the metadata.",
            ),
            Self::NoCompany => (
                "Indique la empresa en la marca.",
                "Name the company in the branding.",
            ),
            Self::NoType => (
                "Indique el tipo de documento.",
                "Name the type of document.",
            ),
            Self::Placeholder => (
                "Queda texto de relleno por completar.",
                "Some placeholder text is still to be filled in.",
            ),
        };
        match tongue {
            Tongue::Spanish => spanish,
            Tongue::English => english,
        }
    }
}
