//! Responsible for RTF: a small writer that escapes every character it is not sure of. It must never let text become a control word.
//!
//! # Source
//! *Rich Text Format (RTF) Specification*, version 1.9.1 (Microsoft, 2008). Characters beyond ASCII are `\uN?`, N being a signed
//! 16-bit unit of UTF-16, with `?` for readers that know no Unicode. Each stands in a group of its own: `unrtf` would drop
//! the rest of the word with the `?`.

use super::block::{Align, Block, Span, Table};
use super::document::Document;

/// Width of a page's text in twips, a twentieth of a point: A4 with margins of 2.5 cm.
const TEXT_TWIPS: usize = 9072;
/// One level of indentation in twips.
const INDENT_TWIPS: usize = 360;

/// Writes RTF, which is ASCII throughout.
pub(crate) fn write(document: &Document) -> Vec<u8> {
    let mut rtf = Rtf(String::new());
    let colour = document.colour;
    rtf.raw("{\\rtf1\\ansi\\ansicpg1252\\deff0\\uc1\n");
    rtf.raw("{\\fonttbl{\\f0\\fswiss Arial;}{\\f1\\fmodern Courier New;}}\n");
    rtf.raw(&format!(
        "{{\\colortbl;\\red{}\\green{}\\blue{};\\red89\\green89\\blue89;}}\n",
        colour.red, colour.green, colour.blue
    ));
    rtf.info(document);
    rtf.raw("\\paperw11906\\paperh16838\\margl1417\\margr1417\\margt1417\\margb1417\\fs22\n");
    if !document.footer.is_empty() {
        rtf.raw("{\\footer\\pard\\qc\\cf2\\fs18 ");
        rtf.text(&document.footer);
        rtf.raw("\\par}\n");
    }
    rtf.line("\\cf2", &document.kicker());
    rtf.line(
        "\\sb120\\sa120\\outlinelevel0\\b\\fs44\\cf1",
        &document.title,
    );
    rtf.line("\\cf2", &document.byline());
    for section in &document.sections {
        rtf.line(
            "\\keepn\\sb360\\sa120\\outlinelevel1\\b\\fs32\\cf1",
            &section.heading,
        );
        rtf.blocks(&section.blocks, 0);
    }
    rtf.raw("}\n");
    rtf.0.into_bytes()
}

struct Rtf(String);

impl Rtf {
    /// Control words of ours.
    fn raw(&mut self, control: &str) {
        self.0.push_str(control);
    }

    /// Text of others, escaped.
    fn text(&mut self, text: &str) {
        for letter in text.chars() {
            match letter {
                '\\' | '{' | '}' => {
                    self.0.push('\\');
                    self.0.push(letter);
                }
                '\n' => self.0.push_str("\\line "),
                '\t' => self.0.push_str("\\tab "),
                ' '..='~' => self.0.push(letter),
                other => {
                    let mut units = [0_u16; 2];
                    self.0.push('{');
                    for unit in other.encode_utf16(&mut units) {
                        self.0.push_str(&format!("\\u{}?", unit.cast_signed()));
                    }
                    self.0.push('}');
                }
            }
        }
    }

    fn info(&mut self, document: &Document) {
        self.raw("{\\info{\\title ");
        self.text(&document.title);
        self.raw("}");
        for (name, word) in [
            ("author", "author"),
            ("subject", "subject"),
            ("keywords", "keywords"),
        ] {
            if let Some(value) = document.metadatum(name) {
                self.raw(&format!("{{\\{word} "));
                self.text(value);
                self.raw("}");
            }
        }
        if let Some(made) = document.created {
            self.raw(&format!(
                "{{\\creatim\\yr{}\\mo{}\\dy{}\\hr{}\\min{}}}",
                made.year, made.month, made.day, made.hour, made.minute
            ));
        }
        self.raw("}\n");
    }

    /// A paragraph of one look; nothing for an empty one.
    fn line(&mut self, control: &str, text: &str) {
        if !text.is_empty() {
            self.raw(&format!("{{\\pard{control} "));
            self.text(text);
            self.raw("\\par}\n");
        }
    }

    fn blocks(&mut self, blocks: &[Block], depth: usize) {
        for block in blocks {
            self.block(block, depth, None);
        }
    }

    /// One block; `mark` is a list's mark before its first line.
    fn block(&mut self, block: &Block, depth: usize, mark: Option<&str>) {
        let indent = depth * INDENT_TWIPS;
        match block {
            Block::Heading { level, spans } => {
                let half_points = 34 - 2 * usize::from(*level);
                let outline = usize::from(*level) - 1;
                self.raw(&format!(
                    "{{\\pard\\keepn\\sb240\\sa80\\outlinelevel{outline}\\b\\fs{half_points}\\cf1 "
                ));
                self.spans(spans);
                self.raw("\\par}\n");
            }
            Block::Paragraph { spans } => {
                self.raw(&format!("{{\\pard\\sa120\\li{indent} "));
                self.marked(mark, indent);
                self.spans(spans);
                self.raw("\\par}\n");
            }
            Block::List { start, items } => {
                for (number, item) in (start.unwrap_or(1)..).zip(items) {
                    let mark = if start.is_some() {
                        format!("{number}.")
                    } else {
                        "\u{2022}".to_owned()
                    };
                    let mut blocks = item.iter();
                    match blocks.next() {
                        Some(first @ Block::Paragraph { .. }) => {
                            self.block(first, depth + 1, Some(&mark))
                        }
                        first => {
                            self.block(
                                &Block::Paragraph { spans: Vec::new() },
                                depth + 1,
                                Some(&mark),
                            );
                            first
                                .into_iter()
                                .for_each(|block| self.block(block, depth + 1, None));
                        }
                    }
                    blocks.for_each(|block| self.block(block, depth + 1, None));
                }
            }
            Block::Quote { blocks } => {
                self.raw("{\\i\n");
                self.blocks(blocks, depth + 1);
                self.raw("}\n");
            }
            Block::Code { text, .. } => {
                self.raw(&format!("{{\\pard\\sa120\\li{indent}\\f1\\fs20 "));
                self.text(text);
                self.raw("\\par}\n");
            }
            Block::Table(table) => self.table(table),
            Block::Rule => self.raw("{\\pard\\sa120\\brdrb\\brdrs\\brdrw10\\par}\n"),
        }
    }

    fn marked(&mut self, mark: Option<&str>, indent: usize) {
        if let Some(mark) = mark {
            self.raw(&format!("\\fi-{INDENT_TWIPS}\\tx{indent} "));
            self.text(mark);
            self.raw("\\tab ");
        }
    }

    fn table(&mut self, table: &Table) {
        let columns = table.columns.len().max(1);
        let rows =
            std::iter::once((true, &table.head)).chain(table.rows.iter().map(|row| (false, row)));
        for (is_head, row) in rows {
            self.raw("\\trowd\\trgaph70");
            if is_head {
                self.raw("\\trhdr");
            }
            for column in 1..=columns {
                self.raw("\\clbrdrt\\brdrs\\clbrdrl\\brdrs\\clbrdrb\\brdrs\\clbrdrr\\brdrs");
                self.raw(&format!("\\cellx{}", TEXT_TWIPS * column / columns));
            }
            self.raw("\n");
            for (cell, align) in row.iter().zip(&table.columns) {
                let stands = match align {
                    Align::Start => "\\ql",
                    Align::Center => "\\qc",
                    Align::End => "\\qr",
                };
                self.raw(&format!(
                    "\\pard\\intbl{stands}{{{} ",
                    if is_head { "\\b" } else { "\\b0" }
                ));
                self.spans(cell);
                self.raw("}\\cell\n");
            }
            self.raw("\\row\n");
        }
        self.raw("\\pard\\par\n");
    }

    fn spans(&mut self, spans: &[Span]) {
        for span in spans {
            if let Some(link) = &span.link {
                self.raw("{\\field{\\*\\fldinst{HYPERLINK \"");
                self.text(link);
                self.raw("\"}}{\\fldrslt ");
            }
            let looks = [
                (span.look.strong, "\\b"),
                (span.look.emphasis, "\\i"),
                (span.look.strike, "\\strike"),
                (span.look.code, "\\f1"),
                (span.link.is_some(), "\\ul"),
            ];
            self.raw("{");
            for (_, word) in looks.iter().filter(|(applies, _)| *applies) {
                self.raw(word);
            }
            // Ends the control word, and is not part of the text; after `{` alone it would be.
            if looks.iter().any(|(applies, _)| *applies) {
                self.raw(" ");
            }
            self.text(&span.text);
            self.raw(if span.link.is_some() { "}}}" } else { "}" });
        }
    }
}
