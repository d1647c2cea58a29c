//! Responsible for HTML: one self-contained page with structure that a screen reader can follow. It must never pass text through
//! unescaped, nor name anything that a browser would fetch.
//!
//! The page carries a content security policy that forbids scripts and everything remote, as a second lock behind the escapes.

use super::block::{Align, Block, Span, Table};
use super::document::{Document, is_spanish};

/// Sections from which on a page begins with its contents.
const CONTENTS_SECTIONS_MIN: usize = 4;

/// Writes a page.
pub(crate) fn write(document: &Document) -> Vec<u8> {
    let mut page = Page(String::new());
    page.head(document);
    page.raw("<body>\n<header>\n");
    page.line("p", "kicker", &document.kicker());
    page.raw("<h1>");
    page.text(&document.title);
    page.raw("</h1>\n");
    page.line("p", "byline", &document.byline());
    page.raw("</header>\n");
    page.contents(document);
    page.raw("<main>\n");
    for (number, section) in document.sections.iter().enumerate() {
        page.raw(&format!("<section id=\"s{number}\">\n"));
        page.line("h2", "", &section.heading);
        page.blocks(&section.blocks);
        page.raw("</section>\n");
    }
    page.raw("</main>\n");
    if !document.footer.is_empty() {
        page.raw("<footer>\n");
        page.line("p", "", &document.footer);
        page.raw("</footer>\n");
    }
    page.raw("</body>\n</html>\n");
    page.0.into_bytes()
}

struct Page(String);

impl Page {
    /// Markup of ours.
    fn raw(&mut self, markup: &str) {
        self.0.push_str(markup);
    }

    /// Text of others, escaped for content and for attributes in double or single quotes.
    fn text(&mut self, text: &str) {
        for letter in text.chars() {
            match letter {
                '&' => self.0.push_str("&amp;"),
                '<' => self.0.push_str("&lt;"),
                '>' => self.0.push_str("&gt;"),
                '"' => self.0.push_str("&quot;"),
                '\'' => self.0.push_str("&#39;"),
                other => self.0.push(other),
            }
        }
    }

    /// An element with one line of text; nothing for an empty one.
    fn line(&mut self, name: &str, class: &str, text: &str) {
        if text.is_empty() {
            return;
        }
        let class = if class.is_empty() {
            String::new()
        } else {
            format!(" class=\"{class}\"")
        };
        self.raw(&format!("<{name}{class}>"));
        self.text(text);
        self.raw(&format!("</{name}>\n"));
    }

    fn head(&mut self, document: &Document) {
        self.raw("<!DOCTYPE html>\n<html lang=\"");
        self.text(&document.language);
        self.raw(
            "\">\n<head>\n<meta charset=\"utf-8\">\n<meta http-equiv=\"Content-Security-Policy\" \
             content=\"default-src 'none'; style-src 'unsafe-inline'\">\n\
             <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n",
        );
        for (name, meta) in [
            ("author", "author"),
            ("subject", "description"),
            ("keywords", "keywords"),
        ] {
            if let Some(value) = document.metadatum(name) {
                self.raw(&format!("<meta name=\"{meta}\" content=\""));
                self.text(value);
                self.raw("\">\n");
            }
        }
        self.raw("<title>");
        self.text(&document.title);
        self.raw(&format!(
            "</title>\n<style>\n\
             body {{ font: 1rem/1.6 system-ui, sans-serif; max-width: 46rem; margin: 2rem auto; padding: 0 1rem; color: #1c1c1c; }}\n\
             h1, h2, h3, h4, h5, h6 {{ color: #{}; line-height: 1.25; }}\n\
             .kicker, .byline, footer {{ color: #595959; }}\n\
             table {{ border-collapse: collapse; }} th, td {{ border: 1px solid #8c8c8c; padding: .3rem .6rem; text-align: start; }}\n\
             .center {{ text-align: center; }} .end {{ text-align: end; }}\n\
             pre {{ overflow-x: auto; background: #f4f4f4; padding: .8rem; }} blockquote {{ border-left: 4px solid #8c8c8c; margin-left: 0; padding-left: 1rem; }}\n\
             </style>\n</head>\n",
            document.colour.hex()
        ));
    }

    fn contents(&mut self, document: &Document) {
        let headed = || {
            document
                .sections
                .iter()
                .enumerate()
                .filter(|(_, section)| !section.heading.is_empty())
        };
        if headed().count() < CONTENTS_SECTIONS_MIN {
            return;
        }
        let label = if is_spanish(&document.language) {
            "Contenido"
        } else {
            "Contents"
        };
        self.raw(&format!("<nav aria-label=\"{label}\">\n<ol>\n"));
        for (number, section) in headed() {
            self.raw(&format!("<li><a href=\"#s{number}\">"));
            self.text(&section.heading);
            self.raw("</a></li>\n");
        }
        self.raw("</ol>\n</nav>\n");
    }

    fn blocks(&mut self, blocks: &[Block]) {
        for block in blocks {
            self.block(block);
        }
    }

    fn block(&mut self, block: &Block) {
        match block {
            Block::Heading { level, spans } => {
                self.raw(&format!("<h{level}>"));
                self.spans(spans);
                self.raw(&format!("</h{level}>\n"));
            }
            Block::Paragraph { spans } => {
                self.raw("<p>");
                self.spans(spans);
                self.raw("</p>\n");
            }
            Block::List { start, items } => {
                let (open, close) = match start {
                    None => ("<ul>\n".to_owned(), "</ul>\n"),
                    Some(1) => ("<ol>\n".to_owned(), "</ol>\n"),
                    Some(start) => (format!("<ol start=\"{start}\">\n"), "</ol>\n"),
                };
                self.raw(&open);
                for item in items {
                    self.raw("<li>");
                    match item.as_slice() {
                        [Block::Paragraph { spans }] => self.spans(spans),
                        blocks => self.blocks(blocks),
                    }
                    self.raw("</li>\n");
                }
                self.raw(close);
            }
            Block::Quote { blocks } => {
                self.raw("<blockquote>\n");
                self.blocks(blocks);
                self.raw("</blockquote>\n");
            }
            Block::Code { text, .. } => {
                self.raw("<pre><code>");
                self.text(text);
                self.raw("</code></pre>\n");
            }
            Block::Table(table) => self.table(table),
            Block::Rule => self.raw("<hr>\n"),
        }
    }

    fn table(&mut self, table: &Table) {
        self.raw("<table>\n<thead>\n");
        self.row(table, &table.head, "th scope=\"col\"", "th");
        self.raw("</thead>\n<tbody>\n");
        for row in &table.rows {
            self.row(table, row, "td", "td");
        }
        self.raw("</tbody>\n</table>\n");
    }

    fn row(&mut self, table: &Table, cells: &[Vec<Span>], open: &str, close: &str) {
        self.raw("<tr>");
        for (cell, align) in cells.iter().zip(&table.columns) {
            let class = match align {
                Align::Start => "",
                Align::Center => " class=\"center\"",
                Align::End => " class=\"end\"",
            };
            self.raw(&format!("<{open}{class}>"));
            self.spans(cell);
            self.raw(&format!("</{close}>"));
        }
        self.raw("</tr>\n");
    }

    fn spans(&mut self, spans: &[Span]) {
        for span in spans {
            let mut ends: Vec<&str> = Vec::new();
            if let Some(link) = &span.link {
                self.raw("<a rel=\"noopener noreferrer\" href=\"");
                self.text(link);
                self.raw("\">");
                ends.push("</a>");
            }
            let looks = [
                (span.look.strong, "<strong>", "</strong>"),
                (span.look.emphasis, "<em>", "</em>"),
                (span.look.strike, "<s>", "</s>"),
                (span.look.code, "<code>", "</code>"),
            ];
            for (_, open, close) in looks.iter().filter(|(applies, ..)| *applies) {
                self.raw(open);
                ends.push(close);
            }
            for (number, line) in span.text.split('\n').enumerate() {
                if number > 0 {
                    self.raw("<br>\n");
                }
                self.text(line);
            }
            for end in ends.iter().rev() {
                self.raw(end);
            }
        }
    }
}
