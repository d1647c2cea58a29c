//! Responsible for reading what was written with other parsers than ours, and for what must hold of it.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::io::Read;

use html5ever::tendril::StrTendril;
use html5ever::tokenizer::{
    BufferQueue, TagKind, Token, TokenSink, TokenSinkResult, Tokenizer, TokenizerOpts,
};

#[derive(Default)]
struct Tags {
    seen: RefCell<Vec<String>>,
    open: RefCell<Vec<String>>,
    text: RefCell<String>,
    bad: RefCell<Vec<String>>,
}

impl TokenSink for Tags {
    type Handle = ();

    fn process_token(&self, token: Token, _line: u64) -> TokenSinkResult<()> {
        match token {
            Token::TagToken(tag) => {
                let name = tag.name.to_string();
                let is_void = ["meta", "br", "hr"].contains(&name.as_str());
                for attribute in &tag.attrs {
                    let attribute_name = attribute.name.local.to_string();
                    if attribute_name.starts_with("on") || attribute_name == "src" {
                        self.bad.borrow_mut().push(attribute_name);
                    } else if attribute_name == "href"
                        && !["http", "#", "mailto"]
                            .iter()
                            .any(|start| attribute.value.starts_with(start))
                    {
                        self.bad.borrow_mut().push(attribute.value.to_string());
                    }
                }
                match tag.kind {
                    TagKind::StartTag if !is_void => self.open.borrow_mut().push(name.clone()),
                    TagKind::StartTag => {}
                    TagKind::EndTag => {
                        if self.open.borrow_mut().pop().as_ref() != Some(&name) {
                            self.bad.borrow_mut().push(format!("/{name}"));
                        }
                    }
                }
                self.seen.borrow_mut().push(name);
            }
            Token::CharacterTokens(text) => self.text.borrow_mut().push_str(&text),
            Token::ParseError(error) => self.bad.borrow_mut().push(error.to_string()),
            _ => {}
        }
        TokenSinkResult::Continue
    }
}

fn tags(html: &str) -> Tags {
    let input = BufferQueue::default();
    input.push_back(StrTendril::from_slice(html));
    let tokenizer = Tokenizer::new(
        Tags::default(),
        TokenizerOpts {
            exact_errors: true,
            ..TokenizerOpts::default()
        },
    );
    let _done = tokenizer.feed(&input);
    tokenizer.end();
    tokenizer.sink
}

const ALLOWED: &[&str] = &[
    "html",
    "head",
    "meta",
    "title",
    "style",
    "body",
    "header",
    "h1",
    "h2",
    "h3",
    "h4",
    "h5",
    "h6",
    "p",
    "nav",
    "ol",
    "ul",
    "li",
    "a",
    "main",
    "section",
    "footer",
    "blockquote",
    "pre",
    "code",
    "table",
    "thead",
    "tbody",
    "tr",
    "th",
    "td",
    "hr",
    "br",
    "strong",
    "em",
    "s",
];

/// That a page is well formed and holds nothing that runs or is fetched. Its text is returned.
pub(super) fn check_html(html: &str) -> String {
    let found = tags(html);
    assert_eq!(*found.bad.borrow(), Vec::<String>::new(), "{html}");
    assert_eq!(*found.open.borrow(), Vec::<String>::new(), "{html}");
    for name in found.seen.borrow().iter() {
        assert!(ALLOWED.contains(&name.as_str()), "<{name}> in {html}");
    }
    found.text.take()
}

/// The parts of a package, by name.
pub(super) fn parts(package: &[u8]) -> BTreeMap<String, String> {
    let mut archive = zip::ZipArchive::new(std::io::Cursor::new(package)).expect("it is a package");
    let mut found = BTreeMap::new();
    for index in 0..archive.len() {
        let mut part = archive.by_index(index).expect("the part is there");
        let mut text = String::new();
        part.read_to_string(&mut text).expect("it is UTF-8");
        let name = part.name().expect("the name is UTF-8").into_owned();
        found.insert(name, text);
    }
    found
}

/// The control words that the writer of RTF knows.
const KNOWN: &[&str] = &[
    "rtf",
    "ansi",
    "ansicpg",
    "deff",
    "uc",
    "fonttbl",
    "f",
    "fswiss",
    "fmodern",
    "colortbl",
    "red",
    "green",
    "blue",
    "info",
    "title",
    "author",
    "subject",
    "keywords",
    "creatim",
    "yr",
    "mo",
    "dy",
    "hr",
    "min",
    "paperw",
    "paperh",
    "margl",
    "margr",
    "margt",
    "margb",
    "fs",
    "footer",
    "pard",
    "qc",
    "ql",
    "qr",
    "cf",
    "par",
    "sb",
    "sa",
    "outlinelevel",
    "b",
    "keepn",
    "li",
    "fi",
    "tx",
    "tab",
    "line",
    "i",
    "strike",
    "ul",
    "trowd",
    "trgaph",
    "trhdr",
    "clbrdrt",
    "clbrdrl",
    "clbrdrb",
    "clbrdrr",
    "brdrs",
    "brdrb",
    "brdrw",
    "cellx",
    "intbl",
    "cell",
    "row",
    "field",
    "fldinst",
    "fldrslt",
    "u",
];

/// That every group of an RTF closes, and every control word is one that the writer knows.
pub(super) fn check_rtf(rtf: &str) {
    assert!(rtf.is_ascii(), "{rtf}");
    let mut depth = 0_i32;
    let mut letters = rtf.chars().peekable();
    while let Some(letter) = letters.next() {
        match letter {
            '{' => depth += 1,
            '}' => depth -= 1,
            '\\' => {
                if letters.next_if(|next| "\\{}*".contains(*next)).is_some() {
                    continue;
                }
                let mut word = String::new();
                while let Some(next) = letters.next_if(char::is_ascii_alphabetic) {
                    word.push(next);
                }
                assert!(KNOWN.contains(&word.as_str()), "\\{word} in {rtf}");
            }
            _ => {}
        }
        assert!(depth >= 0, "{rtf}");
    }
    assert_eq!(depth, 0, "{rtf}");
}
