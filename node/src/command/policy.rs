//! `ultrakv policy` and `ultrakv explain`: what decides which blocks give way on a running node.
//!
//! Answers are read by their fields, so that a node of another version can be asked.

use serde_json::Value;

use super::cluster::client;
use crate::args::{ExplainArguments, PolicyArguments};
use crate::exit::{Failure, Status};
use crate::{format, output};

/// Where policies are asked for.
const POLICY: &str = "/v1/policy";

/// The columns of the blocks that would go next.
const NEXT: &[&str] = &["shard", "key", "class", "score", "why"];

/// Prints each shard's policy and the blocks that would go next.
pub(super) async fn policy(arguments: &PolicyArguments) -> Result<(), Failure> {
    let client = client(&arguments.reach)?;
    let path = format!("{POLICY}?next={}", arguments.next);
    let told: Value = client.get(&path).await?.granted()?;
    output::result(arguments.reach.output, &told, || {
        output::data(&heading(&told))?;
        output::print_figures(SHARDS, &shards(&told))?;
        if arguments.classes {
            output::data("")?;
            output::print_words(&figures(&told))?;
        }
        let next = next(&told);
        if next.is_empty() {
            return output::data("\nnothing can go: no leaves, or all are held");
        }
        output::data("\nwould go next")?;
        output::print_records(NEXT, &next, NEXT.len())
    })
}

/// Prints how one block or entry stands.
pub(super) async fn explain(arguments: &ExplainArguments) -> Result<(), Failure> {
    let client = client(&arguments.reach)?;
    let path = question(arguments)?;
    let told: Value = client.get(&path).await?.granted()?;
    output::result(arguments.reach.output, &told, || {
        output::print_words(&standing(&told))
    })
}

/// The question, with whatever was typed percent-encoded.
fn question(arguments: &ExplainArguments) -> Result<String, Failure> {
    let optional = [
        ("service", arguments.service.as_deref()),
        ("salt", arguments.salt.as_deref()),
        ("kind", arguments.kind.map(|kind| kind.name())),
    ];
    let given = optional
        .into_iter()
        .filter_map(|(name, value)| Some((name, value?)));
    let pairs = std::iter::once(("key", arguments.key.as_str())).chain(given);
    // The host is never asked: only path and query are taken from it.
    let url = reqwest::Url::parse_with_params(&format!("http://node{POLICY}/explain"), pairs);
    let url =
        url.map_err(|error| Failure::new(Status::Usage, format!("{}: {error}", arguments.key)))?;
    let query = url.query().unwrap_or_default();
    Ok(format!("{}?{query}", url.path()))
}

fn heading(told: &Value) -> String {
    let word = |name: &str| text(told.get(name));
    format!(
        "{}: policy {} (strategy {}): {}\n",
        word("node"),
        word("policy"),
        word("strategy"),
        word("summary")
    )
}

/// The columns of shards.
const SHARDS: &[&str] = &["shard", "blocks", "used", "budget", "evicted"];

fn shards(told: &Value) -> Vec<Vec<String>> {
    let number = |shard: &Value, name: &str| shard.get(name).and_then(Value::as_u64).unwrap_or(0);
    let row = |shard: &Value| {
        vec![
            text(shard.get("shard")),
            format::count(number(shard, "blocks")),
            format::bytes(number(shard, "used_bytes")),
            format::bytes(number(shard, "limit_bytes")),
            format::count(number(shard, "blocks_evicted")),
        ]
    };
    list(told, "shards").map(row).collect()
}

/// Every number of every shard's policy, then of its classes.
fn figures(told: &Value) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    for shard in list(told, "shards") {
        let name = format!("shard {}", text(shard.get("shard")));
        rows.push(vec![
            name.clone(),
            String::new(),
            numbers(shard.get("figures")),
        ]);
        for class in list(shard, "classes") {
            let figures = numbers(class.get("figures"));
            rows.push(vec![name.clone(), text(class.get("name")), figures]);
        }
    }
    rows
}

fn next(told: &Value) -> Vec<Vec<String>> {
    let mut rows = Vec::new();
    for shard in list(told, "shards") {
        for block in list(shard, "next") {
            let field = |name: &str| text(block.get(name));
            rows.push(vec![
                text(shard.get("shard")),
                field("key"),
                field("class"),
                score(block.get("score")),
                numbers(block.get("because")),
            ]);
        }
    }
    rows
}

/// What is told of a block or an entry, a line each; what is not known is left out.
fn standing(told: &Value) -> Vec<Vec<String>> {
    let row = |label: &str, value: String| vec![label.to_owned(), value];
    let mut rows = vec![
        row(&text(told.get("kind")), text(told.get("key"))),
        row("class", text(told.get("class"))),
    ];
    if told.get("score").is_some_and(Value::is_number) {
        rows.push(row("score", score(told.get("score"))));
        rows.push(row("because", numbers(told.get("because"))));
    }
    rows.push(row("can go", text(told.get("can_go"))));
    rows.push(row("reason", text(told.get("reason"))));
    let services: Vec<String> = list(told, "services")
        .map(|name| text(Some(name)))
        .collect();
    rows.push(row("services", services.join(", ")));
    let bytes = told.get("bytes").and_then(Value::as_u64);
    rows.extend(bytes.map(|bytes| row("bytes", format::bytes(bytes))));
    for name in [
        "ttl_ms", "shard", "parent", "depth", "children", "leases", "pin", "tokens",
    ] {
        let value = told.get(name).filter(|value| !value.is_null());
        rows.extend(value.map(|value| row(name, text(Some(value)))));
    }
    rows
}

fn list<'v>(value: &'v Value, name: &str) -> impl Iterator<Item = &'v Value> {
    value
        .get(name)
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
}

fn text(value: Option<&Value>) -> String {
    match value {
        Some(Value::String(text)) => text.clone(),
        Some(value) => value.to_string(),
        None => "-".to_owned(),
    }
}

fn score(value: Option<&Value>) -> String {
    let score = value.and_then(Value::as_f64);
    score.map_or_else(|| "-".to_owned(), |score| format!("{score:.3e}"))
}

/// `hits 3, turn 1`: whole numbers without a point.
fn numbers(value: Option<&Value>) -> String {
    let fields = value.and_then(Value::as_object).into_iter().flatten();
    let told = fields.map(|(name, value)| {
        let number = value.as_f64().unwrap_or(f64::NAN);
        if number.fract() == 0.0 && number.abs() < 1e15 {
            format!("{name} {number:.0}")
        } else {
            format!("{name} {number:.4}")
        }
    });
    told.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::args::{Arguments, Command};
    use clap::Parser as _;
    use serde_json::json;

    fn asked(line: &[&str]) -> String {
        let words = ["ultrakv", "explain"].iter().chain(line);
        let arguments = Arguments::try_parse_from(words).expect("a question");
        let Command::Explain(arguments) = arguments.command else {
            panic!("another command")
        };
        question(&arguments).expect("encoded")
    }

    #[test]
    fn whatever_is_typed_is_a_part_of_the_question_and_never_its_shape() {
        assert_eq!(asked(&["a"]), "/v1/policy/explain?key=a");
        assert_eq!(
            asked(&[
                "a&b=ü /#",
                "--service",
                "s?",
                "--salt",
                "x y",
                "--kind",
                "entry"
            ]),
            "/v1/policy/explain?key=a%26b%3D%C3%BC+%2F%23&service=s%3F&salt=x+y&kind=entry"
        );
    }

    #[test]
    fn an_entry_is_told_without_what_only_blocks_have() {
        let told = json!({"kind": "entry", "key": "a", "class": "kept", "score": null, "because": {}, "can_go": false,
            "reason": "it is kept", "services": ["default"], "bytes": 2048, "ttl_ms": null});
        assert_eq!(
            standing(&told),
            [
                ["entry", "a"],
                ["class", "kept"],
                ["can go", "false"],
                ["reason", "it is kept"],
                ["services", "default"],
                ["bytes", "2.0 KiB"],
            ]
        );
    }

    #[test]
    fn the_blocks_of_all_shards_are_told_with_their_numbers() {
        let block = json!({"key": "k", "class": "normal", "score": 7.0, "because": {"uses": 3, "worth": 0.25}});
        let told = json!({"shards": [{"shard": 0, "next": []}, {"shard": 1, "next": [block]}]});
        assert_eq!(
            next(&told),
            [["1", "k", "normal", "7.000e0", "uses 3, worth 0.2500"]]
        );
    }
}
