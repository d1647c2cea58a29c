//! Other people's programs open what is exported. Each test skips aloud where its program is absent, and fails for that under `CI`:
//! `pdftotext` and `pdfinfo` (Debian: `poppler-utils`), `unrtf`, and Python with `python-docx`, `pypdf` and `striprtf`
//! (`ULTRAKV_PYTHON` names the interpreter).

#![expect(clippy::expect_used, reason = "a test fails by a panic that says why")]

use std::fs;
use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};

use ultrakv_services::export::{Document, Format, SectionSource, Source, render};

/// What must be found in every file, in this order.
const SAID: &[&str] = &[
    "Pingüino",
    "Capítulo",
    "acción",
    "camión",
    "uno",
    "dos",
    "2026",
    "1 000 €",
    "Final",
];

fn document() -> Document {
    let section = |heading: &str, content: &str| SectionSource {
        heading: heading.to_owned(),
        content: content.to_owned(),
    };
    let filler = "Una frase que llena la página sin decir mucho más que eso. ".repeat(120);
    let source = Source {
        title: "Pingüino {\\b}<i> & \"más\"".to_owned(),
        sections: vec![
            section(
                "Capítulo",
                &format!(
                    "Con **acción** y [camión](https://example.com/a).\n\n- uno\n- dos\n\n{filler}"
                ),
            ),
            section(
                "Cifras",
                "| Año | Suma |\n|---|---:|\n| 2026 | 1 000 € |\n\n```\nx = {1}\n```\n\nFinal.",
            ),
        ],
        metadata: [("author".to_owned(), "Ana Núñez".to_owned())].into(),
        language: Some("es".to_owned()),
        created_s: Some(1_764_187_954),
        ..Source::default()
    };
    Document::read(&source).expect("it is within bounds")
}

/// The document in a file of its own folder, and the folder, which must live as long.
fn file(format: Format) -> (tempfile::TempDir, String) {
    let file = render(&document(), format).expect("it can be written");
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder
        .path()
        .join(format!("document.{}", format.extension()));
    fs::write(&path, file.bytes).expect("the folder takes it");
    let path = path.display().to_string();
    (folder, path)
}

/// A program, if it answers; otherwise the test says aloud that it does not run.
fn program(name: &str, probe: &[&str]) -> Option<String> {
    let named = std::env::var(format!("ULTRAKV_{}", name.to_uppercase()));
    let program = named.unwrap_or_else(|_| {
        if name == "python" {
            "python3".to_owned()
        } else {
            name.to_owned()
        }
    });
    let mut command = Command::new(&program);
    command
        .args(probe)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    if command.status().is_ok_and(|status| status.success()) {
        return Some(program);
    }
    let reason = format!("`{program} {}` fails", probe.join(" "));
    assert!(
        std::env::var_os("CI").is_none(),
        "{reason}, under CI, where nothing may be skipped"
    );
    let _best_effort = writeln!(
        std::io::stderr().lock(),
        "SKIPPED: {reason}; see README, test prerequisites"
    );
    None
}

fn output(program: &str, arguments: &[&str]) -> String {
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .expect("the program runs");
    assert!(
        output.status.success(),
        "{program} {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn assert_says(text: &str) {
    let joined = text.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut rest = joined.as_str();
    for said in SAID {
        let at = rest.find(said);
        assert!(
            at.is_some(),
            "{said} is missing, or out of order, in: {joined}"
        );
        rest = &rest[at.unwrap_or(0)..];
    }
    assert!(
        joined.contains("{\\b}<i> & \"más\""),
        "marks of the title became markup: {joined}"
    );
}

#[test]
fn poppler_reads_the_pdf() {
    let Some(program) = program("pdftotext", &["-v"]) else {
        return;
    };
    let (_folder, path) = file(Format::Pdf);
    assert_says(&output(&program, &["-layout", &path, "-"]));
    let facts = output("pdfinfo", &[&path]);
    assert!(
        facts.contains("Ana Núñez") && facts.contains("A4"),
        "{facts}"
    );
    let pages = facts
        .lines()
        .find_map(|line| line.strip_prefix("Pages:"))
        .and_then(|pages| pages.trim().parse::<u32>().ok());
    assert!(pages.is_some_and(|pages| pages >= 2), "{facts}");
    let fonts = output("pdffonts", &[&path]);
    for font in fonts.lines().skip(2) {
        assert!(
            font.contains("yes yes yes"),
            "a font is not embedded, a subset and mapped to Unicode: {fonts}"
        );
    }
}

#[test]
fn unrtf_reads_the_rtf() {
    let Some(program) = program("unrtf", &["--version"]) else {
        return;
    };
    let (_folder, path) = file(Format::Rtf);
    // It dresses each group of letters by itself, so tags stand within words.
    let html = output(&program, &["--html", &path]);
    let pieces = html
        .split('<')
        .map(|piece| piece.split_once('>').map_or(piece, |(_, text)| text));
    let text: String = pieces.collect();
    for said in ["acción", "página", "Final", "Capítulo"] {
        let entities = said
            .replace('ó', "&oacute;")
            .replace('í', "&iacute;")
            .replace('á', "&aacute;");
        assert!(text.contains(&entities), "{said}: {text}");
    }
}

/// Runs a script with the path of a file; it prints what it read.
fn python(module: &str, format: Format, script: &str) -> Option<String> {
    let python = program("python", &["-c", &format!("import {module}")])?;
    let (folder, path) = file(format);
    let script_path = folder.path().join("read.py");
    fs::write(&script_path, script).expect("the folder takes it");
    Some(output(
        &python,
        &["-X", "utf8", &script_path.display().to_string(), &path],
    ))
}

#[test]
fn python_docx_reads_the_docx() {
    let script = r"
import sys, docx
from docx.table import Table
d = docx.Document(sys.argv[1])
for block in d.iter_inner_content():
    if isinstance(block, Table):
        for row in block.rows:
            print(' '.join(cell.text for cell in row.cells))
    else:
        print(block.text)
styles = [p.style.name for p in d.paragraphs]
assert styles[0] == 'Title' and 'Heading 1' in styles, styles
assert d.core_properties.author == 'Ana Núñez', d.core_properties.author
assert d.core_properties.created.year == 2025
assert [r.bold for p in d.paragraphs for r in p.runs if r.text == 'acción'] == [True]
assert [h.address for p in d.paragraphs for h in p.hyperlinks] == ['https://example.com/a']
";
    if let Some(text) = python("docx", Format::Docx, script) {
        assert_says(&text);
    }
}

#[test]
fn pypdf_reads_the_pdf() {
    let script = r"
import sys, pypdf
r = pypdf.PdfReader(sys.argv[1], strict=True)
for page in r.pages:
    print(page.extract_text())
assert r.metadata.author == 'Ana Núñez', r.metadata
assert [o.title for o in r.outline] == ['Capítulo', 'Cifras'], r.outline
links = [a.get_object()['/A']['/URI'] for p in r.pages for a in p.get('/Annots', [])]
assert links == ['https://example.com/a'], links
";
    if let Some(text) = python("pypdf", Format::Pdf, script) {
        assert_says(&text);
    }
}

#[test]
fn striprtf_reads_the_rtf() {
    let script = r"
import sys
from striprtf.striprtf import rtf_to_text
print(rtf_to_text(open(sys.argv[1], encoding='ascii').read()))
";
    if let Some(text) = python("striprtf", Format::Rtf, script) {
        assert_says(&text);
    }
}

#[test]
fn python_reads_html_json_and_xml() {
    let html = r"
import sys
from html.parser import HTMLParser
class Reader(HTMLParser):
    def handle_starttag(self, tag, attributes):
        assert tag not in ('script', 'i', 'b'), tag
    def handle_data(self, data):
        print(data)
Reader().feed(open(sys.argv[1], encoding='utf-8').read())
";
    let json = r"
import json, sys
def say(value):
    if isinstance(value, dict):
        [say(value[key]) for key in value]
    elif isinstance(value, list):
        [say(item) for item in value]
    else:
        print(value)
document = json.load(open(sys.argv[1], encoding='utf-8'))
print(document['title'])
say(document['sections'])
";
    let xml = r"
import sys, xml.etree.ElementTree as tree
print('\n'.join(tree.parse(sys.argv[1]).getroot().itertext()))
";
    for (format, script) in [
        (Format::Html, html),
        (Format::Json, json),
        (Format::Xml, xml),
    ] {
        if let Some(text) = python("sys", format, script) {
            assert_says(&text);
        }
    }
}

#[test]
fn unzip_finds_the_package_whole() {
    let Some(program) = program("unzip", &["-v"]) else {
        return;
    };
    let (_folder, path) = file(Format::Docx);
    assert!(Path::new(&path).exists());
    assert!(output(&program, &["-t", &path]).contains("No errors detected"));
}
