//! What the process path hands back: the answer itself, and how this request came by it.
//!
//! Knows nothing of the shapes in which doors write it down.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Why an answer ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Finish {
    /// The model ended it, or one of the request's stop texts did.
    Stop,
    /// `tokens_max` or the model's context was reached.
    Length,
}

impl Finish {
    /// Its name in every door.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Stop => "stop",
            Self::Length => "length",
        }
    }
}

/// An answer, the same whoever receives it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Answer {
    /// The generated text.
    pub text: String,
    /// Tokens of the prompt.
    pub prompt_tokens: u32,
    /// Tokens generated.
    pub completion_tokens: u32,
    /// Why it ended.
    pub finish: Finish,
    /// Prompt tokens whose K/V was read from the cache when it was computed.
    pub reused_tokens: u32,
}

/// What the cache contributed to a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CacheUse {
    /// The whole answer: it was stored, or an equal request was computing it already.
    Response,
    /// K/V of a prefix.
    Prefix,
    /// Nothing.
    None,
}

impl CacheUse {
    /// Its name in every door.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Response => "response",
            Self::Prefix => "prefix",
            Self::None => "none",
        }
    }
}

/// An answer and how this request came by it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProcessOutcome {
    /// The answer.
    pub answer: Arc<Answer>,
    /// What the cache contributed.
    pub cache: CacheUse,
    /// Whether an equal request that was already running computed it.
    pub coalesced: bool,
    /// Prompt tokens that this request did not have to compute.
    pub reused_tokens: u32,
    /// Prompt tokens that were computed for this request; with `reused_tokens` this is the prompt.
    pub computed_tokens: u32,
    /// From the request's arrival to its first text.
    pub first_token_us: u64,
    /// From the request's arrival to its whole answer.
    pub latency_us: u64,
}
