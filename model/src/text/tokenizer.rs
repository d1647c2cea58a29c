//! A model's tokens: of the reference model, or of a Hugging Face `tokenizer.json`.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use tokenizers::Tokenizer;

use super::bytes::{self, Utf8Guide};
use super::chat::{Chat, ChatError, ChatMessage, ChatOptions};
use crate::config::{eos_tokens, read_bounded};
use crate::load::LoadError;
use crate::sampling::Mask;

/// Largest tokenizer file. Those of the largest vocabularies have about 35 MB.
const TOKENIZER_BYTES_MAX: u64 = 256 << 20;

/// Why a text has no tokens, or tokens have no text.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum TokenizeError {
    /// The tokenizer refused.
    #[error("the tokenizer failed: {why}")]
    Failed {
        /// What it said.
        why: String,
    },
    /// A token is not in the vocabulary.
    #[error("token {token} is not below {vocab}")]
    UnknownToken {
        /// The token.
        token: u32,
        /// Tokens are below this.
        vocab: usize,
    },
}

impl TokenizeError {
    /// A stable name for programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Failed { .. } => "tokenizer_failed",
            Self::UnknownToken { .. } => "token_unknown",
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Failed { .. } => "check that tokenizer.json belongs to the model",
            Self::UnknownToken { .. } => "send tokens of this model's own vocabulary",
        }
    }
}

/// A model's vocabulary and manner of speaking.
pub(crate) struct Text {
    vocabulary: Vocabulary,
    chat: Chat,
    eos: Vec<u32>,
}

enum Vocabulary {
    Bytes,
    HuggingFace {
        tokenizer: Box<Tokenizer>,
        known: u32,
    },
}

impl Text {
    /// That of the reference model.
    pub(crate) fn reference() -> Self {
        Self {
            vocabulary: Vocabulary::Bytes,
            chat: Chat::Plain,
            eos: vec![bytes::END],
        }
    }

    /// Reads a folder's tokenizer, chat template and end tokens. `vocab` is the count of rows of the
    /// embedding: the tokenizer may know fewer tokens, never more.
    pub(crate) fn read(folder: &Path, vocab: usize) -> Result<Self, LoadError> {
        let file = folder.join("tokenizer.json");
        let bad = |why: String| LoadError::BadTokenizer {
            file: file.clone(),
            why,
        };
        let bytes = read_bounded(&file, TOKENIZER_BYTES_MAX)?;
        let mut tokenizer = guarded(|| Tokenizer::from_bytes(bytes)).map_err(bad)?;
        // Input is never shortened: a prompt over the context is an error that the caller sees.
        tokenizer
            .with_truncation(None)
            .map_err(|error| bad(error.to_string()))?;
        tokenizer.with_padding(None);
        let known = tokenizer
            .get_vocab(true)
            .values()
            .max()
            .map_or(0, |last| last.saturating_add(1));
        if known == 0 {
            return Err(bad("it has no tokens".to_owned()));
        }
        if usize::try_from(known).map_or(true, |known| known > vocab) {
            return Err(bad(format!(
                "it has {known} tokens, the model's vocab_size is {vocab}"
            )));
        }
        let eos = eos_tokens(folder)?;
        Ok(Self {
            vocabulary: Vocabulary::HuggingFace {
                tokenizer: Box::new(tokenizer),
                known,
            },
            chat: Chat::read(folder)?,
            eos,
        })
    }

    /// The tokens of a text; `special` adds those that the tokenizer puts around every text.
    pub(crate) fn encode(&self, text: &str, special: bool) -> Result<Vec<u32>, TokenizeError> {
        match &self.vocabulary {
            Vocabulary::Bytes => Ok(bytes::encode(text, special)),
            Vocabulary::HuggingFace { tokenizer, .. } => {
                guarded(|| tokenizer.encode_fast(text, special))
                    .map(|encoding| encoding.get_ids().to_vec())
                    .map_err(|why| TokenizeError::Failed { why })
            }
        }
    }

    /// The text of tokens, without special ones.
    pub(crate) fn decode(&self, tokens: &[u32]) -> Result<String, TokenizeError> {
        match &self.vocabulary {
            Vocabulary::Bytes => Ok(bytes::decode(tokens)),
            Vocabulary::HuggingFace { tokenizer, .. } => guarded(|| tokenizer.decode(tokens, true))
                .map_err(|why| TokenizeError::Failed { why }),
        }
    }

    /// Does this token end an answer?
    pub(crate) fn ends(&self, token: u32) -> bool {
        self.eos.contains(&token)
    }

    /// A conversation as text.
    pub(crate) fn render_chat(
        &self,
        messages: &[ChatMessage],
        options: &ChatOptions,
    ) -> Result<String, ChatError> {
        self.chat.render(messages, options)
    }

    /// Has the template written its own special tokens?
    pub(crate) fn chat_has_special_tokens(&self) -> bool {
        self.chat.has_special_tokens()
    }

    /// Which tokens an answer of at most `tokens_max` tokens may consist of.
    pub(crate) fn guide(&self, tokens_max: usize) -> Guide {
        match &self.vocabulary {
            Vocabulary::Bytes => Guide::Utf8(Utf8Guide::new(tokens_max)),
            Vocabulary::HuggingFace { known, .. } => Guide::Known(*known),
        }
    }
}

/// Calls the tokenizer library, which panics on some broken files and texts instead of answering. A
/// tokenizer is only read while in use, so what a panic leaves behind is sound.
fn guarded<T>(call: impl FnOnce() -> tokenizers::Result<T>) -> Result<T, String> {
    match catch_unwind(AssertUnwindSafe(call)) {
        Ok(result) => result.map_err(|error| error.to_string()),
        Err(panic) => {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text
                .or(panic.downcast_ref::<&str>().copied())
                .unwrap_or("no reason given");
            Err(format!("the tokenizer library gave up: {text}"))
        }
    }
}

/// Which tokens may come next in an answer.
pub(crate) enum Guide {
    /// Bytes that keep the text valid.
    Utf8(Utf8Guide),
    /// Tokens that the tokenizer knows: embeddings are often padded beyond them.
    Known(u32),
}

impl Guide {
    /// Takes a token into account.
    pub(crate) fn advance(&mut self, token: u32) {
        if let Self::Utf8(guide) = self {
            guide.advance(token);
        }
    }
}

impl Mask for Guide {
    fn allows(&self, token: u32) -> bool {
        match self {
            Self::Utf8(guide) => guide.allows(token),
            Self::Known(known) => token < *known,
        }
    }
}
