//! Responsible for the tree that every format is written from: blocks that hold spans. It must never know Markdown or any format.

use serde::Serialize;

/// A piece of a section.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Block {
    /// A heading below the section's own.
    Heading {
        /// 3 to 6: the document's title is 1, a section's heading 2. Never more than one deeper than the heading before.
        level: u8,
        /// Its text.
        spans: Vec<Span>,
    },
    /// A paragraph.
    Paragraph {
        /// Its text.
        spans: Vec<Span>,
    },
    /// A list.
    List {
        /// The first item's number; `None` for bullets.
        start: Option<u64>,
        /// The blocks of each item.
        items: Vec<Vec<Self>>,
    },
    /// A quotation.
    Quote {
        /// What is quoted.
        blocks: Vec<Self>,
    },
    /// Code, to be shown as it is.
    Code {
        /// Its language, where named.
        language: Option<String>,
        /// Its lines.
        text: String,
    },
    /// A table.
    Table(Table),
    /// A line across.
    Rule,
}

/// Rows under a head.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Table {
    /// How each column's text stands.
    pub columns: Vec<Align>,
    /// The head's cells.
    pub head: Vec<Vec<Span>>,
    /// The rows' cells.
    pub rows: Vec<Vec<Vec<Span>>>,
}

/// How a column's text stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Align {
    /// As the reader's language has it.
    Start,
    /// In the middle.
    Center,
    /// At the end: figures.
    End,
}

/// Text of one look. A line break within it is a hard one.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Span {
    /// The text.
    pub text: String,
    /// How it looks.
    #[serde(flatten)]
    pub look: Look,
    /// Where it leads: an `http`, `https` or `mailto` address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub link: Option<String>,
}

/// How text looks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Look {
    /// Important.
    #[serde(skip_serializing_if = "is_false")]
    pub strong: bool,
    /// Stressed.
    #[serde(skip_serializing_if = "is_false")]
    pub emphasis: bool,
    /// No longer true.
    #[serde(skip_serializing_if = "is_false")]
    pub strike: bool,
    /// Code within text.
    #[serde(skip_serializing_if = "is_false")]
    pub code: bool,
}

const fn is_false(value: &bool) -> bool {
    !*value
}

/// The text of spans without their looks.
pub(crate) fn plain(spans: &[Span]) -> String {
    spans.iter().map(|span| span.text.as_str()).collect()
}

/// Calls `see` for every block of a tree, outermost first.
pub(crate) fn walk<'a>(blocks: &'a [Block], see: &mut impl FnMut(&'a Block)) {
    for block in blocks {
        see(block);
        match block {
            Block::List { items, .. } => items.iter().for_each(|item| walk(item, see)),
            Block::Quote { blocks } => walk(blocks, see),
            _ => {}
        }
    }
}
