//! Responsible for a DOCX's styles, numbering and footer. It must never know content.

use super::WORD;
use crate::export::document::Document;
use crate::export::markup::Markup;

/// One paragraph style: identifier, name, half points, bold, blank before and after in twips, level in the outline.
type Row = (
    &'static str,
    &'static str,
    usize,
    bool,
    usize,
    usize,
    Option<usize>,
);

const PARAGRAPHS: &[Row] = &[
    ("Title", "Title", 44, true, 120, 120, None),
    ("Kicker", "Kicker", 20, false, 0, 0, None),
    ("Byline", "Byline", 20, false, 0, 240, None),
    ("Heading1", "heading 1", 32, true, 360, 120, Some(0)),
    ("Heading2", "heading 2", 28, true, 280, 100, Some(1)),
    ("Heading3", "heading 3", 25, true, 240, 80, Some(2)),
    ("Heading4", "heading 4", 23, true, 200, 80, Some(3)),
    ("Heading5", "heading 5", 22, true, 200, 80, Some(4)),
    ("Quote", "Quote", 22, false, 0, 120, None),
    ("Code", "Code", 20, false, 0, 120, None),
];

/// The part of styles.
pub(super) fn styles(document: &Document) -> Vec<u8> {
    let mut xml = Markup::new();
    xml.open("w:styles", &[("xmlns:w", WORD)]);
    xml.open("w:docDefaults", &[]);
    xml.open("w:rPrDefault", &[]);
    xml.open("w:rPr", &[]);
    let font = "Calibri";
    xml.empty(
        "w:rFonts",
        &[
            ("w:ascii", font),
            ("w:hAnsi", font),
            ("w:cs", font),
            ("w:eastAsia", font),
        ],
    );
    xml.empty("w:sz", &[("w:val", "22")]);
    xml.empty("w:lang", &[("w:val", &document.language)]);
    (0..3).for_each(|_| xml.close());
    xml.open(
        "w:style",
        &[
            ("w:type", "paragraph"),
            ("w:default", "1"),
            ("w:styleId", "Normal"),
        ],
    );
    xml.empty("w:name", &[("w:val", "Normal")]);
    xml.open("w:pPr", &[]);
    xml.empty(
        "w:spacing",
        &[
            ("w:after", "120"),
            ("w:line", "276"),
            ("w:lineRule", "auto"),
        ],
    );
    xml.close();
    xml.close();
    for row in PARAGRAPHS {
        paragraph(row, document, &mut xml);
    }
    character("Hyperlink", "Hyperlink", &mut xml);
    character("CodeText", "Code Text", &mut xml);
    table(&mut xml);
    xml.finish()
}

fn paragraph(row: &Row, document: &Document, xml: &mut Markup) {
    let (id, name, half_points, bold, before, after, outline) = *row;
    xml.open("w:style", &[("w:type", "paragraph"), ("w:styleId", id)]);
    xml.empty("w:name", &[("w:val", name)]);
    xml.empty("w:basedOn", &[("w:val", "Normal")]);
    xml.empty("w:next", &[("w:val", "Normal")]);
    xml.open("w:pPr", &[]);
    if outline.is_some() {
        xml.empty("w:keepNext", &[]);
    }
    xml.empty(
        "w:spacing",
        &[
            ("w:before", &before.to_string()),
            ("w:after", &after.to_string()),
        ],
    );
    if id == "Quote" {
        xml.empty("w:ind", &[("w:left", "360")]);
    }
    if let Some(outline) = outline {
        xml.empty("w:outlineLvl", &[("w:val", &outline.to_string())]);
    }
    xml.close();
    xml.open("w:rPr", &[]);
    if id == "Code" {
        xml.empty(
            "w:rFonts",
            &[
                ("w:ascii", "Consolas"),
                ("w:hAnsi", "Consolas"),
                ("w:cs", "Consolas"),
            ],
        );
    }
    if bold {
        xml.empty("w:b", &[]);
        xml.empty("w:color", &[("w:val", &document.colour.hex())]);
    } else if id == "Quote" {
        xml.empty("w:i", &[]);
    }
    xml.empty("w:sz", &[("w:val", &half_points.to_string())]);
    xml.close();
    xml.close();
}

fn character(id: &'static str, name: &'static str, xml: &mut Markup) {
    xml.open("w:style", &[("w:type", "character"), ("w:styleId", id)]);
    xml.empty("w:name", &[("w:val", name)]);
    xml.open("w:rPr", &[]);
    if id == "Hyperlink" {
        xml.empty("w:color", &[("w:val", "0b57d0")]);
        xml.empty("w:u", &[("w:val", "single")]);
    } else {
        xml.empty(
            "w:rFonts",
            &[
                ("w:ascii", "Consolas"),
                ("w:hAnsi", "Consolas"),
                ("w:cs", "Consolas"),
            ],
        );
    }
    xml.close();
    xml.close();
}

fn table(xml: &mut Markup) {
    xml.open(
        "w:style",
        &[("w:type", "table"), ("w:styleId", "TableGrid")],
    );
    xml.empty("w:name", &[("w:val", "Table Grid")]);
    xml.open("w:tblPr", &[]);
    xml.open("w:tblBorders", &[]);
    for side in [
        "w:top",
        "w:left",
        "w:bottom",
        "w:right",
        "w:insideH",
        "w:insideV",
    ] {
        xml.empty(
            side,
            &[
                ("w:val", "single"),
                ("w:sz", "4"),
                ("w:space", "0"),
                ("w:color", "8c8c8c"),
            ],
        );
    }
    (0..3).for_each(|_| xml.close());
}

/// The part of numbering: one definition and one use for each list, so that each counts for itself.
pub(super) fn numbering(lists: &[Option<u64>]) -> Vec<u8> {
    let mut xml = Markup::new();
    xml.open("w:numbering", &[("xmlns:w", WORD)]);
    for (number, start) in lists.iter().enumerate() {
        xml.open("w:abstractNum", &[("w:abstractNumId", &number.to_string())]);
        xml.empty("w:multiLevelType", &[("w:val", "singleLevel")]);
        xml.open("w:lvl", &[("w:ilvl", "0")]);
        // Word holds numbers in 31 bits.
        let first = start.unwrap_or(1).min(0x7fff_ffff);
        xml.empty("w:start", &[("w:val", &first.to_string())]);
        let (kind, text) = if start.is_some() {
            ("decimal", "%1.")
        } else {
            ("bullet", "\u{2022}")
        };
        xml.empty("w:numFmt", &[("w:val", kind)]);
        xml.empty("w:lvlText", &[("w:val", text)]);
        xml.empty("w:lvlJc", &[("w:val", "left")]);
        xml.close();
        xml.close();
    }
    for number in 0..lists.len() {
        xml.open("w:num", &[("w:numId", &(number + 1).to_string())]);
        xml.empty("w:abstractNumId", &[("w:val", &number.to_string())]);
        xml.close();
    }
    xml.finish()
}

/// The part of the footer: the branding's line and the page's number.
pub(super) fn footer(document: &Document) -> Vec<u8> {
    let mut xml = Markup::new();
    xml.open("w:ftr", &[("xmlns:w", WORD)]);
    xml.open("w:p", &[]);
    xml.open("w:pPr", &[]);
    xml.empty("w:jc", &[("w:val", "center")]);
    xml.close();
    if !document.footer.is_empty() {
        xml.open("w:r", &[]);
        xml.leaf(
            "w:t",
            &[("xml:space", "preserve")],
            &format!("{} · ", document.footer),
        );
        xml.close();
    }
    xml.open("w:fldSimple", &[("w:instr", "PAGE")]);
    xml.open("w:r", &[]);
    xml.leaf("w:t", &[], "1");
    xml.finish()
}
