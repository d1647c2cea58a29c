//! Text that appears token by token.
//!
//! Responsible for emitting whole characters only: bytes of a character wait for the rest of it. Must
//! never emit what a stop text cut off.

use super::stop::StopFilter;
use super::tokenizer::{Text, TokenizeError};

/// Tokens of the prompt that a tokenizer is shown before the answer's first token, because some begin a
/// text differently than they continue one.
const CONTEXT_TOKENS: usize = 6;

/// Turns the tokens of one answer into pieces of text.
pub(crate) struct TextStream {
    tokens: Vec<u32>,
    /// Where the window that is decoded begins.
    window: usize,
    /// Tokens before this one are emitted.
    emitted: usize,
    stops: StopFilter,
}

/// What a token added to the text.
pub(crate) struct Piece {
    /// New text; maybe empty.
    pub(crate) text: String,
    /// A stop text was complete.
    pub(crate) stopped: bool,
}

impl TextStream {
    /// A stream that continues `prompt`.
    pub(crate) fn new(prompt: &[u32], stops: Vec<String>) -> Self {
        let tokens = prompt
            .get(prompt.len().saturating_sub(CONTEXT_TOKENS)..)
            .unwrap_or_default()
            .to_vec();
        Self {
            emitted: tokens.len(),
            tokens,
            window: 0,
            stops: StopFilter::new(stops),
        }
    }

    /// Takes a token.
    pub(crate) fn push(&mut self, text: &Text, token: u32) -> Result<Piece, TokenizeError> {
        self.tokens.push(token);
        let Some(new) = self
            .new_text(text)?
            .filter(|new| !new.ends_with(char::REPLACEMENT_CHARACTER))
        else {
            return Ok(Piece {
                text: String::new(),
                stopped: false,
            });
        };
        self.window = self.emitted;
        self.emitted = self.tokens.len();
        let filtered = self.stops.push(&new);
        Ok(Piece {
            text: filtered.emit,
            stopped: filtered.stopped,
        })
    }

    /// The answer is over: the text that was held back. A character whose last bytes never came is left
    /// out.
    pub(crate) fn finish(&mut self, text: &Text) -> Result<Piece, TokenizeError> {
        let new = self.new_text(text)?.unwrap_or_default();
        let whole = new.trim_end_matches(char::REPLACEMENT_CHARACTER);
        let filtered = self.stops.push(whole);
        if filtered.stopped {
            return Ok(Piece {
                text: filtered.emit,
                stopped: true,
            });
        }
        Ok(Piece {
            text: filtered.emit + &self.stops.finish(),
            stopped: false,
        })
    }

    /// The text of the tokens that are not emitted, if decoding them only adds to what came before.
    ///
    /// Decodes a short window instead of the last token, because tokens decode differently alone.
    fn new_text(&self, text: &Text) -> Result<Option<String>, TokenizeError> {
        let window = self.tokens.get(self.window..).unwrap_or_default();
        let known = self
            .tokens
            .get(self.window..self.emitted)
            .unwrap_or_default();
        let (before, after) = (text.decode(known)?, text.decode(window)?);
        Ok(after
            .get(before.len()..)
            .filter(|new| !new.is_empty())
            .map(ToOwned::to_owned))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pieces(prompt: &str, answer: &[u8]) -> (Vec<String>, String) {
        let text = Text::reference();
        let mut stream = TextStream::new(&text.encode(prompt, true).unwrap(), Vec::new());
        let pieces = answer
            .iter()
            .map(|byte| stream.push(&text, u32::from(*byte)).unwrap().text)
            .collect();
        (pieces, stream.finish(&text).unwrap().text)
    }

    #[test]
    fn characters_are_emitted_whole() {
        let (found, rest) = pieces("caf\u{e9}: ", "a\u{20ac}b".as_bytes());
        assert_eq!(found, ["a", "", "", "\u{20ac}", "b"]);
        assert_eq!(rest, "");
    }

    #[test]
    fn an_unfinished_character_is_left_out() {
        let (found, rest) = pieces("x", &[b'a', 0xE2, 0x82]);
        assert_eq!((found.concat(), rest), ("a".to_owned(), String::new()));
    }
}
