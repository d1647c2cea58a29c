//! Responsible for breaking text into lines that fit. It must never know pages.
//!
//! First fit: a word goes on the line while there is room; a word wider than a line is cut where it must be. Linear in the text.

use super::font::{Fonts, Glyph, Style};
use crate::export::block::Span;

/// Glyphs of one look that stand together.
#[derive(Clone, Debug)]
pub(super) struct Piece {
    pub(super) text: String,
    pub(super) glyphs: Vec<Glyph>,
    pub(super) width: f32,
    pub(super) style: Style,
    pub(super) link: Option<String>,
    pub(super) strike: bool,
}

/// One line.
#[derive(Clone, Debug, Default)]
pub(super) struct Line {
    pub(super) pieces: Vec<Piece>,
    pub(super) width: f32,
}

/// Breaks spans into lines of at most `width` points at a size in points. `face` is the face of text without a look of its own.
pub(super) fn lines(
    spans: &[Span],
    fonts: &Fonts,
    size: f32,
    width: f32,
    face: Style,
) -> Vec<Line> {
    let mut breaker = Breaker {
        fonts,
        size,
        width,
        done: Vec::new(),
        line: Line::default(),
        word: Line::default(),
    };
    for span in spans {
        let style = match Style::of(span.look) {
            Style::Regular => face,
            own => own,
        };
        for letter in span.text.chars() {
            match letter {
                '\n' => breaker.newline(),
                '\t' => (0..4).for_each(|_| breaker.letter(' ', style, span)),
                other => breaker.letter(other, style, span),
            }
        }
    }
    breaker.finish()
}

struct Breaker<'a> {
    fonts: &'a Fonts,
    size: f32,
    width: f32,
    done: Vec<Line>,
    line: Line,
    /// The word being read, not yet on a line.
    word: Line,
}

impl Breaker<'_> {
    fn letter(&mut self, letter: char, style: Style, span: &Span) {
        // The document was checked: every character has a glyph.
        let Some(glyph) = self.fonts.glyph(style, letter) else {
            return;
        };
        let advance = glyph.advance * self.size;
        if letter == ' ' {
            self.place();
            // A blank that does not fit is the break itself. Elsewhere, code's indentation too, it stands.
            if self.line.width + advance <= self.width {
                push(&mut self.line, letter, glyph, advance, span);
            }
            return;
        }
        if self.word.width + advance > self.width && !self.word.pieces.is_empty() {
            self.place();
            self.newline();
        }
        push(&mut self.word, letter, glyph, advance, span);
        // Words may break after a hyphen or a slash.
        if letter == '-' || letter == '/' {
            self.place();
        }
    }

    /// Puts the word on the line, or on a new one where it does not fit.
    fn place(&mut self) {
        let word = std::mem::take(&mut self.word);
        if word.pieces.is_empty() {
            return;
        }
        if self.line.width + word.width > self.width && !self.line.pieces.is_empty() {
            self.done.push(std::mem::take(&mut self.line));
        }
        self.line.width += word.width;
        self.line.pieces.extend(word.pieces);
    }

    fn newline(&mut self) {
        self.place();
        self.done.push(std::mem::take(&mut self.line));
    }

    fn finish(mut self) -> Vec<Line> {
        self.place();
        if !self.line.pieces.is_empty() {
            self.done.push(self.line);
        }
        self.done
    }
}

fn push(line: &mut Line, letter: char, glyph: Glyph, advance: f32, span: &Span) {
    line.width += advance;
    if let Some(last) = line.pieces.last_mut()
        && last.style == glyph.style
        && last.link == span.link
        && last.strike == span.look.strike
    {
        last.text.push(letter);
        last.glyphs.push(glyph);
        last.width += advance;
        return;
    }
    line.pieces.push(Piece {
        text: letter.to_string(),
        glyphs: vec![glyph],
        width: advance,
        style: glyph.style,
        link: span.link.clone(),
        strike: span.look.strike,
    });
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn broken(text: &str, width: f32) -> Vec<String> {
        let fonts = Fonts::load().expect("our fonts load");
        let span = Span {
            text: text.to_owned(),
            ..Span::default()
        };
        let found = lines(&[span], &fonts, 10.0, width, Style::Regular);
        found
            .iter()
            .inspect(|line| assert!(line.width <= width + 0.01, "{line:?}"))
            .map(|line| {
                line.pieces
                    .iter()
                    .map(|piece| piece.text.as_str())
                    .collect()
            })
            .collect()
    }

    #[test]
    fn words_go_on_the_line_while_there_is_room() {
        assert_eq!(broken("uno dos tres", 1000.0), ["uno dos tres"]);
        assert_eq!(broken("uno dos tres", 42.0), ["uno dos ", "tres"]);
        assert_eq!(broken("uno\ndos", 1000.0), ["uno", "dos"]);
        assert_eq!(broken("a\n\nb", 1000.0), ["a", "", "b"]);
        assert!(broken("x", 1000.0).len() == 1 && broken("", 1000.0).is_empty());
    }

    proptest! {
        #[test]
        fn no_letter_is_lost_and_no_line_too_wide(text in "[a-zñ/ -]{0,120}", width in 12.0_f32..200.0) {
            let letters = |text: &str| text.chars().filter(|letter| *letter != ' ').collect::<String>();
            let joined: String = broken(&text, width).concat();
            prop_assert_eq!(letters(&joined), letters(&text));
        }
    }
}
