//! Between text and tokens: tokenizers, streaming text, stop texts, chat templates.
//!
//! Responsible for the promise that everything emitted is valid UTF-8, piece by piece. Must never know
//! about logits or blocks.

pub(crate) mod bytes;
mod chat;
mod json;
mod stop;
mod stream;
mod strftime;
mod tokenizer;

pub use chat::{ChatError, ChatMessage, ChatOptions};
pub(crate) use stream::TextStream;
pub use tokenizer::TokenizeError;
pub(crate) use tokenizer::{Guide, Text};
