//! Responsible for plain text: what a document says, readable in any editor. It must never add what the document does not say.

use unicode_segmentation::UnicodeSegmentation;

use super::block::{Align, Block, Span, Table, plain};
use super::document::Document;

/// Writes plain text: UTF-8, lines end with `\n`, paragraphs are one line each.
pub(crate) fn write(document: &Document) -> Vec<u8> {
    let mut out = String::new();
    let kicker = document.kicker();
    if !kicker.is_empty() {
        out.push_str(&format!("{kicker}\n\n"));
    }
    underlined(&document.title, '=', &mut out);
    let byline = document.byline();
    if !byline.is_empty() {
        out.push_str(&format!("{byline}\n\n"));
    }
    for section in &document.sections {
        if !section.heading.is_empty() {
            underlined(&section.heading, '-', &mut out);
        }
        write_blocks(&section.blocks, "", &mut out);
    }
    if !document.footer.is_empty() {
        out.push_str(&format!("--\n{}\n", document.footer));
    }
    out.into_bytes()
}

fn underlined(text: &str, mark: char, out: &mut String) {
    let line: String = std::iter::repeat_n(mark, width(text).min(80)).collect();
    out.push_str(&format!("{text}\n{line}\n\n"));
}

fn width(text: &str) -> usize {
    text.graphemes(true).count()
}

/// Each line of `text` behind `indent`, then an empty line.
fn paragraph(text: &str, indent: &str, out: &mut String) {
    for line in text.split('\n') {
        out.push_str(format!("{indent}{line}").trim_end());
        out.push('\n');
    }
    out.push('\n');
}

/// The text of spans; a link's target stands behind it.
fn spoken(spans: &[Span]) -> String {
    let mut text = String::new();
    for span in spans {
        text.push_str(&span.text);
        if let Some(link) = span.link.as_deref().filter(|link| *link != span.text) {
            text.push_str(&format!(" ({link})"));
        }
    }
    text
}

fn write_blocks(blocks: &[Block], indent: &str, out: &mut String) {
    for block in blocks {
        match block {
            Block::Heading { spans, .. } | Block::Paragraph { spans } => {
                paragraph(&spoken(spans), indent, out)
            }
            Block::List { start, items } => list(*start, items, indent, out),
            Block::Quote { blocks } => write_blocks(blocks, &format!("{indent}> "), out),
            Block::Code { text, .. } => paragraph(text, &format!("{indent}    "), out),
            Block::Table(table) => columns(table, indent, out),
            Block::Rule => paragraph("* * *", indent, out),
        }
    }
}

fn list(start: Option<u64>, items: &[Vec<Block>], indent: &str, out: &mut String) {
    for (number, item) in (start.unwrap_or(1)..).zip(items) {
        let mark = if start.is_some() {
            format!("{number}. ")
        } else {
            "- ".to_owned()
        };
        let hanging = " ".repeat(mark.len());
        let mut inner = String::new();
        write_blocks(item, "", &mut inner);
        for (number, line) in inner.trim_end().split('\n').enumerate() {
            let lead = if number == 0 { &mark } else { &hanging };
            out.push_str(format!("{indent}{lead}{line}").trim_end());
            out.push('\n');
        }
    }
    out.push('\n');
}

fn columns(table: &Table, indent: &str, out: &mut String) {
    let rows: Vec<Vec<String>> = std::iter::once(&table.head)
        .chain(&table.rows)
        .map(|row| {
            row.iter()
                .map(|cell| plain(cell).replace('\n', " "))
                .collect()
        })
        .collect();
    let widths: Vec<usize> = (0..table.columns.len())
        .map(|column| {
            rows.iter()
                .filter_map(|row| row.get(column))
                .map(|cell| width(cell))
                .max()
                .unwrap_or(0)
        })
        .collect();
    for (number, row) in rows.iter().enumerate() {
        let cells = row.iter().zip(&widths).zip(&table.columns);
        let cells: Vec<String> = cells
            .map(|((cell, width), align)| pad(cell, *width, *align))
            .collect();
        out.push_str(format!("{indent}{}", cells.join("  ")).trim_end());
        out.push('\n');
        if number == 0 {
            let rule: Vec<String> = widths.iter().map(|width| "-".repeat(*width)).collect();
            out.push_str(&format!("{indent}{}\n", rule.join("  ")));
        }
    }
    out.push('\n');
}

fn pad(cell: &str, to: usize, align: Align) -> String {
    let free = to.saturating_sub(width(cell));
    let before = match align {
        Align::Start => 0,
        Align::Center => free / 2,
        Align::End => free,
    };
    format!("{}{cell}{}", " ".repeat(before), " ".repeat(free - before))
}
