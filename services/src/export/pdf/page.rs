//! Responsible for painting what was laid on a page. It must never decide where things go.

use krilla::Document as Pdf;
use krilla::action::{Action, LinkAction};
use krilla::annotation::{Annotation, LinkAnnotation, Target};
use krilla::color::rgb;
use krilla::geom::{PathBuilder, Point, Rect};
use krilla::num::NormalizedF32;
use krilla::page::PageSettings;
use krilla::paint::{Fill, FillRule};
use krilla::surface::Surface;
use krilla::text::{GlyphId, KrillaGlyph};

use super::font::{Fonts, Style};
use super::measure::{Line, lines};
use crate::export::block::Span;
use crate::export::document::{Colour, Document};

/// A4 in points.
pub(super) const WIDTH: f32 = 595.28;
pub(super) const HEIGHT: f32 = 841.89;
/// Margin on each side, 2.5 cm.
pub(super) const MARGIN: f32 = 70.9;
const FOOTER_SIZE: f32 = 8.5;
const GREY: Colour = Colour {
    red: 0x59,
    green: 0x59,
    blue: 0x59,
};
const LINK: Colour = Colour {
    red: 0x0b,
    green: 0x57,
    blue: 0xd0,
};

/// Something laid on a page.
pub(super) enum Item {
    /// A line of text: left edge, baseline, size, colour.
    Text {
        line: Line,
        left: f32,
        baseline: f32,
        size: f32,
        colour: Colour,
    },
    /// A filled box: left, top, width, height.
    Area {
        left: f32,
        top: f32,
        width: f32,
        height: f32,
        colour: Colour,
    },
}

/// A page.
#[derive(Default)]
pub(super) struct Page {
    pub(super) items: Vec<Item>,
}

impl Page {
    pub(super) fn paint(
        &self,
        pdf: &mut Pdf,
        document: &Document,
        fonts: &Fonts,
        number: usize,
        count: usize,
    ) {
        let Some(settings) = PageSettings::from_wh(WIDTH, HEIGHT) else {
            return;
        };
        let mut page = pdf.start_page_with(settings);
        let mut links = Vec::new();
        let mut surface = page.surface();
        for item in &self.items {
            match item {
                Item::Area {
                    left,
                    top,
                    width,
                    height,
                    colour,
                } => {
                    area(&mut surface, [*left, *top, *width, *height], *colour);
                }
                Item::Text {
                    line,
                    left,
                    baseline,
                    size,
                    colour,
                } => {
                    text(
                        &mut surface,
                        fonts,
                        line,
                        [*left, *baseline, *size],
                        *colour,
                        &mut links,
                    );
                }
            }
        }
        foot(&mut surface, document, fonts, number, count);
        surface.finish();
        for (rect, target) in links {
            let target = Target::Action(Action::Link(LinkAction::new(target)));
            page.add_annotation(Annotation::new_link(
                LinkAnnotation::new(rect, target),
                None,
            ));
        }
        page.finish();
    }
}

/// The branding's line and the page's number, in as many lines as they take: three at most, by the footer's bound.
fn foot(
    surface: &mut Surface<'_>,
    document: &Document,
    fonts: &Fonts,
    number: usize,
    count: usize,
) {
    let footer = match document.footer.as_str() {
        "" => format!("{number} / {count}"),
        footer => format!("{footer} · {number} / {count}"),
    };
    let span = Span {
        text: footer,
        ..Span::default()
    };
    let room = WIDTH - 2.0 * MARGIN;
    let mut baseline = HEIGHT - MARGIN + 2.5 * FOOTER_SIZE;
    for line in lines(&[span], fonts, FOOTER_SIZE, room, Style::Regular) {
        let place = [(WIDTH - line.width) / 2.0, baseline, FOOTER_SIZE];
        text(surface, fonts, &line, place, GREY, &mut Vec::new());
        baseline += 1.3 * FOOTER_SIZE;
    }
}

fn fill(colour: Colour) -> Fill {
    Fill {
        paint: rgb::Color::new(colour.red, colour.green, colour.blue).into(),
        opacity: NormalizedF32::ONE,
        rule: FillRule::default(),
    }
}

fn area(surface: &mut Surface<'_>, [left, top, width, height]: [f32; 4], colour: Colour) {
    let mut path = PathBuilder::new();
    if let Some(rect) = Rect::from_xywh(left, top, width, height) {
        path.push_rect(rect);
    }
    if let Some(path) = path.finish() {
        surface.set_fill(Some(fill(colour)));
        surface.draw_path(&path);
    }
}

fn text(
    surface: &mut Surface<'_>,
    fonts: &Fonts,
    line: &Line,
    [left, baseline, size]: [f32; 3],
    colour: Colour,
    links: &mut Vec<(Rect, String)>,
) {
    let mut at = left;
    for piece in &line.pieces {
        let mut glyphs = Vec::with_capacity(piece.glyphs.len());
        for (glyph, (start, letter)) in piece.glyphs.iter().zip(piece.text.char_indices()) {
            let range = start..start + letter.len_utf8();
            let id = GlyphId::new(glyph.id);
            glyphs.push(KrillaGlyph::new(
                id,
                glyph.advance,
                0.0,
                0.0,
                0.0,
                range,
                None,
            ));
        }
        let colour = if piece.link.is_some() { LINK } else { colour };
        surface.set_fill(Some(fill(colour)));
        let font = fonts.face(piece.style).font.clone();
        surface.draw_glyphs(
            Point::from_xy(at, baseline),
            &glyphs,
            font,
            &piece.text,
            size,
            false,
        );
        if piece.strike {
            area(
                surface,
                [at, baseline - size * 0.3, piece.width, size * 0.06],
                colour,
            );
        }
        if let Some(link) = &piece.link
            && let Some(rect) = Rect::from_xywh(at, baseline - size, piece.width, size * 1.25)
        {
            links.push((rect, link.clone()));
        }
        at += piece.width;
    }
}
