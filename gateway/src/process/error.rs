//! Why a request to the process path did not get an answer.
//!
//! One enum, because every door shows the same failures in its own clothes. Cloneable, because a
//! failed computation fails every request that waited for it, with the same words.

use axum::http::StatusCode;

use crate::problem::Problem;

/// A request without an answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProcessError {
    /// Every generation slot is taken and the queue is full.
    #[error("all {running} generation slots are taken and {queued} requests wait already")]
    Busy {
        /// Generations running.
        running: usize,
        /// Requests waiting.
        queued: usize,
    },
    /// The request's deadline passed; its generation was stopped if nobody else waited for it.
    #[error("the request was not answered within its time limit")]
    Deadline,
    /// The gateway is restarting or shutting down.
    #[error("the gateway is not accepting generations at the moment")]
    Stopped,
    /// The computation this request waited for ended without an answer.
    #[error("the computation ended without an answer")]
    Lost,
    /// The prompt does not fit in the model's context.
    #[error("the prompt has {tokens} tokens; the model's context holds {context_tokens}")]
    PromptTooLong {
        /// Tokens of the prompt.
        tokens: usize,
        /// Tokens the context holds.
        context_tokens: usize,
    },
    /// The prompt has no token.
    #[error("the prompt has no token")]
    PromptEmpty,
    /// The model cannot take this input.
    #[error("the model does not take this input: {reason}")]
    Unsuitable {
        /// Which part of it.
        fault: Fault,
        /// What is wrong with it.
        reason: String,
    },
    /// The caller's service is not configured here.
    #[error("the service `{service}` is not configured")]
    UnknownService {
        /// The name asked for.
        service: String,
    },
    /// The model failed while computing.
    #[error("the model failed on this request")]
    Model {
        /// What it said; for the log, not for the caller.
        reason: String,
    },
}

impl ProcessError {
    /// A stable, machine-readable name.
    #[must_use]
    pub const fn code(&self) -> &'static str {
        match self {
            Self::Busy { .. } => "busy",
            Self::Deadline => "deadline",
            Self::Stopped => "stopped",
            Self::Lost => "computation_lost",
            Self::PromptTooLong { .. } => "context_length_exceeded",
            Self::PromptEmpty => "prompt_empty",
            Self::Unsuitable { .. } => "invalid_value",
            Self::UnknownService { .. } => "unknown_service",
            Self::Model { .. } => "generation_failed",
        }
    }

    /// The code of the documented lists (E, S, A) that fits best.
    #[must_use]
    pub const fn documented_code(&self) -> Option<&'static str> {
        match self {
            Self::Busy { .. } => Some("S004"),
            Self::Deadline | Self::Stopped | Self::Lost | Self::Model { .. } => Some("S001"),
            Self::PromptTooLong { .. } | Self::PromptEmpty | Self::Unsuitable { .. } => {
                Some("A002")
            }
            Self::UnknownService { .. } => Some("A003"),
        }
    }

    /// What the caller can do about it.
    #[must_use]
    pub const fn hint(&self) -> &'static str {
        match self {
            Self::Busy { .. } => {
                "Retry after the time in Retry-After, or raise process.generations_concurrent_max \
                 or process.queue_max."
            }
            Self::Deadline => "Ask for fewer tokens, or raise limits.request_timeout.",
            Self::Stopped => "Retry in a second; the supervisor restarts the gateway.",
            Self::Lost => "Retry; the log of this node says why the computation ended.",
            Self::PromptTooLong { .. } => {
                "Shorten the prompt, or serve a model with a longer context; input is never cut."
            }
            Self::PromptEmpty => "Send at least one character.",
            Self::Unsuitable { .. } => "Correct the named parameter.",
            Self::UnknownService { .. } => "Use a service named under `services` in the settings.",
            Self::Model { .. } => "Retry once; if it persists, the log of this node has the cause.",
        }
    }

    /// The HTTP status it is seen as.
    #[must_use]
    pub const fn status(&self) -> StatusCode {
        match self {
            Self::Busy { .. } => StatusCode::TOO_MANY_REQUESTS,
            Self::Deadline => StatusCode::GATEWAY_TIMEOUT,
            Self::Stopped => StatusCode::SERVICE_UNAVAILABLE,
            Self::PromptTooLong { .. } | Self::PromptEmpty | Self::Unsuitable { .. } => {
                StatusCode::BAD_REQUEST
            }
            Self::UnknownService { .. } => StatusCode::FORBIDDEN,
            Self::Lost | Self::Model { .. } => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// The seconds to wait before a retry makes sense, where it does.
    #[must_use]
    pub const fn retry_after_s(&self) -> Option<u32> {
        match self {
            Self::Busy { .. } | Self::Stopped => Some(1),
            _ => None,
        }
    }

    /// The parameter at fault, where there is one. Doors know the prompt by different names.
    #[must_use]
    pub const fn parameter(&self, prompt: &'static str) -> Option<&'static str> {
        match self {
            Self::PromptTooLong { .. } | Self::PromptEmpty => Some(prompt),
            Self::Unsuitable {
                fault: Fault::Prompt,
                ..
            } => Some(prompt),
            Self::Unsuitable {
                fault: Fault::Parameter(name),
                ..
            } => Some(name),
            _ => None,
        }
    }

    /// What the caller of a door is told whose prompt has that name.
    #[must_use]
    pub fn problem(self, prompt: &'static str) -> Problem {
        if let Self::Model { reason } = &self {
            tracing::error!(%reason, "the model failed");
        }
        let mut problem =
            Problem::new(self.status(), self.code(), self.to_string()).hint(self.hint());
        if let Some(code) = self.documented_code() {
            problem = problem.documented_as(code);
        }
        if let Some(parameter) = self.parameter(prompt) {
            problem = problem.param(parameter);
        }
        match self.retry_after_s() {
            Some(seconds) => problem.retry_after(seconds),
            None => problem,
        }
    }
}

/// Which part of a request does not suit the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The prompt, whatever the door calls it.
    Prompt,
    /// The parameter of that name.
    Parameter(&'static str),
}
