//! Responsible for writing blocks as Markdown again, so that reading it gives the same blocks. It must never let text become markup.

use super::block::{Align, Block, Span, Table};
use super::document::Document;

/// Writes CommonMark with GitHub's tables.
pub(crate) fn write(document: &Document) -> Vec<u8> {
    let mut out = String::new();
    let mut line = |prefix: &str, text: &str| {
        if !text.is_empty() {
            out.push_str(&format!("{prefix}{}\n\n", escape(text)));
        }
    };
    line("", &document.kicker());
    line("# ", &document.title);
    line("", &document.byline());
    for section in &document.sections {
        if !section.heading.is_empty() {
            out.push_str(&format!("## {}\n\n", escape(&section.heading)));
        }
        out.push_str(&blocks(&section.blocks));
    }
    if !document.footer.is_empty() {
        out.push_str(&format!("---\n\n{}\n", escape(&document.footer)));
    }
    out.into_bytes()
}

/// Blocks, each followed by an empty line.
pub(crate) fn blocks(blocks: &[Block]) -> String {
    let mut out = String::new();
    let mut after_list = false;
    for block in blocks {
        let is_list = matches!(block, Block::List { .. });
        if is_list && after_list {
            // Two lists in a row would be one; a comment parts them and shows nothing.
            out.push_str("<!-- -->\n\n");
        }
        after_list = is_list;
        match block {
            Block::Heading { level, spans: text } => {
                let marks = "#".repeat(usize::from(*level));
                out.push_str(&format!("{marks} {}", spans(text).replace('\n', " ")));
            }
            Block::Paragraph { spans: text } => out.push_str(&spans(text)),
            Block::List { start, items } => out.push_str(&list(*start, items)),
            Block::Quote { blocks: quoted } => {
                out.push_str(&prefixed(blocks_trimmed(quoted).as_str(), "> ", "> "))
            }
            Block::Code { language, text } => out.push_str(&code(language.as_deref(), text)),
            Block::Table(table) => out.push_str(&rows(table)),
            Block::Rule => out.push_str("---"),
        }
        out.push_str("\n\n");
    }
    out
}

fn blocks_trimmed(inner: &[Block]) -> String {
    blocks(inner).trim_end_matches('\n').to_owned()
}

fn prefixed(text: &str, first: &str, others: &str) -> String {
    let lines = text.split('\n').enumerate().map(|(number, line)| {
        let prefix = if number == 0 { first } else { others };
        // An empty line needs no blanks; those of others belong to them.
        let prefix = if line.is_empty() {
            prefix.trim_end()
        } else {
            prefix
        };
        format!("{prefix}{line}")
    });
    lines.collect::<Vec<_>>().join("\n")
}

fn list(start: Option<u64>, items: &[Vec<Block>]) -> String {
    let items = (start.unwrap_or(1)..).zip(items).map(|(number, item)| {
        let mark = if start.is_some() {
            format!("{number}. ")
        } else {
            "- ".to_owned()
        };
        prefixed(&blocks_trimmed(item), &mark, &" ".repeat(mark.len()))
    });
    items.collect::<Vec<_>>().join("\n")
}

fn code(language: Option<&str>, text: &str) -> String {
    let fence = "`".repeat(longest_run(text).max(2) + 1);
    // A language that is itself a mark would end the fence's line.
    let language = language
        .filter(|language| !language.contains(['`', '\\', '&']))
        .unwrap_or_default();
    format!("{fence}{language}\n{text}\n{fence}")
}

fn longest_run(text: &str) -> usize {
    let (mut run, mut longest) = (0, 0);
    for letter in text.chars() {
        run = if letter == '`' { run + 1 } else { 0 };
        longest = longest.max(run);
    }
    longest
}

fn rows(table: &Table) -> String {
    let row = |cells: &[Vec<Span>]| {
        let cells = cells.iter().map(|cell| {
            // A row has one line, and within code a bar would end the cell.
            let one_line = |span: &Span| {
                let text = span.text.replace('\n', " ");
                let text = if span.look.code {
                    text.replace('|', "\\|")
                } else {
                    text
                };
                Span {
                    text,
                    ..span.clone()
                }
            };
            spans(&cell.iter().map(one_line).collect::<Vec<_>>())
        });
        format!("| {} |", cells.collect::<Vec<_>>().join(" | "))
    };
    let rule = table.columns.iter().map(|align| match align {
        Align::Start => "---",
        Align::Center => ":-:",
        Align::End => "--:",
    });
    let rule = format!("| {} |", rule.collect::<Vec<_>>().join(" | "));
    let lines = [row(&table.head), rule]
        .into_iter()
        .chain(table.rows.iter().map(|cells| row(cells)));
    lines.collect::<Vec<_>>().join("\n")
}

fn spans(spans: &[Span]) -> String {
    let mut out = String::new();
    for span in spans {
        // Marks stick to letters, so blanks at a span's ends stand outside of them.
        let from_start = span.text.trim_start();
        let inner = from_start.trim_end();
        let (lead, _) = span.text.split_at(span.text.len() - from_start.len());
        let (_, tail) = from_start.split_at(inner.len());
        out.push_str(&breaks(lead));
        if !inner.is_empty() {
            out.push_str(&dressed(inner, span));
        }
        out.push_str(&breaks(tail));
    }
    out
}

fn breaks(text: &str) -> String {
    text.replace('\n', "\\\n")
}

fn dressed(inner: &str, span: &Span) -> String {
    let mut text = if span.look.code {
        let fence = "`".repeat(longest_run(inner) + 1);
        let pad = if inner.starts_with('`') || inner.ends_with('`') {
            " "
        } else {
            ""
        };
        format!("{fence}{pad}{}{pad}{fence}", inner.replace('\n', " "))
    } else {
        breaks(&escape(inner))
    };
    for (applies, mark) in [
        (span.look.strike, "~~"),
        (span.look.emphasis, "*"),
        (span.look.strong, "**"),
    ] {
        if applies {
            text = format!("{mark}{text}{mark}");
        }
    }
    match &span.link {
        Some(link) => format!("[{text}](<{link}>)"),
        None => text,
    }
}

/// Text with a backslash before whatever could be markup anywhere; at the start of a line also before what is markup only there.
fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut line_start = true;
    let mut number = false;
    for letter in text.chars() {
        let anywhere = matches!(
            letter,
            '\\' | '`' | '*' | '_' | '[' | ']' | '<' | '>' | '~' | '&' | '|' | '!'
        );
        let at_start = line_start && matches!(letter, '#' | '+' | '-' | '=' | ':');
        let after_number = number && matches!(letter, '.' | ')');
        if anywhere || at_start || after_number {
            out.push('\\');
        }
        out.push(letter);
        number = letter.is_ascii_digit() && (line_start || number);
        line_start = letter == '\n' || (line_start && letter == ' ');
    }
    out
}
