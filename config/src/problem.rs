//! What is wrong with the settings, and what is right but not done yet: values to be shown, not strings to be parsed.
//!
//! Nothing here decides anything; it only carries code, key, place, reason and advice, and prints them for people.

use std::fmt;

use serde::Serialize;

/// Where a value was typed.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case", tag = "from")]
pub enum Origin {
    /// Nobody typed it.
    Default,
    /// It came with a preset.
    Preset {
        /// The preset's name.
        name: String,
    },
    /// A place in a YAML file.
    File {
        /// The path as it was given.
        path: String,
        /// Counted from 1; 0 when the parser could not tell.
        line: u64,
        /// Counted from 1, in characters.
        column: u64,
    },
    /// A line of a file of environment variables.
    EnvFile {
        /// The path as it was given.
        path: String,
        /// Counted from 1.
        line: u64,
        /// The variable.
        name: String,
    },
    /// A variable of the process.
    Environment {
        /// The variable.
        name: String,
    },
    /// The command line.
    Flag {
        /// The flag as it is typed, such as `--http`.
        name: String,
    },
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Preset { name } => write!(f, "preset {name}"),
            Self::File { path, line: 0, .. } => f.write_str(path),
            Self::File { path, line, column } => write!(f, "{path}:{line}:{column}"),
            Self::EnvFile { path, line, name } => write!(f, "{path}:{line} ({name})"),
            Self::Environment { name } => write!(f, "environment variable {name}"),
            Self::Flag { name } => write!(f, "flag {name}"),
        }
    }
}

/// A reason not to start.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// Stable, for programs: `config.unknown_key` and its kind.
    pub code: &'static str,
    /// The key as the operator wrote it; empty when a whole file is meant.
    pub key: String,
    /// Where it was written.
    pub origin: Origin,
    /// What was written; absent when that would show a secret or nothing was written.
    pub given: Option<String>,
    /// What is wrong, as a sentence without its full stop.
    pub reason: String,
    /// What to do about it.
    pub hint: Option<String>,
}

/// Something the operator should know; the node starts all the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Warning {
    /// Stable, for programs: `config.not_yet` and its kind.
    pub code: &'static str,
    /// The key as the operator wrote it.
    pub key: String,
    /// Where it was written.
    pub origin: Origin,
    /// What does not happen, and what happens instead.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

/// The settings cannot be used: every reason that was found, in the order of the sources.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct ConfigError {
    /// At least one.
    pub problems: Vec<Problem>,
    /// What else was noticed on the way.
    pub warnings: Vec<Warning>,
}

impl ConfigError {
    /// The code of the first problem.
    #[must_use]
    pub fn code(&self) -> &'static str {
        self.problems
            .first()
            .map_or("config.invalid", |problem| problem.code)
    }

    /// The advice of the first problem that has any.
    #[must_use]
    pub fn hint(&self) -> &str {
        self.problems
            .iter()
            .find_map(|problem| problem.hint.as_deref())
            .unwrap_or("`ultrakv config check` lists every problem; `ultrakv config schema` lists every key")
    }
}

impl std::error::Error for ConfigError {}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.problems.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            write!(f, "{problem}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "error[{}]: ", self.code)?;
        if !self.key.is_empty() {
            write!(f, "{}: ", self.key)?;
        }
        f.write_str(&self.reason)?;
        write_place(f, &self.origin)?;
        if let Some(given) = &self.given {
            write!(f, "\n  given: {given}")?;
        }
        write_hint(f, self.hint.as_deref())
    }
}

impl fmt::Display for Warning {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "warning[{}]: {}: {}", self.code, self.key, self.message)?;
        write_place(f, &self.origin)?;
        write_hint(f, self.hint.as_deref())
    }
}

/// The `--> place` line, left out where nobody typed anything.
fn write_place(f: &mut fmt::Formatter<'_>, origin: &Origin) -> fmt::Result {
    match origin {
        Origin::Default => Ok(()),
        _ => write!(f, "\n  --> {origin}"),
    }
}

/// The `hint:` line.
fn write_hint(f: &mut fmt::Formatter<'_>, hint: Option<&str>) -> fmt::Result {
    hint.map_or(Ok(()), |hint| write!(f, "\n  hint: {hint}"))
}
