//! Responsible for what holds of any document: Markdown reads back as it was, and every format is well formed.

use proptest::prelude::*;

use super::parsers::{check_html, check_rtf, parts};
use super::{section, written};
use crate::analysis::Tongue;
use crate::export::parse::{self, Notes};
use crate::export::{
    Align, Block, Document, Format, Source, Span, Table, block, markdown, render, validate,
};

/// Blocks whose text is made of marks and letters, so that what is not escaped shows.
fn texts() -> impl Strategy<Value = String> {
    "[a-c*_`~\\[\\]<>#|!\\\\&.1+=:-]{1,6}( [a-c*_`~\\[\\]<>#|!\\\\&.1+=:-]{1,6}){0,4}"
}

fn blocks_of(depth: u32) -> BoxedStrategy<Vec<Block>> {
    let paragraph = texts().prop_map(|text| Block::Paragraph {
        spans: vec![Span {
            text,
            ..Span::default()
        }],
    });
    let code = "[a-c`# \n]{0,20}[a-c]".prop_map(|text| Block::Code {
        language: None,
        text,
    });
    let cell = || {
        texts().prop_map(|text| {
            vec![Span {
                text,
                ..Span::default()
            }]
        })
    };
    let table = (
        prop::collection::vec(cell(), 2),
        prop::collection::vec(prop::collection::vec(cell(), 2), 0..3),
    )
        .prop_map(|(head, rows)| {
            Block::Table(Table {
                columns: vec![Align::Start, Align::End],
                head,
                rows,
            })
        });
    let leaf = prop_oneof![4 => paragraph, 1 => code, 1 => table, 1 => Just(Block::Rule)];
    if depth == 0 {
        return prop::collection::vec(leaf, 1..4).boxed();
    }
    let quote = blocks_of(depth - 1).prop_map(|blocks| Block::Quote { blocks });
    let first = texts().prop_map(|text| Block::Paragraph {
        spans: vec![Span {
            text,
            ..Span::default()
        }],
    });
    let item = (first, blocks_of(depth - 1)).prop_map(|(first, rest)| [vec![first], rest].concat());
    let list = (
        prop::option::of(1_u64..50),
        prop::collection::vec(item, 1..3),
    )
        .prop_map(|(start, items)| Block::List { start, items });
    prop::collection::vec(prop_oneof![4 => leaf, 1 => quote, 1 => list], 1..4).boxed()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(384))]
    #[test]
    fn markdown_reads_back_as_it_was(blocks in blocks_of(2)) {
        let written = markdown::blocks(&blocks);
        let read = parse::markdown(&written, &mut Notes::default()).expect("tables are narrow");
        // The comment that parts two lists is shown as text; it is no block of the document.
        let read = without_comments(read);
        prop_assert_eq!(read, blocks, "{}", written);
    }

    #[test]
    fn anything_is_well_formed_everywhere(title in "\\PC{1,40}", heading in any::<String>(), content in any::<String>()) {
        let heading: String = heading.chars().take(100).collect();
        let source = Source { title, sections: vec![section(&heading, &content), section("x", "y")], ..Source::default() };
        let Ok(document) = Document::read(&source) else { return Ok(()) };
        check_html(&written(&document, Format::Html));
        check_rtf(&written(&document, Format::Rtf));
        prop_assert!(roxmltree::Document::parse(&written(&document, Format::Xml)).is_ok());
        for (_, part) in parts(&render(&document, Format::Docx).expect("it can be written").bytes) {
            prop_assert!(roxmltree::Document::parse(&part).is_ok());
        }
        match render(&document, Format::Pdf) {
            Ok(file) => prop_assert!(file.bytes.starts_with(b"%PDF-")),
            Err(error) => prop_assert_eq!(error.code(), "pdf_characters_missing"),
        }
        let scores = validate(&document, Tongue::English);
        prop_assert!((0.0..=1.0).contains(&scores.overall));
    }
}

fn without_comments(blocks: Vec<Block>) -> Vec<Block> {
    let is_comment = |block: &Block| matches!(block, Block::Paragraph { spans } if block::plain(spans) == "<!-- -->");
    blocks
        .into_iter()
        .filter(|block| !is_comment(block))
        .map(|block| match block {
            Block::Quote { blocks } => Block::Quote {
                blocks: without_comments(blocks),
            },
            Block::List { start, items } => Block::List {
                start,
                items: items.into_iter().map(without_comments).collect(),
            },
            other => other,
        })
        .collect()
}
