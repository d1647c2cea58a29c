//! Responsible for the body of a DOCX: paragraphs, runs, tables. It must never know the package around it.

use super::{OFFICE, WORD};
use crate::export::block::{Align, Block, Span, Table};
use crate::export::document::Document;
use crate::export::markup::Markup;

/// Width of a page's text in twips: A4 with margins of 2.5 cm.
const TEXT_TWIPS: usize = 9072;
/// One level of indentation in twips.
const INDENT_TWIPS: usize = 360;

/// A body, and what the parts around it must declare.
pub(super) struct Body {
    pub(super) document: Vec<u8>,
    /// The targets of links, by number.
    pub(super) links: Vec<String>,
    /// The first number of each list, by number; `None` for bullets.
    pub(super) lists: Vec<Option<u64>>,
}

/// The relation that stands for a link.
pub(super) fn link_id(number: usize) -> String {
    format!("link{number}")
}

impl Body {
    pub(super) fn of(document: &Document) -> Self {
        let mut writer = Writer {
            xml: Markup::new(),
            links: Vec::new(),
            lists: Vec::new(),
        };
        writer
            .xml
            .open("w:document", &[("xmlns:w", WORD), ("xmlns:r", OFFICE)]);
        writer.xml.open("w:body", &[]);
        writer.line("Kicker", &document.kicker());
        writer.line("Title", &document.title);
        writer.line("Byline", &document.byline());
        for section in &document.sections {
            writer.line("Heading1", &section.heading);
            writer.blocks(&section.blocks, Place::default());
        }
        writer.xml.open("w:sectPr", &[]);
        writer.xml.empty(
            "w:footerReference",
            &[("w:type", "default"), ("r:id", "footer")],
        );
        writer
            .xml
            .empty("w:pgSz", &[("w:w", "11906"), ("w:h", "16838")]);
        let margins = [
            ("w:top", "1417"),
            ("w:right", "1417"),
            ("w:bottom", "1417"),
            ("w:left", "1417"),
        ];
        let edges = [("w:header", "708"), ("w:footer", "708"), ("w:gutter", "0")];
        let margins: Vec<(&str, &str)> = margins.into_iter().chain(edges).collect();
        writer.xml.empty("w:pgMar", &margins);
        Self {
            document: writer.xml.finish(),
            links: writer.links,
            lists: writer.lists,
        }
    }
}

/// Where a block stands.
#[derive(Clone, Copy, Default)]
struct Place {
    /// Levels of lists around it.
    depth: usize,
    quoted: bool,
    /// The list whose item it begins.
    begins: Option<usize>,
}

struct Writer {
    xml: Markup,
    links: Vec<String>,
    lists: Vec<Option<u64>>,
}

impl Writer {
    /// A paragraph of one style; nothing for an empty one.
    fn line(&mut self, style: &str, text: &str) {
        if text.is_empty() {
            return;
        }
        self.xml.open("w:p", &[]);
        self.xml.open("w:pPr", &[]);
        self.xml.empty("w:pStyle", &[("w:val", style)]);
        self.xml.close();
        self.run(
            &Span {
                text: text.to_owned(),
                ..Span::default()
            },
            false,
        );
        self.xml.close();
    }

    fn blocks(&mut self, blocks: &[Block], place: Place) {
        for block in blocks {
            self.block(block, place);
        }
    }

    fn block(&mut self, block: &Block, place: Place) {
        match block {
            // A section's heading is the first level of Word, so that its navigation shows sections.
            Block::Heading { level, spans } => {
                self.paragraph(&format!("Heading{}", level - 1), spans, place)
            }
            Block::Paragraph { spans } => {
                let style = if place.quoted { "Quote" } else { "Normal" };
                self.paragraph(style, spans, place);
            }
            Block::List { start, items } => {
                let list = self.lists.len();
                self.lists.push(*start);
                let inner = Place {
                    depth: place.depth + 1,
                    begins: None,
                    ..place
                };
                for item in items {
                    let first = Place {
                        begins: Some(list),
                        ..inner
                    };
                    let mut blocks = item.iter();
                    match blocks.next() {
                        Some(block @ Block::Paragraph { .. }) => self.block(block, first),
                        other => {
                            self.paragraph("Normal", &[], first);
                            other.into_iter().for_each(|block| self.block(block, inner));
                        }
                    }
                    blocks.for_each(|block| self.block(block, inner));
                }
            }
            Block::Quote { blocks } => self.blocks(
                blocks,
                Place {
                    quoted: true,
                    ..place
                },
            ),
            Block::Code { text, .. } => {
                let span = Span {
                    text: text.clone(),
                    ..Span::default()
                };
                self.paragraph("Code", &[span], place);
            }
            Block::Table(table) => self.table(table),
            Block::Rule => {
                self.xml.open("w:p", &[]);
                self.xml.open("w:pPr", &[]);
                self.xml.open("w:pBdr", &[]);
                let line = [
                    ("w:val", "single"),
                    ("w:sz", "6"),
                    ("w:space", "1"),
                    ("w:color", "8c8c8c"),
                ];
                self.xml.empty("w:bottom", &line);
                (0..3).for_each(|_| self.xml.close());
            }
        }
    }

    fn paragraph(&mut self, style: &str, spans: &[Span], place: Place) {
        self.xml.open("w:p", &[]);
        self.xml.open("w:pPr", &[]);
        self.xml.empty("w:pStyle", &[("w:val", style)]);
        if let Some(list) = place.begins {
            self.xml.open("w:numPr", &[]);
            self.xml.empty("w:ilvl", &[("w:val", "0")]);
            self.xml
                .empty("w:numId", &[("w:val", &(list + 1).to_string())]);
            self.xml.close();
        }
        if place.depth > 0 {
            let left = (INDENT_TWIPS * (place.depth + 1)).to_string();
            let hanging = if place.begins.is_some() {
                INDENT_TWIPS.to_string()
            } else {
                "0".to_owned()
            };
            self.xml
                .empty("w:ind", &[("w:left", &left), ("w:hanging", &hanging)]);
        }
        self.xml.close();
        self.spans(spans, false);
        self.xml.close();
    }

    fn spans(&mut self, spans: &[Span], strong: bool) {
        for span in spans {
            match &span.link {
                None => self.run(span, strong),
                Some(link) => {
                    let id = link_id(self.links.len());
                    self.links.push(link.clone());
                    self.xml.open("w:hyperlink", &[("r:id", &id)]);
                    self.run(span, strong);
                    self.xml.close();
                }
            }
        }
    }

    fn run(&mut self, span: &Span, strong: bool) {
        self.xml.open("w:r", &[]);
        self.xml.open("w:rPr", &[]);
        match (&span.link, span.look.code) {
            (Some(_), _) => self.xml.empty("w:rStyle", &[("w:val", "Hyperlink")]),
            (None, true) => self.xml.empty("w:rStyle", &[("w:val", "CodeText")]),
            (None, false) => {}
        }
        let looks = [
            (span.look.strong || strong, "w:b"),
            (span.look.emphasis, "w:i"),
            (span.look.strike, "w:strike"),
        ];
        for (_, name) in looks.iter().filter(|(applies, _)| *applies) {
            self.xml.empty(name, &[]);
        }
        self.xml.close();
        for (number, line) in span.text.split('\n').enumerate() {
            if number > 0 {
                self.xml.empty("w:br", &[]);
            }
            for (number, piece) in line.split('\t').enumerate() {
                if number > 0 {
                    self.xml.empty("w:tab", &[]);
                }
                self.xml.leaf("w:t", &[("xml:space", "preserve")], piece);
            }
        }
        self.xml.close();
    }

    fn table(&mut self, table: &Table) {
        let columns = table.columns.len().max(1);
        let width = (TEXT_TWIPS / columns).to_string();
        self.xml.open("w:tbl", &[]);
        self.xml.open("w:tblPr", &[]);
        self.xml.empty("w:tblStyle", &[("w:val", "TableGrid")]);
        self.xml
            .empty("w:tblW", &[("w:w", "0"), ("w:type", "auto")]);
        self.xml.close();
        self.xml.open("w:tblGrid", &[]);
        (0..columns).for_each(|_| self.xml.empty("w:gridCol", &[("w:w", &width)]));
        self.xml.close();
        let rows =
            std::iter::once((true, &table.head)).chain(table.rows.iter().map(|row| (false, row)));
        for (is_head, row) in rows {
            self.xml.open("w:tr", &[]);
            if is_head {
                self.xml.open("w:trPr", &[]);
                self.xml.empty("w:tblHeader", &[]);
                self.xml.close();
            }
            for (cell, align) in row.iter().zip(&table.columns) {
                self.cell(cell, *align, is_head, &width);
            }
            self.xml.close();
        }
        self.xml.close();
        // A table must be parted from what follows, and a body may not end with one.
        self.xml.empty("w:p", &[]);
    }

    fn cell(&mut self, cell: &[Span], align: Align, is_head: bool, width: &str) {
        let stands = match align {
            Align::Start => "left",
            Align::Center => "center",
            Align::End => "right",
        };
        self.xml.open("w:tc", &[]);
        self.xml.open("w:tcPr", &[]);
        self.xml
            .empty("w:tcW", &[("w:w", width), ("w:type", "dxa")]);
        self.xml.close();
        self.xml.open("w:p", &[]);
        self.xml.open("w:pPr", &[]);
        self.xml.empty("w:jc", &[("w:val", stands)]);
        self.xml.close();
        self.spans(cell, is_head);
        self.xml.close();
        self.xml.close();
    }
}
