//! A YAML file as a tree of words with their places, and the tree as given values.
//!
//! The parser refuses duplicate keys, alias bombs and more than one document. This module must never know what a key
//! means: it looks each path up in the table. It keeps scalars as they were typed, so that `1.10` stays `1.10`.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};
use serde_saphyr::{Budget, Location, Spanned};

use crate::key::SERVICES_SECTION;
use crate::problem::{Origin, Problem};
use crate::source::{Heard, Layer, Place, Target, shown};

/// More keys than a settings file can mean; services are the only open-ended mapping.
const ENTRIES_MAX: usize = 10_000;

/// More levels than settings have (a service's key is at the third), and few enough for any thread's stack: the parser's own
/// limit of 64 takes two mebibytes in an unoptimised build.
const LEVELS_MAX: usize = 16;

/// One vertex of the tree.
enum Node {
    /// Nothing was written, or `null`.
    Nothing,
    /// A string, quoted or plain.
    Text(String),
    /// A plain number or truth value, read by the parser; how it was typed is taken from the source.
    Plain(String),
    /// A list.
    List(Vec<Spanned<Self>>),
    /// Words and what stands beside them.
    Map(Vec<(Spanned<String>, Spanned<Self>)>),
}

/// One file being read.
struct Reader<'a> {
    name: &'a str,
    text: &'a str,
    layer: Layer,
    heard: &'a mut Heard,
}

/// Reads `text`, which came from the file `name`.
pub(crate) fn read(name: &str, text: &str, layer: Layer, heard: &mut Heard) {
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let mut budget = Budget::default();
    budget.max_depth = LEVELS_MAX;
    let options = serde_saphyr::options! { with_snippet: false, budget: Some(budget) };
    match serde_saphyr::from_str_with_options::<Option<Spanned<Node>>>(text, options) {
        Ok(Some(root)) => Reader {
            name,
            text,
            layer,
            heard,
        }
        .root(&root),
        Ok(None) => {}
        Err(error) => {
            let (line, column) = error
                .location()
                .map_or((0, 0), |place| (place.line(), place.column()));
            heard.problems.push(Problem {
                code: "config.bad_yaml",
                key: String::new(),
                origin: Origin::File {
                    path: name.to_owned(),
                    line,
                    column,
                },
                given: None,
                reason: plain_reason(&error),
                hint: None,
            });
        }
    }
}

/// The parser's words without its own "at line, column", which the origin already tells.
fn plain_reason(error: &serde_saphyr::Error) -> String {
    let text = error.without_snippet().to_string();
    let text = text.lines().next().unwrap_or("is not YAML");
    let text = text.split(" at line ").next().unwrap_or(text);
    let text = text.strip_prefix("error: ").unwrap_or(text);
    if text.contains("Depth { depth") {
        return format!("is nested more than {LEVELS_MAX} levels deep");
    }
    // The parser repeats what it cannot read, however long.
    let text = shown(text.trim_end_matches([':', ',', '.', ' ']));
    format!("is not valid YAML: {text}")
}

impl<'a> Reader<'a> {
    fn root(&mut self, root: &Spanned<Node>) {
        match &root.value {
            Node::Nothing => {}
            Node::Map(pairs) => {
                for (word, node) in pairs {
                    self.section(word, node);
                }
            }
            _ => self.refuse("", root.referenced, "must be a mapping of sections", None),
        }
    }

    fn section(&mut self, word: &Spanned<String>, node: &Spanned<Node>) {
        let path = word.value.as_str();
        if Target::find(path).is_some() {
            return self.leaf(path, word, node);
        }
        if !crate::key::sections().contains(&path) {
            let place = self.place(path, word.referenced);
            return self.heard.unknown(path, place);
        }
        match &node.value {
            Node::Nothing => {}
            Node::Map(pairs) if path == SERVICES_SECTION => {
                for (name, node) in pairs {
                    self.service(name, node);
                }
            }
            Node::Map(pairs) => {
                for (word, node) in pairs {
                    self.leaf(&format!("{path}.{}", word.value), word, node);
                }
            }
            _ => self.refuse(path, node.referenced, "must be a mapping of settings", None),
        }
    }

    fn service(&mut self, name: &Spanned<String>, node: &Spanned<Node>) {
        let path = format!("{SERVICES_SECTION}.{}", name.value);
        let place = self.place(&path, name.referenced);
        self.heard.hear_service(&name.value, place);
        match &node.value {
            Node::Nothing => {}
            Node::Map(pairs) => {
                for (word, node) in pairs {
                    self.leaf(&format!("{path}.{}", word.value), word, node);
                }
            }
            _ => self.refuse(
                &path,
                node.referenced,
                "must be a mapping of settings",
                None,
            ),
        }
    }

    fn leaf(&mut self, path: &str, word: &Spanned<String>, node: &Spanned<Node>) {
        let Some(target) = Target::find(path) else {
            let place = self.place(path, word.referenced);
            return self.heard.unknown(path, place);
        };
        let text = match &node.value {
            Node::Nothing => return,
            Node::List(items) if target.kind().is_list() => {
                let texts: Option<Vec<&str>> = items.iter().map(|item| self.scalar(item)).collect();
                texts
                    .map(|texts| texts.join(","))
                    .ok_or("must be a list of single values")
            }
            Node::List(_) => Err("must be one value, not a list"),
            Node::Map(_) if target.kind().is_list() => {
                Err("must be one value or a list, not a mapping")
            }
            Node::Map(_) => Err("must be one value, not a mapping"),
            Node::Text(_) | Node::Plain(_) => Ok(self.scalar(node).unwrap_or_default().to_owned()),
        };
        match text {
            Ok(text) => {
                let place = self.place(path, node.referenced);
                self.heard.hear(target, &text, place);
            }
            Err(reason) => self.refuse(path, node.referenced, reason, None),
        }
    }

    /// The text of a single value, as it was typed.
    fn scalar<'n>(&self, node: &'n Spanned<Node>) -> Option<&'n str>
    where
        'a: 'n,
    {
        match &node.value {
            Node::Text(text) => Some(text),
            Node::Plain(parsed) => Some(self.typed(node.defined).unwrap_or(parsed)),
            Node::Nothing | Node::List(_) | Node::Map(_) => None,
        }
    }

    /// The source text of a plain scalar.
    fn typed(&self, location: Location) -> Option<&'a str> {
        let span = location.span();
        let start = usize::try_from(span.byte_offset()?).ok()?;
        let end = start.checked_add(usize::try_from(span.byte_len()?).ok()?)?;
        let text = self.text.get(start..end)?.trim();
        (!text.is_empty()).then_some(text)
    }

    fn place(&self, written: &str, location: Location) -> Place {
        let (line, column) = (location.line(), location.column());
        let origin = Origin::File {
            path: self.name.to_owned(),
            line,
            column,
        };
        Place {
            written: written.to_owned(),
            origin,
            layer: self.layer,
        }
    }

    fn refuse(&mut self, path: &str, location: Location, reason: &str, hint: Option<&str>) {
        let Place {
            written, origin, ..
        } = self.place(path, location);
        self.heard.problems.push(Problem {
            code: "config.wrong_type",
            key: written,
            origin,
            given: None,
            reason: reason.to_owned(),
            hint: hint.map(str::to_owned),
        });
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a setting")
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Nothing)
    }

    fn visit_none<E>(self) -> Result<Node, E> {
        Ok(Node::Nothing)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Plain(value.to_string()))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Plain(value.to_string()))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
        Ok(Node::Plain(value.to_string()))
    }

    fn visit_i128<E>(self, value: i128) -> Result<Node, E> {
        Ok(Node::Plain(value.to_string()))
    }

    fn visit_u128<E>(self, value: u128) -> Result<Node, E> {
        Ok(Node::Plain(value.to_string()))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Node, E> {
        Ok(Node::Plain(value.to_string()))
    }

    fn visit_str<E>(self, value: &str) -> Result<Node, E> {
        Ok(Node::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Node, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            if list.len() >= ENTRIES_MAX {
                return Err(A::Error::custom("a list has too many items"));
            }
            list.push(item);
        }
        Ok(Node::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        let mut pairs = Vec::new();
        while let Some(pair) = map.next_entry()? {
            if pairs.len() >= ENTRIES_MAX {
                return Err(A::Error::custom("a mapping has too many keys"));
            }
            pairs.push(pair);
        }
        Ok(Node::Map(pairs))
    }
}
