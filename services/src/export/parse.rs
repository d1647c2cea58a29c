//! Responsible for reading a section's Markdown into blocks. It must never know how blocks are written.
//!
//! Raw HTML is text here: it is shown, never passed on. Links other than `http`, `https` and `mailto` lose their target and keep their
//! text. Pictures are their description, for nothing is fetched. Nesting deeper than [`DEPTH_MAX`] is flattened, so that no writer
//! recurses further.
//!
//! # Source
//! CommonMark 0.31 with GitHub's tables, strikethrough and task lists, as pulldown-cmark reads them.

use pulldown_cmark::{Alignment, CodeBlockKind, Event, Options, Parser, Tag, TagEnd};

use super::block::{Align, Block, Look, Span, Table};
use super::error::ExportError;

/// Deepest nesting of lists and quotations.
pub(crate) const DEPTH_MAX: usize = 8;
/// Most columns of a table: more cannot be read on a page.
const COLUMNS_MAX: usize = 32;
/// The heading that a section's content may begin with is one below the section's own.
const LEVEL_MIN: u8 = 3;
const LEVEL_MAX: u8 = 6;

/// What reading noticed, for the scores.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Notes {
    /// Pictures without a description.
    pub(crate) pictures_undescribed: usize,
    /// Links whose target was dropped.
    pub(crate) links_dropped: usize,
    /// Pieces of raw HTML.
    pub(crate) html: usize,
    /// Headings that skipped a level.
    pub(crate) levels_skipped: usize,
}

/// Reads a section's content, cleaned.
pub(crate) fn markdown(content: &str, notes: &mut Notes) -> Result<Vec<Block>, ExportError> {
    let options =
        Options::ENABLE_TABLES | Options::ENABLE_STRIKETHROUGH | Options::ENABLE_TASKLISTS;
    let mut reader = Reader::new(notes);
    for event in Parser::new_ext(content, options) {
        reader.read(event)?;
    }
    reader.flush();
    Ok(reader.finish())
}

/// A list, item or quotation that is open.
enum Kind {
    Root,
    Quote,
    List(Option<u64>, Vec<Vec<Block>>),
    Item,
}

struct Frame {
    kind: Kind,
    blocks: Vec<Block>,
}

struct Reader<'n> {
    frames: Vec<Frame>,
    /// For each open container, whether it has a frame, or is too deep and dissolves into the one around it.
    open: Vec<bool>,
    spans: Vec<Span>,
    look: Look,
    strong: usize,
    emphasis: usize,
    strike: usize,
    links: Vec<Option<String>>,
    code: Option<(Option<String>, String)>,
    table: Option<Table>,
    row: Vec<Vec<Span>>,
    picture_text: Option<usize>,
    level: u8,
    notes: &'n mut Notes,
}

impl<'n> Reader<'n> {
    fn new(notes: &'n mut Notes) -> Self {
        Self {
            frames: vec![Frame {
                kind: Kind::Root,
                blocks: Vec::new(),
            }],
            open: Vec::new(),
            spans: Vec::new(),
            look: Look::default(),
            strong: 0,
            emphasis: 0,
            strike: 0,
            links: Vec::new(),
            code: None,
            table: None,
            row: Vec::new(),
            picture_text: None,
            level: LEVEL_MIN - 1,
            notes,
        }
    }

    fn read(&mut self, event: Event<'_>) -> Result<(), ExportError> {
        match event {
            Event::Start(tag) => self.start(tag)?,
            Event::End(tag) => self.end(tag),
            Event::Text(text) => match &mut self.code {
                Some((_, code)) => code.push_str(&text),
                None => self.push(&text),
            },
            Event::Code(text) => {
                self.look.code = true;
                self.push(&text);
                self.look.code = false;
            }
            Event::Html(text) | Event::InlineHtml(text) => {
                self.notes.html += 1;
                let tag = text.trim().to_ascii_lowercase();
                let is_break = matches!(tag.as_str(), "<br>" | "<br/>" | "<br />");
                self.push(if is_break { "\n" } else { &text });
            }
            Event::InlineMath(text) | Event::DisplayMath(text) | Event::FootnoteReference(text) => {
                self.push(&text)
            }
            Event::SoftBreak => self.push(" "),
            Event::HardBreak => self.push("\n"),
            Event::Rule => {
                self.flush();
                self.put(Block::Rule);
            }
            Event::TaskListMarker(done) => self.push(if done { "[x] " } else { "[ ] " }),
        }
        Ok(())
    }

    fn start(&mut self, tag: Tag<'_>) -> Result<(), ExportError> {
        match tag {
            Tag::Strong => self.strong += 1,
            Tag::Emphasis => self.emphasis += 1,
            Tag::Strikethrough => self.strike += 1,
            Tag::Link { dest_url, .. } => {
                let target = safe_link(&dest_url);
                self.notes.links_dropped += usize::from(target.is_none());
                self.links.push(target);
            }
            Tag::Image { .. } => self.picture_text = Some(self.written()),
            Tag::List(start) => self.nest(Kind::List(start, Vec::new())),
            Tag::Item => self.nest(Kind::Item),
            Tag::BlockQuote(_) => self.nest(Kind::Quote),
            Tag::CodeBlock(kind) => {
                self.flush();
                let language = match kind {
                    CodeBlockKind::Fenced(name) => {
                        name.split_whitespace().next().map(str::to_owned)
                    }
                    CodeBlockKind::Indented => None,
                };
                self.code = Some((language, String::new()));
            }
            Tag::Table(columns) => {
                self.flush();
                if columns.len() > COLUMNS_MAX {
                    return Err(ExportError::TooLarge {
                        field: "a table",
                        unit: "columns",
                        max: COLUMNS_MAX,
                    });
                }
                let columns = columns.into_iter().map(align).collect();
                self.table = Some(Table {
                    columns,
                    head: Vec::new(),
                    rows: Vec::new(),
                });
            }
            Tag::TableHead | Tag::TableRow => self.row.clear(),
            Tag::TableCell => self.spans.clear(),
            _ => self.flush(),
        }
        self.style();
        Ok(())
    }

    fn end(&mut self, tag: TagEnd) {
        match tag {
            TagEnd::Strong => self.strong = self.strong.saturating_sub(1),
            TagEnd::Emphasis => self.emphasis = self.emphasis.saturating_sub(1),
            TagEnd::Strikethrough => self.strike = self.strike.saturating_sub(1),
            TagEnd::Link => drop(self.links.pop()),
            TagEnd::Image => {
                let before = self.picture_text.take();
                self.notes.pictures_undescribed += usize::from(before == Some(self.written()));
            }
            TagEnd::List(_) | TagEnd::Item | TagEnd::BlockQuote(_) => self.unnest(),
            TagEnd::CodeBlock => {
                if let Some((language, text)) = self.code.take() {
                    let text = text.strip_suffix('\n').unwrap_or(&text).to_owned();
                    self.put(Block::Code { language, text });
                }
            }
            TagEnd::Heading(level) => {
                let asked = LEVEL_MIN - 1 + heading_number(level);
                let level = asked.min(self.level + 1).min(LEVEL_MAX);
                self.notes.levels_skipped += usize::from(asked > self.level + 1);
                self.level = level;
                let spans = tidy(std::mem::take(&mut self.spans));
                if !spans.is_empty() {
                    self.put(Block::Heading { level, spans });
                }
            }
            TagEnd::TableCell => self.row.push(tidy(std::mem::take(&mut self.spans))),
            TagEnd::TableHead => {
                let row = std::mem::take(&mut self.row);
                if let Some(table) = &mut self.table {
                    table.head = row;
                }
            }
            TagEnd::TableRow => {
                let row = std::mem::take(&mut self.row);
                if let Some(table) = &mut self.table {
                    table.rows.push(row);
                }
            }
            TagEnd::Table => {
                if let Some(table) = self.table.take() {
                    self.put(Block::Table(table));
                }
            }
            _ => self.flush(),
        }
        self.style();
    }

    fn style(&mut self) {
        self.look = Look {
            strong: self.strong > 0,
            emphasis: self.emphasis > 0,
            strike: self.strike > 0,
            code: false,
        };
    }

    /// Adds text in the current look to the open paragraph.
    fn push(&mut self, text: &str) {
        let link = self.links.last().cloned().flatten();
        if let Some(last) = self.spans.last_mut()
            && last.look == self.look
            && last.link == link
        {
            last.text.push_str(text);
        } else if !text.is_empty() {
            self.spans.push(Span {
                text: text.to_owned(),
                look: self.look,
                link,
            });
        }
    }

    /// How much text the open paragraph has.
    fn written(&self) -> usize {
        self.spans.iter().map(|span| span.text.len()).sum()
    }

    fn flush(&mut self) {
        let spans = tidy(std::mem::take(&mut self.spans));
        if !spans.is_empty() {
            self.put(Block::Paragraph { spans });
        }
    }

    fn put(&mut self, block: Block) {
        if let Some(frame) = self.frames.last_mut() {
            frame.blocks.push(block);
        }
    }

    fn nest(&mut self, kind: Kind) {
        self.flush();
        // An item belongs to its list: it has a frame exactly where the list has one.
        let list_has_frame = matches!(
            self.frames.last(),
            Some(Frame {
                kind: Kind::List(..),
                ..
            })
        );
        let has_frame = match kind {
            Kind::Item => list_has_frame && self.open.last() == Some(&true),
            _ => self.frames.len() <= 2 * DEPTH_MAX && self.open.last() != Some(&false),
        };
        self.open.push(has_frame);
        if has_frame {
            self.frames.push(Frame {
                kind,
                blocks: Vec::new(),
            });
        }
    }

    fn unnest(&mut self) {
        self.flush();
        if self.open.pop() == Some(true)
            && let Some(frame) = self.frames.pop()
        {
            match frame.kind {
                Kind::Quote if !frame.blocks.is_empty() => self.put(Block::Quote {
                    blocks: frame.blocks,
                }),
                Kind::List(start, items) if !items.is_empty() => {
                    self.put(Block::List { start, items })
                }
                Kind::Item => {
                    if let Some(Frame {
                        kind: Kind::List(_, items),
                        ..
                    }) = self.frames.last_mut()
                    {
                        items.push(frame.blocks);
                    }
                }
                _ => {}
            }
        }
    }

    fn finish(mut self) -> Vec<Block> {
        self.frames
            .drain(..)
            .next()
            .map(|root| root.blocks)
            .unwrap_or_default()
    }
}

const fn heading_number(level: pulldown_cmark::HeadingLevel) -> u8 {
    match level {
        pulldown_cmark::HeadingLevel::H1 => 1,
        pulldown_cmark::HeadingLevel::H2 => 2,
        pulldown_cmark::HeadingLevel::H3 => 3,
        pulldown_cmark::HeadingLevel::H4 => 4,
        pulldown_cmark::HeadingLevel::H5 => 5,
        pulldown_cmark::HeadingLevel::H6 => 6,
    }
}

const fn align(alignment: Alignment) -> Align {
    match alignment {
        Alignment::None | Alignment::Left => Align::Start,
        Alignment::Center => Align::Center,
        Alignment::Right => Align::End,
    }
}

/// The target, if following it can only open a page or write a letter.
pub(crate) fn safe_link(target: &str) -> Option<String> {
    /// Longest target; browsers promise no more.
    const TARGET_BYTES_MAX: usize = 2048;
    let lower = target.to_ascii_lowercase();
    let is_known = ["http://", "https://", "mailto:"]
        .iter()
        .any(|scheme| lower.starts_with(scheme));
    let is_plain = target.len() <= TARGET_BYTES_MAX
        && !target.chars().any(|letter| {
            letter.is_whitespace() || letter.is_control() || "<>\"\\{}^`|".contains(letter)
        });
    (is_known && is_plain).then(|| target.to_owned())
}

/// Spans without blanks at the ends of the paragraph and at its line breaks, empty ones dropped.
fn tidy(mut spans: Vec<Span>) -> Vec<Span> {
    if let Some(first) = spans.first_mut() {
        first.text = first.text.trim_start().to_owned();
    }
    if let Some(last) = spans.last_mut() {
        last.text = last.text.trim_end().to_owned();
    }
    spans.retain(|span| !span.text.is_empty());
    spans
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::super::block::{plain, walk};
    use super::*;

    fn read(content: &str) -> (Vec<Block>, Notes) {
        let mut notes = Notes::default();
        let blocks = markdown(content, &mut notes).expect("the table is narrow");
        (blocks, notes)
    }

    #[test]
    fn markdown_becomes_blocks() {
        let (blocks, _) = read(
            "# Uno\n\nUn *texto* **fuerte** y ~~viejo~~ con `código` y [enlace](https://example.com).\n\n- a\n- b\n  1. c\n\n> cita\n\n\
             ```rust\nfn main() {}\n```\n\n| x | y |\n|:-:|--:|\n| 1 | 2 |\n\n---\n",
        );
        let kinds: Vec<&str> = blocks
            .iter()
            .map(|block| match block {
                Block::Heading { level: 3, .. } => "h3",
                Block::Paragraph { .. } => "p",
                Block::List { start: None, items } if items.len() == 2 => "ul",
                Block::Quote { .. } => "quote",
                Block::Code {
                    language: Some(language),
                    text,
                } if language == "rust" && text == "fn main() {}" => "code",
                Block::Table(table)
                    if table.columns == [Align::Center, Align::End] && table.rows.len() == 1 =>
                {
                    "table"
                }
                Block::Rule => "rule",
                _ => "other",
            })
            .collect();
        assert_eq!(kinds, ["h3", "p", "ul", "quote", "code", "table", "rule"]);
        let Some(Block::Paragraph { spans }) = blocks.get(1) else {
            panic!("a paragraph")
        };
        assert_eq!(plain(spans), "Un texto fuerte y viejo con código y enlace.");
        assert!(
            spans
                .iter()
                .any(|span| span.text == "fuerte" && span.look.strong)
        );
        assert!(
            spans
                .iter()
                .any(|span| span.text == "texto" && span.look.emphasis)
        );
        assert!(
            spans
                .iter()
                .any(|span| span.text == "viejo" && span.look.strike)
        );
        assert!(
            spans
                .iter()
                .any(|span| span.text == "código" && span.look.code)
        );
        assert!(
            spans
                .iter()
                .any(|span| span.link.as_deref() == Some("https://example.com"))
        );
    }

    #[test]
    fn headings_never_skip_a_level() {
        let (blocks, notes) = read("### deep\n\n# top\n\n## next\n\n###### far");
        let levels: Vec<u8> = blocks
            .iter()
            .filter_map(|block| match block {
                Block::Heading { level, .. } => Some(*level),
                _ => None,
            })
            .collect();
        assert_eq!(levels, [3, 3, 4, 5]);
        assert_eq!(notes.levels_skipped, 2);
    }

    #[test]
    fn dangerous_links_lose_their_target_and_html_is_text() {
        let (blocks, notes) = read(
            "[a](javascript:alert(1)) [b](data:text/html,x) [c](JAVASCRIPT:x) [d](/local) <script>alert(1)</script> ![](x.png)",
        );
        assert_eq!((notes.links_dropped, notes.pictures_undescribed), (4, 1));
        assert!(notes.html >= 2);
        let Some(Block::Paragraph { spans }) = blocks.first() else {
            panic!("a paragraph")
        };
        assert!(spans.iter().all(|span| span.link.is_none()));
        assert!(plain(spans).contains("<script>alert(1)</script>"));
        for bad in [
            "https://a b",
            "https://a\nb",
            "https://\"",
            "file:///etc/passwd",
            "vbscript:x",
            "",
        ] {
            assert_eq!(safe_link(bad), None, "{bad}");
        }
    }

    #[test]
    fn wide_tables_are_refused() {
        let head = "|a".repeat(COLUMNS_MAX + 1);
        let rule = "|-".repeat(COLUMNS_MAX + 1);
        let error = markdown(&format!("{head}|\n{rule}|\n"), &mut Notes::default());
        assert_eq!(
            error.err().map(|error| error.code()),
            Some("document_too_large")
        );
    }

    fn depth(blocks: &[Block]) -> usize {
        let inner = blocks.iter().map(|block| match block {
            Block::List { items, .. } => {
                1 + items.iter().map(|item| depth(item)).max().unwrap_or(0)
            }
            Block::Quote { blocks } => 1 + depth(blocks),
            _ => 0,
        });
        inner.max().unwrap_or(0)
    }

    #[test]
    fn deep_nesting_is_flattened_and_loses_no_text() {
        for opening in [">", "- ", "1. ", "> - "] {
            let (blocks, _) = read(&format!("{}word", opening.repeat(200)));
            assert!(depth(&blocks) <= 2 * DEPTH_MAX, "{opening:?}");
            let mut seen = String::new();
            walk(&blocks, &mut |block| {
                if let Block::Paragraph { spans } = block {
                    seen.push_str(&plain(spans));
                }
            });
            assert!(seen.contains("word"), "{opening:?}: {seen}");
        }
    }

    proptest! {
        #[test]
        fn anything_can_be_read(content in "[-*_`~#>|!\\[\\]()<a-c1. \n]{0,120}") {
            let (blocks, _) = read(&content);
            prop_assert!(depth(&blocks) <= 2 * DEPTH_MAX);
        }
    }
}
