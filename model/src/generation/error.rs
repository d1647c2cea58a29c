//! What can be wrong with a request to generate, with blocks to restore, and while computing.

use crate::options::SamplingOptions;
use crate::text::TokenizeError;

/// Highest temperature; above it every token is about as likely as every other.
const TEMPERATURE_MAX: f32 = 100.0;

/// Why a generation did not begin.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BeginError {
    /// The prompt has no tokens.
    #[error("the prompt is empty")]
    Empty,
    /// The prompt leaves no room for an answer. It is never shortened.
    #[error(
        "the prompt has {tokens} tokens, the context holds {context} with at least one for the answer"
    )]
    PromptTooLong {
        /// Tokens of the prompt.
        tokens: usize,
        /// Tokens of the context.
        context: usize,
    },
    /// A token is not in the vocabulary.
    #[error(transparent)]
    UnknownToken(#[from] TokenizeError),
    /// A sampling option is impossible.
    #[error("{option} is {value}: {why}")]
    BadOption {
        /// The option.
        option: &'static str,
        /// What was given.
        value: String,
        /// What would be possible.
        why: String,
    },
}

impl BeginError {
    /// A stable name for programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Empty => "prompt_empty",
            Self::PromptTooLong { .. } => "prompt_too_long",
            Self::UnknownToken(error) => error.code(),
            Self::BadOption { .. } => "sampling_bad_option",
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Empty => "send a prompt with at least one character",
            Self::PromptTooLong { .. } => "shorten the prompt; it is never cut silently",
            Self::UnknownToken(error) => error.hint(),
            Self::BadOption { .. } => "choose a value inside the range given",
        }
    }
}

/// Why blocks were not restored.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RestoreError {
    /// The prompt is computed already, at least in part, or blocks were restored before.
    #[error("blocks can be restored only once and before the prompt is computed")]
    Late,
    /// A payload has the wrong size.
    #[error("block {index} has {bytes} bytes, this engine's have {expected}")]
    WrongSize {
        /// Which of the blocks given.
        index: usize,
        /// Its size.
        bytes: usize,
        /// What a block of this engine has.
        expected: usize,
    },
}

impl RestoreError {
    /// A stable name for programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Late => "restore_late",
            Self::WrongSize { .. } => "restore_wrong_size",
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::Late => "restore right after begin, once",
            Self::WrongSize { .. } => "restore only blocks stored under this engine's key inputs",
        }
    }
}

/// Why a computation gave nothing.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ComputeError {
    /// A token was asked for before the prompt was computed.
    #[error("the prompt is not computed yet")]
    NotReady,
    /// A token was asked for after the answer's end.
    #[error("the answer has ended")]
    Finished,
    /// The model knows no token that may come next.
    #[error("no token may come next")]
    NoToken,
    /// The tensor library failed.
    #[error("the decoder failed")]
    Tensors(#[from] candle_core::Error),
    /// The tokenizer failed.
    #[error("the answer's tokens have no text")]
    Text(#[from] TokenizeError),
}

impl ComputeError {
    /// A stable name for programs.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotReady => "generation_not_ready",
            Self::Finished => "generation_finished",
            Self::NoToken => "generation_no_token",
            Self::Tensors(_) => "generation_tensors",
            Self::Text(_) => "generation_text",
        }
    }

    /// What to do about it.
    #[must_use]
    pub fn hint(&self) -> &'static str {
        match self {
            Self::NotReady => "call prefill until it is done",
            Self::Finished => "begin another generation",
            Self::NoToken | Self::Tensors(_) => "report this with the model's name and the prompt",
            Self::Text(error) => error.hint(),
        }
    }
}

/// Are sampling options possible?
pub(super) fn check_options(options: &SamplingOptions) -> Result<(), BeginError> {
    let bad = |option, value: &dyn core::fmt::Display, why: String| {
        Err(BeginError::BadOption {
            option,
            value: value.to_string(),
            why,
        })
    };
    if options.tokens_max == 0 {
        return bad("tokens_max", &0, "it must be at least 1".to_owned());
    }
    if !(0.0..=TEMPERATURE_MAX).contains(&options.temperature) {
        return bad(
            "temperature",
            &options.temperature,
            format!("it must be from 0 to {TEMPERATURE_MAX}"),
        );
    }
    if !(options.top_p > 0.0 && options.top_p <= 1.0) {
        return bad(
            "top_p",
            &options.top_p,
            "it must be above 0 and at most 1".to_owned(),
        );
    }
    if options.stop.len() > SamplingOptions::STOPS_MAX {
        let why = format!("there may be at most {}", SamplingOptions::STOPS_MAX);
        return bad("stop", &format!("{} texts", options.stop.len()), why);
    }
    let fits = |stop: &String| (1..=SamplingOptions::STOP_BYTES_MAX).contains(&stop.len());
    if let Some(stop) = options.stop.iter().find(|stop| !fits(stop)) {
        let why = format!(
            "a stop text must have from 1 to {} bytes",
            SamplingOptions::STOP_BYTES_MAX
        );
        return bad("stop", &format!("a text of {} bytes", stop.len()), why);
    }
    Ok(())
}
