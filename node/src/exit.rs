//! Exit statuses and the errors behind them: what a script can tell apart without reading text.
//!
//! 0 done; 1 the operation failed; 2 wrong usage or settings; 3 cannot connect, or no answer in time; 4 not let in;
//! 5 reached but unhealthy. Nothing here knows a command.

use std::fmt;
use std::process::ExitCode;

use crate::output;

/// How a command failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Status {
    /// The operation was tried and failed.
    Failed,
    /// The command line or the settings are wrong.
    Usage,
    /// Nobody answered, or not in time.
    Unreachable,
    /// The node did not let the caller in.
    Unauthorized,
    /// The node answered and is not well.
    Unhealthy,
}

impl Status {
    /// The number the shell sees.
    const fn number(self) -> u8 {
        match self {
            Self::Failed => 1,
            Self::Usage => 2,
            Self::Unreachable => 3,
            Self::Unauthorized => 4,
            Self::Unhealthy => 5,
        }
    }
}

/// Why a command did not do what it was asked.
#[derive(Debug)]
pub(crate) struct Failure {
    /// What the shell sees.
    pub(crate) status: Status,
    /// What happened, already complete; none when everything has been said.
    pub(crate) message: Option<String>,
    /// What to do about it.
    pub(crate) hint: Option<String>,
}

impl Failure {
    /// A failure that says what happened.
    pub(crate) fn new(status: Status, message: impl fmt::Display) -> Self {
        Self {
            status,
            message: Some(message.to_string()),
            hint: None,
        }
    }

    /// A failure of which everything has been said.
    pub(crate) const fn told(status: Status) -> Self {
        Self {
            status,
            message: None,
            hint: None,
        }
    }

    /// With the stable code of the error.
    #[must_use]
    pub(crate) fn code(mut self, code: &str) -> Self {
        self.message = self
            .message
            .map(|message| format!("error[{code}]: {message}"));
        self
    }

    /// With advice.
    #[must_use]
    pub(crate) fn hint(mut self, hint: impl fmt::Display) -> Self {
        self.hint = Some(hint.to_string());
        self
    }

    /// An error below, with what was being done when it came up.
    pub(crate) fn caused(doing: &str, error: &dyn std::error::Error) -> Self {
        let mut message = format!("{doing}: {error}");
        let mut cause = error.source();
        while let Some(below) = cause {
            let text = below.to_string();
            // Many errors repeat their cause in their own words.
            if !message.contains(&text) {
                message.push_str(": ");
                message.push_str(&text);
            }
            cause = below.source();
        }
        Self::new(Status::Failed, message)
    }
}

/// Says what went wrong, on stderr, and turns the outcome into the exit status.
pub(crate) fn code(outcome: Result<(), Failure>) -> ExitCode {
    let Err(failure) = outcome else {
        return ExitCode::SUCCESS;
    };
    if let Some(message) = &failure.message {
        let already_marked = message.starts_with("error");
        output::note(&if already_marked {
            message.clone()
        } else {
            format!("error: {message}")
        });
    }
    if let Some(hint) = &failure.hint {
        output::note(&format!("  hint: {hint}"));
    }
    ExitCode::from(failure.status.number())
}
