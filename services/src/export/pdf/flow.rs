//! Responsible for where things go: down the page, onto the next. It must never paint.

use super::font::{Fonts, Style};
use super::measure::{Line, lines};
use super::page::{HEIGHT, Item, MARGIN, Page, WIDTH};
use crate::export::block::{Align, Block, Span, Table, plain};
use crate::export::document::{Colour, Document};

const TEXT_SIZE: f32 = 10.5;
const CODE_SIZE: f32 = 9.0;
/// Height of a line over the size of its text.
const LEADING: f32 = 1.42;
const INDENT: f32 = 18.0;
const BLACK: Colour = Colour {
    red: 0x1c,
    green: 0x1c,
    blue: 0x1c,
};
const GREY: Colour = Colour {
    red: 0x59,
    green: 0x59,
    blue: 0x59,
};
const RULE: Colour = Colour {
    red: 0x8c,
    green: 0x8c,
    blue: 0x8c,
};
const SHADE: Colour = Colour {
    red: 0xee,
    green: 0xee,
    blue: 0xee,
};
/// Blank between a cell's edge and its text.
const CELL: f32 = 4.0;

/// Where a section's heading went.
pub(super) struct Heading {
    pub(super) text: String,
    pub(super) page: usize,
    pub(super) top: f32,
}

/// How a paragraph looks.
#[derive(Clone, Copy)]
struct Type {
    size: f32,
    face: Style,
    colour: Colour,
    before: f32,
    after: f32,
}

const BODY: Type = Type {
    size: TEXT_SIZE,
    face: Style::Regular,
    colour: BLACK,
    before: 0.0,
    after: 6.0,
};

/// A document being laid on pages.
pub(super) struct Flow<'a> {
    document: &'a Document,
    fonts: &'a Fonts,
    pages: Vec<Page>,
    page: Page,
    /// How far down the page is used.
    top: f32,
    headings: Vec<Heading>,
}

impl<'a> Flow<'a> {
    pub(super) fn new(document: &'a Document, fonts: &'a Fonts) -> Self {
        Self {
            document,
            fonts,
            pages: Vec::new(),
            page: Page::default(),
            top: MARGIN,
            headings: Vec::new(),
        }
    }

    pub(super) fn finish(mut self) -> (Vec<Page>, Vec<Heading>) {
        self.pages.push(self.page);
        (self.pages, self.headings)
    }

    pub(super) fn document(&mut self) {
        let document = self.document;
        let small = Type {
            size: 10.0,
            colour: GREY,
            ..BODY
        };
        let title = Type {
            size: 22.0,
            face: Style::Bold,
            colour: document.colour,
            before: 0.0,
            after: 6.0,
        };
        self.line(&document.kicker(), small);
        self.line(&document.title, title);
        self.line(
            &document.byline(),
            Type {
                after: 14.0,
                ..small
            },
        );
        for section in &document.sections {
            if !section.heading.is_empty() {
                let look = Type {
                    size: 16.0,
                    before: 14.0,
                    ..title
                };
                self.keep(look.size * 4.0);
                let (page, top) = (self.pages.len(), self.top);
                self.headings.push(Heading {
                    text: section.heading.clone(),
                    page,
                    top,
                });
                self.line(&section.heading, look);
            }
            self.blocks(&section.blocks, 0.0, BODY);
        }
    }

    /// A paragraph of one look; nothing for an empty one.
    fn line(&mut self, text: &str, look: Type) {
        if !text.is_empty() {
            self.paragraph(
                &[Span {
                    text: text.to_owned(),
                    ..Span::default()
                }],
                0.0,
                look,
            );
        }
    }

    /// Begins a page, unless so much room is left.
    fn keep(&mut self, height: f32) {
        if self.top + height > HEIGHT - MARGIN && self.top > MARGIN {
            self.pages.push(std::mem::take(&mut self.page));
            self.top = MARGIN;
        }
    }

    fn put(&mut self, line: Line, left: f32, look: Type) {
        let baseline = self.top + look.size;
        let Type { size, colour, .. } = look;
        self.page.items.push(Item::Text {
            line,
            left,
            baseline,
            size,
            colour,
        });
    }

    fn area(&mut self, left: f32, width: f32, height: f32, colour: Colour) {
        let top = self.top;
        self.page.items.push(Item::Area {
            left,
            top,
            width,
            height,
            colour,
        });
    }

    fn paragraph(&mut self, spans: &[Span], indent: f32, look: Type) {
        // A blank before a paragraph is not carried over to a new page.
        self.top += if self.top > MARGIN { look.before } else { 0.0 };
        for line in lines(
            spans,
            self.fonts,
            look.size,
            WIDTH - 2.0 * MARGIN - indent,
            look.face,
        ) {
            self.keep(look.size * LEADING);
            self.put(line, MARGIN + indent, look);
            self.top += look.size * LEADING;
        }
        self.top += look.after;
    }

    fn blocks(&mut self, blocks: &[Block], indent: f32, look: Type) {
        for block in blocks {
            self.block(block, indent, look);
        }
    }

    fn block(&mut self, block: &Block, indent: f32, look: Type) {
        match block {
            Block::Heading { level, spans } => {
                let size = 16.5 - f32::from(*level);
                let heading = Type {
                    size,
                    face: Style::Bold,
                    colour: self.document.colour,
                    before: 8.0,
                    after: 4.0,
                };
                self.keep(size * 4.0);
                self.paragraph(spans, indent, heading);
            }
            Block::Paragraph { spans } => self.paragraph(spans, indent, look),
            Block::List { start, items } => self.list(*start, items, indent, look),
            Block::Quote { blocks } => {
                self.blocks(
                    blocks,
                    indent + INDENT,
                    Type {
                        face: Style::Italic,
                        colour: GREY,
                        ..look
                    },
                );
            }
            Block::Code { text, .. } => self.code(text, indent),
            Block::Table(table) => self.table(table, indent),
            Block::Rule => {
                self.keep(12.0);
                self.top += 4.0;
                self.area(MARGIN + indent, WIDTH - 2.0 * MARGIN - indent, 0.7, RULE);
                self.top += 8.0;
            }
        }
    }

    fn list(&mut self, start: Option<u64>, items: &[Vec<Block>], indent: f32, look: Type) {
        for (number, item) in (start.unwrap_or(1)..).zip(items) {
            self.keep(look.size * LEADING);
            let mark = if start.is_some() {
                format!("{number}.")
            } else {
                "\u{2022}".to_owned()
            };
            let span = Span {
                text: mark,
                ..Span::default()
            };
            let mark = lines(&[span], self.fonts, look.size, WIDTH, Style::Regular)
                .into_iter()
                .next();
            let width = mark.as_ref().map_or(0.0, |mark| mark.width);
            // Long numbers push their text further in, never over it.
            let inner = indent + INDENT.max(width + 6.0);
            if let Some(mark) = mark {
                self.put(mark, MARGIN + indent + 2.0, look);
            }
            let (page, top) = (self.pages.len(), self.top);
            self.blocks(item, inner, Type { after: 3.0, ..look });
            if (page, top) == (self.pages.len(), self.top) {
                self.top += look.size * LEADING;
            }
        }
        self.top += 3.0;
    }

    fn code(&mut self, text: &str, indent: f32) {
        let look = Type {
            size: CODE_SIZE,
            face: Style::Mono,
            ..BODY
        };
        let span = Span {
            text: text.to_owned(),
            ..Span::default()
        };
        let width = WIDTH - 2.0 * MARGIN - indent;
        for line in lines(
            &[span],
            self.fonts,
            look.size,
            width - 2.0 * CELL,
            look.face,
        ) {
            let height = look.size * LEADING;
            self.keep(height);
            self.area(MARGIN + indent, width, height, SHADE);
            self.put(line, MARGIN + indent + CELL, look);
            self.top += height;
        }
        self.top += look.after;
    }

    fn table(&mut self, table: &Table, indent: f32) {
        let widths = self.widths(table, WIDTH - 2.0 * MARGIN - indent);
        self.row(table, &table.head, &widths, indent, true);
        for row in &table.rows {
            self.row(table, row, &widths, indent, false);
        }
        self.top += BODY.after;
    }

    /// Room by how much each column says, none below a share that keeps single words whole in most tables.
    fn widths(&self, table: &Table, width: f32) -> Vec<f32> {
        let rows = || std::iter::once(&table.head).chain(&table.rows);
        let needs: Vec<f32> = (0..table.columns.len())
            .map(|column| {
                let cells = rows()
                    .filter_map(|row| row.get(column))
                    .map(|cell| plain(cell).chars().count());
                f32::from(u16::try_from(cells.max().unwrap_or(0).clamp(4, 60)).unwrap_or(60))
            })
            .collect();
        let sum: f32 = needs.iter().sum();
        needs
            .iter()
            .map(|need| width * need / sum.max(1.0))
            .collect()
    }

    fn row(
        &mut self,
        table: &Table,
        cells: &[Vec<Span>],
        widths: &[f32],
        indent: f32,
        is_head: bool,
    ) {
        let face = if is_head { Style::Bold } else { Style::Regular };
        let look = Type {
            size: 9.5,
            face,
            ..BODY
        };
        let leading = look.size * LEADING;
        let mut columns: Vec<std::vec::IntoIter<Line>> = Vec::with_capacity(widths.len());
        for (cell, width) in cells.iter().zip(widths) {
            let room = (width - 2.0 * CELL).max(look.size);
            columns.push(lines(cell, self.fonts, look.size, room, face).into_iter());
        }
        // Line by line over all cells, so that a row may be longer than a page.
        let mut first = true;
        loop {
            let texts: Vec<Option<Line>> = columns.iter_mut().map(Iterator::next).collect();
            if !first && texts.iter().all(Option::is_none) {
                break;
            }
            self.keep(leading);
            let mut left = MARGIN + indent;
            if is_head {
                self.area(left, widths.iter().sum(), leading, SHADE);
            }
            if first {
                self.area(left, widths.iter().sum(), 0.5, RULE);
            }
            for ((text, width), align) in texts.into_iter().zip(widths).zip(&table.columns) {
                if let Some(text) = text {
                    let free = (width - 2.0 * CELL - text.width).max(0.0);
                    let shift = match align {
                        Align::Start => 0.0,
                        Align::Center => free / 2.0,
                        Align::End => free,
                    };
                    self.put(text, left + CELL + shift, look);
                }
                left += width;
            }
            self.top += leading;
            first = false;
        }
    }
}
