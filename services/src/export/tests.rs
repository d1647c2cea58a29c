//! Responsible for what holds of every format: what is escaped stays text under another parser, nothing is lost, equal documents give equal
//! bytes, bounds are kept.

mod parsers;
mod properties;

use std::collections::BTreeMap;

use self::parsers::{check_html, check_rtf, parts};
use super::*;
use crate::analysis::Tongue;

fn section(heading: &str, content: &str) -> SectionSource {
    SectionSource {
        heading: heading.to_owned(),
        content: content.to_owned(),
    }
}

fn document(title: &str, sections: &[(&str, &str)]) -> Document {
    let sections = sections
        .iter()
        .map(|(heading, content)| section(heading, content))
        .collect();
    Document::read(&Source {
        title: title.to_owned(),
        sections,
        ..Source::default()
    })
    .expect("it is within bounds")
}

fn written(document: &Document, format: Format) -> String {
    String::from_utf8(render(document, format).expect("it can be written").bytes)
        .expect("it is UTF-8")
}

/// One of everything, with accents.
fn sample() -> Document {
    let metadata = [
        ("author", "Ana Núñez"),
        ("subject", "Prueba"),
        ("keywords", "uno, dos"),
        ("versión", "1 & 2"),
    ];
    let source = Source {
        title: "Informe de ñandúes & <compañía>".to_owned(),
        sections: vec![
            section(
                "Resumen",
                "Un párrafo **fuerte**, *énfasis*, ~~tachado~~, `código` y [enlace](https://example.com/?a=1&b=2).\n\nOtro.",
            ),
            section(
                "Listas",
                "- uno\n- dos\n  1. tres\n  2. cuatro\n\n> Cita con acción.\n\n```rust\nfn main() { /* \\{} */ }\n```",
            ),
            section(
                "Tabla",
                "| Año | Ventas |\n|:---|---:|\n| 2025 | 1 000 € |\n| 2026 | 2 000 € |\n\n---\n\n### Fin\n\nÚltimo párrafo.",
            ),
        ],
        metadata: metadata
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .collect(),
        branding: Branding {
            company: "Casa & Cía".to_owned(),
            primary_color: "#123abc".to_owned(),
            footer: "Confidencial".to_owned(),
        },
        document_type: Some(DocumentType::Report),
        language: Some("es-MX".to_owned()),
        created_s: Some(1_764_187_954),
    };
    Document::read(&source).expect("it is within bounds")
}

const ATTACKS: &[&str] = &[
    "<script>alert(1)</script>",
    "<img src=x onerror=alert(1)>",
    "\"><svg/onload=alert(1)>",
    "</title><script>alert(1)</script>",
    "</style><script>x</script>",
    "<!DOCTYPE r [<!ENTITY a \"aaaa\"><!ENTITY b \"&a;&a;\">]><r>&b;</r>",
    "]]><evil/>",
    "<!-- --><?php echo 1 ?>",
    "{\\rtf1 \\object\\objdata 00}",
    "}{\\field{\\*\\fldinst INCLUDETEXT \"/etc/passwd\"}}",
    "\\u-1234? \\'00 \\bin9999",
    "{{ 7 * 7 }} ${7*7}",
    "../../etc/passwd",
    "\u{0}\u{8}\u{b}\u{fffe}",
    "=HYPERLINK(\"http://x\")",
];

#[test]
fn attacks_stay_text_in_html_and_xml() {
    for attack in ATTACKS {
        let source = Source {
            title: format!("T {attack}"),
            sections: vec![section(
                &format!("H {attack}"),
                &format!("C `{attack}`\n\n| {attack} |\n|---|\n| x |\n\n    {attack}\n"),
            )],
            metadata: BTreeMap::from([("author".to_owned(), (*attack).to_owned())]),
            branding: Branding {
                company: format!("B {attack}"),
                footer: format!("F {attack}"),
                ..Branding::default()
            },
            ..Source::default()
        };
        let source = Source {
            branding: Branding {
                company: source.branding.company.chars().take(60).collect(),
                ..source.branding
            },
            ..source
        };
        let document = Document::read(&source).expect("it is within bounds");
        let text = check_html(&written(&document, Format::Html));
        assert!(text.contains(&clean::line(attack)), "{attack}: {text}");

        let xml = written(&document, Format::Xml);
        let tree =
            roxmltree::Document::parse(&xml).unwrap_or_else(|error| panic!("{error}: {xml}"));
        let title = tree
            .descendants()
            .find(|node| node.has_tag_name("title"))
            .and_then(|node| node.text());
        assert_eq!(title, Some(clean::line(&source.title).as_str()));
        assert!(
            tree.descendants()
                .all(|node| !node.has_tag_name("evil") && !node.has_tag_name("r"))
        );

        let json: serde_json::Value =
            serde_json::from_str(&written(&document, Format::Json)).expect("it is JSON");
        assert_eq!(json["title"], clean::line(&source.title));
        // Every part of the package is XML.
        for (name, part) in parts(
            &render(&document, Format::Docx)
                .expect("it can be written")
                .bytes,
        ) {
            let parsed = roxmltree::Document::parse(&part);
            assert!(parsed.is_ok(), "{name}: {parsed:?}");
        }
        check_rtf(&written(&document, Format::Rtf));
        let name = render(&document, Format::Txt)
            .expect("it can be written")
            .name;
        assert!(!name.contains(['/', '\\', '\0', '<', '"']), "{name}");
    }
}

#[test]
fn every_format_holds_the_whole_document() {
    let document = sample();
    let words = [
        "Informe",
        "ñandúes",
        "Resumen",
        "fuerte",
        "énfasis",
        "tachado",
        "código",
        "tres",
        "acción",
        "2026",
        "Último párrafo",
        "Confidencial",
    ];
    let html = check_html(&written(&document, Format::Html));
    let plain = written(&document, Format::Txt);
    let markdown = written(&document, Format::Markdown);
    let xml = written(&document, Format::Xml);
    let tree = roxmltree::Document::parse(&xml).expect("it is XML");
    let xml: String = tree
        .descendants()
        .filter_map(|node| node.text().filter(|_| node.is_text()))
        .collect();
    let package = parts(
        &render(&document, Format::Docx)
            .expect("it can be written")
            .bytes,
    );
    let body = roxmltree::Document::parse(&package["word/document.xml"]).expect("it is XML");
    let docx: String = body
        .descendants()
        .filter_map(|node| node.text().filter(|_| node.is_text()))
        .collect();
    let docx = docx + &package["word/footer1.xml"];
    for word in words {
        for (name, text) in [
            ("html", &html),
            ("txt", &plain),
            ("markdown", &markdown),
            ("xml", &xml),
            ("docx", &docx),
        ] {
            assert!(text.contains(word), "{word} is not in {name}: {text}");
        }
    }
    assert!(plain.contains("enlace (https://example.com/?a=1&b=2)"));
    assert!(plain.contains("2025  1 000 €"), "{plain}");
    assert!(
        package["docProps/core.xml"].contains("Ana Núñez")
            && package["docProps/core.xml"].contains("2025-11-26T20:12:34Z")
    );
    assert!(package["word/_rels/document.xml.rels"].contains("https://example.com/?a=1&amp;b=2"));
}

#[test]
fn equal_documents_give_equal_bytes() {
    for format in Format::ALL {
        let (one, other) = (render(&sample(), format), render(&sample(), format));
        let one = one.expect("it can be written");
        assert_eq!(Ok(&one), other.as_ref(), "{format:?}");
        assert!(
            one.name.ends_with(format.extension()) && one.name.starts_with("Informe-de-ñandúes")
        );
        assert_eq!(one.media_type, format.media_type());
    }
}

#[test]
fn pdfs_break_lines_and_pages_and_refuse_what_they_cannot_show() {
    let paragraph =
        "Una frase larga que se repite hasta llenar varias páginas del documento. ".repeat(300);
    let long = render(
        &document("Largo", &[("Uno", &paragraph), ("Dos", "Fin.")]),
        Format::Pdf,
    )
    .expect("it can be written");
    assert!(long.bytes.starts_with(b"%PDF-"));
    let refused = render(&document("日本", &[("", "emoji 🚀 y عربي")]), Format::Pdf)
        .expect_err("the fonts lack these");
    assert_eq!(refused.code(), "pdf_characters_missing");
    assert!(refused.to_string().contains("U+1F680"), "{refused}");
    for written in [
        "ñ á ü ¿¡ € « » — “” … •",
        "αβγ Ω",
        "Привет",
        "ąćęłńóśźż őű řž",
        "→ ≤ ≥ ■ ─",
        "x\u{a0}y\u{202f}z",
    ] {
        assert!(
            render(&document("T", &[("H", written)]), Format::Pdf).is_ok(),
            "{written}"
        );
    }
}

#[test]
fn extremes_are_written_in_every_format() {
    let deep = format!("{}hondo", "> - ".repeat(60));
    let wide = format!(
        "{}|\n{}|\n{}|",
        "| a".repeat(32),
        "|---".repeat(32),
        "| larguísimapalabra".repeat(32)
    );
    let unbroken = "x".repeat(20_000);
    let rows = format!("| a | b |\n|---|---|\n{}", "| uno | dos |\n".repeat(2_000));
    let contents = [
        deep.as_str(),
        &wide,
        &unbroken,
        &rows,
        "1. \n2. \n\n-\n",
        "99999999999999. x",
        "```\n\n```",
        "&amp; &lt; \\* *",
    ];
    for content in contents {
        let document = document("Extremo", &[("", content), ("Fin", "")]);
        for format in Format::ALL {
            let file = render(&document, format);
            assert!(
                file.is_ok_and(|file| !file.bytes.is_empty()),
                "{format:?}: {}",
                content.chars().take(40).collect::<String>()
            );
        }
    }
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of rows, or one story")]
fn wrong_documents_are_refused() {
    let good = Source {
        title: "T".to_owned(),
        sections: vec![section("H", "C")],
        ..Source::default()
    };
    let branding = |colour: &str| Branding {
        primary_color: colour.to_owned(),
        ..Branding::default()
    };
    let rows = [
        (
            Source {
                title: " \u{202e}\n".to_owned(),
                ..good.clone()
            },
            "document_without_title",
        ),
        (
            Source {
                sections: Vec::new(),
                ..good.clone()
            },
            "document_without_content",
        ),
        (
            Source {
                sections: vec![section(" ", "\n")],
                ..good.clone()
            },
            "document_without_content",
        ),
        (
            Source {
                title: "x".repeat(TITLE_CHARACTERS_MAX + 1),
                ..good.clone()
            },
            "document_too_large",
        ),
        (
            Source {
                sections: vec![section("H", "C"); SECTIONS_MAX + 1],
                ..good.clone()
            },
            "document_too_large",
        ),
        (
            Source {
                sections: vec![section("H", &"x".repeat(CONTENT_BYTES_MAX + 1))],
                ..good.clone()
            },
            "document_too_large",
        ),
        (
            Source {
                branding: branding("red"),
                ..good.clone()
            },
            "colour_malformed",
        ),
        (
            Source {
                branding: branding("#12345é"),
                ..good.clone()
            },
            "colour_malformed",
        ),
        (
            Source {
                language: Some("\" onload=".to_owned()),
                ..good.clone()
            },
            "language_malformed",
        ),
    ];
    for (source, expected) in rows {
        let error = Document::read(&source).expect_err(expected);
        assert_eq!(error.code(), expected);
        assert!(!error.hint().is_empty());
    }
    assert_eq!(Format::parse("PDF"), Ok(Format::Pdf));
    assert_eq!(Format::parse("md"), Ok(Format::Markdown));
    assert_eq!(
        Format::parse("pptx").expect_err("it is none").code(),
        "format_unknown"
    );
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table of rows, or one story")]
fn scores_name_each_fault_and_fall_with_it() {
    let body = "Las ventas crecieron en todas las tiendas. El equipo abrió otra sede en Lima. Los clientes valoran la atención y el \
                precio justo. Este año habrá más formación para los vendedores nuevos. También se cambia el almacén, que se queda pequeño. \
                El plan prevé dos ferias y una campaña en radio. La caja basta para todo ello sin pedir préstamos. Cada mes se revisan los \
                gastos. Las compras pasan por un solo correo. Así nadie paga dos veces lo mismo. Las tiendas abren de lunes a sábado y \
                cierran los festivos, salvo en diciembre, cuando se trabaja también el domingo por la mañana.";
    let good = Source {
        title: "Informe anual".to_owned(),
        sections: vec![section("Ventas", body)],
        metadata: BTreeMap::from([("author".to_owned(), "Ana".to_owned())]),
        branding: Branding {
            company: "Casa".to_owned(),
            ..Branding::default()
        },
        document_type: Some(DocumentType::Report),
        ..Source::default()
    };
    let score = |source: &Source| {
        validate(
            &Document::read(source).expect("it is within bounds"),
            Tongue::Spanish,
        )
    };
    let best = score(&good);
    assert_eq!(best.issues, [], "{best:?}");
    assert!((best.overall - 1.0).abs() < 1e-12);
    let with = |heading: &str, content: &str| Source {
        sections: vec![section("Ventas", body), section(heading, content)],
        ..good.clone()
    };
    let pale = Branding {
        primary_color: "#ffee00".to_owned(),
        ..good.branding.clone()
    };
    let rows = [
        (with("", "Nota."), Fault::SectionWithoutHeading),
        (with("Vacía", ""), Fault::SectionWithoutContent),
        (with("Otra", "### salto\n\ntexto"), Fault::HeadingSkipsLevel),
        (with("Ventas", "otra vez"), Fault::HeadingRepeats),
        (
            with(
                "Muro",
                &(0..310)
                    .map(|word| format!("palabra{word} "))
                    .collect::<String>(),
            ),
            Fault::WallOfText,
        ),
        (with("Html", "<div>x</div>"), Fault::HtmlShownAsText),
        (with("Copia", &body.repeat(2)), Fault::Repetitive),
        (with("Foto", "![](x.png)"), Fault::PictureWithoutDescription),
        (with("Enlace", "[x](javascript:y)"), Fault::LinkDropped),
        (with("Resto", "Lorem ipsum dolor."), Fault::Placeholder),
        (
            Source {
                sections: vec![section("Breve", "Poco.")],
                ..good.clone()
            },
            Fault::VeryShort,
        ),
        (
            Source {
                branding: pale,
                ..good.clone()
            },
            Fault::LowContrast,
        ),
        (
            Source {
                metadata: BTreeMap::new(),
                ..good.clone()
            },
            Fault::NoAuthor,
        ),
        (
            Source {
                branding: Branding::default(),
                ..good.clone()
            },
            Fault::NoCompany,
        ),
        (
            Source {
                document_type: None,
                ..good.clone()
            },
            Fault::NoType,
        ),
    ];
    for (source, fault) in rows {
        let found = score(&source);
        assert!(found.issues.contains(&fault), "{fault:?}: {found:?}");
        assert!(found.overall < best.overall, "{fault:?}: {found:?}");
        assert_eq!(found.suggestions.len(), found.issues.len());
        for score in [
            found.overall,
            found.formatting,
            found.content,
            found.accessibility,
            found.professional,
        ] {
            assert!((0.0..=1.0).contains(&score));
        }
    }
    for fault in Fault::ALL {
        assert_ne!(
            fault.message(Tongue::Spanish),
            fault.message(Tongue::English)
        );
    }
}
