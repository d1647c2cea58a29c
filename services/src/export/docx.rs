//! Responsible for DOCX: the parts of an Office Open XML package, zipped. It must never know how a part's content is made.
//!
//! Written with `zip` and `quick-xml`, which the rest of the house trusts, and not with a crate for DOCX: those at hand pull in decoders
//! of pictures and second copies of both, and number lists and name styles their own way. The parts here are few, and
//! their order and times are fixed, so that equal documents give equal bytes.
//!
//! # Source
//! ECMA-376, part 1 (WordprocessingML) and part 2 (Open Packaging Conventions).

mod body;
mod styles;

use std::io::{Cursor, Write};

use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipWriter};

use super::document::Document;
use super::error::ExportError;
use super::markup::Markup;
use body::Body;

pub(super) const WORD: &str = "http://schemas.openxmlformats.org/wordprocessingml/2006/main";
pub(super) const OFFICE: &str =
    "http://schemas.openxmlformats.org/officeDocument/2006/relationships";
const PACKAGE: &str = "http://schemas.openxmlformats.org/package/2006";

/// Writes a package.
pub(crate) fn write(document: &Document) -> Result<Vec<u8>, ExportError> {
    let failed = |reason: String| ExportError::Writer {
        format: "docx",
        reason,
    };
    let body = Body::of(document);
    let parts = [
        ("[Content_Types].xml", content_types()),
        ("_rels/.rels", package_relations()),
        ("docProps/core.xml", core(document)),
        ("word/document.xml", body.document),
        (
            "word/_rels/document.xml.rels",
            document_relations(&body.links),
        ),
        ("word/styles.xml", styles::styles(document)),
        ("word/numbering.xml", styles::numbering(&body.lists)),
        ("word/footer1.xml", styles::footer(document)),
    ];
    let mut package = ZipWriter::new(Cursor::new(Vec::new()));
    // No clock: without a time given, the crate writes 1980.
    let options = SimpleFileOptions::default().compression_method(CompressionMethod::Deflated);
    for (name, content) in parts {
        package
            .start_file(name, options)
            .map_err(|error| failed(error.to_string()))?;
        package
            .write_all(&content)
            .map_err(|error| failed(error.to_string()))?;
    }
    let packed = package
        .finish()
        .map_err(|error| failed(error.to_string()))?;
    Ok(packed.into_inner())
}

fn content_types() -> Vec<u8> {
    let mut xml = Markup::new();
    xml.open("Types", &[("xmlns", &format!("{PACKAGE}/content-types"))]);
    let relations = "application/vnd.openxmlformats-package.relationships+xml";
    xml.empty(
        "Default",
        &[("Extension", "rels"), ("ContentType", relations)],
    );
    xml.empty(
        "Default",
        &[("Extension", "xml"), ("ContentType", "application/xml")],
    );
    let main = "application/vnd.openxmlformats-officedocument.wordprocessingml";
    let core = "application/vnd.openxmlformats-package.core-properties+xml".to_owned();
    let parts = [
        ("/word/document.xml", format!("{main}.document.main+xml")),
        ("/word/styles.xml", format!("{main}.styles+xml")),
        ("/word/numbering.xml", format!("{main}.numbering+xml")),
        ("/word/footer1.xml", format!("{main}.footer+xml")),
        ("/docProps/core.xml", core),
    ];
    for (part, kind) in &parts {
        xml.empty("Override", &[("PartName", part), ("ContentType", kind)]);
    }
    xml.finish()
}

fn package_relations() -> Vec<u8> {
    let mut xml = Markup::new();
    xml.open(
        "Relationships",
        &[("xmlns", &format!("{PACKAGE}/relationships"))],
    );
    let rows = [
        (
            "rId1",
            format!("{OFFICE}/officeDocument"),
            "word/document.xml",
        ),
        (
            "rId2",
            format!("{PACKAGE}/relationships/metadata/core-properties"),
            "docProps/core.xml",
        ),
    ];
    for (id, kind, target) in &rows {
        xml.empty(
            "Relationship",
            &[("Id", id), ("Type", kind), ("Target", target)],
        );
    }
    xml.finish()
}

fn document_relations(links: &[String]) -> Vec<u8> {
    let mut xml = Markup::new();
    xml.open(
        "Relationships",
        &[("xmlns", &format!("{PACKAGE}/relationships"))],
    );
    for name in ["styles", "numbering"] {
        let (kind, target) = (format!("{OFFICE}/{name}"), format!("{name}.xml"));
        xml.empty(
            "Relationship",
            &[("Id", name), ("Type", &kind), ("Target", &target)],
        );
    }
    let footer = format!("{OFFICE}/footer");
    xml.empty(
        "Relationship",
        &[
            ("Id", "footer"),
            ("Type", &footer),
            ("Target", "footer1.xml"),
        ],
    );
    let hyperlink = format!("{OFFICE}/hyperlink");
    for (number, link) in links.iter().enumerate() {
        let id = body::link_id(number);
        let row = [
            ("Id", id.as_str()),
            ("Type", &hyperlink),
            ("Target", link),
            ("TargetMode", "External"),
        ];
        xml.empty("Relationship", &row);
    }
    xml.finish()
}

fn core(document: &Document) -> Vec<u8> {
    let mut xml = Markup::new();
    xml.open(
        "cp:coreProperties",
        &[
            ("xmlns:cp", &format!("{PACKAGE}/metadata/core-properties")),
            ("xmlns:dc", "http://purl.org/dc/elements/1.1/"),
            ("xmlns:dcterms", "http://purl.org/dc/terms/"),
            ("xmlns:xsi", "http://www.w3.org/2001/XMLSchema-instance"),
        ],
    );
    xml.leaf("dc:title", &[], &document.title);
    for (name, element) in [
        ("author", "dc:creator"),
        ("subject", "dc:subject"),
        ("keywords", "cp:keywords"),
    ] {
        if let Some(value) = document.metadatum(name) {
            xml.leaf(element, &[], value);
        }
    }
    xml.leaf("dc:language", &[], &document.language);
    if let Some(created) = document.created {
        xml.leaf(
            "dcterms:created",
            &[("xsi:type", "dcterms:W3CDTF")],
            &created.iso(),
        );
    }
    xml.finish()
}
