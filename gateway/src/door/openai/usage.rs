//! What an answer cost, in the protocol's words.

use serde::Serialize;
use utoipa::ToSchema;

use crate::process::ProcessOutcome;

/// Tokens of a request and its answer.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct Usage {
    /// Tokens of the prompt.
    prompt_tokens: u32,
    /// Tokens generated.
    completion_tokens: u32,
    /// Both.
    total_tokens: u32,
    /// More about the prompt's.
    prompt_tokens_details: PromptTokensDetails,
}

/// How the prompt's tokens were come by.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(crate) struct PromptTokensDetails {
    /// Prompt tokens that did not have to be computed.
    cached_tokens: u32,
}

impl Usage {
    pub(super) fn of(outcome: &ProcessOutcome) -> Self {
        let answer = &outcome.answer;
        Self {
            prompt_tokens: answer.prompt_tokens,
            completion_tokens: answer.completion_tokens,
            total_tokens: answer
                .prompt_tokens
                .saturating_add(answer.completion_tokens),
            prompt_tokens_details: PromptTokensDetails {
                cached_tokens: outcome.reused_tokens,
            },
        }
    }
}
