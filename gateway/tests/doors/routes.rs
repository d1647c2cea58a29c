//! What is documented is what is served.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use reqwest::Method;
use serde_json::Value;

use crate::house::{House, json, send, settings};

/// Every operation of a document: method, path with its parameters filled in, and its description.
fn operations(document: &Value) -> Vec<(Method, String, &Value)> {
    let paths = document["paths"].as_object().expect("paths");
    let mut operations = Vec::new();
    for (path, item) in paths {
        for (method, operation) in item.as_object().expect("methods") {
            let method = method.to_uppercase().parse().expect("a method");
            let filled = path.replace("{key}", "a-block").replace("{id}", "a-lease");
            let filled = filled.replace("{model}", "a-model");
            assert!(
                !filled.contains('{'),
                "the test does not know a parameter of {path}"
            );
            operations.push((method, filled, operation));
        }
    }
    operations
}

/// Every `$ref` of a document.
fn references<'d>(value: &'d Value, found: &mut Vec<&'d str>) {
    match value {
        Value::Object(fields) => {
            if let Some(Value::String(target)) = fields.get("$ref") {
                found.push(target);
            }
            fields.values().for_each(|value| references(value, found));
        }
        Value::Array(items) => items.iter().for_each(|value| references(value, found)),
        _ => {}
    }
}

#[tokio::test]
async fn every_documented_route_is_served() {
    let house = House::open(settings()).await;
    for admin in [false, true] {
        let ask = |method: Method, path: &str| {
            if admin {
                house.admin(method, path)
            } else {
                house.http(method, path)
            }
        };
        let (status, document) = json(ask(Method::GET, "/openapi.json")).await;
        assert_eq!(status, 200);
        assert!(
            document["openapi"]
                .as_str()
                .is_some_and(|version| version.starts_with("3.1"))
        );
        let operations = operations(&document);
        assert!(operations.len() >= 10, "{operations:?}");
        for (method, path, operation) in operations {
            let answer = send(ask(method.clone(), &path)).await;
            let status = answer.status().as_u16();
            let body = answer.text().await.expect("a body");
            assert!(
                !body.contains("route_unknown"),
                "{method} {path} is not served"
            );
            assert_ne!(status, 405, "{method} {path} is not served");
            assert!(status < 500, "{method} {path}: {status} {body}");
            let responses = operation["responses"].as_object().expect("responses");
            for documented in ["400", "429", "500", "503", "504"] {
                assert!(
                    responses.contains_key(documented),
                    "{method} {path} lacks {documented}"
                );
            }
            let summary = operation["summary"].as_str().unwrap_or_default();
            assert!(!summary.is_empty(), "{method} {path} has no summary");
            let public = operation["security"].as_array().is_some_and(Vec::is_empty);
            assert_eq!(responses.contains_key("401"), !public, "{method} {path}");
        }
        let mut found = Vec::new();
        references(&document, &mut found);
        assert!(!found.is_empty());
        for target in found {
            let pointer = target
                .strip_prefix('#')
                .expect("a reference within the document");
            assert!(
                document.pointer(pointer).is_some(),
                "{target} points nowhere"
            );
        }
    }
}

/// Every source of the gateway but its tests, with its path.
fn sources() -> Vec<(String, String)> {
    fn walk(folder: &Path, found: &mut Vec<(String, String)>) {
        for entry in fs::read_dir(folder).expect("the folder is readable") {
            let path = entry.expect("the entry is readable").path();
            let shown = path.display().to_string();
            if path.is_dir() {
                walk(&path, found);
            } else if !shown.contains("/tests") {
                found.push((
                    shown,
                    fs::read_to_string(&path).expect("the source is readable"),
                ));
            }
        }
    }
    let mut found = Vec::new();
    walk(
        &Path::new(env!("CARGO_MANIFEST_DIR")).join("src"),
        &mut found,
    );
    assert!(!found.is_empty());
    found
}

/// A route exists only through `routes!`, which documents it. This reads the sources because axum does not list its routes.
#[test]
fn no_route_is_served_without_its_documentation() {
    for (path, text) in sources() {
        for way in [".route(", ".route_service(", ".nest_service(", ".nest("] {
            assert!(!text.contains(way), "{path} uses {way}");
        }
    }
}

/// The name of the schema of the type that follows a derive: the one it is given, or its own.
fn schema_name(after_derive: &str) -> String {
    let alphanumeric = |text: &str| {
        text.chars()
            .take_while(char::is_ascii_alphanumeric)
            .collect()
    };
    for line in after_derive.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix("#[schema(as = ") {
            return alphanumeric(name);
        }
        let item = line.trim_start_matches(|symbol| symbol != ' ').trim_start();
        let item = if line.starts_with("pub") { item } else { line };
        if let Some(name) = item
            .strip_prefix("struct ")
            .or_else(|| item.strip_prefix("enum "))
        {
            return alphanumeric(name);
        }
    }
    String::new()
}

/// Two types of one name would be one schema, and the document would describe only one of them.
#[test]
fn no_two_types_share_a_schema() {
    let mut homes: BTreeMap<String, String> = BTreeMap::new();
    for (path, text) in sources() {
        for rest in text.split("#[derive(").skip(1) {
            let (derives, after) = rest.split_once(")]").unwrap_or_default();
            if !derives.contains("ToSchema") {
                continue;
            }
            let name = schema_name(after);
            assert!(!name.is_empty(), "a schema without a name in {path}");
            if let Some(other) = homes.insert(name.clone(), path.clone()) {
                panic!("{name} is a schema of {other} and of {path}");
            }
        }
    }
    assert!(homes.len() > 20, "{homes:?}");
}

#[tokio::test]
async fn the_page_needs_nothing_from_elsewhere() {
    let house = House::open(settings()).await;
    let page = send(house.http(Method::GET, "/docs/")).await;
    assert_eq!(page.status(), 200);
    let page = page.text().await.expect("the page");
    let assets: Vec<&str> = page
        .split(['"', '\''])
        .filter(|part| part.ends_with(".js") || part.ends_with(".css"))
        .collect();
    assert!(assets.len() >= 3, "{page}");
    for asset in assets {
        assert!(!asset.contains("//"), "{asset} comes from elsewhere");
        let path = format!("/docs/{}", asset.trim_start_matches("./"));
        let answer = send(house.admin(Method::GET, &path)).await;
        assert_eq!(answer.status(), 200, "{path}");
    }
    let start = send(house.http(Method::GET, "/docs/swagger-initializer.js")).await;
    assert!(
        start
            .text()
            .await
            .expect("the script")
            .contains("/openapi.json")
    );
    let missing = send(house.http(Method::GET, "/docs/nothing-here.js")).await;
    assert_eq!(missing.status(), 404);
    assert_eq!(
        missing.headers()["content-type"],
        "application/problem+json"
    );
}
