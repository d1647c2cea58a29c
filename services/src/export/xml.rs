//! Responsible for XML: the document's tree under names of its own, for programs. It must never lose what the model holds.

use super::block::{Align, Block, Span, Table};
use super::document::Document;
use super::markup::Markup;

/// Writes XML.
pub(crate) fn write(document: &Document) -> Vec<u8> {
    let mut xml = Markup::new();
    xml.open("document", &[("xml:lang", &document.language)]);
    xml.leaf("title", &[], &document.title);
    let kind = document.document_type.map(|kind| kind.label("en"));
    let created = document.created.map(super::stamp::Stamp::iso);
    let optional = [
        ("type", kind),
        ("created", created.as_deref()),
        ("company", Some(document.company.as_str())),
        ("footer", Some(document.footer.as_str())),
    ];
    for (name, value) in optional {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            xml.leaf(name, &[], value);
        }
    }
    xml.open("metadata", &[]);
    for (name, value) in &document.metadata {
        xml.leaf("entry", &[("name", name)], value);
    }
    xml.close();
    xml.open("sections", &[]);
    for section in &document.sections {
        xml.open("section", &[]);
        if !section.heading.is_empty() {
            xml.leaf("heading", &[], &section.heading);
        }
        blocks(&section.blocks, &mut xml);
        xml.close();
    }
    xml.finish()
}

fn blocks(blocks_in: &[Block], xml: &mut Markup) {
    for block in blocks_in {
        match block {
            Block::Heading { level, spans: text } => {
                xml.open("subheading", &[("level", &level.to_string())]);
                spans(text, xml);
                xml.close();
            }
            Block::Paragraph { spans: text } => {
                xml.open("paragraph", &[]);
                spans(text, xml);
                xml.close();
            }
            Block::List { start, items } => {
                match start {
                    Some(start) => xml.open("list", &[("start", &start.to_string())]),
                    None => xml.open("list", &[]),
                }
                for item in items {
                    xml.open("item", &[]);
                    blocks(item, xml);
                    xml.close();
                }
                xml.close();
            }
            Block::Quote { blocks: quoted } => {
                xml.open("quote", &[]);
                blocks(quoted, xml);
                xml.close();
            }
            Block::Code { language, text } => match language {
                Some(language) => xml.leaf("code", &[("language", language)], text),
                None => xml.leaf("code", &[], text),
            },
            Block::Table(table) => write_table(table, xml),
            Block::Rule => xml.empty("rule", &[]),
        }
    }
}

fn write_table(table: &Table, xml: &mut Markup) {
    xml.open("table", &[]);
    let rows =
        std::iter::once(("head", &table.head)).chain(table.rows.iter().map(|row| ("row", row)));
    for (name, row) in rows {
        xml.open(name, &[]);
        for (cell, align) in row.iter().zip(&table.columns) {
            let align = match align {
                Align::Start => "start",
                Align::Center => "center",
                Align::End => "end",
            };
            xml.open("cell", &[("align", align)]);
            spans(cell, xml);
            xml.close();
        }
        xml.close();
    }
    xml.close();
}

fn spans(spans_in: &[Span], xml: &mut Markup) {
    for span in spans_in {
        let mut opened = 0;
        if let Some(link) = &span.link {
            xml.open("link", &[("target", link)]);
            opened += 1;
        }
        let looks = [
            (span.look.strong, "strong"),
            (span.look.emphasis, "emphasis"),
            (span.look.strike, "strike"),
            (span.look.code, "literal"),
        ];
        for (_, name) in looks.iter().filter(|(applies, _)| *applies) {
            xml.open(name, &[]);
            opened += 1;
        }
        for (number, line) in span.text.split('\n').enumerate() {
            if number > 0 {
                xml.empty("break", &[]);
            }
            xml.text(line);
        }
        for _ in 0..opened {
            xml.close();
        }
    }
}
