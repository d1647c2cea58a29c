//! The reference model's tokens: one a byte, and two marks.
//!
//! Responsible for keeping what the reference model says valid and printable UTF-8: its logits are
//! random, so the next byte is chosen only among those that continue a character or begin one that can
//! still be completed.

use crate::sampling::Mask;

/// Marks the start of a text.
pub(crate) const START: u32 = 256;
/// Marks the end of a text. The reference model never chooses it, so its answers have the length asked
/// for.
pub(crate) const END: u32 = 257;
/// Tokens: 256 bytes and two marks.
pub(crate) const VOCAB: usize = 258;

/// The tokens of a text, with the mark of its start when asked.
pub(crate) fn encode(text: &str, start: bool) -> Vec<u32> {
    let mark = start.then_some(START);
    mark.into_iter()
        .chain(text.bytes().map(u32::from))
        .collect()
}

/// The text of tokens; marks are skipped and broken characters become U+FFFD.
pub(crate) fn decode(tokens: &[u32]) -> String {
    let bytes: Vec<u8> = tokens
        .iter()
        .filter_map(|token| u8::try_from(*token).ok())
        .collect();
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Which bytes may come next.
#[derive(Clone, Debug)]
pub(crate) struct Utf8Guide {
    /// Bytes that the current character still needs.
    missing: usize,
    /// Bounds of the next of them.
    bounds: (u8, u8),
    /// Tokens that may still come, the next included.
    tokens_left: usize,
}

impl Utf8Guide {
    /// At the start of a text of at most `tokens_left` tokens.
    pub(crate) fn new(tokens_left: usize) -> Self {
        Self {
            missing: 0,
            bounds: CONTINUATION,
            tokens_left,
        }
    }

    /// Takes a token into account.
    pub(crate) fn advance(&mut self, token: u32) {
        self.tokens_left = self.tokens_left.saturating_sub(1);
        let Ok(byte) = u8::try_from(token) else {
            return;
        };
        if self.missing > 0 {
            self.missing -= 1;
            self.bounds = CONTINUATION;
        } else {
            self.missing = character_bytes(byte).saturating_sub(1);
            self.bounds = second_byte(byte);
        }
    }
}

impl Mask for Utf8Guide {
    fn allows(&self, token: u32) -> bool {
        let Ok(byte) = u8::try_from(token) else {
            return false;
        };
        if self.missing > 0 {
            return (self.bounds.0..=self.bounds.1).contains(&byte);
        }
        (1..=self.tokens_left).contains(&character_bytes(byte))
    }
}

const CONTINUATION: (u8, u8) = (0x80, 0xBF);

/// Bytes of the character that `byte` begins; 0 if it begins none that we want to see.
///
/// # Source
/// RFC 3629, section 4; without control characters, which would upset terminals.
fn character_bytes(byte: u8) -> usize {
    match byte {
        b'\n' | 0x20..=0x7E => 1,
        0xC2..=0xDF => 2,
        0xE0..=0xEF => 3,
        0xF0..=0xF4 => 4,
        _ => 0,
    }
}

/// Bounds of the byte after `lead`, which exclude overlong forms, surrogates, numbers above U+10FFFF and
/// the control characters U+0080 to U+009F.
fn second_byte(lead: u8) -> (u8, u8) {
    match lead {
        0xC2 | 0xE0 => (0xA0, 0xBF),
        0xED => (0x80, 0x9F),
        0xF0 => (0x90, 0xBF),
        0xF4 => (0x80, 0x8F),
        _ => CONTINUATION,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn any_walk_that_the_guide_allows_is_valid_text_at_its_end(choices in prop::collection::vec(any::<u8>(), 1..40)) {
            let mut guide = Utf8Guide::new(choices.len());
            let mut text = Vec::new();
            for choice in &choices {
                let allowed: Vec<u32> = (0..258).filter(|token| guide.allows(*token)).collect();
                prop_assert!(!allowed.is_empty());
                let token = allowed[usize::from(*choice) * allowed.len() / 256];
                guide.advance(token);
                text.push(u8::try_from(token).unwrap());
            }
            let text = String::from_utf8(text);
            prop_assert!(text.is_ok());
            prop_assert!(text.unwrap().chars().all(|c| c == '\n' || !c.is_control()));
        }

        #[test]
        fn texts_survive_the_tokenizer(text in ".*") {
            prop_assert_eq!(decode(&encode(&text, true)), text);
        }
    }
}
