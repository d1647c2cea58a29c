//! The rules of the house as tests: allowed arrows, one home for each framework, module docs, file
//! sizes, dead files, pure rooms. It reads manifests and sources as text and runs nothing of ours.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};

const LINES_MAX: usize = 700;

/// Which rooms a room may import. The staircase is `node → gateway → cluster → actors → cache`;
/// `model` and `services` stand beside it, `config` below everything but `cache`, `model` and `services`.
const ARROWS: &[(&str, &[&str])] = &[
    ("cache", &[]),
    ("config", &[]),
    ("model", &["cache"]),
    ("lab", &["cache"]),
    ("services", &[]),
    ("actors", &["cache", "config"]),
    ("cluster", &["actors", "cache", "config"]),
    (
        "gateway",
        &["actors", "cache", "cluster", "config", "model", "services"],
    ),
    (
        "node",
        &[
            "actors", "cache", "cluster", "config", "gateway", "lab", "model", "services",
        ],
    ),
    (
        "tests",
        &[
            "actors", "cache", "cluster", "config", "gateway", "model", "node", "services",
        ],
    ),
    ("chaos", &["actors", "cache", "cluster", "tests"]),
];

/// A framework may be named only by the manifests of its homes.
const HOMES: &[(&str, &[&str])] = &[
    ("ractor", &["actors", "cluster", "gateway"]),
    ("ractor_cluster", &["cluster"]),
    ("openraft", &["cluster"]),
    ("quinn", &["cluster"]),
    ("sled", &["actors", "cluster"]),
    ("cudarc", &["actors"]),
    ("axum", &["gateway"]),
    ("hyper", &["gateway"]),
    ("utoipa", &["gateway"]),
    ("candle-core", &["model"]),
    ("candle-nn", &["model"]),
    ("tokenizers", &["model"]),
    ("krilla", &["services"]),
    ("pulldown-cmark", &["services"]),
    ("quick-xml", &["services"]),
    ("clap", &["chaos", "lab", "node", "tests"]),
];

/// A room that must replay from its inputs: no I/O, no clock, no threads, no runtime.
struct Pure {
    room: &'static str,
    /// Everything its manifest may name.
    dependencies: &'static [&'static str],
    /// What its sources must not name, beyond [`BANNED`].
    banned: &'static [&'static str],
}

const PURE: &[Pure] = &[
    Pure {
        room: "cache",
        dependencies: &["blake3", "xxhash-rust", "thiserror", "zstd-safe"],
        banned: &["std::io"],
    },
    Pure {
        room: "services",
        dependencies: &[
            "caseless",
            "krilla",
            "md-5",
            "minijinja",
            "pulldown-cmark",
            "quick-xml",
            "serde",
            "serde_json",
            "thiserror",
            "ttf-parser",
            "unicode-normalization",
            "unicode-segmentation",
            "xxhash-rust",
            "zip",
        ],
        // A package of parts is written through `std::io`'s traits, into memory.
        banned: &["std::io::stdin", "std::io::stdout", "std::io::stderr"],
    },
];

const BANNED: &[&str] = &[
    "std::fs",
    "std::net",
    "std::thread",
    "std::time::Instant",
    "SystemTime",
    "std::process",
    "std::env",
    "tokio",
    "parking_lot",
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("tests/ lies in the root")
        .to_owned()
}

/// Every file of the house with this extension, without build outputs.
fn files(extension: &str) -> Vec<PathBuf> {
    fn walk(folder: &Path, extension: &str, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).expect("the folder is readable") {
            let path = entry.expect("the entry is readable").path();
            let name = path
                .file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            if path.is_dir() {
                if name != "target" && (!name.starts_with('.') || name == ".ci") {
                    walk(&path, extension, found);
                }
            } else if path.extension().is_some_and(|found| found == extension) {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    walk(&root(), extension, &mut found);
    found.sort();
    found
}

fn manifest(room: &str) -> toml::Table {
    let text = fs::read_to_string(root().join(room).join("Cargo.toml")).expect("a manifest");
    text.parse().expect("the manifest parses")
}

fn keys(table: &toml::Table, section: &str) -> BTreeSet<String> {
    table
        .get(section)
        .and_then(toml::Value::as_table)
        .map(|section| section.keys().cloned().collect())
        .unwrap_or_default()
}

fn shown(path: &Path) -> String {
    path.strip_prefix(root())
        .unwrap_or(path)
        .display()
        .to_string()
}

fn assert_none(what: &str, found: &[String]) {
    assert!(found.is_empty(), "{what}:\n  {}", found.join("\n  "));
}

#[test]
fn every_room_is_in_the_arrow_table() {
    let text = fs::read_to_string(root().join("Cargo.toml")).expect("the root manifest");
    let table: toml::Table = text.parse().expect("the root manifest parses");
    let members: BTreeSet<&str> = table["workspace"]["members"]
        .as_array()
        .expect("members is a list")
        .iter()
        .filter_map(toml::Value::as_str)
        .collect();
    let rooms: BTreeSet<&str> = ARROWS.iter().map(|(room, _)| *room).collect();
    assert_eq!(members, rooms);
}

#[test]
fn rooms_import_only_rooms_below_them() {
    let mut found = Vec::new();
    for (room, below) in ARROWS {
        for name in keys(&manifest(room), "dependencies") {
            if let Some(target) = name.strip_prefix("ultrakv-")
                && !below.contains(&target)
            {
                found.push(format!("{room} -> {target}"));
            }
        }
    }
    assert_none("arrows that the staircase forbids", &found);
}

#[test]
fn frameworks_live_in_their_homes_only() {
    let mut found = Vec::new();
    for (room, _) in ARROWS {
        for name in keys(&manifest(room), "dependencies") {
            if let Some((_, homes)) = HOMES.iter().find(|(framework, _)| *framework == name)
                && !homes.contains(room)
            {
                found.push(format!("{name} in {room}; its homes are {homes:?}"));
            }
        }
    }
    assert_none("frameworks away from home", &found);
}

#[test]
fn pure_rooms_name_nothing_that_does_io() {
    let mut found = Vec::new();
    for pure in PURE {
        for name in keys(&manifest(pure.room), "dependencies") {
            if !pure.dependencies.contains(&name.as_str()) {
                found.push(format!("{name} in {}", pure.room));
            }
        }
    }
    assert_none("dependencies that pure rooms must not have", &found);

    let mut found = Vec::new();
    for pure in PURE {
        let sources = root().join(pure.room).join("src");
        for path in files("rs")
            .into_iter()
            .filter(|path| path.starts_with(&sources))
        {
            let text = fs::read_to_string(&path).expect("the source is readable");
            for (number, line) in text.lines().enumerate() {
                let code = line.split("//").next().unwrap_or_default();
                for banned in BANNED.iter().chain(pure.banned) {
                    if code.contains(banned) {
                        found.push(format!("{}:{}: {banned}", shown(&path), number + 1));
                    }
                }
            }
        }
    }
    assert_none("clocks, threads or I/O in pure rooms", &found);
}

#[test]
fn every_file_says_what_it_is_responsible_for() {
    let found: Vec<String> = files("rs")
        .into_iter()
        .filter(|path| {
            let text = fs::read_to_string(path).expect("the source is readable");
            let first = text.lines().find(|line| !line.trim().is_empty());
            !first.is_some_and(|line| line.starts_with("//!"))
        })
        .map(|path| shown(&path))
        .collect();
    assert_none("files that do not open with a module doc", &found);
}

#[test]
fn no_file_is_crowded() {
    let found: Vec<String> = files("rs")
        .into_iter()
        .filter_map(|path| {
            let lines = fs::read_to_string(&path)
                .expect("the source is readable")
                .lines()
                .count();
            (lines > LINES_MAX).then(|| format!("{}: {lines} lines", shown(&path)))
        })
        .collect();
    assert_none(&format!("files over {LINES_MAX} lines"), &found);
}

#[test]
fn no_file_is_dead() {
    let sources = files("rs");
    let mut declared: BTreeMap<PathBuf, BTreeSet<String>> = BTreeMap::new();
    for path in &sources {
        let text = fs::read_to_string(path).expect("the source is readable");
        let stem = path
            .file_stem()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let parent = path.parent().unwrap_or(Path::new(""));
        let home = match stem.as_str() {
            "lib" | "main" | "mod" => parent.to_owned(),
            _ => parent.join(&stem),
        };
        for line in text.lines() {
            let line = line.trim();
            let line = line.strip_prefix("pub ").unwrap_or(line);
            let line = line.strip_prefix("pub(crate) ").unwrap_or(line);
            if let Some(name) = line
                .strip_prefix("mod ")
                .and_then(|rest| rest.strip_suffix(';'))
            {
                declared
                    .entry(home.clone())
                    .or_default()
                    .insert(name.to_owned());
            }
        }
    }
    let found: Vec<String> = sources
        .iter()
        .filter(|path| {
            let stem = path
                .file_stem()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned();
            let parent = path.parent().unwrap_or(Path::new(""));
            let is_target = matches!(stem.as_str(), "lib" | "main" | "build")
                || ["tests", "examples", "benches", "bin"]
                    .iter()
                    .any(|folder| parent.file_name().is_some_and(|name| name == *folder));
            let (home, name) = match stem.as_str() {
                "mod" => (
                    parent.parent().unwrap_or(Path::new("")).to_owned(),
                    parent
                        .file_name()
                        .unwrap_or_default()
                        .to_string_lossy()
                        .into_owned(),
                ),
                _ => (parent.to_owned(), stem.clone()),
            };
            !is_target
                && !declared
                    .get(&home)
                    .is_some_and(|names| names.contains(&name))
        })
        .map(|path| shown(path))
        .collect();
    assert_none("files that no module declares", &found);
}

#[test]
fn nothing_is_left_open_or_silenced() {
    // Spelled in two halves, so that this list does not find itself.
    let banned = [
        ["#[ign", "ore"].concat(),
        ["#[al", "low("].concat(),
        ["#![al", "low("].concat(),
        ["FIX", "ME"].concat(),
        ["unimpl", "emented!("].concat(),
        ["to", "do!("].concat(),
    ];
    let mut found = Vec::new();
    for path in files("rs") {
        let text = fs::read_to_string(&path).expect("the source is readable");
        for (number, line) in text.lines().enumerate() {
            if banned.iter().any(|word| line.contains(word.as_str())) {
                found.push(format!("{}:{}: {}", shown(&path), number + 1, line.trim()));
            }
        }
    }
    assert_none(
        "left open or silenced (use #[expect(.., reason = ..)])",
        &found,
    );
}

#[test]
fn every_room_holds_the_root_lints() {
    let found: Vec<String> = ARROWS
        .iter()
        .filter(|(room, _)| {
            let inherits = manifest(room)
                .get("lints")
                .and_then(|lints| lints.get("workspace"))
                .and_then(toml::Value::as_bool);
            inherits != Some(true)
        })
        .map(|(room, _)| (*room).to_owned())
        .collect();
    assert_none("rooms without `lints.workspace = true`", &found);
}

#[test]
fn the_readme_maps_every_room_and_tests_the_whole_workspace() {
    let readme = fs::read_to_string(root().join("README.md")).expect("README.md");
    let found: Vec<String> = ARROWS
        .iter()
        .filter(|(room, _)| !readme.contains(&format!("`{room}/`")))
        .map(|(room, _)| (*room).to_owned())
        .collect();
    assert_none("rooms that the README's map lacks", &found);
    assert!(
        readme.contains("cargo run --release -- demo"),
        "the README runs the demo"
    );
    assert!(
        readme.contains("cargo test --workspace"),
        "the README tests the whole workspace"
    );
}

#[test]
fn every_chapter_of_the_book_is_in_its_contents() {
    let contents = fs::read_to_string(root().join("docs/README.md")).expect("docs/README.md");
    let found: Vec<String> = files("md")
        .into_iter()
        .filter(|path| path.starts_with(root().join("docs")))
        .filter_map(|path| {
            let name = path
                .strip_prefix(root().join("docs"))
                .ok()?
                .display()
                .to_string();
            (name != "README.md" && !contents.contains(&name)).then_some(name)
        })
        .collect();
    assert_none("chapters missing from docs/README.md", &found);
}
